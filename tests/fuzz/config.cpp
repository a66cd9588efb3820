// SPDX-License-Identifier: MIT
// Configuration: a file is taken or refused, and what is saved of it reads as the same again. Input: a file.
#include <cstdio>

#include "fuzz.hpp"
#include "service/settings.hpp"

namespace kt = kettlingar;

namespace {

/// All options after reading `text`; nothing if that is refused.
std::optional<std::string> configured(std::string_view text) {
  kt::Settings settings;
  kt::detail::Options options;
  std::vector<int> list{1};
  std::optional<bool> flag;
  kt::detail::add_builtin_options(options, settings);
  options.add("list", list, "");
  options.add("flag", flag, "");
  std::FILE* const file = std::tmpfile();
  FUZZ_CHECK(file != nullptr && std::fwrite(text.data(), 1, text.size(), file) == text.size());
  std::rewind(file);
  bool refused = false;
  try {
    options.read_file("/dev/fd/" + std::to_string(::fileno(file)));
    kt::detail::check_settings(settings);
  } catch (const kt::InvalidArgument&) {
    refused = true;
  }
  std::fclose(file);
  return refused ? std::nullopt : std::optional(options.file_lines());
}

}  // namespace

FUZZ_TARGET(config) {
  const auto saved = configured(bytes);
  if (saved) FUZZ_CHECK(configured(*saved) == saved);
}
