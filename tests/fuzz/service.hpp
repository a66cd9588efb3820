// SPDX-License-Identifier: MIT
// A service in this thread for the targets that need one, with connections over socket pairs and nothing to wait for.
// Its methods are in service.cpp.
#pragma once

#include <dirent.h>
#include <poll.h>
#include <sys/socket.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "../../src/kettlingar.hpp"  // not the joined one, for targets of src/ may stand beside this
#include "fuzz.hpp"

namespace fuzz {

namespace kt = kettlingar;

inline constexpr std::string_view token = "sesame";

inline std::size_t open_descriptors() {
  std::size_t count = 0;
  DIR* const folder = ::opendir("/dev/fd");
  while (::readdir(folder) != nullptr) ++count;
  ::closedir(folder);
  return count;
}

/// What one end of a connection sees.
class Peer {
 public:
  explicit Peer(kt::Fd fd) : fd_(std::move(fd)) {}

  int fd() const { return fd_.get(); }
  /// Takes what is there; false at the end. Descriptors are closed.
  bool read() {
    char block[16 * 1024];
    for (;;) {
      kt::detail::ReceivedDescriptors received;
      const ssize_t n = kt::detail::receive_with_descriptors(fd_.get(), block, sizeof block, 32, received);
      descriptors += received.owned.size();
      if (n <= 0) return n < 0 && errno == EAGAIN;
      seen.append(block, static_cast<std::size_t>(n));
    }
  }
  /// Takes what comes up to the end, which a thread of the service may have to bring about. False if it does not come.
  bool read_to_end() {
    while (read()) {
      pollfd entry{fd_.get(), POLLIN, 0};
      if (::poll(&entry, 1, 10'000) <= 0) return false;
    }
    return true;
  }
  /// False if the other end takes nothing (more).
  bool send(std::string_view bytes, std::span<const kt::Fd> with = {}) {
    bool first = true;
    while (!bytes.empty()) {
      const ssize_t n = kt::detail::send_with_descriptors(fd_.get(), bytes, first ? with : std::span<const kt::Fd>{});
      if (n <= 0) return false;
      first = false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }
  void end() { ::shutdown(fd_.get(), SHUT_WR); }
  void close() { fd_.reset(); }

  std::string seen;
  std::size_t descriptors = 0;

 private:
  kt::Fd fd_;
};

inline std::pair<kt::Fd, kt::Fd> socket_pair() {
  int ends[2];
  FUZZ_CHECK(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
  return {kt::Fd(ends[0]), kt::Fd(ends[1])};
}

class Service {
 public:
  /// The one of this program, running.
  static Service& running() {
    static Service service;
    return service;
  }

  Peer connect() {
    auto [here, there] = socket_pair();
    kitten_.serve_connection(kt::Socket(std::move(there)));
    return Peer(std::move(here));
  }
  /// Until there is nothing left to do.
  void settle() {
    while (kitten_.poll() != 0) {
    }
    FUZZ_CHECK(kitten_.running());
  }
  /// The same, with a peer that reads; false if it is at the end.
  bool settle(Peer& peer) {
    for (;;) {
      settle();
      const std::size_t before = peer.seen.size();
      if (!peer.read()) return false;
      if (peer.seen.size() == before) return true;
    }
  }
  /// True for what would stop the service, or read and write the files that it is told.
  static bool too_much(std::string_view bytes) {
    return bytes.find("quitquitquit") != std::string_view::npos || bytes.find("config") != std::string_view::npos;
  }

 private:
  Service();
  ~Service();

  std::string state_;
  kt::Kitten kitten_;
};

/// One answer, as strict readers see it.
struct Answer {
  int status = 0;
  std::string type;
  std::string body;                ///< of a stream: all items together
  std::vector<std::string> items;  ///< of a stream
  bool streamed = false;
  bool complete = false;
  bool keeps_alive = false;
  bool bare_lf = false;
};

/// Whether the answer to a request has a body: not to HEAD.
enum class Body { yes, no, maybe };

/// All of `seen` as answers to requests, with what `bodies[i]` says of the i-th one.
inline std::vector<Answer> answers(std::string_view seen, const std::vector<Body>& bodies) {
  const kt::Limits limits;
  std::vector<Answer> found;
  while (!seen.empty()) {
    FUZZ_CHECK(found.empty() || (found.back().complete && found.back().keeps_alive));
    kt::detail::ResponseHeadParser parser(limits);
    const kt::detail::ParseResult head = parser.parse(seen);
    FUZZ_CHECK(head.status == kt::detail::Parse::complete);
    seen.remove_prefix(head.consumed);
    if (parser.head().status == 100) continue;
    Answer answer;
    answer.status = parser.head().status;
    answer.type = parser.head().content_type;
    answer.keeps_alive = parser.head().keep_alive;
    answer.bare_lf = parser.head().bare_lf;
    answer.streamed = parser.head().chunked;
    FUZZ_CHECK(found.size() < bodies.size());  // no answer without a request
    const Body body = bodies[found.size()];
    if (body == Body::no || (body == Body::maybe && seen.empty()) || answer.status == 204 || answer.status == 304) {
      answer.complete = true;
    } else if (answer.streamed) {
      kt::detail::ChunkParser chunks(limits);
      while (!answer.complete) {
        const kt::detail::ParseResult chunk = chunks.next(seen);
        FUZZ_CHECK(chunk.status != kt::detail::Parse::bad);
        if (chunk.status == kt::detail::Parse::need_more) break;
        seen.remove_prefix(chunk.consumed);
        answer.complete = chunks.last();
        if (!answer.complete) answer.body += answer.items.emplace_back(chunks.data());
      }
      FUZZ_CHECK(answer.complete || seen.empty());
    } else if (parser.head().content_length) {
      FUZZ_CHECK(*parser.head().content_length <= seen.size());
      answer.body = seen.substr(0, *parser.head().content_length);
      seen.remove_prefix(answer.body.size());
      answer.complete = true;
    } else {
      FUZZ_CHECK(!answer.keeps_alive);
      answer.body = std::exchange(seen, {});
      answer.complete = true;
    }
    found.push_back(std::move(answer));
  }
  return found;
}

}  // namespace fuzz
