// SPDX-License-Identifier: MIT
// service/method_help.ipp: what a method and the types that it has look like to those who read.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/version.hpp"
#include "../call/argument_facts.ipp"
#include "../call/method.hpp"
#include "../call/schema.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// `/purr [--count=1] [--sound=purr]`: how to call a method.
[[gnu::cold]] inline std::string usage(const Method& method) {
  std::string line = "/" + (method.name() == "web_root" ? "" : method.name());
  for (const Parameter& parameter : method.parameters()) {
    if (parameter.required()) {
      line += " <" + parameter.name + ">";
    } else {
      std::string fallback;
      if (parameter.fallback->is_null()) {
        fallback = "<" + (parameter.type.empty() ? "value" : parameter.type.substr(0, parameter.type.find(' '))) + ">";
      } else if (parameter.fallback->is_string()) {
        fallback = parameter.fallback->get<std::string>();
      } else {
        fallback = shown(*parameter.fallback);
      }
      line += " [--" + parameter.name + "=" + fallback + "]";
    }
  }
  return line;
}

/// `text` below a line of the help, moved in by some blanks.
[[gnu::cold]] inline std::string indented(std::string_view text, std::size_t by) {
  std::string out;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    out += std::string(line.empty() ? 0 : by, ' ') + std::string(line) + "\n";
    text.remove_prefix((std::min)(text.size(), line.size() + 1));
  }
  return out;
}

/// A schema in the words of the Python peers: `list of Note`, `int from 0 to 255`, `str | None`.
[[gnu::cold]] inline std::string words_of(const json& schema);

/// The same, several: `int | str`.
[[gnu::cold]] inline std::string words_of_each(const json& schemas, const char* between) {
  std::string words;
  for (const json& one : schemas) words += (words.empty() ? "" : between) + words_of(one);
  return words;
}

[[gnu::cold]] inline std::string words_of_integer(const json& schema) {
  if (!schema.contains("minimum") || !schema.contains("maximum")) return "int";
  // Those of an int say nothing to people.
  if (schema["maximum"] == (std::numeric_limits<std::int32_t>::max)()) return "int";
  return "int from " + shown(schema["minimum"]) + " to " + shown(schema["maximum"]);
}

[[gnu::cold]] inline std::string words_of_type(const std::string& type, const json& schema) {
  if (type == "null") return "None";
  if (type == "boolean") return "bool";
  if (type == "integer") return words_of_integer(schema);
  if (type == "number") return "float";
  if (type == "string")
    return schema.contains("x-kettlingar-descriptor") ? schema["x-kettlingar-descriptor"].get<std::string>() : "str";
  if (type == "array") {
    if (schema.contains("prefixItems")) return "list of " + words_of_each(schema["prefixItems"], ", ");
    const std::string size =
        schema.contains("minItems") ? std::to_string(schema["minItems"].get<std::size_t>()) + " " : "";
    const std::string items = schema.contains("items") ? words_of(schema["items"]) : "any value";
    return items == "any value" ? "list" : "list of " + size + items;
  }
  if (schema.contains("properties") && schema["properties"].contains("__base64__")) return "bytes";
  const std::string values =
      schema.contains("additionalProperties") ? words_of(schema["additionalProperties"]) : "any value";
  return values == "any value" ? "dict" : "dict of " + values;
}

std::string words_of(const json& schema) {
  if (schema.contains("$ref")) {
    const std::string name = schema["$ref"].get<std::string>();
    return name.substr(name.rfind('/') + 1);
  }
  if (schema.contains("enum")) {
    json names = json::array();
    for (const json& name : schema["enum"]) {
      if (!name.is_null()) names.push_back(name);
    }
    return one_of(names) + (names.size() < schema["enum"].size() ? " | None" : "");
  }
  if (schema.contains("anyOf")) return words_of_each(schema["anyOf"], " | ");
  if (!schema.contains("type")) return "any value";
  const json& type = schema["type"];
  if (type.is_string()) return words_of_type(type.get<std::string>(), schema);
  std::string words;
  for (const json& one : type) words += (words.empty() ? "" : " | ") + words_of_type(one.get<std::string>(), schema);
  return words;
}

/// `int, default 3, from 1 to 9`: an argument without its name.
[[gnu::cold]] inline std::string argument_words(const Parameter& parameter, const json& schema) {
  const std::string_view base = base_type(parameter);
  std::string words = parameter.type.empty() ? "any value" : parameter.type;
  if ((base == "list" || base == "dict") && !is_limited(parameter) && !parameter.takes_descriptors)
    words = words_of(schema);
  if (parameter.takes_descriptors && parameter.type != "socket") words += " (a path here, or - for standard input)";
  words += parameter.required() ? ", required" : ", default " + shown(*parameter.fallback);
  std::string limits = limits_text(parameter);
  if (limits.empty() && schema.contains("enum")) limits = words_of(schema).substr(0, words_of(schema).rfind(" | None"));
  if (!limits.empty()) words += (base == "list" ? ", each " : ", ") + limits;
  return words;
}

/// What the fields of a class are; of one that has none, what it looks like. Which of them are required matters in
/// arguments only, and `_format` is for printing.
[[gnu::cold]] inline std::string class_help(const std::string& name, const json& schema, bool in_arguments) {
  if (!schema.contains("properties")) {
    const std::string words = words_of(schema);
    return "\n" + name + ": " + (words == "any value" ? "see the description" : words) + "\n";
  }
  std::string out = "\n" + name + ":\n";
  const json& fields = schema["properties"];
  const json required = in_arguments && schema.contains("required") ? schema["required"] : json::array();
  std::size_t width = 0;
  for (const auto& [field, type] : fields.items()) width = (std::max)(width, field == "_format" ? 0 : field.size());
  for (const auto& [field, type] : fields.items()) {
    if (field == "_format") continue;
    out += "  " + field + std::string(width - field.size() + 2, ' ') + words_of(type);
    if (is_in(required, field)) {
      out += ", required";
    } else if (in_arguments && type.contains("default")) {
      out += ", default " + shown(type["default"]);
    }
    out += "\n";
  }
  return out;
}

/// The help of one method: usage, description, arguments with types, defaults and limits, the fields of structs.
[[gnu::cold]] inline std::string method_help(const Method& method) {
  std::string out = usage(method) + "\n";
  if (!method.doc().empty()) out += "\n" + method.doc() + "\n";
  std::size_t width = 0;
  for (const Parameter& parameter : method.parameters()) width = (std::max)(width, parameter.name.size());
  if (width != 0) out += "\nArguments, in this order or by name:\n";
  json schemas = json::array();
  for (const Parameter& parameter : method.parameters()) {
    schemas.push_back(schema_of_parameter(parameter));
    out += "  " + parameter.name + std::string(width - parameter.name.size() + 2, ' ');
    out += argument_words(parameter, schemas.back()) + "\n";
    if (const json* const doc = fact_of(parameter, "description"))
      out += indented(doc->get_ref<const std::string&>(), width + 4);
  }
  const json given = definitions(schemas);
  schemas.push_back(method.result_schema());
  const json classes = definitions(schemas);
  for (const auto& [name, schema] : classes.items()) out += class_help(name, schema, given.contains(name));
  const std::string result = method.returns().empty() ? "" : " (" + words_of(schemas.back()) + ")";
  if (method.streams()) {
    out += "\nStreams its results" + (result == " (any value)" ? " (" + method.returns() + ")" : result) +
           " as they come.\n";
  } else if (!definitions(schemas.back()).empty()) {
    out += "\nReturns " + words_of(schemas.back()) + ".\n";
  }
  if (method.is_read_only()) out += "\nChanges nothing.\n";
  if (method.is_public()) out += "\nNeeds no authentication.\n";
  return out;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
