// SPDX-License-Identifier: MIT
#include "cli/terminal.ipp"
#include "support.hpp"

#include <sys/mman.h>

namespace {

// A service that a person calls, and that means no good. It is no test: doctest's macros would end it.
const OwnService rude("rude", [](int argc, char** argv) {
  kt::Kitten kitten("rude", "Kitty", "A service that is up to something");
  static constexpr std::string_view nasty = "a\033]0;title\007b\rc\tö\u009b31m\x7f";
  kitten.api("text", [] { return std::string(nasty); });
  kitten.api("stream", []() -> kt::Generator<std::string> { co_yield std::string(nasty); });
  kitten.api("bytes", [] {
    return kt::bytes(
        "\x9b"
        "31m\xff");
  });
  kitten.api("document", [] { return kt::text(std::string(nasty)); });
  kitten.api("format", [] { return json{{"v", std::string(nasty)}, {"_format", "\033[2J%(v)s"}}; });
  kitten.api("wide", [] {
    std::string format;
    for (int i = 0; i < 20'000; ++i) format += "%(v)9999999d";
    return json{{"v", 1}, {"_format", format}};
  });
  kitten.api("fail", [] { throw kt::InvalidArgument(std::string(nasty)); });
  kitten.api("progress", []() -> kt::Generator<json> {
    json item = json::object();
    item["progress"] = 0.5;
    item["_format"] = "half\033[2J";
    co_yield item;
    co_yield json("done");
  });
  kitten.api("file", [] {
    kt::File file(kt::Fd(::memfd_create("file", MFD_CLOEXEC)), "rb");
    kt::detail::write_all(file.get(), std::string(64 * 1024 - 1, '.') + "ö\033[2J");  // ö: in two reads
    ::lseek(file.get(), 0, SEEK_SET);
    return file;
  });
  kitten.api("elsewhere", [] { throw kt::Redirect("http://127.0.0.1:1/other"); });
  kitten.api(
      "upload",
      [](std::string wanted, std::optional<kt::File> file, std::optional<std::string> colour) {
        if (!file) {
          throw kt::NeedInfo("Nearly there\033[8m", {{"file", "password", "Just press enter\033[8m", wanted}});
        }
        if (!colour) throw kt::NeedInfo("Colour?", {{"colour", "str", "", "blue"}});
        std::string text;
        kt::detail::read_all(file->get(), text, 1000);
        return "got " + text + ", " + *colour;
      },
      "", kt::arg("wanted"), kt::arg("file") = nullptr, kt::arg("colour") = nullptr);
  kitten.api("strange", [] { throw kt::NeedInfo("Tell", {{"_args", "str", "", "x"}}); });
  kitten.api("other", [] { throw kt::NeedInfo("Tell", {{"bother", "str", "", "x"}}); });
  return kitten.main(argc, argv);
});

struct Rude {
  Rude() { REQUIRE(run(command + "start").code == 0); }
  ~Rude() { run(command + "stop"); }
  TempDir state;
  std::string command = own_service("rude", state.path());
};

constexpr std::string_view shown_nasty = "a\\x1b]0;title\\x07b\\x0dc\tö\\x9b31m\\x7f";

}  // namespace

TEST_SUITE("cli/foreign_text") {
  TEST_CASE("what a terminal would obey is made visible, all else is left alone (163)") {
    const auto visible = [](std::string_view text) { return kt::detail::visible(text); };
    CHECK(visible("plain\ttext\n, ö, 日本, 🐈") == "plain\ttext\n, ö, 日本, 🐈");
    for (int c = 0; c < 0x20; ++c) {
      const std::string text(1, static_cast<char>(c));
      CHECK((visible(text) == text) == (c == '\t' || c == '\n'));
    }
    CHECK(visible("\033[1m\x7f\r"s + '\0') == "\\x1b[1m\\x7f\\x0d\\x00");
    CHECK(visible("\u0080\u009b\u009f\u00a0") == "\\x80\\x9b\\x9f\u00a0");
    CHECK(visible("\x9b"
                  "2J") == "\\x9b2J");
    CHECK(visible("\xc0\x9b\xe0\x82\x9b\xf5") == "\\xc0\\x9b\\xe0\\x82\\x9b\\xf5");  // overlong forms are no UTF-8
    CHECK(visible("cut \xe2\x82") == "cut \\xe2\\x82");
    // Terminals that do not read UTF-8 see control characters in the middle of others.
    using kt::detail::TerminalText;
    CHECK(kt::detail::visible("ö ě \u009b", TerminalText::eight_bit) == "ö \\xc4\\x9b \\xc2\\x9b");
    CHECK(kt::detail::unfinished("abc") == 0);
    CHECK(kt::detail::unfinished("abcö") == 0);
    CHECK(kt::detail::unfinished("abc\xc3") == 1);
    CHECK(kt::detail::unfinished("abc\xe2\x82") == 2);
    CHECK(kt::detail::unfinished("abc\xf0\x9f\x90") == 3);
    CHECK(kt::detail::unfinished("\x80\x80\x80\x80") == 0);
  }

  TEST_CASE("a service cannot reach the terminal by what it answers; pipes and --raw get all of it (163)") {
    const Rude service;
    const std::string nasty = run(service.command + "text").out;
    CHECK(nasty == "a\033]0;title\007b\rc\tö\u009b31m\x7f\n");
    for (const char* words : {"text", "stream", "document", "format", "fail", "bytes", "file", "progress"}) {
      CAPTURE(words);
      Terminal terminal(service.command + words);
      terminal.ends();
      std::string shown = terminal.shown();
      if (words == "progress"s) {  // which the command line draws itself
        while (shown.find("\r\033[K") != std::string::npos) shown.erase(shown.find("\r\033[K"), 4);
      }
      for (const char* control : {"\033", "\007", "\rc", "\x7f", "\u009b"}) CHECK_FALSE(contains(shown, control));
      if (words != "bytes"s && words != "file"s && words != "progress"s) CHECK(contains(shown, shown_nasty));
      if (words == "bytes"s) CHECK(shown == "\\x9b31m\\xff");
      if (words == "file"s) CHECK(shown.ends_with("..ö\\x1b[2J"));
    }
    Terminal raw(service.command + "--raw text");
    CHECK(raw.ends() == 0);
    CHECK(contains(raw.shown(), "a\033]0;title\007b\rc"));
    CHECK(run(service.command + "bytes").out ==
          "\x9b"
          "31m\xff");
    CHECK(contains(run(service.command + "fail").err, "a\033]0;title"));
  }

  TEST_CASE("help of a service that is another program's is made visible, too (163)") {
    const TempDir state;
    kt::Kitten kitten("rude", "Kitty");
    kitten.settings().app_state_dir = state.path();
    kitten.api(
        "nasty", [] { return 1; }, "Clears the \033[2J screen.");
    kitten.start_thread();
    Terminal terminal(own_service("rude", state.path()) + "help nasty");
    CHECK(terminal.ends() == 0);
    CHECK(contains(terminal.shown(), "Clears the \\x1b[2J screen."));
  }

  TEST_CASE("formatting costs no more than what is shown (163)") {
    const Rude service;
    const auto begin = std::chrono::steady_clock::now();
    const Ran ran = run(service.command + "wide");
    CHECK(ran.code == 2);
    CHECK_MESSAGE(contains(ran.err, "too long"), ran.err);
    CHECK(std::chrono::steady_clock::now() - begin < 5s);
  }

  TEST_CASE("a file is opened only if its name was typed, where the prompt says so (162)") {
    const Rude service;
    write_file(service.state / "private", "PRIVATE");
    const std::string command = service.command + "upload " + (service.state / "private");
    const std::string prompt = "Path of a file to open and pass on as 'file' (Just press enter\\x1b[8m): ";
    Terminal trusting(command);
    CHECK(trusting.shows(prompt));
    CHECK(trusting.echoes());  // it is no password, whatever the service says
    trusting.type("\n");
    CHECK(trusting.ends() == 3);
    CHECK(contains(trusting.shown(), "no file was named for 'file'"));
    CHECK_FALSE(contains(trusting.shown(), "PRIVATE"));

    write_file(service.state / "harmless", "harmless");
    Terminal careful(command);
    CHECK(careful.shows(prompt));
    careful.type((service.state / "harmless") + "\n");
    CHECK(careful.shows("colour: "));
    careful.type("\n");
    CHECK(careful.ends() == 0);
    CHECK(contains(careful.shown(), "got harmless, blue"));
  }

  TEST_CASE("a service can ask for arguments of its method only, and redirects lead nowhere (162)") {
    const Rude service;
    for (const char* words : {"strange", "other"}) {
      Terminal terminal(service.command + words);
      CHECK(terminal.ends() == 3);
      CHECK(contains(terminal.shown(), "the service asks for '"));
    }
    const Ran ran = run(service.command + "elsewhere");
    CHECK(ran.code == 4);
    CHECK(contains(ran.err, "Redirect to http://127.0.0.1:1/other"));
  }
}
