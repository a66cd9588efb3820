// SPDX-License-Identifier: MIT
// service/connection.ipp: one accepted connection: its buffers, its deadlines, the request it is at.
#pragma once

#include "../base/version.hpp"  // defines ASIO_HAS_CO_AWAIT, so it must come before Asio

#include <asio/buffer.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/generic/stream_protocol.hpp>
#include <asio/post.hpp>
#include <asio/redirect_error.hpp>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "../call/file_io.ipp"
#include "../call/host_executor.ipp"
#include "../call/loop.ipp"
#include "../call/reply.ipp"
#include "../call/streaming.ipp"
#include "../os/passing.hpp"
#include "../wire/http_body.ipp"
#include "../wire/http_head.ipp"
#include "server.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// One accepted connection, served by one coroutine that owns it: parse what is buffered, run plain handlers on the
/// spot, collect the answers and send them together; wait only when there is nothing else to do.
///
/// At every await the peer may vanish (the operation ends with an error, the coroutine ends) or the service may stop
/// (drain() sets a deadline, expire() then closes the socket and cancels whatever a handler awaits).
///
/// An answer may go elsewhere than to the caller: to a descriptor that came with the call (`target_`), or to a service
/// that goes on with it (`released_`).
class Connection final : public std::enable_shared_from_this<Connection>, public Caller {
 public:
  /// Serves `descriptor` until either side closes it.
  static void start(std::shared_ptr<Server> server, Fd descriptor, Peer peer);
  Connection(std::shared_ptr<Server> server, Fd descriptor, Peer peer);
  ~Connection() override {
    drop_stream();
    hold_descriptors(0);
    hold_unsent(0);
    if (phase_ != Phase::closed) server_->closed(*this);
    server_->leave(*this);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// Waiting for a request, with no answer unsent.
  bool idle() const noexcept { return phase_ == Phase::idle; }
  /// Its peer has neither shown the token, nor come over the unix socket.
  bool stranger() const noexcept { return !known_; }
  /// At a request that is whole, or its answer.
  bool busy() const noexcept {
    return phase_ == Phase::handling || phase_ == Phase::streaming || phase_ == Phase::writing;
  }
  /// What its stream keeps for a reader who is not ready, and since when; nothing if it is ending anyway.
  std::size_t unsent() const noexcept { return phase_ == Phase::closed ? 0 : unsent_; }
  Clock::time_point unsent_since() const noexcept { return unsent_since_; }
  /// Its reader has had time enough.
  void end_slow_stream();
  /// Counts all connections, in order.
  std::uint64_t number() const noexcept { return number_; }
  /// When expire() has to be called next.
  Clock::time_point deadline() const noexcept { return (std::min)(deadline_, drain_deadline_); }
  void expire(Clock::time_point now);
  /// The service stops: finish what is being done, but not for long.
  void drain();
  /// Ends everything at once. The coroutine notices at its next step.
  void close();

 private:
  enum class Phase { idle, head, body, handling, streaming, writing, slowed, lingering, closed };
  /// What to wait for, or to go on without.
  enum class Next { go_on, read, write, handle, pause, close };
  enum class StreamState { going, waiting, ended };
  /// A refusal that does not depend on the body; status 0: none.
  struct Refusal {
    int status = 0;
    std::string_view slug = {};
  };

  static Task<void> serve(std::shared_ptr<Connection> self);
  Next advance();
  Next at_head();
  Next at_body();
  Next incomplete(std::string_view what);
  bool has_unread() const;

  // The request being read and answered; see request_steps.hpp.
  Refusal refusal();
  void find_caller();
  void find_method();
  std::string_view challenge() const;
  void refuse_route();
  bool through_proxy() const;
  Hearing hearing();
  int wrong_tokens() const;
  bool brings_token();
  void note_caller();
  /// Whether this request has come from the user of the service, whatever else comes over the connection.
  bool ours() const noexcept { return route_.authenticated || peer_.over_unix_socket; }
  std::string_view foreign_browser();
  void begin_body();
  void dispatch();
  std::string_view decode_body(std::string_view body, std::optional<ErrorReply>& reply);
  std::string_view decode_arguments(std::optional<ErrorReply>& reply);
  void answer_call();
  void append_answer();
  void answer_error(const std::exception_ptr& thrown);
  void refuse(const Refusal& refusal);
  std::string refused_host() const;
  void refuse_and_close(int status, std::string_view slug, std::string_view why);
  void log_request(int status, std::string_view slug, std::size_t bytes);
  void log_internal(const std::string& what);
  void end_request();

  // Generators and awaited handlers; see call_steps.hpp.
  Task<void> finish_call();
  Task<void> run_stream();
  void end_stream(const StreamWriter& writer, std::size_t sent);
  Task<void> invoke_on_host();
  Task<void> resume_on_host();
  Task<void> give_to_host(Task<void> work) {
    return on_host(server_->host, std::move(work), shared_from_this(), server_->limits.host_timeout);
  }
  void drop_stream();
  void end_released(const std::exception_ptr& thrown);
  StreamState stream_step(StreamWriter& writer, const std::exception_ptr& thrown);
  Task<void> wait_for_room();
  void hold_unsent(std::size_t bytes);
  void break_silence_later();
  void break_silence(Clock::time_point now);
  void watch_peer();
  void look_at_peer();

  // Descriptors that come and go, and answers that go elsewhere; see handover.hpp.
  ssize_t receive_on_unix_socket();
  void drop_descriptors();
  void refuse_descriptors();
  void hold_descriptors(std::size_t count);
  ssize_t send_part(std::string_view bytes);
  bool answer_elsewhere(json& arguments);
  void require_own_thread() const;
  bool gone() const override;
  HandOver prepare_handover() override;
  void released() override { released_ = true; }
  Socket take_connection(std::string* received) override;
  int answer_descriptor() { return target_ ? target_.get() : socket_.native_handle(); }
  Fd duplicate_of_connection();

  Task<void> fill();
  Task<void> slow_down();
  bool send_now();
  Task<void> flush();
  Task<void> flush_to_target();
  Task<void> linger();
  void cut_off();
  void close_socket();
  void make_room();
  void enter(Phase phase, Clock::time_point deadline);
  std::string_view input() const noexcept { return std::string_view(in_).substr(begin_, end_ - begin_); }

  using StreamSocket = asio::generic::stream_protocol::socket;
  static constexpr std::size_t smallest_buffer = 512;  // most requests need no more, and most connections are idle
  static constexpr std::size_t flush_threshold = 64 * 1024;

  std::shared_ptr<Server> server_;
  Peer peer_;
  mutable StreamSocket socket_;
  asio::cancellation_signal cancel_;

  std::string in_;         ///< [begin_, end_) has been received and not yet consumed
  std::size_t begin_ = 0;  ///< first byte of the present request
  std::size_t end_ = 0;
  std::string out_;  ///< answers; [sent_, size) has not been sent
  std::size_t sent_ = 0;
  std::uint64_t total_sent_ = 0;    ///< bytes of all answers
  std::uint64_t answer_began_ = 0;  ///< `total_sent_` when the present one begins

  ReceivedDescriptors received_;      ///< with the present request
  std::size_t held_ = 0;              ///< of them, how many count for the server's limit
  bool dropped_descriptors_ = false;  ///< some have come that a stranger may not send
  std::vector<Fd> out_descriptors_;   ///< go with the byte of `out_` at `out_descriptors_at_`
  std::size_t out_descriptors_at_ = 0;
  Fd target_;  ///< where the answer goes, if not to the caller
  bool target_is_socket_ = false;
  std::unique_ptr<Readiness> target_watch_;
  bool handing_over_ = false;
  bool released_ = false;  ///< somebody else answers

  Phase phase_ = Phase::idle;
  Clock::time_point deadline_ = Clock::time_point::max();
  Clock::time_point drain_deadline_ = Clock::time_point::max();
  Clock::time_point request_start_;
  bool timed_out_ = false;
  bool end_of_input_ = false;
  bool close_after_ = false;  ///< when everything has been sent
  bool half_closed_ = false;  ///< seen while a handler worked; bytes may still be unread
  bool watching_ = false;
  bool known_ = false;                  ///< the peer is one of ours, or has shown the token
  bool throttled_ = false;              ///< too many wrong tokens have come from where this request comes from
  Hearing hearing_ = Hearing::at_once;  ///< of what it may have as its token
  bool slowed_ = false;                 ///< the answer waits for Limits::guess_pause
  std::uint64_t number_ = 0;

  std::string own_host_;  ///< the last Host that was found to be one of ours
  RequestHeadParser head_parser_;
  BodyReader body_;
  std::size_t head_size_ = 0;  ///< 0 while the head is incomplete
  Refusal refused_;            ///< waits for the end of the body
  Route route_;
  std::optional<RouteTo> routed_;  ///< what a router said; `route_` points into it
  ReplyStyle style_;
  std::shared_ptr<const Method> method_;  ///< kept while its handler runs, even if it is replaced meanwhile
  std::optional<Request> request_;
  std::optional<Call> call_;
  std::vector<Slot> slots_;                              ///< the buffer of the last call
  ItemStream::Step host_step_ = ItemStream::Step::done;  ///< what a generator on the host's thread has come to
  StreamWriter* writer_ = nullptr;                       ///< of the stream that runs
  Clock::time_point comment_due_;                        ///< when its silence has become too long
  Clock::time_point stalled_since_;                      ///< since when its reader has taken nothing
  std::uint64_t stalled_at_ = ~std::uint64_t{0};         ///< after so many bytes of all
  std::size_t unsent_ = 0;                               ///< bytes that it keeps while its reader is not ready
  Clock::time_point unsent_since_;
};

KETTLINGAR_INLINE Connection::Connection(std::shared_ptr<Server> server, Fd descriptor, Peer peer)
    : server_(std::move(server)),
      peer_(std::move(peer)),
      socket_(server_->executor),
      known_(peer_.over_unix_socket),
      head_parser_(server_->limits),
      body_(server_->limits) {
  sockaddr_storage name{};
  socklen_t size = sizeof name;
  ::getsockname(descriptor.get(), reinterpret_cast<sockaddr*>(&name), &size);
  socket_.assign(asio::generic::stream_protocol(name.ss_family, 0), descriptor.get());
  descriptor.release();
  number_ = server_->enter(*this);
}

KETTLINGAR_INLINE void Connection::start(std::shared_ptr<Server> server, Fd descriptor, Peer peer) {
  auto connection = std::make_shared<Connection>(std::move(server), std::move(descriptor), std::move(peer));
  connection->enter(Phase::idle, Clock::now() + connection->server_->limits.idle_timeout);
  spawn(
      connection->server_->executor, serve(connection),
      [connection](const std::exception_ptr&) { connection->close(); }, connection->cancel_.slot());
}

KETTLINGAR_INLINE Task<void> Connection::serve(std::shared_ptr<Connection> self) {
  Connection& c = *self;
  try {
    while (c.phase_ != Phase::closed) {
      const Next next = c.advance();
      if (next == Next::handle) {
        co_await c.finish_call();
        continue;
      }
      if (c.slowed_) co_await c.slow_down();
      if (!c.send_now()) co_await c.flush();
      if (next == Next::pause) {
        co_await c.slow_down();
        if (c.phase_ != Phase::closed) c.begin_body();
      } else if (next == Next::close) {
        co_await c.linger();
        c.close();
      } else if (next == Next::read) {
        co_await c.fill();
      }
    }
  } catch (...) {
    // Cancelled, or out of memory: this connection ends, the service goes on.
    if (c.phase_ != Phase::closed) c.log_internal(log_escaped(words_of(std::current_exception())));
    c.close();
  }
}

KETTLINGAR_INLINE void Connection::enter(Phase phase, Clock::time_point deadline) {
  if (phase_ == Phase::closed) return;  // for good
  phase_ = phase;
  deadline_ = deadline;
  if (deadline != Clock::time_point::max()) server_->look_at(deadline);
}

KETTLINGAR_INLINE Connection::Next Connection::advance() {
  for (;;) {
    if (phase_ == Phase::closed || close_after_) return Next::close;
    if (out_.size() - sent_ >= flush_threshold || !out_descriptors_.empty()) return Next::write;
    const Next next = head_size_ == 0 ? at_head() : at_body();
    // After a plain handler has answered, the next request may be here already, and its answer can leave with this one.
    if (next != Next::go_on) return next;
  }
}

KETTLINGAR_INLINE Connection::Next Connection::at_head() {
  if (begin_ == end_) {
    if (end_of_input_ || (server_->stopping() && !has_unread())) return Next::close;
    begin_ = end_ = 0;
    if (in_.size() > flush_threshold) {
      in_.clear();
      in_.shrink_to_fit();
    }
    enter(Phase::idle, Clock::now() + server_->limits.idle_timeout);
    return Next::read;
  }
  if (phase_ != Phase::head) {
    request_start_ = Clock::now();
    enter(Phase::head, request_start_ + server_->limits.head_timeout);
  }
  const ParseResult result = head_parser_.parse(input());
  if (result.status == Parse::bad) {
    refuse_and_close(result.http_status, result.slug, result.why);
    return Next::close;
  }
  if (result.status == Parse::need_more) {
    return incomplete("head incomplete");
  }
  head_size_ = result.consumed;
  hearing_ = hearing();
  if (hearing_ == Hearing::slowly && brings_token()) return Next::pause;
  begin_body();
  return Next::go_on;
}

/// More is needed: wait for it, unless the time is up or the peer has said that nothing will come.
KETTLINGAR_INLINE Connection::Next Connection::incomplete(std::string_view what) {
  if (timed_out_) {
    refuse_and_close(408, "timeout", what);
  } else if (end_of_input_) {
    log_request(0, "eof", 0);
  } else {
    return Next::read;
  }
  return Next::close;
}

KETTLINGAR_INLINE Connection::Next Connection::at_body() {
  const ParseResult result = body_.advance(in_.data() + begin_ + head_size_, end_ - begin_ - head_size_);
  if (result.status == Parse::bad) {
    refuse_and_close(result.http_status, result.slug, result.why);
    return Next::close;
  }
  if (result.status == Parse::need_more) {
    return incomplete("body incomplete");
  }
  if ((!received_.owned.empty() || dropped_descriptors_) && end_ != begin_ + head_size_ + body_.raw_size()) {
    // Descriptors come with the first byte of what was sent with them, which may be in either.
    refuse_and_close(400, "fd-stray", "descriptors came between two requests");
    return Next::close;
  }
  dispatch();
  return call_ ? Next::handle : Next::go_on;
}

/// Room for more input behind what is there: by moving it to the front, or by growing as the bytes come, never by what
/// was announced.
KETTLINGAR_INLINE void Connection::make_room() {
  const bool was_filled = end_ == in_.size();
  if (begin_ > 0 && (begin_ == end_ || end_ == in_.size())) {
    std::memmove(in_.data(), in_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (head_size_ != 0 && body_.raw_size() > body_.body_size() + flush_threshold) {
    const std::size_t body_at = begin_ + head_size_;
    end_ = body_at + body_.close_gap(in_.data() + body_at, end_ - body_at);
  }
  // A small one that was full once will be full again, and is soon as large as it ever needs to be; a large one grows
  // when there is no other way.
  const bool small = in_.size() < flush_threshold;
  if (small ? was_filled : end_ == in_.size()) in_.resize((std::max)(smallest_buffer, in_.size() * (small ? 4 : 2)));
  if (head_size_ == 0) return;
  // Views of a complete head point into the buffer, which may have moved.
  head_parser_.rebase(input());
  route_.rebase(head_parser_.head());
  if (routed_) route_.method = routed_->method;
}

// If the peer vanishes or the service stops here, the read ends with an error and the coroutine with it. Others may
// have made the socket a blocking one: a connection that came from elsewhere is still open there.
KETTLINGAR_INLINE Task<void> Connection::fill() {
  make_room();
  asio::error_code error;
  if (peer_.over_unix_socket) {
    co_await socket_.async_wait(StreamSocket::wait_read, asio::redirect_error(asio::use_awaitable, error));
    if (!error) {
      const ssize_t n = receive_on_unix_socket();
      if (n == 0) error = asio::error::eof;
      if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK) error = asio::error::connection_reset;
    }
  } else {
    end_ += co_await socket_.async_receive(asio::buffer(in_.data() + end_, in_.size() - end_), MSG_DONTWAIT,
                                           asio::redirect_error(asio::use_awaitable, error));
  }
  if (error == asio::error::eof) {
    end_of_input_ = true;
  } else if (error && !timed_out_) {
    close();
  }
}

// A peer that goes while it waits here still takes up a connection until the time is over: those who guess get no more
// guesses by hanging up.
KETTLINGAR_COLD Task<void> Connection::slow_down() {
  slowed_ = false;
  enter(Phase::slowed, Clock::time_point::max());
  co_await sleep_for(server_->limits.guess_pause);
}

KETTLINGAR_INLINE void Connection::close_socket() {
  asio::error_code ignored;
  Fd socket(socket_.release(ignored), server_->closer);
  // One that others go on with is merely let go of.
  if (!released_ && !handing_over_) close_connection(std::move(socket), server_->closer);
}

/// Sends what the socket takes without waiting. False if something is left for flush().
KETTLINGAR_INLINE bool Connection::send_now() {
  if (target_ && !target_is_socket_) return out_.empty();
  while (sent_ < out_.size() && phase_ != Phase::closed) {
    const ssize_t n = send_part(std::string_view(out_).substr(sent_));
    if (n < 0) {
      if (errno == EAGAIN || errno == EWOULDBLOCK) return false;
      close();
      break;
    }
    sent_ += static_cast<std::size_t>(n);
    total_sent_ += static_cast<std::uint64_t>(n);
  }
  sent_ = 0;
  out_.clear();
  if (out_.capacity() > 4 * flush_threshold) out_.shrink_to_fit();
  return true;
}

// A reader that takes nothing for `write_timeout`, vanishes, or is there when the service ends: close() ends the wait.
KETTLINGAR_INLINE Task<void> Connection::flush() {
  const Phase before = phase_;
  const Clock::time_point deadline = deadline_;
  while (phase_ != Phase::closed) {
    enter(Phase::writing, Clock::now() + server_->limits.write_timeout);
    if (target_) {
      co_await flush_to_target();
    } else {
      asio::error_code error;
      co_await socket_.async_wait(StreamSocket::wait_write, asio::redirect_error(asio::use_awaitable, error));
      if (error) close();
    }
    if (send_now()) break;
  }
  if (phase_ != Phase::closed)
    enter(before, before == Phase::idle ? Clock::now() + server_->limits.idle_timeout : deadline);
}

/// Lets the peer read the answer before the connection goes: had it sent anything that is not read, a plain close would
/// make the kernel drop what it has not received yet (RFC 9112 9.6).
KETTLINGAR_INLINE Task<void> Connection::linger() {
  // Others may go on with a connection that was passed on: it must not be shut down.
  if (phase_ == Phase::closed || end_of_input_ || target_ || released_) co_return;
  asio::error_code error;
  socket_.shutdown(StreamSocket::shutdown_send, error);
  enter(Phase::lingering, Clock::now() + server_->limits.linger_timeout);
  std::size_t dropped = 0;
  while (dropped < server_->limits.linger_bytes && phase_ != Phase::closed && !end_of_input_) {
    begin_ = end_ = 0;
    co_await fill();
    drop_descriptors();
    dropped += end_;
  }
}

KETTLINGAR_INLINE void Connection::expire(Clock::time_point now) {
  if (drain_deadline_ <= now) return close();
  deadline_ = Clock::time_point::max();
  switch (phase_) {
    case Phase::head:
    case Phase::body: {
      // The coroutine still gets to say 408.
      timed_out_ = true;
      asio::error_code ignored;
      socket_.cancel(ignored);
      return;
    }
    case Phase::streaming:
    case Phase::handling:
      if (writer_ != nullptr && !handing_over_) {
        break_silence(now);
        if (phase_ == Phase::closed) return;
      }
      if (half_closed_) break;
      look_at_peer();
      if (deadline_ == Clock::time_point::max()) break_silence_later();
      return;
    case Phase::writing:
      return cut_off();
    case Phase::idle:
    case Phase::slowed:
    case Phase::lingering:
    case Phase::closed:
      break;
  }
  close();
}

/// Of a reader that takes nothing.
KETTLINGAR_COLD void Connection::cut_off() {
  server_->log.write_bounded(LogLevel::warning, "timeout", peer_.address + " takes nothing, closed");
  close();
}

/// Whether bytes have come that nobody has read yet: a request, most likely, which is owed an answer.
KETTLINGAR_COLD bool Connection::has_unread() const {
  char byte = 0;
  return retry_interrupted([&] { return ::recv(socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT); }) > 0;
}

KETTLINGAR_INLINE void Connection::drain() {
  if ((idle() && !has_unread()) || phase_ == Phase::slowed) return close();
  drain_deadline_ = Clock::now() + server_->limits.drain_timeout;
  server_->look_at(drain_deadline_);
}

KETTLINGAR_INLINE void Connection::close() {
  if (phase_ == Phase::closed) return;
  phase_ = Phase::closed;
  server_->closed(*this);
  deadline_ = drain_deadline_ = Clock::time_point::max();
  if (request_) ConnectionAccess::cancel(*request_);
  drop_descriptors();
  out_descriptors_.clear();
  target_watch_.reset();
  target_.reset();
  close_socket();
  // What the host does for a call may take its time; the service does not wait for that.
  if (server_->host) server_->leave(*this);
  // Ends what a handler awaits, here or deeper down.
  cancel_.emit(asio::cancellation_type::terminal);
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
