// SPDX-License-Identifier: MIT
// wire/json_text.ipp: values from and to JSON text, with bytes and big integers as Python peers write them.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/json.hpp"
#include "../base/version.hpp"
#include "codec.hpp"
#include "ext.hpp"
#include "text.ipp"

namespace kettlingar {
inline namespace v0_1 {

namespace detail {

/// Builds a value from the events of nlohmann's parser, whose own builder looks up every key of a map in linear time.
class JsonBuilder {
 public:
  /// For a text of `size` bytes, in which `integers` have been cut, see cut_integers. With `as_written`, maps that
  /// stand for bytes or ext values stay maps.
  JsonBuilder(std::size_t size, const std::vector<std::string_view>& integers, int depth, bool as_written)
      : size_(size), integers_(integers), depth_(depth), as_written_(as_written) {}

  /// Hand out the value, or null and the error.
  CodecError finish(json& out);
  bool fail(std::string_view why) {
    error_ = bad_body(why);
    return false;
  }

  bool null() { return put(json::value_t::null).is_null(); }
  bool boolean(bool value) { return put<bool>(json::value_t::boolean, value); }
  bool number_integer(std::int64_t value) { return put<std::int64_t>(json::value_t::number_integer, value); }
  bool number_unsigned(std::uint64_t value) { return put<std::uint64_t>(json::value_t::number_unsigned, value); }
  bool number_float(double value, const std::string& number);
  bool string(const std::string& value) { return put<std::string>(json::value_t::string, value); }
  bool binary(const json::binary_t&) { return fail("not JSON"); }
  bool start_object(std::size_t) { return start(json::value_t::object); }
  bool key(const std::string& name) {
    keys_.push_back(name);
    return true;
  }
  bool end_object();
  bool start_array(std::size_t) { return start(json::value_t::array); }
  bool end_array();
  bool parse_error(std::size_t position, const std::string& token, const nlohmann::detail::exception& error);

 private:
  json& put(json::value_t type) { return values_.emplace_back(type); }
  template <class T>
  bool put(json::value_t type, const T& value) {
    *put(type).template get_ptr<T*>() = value;
    return true;
  }
  bool start(json::value_t type);
  bool unwrap(std::string_view key, const json& value, json& slot);
  bool unwrap(const ExtType& type, const json& value, json& slot);
  void drop_duplicates(std::size_t count);

  std::size_t size_;
  const std::vector<std::string_view>& integers_;
  std::size_t next_integer_ = 0;
  int depth_;
  bool as_written_;
  std::vector<json> values_;         ///< a still empty list or map is followed by what will be moved into it
  std::vector<std::string> keys_;    ///< of those values that are in maps
  std::vector<std::size_t> starts_;  ///< places of the first values of the open lists and maps
  CodecError error_;
};

KETTLINGAR_INLINE bool JsonBuilder::number_float(double value, const std::string& number) {
  if (!is_integer(number)) return put<double>(json::value_t::number_float, value);
  std::string_view digits = number;
  const bool negative = digits.starts_with('-');
  if (digits.size() - negative == short_integer_digits && next_integer_ < integers_.size()) {
    digits = integers_[next_integer_++];
  }
  if (negative) digits.remove_prefix(1);
  if (digits.size() > big_integer_decimal_digits) return fail("an integer has too many digits");
  std::optional<json> integer = big_integer((negative ? "-" : "") + convert_digits(digits, 10, 16));
  if (!integer) return fail("an integer has too many digits");
  put(json::value_t::null) = *std::move(integer);
  return true;
}

KETTLINGAR_INLINE bool JsonBuilder::start(json::value_t type) {
  if (depth_ <= 0 || starts_.size() >= static_cast<std::size_t>(depth_)) {
    error_ = too_deep();
    return false;
  }
  put(type);
  starts_.push_back(values_.size());
  return true;
}

KETTLINGAR_INLINE bool JsonBuilder::end_array() {
  const std::size_t first = starts_.back();
  starts_.pop_back();
  auto& array = *values_[first - 1].get_ptr<json::array_t*>();
  array.reserve(values_.size() - first);
  for (std::size_t i = first; i < values_.size(); ++i) array.push_back(std::move(values_[i]));
  while (values_.size() > first) values_.pop_back();
  return true;
}

KETTLINGAR_INLINE bool JsonBuilder::end_object() {
  const std::size_t first = starts_.back();
  starts_.pop_back();
  const std::size_t first_key = keys_.size() - (values_.size() - first);
  const auto key_at = [&](std::size_t i) -> std::string_view { return keys_[first_key + i]; };
  if (!all_different(keys_.size() - first_key, key_at)) drop_duplicates(keys_.size() - first_key);
  const std::size_t count = values_.size() - first;
  json& slot = values_[first - 1];
  const bool may_stand = count == 1 && !as_written_;
  if (may_stand && (keys_.back() == "__base64__" || keys_.back() == "__bytes__")) {
    if (!unwrap(keys_.back(), values_.back(), slot)) return false;
  } else if (const ExtType* type = may_stand ? find_ext_type(keys_.back()) : nullptr) {
    if (!unwrap(*type, values_.back(), slot)) return false;
  } else {
    auto& object = *slot.get_ptr<json::object_t*>();
    object.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
      object.emplace_back(std::move(keys_[first_key + i]), std::move(values_[first + i]));
    }
  }
  for (; keys_.size() > first_key; keys_.pop_back()) values_.pop_back();
  return true;
}

KETTLINGAR_COLD bool JsonBuilder::unwrap(std::string_view key, const json& value, json& slot) {
  const auto* text = value.get_ptr<const std::string*>();
  if (text == nullptr) return fail("bytes in JSON are not a string");
  std::optional<Bytes> bytes = key == "__bytes__" ? Bytes(text->begin(), text->end()) : decode_base64(*text);
  if (!bytes) return fail("bytes in JSON are not base64");
  slot = json::binary(*std::move(bytes));
  return true;
}

KETTLINGAR_COLD bool JsonBuilder::unwrap(const ExtType& type, const json& value, json& slot) {
  try {
    slot = ext(type.code, type.from_json(value));
    return true;
  } catch (const std::bad_alloc&) {
    throw;
  } catch (...) {
    return fail("not the JSON form of an ext type");
  }
}

/// Among the last `count` keys and values, leave one per key: the last value at the place of the first.
KETTLINGAR_COLD void JsonBuilder::drop_duplicates(std::size_t count) {
  const std::size_t first_key = keys_.size() - count;
  const std::size_t first = values_.size() - count;
  const std::vector<std::size_t> order =
      key_order({keys_.begin() + static_cast<std::ptrdiff_t>(first_key), keys_.end()});
  std::vector<bool> dropped(count);
  for (std::size_t i = 1, head = order[0]; i < count; ++i) {
    if (keys_[first_key + order[i]] == keys_[first_key + head]) {
      std::swap(values_[first + head], values_[first + order[i]]);
      dropped[order[i]] = true;
    } else {
      head = order[i];
    }
  }
  std::size_t kept = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (dropped[i]) continue;
    std::swap(keys_[first_key + kept], keys_[first_key + i]);
    std::swap(values_[first + kept], values_[first + i]);
    ++kept;
  }
  for (; kept < count; ++kept, keys_.pop_back()) values_.pop_back();
}

KETTLINGAR_COLD bool JsonBuilder::parse_error(std::size_t position, const std::string&,
                                              const nlohmann::detail::exception& error) {
  constexpr int out_of_range = 406;
  const bool complete = !values_.empty() && starts_.empty();
  fail(complete ? "text after the JSON value" : position > size_ ? "JSON ends early" : "not JSON");
  if (error.id == out_of_range) fail("a number is too large");
  // What follows "last read" is the sender's text.
  const std::string_view words = error.what();
  if (words.substr(0, words.find("last read")).find("surrogate") != std::string_view::npos)
    fail("half a surrogate pair in a string");
  error_.offset = position > 0 ? position - 1 : 0;
  return false;
}

KETTLINGAR_INLINE CodecError JsonBuilder::finish(json& out) {
  out = error_ ? json() : std::move(values_.front());
  return error_;
}

inline void json_unit(Appender& out, std::uint32_t unit) {
  constexpr std::string_view digits = "0123456789abcdef";
  out.put("\\u");
  for (int shift = 12; shift >= 0; shift -= 4) out.put(digits[unit >> shift & 15]);
}

/// Writes one character as an escape: quotes, backslashes, control characters, and in ASCII styles all beyond ASCII.
inline void json_escape(Appender& out, std::string_view sequence) {
  constexpr std::string_view plain = "\"\\\b\f\n\r\t";
  constexpr std::string_view letters = "\"\\bfnrt";
  if (const std::size_t i = plain.find(sequence[0]); i != std::string_view::npos) {
    out.put('\\');
    out.put(letters[i]);
    return;
  }
  std::uint32_t code = static_cast<std::uint8_t>(sequence[0]);
  if (sequence.size() > 1) code &= 0x7FU >> sequence.size();
  for (const char c : sequence.substr(1)) code = code << 6 | (static_cast<std::uint8_t>(c) & 0x3FU);
  if (code >= 0x10000) {
    json_unit(out, 0xD800 + ((code - 0x10000) >> 10));
    code = 0xDC00 + ((code - 0x10000) & 0x3FF);
  }
  json_unit(out, code);
}

/// Bytes that need no escape in a JSON string. DEL needs none either, but Python escapes it.
inline constexpr auto json_plain = [] {
  std::array<bool, 256> plain{};
  for (std::size_t c = 0x20; c < 0x7F; ++c) plain[c] = c != '"' && c != '\\';
  return plain;
}();

inline void json_string(Appender& out, std::string_view text, JsonStyle style) {
  const char* const end = text.data() + text.size();
  out.put('"');
  for (const char* at = text.data(); at != end;) {
    const char* const from = at;
    while (at != end && json_plain[static_cast<std::uint8_t>(*at)]) ++at;
    out.put({from, static_cast<std::size_t>(at - from)});
    if (at == end) break;
    const Utf8Step step = utf8_step(at, end);
    const std::string_view sequence = step.valid ? std::string_view(at, step.size) : replacement_character;
    if (style == JsonStyle::compact && sequence.size() > 1) {
      out.put(sequence);
    } else {
      json_escape(out, sequence);
    }
    at += step.size;
  }
  out.put('"');
}

template <class Number, class... Format>
void json_number(Appender& out, Number number, Format... format) {
  constexpr std::size_t longest = 32;
  char* const at = out.room(longest);
  out.wrote(std::to_chars(at, at + longest, number, format...).ptr);
}

/// As Python's repr() does: plain digits from 1e-4 to below 1e16, and always with a dot or an exponent.
inline void json_float(Appender& out, double number, JsonStyle style) {
  const double size = std::fabs(number);
  if (!std::isfinite(number)) {
    out.put(style != JsonStyle::reading ? "null" : std::isnan(number) ? "nan" : number > 0 ? "inf" : "-inf");
  } else if (size != 0 && (size < 1e-4 || size >= 1e16)) {
    json_number(out, number, std::chars_format::scientific);
  } else {
    json_number(out, number, std::chars_format::fixed);
    if (std::trunc(number) == number) out.put(".0");
  }
}

/// Writes a result of big_integer().
inline void json_big_integer(Appender& out, const json& integer) {
  if (integer.is_number_unsigned()) return json_number(out, *integer.get_ptr<const std::uint64_t*>());
  if (integer.is_number_integer()) return json_number(out, *integer.get_ptr<const std::int64_t*>());
  std::string_view hex = chars(*integer.get_ptr<const json::binary_t*>());
  if (hex.starts_with('-')) {
    out.put('-');
    hex.remove_prefix(1);
  }
  out.put(convert_digits(hex, 16, 10));
}

inline void json_separator(Appender& out, char separator, JsonStyle style) {
  out.put(separator);
  if (style != JsonStyle::compact) out.put(' ');
}

template <class Json>
bool write_json(Appender& out, const Json& value, JsonStyle style, int depth);

inline bool json_ext(Appender& out, const ExtType& type, std::string_view content, JsonStyle style, int depth) {
  json map = json::object();
  try {
    map[type.json_key] = type.to_json(content);
  } catch (const std::bad_alloc&) {
    throw;
  } catch (...) {
    return out.fail({"bad-body", "an ext value that its type cannot write as JSON", 0});
  }
  return write_json(out, map, style, depth);
}

inline bool json_binary(Appender& out, const json::binary_t& binary, JsonStyle style, int depth) {
  const std::string_view bytes = chars(binary);
  const bool is_ext = binary.has_subtype();
  if (is_ext && binary.subtype() == big_integer_ext) {
    if (const std::optional<json> integer = big_integer(bytes)) {
      json_big_integer(out, *integer);
      return true;
    }
  }
  if (is_ext && binary.subtype() > 0xFF) return out.fail(bad_ext_code());
  if (const ExtType* type = is_ext ? find_ext_type(binary.subtype()) : nullptr)
    return json_ext(out, *type, bytes, style, depth);
  if (depth <= (is_ext ? 1 : 0)) return out.fail(too_deep());
  const bool as_text = !is_ext && style >= JsonStyle::terminal && is_utf8(bytes);
  out.put(is_ext ? "{\"__ext__\"" : as_text ? "{\"__bytes__\"" : "{\"__base64__\"");
  json_separator(out, ':', style);
  if (is_ext) {
    out.put('[');
    json_number(out, static_cast<std::int8_t>(binary.subtype()) + 0);
    json_separator(out, ',', style);
  }
  if (as_text) {
    json_string(out, bytes, style);
  } else {
    std::string base64 = "\"";
    append_base64(base64, bytes);
    out.put(base64.append("\""));
  }
  out.put(is_ext ? "]}" : "}");
  return true;
}

template <class Json>
bool write_json(Appender& out, const Json& value, JsonStyle style, int depth) {
  if (const auto* text = value.template get_ptr<const typename Json::string_t*>()) {
    json_string(out, *text, style);
  } else if (const auto* n = value.template get_ptr<const typename Json::number_unsigned_t*>()) {
    json_number(out, *n);
  } else if (const auto* i = value.template get_ptr<const typename Json::number_integer_t*>()) {
    json_number(out, *i);
  } else if (const auto* map = value.template get_ptr<const typename Json::object_t*>()) {
    if (depth <= 0) return out.fail(too_deep());
    bool first = true;
    out.put('{');
    for (const auto& [name, item] : *map) {
      if (!std::exchange(first, false)) json_separator(out, ',', style);
      json_string(out, name, style);
      json_separator(out, ':', style);
      if (!write_json(out, item, style, depth - 1)) return false;
    }
    out.put('}');
  } else if (const auto* list = value.template get_ptr<const typename Json::array_t*>()) {
    if (depth <= 0) return out.fail(too_deep());
    bool first = true;
    out.put('[');
    for (const Json& item : *list) {
      if (!std::exchange(first, false)) json_separator(out, ',', style);
      if (!write_json(out, item, style, depth - 1)) return false;
    }
    out.put(']');
  } else if (const auto* flag = value.template get_ptr<const typename Json::boolean_t*>()) {
    out.put(*flag ? "true" : "false");
  } else if (const auto* real = value.template get_ptr<const typename Json::number_float_t*>()) {
    json_float(out, *real, style);
  } else if (const auto* bytes = value.template get_ptr<const typename Json::binary_t*>()) {
    return json_binary(out, *bytes, style, depth);
  } else if (value.is_null()) {
    out.put("null");
  } else {
    return out.fail(discarded_value());
  }
  return true;
}

/// As decode_json(); with `as_written`, `{"__base64__": "..."}` and the like stay maps, whatever is in them.
CodecError decode_json_text(std::string_view text, json& out, int depth, bool as_written);
KETTLINGAR_INLINE CodecError decode_json_text(std::string_view text, json& out, int depth, bool as_written) {
  std::string cut;
  std::vector<std::string_view> integers;
  if (has_long_integers(text)) text = cut = cut_integers(text, integers);
  JsonBuilder builder(text.size(), integers, depth, as_written);
  // nlohmann's lexer skips a byte order mark and takes NUL for the end of the text, whatever follows.
  if (text.starts_with("\xEF\xBB\xBF")) {
    builder.fail("JSON starts with a byte order mark");
  } else if (text.find('\0') != std::string_view::npos) {
    builder.fail("not JSON");
  } else {
    // Not through json::sax_parse, which would compile the readers of four binary formats into every user's program.
    auto input = nlohmann::detail::input_adapter(text.data(), text.data() + text.size());
    nlohmann::detail::parser<json, decltype(input)>(std::move(input)).sax_parse(&builder);
  }
  return builder.finish(out);
}

}  // namespace detail

KETTLINGAR_INLINE CodecError decode_json(std::string_view text, json& out, int depth) {
  return detail::decode_json_text(text, out, depth, false);
}

template <class Json>
CodecError encode_json(const Json& value, std::string& out, JsonStyle style, int depth) {
  detail::Appender appender(out);
  detail::write_json(appender, value, style, depth);
  return appender.finish();
}

// In split mode, for the files that have the declarations only.
#if defined(KETTLINGAR_SPLIT) && defined(KETTLINGAR_IMPLEMENTATION)
template CodecError encode_json(const json&, std::string&, JsonStyle, int);
template CodecError encode_json(const nlohmann::json&, std::string&, JsonStyle, int);
#endif

}  // namespace v0_1
}  // namespace kettlingar
