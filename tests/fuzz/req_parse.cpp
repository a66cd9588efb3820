// SPDX-License-Identifier: MIT
// Request heads: one outcome however they arrive; what is accepted can be written again, and says the same then.
// Input: options (1: small limits, 2: no bare LF), a seed for the cuts, the bytes of a connection.
#include "heads.hpp"
#include "wire/http_writer.ipp"

namespace kt = kettlingar;

namespace {

void describe_request(std::string& out, const kt::detail::RequestHead& head) {
  for (const std::string_view text :
       {head.method, head.target, head.path, head.query, head.authority, head.authorization, head.host.value_or("-"),
        head.origin.value_or("-"), head.sec_fetch_site.value_or("-")})
    fuzz::describe(out, text);
  fuzz::describe(out, head.expect_continue ? "100" : "");
  fuzz::describe(out, static_cast<const kt::detail::MessageHead&>(head));
}

void check_request(const kt::detail::RequestHead& head) {
  using namespace kt::detail::http;
  FUZZ_CHECK(!head.method.empty() && head.method.size() <= 32 && all_of_kind<token_char>(head.method));
  FUZZ_CHECK(head.method != "CONNECT");
  FUZZ_CHECK(all_of_kind<target_char>(head.target));
  FUZZ_CHECK(head.path.starts_with('/') || (head.path == "*" && head.method == "OPTIONS"));
  FUZZ_CHECK(head.path.find('?') == std::string_view::npos);
  FUZZ_CHECK(!(head.chunked && head.content_length));
  FUZZ_CHECK(!(head.bare_lf && (head.keep_alive || head.chunked)));
  FUZZ_CHECK(!(head.chunked && head.version_minor == 0));
  for (std::size_t at = 0; at < head.path.size(); ++at)
    FUZZ_CHECK(head.path[at] != '%' || escaped_byte(head.path, at) >= 0);
  for (const kt::detail::HeaderField field : head.fields) {
    FUZZ_CHECK(!field.name.empty() && all_of_kind<token_char>(field.name));
    FUZZ_CHECK(all_of_kind<value_char>(field.value) && trim(field.value) == field.value);
  }
}

/// The same request as our client would write it.
void check_written_again(const kt::detail::RequestHead& head, const kt::Limits& limits) {
  std::vector<kt::detail::HeaderField> others;
  for (const kt::detail::HeaderField field : head.fields) {
    using kt::detail::http::same_word;
    bool own = false;
    for (const char* name : {"host", "content-type", "content-length", "connection", "transfer-encoding"})
      own |= same_word(field.name, name);
    if (!own) others.push_back(field);
  }
  kt::detail::RequestHeadOptions options;
  options.method = head.method;
  options.target = head.target;
  options.host = head.host.value_or("");
  options.content_type = head.content_type;
  options.content_length = head.content_length;
  options.connection = head.keep_alive ? kt::detail::ConnectionHeader::none : kt::detail::ConnectionHeader::close;
  options.bare_lf = head.bare_lf;
  options.extra = others;
  std::string written;
  FUZZ_CHECK(kt::detail::append_request_head(written, options));
  kt::detail::RequestHeadParser parser(limits);
  const kt::detail::ParseResult result = parser.parse(written);
  if (result.status == kt::detail::Parse::bad) {  // our own lines may be longer than those that came
    FUZZ_CHECK(result.slug == "too-large");
    return;
  }
  FUZZ_CHECK(result.status == kt::detail::Parse::complete && result.consumed == written.size());
  const kt::detail::RequestHead& again = parser.head();
  FUZZ_CHECK(again.method == head.method && again.target == head.target && again.path == head.path);
  FUZZ_CHECK(again.query == head.query && again.authority == head.authority && again.origin == head.origin);
  FUZZ_CHECK(again.host.value_or("") == head.host.value_or("") && again.authorization == head.authorization);
  FUZZ_CHECK(again.content_type == head.content_type && again.content_length == head.content_length);
  FUZZ_CHECK(again.bare_lf == head.bare_lf && again.keep_alive == head.keep_alive);
}

}  // namespace

FUZZ_TARGET(req_parse) {
  fuzz::Input input(bytes);
  const unsigned options = input.byte(), seed = input.byte();
  const std::string_view message = input.rest();
  const kt::Limits limits = fuzz::parser_limits((options & 1) != 0);
  const kt::detail::RequestHeadParser fresh(limits, (options & 2) == 0);
  const fuzz::Outcome outcome = fuzz::parse_head(fresh, message, seed, describe_request);
  FUZZ_CHECK(outcome.result.status != kt::detail::Parse::need_more || message.size() < limits.head_bytes);
  if (outcome.result.status != kt::detail::Parse::complete) return;
  kt::detail::RequestHeadParser parser = fresh;
  static_cast<void>(parser.parse(message));
  check_request(parser.head());
  check_written_again(parser.head(), limits);
}
