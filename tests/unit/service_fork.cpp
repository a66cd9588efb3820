// SPDX-License-Identifier: MIT
#include "services.hpp"
#include "support.hpp"

namespace {

// How a forked child ends that does this; what it does has to end it. Exit codes as they are, signals beyond 128.
template <class F>
int child_ends(F action) {
  std::cout << std::flush;
  const pid_t child = ::fork();
  if (child == 0) {
    action();
    ::_exit(99);
  }
  REQUIRE(child > 0);
  int status = 0;
  if (!eventually([&] { return ::waitpid(child, &status, WNOHANG) == child; })) {
    ::kill(child, SIGKILL);
    ::waitpid(child, &status, 0);
    return -1;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::vector<std::string> files(const TempDir& dir) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(dir.path())) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

const std::vector<std::string> all_three{"Kitty.lock", "Kitty.sock", "Kitty.url"};

void call_exit(kt::Kitten& kitten) {
  kitten.api("exit", [] {
    std::exit(7);
    return 0;
  });
}

// In a process of its own: a service that somebody calls to make it exit.
template <class Start>
[[noreturn]] void serve_until_exit(kt::Kitten& kitten, const TempDir& dir, Start start) {
  kitten.settings().app_state_dir = kitten.settings().app_data_dir = dir.path();
  start(kitten);
  for (;;) ::pause();
}

}  // namespace

TEST_SUITE("service/fork") {
  TEST_CASE("a forked child that exits, or ends its copy of the service, touches nothing of it (171)") {
    TempDir dir;
    std::atomic<int> hooks = 0;
    std::optional<kt::Kitten> kitten(std::in_place, "testkitten", "Kitty");
    kitten->settings().app_state_dir = kitten->settings().app_data_dir = dir.path();
    kitten->on_shutdown([&] { ++hooks; });
    kitten->api("secret", [] { return 1; });
    kitten->start_thread();
    const std::string call = "GET /" + kitten->token() + "/secret HTTP/1.1\r\n\r\n";
    Wire kept = Wire::local(*kitten);
    CHECK(kept.send(call).answer().body == "1\n");
    CHECK(files(dir) == all_three);

    CHECK(child_ends([] { std::exit(3); }) == 3);
    CHECK(child_ends([&] {
            kitten->stop();
            ::_exit(kitten->running() ? 1 : hooks == 0 ? 4 : 2);
          }) == 4);
    CHECK(child_ends([&] {
            kitten.reset();
            std::exit(hooks == 0 ? 5 : 2);
          }) == 5);

    CHECK(files(dir) == all_three);
    CHECK(hooks == 0);
    CHECK(kept.send(call).answer().body == "1\n");
    CHECK(Wire::tcp(*kitten).send(call).answer().body == "1\n");
    kitten->stop();
    CHECK(hooks == 1);
    CHECK(files(dir).empty());
  }

  TEST_CASE("a forked child neither polls nor starts what its parent runs, and can call it (171)") {
    Home home;
    home.kitten.api("pid", [] { return static_cast<std::int64_t>(::getpid()); });
    home.kitten.start();
    CHECK(child_ends([&] {
            std::string why = home.kitten.try_start();
            if (!contains(why, "process " + std::to_string(::getppid()) + " runs the service")) ::_exit(1);
            Wire wire = Wire::local(home.kitten);
            wire.send(home.get(home.path("pid")));
            for (int i = 0; i < 100; ++i) {
              if (home.kitten.poll() != 0 || home.kitten.poll_for(1ms) != 0) ::_exit(2);
            }
            // Its loop, and with it loopback(), is the parent's.
            try {
              home.kitten.loopback().call("pid");
            } catch (const std::exception&) {
              ::_exit(6);
            }
            ::_exit(3);
          }) == 6);
    const pid_t caller = ::fork();
    if (caller == 0) {
      try {
        ::_exit(client_of(home).call("pid") == ::getppid() ? 8 : 1);
      } catch (const std::exception&) {
        ::_exit(2);
      }
    }
    int status = 0;
    CHECK(eventually([&] {
      home.kitten.poll();
      return ::waitpid(caller, &status, WNOHANG) == caller;
    }));
    CHECK(WEXITSTATUS(status) == 8);
  }

  TEST_CASE("a service that was not started before a fork can be started after it, in both processes (171)") {
    if (KETTLINGAR_TEST_WITH_TSAN) {
      MESSAGE("skipped: with ThreadSanitizer a forked child cannot have threads");
      return;
    }
    // Once used, so that there is all that a loop has: threads for files, timers, the set it waits for.
    Home home;
    home.kitten.api(
        "read",
        [](std::string path) -> kt::Task<std::string> {
          const kt::File file = kt::File::open(path);
          const std::string text = co_await kt::async_read_some(file);
          co_return text;
        },
        "", kt::arg("path"));
    write_file(home.state / "text", "of a file");
    const auto works = [&] {
      home.start();
      const std::string call = home.post(home.path("read"), json{{"path", home.state / "text"}}.dump());
      const bool fine = Wire::local(home.kitten).send(call).answer().body == "\"of a file\"\n" &&
                        Wire::tcp(home.kitten).send(call).answer().body == "\"of a file\"\n";
      home.kitten.stop();
      return fine;
    };
    CHECK(works());
    CHECK(child_ends([&] { ::_exit(works() ? 7 : 1); }) == 7);
    CHECK(works());
  }

  TEST_CASE("exit() in a handler or a hook ends the program as elsewhere, and leaves no files (171)") {
    if (KETTLINGAR_TEST_WITH_TSAN) {
      MESSAGE("skipped: with ThreadSanitizer a forked child cannot have threads");
      return;
    }
    enum class Life { of_the_program, of_a_function, on_the_heap };
    enum class Way { thread, run, polled };
    TempDir dir;
    const auto exits = [&](Life life, Way way, bool in_hook) {
      const pid_t child = ::fork();
      if (child == 0) {
        const auto live = [&](kt::Kitten& kitten) {
          call_exit(kitten);
          if (in_hook) kitten.on_shutdown([] { std::exit(7); });
          serve_until_exit(kitten, dir, [&](kt::Kitten& started) {
            if (way == Way::thread) started.start_thread();
            if (way == Way::run) started.run();
            if (way == Way::polled) {
              started.start();
              while (true) started.poll(), ::usleep(1000);
            }
          });
        };
        if (life == Life::of_the_program) {
          static kt::Kitten kitten("exiting", "Kitty");
          live(kitten);
        } else if (life == Life::of_a_function) {
          kt::Kitten kitten("exiting", "Kitty");
          live(kitten);
        } else {
          live(*new kt::Kitten("exiting", "Kitty"));
        }
      }
      kt::ClientOptions options;
      options.state_directory = dir.path();
      int status = -1;
      CHECK(eventually([&] {
        try {
          kt::Client::connect("exiting", "Kitty", options).call(in_hook ? "quitquitquit" : "exit");
        } catch (const kt::NotRunning&) {
          return ::waitpid(child, &status, WNOHANG) == child;
        } catch (const kt::ConnectionError&) {
        }
        return ::waitpid(child, &status, WNOHANG) == child;
      }));
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    };
    for (const Life life : {Life::of_the_program, Life::of_a_function, Life::on_the_heap}) {
      for (const Way way : {Way::thread, Way::run, Way::polled}) {
        for (const bool in_hook : {false, true}) {
          CAPTURE(static_cast<int>(life));
          CAPTURE(static_cast<int>(way));
          CAPTURE(in_hook);
          CHECK(exits(life, way, in_hook) == 7);
          CHECK(files(dir).empty());
        }
      }
    }
  }

  TEST_CASE("a plain on_shutdown runs when a handler calls exit() under a static service (171)") {
    if (KETTLINGAR_TEST_WITH_TSAN) {
      MESSAGE("skipped: with ThreadSanitizer a forked child cannot have threads");
      return;
    }
    TempDir dir, other;
    CHECK(child_ends([&] {
            static kt::Kitten kitten("exiting", "Kitty");
            call_exit(kitten);
            kitten.on_shutdown([&] { write_file(other / "hook", "ran"); });
            kitten.settings().app_state_dir = kitten.settings().app_data_dir = dir.path();
            kitten.start_thread();
            try {
              kitten.connect().call("exit");
            } catch (const std::exception&) {
            }
            for (;;) ::pause();
          }) == 7);
    CHECK(contents(other / "hook") == "ran");
    CHECK(files(dir).empty());
  }

  TEST_CASE("a forked child that drops its copy of a call leaves the parent's as it is (171)") {
    Home home;
    home.kitten.api("count", []() -> kt::Generator<int> {
      for (int i = 0; i < 3000; ++i) co_yield i;
    });
    home.kitten.api(
        "echo", [](int i) { return i; }, "", kt::arg("i"));
    home.start();
    for (const bool over_tcp : {false, true}) {
      CAPTURE(over_tcp);
      kt::ClientOptions options;
      options.use_unix_socket = !over_tcp;
      std::optional<kt::Client> client = client_of(home, options);
      std::optional<kt::Stream<int>> items = client->stream<int>("count");
      auto item = items->begin();
      CHECK(*item == 0);
      CHECK(child_ends([&] {
              items.reset();
              client.reset();
              ::_exit(6);
            }) == 6);
      int expected = 0;
      for (; item != items->end(); ++item) {
        if (*item != expected) break;
        ++expected;
      }
      CHECK(expected == 3000);
      CHECK(client->call<int>("echo", 7) == 7);
    }
  }

  TEST_CASE("kept connections of a client are its process's own (171)") {
    Home home;
    home.kitten.api("pid",
                    [](kt::Request& request) { return static_cast<std::int64_t>(request.peer().credentials->pid); });
    home.start();
    const kt::Client client = client_of(home);
    CHECK(client.call("pid") == ::getpid());
    CHECK(client.call("pid") == ::getpid());
    CHECK(child_ends([&] { ::_exit(client.call("pid") == ::getpid() && client.call("pid") == ::getpid() ? 9 : 1); }) ==
          9);
    CHECK(client.call("pid") == ::getpid());
  }
}
