// SPDX-License-Identifier: MIT
#include "services.hpp"
#include "support.hpp"

TEST_SUITE("service/slow_readers") {
  constexpr std::size_t mebibyte = 1024 * 1024;

  // Streams of large items, and how many items are there at a time.
  struct LargeItems {
    kt::Generator<std::string> stream(int count) {
      for (int i = 0; i < count; ++i) {
        const Counting counting(*this);
        co_yield std::string(2 * mebibyte, 'x');
      }
    }

    std::atomic<int> present = 0, most = 0, begun = 0;

   private:
    struct Counting {
      explicit Counting(LargeItems& the_items) : items(the_items) {
        ++items.begun;
        items.most = (std::max)(items.most.load(), ++items.present);
      }
      Counting(const Counting&) = delete;
      ~Counting() { --items.present; }
      LargeItems& items;
    };
  };

  // A loop of the program on a thread of its own, which ends with the test, however that ends.
  struct HostThread {
    explicit HostThread(asio::io_context& loop) : work(asio::make_work_guard(loop)), thread([&loop] { loop.run(); }) {}
    ~HostThread() {
      work.reset();
      thread.join();
    }
    asio::executor_work_guard<asio::io_context::executor_type> work;
    std::thread thread;
  };

  std::size_t resident() {
    std::ifstream file("/proc/self/statm");
    std::size_t all = 0, pages = 0;
    file >> all >> pages;
    return pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  }

  TEST_CASE("60 readers who take nothing hold no more than the bound, and one who reads gets its stream (167)") {
    for (const bool on_another_thread : {false, true}) {
      CAPTURE(on_another_thread);
      const int readers = on_another_thread ? 20 : 60;
      Home home;
      home.kitten.limits().stream_bytes = 16 * mebibyte;
      // Long enough for one who reads, however slow the machine is.
      home.kitten.limits().stream_grace = KETTLINGAR_TEST_WITH_TSAN ? 1500ms : 300ms;
      LargeItems items;
      home.kitten.api("items", items, &LargeItems::stream, "Large ones.", kt::arg("count"));
      asio::io_context host;
      const HostThread thread(host);
      if (on_another_thread)
        home.kitten.run_handlers_on([&](std::function<void()> call) { asio::post(host, std::move(call)); });
      home.start();
      [[maybe_unused]] const std::size_t before = resident();
      std::vector<Wire> silent;
      for (int i = 0; i < readers; ++i) {
        silent.push_back(Wire::local(home.kitten));
        silent.back().send(home.post(home.path("items"), R"({"count": 1000})"));
      }
      CHECK(eventually([&] { return items.begun >= 8; }));
      const kt::Client client = client_of(home);
      std::size_t got = 0;
      for (const std::string& item : client.stream<std::string>("items", 20)) got += item.size();
      CHECK(got == 20 * 2 * mebibyte);
      // Each of them has had its turn, and made room for the next one.
      CHECK(eventually([&] { return items.begun >= readers + 20; }));
      CHECK(contains(home.log(), "limit: unix-domain reads too slowly, closed: others have no room for their streams"));
      if (!on_another_thread) {
        // As many as fill the bound, one that has begun below it, and one that its reader has had.
        CHECK(items.most <= 10);
#if !KETTLINGAR_TEST_WITH_ASAN && !KETTLINGAR_TEST_WITH_TSAN
        if (before != 0) CHECK(resident() < before + 64 * mebibyte);
#endif
      }
      silent.clear();
      CHECK(eventually([&] { return items.present == 0; }));
      home.kitten.stop();
    }
  }

  TEST_CASE("who is slow is only ended when others have no room, and an item may be larger than the bound (167)") {
    Home home;
    home.kitten.limits().stream_bytes = mebibyte;
    home.kitten.limits().stream_grace = 0ms;
    LargeItems items;
    home.kitten.api("items", items, &LargeItems::stream, "Large ones.", kt::arg("count"));
    home.start();
    Wire slow = Wire::local(home.kitten);
    slow.send(home.post(home.path("items"), R"({"count": 2})"));
    CHECK(eventually([&] { return items.present == 1; }));
    // What is no stream needs no room.
    for (int i = 0; i < 20; ++i) CHECK(Wire::tcp(home.kitten).send(home.get("/ping")).answer().status == 200);
    CHECK(slow.answer().body.size() > 4 * mebibyte);
  }

  TEST_CASE("streams that wait for room end with their peers, and with the service (167)") {
    Home home;
    home.kitten.limits().stream_bytes = 1;
    home.kitten.limits().stream_grace = 24h;
    home.kitten.limits().drain_timeout = 50ms;
    LargeItems items;
    Happening called, gone;
    home.kitten.api("items", items, &LargeItems::stream, "Large ones.", kt::arg("count"));
    home.kitten.api("counted", [&]() -> kt::Generator<int> {
      const Counted local(&gone);
      called.happen();
      co_yield 1;
    });
    home.start();
    Wire silent = Wire::local(home.kitten);
    silent.send(home.post(home.path("items"), R"({"count": 2})"));
    CHECK(eventually([&] { return items.present == 1; }));
    {
      // Its head comes in time, whether there is room for items or not.
      Wire waiting = Wire::tcp(home.kitten), goes = Wire::local(home.kitten);
      waiting.send(home.get(home.path("counted")));
      goes.send(home.get(home.path("counted")));
      CHECK(waiting.until("\r\n\r\n"));
      CHECK(called.count() == 0);
    }
    Wire last = Wire::local(home.kitten);
    last.send(home.get(home.path("counted")));
    home.kitten.stop();
    CHECK(items.present == 0);
    CHECK(called.count() == 0);
    CHECK(last.rest().find("1\n") == std::string::npos);
  }
}
