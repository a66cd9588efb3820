// SPDX-License-Identifier: MIT
// service/local_calls.ipp: what calls from within the process share with their service, so that either may go first.
#pragma once

#include "../base/version.hpp"  // defines ASIO_HAS_CO_AWAIT, so it must come before Asio

#include <sys/types.h>
#include <unistd.h>

#include <asio/any_io_executor.hpp>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "../call/loop.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

class Runner;

/// One call from within the process, as the service sees it.
class LocalCall {
 public:
  virtual ~LocalCall() = default;
  // Where the handler runs:
  /// True while a step of the handler is being made.
  virtual bool busy() const = 0;
  /// Ends the call without an answer: cancels what its handler awaits.
  virtual void close() = 0;
  /// Tells whoever waits for a step of the call that nothing will come of it. From any thread.
  virtual void lose(const char* why) = 0;
};

using LocalCallList = std::vector<std::shared_ptr<LocalCall>>;

inline void remove_call(LocalCallList& calls, const LocalCall* call) {
  std::erase_if(calls, [call](const std::shared_ptr<LocalCall>& one) { return one.get() == call; });
}

/// Shared by a service and its callers within the process; outlives both. For any thread.
class LocalCalls {
 public:
  LocalCalls(const Runner& the_runner, asio::any_io_executor loop) : runner(the_runner), loop_(std::move(loop)) {}

  /// To be used within an Inside only.
  const Runner& runner;
  /// Held while a handler of a service that does not run is at work, so that only one is, whichever threads call; held
  /// as well while the service starts. Locked before any other mutex.
  std::recursive_mutex turn;

  bool serving() const {
    const std::lock_guard lock(mutex_);
    return serving_;
  }
  /// The service starts or has ended. Steps that are waited for until then will not be made, and calls that began while
  /// it did not run are closed.
  void set_serving(bool serving);
  /// The service is destroyed. Waits until no thread runs a handler of it.
  void close();

  /// Notes that a step of `call` is waited for, and begins it: `start` gets the service's executor. Otherwise says why
  /// it cannot: the service has gone, or it does not run though the call began while it did, or the other way round.
  const char* begin(std::shared_ptr<LocalCall> call, bool serving,
                    const std::function<void(const asio::any_io_executor&)>& start);
  /// The step is not waited for any more.
  void end(const LocalCall* call) {
    const std::lock_guard lock(mutex_);
    remove_call(waiting_, call);
  }
  /// Calls of a service that does not run, from their begin to their end. With `turn` locked.
  void enter(std::shared_ptr<LocalCall> call) {
    const std::lock_guard lock(mutex_);
    idle_.push_back(std::move(call));
  }
  void leave(const LocalCall* call) {
    const std::lock_guard lock(mutex_);
    remove_call(idle_, call);
  }
  /// Calls `work` on the service's thread; false if the service does not run.
  bool post(std::function<void()> work);

  /// For as long as it lives, what a service consists of is not destroyed. False if that has happened.
  class Inside {
   public:
    explicit Inside(LocalCalls& calls);
    ~Inside();
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;
    explicit operator bool() const noexcept { return inside_; }

   private:
    LocalCalls& calls_;
    bool inside_;
  };

 private:
  /// A forked child has none of the service's threads.
  bool elsewhere() const { return serving_ && process_ != ::getpid(); }
  const char* changed() const {
    if (gone_) return "the service has gone";
    return serving_ ? "the service was started meanwhile" : "the service has stopped";
  }
  LocalCallList lose_all();
  void close_idle();

  const asio::any_io_executor loop_;
  mutable std::mutex mutex_;  ///< for what follows
  std::condition_variable left_;
  LocalCallList waiting_;
  LocalCallList idle_;
  int inside_ = 0;
  bool serving_ = false;
  pid_t process_ = 0;  ///< in which it does
  bool gone_ = false;
};

/// The calls, to be let go without the mutex.
KETTLINGAR_COLD LocalCallList LocalCalls::lose_all() {
  for (const std::shared_ptr<LocalCall>& call : waiting_) call->lose(changed());
  return std::exchange(waiting_, {});
}

/// Those of them that wait for their caller. The others are being waited for, and end with that.
KETTLINGAR_COLD void LocalCalls::close_idle() {
  const std::lock_guard my_turn(turn);
  LocalCallList present;
  {
    const std::lock_guard lock(mutex_);
    present = idle_;
  }
  for (const std::shared_ptr<LocalCall>& call : present) {
    if (!call->busy()) call->close();
  }
}

KETTLINGAR_COLD void LocalCalls::set_serving(bool serving) {
  LocalCallList lost;
  {
    const std::lock_guard lock(mutex_);
    if (serving == serving_) return;
    serving_ = serving;
    process_ = ::getpid();
    lost = lose_all();
  }
  if (serving) close_idle();
}

KETTLINGAR_COLD void LocalCalls::close() {
  LocalCallList lost;
  {
    const std::lock_guard lock(mutex_);
    gone_ = true;
    lost = lose_all();
  }
  close_idle();
  std::unique_lock lock(mutex_);
  left_.wait(lock, [this] { return inside_ == 0; });
}

KETTLINGAR_INLINE const char* LocalCalls::begin(std::shared_ptr<LocalCall> call, bool serving,
                                                const std::function<void(const asio::any_io_executor&)>& start) {
  const std::lock_guard lock(mutex_);
  if (elsewhere()) return "the service runs in another process";
  if (gone_ || serving != serving_) return changed();
  waiting_.push_back(std::move(call));
  try {
    start(loop_);
  } catch (...) {
    waiting_.pop_back();
    throw;
  }
  return nullptr;
}

KETTLINGAR_INLINE bool LocalCalls::post(std::function<void()> work) {
  const std::lock_guard lock(mutex_);
  if (gone_ || !serving_ || elsewhere()) return false;
  detail::post(loop_, std::move(work));
  return true;
}

KETTLINGAR_INLINE LocalCalls::Inside::Inside(LocalCalls& calls) : calls_(calls) {
  const std::lock_guard lock(calls.mutex_);
  inside_ = !calls.gone_;
  if (inside_) ++calls.inside_;
}

KETTLINGAR_INLINE LocalCalls::Inside::~Inside() {
  if (!inside_) return;
  const std::lock_guard lock(calls_.mutex_);
  if (--calls_.inside_ == 0) calls_.left_.notify_all();
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
