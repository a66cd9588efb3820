// SPDX-License-Identifier: MIT
// service/guess_throttle.hpp: slows down who tries tokens, and nobody else.
#pragma once

#include <algorithm>
#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "../base/version.hpp"
#include "../os/peer_owner.hpp"
#include "../os/socket.hpp"
#include "../os/trusted_file.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Where guesses come from: a user of this machine, or another machine.
struct GuessOrigin {
  std::string name;      ///< `user 1000`, `192.0.2.7`, or the /64 network of an IPv6 address
  bool trusted = false;  ///< may read the token anyway

  /// Of a TCP connection.
  explicit GuessOrigin(int fd);
};

/// Counts wrong tokens by their origin: 20 at once, and one more for each second. While there are more, what comes from
/// there is not even compared with the token, so that neither many connections nor hanging up early buys a guess.
class GuessThrottle {
 public:
  using Clock = std::chrono::steady_clock;

  /// True while there have been wrong tokens lately: only then origins have to be looked at.
  bool alert(Clock::time_point now) {
    if (!origins_.empty()) std::erase_if(origins_, [now](const Count& count) { return count.forgotten_at <= now; });
    return !origins_.empty();
  }
  /// After alert(): whether `origin` has used up its guesses.
  bool closed_to(std::string_view origin, Clock::time_point now) noexcept {
    const Count* count = find(origin);
    return count != nullptr && count->forgotten_at > now + most * each;
  }
  /// True if these guesses have been the last of `origin`, for now.
  bool count(const std::string& origin, int wrong, Clock::time_point now);

 private:
  struct Count {
    std::string origin;
    Clock::time_point forgotten_at;
  };
  static constexpr int most = 20;
  static constexpr std::chrono::seconds each{1};
  static constexpr std::size_t most_origins = 256;

  Count* find(std::string_view origin) noexcept;

  std::vector<Count> origins_;
};

#if KETTLINGAR_DEFINITIONS
KETTLINGAR_COLD GuessOrigin::GuessOrigin(int fd) {
  if (const auto owner = tcp_peer_owner(fd)) {
    name = "user " + std::to_string(*owner);
    trusted = trusted_user(*owner);
    return;
  }
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  if (::getpeername(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return;
  char text[INET6_ADDRSTRLEN] = "";
  if (storage.ss_family == AF_INET6) {
    sockaddr_in6 v6{};
    std::memcpy(&v6, &storage, sizeof v6);
    const bool mapped = IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr);
    // Whoever has one address of a network has all of them.
    if (!mapped) std::memset(v6.sin6_addr.s6_addr + 8, 0, 8);
    ::inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
    name = std::string(text) + (mapped ? "" : "/64");
  } else {
    const std::string whole = socket_name(fd, true);
    name = whole.substr(0, whole.rfind(':'));
  }
}

KETTLINGAR_COLD GuessThrottle::Count* GuessThrottle::find(std::string_view origin) noexcept {
  for (Count& count : origins_) {
    if (count.origin == origin) return &count;
  }
  // When there are too many, the later ones share the last place.
  return origins_.size() >= most_origins ? &origins_.back() : nullptr;
}

KETTLINGAR_COLD bool GuessThrottle::count(const std::string& origin, int wrong, Clock::time_point now) {
  const bool before = closed_to(origin, now);
  if (find(origin) == nullptr) origins_.push_back({origin, now});
  Count& count = *find(origin);
  // One more than there may be: what a trusted origin tries beyond that is not held against it for ever.
  count.forgotten_at = (std::min)((std::max)(count.forgotten_at, now) + wrong * each, now + (most + 1) * each);
  return !before && closed_to(origin, now);
}
#endif

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
