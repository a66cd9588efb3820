// SPDX-License-Identifier: MIT
// service/builtins.ipp: the methods every service has: ping, help, describe, openapi, config, quitquitquit.
#pragma once

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "../call/handler_check.hpp"
#include "manifest.ipp"
#include "openapi.ipp"
#include "registry.ipp"
#include "server.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// `ping`: strangers get a static text, others what the service can do.
class Ping final : public Method {
 public:
  explicit Ping(Registry& methods)
      : Method("ping", "Says that the service is there, and which methods it has."), methods_(methods) {
    add_parameter(arg("docs") = false, "bool", false, type_info<bool>);
    describe_as("dict");
    set_public(true);
    set_read_only();
    set_builtin(false);
    set_takes_anything();
  }

 protected:
  void run(Call& call) const override {
    if (!call.request.authenticated()) return call.finish(text("Pong\n"));
    json reply = json::object();
    auto& fields = reply.get_ref<json::object_t&>();
    bool docs = false;
    for (const auto& [key, value] : ConnectionAccess::arguments(call.request).items()) {
      if (key == positional_key) {
        if (!value.empty()) throw InvalidArgument("ping: takes named arguments only");
      } else if (key == "docs") {
        docs = from_json<bool>(value);
      } else if (key != "pong" && key != "conn" && key != "methods" && key != "_format") {
        fields.emplace_back(key, value);  // keys of a request differ; looking each one up would take quadratic time
      }
    }
    reply["pong"] = true;
    reply["conn"] = call.request.peer().address;
    reply["methods"] = methods_.table(docs);
    reply["_format"] = "Pong via %(conn)s! (see JSON for full method list)";
    call.finish(reply);
  }
  void check_defaults(const std::vector<const json*>&, std::size_t&) const override {}

 private:
  Registry& methods_;
};

/// What `help` says without an argument: the program, its commands, its methods, its options. In cli/help_text.ipp.
std::string general_help(const Server& server);

[[gnu::cold]] inline std::string help(const Server& server, const std::optional<std::string>& command) {
  if (!command || command->empty()) return general_help(server);
  const auto method = server.methods.named(*command);
  if (method) return method_help(*method);
  return "No Help Available\n";
}

/// Arguments of `config`, as the Python peers name them.
struct ConfigRequest {
  std::optional<std::string> key, reset;
  json val, append, remove, pop;
  std::optional<std::string> save;
};

/// All options as a map, `only` the one that is named if so wanted, and as lines that can be fed back, those of one
/// that is named alone. Without secrets.
[[gnu::cold]] inline json config_shown(const Options& options, const std::string& key, bool only) {
  json reply = json::object();
  reply["config"] = json::object();
  std::string lines;
  for (const Option& option : options.all()) {
    const bool named = key.empty() || option.name == key;
    if (option.secret || (only && !named)) continue;
    reply["config"][option.name] = option.get();
    if (named) lines += (lines.empty() ? "" : "\n") + Options::line(option);
  }
  std::string format;  // by which the reply is printed: the text as it is
  for (const char c : lines) format.append(c == '%' ? 2 : 1, c);
  reply["_format"] = std::move(format);
  return reply;
}

/// The list in option `key` with `change` applied.
template <class Change>
void change_list(Options& options, const std::string& key, Change change) {
  json list = options.find(key)->get();
  if (!list.is_array()) throw InvalidArgument("config: option '" + key + "' is not a list");
  change(list);
  options.set(key, list);
}

/// `item` as it would be in the list of that option: text becomes what it means there.
[[gnu::cold]] inline json list_item(const Option& option, const json& item) {
  try {
    return option.convert(json::array({item})).at(0);
  } catch (BadValue& bad) {
    bad.path.erase(0, std::string_view("[0]").size());
    throw Options::mistake(option, bad);
  }
}

[[gnu::cold]] inline std::uint64_t item_number(const json& value) {
  try {
    return to_integer(value, integer_range<std::uint32_t>());
  } catch (const BadValue& bad) {
    throw InvalidArgument("config: pop: " + problem_of(bad));
  }
}

/// The file that `config` saves to for `where`, `yes` or NAME.cfg: always one in the data directory that the service
/// was started with, for no caller is to choose where something is written. Empty for `no`. Throws InvalidArgument.
[[gnu::cold]] inline std::string saved_file(const Server& server, const std::string& where) {
  const std::string file = server.config_file().empty() ? default_config_file(server.settings) : server.config_file();
  try {
    return to_bool(json(where)) ? file : "";
  } catch (const BadValue&) {
  }
  const std::string directory = file.substr(0, file.rfind('/'));
  std::string name = where;
  if (name.starts_with(directory + "/")) name.erase(0, directory.size() + 1);
  if (!safe_file_name(name) || !name.ends_with(".cfg")) {
    throw InvalidArgument("config: save takes 'yes', or NAME.cfg for a file in " + directory +
                          "; another one can be named on a command line: config --save=FILE");
  }
  return directory + "/" + name;
}

/// Writes the configuration, secrets included, to a file as saved_file() says.
[[gnu::cold]] inline void save_config(Server& server, const std::string& where) {
  const std::string path = saved_file(server, where);
  if (path.empty()) return;
  const std::string lines = server.options.file_lines();
  try {
    require_regular_if_there(path);
    trusted_directory(path.substr(0, path.rfind('/')), 0700);
    write_private_file(path, lines);
  } catch (const StartError& error) {
    throw InvalidArgument(std::string("config: ") + error.what());
  }
  server.remember_saved(path);
}

/// Checks what a request asks for, as far as that can be done before anything changes. The option that is meant, null
/// for all of them. Throws InvalidArgument.
[[gnu::cold]] inline const Option* option_meant(const Options& options, const ConfigRequest& request) {
  const int operations = (request.reset ? 1 : 0) + (request.val.is_null() ? 0 : 1) +
                         (request.append.is_null() ? 0 : 1) + (request.remove.is_null() ? 0 : 1) +
                         (request.pop.is_null() ? 0 : 1);
  if (operations > 1) throw InvalidArgument("config: Please only perform one operation at a time!");
  if (request.reset && request.key)
    throw InvalidArgument("config: say --key=NAME --val=VALUE to set, or --reset=NAME alone");
  if (operations == 1 && !request.reset && !request.key) throw InvalidArgument("config: which option? Say key=NAME");
  const std::string named = request.reset ? *request.reset : request.key.value_or("");
  const std::string key = option_name(named);
  const Option* const option = options.find(key);
  if (option == nullptr && (operations > 0 || !key.empty()))
    throw InvalidArgument("unknown option '" + log_escaped(named) + "'" + suggestion(key, options.names()));
  if (operations == 0 && option != nullptr && option->secret)
    throw InvalidArgument("config: option '" + key + "' is secret, and not shown");
  if (operations == 1 && option->on_disk) {
    throw InvalidArgument("config: '" + key +
                          "' says where files are: give it on the command line, or in the configuration file");
  }
  return option;
}

/// Changes the variable of `option`. Returns what the reply calls that; null if nothing was to be changed. Throws
/// InvalidArgument.
[[gnu::cold]] inline const char* change_option(Options& options, const Option& option, const ConfigRequest& request) {
  const std::string& key = option.name;
  if (request.reset) {
    options.set(key, json(nullptr));
    return "reset";
  }
  if (!request.val.is_null()) {
    options.set(key, request.val);
    return "val";
  }
  if (!request.append.is_null()) {
    change_list(options, key, [&](json& list) { list.push_back(list_item(option, request.append)); });
    return "append";
  }
  if (!request.remove.is_null()) {
    change_list(options, key, [&](json& list) {
      const auto found = std::find(list.begin(), list.end(), list_item(option, request.remove));
      if (found == list.end())
        throw InvalidArgument("config: " + (option.secret ? "this" : shown(request.remove)) + " is not in option '" +
                              key + "'");
      list.erase(found);
    });
    return "remove";
  }
  if (request.pop.is_null()) return nullptr;
  const std::uint64_t index = item_number(request.pop);
  change_list(options, key, [&](json& list) {
    if (index >= list.size())
      throw InvalidArgument("config: option '" + key + "' has " + std::to_string(list.size()) + " items");
    list.erase(static_cast<std::size_t>(index));
  });
  return "pop";
}

/// What `config` answers, after doing what it says. Throws InvalidArgument, and what a hook throws.
[[gnu::cold]] inline json configure_running(Server& server, const ConfigHooks& hooks, const ConfigRequest& request) {
  Options& options = server.options;
  const Option* const option = option_meant(options, request);
  if (option == nullptr) return config_shown(options, {}, true);
  const std::string& key = option->name;
  const json before = option->get();
  const char* const action = change_option(options, *option, request);
  if (action == nullptr) return config_shown(options, key, true);
  try {
    server.apply_settings();
  } catch (...) {
    options.set(key, before);
    throw;
  }
  json hooked = key;
  if (const auto hook = hooks.find(key); hook != hooks.end()) hooked = hook->second();
  json reply = config_shown(options, key, false);
  if (option->at_start) {
    const std::string note = key + " counts from the next start" +
                             (request.save ? "" : ": keep it for that (config --save=yes), and restart");
    reply["note"] = note;
    auto& lines = reply["_format"].get_ref<std::string&>();
    lines += (lines.empty() ? "# " : "\n# ") + note;
  }
  reply[action] = hooked;
  return reply;
}

/// `config`: its arguments are optional, all of them.
class Config final : public Method {
 public:
  Config(Server& server, const ConfigHooks& hooks)
      : Method("config",
               "Shows the configuration, or one option: --key=NAME. Changes one: --reset=NAME, or --key=NAME with one\n"
               "of --val=VALUE, --append=ITEM, --remove=ITEM, --pop=INDEX. --save=yes writes it to the default file,\n"
               "--save=NAME.cfg to another one beside that."),
        server_(server),
        hooks_(hooks) {
    for (const char* name : {"key", "reset", "val", "append", "remove", "pop", "save"})
      add_parameter(arg(name) = nullptr);
    describe_as("dict");
    set_builtin(false);
  }

 protected:
  void run(Call& call) const override {
    ConfigRequest request;
    request.key = call.take<std::optional<std::string>>(0);
    request.reset = call.take<std::optional<std::string>>(1);
    request.val = call.take<json>(2);
    request.append = call.take<json>(3);
    request.remove = call.take<json>(4);
    request.pop = call.take<json>(5);
    request.save = call.take<std::optional<std::string>>(6);
    const bool changes = request.reset || request.save || !request.val.is_null() || !request.append.is_null() ||
                         !request.remove.is_null() || !request.pop.is_null();
    const std::string_view method = call.request.http_method();
    if (changes && (method == "GET" || method == "HEAD")) throw Error(405, "config: only POST changes anything");
    call.current = 5;  // whose number is converted only where it is needed
    const json reply = configure_running(server_, hooks_, request);
    if (request.save) save_config(server_, *request.save);
    call.finish(reply);
  }
  void check_defaults(const std::vector<const json*>&, std::size_t&) const override {}

 private:
  Server& server_;
  const ConfigHooks& hooks_;
};

/// Registers the built-in methods. `stop` ends the service, and is awaited until its files have gone.
[[gnu::cold]] inline void add_builtin_methods(Server& server, const ConfigHooks& hooks,
                                              const std::function<Task<void>()>& stop) {
  const auto add = [&](const std::shared_ptr<Method>& method, bool post_only) {
    server.methods.add(method);
    method->set_builtin(post_only);
  };
  add(std::make_shared<Ping>(server.methods), false);
  add(make_method(
          "help", [&server](std::optional<std::string> command) { return help(server, command); },
          "Describes the service, or one of its methods.", read_only, arg("command") = nullptr),
      false);
  add(make_method(
          "describe", [&server](std::optional<std::string> method) { return manifest(server, method); },
          "Describes the service, or one of its methods, for programs: arguments and results with JSON Schemas, "
          "options.",
          read_only, arg("method") = nullptr),
      false);
  add(make_method(
          "openapi", [&server] { return openapi_document(server); },
          "Describes the methods of the service as an OpenAPI 3.1 document.", read_only),
      false);
  add(std::make_shared<Config>(server, hooks), false);
  add(make_method(
          "quitquitquit",
          [stop]() -> Task<std::string> {
            // Before the answer leaves: who has it may remove the directory.
            co_await stop();
            co_return "Goodbye forever";
          },
          "Stops the service."),
      true);
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
