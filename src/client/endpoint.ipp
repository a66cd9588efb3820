// SPDX-License-Identifier: MIT
// client/endpoint.ipp: what all calls of a client share: where the service is now, what it understands, and connections
// that are kept.
#pragma once

#include <sys/socket.h>
#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "../base/version.hpp"
#include "connect.ipp"
#include "exchange.ipp"
#include "starter.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// One run of a service: its address, and what it has shown of itself. A restart makes it another place.
struct Place {
  explicit Place(ServiceAddress where) : address(std::move(where)), ours(!address.publication.key.empty()) {}

  const ServiceAddress address;
  /// Ours says how long its answers are. The others, Python ones, get bare LF and a connection for each request.
  std::atomic<bool> ours;
  std::atomic<bool> json_only = false;  ///< has refused msgpack
};

/// A connection that waits for its next request.
struct KeptConnection {
  Channel channel;
  std::shared_ptr<Place> place;
};

/// For any number of threads.
class Endpoint {
 public:
  Endpoint(const Settings& settings, const ClientOptions& options, std::shared_ptr<const StartPlan> plan)
      : files_(settings), options_(options), plan_(std::move(plan)) {}

  const ServiceFiles& files() const noexcept { return files_; }
  const ClientOptions& options() const noexcept { return options_; }
  /// How the service is started where it does not run; null if it is not.
  const StartPlan* plan() const noexcept { return plan_.get(); }

  /// Where the service is now; reads the url file if it has changed. Throws NotRunning, ConnectionError.
  std::shared_ptr<Place> look_up();
  /// True while the url file says so. Of a connection that was made before the answer: it leads to no other run of the
  /// service than the one that wrote the file, for the next one removes the file before it listens. If it says
  /// something else by now, `place` is forgotten.
  bool is_at(const std::shared_ptr<Place>& place);
  /// A connection to the service of the last look_up(), if one is kept that is still open and silent. Descriptors need
  /// one over the unix socket.
  std::optional<KeptConnection> take_kept(bool over_unix_socket_only);
  /// Keeps a connection, or closes it.
  void keep(KeptConnection connection);

 private:
  bool unchanged() const;
  struct Idle {
    KeptConnection connection;
    Deadline good_until;
  };
  static bool silent(int socket);

  const ServiceFiles files_;
  const ClientOptions options_;
  const std::shared_ptr<const StartPlan> plan_;
  std::mutex mutex_;
  FileStamp stamp_;
  std::shared_ptr<Place> place_;
  std::vector<Idle> idle_;  ///< of `place_`, the oldest first
  pid_t process_ = ::getpid();
};

KETTLINGAR_COLD std::shared_ptr<Place> Endpoint::look_up() {
  const std::lock_guard lock(mutex_);
  if (place_ && unchanged()) return place_;
  idle_.clear();
  place_.reset();
  // For a moment during a start, Python's file is there, but has no text yet: the stamp is that of what was read.
  place_ = std::make_shared<Place>(read_service_address(files_, &stamp_));
  return place_;
}

KETTLINGAR_COLD bool Endpoint::unchanged() const {
  FileInfo info{};
  return ::lstat(files_.url.c_str(), &info) == 0 && FileStamp(info) == stamp_;
}

KETTLINGAR_COLD bool Endpoint::is_at(const std::shared_ptr<Place>& place) {
  const std::lock_guard lock(mutex_);
  if (place != place_) return false;
  if (unchanged()) return true;
  idle_.clear();
  place_.reset();
  return false;
}

/// False if the connection has ended, or has something to say that nobody asked for: that would be taken for the next
/// answer.
KETTLINGAR_INLINE bool Endpoint::silent(int socket) {
  char byte = 0;
  const ssize_t n = retry_interrupted([&] { return ::recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT); });
  return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

KETTLINGAR_INLINE std::optional<KeptConnection> Endpoint::take_kept(bool over_unix_socket_only) {
  const std::lock_guard lock(mutex_);
  // In a forked child they are still the parent's, too.
  if (!idle_.empty() && process_ != ::getpid()) {
    process_ = ::getpid();
    idle_.clear();
  }
  const Deadline now = std::chrono::steady_clock::now();
  while (!idle_.empty()) {
    if (over_unix_socket_only && !idle_.back().connection.channel.over_unix_socket) break;
    Idle last = std::move(idle_.back());
    idle_.pop_back();
    // The others are older still.
    if (last.good_until <= now) idle_.clear();
    if (last.good_until > now && silent(last.connection.channel.socket.get())) return std::move(last.connection);
  }
  return std::nullopt;
}

KETTLINGAR_INLINE void Endpoint::keep(KeptConnection connection) {
  constexpr std::size_t most = 16;
  constexpr std::chrono::seconds longest(10);  // services of ours close after 15
  const std::lock_guard lock(mutex_);
  if (connection.place != place_) return;
  const Deadline now = std::chrono::steady_clock::now();
  std::erase_if(idle_, [now](const Idle& idle) { return idle.good_until <= now; });
  if (idle_.size() < most) idle_.push_back({std::move(connection), now + longest});
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
