// SPDX-License-Identifier: MIT
// service/call_steps.ipp: a connection while its call is served: streams at the pace of their reader, ends, silence.
#pragma once

#include "../base/version.hpp"
#include "connection.ipp"
#include "handover.ipp"
#include "request_steps.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// How long a stream may keep its reader waiting for the head: Python clients give up after 1 s.
inline constexpr std::chrono::milliseconds stream_head_after{500};

// When the caller vanishes while a Task is awaited, or the service stops, close() cancels what is awaited: calls that
// nobody waits for must not pile up. What kept this is let go of then.
KETTLINGAR_INLINE void Connection::call_goes_on() {
  if (phase_ != Phase::closed) go_on();
}

KETTLINGAR_INLINE bool Connection::call_step() {
  if (pace_.waits_for_room) return false;
  if (call_.waiting()) {
    // A stream that waits sends what its reader takes now, and looks again at its deadline.
    if (!transport_.has_sent_all()) send_now();
    return false;
  }
  if (call_.writer() != nullptr && server_->streams_full() && !server_->make_stream_room()) {
    if (phase_ == Phase::closed) return false;
    pace_.waits_for_room = true;
    server_->await_stream_room(shared_from_this());
    return false;
  }
  if (phase_ == Phase::closed) return false;
  return after_progress(call_.proceed(transport_.out));
}

KETTLINGAR_COLD void Connection::room_found() {
  pace_.waits_for_room = false;
  if (phase_ != Phase::closed) go_on();
}

/// Whether something else can be done at once.
KETTLINGAR_INLINE bool Connection::after_progress(ServedCall::Progress progress) {
  if (phase_ == Phase::closed) return false;
  if (call_.writer() != nullptr) {
    if (phase_ == Phase::handling && progress != ServedCall::Progress::ended) {
      hold_unsent(0);
      pace_ = {};
      turn_ = {};
      pace_.comment_due = Clock::now() + server_->limits.event_keepalive;
      enter(Phase::streaming, Clock::now() + stream_head_after);
    }
    return stream_progress(progress);
  }
  if (progress == ServedCall::Progress::ended) {
    end_call();
    return true;
  }
  if (!flush()) return false;
  if (transport_.ended()) note_end_of_input();
  return false;
}

KETTLINGAR_INLINE bool Connection::stream_progress(ServedCall::Progress progress) {
  const bool ended = progress == ServedCall::Progress::ended;
  // Others want to be served, and what there is to be read.
  const bool pause = !ended && turn_.over();
  if (progress == ServedCall::Progress::item && transport_.unsent() < flush_threshold && !pause && !server_->host)
    return true;
  const bool silent = transport_.has_sent_all();
  if (!send_now()) {
    pace_.unsent_since = Clock::now();
    hold_unsent(transport_.out.collected.capacity());
    if (ended) end_call();
    if (phase_ != Phase::closed) static_cast<void>(flush());
    return phase_ != Phase::writing && phase_ != Phase::closed;
  }
  if (phase_ == Phase::closed) return false;
  if (ended) {
    end_call();
    return true;
  }
  if (is_.half_closed && !silent && phase_ == Phase::streaming) {
    // A half-closed peer that reads on makes itself known by taking data.
    enter(Phase::streaming, Clock::now() + server_->limits.linger_timeout);
  } else if (!silent && call_.writer()->wants_comments()) {
    pace_.comment_due = Clock::now() + server_->limits.event_keepalive;
    break_silence_later();
  }
  if (progress == ServedCall::Progress::item) {
    server_->go_on_later(shared_from_this());
  } else if (transport_.ended()) {
    note_end_of_input();
  }
  return false;
}

/// The answer is there, or somebody else gives it.
KETTLINGAR_INLINE void Connection::end_call() {
  const ServedCall::Outcome& outcome = call_.outcome();
  if (!outcome.internal.empty())
    log_internal(std::string(admission_.route().method) + ": " + log_escaped(outcome.internal));
  if (target_.passed_on) {
    log_request(202, "passed-on", 0);
    transport_.drop_unsent();
    request_.style.keep_alive = false;
  } else {
    log_request(outcome.status, outcome.slug, static_cast<std::size_t>(transport_.total() - request_.answer_began));
  }
  end_request();
}

/// Proxies give up on streams in which nothing comes for a while.
KETTLINGAR_INLINE void Connection::break_silence_later() {
  if (phase_ == Phase::streaming && call_.writer() != nullptr && call_.writer()->wants_comments())
    enter(phase_, pace_.comment_due);
}

/// All streams together keep a bounded number of bytes for readers who are not ready.
KETTLINGAR_INLINE void Connection::hold_unsent(std::size_t bytes) {
  if (bytes == pace_.unsent) return;
  const bool was_full = server_->streams_full();
  server_->unsent += bytes;
  server_->unsent -= pace_.unsent;
  pace_.unsent = bytes;
  // Who waits asks again at once.
  if (was_full && (phase_ == Phase::closed || !server_->streams_full())) server_->stream_room.expires_at(Clock::now());
}

KETTLINGAR_COLD void Connection::end_slow_stream() {
  server_->log.write_bounded(LogLevel::warning, "limit",
                             peer_.address + " reads too slowly, closed: others have no room for their streams");
  close();
}

/// Gives the reader of a stream that waits what it has not got yet: the head, a comment now and then. Ends the
/// connection if it has taken nothing for `write_timeout`.
KETTLINGAR_INLINE void Connection::break_silence(Clock::time_point now) {
  const Limits& limits = server_->limits;
  StreamWriter& writer = *call_.writer();
  if (!writer.head_written()) {
    writer.write_head_early();
  } else if (transport_.has_sent_all() && writer.wants_comments() && pace_.comment_due <= now) {
    writer.write_comment();
    pace_.comment_due = now + limits.event_keepalive;
  }
  if (send_now()) return;
  if (pace_.stalled_at != transport_.total_sent()) {
    pace_.stalled_at = transport_.total_sent();
    pace_.stalled_since = now;
  }
  // Files are written to by flush() only.
  const bool by_reader = !target_.descriptor || target_.is_socket;
  if (by_reader && now - pace_.stalled_since >= limits.write_timeout) return cut_off();
  // Who takes nothing now may take it a little later.
  enter(phase_, now + (std::min)(limits.linger_timeout, limits.write_timeout));
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
