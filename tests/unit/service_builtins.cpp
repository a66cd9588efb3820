// SPDX-License-Identifier: MIT
#include "service/options.ipp"
#include "services.hpp"
#include "support.hpp"

TEST_SUITE("service/builtins") {
  TEST_CASE("ping is static for strangers, and a table of methods for others") {
    Home home;
    Calculator calculator;
    register_everything(home.kitten, calculator);
    home.kitten.public_api("web_root", [] { return kt::html("<p>hello</p>"); });
    home.start();
    CHECK(Wire::tcp(home.kitten).send(home.get("/ping")).answer().body == "Pong\n");
    CHECK(Wire::tcp(home.kitten).send(home.post("/ping", "not even JSON {{{")).answer().status == 400);
    const json pong = home.result("ping", R"({"x": 5, "docs": "y"})");
    CHECK(pong["pong"] == true);
    CHECK(pong["x"] == 5);
    CHECK(pong["conn"].get<std::string>().starts_with("127.0.0.1:"));
    CHECK(pong["_format"] == "Pong via %(conn)s! (see JSON for full method list)");
    const json& stream = pong["methods"]["stream"];
    CHECK(stream["args"].dump() == R"({"count":"int","more":"str"})");
    CHECK(stream["options"].is_object());
    CHECK(stream["returns"] == "str");
    CHECK(stream["is_generator"] == true);
    CHECK(contains(stream["help"].get<std::string>(), "/stream [--count=1]"));
    CHECK(pong["methods"]["add"]["returns"] == "int");
    CHECK(pong["methods"]["add"]["is_generator"] == false);
    CHECK(pong["methods"]["maybe"]["args"]["n"] == "int | None");
    CHECK(pong["methods"].contains("help"));
    for (const char* hidden : {"ping", "config", "quitquitquit"}) CHECK_FALSE(pong["methods"].contains(hidden));
    CHECK_FALSE(home.result("ping")["methods"]["add"].contains("help"));
    CHECK(home.error("ping", R"({"_args": [1]})") == "ping: takes named arguments only");
    CHECK(Wire::tcp(home.kitten).send(home.get("/")).answer().body == "<p>hello</p>");
    CHECK(Wire::tcp(home.kitten).send(home.get("/" + home.kitten.token())).answer().body == "<p>hello</p>");
  }

  TEST_CASE("help describes the service, and a method with its arguments") {
    Home home;
    Calculator calculator;
    register_everything(home.kitten, calculator);
    home.start();
    const std::string all = home.result("help").get<std::string>();
    CHECK(contains(all, "A kitten under test"));
    CHECK(contains(all, "API Commands: add, all, bytes"));
    CHECK(contains(all, "--worker-listen-port=0"));
    const std::string one = home.result("help", R"({"command": "add"})").get<std::string>();
    CHECK(one.starts_with("/add <a> [--b=1]\n"));
    CHECK(contains(one, "  a  int, required\n  b  int, default 1\n"));
    CHECK(home.result("help", R"({"_args": ["xyzzy"]})") == "No Help Available\n");
  }

  TEST_CASE("config shows, sets, appends, removes, pops, resets and saves") {
    Home home;
    double sleep_time = 1;
    std::vector<std::string> names{"a"};
    std::vector<int> sizes{1};
    std::string motto;
    int changes = 0;
    home.kitten.option("sleep_time", sleep_time, "Seconds", [&] { ++changes; });
    home.kitten.option("names", names).option("motto", motto).option("sizes", sizes);
    home.start();
    const json shown = home.result("config");
    CHECK(shown["config"]["sleep_time"] == 1.0);
    CHECK_FALSE(shown["config"].contains("worker_secret"));
    CHECK(contains(shown["_format"].get<std::string>(), "\n--sleep_time=1.0\n--names=[\"a\"]"));
    CHECK(home.result("config", R"({"key": "sleep-time", "val": "0.5"})")["val"] == "sleep_time");
    CHECK(sleep_time == 0.5);
    CHECK(changes == 1);
    home.result("config", R"({"key": "names", "append": "b"})");
    CHECK(names == std::vector<std::string>{"a", "b"});
    home.result("config", R"({"key": "names", "remove": "a"})");
    CHECK(names == std::vector<std::string>{"b"});
    home.result("config", R"({"key": "names", "pop": 0})");
    CHECK(names.empty());
    home.result("config", R"({"reset": "names"})");
    CHECK(names == std::vector<std::string>{"a"});
    for (const char* five : {"5", "\"5\"", "\"0x5\""}) {
      home.result("config", R"({"key": "sizes", "append": )"s + five + "}");
      CHECK(sizes == std::vector<int>{1, 5});
      home.result("config", R"({"key": "sizes", "remove": )"s + five + "}");
      CHECK(sizes == std::vector<int>{1});
    }
    for (const char* action : {"append", "remove"}) {
      CHECK(contains(home.error("config", R"({"key": "sizes", ")"s + action + R"(": "many"})"),
                     "option 'sizes': expected int, got \"many\""));
    }
    CHECK(contains(home.error("config", R"({"key": "sizes", "remove": "7"})"), "\"7\" is not in option 'sizes'"));
    CHECK(contains(home.error("config", R"({"key": "", "append": "7"})"), "unknown option ''"));
    CHECK(contains(home.error("config", R"({"key": "sleep_time", "val": "banana"})"),
                   "'sleep_time': expected float, got \"banana\""));
    CHECK(contains(home.error("config", R"({"key": "sleep_tim", "val": 1})"), "did you mean 'sleep_time'?"));
    CHECK(contains(home.error("config", R"({"key": "names", "val": [], "pop": 0})"), "one operation at a time"));
    CHECK(contains(home.error("config", R"({"key": "names", "pop": 7})"), "has 1 items"));
    CHECK(contains(home.error("config", R"({"key": "sleep_time", "append": 1})"), "not a list"));
    CHECK(contains(home.error("config", R"({"val": 1})"), "which option?"));
    CHECK(contains(home.error("config", R"({"_args": ["sleep_time", "0.2"]})"), "say --key=NAME --val=VALUE"));
    std::filesystem::create_symlink("/nonexistent", home.state / "link.cfg");
    CHECK(contains(home.error("config", R"({"save": "link.cfg"})"), "not a regular file"));
    std::filesystem::create_directory(home.state / "folder.cfg");
    CHECK(contains(home.error("config", R"({"save": "folder.cfg"})"), "not a regular file"));
    const std::string long_name = std::string(300, 'x') + ".cfg";
    CHECK(contains(home.error("config", json{{"save", long_name}}.dump()), "config: save takes 'yes', or NAME.cfg"));
    // What a line of a file cannot hold is not saved as something else.
    for (const char* text : {"a\nworker_umask=511", "a #b", " a", "a "}) {
      home.result("config", json{{"key", "motto"}, {"val", text}}.dump());
      CHECK(motto == text);
      const auto shown_text = home.result("config", R"({"key": "motto"})")["_format"].get<std::string>();
      CHECK(shown_text == (text == "a\nworker_umask=511"s ? "--motto=a\\nworker_umask=511" : "--motto="s + text));
      CHECK(contains(home.error("config", R"({"save": "yes"})"), "option 'motto': a file cannot hold "));
    }
    CHECK_FALSE(std::filesystem::exists(home.state / "Kitty.cfg"));
    home.result("config", R"({"key": "motto", "val": "#=a#b = c"})");
    CHECK(contains(home.error("config", R"({"key": "worker_max_connections", "val": 0})"), "must be positive"));
    // Saved, it would keep the service from starting again.
    CHECK(contains(home.error("config", R"({"key": "worker_secret", "val": "short"})"), "at least 6 are needed"));
    CHECK(home.kitten.limits().connections == 2048);
    CHECK(sleep_time == 0.5);

    home.result("config", R"({"save": "yes"})");
    const std::string file = home.state / "Kitty.cfg";
    kt::detail::FileInfo info{};
    REQUIRE(::stat(file.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
    CHECK(contains(contents(file), "--sleep_time=0.5\n"));
    CHECK(contains(contents(file), "--motto=#=a#b = c\n"));
    sleep_time = 3;
    kt::detail::Options options;
    options.add("sleep_time", sleep_time, "");
    CHECK_THROWS_WITH_AS(options.read_file(file), doctest::Contains("Kitty.cfg:1: unknown option 'app_name'"),
                         kt::InvalidArgument);
  }

  TEST_CASE("config saves to its own directory only, whatever a caller says about that (169)") {
    const TempDir elsewhere;
    Home home;
    home.start();
    const auto refused = [&](const std::string& path) {
      CAPTURE(path);
      CHECK(contains(home.error("config", json{{"save", path}}.dump()), "config: save takes 'yes', or NAME.cfg"));
    };
    for (const char* name : {"../up.cfg", "a/b.cfg", "/etc/a.cfg", ".hidden.cfg", ".cfg", "..", ".bashrc", "script.sh",
                             "Kitty.url", "a\nb.cfg", "a.cfg/"})
      refused(name);
    refused(elsewhere / "Kitty.cfg");
    refused(home.state / "../Kitty.cfg");
    refused(home.state / "sub/Kitty.cfg");
    home.result("config", R"({"save": "other.cfg"})");
    CHECK(contains(contents(home.state / "other.cfg"), "--worker_name=Kitty\n"));
    home.result("config", json{{"save", home.state / "third.cfg"}}.dump());
    CHECK(std::filesystem::exists(home.state / "third.cfg"));

    // The directory, and other places where something will be written, are not for callers to choose.
    for (const char* name :
         {"app_data_dir", "app_state_dir", "worker_config", "worker_log_file", "worker_secret_file"}) {
      const std::string why = "config: '"s + name + "' says where files are";
      CHECK(contains(home.error("config", json{{"key", name}, {"val", elsewhere.path()}}.dump()), why));
      CHECK(contains(home.error("config", json{{"reset", name}}.dump()), why));
      CHECK(home.result("config", json{{"key", name}}.dump())["config"].contains(name));
    }
    home.result("config", R"({"key": "app_name", "val": "another"})");
    home.result("config", R"({"key": "worker_name", "val": "Tom"})");
    home.result("config", R"({"save": "yes"})");
    CHECK(contains(contents(home.state / "Kitty.cfg"), "--app_name=another\n"));
    CHECK_FALSE(std::filesystem::exists(home.state / "Tom.cfg"));
    CHECK(std::filesystem::is_empty(elsewhere.path()));
  }

  TEST_CASE("quitquitquit removes the files before it answers, and the service ends (155)") {
    Home home;
    Happening gone, hooked;
    home.kitten.limits().drain_timeout = 100ms;
    home.kitten.on_shutdown([&] {
      CHECK(std::filesystem::exists(home.state / "Kitty.url"));
      hooked.happen();
      throw std::runtime_error("hooks may fail");
    });
    home.kitten.api("forever", [&]() -> kt::Generator<int> {
      const Counted local(&gone);
      for (;;) {
        co_yield 1;
        co_await kt::sleep_for(1ms);
      }
    });
    home.start();
    std::vector<Wire> streams;
    for (int i = 0; i < 50; ++i) {
      streams.push_back(Wire::tcp(home.kitten));
      streams.back().send(home.get(home.path("forever")));
      CHECK(streams.back().until("1\n"));
    }
    Wire idle = Wire::tcp(home.kitten);
    CHECK(idle.send(home.get("/ping")).answer().status == 200);
    Wire quitter = Wire::tcp(home.kitten);
    const Answer answer = quitter.send(home.post(home.path("quitquitquit"), "{}")).answer();
    CHECK(answer.body == "\"Goodbye forever\"\n");
    CHECK(answer.fields.at("Connection") == "close");
    CHECK(std::filesystem::is_empty(home.state.path()));
    CHECK(quitter.closed());
    CHECK(idle.closed());
    CHECK(hooked.count() == 1);
    home.kitten.stop();
    CHECK(gone.count() == 50);
  }

  TEST_CASE("a service can be stopped and started again, and stopping twice does nothing") {
    Home home;
    home.kitten.stop();
    home.start();
    const std::string first = home.kitten.token();
    CHECK(home.result("ping")["pong"] == true);
    home.kitten.stop();
    home.kitten.stop();
    CHECK(std::filesystem::is_empty(home.state.path()));
    home.start();
    CHECK(home.kitten.token() != first);
    CHECK(home.result("ping")["pong"] == true);
  }

  TEST_CASE("threads may stop a service at the same time, and a late stop does not end its next run") {
    Home home;
    for (int round = 0; round < 20; ++round) {
      home.start();
      std::vector<std::thread> threads;
      for (int i = 0; i < 4; ++i) threads.emplace_back([&] { home.kitten.stop(); });
      for (std::thread& thread : threads) thread.join();
      home.start();
      REQUIRE(home.result("ping")["pong"] == true);
      home.kitten.stop();
    }
  }

  TEST_CASE("a service can be stopped from its own handler, and started again after that") {
    Home home;
    home.kitten.api("end", [&] { home.kitten.stop(); });
    for (int round = 0; round < 3; ++round) {
      home.start();
      Wire wire = Wire::tcp(home.kitten);
      CHECK(wire.send(home.get(home.path("end"))).answer().status == 200);
      CHECK(wire.closed());
      CHECK(eventually([&] { return std::filesystem::is_empty(home.state.path()); }));
      home.kitten.stop();
    }
  }

  TEST_CASE("a handler that is awaited when the service stops is cancelled, and sees that it was") {
    Home home;
    Happening started, cancelled;
    home.kitten.limits().drain_timeout = 50ms;
    home.kitten.api("wait", [&](kt::Request& request) -> kt::Task<int> {
      started.happen();
      try {
        co_await kt::sleep_for(24h);
      } catch (const std::exception&) {
        if (request.cancelled()) cancelled.happen();
      }
      co_return 1;
    });
    home.start();
    Wire wire = Wire::tcp(home.kitten);
    wire.send(home.get(home.path("wait")));
    CHECK(started.happened());
    home.kitten.stop();
    CHECK(cancelled.count() == 1);
  }
}
