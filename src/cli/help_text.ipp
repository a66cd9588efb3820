// SPDX-License-Identifier: MIT
// cli/help_text.ipp: the commands, and the text that describes a whole program.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "../service/builtins.ipp"
#include "../service/server.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Words separated by commas, broken before a line exceeds 75 characters.
[[gnu::cold]] inline std::string wrapped_list(std::string line, const std::vector<std::string>& words) {
  constexpr std::size_t longest = 75;
  std::string out;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string word = words[i] + (i + 1 < words.size() ? "," : "");
    if (line.size() + 1 + word.size() > longest) {
      out += line + "\n";
      line = "   ";
    }
    line += " " + word;
  }
  return out + line + "\n";
}

/// Commands that are no methods, or have more to say than those.
struct Command {
  std::string_view name;
  std::string_view usage;
  std::string_view text;
  bool yields = false;  ///< to a method of the program that has its name
};
inline constexpr Command commands[] = {
    {"start", "start [--foreground]", "Start the service in the background, or stay in the foreground"},
    {"stop", "stop [--force]", "Stop the service, return when it is gone; by force if it hangs"},
    {"restart", "restart [--force]", "Stop, and start with the same options and those given now"},
    {"status", "status", "Tell whether it runs, and where"},
    {"ping", "ping", "Check whether it answers"},
    {"help", "help [<method>]", "This text, or the help of a method"},
    {"describe", "describe [<method>]", "The same for programs: types and options, as JSON Schemas"},
    {"openapi", "openapi", "The same for tools that make clients: an OpenAPI 3.1 document"},
    {"config", "config [...]", "Show or change the configuration of the running service"},
    {"open", "open [--print]", "Open its explorer page in a browser, or say where it is", true},
    {"mcp", "mcp [<method>...]", "Offer methods as tools to the AI agent that has started this", true},
    {"completion", "completion <shell>", "Print what makes bash, zsh or fish complete its lines", true},
};

/// Null if there is no such command.
inline const Command* find_command(std::string_view name) {
  for (const Command& command : commands) {
    if (command.name == name) return &command;
  }
  return nullptr;
}

inline std::string command_line(const Command& command) {
  constexpr std::size_t width = 22;
  std::string line = "  " + std::string(command.usage);
  line += std::string(width - command.usage.size(), ' ');
  return line + std::string(command.text) + "\n";
}

KETTLINGAR_COLD std::string general_help(const Server& server) {
  const std::string& app = server.settings.app_name;
  std::string out = server.description.empty() ? app + "\n" : server.description + "\n";
  out += "\nUsage: " + app;
  for (const std::string& word : server.command_prefix) out += " " + word;
  out += " [--OPTION=VALUE ...] [--json|--raw] [--tcp] [--json-rpc] <command> [<arguments>]\n";
  out += "\nCommands:\n";
  for (const Command& command : commands) {
    if (!command.yields || !server.methods.named(command.name)) out += command_line(command);
  }
  std::vector<std::string> names = server.methods.names(true);
  for (std::string& name : names) {
    if (const Command* const command = find_command(name); command != nullptr && !command->yields)
      name.insert(0, "-- ");
  }
  if (!names.empty()) out += "\n" + wrapped_list("API Commands:", names);
  out +=
      "\nEvery method is a command. Arguments come in order or as --name=value. For text and bytes,\n"
      "@FILE is the content of a file, - what comes on standard input; @@ is an @ that begins a text.\n"
      "Flags, before the command: -j/--json prints JSON, -r/--raw the value as it came,\n"
      "-t/--tcp avoids the unix socket, -J/--json-rpc speaks JSON instead of msgpack,\n"
      "-- is followed by a method even if a command has its name.\n";
  out += "\nOptions, on the command line or as lines of a configuration file:\n";
  for (const Option& option : server.options.all()) {
    std::string name = option.name;
    std::replace(name.begin(), name.end(), '_', '-');
    const std::string fallback = option.secret ? "" : option.text(option.fallback);
    out +=
        "  --" + name + "=" + (fallback.empty() ? "<" + option.type + ">" : fallback) + "\n      " + option.help + "\n";
  }
  return out;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
