// SPDX-License-Identifier: MIT
// client/exchange.hpp: one request and its answer over one connection, item by item.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "../base/errors.hpp"
#include "../base/limits.hpp"
#include "../os/socket.hpp"
#include "../wire/events.hpp"
#include "../wire/http_body.hpp"
#include "../wire/http_head.hpp"
#include "../wire/http_writer.hpp"
#include "../wire/json_text.hpp"
#include "../wire/msgpack.hpp"

namespace kettlingar {
inline namespace v0_1 {

/// How long a client waits; zero waits for as long as it takes.
struct Timeouts {
  std::chrono::milliseconds connect{5'000};
  std::chrono::milliseconds first_byte{0};  ///< from the request to the head of the answer
  std::chrono::milliseconds idle{0};        ///< between two parts of an answer
};

namespace detail {

/// The answer to one request, read as it comes. Blocking; for one thread.
class Exchange {
 public:
  /// Sends `request`, a head with its body, over a connected non-blocking socket. Throws ConnectionError.
  Exchange(UniqueFd socket, const Limits& limits, const Timeouts& timeouts, std::string_view request);

  /// True if the answer is a stream of items, false if it is one result.
  bool streaming() const noexcept { return streaming_; }
  /// The result, or the next item; nothing at the end. Throws the Error that the service answered with, ConnectionError if the answer broke off.
  std::optional<json> next();

 private:
  void send(std::string_view bytes);
  void read_head();
  void require_more(std::chrono::milliseconds patience);
  std::optional<json> next_item();
  json whole_body();
  json decoded(std::string_view body) const;
  std::string_view input() const noexcept { return std::string_view(buffer_).substr(begin_); }
  const ResponseHead& head() const noexcept { return head_parser_.head(); }

  UniqueFd socket_;
  const Limits& limits_;
  Timeouts timeouts_;
  std::string buffer_;
  std::size_t begin_ = 0;  ///< what comes before it has been consumed
  bool end_of_input_ = false;
  ResponseHeadParser head_parser_;
  ChunkParser chunks_;
  int status_ = 0;
  std::string content_type_;
  bool streaming_ = false;
  bool finished_ = false;    ///< the last chunk so far was an end mark
  bool done_ = false;
};

/// What a status and an error body stand for. Never returns.
[[noreturn]] inline void throw_reply(int status, const json& body) {
  const auto text_at = [&](const char* key) {
    return body.is_object() && body.contains(key) && body[key].is_string() ? body[key].get<std::string>() : std::string();
  };
  std::string text = text_at("error");
  if (text.empty()) text = std::string(reason_phrase(status));
  const std::string message = "HTTP " + std::to_string(status) + ": " + text;
  const bool asks = body.is_object() && body.contains("needed_vars") && body["needed_vars"].is_array() && !body["needed_vars"].empty();
  if (status == 423 || asks) {
    std::vector<NeededVariable> needed;
    if (asks) {
      for (const json& entry : body["needed_vars"]) {
        if (!entry.is_object() || !entry.contains("name") || !entry["name"].is_string()) continue;
        const auto field = [&](const char* key) {
          return entry.contains(key) && entry[key].is_string() ? entry[key].get<std::string>() : std::string();
        };
        needed.push_back({field("name"), field("type"), field("comment"), entry.value("default", json(nullptr))});
      }
    }
    throw NeedInfo(text, std::move(needed), body.is_object() ? body.value("resource", json(false)) : json(false));
  }
  if (status >= 300 && status < 400) throw Error(status, message);
  if (status == 401 || status == 403 || status == 407) throw PermissionDenied(message, status);
  if (status == 404) throw NotFound(message);
  if (status >= 400 && status < 500) throw InvalidArgument(message, status);
  throw Error(status, message);
}

inline Exchange::Exchange(UniqueFd socket, const Limits& limits, const Timeouts& timeouts, std::string_view request)
    : socket_(std::move(socket)), limits_(limits), timeouts_(timeouts), head_parser_(limits), chunks_(limits) {
  send(request);
  read_head();
}

inline void Exchange::send(std::string_view bytes) {
  const auto deadline = std::chrono::steady_clock::now() + (timeouts_.idle.count() > 0 ? timeouts_.idle : std::chrono::hours(24 * 365));
  while (!bytes.empty()) {
    const ssize_t n = send_some(socket_.get(), bytes);
    if (n >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!wait_for(socket_.get(), POLLOUT, deadline)) throw ConnectionError("the service does not read");
    } else {
      return;  // an early refusal may be waiting to be read
    }
  }
}

/// Appends what arrives next; at the end of input it only notes that.
inline void Exchange::require_more(std::chrono::milliseconds patience) {
  constexpr std::size_t block = 64 * 1024;
  if (begin_ > block) {
    buffer_.erase(0, begin_);
    begin_ = 0;
  }
  const std::size_t size = buffer_.size();
  buffer_.resize(size + block);
  ssize_t n = 0;
  for (;;) {
    n = retry_interrupted([&] { return ::recv(socket_.get(), buffer_.data() + size, block, MSG_DONTWAIT); });
    if (n >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) break;
    const auto wait = patience.count() > 0 ? patience : std::chrono::hours(24 * 365);
    if (!wait_for(socket_.get(), POLLIN, std::chrono::steady_clock::now() + wait)) {
      buffer_.resize(size);
      throw ConnectionError("no answer within " + std::to_string(patience.count()) + " ms");
    }
  }
  buffer_.resize(size + static_cast<std::size_t>((std::max)(n, ssize_t{0})));
  if (n <= 0) end_of_input_ = true;
}

inline void Exchange::read_head() {
  for (int interim = 0; interim <= 10; ++interim) {
    for (;;) {
      // Python services send nothing but an end mark for an empty stream, and nothing at all for some failures.
      constexpr std::string_view bare_end_mark = "0\r\n\r\n";
      if (!input().empty() && bare_end_mark.starts_with(input()) && !end_of_input_) {
        require_more(timeouts_.first_byte);
        continue;
      }
      if (input() == bare_end_mark) {
        streaming_ = done_ = true;
        return;
      }
      const ParseResult result = head_parser_.parse(input());
      if (result.status == Parse::bad) throw ConnectionError("the answer is not HTTP: " + std::string(result.why));
      if (result.status == Parse::complete) {
        begin_ += result.consumed;
        break;
      }
      if (end_of_input_) throw ConnectionError(input().empty() ? "the service closed the connection without an answer" : "the answer broke off");
      require_more(timeouts_.first_byte);
    }
    if (head().status == 101) break;
    if (head().status >= 200) {
      status_ = head().status;
      content_type_ = std::string(head().content_type);
      streaming_ = head().chunked && status_ != 204 && status_ != 304;
      return;
    }
    head_parser_.reset();
  }
  throw ConnectionError("the service answered with interim answers only");
}

inline std::optional<json> Exchange::next() {
  if (done_) return std::nullopt;
  if (streaming_) return next_item();
  done_ = true;
  json body = whole_body();
  const bool failed = status_ < 200 || status_ > 299;
  if (failed) throw_reply(status_, body);
  if (body.is_object() && body.contains("error")) throw_reply(500, body);
  return body;
}

inline json Exchange::whole_body() {
  if (status_ == 204 || status_ == 304) return json(nullptr);
  const auto length = head().content_length;
  if (length && *length > limits_.body_bytes) throw ConnectionError("the answer is longer than " + std::to_string(limits_.body_bytes) + " bytes");
  while (length ? input().size() < *length : !end_of_input_) {
    if (end_of_input_) throw ConnectionError("the answer broke off");
    if (input().size() > limits_.body_bytes) throw ConnectionError("the answer is longer than " + std::to_string(limits_.body_bytes) + " bytes");
    require_more(timeouts_.idle);
  }
  return decoded(length ? input().substr(0, static_cast<std::size_t>(*length)) : input());
}

inline std::optional<json> Exchange::next_item() {
  for (;;) {
    const ParseResult result = chunks_.next(input());
    if (result.status == Parse::bad) throw ConnectionError("the stream is broken: " + std::string(result.why));
    if (result.status == Parse::complete) {
      const std::string_view data = chunks_.data();
      begin_ += result.consumed;
      finished_ = chunks_.last();
      // Only the end of the connection tells whether an end mark was the last one: delegated streams have several.
      if (!finished_) return decoded(data);
      continue;
    }
    if (end_of_input_) break;
    require_more(timeouts_.idle);
  }
  done_ = true;
  if (!finished_ || !input().empty()) throw ConnectionError("Incomplete result, missing end-of-stream marker");
  return std::nullopt;
}

/// RPC types as values, events as maps, everything else as `{"mimetype": ..., "data": ...}`.
inline json Exchange::decoded(std::string_view body) const {
  json value;
  CodecError error;
  const std::string type = content_type_.substr(0, content_type_.find(';'));
  if (body.empty() && !streaming_) return json(nullptr);
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
