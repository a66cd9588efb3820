// SPDX-License-Identifier: MIT
// cli/completion.ipp: what can stand in place of the last word of a command line, for the shell scripts of
// completion_scripts.ipp.
#pragma once

#include "../base/version.hpp"  // defines ASIO_HAS_CO_AWAIT, so it must come before Asio

#include <algorithm>
#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../client/call_check.hpp"
#include "../client/client.hpp"
#include "../service/manifest.ipp"
#include "../service/server.ipp"
#include "../service/settings.ipp"
#include "completion_scripts.ipp"
#include "help_text.ipp"
#include "output.ipp"
#include "terminal.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Answers one press of a key: starts nothing, writes no files, and waits for the running service for 150 ms at most.
class Completion {
 public:
  explicit Completion(Server& server) : server_(server), own_app_(server.settings.app_name) {}

  /// `words` are those behind the name of the program, without quotes; the last one is to be completed. Lines
  /// `value TAB description`, where a value is a whole word, and one last line `:` with directives: `nospace`, the word
  /// goes on, and `files`, names of files can stand there, too.
  std::string lines(std::vector<std::string> words);

 private:
  void complete(std::vector<std::string> words);
  void learn(std::vector<std::string> words);
  void offer(const std::string& value, std::string_view description = {});
  void offer_commands();
  void offer_methods();
  void offer_options();
  void offer_flags(const Command& command);
  void offer_arguments(const json& method, const std::vector<std::string>& given);
  void offer_values(const std::string& before, const json& schema, const json& fallback);
  void offer_values_of_option(const std::string& name, const std::string& before);
  void offer_configuration(const std::vector<std::string>& given);
  const json* entry(const char* list, const std::string& name) const;

  Server& server_;
  const std::string own_app_;
  json facts_ = json::object();  ///< what `describe` says
  std::string last_;
  std::string out_;
  bool nospace_ = false, files_ = false;
};

/// `--sleep-time=`.
[[gnu::cold]] inline std::string option_word(std::string name) {
  std::replace(name.begin(), name.end(), '_', '-');
  return "--" + name + "=";
}

/// The name in `--name=value`, as options and arguments have it.
[[gnu::cold]] inline std::string name_in_word(std::string_view word) {
  return word.starts_with("--") ? option_name(word.substr(2, word.find('=') - 2)) : std::string();
}

KETTLINGAR_COLD std::string Completion::lines(std::vector<std::string> words) {
  if (words.empty()) words.emplace_back();
  last_ = words.back();
  words.pop_back();
  try {
    complete(std::move(words));
  } catch (const std::exception&) {
    // There is nobody to tell: a message would stand in the middle of what is being typed.
  }
  std::string directives = ":";
  if (nospace_) directives += "nospace";
  if (files_) directives += nospace_ ? ",files" : "files";
  return out_ + directives + "\n";
}

/// Asks the running service, which may have more methods than this program, and other values of options.
KETTLINGAR_COLD void Completion::learn(std::vector<std::string> words) {
  words.push_back("help");  // a command, so that all before it are options
  server_.options.adopt();
  try {
    configure(server_.options, server_.settings, words, true);
  } catch (const std::exception&) {
    // What is wrong before the word is told when the line is run.
  }
  normalise(server_.settings);
  if (server_.settings.app_name == own_app_) facts_ = manifest(server_, std::nullopt);
  ClientOptions options;
  options.use_tcp = false;
  options.timeouts.connect = std::chrono::milliseconds(50);
  options.timeouts.first_byte = options.timeouts.idle = options.timeouts.total = std::chrono::milliseconds(100);
  try {
    json told = ClientAccess::make(server_.settings, options).call("describe");
    if (told.is_object()) facts_ = std::move(told);
  } catch (const std::exception&) {
    // It does not run, hangs, or is one of Python's.
  }
}

KETTLINGAR_COLD void Completion::complete(std::vector<std::string> words) {
  for (const std::string& prefix : server_.command_prefix) {
    if (words.empty()) return offer(prefix);
    if (words.front() != prefix) return;
    words.erase(words.begin());
  }
  auto command = std::find_if(words.begin(), words.end(),
                              [](const std::string& word) { return word == "--" || !word.starts_with("-"); });
  learn(std::vector<std::string>(words.begin(), command));
  const bool method_only = command != words.end() && *command == "--";
  if (method_only) ++command;
  if (command == words.end()) {
    if (method_only) return offer_methods();
    return last_.starts_with("-") ? offer_options() : offer_commands();
  }
  const std::string name = *command;
  const std::vector<std::string> given(command + 1, words.end());
  const Command* const known = method_only ? nullptr : find_command(name);
  if (known == nullptr || (known->yields && entry("methods", name) != nullptr)) {
    if (const json* const method = entry("methods", name)) offer_arguments(*method, given);
  } else if (name == "mcp") {
    offer_methods();
  } else if (name == "help" || name == "describe") {
    if (!given.empty()) return;
    if (name == "help") offer_commands();
    if (name == "describe") offer_methods();
  } else if (name == "config") {
    offer_configuration(given);
  } else if (name == "completion") {
    for (const char* shell : {"bash", "zsh", "fish"}) offer(shell);
  } else {
    offer_flags(*known);
  }
}

KETTLINGAR_COLD void Completion::offer(const std::string& value, std::string_view description) {
  constexpr std::size_t columns = 60;
  const auto is_control = [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; };
  // One that cannot be on a line is not a choice.
  if (!value.starts_with(last_) || value.empty() || std::any_of(value.begin(), value.end(), is_control)) return;
  std::string text = fitting(description.substr(0, description.find('\n')), columns);
  std::replace_if(text.begin(), text.end(), is_control, ' ');
  nospace_ = nospace_ || value.ends_with('=') || value.ends_with('@');
  out_ += value + "\t" + text + "\n";
}

KETTLINGAR_COLD const json* Completion::entry(const char* list, const std::string& name) const {
  const auto found = facts_.find(list);
  if (found == facts_.end()) return nullptr;
  for (const json& one : *found) {
    if (one.value("name", "") == name) return &one;
  }
  return nullptr;
}

KETTLINGAR_COLD void Completion::offer_commands() {
  for (const Command& command : commands) {
    if (!command.yields || entry("methods", std::string(command.name)) == nullptr)
      offer(std::string(command.name), command.text);
  }
  offer_methods();
}

KETTLINGAR_COLD void Completion::offer_methods() {
  const auto methods = facts_.find("methods");
  if (methods == facts_.end()) return;
  for (const json& method : *methods) {
    if (!method.value("hidden", false) && !method.value("builtin", false) && method.value("name", "") != "web_root")
      offer(method.value("name", ""), method.value("doc", ""));
  }
}

KETTLINGAR_COLD void Completion::offer_options() {
  if (const std::size_t equals = last_.find('='); equals != std::string::npos)
    return offer_values_of_option(name_in_word(last_), last_.substr(0, equals + 1));
  for (const Option& option : server_.options.all()) offer(option_word(option.name), option.help);
  offer("--json", "Print JSON");
  offer("--raw", "Print the value as it came");
  offer("--tcp", "Avoid the unix socket");
  offer("--json-rpc", "Speak JSON instead of msgpack");
  offer("--help", "What there is");
  offer("--version", "The version of the library");
}

/// What the usage of a command has in brackets, and options, which may stand behind it, too.
KETTLINGAR_COLD void Completion::offer_flags(const Command& command) {
  std::string_view usage = command.usage;
  for (std::size_t at; (at = usage.find("[--")) != std::string_view::npos;) {
    usage.remove_prefix(at + 1);
    offer(std::string(usage.substr(0, usage.find(']'))));
  }
  if (last_.starts_with("-")) offer_options();
}

KETTLINGAR_COLD void Completion::offer_values(const std::string& before, const json& schema, const json& fallback) {
  const auto type = schema.find("type");
  if (type != schema.end() && (*type == "boolean" || (type->is_array() && is_in(*type, "boolean")))) {
    offer(before + "true");
    offer(before + "false");
    return;
  }
  if (schema.contains("enum")) {
    for (const json& choice : schema["enum"]) {
      if (!choice.is_null()) offer(before + plain_text(choice));
    }
    return;
  }
  const bool bytes = schema.contains("properties") && schema["properties"].contains("__base64__");
  const std::string& word = last_;
  if (bytes && word.size() > before.size() && word[before.size()] == '@') {
    files_ = true;
  } else if (bytes) {
    offer(before + "@", "The content of a file");
    offer(before + "-", "What comes on standard input");
  } else if (schema.contains("x-kettlingar-descriptor")) {
    files_ = true;
  } else if (!fallback.is_null() && !fallback.is_structured()) {
    offer(before + plain_text(fallback), "The default");
  }
}

KETTLINGAR_COLD void Completion::offer_values_of_option(const std::string& name, const std::string& before) {
  const Option* const option = server_.options.find(name);
  if (option == nullptr) return;
  if (name.ends_with("_file") || name.ends_with("_dir") || name == "worker_config") {
    files_ = true;
    if (name == "worker_config") offer(before + "yes", "The default file");
    return;
  }
  if (name == "worker_log_level") {
    for (const NamedLevel& level : log_levels) offer(before + level.name);
    return;
  }
  const json schema = option->type == "bool" ? schema_of_type("boolean") : json::object();
  offer_values(before, schema, option->secret ? json(nullptr) : json(option->text(option->fallback)));
}

KETTLINGAR_COLD void Completion::offer_arguments(const json& method, const std::vector<std::string>& given) {
  const json& args = method.at("args");
  std::vector<std::string> named;
  std::size_t position = 0;
  bool only_positional = false;
  for (const std::string& word : given) {
    if (word == "--" && !only_positional) {
      only_positional = true;
    } else if (word.starts_with("--") && !only_positional) {
      named.push_back(name_in_word(word));
    } else {
      ++position;
    }
  }
  const std::size_t equals = last_.find('=');
  if (!only_positional && last_.starts_with("--") && equals != std::string::npos) {
    const std::string name = name_in_word(last_);
    for (const json& arg : args) {
      if (arg.at("name") == name)
        return offer_values(last_.substr(0, equals + 1), arg.at("schema"), arg.value("default", json(nullptr)));
    }
    return;
  }
  if (position < args.size() && (only_positional || !last_.starts_with("--"))) {
    const json& arg = args[position];
    offer_values("", arg.at("schema"), arg.value("default", json(nullptr)));
  }
  if (only_positional || (!last_.empty() && !last_.starts_with("-"))) return;
  for (std::size_t i = position; i < args.size(); ++i) {
    const std::string name = args[i].value("name", "");
    if (std::find(named.begin(), named.end(), name) == named.end()) offer(option_word(name), args[i].value("doc", ""));
  }
}

KETTLINGAR_COLD void Completion::offer_configuration(const std::vector<std::string>& given) {
  std::string key;
  for (const std::string& word : given) {
    if (name_in_word(word) == "key") key = option_name(word.substr(word.find('=') + 1));
  }
  const std::size_t equals = last_.find('=');
  if (equals == std::string::npos) {
    if (!last_.empty() && !last_.starts_with("-")) return;
    const json* const config = entry("methods", "config");
    if (config != nullptr) offer_arguments(*config, given);
    return;
  }
  const std::string before = last_.substr(0, equals + 1);
  const std::string asked = name_in_word(last_);
  if (asked == "key" || asked == "reset") {
    const auto options = facts_.find("options");
    if (options == facts_.end()) return;
    for (const json& option : *options) offer(before + option.value("name", ""), option.value("help", ""));
  } else if (asked == "val") {
    const json* const option = entry("options", key);
    if (option != nullptr && option->contains("value") && !(*option)["value"].is_structured())
      offer(before + plain_text((*option)["value"]), "As it is now");
    offer_values_of_option(key, before);
  } else if (asked == "save") {
    offer(before + "yes", "To the default file");
    files_ = true;
  }
}

/// The script for `shell`, for a program that is called `name`. Throws InvalidArgument.
KETTLINGAR_COLD std::string completion_script(const std::string& shell, const std::string& name,
                                              const std::vector<std::string>& prefix) {
  const char* script = shell == "bash"   ? bash_script
                       : shell == "zsh"  ? zsh_script
                       : shell == "fish" ? fish_script
                                         : nullptr;
  if (script == nullptr) throw InvalidArgument("completion is for bash, zsh or fish; usage: completion <shell>");
  std::string identifier;
  for (const char c : name) {
    const bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (!word && c != '-' && c != '_' && c != '.' && c != '+')
      throw InvalidArgument("shells complete the lines of programs whose names are letters, digits and - _ . + only");
    identifier += word ? c : '_';
  }
  std::string leading;  // words that lead here, so that it is this program that answers
  for (const std::string& word : prefix) leading += "'" + word + "' ";
  std::string out;
  for (std::string_view rest = script; !rest.empty();) {
    const std::size_t at = (std::min)(rest.find('%'), rest.size());
    out += rest.substr(0, at);
    rest.remove_prefix(at);
    if (rest.starts_with("%NAME%")) {
      out += name;
    } else if (rest.starts_with("%FUNC%")) {
      out += identifier;
    } else if (rest.starts_with("%LEAD%")) {
      out += leading;
    } else {
      out += rest.substr(0, 1);
      rest.remove_prefix((std::min<std::size_t>)(1, rest.size()));
      continue;
    }
    rest.remove_prefix(6);
  }
  return out;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
