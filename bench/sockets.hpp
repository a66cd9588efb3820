// SPDX-License-Identifier: MIT
// sockets.hpp: sockets for those programs of this folder that do not use the library. An address is a port of
// 127.0.0.1, or the path of a unix socket.
#pragma once

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

using Clock = std::chrono::steady_clock;
constexpr std::string_view good = "HTTP/1.1 200 ";
constexpr int patience = 5;  // seconds

inline double seconds_since(Clock::time_point begun) {
  return std::chrono::duration<double>(Clock::now() - begun).count();
}

[[noreturn]] inline void fail(const std::string& what) {
  std::fprintf(stderr, "bench: %s\n", what.c_str());
  std::exit(1);
}

inline std::string content_of(const char* path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) fail(std::string("cannot read ") + path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
  address.sin_port = ::htons(static_cast<std::uint16_t>(port));
  return address;
}

inline sockaddr_un socket_at(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

/// Connects. Each later receive has to succeed within `patience`.
inline int connect_to(const std::string& where) {
  const bool path = where.find('/') != where.npos;
  const int fd = ::socket(path ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  bool connected = false;
  if (path) {
    const sockaddr_un address = socket_at(where);
    connected = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  } else {
    const sockaddr_in address = loopback(std::atoi(where.c_str()));
    connected = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  if (!connected) fail("cannot connect to " + where);
  const timeval limit{patience, 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  return fd;
}

/// Listens on the unix socket, or without a path on a free port, and prints where.
inline int listen_at(const char* path) {
  const int fd = ::socket(path ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (path) {
    const sockaddr_un address = socket_at(path);
    if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fail("cannot bind");
    std::printf("%s\n", path);
  } else {
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    if (::bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0) fail("no port is free");
    ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
    std::printf("%d\n", ::ntohs(address.sin_port));
  }
  if (::listen(fd, SOMAXCONN) != 0) fail("cannot listen");
  std::fflush(stdout);
  return fd;
}

inline void send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) fail("the other side takes no more");
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
}
