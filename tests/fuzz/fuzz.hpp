// SPDX-License-Identifier: MIT
// What the fuzz targets share. FUZZ_TARGET(name) { ... } defines one, whose body gets `std::string_view bytes`. It may
// keep state between two inputs only where that changes nothing. targets.cpp includes all of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#define FUZZ_TARGET(name)                                                                                    \
  static void fuzz_target_##name(std::string_view bytes);                                                    \
  static const bool fuzz_target_##name##_known = fuzz::targets().emplace(#name, &fuzz_target_##name).second; \
  static void fuzz_target_##name([[maybe_unused]] std::string_view bytes)

/// What has to hold in every build.
#define FUZZ_CHECK(condition) \
  if (!(condition)) fuzz::failed(#condition, __FILE__, __LINE__)

namespace fuzz {

inline std::map<std::string, void (*)(std::string_view)>& targets() {
  static std::map<std::string, void (*)(std::string_view)> all;
  return all;
}

[[noreturn]] inline void failed(const char* condition, const char* file, int line) {
  std::cerr << file << ":" << line << ": " << condition << " does not hold\n";
  std::abort();
}

/// Takes an input apart. What is missing at its end is zero, or empty.
class Input {
 public:
  explicit Input(std::string_view bytes) : rest_(bytes) {}

  bool empty() const { return rest_.empty(); }
  unsigned byte() {
    const std::string_view one = take(1);
    return one.empty() ? 0 : static_cast<unsigned char>(one[0]);
  }
  std::string_view take(std::size_t size) {
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(taken.size());
    return taken;
  }
  /// Up to `end`, which is dropped.
  std::string_view until(char end) {
    const std::string_view taken = take(rest_.find(end));
    take(1);
    return taken;
  }
  std::string_view rest() { return take(rest_.size()); }

 private:
  std::string_view rest_;
};

/// How much of something there is each time that a reader looks: all at once, one byte more, or as `seed` has it.
enum class Cut { whole, pieces, bytes };
inline constexpr Cut every_cut[] = {Cut::whole, Cut::pieces, Cut::bytes};

inline std::vector<std::size_t> cuts(Cut cut, std::size_t size, unsigned seed) {
  std::vector<std::size_t> sizes;
  std::minstd_rand random(seed + 1);
  for (std::size_t at = 0; at < size && cut != Cut::whole; sizes.push_back(at)) {
    at += cut == Cut::bytes ? 1 : 1 + random() % (1 + size / 4);
    if (at > size) at = size;
  }
  if (sizes.empty() || sizes.back() != size) sizes.push_back(size);
  return sizes;
}

}  // namespace fuzz
