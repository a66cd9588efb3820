// SPDX-License-Identifier: MIT
#include "services.hpp"
#include "support.hpp"
#include "wire/http_writer.ipp"

// ---- tests/interop/recorded: what Python clients and services send, byte by byte

namespace {

std::string recorded(const std::string& name) {
  const char* folder = std::getenv("KETTLINGAR_RECORDED");
  const auto beside = std::filesystem::path(__FILE__).parent_path() / "tests/interop/recorded";
  const std::filesystem::path path = (folder != nullptr                 ? std::filesystem::path(folder)
                                      : std::filesystem::exists(beside) ? beside
                                                                        : "tests/interop/recorded") /
                                     name;
  REQUIRE_MESSAGE(std::filesystem::exists(path), path << " is missing; KETTLINGAR_RECORDED names its folder");
  return contents(path.string());
}

// A head as a Python client needs it, with the length of `body`.
std::string python_answer(const std::string& status, const std::string& type, const std::string& body) {
  return "HTTP/1.1 " + status + "\nContent-Type: " + type + "\nContent-Length: " + std::to_string(body.size()) +
         "\nConnection: close\n\n" + body;
}
std::string python_document(const std::string& body) {
  std::string answer = python_answer("200 OK", "text/plain", body);
  return answer.insert(answer.find("\n\n") + 1,
                       "Cache-Control: no-store\nX-Content-Type-Options: nosniff\nReferrer-Policy: same-origin\n");
}

std::string python_stream(const std::string& type, const std::vector<std::string>& items) {
  std::string stream = "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nContent-Type: " + type +
                       "\nConnection: close\nX-Accel-Buffering: no\n\n";
  for (const std::string& item : items) kt::detail::append_chunk(stream, item);
  return stream + "0\r\n\r\n";
}

std::string packed(const json& value) {
  std::string bytes;
  CHECK_FALSE(kt::encode_msgpack(value, bytes));
  return bytes;
}

// The service that the recorded requests are for.
struct Recorded : Home {
  Recorded() : Home("Kitty") {
    kitten.settings().worker_secret = "SECRET";
    kitten.public_api(
        "meow", [] { return kt::text("Meow world, meow!\n"); }, "Meow.");
    kitten.api(
        "purr",
        [](int count, std::string purr, bool caps) -> kt::Generator<json> {
          if (caps)
            std::transform(purr.begin(), purr.end(), purr.begin(), [](char c) { return static_cast<char>(c - 32); });
          json item = json::object();
          std::string all;
          for (int i = 0; i < count; ++i) {
            all += purr;
            item["purr"] = all;
            co_yield item;
          }
        },
        kt::arg("count") = 1, kt::arg("purr") = "purr", kt::arg("caps") = false);
    kitten.api("freakout", [] { throw std::runtime_error("Nothing is good enough for me!"); });
    kitten.api(
        "echo", [](json value) { return value; }, kt::arg("value"));
    kitten.api(
        "cat",
        [](kt::File file) -> kt::Task<kt::Bytes> {
          const std::string text = co_await kt::async_read_all(file);
          co_return kt::Bytes(text.begin(), text.end());
        },
        kt::arg("file"));
    kitten.api(
        "ping_pong",
        [](std::string ball, int count) -> kt::Generator<std::string> {
          co_yield "I have the " + ball;
          co_yield std::to_string(count);
        },
        kt::arg("ball"), kt::arg("count"));
    start();
  }
  // What comes back, to the end of the connection; sent in one piece, and byte by byte.
  void check(const std::string& request, const std::string& expected) {
    CAPTURE(request);
    for (const bool local : {true, false}) {
      Wire whole = local ? Wire::local(kitten) : Wire::tcp(kitten);
      CHECK(whole.send(recorded(request)).rest() == expected);
      Wire bytes = local ? Wire::local(kitten) : Wire::tcp(kitten);
      for (const char byte : recorded(request)) bytes.send({&byte, 1});
      CHECK(bytes.rest() == expected);
    }
  }
  // The 202, or whatever the caller gets, for a request with a descriptor.
  std::string with_descriptor(const std::string& request, int fd) {
    Wire wire = Wire::local(kitten);
    send_with(wire, recorded(request), {fd});
    return wire.rest();
  }
};

const std::string msgpack_type = "application/x-msgpack", json_type = "application/json";
const std::string accepted = python_answer("202 Accepted", json_type, "{\"replied_to_first_fd\": true}\n");

// A service that gives the same answer to every call but pings, which it answers as a Python service does.
class RecordedPeer {
 public:
  // `piece`: so many bytes at a time. Descriptors go with the first one.
  RecordedPeer(bool local, std::string answer, std::size_t piece, std::vector<int> descriptors = {})
      : local_(local),
        answer_(std::move(answer)),
        piece_(piece),
        descriptors_(std::move(descriptors)),
        listener_(::socket(local ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    std::string url = "http://unix-domain:0/SECRET";
    if (local_) {
      sockaddr_un address{};
      address.sun_family = AF_UNIX;
      const std::string path = state / "odd.sock";
      REQUIRE(path.size() < sizeof address.sun_path);
      std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
      REQUIRE(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    } else {
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      socklen_t size = sizeof address;
      REQUIRE(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
      REQUIRE(::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
      url = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port)) + "/SECRET";
    }
    REQUIRE(::listen(listener_.get(), 16) == 0);
    write_file(state / "odd.url", url);
    thread_ = std::thread([this] { serve(); });
  }
  ~RecordedPeer() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }
  kt::Client client(bool msgpack = true) {
    kt::ClientOptions options;
    options.state_directory = state.path();
    options.use_unix_socket = local_;
    options.use_tcp = !local_;
    options.use_msgpack = msgpack;
    return kt::Client::connect("interop", "odd", options);
  }
  // The last one that was no ping.
  std::string request() {
    const std::lock_guard lock(mutex_);
    return request_;
  }

  TempDir state;

 private:
  void serve() {
    for (;;) {
      const kt::Fd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!connection) return;
      const int on = 1;
      if (!local_) ::setsockopt(connection.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      std::string request = read(connection);
      if (request.starts_with("POST /SECRET/ping ")) {
        answer(connection, recorded(contains(request, json_type) ? "ping_json.answer" : "ping.answer"), {});
      } else {
        {
          const std::lock_guard lock(mutex_);
          request_ = std::move(request);
        }
        answer(connection, answer_, descriptors_);
      }
    }
  }
  static std::string read(const kt::Fd& connection) {
    std::string request;
    char block[4096];
    for (;;) {
      const std::size_t end = request.find("\n\n"), length = request.find("Content-Length: ");
      if (end != std::string::npos && length != std::string::npos &&
          request.size() >= end + 2 + std::stoul(request.substr(length + 16)))
        return request;
      const ssize_t n = ::recv(connection.get(), block, sizeof block, 0);
      if (n <= 0) return request;
      request.append(block, static_cast<std::size_t>(n));
    }
  }
  void answer(const kt::Fd& connection, std::string_view bytes, const std::vector<int>& descriptors) const {
    std::vector<kt::Fd> copies;
    for (const int fd : descriptors) copies.push_back(kt::Fd(::fcntl(fd, F_DUPFD_CLOEXEC, 0)));
    while (!bytes.empty()) {
      const std::string_view part = bytes.substr(0, piece_);
      const ssize_t n = copies.empty() ? ::send(connection.get(), part.data(), part.size(), MSG_NOSIGNAL)
                                       : kt::detail::send_with_descriptors(connection.get(), part, copies);
      if (n <= 0) return;
      copies.clear();
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
  }

  bool local_;
  std::string answer_;
  std::size_t piece_;
  std::vector<int> descriptors_;
  kt::Fd listener_;
  std::mutex mutex_;
  std::string request_;
  std::thread thread_;
};

// Items, or the result, and "! status text" for what was thrown; status 0: not by the service.
json outcome(const kt::Client& client, bool stream) {
  json items = json::array();
  try {
    if (!stream) {
      items.push_back(client.call("method"));
    } else {
      auto answer = client.stream("method");
      while (auto item = answer.next()) items.push_back(*std::move(item));
    }
  } catch (const kt::Error& error) {
    items.push_back("! " + std::to_string(error.status()) + " " + error.what());
  } catch (const kt::ConnectionError& error) {
    items.push_back("! 0 "s + error.what());
  }
  return items;
}

json big(const std::string& hex) { return json::binary(kt::Bytes(hex.begin(), hex.end()), kt::big_integer_ext); }

}  // namespace

TEST_SUITE("interop") {
  TEST_CASE_FIXTURE(Recorded, "calls of Python clients: values, documents and streams as these can read them") {
    const std::string meow = python_document("Meow world, meow!\n");
    check("meow.request", meow);
    check("meow_json.request", meow);
    const std::string one = packed(json{{"purr", "PURR"}}), two = packed(json{{"purr", "PURRPURR"}});
    check("purr.request", python_stream(msgpack_type, {one, two}));
    check("purr_json.request", python_stream(json_type, {"{\"purr\":\"PURR\"}\n", "{\"purr\":\"PURRPURR\"}\n"}));
  }

  TEST_CASE_FIXTURE(Recorded, "calls of Python clients: values come back as they were sent") {
    const auto body = [](const std::string& message) { return message.substr(message.find("\n\n") + 2); };
    // {"_args": [values]}, without the map, the key and the list.
    check("echo.request", python_answer("200 OK", msgpack_type, body(recorded("echo.request")).substr(8)));
    std::string text = json::parse(R"([null,true,-1,18446744073709551615])").dump();
    text.pop_back();
    text +=
        ",18446744073709551616,-9223372036854775809,1606938044258990275541962092341162602522202993782792835301376,1.5,"
        "\"K\xC3\xA4tzchen \xF0\x9F\x90\x88\",{\"__base64__\":\"AP8=\"},{\"__base64__\":\"\"},\"\",[],{},"
        "{\"a\":[{\"b\":null}]}]\n";
    check("echo_json.request", python_answer("200 OK", json_type, text));
  }

  TEST_CASE_FIXTURE(Recorded, "calls of Python clients: errors are maps, under a status of their own") {
    const auto error = [](const std::string& text) { return packed(json{{"error", text}}); };
    json unknown = json::object();
    unknown["error"] = "no such method";
    unknown["unknown_method"] = true;
    check("unknown.request", python_answer("404 Not Found", msgpack_type, packed(unknown)));
    check("freakout.request",
          python_answer("500 Internal Server Error", msgpack_type, error("Nothing is good enough for me!")));
    const std::string refused = Wire::tcp(kitten).send(recorded("elephant.request")).rest();
    CHECK(refused.starts_with("HTTP/1.1 400 Bad Request\nContent-Type: application/x-msgpack\nContent-Length: "));
    CHECK(contains(refused, "invalid literal"));  // what callers of the package look for
  }

  TEST_CASE_FIXTURE(Recorded, "calls of Python clients: a ping, which is how they connect") {
    for (const std::string name : {"connect", "connect_unix", "connect_json", "ping_docs"}) {
      CAPTURE(name);
      Wire wire = name == "connect_unix" ? Wire::local(kitten) : Wire::tcp(kitten);
      const std::string bytes = wire.send(recorded(name + ".request")).rest();
      const std::string body = bytes.substr(bytes.find("\n\n") + 2);
      CHECK(bytes == python_answer("200 OK", name == "connect_json" ? json_type : msgpack_type, body));
      json pong;
      if (name == "connect_json") {
        CHECK_FALSE(kt::decode_json(body, pong));
      } else {
        CHECK_FALSE(kt::decode_msgpack(body, pong));
      }
      CHECK(pong["pong"] == true);
      CHECK(pong["conn"].get<std::string>().starts_with(name == "connect_unix" ? "unix-domain" : "127.0.0.1:"));
      CHECK(pong["_format"].is_string());
      CHECK(pong["methods"]["purr"]["is_generator"] == true);
      CHECK(pong["methods"]["meow"]["is_generator"] == false);
      CHECK(pong["methods"]["meow"].contains("help") == (name == "ping_docs"));
      // They become attributes of the client, and would replace its own.
      for (const char* own : {"ping", "config", "quitquitquit", "call", "connect", "name"})
        CHECK_FALSE(pong["methods"].contains(own));
    }
  }

  TEST_CASE_FIXTURE(Recorded, "calls of Python clients: open files, and answers that go into files and sockets") {
    const int before = open_descriptors();
    write_file(state / "file", "what a cat reads");
    const std::string bytes = packed(kt::bytes("what a cat reads"));
    CHECK(with_descriptor("cat.request", kt::File::open(state / "file", "rb").get()) ==
          python_answer("200 OK", msgpack_type, bytes));
    CHECK(with_descriptor("cat_json.request", kt::File::open(state / "file", "rb").get()) ==
          python_answer("200 OK", json_type, "{\"__base64__\":\"d2hhdCBhIGNhdCByZWFkcw==\"}\n"));
    const std::string meow = python_document("Meow world, meow!\n");
    for (const std::string suffix : {"", "_json"}) {
      CAPTURE(suffix);
      CHECK(with_descriptor("to_file" + suffix + ".request", kt::File::open(state / ("target" + suffix), "wb").get()) ==
            accepted);
      CHECK(eventually([&] { return contents(state / ("target" + suffix)) == meow; }));
    }
    const std::string one = packed(json{{"purr", "PURR"}}), two = packed(json{{"purr", "PURRPURR"}});
    const std::pair<std::string, std::string> rows[] = {
        {"to_socket", python_stream(msgpack_type, {one, two})},
        {"to_socket_json", python_stream(json_type, {"{\"purr\":\"PURR\"}\n", "{\"purr\":\"PURRPURR\"}\n"})},
        // The head has been sent by another service.
        {"delegated",
         "10\r\n\xafI have the ball\r\n2\r\n\xa1"
         "2\r\n0\r\n\r\n"},
        {"delegated_json", "12\r\n\"I have the ball\"\n\r\n4\r\n\"2\"\n\r\n0\r\n\r\n"}};
    for (const auto& [name, expected] : rows) {
      CAPTURE(name);
      SocketPair pair;
      CHECK(with_descriptor(name + ".request", pair.there.get()) == accepted);
      pair.there.reset();
      CHECK(pair.rest() == expected);
    }
    CHECK(eventually([&] { return open_descriptors() == before; }));
  }

  TEST_CASE_FIXTURE(Recorded, "calls of Python clients: goodbye, with no file left behind") {
    const std::string goodbye = Wire::local(kitten).send(recorded("quitquitquit.request")).rest();
    CHECK(goodbye == python_answer("200 OK", msgpack_type, packed("Goodbye forever")));
    CHECK(std::filesystem::is_empty(state.path()));
  }

  TEST_CASE("answers of Python services become values, items and exceptions, however they are cut") {
    const json purrs = json::array({json{{"purr", "PURR"}, {"_format", "Kitty says %(purr)s"}},
                                    json{{"purr", "PURRPURR"}, {"_format", "Kitty says %(purr)s"}}});
    const json soft = json::array({json{{"purr", "purr"}, {"_format", "Kitty says %(purr)s"}},
                                   json{{"purr", "purrpurr"}, {"_format", "Kitty says %(purr)s"}}});
    json both = soft;
    both.insert(both.begin(), "Meow world, meow!\n");
    json values = json::object();
    values["text"] = "K\xC3\xA4tzchen \xF0\x9F\x90\x88";
    values["bytes"] = kt::bytes("\0\xff"sv);
    values["none"] = nullptr;
    values["truth"] = true;
    values["pi"] = 3.25;
    values["list"] = json::array({1, json::array(), json::object()});
    values["most"] = (std::numeric_limits<std::uint64_t>::max)();
    values["least"] = (std::numeric_limits<std::int64_t>::min)();
    values["big"] = big("10000000000000000");
    values["bigger"] = big("1" + std::string(50, '0'));
    values["below"] = big("-8000000000000001");
    const json items = json::array({json{{"item", 1}}, json{{"item", 2}}, "! 500 that was all"});
    json events =
        json::array({json{{"event", "hello"}, {"data", "two\nlines"}},
                     json{{"id", "5"}, {"retry", "100"}, {"data", "{\"k\": 1}\n"}}, json{{"data", "{\"a\": 1}\n"}}});
    const auto game = [](const std::string& one, const std::string& two) {
      const std::string back = ", sending ball back!";
      return json::array({"I am " + one + back, "I am " + two + back, "I am " + one + back, "I am " + two + back,
                          "I am " + one + ", I am keeping ball"});
    };
    const auto freakout = "! 500 Nothing is good enough for me!";
    struct Row {
      std::string name;
      bool stream;
      json expected;
    };
    const Row rows[] = {
        {"meow", false, {{{"mimetype", "text/plain"}, {"data", "Meow world, meow!\n"}}}},
        {"ping_stranger", false, {{{"mimetype", "text/plain"}, {"data", "Pong\n"}}}},
        {"document", false, {{{"mimetype", "image/gif"}, {"data", kt::bytes("GIF89a\0\n\xff"sv)}}}},
        {"values", false, {values}},
        {"values_json", false, {values}},
        {"nothing", false, {nullptr}},
        {"nothing_json", false, {nullptr}},
        {"empty_bytes", false, {kt::bytes("")}},
        {"empty_bytes_json", false, {kt::bytes("")}},
        {"accepted", false, {{{"replied_to_first_fd", true}}}},
        {"purr", true, purrs},
        {"purr_json", true, purrs},
        {"both", true, both},
        {"to_socket", true, soft},
        {"raw_items", true, {kt::bytes("one\n"), kt::bytes("two\n")}},
        {"events", true, events},
        {"delegated", true, game("milton", "meowzer")},
        {"delegated_json", true, game("meowzer", "milton")},
        {"no_items", true, json::array()},
        {"no_items_json", true, json::array()},
        {"breaks", true, items},
        {"breaks_json", true, items},
        {"error_map", false, {"! 500 a result with this key"}},
        {"elephant", true, {"! 500 invalid literal for int() with base 10: 'elephant'"}},
        {"fails", false, {"! 500 no luck today"}},
        {"missing", false, {"! 500 nothing of that name"}},
        {"freakout", false, {freakout}},
        {"freakout_json", false, {freakout}},
        {"breaks_at_once", true, {"! 500 not even one"}},
        {"two_files_tcp", false, {"! 500 Cannot send file descriptors over TCP"}},
        {"unknown", false, {"! 404 Not Found"}},
        {"stranger", false, {"! 403 /purr"}},
        {"denies", false, {"! 403 not for you"}},
        {"finished_first", true, {"! 403 closed today"}},
        {"asks", false, {"! 423 Who are you?"}},
        {"asks_first", true, {"! 423 Who are you?"}},
        {"vanishes", true, {"! 0 the service closed the connection without an answer"}},
    };
    for (const Row& row : rows) {
      CAPTURE(row.name);
      const std::string bytes = recorded(row.name + ".answer");
      const json expected = row.expected.is_array() ? row.expected : json::array({row.expected});
      for (const std::size_t piece : {bytes.size() + 1, std::size_t{1}}) {
        for (const bool local : {true, false}) {
          CAPTURE(local);
          CAPTURE(piece);
          RecordedPeer service(local, bytes, piece);
          CHECK(outcome(service.client(), row.stream) == expected);
        }
      }
    }
    // The texts are ours: the body of one is no JSON, that of the other no map.
    for (const auto& [name, status] : {std::pair("moved"s, "302"s), {"other_status", "418"}}) {
      CAPTURE(name);
      RecordedPeer service(false, recorded(name + ".answer"), 1);
      const std::string text = outcome(service.client(), false)[0].get<std::string>();
      CHECK_MESSAGE(text.starts_with("! " + status + " "), text);
    }
  }

  TEST_CASE("answers of Python services: what they need to be told") {
    for (const char* name : {"asks.answer", "asks_first.answer"}) {
      RecordedPeer service(false, recorded(name), 1);
      const kt::Client client = service.client();
      try {
        client.call("login");
        FAIL("no exception");
      } catch (const kt::NeedInfo& need) {
        REQUIRE(need.needed().size() == 1);
        CHECK(need.needed()[0].name == (name == "asks.answer"s ? "user" : "pin"));
        CHECK(need.needed()[0].type == (name == "asks.answer"s ? "username" : "password"));
        CHECK(need.needed()[0].comment == (name == "asks.answer"s ? "Login" : ""));
        CHECK(need.resource() == (name == "asks.answer"s ? json("door") : json(false)));
      }
    }
  }

  TEST_CASE("answers of Python services: open files come with the first byte") {
    const int before = open_descriptors();
    {
      TempDir dir;
      write_file(dir / "one", "first");
      write_file(dir / "two", "second");
      const kt::File one = kt::File::open(dir / "one"), two = kt::File::open(dir / "two");
      for (const std::size_t piece : {std::size_t{4096}, std::size_t{1}}) {
        ::lseek(one.get(), 0, SEEK_SET);
        ::lseek(two.get(), 0, SEEK_SET);
        RecordedPeer service(true, recorded("two_files.answer"), piece, {one.get(), two.get()});
        const auto files = service.client().call<std::vector<kt::File>>("two_files");
        REQUIRE(files.size() == 2);
        CHECK(files[0].mode() == "rb");
        CHECK(files[1].mode() == "r");
        CHECK(all_of(files[0]) == "first");
        CHECK(all_of(files[1]) == "second");
      }
      // None came: a text is no file.
      RecordedPeer service(true, recorded("two_files.answer"), 4096);
      CHECK_THROWS_AS(service.client().call<std::vector<kt::File>>("two_files"), kt::ResultError);
    }
    CHECK(eventually([&] { return open_descriptors() == before; }));
  }

  TEST_CASE("calls to a Python service are what a Python client would send, byte for byte") {
    const kt::File file = kt::File::open("/dev/null", "rb+");
    SocketPair pair;
    for (const bool local : {true, false}) {
      RecordedPeer service(local, recorded("nothing.answer"), 4096);
      const kt::Client client = service.client(), plain = service.client(false);
      client.call("purr", "0x2", kt::arg("caps") = "y");
      CHECK(service.request() == recorded("purr.request"));
      client.call("meow");
      CHECK(service.request() == recorded("meow.request"));
      client.call("no_such_method", 1);
      CHECK(service.request() == recorded("unknown.request"));
      plain.call("purr", "0x2", kt::arg("caps") = "y");
      CHECK(service.request() ==
            "POST /SECRET/purr HTTP/1.1\nConnection: close\nContent-Type: application/json\nContent-Length: 29\n\n"
            "{\"caps\":\"y\",\"_args\":[\"0x2\"]}\n");
      if (!local) continue;
      client.call("cat", kt::File::open("/dev/null", "rb+"));
      CHECK(service.request() == recorded("cat.request"));
      client.call("meow", kt::reply_to(file));
      CHECK(service.request() == recorded("to_file.request"));
      client.call("purr", kt::reply_to(pair.there), "0x2", kt::arg("caps") = "y");
      CHECK(service.request() == recorded("to_socket.request"));
    }
  }
}
