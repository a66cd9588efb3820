// SPDX-License-Identifier: MIT
// service/guess_throttle.ipp: slows down who tries tokens, and nobody else.
#pragma once

#include <algorithm>
#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "../base/version.hpp"
#include "../os/peer_owner.ipp"
#include "../os/socket.ipp"
#include "../os/trusted_file.ipp"

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

/// When what comes from an origin is compared with the token.
enum class Hearing { at_once, slowly, never };

/// Counts wrong tokens by their origin: 20 at once, and one more for each second. While there are more, what comes from
/// there is not even compared with the token, so that neither many connections nor hanging up early buys a guess. Where
/// the right token may be among those of others, it is compared after a pause.
class GuessThrottle {
 public:
  using Clock = std::chrono::steady_clock;

  /// False if there have been none lately: then no origin has to be looked at.
  bool any_wrong_tokens(Clock::time_point now) const noexcept { return forgotten_at_ > now; }
  /// `at_once` unless `origin` has used up its guesses; `slowly` if others have used them up.
  Hearing hearing(std::string_view origin, Clock::time_point now) noexcept;
  void count(const std::string& origin, int wrong, Clock::time_point now);

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
  Count others_{{}, {}};            ///< of those that come when there are too many
  Clock::time_point forgotten_at_;  ///< all of them
};

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

/// Where guesses of `origin` are counted; null if there have been none lately.
KETTLINGAR_COLD GuessThrottle::Count* GuessThrottle::find(std::string_view origin) noexcept {
  for (Count& count : origins_) {
    if (count.origin == origin) return &count;
  }
  return origins_.size() >= most_origins ? &others_ : nullptr;
}

KETTLINGAR_COLD Hearing GuessThrottle::hearing(std::string_view origin, Clock::time_point now) noexcept {
  const Count* count = find(origin);
  if (count == nullptr || count->forgotten_at <= now + most * each) return Hearing::at_once;
  return count == &others_ ? Hearing::slowly : Hearing::never;
}

KETTLINGAR_COLD void GuessThrottle::count(const std::string& origin, int wrong, Clock::time_point now) {
  std::erase_if(origins_, [now](const Count& count) { return count.forgotten_at <= now; });
  if (find(origin) == nullptr) origins_.push_back({origin, now});
  Count& count = *find(origin);
  // One more than there may be: what a trusted origin tries beyond that is not held against it for ever.
  count.forgotten_at = (std::min)((std::max)(count.forgotten_at, now) + wrong * each, now + (most + 1) * each);
  forgotten_at_ = (std::max)(forgotten_at_, count.forgotten_at);
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
