// SPDX-License-Identifier: MIT
#include "service/auth.ipp"
#include "service/guess_throttle.ipp"
#include "service/route.ipp"
#include "services.hpp"
#include "support.hpp"
#include "wire/http_fields.ipp"
#include "wire/http_head.ipp"

namespace {

// Nobody has these. As long as a token that the service makes for itself.
std::string guess(int number) {
  std::string text = "wrong" + std::to_string(number);
  return text + std::string(24 - text.size(), '-');
}

using Clock = std::chrono::steady_clock;

// What user 65534 gets to see who tries these tokens one after the other, over TCP: the status of each answer. Nothing
// where that user cannot be had.
std::optional<std::string> tried_by_another_user(const kt::Kitten& kitten, const std::vector<std::string>& tokens,
                                                 const std::string& host = "localhost") {
  const std::string as_nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups bash -c ";
  if (run(as_nobody + "true").code != 0) return std::nullopt;
  const std::string& url = kitten.url();
  std::string script = "for t in";
  for (const std::string& token : tokens) script += " " + token;
  script += "; do exec 3<>/dev/tcp/127.0.0.1/" + url.substr(url.rfind(':') + 1) +
            " || exit 9; printf \"GET /$t/secret HTTP/1.1\\r\\nHost: " + host +
            "\\r\\n\\r\\n\" >&3; "
            "read -r _ status _ <&3; echo $status; exec 3>&-; done";
  return run(as_nobody + "'" + script + "'").out;
}

}  // namespace

TEST_SUITE("service/guessing") {
  TEST_CASE("a token is found in the path, in Authorization, and as a word of a few other lines (75, 165)") {
    const kt::detail::Token token("abcdefghijklmnop");
    std::string head;  // what is found are views into it
    const auto found = [&](const std::string& path, const std::string& lines) {
      const kt::Limits limits;
      kt::detail::RequestHeadParser parser(limits);
      head = "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n" + lines + "\r\n";
      REQUIRE(parser.parse(head).status == kt::detail::Parse::complete);
      return kt::detail::find_route(parser.head(), token, "");
    };
    const std::string secret = token.text(), other = "ABCDEFGHIJKLMNOP";
    for (const std::string& line :
         {"Authorization: Bearer " + secret, "authorization: " + secret, "X-Anything: " + secret,
          "X: a b " + secret + "\tc", "X: " + other + " " + other + " " + secret,
          "Authorization: Bearer " + other + "\r\nX: " + other + "\r\nY: " + secret,
          "X: " + std::string(10'000, 'x') + " " + secret}) {
      CAPTURE(line);
      CHECK(found("/purr", line + "\r\n").authenticated);
      CHECK(found("/" + other + "/purr", line + "\r\n").authenticated);
    }
    CHECK(found("/" + secret + "/purr", "").method == "purr");
    CHECK(found("/" + secret, "").method == "web_root");
    CHECK(found("/purr", "").wrong_words == 0);
    CHECK_FALSE(found("/purr", "").wrong_path);
    // Words of other lengths are no guesses, those that are count.
    CHECK(found("/" + other + "/purr", "").wrong_path);
    CHECK(found("/purr", "Authorization: Bearer " + other + "\r\n").wrong_words == 1);
    CHECK(found("/purr", "Authorization: Bearer x\r\nX: a b c\r\nUser-Agent: " + other + "\r\n").wrong_words == 0);
    // However many there are, few are compared.
    std::string words = "X:";
    for (int i = 0; i < 500; ++i) words += " " + other;
    CHECK(found("/purr", words + "\r\n").wrong_words == 3);
    CHECK(found("/purr", words + " " + secret + "\r\n").authenticated == false);
  }

  TEST_CASE("an empty token is nobody's") {
    kt::detail::RequestHead head;
    head.path = "//purr";
    CHECK_FALSE(kt::detail::find_route(head, kt::detail::Token(), "").authenticated);
    CHECK_FALSE(kt::detail::find_route(head, kt::detail::Token(), "").wrong_path);
  }

  TEST_CASE("guesses are counted by where they come from, and forgotten one a second (165)") {
    kt::detail::GuessThrottle throttle;
    const Clock::time_point start = Clock::now();
    using kt::detail::Hearing;
    CHECK_FALSE(throttle.any_wrong_tokens(start));
    for (int i = 0; i < 20; ++i) throttle.count("user 7", 1, start);
    CHECK(throttle.any_wrong_tokens(start));
    CHECK(throttle.hearing("user 7", start) == Hearing::at_once);
    throttle.count("user 7", 1, start);
    CHECK(throttle.hearing("user 7", start) == Hearing::never);
    throttle.count("user 7", 100'000, start);
    CHECK(throttle.hearing("user 8", start) == Hearing::at_once);
    CHECK(throttle.hearing("user 7", start + 1s) == Hearing::at_once);
    throttle.count("user 7", 1, start + 1s);
    CHECK(throttle.hearing("user 7", start + 1s) == Hearing::never);
    CHECK(throttle.any_wrong_tokens(start + 21s));
    CHECK_FALSE(throttle.any_wrong_tokens(start + 22s));
  }

  TEST_CASE("where guesses come from too many origins to count, the others are heard slowly, not refused (165)") {
    using kt::detail::Hearing;
    kt::detail::GuessThrottle throttle;
    const Clock::time_point start = Clock::now();
    const auto origin = [](int i) { return "10.0.0." + std::to_string(i); };
    for (int i = 0; i < 256; ++i) throttle.count(origin(i), 1, start);
    CHECK(throttle.hearing("another", start) == Hearing::at_once);
    for (int i = 256; i < 1000; ++i) throttle.count(origin(i), 1, start);
    CHECK(throttle.hearing("another", start) == Hearing::slowly);
    // Those that are counted for themselves are not mixed up with them.
    CHECK(throttle.hearing(origin(255), start) == Hearing::at_once);
    throttle.count(origin(255), 21, start);
    CHECK(throttle.hearing(origin(255), start) == Hearing::never);
    CHECK(throttle.hearing("another", start + 21s) == Hearing::at_once);
    throttle.count("another", 1, start + 30s);
    CHECK(throttle.any_wrong_tokens(start + 30s));
    CHECK_FALSE(throttle.any_wrong_tokens(start + 31s));
  }

  TEST_CASE("wrong tokens are answered slowly after the first ones, right ones at once (165)") {
    Home home;
    home.kitten.limits().guess_pause = 300ms;
    home.kitten.api("secret", [] { return 1; });
    home.kitten.public_api("open", [] { return 2; });
    home.start();
    for (int i = 0; i < 21; ++i) {
      CAPTURE(i);
      CHECK(Wire::tcp(home.kitten).send(home.get("/" + guess(i) + "/secret")).answer().status == 403);
    }
    CHECK(contains(home.log(), "guess: too many wrong tokens from "));
    Wire wrong = Wire::tcp(home.kitten);
    auto begin = Clock::now();
    wrong.send(home.get("/" + guess(21) + "/secret") + home.get("/open"));
    const Answer slow = wrong.answer();
    CHECK(slow.status == 429);
    CHECK(contains(slow.body, "Too many wrong tokens"));
    CHECK(Clock::now() - begin >= 300ms);
    CHECK(wrong.closed());
    // The owner is not slowed down, whichever way he comes; and what is public is served as ever.
    begin = Clock::now();
    const auto limit = 250ms;
    CHECK(home.result("secret") == 1);
    CHECK(Wire::local(home.kitten).send(home.get(home.path("secret"))).answer().status == 200);
    CHECK(Wire::tcp(home.kitten)
              .send(home.get("/secret", "Authorization: Bearer " + home.kitten.token() + "\r\n"))
              .answer()
              .status == 200);
    CHECK(Wire::tcp(home.kitten).send(home.get("/open", "X: " + guess(22) + "\r\n")).answer().body == "2\n");
    CHECK(Clock::now() - begin < limit);
    // Those on the unix socket are of the same user.
    CHECK(Wire::local(home.kitten).send(home.get("/" + guess(24) + "/secret")).answer().status == 403);
  }

  TEST_CASE("guesses over a connection that has brought the right token are counted, and end it after the first ones") {
    Home home;
    home.kitten.limits().guess_pause = 10ms;
    home.kitten.api("secret", [] { return 1; });
    home.kitten.public_fallback([] { return 2; });
    home.start();
    // As behind a proxy, which sends the calls of several over one connection.
    Wire shared = Wire::tcp(home.kitten);
    const std::string right = home.get(home.path("secret"));
    CHECK(shared.send(right).answer().body == "1\n");
    for (int i = 0; i < 21; ++i) {
      CHECK_FALSE(contains(home.log(), "guess:"));
      CHECK(shared.send(home.get("/" + guess(i) + "/secret")).answer().body == "2\n");
    }
    CHECK(contains(home.log(), "guess: too many wrong tokens from "));
    // The right one is still taken there at once, the next wrong one is the last.
    CHECK(shared.send(right).answer().body == "1\n");
    shared.send(home.get("/" + guess(21) + "/secret") + right);
    CHECK(shared.answer().body == "2\n");
    CHECK(shared.closed());
  }

  TEST_CASE("guesses are counted where the program's authenticator throws") {
    Home home;
    home.kitten.limits().guess_pause = 0ms;
    home.kitten.authenticator([](const kt::Request& request) -> bool {
      if (request.header("X-Refused")) throw kt::Error(401, "not you");
      throw std::runtime_error("broken");
    });
    home.start();
    for (int i = 0; i < 21; ++i) {
      const std::string lines = i % 2 == 0 ? "X-Refused: 1\r\n" : "";
      CHECK(Wire::tcp(home.kitten).send(home.get("/" + guess(i) + "/secret", lines)).answer().status == 403);
    }
    CHECK(Wire::tcp(home.kitten).send(home.get("/" + guess(21) + "/secret")).answer().status == 429);
    CHECK(contains(home.log(), "internal: authenticator or router: broken"));
    CHECK_FALSE(contains(home.log(), "not you"));
  }

  TEST_CASE(
      "behind a proxy wrong tokens lock nobody out: all wait before they are compared, what is public never (165)") {
    Home home;
    home.kitten.settings().worker_allow_hosts = "kitty";
    home.kitten.limits().guess_pause = 300ms;
    std::atomic<int> calls = 0;
    home.kitten.api("secret", [&] { return ++calls; });
    home.kitten.public_api("open", [] { return 2; });
    home.start();
    const auto proxied = [&](const std::string& path, const std::string& lines = "") {
      return "GET " + path + " HTTP/1.1\r\nHost: kitty\r\n" + lines + "\r\n";
    };
    for (int i = 0; i < 21; ++i)
      CHECK(Wire::tcp(home.kitten).send(proxied("/" + guess(i) + "/secret")).answer().status == 403);
    CHECK(contains(home.log(), "guess: too many wrong tokens from "));
    CHECK(contains(home.log(), ": they are answered slowly"));
    auto begin = Clock::now();
    CHECK(Wire::tcp(home.kitten).send(proxied("/" + guess(21) + "/secret")).answer().status == 429);
    CHECK(Clock::now() - begin >= 300ms);
    // The right token has to wait as well: who hangs up on a silent service would have guessed at no cost.
    begin = Clock::now();
    Wire right = Wire::tcp(home.kitten);
    right.send(proxied("/open") + proxied("/secret", "X-Token: " + home.kitten.token() + "\r\n"));
    CHECK(right.answer().body == "2\n");
    CHECK(calls == 0);
    CHECK(right.answer().body == "1\n");
    CHECK(Clock::now() - begin >= 300ms);
    // From then on it does not wait there; nor do strangers anywhere, nor those who come without a proxy.
    begin = Clock::now();
    CHECK(right.send(proxied(home.path("secret"))).answer().body == "2\n");
    CHECK(Wire::tcp(home.kitten).send(proxied("/open")).answer().body == "2\n");
    CHECK(home.result("secret") == 3);
    CHECK(Clock::now() - begin < 250ms);
  }

  TEST_CASE("a stop does not wait for answers that are held back") {
    Home home;
    home.kitten.limits().guess_pause = 1h;
    home.start();
    std::vector<Wire> wires;
    for (int i = 0; i < 25; ++i) {
      wires.push_back(Wire::tcp(home.kitten));
      wires.back().send(home.get("/" + guess(i) + "/x"));
      if (i < 21) CHECK(wires.back().answer().status == 403);
    }
    home.kitten.stop();
    CHECK(wires.back().closed());
  }

  TEST_CASE(
      "a public method whose name has the token's length is no guess; guesses that a fallback answers are counted "
      "(165)") {
    Home home;
    home.kitten.settings().worker_secret = "abcdef";
    home.kitten.limits().guess_pause = 0ms;
    home.kitten.public_api("public", [] { return 1; });
    home.kitten.public_fallback([] { return 2; });
    home.kitten.api("secret", [] { return 3; });
    home.start();
    Wire wire = Wire::tcp(home.kitten);
    for (int i = 0; i < 30; ++i) CHECK(wire.send(home.get("/public")).answer().body == "1\n");
    CHECK_FALSE(contains(home.log(), "guess:"));
    for (int i = 0; i < 30; ++i) CHECK(wire.send(home.get("/guess" + std::to_string(i % 10))).answer().status == 200);
    CHECK(contains(home.log(), "guess:"));
  }

  TEST_CASE("another user who tries tokens is not even heard with the right one, while the owner is (165)") {
    Home home;
    home.kitten.limits().guess_pause = 10ms;
    home.kitten.api("secret", [] { return 1; });
    home.start();
    std::vector<std::string> tokens;
    for (int i = 0; i < 25; ++i) tokens.push_back(guess(i));
    tokens.push_back(home.kitten.token());
    const auto seen = tried_by_another_user(home.kitten, tokens);
    if (!seen) {
      MESSAGE("skipped: there is no other user to be (root, setpriv and bash are needed)");
      return;
    }
    std::istringstream lines(*seen);
    std::vector<int> statuses{std::istream_iterator<int>(lines), {}};
    REQUIRE(statuses.size() == 26);
    CHECK(std::count(statuses.begin(), statuses.begin() + 20, 403) == 20);
    // On a slow machine some seconds may have passed, each of which allows one more.
    CHECK(statuses.back() == 429);
    CHECK(contains(home.log(), "guess: too many wrong tokens from user 65534: they are not looked at for a while"));
    CHECK(home.result("secret") == 1);
    // What a proxy sends may have come from the owner.
    home.kitten.stop();
    home.kitten.settings().worker_allow_hosts = "kitty";
    home.start();
    tokens.back() = home.kitten.token();
    std::istringstream proxied(tried_by_another_user(home.kitten, tokens, "kitty").value_or(""));
    statuses.assign(std::istream_iterator<int>(proxied), {});
    REQUIRE(statuses.size() == 26);
    CHECK(std::count(statuses.begin(), statuses.end(), 429) > 0);
    CHECK(statuses.back() == 200);
  }

  TEST_CASE("a short secret is warned of, a long one is not") {
    for (const auto& [secret, warned] :
         {std::pair{"abcdef", true}, {"abcdefghijklmno", true}, {"abcdefghijklmnop", false}, {"", false}}) {
      Home home;
      home.kitten.settings().worker_secret = secret;
      home.start();
      CHECK(contains(home.log(), "is easily guessed") == warned);
    }
  }
}
