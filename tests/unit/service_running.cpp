// SPDX-License-Identifier: MIT
#include "support.hpp"

TEST_SUITE("service/running") {
  TEST_CASE("a service runs in its host's loop, on the host's thread, when it is polled") {
    Home home;
    std::thread::id where;
    home.kitten.api("where", [&] { where = std::this_thread::get_id(); });
    home.kitten.start();
    CHECK(home.kitten.running());
    std::atomic<bool> done = false;
    std::thread caller([&] {
      home.kitten.connect().call("where");
      done = true;
    });
    while (!done) {
      if (home.kitten.poll() == 0) std::this_thread::sleep_for(1ms);
    }
    caller.join();
    CHECK(where == std::this_thread::get_id());
    CHECK(eventually([&] { return home.kitten.poll() == 0; }));
    home.kitten.stop();
    CHECK_FALSE(home.kitten.running());
    CHECK(std::filesystem::is_empty(home.state.path()));
    home.kitten.stop();
    CHECK(home.kitten.poll() == 0);
  }

  TEST_CASE("poll_for begins nothing more when its budget is used up") {
    Home home;
    int handled = 0;
    home.kitten.public_api("slow", [&] {
      ++handled;
      std::this_thread::sleep_for(20ms);
    });
    home.kitten.start();
    std::vector<Wire> wires;
    for (int i = 0; i < 5; ++i) {
      wires.push_back(Wire::tcp(home.kitten));
      wires.back().send(home.get("/slow"));
    }
    while (handled == 0) home.kitten.poll_for(1ms);
    CHECK(handled == 1);
    while (handled < 5) home.kitten.poll_for(1ms);
    for (Wire& wire : wires) {
      while (!wire.until("\r\n\r\n")) {
      }
    }
  }

  // The loop stands still until both are there: what is waited for, and the end of the time for it. Then the timer's
  // handler is behind the other one in the queue, where nothing can cancel it any more.
  TEST_CASE("what comes in the same turn of the loop as its deadline has come in time (69)") {
    // Should the machine be too slow to get that far before a deadline: once more, with later ones.
    bool soon_enough = false;
    for (auto limit = 50ms; !soon_enough; limit *= 2) {
      Home home;
      kt::Limits& limits = home.kitten.limits();
      const auto within = [&](std::chrono::milliseconds time) {
        limits.head_timeout = limits.body_timeout = limits.idle_timeout = limits.write_timeout = time;
      };
      home.kitten.on_start([&] { within(limit); });
      int slept = 0, ended = 0;
      home.kitten.api(
          "size", [](std::string text) { return text.size(); }, "", kt::arg("text"));
      home.kitten.api("big", [] { return kt::text(std::string(3'000'000, 'x')); });
      home.kitten.api("nap", [&]() -> kt::Task<std::string> {
        const std::shared_ptr<void> end(nullptr, [&](void*) { ++ended; });
        co_await kt::sleep_for(limit);
        ++slept;
        co_return "slept";
      });
      home.kitten.start();
      const auto turn = [&] {
        while (home.kitten.poll() != 0) {
        }
      };
      const std::string request = home.post(home.path("size"), R"({"text": "four"})");
      const auto begin = std::chrono::steady_clock::now();
      Wire idle = Wire::local(home.kitten), in_head = Wire::local(home.kitten), in_body = Wire::local(home.kitten);
      Wire slow = Wire::local(home.kitten), sleeper = Wire::local(home.kitten);
      std::optional<Wire> gone = Wire::local(home.kitten);
      in_head.send(request.substr(0, 30));
      in_body.send(request.substr(0, request.size() - 1));
      slow.send(home.get(home.path("big")));
      sleeper.send(home.get(home.path("nap")));
      gone->send(home.get(home.path("nap")));
      turn();
      soon_enough = std::chrono::steady_clock::now() - begin < limit;
      if (!soon_enough) continue;

      idle.send(request);
      in_head.send(request.substr(30));
      in_body.send(request.substr(request.size() - 1));
      // Makes room for more, without which the answer would not go on.
      for (pollfd more{slow.fd(), POLLIN, 0}; ::poll(&more, 1, 0) == 1;) CHECK(slow.receive());
      gone.reset();
      std::this_thread::sleep_until(begin + 3 * limit);
      within(patience);
      turn();
      CHECK(slept == 2);
      CHECK(ended == 2);
      CHECK(sleeper.answer().body == "\"slept\"\n");
      for (Wire* wire : {&idle, &in_head, &in_body}) {
        CHECK(wire->answer().body == "4\n");
        wire->send(request);
      }
      turn();
      for (Wire* wire : {&idle, &in_head, &in_body}) CHECK(wire->answer().body == "4\n");
      while (slow.received().size() < 3'000'000 && slow.receive()) turn();
      CHECK(slow.answer().body.size() == 3'000'000);
      CHECK_FALSE(contains(home.log(), "timeout"));
    }
  }

  TEST_CASE("deadlines that run out while a service ends, or after it, find nothing to end (69)") {
    for (const bool by_handler : {true, false}) {
      CAPTURE(by_handler);
      Home home;
      kt::Limits& limits = home.kitten.limits();
      home.kitten.api("stop", [&] { home.kitten.stop(); });
      home.kitten.start();
      const auto turn = [&] {
        while (home.kitten.poll() != 0) {
        }
      };
      Wire stopper = Wire::local(home.kitten);
      turn();
      limits.head_timeout = limits.idle_timeout = limits.drain_timeout = limits.linger_timeout = 20ms;
      std::vector<Wire> others;
      for (int i = 0; i < 6; ++i) {
        others.push_back(Wire::local(home.kitten));
        if (i % 2 == 0) others.back().send("GET /");
      }
      turn();
      if (by_handler) stopper.send(home.get(home.path("stop")));
      std::this_thread::sleep_for(60ms);
      if (by_handler) {
        CHECK(eventually([&] {
          turn();
          return !home.kitten.running();
        }));
      } else {
        home.kitten.stop();
      }
      for (Wire& other : others) other.rest();
      std::this_thread::sleep_for(60ms);
      turn();
      limits = kt::Limits{};
      home.start();
      CHECK(Wire::local(home.kitten).send(home.get("/ping")).answer().status == 200);
    }
  }

  TEST_CASE("a service runs on a loop of the host, beside what else runs there") {
    Home home;
    asio::io_context loop;
    std::atomic<int> ticks = 0;
    bool ticking = true;
    asio::steady_timer timer(loop);
    std::function<void()> tick = [&] {
      timer.expires_after(1ms);
      timer.async_wait([&](const asio::error_code& error) {
        if (error || !ticking) return;
        ++ticks;
        tick();
      });
    };
    tick();
    {
      kt::Kitten kitten(loop, "testkitten", "Kitty");
      kitten.settings().app_state_dir = home.state.path();
      std::thread::id where;
      kitten.api("where", [&] { where = std::this_thread::get_id(); });
      kitten.api("leave", [&] { kitten.stop(); });
      bool started = false;
      kitten.on_start([&]() -> kt::Task<> {
        co_await kt::sleep_for(1ms);
        started = true;
      });
      kitten.start();
      CHECK_FALSE(started);
      std::thread host([&] { loop.run(); });
      CHECK(eventually([&] { return ::access((home.state / "Kitty.url").c_str(), F_OK) == 0; }));
      const kt::Client client = kitten.connect();
      client.call("where");
      CHECK(where == host.get_id());
      client.call("leave");
      CHECK(eventually([&] { return !kitten.running(); }));
      CHECK(std::filesystem::is_empty(home.state.path()));
      std::promise<std::string> again;
      asio::post(loop, [&] { again.set_value(kitten.try_start()); });
      CHECK(again.get_future().get() == "");
      CHECK(eventually([&] { return ::access((home.state / "Kitty.url").c_str(), F_OK) == 0; }));
      const int before = ticks;
      CHECK(eventually([&] { return ticks > before; }));
      loop.stop();
      host.join();
      // The service is destroyed with connections open, and nobody runs the loop any more.
    }
    CHECK(std::filesystem::is_empty(home.state.path()));
    ticking = false;
    loop.restart();
    loop.run();
  }

  TEST_CASE("a start that fails throws, or says why, and can be tried again") {
    Home first;
    first.start();
    kt::Kitten second("testkitten", "Kitty");
    second.settings().app_state_dir = first.state.path();
    CHECK_THROWS_AS(second.start(), kt::StartError);
    CHECK_THROWS_AS(second.start_thread(), kt::StartError);
    CHECK_THROWS_AS(second.run(), kt::StartError);
    CHECK(second.try_start() == "testkitten/Kitty is already running");
    CHECK_FALSE(second.running());
    first.kitten.stop();
    CHECK(second.try_start().empty());
    CHECK(second.try_start() == "the service runs already");
    second.stop();
  }

  TEST_CASE("stop comes from any thread, at once from several, in every way to run") {
    for (const int way : {0, 1, 2}) {
      Home home;
      home.kitten.on_shutdown([]() -> kt::Task<> { co_await kt::sleep_for(5ms); });
      std::thread runner;
      std::atomic<bool> polling = true;
      if (way == 0) home.kitten.start_thread();
      if (way == 1) runner = std::thread([&] { home.kitten.run(); });
      if (way == 2) {
        runner = std::thread([&] {
          home.kitten.start();
          while (polling) {
            home.kitten.poll();
            std::this_thread::sleep_for(1ms);
          }
        });
      }
      CHECK(eventually([&] { return home.kitten.running(); }));
      std::vector<std::thread> stoppers;
      for (int i = 0; i < 4; ++i) {
        stoppers.emplace_back([&] {
          home.kitten.stop();
          CHECK_FALSE(home.kitten.running());
        });
      }
      for (std::thread& stopper : stoppers) stopper.join();
      polling = false;
      if (runner.joinable()) runner.join();
      CHECK(std::filesystem::is_empty(home.state.path()));
    }
  }

  TEST_CASE("a service that runs cannot be started once more, whichever way") {
    Home home;
    home.kitten.start_thread();
    CHECK(home.kitten.try_start() == "the service runs already");
    CHECK_THROWS_WITH_AS(home.kitten.run(), "the service runs already", kt::StartError);
    CHECK_THROWS_WITH_AS(home.kitten.start_thread(), "the service runs already", kt::StartError);
    CHECK(home.result("ping").contains("pong"));
  }

  TEST_CASE("a stop that comes while another thread is starting the service ends it once it has started") {
    Home home;
    Happening starting, stopping, stopped;
    home.kitten.on_start([&] {
      starting.happen();
      CHECK(stopping.happened());
      std::this_thread::sleep_for(20ms);  // stop() has been entered by now, most likely
    });
    std::thread stopper([&] {
      CHECK(starting.happened());
      stopping.happen();
      home.kitten.stop();
      stopped.happen();
    });
    home.kitten.start_thread();
    CHECK(stopped.happened());
    CHECK(!home.kitten.running());
    home.kitten.stop();  // frees the other one, should it wait for ever
    stopper.join();
    CHECK(std::filesystem::is_empty(home.state.path()));
  }

  TEST_CASE("where a service is stays known until it is started again") {
    Home home;
    home.start();
    const std::string& url = home.kitten.url();
    const std::string& socket = home.kitten.socket_path();
    const std::string& token = home.kitten.token();
    const std::string first_url = url, first_socket = socket, first_token = token;
    CHECK(first_url.starts_with("http://127.0.0.1:"));
    CHECK(first_socket == home.state / "Kitty.sock");
    CHECK_FALSE(first_token.empty());
    home.kitten.stop();
    CHECK(url == first_url);
    CHECK(socket == first_socket);
    CHECK(token == first_token);
    home.kitten.settings().worker_use_tcp = false;
    home.start();
    CHECK(home.kitten.url().empty());
    CHECK(home.kitten.token() != first_token);
  }
}
