// SPDX-License-Identifier: MIT
// call/type_info.hpp: what can be done with the values of a parameter's type, without the type.
#pragma once

#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "../base/json.hpp"
#include "../base/json_types.hpp"
#include "../base/version.hpp"
#include "convert.hpp"
#include "signature.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Types whose values can be compared with choices and bounds.
template <class T>
inline constexpr bool can_be_limited =
    std::is_arithmetic_v<T> || std::is_same_v<T, std::string> || std::is_enum_v<T> || std::is_same_v<T, json>;

/// A value of any form that a T is read from, in the one form in which it is written. Throws BadValue.
template <class T>
json normal_form(const json& value) {
  return to_json_value(from_json<T>(value));
}

/// The schema of arguments and results that are a T, see schema.hpp.
template <class T>
json schema_for();

/// What can be done with the values of a type, without the type.
struct TypeInfo {
  json (*schema)();
  json (*normal)(const json&);  ///< normal_form(), of an optional that of what is in it; null if it cannot be limited
  const TypeInfo* item;         ///< of lists; null of all others
};

template <class T>
constexpr TypeInfo info_of_type();
template <class T>
inline constexpr TypeInfo type_info = info_of_type<T>();

template <class T>
constexpr TypeInfo info_of_type() {
  TypeInfo info{&schema_for<T>, nullptr, nullptr};
  if constexpr (is_instance<T, std::optional>) {
    info.normal = type_info<typename T::value_type>.normal;
    info.item = type_info<typename T::value_type>.item;
  } else if constexpr (is_instance<T, std::vector> && !is_bytes<T>) {
    info.item = &type_info<typename T::value_type>;
  } else if constexpr (can_be_limited<T>) {
    info.normal = &normal_form<T>;
  }
  return info;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
