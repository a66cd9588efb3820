// SPDX-License-Identifier: MIT
// cli/mcp_tools.ipp: methods as tools of an agent, and results as what a model can read.
#pragma once

#include <algorithm>
#include <exception>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/errors.hpp"
#include "../base/suggest.ipp"
#include "../base/version.hpp"
#include "../call/schema.ipp"
#include "../client/transport.hpp"
#include "../wire/json_text.ipp"
#include "mcp_messages.ipp"
#include "output.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// How much of a stream a model gets to see: it may have no end.
struct McpLimits {
  std::size_t items = 200;
  std::size_t bytes = 64 * 1024;
  std::chrono::seconds time{20};
  std::size_t message_bytes = 1000;  ///< of an item, while it is on its way
};
inline constexpr McpLimits mcp_limits{};

/// Why no agent can call a method of a manifest; empty if it can.
[[gnu::cold]] inline std::string no_tool(const json& method) {
  if (member(method, "builtin") == true) return "is built in";
  if (member(method, "hidden") == true) return "is hidden";
  if (member(method, "descriptors") == true) return "takes or gives open files, which no agent can pass";
  return {};
}

/// Schemas of classes come along: a tool has to be understood by itself.
[[gnu::cold]] inline void add_definitions(json& schema, const json& known) {
  std::vector<std::string> names;
  add_references(schema, names);
  for (std::size_t i = 0; i < names.size(); ++i) {
    const json& one = member(known, names[i].c_str());
    add_references(one, names);
    schema["$defs"][names[i]] = one;
  }
}

[[gnu::cold]] inline json mcp_input_schema(const json& method, const json& known) {
  json schema = json::object();
  schema["type"] = "object";
  json& fields = schema["properties"] = json::object();
  json required = json::array();
  for (const json& argument : member(method, "args")) {
    const std::string name = words_in(member(argument, "name"));
    json& field = fields[name] = argument.value("schema", json::object());
    if (argument.contains("default") && !field.contains("default")) field["default"] = argument["default"];
    const std::string doc = words_in(member(argument, "doc"));
    if (!doc.empty()) field["description"] = doc;
    if (member(argument, "required") == true) required.push_back(name);
  }
  if (!required.empty()) schema["required"] = std::move(required);
  schema["additionalProperties"] = false;
  add_definitions(schema, known);
  return schema;
}

[[gnu::cold]] inline json mcp_tool(const json& method, const json& known) {
  json tool = json::object();
  tool["name"] = method["name"];
  tool["description"] = words_in(member(method, "doc"));
  tool["inputSchema"] = mcp_input_schema(method, known);
  // What is not said counts as changing and destroying things, anywhere in the world.
  json& hints = tool["annotations"] = json::object();
  if (member(method, "read_only") == true) hints["readOnlyHint"] = true;
  hints["openWorldHint"] = false;
  return tool;
}

/// The manifest of a service that has no `describe`, as far as its `ping` knows: a Python one.
KETTLINGAR_COLD json manifest_of_pong(const json& pong) {
  json manifest = json::object();
  json& methods = manifest["methods"] = json::array();
  for (const auto& [name, entry] : member(pong, "methods").items()) {
    json method = json::object();
    method["name"] = name;
    method["doc"] = words_in(member(entry, "help"));
    method["builtin"] = name == "ping" || name == "help" || name == "config" || name == "quitquitquit";
    method["stream"] = member(entry, "is_generator");
    json& args = method["args"] = json::array();
    for (const char* kind : {"args", "options"}) {
      for (const auto& [argument, type] : member(entry, kind).items()) {
        args.push_back(json::object());
        args.back()["name"] = argument;
      }
    }
    methods.push_back(std::move(method));
  }
  return manifest;
}

/// Those methods of a manifest that are tools: all, or those in `only`.
KETTLINGAR_COLD json mcp_offered(const json& manifest, const std::vector<std::string>& only) {
  json offered = json::array();
  for (const json& method : member(manifest, "methods")) {
    const std::string name = words_in(member(method, "name"));
    const bool wanted = only.empty() || std::find(only.begin(), only.end(), name) != only.end();
    if (wanted && !name.empty() && no_tool(method).empty()) offered.push_back(method);
  }
  return offered;
}

KETTLINGAR_COLD json mcp_tool_list(const json& manifest, const std::vector<std::string>& only) {
  json tools = json::array();
  for (const json& method : mcp_offered(manifest, only)) tools.push_back(mcp_tool(method, member(manifest, "$defs")));
  return tools;
}

/// The method of that name. Throws McpError if it is no tool.
KETTLINGAR_COLD json mcp_method(const json& offered, const std::string& name) {
  std::vector<std::string> names;
  for (const json& method : offered) {
    if (method["name"] == name) return method;
    names.push_back(words_in(method["name"]));
  }
  throw McpError(McpFault::invalid_params, "no tool '" + log_escaped(name) + "'" + suggestion(name, names));
}

[[gnu::cold]] inline json text_content(std::string text) {
  json block = json::object();
  block["type"] = "text";
  block["text"] = std::move(text);
  return block;
}

[[gnu::cold]] inline std::string compact_json(const json& value) {
  std::string text;
  if (const CodecError error = encode_json(value, text, JsonStyle::compact)) throw ResultError(std::string(error.why));
  return text;
}

/// A document as the client gives it.
[[gnu::cold]] inline json document_content(const json& document, const std::string& uri) {
  const std::string type = words_in(document["mimetype"]);
  const json& data = document["data"];
  const std::string bytes = is_plain_bytes(data) ? std::string(chars(data.get_binary())) : plain_text(data);
  const bool is_text = type.starts_with("text/") || type.starts_with("application/json");
  if (is_text && is_utf8(bytes)) return text_content(bytes);
  std::string base64;
  append_base64(base64, bytes);
  json block = json::object();
  for (const char* kind : {"image", "audio"}) {
    if (!type.starts_with(std::string(kind) + "/")) continue;
    block["type"] = kind;
    block["data"] = std::move(base64);
    block["mimeType"] = type;
    return block;
  }
  block["type"] = "resource";
  json& resource = block["resource"] = json::object();
  resource["uri"] = uri;
  resource["mimeType"] = type;
  resource["blob"] = std::move(base64);
  return block;
}

[[gnu::cold]] inline json mcp_result(json content, bool is_error) {
  json result = json::object();
  result["content"] = json::array();
  result["content"].push_back(std::move(content));
  result["isError"] = is_error;
  return result;
}

/// The result of a call that gives one.
KETTLINGAR_COLD json mcp_result_of(json value, const std::string& uri) {
  if (is_document(value)) return mcp_result(document_content(value, uri), false);
  if (value.is_object()) value.erase("_format");
  json result = mcp_result(text_content(compact_json(value)), false);
  if (value.is_object()) result["structuredContent"] = std::move(value);
  return result;
}

/// What went wrong, in words after which a model can try again.
KETTLINGAR_COLD std::string mcp_sentence(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const NeedInfo& need) {
    std::string text = need.what();
    for (const NeededVariable& variable : need.needed())
      text += "\nCall again with '" + variable.name + "' (" + variable.type + ")" +
              (variable.comment.empty() ? "" : ": " + variable.comment);
    return text;
  } catch (...) {
    return words_of(thrown);
  }
}

/// `text` without what is beyond `most` bytes, or half a character there.
[[gnu::cold]] inline std::string beginning_of(std::string text, std::size_t most) {
  if (text.size() <= most) return text;
  text.resize(most);
  text.resize(text.size() - unfinished(text));
  return text + "...";
}

/// The items of a stream on their way into a result.
class McpItems {
 public:
  /// False if there is no room for it.
  bool add(const std::string& line);
  /// The last item that was added is `line`, the `count()`th.
  std::size_t count() const noexcept { return count_; }
  /// The text that is there, with a last line that says why it is not all.
  std::string text(const std::string& why) const;
  /// Why add() had no room.
  std::string why_full() const;

 private:
  std::string lines_;
  std::size_t count_ = 0;
  bool cut_ = false;
};

KETTLINGAR_COLD bool McpItems::add(const std::string& line) {
  if (count_ == mcp_limits.items || cut_) return false;
  if (lines_.size() + line.size() + 1 > mcp_limits.bytes) {
    cut_ = true;
    if (count_ == 0) lines_ = beginning_of(line, mcp_limits.bytes) + "\n";
    return false;
  }
  lines_ += line + "\n";
  ++count_;
  return true;
}

KETTLINGAR_COLD std::string McpItems::why_full() const {
  return "more than " +
         (cut_ ? std::to_string(mcp_limits.bytes / 1024) + " KiB" : std::to_string(mcp_limits.items) + " items");
}

KETTLINGAR_COLD std::string McpItems::text(const std::string& why) const {
  std::string text = lines_;
  const std::string items = std::to_string(count_) + (count_ == 1 ? " item" : " items");
  if (!why.empty()) return text + "(cut here, after " + items + ": " + why + ")";
  if (text.empty()) return "(no items)";
  text.pop_back();
  return text;
}

/// An item as a line.
KETTLINGAR_COLD std::string mcp_item_line(json item, const std::string& content_type) {
  if (is_document(item)) {
    json data = std::move(item["data"]);
    item = std::move(data);
  }
  if (item.is_object()) item.erase("_format");
  if (!is_plain_bytes(item) || !content_type.starts_with("text/")) return compact_json(item);
  std::string text;
  append_utf8(text, chars(item.get_binary()));
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
