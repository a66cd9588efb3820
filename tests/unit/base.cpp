// SPDX-License-Identifier: MIT
#include "base/log.ipp"
#include "base/suggest.ipp"
#include "support.hpp"

TEST_SUITE("base") {
  TEST_CASE("the version is one number for #if, made of three") {
    CHECK(KETTLINGAR_VERSION ==
          KETTLINGAR_VERSION_MAJOR * 10000 + KETTLINGAR_VERSION_MINOR * 100 + KETTLINGAR_VERSION_PATCH);
  }

  TEST_CASE("what a peer sent cannot forge a log line or reach a terminal") {
    CHECK(kt::log_escaped("a b") == "a b");
    CHECK(kt::log_escaped("x\r\ny\x1b[31m\"'\\") == "x\\x0d\\x0ay\\x1b[31m\\x22\\x27\\x5c");
    CHECK(kt::log_escaped("\xc3\xa9\x7f") == "\\xc3\\xa9\\x7f");
    CHECK(kt::log_escaped(std::string(1000, 'a')) == std::string(200, 'a') + "...");
  }

  TEST_CASE("a log line has date, time, process, level and service in front, and no line end") {
    std::string line;
    kt::LogLevel given{};
    kt::detail::Log log;
    log.set_name("Kitty");
    CHECK_FALSE(log.wants(kt::LogLevel::error));  // there is no sink
    log.write(kt::LogLevel::error, "text");
    log.set_sink([&](kt::LogLevel level, std::string_view text) {
      given = level;
      line = text;
    });
    const std::vector<std::pair<kt::LogLevel, std::string>> levels{{kt::LogLevel::debug, "D"},
                                                                   {kt::LogLevel::info, "I"},
                                                                   {kt::LogLevel::warning, "W"},
                                                                   {kt::LogLevel::error, "E"}};
    for (const auto& [level, letter] : levels) {
      const std::time_t begin = std::time(nullptr);
      log.write(level, "some text");
      CHECK(given == level);
      REQUIRE(line.size() > 23);
      CHECK(line.substr(23) == " " + std::to_string(::getpid()) + " " + letter + " [Kitty] some text");
      tm local{};
      const char* rest = ::strptime(line.c_str(), "%Y-%m-%d %H:%M:%S,", &local);
      REQUIRE(rest == line.c_str() + 20);
      local.tm_isdst = -1;
      const std::time_t time = std::mktime(&local);
      CHECK(begin <= time);
      CHECK(time <= std::time(nullptr));
      CHECK(std::all_of(rest, rest + 3, [](char c) { return '0' <= c && c <= '9'; }));
    }
    for (const int least : {10, 20, 30, 40, 50}) {
      CAPTURE(least);
      log.set_level(least);
      for (const auto& [level, letter] : levels) {
        line.clear();
        log.write(level, "text");
        CHECK(log.wants(level) == (static_cast<int>(level) >= least));
        CHECK(line.empty() != log.wants(level));
      }
    }
  }

  TEST_CASE("a log line of a forked process has its own number, though it is of the same second") {
    std::string line;
    kt::detail::Log log;
    log.set_sink([&](kt::LogLevel, std::string_view text) { line = text; });
    log.write(kt::LogLevel::info, "parent");
    const pid_t child = ::fork();
    if (child == 0) {
      log.write(kt::LogLevel::info, "child");
      ::_exit(contains(line, " " + std::to_string(::getpid()) + " ") ? 0 : 1);
    }
    int status = -1;
    CHECK(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
  }

  TEST_CASE("log lines that strangers can cause are limited, and the rest is counted") {
    std::string last;
    kt::detail::Log log;
    log.set_sink([&](kt::LogLevel, std::string_view line) { last = line; });
    int admitted = 0;
    while (log.admit(kt::LogLevel::warning, "flood")) {
      if (++admitted > 10000) break;
    }
    CHECK(admitted >= 20);
    CHECK(admitted <= 40);  // twice as many if the second changes meanwhile
    CHECK_FALSE(log.admit(kt::LogLevel::error, "flood"));
    log.write_admitted(kt::LogLevel::warning, "flood", "flood: the next");
    CHECK(last.ends_with("flood: the next (2 more of these not logged)"));
  }

  TEST_CASE("an error with a status that is none counts as 500") {
    CHECK(kt::Error(418, "x").status() == 418);
    CHECK(kt::Error(200, "x").status() == 500);
    CHECK(kt::Error(99, "x").status() == 500);
    CHECK(kt::Error(1000, "x").status() == 500);
  }

  TEST_CASE("a typo finds the word that was meant, and nonsense finds none") {
    const std::vector<std::string> known{"purr", "meow", "start", "status", "stop", "worker_listen_port"};
    CHECK(kt::detail::closest("prr", known) == "purr");
    CHECK(kt::detail::closest("pur", known) == "purr");
    CHECK(kt::detail::closest("mewo", known) == "meow");
    CHECK(kt::detail::closest("statsu", known) == "status");
    CHECK(kt::detail::closest("worker_listn_port", known) == "worker_listen_port");
    CHECK(kt::detail::closest("elephant", known).empty());
    CHECK(kt::detail::closest(std::string(100000, 'x'), known).empty());
  }
}
