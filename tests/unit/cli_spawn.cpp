// SPDX-License-Identifier: MIT
#include "os/process.ipp"
#include "os/state.ipp"
#include "services.hpp"
#include "support.hpp"

namespace {

// The open descriptors of a process, by what they lead to.
std::map<int, std::string> descriptors_of(pid_t process) {
  std::map<int, std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(process) + "/fd")) {
    std::error_code gone;
    found[std::stoi(entry.path().filename())] = std::filesystem::read_symlink(entry.path(), gone);
  }
  return found;
}

pid_t process_of(const Program& program, const std::string& worker = "Kitty") {
  return kt::detail::lock_holder(program.state / (worker + ".lock")).pid;
}

}  // namespace

TEST_SUITE("cli/spawn") {
  TEST_CASE("a service in the background has nothing open that its starter had, not even above its own numbers") {
    Program kitten("kitten");
    write_file(kitten.state / "secret", "of the starter");
    const std::string open = "exec 3<" + (kitten.state / "secret") + " 4<&3 9<&3; ";
    const Ran ran = run(open + kitten.path() + " --app-state-dir=" + kitten.state.path() +
                        " --app-data-dir=" + kitten.state.path() + " start");
    REQUIRE_MESSAGE(ran.code == 0, ran.err);
    const auto found = descriptors_of(process_of(kitten));
    CHECK(found.at(0) == "/dev/null");
    CHECK(found.at(1) == "/dev/null");
    CHECK(found.at(2) == "/dev/null");
    for (const auto& [number, target] : found) {
      CAPTURE(number);
      CHECK_FALSE(target.ends_with("/secret"));
    }
  }

  TEST_CASE("the same for one that a client has started, wherever the host's own descriptors are") {
    Program kitten("kitten");
    write_file(kitten.state / "secret", "of the host");
    kt::ClientOptions options;
    options.state_directory = kitten.state.path();
    const kt::Fd open(::open((kitten.state / "secret").c_str(), O_RDONLY));  // not closed on exec
    const kt::Fd high(::fcntl(open.get(), F_DUPFD, 100));
    const kt::Client client = kt::Client::connect("mykitten", "Kitty", kt::auto_start(kitten.path()), options);
    for (const auto& [number, target] : descriptors_of(process_of(kitten))) {
      CAPTURE(number);
      CHECK_FALSE(target.ends_with("/secret"));
    }
  }

  TEST_CASE("start needs no /proc") {
    const std::string without = "unshare -m sh -c 'umount -l /proc && exec \"$0\" \"$@\"' ";
    if (run(without + "true").code != 0) {
      MESSAGE("skipped: /proc cannot be taken away (root and unshare are needed)");
      return;
    }
    Program kitten("kitten");
    const std::string words =
        " --app-state-dir=" + kitten.state.path() + " --app-data-dir=" + kitten.state.path() + " ";
    const auto hidden = [&](const std::string& command) {
      return run(without + "timeout 60 " + kitten.path() + words + command);
    };
    const auto begin = std::chrono::steady_clock::now();
    const Ran started = hidden("start");
    CHECK_MESSAGE(started.code == 0, started.err);
    CHECK(contains(started.out, "Running at"));
    CHECK(hidden("ping").code == 0);
    CHECK(hidden("restart").code == 0);
    CHECK(kitten("ping").code == 0);
    CHECK(hidden("stop").code == 0);
    CHECK(kitten("status").code == 1);
    CHECK(std::chrono::steady_clock::now() - begin < 20s);
  }

  TEST_CASE("a start whose child ends, hangs or says nothing is waited for no longer than said") {
    TempDir dir;
    const auto outcome = [&](const std::string& script, std::chrono::seconds patience) {
      kt::detail::ChildProgram program;
      program.path = "/bin/sh";
      program.words = {"sh", "-c", script};
      return kt::detail::start_in_background(std::move(program), patience);
    };
    CHECK(outcome("printf '+\\0' >&4", 20s).report == kt::detail::StartReport::ready);
    CHECK(outcome("printf '+some warning\\0' >&4", 20s).text == "some warning");
    // Another process keeps the pipe open.
    CHECK(outcome("sleep 100 & printf '=\\0' >&4", 20s).report == kt::detail::StartReport::already_running);
    CHECK(outcome("exit 3", 20s).text == "the service ended before it was ready (exit code 3)");
    CHECK(outcome("sleep 100 & exit 3", 20s).text == "the service ended before it was ready (exit code 3)");
    CHECK(outcome("kill -9 $$", 20s).text == "the service ended before it was ready (killed by signal 9)");
    CHECK(outcome("head -c 1000000 /dev/zero | tr '\\0' x >&4; exit 3", 20s).text.size() <= 64 * 1024 + 4096);
    for (const char* silent :
         {"sleep 100", "exec 4>&-; sleep 100", "printf + >&4; sleep 100", "while :; do printf + >&4; done"}) {
      CAPTURE(silent);
      CHECK(contains(failure([&] { outcome(silent, 1s); }), "is still starting after 1 s"));
    }
  }

  TEST_CASE("all numbers are given right even if the host has closed its standard streams") {
    TempDir dir;
    kt::detail::ChildProgram program;
    program.path = "/bin/sh";
    const std::string out = dir / "out";
    program.words = {"sh", "-c",
                     "cat <&3 >" + out + "; for n in 0 1 2; do [ /proc/$$/fd/$n -ef /dev/null ] && " + "printf $n >>" +
                         out + "; done; printf '+\\0' >&4"};
    program.secrets = kt::detail::filled_pipe("the secret\n");
    const kt::Fd streams[] = {kt::Fd(::dup(0)), kt::Fd(::dup(1)), kt::Fd(::dup(2))};
    for (const int stream : {0, 1, 2}) ::close(stream);
    std::string why;
    try {
      if (kt::detail::start_in_background(std::move(program), 20s).report != kt::detail::StartReport::ready)
        why = "not";
    } catch (const std::exception& error) {
      why = error.what();
    }
    for (const int stream : {0, 1, 2}) ::dup2(streams[stream].get(), stream);
    CHECK(why == "");
    CHECK(contents(out) == "the secret\n012");
  }

  TEST_CASE("a program that is another service than the one asked for is not started as that, and says what it is") {
    Program kitten("kitten");
    kt::ClientOptions options;
    options.state_directory = kitten.state.path();
    const std::string why =
        failure([&] { kt::Client::connect("nosuch", "x", kt::auto_start(kitten.path()), options); });
    CHECK(contains(why, "this program is mykitten/x, and was to be started as nosuch/x"));
    CHECK(std::filesystem::is_empty(kitten.state.path()));
    // The name of the service alone decides.
    const kt::Client client = kt::Client::connect("mykitten", "x", kt::auto_start(kitten.path()), options);
    CHECK(client.call("ping")["pong"] == true);
    CHECK(kitten("--worker-name=x stop").code == 0);
  }
}
