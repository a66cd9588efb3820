// SPDX-License-Identifier: MIT
#include "services.hpp"
#include "support.hpp"

namespace {

// A soft limit of descriptors for this process, for a while.
class FewDescriptors {
 public:
  explicit FewDescriptors(rlim_t few) {
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before_) == 0);
    rlimit limit = before_;
    limit.rlim_cur = few;
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &limit) == 0);
  }
  FewDescriptors(const FewDescriptors&) = delete;
  FewDescriptors& operator=(const FewDescriptors&) = delete;
  ~FewDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

}  // namespace

TEST_SUITE("service/connections") {
  TEST_CASE("connections leave half of all descriptors to the program, and strangers half of those (166)") {
    const FewDescriptors few(400);
    Home home;
    home.kitten.api("secret", [] { return 1; });
    home.start();
    CHECK(home.kitten.limits().connections == 2048);
    CHECK(home.kitten.limits().stranger_connections == 256);
    const int before = open_descriptors();
    std::vector<Wire> strangers;
    for (int i = 0; i < 150; ++i) {
      strangers.push_back(Wire::tcp(home.kitten));
      strangers.back().send("GET /unfinished");
    }
    // All of ours, and 100 of the service's.
    CHECK(eventually([&] { return strangers[49].closed(); }));
    CHECK(strangers[50].send(" HTTP/1.1\r\n\r\n").answer().status == 403);
    CHECK(open_descriptors() <= before + 150 + 100 + 2);
    CHECK(kt::Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)));
    CHECK(home.result("secret") == 1);
    CHECK(Wire::local(home.kitten).send(home.get(home.path("secret"))).answer().status == 200);
  }

  TEST_CASE("more connections than descriptors allow are not taken at their word (166)") {
    Home home;
    const auto start_with_few = [&] {
      const FewDescriptors few(400);
      home.start();
    };
    // One more than fit closes the oldest.
    const auto check_room = [&](std::size_t room) {
      std::vector<Wire> wires;
      for (std::size_t i = 0; i < room; ++i) {
        wires.push_back(Wire::local(home.kitten));
        CHECK(wires.back().send(home.get("/ping")).answer().status == 200);
      }
      CHECK(wires.front().send(home.get("/ping")).answer().status == 200);
      CHECK(Wire::local(home.kitten).send(home.get("/ping")).answer().status == 200);
      CHECK(wires.front().closed());
    };
    home.kitten.limits().connections = 100'000;
    start_with_few();
    check_room(200);
    // It is what the program has set, wherever descriptors are fewer.
    CHECK(home.kitten.limits().connections == 100'000);
    home.kitten.stop();
    home.kitten.limits().connections = 10;
    start_with_few();
    check_room(10);
  }

  TEST_CASE("strangers push out strangers, the idle ones first, and nobody who has shown the token (166)") {
    Home home;
    home.kitten.limits().connections = 16;
    home.kitten.limits().stranger_connections = 3;
    Happening waiting;
    home.kitten.public_api("wait", [&]() -> kt::Task<int> {
      waiting.happen();
      co_await kt::sleep_for(24h);
      co_return 1;
    });
    home.start();
    Wire owner = Wire::tcp(home.kitten);
    CHECK(owner.send(home.get(home.path("ping"))).answer().status == 200);
    Wire busy = Wire::tcp(home.kitten);
    busy.send(home.get("/wait"));
    CHECK(waiting.happened());
    std::vector<Wire> strangers;
    for (int i = 0; i < 50; ++i) {
      strangers.push_back(Wire::tcp(home.kitten));
      CHECK(strangers.back().send(home.get("/ping")).answer().status == 200);
    }
    CHECK(strangers[47].closed());
    CHECK(strangers[48].send(home.get("/ping")).answer().status == 200);
    CHECK(strangers[49].send(home.get("/ping")).answer().status == 200);
    char byte = 0;
    CHECK(::recv(busy.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0);
    CHECK(owner.send(home.get(home.path("ping"))).answer().status == 200);
    // When all are busy, the oldest goes: somebody with the token may be among those who come.
    for (int i = 2; i <= 4; ++i) {
      strangers.push_back(Wire::tcp(home.kitten));
      strangers.back().send(home.get("/wait"));
      CHECK(waiting.happened(i));
    }
    CHECK(busy.closed());
    CHECK(owner.send(home.get(home.path("ping"))).answer().status == 200);
  }

  TEST_CASE("the unix socket has places that nobody can take over TCP, with the token or without (166)") {
    Home home;
    home.kitten.limits().connections = 16;
    Happening waiting;
    home.kitten.api("wait", [&]() -> kt::Task<int> {
      waiting.happen();
      co_await kt::sleep_for(24h);
      co_return 1;
    });
    home.start();
    // All that TCP gets are busy for one who has the token.
    std::vector<Wire> all;
    for (int i = 1; i <= 14; ++i) {
      all.push_back(Wire::tcp(home.kitten));
      all.back().send(home.get(home.path("wait")));
      CHECK(waiting.happened(i));
    }
    CHECK(Wire::tcp(home.kitten).closed());
    CHECK(eventually([&] { return contains(home.log(), "limit: connection turned away, 14 are open"); }));
    for (int i = 0; i < 2; ++i) {
      all.push_back(Wire::local(home.kitten));
      CHECK(all.back().send(home.get(home.path("ping"))).answer().status == 200);
    }
  }

  TEST_CASE("a crowd that comes at once takes no places but those that it has (166)") {
    Home home;
    home.kitten.limits().connections = 16;
    std::promise<void> all_there;
    home.kitten.api("block", [&] { all_there.get_future().wait(); });
    home.start();
    Wire blocker = Wire::local(home.kitten);
    CHECK(blocker.send(home.get(home.path("ping"))).answer().status == 200);
    blocker.send(home.get(home.path("block")));
    std::vector<Wire> strangers, owners;
    for (int i = 0; i < 50; ++i) strangers.push_back(Wire::tcp(home.kitten));
    for (int i = 0; i < 15; ++i) owners.push_back(Wire::local(home.kitten));
    all_there.set_value();
    CHECK(blocker.answer().status == 200);
    for (Wire& owner : owners) CHECK(owner.send(home.get(home.path("ping"))).answer().status == 200);
  }

  TEST_CASE("the unix socket's callers, and kept connections, do not notice a crowd of strangers (166)") {
    Home home;
    home.kitten.limits().connections = 40;
    home.kitten.api("secret", [] { return 1; });
    home.start();
    const kt::Client local = client_of(home);
    Wire kept = Wire::tcp(home.kitten);
    CHECK(kept.send(home.get(home.path("secret"))).answer().body == "1\n");
    std::atomic<bool> over = false;
    std::thread crowd([&] {
      std::deque<Wire> wires;
      while (!over) {
        wires.push_back(Wire::tcp(home.kitten));
        wires.back().send("GET /");
        if (wires.size() > 60) wires.pop_front();
      }
    });
    for (int i = 0; i < 50; ++i) {
      CHECK(failure([&] { CHECK(local.call("secret") == 1); }) == "no exception");
      CHECK(failure([&] { CHECK(client_of(home).call("secret") == 1); }) == "no exception");
      CHECK(kept.send(home.get(home.path("secret"))).answer().body == "1\n");
    }
    over = true;
    crowd.join();
  }
}
