// SPDX-License-Identifier: MIT
// os/passing.ipp: the bodies of passing.hpp.
#pragma once

#include "passing.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

KETTLINGAR_INLINE bool is_placeholder(std::string_view text) {
  return text.starts_with(file_placeholder) || text.starts_with(socket_placeholder);
}

KETTLINGAR_INLINE bool is_file_mode(std::string_view mode) {
  if (mode.empty() || std::string_view("rwax").find(mode.front()) == std::string_view::npos) return false;
  std::string rest(mode.substr(1));
  std::sort(rest.begin(), rest.end());
  return rest == "" || rest == "+" || rest == "b" || rest == "t" || rest == "+b" || rest == "+t";
}

KETTLINGAR_INLINE std::optional<Placeholder> parse_placeholder(std::string_view text) {
  Placeholder found;
  if (text.starts_with(file_placeholder)) {
    found.mode = std::string(text.substr(file_placeholder.size()));
    if (!is_file_mode(found.mode)) return std::nullopt;
    return found;
  }
  if (!text.starts_with(socket_placeholder)) return std::nullopt;
  found.is_socket = true;
  const char* at = text.data() + socket_placeholder.size();
  const char* const end = text.data() + text.size();
  for (int* number : {&found.family, &found.type, &found.protocol}) {
    if (number != &found.family && (at == end || *at++ != '-')) return std::nullopt;
    if (at == end || *at < '0' || *at > '9') return std::nullopt;
    const auto [stop, error] = std::from_chars(at, end, *number);
    if (error != std::errc{}) return std::nullopt;
    at = stop;
  }
  return at == end ? std::optional(found) : std::nullopt;
}

KETTLINGAR_INLINE Placeholder describe_descriptor(int fd) {
  Placeholder found;
  // Not fstat(), which asks the file system, and would wait for one that hangs.
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) throw_errno("cannot pass a descriptor");
  socklen_t type_size = sizeof found.type;
  found.is_socket = ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &found.type, &type_size) == 0;
  if (found.is_socket) {
    sockaddr_storage name{};
    socklen_t size = sizeof name;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size) != 0) throw_errno("cannot pass a socket");
    found.family = name.ss_family;
    // The protocol stays 0, as everybody writes it who made the socket by family and type.
    return found;
  }
  const int access = flags & O_ACCMODE;
  found.mode = access == O_WRONLY ? ((flags & O_APPEND) != 0 ? "ab" : "wb") : access == O_RDWR ? "rb+" : "rb";
  return found;
}

KETTLINGAR_INLINE ssize_t send_with_descriptors(int socket, std::string_view bytes, std::span<const Fd> descriptors) {
  if (descriptors.size() > most_descriptors) {
    errno = EINVAL;
    return -1;
  }
  iovec part{const_cast<char*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  ControlBuffer control(descriptors.size());
  if (!descriptors.empty()) {
    control.attach_for_sending(message);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size() * sizeof(int));
    for (std::size_t i = 0; i < descriptors.size(); ++i) {
      const int fd = descriptors[i].get();
      std::memcpy(CMSG_DATA(header) + i * sizeof fd, &fd, sizeof fd);
    }
  }
#if defined(MSG_NOSIGNAL)
  constexpr int flags = MSG_NOSIGNAL | MSG_DONTWAIT;
#else
  constexpr int flags = MSG_DONTWAIT;
#endif
  return retry_interrupted([&] { return ::sendmsg(socket, &message, flags); });
}

KETTLINGAR_INLINE ssize_t receive_with_descriptors(int socket, char* data, std::size_t size, std::size_t most,
                                                   ReceivedDescriptors& descriptors, const CloserPointer& closer) {
  iovec part{data, size};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  ControlBuffer control(most);
  control.attach_for_receiving(message);
#if defined(MSG_CMSG_CLOEXEC)
  constexpr int flags = MSG_DONTWAIT | MSG_CMSG_CLOEXEC;
#else
  constexpr int flags = MSG_DONTWAIT;
#endif
  const ssize_t n = retry_interrupted([&] { return ::recvmsg(socket, &message, flags); });
  if (n < 0) return n;
  descriptors.truncated |= (message.msg_flags & MSG_CTRUNC) != 0;
  const auto for_each = [&](const auto& action) {
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
      if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
      const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (std::size_t i = 0; i < count; ++i) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
        action(fd);
      }
    }
  };
  std::size_t came = 0;
  for_each([&](int) { ++came; });
  if (came == 0) return n;
  try {
    descriptors.owned.reserve(descriptors.owned.size() + came);
  } catch (...) {
    for_each([&closer](int fd) { Fd(fd, closer).reset(); });
    throw;
  }
  for_each([&](int fd) {
    descriptors.owned.emplace_back(fd, closer);
#if !defined(MSG_CMSG_CLOEXEC)
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
#endif
  });
  return n;
}

KETTLINGAR_INLINE bool make_closable(int fd) noexcept {
  sockaddr_storage name{};
  socklen_t size = sizeof name;
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size) != 0) {
#if defined(F_GETPIPE_SZ)
    return ::fcntl(fd, F_GETPIPE_SZ) >= 0;
#else
    return false;
#endif
  }
  // What waits in a unix socket is closed with it, and may be anything.
  if (name.ss_family != AF_INET && name.ss_family != AF_INET6) return false;
  linger lingering{};
  size = sizeof lingering;
  if (::getsockopt(fd, SOL_SOCKET, SO_LINGER, &lingering, &size) != 0) return false;
  // The kernel goes on to send what is left without it, too. A time of zero means to throw that away at once.
  if (lingering.l_onoff == 0 || lingering.l_linger == 0) return true;
  lingering = {};
  return ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &lingering, sizeof lingering) == 0;
}

KETTLINGAR_INLINE const CloserPointer& closing_here() {
  struct ClosingHere final : Closer {
    void close(int fd) noexcept override {
      make_closable(fd);
      ::close(fd);
    }
  };
  // Never destroyed: descriptors may be closed after main().
  static const CloserPointer& closer = *new CloserPointer(new ClosingHere);
  return closer;
}

KETTLINGAR_INLINE void close_connection(Fd socket, const CloserPointer& closer) noexcept {
  if (!socket || make_closable(socket.get())) return;
  try {
    ::shutdown(socket.get(), SHUT_RD);  // nothing more comes
    char block[4096];
    ReceivedDescriptors received;
    while (receive_with_descriptors(socket.get(), block, sizeof block, most_descriptors, received, closer) > 0) {
      // No more can be open here, so the kernel closes the others while it receives: no work for this thread.
      if (received.truncated) return;
    }
    ::close(socket.release());  // nothing is left in it that could make this wait
  } catch (const std::bad_alloc&) {
    // The rest goes with the socket, as where it returns early.
  }
}
}  // namespace detail
KETTLINGAR_INLINE File::File(Fd fd, std::string mode) : Fd(std::move(fd)), mode_(std::move(mode)) {
  if (mode_.empty()) mode_ = get() >= 0 ? detail::describe_descriptor(get()).mode : "rb";
  if (!detail::is_file_mode(mode_)) throw std::invalid_argument("'" + mode_ + "' is not the mode of a file");
}

KETTLINGAR_INLINE File File::open(const std::string& path, std::string mode) {
  if (!detail::is_file_mode(mode)) throw std::invalid_argument("'" + mode + "' is not the mode of a file");
  const bool both = mode.find('+') != std::string::npos;
  int flags = O_CLOEXEC | (both ? O_RDWR : mode.front() == 'r' ? O_RDONLY : O_WRONLY);
  if (mode.front() == 'w') flags |= O_CREAT | O_TRUNC;
  if (mode.front() == 'a') flags |= O_CREAT | O_APPEND;
  if (mode.front() == 'x') flags |= O_CREAT | O_EXCL;
  Fd fd(detail::retry_interrupted([&] { return ::open(path.c_str(), flags, 0666); }));
  if (!fd) detail::throw_errno("cannot open " + path);
  return File(std::move(fd), std::move(mode));
}

KETTLINGAR_INLINE Socket::Socket(Fd fd) : Fd(std::move(fd)) {
  const detail::Placeholder found = detail::describe_descriptor(get());
  if (!found.is_socket) detail::throw_errno("cannot use a descriptor as a socket", ENOTSOCK);
  family_ = found.family;
  type_ = found.type;
  protocol_ = found.protocol;
}

}  // namespace v0_1
}  // namespace kettlingar
