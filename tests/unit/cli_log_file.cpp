// SPDX-License-Identifier: MIT
#include "cli/log_file.ipp"
#include "support.hpp"

namespace {

const std::string line(99, 'x');

}  // namespace

TEST_SUITE("cli/log_file") {
  TEST_CASE("a log file that is full becomes another, once, and a new one begins (161)") {
    TempDir dir;
    const std::string path = dir / "log";
    write_file(path, "earlier\n");
    kt::detail::LogFile log(path, 1000);
    for (int i = 0; i < 9; ++i) log.write(line);
    CHECK(contents(path).starts_with("earlier\n"));
    CHECK_FALSE(std::filesystem::exists(path + ".1"));
    log.write("the tenth" + line);
    CHECK(contents(path) == "the tenth" + line + "\n");
    CHECK(contents(path + ".1").size() == 908);
    for (int i = 0; i < 1000; ++i) log.write(line);
    CHECK(contents(path).size() <= 1000);
    CHECK(contents(path + ".1").size() == 1000);
    CHECK_FALSE(std::filesystem::exists(path + ".2"));
    kt::detail::FileInfo info{};
    REQUIRE(::stat(path.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
    // What is longer than all of it has a file for itself.
    log.write(std::string(5000, 'y'));
    CHECK(contents(path).size() == 5001);
  }

  TEST_CASE("nobody can lead the new log file elsewhere, and it stays short all the same (161)") {
    TempDir dir;
    const std::string path = dir / "log", victim = dir / "victim";
    write_file(victim, "untouched");
    const auto fill = [&](kt::detail::LogFile& log) {
      for (int i = 0; i < 25; ++i) log.write(line);
    };
    // A link in place of the old one is replaced, not followed.
    std::filesystem::create_symlink(victim, path + ".1");
    kt::detail::LogFile log(path, 1000);
    fill(log);
    CHECK(std::filesystem::is_regular_file(std::filesystem::symlink_status(path + ".1")));
    // A link or a fifo in place of the file is not written to.
    for (const bool fifo : {false, true}) {
      std::filesystem::remove(path);
      if (fifo) {
        REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
      } else {
        std::filesystem::create_symlink(victim, path);
      }
      fill(log);
    }
    CHECK(contents(victim) == "untouched");
    // Nor is it lost for good.
    std::filesystem::remove(path);
    fill(log);
    CHECK(contents(path).size() > 0);
    CHECK(contents(path).size() <= 1000);
  }

  TEST_CASE("a log file that cannot be renamed is emptied (161)") {
    TempDir dir;
    const std::string path = dir / "log";
    std::filesystem::create_directories(path + ".1/full");
    kt::detail::LogFile log(path, 1000);
    for (int i = 0; i < 1000; ++i) log.write(line);
    CHECK(contents(path).size() <= 1000);
    CHECK(contents(path).size() > 0);
  }

  TEST_CASE("two services can log to one file, each finds the new one (161)") {
    TempDir dir;
    const std::string path = dir / "log";
    kt::detail::LogFile one(path, 1000), other(path, 1000);
    for (int i = 0; i < 100; ++i) {
      one.write(line);
      other.write(line);
      CHECK(contents(path).size() <= 1000);
    }
  }

  TEST_CASE("a log file that cannot be opened is said to be one") {
    CHECK_THROWS_WITH_AS(kt::detail::LogFile("/nonexistent/log", 1000),
                         "cannot open /nonexistent/log: No such file or directory", kt::StartError);
  }
}
