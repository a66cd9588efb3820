// SPDX-License-Identifier: MIT
// call/convert.hpp: from what a caller sent to the C++ type of a parameter, strictly, and from results back.
#pragma once

#include <bit>
#include <cmath>
#include <exception>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "../base/errors.hpp"
#include "../base/json.hpp"
#include "../base/json_types.hpp"
#include "../base/version.hpp"
#include "../wire/codec.hpp"
#include "class_value.hpp"
#include "signature.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

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

/// Lists, maps and classes may come as JSON text, since a command line has nothing else.
json parsed_if_text(const json& value, std::string_view expected);

template <class T>
constexpr IntegerRange integer_range() {
  using Limit = std::numeric_limits<T>;
  return {static_cast<std::int64_t>((Limit::min)()), static_cast<std::uint64_t>((Limit::max)())};
}

template <class T>
T from_json(const json& value, Fields fields = Fields::known);

/// One inside another: what is wrong with it tells where it stands, by key or index.
template <class T, class Place>
T inner_from_json(const json& value, Place place, Fields fields) {
  try {
    return from_json<T>(value, fields);
  } catch (BadValue& bad) {
    bad.inside(place);
    throw;
  }
}

template <class Tuple, std::size_t... i>
Tuple tuple_from_json(const json& list, Fields fields, std::index_sequence<i...>) {
  return Tuple{inner_from_json<std::tuple_element_t<i, Tuple>>(list[i], i, fields)...};
}

/// Whether `result` is what comes of any text that an enumeration does not know.
template <class T>
bool is_fallback(T result) {
  try {
    return nlohmann::json(meaningless_text).template get<T>() == result;
  } catch (const std::exception&) {
    return false;
  }
}

/// Enumerations with names take their first one for what they do not know. So the way back, or else the list of their
/// names, decides whether the value was one of theirs.
template <class T>
T enumerator_from_json(const json& value) {
  nlohmann::json plain = value;
  try {
    // Those without names are numbers, which a command line can only give as text.
    if (nlohmann::json(T{}).is_number() && !value.is_number())
      plain = static_cast<std::int64_t>(to_integer(value, integer_range<std::int64_t>()));
    const T result = plain.template get<T>();
    if (nlohmann::json(result) == plain || (plain.is_string() && !is_fallback(result))) return result;
  } catch (const nlohmann::json::exception&) {
  }
  const std::vector<std::string> choices = choices_of<T>();
  for (const std::string& second_name : choices) {
    if (plain == second_name) return plain.template get<T>();
  }
  throw BadValue{choices.empty() ? std::string(class_name<T>()) : one_of(choices), value};
}

/// Anything else that nlohmann_json converts.
template <class T>
T class_from_json(const json& value, Fields fields) {
  nlohmann::json plain(parsed_if_text(value, class_name<T>()));
  for (;;) {
    try {
      T result = plain.template get<T>();
      if constexpr (to_plain_json<T>)
        check_understood(plain, nlohmann::json(result), &read_back<T>, &InnerTypes::add<T>, fields);
      return result;
    } catch (const nlohmann::json::exception&) {
      if (!big_integers_to_doubles(plain)) throw blame(plain, &read_back<T>, class_name<T>());
    }
  }
}

/// `value` as a T. Throws BadValue, which names the innermost value that does not fit.
template <class T>
T from_json(const json& value, [[maybe_unused]] Fields fields) {
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
    return from_json<typename T::value_type>(value, fields);
  } else if constexpr (is_instance<T, std::vector>) {
    const json list = parsed_if_text(value, "list");
    if (!list.is_array()) throw BadValue{"list", value};
    T result;
    for (std::size_t i = 0; i < list.size(); ++i)
      result.push_back(inner_from_json<typename T::value_type>(list[i], i, fields));
    return result;
  } else if constexpr (is_map<T>) {
    const json map = parsed_if_text(value, "dict");
    if (!map.is_object()) throw BadValue{"dict", value};
    T result;
    for (const auto& [key, item] : map.items())
      result.emplace(key, inner_from_json<typename T::mapped_type>(item, std::string_view(key), fields));
    return result;
  } else if constexpr (is_instance<T, std::tuple> || is_instance<T, std::pair>) {
    const json list = parsed_if_text(value, "list");
    constexpr std::size_t size = std::tuple_size_v<T>;
    if (!list.is_array() || list.size() != size) throw BadValue{"list of " + std::to_string(size), value};
    return tuple_from_json<T>(list, fields, std::make_index_sequence<size>{});
  } else {
    static_assert(
        std::is_same_v<T, nlohmann::json> ||
            requires(const nlohmann::json& j, T& t) { nlohmann::adl_serializer<T>::from_json(j, t); },
        "kettlingar: the type of a parameter, or of a result that is asked for, must be one that nlohmann_json "
        "converts: see NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE and NLOHMANN_JSON_SERIALIZE_ENUM");
    if constexpr (std::is_enum_v<T>) {
      return enumerator_from_json<T>(value);
    } else {
      return class_from_json<T>(value, fields);
    }
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

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
