// SPDX-License-Identifier: MIT
#include <sys/stat.h>

#include "support.hpp"

namespace {

// What there is of a desktop: it writes down how it was called and what the file has in it.
class Desktop {
 public:
  explicit Desktop(int code = 0) {
    write_file(home / "xdg-open", "#!/bin/sh\necho \"$*\" >'" + home.path() + "/words'\ncat \"$1\" >'" + home.path() +
                                      "/page'\nexit " + std::to_string(code) + "\n");
    std::filesystem::permissions(home / "xdg-open", std::filesystem::perms::owner_all);
  }
  Ran operator()(const Program& program, const std::string& words) const {
    return run("PATH='" + home.path() + "':\"$PATH\" " + program.path() + " --app-state-dir=" + program.state.path() +
               " --app-data-dir=" + program.state.path() + " " + words);
  }
  std::string words() const { return contents(home / "words"); }
  std::string page() const { return contents(home / "page"); }

 private:
  TempDir home;
};

std::string token_of(const Program& program) { return program.url().substr(program.url().rfind('/') + 1); }
std::string address_of(const Program& program) { return program.url().substr(0, program.url().rfind('/')); }

}  // namespace

TEST_SUITE("cli/open") {
  TEST_CASE("open leads a browser to the page by a private file, and names the token nowhere else") {
    const Program kitten("kitten");
    const Desktop desktop;
    REQUIRE(kitten("start").code == 0);
    const Ran opened = desktop(kitten, "open");
    CHECK(opened.code == 0);
    CHECK(opened.err.empty());
    CHECK(opened.out == "mykitten/Kitty: Explorer at " + address_of(kitten) +
                            "/explorer\nmykitten/Kitty: It asks for the token, which is in " + kitten.state.path() +
                            "/Kitty.url\n");
    const std::string file = kitten.state / "Kitty.open.html";
    CHECK(desktop.words() == file + "\n");
    CHECK(contains(desktop.page(), "url=" + address_of(kitten) + "/explorer#" + token_of(kitten) + "\""));
    struct stat info {};
    REQUIRE(::stat(file.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
    CHECK(kitten("stop").code == 0);
    CHECK(std::filesystem::is_empty(kitten.state.path()));
  }

  TEST_CASE("open --print only says where the page is") {
    const Program kitten("kitten");
    REQUIRE(kitten("--worker-url-path=cats start").code == 0);
    const Ran printed = kitten("open --print");
    CHECK(printed.code == 0);
    CHECK(contains(printed.out, "Explorer at http://127.0.0.1:"));
    CHECK(contains(printed.out, "/cats/explorer\n"));
    CHECK(!contains(printed.out, token_of(kitten)));
    CHECK(!std::filesystem::exists(kitten.state / "Kitty.open.html"));
    const json facts = json::parse(kitten("--json open --print").out);
    CHECK(facts["explorer"] == address_of(kitten) + "/explorer");
    CHECK(facts["opened"] == false);
    CHECK(facts["url_file"] == kitten.state / "Kitty.url");
    CHECK(!contains(facts.dump(), token_of(kitten)));
  }

  TEST_CASE("without a browser the address is said all the same") {
    const Program kitten("kitten");
    REQUIRE(kitten("start").code == 0);
    const Ran opened = Desktop(3)(kitten, "open");
    CHECK(opened.code == 4);
    CHECK(contains(opened.out, "Explorer at " + address_of(kitten) + "/explorer\n"));
    CHECK(opened.err == "Kitty open failed: there is no browser that xdg-open could open it in\n");
  }

  TEST_CASE("what has no page to open is told so") {
    const Program kitten("kitten");
    const auto fails = [&](const std::string& words, int code, const std::string& text) {
      CAPTURE(words);
      const Ran ran = kitten(words);
      CHECK(ran.code == code);
      CHECK_MESSAGE(contains(ran.err, text), ran.err);
      CHECK(ran.out.empty());
    };
    fails("open --print", 1, "Not running: Start it first?");
    fails("open --prnt", 3, "invalid arguments: --prnt (did you mean --print?)");
    fails("--print open", 3, "(it stands behind the command)");
    REQUIRE(kitten("--worker-use-explorer=no start").code == 0);
    fails("open --print", 2, "the service has no explorer page (--worker-use-explorer)");
    REQUIRE(kitten("--worker-use-explorer=yes --worker-use-tcp=no restart").code == 0);
    fails("open --print", 2, "browsers need TCP");
  }

  TEST_CASE("the files that lead to the page go with the service, however that ends") {
    const Program kitten("kitten");
    const Desktop desktop;
    REQUIRE(kitten("start").code == 0);
    REQUIRE(desktop(kitten, "open").code == 0);
    ::kill(std::stoi(contents(kitten.state / "Kitty.lock")), SIGKILL);
    CHECK(std::filesystem::exists(kitten.state / "Kitty.open.html"));
    REQUIRE(kitten("start").code == 0);
    CHECK(!std::filesystem::exists(kitten.state / "Kitty.open.html"));
    REQUIRE(desktop(kitten, "open").code == 0);
    const int pid = std::stoi(contents(kitten.state / "Kitty.lock"));
    ::kill(pid, SIGSTOP);
    CHECK(kitten("stop --force").code == 0);
    CHECK(std::filesystem::is_empty(kitten.state.path()));
  }

  TEST_CASE("open is in the help, unless the program has a method of that name") {
    const Program kitten("kitten");
    CHECK(contains(kitten("help").out, "\n  open [--print]"));
    CHECK(contains(kitten("help open").out, "  open [--print]"));
    TempDir state;
    kt::Kitten other("other", "Kitty");
    other.settings().app_state_dir = state.path();
    other.api("open", [] { return "mine"; });
    other.start_thread();
    const std::string help = other.loopback().call<std::string>("help");
    CHECK(contains(help, "API Commands: open\n"));
    CHECK(!contains(help, "--print"));
    other.stop();
  }
}
