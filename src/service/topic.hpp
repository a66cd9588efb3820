// SPDX-License-Identifier: MIT
// service/topic.hpp: events from other threads, for any number of streams.
#pragma once

#include "../base/version.hpp"  // defines ASIO_HAS_CO_AWAIT, so it must come before Asio

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "../base/errors.hpp"
#include "../call/coroutine.hpp"
#include "../call/method.hpp"

namespace kettlingar {
inline namespace v0_1 {

/// What becomes of events that a subscriber does not take in time.
enum class Overflow {
  drop_oldest,  ///< it misses the oldest ones
  latest_only,  ///< it gets the last one only, whatever the capacity
  disconnect    ///< its stream ends with an error: behind the events that found room, beyond the bound in bytes without
                ///< them
};

namespace detail {

/// About how many bytes an event takes. What travels as MessagePack is encoded for that; its streams need it anyway.
template <class T>
std::size_t event_bytes(const T& value, EncodedItem& encoded) {
  if constexpr (std::is_same_v<T, Result>) {
    return value.data.size();
  } else if constexpr (std::is_same_v<T, RawReply>) {
    return value.bytes.size();
  } else if constexpr (std::is_same_v<T, Event>) {
    std::string bytes;
    static_cast<void>(encode(value.fields, Format::msgpack, bytes));
    return bytes.size();
  } else if constexpr (!std::is_arithmetic_v<T> && can_be_item<T>) {
    try {
      static_cast<void>(encode_shared(value, encoded, Format::msgpack));
    } catch (const std::exception&) {
      return 0;  // a stream that sends it tells what is wrong
    }
    return 2 * encoded.bytes[1].size();
  } else {
    return 0;
  }
}

/// An event, which all streams share.
template <class T>
struct TopicEvent {
  TopicEvent(const T& the_value, std::atomic<std::size_t>& the_total)
      : value(the_value), bytes(sizeof(TopicEvent) + event_bytes(value, encoded)), total(the_total) {
    total += bytes;
  }
  TopicEvent(const TopicEvent&) = delete;
  TopicEvent& operator=(const TopicEvent&) = delete;
  ~TopicEvent() { total -= bytes; }

  const T value;
  EncodedItem encoded;
  const std::size_t bytes;
  std::atomic<std::size_t>& total;  ///< of all events of the topic
  // With the mutex of the topic held:
  std::uint64_t number = 0;  ///< counts the events of the topic
  std::size_t queues = 0;    ///< so many it waits in
};

/// The queue of one stream. Its mutex is that of the topic.
template <class T>
struct Subscriber {
  explicit Subscriber(const asio::any_io_executor& executor) : wakeup(executor) {}

  std::deque<std::shared_ptr<TopicEvent<T>>> items;
  bool waiting = false;     ///< for the wakeup
  bool overflowed = false;  ///< gets no more, and is disconnected when it has taken what is there
  Wakeup wakeup;
};

template <class T>
struct TopicState {
  TopicState(std::size_t the_capacity, Overflow the_policy, std::size_t the_most_bytes)
      : capacity((std::max<std::size_t>)(1, the_policy == Overflow::latest_only ? 1 : the_capacity)),
        most_bytes(the_most_bytes),
        policy(the_policy) {}

  const std::size_t capacity;
  const std::size_t most_bytes;
  const Overflow policy;
  std::atomic<std::size_t> bytes = 0;  ///< of all events that some stream still has
  mutable std::mutex mutex;            ///< for what follows
  std::vector<std::shared_ptr<Subscriber<T>>> subscribers;
  std::size_t waiting_bytes = 0;  ///< of the events in all queues
  std::uint64_t published = 0;
  std::uint64_t dropped = 0;
  bool closed = false;

  // All of it with the mutex held.

  void wake(Subscriber<T>& subscriber) {
    if (!subscriber.waiting) return;
    subscriber.wakeup.wake();
    subscriber.waiting = false;
  }
  void wake_all() {
    for (const auto& subscriber : subscribers) wake(*subscriber);
  }

  void push(Subscriber<T>& subscriber, const std::shared_ptr<TopicEvent<T>>& event) {
    subscriber.items.push_back(event);
    if (event->queues++ == 0) waiting_bytes += event->bytes;
  }
  std::shared_ptr<TopicEvent<T>> pop(Subscriber<T>& subscriber) {
    std::shared_ptr<TopicEvent<T>> event = std::move(subscriber.items.front());
    subscriber.items.pop_front();
    if (--event->queues == 0) waiting_bytes -= event->bytes;
    return event;
  }
  void clear(Subscriber<T>& subscriber) {
    while (!subscriber.items.empty()) pop(subscriber);
  }

  /// Gives it to all before any is woken: what can fail then costs nobody else an event.
  void deliver(const std::shared_ptr<TopicEvent<T>>& event) {
    event->number = ++published;
    while (waiting_bytes + event->bytes > most_bytes && drop_oldest()) {
    }
    for (const auto& subscriber : subscribers) {
      const bool full = subscriber->overflowed || subscriber->items.size() >= capacity;
      if (full) ++dropped;
      if (full && policy == Overflow::disconnect) subscriber->overflowed = true;
      if (full && policy != Overflow::disconnect) pop(*subscriber);
      if (!subscriber->overflowed) push(*subscriber, event);
    }
    wake_all();
  }

  /// Takes the oldest event that waits from all streams that have it; false if none waits.
  bool drop_oldest() {
    std::uint64_t oldest = 0;
    for (const auto& subscriber : subscribers) {
      if (subscriber->items.empty()) continue;
      const std::uint64_t number = subscriber->items.front()->number;
      if (oldest == 0 || number < oldest) oldest = number;
    }
    if (oldest == 0) return false;
    for (const auto& subscriber : subscribers) {
      if (subscriber->items.empty() || subscriber->items.front()->number != oldest) continue;
      if (policy != Overflow::disconnect) {
        pop(*subscriber);
        ++dropped;
        continue;
      }
      // It may have room in its own queue, but not in that of all.
      subscriber->overflowed = true;
      dropped += subscriber->items.size();
      clear(*subscriber);
    }
    return true;
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
    state_->clear(*subscriber_);  // events do not outlive the topic's state, as a wait() may
  }
  Subscription(const Subscription&) = delete;
  Subscription& operator=(const Subscription&) = delete;

  /// False at the end; otherwise `event` is the next one, or nothing if there is none yet. Throws Error when all has
  /// been taken that was there before an overflow.
  bool next(std::shared_ptr<TopicEvent<T>>& event) {
    event.reset();
    const std::lock_guard lock(state_->mutex);
    if (subscriber_->items.empty()) {
      if (subscriber_->overflowed) throw Error(503, "events came faster than they were taken");
      return !state_->closed;
    }
    event = state_->pop(*subscriber_);
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
  for (std::shared_ptr<TopicEvent<T>> event; subscription.next(event);) {
    if (event) {
      const SharedItem<T> item{&event->value, &event->encoded};
      co_yield item;
    } else {
      co_await subscription.wait();
    }
  }
}

}  // namespace detail

/// Events that any thread publishes and any number of streams follow: `kt::Topic<double> fps; kitten.api("fps", fps);`
/// makes a method that streams them, from the moment it is called. Each stream has a queue of its own, so that none
/// waits for another, and publish() for nobody. The events themselves are shared: each is kept once, and encoded once
/// for each format, however many streams have it to send.
///
/// Copies of a Topic are the same topic. It may be destroyed before the service, and outlive it.
template <class T>
class Topic {
 public:
  using value_type = T;

  /// `capacity` events wait for each stream at the most, and `bytes` (16 MiB) for all streams together: beyond that the
  /// oldest events are dropped, or with Overflow::disconnect the streams that have not taken them. An event counts with
  /// about twice the bytes it has on the wire; one that is larger than the bound is delivered if no other waits. Those
  /// that are being sent, one for each stream at the most, are not in that bound: a slow reader costs no other one its
  /// events.
  explicit Topic(std::size_t capacity = 64, Overflow policy = Overflow::drop_oldest,
                 std::size_t bytes = std::size_t{16} * 1024 * 1024)
      : state_(std::make_shared<detail::TopicState<T>>(capacity, policy, bytes)) {}

  /// From any thread; does not wait. If there are streams, it costs one copy of the event, and encodes it once.
  void publish(const T& item) const {
    if (subscribers() == 0) return;
    const auto event = std::make_shared<detail::TopicEvent<T>>(item, state_->bytes);
    const std::lock_guard lock(state_->mutex);
    if (!state_->closed) state_->deliver(event);
  }
  /// Ends all streams, those to come included, once they have sent what they have; what is published later reaches
  /// nobody, and a closed topic cannot be opened again. From any thread, any number of times. For on_shutdown: a stop
  /// otherwise cuts the streams off after Limits::drain_timeout, without their end mark.
  void close() const {
    const std::lock_guard lock(state_->mutex);
    state_->closed = true;
    state_->wake_all();
  }

  /// How many streams follow now. From any thread.
  std::size_t subscribers() const {
    const std::lock_guard lock(state_->mutex);
    return state_->subscribers.size();
  }
  /// How many events have found no room in a queue, or were taken out of it unsent, in all. From any thread.
  std::uint64_t dropped() const {
    const std::lock_guard lock(state_->mutex);
    return state_->dropped;
  }

  /// How many bytes the events take that wait or are being sent, about. From any thread.
  std::size_t bytes() const noexcept { return state_->bytes; }

  /// The events from the first `next()` on, for a handler of one's own that filters or changes them. From any thread;
  /// the stream is for the coroutine that awaits it.
  Generator<T> subscribe() const { return detail::subscribe(state_); }

 private:
  std::shared_ptr<detail::TopicState<T>> state_;
};

}  // namespace v0_1
}  // namespace kettlingar
