// SPDX-License-Identifier: MIT
#include "os/socket.ipp"
#include "support.hpp"

TEST_SUITE("cli") {
  TEST_CASE("a service is started, called, described and stopped from the command line") {
    const Program kitten("kitten");
    const Ran started = kitten("start");
    CHECK(started.code == 0);
    CHECK(contains(started.out, "mykitten/Kitty: Running at http://127.0.0.1:"));
    CHECK(contains(started.out, "mykitten/Kitty: Running at " + kitten.state.path() + "/Kitty.sock\n"));
    const std::string url = kitten.url();
    CHECK_FALSE(contains(started.out, url.substr(url.rfind('/') + 1)));  // the token stays in its file
    CHECK(kitten("start").out == started.out);
    CHECK(kitten("ping").out == "Pong via unix-domain! (see JSON for full method list)\n");
    CHECK(contains(kitten("--tcp ping").out, "Pong via 127.0.0.1:"));
    CHECK(json::parse(kitten("--json ping").out)["pong"] == true);
    CHECK(kitten("meow").out == "Meow world, meow!\n");
    CHECK(kitten("--sleep-time=0 config --key=sleep_time --val=0").code == 0);
    CHECK(kitten("purr 0x2 --caps=y").out == "Kitty says PURR\nKitty says PURRPURR\n");
    CHECK(kitten("-j -J purr 1 rr").out == "{\"purr\": \"rr\"}\n");
    CHECK(kitten("--raw purr").out == "{\"_format\": \"Kitty says %(purr)s\", \"purr\": \"purr\"}\n");
    CHECK(kitten("both").out == "Meow world, meow!\nKitty says purr\nKitty says purrpurr\n");
    CHECK(kitten("mrow").out == kitten("both").out);
    CHECK(kitten("purr 0").out.empty());
    CHECK(kitten("stretch").out == "Streeeeeeeetch!\n");
    CHECK(kitten("slow_meow 0.01").out == "Meow world, meow after 0.01s!\n");
    CHECK(kitten("blank").out.starts_with("GIF89a"));
    CHECK(kitten("--json binary_result").out == "{\"binary\": {\"__bytes__\": \"data\"}}\n");
    CHECK(contains(kitten("help purr").out, "/purr [--count=1] [--purr=purr] [--caps=false]"));
    const Ran status = kitten("status");
    CHECK(status.code == 0);
    CHECK(contains(status.out, "mykitten/Kitty: Process "));
    CHECK(kitten("restart").code == 0);
    CHECK(kitten.url() != url);
    const Ran stopped = kitten("stop");
    CHECK(stopped.out == "mykitten/Kitty: Stopped\n");
    CHECK(stopped.code == 0);
    CHECK(std::filesystem::is_empty(kitten.state.path()));
    CHECK(kitten("stop").out == "mykitten/Kitty: Not running\n");
    CHECK(kitten("status").code == 1);
  }

  TEST_CASE("mistakes get one line that says what, where and what was meant") {
    const Program kitten("kitten");
    const auto fails = [&](const std::string& words, int code, const std::string& text) {
      CAPTURE(words);
      const Ran ran = kitten(words);
      CHECK(ran.code == code);
      CHECK_MESSAGE(contains(ran.err, text), ran.err);
      CHECK(std::count(ran.err.begin(), ran.err.end(), '\n') == 1);
      CHECK(ran.out.empty());
    };
    fails("ping", 1, "Kitty ping failed: Kitty: Not running: Start it first?");
    fails("prr", 2, "no command or method 'prr' (did you mean 'purr'?)");
    fails("statr", 2, "(did you mean 'start'?)");
    fails("''", 2, "no command or method ''");  // a variable that is not set, for one; not the web root
    fails("help prr", 2, "(did you mean 'purr'?)");
    fails("start now", 3, "invalid arguments: now");
    fails("start --worker-listn-port=5", 3, "(did you mean --worker-listen-port?)");
    fails("--worker-listen-port=banana start", 1, "option 'worker_listen_port': expected int, got \"banana\"");
    fails("--worker-use-tcp=banana ping", 1, "expected bool (yes or no), got \"banana\"");
    fails("--worker-listen-port start", 3, "--worker-listen-port needs a value: --worker-listen-port=VALUE");
    fails("--worker-config=/nonexistent/file ping", 1, "cannot read /nonexistent/file");
    fails("--jsn ping", 3, "Unrecognized option: --jsn (did you mean --json?)");
    fails("-x ping", 3, "Unrecognized option: -x");
    fails("purr --cuont=3", 3, "Unrecognized option: --cuont (did you mean --count?)");
    fails("purr --caps", 3, "--caps needs a value");
    fails("--worker-listen-host=example.com start", 1, "not an IPv4 or IPv6 address");
    fails("--worker-secret=x start", 1, "at least 6 are needed");
    fails("--worker-log-file=/nonexistent/log start", 1, "cannot open /nonexistent/log");
    fails("--app-state-dir=/proc/nowhere start", 1, "cannot create directory /proc/nowhere");
    REQUIRE(kitten("start").code == 0);
    fails("prr", 2, "(did you mean 'purr'?)");
    fails("purr elephant", 3, "purr: argument 'count': invalid literal, expected int, got \"elephant\"");
    fails("purr 1 x y z", 3, "takes at most 3 arguments, got 4");
    fails("freakout", 6, "Nothing is good enough for me!");
    fails("meow --nope=1", 3, "Unrecognized option: --nope");
    fails("config --key=sleep_tim --val=1", 3, "(did you mean 'sleep_time'?)");
    fails("start --foreground", 1, "mykitten/Kitty is already running");
  }

  TEST_CASE("without words, and with help, the program introduces itself") {
    const Program kitten("kitten");
    for (const char* words : {"", "--sleep-time=1"}) {
      const Ran ran = kitten(words);
      CHECK(ran.code == 1);
      CHECK(ran.out.starts_with("mykitten - A sample kettlingar microservice\n"));
      CHECK(contains(ran.out, "\n\nTry this: " + kitten.path() + " help\n"));
    }
    const std::string help = kitten("help").out;
    CHECK(kitten("--help").out == help);
    CHECK(kitten("-h").out == help);
    CHECK(contains(help, "API Commands: binary_result, blank, both"));
    CHECK(contains(help, "--sleep-time=1.0\n      Seconds between purrs"));
    for (const std::string command : {"start", "stop", "restart", "status"}) {
      CHECK(contains(kitten("help " + command).out, "  " + command + " "));
      CHECK(kitten(command + " --help").out == kitten("help " + command).out);
    }
    CHECK(kitten("status").code == 1);
    CHECK(contains(kitten("--version").out, "built with kettlingar 0."));
    CHECK(kitten("purr --help").out == kitten("help purr").out);
    write_file(kitten.state / "broken.cfg", "nonsense\n");
    const Ran broken = kitten("--worker-config=" + (kitten.state / "broken.cfg") + " help");
    CHECK(broken.code == 0);
    CHECK(contains(broken.err, "broken.cfg:1: expected 'name = value'"));
  }

  TEST_CASE("start returns in a pipe and in a substitution, and the service keeps nothing of its caller (134)") {
    const Program kitten("kitten");
    CHECK(contains(run(kitten.path() + " --app-state-dir=" + kitten.state.path() + " start 9</dev/null | cat").out,
                   "Running at"));
    CHECK(kitten("stop").code == 0);
    const Ran substituted =
        run("x=$(" + kitten.path() + " --app-state-dir=" + kitten.state.path() + " start 7</dev/null); echo \"$x\"");
    CHECK(contains(substituted.out, "Running at"));
    const int pid = std::stoi(contents(kitten.state / "Kitty.lock"));
    std::map<std::string, int> pipes;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) {
      std::error_code gone;
      const std::string target = std::filesystem::read_symlink(entry.path(), gone).string();
      if (target.starts_with("pipe:")) ++pipes[target];
      if (std::stoi(entry.path().filename()) < 3) CHECK(target == "/dev/null");
    }
    for (const auto& [pipe, ends] : pipes) CHECK(ends == 2);  // its own, not one end of somebody else's
    CHECK(std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/cwd") == "/");
  }

  TEST_CASE("of twenty simultaneous starts one serves, and all say where (130)") {
    const Program kitten("kitten");
    std::vector<std::future<Ran>> starts;
    for (int i = 0; i < 20; ++i) starts.push_back(std::async(std::launch::async, [&] { return kitten("start"); }));
    std::set<std::string> outputs;
    for (auto& start : starts) {
      const Ran ran = start.get();
      CHECK_MESSAGE(ran.code == 0, ran.err);
      outputs.insert(ran.out);
    }
    CHECK(outputs.size() == 1);
    const Ran processes =
        run("pgrep -f -- '[-]-app-state-dir=" + kitten.state.path() + " .*start --report-to' | wc -l");
    CHECK(std::stoi(processes.out) == 1);
  }

  TEST_CASE("a killed service is started again without any clean-up (147)") {
    const Program kitten("kitten");
    for (int round = 0; round < 3; ++round) {
      REQUIRE(kitten("start").code == 0);
      const int pid = std::stoi(contents(kitten.state / "Kitty.lock"));
      REQUIRE(::kill(pid, SIGKILL) == 0);
      REQUIRE(eventually([&] {
        return ::kill(pid, 0) != 0 ||
               contents("/proc/" + std::to_string(pid) + "/stat").find(") Z") != std::string::npos;
      }));
      CHECK(kitten("ping").code == 1);
    }
  }

  TEST_CASE("SIGTERM, SIGINT and SIGHUP end a foreground service in order (132)") {
    for (const char* signal : {"TERM", "INT", "HUP"}) {
      CAPTURE(signal);
      const Program kitten("kitten");
      // A shell without job control ignores SIGINT in background jobs, so the signals come from a child of the
      // service's own shell.
      const Ran ran = run("sh -c 'pid=$$; (while ! test -s " + (kitten.state / "Kitty.url") +
                          "; do sleep 0.01; done; kill -" + signal + " $pid) & exec " + kitten.path() +
                          " --app-state-dir=" + kitten.state.path() + " start --foreground'");
      CHECK(ran.code == 0);
      CHECK(contains(ran.out, "Running at"));
      CHECK(contains(ran.err, "Stopped mykitten/Kitty"));
      CHECK(std::filesystem::is_empty(kitten.state.path()));
    }
  }

  TEST_CASE("the log file has a line for each request, is private, and never has the token") {
    const Program kitten("kitten");
    const std::string log = kitten.state / "log";
    REQUIRE(kitten("--worker-log-level=10 --worker-log-file=" + log + " start").code == 0);
    kitten("meow");
    kitten("freakout");
    const std::string url = kitten.url();
    kitten("stop");
    const std::string lines = contents(log);
    CHECK(contains(lines, "http 200 ok unix-domain POST /meow"));
    CHECK(contains(lines, "freakout: Nothing is good enough for me!"));
    CHECK(contains(lines, "Stopped mykitten/Kitty"));
    CHECK_FALSE(contains(lines, url.substr(url.rfind('/') + 1)));
    kt::detail::FileInfo info{};
    REQUIRE(::stat(log.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
  }

  TEST_CASE("results that cannot be written are an error, not silence") {
    if (::access("/dev/full", W_OK) != 0) return;
    const Program kitten("kitten");
    REQUIRE(kitten("start").code == 0);
    const Ran ran = kitten("meow >/dev/full");
    CHECK(ran.code == 4);
    CHECK(contains(ran.err, "cannot write to standard output"));
    CHECK(kitten("restart >/dev/full").code == 4);
    CHECK(kitten("status").code == 0);  // it was to run on
  }

  TEST_CASE("of stops at the same time none fails") {
    const Program kitten("kitten");
    for (int round = 0; round < 3; ++round) {
      REQUIRE(kitten("start").code == 0);
      std::vector<std::future<Ran>> stops;
      for (int i = 0; i < 6; ++i) stops.push_back(std::async(std::launch::async, [&] { return kitten("stop"); }));
      for (auto& stop : stops) {
        const Ran ran = stop.get();
        CHECK_MESSAGE(ran.code == 0, ran.err);
      }
      CHECK(kitten("status").code == 1);
    }
  }

  TEST_CASE("a saved configuration does not lead to another service than the one that was named") {
    const Program kitten("kitten");
    const TempDir data;
    const std::string where = "--app-data-dir=" + data.path() + " ";
    write_file(data / "Kitty.cfg", "app_state_dir = " + (data / "elsewhere") + "\nsleep_time = 0.25\n");
    CHECK(contains(kitten(where + "start").out, kitten.state / "Kitty.sock"));
    CHECK(contains(kitten("config").out, "--sleep_time=0.25\n"));
    CHECK(kitten(where + "status").code == 0);
    CHECK(kitten(where + "stop").out == "mykitten/Kitty: Stopped\n");
  }

  TEST_CASE("a service that speaks JSON only can be controlled without saying so") {
    const Program kitten("kitten");
    REQUIRE(kitten("--worker-use-msgpack=no start").code == 0);
    CHECK(contains(kitten("ping").out, "Pong via"));
    CHECK(kitten("start").code == 0);
    CHECK(kitten("purr 1").out == "Kitty says purr\n");
    CHECK(kitten("stop").out == "mykitten/Kitty: Stopped\n");
  }

  TEST_CASE("words that are no UTF-8 are not changed silently, and -- leads to methods only") {
    const Program kitten("kitten");
    REQUIRE(kitten("start").code == 0);
    const Ran ran = kitten("purr 1 \"$(printf '\\377')\"");
    CHECK(ran.code == 3);
    CHECK(contains(ran.err, "expected str"));
    CHECK(kitten("-- meow").out == "Meow world, meow!\n");
    const Ran command = kitten("-- status");
    CHECK(command.code == 2);
    CHECK(contains(command.err, "no method 'status'; try:"));  // it is no method, and is not what was meant
    CHECK(contains(kitten("purr 1 -- --rr").out, "Kitty says --rr"));
    CHECK(contains(kitten("purr 1 -- --worker-name=rr").out, "Kitty says --worker-name=rr"));
    const Ran unprintable = kitten("\"$(printf 'pu\\033[1mrr')\"");
    CHECK_MESSAGE(unprintable.err.starts_with("Kitty pu\\x1b[1mrr failed: "), unprintable.err);
    CHECK_FALSE(contains(unprintable.err, "\033"));
  }

  TEST_CASE("the port of a service that was killed does not get its token, whoever has it now (133)") {
    const Program kitten("kitten");
    REQUIRE(kitten("--worker-secret=configuredsecret start").code == 0);
    const std::string url = kitten.url();
    ::kill(std::stoi(contents(kitten.state / "Kitty.lock")), SIGKILL);
    const auto port = static_cast<std::uint16_t>(std::stoi(url.substr(url.find(':', 7) + 1)));
    kt::Fd stranger;
    REQUIRE(eventually([&] {
      try {
        stranger = kt::detail::listen_tcp("127.0.0.1", port, 5);
        return true;
      } catch (const kt::StartError&) {
        return false;
      }
    }));
    for (const char* words : {"ping", "--tcp ping", "status", "stop"}) kitten(words);
    CHECK_FALSE(kt::detail::accept_connection(stranger.get()));
    CHECK(kitten("ping").code == 1);
  }

  TEST_CASE("a service is started again while its predecessor is ending (147)") {
    const Program kitten("kitten");
    for (int round = 0; round < 5; ++round) {
      REQUIRE(kitten("start").code == 0);
      ::kill(std::stoi(contents(kitten.state / "Kitty.lock")), round % 2 == 0 ? SIGTERM : SIGKILL);
      const Ran ran = kitten("start");
      CHECK_MESSAGE(ran.code == 0, ran.err);
    }
  }

  TEST_CASE("help of a method tells all of it before a service runs, describe the same for programs from then on") {
    const Program monitor("sysmon");
    const Ran help = monitor("help watch");
    CHECK(help.code == 0);
    CHECK(help.out.starts_with(
        "/watch [--interval=1.0] [--count=<int>]\n\nHow the machine is doing, again and again.\n"));
    CHECK(contains(help.out,
                   "\n  interval  float, default 1.0, from 0.01 to 86400.0\n            Seconds between two looks.\n"));
    CHECK(contains(help.out, "\nProcess:\n  cpu        float\n"));
    CHECK(contains(help.out, "\nStreams its results (Snapshot) as they come.\n\nChanges nothing.\n"));
    CHECK(monitor("watch --help").out == help.out);
    CHECK(json::parse(monitor("--json help watch").out) == help.out);
    const Ran early = monitor("describe watch");
    CHECK(early.code == 1);
    CHECK(contains(early.err, "Not running"));
    REQUIRE(monitor("start").code == 0);
    CHECK(monitor("help watch").out == help.out);
    const json one = json::parse(monitor("describe watch").out);
    REQUIRE(one["methods"].size() == 1);
    CHECK(one["methods"][0]["name"] == "watch");
    CHECK(one["methods"][0]["args"][0]["schema"].dump() ==
          R"({"type":"number","format":"double","minimum":0.01,"maximum":86400.0})");
    CHECK(one["$defs"].contains("Process"));
    CHECK(json::parse(monitor("--json describe --method=watch").out) == one);
    CHECK(json::parse(monitor("describe").out)["methods"].size() > 1);
    const Ran typo = monitor("describe wach");
    CHECK(typo.code == 3);
    CHECK(contains(typo.err, "describe: no method 'wach' (did you mean 'watch'?)"));
  }

  TEST_CASE("a stream that fails prints its items, then its error") {
    const Program monitor("sysmon");
    REQUIRE(monitor("start").code == 0);
    const Ran refused = monitor("watch 0");
    CHECK(refused.code == 3);
    CHECK(contains(refused.err, "argument 'interval': invalid literal, expected float from 0.01 to 86400.0"));
  }

  TEST_CASE("a stream ends when its service is killed, with an error") {
    const Program monitor("sysmon");
    REQUIRE(monitor("start").code == 0);
    const int pid = std::stoi(contents(monitor.state / "monitor.lock"));
    const Ran ran =
        run(monitor.path() + " --app-state-dir=" + monitor.state.path() +
            " watch 0.01 | { read -r line; echo \"$line\"; kill -9 " + std::to_string(pid) + "; cat >/dev/null; }");
    CHECK(contains(ran.out, "load "));
    CHECK(contains(ran.err, "missing end-of-stream marker"));
  }
}
