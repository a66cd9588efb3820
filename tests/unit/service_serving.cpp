// SPDX-License-Identifier: MIT
#include "call/form.ipp"
#include "service/auth.ipp"
#include "service/registry.ipp"
#include "service/request_steps.ipp"
#include "services.hpp"
#include "support.hpp"

TEST_SUITE("service/serving") {
  TEST_CASE(
      "the first path component, a bearer header or a whole word of another header is the token; nothing else is (72, "
      "75)") {
    Home home;
    home.kitten.api("secret", [] { return 1; });
    home.start();
    const std::string token = home.kitten.token();
    const auto status = [&](const std::string& target, const std::string& headers = "") {
      return Wire::tcp(home.kitten).send(home.get(target, headers)).answer().status;
    };
    CHECK(token.size() == 24);
    CHECK(status("/" + token + "/secret") == 200);
    CHECK(status("/" + token + "/secret/more?") == 200);
    CHECK(status("/secret", "Authorization: Bearer " + token + "\r\n") == 200);
    CHECK(status("/secret", "X-Anything: " + token + "\r\n") == 200);
    std::string flipped = token;
    flipped[0] = flipped[0] == 'a' ? 'b' : 'a';
    for (const std::string& path :
         {std::string("/secret"), "/" + flipped + "/secret", "/" + token.substr(1) + "/secret",
          "/" + token + "x/secret", "/" + token + token + "/secret", std::string("//secret"), "/secret/" + token,
          "/secret?" + token, "/%20" + token + "/secret"}) {
      CAPTURE(path);
      CHECK(status(path) == 403);
    }
    for (const char* header : {"Referer: http://x/", "Origin: ", "Cookie: ", "User-Agent: ", "X: x"}) {
      CAPTURE(header);
      CHECK(status("/secret", header + token + "\r\n") == 403);
    }
    CHECK(status("/" + token + "/unknown") == 404);
    CHECK(status("/" + token + "//secret") == 404);
  }

  TEST_CASE("an answer to HEAD has no body, not even when what follows the head is refused (86)") {
    Home home;
    home.start();
    const std::string request = "HEAD /ping HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n";
    const std::string all = Wire::tcp(home.kitten).send(request).rest();
    CHECK(all.starts_with("HTTP/1.1 400 "));
    CHECK(all.ends_with("\r\nConnection: close\r\n\r\n"));
  }

  TEST_CASE("no answer to what began with HEAD has a body, however it is refused and wherever it was cut (86)") {
    Home home;
    home.kitten.limits().head_timeout = home.kitten.limits().body_timeout = 200ms;
    home.start();
    struct Row {
      std::string request;
      int status;
    };
    const Row rows[] = {{"HEAD /ping HTTP/1.1 x\r\n\r\n", 400},
                        {"\r\n\r\nHEAD /a b HTTP/1.1\r\n\r\n", 400},
                        {"\n\nHEAD /ping\n\n", 400},
                        {"HEAD /\x01 HTTP/1.1\r\n\r\n", 400},
                        {"HEAD /" + std::string(9000, 'a') + " HTTP/1.1\r\n\r\n", 414},
                        {"HEAD /ping HTTP/1.1\r\nExpect: the-unexpected\r\n\r\n", 417},
                        {"HEAD /ping HTTP/1.1\r\nX: " + std::string(40000, 'a') + "\r\n\r\n", 431},
                        {"HEAD /ping HTTP/2.0\r\n\r\n", 505},
                        {"HEAD /ping HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
                        {"HEAD /ping HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400},
                        {"HEAD /ping HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413},
                        {"HEAD /ping HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400},
                        {"HEAD /ping HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
                        {"HEAD /pi", 408},
                        {"HEAD /ping HTTP/1.1\r\nContent-Length: 5\r\n\r\nx", 408},
                        {"HEAD /ping HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 403},
                        {"HEAD /nothing HTTP/1.1\r\nConnection: close\r\n\r\n", 403},
                        {"HEAD " + home.path("nothing") + " HTTP/1.1\r\nConnection: close\r\n\r\n", 404},
                        {"HEAD " + home.path("quitquitquit") + " HTTP/1.1\r\nConnection: close\r\n\r\n", 405}};
    for (const Row& row : rows) {
      for (const bool over_tcp : {true, false}) {
        CAPTURE(row.request.substr(0, 60));
        if (!over_tcp && row.status == 403 && contains(row.request, "evil")) continue;  // Host is not looked at there
        const std::string all = (over_tcp ? Wire::tcp(home.kitten) : Wire::local(home.kitten)).send(row.request).rest();
        CHECK(all.starts_with("HTTP/1.1 " + std::to_string(row.status) + " "));
        const std::string_view end = contains(all, "\r\n") ? "\r\n\r\n" : "\n\n";
        CHECK(all.find(end) + end.size() == all.size());
      }
    }
    // What only looks like it has one.
    CHECK(Wire::tcp(home.kitten).send("HEADER /ping HTTP/1.1 x\r\n\r\n").rest().ends_with("}\n"));
    CHECK(Wire::tcp(home.kitten).send("GET HEAD /ping HTTP/1.1\r\n\r\n").rest().ends_with("}\n"));
    // Descriptors that are too many are noticed before the bytes that they came with, which may be half a word.
    std::vector<int> many;
    for (int i = 0; i < 20; ++i) many.push_back(::dup(0));
    for (const char* begun : {"HEAD /ping HTTP/1.1\r\n", "HEAD", "H"}) {
      CAPTURE(begun);
      Wire local = Wire::local(home.kitten);
      send_with(local, begun, many);
      const std::string all = local.rest();
      CHECK(all.starts_with("HTTP/1.1 400 "));
      CHECK(all.ends_with("\r\n\r\n"));
    }
    Wire other = Wire::local(home.kitten);
    send_with(other, "GET", many);
    CHECK(other.rest().ends_with("}\n"));
    for (const int fd : many) ::close(fd);
  }

  TEST_CASE("a body in an encoding is 415, not arguments, and the connection goes on") {
    Home home;
    Happening ran;
    home.kitten.api(
        "run", [&](std::string text) { ran.happen(), static_cast<void>(text); }, "", kt::arg("text") = "");
    home.start();
    const std::string form = "application/x-www-form-urlencoded";
    for (const bool over_tcp : {true, false}) {
      Wire wire = over_tcp ? Wire::tcp(home.kitten) : Wire::local(home.kitten);
      for (const char* encoding : {"gzip", "GZIP", "br, identity", "deflate", "x", "identity, gzip"}) {
        CAPTURE(encoding);
        for (const std::string& type : {"application/json"s, "application/x-msgpack"s, form, "text/plain"s}) {
          const std::string head = "X: y\r\nContent-Encoding: "s + encoding;
          const Answer answer = wire.send(home.post(home.path("run"), "{}", type + "\r\n" + head)).answer();
          CHECK(answer.status == 415);
          CHECK(answer.fields.at("Accept-Encoding") == "identity");
          CHECK(contains(answer.body, "a body with Content-Encoding is not understood"));
        }
      }
      const int before = ran.count();
      for (const char* line : {"Content-Encoding: identity", "Content-Encoding:", "Content-Encoding: IDENTITY"})
        CHECK(wire.send(home.post(home.path("run"), "{}", "application/json\r\n"s + line)).answer().status == 200);
      // Bodies that nobody reads may be what they like, and so may those that are not there.
      CHECK(wire.send(home.get(home.path("run"), "Content-Encoding: gzip\r\nContent-Length: 1\r\n") + "x")
                .answer()
                .status == 200);
      CHECK(wire.send(home.post(home.path("run"), "", "application/json\r\nContent-Encoding: gzip")).answer().status ==
            200);
      CHECK(ran.count() == before + 5);
    }
    CHECK(Wire::tcp(home.kitten)
              .send(home.post("/run", "{}", "application/json\r\nContent-Encoding: gzip"))
              .answer()
              .status == 403);
  }

  TEST_CASE("strangers get the same answer for private, unknown and mistyped methods") {
    Home home;
    home.kitten.api("secret", [] { return 1; });
    home.start();
    Answer first = Wire::tcp(home.kitten).send(home.get("/secret")).answer();
    CHECK(first.status == 403);
    for (const char* path : {"/nothing", "/help", "/config", "/quitquitquit", "/WRONG/secret", "/a/../secret"}) {
      CHECK(Wire::tcp(home.kitten).send(home.get(path)).answer() == first);
    }
    CHECK(Wire::tcp(home.kitten).send(home.post("/secret", "[broken")).answer() == first);
  }

  TEST_CASE("the token is compared as a whole, whatever its first difference is (73)") {
    const kt::detail::Token token("abcdefgh");
    CHECK(token.matches("abcdefgh"));
    for (const char* wrong : {"", "a", "abcdefg", "abcdefghi", "xbcdefgh", "abcdefgx", "abcdefghabcdefgh"})
      CHECK_FALSE(token.matches(wrong));
    CHECK_FALSE(kt::detail::Token().matches(""));
  }

// Sanitizers add instructions of their own; how many depends on addresses and on chance.
#if defined(__linux__) && defined(__x86_64__) && !KETTLINGAR_TEST_WITH_TSAN && !KETTLINGAR_TEST_WITH_ASAN
  // How many instructions `work` takes: a child does it, and is stopped after each of them. Nothing where that is not
  // allowed.
  template <class Work>
  std::optional<long> instructions(const Work& work) {
    const pid_t child = ::fork();
    if (child == 0) {
      if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(1);
      work();  // the first time also binds what the libraries have
      ::raise(SIGSTOP);
      work();
      ::raise(SIGSTOP);
      ::_exit(0);
    }
    int status = 0;
    const auto stopped_by = [&](int signal) {
      return ::waitpid(child, &status, 0) == child && WIFSTOPPED(status) && WSTOPSIG(status) == signal;
    };
    long count = 0;
    bool traced = stopped_by(SIGSTOP);
    while (traced && ::ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr) == 0 && stopped_by(SIGTRAP)) ++count;
    traced = traced && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP;
    if (WIFSTOPPED(status)) {
      ::kill(child, SIGKILL);
      ::waitpid(child, &status, 0);
    }
    return traced ? std::optional(count) : std::nullopt;
  }

  struct Nothing final : kt::detail::Method {
    explicit Nothing(std::string name) : Method(std::move(name), "") {}
    void run(kt::detail::Call&) const override {}
    void check_defaults(const std::vector<const json*>&, std::size_t&) const override {}
  };

  TEST_CASE(
      "a stranger is refused in the same time whatever is wrong with the token, and whatever methods there are (72, "
      "73)") {
    const std::string secret = "abcdefghijklmnopqrstuvwx";
    const kt::detail::Token token(secret);
    kt::detail::Registry methods;
    for (const char* name : {"meow", "purr", "swim"}) {
      auto method = std::make_shared<Nothing>(name);
      method->set_public(name == "meow"sv);
      methods.add(std::move(method));
    }
    // At one place for all: how functions of the C library look at bytes depends on where they are.
    alignas(64) char place[512];
    const auto placed = [&](std::string_view text) { return std::string_view(place, text.copy(place, sizeof place)); };
    const auto comparison = [&](std::string_view candidate) {
      return instructions([&, here = placed(candidate)] {
        if (token.matches(here)) ::_exit(1);
      });
    };
    const auto usual = comparison("abcdefghijklmnopqrstuvwX");
    if (!usual) {
      MESSAGE("skipped: programs cannot be traced here");
      return;
    }
    CHECK(*usual > 0);
    for (const std::string& other :
         {"Abcdefghijklmnopqrstuvwx"s, "abcdefghijkLmnopqrstuvwx"s, "ABCDEFGHIJKLMNOPQRSTUVWX"s, std::string(24, 'x'),
          "a"s, secret.substr(1), secret + "x", secret + secret, std::string(300, 'a')}) {
      CAPTURE(other);
      CHECK(comparison(other) == usual);
    }
    const auto refusal = [&](std::string_view path) {
      kt::detail::RequestHead head;
      head.path = placed(path);
      return instructions([&] {
        const kt::detail::Route route = kt::detail::find_route(head, token, "");
        if (route.authenticated || methods.find(route.method, false)) ::_exit(1);
      });
    };
    const auto unknown = refusal("/none");
    CHECK(*unknown > 0);
    for (const char* there : {"/purr", "/purl", "/swim"}) {
      CAPTURE(there);
      CHECK(refusal(there) == unknown);
    }
  }
#endif

  TEST_CASE("msgpack is answered with msgpack, everything else with JSON") {
    Home home;
    home.kitten.api(
        "echo", [](json value) { return value; }, "", kt::arg("value"));
    home.start();
    std::string body;
    REQUIRE_FALSE(kt::encode_msgpack(json{{"value", kt::bytes("\xff")}}, body));
    const Answer packed =
        Wire::tcp(home.kitten).send(home.post(home.path("echo"), body, "application/x-msgpack")).answer();
    CHECK(packed.fields.at("Content-Type") == "application/x-msgpack");
    CHECK(packed.body == "\xc4\x01\xff");
    const Answer text = Wire::tcp(home.kitten)
                            .send(home.post(home.path("echo"), R"({"value": 1})", "application/json; charset=utf-8"))
                            .answer();
    CHECK(text.fields.at("Content-Type") == "application/json");
    CHECK(text.body == "1\n");
    const Answer form = Wire::tcp(home.kitten)
                            .send(home.post(home.path("echo"), "value=a+b%21", "application/x-www-form-urlencoded"))
                            .answer();
    CHECK(form.body == "\"a b!\"\n");
    CHECK(Wire::tcp(home.kitten).send(home.post(home.path("echo"), "value=1", "text/plain")).answer().status == 415);
  }

  TEST_CASE("forms become maps: repeated fields lists, empty ones nothing, _args always a list") {
    json found;
    REQUIRE_FALSE(kt::detail::decode_form("a=1&b=2&b=3&c=&_args=x&d=%c3%a9\n", found));
    CHECK(found == json{{"a", "1"}, {"b", {"2", "3"}}, {"_args", json::array({"x"})}, {"d", "\xc3\xa9"}});
    CHECK(kt::detail::decode_form("a=%zz", found));
    CHECK(contains(kt::detail::decode_form(R"({"a": 1})", found).why, "Content-Type: application/json"));
    CHECK(kt::detail::decode_form("a=%ff", found));
  }

  TEST_CASE("bodies that cannot be arguments are 400, before any handler runs") {
    Home home;
    Happening ran;
    home.kitten.api("run", [&] { ran.happen(); });
    home.start();
    for (const char* body :
         {"[1]", "5", "\"x\"", "{", "{\"_args\": 5}", "{\"_args\": {\"a\": 1}}", "{\"a\": NaN}", "nonsense"}) {
      CAPTURE(body);
      CHECK(Wire::tcp(home.kitten).send(home.post(home.path("run"), body)).answer().status == 400);
    }
    for (const std::string& body : {std::string("\xc1"), std::string("\x81\xa1"), std::string("\xc0"),
                                    std::string("\x90"), std::string("\x80\x00", 2), std::string(100, '\x91')}) {
      CHECK(Wire::tcp(home.kitten).send(home.post(home.path("run"), body, "application/x-msgpack")).answer().status ==
            400);
    }
    CHECK(ran.count() == 0);
  }

  TEST_CASE("requests in one segment are answered in order, in one connection (54)") {
    Home home;
    home.kitten.api(
        "echo", [](int n) { return n; }, "", kt::arg("n"));
    home.start();
    std::string requests;
    for (int i = 0; i < 200; ++i) requests += home.post(home.path("echo"), json{{"n", i}}.dump());
    Wire wire = Wire::tcp(home.kitten);
    wire.send(requests);
    for (int i = 0; i < 200; ++i) REQUIRE(wire.answer().body == std::to_string(i) + "\n");
  }

  TEST_CASE("plain, awaited and streamed answers of pipelined requests leave in order") {
    Home home;
    Calculator calculator;
    register_everything(home.kitten, calculator);
    home.start();
    Wire wire = Wire::local(home.kitten);
    wire.send(home.get(home.path("captured")) + home.post(home.path("stream"), R"({"count": 3})") +
              home.get(home.path("nothing")) + home.get(home.path("unknown")) + home.get("/ping"));
    CHECK(json::parse(wire.answer().body) == long_text);
    const Answer stream = wire.answer();
    CHECK(stream.chunks.size() == 3);
    CHECK(stream.end_mark);
    CHECK(wire.answer().body == "null\n");
    CHECK(wire.answer().status == 404);
    CHECK(wire.answer().body == "Pong\n");
  }

  TEST_CASE("a request in bare LF is answered in bare LF, and is the last of its connection (1, 2, 9)") {
    Home home;
    home.start();
    for (const bool over_tcp : {true, false}) {
      Wire wire = over_tcp ? Wire::tcp(home.kitten) : Wire::local(home.kitten);
      wire.send("GET /ping HTTP/1.1\n\nGET /ping HTTP/1.1\n\n");
      CHECK(wire.rest() ==
            "HTTP/1.1 200 OK\nContent-Type: text/plain\nContent-Length: 5\nConnection: close\n"
            "Cache-Control: no-store\nX-Content-Type-Options: nosniff\nReferrer-Policy: same-origin\n\nPong\n");
    }
  }

  TEST_CASE("a request may come byte by byte, its body in chunks") {
    Home home;
    home.kitten.api(
        "echo", [](std::string value) { return value; }, "", kt::arg("value"));
    home.start();
    const std::string request = "POST " + home.path("echo") +
                                " HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n"
                                "5\r\n{\"val\r\na;x=y\r\nue\":\"abcde\r\n2\r\n\"}\r\n0\r\nX: y\r\n\r\n";
    Wire wire = Wire::tcp(home.kitten);
    for (const char c : request) wire.send(std::string_view(&c, 1));
    CHECK(wire.answer().body == "\"abcde\"\n");
    CHECK(wire.send(request + request).answer().body == "\"abcde\"\n");
    CHECK(wire.answer().body == "\"abcde\"\n");
  }

  TEST_CASE("large arguments and results arrive whole") {
    Home home;
    home.kitten.api(
        "echo", [](std::string value) { return value; }, "", kt::arg("value"));
    home.start();
    const std::string value(1'000'000, 'x');
    Wire wire = Wire::local(home.kitten);
    for (int i = 0; i < 3; ++i) {
      wire.send(home.post(home.path("echo"), json{{"value", value}}.dump()));
      CHECK(wire.answer().body == json(value).dump() + "\n");
    }
  }

  TEST_CASE("HEAD has the head of GET and no body (21)") {
    Home home;
    home.kitten.public_api("meow", [] { return kt::text("Meow world, meow!\n"); });
    home.kitten.public_api(
        "purr", [](int n) { return items(n, ""); }, "", kt::arg("n") = 2);
    home.start();
    Wire wire = Wire::tcp(home.kitten);
    wire.send("HEAD /meow HTTP/1.1\r\n\r\nHEAD /purr HTTP/1.1\r\n\r\nGET /meow HTTP/1.1\r\n\r\n");
    const Answer head = wire.answer(true);
    CHECK(head.fields.at("Content-Length") == "18");
    CHECK(wire.answer(true).fields.at("Transfer-Encoding") == "chunked");
    CHECK(wire.answer().body == "Meow world, meow!\n");
  }

  TEST_CASE("100 Continue is said only where the body is wanted (32)") {
    Home home;
    home.kitten.api(
        "echo", [](int n) { return n; }, "", kt::arg("n"));
    home.start();
    const auto head = [&](const std::string& target, const std::string& length) {
      return "POST " + target +
             " HTTP/1.1\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: " + length +
             "\r\n\r\n";
    };
    Wire wanted = Wire::tcp(home.kitten);
    wanted.send(head(home.path("echo"), "7"));
    CHECK(wanted.answer().status == 100);
    CHECK(wanted.send("{\"n\":5}").answer().body == "5\n");
    Wire at_once = Wire::tcp(home.kitten);
    CHECK(at_once.send(head(home.path("echo"), "7") + "{\"n\":5}").answer().status == 200);
    Wire stranger = Wire::tcp(home.kitten);
    CHECK(stranger.send(head("/echo", "7")).answer().status == 403);
    CHECK(stranger.closed());
    Wire large = Wire::tcp(home.kitten);
    CHECK(large.send(head(home.path("echo"), "999999999")).answer().status == 413);
    Wire other = Wire::tcp(home.kitten);
    CHECK(other.send("GET /ping HTTP/1.1\r\nExpect: miracles\r\n\r\n").answer().status == 417);
  }

  TEST_CASE("methods of HTTP that we do not serve are named so, and OPTIONS grants nothing (11, 19, 108)") {
    Home home;
    home.start();
    const auto answer = [&](const std::string& method) {
      return Wire::tcp(home.kitten).send(method + " /ping HTTP/1.1\r\nOrigin: http://evil.example\r\n\r\n").answer();
    };
    CHECK(Wire::tcp(home.kitten).send("PUT /ping HTTP/1.1\r\n\r\n").answer().status == 405);
    CHECK(Wire::tcp(home.kitten).send("PUT /ping HTTP/1.1\r\n\r\n").answer().fields.at("Allow") ==
          "GET, HEAD, POST, OPTIONS");
    CHECK(Wire::tcp(home.kitten).send("BREW /ping HTTP/1.1\r\n\r\n").answer().status == 501);
    CHECK(Wire::tcp(home.kitten).send("get /ping HTTP/1.1\r\n\r\n").answer().status == 501);
    const Answer options = Wire::tcp(home.kitten).send("OPTIONS /ping HTTP/1.1\r\n\r\n").answer();
    CHECK(options.status == 204);
    CHECK_FALSE(contains(options.head, "Access-Control"));
    CHECK(answer("OPTIONS").status == 403);
    CHECK(
        Wire::tcp(home.kitten).send("GET /" + home.kitten.token() + "/quitquitquit HTTP/1.1\r\n\r\n").answer().status ==
        405);
    CHECK(Wire::tcp(home.kitten).send(home.get("/ping")).answer().body == "Pong\n");
  }

  TEST_CASE("pages of foreign origins and rebound names are refused, even with the token (109, 110)") {
    Home home;
    home.kitten.public_api("meow", [] { return 1; });
    home.start();
    const auto status = [&](const std::string& headers) {
      return Wire::tcp(home.kitten)
          .send("GET " + home.path("meow") + " HTTP/1.1\r\n" + headers + "\r\n")
          .answer()
          .status;
    };
    const std::string host = home.kitten.url().substr(7);
    CHECK(status("") == 200);
    CHECK(status("Host: " + host + "\r\n") == 200);
    CHECK(status("Host: localhost\r\n") == 200);
    CHECK(status("Host: [::1]:80\r\n") == 200);
    CHECK(status("Host: " + host + "\r\nOrigin: http://" + host + "\r\n") == 200);
    CHECK(status("Host: localhost.evil.example\r\n") == 403);
    CHECK(status("Host: evil.example:80\r\n") == 403);
    CHECK(status("Host: " + host + "\r\nOrigin: http://evil.example\r\n") == 403);
    CHECK(status("Host: " + host + "\r\nOrigin: null\r\n") == 403);
    for (const char* site : {"cross-site", "same-site", "", "something new"})
      CHECK(status("Host: " + host + "\r\nSec-Fetch-Site: " + site + "\r\n") == 403);
    for (const char* site : {"same-origin", "none"})
      CHECK(status("Host: " + host + "\r\nSec-Fetch-Site: " + site + "\r\n") == 200);
    // Browsers connect these to this machine, but do not always say who asks.
    for (const char* address : {"0.0.0.0", "[::]", "[::ffff:127.0.0.1]", "192.0.2.1"})
      CHECK(status("Host: "s + address + ":80\r\n") == 403);
  }

  TEST_CASE("other names are those of --worker-allow-hosts, and who has the token is told so (109, 110)") {
    Home home;
    home.kitten.public_api("meow", [] { return 1; });
    home.kitten.settings().worker_allow_hosts = "upstream, Kitty.example:8080,[2001:db8::1],192.0.2.7";
    home.start();
    const auto answer = [&](const std::string& headers, const std::string& path) {
      return Wire::tcp(home.kitten).send("GET " + path + " HTTP/1.1\r\n" + headers + "\r\n").answer();
    };
    const auto status = [&](const std::string& headers) { return answer(headers, home.path("meow")).status; };
    for (const char* host : {"upstream", "UPSTREAM:80", "kitty.example:8080", "[2001:db8::1]:1", "[2001:db8::1]",
                             "192.0.2.7:9", "localhost", "127.0.0.1:1"}) {
      CAPTURE(host);
      CHECK(status("Host: "s + host + "\r\n") == 200);
      CHECK(answer("Host: "s + host + "\r\n", "/meow").status == 200);
    }
    for (const char* host :
         {"upstream.evil.example", "evil.upstream", "kitty.example", "kitty.example:80", "192.0.2.70", "[2001:db8::2]",
          "0.0.0.0", "", "up", "upstream,", "upstream,kitty.example:8080"}) {
      CAPTURE(host);
      if (*host != 0) CHECK(status("Host: "s + host + "\r\n") != 200);
    }
    // A page that came through the proxy, which has terminated TLS.
    CHECK(status("Host: upstream\r\nOrigin: https://upstream\r\nSec-Fetch-Site: same-origin\r\n") == 200);
    CHECK(status("Host: upstream\r\nOrigin: https://kitty.example:8080\r\n") == 200);
    CHECK(status("Host: localhost\r\nOrigin: http://upstream:81\r\n") == 200);
    CHECK(status("Origin: https://upstream\r\n") == 200);
    CHECK(Wire::local(home.kitten).send(home.get(home.path("meow"), "Origin: https://upstream\r\n")).answer().status ==
          200);
    for (const char* origin :
         {"https://evil.example", "https://kitty.example", "ftp://upstream", "upstream", "null", "https://",
          "https://upstream.evil.example", "https://upstream:80@evil.example", "https://localhost"}) {
      CAPTURE(origin);
      CHECK(status("Host: upstream\r\nOrigin: "s + origin + "\r\n") == 403);
    }
    CHECK(status("Host: upstream\r\nOrigin: https://upstream\r\nSec-Fetch-Site: cross-site\r\n") == 403);

    // What is refused is named to those who may know, and not with a method of the program's that has been run.
    const auto words = [&](const Answer& refused) {
      CHECK(refused.status == 403);
      return json::parse(refused.body).value("error", "");
    };
    const std::string told =
        "Host 'proxy.example:81' is not a name of this service; "
        "--worker-allow-hosts=proxy.example makes it one";
    const std::string foreign = "Host: proxy.example:81\r\n";
    CHECK(words(answer(foreign, home.path("meow"))) == told);
    CHECK(words(answer(foreign, home.path("nothing"))) == told);
    CHECK(words(answer(foreign + "Authorization: Bearer " + home.kitten.token() + "\r\n", "/meow")) == told);
    CHECK(words(Wire::tcp(home.kitten)
                    .send("GET http://[2001:db8::9]:80" + home.path("meow") + " HTTP/1.1\r\n\r\n")
                    .answer()) ==
          "Host '[2001:db8::9]:80' is not a name of this service; --worker-allow-hosts=[2001:db8::9] makes it one");
    for (const std::string path : {"/meow", "/WRONG/meow", "/"}) CHECK(words(answer(foreign, path)) == "Access Denied");
    // It counts from now on, on new connections.
    CHECK(home.result("config", R"({"key": "worker_allow_hosts", "val": "proxy.example"})")["val"] ==
          "worker_allow_hosts");
    CHECK(status(foreign) == 200);
    CHECK(status("Host: upstream\r\n") == 403);
    for (const char* bad : {"*", "a,,b", "a b", "http://a", "a/b", ",", "a.example:x", "*.example"}) {
      CAPTURE(bad);
      CHECK(contains(home.error("config", json{{"key", "worker_allow_hosts"}, {"val", bad}}.dump()),
                     "worker_allow_hosts"));
    }
    CHECK(status(foreign) == 200);
  }

  TEST_CASE("a Host is localhost, a loopback address or the address that is listened on (109)") {
    using kt::detail::own_name;
    for (const char* listening : {"127.0.0.1", "::1", "localhost", "192.0.2.1", "0.0.0.0", "::"}) {
      CAPTURE(listening);
      for (const char* name : {"localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "[::1]"})
        CHECK(own_name(name, listening));
      for (const char* name : {"", "evil.example", "localhost.evil.example", "0.0.0.0", "[::]", "127.1", "[::1", "["})
        CHECK_FALSE(own_name(name, listening));
    }
    CHECK(own_name("192.0.2.1", "192.0.2.1"));
    CHECK(own_name("[2001:db8::1]", "2001:db8:0::1"));
    CHECK_FALSE(own_name("192.0.2.2", "192.0.2.1"));
    CHECK_FALSE(own_name("192.0.2.1", "localhost"));
    CHECK(own_name("192.0.2.1", "0.0.0.0"));
    CHECK(own_name("[2001:db8::1]", "::"));
  }

  TEST_CASE("after a syntax error nothing that follows is taken for a request (I3)") {
    Home home;
    Happening ran;
    home.kitten.public_api("run", [&] { ran.happen(); });
    home.start();
    for (const char* bad : {"G@T / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nX : y\r\n\r\n", "GET / HTTP/9.9\r\n\r\n",
                            "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                            "POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\n",
                            "POST /run HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nX\r\n"}) {
      CAPTURE(bad);
      Wire wire = Wire::tcp(home.kitten);
      wire.send(std::string(bad) + "GET /run HTTP/1.1\r\n\r\n");
      const Answer answer = wire.answer();
      CHECK(answer.status >= 400);
      CHECK(answer.fields.at("Connection") == "close");
      CHECK(wire.closed());
    }
    CHECK(ran.count() == 0);
  }

  TEST_CASE("a refused body is dropped and the connection kept, or the connection goes (43)") {
    Home home;
    Happening ran;
    home.kitten.public_api("run", [&] { ran.happen(); });
    home.start();
    const std::string hidden = "GET /run HTTP/1.1\r\nHost: x\r\n\r\n";
    Wire small = Wire::tcp(home.kitten);
    small.send(home.post("/wrong", hidden) + home.get("/ping"));
    CHECK(small.answer().status == 403);
    CHECK(small.answer().body == "Pong\n");
    Wire large = Wire::tcp(home.kitten);
    std::string body;
    while (body.size() < 100'000) body += hidden;
    large.send(home.post("/wrong", body));
    CHECK(large.answer().status == 403);
    CHECK(large.closed());
    CHECK(ran.count() == 0);
  }

  TEST_CASE("a body over the limit is 413 at once, announced or in chunks (36, 50)") {
    Home home;
    home.kitten.limits().body_bytes = 2000;
    home.kitten.limits().stranger_body_bytes = 100;
    home.kitten.public_api(
        "echo", [](std::string text) { return text; }, "", kt::arg("text") = "");
    home.start();
    CHECK(home.call("echo", json{{"text", std::string(1900, 'x')}}.dump()).status == 200);
    CHECK(home.call("echo", json{{"text", std::string(2000, 'x')}}.dump()).status == 413);
    CHECK(Wire::tcp(home.kitten).send(home.post("/echo", json{{"text", "x"}}.dump())).answer().status == 200);
    CHECK(
        Wire::tcp(home.kitten).send(home.post("/echo", json{{"text", std::string(200, 'x')}}.dump())).answer().status ==
        413);
    Wire chunked = Wire::tcp(home.kitten);
    chunked.send("POST " + home.path("echo") + " HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 6; ++i) chunked.send("190\r\n" + std::string(400, 'x') + "\r\n");
    CHECK(chunked.answer().status == 413);
  }

  TEST_CASE("a half-closed request is answered, half a request is not (60)") {
    Home home;
    home.start();
    Wire whole = Wire::tcp(home.kitten);
    CHECK(contains(whole.send("GET /ping HTTP/1.1\n\n").half_close().rest(), "Pong\n"));
    Wire half = Wire::tcp(home.kitten);
    CHECK(half.send("GET /ping HTTP/1.1\r\nHo").half_close().rest().empty());
    CHECK(eventually([&] { return contains(home.log(), " eof "); }));
  }

  TEST_CASE("a slow head or body ends with 408 at its deadline, an idle connection silently (58, 62)") {
    Home home;
    home.kitten.limits().head_timeout = 50ms;
    home.kitten.limits().body_timeout = 100ms;
    home.kitten.limits().idle_timeout = 50ms;
    home.start();
    Wire head = Wire::tcp(home.kitten);
    CHECK(head.send("GET /pi").answer().status == 408);
    CHECK(head.closed());
    Wire body = Wire::tcp(home.kitten);
    CHECK(body.send("POST " + home.path("ping") + " HTTP/1.1\r\nContent-Length: 10\r\n\r\n{").answer().status == 408);
    Wire idle = Wire::tcp(home.kitten);
    CHECK(idle.send(home.get("/ping")).answer().status == 200);
    CHECK(idle.closed());
  }

  TEST_CASE("a reader who takes nothing is cut off; meanwhile others are served, and memory is bounded (55)") {
    Home home;
    home.kitten.limits().write_timeout = 100ms;
    home.kitten.public_api("large", [] { return kt::Result{"text/plain", std::string(1'000'000, 'x')}; });
    home.start();
    Wire greedy = Wire::local(home.kitten);
    std::string requests;
    for (int i = 0; i < 500; ++i) requests += home.get("/large");
    std::thread sender([&] { greedy.send(requests); });
    CHECK(Wire::tcp(home.kitten).send(home.get("/ping")).answer().body == "Pong\n");
    CHECK(eventually([&] { return contains(home.log(), "takes nothing, closed"); }));
    sender.join();
    CHECK(greedy.rest().size() < 10'000'000);
  }

  TEST_CASE("deadlines hold after answers that had to wait for their reader (62)") {
    Home home;
    home.kitten.limits().head_timeout = 50ms;
    home.kitten.limits().idle_timeout = 50ms;
    home.kitten.limits().linger_timeout = 50ms;
    home.kitten.public_api("large", [] { return kt::Result{"text/plain", std::string(5'000'000, 'x')}; });
    home.start();
    for (const char* unfinished : {"", "GET /pi"}) {
      Wire wire = Wire::local(home.kitten);
      wire.send(home.get("/large") + unfinished);
      CHECK(wire.rest().size() > 5'000'000);  // to the end of the connection
    }
  }

  TEST_CASE("an answer arrives whole even if the caller sends bytes that nobody reads (38)") {
    Home home;
    home.kitten.public_api("large", [] { return kt::Result{"text/plain", std::string(5'000'000, 'x')}; });
    home.start();
    for (const bool over_tcp : {true, false}) {
      Wire wire = over_tcp ? Wire::tcp(home.kitten) : Wire::local(home.kitten);
      wire.send("GET /large HTTP/1.1\n\n");
      CHECK(wire.until("\n\n"));
      wire.send("surplus");
      CHECK(wire.answer().body.size() == 5'000'000);
      CHECK(wire.rest().empty());
    }
  }

  TEST_CASE("calls whose callers have gone end, and give their places back (63, 65)") {
    Home home;
    Happening started, gone;
    home.kitten.limits().idle_timeout = 50ms;
    home.kitten.limits().connections = 4;
    home.kitten.public_api("wait", [&]() -> kt::Task<int> {
      const Counted local(&gone);
      started.happen();
      co_await kt::sleep_for(24h);
      co_return 1;
    });
    home.start();
    for (int i = 0; i < 4; ++i) {
      Wire wire = i % 2 == 0 ? Wire::tcp(home.kitten) : Wire::local(home.kitten);
      wire.send(home.get("/wait"));
      CHECK(started.happened(i + 1));
    }
    CHECK(gone.happened(4));
    CHECK(Wire::tcp(home.kitten).send(home.get("/ping")).answer().body == "Pong\n");
  }

  TEST_CASE("a map of 50,000 names is bound, echoed or refused in linear time (71)") {
    Home home;
    home.kitten.api(
        "all", [](json value) { return value.size(); }, "", kt::arg("value"));
    home.start();
    json many = json::object();
    auto& fields = many.get_ref<json::object_t&>();
    for (int i = 0; i < 50'000; ++i) fields.emplace_back("k" + std::to_string(i), i);
    // As text: the parser of ordered_json looks every key up.
    CHECK(contains(home.call("ping", many.dump()).body, "\"k49999\":49999,\"pong\":true"));
    json value = json::object();
    value["value"] = many;
    CHECK(home.result("all", value.dump()) == 50'000);
    CHECK(contains(home.error("all", many.dump()), "unknown argument 'k0'"));
  }

  TEST_CASE("beyond the limit of connections the oldest idle one makes room (63)") {
    Home home;
    home.kitten.limits().connections = 4;
    home.start();
    std::vector<Wire> wires;
    for (int i = 0; i < 8; ++i) {
      wires.push_back(Wire::tcp(home.kitten));
      CHECK(wires.back().send(home.get("/ping")).answer().body == "Pong\n");
    }
    CHECK(wires[0].closed());
    CHECK(wires[7].send(home.get("/ping")).answer().body == "Pong\n");
  }

  TEST_CASE("a prefix is served below itself only, whole components") {
    Home home;
    home.kitten.settings().worker_url_path = "/some/prefix/";
    home.start();
    const auto status = [&](const std::string& path) {
      return Wire::tcp(home.kitten).send(home.get(path)).answer().status;
    };
    CHECK(status("/some/prefix/ping") == 200);
    CHECK(status("/some/prefix/" + home.kitten.token() + "/help") == 200);
    CHECK(status("/ping") == 403);
    CHECK(status("/some/prefixes/ping") == 403);
    CHECK(contents(home.state / "Kitty.url") == home.kitten.url() + "/some/prefix/" + home.kitten.token());
  }

  TEST_CASE("one log line for each request, without the token (76, I8)") {
    Home home;
    home.start();
    Wire::tcp(home.kitten).send(home.get(home.path("ping"))).answer();
    Wire::tcp(home.kitten).send(home.get("/wrong")).answer();
    CHECK(eventually([&] { return contains(home.log(), " 403 auth "); }));
    CHECK(contains(home.log(), "http 200 ok 127.0.0.1:"));
    CHECK(contains(home.log(), "GET /ping"));
    CHECK_FALSE(contains(home.log(), home.kitten.token()));
  }

  TEST_CASE("ten thousand requests on one connection leave nothing behind") {
    Home home;
    home.start();
    const int before = open_descriptors();
    {
      Wire wire = Wire::tcp(home.kitten);
      for (int i = 0; i < 100; ++i) {
        std::string requests;
        for (int j = 0; j < 100; ++j) requests += home.get("/ping");
        wire.send(requests);
        for (int j = 0; j < 100; ++j) REQUIRE(wire.answer().status == 200);
      }
    }
    CHECK(eventually([&] { return open_descriptors() <= before; }));
  }

  TEST_CASE("a caller who has sent more and hung up has hung up all the same") {
    Home home;
    Happening begun, sent, ended, left;
    bool before = true, after = false;
    home.kitten.api("look", [&](kt::Request& request) {
      begun.happen();
      CHECK(sent.happened());
      before = request.cancelled();
      ended.happen();
      CHECK(left.happened());
      after = eventually([&] { return request.cancelled(); });
    });
    home.start();
    int round = 0;
    for (const bool local : {true, false}) {
      CAPTURE(local);
      ++round;
      {
        Wire wire = local ? Wire::local(home.kitten) : Wire::tcp(home.kitten);
        wire.send(home.post(home.path("look"), "{}"));
        CHECK(begun.happened(round));
        wire.send("GET ");
        sent.happen();
        CHECK(ended.happened(round));
        CHECK_FALSE(before);
      }
      left.happen();
      CHECK(home.call("ping").status == 200);  // behind the handler
      CHECK(after);
      after = false;
    }
  }

  TEST_CASE("handlers get path and query as they came, and header lines by names in any case") {
    Home home;
    home.kitten.fallback([](kt::Request& request) {
      json seen = json::object();
      seen["path"] = std::string(request.path());
      seen["query"] = std::string(request.query());
      seen["x"] = request.arguments()["x"];
      for (const char* name : {"X-Name", "x-name", "X-NAME", "X-Nam", "X-Name2"})
        seen["headers"].push_back(request.header(name) ? json(std::string(*request.header(name))) : json(nullptr));
      return seen;
    });
    home.start();
    const Answer answer =
        Wire::tcp(home.kitten)
            .send(home.get(home.path("a%2Fb%20c/%74") + "?x=%41%20", "X-nAME: first\r\nX-Name: second\r\n"))
            .answer();
    CHECK(answer.status == 200);
    CHECK(json::parse(answer.body) == json{{"path", "/a%2Fb%20c/%74"},
                                           {"query", "x=%41%20"},
                                           {"x", "A "},
                                           {"headers", {"first", "first", "first", nullptr, nullptr}}});
  }
}
