// SPDX-License-Identifier: MIT
#include "client/starter.ipp"
#include "os/running_process.ipp"
#include "os/state.ipp"
#include "services.hpp"
#include "support.hpp"

TEST_SUITE("client/auto_start") {
  TEST_CASE("a kept client starts its service again after that was killed or stopped, whichever way it calls") {
    for (const bool local : {true, false}) {
      CAPTURE(local);
      Program kitten("kitten");
      kt::ClientOptions options;
      options.state_directory = kitten.state.path();
      options.use_unix_socket = local;
      const kt::Client client = kt::Client::connect("mykitten", "Kitty", kt::auto_start(kitten.path()), options);
      const kt::Client other = kt::Client::connect("mykitten", "Kitty", options);
      const auto lock = kitten.state / "Kitty.lock";
      for (const char* way : {"call", "again", "stream", "async"}) {
        CAPTURE(way);
        const pid_t before = kt::detail::lock_holder(lock).pid;
        REQUIRE(before > 0);
        if (way == "again"s) {
          CHECK(kitten("stop").code == 0);
        } else {
          ::kill(before, SIGKILL);
          CHECK(eventually([&] { return !kt::detail::lock_holder(lock).held; }));
        }
        CHECK_THROWS_AS(other.call("ping"), kt::NotRunning);
        if (way == "stream"s) {
          CHECK(client.stream("meow").next());
        } else if (way == "async"s) {
          asio::io_context loop;
          auto result = asio::co_spawn(loop, client.async_call("ping"), asio::use_future);
          loop.run();
          CHECK(result.get()["pong"] == true);
        } else {
          CHECK(client.call("ping")["pong"] == true);
        }
        CHECK(kt::detail::lock_holder(lock).pid != before);
        CHECK(other.call("ping")["pong"] == true);
      }
    }
  }

  TEST_CASE("what a program has started instead of the service is stopped again, in its own way or by a signal") {
    // As Python services do it: a child of the program stays, in the process group of the start.
    constexpr const char* program =
        "#!/bin/sh\n"
        "case \"$*\" in\n"
        "*start) test -e $0.runs || { sleep 60 & echo $! >$0.pid; } ;;\n"
        "*stop) echo 'other/x: Stopped'; %s ;;\n"
        "esac\n";
    TempDir dir;
    const auto stopped = [&](const std::string& name, const std::string& how) {
      std::string text = program;
      write_file(dir / name, text.replace(text.find("%s"), 2, how), 0700);
      kt::Settings settings;
      settings.app_name = "nosuch";
      settings.worker_name = "x";
      settings.app_state_dir = dir.path();
      auto plan = std::make_shared<kt::detail::StartPlan>();
      plan->how = kt::auto_start(dir / name);
      plan->name = "nosuch/x";
      plan->patience = 100ms;
      return failure([&] { kt::detail::ClientAccess::make(settings, {}, {}, plan).call("ping"); });
    };
    const auto runs = [&](const std::string& name) {
      return !kt::detail::RunningProcess(std::stoi(contents(dir / (name + ".pid"))), 0).ended();
    };
    const std::string why = "nosuch/x was started, but cannot be reached: x: Not running: Start it first?";
    const auto else_started = [&](const std::string& name) {
      return why + "; " + dir.path() + "/" + name +
             " has started something else, which was stopped again (other/x: Stopped)";
    };
    CHECK(stopped("polite", "kill $(cat $0.pid)") == else_started("polite"));
    CHECK(eventually([&] { return !runs("polite"); }));
    CHECK(stopped("deaf", "exit 1") == else_started("deaf"));
    CHECK(eventually([&] { return !runs("deaf"); }));
    // What ran before is not the program's to stop.
    write_file(dir / "early.runs", "");
    CHECK(stopped("early", "echo stopped >$0.stopped") == why);
    CHECK(::access((dir / "early.stopped").c_str(), F_OK) != 0);
  }

  TEST_CASE("while a coroutine waits for a start its loop goes on, and 'total' is the end of it") {
    TempDir dir;
    write_file(dir / "slow", "#!/bin/sh\nexec sleep 20\n", 0700);
    kt::Settings settings;
    settings.app_name = "mykitten";
    settings.worker_name = "Kitty";
    settings.app_state_dir = dir.path();
    kt::ClientOptions options;
    options.timeouts.total = 500ms;
    auto plan = std::make_shared<kt::detail::StartPlan>();
    plan->how = kt::auto_start(dir / "slow");
    plan->name = "mykitten/Kitty";
    const kt::Client client = kt::detail::ClientAccess::make(settings, options, {}, plan);
    asio::io_context loop;
    int ticks = 0;
    asio::co_spawn(
        loop,
        [](int* count) -> kt::Task<> {
          for (; *count < 10; ++*count) co_await kt::sleep_for(10ms);
        }(&ticks),
        asio::detached);
    auto result = asio::co_spawn(loop, client.async_call("ping"), asio::use_future);
    loop.run();
    CHECK(ticks == 10);
    CHECK(contains(failure([&] { result.get(); }), "timeout 'total'"));
    CHECK(contains(failure([&] { client.call("ping"); }), "timeout 'total'"));
  }
}
