// SPDX-License-Identifier: MIT
// cli/output.hpp: results as people and scripts want them on standard output.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

#include "../base/errors.hpp"
#include "../base/version.hpp"
#include "../client/response.hpp"
#include "../client/transport.hpp"
#include "../os/descriptor.hpp"
#include "../wire/json_text.hpp"
#include "../wire/text.hpp"
#include "terminal.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// How results are printed: for people, as JSON (`--json`), or as they came (`--raw`).
enum class OutputStyle { plain, json, raw };

/// The `_format` of a result names something that the result does not have. Exit code 2.
class MissingFormatKey : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// JSON for eyes and scripts: blanks after commas and colons, ASCII only, bytes as text where they are text.
inline std::string printable_json(const json& value) {
  std::string out;
  if (const CodecError error = encode_json(value, out, JsonStyle::terminal))
    throw ConnectionError("cannot print the result: " + std::string(error.why));
  return out;
}

/// A value inside a `_format`: text as it is, the rest as JSON.
inline std::string plain_text(const json& value) {
  return value.is_string() ? value.get<std::string>() : printable_json(value);
}

/// More than that is not made of a `_format`, whatever widths it asks for.
inline constexpr std::size_t longest_formatted = std::size_t{16} * 1024 * 1024;

/// One `%(name)X` with flags, width and precision as in C, for the conversions s d i f g e x. Moves `at` behind it;
/// takes what is asked for from `budget`.
[[gnu::cold]] inline std::string format_one(std::string_view format, std::size_t& at, const json& values,
                                            std::size_t& budget) {
  const std::size_t close = format.find(')', at);
  if (close == std::string_view::npos) throw MissingFormatKey("_format: '%(' without ')'");
  const std::string name(format.substr(at, close - at));
  const std::size_t kind_at = format.find_first_not_of("-+ 0123456789.", close + 1);
  if (kind_at == std::string_view::npos) throw MissingFormatKey("_format: '%(" + name + ")' without a conversion");
  const auto found = values.find(name);
  if (found == values.end()) throw MissingFormatKey("_format: the result has no '" + name + "'");
  std::string directive = "%" + std::string(format.substr(close + 1, kind_at - close - 1));
  const char kind = format[kind_at];
  at = kind_at + 1;
  if (std::string_view("sdifgexr").find(kind) == std::string_view::npos) {
    throw MissingFormatKey("_format: '%(" + name + ")" + kind + "' is not a conversion");
  }
  if (directive.size() > 8) throw MissingFormatKey("_format: width or precision of '" + name + "' is too large");
  char text[512];
  int n = 0;
  const bool whole = kind == 'd' || kind == 'i' || kind == 'x';
  if (whole && found->is_number() && std::fabs(found->get<double>()) < 9e18) {
    const long long number =
        found->is_number_float() ? static_cast<long long>(found->get<double>()) : found->get<long long>();
    n = std::snprintf(text, sizeof text, (directive + "ll" + kind).c_str(), number);
  } else if ((kind == 'f' || kind == 'g' || kind == 'e') && found->is_number()) {
    n = std::snprintf(text, sizeof text, (directive + kind).c_str(), found->get<double>());
  } else {
    const std::string plain = plain_text(*found);
    if (directive == "%") return plain;
    n = std::snprintf(text, sizeof text, (directive + "s").c_str(), plain.c_str());
    if (n >= static_cast<int>(sizeof text)) return plain;
  }
  if (static_cast<std::size_t>((std::max)(n, 0)) > budget) throw MissingFormatKey("_format: the text is too long");
  budget -= static_cast<std::size_t>((std::max)(n, 0));
  return std::string(text, static_cast<std::size_t>((std::min)(n, static_cast<int>(sizeof text) - 1)));
}

/// Fills in a `_format` with the result that carries it: `%(name)s`, `%(name).2f`, `%%`. Throws MissingFormatKey.
[[gnu::cold]] inline std::string apply_format(std::string_view format, const json& values) {
  std::string out;
  std::size_t budget = longest_formatted;
  for (std::size_t i = 0; i < format.size();) {
    if (format[i] != '%' || i + 1 == format.size()) {
      out += format[i++];
    } else if (format[i + 1] == '(') {
      i += 2;
      out += format_one(format, i, values, budget);
    } else {
      out += '%';
      i += format[i + 1] == '%' ? 2 : 1;
    }
  }
  return out;
}

/// The lines of one command: results to standard output, progress to standard error where that is a terminal.
class Output {
 public:
  explicit Output(OutputStyle style) : style_(style), terminal_(::isatty(STDERR_FILENO) == 1) {}
  ~Output() { clear_progress(); }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  /// Prints a result, or an item of a stream. Throws ConnectionError if standard output cannot be written to.
  void print(json value, bool is_item);
  /// Ends a progress line, so that other text starts on a line of its own.
  void clear_progress();

 private:
  void write(std::string_view text, bool as_it_is = false);
  void show_progress(const json& item);

  OutputStyle style_;
  bool terminal_;
  bool progress_shown_ = false;
};

/// Items with a number `progress` from 0 to 1 tell how far a call has come; they are no results.
inline bool is_progress(const json& item) {
  if (!item.is_object() || !item.contains("progress") || !item["progress"].is_number()) return false;
  const double part = item["progress"].get<double>();
  return part >= 0 && part <= 1;
}

#if KETTLINGAR_DEFINITIONS
KETTLINGAR_COLD void Output::write(std::string_view text, bool as_it_is) {
  clear_progress();
  if (!(as_it_is ? write_all(STDOUT_FILENO, text) : show(STDOUT_FILENO, text)))
    throw ConnectionError(std::string("cannot write to standard output: ") + std::strerror(errno));
}

KETTLINGAR_COLD void Output::print(json value, bool is_item) {
  if (style_ == OutputStyle::raw)
    return write((value.is_string() ? value.get<std::string>() : printable_json(value)) + "\n", true);
  if (is_document(value)) {
    json data = std::move(value["data"]);
    value = std::move(data);
  }
  if (style_ == OutputStyle::json) {
    if (value.is_object()) value.erase("_format");
    return write(printable_json(value) + "\n");
  }
  if (value.is_binary()) {
    const auto& raw = value.get_binary();
    return write(chars(raw));
  }
  if (is_item && is_progress(value)) return show_progress(value);
  if (value.is_object() && value.contains("_format") && value["_format"].is_string()) {
    return write(apply_format(value["_format"].get_ref<const std::string&>(), value) + "\n");
  }
  std::string text = plain_text(value);
  if (!text.ends_with('\n')) text += '\n';
  write(text);
}

KETTLINGAR_COLD void Output::show_progress(const json& item) {
  if (!terminal_) return;
  const double part = item["progress"].get<double>();
  std::string line = std::to_string(static_cast<int>(part * 100)) + "% ";
  if (item.contains("_format") && item["_format"].is_string()) {
    line += apply_format(item["_format"].get_ref<const std::string&>(), item);
  } else {
    line += std::string(static_cast<std::size_t>(part * 40), '#');
  }
  progress_shown_ = true;
  write_all(STDERR_FILENO, "\r\x1b[K");
  show(STDERR_FILENO, line);
}

KETTLINGAR_COLD void Output::clear_progress() {
  if (!progress_shown_) return;
  progress_shown_ = false;
  write_all(STDERR_FILENO, "\r\x1b[K");
}
#endif

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
