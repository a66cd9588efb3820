// SPDX-License-Identifier: MIT
#include "support.hpp"

namespace {

const OwnService strict("strict", [](int argc, char** argv) {
  kt::Kitten kitten("strict", "Kitty", "A service whose program has set what others have as options");
  kitten.limits().head_timeout = 100ms;
  kitten.limits().body_timeout = 1500ms;
  kitten.limits().body_bytes = 2000;
  kitten.limits().connections = 7;
  kitten.settings().worker_allow_hosts = "kitty.example";
  int queue = 5;
  kitten.option("worker_listen_queue", queue, "The program's own");
  std::string lines;
  kitten.log_to([&](kt::LogLevel, std::string_view line) { lines += std::string(line) + "\n"; });
  kitten.api("log", [&] { return lines; });
  kitten.api("values", [&] {
    const kt::Limits& limits = kitten.limits();
    return json{
        limits.head_timeout.count(),          limits.body_timeout.count(), limits.body_bytes, limits.connections, queue,
        kitten.settings().worker_listen_queue};
  });
  return kitten.main(argc, argv);
});

struct Strict {
  ~Strict() { (*this)("stop"); }
  Ran operator()(const std::string& words) const { return run(command + words); }
  json values() const { return json::parse((*this)("--json values").out); }
  std::string shown(const std::string& name) const { return (*this)("config " + name).out; }
  TempDir state;
  std::string command = own_service("strict", state.path());
};

}  // namespace

TEST_SUITE("cli/defaults") {
  TEST_CASE("what the program has set holds, and the command line and files go before it") {
    const Strict service;
    REQUIRE(service("start").code == 0);
    CHECK(service.values() == json{100, 1500, 2000, 7, 5, 5});
    CHECK(service.shown("worker_http_request_timeout1") == "--worker_http_request_timeout1=0.1\n");
    CHECK(service.shown("worker_http_request_timeout2") == "--worker_http_request_timeout2=1.5\n");
    CHECK(service.shown("worker_http_request_max_size") == "--worker_http_request_max_size=2000\n");
    CHECK(service.shown("worker_max_connections") == "--worker_max_connections=7\n");
    REQUIRE(service("--worker-http-request-timeout1=2 --worker-max-connections=9 restart").code == 0);
    CHECK(service.values() == json{2000, 1500, 2000, 9, 5, 5});
    CHECK(service.shown("worker_http_request_timeout1") == "--worker_http_request_timeout1=2.0\n");
    // Given back, it is the program's again.
    CHECK(service("config --reset=worker_http_request_timeout1").code == 0);
    CHECK(service.values() == json{100, 1500, 2000, 9, 5, 5});
    REQUIRE(service("--worker-http-request-timeout1= --worker-listen-queue=3 restart").code == 0);
    CHECK(service.values() == json{100, 1500, 2000, 9, 3, 3});
    CHECK(service("stop").code == 0);
    write_file(service.state / "Kitty.cfg", "worker_http_request_timeout2 = 3\nworker_http_request_max_size = 5000\n");
    REQUIRE(service("start").code == 0);
    CHECK(service.values() == json{100, 3000, 5000, 7, 5, 5});
  }

  TEST_CASE("help shows what the program has set as the default, not what the line says") {
    const Strict service;
    const std::string help = service("--worker-max-connections=9 --worker-allow-hosts=x help").out;
    for (const std::string line : {"  --worker-http-request-timeout1=0.1\n", "  --worker-http-request-timeout2=1.5\n",
                                   "  --worker-http-request-max-size=2000\n", "  --worker-max-connections=7\n",
                                   "  --worker-allow-hosts=kitty.example\n", "  --worker-listen-queue=5\n"}) {
      CHECK_MESSAGE(contains(help, line), line);
    }
  }

  TEST_CASE("log lines go where the program has said, or to the file that the line names") {
    const Strict service;
    REQUIRE(service("start").code == 0);
    CHECK(contains(service("log").out, "Started strict/Kitty"));
    CHECK(service("stop").code == 0);
    REQUIRE(service("--worker-log-file=" + (service.state / "log") + " start").code == 0);
    CHECK(service("log").out.find("Started") == std::string::npos);
    CHECK(contains(contents(service.state / "log"), "Started strict/Kitty"));
    CHECK(service("stop").code == 0);
    // In the foreground, too.
    const Ran ran = run(service.command + "start --foreground 2>&1 & " + service.command + "start; " + service.command +
                        "log; " + service.command + "stop; wait");
    CHECK(contains(ran.out, "Started strict/Kitty"));
    CHECK_MESSAGE(ran.out.find("Started") == ran.out.rfind("Started"), ran.out);
  }
}
