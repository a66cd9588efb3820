// SPDX-License-Identifier: MIT
#include <sys/ioctl.h>

#include "os/process.ipp"
#include "services.hpp"
#include "support.hpp"

namespace {

int files(int argc, char** argv) {
  kt::Kitten kitten("files", "Kitty", "Takes what files hold");
  kitten.api(
      "attach",
      [](int id, kt::Bytes data, std::optional<std::string> name) {
        return kt::json::array({id,
                                kt::bytes(std::string_view(reinterpret_cast<const char*>(data.data()), data.size())),
                                name.value_or("none")});
      },
      "Keeps bytes.", kt::arg("id"), kt::arg("data"), kt::arg("name") = nullptr);
  kitten.api(
      "say", [](std::string text) { return text; }, "Says it.", kt::arg("text"));
  kitten.api(
      "any", [](kt::json value) { return value; }, "", kt::arg("value"));
  kitten.api(
      "list", [](std::vector<std::string> words) { return words; }, "", kt::arg("words"));
  kitten.api(
      "size",
      [](kt::File file, std::string text) -> kt::Task<std::string> {
        const std::string all = co_await kt::async_read_all(file);
        co_return all + "+" + text;
      },
      "", kt::arg("file"), kt::arg("text"));
  kitten.api(
      "concat",
      [](std::vector<kt::File> files) -> kt::Task<std::string> {
        std::string all;
        for (kt::File& file : files) all += co_await kt::async_read_all(file);
        co_return all;
      },
      "", kt::arg("files"));
  kitten.api(
      "open", [](std::string path) { return kt::File::open(path); }, "", kt::arg("path"));
  kitten.api(
      "login",
      [](std::string user) {
        if (user.empty()) throw kt::NeedInfo("who?", {{"user", "username", "Login", nullptr}});
        return user;
      },
      "", kt::arg("user") = "");
  return kitten.main(argc, argv);
}
const OwnService files_service("files", files);

int stranger(int argc, char** argv) { return kt::Kitten("stranger", "Kitty").main(argc, argv); }
const OwnService stranger_service("stranger", stranger);

}  // namespace

TEST_SUITE("cli/file_arguments") {
  TEST_CASE("for bytes and text, @FILE is the content of a file, - standard input, and @@ an @") {
    TempDir state;
    const std::string ours = own_service("files", state.path());
    // Another program, which learns from the service what its parameters are.
    const std::string other = own_service("stranger", state.path()) + "--app-name=files ";
    const std::string binary = state / "z.bin", text = state / "a text";
    write_file(binary, "\xff\0\n@"s);
    write_file(text, "two\nlines\n");
    write_file(state / "-", "a file with an odd name");
    REQUIRE(run(ours + "start").code == 0);
    const auto says = [&](const std::string& words, const std::string& out, const std::string& input = "") {
      for (const std::string& program : {ours, other}) {
        for (const char* flags : {"--json ", "--json --tcp ", "--json --json-rpc "}) {
          CAPTURE(program + flags + words);
          const Ran ran = run(program + flags + words, input);
          CHECK_MESSAGE(ran.out == out + "\n", ran.err);
          CHECK(ran.code == 0);
        }
      }
    };
    says("attach 1 @" + binary, R"([1, {"__base64__": "/wAKQA=="}, "none"])");
    says("attach 1 --data=@" + binary + " --name='@" + text + "'",
         R"([1, {"__base64__": "/wAKQA=="}, "two\nlines\n"])");
    says("attach 1 -", R"([1, {"__base64__": "/wA="}, "none"])", "\xff\0"s);
    says("attach 1 --data=-", R"([1, {"__bytes__": ""}, "none"])");
    says("attach 1 @-", R"([1, {"__bytes__": "x"}, "none"])", "x");
    says("attach 1 plain @@tom", R"([1, {"__bytes__": "plain"}, "@tom"])");
    says("attach 1 @@@ @@", R"([1, {"__bytes__": "@@"}, "@"])");
    says("say '@" + text + "'", R"("two\nlines\n")");
    says("say @" + (state / "-"), R"("a file with an odd name")");
    says("say -- -", R"("in")", "in");
    says("say a@b", R"("a@b")");
    // Where neither is wanted, words are what they are.
    says("any @x", R"("@x")");
    says("any -", R"("-")");
    says("list '[\"@x\", \"-\"]'", R"(["@x", "-"])");
    CHECK(run(ours + "size @" + binary + " x").code == 3);  // an open file has a path, without @
    CHECK(run(ours + "size '" + text + "' -", "in").out == "two\nlines\n+in\n");
    CHECK(run(ours + "config --key=@x").err.find("'@x'") != std::string::npos);
    CHECK(run(ours + "stop").code == 0);
  }

  TEST_CASE("a list of files that is no list is an error that says so") {
    TempDir state;
    const std::string ours = own_service("files", state.path());
    write_file(state / "a", "first ");
    write_file(state / "b", "second");
    REQUIRE(run(ours + "start").code == 0);
    CHECK(run(ours + "concat '[\"" + (state / "a") + "\", \"" + (state / "b") + "\"]'").out == "first second\n");
    CHECK(run(ours + "concat " + (state / "b")).out == "second\n");
    for (const char* word : {"'[a.txt'", "--files='[a.txt'"}) {
      const Ran ran = run(ours + "concat "s + word);
      CHECK(ran.code == 3);
      CHECK_MESSAGE(contains(ran.err, "Kitty concat failed: concat: expected list (as JSON text), got \"[a.txt\""),
                    ran.err);
    }
    CHECK(run(ours + "stop").code == 0);
  }

  TEST_CASE("results get through a standard output that whoever started us has made non-blocking") {
    TempDir state;
    const std::string ours = own_service("files", state.path());
    const std::string text(500'000, 'x');
    write_file(state / "long", text);
    REQUIRE(run(ours + "start").code == 0);
    for (const std::string& words :
         {"say @" + (state / "long"), "--raw say @" + (state / "long"), "open " + (state / "long")}) {
      CAPTURE(words);
      kt::detail::Pipe pipe = kt::detail::make_pipe();
      REQUIRE(::fcntl(pipe.writer.get(), F_SETFL, O_NONBLOCK) == 0);
      const std::string line = "exec " + ours + words;
      const pid_t child = ::fork();
      if (child == 0) {
        ::dup2(pipe.writer.get(), STDOUT_FILENO);
        ::execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
        ::_exit(127);
      }
      pipe.writer.reset();
      // It is full before anybody reads.
      int waiting = 0;
      CHECK(eventually([&] { return ::ioctl(pipe.reader.get(), FIONREAD, &waiting) == 0 && waiting >= 60'000; }));
      std::string out;
      CHECK(kt::detail::read_all(pipe.reader.get(), out, 2'000'000));
      CHECK(out.substr(0, text.size()) == text);
      int status = 0;
      CHECK(::waitpid(child, &status, 0) == child);
      CHECK(status == 0);
    }
    CHECK(run(ours + "stop").code == 0);
  }

  TEST_CASE("what cannot be read is named, nothing is called, and the way around it is said") {
    TempDir state;
    const std::string ours = own_service("files", state.path());
    REQUIRE(run(ours + "start").code == 0);
    const auto check = [&](const std::string& words, int code, const std::string& why) {
      const Ran ran = run(ours + words, "x");
      CAPTURE(words);
      CHECK(ran.code == code);
      CHECK(ran.out.empty());
      CHECK_MESSAGE(contains(ran.err, why), ran.err);
    };
    check("say @" + (state / "nothing"), 3,
          "cannot read '" + (state / "nothing") +
              "': No such file or directory (a text that begins with @ is written @@)");
    check("say @" + state.path(), 3, "Is a directory");
    check("say @", 3, "@ names no file (a text that begins with @ is written @@)");
    check("say @/dev/zero", 3, "File too large");
    check("attach 1 - -", 3, "standard input can be one argument only");
    check("attach 1 - --name=@-", 3, "standard input can be one argument only");
    check(
        "say '@a\x1b"
        "b'",
        3, "cannot read 'a\\x1bb'");
    check("say - <&-", 4, "standard input: it is closed");
    write_file(state / "bytes", "\xff");
    check("say @" + (state / "bytes"), 3, "argument 'text': invalid literal, expected str");
    write_file(state / "large", std::string(2 << 20, 'x'));
    check("attach 1 @" + (state / "large"), 3, "413");
    CHECK(run(ours + "stop").code == 0);
    check("say @" + (state / "nothing"), 3, "No such file");
    check("say hello", 1, "Not running");
  }

  TEST_CASE("an answer that is typed at a prompt is text, whatever it begins with") {
    TempDir state;
    const std::string ours = own_service("files", state.path());
    REQUIRE(run(ours + "start").code == 0);
    Terminal terminal(ours + "login");
    CHECK(terminal.shows("Login: "));
    terminal.type("@" + (state / "Kitty.url") + "\n");
    CHECK(terminal.shows("@" + (state / "Kitty.url") + "\r\n@" + (state / "Kitty.url")));
    CHECK(terminal.ends() == 0);
    CHECK(run(ours + "stop").code == 0);
  }
}
