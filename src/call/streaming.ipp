// SPDX-License-Identifier: MIT
// call/streaming.ipp: a generator's items as the bytes of a chunked answer.
#pragma once

#include <string>
#include <string_view>

#include "../base/version.hpp"
#include "../wire/events.ipp"
#include "../wire/http_writer.ipp"
#include "reply.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Writes one stream: a head with the first item (or earlier, when that takes long), one chunk for each item, an end
/// mark. An error before the head is an answer of its own; later it is one more chunk, with a mark of its own, and the
/// missing end mark tells that the stream is incomplete. Appends to a buffer and does no I/O.
class StreamWriter {
 public:
  /// `wants_events`: the caller asked for server-sent events.
  StreamWriter(std::string& out, const ReplyStyle& style, const ItemStream& stream, bool authenticated,
               bool wants_events)
      : out_(out), style_(style), authenticated_(authenticated), kind_(Kind::values) {
    if (wants_events || stream.is_event_stream()) kind_ = Kind::events;
    if (stream.is_document_stream()) kind_ = Kind::documents;
    if (stream.is_raw_stream()) kind_ = Kind::raw;
    head_written_ = style_.continued;
    // The end of an HTTP/1.0 stream is the end of its connection.
    if (style_.http_1_0) style_.keep_alive = false;
  }

  bool head_written() const noexcept { return head_written_; }
  int status() const noexcept { return status_; }
  /// True if the connection may serve another request after this answer.
  bool keep_alive() const noexcept { return style_.keep_alive; }

  /// The head, before there is an item. Does nothing for documents, whose first one says what they are.
  void write_head_early() {
    if (kind_ != Kind::documents && kind_ != Kind::raw) write_head();
  }
  /// Whether a long silence has to be broken by write_comment(). Python clients, the only ones that write bare LF,
  /// would take a comment for an event.
  bool wants_comments() const noexcept { return kind_ == Kind::events && !style_.bare_lf; }
  /// A sign of life for a reader of events. After the head.
  void write_comment() {
    if (style_.http_1_0) {
      out_ += event_comment;
    } else {
      append_chunk(out_, event_comment);
    }
  }
  /// The stream's present item. Throws if it cannot be written.
  void write_item(const ItemStream& stream);
  /// Ends the stream in order.
  void finish();
  /// The whole answer to HEAD.
  void finish_head_only() { write_head(); }
  /// Ends the stream because the handler threw. Returns what belongs into the log.
  std::string fail(const std::exception_ptr& thrown);

 private:
  enum class Kind { values, events, documents, raw };

  void write_head();
  bool open(std::string_view content_type);
  void append_item(const ItemStream& stream);
  void begin_document(const Result& document);
  CodecError append_payload(const ItemStream& stream);
  void fail_with(const ErrorReply& reply);

  std::string& out_;
  ReplyStyle style_;
  bool authenticated_;
  Kind kind_;
  ChunkWriter chunk_;
  std::string document_type_;  ///< of the first one, as is status_
  std::uint64_t items_ = 0;
  int status_ = 200;
  bool head_written_ = false;
};

KETTLINGAR_INLINE bool StreamWriter::open(std::string_view content_type) {
  ResponseHeadOptions head;
  head.status = status_;
  head.content_type = content_type;
  head.chunked = !style_.http_1_0;
  head.connection = style_.connection();
  head.bare_lf = style_.bare_lf;
  head.lines = stream_lines(style_.bare_lf, kind_ != Kind::values);
  head_written_ = append_response_head(out_, head);
  return head_written_;
}

/// Of documents and whole answers nobody knows the type when this is all there is of them.
KETTLINGAR_INLINE void StreamWriter::write_head() {
  if (head_written_) return;
  open(kind_ == Kind::values ? style_.content_type() : kind_ == Kind::events ? "text/event-stream" : "");
}

/// What has been said in the head holds for all of the body: HTML, say, must not go on with text that is not escaped.
KETTLINGAR_INLINE void StreamWriter::begin_document(const Result& document) {
  const auto described = [](std::string_view type, int status) {
    return std::string(type) + " with status " + std::to_string(status);
  };
  if (items_ != 0) {
    if (document.mime_type == document_type_ && document.status == status_) return;
    throw std::runtime_error("an item of a stream of documents is " + described(document.mime_type, document.status) +
                             ", the first one was " + described(document_type_, status_));
  }
  document_type_ = document.mime_type;
  status_ = document.status;
  if (!head_written_ && !open(document_type_))
    throw std::runtime_error("bad-response: the document's MIME type or status cannot be sent");
}

KETTLINGAR_INLINE CodecError StreamWriter::append_payload(const ItemStream& stream) {
  switch (kind_) {
    case Kind::values:
      return stream.encode_item(style_.format, out_);
    case Kind::events: {
      json item = stream.item();
      // A map says of itself what is what; everything else is data, an empty map included, but for a kt::Event.
      if (stream.is_event_stream() && (item.is_null() || item == json::object())) return {};
      if (item.is_object() && !item.empty()) return append_event(item, out_);
      json event = json::object();
      event["data"] = std::move(item);
      return append_event(event, out_);
    }
    case Kind::documents:
    case Kind::raw:
      break;
  }
  out_ += stream.document()->data;
  return {};
}

KETTLINGAR_INLINE void StreamWriter::write_item(const ItemStream& stream) {
  const std::size_t before = out_.size();
  const bool had_head = head_written_;
  try {
    append_item(stream);
  } catch (...) {
    // Half an item would garble what follows.
    out_.resize(before);
    head_written_ = had_head;
    throw;
  }
}

KETTLINGAR_INLINE void StreamWriter::append_item(const ItemStream& stream) {
  if (kind_ == Kind::raw) {
    out_ += stream.raw()->bytes;
    head_written_ = true;
    style_.keep_alive = false;
    ++items_;
    return;
  }
  if (kind_ == Kind::documents) {
    begin_document(*stream.document());
  } else if (!head_written_) {
    write_head();
  }
  if (!style_.http_1_0) chunk_.begin(out_);
  if (const CodecError error = append_payload(stream)) throw std::runtime_error(std::string(error.why));
  if (!style_.http_1_0) chunk_.end(out_);
  ++items_;
}

KETTLINGAR_INLINE void StreamWriter::finish() {
  if (kind_ == Kind::raw && head_written_) return;
  write_head();
  if (!style_.http_1_0) append_last_chunk(out_);
}

KETTLINGAR_COLD void StreamWriter::fail_with(const ErrorReply& reply) {
  if (!head_written_) {
    status_ = append_error(out_, style_, reply);
    head_written_ = true;
    return;
  }
  style_.keep_alive = false;
  status_ = reply.status;
  std::string bytes;
  switch (kind_) {
    case Kind::values:
      static_cast<void>(encode(late_body(reply), style_.format, bytes));
      break;
    case Kind::events: {
      json event = json::object();
      event["event"] = "error";
      event["data"] = late_body(reply);
      static_cast<void>(append_event(event, bytes));
      break;
    }
    case Kind::documents:
    case Kind::raw:
      return;  // nothing that readers of raw data could tell from data
  }
  if (style_.http_1_0) {
    out_ += bytes;
  } else {
    append_late_error(out_, style_.bare_lf, bytes);
  }
}

KETTLINGAR_COLD std::string StreamWriter::fail(const std::exception_ptr& thrown) {
  const ErrorReply reply = error_reply(thrown, authenticated_);
  fail_with(reply);
  return reply.log;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
