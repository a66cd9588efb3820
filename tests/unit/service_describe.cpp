// SPDX-License-Identifier: MIT
#include <unistd.h>

#include "services.hpp"
#include "support.hpp"

// Apart, for other tests have types of these names.
namespace describing {
namespace {

enum class Mood { calm, shy, wild };
NLOHMANN_JSON_SERIALIZE_ENUM(Mood, {{Mood::calm, "calm"}, {Mood::shy, "shy"}, {Mood::wild, "wild"}})

struct Visit {
  std::string who;
  Mood mood = Mood::calm;
  std::vector<std::string> gifts;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Visit, who, mood, gifts)

// The names in a list of things that have one.
std::vector<std::string> names_in(const json& list) {
  std::vector<std::string> names;
  for (const json& one : list) names.push_back(one["name"].get<std::string>());
  return names;
}

const json& named(const json& list, const std::string& name) {
  for (const json& one : list) {
    if (one["name"] == name) return one;
  }
  FAIL("there is no " << name);
  return list;
}

// A service whose parameters have limits.
struct Limited : Home {
  Limited() {
    kitten.api(
        "purr", [](int count, std::string sound) { return sound + std::to_string(count); }, "Purrs.",
        kt::arg("count").doc("How often.\nNot more.").min(1).max(9) = 3,
        kt::arg("sound").choices({"rr", "prr"}) = "rr");
    kitten.api(
        "weigh", [](double kilos, std::optional<int> age) { return kilos + age.value_or(0); },
        kt::arg("kilos").min(0.5), (kt::arg("age") = nullptr).max(30));
    kitten.api(
        "feed", [](std::vector<std::string> food, Mood mood) { return std::pair(food, mood); },
        kt::arg("food").choices(std::vector<std::string>{"fish", "mice"}) = std::vector<std::string>(),
        kt::arg("mood").choices({"calm", "shy"}) = "calm");
    kitten.api(
        "any", [](kt::json value) { return value; }, kt::arg("value").choices({1, "one", nullptr}));
    kitten.public_api(
        "open", [](std::uint64_t n) { return n; }, kt::arg("n").min(10u));
  }
};

}  // namespace

TEST_SUITE("service/describe") {
  TEST_CASE("describe tells what a service is, and its methods by name and their arguments in order") {
    Home home;
    home.kitten.api(
        "visit", [](Visit visit, int days) { return days > 0 ? visit : Visit(); }, "Comes along.",
        kt::arg("visit").doc("Who comes."), kt::arg("days") = 2);
    home.kitten.public_api(
        "meow", [] { return kt::text("Meow!\n"); }, "Meow.", kt::read_only);
    home.kitten.api("items", items, "Streams.", kt::arg("count"), kt::arg("text") = "x");
    home.kitten.api(
        "cat", [](kt::File file) { return file.get(); }, kt::arg("file"));
    const double before = static_cast<double>(std::time(nullptr));
    home.start();
    const json all = home.result("describe");
    CHECK(all["kettlingar"] == 1);
    CHECK(all["app"] == "testkitten");
    CHECK(all["worker"] == "Kitty");
    CHECK(all["description"] == "A kitten under test");
    CHECK(all["version"].get<std::string>().starts_with(std::to_string(KETTLINGAR_VERSION_MAJOR) + "."));
    CHECK(all["pid"] == ::getpid());
    CHECK(all["started"].get<double>() >= before - 1);
    CHECK(all["started"].get<double>() <= static_cast<double>(std::time(nullptr)) + 1);
    CHECK(names_in(all["methods"]) == std::vector<std::string>{"cat", "config", "describe", "help", "items", "meow",
                                                               "openapi", "ping", "quitquitquit", "visit"});
    const json& visit = named(all["methods"], "visit");
    CHECK(visit.dump() ==
          R"({"name":"visit","doc":"Comes along.","public":false,"builtin":false,"stream":false,"read_only":false,)"
          R"("hidden":false,"descriptors":false,"args":[)"
          R"({"name":"visit","type":"Visit","required":true,"schema":{"$ref":"#/$defs/Visit"},"doc":"Who comes."},)"
          R"({"name":"days","type":"int","required":false,"default":2,)"
          R"("schema":{"type":"integer","minimum":-2147483648,"maximum":2147483647},"doc":""}],)"
          R"("returns":{"type":"Visit","schema":{"$ref":"#/$defs/Visit"}}})");
    CHECK(all["$defs"]["Visit"]["properties"]["mood"]["enum"].size() == 3);
    CHECK(named(all["methods"], "meow")["public"] == true);
    CHECK(named(all["methods"], "meow")["read_only"] == true);
    CHECK(named(all["methods"], "items")["stream"] == true);
    CHECK(named(all["methods"], "items")["returns"]["type"] == "Item");
    CHECK(named(all["methods"], "cat")["descriptors"] == true);
    for (const char* reads : {"ping", "help", "describe", "openapi"})
      CHECK(named(all["methods"], reads)["read_only"] == true);
    for (const char* acts : {"config", "quitquitquit"}) CHECK(named(all["methods"], acts)["read_only"] == false);
    for (const char* ours : {"ping", "help", "describe", "openapi", "config", "quitquitquit"})
      CHECK(named(all["methods"], ours)["builtin"] == true);
  }

  TEST_CASE("of one method, describe tells that and its types only") {
    Home home;
    home.kitten.api(
        "visit", [](Visit visit) { return visit.who; }, kt::arg("visit"));
    home.kitten.api("add", add, kt::arg("a"), kt::arg("b"));
    home.start();
    const json one = home.result("describe", R"({"method": "add"})");
    CHECK(names_in(one["methods"]) == std::vector<std::string>{"add"});
    CHECK(one["$defs"] == json::object());
    CHECK(home.result("describe", R"({"method": null})")["methods"].size() > 2);
    // Not 404, which says that a service has no such method as describe.
    CHECK(home.error("describe", R"({"method": "ad"})") == "describe: no method 'ad' (did you mean 'add'?)");
  }

  TEST_CASE("describe is for those who know the token") {
    Home home;
    home.start();
    CHECK(Wire::tcp(home.kitten).send(home.get("/describe")).answer().status ==
          Wire::tcp(home.kitten).send(home.get("/nothing")).answer().status);
  }

  TEST_CASE("describe shows options with values and defaults, and secrets without") {
    Home home;
    double pause = 1;
    std::string key = "hush-hush";
    home.kitten.option("pause", pause, "Seconds.").secret_option("api_key", key, "Of the shop.");
    home.start();
    home.result("config", R"({"key": "pause", "val": 2.5})");
    const Answer answer = home.call("describe");
    CHECK_FALSE(contains(answer.body, "hush-hush"));
    CHECK_FALSE(contains(answer.body, home.kitten.token()));
    const json all = json::parse(answer.body);
    CHECK(
        named(all["options"], "pause").dump() ==
        R"({"name":"pause","type":"float","value":2.5,"default":1.0,"help":"Seconds.","secret":false,"at_start":false})");
    const json& secret = named(all["options"], "api_key");
    CHECK(secret["secret"] == true);
    CHECK_FALSE(secret.contains("value"));
    CHECK_FALSE(secret.contains("default"));
    CHECK(named(all["options"], "worker_listen_port")["at_start"] == true);
  }

  TEST_CASE("methods that are added later are described, and their types") {
    Home home;
    home.start();
    CHECK(home.error("describe", R"({"method": "visit"})") == "describe: no method 'visit'");
    home.kitten.api(
        "visit", [](Visit visit) { return visit.who; }, kt::arg("visit"));
    CHECK(home.result("describe", R"({"method": "visit"})")["$defs"].contains("Visit"));
  }

  TEST_CASE("within the process, describe works without a running service") {
    Home home;
    home.kitten.api("add", add, kt::arg("a"), kt::arg("b"));
    const json all = home.kitten.loopback().call<json>("describe", kt::arg("method") = "add");
    CHECK(all["started"].is_null());
    CHECK(all["methods"][0]["args"][1]["name"] == "b");
  }

  TEST_CASE("hidden methods are called as all others, and are in no list for people") {
    Home home;
    home.kitten.api(
        "shown", [] { return 1; }, kt::read_only);
    home.kitten.api(
        "inner", [](int n) { return n; }, "Inside.", kt::hidden, kt::arg("n"), kt::read_only);
    kt::Topic<int> ticks;
    home.kitten.api("ticks", ticks, "Ticks.", kt::hidden);
    home.start();
    CHECK(home.result("inner", R"({"n": 3})") == 3);
    const std::string help = home.result("help").get<std::string>();
    CHECK(contains(help, "API Commands: shown\n"));
    CHECK(contains(home.result("help", R"({"command": "inner"})").get<std::string>(), "/inner <n>"));
    const json all = home.result("describe");
    CHECK(named(all["methods"], "inner")["hidden"] == true);
    CHECK(named(all["methods"], "inner")["read_only"] == true);
    CHECK(named(all["methods"], "ticks")["hidden"] == true);
    CHECK(named(all["methods"], "ticks")["stream"] == true);
    CHECK(named(all["methods"], "shown")["hidden"] == false);
    CHECK(home.result("ping")["methods"].contains("inner"));  // clients of Python call what is in there
  }

  TEST_CASE_FIXTURE(Limited, "choices and bounds are in the schema, and docs beside it") {
    start();
    const json all = result("describe");
    const json& purr = named(all["methods"], "purr")["args"];
    CHECK(purr[0]["doc"] == "How often.\nNot more.");
    CHECK(purr[0]["schema"].dump() == R"({"type":"integer","minimum":1,"maximum":9})");
    CHECK(purr[1]["schema"].dump() == R"({"type":"string","enum":["rr","prr"]})");
    const json& weigh = named(all["methods"], "weigh")["args"];
    CHECK(weigh[0]["schema"].dump() == R"({"type":"number","format":"double","minimum":0.5})");
    CHECK(weigh[1]["schema"]["type"].dump() == R"(["integer","null"])");
    CHECK(weigh[1]["schema"]["maximum"] == 30);
    const json& feed = named(all["methods"], "feed")["args"];
    CHECK(feed[0]["schema"].dump() == R"({"type":"array","items":{"type":"string","enum":["fish","mice"]}})");
    CHECK(feed[1]["schema"].dump() == R"({"type":"string","enum":["calm","shy"]})");
    CHECK(named(all["methods"], "any")["args"][0]["schema"].dump() == R"({"enum":[1,"one",null]})");
  }

  TEST_CASE_FIXTURE(Limited, "calls keep to choices and bounds, in whatever form a value comes") {
    start();
    CHECK(result("purr") == "rr3");
    CHECK(result("purr", R"({"count": 9, "sound": "prr"})") == "prr9");
    CHECK(result("purr", R"({"_args": ["0x1"]})") == "rr1");
    CHECK(error("purr", R"({"count": 10})") ==
          "purr: argument 'count': invalid literal, expected int from 1 to 9, got 10");
    CHECK(error("purr", R"({"_args": ["0"]})") ==
          "purr: argument 'count': invalid literal, expected int from 1 to 9, got \"0\"");
    CHECK(error("purr", R"({"count": "many"})") ==
          "purr: argument 'count': invalid literal, expected int from 1 to 9, got \"many\"");
    CHECK(error("purr", R"({"sound": "miau"})") ==
          "purr: argument 'sound': invalid literal, expected one of \"rr\", \"prr\", got \"miau\"");
    CHECK(result("weigh", R"({"kilos": 0.5, "age": null})") == 0.5);
    CHECK(result("weigh", R"({"kilos": "1e0", "age": 30})") == 31);
    CHECK(error("weigh", R"({"kilos": 0.4})") ==
          "weigh: argument 'kilos': invalid literal, expected float at least 0.5, got 0.4");
    CHECK(contains(error("weigh", R"({"kilos": "nan"})"), "expected float at least 0.5"));
    CHECK(error("weigh", R"({"kilos": 4, "age": 31})") ==
          "weigh: argument 'age': invalid literal, expected int at most 30, got 31");
    CHECK(result("feed", R"({"food": ["mice", "fish"], "mood": "shy"})") == R"([["mice","fish"],"shy"])"_json);
    CHECK(result("feed", R"({"food": "[\"mice\"]"})")[0] == R"(["mice"])"_json);
    CHECK(error("feed", R"({"food": ["mice", "dogs"]})") ==
          "feed: argument 'food[1]': invalid literal, expected one of \"fish\", \"mice\", got \"dogs\"");
    CHECK(error("feed", R"({"food": 5})") == "feed: argument 'food': invalid literal, expected list, got 5");
    CHECK(error("feed", R"({"mood": "wild"})") ==
          "feed: argument 'mood': invalid literal, expected one of \"calm\", \"shy\", got \"wild\"");
    CHECK(result("any", R"({"value": null})").is_null());
    CHECK(result("any", R"({"value": 1})") == 1);
    CHECK(contains(error("any", R"({"value": 2})"), "expected one of 1, \"one\", null, got 2"));
    CHECK(result("open", R"({"n": 18446744073709551615})") == 18446744073709551615u);
  }

  TEST_CASE_FIXTURE(Limited, "the same holds for calls in MessagePack, within the process, and in a query") {
    start();
    kt::Client client = kitten.connect();
    CHECK(client.call<std::string>("purr", 9) == "rr9");
    CHECK_THROWS_WITH_AS(client.call("purr", 12), doctest::Contains("expected int from 1 to 9, got 12"),
                         kt::InvalidArgument);
    CHECK_THROWS_WITH_AS(kitten.loopback().call("purr", kt::arg("sound") = "miau"),
                         doctest::Contains("expected one of"), kt::InvalidArgument);
    const Answer answer = Wire::tcp(kitten).send(get(path("purr?count=12"))).answer();
    CHECK(answer.status == 400);
    CHECK(contains(answer.body, "expected int from 1 to 9, got "));
  }

  TEST_CASE_FIXTURE(Limited, "what a stranger has sent is not repeated") {
    start();
    const Answer answer = Wire::tcp(kitten).send(post("/open", R"({"n": 3})")).answer();
    CHECK(answer.status == 400);
    CHECK(contains(answer.body, "expected int at least 10"));
    CHECK_FALSE(contains(answer.body, "got"));
  }

  TEST_CASE_FIXTURE(Limited, "help shows docs, choices, bounds, and the fields of structs") {
    kitten.api(
        "visit", [](Visit visit) { return visit; }, "Comes along.", kt::arg("visit"), kt::read_only);
    kitten.api(
        "moods", [](std::optional<Mood> mood) { return mood; }, kt::arg("mood") = nullptr);
    start();
    const auto help = [&](const std::string& method) {
      return result("help", json{{"command", method}}.dump()).get<std::string>();
    };
    CHECK(help("purr") ==
          "/purr [--count=3] [--sound=rr]\n\n"
          "Purrs.\n\n"
          "Arguments, in this order or by name:\n"
          "  count  int, default 3, from 1 to 9\n"
          "         How often.\n"
          "         Not more.\n"
          "  sound  str, default \"rr\", one of \"rr\", \"prr\"\n");
    CHECK(contains(help("weigh"), "  age    int | None, default null, at most 30\n"));
    CHECK(contains(help("feed"), "  food  list, default [], each one of \"fish\", \"mice\"\n"));
    CHECK(contains(help("moods"), "  mood  Mood | None, default null, one of \"calm\", \"shy\", \"wild\"\n"));
    CHECK(help("visit") ==
          "/visit <visit>\n\n"
          "Comes along.\n\n"
          "Arguments, in this order or by name:\n"
          "  visit  Visit, required\n\n"
          "Visit:\n"
          "  gifts  list of str, required\n"
          "  mood   one of \"calm\", \"shy\", \"wild\", required\n"
          "  who    str, required\n\n"
          "Returns Visit.\n\n"
          "Changes nothing.\n");
  }

  TEST_CASE("choices and bounds that cannot be are found where the method is added") {
    Home home;
    const auto refused = [&](const kt::Arg& argument, auto handler) {
      try {
        home.kitten.api("method", handler, argument);
      } catch (const std::invalid_argument& error) {
        return std::string(error.what());
      }
      return std::string("taken");
    };
    const auto number = [](int n) { return n; };
    const auto text = [](std::string s) { return s; };
    CHECK(refused(kt::arg("n").min(1).max(9), number) == "taken");
    CHECK(refused(kt::arg("n").choices({"1", 0x2}), number) == "taken");
    CHECK(contains(refused(kt::arg("n").min(9).max(1), number), "the least value is above the greatest"));
    CHECK(contains(refused(kt::arg("n").min(0.5), number), "a choice or bound does not fit: expected int, got 0.5"));
    CHECK(contains(refused(kt::arg("n").choices({"a"}), number), "does not fit: expected int, got \"a\""));
    CHECK(contains(refused(kt::arg("n").choices({}), number), "there are no choices"));
    CHECK(contains(refused(kt::arg("n").min(1) = 0, number), "default of method: argument 'n'"));
    CHECK(contains(refused(kt::arg("n").min(1) = 0, number), "expected int at least 1, got 0"));
    CHECK(contains(refused(kt::arg("s").choices({"a", "b"}) = "c", text), "expected one of \"a\", \"b\", got \"c\""));
    CHECK(contains(refused(kt::arg("s").max(1), text), "does not fit"));
    CHECK(
        contains(refused(kt::arg("m").choices({"angry"}), [](Mood mood) { return mood; }), "expected one of \"calm\""));
    const std::string kinds = "choices and bounds are for numbers, text, enumerations, and lists of them";
    CHECK(contains(refused(kt::arg("v").min(1), [](Visit visit) { return visit; }), kinds));
    CHECK(contains(refused(kt::arg("f").choices({"a"}), [](kt::File file) { return file; }), kinds));
  }
}

}  // namespace describing
