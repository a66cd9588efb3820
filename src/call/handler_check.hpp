// SPDX-License-Identifier: MIT
// call/handler_check.hpp: what is wrong with a handler, in sentences, near the line of the program that adds it.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "convert.hpp"
#include "method.hpp"
#include "signature.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Whether arguments become a T.
template <class T>
inline constexpr bool readable = holds_descriptors<T> || std::is_same_v<T, json> || std::is_same_v<T, nlohmann::json> ||
                                 std::is_arithmetic_v<T> || std::is_same_v<T, std::string> ||
                                 requires(const nlohmann::json& value, T& result) {
  nlohmann::adl_serializer<T>::from_json(value, result);
};
template <class T>
inline constexpr bool readable<std::optional<T>> = readable<T>;
template <class T, class A>
inline constexpr bool readable<std::vector<T, A>> = readable<T> || is_bytes<std::vector<T, A>>;
template <class T, class... A>
inline constexpr bool readable<std::map<std::string, T, A...>> = readable<T>;
template <class T, class... A>
inline constexpr bool readable<std::unordered_map<std::string, T, A...>> = readable<T>;
template <class... T>
inline constexpr bool readable<std::tuple<T...>> = (readable<T> && ...);
template <class T, class U>
inline constexpr bool readable<std::pair<T, U>> = readable<T>&& readable<U>;

/// Whether a T can be a result or an item.
template <class T>
inline constexpr bool writable = PlainValue<T> || holds_descriptors<T> || is_bytes<T> || std::is_same_v<T, Result> ||
                                 std::is_same_v<T, RawReply> || std::is_same_v<T, Event> || std::is_same_v<T, json> ||
                                 std::is_same_v<T, nlohmann::json> || to_ordered_json<T> || to_plain_json<T>;
template <>
inline constexpr bool writable<void> = true;
template <class T>
inline constexpr bool writable<std::optional<T>> = writable<T>;

// Compilers print these names.
template <int number, class T>
struct MisfitParameter;
template <class T>
struct MisfitResult;

template <class Misfit>
inline constexpr bool no_misfit = std::is_void_v<Misfit>;

/// Which of some is the first that does not fit, counted from 1; 0 if all do.
template <bool... fits>
constexpr int first_misfit() {
  int at = 0, found = 0;
  ((++at, found = found == 0 && !fits ? at : found), ...);
  return found;
}
/// `Name` of that number and its type; void if there is none.
template <template <int, class> class Name, int number, class Types>
struct Misfit {
  using type = Name<number, std::tuple_element_t<number - 1, Types>>;
};
template <template <int, class> class Name, class Types>
struct Misfit<Name, 0, Types> {
  using type = void;
};

/// The first parameter that cannot be had, one that would be changed, and one that would be gone in a coroutine.
template <class Types>
struct Misfits;
template <class... P>
struct Misfits<std::tuple<P...>> {
  using Unreadable = typename Misfit<MisfitParameter, first_misfit<readable<Stored<P>>...>(), std::tuple<P...>>::type;
  using Mutable = typename Misfit<MisfitParameter, first_misfit<!is_mutable_reference<P>...>(), std::tuple<P...>>::type;
  using Borrowed = typename Misfit<MisfitParameter, first_misfit<safe_in_coroutine<P>...>(), std::tuple<P...>>::type;
};

template <class Sig, bool known = Sig::known>
struct HandlerTypes {
  using Types = std::tuple<>;
  using Return = void;
};
template <class Sig>
struct HandlerTypes<Sig, true> {
  using Types = typename Sig::Parameters::Types;
  using Return = std::remove_cvref_t<typename Sig::Return>;
};

/// What there is to say about a handler and its args. Nothing is made of one that does not fit, so that compilers say
/// no more than this.
template <class F, class... A>
struct HandlerFit {
  using Sig = Signature<F>;
  using Types = typename HandlerTypes<Sig>::Types;
  using Return = typename HandlerTypes<Sig>::Return;
  using Item = typename Yielded<Return>::type;
  using Unreadable = typename Misfits<Types>::Unreadable;
  using Mutable = typename Misfits<Types>::Mutable;
  using Borrowed = std::conditional_t<is_task<Return> || is_generator<Return>, typename Misfits<Types>::Borrowed, void>;
  using Result = std::conditional_t<writable<Item>, void, MisfitResult<Item>>;
  static constexpr bool known = Sig::known;
  static constexpr bool counted = !known || std::tuple_size_v<Types> == (std::size_t{0} + ... + std::is_same_v<A, Arg>);
  static constexpr bool sendable = !is_generator<Return> || !holds_descriptors<Item>;
  static constexpr bool fits = known && counted && sendable && no_misfit<Unreadable> && no_misfit<Mutable> &&
                               no_misfit<Borrowed> && no_misfit<Result>;
};

/// Instantiated first of all where a handler is added.
template <class F, class... A>
struct HandlerCheck {
  using Fit = HandlerFit<F, A...>;
  static_assert(Fit::known,
                "kettlingar: a handler must be a function, a member function, or an object with exactly one operator() "
                "that is not a template");
  static_assert(Fit::counted,
                "kettlingar: api() needs exactly one kt::arg(...) for each parameter of the handler, not counting "
                "kt::Request&");
  static_assert(no_misfit<typename Fit::Mutable>,
                "kettlingar: a handler cannot take a parameter by non-const reference; take it by value");
  static_assert(
      no_misfit<typename Fit::Borrowed>,
      "kettlingar: a coroutine handler must take its parameters by value (no references, string_view, span or "
      "pointers): they would be gone after its first co_await or co_yield");
  static_assert(no_misfit<typename Fit::Unreadable>,
                "kettlingar: the type of a parameter, or of a result that is asked for, must be one that nlohmann_json "
                "converts: see NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE and NLOHMANN_JSON_SERIALIZE_ENUM");
  static_assert(no_misfit<typename Fit::Result>,
                "kettlingar: the type of a result must be one that nlohmann_json converts: see "
                "NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE, or return kt::Result for a document");
  static_assert(Fit::sendable, "kettlingar: open descriptors can be results, but not items of a stream");
  static constexpr bool done = true;
};

/// Erases a callable that fits.
template <class F, class... A>
std::unique_ptr<Method> make_method(std::string name, F function, std::string doc, const A&... args) {
  if constexpr (HandlerFit<F, A...>::fits) {
    const std::array<MethodWord, sizeof...(A)> words{MethodWord(args)...};
    return std::make_unique<Handler<F, typename HandlerFit<F, A...>::Types>>(
        std::move(name), std::move(function), std::move(doc), std::span<const MethodWord>(words));
  } else {
    return nullptr;
  }
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
