// SPDX-License-Identifier: MIT
// client/connector.ipp: a connection to a service that is ours, step by step; never waits itself.
#pragma once

#include <sys/socket.h>
#include <sys/stat.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "../base/errors.hpp"
#include "../base/limits.hpp"
#include "../base/version.hpp"
#include "../os/publication.ipp"
#include "../os/socket.ipp"
#include "../os/state.ipp"
#include "../wire/http_writer.ipp"
#include "client_options.hpp"
#include "connect.ipp"
#include "exchange.ipp"
#include "transport.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Connects to the unix socket, or else over TCP, and makes sure that the token can be sent there: a unix socket tells
/// who listens, and over TCP a service of ours has to prove that it has written the url file. Services without a lock
/// file, Python ones, cannot do that; those that have a unix socket have to be alive on it.
class Connector {
 public:
  /// All of it must outlive the Connector.
  Connector(const ServiceFiles& files, const ServiceAddress& address, const ClientOptions& options)
      : files_(files),
        address_(address),
        options_(options),
        deadline_(deadline_from(std::chrono::steady_clock::now(), options.timeouts.connect)) {}
  Connector(const Connector&) = delete;
  Connector& operator=(const Connector&) = delete;

  using Step = CallStep;
  /// There is no Step::item. Throws NotRunning if nobody listens, ConnectionError if the connection breaks,
  /// UntrustedService.
  Step step();

  /// After Step::want_read or want_write: the socket to wait for.
  int socket() const noexcept { return proof_ ? proof_->socket() : channel_.socket.get(); }
  /// After Step::done: false if somebody listens, but has not proved to be the service.
  bool connected() const noexcept { return connected_; }
  /// If connected().
  Channel take() { return std::move(channel_); }
  /// If not.
  [[noreturn]] void refuse() const;

  Deadline deadline() const noexcept { return deadline_; }
  [[noreturn]] void expire() const {
    throw ConnectionError(files_.name + ": no connection within " + std::to_string(options_.timeouts.connect.count()) +
                          " ms (timeout 'connect')");
  }

 private:
  enum class Stage { start, local, tcp, proof };

  bool begin_local();
  void begin_tcp();
  bool alive_without_lock() const;
  void require_ours(int socket) const;
  void challenge();
  Step prove();

  const ServiceFiles& files_;
  const ServiceAddress& address_;
  const ClientOptions& options_;
  Deadline deadline_;
  Stage stage_ = Stage::start;
  SocketAddress target_;
  Channel channel_;
  bool under_way_ = false;  ///< connect() has been called and goes on without us
  bool connected_ = false;
  // Of the challenge. All of its time is that of connecting.
  std::string expected_;
  Limits limits_ = {.body_bytes = 1024};
  Timeouts timeouts_ = {.first_byte = {}, .idle = {}, .total = {}};
  std::optional<Exchange> proof_;
};

KETTLINGAR_COLD bool Connector::begin_local() {
  if (!options_.use_unix_socket) return false;
  const auto target = unix_address(address_.socket);
  if (!target) return false;
  target_ = *target;
  channel_.socket = open_stream_socket(AF_UNIX);
  channel_.over_unix_socket = true;
  stage_ = Stage::local;
  return static_cast<bool>(channel_.socket);
}

KETTLINGAR_COLD void Connector::begin_tcp() {
  stage_ = Stage::tcp;
  channel_ = {};
  const bool dead = address_.publication.key.empty() ? !alive_without_lock() : lock_is_stale(files_.lock);
  const bool has_tcp = address_.host != "unix-domain";
  if (!options_.use_unix_socket && !has_tcp && !dead)
    throw NotRunning(files_.name + ": listens on its unix socket only, not on TCP", ServiceState::silent);
  const auto target = tcp_address(address_.host, address_.port);
  if (dead || !has_tcp || !options_.use_tcp || !target) throw files_.not_running();
  target_ = *target;
  channel_.socket = open_stream_socket(target_.storage.ss_family);
  if (!channel_.socket) throw ConnectionError(std::string("cannot open a socket: ") + std::strerror(errno));
  const int on = 1;
  ::setsockopt(channel_.socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/// A unix socket on which nobody listens was left behind, with the port, by a service that was killed.
KETTLINGAR_COLD bool Connector::alive_without_lock() const {
  FileInfo info{};
  const auto target = unix_address(address_.socket);
  if (!target) return true;
  if (::lstat(address_.socket.c_str(), &info) != 0) return errno == ENOENT;  // it has none: nothing tells
  const Fd fd = open_stream_socket(AF_UNIX);
  if (!fd || ::connect(fd.get(), target->get(), target->size) != 0) return errno == EAGAIN;
  require_ours(fd.get());
  return true;
}

/// The token goes to our own user's services only, whoever may have put a socket there.
KETTLINGAR_COLD void Connector::require_ours(int socket) const {
  const auto peer = peer_credentials(socket);
  if (peer && trusted_user(peer->uid)) return;
  throw UntrustedService("cannot use " + address_.socket + ": " +
                         (peer ? user_text(peer->uid) + " listens there" : "cannot tell who listens there"));
}

KETTLINGAR_COLD void Connector::challenge() {
  const std::string words = random_token();
  expected_ = address_.publication.proof(words, socket_name(channel_.socket.get(), true)) + "\n";
  const std::string target = address_.path.substr(0, address_.path.rfind('/')) + std::string(challenge_path) + words;
  RequestHeadOptions head;
  head.method = "GET";
  head.target = target;
  head.host = "localhost";
  std::string request;
  if (!append_request_head(request, head)) throw files_.not_running();
  proof_.emplace(std::move(channel_), std::move(request), std::vector<Fd>(),
                 Exchange::Terms{limits_, timeouts_, std::chrono::steady_clock::now(), true});
  stage_ = Stage::proof;
}

KETTLINGAR_COLD Connector::Step Connector::prove() {
  try {
    const Step step = proof_->step();
    if (step != Step::item) return step;
    const json answer = proof_->take();
    const bool same = is_document(answer) && answer["data"] == expected_ && !proof_->answer().streaming();
    auto channel = proof_->take_reusable();
    connected_ = same && channel;
    if (connected_) {
      channel_ = *std::move(channel);
      proof_.reset();
    }
  } catch (const Error&) {
    // An answer, but none that only the service can give.
  } catch (const ConnectionError&) {
    if (lock_is_stale(files_.lock)) throw files_.not_running();  // it has just been killed
    throw;
  }
  return Step::done;
}

KETTLINGAR_COLD void Connector::refuse() const {
  if (lock_is_stale(files_.lock)) throw files_.not_running();
  throw NotRunning(files_.name + ": what listens on " + address_.host + ":" + std::to_string(address_.port) +
                       " has not proved to be the service that " + files_.url + " is of",
                   ServiceState::foreign);
}

KETTLINGAR_COLD Connector::Step Connector::step() {
  if (stage_ == Stage::start && !begin_local()) begin_tcp();
  for (;;) {
    if (stage_ == Stage::proof) return prove();
    int error = 0;
    if (std::exchange(under_way_, false)) {
      socklen_t size = sizeof error;
      if (::getsockopt(channel_.socket.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
    } else if (::connect(channel_.socket.get(), target_.get(), target_.size) != 0) {
      error = errno;
    }
    if (error == 0 || error == EISCONN) {
      if (stage_ == Stage::local) require_ours(channel_.socket.get());
      connected_ = stage_ == Stage::local || address_.publication.key.empty();
      if (connected_) return Step::done;
      challenge();
      continue;
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

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
