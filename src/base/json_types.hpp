// SPDX-License-Identifier: MIT
// base/json_types.hpp: what nlohmann_json does not do, or say, by itself: std::optional as a member, the names of an
// enumeration.
#pragma once

#include <concepts>
#include <exception>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "version.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// A text that nobody means: what becomes of it tells how a type treats what it does not know.
inline constexpr const char* meaningless_text = "\x7f no name of anything \x7f";

/// Given to a from_json() of NLOHMANN_JSON_SERIALIZE_ENUM in place of its json, this takes down the names that it is
/// compared with.
class NameListener : public nlohmann::json {
 public:
  using nlohmann::json::json;
  static NameListener writing_to(std::vector<std::string>& names) {
    NameListener listener;
    listener.names_ = &names;
    return listener;
  }

  template <std::same_as<NameListener> Name>
  friend bool operator==(const Name& name, const NameListener& listener) {
    if (listener.names_ != nullptr && name.is_string())
      listener.names_->push_back(name.template get_ref<const std::string&>());
    return false;
  }

 private:
  std::vector<std::string>* names_ = nullptr;
};

/// The texts that stand for values of an enumeration; none if it has another from_json() than that of the macro.
template <class E>
std::vector<std::string> choices_of() {
  std::vector<std::string> choices;
  if constexpr (requires(const NameListener& listener, E& value) { from_json(listener, value); }) {
    E value{};
    try {
      from_json(NameListener::writing_to(choices), value);
    } catch (const std::exception&) {  // of a from_json() that reads names in another way
    }
  }
  return choices;
}

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wmissing-braces"
#endif

/// The names of the enumerations that a type is made of: members of structs without constructors, and what is in
/// optionals, lists and maps.
class EnumNames {
 public:
  template <class T>
  void add() {
    if (!first_time(&tag<T>)) return;
    if constexpr (std::is_enum_v<T>) {
      lists_.push_back(choices_of<T>());
    } else if constexpr (requires { typename T::mapped_type; }) {
      add<typename T::mapped_type>();
    } else if constexpr (requires { typename T::value_type; }) {
      add<typename T::value_type>();
    } else if constexpr (std::is_class_v<T> && std::is_aggregate_v<T>) {
      add_members<T>();
    }
  }
  const std::vector<std::vector<std::string>>& lists() const { return lists_; }

 private:
  /// A member made of one of these tells its type: an initializer converts to what its member is. The conversions are
  /// not const: a constructor that takes anything would be a better match, and is not to be used.
  struct Member {
    EnumNames& names;

    template <std::default_initializable T>
    operator T() {
      names.add<T>();
      return T();
    }
  };
  /// For two kinds of members that have such constructors.
  struct OptionalMember {
    EnumNames& names;

    template <class T>
    operator std::optional<T>() {
      names.add<T>();
      return std::nullopt;
    }
  };
  struct JsonMember {
    EnumNames& names;

    operator nlohmann::json() { return nullptr; }
    operator nlohmann::ordered_json() { return nullptr; }
  };
  struct NoMember {
    EnumNames& names;
  };
  template <class T, class... M>
  static constexpr bool made_of = requires(EnumNames& names) {
    T{M{names}...};
  };

  template <class T, class... M>
  void add_members() {
    // What is made of anything would compile its constructor for these.
    constexpr bool more = sizeof...(M) < 32 && !made_of<T, M..., NoMember>;
    if constexpr (more && made_of<T, M..., Member>) {
      add_members<T, M..., Member>();
    } else if constexpr (more && made_of<T, M..., OptionalMember>) {
      add_members<T, M..., OptionalMember>();
    } else if constexpr (more && made_of<T, M..., JsonMember>) {
      add_members<T, M..., JsonMember>();
    } else if constexpr (made_of<T, M...>) {
      static_cast<void>(T{M{*this}...});
    }
  }

  template <class T>
  static inline const char tag = 0;
  bool first_time(const void* type) {
    for (const void* seen : seen_) {
      if (seen == type) return false;
    }
    seen_.push_back(type);
    return true;
  }

  std::vector<std::vector<std::string>> lists_;
  std::vector<const void*> seen_;
};
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#if !defined(KETTLINGAR_NO_JSON_OPTIONAL)
/// Selects what nlohmann_json does by itself.
struct NlohmannOnly;

template <class T>
concept NlohmannConverts = requires(const nlohmann::json& json, T& value) {
  nlohmann::adl_serializer<T, NlohmannOnly>::from_json(json, value);
};
#endif

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar

#if !defined(KETTLINGAR_NO_JSON_OPTIONAL)
namespace nlohmann {

/// std::optional as a member of what nlohmann_json converts: null is none. It gives way to what the program, or a newer
/// nlohmann_json, has for it; if the program uses its own before this stands here, define KETTLINGAR_NO_JSON_OPTIONAL.
template <class T, class Void>
requires(std::is_void_v<Void> && !detail::is_basic_json<T>::value &&
         !kettlingar::detail::NlohmannConverts<std::optional<T>>) struct adl_serializer<std::optional<T>, Void> {
  template <class Json>
  requires std::is_constructible_v<Json, const T&>
  static void to_json(Json& json, const std::optional<T>& value) {
    if (value) {
      json = *value;
    } else {
      json = nullptr;
    }
  }
  template <class Json>
  static auto from_json(const Json& json, std::optional<T>& value) -> decltype(json.template get<T>(), void()) {
    if (json.is_null()) {
      value.reset();
    } else {
      value.emplace(json.template get<T>());
    }
  }
};

}  // namespace nlohmann
#endif
