// SPDX-License-Identifier: MIT
// The command line's own languages: options among words, and the `_format` that a service sends along with a result.
// Input: words ended by 0xFF, an empty one, JSON.
#include "cli/output.ipp"
#include "fuzz.hpp"
#include "service/settings.ipp"

namespace kt = kettlingar;

namespace {

/// Whether `words` are taken; what is no option is left there.
bool configured(std::vector<std::string>& words) {
  kt::Settings settings;
  kt::Limits limits;
  kt::detail::Options options;
  kt::detail::add_builtin_options(options, settings, limits);
  options.set("app_data_dir", kt::json("/nonexistent"));
  try {
    kt::detail::configure(options, settings, words);
  } catch (const kt::InvalidArgument&) {
    return false;
  }
  return true;
}

void check_options(std::vector<std::string> words) {
  for (const std::string& word : words) {
    if (word.starts_with("--") && (word.find("config") != std::string::npos || word.find("data") != std::string::npos))
      return;  // would read files
  }
  if (!configured(words)) return;
  const std::vector<std::string> left = words;
  FUZZ_CHECK(configured(words) && words == left);
}

}  // namespace

FUZZ_TARGET(cli) {
  fuzz::Input input(bytes);
  std::vector<std::string> words;
  for (std::string_view word = input.until('\xFF'); !word.empty(); word = input.until('\xFF')) words.emplace_back(word);
  check_options(words);

  kt::json result;
  if (kt::decode_json(input.rest(), result)) return;
  std::string text;
  try {
    text = kt::detail::plain_text(result);
    const std::string format = words.empty() ? "" : words.front();
    if (!result.is_object()) return;
    text = kt::detail::apply_format(format, result);
    FUZZ_CHECK(format.find("%") != std::string::npos || text == format);
  } catch (const kt::detail::FormatError&) {
  } catch (const kt::ConnectionError&) {
  }
}
