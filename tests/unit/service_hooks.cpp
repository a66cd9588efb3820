// SPDX-License-Identifier: MIT
#include "support.hpp"

TEST_SUITE("service/hooks") {
  TEST_CASE("on_start runs before the service is announced, and may await") {
    Home home;
    std::string seen;
    home.kitten.on_start([&]() -> kt::Task<> {
      co_await kt::sleep_for(1ms);
      seen = std::to_string(::access((home.state / "Kitty.url").c_str(), F_OK)) +
             std::to_string(::access((home.state / "Kitty.sock").c_str(), F_OK));
    });
    home.start();
    CHECK(seen == "-10");
    CHECK(::access((home.state / "Kitty.url").c_str(), F_OK) == 0);
  }

  TEST_CASE("an on_start that throws ends the start and leaves nothing behind") {
    Home home;
    bool fail = true;
    home.kitten.on_start([&] {
      if (fail) throw std::runtime_error("no milk");
    });
    CHECK_THROWS_WITH_AS(home.start(), "on_start: no milk", kt::StartError);
    CHECK(std::filesystem::is_empty(home.state.path()));
    fail = false;
    home.start();
    CHECK(Wire::tcp(home.kitten).send(home.get("/ping")).answer().status == 200);
  }

  TEST_CASE("on_shutdown may await, and runs while the files are there, whoever asks for the end") {
    for (const bool by_call : {true, false}) {
      Home home;
      bool files = false;
      home.kitten.on_shutdown([&]() -> kt::Task<> {
        co_await kt::sleep_for(1ms);
        files = ::access((home.state / "Kitty.url").c_str(), F_OK) == 0;
      });
      home.start();
      if (by_call) {
        const Answer answer = Wire::tcp(home.kitten).send(home.post(home.path("quitquitquit"), "{}")).answer();
        CHECK(answer.body == "\"Goodbye forever\"\n");
        CHECK(std::filesystem::is_empty(home.state.path()));
      }
      home.kitten.stop();
      CHECK(files);
      CHECK(std::filesystem::is_empty(home.state.path()));
    }
  }

  TEST_CASE("a caller who leaves does not keep the service from stopping") {
    Home home;
    Happening stopping;
    home.kitten.on_shutdown([&]() -> kt::Task<> {
      stopping.happen();
      co_await kt::sleep_for(20ms);
    });
    home.start();
    { Wire::local(home.kitten).send(home.post(home.path("quitquitquit"), "{}")); }
    CHECK(stopping.happened());
    CHECK(eventually([&] { return std::filesystem::is_empty(home.state.path()); }));
  }

  TEST_CASE("an on_shutdown that takes too long is cancelled, one that throws is logged") {
    Home home;
    home.kitten.limits().shutdown_timeout = 20ms;
    bool cancelled = false;
    home.kitten.on_shutdown([&]() -> kt::Task<> {
      try {
        co_await kt::sleep_for(1h);
      } catch (const std::exception&) {
        cancelled = true;
        throw std::runtime_error("not done");
      }
    });
    home.start();
    home.kitten.stop();
    CHECK(cancelled);
    CHECK(home.log().find("on_shutdown: not done") != std::string::npos);
  }

  TEST_CASE("a program decides itself who is let in") {
    Home home;
    home.kitten.api("whoami", [](kt::Request& request) { return request.authenticated(); });
    home.kitten.authenticator([](const kt::Request& request) {
      if (request.method() == "bomb") throw std::runtime_error("boom");
      if (request.header("X-Locked")) return false;
      return request.authenticated() || request.peer().over_unix_socket;
    });
    home.start();
    CHECK(Wire::tcp(home.kitten).send(home.get("/whoami")).answer().status == 403);
    CHECK(Wire::local(home.kitten).send(home.get("/whoami")).answer().body == "true\n");
    CHECK(Wire::tcp(home.kitten).send(home.get(home.path("whoami"))).answer().body == "true\n");
    CHECK(Wire::tcp(home.kitten).send(home.get(home.path("whoami"), "X-Locked: 1\r\n")).answer().status == 403);
    CHECK(Wire::tcp(home.kitten).send(home.get(home.path("bomb"))).answer().status == 403);
  }

  TEST_CASE("a program finds methods by rules of its own") {
    Home home;
    home.kitten.api(
        "user", [](int id, std::string name) { return std::to_string(id) + name; }, kt::arg("id"),
        kt::arg("name") = "");
    home.kitten.router([](const kt::Request& request) -> std::optional<kt::RouteTo> {
      if (!request.path().starts_with("/users/")) return std::nullopt;
      kt::RouteTo route{"user"};
      route.arguments["id"] = std::string(request.path().substr(7));
      return route;
    });
    home.start();
    CHECK(Wire::tcp(home.kitten).send(home.get(home.path("users/42"))).answer().body == "\"42\"\n");
    CHECK(Wire::tcp(home.kitten).send(home.post(home.path("users/7"), R"({"name": "x", "id": 9})")).answer().body ==
          "\"7x\"\n");
    CHECK(Wire::tcp(home.kitten).send(home.get(home.path("users/x"))).answer().status == 400);
    CHECK(Wire::tcp(home.kitten).send(home.get("/users/42")).answer().status == 403);
    CHECK(home.result("user", "{\"id\": 1}") == "1");
    // The body comes in pieces, so that the buffer moves under the route.
    const std::string name(60'000, 'n');
    const std::string request = home.post(home.path("users/5"), "{\"name\": \"" + name + "\"}");
    Wire wire = Wire::tcp(home.kitten);
    for (std::size_t i = 0; i < request.size(); i += 10'000) wire.send(request.substr(i, 10'000));
    CHECK(wire.answer().body == "\"5" + name + "\"\n");
  }

  TEST_CASE("methods are added while the service runs, by handlers and by other threads") {
    Home home;
    home.kitten.api("learn", [&] { home.kitten.api("trick", [] { return 1; }); });
    home.start();
    CHECK(home.call("trick").status == 404);
    home.result("learn");
    CHECK(home.result("trick") == 1);
    std::thread([&] { home.kitten.api("other", [] { return 2; }); }).join();
    CHECK(home.result("other") == 2);
  }

  TEST_CASE("on_start runs on the thread that starts the service, or that runs the host's loop") {
    std::thread::id seen;
    Happening started;
    const auto note = [&] {
      seen = std::this_thread::get_id();
      started.happen();
    };
    Home home;
    home.kitten.on_start(note);
    home.start();
    CHECK(seen == std::this_thread::get_id());
    home.kitten.stop();
    std::thread runner([&] { home.kitten.run(); });
    CHECK(started.happened(2));
    CHECK(seen == runner.get_id());
    home.kitten.stop();
    runner.join();

    TempDir state;
    asio::io_context loop;
    kt::Kitten hosted(loop, "testkitten", "Hosted");
    hosted.settings().app_state_dir = hosted.settings().app_data_dir = state.path();
    hosted.on_start(note);
    hosted.start();
    std::thread host([&] {
      CHECK(eventually([&] {
        loop.poll();
        return started.count() == 3;
      }));
    });
    const std::thread::id id = host.get_id();
    host.join();
    CHECK(seen == id);
  }

  TEST_CASE("of two hooks of a kind the last one runs, in every run of the service") {
    Home home;
    std::string ran;
    home.kitten.on_start([&] { ran += "first "; }).on_start([&] { ran += "start "; });
    home.kitten.on_shutdown([&] { ran += "first "; }).on_shutdown([&]() -> kt::Task<> {
      ran += "stop ";
      co_return;
    });
    for (int i = 0; i < 2; ++i) {
      home.start();
      home.kitten.stop();
    }
    CHECK(ran == "start stop start stop ");
  }
}
