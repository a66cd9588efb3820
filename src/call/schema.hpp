// SPDX-License-Identifier: MIT
// call/schema.hpp: what values of a C++ type look like as JSON, said as a JSON Schema of draft 2020-12.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "../base/json.hpp"
#include "../base/json_types.hpp"
#include "../base/version.hpp"
#include "convert.hpp"
#include "result.hpp"
#include "signature.hpp"
#include "type_info.hpp"

namespace kettlingar {
inline namespace v0_1 {

namespace detail {

json schema_of_type(const char* type);
/// Of a `long double` or `double`, or else of a `float`.
json schema_of_real(bool is_double);
json schema_of_integer(const IntegerRange& range);
json schema_of_bytes();
json schema_of_descriptor(const char* kind);
/// Of an enumeration with these names; without any, `sample` is one of its values.
json schema_of_names(const std::vector<std::string>& names, json (*sample)());
json schema_or_null(json schema);
json schema_of_list(json items, bool unique);
json schema_of_array(json items, std::size_t size);
json schema_of_map(json values);
json schema_of_tuple(json schemas);
json schema_of_any(json schemas);
/// Refers to the definition of that class, which is made when it is first asked for.
json schema_of_class(const ClassInfo& info);

/// What nlohmann_json makes a list or map of, by its members.
template <class T>
concept Container = requires(const T& container) {
  typename T::value_type;
  container.begin();
  container.end();
}
&&!std::is_same_v<typename T::value_type, char>;

template <class... T>
json schemas_for(const std::tuple<T...>*) {
  json list = json::array();
  (list.push_back(schema_for<T>()), ...);
  return list;
}
template <class T, class U>
json schemas_for(const std::pair<T, U>*) {
  return schemas_for(static_cast<const std::tuple<T, U>*>(nullptr));
}
template <class... T>
json schemas_for(const std::variant<T...>*) {
  return schemas_for(static_cast<const std::tuple<T...>*>(nullptr));
}

/// The schema of arguments and results that are a T. Classes are references to definitions(), so that they are
/// described once. What parameters take beside that, such as text for numbers, is not said.
template <class T>
json schema_for() {
  if constexpr (std::is_void_v<T> || std::is_same_v<T, std::nullptr_t>) {
    return schema_of_type("null");
  } else if constexpr (std::is_same_v<T, json> || std::is_same_v<T, nlohmann::json> || std::is_same_v<T, Result> ||
                       std::is_same_v<T, RawReply>) {
    return json::object();  // anything
  } else if constexpr (std::is_same_v<T, Event>) {
    return schema_of_type("object");
  } else if constexpr (std::is_same_v<T, bool>) {
    return schema_of_type("boolean");
  } else if constexpr (std::is_integral_v<T>) {
    return schema_of_integer(integer_range<T>());
  } else if constexpr (std::is_floating_point_v<T>) {
    return schema_of_real(sizeof(T) >= sizeof(double));
  } else if constexpr (PlainText<T>) {
    return schema_of_type("string");
  } else if constexpr (is_bytes<T>) {
    return schema_of_bytes();
  } else if constexpr (std::is_same_v<T, Fd>) {
    return schema_of_descriptor("fd");
  } else if constexpr (std::is_same_v<T, File>) {
    return schema_of_descriptor("file");
  } else if constexpr (std::is_same_v<T, Socket>) {
    return schema_of_descriptor("socket");
  } else if constexpr (is_instance<T, std::optional>) {
    return schema_or_null(schema_for<typename T::value_type>());
  } else if constexpr (is_instance<T, std::tuple> || is_instance<T, std::pair>) {
    return schema_of_tuple(schemas_for(static_cast<const T*>(nullptr)));
  } else if constexpr (is_instance<T, std::variant>) {
    return schema_of_any(schemas_for(static_cast<const T*>(nullptr)));
  } else if constexpr (std::is_enum_v<T>) {
    json own = schema_of<T>();
    return own.is_null() ? schema_of_names(choices_of<T>(), &sample_of<T>) : own;
  } else if constexpr (Container<T>) {
    using Item = typename T::value_type;
    if (json own = schema_of<T>(); !own.is_null()) return own;
    if constexpr (requires { typename T::mapped_type; }) {
      if constexpr (std::is_constructible_v<std::string, typename T::key_type>) {
        return schema_of_map(schema_for<typename T::mapped_type>());
      } else {
        using Pair = std::pair<typename T::key_type, typename T::mapped_type>;
        return schema_of_list(schema_for<Pair>(), false);
      }
    } else if constexpr (requires { std::tuple_size<T>::value; }) {
      return schema_of_array(schema_for<Item>(), std::tuple_size_v<T>);
    } else {
      // That of a set says whether it takes one.
      constexpr bool unique = requires(T & set, const Item& item) { set.insert(item).second; };
      return schema_of_list(schema_for<Item>(), unique);
    }
  } else {
    return schema_of_class(class_info<T>);
  }
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
