// SPDX-License-Identifier: MIT
// What the targets for parsers share: limits that small inputs can reach, and one outcome however a message arrives.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "base/limits.hpp"
#include "fuzz.hpp"
#include "wire/http_head.ipp"

namespace fuzz {

inline kettlingar::Limits parser_limits(bool small) {
  kettlingar::Limits limits;
  if (!small) return limits;
  limits.request_line_bytes = 48;
  limits.head_bytes = 128;
  limits.header_count = 4;
  limits.body_bytes = 96;
  limits.chunk_line_bytes = 20;
  limits.trailer_bytes = 40;
  limits.trailer_count = 2;
  limits.chunk_overhead_bytes = 32;
  limits.depth = 4;
  return limits;
}

/// What a parser has come to, and after how many bytes.
struct Outcome {
  kettlingar::detail::ParseResult result;
  std::size_t seen = 0;
  std::string text;  ///< all that the parser tells

  bool same(const Outcome& other) const {
    return result.status == other.result.status && result.consumed == other.result.consumed &&
           result.http_status == other.result.http_status && result.slug == other.result.slug &&
           result.why == other.result.why && text == other.text;
  }
};

inline void describe(std::string& out, std::string_view text) { out.append(text).append("\n"); }

inline void describe(std::string& out, const kettlingar::detail::MessageHead& head) {
  for (const kettlingar::detail::HeaderField field : head.fields) {
    describe(out, field.name);
    describe(out, field.value);
  }
  describe(out, head.content_type);
  describe(out, head.content_length ? std::to_string(*head.content_length) : "-");
  describe(out, std::to_string(head.version_minor * 8 + head.bare_lf * 4 + head.keep_alive * 2 + head.chunked));
}

/// `step(seen)` is called with more and more of `size` bytes until it has an outcome other than Parse::need_more. That
/// has to be the same for every cut, and to come with the same byte.
template <class Run>
Outcome same_for_every_cut(std::size_t size, unsigned seed, Run run) {
  using kettlingar::detail::Parse;
  const Outcome bytewise = run(cuts(Cut::bytes, size, seed));
  for (const Cut cut : {Cut::whole, Cut::pieces}) {
    const std::vector<std::size_t> sizes = cuts(cut, size, seed);
    const Outcome outcome = run(sizes);
    FUZZ_CHECK(outcome.same(bytewise));
    if (outcome.result.status != Parse::need_more)
      FUZZ_CHECK(outcome.seen == *std::lower_bound(sizes.begin(), sizes.end(), bytewise.seen));
  }
  if (bytewise.result.status == Parse::complete) FUZZ_CHECK(bytewise.result.consumed == bytewise.seen);
  if (bytewise.result.status == Parse::bad) {
    FUZZ_CHECK(bytewise.result.http_status >= 400 && bytewise.result.http_status <= 505);
    FUZZ_CHECK(!bytewise.result.slug.empty() && !bytewise.result.why.empty());
  }
  return bytewise;
}

/// Parses a head as it arrives, each time in another place, at whose end memory ends as well.
template <class Parser, class Describe>
Outcome parse_head(const Parser& fresh, std::string_view message, unsigned seed, Describe describe_head) {
  return same_for_every_cut(message.size(), seed, [&](const std::vector<std::size_t>& sizes) {
    Parser parser = fresh;
    Outcome outcome;
    for (const std::size_t size : sizes) {
      const std::vector<char> arrived(message.begin(), message.begin() + static_cast<std::ptrdiff_t>(size));
      outcome.result = parser.parse({arrived.data(), size});
      outcome.seen = size;
      if (outcome.result.status == kettlingar::detail::Parse::need_more) continue;
      FUZZ_CHECK(outcome.result.consumed <= size);
      if (outcome.result.status == kettlingar::detail::Parse::complete) {
        const std::vector<char> elsewhere = arrived;
        parser.rebase({elsewhere.data(), size});
        describe_head(outcome.text, parser.head());
      }
      FUZZ_CHECK(parser.parse({arrived.data(), size}).status == outcome.result.status);
      break;
    }
    return outcome;
  });
}

}  // namespace fuzz
