// SPDX-License-Identifier: MIT
// call/file_io.ipp: reading and writing descriptors that others share, without blocking the loop and without
// changing their flags.
#pragma once

#include "../base/version.hpp"  // defines ASIO_HAS_CO_AWAIT, so it must come before Asio

#if defined(__linux__)
#include <sys/epoll.h>
#include <sys/ioctl.h>
#else
#include <sys/event.h>
#endif
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/uio.h>

#include <asio/any_io_executor.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/redirect_error.hpp>
#include <asio/system_error.hpp>
#include <asio/use_awaitable.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "../base/errors.hpp"
#include "../os/descriptor.hpp"
#include "../os/socket.ipp"
#include "blocking_work.ipp"
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

/// One write() that must not wait, whatever the flags of the open file are. EOPNOTSUPP where the kernel cannot do that.
inline ssize_t write_without_waiting([[maybe_unused]] int fd, [[maybe_unused]] std::string_view bytes) {
#if defined(RWF_NOWAIT)
  const iovec part{const_cast<char*>(bytes.data()), bytes.size()};
  return ::pwritev2(fd, &part, 1, -1, RWF_NOWAIT);
#else
  errno = EOPNOTSUPP;
  return -1;
#endif
}

/// Writes without a SIGPIPE, whatever the program does about those: it is held back and taken out.
inline ssize_t write_quietly(int fd, std::string_view bytes, bool may_wait) {
  sigset_t pipe_signal, pending, before;
  ::sigemptyset(&pipe_signal);
  ::sigaddset(&pipe_signal, SIGPIPE);
  ::sigemptyset(&pending);
  ::sigpending(&pending);
  const bool was_pending = ::sigismember(&pending, SIGPIPE) == 1;
  ::pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
  const ssize_t n = retry_interrupted(
      [&] { return may_wait ? ::write(fd, bytes.data(), bytes.size()) : write_without_waiting(fd, bytes); });
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

/// What decides how a descriptor that others share is read and written without waiting on the loop's thread: none of
/// its flags may be changed, and readiness may be gone again when it is used.
enum class DescriptorKind {
  socket,    ///< each call says that it must not wait
  pipe,      ///< the same where the kernel knows how, otherwise through an open file description of our own
  waitable,  ///< terminals, counters, devices: by a helper thread, once it is ready
  file       ///< always ready and yet slow: by a helper thread, and nobody may poll() it, for some file systems ask a
             ///< server then
};

/// The type of the open file (S_IFMT, 0 for what has none), as known without asking a file system that may hang. Throws
/// std::system_error.
inline mode_t file_type(int fd) {
#if defined(AT_STATX_DONT_SYNC)
  struct statx known {};
  if (::statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &known) == 0) return known.stx_mode & S_IFMT;
  if (errno != ENOSYS && errno != EPERM) throw_errno("cannot use a descriptor");
#endif
  FileInfo info{};
  if (::fstat(fd, &info) != 0) throw_errno("cannot use a descriptor");
  return info.st_mode & S_IFMT;
}

/// Throws std::system_error for what cannot be read, or written, at all: nobody could wait for that.
inline DescriptorKind kind_of(int fd, Readiness::For what) {
  const bool reads = what == Readiness::For::reading;
  const char* const attempted = reads ? "cannot read" : "cannot write";
  const mode_t type = file_type(fd);
  if (type == S_IFDIR) throw_errno(attempted, EISDIR);
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) throw_errno(attempted);
  bool open_for_that = (flags & O_ACCMODE) == O_RDWR || (flags & O_ACCMODE) == (reads ? O_RDONLY : O_WRONLY);
#if defined(O_PATH)
  open_for_that = open_for_that && (flags & O_PATH) == 0;
#endif
  if (!open_for_that) throw_errno(attempted, EBADF);
  if (type == S_IFSOCK) return DescriptorKind::socket;
  if (type == S_IFIFO) return DescriptorKind::pipe;
  if (type == S_IFREG || type == S_IFBLK) return DescriptorKind::file;
#if defined(__linux__)
  // Some have no reading or writing at all. Without bytes nothing is asked but that.
  const iovec none{};
  if ((reads ? ::readv(fd, &none, 0) : ::writev(fd, &none, 0)) != 0) throw_errno(attempted);
#endif
  return DescriptorKind::waitable;
}

/// The same pipe or terminal with flags that nobody shares. Nothing if that cannot be had: opening the master of a
/// terminal would make another terminal. -1 with errno set.
inline Fd reopen(int fd, int access) {
#if defined(__linux__)
  int number = 0;
  if (::ioctl(fd, TIOCGPTN, &number) == 0) return {};
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  return Fd(::open(path.c_str(), access | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
#else
  static_cast<void>(fd);
  static_cast<void>(access);
  return {};
#endif
}

/// A descriptor that is read or written here, and by others elsewhere.
struct SharedFile {
  /// Throws std::system_error.
  SharedFile(const Fd& fd, Readiness::For what, CloserPointer the_closer = {})
      : shared(fd),
        access(what == Readiness::For::reading ? O_RDONLY : O_WRONLY),
        closer(std::move(the_closer)),
        kind(kind_of(fd.get(), what)) {
    if (kind != DescriptorKind::waitable || ::isatty(fd.get()) != 1) return;
    own = reopen(fd.get(), access);
    if (!own) step = 1;
  }

  const Fd& fd() const noexcept { return own ? own : shared; }
  bool needs_thread() const noexcept { return kind == DescriptorKind::waitable || kind == DescriptorKind::file; }
  /// For a pipe with which the kernel may wait. What follows is EAGAIN, or what opening it has come to.
  IoOutcome open_own() {
    own = reopen(shared.get(), access);
    if (own) return {-1, EAGAIN};
    if (errno == ENXIO) return {-1, EPIPE};  // nobody reads
    kind = DescriptorKind::waitable;
    step = PIPE_BUF;
    return {-1, EAGAIN};
  }

  const Fd& shared;
  int access;
  CloserPointer closer;  ///< of descriptors that come with what is read
  DescriptorKind kind;
  std::size_t step = std::string::npos;  ///< what is ready takes so many bytes without waiting
  Fd own = {};                           ///< the same thing, opened anew and non-blocking
};

inline bool not_supported(int error) { return error == EOPNOTSUPP || error == ENOSYS || error == EINVAL; }

/// Reads what is there now. Not for what needs a thread.
inline IoOutcome read_now(SharedFile& from, char* data, std::size_t size) {
  const int fd = from.fd().get();
  if (from.kind == DescriptorKind::socket) {
    ReceivedDescriptors nobodys;
    return IoOutcome::of(receive_with_descriptors(fd, data, size, most_descriptors, nobodys, from.closer));
  }
  if (from.own) return IoOutcome::of(retry_interrupted([&] { return ::read(fd, data, size); }));
#if defined(RWF_NOWAIT)
  const iovec part{data, size};
  const ssize_t n = retry_interrupted([&] { return ::preadv2(fd, &part, 1, -1, RWF_NOWAIT); });
  if (n >= 0 || !not_supported(errno)) return IoOutcome::of(n);
#endif
  const IoOutcome outcome = from.open_own();
  return from.own ? read_now(from, data, size) : outcome;
}

/// Writes what fits now. Not for what needs a thread.
inline IoOutcome write_now(SharedFile& to, std::string_view bytes) {
  const int fd = to.fd().get();
  if (to.kind == DescriptorKind::socket) return IoOutcome::of(send_some(fd, bytes));
  const bool own = static_cast<bool>(to.own);
  const ssize_t n = write_quietly(fd, bytes, own);
  if (n >= 0 || own || !not_supported(errno)) return IoOutcome::of(n);
  const IoOutcome outcome = to.open_own();
  return to.own ? write_now(to, bytes) : outcome;
}

/// Writes to what is ready for as long as it is, at most `step` bytes at a time: so many fit without waiting.
inline IoOutcome write_while_ready(int fd, std::string_view bytes, std::size_t step) {
  IoOutcome outcome{0, 0};
  while (!bytes.empty()) {
    pollfd entry{fd, POLLOUT, 0};
    const int ready = retry_interrupted([&] { return ::poll(&entry, 1, 0); });
    // What has been hung up and is full would wait for ever: a terminal without anybody at its other end.
    IoOutcome next{-1, entry.revents == POLLHUP ? EIO : EAGAIN};
    if (ready > 0 && entry.revents != POLLHUP) next = IoOutcome::of(write_quietly(fd, bytes.substr(0, step), true));
    if (next.count < 0) return outcome.count > 0 ? outcome : next;
    outcome.count += next.count;
    bytes.remove_prefix(static_cast<std::size_t>(next.count));
  }
  return outcome;
}

// The frame that awaits owns the descriptor for as long; the thread works on duplicates, since a cancelled frame may
// close its own.
Task<IoOutcome> read_off_the_loop(const SharedFile& from, std::shared_ptr<std::string> buffer);
KETTLINGAR_INLINE Task<IoOutcome> read_off_the_loop(const SharedFile& from, std::shared_ptr<std::string> buffer) {
  auto call = [copy = std::make_shared<Fd>(from.fd().duplicate()), buffer] {
    return IoOutcome::of(retry_interrupted([&] { return ::read(copy->get(), buffer->data(), buffer->size()); }));
  };
  return off_the_loop(std::move(call));
}

Task<IoOutcome> write_off_the_loop(const SharedFile& to, std::shared_ptr<const std::string> bytes, std::size_t begin);
KETTLINGAR_INLINE Task<IoOutcome> write_off_the_loop(const SharedFile& to, std::shared_ptr<const std::string> bytes,
                                                     std::size_t begin) {
  const bool is_file = to.kind == DescriptorKind::file;
  auto call = [copy = std::make_shared<Fd>(to.fd().duplicate()), bytes, begin, is_file, step = to.step] {
    const std::string_view rest = std::string_view(*bytes).substr(begin);
    if (is_file) return IoOutcome::of(write_quietly(copy->get(), rest, true));
    return write_while_ready(copy->get(), rest, step);
  };
  return off_the_loop(std::move(call));
}

/// Waits until `fd` is ready; false if that cannot be waited for. Throws std::system_error.
Task<bool> wait_ready(const Fd& fd, Readiness::For what);
KETTLINGAR_INLINE Task<bool> wait_ready(const Fd& fd, Readiness::For what) {
  Readiness ready(co_await asio::this_coro::executor, fd.get(), what);
  if (!ready.supported()) co_return false;
  asio::error_code error;
  co_await ready.async_wait(asio::redirect_error(asio::use_awaitable, error));
  if (error) throw asio::system_error(error);
  co_return true;
}

}  // namespace detail

KETTLINGAR_INLINE Task<std::string> async_read_some(const Fd& fd, std::size_t most) {
  constexpr auto reading = detail::Readiness::For::reading;
  const asio::any_io_executor executor = co_await asio::this_coro::executor;
  detail::SharedFile from(fd, reading, detail::CloserPointer(&detail::blocking_threads(executor)));
  const auto buffer = std::make_shared<std::string>(most, '\0');
  detail::IoOutcome outcome;
  for (bool wait = from.kind == detail::DescriptorKind::waitable;; wait = true) {
    if (wait) {
      const bool waited = co_await detail::wait_ready(from.fd(), reading);
      if (!waited) from.kind = detail::DescriptorKind::file;
    }
    if (from.needs_thread()) {
      outcome = co_await detail::read_off_the_loop(from, buffer);
    } else {
      outcome = detail::read_now(from, buffer->data(), buffer->size());
    }
    if (!outcome.would_block() || from.kind == detail::DescriptorKind::file) break;
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
  constexpr auto writing = detail::Readiness::For::writing;
  detail::SharedFile to(fd, writing);
  const auto shared = std::make_shared<const std::string>(std::move(bytes));
  bool wait = to.kind == detail::DescriptorKind::waitable;
  for (std::size_t done = 0; done < shared->size();) {
    if (wait) {
      const bool waited = co_await detail::wait_ready(to.fd(), writing);
      if (!waited) to.kind = detail::DescriptorKind::file;
    }
    detail::IoOutcome outcome;
    if (to.needs_thread()) {
      outcome = co_await detail::write_off_the_loop(to, shared, done);
    } else {
      outcome = detail::write_now(to, std::string_view(*shared).substr(done));
    }
    wait = outcome.would_block() && to.kind != detail::DescriptorKind::file;
    if (wait) continue;
    if (outcome.count < 0) detail::throw_errno("cannot write", outcome.error);
    done += static_cast<std::size_t>(outcome.count);
  }
}

}  // namespace v0_1
}  // namespace kettlingar
