// SPDX-License-Identifier: MIT
#include "support.hpp"

namespace {

// What may have become of a configuration file, and what is said about it.
struct Broken {
  const char* name;
  std::function<void(const std::string& path)> make;
  const char* said;
};

const std::vector<Broken>& broken_files() {
  static const std::vector<Broken> all{
      {"unknown option", [](const std::string& path) { write_file(path, "sleep_tim = 1\n"); },
       "Kitty.cfg:1: unknown option 'sleep_tim' (did you mean 'sleep_time'?)"},
      {"no option", [](const std::string& path) { write_file(path, "\n\nsleep_time 1\n"); },
       "Kitty.cfg:3: expected 'name = value'"},
      {"bad value", [](const std::string& path) { write_file(path, "# yes\nworker_use_tcp = banana\n"); },
       "Kitty.cfg:2: option 'worker_use_tcp': expected bool (yes or no), got \"banana\""},
      {"value out of bounds", [](const std::string& path) { write_file(path, "worker_max_connections = 0\n"); },
       "Kitty.cfg:1: option 'worker_max_connections': must be positive"},
      {"no way in",
       [](const std::string& path) { write_file(path, "worker_use_tcp = no\nworker_use_unixdomain = no\n"); },
       "Kitty.cfg: option 'worker_use_tcp': needed when worker_use_unixdomain is off"},
      {"several", [](const std::string& path) { write_file(path, "a = 1\nb = 2\nc = 3\n"); }, " (and 2 more)"},
      {"control characters", [](const std::string& path) { write_file(path, "\033[2J = 1\n"); }, "'\\x1b[2J'"},
      {"huge", [](const std::string& path) { write_file(path, std::string(2 << 20, '#')); }, "larger than 1 MiB"},
      {"binary",
       [](const std::string& path) {
         write_file(path, std::string("\x7f"
                                      "ELF\0\xff",
                                      6));
       },
       "not UTF-8 text"},
      {"zeros", [](const std::string& path) { write_file(path, std::string(64, '\0')); }, "not UTF-8 text"},
      {"directory", [](const std::string& path) { std::filesystem::create_directory(path); }, "not a regular file"},
      {"fifo", [](const std::string& path) { REQUIRE(::mkfifo(path.c_str(), 0600) == 0); }, "not a regular file"},
  };
  return all;
}

// A service with options that are called as arguments of methods are.
const OwnService timer_service("timer", [](int argc, char** argv) {
  kt::Kitten kitten("timer");
  double minutes = 25;
  bool save = false;
  kitten.option("minutes", minutes).option("save", save);
  kitten.api(
      "begin", [&](std::optional<unsigned> wanted) { return wanted ? static_cast<double>(*wanted) : minutes; }, "",
      kt::arg("minutes") = nullptr);
  return kitten.main(argc, argv);
});

}  // namespace

TEST_SUITE("cli/configuration") {
  TEST_CASE("nothing in a configuration file keeps a running service from being reached (172)") {
    const Program kitten("kitten");
    REQUIRE(kitten("start").code == 0);
    const std::string url = kitten.url();
    const std::string file = kitten.state / "Kitty.cfg";
    for (const Broken& broken : broken_files()) {
      broken.make(file);
      for (const std::string& before : {std::string(), "--worker-config=yes "s, "--worker-config=" + file + " "}) {
        CAPTURE(broken.name);
        CAPTURE(before);
        const auto goes_on = [&](const char* words, const char* shown) {
          CAPTURE(words);
          const Ran ran = kitten(before + words);
          CHECK(ran.code == 0);
          CHECK_MESSAGE(contains(ran.out, shown), ran.out);
          CHECK_MESSAGE(ran.err.starts_with("Kitty warning: "), ran.err);
          CHECK_MESSAGE(contains(ran.err, broken.said), ran.err);
          CHECK(std::count(ran.err.begin(), ran.err.end(), '\n') == 1);
        };
        goes_on("ping", "Pong via unix-domain!");
        goes_on("status", "Process ");
        goes_on("meow", "Meow world, meow!");
        goes_on("help", "Usage: ");
        goes_on("config sleep_time", "--sleep_time=1.0\n");
        for (const char* words : {"start", "restart", "config --key=sleep_time --val=2 --save=yes"}) {
          CAPTURE(words);
          const Ran ran = kitten(before + words);
          CHECK(ran.code == 1);
          CHECK(ran.out.empty());
          CHECK_MESSAGE(
              ran.err.starts_with("Kitty " + std::string(words).substr(0, std::string(words).find(' ')) + " failed: "),
              ran.err);
        }
        CHECK(kitten.url() == url);  // nothing was stopped
      }
      std::filesystem::remove_all(file);
    }
    write_file(file, "nonsense\n");
    CHECK(kitten("stop").out == "mykitten/Kitty: Stopped\n");
    CHECK(kitten("status").code == 1);
  }

  TEST_CASE("the lines of a broken file that are right lead to the service that they name") {
    const Program kitten("kitten");
    write_file(kitten.state / "tom.cfg", "worker_name = Tom\n");
    const std::string tom = "--worker-config=" + (kitten.state / "tom.cfg") + " ";
    REQUIRE(kitten(tom + "start").code == 0);
    write_file(kitten.state / "tom.cfg", "nonsense\nworker_name = Tom\n");
    CHECK(kitten(tom + "stop").out == "mykitten/Tom: Stopped\n");
  }

  TEST_CASE("a file that was named and is not there is a mistake in the line, not in a file") {
    const Program kitten("kitten");
    const Ran ran = kitten("--worker-config=" + (kitten.state / "none.cfg") + " ping");
    CHECK(ran.code == 1);
    CHECK(ran.err.starts_with("Kitty ping failed: cannot read " + (kitten.state / "none.cfg") + ": No such file"));
  }

  TEST_CASE("a file that its owner may not read keeps nobody from a running service (172)") {
    if (!can_be_other_user()) return;
    const TempDir place;
    ::chmod(place.path().c_str(), 0755);
    std::filesystem::copy_file(Program("kitten").path(), place / "kitten");
    std::filesystem::create_directory(place / "state");
    REQUIRE(::chown((place / "state").c_str(), 65534, 65534) == 0);
    const auto kitten = [&](const std::string& words) {
      return run(as_other_user + (place / "kitten") + " --app-state-dir=" + (place / "state") +
                 " --app-data-dir=" + (place / "state") + " " + words);
    };
    REQUIRE(kitten("start").code == 0);
    write_file(place / "state/Kitty.cfg", "sleep_time = 1\n");
    ::chmod((place / "state/Kitty.cfg").c_str(), 0);
    ::chown((place / "state/Kitty.cfg").c_str(), 65534, 65534);
    const Ran refused = kitten("restart");
    CHECK(refused.code == 1);
    CHECK(contains(refused.err, "Kitty.cfg: Permission denied"));
    const Ran stopped = kitten("stop");
    CHECK(contains(stopped.err, "Kitty.cfg: Permission denied; left out"));
    CHECK(stopped.out == "mykitten/Kitty: Stopped\n");
  }

  TEST_CASE("a byte order mark is skipped, and /dev/null is a file without lines") {
    const Program kitten("kitten");
    write_file(kitten.state / "Kitty.cfg", "\xEF\xBB\xBFsleep_time = 0.25\n");
    CHECK(kitten("start").err.empty());
    CHECK(kitten("config sleep_time").out == "--sleep_time=0.25\n");
    CHECK(kitten("--worker-config=/dev/null ping").err.empty());
    kitten("stop");
    CHECK(kitten("--worker-config=/dev/null start").code == 0);
    CHECK(kitten("config sleep_time").out == "--sleep_time=1.0\n");
  }

  TEST_CASE("behind a command, what names an argument of it is no option of the same name") {
    const TempDir state;
    const auto timer = [&](const std::string& words) { return run(own_service("timer", state.path()) + words); };
    REQUIRE(timer("--minutes=7 start").code == 0);
    CHECK(timer("begin").out == "7.0\n");
    CHECK(timer("begin --minutes=3").out == "3.0\n");
    CHECK(timer("--minutes=3 begin").out == "7.0\n");  // an option, which is not for the service that runs
    CHECK(timer("begin --minutes=-3").code == 3);
    CHECK(timer("config --save=yes").code == 0);  // although there is an option of that name
    CHECK(std::filesystem::exists(state / "worker.cfg"));
    CHECK(timer("stop").code == 0);
  }

  TEST_CASE("config --save=FILE takes the place of files only, and of none beside it") {
    const Program kitten("kitten");
    REQUIRE(kitten("start").code == 0);
    const std::string fifo = kitten.state / "fifo", link = kitten.state / "link", file = kitten.state / "notes";
    REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
    std::filesystem::create_symlink("nowhere", link);
    for (const std::string& path : {fifo, link}) {
      const Ran ran = kitten("config --save=" + path);
      CHECK(ran.code == 1);
      CHECK_MESSAGE(contains(ran.err, "cannot write " + path + ": it is not a regular file"), ran.err);
    }
    CHECK(std::filesystem::is_fifo(fifo));
    CHECK(std::filesystem::is_symlink(link));
    write_file(file, "old");
    write_file(file + ".tmp", "precious");
    CHECK(kitten("config --save=" + file).code == 0);
    CHECK(contains(contents(file), "--sleep_time="));
    CHECK(contents(file + ".tmp") == "precious");
  }

  TEST_CASE("a name behind config shows that option, and a change that counts later says so") {
    const Program kitten("kitten");
    REQUIRE(kitten("start").code == 0);
    CHECK(kitten("config --key=sleep_time --val=0.5").code == 0);
    for (const char* words : {"config sleep_time", "config sleep-time", "config --key=sleep_time"})
      CHECK(kitten(words).out == "--sleep_time=0.5\n");
    CHECK(kitten("--json config sleep_time").out.starts_with("{\"config\": {\"sleep_time\": 0.5}}\n"));
    CHECK(kitten("config sleep_time").out == "--sleep_time=0.5\n");  // it was not reset
    CHECK(kitten("config sleep_tim").code == 3);
    const Ran secret = kitten("config worker_secret");
    CHECK(secret.code == 3);
    CHECK(contains(secret.err, "option 'worker_secret' is secret"));
    CHECK_FALSE(contains(kitten("config --key=sleep_time --val=0.5").out, "next start"));
    for (const char* later : {"--key=worker_listen_port --val=0", "--key=worker_name --val=Kitty",
                              "--key=worker_secret --val=sesame-open", "--reset=worker_secret"}) {
      CAPTURE(later);
      const Ran ran = kitten("config "s + later);
      CHECK(ran.code == 0);
      CHECK_MESSAGE(
          contains(ran.out, " counts from the next start: keep it for that (config --save=yes), and restart\n"),
          ran.out);
      CHECK(std::count(ran.out.begin(), ran.out.end(), '\n') == (contains(later, "secret") ? 1 : 2));
    }
  }
}
