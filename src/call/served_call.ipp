// SPDX-License-Identifier: MIT
// call/served_call.ipp: one call, from its bound arguments to the bytes of its answer, whoever brought it.
#pragma once

#include "../base/limits.hpp"
#include "../base/version.hpp"  // defines ASIO_HAS_CO_AWAIT, so it must come before Asio

#include <asio/any_io_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../wire/json_text.ipp"
#include "../wire/msgpack.ipp"
#include "host_executor.ipp"
#include "loop.ipp"
#include "method.hpp"
#include "reply.ipp"
#include "request.hpp"
#include "streaming.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// The bytes of answers on their way. Small ones are collected; a large body stays where it was made, behind them, and
/// has to leave before anything else is appended.
struct AnswerBytes {
  /// From here on a body is not worth copying.
  static constexpr std::size_t large_size = 16 * 1024;

  std::string collected;
  std::string large;

  std::size_t size() const noexcept { return collected.size() + large.size(); }
  bool empty() const noexcept { return collected.empty() && large.empty(); }
};

/// Whoever brings a call: a connection, or a caller within the process.
class CallBringer : public Caller {
 public:
  /// What the call waited for has come: ask it to proceed. On the service's executor.
  virtual void call_goes_on() = 0;
  /// True once somebody else has the answer, or the connection: nothing more is written.
  virtual bool passed_on() const = 0;
  /// Takes the open files of an answer that is being appended. Throws Error if they cannot be sent.
  virtual void attach(std::vector<Fd> descriptors) = 0;
  /// Whether the service still runs, so that the host's thread may be given something to do for it.
  virtual bool serving() const = 0;
  /// Keeps the bringer, and with it the call, while something of it runs.
  virtual std::shared_ptr<void> keep() = 0;
};

/// Where handlers run, and within which limits.
struct CallPlace {
  const asio::any_io_executor& executor;  ///< the service's
  const asio::any_io_executor& host;      ///< the host's, if they run there
  const Limits& limits;
};

/// Why more open files than Limits::descriptors are refused, `where` they are.
inline std::string too_many_descriptors(const Limits& limits, std::string_view where) {
  return "at most " + std::to_string(limits.descriptors) + " descriptors " + std::string(where);
}

/// Runs a method for whoever brings the call, which asks for each step: proceed() appends the answer, or one item of
/// it, or waits. So a bringer that has no room for more holds the handler up, by not asking.
///
/// Belongs to its bringer, which keeps itself alive while the call runs. On the service's thread.
class ServedCall {
 public:
  enum class Progress {
    item,     ///< of a stream, which may have more; or it is about to begin
    waiting,  ///< CallBringer::call_goes_on() follows
    ended     ///< the answer is complete, or is nothing to the bringer any more
  };
  /// How it has ended, for the log.
  struct Outcome {
    int status = 200;
    std::string_view slug = "ok";
    std::string internal = {};  ///< what the caller is not told
  };

  /// `style` is that of the answer; the end of it may change whether the connection can be kept.
  ServedCall(CallBringer& bringer, CallPlace place, ReplyStyle& style)
      : bringer_(bringer), place_(place), style_(style) {}
  ServedCall(const ServedCall&) = delete;
  ServedCall& operator=(const ServedCall&) = delete;

  /// There is a call, from begin() to end().
  bool active() const noexcept { return call_.has_value(); }
  bool waiting() const noexcept { return waiting_; }
  /// Of a call that streams, once it has begun to.
  StreamWriter* writer() noexcept { return writer_ ? &*writer_ : nullptr; }
  const Outcome& outcome() const noexcept { return outcome_; }
  Request& request() noexcept { return *request_; }
  const Method& method() const noexcept { return *method_; }

  /// Makes the request that the handler sees. All of them outlive the call.
  void begin(const Method& method, const RequestHead& head, const Peer& peer, const asio::any_io_executor& executor);
  /// Takes the arguments in `body`, a map in that format, which outlives the call. `alone`: the request has no others,
  /// so they may not even become a tree of values.
  CodecError take_arguments(std::string_view body, Format format, bool alone);
  bool bound() const noexcept { return call_->bound; }
  /// The arguments are there: runs the handler. Throws nothing; what goes wrong is an answer, too.
  Progress run(AnswerBytes& out);
  /// After Progress::item, and after call_goes_on().
  Progress proceed(AnswerBytes& out);
  /// Appends an answer that says what went wrong.
  Progress fail(const std::exception_ptr& thrown, AnswerBytes& out);
  /// Nobody waits any more: cancels what the handler awaits. If the call waits, call_goes_on() still follows.
  void cancel();
  /// The same, where what the handler awaits is being destroyed.
  void tell_handler();
  /// Forgets the call. Not while it waits, unless nothing of it will run any more.
  void end();

 private:
  void wait_for(Task<void> task);
  Task<void> invoke_on_host();
  Task<void> resume_on_host();
  Progress begin_stream(AnswerBytes& out);
  Progress stream_step();
  void append_answer(AnswerBytes& out);
  void append_document(const Result& document, AnswerBytes& out);
  bool stays_where_it_is(const std::string& body) const noexcept {
    return body.size() >= AnswerBytes::large_size && !style_.continued && !style_.without_body;
  }
  Progress finish(int status, std::string_view slug);
  void drop_stream();

  CallBringer& bringer_;
  const CallPlace place_;
  ReplyStyle& style_;
  const Method* method_ = nullptr;  ///< its bringer keeps it, even if it is replaced meanwhile
  std::optional<Request> request_;
  std::optional<Call> call_;
  std::optional<StreamWriter> writer_;
  std::vector<Slot> slots_;  ///< the buffer of the last call
  asio::cancellation_signal cancel_;
  std::exception_ptr thrown_;                            ///< what it waited for ended with
  ItemStream::Step host_step_ = ItemStream::Step::done;  ///< what a generator on the host's thread has come to
  bool stepped_ = false;                                 ///< it has
  bool waiting_ = false;
  bool cancelled_ = false;
  bool on_host_ = false;
  Outcome outcome_;
};

inline ReplyStyle head_only(ReplyStyle style) noexcept {
  style.without_body = true;
  return style;
}

/// The part of a whole answer that a HEAD may see: up to its empty line.
inline std::string_view head_of(std::string_view answer) {
  for (std::size_t at = answer.find('\n'); at != std::string_view::npos; at = answer.find('\n', at + 1)) {
    const std::string_view rest = answer.substr(at + 1);
    if (rest.starts_with('\n')) return answer.substr(0, at + 2);
    if (rest.starts_with("\r\n")) return answer.substr(0, at + 3);
  }
  return answer;
}

KETTLINGAR_INLINE void ServedCall::begin(const Method& method, const RequestHead& head, const Peer& peer,
                                         const asio::any_io_executor& executor) {
  method_ = &method;
  cancelled_ = false;
  request_.emplace(head, peer, bringer_, executor);
  call_.emplace(*request_, style_.format, std::move(slots_));
  on_host_ = place_.host && !method_->is_builtin();
}

/// What every way of writing arguments has to come to.
inline CodecError check_arguments(const json& arguments) {
  if (!arguments.is_object()) return {"bad-body", "arguments must be a map"};
  const auto positional = arguments.find(positional_key);
  if (positional != arguments.end() && !positional->is_array()) return {"bad-body", "_args must be a list"};
  return {};
}

KETTLINGAR_INLINE CodecError ServedCall::take_arguments(std::string_view body, Format format, bool alone) {
  json& arguments = ConnectionAccess::arguments(*request_);
  const int depth = place_.limits.depth;
  CodecError error;
  if (format == Format::msgpack) {
    call_->bound = alone && request_->descriptors().empty() && method_->bind_scalars(call_->slots, body);
    if (call_->bound) return {};
    error = decode_msgpack(body, arguments, depth);
  } else {
    error = decode_json(body, arguments, depth);
  }
  return error ? error : check_arguments(arguments);
}

KETTLINGAR_INLINE ServedCall::Progress ServedCall::run(AnswerBytes& out) {
  try {
    if (on_host_) {
      wait_for(on_host(place_.host, invoke_on_host(), bringer_.keep(), place_.limits.host_timeout));
    } else {
      method_->invoke(*call_);
      if (call_->pending.valid()) wait_for(std::move(call_->pending));
    }
  } catch (...) {
    return fail(std::current_exception(), out);
  }
  return proceed(out);
}

// The frame that awaits belongs to the loop. What it uses is kept by the bringer, until `ended` has gone.
KETTLINGAR_INLINE void ServedCall::wait_for(Task<void> task) {
  WhenEnded ended = [this, kept = bringer_.keep()](const std::exception_ptr& thrown) {
    waiting_ = false;
    thrown_ = thrown;
    bringer_.call_goes_on();
  };
  spawn(place_.executor, std::move(task), std::move(ended), cancel_.slot());
  waiting_ = true;
  if (cancelled_) cancel_.emit(asio::cancellation_type::terminal);  // while the handler ran
}

// On the host's thread. What they use is kept by on_host().
KETTLINGAR_INLINE Task<void> ServedCall::invoke_on_host() {
  method_->invoke(*call_);
  if (call_->pending.valid()) co_await std::move(call_->pending);
}
KETTLINGAR_INLINE Task<void> ServedCall::resume_on_host() {
  Turn turn;
  host_step_ = call_->stream->resume(place_.host);
  while (host_step_ == ItemStream::Step::waiting) {
    co_await call_->stream->take_pending();
    if (turn.over()) co_await let_others_run();
    host_step_ = call_->stream->resume(place_.host);
  }
}

KETTLINGAR_INLINE ServedCall::Progress ServedCall::proceed(AnswerBytes& out) {
  if (waiting_) return Progress::waiting;
  try {
    if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
    if (call_->stream) return writer_ ? stream_step() : begin_stream(out);
    if (bringer_.passed_on()) return finish(202, "passed-on");
    append_answer(out);
  } catch (...) {
    return fail(std::current_exception(), out);
  }
  return Progress::ended;
}

/// Makes ready to stream, before the generator runs at all: its bringer may have no room yet.
KETTLINGAR_INLINE ServedCall::Progress ServedCall::begin_stream(AnswerBytes& out) {
  const bool wants_events = request_->header("Accept").value_or(std::string_view{}) == "text/event-stream";
  // Readers of a stream that may be passed on have to wait for the end of the connection: each service in such a chain
  // may have written an end mark.
  if (method_->takes_request()) style_.keep_alive = false;
  writer_.emplace(out.collected, style_, *call_->stream, request_->authenticated(), wants_events);
  if (!style_.without_body) return Progress::item;
  writer_->finish_head_only();
  return finish(writer_->status(), "stream");
}

/// Runs the generator to its next item, wait or end, and writes what came of it. It is resumed only from here, so it is
/// suspended whenever its reader is slow or has gone; it is destroyed with the call, after what it awaited has been
/// cancelled.
KETTLINGAR_INLINE ServedCall::Progress ServedCall::stream_step() {
  if (on_host_ && !std::exchange(stepped_, false)) {
    wait_for(on_host(place_.host, resume_on_host(), bringer_.keep(), place_.limits.host_timeout));
    stepped_ = true;
    return Progress::waiting;
  }
  const ItemStream::Step step = on_host_ ? host_step_ : call_->stream->resume(request_->executor());
  if (bringer_.passed_on() && step == ItemStream::Step::item)
    throw std::runtime_error("an item after the answer was passed on");
  switch (step) {
    case ItemStream::Step::item:
      writer_->write_item(*call_->stream);
      return Progress::item;
    case ItemStream::Step::waiting:
      wait_for(call_->stream->take_pending());
      return Progress::waiting;
    case ItemStream::Step::done:
      break;
  }
  if (bringer_.passed_on()) return finish(202, "passed-on");
  writer_->finish();
  return finish(writer_->status(), "stream");
}

KETTLINGAR_INLINE ServedCall::Progress ServedCall::finish(int status, std::string_view slug) {
  outcome_.status = status;
  outcome_.slug = slug;
  if (writer_) style_.keep_alive = style_.keep_alive && writer_->keep_alive();
  return Progress::ended;
}

KETTLINGAR_INLINE void ServedCall::append_document(const Result& document, AnswerBytes& out) {
  const bool large = stays_where_it_is(document.data);
  if (!append_reply(out.collected, large ? head_only(style_) : style_, document.status, document.mime_type,
                    document.data, {}, document_lines(style_.bare_lf))) {
    throw std::runtime_error("bad-response: the document's MIME type or status cannot be sent");
  }
  if (large && document.status != 204 && document.status != 304) out.large = std::move(call_->document->data);
  finish(document.status, "ok");
}

KETTLINGAR_INLINE void ServedCall::append_answer(AnswerBytes& out) {
  if (call_->document) return append_document(*call_->document, out);
  if (call_->raw) {
    const std::string_view answer = call_->raw->bytes;
    out.collected += style_.without_body ? head_of(answer) : answer;
    style_.keep_alive = false;
    finish(200, "raw");
    return;
  }
  if (call_->codec_error) throw std::runtime_error("bad-response: " + std::string(call_->codec_error.why));
  if (!call_->descriptors.empty()) {
    if (call_->descriptors.size() > place_.limits.descriptors)
      throw Error(500, too_many_descriptors(place_.limits, "fit into an answer"));
    bringer_.attach(std::move(call_->descriptors));
  }
  const bool large = stays_where_it_is(call_->body);
  append_reply(out.collected, large ? head_only(style_) : style_, 200, style_.content_type(), call_->body);
  if (large) out.large = std::move(call_->body);
  finish(200, "ok");
}

KETTLINGAR_INLINE ServedCall::Progress ServedCall::fail(const std::exception_ptr& thrown, AnswerBytes& out) {
  if (bringer_.passed_on()) {
    outcome_.internal = words_of(thrown);
    return finish(202, "passed-on");
  }
  if (writer_) {
    outcome_.internal = writer_->fail(thrown);
    return finish(writer_->status(), "stream");
  }
  const ErrorReply reply = error_reply(thrown, request_->authenticated());
  outcome_.internal = reply.log;
  return finish(append_error(out.collected, style_, reply), reply.log.empty() ? "error" : "internal");
}

KETTLINGAR_INLINE void ServedCall::tell_handler() {
  cancelled_ = true;
  if (request_) ConnectionAccess::cancel(*request_);
}

KETTLINGAR_INLINE void ServedCall::cancel() {
  tell_handler();
  // Ends what a handler awaits, here or deeper down.
  cancel_.emit(asio::cancellation_type::terminal);
}

KETTLINGAR_INLINE void ServedCall::end() {
  drop_stream();
  if (call_) slots_ = std::move(call_->slots);
  writer_.reset();
  call_.reset();
  request_.reset();
  method_ = nullptr;
  stepped_ = false;
  outcome_ = {};
}

/// A generator's locals are destroyed where they were made.
KETTLINGAR_INLINE void ServedCall::drop_stream() {
  if (!call_ || !call_->stream) return;
  if (on_host_ && bringer_.serving())
    post(place_.host, [stream = std::shared_ptr<ItemStream>(std::move(call_->stream))] {});
  call_->stream.reset();
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
