// SPDX-License-Identifier: MIT
// load.cpp: keeps a service busy over some connections, and counts.
//
//   load ADDRESS FILE CONNECTIONS DEPTH SECONDS   prints how many requests were answered, and in how many seconds
//   load port                                     prints a TCP port that is free
//
// ADDRESS is a port of 127.0.0.1, or the path of a unix socket. FILE has one request, which each connection sends DEPTH
// times at once; when all answers are there, again. The first answer has to be a 200 with Content-Length; the others
// have to be as long, and to begin alike. A service that says nothing for 5 seconds has failed.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

using Clock = std::chrono::steady_clock;
constexpr std::string_view good = "HTTP/1.1 200 ";
constexpr int patience = 5;  // seconds

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "load: %s\n", what.c_str());
  std::exit(1);
}

sockaddr_in loopback(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = ::htonl(INADDR_LOOPBACK);
  address.sin_port = ::htons(static_cast<std::uint16_t>(port));
  return address;
}

int free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0) fail("no port is free");
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  return ::ntohs(address.sin_port);
}

int connect_to(const std::string& where) {
  const bool path = where.find('/') != where.npos;
  const int fd = ::socket(path ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  bool connected = false;
  if (path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    where.copy(address.sun_path, sizeof address.sun_path - 1);
    connected = ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
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

void send_all(int fd, const std::string& bytes) {
  if (::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(bytes.size()))
    fail("the service takes no more requests");
}

/// Length of the whole answer to one request.
std::size_t answer_length(int fd, const std::string& request) {
  send_all(fd, request);
  std::string answer;
  char block[4096];
  for (;;) {
    const ssize_t n = ::recv(fd, block, sizeof block, 0);
    if (n <= 0) fail("no whole answer, but: " + answer);
    answer.append(block, static_cast<std::size_t>(n));
    const std::size_t head = answer.find("\r\n\r\n");
    if (head == answer.npos) continue;
    const std::size_t length = answer.find("Content-Length: ");
    if (!answer.starts_with(good) || length > head) fail("not an answer to be measured: " + answer);
    const std::size_t whole = head + 4 + std::strtoul(answer.c_str() + length + 16, nullptr, 10);
    if (answer.size() >= whole) return whole;
  }
}

struct Connection {
  int fd = -1;
  std::size_t left = 0;  ///< bytes of the answers that are still to come
  std::size_t seen = 0;  ///< bytes of the present answer that are there
};

/// Each answer in `bytes` begins where the one before it ended, and as it should.
void check(Connection& from, std::string_view bytes, std::size_t length) {
  while (!bytes.empty()) {
    const std::size_t take = std::min(length - from.seen, bytes.size());
    if (from.seen < good.size()) {
      const std::string_view begin = bytes.substr(0, std::min(take, good.size() - from.seen));
      if (good.substr(from.seen, begin.size()) != begin) fail("another answer: " + std::string(bytes));
    }
    from.seen = (from.seen + take) % length;
    bytes.remove_prefix(take);
  }
}

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "port") return std::printf("%d\n", free_port()) > 0 ? 0 : 1;
  const int count = argc == 6 ? std::atoi(argv[3]) : 0, depth = argc == 6 ? std::atoi(argv[4]) : 0;
  if (count < 1 || depth < 1) return 2;
  std::ifstream file(argv[2], std::ios::binary);
  const std::string request((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  std::string batch;
  for (int i = 0; i < depth; ++i) batch += request;

  const int first = connect_to(argv[1]);
  const std::size_t length = answer_length(first, request);
  ::close(first);

  const int poll = ::epoll_create1(EPOLL_CLOEXEC);
  std::vector<Connection> connections(static_cast<std::size_t>(count));
  for (Connection& connection : connections) {
    connection.fd = connect_to(argv[1]);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = &connection;
    ::epoll_ctl(poll, EPOLL_CTL_ADD, connection.fd, &event);
  }

  const auto begun = Clock::now();
  const auto end = begun + std::chrono::duration<double>(std::atof(argv[5]));
  const auto ask = [&](Connection& connection) {
    send_all(connection.fd, batch);
    connection.left = length * static_cast<std::size_t>(depth);
  };
  for (Connection& connection : connections) ask(connection);

  static char block[65536];
  unsigned long answered = 0;
  epoll_event events[64];
  for (int busy = count; busy > 0;) {
    const int ready = ::epoll_wait(poll, events, 64, 1000 * patience);
    if (ready <= 0) fail("the service has left requests without an answer");
    const bool more = Clock::now() < end;
    for (int i = 0; i < ready; ++i) {
      Connection& connection = *static_cast<Connection*>(events[i].data.ptr);
      const ssize_t n = ::recv(connection.fd, block, sizeof block, 0);
      if (n <= 0) fail("the service has closed a connection");
      const std::string_view bytes(block, static_cast<std::size_t>(n));
      if (bytes.size() > connection.left) fail("more than was asked for: " + std::string(bytes));
      check(connection, bytes, length);
      connection.left -= bytes.size();
      if (connection.left > 0) continue;
      answered += static_cast<unsigned long>(depth);
      if (more) {
        ask(connection);
      } else {
        --busy;
      }
    }
  }
  std::printf("%lu %.6f\n", answered, std::chrono::duration<double>(Clock::now() - begun).count());
  return 0;
}
