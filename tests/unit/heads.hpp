// SPDX-License-Identifier: MIT
// tests/unit/heads.hpp: what the parsers of heads and bodies make of bytes, however they arrive.
#pragma once

#include "support.hpp"
#include "wire/http_fields.ipp"
#include "wire/http_head.ipp"

namespace test {

/// Runs `outcome_of(ends)` with the wire at once, cut at every offset (of long ones: at 300) and byte by byte, where
/// `ends` says how many bytes have arrived at each call of the parser; all outcomes must be the same one.
template <class OutcomeOf>
std::string http_every_split(std::string_view wire, OutcomeOf outcome_of) {
  const std::size_t size = wire.size();
  const std::string whole = outcome_of(std::vector<std::size_t>{size});
  for (std::size_t cut = 0; cut <= size; cut += size / 300 + 1) {
    const std::string outcome = outcome_of(std::vector<std::size_t>{cut, size});
    CAPTURE(cut);
    if (outcome != whole) CHECK(outcome == whole);
  }
  std::vector<std::size_t> ends;
  for (std::size_t end = 0; end <= size; end += size / 3000 + 1) ends.push_back(end);
  ends.push_back(size);
  const std::string bytewise = outcome_of(ends);
  if (bytewise != whole) CHECK(bytewise == whole);
  return whole;
}

inline std::string http_refusal(const kt::detail::ParseResult& result) {
  CHECK(!result.why.empty());
  CHECK(result.consumed == 0);
  return std::to_string(result.http_status) + " " + std::string(result.slug);
}

inline void http_common(std::string& out, const kt::detail::MessageHead& head) {
  auto add = [&out](std::string_view what, std::string_view value = {}) { out.append(" ").append(what).append(value); };
  add("HTTP/1.", std::to_string(head.version_minor));
  add(head.keep_alive ? "keep" : "close");
  if (head.bare_lf) add("lf");
  if (head.chunked) add("chunked");
  if (head.encoded) add("encoded");
  if (head.content_length) add("length=", std::to_string(*head.content_length));
  if (!head.content_type.empty()) add("type=", head.content_type);
}

inline std::string http_text(const kt::detail::RequestHead& head) {
  std::string out(head.method);
  auto add = [&out](std::string_view what, std::optional<std::string_view> value) {
    if (value) out.append(" ").append(what).append(*value);
  };
  auto unless_empty = [&add](std::string_view what, std::string_view value) {
    if (!value.empty()) add(what, value);
  };
  add("", head.path);
  unless_empty("query=", head.query);
  unless_empty("authority=", head.authority);
  http_common(out, head);
  add("host=", head.host);
  unless_empty("authorization=", head.authorization);
  add("origin=", head.origin);
  add("site=", head.sec_fetch_site);
  if (head.expect_continue) add("expect", "");
  return out;
}

inline std::string http_text(const kt::detail::ResponseHead& head) {
  std::string out = std::to_string(head.status) + " '" + std::string(head.reason) + "'";
  http_common(out, head);
  return out;
}

/// What a parser makes of the wire: "400 slug", "more", or the head and how many bytes are behind it.
template <class Parser>
std::string http_head_outcome(Parser parser, std::string_view wire, const std::vector<std::size_t>& ends) {
  kt::detail::ParseResult result;
  for (const std::size_t end : ends) {
    const Block block(wire.substr(0, end));
    result = parser.parse(block.text());
    if (result.status != kt::detail::Parse::need_more) break;
  }
  if (result.status == kt::detail::Parse::need_more) return "more";
  const Block elsewhere(wire);
  CHECK(parser.parse(elsewhere.text()).status == result.status);  // once decided, it stays so
  if (result.status == kt::detail::Parse::bad) return http_refusal(result);
  const Block moved(wire.substr(0, result.consumed));
  parser.rebase(moved.text());
  std::string out = http_text(parser.head());
  for (const kt::detail::HeaderField field : parser.head().fields) {
    out.append("|").append(field.name).append("=").append(field.value);
  }
  const std::size_t rest = wire.size() - result.consumed;
  return rest == 0 ? out : out + " rest=" + std::to_string(rest);
}

inline std::string http_request(std::string_view wire, const kt::Limits& limits = {}, bool accept_bare_lf = true) {
  return http_every_split(wire, [&](const std::vector<std::size_t>& ends) {
    return http_head_outcome(kt::detail::RequestHeadParser(limits, accept_bare_lf), wire, ends);
  });
}

/// The same request, given only its header lines; the outcome without the request line and without the lines.
inline std::string http_with_lines(std::string_view lines, std::string_view version = "HTTP/1.1") {
  const std::string out = http_request("POST /p " + std::string(version) + "\r\n" + std::string(lines) + "\r\n");
  const std::string expected = "POST /p " + std::string(version) + " ";
  return out.starts_with(expected) ? out.substr(expected.size(), out.find('|') - expected.size()) : out;
}

inline std::string http_response(std::string_view wire, const kt::Limits& limits = {}) {
  return http_every_split(wire, [&](const std::vector<std::size_t>& ends) {
    return http_head_outcome(kt::detail::ResponseHeadParser(limits), wire, ends);
  });
}

struct HttpRow {
  std::string_view wire;
  std::string_view outcome;
};

inline std::string http_repeat(std::string_view text, std::size_t times) {
  std::string out;
  for (std::size_t i = 0; i < times; ++i) out += text;
  return out;
}

}  // namespace test
