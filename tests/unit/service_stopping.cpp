// SPDX-License-Identifier: MIT
#include "services.hpp"
#include "support.hpp"

namespace {

bool no_files(const TempDir& dir) { return std::filesystem::is_empty(dir.path()); }

}  // namespace

TEST_SUITE("service/stopping") {
  TEST_CASE("a start that on_start stops ends, says so, and leaves nothing behind") {
    using Start = std::function<void(kt::Kitten&)>;
    const Start ways[] = {[](kt::Kitten& kitten) { kitten.start_thread(); }, [](kt::Kitten& kitten) { kitten.run(); },
                          [](kt::Kitten& kitten) { kitten.start(); }};
    for (const Start& start : ways) {
      for (const bool waits : {false, true}) {
        CAPTURE(waits);
        Home home;
        bool stops = true;
        home.kitten.on_start([&]() -> kt::Task<> {
          if (!stops) co_return;
          home.kitten.stop();
          home.kitten.stop();
          if (waits) co_await kt::sleep_for(24h);
        });
        CHECK_THROWS_WITH_AS(start(home.kitten), "on_start: stopped", kt::StartError);
        CHECK_FALSE(home.kitten.running());
        CHECK(no_files(home.state));
        stops = false;
        home.start();
        CHECK(home.result("ping").contains("pong"));
      }
    }
  }

  TEST_CASE("on a host's loop, too: the log says so") {
    for (const bool in_hook : {true, false}) {
      CAPTURE(in_hook);
      asio::io_context loop;
      TempDir dir;
      std::string log;
      kt::Kitten kitten(loop, "hosted", "Kitty");
      kitten.settings().app_state_dir = kitten.settings().app_data_dir = dir.path();
      kitten.log_to([&](kt::LogLevel, std::string_view line) { log += line; });
      kitten.on_start([&]() -> kt::Task<> {
        if (in_hook) kitten.stop();
        co_await kt::sleep_for(24h);
      });
      kitten.start();
      CHECK(kitten.running());
      loop.run_one();
      if (!in_hook) kitten.stop();
      loop.run();
      CHECK_FALSE(kitten.running());
      CHECK(contains(log, "on_start: stopped"));
      CHECK(no_files(dir));
    }
  }

  TEST_CASE("deadlines hold in a service that is started again, too (62)") {
    Home home;
    home.kitten.limits().head_timeout = 50ms;
    home.kitten.limits().drain_timeout = 300ms;
    Happening called;
    home.kitten.public_api("nap", [&]() -> kt::Task<> {
      called.happen();
      co_await kt::sleep_for(24h);
    });
    home.start();
    {
      // It leaves before the service would have ended its call.
      std::optional<Wire> wire = Wire::local(home.kitten);
      wire->send(home.get("/nap"));
      CHECK(called.happened());
      std::thread stop([&] { home.kitten.stop(); });
      CHECK(eventually([&] { return no_files(home.state); }));
      wire.reset();
      stop.join();
    }
    std::this_thread::sleep_for(350ms);
    home.start();
    CHECK(Wire::tcp(home.kitten).send("GET /pi").answer().status == 408);
  }

  TEST_CASE("SIGTERM ends a program that is still starting, in order") {
    TempDir dir;
    const pid_t child = ::fork();
    if (child == 0) {
      ::close(STDERR_FILENO);
      ::close(STDOUT_FILENO);
      kt::Kitten kitten("starting", "Kitty");
      kitten.on_start([]() -> kt::Task<> {
        ::kill(::getpid(), SIGTERM);
        co_await kt::sleep_for(24h);
      });
      std::string state = "--app-state-dir=" + dir.path(), data = "--app-data-dir=" + dir.path();
      std::string words[] = {"starting", state, data, "start", "--foreground"};
      char* argv[] = {words[0].data(), words[1].data(), words[2].data(), words[3].data(), words[4].data(), nullptr};
      ::_exit(kitten.main(5, argv));
    }
    int status = 0;
    CHECK(eventually([&] { return ::waitpid(child, &status, WNOHANG) == child; }));
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 1);
    CHECK(no_files(dir));
  }

  TEST_CASE("a service that is destroyed by a thread that never polled it ends at once, with its hook") {
    TempDir dir;
    bool hooked = false;
    const auto begin = std::chrono::steady_clock::now();
    {
      std::optional<kt::Kitten> kitten(std::in_place, "polled", "Kitty");
      kitten->settings().app_state_dir = kitten->settings().app_data_dir = dir.path();
      kitten->on_shutdown([&] { hooked = true; });
      std::thread([&] {
        kitten->start();
        kitten->poll();
      }).join();
      kitten.reset();
    }
    CHECK(hooked);
    CHECK(no_files(dir));
    CHECK(std::chrono::steady_clock::now() - begin < 5s);
  }

  TEST_CASE("nor does a call that still runs keep it for longer than Limits::drain_timeout") {
    TempDir dir;
    Happening waiting;
    std::optional<kt::Kitten> there(std::in_place, "polled", "Kitty");
    kt::Kitten& kitten = *there;
    kitten.settings().app_state_dir = kitten.settings().app_data_dir = dir.path();
    kitten.limits().drain_timeout = 50ms;
    kitten.api("wait", [&]() -> kt::Task<int> {
      waiting.happen();
      co_await kt::sleep_for(24h);
      co_return 1;
    });
    std::optional<Wire> wire;
    std::thread([&] {
      kitten.start();
      wire.emplace(Wire::local(kitten));
      wire->send("GET /" + kitten.token() + "/wait HTTP/1.1\r\n\r\n");
      while (waiting.count() == 0) kitten.poll();
    }).join();
    const auto begin = std::chrono::steady_clock::now();
    there.reset();
    CHECK(std::chrono::steady_clock::now() - begin < 5s);
  }

  TEST_CASE("a service on a host's loop is ended at once when it is destroyed, without its hook") {
    for (const bool loop_runs : {true, false}) {
      CAPTURE(loop_runs);
      TempDir dir;
      bool hooked = false, went_on = false;
      Happening waiting, frame_gone, destroyed;
      asio::io_context loop;
      std::optional<kt::Kitten> kitten(std::in_place, loop, "hosted", "Kitty");
      kitten->settings().app_state_dir = kitten->settings().app_data_dir = dir.path();
      kitten->limits().drain_timeout = kitten->limits().shutdown_timeout = 24h;
      kitten->on_shutdown([&] { hooked = true; });
      kitten->api("wait", [&]() -> kt::Task<> {
        const Counted counted(&frame_gone);
        waiting.happen();
        co_await kt::sleep_for(24h);
        went_on = true;
      });
      kitten->start();
      Wire wire = Wire::local(*kitten);
      wire.send("GET /" + kitten->token() + "/wait HTTP/1.1\r\n\r\n");
      std::thread host;
      if (loop_runs) {
        host = std::thread([&] { loop.run(); });
        CHECK(waiting.happened());
        asio::post(loop, [&] {
          kitten.reset();
          destroyed.happen();
        });
        CHECK(destroyed.happened());
      } else {
        CHECK(eventually([&] {
          loop.poll();
          return waiting.count() == 1;
        }));
        kitten.reset();
      }
      CHECK(no_files(dir));
      CHECK(wire.closed());
      // Nothing of it keeps the loop.
      if (loop_runs) host.join();
      loop.restart();
      loop.run();
      CHECK(frame_gone.count() == 1);
      CHECK_FALSE(went_on);
      CHECK_FALSE(hooked);
    }
  }

  TEST_CASE("a request that has come before the stop is answered, though nobody has read it by then") {
    enum class Connection { kept, accepted, passed_on };
    for (const Connection which : {Connection::kept, Connection::accepted, Connection::passed_on}) {
      CAPTURE(static_cast<int>(which));
      TempDir dir;
      kt::Kitten kitten("polled", "Kitty");
      kitten.settings().app_state_dir = kitten.settings().app_data_dir = dir.path();
      kitten.start();
      const std::string ping = "GET /ping HTTP/1.1\r\n\r\n";
      int pair[2] = {-1, -1};
      REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
      kt::Socket passed{kt::Fd(pair[0])};
      Wire wire = which == Connection::passed_on ? Wire(kt::Fd(pair[1])) : Wire::local(kitten);
      if (which == Connection::kept) {
        wire.send(ping);
        while (!kt::detail::wait_for(wire.fd(), POLLIN, std::chrono::steady_clock::now() + 1ms)) kitten.poll();
        CHECK(wire.answer().status == 200);
        kitten.poll();
      }
      if (which == Connection::accepted) {
        for (int i = 0; i < 10; ++i) kitten.poll();
      }
      wire.send(ping);
      if (which == Connection::passed_on) kitten.serve_connection(std::move(passed));
      kitten.stop();
      CHECK(wire.answer().status == 200);
      CHECK(wire.rest().empty());
    }
  }

  TEST_CASE("a connection over which nothing has come does not keep a service that stops") {
    Home home;
    home.kitten.limits().drain_timeout = 24h;
    home.start();
    Wire fresh = Wire::local(home.kitten);
    Wire kept = Wire::local(home.kitten);
    CHECK(kept.send(home.get("/ping")).answer().status == 200);
    home.kitten.stop();
    CHECK(fresh.rest().empty());
    CHECK(kept.rest().empty());
  }
}
