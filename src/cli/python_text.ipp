// SPDX-License-Identifier: MIT
// cli/python_text.ipp: values as Python writes them: str(), repr() and ascii(), and numbers in the forms of its `%`.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "../base/json.hpp"
#include "../base/version.hpp"
#include "../wire/number_text.ipp"
#include "../wire/text.ipp"
#include "terminal.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Text of at most so many characters; what would come behind those is not made.
class BoundedText {
 public:
  explicit BoundedText(std::size_t most) : most_(most) {}
  void add(std::string_view text);
  bool full() const noexcept { return characters_ == most_; }
  std::size_t characters() const noexcept { return characters_; }
  std::string take() { return std::move(text_); }

  std::size_t effort = 0;  ///< about how many bytes had to be looked at that are not shown

 private:
  std::size_t most_;
  std::size_t characters_ = 0;
  std::string text_;
};

/// What Python's repr() makes of a value; with `ascii` its ascii(), other characters escaped.
void add_repr(BoundedText& out, const json& value, bool ascii);

/// Has more than 64 bits.
inline bool is_big_integer(const json& value) {
  return value.is_binary() && value.get_binary().has_subtype() && value.get_binary().subtype() == big_integer_ext;
}
/// What its conversion costs, in such bytes.
inline std::size_t big_integer_effort(const json& value) {
  return is_big_integer(value) ? value.get_binary().size() * 16 : 0;
}

/// The digits of a whole number, without its sign.
struct PythonInteger {
  bool negative;
  std::string digits;
};

/// `value` in base 8, 10 or 16; nothing if it is no integer, as 1.0 and text are not. True and False are 1 and 0.
std::optional<PythonInteger> python_integer(const json& value, int base);

/// `value` as a float; nothing if it is no number, or an integer that is too large for that.
std::optional<double> python_float(const json& value);

/// `number` as Python's `%` writes it for the conversions e, f and g, in lower case. With `keep_point` the flag `#`: a
/// decimal point always, and zeros behind it.
std::string float_digits(double number, char conversion, std::size_t precision, bool keep_point);

KETTLINGAR_COLD void BoundedText::add(std::string_view text) {
  const char* const end = text.data() + text.size();
  const char* at = text.data();
  for (; at != end && !full(); ++characters_) at += utf8_step(at, end).size;
  text_.append(text.data(), at);
}

inline std::string utf8_of(std::uint32_t code) {
  if (code < 0x80) return {static_cast<char>(code)};
  std::string out;
  const int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  out += static_cast<char>((0xF0 << (3 - more) & 0xFF) | static_cast<int>(code >> (6 * more)));
  for (int i = more; i-- > 0;) out += static_cast<char>(0x80 | (code >> (6 * i) & 0x3F));
  return out;
}

/// What repr() shows as it is: neither control and format characters nor blanks other than the usual one, nor what is
/// for private use. Those that no version of Unicode knows yet count as known.
inline bool is_printable(std::uint32_t code) {
  static constexpr std::pair<std::uint32_t, std::uint32_t> hidden[] = {
      {0x00, 0x1F},       {0x7F, 0xA0},       {0xAD, 0xAD},       {0x600, 0x605},     {0x61C, 0x61C},
      {0x6DD, 0x6DD},     {0x70F, 0x70F},     {0x890, 0x891},     {0x8E2, 0x8E2},     {0x1680, 0x1680},
      {0x180E, 0x180E},   {0x2000, 0x200F},   {0x2028, 0x202F},   {0x205F, 0x206F},   {0x3000, 0x3000},
      {0xD800, 0xF8FF},   {0xFDD0, 0xFDEF},   {0xFEFF, 0xFEFF},   {0xFFF0, 0xFFFB},   {0x110BD, 0x110BD},
      {0x110CD, 0x110CD}, {0x13430, 0x1343F}, {0x1BCA0, 0x1BCA3}, {0x1D173, 0x1D17A}, {0x40000, 0xE00FF},
      {0xE01F0, 0x10FFFF}};
  if ((code & 0xFFFE) == 0xFFFE) return false;
  return std::none_of(std::begin(hidden), std::end(hidden),
                      [code](const auto& range) { return code >= range.first && code <= range.second; });
}

/// `\xe9`, `\u20ac`, `\U0001f408`
inline std::string escaped(std::uint32_t code) {
  const std::size_t digits = code < 0x100 ? 2 : code < 0x10000 ? 4 : 8;
  std::string out(digits, '0');
  for (std::size_t i = digits; i > 0; code >>= 4) out[--i] = "0123456789abcdef"[code & 15];
  return (digits == 2 ? "\\x" : digits == 4 ? "\\u" : "\\U") + out;
}

/// A string literal; `prefix` is `b` for bytes.
inline void add_quoted(BoundedText& out, std::string_view text, bool bytes, bool ascii) {
  const bool double_quotes = text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  const char quote = double_quotes ? '"' : '\'';
  out.effort += text.size();
  if (bytes) out.add("b");
  out.add({&quote, 1});
  const char* const end = text.data() + text.size();
  for (const char* at = text.data(); at != end && !out.full();) {
    const Utf8Step step = bytes ? Utf8Step{1, true} : utf8_step(at, end);
    const std::string_view character(at, step.size);
    const std::uint32_t code = step.valid ? code_point(character) : 0xFFFD;
    at += step.size;
    if (code == '\\' || code == static_cast<unsigned char>(quote)) {
      out.add("\\");
      out.add(character);
    } else if (code == '\t' || code == '\n' || code == '\r') {
      out.add(code == '\t' ? "\\t" : code == '\n' ? "\\n" : "\\r");
    } else if ((code >= 0x80 && (bytes || ascii)) || !is_printable(code)) {
      out.add(escaped(code));
    } else {
      out.add(character);
    }
  }
  out.add({&quote, 1});
}

/// The shortest digits that mean this number, in Python's form.
inline std::string float_repr(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
  std::array<char, 64> text{};
  const auto shortest = std::to_chars(text.data(), text.data() + text.size(), number, std::chars_format::scientific);
  const std::string scientific(text.data(), shortest.ptr);
  const int exponent = std::stoi(scientific.substr(scientific.find('e') + 1));
  if (exponent < -4 || exponent >= 16) return scientific;
  const auto fixed = std::to_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  std::string out(text.data(), fixed.ptr);
  return out.find('.') == std::string::npos ? out + ".0" : out;
}

KETTLINGAR_COLD void add_repr(BoundedText& out, const json& value, bool ascii) {
  if (out.full()) return;
  out.effort += big_integer_effort(value);
  if (const auto integer = value.is_boolean() ? std::nullopt : python_integer(value, 10)) {
    return out.add((integer->negative ? "-" : "") + integer->digits);
  }
  if (value.is_number_float()) return out.add(float_repr(value.get<double>()));
  if (value.is_null()) return out.add("None");
  if (value.is_boolean()) return out.add(value.get<bool>() ? "True" : "False");
  if (value.is_string()) return add_quoted(out, value.get_ref<const std::string&>(), false, ascii);
  if (value.is_binary()) {
    const auto& binary = value.get_binary();
    if (!binary.has_subtype()) return add_quoted(out, chars(binary), true, ascii);
    // As the msgpack package has it.
    out.add("ExtType(code=" + std::to_string(static_cast<std::int8_t>(binary.subtype())) + ", data=");
    add_quoted(out, chars(binary), true, ascii);
    return out.add(")");
  }
  out.add(value.is_array() ? "[" : "{");
  bool first = true;
  for (const auto& [key, item] : value.items()) {
    if (out.full()) return;
    if (!std::exchange(first, false)) out.add(", ");
    if (value.is_object()) {
      add_quoted(out, key, false, ascii);
      out.add(": ");
    }
    add_repr(out, item, ascii);
  }
  out.add(value.is_array() ? "]" : "}");
}

KETTLINGAR_COLD std::optional<PythonInteger> python_integer(const json& value, int base) {
  const bool big = is_big_integer(value);
  if (!big && !value.is_number_integer() && !value.is_boolean()) return std::nullopt;
  PythonInteger integer{false, {}};
  if (big) {
    std::string_view hex = chars(value.get_binary());
    integer.negative = hex.starts_with('-');
    if (integer.negative) hex.remove_prefix(1);
    integer.digits = hex;
  } else {
    integer.negative = !value.is_boolean() && !value.is_number_unsigned() && value.get<std::int64_t>() < 0;
    const std::uint64_t bits = value.is_boolean()           ? (value.get<bool>() ? 1 : 0)
                               : value.is_number_unsigned() ? value.get<std::uint64_t>()
                                                            : static_cast<std::uint64_t>(value.get<std::int64_t>());
    std::array<char, 32> text{};
    const auto end = std::to_chars(text.data(), text.data() + text.size(), integer.negative ? ~bits + 1 : bits, 16).ptr;
    integer.digits.assign(text.data(), end);
  }
  if (base == 10) integer.digits = convert_digits(integer.digits, 16, 10);
  if (base == 8) {
    std::string bits;
    for (const char c : integer.digits) {
      const int digit = c <= '9' ? c - '0' : c - 'a' + 10;
      for (int bit = 3; bit >= 0; --bit) bits += static_cast<char>('0' + (digit >> bit & 1));
    }
    while (bits.size() % 3 != 0) bits.insert(0, 1, '0');
    integer.digits.clear();
    for (std::size_t i = 0; i < bits.size(); i += 3)
      integer.digits += static_cast<char>('0' + (bits[i] - '0') * 4 + (bits[i + 1] - '0') * 2 + (bits[i + 2] - '0'));
    integer.digits.erase(0, (std::min)(integer.digits.find_first_not_of('0'), integer.digits.size() - 1));
  }
  return integer;
}

KETTLINGAR_COLD std::optional<double> python_float(const json& value) {
  if (value.is_number()) return value.get<double>();
  const auto integer = python_integer(value, 10);
  if (!integer) return std::nullopt;
  double number = 0;
  if (!read_double(integer->digits, 10, number)) return std::nullopt;
  return integer->negative ? -number : number;
}

/// A double has no more than some 1,080 digits that are not 0, wherever its point is.
inline constexpr std::size_t most_digits = 1100;

/// `precision` digits behind the point, or behind the first digit.
inline std::string digits_of(double number, std::chars_format form, std::size_t precision) {
  std::array<char, 2 * most_digits> text{};
  const std::size_t exact = (std::min)(precision, most_digits);
  const auto end = std::to_chars(text.data(), text.data() + text.size(), number, form, static_cast<int>(exact)).ptr;
  std::string out(text.data(), end);
  const std::size_t exponent = form == std::chars_format::scientific ? out.find('e') : out.size();
  out.insert(exponent, precision - exact, '0');
  return out;
}

KETTLINGAR_COLD std::string float_digits(double number, char conversion, std::size_t precision, bool keep_point) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
  auto form = conversion == 'e' ? std::chars_format::scientific : std::chars_format::fixed;
  if (conversion == 'g') {
    if (!keep_point) precision = (std::min<std::size_t>)(precision, most_digits);  // others are 0, and left out
    precision = (std::max<std::size_t>)(precision, 1) - 1;                         // those behind the first
    const std::string scientific = digits_of(number, std::chars_format::scientific, precision);
    const long exponent = std::stol(scientific.substr(scientific.find('e') + 1));
    if (exponent < -4 || exponent > static_cast<long>(precision)) {
      form = std::chars_format::scientific;
    } else {
      precision = static_cast<std::size_t>(static_cast<long>(precision) - exponent);
    }
  }
  std::string out = digits_of(number, form, precision);
  const std::size_t exponent = (std::min)(out.find('e'), out.size());
  const bool has_point = out.find('.') != std::string::npos;
  if (keep_point && !has_point) out.insert(exponent, 1, '.');
  if (conversion == 'g' && !keep_point && has_point) {
    const std::size_t last = out.find_last_not_of('0', exponent - 1);
    const std::size_t cut = out[last] == '.' ? last : last + 1;
    out.erase(cut, exponent - cut);
  }
  return out;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
