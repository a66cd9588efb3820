// SPDX-License-Identifier: MIT
// client/response.ipp: the answer to one call, from bytes to values and exceptions; does no I/O.
#pragma once

#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/errors.hpp"
#include "../base/limits.hpp"
#include "../base/log.hpp"
#include "../base/suggest.ipp"
#include "../base/version.hpp"
#include "../wire/events.ipp"
#include "../wire/http_body.ipp"
#include "../wire/http_head.ipp"
#include "../wire/http_writer.ipp"
#include "../wire/json_text.ipp"
#include "../wire/msgpack.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Reads the answer to one call from the bytes that it is given, from our services and from Python ones: those write
/// bare LF, give no lengths, end streams with several zero chunks, and send nothing but such a chunk for an empty
/// stream.
///
/// Errors are told by the status, and in the middle of a stream by a mark on their chunk, which has no end mark behind
/// it. Python services have one sign only, the key `error` in a map: in the result of a 200, or in the last item before
/// a stream breaks off.
class ResponseReader {
 public:
  /// `limits` must outlive the reader.
  explicit ResponseReader(const Limits& limits) : limits_(limits), head_parser_(limits), chunks_(limits) {}

  /// Room for `size` more bytes of input; received() says how many of them have come.
  char* prepare(std::size_t size);
  void received(std::size_t size) {
    end_ += size;
    any_input_ = true;
  }
  /// The connection has ended.
  void end_of_input() { ended_ = true; }

  enum class Step { need_more, head, item, done };
  /// Goes on as far as the input allows. Step::head comes once, before anything else: streaming() is known then.
  /// Step::item: one item, or the result, can be taken. Throws ConnectionError if the input is not an answer, or broke
  /// off; otherwise the Error that the service answered with.
  Step advance();
  json take() { return std::move(item_); }

  bool streaming() const noexcept { return streaming_; }
  /// HTTP status, once there is a head; 0 before, and for the empty streams of Python services, which have none.
  int status() const noexcept { return status_; }
  const std::string& content_type() const noexcept { return content_type_; }
  bool has_head() const noexcept { return phase_ != Phase::head; }
  /// Whether the head said how long the body is, which Python services never do.
  bool has_length() const noexcept { return has_length_; }
  /// Whether the service has refused the request for its encoding, and wants JSON. Methods can answer 415, too, but
  /// name no types.
  bool wants_json() const noexcept { return wants_json_; }
  /// An item that says what went wrong, if the stream breaks off behind it. It is given out only when something comes
  /// after it.
  const std::optional<json>& last_words() const noexcept { return last_words_; }
  bool any_input() const noexcept { return any_input_; }
  bool finished() const noexcept { return phase_ == Phase::done; }
  /// In a stream, with nothing there of the next item, nor of its end.
  bool between_items() const noexcept { return phase_ == Phase::chunks && begin_ == end_ && !end_mark_; }
  /// True if the answer is complete, nothing came behind it, and the service goes on to listen: the connection can take
  /// another request.
  bool reusable() const noexcept { return phase_ == Phase::done && reusable_ && begin_ == end_ && !ended_; }

 private:
  enum class Phase { head, body, chunks, done };

  bool read_head();
  Step read_body();
  Step read_chunk();
  bool next_item();
  Step end_of_stream();
  [[noreturn]] void throw_late_error();
  json decoded(std::string_view body) const;
  std::string_view input() const noexcept { return std::string_view(buffer_).substr(begin_, end_ - begin_); }

  const Limits& limits_;
  std::string buffer_;
  std::size_t begin_ = 0;  ///< [begin_, end_) is not consumed yet
  std::size_t end_ = 0;
  bool ended_ = false;
  Phase phase_ = Phase::head;
  ResponseHeadParser head_parser_;
  ChunkParser chunks_;
  int interim_ = 0;
  int status_ = 0;
  std::optional<std::uint64_t> length_;
  bool has_length_ = false;
  bool wants_json_ = false;
  bool any_input_ = false;
  std::string content_type_;
  std::string location_;
  bool streaming_ = false;
  bool reusable_ = false;  ///< the service leaves the connection open after this answer
  bool end_mark_ = false;  ///< the last chunk so far was one
  bool by_key_ = false;    ///< errors are told by a key, as Python services do
  json item_;
  std::optional<json> following_;  ///< comes behind `item_`
  std::optional<json> last_words_;
};

inline bool is_error(const json& value) { return value.is_object() && value.contains("error"); }

/// What a status and an error body, or the Location in a head, stand for. Never returns.
[[noreturn]] void throw_reply(int status, const json& body, std::string location = {});

/// Throws what a call of `method` has come to: the service does not repeat the name, so this does. If the method itself
/// has missed another one, that is told as it is.
[[noreturn]] void throw_unknown(const UnknownMethod& error, const std::string& method);

inline std::vector<NeededVariable> needed_variables(const json& body) {
  std::vector<NeededVariable> needed;
  if (!body.is_object() || !body.contains("needed_vars") || !body["needed_vars"].is_array()) return needed;
  for (const json& entry : body["needed_vars"]) {
    const auto field = [&](const char* key) {
      return entry.is_object() && entry.contains(key) && entry[key].is_string() ? entry[key].get<std::string>()
                                                                                : std::string();
    };
    if (!field("name").empty())
      needed.push_back({field("name"), field("type"), field("comment"), entry.value("default", json(nullptr))});
  }
  return needed;
}

KETTLINGAR_COLD void throw_reply(int status, const json& body, std::string location) {
  const auto text_of = [&body](const char* key, std::string_view otherwise) {
    const bool there = body.is_object() && body.contains(key) && body[key].is_string();
    return there ? body[key].get<std::string>() : std::string(otherwise);
  };
  const std::string text = text_of("error", reason_phrase(status));
  const std::string type = text_of("type", usual_class(status));
  std::vector<NeededVariable> needed = needed_variables(body);
  if (type == "NeedInfo" || !needed.empty()) {
    throw NeedInfo(text, std::move(needed), body.is_object() ? body.value("resource", json(false)) : json(false));
  }
  location = text_of("redirect", location);
  if (status <= 399 && !location.empty()) throw Redirect(std::move(location), status);
  // A string if a method has thrown it, for it means another one.
  if (status == 404 && body.is_object() && body.contains("unknown_method"))
    throw UnknownMethod(text_of("unknown_method", {}), text);
  if (type == "PermissionDenied") throw PermissionDenied(text, status);
  if (type == "NotFound" && status == 404) throw NotFound(text);
  if (type == "InvalidArgument") throw InvalidArgument(text, status);
  throw Error(status, text);
}

KETTLINGAR_COLD void throw_unknown(const UnknownMethod& error, const std::string& method) {
  if (!error.method().empty()) throw error;
  std::string words = error.what();
  if (const std::size_t at = words.find(no_such_method); at != words.npos)
    words.replace(at, no_such_method.size(), "no method '" + log_escaped(method) + "'");
  throw UnknownMethod(method, words);
}

KETTLINGAR_INLINE char* ResponseReader::prepare(std::size_t size) {
  if (begin_ > 0 && (begin_ == end_ || buffer_.size() - end_ < size)) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (buffer_.size() - end_ < size) buffer_.resize((std::max)(end_ + size, buffer_.size() * 2));
  return buffer_.data() + end_;
}

KETTLINGAR_INLINE ResponseReader::Step ResponseReader::advance() {
  if (following_) {
    item_ = *std::exchange(following_, std::nullopt);
    return Step::item;
  }
  switch (phase_) {
    case Phase::head:
      return read_head() ? Step::head : Step::need_more;
    case Phase::body:
      return read_body();
    case Phase::chunks:
      return read_chunk();
    case Phase::done:
      break;
  }
  return Step::done;
}

/// True when the final head is there.
KETTLINGAR_INLINE bool ResponseReader::read_head() {
  constexpr int most_interim = 10;
  constexpr std::string_view bare_end_mark = "0\r\n\r\n";
  for (;;) {
    if (input().starts_with(bare_end_mark)) {
      begin_ = end_;
      streaming_ = true;
      phase_ = Phase::done;
      return true;
    }
    if (!input().empty() && bare_end_mark.starts_with(input()) && !ended_) return false;
    const ParseResult result = head_parser_.parse(input());
    if (result.status == Parse::bad) throw ConnectionError("the answer is not HTTP: " + std::string(result.why));
    if (result.status == Parse::need_more) {
      if (!ended_) return false;
      throw ConnectionError(input().empty() ? "the service closed the connection without an answer"
                                            : "the answer broke off");
    }
    const ResponseHead& head = head_parser_.head();
    begin_ += result.consumed;
    status_ = head.status;
    if (status_ == 101) throw ConnectionError("the service wants to speak something else than HTTP");
    if (status_ >= 200) {
      const bool bodyless = status_ == 204 || status_ == 304;
      content_type_ = std::string(head.content_type);
      streaming_ = head.chunked && !bodyless;
      length_ = bodyless ? std::optional<std::uint64_t>(0) : head.content_length;
      has_length_ = head.content_length.has_value();
      reusable_ = head.keep_alive && (streaming_ || length_);
      by_key_ = head.bare_lf && !length_;
      if (status_ <= 399 && status_ >= 300) location_ = head.fields.find("Location").value_or("");
      wants_json_ = status_ == 415 && head.fields.find("Accept").value_or("").find("json") != std::string_view::npos;
      if (head.encoded && status_ <= 299 && !bodyless)
        throw ConnectionError("the answer is compressed, which nobody asked for");
      if (length_.value_or(0) > limits_.body_bytes)
        throw ConnectionError("the answer is longer than " + std::to_string(limits_.body_bytes) + " bytes");
      phase_ = streaming_ ? Phase::chunks : Phase::body;
      return true;
    }
    if (++interim_ > most_interim) throw ConnectionError("the service answered with interim answers only");
    head_parser_.reset();
  }
}

KETTLINGAR_INLINE ResponseReader::Step ResponseReader::read_body() {
  if (length_ ? input().size() < *length_ : !ended_) {
    if (ended_) throw ConnectionError("the answer broke off");
    if (input().size() > limits_.body_bytes)
      throw ConnectionError("the answer is longer than " + std::to_string(limits_.body_bytes) + " bytes");
    return Step::need_more;
  }
  const std::size_t size = length_ ? static_cast<std::size_t>(*length_) : input().size();
  try {
    item_ = decoded(input().substr(0, size));
  } catch (const ConnectionError&) {
    // What went wrong is in the status: the body of a Python service's redirect is no JSON.
    if (status_ >= 200 && status_ <= 299) throw;
    item_ = nullptr;
  }
  begin_ += size;
  phase_ = Phase::done;
  if (status_ < 200 || status_ > 299) throw_reply(status_, item_, location_);
  if (by_key_ && is_error(item_)) throw_reply(500, item_);
  return Step::item;
}

KETTLINGAR_INLINE ResponseReader::Step ResponseReader::read_chunk() {
  for (;;) {
    const ParseResult result = chunks_.next(input());
    if (result.status == Parse::bad) throw ConnectionError("the stream is broken: " + std::string(result.why));
    if (result.status == Parse::need_more) break;
    end_mark_ = chunks_.last();
    if (!end_mark_) item_ = decoded(chunks_.data());
    begin_ += result.consumed;
    if (!end_mark_) {
      if (status_ < 200 || status_ > 299) throw_reply(status_, item_, location_);
      if (!by_key_ && chunks_.has_extension(error_extension)) throw_late_error();
      const bool only_comment = item_.is_object() && item_.empty() && content_type_.starts_with("text/event-stream");
      if (!only_comment && next_item()) return Step::item;
    } else if (reusable_) {
      // Where the connection goes on, this was the end; where it does not, only its end tells: delegated streams have
      // several end marks.
      return end_of_stream();
    }
  }
  if (!ended_) return Step::need_more;
  if (end_mark_ && input().empty()) return end_of_stream();
  phase_ = Phase::done;
  if (last_words_) throw_reply(500, *last_words_);
  throw ConnectionError("Incomplete result, missing end-of-stream marker");
}

/// Whether the item that has just been read, or one that was held back, can go out.
KETTLINGAR_INLINE bool ResponseReader::next_item() {
  const bool error = by_key_ && is_error(item_);
  std::optional<json> earlier = std::exchange(last_words_, std::nullopt);
  if (error) {
    last_words_ = std::move(item_);
  } else if (earlier) {
    following_ = std::move(item_);
  }
  if (earlier) item_ = *std::move(earlier);
  return earlier || !error;
}

/// Nothing comes after it.
KETTLINGAR_COLD void ResponseReader::throw_late_error() {
  phase_ = Phase::done;
  reusable_ = false;
  json body = std::move(item_);
  if (content_type_.starts_with("text/event-stream") && body.contains("data") && body["data"].is_string()) {
    const std::string text = body["data"].get<std::string>();
    static_cast<void>(decode_json(text, body, limits_.depth));
  }
  const json status = body.is_object() ? body.value("status", json(500)) : json(500);
  throw_reply(status.is_number_integer() && status >= 300 && status <= 599 ? status.get<int>() : 500, body);
}

KETTLINGAR_INLINE ResponseReader::Step ResponseReader::end_of_stream() {
  phase_ = Phase::done;
  if (!last_words_) return Step::done;
  item_ = *std::exchange(last_words_, std::nullopt);
  return Step::item;
}

/// RPC types as values, events as maps, everything else as `{"mimetype": ..., "data": ...}`.
KETTLINGAR_INLINE json ResponseReader::decoded(std::string_view body) const {
  json value;
  CodecError error;
  const std::string_view type = std::string_view(content_type_).substr(0, content_type_.find(';'));
  if (body.empty() && !streaming_) return value;
  if (type == "application/x-msgpack") {
    error = decode_msgpack(body, value, limits_.depth);
  } else if (type == "application/json") {
    error = decode_json(body, value, limits_.depth);
  } else if (type == "text/event-stream") {
    error = parse_event(body, value);
  } else if (streaming_) {
    return bytes(body);
  } else {
    value = json::object();
    value["mimetype"] = content_type_;
    value["data"] = type.starts_with("text/") && is_utf8(body) ? json(std::string(body)) : bytes(body);
  }
  if (error) throw ConnectionError("the answer cannot be decoded: " + std::string(error.why));
  return value;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
