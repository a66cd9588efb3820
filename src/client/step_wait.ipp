// SPDX-License-Identifier: MIT
// client/step_wait.ipp: how callers within the process wait for a step of their call, and where the handlers of a
// service that does not run are run meanwhile.
#pragma once

#include "../base/version.hpp"  // defines ASIO_HAS_CO_AWAIT, so it must come before Asio

#include <poll.h>

#include <asio/any_io_executor.hpp>
#include <asio/io_context.hpp>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include "../call/coroutine.hpp"
#include "../call/host_executor.ipp"
#include "../call/loop.ipp"
#include "../service/local_calls.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// One waits, the other makes a step and says when it has come to something. Either may go first.
class StepWait {
 public:
  /// A thread is about to wait, in wait() or by running `loop`; or a coroutine on `executor`, in async_wait().
  void begin(asio::io_context* loop = nullptr);
  void begin(const asio::any_io_executor& executor);
  /// For whoever waits.
  void wait();
  /// The StepWait must outlive the Task.
  Task<void> async_wait();
  bool over() const {
    const std::lock_guard lock(mutex_);
    return !waiting_;
  }
  /// Why there was no step; null if it has been made.
  const char* lost() const {
    const std::lock_guard lock(mutex_);
    return lost_;
  }
  /// Nobody waits any more, and what was waited on may go.
  void leave();

  /// The step has been made, or will not be, as `lost` says. From any thread; the first one counts.
  void finish(const char* lost = nullptr) noexcept;

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool waiting_ = false;
  const char* lost_ = nullptr;
  asio::io_context* loop_ = nullptr;
  std::unique_ptr<Wakeup> wakeup_;  ///< its timer belongs to whoever waits
};

/// Where handlers run for one call of a service that does not run: on the executor of whoever calls, and only while no
/// other such handler is at work. Copies of its executor may outlive what it stands for.
class IdlePlace : public std::enable_shared_from_this<IdlePlace> {
 public:
  IdlePlace(asio::any_io_executor caller, std::shared_ptr<LocalCalls> calls)
      : caller_(std::move(caller)), calls_(std::move(calls)) {}
  /// For what belongs to the call.
  asio::any_io_executor executor();
  /// What is posted from now on is not run, but destroyed.
  void close() {
    const std::lock_guard lock(mutex_);
    open_ = false;
  }

 private:
  void post(std::function<void()> work);

  const asio::any_io_executor caller_;
  const std::shared_ptr<LocalCalls> calls_;
  std::mutex mutex_;
  bool open_ = true;
};

/// Keeps a place open, for the caller and for the step that is being made.
class PlaceKey {
 public:
  explicit PlaceKey(std::shared_ptr<IdlePlace> place) : place_(std::move(place)) {}
  PlaceKey(const PlaceKey&) = delete;
  PlaceKey& operator=(const PlaceKey&) = delete;
  ~PlaceKey() { close(); }
  void close() { place_->close(); }

 private:
  std::shared_ptr<IdlePlace> place_;
};

KETTLINGAR_INLINE void StepWait::begin(asio::io_context* loop) {
  const std::lock_guard lock(mutex_);
  waiting_ = true;
  lost_ = nullptr;
  loop_ = loop;
}

KETTLINGAR_INLINE void StepWait::begin(const asio::any_io_executor& executor) {
  const std::lock_guard lock(mutex_);
  wakeup_ = std::make_unique<Wakeup>(executor);
  waiting_ = true;
  lost_ = nullptr;
}

KETTLINGAR_INLINE void StepWait::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !waiting_; });
}

KETTLINGAR_INLINE Task<void> StepWait::async_wait() {
  // A wake-up that is on its way finds this waiting: it comes through the same executor.
  while (!over()) co_await wakeup_->wait();
}

KETTLINGAR_INLINE void StepWait::leave() {
  const std::lock_guard lock(mutex_);
  waiting_ = false;
  loop_ = nullptr;
  wakeup_.reset();
}

KETTLINGAR_INLINE void StepWait::finish(const char* lost) noexcept {
  const std::lock_guard lock(mutex_);
  if (!std::exchange(waiting_, false)) return;
  lost_ = lost;
  changed_.notify_all();
  if (loop_ != nullptr) loop_->stop();
  while (wakeup_) {
    try {
      return wakeup_->wake();
    } catch (const std::bad_alloc&) {
      ::poll(nullptr, 0, 10);  // whoever waits would wait forever
    }
  }
}

KETTLINGAR_INLINE asio::any_io_executor IdlePlace::executor() {
  const auto self = shared_from_this();
  return HostExecutor(
      std::make_shared<const HostPost>([self](std::function<void()> work) { self->post(std::move(work)); }), caller_,
      self);
}

KETTLINGAR_INLINE void IdlePlace::post(std::function<void()> work) {
  const std::lock_guard lock(mutex_);
  if (!open_) return;
  detail::post(caller_, [self = shared_from_this(), work = std::move(work)] {
    const std::lock_guard turn(self->calls_->turn);
    work();
  });
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
