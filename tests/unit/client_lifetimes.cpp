// SPDX-License-Identifier: MIT
#include "services.hpp"
#include "support.hpp"

TEST_SUITE("client/lifetimes") {
  enum class Runs { on_its_thread, when_polled, on_a_hosts_loop, not_at_all };
  enum class Over { loopback, unix_socket };
  enum class Kind { call, first_item, later_item };

  // A service, a client of it and a caller with a loop of its own, each of which can go at any time.
  struct Parties {
    explicit Parties(Runs how, Over over) : runs(how) {
      if (runs == Runs::on_a_hosts_loop) {
        kitten.emplace(host, "testkitten", "Kitty");
      } else {
        kitten.emplace("testkitten", "Kitty");
      }
      kitten->settings().app_state_dir = kitten->settings().app_data_dir = state.path();
      kitten->limits().drain_timeout = 20ms;
      kitten->api("add", add, kt::arg("a"), kt::arg("b") = 1);
      kitten->api("wait", [this]() -> kt::Task<int> {
        const Counted counted(&ended);
        begun.happen();
        co_await kt::sleep_for(24h);
        co_return 1;
      });
      kitten->api(
          "items",
          [this](int before) -> kt::Generator<int> {
            const Counted counted(&ended);
            for (int i = 0; i < before; ++i) co_yield i;
            begun.happen();
            co_await kt::sleep_for(24h);
            co_yield before;
          },
          kt::arg("before"));
      start();
      if (over == Over::loopback) {
        client.emplace(kitten->loopback());
      } else {
        // Not connect(): that would wait for an answer, which the loop that this thread runs is to give.
        client.emplace(kt::detail::ClientAccess::make(kitten->settings(), {}));
      }
    }
    ~Parties() {
      caller.reset();
      client.reset();
      kitten.reset();
    }
    void start() {
      if (runs == Runs::on_its_thread) kitten->start_thread();
      if (runs == Runs::when_polled || runs == Runs::on_a_hosts_loop) kitten->start();
    }

    /// Runs what there is to run on this thread, until the condition holds.
    template <class Condition>
    bool run_until(Condition condition) {
      return eventually([&] {
        if (caller) caller->poll(), caller->restart();
        if (kitten && runs == Runs::when_polled) kitten->poll();
        host.poll(), host.restart();
        return condition();
      });
    }

    /// Begins a call that does not come to an end by itself, and lets its handler begin.
    void begin(Kind kind) {
      const auto done = [this](const std::exception_ptr& thrown) {
        try {
          if (thrown) std::rethrow_exception(thrown);
          outcome = "a result";
        } catch (const kt::ConnectionError& error) {
          outcome = "ConnectionError";
        } catch (const kt::NotRunning& error) {
          outcome = "ConnectionError";
        } catch (const std::exception& error) {
          outcome = error.what();
        }
      };
      if (kind == Kind::call) {
        asio::co_spawn(*caller, client->async_call<int>("wait"),
                       [done](const std::exception_ptr& thrown, int) { done(thrown); });
      } else {
        asio::co_spawn(*caller, read(client->async_stream<int>("items", kind == Kind::later_item ? 3 : 0)), done);
      }
      REQUIRE(run_until([&] { return begun.count() == 1; }));
      CHECK(outcome.empty());
    }
    static kt::Task<void> read(kt::AsyncStream<int> items) {
      while (auto item = co_await items.next()) {
      }
    }

    void remove(char who) {
      if (who == 'c') caller.reset();
      if (who == 'l') client.reset();
      if (who == 's') kitten.reset();
    }

    const Runs runs;
    TempDir state;
    Happening begun, ended;
    std::string outcome;
    asio::io_context host;  // outlives the service, as it has to
    std::optional<kt::Kitten> kitten;
    std::optional<kt::Client> client;
    std::unique_ptr<asio::io_context> caller = std::make_unique<asio::io_context>();
  };

  const std::vector<Runs> all_ways{Runs::on_its_thread, Runs::when_polled, Runs::on_a_hosts_loop, Runs::not_at_all};
  const std::vector<Kind> all_kinds{Kind::call, Kind::first_item, Kind::later_item};

  // Only a service that runs has a socket.
  template <class Test>
  void in_all_ways(Test test) {
    for (const Runs runs : all_ways) {
      for (const Over over : {Over::loopback, Over::unix_socket}) {
        for (const Kind kind : all_kinds) {
          if (runs == Runs::not_at_all && over == Over::unix_socket) continue;
          CAPTURE(static_cast<int>(runs));
          CAPTURE(static_cast<int>(over));
          CAPTURE(static_cast<int>(kind));
          test(runs, over, kind);
        }
      }
    }
  }

  TEST_CASE("whatever of caller (c), client (l) and service (s) goes first, pending calls end and nothing is left") {
    for (const std::string order : {"cls", "csl", "lcs", "lsc", "scl", "slc"}) {
      CAPTURE(order);
      in_all_ways([&](Runs runs, Over over, Kind kind) {
        Happening* ended = nullptr;
        const auto parties = std::make_unique<Parties>(runs, over);
        ended = &parties->ended;
        parties->begin(kind);
        for (const char who : order) {
          parties->remove(who);
          if (who != 's' || !parties->caller) continue;
          CHECK(parties->run_until([&] { return !parties->outcome.empty(); }));
          CHECK(parties->outcome == "ConnectionError");
        }
        // A host's loop is still there, and ends what it had begun.
        CHECK(parties->run_until([&] { return ended->count() == 1; }));
        if (order.find('c') < order.find('s')) CHECK(parties->outcome.empty());
      });
    }
  }

  TEST_CASE("a stop ends pending calls with an exception, and the next start serves others") {
    in_all_ways([](Runs runs, Over over, Kind kind) {
      if (runs == Runs::not_at_all) return;
      Parties parties(runs, over);
      parties.begin(kind);
      parties.kitten->stop();
      CHECK(parties.run_until([&] { return !parties.outcome.empty() && !parties.kitten->running(); }));
      CHECK(parties.outcome == "ConnectionError");
      CHECK(parties.run_until([&] { return parties.ended.count() == 1; }));
      parties.start();
      int sum = 0;
      asio::co_spawn(*parties.caller, parties.client->async_call<int>("add", 1, 2),
                     [&](const std::exception_ptr&, int result) { sum = result; });
      CHECK(parties.run_until([&] { return sum == 3; }));
    });
  }

  TEST_CASE("a call that is cancelled ends its handler, and the client serves the next one") {
    in_all_ways([](Runs runs, Over over, Kind kind) {
      if (kind == Kind::first_item) return;
      Parties parties(runs, over);
      asio::cancellation_signal cancel;
      std::string outcome;
      asio::co_spawn(*parties.caller, parties.client->async_call<int>("wait"),
                     asio::bind_cancellation_slot(cancel.slot(), [&](const std::exception_ptr& thrown, int) {
                       try {
                         std::rethrow_exception(thrown);
                       } catch (const asio::system_error& error) {
                         outcome = error.code() == asio::error::operation_aborted ? "cancelled" : error.what();
                       } catch (const std::exception& error) {
                         outcome = error.what();
                       }
                     }));
      REQUIRE(parties.run_until([&] { return parties.begun.count() == 1; }));
      cancel.emit(asio::cancellation_type::terminal);
      CHECK(parties.run_until([&] { return !outcome.empty() && parties.ended.count() == 1; }));
      CHECK(outcome == "cancelled");
      int sum = 0;
      asio::co_spawn(*parties.caller, parties.client->async_call<int>("add", 1, 2),
                     [&](const std::exception_ptr&, int result) { sum = result; });
      CHECK(parties.run_until([&] { return sum == 3; }));
    });
  }

  TEST_CASE("a thread that waits in a call gets an exception when the service stops or is destroyed") {
    for (const bool destroy : {true, false}) {
      for (const Runs runs : {Runs::on_its_thread, Runs::not_at_all}) {
        for (const Over over : {Over::loopback, Over::unix_socket}) {
          for (const bool streams : {true, false}) {
            if (runs == Runs::not_at_all && (over == Over::unix_socket || !destroy)) continue;
            CAPTURE(destroy);
            CAPTURE(static_cast<int>(runs));
            CAPTURE(static_cast<int>(over));
            CAPTURE(streams);
            Parties parties(runs, over);
            std::string outcome;
            std::thread waiting([&outcome, streams, client = *parties.client] {
              try {
                if (streams) {
                  for (const int item : client.stream<int>("items", 2)) outcome += std::to_string(item);
                } else {
                  client.call<int>("wait");
                }
                outcome += "a result";
              } catch (const kt::ConnectionError&) {
                outcome += "ConnectionError";
              } catch (const std::exception& error) {
                outcome += error.what();
              }
            });
            CHECK(parties.begun.happened());
            if (destroy) {
              parties.kitten.reset();
              CHECK(parties.ended.count() == 1);  // nothing of the handler is left
            } else {
              parties.kitten->stop();
            }
            waiting.join();
            CHECK(outcome == (streams ? "01ConnectionError" : "ConnectionError"));
            CHECK(parties.ended.happened());
          }
        }
      }
    }
  }

  TEST_CASE("a call ends where it began: a start and a stop end those that are under way") {
    Parties parties(Runs::not_at_all, Over::loopback);
    auto idle = parties.client->stream<int>("items", 5);
    CHECK(idle.next() == 0);
    parties.kitten->start_thread();
    CHECK_THROWS_AS(idle.next(), kt::ConnectionError);
    CHECK(!idle.next());
    CHECK(parties.ended.count() == 1);
    auto served = parties.client->stream<int>("items", 5);
    CHECK(served.next() == 0);
    parties.kitten->stop();
    CHECK(parties.ended.count() == 2);
    CHECK_THROWS_AS(served.next(), kt::ConnectionError);
    CHECK(parties.client->call<int>("add", 1) == 2);
  }

  TEST_CASE("a client that outlives its service says so, whatever is done with it") {
    std::optional<kt::Client> client;
    std::optional<kt::Stream<int>> begun, fresh;
    {
      Parties parties(Runs::not_at_all, Over::loopback);
      client = parties.kitten->loopback();
      begun.emplace(client->stream<int>("items", 2));
      CHECK(begun->next() == 0);
      fresh.emplace(client->stream<int>("items", 2));
    }
    CHECK_THROWS_AS(begun->next(), kt::ConnectionError);
    CHECK_THROWS_AS(fresh->next(), kt::ConnectionError);
    CHECK_THROWS_AS(client->call("add", 1), kt::ConnectionError);
    begun.reset();
    asio::io_context loop;
    bool refused = false;
    asio::co_spawn(loop, client->async_call<int>("add", 1), [&](const std::exception_ptr& thrown, int) {
      try {
        std::rethrow_exception(thrown);
      } catch (const kt::ConnectionError&) {
        refused = true;
      }
    });
    loop.run();
    CHECK(refused);
  }

  TEST_CASE("a call that would wait for the thread that makes it is refused at once (174)") {
    for (const Runs runs : {Runs::on_its_thread, Runs::when_polled, Runs::on_a_hosts_loop}) {
      CAPTURE(static_cast<int>(runs));
      Parties parties(runs, Over::loopback);
      const kt::Client own = parties.kitten->loopback();
      parties.kitten->api("calls_itself", [&own] { return own.call<int>("add", 1); });
      std::string why;
      asio::co_spawn(*parties.caller, own.async_call<int>("calls_itself"), [&](const std::exception_ptr& thrown, int) {
        try {
          std::rethrow_exception(thrown);
        } catch (const std::exception& error) {
          why = error.what();
        }
      });
      CHECK(parties.run_until([&] { return !why.empty(); }));
      CHECK(contains(why, "would wait for itself"));
      if (runs == Runs::when_polled) CHECK_THROWS_AS(own.call<int>("add", 1), std::logic_error);
    }
  }

  // ---- services that do not run

  TEST_CASE("copies of a request's executor are for any thread, during the call and after it, and when all has gone") {
    for (const Runs runs : {Runs::on_its_thread, Runs::not_at_all}) {
      for (const bool in_a_coroutine : {false, true}) {
        CAPTURE(static_cast<int>(runs));
        CAPTURE(in_a_coroutine);
        std::optional<asio::any_io_executor> copy;
        std::atomic<int> posted = 0;
        const auto post_from_a_thread = [&] {
          std::thread([&] { asio::post(*copy, [&posted] { ++posted; }); }).join();
        };
        {
          Parties parties(runs, Over::loopback);
          parties.kitten->api("posts", [&](kt::Request& request) -> kt::Task<int> {
            copy = request.executor();
            asio::steady_timer timer(*copy, 24h);
            std::thread other([&, executor = *copy] {
              asio::post(executor, [&] {
                ++posted;
                timer.cancel();
              });
            });
            try {
              co_await timer.async_wait(asio::use_awaitable);
            } catch (const asio::system_error&) {
            }
            other.join();
            co_return 5;
          });
          int result = 0;
          if (in_a_coroutine) {
            asio::co_spawn(*parties.caller, parties.client->async_call<int>("posts"),
                           [&](const std::exception_ptr&, int value) { result = value; });
            CHECK(parties.run_until([&] { return result != 0; }));
          } else {
            result = parties.client->call<int>("posts");
          }
          CHECK(result == 5);
          CHECK(posted == 1);
          post_from_a_thread();
          if (runs == Runs::on_its_thread) {
            CHECK(eventually([&] { return posted == 2; }));
            continue;
          }
          parties.caller.reset();
          post_from_a_thread();
        }
        post_from_a_thread();
        CHECK(posted == 1);
      }
    }
  }

  TEST_CASE("handlers of a service that does not run run one at a time, however many threads call") {
    Parties parties(Runs::not_at_all, Over::loopback);
    std::atomic<int> at_once = 0, most = 0;
    long unguarded = 0;  // ThreadSanitizer sees two at once
    const auto work = [&] {
      const int now = ++at_once;
      if (now > most) most = now;
      for (int i = 0; i < 1000; ++i) ++unguarded;
      std::this_thread::yield();
      --at_once;
    };
    parties.kitten->api("plain", [&] { work(); });
    parties.kitten->api("later", [&]() -> kt::Task<void> {
      for (int i = 0; i < 3; ++i) {
        work();
        co_await kt::sleep_for(0ms);
      }
    });
    parties.kitten->api("streamed", [&]() -> kt::Generator<int> {
      for (int i = 0; i < 3; ++i) {
        work();
        co_yield i;
        co_await kt::sleep_for(0ms);
      }
    });
    parties.kitten->api("nested", [&] {
      work();
      parties.client->call<void>("plain");
    });
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&, client = *parties.client] {
        for (int k = 0; k < 5; ++k) {
          client.call<void>("plain");
          client.call<void>("later");
          for (const int item : client.stream<int>("streamed")) static_cast<void>(item);
          client.call<void>("nested");
        }
      });
      threads.emplace_back([&, client = *parties.client] {
        asio::io_context loop;
        for (int k = 0; k < 5; ++k) {
          asio::co_spawn(loop, client.async_call<void>("plain"), asio::detached);
          asio::co_spawn(loop, client.async_call<void>("later"), asio::detached);
          asio::co_spawn(loop, Parties::read(client.async_stream<int>("streamed")), asio::detached);
        }
        loop.run();
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(most == 1);
    CHECK(unguarded == 4 * 5 * 1000 * (1 + 3 + 3 + 2) + 4 * 5 * 1000 * (1 + 3 + 3));
  }

  TEST_CASE("threads call while the service is started and stopped again and again, and each call comes to something") {
    Parties parties(Runs::not_at_all, Over::loopback);
    std::atomic<bool> enough = false;
    std::atomic<int> results = 0, refusals = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([&, client = *parties.client] {
        while (!enough) {
          try {
            if (client.call<int>("add", 1, 2) == 3) ++results;
          } catch (const kt::ConnectionError&) {
            ++refusals;
          }
        }
      });
      threads.emplace_back([&, client = *parties.client] {
        while (!enough) {
          asio::io_context loop;
          asio::co_spawn(loop, client.async_call<int>("add", 1, 2), [&](const std::exception_ptr& thrown, int sum) {
            thrown ? ++refusals : ++results;
            CHECK((thrown || sum == 3));
          });
          loop.run();
        }
      });
    }
    for (int i = 0; i < 20; ++i) {
      parties.kitten->start_thread();
      const int before = results;
      CHECK(eventually([&] { return results > before + 3; }));
      parties.kitten->stop();
      CHECK(eventually([&] { return results > before + 6; }));
    }
    enough = true;
    for (std::thread& thread : threads) thread.join();
  }
}
