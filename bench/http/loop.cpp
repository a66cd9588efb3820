// SPDX-License-Identifier: MIT
// loop.cpp: what no service can undercut: an epoll loop that receives and sends and looks at nothing.
//
//   loop REQUEST_BYTES [SOCKET]   answers once for so many bytes, on a TCP port or the unix socket, which it prints
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

constexpr char answer[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 18\r\n\r\nMeow world, meow!\n";

int listen_on_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(fd, SOMAXCONN) != 0) return -1;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  std::printf("%d\n", ::ntohs(address.sin_port));
  return fd;
}

int listen_on_socket(const char* path) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || ::listen(fd, SOMAXCONN) != 0) return -1;
  std::printf("%s\n", path);
  return fd;
}

int main(int argc, char** argv) {
  const std::size_t request_bytes = argc > 1 ? static_cast<std::size_t>(std::atol(argv[1])) : 0;
  if (request_bytes == 0) return 2;
  const int listener = argc > 2 ? listen_on_socket(argv[2]) : listen_on_port();
  if (listener < 0) return std::perror("loop"), 1;
  std::fflush(stdout);

  const int poll = ::epoll_create1(EPOLL_CLOEXEC);
  const auto watch = [&](int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    ::epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
  };
  watch(listener);

  static char block[65536];
  std::vector<std::size_t> begun;  // by descriptor: bytes of the request that has not come to its end
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
      // A reader that takes nothing for so long is cut off.
      if (n <= 0 || ::send(fd, out.data(), out.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(out.size())) ::close(fd);
    }
  }
}
