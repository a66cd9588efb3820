// SPDX-License-Identifier: MIT
#include "heads.hpp"
#include "support.hpp"
#include "wire/http_body.ipp"
#include "wire/http_fields.ipp"

namespace {

/// What ChunkParser makes of the wire: "5:hello|0:|" and at the end "more", "rest=N" or a refusal.
std::string http_chunks(std::string_view wire, const kt::Limits& limits = {},
                        std::uint64_t total = kt::detail::ChunkParser::no_total, int zero_chunks = 1) {
  return http_every_split(wire, [&](const std::vector<std::size_t>& ends) {
    kt::detail::ChunkParser parser(limits, total);
    std::string out;
    std::size_t at = 0;
    int left = zero_chunks;
    for (const std::size_t end : ends) {
      for (;;) {
        const Block block(wire.substr(at, end - at));
        const kt::detail::ParseResult result = parser.next(block.text());
        if (result.status == kt::detail::Parse::bad) {
          CHECK(parser.next(block.text()).status == kt::detail::Parse::bad);
          return out + http_refusal(result);
        }
        if (result.status == kt::detail::Parse::need_more) break;
        at += result.consumed;
        out += std::to_string(parser.data().size()) + ":" + std::string(parser.data()) + "|";
        CHECK(parser.last() == parser.data().empty());
        if (parser.last() && --left == 0) return out + "rest=" + std::to_string(wire.size() - at);
      }
    }
    return out + "more";
  });
}

/// The same for BodyReader: "body=hello rest=N", "more" or a refusal. With `close` the gap is closed at every step.
std::string http_body_outcome(std::string_view wire, const kt::detail::MessageHead& head, const kt::Limits& limits,
                              const std::vector<std::size_t>& ends, bool close) {
  kt::detail::BodyReader reader(limits);
  reader.start(head);
  Block buffer("");
  std::size_t received = 0;
  for (const std::size_t end : ends) {
    buffer = Block(std::string(buffer.text()) + std::string(wire.substr(received, end - received)));
    received = end;
    const kt::detail::ParseResult result = reader.advance(buffer.data(), buffer.size());
    if (result.status == kt::detail::Parse::bad) {
      CHECK(reader.advance(buffer.data(), buffer.size()).status == kt::detail::Parse::bad);
      return http_refusal(result);
    }
    CHECK(reader.body_size() <= reader.raw_size());
    CHECK(reader.raw_size() <= buffer.size());
    if (close) {
      const std::size_t size = reader.close_gap(buffer.data(), buffer.size());
      CHECK(reader.body_size() == reader.raw_size());
      buffer = Block(buffer.text().substr(0, size));
    }
    if (result.status == kt::detail::Parse::need_more) continue;
    if (!close) CHECK(result.consumed == reader.raw_size());
    CHECK(reader.advance(buffer.data(), buffer.size()).consumed == reader.raw_size());
    return "body=" + std::string(buffer.text().substr(0, reader.body_size())) +
           " rest=" + std::to_string(wire.size() - received + buffer.size() - reader.raw_size());
  }
  return "more";
}

std::string http_body(std::string_view wire, std::optional<std::uint64_t> length, const kt::Limits& limits = {}) {
  kt::detail::MessageHead head;
  head.content_length = length;
  head.chunked = !length;
  const std::string closed = http_every_split(
      wire, [&](const std::vector<std::size_t>& ends) { return http_body_outcome(wire, head, limits, ends, true); });
  const std::string outcome = http_every_split(
      wire, [&](const std::vector<std::size_t>& ends) { return http_body_outcome(wire, head, limits, ends, false); });
  CHECK(closed == outcome);
  return outcome;
}

std::string http_one_byte_chunks(std::size_t count, std::string_view extension = "") {
  return http_repeat("1" + std::string(extension) + "\r\nx\r\n", count) + "0\r\n\r\n";
}

}  // namespace

TEST_SUITE("wire/http_body") {
  TEST_CASE("three chunks are the same however they are split (49)") {
    const std::string wire = "5\r\nhello\r\n1;a=b\r\n,\r\n0c\r\n world\r\n\r\n!!\r\n0\r\nX: y\r\n\r\nGET";
    CHECK(http_chunks(wire) == "5:hello|1:,|12: world\r\n\r\n!!|0:|rest=3");
    CHECK(http_body(wire, std::nullopt) == "body=hello, world\r\n\r\n!! rest=3");
  }

  TEST_CASE("legal sizes, extensions and trailers are accepted (45, 47, 51, 52)") {
    const HttpRow rows[] = {
        {"0\r\n\r\n", "body= rest=0"},
        {"000\r\n\r\n", "body= rest=0"},
        {"0;a\r\n\r\n", "body= rest=0"},
        {"0000000000000001\r\na\r\n0\r\n\r\n", "body=a rest=0"},
        {"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "body=01234567890123456789 rest=0"},
        {"1;a=b;c;d=\"q\\\"q; \t\xc3\xa9\\\\\";e\r\nx\r\n0\r\n\r\n", "body=x rest=0"},
        {"1;a=\"\"\r\nx\r\n0\r\n\r\n", "body=x rest=0"},
        {"0\r\nX:GET /ping HTTP/1.1\r\nHost: h\r\n\r\n", "body= rest=0"},  // one body, not a request
        {"0\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\n\r\nhello", "body= rest=5"},
        {"5\r\nhel", "more"},
        {"", "more"},
    };
    for (const HttpRow& row : rows) {
      CAPTURE(row.wire);
      CHECK(http_body(row.wire, std::nullopt) == row.outcome);
    }
  }

  TEST_CASE("bad chunks are refused (45, 46, 47, 51, 52)") {
    const HttpRow rows[] = {
        {"0x5\r\n", "400 bad-chunk"},                   // strtoul's prefix
        {"+5\r\n", "400 bad-chunk"},                    // strtoul's sign
        {"-2\r\n", "400 bad-chunk"},                    // CVE-2026-45352
        {"1_0\r\n", "400 bad-chunk"},                   // Python's int()
        {" 5\r\n", "400 bad-chunk"},                    // white space before
        {"5 \r\n", "400 bad-chunk"},                    // and behind
        {"5 ;a\r\n", "400 bad-chunk"},                  // and before an extension
        {"g\r\n", "400 bad-chunk"},                     // no hex digit
        {":\r\n", "400 bad-chunk"},                     // between 9 and A
        {"5.0\r\n", "400 bad-chunk"},                   // no number
        {"\r\n", "400 bad-chunk"},                      // empty
        {";a\r\n", "400 bad-chunk"},                    // empty
        {"00000000000000000", "400 bad-chunk"},         // 17 digits
        {"80000000\r\n", "413 too-large"},              // 2^31
        {"FFFFFFFFFFFFFFFE\r\n", "413 too-large"},      // -2
        {"1000000000000000d\r\n", "413 too-large"},     // 13 in 64 bit
        {"5\n", "400 bad-chunk"},                       // LF
        {"5\rX", "400 bad-chunk"},                      // CR without LF
        {"5\r\r\n", "400 bad-chunk"},                   // CR without LF
        {"5\n\r", "400 bad-chunk"},                     // LFCR
        {"1\r\naXX", "400 bad-chunk"},                  // no CRLF behind the data
        {"1\r\na\rX", "400 bad-chunk"},                 // CR without LF
        {"1\r\na\n", "400 bad-chunk"},                  // LF
        {"1\r\na0\r\n", "400 bad-chunk"},               // nothing
        {"1\r\nab\r\n", "400 bad-chunk"},               // surplus
        {"1\r\na\r\n\r\n", "400 bad-chunk"},            // surplus line
        {"5;\r\n", "400 bad-chunk"},                    // extension without name
        {"5;;a\r\n", "400 bad-chunk"},                  // extension without name
        {"5;a=\r\n", "400 bad-chunk"},                  // extension without value
        {"5;a b\r\n", "400 bad-chunk"},                 // no token
        {"5;a=b c\r\n", "400 bad-chunk"},               // no token
        {"5; a\r\n", "400 bad-chunk"},                  // white space
        {"5;a=\"b\r\n", "400 bad-chunk"},               // open quote
        {"5;a=\"b\"c\r\n", "400 bad-chunk"},            // text behind the quote
        {"5;a=\"\\\x01\"\r\n", "400 bad-chunk"},        // CTL, escaped
        {"5;a=\"\\\r\n", "400 bad-chunk"},              // CR, escaped
        {"5;a\x01\r\n", "400 bad-chunk"},               // CTL
        {"5;a=\"\0\"\r\n"sv, "400 bad-chunk"},          // NUL
        {"5;a\n\r\n", "400 bad-chunk"},                 // LF
        {"5;a\rb\r\n", "400 bad-chunk"},                // CR
        {"5\0\r\n"sv, "400 bad-chunk"},                 // NUL
        {"0\n\n", "400 bad-chunk"},                     // LF
        {"0\r\n\n", "400 mixed-eol"},                   // LF
        {"0\r\nX: y\n", "400 mixed-eol"},               // LF
        {"0\r\nX : y\r\n", "400 bad-header"},           // as strict as headers
        {"0\r\nX: y\r\n z\r\n", "400 bad-header"},      // as strict as headers
        {"0\r\nGET / HTTP/1.1\r\n", "400 bad-header"},  // a request without the empty line before it
        {"0\r\n\rX", "400 bad-header"},                 // CR without LF
    };
    for (const HttpRow& row : rows) {
      CAPTURE(row.wire);
      CHECK(http_body(row.wire, std::nullopt) == row.outcome);
      CHECK(http_chunks(row.wire).ends_with(row.outcome));
    }
  }

  TEST_CASE("chunk lines and trailers are limited while they are read (47, 51)") {
    CHECK(http_chunks("1;" + std::string(252, 'a') + "\r\nx\r\n").starts_with("1:x|"));
    CHECK(http_chunks("1;" + std::string(253, 'a') + "\r\nx\r\n") == "400 bad-chunk");
    CHECK(http_chunks("1;" + std::string(300, 'a')) == "400 bad-chunk");
    CHECK(http_chunks("1;" + std::string(253, 'a')) == "more");
    CHECK(http_chunks("1;" + std::string(254, 'a')) == "400 bad-chunk");
    CHECK(http_chunks("0\r\n" + http_repeat("X: y\r\n", 32) + "\r\n") == "0:|rest=0");
    CHECK(http_chunks("0\r\n" + http_repeat("X: y\r\n", 32) + "X") == "431 too-large");
    CHECK(http_chunks("0\r\nX: " + std::string(9000, 'a')) == "431 too-large");
    const std::string last = "0\r\n" + http_repeat("X: y\r\n", 32) + "\r\n";  // counted anew behind each zero chunk
    CHECK(http_chunks(last + last, {}, kt::detail::ChunkParser::no_total, 2) == "0:|0:|rest=0");
    kt::Limits limits;
    limits.chunk_overhead_bytes = 200;
    CHECK(http_chunks(last + last, limits, kt::detail::ChunkParser::no_total, 2) == "0:|400 bad-chunk");
  }

  TEST_CASE("framing may not outweigh the data by far (48)") {
    const kt::Limits limits;
    kt::detail::MessageHead head;
    head.chunked = true;
    kt::detail::BodyReader reader(limits);
    reader.start(head);
    std::string wire = http_one_byte_chunks(100'000);
    CHECK(reader.advance(wire.data(), wire.size()).consumed == wire.size());
    CHECK(wire.substr(0, reader.body_size()) == std::string(100'000, 'x'));
    reader.start(head);
    wire = http_one_byte_chunks(20'000, ";a=b");
    CHECK(http_refusal(reader.advance(wire.data(), wire.size())) == "400 bad-chunk");
    reader.start(head);
    wire = http_one_byte_chunks(20'000, ";abc");
    CHECK(http_refusal(reader.advance(wire.data(), wire.size())) == "400 bad-chunk");
    reader.start(head);
    wire = http_one_byte_chunks(20'000, ";ab");
    CHECK(reader.advance(wire.data(), wire.size()).consumed == wire.size());
  }

  TEST_CASE("the sum of the chunks is limited, not only the last one (50)") {
    kt::Limits limits;
    limits.body_bytes = 10;
    CHECK(http_body("5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n", std::nullopt, limits) == "body=helloworld rest=0");
    CHECK(http_body("5\r\nhello\r\n6", std::nullopt, limits) == "413 too-large");
    CHECK(http_body("b", std::nullopt, limits) == "413 too-large");
    CHECK(http_chunks("5\r\nhello\r\n6", limits, 10) == "5:hello|413 too-large");
    CHECK(http_chunks("5\r\nhello\r\n6\r\nworld!\r\n", limits) == "5:hello|6:world!|more");
    CHECK(http_chunks("b", limits) == "413 too-large");
  }

  TEST_CASE("a stream goes on behind a zero chunk, as forwarded Python streams do") {
    CHECK(http_chunks("1\r\na\r\n0\r\n\r\n1\r\nb\r\n0\r\n\r\n", {}, kt::detail::ChunkParser::no_total, 2) ==
          "1:a|0:|1:b|0:|rest=0");
    kt::Limits limits;
    limits.chunk_overhead_bytes = 100;
    const std::string zeros = http_repeat("0\r\n\r\n", 100);
    CHECK(http_chunks(zeros, limits, kt::detail::ChunkParser::no_total, 100).ends_with("|400 bad-chunk"));
    kt::detail::ChunkParser parser(limits, 3);
    CHECK(parser.next("3\r\nabc\r\n").consumed == 8);
    CHECK(parser.next("1").http_status == 413);
    parser.reset();
    CHECK(parser.next("3\r\nabc\r\n").consumed == 8);
  }

  TEST_CASE("a body of known length is taken exactly (36, 42, 44)") {
    CHECK(http_body("hello", 5) == "body=hello rest=0");
    CHECK(http_body("helloGET / HTTP/1.1", 5) == "body=hello rest=14");
    CHECK(http_body("hell", 5) == "more");
    CHECK(http_body("GET", 0) == "body= rest=3");
    kt::Limits limits;
    limits.body_bytes = 4;
    CHECK(http_body("hello", 5, limits) == "413 too-large");
    CHECK(http_body("", 1ULL << 40, limits) == "413 too-large");
    kt::detail::MessageHead head;
    CHECK(kt::detail::check_body_length(head, limits).status == kt::detail::Parse::complete);
    head.content_length = 4;
    CHECK(kt::detail::check_body_length(head, limits).status == kt::detail::Parse::complete);
    head.content_length = 5;
    CHECK(http_refusal(kt::detail::check_body_length(head, limits)) == "413 too-large");
    kt::detail::BodyReader reader(limits);
    CHECK(reader.advance(nullptr, 0).status == kt::detail::Parse::complete);
  }

  TEST_CASE("a large body in tiny segments costs linear time") {
    const kt::Limits limits;
    kt::detail::MessageHead head;
    head.chunked = true;
    kt::detail::BodyReader reader(limits);
    reader.start(head);
    std::string data =
        "80000\r\n" + std::string(0x80000, 'x') + "\r\n1;" + std::string(200, 'y') + "\r\nz\r\n0\r\n\r\n";
    for (std::size_t size = 0; size < data.size(); ++size) {
      REQUIRE(reader.advance(data.data(), size).status == kt::detail::Parse::need_more);
    }
    CHECK(reader.advance(data.data(), data.size()).consumed == data.size());
    CHECK(reader.body_size() == 0x80001);
  }
}
