// SPDX-License-Identifier: MIT
// client/typed_call.hpp: calls by a pointer to the handler, checked against its parameters at compile time.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include "../call/signature.hpp"
#include "call_check.hpp"
#include "client.hpp"
#include "running_call.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

template <class A>
inline constexpr bool is_positional =
    !std::is_same_v<std::remove_cvref_t<A>, Arg> && !std::is_same_v<std::remove_cvref_t<A>, ReplyTo>;
template <class A>
inline constexpr bool is_named = std::is_same_v<std::remove_cvref_t<A>, Arg>;
template <class A>
inline constexpr bool is_nothing =
    std::is_same_v<std::remove_cvref_t<A>, std::nullptr_t> || std::is_same_v<std::remove_cvref_t<A>, std::nullopt_t>;

/// True if an argument of type A can be given to a parameter of type P without losing or changing anything.
template <class P, class A>
constexpr bool fits_parameter() {
  using Value = std::remove_cvref_t<A>;
  if constexpr (std::is_same_v<P, Value> || std::is_same_v<P, json> || std::is_same_v<P, nlohmann::json>) {
    return true;
  } else if constexpr (is_instance<P, std::optional>) {
    return is_nothing<A> || fits_parameter<typename P::value_type, A>();
  } else if constexpr (std::is_same_v<P, bool> || std::is_same_v<Value, bool>) {
    return false;
  } else if constexpr (std::is_integral_v<P>) {
    return std::is_integral_v<Value>;
  } else if constexpr (std::is_floating_point_v<P>) {
    return std::is_arithmetic_v<Value>;
  } else if constexpr (std::is_same_v<P, std::string>) {
    return !is_nothing<A> && std::is_convertible_v<const Value&, std::string_view>;
  } else {
    return std::is_class_v<P> && !is_nothing<A> && std::is_convertible_v<A, P>;
  }
}

template <class P, class A>
void add_argument(CallBuilder& builder, A&& value) {
  using Value = std::remove_cvref_t<A>;
  if constexpr (is_nothing<A>) {
    builder.add(json(nullptr));
  } else if constexpr (std::is_same_v<P, Value> || !std::is_class_v<P> || std::is_same_v<P, std::string> ||
                       std::is_same_v<P, json> || std::is_same_v<P, nlohmann::json> || holds_descriptors<Value>) {
    builder.add(std::forward<A>(value));
  } else if constexpr (is_instance<P, std::optional>) {
    add_argument<typename P::value_type>(builder, std::forward<A>(value));
  } else {
    builder.add(static_cast<P>(std::forward<A>(value)));
  }
}

// Compilers print this name.
template <int number, class Parameter, class Given>
struct MisfitArgument;

/// The first argument, counted from 1, that does not fit its parameter; void if all do.
template <int number, class Types, class... A>
struct FirstMisfitArgument {
  using type = void;
};
template <int number, class P, class A>
struct FitOfArgument {
  using type = std::conditional_t<fits_parameter<Stored<P>, A>(), void, MisfitArgument<number, P, A>>;
};
template <int number, class P, class... R, class First, class... Rest>
requires(!is_positional<First>) struct FirstMisfitArgument<number, std::tuple<P, R...>, First, Rest...>
    : FirstMisfitArgument<number, std::tuple<P, R...>, Rest...> {
};
template <int number, class P, class... R, class First, class... Rest>
requires is_positional<First>
struct FirstMisfitArgument<number, std::tuple<P, R...>, First, Rest...>
    : std::conditional_t<fits_parameter<Stored<P>, First>(), FirstMisfitArgument<number + 1, std::tuple<R...>, Rest...>,
                         FitOfArgument<number, P, First>> {
};

/// Whether arguments fit the parameters of a handler.
template <class F, class... A>
struct TypedCallFit {
  using Parameters = typename Signature<F>::Parameters::Types;
  using Argument = typename FirstMisfitArgument<1, Parameters, A...>::type;
  static constexpr std::size_t wanted = std::tuple_size_v<Parameters>;
  static constexpr std::size_t given = (std::size_t{is_positional<A>} + ... + 0);
  static constexpr bool not_too_many = given <= wanted;
  static constexpr bool enough = given >= wanted || (is_named<A> || ...);
  static constexpr bool fits = not_too_many && enough && std::is_void_v<Argument>;
};

/// Instantiated first of all where such a call is made, so that compilers name that place.
template <class F, class... A>
struct TypedCallCheck {
  using Fit = TypedCallFit<F, A...>;
  static_assert(Fit::not_too_many, "kettlingar: too many arguments for this method");
  static_assert(
      Fit::enough,
      "kettlingar: too few arguments for this method: give all of them, or some by kt::arg(\"name\") = value");
  static_assert(no_misfit<KeptDescriptor<A...>>,
                "kettlingar: a descriptor is given away: use std::move(fd), or fd.duplicate() to keep it");
  static_assert(no_misfit<typename Fit::Argument>,
                "kettlingar: an argument does not fit its parameter: bool is no number, a float no integer, and text "
                "is neither; convert it where you call");
  static constexpr bool done = true;
};

template <class Parameters, std::size_t at>
void add_arguments(CallBuilder&) {}
template <class Parameters, std::size_t at, class First, class... Rest>
void add_arguments(CallBuilder& builder, First&& first, Rest&&... rest) {
  if constexpr (is_positional<First>) {
    add_argument<Stored<std::tuple_element_t<at, Parameters>>>(builder, std::forward<First>(first));
    add_arguments<Parameters, at + 1>(builder, std::forward<Rest>(rest)...);
  } else {
    builder.add(std::forward<First>(first));
    add_arguments<Parameters, at>(builder, std::forward<Rest>(rest)...);
  }
}

/// A call of the method whose handler has type F.
template <class F, class... A>
OutgoingCall make_typed_call(const Method& method, A&&... arguments) {
  using Fit = TypedCallFit<F, A...>;
  CallBuilder builder(method);
  if constexpr (Fit::fits) add_arguments<typename Fit::Parameters, 0>(builder, std::forward<A>(arguments)...);
  return builder.finish();
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
