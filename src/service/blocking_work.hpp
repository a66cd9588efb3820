// SPDX-License-Identifier: MIT
// service/blocking_work.hpp: system calls that may take long and cannot be waited for, done beside the loop.
#pragma once

#include "../base/version.hpp"  // defines ASIO_HAS_CO_AWAIT, so it must come before Asio

#include <poll.h>
#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <asio/any_io_executor.hpp>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/async_result.hpp>
#include <asio/execution_context.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/post.hpp>
#include <asio/use_awaitable.hpp>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <system_error>
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
  std::function<void(const IoOutcome&)> done = {};  ///< empty if nobody waits
  bool given_up = false;                            ///< need not be run any more
};

/// Threads that make such calls, and close what came from elsewhere. They are started when they are needed, up to
/// `most`, so that a file system that hangs holds up nothing but what is on it.
class BlockingThreads final : public Closer {
 public:
  static constexpr std::size_t most = 16;

  /// Makes sure that there is a thread. Throws std::system_error if there is none to be had.
  void start();
  /// Runs `call`, then its `done` on the same thread. From any thread, after start(); does nothing after stop().
  void run(std::shared_ptr<BlockingCall> call);
  /// Ends the wait for a call; it may go on. `done` is called if that has not happened.
  void give_up(BlockingCall& call);
  void close(int fd) noexcept override;
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
  std::function<void(const IoOutcome&)> take_waiting();
  static std::function<void(const IoOutcome&)> forget(BlockingCall& call) {
    call.given_up = true;
    return std::exchange(call.done, nullptr);
  }

  const pid_t pid_ = ::getpid();
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<BlockingCall>> queue_;
  std::array<Worker, most> workers_;
  std::size_t started_ = 0;
  std::size_t idle_ = 0;
  std::size_t completing_ = 0;  ///< threads that are calling a `done`
  bool stopped_ = false;
};

/// The threads of an io_context.
class BlockingWork : public asio::execution_context::service {
 public:
  using key_type = BlockingWork;
  static inline asio::execution_context::id id;

  explicit BlockingWork(asio::execution_context& context) : service(context), threads_(new BlockingThreads) {}
  ~BlockingWork() override {
    if (!threads_->here()) return;
    threads_->stop();
    threads_->release();
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

/// For asio::async_initiate().
struct StartBlockingCall {
  asio::any_io_executor executor;
  std::function<IoOutcome()> call;

  template <class Handler>
  void operator()(Handler handler) {
    const auto slot = asio::get_associated_cancellation_slot(handler);
    auto shared = std::make_shared<Handler>(std::move(handler));
    auto guard = std::make_shared<asio::executor_work_guard<asio::any_io_executor>>(executor);
    auto pending = std::make_shared<BlockingCall>();
    pending->call = std::move(call);
    pending->done = [shared, guard](const IoOutcome& outcome) {
      for (;;) {
        try {
          return asio::post(guard->get_executor(), [shared, guard, outcome] { std::move (*shared)(outcome); });
        } catch (const std::bad_alloc&) {
          ::poll(nullptr, 0, 10);  // whoever awaits it would wait forever
        }
      }
    };
    BlockingThreads& threads = blocking_threads(executor);
    if (slot.is_connected()) {
      auto give_up = [&threads, pending](asio::cancellation_type) { threads.give_up(*pending); };
      asio::cancellation_slot(slot).assign(std::move(give_up));
    }
    threads.run(std::move(pending));
  }
};

/// Runs `call` on a thread of the awaiting coroutine's io_context. What `call` uses must belong to it: when the wait is
/// cancelled, the outcome is ECANCELED, and the call goes on.
Task<IoOutcome> off_the_loop(std::function<IoOutcome()> call);

#if KETTLINGAR_DEFINITIONS
KETTLINGAR_INLINE BlockingThreads& blocking_threads(const asio::any_io_executor& executor) {
  return asio::use_service<BlockingWork>(asio::query(executor, asio::execution::context)).threads();
}

KETTLINGAR_INLINE Task<IoOutcome> off_the_loop(std::function<IoOutcome()> call) {
  const asio::any_io_executor executor = co_await asio::this_coro::executor;
  blocking_threads(executor).start();  // what is initiated must not throw
  StartBlockingCall initiate{executor, std::move(call)};
  const auto& token = asio::use_awaitable;
  co_return co_await asio::async_initiate<const asio::use_awaitable_t<>, void(IoOutcome)>(initiate, token);
}

KETTLINGAR_COLD void BlockingThreads::start_thread() {
  Worker& worker = workers_[started_];
  retain();
  try {
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
  if (queue_.size() >= idle_ && started_ < most) {
    try {
      start_thread();
    } catch (const std::system_error&) {
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
      const std::lock_guard lock(mutex_);
      if (enqueue(std::move(call))) return;
    } catch (const std::bad_alloc&) {
      // Then it is closed here.
    }
  }
  ::close(fd);
}

KETTLINGAR_COLD void BlockingThreads::give_up(BlockingCall& call) {
  std::function<void(const IoOutcome&)> done;
  {
    const std::lock_guard lock(mutex_);
    done = forget(call);
  }
  if (done) done({-1, ECANCELED});
}

KETTLINGAR_INLINE void BlockingThreads::loop(Worker& self) {
  // The host's signals are not for this thread; those that a fault of its own raises are.
  sigset_t others;
  ::sigfillset(&others);
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS}) ::sigdelset(&others, fault);
  ::pthread_sigmask(SIG_SETMASK, &others, nullptr);
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
  std::function<void(const IoOutcome&)> done = std::exchange(next->done, nullptr);
  if (!done) return;
  ++completing_;
  lock.unlock();
  done(outcome);
  done = nullptr;
  lock.lock();
  --completing_;
  changed_.notify_all();
}

/// With the mutex held: what waits for a call, if anything does.
KETTLINGAR_COLD std::function<void(const IoOutcome&)> BlockingThreads::take_waiting() {
  for (const auto& call : queue_) {
    if (call->done) return forget(*call);
  }
  for (const Worker& worker : workers_) {
    if (worker.current && worker.current->done) return forget(*worker.current);
  }
  return nullptr;
}

KETTLINGAR_COLD void BlockingThreads::stop() {
  constexpr std::chrono::seconds patience(1);
  std::unique_lock lock(mutex_);
  stopped_ = true;
  wake_.notify_all();
  // What waits is destroyed with the io_context, here and not later. It may close descriptors.
  while (std::function<void(const IoOutcome&)> waiting = take_waiting()) {
    lock.unlock();
    waiting = nullptr;
    lock.lock();
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
#endif

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
