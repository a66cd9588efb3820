// SPDX-License-Identifier: MIT
// Configuration: a file is taken or refused, and what is saved of it reads as the same again. Input: a file.
#include <unistd.h>

#include <cstdlib>

#include "fuzz.hpp"
#include "service/settings.ipp"

namespace kt = kettlingar;

namespace {

/// All options after reading `text`; nothing if that is refused.
std::optional<std::string> configured(std::string_view text) {
  kt::Settings settings;
  kt::Limits limits;
  kt::detail::Options options;
  std::vector<int> list{1};
  std::optional<bool> flag;
  kt::detail::add_builtin_options(options, settings, limits);
  options.add("list", list, "");
  options.add("flag", flag, "");
  char path[] = "/tmp/kettlingar.fuzz.XXXXXX";  // a file of ours with a name: others are refused
  const kt::Fd file(::mkstemp(path));
  FUZZ_CHECK(file && kt::detail::write_all(file.get(), text));
  bool refused = false;
  try {
    options.read_file(path);
    kt::detail::check_settings(settings);
  } catch (const kt::InvalidArgument&) {
    refused = true;
  }
  ::unlink(path);
  return refused ? std::nullopt : std::optional(options.file_lines());
}

}  // namespace

FUZZ_TARGET(config) {
  const auto saved = configured(bytes);
  if (saved) FUZZ_CHECK(configured(*saved) == saved);
}
