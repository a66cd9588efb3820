// SPDX-License-Identifier: MIT
// service/settings.ipp: the bodies of settings.hpp.
#pragma once

#include <chrono>
#include <cmath>

#include "../os/state.ipp"
#include "../wire/http_fields.ipp"
#include "../wire/number_text.ipp"
#include "explorer_page.ipp"
#include "options.ipp"
#include "settings.hpp"

namespace kettlingar {
inline namespace v0_1 {

namespace detail {

/// Shortest secret that is accepted; a service that makes its own uses 24 characters.
inline constexpr std::size_t shortest_secret = 6;
/// From here on nothing is said about it.
inline constexpr std::size_t safe_secret = 16;

/// Throws InvalidArgument unless `secret` can be used in a path and is not easily guessed.
[[gnu::cold]] inline void check_secret(const std::string& secret, const std::string& where) {
  constexpr std::string_view allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";
  if (secret.size() < shortest_secret) {
    throw InvalidArgument(where + ": the token has " + std::to_string(secret.size()) + " characters, at least " +
                          std::to_string(shortest_secret) + " are needed");
  }
  if (secret.size() > 256 || secret.find_first_not_of(allowed) != std::string::npos) {
    throw InvalidArgument(where + ": the token may contain letters, digits and - . _ ~ only, at most 256 of them");
  }
}

/// The next of `a, b:80`, taken off the front: names or addresses with or without a port. Empty ones are left to the
/// caller.
inline std::string_view next_host(std::string_view& list) {
  const std::string_view item = list.substr(0, list.find(','));
  list.remove_prefix((std::min)(item.size() + 1, list.size()));
  return http::trim(item);
}

/// Whether `host`, which may have a port, is one of those: without a port in the list, any will do.
inline bool listed_host(std::string_view host, std::string_view list) {
  const std::string_view name = http::host_name(host);
  while (!list.empty()) {
    const std::string_view item = next_host(list);
    if (!item.empty() && (http::same_word(item, name) || http::same_word(item, host))) return true;
  }
  return false;
}

[[gnu::cold]] inline bool valid_hosts(std::string_view list) {
  while (!list.empty()) {
    const std::string_view item = next_host(list);
    if (item.empty() || !http::valid_authority(item)) return false;
  }
  return true;
}

[[gnu::cold]] inline void require_option(bool fine, std::string_view option, const char* expected) {
  if (!fine) throw InvalidArgument("option '" + std::string(option) + "': " + expected);
}

/// Throws InvalidArgument for values that a type alone cannot refuse: of all settings, or of one.
[[gnu::cold]] inline void check_settings(const Settings& s, std::string_view only = {}) {
  const auto require = [only](bool fine, std::string_view option, const char* expected) {
    require_option(fine || (!only.empty() && only != option), option, expected);
  };
  require(safe_file_name(s.app_name), "app_name", "must be usable as a directory name");
  require(safe_file_name(s.worker_name), "worker_name", "must be usable as a file name");
  require(s.worker_umask >= 0700 && s.worker_umask <= 0777, "worker_umask",
          "must be the mode of a directory that leaves all rights to the owner, such as 0o700");
  require(s.worker_nice >= -20 && s.worker_nice <= 19, "worker_nice", "must be from -20 to 19");
  // One is set before the other.
  require(s.worker_use_tcp || s.worker_use_unixdomain || !only.empty(), "worker_use_tcp",
          "needed when worker_use_unixdomain is off");
  require(s.worker_listen_queue > 0, "worker_listen_queue", "must be positive");
  require(s.worker_log_size >= 4096, "worker_log_size", "must be at least 4096");
  require(valid_hosts(s.worker_allow_hosts), "worker_allow_hosts",
          "must be names or addresses, with or without a port, separated by commas: a.example,[::1]:8080");
  constexpr std::string_view path_characters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/";
  require(s.worker_url_path.find_first_not_of(path_characters) == std::string::npos &&
              s.worker_url_path.find("//") == std::string::npos,
          "worker_url_path", "may contain letters, digits, - . _ ~ and single slashes");
  if (!s.worker_secret.empty() && (only.empty() || only == "worker_secret"))
    check_secret(s.worker_secret, "option 'worker_secret'");
}

/// Text with a leading zero is octal, as in chmod; with `0o`, it is everywhere.
[[gnu::cold]] inline json mode_meant(const json& value) {
  const std::string text = bare_number(text_of(value).value_or(""));
  const bool octal = text.size() > 1 && text.find_first_not_of("01234567") == std::string::npos && text.front() == '0';
  return octal ? json("0o" + text.substr(1)) : value;
}
[[gnu::cold]] inline std::string mode_words(const json& value) {
  std::string digits;
  for (int mode = value.get<int>(); mode > 0; mode /= 8) digits.insert(0, 1, static_cast<char>('0' + mode % 8));
  return "0o" + digits;
}

struct NamedLevel {
  const char* name;
  LogLevel level;
};
inline constexpr NamedLevel log_levels[] = {
    {"debug", LogLevel::debug}, {"info", LogLevel::info}, {"warning", LogLevel::warning}, {"error", LogLevel::error}};

[[gnu::cold]] inline json log_level_meant(const json& value) {
  const std::string text = text_of(value).value_or("");
  for (const NamedLevel& named : log_levels) {
    if (http::same_word(text, named.name)) return static_cast<int>(named.level);
  }
  try {
    return to_integer(value, integer_range<int>());
  } catch (const BadValue&) {
    throw BadValue{"debug, info, warning, error or a number", value};
  }
}
[[gnu::cold]] inline std::string log_level_words(const json& value) {
  for (const NamedLevel& named : log_levels) {
    if (value == static_cast<int>(named.level)) return named.name;
  }
  return option_text(value);
}

/// Binds `variable` to an option in seconds. Words below a millisecond, or of more than eleven days, are refused, what
/// the program sets is not.
[[gnu::cold]] inline Option seconds_option(const char* name, std::chrono::milliseconds& variable, const char* help) {
  double seconds = 0;
  Option option = make_option(name, seconds, help);
  option.get = [&variable] { return json(std::chrono::duration<double>(variable).count()); };
  option.set = [&variable](const json& value) {
    const double given = from_json<double>(value);
    variable = given > 0 && given < 1e6 ? std::chrono::milliseconds(std::llround(given * 1000)) : variable.zero();
  };
  option.validate = [&variable, name] { require_option(variable > variable.zero(), name, "must be positive"); };
  option.declared = option.fallback = option.get();
  return option;
}

/// Those that are limits. What the words say has bounds; what the program sets is its own business.
[[gnu::cold]] inline void add_limit_options(Options& options, Limits& limits) {
  const auto size = [&](const char* name, std::size_t& variable, std::size_t least, const char* wrong,
                        const char* help) {
    options.add(name, variable, help).validate = [&variable, name, least, wrong] {
      require_option(variable >= least, name, wrong);
    };
  };
  options.add(seconds_option("worker_http_request_timeout1", limits.head_timeout, "Seconds for the head of a request"));
  options.add(seconds_option("worker_http_request_timeout2", limits.body_timeout, "Seconds for a whole request"));
  size("worker_http_request_max_size", limits.body_bytes, 1024, "must be at least 1024",
       "Bytes in the body of a request");
  size("worker_max_connections", limits.connections, 1, "must be positive",
       "Connections open at once; half of RLIMIT_NOFILE at most");
}

[[gnu::cold]] inline void add_builtin_options(Options& options, Settings& s, Limits& limits) {
  const auto at_once = [&](const char* name, auto& variable, const char* help) -> Option& {
    Option& option = options.add(name, variable, help);
    option.validate = [&s, name] { check_settings(s, name); };
    return option;
  };
  const auto at_start = [&](const char* name, auto& variable, const char* help) -> Option& {
    Option& option = at_once(name, variable, help);
    option.at_start = true;
    return option;
  };
  const auto on_disk = [&](const char* name, auto& variable, const char* help) -> Option& {
    Option& option = at_start(name, variable, help);
    option.on_disk = true;
    return option;
  };
  at_start("app_name", s.app_name, "Name of the program; its directories are named after it");
  on_disk("app_data_dir", s.app_data_dir, "Directory of configuration files (default: ~/.local/share/APP)");
  on_disk("app_state_dir", s.app_state_dir,
          "Directory of the url file and the unix socket (default: ~/.local/state/APP)");
  at_start("worker_name", s.worker_name, "Name of this service; several of one app can run side by side");
  on_disk("worker_config", s.worker_config, "Configuration file to read at this point; 'yes' is DATA_DIR/WORKER.cfg");
  at_start("worker_nice", s.worker_nice, "Niceness of the service process, from -20 to 19");
  Option& umask = at_start("worker_umask", s.worker_umask, "Mode of directories that are created, such as 0o700");
  umask.meaning = mode_meant;
  umask.words = mode_words;
  at_start("worker_secret", s.worker_secret, "The token; visible to all users in the process list, prefer a file")
      .secret = true;
  on_disk("worker_secret_file", s.worker_secret_file,
          "File whose first line is the token (default: a new random one at each start)");
  at_start("worker_listen_queue", s.worker_listen_queue, "Connections that may wait to be accepted");
  at_once("worker_accept_timeout", s.worker_accept_timeout,
          "Accepted for files shared with Python services; has no effect");
  at_start("worker_listen_host", s.worker_listen_host, "Address to listen on: IPv4 or IPv6 address, or localhost");
  at_once("worker_allow_hosts", s.worker_allow_hosts,
          "Names by which requests may call this service, besides localhost and its addresses: what a proxy sends as "
          "Host, or has as its own; a,b");
  at_start("worker_listen_port", s.worker_listen_port, "TCP port; 0 takes a free one");
  at_start("worker_url_path", s.worker_url_path, "Prefix of all paths");
  at_start("worker_use_tcp", s.worker_use_tcp, "Listen on TCP");
  at_start("worker_use_unixdomain", s.worker_use_unixdomain, "Listen on a unix socket");
  at_once("worker_use_msgpack", s.worker_use_msgpack, "Speak msgpack; otherwise JSON only");
  if (!explorer_page.empty())
    at_once("worker_use_explorer", s.worker_use_explorer, "Show the explorer page to browsers, at /explorer");
  Option& level = at_once("worker_log_level", s.worker_log_level,
                          "Lowest level to log: debug (each request), info, warning, error, or a number from 10 to 40");
  level.meaning = log_level_meant;
  level.words = log_level_words;
  on_disk("worker_log_file", s.worker_log_file, "File to log to; in the background nothing is logged without one");
  at_start("worker_log_size", s.worker_log_size, "Bytes in that file; then it becomes FILE.1, and another begins");
  add_limit_options(options, limits);
  options.all_are_built_in();
}

inline std::string state_directory(const Settings& s) {
  return s.app_state_dir.empty() ? default_state_directory(s.app_name) : s.app_state_dir;
}
inline std::string data_directory(const Settings& s) {
  return s.app_data_dir.empty() ? default_data_directory(s.app_name) : s.app_data_dir;
}
inline std::string default_config_file(const Settings& s) { return data_directory(s) + "/" + s.worker_name + ".cfg"; }
inline std::string url_file(const Settings& s) { return state_directory(s) + "/" + s.worker_name + ".url"; }
inline std::string socket_file(const Settings& s) { return state_directory(s) + "/" + s.worker_name + ".sock"; }

/// Leads a browser to the explorer page, token and all: what `open` writes, and the end of the service removes.
inline std::string open_page_file(const Settings& s) { return state_directory(s) + "/" + s.worker_name + ".open.html"; }

inline std::string lock_file(const Settings& s) { return state_directory(s) + "/" + s.worker_name + ".lock"; }

/// Paths made absolute, slashes around the prefix dropped: what a process that changes its directory needs.
[[gnu::cold]] inline void normalise(Settings& s) {
  for (std::string* path : {&s.app_data_dir, &s.app_state_dir, &s.worker_secret_file, &s.worker_log_file})
    *path = absolute_path(*path);
  while (s.worker_url_path.starts_with('/')) s.worker_url_path.erase(0, 1);
  while (s.worker_url_path.ends_with('/')) s.worker_url_path.pop_back();
}

/// The file that `--worker-config=VALUE` means; empty if it says no.
[[gnu::cold]] inline std::string config_file(const Settings& settings, const std::string& value) {
  try {
    return to_bool(json(value)) ? default_config_file(settings) : std::string();
  } catch (const BadValue&) {
    return absolute_path(value);
  }
}

/// Where the settings of a process come from.
struct Configuration {
  std::vector<std::string> words;     ///< `--name=value`, which mean the same in any directory
  std::vector<std::string> files;     ///< that were read
  std::vector<std::string> problems;  ///< what is wrong in these files, and was left out
  bool chosen = false;                ///< options were given that do more than to name a service
};

/// True for `--name=value` that says which service is meant, and nothing about its configuration.
inline bool names_service(std::string_view word) {
  return word.starts_with("--app-") || word.starts_with("--worker-name=");
}

/// Drops words that a later one for the same option makes pointless. Files add up.
[[gnu::cold]] inline void drop_overridden(std::vector<std::string>& words) {
  const auto key = [](const std::string& word) {
    return word.starts_with("--worker-config=") ? word : word.substr(0, word.find('='));
  };
  for (std::size_t i = 0; i < words.size();) {
    const auto next = words.begin() + static_cast<std::ptrdiff_t>(i);
    const bool again =
        std::any_of(next + 1, words.end(), [&](const std::string& later) { return key(later) == key(*next); });
    again ? static_cast<void>(words.erase(next)) : static_cast<void>(++i);
  }
}

/// The option that a `--name=value` word sets, bar those that are `arguments`; empty if it is something else.
[[gnu::cold]] inline std::string option_in(const Options& options, std::string_view word,
                                           const std::vector<std::string>& arguments) {
  const std::size_t equals = word.find('=');
  if (!word.starts_with("--") || equals == std::string_view::npos) return {};
  std::string name = option_name(word.substr(2, equals - 2));
  if (std::find(arguments.begin(), arguments.end(), name) != arguments.end()) return {};
  return options.find(name) == nullptr ? std::string() : name;
}

/// Takes the `--name=value` words of options out of `words`, in order, up to a `--` behind the command; a
/// `--worker-config` is read at its position. Without any, bar those that name service and directories, the default
/// file is read if there is one, but decides nothing of what those say. Throws InvalidArgument, std::system_error for a
/// file. If `tolerant`, what is wrong in a file that is there becomes one of the problems instead. `arguments` are
/// names that mean no option behind the command.
[[gnu::cold]] inline Configuration configure(Options& options, const Settings& settings,
                                             std::vector<std::string>& words, bool tolerant = false,
                                             const std::vector<std::string>& arguments = {}) {
  Configuration done;
  const auto read = [&](const std::string& file) {
    const bool missing = ::access(file.c_str(), F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR);
    options.read_file(file, tolerant && !missing ? &done.problems : nullptr);
    done.files.push_back(file);
  };
  bool command_seen = false;
  bool only_arguments = false;
  std::vector<std::pair<std::string, std::string>> which;
  std::vector<std::string> others;
  for (std::string& word : words) {
    only_arguments |= command_seen && word == "--";
    command_seen |= !word.starts_with("-");
    const std::string name = only_arguments
                                 ? std::string()
                                 : option_in(options, word, command_seen ? arguments : std::vector<std::string>());
    if (name.empty()) {
      others.push_back(std::move(word));
      continue;
    }
    std::string value = word.substr(word.find('=') + 1);
    for (const char* path : {"app_data_dir", "app_state_dir", "worker_secret_file", "worker_log_file"}) {
      if (name == path) value = absolute_path(value);
    }
    options.set(name, json(value));
    if (name == "worker_config" && !value.empty()) {
      if (const std::string file = config_file(settings, value); !file.empty()) read(value = file);
    }
    std::string& canonical = done.words.emplace_back("--" + name + "=" + value);
    std::replace(canonical.begin(), canonical.begin() + static_cast<std::ptrdiff_t>(name.size() + 2), '_', '-');
    if (names_service(canonical)) {
      which.emplace_back(name, value);
    } else {
      done.chosen = true;
    }
  }
  words = std::move(others);
  const std::string file = default_config_file(settings);
  if (done.chosen || ::access(file.c_str(), F_OK) != 0) return done;
  read(file);
  done.words.insert(done.words.begin(), "--worker-config=" + file);
  // What `config --save` has written has all options, and would lead to another service.
  for (const auto& [name, value] : which) options.set(name, json(value));
  return done;
}

}  // namespace detail

}  // namespace v0_1
}  // namespace kettlingar
