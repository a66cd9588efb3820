// SPDX-License-Identifier: MIT
#include "services.hpp"
#include "support.hpp"

namespace {

// Nobody has these. As long as a token that the service makes for itself.
std::string guess(int number) {
  std::string text = "wrong" + std::to_string(number);
  return text + std::string(24 - text.size(), '-');
}

using Clock = std::chrono::steady_clock;

// What user 65534 gets to see who tries these tokens one after the other, over TCP: the first line of each answer.
// Nothing where that user cannot be had.
std::optional<std::string> tried_by_another_user(const kt::Kitten& kitten, const std::vector<std::string>& tokens) {
  const std::string as_nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups bash -c ";
  if (run(as_nobody + "true").code != 0) return std::nullopt;
  const std::string& url = kitten.url();
  std::string script = "for t in";
  for (const std::string& token : tokens) script += " " + token;
  script += "; do exec 3<>/dev/tcp/127.0.0.1/" + url.substr(url.rfind(':') + 1) +
            " || exit 9; printf \"GET /$t/secret HTTP/1.1\\r\\nHost: localhost\\r\\n\\r\\n\" >&3; "
            "read -r _ status _ <&3; echo $status; exec 3>&-; done";
  return run(as_nobody + "'" + script + "'").out;
}

}  // namespace

TEST_SUITE("service/guessing") {
  TEST_CASE("a token is found in the path, in Authorization, and as a word of a few other lines (75, 165)") {
    const kt::detail::Token token("abcdefghijklmnop");
    const auto found = [&](const std::string& path, const std::string& lines) {
      const kt::Limits limits;
      kt::RequestHeadParser parser(limits);
      const std::string head = "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n" + lines + "\r\n";
      REQUIRE(parser.parse(head).status == kt::Parse::complete);
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
    kt::RequestHead head;
    head.path = "//purr";
    CHECK_FALSE(kt::detail::find_route(head, kt::detail::Token(), "").authenticated);
    CHECK_FALSE(kt::detail::find_route(head, kt::detail::Token(), "").wrong_path);
  }

  TEST_CASE("guesses are counted by where they come from, and forgotten one a second (165)") {
    kt::detail::GuessThrottle throttle;
    const Clock::time_point start = Clock::now();
    CHECK_FALSE(throttle.alert(start));
    for (int i = 0; i < 20; ++i) CHECK_FALSE(throttle.count("user 7", 1, start));
    CHECK(throttle.alert(start));
    CHECK_FALSE(throttle.closed_to("user 7", start));
    CHECK(throttle.count("user 7", 1, start));
    CHECK(throttle.closed_to("user 7", start));
    CHECK_FALSE(throttle.count("user 7", 100'000, start));
    CHECK_FALSE(throttle.closed_to("user 8", start));
    CHECK_FALSE(throttle.closed_to("user 7", start + 1s));
    CHECK(throttle.count("user 7", 1, start + 1s));
    CHECK(throttle.alert(start + 21s));
    CHECK_FALSE(throttle.alert(start + 22s));
    // Many origins take no more memory than some, and share what is left.
    for (int i = 0; i < 1000; ++i) throttle.count("10.0.0." + std::to_string(i), 1, start);
    CHECK(throttle.closed_to("another", start));
    CHECK_FALSE(throttle.alert(start + 22s));
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
    // Whoever has shown the token once may mistype the next, and so may those on the unix socket.
    Wire known = Wire::tcp(home.kitten);
    CHECK(known.send(home.get(home.path("secret"))).answer().status == 200);
    CHECK(known.send(home.get("/" + guess(23) + "/secret")).answer().status == 403);
    CHECK(Wire::local(home.kitten).send(home.get("/" + guess(24) + "/secret")).answer().status == 403);
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
      "a public method whose name has the token's length is no guess, a fallback for all names is no way out (165)") {
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
