// SPDX-License-Identifier: MIT
// call/schema.ipp: the bodies of schema.hpp, and how the schema of a class is found.
#pragma once

#include <algorithm>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "schema.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

inline constexpr const char* definition_prefix = "#/$defs/";

/// Finds the schema of a class from what becomes of a new one, written as JSON: names, nesting, types and defaults.
/// What that leaves open is tried: a place is given another value, the whole is read, written again, and looked at.
class ClassProbe {
 public:
  explicit ClassProbe(const ClassInfo& info) : info_(info) {}

  /// Throws what the class throws.
  json schema();

 private:
  /// Where a value is in the whole.
  struct Place {
    const Place* outer;
    const std::string* key;  ///< null for an item of a list
    std::size_t index;
  };
  static constexpr int most_depth = 4;
  static constexpr std::size_t most_fields = 64;

  // All of them: `shape` is what the class has at `place`, where `node` is in the whole.
  json schema_at(const json& shape, nlohmann::json& node, const Place* place);
  json object_at(const json& shape, nlohmann::json& node, const Place* place);
  json fields_at(const json& shape, nlohmann::json& node, const Place* place);
  json list_at(const json& shape, nlohmann::json& node, const Place* place);
  json text_at(nlohmann::json& node, const Place* place);
  json integer_at(bool is_signed, nlohmann::json& node, const Place* place);
  /// Where nothing tells the type: null if it remains unknown.
  json unknown_at(nlohmann::json& node, const Place* place);
  /// That of `value`, if it can stand there; else null.
  json schema_with(nlohmann::json value, nlohmann::json& node, const Place* place);

  /// Whether `value` in place of `node` is what is written after the whole has been read. `became` gets what that is,
  /// null if it is refused.
  bool keeps(const nlohmann::json& value, nlohmann::json& node, const Place* place, nlohmann::json* became = nullptr);
  bool readable() const;
  static const nlohmann::json* find(const nlohmann::json& whole, const Place* place);
  static int depth(const Place* place);

  const ClassInfo& info_;
  nlohmann::json whole_;
  InnerTypes types_;
};

/// What is known of the classes of this process, by name. A class is looked at once.
class Definitions {
 public:
  static Definitions& all() {
    // Not destroyed at exit: a service may still be running then.
    static Definitions& definitions = *new Definitions;
    return definitions;
  }
  std::string name_of(const ClassInfo& info);
  /// Null if there is none.
  json schema(const std::string& name);

 private:
  std::recursive_mutex mutex_;  // classes have members of other classes
  std::vector<const ClassInfo*> classes_;
  std::vector<std::string> names_;
  json schemas_ = json::array();
};

KETTLINGAR_COLD json schema_of_type(const char* type) {
  json schema = json::object();
  schema["type"] = type;
  return schema;
}

KETTLINGAR_COLD json schema_of_real(bool is_double) {
  json schema = schema_of_type("number");
  schema["format"] = is_double ? "double" : "float";
  return schema;
}

KETTLINGAR_COLD json schema_of_integer(const IntegerRange& range) {
  json schema = schema_of_type("integer");
  // Validators in JavaScript compare as doubles: beyond 2^53 a bound would be another one.
  if (range.high <= std::uint64_t{1} << 53) {
    schema["minimum"] = range.low;
    schema["maximum"] = range.high;
  } else if (range.low == 0) {
    schema["minimum"] = 0;
    schema["format"] = "uint64";
  } else {
    schema["format"] = "int64";
  }
  return schema;
}

KETTLINGAR_COLD json schema_of_bytes() {
  constexpr const char* key = "__base64__";
  json schema = schema_of_type("object");
  json content = schema_of_type("string");
  content["contentEncoding"] = "base64";
  schema["properties"][key] = std::move(content);
  schema["required"].push_back(key);
  schema["additionalProperties"] = false;
  return schema;
}

KETTLINGAR_COLD json schema_of_descriptor(const char* kind) {
  json schema = schema_of_type("string");
  schema["x-kettlingar-descriptor"] = kind;
  return schema;
}

KETTLINGAR_COLD json schema_of_names(const std::vector<std::string>& names, json (*sample)()) {
  if (names.empty()) {
    const json one = sample();
    return one.is_number() ? schema_of_type("integer") : one.is_string() ? schema_of_type("string") : json::object();
  }
  json schema = schema_of_type("string");
  schema["enum"] = names;
  return schema;
}

KETTLINGAR_COLD json schema_or_null(json schema) {
  if (schema.empty()) return schema;  // takes anything
  const auto type = schema.find("type");
  if (type != schema.end() && type->is_string()) {
    json types = json::array();
    types.push_back(*type);
    types.push_back("null");
    *type = std::move(types);
    if (schema.contains("enum")) schema["enum"].push_back(nullptr);
    return schema;
  }
  if (type != schema.end()) return schema;  // an optional of an optional
  json schemas = json::array();
  schemas.push_back(std::move(schema));
  schemas.push_back(schema_of_type("null"));
  return schema_of_any(std::move(schemas));
}

KETTLINGAR_COLD json schema_of_list(json items, bool unique) {
  json schema = schema_of_type("array");
  schema["items"] = std::move(items);
  if (unique) schema["uniqueItems"] = true;
  return schema;
}

KETTLINGAR_COLD json schema_of_array(json items, std::size_t size) {
  json schema = schema_of_list(std::move(items), false);
  schema["minItems"] = size;
  schema["maxItems"] = size;
  return schema;
}

KETTLINGAR_COLD json schema_of_map(json values) {
  json schema = schema_of_type("object");
  schema["additionalProperties"] = std::move(values);
  return schema;
}

KETTLINGAR_COLD json schema_of_tuple(json schemas) {
  json schema = schema_of_type("array");
  const std::size_t size = schemas.size();
  if (size != 0) schema["prefixItems"] = std::move(schemas);
  schema["items"] = false;
  schema["minItems"] = size;
  schema["maxItems"] = size;
  return schema;
}

KETTLINGAR_COLD json schema_of_any(json schemas) {
  json schema = json::object();
  schema["anyOf"] = std::move(schemas);
  return schema;
}

KETTLINGAR_COLD json schema_of_class(const ClassInfo& info) {
  json schema = json::object();
  schema["$ref"] = definition_prefix + Definitions::all().name_of(info);
  return schema;
}

/// Adds the names of definitions in `schema` to `names`, each once.
KETTLINGAR_COLD void add_references(const json& schema, std::vector<std::string>& names) {
  if (!schema.is_structured()) return;
  for (const auto& [key, value] : schema.items()) {
    if (key != "$ref" || !value.is_string()) {
      add_references(value, names);
    } else if (std::string name = value.get<std::string>(); name.starts_with(definition_prefix)) {
      name.erase(0, std::string_view(definition_prefix).size());
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(std::move(name));
    }
  }
}

/// The definitions that `schema` refers to by `#/$defs/Name`, and those that they refer to, in that
/// order, by name.
KETTLINGAR_COLD json definitions(const json& schema) {
  std::vector<std::string> names;
  add_references(schema, names);
  for (std::size_t i = 0; i < names.size(); ++i) add_references(Definitions::all().schema(names[i]), names);
  json found = json::object();
  for (const std::string& name : names) {
    if (json one = Definitions::all().schema(name); !one.is_null()) found[name] = std::move(one);
  }
  return found;
}

KETTLINGAR_COLD std::string Definitions::name_of(const ClassInfo& info) {
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < classes_.size(); ++i) {
    if (classes_[i] == &info) return names_[i];
  }
  std::string plain;
  for (const char c : info.name) {
    const bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    plain += word ? c : '_';
  }
  if (plain.empty()) plain = "Class";
  // Namespaces and template arguments are left out: several may be called alike.
  std::string name = plain;
  for (int number = 2; std::find(names_.begin(), names_.end(), name) != names_.end(); ++number)
    name = plain + "_" + std::to_string(number);
  const std::size_t i = classes_.size();
  classes_.push_back(&info);
  names_.push_back(name);
  schemas_.push_back(json::object());  // for classes that contain themselves
  json schema = info.own_schema();
  if (schema.is_null()) {
    try {
      schema = ClassProbe(info).schema();
    } catch (...) {
      schema = json::object();  // a constructor, or what writes the class, does not want to
    }
  }
  schemas_[i] = std::move(schema);
  return name;
}

KETTLINGAR_COLD json Definitions::schema(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const auto found = std::find(names_.begin(), names_.end(), name);
  return found == names_.end() ? json(nullptr) : schemas_[static_cast<std::size_t>(found - names_.begin())];
}

KETTLINGAR_COLD json ClassProbe::schema() {
  if (info_.sample == nullptr) return json::object();
  const json shape = info_.sample();
  whole_ = nlohmann::json(shape);
  (types_.*info_.add_types)();
  return schema_at(shape, whole_, nullptr);
}

KETTLINGAR_COLD int ClassProbe::depth(const Place* place) {
  int depth = 0;
  for (; place != nullptr; place = place->outer) ++depth;
  return depth;
}

KETTLINGAR_COLD const nlohmann::json* ClassProbe::find(const nlohmann::json& whole, const Place* place) {
  if (place == nullptr) return &whole;
  const nlohmann::json* outer = find(whole, place->outer);
  if (outer == nullptr) return nullptr;
  if (place->key == nullptr)
    return outer->is_array() && place->index < outer->size() ? &(*outer)[place->index] : nullptr;
  const auto found = outer->is_object() ? outer->find(*place->key) : outer->end();
  return found == outer->end() ? nullptr : &*found;
}

KETTLINGAR_COLD bool ClassProbe::keeps(const nlohmann::json& value, nlohmann::json& node, const Place* place,
                                       nlohmann::json* became) {
  if (info_.read_back == nullptr) return false;
  nlohmann::json kept = std::exchange(node, value);
  nlohmann::json result;
  try {
    const nlohmann::json whole = info_.read_back(whole_);
    if (const nlohmann::json* const found = find(whole, place)) result = *found;
  } catch (...) {
  }
  node = std::move(kept);
  const bool same = result == value;
  if (became != nullptr) *became = std::move(result);
  return same;
}

KETTLINGAR_COLD bool ClassProbe::readable() const {
  if (info_.read_back == nullptr) return false;
  try {
    info_.read_back(whole_);
    return true;
  } catch (...) {
    return false;
  }
}

KETTLINGAR_COLD json ClassProbe::schema_at(const json& shape, nlohmann::json& node, const Place* place) {
  switch (shape.type()) {
    case json::value_t::null: {
      json schema = unknown_at(node, place);
      return schema.is_null() ? json::object() : schema_or_null(std::move(schema));
    }
    case json::value_t::boolean:
      return schema_of_type("boolean");
    case json::value_t::string:
      return text_at(node, place);
    case json::value_t::number_integer:
    case json::value_t::number_unsigned:
      return integer_at(!shape.is_number_unsigned(), node, place);
    case json::value_t::number_float:
      return schema_of_real(info_.read_back == nullptr || keeps(1e300, node, place));
    case json::value_t::binary:
      return shape.get_binary().has_subtype() ? json::object() : schema_of_bytes();
    case json::value_t::array:
      return list_at(shape, node, place);
    case json::value_t::object:
      return object_at(shape, node, place);
    case json::value_t::discarded:
      break;
  }
  return json::object();
}

KETTLINGAR_COLD json ClassProbe::text_at(nlohmann::json& node, const Place* place) {
  nlohmann::json unknown;
  if (keeps(meaningless_text, node, place, &unknown)) return schema_of_type("string");
  // That of an enumeration becomes another one. Which enumeration it is shows in how many of its names do not.
  const std::vector<std::string>* best = nullptr;
  std::size_t most = 0;
  for (const std::vector<std::string>& names : types_.names()) {
    std::size_t known = 0;
    nlohmann::json became;
    for (const std::string& name : names) {
      if (keeps(name, node, place, &became) || became != unknown) ++known;
    }
    if (known < most || known == 0 || (known == most && best->size() <= names.size())) continue;
    best = &names;
    most = known;
  }
  return best == nullptr ? schema_of_type("string") : schema_of_names(*best, nullptr);
}

KETTLINGAR_COLD json ClassProbe::integer_at(bool is_signed, nlohmann::json& node, const Place* place) {
  if (keeps(0.5, node, place)) return schema_of_real(true);
  for (const std::int64_t bits : {8, 16, 32}) {
    const std::int64_t high = (std::int64_t{1} << (is_signed ? bits - 1 : bits)) - 1;
    if (keeps(high, node, place) && !keeps(high + 1, node, place))
      return schema_of_integer({is_signed ? -high - 1 : 0, static_cast<std::uint64_t>(high)});
  }
  return is_signed ? schema_of_integer(integer_range<std::int64_t>())
                   : schema_of_integer(integer_range<std::uint64_t>());
}

KETTLINGAR_COLD json ClassProbe::schema_with(nlohmann::json value, nlohmann::json& node, const Place* place) {
  nlohmann::json became;
  if (!keeps(value, node, place, &became)) return nullptr;
  const nlohmann::json kept = std::exchange(node, std::move(value));
  json schema = schema_at(json(became), node, place);
  node = kept;
  return schema;
}

KETTLINGAR_COLD json ClassProbe::unknown_at(nlohmann::json& node, const Place* place) {
  const nlohmann::json text = "text", list = nlohmann::json::array({1});
  if (keeps(text, node, place) && keeps(true, node, place) && keeps(list, node, place)) return json::object();
  for (const nlohmann::json& value : {nlohmann::json(true), nlohmann::json(1), text, nlohmann::json::array()}) {
    if (json schema = schema_with(value, node, place); !schema.is_null()) return schema;
  }
  for (const std::vector<std::string>& names : types_.names()) {
    if (names.empty()) continue;
    if (json schema = schema_with(names.front(), node, place); !schema.is_null()) return schema;
  }
  for (const ClassInfo* inner : types_.classes()) {
    if (keeps(nlohmann::json(inner->sample()), node, place)) return schema_of_class(*inner);
  }
  return schema_with(nlohmann::json::object(), node, place);
}

KETTLINGAR_COLD json ClassProbe::list_at(const json& shape, nlohmann::json& node, const Place* place) {
  if (depth(place) >= most_depth) return schema_of_type("array");
  if (shape.empty()) {
    node.push_back(nullptr);
    const Place inner{place, nullptr, 0};
    json items = unknown_at(node[0], &inner);
    node.clear();
    return schema_of_list(items.is_null() ? json::object() : std::move(items), false);
  }
  json schemas = json::array();
  bool alike = true;
  for (std::size_t i = 0; i < shape.size() && i < most_fields; ++i) {
    const Place inner{place, nullptr, i};
    schemas.push_back(schema_at(shape[i], node[i], &inner));
    alike = alike && schemas[i] == schemas[0];
  }
  nlohmann::json longer = node;
  longer.push_back(node.back());
  if (keeps(longer, node, place)) return schema_of_list(alike ? schemas[0] : json::object(), false);
  if (info_.read_back == nullptr) return schema_of_list(alike ? schemas[0] : json::object(), false);
  return alike ? schema_of_array(schemas[0], shape.size()) : schema_of_tuple(std::move(schemas));
}

KETTLINGAR_COLD json ClassProbe::object_at(const json& shape, nlohmann::json& node, const Place* place) {
  if (depth(place) >= most_depth) return schema_of_type("object");
  if (place != nullptr) {
    for (const ClassInfo* inner : types_.classes()) {
      const json sample = inner->sample();
      if (!sample.is_object() || sample.size() != shape.size() || inner == &info_) continue;
      const auto has = [&](const auto& field) { return shape.contains(field.first); };
      const auto& fields = sample.get_ref<const json::object_t&>();
      if (!fields.empty() && std::all_of(fields.begin(), fields.end(), has)) return schema_of_class(*inner);
    }
  }
  // A map takes any key.
  const std::string key = meaningless_text;
  const Place inner{place, &key, 0};
  if (shape.empty()) {
    node[key] = nullptr;
    json values = unknown_at(node[key], &inner);
    node.erase(key);
    return values.is_null() ? schema_of_type("object") : schema_of_map(std::move(values));
  }
  nlohmann::json larger = node;
  larger[key] = node.begin().value();
  if (!keeps(larger, node, place)) return fields_at(shape, node, place);
  const Place first{place, &shape.begin().key(), 0};
  return schema_of_map(schema_at(shape.begin().value(), node[shape.begin().key()], &first));
}

KETTLINGAR_COLD json ClassProbe::fields_at(const json& shape, nlohmann::json& node, const Place* place) {
  json schema = schema_of_type("object");
  json required = json::array();
  std::size_t count = 0;
  for (const auto& [key, value] : shape.items()) {
    if (++count > most_fields) break;
    const Place inner{place, &key, 0};
    json field = schema_at(value, node[key], &inner);
    const nlohmann::json kept = node[key];
    node.erase(key);
    const bool optional = readable();
    node[key] = kept;
    if (!optional) {
      required.push_back(key);
    } else if (!value.is_null()) {
      field["default"] = value;
    }
    schema["properties"][key] = std::move(field);
  }
  if (!required.empty()) schema["required"] = std::move(required);
  return schema;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
