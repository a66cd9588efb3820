// SPDX-License-Identifier: MIT
// wire/http_fields.ipp: characters, line ends and header lines, as requests, responses and trailers share them.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <optional>
#include <string_view>
#include <type_traits>

#include "../base/limits.hpp"
#include "../base/version.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// What a parser says of the bytes that it has seen so far.
enum class Parse { complete, need_more, bad };

/// Outcome of one call of a parser. After `bad` nothing further on that connection may be interpreted.
struct ParseResult {
  Parse status = Parse::need_more;
  std::size_t consumed = 0;    ///< when complete: bytes of the input that belong to what was parsed
  int http_status = 0;         ///< when bad: what to answer: 400, 413, 414, 417, 431, 501 or 505
  std::string_view slug = {};  ///< when bad: reason word of the log line
  std::string_view why = {};   ///< when bad: static text; never repeats input, so safe to send and to log
};

/// One header line: the name as it was spelled, the value without white space around it.
struct HeaderField {
  std::string_view name = {};
  std::string_view value = {};
};

/// The header lines of a parsed head, as a forward range of HeaderField. A view of the parsed input, which is split
/// again on each pass.
class HeaderFields {
 public:
  class iterator {
   public:
    using iterator_concept = std::forward_iterator_tag;
    using iterator_category = std::input_iterator_tag;
    using value_type = HeaderField;
    using difference_type = std::ptrdiff_t;
    using reference = HeaderField;
    using pointer = void;

    iterator() = default;
    explicit iterator(std::string_view lines) : lines_(lines) {}
    HeaderField operator*() const;
    iterator& operator++();
    iterator operator++(int);
    bool operator==(const iterator& other) const { return lines_.size() == other.lines_.size(); }

   private:
    std::string_view lines_ = {};  // from the current line to the end of the block
  };

  HeaderFields() = default;
  /// `block` is whole header lines that a parser has accepted, without the empty line behind them.
  explicit HeaderFields(std::string_view block) : block_(block) {}

  iterator begin() const { return iterator(block_); }
  iterator end() const { return iterator(block_.substr(block_.size())); }
  /// The value of the first line of that name (in any case), or std::nullopt.
  std::optional<std::string_view> find(std::string_view name) const;

 private:
  std::string_view block_ = {};
};

/// What the heads of requests and responses have in common. Views point into the input of the parser.
struct MessageHead {
  HeaderFields fields = {};
  std::string_view content_type = {};                ///< with its parameters; empty when absent
  std::optional<std::uint64_t> content_length = {};  ///< at most 2^63-1; never together with `chunked`
  std::size_t longest_value = 0;                     ///< bytes of the longest value of a header line
  int version_minor = 1;                             ///< HTTP/1.0 or HTTP/1.1
  bool bare_lf = false;                              ///< lines ended in LF alone, as the Python peers write them
  bool keep_alive = false;                           ///< the sender leaves the connection open (RFC 9112 9.3)
  bool chunked = false;                              ///< Transfer-Encoding: chunked
  bool encoded = false;                              ///< Content-Encoding: something else than identity
};

namespace http {

enum class Step { field, done, more, bad };
enum class Eol : std::uint8_t { unknown, crlf, lf };

/// A piece of the input by offset, because the buffer may move between two calls. No header's value is at offset 0, so
/// offset 0 means that there is none.
struct Span {
  std::size_t at = 0;
  std::size_t size = 0;

  bool present() const { return at != 0; }
  std::string_view of(std::string_view input) const { return {input.data() + at, size}; }
  std::optional<std::string_view> maybe(std::string_view input) const {
    return present() ? std::optional<std::string_view>(of(input)) : std::nullopt;
  }
};

/// Reads the lines of heads and trailers. Each call goes on at `pos_`: every byte is read once, however it arrives.
class HeadLines {
 protected:
  enum class State : std::uint8_t { start, method, target, version, line_end, field, name, value, complete, failed };

  HeadLines(const Limits& limits, Eol eol) : limits_(&limits), eol_(eol) {}

  Step match(std::string_view in, std::size_t end, std::string_view form);
  Step line_end(std::string_view in, std::size_t end, std::string_view slug) {
    if (eol_ == Eol::crlf && end - pos_ >= 2 && in[pos_] == '\r' && in[pos_ + 1] == '\n') {
      pos_ += 2;
      return Step::done;
    }
    return first_or_wrong_line_end(in, end, slug);
  }
  Step first_or_wrong_line_end(std::string_view in, std::size_t end, std::string_view slug);
  bool whole_field(std::string_view in, std::size_t end, std::size_t max_count);
  Step next_field(std::string_view in, std::size_t end, std::size_t max_count);
  template <class Known>
  Step fields(std::string_view in, std::size_t max_bytes, std::size_t max_count, Known known);
  Step common_field(std::string_view in, MessageHead& head);
  static bool unknown_codings(std::string_view list);
  Step transfer_encoding(std::string_view value, MessageHead& head);
  Step once(Span& slot);
  void connection_options(std::string_view list);
  void publish(std::string_view in, MessageHead& head) const;
  Step fail(int http_status, std::string_view slug, std::string_view why);
  ParseResult result(Step step) const;

  const Limits* limits_;
  std::size_t pos_ = 0;   // next byte to look at
  std::size_t mark_ = 0;  // where the current element began
  std::size_t count_ = 0;
  std::size_t longest_ = 0;
  Span name_ = {}, value_ = {}, block_ = {}, content_type_ = {};
  ParseResult error_ = {};
  State state_ = State::start;
  Eol eol_;
  bool close_ = false, keep_alive_ = false;
};

// Character classes by table: one load a byte, and independent of the locale the host program may have set.
inline constexpr std::uint8_t token_char = 1, value_char = 2, target_char = 4, host_char = 8, address_char = 16;

constexpr std::array<std::uint8_t, 256> make_char_kinds() {
  constexpr std::string_view marks = "!#$%&'*+-.^_`|~";
  std::array<std::uint8_t, 256> kinds{};
  for (std::size_t c = 0; c < 256; ++c) {
    const bool digit = c >= '0' && c <= '9', alpha = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    unsigned kind = 0;
    if (digit || alpha || (c < 128 && marks.find(static_cast<char>(c)) != marks.npos)) kind |= token_char;
    if (c == '\t' || (c >= 0x20 && c != 0x7f)) kind |= value_char;
    if (c > 0x20 && c < 0x7f && c != '#' && c != '\\') kind |= target_char;
    if (digit || alpha || c == '-' || c == '.' || c == '_' || c == '~' || c == '%') kind |= host_char | address_char;
    if (c == ':') kind |= address_char;
    kinds[c] = static_cast<std::uint8_t>(kind);
  }
  return kinds;
}
inline constexpr std::array<std::uint8_t, 256> char_kinds = make_char_kinds();

/// The bytes at `at` as a T, in the machine's byte order.
template <class T>
T load_bytes(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// scan() looks at a block of bytes at once. In the result of others(), each byte of the block has `scan_bits` bits, of
// which the highest is set if the byte is not of that kind. It may be set for a byte of that kind, too: scan() looks at
// that byte again.
#if defined(__SSE2__)
inline constexpr std::size_t scan_block = 16, scan_bits = 1;

template <std::uint8_t kind>
std::uint32_t others(const char* at) {
  // No alias declarations: g++ ignores the attribute in them.
  typedef unsigned char Bytes [[gnu::vector_size(scan_block)]];
  typedef char Flags [[gnu::vector_size(scan_block)]];
  const auto bytes = load_bytes<Bytes>(at);
  const auto found = [&] {
    if constexpr (kind == value_char) {
      return (bytes < 0x20) | (bytes == 0x7F);
    } else if constexpr (kind == target_char) {
      return (bytes < 0x21) | (bytes >= 0x7F) | (bytes == '#') | (bytes == '\\');
    } else {
      static_assert(kind == token_char);  // letters and dashes, which most names consist of
      constexpr unsigned char a = 'a', letters = 26;
      return ((bytes | 0x20) - a >= letters) & (bytes != '-');
    }
  };
  return static_cast<std::uint32_t>(__builtin_ia32_pmovmskb128(std::bit_cast<Flags>(found())));
}
#else
inline constexpr std::size_t scan_block = 8, scan_bits = 8;

template <std::uint8_t kind>
std::uint64_t others(const char* at) {
  constexpr std::uint64_t ones = 0x0101010101010101, highs = 0x8080808080808080;
  const auto bytes = load_bytes<std::uint64_t>(at);
  // Subtracting the bound sets the high bit of each byte below it, perhaps also of bytes behind that one.
  const auto below = [](std::uint64_t x, std::uint64_t bound) { return (x - ones * bound) & ~x & highs; };
  const auto equal = [&](std::uint64_t c) { return below(bytes ^ (ones * c), 1); };
  if constexpr (kind == value_char) {
    return below(bytes, 0x20) | equal(0x7F);
  } else if constexpr (kind == target_char) {
    return (bytes & highs) | below(bytes, 0x21) | equal(0x7F) | equal('#') | equal('\\');
  } else {
    static_assert(kind == token_char);  // letters and dashes, which most names consist of
    // Sums of seven bits carry into the high bit and no further: no other byte is taken for a letter or a dash.
    const std::uint64_t small = (bytes | ones * 0x20) & ~highs, not_dash = bytes ^ (ones * '-');
    const std::uint64_t from_a = small + ones * (0x80 - 'a'), behind_z = small + ones * (0x7F - 'z');
    const std::uint64_t no_letter = ~from_a | behind_z, no_dash = ((not_dash & ~highs) + ~highs) | not_dash;
    return ((no_letter & no_dash) | bytes) & highs;
  }
}
#endif

template <std::uint8_t kind>
inline constexpr bool by_blocks = (kind == token_char || kind == value_char || kind == target_char) &&
                                  (scan_block == 16 || std::endian::native == std::endian::little);

template <std::uint8_t kind>
bool is_kind(char c) {
  return (char_kinds[static_cast<unsigned char>(c)] & kind) != 0;
}

/// scan() where less than a block is left: takes the last whole block of the input, if that is long enough.
template <std::uint8_t kind>
[[gnu::noinline]] std::size_t scan_rest(std::string_view in, std::size_t from, std::size_t end) {
  if constexpr (by_blocks<kind>) {
    if (from != end && end >= scan_block) {
      const std::size_t again = scan_block - (end - from);
      const auto found = others<kind>(in.data() + end - scan_block) >> (again * scan_bits);
      if (found == 0) return end;
      from += static_cast<std::size_t>(std::countr_zero(found)) / scan_bits;
    }
  }
  while (from != end && is_kind<kind>(in[from])) ++from;
  return from;
}

/// The offset of the first byte in [from, end) that is not of that kind, or `end`.
template <std::uint8_t kind>
std::size_t scan(std::string_view in, std::size_t from, std::size_t end) {
  if constexpr (by_blocks<kind>) {
    while (end - from >= scan_block) {
      const auto found = others<kind>(in.data() + from);
      from += found == 0 ? scan_block : static_cast<std::size_t>(std::countr_zero(found)) / scan_bits;
      if (found == 0) continue;
      if (!is_kind<kind>(in[from])) return from;
      ++from;
    }
  }
  return scan_rest<kind>(in, from, end);
}
template <std::uint8_t kind>
bool all_of_kind(std::string_view text) {
  return scan<kind>(text, 0, text.size()) == text.size();
}
inline bool is_digit(char c) { return c >= '0' && c <= '9'; }
inline char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

inline int hex_value(char c) {
  if (is_digit(c)) return c - '0';
  const char small = lower(c);
  return small >= 'a' && small <= 'f' ? small - 'a' + 10 : -1;
}

/// ASCII only, as header names and list words are.
inline bool same_word(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return lower(x) == lower(y); });
}

/// True if `name` is `small` in any case. It has to be a token: bit 5 turns no other character of tokens into a
/// letter or a dash.
template <std::size_t N>
bool named(std::string_view name, const char (&small)[N]) {
  constexpr std::size_t size = N - 1;
  using Word = std::conditional_t<(size < 8), std::uint32_t, std::uint64_t>;
  static_assert(size >= sizeof(Word));
  if (name.size() != size) return false;
  const auto difference = [&](std::size_t at) -> Word {
    constexpr auto bits_5 = static_cast<Word>(0x2020202020202020);
    return (load_bytes<Word>(name.data() + at) | bits_5) ^ load_bytes<Word>(small + at);
  };
  Word differing = difference(size - sizeof(Word));
  for (std::size_t at = 0; at + sizeof(Word) < size; at += sizeof(Word)) differing |= difference(at);
  return differing == 0;
}

inline std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

/// Digits only, at most 19 of them and below 2^63: no library function refuses signs, blanks, 0x and overflow, all
/// four.
inline std::optional<std::uint64_t> parse_length(std::string_view digits) {
  if (digits.empty() || digits.size() > 19) return std::nullopt;
  std::uint64_t value = 0;
  for (const char c : digits) {
    if (!is_digit(c)) return std::nullopt;
    value = value * 10 + static_cast<std::uint64_t>(c - '0');
  }
  return (value >> 63) == 0 ? std::optional<std::uint64_t>(value) : std::nullopt;
}

/// host [":" port], where host is a name, an IPv4 address or an address in brackets; or nothing at all.
inline bool valid_authority(std::string_view text) {
  if (text.empty()) return true;
  std::size_t at = 0;
  if (text.front() == '[') {
    at = scan<address_char>(text, 1, text.size());
    if (at == 1 || at == text.size() || text[at] != ']') return false;
    ++at;
  } else {
    at = scan<host_char>(text, 0, text.size());
    if (at == 0) return false;
  }
  if (at == text.size()) return true;
  const std::string_view port = text.substr(at + 1);
  return text[at] == ':' && port.size() <= 5 && std::all_of(port.begin(), port.end(), is_digit);
}

/// A valid authority without its port.
inline std::string_view host_name(std::string_view authority) {
  return authority.substr(0, authority.starts_with('[') ? authority.find(']') + 1 : authority.find(':'));
}

/// The byte that the escape at `at` stands for; -1 if it is broken or stands for a control character (for C functions a
/// NUL would end the path).
inline int escaped_byte(std::string_view text, std::size_t at) {
  if (text.size() - at < 3) return -1;
  const int high = hex_value(text[at + 1]), low = hex_value(text[at + 2]);
  if (high < 0 || low < 0) return -1;
  const int byte = high * 16 + low;
  return byte < 0x20 || byte == 0x7f ? -1 : byte;
}

KETTLINGAR_INLINE Step HeadLines::fail(int http_status, std::string_view slug, std::string_view why) {
  state_ = State::failed;
  error_ = {Parse::bad, 0, http_status, slug, why};
  return Step::bad;
}

KETTLINGAR_INLINE ParseResult HeadLines::result(Step step) const {
  if (step == Step::bad) return error_;
  return step == Step::done ? ParseResult{Parse::complete, pos_} : ParseResult{};
}

/// Fixed text at `mark_`, where each `d` stands for a digit.
KETTLINGAR_INLINE Step HeadLines::match(std::string_view in, std::size_t end, std::string_view form) {
  const std::size_t have = (std::min)(end - mark_, form.size());
  for (std::size_t i = 0; i < have; ++i) {
    const char c = in[mark_ + i];
    if (form[i] == 'd' ? !is_digit(c) : c != form[i]) return fail(400, "bad-line", "not HTTP/1.0 or HTTP/1.1");
  }
  pos_ = mark_ + have;
  return have == form.size() ? Step::done : Step::more;
}

/// Moves behind the line end at `pos_`. The first one decides the style. A change of style is refused: other parsers
/// might see other lines.
KETTLINGAR_INLINE Step HeadLines::first_or_wrong_line_end(std::string_view in, std::size_t end, std::string_view slug) {
  const bool cr = in[pos_] == '\r';
  if (!cr && in[pos_] != '\n') return fail(400, slug, "a byte that may not be in such a line");
  if (cr && end - pos_ < 2) return Step::more;
  if (cr && in[pos_ + 1] != '\n') return fail(400, slug, "CR without LF");
  const Eol seen = cr ? Eol::crlf : Eol::lf;
  if (eol_ == Eol::unknown) eol_ = seen;
  if (eol_ != seen) return fail(400, "mixed-eol", "line ends are not of one style");
  pos_ += cr ? 2 : 1;
  return Step::done;
}

/// True if all of the next line is there and nothing about it is unusual: it is in name_ and value_ then. If false,
/// nothing has changed, and next_field() has to read it.
KETTLINGAR_INLINE bool HeadLines::whole_field(std::string_view in, std::size_t end, std::size_t max_count) {
  if (state_ != State::field || eol_ != Eol::crlf || count_ >= max_count) return false;
  const auto blank = [&](std::size_t at) { return in[at] == ' ' || in[at] == '\t'; };
  const std::size_t colon = scan<token_char>(in, pos_, end);
  if (colon == pos_ || colon == end || in[colon] != ':') return false;
  std::size_t from = colon + 1;
  while (from != end && blank(from)) ++from;
  const std::size_t line_end = scan<value_char>(in, from, end);
  if (end - line_end < 2 || in[line_end] != '\r' || in[line_end + 1] != '\n') return false;
  std::size_t to = line_end;
  while (to != from && blank(to - 1)) --to;
  name_ = {pos_, colon - pos_};
  value_ = {from, to - from};
  pos_ = line_end + 2;
  ++count_;
  return true;
}

/// Step::field: a line is in name_ and value_. Step::done: the empty line was read.
KETTLINGAR_INLINE Step HeadLines::next_field(std::string_view in, std::size_t end, std::size_t max_count) {
  if (pos_ == end) return Step::more;
  if (state_ == State::field) {
    if (in[pos_] == '\r' || in[pos_] == '\n') {
      block_.size = pos_ - block_.at;
      const Step step = line_end(in, end, "bad-header");
      if (step == Step::done) state_ = State::complete;
      return step;
    }
    if (count_ >= max_count) return fail(431, "too-large", "too many header lines");
    if (in[pos_] == ' ' || in[pos_] == '\t') return fail(400, "bad-header", "header line starts with white space");
    ++count_;
    mark_ = pos_;
    state_ = State::name;
  }
  if (state_ == State::name) {
    pos_ = scan<token_char>(in, pos_, end);
    if (pos_ == end) return Step::more;
    if (in[pos_] != ':' || pos_ == mark_) return fail(400, "bad-header", "header name is not a token before a colon");
    name_ = {mark_, pos_ - mark_};
    mark_ = ++pos_;
    state_ = State::value;
  }
  pos_ = scan<value_char>(in, pos_, end);
  if (pos_ == end) return Step::more;
  const std::string_view value = trim(in.substr(mark_, pos_ - mark_));
  const Step step = line_end(in, end, "bad-header");
  if (step != Step::done) return step;
  value_ = {static_cast<std::size_t>(value.data() - in.data()), value.size()};
  state_ = State::field;
  return Step::field;
}

/// Reads all lines up to the empty one, and calls `known` for each.
template <class Known>
inline Step HeadLines::fields(std::string_view in, std::size_t max_bytes, std::size_t max_count, Known known) {
  const std::size_t end = (std::min)(in.size(), max_bytes);
  Step step = state_ == State::complete ? Step::done : Step::field;
  while (step == Step::field) {
    if (!whole_field(in, end, max_count)) step = next_field(in, end, max_count);
    if (step != Step::field) break;
    longest_ = (std::max)(longest_, value_.size);
    step = known();
  }
  return step == Step::more && in.size() >= max_bytes ? fail(431, "too-large", "header lines too long") : step;
}

KETTLINGAR_INLINE Step HeadLines::once(Span& slot) {
  if (slot.present()) return fail(400, "bad-header", "this header may not be repeated");
  slot = value_;
  return Step::field;
}

KETTLINGAR_INLINE Step HeadLines::common_field(std::string_view in, MessageHead& head) {
  using namespace std::string_view_literals;
  const std::string_view name = name_.of(in), value = value_.of(in);
  switch (name.size()) {
    case "connection"sv.size():
      if (named(name, "connection")) connection_options(value);
      break;
    case "content-type"sv.size():
      if (named(name, "content-type")) return once(content_type_);
      break;
    case "content-length"sv.size():
      if (!named(name, "content-length")) break;
      if (head.content_length || head.chunked) return fail(400, "bad-length", "more than one message length");
      head.content_length = parse_length(value);
      if (!head.content_length) return fail(400, "bad-length", "Content-Length is not a number below 2^63");
      break;
    case "content-encoding"sv.size():
      if (named(name, "content-encoding") && !value.empty() && !same_word(value, "identity")) head.encoded = true;
      break;
    case "transfer-encoding"sv.size():
      if (named(name, "transfer-encoding")) return transfer_encoding(value, head);
      break;
  }
  return Step::field;
}

/// Whether it is clear what is meant, though we do not know it (RFC 9112 6.1): words, none before the last `chunked`.
KETTLINGAR_COLD bool HeadLines::unknown_codings(std::string_view list) {
  for (;;) {
    const std::size_t comma = list.find(',');
    const std::string_view word = trim(list.substr(0, comma));
    if (word.empty() || !all_of_kind<token_char>(word)) return false;
    if (comma == std::string_view::npos) return true;
    if (same_word(word, "chunked")) return false;
    list.remove_prefix(comma + 1);
  }
}

/// Exactly one line with exactly `chunked`: with anything else two parsers may disagree about where the body ends.
KETTLINGAR_INLINE Step HeadLines::transfer_encoding(std::string_view value, MessageHead& head) {
  if (head.content_length || head.chunked) return fail(400, "bad-length", "more than one message length");
  if (head.version_minor == 0) return fail(400, "bad-length", "Transfer-Encoding in HTTP/1.0");
  if (!same_word(value, "chunked"))
    return fail(unknown_codings(value) ? 501 : 400, "bad-length", "Transfer-Encoding is not chunked");
  head.chunked = true;
  return Step::field;
}

KETTLINGAR_INLINE void HeadLines::connection_options(std::string_view list) {
  while (!list.empty()) {
    const std::size_t comma = (std::min)(list.find(','), list.size());
    const std::string_view word = trim(list.substr(0, comma));
    if (same_word(word, "close")) close_ = true;
    if (same_word(word, "keep-alive")) keep_alive_ = true;
    list.remove_prefix((std::min)(comma + 1, list.size()));
  }
}

KETTLINGAR_INLINE void HeadLines::publish(std::string_view in, MessageHead& head) const {
  head.fields = HeaderFields(block_.of(in));
  head.content_type = content_type_.of(in);
  head.longest_value = longest_;
  head.bare_lf = eol_ == Eol::lf;
  head.keep_alive = !close_ && !head.bare_lf && (head.version_minor == 1 || keep_alive_);
}

}  // namespace http

KETTLINGAR_INLINE HeaderField HeaderFields::iterator::operator*() const {
  std::string_view line = lines_.substr(0, lines_.find('\n'));
  if (line.ends_with('\r')) line.remove_suffix(1);
  const std::size_t colon = line.find(':');
  return {line.substr(0, colon), http::trim(line.substr(colon + 1))};
}

KETTLINGAR_INLINE HeaderFields::iterator& HeaderFields::iterator::operator++() {
  lines_.remove_prefix((std::min)(lines_.find('\n'), lines_.size() - 1) + 1);
  return *this;
}

KETTLINGAR_INLINE HeaderFields::iterator HeaderFields::iterator::operator++(int) {
  const iterator old = *this;
  ++*this;
  return old;
}

KETTLINGAR_INLINE std::optional<std::string_view> HeaderFields::find(std::string_view name) const {
  for (const HeaderField field : *this) {
    if (http::same_word(field.name, name)) return field.value;
  }
  return std::nullopt;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
