// SPDX-License-Identifier: MIT
// cli/mcp_messages.ipp: the messages of the Model Context Protocol: JSON-RPC 2.0, one object a line.
#pragma once

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "../base/json.hpp"
#include "../base/version.hpp"
#include "../wire/json_text.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Revisions of the protocol: each request names the newest of them by itself, a handshake agrees on one of the others.
inline constexpr const char* mcp_modern = "2026-07-28";
inline constexpr const char* mcp_legacy[] = {"2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"};
inline constexpr const char* mcp_version_key = "io.modelcontextprotocol/protocolVersion";
inline constexpr const char* mcp_server_key = "io.modelcontextprotocol/serverInfo";

enum class McpFault {
  parse = -32700,
  invalid_request = -32600,
  unknown_method = -32601,
  invalid_params = -32602,
  internal = -32603,
  unsupported_version = -32022
};

/// What is wrong with a message. What goes wrong in a method is a result that says so instead, which models see.
class McpError : public std::runtime_error {
 public:
  McpError(McpFault fault, const std::string& why, json more = nullptr)
      : std::runtime_error(why), code(static_cast<int>(fault)), data(std::move(more)) {}

  int code;
  json data;
};

/// What another program sends. Whoever sends no id wants no answer.
struct McpMessage {
  json id = nullptr;  ///< as it came
  bool has_id = false;
  bool modern = false;
  std::string method;  ///< empty for answers, of which we wait for none
  json params = json::object();
};

/// null if `value` is no map, or has no such key.
[[gnu::cold]] inline const json& member(const json& value, const char* key) {
  static const json& none = *new json;  // never destroyed: nothing of ours runs at exit
  const auto found = value.is_object() ? value.find(key) : value.end();
  return found == value.end() ? none : *found;
}

[[gnu::cold]] inline std::string words_in(const json& value) {
  return value.is_string() ? value.get_ref<const std::string&>() : std::string();
}

/// Other bytes and ext values are left as they are written, for the service to judge: who waits for an answer gets one.
[[gnu::cold]] inline bool is_mcp_id(const json& id) { return id.is_string() || id.is_number() || id.is_binary(); }

/// Deeper than any value that a service takes, for the same reason.
inline constexpr int mcp_depth = 1000;

/// Throws McpError; what is known of the message by then is in `message`.
KETTLINGAR_COLD void read_mcp_message(std::string_view line, McpMessage& message) {
  json whole;
  if (const CodecError error = decode_json_text(line, whole, mcp_depth, true))
    throw McpError(McpFault::parse, std::string(error.why));
  if (whole.is_array()) throw McpError(McpFault::invalid_request, "one message a line, no list of them");
  if (!whole.is_object()) throw McpError(McpFault::invalid_request, "a message is an object");
  message.has_id = whole.contains("id");
  const bool is_answer = whole.contains("result") || whole.contains("error");
  if (is_answer && !whole.contains("method")) return;
  message.method = words_in(member(whole, "method"));
  if (message.has_id && !is_mcp_id(whole["id"]))
    throw McpError(McpFault::invalid_request, "an id is a text or a number");
  if (message.has_id) message.id = std::move(whole["id"]);
  if (message.method.empty()) {
    message.has_id = true;
    throw McpError(McpFault::invalid_request, "a message needs a method");
  }
  if (member(whole, "jsonrpc") != "2.0")
    throw McpError(McpFault::invalid_request, "a message says \"jsonrpc\": \"2.0\"");
  if (!whole.contains("params")) return;
  if (!whole["params"].is_object()) throw McpError(McpFault::invalid_params, "params is an object");
  message.params = std::move(whole["params"]);
  message.modern = !member(member(message.params, "_meta"), mcp_version_key).is_null();
}

/// The id in the first or the last bytes of a message that is too long to be read, so that who waits for its answer
/// gets one; null if it is not there. A part that is whole by itself begins or ends at a comma between two members.
KETTLINGAR_COLD json mcp_id_in(std::string_view head, std::string_view tail) {
  const auto id_of = [](const std::string& text) {
    json part;
    if (decode_json_text(text, part, mcp_depth, true)) return json();
    const json& id = member(part, "id");
    return is_mcp_id(id) ? id : json();
  };
  json id;
  for (std::size_t i = head.find(','); id.is_null() && i != std::string_view::npos; i = head.find(',', i + 1))
    id = id_of(std::string(head.substr(0, i)) + "}");
  for (std::size_t i = tail.find(','); id.is_null() && i != std::string_view::npos; i = tail.find(',', i + 1))
    id = id_of("{" + std::string(tail.substr(i + 1)));
  return id;
}

/// Throws McpError where the message is of a revision that nobody here knows.
KETTLINGAR_COLD void require_mcp_version(const McpMessage& message) {
  if (!message.modern) return;
  const json& wanted = message.params["_meta"][mcp_version_key];
  if (wanted == mcp_modern) return;
  json more = json::object();
  json& known = more["supported"] = json::array();
  known.push_back(mcp_modern);
  for (const char* version : mcp_legacy) known.push_back(version);
  more["requested"] = wanted;
  throw McpError(McpFault::unsupported_version, "unsupported protocol version", std::move(more));
}

/// What a handshake agrees on.
KETTLINGAR_COLD const char* agreed_mcp_version(const json& wanted) {
  for (const char* version : mcp_legacy) {
    if (wanted == version) return version;
  }
  return mcp_legacy[0];
}

/// A message as it is sent, with its line feed.
KETTLINGAR_COLD std::string mcp_line(const json& fields) {
  json message = json::object();
  message["jsonrpc"] = "2.0";
  message.update(fields);
  std::string line;
  if (const CodecError error = encode_json(message, line, JsonStyle::compact, mcp_depth))
    throw McpError(McpFault::internal, std::string(error.why));
  return line + "\n";
}

KETTLINGAR_COLD std::string mcp_error_line(const json& id, const McpError& error) {
  json fields = json::object();
  fields["id"] = id;
  json& fault = fields["error"] = json::object();
  fault["code"] = error.code;
  fault["message"] = error.what();
  if (!error.data.is_null()) fault["data"] = error.data;
  return mcp_line(fields);
}

KETTLINGAR_COLD std::string mcp_notification_line(const char* method, json params) {
  json fields = json::object();
  fields["method"] = method;
  fields["params"] = std::move(params);
  return mcp_line(fields);
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
