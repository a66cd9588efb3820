// SPDX-License-Identifier: MIT
#include "services.hpp"
#include "support.hpp"

TEST_SUITE("service/descriptors") {
  // Methods of every kind that take descriptors.
  struct Taking : Home {
    Taking() {
      kitten.api(
          "cat",
          [](kt::File file) -> kt::Task<std::string> {
            co_return file.mode() + ":" + co_await kt::async_read_all(file);
          },
          kt::arg("file"));
      kitten.api(
          "any", [](kt::Fd fd, std::string text) { return json(text + (fd ? " open" : " none")); }, kt::arg("fd"),
          kt::arg("text") = "");
      kitten.api(
          "family", [](kt::Socket socket) { return socket.family(); }, kt::arg("socket"));
      kitten.api(
          "count", [](std::vector<kt::Fd> all) { return all.size(); }, kt::arg("all"));
      kitten.api(
          "maybe", [](std::optional<kt::File> file) { return file ? 1 : 0; }, kt::arg("file") = nullptr);
      kitten.api(
          "text", [](std::string text) { return text; }, kt::arg("text"));
      kitten.api("rest", [](kt::Request& request) { return request.descriptors().size(); });
      kitten.api(
          "open", [](std::string path) { return kt::File::open(path); }, kt::arg("path"));
      kitten.api(
          "two",
          [](std::string path) {
            return std::tuple<kt::File, std::string, kt::File>(kt::File::open(path), "and", kt::File::open(path, "r"));
          },
          kt::arg("path"));
      kitten.api(
          "many",
          [](int count) {
            std::vector<kt::Fd> all;
            for (int i = 0; i < count; ++i) all.push_back(kt::File::open("/dev/null"));
            return all;
          },
          kt::arg("count"));
      kitten.public_api("meow", [] { return kt::text("Meow"); });
      start();
    }
    Answer call_with(const std::string& method, const std::string& arguments, const std::vector<int>& descriptors) {
      Wire wire = Wire::local(kitten);
      send_with(wire, post(path(method), arguments), descriptors);
      return wire.answer();
    }
  };

  TEST_CASE_FIXTURE(Taking, "open files arrive as arguments, by position and by name, in lists and not at all") {
    const kt::File one = file_with(state / "one", "first");
    const kt::File two = file_with(state / "two", "second");
    CHECK(call_with("cat", R"({"_args": ["_FD_BRE_MAGIC_-r"]})", {one.get()}).body == "\"r:first\"\n");
    CHECK(call_with("cat", R"({"file": "_FD_BRE_MAGIC_-rb"})", {two.get()}).body == "\"rb:second\"\n");
    CHECK(call_with("any", R"({"text": "t", "_args": ["_FD_BRE_MAGIC_-rb"]})", {two.get()}).body == "\"t open\"\n");
    CHECK(call_with("count", R"({"_args": [["_FD_BRE_MAGIC_-r", "_FD_BRE_MAGIC_-r"]]})", {one.get(), two.get()}).body ==
          "2\n");
    CHECK(call_with("maybe", R"({"_args": ["_FD_BRE_MAGIC_-r"]})", {one.get()}).body == "1\n");
    CHECK(call_with("maybe", "{}", {}).body == "0\n");
    CHECK(call_with("rest", "{}", {one.get(), two.get()}).body == "2\n");
    SocketPair pair;
    CHECK(call_with("family", R"({"_args": ["_SO_BRE_MAGIC_-1-1-0"]})", {pair.here.get()}).body == "1\n");
    // It is what it is, whatever it is said to be.
    CHECK(call_with("family", R"({"_args": ["_SO_BRE_MAGIC_-2-1-0"]})", {pair.here.get()}).body == "1\n");
  }

  TEST_CASE_FIXTURE(Taking, "a placeholder without a descriptor, or a descriptor without a place, is refused") {
    const kt::File file = file_with(state / "one", "first");
    const int fd = file.get();
    const auto refused = [&](const std::string& method, const std::string& arguments, const std::vector<int>& fds) {
      const Answer answer = call_with(method, arguments, fds);
      CHECK_MESSAGE(answer.status == 400, method << arguments << answer.body);
      return json::parse(answer.body).value("error", "");
    };
    const int before = open_descriptors();
    CHECK(refused("cat", R"({"_args": ["_FD_BRE_MAGIC_-r"]})", {}) ==
          "cat: argument 'file': invalid literal, expected open file (passed over the unix socket), got "
          "\"_FD_BRE_MAGIC_-r\"");
    refused("cat", R"({"_args": ["a path"]})", {});
    refused("cat", R"({"_args": ["a path"]})", {fd});
    refused("cat", R"({"_args": [7]})", {fd});
    refused("cat", R"({"_args": ["_FD_BRE_MAGIC_-no"]})", {fd});
    refused("cat", R"({"_args": ["_SO_BRE_MAGIC_-1-1-0"]})", {fd});
    refused("family", R"({"_args": ["_SO_BRE_MAGIC_-1-1-0"]})", {fd});
    refused("cat", R"({"_args": ["_FD_BRE_MAGIC_-r"]})", {fd, fd});
    refused("count", R"({"_args": [["_FD_BRE_MAGIC_-r", "_FD_BRE_MAGIC_-r"]]})", {fd});
    refused("count", R"({"_args": [["_FD_BRE_MAGIC_-r"]]})", {fd, fd});
    refused("text", R"({"_args": ["_FD_BRE_MAGIC_-r"]})", {fd});
    refused("text", "{}", {fd});
    CHECK(refused("text", "{", {fd, fd}) == "JSON ends early");
    CHECK(result("text", R"({"_args": ["_FD_BRE_MAGIC_-r"]})") == "_FD_BRE_MAGIC_-r");
    CHECK(eventually([&] { return open_descriptors() == before; }));
  }

  TEST_CASE_FIXTURE(Taking, "descriptors of a refused call are closed at once, and no later call gets them") {
    const kt::File file = file_with(state / "one", "first");
    const int before = open_descriptors();
    Wire wire = Wire::local(kitten);
    send_with(wire, post(path("nothing"), "{}"), {file.get()});
    CHECK(wire.answer().status == 404);
    CHECK(eventually([&] { return open_descriptors() == before + 2; }));  // both ends of the connection
    send_with(wire, post(path("rest"), "{}"), {});
    CHECK(wire.answer().body == "0\n");
    // One that keeps its own connection open must not be waited for.
    Wire other = Wire::local(kitten);
    send_with(other, "nonsense\r\n\r\n", {file.get()});
    CHECK(other.answer().status == 400);
    CHECK(eventually([&] { return open_descriptors() == before + 4; }));
  }

  TEST_CASE_FIXTURE(Taking, "strangers' descriptors are closed, and too many are the end of a connection") {
    const kt::File file = file_with(state / "one", "first");
    const std::vector<int> sixteen(16, file.get()), seventeen(17, file.get());
    const int before = open_descriptors();
    {
      Wire wire = Wire::local(kitten);
      send_with(wire, get("/meow"), {file.get()});
      CHECK(wire.answer().status == 403);
      Wire other = Wire::local(kitten);
      send_with(other, get("/wrong/cat"), sixteen);
      CHECK(other.answer().status == 403);
      Wire body = Wire::local(kitten);
      body.send(
          "POST /meow HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{");
      send_with(body, "}", {file.get()});
      CHECK(body.answer().status == 403);
      Wire many = Wire::local(kitten);
      send_with(many, get(path("rest")), seventeen);
      const Answer answer = many.answer();
      CHECK(answer.status == 400);
      CHECK(answer.fields.at("Connection") == "close");
      Wire parts = Wire::local(kitten);
      send_with(parts, "GET " + path("rest"), sixteen);
      send_with(parts, " HTTP/1.1\r\nHost: localhost\r\n\r\n", {file.get()});
      CHECK(parts.answer().status == 400);
      CHECK(Wire::local(kitten).send(get("/meow")).answer().status == 200);
    }
    CHECK(eventually([&] { return open_descriptors() == before; }));
  }

  TEST_CASE_FIXTURE(Taking, "descriptors that wait for the rest of their request are few, whoever sends them") {
    const kt::File file = file_with(state / "one", "first");
    const std::vector<int> sixteen(16, file.get());
    const int before = open_descriptors();
    {
      std::vector<Wire> waiting;
      for (int i = 0; i < 5; ++i) {
        waiting.push_back(Wire::local(kitten));
        send_with(waiting.back(), "GET /", sixteen);
      }
      CHECK(waiting.back().answer().status == 503);
      // Room for five connections, their other ends, and the 64. The refused ones are closed after the answer has left.
      CHECK(eventually([&] { return open_descriptors() <= before + 64 + 10; }));
    }
    CHECK(eventually([&] { return open_descriptors() == before; }));
    CHECK(call_with("rest", "{}", sixteen).body == "16\n");
  }

  TEST_CASE_FIXTURE(Taking, "descriptors that could belong to two requests belong to none") {
    const kt::File file = file_with(state / "one", "first");
    const int before = open_descriptors();
    {
      Wire wire = Wire::local(kitten);
      send_with(wire, post(path("rest"), "{}") + post(path("rest"), "{}"), {file.get()});
      CHECK(wire.answer().status == 400);
      CHECK(wire.closed());
      Wire parts = Wire::local(kitten);
      parts.send("POST " + path("cat") + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 29\r\n");
      send_with(parts, "Content-Type: application/json\r\n\r\n{\"file\": ", {});
      send_with(parts, "\"_FD_BRE_MAGIC_-rb\"}", {file.get()});
      CHECK(parts.answer().body == "\"rb:first\"\n");
    }
    CHECK(eventually([&] { return open_descriptors() == before; }));
  }

  TEST_CASE_FIXTURE(Taking, "open files are results, in one message with the whole answer") {
    write_file(state / "one", "first");
    const int before = open_descriptors();
    {
      Wire wire = Wire::local(kitten);
      wire.send(post(path("open"), json{{"path", state / "one"}}.dump()));
      char block[65536];
      kt::detail::ReceivedDescriptors received;
      pollfd entry{wire.fd(), POLLIN, 0};
      CHECK(::poll(&entry, 1, 10'000) == 1);
      const ssize_t n = kt::detail::receive_with_descriptors(wire.fd(), block, sizeof block, 16, received);
      REQUIRE(n > 0);
      const std::string answer(block, static_cast<std::size_t>(n));
      CHECK(answer.starts_with("HTTP/1.1 200"));
      CHECK(answer.ends_with("\r\n\r\n[\"_FD_BRE_MAGIC_-rb\"]\n"));
      REQUIRE(received.owned.size() == 1);
      CHECK(all_of(received.owned[0]) == "first");
      // The connection goes on.
      wire.send(post(path("two"), json{{"path", state / "one"}}.dump()));
      CHECK(wire.answer().body == "[\"_FD_BRE_MAGIC_-rb\",\"and\",\"_FD_BRE_MAGIC_-r\"]\n");
      wire.send(post(path("many"), "{\"count\": 17}"));
      CHECK(wire.answer().status == 500);
      wire.send(post(path("many"), "{\"count\": 0}"));
      CHECK(wire.answer().body == "[]\n");
      wire.send(post(path("many"), "{\"count\": 2}") + post(path("text"), "{\"text\": \"t\"}"));
      CHECK(wire.answer().body == "[\"_FD_BRE_MAGIC_-rb\",\"_FD_BRE_MAGIC_-rb\"]\n");
      CHECK(wire.answer().body == "\"t\"\n");
      CHECK(error("open", json{{"path", state / "one"}}.dump(), 500) == "Cannot send file descriptors over TCP");
    }
    CHECK(eventually([&] { return open_descriptors() == before; }));
  }

  TEST_CASE("descriptors of an answer that leaves in pieces go once, with its first byte (124)") {
    Home home;
    home.kitten.api(
        "text", [](std::size_t size) { return std::string(size, 't'); }, "", kt::arg("size"));
    home.kitten.api(
        "open", [](std::size_t size) { return std::tuple(kt::File::open("/dev/null"), std::string(size, 'o')); }, "",
        kt::arg("size"));
    home.kitten.start();
    const auto call = [&](const std::string& method, std::size_t size) {
      return home.post(home.path(method), json{{"size", size}}.dump());
    };
    const auto answer = [](const std::string& body) {
      return "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
             "\r\n\r\n" + body;
    };
    const std::string opened = answer("[\"_FD_BRE_MAGIC_-rb\",\"" + std::string(30'000, 'o') + "\"]\n");
    // What goes before takes all of a small buffer but a few bytes, all of it, or more than that: the first byte is the
    // one that does not fit in some cases, and in all of them not all others do.
    for (std::size_t size = 0; size < 20'000; size += 501) {
      CAPTURE(size);
      const int before = open_descriptors();
      SocketPair pair;
      const int small = 4096;
      CHECK(::setsockopt(pair.there.get(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small) == 0);
      home.kitten.serve_connection(kt::Socket(std::move(pair.there)));
      CHECK(kt::detail::write_all(pair.here.get(), call("text", size) + call("open", 30'000) + call("text", 1)));
      const std::string first = answer("\"" + std::string(size, 't') + "\"\n"), last = answer("\"t\"\n");
      std::string got;
      kt::detail::ReceivedDescriptors received;
      CHECK(eventually([&] {
        home.kitten.poll();
        char block[999];
        ssize_t n = 0;
        do {
          const std::size_t at = got.size();
          n = kt::detail::receive_with_descriptors(pair.here.get(), block, sizeof block, 16, received);
          if (n > 0) got.append(block, static_cast<std::size_t>(n));
          if (at <= first.size()) CHECK(received.owned.size() == (got.size() > first.size() ? 1 : 0));
        } while (n > 0);
        return got.size() >= first.size() + opened.size() + last.size();
      }));
      CHECK(got == first + opened + last);
      CHECK(received.owned.size() == 1);
      // This end, the service's, and what has come: the service has closed its own.
      CHECK(open_descriptors() == before + 3);
      received = {};
      pair.here.reset();
      CHECK(eventually([&] {
        home.kitten.poll();
        return open_descriptors() == before;
      }));
    }
  }

#if defined(__linux__)
  // This thread may not exceed its limits, even as root.
  class WithoutPrivileges {
   public:
    explicit WithoutPrivileges(rlim_t descriptors) {
      REQUIRE(::syscall(SYS_capget, &header_, before_) == 0);
      __user_cap_data_struct none[2] = {before_[0], before_[1]};
      none[0].effective = none[1].effective = 0;
      REQUIRE(::syscall(SYS_capset, &header_, none) == 0);
      ::getrlimit(RLIMIT_NOFILE, &limit_);
      const rlimit low{descriptors, limit_.rlim_max};
      ::setrlimit(RLIMIT_NOFILE, &low);
    }
    ~WithoutPrivileges() {
      ::setrlimit(RLIMIT_NOFILE, &limit_);
      ::syscall(SYS_capset, &header_, before_);
    }
    WithoutPrivileges(const WithoutPrivileges&) = delete;
    WithoutPrivileges& operator=(const WithoutPrivileges&) = delete;

   private:
    __user_cap_header_struct header_{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct before_[2];
    rlimit limit_;
  };

  TEST_CASE("an answer for whose descriptors the kernel has no room is a 503, and the next one is as usual (124)") {
    Home home;
    home.kitten.api("open", [] { return kt::File::open("/dev/null"); });
    home.kitten.start();
    const int before = open_descriptors();
    {
      const kt::File many = kt::File::open("/dev/null");
      const WithoutPrivileges limited(100);
      Wire wire = Wire::local(home.kitten);
      const auto answer = [&] {
        wire.send(home.post(home.path("open"), "{}"));
        pollfd entry{wire.fd(), POLLIN, 0};
        CHECK(eventually([&] {
          home.kitten.poll();
          return ::poll(&entry, 1, 0) == 1;
        }));
        return wire.answer();
      };
      CHECK(answer().status == 200);
      {
        // On their way, and never there: more than the limit.
        SocketPair pair;
        std::vector<kt::Fd> copies;
        for (int i = 0; i < 50; ++i) copies.push_back(many.duplicate());
        while (kt::detail::send_with_descriptors(pair.here.get(), "x", copies) == 1) {
        }
        CHECK(errno == ETOOMANYREFS);
        copies.clear();
        const Answer refused = answer();
        CHECK(refused.status == 503);
        CHECK(refused.body == "{\"error\":\"too many descriptors are on their way\"}\n");
      }
      CHECK(answer().status == 200);
      CHECK(open_descriptors() == before + 3);
    }
    CHECK(eventually([&] {
      home.kitten.poll();
      return open_descriptors() == before;
    }));
  }
#endif

  TEST_CASE_FIXTURE(Taking, "help and the table of methods say what takes and gives descriptors") {
    CHECK(result("help", R"({"command": "cat"})")
              .get<std::string>()
              .find("file  file (a path here, or - for standard input), required") != std::string::npos);
    const json table = result("ping", "{}")["methods"];
    CHECK(table["any"]["args"]["fd"] == "fd");
    CHECK(table["family"]["args"]["socket"] == "socket");
    CHECK(table["open"]["returns"] == "file");
  }

  TEST_CASE("limits of zero allow nothing") {
    Home home;
    home.kitten.limits().descriptors = 0;
    home.kitten.limits().log_lines = 0;
    home.kitten.api(
        "take", [](kt::Fd) { return 1; }, kt::arg("fd"));
    home.kitten.api("give", [] { return kt::File::open("/dev/null"); });
    home.kitten.public_api("fails", []() -> int { throw std::runtime_error("broken"); });
    home.start();
    const kt::File file = kt::File::open("/dev/null");
    Wire taking = Wire::local(home.kitten);
    send_with(taking, home.post(home.path("take"), R"({"_args": ["_FD_BRE_MAGIC_-rb"]})"), {file.get()});
    const Answer refused = taking.answer();
    CHECK(refused.status == 400);
    CHECK(contains(refused.body, "at most 0 descriptors"));
    Wire giving = Wire::local(home.kitten);
    CHECK(giving.send(home.post(home.path("give"), "{}")).answer().status == 500);
    const std::size_t before = home.log().size();
    Wire stranger = Wire::tcp(home.kitten);
    for (const char* name : {"/ping", "/nothing", "/fails"}) stranger.send(home.get(name)).answer();
    CHECK(home.log().size() == before);
  }
}
