// SPDX-License-Identifier: MIT
#include "support.hpp"

// A set of numbers that has a MessagePack ext code of its own.
struct IntSet {
  std::set<int> items;
  bool operator==(const IntSet&) const = default;

  std::string pack() const {
    std::string bytes;
    for (const int item : items) bytes += static_cast<char>(item);
    return bytes;
  }
  static IntSet unpack(std::string_view bytes) {
    IntSet set;
    for (const char byte : bytes) set.items.insert(static_cast<unsigned char>(byte));
    return set;
  }
  static json as_json(std::string_view content) { return json(unpack(content).items); }
  static std::string from_json(const json& list) {
    IntSet set;
    for (const json& item : list) set.items.insert(item.get<int>());
    return set.pack();
  }
};
template <class Json>
void to_json(Json& j, const IntSet& set) {
  j = kt::ext<Json>(2, set.pack());
}
template <class Json>
void from_json(const Json& j, IntSet& set) {
  const auto& binary = j.get_binary();
  set = IntSet::unpack(std::string(binary.begin(), binary.end()));
}

namespace {

// Once for the process: a code that is taken stays taken.
void register_int_set() {
  static std::once_flag once;
  std::call_once(once, [] { kt::register_ext_type({2, "__intset__", IntSet::as_json, IntSet::from_json}); });
}

}  // namespace

TEST_SUITE("wire/ext") {
  TEST_CASE("a type of the program has its own MessagePack code and its own form in JSON") {
    register_int_set();
    CHECK_THROWS_AS(kt::register_ext_type({2, "__other__", IntSet::as_json, IntSet::from_json}), std::invalid_argument);
    CHECK_THROWS_AS(kt::register_ext_type({1, "__big__", IntSet::as_json, IntSet::from_json}), std::invalid_argument);
    CHECK_THROWS_AS(kt::register_ext_type({3, "intset", IntSet::as_json, IntSet::from_json}), std::invalid_argument);
    const IntSet set{{1, 7}};
    std::string text, bytes;
    CHECK_FALSE(kt::encode_json(json{{"set", json(set)}}, text));
    CHECK(text == R"({"set":{"__intset__":[1,7]}})");
    CHECK_FALSE(kt::encode_msgpack(json(set), bytes));
    CHECK(bytes == "\xd5\x02\x01\x07");
    json back;
    CHECK_FALSE(kt::decode_json(text, back));
    CHECK(back["set"].get<IntSet>() == set);
    CHECK_FALSE(kt::decode_msgpack(bytes, back));
    CHECK(back.get<IntSet>() == set);
    CHECK(kt::decode_json(R"({"__intset__": ["x"]})", back).why == "not the JSON form of an ext type");
    CHECK_FALSE(kt::decode_json(R"({"__intset__": [1], "more": 2})", back));
    CHECK(back.size() == 2);
  }
}

TEST_SUITE("call/convert") {
  TEST_CASE("a type with a MessagePack code of its own is an argument and a result") {
    register_int_set();
    Home home;
    home.kitten.api(
        "grow",
        [](IntSet grown, int item) {
          grown.items.insert(item);
          return grown;
        },
        kt::arg("set"), kt::arg("item"));
    home.start();
    CHECK(home.kitten.connect().call<IntSet>("grow", IntSet{{1, 7}}, 3) == IntSet{{1, 3, 7}});
    CHECK(home.result("grow", R"({"set": {"__intset__": [9]}, "item": 4})").dump() == R"({"__intset__":[4,9]})");
  }
}
