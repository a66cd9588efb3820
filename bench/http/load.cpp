// SPDX-License-Identifier: MIT
// load.cpp: keeps a service busy over some connections, and counts requests.
//
//   load ADDRESS FILE CONNECTIONS DEPTH SECONDS   prints how many requests were answered, and in how many seconds
//   load port                                     prints a TCP port that is free
//
// FILE has one request, which each connection sends DEPTH times at once; when all answers are there, again. The first
// answer has to be a 200 with Content-Length; the others have to be as long, and to begin alike. A service that says
// nothing for 5 seconds has failed.
#include "../sockets.hpp"

#include <sys/epoll.h>

#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

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
  if (argc == 2 && std::string_view(argv[1]) == "port") return ::close(listen_at(nullptr));
  const int count = argc == 6 ? std::atoi(argv[3]) : 0, depth = argc == 6 ? std::atoi(argv[4]) : 0;
  if (count < 1 || depth < 1) return 2;
  const std::string request = content_of(argv[2]);
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
  std::printf("%lu %.6f\n", answered, seconds_since(begun));
  return 0;
}
