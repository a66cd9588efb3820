// SPDX-License-Identifier: MIT
#include "codecs.hpp"
#include "support.hpp"
#include "wire/events.ipp"

TEST_SUITE("wire/events") {
  TEST_CASE("events are written so that browsers and Python clients find in them what was put in") {
    struct Row {
      std::string_view item, text;
    };
    const Row rows[] = {
        {R"({"event": "hello", "data": "Hello\nworld"})", "event: hello\ndata: Hello\ndata: world\n\n"},
        {R"({"id": 5, "retry": 100, "data": {"k": 1}})", "id: 5\nretry: 100\ndata: {\"k\": 1}\n\n"},
        {R"({"a": 1})", "data: {\"a\": 1}\n\n"},
        {R"({"event": "only"})", "event: only\ndata: \n\n"},
        {R"({})", ""},  // no event
        {R"({"data": "x", "retry": 1, "event": "e", "id": "i"})",
         "id: i\nevent: e\nretry: 1\ndata: x\n\n"},  // in this order
        {R"({"id": null, "event": null, "retry": null})", "data: \n\n"},
        {R"({"id": "", "data": "x"})", "id: \ndata: x\n\n"},
        {R"({"id": 1, "b": [1, "\u00e9"], "a": null})", "id: 1\ndata: {\"b\": [1, \"\\u00e9\"], \"a\": null}\n\n"},
        {R"({"data": "x", "more": 1})", "data: x\n\n"},
        {R"({"data": "a\r\nb\rc\nd"})", "data: a\ndata: b\ndata: c\ndata: d\n\n"},
        {R"({"data": "a\n"})", "data: a\ndata: \n\n"},
        {R"({"data": "a\r"})", "data: a\ndata: \n\n"},
        {R"({"data": "a\r\n"})", "data: a\ndata: \n\n"},
        {R"({"data": "\n"})", "data: \ndata: \n\n"},
        {R"({"data": "a\n\nb"})", "data: a\ndata: \ndata: b\n\n"},
        {R"({"data": "a\n\r\r\nb"})", "data: a\ndata: \ndata: \ndata: b\n\n"},
        {R"({"data": {"__base64__": "YQpi"}})", "data: a\ndata: b\n\n"},
        {R"({"data": {"__base64__": "/w=="}})", "data: \xFF\n\n"},
        {R"({"data": [1]})", "data: [1]\n\n"},
        {R"({"data": 7})", "data: 7\n\n"},
        {R"({"data": true})", "data: true\n\n"},
        {R"({"data": 0.5})", "data: 0.5\n\n"},
        {R"({"event": "e", "data": null, "x": 1})", "event: e\ndata: null\n\n"},
        {R"({"event": "count", "data": 0})", "event: count\ndata: 0\n\n"},
        {R"({"data": false})", "data: false\n\n"},
        {R"({"data": 0.0})", "data: 0.0\n\n"},
        {R"({"data": ""})", "data: \n\n"},
        {R"({"data": []})", "data: []\n\n"},
        {R"({"data": {}})", "data: {}\n\n"},
        {R"({"data": {"__base64__": ""}})", "data: \n\n"},
        {R"({"data": "a\u0000b"})", "data: a\0b\n\n"sv},
        {R"({"event": "\u00e9", "data": "\u00e9"})", "event: \xC3\xA9\ndata: \xC3\xA9\n\n"},
    };
    for (const Row& row : rows) {
      CAPTURE(row.item);
      kt::json item;
      REQUIRE(!kt::decode_json(row.item, item));
      CHECK(codec_event(item) == row.text);
    }
    CHECK(codec_event({{"event", "a\xFF"}, {"data", "\xFF"}}) == "event: a\xEF\xBF\xBD\ndata: \xEF\xBF\xBD\n\n");
  }

  TEST_CASE("events that would say something else than meant are refused") {
    for (const char* name : {"id", "event", "retry"}) {
      for (const std::string_view text : {"a\nb"sv, "a\rb"sv, "a\r\nb"sv, "a\0b"sv, "\n"sv, "x\n\ndata: y"sv}) {
        kt::json item = kt::json::object();
        item[name] = std::string(text);
        CHECK(codec_event(item) == "bad-body");
      }
      for (const kt::json& value : {kt::json(true), kt::json::array(), kt::json::object(), kt::bytes("x")}) {
        kt::json item = kt::json::object();
        item[name] = value;
        CHECK(codec_event(item) == "bad-body");
      }
    }
    for (const kt::json& item : {kt::json(), kt::json(1), kt::json("data"), kt::json::array()})
      CHECK(codec_event(item) == "bad-body");
    CHECK(codec_event({{"data", codec_nested(65)}}) == "depth");
    CHECK(codec_event({{"x", codec_nested(64)}}) == "depth");  // the map around it counts
    CHECK(codec_event({{"x", codec_nested(63)}}).size() > 126);
    CHECK(codec_event({{"data", codec_nested(100000)}}) == "depth");
  }

  TEST_CASE("events are read as Python's client reads them") {
    CHECK(codec_read_event("id: 5\nretry: 100\ndata: {\"k\": 1}\ndata: \n\n") ==
          "{\"id\": \"5\", \"retry\": \"100\", \"data\": \"{\"k\": 1}\n\"}");
    CHECK(codec_read_event("event: hello\ndata: Hello\ndata: world\n\n") ==
          "{\"event\": \"hello\", \"data\": \"Hello\nworld\"}");
    CHECK(codec_read_event("data: a: b\r\nid: 1\rx: y") == "{\"data\": \"a: b\", \"id\": \"1\", \"x\": \"y\"}");
    CHECK(codec_read_event("\n") == "{}");
    CHECK(codec_read_event("") == "{}");
    CHECK(codec_read_event(" \t\r\n\v\f") == "{}");
    CHECK(codec_read_event("data: a \t\n\n") == "{\"data\": \"a\"}");
    CHECK(codec_read_event("data:xab\ndata:") ==
          "{\"data\": \"ab\n\"}");  // the character behind the colon goes, whatever it is
    CHECK(codec_read_event("a:\nb:") == "{\"a\": \"\", \"b\": \"\"}");
    CHECK(codec_read_event(kt::detail::event_comment) == "{}");
    CHECK(codec_read_event(": x") == "{}");
    CHECK(codec_read_event(": x\ndata: a\n:\ndata: b") == "{\"data\": \"a\nb\"}");
    CHECK(codec_read_event("data: \xFF") == "{\"data\": \"\xEF\xBF\xBD\"}");
    CHECK(codec_read_event("data") == "bad-body");
    CHECK(codec_read_event("data: a\nmore") == "bad-body");
    CHECK(codec_read_event("data: a\n\ndata: b\n\n") == "bad-body");  // two events
    CHECK(codec_read_event("\ndata: a") == "bad-body");
    std::string many;
    for (int i = 0; i < 16; ++i) many += std::to_string(i) + ": x\n";
    CHECK(codec_read_event(many).size() > 16);
    CHECK(codec_read_event(many + "3: y").find("\"x\ny\"") != std::string::npos);
    CHECK(codec_read_event(many + "16: x") == "bad-body");
    CHECK(codec_read_event(codec_repeat("data: x\n", 100000)).size() == 200011);
  }

  TEST_CASE("what is read may be part of where the value goes, and may be nothing at all") {
    kt::json value = "\x91\x01";
    CHECK(!kt::decode_msgpack(value.get_ref<const std::string&>(), value));
    CHECK(value == kt::json::array({1}));
    value = "{\"a\": \"a long string that lives on the heap\"}";
    CHECK(!kt::decode_json(value.get_ref<const std::string&>(), value));
    CHECK(value["a"] == "a long string that lives on the heap");
    value = "data: a long string that lives on the heap";
    CHECK(!kt::detail::parse_event(value.get_ref<const std::string&>(), value));
    CHECK(value["data"] == "a long string that lives on the heap");
    const std::string_view nothing;
    CHECK(kt::decode_msgpack(nothing, value));
    CHECK(kt::decode_json(nothing, value));
    CHECK(!kt::detail::parse_event(nothing, value));
    CHECK(value == kt::json::object());
    CHECK(kt::is_utf8(nothing));
    CHECK(kt::decode_base64(nothing) == kt::Bytes());
    std::string out;
    kt::append_utf8(out, nothing);
    kt::append_base64(out, nothing);
    CHECK(out.empty());
    CHECK(codec_packed(kt::json::binary({})) == "\xC4\0"s);
  }

  TEST_CASE("what was written as an event is read back") {
    for (const std::string_view text :
         {""sv, "a"sv, "a\nb"sv, "a\n"sv, "\n"sv, "a\n\n\nb\n"sv, "a: b"sv, ": "sv, " a"sv, "{\"k\": [1]}\n"sv}) {
      CAPTURE(text);
      kt::json back;
      CHECK(!kt::detail::parse_event(codec_event({{"id", 7}, {"data", std::string(text)}}), back));
      CHECK(back["id"] == "7");
      if (text != ": ") CHECK(back["data"] == std::string(text));
    }
  }
}
