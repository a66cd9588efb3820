// SPDX-License-Identifier: MIT
// service/file_io.hpp: reading and writing descriptors that others share, without blocking the loop and without
// changing their flags.
#pragma once

#include "../base/version.hpp"  // defines ASIO_HAS_CO_AWAIT, so it must come before Asio

#if defined(__linux__)
#include <sys/epoll.h>
#include <sys/ioctl.h>
#else
#include <sys/event.h>
#endif
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/uio.h>

#include <asio/any_io_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/execution_context.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/post.hpp>
#include <asio/redirect_error.hpp>
#include <asio/system_error.hpp>
#include <asio/use_awaitable.hpp>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "../base/errors.hpp"
#include "../os/descriptor.hpp"
#include "../os/socket.hpp"
#include "coroutine.hpp"
#include "operations.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Waits for a descriptor through an epoll (or kqueue) descriptor of its own. Asio would set O_NONBLOCK on the
/// descriptor it waits for, and with it on everybody's who shares the open file.
class Readiness {
 public:
  enum class For { reading, writing };

  /// `fd` stays the caller's and must outlive this. Regular files are always ready: supported() is false.
  Readiness(const asio::any_io_executor& executor, int fd, For what) : proxy_(executor) {
#if defined(__linux__)
    Fd proxy(::epoll_create1(EPOLL_CLOEXEC));
    epoll_event event{};
    event.events = what == For::reading ? EPOLLIN | EPOLLRDHUP : EPOLLOUT;
    supported_ = proxy && ::epoll_ctl(proxy.get(), EPOLL_CTL_ADD, fd, &event) == 0;
#else
    Fd proxy(::kqueue());
    struct kevent event {};
    EV_SET(&event, fd, what == For::reading ? EVFILT_READ : EVFILT_WRITE, EV_ADD, 0, 0, nullptr);
    supported_ = proxy && ::kevent(proxy.get(), &event, 1, nullptr, 0, nullptr) == 0;
#endif
    if (!supported_) return;
    proxy_.assign(proxy.get());
    proxy.release();
  }

  bool supported() const noexcept { return supported_; }
  /// Completes as asio::posix::stream_descriptor::async_wait does.
  template <class Token>
  auto async_wait(Token&& token) {
    return proxy_.async_wait(asio::posix::stream_descriptor::wait_read, std::forward<Token>(token));
  }

 private:
  asio::posix::stream_descriptor proxy_;
  bool supported_ = false;
};

/// One thread for each io_context, made when it is first needed, that does what cannot be waited for: disk I/O. Joined
/// when the io_context is destroyed.
class FileWork : public asio::execution_context::service {
 public:
  using key_type = FileWork;
  static inline asio::execution_context::id id;

  explicit FileWork(asio::execution_context& context) : service(context) {}
  ~FileWork() override { stop(); }

  /// Makes sure that there is a thread. Throws std::system_error if there is none to be had.
  void start() {
    const std::lock_guard lock(mutex_);
    if (!stopped_ && !thread_.joinable()) thread_ = std::thread([this] { loop(); });
  }
  /// Runs `work` on the thread. From any thread, after start().
  void run(std::function<void()> work) {
    const std::lock_guard lock(mutex_);
    if (stopped_) return;
    queue_.push_back(std::move(work));
    wake_.notify_one();
  }

 private:
  void shutdown() override { stop(); }
  /// A forked child has no such thread, and what it held stays as it was.
  void notify_fork(asio::execution_context::fork_event event) override {
    if (event != asio::execution_context::fork_child || !thread_.joinable()) return;
    static_cast<void>(new std::thread(std::move(thread_)));
    new (&mutex_) std::mutex;
    new (&wake_) std::condition_variable;
    queue_.clear();
  }
  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopped_ = true;
    }
    wake_.notify_one();
    if (thread_.joinable()) thread_.join();
    queue_.clear();
  }
  void loop() {
    // The host's signals are not for this thread; those that a fault of its own raises are.
    sigset_t others;
    ::sigfillset(&others);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS}) ::sigdelset(&others, fault);
    ::pthread_sigmask(SIG_SETMASK, &others, nullptr);
    for (;;) {
      std::function<void()> work;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [this] { return stopped_ || !queue_.empty(); });
        if (stopped_) return;
        work = std::move(queue_.front());
        queue_.pop_front();
      }
      work();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> queue_;
  std::thread thread_;
  bool stopped_ = false;
};

/// What a system call came to.
struct IoOutcome {
  ssize_t count = 0;
  int error = 0;

  static IoOutcome of(ssize_t result) { return {result, result < 0 ? errno : 0}; }
  bool would_block() const noexcept { return error == EAGAIN || error == EWOULDBLOCK; }
};

/// Has a call made on the FileWork thread, for asio::async_initiate().
struct StartOnFileThread {
  asio::any_io_executor executor;
  std::function<IoOutcome()> call;

  template <class Handler>
  void operator()(Handler handler) {
    auto shared = std::make_shared<Handler>(std::move(handler));
    auto guard = std::make_shared<asio::executor_work_guard<asio::any_io_executor>>(executor);
    auto& work = asio::use_service<FileWork>(asio::query(executor, asio::execution::context));
    work.run([shared, guard, call = std::move(call)] {
      const IoOutcome outcome = call();
      for (;;) {
        try {
          return asio::post(guard->get_executor(), [shared, guard, outcome] { std::move (*shared)(outcome); });
        } catch (const std::bad_alloc&) {
          ::poll(nullptr, 0, 10);  // whoever awaits it would wait forever
        }
      }
    });
  }
};

/// Runs `call` on the FileWork thread of the awaiting coroutine's io_context. What `call` uses must belong to it: a
/// cancelled coroutine may be gone before it ends.
Task<IoOutcome> on_file_thread(std::function<IoOutcome()> call);
#if KETTLINGAR_DEFINITIONS
KETTLINGAR_INLINE Task<IoOutcome> on_file_thread(std::function<IoOutcome()> call) {
  const asio::any_io_executor executor = co_await asio::this_coro::executor;
  // What is initiated must not throw.
  asio::use_service<FileWork>(asio::query(executor, asio::execution::context)).start();
  StartOnFileThread initiate{executor, std::move(call)};
  const auto& token = asio::use_awaitable;
  co_return co_await asio::async_initiate<const asio::use_awaitable_t<>, void(IoOutcome)>(initiate, token);
}
#endif

/// Writes to a pipe or file without a SIGPIPE, whatever the program does about those: it is held back and taken out.
inline ssize_t write_quietly(int fd, std::string_view bytes) {
  sigset_t pipe_signal, pending, before;
  ::sigemptyset(&pipe_signal);
  ::sigaddset(&pipe_signal, SIGPIPE);
  ::sigemptyset(&pending);
  ::sigpending(&pending);
  const bool was_pending = ::sigismember(&pending, SIGPIPE) == 1;
  ::pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
  const ssize_t n = retry_interrupted([&] { return ::write(fd, bytes.data(), bytes.size()); });
  const int error = errno;
  if (n < 0 && error == EPIPE && !was_pending) {
#if defined(__linux__)
    const timespec at_once{};
    retry_interrupted([&] { return ::sigtimedwait(&pipe_signal, nullptr, &at_once); });
#else
    int taken = 0;
    ::sigpending(&pending);
    if (::sigismember(&pending, SIGPIPE) == 1) ::sigwait(&pipe_signal, &taken);
#endif
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  return n;
}

inline bool ready_now(int fd, short events) {
  pollfd entry{fd, events, 0};
  return retry_interrupted([&] { return ::poll(&entry, 1, 0); }) > 0;
}

enum class DescriptorKind { socket, stream, file };

/// A socket, something one can wait for (pipes, terminals), or something that is always ready and yet may take its
/// time. Throws std::system_error for what cannot be read or written at all.
inline DescriptorKind kind_of(int fd) {
  FileInfo info{};
  if (::fstat(fd, &info) != 0) throw_errno("cannot use a descriptor");
  if (S_ISSOCK(info.st_mode)) return DescriptorKind::socket;
  if (S_ISDIR(info.st_mode)) throw_errno("cannot use a descriptor", EISDIR);
  return S_ISREG(info.st_mode) || S_ISBLK(info.st_mode) ? DescriptorKind::file : DescriptorKind::stream;
}

/// A terminal takes what fits and waits for its reader with the rest, whatever poll() said. Opened anew it can be told
/// not to, unseen by those who share it. Nothing if that cannot be done: opening a pty's master makes another one.
inline Fd reopen_terminal(int fd) {
#if defined(__linux__)
  int number = 0;
  const bool is_master = ::ioctl(fd, TIOCGPTN, &number) == 0;
  if (is_master || (::fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY) return {};
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  return Fd(::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
#else
  static_cast<void>(fd);
  return {};
#endif
}

/// Reads what is there now.
inline IoOutcome read_now(int fd, bool is_socket, char* data, std::size_t size) {
  if (is_socket) return IoOutcome::of(retry_interrupted([&] { return ::recv(fd, data, size, MSG_DONTWAIT); }));
#if defined(RWF_NOWAIT)
  // Readiness can be gone by now where others read, too.
  const iovec part{data, size};
  const ssize_t n = retry_interrupted([&] { return ::preadv2(fd, &part, 1, -1, RWF_NOWAIT); });
  if (n >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL)) return IoOutcome::of(n);
#endif
  if (!ready_now(fd, POLLIN)) return {-1, EAGAIN};
  return IoOutcome::of(retry_interrupted([&] { return ::read(fd, data, size); }));
}

/// Writes what fits now.
inline IoOutcome write_now(int fd, bool is_socket, std::string_view bytes) {
  if (is_socket) return IoOutcome::of(send_some(fd, bytes));
  pollfd entry{fd, POLLOUT, 0};
  if (retry_interrupted([&] { return ::poll(&entry, 1, 0); }) <= 0) return {-1, EAGAIN};
  // What has been hung up and is full would wait for ever: a terminal without anybody at its other end.
  if (entry.revents == POLLHUP) return {-1, EIO};
  // A writable pipe takes as much without waiting.
  return IoOutcome::of(write_quietly(fd, bytes.substr(0, PIPE_BUF)));
}

// The frame that awaits owns `fd` for as long; the thread works on duplicates, since a cancelled frame may close its
// own.
Task<IoOutcome> read_at_leisure(const Fd& fd, std::shared_ptr<std::string> buffer);
#if KETTLINGAR_DEFINITIONS
KETTLINGAR_INLINE Task<IoOutcome> read_at_leisure(const Fd& fd, std::shared_ptr<std::string> buffer) {
  auto call = [own = std::make_shared<Fd>(fd.duplicate()), buffer] {
    return IoOutcome::of(retry_interrupted([&] { return ::read(own->get(), buffer->data(), buffer->size()); }));
  };
  return on_file_thread(std::move(call));
}
#endif

Task<IoOutcome> write_at_leisure(const Fd& fd, std::shared_ptr<const std::string> bytes, std::size_t from);
#if KETTLINGAR_DEFINITIONS
KETTLINGAR_INLINE Task<IoOutcome> write_at_leisure(const Fd& fd, std::shared_ptr<const std::string> bytes,
                                                   std::size_t from) {
  auto call = [own = std::make_shared<Fd>(fd.duplicate()), bytes, from] {
    return IoOutcome::of(write_quietly(own->get(), std::string_view(*bytes).substr(from)));
  };
  return on_file_thread(std::move(call));
}
#endif

/// Waits until `fd` is ready; false if it cannot be waited for.
Task<bool> wait_ready(const Fd& fd, Readiness::For what);
#if KETTLINGAR_DEFINITIONS
KETTLINGAR_INLINE Task<bool> wait_ready(const Fd& fd, Readiness::For what) {
  Readiness ready(co_await asio::this_coro::executor, fd.get(), what);
  if (!ready.supported()) co_return false;
  asio::error_code error;
  co_await ready.async_wait(asio::redirect_error(asio::use_awaitable, error));
  if (error) throw asio::system_error(error);
  co_return true;
}
#endif

}  // namespace detail

#if KETTLINGAR_DEFINITIONS
KETTLINGAR_INLINE Task<std::string> async_read_some(const Fd& fd, std::size_t most) {
  const detail::DescriptorKind kind = detail::kind_of(fd.get());
  auto buffer = std::make_shared<std::string>(most, '\0');
  detail::IoOutcome outcome;
  for (bool waitable = kind != detail::DescriptorKind::file;;) {
    if (!waitable) {
      outcome = co_await detail::read_at_leisure(fd, buffer);
      break;
    }
    outcome = detail::read_now(fd.get(), kind == detail::DescriptorKind::socket, buffer->data(), buffer->size());
    if (!outcome.would_block()) break;
    waitable = co_await detail::wait_ready(fd, detail::Readiness::For::reading);
  }
  if (outcome.count < 0) detail::throw_errno("cannot read", outcome.error);
  buffer->resize(static_cast<std::size_t>(outcome.count));
  co_return std::move(*buffer);
}

KETTLINGAR_INLINE Task<std::string> async_read_all(const Fd& fd, std::size_t limit) {
  std::string all;
  for (;;) {
    const std::string part = co_await async_read_some(fd);
    if (part.empty()) co_return all;
    if (part.size() > limit - all.size())
      throw InvalidArgument("the file is longer than " + std::to_string(limit) + " bytes", 413);
    all += part;
  }
}

KETTLINGAR_INLINE Task<void> async_write_all(const Fd& fd, std::string bytes) {
  const detail::DescriptorKind kind = detail::kind_of(fd.get());
  const auto shared = std::make_shared<const std::string>(std::move(bytes));
  const bool is_terminal = kind == detail::DescriptorKind::stream && ::isatty(fd.get()) == 1;
  const Fd reopened = is_terminal ? detail::reopen_terminal(fd.get()) : Fd();
  const Fd& to = reopened ? reopened : fd;
  const std::size_t most = is_terminal && !reopened ? 1 : std::string::npos;  // one fits if it is ready
  bool waitable = kind != detail::DescriptorKind::file;
  for (std::size_t done = 0; done < shared->size();) {
    detail::IoOutcome outcome;
    if (waitable) {
      const std::string_view rest = std::string_view(*shared).substr(done, most);
      outcome = detail::write_now(to.get(), kind == detail::DescriptorKind::socket, rest);
      if (outcome.would_block()) {
        waitable = co_await detail::wait_ready(to, detail::Readiness::For::writing);
        continue;
      }
    } else {
      outcome = co_await detail::write_at_leisure(to, shared, done);
    }
    if (outcome.count < 0) detail::throw_errno("cannot write", outcome.error);
    done += static_cast<std::size_t>(outcome.count);
  }
}
#endif

}  // namespace v0_1
}  // namespace kettlingar
