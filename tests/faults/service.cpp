// SPDX-License-Identifier: MIT
// service.cpp: the service that the other programs of this folder do bad things to. It has the usual command line and
// these options: --patience=SECONDS for whoever is slow, silent or gone, --drain=SECONDS for calls that run at the end.
#include "kettlingar.hpp"

#include <signal.h>

#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>

namespace kt = kettlingar;
using kt::json;
using namespace std::chrono_literals;

namespace {

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
}

// Counts the handlers and generators that are alive.
struct Alive {
  static inline int count = 0;
  Alive() { ++count; }
  ~Alive() { --count; }
  Alive(const Alive&) = delete;
  Alive& operator=(const Alive&) = delete;
};

kt::Task<std::string> nap(double seconds) {
  const Alive alive;
  co_await kt::sleep_for(milliseconds(seconds));
  co_return "slept";
}

kt::Generator<int> count(int n) {
  const Alive alive;
  for (int i = 0; i < n; ++i) co_yield i;
}

kt::Generator<int> drip(double seconds) {
  const Alive alive;
  for (int i = 0;; ++i) {
    co_yield i;
    co_await kt::sleep_for(milliseconds(seconds));
  }
}

kt::Generator<int> breaks() {
  co_yield 1;
  throw std::runtime_error("secret words of an exception");
}

}  // namespace

int main(int argc, char** argv) {
  // So that signals interrupt system calls; without SA_RESTART.
  struct sigaction interrupt {};
  interrupt.sa_handler = [](int) {};
  ::sigaction(SIGUSR1, &interrupt, nullptr);

  kt::Kitten kitten("faults", "service", "A service that has to suffer");
  double patience = 30, drain = 1;
  kitten.option("patience", patience, "Seconds for peers that are slow, silent or gone");
  kitten.option("drain", drain, "Seconds for running calls when the service stops");
  kitten.on_start([&] {
    kt::Limits& limits = kitten.limits();
    limits.head_timeout = limits.body_timeout = limits.idle_timeout = limits.write_timeout = limits.linger_timeout =
        milliseconds(patience);
    limits.drain_timeout = milliseconds(drain);
  });
  const auto connect_to_myself = [&](std::chrono::milliseconds first_byte) {
    kt::ClientOptions options;
    options.state_directory = kitten.settings().app_state_dir;
    options.timeouts.first_byte = options.timeouts.total = first_byte;
    return options;
  };

  kitten.public_api("meow", [] { return kt::text("Meow world, meow!\n"); });
  kitten.public_api("throws", []() -> int { throw std::runtime_error("secret words of an exception"); });
  kitten.api(
      "alive", [] { return Alive::count; }, "Handlers that run");
  kitten.api(
      "echo", [](json value) { return value; }, "", kt::arg("value"));
  kitten.api("breaks", breaks, "Throws after an item");
  kitten.api("nap", nap, "Sleeps, and lets others run", kt::arg("seconds"));
  kitten.api(
      "block", [](double seconds) { std::this_thread::sleep_for(milliseconds(seconds)); }, "Lets nobody run",
      kt::arg("seconds"));
  kitten.api(
      "big", [](std::size_t bytes) { return kt::text(std::string(bytes, 'x')); }, "", kt::arg("bytes"));
  kitten.api("count", count, "", kt::arg("n"));
  kitten.api("drip", drip, "An endless stream", kt::arg("seconds") = 0.002);
  kitten.api(
      "cat", [](kt::File file) -> kt::Task<std::string> { co_return co_await kt::async_read_all(file); }, "",
      kt::arg("file"));
  kitten.api(
      "hang_up", [](kt::Request& request) { request.take_connection(); }, "Closes its own connection");
  kitten.api("call_async", [&]() -> kt::Task<int> {
    const kt::Client me = co_await kt::Client::async_connect("faults", "service", connect_to_myself(30s));
    co_return co_await me.async_call<int>("echo", 7);
  });
  kitten.api("call_loopback", [&] { return kitten.loopback().call<int>("echo", 7); });
  kitten.api("call_blocking",
             [&] { return kt::Client::connect("faults", "service", connect_to_myself(200ms)).call<int>("echo", 7); });
  return kitten.main(argc, argv);
}
