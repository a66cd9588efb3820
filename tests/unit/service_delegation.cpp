// SPDX-License-Identifier: MIT
#include "services.hpp"
#include "support.hpp"

TEST_SUITE("service/delegation") {
  struct Replying : Home {
    Replying() {
      kitten.api(
          "add", [](int a, int b) { return a + b; }, kt::arg("a"), kt::arg("b") = 1);
      kitten.api(
          "count",
          [](int n) -> kt::Generator<int> {
            for (int i = 0; i < n; ++i) {
              co_yield i;
              co_await kt::sleep_for(1ms);
            }
          },
          kt::arg("n"));
      kitten.api("endless", []() -> kt::Generator<std::string> {
        for (;;) {
          co_yield std::string(10'000, 'x');
          co_await kt::sleep_for(1ms);
        }
      });
      kitten.api("pages", []() -> kt::Generator<kt::Result> {
        const kt::Result page{"text/html", "<p>"};
        co_yield page;
        co_yield page;
      });
      kitten.api("fails", []() -> kt::Generator<int> {
        co_yield 1;
        throw kt::NotFound("no more");
      });
      start();
    }
    // The 202, or what came instead of it.
    Answer call_with_target(const std::string& method, const std::string& arguments, int target) {
      Wire wire = Wire::local(kitten);
      send_with(wire, post(path(method), arguments), {target});
      const Answer answer = wire.answer();
      if (answer.status == 202) CHECK(wire.closed());
      return answer;
    }
  };

  TEST_CASE_FIXTURE(Replying, "an answer goes to a socket that came with the call") {
    const int before = open_descriptors();
    {
      SocketPair pair;
      const Answer accepted = call_with_target(
          "add", R"({"reply_to_first_fd": 0, "_args": ["_SO_BRE_MAGIC_-1-1-0", 3, 4]})", pair.there.get());
      CHECK(accepted.status == 202);
      CHECK(accepted.body == "{\"replied_to_first_fd\": true}\n");
      pair.there.reset();
      CHECK(pair.rest() ==
            "HTTP/1.1 200 OK\nContent-Type: application/json\nContent-Length: 2\nConnection: close\n\n7\n");
    }
    {
      SocketPair pair;
      call_with_target("count", R"({"reply_to_first_fd": 0, "_args": ["_SO_BRE_MAGIC_-1-1-0", 2]})", pair.there.get());
      pair.there.reset();
      const std::string stream = pair.rest();
      CHECK(stream.starts_with("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n"));
      CHECK(stream.ends_with("\n\n2\r\n0\n\r\n2\r\n1\n\r\n0\r\n\r\n"));
    }
    CHECK(eventually([&] { return open_descriptors() == before; }));
  }

  TEST_CASE_FIXTURE(Replying, "an answer goes on with what another service has begun") {
    SocketPair pair;
    call_with_target("count", R"({"reply_to_first_fd": 93, "_args": ["_SO_BRE_MAGIC_-1-1-0", 2]})", pair.there.get());
    pair.there.reset();
    CHECK(pair.rest() == "2\r\n0\n\r\n2\r\n1\n\r\n0\r\n\r\n");
    SocketPair plain;
    call_with_target("add", R"({"reply_to_first_fd": 93, "_args": ["_SO_BRE_MAGIC_-1-1-0", 2]})", plain.there.get());
    plain.there.reset();
    CHECK(plain.rest() == "2\r\n3\n\r\n0\r\n\r\n");
    SocketPair documents;
    call_with_target("pages", R"({"reply_to_first_fd": 93, "_args": ["_SO_BRE_MAGIC_-1-1-0"]})", documents.there.get());
    documents.there.reset();
    CHECK(documents.rest() == "3\r\n<p>\r\n3\r\n<p>\r\n0\r\n\r\n");
    SocketPair failing;
    call_with_target("fails", R"({"reply_to_first_fd": 93, "_args": ["_SO_BRE_MAGIC_-1-1-0"]})", failing.there.get());
    failing.there.reset();
    CHECK(failing.rest() == "2\r\n1\n\r\n21\r\n{\"error\":\"no more\",\"status\":404}\n\r\n");
  }

  TEST_CASE_FIXTURE(Replying, "an answer goes to a file, and the file's flags stay as they were") {
    const kt::File file = kt::File::open(state / "out", "wb");
    call_with_target("help", R"({"reply_to_first_fd": 0, "_args": ["_FD_BRE_MAGIC_-wb", "add"]})", file.get());
    CHECK(eventually([&] { return contents(state / "out").ends_with("\"\n"); }));
    CHECK(contents(state / "out").starts_with("HTTP/1.1 200 OK\nContent-Type: application/json\n"));
    CHECK((::fcntl(file.get(), F_GETFL) & O_NONBLOCK) == 0);
    Pipe pipe;
    call_with_target("add", R"({"reply_to_first_fd": 0, "_args": ["_FD_BRE_MAGIC_-wb", 1]})", pipe.writer.get());
    pipe.writer.reset();
    CHECK(all_of(pipe.reader).ends_with("\n\n2\n"));
    const kt::File many = kt::File::open(state / "many", "wb");
    call_with_target("count", R"({"reply_to_first_fd": 0, "_args": ["_FD_BRE_MAGIC_-wb", 100]})", many.get());
    CHECK(eventually([&] { return contents(state / "many").ends_with("0\r\n\r\n"); }));
  }

  TEST_CASE_FIXTURE(Replying, "errors before the 202 go to the caller, later ones to the target") {
    SocketPair pair;
    const int fd = pair.there.get();
    CHECK(call_with_target("nope", R"({"reply_to_first_fd": 0, "_args": ["_SO_BRE_MAGIC_-1-1-0"]})", fd).status == 404);
    for (const char* bad : {R"({"reply_to_first_fd": -1, "_args": ["_SO_BRE_MAGIC_-1-1-0"]})",
                            R"({"reply_to_first_fd": "0", "_args": ["_SO_BRE_MAGIC_-1-1-0"]})",
                            R"({"reply_to_first_fd": 1e30, "_args": ["_SO_BRE_MAGIC_-1-1-0"]})",
                            R"({"reply_to_first_fd": 18446744073709551615, "_args": ["_SO_BRE_MAGIC_-1-1-0"]})",
                            R"({"reply_to_first_fd": 0, "_args": []})", R"({"reply_to_first_fd": 0})",
                            R"({"reply_to_first_fd": 0, "_args": ["x"]})",
                            R"({"reply_to_first_fd": 0, "_args": ["_SO_BRE_MAGIC_-x"]})"}) {
      CHECK_MESSAGE(call_with_target("add", bad, fd).status == 400, bad);
    }
    call_with_target("add", R"({"reply_to_first_fd": 0, "_args": ["_SO_BRE_MAGIC_-1-1-0", "elephant"]})", fd);
    pair.there.reset();
    const std::string refused = pair.rest();
    CHECK(refused.starts_with("HTTP/1.1 400"));
    CHECK(refused.find("elephant") != std::string::npos);
    // Without a descriptor the key is an argument like others.
    CHECK(error("add", R"({"reply_to_first_fd": 0, "_args": [1]})").find("unknown argument") != std::string::npos);
  }

  TEST_CASE_FIXTURE(Replying, "a target that is dead, full or gone ends the call, not the service") {
    const int before = open_descriptors();
    {
      SocketPair dead;
      dead.here.reset();
      call_with_target("endless", R"({"reply_to_first_fd": 0, "_args": ["_SO_BRE_MAGIC_-1-1-0"]})", dead.there.get());
      Pipe closed;
      closed.reader.reset();
      call_with_target("endless", R"({"reply_to_first_fd": 0, "_args": ["_FD_BRE_MAGIC_-wb"]})", closed.writer.get());
      const kt::File full = kt::File::open("/dev/full", "wb");
      call_with_target("endless", R"({"reply_to_first_fd": 0, "_args": ["_FD_BRE_MAGIC_-wb"]})", full.get());
      const kt::File unwritable = kt::File::open("/dev/null", "rb");
      call_with_target("add", R"({"reply_to_first_fd": 0, "_args": ["_FD_BRE_MAGIC_-rb", 1]})", unwritable.get());
      const kt::Fd folder(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      call_with_target("add", R"({"reply_to_first_fd": 0, "_args": ["_FD_BRE_MAGIC_-rb", 1]})", folder.get());
    }
    CHECK(eventually([&] { return open_descriptors() == before; }));
    {
      SocketPair leaves;
      call_with_target("endless", R"({"reply_to_first_fd": 0, "_args": ["_SO_BRE_MAGIC_-1-1-0"]})", leaves.there.get());
      leaves.there.reset();
      char byte = 0;
      CHECK(::recv(leaves.here.get(), &byte, 1, 0) == 1);
    }
    CHECK(eventually([&] { return open_descriptors() == before; }));
    CHECK(result("add", "{\"a\": 1}") == 2);
  }

  TEST_CASE("a connection is taken over, and spoken whatever") {
    Home home;
    home.kitten.api("upgrade", [](kt::Request& request) {
      std::string early;
      const kt::Socket socket = request.take_connection(&early);
      kt::detail::write_all(socket.get(), "raw:" + early);
    });
    home.kitten.api("later", [](kt::Request& request) -> kt::Task<int> {
      const kt::Socket socket = request.take_connection();
      co_await kt::sleep_for(1ms);
      kt::detail::write_all(socket.get(), "later");
      CHECK_THROWS_AS(request.take_connection(), kt::Error);
      co_return 5;
    });
    home.start();
    const int before = open_descriptors();
    CHECK(Wire::tcp(home.kitten).send(home.get(home.path("upgrade")) + "EARLY").rest() == "raw:EARLY");
    CHECK(Wire::local(home.kitten).send(home.get(home.path("later"))).rest() == "later");
    CHECK(eventually([&] { return open_descriptors() == before; }));
  }

  TEST_CASE("whole answers are sent as they are") {
    Home home;
    home.kitten.api("teapot", [] { return kt::RawReply{"HTTP/1.1 418 I'm a teapot\r\nContent-Length: 0\r\n\r\n"}; });
    home.kitten.api("parts", []() -> kt::Generator<kt::RawReply> {
      kt::RawReply part{"HTTP/1.1 200 OK\r\n\r\n"};
      co_yield part;
      part.bytes = "body";
      co_yield part;
    });
    home.start();
    CHECK(Wire::tcp(home.kitten).send(home.get(home.path("teapot"))).rest() ==
          "HTTP/1.1 418 I'm a teapot\r\nContent-Length: 0\r\n\r\n");
    CHECK(Wire::tcp(home.kitten).send(home.get(home.path("parts"))).rest() == "HTTP/1.1 200 OK\r\n\r\nbody");
  }

  TEST_CASE("of a whole answer, HEAD has the head (21)") {
    Home home;
    std::string answer;
    home.kitten.api("raw", [&] { return kt::RawReply{answer}; });
    home.start();
    for (const std::string head :
         {"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", "HTTP/1.1 200 OK\nContent-Length: 4\n\n"}) {
      for (const std::string body : {"body", "", "\r\n\r\n"}) {
        answer = head + body;
        CHECK(Wire::tcp(home.kitten).send("HEAD " + home.path("raw") + " HTTP/1.1\r\n\r\n").rest() == head);
      }
    }
    answer = "no head at all";
    CHECK(Wire::tcp(home.kitten).send("HEAD " + home.path("raw") + " HTTP/1.1\r\n\r\n").rest() == answer);
  }

  TEST_CASE("a connection that was accepted elsewhere is served as any other") {
    Home home;
    home.kitten.api(
        "serve", [&](kt::Socket socket) { home.kitten.serve_connection(std::move(socket)); }, kt::arg("socket"));
    home.kitten.public_api("meow", [] { return kt::text("Meow"); });
    home.start();
    SocketPair pair;
    Wire wire = Wire::local(home.kitten);
    send_with(wire, home.post(home.path("serve"), R"({"_args": ["_SO_BRE_MAGIC_-1-1-0"]})"), {pair.there.get()});
    CHECK(wire.answer().status == 200);
    pair.there.reset();
    CHECK(kt::detail::write_all(pair.here.get(), "GET /meow HTTP/1.0\r\n\r\n"));
    CHECK(pair.rest().ends_with("\r\n\r\nMeow"));
    const kt::File file = kt::File::open("/dev/null");
    send_with(wire, home.post(home.path("serve"), R"({"_args": ["_SO_BRE_MAGIC_-1-1-0"]})"), {file.get()});
    CHECK(wire.answer().status == 400);
  }

  TEST_CASE("what is no connected stream socket is not served") {
    Home home;
    home.kitten.limits().connections = 1;
    home.kitten.public_api("meow", [] { return kt::text("Meow"); });
    Happening napping;
    home.kitten.api("nap", [&]() -> kt::Task<> {
      napping.happen();
      co_await kt::sleep_for(24h);
    });
    const auto serve = [&](kt::Fd fd) { home.kitten.serve_connection(kt::Socket(std::move(fd))); };
    const auto status = [&](kt::Fd fd) {
      try {
        serve(std::move(fd));
      } catch (const kt::Error& error) {
        return error.status();
      }
      return 0;
    };
    SocketPair served, refused;
    CHECK(status(served.there.duplicate()) == 503);  // the service does not run
    home.kitten.start();
    const int before = open_descriptors();
    const auto new_socket = [](int family, int type) { return kt::Fd(::socket(family, type | SOCK_CLOEXEC, 0)); };
    CHECK_THROWS_AS(serve(new_socket(AF_UNIX, SOCK_STREAM)), kt::InvalidArgument);
    CHECK_THROWS_AS(serve(new_socket(AF_INET, SOCK_STREAM)), kt::InvalidArgument);
    CHECK_THROWS_AS(serve(new_socket(AF_UNIX, SOCK_DGRAM)), kt::InvalidArgument);
    kt::Fd listening = new_socket(AF_INET, SOCK_STREAM);
    REQUIRE(::listen(listening.get(), 1) == 0);
    CHECK_THROWS_AS(serve(std::move(listening)), kt::InvalidArgument);
    int datagrams[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, datagrams) == 0);
    const kt::Fd other(datagrams[1]);
    CHECK_THROWS_AS(serve(kt::Fd(datagrams[0])), kt::InvalidArgument);
    CHECK_THROWS_AS(home.kitten.serve_connection(kt::Socket()), kt::InvalidArgument);
    CHECK(open_descriptors() == before + 1);  // they are closed, but for the other end

    const auto flags = [](const kt::Fd& fd) { return ::fcntl(fd.get(), F_GETFL) & O_NONBLOCK; };
    CHECK(flags(served.there) == 0);
    serve(served.there.duplicate());
    CHECK(flags(served.there) != 0);
    CHECK(kt::detail::write_all(served.here.get(), home.get("/meow") + home.get(home.path("nap"))));
    CHECK(eventually([&] {
      home.kitten.poll();
      return napping.count() == 1;
    }));
    CHECK(status(refused.there.duplicate()) == 503);  // there are too many
    home.kitten.limits().drain_timeout = 20ms;
    home.kitten.stop();
    served.there.reset();
    CHECK(served.rest().ends_with("\r\n\r\nMeow"));
    refused.there.reset();
    CHECK(refused.rest().empty());
  }

  TEST_CASE("a connection that is taken does not block, unless its sender has it otherwise") {
    Home home;
    std::atomic<int> flags = -1;
    home.kitten.api("take", [&](kt::Request& request) {
      const kt::Socket socket = request.take_connection();
      flags = ::fcntl(socket.get(), F_GETFL) & O_NONBLOCK;
      kt::detail::write_all(socket.get(), "taken");
    });
    home.start();
    CHECK(Wire::tcp(home.kitten).send(home.get(home.path("take"))).rest() == "taken");
    CHECK(flags == O_NONBLOCK);
    CHECK(Wire::local(home.kitten).send(home.get(home.path("take"))).rest() == "taken");
    CHECK(flags == O_NONBLOCK);
    for (const int sender : {0, O_NONBLOCK}) {
      CAPTURE(sender);
      SocketPair pair;
      REQUIRE(::fcntl(pair.there.get(), F_SETFL, sender) == 0);
      Wire wire = Wire::local(home.kitten);
      send_with(wire, home.post(home.path("take"), R"({"reply_to_first_fd": 0, "_args": ["_SO_BRE_MAGIC_-1-1-0"]})"),
                {pair.there.get()});
      CHECK(wire.answer().status == 202);
      CHECK(wire.closed());
      pair.there.reset();
      CHECK(pair.rest() == "taken");
      CHECK(flags == sender);
    }
  }

  TEST_CASE("a connection is not taken once its answer has begun") {
    Home home;
    home.kitten.api("stream", [](kt::Request& request) -> kt::Generator<int> {
      co_yield 1;
      request.take_connection();
      co_yield 2;
    });
    home.start();
    Wire wire = Wire::tcp(home.kitten);
    wire.send(home.get(home.path("stream")));
    const Answer answer = wire.answer();
    CHECK(answer.status == 200);
    CHECK(json(answer.chunks) == json{"1\n", "{\"error\":\"the answer has begun\"}\n"});
    CHECK_FALSE(answer.end_mark);
    CHECK(wire.closed());
  }
}
