// SPDX-License-Identifier: MIT
#include "services.hpp"
#include "support.hpp"

namespace {

constexpr const char* refused =
    "a blocking call to the service that this thread runs would wait for itself; co_await async_call";

void add_methods(kt::Kitten& kitten, const kt::Client* client) {
  kitten.api("one", [] { return 1; });
  kitten.api("blocking", [client] { return client->call("one"); });
  kitten.api("streaming", [client] { return client->stream("one").next().value_or(json(nullptr)); });
  kitten.api("connecting", [&kitten] { return kitten.connect().call("one"); });
  kitten.api("awaiting", [client]() -> kt::Task<json> { co_return co_await client->async_call("one"); });
}

kt::Client unchecked_client(const Home& home, bool use_unix_socket) {
  kt::Settings settings;
  settings.app_name = "testkitten";
  settings.worker_name = "Kitty";
  settings.app_state_dir = home.state.path();
  kt::ClientOptions options;
  options.use_unix_socket = use_unix_socket;
  return kt::detail::ClientAccess::make(settings, options);
}

}  // namespace

TEST_SUITE("client/own_thread") {
  TEST_CASE("a handler that calls its own service and waits is told at once; one that awaits is not (174)") {
    for (const bool local : {true, false}) {
      CAPTURE(local);
      Home home;
      const kt::Client inner = unchecked_client(home, local);
      add_methods(home.kitten, &inner);
      home.start();
      const auto begin = std::chrono::steady_clock::now();
      for (const char* method : {"blocking", "streaming", "connecting"}) {
        CAPTURE(method);
        CHECK(home.error(method, "{}", 500) == refused);
      }
      CHECK(home.result("awaiting") == 1);
      // Also over the connection that is kept now.
      CHECK(home.error("blocking", "{}", 500) == refused);
      CHECK(inner.call("one") == 1);
      CHECK(std::chrono::steady_clock::now() - begin < 20s);
    }
  }

  TEST_CASE("whoever polls a service, or runs its loop, cannot wait for it either (174)") {
    Home home;
    const kt::Client inner = unchecked_client(home, true);
    add_methods(home.kitten, &inner);
    home.kitten.start();
    CHECK(failure([&] { inner.call("one"); }) == refused);
    CHECK_THROWS_AS(inner.call("one"), std::logic_error);
    // Another thread can, while this one polls.
    std::future<json> result = std::async(std::launch::async, [&] { return inner.call("one"); });
    CHECK(eventually([&] {
      home.kitten.poll();
      return result.wait_for(0s) == std::future_status::ready;
    }));
    CHECK(result.get() == 1);
    home.kitten.stop();
    CHECK_THROWS_AS(inner.call("one"), kt::NotRunning);

    asio::io_context loop;
    TempDir dir;
    kt::Kitten hosted(loop, "testkitten", "Kitty");
    hosted.settings().app_state_dir = hosted.settings().app_data_dir = dir.path();
    kt::Settings settings;
    settings.app_name = "testkitten";
    settings.worker_name = "Kitty";
    settings.app_state_dir = dir.path();
    const kt::Client client = kt::detail::ClientAccess::make(settings, {});
    add_methods(hosted, &client);
    hosted.start();
    std::string why;
    asio::co_spawn(
        loop,
        [](const kt::Client& kitty, std::string* said, kt::Kitten* kitten) -> kt::Task<> {
          try {
            co_await kitty.async_call("blocking");
          } catch (const std::exception& error) {
            *said = error.what();
          }
          kitten->stop();
        }(client, &why, &hosted),
        asio::detached);
    loop.run();
    CHECK(contains(why, refused));
  }

  TEST_CASE("a handler that runs on a strand of several threads cannot wait for its own service either (174)") {
    asio::io_context loop;
    TempDir dir;
    kt::Kitten hosted(asio::any_io_executor(asio::make_strand(loop)), "testkitten", "Kitty");
    hosted.settings().app_state_dir = hosted.settings().app_data_dir = dir.path();
    kt::ClientOptions options;
    options.state_directory = dir.path();
    kt::Settings settings;
    settings.app_name = "testkitten";
    settings.worker_name = "Kitty";
    settings.app_state_dir = dir.path();
    const kt::Client client = kt::detail::ClientAccess::make(settings, options);
    add_methods(hosted, &client);
    hosted.start();
    std::thread threads[] = {std::thread([&] { loop.run(); }), std::thread([&] { loop.run(); })};
    CHECK(eventually([&] { return hosted.running(); }));
    for (const char* method : {"blocking", "streaming", "connecting"}) {
      CAPTURE(method);
      CHECK(contains(failure([&] { client.call(method); }), refused));
    }
    CHECK(client.call("awaiting") == 1);
    hosted.stop();
    for (std::thread& thread : threads) thread.join();
  }

  TEST_CASE(
      "a handler that runs on the host's thread cannot wait for its own service either, loopback() included (174)") {
    Home home;
    std::mutex mutex;
    std::deque<std::function<void()>> queue;
    home.kitten.run_handlers_on([&](std::function<void()> work) {
      const std::lock_guard lock(mutex);
      queue.push_back(std::move(work));
    });
    const kt::Client inner = unchecked_client(home, true);
    add_methods(home.kitten, &inner);
    home.kitten.api("looping", [&] { return home.kitten.loopback().call("one"); });
    home.kitten.api("awaiting_twice", [&]() -> kt::Task<json> {
      co_await kt::sleep_for(1ms);
      co_return inner.call("one");
    });
    home.start();
    const auto called = [&](const char* method) {
      std::future<std::string> result = std::async(std::launch::async, [&, method] {
        try {
          return inner.call(method).dump();
        } catch (const std::exception& error) {
          return std::string(error.what());
        }
      });
      while (result.wait_for(1ms) != std::future_status::ready) {
        std::function<void()> work;
        {
          const std::lock_guard lock(mutex);
          if (queue.empty()) continue;
          work = std::move(queue.front());
          queue.pop_front();
        }
        work();
      }
      return result.get();
    };
    const auto begin = std::chrono::steady_clock::now();
    for (const char* method : {"blocking", "streaming", "connecting", "looping", "awaiting_twice"}) {
      CAPTURE(method);
      CHECK(contains(called(method), refused));
    }
    CHECK(called("awaiting") == "1");
    CHECK(std::chrono::steady_clock::now() - begin < home.kitten.limits().host_timeout);
  }

  TEST_CASE("another service of the same process is called as ever (174)") {
    Home home, other("Tom");
    other.kitten.api("one", [] { return 1; });
    other.start();
    const kt::Client there = other.kitten.connect();
    home.kitten.api("relay", [&] { return there.call("one"); });
    home.start();
    CHECK(home.result("relay") == 1);
  }
}
