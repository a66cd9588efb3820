// SPDX-License-Identifier: MIT
#include "cli/python_format.ipp"
#include "cli/terminal.ipp"
#include "support.hpp"

#include <sys/ioctl.h>
#include <sys/mman.h>

namespace {

kt::Generator<json> with_progress(std::vector<json> items) {
  for (json& item : items) co_yield item;
}

const OwnService teller("teller", [](int argc, char** argv) {
  kt::Kitten kitten("teller", "Kitty", "A service with results of all kinds");
  kitten.api("work", [] {
    return with_progress({{{"progress", 0.1}},
                          {{"progress", 0.2}, {"message", "two\nlines"}},
                          {{"progress", 0.5}, {"_format", "%(progress)d " + std::string(300, 'x')}},
                          {{"progress", 0.7}, {"message", std::string(100, 'w') + "日本"}},
                          {{"progress", 0.9}, {"done", 9}},
                          {{"progress", 1}, {"total", 10}, {"_format", "%(total)d in all"}}});
  });
  kitten.api("bytes", [] { return kt::bytes("\x00\xff\r\n"sv); });
  kitten.api("chunks", []() -> kt::Generator<kt::Bytes> {
    const kt::Bytes one(2, 1), two(1, 0xff);
    co_yield one;
    co_yield two;
  });
  kitten.api("document", [] { return kt::Result{"image/gif", "GIF\x00"s}; });
  kitten.api("numbers", [] {
    const double infinite = std::numeric_limits<double>::infinity();
    return json{{"mean", std::nan("")}, {"most", infinite}, {"all", {1.0, -infinite}}};
  });
  kitten.api("mean", [] { return std::nan(""); });
  kitten.api("text", [] { return kt::text("no line end"); });
  kitten.api("huge", [] {
    return kt::json::binary({'4', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0', '0'},
                            1);
  });
  const auto file_with = [](std::string_view text) {
    kt::File file(kt::Fd(::memfd_create("file", MFD_CLOEXEC)), "rb");
    kt::detail::write_all(file.get(), text);
    ::lseek(file.get(), 0, SEEK_SET);
    return file;
  };
  kitten.api("file", [file_with] { return file_with("some text\n"); });
  kitten.api("files", [file_with] {
    std::vector<kt::File> files;
    files.push_back(file_with("one"));
    files.push_back(file_with("\xff\xfe"));
    return files;
  });
  kitten.api(
      "read",
      [](kt::File file) {
        std::string text;
        kt::detail::read_all(file.get(), text, 1000);
        return text;
      },
      "", kt::arg("file"));
  return kitten.main(argc, argv);
});

struct Teller {
  Teller() { REQUIRE(run(command + "start").code == 0); }
  ~Teller() { run(command + "stop"); }
  Ran operator()(const std::string& words) const { return run(command + words); }
  TempDir state;
  std::string command = own_service("teller", state.path());
};

// What is drawn over itself, line by line.
std::vector<std::string> drawn(std::string shown) {
  std::vector<std::string> lines;
  constexpr std::string_view start = "\r\033[K";
  for (std::size_t at = shown.find(start); at != std::string::npos;) {
    const std::size_t next = shown.find(start, at + 1);
    lines.push_back(shown.substr(at + start.size(), next == std::string::npos ? next : next - at - start.size()));
    at = next;
  }
  return lines;
}

}  // namespace

TEST_SUITE("cli/output") {
  TEST_CASE("a _format is filled in with the result's values") {
    const json values{{"name", "Tom"}, {"n", 5}, {"x", 1.2345}, {"list", {1, "a"}}, {"none", nullptr}};
    CHECK(kt::detail::apply_format("%(name)s has %(n)d, %(n)s", values) == "Tom has 5, 5");
    CHECK(kt::detail::apply_format("100%% %(x).2f|%(n)4d|%(n)04d|%(name)-5s|%(name)5s|%(n)x", values) ==
          "100% 1.23|   5|0005|Tom  |  Tom|5");
    CHECK(kt::detail::apply_format("%(list)s %(none)s 5%%", values) == "[1, 'a'] None 5%");
    CHECK_THROWS_WITH_AS(kt::detail::apply_format("%(missing)s", values), doctest::Contains("'missing'"),
                         kt::detail::FormatError);
    CHECK_THROWS_AS(kt::detail::apply_format("%(name", values), kt::detail::FormatError);
    CHECK_THROWS_AS(kt::detail::apply_format("%(name)", values), kt::detail::FormatError);
    CHECK_THROWS_AS(kt::detail::apply_format("%(n)99999999999d", values), kt::detail::FormatError);
    CHECK_THROWS_AS(kt::detail::apply_format("%(name)n", values), kt::detail::FormatError);
  }

  TEST_CASE("items with more than progress are results, in a pipe as on a terminal") {
    const Teller service;
    const std::string results = "{\"progress\": 0.9, \"done\": 9}\n10 in all\n";
    CHECK(service("work").out == results);
    Terminal terminal(service.command + "work");
    CHECK(terminal.ends() == 0);
    CHECK(contains(terminal.shown(), "{\"progress\": 0.9, \"done\": 9}\r\n10 in all\r\n"));
  }

  TEST_CASE("progress lines fit the window, and are drawn where lines can be drawn over only") {
    const Teller service;
    Terminal terminal("sh -c 'stty cols 40; exec " + service.command + "work'");
    CHECK(terminal.ends() == 0);
    const auto lines = drawn(terminal.shown());
    REQUIRE(lines.size() == 5);
    CHECK(lines[0] == "10% ####");
    CHECK(lines[1] == "20% two lines");
    CHECK(lines[2] == "50% 0 " + std::string(33, 'x'));
    CHECK(lines[3] == "70% " + std::string(35, 'w'));
    CHECK(lines[4].starts_with("{\"progress\": 0.9"));
    Terminal dumb("env TERM=dumb " + service.command + "work");
    CHECK(dumb.ends() == 0);
    CHECK(drawn(dumb.shown()).empty());
    CHECK(contains(dumb.shown(), "10 in all"));
    CHECK(kt::detail::fitting("日本語", 5) == "日本");
    CHECK(kt::detail::fitting("e\u0301te\u0301", 3) == "e\u0301te\u0301");
    CHECK(kt::detail::fitting("ab\tc", 9) == "ab c");
  }

  TEST_CASE("numbers that JSON does not have are shown as such, and null where JSON is asked for") {
    const Teller teller;
    CHECK(teller("mean").out == "nan\n");
    CHECK(teller("numbers").out == "{\"mean\": nan, \"most\": inf, \"all\": [1.0, -inf]}\n");
    CHECK(teller("-r mean").out == "nan\n");
    CHECK(teller("--json mean").out == "null\n");
    CHECK(teller("--json numbers").out == "{\"mean\": null, \"most\": null, \"all\": [1.0, null]}\n");
    CHECK(teller("-J mean").out == "null\n");  // was lost on its way
  }

  TEST_CASE("-r prints bytes as they came") {
    const Teller service;
    CHECK(service("-r bytes").out == "\x00\xff\r\n"sv);
    CHECK(service("bytes").out == "\x00\xff\r\n"sv);
    CHECK(service("-r chunks").out == "\x01\x01\xff");
    CHECK(service("-r document").out == "GIF\x00"sv);
    CHECK(service("-r text").out == "no line end");
    CHECK(service("text").out == "no line end\n");
    CHECK(service("-r file").out == "some text\n");
    // A large integer is no bytes, though it is held as such.
    CHECK(service("huge").out == "1180591620717411303424\n");
    CHECK(service("-r huge").out == "1180591620717411303424\n");
  }

  TEST_CASE("with --json a file that comes back is what can be read from it") {
    const Teller service;
    CHECK(service("--json file").out == "{\"file\": \"some text\\n\"}\n");
    CHECK(service("--json files").out == "[{\"file\": \"one\"}, {\"file\": {\"__base64__\": \"//4=\"}}]\n");
    CHECK(service("files").out == "one\xff\xfe");
  }

  TEST_CASE("with --json every command prints one line of JSON") {
    const Teller service;
    const auto prints = [&](const std::string& words, int code = 0) {
      CAPTURE(words);
      const Ran ran = service("--json " + words);
      CHECK(ran.code == code);
      CHECK(std::count(ran.out.begin(), ran.out.end(), '\n') == 1);
      return json::parse(ran.out, nullptr, false);
    };
    const json status = prints("status");
    CHECK(status["app"] == "teller");
    CHECK(status["worker"] == "Kitty");
    CHECK(status["running"] == true);
    CHECK(status["url"].get<std::string>().starts_with("http://127.0.0.1:"));
    CHECK(status["socket"] == service.state / "Kitty.sock");
    CHECK(status["pid"].get<int>() == std::stoi(contents(service.state / "Kitty.lock")));
    CHECK(status["up_seconds"].get<int>() >= 0);
    CHECK(status["url_file"] == service.state / "Kitty.url");
    CHECK_FALSE(contains(status.dump(), contents(service.state / "Kitty.url").substr(24)));  // not the token
    CHECK(prints("start")["url"] == status["url"]);
    CHECK(prints("ping")["pong"] == true);
    CHECK(prints("config")["config"]["app_name"] == "teller");
    CHECK(prints("help").get<std::string>() == service("help").out);
    CHECK(prints("help file").get<std::string>() == service("help file").out);
    CHECK(prints("help start").get<std::string>() == service("help start").out);
    CHECK(prints("--version")["app"] == "teller");
    CHECK(prints("", 1).get<std::string>() == service("").out);
    const json restarted = prints("restart");
    CHECK(restarted["running"] == true);
    CHECK(restarted["stopped"] == true);
    CHECK(restarted["configured_by"] == json::array());
    CHECK(restarted["pid"] != status["pid"]);
    CHECK(prints("stop") == json{{"app", "teller"}, {"worker", "Kitty"}, {"running", false}, {"stopped", true}});
    CHECK(prints("stop") == json{{"app", "teller"}, {"worker", "Kitty"}, {"running", false}, {"stopped", false}});
    const json stopped = prints("status", 1);
    CHECK(stopped["running"] == false);
    CHECK(contains(stopped["why"].get<std::string>(), "Not running"));
    CHECK(prints("start")["running"] == true);
  }

  TEST_CASE("standard streams that are closed are errors where they are used, and nothing else") {
    const Teller service;
    const Ran input = service("read - <&-");
    CHECK(input.code == 4);
    CHECK(contains(input.err, "cannot read standard input: it is closed"));
    const Ran output = service("text >&-");
    CHECK(output.code == 4);
    CHECK(contains(output.err, "cannot write to standard output"));
    CHECK(service("text 2>&-").out == "no line end\n");
    CHECK(service("text <&-").out == "no line end\n");
    CHECK(service("status <&- >&- 2>&-").code == 4);
    CHECK(run(service.command + ">&-").code == 4);
    CHECK(service("help >&-").code == 4);
    // A service is started all the same, and none of these numbers is one of its own.
    CHECK(service("stop <&- 2>&-").code == 0);
    CHECK(service("start <&- 2>&-").code == 0);
    CHECK(service("text").out == "no line end\n");
    const int pid = std::stoi(contents(service.state / "Kitty.lock"));
    for (const char* fd : {"0", "1", "2"})
      CHECK(std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/fd/" + fd) == "/dev/null");
  }
}
