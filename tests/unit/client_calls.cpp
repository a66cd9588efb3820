// SPDX-License-Identifier: MIT
#include "client/connect.ipp"
#include "os/socket.ipp"
#include "services.hpp"
#include "support.hpp"

namespace {

/// A service that accepts nothing, and has no room for more who want to be.
struct Backlog {
  Backlog() {
    write_file(dir / "worker.url", "http://unix-domain:0/TOKEN");
    const auto address = kt::detail::unix_address(dir / "worker.sock");
    do waiting.push_back(kt::detail::open_stream_socket(AF_UNIX));
    while (::connect(waiting.back().get(), address->get(), address->size) == 0);
  }
  kt::Client client(std::chrono::milliseconds connect) const {
    kt::ClientOptions options;
    options.timeouts.connect = connect;
    kt::Settings settings;
    settings.app_state_dir = dir.path();
    return kt::detail::ClientAccess::make(settings, options);
  }

  TempDir dir;
  const kt::Fd listener = kt::detail::listen_unix(dir / "worker.sock", 0);
  std::vector<kt::Fd> waiting;
};

}  // namespace

TEST_SUITE("client") {
  TEST_CASE("a url file leads to a service, and nothing else is taken for one") {
    const auto address = kt::detail::parse_service_url("http://127.0.0.1:45441/some/prefix/TOKEN\n");
    REQUIRE(address);
    CHECK(address->host == "127.0.0.1");
    CHECK(address->port == 45441);
    CHECK(address->path == "/some/prefix/TOKEN");
    CHECK(kt::detail::parse_service_url("http://[::1]:80/T")->host == "[::1]");
    for (const char* bad : {"", "x", "http://", "http://host", "http://host/T", "http://host:x/T",
                            "http://host:99999/T", "https://host:1/T", "http://host:1"}) {
      CAPTURE(bad);
      CHECK_FALSE(kt::detail::parse_service_url(bad));
    }
  }

  TEST_CASE("calls come back as values, documents, items and exceptions") {
    Home home;
    Calculator calculator{2};
    register_everything(home.kitten, calculator);
    home.kitten.api("document", [] { return kt::Result{"image/gif", "GIF\xff"}; });
    home.start();
    for (const bool local : {true, false}) {
      for (const bool msgpack : {true, false}) {
        const kt::Client client = client_of(home, {.use_unix_socket = local, .use_msgpack = msgpack});
        CHECK(client.call("add", kt::arg("a") = 1) == 2);
        CHECK(client.call("document") == json{{"mimetype", "image/gif"}, {"data", kt::bytes("GIF\xff")}});
        CHECK(client.call<kt::Result>("document").mime_type == "image/gif");
        CHECK(client.call<kt::Result>("document").data == "GIF\xff");
        CHECK(client.call<kt::Bytes>("document").size() == 4);
        CHECK(client.call("echo", kt::Bytes{0xff}) == kt::bytes("\xff"));
        CHECK(client.call("echo", kt::arg("value") = kt::Bytes{0xff}) == kt::bytes("\xff"));
        int count = 0;
        for (const json& item : client.stream("stream", 3)) {
          CHECK(item == long_text);
          ++count;
        }
        CHECK(count == 3);
        CHECK_THROWS_AS(client.call("add", "x"), kt::InvalidArgument);
        CHECK_THROWS_AS(client.call("unknown"), kt::NotFound);
        CHECK_THROWS_AS(client.call("fail", "denied"), kt::PermissionDenied);
        CHECK_THROWS_WITH_AS(client.call("fail"), "secret /path/inside", kt::Error);
        try {
          client.call("fail", "need");
          FAIL("no exception");
        } catch (const kt::NeedInfo& need) {
          REQUIRE(need.needed().size() == 1);
          CHECK(need.needed()[0].comment == "Login");
          CHECK(std::string(need.what()) == "who are you?");
        }
        for (const char* name : {"a b", "a/b", "a?b", "a\r\nX: y", ""}) CHECK_THROWS_AS(client.call(name), kt::Error);
      }
    }
  }

  TEST_CASE("results become what was asked for, or say why they cannot") {
    TempDir dir;
    Counter service(dir.path());
    service.start_thread();
    const kt::Client client = service.connect();
    CHECK(client.call<int>("add", 1, 2) == 3);
    CHECK(client.call<double>("add", 1, 2) == 3.0);
    CHECK(client.call<std::optional<int>>("nothing") == std::nullopt);
    client.call<void>("add", 1, 2);
    CHECK(client.call<std::string>("page") == "<p>");
    CHECK(client.call<kt::Result>("add", 1, 2).data == "3");
    CHECK(client.call<Spot>("scale", Spot{1, 2}).y == 4);
    CHECK(client.call<Spot>("scale", json{{"x", 1}, {"y", 2}}, kt::arg("factor") = 3).y == 6);
    CHECK(failure([&] { client.call<std::string>("add", 1, 2); }) == "add: unexpected result: expected str, got 3");
    CHECK_THROWS_AS(client.call<Spot>("add", 1, 2), kt::ResultError);
    // It is no fault of the connection, so that loops which try again after one of those end.
    CHECK_FALSE(std::is_base_of_v<kt::ConnectionError, kt::ResultError>);
    CHECK_THROWS_AS(static_cast<void>(client.stream<Spot>("count", 1).next()), kt::ResultError);
    CHECK_THROWS_AS(client.call("add", kt::arg("a")), std::invalid_argument);
    // After all that, the connection is still the same and in order.
    CHECK(client.call<int>("add", 2, 2) == 4);
  }

  TEST_CASE("whoever calls a method that is not there hears its name, and the one that may have been meant") {
    Home home;
    home.kitten.api("purr", [] { return 1; });
    home.kitten.api("lose", []() -> int { throw kt::NotFound("lost"); });
    home.start();
    kt::ClientOptions tcp_and_json{.use_unix_socket = false, .use_msgpack = false};
    std::vector<kt::Client> clients;
    clients.push_back(client_of(home));
    clients.push_back(client_of(home, tcp_and_json));
    clients.push_back(home.kitten.loopback());
    for (kt::Client& client : clients) {
      try {
        client.call("prr");
        FAIL("it was called");
      } catch (const kt::UnknownMethod& error) {
        CHECK(error.status() == 404);
        CHECK(error.method() == "prr");
        CHECK(contains(error.what(), "no method 'prr' (did you mean 'purr'?)"));
      }
      CHECK_THROWS_AS(client.call("prr"), kt::NotFound);
      CHECK_THROWS_AS(static_cast<void>(client.stream("prr").next()), kt::UnknownMethod);
      // What a method has not found is something else.
      CHECK(failure([&] { client.call("lose"); }).ends_with("lost"));
      try {
        client.call("lose");
      } catch (const kt::UnknownMethod&) {
        FAIL("there is that method");
      } catch (const kt::NotFound&) {
      }
    }
    // Only who knows the name already hears it, and strangers hear nothing of that.
    CHECK(Wire::tcp(home.kitten).send(home.get(home.path("prr"))).answer().body ==
          "{\"error\":\"no such method (did you mean 'purr'?)\",\"unknown_method\":true}\n");
    CHECK(Wire::tcp(home.kitten).send(home.get("/prr")).answer().status == 403);
  }

  TEST_CASE("methods are called by their functions, with the types of these") {
    TempDir dir;
    Counter service(dir.path());
    service.start_thread();
    const kt::Client client = service.connect();
    static_assert(std::is_same_v<decltype(client.call(&Counter::add, 1, 2)), int>);
    static_assert(std::is_same_v<decltype(client.call(&Counter::nothing)), void>);
    static_assert(std::is_same_v<decltype(client.call(&Counter::later, "x")), std::string>);
    static_assert(std::is_same_v<decltype(client.stream(&Counter::count, 1, "x")), kt::Stream<std::string>>);
    static_assert(std::is_same_v<decltype(client.call(&Counter::count, 1, "x")), kt::Stream<std::string>>);
    static_assert(std::is_same_v<decltype(client.async_call(&Counter::later, "x")), kt::Task<std::string>>);
    static_assert(!kt::detail::fits_parameter<int, double>() && !kt::detail::fits_parameter<int, bool>());
    static_assert(!kt::detail::fits_parameter<bool, const char*>() && !kt::detail::fits_parameter<bool, int>());
    static_assert(!kt::detail::fits_parameter<std::string, int>() && !kt::detail::fits_parameter<int, const char*>());
    static_assert(!kt::detail::fits_parameter<std::string, std::nullptr_t>());
    static_assert(kt::detail::fits_parameter<double, int>() && kt::detail::fits_parameter<long, short>());
    static_assert(kt::detail::fits_parameter<std::optional<int>, std::nullptr_t>());
    static_assert(kt::detail::fits_parameter<std::optional<std::string>, const char(&)[2]>());
    CHECK(client.call(&Counter::add, 1, 2) == 3);
    CHECK(client.call(&Counter::add, 1, kt::arg("b") = 3) == 4);
    CHECK(client.call(&Counter::scale, Spot{1, 2}, 2, nullptr).y == 4);
    CHECK_THROWS_AS(client.call(&Counter::scale, Spot{}, 2.5f, "no"), kt::InvalidArgument);
    CHECK(client.call(&Counter::later, "x"s) == "x!");
    CHECK(client.call(&Counter::page).data == "<p>");
    CHECK(client.call(plain_twice, 21) == 42);
    client.call(&Counter::nothing);
    std::string all;
    for (const std::string& item : client.stream(&Counter::count, 3, "n")) all += item;
    CHECK(all == "n0n1n2");
    CHECK(contains(failure([&] { client.call(&Counter::unknown, 1); }), "add it with api()"));
    const kt::Client other = kt::Client::connect("counter", "Kitty", {.state_directory = dir.path()});
    CHECK(contains(failure([&] { other.call(&Counter::add, 1, 2); }), "call by name"));
    CHECK_THROWS_AS(other.call(&Counter::add, 1, 2), std::invalid_argument);
  }

  TEST_CASE("a stream that is dropped ends at the service, whichever way it was read") {
    Home home;
    Happening began, ended;
    struct Ending {
      Happening& happening;
      ~Ending() { happening.happen(); }
    };
    home.kitten.api("forever", [&]() -> kt::Generator<int> {
      const Ending ending{ended};
      began.happen();
      for (int i = 0;; ++i) {
        co_yield i;
        co_await kt::sleep_for(1ms);
      }
    });
    home.start();
    const kt::Client client = client_of(home);
    {
      auto items = client.stream<int>("forever");
      CHECK(items.next() == 0);
      CHECK(items.next() == 1);
    }
    CHECK(ended.happened(1));
    for (const int item : client.stream<int>("forever")) {
      if (item == 3) break;
    }
    CHECK(ended.happened(2));
    asio::io_context loop;
    asio::co_spawn(
        loop,
        [](kt::Client kitty) -> kt::Task<> {
          auto items = kitty.async_stream<int>("forever");
          for (int i = 0; i < 3; ++i) co_await items.next();
        }(client),
        asio::detached);
    loop.run();
    CHECK(ended.happened(3));
    // The frame goes while it waits.
    {
      asio::io_context abandoned;
      asio::co_spawn(
          abandoned,
          [](kt::Client kitty) -> kt::Task<> {
            auto items = kitty.async_stream<int>("forever");
            while (co_await items.next()) {
            }
          }(client),
          asio::detached);
      while (began.count() < 4) abandoned.run_one_for(10ms);
    }
    CHECK(ended.happened(4));
  }

  TEST_CASE("a call of a stream takes its first item, and the generator ends") {
    Home home;
    Happening ended;
    home.kitten.api("forever", [&]() -> kt::Generator<int> {
      const Counted counted(&ended);
      for (int i = 7;; ++i) co_yield i;
    });
    home.kitten.api("none", []() -> kt::Generator<int> { co_return; });
    int calls = 0;
    const auto check = [&](const kt::Client& client) {
      CHECK(client.call<int>("forever") == 7);
      CHECK(ended.happened(++calls));
      asio::io_context loop;
      auto result = asio::co_spawn(loop, client.async_call<int>("forever"), asio::use_future);
      loop.run();
      CHECK(result.get() == 7);
      CHECK(ended.happened(++calls));
      CHECK(client.call("none") == nullptr);
    };
    const kt::Client loopback = home.kitten.loopback();
    check(loopback);  // of a service that does not run
    home.start();
    check(loopback);
    for (const bool local : {true, false}) {
      for (const bool msgpack : {true, false})
        check(client_of(home, {.use_unix_socket = local, .use_msgpack = msgpack}));
    }
  }

  TEST_CASE("all iterators of a stream are at the same item") {
    Home home;
    home.kitten.api("count", []() -> kt::Generator<int> {
      for (int i = 0; i < 4; ++i) co_yield i;
    });
    home.start();
    auto items = client_of(home).stream<int>("count");
    auto first = items.begin();
    CHECK(*first == 0);
    auto copy = first;
    ++copy;
    CHECK(*copy == 1);
    CHECK(*first == 1);
    const auto second = items.begin();  // which waits for an item, too
    CHECK(*second == 2);
    CHECK(*first == 2);
    first++;
    CHECK(*second == 3);
    ++copy;
    CHECK(first == items.end());
    CHECK(second == items.end());
    CHECK(copy == items.end());
  }

  TEST_CASE("an error in the middle of a stream is thrown, an item that only looks like one is not") {
    Home home;
    home.kitten.api("breaks", []() -> kt::Generator<json> {
      co_yield json(1);
      throw kt::Error(500, "worn out");
    });
    home.kitten.api("talks", []() -> kt::Generator<json> {
      json item = json::object();
      item["error"] = "not really";
      co_yield json(1);
      co_yield item;
      co_yield item;
      co_yield json(2);
      co_yield item;
    });
    home.start();
    const kt::Client client = client_of(home);
    auto items = client.stream("breaks");
    CHECK(items.next() == 1);
    CHECK(failure([&] { items.next(); }) == "worn out");
    CHECK_FALSE(items.next());
    json all = json::array();
    for (const json& item : client.stream("talks")) all.push_back(item);
    const json error{{"error", "not really"}};
    CHECK(all == json::array({1, error, error, 2, error}));
  }

  TEST_CASE("after an exception a stream yields nothing more, and its call has ended") {
    Home home;
    Happening ended;
    home.kitten.api("mixed", [&]() -> kt::Generator<json> {
      const Counted counted(&ended);
      co_yield json(nullptr);
      for (int i = 4;; ++i) co_yield json(i);
    });
    home.kitten.api("breaks", []() -> kt::Generator<int> {
      co_yield 1;
      throw kt::NotFound("worn out");
    });
    home.start();
    kt::ClientOptions over_tcp{.use_unix_socket = false};
    std::vector<kt::Client> clients{client_of(home), client_of(home, over_tcp), home.kitten.loopback()};
    int streams = 0;
    for (const kt::Client& client : clients) {
      auto numbers = client.stream<int>("mixed");
      CHECK_THROWS_AS(static_cast<void>(numbers.next()), kt::ResultError);
      CHECK(ended.happened(++streams));  // though the stream is still there
      CHECK(numbers.next() == std::nullopt);
      CHECK(numbers.begin() == numbers.end());

      auto spots = client.stream<Spot>("mixed");
      CHECK_THROWS_AS(static_cast<void>(spots.begin()), kt::ResultError);
      CHECK(spots.begin() == spots.end());
      CHECK(ended.happened(++streams));

      auto broken = client.stream<int>("breaks");
      auto at = broken.begin();
      CHECK(*at == 1);
      CHECK_THROWS_AS(++at, kt::NotFound);
      CHECK(at == broken.end());
      CHECK(broken.next() == std::nullopt);

      asio::io_context loop;
      std::string outcome;
      asio::co_spawn(
          loop,
          [&]() -> kt::Task<> {
            auto items = client.async_stream<int>("mixed");
            try {
              co_await items.next();
            } catch (const kt::ResultError&) {
              outcome = "thrown, ";
            }
            outcome += ended.happened(++streams) ? "ended, " : "";
            outcome += co_await items.next() ? "an item" : "nothing";
          },
          asio::detached);
      loop.run();
      CHECK(outcome == "thrown, ended, nothing");
    }
  }

  TEST_CASE("descriptors that are not there are named before anything is sent") {
    TempDir dir;
    struct Keeper : Counter {
      using Counter::Counter;
      void keep(kt::File file, std::vector<kt::Fd> more) { kept += static_cast<int>(more.size()) + (file ? 1 : 0); }
      int kept = 0;
    };
    Keeper service(dir.path());
    service.api("keep", service, &Keeper::keep, "", kt::arg("file"), kt::arg("more") = json::array());
    service.start_thread();
    const auto open = [&] { return file_with(dir / "f", "text"); };
    std::vector<kt::Client> clients{service.connect(), service.loopback()};
    for (const kt::Client& client : clients) {
      service.kept = 0;
      const auto refused = [&](const auto& call) {
        try {
          call();
        } catch (const kt::InvalidArgument& error) {
          return std::string(error.what());
        }
        return "not refused"s;
      };
      CHECK(refused([&] { client.call("keep", kt::File()); }) == "keep: argument 1 is not open: given away already?");
      CHECK(refused([&] {
              kt::File file = open();
              client.call("keep", std::move(file));
              client.call("keep", std::move(file));
            }) == "keep: argument 1 is not open: given away already?");
      CHECK(service.kept == 1);
      CHECK(refused([&] {
              std::vector<kt::Fd> several;
              several.push_back(open());
              several.emplace_back();
              client.call("keep", open(), std::move(several));
            }) == "keep: argument 2 is not open: given away already?");
      CHECK(refused([&] { client.call("keep", kt::arg("file") = kt::File()); }) ==
            "argument 'file' is not open: given away already?");
      CHECK(refused([&] {
              const kt::Arg file = kt::arg("file") = open();
              client.call("keep", file);
              client.call("keep", file);
            }) == "keep: argument 'file' is not open: given away already?");
      CHECK(service.kept == 2);
      CHECK(refused([&] { client.call("keep", kt::reply_to(kt::Fd())); }) ==
            "keep: the target of kt::reply_to() is not open: given away already?");
      CHECK(refused([&] { client.call("keep", kt::Socket()); }) == "keep: argument 1 is not open: given away already?");
      CHECK(refused([&] { client.call(&Keeper::keep, kt::File(), std::vector<kt::Fd>()); }) ==
            "keep: argument 'file' is not open: given away already?");
      CHECK(refused([&] { static_cast<void>(client.stream("keep", kt::Fd())); }) ==
            "keep: argument 1 is not open: given away already?");
      CHECK(service.kept == 2);
      client.call("keep", open(), std::vector<kt::Fd>());
      CHECK(service.kept == 3);
    }
  }

  TEST_CASE("a service that is not there is not running, one that left its files behind neither") {
    TempDir dir;
    const auto connect = [&] { return kt::Client::connect("app", "worker", {.state_directory = dir.path()}); };
    CHECK_THROWS_AS(connect(), kt::NotRunning);
    write_file(dir / "worker.url", "");
    CHECK_THROWS_AS(connect(), kt::NotRunning);
    write_file(dir / "worker.url", "garbage");
    CHECK(contains(failure(connect), "not the url file"));
    CHECK_THROWS_AS(connect(), kt::NotRunning);
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    REQUIRE(::bind(socket, reinterpret_cast<sockaddr*>(&address), size) == 0);  // bound but not listening: refused
    REQUIRE(::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    write_file(dir / "worker.url", "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port)) + "/TOKEN");
    CHECK_THROWS_AS(connect(), kt::NotRunning);
    ::close(socket);
    CHECK_THROWS_AS(kt::Client::connect("../x"), kt::InvalidArgument);
    CHECK_THROWS_AS(kt::Client::connect("app", "a/b"), kt::InvalidArgument);
  }

  TEST_CASE("whoever answers without knowing us is not the service") {
    Home home;
    home.start();
    write_file(home.state / "Kitty.url", home.kitten.url() + "/WRONGTOKEN");
    CHECK_THROWS_AS(client_of(home), kt::NotRunning);  // that is not what the service has written
    Scripted refusing([](Scripted::Talk& talk) {
      talk.request();
      talk.say("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    });
    const std::string state = refusing.dir.path();
    CHECK(contains(failure([&] { kt::Client::connect("app", "worker", {.state_directory = state}); }), "403"));
    Scripted other([](Scripted::Talk& talk) {
      talk.request();
      talk.answer("[1]");
    });
    CHECK_THROWS_AS(kt::Client::connect("app", "worker", {.state_directory = other.dir.path()}), kt::NotRunning);
  }

  TEST_CASE("connections are kept, for services that say how long their answers are") {
    Scripted service([](Scripted::Talk& talk) {
      std::string seen;
      while (!(seen = talk.request()).empty())
        talk.answer(json(seen).dump(-1, ' ', true, json::error_handler_t::replace));
    });
    const kt::Client client = service.client();
    const std::string first = client.call<std::string>("ping");
    CHECK(first.starts_with("POST /TOKEN/ping HTTP/1.1\nConnection: close\nContent-Type: application/x-msgpack\n"));
    for (int i = 0; i < 10; ++i) {
      const std::string later = client.call<std::string>("ping", i);
      CHECK(later.starts_with("POST /TOKEN/ping HTTP/1.1\r\nHost: localhost\r\nContent-Type: "));
      CHECK_FALSE(contains(later, "Connection"));
    }
    // Whether the service closed after the first answer, as it was told to, is its business.
    CHECK(service.connections() <= 2);
  }

  TEST_CASE("a connection that has ended, or has something to say, is not used again (140)") {
    for (const bool talkative : {true, false}) {
      CAPTURE(talkative);
      Happening over;
      Scripted service([&](Scripted::Talk& talk) {
        talk.request();
        talk.answer("1");
        if (talkative) {
          talk.answer("99");
        } else {
          ::shutdown(talk.fd(), SHUT_RDWR);
        }
        over.happen();
        talk.request();
      });
      const kt::Client client = service.client();
      for (int i = 1; i <= 4; ++i) {
        CHECK(client.call<int>("x") == 1);
        CHECK(over.happened(i));
      }
      CHECK(service.connections() == 4);
    }
  }

  TEST_CASE("a call is sent again if its kept connection was closed before a byte of it had left (141)") {
    // Half closed so that it looks like an open one, and nothing can be sent.
    Happening deaf, close;
    TempDir files;
    Scripted service([&](Scripted::Talk& talk) {
      if (talk.number == 3) {  // the descriptor has to come again, too
        char block[4096];
        kt::detail::ReceivedDescriptors came;
        pollfd arrived{talk.fd(), POLLIN, 0};
        CHECK(::poll(&arrived, 1, 30'000) == 1);
        CHECK(kt::detail::receive_with_descriptors(talk.fd(), block, sizeof block, 16, came) > 0);
        talk.answer(std::to_string(came.owned.size()));
        return;
      }
      talk.request(), talk.answer("1");
      if (talk.number == 0) return;  // its request asked for that
      if (talk.number == 2) talk.request(), talk.answer("1");
      ::shutdown(talk.fd(), SHUT_RD);
      deaf.happen();
      CHECK(close.happened(deaf.count()));
    });
    const kt::Client client = service.client();
    CHECK(client.call("x") == 1);  // which dialect?
    for (const bool with_descriptor : {false, true}) {
      CHECK(client.call("x") == 1);
      CHECK(deaf.happened(with_descriptor ? 2 : 1));
      std::thread closer([&] {
        std::this_thread::sleep_for(20ms);  // what comes first does not matter
        close.happen();
      });
      const json result =
          with_descriptor ? client.call("x", file_with(files / "f", "text")) : client.call("x", kt::arg("n") = 1);
      CHECK(result == 1);
      closer.join();
    }
    CHECK(service.connections() == 4);
  }

  TEST_CASE("a call of which a byte has left is never sent again, even if it may not have been read (141)") {
    for (const bool reads : {false, true}) {
      CAPTURE(reads);
      std::atomic<int> requests = 0;
      Scripted service([&](Scripted::Talk& talk) {
        if (!talk.request().empty()) ++requests;
        talk.answer("1");
        if (talk.number == 0) return;
        // Unread bytes make a close() of a unix socket a reset.
        pollfd entry{talk.fd(), POLLIN, 0};
        ::poll(&entry, 1, 10'000);
        char block[4096];
        if (reads && ::recv(talk.fd(), block, sizeof block, MSG_PEEK) > 0) ++requests;
        talk.abrupt = true;
      });
      const kt::Client client = service.client();
      CHECK(client.call("x") == 1);
      CHECK(client.call("x") == 1);
      CHECK_THROWS_AS(client.call("x"), kt::ConnectionError);
      CHECK(service.connections() == 2);
      CHECK(requests == (reads ? 3 : 2));
    }
  }

  TEST_CASE("a service that reads a request and resets its TCP connection gets that request once (141)") {
    TempDir dir;
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const kt::Fd owner(listener);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    REQUIRE(::bind(listener, reinterpret_cast<sockaddr*>(&address), size) == 0);
    REQUIRE(::listen(listener, 8) == 0);
    REQUIRE(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    write_file(dir / "worker.url", "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port)) + "/TOKEN");
    std::atomic<int> requests = 0;
    std::thread service([&] {
      for (int number = 0; number < 2; ++number) {
        const kt::Fd connection(::accept(listener, nullptr, nullptr));
        Scripted::Talk talk(connection.get(), number);
        for (int i = 0; i <= number; ++i) {
          if (!talk.request().empty()) ++requests;
          if (i == 0) talk.answer("1");
        }
        const linger reset{1, 0};
        if (number == 1) ::setsockopt(connection.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
      }
      // Were it called again, it would be here.
      pollfd entry{listener, POLLIN, 0};
      if (::poll(&entry, 1, 100) == 1) ++requests;
    });
    kt::Settings settings;
    settings.app_state_dir = dir.path();
    const kt::Client client = kt::detail::ClientAccess::make(settings, kt::ClientOptions{});
    CHECK(client.call("x") == 1);
    CHECK(client.call("x") == 1);
    CHECK_THROWS_AS(client.call("x"), kt::ConnectionError);
    service.join();
    CHECK(requests == 3);
  }

  TEST_CASE("a request that a kept connection swallowed is not repeated (141)") {
    Scripted service([&](Scripted::Talk& talk) {
      talk.request();
      talk.answer("1");
      talk.request();  // in vain on the first connection: its request asked the service to close it
    });
    const kt::Client client = service.client();
    CHECK(client.call("x") == 1);
    CHECK(client.call("x") == 1);
    CHECK(contains(failure([&] { client.call("x"); }), "closed the connection without an answer"));
    CHECK(service.connections() == 2);
  }

  TEST_CASE("a service that was restarted is found again, with its new token") {
    Home home;
    home.kitten.api("one", [] { return 1; });
    home.start();
    const kt::Client client = client_of(home);
    for (int i = 0; i < 3; ++i) {
      const std::string token = home.kitten.token();
      CHECK(client.call("one") == 1);
      home.kitten.stop();
      CHECK_THROWS_AS(client.call("one"), kt::NotRunning);
      home.kitten.start_thread();
      CHECK(home.kitten.token() != token);
      CHECK(client.call("one") == 1);
    }
  }

  TEST_CASE("each timeout is named when it runs out, and the next call is not disturbed (139)") {
    Happening over;
    Scripted service([&](Scripted::Talk& talk) {
      const std::string request = talk.request();
      const auto wait = [&] { static_cast<void>(over.happened()); };
      if (contains(request, "/silent")) wait();
      if (contains(request, "/halfhead")) talk.say("HTTP/1.1 200 OK\r\nX: "), wait();
      if (contains(request, "/half ")) talk.say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1234"), wait();
      if (contains(request, "/slow")) {
        talk.say("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
        while (over.count() == 0) {
          talk.say("x");
          std::this_thread::sleep_for(1ms);
        }
      }
      if (contains(request, "/items")) {
        talk.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n1\r\n1\r\n");
        wait();
      }
      if (contains(request, "/fine")) talk.answer("1");
    });
    // Only the one that is meant can run out: a loaded machine may pause anywhere, for longer than the others last.
    const auto with = [&](std::chrono::milliseconds kt::Timeouts::*limit, std::chrono::milliseconds value) {
      kt::Timeouts all;
      all.connect = all.first_byte = all.idle = all.stream_idle = all.total = 10min;
      all.*limit = value;
      return service.client(all);
    };
    const kt::Client first_byte = with(&kt::Timeouts::first_byte, 40ms);
    const kt::Client idle = with(&kt::Timeouts::idle, 40ms);
    const kt::Client total = with(&kt::Timeouts::total, 150ms);
    const kt::Client stream_idle = with(&kt::Timeouts::stream_idle, 40ms);
    CHECK(contains(failure([&] { first_byte.call("silent"); }), "timeout 'first_byte'"));
    CHECK(contains(failure([&] { first_byte.call("halfhead"); }), "timeout 'first_byte'"));
    CHECK(contains(failure([&] { idle.call("half"); }), "timeout 'idle'"));
    CHECK(contains(failure([&] { total.call("slow"); }), "timeout 'total'"));
    auto items = stream_idle.stream("items");
    CHECK(items.next() == 1);
    CHECK(contains(failure([&] { items.next(); }), "timeout 'stream_idle'"));
    CHECK_FALSE(items.next());
    CHECK(stream_idle.call("fine") == 1);
    // The same for coroutines.
    for (const auto& [client, method, name] :
         {std::tuple{&first_byte, "silent", "'first_byte'"}, {&idle, "half", "'idle'"}, {&total, "slow", "'total'"}}) {
      asio::io_context loop;
      auto result = asio::co_spawn(loop, client->async_call(method), asio::use_future);
      loop.run();
      CHECK(contains(failure([&] { result.get(); }), name));
    }
    over.happen();
  }

  TEST_CASE("an answer that comes in the same turn of the loop as its deadline has come in time (69)") {
    bool soon_enough = false;
    for (auto limit = 50ms; !soon_enough; limit *= 2) {
      Happening asked, answered;
      Scripted service([&](Scripted::Talk& talk) {
        while (!talk.request().empty()) {
          CHECK(asked.happened());
          talk.answer("7");
          answered.happen();
        }
      });
      const auto begin = std::chrono::steady_clock::now();
      const kt::Client client = service.client({.total = limit});
      asio::io_context loop;
      auto result = asio::co_spawn(loop, client.async_call<int>("x"), asio::use_future);
      loop.poll();
      soon_enough = std::chrono::steady_clock::now() - begin < limit;
      asked.happen();
      if (!soon_enough) continue;
      CHECK(answered.happened());
      std::this_thread::sleep_until(begin + 3 * limit);
      loop.restart();
      loop.run();
      CHECK(result.get() == 7);
    }
  }

  TEST_CASE("a backlog that stays full is a timeout, and waiting for it blocks no loop") {
    Backlog backlog;
    const kt::Client client = backlog.client(50ms);
    CHECK(contains(failure([&] { client.call("x"); }), "timeout 'connect'"));
    asio::io_context loop;
    auto first = asio::co_spawn(loop, client.async_call("x"), asio::use_future);
    auto second = asio::co_spawn(loop, client.async_call("x"), asio::use_future);
    const auto begin = std::chrono::steady_clock::now();
    loop.run();
    CHECK(std::chrono::steady_clock::now() - begin < 10s);
    CHECK(contains(failure([&] { first.get(); }), "timeout 'connect'"));
    CHECK(contains(failure([&] { second.get(); }), "timeout 'connect'"));
  }

  TEST_CASE("without a timeout a client waits until there is room in a full backlog") {
    Backlog backlog;
    const kt::Client client = backlog.client(0ms);
    asio::io_context loop;
    auto awaited = asio::co_spawn(loop, client.async_call<int>("x"), asio::use_future);
    std::thread runner([&] { loop.run(); });
    auto blocking = std::async(std::launch::async, [&] { return client.call<int>("x"); });
    CHECK(blocking.wait_for(50ms) == std::future_status::timeout);
    CHECK(awaited.wait_for(0ms) == std::future_status::timeout);
    backlog.waiting.clear();
    for (int answers = 0; answers < 2;) {
      if (!kt::detail::wait_for(backlog.listener.get(), POLLIN, std::chrono::steady_clock::now() + patience)) {
        FAIL_CHECK("nobody waits any more");
        break;
      }
      const kt::Fd connection(::accept(backlog.listener.get(), nullptr, nullptr));
      Scripted::Talk talk(connection.get(), 0);
      if (talk.request().empty()) continue;  // one of those that have filled it
      talk.answer("7");
      ++answers;
    }
    CHECK(blocking.get() == 7);
    CHECK(awaited.get() == 7);
    runner.join();
  }

  TEST_CASE("Python services get bare LF, a connection for each request, and are understood") {
    std::vector<std::string> seen;
    Scripted service([&](Scripted::Talk& talk) {
      const std::string request = talk.request();
      seen.push_back(request);
      if (contains(request, "/value"))
        talk.say("HTTP/1.1 200 OK\nContent-Type: application/json\nConnection: close\n\n{\"a\": 1}\n");
      if (contains(request, "/empty")) talk.say("0\r\n\r\n");
      if (contains(request, "/items"))
        talk.say(
            "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nContent-Type: application/json\nConnection: close\n\n"
            "0\r\n\r\n2\r\n1\n\r\n0\r\n\r\n0\r\n\r\n2\r\n2\n\r\n0\r\n\r\n");
    });
    const kt::Client client = service.client();
    CHECK(client.call("value", 1, kt::arg("b") = 2) == json{{"a", 1}});
    CHECK(client.call("value") == json{{"a", 1}});
    CHECK_FALSE(client.stream("empty").next());
    std::vector<int> items;
    for (const int item : client.stream<int>("items")) items.push_back(item);
    CHECK(items == std::vector{1, 2});
    REQUIRE(seen.size() == 4);
    for (const std::string& request : seen) {
      CHECK_FALSE(contains(request, "\r"));
      CHECK_FALSE(contains(request, "Host"));
      CHECK(contains(request, "\nConnection: close\n"));
    }
    CHECK(
        seen[0].ends_with("\n\n\x82\xa1"
                          "b\x02\xa5_args\x91\x01"));
    CHECK(service.connections() == 4);
  }

  TEST_CASE("a service that refuses msgpack is asked again in JSON, once for all") {
    std::atomic<int> refused = 0;
    Scripted service([&](Scripted::Talk& talk) {
      for (std::string request; !(request = talk.request()).empty();) {
        if (contains(request, "application/json")) {
          talk.answer("7");
        } else {
          ++refused;
          talk.say(
              "HTTP/1.1 415 Unsupported Media Type\r\nAccept: application/json\r\nContent-Type: application/json\r\n"
              "Content-Length: 2\r\n\r\n{}");
        }
      }
    });
    const kt::Client client = service.client();
    for (int i = 0; i < 3; ++i) CHECK(client.call("x") == 7);
    CHECK(refused == 1);
  }

  TEST_CASE("a service with msgpack switched off is asked again, a method that answers 415 is not") {
    Home home;
    std::atomic<int> runs = 0;
    home.kitten.api("picky", [&]() -> int {
      ++runs;
      throw kt::Error(415, "not such a picture");
    });
    home.kitten.api("one", [] { return 1; });
    home.kitten.settings().worker_use_msgpack = false;
    home.start();
    kt::ClientOptions options{.state_directory = home.state.path()};
    const kt::Client client = kt::Client::connect("testkitten", "Kitty", options);
    CHECK(client.call("one") == 1);
    home.kitten.stop();
    home.kitten.settings().worker_use_msgpack = true;
    home.start();
    CHECK(failure([&] { client.call("picky"); }).ends_with("not such a picture"));
    CHECK(runs == 1);
  }

  TEST_CASE("an answer that comes before the request was read is taken (142)") {
    Scripted service([](Scripted::Talk& talk) {
      talk.say(
          "HTTP/1.1 413 Content Too Large\r\nContent-Type: application/json\r\nContent-Length: 17\r\nConnection: "
          "close\r\n\r\n{\"error\": \"long\"}");
      ::shutdown(talk.fd(), SHUT_RD);
      talk.request();
    });
    const kt::Client client = service.client();
    CHECK(failure([&] { client.call("x", std::string(4 << 20, 'x')); }) == "long");
  }

  TEST_CASE("open files are given by position, by name, and in lists, and come back") {
    Home home;
    home.kitten.api(
        "join",
        [](std::vector<kt::File> first, std::optional<kt::Fd> last, std::string between) {
          std::string text;
          for (const kt::File& file : first) text += all_of(file) + between;
          return last ? text + all_of(*last) : text;
        },
        kt::arg("first"), kt::arg("last") = nullptr, kt::arg("between") = "");
    home.kitten.api(
        "open", [](std::string path) { return std::pair<std::string, kt::File>("here", kt::File::open(path)); },
        kt::arg("path"));
    home.start();
    const int before = open_descriptors();
    {
      const auto file = [&](const std::string& text) { return file_with(home.state / "f" + text, text); };
      const auto files = [&](const std::string& a, const std::string& b) {
        std::vector<kt::File> list;
        list.push_back(file(a));
        list.push_back(file(b));
        return list;
      };
      for (const kt::Client& client : {home.kitten.connect(), home.kitten.loopback()}) {
        CHECK(client.call<std::string>("join", files("a", "b"), file("c"), "-") == "a-b-c");
        CHECK(client.call<std::string>("join", kt::arg("last") = file("c"), kt::arg("first") = files("a", "b")) ==
              "abc");
        CHECK(client.call<std::string>("join", files("a", "b"), kt::arg("last") = file("c")) == "abc");
        CHECK(client.call<std::string>("join", std::vector<kt::File>(), kt::arg("between") = "x") == "");
        const auto opened = client.call<std::pair<std::string, kt::File>>("open", home.state / "fa");
        CHECK(opened.first == "here");
        CHECK(all_of(opened.second) == "a");
        CHECK(client.call("open", home.state / "fa") == json::array({"here", "_FD_BRE_MAGIC_-rb"}));
        CHECK_THROWS_AS(client.call<kt::Socket>("open", home.state / "fa"), kt::ResultError);
      }
    }
    CHECK(eventually([&] { return open_descriptors() <= before + 2; }));  // one connection may be kept
  }

  TEST_CASE("calls with descriptors share a kept connection, and get another one when that has ended") {
    Home home;
    std::set<const kt::Peer*> connections;
    home.kitten.api(
        "read",
        [&](kt::Request& request, kt::File file) {
          connections.insert(&request.peer());
          return all_of(file);
        },
        "", kt::arg("file"));
    home.start();
    std::ofstream(home.state / "f") << "here";
    const auto file = [&] { return kt::File::open(home.state / "f"); };
    const kt::Client client = home.kitten.connect();
    CHECK(client.call<std::string>("read", file()) == "here");  // asks with what dialect is spoken, too
    connections.clear();
    for (int i = 0; i < 5; ++i) CHECK(client.call<std::string>("read", file()) == "here");
    CHECK(connections.size() == 1);

    home.kitten.stop();
    home.kitten.start_thread();
    CHECK(client.call<std::string>("read", file()) == "here");
  }

  TEST_CASE("eight threads make ten thousand calls on one client, over a few kept connections") {
    Home home;
    home.kitten.api(
        "add", [](int a, int b) { return a + b; }, kt::arg("a"), kt::arg("b"));
    home.start();
    const kt::Client client = home.kitten.connect();
    std::atomic<int> right = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 1250; ++i) right += client.call<int>("add", t, i) == t + i ? 1 : 0;
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(right == 10'000);
  }

  TEST_CASE("eight threads share one client") {
    Home home;
    home.kitten.api(
        "echo", [](json value) { return value; }, "", kt::arg("value"));
    home.kitten.api(
        "items",
        [](int n) -> kt::Generator<int> {
          for (int i = 0; i < n; ++i) co_yield i;
        },
        "", kt::arg("n"));
    home.start();
    const kt::Client client = client_of(home);
    std::atomic<int> wrong = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&, t] {
        const kt::Client mine = client;
        for (int i = 0; i < 100; ++i) {
          if (mine.call<std::string>("echo", std::to_string(t * 1000 + i)) != std::to_string(t * 1000 + i)) ++wrong;
          int sum = 0;
          if (i % 10 == 0) {
            for (const int item : mine.stream<int>("items", 10)) sum += item;
            if (sum != 45) ++wrong;
          }
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
  }

  TEST_CASE("calls overlap in coroutines, and one that is cancelled closes its connection") {
    Home home;
    Happening ended;
    home.kitten.api(
        "sleep",
        [](double seconds) -> kt::Task<double> {
          co_await kt::sleep_for(std::chrono::milliseconds(static_cast<int>(seconds * 1000)));
          co_return seconds;
        },
        "", kt::arg("seconds"));
    struct Ending {
      Happening& happening;
      ~Ending() { happening.happen(); }
    };
    home.kitten.api("forever", [&ended]() -> kt::Task<> {
      const Ending ending{ended};
      for (;;) co_await kt::sleep_for(1ms);
    });
    home.start();
    for (const bool local : {true, false}) {
      const kt::Client client = client_of(home, {.use_unix_socket = local});
      asio::io_context loop;
      const auto begin = std::chrono::steady_clock::now();
      std::vector<std::future<double>> results;
      for (int i = 0; i < 20; ++i)
        results.push_back(asio::co_spawn(loop, client.async_call<double>("sleep", 0.2), asio::use_future));
      loop.run();
      for (auto& result : results) CHECK(result.get() == 0.2);
      CHECK(std::chrono::steady_clock::now() - begin < 3s);

      loop.restart();
      asio::cancellation_signal stop;
      std::exception_ptr thrown;
      asio::co_spawn(loop, client.async_call<void>("forever"),
                     asio::bind_cancellation_slot(stop.slot(), [&](std::exception_ptr error) { thrown = error; }));
      asio::steady_timer timer(loop, 30ms);
      timer.async_wait([&](const asio::error_code&) { stop.emit(asio::cancellation_type::terminal); });
      loop.run();
      CHECK(thrown);
      CHECK(ended.happened(local ? 1 : 2));
      CHECK(client.call("ping")["pong"] == true);
    }
  }

  TEST_CASE("descriptors go and come, in their order, and none is left open") {
    Home home;
    home.kitten.api(
        "read",
        [](kt::File a, std::string between, kt::Fd b) {
          std::string text[2];
          CHECK(kt::detail::read_all(a.get(), text[0], 100));
          CHECK(kt::detail::read_all(b.get(), text[1], 100));
          return text[0] + between + text[1] + a.mode();
        },
        "", kt::arg("a"), kt::arg("between"), kt::arg("b"));
    home.kitten.api(
        "open",
        [](std::vector<std::string> paths) {
          std::vector<kt::File> files;
          for (const std::string& path : paths) files.push_back(kt::File::open(path));
          return files;
        },
        "", kt::arg("paths"));
    home.kitten.api(
        "open_one", [](std::string path) { return kt::File::open(path); }, "", kt::arg("path"));
    home.start();
    write_file(home.state / "a", "first");
    write_file(home.state / "b", "second");
    for (const bool msgpack : {true, false}) {
      const kt::Client client = client_of(home, {.use_msgpack = msgpack});
      client.call("ping");
      const int before = open_descriptors();
      for (int i = 0; i < 3; ++i) {
        CHECK(client.call<std::string>("read", kt::File::open(home.state / "a"), " and ",
                                       kt::Fd(::open((home.state / "b").c_str(), O_RDONLY))) == "first and secondrb");
        {
          const auto files =
              client.call<std::vector<kt::File>>("open", std::vector{home.state / "b", home.state / "a"});
          REQUIRE(files.size() == 2);
          std::string text;
          CHECK(kt::detail::read_all(files[0].get(), text, 100));
          CHECK(kt::detail::read_all(files[1].get(), text, 100));
          CHECK(text == "secondfirst");
        }
        CHECK(client.call<kt::Fd>("open_one", home.state / "a"));
        CHECK(client.call("open_one", home.state / "a") == json::array({"_FD_BRE_MAGIC_-rb"}));  // nobody takes it
        CHECK_THROWS_AS(client.call<kt::Socket>("open_one", home.state / "a"), kt::ResultError);
        asio::io_context loop;
        auto text = asio::co_spawn(loop,
                                   client.async_call<std::string>("read", kt::File::open(home.state / "a"), "",
                                                                  kt::File::open(home.state / "b")),
                                   asio::use_future);
        loop.run();
        CHECK(text.get() == "firstsecondrb");
      }
      // Ours, at both ends.
      CHECK(eventually([&] { return open_descriptors() <= before + 2; }));
    }
    const kt::Client tcp = client_of(home, {.use_unix_socket = false});
    CHECK(failure([&] { tcp.call("read", kt::File::open(home.state / "a"), "", kt::Fd(::dup(0))); }) ==
          "file descriptors cannot be sent over TCP");
  }

  TEST_CASE("an answer goes to a file, and a request is passed on to another service") {
    Home back("Back");
    back.kitten.api(
        "count",
        [](int n) -> kt::Generator<int> {
          for (int i = 0; i < n; ++i) co_yield i;
        },
        "", kt::arg("n"));
    back.kitten.api("text", [] { return std::string("from behind"); });
    back.start();
    const kt::Client behind = kt::Client::connect("testkitten", "Back", {.state_directory = back.state.path()});
    Home front;
    front.kitten.api("text", [behind](kt::Request& request) -> kt::Task<std::string> {
      const json answer = co_await behind.async_call("text", kt::reply_to(request));
      CHECK(answer == json{{"replied_to_first_fd", true}});
      co_return "ignored";
    });
    front.kitten.api(
        "count",
        [behind](kt::Request& request, int n) -> kt::Generator<int> {
          co_yield -1;
          co_await behind.async_call<void>("count", kt::reply_to(request), n);
        },
        "", kt::arg("n"));
    front.kitten.api("refused", [behind](kt::Request& request) -> kt::Task<std::string> {
      std::string why;
      try {
        co_await behind.async_call<void>("unknown", kt::reply_to(request));
      } catch (const kt::NotFound& error) {
        why = error.what();
      }
      co_return why;
    });
    front.start();
    for (const bool local : {true, false}) {
      for (const bool msgpack : {true, false}) {
        const kt::Client client = client_of(front, {.use_unix_socket = local, .use_msgpack = msgpack});
        CHECK(client.call("text") == "from behind");
        std::vector<int> items;
        for (const int item : client.stream<int>("count", 3)) items.push_back(item);
        CHECK(items == std::vector{-1, 0, 1, 2});
        CHECK(client.call("refused") == "no method 'unknown'");
      }
    }
    {
      const kt::File file = kt::File::open(back.state / "out", "wb");
      CHECK(behind.call("text", kt::reply_to(file)) == json{{"replied_to_first_fd", true}});
    }
    CHECK(eventually([&] { return contains(contents(back.state / "out"), "from behind"); }));
  }

  TEST_CASE("a client starts the program that it names, once, and hears why it cannot") {
    const Program kitten("kitten");
    kt::ClientOptions options;
    options.state_directory = kitten.state.path();
    const auto start = [&](const std::string& program) {
      return kt::Client::connect("mykitten", "Kitty", kt::auto_start(program), options);
    };
    CHECK(contains(failure([&] { start("/does/not/exist"); }), "cannot start /does/not/exist"));
    CHECK(contains(failure([&] { start("/bin/false"); }), "exit code 1"));
    const int before = open_descriptors();
    std::vector<std::future<bool>> starts;
    for (int i = 0; i < 4; ++i) {
      starts.push_back(
          std::async(std::launch::async, [&] { return start(kitten.path()).call("ping")["pong"] == true; }));
    }
    for (auto& started : starts) CHECK(started.get());
    CHECK(open_descriptors() == before);
    const std::string url = kitten.url();
    CHECK(start("/bin/false").call<kt::Result>("meow").mime_type == "text/plain");
    CHECK(kitten.url() == url);
  }

  TEST_CASE("a program starts itself as its service; one that cannot be it says so instead of starting more") {
    TempDir dir;
    kt::Kitten kitten("prompting", "Kitty");
    kitten.settings().app_state_dir = kitten.settings().app_data_dir = dir.path();
    CHECK_THROWS_AS(kitten.connect(), kt::NotRunning);
    ::setenv(as_service, "client", 1);
    CHECK(contains(failure([&] { kitten.connect(kt::auto_start); }), "does not end in Kitten::main()"));
    ::setenv(as_service, "yes", 1);
    const kt::Client client = kitten.connect(kt::auto_start);
    ::unsetenv(as_service);
    CHECK(client.call("measure") == json{{"progress", 40}});
    client.call("quitquitquit");
    CHECK(eventually([&] { return ::access((dir / "Kitty.lock").c_str(), F_OK) != 0; }));
  }
}
