// SPDX-License-Identifier: MIT
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "os/poller.ipp"
#include "support.hpp"

using kt::detail::Poller;

namespace {

/// Two connected sockets, the first of which is watched.
struct Watched final : Poller::Watcher {
  explicit Watched(Poller& the_poller) : poller(the_poller) { open(); }
  ~Watched() { close(); }

  void open() {
    int pair[2] = {-1, -1};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    here = kt::Fd(pair[0]);
    there = kt::Fd(pair[1]);
    ticket = poller.add(here.get(), *this);
  }
  void close() {
    if (here) poller.remove(here.get(), ticket);
    here.reset();
  }
  void ready(unsigned what) override {
    seen |= what;
    ++times;
    if (then) then();
  }
  void say(const char* text) const { CHECK(::send(there.get(), text, 1, MSG_NOSIGNAL) == 1); }

  Poller& poller;
  kt::Fd here, there;
  Poller::Ticket ticket = 0;
  unsigned seen = 0;
  int times = 0;
  std::function<void()> then;
};

/// Tells of everything that has happened; returns of how much.
int tell(Poller& poller) {
  int told = 0;
  for (bool more = true; more;) {
    more = poller.collect();
    while (poller.next()) ++told;
  }
  return told;
}

}  // namespace

TEST_SUITE("os/poller") {
  TEST_CASE("a socket is told of what has changed, once") {
    Poller poller;
    Watched one(poller);
    CHECK(tell(poller) == 1);
    CHECK(one.seen == Poller::writable);
    CHECK(tell(poller) == 0);
    one.say("x");
    CHECK(tell(poller) == 1);
    CHECK((one.seen & Poller::readable) != 0);
    CHECK(tell(poller) == 0);
    one.say("y");
    CHECK(tell(poller) == 1);
    CHECK((one.seen & (Poller::ended | Poller::broken)) == 0);
    ::shutdown(one.there.get(), SHUT_WR);
    CHECK(tell(poller) == 1);
    CHECK((one.seen & Poller::ended) != 0);
    CHECK((one.seen & Poller::broken) == 0);
    one.there.reset();
    CHECK(tell(poller) == 1);
    CHECK((one.seen & Poller::broken) != 0);
  }

  TEST_CASE("the poller is readable as long as there is something to tell of") {
    Poller poller;
    const auto readable = [&] {
      pollfd entry{poller.descriptor(), POLLIN, 0};
      return ::poll(&entry, 1, 0) == 1;
    };
    CHECK(!readable());
    Watched one(poller);
    CHECK(readable());
    CHECK(tell(poller) == 1);
    CHECK(!readable());
    one.say("x");
    CHECK(readable());
  }

  TEST_CASE("a socket that is closed within a batch gets none of it, nor does one with the same number") {
    Poller poller;
    std::vector<std::unique_ptr<Watched>> all;
    for (int i = 0; i < 3; ++i) all.push_back(std::make_unique<Watched>(poller));
    CHECK(tell(poller) == 3);
    for (const auto& one : all) {
      one->say("x");
      one->times = 0;
      one->seen = 0;
    }
    // Whichever comes first takes the place of the two others.
    int others = 0;
    for (const auto& one : all) {
      one->then = [&, self = one.get()] {
        for (const auto& other : all) {
          if (other.get() == self || other->times != 0) continue;
          const int number = other->here.get();
          other->close();
          other->there.reset();
          other->open();
          CHECK(other->here.get() == number);
          ++others;
        }
      };
    }
    poller.collect();
    int told = 0;
    while (poller.next()) ++told;
    CHECK(told == 1);
    CHECK(others == 2);
    // What they are told now is their own.
    for (const auto& one : all) one->then = nullptr;
    CHECK(tell(poller) == 2);
    for (const auto& one : all) CHECK(one->times == 1);
  }

  TEST_CASE("more sockets than fit into a batch are all told of") {
    Poller poller;
    std::vector<std::unique_ptr<Watched>> all;
    for (int i = 0; i < 150; ++i) all.push_back(std::make_unique<Watched>(poller));
    CHECK(poller.collect());
    int told = 0;
    while (poller.next()) ++told;
    CHECK(told == 64);
    CHECK(tell(poller) == 86);
    for (const auto& one : all) CHECK(one->times == 1);
  }

  TEST_CASE("nothing is told of a socket that others still have, once it is taken out") {
    Poller poller;
    Watched one(poller);
    CHECK(tell(poller) == 1);
    const kt::Fd copy = one.here.duplicate();
    one.close();
    one.say("x");
    CHECK(tell(poller) == 0);
    CHECK(one.times == 1);
  }

  TEST_CASE("what cannot be watched is an exception") {
    Poller poller;
    struct Nobody final : Poller::Watcher {
      void ready(unsigned) override {}
    } nobody;
    const test::TempDir directory;
    test::write_file(directory.path() + "/file", "x");
    const kt::File file = kt::File::open(directory.path() + "/file");
    CHECK_THROWS_AS(poller.add(file.get(), nobody), std::system_error);
    CHECK_THROWS_AS(poller.add(-1, nobody), std::system_error);
    Watched one(poller);
    CHECK(tell(poller) == 1);
  }

  TEST_CASE("a forked child neither takes events away nor sockets out") {
    Poller poller;
    Watched one(poller);
    CHECK(tell(poller) == 1);
    one.say("x");
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      const bool quiet = !poller.collect() && !poller.next();
      poller.remove(one.here.get(), one.ticket);
      ::_exit(quiet ? 0 : 1);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
    CHECK(tell(poller) == 1);
    one.say("y");
    CHECK(tell(poller) == 1);
  }
}
