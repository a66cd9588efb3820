// SPDX-License-Identifier: MIT
// cli/python_format.ipp: Python's `format % values` for a map of values: how a result with a `_format` is printed.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/json.hpp"
#include "../base/log.hpp"
#include "../base/version.hpp"
#include "../wire/text.ipp"
#include "python_text.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// A `_format` that Python would refuse for these values: it names something that is not there, or a number's
/// conversion for what is none. Exit code 2.
class FormatError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// More than that is not made of a format, whatever widths it asks for.
inline constexpr std::size_t longest_formatted = std::size_t{64} * 1024 * 1024;

/// `format % values` as Python makes it, byte for byte; `values` is a map. Costs no more than its result is long.
/// Throws FormatError where Python raises, and for more than `longest_formatted` bytes.
std::string apply_format(std::string_view format, const json& values);

/// One run over a format.
class PythonFormat {
 public:
  PythonFormat(std::string_view format, const json& values);
  std::string run();

 private:
  /// What stands between `%` and the letter.
  struct Directive {
    bool left = false, plus = false, blank = false, alternate = false, zero = false;
    std::optional<std::size_t> width, precision;
    char conversion = 0;
  };
  /// What is padded as a whole: zeros for padding go behind sign and prefix.
  struct Field {
    std::string sign, prefix, body;
    std::size_t characters;  ///< of the body
    bool number = true;
  };

  [[noreturn]] void fail(std::string_view why) const;
  char next();
  void take_key();
  const json& take_argument();
  std::optional<std::size_t> take_number(char& c);
  Directive take_directive();
  Field convert(const Directive& directive);
  Field text(const Directive& directive, const json& value);
  Field integer(const Directive& directive, const json& value) const;
  Field real(const Directive& directive, const json& value) const;
  Field character(const json& value) const;
  void put(const Directive& directive, const Field& field);
  void add(std::string_view text);
  void pad(std::size_t count, char with);
  void charge(std::size_t effort);

  std::string_view format_;
  std::size_t at_ = 0;
  std::size_t begin_ = 0;  ///< of the directive, for messages
  const json& values_;
  std::vector<std::string_view> keys_;
  std::vector<std::size_t> order_;  ///< of the keys
  const json* argument_;            ///< what the next conversion gets; null if it has been used
  std::size_t effort_ = 0;          ///< see BoundedText
  std::string out_;
};

KETTLINGAR_COLD PythonFormat::PythonFormat(std::string_view format, const json& values)
    : format_(format), values_(values), argument_(&values) {
  for (const auto& [key, value] : values.get_ref<const json::object_t&>()) keys_.emplace_back(key);
  order_ = key_order(keys_);
}

KETTLINGAR_COLD void PythonFormat::fail(std::string_view why) const {
  throw FormatError("_format: '" + log_escaped(format_.substr(begin_, at_ - begin_)) + "': " + std::string(why));
}

KETTLINGAR_COLD char PythonFormat::next() {
  if (at_ == format_.size()) fail("incomplete format");
  return format_[at_++];
}

KETTLINGAR_COLD void PythonFormat::add(std::string_view text) {
  if (text.size() > longest_formatted - out_.size()) fail("the text becomes too long");
  out_ += text;
}

KETTLINGAR_COLD void PythonFormat::pad(std::size_t count, char with) {
  if (count > longest_formatted - out_.size()) fail("the text becomes too long");
  out_.append(count, with);
}

/// For what costs time and is not shown, such as the search for quotes in a text of which the start is shown.
KETTLINGAR_COLD void PythonFormat::charge(std::size_t effort) {
  effort_ += effort;
  if (effort_ > 16 * longest_formatted) fail("this takes too long");
}

/// Behind `%(`: the value of that name is what the conversion gets. Parentheses in the name come in pairs.
KETTLINGAR_COLD void PythonFormat::take_key() {
  const std::size_t begin = at_;
  for (int open = 1; open > 0;) {
    const char c = next();
    open += c == '(' ? 1 : c == ')' ? -1 : 0;
  }
  const std::string_view key = format_.substr(begin, at_ - 1 - begin);
  const auto found = std::lower_bound(order_.begin(), order_.end(), key,
                                      [this](std::size_t i, std::string_view wanted) { return keys_[i] < wanted; });
  if (found == order_.end() || keys_[*found] != key) fail("the result has no '" + log_escaped(key) + "'");
  const auto& object = values_.get_ref<const json::object_t&>();
  argument_ = &(object.begin() + static_cast<std::ptrdiff_t>(*found))->second;
}

/// Each value serves once; without a name it is the whole map.
KETTLINGAR_COLD const json& PythonFormat::take_argument() {
  if (argument_ == nullptr) fail("not enough arguments for format string");
  charge(big_integer_effort(*argument_));
  return *std::exchange(argument_, nullptr);
}

/// A width or a precision, if there is one; `c` becomes what follows it.
KETTLINGAR_COLD std::optional<std::size_t> PythonFormat::take_number(char& c) {
  if (c == '*') fail("a width cannot be an argument here");
  if (c < '0' || c > '9') return std::nullopt;
  std::size_t number = 0;
  for (; c >= '0' && c <= '9'; c = next()) {
    number = number * 10 + static_cast<std::size_t>(c - '0');
    if (number > longest_formatted) fail("the text becomes too long");
  }
  return number;
}

KETTLINGAR_COLD PythonFormat::Directive PythonFormat::take_directive() {
  Directive directive;
  char c = next();
  if (c == '(') {
    take_key();
    c = next();
  }
  for (;; c = next()) {
    if (c == '-') {
      directive.left = true;
    } else if (c == '+') {
      directive.plus = true;
    } else if (c == ' ') {
      directive.blank = true;
    } else if (c == '#') {
      directive.alternate = true;
    } else if (c == '0') {
      directive.zero = true;
    } else {
      break;
    }
  }
  directive.width = take_number(c);
  if (c == '.') {
    c = next();
    directive.precision = take_number(c).value_or(0);
  }
  if (c == 'h' || c == 'l' || c == 'L') c = next();
  directive.conversion = c;
  return directive;
}

KETTLINGAR_COLD PythonFormat::Field PythonFormat::text(const Directive& directive, const json& value) {
  // No more of a value is written than is shown.
  BoundedText written((std::min)(directive.precision.value_or(longest_formatted), longest_formatted + 1));
  if (directive.conversion == 's' && value.is_string()) {
    written.add(value.get_ref<const std::string&>());
  } else {
    add_repr(written, value, directive.conversion == 'a');
  }
  charge(written.effort);
  const std::size_t characters = written.characters();
  return {{}, {}, written.take(), characters, false};
}

KETTLINGAR_COLD PythonFormat::Field PythonFormat::integer(const Directive& directive, const json& value) const {
  const char kind = directive.conversion;
  const int base = kind == 'o' ? 8 : kind == 'x' || kind == 'X' ? 16 : 10;
  auto number = python_integer(value, base);
  if (!number && base == 10 && value.is_number_float()) {
    const double whole = std::trunc(value.get<double>());
    if (!std::isfinite(whole)) fail("cannot convert " + float_digits(whole, 'f', 0, false) + " to an integer");
    number = PythonInteger{std::signbit(whole) && whole != 0, float_digits(std::fabs(whole), 'f', 0, false)};
  }
  if (!number) fail(base == 10 ? "a number is required" : "an integer is required");
  Field field{number->negative ? "-" : "", {}, std::move(number->digits), 0};
  if (directive.alternate && base != 10) field.prefix = base == 8 ? "0o" : "0x";
  const std::size_t digits = directive.precision.value_or(0);
  if (digits > longest_formatted - out_.size()) fail("the text becomes too long");
  if (digits > field.body.size()) field.body.insert(0, digits - field.body.size(), '0');
  field.characters = field.body.size();
  if (kind == 'X') {
    for (std::string* part : {&field.prefix, &field.body}) {
      for (char& c : *part) c = static_cast<char>(c >= 'a' && c <= 'x' ? c - 'a' + 'A' : c);
    }
  }
  return field;
}

KETTLINGAR_COLD PythonFormat::Field PythonFormat::real(const Directive& directive, const json& value) const {
  const auto number = python_float(value);
  if (!number) fail("a number is required that a float can hold");
  const std::size_t precision = directive.precision.value_or(6);
  if (precision > longest_formatted - out_.size()) fail("the text becomes too long");
  const char kind = directive.conversion;
  const bool upper = kind < 'a';
  std::string digits = float_digits(*number, static_cast<char>(kind | 0x20), precision, directive.alternate);
  Field field{digits.starts_with('-') ? "-" : "", {}, {}, 0};
  field.body = digits.substr(field.sign.size());
  for (char& c : field.body) c = static_cast<char>(upper && c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  field.characters = field.body.size();
  return field;
}

KETTLINGAR_COLD PythonFormat::Field PythonFormat::character(const json& value) const {
  if (value.is_string()) {
    BoundedText first(2);
    first.add(value.get_ref<const std::string&>());
    if (first.characters() != 1) fail("%c requires int or char");
    return {{}, {}, first.take(), 1, false};
  }
  const auto number = python_integer(value, 16);
  if (!number) fail("%c requires int or char");
  const auto code = number->digits.size() <= 6 ? std::stoul(number->digits, nullptr, 16) : 0x110000;
  // Half of a surrogate pair is a character in Python, which cannot be printed.
  if (number->negative || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) fail("%c: there is no such character");
  return {{}, {}, utf8_of(static_cast<std::uint32_t>(code)), 1, false};
}

KETTLINGAR_COLD PythonFormat::Field PythonFormat::convert(const Directive& directive) {
  switch (directive.conversion) {
    case 's':
    case 'r':
    case 'a':
      return text(directive, take_argument());
    case 'd':
    case 'i':
    case 'u':
    case 'o':
    case 'x':
    case 'X':
      return integer(directive, take_argument());
    case 'e':
    case 'E':
    case 'f':
    case 'F':
    case 'g':
    case 'G':
      return real(directive, take_argument());
    case 'c':
      return character(take_argument());
    default:
      take_argument();
      fail("unsupported format character");
  }
}

KETTLINGAR_COLD void PythonFormat::put(const Directive& directive, const Field& field) {
  std::string sign = field.sign;
  if (field.number && sign.empty()) sign = directive.plus ? "+" : directive.blank ? " " : "";
  const std::size_t characters = sign.size() + field.prefix.size() + field.characters;
  const std::size_t width = directive.width.value_or(0);
  const std::size_t padding = width > characters ? width - characters : 0;
  const bool zeros = directive.zero && field.number && !directive.left;
  if (!directive.left && !zeros) pad(padding, ' ');
  add(sign + field.prefix);
  if (zeros) pad(padding, '0');
  add(field.body);
  if (directive.left) pad(padding, ' ');
}

KETTLINGAR_COLD std::string PythonFormat::run() {
  while (at_ < format_.size()) {
    const std::size_t percent = (std::min)(format_.find('%', at_), format_.size());
    begin_ = at_;
    add(format_.substr(at_, percent - at_));
    at_ = percent;
    if (percent == format_.size()) break;
    begin_ = at_++;
    if (format_.substr(at_).starts_with('%')) {
      ++at_;
      add("%");
    } else {
      const Directive directive = take_directive();
      put(directive, convert(directive));
    }
  }
  return std::move(out_);
}

KETTLINGAR_COLD std::string apply_format(std::string_view format, const json& values) {
  return PythonFormat(format, values).run();
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
