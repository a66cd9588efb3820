// SPDX-License-Identifier: MIT
#include "client/exchange.ipp"
#include "os/socket.ipp"
#include "support.hpp"

namespace {

// Answers one connection with prepared bytes, as servers in other languages or none at all would.
json answered(const std::string& bytes, const kt::Limits& limits = {}) {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  std::thread service([&] {
    for (std::string_view rest = bytes; !rest.empty();) {
      const ssize_t n = ::send(ends[1], rest.data(), rest.size(), MSG_NOSIGNAL);
      if (n <= 0) break;  // the client has heard enough
      rest.remove_prefix(static_cast<std::size_t>(n));
    }
    ::shutdown(ends[1], SHUT_WR);
  });
  const kt::Timeouts timeouts;
  json items = json::array();
  using Step = kt::detail::Exchange::Step;
  try {
    kt::detail::Exchange exchange({kt::Fd(ends[0]), true}, "request", {},
                                  {limits, timeouts, std::chrono::steady_clock::now(), false});
    for (Step step = exchange.step(); step != Step::done; step = exchange.step()) {
      if (step == Step::item) {
        items.push_back(exchange.take());
      } else {
        CHECK(kt::detail::wait_for(exchange.socket(), step == Step::want_read ? POLLIN : POLLOUT,
                                   std::chrono::steady_clock::now() + patience));
      }
    }
  } catch (const std::exception& error) {
    items.push_back(std::string("! ") + error.what());
  }
  service.join();
  ::close(ends[1]);
  return items;
}

}  // namespace

TEST_SUITE("client/exchange") {
  TEST_CASE("answers of Python services are understood: bare LF, no length, several end marks, none at all") {
    CHECK(answered("HTTP/1.1 200 OK\nContent-Type: application/json\nConnection: close\n\n{\"a\": 1}\n") ==
          json::array({json{{"a", 1}}}));
    CHECK(answered("HTTP/1.1 200 OK\nContent-Type: text/plain\nConnection: close\n\nMeow\n") ==
          json::array({json{{"mimetype", "text/plain"}, {"data", "Meow\n"}}}));
    CHECK(answered("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nContent-Type: "
                   "application/json\n\n2\r\n1\n\r\n0\r\n\r\n0\r\n\r\n2\r\n2\n\r\n0\r\n\r\n") == json::array({1, 2}));
    CHECK(answered("0\r\n\r\n") == json::array());
    CHECK(answered("0\r\n\r\n0\r\n\r\n") == json::array());  // passed on by another service
    CHECK(contains(answered("")[0].get<std::string>(), "without an answer"));
  }

  TEST_CASE("what breaks off or is no HTTP is an error, after the items that did arrive (136 to 138, 146)") {
    const std::string whole =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: "
        "application/json\r\n\r\n2\r\n1\n\r\n2\r\n2\n\r\n0\r\n\r\n";
    CHECK(answered(whole) == json::array({1, 2}));
    for (std::size_t cut = 0; cut < whole.size(); ++cut) {
      CAPTURE(cut);
      const json found = answered(whole.substr(0, cut));
      REQUIRE_FALSE(found.empty());
      CHECK(found.back().is_string());
    }
    for (const char* bad :
         {"garbage\r\n\r\n", "HTTP/1.1 20\r\n\r\n", "HTTP/2.0 200 OK\r\n\r\n",
          "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
          "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
          "HTTP/1.1 200 OK\r\nContent-Type: application/x-msgpack\r\nContent-Length: 1\r\n\r\n\xc1",
          "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n{"}) {
      CAPTURE(bad);
      const json found = answered(bad);
      REQUIRE(found.size() == 1);
      CHECK(found[0].is_string());
    }
  }

  TEST_CASE("an item is a chunk: half of one, two in one and empty ones end the stream (144)") {
    const auto stream = [](const std::string& type, const std::vector<std::string>& chunks) {
      std::ostringstream bytes;
      bytes << "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: " << type << "\r\n\r\n" << std::hex;
      for (const std::string& chunk : chunks) bytes << chunk.size() << "\r\n" << chunk << "\r\n";
      return answered(bytes.str());
    };
    const std::string text = "application/json", packed = "application/x-msgpack", events = "text/event-stream";
    CHECK(stream(text, {"1\n", "", "2\n", ""}) == json::array({1}));
    for (const json& items : {stream(text, {"[1", "]\n", ""}), stream(text, {"1\n2\n", ""}), stream(text, {"\n", ""}),
                              stream(packed, {"\x92\x01", "\x02", ""}), stream(packed, {"\x01\x02", ""}),
                              stream(events, {"data: 1\ndata", "", ""})}) {
      CAPTURE(items);
      REQUIRE(items.size() == 1);
      CHECK(contains(items[0].get<std::string>(), "!"));
    }
  }

  TEST_CASE("answers that nest too deeply, or are no text, are errors (145)") {
    const auto document = [](const std::string& type, const std::string& body) {
      return answered("HTTP/1.1 200 OK\r\nContent-Type: " + type +
                      "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
    };
    for (const json& items : {document("application/json", std::string(100'000, '[')),
                              document("application/json", std::string(100'000, '[') + std::string(100'000, ']')),
                              document("application/x-msgpack", std::string(100'000, '\x91')),
                              document("application/x-msgpack", "\xa1\xff"), document("application/json", "\"\xff\""),
                              document("application/x-msgpack", "\xdd\xff\xff\xff\xff")}) {
      REQUIRE(items.size() == 1);
      CHECK(contains(items[0].get<std::string>(), "!"));
    }
  }

  TEST_CASE("an answer that somebody on the way has compressed is an error that says so") {
    const auto answer = [](const std::string& status, const std::string& encoding) {
      return answered("HTTP/1.1 " + status + "\r\nContent-Type: text/plain\r\nContent-Encoding: " + encoding +
                      "\r\nContent-Length: 2\r\n\r\nx\x1f")[0];
    };
    CHECK(answer("200 OK", "gzip") == "! the answer is compressed, which nobody asked for");
    CHECK(answer("404 Not Found", "gzip") == "! Not Found");
    CHECK(answer("200 OK", "identity")["data"] == "x\x1f");
  }

  TEST_CASE("comments in a stream of events are no items") {
    CHECK(answered(
              "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n\r\n"
              "3\r\n:\n\n\r\n9\r\ndata: 1\n\n\r\n6\r\n: x\n:\n\r\n1\r\n\n\r\n10\r\n:\ndata: 2\nid: 3\n\r\n0\r\n\r\n") ==
          json::parse(R"([{"data": "1"}, {"data": "2", "id": "3"}])"));
    CHECK(answered("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n"
                   "3\r\n{}\n\r\n0\r\n\r\n") == json::array({json::object()}));
  }

  TEST_CASE("statuses become exceptions, and so does a 2xx map with an error from a service in Python") {
    const auto error = [](const std::string& status, const std::string& body) {
      return answered("HTTP/1.1 " + status + "\r\nContent-Type: application/json\r\nContent-Length: " +
                      std::to_string(body.size()) + "\r\n\r\n" + body)[0];
    };
    CHECK(error("404 Not Found", R"({"error": "x"})") == "! x");
    CHECK(error("500 Oops", "[]") == "! Internal Server Error");
    const std::string map = R"({"error": "x"})";
    CHECK(error("200 OK", map) == json::parse(map));
    const std::string head = "HTTP/1.1 200 OK\nContent-Type: application/json\n";
    CHECK(answered(head + "\n" + map) == json::array({"! x"}));
    CHECK(answered(head + "Content-Length: 14\n\n" + map) == json::array({json::parse(map)}));  // that is none
    const std::string chunks = "2\r\n1\n\r\ne\r\n" + map + "\r\n";
    CHECK(answered(head + "Transfer-Encoding: chunked\n\n" + chunks) == json::array({1, "! x"}));
    CHECK(answered(head + "Transfer-Encoding: chunked\n\n" + chunks + "0\r\n\r\n") ==
          json::array({1, json::parse(map)}));
  }

  TEST_CASE("interim answers are skipped, but not without end") {
    CHECK(answered("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n") == json::array({nullptr}));
    std::string interim;
    for (int i = 0; i < 20; ++i) interim += "HTTP/1.1 100 Continue\r\n\r\n";
    CHECK(contains(answered(interim)[0].get<std::string>(), "interim"));
  }

  TEST_CASE("an answer beyond the client's own limits is an error, whole or in items") {
    kt::Limits limits;
    limits.body_bytes = 1000;
    const std::string text(998, 'x'), fits = json(text).dump(), longer = json(text + "x").dump();
    const std::string type = "Content-Type: application/json\r\n";
    const auto with_length = [&](const std::string& body) {
      return answered(
          "HTTP/1.1 200 OK\r\n" + type + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body, limits);
    };
    const auto to_the_end = [&](const std::string& body) {
      return answered("HTTP/1.1 200 OK\r\n" + type + "Connection: close\r\n\r\n" + body, limits);
    };
    CHECK(with_length(fits) == json::array({text}));
    CHECK(to_the_end(fits) == json::array({text}));
    for (const std::string& body : {longer, std::string(100'000, ' ') + "1"}) {
      CHECK(with_length(body) == json::array({"! the answer is longer than 1000 bytes"}));
      CHECK(to_the_end(body) == json::array({"! the answer is longer than 1000 bytes"}));
    }
    // The bound is on each item: streams have no end.
    const std::string stream = "HTTP/1.1 200 OK\r\n" + type + "Transfer-Encoding: chunked\r\n\r\n", end = "0\r\n\r\n";
    const std::string item = "3e8\r\n" + fits + "\r\n", longer_item = "3e9\r\n" + longer + "\r\n";
    CHECK(answered(stream + item + item + end, limits) == json::array({text, text}));
    CHECK(answered(stream + item + item + longer_item + end, limits) ==
          json::array({text, text, "! the stream is broken: body too large"}));
  }

  TEST_CASE("a client's limits are those of its options") {
    Home home;
    home.kitten.api(
        "text", [](int size) { return std::string(static_cast<std::size_t>(size), 'x'); }, kt::arg("size"));
    home.kitten.api(
        "texts",
        [](int size) -> kt::Generator<std::string> {
          co_yield "first";
          co_yield std::string(static_cast<std::size_t>(size), 'x');
        },
        kt::arg("size"));
    home.kitten.api("nested", [] { return json::parse("[[[[[[1]]]]]]"); });
    home.start();
    for (const bool msgpack : {true, false}) {
      CAPTURE(msgpack);
      kt::ClientOptions options{.state_directory = home.state.path(), .use_msgpack = msgpack};
      options.limits.body_bytes = 1000;
      options.limits.depth = 6;
      const kt::Client client = kt::Client::connect("testkitten", "Kitty", options);
      CHECK(client.call<std::string>("text", 900).size() == 900);
      CHECK_THROWS_WITH_AS(client.call("text", 1001), "the answer is longer than 1000 bytes", kt::ConnectionError);
      auto texts = client.stream<std::string>("texts", 1001);
      CHECK(texts.next() == "first");
      CHECK_THROWS_WITH_AS(texts.next(), "the stream is broken: body too large", kt::ConnectionError);
      CHECK(client.call("nested") == json::parse("[[[[[[1]]]]]]"));
      options.limits.depth = 5;
      const kt::Client flat = kt::Client::connect("testkitten", "Kitty", options);
      CHECK_THROWS_WITH_AS(flat.call("nested"), doctest::Contains("the answer cannot be decoded"), kt::ConnectionError);
      options.limits.head_bytes = 20;
      CHECK_THROWS_WITH_AS(kt::Client::connect("testkitten", "Kitty", options), doctest::Contains("not HTTP"),
                           kt::NotRunning);
    }
  }
}
