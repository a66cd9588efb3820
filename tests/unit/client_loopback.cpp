// SPDX-License-Identifier: MIT
#include "services.hpp"
#include "support.hpp"

TEST_SUITE("client/loopback") {
  struct Looping : Home {
    Looping() {
      kitten.api(
          "add", [](int a, int b) { return a + b; }, kt::arg("a"), kt::arg("b") = 1);
      kitten.api(
          "later",
          [](std::string text) -> kt::Task<std::string> {
            co_await kt::sleep_for(1ms);
            co_return text;
          },
          kt::arg("text"));
      kitten.api("count", []() -> kt::Generator<int> {
        for (int i = 0; i < 3; ++i) {
          co_yield i;
          co_await kt::sleep_for(1ms);
        }
      });
      kitten.api("breaks", []() -> kt::Generator<int> {
        co_yield 1;
        throw std::runtime_error("no more");
      });
      kitten.api("fails", [] { throw std::runtime_error("not today"); });
      kitten.api("asks", [] { throw kt::NeedInfo("who?", {{"name"}}); });
      kitten.api("big", [] {
        json all = json::array();
        for (int i = 0; i < 10'000; ++i) all.push_back({{"i", i}, {"bytes", kt::bytes("\x00\xFF"s)}});
        return all;
      });
      kitten.api(
          "size", [](kt::Request& request, kt::File file) { return all_of(file) + request.peer().address; },
          kt::arg("file"));
      kitten.api(
          "open", [](std::string path) { return kt::File::open(path); }, kt::arg("path"));
      kitten.api("passes_on", [](kt::Request& request) { request.take_connection(); });
      kitten.public_api("meow", [] { return kt::text("Meow"); });
    }
  };

  // What a call comes to, exceptions included, as one text.
  std::string outcome(const kt::Client& client, const std::string& method, const json& argument = nullptr) {
    std::string text;
    try {
      if (argument.is_null()) {
        for (const json& item : client.stream(method)) text += item.dump() + ";";
      } else {
        text = client.call(method, argument).dump();
      }
    } catch (const kt::NeedInfo& error) {
      text += std::string("NeedInfo ") + error.what() + error.needed().at(0).name;
    } catch (const kt::NotFound& error) {
      text += std::string("NotFound ") + error.what();
    } catch (const kt::InvalidArgument& error) {
      text += std::string("InvalidArgument ") + error.what();
    } catch (const kt::Error& error) {
      text += std::string("Error ") + std::to_string(error.status()) + error.what();
    } catch (const kt::ConnectionError& error) {
      text += std::string("ConnectionError ") + error.what();
    }
    return text;
  }

  TEST_CASE_FIXTURE(Looping, "calls in the process give what calls over a socket give, running or not") {
    const kt::Client loopback = kitten.loopback();
    std::vector<std::string> idle;
    const std::vector<std::pair<std::string, json>> calls{
        {"add", 3},         {"add", "elephant"}, {"add", "0x10"},    {"later", "x"}, {"later", "\xC3\xA9"},
        {"count", nullptr}, {"breaks", {}},      {"fails", nullptr}, {"asks", {}},   {"big", nullptr},
        {"meow", nullptr},  {"nope", nullptr},   {"nope", 1},        {"fails", 1},   {"help", "add"},
        {"later", nullptr}, {"later", "\xFF"},
    };
    for (const auto& [method, argument] : calls) idle.push_back(outcome(loopback, method, argument));
    start();
    const kt::Client remote = kitten.connect();
    for (std::size_t i = 0; i < calls.size(); ++i) {
      const auto& [method, argument] = calls[i];
      const std::string over_socket = outcome(remote, method, argument);
      CHECK(idle[i] == over_socket);
      CHECK(outcome(loopback, method, argument) == over_socket);
    }
    CHECK(idle[0] == "4");
    CHECK(idle[5] == "0;1;2;");
    CHECK(loopback.call<std::string>("meow") == "Meow");
  }

  TEST_CASE_FIXTURE(Looping, "descriptors go both ways in the process, too") {
    const int before = open_descriptors();
    {
      const kt::Client loopback = kitten.loopback();
      CHECK(loopback.call<std::string>("size", file_with(state / "f", "four")) == "fourloopback");
      CHECK(all_of(loopback.call<kt::File>("open", state / "f")) == "four");
      CHECK_THROWS_AS(loopback.call("passes_on"), kt::Error);
      CHECK_THROWS_AS(loopback.call("add", file_with(state / "f", "four")), kt::InvalidArgument);
    }
    CHECK(open_descriptors() == before);
  }

  TEST_CASE_FIXTURE(Looping, "coroutines call in the process, from the service's thread and from another") {
    const kt::Client loopback = kitten.loopback();
    kitten.api("nested", [&]() -> kt::Task<int> { co_return co_await loopback.async_call<int>("add", 1, 2); });
    kitten.api("waits", [&] { return loopback.call<int>("add", 1, 2); });
    std::string text;
    const auto work = [&]() -> kt::Task<> {
      text += co_await loopback.async_call<std::string>("later", "x");
      auto items = loopback.async_stream<int>("count");
      while (auto item = co_await items.next()) text += std::to_string(*item);
      text += std::to_string(co_await loopback.async_call<int>("nested"));
    };
    const auto run_all = [&] {
      asio::io_context loop;
      asio::co_spawn(loop, work(), [](const std::exception_ptr& error) { CHECK(error == nullptr); });
      loop.run();
    };
    run_all();
    start();
    run_all();
    CHECK(text == "x0123x0123");
    CHECK(loopback.call<int>("nested") == 3);
    CHECK_THROWS_AS(loopback.call("waits"), kt::Error);
  }

  TEST_CASE_FIXTURE(Looping, "a stream that is dropped ends its generator, on the service's thread") {
    std::atomic<bool> ended = false;
    std::thread::id where;
    struct AtEnd {
      std::atomic<bool>* flag;
      std::thread::id* thread;
      ~AtEnd() {
        *thread = std::this_thread::get_id();
        *flag = true;
      }
    };
    kitten.api("endless", [&]() -> kt::Generator<int> {
      const AtEnd at_end{&ended, &where};
      for (int i = 0;; ++i) co_yield i;
    });
    start();
    {
      auto items = kitten.loopback().stream<int>("endless");
      CHECK(items.next() == 0);
      CHECK(items.next() == 1);
    }
    CHECK(eventually([&] { return ended.load(); }));
    CHECK(where != std::this_thread::get_id());
  }

  TEST_CASE("a request tells the same in the process as over a socket") {
    Home home;
    home.kitten.api(
        "facts",
        [](kt::Request& request, int) {
          return std::string(request.http_method()) + " " + std::string(request.path()) + "?" +
                 std::string(request.query()) + " " + std::string(request.method());
        },
        kt::arg("n") = 1);
    const kt::Client loopback = home.kitten.loopback();
    CHECK(loopback.call("facts", 2) == "POST /facts? facts");
    home.start();
    CHECK(home.kitten.connect().call("facts", 2) == "POST /facts? facts");
    CHECK(loopback.call("facts", 2) == "POST /facts? facts");
  }

  // A loop of the program on a thread of its own, where handlers are to run.
  struct Program {
    Program() : work(asio::make_work_guard(loop)), thread([this] { loop.run(); }) {}
    ~Program() {
      work.reset();
      thread.join();
    }
    asio::io_context loop;
    asio::executor_work_guard<asio::io_context::executor_type> work;
    std::thread thread;
  };

  TEST_CASE(
      "a call comes to the same over TCP, over the unix socket, in the process, and passed on by another service") {
    enum class Rules { usual, own, host };
    for (const Rules rules : {Rules::usual, Rules::own, Rules::host}) {
      CAPTURE(static_cast<int>(rules));
      Program program;
      Looping served;
      const std::thread::id here = std::this_thread::get_id();
      const auto where = [&program, here] {
        const std::thread::id thread = std::this_thread::get_id();
        return thread == program.thread.get_id() ? "on the program's" : thread == here ? "here" : "on its own";
      };
      served.kitten.api("facts", [where](kt::Request& request) {
        return json{request.http_method(),   request.path(),      request.query(), request.method(),
                    request.authenticated(), request.cancelled(), where()};
      });
      served.kitten.api("steps", [where]() -> kt::Generator<std::string> {
        co_yield where();
        co_await kt::sleep_for(1ms);
        co_yield where();
      });
      served.kitten.api("later_where", [where]() -> kt::Task<std::string> {
        co_await kt::sleep_for(1ms);
        co_return where();
      });
      served.kitten.api("many_files", [&] {
        std::vector<kt::File> files;
        for (int i = 0; i < 5; ++i) files.push_back(file_with(served.state / "f", "x"));
        return files;
      });
      served.kitten.api("long", [] { return std::string(100'000, 'm'); });
      served.kitten.api("page", [] { return kt::Result{"text/html", std::string(100'000, 'p'), 203}; });
      served.kitten.limits().descriptors = 4;
      if (rules == Rules::own) {
        served.kitten.authenticator(
            [](const kt::Request& request) { return request.authenticated() && request.method() != "later"; });
        served.kitten.router([](const kt::Request& request) -> std::optional<kt::RouteTo> {
          if (request.path() == "/alias") return kt::RouteTo{"facts"};
          if (request.path() == "/sum") return kt::RouteTo{"add", {{"a", 40}}};
          if (request.path() == "/fails") throw kt::Error(418, "no way");
          return std::nullopt;
        });
      }
      if (rules == Rules::host)
        served.kitten.run_handlers_on(
            [&program](std::function<void()> call) { asio::post(program.loop, std::move(call)); });

      const std::vector<std::pair<std::string, json>> calls{
          {"add", 3},        {"add", "elephant"}, {"sum", nullptr},  {"alias", nullptr}, {"facts", nullptr},
          {"later", "x"},    {"count", nullptr},  {"breaks", {}},    {"fails", nullptr}, {"asks", {}},
          {"big", nullptr},  {"meow", nullptr},   {"nope", nullptr}, {"steps", nullptr}, {"later_where", nullptr},
          {"long", nullptr}, {"page", nullptr},   {"describe", {}},
      };
      std::vector<std::string> idle;
      const kt::Client loopback = served.kitten.loopback();
      for (const auto& [method, argument] : calls) idle.push_back(outcome(loopback, method, argument));
      served.start();

      Home front;
      const kt::Client behind = served.kitten.connect();
      for (const auto& [method, argument] : calls) {
        if (method == "describe") continue;
        front.kitten.api(
            method,
            [behind, name = method](kt::Request& request, json a) -> kt::Task<void> {
              if (a.is_null()) co_await behind.async_call(name, kt::reply_to(request));
              if (!a.is_null()) co_await behind.async_call(name, kt::reply_to(request), a);
            },
            "", kt::arg("a") = nullptr);
      }
      front.start();
      const std::vector<std::pair<const char*, kt::Client>> ways{
          {"unix", client_of(served, {.use_unix_socket = true})},
          {"unix, JSON", client_of(served, {.use_unix_socket = true, .use_msgpack = false})},
          {"process", loopback},
          {"passed on", client_of(front)},
      };
      const kt::Client tcp = client_of(served, {.use_unix_socket = false});
      for (std::size_t i = 0; i < calls.size(); ++i) {
        const auto& [method, argument] = calls[i];
        CAPTURE(method);
        const std::string expected = outcome(tcp, method, argument);
        for (const auto& [way, client] : ways) {
          CAPTURE(way);
          if (method == "describe" && way == "passed on"sv) continue;
          CHECK(outcome(client, method, argument) == expected);
        }
        const bool tells_thread =
            method == "facts" || method == "alias" || method == "steps" || method == "later_where";
        if (rules != Rules::host && !tells_thread && method != "describe") CHECK(idle[i] == expected);
        if (method == "facts")
          CHECK(expected == (rules == Rules::host ? R"(["POST","/facts","","facts",true,false,"on the program's"])"
                                                  : R"(["POST","/facts","","facts",true,false,"on its own"])") +
                                ";"s);
        if (method == "sum" && rules == Rules::own) CHECK(expected == "41;");
        if (method == "later" && rules == Rules::own) CHECK(expected == "Error 403Access Denied");
        if (method == "steps" && rules == Rules::host) CHECK(expected == R"("on the program's";"on the program's";)");
      }
      for (const kt::Client& client : {ways[0].second, loopback}) {
        CHECK_THROWS_WITH_AS(client.call("many_files"), "at most 4 descriptors fit into an answer", kt::Error);
        std::vector<kt::File> files;
        for (int i = 0; i < 5; ++i) files.push_back(file_with(served.state / "f", "x"));
        CHECK_THROWS_WITH_AS(client.call("add", std::move(files)), "at most 4 descriptors can come with a request",
                             kt::Error);
      }
    }
  }
}
