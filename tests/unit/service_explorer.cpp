// SPDX-License-Identifier: MIT
#include "services.hpp"
#include "support.hpp"
#include "wire/sha256.ipp"

namespace {

// What browsers send when somebody follows a link, types an address, or opens a file that leads there.
std::string navigation(const std::string& site, const std::string& mode = "navigate",
                       const std::string& destination = "document") {
  return "Sec-Fetch-Site: " + site + "\r\nSec-Fetch-Mode: " + mode + "\r\nSec-Fetch-Dest: " + destination + "\r\n";
}

// The hash of what stands between the lines <TAG> and </TAG>, as a policy has it.
std::string hash_of(const std::string& page, const std::string& tag) {
  const std::size_t from = page.find("<" + tag + ">\n") + tag.size() + 2;
  std::string hash = "'sha256-";
  kt::append_base64(hash, kt::detail::sha256(page.substr(from, page.find("</" + tag + ">") - from)));
  return hash + "'";
}

}  // namespace

TEST_SUITE("service/explorer") {
  TEST_CASE("everybody gets the explorer page, with the headers that keep others out of it") {
    Home home;
    home.start();
    const Answer page = Wire::tcp(home.kitten).send(home.get("/explorer")).answer();
    CHECK(page.status == 200);
    CHECK(page.fields.at("Content-Type") == "text/html; charset=utf-8");
    CHECK(page.fields.at("Referrer-Policy") == "no-referrer");
    CHECK(page.fields.at("Cross-Origin-Opener-Policy") == "same-origin");
    CHECK(page.fields.at("Cache-Control") == "no-cache");
    CHECK(page.fields.at("X-Content-Type-Options") == "nosniff");
    CHECK(page.fields.at("Content-Security-Policy") ==
          "default-src 'none'; script-src " + hash_of(page.body, "script") + "; style-src " +
              hash_of(page.body, "style") +
              "; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
    CHECK(Wire::local(home.kitten).send(home.get("/explorer")).answer().body == page.body);

    const Answer head = Wire::tcp(home.kitten).send("HEAD /explorer HTTP/1.1\r\nHost: localhost\r\n\r\n").answer(true);
    CHECK(head.status == 200);
    CHECK(head.fields.at("Content-Length") == std::to_string(page.body.size()));
    // It is no method.
    CHECK(Wire::tcp(home.kitten).send(home.post("/explorer", "{}")).answer().status == 403);
    CHECK(Wire::tcp(home.kitten).send(home.post(home.path("explorer"), "{}")).answer().status == 404);
    CHECK(!contains(home.result("describe")["methods"].dump(), "\"explorer\""));
    CHECK(Wire::tcp(home.kitten).send(home.get("/explorer/more")).answer().status == 403);
  }

  TEST_CASE("the page is small, is whole without a network, and has nothing that its policy forbids") {
    Home home;
    home.start();
    const std::string page = Wire::tcp(home.kitten).send(home.get("/explorer")).answer().body;
    CHECK(page.size() <= 24 * 1024);
    for (const char* outside : {"http:", "https:", "src=", "@import", "url("}) CHECK(!contains(page, outside));
    for (const char* markup : {"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(",
                               " style=", " onclick=\"", " onload=\"", "javascript:"})
      CHECK(!contains(page, markup));
    CHECK(page.find("<script") == page.rfind("<script"));
    CHECK(page.find("<style") == page.rfind("<style"));
  }

  TEST_CASE("links of other sites lead to the page, and to nothing else") {
    Home home;
    home.kitten.public_api("meow", [] { return 1; });
    home.start();
    const auto status = [&](const std::string& target, const std::string& headers, const std::string& method = "GET") {
      return Wire::tcp(home.kitten)
          .send(method + " " + target + " HTTP/1.1\r\nHost: localhost\r\n" + headers + "\r\n")
          .answer(method == "HEAD")
          .status;
    };
    for (const char* site : {"cross-site", "same-site", "same-origin", "none"}) {
      CAPTURE(site);
      CHECK(status("/explorer", navigation(site)) == 200);
    }
    for (const char* site : {"cross-site", "same-site"}) {
      CAPTURE(site);
      CHECK(status("/meow", navigation(site)) == 403);
      CHECK(status("/", navigation(site)) == 403);
      CHECK(status(home.path("meow"), navigation(site)) == 403);
      CHECK(status(home.path("explorer"), navigation(site)) == 403);
      CHECK(status("/explorer?x=1", navigation(site)) == 403);
      CHECK(status("/explorer/", navigation(site)) == 403);
      CHECK(status("/explorers", navigation(site)) == 403);
      CHECK(status("/%65xplorer", navigation(site)) == 403);
      CHECK(status("/explorer", navigation(site), "HEAD") == 403);
      CHECK(status("/explorer", navigation(site) + "Content-Length: 0\r\n", "POST") == 403);
      CHECK(status("/explorer", navigation(site, "no-cors", "image")) == 403);
      CHECK(status("/explorer", navigation(site, "cors", "empty")) == 403);
      CHECK(status("/explorer", navigation(site, "navigate", "iframe")) == 403);
      CHECK(status("/explorer", navigation(site, "nested-navigate", "document")) == 403);
      CHECK(status("/explorer", "Sec-Fetch-Site: "s + site + "\r\n") == 403);
      CHECK(status("/explorer", "Sec-Fetch-Site: "s + site + "\r\nSec-Fetch-Mode: navigate\r\n") == 403);
      CHECK(status("/explorer", navigation(site) + "Sec-Fetch-Dest: document\r\n") == 403);
      CHECK(status("/explorer", navigation(site) + "Sec-Fetch-Mode: cors\r\n") == 403);
      CHECK(status("/explorer", navigation(site) + "Origin: http://evil.example\r\n") == 403);
      CHECK(status("/explorer", navigation(site) + "Origin: null\r\n") == 403);
    }
    // A name that leads here although it is not ours.
    CHECK(Wire::tcp(home.kitten)
              .send("GET /explorer HTTP/1.1\r\nHost: evil.example\r\n" + navigation("cross-site") + "\r\n")
              .answer()
              .status == 403);
  }

  TEST_CASE("the root leads to the page, and takes a token in the address out of it") {
    Home home;
    home.start();
    const auto location = [&](const std::string& target, const std::string& headers = "") {
      const Answer answer = Wire::tcp(home.kitten).send(home.get(target, headers)).answer();
      CHECK(answer.status == 302);
      CHECK(answer.body.empty());
      CHECK(answer.fields.at("Cache-Control") == "no-store");
      return answer.fields.at("Location");
    };
    CHECK(location("/") == "/explorer");
    CHECK(location("/" + home.kitten.token()) == "/explorer#" + home.kitten.token());
    CHECK(location("/" + home.kitten.token() + "/") == "/explorer#" + home.kitten.token());
    CHECK(location("/" + home.kitten.token() + "/explorer") == "/explorer#" + home.kitten.token());
    CHECK(location("/", "Authorization: Bearer " + home.kitten.token() + "\r\n") == "/explorer");
    CHECK(Wire::tcp(home.kitten).send(home.post("/", "{}")).answer().status == 403);
    CHECK(Wire::tcp(home.kitten).send(home.get("/web_root")).answer().status == 403);
    CHECK(!contains(home.log(), home.kitten.token()));
  }

  TEST_CASE("below a prefix the page is below the prefix") {
    Home home;
    home.kitten.settings().worker_url_path = "cats/all";
    home.start();
    const auto answer = [&](const std::string& target) {
      return Wire::tcp(home.kitten).send(home.get(target, navigation("none"))).answer();
    };
    CHECK(answer("/cats/all/explorer").status == 200);
    CHECK(answer("/explorer").status == 403);
    CHECK(answer("/cats/all").fields.at("Location") == "/cats/all/explorer");
    CHECK(answer("/cats/all/" + home.kitten.token()).fields.at("Location") ==
          "/cats/all/explorer#" + home.kitten.token());
    CHECK(Wire::tcp(home.kitten).send(home.get("/cats/all/explorer", navigation("cross-site"))).answer().status == 200);
    CHECK(Wire::tcp(home.kitten).send(home.get("/explorer", navigation("cross-site"))).answer().status == 403);
    CHECK(Wire::tcp(home.kitten).send(home.get("/cats/allexplorer", navigation("cross-site"))).answer().status == 403);
  }

  TEST_CASE("to ask for the page is no guess, however long the token is") {
    Home home;
    home.kitten.settings().worker_secret = "sesame12";  // as long as the word explorer
    home.start();
    for (int i = 0; i < 30; ++i) {
      CHECK(Wire::tcp(home.kitten).send(home.get("/explorer")).answer().status == 200);
      CHECK(Wire::tcp(home.kitten).send(home.get("/explorer", "X: sesame21\r\n")).answer().status == 200);
    }
    CHECK(Wire::tcp(home.kitten).send(home.get("/sesame21/ping")).answer().status == 403);
    CHECK(!contains(home.log(), "too many wrong tokens"));
  }

  TEST_CASE("without worker_use_explorer there is no page") {
    Home home;
    home.start();
    CHECK(home.call("config", R"({"key": "worker_use_explorer", "val": false})").status == 200);
    for (const char* target : {"/explorer", "/"})
      CHECK(Wire::tcp(home.kitten).send(home.get(target)).answer().status == 403);
    CHECK(Wire::tcp(home.kitten).send(home.get("/explorer", navigation("cross-site"))).answer().status == 403);
    CHECK(home.call("config", R"({"reset": "worker_use_explorer"})").status == 200);
    CHECK(Wire::tcp(home.kitten).send(home.get("/explorer")).answer().status == 200);
  }

  TEST_CASE("methods, routers and fallbacks of the program go before the page, and are not shown to other sites") {
    SUBCASE("methods of these names") {
      Home home;
      home.kitten.public_api("explorer", [] { return kt::text("mine"); });
      home.kitten.api("web_root", [] { return kt::text("root"); });
      home.start();
      CHECK(Wire::tcp(home.kitten).send(home.get("/explorer")).answer().body == "mine");
      CHECK(Wire::tcp(home.kitten).send(home.get("/explorer", navigation("cross-site"))).answer().status == 403);
      CHECK(Wire::tcp(home.kitten).send(home.get("/" + home.kitten.token())).answer().body == "root");
      // That it has one of its own is told to nobody.
      CHECK(Wire::tcp(home.kitten).send(home.get("/")).answer().status == 403);
    }
    SUBCASE("a router") {
      Home home;
      home.kitten.public_api("mine", [] { return kt::text("mine"); });
      home.kitten.router([](const kt::Request& request) -> std::optional<kt::RouteTo> {
        return request.path() == "/explorer" ? std::optional(kt::RouteTo{"mine"}) : std::nullopt;
      });
      home.start();
      CHECK(Wire::tcp(home.kitten).send(home.get("/explorer")).answer().body == "mine");
      CHECK(Wire::tcp(home.kitten).send(home.get("/explorer", navigation("cross-site"))).answer().status == 403);
      CHECK(Wire::tcp(home.kitten).send(home.get("/")).answer().status == 302);
    }
    SUBCASE("a fallback, but for the page itself") {
      Home home;
      home.kitten.public_fallback([] { return kt::text("anything"); });
      home.start();
      CHECK(Wire::tcp(home.kitten).send(home.get("/")).answer().body == "anything");
      CHECK(Wire::tcp(home.kitten).send(home.get("/explorer")).answer().fields.at("Referrer-Policy") == "no-referrer");
      CHECK(Wire::tcp(home.kitten).send(home.get("/other", navigation("cross-site"))).answer().status == 403);
    }
  }
}
