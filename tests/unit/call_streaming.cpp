// SPDX-License-Identifier: MIT
#include "services.hpp"
#include "support.hpp"

TEST_SUITE("call/streaming") {
  TEST_CASE("each item is one chunk, in the format of the request, and the end has its mark") {
    Home home;
    home.kitten.api("items", items, "", kt::arg("count"), kt::arg("text") = "x");
    home.start();
    const Answer text = home.call("items", R"({"count": 3})");
    CHECK(text.fields.at("Transfer-Encoding") == "chunked");
    CHECK(text.fields.count("Content-Length") == 0);
    REQUIRE(text.chunks.size() == 3);
    CHECK(text.chunks[2] == "{\"number\":2,\"text\":\"x\"}\n");
    CHECK(text.end_mark);
    const Answer packed = Wire::tcp(home.kitten)
                              .send(home.post(home.path("items"),
                                              "\x81\xa5"
                                              "count\x02",
                                              "application/x-msgpack"))
                              .answer();
    REQUIRE(packed.chunks.size() == 2);
    CHECK(packed.chunks[0] == std::string("\x82\xa6number\x00\xa4text\xa1x", 16));
  }

  TEST_CASE("an empty stream has a head and an end mark") {
    Home home;
    home.kitten.api("items", items, "", kt::arg("count"), kt::arg("text") = "x");
    home.start();
    const Answer answer = home.call("items", R"({"count": 0})");
    CHECK(answer.status == 200);
    CHECK(answer.chunks.empty());
    CHECK(answer.end_mark);
  }

  TEST_CASE("an error before the first item is an answer; one in the middle is an item without end mark") {
    Home home;
    home.kitten.api(
        "fail",
        [](int after, bool wait) -> kt::Generator<int> {
          for (int i = 0; i < after; ++i) co_yield i;
          if (wait) co_await kt::sleep_for(1ms);
          throw kt::NotFound("gone");
        },
        "", kt::arg("after"), kt::arg("wait") = false);
    home.start();
    CHECK(home.error("fail", R"({"after": 0})", 404) == "gone");
    CHECK(home.error("fail", R"({"after": 0, "wait": true})", 404) == "gone");
    CHECK(contains(home.error("fail", R"({"after": "x"})", 400), "expected int"));
    for (const bool wait : {true, false}) {
      Wire wire = Wire::tcp(home.kitten);
      wire.send(home.post(home.path("fail"), json{{"after", 2}, {"wait", wait}}.dump()));
      const Answer answer = wire.answer();
      REQUIRE(answer.chunks.size() == 3);
      CHECK(answer.chunks[2] == "{\"error\":\"gone\",\"status\":404}\n");
      CHECK_FALSE(answer.end_mark);
      CHECK(wire.closed());
    }
  }

  TEST_CASE("a first map with finished and error is an item like any other") {
    Home home;
    home.kitten.api(
        "finished", [](json first) -> kt::Generator<json> { co_yield first; }, "", kt::arg("first"));
    home.start();
    for (const char* item :
         {R"({"finished":404,"error":"no"})", R"({"finished":true,"error":"no"})", R"({"error":1})"}) {
      const Answer answer = home.call("finished", R"({"first": )"s + item + "}");
      CHECK(answer.status == 200);
      CHECK(answer.body == item + "\n"s);
      CHECK(answer.end_mark);
    }
  }

  TEST_CASE("the head comes after half a second even if there is no item yet") {
    Home home;
    Happening release;
    home.kitten.api("slow", []() -> kt::Generator<int> {
      co_await kt::sleep_for(24h);
      co_yield 1;
    });
    home.start();
    Wire wire = Wire::tcp(home.kitten);
    const auto start = std::chrono::steady_clock::now();
    wire.send(home.get(home.path("slow")));
    CHECK(wire.until("\r\n\r\n"));
    CHECK(std::chrono::steady_clock::now() - start >= 400ms);
  }

  TEST_CASE("documents set their type and come raw, events come as server-sent events") {
    Home home;
    home.kitten.api("lines", []() -> kt::Generator<kt::Result> {
      const kt::Result line{"text/csv", "a,b\n"};
      co_yield line;
      co_yield line;
    });
    home.kitten.api("events", []() -> kt::Generator<kt::Event> {
      kt::Event event;
      event.fields["event"] = "hello";
      event.fields["data"] = "Hello\nworld";
      co_yield event;
      event.fields["data"] = json::array({1});
      co_yield event;
    });
    home.kitten.api("items", items, "", kt::arg("count") = 1, kt::arg("text") = "x");
    home.start();
    const Answer lines = home.call("lines");
    CHECK(lines.fields.at("Content-Type") == "text/csv");
    CHECK(lines.chunks == std::vector<std::string>{"a,b\n", "a,b\n"});
    const Answer events = home.call("events");
    CHECK(events.fields.at("Content-Type") == "text/event-stream");
    REQUIRE(events.chunks.size() == 2);
    CHECK(events.chunks[0] == "event: hello\ndata: Hello\ndata: world\n\n");
    const Answer asked =
        Wire::tcp(home.kitten).send(home.get(home.path("items"), "Accept: text/event-stream\r\n")).answer();
    CHECK(asked.fields.at("Content-Type") == "text/event-stream");
    REQUIRE(asked.chunks.size() == 1);
    CHECK(asked.chunks[0].starts_with("data: {"));
  }

  // A stream of two documents of which the test says what they are.
  void add_pieces(kt::Kitten & kitten) {
    kitten.api(
        "pieces",
        [](std::string first, int first_status, std::string then, int then_status) -> kt::Generator<kt::Result> {
          const kt::Result one{first, "one", first_status}, two{then, "two", then_status};
          co_yield one;
          co_yield two;
        },
        "", kt::arg("first") = "text/plain", kt::arg("first_status") = 200, kt::arg("then") = "text/plain",
        kt::arg("then_status") = 200);
  }

  TEST_CASE("the first document of a stream sets its type and status") {
    Home home;
    add_pieces(home.kitten);
    home.start();
    const Answer answer = home.call("pieces", R"({"first_status": 201, "then_status": 201})");
    CHECK(answer.status == 201);
    CHECK(answer.chunks == std::vector<std::string>{"one", "two"});
    CHECK(answer.end_mark);
    CHECK(eventually([&] { return contains(home.log(), "http 201 stream "); }));
    for (const kt::Client& client : {home.kitten.connect(), home.kitten.loopback()}) {
      CHECK_THROWS_AS(client.call<std::string>("pieces", "text/plain", 404, "text/plain", 404), kt::NotFound);
      std::string all;
      for (const kt::Bytes& piece : client.stream<kt::Bytes>("pieces", "text/plain", 201, "text/plain", 201))
        all.append(piece.begin(), piece.end());
      CHECK(all == "onetwo");
    }
  }

  TEST_CASE("a document that differs from the first in type or status ends the stream, and the log says why") {
    Home home;
    add_pieces(home.kitten);
    home.start();
    for (const char* const arguments :
         {R"({"first": "text/html", "then": "text/plain"})", R"({"first_status": 404})", R"({"then_status": 404})"}) {
      CAPTURE(arguments);
      for (const bool over_tcp : {true, false}) {
        Wire wire = over_tcp ? Wire::tcp(home.kitten) : Wire::local(home.kitten);
        const Answer answer = wire.send(home.post(home.path("pieces"), arguments)).answer();
        CHECK(answer.chunks == std::vector<std::string>{"one"});
        CHECK_FALSE(answer.end_mark);
        CHECK(wire.closed());
      }
    }
    CHECK(contains(home.log(),
                   "internal: pieces: an item of a stream of documents is text/plain with status 200, the first one "
                   "was text/html with status 200"));
    CHECK(contains(home.log(), "is text/plain with status 200, the first one was text/plain with status 404"));
    CHECK(contains(home.log(), "is text/plain with status 404, the first one was text/plain with status 200"));
    const kt::Client within = home.kitten.loopback();
    CHECK_THROWS_AS(
        [&] {
          for (const json& piece : within.stream("pieces", "text/csv")) CHECK(!piece.is_null());
        }(),
        kt::ConnectionError);
    CHECK(contains(home.log(), "the first one was text/csv"));
  }

  TEST_CASE("a stream of documents that cannot be sent is a 500, one without any document has no type") {
    Home home;
    add_pieces(home.kitten);
    home.kitten.api("none", []() -> kt::Generator<kt::Result> { co_return; });
    home.start();
    for (const char* const arguments :
         {R"({"first": "a\r\nb: c"})", R"({"first_status": 99})", R"({"first_status": 204})",
          R"({"first_status": 304})", R"({"first_status": 600})"}) {
      CAPTURE(arguments);
      CHECK(home.error("pieces", arguments, 500) == "bad-response: the document's MIME type or status cannot be sent");
    }
    const Answer none = home.call("none");
    CHECK(none.status == 200);
    CHECK(none.fields.count("Content-Type") == 0);
    CHECK(none.end_mark);
    Wire wire = Wire::tcp(home.kitten);
    wire.send("HEAD " + home.path("pieces") + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    const std::string head = wire.rest();
    CHECK(head.starts_with("HTTP/1.1 200 OK\r\n"));
    CHECK_FALSE(contains(head, "\nContent-Type:"));
  }

  TEST_CASE("documents and events are not kept, guessed at or named to others (78)") {
    Home home;
    home.kitten.api("page", [] { return kt::html("<p>"); });
    home.kitten.api("lines", []() -> kt::Generator<kt::Result> {
      const kt::Result line{"text/csv", "a,b\n"};
      co_yield line;
    });
    home.kitten.api("events", []() -> kt::Generator<kt::Event> {
      const kt::Event event;
      co_yield event;
    });
    home.start();
    for (const char* method : {"page", "lines", "events"}) {
      CAPTURE(method);
      const Answer answer = home.call(method);
      CHECK(answer.fields.at("Cache-Control") == "no-store");
      CHECK(answer.fields.at("X-Content-Type-Options") == "nosniff");
      CHECK(answer.fields.at("Referrer-Policy") == "same-origin");
    }
  }

  TEST_CASE("what is empty or zero is an event as others are, over sockets and in the process") {
    Home home;
    home.kitten.api("values", []() -> kt::Generator<json> {
      for (const char* text : {"0", "\"\"", "null", "false", "[]", "{}", "0.0", "{\"event\": \"done\"}", "{\"n\": 0}",
                               "{\"event\": \"count\", \"data\": 0}", "{\"data\": null}", "[1,{\"a\":\"\"}]"}) {
        json item = json::parse(text);
        co_yield item;
      }
    });
    home.kitten.api("texts", []() -> kt::Generator<std::string> {
      for (const char* text : {"a", "", "b\n", "\n"}) {
        const std::string item = text;
        co_yield item;
      }
    });
    home.kitten.api("events", []() -> kt::Generator<kt::Event> {
      for (const char* text : {"{}", "{\"event\": \"done\"}", "{\"data\": \"\"}", "{\"id\": 0, \"data\": {}}"}) {
        kt::Event item;
        item.fields = json::parse(text);
        co_yield item;
      }
    });
    home.start();
    const std::vector<std::string> values{"data: 0\n\n",          "data: \n\n",
                                          "data: null\n\n",       "data: false\n\n",
                                          "data: []\n\n",         "data: {}\n\n",
                                          "data: 0.0\n\n",        "event: done\ndata: \n\n",
                                          "data: {\"n\": 0}\n\n", "event: count\ndata: 0\n\n",
                                          "data: null\n\n",       "data: [1, {\"a\": \"\"}]\n\n"};
    const std::vector<std::string> texts{"data: a\n\n", "data: \n\n", "data: b\ndata: \n\n", "data: \ndata: \n\n"};
    const std::vector<std::string> events{"event: done\ndata: \n\n", "data: \n\n", "id: 0\ndata: {}\n\n"};
    for (const bool over_tcp : {true, false}) {
      const auto chunks = [&](const char* method) {
        Wire wire = over_tcp ? Wire::tcp(home.kitten) : Wire::local(home.kitten);
        return wire.send(home.get(home.path(method), "Accept: text/event-stream\r\n")).answer().chunks;
      };
      CHECK(chunks("values") == values);
      CHECK(chunks("texts") == texts);
      CHECK(chunks("events") == events);
    }
    for (const kt::Client& client : {home.kitten.connect(), home.kitten.loopback()}) {
      std::string items;
      for (const json& item : client.stream("events")) items += item.dump() + "\n";
      CHECK(items == "{\"event\":\"done\",\"data\":\"\"}\n{\"data\":\"\"}\n{\"id\":\"0\",\"data\":\"{}\"}\n");
    }
  }

  TEST_CASE("who takes nothing of an event stream is cut off while it is silent, too") {
    Home home;
    home.kitten.limits().event_keepalive = 1ms;
    home.kitten.limits().write_timeout = 200ms;
    Happening gone;
    home.kitten.api("events", [&]() -> kt::Generator<kt::Event> {
      struct AtEnd {
        Happening& gone;
        ~AtEnd() { gone.happen(); }
      };
      const AtEnd at_end{gone};
      kt::Event event;
      event.fields["data"] = "first";
      co_yield event;
      for (;;) co_await kt::sleep_for(1h);
    });
    // With room for a few comments.
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    const kt::Fd reader(ends[0]);
    const int little = 1;
    ::setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &little, sizeof little);
    kt::Socket served{kt::Fd(ends[1])};
    home.kitten.api("serve", [&] {
      home.kitten.serve_connection(std::move(served));
      return 1;
    });
    home.start();
    CHECK(home.result("serve") == 1);
    const std::string request = home.get(home.path("events"), "Accept: text/event-stream\r\n");
    REQUIRE(kt::detail::write_all(reader.get(), request));
    CHECK(gone.happened(1));
    CHECK(contains(home.log(), "unix-domain takes nothing, closed"));
  }

  TEST_CASE("a long silence of an event stream is broken by comments, which no reader takes for an event") {
    Home home;
    Happening go_on;
    home.kitten.limits().event_keepalive = 50ms;
    home.kitten.api("events", [&]() -> kt::Generator<kt::Event> {
      kt::Event event;
      event.fields["data"] = "first";
      co_yield event;
      while (go_on.count() == 0) co_await kt::sleep_for(10ms);
      event.fields["data"] = "last";
      co_yield event;
    });
    home.kitten.api("values", [&]() -> kt::Generator<int> {
      co_yield 1;
      while (go_on.count() == 0) co_await kt::sleep_for(10ms);
      co_yield 2;
    });
    home.start();
    Wire values = Wire::tcp(home.kitten), legacy = Wire::tcp(home.kitten), old = Wire::tcp(home.kitten);
    values.send(home.get(home.path("values")));
    legacy.send("GET " + home.path("events") + " HTTP/1.1\n\n");
    old.send("GET " + home.path("events") + " HTTP/1.0\r\n\r\n");
    Wire tcp = Wire::tcp(home.kitten), local = Wire::local(home.kitten);
    tcp.send(home.get(home.path("events")));
    local.send(home.get(home.path("values"), "Accept: text/event-stream\r\n"));
    std::vector<std::future<std::string>> clients;
    for (const kt::Client& client : {home.kitten.connect(), home.kitten.loopback()}) {
      clients.push_back(std::async(std::launch::async, [client] {
        std::string items;
        for (const json& item : client.stream("events")) items += item.dump();
        return items;
      }));
    }
    CHECK(tcp.until("\r\n3\r\n:\n\n\r\n3\r\n:\n\n\r\n3\r\n:\n\n\r\n"));
    CHECK(local.until("\r\n3\r\n:\n\n\r\n3\r\n:\n\n\r\n3\r\n:\n\n\r\n"));
    CHECK(old.until("first\n\n:\n\n:\n\n:\n\n"));
    go_on.happen();
    CHECK(tcp.answer().chunks.back() == "data: last\n\n");
    CHECK(local.answer().chunks.back() == "data: 2\n\n");
    CHECK(values.answer().chunks == std::vector<std::string>{"1\n", "2\n"});
    CHECK(legacy.answer().chunks == std::vector<std::string>{"data: first\n\n", "data: last\n\n"});
    for (std::future<std::string>& items : clients) CHECK(items.get() == "{\"data\":\"first\"}{\"data\":\"last\"}");
  }

  TEST_CASE("proxies are asked not to hold streams back") {
    Home home;
    home.kitten.api("items", items, "", kt::arg("count") = 1, kt::arg("text") = "x");
    home.kitten.api("lines", []() -> kt::Generator<kt::Result> {
      const kt::Result line{"text/csv", "a,b\n"};
      co_yield line;
    });
    home.kitten.api("page", [] { return kt::html("<p>"); });
    home.start();
    for (const char* accept : {"", "Accept: text/event-stream\r\n"}) {
      for (const char* method : {"items", "lines"})
        CHECK(
            Wire::tcp(home.kitten).send(home.get(home.path(method), accept)).answer().fields.at("X-Accel-Buffering") ==
            "no");
    }
    CHECK(contains(Wire::tcp(home.kitten).send("GET " + home.path("items") + " HTTP/1.1\n\n").answer().head,
                   "\nX-Accel-Buffering: no\n"));
    CHECK(home.call("page").fields.count("X-Accel-Buffering") == 0);
    CHECK(home.call("help").fields.count("X-Accel-Buffering") == 0);
  }

  TEST_CASE("documents and events keep their type when the first one takes long") {
    Home home;
    home.kitten.api("document", []() -> kt::Generator<kt::Result> {
      co_await kt::sleep_for(700ms);
      const kt::Result image{"image/gif", "GIF\xff\xfe"};
      co_yield image;
    });
    home.kitten.api("event", []() -> kt::Generator<kt::Event> {
      co_await kt::sleep_for(700ms);
      kt::Event event;
      event.fields["data"] = "x";
      co_yield event;
    });
    home.start();
    Wire document = Wire::tcp(home.kitten), event = Wire::tcp(home.kitten);
    document.send(home.get(home.path("document")));
    event.send(home.get(home.path("event")));
    const Answer image = document.answer();
    CHECK(image.fields.at("Content-Type") == "image/gif");
    CHECK(image.body == "GIF\xff\xfe");
    const Answer events = event.answer();
    CHECK(events.fields.at("Content-Type") == "text/event-stream");
    CHECK(events.body == "data: x\n\n");
  }

  TEST_CASE("a generator of nothing but empty documents lets others in") {
    Home home;
    home.kitten.api("empty", []() -> kt::Generator<kt::Result> {
      const kt::Result nothing{"text/plain", ""};
      for (;;) co_yield nothing;
    });
    home.start();
    Wire wire = Wire::tcp(home.kitten);
    wire.send(home.get(home.path("empty")));
    CHECK(wire.until("\r\n\r\n"));
    CHECK(Wire::tcp(home.kitten).send(home.get("/ping")).answer().body == "Pong\n");
  }

  TEST_CASE("items that are ready leave together, and many of them arrive") {
    Home home;
    home.kitten.api(
        "count",
        [](int n) -> kt::Generator<int> {
          for (int i = 0; i < n; ++i) co_yield i;
        },
        "", kt::arg("n"));
    home.start();
    const Answer answer = home.call("count", R"({"n": 100000})");
    REQUIRE(answer.chunks.size() == 100000);
    CHECK(answer.chunks[99999] == "99999\n");
    CHECK(answer.end_mark);
  }

  TEST_CASE("HTTP/1.0 gets items without framing, and then the end of the connection (86)") {
    Home home;
    home.kitten.api("items", items, "", kt::arg("count") = 2, kt::arg("text") = "x");
    home.start();
    Wire wire = Wire::tcp(home.kitten);
    const std::string all = wire.send("GET " + home.path("items") + " HTTP/1.0\r\n\r\n").rest();
    CHECK_FALSE(contains(all, "chunked"));
    CHECK(all.ends_with("\r\n\r\n{\"number\":0,\"text\":\"x\"}\n{\"number\":1,\"text\":\"x\"}\n"));
  }

  TEST_CASE("a generator is destroyed soon after its reader has gone, however it waits (65)") {
    Home home;
    Happening gone;
    home.kitten.api(
        "forever",
        [&](int interval) -> kt::Generator<std::string> {
          const Counted local(&gone);
          for (;;) {
            co_yield long_text;
            co_await kt::sleep_for(std::chrono::milliseconds(interval));
          }
        },
        "", kt::arg("interval"));
    home.kitten.limits().linger_timeout = 100ms;
    home.start();
    int expected = 0;
    for (const char* arguments : {R"({"interval": 1})", R"({"interval": 100000000})"}) {
      for (const bool over_tcp : {true, false}) {
        CAPTURE(arguments);
        CAPTURE(over_tcp);
        {
          Wire wire = over_tcp ? Wire::tcp(home.kitten) : Wire::local(home.kitten);
          wire.send(home.post(home.path("forever"), arguments));
          CHECK(wire.until(long_text));
        }
        CHECK(gone.happened(++expected));
      }
    }
  }

  TEST_CASE("a slow reader suspends the generator instead of filling memory (66)") {
    Home home;
    std::atomic<int> made = 0;
    Happening gone;
    home.kitten.api("flood", [&]() -> kt::Generator<std::string> {
      const Counted local(&gone);
      const std::string item(10'000, 'x');
      for (;;) {
        ++made;
        co_yield item;
      }
    });
    home.start();
    {
      Wire reader = Wire::local(home.kitten);
      reader.send(home.get(home.path("flood")));
      CHECK(reader.until("xxx"));
      // Others are served while the generator is suspended; once it is, the count stands still.
      int before = -1;
      CHECK(eventually([&] {
        Wire::tcp(home.kitten).send(home.get("/ping")).answer();
        return std::exchange(before, made.load()) == made.load();
      }));
      CHECK(made < 10'000);
    }
    CHECK(gone.happened());
  }

  TEST_CASE("a half-closed reader gets a stream that goes on") {
    Home home;
    home.kitten.api("items", items, "", kt::arg("count") = 2, kt::arg("text") = "x");
    home.start();
    for (const bool over_tcp : {true, false}) {
      Wire wire = over_tcp ? Wire::tcp(home.kitten) : Wire::local(home.kitten);
      CHECK(contains(wire.send("GET " + home.path("items") + " HTTP/1.1\n\n").half_close().rest(), "0\r\n\r\n"));
    }
  }

  TEST_CASE("a thousand idle streams and a hundred busy clients at once, and everything back afterwards") {
    rlimit descriptors{};
    ::getrlimit(RLIMIT_NOFILE, &descriptors);
    descriptors.rlim_cur = (std::min<rlim_t>)(descriptors.rlim_max, 8192);
    ::setrlimit(RLIMIT_NOFILE, &descriptors);
    Home home;
    Happening gone;
    home.kitten.limits().linger_timeout = 100ms;
    home.kitten.api("idle", [&]() -> kt::Generator<int> {
      const Counted local(&gone);
      co_yield 1;
      co_await kt::sleep_for(24h);
    });
    home.start();
    const int before = open_descriptors();
    {
      std::vector<Wire> streams;
      for (int i = 0; i < 1000; ++i) {
        streams.push_back(i % 2 == 0 ? Wire::tcp(home.kitten) : Wire::local(home.kitten));
        streams.back().send(home.get(home.path("idle")));
      }
      for (Wire& stream : streams) REQUIRE(stream.until("1\n"));
      std::vector<Wire> busy;
      for (int i = 0; i < 100; ++i) busy.push_back(Wire::tcp(home.kitten));
      for (int round = 0; round < 10; ++round) {
        for (Wire& wire : busy) wire.send(home.get("/ping"));
        for (Wire& wire : busy) REQUIRE(wire.answer().body == "Pong\n");
      }
      CHECK(gone.count() == 0);
    }
    CHECK(gone.happened(1000));
    CHECK(eventually([&] { return open_descriptors() <= before; }));
  }
}
