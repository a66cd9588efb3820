// SPDX-License-Identifier: MIT
#include <any>

#include "services.hpp"
#include "support.hpp"

namespace {

enum class Prio { low, normal, high };
NLOHMANN_JSON_SERIALIZE_ENUM(
    Prio,
    {{Prio::low, "low"}, {Prio::normal, "normal"}, {Prio::high, "high"}, {Prio::low, "lowest"}, {Prio::high, "top"}})
// As the documentation of nlohmann_json has it: what is unknown is null.
enum State { stopped, running, invalid = -1 };
NLOHMANN_JSON_SERIALIZE_ENUM(State, {{invalid, nullptr}, {stopped, "stopped"}, {running, "running"}})
enum class Level : unsigned char { one = 1, two };

struct Note {
  std::string title;
  Prio prio = Prio::normal;
  std::optional<int> due;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Note, title, prio, due)

// Whose fields may all be missing.
struct Page {
  std::string head;
  std::vector<Note> notes;
  std::optional<Prio> least;
  std::map<std::string, Prio> tags;
  State state = stopped;
  Level level = Level::one;
  double weight = 0;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(Page, head, notes, least, tags, state, level, weight)

enum class Speed { none, fast, slow };
NLOHMANN_JSON_SERIALIZE_ENUM(Speed, {{Speed::none, "none"}, {Speed::fast, "fast"}, {Speed::slow, "slow"}})
enum class Heat { none, hot, fast };
NLOHMANN_JSON_SERIALIZE_ENUM(Heat, {{Heat::none, "none"}, {Heat::hot, "hot"}, {Heat::fast, "fast"}})
struct Mode {
  std::optional<Heat> least;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(Mode, least)
// Made of anything, or so it says.
struct Greedy {
  Greedy() = default;
  template <class T>
  Greedy(T value) {
    value.no_such_function();
  }
};
struct Trip {
  int numbers[3] = {};
  std::optional<int> count;
  nlohmann::json any;
  std::unique_ptr<int> unused;
  std::string_view view;
  Speed speed = Speed::none;
  Heat heat = Heat::none;
  Mode mode;
  std::vector<Trip> later;
  std::any last = {};
  Greedy greedy = {};
};
void from_json(const nlohmann::json& value, Trip& trip) {
  trip.speed = value.value("speed", Speed::none);
  trip.heat = value.value("heat", Heat::none);
  trip.mode = value.value("mode", Mode());
  for (const nlohmann::json& item : value.value("later", nlohmann::json::array()))
    from_json(item, trip.later.emplace_back());
}
void to_json(nlohmann::json& value, const Trip& trip) {
  value = {{"speed", trip.speed}, {"heat", trip.heat}, {"mode", trip.mode}, {"later", nlohmann::json::array()}};
  for (const Trip& item : trip.later) to_json(value["later"].emplace_back(), item);
}
class Closed {
 public:
  NLOHMANN_DEFINE_TYPE_INTRUSIVE(Closed, speed)
 private:
  Speed speed = Speed::none;
};

// Written by hand: a secret that is not shown, a field with two names, and one that is left out when it is empty.
struct Account {
  std::string user, password;
  std::vector<std::string> groups;
};
void from_json(const nlohmann::json& value, Account& account) {
  account.user = value.contains("name") ? value.at("name").get<std::string>() : value.at("user").get<std::string>();
  account.password = value.value("password", "");
  account.groups = value.value("groups", std::vector<std::string>());
}
void to_json(nlohmann::json& value, const Account& account) {
  value = {{"user", account.user}, {"password", "***"}};
  if (!account.groups.empty()) value["groups"] = account.groups;
}

// A class made of a text, which has another look when it is written.
struct Date {
  int year = 0, month = 0;
};
void from_json(const nlohmann::json& value, Date& date) {
  const std::string text = value.get<std::string>();
  if (std::sscanf(text.c_str(), "%d-%d", &date.year, &date.month) != 2)
    throw nlohmann::json::other_error::create(501, "not a month", &value);
}
void to_json(nlohmann::json& value, const Date& date) {
  value = std::to_string(date.year) + (date.month < 10 ? "-0" : "-") + std::to_string(date.month);
}
struct Stay {
  Date from, to;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Stay, from, to)

// Counts how often it is read.
struct CountedItem {
  int x = 0;
  static inline std::size_t read = 0;
};
void from_json(const nlohmann::json& value, CountedItem& counted) {
  ++CountedItem::read;
  counted.x = value.value("x", 0);
}
void to_json(nlohmann::json& value, const CountedItem& counted) { value = {{"x", counted.x}}; }
struct Shelf {
  std::vector<CountedItem> items;
  int z = 0;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(Shelf, items, z)
enum class Hue {};
NLOHMANN_JSON_SERIALIZE_ENUM(Hue, {{Hue(0), "hue00"},  {Hue(1), "hue01"},  {Hue(2), "hue02"},  {Hue(3), "hue03"},
                                   {Hue(4), "hue04"},  {Hue(5), "hue05"},  {Hue(6), "hue06"},  {Hue(7), "hue07"},
                                   {Hue(8), "hue08"},  {Hue(9), "hue09"},  {Hue(10), "hue10"}, {Hue(11), "hue11"},
                                   {Hue(12), "hue12"}, {Hue(13), "hue13"}, {Hue(14), "hue14"}, {Hue(15), "hue15"},
                                   {Hue(16), "hue16"}, {Hue(17), "hue17"}, {Hue(18), "hue18"}, {Hue(19), "hue19"},
                                   {Hue(20), "hue20"}, {Hue(21), "hue21"}, {Hue(22), "hue22"}, {Hue(23), "hue23"},
                                   {Hue(24), "hue24"}, {Hue(25), "hue25"}, {Hue(26), "hue26"}, {Hue(27), "hue27"},
                                   {Hue(28), "hue28"}, {Hue(29), "hue29"}, {Hue(30), "hue30"}, {Hue(31), "hue31"},
                                   {Hue(32), "hue32"}, {Hue(33), "hue33"}, {Hue(34), "hue34"}, {Hue(35), "hue35"},
                                   {Hue(36), "hue36"}, {Hue(37), "hue37"}, {Hue(38), "hue38"}, {Hue(39), "hue39"}})
struct Palette {
  CountedItem counted;
  std::vector<int> samples;
  Hue hue{};
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(Palette, counted, samples, hue)

struct Corner {
  std::array<int, 4> at{};
  std::pair<int, std::string> named;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(Corner, at, named)

// "PATH: what is wrong", or the value as json.
template <class T>
std::string outcome(const char* text) {
  try {
    return nlohmann::json(kt::detail::from_json<T>(json::parse(text))).dump();
  } catch (const kt::detail::BadValue& bad) {
    return bad.path + ": " + kt::detail::problem_of(bad);
  }
}

const char* const expected_names = R"(expected one of "low", "normal", "high", "lowest", "top", got )";

}  // namespace

TEST_SUITE("call/class_value") {
  TEST_CASE("a text that is no name of an enumeration is refused, with the names, wherever it stands") {
    CHECK(outcome<Prio>(R"("high")") == R"("high")");
    CHECK(outcome<Prio>(R"("lowest")") == R"("low")");
    for (const char* other : {R"("urgent")", R"("")", R"("LOW")", "0", "2", "true", "null", "[]", "{}", "0.5"}) {
      CAPTURE(other);
      const std::string wrong = expected_names + std::string(other);
      CHECK(outcome<Prio>(other) == ": " + wrong);
      const std::string list = std::string("[\"low\", ") + other + "]", map = std::string("{\"a\": ") + other + "}";
      CHECK(outcome<std::vector<Prio>>(list.c_str()) == "[1]: " + wrong);
      CHECK(outcome<std::map<std::string, Prio>>(map.c_str()) == ".a: " + wrong);
      if (other != "null"sv) CHECK(outcome<std::vector<std::optional<Prio>>>(list.c_str()) == "[1]: " + wrong);
    }
    CHECK(outcome<State>("null") == "null");
    CHECK(outcome<State>(R"("running")") == R"("running")");
    CHECK(outcome<State>(R"("walking")") == R"(: expected one of "stopped", "running", got "walking")");
    CHECK(outcome<Level>("2") == "2");
    CHECK(outcome<Level>(R"("2")") == "2");
    CHECK(outcome<Level>("300") == ": expected Level, got 300");
  }

  TEST_CASE("a text that is no name of an enumeration is refused inside structs, where it is a member of any kind") {
    CHECK(outcome<Note>(R"({"title": "a", "prio": "high", "due": 3})") == R"({"due":3,"prio":"high","title":"a"})");
    CHECK(outcome<Note>(R"({"title": "a", "prio": "top", "due": null})") ==
          R"({"due":null,"prio":"high","title":"a"})");
    for (const char* other : {R"("urgent")", "7", "null", "true", "[]"}) {
      CAPTURE(other);
      const std::string prio = std::string("\"prio\": ") + other;
      const std::string wrong = expected_names + std::string(other);
      CHECK(outcome<Note>(("{\"title\": \"a\", \"due\": null, " + prio + "}").c_str()) == ".prio: " + wrong);
      CHECK(outcome<Page>((R"({"notes": [{"title": "a", "due": null, )" + prio + "}]}").c_str()) ==
            ".notes[0].prio: " + wrong);
      CHECK(outcome<Page>((R"({"tags": {"a": "high", "b": )" + std::string(other) + "}}").c_str()) ==
            ".tags.b: " + wrong);
      if (other != "null"sv)
        CHECK(outcome<Page>((R"({"least": )" + std::string(other) + "}").c_str()) == ".least: " + wrong);
    }
    CHECK(outcome<Page>(R"({"state": "walking"})") == R"(.state: expected one of "stopped", "running", got "walking")");
    CHECK(contains(outcome<Page>(R"({"state": null, "least": null})"), R"("state":null)"));
  }

  TEST_CASE("of several enumerations in a struct, also with names in common, the one that stands there is named") {
    CHECK(outcome<Trip>(R"({"speed": "hot"})") == R"(.speed: expected one of "none", "fast", "slow", got "hot")");
    CHECK(outcome<Trip>(R"({"heat": "slow"})") == R"(.heat: expected one of "none", "hot", "fast", got "slow")");
    CHECK(outcome<Trip>(R"({"mode": {"least": "slow"}})") ==
          R"(.mode.least: expected one of "none", "hot", "fast", got "slow")");
    CHECK(outcome<Trip>(R"({"later": [{"heat": "x"}]})") ==
          R"(.later[0].heat: expected one of "none", "hot", "fast", got "x")");
    CHECK(outcome<std::array<Speed, 2>>(R"(["fast", "fats"])") ==
          R"([1]: expected one of "none", "fast", "slow", got "fats")");
    // Members that are nobody else's business cannot be looked at: one name is what shows.
    CHECK(outcome<Closed>(R"({"speed": "hot"})") == R"(.speed: expected a known value such as "none", got "hot")");
  }

  TEST_CASE("a field that a struct does not have is refused, with the one that was meant") {
    CHECK(outcome<Note>(R"({"title": "a", "prio": "low", "due": 1, "titel": "b"})") ==
          ": unknown field 'titel' (did you mean 'title'?)");
    CHECK(outcome<Page>(R"({"heading": "a"})") == ": unknown field 'heading' (did you mean 'head'?)");
    CHECK(outcome<Page>(R"({"footnotes": 1})") == ": unknown field 'footnotes'");
    CHECK(outcome<Page>(R"({"hed": null})") == ": unknown field 'hed' (did you mean 'head'?)");
    CHECK(outcome<Page>(R"({"notes": [{"title": "a", "prio": "low", "due": 1, "x": {}}]})") ==
          ".notes[0]: unknown field 'x'");
    CHECK(outcome<std::vector<Page>>(R"([{}, {"hed": ""}])") == "[1]: unknown field 'hed' (did you mean 'head'?)");
    CHECK(contains(outcome<Page>(R"({"tags": {"anything": "low"}})"), "anything"));
  }

  TEST_CASE("what a class written by hand reads is known to it, whether it is shown or not") {
    for (const char* fine : {R"({"user": "a", "password": "hunter2"})", R"({"user": "a", "groups": []})",
                             R"({"name": "a"})", R"({"user": "a", "groups": ["b"]})"}) {
      CAPTURE(fine);
      CHECK(contains(outcome<Account>(fine), R"("user":"a")"));
    }
    CHECK(outcome<Account>(R"({"user": "a", "pasword": "b"})") ==
          ": unknown field 'pasword' (did you mean 'password'?)");
    CHECK(outcome<Stay>(R"({"from": "2026-1", "to": "2026-11"})") == R"({"from":"2026-01","to":"2026-11"})");
  }

  TEST_CASE("what a struct refuses is named by its field, however deep, not by functions of nlohmann_json") {
    CHECK(outcome<Note>("{}") == ": missing field 'title'");
    CHECK(outcome<Note>(R"({"title": "a", "due": 1})") == ": missing field 'prio'");
    CHECK(outcome<Note>(R"({"title": 5, "prio": "low", "due": 1})") == ".title: expected str, got 5");
    CHECK(outcome<Note>(R"({"title": "a", "prio": "low", "due": "x"})") == R"(.due: expected number, got "x")");
    CHECK(outcome<Note>(R"({"title": "a", "prio": "low", "due": 1.5})") ==
          ".due: expected whole number that fits, got 1.5");
    CHECK(outcome<Note>("5") == ": expected Note, got 5");
    CHECK(outcome<Note>("[]") == ": expected Note, got []");
    CHECK(outcome<Page>(R"({"notes": 5})") == ".notes: expected list, got 5");
    CHECK(outcome<Page>(R"({"notes": [{"title": "a", "prio": "low", "due": 1}, {"title": "b"}]})") ==
          ".notes[1]: missing field 'prio'");
    CHECK(outcome<Page>(R"({"head": "a", "notes": [{"title": "a", "prio": "low", "due": [1]}]})") ==
          ".notes[0].due: expected number, got [1]");
    CHECK(outcome<Page>(R"({"level": 300})") == ".level: expected whole number that fits, got 300");
    CHECK(outcome<std::vector<Note>>(R"([{"title": "a", "prio": "low", "due": 1}, 5])") == "[1]: expected Note, got 5");
    CHECK(outcome<std::map<std::string, Note>>(R"({"k": {"title": "a"}})") == ".k: missing field 'prio'");
    CHECK(outcome<Stay>(R"({"from": "2026-1", "to": "soon"})") == R"(.to: expected dict (not a month), got "soon")");
    CHECK(outcome<Stay>(R"({"from": "2026-1", "to": 5})") == ".to: expected str, got 5");
  }

  TEST_CASE("the search for what is wrong reads a large value a few times, not once for each of its parts") {
    constexpr std::size_t items = 2000;
    const auto wrong = [](const json& value) {
      CountedItem::read = 0;
      return outcome<Shelf>(value.dump().c_str());
    };
    json many = json::object();
    for (int i = 0; i < 199; ++i) many["unknown" + std::to_string(i)] = nullptr;
    json shelf{{"items", json::array()}};
    for (std::size_t i = 0; i < items; ++i) shelf["items"].push_back(json{{"x", 1}});
    for (const std::size_t bad : {std::size_t{0}, items / 3, items - 1}) {
      CAPTURE(bad);
      json one = shelf;
      one["items"][bad] = many;
      one["items"][bad]["x"] = "b";
      CHECK(wrong(one) == ".items[" + std::to_string(bad) + R"(].x: expected number, got "b")");
      CHECK(CountedItem::read < 12 * items);
    }
    // Where it would be too much, the part that has been found so far is blamed.
    json wide = shelf;
    wide.update(many);
    wide["z"] = "b";
    CHECK(contains(wrong(wide), ": expected number, got {"));
    CHECK(CountedItem::read < 40 * items);
    // What is small is searched to its end.
    wide["items"] = json::array({json{{"x", 1}}});
    CHECK(wrong(wide) == R"(.z: expected number, got "b")");
    // Names of an enumeration are tried as well, all of them where the value is small.
    const auto names = [](std::size_t samples) {
      CountedItem::read = 0;
      return outcome<Palette>(
          json{{"counted", {{"x", 1}}}, {"samples", std::vector<int>(samples, 1)}, {"hue", "?"}}.dump().c_str());
    };
    CHECK(contains(names(1), R"(.hue: expected one of "hue00", "hue01", )"));
    CHECK(CountedItem::read > 40);
    CHECK(contains(names(300'000), ".hue: expected "));
    CHECK(CountedItem::read < 20);
  }

  TEST_CASE("where in a tuple or an array something is wrong is found as well") {
    CHECK(outcome<std::map<std::string, std::tuple<int, std::string, int>>>(R"({"a": [1, 5, 2]})") ==
          ".a[1]: expected str, got 5");
    CHECK(outcome<Corner>(R"({"at": [1, 2, "x", 4]})") == R"(.at[2]: expected number, got "x")");
    CHECK(outcome<Corner>(R"({"at": ["x", 2, 3, 4]})") == R"(.at[0]: expected number, got "x")");
    CHECK(outcome<Corner>(R"({"at": [1, 2, 3, 4], "named": [7, 8]})") == ".named[1]: expected str, got 8");
  }

  TEST_CASE("a result may have fields that its reader does not know yet, but no unknown names of enumerations") {
    const auto result = [](const char* text) {
      kt::detail::DescriptorQueue none;
      return kt::detail::take_result<std::vector<Note>>(json::parse(text), none);
    };
    CHECK(result(R"([{"title": "a", "prio": "low", "due": 1, "colour": "red"}])").front().title == "a");
    CHECK_THROWS_AS(result(R"([{"title": "a", "prio": "urgent", "due": 1}])"), kt::detail::BadValue);
  }

  TEST_CASE("a std::optional in a struct is null or its value, in arguments, results and defaults") {
    Home home;
    home.kitten.api(
        "same", [](Note note) { return note; }, "Same.", kt::arg("note") = Note{"none", Prio::low, std::nullopt});
    home.kitten.api(
        "both",
        [](std::optional<Note> note) {
          return std::vector<std::optional<Note>>{note, std::nullopt};
        },
        "Both.", kt::arg("note") = nullptr);
    home.start();
    CHECK(home.result("same")["due"] == nullptr);
    CHECK(home.result("same", R"({"note": {"title": "a", "prio": "low", "due": 5}})")["due"] == 5);
    CHECK(home.result("both", R"({"note": {"title": "a", "prio": "low", "due": 5}})")[0]["due"] == 5);
    CHECK(home.result("both") == json::array({nullptr, nullptr}));
  }

  TEST_CASE("over TCP, the unix socket and loopback a caller is told which field of which argument is wrong") {
    Home home;
    home.kitten.api(
        "add", [](Note note) { return note.title; }, "Adds.", kt::arg("note"));
    home.kitten.public_api(
        "suggest", [](Note note) { return note.title; }, "Suggests.", kt::arg("note"));
    home.kitten.api(
        "all", [](std::vector<Note> notes) { return notes.size(); }, "Adds all.", kt::arg("notes"));
    home.start();
    kt::ClientOptions tcp;
    tcp.use_unix_socket = false;
    std::vector<kt::Client> clients;
    clients.push_back(client_of(home));
    clients.push_back(client_of(home, tcp));
    clients.push_back(home.kitten.loopback());
    const json urgent{{"title", "a"}, {"prio", "urgent"}, {"due", nullptr}};
    for (kt::Client& client : clients) {
      CHECK(contains(failure([&] { client.call("add", urgent); }),
                     "add: argument 'note.prio': invalid literal, " + std::string(expected_names) + R"("urgent")"));
      CHECK(contains(failure([&] {
                       client.call("add", json{{"title", "a"}});
                     }),
                     "add: argument 'note': missing field 'prio'"));
      CHECK(contains(failure([&] { client.call("all", json::array({urgent})); }), "argument 'notes[0].prio'"));
    }
    // Strangers are not given back what they have sent.
    const Answer answer = Wire::tcp(home.kitten)
                              .send(home.post("/suggest", R"({"note": {"title": "a", "prio": "x<y", "due": 1}})"))
                              .answer();
    CHECK(json::parse(answer.body)["error"] ==
          R"(suggest: argument 'note': invalid literal, expected one of "low", "normal", "high", "lowest", "top")");
  }
}
