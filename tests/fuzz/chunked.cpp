// SPDX-License-Identifier: MIT
// Chunked bodies: one outcome however they arrive, the same from both readers, and again after our writers.
// Input: options (1: small limits), a seed for the cuts, the body.
#include "heads.hpp"
#include "wire/http_body.ipp"
#include "wire/http_writer.ipp"

namespace kt = kettlingar;

namespace {

/// The body in one piece, as services read it.
fuzz::Outcome read_body(const kt::Limits& limits, std::string_view body, unsigned seed) {
  kt::detail::MessageHead head;
  head.chunked = true;
  return fuzz::same_for_every_cut(body.size(), seed, [&](const std::vector<std::size_t>& sizes) {
    kt::detail::BodyReader reader(limits);
    reader.start(head);
    fuzz::Outcome outcome;
    std::vector<char> buffer;
    std::size_t dropped = 0;
    for (const std::size_t size : sizes) {
      std::vector<char> grown(buffer.begin(), buffer.end());
      grown.insert(grown.end(), body.begin() + static_cast<std::ptrdiff_t>(dropped + buffer.size()),
                   body.begin() + static_cast<std::ptrdiff_t>(size));
      buffer = grown;
      outcome.result = reader.advance(buffer.data(), buffer.size());
      outcome.seen = size;
      FUZZ_CHECK(reader.body_size() <= reader.raw_size() && reader.raw_size() <= buffer.size());
      FUZZ_CHECK(reader.body_size() <= limits.body_bytes);
      if (outcome.result.status == kt::detail::Parse::complete) {
        outcome.result.consumed += dropped;
        outcome.text.assign(buffer.data(), reader.body_size());
      }
      if (outcome.result.status != kt::detail::Parse::need_more) break;
      if ((seed + size) % 3 != 0) continue;
      const std::size_t left = reader.close_gap(buffer.data(), buffer.size());
      dropped += buffer.size() - left;
      buffer.resize(left);
    }
    return outcome;
  });
}

/// The body chunk by chunk, as clients read it.
fuzz::Outcome read_chunks(const kt::Limits& limits, std::string_view body, unsigned seed,
                          std::vector<std::string>* chunks) {
  return fuzz::same_for_every_cut(body.size(), seed, [&](const std::vector<std::size_t>& sizes) {
    kt::detail::ChunkParser parser(limits, limits.body_bytes);
    fuzz::Outcome outcome;
    std::size_t begin = 0;
    if (chunks != nullptr) chunks->clear();
    for (const std::size_t size : sizes) {
      outcome.seen = size;
      do {
        const std::vector<char> arrived(body.begin() + static_cast<std::ptrdiff_t>(begin),
                                        body.begin() + static_cast<std::ptrdiff_t>(size));
        outcome.result = parser.next({arrived.data(), arrived.size()});
        if (outcome.result.status != kt::detail::Parse::complete) break;
        begin += outcome.result.consumed;
        outcome.text += parser.data();
        if (chunks != nullptr && !parser.last()) chunks->emplace_back(parser.data());
      } while (!parser.last());
      if (outcome.result.status != kt::detail::Parse::need_more) break;
    }
    if (outcome.result.status == kt::detail::Parse::complete) {
      outcome.result.consumed = begin;
    } else {
      outcome.text.clear();
    }
    return outcome;
  });
}

}  // namespace

FUZZ_TARGET(chunked) {
  fuzz::Input input(bytes);
  const unsigned options = input.byte(), seed = input.byte();
  const std::string_view body = input.rest();
  const kt::Limits limits = fuzz::parser_limits((options & 1) != 0);
  const fuzz::Outcome joined = read_body(limits, body, seed);
  std::vector<std::string> chunks;
  FUZZ_CHECK(read_chunks(limits, body, seed, &chunks).same(joined));
  if (joined.result.status != kt::detail::Parse::complete) return;
  FUZZ_CHECK(joined.text.size() < joined.result.consumed);

  std::string written, rewritten;
  kt::detail::ChunkWriter writer;
  for (const std::string& chunk : chunks) {
    kt::detail::append_chunk(written, chunk);
    writer.begin(rewritten);
    rewritten += chunk;
    writer.end(rewritten);
  }
  FUZZ_CHECK(written == rewritten);
  kt::detail::append_last_chunk(written);
  const fuzz::Outcome again = read_body(kt::Limits{}, written, seed);
  FUZZ_CHECK(again.result.status == kt::detail::Parse::complete && again.text == joined.text);
}
