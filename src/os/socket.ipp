// SPDX-License-Identifier: MIT
// os/socket.ipp: listening, accepting and connecting, with close-on-exec from birth and no process-wide side effects.
#pragma once

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "../base/errors.hpp"
#include "descriptor.hpp"
#include "passing.hpp"

namespace kettlingar {
inline namespace v0_1 {

namespace detail {

/// A numeric address and port, ready for bind() or connect().
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;

  const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* get() noexcept { return reinterpret_cast<sockaddr*>(&storage); }

  bool operator==(const SocketAddress& other) const noexcept {
    return size == other.size && std::memcmp(&storage, &other.storage, size) == 0;
  }
  /// 0.0.0.0 or ::, which stand for all addresses of this machine.
  bool is_any() const noexcept {
    if (storage.ss_family == AF_INET) return v4().sin_addr.s_addr == htonl(INADDR_ANY);
    return storage.ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&v6().sin6_addr);
  }
  bool is_loopback() const noexcept {
    if (storage.ss_family == AF_INET) return ntohl(v4().sin_addr.s_addr) >> 24 == 127;
    return storage.ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&v6().sin6_addr);
  }

 private:
  const sockaddr_in& v4() const noexcept { return reinterpret_cast<const sockaddr_in&>(storage); }
  const sockaddr_in6& v6() const noexcept { return reinterpret_cast<const sockaddr_in6&>(storage); }
};

/// `host` as an IPv4 or IPv6 literal (brackets allowed), or `localhost`; no other names, so nothing is asked of the
/// network.
[[gnu::cold]] inline std::optional<SocketAddress> tcp_address(std::string host, std::uint16_t port) {
  if (host == "localhost") host = "127.0.0.1";
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  SocketAddress address;
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  if (::inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    std::memcpy(&address.storage, &v4, sizeof v4);
    address.size = sizeof v4;
  } else if (::inet_pton(AF_INET6, host.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    std::memcpy(&address.storage, &v6, sizeof v6);
    address.size = sizeof v6;
  } else {
    return std::nullopt;
  }
  return address;
}

/// Longest path a unix socket can have, without its final NUL (107 on Linux, 103 on macOS).
inline constexpr std::size_t longest_unix_path = sizeof(sockaddr_un{}.sun_path) - 1;

/// Nothing if the path is too long for a unix socket.
[[gnu::cold]] inline std::optional<SocketAddress> unix_address(const std::string& path) {
  if (path.size() > longest_unix_path) return std::nullopt;
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  std::memcpy(name.sun_path, path.data(), path.size());
  SocketAddress address;
  std::memcpy(&address.storage, &name, sizeof name);
  address.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
  return address;
}

#if !defined(SOCK_CLOEXEC)
/// Where a socket is not born as it should be; without MSG_NOSIGNAL it must not raise SIGPIPE, either.
inline void prepare_stream_socket(int fd) {
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  ::fcntl(fd, F_SETFL, O_NONBLOCK);
#if defined(SO_NOSIGPIPE)
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof on);
#endif
}
#endif

/// A non-blocking, close-on-exec stream socket; invalid with errno set if there is none to be had.
inline Fd open_stream_socket(int family) {
#if defined(SOCK_CLOEXEC)
  return Fd(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
#else
  Fd fd(::socket(family, SOCK_STREAM, 0));
  if (fd) prepare_stream_socket(fd.get());
  return fd;
#endif
}

/// Accepts one connection, non-blocking and close-on-exec; invalid with errno set if there is none.
inline Fd accept_connection(int listener) {
#if defined(SOCK_CLOEXEC)
  return Fd(retry_interrupted([&] { return ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK); }));
#else
  Fd fd(retry_interrupted([&] { return ::accept(listener, nullptr, nullptr); }));
  if (fd) prepare_stream_socket(fd.get());
  return fd;
#endif
}

/// Listens on a TCP address; port 0 takes a free one. Throws StartError naming address and reason.
[[gnu::cold]] inline Fd listen_tcp(const std::string& host, std::uint16_t port, int backlog) {
  const std::string where = host + ":" + std::to_string(port);
  const auto address = tcp_address(host, port);
  if (!address) throw StartError("cannot listen on " + where + ": not an IPv4 or IPv6 address, nor localhost");
  Fd fd = open_stream_socket(address->storage.ss_family);
  const int on = 1;
  if (!fd || ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      ::bind(fd.get(), address->get(), address->size) != 0 || ::listen(fd.get(), backlog) != 0) {
    throw StartError("cannot listen on " + where + ": " + std::strerror(errno));
  }
  return fd;
}

/// Listens on a unix socket that only its owner can connect to. Throws StartError naming path and reason.
[[gnu::cold]] inline Fd listen_unix(const std::string& path, int backlog) {
  const auto address = unix_address(path);
  if (!address) {
    throw StartError("cannot listen on " + path + ": the path has " + std::to_string(path.size()) +
                     " bytes, a unix socket allows " + std::to_string(longest_unix_path) +
                     "; choose a shorter --app-state-dir");
  }
  Fd fd = open_stream_socket(AF_UNIX);
  // Whatever the umask is: before listen() nobody can connect. Not every system has fchmod() for sockets.
  if (!fd || ::bind(fd.get(), address->get(), address->size) != 0 || ::chmod(path.c_str(), 0600) != 0 ||
      ::listen(fd.get(), backlog) != 0) {
    throw StartError("cannot listen on " + path + ": " + std::strerror(errno));
  }
  return fd;
}

/// `127.0.0.1:1234` or `[::1]:1234` of this end (`remote` false) or the other; empty for unix sockets and dead
/// connections. IPv4 is told as such where an IPv6 socket speaks it.
inline std::string socket_name(int fd, bool remote) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  auto* address = reinterpret_cast<sockaddr*>(&storage);
  if ((remote ? ::getpeername(fd, address, &size) : ::getsockname(fd, address, &size)) != 0) return {};
  char text[INET6_ADDRSTRLEN] = "";
  if (storage.ss_family == AF_INET) {
    sockaddr_in v4{};
    std::memcpy(&v4, &storage, sizeof v4);
    ::inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
    return std::string(text) + ":" + std::to_string(ntohs(v4.sin_port));
  }
  if (storage.ss_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &storage, sizeof v6);
    if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
      ::inet_ntop(AF_INET, &v6.sin6_addr.s6_addr[12], text, sizeof text);
      return std::string(text) + ":" + std::to_string(ntohs(v6.sin6_port));
    }
    ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
    return "[" + std::string(text) + "]:" + std::to_string(ntohs(v6.sin6_port));
  }
  return {};
}

/// An address of the TCP listener `fd` to which programs on this machine can connect: loopback, if it listens on "any
/// address", and IPv4, if it accepts that as well, for IPv6 is more than Python clients understand.
[[gnu::cold]] inline std::string reachable_name(int fd) {
  const std::string name = socket_name(fd, false);
  const std::string port = name.substr((std::min)(name.rfind(':'), name.size()));
  if (name == "0.0.0.0" + port) return "127.0.0.1" + port;
  if (name != "[::]" + port) return name;
  int only = 1;
  socklen_t size = sizeof only;
  ::getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &size);
  return (only != 0 ? "[::1]" : "127.0.0.1") + port;
}

/// The process at the other end of a unix socket.
inline std::optional<PeerCredentials> peer_credentials(int fd) {
#if defined(SO_PEERCRED)
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return std::nullopt;
  return PeerCredentials{credentials.uid, credentials.gid, credentials.pid};
#else
  PeerCredentials credentials{};
  if (::getpeereid(fd, &credentials.uid, &credentials.gid) != 0) return std::nullopt;
  return credentials;
#endif
}

#if defined(MSG_NOSIGNAL)
inline constexpr int send_flags = MSG_NOSIGNAL | MSG_DONTWAIT;
#else
inline constexpr int send_flags = MSG_DONTWAIT;  // see prepare_stream_socket()
#endif

/// Sends what fits now without waiting and without SIGPIPE; -1 with errno set if nothing does.
inline ssize_t send_some(int fd, std::string_view bytes) {
  return retry_interrupted([&] { return ::send(fd, bytes.data(), bytes.size(), send_flags); });
}
/// The same of two pieces.
inline ssize_t send_some(int fd, std::string_view first, std::string_view second) {
  iovec parts[] = {{const_cast<char*>(first.data()), first.size()}, {const_cast<char*>(second.data()), second.size()}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  return retry_interrupted([&] { return ::sendmsg(fd, &message, send_flags); });
}

/// Waits until `events` (POLLIN, POLLOUT) or `deadline`; false when the time is up. Errors of the socket count as
/// ready.
inline bool wait_for(int fd, short events, std::chrono::steady_clock::time_point deadline) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    if (left <= 0) return false;
    pollfd entry{fd, events, 0};
    const int n = ::poll(&entry, 1, static_cast<int>((std::min<std::int64_t>)(left, 1'000'000)));
    if (n > 0) return true;
    if (n < 0 && errno != EINTR) return true;
  }
}

/// Connects a non-blocking socket within the time; invalid with errno set (ETIMEDOUT included) otherwise.
inline Fd connect_socket(const SocketAddress& address, std::chrono::steady_clock::time_point deadline) {
  Fd fd = open_stream_socket(address.storage.ss_family);
  if (!fd) return fd;
  for (;;) {
    if (::connect(fd.get(), address.get(), address.size) == 0 || errno == EISCONN) return fd;
    const int error = errno;
    if (error == EINPROGRESS || error == EINTR || error == EALREADY) {
      int result = ETIMEDOUT;
      socklen_t size = sizeof result;
      if (wait_for(fd.get(), POLLOUT, deadline)) ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &result, &size);
      if (result == 0) return fd;
      fd.reset();
      errno = result;
      return fd;
    }
    // A full backlog of a unix socket is EAGAIN at once, with nothing to wait for.
    if (error != EAGAIN || std::chrono::steady_clock::now() >= deadline) {
      fd.reset();
      errno = error;
      return fd;
    }
    ::poll(nullptr, 0, 5);
  }
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
