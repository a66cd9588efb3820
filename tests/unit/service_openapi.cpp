// SPDX-License-Identifier: MIT
#include <set>

#include "services.hpp"
#include "support.hpp"

// Apart, for other tests have types of these names.
namespace opening {
namespace {

enum class Mood { calm, shy, wild };
NLOHMANN_JSON_SERIALIZE_ENUM(Mood, {{Mood::calm, "calm"}, {Mood::shy, "shy"}, {Mood::wild, "wild"}})

struct Cat {
  std::string name;
  Mood mood = Mood::calm;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Cat, name, mood)

struct House {
  std::vector<Cat> cats;
  Cat first;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(House, cats, first)

// A service with methods of all kinds.
struct Town : Home {
  Town() {
    kitten.api(
        "move", [](House house, int days) { return days > 0 ? house : House(); },
        "Moves in.\n\nWith all cats,\nand at once.", kt::arg("house").doc("Where to."), (kt::arg("days") = 2).max(9));
    kitten.api("items", items, kt::arg("count") = 3, kt::arg("text") = "x");
    kitten.public_api(
        "meow", [] { return kt::text("Meow!\n"); }, "Meow.");
    kitten.public_api("web_root", [] { return kt::html("<p>Cats</p>"); });
    kitten.api("anything", [] { return json(1); });
    kitten.api("nothing", [] {});
    kitten.api("read", [](const kt::Request& request) { return request.arguments(); });
    kitten.api(
        "cat", [](kt::File file) { return file.get(); }, kt::arg("file"));
    kitten.api(
        "secretly", [] { return 1; }, kt::hidden);
    kitten.api("events", []() -> kt::Generator<kt::Event> { co_return; });
  }
};

// All operations of a document.
std::vector<json> operations_of(const json& document) {
  std::vector<json> operations;
  for (const auto& [path, methods] : document["paths"].items()) {
    for (const auto& [method, operation] : methods.items()) operations.push_back(operation);
  }
  return operations;
}

// Fails unless each reference in `value` leads to something in the document.
int check_references(const json& document, const json& value) {
  int count = 0;
  for (const auto& [key, inner] : value.items()) {
    if (key == "$ref" && inner.is_string()) {
      const std::string where = inner.get<std::string>();
      CAPTURE(where);
      REQUIRE(where.starts_with("#/components/"));
      CHECK(document.contains(json::json_pointer(where.substr(1))));
      ++count;
    } else if (inner.is_structured()) {
      count += check_references(document, inner);
    }
  }
  return count;
}

}  // namespace

TEST_SUITE("service/openapi") {
  TEST_CASE("openapi tells what a method takes and returns, in the words of OpenAPI 3.1") {
    Town town;
    town.start();
    const json all = town.result("openapi");
    CHECK(all["openapi"] == "3.1.0");
    CHECK(all["info"]["title"] == "testkitten");
    CHECK(all["info"]["description"] == "A kitten under test");
    CHECK(all["security"].dump() == R"([{"bearer":[]}])");
    CHECK(all["components"]["securitySchemes"]["bearer"].dump() == R"({"type":"http","scheme":"bearer"})");
    CHECK(all["paths"]["/move"].dump() ==
          R"({"post":{"operationId":"move","tags":["private"],"summary":"Moves in.",)"
          R"("description":"With all cats,\nand at once.",)"
          R"("requestBody":{"required":true,"content":{"application/json":{"schema":{"type":"object","properties":{)"
          R"("house":{"$ref":"#/components/schemas/House","description":"Where to."},)"
          R"("days":{"type":"integer","minimum":-2147483648,"maximum":9,"default":2}},)"
          R"("required":["house"],"additionalProperties":false}}}},)"
          R"("responses":{"200":{"description":"The result.",)"
          R"("content":{"application/json":{"schema":{"$ref":"#/components/schemas/House"}}}},)"
          R"("default":{"$ref":"#/components/responses/Error"}}}})");
    CHECK(all["components"]["schemas"]["Cat"]["properties"]["mood"]["enum"].size() == 3);
    CHECK(all["components"]["responses"]["Error"]["content"]["application/json"]["schema"].dump() ==
          R"({"type":"object","properties":{"error":{"type":"string"}},"required":["error"]})");
    CHECK(check_references(all, all) > 10);
    CHECK_FALSE(contains(all.dump(), "$defs"));
  }

  TEST_CASE("openapi leaves out what is hidden or needs descriptors") {
    Town town;
    town.start();
    const json paths = town.result("openapi")["paths"];
    for (const char* there : {"/", "/move", "/items", "/ping", "/describe", "/openapi", "/quitquitquit"})
      CHECK_MESSAGE(paths.contains(there), there);
    for (const char* not_there : {"/cat", "/secretly", "/web_root"}) CHECK_FALSE(paths.contains(not_there));
  }

  TEST_CASE("only what can be called without arguments has a GET, and nothing of ours that changes something") {
    Town town;
    town.kitten.api("items_get", [] { return 1; });
    town.start();
    const json all = town.result("openapi");
    for (const auto& [path, methods] : all["paths"].items()) {
      CAPTURE(path);
      CHECK(methods.contains("post"));
      const bool by_post_only = path == "/move" || path == "/config" || path == "/quitquitquit";
      CHECK(methods.contains("get") == !by_post_only);
      if (!by_post_only) CHECK_FALSE(methods["get"].contains("requestBody"));
    }
    std::set<std::string> ids;
    for (const json& operation : operations_of(all)) {
      CHECK(ids.insert(operation["operationId"].get<std::string>()).second);
      CHECK(operation["summary"].get<std::string>() != "");
    }
    CHECK(ids.contains("items_get_"));
  }

  TEST_CASE("openapi says where no token is needed, and which methods are the library's") {
    Town town;
    town.start();
    const json paths = town.result("openapi")["paths"];
    CHECK(paths["/meow"]["get"]["security"] == json::array());
    CHECK(paths["/meow"]["get"]["tags"] == json::array({"public"}));
    CHECK_FALSE(paths["/items"]["post"].contains("security"));
    CHECK(paths["/items"]["post"]["tags"] == json::array({"private"}));
    CHECK(paths["/describe"]["post"]["tags"] == json::array({"builtin"}));
    // Whoever asks `ping` may add what it is to answer; a method that reads the request takes anything, too.
    for (const char* open : {"/ping", "/read"}) {
      CHECK_FALSE(
          paths[open]["post"]["requestBody"]["content"]["application/json"]["schema"].contains("additionalProperties"));
    }
    CHECK_FALSE(paths["/nothing"]["post"].contains("requestBody"));
  }

  TEST_CASE("openapi tells streams, documents, events and values apart") {
    Town town;
    town.start();
    const json paths = town.result("openapi")["paths"];
    const auto content = [&](const char* path) { return paths[path]["post"]["responses"]["200"]["content"].dump(); };
    CHECK(paths["/items"]["post"]["x-kettlingar-stream"] == true);
    CHECK(content("/items") == R"({"application/json":{"schema":{"$ref":"#/components/schemas/Item"}},)"
                               R"("text/event-stream":{"schema":{"type":"string"}}})");
    CHECK(content("/events") == R"({"text/event-stream":{"schema":{"type":"string"}}})");
    CHECK(content("/meow") == R"({"*/*":{}})");
    CHECK(content("/anything") == R"({"application/json":{"schema":{}}})");
    CHECK(content("/nothing") == R"({"application/json":{"schema":{"type":"null"}}})");
  }

  TEST_CASE("openapi says where the service is, without its token, to those who know that") {
    Town town;
    town.kitten.settings().worker_url_path = "cats";
    town.start();
    const Answer answer = Wire::tcp(town.kitten).send(town.get("/cats" + town.path("openapi"))).answer();
    CHECK(answer.status == 200);
    CHECK(answer.fields.at("Content-Type") == "application/json");
    CHECK_FALSE(contains(answer.body, town.kitten.token()));
    const std::string url = contents(town.state / "Kitty.url");
    CHECK(json::parse(answer.body)["servers"][0]["url"] == url.substr(0, url.rfind('/')));
    CHECK(Wire::tcp(town.kitten).send(town.get("/cats/openapi")).answer().status ==
          Wire::tcp(town.kitten).send(town.get("/cats/unknown")).answer().status);
  }
}
}  // namespace opening

TEST_SUITE("cli/openapi") {
  TEST_CASE("openapi is there without a running service, and from a running one") {
    const Program kitten("kitten");
    const Ran alone = kitten("--worker-listen-port=4711 --worker-url-path=cats openapi");
    CHECK(alone.code == 0);
    CHECK(alone.err.empty());
    const json document = json::parse(alone.out);
    CHECK(document["servers"][0]["url"] == "http://127.0.0.1:4711/cats");
    CHECK(document["paths"]["/purr"]["post"]["x-kettlingar-stream"] == true);
    CHECK(json::parse(kitten("--worker-listen-host=::1 openapi").out)["servers"][0]["url"] == "http://[::1]");
    CHECK(std::filesystem::is_empty(kitten.state.path()));
    REQUIRE(kitten("start").code == 0);
    const std::string url = kitten.url();
    json running = json::parse(kitten("openapi").out);
    CHECK(running["servers"][0]["url"] == url.substr(0, url.rfind('/')));
    CHECK(running["paths"] == document["paths"]);
  }

  TEST_CASE("openapi takes no arguments, and is not made up for a service of another program") {
    const Program kitten("kitten");
    const Ran more = kitten("openapi purr");
    CHECK(more.code == 3);
    CHECK(contains(more.err, "invalid arguments: purr; usage: openapi"));
    const Ran other = kitten("--app-name=dogs openapi");
    CHECK(other.code == 1);
    CHECK(contains(other.err, "Not running"));
    CHECK(other.out.empty());
  }
}
