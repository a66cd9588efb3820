// SPDX-License-Identifier: MIT
// call/blocking_work.ipp: system calls that may take long and cannot be waited for, done beside the loop.
#pragma once

#include "../base/version.hpp"  // defines ASIO_HAS_CO_AWAIT, so it must come before Asio

#include <poll.h>
#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <asio/any_io_executor.hpp>
#include <asio/execution_context.hpp>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <utility>

#include "../os/descriptor.hpp"
#include "../os/passing.hpp"
#include "coroutine.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// What a system call came to.
struct IoOutcome {
  ssize_t count = 0;
  int error = 0;

  static IoOutcome of(ssize_t result) { return {result, result < 0 ? errno : 0}; }
  bool would_block() const noexcept { return error == EAGAIN || error == EWOULDBLOCK; }
};

/// A call on its way through the threads. Touched with their mutex held, but for `call`, which belongs to the thread
/// that runs it.
struct BlockingCall {
  std::function<IoOutcome()> call;
  std::unique_ptr<Wakeup> caller = {};  ///< of whoever waits for the outcome
  IoOutcome outcome = {-1, ECANCELED};
  bool given_up = false;  ///< need not be run any more
  std::chrono::steady_clock::time_point since = {};
};

/// Threads that make such calls, and close what came from elsewhere. They are started when they are needed, up to
/// `most`: a file system that hangs holds up nothing but what is on it, until it has so many of them.
class BlockingThreads final : public Closer {
 public:
  static constexpr std::size_t most = 16;

  /// Makes sure that there is a thread. Throws std::system_error if there is none to be had.
  void start();
  /// Runs `call`, then wakes its caller. From any thread, after start(); does nothing after stop(). Throws
  /// std::bad_alloc.
  void run(std::shared_ptr<BlockingCall> call);
  /// What a call has come to. If it has not, nobody waits for it any more: ECANCELED, while it may go on.
  IoOutcome take_outcome(BlockingCall& call);
  void close(int fd) noexcept override;
  /// True if all threads have been busy for a while, and much waits for them: each file that comes now may stay open.
  bool held_up();
  /// Nothing is waited for any more. Calls that hang are left behind: the threads keep what they need.
  void stop();
  /// False in a forked child, where this must not be touched, nor destroyed.
  bool here() const noexcept { return ::getpid() == pid_; }

 private:
  struct Worker {
    std::thread thread;
    std::shared_ptr<BlockingCall> current;
    bool ended = false;
  };

  bool enqueue(const std::shared_ptr<BlockingCall>& call);
  void start_thread();
  void loop(Worker& self);
  void run_next(Worker& self, std::unique_lock<std::mutex>& lock);
  static void give_up(BlockingCall& call) {
    call.given_up = true;
    call.caller.reset();
  }

  const pid_t pid_ = ::getpid();
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<BlockingCall>> queue_;
  std::array<Worker, most> workers_;
  std::size_t started_ = 0;
  std::size_t idle_ = 0;
  std::size_t completing_ = 0;  ///< threads that are waking a caller
  bool stopped_ = false;
};

/// The threads of an io_context.
class BlockingWork : public asio::execution_context::service {
 public:
  using key_type = BlockingWork;
  /// The one that Asio knows this service by where there is no RTTI. Made when it is needed, not before main().
  struct Id {
    operator const asio::execution_context::id&() const {
      static const auto* const id = new asio::execution_context::id;
      return *id;
    }
  };
  static constexpr Id id{};

  explicit BlockingWork(asio::execution_context& context) : service(context), threads_(new BlockingThreads) {}
  ~BlockingWork() override {
    if (threads_->here()) threads_->release();
  }

  BlockingThreads& threads() const noexcept { return *threads_; }

 private:
  void shutdown() override {
    if (threads_->here()) threads_->stop();
  }
  /// A forked child has none of the threads, and what they held stays as it was: it gets others.
  void notify_fork(asio::execution_context::fork_event event) override {
    if (event == asio::execution_context::fork_child) threads_ = new BlockingThreads;
  }

  BlockingThreads* threads_;
};

/// The threads of the executor's io_context. No thread is started by this.
BlockingThreads& blocking_threads(const asio::any_io_executor& executor);

/// Runs `call` on a thread of the awaiting coroutine's io_context. What `call` uses must belong to it: when the wait is
/// cancelled, the outcome is ECANCELED, and the call goes on.
Task<IoOutcome> off_the_loop(std::function<IoOutcome()> call);

KETTLINGAR_INLINE BlockingThreads& blocking_threads(const asio::any_io_executor& executor) {
  return asio::use_service<BlockingWork>(asio::query(executor, asio::execution::context)).threads();
}

KETTLINGAR_INLINE Task<IoOutcome> off_the_loop(std::function<IoOutcome()> call) {
  const asio::any_io_executor executor = co_await asio::this_coro::executor;
  BlockingThreads& threads = blocking_threads(executor);
  threads.start();
  const Wakeup wakeup(executor);
  const auto pending = std::make_shared<BlockingCall>();
  pending->call = std::move(call);
  pending->caller = std::make_unique<Wakeup>(wakeup);
  threads.run(pending);
  // It cannot be woken before it waits: that happens on this thread, too.
  co_await wakeup.wait();
  co_return threads.take_outcome(*pending);
}

/// While it lives, threads start with all signals blocked but those that a fault of their own raises: the host's are
/// not for them.
class SignalsBlocked {
 public:
  SignalsBlocked() noexcept {
    sigset_t others;
    ::sigfillset(&others);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS}) ::sigdelset(&others, fault);
    ::pthread_sigmask(SIG_BLOCK, &others, &before_);
  }
  ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

KETTLINGAR_COLD void BlockingThreads::start_thread() {
  Worker& worker = workers_[started_];
  retain();
  try {
    const SignalsBlocked blocked;
    worker.thread = std::thread([this, &worker] {
      loop(worker);
      release();
    });
  } catch (...) {
    release();
    throw;
  }
  ++started_;
  ++idle_;
}

KETTLINGAR_INLINE void BlockingThreads::start() {
  const std::lock_guard lock(mutex_);
  if (!stopped_ && started_ == 0) start_thread();
}

/// With the mutex held. False if there is nobody to run it.
KETTLINGAR_INLINE bool BlockingThreads::enqueue(const std::shared_ptr<BlockingCall>& call) {
  if (stopped_) return false;
  call->since = std::chrono::steady_clock::now();
  if (queue_.size() >= idle_ && started_ < most) {
    try {
      start_thread();
    } catch (const std::exception&) {
      if (started_ == 0) return false;  // otherwise it is the others' turn
    }
  }
  queue_.push_back(call);
  wake_.notify_one();
  return true;
}

KETTLINGAR_INLINE void BlockingThreads::run(std::shared_ptr<BlockingCall> call) {
  const std::lock_guard lock(mutex_);
  enqueue(call);
}

KETTLINGAR_INLINE void BlockingThreads::close(int fd) noexcept {
  if (!make_closable(fd) && here()) {
    try {
      auto call = std::make_shared<BlockingCall>();
      call->call = [fd] { return IoOutcome::of(::close(fd)); };
      {
        const std::lock_guard lock(mutex_);
        if (enqueue(std::move(call))) return;
      }
      // After the end, when nobody waits for anything any more.
      const SignalsBlocked blocked;
      return std::thread([fd] { ::close(fd); }).detach();
    } catch (const std::exception&) {
      // For want of memory, or of threads: then it is closed here.
    }
  }
  ::close(fd);
}

KETTLINGAR_COLD bool BlockingThreads::held_up() {
  constexpr std::size_t many = 64;
  constexpr std::chrono::seconds a_while(1);
  const std::lock_guard lock(mutex_);
  return queue_.size() > many && std::chrono::steady_clock::now() - queue_.front()->since > a_while;
}

KETTLINGAR_INLINE IoOutcome BlockingThreads::take_outcome(BlockingCall& call) {
  const std::lock_guard lock(mutex_);
  give_up(call);
  return call.outcome;
}

KETTLINGAR_INLINE void BlockingThreads::loop(Worker& self) {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopped_ || !queue_.empty(); });
    if (queue_.empty()) break;
    --idle_;
    run_next(self, lock);
    ++idle_;
  }
  self.ended = true;
  changed_.notify_all();
}

/// For want of memory a wake-up waits: without it the caller would, for ever.
KETTLINGAR_COLD void wake_surely(const Wakeup& caller) {
  for (;;) {
    try {
      return caller.wake();
    } catch (const std::bad_alloc&) {
      ::poll(nullptr, 0, 10);
    }
  }
}

/// What calls own is let go without the mutex: it may be descriptors, which come back here to be closed.
KETTLINGAR_INLINE void BlockingThreads::run_next(Worker& self, std::unique_lock<std::mutex>& lock) {
  const std::shared_ptr<BlockingCall> next = self.current = std::move(queue_.front());
  queue_.pop_front();
  const bool wanted = !next->given_up;
  lock.unlock();
  IoOutcome outcome;
  if (wanted) outcome = next->call();
  next->call = nullptr;
  lock.lock();
  self.current.reset();
  if (!next->caller) return;
  next->outcome = outcome;
  std::unique_ptr<Wakeup> caller = std::move(next->caller);
  ++completing_;
  lock.unlock();
  wake_surely(*caller);
  caller.reset();
  lock.lock();
  --completing_;
  changed_.notify_all();
}

KETTLINGAR_COLD void BlockingThreads::stop() {
  constexpr std::chrono::seconds patience(1);
  std::unique_lock lock(mutex_);
  stopped_ = true;
  wake_.notify_all();
  // The loop of those who wait goes now.
  for (const auto& call : queue_) {
    if (call->caller) give_up(*call);
  }
  for (const Worker& worker : workers_) {
    if (worker.current && worker.current->caller) give_up(*worker.current);
  }
  changed_.wait(lock, [this] { return completing_ == 0; });
  const auto all_ended = [this] {
    for (std::size_t i = 0; i < started_; ++i) {
      if (!workers_[i].ended) return false;
    }
    return true;
  };
  if (!all_ended()) changed_.wait_for(lock, patience, all_ended);
  for (Worker& worker : workers_) {
    if (!worker.thread.joinable()) continue;
    // The mutex is free as soon as a thread that has ended has come this far.
    std::thread thread = std::move(worker.thread);
    worker.ended ? thread.join() : thread.detach();
  }
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
