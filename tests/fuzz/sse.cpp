// SPDX-License-Identifier: MIT
// Server-sent events: what is written is one event, in which a browser finds what was put in; reading takes any bytes.
// Input: id, event, data, each but the last ended by 0xFF; and, all of it, an event to read; and an item as JSON.
#include "fuzz.hpp"
#include "wire/events.ipp"

namespace kt = kettlingar;

namespace {

/// The stream as an EventSource reads it: fields of the first event; how many there are.
kt::json as_browsers_do(std::string_view stream, int& events) {
  kt::json first = kt::json::object(), fields = kt::json::object();
  events = 0;
  bool any = false;
  while (!stream.empty()) {
    const std::size_t end = stream.find_first_of("\r\n");
    FUZZ_CHECK(end != std::string_view::npos && stream[end] == '\n');  // we write no CR
    const std::string_view line = stream.substr(0, end);
    stream.remove_prefix(end + 1);
    if (line.empty()) {
      if (any && events++ == 0) first = fields;
      fields = kt::json::object();
      any = false;
      continue;
    }
    any = true;
    const std::size_t colon = line.find(": ");
    FUZZ_CHECK(colon != std::string_view::npos);
    const std::string name(line.substr(0, colon)), value(line.substr(colon + 2));
    fields[name] = fields.contains(name) ? fields[name].get<std::string>() + "\n" + value : value;
  }
  FUZZ_CHECK(!any);
  return first;
}

std::string one_kind_of_line_ends(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\r' && text.substr(i).starts_with("\r\n")) continue;
    out += text[i] == '\r' ? '\n' : text[i];
  }
  return out;
}

void check_round_trip(std::string_view id, std::string_view name, std::string_view data) {
  kt::json item = kt::json::object();
  item["id"] = std::string(id);
  item["event"] = std::string(name);
  item["data"] = std::string(data);
  std::string stream;
  if (kt::detail::append_event(item, stream)) {
    FUZZ_CHECK(stream.empty());
    FUZZ_CHECK((std::string(id) + std::string(name)).find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos);
    return;
  }
  int events = 0;
  const kt::json read = as_browsers_do(stream, events);
  FUZZ_CHECK(events == 1);
  for (const auto& [key, value] : {std::pair("id", id), std::pair("event", name), std::pair("data", data)}) {
    std::string mended;
    kt::append_utf8(mended, value);
    FUZZ_CHECK(read.at(key) == one_kind_of_line_ends(mended));
  }
  kt::json ours;
  FUZZ_CHECK(!kt::detail::parse_event(stream, ours));
}

}  // namespace

FUZZ_TARGET(sse) {
  kt::json event;
  if (kt::detail::parse_event(bytes, event)) {
    FUZZ_CHECK(event.is_null());
  } else {
    FUZZ_CHECK(event.is_object() && event.size() <= 16);
    std::string out;
    static_cast<void>(kt::detail::append_event(event, out));
    int events = 0;
    as_browsers_do(out, events);
    FUZZ_CHECK(events == (event.empty() || out.empty() ? 0 : 1));
  }
  if (!kt::decode_json(bytes, event)) {
    std::string out;
    static_cast<void>(kt::detail::append_event(event, out));
    int events = 0;
    as_browsers_do(out, events);
    FUZZ_CHECK(events <= 1);
  }
  fuzz::Input input(bytes);
  const std::string_view id = input.until('\xFF'), name = input.until('\xFF');
  check_round_trip(id, name, input.rest());
}
