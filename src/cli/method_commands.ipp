// SPDX-License-Identifier: MIT
// cli/method_commands.ipp: help, and every method as a command.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/suggest.ipp"
#include "../base/version.hpp"
#include "command_line.ipp"
#include "help_text.ipp"
#include "output.ipp"
#include "prompt.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

KETTLINGAR_COLD ExitCode CommandLine::help() {
  std::erase_if(words_, [&](const std::string& word) {
    if (!word.starts_with("--")) return false;
    note("Unrecognized option: " + log_escaped(word));
    return true;
  });
  if (words_.size() > 1) throw InvalidArgument("help takes one method at the most");
  if (words_.empty()) {
    const std::string text = general_help(server_);
    say(text, text);
    return ExitCode::fine;
  }
  command_ = "help";
  const std::string topic = words_.front();
  const auto method = known_method(topic);
  const Command* const command = find_command(topic);
  if (method || command != nullptr) {
    const bool both = method && command != nullptr && !method->is_builtin();
    std::string text = method ? method_help(*method) : command_line(*command);
    if (both) text.insert(0, command_line(*command) + "\nThe method of that name, behind --:\n\n");
    say(text, text);
    return ExitCode::fine;
  }
  // The running service may have methods that this program does not know of.
  try {
    const json text = client().call("help", arg("command") = topic);
    if (text.is_string() && text != "No Help Available\n") {
      say(text.get<std::string>(), text);
      return ExitCode::fine;
    }
  } catch (const NotRunning& error) {
    if (!may_be_typo(error, topic)) throw;
  }
  command_ = topic;
  const std::string why = unknown_command();
  command_ = "help";
  return fail(ExitCode::unknown, why);
}

/// A running service has the word: it may have other methods, and it has an address.
KETTLINGAR_COLD ExitCode CommandLine::openapi() {
  if (style_ == OutputStyle::plain) style_ = OutputStyle::json;
  try {
    return call();
  } catch (const NotRunning& error) {
    if (error.state() != ServiceState::not_running || !is_own_service()) throw;
  }
  require_no_words();
  Output(style_).print(openapi_document(server_), false);
  return ExitCode::fine;
}

KETTLINGAR_COLD ExitCode CommandLine::print_completion_script() {
  const std::string shell = words_.size() == 1 ? words_.front() : std::string();
  say(completion_script(shell, argv0_.substr(argv0_.rfind('/') + 1), server_.command_prefix));
  return ExitCode::fine;
}

/// What services of other programs have is not known here, whatever ours has of that name.
KETTLINGAR_COLD std::shared_ptr<const Method> CommandLine::known_method(const std::string& name) const {
  const bool builtin = name == "ping" || name == "help" || name == "config" || name == "quitquitquit";
  return builtin || is_own_service() ? server_.methods.named(name) : nullptr;
}

KETTLINGAR_COLD std::vector<std::string> CommandLine::known_words() const {
  std::vector<std::string> known;
  if (is_own_service()) known = server_.methods.names(false);
  if (!method_only_) {
    for (const Command& command : commands) known.emplace_back(command.name);
  }
  return known;
}

KETTLINGAR_COLD bool CommandLine::looks_like_typo(const std::string& word) const {
  return is_own_service() && !known_method(word) && !server_.methods.names(true).empty() &&
         !closest(word, known_words()).empty();
}

/// A typo is worth more than the news that nothing runs, but a service that is not there may have methods that this
/// program does not know.
KETTLINGAR_COLD bool CommandLine::may_be_typo(const NotRunning& error, const std::string& word) const {
  return error.state() == ServiceState::not_running && looks_like_typo(word);
}

KETTLINGAR_COLD bool CommandLine::service_has(const std::string& name) const {
  const json reply = client().call("ping");
  return reply.is_object() && reply.contains("methods") && reply["methods"].contains(name);
}

KETTLINGAR_COLD std::string CommandLine::unknown_command() const {
  return (method_only_ ? "no method '" : "no command or method '") + log_escaped(command_) + "'" +
         suggestion(command_, known_words()) + "; try: " + program_ + " help";
}

/// Words are text, or bytes where they are no UTF-8, as file names may be.
KETTLINGAR_COLD json CommandLine::argument_value(const std::string& word) {
  return is_utf8(word) ? json(word) : bytes(word);
}

/// The words behind the command: `--name=value` by name, others in order, everything behind `--` in order.
KETTLINGAR_COLD json CommandLine::arguments() const {
  json named = json::object();
  json positional = json::array();
  bool all_positional = false;
  for (const std::string& word : words_) {
    if (all_positional || !word.starts_with("--")) {
      positional.push_back(argument_value(word));
      continue;
    }
    if (word == "--") {
      all_positional = true;
      continue;
    }
    const std::size_t equals = word.find('=');
    const std::string name = option_name(std::string_view(word).substr(2, equals - 2));
    if (name.empty() || name.front() == '_') throw InvalidArgument("Unrecognized option: " + word);
    if (equals == std::string::npos) {
      if (is_flag(word)) throw InvalidArgument(word + " is a flag: it stands before the command");
      check_name(name);
      throw InvalidArgument(word + " needs a value: " + word + "=VALUE");
    }
    check_name(name);
    named[name] = argument_value(word.substr(equals + 1));
  }
  named[std::string(positional_key)] = std::move(positional);
  return named;
}

/// Where `config --save=FILE` saves to; nothing if it is a word for "the default file", which the service writes
/// itself.
KETTLINGAR_COLD std::string CommandLine::file_to_save(const json& arguments) {
  if (!arguments.contains("save") || !arguments["save"].is_string()) return {};
  try {
    static_cast<void>(to_bool(arguments["save"]));
    return {};
  } catch (const BadValue&) {
    return absolute_path(arguments["save"].get<std::string>());
  }
}

/// Services write in their own directory only, so what they tell is written here. They do not tell secrets.
KETTLINGAR_COLD void CommandLine::save_config(const std::string& path) const {
  const json reply = client().call("config");
  if (!reply.is_object() || !reply.contains("config") || !reply["config"].is_object())
    throw ConnectionError("the service did not tell its configuration");
  std::string lines;
  for (const auto& [name, value] : reply["config"].items()) {
    if (!is_option_name(name)) throw ConnectionError("'" + name + "' cannot be an option");
    lines += Options::file_line(name, value, false);
  }
  require_regular_if_there(path);
  write_private_file(path, lines);
  note(full_name() + ": Saved to " + path + ", without secrets");
}

/// Names can be checked before anything is sent if this program knows the method.
KETTLINGAR_COLD void CommandLine::check_name(const std::string& name) const {
  const auto method = known_method(command_);
  if (!method || name == positional_key) return;
  const std::vector<std::string> known = parameter_names(*method);
  if (std::find(known.begin(), known.end(), name) != known.end()) return;
  std::string shown = name;
  std::replace(shown.begin(), shown.end(), '_', '-');
  std::string near = suggested_option(name, known);
  if (near.empty()) near = suggested_option(name, server_.options.names());
  throw InvalidArgument("Unrecognized option: --" + shown + near + "; usage: " + usage(*method));
}

/// Answers can only be added to arguments that have names.
KETTLINGAR_COLD void CommandLine::name_positional(json& all) const {
  const auto method = known_method(command_);
  const json positional = all[std::string(positional_key)];  // a copy: adding keys moves what is there
  if (!method || positional.size() > method->parameters().size()) return;
  for (std::size_t i = 0; i < positional.size(); ++i) all[method->parameters()[i].name] = positional[i];
  all[std::string(positional_key)] = json::array();
}

/// Asks for what the service wants to know. Its own defaults are kept apart: only what was typed may name a file that
/// is opened here.
KETTLINGAR_COLD void CommandLine::answer(const NeedInfo& need, json& typed, json& defaults) const {
  const auto method = known_method(command_);
  name_positional(typed);
  for (const NeededVariable& variable : need.needed()) {
    const Parameter* parameter = nullptr;
    for (std::size_t i = 0; method && i < method->parameters().size(); ++i) {
      if (method->parameters()[i].name == variable.name) parameter = &method->parameters()[i];
    }
    if (variable.name.starts_with('_') || (method && !method->takes_anything() && parameter == nullptr))
      throw InvalidArgument("the service asks for '" + variable.name + "', which " + command_ + " does not take");
    const bool opens_file = parameter != nullptr && opened_here(*parameter);
    const std::string line = ask(variable, opens_file);
    if (line.empty() && opens_file) throw InvalidArgument("no file was named for '" + variable.name + "'");
    typed.erase(variable.name);
    defaults.erase(variable.name);
    if (line.empty()) {
      defaults[variable.name] = variable.fallback;
    } else {
      typed[variable.name] = argument_value(line);
    }
  }
}

KETTLINGAR_COLD ExitCode CommandLine::call() {
  if (!is_method_name(command_)) return fail(ExitCode::unknown, unknown_command());
  json typed;
  try {
    typed = arguments();
  } catch (const InvalidArgument&) {
    if (!looks_like_typo(command_)) throw;
    return fail(ExitCode::unknown, unknown_command());
  }
  json defaults = json::object();  // values that the service has named and nobody typed
  if (command_ == "ping") require_running();
  const std::string save_to = command_ == "config" ? file_to_save(typed) : std::string();
  if (!save_to.empty()) typed.erase("save");
  for (int round = 0;; ++round) {
    try {
      if (round == 0) read_contents(typed);  // of what was typed on the line, not of answers
      call_once(typed, defaults);
      if (!save_to.empty()) save_config(save_to);
      return ExitCode::fine;
    } catch (const NeedInfo& need) {
      const bool can_ask = ::isatty(STDIN_FILENO) == 1 && !need.needed().empty();
      if (!can_ask || round == 3) {
        std::string needed;
        for (const NeededVariable& variable : need.needed()) needed += " --" + variable.name + "=...";
        return fail(ExitCode::bad_value, need.what() + (needed.empty() ? needed : " (needed:" + needed + ")"));
      }
      note(need.what());
      answer(need, typed, defaults);
    } catch (const UnknownMethod& error) {
      if (known_method(command_))
        return fail(ExitCode::unknown, words_of(error) + "; this program has it: restart the service");
      return fail(ExitCode::unknown, is_own_service() ? unknown_command() : words_of(error));
    } catch (const NotFound&) {
      // From the method, but for Python services, which say the same of methods that they do not have.
      if (known_method(command_) || service_has(command_)) throw;
      return fail(ExitCode::unknown, unknown_command());
    } catch (const NotRunning& error) {
      if (!may_be_typo(error, command_)) throw;
      return fail(ExitCode::unknown, unknown_command());
    }
  }
}

/// As Python's command line says it: with the status if it comes from the service.
KETTLINGAR_COLD std::string CommandLine::words_of(const Error& error) const {
  return answered_ ? with_status(error) : error.what();
}

KETTLINGAR_COLD void CommandLine::call_once(json all, const json& defaults) {
  CallMessage message;
  message.method = command_;
  try {
    open_files(all, message.descriptors);
  } catch (const std::system_error& error) {
    throw InvalidArgument(error.what());
  } catch (const BadValue& bad) {
    throw InvalidArgument(command_ + ": " + problem_of(bad));
  }
  for (const auto& [name, value] : all.items()) {
    if (name != positional_key) message.arguments.set(name, value);
  }
  for (const auto& [name, value] : defaults.items()) message.arguments.set(name, value);
  for (const json& value : all[std::string(positional_key)]) message.arguments.add(value);
  const auto answer = ClientAccess::transport(client()).start(std::move(message));
  Output output(style_);
  const auto next = [&] {
    try {
      return answer->next();
    } catch (const Error&) {
      answered_ = answer->status() != 0;
      throw;
    }
  };
  while (auto item = next()) {
    DescriptorQueue& descriptors = answer->descriptors();
    if (descriptors.empty()) {
      output.print(*std::move(item), answer->streaming());
    } else if (style_ == OutputStyle::json) {
      const bool one = item->is_array() && item->size() == 1;
      output.print(with_contents(one ? item->front() : *item, descriptors), answer->streaming());
    } else {
      output.clear_progress();
      for (const Fd& file : descriptors.take_all()) copy_out(file);
    }
  }
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
