// SPDX-License-Identifier: MIT
// os/descriptor.ipp: the bodies of descriptor.hpp.
#pragma once

#include "descriptor.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

KETTLINGAR_COLD std::array<Fd, 3> occupy_standard_streams(bool useless) {
  std::array<Fd, 3> opened;
  for (int number = STDIN_FILENO; number <= STDERR_FILENO; ++number) {
    if (::fcntl(number, F_GETFD) != -1) continue;
    const int mode = !useless ? O_RDWR : number == STDIN_FILENO ? O_WRONLY : O_RDONLY;
    opened[static_cast<std::size_t>(number)].reset(::open("/dev/null", mode | (useless ? 0 : O_CLOEXEC)));
  }
  return opened;
}

KETTLINGAR_COLD bool wait_if_not_ready(int fd, short events) {
  if (errno != EAGAIN && errno != EWOULDBLOCK) return false;
  pollfd entry{fd, events, 0};
  const int n = retry_interrupted([&] { return ::poll(&entry, 1, -1); });
  return n > 0 && (entry.revents & POLLNVAL) == 0;
}

KETTLINGAR_INLINE bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = retry_interrupted([&] { return ::write(fd, bytes.data(), bytes.size()); });
    if (n < 0 && wait_if_not_ready(fd, POLLOUT)) continue;
    if (n < 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

KETTLINGAR_INLINE bool read_all(int fd, std::string& out, std::size_t limit) {
  char block[4096];
  for (;;) {
    const ssize_t n = retry_interrupted([&] { return ::read(fd, block, sizeof block); });
    if (n < 0 && wait_if_not_ready(fd, POLLIN)) continue;
    if (n < 0) return false;
    if (n == 0) return true;
    if (out.size() + static_cast<std::size_t>(n) > limit) {
      errno = EFBIG;
      return false;
    }
    out.append(block, static_cast<std::size_t>(n));
  }
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
