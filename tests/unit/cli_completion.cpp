// SPDX-License-Identifier: MIT
#include <csignal>

#include "services.hpp"
#include "support.hpp"

namespace {

// The answer to the words behind the name of the program, as a shell asks for it.
std::string completed(const Program& program, const std::string& words) {
  const Ran ran = run(program.path() + " __complete --app-state-dir=" + program.state.path() +
                      " --app-data-dir=" + program.state.path() + " " + words);
  CHECK(ran.code == 0);
  CHECK(ran.err.empty());
  return ran.out;
}

// The same without descriptions: `value value :directive`.
std::string values(const Program& program, const std::string& words) {
  std::istringstream lines(completed(program, words));
  std::string all;
  for (std::string line; std::getline(lines, line);) all += (all.empty() ? "" : " ") + line.substr(0, line.find('\t'));
  return all;
}

bool have(const char* shell) { return run(std::string("command -v ") + shell).code == 0; }

}  // namespace

TEST_SUITE("cli/completion") {
  TEST_CASE("a word that is a command or method is completed, with what that does") {
    const Program kitten("kitten");
    CHECK(completed(kitten, "pu") == "purr\tPurr count times, louder each time.\n:\n");
    CHECK(values(kitten, "st") == "start stop status stretch :");
    CHECK(values(kitten, "help pu") == "purr :");
    CHECK(values(kitten, "mcp meow pu") == "purr :");
    CHECK(values(kitten, "-- st") == "stretch :");
    CHECK(values(kitten, "start ''") == "--foreground :");
    CHECK(values(kitten, "completion ''") == "bash zsh fish :");
    CHECK(values(kitten, "nothing_like_this ''") == ":");
    CHECK(std::filesystem::is_empty(kitten.state.path()));
  }

  TEST_CASE("options, arguments and their values are completed") {
    const Program kitten("kitten");
    CHECK(values(kitten, "--sleep") == "--sleep-time= :nospace");
    CHECK(values(kitten, "--js") == "--json --json-rpc :");
    CHECK(values(kitten, "--worker-use-tcp=") == "--worker-use-tcp=true --worker-use-tcp=false :");
    CHECK(values(kitten, "--worker-log-level=w") == "--worker-log-level=warning :");
    CHECK(values(kitten, "--worker-secret=") == ":");
    CHECK(values(kitten, "--worker-log-file=/tm") == ":files");
    CHECK(values(kitten, "purr --") == "--count= --purr= --caps= :nospace");
    CHECK(values(kitten, "purr 1 --") == "--purr= --caps= :nospace");
    CHECK(values(kitten, "purr --purr=rr --c") == "--count= --caps= :nospace");
    CHECK(values(kitten, "purr --caps=") == "--caps=true --caps=false :");
    CHECK(values(kitten, "purr --purr=") == "--purr=purr :");
    CHECK(values(kitten, "purr 1 rr t") == "true :");
    CHECK(values(kitten, "config --key=sle") == "--key=sleep_time :");
    CHECK(values(kitten, "config --key=worker_use_tcp --val=") == "--val=true --val=true --val=false :");
  }

  TEST_CASE("files are offered where a descriptor is wanted") {
    const Program cat("filecat");
    CHECK(contains(values(cat, "cat ''"), "files"));
  }

  TEST_CASE("methods of the running service are offered, and one that hangs is not waited for") {
    const Program kitten("kitten");
    REQUIRE(kitten("start").code == 0);
    CHECK(values(kitten, "pu") == "purr :");
    REQUIRE(kitten("config --key=sleep_time --val=0.25").code == 0);
    CHECK(values(kitten, "config --key=sleep_time --val=0.2") == "--val=0.25 :");
    const int pid = std::stoi(contents(kitten.state / "Kitty.lock"));
    ::kill(pid, SIGSTOP);
    const auto begin = std::chrono::steady_clock::now();
    CHECK(values(kitten, "pu") == "purr :");
    CHECK(std::chrono::steady_clock::now() - begin < 2s);  // of a machine that is busy; 150 ms of them are ours
    ::kill(pid, SIGCONT);
  }

  TEST_CASE("what a running service alone has is offered, if it can stand on a line") {
    const Program kitten("kitten");
    Home home;
    home.kitten.api(
        "evil", [](std::string word, kt::Bytes data) { return word + std::to_string(data.size()); },
        "First line.\nSecond line.",
        kt::arg("word").doc("a\tb").choices({"a b", "it's", "$(touch x)", "c:d", "a\tb", "a\nb"}), kt::arg("data"));
    home.kitten.api(
        "hidden_one", [] { return 1; }, kt::hidden);
    home.start();
    const auto lines = [&](const std::string& words) {
      return completed(kitten, "--app-name=testkitten --app-state-dir='" + home.state.path() + "' " + words);
    };
    CHECK(lines("ev") == "evil\tFirst line.\n:\n");
    CHECK(lines("hid") == ":\n");
    CHECK(lines("pu") == ":\n");  // which the program has, but not that service
    CHECK(lines("evil --word=") == "--word=a b\t\n--word=it's\t\n--word=$(touch x)\t\n--word=c:d\t\n:\n");
    CHECK(lines("evil --w") == "--word=\ta b\n:nospace\n");
    CHECK(lines("evil x ''") == "@\tThe content of a file\n-\tWhat comes on standard input\n--data=\t\n:nospace\n");
    CHECK(lines("evil --data=@fi") == ":files\n");
  }

  TEST_CASE("what leads to the service in a larger program comes first") {
    const Program tool("subcommand");
    CHECK(run(tool.path() + " daemon __complete ''").out == "daemon\t\n:\n");
    CHECK(run(tool.path() + " daemon __complete daemon nt").out == "nth\tThe nth prime.\n:\n");
    CHECK(contains(run(tool.path() + " daemon completion bash").out, "'daemon' __complete"));
  }

  TEST_CASE("a shell that is not known is told which are") {
    const Program kitten("kitten");
    const Ran ran = kitten("completion tcsh");
    CHECK(ran.code == 3);
    CHECK(contains(ran.err, "completion is for bash, zsh or fish"));
  }

  TEST_CASE("bash completes what is typed, and runs none of it") {
    const Program kitten("kitten");
    if (!have("bash")) {
      MESSAGE("skipped: there is no bash");
      return;
    }
    const TempDir home;
    write_file(home / "a file", "x");
    // As readline does it: the words are split at = there.
    const auto reply = [&](const std::string& line, const std::string& words) {
      write_file(home / "script", "source <(" + kitten.path() +
                                      " completion bash)\ncompopt() { echo \"compopt $*\"; }\n"
                                      "cd '" +
                                      home.path() + "'\nCOMP_LINE=" + line +
                                      "\nCOMP_POINT=${#COMP_LINE}\n"
                                      "COMP_WORDS=(" +
                                      words +
                                      ")\nCOMP_CWORD=$((${#COMP_WORDS[@]}-1))\n"
                                      "_kitten_complete\nprintf '[%s]' \"${COMPREPLY[@]}\"\n");
      const Ran ran = run("bash '" + (home / "script") + "'");
      CHECK_MESSAGE(ran.err.empty(), ran.err);
      return ran.out;
    };
    const std::string program = "'" + kitten.path() + "'";
    CHECK(reply("\"" + kitten.path() + " pu\"", program + " pu") == "[purr]");
    CHECK(reply("\"" + kitten.path() + " purr --caps=t\"", program + " purr --caps = t") == "[true]");
    CHECK(reply("\"" + kitten.path() + " purr --caps=\"", program + " purr --caps =") == "[true][false]");
    CHECK(reply("\"" + kitten.path() + " purr --cou\"", program + " purr --cou") == "compopt -o nospace\n[--count=]");
    CHECK(reply("\"" + kitten.path() + " --worker-log-file=a\"", program + " --worker-log-file = a") ==
          "compopt -o filenames\n[a file]");
    Home home_of_evil;
    home_of_evil.kitten.api(
        "evil", [](std::string word) { return word; }, kt::arg("word").choices({"a b", "it's", "$(touch x)", "c:d"}));
    home_of_evil.start();
    const std::string where = home_of_evil.state.path();
    CHECK(reply("\"" + kitten.path() + " --app-name=testkitten --app-state-dir=" + where + " evil --word=\"",
                program + " --app-name = testkitten --app-state-dir = '" + where + "' evil --word =") ==
          R"([a\ b][it\'s][\$\(touch\ x\)][c:d])");
    reply("'" + kitten.path() + " purr $(touch x) `touch y`'", program + " purr '$(touch x)' '`touch y`'");
    CHECK_FALSE(std::filesystem::exists(home / "x"));
    CHECK_FALSE(std::filesystem::exists(home / "y"));
  }

  TEST_CASE("fish completes what is typed, and runs none of it") {
    const Program kitten("kitten");
    if (!have("fish")) {
      MESSAGE("skipped: there is no fish");
      return;
    }
    const TempDir home;
    const std::string path = kitten.path().substr(0, kitten.path().rfind('/'));
    const auto reply = [&](const std::string& line) {
      return run("cd '" + home.path() + "' && HOME='" + home.path() + "' PATH='" + path +
                 "':\"$PATH\" fish -c 'kitten completion fish | source; complete -C \"" + line + "\"'")
          .out;
    };
    CHECK(reply("kitten pu") == "purr\tPurr count times, louder each time.\n");
    CHECK(reply("kitten purr --caps=") == "--caps=true\n--caps=false\n");
    reply("kitten purr (touch x) ");
    CHECK_FALSE(std::filesystem::exists(home / "x"));
  }

  TEST_CASE("zsh takes the script, from a file and from a stream") {
    const Program kitten("kitten");
    if (!have("zsh")) {
      MESSAGE("skipped: there is no zsh");
      return;
    }
    const TempDir home;
    write_file(home / "_kitten", kitten("completion zsh").out);
    CHECK(
        run("zsh -f -c 'autoload -Uz compinit; compinit -D; source " + (home / "_kitten") + "; print $_comps[kitten]'")
            .out == "_kitten\n");
    CHECK(run("zsh -f -c 'fpath=(" + home.path() + " $fpath); autoload -Uz compinit; compinit -u -D; " +
              "print $_comps[kitten]'")
              .out == "_kitten\n");
  }
}
