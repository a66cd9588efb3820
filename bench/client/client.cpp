// SPDX-License-Identifier: MIT
// client.cpp: a blocking client that calls as often as it can.
//
//   client call STATE SECONDS   calls a method with three arguments, again and again
//   client pass STATE SECONDS   passes a descriptor, and gets it back
//
// Prints how many calls there were, at least one, and in how many seconds. STATE is the state directory of the service.
#include "kettlingar.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

namespace kt = kettlingar;
using Clock = std::chrono::steady_clock;

template <class Work>
void repeat(double seconds, const Work& work) {
  const auto begun = Clock::now();
  std::chrono::duration<double> past{};
  long times = 0;
  for (; times == 0 || past.count() < seconds; past = Clock::now() - begun, ++times) work();
  std::printf("%ld %.6f\n", times, past.count());
}

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  kt::ClientOptions options;
  options.state_directory = argv[2];
  const kt::Client kitty = kt::Client::connect("bench", "Kitty", options);
  const double seconds = std::atof(argv[3]);
  if (argv[1] == std::string_view("call")) {
    repeat(seconds, [&] {
      if (kitty.call<int>("loudness", 3, "purr purr", false) != 27) std::abort();
    });
  } else {
    kt::Fd fd(kt::File::open("/dev/null"));
    repeat(seconds, [&] { fd = kitty.call<kt::Fd>("pass", std::move(fd)); });
  }
  return 0;
}
