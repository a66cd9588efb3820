// SPDX-License-Identifier: MIT
#include "support.hpp"

TEST_SUITE("call/host_executor") {
  // A host with a queue of its own, as a GUI program has.
  class Host {
   public:
    explicit Host(kt::Kitten& kitten) {
      kitten.run_handlers_on([this](std::function<void()> work) {
        const std::lock_guard lock(mutex_);
        queue_.push_back(std::move(work));
      });
    }
    void frame() {
      std::deque<std::function<void()>> work;
      {
        const std::lock_guard lock(mutex_);
        work.swap(queue_);
      }
      for (const auto& one : work) one();
    }
    template <class Condition>
    bool frames_until(Condition condition) {
      return eventually([&] {
        frame();
        return condition();
      });
    }

   private:
    std::mutex mutex_;
    std::deque<std::function<void()>> queue_;
  };

  TEST_CASE("every step of every kind of handler runs on the host's thread, and nothing else does") {
    Home home;
    Host host(home.kitten);
    std::set<std::thread::id> threads;
    const auto here = [&] { threads.insert(std::this_thread::get_id()); };
    struct AtEnd {
      std::function<void()> work;
      ~AtEnd() { work(); }
    };
    home.kitten.api("plain", [&] { here(); });
    home.kitten.api("fails", [&] {
      here();
      throw kt::NotFound("nothing here");
    });
    home.kitten.api("later", [&]() -> kt::Task<int> {
      here();
      co_await kt::sleep_for(1ms);
      here();
      co_return 7;
    });
    home.kitten.api("items", [&]() -> kt::Generator<int> {
      const AtEnd at_end{here};
      for (int i = 0; i < 3; ++i) {
        here();
        co_yield i;
        co_await kt::sleep_for(1ms);
        here();
      }
      throw kt::NotFound("no more");
    });
    home.start();
    std::atomic<bool> done = false;
    std::string text;
    std::thread caller([&] {
      const kt::Client client = home.kitten.connect();
      client.call("plain");
      CHECK_THROWS_AS(client.call("fails"), kt::NotFound);
      text = std::to_string(client.call<int>("later"));
      CHECK_THROWS_AS(
          [&] {
            for (const int item : client.stream<int>("items")) text += std::to_string(item);
          }(),
          kt::Error);
      done = true;
    });
    CHECK(host.frames_until([&] { return done.load(); }));
    caller.join();
    host.frame();
    CHECK(text == "7012");
    CHECK(threads == std::set<std::thread::id>{std::this_thread::get_id()});
  }

  TEST_CASE("a host that does not get to a call in time has it answered with 503, and never begins it") {
    Home home;
    Host host(home.kitten);
    home.kitten.limits().host_timeout = 20ms;
    int calls = 0;
    home.kitten.api("plain", [&] { ++calls; });
    home.start();
    CHECK(home.error("plain", "{}", 503) == "the program did not get to this call in time");
    host.frame();
    CHECK(calls == 0);
    CHECK(home.result("ping").contains("pong"));
  }

  TEST_CASE("callers who leave and services that stop do not pull the rug from under a running handler") {
    Home home;
    Host host(home.kitten);
    Happening began, go_on;
    std::string seen;
    home.kitten.api(
        "slow",
        [&](kt::Request& request, std::string text) {
          began.happen();
          CHECK(go_on.happened());
          seen = text + std::string(request.method());
        },
        kt::arg("text"));
    home.start();
    std::thread gui([&] { CHECK(host.frames_until([&] { return !seen.empty(); })); });
    {
      Wire wire = Wire::local(home.kitten);
      wire.send(home.post(home.path("slow"), json{{"text", std::string(1000, 'x')}}.dump()));
      CHECK(began.happened());
    }
    std::thread stopper([&] { home.kitten.stop(); });
    go_on.happen();
    gui.join();
    stopper.join();
    CHECK(seen == std::string(1000, 'x') + "slow");
  }

  TEST_CASE("where handlers run on the host's thread, their connections stay the service's") {
    Home other("Other");
    Happening called;
    other.kitten.api("answer", [&] { called.happen(); });
    other.start();
    const kt::Client there = other.kitten.connect();
    Home home;
    Host host(home.kitten);
    home.kitten.api("pass_on", [&](kt::Request& request) { there.call("answer", kt::reply_to(request)); });
    home.kitten.api("take", [&](kt::Request& request) { request.take_connection(); });
    home.start();
    std::atomic<bool> done = false;
    std::thread caller([&] {
      Wire wire = Wire::local(home.kitten);
      for (const char* method : {"pass_on", "take"}) {
        CAPTURE(method);
        const Answer answer = wire.send(home.post(home.path(method), "{}")).answer();
        CHECK(answer.status == 501);
        CHECK(contains(answer.body, "where handlers run on the host's thread"));
      }
      CHECK(wire.send(home.get("/ping")).answer().status == 200);
      done = true;
    });
    CHECK(host.frames_until([&] { return done.load(); }));
    caller.join();
    CHECK(called.count() == 0);
  }

  TEST_CASE("an option's hook runs on the service's thread, not on the host's") {
    Home home;
    Host host(home.kitten);
    int speed = 1, seen = 0;
    std::thread::id where;
    home.kitten.option("speed", speed, "", [&] {
      seen = speed;
      where = std::this_thread::get_id();
    });
    std::thread runner([&] { home.kitten.run(); });
    CHECK(eventually([&] { return home.kitten.running(); }));
    home.result("config", R"({"key": "speed", "val": "2"})");  // the host does nothing meanwhile
    CHECK(seen == 2);
    CHECK(where == runner.get_id());
    home.kitten.stop();
    runner.join();
  }
}
