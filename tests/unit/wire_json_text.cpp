// SPDX-License-Identifier: MIT
#include "codecs.hpp"
#include "support.hpp"
#include "wire/text.ipp"

TEST_SUITE("wire/json_text") {
  TEST_CASE("JSON values are read with their exact kind") {
    const std::string_view rows[][2] = {
        {"null", "null"},
        {" \t\r\n true \n", "true"},
        {"false", "false"},
        {"0", "u0"},
        {"-1", "i-1"},
        {"1.0", "f0x1p+0"},
        {"-0.0", "f-0x0p+0"},
        {"1e2", "f0x1.9p+6"},
        {"18446744073709551615", "u18446744073709551615"},
        {"-9223372036854775808", "i-9223372036854775808"},
        {"1e-999", "f0x0p+0"},
        {"0.1", "f0x1.999999999999ap-4"},
        {"\"\"", "\"\""},
        {"\"a\\u0000b\"", "\"a\0b\""sv},
        {"\"\\ud83d\\udc31\\u00e9\"", "\"\xF0\x9F\x90\xB1\xC3\xA9\""},
        {"\"\xC3\xA9\x7F\"", "\"\xC3\xA9\x7F\""},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\"\\/\b\f\n\r\t\""},
        {"[]", "[]"},
        {"{}", "{}"},
        {"[1,[2,[]],{}]", "[u1, [u2, []], {}]"},
        {"{\"b\": 1, \"a\": {\"x\": [null]}}", "{\"b\": u1, \"a\": {\"x\": [null]}}"},
        {"{\"a\\u0000b\": 1, \"a\": 2}", "{\"a\0b\": u1, \"a\": u2}"sv},
        {"[[[1],2],{\"a\":[3]},4]", "[[[u1], u2], {\"a\": [u3]}, u4]"},
    };
    for (const auto& [text, shown] : rows) {
      CAPTURE(text);
      CHECK(codec_parsed(text) == shown);
      if (text.find_first_of("[{\"") != 0) continue;
      for (std::size_t size = 0; size < text.size(); ++size) CHECK(codec_parsed(text.substr(0, size)) == "bad-body");
    }
  }

  TEST_CASE("text that is not one JSON value is refused with words of our own") {
    const std::string_view rows[][2] = {
        {"", "nothing"},
        {" ", "only blanks"},
        {"nul", "cut"},
        {"nulll", "more"},
        {"{\"a\":", "cut"},
        {"[1,", "cut"},
        {"[1", "cut"},
        {"\"a", "cut"},
        {"{", "cut"},
        {"{\"a\"", "cut"},
        {"[1,]", "comma at the end"},
        {"{\"a\":1,}", "comma at the end"},
        {"[,1]", "comma at the start"},
        {"{1:2}", "key without quotes"},
        {"{\"a\" 1}", "no colon"},
        {"]", "closed first"},
        {"[}", "closed wrongly"},
        {"01", "leading zero"},
        {"-", "no digits"},
        {"+1", "plus"},
        {".5", "no integer part"},
        {"1.", "no fraction"},
        {"1e", "no exponent"},
        {"0x10", "hex"},
        {"NaN", "no number"},
        {"-Infinity", "no number"},
        {"Infinity", "no number"},
        {"1e999", "too large"},
        {"[-1e999]", "too large"},
        {"{} {}", "two documents"},
        {"1 2", "two documents"},
        {"{}x", "rest"},
        {"// c\n1", "comment"},
        {"/* c */ 1", "comment"},
        {"1 // c", "comment"},
        {"\"\\ud800\"", "lone surrogate"},
        {"\"\\udc00\\ud800\"", "surrogates turned"},
        {"\"\\ud800x\"", "lone surrogate"},
        {"\"\\x41\"", "unknown escape"},
        {"\"\\u12g4\"", "bad escape"},
        {"\"a\nb\"", "line end in a string"},
        {"\"\x01\"", "control character"},
        {"'a'", "apostrophes"},
        {"\"\xFF\"", "not UTF-8"},
        {"\"\xED\xA0\x80\"", "surrogate in UTF-8"},
        {"\"\xC0\xAF\"", "overlong"},
        {"\xEF\xBB\xBF{}", "byte order mark"},
        {"\xFF\xFE{\0}\0"sv, "UTF-16"},
        {"{\0}\0"sv, "UTF-16 without mark"},
        {"1\0"sv, "NUL behind"},
        {"1\0 2"sv, "NUL hides the rest"},
        {"\"a\0b\""sv, "NUL in a string"},
        {"True", "Python"},
        {"\xC2\xA0"
         "1",
         "a blank that JSON does not know"},
    };
    for (const auto& [text, why] : rows) {
      CAPTURE(why);
      CHECK(codec_parsed(text) == "bad-body");
      kt::json value;
      CHECK(kt::decode_json(text, value).why.find("parse") == std::string_view::npos);
    }
    kt::json value;
    CHECK(kt::decode_json("{\"a\": 1, b}", value).offset == 9);
    CHECK(kt::decode_json("1e999", value).why == "a number is too large");
    CHECK(kt::decode_json("{} {}", value).why == "text after the JSON value");
    CHECK(kt::decode_json("[1, ", value).why == "JSON ends early");
    for (const char* text : {"\"\\ud800\"", "[\"\\udc00\"]", "\"\\ud83d\\ud83d\"", "\"\\ud800\\n\"", "\"\\udbffx\"",
                             "{\"\\udfff\": 1}", "\"\\\\\\ud800\""}) {
      CAPTURE(text);
      CHECK(kt::decode_json(text, value).why == "half a surrogate pair in a string");
    }
    for (const char* text :
         {"{\"surrogate\" 1}", "\"surrogate \\x\"", "\"invalid string: surrogate\n\"", "surrogate"}) {
      CAPTURE(text);
      CHECK(kt::decode_json(text, value).why == "not JSON");
    }
  }

  TEST_CASE("bytes in JSON are understood at any depth and only whole") {
    CHECK(codec_parsed("{\"__base64__\": \"AP8=\"}") == "bin[00 ff]");
    CHECK(codec_parsed("{\"__base64__\": \"\"}") == "bin[]");
    CHECK(codec_parsed("{\"__bytes__\": \"\\u00e9\"}") == "bin[c3 a9]");
    CHECK(codec_parsed("{\"__bytes__\": \"\"}") == "bin[]");
    CHECK(codec_parsed("[{\"a\": {\"__base64__\": \"AA==\"}}, {\"__bytes__\": \"x\"}]") ==
          "[{\"a\": bin[00]}, bin[78]]");
    CHECK(codec_parsed("{\"__base64__\": \"!\", \"__base64__\": \"AA==\"}") == "bin[00]");  // the last one wins first
    CHECK(codec_parsed("{\"__base64__\": \"AA==\", \"x\": 1}") == "{\"__base64__\": \"AA==\", \"x\": u1}");
    CHECK(codec_parsed("{\"__BASE64__\": \"AA==\"}") == "{\"__BASE64__\": \"AA==\"}");
    for (const std::string_view value :
         {"5"sv, "null"sv, "[]"sv, "{}"sv, "true"sv, "\"AA\""sv, "\"AA=\""sv, "\"A\""sv, "\"AB==\""sv, "\"A A=\""sv,
          "\"--__\""sv, "\"AA==\\n\""sv, "{\"__base64__\": \"AA==\"}"sv}) {
      CAPTURE(value);
      CHECK(codec_parsed("{\"__base64__\": " + std::string(value) + "}") == "bad-body");
      CHECK(codec_parsed("[1, {\"__base64__\": " + std::string(value) + "}]") == "bad-body");
    }
    for (const std::string_view value : {"5"sv, "null"sv, "[1]"sv, "{\"__bytes__\": \"\"}"sv})
      CHECK(codec_parsed("{\"__bytes__\": " + std::string(value) + "}") == "bad-body");
  }

  TEST_CASE("integers beyond 64 bit keep every digit") {
    const auto ext1 = [](std::string_view hex) { return "ext1[" + codec_hex(hex) + "]"; };
    CHECK(codec_parsed("18446744073709551616") == ext1("10000000000000000"));
    CHECK(codec_parsed("-9223372036854775809") == ext1("-8000000000000001"));
    CHECK(codec_parsed("[-18446744073709551615]") == "[" + ext1("-ffffffffffffffff") + "]");
    CHECK(codec_parsed("18446744073709551616.0") == "f0x1p+64");
    CHECK(codec_parsed("18446744073709551616e0") == "f0x1p+64");
    for (const std::size_t digits : {20u, 299u, 300u, 301u, 308u, 309u, 310u, 600u, 617u, 1233u}) {
      const std::string number = "9" + std::string(digits - 2, '0') + "7";
      CAPTURE(digits);
      CHECK(codec_parsed(number) == ext1(kt::detail::convert_digits(number, 10, 16)));
      CHECK(codec_parsed("-" + number) == ext1("-" + kt::detail::convert_digits(number, 10, 16)));
      const std::string text = "{\"a\":[" + number + ",-" + number + ",1]}";
      kt::json value;
      REQUIRE(!kt::decode_json(text, value));
      CHECK(codec_text(value) == text);
    }
    const std::string largest = codec_text(codec_ext(1, std::string(1024, 'f')));
    CHECK(largest.size() == 1234);
    CHECK(codec_parsed(largest) == ext1(std::string(1024, 'f')));
    CHECK(codec_parsed("9" + largest.substr(1)) == "bad-body");
    CHECK(codec_parsed(std::string(1235, '1')) == "bad-body");
    CHECK(codec_parsed(std::string(1000000, '1')) == "bad-body");
    CHECK(codec_parsed("0" + std::string(500, '1')) == "bad-body");
  }

  TEST_CASE("long integers do not disturb what stands around them") {
    const std::string ones(400, '1');
    const std::string three_hundred = "5" + std::string(299, '0');
    const std::string text = "[" + three_hundred + ",\"" + ones + "\\\"" + ones + "\\\\\"," + ones + ",{\"" + ones +
                             "\":" + ones + "2},-" + three_hundred + ",1." + ones + ",0.5]";
    kt::json value;
    REQUIRE(!kt::decode_json(text, value));
    REQUIRE(value.size() == 7);
    CHECK(codec_text(value[0]) == three_hundred);
    CHECK(value[1] == ones + "\"" + ones + "\\");
    CHECK(codec_text(value[2]) == ones);
    CHECK(codec_text(value[3][ones]) == ones + "2");
    CHECK(codec_text(value[4]) == "-" + three_hundred);
    CHECK(value[5] == 1.1111111111111112);
    CHECK(value[6] == 0.5);
    // Reals with many digits are not integers, and are cut nowhere.
    CHECK(codec_parsed(ones + "e-399") == codec_parsed("1." + ones));
    CHECK(codec_parsed("1e-" + std::string(398, '0') + "2") == codec_parsed("0.01"));
    CHECK(codec_parsed(ones + ".5") == "bad-body");  // 1e399
    CHECK(codec_parsed(ones + ones + "x") == "bad-body");
    CHECK(codec_parsed("[" + ones) == "bad-body");
    CHECK(codec_parsed("[" + ones + "-]") == "bad-body");
    CHECK(codec_parsed("[" + ones + ",\"\\") == "bad-body");
  }

  TEST_CASE("of keys that occur twice the last value wins at the first place") {
    CHECK(codec_parsed("{\"a\":1,\"b\":2,\"a\":3}") == "{\"a\": u3, \"b\": u2}");
    CHECK(codec_parsed("{\"a\":1,\"a\":2,\"a\":{\"a\":3}}") == "{\"a\": {\"a\": u3}}");
    CHECK(codec_parsed("[{\"x\":{\"a\":1,\"b\":[],\"b\":4,\"a\":\"2\",\"c\":0},\"y\":1}]") ==
          "[{\"x\": {\"a\": \"2\", \"b\": u4, \"c\": u0}, \"y\": u1}]");
    CHECK(codec_parsed("{\"\":1,\"\":2}") == "{\"\": u2}");
    std::string text = "{";
    for (int i = 0; i < 40000; ++i)
      text += (i > 0 ? ",\"k" : "\"k") + std::to_string(i % 20000) + "\":" + std::to_string(i);
    kt::json value;
    REQUIRE(!kt::decode_json(text + "}", value));
    CHECK(value.size() == 20000);
    CHECK(value.begin().key() == "k0");
    CHECK(value.begin().value() == 20000);
    CHECK(std::prev(value.end()).value() == 39999);
  }

  TEST_CASE("nesting of JSON is refused beyond the limit, in reading and in writing") {
    CHECK(codec_parsed(codec_repeat("[", 64) + codec_repeat("]", 64)).front() == '[');
    CHECK(codec_parsed(codec_repeat("[", 65) + codec_repeat("]", 65)) == "depth");
    CHECK(codec_parsed(codec_repeat("{\"a\":", 64) + "1" + codec_repeat("}", 64)).front() == '{');
    CHECK(codec_parsed(codec_repeat("{\"a\":", 65) + "1" + codec_repeat("}", 65)) == "depth");
    CHECK(codec_parsed(codec_repeat("[", 100000)) == "depth");
    CHECK(codec_parsed(codec_repeat("{\"a\":", 100000)) == "depth");
    CHECK(codec_parsed(codec_repeat("[", 100000) + codec_repeat("]", 100000)) == "depth");
    CHECK(codec_parsed("[]", 0) == "depth");
    CHECK(codec_parsed("1", 0) == "u1");
    CHECK(codec_text(codec_nested(64)) == codec_repeat("[", 64) + codec_repeat("]", 64));
    CHECK(codec_text(codec_nested(65)) == "depth");
    CHECK(codec_text(kt::json::object(), kt::JsonStyle::compact, 0) == "depth");
    // Bytes need a level of their own in JSON, ext values two: what we write can be read.
    CHECK(codec_text(kt::json::array({kt::bytes("")}), kt::JsonStyle::compact, 2) == "[{\"__base64__\":\"\"}]");
    CHECK(codec_text(kt::json::array({kt::bytes("")}), kt::JsonStyle::compact, 1) == "depth");
    CHECK(codec_text(codec_ext(5, ""), kt::JsonStyle::compact, 2) == "{\"__ext__\":[5,\"\"]}");
    CHECK(codec_text(codec_ext(5, ""), kt::JsonStyle::compact, 1) == "depth");
    CHECK(codec_text(codec_ext(1, "10000000000000000"), kt::JsonStyle::compact, 0) == "18446744073709551616");
  }

  TEST_CASE("floats are written as Python does") {
    const std::pair<double, std::string_view> rows[] = {
        {0.0, "0.0"},
        {-0.0, "-0.0"},
        {1.0, "1.0"},
        {-1.5, "-1.5"},
        {0.1, "0.1"},
        {0.1 + 0.2, "0.30000000000000004"},
        {100.0, "100.0"},
        {1e15, "1000000000000000.0"},
        {9007199254740993.0, "9007199254740992.0"},
        {9999999999999998.0, "9999999999999998.0"},
        {1e16, "1e+16"},
        {1e20, "1e+20"},
        {1.5e300, "1.5e+300"},
        {1e-4, "0.0001"},
        {0.00012345, "0.00012345"},
        {9.999e-5, "9.999e-05"},
        {1e-5, "1e-05"},
        {5e-324, "5e-324"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {-2.5e-7, "-2.5e-07"},
        {123456.789, "123456.789"},
        {1.0 / 3, "0.3333333333333333"},
        {2.2250738585072014e-308, "2.2250738585072014e-308"},
    };
    for (const auto& [number, text] : rows) {
      CHECK(codec_text(kt::json(number)) == text);
      CHECK(codec_parsed(text) == codec_shown(kt::json(number)));
    }
    for (const double number : {std::nan(""), HUGE_VAL, -HUGE_VAL})
      CHECK(codec_text(kt::json::array({number})) == "[null]");
    CodecRandom random(2);
    for (int i = 0; i < 2000; ++i) {
      const auto number = std::bit_cast<double>(random.number(1u << 31) << 33 | random.number(1u << 31) << 2);
      if (!std::isfinite(number)) continue;
      CHECK(codec_parsed(codec_text(kt::json(number))) == codec_shown(kt::json(number)));
    }
  }

  TEST_CASE("text is escaped as each style wants it") {
    struct Row {
      std::string_view text, compact, spaced;
    };
    const Row rows[] = {
        {"", "", ""},
        {"meow", "meow", "meow"},
        {"\"\\/", "\\\"\\\\/", "\\\"\\\\/"},
        {"\b\f\n\r\t", "\\b\\f\\n\\r\\t", "\\b\\f\\n\\r\\t"},
        {"\0\x01\x1F"sv, "\\u0000\\u0001\\u001f", "\\u0000\\u0001\\u001f"},
        {"\x7F", "\\u007f", "\\u007f"},
        {"\xC3\xA9", "\xC3\xA9", "\\u00e9"},
        {"\xE2\x82\xAC", "\xE2\x82\xAC", "\\u20ac"},
        {"\xEF\xBF\xBF", "\xEF\xBF\xBF", "\\uffff"},
        {"\xF0\x9F\x90\xB1", "\xF0\x9F\x90\xB1", "\\ud83d\\udc31"},
        {"\xF4\x8F\xBF\xBF", "\xF4\x8F\xBF\xBF", "\\udbff\\udfff"},
        {"\xF0\x90\x80\x80", "\xF0\x90\x80\x80", "\\ud800\\udc00"},
        {"a\xFFz", "a\xEF\xBF\xBDz", "a\\ufffdz"},
        {"\xE2\x82", "\xEF\xBF\xBD", "\\ufffd"},
        {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD", "\\ufffd\\ufffd\\ufffd"},
    };
    for (const Row& row : rows) {
      CAPTURE(codec_hex(row.text));
      CHECK(codec_text(kt::json(std::string(row.text))) == "\"" + std::string(row.compact) + "\"");
      CHECK(codec_text(kt::json(std::string(row.text)), kt::JsonStyle::spaced) ==
            "\"" + std::string(row.spaced) + "\"");
      kt::json map = kt::json::object();
      map[std::string(row.text)] = 1;
      CHECK(codec_text(map) == "{\"" + std::string(row.compact) + "\":1}");
      CHECK(codec_text(map, kt::JsonStyle::spaced) == "{\"" + std::string(row.spaced) + "\": 1}");
    }
  }

  TEST_CASE("lists, maps, bytes and ext values have their form in each style") {
    const kt::json value = {{"b", {1, -2, nullptr}},
                            {"a", {{"x", true}}},
                            {"bytes", kt::bytes("\xC3\xA9\n")},
                            {"raw", kt::bytes("\xFF")},
                            {"ext", codec_ext(-1, "abcd")},
                            {"empty", kt::json::array({kt::json::array(), kt::json::object()})}};
    CHECK(
        codec_text(value) ==
        R"({"b":[1,-2,null],"a":{"x":true},"bytes":{"__base64__":"w6kK"},"raw":{"__base64__":"/w=="},"ext":{"__ext__":[-1,"YWJjZA=="]},"empty":[[],{}]})");
    CHECK(
        codec_text(value, kt::JsonStyle::spaced) ==
        R"({"b": [1, -2, null], "a": {"x": true}, "bytes": {"__base64__": "w6kK"}, "raw": {"__base64__": "/w=="}, "ext": {"__ext__": [-1, "YWJjZA=="]}, "empty": [[], {}]})");
    CHECK(
        codec_text(value, kt::JsonStyle::terminal) ==
        R"({"b": [1, -2, null], "a": {"x": true}, "bytes": {"__bytes__": "\u00e9\n"}, "raw": {"__base64__": "/w=="}, "ext": {"__ext__": [-1, "YWJjZA=="]}, "empty": [[], {}]})");
    CHECK(codec_text(kt::bytes(""), kt::JsonStyle::terminal) == "{\"__bytes__\": \"\"}");
  }

  TEST_CASE("binary that only claims to be a big integer is written as an ext value") {
    CHECK(codec_text(codec_ext(1, "-ff")) == "-255");
    CHECK(codec_text(codec_ext(1, "0XFF")) == "255");
    CHECK(codec_text(codec_ext(1, "zz")) == "{\"__ext__\":[1,\"eno=\"]}");
    CHECK(codec_text(codec_ext(1, "")) == "{\"__ext__\":[1,\"\"]}");
    CHECK(codec_text(codec_ext(1, std::string(1025, 'f'))).substr(0, 14) == "{\"__ext__\":[1,");
    CHECK(codec_text(codec_ext(127, "")) == "{\"__ext__\":[127,\"\"]}");
    CHECK(codec_text(codec_ext(128, "")) == "{\"__ext__\":[-128,\"\"]}");
    CHECK(codec_text(kt::json::binary({}, 256)) == "bad-body");
    CHECK(codec_text(kt::json::array({"x", kt::json(kt::json::value_t::discarded)})) == "bad-body");
  }

  TEST_CASE("values survive JSON in every style, and damaged text does no harm") {
    CodecRandom random(4);
    for (int i = 0; i < 600; ++i) {
      const kt::json value = random.value(3);
      for (const kt::JsonStyle style : {kt::JsonStyle::compact, kt::JsonStyle::spaced, kt::JsonStyle::terminal}) {
        const std::string text = codec_text(value, style);
        kt::json back;
        REQUIRE(!kt::decode_json(Block(text).text(), back));
        CHECK(codec_text(back, style) == text);
        if (text.find("__ext__") == std::string::npos) CHECK(back == value);
        std::string damaged = text;
        damaged[random.index(text.size())] = static_cast<char>(random.number(256));
        if (!kt::decode_json(Block(damaged).text(), back)) CHECK(codec_text(back).size() > 0);
      }
    }
  }
}
