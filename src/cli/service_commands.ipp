// SPDX-License-Identifier: MIT
// cli/service_commands.ipp: start, stop and status: the commands about the service itself.
#pragma once

#include "../base/version.hpp"  // defines ASIO_HAS_CO_AWAIT, so it must come before Asio

#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "../os/process.ipp"
#include "../os/state.ipp"
#include "../service/runner.ipp"
#include "command_line.ipp"
#include "end_service.ipp"
#include "end_signals.ipp"
#include "log_file.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Writes a log line unless that would wait: whoever should read it must not be able to stop the service by not doing
/// so.
inline void log_to_standard_error(LogLevel, std::string_view line) {
  pollfd entry{STDERR_FILENO, POLLOUT, 0};
  if (::poll(&entry, 1, 0) != 1) return;
  const std::string shown = shown_on(STDERR_FILENO, std::string(line) + "\n");
  retry_interrupted([&] { return ::write(STDERR_FILENO, shown.data(), shown.size()); });
}

/// `3 d 4 h`, `5 min 6 s` and the like.
inline std::string duration_text(std::int64_t seconds) {
  const auto part = [](std::int64_t n, const char* unit) { return std::to_string(n) + " " + unit; };
  if (seconds >= 86400) return part(seconds / 86400, "d ") + part(seconds % 86400 / 3600, "h");
  if (seconds >= 3600) return part(seconds / 3600, "h ") + part(seconds % 3600 / 60, "min");
  if (seconds >= 60) return part(seconds / 60, "min ") + part(seconds % 60, "s");
  return part(seconds, "s");
}

KETTLINGAR_COLD CommandLine::Judgement CommandLine::judge() const {
  ClientOptions options;
  options.timeouts = quick;
  try {
    ClientAccess::require_pong(ClientAccess::make(server_.settings, options), ServiceFiles(server_.settings));
    return {ServiceState::runs, {}};
  } catch (const NotRunning& error) {
    // What starts or ends has no url file.
    const bool hangs = error.state() == ServiceState::silent && ::access(url_file(server_.settings).c_str(), F_OK) == 0;
    return {error.state(), error.what() + (hangs ? force_hint(ServiceFiles(server_.settings)) : std::string())};
  }
}

KETTLINGAR_COLD void CommandLine::require_running() const {
  const Judgement found = judge();
  if (found.state != ServiceState::runs) throw NotRunning(found.why, found.state);
}

/// What programs are told about the service. Throws NotRunning if it has gone, or has not come so far.
KETTLINGAR_COLD json CommandLine::facts_of(bool running) const {
  json facts{{"app", server_.settings.app_name}, {"worker", server_.settings.worker_name}, {"running", running}};
  if (!running) return facts;
  const ServiceFiles files(server_.settings);
  const ServiceAddress address = read_service_address(files);
  // Without the token: terminals are logged and shared. The url file has it.
  if (address.host != "unix-domain") facts["url"] = "http://" + address.host + ":" + std::to_string(address.port);
  if (::access(address.socket.c_str(), F_OK) == 0) facts["socket"] = address.socket;
  const pid_t holder = lock_holder(files.lock).pid;
  const pid_t pid = holder > 0 ? holder : socket_process(files.socket);
  if (pid > 0) facts["pid"] = pid;
  FileInfo info{};
  if (::stat(files.url.c_str(), &info) == 0) facts["up_seconds"] = ::time(nullptr) - info.st_mtime;
  facts["url_file"] = files.url;
  return facts;
}

/// The same for people: where it is, or all of it.
KETTLINGAR_COLD std::string CommandLine::lines_of(const json& facts, bool all) const {
  std::string lines;
  const auto add = [&](const std::string& text) { lines += full_name() + ": " + text + "\n"; };
  for (const char* where : {"url", "socket"})
    if (facts.contains(where)) add("Running at " + facts[where].get<std::string>());
  if (!all) return lines;
  if (facts.contains("pid")) add("Process " + facts["pid"].dump());
  if (facts.contains("up_seconds")) add("Up for " + duration_text(facts["up_seconds"].get<std::int64_t>()));
  add("Token in " + facts["url_file"].get<std::string>());
  return lines;
}

/// Empty if it has gone, or has not come so far.
KETTLINGAR_COLD std::string CommandLine::addresses() const try {
  return lines_of(facts_of(true), false);
} catch (const NotRunning&) {
  return {};
}

KETTLINGAR_COLD void CommandLine::say_running(bool all) const {
  json facts = facts_of(true);
  facts.update(restarted_);
  say(lines_of(facts, all), facts);
}

KETTLINGAR_COLD void CommandLine::log_to_file_or(bool standard_error) const {
  const std::string& path = server_.settings.worker_log_file;
  if (path.empty()) {
    if (standard_error && !server_.log.has_sink()) kitten_.log_to(log_to_standard_error);
    return;
  }
  auto file = std::make_shared<LogFile>(path, server_.settings.worker_log_size);
  kitten_.log_to([file](LogLevel, std::string_view line) { file->write(line); });
}

KETTLINGAR_COLD ExitCode CommandLine::start() {
  const bool foreground = take_word("--foreground");
  // We are the child of another start.
  const bool report = take_word("--report-to=" + std::to_string(report_descriptor));
  require_no_words();
  if (!meant_as_.empty() && meant_as_ != full_name())
    throw StartError("this program is " + full_name() + ", and was to be started as " + meant_as_);
  if (report) return serve(Fd(report_descriptor), true);
  if (foreground) return serve(Fd(), false);
  const Judgement found = judge();
  if (found.state == ServiceState::foreign) throw NotRunning(found.why, found.state);
  // Or it was on its way out.
  if (found.state != ServiceState::runs || addresses().empty()) return start_in_background();
  if (configured_.chosen)
    note(full_name() + ": Already running: the options given were not applied; restart applies them");
  say_running(false);
  return ExitCode::fine;
}

KETTLINGAR_COLD ExitCode CommandLine::start_in_background() {
  std::vector<std::string> child{argv0_};
  for (const auto* words : {&server_.command_prefix, &configured_.words})
    child.insert(child.end(), words->begin(), words->end());
  child.push_back("start");
  child.push_back("--report-to=" + std::to_string(report_descriptor));
  const HiddenWords hidden = hide_secrets(server_.options, std::move(child));
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  for (bool running = false; !running;) {
    ChildProgram program;
    program.path = executable_path(argv0_);
    program.words = hidden.words;
    program.secrets = filled_pipe(hidden.secrets);
    const auto outcome = detail::start_in_background(std::move(program), std::chrono::seconds(60));
    if (outcome.report == StartReport::failed) throw StartError(outcome.text);
    running = outcome.report == StartReport::ready;
    if (running) show_warnings(outcome.text);
    // Somebody else started it at the same time and may be a moment from being ready, or it is about to end.
    Judgement found{ServiceState::runs, full_name() + ": starts or ends all the time"};
    for (int tries = 0; !running && tries < 20 && std::chrono::steady_clock::now() < end; ++tries) {
      found = judge();
      running = found.state == ServiceState::runs && !addresses().empty();
      if (!running) ::poll(nullptr, 0, 10);
    }
    if (!running && std::chrono::steady_clock::now() >= end) throw NotRunning(found.why, ServiceState::silent);
  }
  say_running(false);
  return ExitCode::fine;
}

/// What the service has to say although it has started, in lines.
KETTLINGAR_COLD void CommandLine::show_warnings(std::string_view lines) const {
  while (!lines.empty()) {
    const std::string_view line = lines.substr(0, lines.find('\n'));
    lines.remove_prefix((std::min)(line.size() + 1, lines.size()));
    note(full_name() + ": Warning: " + std::string(line));
  }
}

/// Serves in this process until it is stopped.
KETTLINGAR_COLD ExitCode CommandLine::serve(Fd report, bool background) {
  try {
    if (report) ::fcntl(report.get(), F_SETFD, FD_CLOEXEC);
    log_to_file_or(!background);
    if (server_.settings.worker_nice != 0) {
      errno = 0;
      if (::nice(server_.settings.worker_nice) == -1 && errno != 0)
        throw StartError(std::string("cannot set worker_nice: ") + std::strerror(errno));
    }
    rlimit descriptors{};
    const bool limited = ::getrlimit(RLIMIT_NOFILE, &descriptors) == 0;
    const rlim_t wanted = (std::min<rlim_t>)(descriptors.rlim_max, 65536);
    if (limited && descriptors.rlim_cur < wanted) {
      descriptors.rlim_cur = wanted;
      ::setrlimit(RLIMIT_NOFILE, &descriptors);
    }
    ::signal(SIGPIPE, SIG_IGN);
    ::signal(SIGXFSZ, SIG_IGN);
    Runner& runner = *kitten_.runner_;
    EndSignals signals;
    server_.whole_process = true;
    server_.started_with = configured_.words;
    // Also while on_start runs.
    signals.when_asked(runner.own_loop(), [&runner] { runner.shut_down(); });
    runner.open();
    const Settings& settings = server_.settings;
    for (const std::string& file : {url_file(settings), socket_file(settings), lock_file(settings)})
      signals.add_file(file);
    if (background) {
      // Keeps no file system busy. Paths in options are absolute by now.
      if (::chdir("/") != 0) throw StartError(std::string("cannot change to /: ") + std::strerror(errno));
    } else {
      say_running(false);
    }
    report_start(std::move(report), StartReport::ready, server_.start_warnings);
    runner.serve();
    return ExitCode::fine;
  } catch (const AlreadyRunning& error) {
    report_start(std::move(report), StartReport::already_running, error.what());
    throw;
  } catch (const std::exception& error) {
    report_start(std::move(report), StartReport::failed, error.what());
    throw;
  }
}

/// The options that the running service was started with go before those of the line. Throws what start would refuse.
KETTLINGAR_COLD void CommandLine::keep_options_of_running() {
  std::vector<std::string> words = lock_holder(lock_file(server_.settings)).words;
  if (words.empty()) return;
  const std::string default_file = default_config_file(server_.settings);
  if (::access(default_file.c_str(), F_OK) != 0) std::erase(words, "--worker-config=" + default_file);
  words.insert(words.end(), configured_.words.begin(), configured_.words.end());
  drop_overridden(words);
  for (std::size_t i = 0; i < initial_.size(); ++i) server_.options.all()[i].set(initial_[i]);
  server_.options.adopt();
  try {
    configured_ = detail::configure(server_.options, server_.settings, words);
    if (!words.empty())
      throw StartError("the service was started with " + words.front() + ", which this program does not know");
    check_settings(server_.settings);
  } catch (const InvalidArgument& error) {
    throw StartError(error.what());
  }
  normalise(server_.settings);
}

/// Output that cannot be written does not leave it stopped.
KETTLINGAR_COLD ExitCode CommandLine::restart() {
  const bool force = take_word("--force");
  require_no_words();
  keep_options_of_running();
  const bool stopped = end_service(force);
  std::string text = stopped_text(stopped);
  for (const std::string& file : configured_.files) text += full_name() + ": Configured by " + file + "\n";
  restarted_["stopped"] = stopped;
  restarted_["configured_by"] = configured_.files;
  if (style_ != OutputStyle::json) show(STDOUT_FILENO, text);
  return start();
}

KETTLINGAR_COLD ExitCode CommandLine::status() {
  require_no_words();
  const Judgement found = judge();
  if (found.state != ServiceState::runs) {
    const std::string why = found.state == ServiceState::not_running
                                ? "Not running"
                                : found.why.substr(server_.settings.worker_name.size() + 2);
    json facts = facts_of(false);
    facts["why"] = found.why;
    say(full_name() + ": " + why + "\n", facts);
    return exit_code(found.state);
  }
  say_running(true);
  return ExitCode::fine;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
