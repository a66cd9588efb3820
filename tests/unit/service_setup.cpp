// SPDX-License-Identifier: MIT
#include "services.hpp"
#include "support.hpp"

namespace {

int awaited(int argc, char** argv) {
  kt::Kitten kitten("awaited", "Kitty");
  kitten.api("answer", [] { return 42; });
  return kitten.main(argc, argv);
}
const OwnService awaited_service("awaited", awaited);

}  // namespace

TEST_SUITE("service/setup") {
  TEST_CASE("public_api takes every form that api takes") {
    Home home;
    Calculator calculator{2};
    const kt::Topic<int> topic;
    home.kitten.public_api("plain", [] { return 1; });
    home.kitten.public_api(
        "described", [](int n) { return n; }, "Says n.", kt::arg("n"));
    home.kitten.public_api(
        "named", [](int n) { return n; }, kt::arg("n"));
    home.kitten.public_api("member", calculator, &Calculator::times, "Multiplies.", kt::arg("a"), kt::arg("b"));
    home.kitten.public_api("events", topic, "Numbers.");
    home.kitten.public_api("more_events", topic);
    home.kitten.api("private_events", topic, "Numbers.");
    home.start();
    for (const char* name : {"/plain", "/described", "/named"})
      CHECK(Wire::tcp(home.kitten).send(home.post(name, R"({"_args": [1]})")).answer().status ==
            (name == "/plain"s ? 400 : 200));
    CHECK(Wire::tcp(home.kitten).send(home.post("/member", R"({"a": 2, "b": 3})")).answer().body == "12\n");
    for (const char* name : {"/events", "/more_events"}) {
      Wire stranger = Wire::tcp(home.kitten);
      stranger.send(home.get(name));
      CHECK(stranger.until("200 OK"));
    }
    CHECK(Wire::tcp(home.kitten).send(home.get("/private_events")).answer().status == 403);
  }

  TEST_CASE("what has to be set up before the start, or on the service's thread, says so at another time") {
    Home home;
    int value = 1;
    home.kitten.api("set_up", [&] {
      home.kitten.option("at_run_time", value, "On the service's thread.");
      return value;
    });
    home.start();
    const auto refused = [](auto call) {
      CHECK_THROWS_AS(call(), std::logic_error);
      CHECK(contains(failure(call), "belongs before the start"));
    };
    refused([&] { home.kitten.option("late", value); });
    refused([&] { home.kitten.log_to({}); });
    refused([&] { home.kitten.authenticator({}); });
    refused([&] { home.kitten.router({}); });
    refused([&] { home.kitten.run_handlers_on({}); });
    refused([&] { home.kitten.on_start([] {}); });
    refused([&] { home.kitten.on_shutdown([] {}); });
    refused([&] { home.kitten.command_prefix({"daemon"}); });
    CHECK(home.result("set_up") == 1);
    // Methods come at any time, from any thread.
    home.kitten.api("late", [] { return 2; });
    CHECK(home.result("late") == 2);
    home.kitten.stop();
    home.kitten.option("late", value);
  }

  TEST_CASE("a connection is given to a service that runs, on its thread") {
    Home home;
    const auto give = [&] {
      SocketPair pair;
      home.kitten.serve_connection(kt::Socket(std::move(pair.here)));
    };
    CHECK_THROWS_WITH_AS(give(), "the service is not running", kt::Error);
    home.start();
    CHECK_THROWS_WITH_AS(give(), "kettlingar: serve_connection() belongs on the service's thread", std::logic_error);
  }

  TEST_CASE("a request that is used on another thread than that of its handler says so") {
    Home home, other("Tom");
    other.start();
    const kt::Client there = other.kitten.connect();
    home.kitten.api("elsewhere", [&](kt::Request& request) {
      std::vector<std::string> said;
      std::thread([&] {
        for (const auto& use : std::initializer_list<std::function<void()>>{
                 [&] { static_cast<void>(request.cancelled()); }, [&] { request.take_connection(); },
                 [&] { there.call("ping", kt::reply_to(request)); }}) {
          try {
            use();
            said.push_back("nothing");
          } catch (const std::logic_error& error) {
            said.push_back(error.what());
          }
        }
      }).join();
      return said;
    });
    home.start();
    const std::string wrong = "kettlingar: a kt::Request is for the thread that runs its handler";
    CHECK(home.result("elsewhere") == json::array({wrong, wrong, wrong}));
  }

  TEST_CASE("try_start_thread says why the service does not start") {
    Home home;
    CHECK(home.kitten.try_start_thread() == "");
    CHECK(home.result("ping")["pong"] == true);
    CHECK(contains(home.kitten.try_start_thread(), "runs already"));
    kt::Kitten other("testkitten", "Kitty");
    other.settings().app_state_dir = other.settings().app_data_dir = home.state.path();
    CHECK(contains(other.try_start_thread(), "already"));
    CHECK_FALSE(other.running());
  }

  TEST_CASE("async_connect starts the service that does not run, and does not hold up its loop") {
    TempDir state;
    const std::string script = state / "start";
    write_file(script, "#!/bin/sh\nexec " + own_service("awaited", state.path()) + "\"$@\"\n", 0700);
    asio::io_context loop;
    int answer = 0, ticks = 0;
    bool done = false;
    std::string failed;
    const auto ask = [&]() -> kt::Task<void> {
      kt::ClientOptions options;
      options.state_directory = state.path();
      const kt::Client client = co_await kt::Client::async_connect("awaited", "Kitty", kt::auto_start(script), options);
      answer = co_await client.async_call<int>("answer");
    };
    const auto tick = [&]() -> kt::Task<void> {
      while (!done) {
        ++ticks;
        co_await kt::sleep_for(1ms);
      }
    };
    asio::co_spawn(loop, ask(), [&](std::exception_ptr thrown) {
      done = true;
      if (thrown) failed = kt::detail::words_of(thrown);
    });
    asio::co_spawn(loop, tick(), asio::detached);
    loop.run();
    CHECK(failed == "");
    CHECK(answer == 42);
    CHECK(ticks > 3);
    CHECK(run(own_service("awaited", state.path()) + "stop").code == 0);
  }
}
