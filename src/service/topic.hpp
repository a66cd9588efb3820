// SPDX-License-Identifier: MIT
// service/topic.hpp: events from other threads, for any number of streams.
#pragma once

#include "../base/version.hpp"  // defines ASIO_HAS_CO_AWAIT, so it must come before Asio

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "../base/errors.hpp"
#include "coroutine.hpp"

namespace kettlingar {
inline namespace v0_1 {

/// What becomes of events that a subscriber does not take in time.
enum class Overflow {
  drop_oldest,  ///< it misses the oldest ones
  latest_only,  ///< it gets the last one only, whatever the capacity
  disconnect    ///< its stream ends with an error
};

namespace detail {

/// The queue of one stream. Its mutex is that of the topic.
template <class T>
struct Subscriber {
  explicit Subscriber(const asio::any_io_executor& executor) : wakeup(executor) {}

  std::deque<T> items;
  bool waiting = false;     ///< for the wakeup
  bool overflowed = false;  ///< was to be disconnected
  Wakeup wakeup;
};

template <class T>
struct TopicState {
  TopicState(std::size_t the_capacity, Overflow the_policy)
      : capacity((std::max<std::size_t>)(1, the_policy == Overflow::latest_only ? 1 : the_capacity)),
        policy(the_policy) {}

  const std::size_t capacity;
  const Overflow policy;
  mutable std::mutex mutex;
  std::vector<std::shared_ptr<Subscriber<T>>> subscribers;
  std::uint64_t dropped = 0;
  bool closed = false;

  /// With the mutex held.
  void wake(const std::shared_ptr<Subscriber<T>>& subscriber) {
    if (!std::exchange(subscriber->waiting, false)) return;
    subscriber->wakeup.wake();
  }
};

/// Belongs to the stream's frame, which may be destroyed wherever it waits.
template <class T>
class Subscription {
 public:
  Subscription(std::shared_ptr<TopicState<T>> state, const asio::any_io_executor& executor)
      : state_(std::move(state)), subscriber_(std::make_shared<Subscriber<T>>(executor)) {
    const std::lock_guard lock(state_->mutex);
    state_->subscribers.push_back(subscriber_);
  }
  ~Subscription() {
    const std::lock_guard lock(state_->mutex);
    std::erase(state_->subscribers, subscriber_);
  }
  Subscription(const Subscription&) = delete;
  Subscription& operator=(const Subscription&) = delete;

  /// False at the end; otherwise `item` is the next event, or nothing if there is none yet. Throws Error after an
  /// overflow.
  bool next(std::optional<T>& item) {
    const std::lock_guard lock(state_->mutex);
    item.reset();
    if (subscriber_->overflowed) throw Error(503, "events came faster than they were taken");
    if (subscriber_->items.empty()) return !state_->closed;
    item.emplace(std::move(subscriber_->items.front()));
    subscriber_->items.pop_front();
    return true;
  }

  // By value: the frame of the stream may go first.
  static Task<void> wait(std::shared_ptr<TopicState<T>> state, std::shared_ptr<Subscriber<T>> subscriber) {
    {
      const std::lock_guard lock(state->mutex);
      if (!subscriber->items.empty() || subscriber->overflowed || state->closed) co_return;
      // Nothing can be woken before it waits: that happens on this thread, too.
      subscriber->waiting = true;
    }
    co_await subscriber->wakeup.wait();
  }
  Task<void> wait() { return wait(state_, subscriber_); }

 private:
  std::shared_ptr<TopicState<T>> state_;
  std::shared_ptr<Subscriber<T>> subscriber_;
};

template <class T>
Generator<T> subscribe(std::shared_ptr<TopicState<T>> state) {
  const asio::any_io_executor executor = co_await asio::this_coro::executor;
  Subscription<T> subscription(std::move(state), executor);
  for (std::optional<T> item; subscription.next(item);) {
    if (item) {
      co_yield *item;
    } else {
      co_await subscription.wait();
    }
  }
}

}  // namespace detail

/// Events that any thread publishes and any number of streams follow: `kt::Topic<double> fps; kitten.api("fps", fps);`
/// makes a method that streams them, from the moment it is called. Each stream has a queue of its own, so that none
/// waits for another, and publish() for nobody.
///
/// Copies of a Topic are the same topic. It may be destroyed before the service, and outlive it.
template <class T>
class Topic {
 public:
  using value_type = T;

  /// `capacity` events wait for each stream at the most.
  explicit Topic(std::size_t capacity = 64, Overflow policy = Overflow::drop_oldest)
      : state_(std::make_shared<detail::TopicState<T>>(capacity, policy)) {}

  /// From any thread; does not wait. Costs a copy for each stream.
  void publish(const T& item) const {
    const std::lock_guard lock(state_->mutex);
    if (state_->closed) return;
    for (const auto& subscriber : state_->subscribers) {
      if (subscriber->items.size() >= state_->capacity) {
        ++state_->dropped;
        if (state_->policy == Overflow::disconnect) {
          subscriber->overflowed = true;
          continue;
        }
        subscriber->items.pop_front();
      }
      subscriber->items.push_back(item);
      state_->wake(subscriber);
    }
  }
  /// Ends all streams, those to come included, once they have sent what they have; what is published later reaches
  /// nobody, and a closed topic cannot be opened again. From any thread, any number of times. For on_shutdown: a stop
  /// otherwise cuts the streams off after Limits::drain_timeout, without their end mark.
  void close() const {
    const std::lock_guard lock(state_->mutex);
    state_->closed = true;
    for (const auto& subscriber : state_->subscribers) state_->wake(subscriber);
  }

  /// How many streams follow now. From any thread.
  std::size_t subscribers() const {
    const std::lock_guard lock(state_->mutex);
    return state_->subscribers.size();
  }
  /// How many events did not find room in a queue, in all. From any thread.
  std::uint64_t dropped() const {
    const std::lock_guard lock(state_->mutex);
    return state_->dropped;
  }

  /// The events from the first `next()` on, for a handler of one's own that filters or changes them. From any thread;
  /// the stream is for the coroutine that awaits it.
  Generator<T> subscribe() const { return detail::subscribe(state_); }

 private:
  std::shared_ptr<detail::TopicState<T>> state_;
};

}  // namespace v0_1
}  // namespace kettlingar
