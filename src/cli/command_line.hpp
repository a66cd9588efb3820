// SPDX-License-Identifier: MIT
// cli/command_line.hpp: from argv to calls and exit codes; the only part that prints, starts processes and handles
// signals.
#pragma once

#include "../base/version.hpp"  // knows better than Asio, so it comes first

#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <asio/signal_set.hpp>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "../base/suggest.hpp"
#include "../client/client.hpp"
#include "../os/process.hpp"
#include "../service/kitten.hpp"
#include "output.hpp"
#include "prompt.hpp"

namespace kettlingar {
inline namespace v0_1 {

/// What the command line exits with, as the Python peers do.
enum class ExitCode {
  fine = 0,
  not_running = 1,    ///< also: crashed, or a bad configuration option
  unknown = 2,        ///< no such method or command; 404
  bad_value = 3,      ///< arguments that do not fit; other 4xx
  io_error = 4,       ///< 3xx, a broken connection or stream, standard output gone
  denied = 5,         ///< 401, 403, 407
  remote_failure = 6  ///< 5xx
};

/// Runs one command line for a service. Kitten::main() is all that most programs need of it.
class CommandLine {
 public:
  explicit CommandLine(Kitten& kitten) : kitten_(kitten), server_(*kitten.server_) {}

  /// Returns the exit code; prints results on standard output and everything else on standard error.
  int run(int argc, char** argv);

 private:
  void configure();
  ExitCode dispatch();
  ExitCode introduce() const;
  void take_flags();
  void require_no_words() const;

  ExitCode start();
  ExitCode start_in_background();
  ExitCode serve(UniqueFd report, bool background);
  ExitCode stop();
  ExitCode status();
  ExitCode help();
  ExitCode call();
  ExitCode call_once(const json& arguments);

  json arguments() const;
  static json argument_value(const std::string& word);
  void check_names(const json& arguments) const;
  void name_positional(json& all) const;
  static void absolute_save(json& path);
  std::string unknown_command() const;
  void print_addresses() const;
  detail::ClientOptions client_options() const;
  detail::Client client() const { return detail::Client(server_.settings, client_options()); }
  bool answers() const;
  void log_to_file_or(bool standard_error) const;

  ExitCode fail(ExitCode code, std::string_view why) const;
  void say(std::string_view text) const;
  std::string full_name() const { return server_.settings.app_name + "/" + server_.settings.worker_name; }

  Kitten& kitten_;
  detail::Server& server_;
  std::string argv0_;
  std::vector<std::string> all_words_;  ///< as given
  std::vector<std::string> words_;      ///< without options and flags, later without the command
  std::string command_;
  detail::OutputStyle style_ = detail::OutputStyle::plain;
  bool tcp_only_ = false;
  bool json_rpc_ = false;
  bool method_only_ = false;  ///< `--` stood before the command
};

inline int Kitten::main(int argc, char** argv) { return CommandLine(*this).run(argc, argv); }

namespace detail {

/// Waits until a process has ended, without being its parent and without trusting that its number is not used again;
/// false if it has not.
class ProcessWatch {
 public:
  explicit ProcessWatch(pid_t pid) {
#if defined(SYS_pidfd_open)
    if (pid > 0) fd_ = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
#else
    pid_ = pid;
#endif
  }
  bool ended_within(std::chrono::milliseconds patience) const {
    const auto deadline = std::chrono::steady_clock::now() + patience;
#if defined(SYS_pidfd_open)
    return !fd_ || wait_for(fd_.get(), POLLIN, deadline);
#else
    while (pid_ > 0 && ::kill(pid_, 0) == 0) {
      if (std::chrono::steady_clock::now() >= deadline) return false;
      ::poll(nullptr, 0, 5);
    }
    return true;
#endif
  }

 private:
  UniqueFd fd_;
#if !defined(SYS_pidfd_open)
  pid_t pid_ = 0;
#endif
};

/// The process that serves: what its lock file says, or the unix socket's peer (Python services have no lock); 0 if
/// unknown.
inline pid_t service_process(const Settings& settings) {
  const UniqueFd lock(::open(lock_file(settings).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  std::string text;
  pid_t pid = 0;
  if (lock && read_all(lock.get(), text, 64)) std::from_chars(text.data(), text.data() + text.size(), pid);
  if (pid > 0) return pid;
  const auto address = unix_address(socket_file(settings));
  if (!address) return 0;
  const UniqueFd fd = connect_socket(*address, std::chrono::steady_clock::now() + std::chrono::seconds(1));
  const auto peer = fd ? peer_credentials(fd.get()) : std::nullopt;
  return peer ? peer->pid : 0;
}

/// Writes a log line unless that would wait: whoever should read it must not be able to stop the service by not doing
/// so.
inline void log_to_standard_error(LogLevel, std::string_view line) {
  pollfd entry{STDERR_FILENO, POLLOUT, 0};
  if (::poll(&entry, 1, 0) == 1) write_all(STDERR_FILENO, std::string(line) + "\n");
}

/// `3 d 4 h`, `5 min 6 s` and the like.
inline std::string duration_text(std::int64_t seconds) {
  const auto part = [](std::int64_t n, const char* unit) { return std::to_string(n) + " " + unit; };
  if (seconds >= 86400) return part(seconds / 86400, "d ") + part(seconds % 86400 / 3600, "h");
  if (seconds >= 3600) return part(seconds / 3600, "h ") + part(seconds % 3600 / 60, "min");
  if (seconds >= 60) return part(seconds / 60, "min ") + part(seconds % 60, "s");
  return part(seconds, "s");
}

}  // namespace detail

inline int CommandLine::run(int argc, char** argv) {
  argv0_ = argc > 0 ? argv[0] : server_.settings.app_name;
  for (int i = 1; i < argc; ++i) all_words_.emplace_back(argv[i]);
  words_ = all_words_;
  ExitCode code = ExitCode::fine;
  try {
    configure();
    detail::check_settings(server_.settings);
    detail::normalise(server_.settings);
    code = dispatch();
  } catch (const std::exception& error) {
    // Bad options, files that cannot be read: nothing has been started or called yet.
    code = fail(ExitCode::not_running, error.what());
  }
  return static_cast<int>(code);
}

inline void CommandLine::configure() {
  try {
    detail::configure(server_.options, server_.settings, words_);
  } catch (const std::exception& error) {
    // Help is what one wants then.
    const auto first =
        std::find_if(words_.begin(), words_.end(), [](const std::string& word) { return !word.starts_with("-"); });
    if (first == words_.end() || *first != "help") throw;
    fail(ExitCode::not_running, error.what());
    words_.erase(words_.begin(), first);
  }
}

inline ExitCode CommandLine::fail(ExitCode code, std::string_view why) const {
  std::string line = server_.settings.worker_name;
  if (!command_.empty()) line += " " + command_;
  line += " failed: " + std::string(why) + "\n";
  detail::write_all(STDERR_FILENO, line);
  return code;
}

inline void CommandLine::say(std::string_view text) const {
  if (!detail::write_all(STDOUT_FILENO, text))
    throw ConnectionError(std::string("cannot write to standard output: ") + std::strerror(errno));
}

inline ExitCode CommandLine::introduce() const {
  const std::string text = server_.description.empty() ? server_.settings.app_name : server_.description;
  say(text + "\n\nTry this: " + argv0_ + " help\n");
  return ExitCode::not_running;
}

inline void CommandLine::take_flags() {
  while (!words_.empty() && words_.front().starts_with("-")) {
    const std::string flag = words_.front();
    if (flag == "-j" || flag == "--json") {
      style_ = detail::OutputStyle::json;
    } else if (flag == "-r" || flag == "--raw") {
      style_ = detail::OutputStyle::raw;
    } else if (flag == "-t" || flag == "--tcp") {
      tcp_only_ = true;
    } else if (flag == "-J" || flag == "--json-rpc") {
      json_rpc_ = true;
    } else if (flag == "-h" || flag == "--help") {
      words_.front() = "help";
      return;
    } else if (flag == "--") {
      words_.erase(words_.begin());
      method_only_ = true;
      return;
    } else if (flag == "-V" || flag == "--version") {
      command_ = flag;
    } else {
      const std::size_t equals = flag.find('=');
      const std::string name = detail::option_name(std::string_view(flag).substr(
          (std::min<std::size_t>)(2, flag.size()), equals == std::string::npos ? equals : equals - 2));
      if (server_.options.find(name) != nullptr) throw InvalidArgument(flag + " needs a value: " + flag + "=VALUE");
      std::string near = detail::closest(name, server_.options.names());
      std::replace(near.begin(), near.end(), '_', '-');
      if (near.empty())
        near = std::string(detail::closest(name, {"json", "raw", "tcp", "json-rpc", "help", "version"}));
      throw InvalidArgument("Unrecognized option: " + flag + (near.empty() ? "" : " (did you mean --" + near + "?)"));
    }
    words_.erase(words_.begin());
  }
}

inline ExitCode CommandLine::dispatch() {
  if (words_.empty()) return introduce();
  try {
    take_flags();
    if (!command_.empty()) {
      say(server_.settings.app_name + ", built with kettlingar " + std::to_string(KETTLINGAR_VERSION_MAJOR) + "." +
          std::to_string(KETTLINGAR_VERSION_MINOR) + "." + std::to_string(KETTLINGAR_VERSION_PATCH) + "\n");
      return ExitCode::fine;
    }
    if (words_.empty()) return introduce();
    command_ = words_.front();
    words_.erase(words_.begin());
    if (method_only_) return call();
    if (command_ == "start") return start();
    if (command_ == "stop") return stop();
    if (command_ == "status") return status();
    if (command_ == "help") return help();
    if (command_ == "restart") {
      const ExitCode stopped = stop();
      return stopped == ExitCode::fine ? start() : stopped;
    }
    return call();
  } catch (const NotRunning& error) {
    return fail(ExitCode::not_running, error.what());
  } catch (const StartError& error) {
    return fail(ExitCode::not_running, error.what());
  } catch (const NotFound& error) {
    return fail(ExitCode::unknown, error.what());
  } catch (const detail::MissingFormatKey& error) {
    return fail(ExitCode::unknown, error.what());
  } catch (const PermissionDenied& error) {
    return fail(ExitCode::denied, error.what());
  } catch (const ConnectionError& error) {
    return fail(ExitCode::io_error, error.what());
  } catch (const Error& error) {
    if (error.status() < 400) return fail(ExitCode::io_error, error.what());
    return fail(error.status() < 500 ? ExitCode::bad_value : ExitCode::remote_failure, error.what());
  }
}

inline void CommandLine::require_no_words() const {
  if (words_.empty()) return;
  std::string list;
  for (const std::string& word : words_) list += " " + word;
  std::string hint;
  for (const std::string& word : words_) {
    if (hint.empty() && word.starts_with("--")) {
      hint = detail::closest(detail::option_name(std::string_view(word).substr(2, word.find('=') - 2)),
                             server_.options.names());
    }
  }
  std::replace(hint.begin(), hint.end(), '_', '-');
  throw InvalidArgument("invalid arguments:" + list + (hint.empty() ? "" : " (did you mean --" + hint + "?)"));
}

inline detail::ClientOptions CommandLine::client_options() const {
  detail::ClientOptions options;
  options.use_unix_socket = server_.settings.worker_use_unixdomain && !tcp_only_;
  options.use_tcp = server_.settings.worker_use_tcp || tcp_only_;
  options.use_msgpack = server_.settings.worker_use_msgpack && !json_rpc_;
  options.limits = server_.limits;
  options.limits.body_bytes = (std::max)(options.limits.body_bytes, std::size_t{64} * 1024 * 1024);
  return options;
}

/// True if a service of this name answers and knows us.
inline bool CommandLine::answers() const {
  try {
    detail::ClientOptions options;
    options.timeouts.first_byte = options.timeouts.idle = std::chrono::seconds(5);
    const json pong = detail::Client(server_.settings, options).call("ping", json::object());
    return pong.is_object() && pong.contains("pong");
  } catch (const NotRunning&) {
    return false;
  } catch (const ConnectionError&) {
    return false;  // on its way out, or nothing of ours
  }
}

inline void CommandLine::print_addresses() const {
  const detail::ServiceAddress address = client().address();
  // Without the token: terminals are logged and shared. The url file has it.
  if (address.host != "unix-domain") {
    say(full_name() + ": Running at http://" + address.host + ":" + std::to_string(address.port) + "\n");
  }
  if (::access(address.socket.c_str(), F_OK) == 0) say(full_name() + ": Running at " + address.socket + "\n");
}

inline void CommandLine::log_to_file_or(bool standard_error) const {
  const std::string& path = server_.settings.worker_log_file;
  if (path.empty()) {
    if (standard_error) kitten_.log_to(detail::log_to_standard_error);
    return;
  }
  auto file = std::make_shared<UniqueFd>(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!*file) throw StartError("cannot open " + path + ": " + std::strerror(errno));
  // A disk that is full costs log lines, not service.
  kitten_.log_to([file](LogLevel, std::string_view line) { detail::write_all(file->get(), std::string(line) + "\n"); });
}

inline ExitCode CommandLine::start() {
  bool foreground = false;
  int report = -1;
  for (std::size_t i = 0; i < words_.size();) {
    constexpr std::string_view report_word = "--report-to=";
    if (words_[i] == "--foreground") {
      foreground = true;
    } else if (words_[i] == std::string(report_word) + std::to_string(detail::report_descriptor)) {
      report = detail::report_descriptor;  // we are the child of another start
    } else {
      ++i;
      continue;
    }
    words_.erase(words_.begin() + static_cast<std::ptrdiff_t>(i));
  }
  require_no_words();
  if (report >= 0) return serve(UniqueFd(report), true);
  if (foreground) return serve(UniqueFd(), false);
  if (!answers()) return start_in_background();
  for (const std::string& word : all_words_) {
    const bool names_it =
        word.starts_with("--app") || word.starts_with("--worker-name") || word.starts_with("--worker_name");
    if (!word.starts_with("--") || names_it) continue;
    detail::write_all(STDERR_FILENO, full_name() + ": Runs already; the options given are not its options\n");
    break;
  }
  print_addresses();
  return ExitCode::fine;
}

inline ExitCode CommandLine::start_in_background() {
  std::vector<std::string> child{argv0_};
  for (const std::string& word : all_words_) {
    if (word != "restart" && word != "start") child.push_back(word);
  }
  child.push_back("start");
  child.push_back("--report-to=" + std::to_string(detail::report_descriptor));
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  for (bool running = false; !running;) {
    const auto outcome = detail::start_in_background(detail::executable_path(argv0_), child, std::chrono::seconds(60));
    if (outcome.report == detail::StartReport::failed) throw StartError(outcome.text);
    running = outcome.report == detail::StartReport::ready;
    // Somebody else started it at the same time and may be a moment from being ready, or it is about to end.
    for (int tries = 0; !running && tries < 20; ++tries) {
      running = answers();
      if (!running) ::poll(nullptr, 0, 10);
    }
    if (!running && std::chrono::steady_clock::now() > end) {
      throw StartError("another process holds the lock of " + full_name() + ", but does not answer");
    }
  }
  print_addresses();
  return ExitCode::fine;
}

/// Serves in this process until it is stopped.
inline ExitCode CommandLine::serve(UniqueFd report, bool background) {
  try {
    if (report) ::fcntl(report.get(), F_SETFD, FD_CLOEXEC);
    log_to_file_or(!background);
    if (server_.settings.worker_nice != 0) {
      errno = 0;
      if (::nice(server_.settings.worker_nice) == -1 && errno != 0)
        throw StartError(std::string("cannot set worker_nice: ") + std::strerror(errno));
    }
    rlimit descriptors{};
    if (::getrlimit(RLIMIT_NOFILE, &descriptors) == 0 && descriptors.rlim_cur < descriptors.rlim_max) {
      descriptors.rlim_cur = (std::min<rlim_t>)(descriptors.rlim_max, 65536);
      ::setrlimit(RLIMIT_NOFILE, &descriptors);
    }
    ::signal(SIGPIPE, SIG_IGN);
    ::signal(SIGXFSZ, SIG_IGN);
    asio::signal_set signals(kitten_.loop_, SIGTERM, SIGINT, SIGHUP);
    signals.async_wait([this, &signals](const asio::error_code& error, int) {
      if (error) return;
      // The second one does not wait for running calls.
      signals.async_wait([](const asio::error_code& second, int number) {
        if (!second) ::_exit(128 + number);
      });
      kitten_.shut_down();
    });
    kitten_.open();
    if (background) {
      // Keeps no file system busy. Paths in options are absolute by now.
      if (::chdir("/") != 0) throw StartError(std::string("cannot change to /: ") + std::strerror(errno));
    } else {
      print_addresses();
    }
    detail::report_start(std::move(report), detail::StartReport::ready, {});
    kitten_.serve();
    return ExitCode::fine;
  } catch (const detail::AlreadyRunning& error) {
    detail::report_start(std::move(report), detail::StartReport::already_running, error.what());
    throw;
  } catch (const std::exception& error) {
    detail::report_start(std::move(report), detail::StartReport::failed, error.what());
    throw;
  }
}

inline ExitCode CommandLine::stop() {
  if (command_ == "stop" || command_ == "restart") require_no_words();
  const pid_t pid = detail::service_process(server_.settings);
  const detail::ProcessWatch process(pid);
  try {
    detail::ClientOptions options = client_options();
    options.timeouts.first_byte = std::chrono::seconds(30);
    detail::Client(server_.settings, options).call("quitquitquit", json::object());
  } catch (const NotRunning&) {
    say(full_name() + ": Not running\n");
    return ExitCode::fine;
  }
  if (!process.ended_within(std::chrono::seconds(10)))
    throw Error(500, "process " + std::to_string(pid) + " has not ended yet");
  say(full_name() + ": Stopped\n");
  return ExitCode::fine;
}

inline ExitCode CommandLine::status() {
  require_no_words();
  if (!answers()) {
    say(full_name() + ": Not running\n");
    return ExitCode::not_running;
  }
  print_addresses();
  detail::FileInfo info{};
  const std::string url = detail::url_file(server_.settings);
  const pid_t pid = detail::service_process(server_.settings);
  if (pid > 0) say(full_name() + ": Process " + std::to_string(pid) + "\n");
  if (::stat(url.c_str(), &info) == 0)
    say(full_name() + ": Up for " + detail::duration_text(::time(nullptr) - info.st_mtime) + "\n");
  say(full_name() + ": Token in " + url + "\n");
  return ExitCode::fine;
}

inline ExitCode CommandLine::help() {
  if (words_.size() > 1) throw InvalidArgument("help takes one method at the most");
  if (words_.empty()) {
    say(detail::general_help(server_));
    return ExitCode::fine;
  }
  command_ = "help";
  const std::string topic = words_.front();
  if (server_.methods.named(topic)) {
    say(detail::help(server_, topic));
    return ExitCode::fine;
  }
  for (const detail::Command& command : detail::commands) {
    if (command.name != topic) continue;
    say(detail::command_line(command));
    return ExitCode::fine;
  }
  // The running service may have methods that this program does not know of.
  try {
    const json text = client().call("help", json{{"command", topic}});
    if (text.is_string() && text != "No Help Available\n") {
      say(text.get<std::string>());
      return ExitCode::fine;
    }
  } catch (const NotRunning&) {
  }
  command_ = topic;
  const std::string why = unknown_command();
  command_ = "help";
  return fail(ExitCode::unknown, why);
}

inline std::string CommandLine::unknown_command() const {
  std::vector<std::string> known = server_.methods.names(false);
  for (const detail::Command& command : detail::commands) known.emplace_back(command.name);
  return "no command or method '" + command_ + "'" + detail::suggestion(command_, known) + "; try: " + argv0_ + " help";
}

/// Words are text, or bytes where they are no UTF-8, as file names may be.
inline json CommandLine::argument_value(const std::string& word) { return is_utf8(word) ? json(word) : bytes(word); }

/// The words behind the command: `--name=value` by name, others in order, everything behind `--` in order.
inline json CommandLine::arguments() const {
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
    if (equals == std::string::npos)
      throw InvalidArgument(word + " needs a value: " + word + "=VALUE (flags stand before the command)");
    const std::string name = detail::option_name(std::string_view(word).substr(2, equals - 2));
    if (name.empty() || name.front() == '_') throw InvalidArgument("Unrecognized option: " + word);
    named[name] = argument_value(word.substr(equals + 1));
  }
  named[std::string(detail::positional_key)] = std::move(positional);
  return named;
}

/// A relative path is meant from here, not from where the service runs. Words for "the default file" stay.
inline void CommandLine::absolute_save(json& path) {
  try {
    static_cast<void>(detail::to_bool(path));
  } catch (const detail::BadValue&) {
    path = detail::absolute_path(path.get<std::string>());
  }
}

/// Names can be checked before anything is sent if this program knows the method.
inline void CommandLine::check_names(const json& arguments) const {
  const auto method = server_.methods.named(command_);
  if (!method || method->takes_anything()) return;
  const std::vector<std::string> known = detail::parameter_names(*method);
  for (const auto& [name, value] : arguments.items()) {
    if (name == detail::positional_key || std::find(known.begin(), known.end(), name) != known.end()) continue;
    throw InvalidArgument("Unrecognized option: --" + name + detail::suggestion(name, known) +
                          "; usage: " + detail::usage(*method));
  }
}

/// Answers can only be added to arguments that have names.
inline void CommandLine::name_positional(json& all) const {
  const auto method = server_.methods.named(command_);
  json& positional = all[std::string(detail::positional_key)];
  if (!method || positional.size() > method->parameters().size()) return;
  for (std::size_t i = 0; i < positional.size(); ++i) all[method->parameters()[i].name] = positional[i];
  positional = json::array();
}

inline ExitCode CommandLine::call() {
  const auto method = server_.methods.named(command_);
  if (method && words_.size() == 1 && (words_.front() == "--help" || words_.front() == "-h")) {
    say(detail::method_help(*method));
    return ExitCode::fine;
  }
  json all = arguments();
  check_names(all);
  if (command_ == "config" && all.contains("save") && all["save"].is_string()) absolute_save(all["save"]);
  for (int round = 0;; ++round) {
    try {
      return call_once(all);
    } catch (const NeedInfo& need) {
      const bool can_ask = ::isatty(STDIN_FILENO) == 1 && !need.needed().empty();
      if (!can_ask || round == 3) {
        std::string needed;
        for (const NeededVariable& variable : need.needed()) needed += " --" + variable.name + "=...";
        return fail(ExitCode::bad_value, need.what() + (needed.empty() ? needed : " (needed:" + needed + ")"));
      }
      detail::write_all(STDERR_FILENO, std::string(need.what()) + "\n");
      name_positional(all);
      for (const NeededVariable& variable : need.needed()) all[variable.name] = detail::ask(variable);
    } catch (const NotFound& error) {
      if (server_.methods.named(command_)) throw;
      return fail(ExitCode::unknown, unknown_command());
    } catch (const NotRunning&) {
      // A typo is worth more than the news that nothing runs.
      if (server_.methods.named(command_)) throw;
      return fail(ExitCode::unknown, unknown_command());
    }
  }
}

inline ExitCode CommandLine::call_once(const json& all) {
  const detail::Client service = client();
  const auto answer = service.start(command_, all);
  detail::Output output(style_);
  // A stream that failed has its error as last item, and no end mark behind that.
  std::optional<json> last_words;
  try {
    while (auto item = answer->next()) {
      if (last_words) output.print(*std::exchange(last_words, std::nullopt), true);
      const bool error = answer->streaming() && item->is_object() && item->contains("error");
      if (error) {
        last_words = std::move(item);
      } else {
        output.print(*std::move(item), answer->streaming());
      }
    }
  } catch (const ConnectionError&) {
    if (!last_words) throw;
    throw Error(500, detail::plain_text((*last_words)["error"]));
  }
  if (last_words) output.print(*std::move(last_words), true);
  return ExitCode::fine;
}

}  // namespace v0_1
}  // namespace kettlingar
