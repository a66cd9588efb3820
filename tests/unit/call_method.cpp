// SPDX-License-Identifier: MIT
#include "codecs.hpp"
#include "services.hpp"
#include "support.hpp"

TEST_SUITE("call/method") {
  TEST_CASE("every form of handler can be called, over TCP and over the unix socket") {
    Home home;
    Calculator calculator{2};
    register_everything(home.kitten, calculator);
    home.start();
    CHECK(home.result("add", R"({"a": 1, "b": 2})") == 3);
    CHECK(home.result("add", R"({"_args": [1]})") == 2);
    CHECK(home.result("add", R"({"_args": ["0x10"], "b": "3"})") == 19);
    CHECK(home.result("times", R"({"_args": [3, 4]})") == 24);
    CHECK(home.result("later", R"({"a": 21})") == 42);
    CHECK(home.result("nothing") == nullptr);
    CHECK(home.result("view", R"({"text": "x"})") == "x!");
    CHECK(home.result("plain_json")["a"] == long_text);
    CHECK(home.result("item", R"({"item": {"text": "x", "number": 5}})")["number"] == 5);
    CHECK(home.result("maybe") == nullptr);
    CHECK(home.result("maybe", R"({"n": 4})") == 4);
    CHECK(home.result("maybe", R"({"n": null})") == nullptr);
    CHECK(home.result("bytes", R"({"raw": {"__base64__": "AP8="}})")["__base64__"] == "AP8=");
    CHECK(home.result("captured", R"({"more": "!"})") == long_text + "!");
    CHECK(home.result("all", R"({"n": "0x2"})") == "\"0x2\"2");
    const std::string who = home.result("who").get<std::string>();
    CHECK(who.starts_with("127.0.0.1:"));
    CHECK(who.ends_with(" who"));
    Wire local = Wire::local(home.kitten);
    CHECK(json::parse(local.send(home.get(home.path("who"))).answer().body) == "unix-domain who");
  }

  TEST_CASE("what can become text and has a to_json() is sent as that says") {
    Home home;
    home.kitten.api("tag", [] { return Tag{"red"}; });
    home.start();
    CHECK(home.result("tag") == json{{"tag", "red"}});
  }

  TEST_CASE("a class that derives from Kitten registers its own member functions") {
    DerivedKitten kitten;
    TempDir state;
    kitten.settings().app_state_dir = kitten.settings().app_data_dir = state.path();
    kitten.greeting = "hej ";
    kitten.start_thread();
    const std::string path = "/" + kitten.token() + "/greet";
    CHECK(Wire::tcp(kitten).send("GET " + path + " HTTP/1.1\r\n\r\n").answer().body == "\"hej world\"\n");
  }

  TEST_CASE("the order of keys is kept, in arguments and results") {
    Home home;
    home.kitten.api(
        "echo", [](json value) { return value; }, "", kt::arg("value"));
    home.start();
    CHECK(home.call("echo", R"({"value": {"z": 1, "a": {"y": 2, "b": 3}}})").body ==
          "{\"z\":1,\"a\":{\"y\":2,\"b\":3}}\n");
  }

  TEST_CASE("an error names the method, the argument, the expected type and the value") {
    Home home;
    Calculator calculator;
    register_everything(home.kitten, calculator);
    home.start();
    const std::string wrong = home.error("add", R"({"a": "elephant"})");
    CHECK(contains(wrong, "add"));
    CHECK(contains(wrong, "'a'"));
    CHECK(contains(wrong, "invalid literal, expected int"));
    CHECK(contains(wrong, "\"elephant\""));
    CHECK(home.error("add", "{}") == "add: missing argument 'a' (int)");
    CHECK(home.error("add", R"({"_args": [1, 2, 3]})") == "add: takes at most 2 arguments, got 3");
    CHECK(home.error("add", R"({"_args": [1], "a": 2})") == "add: argument 'a' given twice");
    CHECK(home.error("add", R"({"a": 2, "_args": [1]})") == "add: argument 'a' given twice");
    CHECK(contains(home.error("stream", R"({"coutn": 2})"), "unknown argument 'coutn' (did you mean 'count'?)"));
    CHECK(contains(home.error("add", R"({"a": null})"), "got null"));
    CHECK(contains(home.error("add", R"({"a": 1e300})"), "expected int"));
    CHECK(contains(home.error("later", R"({"a": 1.5})"), "got 1.5"));
  }

  TEST_CASE("plain values in MessagePack, which no tree is made of, mean what they mean in JSON") {
    Home home;
    Calculator calculator{2};
    register_everything(home.kitten, calculator);
    home.kitten.api(
        "kinds",
        [](bool yes, std::int8_t small, std::uint64_t large, double real, const std::string& text, json any) {
          return json::array({yes, small, large, real, text, std::move(any)});
        },
        "", kt::arg("yes") = true, kt::arg("small") = 1, kt::arg("large") = 2, kt::arg("real") = 0.5,
        kt::arg("text") = "", kt::arg("any") = nullptr);
    home.start();
    struct Row {
      const char* method;
      const char* arguments;
      int status = 200;
    };
    const Row rows[] = {
        {"add", R"({"a": 1, "b": 2})"},
        {"add", R"({"b": -70000, "a": 100000})"},
        {"add", R"({"a": "0x10"})"},
        {"add", R"({"a": 2.0})"},
        {"add", R"({"a": 2.5})", 400},
        {"add", R"({"a": 5000000000})", 400},
        {"add", R"({"a": -5000000000})", 400},
        {"add", R"({"b": 1})", 400},
        {"add", R"({"a": 1, "c": 1})", 400},
        {"add", R"({"_args": [1, 2]})"},
        {"add", R"({"_args": [1], "b": 5})"},
        {"add", R"({"b": 5, "_args": ["3"]})"},
        {"add", R"({"a": 1, "_args": [1]})", 400},
        {"add", R"({"_args": [1], "a": 1})", 400},
        {"add", R"({"_args": [1, 2, 3]})", 400},
        {"add", R"({"_args": [[1], 2]})", 400},
        {"add", R"({"_args": 1})", 400},
        {"nothing", R"({"_args": []})"},
        {"add", R"({"a": null})", 400},
        {"add", R"({"a": [1]})", 400},
        {"add", "{}", 400},
        {"nothing", "{}"},
        {"nothing", R"({"a": 1})", 400},
        {"maybe", R"({"n": null})"},
        {"maybe", R"({"n": 4})"},
        {"maybe", R"({"n": "x"})", 400},
        {"view", R"({"text": "Gr\u00fc\u00dfe"})"},
        {"later", R"({"a": 21})"},
        {"kinds", "{}"},
        {"kinds",
         R"({"yes": false, "small": -128, "large": 18446744073709551615, "real": -0.25, "text": "x", "any": {}})"},
        {"kinds",
         R"({"yes": false, "small": 127, "large": 255, "real": 3, "any": "long enough to be a str 8 in there"})"},
        {"kinds", R"({"yes": "no", "small": "-1", "real": "1e3", "any": 70000})"},
        {"kinds", R"({"small": 128})", 400},
        {"kinds", R"({"small": -129})", 400},
        {"kinds", R"({"large": -1})", 400},
        {"kinds", R"({"yes": 2})", 400},
        {"kinds", R"({"text": 5})", 400},
    };
    for (const Row& row : rows) {
      CAPTURE(row.method);
      CAPTURE(row.arguments);
      std::string packed;
      REQUIRE(!kt::encode_msgpack(json::parse(row.arguments), packed));
      const Answer told = home.call(row.method, row.arguments);
      const Answer answer =
          Wire::tcp(home.kitten).send(home.post(home.path(row.method), packed, "application/msgpack")).answer();
      CHECK(told.status == row.status);
      CHECK(answer.status == row.status);
      json value;
      REQUIRE(!kt::decode_msgpack(answer.body, value));
      CHECK(value == json::parse(told.body));
    }
    // Nothing may follow, and nothing occur twice.
    for (const char* hex :
         {"82 a1 61 01 a1 61 02", "81 a1 61 01 c0", "81 a1 61 a1 ff", "82 a5 5f 61 72 67 73 91 01 a5 5f 61 72 67 73 90",
          "81 a5 5f 61 72 67 73 91", "81 a1 61", "81 a1"}) {
      CAPTURE(hex);
      CHECK(Wire::tcp(home.kitten)
                .send(home.post(home.path("add"), codec_bytes(hex), "application/x-msgpack"))
                .answer()
                .status == 400);
    }
  }

  TEST_CASE("exceptions become statuses, and a redirect its header") {
    Home home;
    Calculator calculator;
    register_everything(home.kitten, calculator);
    home.start();
    CHECK(home.error("fail", R"({"kind": "not_found"})", 404) == "no such thing");
    CHECK(home.error("fail", R"({"kind": "denied"})", 403) == "not you");
    CHECK(home.error("fail", R"({"kind": "teapot"})", 418) == "short and stout");
    CHECK(home.error("fail", "{}", 500) == "secret /path/inside");
    CHECK(contains(home.error("fail", R"({"kind": "int"})", 500), "not derived"));
    const Answer redirect = home.call("fail", R"({"kind": "redirect"})");
    CHECK(redirect.status == 302);
    CHECK(redirect.fields.at("Location") == "/elsewhere");
    CHECK(json::parse(redirect.body)["redirect"] == "/elsewhere");
    const Answer need = home.call("fail", R"({"kind": "need"})");
    CHECK(need.status == 423);
    CHECK(json::parse(need.body)["needed_vars"][0]["comment"] == "Login");
  }

  TEST_CASE("nothing that a handler returns or throws can add a header (83)") {
    Home home;
    Calculator calculator;
    register_everything(home.kitten, calculator);
    home.kitten.api("mime", [] { return kt::Result{"text/plain\r\nSet-Cookie: a=b", "x"}; });
    home.kitten.api(
        "status",
        [](int status) {
          return kt::Result{"text/plain", "x", status};
        },
        "", kt::arg("status"));
    home.start();
    for (const Answer& answer : {home.call("fail", R"({"kind": "injection"})"), home.call("mime")}) {
      CHECK(answer.status == 500);
      CHECK_FALSE(contains(answer.head, "Set-Cookie"));
    }
    for (const int status : {0, 99, 101, 1000, -200})
      CHECK(home.call("status", json{{"status", status}}.dump()).status == 500);
    CHECK(home.call("status", R"({"status": 201})").status == 201);
  }

  TEST_CASE("strangers get neither the texts of exceptions nor their own words back") {
    Home home;
    Calculator calculator;
    register_everything(home.kitten, calculator);
    home.start();
    const auto stranger = [&](const std::string& arguments) {
      return Wire::tcp(home.kitten).send(home.post("/public_fail", arguments)).answer();
    };
    CHECK(stranger("{}").status == 500);
    CHECK_FALSE(contains(stranger("{}").body, "secret"));
    CHECK(stranger(R"({"n": "marker"})").status == 400);
    CHECK_FALSE(contains(stranger(R"({"n": "marker"})").body, "marker"));
    CHECK_FALSE(contains(stranger(R"({"marker": 1})").body, "marker"));
    CHECK(contains(home.log(), "secret /path/inside"));
  }

  TEST_CASE("a name or default that cannot work is refused when the method is added") {
    kt::Kitten kitten("test");
    CHECK_THROWS_WITH_AS(kitten.api("add", add, "", kt::arg("a") = "x", kt::arg("b")),
                         doctest::Contains("default of add: argument 'a'"), std::invalid_argument);
    CHECK_THROWS_WITH_AS(kitten.api("add", add, "", kt::arg("a"), kt::arg("a")),
                         doctest::Contains("two parameters are called 'a'"), std::invalid_argument);
    for (const char* name : {"", "_args", "_format", "a=b", "a b", "a-b", "a.b", "a\n", "a&b", "\xFF", "\xC3\xA4"}) {
      CAPTURE(name);
      CHECK_THROWS_WITH_AS(kitten.api("add", add, "", kt::arg("a"), kt::arg(name)),
                           doctest::Contains("cannot be the name of a parameter: use letters, digits and _"),
                           std::invalid_argument);
    }
    CHECK_THROWS_WITH_AS(kitten.api("add", add, "", kt::arg("a"), kt::arg("reply_to_first_fd")),
                         doctest::Contains("add: 'reply_to_first_fd' cannot be the name of a parameter: with it"),
                         std::invalid_argument);
    kitten.api("add", add, "", kt::arg("Left_1"), kt::arg("2nd"));
    for (const char* name : {"", "a/b", "-a", ".a", ".", "a b", "a%20", "a?", "a\n", "\xC3\xA4", "\xFF"}) {
      CAPTURE(name);
      CHECK_THROWS_WITH_AS(kitten.api(name, [] {}), doctest::Contains("cannot be the name of a method"),
                           std::invalid_argument);
      CHECK_THROWS_AS(kitten.public_api(name, [] {}), std::invalid_argument);
    }
    CHECK_THROWS_WITH_AS(kitten.api("ping", [] {}), doctest::Contains("built-in"), std::invalid_argument);
  }

  TEST_CASE("a name has letters, digits, _, - and ., the last two not in front") {
    Home home;
    const std::vector<std::string> names{"a-b.c", "2nd", "A_", "a-", "a..b", "x."};
    for (const std::string& name : names) home.kitten.api(name, [name] { return name; });
    home.start();
    const kt::Client client = client_of(home);
    for (const std::string& name : names) {
      CHECK(home.result(name) == name);
      CHECK(client.call<std::string>(name) == name);
    }
  }

  TEST_CASE("unknown methods go to the fallback, for strangers only if it is public") {
    Home home;
    home.kitten.fallback(
        [](kt::Request& request) { return "no " + std::string(request.method()) + request.arguments().dump(); });
    home.start();
    CHECK(home.result("xyzzy", R"({"a": 1})") == "no xyzzy{\"a\":1}");
    CHECK(Wire::tcp(home.kitten).send(home.get("/xyzzy")).answer().status == 403);
    Home open("Open");
    open.kitten.public_fallback([] { return kt::text("meow"); });
    open.kitten.api("private", [] { return 1; });
    open.start();
    // Which private methods there are is no business of strangers.
    for (const char* name : {"/xyzzy", "/private", "/quitquitquit"})
      CHECK(Wire::tcp(open.kitten).send(open.get(name)).answer().body == "meow");
    CHECK(open.result("private") == 1);
  }

  TEST_CASE("a method that is added again replaces the first, and is as private as the last") {
    Home home;
    const auto stranger = [&] { return Wire::tcp(home.kitten).send(home.get("/m")).answer(); };
    home.kitten.public_api("m", [] { return 1; });
    home.start();
    CHECK(stranger().body == "1\n");
    home.kitten.api("m", [] { return 2; });
    CHECK(stranger().status == 403);
    CHECK(home.result("m") == 2);
    home.kitten.public_api("m", [] { return 3; });
    CHECK(stranger().body == "3\n");
    CHECK(home.result("m") == 3);
  }

  TEST_CASE("of two fallbacks the last one answers, and is as private as it says") {
    Home home;
    const auto stranger = [&] { return Wire::tcp(home.kitten).send(home.get("/x")).answer(); };
    home.kitten.public_fallback([] { return 1; });
    home.start();
    CHECK(stranger().body == "1\n");
    home.kitten.fallback([] { return 2; });
    CHECK(stranger().status == 403);
    CHECK(home.result("x") == 2);
    home.kitten.public_fallback([] { return 3; });
    CHECK(stranger().body == "3\n");
  }
}
