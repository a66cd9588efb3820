// SPDX-License-Identifier: MIT
// service/openapi.ipp: what `openapi` answers: the methods of a service as an OpenAPI 3.1 document, for tools that make
// clients and pages of one.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "../call/argument_facts.ipp"
#include "../call/method.hpp"
#include "../call/schema.ipp"
#include "manifest.ipp"
#include "server.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// OpenAPI keeps definitions elsewhere than JSON Schema does.
KETTLINGAR_COLD void refer_to_components(json& schema) {
  if (!schema.is_structured()) return;
  for (auto& [key, value] : schema.items()) {
    if (key == "$ref" && value.is_string() && value.get_ref<const std::string&>().starts_with(definition_prefix))
      value = "#/components/schemas/" +
              value.get_ref<const std::string&>().substr(std::string_view(definition_prefix).size());
    else
      refer_to_components(value);
  }
}

[[gnu::cold]] inline json reference_to(const char* component) {
  json reference = json::object();
  reference["$ref"] = std::string("#/components/") + component;
  return reference;
}

/// The arguments of a method by name, as the body of a request.
[[gnu::cold]] inline json openapi_body(const Method& method) {
  json schema = schema_of_type("object");
  for (const Parameter& parameter : method.parameters()) {
    json& property = schema["properties"][parameter.name] = schema_of_parameter(parameter);
    if (const json* const doc = fact_of(parameter, "description")) property["description"] = *doc;
    if (!parameter.required()) {
      property["default"] = *parameter.fallback;
    } else {
      schema["required"].push_back(parameter.name);
    }
  }
  if (!method.takes_anything() && !method.takes_request()) schema["additionalProperties"] = false;
  json body = json::object();
  if (schema.contains("required")) body["required"] = true;
  body["content"]["application/json"]["schema"] = std::move(schema);
  return body;
}

/// What is there when the call has come to a good end. Of streams, a schema can tell the items only.
[[gnu::cold]] inline json openapi_result(const Method& method) {
  json reply = json::object();
  reply["description"] = method.streams() ? "The items, one after the other." : "The result.";
  json schema = method.result_schema();
  json& content = reply["content"] = json::object();
  // Documents and raw replies have a name, but are of any type.
  if (schema.empty() && !method.returns().empty()) {
    content["*/*"] = json::object();
    return reply;
  }
  if (method.returns() != "Event" || !method.streams()) content["application/json"]["schema"] = std::move(schema);
  if (method.streams()) content["text/event-stream"]["schema"] = schema_of_type("string");
  return reply;
}

[[gnu::cold]] inline json openapi_operation(const Method& method, const std::string& id, bool has_body) {
  json operation = json::object();
  operation["operationId"] = id;
  operation["tags"].push_back(method.is_builtin() ? "builtin" : method.is_public() ? "public" : "private");
  const std::string& doc = method.doc();
  const std::string first = doc.substr(0, doc.find('\n'));
  operation["summary"] = first.empty() ? method.name() : first;
  const std::size_t more = doc.find_first_not_of('\n', first.size());
  if (more != std::string::npos) operation["description"] = doc.substr(more);
  if (method.streams()) operation["x-kettlingar-stream"] = true;
  if (has_body) operation["requestBody"] = openapi_body(method);
  json& responses = operation["responses"] = json::object();
  responses["200"] = openapi_result(method);
  responses["default"] = reference_to("responses/Error");
  if (method.is_public()) operation["security"] = json::array();
  return operation;
}

/// Where the service listens, or would if it were started: a port that is drawn then is left out.
[[gnu::cold]] inline std::string openapi_address(const Server& server) {
  std::string url = server.tcp_url();
  const Settings& settings = server.settings;
  if (url.empty()) {
    const std::string& host = settings.worker_listen_host;
    url = "http://" + (host.find(':') == std::string::npos ? host : "[" + host + "]");
    if (settings.worker_listen_port != 0) url += ":" + std::to_string(settings.worker_listen_port);
  }
  const std::string& prefix = server.running() ? server.prefix() : settings.worker_url_path;
  return prefix.empty() ? url : url + "/" + prefix;
}

[[gnu::cold]] inline json openapi_paths(const Server& server) {
  std::set<std::string> ids;
  for (const std::string& name : server.methods.names(false)) ids.insert(name);
  json paths = json::object();
  for (const std::string& name : server.methods.names(false)) {
    const auto method = server.methods.named(name);
    // Descriptors do not pass through HTTP as others know it.
    if (!method || method->is_hidden() || method->passes_descriptors()) continue;
    const bool has_body = !method->parameters().empty() || method->takes_anything() || method->takes_request();
    json& path = paths[name == "web_root" ? "/" : "/" + name] = json::object();
    path["post"] = openapi_operation(*method, name, has_body);
    bool needs_arguments = false;
    for (const Parameter& parameter : method->parameters()) needs_arguments = needs_arguments || parameter.required();
    // Of ours, those that are not read-only change something, or want POST for what they change.
    if (needs_arguments || (method->is_builtin() && !method->is_read_only())) continue;
    std::string id = name + "_get";
    while (!ids.insert(id).second) id += "_";
    path["get"] = openapi_operation(*method, id, false);
  }
  return paths;
}

[[gnu::cold]] inline json openapi_tags() {
  constexpr const char* texts[][2] = {{"public", "Methods for everybody."},
                                      {"private", "Methods for those who have the token."},
                                      {"builtin", "Methods that every service has."}};
  json tags = json::array();
  for (const auto& [name, description] : texts) {
    json tag = json::object();
    tag["name"] = name;
    tag["description"] = description;
    tags.push_back(std::move(tag));
  }
  return tags;
}

/// All methods that are not hidden and can be called over plain HTTP. The token is not in it.
[[gnu::cold]] inline json openapi_document(const Server& server) {
  json document = json::object();
  document["openapi"] = "3.1.0";
  json& info = document["info"] = json::object();
  info["title"] = server.settings.app_name;
  if (!server.description.empty()) info["description"] = server.description;
  info["version"] = library_version();
  json address = json::object();
  address["url"] = openapi_address(server);
  document["servers"].push_back(std::move(address));
  json bearer = json::object();
  bearer["bearer"] = json::array();
  document["security"].push_back(std::move(bearer));
  document["tags"] = openapi_tags();
  json paths = openapi_paths(server);
  json schemas = definitions(paths);
  refer_to_components(paths);
  refer_to_components(schemas);
  document["paths"] = std::move(paths);
  json& components = document["components"] = json::object();
  json& error = components["responses"]["Error"] = json::object();
  error["description"] = "What went wrong.";
  json& schema = error["content"]["application/json"]["schema"] = schema_of_type("object");
  schema["properties"]["error"] = schema_of_type("string");
  schema["required"].push_back("error");
  components["schemas"] = std::move(schemas);
  components["securitySchemes"]["bearer"]["type"] = "http";
  components["securitySchemes"]["bearer"]["scheme"] = "bearer";
  return document;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
