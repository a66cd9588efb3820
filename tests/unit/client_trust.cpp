// SPDX-License-Identifier: MIT
#include "os/publication.ipp"
#include "os/socket.ipp"
#include "os/state.ipp"
#include "second_user.hpp"

namespace {

// A directory that looks as if a service ran, whose port is somebody else's.
struct Usurped {
  explicit Usurped(const std::string& address) : url("http://" + address + "/prefix/TOPSECRETTOKEN") {
    lock = kt::detail::InstanceLock(dir / "worker.lock");
    lock.publish(kt::detail::Publication::of(url));
    write_file(dir / "worker.url", url);
  }
  kt::Client client(std::chrono::milliseconds connect = 500ms) const {
    kt::Settings settings;
    settings.app_state_dir = dir.path();
    kt::ClientOptions options;
    options.timeouts.connect = connect;
    return kt::detail::ClientAccess::make(settings, options);
  }
  TempDir dir;
  std::string url;
  kt::detail::InstanceLock lock;
};

// Clients that know a service by its directory, without the ping of connect().
kt::Client client_in(const std::string& state, bool over_tcp) {
  kt::Settings settings;
  settings.app_name = "testkitten";
  settings.worker_name = "Kitty";
  settings.app_state_dir = state;
  kt::ClientOptions options;
  options.use_unix_socket = !over_tcp;
  return kt::detail::ClientAccess::make(settings, options);
}

}  // namespace

TEST_SUITE("client/trust") {
  TEST_CASE("after a crash and a failed start nobody is taken for the service, on whatever port (157)") {
    const Program kitten("kitten");
    const std::string secret = "configured-secret-of-the-user";
    write_file(kitten.state / "secret", secret);
    std::string options = "--worker-secret-file=" + (kitten.state / "secret") + " ";
    REQUIRE(kitten(options + "start").code == 0);
    const std::string url = kitten.url();
    const auto port = static_cast<std::uint16_t>(std::stoi(url.substr(url.find(':', 7) + 1)));
    options += "--worker-listen-port=" + std::to_string(port) + " ";
    ::kill(std::stoi(contents(kitten.state / "Kitty.lock")), SIGKILL);
    Eavesdropper stranger(port);
    const auto calls_nobody = [&] {
      for (const char* words : {"purr 1 PASSWORD", "--tcp purr 1 PASSWORD", "ping", "status"}) {
        CAPTURE(words);
        const Ran ran = kitten(words);
        CHECK(ran.code == 1);
        CHECK(contains(ran.out + ran.err, "Not running"));
      }
    };
    calls_nobody();
    const Ran failed = kitten(options + "start");
    CHECK(failed.code == 1);
    CHECK_MESSAGE(contains(failed.err, "Address already in use"), failed.err);
    for (const char* left : {"Kitty.url", "Kitty.sock", "Kitty.lock"})
      CHECK_FALSE(std::filesystem::exists(kitten.state / left));
    calls_nobody();
    CHECK(stranger.connections() == 0);
    CHECK(stranger.heard().empty());
  }

  TEST_CASE("during on_start no url file is believed, and none is left if it fails (157)") {
    Eavesdropper stranger;
    Home home;
    // As a service that was killed has left them.
    write_file(home.state / "Kitty.url", "http://" + stranger.address() + "/TOKEN");
    write_file(home.state / "Kitty.lock", "1 2\nkey code\n");
    { const kt::Fd dead = kt::detail::listen_unix(home.state / "Kitty.sock", 1); }
    Happening entered, leave;
    bool fails = true;
    home.kitten.on_start([&] {
      entered.happen();
      CHECK(leave.happened(fails ? 1 : 2));
      if (fails) throw std::runtime_error("no milk");
    });
    for (int round = 1; round <= 2; ++round) {
      std::thread starter([&] {
        if (fails) {
          CHECK_THROWS_WITH_AS(home.kitten.start_thread(), "on_start: no milk", kt::StartError);
        } else {
          home.kitten.start_thread();
        }
      });
      REQUIRE(entered.happened(round));
      CHECK_FALSE(std::filesystem::exists(home.state / "Kitty.url"));
      for (const bool over_tcp : {false, true})
        CHECK_THROWS_AS(client_in(home.state.path(), over_tcp).call("ping"), kt::NotRunning);
      leave.happen();
      starter.join();
      if (fails) CHECK(std::filesystem::is_empty(home.state.path()));
      fails = false;
    }
    CHECK(client_in(home.state.path(), true).call("ping")["pong"] == true);
    CHECK(stranger.connections() == 0);
  }

  TEST_CASE("who has got the port of a service between look-up and connection gets no token (158)") {
    const std::vector<std::function<std::string(const std::string&)>> tricks{
        {},
        [](const std::string&) { return "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"; },
        [](const std::string& heard) {
          return "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " + std::to_string(heard.size()) +
                 "\r\n\r\n" + heard;
        },
        [](const std::string&) {
          return "HTTP/1.1 307 Temporary\r\nLocation: /TOPSECRET\r\nContent-Length: 0\r\n\r\n";
        },
        [](const std::string&) { return "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"; },
        [](const std::string&) { return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"; },
        [](const std::string&) { return "SSH-2.0-sorry\r\n"; }};
    for (const auto& trick : tricks) {
      Eavesdropper stranger(0, trick);
      const Usurped place(stranger.address());
      const kt::Client client = place.client();
      for (int round = 0; round < 2; ++round) {
        const std::string said = failure([&] { client.call("purr", "PASSWORD"); });
        CHECK(said != "no exception");
        CHECK_FALSE(contains(said, "TOPSECRETTOKEN"));
      }
      CHECK(eventually([&] { return stranger.connections() >= 2; }));
      CHECK(eventually([&] { return contains(stranger.heard(), "GET /prefix/.proof/"); }));
      CHECK_FALSE(contains(stranger.heard(), "TOPSECRETTOKEN"));
      CHECK_FALSE(contains(stranger.heard(), "PASSWORD"));
    }
    Eavesdropper stranger(0, tricks[1]);
    const Usurped place(stranger.address());
    CHECK(failure([&] { place.client().call("purr"); }) == "worker: what listens on " + stranger.address() +
                                                               " has not proved to be the service that " +
                                                               (place.dir / "worker.url") + " is of");
  }

  TEST_CASE(
      "a service that is restarted while it is asked for its proof is found again, and one that is killed is not") {
    Home home;
    home.kitten.api("seven", [] { return 7; });
    home.start();
    const std::string url = contents(home.state / "Kitty.url");
    const kt::detail::Publication publication = kt::detail::lock_holder(home.state / "Kitty.lock").publication;
    const kt::Fd listener = kt::detail::listen_tcp("127.0.0.1", 0, 5);
    Usurped place(kt::detail::socket_name(listener.get(), false));
    const auto meanwhile = [&](const std::function<void()>& happens) {
      return std::thread([&listener, happens] {
        CHECK(kt::detail::wait_for(listener.get(), POLLIN, std::chrono::steady_clock::now() + patience));
        const kt::Fd connection = kt::detail::accept_connection(listener.get());
        CHECK(kt::detail::wait_for(connection.get(), POLLIN, std::chrono::steady_clock::now() + patience));
        happens();
      });
    };
    std::thread restart = meanwhile([&] {
      place.lock.publish(publication);
      kt::detail::write_private_file(place.dir / "worker.url", url);
    });
    CHECK(place.client(patience).call<int>("seven") == 7);
    restart.join();

    place.lock.publish(kt::detail::Publication::of(place.url));
    kt::detail::write_private_file(place.dir / "worker.url", place.url);
    std::thread kill = meanwhile([&] {
      // The file stays, but nobody holds it.
      std::filesystem::copy_file(place.dir / "worker.lock", place.dir / "copy");
      place.lock.release();
      std::filesystem::rename(place.dir / "copy", place.dir / "worker.lock");
    });
    const std::string said = failure([&] { place.client(patience).call("seven"); });
    CHECK_MESSAGE(said == "worker: Not running: Start it first?", said);
    kill.join();
  }

  TEST_CASE(
      "a state directory that is none, or cannot be looked at, is no other exception than a service that is not "
      "there") {
    const TempDir dir;
    write_file(dir / "file", "");
    std::filesystem::create_symlink("loop", dir / "loop");
    for (const char* where : {"file", "file/below", "loop", "loop/below"}) {
      CAPTURE(where);
      CHECK_THROWS_AS(kt::Client::connect("testkitten", "Kitty", {.state_directory = dir / where}), kt::NotRunning);
      const kt::Client client = client_in(dir / where, false);
      if (std::string(where).starts_with("file")) {
        CHECK_THROWS_WITH_AS(client.call("ping"), "Kitty: Not running: Start it first?", kt::NotRunning);
      } else {
        CHECK_THROWS_WITH_AS(client.call("ping"), doctest::Contains("Too many levels of symbolic links"),
                             kt::ConnectionError);
      }
    }
    if (!second_user_here()) return;
    const pid_t child = ::fork();
    if (child == 0) {
      for (const char* name : {"HOME", "XDG_STATE_HOME"}) ::unsetenv(name);
      if (::setresuid(12345, 12345, 12345) != 0) ::_exit(1);
      try {
        kt::Client::connect("testkitten", "Kitty");
      } catch (const kt::ConnectionError& error) {
        ::_exit(contains(error.what(), "no home directory") ? 7 : 2);
      } catch (const std::exception&) {
        ::_exit(3);
      }
      ::_exit(4);
    }
    int status = 0;
    CHECK(::waitpid(child, &status, 0) == child);
    CHECK(WEXITSTATUS(status) == 7);
  }

  TEST_CASE("a proof that somebody has got from the service elsewhere is of no use (158)") {
    Home home;
    home.start();
    // Whoever listens here passes everything on to the service, and its answers back.
    Eavesdropper stranger(0, [&](const std::string& heard) {
      return contains(heard, "\r\n\r\n")
                 ? Wire::tcp(home.kitten).send(heard).answer().head + Wire::tcp(home.kitten).send(heard).answer().body
                 : std::string();
    });
    const std::string url = "http://" + stranger.address() + "/" + home.kitten.token();
    kt::detail::LockHolder holder = kt::detail::lock_holder(home.state / "Kitty.lock");
    REQUIRE(holder.held);
    kt::detail::Publication forged = holder.publication;
    CHECK(forged.covers(contents(home.state / "Kitty.url")));
    forged.url_code = kt::detail::message_code(forged.key, "url", url);
    {
      std::ofstream lock(home.state / "Kitty.lock");  // the file stays the same, and held
      lock << holder.pid << " 0\n" << forged.key << " " << forged.url_code << "\n";
    }
    write_file(home.state / "Kitty.url", url);
    CHECK(contains(failure([&] { client_in(home.state.path(), true).call("ping"); }), "has not proved to be"));
    CHECK(eventually([&] { return contains(stranger.heard(), "/.proof/"); }));
    CHECK_FALSE(contains(stranger.heard(), home.kitten.token()));
  }

  TEST_CASE("a service proves itself once for each connection, whatever its program does with strangers (158)") {
    Home home;
    home.kitten.settings().worker_url_path = "some/where";
    home.kitten.api("add", add, kt::arg("a"), kt::arg("b"));
    home.kitten.public_api("site", [](kt::Request&) { return kt::text("all of it"); });
    home.kitten.authenticator([](const kt::Request& request) { return request.authenticated(); });
    home.kitten.router([](const kt::Request& request) -> std::optional<kt::RouteTo> {
      if (request.authenticated()) return std::nullopt;
      kt::RouteTo to;
      to.method = "site";
      return to;
    });
    home.kitten.settings().worker_log_level = 10;
    for (const char* host : {"127.0.0.1", "0.0.0.0", "::", "::1"}) {
      CAPTURE(host);
      home.kitten.settings().worker_listen_host = host;
      try {
        home.start();
      } catch (const kt::StartError&) {
        MESSAGE("no IPv6 here");
        continue;
      }
      const kt::Client client = client_in(home.state.path(), true);
      for (int i = 0; i < 5; ++i) CHECK(client.call<int>("add", i, 1) == i + 1);
      home.kitten.stop();
    }
    const std::string log = home.log();
    int proofs = 0;
    for (std::size_t at = 0; (at = log.find("http 200 proof", at)) != std::string::npos; ++at) ++proofs;
    CHECK(proofs == 4);
  }

  TEST_CASE("a challenge tells strangers nothing, and is no way to guess (158, 165)") {
    Home home;
    home.start();
    const std::string words = "0123456789abcdef";
    const Answer answer = Wire::tcp(home.kitten).send(home.get("/.proof/" + words)).answer();
    CHECK(answer.status == 200);
    const std::string url = home.kitten.url();
    CHECK(answer.body ==
          kt::detail::lock_holder(home.state / "Kitty.lock").publication.proof(words, url.substr(7)) + "\n");
    CHECK(Wire::tcp(home.kitten).send(home.get("/.proof/" + words)).answer().body == answer.body);
    CHECK(Wire::tcp(home.kitten).send(home.get("/.proof/" + words + "x")).answer().body != answer.body);
    for (const std::string& bad : {""s, "short"s, std::string(65, 'x')})
      CHECK(Wire::tcp(home.kitten).send(home.get("/.proof/" + bad)).answer().status == 403);
    CHECK(
        Wire::tcp(home.kitten).send(home.get("/.proof/" + words, "Origin: http://evil.example\r\n")).answer().status ==
        403);
    CHECK(Wire::tcp(home.kitten).send(home.get(home.path(".proof/" + words))).answer().status == 404);
  }

  TEST_CASE("a service without a lock has to be alive on its unix socket before the token goes over TCP (158)") {
    Eavesdropper stranger;
    const TempDir dir;
    write_file(dir / "Kitty.url", "http://" + stranger.address() + "/TOPSECRETTOKEN");
    kt::Settings settings;
    settings.app_state_dir = dir.path();
    settings.worker_name = "Kitty";
    kt::ClientOptions options;
    options.use_unix_socket = false;
    options.timeouts.first_byte = 300ms;
    const kt::Client client = kt::detail::ClientAccess::make(settings, options);
    { const kt::Fd dead = kt::detail::listen_unix(dir / "Kitty.sock", 1); }
    CHECK_THROWS_AS(client.call("ping"), kt::NotRunning);
    CHECK(stranger.connections() == 0);
    if (second_user_here()) {
      const SharedDir shared;
      kt::Fd theirs;
      as_second_user([&] { theirs = kt::detail::listen_unix(shared / "Kitty.sock", 5); });
      std::filesystem::rename(shared / "Kitty.sock", dir / "Kitty.sock");
      CHECK(contains(failure([&] { client.call("ping"); }), "user 65534"));
      CHECK(stranger.connections() == 0);
    }
    ::unlink((dir / "Kitty.sock").c_str());
    const kt::Fd alive = kt::detail::listen_unix(dir / "Kitty.sock", 1);
    CHECK_THROWS_AS(client.call("ping"), kt::ConnectionError);
    CHECK(eventually([&] { return contains(stranger.heard(), "TOPSECRETTOKEN"); }));
    // One in Python may have come after one of ours that was killed, and has left its lock file.
    write_file(dir / "Kitty.lock", "1 2\nkey code\n");
    const int before = stranger.connections();
    CHECK_THROWS_AS(client.call("ping"), kt::ConnectionError);
    CHECK(eventually([&] { return stranger.connections() > before; }));
  }

  TEST_CASE("clients find a service that was killed and started again, every time") {
    const Program hello("hello");
    const auto client_over = [&](bool tcp) {
      kt::ClientOptions options;
      options.state_directory = hello.state.path();
      options.use_unix_socket = !tcp;
      return kt::Client::connect("hello", "Kitty", options);
    };
    REQUIRE(hello("start").code == 0);
    const std::vector<kt::Client> clients{client_over(false), client_over(true)};
    for (int round = 0; round < 50; ++round) {
      for (const kt::Client& client : clients) client.call("ping");
      ::kill(std::stoi(contents(hello.state / "Kitty.lock")), SIGKILL);
      std::atomic<bool> over = false;
      std::vector<std::thread> impatient;
      std::atomic<int> denied = 0;
      for (const kt::Client& client : clients) {
        impatient.emplace_back([&] {
          while (!over) {
            try {
              client.call("ping");
            } catch (const kt::PermissionDenied&) {
              ++denied;
            } catch (const std::runtime_error&) {
              // not there yet
            }
          }
        });
      }
      CHECK(hello("start").code == 0);
      over = true;
      for (std::thread& thread : impatient) thread.join();
      for (const kt::Client& client : clients) CHECK(client.call("ping")["pong"] == true);
      CHECK(denied == 0);
    }
  }

  TEST_CASE("a refused token is looked up again, once and only if the url file has changed") {
    std::string token = "FIRST";
    std::atomic<int> requests = 0;
    Scripted service([&](Scripted::Talk& talk) {
      std::string seen;
      while (!(seen = talk.request()).empty()) {
        ++requests;
        if (seen.starts_with("POST /" + token + "/")) {
          talk.answer("true");
        } else {
          talk.say(
              "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: 26\r\n\r\n"
              "{\"error\": \"Access Denied\"}");
        }
      }
    });
    write_file(service.dir / "worker.url", "http://unix-domain:0/FIRST");
    const kt::Client client = service.client();
    for (int i = 0; i < 3; ++i) CHECK(client.call<bool>("purr"));
    CHECK(requests == 3);
    token = "SECOND";
    CHECK_THROWS_AS(client.call("purr"), kt::PermissionDenied);  // the file says nothing new
    CHECK(requests == 4);
    kt::detail::write_private_file(service.dir / "worker.url", "http://unix-domain:0/SECOND");
    for (int i = 0; i < 3; ++i) CHECK(client.call<bool>("purr"));
    token = "THIRD";
    kt::detail::write_private_file(service.dir / "worker.url", "http://unix-domain:0/ALSO_WRONG");
    const int before = requests;
    CHECK_THROWS_AS(client.call("purr"), kt::PermissionDenied);
    CHECK(requests == before + 2);
  }
}

TEST_SUITE("os/socket") {
  TEST_CASE("a listener is named by an address on which it listens (160)") {
    CHECK(kt::detail::reachable_name(kt::detail::listen_tcp("0.0.0.0", 0, 1).get()).starts_with("127.0.0.1:"));
    CHECK(kt::detail::reachable_name(kt::detail::listen_tcp("127.0.0.2", 0, 1).get()).starts_with("127.0.0.2:"));
    for (const int only : {0, 1}) {
      const kt::Fd fd = kt::detail::open_stream_socket(AF_INET6);
      auto address = kt::detail::tcp_address("::", 0);
      REQUIRE(address);
      if (!fd || ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only) != 0 ||
          ::bind(fd.get(), address->get(), address->size) != 0 || ::listen(fd.get(), 1) != 0) {
        MESSAGE("no IPv6 here");
        return;
      }
      const std::string name = kt::detail::reachable_name(fd.get());
      CHECK(name.starts_with(only == 1 ? "[::1]:" : "127.0.0.1:"));
      const auto named = kt::detail::tcp_address(
          name.substr(0, name.rfind(':')), static_cast<std::uint16_t>(std::stoi(name.substr(name.rfind(':') + 1))));
      REQUIRE(named);
      CHECK(kt::detail::connect_socket(*named, std::chrono::steady_clock::now() + patience));
    }
    CHECK(kt::detail::reachable_name(kt::detail::listen_tcp("::ffff:0.0.0.0", 0, 1).get()).starts_with("127.0.0.1:"));
  }
}
