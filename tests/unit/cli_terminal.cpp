// SPDX-License-Identifier: MIT
#include "support.hpp"

TEST_SUITE("cli/terminal") {
  TEST_CASE("a method that needs to know more asks on a terminal, passwords unseen, and only there") {
    TempDir state;
    const std::string command = std::string("env ") + as_service + "=1 " +
                                std::filesystem::read_symlink("/proc/self/exe").string() +
                                " --app-state-dir=" + state.path() + " ";
    REQUIRE(run(command + "start").code == 0);

    Terminal person(command + "login");
    CHECK(person.shows("Please log in"));
    CHECK(person.shows("Username: "));
    person.type("tom\n");
    CHECK(person.shows("Your password: "));
    CHECK(eventually([&] { return !person.echoes(); }));
    person.type(
        "sesamx\x7f"
        "e\n");
    CHECK(person.ends() == 0);
    CHECK(contains(person.shown(), "Welcome, tom"));
    CHECK_FALSE(contains(person.shown(), "sesam"));

    Terminal named(command + "login tom");
    CHECK(named.shows("Your password: "));
    CHECK(eventually([&] { return !named.echoes(); }));
    named.type("wrong\n");
    CHECK(named.shows("Another password: "));
    CHECK(eventually([&] { return !named.echoes(); }));
    named.type("sesame\n");
    CHECK(named.ends() == 0);

    Terminal impatient(command + "login tom");
    CHECK(impatient.shows("Your password: "));
    CHECK(eventually([&] { return !impatient.echoes(); }));
    impatient.type("ses\x03");
    CHECK(impatient.ends() == 128 + SIGINT);
    CHECK(impatient.echoes());

    Terminal forgetful(command + "login tom");
    for (int round = 0; round < 3; ++round) {
      CHECK(forgetful.shows(round == 0 ? "Your password: " : "Another password: "));
      CHECK(eventually([&] { return !forgetful.echoes(); }));
      forgetful.type("wrong\n");
      if (round == 1) CHECK(forgetful.shows("Another password: \r\n"));
    }
    CHECK(forgetful.ends() == 3);

    const Ran script = run(command + "login");
    CHECK(script.code == 3);
    CHECK(contains(script.err, "Please log in (needed: --user=... --password=...)"));
    CHECK(run(command + "stop").code == 0);
  }

  TEST_CASE("at a prompt a backspace takes a whole character, and all else is as the terminal has it") {
    TempDir state;
    const std::string command = own_service("prompting", state.path());
    REQUIRE(run(command + "start").code == 0);
    Terminal person(command + "login");
    CHECK(person.shows("Username: "));
    person.type("toö\x7fm\n");
    CHECK(person.shows("Your password: "));
    CHECK(eventually([&] { return !person.echoes(); }));
    person.type("nonsense\x15sesaö\x7f日\x7fme\n");
    CHECK(person.ends() == 0);
    CHECK(contains(person.shown(), "Welcome, tom"));
    Terminal silent(command + "login tom");
    CHECK(silent.shows("Your password: "));
    CHECK(eventually([&] { return !silent.echoes(); }));
    silent.type("\x04");
    CHECK(silent.ends() == 1);
    CHECK(contains(silent.shown(), "end of input at the prompt"));
    CHECK(run(command + "stop").code == 0);
  }

  TEST_CASE("after any signal at a prompt the terminal shows again what is typed") {
    TempDir state;
    const std::string command = own_service("prompting", state.path());
    REQUIRE(run(command + "start").code == 0);
    for (const int number : {SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGALRM, SIGUSR1, SIGUSR2, SIGPIPE}) {
      CAPTURE(number);
      Terminal person("sh -c 'ulimit -c 0; echo pid $$.; exec " + command + "login tom'");
      CHECK(person.shows("Your password: "));
      CHECK(eventually([&] { return !person.echoes(); }));
      const int pid = std::stoi(person.shown().substr(person.shown().find("pid ") + 4));
      REQUIRE(::kill(pid, number) == 0);
      CHECK(person.ends() == 128 + number);
      CHECK(person.echoes());
    }
    Terminal quitter("sh -c 'ulimit -c 0; exec " + command + "login tom'");
    CHECK(quitter.shows("Your password: "));
    CHECK(eventually([&] { return !quitter.echoes(); }));
    quitter.type("ses\x1c");
    CHECK(quitter.ends() == 128 + SIGQUIT);
    CHECK(quitter.echoes());

    // Ctrl-Z: what was typed is gone, the shell has the terminal as it was, and the prompt comes again.
    Terminal shell(
        "sh -c 'set -m; " + command +
        "login tom; echo code $?; stty -a | tr \" ;\" \"\\n\\n\" | grep -x -e echo -e -echo; fg; echo code $?'");
    CHECK(shell.shows("Your password: "));
    CHECK(eventually([&] { return !shell.echoes(); }));
    shell.type("nonsense\x1a");
    CHECK(shell.shows("code 148\r\necho\r\n"));
    CHECK(eventually([&] { return !shell.echoes(); }));
    shell.type("sesame\n");
    CHECK(shell.ends() == 0);
    CHECK(contains(shell.shown(), "Welcome, tom\r\ncode 0"));
    CHECK(run(command + "stop").code == 0);
  }

  TEST_CASE("progress is a line on the terminal and no result; Ctrl-C ends a stream") {
    TempDir state;
    const std::string command = std::string("env ") + as_service + "=1 " +
                                std::filesystem::read_symlink("/proc/self/exe").string() +
                                " --app-state-dir=" + state.path() + " ";
    REQUIRE(run(command + "start").code == 0);
    Terminal person(command + "work");
    CHECK(person.ends() == 0);
    CHECK(contains(person.shown(), "50% half of it"));
    CHECK(contains(person.shown(), "result"));
    const Ran script = run(command + "work");
    CHECK(script.out == "result\n");
    CHECK(script.err.empty());
    CHECK(run(command + "--json work").out == "{\"progress\": 0.5}\n\"result\"\n");
    CHECK(run(command + "measure").out == "{\"progress\": 40}\n");

    Terminal impatient(command + "wait");
    CHECK(impatient.shows("waiting"));
    impatient.type("\x03");
    CHECK(impatient.ends() == 128 + SIGINT);
    CHECK(run(command + "ping").code == 0);
    CHECK(run(command + "stop").code == 0);
  }
}
