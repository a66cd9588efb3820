// SPDX-License-Identifier: MIT
// tests/plugins/plugin.cpp: a service inside a shared object, which host.cpp loads, uses and unloads.
#include "kettlingar.hpp"

#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <string>

namespace kt = kettlingar;
using namespace std::chrono_literals;

namespace {

kt::Generator<int> count(int to) {
  for (int i = 1; i <= to; ++i) {
    co_yield i;
    co_await kt::sleep_for(1ms);
  }
}

kt::Task<int> sum_of(kt::Client client) {
  int sum = 0;
  auto numbers = client.async_stream<int>("count", 3);
  while (auto number = co_await numbers.next()) sum += *number;
  co_return sum + co_await client.async_call<int>("add", 3, 4);
}

/// 13 if all is well.
int call_all_ways(const kt::Client& client) {
  int sum = 0;
  for (const int number : client.stream<int>("count", 3)) sum += number;
  if (sum != 6 || client.call<std::string>("read", kt::File::open("/dev/null")) != "") return 1;
  try {
    client.call("fail");
    return 2;
  } catch (const kt::NotFound&) {
  }
  asio::io_context loop;
  int sum_in_coroutines = 0;
  asio::co_spawn(loop, sum_of(client), [&](const std::exception_ptr&, int result) { sum_in_coroutines = result; });
  loop.run();
  return sum_in_coroutines;
}

/// Starts a service with its files in `directory`, calls it in several ways, and stops it. 0, or what went wrong.
int serve_and_call(const std::string& directory, const std::string& name) {
  try {
    kt::Kitten kitten("plugins", name);
    kitten.settings().app_state_dir = kitten.settings().app_data_dir = directory;
    kitten.api("count", count, "Counts.", kt::arg("to"));
    kitten.api(
        "add", [](int a, int b) { return a + b; }, "Adds.", kt::arg("a"), kt::arg("b"));
    kitten.api(
        "read", [](kt::File file) -> kt::Task<std::string> { co_return co_await kt::async_read_all(file); }, "Reads.",
        kt::arg("file"));
    kitten.api("fail", []() -> int { throw kt::NotFound("as it should"); });
    kitten.start_thread();
    for (const kt::Client& client : {kitten.connect(), kitten.loopback()}) {
      const int sum = call_all_ways(client);
      if (sum != 13) return sum;
    }
    kitten.stop();
  } catch (const std::exception&) {
    return 3;
  }
  return 0;
}

}  // namespace

extern "C" int use_plugin(const char* directory, const char* name) { return serve_and_call(directory, name); }
