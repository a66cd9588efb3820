// SPDX-License-Identifier: MIT
// kitten.hpp: the service that is measured.
#pragma once

#include "kettlingar.hpp"

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

namespace kt = kettlingar;

struct Purr {
  std::uint32_t id;
  double volume;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Purr, id, volume)

inline Purr purr(std::uint32_t i) { return {1'000'000'000 + i, i + 0.25}; }  // all as long on the wire

inline kt::Generator<Purr> purrs(std::uint32_t count) {
  for (std::uint32_t i = 0; i < count; ++i) {
    const Purr item = purr(i);
    co_yield item;
  }
}

inline kt::Generator<Purr> doze() {
  const Purr item = purr(0);
  co_yield item;
  co_await kt::sleep_for(std::chrono::hours(1));
}

inline void add_methods(kt::Kitten& kitten) {
  kitten.public_api(
      "meow", [] { return kt::text("Meow world, meow!\n"); }, "Meow.");
  kitten.api(
      "loudness",
      [](int count, const std::string& sound, bool caps) {
        return count * static_cast<int>(sound.size()) * (caps ? 2 : 1);
      },
      "How loud that would be.", kt::arg("count"), kt::arg("sound"), kt::arg("caps") = false);
  kitten.api("purrs", purrs, "A stream of small maps.", kt::arg("count"));
  kitten.api("doze", doze, "A stream that says one thing, and no more for an hour.");
  kitten.api(
      "pass", [](kt::Fd fd) { return fd; }, "Returns an open file.", kt::arg("fd"));
}
