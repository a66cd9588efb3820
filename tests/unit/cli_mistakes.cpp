// SPDX-License-Identifier: MIT
#include "base/suggest.ipp"
#include "services.hpp"
#include "support.hpp"

namespace {

int notes(int argc, char** argv) {
  kt::Kitten kitten("notes", "Kitty", "Keeps notes");
  kitten.api(
      "find", [](std::string title) -> std::string { throw kt::NotFound("no note is called " + title); },
      "Finds a note.", kt::arg("title"));
  kitten.api(
      "remove", [](std::string title, int copies) { return title + std::to_string(copies); }, "Removes a note.",
      kt::arg("title"), kt::arg("copies") = 1);
  kitten.api(
      "fails", [](int status) { throw kt::Error(status, "full"); }, "Fails.", kt::arg("status"));
  kitten.api("breaks", []() -> kt::Generator<int> {
    co_yield 1;
    throw kt::PermissionDenied("closed");
  });
  kitten.api("report", [] { return json{{"error", "only a word"}}; });
  kitten.api("forward", [](kt::Request&) -> std::string { throw kt::UnknownMethod("far", "no method 'far'"); });
  return kitten.main(argc, argv);
}
const OwnService notes_service("notes", notes);

// Another program, which can call services whose methods it does not know.
int caller(int argc, char** argv) {
  kt::Kitten kitten("caller", "Kitty");
  kitten.api(
      "copy", [](int n) { return n; }, "Copies.", kt::arg("n"));
  return kitten.main(argc, argv);
}
const OwnService caller_service("caller", caller);

// Methods and parameters with names that mean something on a command line.
int namesakes(int argc, char** argv) {
  kt::Kitten kitten("namesakes", "Kitty");
  for (const char* name : {"start", "stop", "restart", "status"}) {
    kitten.api(
        name,
        [name](std::string help, std::string json, std::string force, std::string worker_name) {
          return std::string(name) + ":" + help + json + force + worker_name;
        },
        "A method.", kt::arg("help") = "h", kt::arg("json") = "j", kt::arg("Force") = "f",
        kt::arg("worker_name") = "w");
  }
  return kitten.main(argc, argv);
}
const OwnService namesakes_service("namesakes", namesakes);

}  // namespace

TEST_SUITE("cli/mistakes") {
  TEST_CASE("what a service answers with is said with its status, what this program says is not") {
    TempDir state;
    const std::string ours = own_service("notes", state.path());
    REQUIRE(run(ours + "start").code == 0);
    const auto check = [&](const std::string& words, int code, const std::string& out, const std::string& error) {
      CAPTURE(words);
      const Ran ran = run(ours + words);
      CHECK(ran.code == code);
      CHECK(ran.out == out);
      CHECK(ran.err == error);
    };
    check("fails 409", 3, "", "Kitty fails failed: HTTP 409: full\n");
    check("fails 503", 6, "", "Kitty fails failed: HTTP 503: full\n");
    check("breaks", 5, "1\n", "Kitty breaks failed: HTTP 403: closed\n");
    check("find x", 6, "", "Kitty find failed: HTTP 404: no note is called x\n");
    check("report", 0, "{\"error\": \"only a word\"}\n", "");
    const Ran local = run(ours + "--raw --json stop now");
    CHECK(local.code == 3);
    CHECK(!contains(local.err, "HTTP"));
    CHECK(run(ours + "stop").code == 0);
  }

  TEST_CASE("a method that is not there exits with 2, one that has not found something with 6") {
    TempDir state;
    const std::string ours = own_service("notes", state.path());
    const std::string other = own_service("caller", state.path()) + "--app-name=notes ";
    const auto check = [](const std::string& line, int code, const std::string& why) {
      CAPTURE(line);
      const Ran ran = run(line);
      CHECK(ran.code == code);
      CHECK_MESSAGE(contains(ran.err, why), ran.err);
      CHECK(ran.out.empty());
    };
    REQUIRE(run(ours + "start").code == 0);
    for (const char* flags : {"", "--tcp ", "--json-rpc "}) {
      check(ours + flags + "fnd x", 2, "no command or method 'fnd' (did you mean 'find'?)");
      check(other + flags + "fnd x", 2, "no method 'fnd' (did you mean 'find'?)");
      check(other + flags + "copy 3", 2, "no method 'copy'");
      check(ours + flags + "find x", 6, "no note is called x");
      check(other + flags + "find x", 6, "no note is called x");
      check(ours + flags + "forward", 2, "no method 'far'; this program has it");
    }
    CHECK(run(ours + "stop").code == 0);
  }

  TEST_CASE("methods that are called like commands, and parameters like flags and options, are reached behind --") {
    TempDir state;
    const std::string ours = own_service("namesakes", state.path());
    const Ran help = run(ours + "help");
    CHECK(contains(help.out, "API Commands: -- restart, -- start, -- status, -- stop\n"));
    const Ran topic = run(ours + "help status");
    CHECK(topic.out.starts_with("  status "));
    CHECK(contains(topic.out, "\nThe method of that name, behind --:\n\n/status [--help=h]"));
    CHECK(run(ours + "status --help").out == topic.out);
    CHECK(run(ours + "-- status --help").out == topic.out);
    REQUIRE(run(ours + "start").code == 0);
    const kt::Client client = kt::Client::connect("namesakes", "Kitty", {.state_directory = state.path()});
    for (const std::string name : {"start", "stop", "restart", "status"}) {
      CHECK(run(ours + "-- " + name + " H --json=J --Force=F --worker-name=W").out == name + ":HJFW\n");
      CHECK(run(ours + "-- " + name + " --help=--help").out == name + ":--helpjfw\n");
      CHECK(client.call<std::string>(name, kt::arg("Force") = "!") == name + ":hj!w");
    }
    CHECK(contains(run(ours + "status").out, "Running"));
    CHECK(run(ours + "stop").code == 0);
  }

  TEST_CASE("a suggestion is another word than the one that was typed, with the dashes that it needs") {
    TempDir state;
    const std::string ours = own_service("notes", state.path());
    const auto said = [&](const std::string& words) { return run(ours + words).err; };
    CHECK(
        contains(said("remove x --copis=3"), "Unrecognized option: --copis (did you mean --copies?); usage: /remove"));
    CHECK(contains(said("--worker_liste_port=1 ping"), "(did you mean --worker-listen-port?)"));
    CHECK(contains(said("--jsn ping"), "Unrecognized option: --jsn (did you mean --json?)"));
    CHECK_FALSE(contains(said("--bad=1 ping"), "did you mean"));
    CHECK(kt::detail::closest("find", {"find", "fine"}) == "fine");
    CHECK(kt::detail::closest("find", {"find"}).empty());
    CHECK(kt::detail::closest("bad", {"raw", "tcp"}).empty());
    CHECK(kt::detail::closest("nme", {"name"}) == "name");
  }

  TEST_CASE("help helps, whatever else is wrong on the line") {
    TempDir state;
    const std::string ours = own_service("notes", state.path());
    for (const char* words : {"help --bad=option", "--bad=option help", "--bad=option --help", "--help --bad=1",
                              "--bad help", "help --worker-nice=banana", "--worker-nice=banana help", "-x help"}) {
      CAPTURE(words);
      const Ran ran = run(ours + words);
      CHECK(ran.code == 0);
      CHECK(ran.out.starts_with("Keeps notes\n"));
      CHECK((contains(ran.err, "Unrecognized option: -") || contains(ran.err, "option 'worker_nice'")));
    }
    for (const char* words : {"help find --bad=1", "find --bad=1 --help", "--bad=1 help find", "find x --help"}) {
      CAPTURE(words);
      const Ran ran = run(ours + words);
      CHECK(ran.code == 0);
      CHECK(ran.out.starts_with("/find <title>\n"));
    }
    // Behind -- it is an argument.
    CHECK(run(ours + "find -- --help").code == 1);
  }

  TEST_CASE("unknown names are refused by built-in methods, too") {
    TempDir state;
    const Ran ping = run(own_service("notes", state.path()) + "ping --dcos=yes");
    CHECK(ping.code == 3);
    CHECK(contains(ping.err, "Unrecognized option: --dcos (did you mean --docs?)"));
    Home home;
    home.start();
    CHECK(home.error("help", R"({"comand": "ping"})") == "help: unknown argument 'comand' (did you mean 'command'?)");
    CHECK(home.error("config", R"({"kee": "x"})") == "config: unknown argument 'kee' (did you mean 'key'?)");
    const Answer answer =
        Wire::tcp(home.kitten).send(home.post(home.path("quitquitquit"), R"({"hard": true})")).answer();
    CHECK(answer.status == 400);
    CHECK(contains(answer.body, "quitquitquit: unknown argument 'hard'"));
  }

  TEST_CASE("what stands in the wrong place, or in capitals, is told where it belongs") {
    TempDir state;
    const auto fails = [&](const std::string& words, int code, const std::string& why) {
      CAPTURE(words);
      const Ran ran = run(own_service("notes", state.path()) + words);
      CHECK(ran.code == code);
      CHECK_MESSAGE(contains(ran.err, why), ran.err);
      CHECK(std::count(ran.err.begin(), ran.err.end(), '\n') == 1);
    };
    fails("--copies=2 remove x", 3, "Unrecognized option: --copies=2 (it stands behind the command)");
    fails("--force stop", 3, "Unrecognized option: --force (it stands behind the command)");
    fails("--nowhere=1 ping", 3, "Unrecognized option: --nowhere=1; try: ");
    fails("remove x --json", 3, "--json is a flag: it stands before the command");
    fails("remove x --copies", 3, "--copies needs a value: --copies=VALUE");
    fails("remove x --cpies", 3, "Unrecognized option: --cpies (did you mean --copies?); usage: /remove <title>");
    fails("remove x --worker-nme=1", 3, "Unrecognized option: --worker-nme (did you mean --worker-name?)");
    fails("stop --focre", 3, "invalid arguments: --focre (did you mean --force?); usage: stop [--force]");
    fails("start --froeground", 3, "(did you mean --foreground?); usage: start [--foreground]");
    fails("status --force", 3, "invalid arguments: --force; usage: status");
    fails("stop ''", 3, "invalid arguments: ''; usage: ");
    fails("STATUS", 2, "no command or method 'STATUS' (did you mean 'status'?)");
    fails("--WORKER-NAME=x ping", 3, "(did you mean --worker-name?)");
    fails("stpo --force", 2, "no command or method 'stpo' (did you mean 'stop'?)");
    for (const char* word : {"'st op'", "st/op", "st%op", "'st?op'", "stöp"}) fails(word, 2, "(did you mean 'stop'?)");
  }
}
