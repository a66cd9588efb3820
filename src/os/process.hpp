// SPDX-License-Identifier: MIT
// os/process.hpp: starting this very program again in the background, and hearing from it.
#pragma once

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "../base/errors.hpp"
#include "descriptor.hpp"

extern char** environ;

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// The running program's file, for starting it again; `argv0` where the system does not tell.
[[gnu::cold]] inline std::string executable_path(const std::string& argv0) {
  char path[4096];
  const ssize_t n = ::readlink("/proc/self/exe", path, sizeof path);
  if (n <= 0 || static_cast<std::size_t>(n) == sizeof path) return argv0;
  const std::string found(path, static_cast<std::size_t>(n));
  // A program that was replaced while it ran has " (deleted)" behind its name, but the link itself still leads to it.
  return ::access(found.c_str(), X_OK) == 0 ? found : "/proc/self/exe";
}

/// The numbers under which programs that we start find what their command line leaves out, and the pipe that a
/// background child reports on.
inline constexpr int secrets_descriptor = 3;
inline constexpr int report_descriptor = 4;

/// What a child reports: its first byte says which, the rest is text.
enum class StartReport : char { ready = '+', already_running = '=', failed = '-' };

struct StartOutcome {
  StartReport report;
  std::string text;  ///< why, when it failed
};

/// Starts `program` with `arguments` (argv[0] included) in a session of its own, its standard streams on /dev/null, and
/// waits until it reports or ends. Descriptors of this process are not inherited, bar `secrets`, if there is one: see
/// filled_pipe(). Throws StartError if it cannot be started.
StartOutcome start_in_background(const std::string& program, const std::vector<std::string>& arguments, Fd secrets,
                                 std::chrono::seconds patience);

/// Sends the child's report, once; `descriptor` is closed.
inline void report_start(Fd descriptor, StartReport report, std::string_view text) {
  if (!descriptor) return;
  std::string message(1, static_cast<char>(report));
  message += text;
  write_all(descriptor.get(), message);
}

/// Keeps what this process has open, bar the standard streams, from reaching its children.
inline void close_all_on_exec() {
  DIR* directory = ::opendir("/dev/fd");
  if (directory == nullptr) return;
  while (const dirent* entry = ::readdir(directory)) {
    const int fd = std::atoi(entry->d_name);
    if (fd > STDERR_FILENO) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
  ::closedir(directory);
}

/// A pipe with `text` in it for a child, closed on exec, its number above those that children get; none for no text.
/// Throws StartError if there is too much of it: as nobody may ever read it, it is not waited for.
[[gnu::cold]] inline Fd filled_pipe(std::string_view text) {
  constexpr int lowest = 16;
  if (text.empty()) return Fd();
  int ends[2];
  if (::pipe(ends) != 0) throw StartError(std::string("cannot make a pipe: ") + std::strerror(errno));
  const Fd writer(ends[1]);
  const Fd low(ends[0]);
  for (const int end : ends) ::fcntl(end, F_SETFD, FD_CLOEXEC);
  Fd reader(::fcntl(low.get(), F_DUPFD_CLOEXEC, lowest));
  if (!reader) throw StartError(std::string("cannot make a pipe: ") + std::strerror(errno));
  ::fcntl(writer.get(), F_SETFL, O_NONBLOCK);
  if (::write(writer.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    throw StartError(std::to_string(text.size()) + " bytes in secret options are too many");
  return reader;
}

/// posix_spawn's two helper objects, destroyed on every path.
class SpawnSetup {
 public:
  SpawnSetup() {
    ::posix_spawn_file_actions_init(&actions_);
    ::posix_spawnattr_init(&attributes_);
  }
  SpawnSetup(const SpawnSetup&) = delete;
  SpawnSetup& operator=(const SpawnSetup&) = delete;
  ~SpawnSetup() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attributes_);
  }

  /// A session of its own, default signal handling, /dev/null as standard streams, `pipe` as report descriptor,
  /// `secrets`, unless -1, as secrets descriptor.
  void detach(int pipe, int secrets) {
    ::posix_spawn_file_actions_addopen(&actions_, 0, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_addopen(&actions_, 1, "/dev/null", O_WRONLY, 0);
    ::posix_spawn_file_actions_addopen(&actions_, 2, "/dev/null", O_WRONLY, 0);
    ::posix_spawn_file_actions_adddup2(&actions_, pipe, report_descriptor);
    if (secrets >= 0) ::posix_spawn_file_actions_adddup2(&actions_, secrets, secrets_descriptor);
    sigset_t all;
    sigset_t none;
    ::sigfillset(&all);
    ::sigemptyset(&none);
    ::posix_spawnattr_setsigdefault(&attributes_, &all);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    short flags = POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK;
#if defined(POSIX_SPAWN_SETSID)
    flags = static_cast<short>(flags | POSIX_SPAWN_SETSID);
#endif
    ::posix_spawnattr_setflags(&attributes_, flags);
  }

  const posix_spawn_file_actions_t* actions() const noexcept { return &actions_; }
  const posix_spawnattr_t* attributes() const noexcept { return &attributes_; }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

/// How a process ended, in words.
inline std::string describe_end(int status) {
  if (WIFSIGNALED(status)) return std::string("killed by signal ") + std::to_string(WTERMSIG(status));
  return "exit code " + std::to_string(WEXITSTATUS(status));
}

[[gnu::cold]] inline StartOutcome start_in_background(const std::string& program,
                                                      const std::vector<std::string>& arguments, Fd secrets,
                                                      std::chrono::seconds patience) {
  int ends[2];
  if (::pipe(ends) != 0) throw StartError(std::string("cannot start: ") + std::strerror(errno));
  Fd reader(ends[0]);
  Fd writer(ends[1]);
  close_all_on_exec();

  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  SpawnSetup setup;
  setup.detach(writer.get(), secrets.get());
  pid_t child = 0;
  const int error = ::posix_spawn(&child, program.c_str(), setup.actions(), setup.attributes(), argv.data(), environ);
  if (error != 0) throw StartError("cannot start " + program + ": " + std::strerror(error));
  writer.reset();
  secrets.reset();

  std::string message;
  pollfd entry{reader.get(), POLLIN, 0};
  const int wait_ms = static_cast<int>(std::chrono::milliseconds(patience).count());
  if (retry_interrupted([&] { return ::poll(&entry, 1, wait_ms); }) <= 0) {
    throw StartError("process " + std::to_string(child) + " is still starting after " +
                     std::to_string(patience.count()) + " s");
  }
  read_all(reader.get(), message, 64 * 1024);
  if (message.empty()) {
    int status = 0;
    retry_interrupted([&] { return ::waitpid(child, &status, 0); });
    return {StartReport::failed, "the service ended before it was ready (" + describe_end(status) + ")"};
  }
  return {static_cast<StartReport>(message.front()), message.substr(1)};
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
