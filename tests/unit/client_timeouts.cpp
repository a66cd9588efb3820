// SPDX-License-Identifier: MIT
#include "services.hpp"
#include "support.hpp"

namespace {

constexpr std::string_view stream_head =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n";

// What is said before the silence, by the method that is called.
const std::map<std::string, std::string>& silences() {
  static const std::map<std::string, std::string> all = {
      {"after_nothing", ""},
      {"in_a_head", "HTTP/1.1 200 OK\r\nX-Long: "},
      {"after_an_interim_answer", "HTTP/1.1 100 Continue\r\n\r\n"},
      {"after_a_head", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"},
      {"in_a_result", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n12"},
      {"in_a_result_without_length", "HTTP/1.1 200 OK\nContent-Type: application/json\nConnection: close\n\n12"},
      {"in_a_chunk_size", std::string(stream_head) + "f"},
      {"in_a_chunk", std::string(stream_head) + "ff\r\n12"},
      {"in_a_chunk_of_an_error", "HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n12"},
  };
  return all;
}

// Those that only a reader of the stream comes to.
const std::map<std::string, std::string>& later_silences() {
  static const std::map<std::string, std::string> all = {
      {"in_the_second_chunk", std::string(stream_head) + "1\r\n1\r\nff\r\n12"},
      {"in_an_end_mark", std::string(stream_head) + "1\r\n1\r\n0\r\nX-Trailer: "},
      {"after_an_end_mark",
       "HTTP/1.1 200 OK\nConnection: close\nTransfer-Encoding: chunked\nContent-Type: application/json\n\n"
       "1\r\n1\r\n0\r\n\r\n"},
  };
  return all;
}

std::string method_of(const std::string& request) {
  const std::size_t begin = request.find("TOKEN/") + 6;
  return request.substr(begin, request.find(' ', begin) - begin);
}

kt::Task<> read_to_end(kt::Client client, std::string method) {
  auto items = client.async_stream(method);
  while (co_await items.next()) {
  }
}

// How each of the four ways to call ends.
std::vector<std::string> ends_of(const kt::Client& client, const std::string& method, bool streams_only) {
  std::vector<std::string> ends;
  const auto in_loop = [&](auto task) {
    asio::io_context loop;
    auto result = asio::co_spawn(loop, std::move(task), asio::use_future);
    loop.run();
    ends.push_back(failure([&] { result.get(); }));
  };
  if (!streams_only) {
    ends.push_back(failure([&] { client.call(method); }));
    in_loop(client.async_call(method));
  }
  ends.push_back(failure([&] {
    for (const json& item : client.stream(method)) static_cast<void>(item);
  }));
  in_loop(read_to_end(client, method));
  return ends;
}

}  // namespace

TEST_SUITE("client/timeouts") {
  TEST_CASE("no silence of a service outlasts the timeouts, wherever in its answer it falls (164)") {
    Happening over;
    Scripted service([&](Scripted::Talk& talk) {
      const std::string method = method_of(talk.request());
      talk.say(silences().contains(method) ? silences().at(method) : later_silences().at(method));
      static_cast<void>(over.happened());
    });
    kt::Timeouts quick;
    quick.connect = quick.total = 10min;
    quick.first_byte = quick.idle = 40ms;
    const kt::Client client = service.client(quick);
    for (const auto& [method, said] : silences()) {
      CAPTURE(method);
      for (const std::string& end : ends_of(client, method, false)) {
        const bool head_only = said.find("\r\n\r\n") == std::string::npos && said.find("\n\n") == std::string::npos;
        const bool headless = head_only || method == "after_an_interim_answer";
        CHECK(contains(end, headless ? "timeout 'first_byte'" : "timeout 'idle'"));
      }
    }
    for (const auto& [method, said] : later_silences()) {
      CAPTURE(method);
      for (const std::string& end : ends_of(client, method, true)) CHECK(contains(end, "timeout 'idle'"));
    }
    over.happen();
  }

  TEST_CASE("a stream that says nothing after its head holds a reader, as agreed, but no call (164)") {
    Happening over;
    Scripted service([&](Scripted::Talk& talk) {
      talk.request();
      talk.say(stream_head);
      static_cast<void>(over.happened());
      talk.say("1\r\n7\r\n0\r\n\r\n");
    });
    kt::Timeouts quick;
    quick.connect = quick.total = quick.first_byte = 10min;
    quick.idle = 40ms;
    CHECK(contains(failure([&] { service.client(quick).call("x"); }), "timeout 'idle'"));
    std::swap(quick.idle, quick.total);
    CHECK(contains(failure([&] { service.client(quick).call("x"); }), "timeout 'total'"));
    quick.idle = quick.first_byte = 20ms;  // less than what passes between head and item
    auto items = service.client(quick).stream<int>("x");
    std::thread later([&] {
      std::this_thread::sleep_for(100ms);
      over.happen();
    });
    CHECK(failure([&] { CHECK(items.next() == 7); }) == "no exception");
    CHECK_FALSE(items.next());
    later.join();
  }

  TEST_CASE(
      "a service that sends a little again and again, or without a pause, holds nobody for longer than 'total' (164)") {
    std::atomic<bool> over = false;
    Scripted service([&](Scripted::Talk& talk) {
      const std::string method = method_of(talk.request());
      const auto send = [&](const std::string& bytes) {
        return !over && ::send(talk.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL) > 0;
      };
      const bool drips = method.starts_with("drips");
      if (method.ends_with("head")) talk.say("HTTP/1.1 200 OK\r\nX: ");
      if (method.ends_with("result")) talk.say("HTTP/1.1 200 OK\r\nContent-Length: 60000000\r\n\r\n");
      if (method.ends_with("item")) talk.say(stream_head).say("3000000\r\n");
      if (method.ends_with("second")) talk.say(stream_head).say("1\r\n1\r\n3000000\r\n");
      while (send("1")) {
        if (drips) std::this_thread::sleep_for(1ms);
      }
    });
    kt::Timeouts quick;
    quick.connect = quick.first_byte = quick.idle = 10min;
    quick.total = 100ms;
    const kt::Client client = service.client(quick);
    for (const char* method : {"drips_head", "drips_result", "drips_item", "floods_result", "floods_item"}) {
      CAPTURE(method);
      for (const std::string& end : ends_of(client, method, false)) CHECK(contains(end, "timeout 'total'"));
    }
    for (const char* method : {"drips_second", "floods_second"}) {
      CAPTURE(method);
      for (const std::string& end : ends_of(client, method, true)) CHECK(contains(end, "timeout 'total'"));
    }
    over = true;
  }

  TEST_CASE("a timeout may be as long as can be") {
    Home home;
    home.kitten.api(
        "add", [](int a, int b) { return a + b; }, "", kt::arg("a"), kt::arg("b"));
    home.kitten.api("count", []() -> kt::Generator<int> {
      for (int i = 0; i < 3; ++i) co_yield i;
    });
    home.start();
    constexpr auto longest = (std::chrono::milliseconds::max)();
    for (const bool over_tcp : {false, true}) {
      kt::ClientOptions options{.use_unix_socket = !over_tcp};
      options.timeouts = {longest, longest, longest, longest, longest};
      const kt::Client client = client_of(home, options);
      CHECK(client.call<int>("add", 1, 2) == 3);
      CHECK(ends_of(client, "count", true) == std::vector<std::string>(2, "no exception"));
    }
  }

  TEST_CASE("'total' counts from the begin of the call, not from each of its tries (164)") {
    Happening over;
    Scripted service([&](Scripted::Talk& talk) {
      // After a while the call is refused for its encoding; the next try gets no answer at all.
      while (contains(talk.request(), "application/x-msgpack")) {
        std::this_thread::sleep_for(700ms);
        talk.say(
            "HTTP/1.1 415 Unsupported Media Type\r\nAccept: application/json\r\nContent-Type: application/json\r\n"
            "Content-Length: 2\r\n\r\n{}");
      }
      static_cast<void>(over.happened());
    });
    kt::Timeouts quick;
    quick.connect = quick.first_byte = quick.idle = 10min;
    quick.total = 1s;
    const kt::Client client = service.client(quick);
    const auto begin = std::chrono::steady_clock::now();
    CHECK(contains(failure([&] { client.call("x"); }), "timeout 'total'"));
    // 1.7 s if each try had the time for itself.
    CHECK(std::chrono::steady_clock::now() - begin < 1650ms);
    over.happen();
  }

  TEST_CASE("whoever takes its time between items is not told that the service did (164)") {
    Happening asked;
    Scripted service([&](Scripted::Talk& talk) {
      talk.request();
      talk.say(stream_head).say("1\r\n1\r\n1\r\n");
      static_cast<void>(asked.happened());
      talk.say("2\r\n0\r\n\r\n");
    });
    kt::Timeouts quick;
    quick.idle = quick.total = 1s;
    auto items = service.client(quick).stream<int>("x");
    CHECK(items.next() == 1);
    std::this_thread::sleep_for(1100ms);
    asked.happen();
    CHECK(items.next() == 2);
    CHECK_FALSE(items.next());
  }

  TEST_CASE("a timeout of zero is none") {
    Scripted service([](Scripted::Talk& talk) {
      const std::string type = "Content-Type: application/json\r\n";
      const std::vector<std::string> whole{"HTTP/1.1 200 OK\r\n", type + "Content-Length: 2\r\n\r\n", "1", "2"};
      const std::vector<std::string> stream{"HTTP/1.1 200 OK\r\n",
                                            type + "Transfer-Encoding: chunked\r\n\r\n",
                                            "2\r\n1",
                                            "2\r\n",
                                            "2\r\n34\r\n",
                                            "0\r\n\r\n"};
      for (std::string request = talk.request(); !request.empty(); request = talk.request()) {
        for (const std::string& part : method_of(request) == "whole" ? whole : stream) {
          std::this_thread::sleep_for(5ms);
          talk.say(part);
        }
      }
    });
    const kt::Client client = service.client({0ms, 0ms, 0ms, 0ms, 0ms});
    for (const char* method : {"whole", "stream"}) {
      CAPTURE(method);
      CHECK(client.call(method) == 12);
      CHECK(ends_of(client, method, false) == std::vector<std::string>(4, "no exception"));
    }
  }
}
