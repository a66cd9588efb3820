// SPDX-License-Identifier: MIT
#include "services.hpp"
#include "support.hpp"

TEST_SUITE("service/rounds") {
  // Few, but as many as show what threads do to each other where somebody looks.
  int rounds() {
    if (const char* number = std::getenv("KETTLINGAR_TEST_ROUNDS")) return std::atoi(number);
    return KETTLINGAR_TEST_WITH_TSAN ? 200 : 5;
  }

  // A service that is started and stopped again and again, while threads call it, follow what another one publishes,
  // and ask where it is.
  class Restless {
   public:
    template <class... Host>
    explicit Restless(Host&... host) : kitten(host..., "testkitten", "Kitty") {
      kitten.settings().app_state_dir = kitten.settings().app_data_dir = state_.path();
      kitten.limits().drain_timeout = 20ms;
      kitten.log_to([this](kt::LogLevel, std::string_view) { ++lines_; });
      kitten.option("level", level_);
      kitten.api("add", add, "Adds.", kt::arg("a"), kt::arg("b"));
      kitten.api("ticks", ticks_);
      kitten.api("nap", []() -> kt::Task<> { co_await kt::sleep_for(24h); });
      kitten.on_start([this]() -> kt::Task<> {
        co_await kt::sleep_for(0ms);
        ++started;
      });
      kitten.on_shutdown([this] { ++ended; });
      for (const bool local : {true, false}) threads_.emplace_back([this, local] { call(local); });
      threads_.emplace_back([this] {
        while (!over_) {
          ticks_.publish(1);
          std::this_thread::sleep_for(100us);
        }
      });
    }
    Restless(const Restless&) = delete;
    ~Restless() {
      over_ = true;
      for (std::thread& thread : threads_) thread.join();
      kitten.stop();
    }

    // Ends the service from another thread, once it has answered, while `until_then` serves.
    template <class Serve>
    void round(int number, Serve serve) {
      const int before = answers_;
      std::thread other([&] {
        CHECK(eventually([&] { return answers_ > before; }));
        std::this_thread::sleep_for(number % 5 * 1ms);
        if (number % 3 == 0) std::thread([&] { kitten.stop(); }).join();
        kitten.stop();
        stopped_ = number;
      });
      serve();
      other.join();
    }
    bool stopped(int number) const { return stopped_ == number; }

    // After all rounds.
    void check(int count) {
      CHECK(started == count);
      CHECK(ended == count);
      CHECK(lines_ > 0);
      CHECK(std::filesystem::is_empty(state_.path()));
    }

    kt::Kitten kitten;
    std::atomic<int> started = 0, ended = 0;

   private:
    void call(bool local) {
      kt::ClientOptions options{.use_unix_socket = local};
      options.state_directory = state_.path();
      while (!over_) {
        try {
          const kt::Client client = kt::Client::connect("testkitten", "Kitty", options);
          kt::Stream<int> ticks = client.stream<int>("ticks");
          const auto nap = std::async(std::launch::async, [client] { failure([&] { client.call("nap"); }); });
          for (;;) {
            const int sum = client.call<int>("add", 1, 2);
            CHECK(sum == 3);
            if (!ticks.next()) break;
            ++answers_;
          }
        } catch (const std::runtime_error&) {
          // Between two rounds, or at the end of one.
          std::this_thread::sleep_for(1ms);
        }
      }
    }

    TempDir state_;
    kt::Topic<int> ticks_;
    int level_ = 0;
    std::atomic<int> lines_ = 0, answers_ = 0, stopped_ = -1;
    std::atomic<bool> over_ = false;
    std::vector<std::thread> threads_;
  };

  TEST_CASE("start and stop, again and again: on the calling thread") {
    Restless service;
    for (int i = 0; i < rounds(); ++i) service.round(i, [&] { service.kitten.run(); });
    service.check(rounds());
  }

  TEST_CASE("start and stop, again and again: on a thread of its own") {
    Restless service;
    for (int i = 0; i < rounds(); ++i) {
      service.round(i, [&] {
        service.kitten.start_thread();
        CHECK(eventually([&] { return service.stopped(i); }));
      });
    }
    service.check(rounds());
  }

  TEST_CASE("start and stop, again and again: polled") {
    Restless service;
    for (int i = 0; i < rounds(); ++i) {
      service.round(i, [&] {
        service.kitten.start();
        while (!service.stopped(i)) {
          const std::size_t done = i % 2 == 0 ? service.kitten.poll() : service.kitten.poll_for(1ms);
          if (done == 0) std::this_thread::sleep_for(100us);
        }
      });
    }
    service.check(rounds());
  }

  TEST_CASE("start and stop, again and again: on a host's loop, which one thread runs, or several as a strand") {
    for (const int threads : {1, 3}) {
      CAPTURE(threads);
      asio::io_context loop;
      auto strand = asio::make_strand(loop);
      auto work = asio::make_work_guard(loop);
      std::vector<std::thread> running;
      for (int i = 0; i < threads; ++i) running.emplace_back([&] { loop.run(); });
      const asio::any_io_executor executor =
          threads == 1 ? asio::any_io_executor(loop.get_executor()) : asio::any_io_executor(strand);
      const int count = threads == 1 ? rounds() : (rounds() + 3) / 4;
      {
        Restless service(executor);
        for (int i = 0; i < count; ++i) {
          service.round(i, [&] {
            std::promise<std::string> problem;
            asio::post(executor, [&] { problem.set_value(service.kitten.try_start()); });
            CHECK(problem.get_future().get() == "");
            CHECK(eventually([&] { return service.stopped(i) && !service.kitten.running(); }));
          });
        }
        service.check(count);
      }
      work.reset();
      for (std::thread& thread : running) thread.join();
    }
  }
}
