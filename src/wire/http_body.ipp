// SPDX-License-Identifier: MIT
// wire/http_body.ipp: message bodies, of known length or in chunks, read in the caller's buffer.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "../base/limits.hpp"
#include "../base/version.hpp"
#include "http_fields.ipp"
#include "http_head.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

namespace http {

/// The framing of a chunked body (RFC 9112 7.1), read more strictly than the RFC asks: CRLF only, no white space around
/// sizes and extensions. Each function reads one kind of piece. Until it returns Parse::complete, it has to be called
/// again with the same piece from its first byte, and more.
class ChunkFraming : private HeadLines {
 public:
  ChunkFraming(const Limits& limits, std::uint64_t total_limit)
      : HeadLines(limits, Eol::crlf), total_limit_(total_limit) {
    expect_lines();
  }

  ParseResult size_line(std::string_view in);
  ParseResult data_end(std::string_view in);
  ParseResult trailers(std::string_view in);
  std::uint64_t size() const { return size_; }

 private:
  enum class Part : std::uint8_t { size, name_start, name, value_start, word, quoted, escape, quoted_end, cr };

  Step line_byte(char c);
  Step size_digit(unsigned value);
  Step separator(char c);
  Step next(Part part);
  ParseResult count_line();
  void expect_lines();

  std::uint64_t total_limit_;
  std::uint64_t size_ = 0;     // of the current chunk
  std::uint64_t total_ = 0;    // data of all chunks
  std::uint64_t framing_ = 0;  // all that is not data
  int digits_ = 0;
  Part part_ = Part::size;
};

}  // namespace http

/// Cuts a chunked stream into whole chunks of up to Limits::body_bytes each; an item of a kettlingar stream is one
/// chunk.
class ChunkParser {
 public:
  /// As `total_limit`, for streams without an end. Each chunk is still limited, and so is the ratio of framing to data.
  static constexpr std::uint64_t no_total = static_cast<std::uint64_t>(-1);

  /// `limits` must outlive the parser; `total_limit` bounds the data of all chunks together, in bytes.
  explicit ChunkParser(const Limits& limits, std::uint64_t total_limit = no_total)
      : framing_(limits, total_limit), limits_(&limits), total_limit_(total_limit) {}

  /// `input` starts at a chunk-size line; until that chunk is complete, each call gets the same bytes and more,
  /// possibly at another address. When complete, the first `consumed` bytes are the chunk and all that belongs to it;
  /// the next call starts behind them. After a last chunk the next call reads what follows as a further chunk: Python
  /// services forward streams with their zero chunks, and only the end of the connection tells which of them was the
  /// end.
  ParseResult next(std::string_view input);
  /// The data of the complete chunk; points into the last input.
  std::string_view data() const { return data_; }
  /// Whether its size line ends in that chunk extension, `;name`.
  bool has_extension(std::string_view extension) const { return size_line_.ends_with(extension); }
  /// Whether the complete chunk was a zero chunk, with its trailers. Those are checked and dropped.
  bool last() const { return last_; }
  /// Ready for another body.
  void reset() { *this = ChunkParser(*limits_, total_limit_); }

 private:
  enum class Phase : std::uint8_t { size_line, data, trailers };

  http::ChunkFraming framing_;
  const Limits* limits_;
  std::uint64_t total_limit_;
  std::string_view data_ = {};
  std::string_view size_line_ = {};  // without its end; points into the last input
  std::size_t at_ = 0;               // length of the size line
  Phase phase_ = Phase::size_line;
  bool last_ = false;
};

/// Checks the announced length of a body against Limits::body_bytes: complete if it fits, else bad with 413. Call it as
/// soon as the head is there, before `100 Continue` is sent or a byte of the body is read.
ParseResult check_body_length(const MessageHead& head, const Limits& limits);

/// Reads a whole body in the caller's buffer; chunks are joined in place as they come. Allocates nothing.
///
/// With D = body_size() and R = raw_size(), the bytes behind `data` are: [0, D) the body so far, [D, R) bytes that
/// are no longer needed, [R, size) not read yet. The caller only appends at the end of its buffer, may move all of it
/// to another address, and may close_gap(). Total time is linear in the bytes.
class BodyReader {
 public:
  /// `limits` must outlive the reader. Until start() is called, the body is empty.
  explicit BodyReader(const Limits& limits) : framing_(limits, limits.body_bytes), limits_(&limits) {}

  /// Begins a body as `head` announces it, which is empty without `content_length` and `chunked`: bodies of responses
  /// that last until the connection ends are not for this class.
  void start(const MessageHead& head);
  /// `data` points at the first byte of the body, `size` counts all bytes from there on, those of the next message,
  /// too. Complete: the body is in [0, body_size()), the next message begins at `consumed`, which is raw_size().
  ParseResult advance(char* data, std::size_t size);
  std::size_t body_size() const { return decoded_; }
  std::size_t raw_size() const { return raw_; }
  /// Moves the bytes [R, size) to D, and returns the new size, to which the caller then shrinks its buffer. Worth that
  /// copy when advance() needs more and the gap has grown beyond some 64 KiB.
  std::size_t close_gap(char* data, std::size_t size);

 private:
  enum class Phase : std::uint8_t { plain, size_line, data, data_end, trailers, complete };

  ParseResult plain(std::size_t size);
  ParseResult chunk_step(char* data, std::size_t size);

  http::ChunkFraming framing_;
  const Limits* limits_;
  std::uint64_t left_ = 0;  // of a plain body or of the current chunk
  std::size_t decoded_ = 0;
  std::size_t raw_ = 0;
  Phase phase_ = Phase::plain;
};

namespace http {

KETTLINGAR_INLINE ParseResult ChunkFraming::size_line(std::string_view in) {
  if (state_ == State::failed) return error_;
  if (pos_ == 0) {
    size_ = 0;
    digits_ = 0;
    part_ = Part::size;
  }
  const std::size_t end = (std::min)(in.size(), limits_->chunk_line_bytes);
  Step step = Step::field;
  while (step == Step::field && pos_ < end) step = line_byte(in[pos_++]);
  if (step == Step::done) return count_line();
  if (step == Step::field && in.size() >= limits_->chunk_line_bytes) {
    step = fail(400, "bad-chunk", "chunk-size line too long");
  }
  return result(step);
}

/// size *( ";" name [ "=" ( token / quoted-string ) ] ) CRLF. Extensions mean nothing here, but are checked:
/// requests have been smuggled in extensions that a parser only skipped.
KETTLINGAR_INLINE Step ChunkFraming::line_byte(char c) {
  const unsigned kind = char_kinds[static_cast<unsigned char>(c)];
  const bool token = (kind & token_char) != 0, text = (kind & value_char) != 0;
  switch (part_) {
    case Part::size:
      if (const int value = hex_value(c); value >= 0) return size_digit(static_cast<unsigned>(value));
      if (digits_ != 0) return separator(c);
      break;
    case Part::name_start:
      if (token) return next(Part::name);
      break;
    case Part::name:
      if (token) return Step::field;
      return c == '=' ? next(Part::value_start) : separator(c);
    case Part::value_start:
      if (c == '"') return next(Part::quoted);
      if (token) return next(Part::word);
      break;
    case Part::word:
      return token ? Step::field : separator(c);
    case Part::quoted:
      if (c == '"') return next(Part::quoted_end);
      if (c == '\\') return next(Part::escape);
      if (text) return Step::field;
      break;
    case Part::escape:
      if (text) return next(Part::quoted);
      break;
    case Part::quoted_end:
      return separator(c);
    case Part::cr:
      if (c == '\n') return Step::done;
      break;
  }
  return fail(400, "bad-chunk", "not a chunk-size line");
}

KETTLINGAR_INLINE Step ChunkFraming::next(Part part) {
  part_ = part;
  return Step::field;
}

KETTLINGAR_INLINE Step ChunkFraming::separator(char c) {
  if (c == ';') return next(Part::name_start);
  if (c == '\r') return next(Part::cr);
  return fail(400, "bad-chunk", "not a chunk-size line");
}

/// A loop of our own, because library functions accept signs, blanks and 0x. No sum here can overflow: sizes have 32
/// bit.
KETTLINGAR_INLINE Step ChunkFraming::size_digit(unsigned value) {
  if (++digits_ > 16 || (size_ >> 28) != 0) return fail(400, "bad-chunk", "chunk size has too many digits");
  size_ = size_ * 16 + value;
  if (size_ > limits_->body_bytes || total_ + size_ > total_limit_) return fail(413, "too-large", "body too large");
  return Step::field;
}

/// One-byte chunks are legal; kilobytes of extensions for a byte of data are sent only to waste our time.
KETTLINGAR_INLINE ParseResult ChunkFraming::count_line() {
  const std::size_t consumed = pos_;
  total_ += size_;
  framing_ += consumed + 2;
  if (framing_ > limits_->chunk_overhead_bytes + 8 * total_) {
    return result(fail(400, "bad-chunk", "too much chunk framing for so little data"));
  }
  pos_ = 0;
  return {Parse::complete, consumed};
}

KETTLINGAR_INLINE ParseResult ChunkFraming::data_end(std::string_view in) {
  if (state_ == State::failed) return error_;
  const std::string_view end = in.substr(0, 2);
  if (end != std::string_view("\r\n").substr(0, end.size())) {
    return result(fail(400, "bad-chunk", "chunk data does not end in CRLF"));
  }
  return end.size() == 2 ? ParseResult{Parse::complete, 2} : ParseResult{};
}

KETTLINGAR_INLINE ParseResult ChunkFraming::trailers(std::string_view in) {
  if (state_ == State::failed) return error_;
  const Step step = fields(in, limits_->trailer_bytes, limits_->trailer_count, [] { return Step::field; });
  const ParseResult outcome = result(step);
  if (step == Step::done) {
    framing_ += pos_;
    expect_lines();
  }
  return outcome;
}

KETTLINGAR_INLINE void ChunkFraming::expect_lines() {
  state_ = State::field;
  pos_ = count_ = block_.at = 0;
}

}  // namespace http

KETTLINGAR_INLINE ParseResult ChunkParser::next(std::string_view input) {
  if (phase_ == Phase::size_line) {
    const ParseResult line = framing_.size_line(input);
    if (line.status != Parse::complete) return line;
    at_ = line.consumed;
    last_ = framing_.size() == 0;
    phase_ = last_ ? Phase::trailers : Phase::data;
  }
  const std::string_view rest = input.substr(at_);
  if (rest.size() < framing_.size()) return {};
  data_ = rest.substr(0, static_cast<std::size_t>(framing_.size()));
  ParseResult result = last_ ? framing_.trailers(rest) : framing_.data_end(rest.substr(data_.size()));
  if (result.status != Parse::complete) return result;
  result.consumed += at_ + data_.size();
  size_line_ = input.substr(0, at_ - 2);
  phase_ = Phase::size_line;
  return result;
}

inline ParseResult check_body_length(const MessageHead& head, const Limits& limits) {
  if (head.content_length.value_or(0) <= limits.body_bytes) return {Parse::complete};
  return {Parse::bad, 0, 413, "too-large", "body too large"};
}

KETTLINGAR_INLINE void BodyReader::start(const MessageHead& head) {
  if (head.chunked) framing_ = http::ChunkFraming(*limits_, limits_->body_bytes);
  phase_ = head.chunked ? Phase::size_line : Phase::plain;
  left_ = head.content_length.value_or(0);
  decoded_ = raw_ = 0;
}

KETTLINGAR_INLINE ParseResult BodyReader::advance(char* data, std::size_t size) {
  if (phase_ == Phase::plain) return plain(size);
  while (phase_ != Phase::complete) {
    const ParseResult step = chunk_step(data, size);
    if (step.status != Parse::complete) return step;
    raw_ += step.consumed;
  }
  return {Parse::complete, raw_};
}

KETTLINGAR_INLINE ParseResult BodyReader::plain(std::size_t size) {
  if (left_ > limits_->body_bytes) return {Parse::bad, 0, 413, "too-large", "body too large"};
  const auto length = static_cast<std::size_t>(left_);
  decoded_ = raw_ = (std::min)(size, length);
  return raw_ == length ? ParseResult{Parse::complete, raw_} : ParseResult{};
}

/// Reads one element of a chunked body: a size line, data, an end of data, trailers. `consumed` are those bytes of it
/// that raw_ does not count yet.
KETTLINGAR_INLINE ParseResult BodyReader::chunk_step(char* data, std::size_t size) {
  const std::string_view rest(data + raw_, size - raw_);
  ParseResult result;
  switch (phase_) {
    case Phase::size_line:
      result = framing_.size_line(rest);
      left_ = framing_.size();
      if (result.status == Parse::complete) phase_ = left_ == 0 ? Phase::trailers : Phase::data;
      return result;
    case Phase::data: {
      const std::size_t have = left_ < rest.size() ? static_cast<std::size_t>(left_) : rest.size();
      if (have != 0) std::memmove(data + decoded_, rest.data(), have);
      decoded_ += have;
      raw_ += have;
      left_ -= have;
      if (left_ != 0) return {};
      phase_ = Phase::data_end;
      return {Parse::complete};
    }
    case Phase::data_end:
      result = framing_.data_end(rest);
      if (result.status == Parse::complete) phase_ = Phase::size_line;
      return result;
    case Phase::trailers:
      result = framing_.trailers(rest);
      if (result.status == Parse::complete) phase_ = Phase::complete;
      return result;
    case Phase::plain:
    case Phase::complete:
      break;
  }
  return {Parse::complete};
}

KETTLINGAR_INLINE std::size_t BodyReader::close_gap(char* data, std::size_t size) {
  const std::size_t gap = raw_ - decoded_;
  if (gap == 0) return size;
  if (size != raw_) std::memmove(data + decoded_, data + raw_, size - raw_);
  raw_ = decoded_;
  return size - gap;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
