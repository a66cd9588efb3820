// SPDX-License-Identifier: MIT
// wire/http_writer.ipp: the only place that writes heads and chunks; it refuses values that would break out of them.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "../base/version.hpp"
#include "http_fields.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// The Connection line: none (HTTP/1.1 keeps the connection), `close`, or for HTTP/1.0 peers `keep-alive`.
enum class ConnectionHeader { none, close, keep_alive };

/// What to write in front of a response body. The views have to live only as long as the call.
struct ResponseHeadOptions {
  int status = 200;                                  ///< 200 to 599
  std::string_view content_type = {};                ///< no such line when empty
  std::optional<std::uint64_t> content_length = {};  ///< in bytes; Python clients need it unless the body is chunked
  bool chunked = false;                              ///< never for HTTP/1.0 peers, who would not understand it
  ConnectionHeader connection = ConnectionHeader::none;  ///< `close` whenever the connection will be closed
  bool bare_lf = false;                                  ///< as the request had it; chunk lines remain CRLF
  std::span<const HeaderField> extra = {};               ///< further lines, not those which the members above stand for
  std::string_view lines = {};  ///< further lines with their line ends, known to be valid: not checked
};

/// What to write in front of a request body.
struct RequestHeadOptions {
  std::string_view method = "POST";
  std::string_view target = "/";  ///< percent-encoded path and query
  std::string_view host = {};     ///< host[:port]; no such line when empty
  std::string_view content_type = {};
  std::optional<std::uint64_t> content_length = {};
  ConnectionHeader connection = ConnectionHeader::none;
  bool bare_lf = false;  ///< what Python services need
  std::span<const HeaderField> extra = {};
};

/// Appends a response head (RFC 9112 4 to 6). False, and nothing is written, when a value has a control character
/// (handlers pass on what strangers sent: CR LF would start a header or a response of their own), a name is no token,
/// `extra` names a header that has a member here, the status is not 200 to 599, or the framing is impossible: both
/// lengths, or a body with 204, or a chunked one with 304. A 204 gets no Content-Length.
[[nodiscard]] bool append_response_head(std::string& out, const ResponseHeadOptions& options);

/// Appends a request head. False, and nothing is written, in the same cases, and when the target is empty or has bytes
/// other than 0x21 to 0x7e without `#` and `\`.
[[nodiscard]] bool append_request_head(std::string& out, const RequestHeadOptions& options);

/// The interim answer to RequestHead::expect_continue; HTTP/1.1 peers only.
inline constexpr std::string_view continue_response = "HTTP/1.1 100 Continue\r\n\r\n";

/// The standard words for a status (RFC 9110 15), or `Unknown`.
std::string_view reason_phrase(int status);

/// Appends one chunk (RFC 9112 7.1). Empty `bytes` append nothing, because an empty chunk would end the body.
void append_chunk(std::string& out, std::string_view bytes);
/// The chunk extension (RFC 9112 7.1.1) of a chunk that is not an item, but says why the stream ends without its end.
inline constexpr std::string_view error_extension = ";error";
/// Appends such a chunk.
void append_error_chunk(std::string& out, std::string_view bytes);
/// Ends a chunked body.
void append_last_chunk(std::string& out);

/// Writes chunks whose data is encoded directly into the buffer: begin(), append to `out`, end(). In between `out` may
/// only be appended to. Guesses the length of the size line from the chunk before, so that similar items are never
/// moved.
class ChunkWriter {
 public:
  void begin(std::string& out);
  /// Completes the chunk. If nothing was appended since begin(), nothing remains of it.
  void end(std::string& out);
  /// Takes everything back that was appended since begin(), for encoders that fail midway.
  void cancel(std::string& out) const { out.resize(mark_); }

 private:
  std::size_t mark_ = 0;
  std::size_t digits_ = 2;
};

namespace http {

struct Reason {
  int status;
  std::string_view words;
};
inline constexpr std::array<Reason, 52> reasons{{{100, "Continue"},
                                                 {200, "OK"},
                                                 {201, "Created"},
                                                 {202, "Accepted"},
                                                 {203, "Non-Authoritative Information"},
                                                 {204, "No Content"},
                                                 {205, "Reset Content"},
                                                 {206, "Partial Content"},
                                                 {300, "Multiple Choices"},
                                                 {301, "Moved Permanently"},
                                                 {302, "Found"},
                                                 {303, "See Other"},
                                                 {304, "Not Modified"},
                                                 {307, "Temporary Redirect"},
                                                 {308, "Permanent Redirect"},
                                                 {400, "Bad Request"},
                                                 {401, "Unauthorized"},
                                                 {402, "Payment Required"},
                                                 {403, "Forbidden"},
                                                 {404, "Not Found"},
                                                 {405, "Method Not Allowed"},
                                                 {406, "Not Acceptable"},
                                                 {407, "Proxy Authentication Required"},
                                                 {408, "Request Timeout"},
                                                 {409, "Conflict"},
                                                 {410, "Gone"},
                                                 {411, "Length Required"},
                                                 {412, "Precondition Failed"},
                                                 {413, "Content Too Large"},
                                                 {414, "URI Too Long"},
                                                 {415, "Unsupported Media Type"},
                                                 {416, "Range Not Satisfiable"},
                                                 {417, "Expectation Failed"},
                                                 {418, "I'm a teapot"},
                                                 {421, "Misdirected Request"},
                                                 {422, "Unprocessable Content"},
                                                 {423, "Locked"},
                                                 {424, "Failed Dependency"},
                                                 {425, "Too Early"},
                                                 {426, "Upgrade Required"},
                                                 {428, "Precondition Required"},
                                                 {429, "Too Many Requests"},
                                                 {431, "Request Header Fields Too Large"},
                                                 {451, "Unavailable For Legal Reasons"},
                                                 {500, "Internal Server Error"},
                                                 {501, "Not Implemented"},
                                                 {502, "Bad Gateway"},
                                                 {503, "Service Unavailable"},
                                                 {504, "Gateway Timeout"},
                                                 {505, "HTTP Version Not Supported"},
                                                 {507, "Insufficient Storage"},
                                                 {511, "Network Authentication Required"}}};

inline bool valid_value(std::string_view value) { return all_of_kind<value_char>(value); }

/// A second line about framing or connection would contradict ours.
inline bool valid_extra(const HeaderField& field) {
  if (field.name.empty() || !all_of_kind<token_char>(field.name) || !valid_value(field.value)) return false;
  return !named(field.name, "content-length") && !named(field.name, "transfer-encoding") &&
         !named(field.name, "connection") && !named(field.name, "content-type");
}

inline bool valid_response(const ResponseHeadOptions& options) {
  if (options.status < 200 || options.status > 599) return false;
  if (options.chunked && (options.content_length || options.status == 204 || options.status == 304)) return false;
  if (options.status == 204 && options.content_length.value_or(0) != 0) return false;
  return valid_value(options.content_type) && std::all_of(options.extra.begin(), options.extra.end(), valid_extra);
}

inline bool valid_request(const RequestHeadOptions& options) {
  if (options.method.empty() || options.method.size() > 32 || !all_of_kind<token_char>(options.method)) return false;
  if (options.target.empty() || !all_of_kind<target_char>(options.target)) return false;
  if (!valid_authority(options.host) || !valid_value(options.content_type)) return false;
  return std::all_of(options.extra.begin(), options.extra.end(),
                     [](const HeaderField& field) { return valid_extra(field) && !named(field.name, "host"); });
}

/// Writes lines that have been checked, in the spelling that Python peers compare with: one colon, one space. Memory
/// for all of them is reserved at once: growing piece by piece would cost more than the copying.
class LineWriter {
 public:
  /// Room for the lines that both kinds of heads may have, and `varying` bytes.
  template <class Options>
  LineWriter(std::string& out, const Options& options, std::size_t varying) : out_(out), bare_lf_(options.bare_lf) {
    constexpr std::string_view longest =
        " \r\nTransfer-Encoding: chunked\r\nContent-Type: \r\nContent-Length: 18446744073709551615\r\n"
        "Connection: keep-alive\r\n\r\n";
    std::size_t room = longest.size() + varying + options.content_type.size();
    for (const HeaderField& field : options.extra) room += field.name.size() + field.value.size() + 4;
    const std::size_t before = out.size();
    out.resize(before + room);
    at_ = out.data() + before;
  }

  void put(std::string_view text) { at_ = std::copy(text.begin(), text.end(), at_); }
  /// The same for literals: the compiler knows their size.
  template <std::size_t N>
  void put(const char (&text)[N]) {
    std::memcpy(at_, text, N - 1);
    at_ += N - 1;
  }
  void number(std::uint64_t value) { at_ = std::to_chars(at_, out_.data() + out_.size(), value).ptr; }
  void end_line() {
    if (!bare_lf_) *at_++ = '\r';
    *at_++ = '\n';
  }
  template <class Name>
  void line(const Name& name, std::string_view value) {
    put(name);
    put(": ");
    put(value);
    end_line();
  }
  void length(std::uint64_t bytes) {
    put("Content-Length: ");
    number(bytes);
    end_line();
  }
  void connection(ConnectionHeader what) {
    if (what == ConnectionHeader::close) line("Connection", "close");
    if (what == ConnectionHeader::keep_alive) line("Connection", "keep-alive");
  }
  /// The last lines, and the end of the head; nothing can be written after it.
  void finish(std::span<const HeaderField> fields) {
    for (const HeaderField& field : fields) line(field.name, field.value);
    end_line();
    out_.resize(static_cast<std::size_t>(at_ - out_.data()));
  }

 private:
  std::string& out_;
  bool bare_lf_;
  char* at_;
};

/// The line in front of a chunk's data: its size in hexadecimal digits.
class ChunkSize {
 public:
  explicit ChunkSize(std::size_t bytes) : end_(std::to_chars(line_, line_ + digits, bytes, 16).ptr) {
    *end_++ = '\r';
    *end_++ = '\n';
  }
  std::string_view line() const { return {line_, static_cast<std::size_t>(end_ - line_)}; }

 private:
  static constexpr std::size_t digits = 2 * sizeof(std::size_t);
  char line_[digits + 2];
  char* end_;
};

}  // namespace http

inline bool append_response_head(std::string& out, const ResponseHeadOptions& options) {
  if (!http::valid_response(options)) return false;
  const std::string_view reason = reason_phrase(options.status);
  const std::size_t varying = std::string_view("HTTP/1.1 200").size() + reason.size() + options.lines.size();
  http::LineWriter lines(out, options, varying);
  lines.put("HTTP/1.1 ");
  lines.number(static_cast<std::uint64_t>(options.status));
  lines.put(" ");
  lines.put(reason);
  lines.end_line();
  if (options.chunked) lines.line("Transfer-Encoding", "chunked");
  if (!options.content_type.empty()) lines.line("Content-Type", options.content_type);
  if (options.content_length && options.status != 204) lines.length(*options.content_length);
  lines.connection(options.connection);
  lines.put(options.lines);
  lines.finish(options.extra);
  return true;
}

inline bool append_request_head(std::string& out, const RequestHeadOptions& options) {
  if (!http::valid_request(options)) return false;
  const std::size_t varying = options.method.size() + options.target.size() + options.host.size() +
                              std::string_view(" HTTP/1.1\r\nHost: ").size();
  http::LineWriter lines(out, options, varying);
  lines.put(options.method);
  lines.put(" ");
  lines.put(options.target);
  lines.put(" HTTP/1.1");
  lines.end_line();
  if (!options.host.empty()) lines.line("Host", options.host);
  lines.connection(options.connection);
  if (!options.content_type.empty()) lines.line("Content-Type", options.content_type);
  if (options.content_length) lines.length(*options.content_length);
  lines.finish(options.extra);
  return true;
}

inline std::string_view reason_phrase(int status) {
  if (status == 200) return "OK";
  const auto& table = http::reasons;
  const auto at = std::lower_bound(table.begin(), table.end(), status,
                                   [](const http::Reason& reason, int wanted) { return reason.status < wanted; });
  return at != table.end() && at->status == status ? at->words : "Unknown";
}

inline void append_chunk(std::string& out, std::string_view bytes) {
  if (bytes.empty()) return;
  out += http::ChunkSize(bytes.size()).line();
  out += bytes;
  out += "\r\n";
}

inline void append_error_chunk(std::string& out, std::string_view bytes) {
  const std::size_t begin = out.size();
  append_chunk(out, bytes);
  if (!bytes.empty()) out.insert(out.find('\r', begin), error_extension);
}

inline void append_last_chunk(std::string& out) { out += "0\r\n\r\n"; }

KETTLINGAR_INLINE void ChunkWriter::begin(std::string& out) {
  mark_ = out.size();
  out.append(digits_ + 2, ' ');
}

KETTLINGAR_INLINE void ChunkWriter::end(std::string& out) {
  const std::size_t size = out.size() - mark_ - digits_ - 2;
  if (size == 0) return cancel(out);
  const http::ChunkSize prefix(size);
  out.replace(mark_, digits_ + 2, prefix.line());
  digits_ = prefix.line().size() - 2;
  out += "\r\n";
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
