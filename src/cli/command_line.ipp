// SPDX-License-Identifier: MIT
// cli/command_line.ipp: from argv to commands and exit codes; only this folder prints, starts processes and handles
// signals.
#pragma once

#include "../base/version.hpp"  // defines ASIO_HAS_CO_AWAIT, so it must come before Asio

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "../base/suggest.ipp"
#include "../client/call_check.hpp"
#include "../client/client.hpp"
#include "../client/connect.ipp"
#include "../client/starter.ipp"
#include "../service/hidden_words.ipp"
#include "../service/kitten.hpp"
#include "../service/settings.ipp"
#include "completion.ipp"
#include "help_text.ipp"
#include "output.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

class EndingService;

/// For who only wants to know whether a service answers: together less than 2 s.
inline constexpr Timeouts quick{.connect = std::chrono::milliseconds(500), .total = std::chrono::milliseconds(1300)};
/// What the command line exits with, as the Python peers do.
enum class ExitCode {
  fine = 0,
  not_running = 1,    ///< also: cannot start, or a bad configuration option
  unknown = 2,        ///< no such method or command
  bad_value = 3,      ///< arguments that do not fit; other 4xx
  io_error = 4,       ///< 3xx, a broken connection or stream, standard output gone, a service that does not answer
  denied = 5,         ///< 401, 403, 407, a service of somebody else
  remote_failure = 6  ///< 5xx, and a 404 that is a method's own
};

inline ExitCode exit_code(ServiceState state) {
  constexpr ExitCode codes[] = {ExitCode::fine, ExitCode::not_running, ExitCode::io_error, ExitCode::denied};
  return codes[static_cast<std::size_t>(state)];
}

/// Runs one command line for a service. Kitten::main() is all that most programs need of it.
class CommandLine {
 public:
  explicit CommandLine(Kitten& kitten) : kitten_(kitten), server_(*kitten.server_) {}

  /// Returns the exit code; prints results on standard output and everything else on standard error.
  int run(int argc, char** argv);

 private:
  struct Judgement {
    ServiceState state;
    std::string why;  ///< a sentence, if it does not run
  };

  void take_prefix();
  void configure();
  bool asks_for_help() const;
  bool needs_sound_configuration() const;
  std::vector<std::string> argument_names() const;
  ExitCode dispatch();
  ExitCode introduce() const;
  static bool is_flag(std::string_view word);
  std::string advice_about(const std::string& name) const;
  void take_flags();
  void require_no_words() const;

  ExitCode start();
  ExitCode start_in_background();
  void show_warnings(std::string_view lines) const;
  ExitCode serve(Fd report, bool background);
  ExitCode stop();
  ExitCode restart();
  void keep_options_of_running();
  static Task<void> quit(Client client);
  void ask_to_end(std::chrono::milliseconds patience) const;
  bool ask_until_heard(const EndingService& service, std::chrono::milliseconds patience) const;
  bool end_service(bool force) const;
  std::string stopped_text(bool stopped) const { return full_name() + (stopped ? ": Stopped\n" : ": Not running\n"); }
  ExitCode status();
  ExitCode open_page();
  ExitCode mcp();
  void check_tools() const;
  std::string explorer_url(const ServiceAddress& address);
  ExitCode help();
  ExitCode openapi();
  ExitCode print_completion_script();
  ExitCode call();
  void call_once(json typed, const json& defaults);
  std::string words_of(const Error& error) const;
  void open_files(json& arguments, std::vector<Fd>& descriptors) const;
  void copy_out(const Fd& file) const;
  static json with_contents(const json& value, DescriptorQueue& descriptors);

  json arguments() const;
  static json argument_value(const std::string& word);
  void check_name(const std::string& name) const;
  void name_positional(json& all) const;
  void answer(const NeedInfo& need, json& typed, json& defaults) const;
  static File standard_input();
  static bool opened_here(const Parameter& parameter);
  std::vector<std::pair<std::string, std::string>> parameter_types() const;
  static std::string content_of(const std::string& path);
  void read_contents(json& arguments) const;
  static std::string file_to_save(const json& arguments);
  void save_config(const std::string& path) const;
  bool is_own_service() const { return server_.settings.app_name == own_app_; }
  std::shared_ptr<const Method> known_method(const std::string& name) const;
  std::vector<std::string> known_words() const;
  bool looks_like_typo(const std::string& word) const;
  bool may_be_typo(const NotRunning& error, const std::string& word) const;
  bool service_has(const std::string& name) const;
  std::string unknown_command() const;
  static std::string suggested_option(std::string_view name, const std::vector<std::string>& known);
  json facts_of(bool running) const;
  std::string lines_of(const json& facts, bool all) const;
  std::string addresses() const;
  void say_running(bool all) const;
  ClientOptions client_options() const;
  /// Looks for nothing before it calls.
  Client client() const { return ClientAccess::make(server_.settings, client_options()); }
  Judgement judge() const;
  void require_running() const;
  void log_to_file_or(bool standard_error) const;

  ExitCode fail(ExitCode code, std::string_view why) const;
  void say(std::string_view text) const;
  void say(std::string_view text, const json& as_json) const;
  void note(const std::string& text) const { show(STDERR_FILENO, text + "\n"); }
  bool take_word(std::string_view word);
  std::string full_name() const { return server_.settings.app_name + "/" + server_.settings.worker_name; }

  Kitten& kitten_;
  Server& server_;
  std::string meant_as_;  ///< the service that a client has started this program for, if one has
  std::string argv0_;
  std::string program_;                 ///< how it is called: argv0_ and the words that lead here
  std::vector<std::string> all_words_;  ///< as given behind that
  std::vector<std::string> words_;      ///< without options and flags, later without the command
  std::string command_;
  std::string meant_;          ///< the command, as far as it can be told before flags and options are looked at
  std::string own_app_;        ///< its name, before the line has named another
  std::vector<json> initial_;  ///< values of the options before any was configured
  Configuration configured_;
  json restarted_ = json::object();  ///< what there is to say about that, besides where it runs now
  OutputStyle style_ = OutputStyle::plain;
  bool tcp_only_ = false;
  bool json_rpc_ = false;
  bool method_only_ = false;  ///< `--` stood before the command
  bool answered_ = false;     ///< the exception on its way is what the service answered with
};

KETTLINGAR_COLD int CommandLine::run(int argc, char** argv) {
  for (Fd& stream : occupy_standard_streams(true)) stream.release();
  // Our children are meant for something else.
  if (const char* const name = environment(started_as)) meant_as_ = name;
  ::unsetenv(started_as);
  argv0_ = argc > 0 ? argv[0] : server_.settings.app_name;
  program_ = argv0_;
  for (int i = 1; i < argc; ++i) all_words_.emplace_back(argv[i]);
  ExitCode code = ExitCode::fine;
  try {
    restore_secrets(all_words_);
    take_prefix();
    if (!all_words_.empty() && all_words_.front() == "__complete") {
      write_all(STDOUT_FILENO, Completion(server_).lines({all_words_.begin() + 1, all_words_.end()}));
      return static_cast<int>(ExitCode::fine);
    }
    words_ = all_words_;
    const auto command =
        std::find_if(words_.begin(), words_.end(), [](const std::string& word) { return !word.starts_with("-"); });
    if (command != words_.end()) meant_ = *command;
    own_app_ = server_.settings.app_name;
    for (const Option& option : server_.options.all()) initial_.push_back(option.get());
    server_.options.adopt();
    configure();
    normalise(server_.settings);
    code = dispatch();
  } catch (const std::exception& error) {
    // Bad options, files that cannot be read: nothing has been started or called yet.
    if (command_.empty()) command_ = meant_;
    code = fail(ExitCode::not_running, error.what());
  }
  return static_cast<int>(code);
}

KETTLINGAR_COLD void CommandLine::take_prefix() {
  for (const std::string& word : server_.command_prefix) {
    program_ += " " + word;
    if (all_words_.empty() || all_words_.front() != word) throw InvalidArgument("expected: " + program_ + " ...");
    all_words_.erase(all_words_.begin());
  }
}

/// Whatever else is wrong on the line, help is what one wants then.
KETTLINGAR_COLD bool CommandLine::asks_for_help() const {
  const auto first = std::find_if(all_words_.begin(), all_words_.end(), [](const std::string& word) {
    return !word.starts_with("-") || word == "-h" || word == "--help" || word == "--";
  });
  return first != all_words_.end() && (*first == "help" || *first == "-h" || *first == "--help");
}

/// What decides how a service is started has to be right; calls reach a running one whatever a file says.
KETTLINGAR_COLD bool CommandLine::needs_sound_configuration() const {
  if (std::find(words_.begin(), words_.end(), "--") != words_.end()) return false;  // a method, whatever its name is
  if (meant_ == "start" || meant_ == "restart") return true;
  return meant_ == "config" &&
         std::any_of(words_.begin(), words_.end(), [](const std::string& word) { return word.starts_with("--save="); });
}

/// Behind a command, these names are not meant as options.
KETTLINGAR_COLD std::vector<std::string> CommandLine::argument_names() const {
  const auto method = server_.methods.named(meant_);
  return method ? parameter_names(*method) : std::vector<std::string>();
}

KETTLINGAR_COLD void CommandLine::configure() {
  const bool tolerant = !needs_sound_configuration();
  try {
    configured_ = detail::configure(server_.options, server_.settings, words_, tolerant, argument_names());
  } catch (const std::exception& error) {
    // Help is what one wants then.
    if (!asks_for_help()) throw;
    fail(ExitCode::not_running, error.what());
    words_ = all_words_;
    std::erase_if(
        words_, [](const std::string& word) { return word.starts_with("--") && word.find('=') != std::string::npos; });
  }
  std::vector<std::string>& problems = configured_.problems;
  try {
    check_settings(server_.settings);
  } catch (const InvalidArgument& error) {
    if (!tolerant || configured_.files.empty()) throw;
    problems.push_back(configured_.files.back() + ": " + error.what());
    for (const char* way : {"worker_use_tcp", "worker_use_unixdomain"}) server_.options.set(way, nullptr);
  }
  if (problems.empty()) return;
  std::string more;
  if (problems.size() > 1) more = " (and " + std::to_string(problems.size() - 1) + " more)";
  note(log_escaped(server_.settings.worker_name) + " warning: " + problems.front() + more +
       "; left out, but start and restart will refuse it");
}

KETTLINGAR_COLD ExitCode CommandLine::fail(ExitCode code, std::string_view why) const {
  // Whatever has been typed, or pasted, does nothing to the terminal.
  std::string line = log_escaped(server_.settings.worker_name);
  if (!command_.empty()) line += " " + log_escaped(command_);
  line += " failed: " + std::string(why) + "\n";
  show(STDERR_FILENO, line);
  return code;
}

KETTLINGAR_COLD void CommandLine::say(std::string_view text) const {
  const bool raw = style_ == OutputStyle::raw;
  if (!(raw ? write_all(STDOUT_FILENO, text) : show(STDOUT_FILENO, text)))
    throw ConnectionError(std::string("cannot write to standard output: ") + std::strerror(errno));
}

/// What a command has to say, for people or, with --json, for programs.
KETTLINGAR_COLD void CommandLine::say(std::string_view text, const json& as_json) const {
  style_ == OutputStyle::json ? say(printable_json(as_json) + "\n") : say(text);
}

/// True if it stood among the words, from which it is taken.
KETTLINGAR_COLD bool CommandLine::take_word(std::string_view word) {
  const auto found = std::find(words_.begin(), words_.end(), word);
  if (found == words_.end()) return false;
  words_.erase(found);
  return true;
}

KETTLINGAR_COLD ExitCode CommandLine::introduce() const {
  std::string text = server_.description.empty() ? server_.settings.app_name : server_.description;
  text += "\n\nTry this: " + program_ + " help\n";
  say(text, text);
  return ExitCode::not_running;
}

KETTLINGAR_COLD bool CommandLine::is_flag(std::string_view word) {
  for (const char* flag : {"--json", "--raw", "--tcp", "--json-rpc", "--version"}) {
    if (word == flag) return true;
  }
  return false;
}

/// What to do about a word before the command, of that name, which is neither flag nor option.
KETTLINGAR_COLD std::string CommandLine::advice_about(const std::string& name) const {
  const std::vector<std::string> arguments = argument_names();
  const bool of_command = name == "force" || name == "foreground" || name == "print" ||
                          std::find(arguments.begin(), arguments.end(), name) != arguments.end();
  if (of_command) return " (it stands behind the command)";
  std::string near = suggested_option(name, server_.options.names());
  if (near.empty()) near = suggested_option(name, {"json", "raw", "tcp", "json_rpc", "help", "version"});
  return near.empty() ? "; try: " + program_ + " help" : near;
}

KETTLINGAR_COLD void CommandLine::take_flags() {
  while (!words_.empty() && words_.front().starts_with("-")) {
    const std::string flag = words_.front();
    if (flag == "-j" || flag == "--json") {
      style_ = OutputStyle::json;
    } else if (flag == "-r" || flag == "--raw") {
      style_ = OutputStyle::raw;
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
      const std::string name = option_name(std::string_view(flag).substr(
          (std::min<std::size_t>)(2, flag.size()), equals == std::string::npos ? equals : equals - 2));
      if (server_.options.find(name) != nullptr) throw InvalidArgument(flag + " needs a value: " + flag + "=VALUE");
      if (!asks_for_help()) throw InvalidArgument("Unrecognized option: " + flag + advice_about(name));
      note("Unrecognized option: " + log_escaped(flag) + advice_about(name));
    }
    words_.erase(words_.begin());
  }
}

KETTLINGAR_COLD ExitCode CommandLine::dispatch() {
  try {
    if (words_.empty()) return introduce();
    take_flags();
    if (!command_.empty()) {
      const std::string& app = server_.settings.app_name;
      const std::string version = library_version();
      say(app + ", built with kettlingar " + version + "\n", {{"app", app}, {"kettlingar", version}});
      return ExitCode::fine;
    }
    if (words_.empty()) return introduce();
    command_ = words_.front();
    words_.erase(words_.begin());
    const auto arguments_only = std::find(words_.begin(), words_.end(), "--");
    if (std::find(words_.begin(), arguments_only, "--help") != arguments_only ||
        words_ == std::vector<std::string>{"-h"}) {
      words_ = {command_};
      return help();
    }
    if (command_.empty()) return fail(ExitCode::unknown, unknown_command());
    if (method_only_) return call();
    if (command_ == "start") return start();
    if (command_ == "stop") return stop();
    if (command_ == "status") return status();
    if (command_ == "help") return help();
    if (command_ == "restart") return restart();
    if (command_ == "openapi") return openapi();
    if (command_ == "open" && !server_.methods.named(command_)) return open_page();
    if (command_ == "mcp" && !server_.methods.named(command_)) return mcp();
    if (command_ == "completion" && !server_.methods.named(command_)) return print_completion_script();
    return call();
  } catch (const NotRunning& error) {
    return fail(exit_code(error.state()), error.what());
  } catch (const StartError& error) {
    return fail(ExitCode::not_running, error.what());
  } catch (const UnknownMethod& error) {
    return fail(ExitCode::unknown, words_of(error));
  } catch (const NotFound& error) {
    return fail(ExitCode::remote_failure, words_of(error));
  } catch (const FormatError& error) {
    return fail(ExitCode::unknown, error.what());
  } catch (const PermissionDenied& error) {
    return fail(ExitCode::denied, words_of(error));
  } catch (const UntrustedService& error) {
    return fail(ExitCode::denied, error.what());
  } catch (const ConnectionError& error) {
    return fail(ExitCode::io_error, error.what());
  } catch (const Error& error) {
    if (error.status() < 400) return fail(ExitCode::io_error, words_of(error));
    return fail(error.status() < 500 ? ExitCode::bad_value : ExitCode::remote_failure, words_of(error));
  }
}

KETTLINGAR_COLD void CommandLine::require_no_words() const {
  if (words_.empty()) return;
  std::vector<std::string> known = server_.options.names();
  const Command* const command = find_command(command_);
  const std::string usage(command == nullptr ? "" : command->usage);
  for (const char* own : {"force", "foreground", "print"}) {
    if (usage.find(own) != std::string::npos) known.insert(known.begin(), own);
  }
  std::string list;
  std::string hint;
  for (const std::string& word : words_) {
    list += word.empty() ? " ''" : " " + word;
    if (hint.empty() && word.starts_with("--"))
      hint = suggested_option(std::string_view(word).substr(2, word.find('=') - 2), known);
  }
  throw InvalidArgument("invalid arguments:" + list + hint + "; usage: " + usage);
}

KETTLINGAR_COLD std::string CommandLine::suggested_option(std::string_view name,
                                                          const std::vector<std::string>& known) {
  std::string near = closest(option_name(name), known);
  std::replace(near.begin(), near.end(), '_', '-');
  return near.empty() ? "" : " (did you mean --" + near + "?)";
}

/// A person waits for as long as it takes, and has Ctrl-C.
KETTLINGAR_COLD ClientOptions CommandLine::client_options() const {
  constexpr std::chrono::milliseconds forever{0};
  ClientOptions options;
  options.use_unix_socket = server_.settings.worker_use_unixdomain && !tcp_only_;
  options.use_tcp = server_.settings.worker_use_tcp || tcp_only_;
  options.use_msgpack = server_.settings.worker_use_msgpack && !json_rpc_;
  options.timeouts.first_byte = options.timeouts.idle = options.timeouts.total = forever;
  if (command_ == "ping") options.timeouts = quick;
  options.limits = server_.limits;
  options.limits.body_bytes = (std::max)(options.limits.body_bytes, ClientOptions().limits.body_bytes);
  return options;
}

}  // namespace detail

KETTLINGAR_COLD int Kitten::main(int argc, char** argv) { return detail::CommandLine(*this).run(argc, argv); }

}  // namespace v0_1
}  // namespace kettlingar
