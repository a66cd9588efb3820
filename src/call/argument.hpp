// SPDX-License-Identifier: MIT
// call/argument.hpp: what a program says of a method and its parameters: names, defaults, limits, marks.
#pragma once

#include <initializer_list>
#include <memory>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "../base/json.hpp"
#include "../base/version.hpp"
#include "../os/descriptor.hpp"
#include "convert.hpp"
#include "transfer.hpp"

namespace kettlingar {
inline namespace v0_1 {

namespace detail {

template <class T>
concept DescriptorValue = holds_descriptors<std::remove_cvref_t<T>>;

std::shared_ptr<const json> shared_value(const Scalar& scalar);
std::shared_ptr<const json> shared_value(json value);

}  // namespace detail

/// Names a parameter, perhaps with a default: `kt::arg("count") = 1`. One for each parameter of a handler, in order.
/// A name has letters, digits and `_`, which does not stand in front; it is not `reply_to_first_fd`, which callers use
/// to say where the answer goes.
///
/// More can be said of a parameter, for callers to read and for the service to insist on:
/// `kt::arg("count").doc("How often.").min(1).max(9) = 3`. Each returns the same parameter with that. A call with
/// another value is answered with 400 and a sentence that says which ones there are, before the handler runs; of a
/// list, that goes for each item, and null in place of an optional value is always taken. Where a method is added, it
/// is std::invalid_argument if the type of the parameter has no such values, or the default is none of them.
class Arg {
 public:
  explicit Arg(std::string name) : name_(std::move(name)) {}

  /// What it is for, as `help METHOD` and `describe` say it.
  Arg doc(const std::string& text) const;
  /// The values that it can have, `{"calm", "wild"}` or a vector of them. Not for lists in lists, maps and structs.
  Arg choices(std::initializer_list<json> values) const;
  template <class T>
  Arg choices(const std::vector<T>& values) const {
    json list = json::array();
    for (const T& value : values) list.push_back(detail::to_json_value(value));
    return with("enum", std::move(list));
  }
  /// The least value that it can have, and the greatest. Only for numbers, or kt::json that is a number.
  template <class T>
  requires(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) Arg min(T least)
  const { return with("minimum", detail::scalar_of(least).value()); }
  template <class T>
  requires(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) Arg max(T greatest)
  const { return with("maximum", detail::scalar_of(greatest).value()); }

  /// The same parameter with a default; `nullptr` is the default of a std::optional.
  template <class T>
  requires(!detail::DescriptorValue<T>) Arg operator=(const T& value) const {
    Arg with_default(name_);
    with_default.facts_ = facts_;
    if constexpr (detail::PlainArgument<T>) {
      with_default.fallback_ = detail::shared_value(detail::scalar_of(value));
    } else {
      with_default.fallback_ = detail::shared_value(detail::to_json_value(value));
    }
    return with_default;
  }

  /// As an argument of a call: open files and sockets, which are given away, once. Throws InvalidArgument if one of
  /// them is not open.
  template <detail::DescriptorValue T>
  Arg operator=(T&& value) const {
    Arg with_descriptors(name_);
    with_descriptors.facts_ = facts_;
    with_descriptors.descriptors_ = std::make_shared<std::vector<Fd>>();
    try {
      with_descriptors.fallback_ =
          detail::shared_value(detail::put_value(std::forward<T>(value), *with_descriptors.descriptors_));
    } catch (const std::system_error& error) {
      detail::refuse_descriptors(error, "argument '" + name_ + "'");
    }
    return with_descriptors;
  }

  const std::string& name() const noexcept { return name_; }
  /// Null if there is none.
  const std::shared_ptr<const json>& fallback() const noexcept { return fallback_; }
  /// What the value stands for; null if it has no descriptors.
  const std::shared_ptr<std::vector<Fd>>& descriptors() const noexcept { return descriptors_; }
  /// What else has been said of it, in the words of JSON Schema; null if nothing.
  const std::shared_ptr<const json>& facts() const noexcept { return facts_; }

 private:
  Arg with(const char* fact, json value) const;

  std::string name_;
  std::shared_ptr<const json> fallback_;
  std::shared_ptr<std::vector<Fd>> descriptors_;
  std::shared_ptr<const json> facts_;
};

/// Names a parameter of a handler.
inline Arg arg(std::string name) { return Arg(std::move(name)); }

/// What is said of a method beside its parameters, in any place among them:
/// `api("list", list, "Lists all.", kt::read_only, kt::arg("most") = 10)`.
class MethodMark {
 public:
  enum Kind { reads_only, is_hidden };
  constexpr explicit MethodMark(Kind kind) noexcept : kind_(kind) {}
  constexpr Kind kind() const noexcept { return kind_; }

 private:
  Kind kind_;
};

/// The method changes nothing: whoever calls it for others need not ask them first. Callers are told so; the library
/// cannot know whether it is true.
inline constexpr MethodMark read_only{MethodMark::reads_only};
/// The method is not offered: not in the list that `help` shows, nor where tools let choose from `describe`. Who knows
/// its name calls it as any other: this is no protection.
inline constexpr MethodMark hidden{MethodMark::is_hidden};

}  // namespace v0_1
}  // namespace kettlingar
