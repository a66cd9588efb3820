// SPDX-License-Identifier: MIT
// hold.cpp: opens connections and leaves them alone.
//
//   hold ADDRESS FILE COUNT   sends the request in FILE over each; prints a line when all answers have begun, and keeps
//                             the connections until it is killed
#include "../sockets.hpp"

#include <cstdlib>
#include <string>

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const std::string request = content_of(argv[2]);
  for (int i = std::atoi(argv[3]); i > 0; --i) {
    const int fd = connect_to(argv[1]);
    send_all(fd, request);
    char begin[good.size()];
    const ssize_t n = ::recv(fd, begin, sizeof begin, MSG_WAITALL);
    if (n < 0 || std::string_view(begin, static_cast<std::size_t>(n)) != good) fail("no answer to be held");
  }
  std::puts("ready");
  std::fflush(stdout);
  for (;;) ::pause();
}
