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
