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
    open_watch();
    open_files_and_listeners();
  } catch (...) {
    abandon();
    throw;
  }
  started = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  state_ = State::open;
}

/// For this process: a forked child has a set of its own.
KETTLINGAR_COLD void Server::open_watch() {
  try {
    poller = std::make_unique<Poller>();
    Fd copy(::fcntl(poller->descriptor(), F_DUPFD_CLOEXEC, 0));
    if (!copy) throw_errno("cannot watch sockets");
    watch_.assign(copy.get());
    copy.release();
  } catch (const std::system_error& error) {
    throw StartError(error.what());
  }
}

KETTLINGAR_COLD void Server::abandon() {
  close_listeners();
  end_watch();
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
    for (const std::shared_ptr<Listener>& listener : listeners_) {
      listener->ticket = poller->add(listener->socket.get(), *listener);
      listener->watched = true;
    }
  } catch (...) {
    abandon();
    throw;
  }
  state_ = State::running;
  wait_for_sockets();
  log.write(LogLevel::info,
            "Started " + settings.app_name + "/" + settings.worker_name + (tcp_url_.empty() ? "" : " on " + tcp_url_));
}

KETTLINGAR_INLINE void Server::listen_on(Fd descriptor, bool over_unix_socket) {
  listeners_.push_back(std::make_shared<Listener>(*this, std::move(descriptor), over_unix_socket));
  listeners_.back()->shared = listeners_.back();
}

KETTLINGAR_INLINE void Server::wait_for_sockets() {
  if (std::exchange(watching_, true)) return;
  with_reserve([&] {
    watch_.async_wait(asio::posix::stream_descriptor::wait_read,
                      WhenReady([self = shared_from_this(), watch = watch_number_](const asio::error_code& error) {
                        // What was begun in an earlier run of the service comes to nothing.
                        if (error || watch != self->watch_number_) return;
                        self->watching_ = false;
                        self->serve_sockets();
                      }));
  });
}

/// Behind everything else that is ready on the loop.
KETTLINGAR_INLINE void Server::serve_sockets_later() {
  if (serving_sockets_ || std::exchange(coming_back_, true)) return;
  with_reserve([&] {
    post(executor, [self = shared_from_this(), watch = watch_number_] {
      if (watch != self->watch_number_) return;
      self->coming_back_ = false;
      self->serve_sockets();
    });
  });
}

/// Serves the sockets that are ready, and those that have let others go first.
KETTLINGAR_INLINE void Server::serve_sockets() {
  if (!poller) return;
  serving_sockets_ = true;
  bool more = true;
  try {
    more = serve_batch();
  } catch (const std::bad_alloc&) {
    // One connection has lost something; the others go on.
  }
  serving_sockets_ = false;
  if (state_ == State::stopped) return end_watch();
  more ? serve_sockets_later() : wait_for_sockets();
}

/// True if there is more that can be done now.
KETTLINGAR_INLINE bool Server::serve_batch() {
  bool more = !poller->has_next() && poller->collect();
  bool any = false;
  while ((!any || !budget_used_up()) && poller->next()) any = true;
  std::vector<std::shared_ptr<Connection>> present = std::exchange(later_, {});
  for (std::shared_ptr<Connection>& connection : present) {
    if (any && budget_used_up()) {
      later_.push_back(std::move(connection));
    } else {
      any = true;
      connection->go_on();
    }
  }
  // Those that were accepted before come first: they are to show the token before there are too many of them.
  if (more && ++held_back_ < 8) return true;
  held_back_ = 0;
  for (std::size_t i = 0; i < listeners_.size() && !(any && budget_used_up()); ++i) {
    if (std::exchange(listeners_[i]->more, false)) accept_batch(listeners_[i]);
  }
  more = more || poller->has_next() || !later_.empty();
  for (const std::shared_ptr<Listener>& listener : listeners_) more = more || listener->more;
  return more;
}

KETTLINGAR_INLINE void Server::go_on_later(std::shared_ptr<Connection> connection) {
  later_.push_back(std::move(connection));
  serve_sockets_later();
}

/// Nothing is open any more.
KETTLINGAR_COLD void Server::end_watch() {
  if (serving_sockets_) return;
  if (watch_.is_open()) watch_.close();
  ++watch_number_;
  watching_ = coming_back_ = false;
  poller.reset();
  later_.clear();
}

/// When there is nothing to accept with, readiness would return at once, again and again.
KETTLINGAR_INLINE void Server::accept_after_pause(const std::shared_ptr<Listener>& listener) {
  with_reserve([&] {
    listener->pause.expires_after(std::chrono::milliseconds(100));
    when_expired(listener->pause, [self = shared_from_this(), listener](const asio::error_code& error) {
      if (!error) self->accept_batch(listener);
    });
  });
}

KETTLINGAR_INLINE void Server::accept_batch(std::shared_ptr<Listener> listener) {
  if (state_ != State::running) return;
  // A burst is taken in parts, so that running connections do not notice.
  for (int batch = 0; batch < 16; ++batch) {
    Fd descriptor = accept_connection(listener->socket.get());
    if (descriptor) {
      try {
        admit(std::move(descriptor), listener->over_unix_socket);
      } catch (const std::exception&) {
        // The connection is gone for want of memory, the service is not.
      }
      continue;
    }
    if (errno == ECONNABORTED || errno == EPROTO) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return;
    // EMFILE, ENFILE, ENOBUFS, ENOMEM
    const int error = errno;
    accept_after_pause(listener);
    return out_of_descriptors(listener->socket.get(), error);
  }
  listener->more = true;
  serve_sockets_later();
}

KETTLINGAR_COLD void Server::close_listeners() {
  for (const std::shared_ptr<Listener>& listener : listeners_) {
    listener->pause.cancel();
    if (poller && listener->watched) poller->remove(listener->socket.get(), listener->ticket);
    listener->socket.reset();
    listener->shared.reset();
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

KETTLINGAR_COLD void Server::log_internal(bool ours, const std::string& what) {
  constexpr std::string_view slug = "internal";
  ours ? log.write(LogLevel::error, std::string(slug) + ": " + what) : log.write_bounded(LogLevel::error, slug, what);
}

/// False if the connection was turned away.
KETTLINGAR_INLINE bool Server::admit(Fd descriptor, bool over_unix_socket) {
  if (!room_for(over_unix_socket)) {
    log.write_bounded(LogLevel::warning, "limit",
                      "connection turned away, " + std::to_string(connections_.open) + " are open");
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
  for (const std::shared_ptr<Connection>& connection : connections_.all()) {
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

KETTLINGAR_INLINE void Server::enter(Connection& connection) { connections_.insert(connection); }

KETTLINGAR_INLINE void Server::closed(Connection& connection) {
  connections_.remove(connection);
  // What the host does for a call may take its time; the service does not wait for that.
  if (host) leave(connection);
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
  if (!std::exchange(connection.link_.present, false)) return;
  --connections_.present;
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
  for (const std::shared_ptr<Connection>& connection : connections_.all()) connection->drain();
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
  for (const std::shared_ptr<Connection>& connection : connections_.all()) connection->close();
  close_local_calls(true);
}

KETTLINGAR_INLINE void Server::finish_if_empty() {
  if (connections_.present != 0 || !local_calls_.empty() || state_ != State::stopping) return;
  state_ = State::stopped;
  end_watch();
  sweep_timer_.cancel();
  next_sweep_.reset();  // or a service that is started again would rely on it
  if (stopped) stopped();
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
