// SPDX-License-Identifier: MIT
// service/options.hpp: variables that the command line, a file and the `config` method can set.
#pragma once

#include <atomic>
#include <cmath>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/errors.hpp"
#include "../base/suggest.hpp"
#include "../base/version.hpp"
#include "../os/descriptor.hpp"
#include "convert.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// One variable that can be configured.
struct Option {
  std::string name;  ///< with underscores; on the command line dashes do as well
  std::string type;
  std::string help;
  json fallback;
  bool secret = false;
  std::function<json()> get;
  std::function<void(const json&)> set;  ///< throws BadValue
  std::function<void()> changed;         ///< may be empty; called after a change at run time
};

/// What the variable of an option holds.
template <class T>
struct OptionValue {
  using type = T;
};
template <class T>
struct OptionValue<std::atomic<T>> {
  using type = T;
};

/// Binds `variable`, whose present value is the default.
template <class T>
Option make_option(std::string name, T& variable, std::string help) {
  using Value = typename OptionValue<T>::type;
  Option option;
  option.name = std::move(name);
  option.type = type_name<Value>();
  option.help = std::move(help);
  option.get = [&variable] {
    const Value& value = variable;
    return to_json_value(value);
  };
  option.set = [&variable](const json& value) { variable = from_json<Value>(value); };
  option.fallback = option.get();
  return option;
}

/// Called with nothing when an option has been changed by `config`; its result goes to the caller. By option name.
using ConfigHooks = std::map<std::string, std::function<json()>, std::less<>>;

#if KETTLINGAR_INTERNALS
/// `worker-use-tcp` as `worker_use_tcp`. Upper case is left alone, and so names no option.
inline std::string option_name(std::string_view text) {
  std::string name(text);
  for (char& c : name) {
    if (c == '-') c = '_';
  }
  return name;
}

/// A value as it stands behind `--name=`; null is empty, which means "the default" when it is read back.
inline std::string option_text(const json& value) {
  if (value.is_null()) return {};
  if (value.is_string()) return value.get<std::string>();
  if (const auto* real = value.get_ptr<const double*>(); real != nullptr && !std::isfinite(*real)) {
    return std::isnan(*real) ? "nan" : *real > 0 ? "inf" : "-inf";  // JSON has none of them
  }
  std::string out;
  if (encode_json(value, out, JsonStyle::spaced)) out.clear();
  return out;
}

/// All options of a service: its own and the built-in ones, set by one mechanism wherever the text comes from.
class Options {
 public:
  /// Binds `variable`, whose present value is the default. It must outlive the service.
  template <class T>
  Option& add(std::string name, T& variable, std::string help) {
    return add(make_option(std::move(name), variable, std::move(help)));
  }
  Option& add(Option option);

  const std::vector<Option>& all() const noexcept { return options_; }
  const Option* find(std::string_view name) const noexcept;
  std::vector<std::string> names() const;

  /// Converts and stores; empty text means the default. Throws InvalidArgument that names option, type and value, and
  /// changes nothing then. The hook is not called: it belongs to changes at run time.
  void set(std::string_view name, const json& value) const;

  /// Reads `key = value` lines: `--` in front is allowed, `#` starts a comment at the start of a line or after a blank,
  /// the value may contain `=`. `worker_config` in a file is ignored. Throws InvalidArgument with file and line,
  /// std::system_error if it cannot be read.
  void read_file(const std::string& path) const;

  /// One `--name=value` line for each option, for people. Without the secret.
  std::string lines() const;
  /// The same for read_file(), with the secret. Throws InvalidArgument if it would read a value back as another one.
  std::string file_lines() const;

 private:
  struct Line {
    std::string_view name;
    std::string_view value;
  };
  static std::optional<Line> parse_line(std::string_view line);
  void read_line(std::string_view line) const;

  std::vector<Option> options_;
};

#if KETTLINGAR_DEFINITIONS
KETTLINGAR_COLD Option& Options::add(Option option) {
  const bool clean = !option.name.empty() &&
                     option.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") == std::string::npos;
  if (!clean || option.name.front() == '_') {
    throw std::invalid_argument("kettlingar: '" + option.name + "' cannot be an option: use a-z, 0-9 and _");
  }
  for (Option& present : options_) {
    // A class may give a built-in variable a default of its own by declaring it again.
    if (present.name == option.name) return present = std::move(option);
  }
  return options_.emplace_back(std::move(option));
}

KETTLINGAR_INLINE const Option* Options::find(std::string_view name) const noexcept {
  for (const Option& option : options_) {
    if (option.name == name) return &option;
  }
  return nullptr;
}

KETTLINGAR_INLINE std::vector<std::string> Options::names() const {
  std::vector<std::string> names;
  for (const Option& option : options_) names.push_back(option.name);
  return names;
}

KETTLINGAR_COLD void Options::set(std::string_view name, const json& value) const {
  const Option* option = find(name);
  if (option == nullptr) {
    throw InvalidArgument("unknown option '" + std::string(name) + "'" + suggestion(name, names()));
  }
  const bool reset = value.is_null() || (value.is_string() && value.get_ref<const std::string&>().empty());
  try {
    option->set(reset ? option->fallback : value);
  } catch (const BadValue& bad) {
    throw InvalidArgument("option '" + option->name + "': expected " + bad.expected + ", got " + shown(bad.value));
  }
}

KETTLINGAR_COLD std::optional<Options::Line> Options::parse_line(std::string_view line) {
  constexpr std::string_view blanks = " \t\r";
  const auto trimmed = [&](std::string_view text) {
    const std::size_t first = text.find_first_not_of(blanks);
    if (first == std::string_view::npos) return std::string_view{};
    return text.substr(first, text.find_last_not_of(blanks) - first + 1);
  };
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '#' && (i == 0 || blanks.find(line[i - 1]) != std::string_view::npos)) line = line.substr(0, i);
  }
  line = trimmed(line);
  if (line.empty()) return std::nullopt;
  if (line.starts_with("--")) line.remove_prefix(2);
  const std::size_t equals = line.find('=');
  if (equals == std::string_view::npos) throw InvalidArgument("expected 'name = value'");
  return Line{trimmed(line.substr(0, equals)), trimmed(line.substr(equals + 1))};
}

KETTLINGAR_COLD void Options::read_line(std::string_view line) const {
  const std::optional<Line> found = parse_line(line);
  if (!found) return;
  const std::string name = option_name(found->name);
  if (name != "worker_config") set(name, json(std::string(found->value)));
}

KETTLINGAR_COLD void Options::read_file(const std::string& path) const {
  constexpr std::size_t longest = 1024 * 1024;
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string content;
  if (!fd || !read_all(fd.get(), content, longest)) throw_errno("cannot read " + path);
  if (!is_utf8(content)) throw InvalidArgument(path + ": not UTF-8 text");
  std::size_t number = 1;
  for (std::string_view rest = content; !rest.empty(); ++number) {
    const std::size_t end = rest.find('\n');
    try {
      read_line(rest.substr(0, end));
    } catch (const InvalidArgument& error) {
      throw InvalidArgument(path + ":" + std::to_string(number) + ": " + error.what());
    }
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
}

KETTLINGAR_COLD std::string Options::lines() const {
  std::string out;
  for (const Option& option : options_) {
    if (option.secret) continue;
    if (!out.empty()) out += '\n';
    out += "--" + option.name + "=" + option_text(option.get());
  }
  return out;
}

KETTLINGAR_COLD std::string Options::file_lines() const {
  std::string out;
  for (const Option& option : options_) {
    const std::string text = option_text(option.get());
    const std::string line = "--" + option.name + "=" + text;
    if (line.find('\n') != std::string::npos || parse_line(line)->value != text)
      throw InvalidArgument("option '" + option.name + "': a file cannot hold " + shown(json(text)));
    out += line + "\n";
  }
  return out;
}
#endif

#endif

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
