// SPDX-License-Identifier: MIT
// base/suggest.ipp: "did you mean": the known word that a mistyped one is closest to.
#pragma once

#include <algorithm>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Number of single-character changes, swaps of neighbours included, that lead from one word to the other.
[[gnu::cold]] inline std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1);
  std::vector<std::size_t> previous(b.size() + 1);
  std::vector<std::size_t> current(b.size() + 1);
  std::iota(previous.begin(), previous.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    current[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t change = previous[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      current[j] = (std::min)({previous[j] + 1, current[j - 1] + 1, change});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        current[j] = (std::min)(current[j], before[j - 2] + 1);
      }
    }
    std::swap(before, previous);
    std::swap(previous, current);
  }
  return previous[b.size()];
}

/// `text` with its ASCII letters in lower case.
inline std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
  }
  return lower;
}

/// The other word of `known` that `word` was probably meant to be, in lower or upper case; empty if none is near. Long
/// input from peers is not compared.
[[gnu::cold]] inline std::string closest(std::string_view word, const std::vector<std::string>& known) {
  constexpr std::size_t longest = 64;
  std::string best;
  if (word.size() > longest) return best;
  std::size_t best_distance = word.size() <= 3 ? 2 : word.size() <= 5 ? 3 : 4;  // only nearer words are suggested
  for (const std::string& candidate : known) {
    if (candidate.size() > longest || candidate == word) continue;
    const std::size_t distance = edit_distance(lower_case(word), lower_case(candidate));
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  return best;
}

/// " (did you mean 'x'?)", or nothing.
[[gnu::cold]] inline std::string suggestion(std::string_view word, const std::vector<std::string>& known) {
  const std::string best = closest(word, known);
  return best.empty() ? std::string() : " (did you mean '" + best + "'?)";
}

/// What a service says of a method that it does not have, before the suggestion; clients put in which one.
inline constexpr std::string_view no_such_method = "no such method";

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
