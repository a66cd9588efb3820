// SPDX-License-Identifier: MIT
#include "services.hpp"
#include "support.hpp"

namespace {

using Clock = std::chrono::steady_clock;

// Whatever holds a loop for longer than this is no longer fair, on the slowest of machines.
constexpr auto fair = 1s;
// What is never fair ends here, so that the tests do.
constexpr auto enough = 5s;

void work_for(std::chrono::microseconds time) {
  const auto end = Clock::now() + time;
  while (Clock::now() < end) {
  }
}

// How long a call of something else takes meanwhile.
Clock::duration time_of(const kt::Client& client, const char* method) {
  const auto begin = Clock::now();
  client.call(method);
  return Clock::now() - begin;
}

// A service whose streams always have another item.
struct Busy : Home {
  Busy() {
    kitten.api("endless", [this]() -> kt::Generator<int> {
      const Counted counted(&ended);
      for (int i = 0;; ++i) co_yield i;
    });
    kitten.api("nothing", [] {});
  }
  ~Busy() { kitten.stop(); }  // while `ended`, which the streams refer to, is there
  std::vector<kt::Client> clients() {
    std::vector<kt::Client> all;
    kt::ClientOptions over_tcp{.use_unix_socket = false};
    all.push_back(client_of(*this));
    all.push_back(client_of(*this, over_tcp));
    all.push_back(kitten.loopback());
    return all;
  }
  Happening ended;
};

}  // namespace

TEST_SUITE("client/fairness") {
  TEST_CASE_FIXTURE(Busy, "whoever reads a stream that always has more leaves time for others on the loop") {
    start();
    for (const kt::Client& client : clients()) {
      asio::io_context loop;
      const auto begin = Clock::now();
      bool fired = false;
      asio::steady_timer timer(loop, 50ms);
      timer.async_wait([&](const asio::error_code&) { fired = true; });
      asio::co_spawn(
          loop,
          [&]() -> kt::Task<> {
            auto items = client.async_stream<int>("endless");
            while (!fired && Clock::now() - begin < enough) {
              co_await items.next();
              work_for(20us);  // so that the next one is there
            }
          },
          asio::detached);
      loop.run();
      CHECK(Clock::now() - begin < fair);
    }
  }

  TEST_CASE_FIXTURE(Busy, "whoever reads a stream that always has more can be cancelled, and the stream ends") {
    start();
    int ended_streams = 0;
    for (const kt::Client& client : clients()) {
      asio::io_context loop;
      const auto begin = Clock::now();
      asio::cancellation_signal stop;
      asio::steady_timer timer(loop, 50ms);
      timer.async_wait([&](const asio::error_code&) { stop.emit(asio::cancellation_type::terminal); });
      std::exception_ptr thrown;
      asio::co_spawn(
          loop,
          [&]() -> kt::Task<> {
            auto items = client.async_stream<int>("endless");
            while (Clock::now() - begin < enough) {
              co_await items.next();
              work_for(20us);
            }
          },
          asio::bind_cancellation_slot(stop.slot(), [&](std::exception_ptr error) { thrown = error; }));
      loop.run();
      CHECK(Clock::now() - begin < fair);
      REQUIRE(thrown);
      CHECK_THROWS_AS(std::rethrow_exception(thrown), asio::system_error);
      CHECK(ended.happened(++ended_streams));
    }
  }

  TEST_CASE_FIXTURE(Busy, "a handler that reads such a stream, or passes it on, leaves time for other calls") {
    start();
    for (const kt::Client& source : clients()) {
      Home relaying("Relay");
      Happening began;
      std::atomic<bool> release = false;
      const auto goes_on = [&, end = Clock::now() + 2 * enough] { return !release && Clock::now() < end; };
      relaying.kitten.api("reads", [&]() -> kt::Task<> {
        auto items = source.async_stream<int>("endless");
        while (goes_on()) {
          co_await items.next();
          began.happen();
          work_for(20us);
        }
      });
      relaying.kitten.api("passes_on", [&]() -> kt::Generator<int> {
        auto items = source.async_stream<int>("endless");
        while (auto item = co_await items.next()) {
          if (!goes_on()) co_return;
          began.happen();
          work_for(20us);
          co_yield *item;
        }
      });
      relaying.kitten.api("beside", [] {});
      relaying.start();
      kt::ClientOptions options{.state_directory = relaying.state.path()};
      const kt::Client client = kt::Client::connect("testkitten", "Relay", options);
      for (const char* method : {"reads", "passes_on"}) {
        CAPTURE(method);
        const int before = began.count();
        release = false;
        std::thread reader([&] {
          for (const json& item : client.stream(method)) static_cast<void>(item);
        });
        CHECK(began.happened(before + 10));
        CHECK(time_of(client, "beside") < fair);
        release = true;
        reader.join();
      }
    }
  }

  TEST_CASE_FIXTURE(Busy, "a generator that is always busy leaves time for other calls, and its items come in time") {
    std::atomic<bool> release = false;
    const auto goes_on = [&, end = Clock::now() + 6 * enough] { return !release && Clock::now() < end; };
    const auto numbers = [=]() -> kt::Generator<int> {
      for (int i = 0; goes_on(); ++i) {
        work_for(1ms);
        co_yield i;
      }
    };
    kitten.api("yields", numbers);
    kitten.api("awaits", [=]() -> kt::Generator<int> {
      const auto ready = []() -> kt::Task<int> { co_return 1; };
      while (goes_on()) {
        work_for(1ms);
        const int item = co_await ready();
        co_yield item;
      }
    });
    kitten.api("passes_on", [=]() -> kt::Generator<int> {
      auto items = numbers();
      while (auto item = co_await items.next()) co_yield *item;
    });
    kitten.api("keeps_silent", [=]() -> kt::Generator<int> {
      auto items = numbers();
      co_yield 0;
      while (co_await items.next()) {
      }
    });
    kitten.api("adds_up", [=]() -> kt::Task<int> {
      auto items = numbers();
      int sum = 0;
      while (auto item = co_await items.next()) sum += *item;
      co_return sum;
    });
    start();
    for (const kt::Client& client : clients()) {
      for (const char* method : {"yields", "awaits", "passes_on", "keeps_silent", "adds_up"}) {
        CAPTURE(method);
        release = false;
        Happening first;
        std::thread reader([&] {
          for (const json& item : client.stream(method)) {
            static_cast<void>(item);
            first.happen();
          }
        });
        const auto begin = Clock::now();
        if (method != "adds_up"s) {
          CHECK(first.happened());
          CHECK(Clock::now() - begin < fair);
        } else {
          std::this_thread::sleep_for(20ms);  // it has begun by now, or has not: both are fair
        }
        CHECK(time_of(client, "nothing") < fair);
        release = true;
        reader.join();
      }
    }
  }
}
