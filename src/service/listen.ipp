// SPDX-License-Identifier: MIT
// service/listen.ipp: how a service opens, accepts, watches its deadlines and ends.
#pragma once

#include "../base/version.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <limits>
#include <string>

#include "connection.ipp"
#include "server.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// How many connections leave half of what this process may open to the program.
inline std::size_t most_connections() {
  constexpr std::size_t least = 8;
  rlimit descriptors{};
  if (::getrlimit(RLIMIT_NOFILE, &descriptors) != 0 || descriptors.rlim_cur == RLIM_INFINITY)
    return (std::numeric_limits<std::size_t>::max)();
  return (std::max)(least, static_cast<std::size_t>(descriptors.rlim_cur / 2));
}

KETTLINGAR_COLD void Server::apply_settings() {
  check_settings(settings);
  normalise(settings);
  stranger_limits = limits;
  stranger_limits.body_bytes = (std::min)(limits.body_bytes, limits.stranger_body_bytes);
  log.set_level(settings.worker_log_level);
  log.set_bounds(limits.log_lines, limits.log_bytes);
  log.set_name(settings.worker_name);
}

KETTLINGAR_COLD void Server::warn_at_start(const std::string& text) {
  log.write(LogLevel::warning, text);
  start_warnings += text + "\n";
}

KETTLINGAR_COLD void Server::remember_saved(const std::string& file) {
  if (!whole_process || file != config_file_) return;
  std::erase_if(started_with, [](const std::string& word) { return !names_service(word); });
  started_with.insert(started_with.begin(), "--worker-config=" + file);
  lock_.remember(started_with);
}

KETTLINGAR_COLD void Server::choose_token() {
  std::string secret = settings.worker_secret;
  std::string where = "option 'worker_secret'";
  if (!settings.worker_secret_file.empty()) {
    secret = read_token_file(settings.worker_secret_file);
    where = settings.worker_secret_file;
    check_secret(secret, where);
  } else if (!secret.empty()) {
    check_secret(secret, where);
  } else {
    secret = random_token();
  }
  if (secret.size() < safe_secret)
    warn_at_start(where + ": a token of " + std::to_string(secret.size()) + " characters is easily guessed: use " +
                  std::to_string(safe_secret) + " or more");
  token = Token(std::move(secret));
}

KETTLINGAR_COLD void Server::open_files_and_listeners() {
  const std::string directory = state_directory(settings);
  require_private_directory(directory, static_cast<mode_t>(settings.worker_umask) & 0700);
  lock_ = InstanceLock(lock_file(settings), url_file(settings));
  if (!lock_.held()) throw AlreadyRunning(settings.app_name + "/" + settings.worker_name + " is already running");
  remove_stale_socket(socket_file(settings));
  ::unlink(open_page_file(settings).c_str());  // of one that was killed
  if (whole_process && !lock_.remember(started_with))
    throw StartError("cannot write " + lock_file(settings) + ": " + std::strerror(errno));

  config_file_ = default_config_file(settings);
  prefix_ = settings.worker_url_path;
  tcp_url_.clear();
  socket_path_.clear();
  std::string url = "http://unix-domain:0";
  Fd tcp;
  Fd local;
  if (settings.worker_use_tcp) {
    tcp = listen_tcp(settings.worker_listen_host, settings.worker_listen_port, settings.worker_listen_queue);
    const std::string name = socket_name(tcp.get(), false);
    if (name.empty()) throw StartError(std::string("cannot tell the address of a socket: ") + std::strerror(errno));
    if (!name.starts_with("127.") && !name.starts_with("[::1]")) {
      warn_at_start("listening on " + name + ": reachable from other machines, and not encrypted");
    }
    url = tcp_url_ = "http://" + reachable_name(tcp.get());
  }
  if (settings.worker_use_unixdomain) {
    local = listen_unix(socket_file(settings), settings.worker_listen_queue);
    socket_path_ = socket_file(settings);
    socket_ = OwnedFile(socket_path_);
  }
  spare_ = Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (tcp) listen_on(std::move(tcp), false);
  if (local) listen_on(std::move(local), true);

  if (!prefix_.empty()) url += "/" + prefix_;
  full_url_ = url + "/" + token.text();
}

KETTLINGAR_COLD void Server::open() {
  if (state_ == State::open || state_ == State::running || state_ == State::stopping) return;
  start_warnings.clear();
  closer = CloserPointer(&blocking_threads(executor));  // a forked child has others than its parent
  options.adopt();
  descriptors_allow_ = most_connections();
  apply_settings();
  choose_token();
  try {
    open_files_and_listeners();
  } catch (...) {
    abandon();
    throw;
  }
  started = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  state_ = State::open;
}

KETTLINGAR_COLD void Server::abandon() {
  close_listeners();
  url_.remove();
  socket_.remove();
  lock_.release();
  state_ = State::fresh;
}

KETTLINGAR_COLD void Server::announce() {
  if (state_ != State::open) return;
  try {
    publication_ = Publication::of(full_url_);
    lock_.publish(publication_);
    // Whoever can read it finds a service that answers.
    url_ = OwnedFile(url_file(settings), write_private_file(url_file(settings), full_url_));
  } catch (...) {
    abandon();
    throw;
  }
  state_ = State::running;
  for (const std::shared_ptr<Listener>& listener : listeners_) accept_later(listener);
  log.write(LogLevel::info,
            "Started " + settings.app_name + "/" + settings.worker_name + (tcp_url_.empty() ? "" : " on " + tcp_url_));
}

KETTLINGAR_INLINE void Server::listen_on(Fd descriptor, bool over_unix_socket) {
  auto listener = std::make_shared<Listener>(executor, over_unix_socket);
  listener->socket.assign(descriptor.get());
  descriptor.release();
  listeners_.push_back(std::move(listener));
}

KETTLINGAR_INLINE void Server::accept_later(const std::shared_ptr<Listener>& listener) {
  with_reserve([&] {
    listener->socket.async_wait(asio::posix::stream_descriptor::wait_read,
                                WhenReady([self = shared_from_this(), listener](const asio::error_code& error) {
                                  if (error == asio::error::operation_aborted || self->state_ != State::running) return;
                                  error ? self->accept_after_pause(listener) : self->accept_batch(listener);
                                }));
  });
}

/// When there is nothing to accept with, readiness would return at once, again and again.
KETTLINGAR_INLINE void Server::accept_after_pause(const std::shared_ptr<Listener>& listener) {
  with_reserve([&] {
    listener->pause.expires_after(std::chrono::milliseconds(100));
    when_expired(listener->pause, [self = shared_from_this(), listener](const asio::error_code& error) {
      if (!error && self->state_ == State::running) self->accept_batch(listener);
    });
  });
}

KETTLINGAR_INLINE void Server::accept_batch(const std::shared_ptr<Listener>& listener) {
  // A burst is taken in one go, but not so long that running connections notice.
  for (int batch = 0; batch < 64; ++batch) {
    Fd descriptor = accept_connection(listener->socket.native_handle());
    if (descriptor) {
      try {
        admit(std::move(descriptor), listener->over_unix_socket);
      } catch (const std::exception&) {
        // The connection is gone for want of memory, the service is not.
      }
      continue;
    }
    if (errno == ECONNABORTED || errno == EPROTO) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) break;
    // EMFILE, ENFILE, ENOBUFS, ENOMEM
    const int error = errno;
    accept_after_pause(listener);
    return out_of_descriptors(listener->socket.native_handle(), error);
  }
  accept_later(listener);
}

KETTLINGAR_COLD void Server::close_listeners() {
  for (const std::shared_ptr<Listener>& listener : listeners_) {
    listener->pause.cancel();
    listener->socket.close();
  }
  listeners_.clear();
}

KETTLINGAR_COLD void Server::out_of_descriptors(int listener, int error) {
  log.write_bounded(LogLevel::error, "limit", std::string("cannot accept: ") + std::strerror(error));
  if (make_room()) return;
  spare_.reset();
  accept_connection(listener).reset();
  spare_ = Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}

/// Closes the oldest connection of a stranger, first of all one without a call; false if there is none.
KETTLINGAR_COLD bool Server::push_out_stranger() {
  Connection* oldest = nullptr;
  for (Connection* stranger : strangers_) {
    if (oldest == nullptr || stranger->busy() < oldest->busy() ||
        (stranger->busy() == oldest->busy() && stranger->number() < oldest->number()))
      oldest = stranger;
  }
  if (oldest != nullptr) oldest->close();
  return oldest != nullptr;
}

/// Closes a stranger's connection, else the one that has been idle for longest; false if there is none.
KETTLINGAR_COLD bool Server::make_room() {
  if (push_out_stranger()) return true;
  Connection* oldest = nullptr;
  for (Connection* connection : connections_) {
    if (connection->idle() && (oldest == nullptr || connection->deadline() < oldest->deadline())) oldest = connection;
  }
  if (oldest != nullptr) oldest->close();
  return oldest != nullptr;
}

KETTLINGAR_COLD bool Server::make_stream_room() {
  if (!streams_full()) return true;
  const Clock::time_point now = Clock::now();
  // As new ones are behind those that were there, nothing can be done before the time that was found last.
  if (stream_room.expiry() > now) return false;
  Connection* slowest = nullptr;
  for (Connection* connection : connections_) {
    if (connection->unsent() != 0 && (slowest == nullptr || connection->unsent_since() < slowest->unsent_since()))
      slowest = connection;
  }
  const Clock::time_point due = slowest != nullptr ? slowest->unsent_since() + limits.stream_grace : now;
  // One at a time: hold_unsent() says when its item has gone.
  stream_room.expires_at(due > now ? due : Clock::time_point::max());
  if (slowest != nullptr && due <= now) slowest->end_slow_stream();
  return false;
}

/// Whether there is room for one more connection, or could be made. TCP leaves an eighth to the unix socket.
KETTLINGAR_INLINE bool Server::room_for(bool over_unix_socket) {
  const std::size_t all = (std::min)(limits.connections, descriptors_allow_);
  const std::size_t strangers = (std::max<std::size_t>)(1, (std::min)(limits.stranger_connections, all / 2));
  if (!over_unix_socket && strangers_.size() >= strangers) return push_out_stranger();
  const std::size_t most = all - (over_unix_socket ? 0 : all / 8);
  return open_ < most || make_room();
}

/// False if the connection was turned away.
KETTLINGAR_INLINE bool Server::admit(Fd descriptor, bool over_unix_socket) {
  if (!room_for(over_unix_socket)) {
    log.write_bounded(LogLevel::warning, "limit", "connection turned away, " + std::to_string(open_) + " are open");
    return false;
  }
  Peer peer;
  peer.over_unix_socket = over_unix_socket;
  if (over_unix_socket) {
    peer.address = "unix-domain";
    peer.credentials = peer_credentials(descriptor.get());
    // The mode of the socket file keeps others out already; this holds even where that was changed.
    if (peer.credentials && !trusted_user(peer.credentials->uid)) {
      log.write_bounded(LogLevel::warning, "peer-uid",
                        "connection of user " + std::to_string(peer.credentials->uid) + " refused");
      return false;
    }
  } else {
    peer.address = socket_name(descriptor.get(), true);
    if (peer.address.empty()) return true;  // gone before it was accepted: nobody to serve, nobody to name in the log
    const int on = 1;
    ::setsockopt(descriptor.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  Connection::start(shared_from_this(), std::move(descriptor), std::move(peer));
  return true;
}

KETTLINGAR_INLINE void Server::adopt(Fd descriptor) {
  int type = 0;
  socklen_t size = sizeof type;
  sockaddr_storage name{};
  socklen_t name_size = sizeof name;
  if (::getsockopt(descriptor.get(), SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM ||
      ::getpeername(descriptor.get(), reinterpret_cast<sockaddr*>(&name), &name_size) != 0) {
    throw InvalidArgument("not a connected stream socket");
  }
  if (state_ != State::running) throw Error(503, "the service is not running");
  ::fcntl(descriptor.get(), F_SETFL, ::fcntl(descriptor.get(), F_GETFL) | O_NONBLOCK);
  if (!admit(std::move(descriptor), name.ss_family == AF_UNIX)) throw Error(503, "the connection was turned away");
}

KETTLINGAR_INLINE void Server::look_at(Clock::time_point when) {
  if (next_sweep_ && *next_sweep_ <= when) return;
  next_sweep_.reset();
  with_reserve([&] {
    sweep_timer_.expires_at(when);
    when_expired(sweep_timer_, [self = shared_from_this()](const asio::error_code& error) {
      if (!error) self->sweep();
    });
  });
  next_sweep_ = when;
}

KETTLINGAR_INLINE void Server::sweep() {
  next_sweep_.reset();
  const Clock::time_point now = Clock::now();
  std::optional<Clock::time_point> next;
  if (local_deadline_ <= now) {
    local_deadline_ = Clock::time_point::max();
    close_local_calls(true);
  }
  if (local_deadline_ != Clock::time_point::max()) next = local_deadline_;
  const std::vector<Connection*> present(connections_.begin(), connections_.end());
  for (Connection* connection : present) {
    try {
      if (connection->deadline() <= now) connection->expire(now);
    } catch (const std::bad_alloc&) {
      connection->close();  // the others have deadlines, too
    }
    const Clock::time_point deadline = connection->deadline();
    if (deadline != Clock::time_point::max() && (!next || deadline < *next)) next = deadline;
  }
  // Deadlines that are close together share one look.
  if (next) look_at((std::max)(*next, now + std::chrono::milliseconds(10)));
}

KETTLINGAR_INLINE std::uint64_t Server::enter(Connection& connection) {
  if (connection.stranger()) strangers_.insert(&connection);
  try {
    connections_.insert(&connection);
  } catch (...) {
    strangers_.erase(&connection);
    throw;
  }
  ++open_;
  return ++last_number_;
}

KETTLINGAR_COLD bool Server::count_wrong_tokens(int socket, int wrong, bool slowly) {
  const GuessOrigin origin(socket);
  const Clock::time_point now = Clock::now();
  if (guesses.hearing(origin.name, now) != Hearing::at_once) {
    guesses.count(origin.name, wrong, now);
    return true;
  }
  guesses.count(origin.name, wrong, now);
  const Hearing hearing = guesses.hearing(origin.name, now);
  if (hearing == Hearing::at_once) return false;
  slowly = slowly || origin.trusted || hearing == Hearing::slowly;
  log.write_bounded(LogLevel::warning, "guess",
                    "too many wrong tokens from " + origin.name +
                        (slowly ? ": they are answered slowly" : ": they are not looked at for a while"));
  return false;
}

KETTLINGAR_INLINE void Server::leave(Connection& connection) {
  connections_.erase(&connection);
  if (state_ == State::stopping) finish_if_empty();
}

KETTLINGAR_COLD void Server::stop() {
  if (state_ != State::running) return;
  state_ = State::stopping;
  close_listeners();
  url_.remove();
  socket_.remove();
  ::unlink(open_page_file(settings).c_str());
  lock_.release();
  log.write(LogLevel::info, "Stopped " + settings.app_name + "/" + settings.worker_name);
  const std::vector<Connection*> present(connections_.begin(), connections_.end());
  for (Connection* connection : present) connection->drain();
  close_local_calls(false);
  if (!local_calls_.empty()) look_at(local_deadline_ = Clock::now() + limits.drain_timeout);
  finish_if_empty();
}

KETTLINGAR_COLD void Server::close_local_calls(bool busy_ones) {
  const LocalCallList present = local_calls_;
  for (const std::shared_ptr<LocalCall>& call : present) {
    if (busy_ones || !call->busy()) call->close();
  }
}

KETTLINGAR_INLINE void Server::leave(const LocalCall& call) {
  remove_call(local_calls_, &call);
  if (state_ == State::stopping) finish_if_empty();
}

KETTLINGAR_COLD void Server::kill() {
  if (state_ == State::open) abandon();
  stopped = nullptr;
  stop();
  const std::vector<Connection*> present(connections_.begin(), connections_.end());
  for (Connection* connection : present) connection->close();
  close_local_calls(true);
}

KETTLINGAR_INLINE void Server::finish_if_empty() {
  if (!connections_.empty() || !local_calls_.empty() || state_ != State::stopping) return;
  state_ = State::stopped;
  sweep_timer_.cancel();
  next_sweep_.reset();  // or a service that is started again would rely on it
  if (stopped) stopped();
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
