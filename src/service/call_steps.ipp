// SPDX-License-Identifier: MIT
// service/call_steps.ipp: calls that take their time: awaited handlers, and generators with back-pressure.
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
// nobody waits for must not pile up. A caller that has only closed its sending side gets `idle_timeout` for its answer.
KETTLINGAR_INLINE Task<void> Connection::finish_call() {
  if (!send_now()) co_await flush();
  if (phase_ == Phase::closed) co_return;
  if (call_->stream) {
    co_await run_stream();
    co_return;
  }
  std::exception_ptr thrown;
  watch_peer();
  try {
    co_await std::move(call_->pending);
  } catch (...) {
    thrown = std::current_exception();
  }
  if (phase_ == Phase::closed) {
    log_request(0, "gone", 0);
    co_return;
  }
  if (released_) co_return end_released(thrown);
  if (!thrown && call_->stream) co_return co_await run_stream();
  try {
    if (thrown) std::rethrow_exception(thrown);
    answer_call();
  } catch (...) {
    answer_error(std::current_exception());
  }
  end_request();
}

// On the host's thread. What they use is kept by give_to_host().
KETTLINGAR_INLINE Task<void> Connection::invoke_on_host() {
  method_->invoke(*call_);
  if (call_->pending.valid()) co_await std::move(call_->pending);
}
KETTLINGAR_INLINE Task<void> Connection::resume_on_host() {
  Turn turn;
  host_step_ = call_->stream->resume(server_->host);
  while (host_step_ == ItemStream::Step::waiting) {
    co_await call_->stream->take_pending();
    if (turn.over()) co_await let_others_run();
    host_step_ = call_->stream->resume(server_->host);
  }
}

/// A generator's locals are destroyed where they were made.
KETTLINGAR_INLINE void Connection::drop_stream() {
  if (!call_ || !call_->stream) return;
  if (server_->host && (server_->running() || server_->stopping()))
    post(server_->host, [stream = std::shared_ptr<ItemStream>(std::move(call_->stream))] {});
  call_->stream.reset();
}

/// Proxies give up on streams in which nothing comes for a while.
KETTLINGAR_INLINE void Connection::break_silence_later() {
  if (phase_ == Phase::streaming && writer_ != nullptr && writer_->wants_comments()) enter(phase_, comment_due_);
}

KETTLINGAR_INLINE void Connection::hold_unsent(std::size_t bytes) {
  const bool was_full = server_->streams_full();
  server_->unsent += bytes;
  server_->unsent -= unsent_;
  unsent_ = bytes;
  // Who waits asks again at once.
  if (was_full && (phase_ == Phase::closed || !server_->streams_full())) server_->stream_room.expires_at(Clock::now());
}

/// All streams together keep a bounded number of bytes for readers who are not ready. They are woken in order; if the
/// peer vanishes or the service stops here, close() ends the wait.
KETTLINGAR_COLD Task<void> Connection::wait_for_room() {
  while (phase_ != Phase::closed && !server_->make_stream_room()) {
    watch_peer();
    co_await expiry(server_->stream_room);
  }
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
  if (!writer_->head_written()) {
    writer_->write_head_early();
  } else if (out_.empty() && writer_->wants_comments() && comment_due_ <= now) {
    writer_->write_comment();
    comment_due_ = now + limits.event_keepalive;
  }
  if (send_now()) return;
  if (stalled_at_ != total_sent_) {
    stalled_at_ = total_sent_;
    stalled_since_ = now;
  }
  // Files are written to by flush() only.
  const bool by_reader = !target_ || target_is_socket_;
  if (by_reader && now - stalled_since_ >= limits.write_timeout) return cut_off();
  // Who takes nothing now may take it a little later.
  enter(phase_, now + (std::min)(limits.linger_timeout, limits.write_timeout));
}

/// Runs the generator to its next item, wait or end, and writes what came of it. On the host's thread it has come there
/// already, or has thrown.
KETTLINGAR_INLINE Connection::StreamState Connection::stream_step(StreamWriter& writer,
                                                                  const std::exception_ptr& thrown) {
  try {
    if (thrown) std::rethrow_exception(thrown);
    const ItemStream::Step step = server_->host ? host_step_ : call_->stream->resume(server_->executor);
    if (released_ && step == ItemStream::Step::item) throw std::runtime_error("an item after the answer was passed on");
    switch (step) {
      case ItemStream::Step::item:
        writer.write_item(*call_->stream);
        return StreamState::going;
      case ItemStream::Step::waiting:
        return StreamState::waiting;
      case ItemStream::Step::done:
        if (!released_) writer.finish();
        break;
    }
  } catch (...) {
    if (released_) {
      end_released(std::current_exception());
      return StreamState::ended;
    }
    const std::string internal = writer.fail(std::current_exception());
    if (!internal.empty()) log_internal(std::string(route_.method) + ": " + log_escaped(internal));
  }
  return StreamState::ended;
}

// The generator is resumed only from here, so it is suspended whenever its reader goes or the service ends; it is then
// destroyed with the call, after what it awaited has been cancelled. A slow reader suspends this coroutine in flush(),
// and with it the generator.
KETTLINGAR_INLINE Task<void> Connection::run_stream() {
  const bool wants_events = request_->header("Accept").value_or(std::string_view{}) == "text/event-stream";
  // Readers of a stream that may be passed on have to wait for the end of the connection: each service in such a chain
  // may have written an end mark.
  if (method_->takes_request()) style_.keep_alive = false;
  StreamWriter writer(out_, style_, *call_->stream, route_.authenticated, wants_events);
  writer_ = &writer;
  comment_due_ = Clock::now() + server_->limits.event_keepalive;
  enter(Phase::streaming, Clock::now() + stream_head_after);
  std::size_t bytes = 0;
  Turn turn;
  StreamState state = StreamState::going;
  if (style_.without_body) {
    writer.finish_head_only();
    state = StreamState::ended;
  }
  while (state != StreamState::ended && phase_ != Phase::closed) {
    if (server_->streams_full()) {
      co_await wait_for_room();
      if (phase_ == Phase::closed) break;
    }
    std::exception_ptr thrown;
    if (server_->host) {
      watch_peer();
      try {
        co_await give_to_host(resume_on_host());
      } catch (...) {
        thrown = std::current_exception();
      }
      if (phase_ == Phase::closed) break;
    }
    state = stream_step(writer, thrown);
    // Others want to be served, and what there is to be read.
    const bool pause = state != StreamState::ended && turn.over();
    if (state == StreamState::going && out_.size() < flush_threshold && !pause && !server_->host) continue;
    bytes += out_.size();
    const bool silent = out_.empty();
    if (!send_now()) {
      unsent_since_ = Clock::now();
      hold_unsent(out_.capacity());
      co_await flush();
      // What was closed has its item until the generator is destroyed, with this connection.
      if (phase_ != Phase::closed) hold_unsent(0);
    }
    if (phase_ == Phase::closed) break;
    // A half-closed peer that reads on makes itself known by taking data.
    if (half_closed_ && bytes != 0 && phase_ == Phase::streaming) {
      enter(Phase::streaming, Clock::now() + server_->limits.linger_timeout);
    } else if (!silent && writer.wants_comments()) {
      comment_due_ = Clock::now() + server_->limits.event_keepalive;
      break_silence_later();
    }
    if (state == StreamState::going || pause) co_await let_others_run();
    if (state == StreamState::waiting && phase_ != Phase::closed) {
      watch_peer();
      co_await call_->stream->take_pending();
    }
  }
  end_stream(writer, bytes);
}

KETTLINGAR_INLINE void Connection::end_stream(const StreamWriter& writer, std::size_t sent) {
  writer_ = nullptr;
  // The host's thread may still be at it; then it goes with the connection.
  if (phase_ != Phase::closed || !server_->host) drop_stream();
  if (phase_ == Phase::closed) return log_request(writer.status(), "gone", sent);
  if (released_) return end_released({});
  style_.keep_alive = style_.keep_alive && writer.keep_alive() && !server_->stopping();
  log_request(writer.status(), "stream", sent + out_.size());
  end_request();
}

/// Finds out while a handler works that its caller has gone.
KETTLINGAR_INLINE void Connection::watch_peer() {
  if (watching_ || half_closed_) return;
  if (target_ && !target_is_socket_) return;
  watching_ = true;
  WhenReady look = [self = shared_from_this()](const asio::error_code& error) {
    self->watching_ = false;
    if (!error && self->call_) self->look_at_peer();
  };
  if (target_) {
    target_watch_ = std::make_unique<Readiness>(server_->executor, target_.get(), Readiness::For::reading);
    if (target_watch_->supported()) target_watch_->async_wait(std::move(look));
  } else {
    socket_.async_wait(StreamSocket::wait_read, std::move(look));
  }
}

KETTLINGAR_INLINE void Connection::look_at_peer() {
#if defined(POLLRDHUP)
  constexpr short end_of_input = POLLRDHUP;
#else
  constexpr short end_of_input = 0;
#endif
  const int fd = answer_descriptor();
  pollfd entry{fd, static_cast<short>(POLLIN | end_of_input), 0};
  if (::poll(&entry, 1, 0) <= 0) return watch_peer();
  if ((entry.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0) return close();
  char byte = 0;
  half_closed_ = (entry.revents & end_of_input) != 0 || ::recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
  const Limits& limits = server_->limits;
  if (phase_ != Phase::streaming && phase_ != Phase::handling) return;
  // Over TCP the end of input is all there is to see of a peer that has gone, and the same as one that only has nothing
  // more to say (nc -N). Such a one gets what comes in time; every item that it takes renews that. Where the next
  // request is here already, readiness tells nothing any more, so that is looked at again.
  const bool patient = half_closed_ && phase_ == Phase::handling;
  enter(phase_, Clock::now() + (patient ? limits.idle_timeout : limits.linger_timeout));
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
