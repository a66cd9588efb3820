// SPDX-License-Identifier: MIT
// wire/events.ipp: server-sent events, one per chunk, as browsers' EventSource reads them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "../base/json.hpp"
#include "../base/limits.hpp"
#include "json_text.ipp"
#include "text.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Append `item`, a map, as one event of a `text/event-stream`; nothing for an empty one, which is no event.
/// - `id`, `event` and `retry` become a line each unless null: numbers, or strings without CR, LF and NUL.
/// - `data`, or without that key all other keys as a map, becomes one line for each line, ended by CR, LF or CRLF.
///   There is always one, for browsers drop an event without: an empty one if there is no key but those three.
///   Strings and bytes go out as they are (malformed UTF-8 in strings as U+FFFD), other values as JSON, null and zero
///   included.
/// `out` is unchanged after an error: no map, bad fields, or data that encode_json refuses.
[[nodiscard]] CodecError append_event(const json& item, std::string& out, int depth = Limits{}.depth);

/// A comment, which readers skip: it shows them, and proxies between, that the stream lives on.
inline constexpr std::string_view event_comment = ":\n\n";

/// Read one event into `out`, a map of strings, empty if there are only comments; null remains there after an error.
/// White space at its end is ignored, and so are lines that begin with a colon. What is before the first colon of a
/// line is the key, the character behind it is dropped; lines with the same key are joined by LF. Errors are a line
/// without colon, such as the empty one between two events, and more than 16 different keys. Malformed UTF-8 becomes
/// U+FFFD.
[[nodiscard]] CodecError parse_event(std::string_view text, json& out);

/// Take the first line off `text`, without its LF, CR or CRLF.
inline std::string_view take_line(std::string_view& text) {
  const std::size_t size = (std::min)(text.find_first_of("\r\n"), text.size());
  const std::string_view line = text.substr(0, size);
  text.remove_prefix(size);
  text.remove_prefix(text.starts_with("\r\n") ? 2 : text.empty() ? 0 : 1);
  return line;
}

/// The field as one line; nothing is appended if it is missing or null.
inline CodecError append_event_field(const json& item, const char* name, std::string& out) {
  const auto field = item.find(name);
  if (field == item.end() || field->is_null()) return {};
  std::string line;
  if (const auto* text = field->get_ptr<const std::string*>()) {
    append_utf8(line, *text);
  } else if (!field->is_number()) {
    return bad_body("id, event and retry must be strings or numbers");
  } else if (const CodecError error = encode_json(*field, line)) {
    return error;
  }
  if (line.find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos) {
    return bad_body("id, event and retry must not contain line ends or NUL");
  }
  out.append(name).append(": ").append(line).append("\n");
  return {};
}

/// `value` as it stands in an event, before it is cut into lines.
inline CodecError event_text(const json& value, std::string& out, int depth) {
  if (const auto* text = value.get_ptr<const std::string*>()) {
    append_utf8(out, *text);
  } else if (const auto* bytes = value.get_ptr<const json::binary_t*>(); bytes != nullptr && !bytes->has_subtype()) {
    out.append(chars(*bytes));
  } else {
    return encode_json(value, out, JsonStyle::spaced, depth);
  }
  return {};
}

inline CodecError event_data(const json& item, std::string& out, int depth) {
  if (const auto data = item.find("data"); data != item.end()) return event_text(*data, out, depth);
  std::string map;
  for (const auto& [name, value] : *item.get_ptr<const json::object_t*>()) {
    if (name == "id" || name == "event" || name == "retry") continue;
    map += map.empty() ? "{" : ", ";
    CodecError error = encode_json(json(name), map, JsonStyle::spaced);
    map += ": ";
    if (!error) error = encode_json(value, map, JsonStyle::spaced, depth - 1);
    if (error) return error;
  }
  if (!map.empty()) out.append(map).append("}");
  return {};
}

/// The lines of one event into `event`, a still empty map.
inline CodecError read_event(std::string_view text, json& event) {
  constexpr std::size_t most_keys = 16;
  text = text.substr(0, text.find_last_not_of(" \t\n\v\f\r") + 1);  // npos + 1 is 0
  while (!text.empty()) {
    const std::string_view line = take_line(text);
    const std::size_t colon = line.find(':');
    if (colon == 0) continue;  // a comment
    if (colon == std::string_view::npos) return bad_body("a line of an event has no colon");
    std::string key;
    append_utf8(key, line.substr(0, colon));
    const std::string_view value = line.substr((std::min)(colon + 2, line.size()));
    const auto known = event.find(key);
    if (known != event.end()) {
      auto& joined = *known->get_ptr<std::string*>();
      joined += '\n';
      append_utf8(joined, value);
    } else if (event.size() == most_keys) {
      return bad_body("an event has too many keys");
    } else {
      append_utf8(*(event[key] = "").get_ptr<std::string*>(), value);
    }
  }
  return {};
}

inline CodecError append_event(const json& item, std::string& out, int depth) {
  if (!item.is_object()) return bad_body("an event must be a map");
  if (item.empty()) return {};
  std::string event;
  for (const char* name : {"id", "event", "retry"}) {
    if (const CodecError error = append_event_field(item, name, event)) return error;
  }
  std::string data;
  if (const CodecError error = event_data(item, data, depth)) return error;
  std::string_view rest = data;
  for (bool more = true; more;) {
    more = rest.find_first_of("\r\n") != std::string_view::npos;  // the last line has no end
    event.append("data: ").append(take_line(rest)).append("\n");
  }
  out.append(event).append("\n");
  return {};
}

inline CodecError parse_event(std::string_view text, json& out) {
  json event = json::value_t::object;
  const CodecError error = read_event(text, event);
  out = error ? json() : std::move(event);
  return error;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
