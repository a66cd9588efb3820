// SPDX-License-Identifier: MIT
#include "services.hpp"
#include "support.hpp"

namespace {

enum class Plain { one = 1, two = 2 };
enum class Mood { happy, sleepy };
NLOHMANN_JSON_SERIALIZE_ENUM(Mood, {{Mood::happy, "happy"}, {Mood::sleepy, "sleepy"}})

struct Measured {
  double at = 0;
  std::vector<double> values;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Measured, at, values)

struct Long {
  std::uint64_t number = 0;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Long, number)

// The text of the refusal, or nothing if `value` becomes a T.
template <class T>
std::string refusal(const json& value) {
  try {
    static_cast<void>(kt::detail::from_json<T>(value));
    return "";
  } catch (const kt::detail::BadValue& bad) {
    return bad.expected;
  }
}
template <class T>
T converted(const json& value) {
  return kt::detail::from_json<T>(value);
}

}  // namespace

TEST_SUITE("call/convert") {
  TEST_CASE("integers come as numbers or as text in four bases") {
    CHECK(converted<int>(42) == 42);
    CHECK(converted<int>("42") == 42);
    CHECK(converted<int>("-42") == -42);
    CHECK(converted<int>("+42") == 42);
    CHECK(converted<int>("0xa") == 10);
    CHECK(converted<int>("0XA") == 10);
    CHECK(converted<int>("-0x1f") == -31);
    CHECK(converted<int>("0o17") == 15);
    CHECK(converted<int>("0b101") == 5);
    CHECK(converted<int>("1_000") == 1000);
    CHECK(converted<int>(2.0) == 2);
    CHECK(converted<int>(kt::bytes("7")) == 7);
    CHECK(converted<std::int64_t>("-9223372036854775808") == std::numeric_limits<std::int64_t>::min());
    CHECK(converted<std::uint64_t>("18446744073709551615") == std::numeric_limits<std::uint64_t>::max());
    CHECK(converted<std::uint64_t>(std::uint64_t{1} << 63) == std::uint64_t{1} << 63);
  }

  TEST_CASE("nothing becomes an integer by accident") {
    for (const json& value :
         {json(1.9),     json("1.9"),  json(""),    json("-"),          json("0x"),       json("1 1"),
          json("+-1"),   json("_1"),   json("1_"),  json("1__0"),       json("elephant"), json("1e3"),
          json(nullptr), json(true),   json(1e300), json(std::nan("")), json::array(),    json::object(),
          json("--1"),   json("0x-1"), json(" "),   json("+"),          json("- 1")}) {
      CAPTURE(value.dump());
      CHECK(refusal<std::int64_t>(value) == "int");
    }
    for (const char* huge : {"99999999999999999999", "-99999999999999999999", "0xfffffffffffffffff"}) {
      CHECK(refusal<int>(huge) == "int from -2147483648 to 2147483647");
      CHECK(refusal<std::uint64_t>(huge) == "int from 0 to 18446744073709551615");
      CHECK(refusal<std::int64_t>(huge) == "int from -9223372036854775808 to 9223372036854775807");
    }
    CHECK(refusal<std::uint8_t>(256) == "int from 0 to 255");
    CHECK(refusal<std::uint8_t>(-1) == "int from 0 to 255");
    CHECK(refusal<std::int8_t>("-129") == "int from -128 to 127");
    CHECK(refusal<int>(2147483648) == "int from -2147483648 to 2147483647");
    CHECK(refusal<std::uint64_t>("-1") == "int from 0 to 18446744073709551615");
  }

  TEST_CASE("a bool is yes or no, and nothing else is no") {
    for (const char* yes : {"true", "T", "yes", "Y", "1", "on"}) CHECK(converted<bool>(yes));
    for (const char* no : {"false", "F", "No", "n", "0", "off"}) CHECK_FALSE(converted<bool>(no));
    CHECK(converted<bool>(true));
    CHECK(converted<bool>(1));
    CHECK_FALSE(converted<bool>(0));
    for (const json& value : {json("banana"), json(""), json(2), json(nullptr), json(0.5), json::array()}) {
      CHECK(refusal<bool>(value) == "bool (yes or no)");
    }
  }

  TEST_CASE("text becomes a number by the same rules for every type of number") {
    for (const char* thousand : {" 1000", "1000\t", "\r\n 1000 \v\f", "1_000", "+1_0_0_0", " +1000 "}) {
      CAPTURE(thousand);
      CHECK(converted<int>(thousand) == 1000);
      CHECK(converted<std::uint64_t>(thousand) == 1000);
      CHECK(converted<double>(thousand) == 1000.0);
      CHECK(converted<float>(thousand) == 1000.0F);
    }
    CHECK(converted<int>(" -0x1_f ") == -31);
    for (const char* nothing : {"+-1", "-+1", "--1", "++1", "1 000", "- 1", "_1", "1_", "1__0", "", " ", "+", "-",
                                "1,5", "elephant", "1a", "."}) {
      CAPTURE(nothing);
      CHECK(refusal<int>(nothing) == "int");
      CHECK(refusal<std::uint8_t>(nothing) == "int");
      CHECK(refusal<double>(nothing) == "float");
      CHECK(refusal<float>(nothing) == "float");
    }
  }

  TEST_CASE("text becomes the nearest float, and what is too large for it is refused") {
    CHECK(converted<double>(1) == 1.0);
    CHECK(converted<double>("-2.5e3") == -2500.0);
    CHECK(converted<double>("+1.5") == 1.5);
    CHECK(converted<double>(".5") == 0.5);
    CHECK(converted<double>("5.") == 5.0);
    CHECK(converted<double>("1_0.2_5E+0_1") == 102.5);
    CHECK(converted<double>("0.1") == 0.1);
    CHECK(converted<double>("4.9e-324") == 4.9e-324);
    CHECK(converted<double>("1.7976931348623157e308") == std::numeric_limits<double>::max());
    for (const char* infinite : {"inf", "+Inf", "INFINITY"})
      CHECK(converted<double>(infinite) == std::numeric_limits<double>::infinity());
    CHECK(converted<double>("-inf") == -std::numeric_limits<double>::infinity());
    CHECK(std::isnan(converted<double>("NaN")));
    const std::string many(400, '0');
    for (const std::string& tiny : {"1e-400"s, "0." + many + "1", "1" + many + "e-900", "0e999999999999999999"s}) {
      CAPTURE(tiny);
      CHECK(converted<double>(tiny) == 0.0);
      CHECK(std::signbit(converted<double>("-" + tiny)));
    }
    for (const std::string& huge :
         {"1e400"s, "1" + many, "-1" + many + "e-1", "0." + many + "1e900", "1e999999999999999999"s}) {
      CAPTURE(huge);
      CHECK(refusal<double>(huge) == "float that fits");
      CHECK(refusal<float>(huge) == "float that fits");
    }
    CHECK(refusal<float>("1e39") == "float that fits");
    CHECK(converted<float>("1e-50") == 0.0F);
    for (const json& value : {json("0x10"), json(nullptr), json(true), json("1e"), json("1e+"), json("e5"),
                              json("infin"), json("nan(1)"), json("1.2.3"), json("1e5e5")}) {
      CAPTURE(value.dump());
      CHECK(refusal<double>(value) == "float");
    }
  }

  TEST_CASE("text stays text, bytes are bytes") {
    CHECK(converted<std::string>("x") == "x");
    CHECK(converted<std::string>(kt::bytes("\xc3\xa9")) == "\xc3\xa9");
    CHECK(refusal<std::string>(kt::bytes("\xff")) == "str");
    CHECK(refusal<std::string>(5) == "str");
    CHECK(refusal<std::string>(nullptr) == "str");
    CHECK(converted<kt::Bytes>(kt::bytes("ab")) == kt::Bytes{'a', 'b'});
    CHECK(converted<kt::Bytes>("ab") == kt::Bytes{'a', 'b'});
    CHECK(refusal<kt::Bytes>(3) == "bytes");
  }

  TEST_CASE("every number that JSON has becomes the nearest double, wherever a double is wanted") {
    const auto read = [](const std::string& text) {
      json value;
      REQUIRE(!kt::decode_json(text, value));
      return value;
    };
    const std::pair<const char*, double> rows[] = {{"0", 0},
                                                   {"9007199254740993", 9007199254740992.0},
                                                   {"18446744073709551615", 18446744073709551616.0},
                                                   {"18446744073709551616", 18446744073709551616.0},
                                                   {"-9223372036854775809", -9223372036854775808.0},
                                                   {"100000000000000000000", 1e20},
                                                   {"-100000000000000000000", -1e20},
                                                   {"1000000000000000000000", 1e21},
                                                   {"36893488147419107329", 36893488147419111424.0},  // up
                                                   {"36893488147419107328", 36893488147419103232.0},  // to even
                                                   {"1e20", 1e20},
                                                   {"1E+2", 100},
                                                   {"1e-400", 0},
                                                   {"4.9e-324", 4.9e-324}};
    for (const auto& [text, number] : rows) {
      CAPTURE(text);
      const json value = read(text);
      CHECK(converted<double>(value) == number);
      CHECK(converted<float>(value) == static_cast<float>(number));
      CHECK(converted<std::optional<double>>(value) == number);
      const std::string list = "["s + text + ", 1]";
      CHECK(converted<std::vector<double>>(read(list)) == std::vector<double>{number, 1});
      CHECK(converted<std::vector<double>>(list) == std::vector<double>{number, 1});  // from a command line
      CHECK(converted<std::map<std::string, double>>(read("{\"a\": "s + text + "}")).at("a") == number);
      CHECK(converted<std::pair<double, int>>(read(list)) == std::pair(number, 1));
      const std::string measured = "{\"at\": "s + text + ", \"values\": [" + text + "]}";
      for (const json& input : {read(measured), json(measured)}) {
        CHECK(converted<Measured>(input).at == number);
        CHECK(converted<Measured>(input).values == std::vector<double>{number});
      }
      CHECK(converted<std::vector<Measured>>(read("[" + measured + "]")).at(0).at == number);
    }
    std::string largest =
        "179769313486231580794";  // 2^1024 - 2^970 has 309 digits; what is nearer to 2^1024 does not fit
    largest.resize(309, '0');
    CHECK(refusal<double>(read(largest)) == "float that fits");
    largest.replace(0, 21, "179769313486231570000");
    CHECK(converted<double>(read(largest)) == std::numeric_limits<double>::max());
    CHECK(refusal<double>(read("1" + std::string(400, '0'))) == "float that fits");
    CHECK(refusal<float>(read("1" + std::string(39, '0'))) == "float that fits");
    // What is no number does not become one, and integers stay exact.
    CHECK(refusal<double>(json::binary({'f', 'f'}, 1)) == "");
    for (const json& other : {json::binary({'f', 'f'}, 2), json::binary({}, 1), json::binary({'x'}, 1), kt::bytes("x")})
      CHECK(refusal<double>(other) == "float");
    CHECK(refusal<std::int64_t>(read("100000000000000000000")) ==
          "int from -9223372036854775808 to 9223372036854775807");
    CHECK(refusal<Item>(read(R"({"text": "", "number": 100000000000000000000})")) == "whole number that fits");
    CHECK(refusal<Long>(read(R"({"number": 18446744073709551616})")) == "whole number that fits");
    CHECK(refusal<Long>(read(R"({"number": 1e19})")) == "whole number that fits");
    CHECK(converted<Long>(read(R"({"number": 1e15})")).number == 1'000'000'000'000'000);
    // Whoever asks for JSON gets the integer as it came.
    CHECK(converted<nlohmann::json>(read("[100000000000000000000]"))[0].is_binary());
  }

  TEST_CASE("lists, maps, optionals, enumerations with names and user types convert as deeply as they go") {
    CHECK(converted<std::vector<int>>(json::array({1, "0x2"})) == std::vector<int>{1, 2});
    CHECK(converted<std::vector<int>>("[1, 2]") == std::vector<int>{1, 2});
    CHECK(refusal<std::vector<int>>("abc") == "list");
    CHECK(refusal<std::vector<int>>("[1,") == "list (as JSON text)");
    CHECK(refusal<std::vector<int>>(json::array({1, "x"})) == "int");
    CHECK(converted<std::map<std::string, double>>(json{{"a", 1}}).at("a") == 1.0);
    CHECK(refusal<std::map<std::string, double>>(json::array()) == "dict");
    CHECK(converted<std::optional<int>>(nullptr) == std::nullopt);
    CHECK(converted<std::optional<int>>("3") == 3);
    CHECK(converted<std::pair<int, std::string>>(json::array({1, "x"})).second == "x");
    CHECK(refusal<std::pair<int, int>>(json::array({1})) == "list of 2");
    CHECK(converted<Mood>("sleepy") == Mood::sleepy);
    CHECK(refusal<Mood>("angry") == R"(one of "happy", "sleepy")");
    CHECK(converted<Item>(json{{"text", "x"}, {"number", 3}}).number == 3);
    CHECK(converted<Item>(R"({"text": "x", "number": 3})").text == "x");
    CHECK(refusal<Item>(5) == "Item");
    for (const json& number : {json(1.9), json(99999999999), json(true)}) {
      CAPTURE(number.dump());
      CHECK(refusal<Item>(json{{"text", "x"}, {"number", number}}) == "whole number that fits");
      CHECK_FALSE(refusal<std::vector<Item>>(json::array({json{{"text", "x"}, {"number", number}}})).empty());
    }
    CHECK(converted<Item>(json{{"text", "x"}, {"number", 2.0}}).number == 2);
    CHECK(converted<Plain>("2") == Plain::two);
    CHECK(converted<Plain>(1) == Plain::one);
    CHECK(refusal<Plain>("x") == "int");
  }

  TEST_CASE("every kind of value against every type is a value or a refusal") {
    const std::vector<json> values{
        nullptr, true, 0, -1, 1.5, "", "x", "[]", json::array(), json::object(), kt::bytes(""), json::binary({}, 7)};
    for (const json& value : values) {
      refusal<int>(value), refusal<bool>(value), refusal<double>(value), refusal<std::string>(value),
          refusal<kt::Bytes>(value);
      refusal<std::optional<int>>(value), refusal<std::vector<int>>(value), refusal<std::map<std::string, int>>(value);
      refusal<Mood>(value), refusal<Item>(value), refusal<json>(value), refusal<nlohmann::json>(value);
    }
    CHECK(refusal<json>(nullptr).empty());
  }
}
