// SPDX-License-Identifier: MIT
// service/convert.hpp: from what a caller sent to the C++ type of a parameter, strictly, and from results back.
#pragma once

#include <bit>
#include <charconv>
#include <cmath>
#include <exception>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "../base/errors.hpp"
#include "../base/json.hpp"
#include "../base/version.hpp"
#include "../wire/codec.hpp"
#include "../wire/http_fields.hpp"
#include "../wire/json_text.hpp"
#include "../wire/text.hpp"
#include "signature.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// A value that does not fit its parameter. The binder adds method and argument and makes it an InvalidArgument.
struct BadValue {
  std::string expected;  ///< such as "int" or "int from 0 to 255"
  json value;
};

/// `value` as a caller would recognise it, for error texts: JSON, cut after 60 bytes.
std::string shown(const json& value);
/// Text or bytes as text; nothing for other kinds.
std::optional<std::string> text_of(const json& value);

bool to_bool(const json& value);
bool to_bool(const Scalar& value);

/// An integer from `low` to `high`.
struct IntegerRange {
  std::int64_t low;
  std::uint64_t high;
};
/// The integer's 64 bits, to be cast to the type whose range it was.
std::uint64_t to_integer(const json& value, const IntegerRange& range);
std::uint64_t to_integer(const Scalar& value, const IntegerRange& range);
double to_double(const json& value);
double to_double(const Scalar& value);
std::string to_string(const json& value);
std::string to_string(const Scalar& value);
Bytes to_bytes(const json& value);

/// Makes the nearest double of each big integer in `tree`, for classes that want to have numbers there. False if there
/// is none.
bool big_integers_to_doubles(nlohmann::json& tree);

/// True if each integer in `result`, which was made from `input`, is the very number that stood there: nlohmann_json
/// would make 1 of 1.9.
template <class PlainJson>
bool integers_kept(const PlainJson& input, const PlainJson& result);
/// The part of an exception's text that is about the value.
std::string_view conversion_hint(const std::exception& error);

/// Lists, maps and classes may come as JSON text, since a command line has nothing else.
json parsed_if_text(const json& value, const char* expected);

template <class T>
constexpr IntegerRange integer_range() {
  using Limit = std::numeric_limits<T>;
  return {static_cast<std::int64_t>((Limit::min)()), static_cast<std::uint64_t>((Limit::max)())};
}

/// Whether nlohmann_json makes a kt::json, or a nlohmann::json, of a T.
template <class T>
inline constexpr bool to_ordered_json = requires(json& j, const T& t) {
  nlohmann::adl_serializer<T>::to_json(j, t);
};
template <class T>
inline constexpr bool to_plain_json = requires(nlohmann::json& j, const T& t) {
  nlohmann::adl_serializer<T>::to_json(j, t);
};

template <class T>
T from_json(const json& value);

template <class Tuple, std::size_t... i>
Tuple tuple_from_json(const json& list, std::index_sequence<i...>) {
  return Tuple{from_json<std::tuple_element_t<i, Tuple>>(list[i])...};
}

/// Anything else that nlohmann_json converts. Enumerations with names fall back to their first name when they do not
/// know a text, so the way back decides whether the value was one of theirs.
template <class T>
T class_from_json(const json& value) {
  const std::string expected(class_name<T>());
  try {
    if constexpr (std::is_enum_v<T>) {
      nlohmann::json plain = value;
      // Enumerations without names are numbers, which a command line can only give as text.
      if (nlohmann::json(T{}).is_number() && !value.is_number())
        plain = static_cast<std::int64_t>(to_integer(value, integer_range<std::int64_t>()));
      T result = plain.template get<T>();
      if (nlohmann::json(result) != plain) throw BadValue{expected, value};
      return result;
    } else {
      nlohmann::json plain(parsed_if_text(value, expected.c_str()));
      for (;;) {
        try {
          T result = plain.template get<T>();
          if constexpr (to_plain_json<T>) {
            if (!integers_kept(plain, nlohmann::json(result)))
              throw BadValue{expected + " (whole numbers that fit)", value};
          }
          return result;
        } catch (const nlohmann::json::exception&) {
          if (!big_integers_to_doubles(plain)) throw;
        }
      }
    }
  } catch (const nlohmann::json::exception& error) {
    throw BadValue{expected + " (" + std::string(conversion_hint(error)) + ")", value};
  }
}

/// `value` as a T. Throws BadValue, which names the innermost value that does not fit.
template <class T>
T from_json(const json& value) {
  if constexpr (std::is_same_v<T, json>) {
    return value;
  } else if constexpr (std::is_same_v<T, bool>) {
    return to_bool(value);
  } else if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(to_integer(value, integer_range<T>()));
  } else if constexpr (std::is_floating_point_v<T>) {
    const double number = to_double(value);
    if (std::isfinite(number) && !(std::fabs(number) <= static_cast<double>((std::numeric_limits<T>::max)())))
      throw BadValue{"float that fits", value};
    return static_cast<T>(number);
  } else if constexpr (std::is_same_v<T, std::string>) {
    return to_string(value);
  } else if constexpr (is_bytes<T>) {
    const Bytes raw = to_bytes(value);
    const auto* data = reinterpret_cast<const typename T::value_type*>(raw.data());
    return T(data, data + raw.size());
  } else if constexpr (is_instance<T, std::optional>) {
    if (value.is_null()) return std::nullopt;
    return from_json<typename T::value_type>(value);
  } else if constexpr (is_instance<T, std::vector>) {
    const json list = parsed_if_text(value, "list");
    if (!list.is_array()) throw BadValue{"list", value};
    T result;
    for (const json& item : list) result.push_back(from_json<typename T::value_type>(item));
    return result;
  } else if constexpr (is_map<T>) {
    const json map = parsed_if_text(value, "dict");
    if (!map.is_object()) throw BadValue{"dict", value};
    T result;
    for (const auto& [key, item] : map.items()) result.emplace(key, from_json<typename T::mapped_type>(item));
    return result;
  } else if constexpr (is_instance<T, std::tuple> || is_instance<T, std::pair>) {
    const json list = parsed_if_text(value, "list");
    constexpr std::size_t size = std::tuple_size_v<T>;
    if (!list.is_array() || list.size() != size) throw BadValue{"list of " + std::to_string(size), value};
    return tuple_from_json<T>(list, std::make_index_sequence<size>{});
  } else {
    static_assert(
        std::is_same_v<T, nlohmann::json> ||
            requires(const nlohmann::json& j, T& t) { nlohmann::adl_serializer<T>::from_json(j, t); },
        "kettlingar: the type of a parameter, or of a result that is asked for, must be one that nlohmann_json "
        "converts: see NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE and NLOHMANN_JSON_SERIALIZE_ENUM");
    return class_from_json<T>(value);
  }
}

/// The same, for one that has never been a value of a tree.
template <class T>
T from_scalar(const Scalar& scalar) {
  if constexpr (std::is_same_v<T, bool>) {
    return to_bool(scalar);
  } else if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(to_integer(scalar, integer_range<T>()));
  } else if constexpr (std::is_same_v<T, double>) {
    return to_double(scalar);
  } else if constexpr (std::is_same_v<T, std::string>) {
    return to_string(scalar);
  } else if constexpr (is_instance<T, std::optional>) {
    if (scalar.kind == Scalar::Kind::null) return std::nullopt;
    return from_scalar<typename T::value_type>(scalar);
  } else {
    return from_json<T>(scalar.value());
  }
}

template <class T>
inline constexpr bool is_c_string = false;
template <>
inline constexpr bool is_c_string<char*> = true;
template <>
inline constexpr bool is_c_string<const char*> = true;

/// Text, and not something of the program's own that knows how to become text: that may have a to_json() as well.
template <class T>
concept PlainText =
    std::is_same_v<T, std::string> || std::is_same_v<T, std::string_view> || is_c_string<std::decay_t<T>>;

/// Values of handlers that are Scalars.
template <class T>
concept PlainValue = std::is_arithmetic_v<T> || std::is_same_v<T, std::nullptr_t> || PlainText<T>;

/// Arguments of calls, and defaults, that are Scalars: whatever becomes text is text there.
template <class T>
concept PlainArgument = PlainValue<T> || std::is_convertible_v<const T&, std::string_view>;

/// Text is not copied: `value` has to stay.
template <PlainArgument T>
Scalar scalar_of(const T& value) {
  using Kind = Scalar::Kind;
  if constexpr (std::is_same_v<T, std::nullptr_t>) {
    return {};
  } else if constexpr (std::is_same_v<T, bool>) {
    return {Kind::boolean, value ? 1U : 0U};
  } else if constexpr (std::is_integral_v<T>) {
    return {value < 0 ? Kind::negative_integer : Kind::unsigned_integer, static_cast<std::uint64_t>(value)};
  } else if constexpr (std::is_arithmetic_v<T>) {
    return {Kind::real, std::bit_cast<std::uint64_t>(static_cast<double>(value))};
  } else {
    return {Kind::text, 0, std::string_view(value)};
  }
}

/// Any value of a handler as json: bytes stay bytes, an empty optional is null, the rest is nlohmann_json's business.
template <class T>
json to_json_value(const T& value) {
  if constexpr (std::is_same_v<T, json>) {
    return value;
  } else if constexpr (is_bytes<T>) {
    const auto* data = reinterpret_cast<const std::uint8_t*>(value.data());
    return json::binary(Bytes(data, data + value.size()));
  } else if constexpr (is_instance<T, std::optional>) {
    return value ? to_json_value(*value) : json(nullptr);
  } else if constexpr (std::is_same_v<T, nlohmann::json> || !to_ordered_json<T>) {
    static_assert(std::is_same_v<T, nlohmann::json> || to_plain_json<T>,
                  "kettlingar: the type of a result or default must be one that nlohmann_json converts: see "
                  "NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE, or return kt::Result for a document");
    return json(nlohmann::json(value));
  } else {
    return json(value);
  }
}

/// Beyond this, a double may be the nearest to several integers.
inline bool is_exact_integer(double number) {
  return std::fabs(number) <= 9007199254740992.0 && number == std::trunc(number);
}

template <class PlainJson>
bool integers_kept(const PlainJson& input, const PlainJson& result) {
  if (result.is_number_integer() && input.is_number_float())
    return is_exact_integer(*input.template get_ptr<const double*>()) && input == result;
  if (result.is_number_integer()) return input.is_number() ? input == result : !input.is_boolean();
  if (result.is_array() && input.is_array()) {
    for (std::size_t i = 0; i < result.size() && i < input.size(); ++i) {
      if (!integers_kept(input[i], result[i])) return false;
    }
  }
  if (result.is_object() && input.is_object()) {
    for (const auto& [key, item] : result.items()) {
      const auto found = input.find(key);
      if (found != input.end() && !integers_kept(*found, item)) return false;
    }
  }
  return true;
}

#if KETTLINGAR_DEFINITIONS
KETTLINGAR_COLD std::string shown(const json& value) {
  constexpr std::size_t longest = 60;
  std::string out;
  if (encode_json(value, out)) return "a value nested too deeply";
  if (out.size() > longest) {
    out.resize(longest);
    while (!is_utf8(out)) out.pop_back();
    out += "...";
  }
  return out;
}

KETTLINGAR_INLINE std::optional<std::string> text_of(const json& value) {
  if (value.is_string()) return value.get_ref<const std::string&>();
  if (value.is_binary() && !value.get_binary().has_subtype()) {
    const auto& raw = value.get_binary();
    return std::string(raw.begin(), raw.end());
  }
  return std::nullopt;
}

KETTLINGAR_COLD std::string_view conversion_hint(const std::exception& error) {
  const std::string_view text = error.what();
  const std::size_t bracket = text.find("] ");
  return bracket == std::string_view::npos ? text : text.substr(bracket + 2);
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

/// Sign and magnitude of `[+-](0x|0o|0b)?digits`, where `_` may stand between digits. More than 64 bits are the largest
/// magnitude.
KETTLINGAR_INLINE bool parse_integer(std::string_view text, bool& negative, std::uint64_t& magnitude) {
  negative = !text.empty() && text.front() == '-';
  if (!text.empty() && (text.front() == '-' || text.front() == '+')) text.remove_prefix(1);
  int base = 10;
  if (text.size() > 2 && text[0] == '0') {
    const char kind = static_cast<char>(text[1] | 0x20);
    base = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 10;
    if (base != 10) text.remove_prefix(2);
  }
  std::string digits;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool between = i > 0 && i + 1 < text.size() && text[i - 1] != '_';
    if (text[i] != '_' || !between) digits += text[i];
  }
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, magnitude, base);
  if (error == std::errc::result_out_of_range) {
    // Beyond every range with either sign, bar that of unsigned 64-bit integers.
    magnitude = std::numeric_limits<std::uint64_t>::max();
    negative = true;
  }
  return !digits.empty() && error != std::errc::invalid_argument && stop == end;
}

KETTLINGAR_INLINE std::uint64_t to_integer(const json& value, const IntegerRange& range) {
  bool negative = false;
  std::uint64_t magnitude = 0;
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
    const auto text = text_of(value);
    if (!text || !parse_integer(*text, negative, magnitude)) throw BadValue{"int", value};
  }
  const bool fits = negative ? magnitude <= 0 - static_cast<std::uint64_t>(range.low) : magnitude <= range.high;
  if (!fits) throw BadValue{"int from " + std::to_string(range.low) + " to " + std::to_string(range.high), value};
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
  if (!binary.has_subtype() || binary.subtype() != big_integer_ext || binary.empty()) return std::nullopt;
  const std::string_view hex = chars(binary);
  double number = 0;
  const auto [stop, error] = std::from_chars(hex.data(), hex.data() + hex.size(), number, std::chars_format::hex);
  if (error != std::errc{} || stop != hex.data() + hex.size()) return std::nullopt;
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
  if (const auto* binary = value.get_ptr<const json::binary_t*>()) {
    if (const std::optional<double> number = nearest_double(*binary)) return *number;
  }
  if (const auto text = text_of(value)) {
    std::string_view digits = *text;
    if (!digits.empty() && digits.front() == '+') digits.remove_prefix(1);
    double number = 0;
    const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error == std::errc{} && stop == digits.data() + digits.size() && !digits.empty()) return number;
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

KETTLINGAR_INLINE json parsed_if_text(const json& value, const char* expected) {
  if (!value.is_string()) return value;
  const std::string& text = value.get_ref<const std::string&>();
  json parsed;
  // Other text is left alone: a class may well be one that is made from a string.
  if (!text.empty() && (text.front() == '{' || text.front() == '[') && decode_json(text, parsed)) {
    throw BadValue{std::string(expected) + " (as JSON text)", value};
  }
  return parsed.is_null() ? value : parsed;
}
#endif

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
