// SPDX-License-Identifier: MIT
// loop.cpp: the least that a request can cost: an epoll loop that receives and sends without reading what is in it.
//
//   loop REQUEST_BYTES [SOCKET]   answers once for so many bytes, on a TCP port or the unix socket, which it prints
#include "../sockets.hpp"

#include <sys/epoll.h>

#include <cstdlib>
#include <string>
#include <vector>

constexpr char answer[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 18\r\n\r\nMeow world, meow!\n";

int main(int argc, char** argv) {
  const std::size_t request_bytes = argc > 1 ? static_cast<std::size_t>(std::atol(argv[1])) : 0;
  if (request_bytes == 0) return 2;
  const int listener = listen_at(argc > 2 ? argv[2] : nullptr);

  const int poll = ::epoll_create1(EPOLL_CLOEXEC);
  const auto watch = [&](int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    ::epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
  };
  watch(listener);

  static char block[65536];
  std::vector<std::size_t> begun;  // by descriptor: bytes of a request that is not complete
  std::string out;
  epoll_event events[64];
  for (;;) {
    const int ready = ::epoll_wait(poll, events, 64, -1);
    for (int i = 0; i < ready; ++i) {
      const int fd = events[i].data.fd;
      const auto slot = static_cast<std::size_t>(fd);
      if (fd == listener) {
        const int peer = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (peer < 0) continue;
        const int on = 1;
        ::setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (begun.size() <= static_cast<std::size_t>(peer)) begun.resize(static_cast<std::size_t>(peer) + 1);
        begun[static_cast<std::size_t>(peer)] = 0;
        watch(peer);
        continue;
      }
      const ssize_t n = ::recv(fd, block, sizeof block, 0);
      if (n > 0) {
        begun[slot] += static_cast<std::size_t>(n);
        out.clear();
        for (; begun[slot] >= request_bytes; begun[slot] -= request_bytes) out.append(answer, sizeof answer - 1);
      }
      // A client that does not read is cut off.
      if (n <= 0 || ::send(fd, out.data(), out.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(out.size())) ::close(fd);
    }
  }
}
