// SPDX-License-Identifier: MIT
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
    const kt::Client client = kt::ClientAccess::make(settings, options, {}, plan);
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
