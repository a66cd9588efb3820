// SPDX-License-Identifier: MIT
// service/registry.ipp: the methods of a service by name, and what they look like from outside.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "../base/log.hpp"
#include "../base/suggest.ipp"
#include "../base/version.hpp"
#include "../call/bind.ipp"
#include "../call/method.hpp"
#include "method_help.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

inline bool is_method_name(std::string_view name) {
  constexpr std::string_view allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
  return !name.empty() && name.find_first_not_of(allowed) == std::string_view::npos && name.front() != '-' &&
         name.front() != '.';
}

/// All methods of a service, private, public and built in. From any thread: methods can be added while it runs.
class Registry {
 public:
  /// Adds a method, or replaces one of that name. Throws std::invalid_argument for unusable names, and for the names of
  /// built-in methods.
  void add(std::shared_ptr<Method> method);
  /// Answers whatever is unknown.
  void set_fallback(std::shared_ptr<Method> method) {
    const std::lock_guard lock(mutex_);
    fallback_ = std::move(method);
  }

  /// The method to call: strangers only find public ones. Null if there is none.
  std::shared_ptr<const Method> find(std::string_view name, bool authenticated) const;
  /// " (did you mean 'x'?)" for a name that there is not, or nothing. For callers with the token.
  std::string similar(std::string_view name) const;
  /// Any method of exactly that name, for `help`.
  std::shared_ptr<const Method> named(std::string_view name) const;
  /// Names in alphabetical order. `listed_only` leaves out what `help` describes elsewhere, built-in methods and
  /// `web_root`, and hidden ones.
  std::vector<std::string> names(bool listed_only) const;
  /// All of them, as they are now.
  std::vector<std::shared_ptr<const Method>> all() const;
  /// The `methods` table of `ping`; with `docs` each entry has its help.
  json table(bool docs) const;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Method>, std::less<>> methods_;
  /// The public ones of them: how long a stranger's search takes must not tell of the others.
  std::map<std::string, std::shared_ptr<Method>, std::less<>> public_;
  std::shared_ptr<Method> fallback_;
};

/// Names that a Python client would overwrite its own attributes with: they must not appear in the `methods` table.
inline bool hidden_from_clients(std::string_view name) {
  for (const std::string_view taken : {"config",
                                       "name",
                                       "call",
                                       "connect",
                                       "loopback",
                                       "ping",
                                       "quitquitquit",
                                       "info",
                                       "debug",
                                       "error",
                                       "warning",
                                       "exception",
                                       "trace",
                                       "logger",
                                       "shutdown",
                                       "start_time",
                                       "is_client",
                                       "is_service",
                                       "to_json",
                                       "from_json",
                                       "to_msgpack",
                                       "from_msgpack",
                                       "to_server_sent_event",
                                       "from_server_sent_event",
                                       "sync_proxy",
                                       "api_url",
                                       "api_addr",
                                       "api_secret",
                                       "expose_methods",
                                       "init_servers",
                                       "validate_request_header",
                                       "get_api_methods",
                                       "get_method_name",
                                       "get_default_methods",
                                       "guarantee_type",
                                       "get_docstring",
                                       "extract_kwargs",
                                       "print_result",
                                       "fds_result",
                                       "sse_start_result",
                                       "Bool",
                                       "Main",
                                       "Configuration",
                                       "NotRunning",
                                       "NeedInfoException",
                                       "RedirectException"}) {
    if (name == taken) return true;
  }
  return name.starts_with('_');
}

KETTLINGAR_COLD void Registry::add(std::shared_ptr<Method> method) {
  const std::string& name = method->name();
  if (!is_method_name(name)) {
    throw std::invalid_argument("kettlingar: '" + name +
                                "' cannot be the name of a method: use letters, digits, _ - and .");
  }
  method->validate();
  const std::lock_guard lock(mutex_);
  const auto found = methods_.find(name);
  if (found != methods_.end() && found->second->is_builtin()) {
    throw std::invalid_argument("kettlingar: '" + name + "' is a built-in method");
  }
  if (method->is_public()) {
    public_.insert_or_assign(name, method);
  } else {
    public_.erase(name);
  }
  methods_.insert_or_assign(name, std::move(method));
}

KETTLINGAR_INLINE std::shared_ptr<const Method> Registry::find(std::string_view name, bool authenticated) const {
  const std::lock_guard lock(mutex_);
  const auto& known = authenticated ? methods_ : public_;
  if (const auto found = known.find(name); found != known.end()) return found->second;
  // The same for private names and unknown ones.
  if (!fallback_ || (!authenticated && !fallback_->is_public())) return nullptr;
  return fallback_;
}

KETTLINGAR_COLD std::string Registry::similar(std::string_view name) const { return suggestion(name, names(false)); }

KETTLINGAR_INLINE std::shared_ptr<const Method> Registry::named(std::string_view name) const {
  const std::lock_guard lock(mutex_);
  const auto found = methods_.find(name);
  return found == methods_.end() ? nullptr : found->second;
}

KETTLINGAR_COLD std::vector<std::string> Registry::names(bool listed_only) const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (const auto& [name, method] : methods_) {
    if (!listed_only || (!method->is_builtin() && !method->is_hidden() && name != "web_root")) names.push_back(name);
  }
  return names;
}

KETTLINGAR_COLD std::vector<std::shared_ptr<const Method>> Registry::all() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<const Method>> all;
  for (const auto& [name, method] : methods_) all.push_back(method);
  return all;
}

KETTLINGAR_COLD json Registry::table(bool docs) const {
  const std::lock_guard lock(mutex_);
  json table = json::object();
  for (const auto& [name, method] : methods_) {
    if (hidden_from_clients(name)) continue;
    json args = json::object();
    for (const Parameter& parameter : method->parameters()) {
      args[parameter.name] = parameter.type.empty() ? json(nullptr) : json(parameter.type);
    }
    json entry = json::object();
    entry["args"] = std::move(args);
    entry["options"] = json::object();
    entry["returns"] = method->returns().empty() ? json(nullptr) : json(method->returns());
    entry["is_generator"] = method->streams();
    if (docs) entry["help"] = method_help(*method);
    table[name] = std::move(entry);
  }
  return table;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
