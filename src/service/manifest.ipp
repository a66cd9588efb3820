// SPDX-License-Identifier: MIT
// service/manifest.ipp: what `describe` answers: everything that a page, a shell or an agent has to know of a service
// to call its methods, as one value.
#pragma once

#include <unistd.h>

#include <memory>
#include <string>
#include <utility>

#include "../base/suggest.ipp"
#include "../base/version.hpp"
#include "../call/argument_facts.ipp"
#include "../call/method.hpp"
#include "../call/schema.ipp"
#include "server.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// "0.1.0".
[[gnu::cold]] inline std::string library_version() {
  return std::to_string(KETTLINGAR_VERSION_MAJOR) + "." + std::to_string(KETTLINGAR_VERSION_MINOR) + "." +
         std::to_string(KETTLINGAR_VERSION_PATCH);
}

/// The name of a type; null where anything goes, as in the table of `ping`.
[[gnu::cold]] inline json type_or_null(const std::string& type) { return type.empty() ? json(nullptr) : json(type); }

[[gnu::cold]] inline json described_argument(const Parameter& parameter) {
  json entry = json::object();
  entry["name"] = parameter.name;
  entry["type"] = type_or_null(parameter.type);
  entry["required"] = parameter.required();
  if (!parameter.required()) entry["default"] = *parameter.fallback;
  entry["schema"] = schema_of_parameter(parameter);
  const json* const doc = fact_of(parameter, "description");
  entry["doc"] = doc == nullptr ? json("") : *doc;
  return entry;
}

[[gnu::cold]] inline json described_method(const Method& method) {
  json entry = json::object();
  entry["name"] = method.name();
  entry["doc"] = method.doc();
  entry["public"] = method.is_public();
  entry["builtin"] = method.is_builtin();
  entry["stream"] = method.streams();
  entry["read_only"] = method.is_read_only();
  entry["hidden"] = method.is_hidden();
  entry["descriptors"] = method.passes_descriptors();
  json& args = entry["args"] = json::array();
  for (const Parameter& parameter : method.parameters()) args.push_back(described_argument(parameter));
  json& returns = entry["returns"] = json::object();
  returns["type"] = type_or_null(method.returns());
  returns["schema"] = method.result_schema();
  return entry;
}

/// The value of a secret is left out, and its default, too.
[[gnu::cold]] inline json described_option(const Option& option) {
  json entry = json::object();
  entry["name"] = option.name;
  entry["type"] = option.type;
  if (!option.secret) {
    entry["value"] = option.get();
    entry["default"] = option.fallback;
  }
  entry["help"] = option.help;
  entry["secret"] = option.secret;
  entry["at_start"] = option.at_start;
  return entry;
}

/// Of all methods, or of the one that is named. Throws InvalidArgument if there is none of that name: NotFound says
/// that a service has no `describe`.
[[gnu::cold]] inline json manifest(const Server& server, const std::optional<std::string>& only) {
  json all = json::object();
  all["kettlingar"] = 1;
  all["app"] = server.settings.app_name;
  all["worker"] = server.settings.worker_name;
  all["description"] = server.description;
  all["version"] = library_version();
  all["pid"] = ::getpid();
  all["started"] = server.running() ? json(server.started) : json(nullptr);
  json& methods = all["methods"] = json::array();
  for (const std::string& name : server.methods.names(false)) {
    if (only && *only != name) continue;
    if (const auto method = server.methods.named(name)) methods.push_back(described_method(*method));
  }
  if (only && methods.empty())
    throw InvalidArgument("describe: no method '" + *only + "'" + server.methods.similar(*only));
  const json found = definitions(methods);
  all["$defs"] = found;
  json& options = all["options"] = json::array();
  for (const Option& option : server.options.all()) options.push_back(described_option(option));
  return all;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
