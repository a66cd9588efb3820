// SPDX-License-Identifier: MIT
// call/convert.ipp: the bodies of convert.hpp.
#pragma once

#include "../wire/http_fields.ipp"
#include "../wire/json_text.ipp"
#include "../wire/number_text.ipp"
#include "../wire/text.ipp"
#include "convert.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

KETTLINGAR_INLINE std::optional<std::string> text_of(const json& value) {
  if (value.is_string()) return value.get_ref<const std::string&>();
  if (value.is_binary() && !value.get_binary().has_subtype()) {
    const auto& raw = value.get_binary();
    return std::string(raw.begin(), raw.end());
  }
  return std::nullopt;
}

KETTLINGAR_INLINE bool to_bool(const json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (const auto text = text_of(value)) {
    for (const char* yes : {"true", "t", "yes", "y", "on", "1"}) {
      if (http::same_word(*text, yes)) return true;
    }
    for (const char* no : {"false", "f", "no", "n", "off", "0"}) {
      if (http::same_word(*text, no)) return false;
    }
  } else if (value.is_number_integer() && (value == 0 || value == 1)) {
    return value == 1;
  }
  throw BadValue{"bool (yes or no)", value};
}

KETTLINGAR_INLINE bool to_bool(const Scalar& value) {
  return value.kind == Scalar::Kind::boolean ? value.number != 0 : to_bool(value.value());
}

/// An integer beyond 64 bit, as the codecs make it.
KETTLINGAR_COLD bool is_big_integer(const json::binary_t& binary) {
  if (!binary.has_subtype() || binary.subtype() != big_integer_ext) return false;
  const std::string_view hex = chars(binary);
  return !hex.empty() &&
         hex.find_first_not_of("0123456789abcdef", hex.front() == '-' ? 1 : 0) == std::string_view::npos;
}

KETTLINGAR_INLINE std::uint64_t to_integer(const json& value, const IntegerRange& range) {
  bool negative = false;
  std::uint64_t magnitude = 0;
  const auto out_of_range = [&] {
    return BadValue{"int from " + std::to_string(range.low) + " to " + std::to_string(range.high), value};
  };
  if (value.is_number_unsigned()) {
    magnitude = value.get<std::uint64_t>();
  } else if (value.is_number_integer()) {
    const auto number = value.get<std::int64_t>();
    negative = number < 0;
    magnitude = negative ? 0 - static_cast<std::uint64_t>(number) : static_cast<std::uint64_t>(number);
  } else if (value.is_number_float()) {
    // 2.0 is 2, for callers whose language has one kind of number; 1.9 is refused, and so is what a double cannot hold
    // exactly.
    const double number = value.get<double>();
    if (!is_exact_integer(number)) throw BadValue{"int", value};
    negative = number < 0;
    magnitude = static_cast<std::uint64_t>(std::fabs(number));
  } else {
    if (const auto* binary = value.get_ptr<const json::binary_t*>(); binary != nullptr && is_big_integer(*binary))
      throw out_of_range();
    const auto text = text_of(value);
    switch (text ? parse_integer(bare_number(*text), negative, magnitude) : NumberText::none) {
      case NumberText::fits:
        break;
      case NumberText::too_large:
        throw out_of_range();
      case NumberText::none:
        throw BadValue{"int", value};
    }
  }
  const bool fits = negative ? magnitude <= 0 - static_cast<std::uint64_t>(range.low) : magnitude <= range.high;
  if (!fits) throw out_of_range();
  return negative ? 0 - magnitude : magnitude;
}

KETTLINGAR_INLINE std::uint64_t to_integer(const Scalar& value, const IntegerRange& range) {
  const bool fits =
      (value.kind == Scalar::Kind::unsigned_integer && value.number <= range.high) ||
      (value.kind == Scalar::Kind::negative_integer && static_cast<std::int64_t>(value.number) >= range.low);
  return fits ? value.number : to_integer(value.value(), range);
}

/// What a big integer is nearest to; nothing for other binary, and beyond the largest double.
KETTLINGAR_COLD std::optional<double> nearest_double(const json::binary_t& binary) {
  double number = 0;
  if (!is_big_integer(binary) || !read_double(chars(binary), 16, number)) return std::nullopt;
  return number;
}

KETTLINGAR_COLD bool big_integers_to_doubles(nlohmann::json& tree) {
  if (const auto* binary = tree.get_ptr<const nlohmann::json::binary_t*>()) {
    const std::optional<double> number = nearest_double(*binary);
    if (number) tree = *number;
    return number.has_value();
  }
  bool any = false;
  if (!tree.is_structured()) return any;
  for (nlohmann::json& item : tree) any |= big_integers_to_doubles(item);
  return any;
}

KETTLINGAR_INLINE double to_double(const json& value) {
  if (value.is_number()) return value.get<double>();
  if (const auto* binary = value.get_ptr<const json::binary_t*>(); binary != nullptr && is_big_integer(*binary)) {
    if (const std::optional<double> number = nearest_double(*binary)) return *number;
    throw BadValue{"float that fits", value};
  }
  const auto text = text_of(value);
  const std::string bare = text ? bare_number(*text) : std::string();
  double number = 0;
  switch (parse_double(bare, number)) {
    case NumberText::fits:
      return number;
    case NumberText::too_large:
      throw BadValue{"float that fits", value};
    case NumberText::none:
      break;
  }
  throw BadValue{"float", value};
}

KETTLINGAR_INLINE double to_double(const Scalar& value) {
  return value.kind == Scalar::Kind::real ? std::bit_cast<double>(value.number) : to_double(value.value());
}

KETTLINGAR_INLINE std::string to_string(const Scalar& value) {
  return value.kind == Scalar::Kind::text ? std::string(value.bytes) : to_string(value.value());
}

KETTLINGAR_INLINE std::string to_string(const json& value) {
  auto text = text_of(value);
  if (!text || !is_utf8(*text)) throw BadValue{"str", value};
  return *std::move(text);
}

KETTLINGAR_INLINE Bytes to_bytes(const json& value) {
  const auto text = text_of(value);
  if (!text) throw BadValue{"bytes", value};
  return Bytes(text->begin(), text->end());
}

KETTLINGAR_INLINE json parsed_if_text(const json& value, std::string_view expected) {
  if (!value.is_string()) return value;
  const std::string& text = value.get_ref<const std::string&>();
  json parsed;
  // Other text is left alone: a class may well be one that is made from a string.
  if (!text.empty() && (text.front() == '{' || text.front() == '[') && decode_json(text, parsed)) {
    throw BadValue{std::string(expected) + " (as JSON text)", value};
  }
  return parsed.is_null() ? value : parsed;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
