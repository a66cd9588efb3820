// SPDX-License-Identifier: MIT
#include "heads.hpp"
#include "support.hpp"
#include "wire/http_fields.ipp"
#include "wire/http_writer.ipp"

TEST_SUITE("wire/http_writer") {
  TEST_CASE("response heads are spelled as the Python client compares them (2, 3, 4)") {
    std::string out = "before|";
    CHECK(kt::detail::append_response_head(out, {.content_type = "application/x-msgpack",
                                                 .content_length = 5,
                                                 .connection = kt::detail::ConnectionHeader::close,
                                                 .bare_lf = true}));
    CHECK(out ==
          "before|HTTP/1.1 200 OK\nContent-Type: application/x-msgpack\nContent-Length: 5\nConnection: close\n\n");
    out.clear();
    CHECK(kt::detail::append_response_head(out, {.content_type = "application/json", .chunked = true}));
    CHECK(out == "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n");
    out.clear();
    const kt::detail::HeaderField extra[] = {{"Allow", "GET, POST"}, {"X-Empty", ""}};
    CHECK(kt::detail::append_response_head(
        out,
        {.status = 405, .content_length = 0, .connection = kt::detail::ConnectionHeader::keep_alive, .extra = extra}));
    CHECK(out ==
          "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\nConnection: keep-alive\r\n"
          "Allow: GET, POST\r\nX-Empty: \r\n\r\n");
  }

  TEST_CASE("request heads are what Python services understand (1, 7)") {
    std::string out;
    CHECK(kt::detail::append_request_head(out, {.target = "/TOPSECRET/purr",
                                                .content_type = "application/x-msgpack",
                                                .content_length = 19,
                                                .connection = kt::detail::ConnectionHeader::close,
                                                .bare_lf = true}));
    CHECK(out ==
          "POST /TOPSECRET/purr HTTP/1.1\nConnection: close\nContent-Type: application/x-msgpack\n"
          "Content-Length: 19\n\n");
    out.clear();
    CHECK(kt::detail::append_request_head(out, {.method = "GET", .host = "[::1]:80"}));
    CHECK(out == "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n");
  }

  TEST_CASE("nothing breaks out of a head (82, 83, 143)") {
    std::string out = "before";
    const std::string_view values[] = {"a\rb", "a\nb", "text/plain\r\nSet-Cookie: a=b", "a\0b"sv, "\x01",
                                       "\x1b", "\x7f"};
    for (const std::string_view value : values) {
      CAPTURE(value);
      const kt::detail::HeaderField extra[] = {{"X", value}};
      CHECK(!kt::detail::append_response_head(out, {.content_type = value}));
      CHECK(!kt::detail::append_response_head(out, {.extra = extra}));
      CHECK(!kt::detail::append_request_head(out, {.content_type = value}));
      CHECK(!kt::detail::append_request_head(out, {.extra = extra}));
      CHECK(!kt::detail::append_request_head(out, {.target = value}));
      CHECK(!kt::detail::append_request_head(out, {.host = value}));
      CHECK(!kt::detail::append_request_head(out, {.method = value}));
    }
    for (const std::string_view name : {""sv, "X A"sv, "X:"sv, "X\r\n"sv, "X\0"sv, "X\xe9"sv, "content-LENGTH"sv,
                                        "Transfer-Encoding"sv, "connection"sv, "Content-Type"sv}) {
      CAPTURE(name);
      const kt::detail::HeaderField extra[] = {{"Fine", "fine"}, {name, "1"}};
      CHECK(!kt::detail::append_response_head(out, {.extra = extra}));
      CHECK(!kt::detail::append_request_head(out, {.extra = extra}));
    }
    for (const std::string_view target :
         {""sv, "/a b"sv, "/a\tb"sv, "/\xc3\xa9"sv, "/#"sv, "/\\"sv, "/a HTTP/1.1\r\n"sv}) {
      CHECK(!kt::detail::append_request_head(out, {.target = target}));
    }
    const kt::detail::HeaderField host[] = {{"Host", "b"}};
    CHECK(!kt::detail::append_request_head(out, {.host = "a", .extra = host}));
    CHECK(!kt::detail::append_request_head(out, {.host = "a/b"}));
    CHECK(!kt::detail::append_request_head(out, {.method = ""}));
    CHECK(!kt::detail::append_request_head(out, {.method = "GET "}));
    CHECK(!kt::detail::append_request_head(out, {.method = "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG"}));
    CHECK(out == "before");
  }

  TEST_CASE("impossible answers are refused (86, 88)") {
    std::string out;
    for (const int status : {-1, 0, 99, 100, 101, 199, 600, 1000})
      CHECK(!kt::detail::append_response_head(out, {.status = status}));
    CHECK(!kt::detail::append_response_head(out, {.content_length = 1, .chunked = true}));
    CHECK(!kt::detail::append_response_head(out, {.status = 204, .chunked = true}));
    CHECK(!kt::detail::append_response_head(out, {.status = 304, .chunked = true}));
    CHECK(!kt::detail::append_response_head(out, {.status = 204, .content_length = 1}));
    CHECK(out.empty());
    CHECK(kt::detail::append_response_head(out, {.status = 204, .content_length = 0}));
    CHECK(out == "HTTP/1.1 204 No Content\r\n\r\n");
    CHECK(kt::detail::reason_phrase(200) == "OK");
    CHECK(kt::detail::reason_phrase(511) == "Network Authentication Required");
    CHECK(kt::detail::reason_phrase(299) == "Unknown");
    CHECK(kt::detail::reason_phrase(0) == "Unknown");
  }

  TEST_CASE("what the writer writes, the parsers read (I4)") {
    std::string out;
    const kt::detail::HeaderField extra[] = {{"X-Kitten", "m\xc3\xa9ow"}};
    REQUIRE(kt::detail::append_response_head(
        out, {.status = 404, .content_type = "text/plain", .content_length = 3, .extra = extra}));
    CHECK(http_response(out).starts_with("404 'Not Found' HTTP/1.1 keep length=3 type=text/plain|"));
    out.clear();
    REQUIRE(
        kt::detail::append_request_head(out, {.target = "/a?b", .host = "h:1", .content_length = 3, .extra = extra}));
    CHECK(http_request(out).starts_with("POST /a query=b HTTP/1.1 keep length=3 host=h:1|"));
    CHECK(http_response(kt::detail::continue_response) == "100 'Continue' HTTP/1.1 keep");
  }

  TEST_CASE("chunks are framed, and empty ones left out because they would end the body") {
    std::string out;
    kt::detail::append_chunk(out, "hello");
    kt::detail::append_chunk(out, "");
    kt::detail::append_chunk(out, std::string(27, 'x'));
    kt::detail::append_last_chunk(out);
    CHECK(out == "5\r\nhello\r\n1b\r\n" + std::string(27, 'x') + "\r\n0\r\n\r\n");
  }

  TEST_CASE("chunks written in place are the same as copied ones, whatever their sizes are") {
    std::string in_place = "head", copied = "head";
    kt::detail::ChunkWriter writer;
    for (const std::size_t size : {0U, 1U, 15U, 16U, 255U, 256U, 20U, 4095U, 4096U, 70'000U, 3U, 0U, 3U}) {
      const std::string data(size, 'd');
      writer.begin(in_place);
      in_place += data;
      writer.end(in_place);
      kt::detail::append_chunk(copied, data);
      CHECK(in_place == copied);
      writer.begin(in_place);
      in_place += "half an item";
      writer.cancel(in_place);
      CHECK(in_place == copied);
    }
  }
}
