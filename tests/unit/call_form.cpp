// SPDX-License-Identifier: MIT
#include "services.hpp"
#include "support.hpp"

namespace {

// Methods with parameters of all sorts, and what they were called with as text.
struct Forms : Home {
  Forms() {
    kitten.public_api(
        "purr", [](int count, std::string sound) { return std::to_string(count) + sound; }, "", kt::arg("count") = 1,
        kt::arg("sound") = "purr");
    kitten.api(
        "sum",
        [](std::vector<double> values, bool negative) {
          double sum = 0;
          for (const double value : values) sum += value;
          return negative ? -sum : sum;
        },
        "", kt::arg("values"), kt::arg("negative") = false);
    kitten.api(
        "maybe",
        [](std::optional<bool> flag, std::optional<std::vector<std::string>> words) {
          return json{{"flag", flag ? json(*flag) : json()}, {"words", words ? json(*words) : json()}};
        },
        "", kt::arg("flag") = nullptr, kt::arg("words") = nullptr);
    kitten.api(
        "any", [](json value) { return value; }, "", kt::arg("value"));
    kitten.api(
        "attach",
        [](int id, kt::Bytes data, std::string name) {
          return json::array({id, data.size(), name});
        },
        "", kt::arg("id"), kt::arg("data"), kt::arg("name") = "none");
    kitten.api(
        "write", [](std::string text, int times) { return std::to_string(times) + text; }, "", kt::arg("text"),
        kt::arg("times") = 1);
    kitten.api(
        "join", [](std::string a, std::optional<std::string> b) { return a + b.value_or("-"); }, "", kt::arg("a"),
        kt::arg("b") = nullptr);
    kitten.api(
        "reads_itself", [](kt::Request& request) { return std::string(request.query()); }, "");
    kitten.api(
        "gives_back", [](kt::Bytes data) { return data; }, "", kt::arg("data"));
    kitten.fallback([](kt::Request& request) { return request.arguments(); });
    start();
  }
  // "200: result" or "400: error" of a request with that target behind the token, over both kinds of sockets.
  std::string ask(const std::string& target) { return send(get(path(target))); }
  std::string post_bytes(const std::string& target, const std::string& bytes) {
    return send(post(path(target), bytes, "application/octet-stream"));
  }
  std::string send(const std::string& request) {
    const Answer tcp = Wire::tcp(kitten).send(request).answer();
    CHECK(Wire::local(kitten).send(request).answer() == tcp);
    const json body = json::parse(tcp.body);
    return std::to_string(tcp.status) + ": " +
           (tcp.status == 200 ? body.dump() : body.value("error", "no words: " + tcp.body));
  }
};

}  // namespace

TEST_SUITE("call/form") {
  TEST_CASE_FIXTURE(Forms, "arguments stand in the query, as on a command line") {
    CHECK(ask("purr") == "200: \"1purr\"");
    CHECK(ask("purr?") == "200: \"1purr\"");
    CHECK(ask("purr?count=3&sound=rr") == "200: \"3rr\"");
    CHECK(ask("purr?sound=rr") == "200: \"1rr\"");
    CHECK(ask("purr?&&count=0x1f&") == "200: \"31purr\"");
    CHECK(ask("purr/and/more?count=2") == "200: \"2purr\"");
    CHECK(ask("purr?sound=a+b%20c%2B%26%3d%C3%A9") == "200: \"1a b c+&=\xC3\xA9\"");
    CHECK(ask("purr?s%6Fund=a=b?c/d") == "200: \"1a=b?c/d\"");
    CHECK(ask("purr?sound=") == "200: \"1\"");
    CHECK(ask("sum?values=1&values=2.5&negative=yes") == "200: -3.5");
    CHECK(ask("sum?values=7&negative") == "200: -7.0");
    CHECK(ask("sum?values=[1,2]") == "200: 3.0");
    CHECK(ask("sum?values=100000000000000000000") == "200: 1e+20");
    CHECK(ask("maybe?flag&words=a&words=b") == R"(200: {"flag":true,"words":["a","b"]})");
    CHECK(ask("maybe?words=a&flag=off") == R"(200: {"flag":false,"words":["a"]})");
    CHECK(ask("any?value=5") == "200: \"5\"");
    CHECK(ask("any?value=%FF") == R"(200: {"__base64__":"/w=="})");
    CHECK(ask("gives_back?data=%FF%00") == R"(200: {"__base64__":"/wA="})");
    CHECK(ask("help?command=purr").starts_with("200: \""));
    const auto ping = [&](const std::string& query) {
      return Wire::tcp(kitten).send(get(path("ping" + query))).answer().body;
    };
    CHECK_FALSE(contains(ping("?docs=n"), "/attach <id> <data>"));
    CHECK(contains(ping("?docs=y"), "/attach <id> <data>"));
    CHECK(contains(ping("?extra=1&extra=2&word"), R"("extra":["1","2"],"word":true)"));
    // HEAD as GET; public methods for strangers, too; events for browsers.
    CHECK(Wire::tcp(kitten).send("HEAD " + path("purr?count=elephant") + " HTTP/1.1\r\n\r\n").answer(true).status ==
          400);
    CHECK(Wire::tcp(kitten).send(get("/purr?count=2")).answer().body == "\"2purr\"\n");
    kitten.api("items", items, "", kt::arg("count") = 1, kt::arg("text") = "x");
    CHECK(Wire::tcp(kitten)
              .send(get(path("items?count=3&text=y"), "Accept: text/event-stream\r\n"))
              .answer()
              .chunks.size() == 3);
  }

  TEST_CASE_FIXTURE(Forms, "what is wrong with a query is named, and the handler does not run") {
    CHECK(ask("purr?count=elephant") == "400: purr: argument 'count': invalid literal, expected int, got \"elephant\"");
    CHECK(ask("purr?count=") == "400: purr: argument 'count': invalid literal, expected int, got \"\"");
    CHECK(ask("purr?cuont=3") == "400: purr: unknown argument 'cuont' (did you mean 'count'?)");
    CHECK(ask("purr?count=1&count=2") == "400: purr: argument 'count' given twice");
    CHECK(ask("purr?count=1&c%6funt=1") == "400: purr: argument 'count' given twice");
    CHECK(ask("purr?count") == "400: purr: argument 'count' has no value: ?count=...");
    CHECK(ask("purr?sound&count=1") == "400: purr: argument 'sound' has no value: ?sound=...");
    CHECK(ask("any?value") == "400: any: argument 'value' has no value: ?value=...");
    CHECK(ask("sum?values") == "400: sum: argument 'values' has no value: ?values=...");
    CHECK(ask("maybe?flag&flag") == "400: maybe: argument 'flag' given twice");
    CHECK(ask("sum?values=1&values=x") == "400: sum: argument 'values[1]': invalid literal, expected float, got \"x\"");
    CHECK(ask("purr?_args=1") == "400: purr: unknown argument '_args'");
    CHECK(ask("ping?_args=1").starts_with("400: ping: unknown argument '_args'"));
    CHECK(ask("purr?=1") == "400: purr: unknown argument ''");
    CHECK(ask("purr?reply_to_first_fd=0") == "400: purr: unknown argument 'reply_to_first_fd'");
    for (const char* broken : {"%", "%4", "%zz", "sound=%", "sound=%4", "%FF=1", "sound=a&%ED%A0%80=1"}) {
      CAPTURE(broken);
      CHECK(ask("purr?"s + broken) == "400: purr: the query must be percent-encoded, its names UTF-8");
    }
    CHECK(ask("purr?sound=%FF").starts_with("400: purr: argument 'sound': invalid literal, expected str"));
    std::string many = "sum?values=1";
    for (int i = 0; i < 1000; ++i) many += "&values";
    CHECK(ask(many) == "400: sum: argument 'values' has no value: ?values=...");
    many = "sum?values=1";
    for (int i = 0; i < 600; ++i) many += "&values=1";
    CHECK(ask(many) == "200: 601.0");
    many = "ping?a";
    for (int i = 0; i < 1000; ++i) many += "&b=" + std::to_string(i % 7);
    CHECK(ask(many) == "400: ping: too many arguments in the query");
    // Strangers are not told their own words back.
    const auto stranger = [&](const std::string& target) {
      return json::parse(Wire::tcp(kitten).send(get(target)).answer().body).value("error", "");
    };
    CHECK(stranger("/purr?cuont=3") == "purr: unknown argument");
    CHECK(stranger("/purr?count=elephant") == "purr: argument 'count': invalid literal, expected int");
    CHECK(stranger("/sum?values=1") == "Access Denied");
  }

  TEST_CASE_FIXTURE(Forms, "a query stands beside a body, but not with the same name") {
    const std::string packed(
        "\x81\xa5"
        "sound\xa1z",
        9),
        positional("\x81\xa5_args\x91\x07", 9);
    const std::string msgpack = "application/x-msgpack";
    const auto answer = [&](const std::string& target, const std::string& body, const std::string& type) {
      const Answer found = Wire::tcp(kitten).send(post(path(target), body, type)).answer();
      json value;
      CHECK_FALSE((type == msgpack ? kt::decode_msgpack(found.body, value) : kt::decode_json(found.body, value)));
      return value.is_object() ? value.value("error", "") : value.get<std::string>();
    };
    CHECK(answer("purr?count=3", packed, msgpack) == "3z");
    CHECK(answer("purr?count=3", R"({"sound": "z"})", "application/json") == "3z");
    CHECK(answer("purr?count=3", "sound=z", "application/x-www-form-urlencoded") == "3z");
    CHECK(answer("purr?sound=z", positional, msgpack) == "7z");
    CHECK(answer("purr?sound=z", R"({"_args": [7]})", "application/json") == "7z");
    CHECK(answer("purr?count=3", "", "application/json") == "3purr");
    CHECK(answer("purr?sound=y", packed, msgpack) == "purr: argument 'sound' is both in the query and in the body");
    CHECK(answer("purr?sound=y", R"({"sound": "z"})", "application/json") ==
          "purr: argument 'sound' is both in the query and in the body");
    CHECK(answer("purr?count=3", positional, msgpack) == "purr: argument 'count' given twice");
    CHECK(answer("purr?count=3", "[1]", "application/json") == "arguments must be a map");
  }

  TEST_CASE_FIXTURE(Forms, "who takes the request alone reads the query itself; who takes anything gets it") {
    CHECK(ask("reads_itself?a=%zz&b&b") == "200: \"a=%zz&b&b\"");
    CHECK(ask("page?a=1&b=x+y&b=z&c") == R"(200: {"a":"1","b":["x y","z"],"c":true})");
    CHECK(ask("page") == "200: {}");
    CHECK(ask("page?%zz") == "400: fallback: the query must be percent-encoded, its names UTF-8");
  }

  TEST_CASE_FIXTURE(Forms, "a query is not logged, and GET changes nothing of the service") {
    kitten.settings().worker_log_level = 0;
    CHECK(ask("purr?sound=hush&count=1").starts_with("200"));
    CHECK(ask("purr?sound=hush&count=x").starts_with("400"));
    CHECK(ask("nothing/at?hush=%zz").starts_with("400"));
    CHECK(Wire::tcp(kitten).send(get("/purr?hush=1")).answer().status == 400);
    CHECK(Wire::tcp(kitten).send(get("/nothing?hush=1")).answer().status == 403);
    CHECK_FALSE(contains(log(), "hush"));

    CHECK(ask("quitquitquit?x=1") == "405: Method Not Allowed");
    for (const char* change :
         {"key=worker_nice&val=5", "reset=worker_nice", "save=yes", "key=worker_nice&val=", "key=worker_nice&pop=1"}) {
      CAPTURE(change);
      CHECK(ask("config?"s + change) == "405: config: only POST changes anything");
    }
    CHECK(contains(ask("config?key=worker_nice"), R"("worker_nice":0)"));
    CHECK(send(post(path("config?key=worker_http_request_timeout1&val=5"), "{}")).starts_with("200: "));
    CHECK(kitten.limits().head_timeout == 5s);
    CHECK(kitten.loopback().call("config", kt::arg("reset") = "worker_http_request_timeout1").is_object());
  }

  TEST_CASE_FIXTURE(Forms, "a body of bytes is the one argument for bytes, or for text, that has no name") {
    const std::string every = [] {
      std::string bytes;
      for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
      return bytes;
    }();
    CHECK(post_bytes("attach?id=1", every) == R"(200: [1,256,"none"])");
    CHECK(post_bytes("attach?id=1&name=a", every) == R"(200: [1,256,"a"])");
    CHECK(post_bytes("attach?id=1", "") == R"(200: [1,0,"none"])");
    CHECK(post_bytes("attach?id=1", std::string(1000000, 'x')) == R"(200: [1,1000000,"none"])");
    CHECK(post_bytes("write", "{\"a\": 1}") == "200: \"1{\\\"a\\\": 1}\"");
    CHECK(post_bytes("write?times=3", "x=1&y") == "200: \"3x=1&y\"");
    CHECK(post_bytes("join?a=x", "y") == "200: \"xy\"");
    json back;
    CHECK_FALSE(kt::decode_json(post_bytes("gives_back", every).substr(5), back));
    CHECK(back == kt::bytes(every));
    for (const kt::Client& client : {kitten.connect(), kitten.loopback()}) {
      CHECK(client.call("gives_back", kt::bytes(every)) == kt::bytes(every));
      CHECK(client.call<std::string>("write", kt::bytes("x")) == "1x");
    }
    CHECK(send(post(path("attach?id=1"), "abc", "Application/Octet-Stream; x=y")) == R"(200: [1,3,"none"])");
    CHECK(send("POST " + path("attach?id=1") +
               " HTTP/1.1\r\nContent-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
               "3\r\na\0b\r\n2\r\ncd\r\n0\r\n\r\n"s) == R"(200: [1,5,"none"])");

    CHECK(post_bytes("join", "y") == "400: join: the body can be one of 'a', 'b': name the others in the query");
    CHECK(post_bytes("join?a=x&b=y", "z") ==
          "400: join: no parameter is left that takes bytes or text, as which a body of application/octet-stream is "
          "taken");
    CHECK(post_bytes("sum?values=1", "x").starts_with("400: sum: no parameter is left that takes bytes or text"));
    CHECK(post_bytes("ping", "x").starts_with("400: ping: no parameter is left"));
    CHECK(post_bytes("attach", "x") == "400: attach: missing argument 'id' (int)");
    CHECK(post_bytes("attach?id=1&data=y&name=z", "x").starts_with("400: attach: no parameter is left"));
    CHECK(post_bytes("attach?id=1&data=y", "x") == R"(200: [1,1,"x"])");
    CHECK(post_bytes("write", "\xFF").starts_with("400: write: argument 'text': invalid literal, expected str"));
    CHECK(post_bytes("attach?id=1", std::string(2000000, 'x')).starts_with("413: "));
    CHECK(send("GET " + path("purr") +
               " HTTP/1.1\r\nContent-Type: application/octet-stream\r\nContent-Length: 1\r\n\r\nx") ==
          "200: \"1purr\"");
  }

  TEST_CASE_FIXTURE(Forms, "who sends bytes in another way is told the right one") {
    const auto words = [&](const std::string& body, const std::string& type) {
      return send(post(path("attach?id=1"), body, type));
    };
    for (const char* type : {"multipart/form-data; boundary=x", "Multipart/Form-Data", "multipart/mixed"}) {
      CAPTURE(type);
      const std::string said =
          words("--x\r\nContent-Disposition: form-data; name=\"data\"\r\n\r\nabc\r\n--x--\r\n", type);
      CHECK(said.starts_with("415: "));
      CHECK(contains(said, "multipart"));
      CHECK(contains(said, "METHOD?name=value"));
      CHECK(contains(said, "Content-Type: application/octet-stream"));
    }
    CHECK(contains(words("abc", "image/png"), "bytes are application/octet-stream"));
    CHECK(contains(words("abc", "text/plain"), "bytes are application/octet-stream"));
    CHECK(contains(words("a=\xFF", "application/x-www-form-urlencoded"),
                   "bytes go with Content-Type: application/octet-stream"));
    CHECK(Wire::tcp(kitten).send(post("/attach?id=1", "abc", "multipart/form-data")).answer().status == 403);
  }

  TEST_CASE("a router's arguments count more than those of the query, and are named for a body of bytes") {
    Home home;
    home.kitten.router([](const kt::Request& request) -> std::optional<kt::RouteTo> {
      if (!request.path().starts_with("/items/")) return std::nullopt;
      kt::RouteTo to{"put"};
      to.arguments["name"] = std::string(request.path().substr(7));
      return to;
    });
    home.kitten.api(
        "put", [](std::string name, std::string text, int times) { return name + text + std::to_string(times); }, "",
        kt::arg("name"), kt::arg("text"), kt::arg("times") = 1);
    home.start();
    const auto answer = [&](const std::string& request) { return Wire::tcp(home.kitten).send(request).answer().body; };
    CHECK(answer(home.get(home.path("items/a?text=b&times=2"))) == "\"ab2\"\n");
    CHECK(answer(home.get(home.path("items/a?text=b&name=c"))) == "\"ab1\"\n");
    CHECK(answer(home.post(home.path("items/a?times=3"), "bytes", "application/octet-stream")) == "\"abytes3\"\n");
  }
}
