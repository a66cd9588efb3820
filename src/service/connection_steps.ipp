// SPDX-License-Identifier: MIT
// service/connection_steps.ipp: the way of a connection: what comes, what leaves, deadlines, and its end.
#pragma once

#include "../base/version.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <memory>
#include <utility>

#include "../call/reply.ipp"
#include "connection.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

KETTLINGAR_INLINE Connection::Connection(std::shared_ptr<Server> server, Fd descriptor, Peer peer)
    : server_(std::move(server)),
      peer_(std::move(peer)),
      transport_(std::move(descriptor)),
      request_(server_->limits),
      admission_(*server_, peer_, *this, request_.parser.head(), transport_.descriptor()),
      call_(*this, {server_->executor, server_->host, server_->limits}, request_.style) {}

KETTLINGAR_INLINE Connection::~Connection() {
  call_.end();
  hold_descriptors(0);
  hold_unsent(0);
  server_->leave(*this);
}

KETTLINGAR_INLINE void Connection::start(std::shared_ptr<Server> server, Fd descriptor, Peer peer) {
  const auto connection = std::make_shared<Connection>(std::move(server), std::move(descriptor), std::move(peer));
  Connection& c = *connection;
  c.ticket_ = c.server_->poller->add(c.transport_.descriptor(), c);
  c.self_ = connection;
  c.server_->enter(c);
  c.enter(Phase::idle, Clock::now() + c.server_->limits.idle_timeout);
  // Its request is there already, most likely.
  c.transport_.note_readable();
  c.server_->go_on_later(connection);
}

KETTLINGAR_INLINE void Connection::enter(Phase phase, Clock::time_point deadline) {
  if (phase_ == Phase::closed) return;  // for good
  phase_ = phase;
  deadline_ = deadline;
  if (deadline != Clock::time_point::max()) server_->look_at(deadline);
}

KETTLINGAR_INLINE void Connection::ready(unsigned what) {
  const std::shared_ptr<Connection> self = shared_from_this();
  // As long as all has been sent, room for more is no news.
  if (what == Poller::writable && transport_.has_sent_all()) return;
  if (target_.descriptor) {
    if ((what & Poller::broken) != 0) return close();
  } else {
    if ((what & Poller::readable) != 0) transport_.note_readable();
    if ((what & (Poller::ended | Poller::broken)) != 0) transport_.note_end();
    // A peer that has gone altogether waits for no answer. What it has sent before is looked at.
    if ((what & Poller::broken) != 0 && call_.active()) return close();
  }
  if ((what & Poller::ended) != 0) note_end_of_input();
  take_steps();
}

/// Over TCP the end of input is all there is to see of a peer that has gone, and the same as one that only has nothing
/// more to say (nc -N). Such a one gets what comes in time; every item that it takes renews that.
KETTLINGAR_INLINE void Connection::note_end_of_input() {
  if (phase_ != Phase::streaming && phase_ != Phase::handling) return;
  if (!call_.active() || std::exchange(is_.half_closed, true)) return;
  const Limits& limits = server_->limits;
  enter(phase_, Clock::now() + (phase_ == Phase::handling ? limits.idle_timeout : limits.linger_timeout));
}

KETTLINGAR_INLINE void Connection::go_on() {
  const std::shared_ptr<Connection> self = shared_from_this();
  take_steps();
}

KETTLINGAR_INLINE void Connection::take_steps() {
  done_ = phase_ == Phase::lingering ? done_ : 0;
  try {
    while (step()) {
    }
  } catch (...) {
    // Out of memory, most likely: this connection ends, the service goes on.
    if (phase_ != Phase::closed) log_internal(log_escaped(words_of(std::current_exception())));
    close();
  }
}

/// True if others, and the program, are to have their turn first; this goes on after them.
KETTLINGAR_INLINE bool Connection::turn_over() {
  if (done_ < flush_threshold && !server_->budget_used_up()) return false;
  server_->go_on_later(shared_from_this());
  return true;
}

/// Does one thing; false if there is nothing that can be done now.
KETTLINGAR_INLINE bool Connection::step() {
  switch (phase_) {
    case Phase::closed:
    case Phase::slowed:
      return false;
    case Phase::writing:
      return go_on_writing();
    case Phase::lingering:
      return linger();
    default:
      break;
  }
  if (call_.active()) return call_step();
  if (is_.answer_waits || is_.head_waits) {
    if (is_.answer_waits || flush()) pause();
    return false;
  }
  if (is_.close_after) return begin_end();
  if (transport_.unsent() >= flush_threshold || !transport_.out.large.empty() || !transport_.out_descriptors.empty()) {
    done_ += transport_.unsent();
    return flush() && !turn_over();
  }
  switch (advance()) {
    case Next::go_on:
      // The next request may be here already, and its answer can leave with this one.
      return !server_->budget_used_up() || (flush() && !turn_over());
    case Next::read:
      return flush() && transport_.may_receive() && !turn_over() && receive();
    case Next::pause:
      is_.head_waits = true;
      break;
    case Next::close:
      is_.close_after = true;
      break;
  }
  return true;
}

KETTLINGAR_INLINE Connection::Next Connection::at_head() {
  const std::string_view input = transport_.input();
  if (input.empty()) {
    if (is_.end_of_input || (server_->stopping() && !transport_.has_unread())) return Next::close;
    transport_.drop_input();
    const auto patience = server_->limits.idle_timeout;
    enter(Phase::idle, Clock::now() + (transport_.has_large_room() ? (std::min)(patience, give_back_after) : patience));
    return Next::read;
  }
  if (phase_ != Phase::head) {
    request_.start = Clock::now();
    enter(Phase::head, request_.start + server_->limits.head_timeout);
  }
  const ParseResult result = request_.parser.parse(input);
  if (result.status == Parse::bad) {
    refuse_and_close(result.http_status, result.slug, result.why);
    return Next::close;
  }
  if (result.status == Parse::need_more) return incomplete("head incomplete");
  request_.head_size = result.consumed;
  if (!admission_.may_be_read_now(request_.start)) return Next::pause;
  begin_body();
  return Next::go_on;
}

/// More is needed: wait for it, unless the time is up or the peer has said that nothing will come.
KETTLINGAR_INLINE Connection::Next Connection::incomplete(std::string_view what) {
  if (is_.timed_out) {
    refuse_and_close(408, "timeout", what);
  } else if (is_.end_of_input) {
    log_request(0, "eof", 0);
  } else {
    return Next::read;
  }
  return Next::close;
}

KETTLINGAR_INLINE Connection::Next Connection::at_body() {
  const std::size_t head_size = request_.head_size, size = transport_.input().size();
  const ParseResult result = request_.body.advance(transport_.input_at(head_size), size - head_size);
  if (result.status == Parse::bad) {
    refuse_and_close(result.http_status, result.slug, result.why);
    return Next::close;
  }
  if (result.status == Parse::need_more) return incomplete("body incomplete");
  if ((!request_.descriptors.owned.empty() || request_.dropped_descriptors) &&
      size != head_size + request_.body.raw_size()) {
    // Descriptors come with the first byte of what was sent with them, which may be in either.
    refuse_and_close(400, "fd-stray", "descriptors came between two requests");
    return Next::close;
  }
  dispatch();
  return Next::go_on;
}

/// One read; false if nothing has come.
KETTLINGAR_INLINE bool Connection::receive() {
  if (request_.head_size != 0 && request_.body.raw_size() > request_.body.body_size() + flush_threshold) {
    const std::size_t at = request_.head_size;
    transport_.shorten(at + request_.body.close_gap(transport_.input_at(at), transport_.input().size() - at));
  }
  transport_.make_room();
  if (request_.head_size != 0) {
    // Views of a complete head point into the room, which may have moved.
    request_.parser.rebase(transport_.input());
    admission_.rebase();
  }
  const std::size_t before = transport_.input().size(), descriptors = request_.descriptors.owned.size();
  const SocketTransport::Received received =
      peer_.over_unix_socket ? transport_.receive(request_.descriptors, server_->closer) : transport_.receive();
  switch (received) {
    case SocketTransport::Received::bytes:
      done_ += transport_.input().size() - before;
      if (peer_.over_unix_socket && phase_ != Phase::lingering) check_descriptors(descriptors);
      return true;
    case SocketTransport::Received::end:
      is_.end_of_input = true;
      return true;
    case SocketTransport::Received::nothing:
      break;
    case SocketTransport::Received::failed:
      close();
      break;
  }
  return false;
}

/// Sends what goes without waiting. False if something is left.
KETTLINGAR_INLINE bool Connection::send_now() {
  if (transport_.has_sent_all()) return true;
  if (target_.descriptor && !target_.is_socket) return false;
  switch (transport_.send(answer_descriptor())) {
    case SocketTransport::Sent::all:
      return true;
    case SocketTransport::Sent::some:
    case SocketTransport::Sent::nothing:
      return false;
    case SocketTransport::Sent::failed:
      break;
  }
#if defined(ETOOMANYREFS)
  if (errno == ETOOMANYREFS && !transport_.out_descriptors.empty()) {
    // More are on their way than the kernel allows this user; the answer has not begun, so it can be another.
    transport_.drop_descriptor_answer();
    append_error(transport_.out.collected, request_.style, plain_error(503, "too many descriptors are on their way"));
    return send_now();
  }
#endif
  close();
  return true;
}

/// The same; what is left leaves when the reader is ready, and nothing else is done before. A reader that takes nothing
/// for `write_timeout` is cut off.
KETTLINGAR_INLINE bool Connection::flush() {
  if (send_now()) return phase_ != Phase::closed;
  phase_before_ = phase_;
  deadline_before_ = deadline_;
  enter(Phase::writing, Clock::now() + server_->limits.write_timeout);
  return target_.descriptor && !target_.is_socket && flush_to_file();
}

KETTLINGAR_INLINE bool Connection::go_on_writing() {
  if (target_.writing) return false;
  const std::uint64_t before = transport_.total_sent();
  if (!send_now()) {
    if (transport_.total_sent() != before) enter(Phase::writing, Clock::now() + server_->limits.write_timeout);
    return target_.descriptor && !target_.is_socket && flush_to_file();
  }
  if (phase_ == Phase::closed) return false;
  hold_unsent(0);
  enter(phase_before_, phase_before_ == Phase::idle ? Clock::now() + server_->limits.idle_timeout : deadline_before_);
  if (phase_ == Phase::streaming && is_.half_closed)
    // A half-closed peer that reads on makes itself known by taking data.
    enter(phase_, Clock::now() + server_->limits.linger_timeout);
  if (transport_.ended()) note_end_of_input();
  return true;
}

/// Everything has been answered: lets the peer read it before the connection goes. Were it to send anything that is not
/// read, a plain close would make the kernel drop what it has not received yet (RFC 9112 9.6).
KETTLINGAR_INLINE bool Connection::begin_end() {
  if (!flush()) return false;
  // Others may go on with a connection that was passed on: it must not be shut down.
  if (is_.end_of_input || (is_.asked_to_close && transport_.is_done()) || target_.descriptor || target_.passed_on) {
    close();
    return false;
  }
  ::shutdown(transport_.descriptor(), SHUT_WR);
  done_ = 0;
  enter(Phase::lingering, Clock::now() + server_->limits.linger_timeout);
  return true;
}

KETTLINGAR_INLINE bool Connection::linger() {
  transport_.drop_input();
  const bool more = transport_.may_receive() && receive();
  drop_descriptors();
  if (phase_ == Phase::closed) return false;
  if (!is_.end_of_input && done_ < server_->limits.linger_bytes) return more;
  close();
  return false;
}

// A peer that goes while it waits here still takes up a connection until the time is over: those who guess get no more
// guesses by hanging up.
KETTLINGAR_COLD void Connection::pause() { enter(Phase::slowed, Clock::now() + server_->limits.guess_pause); }

KETTLINGAR_COLD void Connection::go_on_after_pause() {
  enter(Phase::handling, Clock::time_point::max());
  is_.answer_waits = false;
  if (std::exchange(is_.head_waits, false)) begin_body();
  go_on();
}

KETTLINGAR_INLINE void Connection::expire(Clock::time_point now) {
  const std::shared_ptr<Connection> self = shared_from_this();
  if (drain_deadline_ <= now) return close();
  deadline_ = Clock::time_point::max();
  switch (phase_) {
    case Phase::head:
    case Phase::body:
      is_.timed_out = true;  // it still gets its 408
      return go_on();
    case Phase::streaming:
    case Phase::handling:
      if (call_.writer() != nullptr && !target_.handing_over) {
        break_silence(now);
        if (phase_ == Phase::closed) return;
      }
      if (is_.half_closed) break;
      if (deadline_ == Clock::time_point::max()) break_silence_later();
      return;
    case Phase::writing:
      return cut_off();
    case Phase::slowed:
      return go_on_after_pause();
    case Phase::idle:
      if (!transport_.has_large_room() || server_->limits.idle_timeout <= give_back_after) break;
      transport_.give_back_room();
      return enter(Phase::idle, now + server_->limits.idle_timeout - give_back_after);
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

KETTLINGAR_INLINE void Connection::drain() {
  if ((idle() && !transport_.has_unread()) || phase_ == Phase::slowed) return close();
  request_.style.keep_alive = false;
  drain_deadline_ = Clock::now() + server_->limits.drain_timeout;
  server_->look_at(drain_deadline_);
}

KETTLINGAR_INLINE void Connection::unwatch() {
  if (!ticket_) return;
  server_->poller->remove(answer_descriptor(), *ticket_);
  ticket_.reset();
}

KETTLINGAR_INLINE void Connection::close_socket() {
  Fd socket(transport_.release().release(), server_->closer);
  // One that others go on with is merely let go of.
  if (!target_.passed_on && !target_.handing_over) close_connection(std::move(socket), server_->closer);
}

KETTLINGAR_INLINE void Connection::close() {
  if (phase_ == Phase::closed) return;
  const std::shared_ptr<Connection> self = std::exchange(self_, nullptr);
  if (call_.active()) log_request(call_.writer() != nullptr ? call_.writer()->status() : 0, "gone", pace_.sent);
  phase_ = Phase::closed;
  deadline_ = drain_deadline_ = Clock::time_point::max();
  unwatch();
  if (pace_.waits_for_room) server_->await_no_stream_room(*this);
  drop_descriptors();
  transport_.drop_unsent();
  transport_.out_descriptors.clear();
  target_.descriptor.reset();
  close_socket();
  target_.cancel.emit(asio::cancellation_type::terminal);
  call_.cancel();
  server_->closed(*this);
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
