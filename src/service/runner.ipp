// SPDX-License-Identifier: MIT
// service/runner.ipp: on which thread a service runs, how it starts there, and how it is stopped from anywhere.
#pragma once

#include "../base/version.hpp"  // defines ASIO_HAS_CO_AWAIT, so it must come before Asio

#include <pthread.h>

#include <array>
#include <asio/any_io_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "../base/errors.hpp"
#include "../base/log.hpp"
#include "../call/coroutine.hpp"
#include "../call/host_executor.ipp"
#include "../call/loop.ipp"
#include "../os/descriptor.hpp"
#include "server.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Runs a Server: on a thread of its own, on the thread that calls run() or poll(), or on a loop of the host.
/// start(), run(), start_thread() and stop() are for any thread; the rest is for the one that runs the service.
///
/// A service belongs to the process that started it. A forked child has copies of all its descriptors, even of the set
/// that the loop waits for, but none of its threads: there nothing is touched, nor freed.
class Runner : public std::enable_shared_from_this<Runner> {
 public:
  /// With a loop of its own. It has descriptors, which get none of the numbers of standard streams: main() finds those
  /// closed then, if they were.
  explicit Runner(const std::array<Fd, 3>& = occupy_standard_streams(false))
      : own_loop_(std::make_unique<asio::io_context>(1)),
        server_(std::make_shared<Server>(own_loop_->get_executor())),
        stopped_(server_->executor) {}
  /// On the host's loop, which outlives it.
  explicit Runner(asio::any_io_executor host)
      : server_(std::make_shared<Server>(std::move(host))), stopped_(server_->executor) {}
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  Server& server() const noexcept { return *server_; }
  const std::shared_ptr<Server>& shared_server() const noexcept { return server_; }
  const std::shared_ptr<LocalCalls>& local_calls() const noexcept { return local_calls_; }
  bool serving() const noexcept { return serving_ && !forked(); }
  /// Expires when the service has ended for good.
  std::weak_ptr<void> alive() const { return alive_; }
  /// True on the thread on which handlers run just now.
  bool in_service_thread() const;
  /// Whether the calling thread runs, or polls, the service of this process that has this address: whoever waits for
  /// that here waits for ever.
  static bool runs_on_this_thread(const std::string& host, unsigned port, const std::string& path,
                                  const std::string& socket);
  /// True where what belongs to the service may be used: on its thread, between two polls on the one that polls, and
  /// anywhere while it does not run. Where only the host can know, too.
  bool may_be_used_here() const;
  /// Whether the calling thread runs, or polls, this service.
  bool runs_here() const;

  void start();
  void run();
  void start_thread();
  std::size_t poll();
  std::size_t poll_for(std::chrono::steady_clock::duration budget);
  void stop();
  /// For good: nothing of the service is left behind that could call into the program.
  void end();

  /// Stops in order: hook, files, connections. On the service's thread.
  void shut_down();
  /// shut_down(), awaited until the files have gone.
  Task<void> until_stopped();
  /// For main(), which has signals to wait for on it.
  asio::io_context& own_loop() {
    if (!own_loop_) throw StartError("the service runs on its host's loop: use start()");
    return *own_loop_;
  }
  /// Without waiting, open and serve() are the halves of run().
  void open();
  void serve();

  std::function<Task<void>()> start_hook;
  std::function<Task<void>()> shutdown_hook;

 private:
  enum class Mode { none, thread, run, polled, hosted };

  /// Runs the loop in some way. What is thrown there is logged, and the service goes on: nothing of ours throws this
  /// far but for want of memory; what the program has posted to the loop may.
  template <class Run>
  void logged(Run run) {
    try {
      run();
    } catch (...) {
      server_->log.write(LogLevel::error, "internal: " + log_escaped(words_of(std::current_exception())));
    }
  }

  /// In another process than the one whose descriptors these are.
  bool forked() const noexcept { return process_ != ::getpid(); }
  void adopt_loop();
  void set_serving(bool serving);
  void leave_behind();
  void end_last_run();
  void run_start_hook();
  static Task<void> start_on_host(std::shared_ptr<Runner> self);
  static Task<void> stop_in_order(std::shared_ptr<Runner> self);
  void ended();
  void wait_until_stopped(std::unique_lock<std::mutex> lock);
  std::chrono::milliseconds longest_stop() const {
    return server_->limits.shutdown_timeout + 2 * server_->limits.drain_timeout + std::chrono::seconds(1);
  }

  std::unique_ptr<asio::io_context> own_loop_;  ///< first, for the server's timers belong to it
  std::shared_ptr<Server> server_;
  std::shared_ptr<LocalCalls> local_calls_ = std::make_shared<LocalCalls>(*this, server_->executor);
  std::shared_ptr<void> alive_ = std::make_shared<char>();
  asio::steady_timer stopped_;  ///< cancelled when the files have gone
  asio::cancellation_signal cancel_hook_;
  bool opening_ = false;  ///< on_start runs
  bool stopping_ = false;
  std::atomic<unsigned> runs_ = 0;
  pid_t process_ = ::getpid();

  std::atomic<bool> serving_ = false;
  mutable std::mutex mutex_;  ///< for what follows
  std::condition_variable changed_;
  Mode mode_ = Mode::none;
  std::thread thread_;
  std::thread::id poller_;  ///< who called start() or poll() last

  /// Those that serve, in any process. Not std::mutex, whose destructor exit() might have to call.
  static inline pthread_mutex_t serving_mutex_ = PTHREAD_MUTEX_INITIALIZER;
  static inline Runner* first_serving_ = nullptr;
  static inline std::atomic<pid_t> serving_process_ = 0;
  Runner* next_serving_ = nullptr;

  /// Those that nobody may destroy any more, for leak checkers.
  static inline Runner* left_behind_ = nullptr;
  Runner* next_left_behind_ = nullptr;
  std::shared_ptr<Runner> itself_;
};

KETTLINGAR_INLINE bool Runner::in_service_thread() const {
  return own_loop_ && own_loop_->get_executor().running_in_this_thread();
}

KETTLINGAR_INLINE bool Runner::may_be_used_here() const {
  if (!serving() || !own_loop_ || in_service_thread()) return true;
  const std::lock_guard lock(mutex_);
  return mode_ == Mode::polled && poller_ == std::this_thread::get_id();
}

KETTLINGAR_COLD void Runner::set_serving(bool serving) {
  ::pthread_mutex_lock(&serving_mutex_);
  Runner** link = &first_serving_;
  while (*link != nullptr && *link != this) link = &(*link)->next_serving_;
  if (*link != nullptr) *link = next_serving_;
  if (serving) next_serving_ = std::exchange(first_serving_, this);
  serving_process_ = first_serving_ != nullptr ? ::getpid() : 0;
  serving_ = serving;
  ::pthread_mutex_unlock(&serving_mutex_);
  local_calls_->set_serving(serving);
}

KETTLINGAR_COLD bool Runner::runs_here() const {
  if (!serving()) return false;
  if (HostWork::is_for(alive_.get())) return true;
  if (!own_loop_) return detail::runs_on_this_thread(server_->executor) == OnThisThread::yes;
  if (in_service_thread()) return true;
  const std::unique_lock lock(mutex_, std::try_to_lock);
  return lock && mode_ == Mode::polled && poller_ == std::this_thread::get_id();
}

KETTLINGAR_COLD bool Runner::runs_on_this_thread(const std::string& host, unsigned port, const std::string& path,
                                                 const std::string& socket) {
  // In a forked child the mutex may be one that nobody gives back.
  if (serving_process_ != ::getpid()) return false;
  const std::string url = "http://" + host + ":" + std::to_string(port) + path;
  bool found = false;
  ::pthread_mutex_lock(&serving_mutex_);
  for (Runner* runner = first_serving_; runner != nullptr && !found; runner = runner->next_serving_) {
    const Server& server = *runner->server_;
    found = server.published_url() == url && (port != 0 || server.socket_path() == socket) && runner->runs_here();
  }
  ::pthread_mutex_unlock(&serving_mutex_);
  return found;
}

/// In a forked child, before its first start.
KETTLINGAR_COLD void Runner::adopt_loop() {
  if (serving_) throw StartError("process " + std::to_string(process_) + " runs the service: use a Kitten of your own");
  if (own_loop_) own_loop_->notify_fork(asio::execution_context::fork_child);
  // Of the last run in the parent: it can be neither joined nor detached here.
  if (thread_.joinable()) static_cast<void>(new std::thread(std::move(thread_)));
  process_ = ::getpid();
}

/// Opens and, unless the loop is the host's, announces the service.
KETTLINGAR_COLD void Runner::open() {
  if (forked()) adopt_loop();
  if (serving_) throw StartError("the service runs already");
  ++runs_;
  stopping_ = false;
  server_->stopped = [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->ended();
  };
  if (own_loop_) own_loop_->restart();
  server_->open();
  opening_ = static_cast<bool>(start_hook);
  if (start_hook && own_loop_) run_start_hook();
  if (start_hook && !own_loop_) {
    spawn(
        server_->executor, start_on_host(shared_from_this()), [](const std::exception_ptr&) {}, cancel_hook_.slot());
  } else {
    server_->announce();
  }
  set_serving(true);
}

KETTLINGAR_COLD void Runner::run_start_hook() {
  std::exception_ptr thrown;
  bool done = false;
  WhenEnded ended = [&](const std::exception_ptr& error) {
    thrown = error;
    done = true;
  };
  spawn(server_->executor, start_hook(), std::move(ended), cancel_hook_.slot());
  while (!done) logged([this] { own_loop_->run_one(); });
  own_loop_->restart();  // without work it has stopped
  opening_ = false;
  if (!thrown && !stopping_) return;
  server_->abandon();
  throw StartError(stopping_ ? "on_start: stopped" : "on_start: " + words_of(thrown));
}

// start() has returned by then, so that what goes wrong is told to the log.
KETTLINGAR_COLD Task<void> Runner::start_on_host(std::shared_ptr<Runner> self) {
  std::string why = "stopped";
  try {
    co_await self->start_hook();
    self->opening_ = false;
    if (!self->stopping_) co_return self->server_->announce();
  } catch (...) {
    if (!self->stopping_) why = log_escaped(words_of(std::current_exception()));
  }
  self->opening_ = false;
  self->server_->log.write(LogLevel::error, "on_start: " + why);
  self->server_->abandon();
  self->ended();
}

KETTLINGAR_INLINE void Runner::serve() {
  while (!own_loop_->stopped()) logged([this] { own_loop_->run(); });
}

/// The last connection has gone.
KETTLINGAR_INLINE void Runner::ended() {
  if (own_loop_) own_loop_->stop();
  const std::lock_guard lock(mutex_);
  set_serving(false);
  changed_.notify_all();
}

/// The thread of a service that was stopped by a caller may still be there.
KETTLINGAR_INLINE void Runner::end_last_run() {
  if (serving()) throw StartError("the service runs already");
  if (thread_.joinable() && !forked()) thread_.join();
}

KETTLINGAR_COLD void Runner::start() {
  const std::lock_guard turn(local_calls_->turn);
  const std::lock_guard lock(mutex_);
  end_last_run();
  open();
  mode_ = own_loop_ ? Mode::polled : Mode::hosted;
  poller_ = std::this_thread::get_id();
}

KETTLINGAR_COLD void Runner::run() {
  own_loop();
  {
    const std::lock_guard turn(local_calls_->turn);
    const std::lock_guard lock(mutex_);
    end_last_run();
    open();
    mode_ = Mode::run;
  }
  serve();
}

KETTLINGAR_COLD void Runner::start_thread() {
  own_loop();
  const std::lock_guard turn(local_calls_->turn);
  const std::lock_guard lock(mutex_);
  end_last_run();
  open();
  try {
    thread_ = std::thread([this] { serve(); });
  } catch (const std::exception& error) {
    server_->kill();
    set_serving(false);
    throw StartError(std::string("cannot start a thread: ") + error.what());
  }
  mode_ = Mode::thread;
}

KETTLINGAR_INLINE std::size_t Runner::poll() {
  if (!serving() || !own_loop_) return 0;
  {
    const std::lock_guard lock(mutex_);
    if (mode_ != Mode::polled) return 0;
    poller_ = std::this_thread::get_id();
  }
  return own_loop_->poll();
}

KETTLINGAR_INLINE std::size_t Runner::poll_for(std::chrono::steady_clock::duration budget) {
  if (!serving() || !own_loop_) return 0;
  {
    const std::lock_guard lock(mutex_);
    if (mode_ != Mode::polled) return 0;
    poller_ = std::this_thread::get_id();
  }
  // Within what the loop does at once, the service looks at the clock, too.
  struct Budget {
    Server& server;
    ~Budget() { server.budget_end = Clock::time_point::max(); }
  } given{*server_};
  server_->budget_end = Clock::now() + budget;
  std::size_t count = 0;
  while (own_loop_->poll_one() != 0) {
    ++count;
    if (server_->budget_used_up()) break;
  }
  return count;
}

KETTLINGAR_COLD void Runner::stop() {
  if (forked()) return;
  // A start that another thread is at goes first; on_start, which may call this, is within one.
  std::unique_lock lock(mutex_, std::defer_lock);
  if (!in_service_thread()) lock.lock();
  if (in_service_thread() && opening_) return shut_down();
  // A request to stop that comes too late must not end the next run.
  if (serving_) {
    post(server_->executor, [weak = weak_from_this(), run = runs_.load()] {
      const auto self = weak.lock();
      if (self && run == self->runs_) self->shut_down();
    });
  }
  if (lock) wait_until_stopped(std::move(lock));
}

/// What is on this thread's stack, or another process's, may not be destroyed.
KETTLINGAR_COLD void Runner::leave_behind() {
  itself_ = shared_from_this();
  next_left_behind_ = std::exchange(left_behind_, this);
}

KETTLINGAR_COLD void Runner::end() {
  if (forked()) return leave_behind();
  if (in_service_thread()) {
    // Somebody calls exit() in a handler, or in a hook: nothing that waits will ever go on.
    shut_down();
    server_->kill();
    return leave_behind();
  }
  if (own_loop_) {
    {
      // Nobody else polls any more.
      const std::lock_guard lock(mutex_);
      poller_ = std::this_thread::get_id();
    }
    stop();
  } else if (serving_) {
    // The host's loop may not run any more, and then nobody else would take the files away.
    server_->kill();
    ended();
  }
  if (serving_) set_serving(false);
  local_calls_->close();
  alive_.reset();
  start_hook = shutdown_hook = nullptr;
}

KETTLINGAR_COLD void Runner::wait_until_stopped(std::unique_lock<std::mutex> lock) {
  if (mode_ == Mode::hosted || mode_ == Mode::none) return;
  if (mode_ == Mode::thread && thread_.joinable()) {
    std::thread ending = std::exchange(thread_, {});
    lock.unlock();
    ending.join();
    return;
  }
  const auto end = std::chrono::steady_clock::now() + longest_stop();
  if (mode_ == Mode::polled && poller_ == std::this_thread::get_id()) {
    lock.unlock();
    while (serving_ && std::chrono::steady_clock::now() < end)
      logged([this] { own_loop_->run_one_for(std::chrono::milliseconds(50)); });
    return;
  }
  // Another thread is at it.
  changed_.wait_until(lock, end, [this] { return !serving_; });
}

KETTLINGAR_COLD void Runner::shut_down() {
  if ((!opening_ && !server_->running()) || std::exchange(stopping_, true)) return;
  if (opening_) return cancel_hook_.emit(asio::cancellation_type::terminal);
  stopped_.expires_at(asio::steady_timer::time_point::max());
  spawn(server_->executor, stop_in_order(shared_from_this()));
}

KETTLINGAR_COLD Task<void> Runner::stop_in_order(std::shared_ptr<Runner> self) {
  Server& server = *self->server_;
  if (self->shutdown_hook) {
    // Shared, for a hook that does not end when it is cancelled is left behind.
    const auto limit = std::make_shared<asio::steady_timer>(server.executor, server.limits.shutdown_timeout);
    const auto done = std::make_shared<bool>(false);
    WhenEnded ended = [limit, done, owner = self->server_](const std::exception_ptr& thrown) {
      *done = true;
      limit->cancel();
      if (thrown) owner->log.write(LogLevel::error, "on_shutdown: " + log_escaped(words_of(thrown)));
    };
    spawn(server.executor, self->shutdown_hook(), ended, self->cancel_hook_.slot());
    if (!*done) co_await expiry(*limit);
    if (!*done) {
      limit->expires_after(server.limits.drain_timeout);
      self->cancel_hook_.emit(asio::cancellation_type::terminal);
      if (!*done) co_await expiry(*limit);
    }
  }
  server.stop();
  self->stopped_.cancel();
}

KETTLINGAR_COLD Task<void> Runner::until_stopped() {
  if (forked()) co_return;
  shut_down();
  if (stopping_ && server_->running()) co_await expiry(stopped_);
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
