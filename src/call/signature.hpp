// SPDX-License-Identifier: MIT
// call/signature.hpp: what a handler takes and returns, found at compile time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <vector>

#include "../base/json.hpp"
#include "../base/json_types.hpp"
#include "../os/passing.hpp"
#include "coroutine.hpp"
#include "result.hpp"

namespace kettlingar {
inline namespace v0_1 {

class Request;

namespace detail {

/// True where `T` is an instance of the class template.
template <class T, template <class...> class Template>
inline constexpr bool is_instance = false;
template <template <class...> class Template, class... A>
inline constexpr bool is_instance<Template<A...>, Template> = true;

template <class T>
inline constexpr bool is_task = false;
template <class T>
inline constexpr bool is_task<Task<T>> = true;

template <class T>
inline constexpr bool is_generator = is_instance<T, Generator>;

template <class T>
struct TaskResult {
  using type = T;
};
template <class T>
struct TaskResult<Task<T>> {
  using type = T;
};

/// What a handler returns that returns a T: the result of a Task, the item of a Generator.
template <class T>
struct Yielded {
  using type = typename TaskResult<T>::type;
};
template <class T>
requires is_generator<T>
struct Yielded<T> {
  using type = typename T::value_type;
};

template <class T>
inline constexpr bool is_bytes =
    std::is_same_v<T, std::vector<std::uint8_t>> || std::is_same_v<T, std::vector<std::byte>>;

/// Maps whose keys are strings.
template <class T>
inline constexpr bool is_map = false;
template <class V, class... A>
inline constexpr bool is_map<std::map<std::string, V, A...>> = true;
template <class V, class... A>
inline constexpr bool is_map<std::unordered_map<std::string, V, A...>> = true;

template <class T>
inline constexpr bool is_view = std::is_same_v<T, std::string_view> || std::is_pointer_v<T>;
template <class T, std::size_t n>
inline constexpr bool is_view<std::span<T, n>> = true;

/// Parameter lists as types. `Request&` first is taken off and remembered.
template <class... A>
struct ParameterList {
  static constexpr bool takes_request = false;
  using Types = std::tuple<A...>;
};
template <class... A>
struct ParameterList<Request&, A...> {
  static constexpr bool takes_request = true;
  using Types = std::tuple<A...>;
};
template <class... A>
struct ParameterList<const Request&, A...> : ParameterList<Request&, A...> {};

template <class R, class... A>
struct Callable {
  static constexpr bool known = true;
  using Return = R;
  using Parameters = ParameterList<A...>;
};

/// Function pointers, member function pointers, and objects with exactly one operator().
template <class F>
struct Signature {
  static constexpr bool known = false;
};
template <class R, class... A>
struct Signature<R (*)(A...)> : Callable<R, A...> {};
template <class R, class... A>
struct Signature<R (*)(A...) noexcept> : Callable<R, A...> {};
template <class R, class C, class... A>
struct Signature<R (C::*)(A...)> : Callable<R, A...> {
  using Class = C;
};
template <class R, class C, class... A>
struct Signature<R (C::*)(A...) const> : Signature<R (C::*)(A...)> {};
template <class R, class C, class... A>
struct Signature<R (C::*)(A...) noexcept> : Signature<R (C::*)(A...)> {};
template <class R, class C, class... A>
struct Signature<R (C::*)(A...) const noexcept> : Signature<R (C::*)(A...)> {};
template <class F>
concept HasOneCallOperator = requires {
  &F::operator();
};
template <HasOneCallOperator F>
struct Signature<F> : Signature<decltype(&F::operator())> {};

/// True if a parameter of type `P` stays valid while a coroutine is suspended.
template <class P>
inline constexpr bool safe_in_coroutine = !std::is_reference_v<P> && !is_view<P>;

template <class P>
inline constexpr bool is_mutable_reference =
    std::is_lvalue_reference_v<P> && !std::is_const_v<std::remove_reference_t<P>>;

/// What is kept for a parameter while the call runs: views get storage of their own.
template <class P>
using Stored =
    std::conditional_t<std::is_same_v<std::remove_cvref_t<P>, std::string_view>, std::string, std::remove_cvref_t<P>>;

/// True for types whose values are, or contain, open descriptors: those travel beside the message.
template <class T>
inline constexpr bool holds_descriptors = std::is_same_v<T, Fd> || std::is_same_v<T, File> || std::is_same_v<T, Socket>;
template <class T, class A>
inline constexpr bool holds_descriptors<std::vector<T, A>> = holds_descriptors<T>;
template <class T>
inline constexpr bool holds_descriptors<std::optional<T>> = holds_descriptors<T>;
template <class... T>
inline constexpr bool holds_descriptors<std::tuple<T...>> = (holds_descriptors<T> || ...);
template <class T, class U>
inline constexpr bool holds_descriptors<std::pair<T, U>> = holds_descriptors<T> || holds_descriptors<U>;

/// The name of a type in `help` and in the `methods` table, in the words of the Python peers; empty: anything goes.
template <class T>
std::string type_name() {
  if constexpr (std::is_same_v<T, bool>) {
    return "bool";
  } else if constexpr (std::is_integral_v<T>) {
    return "int";
  } else if constexpr (std::is_floating_point_v<T>) {
    return "float";
  } else if constexpr (std::is_convertible_v<T, std::string_view>) {
    return "str";
  } else if constexpr (is_bytes<T>) {
    return "bytes";
  } else if constexpr (std::is_same_v<T, Fd>) {
    return "fd";
  } else if constexpr (std::is_same_v<T, File>) {
    return "file";
  } else if constexpr (std::is_same_v<T, Socket>) {
    return "socket";
  } else if constexpr (is_instance<T, std::optional>) {
    return type_name<typename T::value_type>() + " | None";
  } else if constexpr (is_map<T>) {
    return "dict";
  } else if constexpr (is_instance<T, std::vector> || is_instance<T, std::tuple> || is_instance<T, std::pair>) {
    return "list";
  } else if constexpr (std::is_void_v<T> || std::is_same_v<T, json> || std::is_same_v<T, nlohmann::json>) {
    return "";
  } else {
    return std::string(class_name<T>());
  }
}

/// Its address stands for the type F where there may be no RTTI.
template <class F>
inline constexpr char function_tag = 0;

/// A member function with its object, as a handler.
template <class Object, class Function>
struct BoundMember {
  Object* object;
  Function function;

  template <class... A>
  decltype(auto) operator()(A&&... arguments) const {
    return (object->*function)(std::forward<A>(arguments)...);
  }
};
template <class Object, class Function>
struct Signature<BoundMember<Object, Function>> : Signature<Function> {};

template <class F>
inline constexpr bool is_bound_member = false;
template <class Object, class Function>
inline constexpr bool is_bound_member<BoundMember<Object, Function>> = true;

/// `&MyKitten::add`, or a pointer to a plain function.
template <class F>
concept NamedFunction = (std::is_member_function_pointer_v<F> ||
                         (std::is_pointer_v<F> && std::is_function_v<std::remove_pointer_t<F>>)) &&
                        Signature<F>::known;

/// The type that a caller gets for a handler's return type R.
template <class R>
struct Returned {
  static constexpr bool streams = false;
  using type = std::conditional_t<std::is_convertible_v<R, std::string_view>, std::string, std::remove_cvref_t<R>>;
};
template <class T>
struct Returned<Task<T>> : Returned<T> {};
template <class T>
struct Returned<Generator<T>> {
  static constexpr bool streams = true;
  using type = T;
};
template <class F>
using ReturnedBy = Returned<std::remove_cvref_t<typename Signature<F>::Return>>;

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
