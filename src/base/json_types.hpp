// SPDX-License-Identifier: MIT
// base/json_types.hpp: what nlohmann_json does not do, or say, by itself: std::optional as a member, the names of an
// enumeration, the types that a class is made of.
#pragma once

#include <concepts>
#include <exception>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "json.hpp"
#include "version.hpp"

namespace kettlingar {
inline namespace v0_1 {

/// The schema of a class or an enumeration, for `describe`, `help` and whatever is made of them. The library makes one
/// of nearly every type that nlohmann_json converts: of a struct, it looks at what becomes of a new one, and of one
/// that is read again with this or that field changed. Where that says too little, as of a class without a default
/// constructor, or of fields that hold a pattern, say it yourself, before the first method that has the type:
/// ```
/// template <>
/// kt::json kt::schema_of<Colour>() {
///   return kt::json::parse(R"({"type": "string", "pattern": "^#[0-9a-f]{6}$"})");
/// }
/// ```
/// It is called once, when a schema is first asked for, on the thread that is asked. Nothing is checked with it:
/// arguments are what from_json() takes. Null, as here, leaves it to the library.
template <class T>
json schema_of() {
  return nullptr;
}

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

/// The unqualified name of a type, for help texts; taken from the compiler's own description, so that no RTTI is
/// needed.
template <class T>
constexpr std::string_view class_name() {
  std::string_view text = __PRETTY_FUNCTION__;
  const std::size_t begin = text.find("T = ") + 4;
  const std::size_t end = text.find_first_of(";]", begin);
  text = text.substr(begin, end - begin);
  if (const std::size_t angle = text.find('<'); angle != std::string_view::npos) text = text.substr(0, angle);
  if (const std::size_t colon = text.rfind(':'); colon != std::string_view::npos) text.remove_prefix(colon + 1);
  return text;
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
/// Whether it makes a T of a nlohmann::json.
template <class T>
inline constexpr bool from_plain_json = requires(const nlohmann::json& j, T& t) {
  nlohmann::adl_serializer<T>::from_json(j, t);
};

/// What a class makes of a value, as json again; null if it has no way back. Throws what its from_json() throws.
template <class T>
nlohmann::json read_back(const nlohmann::json& value) {
  if constexpr (to_plain_json<T>) {
    return nlohmann::json(value.template get<T>());
  } else {
    return static_cast<void>(value.template get<T>()), nullptr;
  }
}
using ReadBack = nlohmann::json (*)(const nlohmann::json& value);

/// A new one, as json. Throws what its constructor and its to_json() throw.
template <class T>
json sample_of() {
  if constexpr (to_ordered_json<T>) {
    return json(T{});
  } else {
    return json(nlohmann::json(T{}));
  }
}

class InnerTypes;
/// Adds a type and those that it is made of.
using AddTypes = void (InnerTypes::*)();

/// A class without its type. Its address stands for the type.
struct ClassInfo {
  std::string_view name;
  json (*sample)();    ///< null if none can be made, or written
  ReadBack read_back;  ///< null if there is no way to read one and write it again
  AddTypes add_types;
  json (*own_schema)();  ///< null of it if the program says nothing
};

#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wmissing-braces"
#endif

/// The enumerations, by their names, and the classes that a type is made of: members of structs without constructors,
/// and what is in optionals, lists and maps.
class InnerTypes {
 public:
  template <class T>
  void add() {
    if (!first_time(&tag<T>)) return;
    if constexpr (std::is_enum_v<T>) {
      names_.push_back(choices_of<T>());
    } else if constexpr (requires { typename T::mapped_type; }) {
      add<typename T::mapped_type>();
    } else if constexpr (requires { typename T::value_type; }) {
      add<typename T::value_type>();
    } else if constexpr (std::is_class_v<T>) {
      add_class<T>();
      if constexpr (std::is_aggregate_v<T>) add_members<T>();
    }
  }
  /// The names of each enumeration.
  const std::vector<std::vector<std::string>>& names() const { return names_; }
  /// Those classes that can be written and read again.
  const std::vector<const ClassInfo*>& classes() const { return classes_; }

 private:
  /// A member made of one of these tells its type: an initializer converts to what its member is. The conversions are
  /// not const: a constructor that takes anything would be a better match, and is not to be used.
  struct Member {
    InnerTypes& types;

    template <std::default_initializable T>
    operator T() {
      types.add<T>();
      return T();
    }
  };
  /// For two kinds of members that have such constructors.
  struct OptionalMember {
    InnerTypes& types;

    template <class T>
    operator std::optional<T>() {
      types.add<T>();
      return std::nullopt;
    }
  };
  struct JsonMember {
    InnerTypes& types;

    operator nlohmann::json() { return nullptr; }
    operator nlohmann::ordered_json() { return nullptr; }
  };
  struct NoMember {
    InnerTypes& types;
  };
  template <class T, class... M>
  static constexpr bool made_of = requires(InnerTypes& types) {
    T{M{types}...};
  };

  template <class T>
  void add_class();
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

  std::vector<std::vector<std::string>> names_;
  std::vector<const ClassInfo*> classes_;
  std::vector<const void*> seen_;
};

template <class T>
constexpr ClassInfo info_of_class() {
  ClassInfo info{class_name<T>(), nullptr, nullptr, &InnerTypes::add<T>, &schema_of<T>};
  if constexpr (std::default_initializable<T> && (to_plain_json<T> || to_ordered_json<T>)) info.sample = &sample_of<T>;
  if constexpr (std::default_initializable<T> && to_plain_json<T> && from_plain_json<T>) info.read_back = &read_back<T>;
  return info;
}
template <class T>
inline constexpr ClassInfo class_info = info_of_class<T>();

template <class T>
void InnerTypes::add_class() {
  if constexpr (std::default_initializable<T> && to_plain_json<T> && from_plain_json<T>)
    classes_.push_back(&class_info<T>);
}
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
