// SPDX-License-Identifier: MIT
#include <array>
#include <deque>
#include <set>
#include <variant>

#include "services.hpp"
#include "support.hpp"

namespace schemas {

enum class Prio { low, normal, high };
NLOHMANN_JSON_SERIALIZE_ENUM(Prio, {{Prio::low, "low"}, {Prio::normal, "normal"}, {Prio::high, "high"}})
// Shares its first name with another one.
enum class Size { low, tall };
NLOHMANN_JSON_SERIALIZE_ENUM(Size, {{Size::low, "low"}, {Size::tall, "tall"}})
enum class Level : unsigned char { one = 1, two };

struct Place {
  double x = 0;
  float y = 0;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Place, x, y)

// All fields are required.
struct Note {
  std::string title;
  Prio prio = Prio::normal;
  std::optional<int> due;
  std::optional<Prio> least;
  std::vector<std::string> tags;
  std::vector<Place> places;
  std::map<std::string, std::uint8_t> counts;
  Place where;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Note, title, prio, due, least, tags, places, counts, where)

// None is.
struct Page {
  std::string head = "untitled";
  Size size = Size::tall;
  std::int8_t tiny = -1;
  unsigned short port = 80;
  std::int64_t big = 0;
  bool open = true;
  std::array<int, 2> range{};
  nlohmann::json any;
  std::optional<Place> where;
  Level level = Level::one;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(Page, head, size, tiny, port, big, open, range, any, where, level)

struct Tree {
  std::string name;
  std::vector<Tree> children;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Tree, name, children)

// With members that nobody sees.
class Account {
 public:
  Account() = default;
  NLOHMANN_DEFINE_TYPE_INTRUSIVE(Account, owner_, cents_)

 private:
  std::string owner_;
  long cents_ = 0;
};

// Can be written only, and says what it likes.
struct Label {
  std::string name = "none";
};
void to_json(nlohmann::json& j, const Label& label) { j = {{"tag", label.name}, {"of", nullptr}}; }

// Has no default.
struct Ticket {
  explicit Ticket(int its_number) : number(its_number) {}
  int number;
};
void to_json(nlohmann::json& j, const Ticket& ticket) { j = ticket.number; }

// Does not want to be made.
struct Stubborn {
  Stubborn() { throw std::runtime_error("no"); }
};
void to_json(nlohmann::json& j, const Stubborn&) { j = 1; }

int made = 0;
struct Costly {
  Costly() { ++made; }
  int n = 0;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Costly, n)

struct Colour {
  std::string code;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Colour, code)

namespace other {
struct Place {
  int row = 0;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Place, row)
}  // namespace other

}  // namespace schemas

template <>
struct nlohmann::adl_serializer<std::variant<int, std::string>> {
  static void to_json(json& j, const std::variant<int, std::string>& value) {
    std::visit([&](const auto& one) { j = one; }, value);
  }
};

template <>
kt::json kt::schema_of<schemas::Colour>() {
  return kt::json::parse(
      R"({"type": "object", "properties": {"code": {"type": "string", "pattern": "^#[0-9a-f]{6}$"}}})");
}

namespace schemas {

namespace {

using PlainJson = nlohmann::json;  // the order of keys means nothing

// What a method looks like to others.
struct Described {
  explicit Described(Home& home) : home_(home) {}
  PlainJson of(const std::string& method) { return home_.result("describe", PlainJson{{"method", method}}.dump()); }
  PlainJson argument(const std::string& method, std::size_t i = 0) {
    return of(method)["methods"][0]["args"][i]["schema"];
  }
  PlainJson returns(const std::string& method) { return of(method)["methods"][0]["returns"]["schema"]; }
  Home& home_;
};

template <class T>
PlainJson schema_of_result(T value) {
  Home home;
  home.kitten.api("get", [value] { return value; });
  home.start();
  return Described(home).returns("get");
}

template <class T>
PlainJson schema_of_argument() {
  Home home;
  home.kitten.api(
      "put", [](T) {}, kt::arg("value"));
  home.start();
  return Described(home).argument("put");
}

}  // namespace

TEST_SUITE("call/schema") {
  TEST_CASE("numbers have their bounds, as far as every reader can compare with them") {
    CHECK(schema_of_argument<bool>() == R"({"type": "boolean"})"_json);
    CHECK(schema_of_argument<std::uint8_t>() == R"({"type": "integer", "minimum": 0, "maximum": 255})"_json);
    CHECK(schema_of_argument<int>() == R"({"type": "integer", "minimum": -2147483648, "maximum": 2147483647})"_json);
    CHECK(schema_of_argument<std::uint32_t>() == R"({"type": "integer", "minimum": 0, "maximum": 4294967295})"_json);
    CHECK(schema_of_argument<std::int64_t>() == R"({"type": "integer", "format": "int64"})"_json);
    CHECK(schema_of_argument<std::uint64_t>() == R"({"type": "integer", "minimum": 0, "format": "uint64"})"_json);
    CHECK(schema_of_argument<float>() == R"({"type": "number", "format": "float"})"_json);
    CHECK(schema_of_argument<double>() == R"({"type": "number", "format": "double"})"_json);
  }

  TEST_CASE("text, bytes, values of any kind, and nothing") {
    CHECK(schema_of_argument<std::string>() == R"({"type": "string"})"_json);
    CHECK(schema_of_argument<std::string_view>() == R"({"type": "string"})"_json);
    CHECK(schema_of_result("text") == R"({"type": "string"})"_json);
    CHECK(schema_of_argument<kt::Bytes>() ==
          R"({"type": "object", "properties": {"__base64__": {"type": "string", "contentEncoding": "base64"}},
              "required": ["__base64__"], "additionalProperties": false})"_json);
    CHECK(schema_of_argument<kt::json>() == PlainJson::object());
    CHECK(schema_of_argument<nlohmann::json>() == PlainJson::object());
    CHECK(schema_of_result(kt::text("a document")) == PlainJson::object());
    Home home;
    home.kitten.api("none", [] {});
    home.start();
    CHECK(Described(home).returns("none") == R"({"type": "null"})"_json);
  }

  TEST_CASE("null is one more type of an optional, or one more choice of several") {
    CHECK(schema_of_argument<std::optional<std::string>>() == R"({"type": ["string", "null"]})"_json);
    CHECK(schema_of_argument<std::optional<Prio>>() ==
          R"({"type": ["string", "null"], "enum": ["low", "normal", "high", null]})"_json);
    CHECK(schema_of_argument<std::optional<kt::json>>() == PlainJson::object());
    CHECK(schema_of_argument<std::optional<Place>>() ==
          R"({"anyOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}]})"_json);
  }

  TEST_CASE("lists, sets, maps, tuples and variants say what is in them") {
    CHECK(schema_of_argument<std::vector<std::string>>() == R"({"type": "array", "items": {"type": "string"}})"_json);
    CHECK(schema_of_argument<std::deque<bool>>() == R"({"type": "array", "items": {"type": "boolean"}})"_json);
    CHECK(schema_of_argument<std::set<std::string>>() ==
          R"({"type": "array", "items": {"type": "string"}, "uniqueItems": true})"_json);
    CHECK(schema_of_argument<std::array<bool, 3>>() ==
          R"({"type": "array", "items": {"type": "boolean"}, "minItems": 3, "maxItems": 3})"_json);
    CHECK(schema_of_argument<std::tuple<bool, std::string>>() ==
          R"({"type": "array", "prefixItems": [{"type": "boolean"}, {"type": "string"}], "items": false,
              "minItems": 2, "maxItems": 2})"_json);
    CHECK(schema_of_argument<std::pair<std::string, bool>>()["prefixItems"].size() == 2);
    CHECK(schema_of_argument<std::map<std::string, bool>>() ==
          R"({"type": "object", "additionalProperties": {"type": "boolean"}})"_json);
    CHECK(schema_of_argument<std::map<bool, std::string>>()["items"]["prefixItems"].size() == 2);
    CHECK(schema_of_result(std::variant<int, std::string>(1))["anyOf"][1] == R"({"type": "string"})"_json);
  }

  TEST_CASE("enumerations are their names, and numbers if they have none") {
    CHECK(schema_of_argument<Prio>() == R"({"type": "string", "enum": ["low", "normal", "high"]})"_json);
    CHECK(schema_of_argument<Level>() == R"({"type": "integer"})"_json);
  }

  TEST_CASE("open descriptors are marked by their kind") {
    CHECK(schema_of_argument<kt::File>() == R"({"type": "string", "x-kettlingar-descriptor": "file"})"_json);
    CHECK(schema_of_argument<kt::Socket>()["x-kettlingar-descriptor"] == "socket");
    CHECK(schema_of_argument<std::vector<kt::Fd>>()["items"]["x-kettlingar-descriptor"] == "fd");
    Home home;
    home.kitten.api("give", [] { return kt::File::open("/dev/null"); });
    home.start();
    const PlainJson method = Described(home).of("give")["methods"][0];
    CHECK(method["descriptors"] == true);
    CHECK(method["returns"]["schema"]["x-kettlingar-descriptor"] == "file");
  }

  TEST_CASE("a struct tells its fields, and which of them are required") {
    Home home;
    home.kitten.api(
        "note", [](Note note) { return note; }, kt::arg("note"));
    home.start();
    const PlainJson all = Described(home).of("note");
    CHECK(all["methods"][0]["args"][0]["schema"] == R"({"$ref": "#/$defs/Note"})"_json);
    CHECK(all["methods"][0]["returns"]["schema"] == R"({"$ref": "#/$defs/Note"})"_json);
    const PlainJson& note = all["$defs"]["Note"];
    CHECK(note["type"] == "object");
    CHECK_FALSE(note.contains("additionalProperties"));  // results may grow
    const auto required = note["required"].get<std::set<std::string>>();
    CHECK(required == std::set<std::string>{"title", "prio", "due", "least", "tags", "places", "counts", "where"});
    const PlainJson& fields = note["properties"];
    CHECK(fields["title"] == R"({"type": "string"})"_json);
    CHECK(fields["prio"] == R"({"type": "string", "enum": ["low", "normal", "high"]})"_json);
    CHECK(fields["due"]["type"] == R"(["integer", "null"])"_json);
    CHECK(fields["least"]["enum"] == R"(["low", "normal", "high", null])"_json);
    CHECK(fields["tags"] == R"({"type": "array", "items": {"type": "string"}})"_json);
    CHECK(fields["places"] == R"({"type": "array", "items": {"$ref": "#/$defs/Place"}})"_json);
    CHECK(fields["counts"]["additionalProperties"] == R"({"type": "integer", "minimum": 0, "maximum": 255})"_json);
    CHECK(fields["where"] == R"({"$ref": "#/$defs/Place"})"_json);
    CHECK(all["$defs"]["Place"]["properties"]["x"]["format"] == "double");
    CHECK(all["$defs"]["Place"]["properties"]["y"]["format"] == "float");
  }

  TEST_CASE("fields that may be left out have their defaults") {
    Home home;
    home.kitten.api("page", [] { return Page{}; });
    home.start();
    const PlainJson page = Described(home).of("page")["$defs"]["Page"];
    CHECK_FALSE(page.contains("required"));
    const PlainJson& fields = page["properties"];
    CHECK(fields["head"] == R"({"type": "string", "default": "untitled"})"_json);
    CHECK(fields["size"] == R"({"type": "string", "enum": ["low", "tall"], "default": "tall"})"_json);
    CHECK(fields["tiny"] == R"({"type": "integer", "minimum": -128, "maximum": 127, "default": -1})"_json);
    CHECK(fields["port"] == R"({"type": "integer", "minimum": 0, "maximum": 65535, "default": 80})"_json);
    CHECK(fields["big"] == R"({"type": "integer", "format": "int64", "default": 0})"_json);
    CHECK(fields["open"] == R"({"type": "boolean", "default": true})"_json);
    CHECK(fields["range"]["minItems"] == 2);
    CHECK(fields["range"]["items"]["type"] == "integer");
    CHECK(fields["any"] == PlainJson::object());
    CHECK(fields["where"] == R"({"anyOf": [{"$ref": "#/$defs/Place"}, {"type": "null"}]})"_json);
    CHECK(fields["level"]["type"] == "integer");
  }

  TEST_CASE("a struct may contain itself, and have private members") {
    Home home;
    home.kitten.api("tree", [] { return Tree{}; }).api("account", [] { return Account{}; });
    home.start();
    const PlainJson tree = Described(home).of("tree")["$defs"]["Tree"];
    CHECK(tree["properties"]["children"] == R"({"type": "array", "items": {"$ref": "#/$defs/Tree"}})"_json);
    const PlainJson account = Described(home).of("account")["$defs"]["Account"];
    CHECK(account["properties"]["owner_"]["type"] == "string");
    CHECK(account["properties"]["cents_"]["type"] == "integer");
  }

  TEST_CASE("of what can only be written, the fields are those of a new one; what cannot be made is anything") {
    Home home;
    home.kitten.api("tag", [] { return Label{}; });
    home.kitten.api("ticket", [] { return Ticket(7); });
    home.kitten.api("stubborn", []() -> Stubborn { throw kt::NotFound("none"); });
    home.start();
    const PlainJson tag = Described(home).of("tag")["$defs"]["Label"];
    CHECK(tag["properties"]["tag"] == R"({"type": "string"})"_json);
    CHECK(tag["properties"]["of"] == PlainJson::object());
    CHECK(tag["required"].size() == 2);
    CHECK(Described(home).of("ticket")["$defs"]["Ticket"] == PlainJson::object());
    CHECK(Described(home).of("stubborn")["$defs"]["Stubborn"] == PlainJson::object());
  }

  TEST_CASE("a program says itself what a type is, where it knows better") {
    Home home;
    home.kitten.api(
        "paint", [](std::vector<Colour> colours) { return colours.size(); }, kt::arg("colours"));
    home.start();
    const PlainJson all = Described(home).of("paint");
    CHECK(all["methods"][0]["args"][0]["schema"]["items"] == R"({"$ref": "#/$defs/Colour"})"_json);
    CHECK(all["$defs"]["Colour"]["properties"]["code"]["pattern"] == "^#[0-9a-f]{6}$");
  }

  TEST_CASE("types of the same name in several namespaces are told apart") {
    Home home;
    home.kitten.api(
        "one", [](Place place, other::Place other) { return place.x + other.row; }, kt::arg("place"), kt::arg("other"));
    home.start();
    const PlainJson all = Described(home).of("one");
    CHECK(all["$defs"].size() == 2);
    for (const PlainJson& argument : all["methods"][0]["args"]) {
      const std::string name = argument["schema"]["$ref"].get<std::string>().substr(8);
      CHECK(all["$defs"][name]["properties"].contains(argument["name"] == "place" ? "x" : "row"));
    }
  }

  TEST_CASE("nothing is made of a type before somebody asks, and then once") {
    Home home;
    home.kitten.api(
        "costly", [](Costly costly) { return costly.n; }, kt::arg("costly"));
    home.start();
    CHECK(home.result("ping")["pong"] == true);
    CHECK(made == 0);
    Described(home).of("costly");
    const int once = made;
    CHECK(once > 0);
    Described(home).of("costly");
    CHECK(made == once);
  }
}

}  // namespace schemas
