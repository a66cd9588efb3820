// SPDX-License-Identifier: MIT
// cli/service_commands.hpp: start, stop and status: the commands about the service itself.
#pragma once

#include "../base/version.hpp"  // defines ASIO_HAS_CO_AWAIT, so it must come before Asio

#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <asio/signal_set.hpp>
#include <charconv>
#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "../os/process.hpp"
#include "command_line.hpp"
#include "log_file.hpp"

namespace kettlingar {
inline namespace v0_1 {

namespace detail {

/// Waits until a process has ended, without being its parent and without trusting that its number is not used again;
/// false if it has not.
class ProcessWatch {
 public:
  explicit ProcessWatch(pid_t pid) {
#if defined(SYS_pidfd_open)
    if (pid > 0) fd_ = Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
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
  Fd fd_;
#if !defined(SYS_pidfd_open)
  pid_t pid_ = 0;
#endif
};

/// The process that serves: what its lock file says, or the unix socket's peer (Python services have no lock); 0 if
/// unknown.
[[gnu::cold]] inline pid_t service_process(const Settings& settings) {
  const Fd lock = open_trusted(lock_file(settings), O_RDONLY);
  std::string text;
  pid_t pid = 0;
  if (lock && read_all(lock.get(), text, 64)) std::from_chars(text.data(), text.data() + text.size(), pid);
  if (pid > 0) return pid;
  const auto address = unix_address(socket_file(settings));
  if (!address) return 0;
  const Fd fd = connect_socket(*address, std::chrono::steady_clock::now() + std::chrono::seconds(1));
  const auto peer = fd ? peer_credentials(fd.get()) : std::nullopt;
  return peer ? peer->pid : 0;
}

/// Writes a log line unless that would wait: whoever should read it must not be able to stop the service by not doing
/// so.
inline void log_to_standard_error(LogLevel, std::string_view line) {
  pollfd entry{STDERR_FILENO, POLLOUT, 0};
  if (::poll(&entry, 1, 0) == 1) show(STDERR_FILENO, std::string(line) + "\n");
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

#if KETTLINGAR_DEFINITIONS
/// True if a service of this name answers and knows us.
KETTLINGAR_COLD bool CommandLine::answers() const {
  try {
    ClientOptions options;
    options.timeouts.total = std::chrono::seconds(5);
    const json pong = ClientAccess::make(server_.settings, options).call("ping");
    return pong.is_object() && pong.contains("pong");
  } catch (const NotRunning&) {
    return false;
  } catch (const detail::UntrustedService&) {
    throw;
  } catch (const ConnectionError&) {
    return false;  // on its way out, or nothing of ours
  }
}

/// Empty if it has gone, or has not come so far.
KETTLINGAR_COLD std::string CommandLine::addresses() const try {
  const detail::ServiceAddress address = detail::read_service_address(detail::ServiceFiles(server_.settings));
  std::string lines;
  // Without the token: terminals are logged and shared. The url file has it.
  if (address.host != "unix-domain") {
    lines = full_name() + ": Running at http://" + address.host + ":" + std::to_string(address.port) + "\n";
  }
  if (::access(address.socket.c_str(), F_OK) == 0) lines += full_name() + ": Running at " + address.socket + "\n";
  return lines;
} catch (const NotRunning&) {
  return {};
}

KETTLINGAR_COLD void CommandLine::log_to_file_or(bool standard_error) const {
  const std::string& path = server_.settings.worker_log_file;
  if (path.empty()) {
    if (standard_error) kitten_.log_to(detail::log_to_standard_error);
    return;
  }
  auto file = std::make_shared<detail::LogFile>(path, server_.settings.worker_log_size);
  kitten_.log_to([file](LogLevel, std::string_view line) { file->write(line); });
}

KETTLINGAR_COLD ExitCode CommandLine::start() {
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
  if (report >= 0) return serve(Fd(report), true);
  if (foreground) return serve(Fd(), false);
  const std::string running_at = answers() ? addresses() : std::string();
  if (running_at.empty()) return start_in_background();  // or it was on its way out
  for (const std::string& word : all_words_) {
    const bool names_it =
        word.starts_with("--app") || word.starts_with("--worker-name") || word.starts_with("--worker_name");
    if (!word.starts_with("--") || names_it) continue;
    detail::write_all(STDERR_FILENO,
                      full_name() + ": Already running: the options given were not applied; restart applies them\n");
    break;
  }
  say(running_at);
  return ExitCode::fine;
}

KETTLINGAR_COLD ExitCode CommandLine::start_in_background() {
  std::vector<std::string> child{argv0_};
  child.insert(child.end(), server_.command_prefix.begin(), server_.command_prefix.end());
  for (const std::string& word : all_words_) {
    if (word != "restart" && word != "start") child.push_back(word);
  }
  child.push_back("start");
  child.push_back("--report-to=" + std::to_string(detail::report_descriptor));
  const detail::HiddenWords hidden = detail::hide_secrets(server_.options, std::move(child));
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  for (bool running = false; !running;) {
    const auto outcome = detail::start_in_background(detail::executable_path(argv0_), hidden.words,
                                                     detail::filled_pipe(hidden.secrets), std::chrono::seconds(60));
    if (outcome.report == detail::StartReport::failed) throw StartError(outcome.text);
    running = outcome.report == detail::StartReport::ready;
    if (running) show_warnings(outcome.text);
    // Somebody else started it at the same time and may be a moment from being ready, or it is about to end.
    for (int tries = 0; !running && tries < 20 && std::chrono::steady_clock::now() < end; ++tries) {
      running = answers() && !addresses().empty();
      if (!running) ::poll(nullptr, 0, 10);
    }
    if (!running && std::chrono::steady_clock::now() >= end) {
      const pid_t pid = detail::service_process(server_.settings);
      throw StartError((pid > 0 ? "process " + std::to_string(pid) : std::string("another process")) +
                       " holds the lock of " + full_name() + ", but does not answer: end it first");
    }
  }
  say(addresses());
  return ExitCode::fine;
}

/// What the service has to say although it has started, in lines.
KETTLINGAR_COLD void CommandLine::show_warnings(std::string_view lines) const {
  while (!lines.empty()) {
    const std::string_view line = lines.substr(0, lines.find('\n'));
    lines.remove_prefix((std::min)(line.size() + 1, lines.size()));
    detail::write_all(STDERR_FILENO, full_name() + ": Warning: " + std::string(line) + "\n");
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
    if (::getrlimit(RLIMIT_NOFILE, &descriptors) == 0 && descriptors.rlim_cur < descriptors.rlim_max) {
      descriptors.rlim_cur = (std::min<rlim_t>)(descriptors.rlim_max, 65536);
      ::setrlimit(RLIMIT_NOFILE, &descriptors);
    }
    ::signal(SIGPIPE, SIG_IGN);
    ::signal(SIGXFSZ, SIG_IGN);
    detail::Runner& runner = *kitten_.runner_;
    asio::signal_set signals(runner.own_loop(), SIGTERM, SIGINT, SIGHUP);
    signals.async_wait([&runner, &signals](const asio::error_code& error, int) {
      if (error) return;
      // The second one does not wait for running calls.
      signals.async_wait([](const asio::error_code& second, int number) {
        if (!second) ::_exit(128 + number);
      });
      runner.shut_down();
    });
    runner.open();
    if (background) {
      // Keeps no file system busy. Paths in options are absolute by now.
      if (::chdir("/") != 0) throw StartError(std::string("cannot change to /: ") + std::strerror(errno));
    } else {
      say(addresses());
    }
    detail::report_start(std::move(report), detail::StartReport::ready, server_.start_warnings);
    runner.serve();
    return ExitCode::fine;
  } catch (const detail::AlreadyRunning& error) {
    detail::report_start(std::move(report), detail::StartReport::already_running, error.what());
    throw;
  } catch (const std::exception& error) {
    detail::report_start(std::move(report), detail::StartReport::failed, error.what());
    throw;
  }
}

KETTLINGAR_COLD ExitCode CommandLine::stop() {
  require_no_words();
  say(end_service());
  return ExitCode::fine;
}

/// Output that cannot be written does not leave it stopped.
KETTLINGAR_COLD ExitCode CommandLine::restart() {
  require_no_words();
  detail::write_all(STDOUT_FILENO, end_service());
  return start();
}

/// Returns what there is to say when it is gone.
KETTLINGAR_COLD std::string CommandLine::end_service() const {
  const pid_t pid = detail::service_process(server_.settings);
  const detail::ProcessWatch process(pid);
  const std::string lock = detail::lock_file(server_.settings);
  const auto gone = [&] { return ::access(lock.c_str(), F_OK) != 0 || detail::lock_is_stale(lock); };
  try {
    ClientOptions options = client_options();
    options.timeouts.total = std::chrono::seconds(30);
    ClientAccess::make(server_.settings, options).call("quitquitquit");
  } catch (const NotRunning&) {
    return full_name() + ": Not running\n";
  } catch (const ConnectionError& error) {
    // Somebody else has stopped it at the same time.
    if (!gone() && (pid == 0 || !process.ended_within(std::chrono::seconds(8)))) {
      throw ConnectionError(error.what() + (pid > 0 ? "; process " + std::to_string(pid) + " runs on" : std::string()));
    }
  }
  // A program that had the service beside other things may well go on.
  if (!process.ended_within(std::chrono::seconds(2)) && !gone() && !process.ended_within(std::chrono::seconds(8)))
    throw Error(500, "process " + std::to_string(pid) + " has not ended yet");
  return full_name() + ": Stopped\n";
}

KETTLINGAR_COLD ExitCode CommandLine::status() {
  require_no_words();
  if (!answers()) {
    const std::string lock = detail::lock_file(server_.settings);
    const bool hangs = ::access(lock.c_str(), F_OK) == 0 && !detail::lock_is_stale(lock);
    say(full_name() + (hangs ? ": Process " + std::to_string(detail::service_process(server_.settings)) +
                                   " runs, but does not answer\n"
                             : ": Not running\n"));
    return ExitCode::not_running;
  }
  say(addresses());
  detail::FileInfo info{};
  const std::string url = detail::url_file(server_.settings);
  const pid_t pid = detail::service_process(server_.settings);
  if (pid > 0) say(full_name() + ": Process " + std::to_string(pid) + "\n");
  if (::stat(url.c_str(), &info) == 0)
    say(full_name() + ": Up for " + detail::duration_text(::time(nullptr) - info.st_mtime) + "\n");
  say(full_name() + ": Token in " + url + "\n");
  return ExitCode::fine;
}
#endif

}  // namespace v0_1
}  // namespace kettlingar
