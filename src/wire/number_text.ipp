// SPDX-License-Identifier: MIT
// wire/number_text.ipp: numbers as people type them, in arguments and configuration files.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <string>
#include <string_view>
#include <system_error>
#if !defined(__cpp_lib_to_chars)
#include <locale.h>  // NOLINT: not <clocale>, which has no newlocale()
#if defined(__APPLE__)
#include <xlocale.h>
#endif
#endif

#include "../base/version.hpp"
#include "http_fields.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// The same for every type of number: without blanks around it, and without each `_` between two digits.
std::string bare_number(std::string_view text);

enum class NumberText { none, fits, too_large };

/// `[+-](0x|0o|0b)?digits` as sign and magnitude.
NumberText parse_integer(const std::string& bare, bool& negative, std::uint64_t& magnitude);

/// The double nearest to a number in a form that has been checked, whatever the locale; in base 16 without prefix.
/// False if it is too large or, but for 0, too small.
bool read_double(std::string_view text, int base, double& number);

/// `[+-]digits[.digits][e[+-]digits]`, `inf`, `infinity` or `nan` as the nearest double; what is too small is 0.
/// Whatever the locale.
NumberText parse_double(const std::string& bare, double& number);

KETTLINGAR_COLD std::string bare_number(std::string_view text) {
  constexpr std::string_view blanks = " \t\n\v\f\r";
  const std::size_t first = text.find_first_not_of(blanks);
  if (first == std::string_view::npos) return {};
  text = text.substr(first, text.find_last_not_of(blanks) - first + 1);
  const auto is_hex = [&](std::size_t i) { return i < text.size() && http::hex_value(text[i]) >= 0; };
  std::string bare;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_' || i == 0 || !is_hex(i - 1) || !is_hex(i + 1)) bare += text[i];
  }
  return bare;
}

KETTLINGAR_COLD NumberText parse_integer(const std::string& bare, bool& negative, std::uint64_t& magnitude) {
  std::string_view digits = bare;
  negative = digits.starts_with('-');
  if (negative || digits.starts_with('+')) digits.remove_prefix(1);
  int base = 10;
  if (digits.size() > 2 && digits[0] == '0') {
    const char kind = static_cast<char>(digits[1] | 0x20);
    base = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 10;
    if (base != 10) digits.remove_prefix(2);
  }
  const char* const end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, magnitude, base);
  if (error == std::errc::invalid_argument || stop != end) return NumberText::none;
  return error == std::errc{} ? NumberText::fits : NumberText::too_large;
}

KETTLINGAR_COLD bool read_double(std::string_view text, int base, double& number) {
#if defined(__cpp_lib_to_chars)
  const auto form = base == 16 ? std::chars_format::hex : std::chars_format::general;
  return std::from_chars(text.data(), text.data() + text.size(), number, form).ec == std::errc{};
#else
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  const locale_t plain = ::newlocale(LC_ALL_MASK, "C", nullptr);
  if (plain == nullptr) return false;
  const double size = ::strtod_l(((base == 16 ? "0x" : "") + std::string(text)).c_str(), nullptr, plain);
  ::freelocale(plain);
  number = negative ? -size : size;
  return size <= (std::numeric_limits<double>::max)();
#endif
}

KETTLINGAR_COLD NumberText parse_double(const std::string& bare, double& number) {
  std::string_view text = bare;
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  const auto signed_number = [&](double size) {
    number = negative ? -size : size;
    return NumberText::fits;
  };
  if (http::same_word(text, "inf") || http::same_word(text, "infinity"))
    return signed_number(std::numeric_limits<double>::infinity());
  if (http::same_word(text, "nan")) return signed_number(std::numeric_limits<double>::quiet_NaN());

  // The form is checked here, and so is the same with every library.
  std::size_t at = 0;
  const auto digits = [&] {
    const std::size_t begin = at;
    while (at < text.size() && http::is_digit(text[at])) ++at;
    return text.substr(begin, at - begin);
  };
  const auto skip = [&](char a, char b) {
    const bool found = at < text.size() && (text[at] == a || text[at] == b);
    at += found ? 1 : 0;
    return found;
  };
  const std::string_view whole = digits();
  const std::string_view fraction = skip('.', '.') ? digits() : std::string_view{};
  if (whole.empty() && fraction.empty()) return NumberText::none;
  std::int64_t exponent = 0;
  if (skip('e', 'E')) {
    const bool below = at < text.size() && text[at] == '-';
    skip('+', '-');
    const std::string_view size = digits();
    if (size.empty()) return NumberText::none;
    constexpr std::size_t enough = 12;
    for (const char c : size.substr(0, enough)) exponent = exponent * 10 + (c - '0');
    if (below) exponent = -exponent;
  }
  if (at != text.size()) return NumberText::none;

  double size = 0;
  if (read_double(text, 10, size)) return signed_number(size);
  // Too large or too small: where the first digit stands that is not 0 tells.
  const std::size_t zeros = (std::min)(whole.find_first_not_of('0'), whole.size());
  const std::size_t more_zeros = (std::min)(fraction.find_first_not_of('0'), fraction.size());
  const auto before = static_cast<std::int64_t>(whole.size() - zeros);
  const std::int64_t order = before > 0 ? before : -static_cast<std::int64_t>(more_zeros);
  return order + exponent > 0 ? NumberText::too_large : signed_number(0);
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
