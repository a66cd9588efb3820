// SPDX-License-Identifier: MIT
// call/class_value.ipp: the bodies of class_value.hpp.
#pragma once

#include "../base/suggest.ipp"
#include "../wire/json_text.ipp"
#include "class_value.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Finds what a class has not understood: what looks different in its result is replaced, for trial, by values of
/// several kinds. If none of them makes a difference, it meant nothing.
class UnderstandingCheck {
 public:
  UnderstandingCheck(nlohmann::json& value, const nlohmann::json& result, ReadBack read_back, AddTypes add_types,
                     Fields fields)
      : value_(value), result_(result), read_back_(read_back), add_types_(add_types), fields_(fields) {}

  void run();

 private:
  /// A place in the value, without the cost of text while nothing is wrong.
  struct Place {
    const Place* outer;
    const std::string* key;  ///< null for an item of a list
    std::size_t index;

    std::string path() const;
  };
  struct Suspect {
    nlohmann::json* value;
    const nlohmann::json* result;  ///< what became of it; of a field that is not there, the object without it
    std::string path;
    std::string key = {};  ///< of that field
  };

  enum class Trial { same, different, refused };

  void compare(nlohmann::json& value, const nlohmann::json& result, const Place* at);
  Trial trial(nlohmann::json& value, nlohmann::json other) const;
  bool means_nothing(nlohmann::json& value) const;
  std::vector<std::string> choices(nlohmann::json& value) const;
  BadValue misunderstood(const Suspect& suspect) const;

  nlohmann::json& value_;
  const nlohmann::json& result_;
  ReadBack read_back_;
  AddTypes add_types_;
  Fields fields_;
  std::vector<Suspect> suspects_;
};

/// Finds the part of a value that a class refuses: it is given the parts one by one, until it refuses them. That may
/// take about as long as some conversions of the whole value; when it has, the part is blamed that was found by then.
class BlameSearch {
 public:
  BlameSearch(nlohmann::json& value, ReadBack read_back, std::string_view name);

  BadValue run();

 private:
  // All of them: `node` at `path` is what remains of the value, and the class says `fault` to that.
  BadValue in(nlohmann::json& node, const std::string& path, const std::string& fault);
  BadValue in_object(nlohmann::json& node, const std::string& path, const std::string& fault);
  BadValue in_list(nlohmann::json& node, const std::string& path, const std::string& fault);
  BadValue unfit(const nlohmann::json& node, const std::string& path, const std::string& fault) const;
  std::string error();

  nlohmann::json& value_;
  ReadBack read_back_;
  std::string_view name_;
  std::size_t work_left_;  ///< so many values may still be converted, those within others included
};

KETTLINGAR_COLD BadValue& BadValue::inside(std::string_view key) {
  path.insert(0, "." + std::string(key));
  return *this;
}

KETTLINGAR_COLD BadValue& BadValue::inside(std::size_t index) {
  path.insert(0, "[" + std::to_string(index) + "]");
  return *this;
}

KETTLINGAR_COLD std::string problem_of(const BadValue& bad, bool repeat) {
  switch (bad.why) {
    case BadValue::Why::unfit:
      return "expected " + bad.expected + (repeat ? ", got " + shown(bad.value) : "");
    case BadValue::Why::missing_field:
      return "missing field '" + bad.expected + "'";
    case BadValue::Why::unknown_field:
      break;
  }
  if (!repeat) return "unknown field";
  const std::string& field = bad.value.get_ref<const std::string&>();
  return "unknown field '" + field + "'" + suggestion(field, bad.known);
}

KETTLINGAR_COLD std::string shown(const json& value) {
  constexpr std::size_t longest = 60;
  std::string out;
  if (encode_json(value, out)) return "a value nested too deeply";
  if (out.size() > longest) {
    out.resize(longest);
    while (!is_utf8(out)) out.pop_back();
    out += "...";
  }
  return out;
}

KETTLINGAR_COLD std::string one_of(const json& choices) {
  constexpr std::size_t most = 20;
  std::string out = "one of ";
  for (std::size_t i = 0; i < choices.size() && i < most; ++i) out += (i == 0 ? "" : ", ") + shown(choices[i]);
  return choices.size() > most ? out + " ..." : out;
}

KETTLINGAR_COLD bool is_in(const json& list, const json& value) {
  for (const json& one : list) {
    if (one == value) return true;
  }
  return false;
}

KETTLINGAR_INLINE void check_understood(nlohmann::json& value, const nlohmann::json& result, ReadBack read_back,
                                        AddTypes add_types, Fields fields) {
  if (!result.is_null()) UnderstandingCheck(value, result, read_back, add_types, fields).run();
}

KETTLINGAR_INLINE void UnderstandingCheck::run() {
  compare(value_, result_, nullptr);
  for (const Suspect& suspect : suspects_) {
    if (means_nothing(*suspect.value)) throw misunderstood(suspect);
  }
}

KETTLINGAR_COLD std::string UnderstandingCheck::Place::path() const {
  const std::string before = outer == nullptr ? std::string() : outer->path();
  return before + (key != nullptr ? "." + *key : "[" + std::to_string(index) + "]");
}

/// Whether the integer `result` may have been made of `value`.
KETTLINGAR_INLINE bool could_be_integer(const nlohmann::json& value, const nlohmann::json& result) {
  const double* real = value.get_ptr<const double*>();
  if (real != nullptr && !is_exact_integer(*real)) return false;
  return value.is_number() ? value == result : !value.is_boolean();
}

KETTLINGAR_INLINE void UnderstandingCheck::compare(nlohmann::json& value, const nlohmann::json& result,
                                                   const Place* at) {
  constexpr std::size_t most_suspects = 8;  // each costs several conversions of the whole value
  const auto path = [at] { return at == nullptr ? std::string() : at->path(); };
  if (value.is_object() && result.is_object()) {
    for (auto& [key, item] : value.get_ref<nlohmann::json::object_t&>()) {
      const auto found = result.find(key);
      const Place place{at, &key, 0};
      if (found != result.end()) {
        compare(item, *found, &place);
      } else if (fields_ == Fields::known && suspects_.size() < most_suspects) {
        suspects_.push_back({&item, &result, path(), key});
      }
    }
  } else if (value.is_array() && result.is_array()) {
    for (std::size_t i = 0; i < value.size() && i < result.size(); ++i) {
      const Place place{at, nullptr, i};
      compare(value[i], result[i], &place);
    }
  } else if (result.is_number_integer() && !could_be_integer(value, result)) {
    throw BadValue{"whole number that fits", json(value), path()};
  } else if (value != result && !(value.is_number() && result.is_number()) && suspects_.size() < most_suspects) {
    suspects_.push_back({&value, &result, path()});
  }
}

/// What `other` would make of the result in place of a value.
KETTLINGAR_COLD UnderstandingCheck::Trial UnderstandingCheck::trial(nlohmann::json& value, nlohmann::json other) const {
  nlohmann::json kept = std::exchange(value, std::move(other));
  Trial outcome = Trial::refused;
  try {
    outcome = read_back_(value_) == result_ ? Trial::same : Trial::different;
  } catch (...) {
  }
  value = std::move(kept);
  return outcome;
}

KETTLINGAR_COLD bool UnderstandingCheck::means_nothing(nlohmann::json& value) const {
  const nlohmann::json text = meaningless_text, number = 7919;
  const auto makes_no_difference = [&](nlohmann::json other) {
    return trial(value, std::move(other)) == Trial::same;  // if it is refused, its kind does matter
  };
  return makes_no_difference(number) && makes_no_difference(text) && makes_no_difference(-0.5) &&
         makes_no_difference(true) && makes_no_difference(nlohmann::json::array({text})) &&
         makes_no_difference(nlohmann::json::array({number})) &&
         makes_no_difference(nlohmann::json::object({{meaningless_text, number}}));
}

KETTLINGAR_COLD BadValue UnderstandingCheck::misunderstood(const Suspect& suspect) const {
  if (!suspect.key.empty()) {
    BadValue unknown{{}, json(suspect.key), suspect.path, BadValue::Why::unknown_field};
    for (const auto& [key, item] : suspect.result->items()) unknown.known.push_back(key);
    return unknown;
  }
  const std::vector<std::string> names = choices(*suspect.value);
  const std::string one = suspect.result->is_null() ? "" : " such as " + shown(json(*suspect.result));
  return {names.empty() ? "a known value" + one : one_of(names), json(*suspect.value), suspect.path};
}

/// How many values there are, those within others included.
KETTLINGAR_COLD std::size_t count_values(const nlohmann::json& value) {
  std::size_t count = 1;
  if (value.is_structured()) {
    for (const nlohmann::json& item : value) count += count_values(item);
  }
  return count;
}

/// The names of the enumeration that stands in place of `value`, as far as that can be told: which one it is shows in
/// what its names make of the result.
KETTLINGAR_COLD std::vector<std::string> UnderstandingCheck::choices(nlohmann::json& value) const {
  // Each trial converts the whole value: of a large one there are few.
  const std::size_t most_trials = std::clamp<std::size_t>(1'000'000 / count_values(value_), 2, 100);
  InnerTypes types;
  (types.*add_types_)();
  const std::vector<std::string>* best = nullptr;
  int most = 0;
  std::size_t trials = 0;
  for (const std::vector<std::string>& list : types.names()) {
    int different = 0;
    for (const std::string& name : list) {
      if (++trials <= most_trials && trial(value, name) == Trial::different) ++different;
    }
    if (different < most || different == 0 || (different == most && best->size() <= list.size())) continue;
    best = &list;
    most = different;
  }
  return best != nullptr ? *best : std::vector<std::string>();
}

KETTLINGAR_COLD BadValue blame(nlohmann::json& value, ReadBack read_back, std::string_view name) {
  return BlameSearch(value, read_back, name).run();
}

KETTLINGAR_COLD BlameSearch::BlameSearch(nlohmann::json& value, ReadBack read_back, std::string_view name)
    : value_(value), read_back_(read_back), name_(name), work_left_(50'000 + 16 * count_values(value)) {}

KETTLINGAR_COLD BadValue BlameSearch::run() { return in(value_, {}, error()); }

/// What the class says to the value as it is now; empty if it takes it.
KETTLINGAR_COLD std::string BlameSearch::error() {
  work_left_ -= (std::min)(work_left_, count_values(value_));
  try {
    read_back_(value_);
    return {};
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "refused";
  }
}

/// What nlohmann_json says, without the number that it gives to it.
KETTLINGAR_COLD std::string_view conversion_hint(std::string_view said) {
  const std::size_t bracket = said.find("] ");
  return bracket == std::string_view::npos ? said : said.substr(bracket + 2);
}

KETTLINGAR_COLD BadValue BlameSearch::in(nlohmann::json& node, const std::string& path, const std::string& fault) {
  if (node.is_object()) return in_object(node, path, fault);
  if (node.is_array()) return in_list(node, path, fault);
  return unfit(node, path, fault);
}

/// The name in "key 'x' not found", which is how nlohmann_json says it.
KETTLINGAR_COLD std::string missing_key(const std::string& error) {
  const std::size_t begin = error.find("key '"), end = error.rfind("' not found");
  return begin == std::string::npos || end == std::string::npos ? "" : error.substr(begin + 5, end - begin - 5);
}

KETTLINGAR_COLD BadValue BlameSearch::in_object(nlohmann::json& node, const std::string& path,
                                                const std::string& fault) {
  const nlohmann::json whole = std::exchange(node, nlohmann::json::object());
  nlohmann::json left = whole;
  std::string last;
  const auto give = [&](const std::string& key) {
    node[key] = std::move(left[key]);
    left.erase(key);
  };
  for (std::string said = error(); work_left_ != 0;) {
    const std::string key = missing_key(said);
    if (left.contains(key)) {
      give(key);
      const std::string before = std::exchange(said, error());
      if (said != before) last = key;  // else it is missing in another place
    } else if (said == fault) {
      if (!key.empty() && !node.contains(key)) {
        node[key] = nullptr;
        if (error() != said) return {key, nullptr, path, BadValue::Why::missing_field};
        node.erase(key);
      }
      if (last.empty()) break;
      return in(node[last], path + "." + last, fault);
    } else if (!left.empty()) {  // not yet; what is left may be missing
      give(last = left.begin().key());
      said = error();
    } else {
      break;
    }
  }
  return unfit(whole, path, fault);
}

KETTLINGAR_COLD BadValue BlameSearch::in_list(nlohmann::json& node, const std::string& path, const std::string& fault) {
  const nlohmann::json whole = std::move(node);
  const auto at_fault = [&](std::size_t begin, std::size_t end) {
    node = nlohmann::json::array();
    for (std::size_t i = begin; i < end; ++i) node.push_back(whole[i]);
    return error() == fault;
  };
  if (whole.empty() || at_fault(0, 0)) return unfit(whole, path, fault);
  // Halves alone, so that all of them together are no more than the whole.
  std::size_t begin = 0, end = whole.size();
  while (end - begin > 1) {
    const std::size_t middle = begin + (end - begin) / 2;
    (at_fault(begin, middle) ? end : begin) = middle;
  }
  if (!at_fault(begin, end)) {
    // Where it stands matters: a tuple.
    begin = 0, end = whole.size();
    while (end - begin > 1 && work_left_ != 0) {
      const std::size_t middle = begin + (end - begin) / 2;
      (at_fault(0, middle) ? end : begin) = middle;
    }
    if (!at_fault(0, end)) return unfit(whole, path, fault);
  }
  if (work_left_ == 0) return unfit(whole, path, fault);
  return in(node.back(), path + "[" + std::to_string(end - 1) + "]", fault);
}

KETTLINGAR_COLD BadValue BlameSearch::unfit(const nlohmann::json& node, const std::string& path,
                                            const std::string& said) const {
  const auto about = [&](std::string_view words) { return said.find(words) != std::string::npos; };
  const std::string whole = path.empty() ? std::string(name_) : "dict";
  const std::string expected = about("type must be string")    ? "str"
                               : about("type must be number")  ? "number"
                               : about("type must be boolean") ? "bool"
                               : about("type must be array")   ? "list"
                               : about("type must be object")  ? "dict"
                               : about("cannot use ")          ? whole
                                                      : whole + " (" + std::string(conversion_hint(said)) + ")";
  return {expected, json(node), path};
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
