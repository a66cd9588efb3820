// SPDX-License-Identifier: MIT
// client/call_check.hpp: what is wrong with a call by name, in sentences, near the line of the program that makes it.
#pragma once

#include <tuple>
#include <type_traits>

#include "../call/handler_check.hpp"
#include "running_call.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

// Compilers print these names.
template <int number, class T>
struct MisfitGiven;
template <class T>
struct MisfitAsked;

/// The first argument with descriptors that stays with the caller.
template <class... A>
using KeptDescriptor =
    typename Misfit<MisfitGiven,
                    first_misfit<!(std::is_lvalue_reference_v<A> && holds_descriptors<std::remove_cvref_t<A>>)...>(),
                    std::tuple<A...>>::type;

/// Whether an argument of a call can be sent.
template <class A>
inline constexpr bool can_be_sent =
    writable<A> || PlainArgument<A> || std::is_same_v<A, Arg> || std::is_same_v<A, ReplyTo>;
/// Whether a call can ask for a T.
template <class T>
inline constexpr bool askable =
    std::is_void_v<T> || std::is_same_v<T, Result> || std::is_same_v<T, Event> || readable<T>;

/// Instantiated first of all where a call by name is made, so that compilers name that place.
template <class T, class... A>
struct CallCheck {
  using Kept = KeptDescriptor<A...>;
  using Unwritable =
      typename Misfit<MisfitGiven, first_misfit<can_be_sent<std::remove_cvref_t<A>>...>(), std::tuple<A...>>::type;
  using Asked = std::conditional_t<askable<T>, void, MisfitAsked<T>>;
  static_assert(no_misfit<Kept>,
                "kettlingar: a descriptor is given away: use std::move(fd), or fd.duplicate() to keep it");
  static_assert(no_misfit<Unwritable>,
                "kettlingar: the type of an argument must be one that nlohmann_json converts: see "
                "NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE");
  static_assert(no_misfit<Asked>,
                "kettlingar: the type of a parameter, or of a result that is asked for, must be one that nlohmann_json "
                "converts: see NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE and NLOHMANN_JSON_SERIALIZE_ENUM");
  static constexpr bool done = true;
};

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
