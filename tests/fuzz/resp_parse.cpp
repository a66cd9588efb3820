// SPDX-License-Identifier: MIT
// Answers, as a client reads them: one outcome however they arrive, with the end of the connection behind them; heads
// that our writer accepts come back as they went.
// Input: options (1: small limits), a seed for the cuts, the bytes of a connection.
#include <cstring>

#include "client/response.ipp"
#include "heads.hpp"

namespace kt = kettlingar;

namespace {

void describe_response(std::string& out, const kt::detail::ResponseHead& head) {
  FUZZ_CHECK(head.status >= 100 && head.status <= 599 && !(head.chunked && head.content_length));
  fuzz::describe(out, std::to_string(head.status));
  fuzz::describe(out, head.reason);
  fuzz::describe(out, static_cast<const kt::detail::MessageHead&>(head));
}

/// Everything that one call gives its caller, as text.
std::string read_answer(const kt::Limits& limits, std::string_view message, const std::vector<std::size_t>& sizes) {
  using Step = kt::detail::ResponseReader::Step;
  kt::detail::ResponseReader reader(limits);
  std::string events;
  try {
    std::size_t had = 0;
    for (std::size_t i = 0; i <= sizes.size(); ++i) {
      if (i < sizes.size()) {
        const std::size_t size = sizes[i] - had;
        if (size != 0) std::memcpy(reader.prepare(size), message.data() + had, size);
        reader.received(size);
        had = sizes[i];
      } else {
        reader.end_of_input();
      }
      Step step = reader.advance();
      for (; step == Step::head || step == Step::item; step = reader.advance()) {
        if (step == Step::head) {
          events += "head " + std::to_string(reader.status()) + (reader.streaming() ? " stream " : " ");
          events += reader.content_type() + (reader.has_length() ? " length\n" : "\n");
          continue;
        }
        events += "item ";
        const kt::json item = reader.take();
        FUZZ_CHECK(!kt::encode_msgpack(item, events));
        events += '\n';
      }
      if (step == Step::done) return events + "done";
      FUZZ_CHECK(i < sizes.size());  // after the end of input something has to be said
    }
  } catch (const kt::NeedInfo& error) {
    return events + "needs " + std::to_string(error.needed().size()) + error.what();
  } catch (const kt::Error& error) {
    return events + std::to_string(error.status()) + " " + error.what();
  } catch (const kt::ConnectionError& error) {
    return events + "broken: " + error.what();
  }
  return events;
}

}  // namespace

FUZZ_TARGET(resp_parse) {
  fuzz::Input input(bytes);
  const unsigned options = input.byte(), seed = input.byte();
  const std::string_view message = input.rest();
  const kt::Limits limits = fuzz::parser_limits((options & 1) != 0);
  fuzz::parse_head(kt::detail::ResponseHeadParser(limits), message, seed, describe_response);
  const std::string whole = read_answer(limits, message, fuzz::cuts(fuzz::Cut::whole, message.size(), seed));
  for (const fuzz::Cut cut : {fuzz::Cut::pieces, fuzz::Cut::bytes})
    FUZZ_CHECK(read_answer(limits, message, fuzz::cuts(cut, message.size(), seed)) == whole);
}
