// SPDX-License-Identifier: MIT
#include <sys/wait.h>

#include "os/running_process.ipp"
#include "os/socket.ipp"
#include "os/state.ipp"
#include "services.hpp"

namespace {

// A service whose handlers do what they should not.
const OwnService bad_manners("bad_manners", [](int argc, char** argv) {
  kt::Kitten kitten("manners", "bad", "A service that blocks");
  kitten.limits().shutdown_timeout = 500ms;
  kitten.limits().drain_timeout = 100ms;
  kitten.api(
      "block", [](double seconds) { std::this_thread::sleep_for(std::chrono::duration<double>(seconds)); }, "",
      kt::arg("seconds"));
  // What becomes of a child that is forked, and is asked to end.
  kitten.api("child", [] {
    const pid_t child = ::fork();
    if (child == 0) {
      for (;;) ::pause();
    }
    ::kill(child, SIGTERM);
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  });
  // A child that stays.
  kitten.api("stray", [] {
    const pid_t child = ::fork();
    if (child == 0) {
      for (;;) ::pause();
    }
    return child;
  });
  return kitten.main(argc, argv);
});

// Commands of that service, in a directory of its own.
struct BadManners {
  explicit BadManners(const std::string& options = "") { REQUIRE((*this)(options + "start").code == 0); }
  ~BadManners() {
    const pid_t left = pid();
    if (left > 0) ::kill(left, SIGKILL);
  }
  Ran operator()(const std::string& words) const { return run(command() + words); }
  std::string command() const { return own_service("bad_manners", state.path()); }
  pid_t pid() const { return kt::detail::lock_holder(state / "bad.lock").pid; }
  // A handler that blocks, for long enough.
  void block(const std::string& seconds = "600") const {
    CHECK(run("{ " + command() + "block " + seconds + " & } >/dev/null 2>&1").code == 0);
    CHECK(eventually([&] { return kt::detail::process_facts(pid()).state == 'S' && blocks(); }));
  }
  // True if the service does not answer at once.
  bool blocks() const {
    kt::ClientOptions options{.state_directory = state.path()};
    options.timeouts.total = 200ms;
    try {
      kt::Client::connect("manners", "bad", options);
      return false;
    } catch (const kt::NotRunning&) {
      return true;
    }
  }

  TempDir state;
};

double seconds_of(const std::function<void()>& action) {
  const auto start = std::chrono::steady_clock::now();
  action();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The test program, or an example, where another user can run it.
std::string copy_for_all(const TempDir& dir, const std::string& path) {
  const std::string copy = dir / "program";
  std::filesystem::copy_file(path, copy, std::filesystem::copy_options::overwrite_existing);
  ::chmod(copy.c_str(), 0755);
  ::chmod(dir.path().c_str(), 0755);
  return copy;
}
}  // namespace

TEST_SUITE("cli/hanging") {
  TEST_CASE("stop says after 2 s what it waits for, and stops the service when its handler ends (173)") {
    const BadManners service;
    const std::string pid = std::to_string(service.pid());
    service.block("4");
    const Ran stopped = service("stop");
    CHECK(stopped.code == 0);
    CHECK(stopped.out == "manners/bad: Stopped\n");
    CHECK(stopped.err == "bad: process " + pid +
                             " runs, but does not answer: waiting for a handler that blocks, or for on_shutdown; "
                             "stop --force ends it\n");
    CHECK(std::filesystem::is_empty(service.state.path()));
    CHECK(service("stop").out == "manners/bad: Not running\n");
  }

  TEST_CASE("what hangs is silent for every command, and stop --force ends it within 5 s, and only it (173)") {
    const BadManners service, other;
    const pid_t pid = service.pid();
    const auto silent = [&](const std::string& words, int code, const std::string& said) {
      CAPTURE(words);
      Ran ran;
      const double took = seconds_of([&] { ran = service(words); });
      CHECK(ran.code == code);
      const std::string shown = ran.out + ran.err;
      CHECK_MESSAGE(contains(shown, "bad: process " + std::to_string(pid) + said), shown);
      return took;
    };
    SUBCASE("a handler that blocks") {
      service.block();
      for (const char* words : {"ping", "status"}) CHECK(silent(words, 4, " runs, but does not answer: ") < 2);
      silent("stop", 4, " runs, but does not answer: ");
      CHECK(service.pid() == pid);
    }
    SUBCASE("a process that is stopped") {
      REQUIRE(::kill(pid, SIGSTOP) == 0);
      const std::string said =
          " is stopped by a signal, and does not answer (kill -CONT " + std::to_string(pid) + "): ";
      for (const char* words : {"ping", "status"}) CHECK(silent(words, 4, said) < 2);
      silent("start", 4, said);
    }
    SUBCASE("a url file that is gone") {
      std::filesystem::remove(service.state / "bad.url");
      for (const char* words : {"ping", "status", "stop"}) {
        silent(words, 4, " runs, but does not answer: there is no " + (service.state / "bad.url"));
      }
    }
    SUBCASE("a url file that is empty") {
      write_file(service.state / "bad.url", "");
      for (const char* words : {"ping", "status", "stop"}) silent(words, 4, " runs, but does not answer: there is no ");
    }
    SUBCASE("a url file that somebody else has written") {
      write_file(service.state / "bad.url", "http://unix-domain:0/TOKEN");
      for (const char* words : {"ping", "status", "stop"})
        silent(words, 4, " runs, but does not answer: it is not the one that has written ");
    }
    Ran forced;
    CHECK(seconds_of([&] { forced = service("stop --force"); }) < 5);
    CHECK(forced.code == 0);
    CHECK(forced.out == "manners/bad: Stopped\n");
    CHECK((::kill(pid, 0) != 0 || kt::detail::process_facts(pid).state == 'Z'));
    CHECK(std::filesystem::is_empty(service.state.path()));
    CHECK(service("status").code == 1);
    CHECK(other("ping").code == 0);
  }
}

TEST_SUITE("cli/state") {
  TEST_CASE("a socket that is gone is no service that has ended") {
    const BadManners service("--worker-use-tcp=no ");
    std::filesystem::remove(service.state / "bad.sock");
    for (const char* words : {"ping", "status", "stop"}) {
      const Ran ran = service(words);
      CHECK(ran.code == 4);
      CHECK(contains(ran.out + ran.err,
                     "process " + std::to_string(service.pid()) + " runs, but does not answer: nobody listens where "));
    }
    CHECK(service("restart --force").code == 0);
    CHECK(service("ping").code == 0);
    CHECK(std::filesystem::exists(service.state / "bad.sock"));
    CHECK_FALSE(contains(service("status").out, "http://"));  // it was started without TCP
  }

  TEST_CASE("a lock file that names another process gets no signal sent to it (173)") {
    const TempDir state;
    const BadManners bystander;
    kt::detail::InstanceLock lock(state / "bad.lock");
    REQUIRE(lock.held());
    // The number is used again since.
    write_file(state / "bad.lock", std::to_string(bystander.pid()) + " 1\n\n");
    const Ran forced = run(own_service("bad_manners", state.path()) + "stop --force");
    CHECK(forced.code == 4);
    CHECK_MESSAGE(contains(forced.err, "which process is to be ended cannot be told"), forced.err);
    CHECK(bystander("ping").code == 0);
  }

  TEST_CASE("a second SIGTERM or Ctrl-C ends a service at once, whatever its handlers are at (173)") {
    for (const int number : {SIGTERM, SIGINT}) {
      CAPTURE(number);
      const BadManners service;
      service.block();
      const pid_t pid = service.pid();
      REQUIRE(::kill(pid, number) == 0);
      const kt::detail::RunningProcess process(pid, 0);
      CHECK_FALSE(process.ended_within(100ms));  // it was asked to end in order
      CHECK(service.blocks());
      REQUIRE(::kill(pid, SIGHUP) == 0);  // as a terminal that closes does
      CHECK_FALSE(process.ended_within(100ms));
      REQUIRE(::kill(pid, number) == 0);
      CHECK(process.ended_within(2s));
      CHECK(std::filesystem::is_empty(service.state.path()));
    }
    TempDir state;
    Terminal foreground(own_service("bad_manners", state.path()) + "start --foreground");
    REQUIRE(foreground.shows("Running at"));
    CHECK(run("{ " + own_service("bad_manners", state.path()) + "block 600 & } >/dev/null 2>&1").code == 0);
    CHECK(eventually([&] { return run(own_service("bad_manners", state.path()) + "ping").code == 4; }));
    const kt::detail::RunningProcess process(kt::detail::lock_holder(state / "bad.lock").pid, 0);
    // Two that come before the first is looked at count as one.
    for (int i = 0; i < 20 && !process.ended_within(200ms); ++i) foreground.type("\x03");
    CHECK(foreground.ends() == 128 + SIGINT);
    CHECK(std::filesystem::is_empty(state.path()));
  }

  TEST_CASE("signals that whoever started a service had ignored stay so") {
    const TempDir state;
    const std::string command = own_service("bad_manners", state.path());
    for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
      CAPTURE(number);
      const std::string ignoring = "trap \"\" " + std::to_string(number) + "; exec " + command + "start --foreground";
      CHECK(run("{ sh -c '" + ignoring + "' & } >/dev/null 2>&1").code == 0);
      CHECK(eventually([&] { return run(command + "ping").code == 0; }));
      const pid_t pid = kt::detail::lock_holder(state / "bad.lock").pid;
      for (int i = 0; i < 2; ++i) CHECK(::kill(pid, number) == 0);
      CHECK_FALSE(kt::detail::RunningProcess(pid, 0).ended_within(100ms));
      CHECK(run(command + "ping").code == 0);
      CHECK(run(command + "stop").code == 0);
    }
  }

  TEST_CASE("a service is allowed more descriptors than its starter, but never fewer") {
    const TempDir state;
    const std::string command = own_service("bad_manners", state.path());
    rlimit limit{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
    const auto allowed = [&](const std::string& limits) {
      REQUIRE(run(limits + " && " + command + "start").code == 0);
      const pid_t pid = kt::detail::lock_holder(state / "bad.lock").pid;
      rlimit given{};
      CHECK(::prlimit(pid, RLIMIT_NOFILE, nullptr, &given) == 0);
      CHECK(run(command + "stop").code == 0);
      return given.rlim_cur;
    };
    CHECK(allowed("ulimit -Sn 256") == (std::min<rlim_t>)(limit.rlim_max, 65536));
    const std::string more = "ulimit -Hn 70000 && ulimit -Sn 65537";
    if (run(more).code != 0) {
      MESSAGE("skipped: there are no more to be had here");
      return;
    }
    CHECK(allowed(more) == 65537);
  }

  TEST_CASE("stop does not say that it has stopped what it could not, and stops what has no lock (173)") {
    const TempDir state;
    const std::string command = own_service("bad_manners", state.path());
    const auto stop = [&](int code, const std::string& said) {
      const Ran ran = run(command + "stop");
      CHECK(ran.code == code);
      const std::string shown = ran.out + ran.err;
      CHECK_MESSAGE(contains(shown, said), shown);
      CHECK_FALSE(contains(ran.err, "--force"));  // which could not end it, either
      CHECK(run(command + "stop --force").code == code);
      return ran;
    };
    // What has no lock and no unix socket, as a Python service may be.
    Home home;
    home.kitten.settings().worker_use_unixdomain = false;
    home.start();
    const std::string url = contents(home.state / "Kitty.url");
    write_file(state / "bad.url", url.substr(0, url.rfind('/')) + "/ANOTHER");
    stop(5, "bad: not ours: what answers does not know our token: ");
    CHECK(run(command + "status").code == 5);
    CHECK(home.result("ping")["pong"] == true);
    {
      const kt::Fd hangs = kt::detail::listen_tcp("127.0.0.1", 0, 5);
      write_file(state / "bad.url", "http://" + kt::detail::socket_name(hangs.get(), false) + "/TOKEN");
      stop(4, "bad: does not answer: ");
    }
    CHECK(run(command + "stop").out == "manners/bad: Not running\n");
    write_file(state / "bad.url", url);
    const Ran stopped = run(command + "stop");
    CHECK(stopped.code == 0);
    CHECK(stopped.out == "manners/bad: Stopped\n");
    CHECK(eventually([&] { return !home.kitten.running(); }));
  }

  TEST_CASE("a child that outlives a killed service is named as what keeps its name") {
    const BadManners service;
    const pid_t pid = service.pid();
    const pid_t child = std::stoi(service("stray").out);
    REQUIRE(::kill(pid, SIGKILL) == 0);
    REQUIRE(kt::detail::RunningProcess(pid, 0).ended_within(10s));
    for (const char* words : {"status", "ping", "stop", "stop --force", "start"}) {
      CAPTURE(words);
      const Ran ran = service(words);
      CHECK(ran.code == 4);
      const std::string said = ran.out + ran.err;
      CHECK_MESSAGE(contains(said, "process " + std::to_string(pid) + " has ended, but one that it has forked holds " +
                                       (service.state / "bad.lock")),
                    said);
    }
    REQUIRE(::kill(child, SIGKILL) == 0);
    CHECK(eventually([&] { return service("status").code == 1; }));
    CHECK(service("start").code == 0);
  }

  TEST_CASE("a signal to a child that a handler forked is the child's alone") {
    const BadManners service;
    CHECK(service("child").out == std::to_string(SIGTERM) + "\n");
    CHECK(service("ping").code == 0);
  }

  TEST_CASE("another user's service is neither stopped nor started, and nobody says it was") {
    if (!can_be_other_user()) return;
    const TempDir place;
    const std::string program = copy_for_all(place, std::filesystem::read_symlink("/proc/self/exe").string());
    const BadManners ours;
    const auto as_other = [&](const std::string& words) {
      return run(as_other_user + "env " + as_service + "=bad_manners " + program +
                 " --app-state-dir=" + ours.state.path() + " --app-data-dir=" + ours.state.path() + " " + words);
    };
    const auto denied = [&](const std::string& words) {
      CAPTURE(words);
      const Ran ran = as_other(words);
      CHECK(ran.code == 5);
      const std::string said = ran.out + ran.err;
      CHECK_MESSAGE(contains(said, "cannot use "), said);
      CHECK((contains(said, "Permission denied") || contains(said, "belongs to user 0 (root)")));
      CHECK_FALSE(contains(ran.out, "Stopped"));
    };
    for (const mode_t mode : {0700u, 0755u}) {
      CAPTURE(mode);
      REQUIRE(::chmod(ours.state.path().c_str(), mode) == 0);
      for (const char* words : {"stop", "stop --force", "restart", "start", "status", "ping", "block 0"}) denied(words);
    }
    ::chmod(ours.state.path().c_str(), 0700);
    CHECK(ours("ping").code == 0);
  }

  TEST_CASE("starts and stops at the same time leave nobody with somebody else's token") {
    const Program kitten("kitten");
    std::vector<std::future<void>> callers;
    for (const char* words : {"start", "stop", "ping", "meow", "restart"}) {
      callers.push_back(std::async(std::launch::async, [&kitten, words] {
        for (int round = 0; round < 6; ++round) {
          const Ran ran = kitten(words);
          CHECK_MESSAGE(ran.code != 5, words << ": " << ran.err);
          CHECK_MESSAGE(!contains(ran.err, "HTTP 403"), ran.err);
        }
      }));
    }
    for (auto& caller : callers) caller.get();
    CHECK(kitten("start").code == 0);
    CHECK(kitten("meow").code == 0);
  }

  TEST_CASE("a control socket that is down is not running, whatever its methods are called") {
    const Program any("kitten");
    const std::string name = "--app-name=balls --worker-name=sim ";
    for (const char* words : {"registers", "step 2", "prr", "purr --frames=2", "meow", "help registers"}) {
      CAPTURE(words);
      const Ran ran = any(name + words);
      CHECK(ran.code == 1);
      CHECK_MESSAGE(contains(ran.err, "failed: sim: Not running: Start it first?\n"), ran.err);
    }
    // What this program's own service has is known; what has no likeness to that may be new to it.
    CHECK(any("prr").code == 2);
    CHECK(any("registers").code == 1);
  }
}

TEST_SUITE("cli/restart") {
  TEST_CASE("restart keeps what the service was started with, adds what the line says, and names its files") {
    const Program kitten("kitten");
    write_file(kitten.state / "first.cfg", "worker_max_connections = 99\nsleep_time = 7\n");
    REQUIRE(kitten("--worker-config=" + (kitten.state / "first.cfg") + " --sleep-time=0.5 start").code == 0);
    const auto shown = [&](const char* option) { return kitten("config "s + option).out; };
    CHECK(shown("sleep_time") == "--sleep_time=0.5\n");
    Ran again = kitten("restart");
    CHECK(again.code == 0);
    CHECK_MESSAGE(again.out.starts_with("mykitten/Kitty: Stopped\nmykitten/Kitty: Configured by " +
                                        (kitten.state / "first.cfg") + "\nmykitten/Kitty: Running at "),
                  again.out);
    CHECK(shown("sleep_time") == "--sleep_time=0.5\n");
    CHECK(shown("worker_max_connections") == "--worker_max_connections=99\n");
    CHECK(kitten("--sleep-time=0.25 --worker-secret=sesame-open restart").code == 0);
    CHECK(shown("sleep_time") == "--sleep_time=0.25\n");
    CHECK(shown("worker_max_connections") == "--worker_max_connections=99\n");
    for (int i = 0; i < 2; ++i) CHECK(kitten("restart").code == 0);
    CHECK(kitten.url().ends_with("/sesame-open"));
    CHECK(shown("sleep_time") == "--sleep_time=0.25\n");

    // What would be refused is refused before anything is stopped.
    const std::string url = kitten.url();
    write_file(kitten.state / "first.cfg", "nonsense\n");
    again = kitten("restart");
    CHECK(again.code == 1);
    CHECK(contains(again.err, "first.cfg:1: expected 'name = value'"));
    CHECK(kitten("ping").code == 0);
    CHECK(kitten.url() == url);

    // A new beginning.
    CHECK(kitten("stop").code == 0);
    CHECK(kitten("start").code == 0);
    CHECK(shown("sleep_time") == "--sleep_time=1.0\n");
    CHECK(kitten("restart").out.starts_with("mykitten/Kitty: Stopped\nmykitten/Kitty: Running at "));
  }

  TEST_CASE("what was saved counts in the next restart, and the default file may come and go") {
    const Program kitten("kitten");
    const std::string file = kitten.state / "Kitty.cfg";
    REQUIRE(kitten("--sleep-time=0.5 start").code == 0);
    CHECK(kitten("config --key=sleep_time --val=0.1 --save=yes").code == 0);
    CHECK(contains(kitten("restart").out, "Kitty: Configured by " + file + "\n"));
    CHECK(kitten("config sleep_time").out == "--sleep_time=0.1\n");
    write_file(file, "sleep_time = 0.2\n");
    CHECK(contains(kitten("--worker-max-connections=77 restart").out, "Kitty: Configured by " + file + "\n"));
    CHECK(kitten("config sleep_time").out == "--sleep_time=0.2\n");
    CHECK(kitten("config worker_max_connections").out == "--worker_max_connections=77\n");
    std::filesystem::remove(file);
    CHECK_FALSE(contains(kitten("restart").out, "Configured by"));
    CHECK(kitten("config sleep_time").out == "--sleep_time=1.0\n");
    CHECK(kitten("config worker_max_connections").out == "--worker_max_connections=77\n");
  }

  TEST_CASE("restart starts a service that does not run") {
    const Program kitten("kitten");
    const Ran ran = kitten("--sleep-time=0.5 restart");
    CHECK(ran.code == 0);
    CHECK(ran.out.starts_with("mykitten/Kitty: Not running\nmykitten/Kitty: Running at "));
    CHECK(kitten("config sleep_time").out == "--sleep_time=0.5\n");
  }
}
