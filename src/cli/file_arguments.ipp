// SPDX-License-Identifier: MIT
// cli/file_arguments.ipp: files that words name: those that are passed, those whose content is an argument, and those
// that come back.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/version.hpp"
#include "command_line.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Words for a parameter that is an open file name files.
KETTLINGAR_COLD bool CommandLine::opened_here(const Parameter& parameter) {
  return parameter.takes_descriptors && parameter.type != "socket";
}

KETTLINGAR_COLD File CommandLine::standard_input() {
  const int flags = ::fcntl(STDIN_FILENO, F_GETFL);
  if (flags == -1 || (flags & O_ACCMODE) == O_WRONLY) throw ConnectionError("cannot read standard input: it is closed");
  return File(Fd(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)));
}

/// Words for parameters that are open files name files: those are opened here. `-` is standard input.
KETTLINGAR_COLD void CommandLine::open_files(json& all, std::vector<Fd>& descriptors) const {
  const auto method = known_method(command_);
  if (!method) return;
  const auto open_one = [&](json& word) {
    if (!word.is_string()) return;
    const std::string path = word.get<std::string>();
    File file = path == "-" ? standard_input() : File::open(path);
    word = put_value(std::move(file), descriptors);
  };
  const auto open_all = [&](const Parameter& parameter, json& value) {
    if (!opened_here(parameter)) return;
    if (parameter.type == "list") value = parsed_if_text(value, "list");
    if (parameter.type == "list" && value.is_string()) value = json::array({value});
    if (!value.is_array()) return open_one(value);
    for (json& word : value) open_one(word);
  };
  json& positional = all[std::string(positional_key)];
  for (std::size_t i = 0; i < positional.size() && i < method->parameters().size(); ++i)
    open_all(method->parameters()[i], positional[i]);
  for (const auto& [name, value] : all.items()) {
    for (const Parameter& parameter : method->parameters()) {
      if (parameter.name == name) open_all(parameter, value);
    }
  }
}

/// What can be read from a file that a method has returned goes to standard output.
KETTLINGAR_COLD void CommandLine::copy_out(const Fd& file) const {
  char block[64 * 1024];
  std::string text;
  for (;;) {
    const ssize_t n = retry_interrupted([&] { return ::read(file.get(), block, sizeof block); });
    if (n < 0 && wait_if_not_ready(file.get(), POLLIN)) continue;
    if (n < 0) throw ConnectionError(std::string("cannot read the file that came: ") + std::strerror(errno));
    text.append(block, static_cast<std::size_t>(n));
    // A terminal gets whole characters only: see visible().
    const std::size_t kept = n > 0 && ::isatty(STDOUT_FILENO) == 1 ? unfinished(text) : 0;
    say(std::string_view(text).substr(0, text.size() - kept));
    if (n == 0) return;
    text.erase(0, text.size() - kept);
  }
}

/// A result with what can be read from the files that came with it, `{"file": "..."}`, in their places.
KETTLINGAR_COLD json CommandLine::with_contents(const json& value, DescriptorQueue& descriptors) {
  if (value.is_array()) {
    json list = json::array();
    for (const json& item : value) list.push_back(with_contents(item, descriptors));
    return list;
  }
  const auto placeholder = value.is_string() ? parse_placeholder(value.get_ref<const std::string&>()) : std::nullopt;
  const Fd file = placeholder ? descriptors.take() : Fd();
  if (!file) return value;
  constexpr std::size_t longest = std::size_t{64} * 1024 * 1024;
  std::string content;
  if (!read_all(file.get(), content, longest))
    throw ConnectionError(std::string("cannot read the file that came: ") + std::strerror(errno));
  json result = json::object();
  result[placeholder->is_socket ? "socket" : "file"] = is_utf8(content) ? json(std::move(content)) : bytes(content);
  return result;
}

/// The parameters of the method that is called, without ` | None` in their types; of one that only the service knows,
/// what the service says.
KETTLINGAR_COLD std::vector<std::pair<std::string, std::string>> CommandLine::parameter_types() const {
  std::vector<std::pair<std::string, std::string>> types;
  const auto add = [&](const std::string& name, std::string_view type) {
    types.emplace_back(name, type.substr(0, type.find(' ')));
  };
  if (const auto method = known_method(command_)) {
    for (const Parameter& parameter : method->parameters()) add(parameter.name, parameter.type);
    return types;
  }
  const json reply = client().call("ping");
  const json::json_pointer arguments("/methods/" + command_ + "/args");
  if (!reply.is_object() || !reply.contains(arguments)) return types;
  for (const auto& [name, type] : reply[arguments].items()) add(name, type.is_string() ? type.get<std::string>() : "");
  return types;
}

KETTLINGAR_COLD std::string CommandLine::content_of(const std::string& path) {
  constexpr std::size_t longest = std::size_t{256} * 1024 * 1024;
  Fd file = path == "-" ? Fd(standard_input()) : Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  std::string content;
  if (file && read_all(file.get(), content, longest)) return content;
  const std::string what = path == "-" ? "standard input" : "'" + log_escaped(path) + "'";
  throw InvalidArgument("cannot read " + what + ": " + std::strerror(errno) +
                        (path == "-" ? "" : " (a text that begins with @ is written @@)"));
}

/// Words for bytes and text may stand for what a file holds: `@FILE`, or `-` for standard input. `@@` is one `@`. Not
/// for the built-in methods, which take names.
KETTLINGAR_COLD void CommandLine::read_contents(json& all) const {
  const auto names_one = [](const json& word) {
    return word.is_string() && (word == "-" || word.get_ref<const std::string&>().starts_with('@'));
  };
  json& positional = all[std::string(positional_key)];
  const bool any =
      std::any_of(positional.begin(), positional.end(), names_one) || std::any_of(all.begin(), all.end(), names_one);
  const auto method = known_method(command_);
  if (!any || (method && method->is_builtin())) return;
  bool stdin_taken = false;
  const auto read = [&](json& word, const std::string& type) {
    if (!names_one(word) || (type != "bytes" && type != "str")) return;
    std::string text = word.get<std::string>();
    if (text.starts_with("@@")) {
      word = text.substr(1);
      return;
    }
    const std::string path = text.starts_with('@') ? text.substr(1) : text;
    if (path.empty()) throw InvalidArgument("@ names no file (a text that begins with @ is written @@)");
    if (path == "-" && std::exchange(stdin_taken, true))
      throw InvalidArgument("standard input can be one argument only");
    text = content_of(path);
    word = type == "str" && is_utf8(text) ? json(std::move(text)) : bytes(text);
  };
  const auto types = parameter_types();
  for (std::size_t i = 0; i < types.size(); ++i) {
    const auto& [name, type] = types[i];
    if (i < positional.size()) read(positional[i], type);
    if (all.contains(name)) read(all[name], type);
  }
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
