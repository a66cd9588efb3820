// SPDX-License-Identifier: MIT
// stream.cpp: reads a stream, and sends one without any library.
//
//   stream read ADDRESS FILE ITEMS             sends the request in FILE, prints ITEMS, the number of items that the
//                                              answer must have, and in how many seconds they came
//   stream send SOCKET REQUEST_BYTES ITEMS     answers a request of that length with the same bytes as our service
#include "../sockets.hpp"

#include <bit>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

std::string receive(int fd) {
  static char block[256 * 1024];
  const ssize_t n = ::recv(fd, block, sizeof block, 0);
  return {block, n > 0 ? static_cast<std::size_t>(n) : 0};
}

/// Takes whole chunks out of `bytes`, and counts them. True after the last one.
bool take_chunks(std::string& bytes, long& count) {
  std::size_t at = 0;
  bool ended = false;
  while (!ended) {
    const std::size_t line = bytes.find("\r\n", at);
    if (line == bytes.npos) break;
    const std::size_t size = std::strtoul(bytes.c_str() + at, nullptr, 16);
    if (line + size + 4 > bytes.size()) break;
    at = line + size + 4;
    size > 0 ? ++count : ended = true;
  }
  bytes.erase(0, at);
  return ended;
}

void read_stream(const std::string& address, const std::string& request, long items) {
  const int fd = connect_to(address);
  const auto begun = Clock::now();
  send_all(fd, request);
  std::string bytes;
  for (std::size_t end = bytes.npos; end == bytes.npos; end = bytes.find("\r\n\r\n")) {
    const std::string more = receive(fd);
    if (more.empty()) fail("no answer");
    bytes += more;
  }
  if (!bytes.starts_with(good)) fail("another answer: " + bytes);
  bytes.erase(0, bytes.find("\r\n\r\n") + 4);
  long count = 0;
  while (!take_chunks(bytes, count)) {
    const std::string more = receive(fd);
    if (more.empty()) fail("the stream has no end");
    bytes += more;
  }
  if (count != items) fail("a stream of " + std::to_string(count) + " items");
  std::printf("%ld %.6f\n", items, seconds_since(begun));
}

void append_number(std::string& out, std::uint64_t number, int bytes) {
  while (bytes-- > 0) out += static_cast<char>(number >> (8 * bytes));
}

void send_stream(int fd, std::uint32_t items) {
  std::string out = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/x-msgpack\r\n\r\n";
  for (std::uint32_t i = 0; i < items; ++i) {
    out += "19\r\n\x82\xA2id\xCE";
    append_number(out, 1'000'000'000 + i, 4);
    out += "\xA6volume\xCB";
    append_number(out, std::bit_cast<std::uint64_t>(i + 0.25), 8);
    out += "\r\n";
    if (out.size() < 64 * 1024) continue;
    send_all(fd, out);
    out.clear();
  }
  send_all(fd, out + "0\r\n\r\n");
}

int main(int argc, char** argv) {
  const std::string_view mode = argc == 5 ? argv[1] : "";
  const long items = argc == 5 ? std::atol(argv[4]) : 0;
  if (mode == "read") return read_stream(argv[2], content_of(argv[3]), items), 0;
  if (mode != "send") return 2;
  const int listener = listen_at(argv[2]);
  for (;;) {
    const int fd = ::accept(listener, nullptr, nullptr);
    std::string request;
    for (std::string more; !(more = receive(fd)).empty();) {
      request += more;
      if (request.size() < std::strtoul(argv[3], nullptr, 10)) continue;
      send_stream(fd, static_cast<std::uint32_t>(items));
      request.clear();
    }
    ::close(fd);
  }
}
