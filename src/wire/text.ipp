// SPDX-License-Identifier: MIT
// wire/text.ipp: what the codecs share: UTF-8, base64, big integers, keys that occur twice, output.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/json.hpp"
#include "../base/version.hpp"
#include "codec.hpp"

namespace kettlingar {
inline namespace v0_1 {

namespace detail {

inline constexpr std::string_view replacement_character = "\xEF\xBF\xBD";

/// Integers beyond 64 bit are bounded, because their conversion to decimal and back is quadratic.
inline constexpr std::size_t big_integer_hex_digits = 1024;
inline constexpr std::size_t big_integer_decimal_digits = 1234;  ///< what 1024 hex digits can become

inline CodecError bad_body(std::string_view why) { return {"bad-body", why}; }
inline CodecError bad_ext_code() { return bad_body("a binary's subtype is no MessagePack ext code"); }
inline CodecError discarded_value() { return bad_body("a discarded value cannot be sent"); }
inline CodecError too_deep() { return {"depth", "nested too deeply"}; }

inline std::string_view chars(const Bytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// The integer that hex digits with optional `-` and `0x` stand for: native if 64 bit are enough, else binary with
/// subtype 1 and normal digits: lower case, no prefix, no leading zeros. std::nullopt if not 1 to 1024 hex digits.
[[nodiscard]] std::optional<json> big_integer(std::string_view hex);

/// Digits of an integer in another radix, 10 or 16; `digits` must be valid, without sign, not empty.
[[nodiscard]] std::string convert_digits(std::string_view digits, int from, int to);

/// nlohmann's JSON parser refuses integers from 1.8e308 on: longer ones are cut to so many digits before it sees them.
inline constexpr std::size_t short_integer_digits = 300;

/// True if `number` is digits only, perhaps behind a `-`.
inline bool is_integer(std::string_view number) {
  return number.find_first_not_of("0123456789", number.starts_with('-') ? 1 : 0) == std::string_view::npos;
}

/// True if `text` has more than `short_integer_digits` digits in a row. Looks at few of its bytes.
[[nodiscard]] bool has_long_integers(std::string_view text);

/// JSON `text` with its integers cut to `short_integer_digits` digits. `integers` gets, in order, the whole text of
/// those that have so many digits now.
[[nodiscard]] std::string cut_integers(std::string_view text, std::vector<std::string_view>& integers);

/// Places of `keys` in ascending order of key, then of place.
[[nodiscard]] std::vector<std::size_t> key_order(const std::vector<std::string_view>& keys);

/// True if all keys are different. Linear, and never worse than n log n even if somebody has prepared hash collisions.
[[nodiscard]] bool all_different(const std::vector<std::string_view>& keys);

/// True if the keys `key_at(0)` to `key_at(count - 1)` are all different. Few keys, the common case, cost no
/// allocation.
template <class KeyAt>
[[nodiscard]] bool all_different(std::size_t count, KeyAt key_at) {
  if (count > 16) {
    std::vector<std::string_view> keys;
    keys.reserve(count);
    for (std::size_t i = 0; i < count; ++i) keys.push_back(key_at(i));
    return all_different(keys);
  }
  for (std::size_t i = 1; i < count; ++i) {
    const std::string_view key = key_at(i);
    for (std::size_t k = 0; k < i; ++k) {
      if (key == key_at(k)) return false;
    }
  }
  return true;
}

/// Appends to a string through a pointer, which is several times faster than `push_back`. The string must not be
/// used by others meanwhile. The string gets its old size back if finish() finds an error or is not called.
class Appender {
 public:
  explicit Appender(std::string& text) : text_(text), start_(text.size()) { grow(0); }
  ~Appender() { text_.resize(kept_ ? used() : start_); }
  Appender(const Appender&) = delete;
  Appender& operator=(const Appender&) = delete;

  /// At least `size` bytes to write to; tell `wrote` where the writing ended.
  char* room(std::size_t size) {
    if (static_cast<std::size_t>(end_ - at_) < size) grow(size);
    return at_;
  }
  void wrote(char* end) { at_ = end; }

  void put(char byte) {
    if (at_ == end_) grow(1);
    *at_++ = byte;
  }
  void put(std::string_view bytes) { at_ = std::copy_n(bytes.data(), bytes.size(), room(bytes.size())); }

  bool fail(const CodecError& error) {
    error_ = error;
    return false;
  }
  CodecError finish() {
    kept_ = !error_;
    return error_;
  }

 private:
  std::size_t used() const { return static_cast<std::size_t>(at_ - text_.data()); }
  void grow(std::size_t size) {
    // resize() writes zeros. Growing to twice the size keeps them fewer than the bytes that are needed.
    const std::size_t old = used();
    text_.resize(old + (std::max)({size, old - start_, std::size_t{128}}));
    at_ = text_.data() + old;
    end_ = text_.data() + text_.size();
  }

  std::string& text_;
  std::size_t start_;
  char* at_ = text_.data() + start_;
  char* end_ = at_;
  bool kept_ = false;
  CodecError error_;
};

inline std::uint64_t load_big_endian(const char* at, std::size_t width) {
  std::uint64_t value = 0;
  std::memcpy(&value, at, width);
  if constexpr (std::endian::native == std::endian::little) value = __builtin_bswap64(value);
  return value >> (64 - 8 * width);
}

inline char* store_big_endian(char* at, std::uint64_t value, std::size_t width) {
  value <<= 64 - 8 * width;
  if constexpr (std::endian::native == std::endian::little) value = __builtin_bswap64(value);
  std::memcpy(at, &value, width);
  return at + width;
}

inline char* store_tagged(char* at, std::uint8_t tag, std::uint64_t value, std::size_t width) {
  *at = static_cast<char>(tag);
  return store_big_endian(at + 1, value, width);
}

/// One step through UTF-8: the size of the sequence at `at`, or of the malformed part that one U+FFFD replaces.
struct Utf8Step {
  std::size_t size;
  bool valid;
};

inline Utf8Step utf8_step(const char* at, const char* end) {
  const auto byte = [&](std::ptrdiff_t i) { return static_cast<std::uint8_t>(at[i]); };
  const std::uint8_t lead = byte(0);
  if (lead < 0x80) return {1, true};
  if (lead < 0xC2 || lead > 0xF4) return {1, false};
  const std::ptrdiff_t size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  // The second byte decides about overlong forms, surrogates and the end of Unicode.
  const std::uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const std::uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (end - at < 2 || byte(1) < low || byte(1) > high) return {1, false};
  for (std::ptrdiff_t i = 2; i < size; ++i) {
    if (end - at <= i || (byte(i) & 0xC0) != 0x80) return {static_cast<std::size_t>(i), false};
  }
  return {static_cast<std::size_t>(size), true};
}

/// The first byte that is not ASCII, or `end`.
inline const char* skip_ascii(const char* at, const char* end) {
  for (; end - at >= 8; at += 8) {
    std::uint64_t word;
    std::memcpy(&word, at, sizeof word);
    if ((word & 0x8080808080808080) != 0) break;
  }
  while (at != end && static_cast<std::uint8_t>(*at) < 0x80) ++at;
  return at;
}

inline std::vector<std::size_t> key_order(const std::vector<std::string_view>& keys) {
  std::vector<std::size_t> order(keys.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const int difference = keys[a].compare(keys[b]);
    return difference != 0 ? difference < 0 : a < b;
  });
  return order;
}

inline bool all_different(const std::vector<std::string_view>& keys) {
  std::vector<std::size_t> places(std::bit_ceil(2 * keys.size() + 1));  // open addressing; 0 is free
  const std::size_t mask = places.size() - 1;
  std::size_t patience = 8 * keys.size();
  for (std::size_t i = 0; i < keys.size(); ++i) {
    std::size_t slot = std::hash<std::string_view>{}(keys[i]) & mask;
    for (; places[slot] != 0; slot = (slot + 1) & mask) {
      if (keys[places[slot] - 1] == keys[i]) return false;
      if (patience == 0) {
        const std::vector<std::size_t> order = key_order(keys);
        const auto same = [&](std::size_t a, std::size_t b) { return keys[a] == keys[b]; };
        return std::adjacent_find(order.begin(), order.end(), same) == order.end();
      }
      --patience;
    }
    places[slot] = i + 1;
  }
  return true;
}

inline std::optional<json> big_integer(std::string_view hex) {
  const bool negative = hex.starts_with('-');
  if (negative) hex.remove_prefix(1);
  if (hex.starts_with("0x") || hex.starts_with("0X")) hex.remove_prefix(2);
  if (hex.empty() || hex.size() > big_integer_hex_digits) return std::nullopt;
  Bytes digits;
  digits.reserve(hex.size() + 1);
  if (negative) digits.push_back('-');
  const std::size_t sign = digits.size();
  for (const char c : hex) {
    const char lower = c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c;
    if (!(lower >= '0' && lower <= '9') && !(lower >= 'a' && lower <= 'f')) return std::nullopt;
    if (lower != '0' || digits.size() > sign) digits.push_back(static_cast<std::uint8_t>(lower));
  }
  if (digits.size() - sign <= 16) {
    std::uint64_t size = 0;  // stays 0 for a text of zeros
    const std::string_view text = chars(digits).substr(sign);
    std::from_chars(text.data(), text.data() + text.size(), size, 16);
    constexpr std::uint64_t lowest = std::uint64_t{1} << 63;
    if (!negative || size == 0) return std::optional<json>(std::in_place, size);
    if (size <= lowest) return std::optional<json>(std::in_place, static_cast<std::int64_t>(0 - size));
  }
  return std::optional<json>(std::in_place, json::binary(std::move(digits), big_integer_ext));
}

inline std::string convert_digits(std::string_view digits, int from, int to) {
  // Limbs of nine decimal or eight hex digits, the least one first.
  const std::size_t take = from == 10 ? 9 : 8;
  const std::size_t give = to == 10 ? 9 : 8;
  const std::uint64_t base = to == 10 ? 1'000'000'000 : std::uint64_t{1} << 32;
  const std::uint64_t factor = from == 10 ? 1'000'000'000 : std::uint64_t{1} << 32;
  const std::uint32_t radix = to == 10 ? 10 : 16;
  std::vector<std::uint32_t> limbs;
  for (std::size_t at = 0, size = (digits.size() - 1) % take + 1; at < digits.size(); at += size, size = take) {
    std::uint64_t carry = 0;
    std::from_chars(digits.data() + at, digits.data() + at + size, carry, from);
    for (std::uint32_t& limb : limbs) {
      carry += limb * factor;
      limb = static_cast<std::uint32_t>(carry % base);
      carry /= base;
    }
    for (; carry != 0; carry /= base) limbs.push_back(static_cast<std::uint32_t>(carry % base));
  }
  std::string out;
  for (std::uint32_t limb : limbs) {
    for (std::size_t i = 0; i < give; ++i, limb /= radix) out += "0123456789abcdef"[limb % radix];
  }
  out.erase(out.find_last_not_of('0') + 1);  // npos + 1 is 0
  std::reverse(out.begin(), out.end());
  return out.empty() ? "0" : out;
}

inline bool has_long_integers(std::string_view text) {
  constexpr std::string_view digits = "0123456789";
  for (std::size_t i = short_integer_digits; i < text.size(); i += short_integer_digits) {
    const std::size_t from = text.find_last_not_of(digits, i) + 1;  // npos + 1 is 0
    const std::size_t to = (std::min)(text.find_first_not_of(digits, i), text.size());
    if (to > from + short_integer_digits) return true;
  }
  return false;
}

inline std::string cut_integers(std::string_view text, std::vector<std::string_view>& integers) {
  std::string out;
  bool quoted = false;
  for (std::size_t i = 0, size = 1; i < text.size(); i += size) {
    const char c = text[i];
    if (c == '"') quoted = !quoted;
    size = quoted && c == '\\' ? 2 : 1;
    if (!quoted && (c == '-' || (c >= '0' && c <= '9'))) size = text.find_first_not_of("0123456789+-.eE", i) - i;
    std::string_view token = text.substr(i, size);
    size = token.size();
    const std::size_t longest = short_integer_digits + (c == '-' ? 1 : 0);
    if (size >= longest && is_integer(token)) {
      integers.push_back(token);
      token = token.substr(0, longest);
    }
    out += token;
  }
  return out;
}

inline constexpr std::string_view base64_digits(Base64 form) {
  return form == Base64::standard ? "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
                                  : "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
}

/// Value of every byte as base64 digit, 64 if it is none.
inline constexpr std::array<std::uint8_t, 256> base64_values(Base64 form) {
  std::array<std::uint8_t, 256> values{};
  for (std::uint8_t& value : values) value = 64;
  for (std::uint8_t i = 0; i < 64; ++i) values[static_cast<std::uint8_t>(base64_digits(form)[i])] = i;
  return values;
}

inline constexpr std::array base64_tables{base64_values(Base64::standard), base64_values(Base64::url)};

}  // namespace detail

KETTLINGAR_INLINE bool is_utf8(std::string_view text) {
  const char* const end = text.data() + text.size();
  for (const char* at = detail::skip_ascii(text.data(), end); at != end; at = detail::skip_ascii(at, end)) {
    const detail::Utf8Step step = detail::utf8_step(at, end);
    if (!step.valid) return false;
    at += step.size;
  }
  return true;
}

KETTLINGAR_INLINE void append_utf8(std::string& out, std::string_view text) {
  const char* const end = text.data() + text.size();
  const char* good = text.data();  // not yet appended, but valid
  for (const char* at = detail::skip_ascii(good, end); at != end; at = detail::skip_ascii(at, end)) {
    const detail::Utf8Step step = detail::utf8_step(at, end);
    if (!step.valid) {
      out.append(good, at).append(detail::replacement_character);
      good = at + step.size;
    }
    at += step.size;
  }
  out.append(good, end);
}

KETTLINGAR_INLINE void append_base64(std::string& out, std::string_view bytes, Base64 form) {
  const std::string_view digits = detail::base64_digits(form);
  out.reserve(out.size() + (bytes.size() + 2) / 3 * 4);
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    const std::size_t count = (std::min)(std::size_t{3}, bytes.size() - at);
    std::uint32_t bits = 0;
    for (std::size_t i = 0; i < 3; ++i) bits = bits << 8 | (i < count ? static_cast<std::uint8_t>(bytes[at + i]) : 0U);
    for (std::size_t i = 0; i <= count; ++i) out += digits[bits >> (18 - 6 * i) & 63];
    if (form == Base64::standard) out.append(3 - count, '=');
  }
}

KETTLINGAR_INLINE std::optional<Bytes> decode_base64(std::string_view text, Base64 form) {
  const bool padded = form == Base64::standard;
  const auto& values = detail::base64_tables[padded ? 0 : 1];
  if (padded && text.size() % 4 != 0) return std::nullopt;
  for (int i = 0; padded && i < 2 && text.ends_with('='); ++i) text.remove_suffix(1);
  Bytes bytes;
  bytes.reserve(text.size() / 4 * 3 + 2);
  std::uint32_t bits = 0;
  int held = 0;  // bits not yet written, always fewer than eight
  for (const char c : text) {
    const std::uint8_t value = values[static_cast<std::uint8_t>(c)];
    if (value == 64) return std::nullopt;
    bits = bits << 6 | value;
    held += 6;
    if (held < 8) continue;
    held -= 8;
    bytes.push_back(static_cast<std::uint8_t>(bits >> held & 0xFF));
  }
  if (held == 6 || (bits & ((1U << held) - 1)) != 0) return std::nullopt;
  return bytes;
}

}  // namespace v0_1
}  // namespace kettlingar
