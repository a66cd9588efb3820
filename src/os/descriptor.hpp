// SPDX-License-Identifier: MIT
// os/descriptor.hpp: descriptors that close themselves, and system calls that survive signals.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "../base/version.hpp"

namespace kettlingar {
inline namespace v0_1 {

namespace detail {

/// Closes descriptors that came from elsewhere, for which close() may wait. Counts the descriptors that refer to it,
/// and goes with the last of them.
class Closer {
 public:
  Closer(const Closer&) = delete;
  Closer& operator=(const Closer&) = delete;
  /// Does not wait, as long as there are memory and threads. From any thread; in a forked child, too, where it may
  /// wait.
  virtual void close(int fd) noexcept = 0;
  void retain() noexcept { ++references_; }
  void release() noexcept {
    if (--references_ == 0) delete this;
  }

 protected:
  Closer() = default;
  virtual ~Closer() = default;

 private:
  std::atomic<unsigned> references_ = 1;
};

/// One reference to a Closer, or none.
class CloserPointer {
 public:
  CloserPointer() = default;
  explicit CloserPointer(Closer* closer) noexcept : closer_(closer) {
    if (closer_ != nullptr) closer_->retain();
  }
  CloserPointer(const CloserPointer& other) noexcept : CloserPointer(other.closer_) {}
  CloserPointer(CloserPointer&& other) noexcept : closer_(std::exchange(other.closer_, nullptr)) {}
  CloserPointer& operator=(CloserPointer other) noexcept {
    std::swap(closer_, other.closer_);
    return *this;
  }
  ~CloserPointer() {
    if (closer_ != nullptr) closer_->release();
  }
  Closer* get() const noexcept { return closer_; }

 private:
  Closer* closer_ = nullptr;
};

}  // namespace detail

/// Owns one open descriptor and closes it. Move only; -1 is "none". As an argument or a result of a method the
/// descriptor itself travels, over unix sockets; see also File and Socket.
///
/// Closing one that came with a call keeps nobody waiting, whatever it is: close() may wait for a hung file system, or
/// for a socket whose sender has set SO_LINGER. Files, devices and unix sockets are closed by another thread of the
/// service, a moment later; sockets of the internet lose their SO_LINGER.
class Fd {
 public:
  Fd() = default;
  /// Takes ownership of `fd`.
  explicit Fd(int fd) noexcept : fd_(fd) {}
  /// Not for users: `closer`, if there is one, closes it.
  Fd(int fd, detail::CloserPointer closer) noexcept : fd_(fd), closer_(std::move(closer)) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)), closer_(std::move(other.closer_)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this == &other) return *this;
    reset(std::exchange(other.fd_, -1));
    closer_ = std::move(other.closer_);
    return *this;
  }
  ~Fd() { reset(); }

  /// The descriptor, still owned by this object.
  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  /// Gives the descriptor away; the caller closes it.
  int release() noexcept {
    const int fd = std::exchange(fd_, -1);
    reset();
    return fd;
  }
  void reset(int fd = -1) noexcept {
    if (fd_ >= 0) closer_.get() != nullptr ? closer_.get()->close(fd_) : static_cast<void>(::close(fd_));
    closer_ = {};
    fd_ = fd;
  }
  /// Another descriptor of the same open file: offset and flags are shared. Throws std::system_error.
  Fd duplicate() const {
    Fd copy(::fcntl(fd_, F_DUPFD_CLOEXEC, 0), closer_);
    if (!copy) throw std::system_error(errno, std::system_category(), "cannot duplicate a descriptor");
    return copy;
  }

 private:
  int fd_ = -1;
  detail::CloserPointer closer_;
};

namespace detail {

/// What stat() tells.
using FileInfo = struct stat;

/// Which file it is, whatever its name.
struct FileId {
  FileId() = default;
  explicit FileId(const FileInfo& info) noexcept : device(info.st_dev), inode(info.st_ino) {}
  bool operator==(const FileId&) const = default;

  dev_t device = 0;
  ino_t inode = 0;
};

/// True if the name `path` itself, which is not followed if it is a symbolic link, leads to that file now. Signal
/// handlers may ask, too.
inline bool same_file(const char* path, const FileId& file) noexcept {
  FileInfo named{};
  return ::lstat(path, &named) == 0 && FileId(named) == file;
}

/// Repeats `call` for as long as a signal interrupts it. Not for close(), whose descriptor is gone either way.
template <class Call>
auto retry_interrupted(Call call) {
  decltype(call()) result;
  do {
    result = call();
  } while (result == -1 && errno == EINTR);
  return result;
}

/// Opens /dev/null under each of the numbers 0 to 2 that is free, so that nothing else gets them: a program that was
/// started without standard streams would write its output into what does. Returns what it has opened. `useless`: what
/// was closed can be neither read nor written to, which is an error where it is used.
std::array<Fd, 3> occupy_standard_streams(bool useless);

/// Throws std::system_error with the text of `errno` and what was attempted, such as "cannot open /x".
[[noreturn]] inline void throw_errno(const std::string& attempted, int error = errno) {
  throw std::system_error(error, std::system_category(), attempted);
}

/// For a call that has failed, with errno as it has left it: false at once, unless it was that `fd` is non-blocking and
/// not ready. Otherwise waits for `events` (POLLIN, POLLOUT), whereupon the call may be repeated.
bool wait_if_not_ready(int fd, short events);

/// Writes all of `bytes` and waits for as long as that takes, even if whoever started this program has made `fd`
/// non-blocking; false with errno set if that fails.
bool write_all(int fd, std::string_view bytes);

/// Reads to the end of a file or pipe, at most `limit` bytes, and waits for it as write_all() does; false with errno
/// set if that fails (EFBIG beyond the limit).
bool read_all(int fd, std::string& out, std::size_t limit);

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
