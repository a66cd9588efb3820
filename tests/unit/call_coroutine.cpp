// SPDX-License-Identifier: MIT
#include "services.hpp"
#include "support.hpp"

TEST_SUITE("call/coroutine") {
  TEST_CASE("a generator yields named items, temporaries with constructors, and converted values") {
    const auto generator = [](std::string text) -> kt::Generator<std::string> {
      co_yield text;
      co_yield text + "!";
      co_yield "a literal that is converted, and also longer than a small buffer";
      std::string named = text + "?";
      co_yield named;
    };
    const auto found = collect(generator(long_text));
    REQUIRE(found.size() == 4);
    CHECK(found[0] == long_text);
    CHECK(found[1] == long_text + "!");
    CHECK(found[3] == long_text + "?");
  }

  TEST_CASE(
      "a generator yields aggregates that have a name, json values, and function results that are no aggregates") {
    CHECK(collect(items(3, long_text)).at(2).text == long_text);
    const auto values = []() -> kt::Generator<json> {
      json map = json::object();
      map["text"] = long_text;
      co_yield map;
      co_yield json(long_text);
      co_yield kt::bytes(long_text);
    };
    CHECK(collect(values()).at(0)["text"] == long_text);
  }

  TEST_CASE("a generator awaits tasks and timers between items, with results and exceptions") {
    const auto twice = [](int n) -> kt::Task<int> {
      co_await kt::sleep_for(1ms);
      if (n == 3) throw std::runtime_error("three");
      co_return 2 * n;
    };
    const auto generator = [](auto task) -> kt::Generator<int> {
      for (int i = 0; i < 5; ++i) {
        int value = -1;
        try {
          value = co_await task(i);
        } catch (const std::runtime_error& error) {
          value = static_cast<int>(std::string(error.what()).size());
        }
        co_yield value;
      }
    };
    CHECK(collect(generator(twice)) == std::vector<int>{0, 2, 4, 5, 8});
  }

  TEST_CASE("a generator takes items from another one and hands its exception on") {
    const auto failing = []() -> kt::Generator<int> {
      co_yield 1;
      co_await kt::sleep_for(0ms);
      throw std::runtime_error("broken");
    };
    CHECK(collect(drained(items(3, long_text))).size() == 3);
    CHECK_THROWS_WITH(collect(drained(failing())), "broken");
  }

  TEST_CASE("a generator that is dropped destroys its locals at once, wherever it is suspended") {
    Happening gone;
    const auto generator = [](Happening* happening) -> kt::Generator<int> {
      const Counted local(happening);
      co_yield 1;
      co_yield 2;
    };
    {
      kt::Generator<int> dropped = generator(&gone);
      asio::io_context loop;
      CHECK(dropped.resume(loop.get_executor()) == kt::Generator<int>::Step::item);
      CHECK(gone.count() == 0);
    }
    CHECK(gone.count() == 1);
  }

  TEST_CASE("a generator that nobody starts runs nothing and can be moved") {
    kt::Generator<Item> first = items(1, long_text);
    kt::Generator<Item> second = std::move(first);
    first = items(2, long_text);
    CHECK(collect(std::move(first)).size() == 2);
    CHECK(collect(kt::Generator<int>{}).empty());
  }
}
