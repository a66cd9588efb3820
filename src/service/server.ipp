// SPDX-License-Identifier: MIT
// service/server.ipp: one running service: what its connections share, its listeners, its files and its end.
#pragma once

#include "../base/version.hpp"  // defines ASIO_HAS_CO_AWAIT, so it must come before Asio

#include <array>
#include <asio/any_io_executor.hpp>
#include <asio/io_context.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <vector>

#include "../base/limits.hpp"
#include "../base/log.ipp"
#include "../call/blocking_work.ipp"
#include "../call/loop.ipp"
#include "../call/request.hpp"
#include "../os/poller.ipp"
#include "../os/socket.ipp"
#include "../os/state.ipp"
#include "auth.ipp"
#include "guess_throttle.ipp"
#include "local_calls.ipp"
#include "registry.ipp"
#include "settings.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

using Clock = std::chrono::steady_clock;

class Connection;

/// The open connections of a service, which own themselves, and how many of them there are. Those that have been closed
/// count as present for as long as something of them is under way.
class ConnectionList {
 public:
  void insert(Connection& connection);
  /// It has been closed.
  void remove(Connection& connection);
  /// To be kept while they are looked at, for any of them may be closed by what is done to another.
  std::vector<std::shared_ptr<Connection>> all() const;
  /// The first one that `better(this one, best so far)` never turns away; null if there is none that `fits`.
  template <class Fits, class Better>
  Connection* best(Fits fits, Better better) const;

  std::size_t open = 0;
  std::size_t present = 0;
  std::size_t strangers = 0;  ///< of those that are open, whose peers have not shown the token

 private:
  Connection* first_ = nullptr;
};

/// The name is taken by a service that runs. `start` treats it as success, `start --foreground` does not.
class AlreadyRunning : public StartError {
 public:
  using StartError::StartError;
};

/// Everything of one service that is not user interface. Lives on one executor and is used from its thread only.
/// Handlers of pending operations share ownership, so it outlives them.
class Server : public std::enable_shared_from_this<Server> {
 public:
  explicit Server(asio::any_io_executor loop)
      : executor(std::move(loop)), stream_room(executor), watch_(executor), sweep_timer_(executor) {}

  /// Takes name, files and addresses, without serving yet. Throws StartError or InvalidArgument and leaves nothing
  /// behind then.
  void open();
  /// After open(): serves and says where, the url file last of all. Throws StartError and leaves nothing behind then.
  void announce();
  /// After open(), instead of announce(): gives everything back.
  void abandon();
  /// Ends in order: no new connections, files removed, running calls get `drain_timeout`. Idempotent. `stopped`
  /// follows.
  void stop();
  /// Ends at once: files removed, everything closed. For a loop that may never run again.
  void kill();

  /// Checks the settings and lets them take effect, as far as that is possible while running: limits, logging, msgpack.
  /// Throws InvalidArgument.
  void apply_settings();

  /// The configuration has been saved to `file`: if that is the default one, a restart goes by it.
  void remember_saved(const std::string& file);

  bool running() const noexcept { return state_ == State::running; }
  bool stopping() const noexcept { return state_ == State::stopping; }
  /// `http://127.0.0.1:1234`, without prefix and token; empty without TCP.
  const std::string& tcp_url() const noexcept { return tcp_url_; }
  /// Path of the unix socket; empty without.
  const std::string& socket_path() const noexcept { return socket_path_; }
  /// What the url file says.
  const std::string& published_url() const noexcept { return full_url_; }

  /// The default configuration file, as of the start: what `config` may write to.
  const std::string& config_file() const noexcept { return config_file_; }
  /// What all paths start with, without slashes at its ends, as of the start.
  const std::string& prefix() const noexcept { return prefix_; }

  /// Tells a stranger who came over `connection` that this is the service of the url file.
  std::string proof(std::string_view challenge, int connection) const {
    return publication_.proof(challenge, socket_name(connection, false));
  }

  /// Serves a connection that was accepted elsewhere.
  void adopt(Fd descriptor);

  /// False on a thread that is certainly not the one of this service.
  bool may_run_here() const { return runs_on_this_thread(executor) != OnThisThread::no; }

  // For connections.
  void enter(Connection& connection);
  /// A peer has shown the token.
  void forget_stranger() noexcept { --connections_.strangers; }
  /// It leaves when nothing of it is under way any more.
  void closed(Connection& connection);
  void leave(Connection& connection);
  /// Lets it go on behind everything else that is ready.
  void go_on_later(std::shared_ptr<Connection> connection);
  /// Whether the program has given this loop less time than has gone, see Runner::poll_for().
  bool budget_used_up() const { return budget_end != Clock::time_point::max() && Clock::now() >= budget_end; }
  /// What a caller is not told, or not all of it. `ours`: the user of the service has called.
  void log_internal(bool ours, const std::string& what);
  /// Whether streams have to wait before they make more.
  bool streams_full() const noexcept { return unsent >= limits.stream_bytes && unsent != 0; }
  /// Ends streams whose readers have been slow for too long, if they have to make room. False if there is none yet:
  /// `stream_room` tells when to ask again.
  bool make_stream_room();
  /// Tells the connection when it is time to ask again.
  void await_stream_room(std::shared_ptr<Connection> connection);
  void await_no_stream_room(const Connection& connection);
  /// Counts `wrong` tokens that came over `socket`; true if there had been too many before. `slowly`: what comes from
  /// there is still compared.
  bool count_wrong_tokens(int socket, int wrong, bool slowly);
  // For calls from within the process.
  void enter(std::shared_ptr<LocalCall> call) { local_calls_.push_back(std::move(call)); }
  void leave(const LocalCall& call);

  /// Makes sure that the sweep looks at deadlines no later than `when`.
  void look_at(Clock::time_point when);

  asio::any_io_executor executor;
  std::unique_ptr<Poller> poller;  ///< watches all sockets, from open() to the end
  Clock::time_point budget_end = Clock::time_point::max();
  CloserPointer closer;  ///< of what comes from peers, since open()
  Settings settings;
  Options options;
  Limits limits;
  Limits stranger_limits;  ///< the same for callers without the token
  Log log;
  Registry methods;
  Token token;
  std::string start_warnings;  ///< of the last open(), in lines
  std::string description;
  double started = 0;                       ///< when it began to listen, in seconds since 1970
  bool whole_process = false;               ///< under main(): the process is there for nothing else
  std::vector<std::string> started_with;    ///< under main(): the options that make another process the same service
  std::vector<std::string> command_prefix;  ///< what leads to main() in a program with a command line of its own
  /// Says whether a caller counts as one with the token; `Request::authenticated()` tells about the token itself.
  std::function<bool(const Request&)> authenticator;
  /// Finds the method for a path; nothing leaves that to the usual rules.
  std::function<std::optional<RouteTo>(const Request&)> router;
  asio::any_io_executor host;        ///< where handlers run, if that is elsewhere
  std::size_t held_descriptors = 0;  ///< of requests whose token is not known yet
  std::size_t unsent = 0;            ///< bytes that streams keep for readers who are not ready for them
  asio::steady_timer
      stream_room;  ///< streams wait for it while they are too many; it expires when some is sent or gone
  GuessThrottle guesses;
  std::function<void()> stopped;  ///< called once, when the last connection has gone

 private:
  enum class State { fresh, open, running, stopping, stopped };
  struct Listener final : Poller::Watcher {
    Listener(Server& owner, Fd listening, bool for_unix_socket)
        : server(owner), socket(std::move(listening)), pause(owner.executor), over_unix_socket(for_unix_socket) {}
    void ready(unsigned) override { more = true; }

    Server& server;
    Fd socket;
    Poller::Ticket ticket = 0;
    bool watched = false;
    bool more = false;         ///< to be accepted, perhaps
    asio::steady_timer pause;  ///< runs while there are no descriptors to accept with
    bool over_unix_socket;
    std::shared_ptr<Listener> shared;  ///< itself, until it is closed
  };

  void warn_at_start(const std::string& text);
  void choose_token();
  void open_files_and_listeners();
  void listen_on(Fd descriptor, bool over_unix_socket);
  void open_watch();
  void wait_for_sockets();
  void serve_sockets();
  bool serve_batch();
  void serve_sockets_later();
  void end_watch();
  void accept_after_pause(const std::shared_ptr<Listener>& listener);
  void accept_batch(std::shared_ptr<Listener> listener);
  void close_listeners();
  bool push_out_stranger();
  bool make_room();
  bool room_for(bool over_unix_socket);
  bool admit(Fd descriptor, bool over_unix_socket);
  void out_of_descriptors(int listener, int error);
  void sweep();
  void close_local_calls(bool busy_ones);
  void finish_if_empty();

  /// For what keeps the service alive: when there is no memory for it, it gets the reserve.
  template <class F>
  void with_reserve(F action) {
    try {
      action();
    } catch (const std::bad_alloc&) {
      reserve_.reset();
      action();
    }
    if (!reserve_) reserve_.reset(new (std::nothrow) Reserve);
  }

  using Reserve = std::array<char, 4096>;

  State state_ = State::fresh;
  std::unique_ptr<Reserve> reserve_;
  InstanceLock lock_;
  OwnedFile socket_;
  OwnedFile url_;
  std::string config_file_;
  std::string prefix_;
  std::string full_url_;     ///< what the url file says
  Publication publication_;  ///< and the lock file of it
  std::string tcp_url_;
  std::string socket_path_;
  Fd spare_;  ///< given up for a moment when descriptors run out, so that a waiting peer can be turned away
  std::vector<std::shared_ptr<Listener>> listeners_;
  std::size_t descriptors_allow_ = 0;  ///< the most connections, however many `limits` allow
  ConnectionList connections_;
  asio::posix::stream_descriptor watch_;            ///< for the loop to wait for the poller
  std::vector<std::shared_ptr<Connection>> later_;  ///< those that go on behind the others
  std::vector<std::shared_ptr<Connection>> waiting_for_room_;
  bool awaits_room_ = false;  ///< a wait for `stream_room` is under way
  bool watching_ = false;      ///< the loop waits for the poller
  bool coming_back_ = false;   ///< or comes to it by itself
  unsigned watch_number_ = 0;  ///< counts the runs of the service
  bool serving_sockets_ = false;
  int held_back_ = 0;  ///< so many turns nobody has been accepted, for others were to be served
  LocalCallList local_calls_;
  Clock::time_point local_deadline_ = Clock::time_point::max();  ///< when those that are busy are closed
  asio::steady_timer sweep_timer_;
  std::optional<Clock::time_point> next_sweep_;
};

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
