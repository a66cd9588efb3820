// SPDX-License-Identifier: MIT
// os/descriptor.hpp: descriptors that close themselves, and system calls that survive signals.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <array>
#include <cerrno>
#include <cstddef>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "../base/version.hpp"

namespace kettlingar {
inline namespace v0_1 {

/// Owns one open descriptor and closes it. Move only; -1 is "none". As an argument or a result of a method the
/// descriptor itself travels, over unix sockets; see also File and Socket.
class Fd {
 public:
  Fd() = default;
  /// Takes ownership of `fd`.
  explicit Fd(int fd) noexcept : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  ~Fd() { reset(); }

  /// The descriptor, still owned by this object.
  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  /// Gives the descriptor away; the caller closes it.
  int release() noexcept { return std::exchange(fd_, -1); }
  void reset(int fd = -1) noexcept {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }
  /// Another descriptor of the same open file: offset and flags are shared. Throws std::system_error.
  Fd duplicate() const {
    Fd copy(::fcntl(fd_, F_DUPFD_CLOEXEC, 0));
    if (!copy) throw std::system_error(errno, std::system_category(), "cannot duplicate a descriptor");
    return copy;
  }

 private:
  int fd_ = -1;
};

namespace detail {

/// What stat() tells.
using FileInfo = struct stat;

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

/// Writes all of `bytes` to a file or blocking pipe; false with errno set if that fails.
bool write_all(int fd, std::string_view bytes);

/// Reads to the end of a file or pipe, at most `limit` bytes; false with errno set if that fails (EFBIG beyond the
/// limit).
bool read_all(int fd, std::string& out, std::size_t limit);

#if KETTLINGAR_DEFINITIONS
KETTLINGAR_COLD std::array<Fd, 3> occupy_standard_streams(bool useless) {
  std::array<Fd, 3> opened;
  for (int number = STDIN_FILENO; number <= STDERR_FILENO; ++number) {
    if (::fcntl(number, F_GETFD) != -1) continue;
    const int mode = !useless ? O_RDWR : number == STDIN_FILENO ? O_WRONLY : O_RDONLY;
    opened[static_cast<std::size_t>(number)].reset(::open("/dev/null", mode | (useless ? 0 : O_CLOEXEC)));
  }
  return opened;
}

KETTLINGAR_INLINE bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = retry_interrupted([&] { return ::write(fd, bytes.data(), bytes.size()); });
    if (n < 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

KETTLINGAR_INLINE bool read_all(int fd, std::string& out, std::size_t limit) {
  char block[4096];
  for (;;) {
    const ssize_t n = retry_interrupted([&] { return ::read(fd, block, sizeof block); });
    if (n < 0) return false;
    if (n == 0) return true;
    if (out.size() + static_cast<std::size_t>(n) > limit) {
      errno = EFBIG;
      return false;
    }
    out.append(block, static_cast<std::size_t>(n));
  }
}
#endif

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
