// SPDX-License-Identifier: MIT
// client/connect.hpp: where a service is, as its files say, and how to get a connection to it without waiting.
#pragma once

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <charconv>
#include <chrono>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "../base/errors.hpp"
#include "../base/limits.hpp"
#include "../base/version.hpp"
#include "../os/socket.hpp"
#include "../os/state.hpp"
#include "../service/settings.hpp"
#include "client_options.hpp"

namespace kettlingar {
inline namespace v0_1 {

namespace detail {

using Deadline = std::chrono::steady_clock::time_point;
inline constexpr Deadline no_deadline = (Deadline::max)();

[[gnu::cold]] inline Deadline deadline_in(std::chrono::milliseconds patience) {
  return patience.count() > 0 ? std::chrono::steady_clock::now() + patience : no_deadline;
}

/// The files of a service may be another user's.
class UntrustedService : public ConnectionError {
 public:
  using ConnectionError::ConnectionError;
};

/// Where a service is, as its url file says.
struct ServiceAddress {
  std::string host;  ///< numeric; `unix-domain` without TCP
  std::uint16_t port = 0;
  std::string path;    ///< prefix and token, with a leading and no trailing slash
  std::string socket;  ///< path of the unix socket; may not exist
};

/// Reads `http://host:port/path`. Nothing if it is something else.
[[gnu::cold]] inline std::optional<ServiceAddress> parse_service_url(std::string_view url) {
  constexpr std::string_view scheme = "http://";
  while (!url.empty() && (url.back() == '\n' || url.back() == '\r' || url.back() == ' ' || url.back() == '/'))
    url.remove_suffix(1);
  if (!url.starts_with(scheme)) return std::nullopt;
  url.remove_prefix(scheme.size());
  const std::size_t slash = url.find('/');
  const std::size_t colon = url.substr(0, slash).rfind(':');
  if (slash == std::string_view::npos || colon == std::string_view::npos) return std::nullopt;
  ServiceAddress address;
  const std::string_view digits = url.substr(colon + 1, slash - colon - 1);
  const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), address.port);
  if (error != std::errc{} || stop != digits.data() + digits.size()) return std::nullopt;
  address.host = std::string(url.substr(0, colon));
  address.path = std::string(url.substr(slash));
  return address;
}

/// The files of one service.
struct ServiceFiles {
  explicit ServiceFiles(const Settings& settings)
      : name(settings.worker_name), url(url_file(settings)), socket(socket_file(settings)), lock(lock_file(settings)) {}

  /// To throw when nobody listens: says whether a process has the name all the same.
  NotRunning not_running() const;
  /// To throw when whoever listens does not answer.
  NotRunning silent(const std::string& why) const;

  std::string name;  ///< for messages
  std::string url;
  std::string socket;
  std::string lock;
};

/// Tells one version of a file from the next.
struct FileStamp {
  FileStamp() = default;
  explicit FileStamp(const FileInfo& info)
      : inode(info.st_ino),
        size(info.st_size),
#if defined(__APPLE__)
        modified(info.st_mtimespec.tv_sec * 1'000'000'000LL + info.st_mtimespec.tv_nsec),
        changed(info.st_ctimespec.tv_sec * 1'000'000'000LL + info.st_ctimespec.tv_nsec) {
  }
#else
        modified(info.st_mtim.tv_sec * 1'000'000'000LL + info.st_mtim.tv_nsec),
        changed(info.st_ctim.tv_sec * 1'000'000'000LL + info.st_ctim.tv_nsec) {
  }
#endif
  bool operator==(const FileStamp&) const = default;

  ino_t inode = 0;
  off_t size = -1;
  long long modified = 0;  ///< nanoseconds, as is `changed`
  long long changed = 0;
};

/// Reads the url file; `stamp` gets its version. Throws NotRunning if there is none, ConnectionError if it is something
/// else, UntrustedFile.
[[gnu::cold]] inline ServiceAddress read_service_address(const ServiceFiles& files, FileStamp* stamp = nullptr) {
  constexpr std::size_t longest = 4096;
  const Fd fd = open_trusted(files.url, O_RDONLY);
  if (!fd && errno == ENOENT) throw files.not_running();
  if (!fd && errno == EACCES) throw UntrustedService("cannot use " + files.url + ": " + std::strerror(EACCES));
  FileInfo info{};
  std::string url;
  if (!fd || ::fstat(fd.get(), &info) != 0 || !read_all(fd.get(), url, longest))
    throw ConnectionError("cannot read " + files.url + ": " + std::strerror(errno));
  auto found = parse_service_url(url);
  // Python services write in place: for a moment there is nothing in it.
  if (!found && url.empty()) throw files.not_running();
  if (!found) throw ConnectionError(files.url + " is not the url file of a service: expected http://host:port/token");
  found->socket = files.socket;
  if (stamp != nullptr) *stamp = FileStamp(info);
  return *std::move(found);
}

/// Gets a connection step by step, the unix socket first, and never waits itself.
class Connector {
 public:
  /// All of it must outlive the Connector.
  Connector(const ServiceFiles& files, const ServiceAddress& address, const ClientOptions& options)
      : files_(files), address_(address), options_(options), deadline_(deadline_in(options.timeouts.connect)) {}

  enum class Step { connected, want_write, pause };
  /// `pause`: to be asked again in a few milliseconds. Throws NotRunning if nobody listens, ConnectionError if it is
  /// somebody else who does.
  Step step();

  /// After Step::want_write: the socket to wait for.
  int socket() const noexcept { return socket_.get(); }
  /// After Step::connected.
  Fd take() { return std::move(socket_); }
  bool over_unix_socket() const noexcept { return stage_ == Stage::local; }

  Deadline deadline() const noexcept { return deadline_; }
  [[noreturn]] void expire() const {
    throw ConnectionError(files_.name + ": no connection within " + std::to_string(options_.timeouts.connect.count()) +
                          " ms (timeout 'connect')");
  }

 private:
  enum class Stage { start, local, tcp };

  bool begin_local();
  void begin_tcp();
  void require_ours() const;

  const ServiceFiles& files_;
  const ServiceAddress& address_;
  const ClientOptions& options_;
  Deadline deadline_;
  Stage stage_ = Stage::start;
  SocketAddress target_;
  Fd socket_;
  bool under_way_ = false;  ///< connect() has been called and goes on without us
};

#if KETTLINGAR_DEFINITIONS
/// `Kitty: process 123 runs, but does not answer: ` and the like.
[[gnu::cold]] inline std::string describe_silence(const std::string& name, const LockHolder& holder) {
  if (!holder.held) return name + ": does not answer: ";
  const RunningProcess process(holder.pid, holder.started);
  const std::string number = std::to_string(holder.pid);
  if (process.pid() == 0) return name + ": does not answer: a child of process " + number + " holds its lock; ";
  if (process.stopped())
    return name + ": process " + number + " is stopped by a signal, and does not answer (kill -CONT " + number + "): ";
  return name + ": process " + number + " runs, but does not answer: ";
}

KETTLINGAR_COLD NotRunning ServiceFiles::not_running() const {
  const LockHolder holder = lock_holder(lock);
  if (!holder.foreign.empty()) return NotRunning(name + ": " + holder.foreign, ServiceState::foreign);
  if (!holder.held) return NotRunning(name + ": Not running: Start it first?");
  FileInfo info{};
  const bool announced = ::lstat(url.c_str(), &info) == 0 && info.st_size > 0;
  return NotRunning(describe_silence(name, holder) +
                        (announced ? "nobody listens where " + url + " says"
                                   : "there is no " + url + ", so it starts or ends, or somebody has removed the file"),
                    ServiceState::silent);
}

KETTLINGAR_COLD NotRunning ServiceFiles::silent(const std::string& why) const {
  return NotRunning(describe_silence(name, lock_holder(lock)) + why, ServiceState::silent);
}

KETTLINGAR_COLD bool Connector::begin_local() {
  if (!options_.use_unix_socket) return false;
  const auto target = unix_address(address_.socket);
  if (!target) return false;
  target_ = *target;
  socket_ = open_stream_socket(AF_UNIX);
  stage_ = Stage::local;
  return static_cast<bool>(socket_);
}

KETTLINGAR_COLD void Connector::begin_tcp() {
  stage_ = Stage::tcp;
  socket_.reset();
  // After a crash the port may be somebody else's by now, who must not get the token.
  const bool dead = lock_is_stale(files_.lock);
  const bool has_tcp = address_.host != "unix-domain";
  if (!options_.use_unix_socket && !has_tcp && !dead)
    throw NotRunning(files_.name + ": listens on its unix socket only, not on TCP", ServiceState::silent);
  const auto target = tcp_address(address_.host, address_.port);
  if (dead || !has_tcp || !options_.use_tcp || !target) throw files_.not_running();
  target_ = *target;
  socket_ = open_stream_socket(target_.storage.ss_family);
  if (!socket_) throw ConnectionError(std::string("cannot open a socket: ") + std::strerror(errno));
  const int on = 1;
  ::setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/// The token goes to our own user's services only, whoever may have put a socket there.
KETTLINGAR_COLD void Connector::require_ours() const {
  const auto peer = peer_credentials(socket_.get());
  if (peer && peer->uid != ::geteuid() && peer->uid != 0)
    throw UntrustedService("cannot use " + address_.socket + ": " + user_text(peer->uid) + " listens there");
}

KETTLINGAR_COLD Connector::Step Connector::step() {
  if (stage_ == Stage::start && !begin_local()) begin_tcp();
  for (;;) {
    int error = 0;
    if (std::exchange(under_way_, false)) {
      socklen_t size = sizeof error;
      if (::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
    } else if (::connect(socket_.get(), target_.get(), target_.size) != 0) {
      error = errno;
    }
    if (error == 0 || error == EISCONN) {
      if (stage_ == Stage::local) require_ours();
      return Step::connected;
    }
    if (error == EINPROGRESS || error == EINTR || error == EALREADY) {
      under_way_ = true;
      return Step::want_write;
    }
    // A full backlog of a unix socket is EAGAIN at once, with nothing to wait for.
    if (error == EAGAIN) return Step::pause;
    if (stage_ == Stage::tcp) throw files_.not_running();
    begin_tcp();
  }
}
#endif

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
