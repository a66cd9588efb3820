// SPDX-License-Identifier: MIT
// call/bind.ipp: positional, named and mixed arguments onto a method's parameters.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/suggest.ipp"
#include "../base/version.hpp"
#include "method.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

inline std::vector<std::string> parameter_names(const Method& method) {
  std::vector<std::string> names;
  for (const Parameter& parameter : method.parameters()) names.push_back(parameter.name);
  return names;
}

/// What can be written by name everywhere: `--name=value`, a query, a keyword of Python. With `_` begin names that are
/// ours.
inline bool is_parameter_name(std::string_view name) {
  constexpr std::string_view allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
  return !name.empty() && name.front() != '_' && name.find_first_not_of(allowed) == std::string_view::npos;
}

/// Names are the caller's text: repeated to those who know the token, not to strangers.
KETTLINGAR_COLD void Method::refuse_name(const std::string& name, const Request& request) const {
  const std::string which = request.authenticated() ? " '" + name + "'" + suggestion(name, parameter_names(*this)) : "";
  throw InvalidArgument(name_ + ": unknown argument" + which);
}

KETTLINGAR_INLINE void Method::bind(Call& call) const {
  if (call.bound) return;
  call.slots.assign(parameters_.size(), {});
  if (takes_anything_) return;
  const json& arguments = ConnectionAccess::arguments(call.request);
  if (arguments.empty() && parameters_.empty()) return;
  for (const auto& [key, value] : arguments.items()) {
    if (key == positional_key) {
      if (value.size() > parameters_.size()) {
        throw InvalidArgument(name_ + ": takes at most " + std::to_string(parameters_.size()) + " arguments, got " +
                              std::to_string(value.size()));
      }
      for (std::size_t i = 0; i < value.size(); ++i) {
        if (call.slots[i].filled())
          throw InvalidArgument(name_ + ": argument '" + parameters_[i].name + "' given twice");
        call.slots[i].value = &value[i];
      }
      continue;
    }
    const std::size_t i = index_of(key);
    if (i == parameters_.size()) refuse_name(key, call.request);
    if (call.slots[i].filled()) throw InvalidArgument(name_ + ": argument '" + key + "' given twice");
    call.slots[i].value = &value;
  }
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (call.slots[i].filled()) continue;
    if (parameters_[i].required()) {
      throw InvalidArgument(name_ + ": missing argument '" + parameters_[i].name + "'" +
                            (parameters_[i].type.empty() ? "" : " (" + parameters_[i].type + ")"));
    }
    call.slots[i].value = parameters_[i].fallback.get();
  }
}

KETTLINGAR_INLINE bool Method::bind_scalars(std::vector<Slot>& slots, std::string_view body) const {
  if (takes_request_ || takes_anything_) return false;
  slots.assign(parameters_.size(), {});
  const char* at = body.data();
  const char* const end = at + body.size();
  const auto in_tag = [&](unsigned family, unsigned mask, std::size_t& count) {
    const unsigned tag = at == end ? 0 : static_cast<std::uint8_t>(*at++);
    count = tag & mask;
    return (tag & ~mask) == family;
  };
  const auto take = [&](std::size_t i) {
    if (i >= parameters_.size() || parameters_[i].takes_descriptors || slots[i].filled()) return false;
    return read_scalar(at, end, slots[i].scalar.emplace());
  };
  std::size_t count = 0, size = 0, next = 0;
  if (!in_tag(0x80, 0x0F, count)) return false;
  bool with_positional = false;
  for (; count > 0; --count) {
    if (!in_tag(0xA0, 0x1F, size) || size > static_cast<std::size_t>(end - at)) return false;
    const std::string_view name(at, size);
    at += size;
    if (name == positional_key) {
      if (std::exchange(with_positional, true) || !in_tag(0x90, 0x0F, size)) return false;
      for (std::size_t i = 0; i < size; ++i) {
        if (!take(i)) return false;
      }
      continue;
    }
    // Callers keep to the order of parameters, mostly.
    const std::size_t i = next < parameters_.size() && parameters_[next].name == name ? next : index_of(name);
    next = i + 1;
    if (!take(i)) return false;
  }
  if (at != end) return false;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (slots[i].filled()) continue;
    if (parameters_[i].required()) return false;
    slots[i].value = parameters_[i].fallback.get();
  }
  return true;
}

/// Gives each parameter the descriptors that its placeholders stand for: those of positional arguments come first, then
/// those of named ones, in the order of the message. One that nobody asked for is an error, unless the handler sees the
/// request and can take it from there.
KETTLINGAR_INLINE void Method::claim_descriptors(Call& call) const {
  std::vector<Fd>& received = call.request.descriptors();
  if (received.empty()) return;
  call.claimed.resize(parameters_.size());
  DescriptorQueue queue(std::move(received));
  received.clear();
  const auto claim = [&](std::size_t i, const json& value) {
    if (i >= parameters_.size() || !parameters_[i].takes_descriptors) return;
    std::vector<Fd> own;
    for (std::size_t n = count_placeholders(value); n > 0 && !queue.empty(); --n) own.push_back(queue.take());
    call.claimed[i] = DescriptorQueue(std::move(own));
  };
  const json& arguments = ConnectionAccess::arguments(call.request);
  if (const auto positional = arguments.find(positional_key); positional != arguments.end()) {
    for (std::size_t i = 0; i < positional->size(); ++i) claim(i, (*positional)[i]);
  }
  for (const auto& [key, value] : arguments.items()) {
    if (key != positional_key) claim(index_of(key), value);
  }
  if (!queue.empty() && !takes_request_) {
    throw InvalidArgument(name_ + ": more descriptors came than its arguments stand for");
  }
  received = queue.take_all();
}

KETTLINGAR_COLD std::string Method::describe(const BadValue& bad, const Parameter& parameter, bool repeat) const {
  return name_ + ": argument '" + parameter.name + (repeat ? bad.path : "") +
         (bad.why == BadValue::Why::unfit ? "': invalid literal, " : "': ") + problem_of(bad, repeat);
}

KETTLINGAR_INLINE void Method::invoke(Call& call) const {
  bind(call);
  claim_descriptors(call);
  try {
    if (has_limits_) check_limits(call);
    run(call);
  } catch (const BadValue& bad) {
    // As above: what the caller has sent is not for strangers.
    throw InvalidArgument(describe(bad, parameters_[call.current], call.request.authenticated()));
  }
}

/// Throws std::invalid_argument, for the programmer, if parameters are named alike, or a default, choice or bound does
/// not fit its type.
KETTLINGAR_COLD void Method::validate() {
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const std::string& name = parameters_[i].name;
    const std::string unusable = "kettlingar: " + name_ + ": '" + name + "' cannot be the name of a parameter: ";
    if (!is_parameter_name(name)) throw std::invalid_argument(unusable + "use letters, digits and _ (not in front)");
    if (name == reply_to_key) throw std::invalid_argument(unusable + "with it callers say where the answer goes");
    if (index_of(name) != i)
      throw std::invalid_argument("kettlingar: " + name_ + ": two parameters are called '" + name + "'");
  }
  std::vector<const json*> defaults;
  for (const Parameter& parameter : parameters_) defaults.push_back(parameter.fallback.get());
  std::size_t current = 0;
  try {
    check_defaults(defaults, current);
  } catch (const BadValue& bad) {
    throw std::invalid_argument("kettlingar: default of " + describe(bad, parameters_[current], true));
  }
  for (Parameter& parameter : parameters_) settle_facts(parameter);
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
