// SPDX-License-Identifier: MIT
// service/options.hpp: variables that the command line, a file and the `config` method can set.
#pragma once

#include <atomic>
#include <cmath>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/errors.hpp"
#include "../base/log.hpp"
#include "../base/version.hpp"
#include "../call/convert.hpp"
#include "../call/type_info.hpp"
#include "../os/descriptor.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// One variable that can be configured.
struct Option {
  std::string name;  ///< with underscores; on the command line dashes do as well
  std::string type;
  std::string help;
  json declared;          ///< its value when it was declared, with which another process of the program begins
  json fallback;          ///< the default: that, or what the program has set since, see Options::adopt()
  bool secret = false;    ///< its value is shown nowhere, and is in no command line that we make
  bool at_start = false;  ///< a change counts from the next start only
  bool on_disk = false;   ///< says where files are, and so is not for callers over the wire to choose
  bool built_in = false;
  bool chosen = false;  ///< words have set it
  std::function<json()> get;
  std::function<void(const json&)> set;      ///< throws BadValue
  std::function<void()> validate;            ///< may be empty; throws InvalidArgument where the value cannot be used
  std::function<void(const json&)> forward;  ///< sets what the service goes by, if that is another variable
  json (*convert)(const json&) = nullptr;    ///< what get() returns after set() of that; throws BadValue

  // Where people write other words than those of the type: what they mean, before set(), and the way back.
  json (*meaning)(const json&) = nullptr;  ///< throws BadValue
  std::string (*words)(const json&) = nullptr;

  /// `value` for people. Files have the words of the type, which Python services understand as well.
  std::string text(const json& value) const;
};

/// What the variable of an option holds.
template <class T>
struct OptionValue {
  using type = T;
};
template <class T>
struct OptionValue<std::atomic<T>> {
  using type = T;
};

/// Binds `variable`, whose present value is the default.
template <class T>
Option make_option(std::string name, T& variable, std::string help) {
  using Value = typename OptionValue<T>::type;
  Option option;
  option.name = std::move(name);
  option.type = type_name<Value>();
  option.help = std::move(help);
  option.get = [&variable] {
    const Value& value = variable;
    return to_json_value(value);
  };
  option.set = [&variable](const json& value) { variable = from_json<Value>(value); };
  option.convert = &normal_form<Value>;
  option.declared = option.fallback = option.get();
  return option;
}

/// Called with nothing when an option has been changed by `config`; its result goes to the caller. By option name.
using ConfigHooks = std::map<std::string, std::function<json()>, std::less<>>;

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
