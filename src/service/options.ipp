// SPDX-License-Identifier: MIT
// service/options.ipp: the bodies of options.hpp.
#pragma once

#include <algorithm>

#include "../base/suggest.ipp"
#include "../os/trusted_file.ipp"
#include "options.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// `worker-use-tcp` as `worker_use_tcp`. Upper case is left alone, and so names no option.
inline std::string option_name(std::string_view text) {
  std::string name(text);
  for (char& c : name) {
    if (c == '-') c = '_';
  }
  return name;
}

inline bool is_option_name(std::string_view name) {
  return !name.empty() && name.front() != '_' &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") == std::string_view::npos;
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

inline std::string Option::text(const json& value) const {
  return words == nullptr ? option_text(value) : words(value);
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

  /// Those that are there are not the program's.
  void all_are_built_in();

  const std::vector<Option>& all() const noexcept { return options_; }
  const Option* find(std::string_view name) const noexcept;
  std::vector<std::string> names() const;

  /// Converts and stores; empty text means the default. Throws InvalidArgument that names option, type and value (not
  /// that of a secret), and changes nothing then. The hook is not called: it belongs to changes at run time.
  void set(std::string_view name, const json& value);
  /// Before words are read, and at a start: what the program has set becomes the default of a built-in option, unless
  /// words have set that. Throws InvalidArgument for a value of the program's variable that the service cannot take.
  void adopt();

  /// What is wrong with a value, which is not said of a secret.
  static InvalidArgument mistake(const Option& option, const BadValue& bad);

  /// Reads `key = value` lines: `--` in front is allowed, `#` starts a comment at the start of a line or after a blank,
  /// the value may contain `=`. `worker_config` in a file is ignored, and so is a byte order mark. Throws
  /// InvalidArgument with file and line, also if others can read a secret in it, std::system_error if it cannot be
  /// read, UntrustedFile if others can change it; never waits. With `problems`, what is wrong is added to them instead,
  /// and the lines that are right count.
  void read_file(const std::string& path, std::vector<std::string>* problems = nullptr);

  /// `--name=value` for people, on one line whatever the value is; empty for a secret.
  static std::string line(const Option& option);
  /// The same for read_file(), with secrets. Throws InvalidArgument if it would read a value back as another one.
  std::string file_lines() const;
  /// One line of those. Throws InvalidArgument, without the value if that is `secret`.
  static std::string file_line(const std::string& name, const json& value, bool secret);

 private:
  struct Line {
    std::string_view name;
    std::string_view value;
  };
  static std::optional<Line> parse_line(std::string_view line);
  static std::string read_text(const std::string& path, bool& exposed);
  static void forward(const Option& option);
  const Option* read_line(std::string_view line);

  std::vector<Option> options_;
};

KETTLINGAR_COLD Option& Options::add(Option option) {
  if (!is_option_name(option.name)) {
    throw std::invalid_argument("kettlingar: '" + option.name + "' cannot be an option: use a-z, 0-9 and _");
  }
  for (Option& present : options_) {
    if (present.name != option.name) continue;
    // A class may give a built-in variable a default of its own by declaring it again. What it is for stays.
    option.secret |= present.secret;
    option.at_start |= present.at_start;
    option.on_disk |= present.on_disk;
    if (present.built_in) {
      option.built_in = true;
      option.forward = present.forward ? present.forward : present.set;
      option.validate = present.validate;
      option.meaning = present.meaning;
      option.words = present.words;
      forward(option);
    }
    return present = std::move(option);
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

KETTLINGAR_COLD InvalidArgument Options::mistake(const Option& option, const BadValue& bad) {
  return InvalidArgument("option '" + option.name + bad.path + "': " + problem_of(bad, !option.secret));
}

/// The service goes by a variable of its own where the program has declared a built-in option again.
KETTLINGAR_COLD void Options::forward(const Option& option) {
  try {
    if (option.forward) option.forward(option.get());
  } catch (const BadValue& bad) {
    throw mistake(option, bad);
  }
}

KETTLINGAR_COLD void Options::all_are_built_in() {
  for (Option& option : options_) option.built_in = true;
}

KETTLINGAR_COLD void Options::adopt() {
  for (Option& option : options_) {
    if (option.built_in && !option.chosen) option.fallback = option.get();
    forward(option);
  }
}

KETTLINGAR_COLD void Options::set(std::string_view name, const json& value) {
  const auto option = std::find_if(options_.begin(), options_.end(), [&](const Option& o) { return o.name == name; });
  if (option == options_.end()) {
    throw InvalidArgument("unknown option '" + log_escaped(name) + "'" + suggestion(name, names()));
  }
  const bool reset = value.is_null() || (value.is_string() && value.get_ref<const std::string&>().empty());
  const json before = option->get();
  try {
    option->set(reset ? option->fallback : option->meaning == nullptr ? value : option->meaning(value));
  } catch (const BadValue& bad) {
    throw mistake(*option, bad);
  }
  try {
    forward(*option);
    if (option->validate) option->validate();
  } catch (...) {
    option->set(before);
    forward(*option);
    throw;
  }
  option->chosen = !reset;
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

/// Returns the option that was set.
KETTLINGAR_COLD const Option* Options::read_line(std::string_view line) {
  const std::optional<Line> found = parse_line(line);
  if (!found) return nullptr;
  const std::string name = option_name(found->name);
  if (name == "worker_config") return nullptr;
  set(name, json(std::string(found->value)));
  return found->value.empty() ? nullptr : find(name);
}

KETTLINGAR_COLD std::string Options::read_text(const std::string& path, bool& exposed) {
  constexpr std::size_t longest = 1024 * 1024;
  constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
  if (path == "/dev/null") return {};
  const Fd fd = open_trusted(path, O_RDONLY);
  if (!fd) throw_errno("cannot read " + path);
  exposed = others_can_read(path, fd.get());
  std::string content;
  if (!read_all(fd.get(), content, longest)) {
    if (errno != EFBIG) throw_errno("cannot read " + path);
    throw InvalidArgument("cannot read " + path + ": it is larger than 1 MiB");
  }
  if (!is_utf8(content) || content.find('\0') != std::string::npos) throw InvalidArgument(path + ": not UTF-8 text");
  if (content.starts_with(byte_order_mark)) content.erase(0, byte_order_mark.size());
  return content;
}

KETTLINGAR_COLD void Options::read_file(const std::string& path, std::vector<std::string>* problems) {
  std::string content;
  bool exposed = false;
  try {
    content = read_text(path, exposed);
  } catch (const std::exception& error) {
    if (problems == nullptr) throw;
    problems->push_back(error.what());
  }
  std::size_t number = 1;
  for (std::string_view rest = content; !rest.empty(); ++number) {
    const std::size_t end = rest.find('\n');
    try {
      const Option* option = read_line(rest.substr(0, end));
      if (exposed && option != nullptr && option->secret)
        throw InvalidArgument("others can read this secret (try: chmod 600 " + path + ")");
    } catch (const InvalidArgument& error) {
      const std::string problem = path + ":" + std::to_string(number) + ": " + error.what();
      if (problems == nullptr) throw InvalidArgument(problem);
      problems->push_back(problem);
    }
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
}

KETTLINGAR_COLD std::string Options::line(const Option& option) {
  if (option.secret) return {};
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out = "--" + option.name + "=";
  for (const char c : option.text(option.get())) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f) {
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else {
      out += "\\x";
      out += digits[byte >> 4];
      out += digits[byte & 15];
    }
  }
  return out;
}

KETTLINGAR_COLD std::string Options::file_line(const std::string& name, const json& value, bool secret) {
  const std::string text = option_text(value);
  std::string line = "--" + name + "=" + text;
  if (line.find('\n') != std::string::npos || parse_line(line)->value != text)
    throw InvalidArgument("option '" + name + "': a file cannot hold " + (secret ? "its value" : shown(json(text))));
  return line + "\n";
}

KETTLINGAR_COLD std::string Options::file_lines() const {
  std::string out;
  for (const Option& option : options_) out += file_line(option.name, option.get(), option.secret);
  return out;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
