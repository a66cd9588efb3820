// SPDX-License-Identifier: MIT
// Descriptors of all kinds, with and between the bytes of connections that end at any time: none is left open, and the
// service has room for those of the next caller. Input: operations, see below.
#include "service.hpp"

namespace kt = kettlingar;

namespace fuzz_fds {

kt::Fd make_descriptor(unsigned kind, const fuzz::Peer& peer) {
  switch (kind % 5) {
    case 0:
      return kt::Fd(::open("/dev/null", O_RDWR | O_CLOEXEC));
    case 1:
      return kt::Fd(::open("/dev", O_RDONLY | O_CLOEXEC));
    case 2:
      return fuzz::socket_pair().first;
    case 3:
      return kt::Fd(::dup(peer.fd()));  // one end of the connection itself
    default:
      int ends[2];
      FUZZ_CHECK(::pipe(ends) == 0);
      ::close(ends[0]);
      return kt::Fd(ends[1]);
  }
}

std::string call_with_file() {
  const std::string body = R"({"_args": ["_FD_BRE_MAGIC_-rb"]})";
  return "POST /" + std::string(fuzz::token) +
         "/take HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}

/// A caller that does everything right is answered.
void check_next_caller(fuzz::Service& service) {
  fuzz::Peer peer = service.connect();
  std::vector<kt::Fd> file;
  file.push_back(make_descriptor(0, peer));
  FUZZ_CHECK(peer.send(call_with_file(), file));
  FUZZ_CHECK(service.settle(peer));
  FUZZ_CHECK(peer.seen.ends_with("\r\n\r\n\"rb\"\n"));
}

}  // namespace fuzz_fds

FUZZ_TARGET(fds) {
  using namespace fuzz_fds;
  if (fuzz::Service::too_much(bytes)) return;
  fuzz::Service& service = fuzz::Service::running();
  check_next_caller(service);
  service.settle();
  const std::size_t before = fuzz::open_descriptors();
  {
    fuzz::Input input(bytes);
    std::vector<fuzz::Peer> peers;
    peers.push_back(service.connect());
    std::size_t at = 0;
    for (int left = 40; left > 0 && !input.empty(); --left) {
      const unsigned operation = input.byte();
      fuzz::Peer& peer = peers[at];
      switch (operation % 8) {
        case 0:  // another connection
          if (peers.size() == 4) break;
          peers.push_back(service.connect());
          [[fallthrough]];
        case 1:
          at = (at + 1) % peers.size();
          break;
        case 2:
          peer.end();
          break;
        case 3:
          peer.end();  // a connection that holds its own other end would not see the end before its deadline
          peer.close();
          peer = service.connect();
          break;
        case 4:
          service.settle(peer);
          break;
        case 5: {  // a good call in two parts, each with a descriptor or not
          const std::string call = call_with_file();
          const std::size_t cut = 1 + operation / 8 * 5 % (call.size() - 1);
          std::vector<kt::Fd> file;
          file.push_back(make_descriptor(operation / 8, peer));
          const bool late = operation / 8 % 2 != 0;
          peer.send(call.substr(0, cut), late ? std::span<const kt::Fd>{} : file);
          service.settle(peer);
          peer.send(call.substr(cut), late ? file : std::span<const kt::Fd>{});
          break;
        }
        default: {  // bytes with descriptors
          std::vector<kt::Fd> with;
          for (unsigned i = 0; i < operation / 8 % 8; ++i) with.push_back(make_descriptor(operation / 64 + i, peer));
          peer.send(input.until('\xFF'), with);
        }
      }
      if (operation >= 128) service.settle();
    }
    for (fuzz::Peer& peer : peers) peer.end();
    for (fuzz::Peer& peer : peers) service.settle(peer);
  }
  service.settle();
  // A thread closes them, and what that ends is the service's to notice.
  for (int i = 0; i < 10'000 && fuzz::open_descriptors() > before; ++i) {
    ::poll(nullptr, 0, 1);
    service.settle();
  }
  FUZZ_CHECK(fuzz::open_descriptors() <= before);
  check_next_caller(service);
}
