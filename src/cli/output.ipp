// SPDX-License-Identifier: MIT
// cli/output.ipp: results as people and scripts want them on standard output.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "../base/errors.hpp"
#include "../base/version.hpp"
#include "../client/response.ipp"
#include "../client/transport.hpp"
#include "../os/descriptor.hpp"
#include "../wire/json_text.ipp"
#include "../wire/text.ipp"
#include "python_format.ipp"
#include "terminal.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// How results are printed: for people, as JSON (`--json`), or as they came (`--raw`).
enum class OutputStyle { plain, json, raw };

/// JSON for eyes and scripts: blanks after commas and colons, ASCII only, bytes as text where they are text.
inline std::string printable_json(const json& value, JsonStyle style = JsonStyle::terminal) {
  std::string out;
  if (const CodecError error = encode_json(value, out, style))
    throw ConnectionError("cannot print the result: " + std::string(error.why));
  return out;
}

/// A value without a `_format`: text as it is, the rest as JSON, with the numbers that JSON does not have.
inline std::string plain_text(const json& value) {
  return value.is_string() ? value.get<std::string>() : printable_json(value, JsonStyle::reading);
}

/// The lines of one command: results to standard output, progress to standard error where that is a terminal.
class Output {
 public:
  explicit Output(OutputStyle style) : style_(style), draws_progress_(is_screen(STDERR_FILENO)) {}
  ~Output() { clear_progress(); }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  /// Prints a result, or an item of a stream. Throws ConnectionError if standard output cannot be written to.
  void print(json value, bool is_item);
  /// Ends a progress line, so that other text starts on a line of its own.
  void clear_progress();

 private:
  void write(std::string_view text, bool as_it_is = false);
  void show_progress(json item);

  OutputStyle style_;
  bool draws_progress_;
  bool progress_shown_ = false;
};

/// Items with a number `progress` from 0 to 1 tell how far a call has come. They are no results if they have nothing
/// else but `_format` and `message`.
[[gnu::cold]] inline bool is_mere_progress(const json& item) {
  if (!item.is_object() || !item.contains("progress") || !item["progress"].is_number()) return false;
  for (const auto& [key, value] : item.items()) {
    if (key != "progress" && key != "_format" && key != "message") return false;
  }
  const double part = item["progress"].get<double>();
  return part >= 0 && part <= 1;
}

/// Bytes, which are written as they are; ext values are not.
inline bool is_plain_bytes(const json& value) { return value.is_binary() && !value.get_binary().has_subtype(); }

/// Takes the `_format` out of a result; nothing if it has none.
[[gnu::cold]] inline std::optional<std::string> take_format(json& value) {
  if (!value.is_object() || !value.contains("_format") || !value["_format"].is_string()) return std::nullopt;
  std::string format = std::move(value["_format"].get_ref<std::string&>());
  value.erase("_format");
  return format;
}

KETTLINGAR_COLD void Output::write(std::string_view text, bool as_it_is) {
  clear_progress();
  if (!(as_it_is ? write_all(STDOUT_FILENO, text) : show(STDOUT_FILENO, text)))
    throw ConnectionError(std::string("cannot write to standard output: ") + std::strerror(errno));
}

KETTLINGAR_COLD void Output::print(json value, bool is_item) {
  const bool document = is_document(value);
  if (document) {
    json data = std::move(value["data"]);
    value = std::move(data);
  }
  if (style_ == OutputStyle::raw) {
    if (is_plain_bytes(value)) return write(chars(value.get_binary()), true);
    return write(plain_text(value) + (document ? "" : "\n"), true);
  }
  if (style_ == OutputStyle::json) {
    if (value.is_object()) value.erase("_format");
    return write(printable_json(value) + "\n");
  }
  if (is_plain_bytes(value)) return write(chars(value.get_binary()));
  if (is_item && is_mere_progress(value)) return show_progress(std::move(value));
  if (const auto format = take_format(value)) return write(apply_format(*format, value) + "\n");
  std::string text = plain_text(value);
  if (!text.ends_with('\n')) text += '\n';
  write(text);
}

KETTLINGAR_COLD void Output::show_progress(json item) {
  if (!draws_progress_) return;
  const double part = item["progress"].get<double>();
  std::string line = std::to_string(static_cast<int>(part * 100)) + "% ";
  if (const auto format = take_format(item)) {
    line += apply_format(*format, item);
  } else if (item.contains("message")) {
    line += plain_text(item["message"]);
  } else {
    line += std::string(static_cast<std::size_t>(part * 40), '#');
  }
  progress_shown_ = true;
  // The last column stays free: a line that fills it may wrap.
  write_all(STDERR_FILENO, "\r\x1b[K" + fitting(shown_on(STDERR_FILENO, line), columns_of(STDERR_FILENO) - 1));
}

KETTLINGAR_COLD void Output::clear_progress() {
  if (!progress_shown_) return;
  progress_shown_ = false;
  write_all(STDERR_FILENO, "\r\x1b[K");
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
