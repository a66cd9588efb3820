// SPDX-License-Identifier: MIT
#include "heads.hpp"
#include "support.hpp"
#include "wire/http_body.ipp"
#include "wire/http_fields.ipp"
#include "wire/http_head.ipp"

TEST_SUITE("wire/http_head") {
  template <std::uint8_t kind>
  void check_scan(std::string_view in, std::size_t from) {
    using namespace kt::detail::http;
    std::size_t expected = from;
    while (expected < in.size() && (char_kinds[static_cast<unsigned char>(in[expected])] & kind) != 0) ++expected;
    if (scan<kind>(in, from, in.size()) == expected) return;
    CAPTURE(in);
    CAPTURE(from);
    CHECK(scan<kind>(in, from, in.size()) == expected);
  }

  TEST_CASE("blocks of bytes are scanned for what the table says of each") {
    using namespace kt::detail::http;
    std::string text;
    for (const std::size_t size : {1U, 7U, 8U, 15U, 16U, 17U, 40U}) {
      for (std::size_t at = 0; at < size; ++at) {
        for (int first = 0; first < 256; ++first) {
          for (const char next : {'a', 'Z', '-', ':', '\x7F', '\x80'}) {
            text.assign(size, 'x');
            text[at] = static_cast<char>(first);
            if (at + 1 < size) text[at + 1] = next;
            for (const std::size_t from : {std::size_t{0}, at}) {
              check_scan<token_char>(text, from);
              check_scan<value_char>(text, from);
              check_scan<target_char>(text, from);
            }
          }
        }
      }
    }
  }

  TEST_CASE("the request of the Python client is understood (1)") {
    CHECK(http_request("POST /TOPSECRET/purr HTTP/1.1\nConnection: close\nContent-Type: application/x-msgpack\n"
                       "Content-Length: 19\n\n") ==
          "POST /TOPSECRET/purr HTTP/1.1 close lf length=19 type=application/x-msgpack"
          "|Connection=close|Content-Type=application/x-msgpack|Content-Length=19");
  }

  TEST_CASE("the body starts right behind the empty line, whatever its first byte is (1)") {
    CHECK(http_request("POST /p HTTP/1.1\n\n\n") == "POST /p HTTP/1.1 close lf rest=1");
    CHECK(http_request("POST /p HTTP/1.1\n\n\r\n") == "POST /p HTTP/1.1 close lf rest=2");
    CHECK(http_request("POST /p HTTP/1.1\r\n\r\n\r\n") == "POST /p HTTP/1.1 keep rest=2");
    CHECK(http_request("POST /p HTTP/1.1\r\n\r\n\nx") == "POST /p HTTP/1.1 keep rest=2");
  }

  TEST_CASE("a browser's request keeps absent and empty apart") {
    CHECK(http_request("GET /a%20b?x=%zz&y HTTP/1.1\r\nHost: localhost:80\r\norigin:\r\nSec-Fetch-Site: same-origin\r\n"
                       "AUTHORIZATION: Bearer abc \r\nCookie: \xc3\xa9\t=1\r\n\r\n") ==
          "GET /a%20b query=x=%zz&y HTTP/1.1 keep host=localhost:80 authorization=Bearer abc origin= site=same-origin"
          "|Host=localhost:80|origin=|Sec-Fetch-Site=same-origin|AUTHORIZATION=Bearer abc|Cookie=\xc3\xa9\t=1");
    CHECK(http_request("GET / HTTP/1.1\r\nHost:\r\n\r\n") == "GET / HTTP/1.1 keep host=|Host=");
    CHECK(http_request("GET /? HTTP/1.1\r\n\r\n") == "GET / HTTP/1.1 keep");
  }

  TEST_CASE("header fields are a forward range with a case-insensitive find") {
    static_assert(std::ranges::forward_range<kt::detail::HeaderFields>);
    const kt::Limits limits;
    kt::detail::RequestHeadParser parser(limits);
    const Block block("GET / HTTP/1.1\r\nX-A:1\r\nx-b: \t two \t\r\nX-a: 3\r\nEmpty:\r\n\r\n");
    REQUIRE(parser.parse(block.text()).status == kt::detail::Parse::complete);
    const kt::detail::HeaderFields fields = parser.head().fields;
    CHECK(std::ranges::distance(fields) == 4);
    CHECK(fields.find("x-a") == "1");
    CHECK(fields.find("X-B") == "two");
    CHECK(fields.find("empty") == "");
    CHECK(!fields.find("x"));
    CHECK(!kt::detail::HeaderFields().find("x"));
    parser.reset();
    CHECK(parser.parse("GET / HTTP/1.1\r\n\r\n").consumed == 18);
    CHECK(parser.head().fields.begin() == parser.head().fields.end());
  }

  TEST_CASE("targets are split, never normalised (16, 17, 18, 19, 20)") {
    const HttpRow rows[] = {
        {"GET /ping?x=1 HTTP/1.1\r\n\r\n", "GET /ping query=x=1 HTTP/1.1 keep"},
        {"GET //ping HTTP/1.1\r\n\r\n", "GET //ping HTTP/1.1 keep"},
        {"GET /a/../%2e%2E/x HTTP/1.1\r\n\r\n", "GET /a/../%2e%2E/x HTTP/1.1 keep"},
        {"GET /x?a?b HTTP/1.1\r\n\r\n", "GET /x query=a?b HTTP/1.1 keep"},
        {"GET http://host/ping HTTP/1.1\r\n\r\n", "GET /ping authority=host HTTP/1.1 keep"},
        {"GET HTTP://[::1]:80?q HTTP/1.1\r\n\r\n", "GET / query=q authority=[::1]:80 HTTP/1.1 keep"},
        {"GET http://h HTTP/1.1\r\n\r\n", "GET / authority=h HTTP/1.1 keep"},
        {"OPTIONS * HTTP/1.1\r\n\r\n", "OPTIONS * HTTP/1.1 keep"},
        {"get /ping HTTP/1.1\r\n\r\n", "get /ping HTTP/1.1 keep"},      // methods are case-sensitive: 405 or 501 later
        {"FOO /ping HTTP/1.1\r\n\r\n", "FOO /ping HTTP/1.1 keep"},      // likewise
        {"TRACE /ping HTTP/1.1\r\n\r\n", "TRACE /ping HTTP/1.1 keep"},  // likewise
        {"ABCDEFGHIJKLMNOPQRSTUVWXYZ!#$%&' / HTTP/1.1\r\n\r\n", "ABCDEFGHIJKLMNOPQRSTUVWXYZ!#$%&' / HTTP/1.1 keep"},
    };
    for (const HttpRow& row : rows) CHECK(http_request(row.wire) == row.outcome);
  }

  TEST_CASE("bad request lines are refused at the first bad byte (11 to 20)") {
    // None of these ends with a complete head: the verdict may not have to wait for more.
    const HttpRow rows[] = {
        {"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG", "400 bad-line"},  // 33 bytes of method
        {"G@", "400 bad-line"},                                 // no token
        {"\"GET\" /", "400 bad-line"},                          // no token
        {" GET /", "400 bad-line"},                             // white space first
        {"\xef\xbb\xbfGET /", "400 bad-line"},                  // byte order mark
        {"\0"sv, "400 bad-line"},                               // NUL
        {"\x16\x03\x01", "400 bad-line"},                       // TLS hello
        {"\x05\x01", "400 bad-line"},                           // SOCKS
        {"HTTP/1.1 200 OK\r\n", "400 bad-line"},                // a response
        {"GET  /", "400 bad-line"},                             // two spaces
        {"GET\t/", "400 bad-line"},                             // TAB
        {"GET\v/", "400 bad-line"},                             // VT
        {"GET\xa0/", "400 bad-line"},                           // no-break space
        {"GET\r\n", "400 bad-line"},                            // method alone
        {"GET /x\r\n", "400 bad-line"},                         // HTTP/0.9
        {"GET /x\n", "400 bad-line"},                           // HTTP/0.9
        {"GET HTTP/1.1\r\n", "400 bad-line"},                   // no target
        {"GET /  HTTP/1.1", "400 bad-line"},                    // two spaces
        {"GET / HTTP/1.1 ", "400 bad-line"},                    // trailing space
        {"GET / HTTP/1.1 x", "400 bad-line"},                   // trailing word
        {"GET / HTTP/1.1\t\r\n", "400 bad-line"},               // trailing TAB
        {"GET / HTTP/1.1\rX", "400 bad-line"},                  // CR without LF
        {"GET / HTTP/1.1\r\r\n", "400 bad-line"},               // CR without LF
        {"GET / HTTP/1.2\r\n", "505 bad-line"},                 // does not exist
        {"GET / HTTP/2.0\r\n", "505 bad-line"},                 // not here
        {"GET / HTTP/0.9\r\n", "505 bad-line"},                 // never had a version
        {"GET / HTTP/1.10\r\n", "400 bad-line"},                // not 8 bytes
        {"GET / HTTP/01.1\r\n", "400 bad-line"},                // not 8 bytes
        {"GET / HTTP/1\r\n", "400 bad-line"},                   // not 8 bytes
        {"GET / HTTP/1,1\r\n", "400 bad-line"},                 // comma
        {"GET / HTTP/4294967297.1\r\n", "400 bad-line"},        // 2^32 + 1 is 1 for some
        {"GET / http/1.1\r\n", "400 bad-line"},                 // case-sensitive
        {"GET / ICE/1.0\r\n", "400 bad-line"},                  // another protocol
        {"PRI * HTTP/2.0\r\n", "400 bad-target"},               // HTTP/2 preface: * is for OPTIONS
        {"GET /\xc3\xa9", "400 bad-target"},                    // raw UTF-8
        {"GET /a\x7f", "400 bad-target"},                       // DEL
        {"GET /a\x01", "400 bad-target"},                       // CTL
        {"GET /a\0"sv, "400 bad-target"},                       // NUL
        {"GET /a\tb", "400 bad-target"},                        // TAB
        {"GET /a#", "400 bad-target"},                          // fragment
        {"GET /a\\", "400 bad-target"},                         // a slash for some
        {"GET /%00 ", "400 bad-target"},                        // NUL, encoded
        {"GET /a%0d%0ab ", "400 bad-target"},                   // CRLF, encoded
        {"GET /%7F ", "400 bad-target"},                        // DEL, encoded
        {"GET /%zz ", "400 bad-target"},                        // no hex digits
        {"GET /%4 ", "400 bad-target"},                         // one digit
        {"GET /% ", "400 bad-target"},                          // no digit
        {"GET /%4?1 ", "400 bad-target"},                       // the query lends no digit
        {"GET * ", "400 bad-target"},                           // OPTIONS only
        {"OPTIONS *x ", "400 bad-target"},                      // neither * nor a path
        {"GET x ", "400 bad-target"},                           // no slash
        {"GET ftp://h/ ", "400 bad-target"},                    // scheme
        {"GET https://h/ ", "400 bad-target"},                  // scheme
        {"GET http:/h ", "400 bad-target"},                     // scheme without authority
        {"GET http:///x ", "400 bad-target"},                   // empty host
        {"GET http://u@h/ ", "400 bad-target"},                 // userinfo
        {"GET http://h:x/ ", "400 bad-target"},                 // port
        {"CONNECT h:443 ", "501 bad-line"},                     // no tunnel
        {"CONNECT ", "501 bad-line"},                           // no tunnel, and no need to know where to
    };
    for (const HttpRow& row : rows) {
      CAPTURE(row.wire);
      CHECK(http_request(row.wire) == row.outcome);
    }
  }

  TEST_CASE("up to four empty lines before a request are skipped (20)") {
    CHECK(http_request("\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n") == "GET / HTTP/1.1 keep");
    CHECK(http_request("\nGET / HTTP/1.1\n\n") == "GET / HTTP/1.1 close lf");
    CHECK(http_request("\r\n\r\n\r\n\r\n\r") == "400 bad-line");
    CHECK(http_request("\n\n\n\n\n") == "400 bad-line");
    CHECK(http_request("\r\rGET") == "400 bad-line");
    CHECK(http_request("\nGET / HTTP/1.1\r\n") == "400 mixed-eol");
  }

  TEST_CASE("the first line decides how all lines end (8, 9, 10)") {
    const HttpRow rows[] = {
        {"GET / HTTP/1.1\r\nA: b\n", "400 mixed-eol"},                                 // LF under CRLF
        {"GET / HTTP/1.1\nA: b\r\n", "400 mixed-eol"},                                 // CRLF under LF
        {"GET / HTTP/1.1\nA: b\n\r\n", "400 mixed-eol"},                               // empty line in the other style
        {"GET / HTTP/1.1\r\nA: b\r\n\n", "400 mixed-eol"},                             // likewise
        {"GET / HTTP/1.1\nA: y\rz\n\n", "400 bad-header"},                             // CR in a value
        {"GET / HTTP/1.1\nA: b\n c\n\n", "400 bad-header"},                            // obs-fold
        {"GET / HTTP/1.1\nA : b\n\n", "400 bad-header"},                               // space before the colon
        {"P / HTTP/1.1\nContent-Length: 1\nContent-Length: 1\n\n", "400 bad-length"},  // two lengths
        {"P / HTTP/1.1\nTransfer-Encoding: chunked\n", "400 bad-length"},  // nobody agrees where the chunks begin
    };
    for (const HttpRow& row : rows) CHECK(http_request(row.wire) == row.outcome);
    CHECK(http_request("GET / HTTP/1.1\nConnection: keep-alive\n\n").starts_with("GET / HTTP/1.1 close lf"));
    CHECK(http_request("GET / HTTP/1.1\n", {}, false) == "400 mixed-eol");
    CHECK(http_request("\nGET / HTTP/1.1\n", {}, false) == "400 mixed-eol");
    CHECK(http_request("GET / HTTP/1.1\r\n\r\n", {}, false) == "GET / HTTP/1.1 keep");
  }

  TEST_CASE("a refused head tells in which line ends to answer (2)") {
    const kt::Limits limits;
    const std::pair<std::string_view, bool> heads[] = {{"GET / HTTP/1.1\nA : b", true},
                                                       {"GET / HTTP/1.1\nA: b\r\n", true},
                                                       {"GET / HTTP/1.1\r\nA: b\n", false},
                                                       {"GET /\n", false}};
    for (const auto& [wire, bare_lf] : heads) {
      kt::detail::RequestHeadParser parser(limits);
      CHECK(parser.parse(wire).status == kt::detail::Parse::bad);
      CHECK(parser.head().bare_lf == bare_lf);
    }
  }

  TEST_CASE("bad header lines are refused (22 to 27, 31)") {
    const HttpRow rows[] = {
        {": x\r\n", "400 bad-header"},                                           // empty name
        {"X A: b\r\n", "400 bad-header"},                                        // space in the name
        {"X[A]: b\r\n", "400 bad-header"},                                       // no token
        {"X/A: b\r\n", "400 bad-header"},                                        // no token
        {"\"X\": b\r\n", "400 bad-header"},                                      // no token
        {"X\0: b\r\n"sv, "400 bad-header"},                                      // NUL
        {"X\x7f: b\r\n", "400 bad-header"},                                      // DEL
        {"X\xe9: b\r\n", "400 bad-header"},                                      // not ASCII
        {"X-A\x85: b\r\n", "400 bad-header"},                                    // NEL is a line end for some
        {"X : b\r\n", "400 bad-header"},                                         // space before the colon
        {"X\t: b\r\n", "400 bad-header"},                                        // TAB before the colon
        {"X\r\n", "400 bad-header"},                                             // no colon
        {" X: b\r\n", "400 bad-header"},                                         // space-led first line
        {"X: a\r\n b\r\n", "400 bad-header"},                                    // obs-fold
        {"X: a\r\n\tb\r\n", "400 bad-header"},                                   // obs-fold
        {"X: \0\r\n"sv, "400 bad-header"},                                       // NUL
        {"X: a\rb\r\n", "400 bad-header"},                                       // CR
        {"X: a\r\r\n", "400 bad-header"},                                        // CR
        {"X: \x01\r\n", "400 bad-header"},                                       // CTL
        {"X: \x0b\r\n", "400 bad-header"},                                       // VT is no white space
        {"X: \x1b\r\n", "400 bad-header"},                                       // ESC
        {"X: \x7f\r\n", "400 bad-header"},                                       // DEL
        {"A: b\r\n\rX: c\r\n", "400 bad-header"},                                // bare CR does not end a line
        {"A: b\r\n\r\r\n", "400 bad-header"},                                    // nor a head
        {"X\rA: b\r\n", "400 bad-header"},                                       // CR in a name
        {"Transfer-\r\nEncoding: chunked\r\n", "400 bad-header"},                // no colon
        {"Host: a\r\nHost: a\r\n", "400 bad-header"},                            // two, even if equal
        {"Host: a, b\r\n", "400 bad-header"},                                    // list
        {"Host: a,b\r\n", "400 bad-header"},                                     // list
        {"Host: u@h\r\n", "400 bad-header"},                                     // userinfo
        {"Host: h/x\r\n", "400 bad-header"},                                     // path
        {"Host: h h\r\n", "400 bad-header"},                                     // space
        {"Host: h:abc\r\n", "400 bad-header"},                                   // port
        {"Host: h:1:2\r\n", "400 bad-header"},                                   // two ports
        {"Host: h:123456\r\n", "400 bad-header"},                                // port
        {"Host: :80\r\n", "400 bad-header"},                                     // port without host
        {"Host: [::1\r\n", "400 bad-header"},                                    // open bracket
        {"Host: []\r\n", "400 bad-header"},                                      // empty address
        {"Host: [::1]x\r\n", "400 bad-header"},                                  // neither end nor port
        {"Host: h\xc3\xa9\r\n", "400 bad-header"},                               // not ASCII
        {"Content-Type: a\r\ncontent-type: a\r\n", "400 bad-header"},            // singleton
        {"Authorization: a\r\nAuthorization: b\r\n", "400 bad-header"},          // singleton
        {"Expect: 100-continue\r\nExpect: 100-continue\r\n", "400 bad-header"},  // singleton
        {"Origin: a\r\nOrigin:\r\n", "400 bad-header"},                          // singleton: which one is checked?
        {"Sec-Fetch-Site: none\r\nSec-Fetch-Site: none\r\n", "400 bad-header"},  // likewise
        {"Expect: 200-ok\r\n", "417 bad-header"},                                // unknown
    };
    for (const HttpRow& row : rows) {
      CAPTURE(row.wire);
      CHECK(http_with_lines(row.wire) == row.outcome);
    }
  }

  TEST_CASE("legal but odd header lines are taken as they are (24, 25, 27, 30, 31, 32)") {
    const HttpRow rows[] = {
        {"Host: [fe80::1%25eth0]:80\r\n", "keep host=[fe80::1%25eth0]:80"},
        {"Host: h:\r\n", "keep host=h:"},
        {"Host: 127.0.0.1:65535 \r\n", "keep host=127.0.0.1:65535"},
        {"X: a%0d%0aSet-Cookie: b\r\n", "keep"},
        {"Content_Length: 5\r\nTransfer_Encoding: chunked\r\nX-Forwarded-For: ,,\r\n", "keep"},
        {"Upgrade: h2c\r\nRange: bytes=0-,0-,\r\nAccept: ;;;\r\n", "keep"},
        {"Connection: foo, CLOSE\r\n", "close"},
        {"Connection: ,,close ,\r\n", "close"},
        {"Connection: foo\r\nConnection: close\r\nConnection: keep-alive\r\n", "close"},
        {"Connection: closely, not-close\r\n", "keep"},
        {"Expect: 100-Continue\r\n", "keep expect"},
        {"X:\xa0y\xa0\r\n", "keep"},
    };
    for (const HttpRow& row : rows) {
      CAPTURE(row.wire);
      CHECK(http_with_lines(row.wire) == row.outcome);
    }
    CHECK(http_request("GET / HTTP/1.1\r\nX:\xa0y \r\n\r\n") == "GET / HTTP/1.1 keep|X=\xa0y");
  }

  TEST_CASE("HTTP/1.0 is closed unless it asks otherwise, and never gets 100 Continue (32, 41, 56)") {
    CHECK(http_with_lines("", "HTTP/1.0") == "close");
    CHECK(http_with_lines("Connection: Keep-Alive\r\n", "HTTP/1.0") == "keep");
    CHECK(http_with_lines("Connection: keep-alive, close\r\n", "HTTP/1.0") == "close");
    CHECK(http_with_lines("Expect: 100-continue\r\n", "HTTP/1.0") == "close");
    CHECK(http_with_lines("Transfer-Encoding: chunked\r\n", "HTTP/1.0") == "400 bad-length");
  }

  TEST_CASE("a length is digits and nothing else (35, 37)") {
    const HttpRow good[] = {
        {"0", "length=0"}, {"005", "length=5"}, {"9223372036854775807", "length=9223372036854775807"}};
    for (const HttpRow& row : good) {
      CHECK(http_with_lines("Content-Length: " + std::string(row.wire) + "\r\n") == "keep " + std::string(row.outcome));
    }
    const std::string_view bad[] = {"+5",
                                    "-5",
                                    "-0",
                                    "0x5",
                                    "5.0",
                                    "5e0",
                                    "1_0",
                                    "\"5\"",
                                    "5;",
                                    "",
                                    "5 5",
                                    "5, 5",
                                    "5, 6",
                                    ", 5",
                                    "\xef\xbc\x95",
                                    "9223372036854775808",
                                    "18446744073709551621",
                                    "00000000000000000005",
                                    "5\xa0"};
    for (const std::string_view value : bad) {
      CAPTURE(value);
      CHECK(http_with_lines("Content-Length: " + std::string(value) + "\r\n") == "400 bad-length");
    }
    CHECK(http_with_lines("Content-Length: 5\0\r\n"sv) == "400 bad-header");
    CHECK(http_with_lines("Content-Length: \x0b"
                          "5\r\n") == "400 bad-header");
    CHECK(http_with_lines("Content-Length: 5\r\nContent-Length: 5\r\n") == "400 bad-length");
    CHECK(http_with_lines("Content-Length: 5\r\nContent-Length:\r\n") == "400 bad-length");
    CHECK(http_with_lines("Content-Length:\r\nContent-Length: 5\r\n") == "400 bad-length");
    CHECK(http_with_lines("Content-Length : 5\r\nContent-Length: 5\r\n") == "400 bad-header");
    CHECK(http_with_lines("Content-Length: 5\r\n Content-Length: 6\r\n") == "400 bad-header");
    CHECK(http_with_lines("X: y\rContent-Length: 6\r\nContent-Length: 5\r\n") == "400 bad-header");
  }

  TEST_CASE("a transfer encoding is chunked and nothing else, and never together with a length (39, 40)") {
    CHECK(http_with_lines("Transfer-Encoding: chunked\r\n") == "keep chunked");
    CHECK(http_with_lines("TRANSFER-encoding:\t ChUnKeD \t\r\n") == "keep chunked");
    const HttpRow rows[] = {
        {"gzip", "501 bad-length"},           // known to others
        {"identity", "501 bad-length"},       // once known
        {"xchunked", "501 bad-length"},       // unknown
        {"gzip, chunked", "501 bad-length"},  // clear, but unknown
        {"gzip\t,deflate , ChunkeD", "501 bad-length"},
        {"gzip, deflate", "501 bad-length"},
        {"identity, chunked", "501 bad-length"},
        {"chunked, gzip", "400 bad-length"},  // where would that end?
        {"gzip, chunked, gzip", "400 bad-length"},
        {"gzip, chunked, chunked", "400 bad-length"},
        {"gzip,, chunked", "400 bad-length"},
        {"gzip, chunked,", "400 bad-length"},
        {"gzip chunked", "400 bad-length"},
        {"gzip;q=1, chunked", "400 bad-length"},
        {"chunked, chunked", "400 bad-length"},
        {", chunked", "400 bad-length"},
        {"chunked,", "400 bad-length"},
        {"\"chunked\"", "400 bad-length"},  // quoted
        {"chunked;q=1", "400 bad-length"},  // parameter
        {"", "400 bad-length"},             // empty
        {"\xa0"
         "chunked",
         "400 bad-length"},  // no-break space is no white space
        {"chun\xe2\x84\xaa"
         "ed",
         "400 bad-length"},  // Kelvin sign, a k for case folding
        {"\x0b"
         "chunked",
         "400 bad-header"},                                           // VT
        {"chunked\0"sv, "400 bad-header"},                            // NUL
        {"\r\n chunked", "400 bad-length"},                           // folded: the first line is empty already
        {"chunked\r\nTransfer-Encoding: chunked", "400 bad-length"},  // two lines
        {"chunked\r\nContent-Length: 5", "400 bad-length"},           // two framings
        {"chunked\r\nContent-Length:", "400 bad-length"},             // one of them empty
    };
    for (const HttpRow& row : rows) {
      CAPTURE(row.wire);
      CHECK(http_with_lines("Transfer-Encoding: " + std::string(row.wire) + "\r\n") == row.outcome);
    }
    CHECK(http_with_lines("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") == "400 bad-length");
  }

  TEST_CASE("a content encoding is noticed, wherever it stands, unless it changes nothing") {
    CHECK(http_with_lines("Content-Encoding: gzip\r\n") == "keep encoded");
    CHECK(http_with_lines("CONTENT-encoding:\tidentity, br \r\n") == "keep encoded");
    CHECK(http_with_lines("Content-Encoding: gzip\r\nContent-Encoding: identity\r\n") == "keep encoded");
    CHECK(http_with_lines("Content-Encoding: Identity\r\n") == "keep");
    CHECK(http_with_lines("Content-Encoding:\r\n") == "keep");
    CHECK(http_with_lines("Content-Encodings: gzip\r\nAccept-Encoding: gzip\r\n") == "keep");
  }

  TEST_CASE("the head is limited while it is read (15, 28, 29)") {
    const std::string start = "GET / HTTP/1.1\r\n";
    CHECK(http_request("GET /" + std::string(9000, 'a')) == "414 too-large");
    CHECK(http_request("GET / HTTP/1.1" + std::string(9000, ' ')) == "400 bad-line");
    CHECK(http_request(std::string(9000, 'a')) == "400 bad-line");
    CHECK(http_request(start + "X: " + std::string(33000, 'a')) == "431 too-large");
    CHECK(http_request(start + std::string(33000, 'a')) == "431 too-large");
    CHECK(http_request(start + http_repeat(":", 5000)) == "400 bad-header");
    CHECK(http_request(start + http_repeat("X: y\r\n", 100) + "X") == "431 too-large");
    CHECK(http_request(start + http_repeat("X: y\r\n", 100) + "\r\n").starts_with("GET / HTTP/1.1 keep|X=y|"));
  }

  TEST_CASE("a head that is just as long as allowed is accepted, one byte more is not") {
    const std::string wire = "GET / HTTP/1.1\r\nA: b\r\n\r\n";  // 24 bytes, the request line 16
    kt::Limits limits;
    limits.head_bytes = 24;
    limits.request_line_bytes = 16;
    limits.header_count = 1;
    CHECK(http_request(wire, limits) == "GET / HTTP/1.1 keep|A=b");
    CHECK(http_request(wire + "x", limits) == "GET / HTTP/1.1 keep|A=b rest=1");
    CHECK(http_request("GET / HTTP/1.1\r\nAb: b\r\n\r\n", limits) == "431 too-large");
    CHECK(http_request("GET /a HTTP/1.1\r\nA: b\r\n\r\n", limits) == "414 too-large");
    limits.head_bytes = 23;
    CHECK(http_request(wire, limits) == "431 too-large");
    CHECK(http_request(wire.substr(0, 22), limits) == "more");
    CHECK(http_request(wire.substr(0, 23), limits) == "431 too-large");
    CHECK(http_request("GET /abcdefghij", limits) == "more");
    CHECK(http_request("GET /abcdefghijk", limits) == "414 too-large");
    CHECK(http_response("HTTP/1.1 200 OK", limits) == "more");
    CHECK(http_response("HTTP/1.1 200 OKO", limits) == "431 too-large");
  }

  TEST_CASE("responses of C++ and Python services are understood (136, 137)") {
    const HttpRow rows[] = {
        {"HTTP/1.1 200 OK\r\nContent-Type: application/x-msgpack\r\nContent-Length: 5\r\n\r\nhello",
         "200 'OK' HTTP/1.1 keep length=5 type=application/x-msgpack"
         "|Content-Type=application/x-msgpack|Content-Length=5 rest=5"},
        {"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nConnection: close\n\n",
         "200 'OK' HTTP/1.1 close lf chunked|Transfer-Encoding=chunked|Connection=close"},
        {"HTTP/1.1 200\r\n\r\n", "200 '' HTTP/1.1 keep"},
        {"HTTP/1.1 404 \r\n\r\n", "404 '' HTTP/1.1 keep"},
        {"HTTP/1.0 500 Internal Error\r\n\r\n", "500 'Internal Error' HTTP/1.0 close"},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "100 'Continue' HTTP/1.1 keep rest=19"},
        {"HTTP/1.1 101 Switching\r\n\r\n", "101 'Switching' HTTP/1.1 keep"},
        {"HTTP/1.1 599 \xc3\xa9\t!\n\n", "599 '\xc3\xa9\t!' HTTP/1.1 close lf"},
    };
    for (const HttpRow& row : rows) CHECK(http_response(row.wire) == row.outcome);
  }

  TEST_CASE("bad responses are refused (136, 137, 139)") {
    const HttpRow rows[] = {
        {"HTTP/1.1 20\r\n", "400 bad-line"},          // two digits
        {"HTTP/1.1 2000 OK\r\n", "400 bad-line"},     // four digits
        {"HTTP/1.1 200X", "400 bad-line"},            // no space
        {"HTTP/1.1 099 x\r\n", "400 bad-line"},       // out of range
        {"HTTP/1.1 600 x\r\n", "400 bad-line"},       // out of range
        {"HTTP/1.1  200", "400 bad-line"},            // two spaces
        {"HTTP/1.1\t200", "400 bad-line"},            // TAB
        {"HTTP/2.0 200 OK\r\n", "505 bad-line"},      // version
        {"HTTP/1.1 200 O\0K\r\n"sv, "400 bad-line"},  // NUL
        {"HTTP/1.1 200 O\rK\r\n", "400 bad-line"},    // CR
        {"http/1.1 200 OK\r\n", "400 bad-line"},      // case
        {"\r\nHTTP/1.1 200 OK\r\n", "400 bad-line"},  // empty line first
        {"<html>", "400 bad-line"},                   // no HTTP at all
        {"0\r\n\r\n", "400 bad-line"},                // Python's empty generator; the client looks for it first
        {"HTTP/1.1 200 OK\nA: b\r\n", "400 mixed-eol"},
        {"HTTP/1.1 200 OK\r\nA : b\r\n", "400 bad-header"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n", "400 bad-length"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n", "400 bad-length"},
        {"HTTP/1.1 200 OK\r\nContent-Length:\r\n", "400 bad-length"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n", "400 bad-length"},  // CVE-2026-31870
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n", "501 bad-length"},
        {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n", "400 bad-length"},
    };
    for (const HttpRow& row : rows) {
      CAPTURE(row.wire);
      CHECK(http_response(row.wire) == row.outcome);
    }
    CHECK(http_response("HTTP/1.1 200 " + std::string(9000, 'a')) == "431 too-large");
    CHECK(http_response("HTTP/1.1 200 OK\r\n" + http_repeat("X: y\r\n", 101)) == "431 too-large");
  }
}
