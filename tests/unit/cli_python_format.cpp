// SPDX-License-Identifier: MIT
#include "cli/python_format.ipp"
#include "support.hpp"

namespace {

// The words for what JSON does not have, see tests/python_format/generate.py.
json in_cpp(const json& value) {
  if (value.is_object() && value.size() == 1 && value.contains("__float__"))
    return json(std::stod(value["__float__"].get<std::string>()));
  json result = value;
  if (value.is_structured()) {
    for (json& item : result) item = in_cpp(item);
  }
  return result;
}

std::string formatted(std::string_view format, const json& values) { return kt::detail::apply_format(format, values); }

}  // namespace

TEST_SUITE("cli/python_format") {
  TEST_CASE("a _format makes what Python makes of it, and is refused where Python raises") {
    std::istringstream lines(contents("tests/python_format/table.jsonl"));
    int results = 0, refusals = 0;
    for (std::string line; std::getline(lines, line);) {
      json row;
      REQUIRE_FALSE(kt::decode_json(line, row));
      const std::string format = row[0].get<std::string>();
      const json values = in_cpp(row[1]);
      CAPTURE(format);
      if (row[2].is_null()) {
        ++refusals;
        CHECK_THROWS_AS(formatted(format, values), kt::detail::FormatError);
        continue;
      }
      ++results;
      try {
        CHECK(formatted(format, values) == row[2].get<std::string>());
      } catch (const kt::detail::FormatError& error) {
        FAIL_CHECK(error.what());
      }
    }
    CHECK(results >= 500);
    CHECK(refusals >= 80);
  }

  TEST_CASE("what is wrong with a _format is said with the part of it that is meant") {
    const auto refused = [](std::string_view format, const char* why) {
      CAPTURE(format);
      CHECK_THROWS_WITH_AS(formatted(format, {{"n", 1}, {"s", "text"}}), doctest::Contains(why),
                           kt::detail::FormatError);
    };
    refused("%(n)d %(missing)5d", "'%(missing)': the result has no 'missing'");
    refused("%(n)d %(s)5d.", "'%(s)5d': a number is required");
    refused("%(s)x", "'%(s)x': an integer is required");
    refused("%(n)", "incomplete format");
    refused("100%", "'%': incomplete format");
    refused("%(n)y", "unsupported format character");
    refused("\033%(s", "'%(s': incomplete format");
    refused("%(n\033[2J)d", "'%(n\\x1b[2J)'");
  }

  TEST_CASE("a format costs no more than what it makes (163)") {
    const std::clock_t begin = std::clock();  // of this process alone, whatever runs beside it
    std::string format;
    const auto refused = [](const std::string& text, const json& values) {
      CHECK_THROWS_WITH_AS(formatted(text, values), doctest::Contains("the text becomes too long"),
                           kt::detail::FormatError);
    };
    for (int i = 0; i < 20'000; ++i) format += "%(v)9999999d";
    refused(format, {{"v", 1}});
    for (const char* one : {"%(v)99999999999999999999999d", "%(v).999999999d", "%(v).99999999f", "%(v)#.99999999g",
                            "%(v)-99999999s", "%(v)099999999X"})
      refused(one, {{"v", 1}});
    // Of a large value only what is shown, and of many values each at once.
    const json large{{"text", std::string(1'000'000, 'x')}, {"list", json(std::vector<int>(300'000, 7))}};
    format.clear();
    for (int i = 0; i < 20'000; ++i) format += "%(text).1s%(list).1s%(text).0r";
    CHECK(formatted(format, large).size() == 40'000);
    json many = json::object();
    format.clear();
    for (int i = 0; i < 20'000; ++i) {
      many.get_ref<json::object_t&>().emplace_back("k" + std::to_string(i), i);
      format += "%(k" + std::to_string(19'999 - i) + ")s";
    }
    CHECK(formatted(format, many).starts_with("19999199981999719996"));
    CHECK(std::clock() - begin < 10 * CLOCKS_PER_SEC);
  }
}
