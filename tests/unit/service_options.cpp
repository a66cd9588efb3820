// SPDX-License-Identifier: MIT
#include "service/options.ipp"
#include "service/settings.ipp"
#include "support.hpp"

TEST_SUITE("service/options") {
  TEST_CASE("words of the command line are taken out in order, others stay") {
    kt::Settings settings;
    kt::Limits limits;
    kt::detail::Options options;
    kt::detail::add_builtin_options(options, settings, limits);
    std::vector<std::string> words{"--worker-listen-port=80", "call",  "--x=y", "--worker_listen_port=81",
                                   "--worker-name=Tom",       "--flag"};
    kt::detail::configure(options, settings, words);
    CHECK(words == std::vector<std::string>{"call", "--x=y", "--flag"});
    CHECK(settings.worker_listen_port == 81);
    CHECK(settings.worker_name == "Tom");
    for (const char* bad : {"--worker-use-tcp=banana", "--worker-listen-port=65536", "--worker-listen-port=x",
                            "--worker-listen-port=1.5"}) {
      std::vector<std::string> wrong{bad};
      CHECK_THROWS_AS(kt::detail::configure(options, settings, wrong), kt::InvalidArgument);
    }
    std::vector<std::string> empty{"--worker-name="};
    kt::detail::configure(options, settings, empty);
    CHECK(settings.worker_name == "worker");
  }

  TEST_CASE("an option may be a std::atomic, which the program's threads read while config changes it") {
    Home home;
    std::atomic<double> speed = 1.5;
    std::atomic<int> lives = 9;
    home.kitten.option("speed", speed, "Metres per second").option("lives", lives);
    home.start();
    std::thread reader([&] { CHECK(eventually([&] { return speed == 2.5; })); });
    home.result("config", R"({"key": "speed", "val": "2.5"})");
    reader.join();
    CHECK(contains(home.error("config", R"({"key": "lives", "val": "many"})"), "option 'lives': expected int, got"));
    CHECK(lives == 9);
    home.result("config", R"({"reset": "speed"})");
    CHECK(speed == 1.5);
  }

  TEST_CASE("a file is read at its position on the line, and errors say where") {
    TempDir dir;
    write_file(dir / "good",
               "# comment\n\n--worker-listen-port = 1234\nworker_name=a=b # rest\r\nworker_listen_host = "
               "pass#word\nworker_config = nowhere\n");
    kt::Settings settings;
    kt::Limits limits;
    kt::detail::Options options;
    kt::detail::add_builtin_options(options, settings, limits);
    std::vector<std::string> words{"--worker-listen-port=1", "--worker-config=" + (dir / "good"),
                                   "--worker-log-level=30"};
    kt::detail::configure(options, settings, words);
    CHECK(settings.worker_listen_port == 1234);
    CHECK(settings.worker_name == "a=b");
    CHECK(settings.worker_listen_host == "pass#word");
    CHECK(settings.worker_log_level == 30);
    words = {"--worker-config=" + (dir / "good"), "--worker-listen-port=2"};
    kt::detail::configure(options, settings, words);
    CHECK(settings.worker_listen_port == 2);

    write_file(dir / "bad", "worker_nice = 1\nworker_use_tcp = banana\n");
    words = {"--worker-config=" + (dir / "bad")};
    CHECK_THROWS_WITH_AS(kt::detail::configure(options, settings, words),
                         doctest::Contains("bad:2: option 'worker_use_tcp'"), kt::InvalidArgument);
    write_file(dir / "no_equals", "hello\n");
    CHECK_THROWS_WITH_AS(options.read_file(dir / "no_equals"), doctest::Contains(":1: expected 'name = value'"),
                         kt::InvalidArgument);
    write_file(dir / "binary", "a=\xff\n");
    CHECK_THROWS_AS(options.read_file(dir / "binary"), kt::InvalidArgument);
    write_file(dir / "nameless", "= 1\n");
    CHECK_THROWS_AS(options.read_file(dir / "nameless"), kt::InvalidArgument);
    CHECK_THROWS_AS(options.read_file(dir / "missing"), std::system_error);
  }

  TEST_CASE("a value that cannot be used is not stored, wherever it comes from") {
    TempDir dir;
    kt::Settings settings;
    kt::Limits limits;
    kt::detail::Options options;
    kt::detail::add_builtin_options(options, settings, limits);
    CHECK_THROWS_WITH_AS(options.set("worker_max_connections", json(0)),
                         "option 'worker_max_connections': must be positive", kt::InvalidArgument);
    CHECK(limits.connections == 2048);
    write_file(dir / "bad", "worker_nice = 1\nworker_name = ../x\nworker_listen_queue = 7\n");
    CHECK_THROWS_WITH_AS(options.read_file(dir / "bad"),
                         doctest::Contains("bad:2: option 'worker_name': must be usable as a file name"),
                         kt::InvalidArgument);
    CHECK(settings.worker_name == "worker");
    for (const char* name : {"worker_http_request_timeout1", "worker_http_request_timeout2"}) {
      for (const char* wrong : {"0", "-1", "0.0004", "1e6", "inf", "nan"}) {
        CAPTURE(wrong);
        CHECK(failure([&] { options.set(name, wrong); }) == "option '"s + name + "': must be positive");
      }
    }
    CHECK(limits.head_timeout == 10s);
    CHECK(failure([&] { options.set("worker_http_request_max_size", 1023); }) ==
          "option 'worker_http_request_max_size': must be at least 1024");
    CHECK(limits.body_bytes == 1024 * 1024);
    // Both ways in may be off for a moment.
    std::vector<std::string> words{"--worker-use-tcp=no", "--worker-use-unixdomain=no", "--worker-use-tcp=yes"};
    kt::detail::configure(options, settings, words);
    CHECK_NOTHROW(kt::detail::check_settings(settings));
  }

  TEST_CASE("what leads to the same settings elsewhere is known, and which files were read") {
    TempDir dir;
    kt::Settings settings;
    kt::Limits limits;
    kt::detail::Options options;
    kt::detail::add_builtin_options(options, settings, limits);
    write_file(dir / "worker.cfg", "worker_nice = 3\n");
    const std::string data = "--app-data-dir=" + dir.path();
    std::vector<std::string> words{data, "start"};
    auto done = kt::detail::configure(options, settings, words);
    CHECK(done.words == std::vector<std::string>{"--worker-config=" + (dir / "worker.cfg"), data});
    CHECK(done.files == std::vector<std::string>{dir / "worker.cfg"});
    words = {data, "--worker-config=yes", "--worker-log-file=log", "--worker-config=no"};
    done = kt::detail::configure(options, settings, words);
    CHECK(done.words == std::vector<std::string>{data, "--worker-config=" + (dir / "worker.cfg"),
                                                 "--worker-log-file=" + std::filesystem::absolute("log").string(),
                                                 "--worker-config=no"});
    CHECK(done.files == std::vector<std::string>{dir / "worker.cfg"});
  }

  TEST_CASE("a number that JSON does not have is saved so that it can be read again") {
    TempDir dir;
    double variable = 0;
    kt::detail::Options options;
    options.add("x", variable, "");
    for (const char* text : {"inf", "-inf", "nan"}) {
      options.set("x", json(text));
      CHECK(options.file_lines() == "--x="s + text + "\n");
      write_file(dir / "saved", options.file_lines());
      CHECK_NOTHROW(options.read_file(dir / "saved"));
    }
  }

  TEST_CASE("the default file is read when no option was given, and may be missing or empty") {
    TempDir dir;
    kt::Settings settings;
    settings.app_data_dir = dir.path();
    kt::Limits limits;
    kt::detail::Options options;
    kt::detail::add_builtin_options(options, settings, limits);
    std::vector<std::string> words;
    kt::detail::configure(options, settings, words);
    write_file(dir / "worker.cfg", "");
    kt::detail::configure(options, settings, words);
    write_file(dir / "worker.cfg", "worker_nice = 3\n");
    kt::detail::configure(options, settings, words);
    CHECK(settings.worker_nice == 3);
  }

  TEST_CASE("an option that is a limit has one value, which the start leaves alone") {
    Home home;
    kt::Limits& limits = home.kitten.limits();
    limits.head_timeout = 100ms;
    limits.body_timeout = 1500ms;
    limits.body_bytes = 2000;
    limits.connections = 7;
    struct Row {
      const char* name;
      const char* here;
      const char* other;
    };
    const Row rows[] = {{"worker_http_request_timeout1", "0.1", "2.0"},
                        {"worker_http_request_timeout2", "1.5", "2.5"},
                        {"worker_http_request_max_size", "2000", "5000"},
                        {"worker_max_connections", "7", "9"}};
    const auto config = [&](const char* key, const char* name, const char* value = nullptr) {
      json arguments{{key, name}};
      if (value != nullptr) arguments["val"] = value;
      return home.result("config", arguments.dump())["_format"].get<std::string>();
    };
    const auto line = [](const char* name, const std::string& value) { return "--"s + name + "=" + value; };
    for (int start = 0; start < 2; ++start) {
      home.start();
      CHECK(limits.head_timeout == 100ms);
      CHECK(limits.body_timeout == 1500ms);
      CHECK(limits.body_bytes == 2000);
      CHECK(limits.connections == 7);
      CHECK(Wire::tcp(home.kitten).send("GET /pi").answer().status == 408);
      CHECK(Wire::tcp(home.kitten).send(home.post(home.path("ping"), std::string(2001, ' '))).answer().status == 413);
      for (const auto& [name, here, other] : rows) {
        CAPTURE(name);
        CHECK(config("key", name) == line(name, here));
        config("key", name, other);
        CHECK(config("key", name) == line(name, other));
        // What the program has set is the default.
        config("reset", name);
        CHECK(config("key", name) == line(name, here));
      }
      config("key", "worker_http_request_timeout1", "2");
      CHECK(limits.head_timeout == 2s);
      config("reset", "worker_http_request_timeout1");
      home.kitten.stop();
    }
  }

  TEST_CASE("what a program sets before the start is the default of the option") {
    Home home;
    home.kitten.settings().worker_allow_hosts = "kitty.example";
    home.kitten.settings().worker_nice = 3;
    home.start();
    const auto shown = [&](const char* name) {
      return home.result("config", json{{"key", name}}.dump())["_format"].get<std::string>();
    };
    CHECK(contains(home.result("help").get<std::string>(), "--worker-allow-hosts=kitty.example\n"));
    home.result("config", R"({"key": "worker_allow_hosts", "val": "other.example"})");
    CHECK(home.kitten.settings().worker_allow_hosts == "other.example");
    home.kitten.stop();
    // What `config` has set is none.
    home.start();
    CHECK(shown("worker_allow_hosts") == "--worker_allow_hosts=other.example");
    home.result("config", R"({"reset": "worker_allow_hosts"})");
    CHECK(shown("worker_allow_hosts") == "--worker_allow_hosts=kitty.example");
    CHECK(shown("worker_nice") == "--worker_nice=3");
  }

  TEST_CASE("a program's variable for a built-in option is what the service goes by") {
    Home home;
    int bytes = 3000, changes = 0;
    home.kitten.option("worker_http_request_max_size", bytes, "Mine", [&] { ++changes; });
    CHECK(home.kitten.limits().body_bytes == 3000);
    bytes = 4000;
    home.start();
    CHECK(home.kitten.limits().body_bytes == 4000);
    home.result("config", R"({"key": "worker_http_request_max_size", "val": 5000})");
    CHECK(bytes == 5000);
    CHECK(home.kitten.limits().body_bytes == 5000);
    CHECK(changes == 1);
    // What the service cannot take is not in the variable either.
    for (const char* wrong : {"100", "-1"}) {
      CHECK(contains(home.error("config", json{{"key", "worker_http_request_max_size"}, {"val", wrong}}.dump()),
                     "option 'worker_http_request_max_size': "));
      CHECK(bytes == 5000);
      CHECK(home.kitten.limits().body_bytes == 5000);
    }
    home.kitten.stop();
    bytes = -1;
    CHECK_THROWS_WITH_AS(home.kitten.start_thread(), doctest::Contains("option 'worker_http_request_max_size': "),
                         kt::InvalidArgument);
  }

  TEST_CASE("settings that make no sense are refused before anything is started") {
    const auto refused = [](auto change) {
      Home home;
      change(home.kitten.settings());
      CHECK_THROWS_AS(home.kitten.start_thread(), kt::InvalidArgument);
      CHECK(std::filesystem::is_empty(home.state.path()));
    };
    refused([](kt::Settings& s) { s.worker_secret = "short"; });
    refused([](kt::Settings& s) { s.worker_secret = "with/slash"; });
    refused([](kt::Settings& s) { s.worker_name = "../x"; });
    refused([](kt::Settings& s) { s.worker_use_tcp = s.worker_use_unixdomain = false; });
    refused([](kt::Settings& s) { s.worker_listen_queue = 0; });
    refused([](kt::Settings& s) { s.worker_url_path = "a b"; });
  }

  TEST_CASE("the token can come from a file that only its owner can read (77)") {
    Home home;
    home.kitten.settings().worker_secret_file = home.state / "token";
    CHECK_THROWS_AS(home.kitten.start_thread(), kt::StartError);
    write_file(home.state / "token", "a-secret-from-a-file\nrest\n", 0644);
    CHECK_THROWS_WITH_AS(home.kitten.start_thread(), doctest::Contains("others can read"), kt::StartError);
    ::chmod((home.state / "token").c_str(), 0600);
    home.start();
    CHECK(home.kitten.token() == "a-secret-from-a-file");
    CHECK(contents(home.state / "Kitty.url").ends_with("/a-secret-from-a-file"));
  }

  TEST_CASE("what stands in the way of a start is named, and left alone") {
    Home home;
    write_file(home.state / "Kitty.sock", "not a socket");
    CHECK_THROWS_WITH_AS(home.kitten.start_thread(), doctest::Contains("not a socket"), kt::StartError);
    CHECK(contents(home.state / "Kitty.sock") == "not a socket");
    CHECK(std::distance(std::filesystem::directory_iterator(home.state.path()), {}) == 1);
    std::filesystem::remove(home.state / "Kitty.sock");
    home.start();
    Home same;
    same.kitten.settings().app_state_dir = home.state.path();
    CHECK_THROWS_WITH_AS(same.kitten.start_thread(), doctest::Contains("already running"), kt::StartError);
    Home port("Other");
    port.kitten.settings().worker_listen_port =
        static_cast<std::uint16_t>(std::stoi(home.kitten.url().substr(home.kitten.url().rfind(':') + 1)));
    CHECK_THROWS_WITH_AS(port.kitten.start_thread(), doctest::Contains("Address already in use"), kt::StartError);
    CHECK(std::filesystem::is_empty(port.state.path()));
    CHECK(home.result("ping")["pong"] == true);
  }

  TEST_CASE("the socket and the url file are for their owner only, whatever the umask (128)") {
    const mode_t before = ::umask(0);
    Home home;
    home.start();
    ::umask(before);
    kt::detail::FileInfo info{};
    for (const char* name : {"Kitty.sock", "Kitty.url", "Kitty.lock"}) {
      REQUIRE(::lstat((home.state / name).c_str(), &info) == 0);
      CHECK((info.st_mode & 0777) == 0600);
    }
  }

  TEST_CASE("a service listens on an IPv6 address, or on the unix socket alone") {
    Home local("Local");
    local.kitten.settings().worker_use_tcp = false;
    local.start();
    CHECK(contents(local.state / "Local.url") == "http://unix-domain:0/" + local.kitten.token());
    CHECK(Wire::local(local.kitten).send("GET /ping HTTP/1.1\n\n").answer().body == "Pong\n");
    Home six("Six");
    six.kitten.settings().worker_listen_host = "::1";
    try {
      six.start();
    } catch (const kt::StartError&) {
      MESSAGE("no IPv6 here");
      return;
    }
    CHECK(six.kitten.url().starts_with("http://[::1]:"));
    const kt::Client client =
        kt::Client::connect("testkitten", "Six", {.state_directory = six.state.path(), .use_unix_socket = false});
    CHECK(client.call("ping")["pong"] == true);
  }

  TEST_CASE("the mode of directories is octal, log levels have names, and both are shown as people write them") {
    kt::Settings settings;
    kt::Limits limits;
    kt::detail::Options options;
    kt::detail::add_builtin_options(options, settings, limits);
    const auto line = [&](const char* name) { return kt::detail::Options::line(*options.find(name)); };
    for (const json& value : {json("0750"), json("0o750"), json("0O750"), json("488"), json(488), json(" 00750 ")}) {
      CAPTURE(value.dump());
      options.set("worker_umask", "0700");
      CHECK(settings.worker_umask == 0700);
      options.set("worker_umask", value);
      CHECK(settings.worker_umask == 0750);
      CHECK(line("worker_umask") == "--worker_umask=0o750");
    }
    for (const char* other : {"0800", "750", "0o077", "0o1700", "x", "-1"}) {
      CAPTURE(other);
      CHECK_THROWS_AS(options.set("worker_umask", other), kt::InvalidArgument);
      CHECK(settings.worker_umask == 0750);
    }
    const std::map<std::string, int> levels{{"debug", 10}, {"info", 20}, {"warning", 30}, {"error", 40}};
    for (const auto& [name, number] : levels) {
      options.set("worker_log_level", name);
      CHECK(settings.worker_log_level == number);
      CHECK(line("worker_log_level") == "--worker_log_level=" + name);
      options.set("worker_log_level", std::to_string(number));
      CHECK(settings.worker_log_level == number);
    }
    options.set("worker_log_level", "Warning");
    CHECK(settings.worker_log_level == 30);
    options.set("worker_log_level", 35);
    CHECK(line("worker_log_level") == "--worker_log_level=35");
    CHECK(failure([&] { options.set("worker_log_level", "loud"); }) ==
          "option 'worker_log_level': expected debug, info, warning, error or a number, got \"loud\"");
    // A file is for Python services as well, which know numbers.
    options.set("worker_log_level", "error");
    CHECK(contains(options.file_lines(), "--worker_log_level=40\n"));
    CHECK(contains(options.file_lines(), "--worker_umask=488\n"));
  }

  TEST_CASE("the niceness of a service has the bounds that processes have") {
    kt::Settings settings;
    kt::Limits limits;
    kt::detail::Options options;
    kt::detail::add_builtin_options(options, settings, limits);
    for (const char* fine : {"-20", "19", "0"}) options.set("worker_nice", fine);
    for (const char* other : {"-21", "20", "500"})
      CHECK(failure([&] { options.set("worker_nice", other); }) == "option 'worker_nice': must be from -20 to 19");
    CHECK(settings.worker_nice == 0);
    settings.worker_nice = 99;
    CHECK_THROWS_AS(kt::detail::check_settings(settings), kt::InvalidArgument);
  }
}
