// SPDX-License-Identifier: MIT
// pingpong.cpp: the least that a call can cost: two processes that send each other bytes, or descriptors, without
// reading what is in them.
//
//   pingpong answer SOCKET REQUEST ANSWER             sends ANSWER bytes for REQUEST bytes, and the descriptor back
//   pingpong ask SOCKET REQUEST ANSWER SECONDS        prints how many answers came, and in how many seconds
//   pingpong ask SOCKET REQUEST ANSWER SECONDS FILE   the same; with each request goes the open file
//   pingpong relay SOCKET TO                          between a client and its service; prints how many bytes the last
//                                                     request and answer had
#include "../sockets.hpp"

#include <fcntl.h>
#include <poll.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

struct Message {
  std::size_t size = 0;
  int passed = -1;  ///< the descriptor that came with it
};

char block[64 * 1024];

/// Receives a message of that size, or what there is; size 0 at the end.
Message receive(int from, std::size_t size) {
  Message whole;
  do {
    iovec bytes{block + whole.size, (size > 0 ? size : sizeof block) - whole.size};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    msghdr message{};
    message.msg_iov = &bytes;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const ssize_t n = ::recvmsg(from, &message, MSG_CMSG_CLOEXEC);
    if (n <= 0) return {};
    whole.size += static_cast<std::size_t>(n);
    const cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (header != nullptr && header->cmsg_type == SCM_RIGHTS)
      std::memcpy(&whole.passed, CMSG_DATA(header), sizeof(int));
  } while (whole.size < size);
  return whole;
}

/// Sends so many bytes of the block and the descriptor, which it closes.
void send(int to, const Message& what) {
  iovec bytes{block, what.size};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))]{};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  if (what.passed >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &what.passed, sizeof(int));
  }
  if (::sendmsg(to, &message, MSG_NOSIGNAL) != static_cast<ssize_t>(what.size)) fail("the other side takes no more");
  if (what.passed >= 0) ::close(what.passed);
}

void answer(int listener, std::size_t request, std::size_t size) {
  for (;;) {
    const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    for (Message got; (got = receive(fd, request)).size > 0;) send(fd, {size, got.passed});
    ::close(fd);
  }
}

void ask(const char* where, std::size_t request, std::size_t size, double seconds, const char* file) {
  const int fd = connect_to(where);
  int passed = file ? ::open(file, O_RDONLY | O_CLOEXEC) : -1;
  const auto begun = Clock::now();
  long times = 0;
  for (; seconds_since(begun) < seconds; ++times) {
    send(fd, {request, passed});
    const Message got = receive(fd, size);
    if (got.size != size || (file && got.passed < 0)) fail("no answer");
    passed = got.passed;
  }
  std::printf("%ld %.6f\n", times, seconds_since(begun));
}

void relay(int listener, const char* to) {
  for (;;) {
    const int client = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC), service = connect_to(to);
    pollfd sides[] = {{client, POLLIN, 0}, {service, POLLIN, 0}};
    std::size_t sizes[2] = {};
    for (int last = 1; ::poll(sides, 2, -1) > 0;) {
      const int from = sides[0].revents != 0 ? 0 : 1;
      const Message got = receive(sides[from].fd, 0);
      if (got.size == 0) break;
      sizes[from] = got.size + (from == last ? sizes[from] : 0);
      last = from;
      if (from == 1) std::printf("%zu %zu\n", sizes[0], sizes[1]);
      std::fflush(stdout);
      send(sides[1 - from].fd, got);
    }
    ::close(client);
    ::close(service);
  }
}

int main(int argc, char** argv) {
  const std::string_view mode = argc > 1 ? argv[1] : "";
  const auto bytes = [&](int i) { return static_cast<std::size_t>(std::atol(argv[i])); };
  if (mode == "relay" && argc == 4) return relay(listen_at(argv[2]), argv[3]), 0;
  if (mode == "answer" && argc == 5) return answer(listen_at(argv[2]), bytes(3), bytes(4)), 0;
  if (mode != "ask" || argc < 6) return 2;
  ask(argv[2], bytes(3), bytes(4), std::atof(argv[5]), argc > 6 ? argv[6] : nullptr);
  return 0;
}
