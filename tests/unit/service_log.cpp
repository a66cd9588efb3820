// SPDX-License-Identifier: MIT
#include "base/log.ipp"
#include "services.hpp"
#include "support.hpp"

TEST_SUITE("service/log") {
  TEST_CASE("by default no request makes a line, whatever it is (161)") {
    Home home;
    home.kitten.settings().worker_log_level = kt::Settings().worker_log_level;
    home.start();
    const std::size_t before = home.log().size();
    CHECK(before > 0);
    for (const bool local : {true, false}) {
      Wire wire = local ? Wire::local(home.kitten) : Wire::tcp(home.kitten);
      for (int i = 0; i < 100; ++i) {
        CHECK(wire.send(home.get("/ping")).answer().status == 200);
        CHECK(wire.send(home.get("/nothing")).answer().status == 403);
        CHECK(wire.send(home.get(home.path("ping"))).answer().status == 200);
        CHECK(wire.send(home.get(home.path("nothing"))).answer().status == 404);
      }
      wire.send("garbage\r\n\r\n");
      CHECK(wire.answer().status == 400);
    }
    CHECK(home.log().size() == before);
  }

  TEST_CASE("what strangers can cause is bounded in all, those who have the token are logged as ever (161)") {
    Home home;
    home.kitten.limits().log_lines = 5;
    home.kitten.public_api("fails", []() -> int { throw std::runtime_error("broken"); });
    home.start();
    const auto count = [&](const std::string& part) {
      const std::string log = home.log();
      int found = 0;
      for (std::size_t at = log.find(part); at != std::string::npos; at = log.find(part, at + 1)) ++found;
      return found;
    };
    const int before = count("\n");
    const auto begin = std::chrono::steady_clock::now();
    Wire stranger = Wire::tcp(home.kitten);
    for (int i = 0; i < 200; ++i) {
      CHECK(stranger.send(home.get("/ping")).answer().status == 200);
      CHECK(stranger.send(home.get("/nothing")).answer().status == 403);
      CHECK(stranger.send(home.get("/fails")).answer().status == 500);
    }
    const auto seconds = (std::chrono::steady_clock::now() - begin) / 1s + 2;
    CHECK(count("\n") - before <= 2 * 5 * seconds);
    CHECK(count("internal: fails") >= 1);
    Wire owner = Wire::tcp(home.kitten);
    for (int i = 0; i < 50; ++i) CHECK(owner.send(home.get(home.path("help"))).answer().status == 200);
    CHECK(count("GET /help") == 50);
    // Other requests over that connection, which may be a proxy's, are still strangers' ones.
    const int by_owner = count("\n");
    const auto again = std::chrono::steady_clock::now();
    for (int i = 0; i < 200; ++i) {
      CHECK(owner.send(home.get("/nothing")).answer().status == 403);
      CHECK(owner.send(home.get("/fails")).answer().status == 500);
    }
    CHECK(count("\n") - by_owner <= 2 * 5 * ((std::chrono::steady_clock::now() - again) / 1s + 2));
  }

  TEST_CASE("lines about strangers have a bound for the day, and what was left out is counted (161)") {
    std::string written;
    kt::detail::Log log;
    log.set_sink([&](kt::LogLevel, std::string_view line) { written += std::string(line) + "\n"; });
    log.set_bounds(1'000'000, 10'000);
    int admitted = 0;
    for (int i = 0; i < 1000; ++i) {
      if (!log.admit(kt::LogLevel::warning, "auth")) continue;
      log.write_admitted(kt::LogLevel::warning, "auth", std::string(100, 'x'));
      ++admitted;
    }
    CHECK(admitted > 40);
    CHECK(written.size() < 10'500);
    CHECK(contains(written, "no more lines about strangers for a day"));
    log.write(kt::LogLevel::info, "what the service does itself");
    CHECK(contains(written, "what the service does itself"));

    // The number of lines that were left out is told in the next one of that kind.
    written.clear();
    kt::detail::Log slow;
    slow.set_sink([&](kt::LogLevel, std::string_view line) { written += std::string(line) + "\n"; });
    slow.set_bounds(1, 10'000);
    CHECK(eventually([&] {
      slow.write_bounded(kt::LogLevel::warning, "limit", "full");
      return contains(written, " more of these not logged)");
    }));
  }

  TEST_CASE("log lines come on the service's thread, and on those that start and end it") {
    std::mutex mutex;
    std::map<std::string, std::thread::id> threads;
    Home home;
    const auto thread_of = [&](const std::string& part) {
      const std::lock_guard lock(mutex);
      for (const auto& [line, thread] : threads)
        if (contains(line, part)) return thread;
      return std::thread::id();
    };
    home.kitten.log_to([&](kt::LogLevel, std::string_view line) {
      const std::lock_guard lock(mutex);
      threads.emplace(line, std::this_thread::get_id());
    });
    std::thread::id service;
    home.kitten.api("fails", [&]() -> int {
      service = std::this_thread::get_id();
      throw std::runtime_error("broken");
    });
    home.kitten.on_shutdown([] { throw std::runtime_error("not done"); });
    home.start();
    const std::thread::id here = std::this_thread::get_id();
    CHECK(thread_of("]") == here);  // what the start said
    CHECK(home.call("fails").status == 500);
    CHECK(thread_of("fails: broken") == service);
    CHECK(service != here);
    std::thread ends([&] { home.kitten.stop(); });
    const std::thread::id end = ends.get_id();
    ends.join();
    CHECK(thread_of("on_shutdown: not done") == service);
    for (const auto& [line, thread] : threads)
      CHECK_MESSAGE((thread == here || thread == service || thread == end), line);
  }
}
