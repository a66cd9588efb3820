// SPDX-License-Identifier: MIT
// call/argument_facts.ipp: what kt::arg says of a parameter beside its name and default: what it is for, its choices
// and bounds; and that calls keep to them.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "class_value.ipp"
#include "convert.ipp"
#include "method.hpp"
#include "schema.ipp"

namespace kettlingar {
inline namespace v0_1 {

KETTLINGAR_COLD Arg Arg::with(const char* fact, json value) const {
  Arg more = *this;
  json facts = facts_ ? *facts_ : json::object();
  facts[fact] = std::move(value);
  more.facts_ = detail::shared_value(std::move(facts));
  return more;
}

KETTLINGAR_COLD Arg Arg::doc(const std::string& text) const { return with("description", text); }

KETTLINGAR_COLD Arg Arg::choices(std::initializer_list<json> values) const {
  json list = json::array();
  for (const json& value : values) list.push_back(value);
  return with("enum", std::move(list));
}

namespace detail {

/// What has been said of a parameter; null if nothing.
KETTLINGAR_COLD const json* fact_of(const Parameter& parameter, const char* fact) {
  if (!parameter.facts) return nullptr;
  const auto found = parameter.facts->find(fact);
  return found == parameter.facts->end() || found->is_null() ? nullptr : &*found;
}

KETTLINGAR_COLD bool is_limited(const Parameter& parameter) {
  for (const char* limit : {"enum", "minimum", "maximum"}) {
    if (fact_of(parameter, limit) != nullptr) return true;
  }
  return false;
}

/// That of the values that are compared: of a list, of its items.
inline const TypeInfo& limited_type(const Parameter& parameter) {
  return parameter.info->item == nullptr ? *parameter.info : *parameter.info->item;
}

/// `one of "a", "b"`, `from 1 to 9`, `at least 1`; empty if there are no limits.
KETTLINGAR_COLD std::string limits_text(const Parameter& parameter) {
  const json* const choices = fact_of(parameter, "enum");
  const json* const least = fact_of(parameter, "minimum");
  const json* const greatest = fact_of(parameter, "maximum");
  std::string text;
  if (choices != nullptr) text = one_of(*choices);
  if (least == nullptr && greatest == nullptr) return text;
  if (!text.empty()) text += ", ";
  if (greatest == nullptr) return text + "at least " + shown(*least);
  if (least == nullptr) return text + "at most " + shown(*greatest);
  return text + "from " + shown(*least) + " to " + shown(*greatest);
}

/// Whether a value in its normal form is within the limits.
KETTLINGAR_COLD bool is_allowed(const Parameter& parameter, const json& value) {
  const json* const choices = fact_of(parameter, "enum");
  const json* const least = fact_of(parameter, "minimum");
  const json* const greatest = fact_of(parameter, "maximum");
  if (choices != nullptr && !is_in(*choices, value)) return false;
  if (least == nullptr && greatest == nullptr) return true;
  // Not a number is not within any bounds.
  return value.is_number() && (least == nullptr || *least < value || *least == value) &&
         (greatest == nullptr || value < *greatest || value == *greatest);
}

/// Throws BadValue if `value`, which is not a list, is none of those that the parameter can have.
KETTLINGAR_COLD void check_limit(const Parameter& parameter, const json& value) {
  const TypeInfo& type = limited_type(parameter);
  BadValue bad{{}, value};
  try {
    if (value.is_null() || is_allowed(parameter, type.normal(value))) return;
  } catch (const BadValue& unfit) {
    if (unfit.why != BadValue::Why::unfit || !unfit.path.empty()) throw;
    bad = unfit;
  }
  bad.expected = limits_text(parameter);
  if (fact_of(parameter, "enum") == nullptr) {
    const std::string name(parameter.info->item == nullptr ? base_type(parameter) : "");
    bad.expected.insert(0, (name.empty() ? "number" : name) + " ");
  }
  throw bad;
}

/// The same for what may be a list.
KETTLINGAR_COLD void check_all_limits(const Parameter& parameter, const json& value) {
  if (parameter.info->item == nullptr || value.is_null()) return check_limit(parameter, value);
  const json list = parsed_if_text(value, "list");
  if (!list.is_array()) return;  // which is said where it is converted
  for (std::size_t i = 0; i < list.size(); ++i) {
    try {
      check_limit(parameter, list[i]);
    } catch (BadValue& bad) {
      bad.inside(i);
      throw;
    }
  }
}

KETTLINGAR_COLD void Method::check_limits(Call& call) const {
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const Parameter& parameter = parameters_[i];
    const Slot& slot = call.slots[i];
    if (slot.value == parameter.fallback.get() && !slot.scalar) continue;
    if (!is_limited(parameter)) continue;
    call.current = i;
    check_all_limits(parameter, slot.scalar ? slot.scalar->value() : *slot.value);
  }
}

/// Throws std::invalid_argument, for the programmer, if choices and bounds are not of the parameter's type, or its
/// default is not among them. Afterwards they have the form in which values of that type are written.
KETTLINGAR_COLD void Method::settle_facts(Parameter& parameter) {
  if (!is_limited(parameter)) return;
  const std::string where = "kettlingar: " + name_ + ": argument '" + parameter.name + "': ";
  const TypeInfo& type = limited_type(parameter);
  if (type.normal == nullptr) {
    throw std::invalid_argument(
        where + "choices and bounds are for numbers, text, enumerations, and lists of them, not for " + parameter.type);
  }
  json facts = *parameter.facts;
  const auto settle = [&](json& value) {
    try {
      if (!value.is_null()) value = type.normal(value);
    } catch (const BadValue& bad) {
      throw std::invalid_argument(where + "a choice or bound does not fit: " + problem_of(bad));
    }
  };
  if (facts.contains("enum")) {
    if (facts["enum"].empty()) throw std::invalid_argument(where + "there are no choices");
    for (json& choice : facts["enum"]) settle(choice);
  }
  for (const char* bound : {"minimum", "maximum"}) {
    if (!facts.contains(bound)) continue;
    settle(facts[bound]);
    if (!facts[bound].is_number()) throw std::invalid_argument(where + "bounds are for numbers");
  }
  if (facts.contains("minimum") && facts.contains("maximum") && !(facts["minimum"] <= facts["maximum"]))
    throw std::invalid_argument(where + "the least value is above the greatest");
  parameter.facts = shared_value(std::move(facts));
  has_limits_ = true;
  if (!parameter.fallback) return;
  try {
    check_all_limits(parameter, *parameter.fallback);
  } catch (const BadValue& bad) {
    throw std::invalid_argument("kettlingar: default of " + describe(bad, parameter, true));
  }
}

/// The schema of a parameter: that of its type, with its choices and bounds.
KETTLINGAR_COLD json schema_of_parameter(const Parameter& parameter) {
  json schema = parameter.info->schema();
  if (!is_limited(parameter)) return schema;
  json& place = parameter.info->item == nullptr ? schema : schema["items"];
  for (const char* limit : {"enum", "minimum", "maximum"}) {
    if (const json* const value = fact_of(parameter, limit)) place[limit] = *value;
  }
  const auto type = place.find("type");
  const bool or_null = type != place.end() && type->is_array();
  if (!or_null || !place.contains("enum")) return schema;
  json& choices = place["enum"];
  if (!is_in(choices, nullptr)) choices.push_back(nullptr);
  return schema;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
