// SPDX-License-Identifier: MIT
#include "support.hpp"

TEST_SUITE("examples") {
  TEST_CASE("kitten_client starts the kitten beside it, calls everything and stops it") {
    const Program client("kitten_client");
    const Ran ran = run(client.path() + " --app-state-dir=" + client.state.path());
    CHECK_MESSAGE(ran.code == 0, ran.err);
    CHECK(contains(ran.out, "It purrs: RRRR\n"));
    CHECK(client.url().empty());
  }

  TEST_CASE("hello is at most 25 lines, and does what the README shows") {
    const Program hello("hello");
    REQUIRE(hello("start").code == 0);
    CHECK(hello("meow").out == "Meow world, meow!\n");
    CHECK(hello("purr 3 --sound=rr").out == "rr\nrrrr\nrrrrrr\n");
    const std::string source = contents("examples/hello.cpp");
    CHECK(contains(contents("README.md"), source));
    CHECK(std::count(source.begin(), source.end(), '\n') <= 25);
  }

  TEST_CASE("filecat reads files that are handed to it, and hands out others") {
    const Program cat("filecat");
    REQUIRE(cat("start").code == 0);
    write_file(cat.state / "some.txt", "some text\n");
    CHECK(cat("cat " + (cat.state / "some.txt")).out == "some text\n");
    CHECK(cat("cat --fd=-", "typed").out == "typed");
    CHECK(cat("cat " + (cat.state / "none")).code == 3);
    CHECK(cat("-t cat " + (cat.state / "some.txt")).code == 3);
    CHECK(cat("read " + (cat.state / "some.txt")).out == "some text\n");
    CHECK(cat("-t read " + (cat.state / "some.txt")).code == 6);
    CHECK(contains(cat("help cat").out, "a path here, or - for standard input"));
  }

  TEST_CASE("two filecats answer in turn, on one connection, whoever asks how") {
    const Program cat("filecat");
    REQUIRE(cat("start").code == 0);
    REQUIRE(cat("--worker-name=meowzer start").code == 0);
    CHECK(cat("play_with meowzer").out == "true\n");
    CHECK(cat("--worker-name=meowzer play_with milton").out == "true\n");
    std::string expected;
    for (int i = 1; i < 50; ++i)
      expected += std::string("I am ") + (i % 2 == 1 ? "milton" : "meowzer") + ", sending mousey back!\n";
    expected += "I am meowzer, I am keeping mousey\n";
    for (const char* flags : {"", "-t", "-J", "-t -J"})
      CHECK(cat(std::string(flags) + " ping_pong mousey 50").out == expected);
    CHECK(cat("--worker-name=meowzer stop").code == 0);
    // The other one is gone: an answer that cannot be passed on ends as an error.
    const Ran broken = cat("ping_pong mousey 3");
    CHECK(broken.code != 0);
    CHECK(broken.out == "I am milton, sending mousey back!\n");
  }

  TEST_CASE("accept_and_pass has its workers answer in turn") {
    if (run("command -v curl").code != 0) {
      MESSAGE("skipped: no curl");
      return;
    }
    const Program front("accept_and_pass");
    const Ran ran = run("(" + front.path() + " front --connections=4 --app-state-dir=" + front.state.path() +
                        "; echo end) | { read -r _ _ url; for i in 1 2 3 4; do curl -s $url; done; cat; }");
    std::vector<std::string> workers;
    std::istringstream lines(ran.out);
    for (std::string line; std::getline(lines, line);) workers.push_back(line.substr(0, line.find(',')));
    CHECK(workers == std::vector<std::string>{"I am tom", "I am kitty", "I am tom", "I am kitty", "end"});
    CHECK(std::filesystem::is_empty(front.state.path()));
  }

  TEST_CASE("sysmon reports what /proc says, once and as a stream") {
    const Program monitor("sysmon");
    REQUIRE(monitor("start").code == 0);
    const json snapshot = json::parse(monitor("--json snapshot").out);
    CHECK(snapshot["memory_used"] > 0.0);
    CHECK(snapshot["memory_used"] < 100.0);
    REQUIRE(snapshot["busiest"].size() > 0);
    CHECK(snapshot["busiest"][0]["pid"] > 0);
    CHECK(monitor("snapshot").out.starts_with("load "));
    const Ran watched = monitor("--json watch --interval=0.01 --count=3");
    CHECK(std::count(watched.out.begin(), watched.out.end(), '\n') == 3);
  }

  TEST_CASE("curl gets documents, streams, posts JSON, asks for heads, and reuses its connection") {
    if (run("command -v curl").code != 0) {
      MESSAGE("skipped: no curl");
      return;
    }
    const Program kitten("kitten");
    REQUIRE(kitten("--sleep-time=0 start").code == 0);
    const std::string url = kitten.url(), base = url.substr(0, url.rfind('/'));
    CHECK(run("curl -s " + base + "/meow").out == "Meow world, meow!\n");
    CHECK(contains(run("curl -s " + base + "/").out, "Hello Kitty World!"));
    CHECK(run("curl -s " + url + "/purr").out == "{\"_format\":\"Kitty says %(purr)s\",\"purr\":\"purr\"}\n");
    CHECK(run("curl -s -d '{\"count\": 2, \"caps\": true}' -H 'Content-Type: application/json' " + url + "/purr").out ==
          "{\"_format\":\"Kitty says %(purr)s\",\"purr\":\"PURR\"}\n{\"_format\":\"Kitty says "
          "%(purr)s\",\"purr\":\"PURRPURR\"}\n");
    CHECK(run("curl -s -H \"Authorization: Bearer " + url.substr(url.rfind('/') + 1) + "\" " + base + "/stretch").out ==
          "Streeeeeeeetch!\n");
    CHECK(run("curl -s -d count=2 -d purr=mrr " + url + "/purr").out.find("mrrmrr") != std::string::npos);
    CHECK(contains(run("curl -sI " + base + "/meow").out, "Content-Length: 18"));
    CHECK(run("curl -s -o /dev/null -w '%{http_code} ' " + base + "/purr").out == "403 ");
    CHECK(run("curl -s -w '%{num_connects} ' " + base + "/meow " + base + "/meow").out ==
          "Meow world, meow!\n1 Meow world, meow!\n0 ");
    CHECK(run("curl -s --unix-socket " + (kitten.state / "Kitty.sock") + " http://localhost/meow").out ==
          "Meow world, meow!\n");
    CHECK(run("curl -s -N -H 'Accept: text/event-stream' " + url + "/purr").out.starts_with("data: {"));
  }

  // The lines that end in "// +" are what an example adds to a program that was there before.
  std::size_t added_lines(const std::string& source) {
    std::istringstream lines(contents(source));
    std::size_t count = 0;
    for (std::string line; std::getline(lines, line);) count += line.ends_with("// +") ? 1 : 0;
    return count;
  }

  TEST_CASE("a control socket is fewer than 15 lines, and the README shows none but those of the examples") {
    for (const char* name : {"control_socket_loop", "control_socket_threads", "control_socket_asio", "subcommand"}) {
      CAPTURE(name);
      const std::size_t lines = added_lines("examples/"s + name + ".cpp");
      CHECK(lines > 0);
      CHECK(lines < 15);
    }
    std::set<std::string> examples;
    for (const auto& entry : std::filesystem::directory_iterator("examples")) {
      std::istringstream lines(contents(entry.path().string()));
      for (std::string line; std::getline(lines, line);) {
        if (line.ends_with("// +")) line.resize(line.find_last_not_of(' ', line.size() - 5) + 1);
        examples.insert(line);
      }
    }
    std::istringstream readme(contents("README.md"));
    bool diff = false;
    for (std::string line; std::getline(readme, line);) {
      if (line.starts_with("```")) {
        diff = line == "```diff";
      } else if (diff && !line.empty() && line != " ..." && !line.starts_with("@@")) {
        CHECK_MESSAGE(examples.count(line.substr(1)) == 1, "not in any example: " << line);
      }
    }
  }

  TEST_CASE("control_socket_loop: options, a paused world, a stream of its frames, Ctrl-C") {
    const Program program("control_socket_loop");
    const Program any("hello");  // the command line of another program
    const std::string name = any.path() + " --app-name=balls --worker-name=sim --app-state-dir=" + program.state.path();
    Terminal loop(program.path() + " --app-state-dir=" + program.state.path());
    REQUIRE(loop.shows("Control socket: " + (program.state / "sim.sock")));
    CHECK(run(name + " config --key=gravity --val=1.62").code == 0);
    CHECK(json::parse(run(name + " --json config").out)["config"]["gravity"] == 1.62);
    CHECK(run(name + " config --key=gravity --val=heavy").code == 3);

    const auto kitty = kt::Client::connect("balls", "sim", kt::ClientOptions{.state_directory = program.state.path()});
    using Figures = std::map<std::string, double>;
    double frame = 0, items = 0;
    for (const Figures& figures : kitty.stream<Figures>("telemetry")) {
      CHECK(figures.at("frame") == (items == 0 ? figures.at("frame") : frame + 1));
      frame = figures.at("frame");
      if (++items == 5) break;
    }
    CHECK(items == 5);
    kitty.call("pause");
    frame = kitty.call<Figures>("telemetry").at("frame");
    CHECK(kitty.call<Figures>("telemetry").at("frame") == frame);
    kitty.call("step", 2);
    CHECK(eventually([&] { return kitty.call<Figures>("telemetry").at("frame") == frame + 2; }));

    // The game goes on without a socket where there can be none, and viewers do not keep it from ending.
    CHECK(contains(run(program.path() + " --frames=2 --app-state-dir=" + program.state.path()).out,
                   "Control socket: none, balls/sim is already running\n2 frames; "));
    auto viewed = kitty.stream<Figures>("telemetry");
    auto item = viewed.begin();
    loop.type("\x03");
    CHECK(loop.ends() == 0);
    while (item != viewed.end()) ++item;  // to its end mark: nothing is thrown
    CHECK(contains(loop.shown(), " frames; late by "));
    CHECK(std::filesystem::is_empty(program.state.path()));
    CHECK(run(program.path() + " --frame=2").code == 2);
  }

  TEST_CASE("control_socket_threads: numbers, threads and log level change at run time; the log can be followed") {
    const Program program("control_socket_threads");
    const std::string command = program.path() + " --app-state-dir=" + program.state.path();
    Terminal threads(command);
    REQUIRE(threads.shows("Control socket: " + (program.state / "pool.sock")));
    const auto kitty =
        kt::Client::connect("crunch", "pool", kt::ClientOptions{.state_directory = program.state.path()});
    CHECK(eventually([&] { return kitty.call("stats")["done"] > 0; }));
    CHECK(kitty.call<int>("threads", 5) == 5);
    CHECK(kitty.call<int>("threads") == 5);
    CHECK(kitty.call("stats")["threads"] == 5);
    CHECK_THROWS_WITH_AS(kitty.call("threads", 99), "there can be 0 to 64 threads", kt::Error);
    CHECK(kitty.call<int>("threads", 1) == 1);
    CHECK(eventually([&] { return kitty.call("stats")["threads"] == 1; }));

    CHECK(kitty.call<std::string>("log_level") == "info");
    CHECK_THROWS_AS(kitty.call("log_level", "loud"), kt::Error);
    CHECK(kitty.call<std::string>("log_level", "debug") == "debug");
    auto tail = kitty.stream<std::string>("tail");
    auto line = tail.begin();
    while (line != tail.end() && !contains(*line, " primes")) ++line;
    CHECK(line != tail.end());

    const Ran second = run(command);
    CHECK(second.code == 1);
    CHECK(contains(second.err, "crunch/pool is already running"));
    threads.type("\x03");
    CHECK(threads.ends() == 0);
    while (line != tail.end()) ++line;
    CHECK(contains(threads.shown(), "Jobs done: "));
    CHECK(std::filesystem::is_empty(program.state.path()));
    CHECK(run(command + " --second=0.1").code == 1);
  }

  TEST_CASE("control_socket_threads ends when it is stopped through its socket, and when its time is up") {
    const Program program("control_socket_threads");
    const std::string command = program.path() + " --app-state-dir=" + program.state.path();
    Terminal threads(command);
    REQUIRE(threads.shows("Control socket: "));
    CHECK(run(Program("hello").path() +
              " --app-name=crunch --worker-name=pool --app-state-dir=" + program.state.path() + " stop")
              .out == "crunch/pool: Stopped\n");
    CHECK(threads.ends() == 0);
    CHECK(run(command + " --seconds=0.1").code == 0);
  }

  TEST_CASE("control_socket_asio: its own connections and the control socket share a loop") {
    if (run("command -v curl").code != 0) {
      MESSAGE("skipped: no curl");
      return;
    }
    const Program program("control_socket_asio");
    const std::string command = program.path() + " --app-state-dir=" + program.state.path();
    Terminal echo(command);
    REQUIRE(echo.shows("Control socket: " + (program.state / "server.sock")));
    REQUIRE(echo.shows("Echoing on port "));
    REQUIRE(echo.shows("\n"));
    const auto kitty =
        kt::Client::connect("echo", "server", kt::ClientOptions{.state_directory = program.state.path()});
    const std::string digits = echo.shown().substr(echo.shown().find("Echoing on port ") + 16);
    kt::Fd peer(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(std::stoi(digits)));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::connect(peer.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(kt::detail::write_all(peer.get(), "hello"));
    char text[8];
    CHECK(::recv(peer.get(), text, 5, MSG_WAITALL) == 5);
    CHECK(std::string(text, 5) == "hello");
    const auto connections = kitty.call<std::map<std::string, int>>("connections");
    REQUIRE(connections.size() == 1);
    CHECK(connections.begin()->second == 5);
    CHECK(kitty.call<int>("close_all") == 1);
    CHECK(::recv(peer.get(), text, sizeof text, 0) == 0);
    CHECK(eventually([&] { return kitty.call("connections").empty(); }));
    CHECK(run("curl -s -X POST " + program.url("server") + "/close_all").out == "0\n");

    CHECK(run(command).code == 1);
    echo.type("\x03");
    CHECK(echo.ends() == 0);
    CHECK(echo.shown().ends_with("Closed\r\n"));
    CHECK(std::filesystem::is_empty(program.state.path()));
    CHECK(run(command + " --seconds=0.1").code == 0);
  }

  TEST_CASE("a program that was killed leaves files behind, which the next one replaces") {
    const Program program("control_socket_asio");
    const std::string command = program.path() + " --app-state-dir=" + program.state.path();
    {
      Terminal echo(command);
      REQUIRE(echo.shows("Echoing on port "));
      CHECK(::kill(std::stoi(contents(program.state / "server.lock")), SIGKILL) == 0);
      CHECK(echo.ends() == 128 + SIGKILL);
    }
    CHECK(!program.url("server").empty());
    Terminal again(command);
    REQUIRE(again.shows("Echoing on port "));
    const auto kitty =
        kt::Client::connect("echo", "server", kt::ClientOptions{.state_directory = program.state.path()});
    CHECK(kitty.call("connections").empty());
    kitty.call("quitquitquit");
    CHECK(again.ends() == 0);
  }

  // With command_prefix().
  TEST_CASE("subcommand: a tool's word leads to the service, whose process is started with that word") {
    const Program tool("subcommand");
    const std::string daemon =
        tool.path() + " daemon --app-state-dir=" + tool.state.path() + " --app-data-dir=" + tool.state.path() + " ";
    CHECK(run(tool.path() + " nth 1000").out == "7919\n");
    CHECK(run(tool.path() + " dmaeon").code == 2);
    CHECK(contains(run(daemon).out, "Try this: " + tool.path() + " daemon help\n"));
    CHECK(contains(run(daemon + "help").out, "Usage: subcommand daemon ["));
    REQUIRE(run(daemon + "start").code == 0);
    CHECK(run(daemon + "known").out == "2\n");
    CHECK(run(daemon + "nth 1000").out == "7919\n");
    CHECK(run(daemon + "known").out == "1000\n");
    const Ran typo = run(daemon + "nht 5");
    CHECK(typo.code == 2);
    CHECK(contains(typo.err, "(did you mean 'nth'?); try: " + tool.path() + " daemon help"));
    CHECK(run(daemon + "nth 0").code == 6);
    CHECK(run(daemon + "restart").code == 0);
    CHECK(run(daemon + "known").out == "2\n");
    CHECK(run(daemon + "stop").out == "subcommand/primes: Stopped\n");

    const auto kitty = kt::Client::connect("subcommand", "primes", kt::auto_start(tool.path(), {"daemon"}),
                                           kt::ClientOptions{.state_directory = tool.state.path()});
    CHECK(kitty.call<long>("nth", 10) == 29);
    CHECK(run(daemon + "stop").code == 0);
  }
}
