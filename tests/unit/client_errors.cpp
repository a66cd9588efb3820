// SPDX-License-Identifier: MIT
#include <typeinfo>

#include "services.hpp"
#include "support.hpp"

namespace {

// What a handler may throw, and what of it a client has to throw.
struct Case {
  const char* name;
  std::function<void()> thrower;
};

template <class E, class... A>
Case thrown(const char* name, A... arguments) {
  return {name, [=] { throw E(arguments...); }};
}

struct Conflict : kt::Error {
  Conflict() : Error(409, "of the program's own") {}
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all{
      thrown<kt::Error>("conflict", 409, "it is there already"),
      thrown<kt::Error>("teapot", 418, "HTTP 418: short and stout"),
      thrown<kt::Error>("bad", 400, "bad"),
      thrown<kt::Error>("forbidden", 403, "forbidden"),
      thrown<kt::Error>("missing", 404, "missing"),
      thrown<kt::Error>("locked", 423, "locked"),
      thrown<kt::Error>("moved", 303, "moved"),
      thrown<kt::Error>("silent", 503, ""),
      thrown<kt::Error>("quoted", 500, "\"ö\"\n\\ \t"),
      thrown<kt::InvalidArgument>("invalid", "no number"),
      thrown<kt::InvalidArgument>("unprocessable", "no number", 422),
      thrown<kt::InvalidArgument>("odd", "no number", 404),
      thrown<kt::PermissionDenied>("denied", "not you"),
      thrown<kt::PermissionDenied>("denied_plainly"),
      thrown<kt::PermissionDenied>("unauthorized", "who are you?", 401),
      thrown<kt::PermissionDenied>("legal", "nobody", 451),
      thrown<kt::NotFound>("not_found", "nothing of that name"),
      thrown<kt::UnknownMethod>("unknown", "prr", "no method 'prr'"),
      thrown<kt::Redirect>("redirect", "/elsewhere"),
      thrown<kt::Redirect>("temporary", "http://localhost/elsewhere?a=b", 307),
      {"need_info",
       [] {
         throw kt::NeedInfo("who are you?", {{"user", "username", "Login", json("me")}, {"age"}}, json("door"));
       }},
      {"need_nothing", [] { throw kt::NeedInfo("later"); }},
      {"own", [] { throw Conflict(); }},
      {"standard", [] { throw std::runtime_error("worn out"); }},
  };
  return all;
}

// Class, status, words, and what else there is.
std::string described(const std::function<void()>& call) {
  const auto tell = [](const char* type, const kt::Error& error, const std::string& more = {}) {
    return std::string(type) + " " + std::to_string(error.status()) + " '" + error.what() + "' " + more;
  };
  try {
    call();
  } catch (const kt::NeedInfo& error) {
    std::string more = error.resource().dump();
    for (const auto& one : error.needed())
      more += " " + one.name + "/" + one.type + "/" + one.comment + "/" + one.fallback.dump();
    return tell("NeedInfo", error, more);
  } catch (const kt::Redirect& error) {
    return tell("Redirect", error, error.location());
  } catch (const kt::UnknownMethod& error) {
    return tell("UnknownMethod", error, error.method());
  } catch (const kt::Error& error) {
    return tell(typeid(error) == typeid(kt::Error)              ? "Error"
                : typeid(error) == typeid(kt::InvalidArgument)  ? "InvalidArgument"
                : typeid(error) == typeid(kt::PermissionDenied) ? "PermissionDenied"
                : typeid(error) == typeid(kt::NotFound)         ? "NotFound"
                                                                : "another",
                error);
  } catch (const std::exception& error) {
    return error.what();
  }
  return "nothing";
}

std::string expected(const Case& one) {
  const std::string found = described(one.thrower);
  if (one.name == "own"s) return "Error 409 'of the program's own' ";
  return one.name == "standard"s ? "Error 500 'worn out' " : found;
}

struct Throwing : Home {
  Throwing() {
    for (const Case& one : cases()) {
      const auto thrower = one.thrower;
      const std::string name = one.name;
      kitten.api(name, [=] { thrower(); });
      kitten.api(name + "_later", [=]() -> kt::Task<> {
        co_await kt::sleep_for(0ms);
        thrower();
      });
      kitten.api(name + "_instead", [=]() -> kt::Generator<int> {
        thrower();
        co_yield 1;
      });
      kitten.api(name + "_after_one", [=]() -> kt::Generator<int> {
        co_yield 1;
        thrower();
      });
      kitten.api(name + "_in_time", [=]() -> kt::Generator<int> {
        co_yield 1;
        co_await kt::sleep_for(1ms);
        thrower();
      });
      kitten.api(name + "_event", [=]() -> kt::Generator<kt::Event> {
        const kt::Event event{json("one")};
        co_yield event;
        thrower();
      });
    }
  }
  std::vector<kt::Client> clients() {
    std::vector<kt::Client> all;
    for (const bool unix_socket : {true, false}) {
      for (const bool msgpack : {true, false}) {
        kt::ClientOptions options{.use_unix_socket = unix_socket, .use_msgpack = msgpack};
        all.push_back(client_of(*this, options));
      }
    }
    all.push_back(kitten.loopback());
    return all;
  }
};

// All items of a stream, read by a coroutine; throws what it ended with.
void read_all(const kt::Client& client, const std::string& method) {
  asio::io_context loop;
  std::exception_ptr thrown;
  asio::co_spawn(
      loop,
      [&]() -> kt::Task<> {
        auto items = client.async_stream(method);
        while (co_await items.next()) {
        }
      },
      [&](std::exception_ptr error) { thrown = error; });
  loop.run();
  if (thrown) std::rethrow_exception(thrown);
}

}  // namespace

TEST_SUITE("client/errors") {
  TEST_CASE_FIXTURE(Throwing, "exceptions come back as they were thrown: class, status, words") {
    start();
    for (const kt::Client& client : clients()) {
      for (const Case& one : cases()) {
        const std::string name = one.name, wanted = expected(one);
        CAPTURE(name);
        CHECK(described([&] { client.call(name); }) == wanted);
        CHECK(described([&] { client.call(name + "_later"); }) == wanted);
        CHECK(described([&] { client.call(name + "_instead"); }) == wanted);
        for (const char* when : {"_instead", "_after_one", "_in_time", "_event"}) {
          CAPTURE(when);
          int items = 0;
          CHECK(described([&] {
                  for (const json& item : client.stream(name + when)) {
                    static_cast<void>(item);
                    ++items;
                  }
                }) == wanted);
          CHECK(items == (when == "_instead"s ? 0 : 1));
        }
        CHECK(described([&] { read_all(client, name + "_in_time"); }) == wanted);
      }
      CHECK(client.call("ping")["pong"] == true);
    }
  }

  TEST_CASE_FIXTURE(Throwing, "a handler that lets an exception of another service through passes it on unchanged") {
    start();
    Home relay("Relay");
    const kt::Client source = client_of(*this);
    relay.kitten.api(
        "relay", [&](std::string method) -> kt::Task<json> { co_return co_await source.async_call(method); }, "",
        kt::arg("method"));
    relay.start();
    kt::ClientOptions options{.state_directory = relay.state.path()};
    const kt::Client client = kt::Client::connect("testkitten", "Relay", options);
    for (const Case& one : cases()) {
      CAPTURE(one.name);
      CHECK(described([&] { client.call("relay", one.name); }) == expected(one));
    }
  }

  TEST_CASE("what is in a result or an item is never taken for an error, whatever its keys") {
    Home home;
    home.kitten.api(
        "echo", [](json value) { return value; }, "", kt::arg("value"));
    Happening release;
    home.kitten.api(
        "items",
        [&](json item) -> kt::Generator<json> {
          co_yield item;
          while (release.count() == 0) co_await kt::sleep_for(1ms);
          co_yield item;
        },
        "", kt::arg("item"));
    home.start();
    kt::ClientOptions over_tcp{.use_unix_socket = false, .use_msgpack = false};
    std::vector<kt::Client> clients{client_of(home), client_of(home, over_tcp), home.kitten.loopback()};
    for (const kt::Client& client : clients) {
      for (const char* text : {R"({"error": "only a word"})", R"({"error": null, "status": 404, "type": "NotFound"})",
                               R"({"finished": 404, "error": "no"})", R"({"finished": true, "error": 1})",
                               R"({"error": "x", "needed_vars": [{"name": "n"}], "resource": 1})",
                               R"({"error": "x", "unknown_method": "y"})", R"({"redirect": "/x"})"}) {
        CAPTURE(text);
        const json value = json::parse(text);
        CHECK(client.call("echo", value) == value);
        auto items = client.stream("items", value);
        CHECK(items.next() == value);  // though nothing follows yet
        release.happen();
        CHECK(items.next() == value);
        CHECK(items.next() == std::nullopt);
      }
    }
  }

  TEST_CASE("a stream that breaks off behind such an item is a broken one, with all its items") {
    Scripted service([](Scripted::Talk& talk) {
      talk.request();
      talk.say(
          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n"
          "10\r\n{\"error\": \"own\"}\r\n");
    });
    const kt::Client client = service.client();
    auto items = client.stream("x");
    CHECK(items.next() == json{{"error", "own"}});
    CHECK_THROWS_AS(static_cast<void>(items.next()), kt::ConnectionError);
  }

  TEST_CASE("an error in the middle of a stream has a mark on its chunk, but for readers of bare LF") {
    Home home;
    home.kitten.api("breaks", []() -> kt::Generator<int> {
      co_yield 1;
      throw kt::NotFound("gone");
    });
    home.start();
    const std::string head = "HTTP/1.1\r\nHost: localhost\r\n\r\n";
    Wire modern = Wire::tcp(home.kitten);
    CHECK(modern.send("GET " + home.path("breaks") + " " + head)
              .rest()
              .ends_with("\r\n\r\n2\r\n1\n\r\n1e;error\r\n{\"error\":\"gone\",\"status\":404}\n\r\n"));
    Wire python = Wire::tcp(home.kitten);
    CHECK(python.send("GET " + home.path("breaks") + " HTTP/1.1\n\n")
              .rest()
              .ends_with("\n\n2\r\n1\n\r\n1e\r\n{\"error\":\"gone\",\"status\":404}\n\r\n"));
  }

  TEST_CASE("an answer that is passed on has the line ends, and the errors, that its reader understands") {
    Home first("First"), second("Second");
    kt::ClientOptions options{.state_directory = second.state.path()};
    second.kitten.api("whole", []() { return "all of it"s; });
    second.kitten.api("rest", []() -> kt::Generator<int> {
      co_yield 2;
      throw kt::NotFound("gone");
    });
    second.kitten.api("fails", [] { throw kt::NotFound("gone"); });
    second.start();
    const kt::Client next = kt::Client::connect("testkitten", "Second", options);
    first.kitten.api(
        "pass",
        [&](kt::Request& request, std::string method) -> kt::Task<> {
          co_await next.async_call(method, kt::reply_to(request));
        },
        "", kt::arg("method"));
    first.kitten.api(
        "begin",
        [&](kt::Request& request, std::string method) -> kt::Generator<int> {
          co_yield 1;
          co_await next.async_call(method, kt::reply_to(request));
        },
        "", kt::arg("method"));
    first.start();
    const auto answer = [&](const std::string& target, bool bare_lf) {
      const std::string end = bare_lf ? "\n\n" : "\r\nHost: localhost\r\n\r\n";
      return Wire::tcp(first.kitten).send("GET " + first.path(target) + " HTTP/1.1" + end).rest();
    };
    CHECK(answer("pass?method=whole", false).starts_with("HTTP/1.1 200 OK\r\n"));
    CHECK(answer("pass?method=whole", true).starts_with("HTTP/1.1 200 OK\n"));
    for (const char* method : {"rest", "fails"}) {
      CAPTURE(method);
      const std::string words = "{\"error\":\"gone\",\"status\":404}\n\r\n";
      CHECK(answer("begin?method="s + method, false).ends_with("1e;error\r\n" + words));
      CHECK(answer("begin?method="s + method, true).ends_with("1e\r\n" + words));
    }
    kt::ClientOptions of_first{.state_directory = first.state.path()};
    const kt::Client client = kt::Client::connect("testkitten", "First", of_first);
    for (const char* method : {"rest", "fails"}) {
      CHECK(described([&] {
              for (const json& item : client.stream("begin", method)) static_cast<void>(item);
            }) == "NotFound 404 'gone' ");
    }
  }
}
