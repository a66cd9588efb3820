// SPDX-License-Identifier: MIT
#include "support.hpp"

namespace {

const OwnService keeper("keeper", [](int argc, char** argv) {
  kt::Kitten kitten("keeper", "Kitty", "A service with secrets");
  std::string api_key = "built-in-key";
  int pin = 0;
  std::vector<std::string> keys;
  int size = 1;
  kitten.secret_option("api_key", api_key, "Key of the weather service");
  kitten.secret_option("pin", pin, "A number").secret_option("keys", keys);
  kitten.option("size", size, "Of no interest to others");
  kitten.api("tell", [&] { return json{{"api_key", api_key}, {"pin", pin}, {"keys", keys}, {"size", size}}; });
  return kitten.main(argc, argv);
});

struct Keeper {
  ~Keeper() { (*this)("stop"); }
  Ran operator()(const std::string& words) const { return run(command + words); }
  json tell() const { return json::parse((*this)("--json tell").out); }
  // What everybody can read about the service's process.
  std::string process() const {
    const std::string folder = "/proc/" + std::to_string(std::stoi(contents(state / "Kitty.lock")));
    return contents(folder + "/cmdline") + contents(folder + "/environ");
  }
  TempDir state;
  std::string command = own_service("keeper", state.path());
};

}  // namespace

TEST_SUITE("cli/secrets") {
  TEST_CASE("secret options reach the service in the background, and are not in its command line (170)") {
    const Keeper service;
    REQUIRE(service("--api-key='hunter2 x' --size=2 --worker-secret=a-secret-token start --pin=4711").code == 0);
    CHECK(service.tell() == json{{"api_key", "hunter2 x"}, {"pin", 4711}, {"keys", json::array()}, {"size", 2}});
    CHECK(contents(service.state / "Kitty.url").ends_with("/a-secret-token"));
    const std::string process = service.process();
    CHECK(contains(process, "--size=2"));
    for (const char* secret : {"hunter2", "4711", "a-secret-token"}) CHECK_FALSE(contains(process, secret));
    REQUIRE(service("restart --api-key=hunter3").code == 0);
    CHECK(service.tell()["api_key"] == "hunter3");
    CHECK_FALSE(contains(service.process(), "hunter"));
  }

  TEST_CASE("a secret option counts where it stands on the line, in the background as well") {
    const Keeper service;
    write_file(service.state / "Kitty.cfg", "size = 5\napi_key = from-the-file\n");
    REQUIRE(service("--api-key=typed --worker-config=yes start").code == 0);
    CHECK(service.tell()["api_key"] == "from-the-file");
    CHECK(service.tell()["size"] == 5);
    CHECK(service("stop").code == 0);
    REQUIRE(service("--worker-config=yes --api-key=typed start").code == 0);
    CHECK(service.tell()["api_key"] == "typed");
    CHECK(service("stop").code == 0);
    REQUIRE(service("--api-key=typed start").code == 0);
    CHECK(service.tell()["size"] == 1);  // the default file is read without options only
  }

  TEST_CASE("secrets are in no config, help, message or saved copy of a command line (170)") {
    const Keeper service;
    REQUIRE(service("--api-key=hunter2 --pin=4711 --keys='[\"hunter4\"]' start").code == 0);
    for (const char* words :
         {"config", "--json config", "help", "help config", "status", "--json ping", "config --key=pin",
          "config --key=keys --append=hunter5", "config --key=keys --remove=hunter6", "config --key=pin --val=hunter7",
          "--pin=hunter8 status", "--pin=hunter9 start"}) {
      CAPTURE(words);
      const Ran ran = service(words);
      for (const char* secret : {"hunter", "4711", "built-in-key"}) CHECK_FALSE(contains(ran.out + ran.err, secret));
    }
    CHECK(contains(service("--pin=hunter8 status").err, "option 'pin': expected int\n"));
    CHECK(service.tell()["keys"] == json{"hunter4", "hunter5"});
    REQUIRE(service("config --save=" + (service.state / "copy")).code == 0);
    const std::string copy = contents(service.state / "copy");
    CHECK(contains(copy, "--size=1\n"));
    for (const char* secret : {"hunter", "4711", "built-in-key"}) CHECK_FALSE(contains(copy, secret));
    // The service's own file is for its next start, and so has them.
    REQUIRE(service("config --save=yes").code == 0);
    CHECK(contains(contents(service.state / "Kitty.cfg"), "--api_key=hunter2\n"));
    REQUIRE(service("restart").code == 0);
    CHECK(service.tell()["pin"] == 4711);
  }

  TEST_CASE("auto_start hands secret options over, and does not show them (170)") {
    const Keeper service;
    write_file(service.state / "program",
               "#!/bin/sh\necho \"$@\" >" + (service.state / "words") + "\nenv >>" + (service.state / "words") +
                   "\nexec env " + as_service + "=keeper " + std::filesystem::read_symlink("/proc/self/exe").string() +
                   " \"$@\"\n",
               0700);
    kt::Kitten kitten("keeper", "Kitty");
    std::string api_key = "built-in-key";
    kitten.secret_option("api_key", api_key);
    kitten.settings().app_state_dir = kitten.settings().app_data_dir = service.state.path();
    kitten.settings().worker_secret = "a-secret-token";
    api_key = "hunter2";
    const kt::Client client = kitten.connect(kt::auto_start(service.state / "program"));
    CHECK(client.call("tell")["api_key"] == "hunter2");
    const std::string words = contents(service.state / "words");
    CHECK(contains(words, "--app_state_dir="));
    for (const std::string& text : {words, service.process()}) {
      CHECK_FALSE(contains(text, "hunter2"));
      CHECK_FALSE(contains(text, "a-secret-token"));
    }
  }

  TEST_CASE("a built-in option that a program declares again stays secret") {
    kt::Kitten kitten("keeper");
    std::string token = "token-of-the-class";
    kitten.option("worker_secret", token, "Mine");
    CHECK_FALSE(contains(kitten.loopback().call("config").dump(), "token-of-the-class"));
    CHECK_FALSE(contains(kitten.loopback().call<std::string>("help"), "token-of-the-class"));
  }

  TEST_CASE("more secrets than a pipe holds, and marks without secrets, are refused") {
    const Keeper service;
    const Ran much = service("--api-key=$(head -c 100000 /dev/zero | tr '\\0' x) start");
    CHECK(much.code == 1);
    CHECK_MESSAGE(contains(much.err, "100011 bytes in secret options are too many"), much.err.substr(0, 300));
    // Nothing but a pipe is read: the descriptor may be one that the program itself has opened.
    for (const char* words : {"--secret-from=3 start", "--secret-from=x start", "--secret-from=0 start",
                              "--secret-from=9 start 9</dev/null"}) {
      CAPTURE(words);
      CHECK(contains(service(words).err, "nothing can be read there"));
    }
    CHECK(contains(run(": | " + service.command + "--secret-from=9 start 9<&0").err, "more of these than secrets"));
  }

  TEST_CASE("config writes to any file that the command line names, as the one who typed it (169)") {
    const Keeper service;
    REQUIRE(service("--size=3 start").code == 0);
    const TempDir elsewhere;
    const Ran ran = run("cd " + elsewhere.path() + " && " + service.command + "config --save=mine");
    CHECK(ran.code == 0);
    CHECK(contains(ran.err, "keeper/Kitty: Saved to " + (elsewhere / "mine") + ", without secrets\n"));
    CHECK(contains(contents(elsewhere / "mine"), "--size=3\n"));
    kt::detail::FileInfo info{};
    REQUIRE(::stat((elsewhere / "mine").c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
    CHECK(service("stop").code == 0);
    REQUIRE(service("--worker-config=" + (elsewhere / "mine") + " start").code == 0);
    CHECK(service.tell()["size"] == 3);
    CHECK(service("config --save=/nonexistent/x").code == 1);
  }
}
