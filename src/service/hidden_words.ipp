// SPDX-License-Identifier: MIT
// service/hidden_words.ipp: command lines that we make, without the secrets in them: every user can read those lines.
#pragma once

#include <unistd.h>

#include <charconv>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/errors.hpp"
#include "../base/version.hpp"
#include "../os/descriptor.hpp"
#include "../os/process.ipp"
#include "options.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Stands in a command line for a word with a secret: the number behind it is that of a descriptor which the program
/// inherits, and from which it reads the words that were taken out, in their order, a NUL behind each.
inline constexpr std::string_view hidden_word = "--secret-from=";

/// A command line that everybody may read, and what is missing in it.
struct HiddenWords {
  std::vector<std::string> words;
  std::string secrets;  ///< what the program reads from its secrets_descriptor
};

/// `words` for a program that is started with the secrets in its secrets_descriptor.
[[gnu::cold]] inline HiddenWords hide_secrets(const Options& options, std::vector<std::string> words) {
  std::string secrets;
  for (std::string& word : words) {
    const std::size_t equals = word.find('=');
    if (!word.starts_with("--") || equals == std::string::npos) continue;
    const Option* option = options.find(option_name(std::string_view(word).substr(2, equals - 2)));
    if (option == nullptr || !option->secret) continue;
    secrets.append(word.c_str(), std::string_view(word.c_str()).size() + 1);  // up to a NUL, as in any command line
    word = std::string(hidden_word) + std::to_string(secrets_descriptor);
  }
  return {std::move(words), std::move(secrets)};
}

/// Puts the secrets back to where hide_secrets() has taken them from. Throws InvalidArgument.
[[gnu::cold]] inline void restore_secrets(std::vector<std::string>& words) {
  constexpr std::size_t longest = 1024 * 1024;
  std::string secrets;
  std::string_view rest;
  int descriptor = -1;
  for (std::string& word : words) {
    if (!word.starts_with(hidden_word)) continue;
    if (descriptor < 0) {
      const char* const end = word.data() + word.size();
      const auto number = std::from_chars(word.data() + hidden_word.size(), end, descriptor);
      FileInfo info{};
      const bool is_pipe =
          number.ptr == end && descriptor > STDERR_FILENO && ::fstat(descriptor, &info) == 0 && S_ISFIFO(info.st_mode);
      const Fd inherited(is_pipe ? descriptor : -1);  // anything else is not ours to read, and may be in use here
      if (!inherited || !read_all(inherited.get(), secrets, longest))
        throw InvalidArgument(word + ": nothing can be read there");
      rest = secrets;
    }
    const std::size_t size = rest.find('\0');
    if (size == std::string_view::npos) throw InvalidArgument(word + ": there are more of these than secrets");
    word = std::string(rest.substr(0, size));
    rest.remove_prefix(size + 1);
  }
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
