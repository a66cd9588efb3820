// SPDX-License-Identifier: MIT
// os/process.ipp: starting programs, this very one among them, and hearing from them.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/auxv.h>
#endif

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/errors.hpp"
#include "descriptor.hpp"

extern char** environ;

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// The running program's file, for starting it again; `argv0` where the system does not tell.
std::string executable_path(const std::string& argv0);

/// The numbers under which programs that we start find what their command line leaves out, and the pipe that a
/// background child reports on.
inline constexpr int secrets_descriptor = 3;
inline constexpr int report_descriptor = 4;

/// Both ends are closed on exec, from birth where the system can do that.
struct Pipe {
  Fd reader, writer;
};
/// Throws StartError.
Pipe make_pipe();

/// A pipe with `text` in it for a child to read; none for no text. Throws StartError if there is too much of it: as
/// nobody may ever read it, it is not waited for.
Fd filled_pipe(std::string_view text);

/// A program as it is to be started: in a session of its own, with default signal handling, its standard streams on
/// /dev/null, and without descriptors of this process but those here. Where posix_spawn() cannot close all others
/// (macOS and glibc from 2.34 on can), what other threads open just then has to be close-on-exec.
struct ChildProgram {
  std::string path;
  std::vector<std::string> words;      ///< argv[0] included
  std::vector<std::string> variables;  ///< `NAME=value`, instead of what the environment has of that name
  Fd secrets;                          ///< becomes its secrets_descriptor
  Fd report;                           ///< becomes its report_descriptor
  Fd output;                           ///< becomes its standard output
  Fd errors;                           ///< becomes its standard error

  ChildProgram() = default;
};

/// A program that was started, as its parent sees it. One that has not ended when this is destroyed goes on without us;
/// once it has ended, the system's note of that is cleared away with the next start.
class ChildProcess {
 public:
  /// Throws StartError.
  explicit ChildProcess(const ChildProgram& program);
  ChildProcess(ChildProcess&& other) noexcept
      : pid_(std::exchange(other.pid_, 0)), ended_(other.ended_), status_(other.status_) {}
  ChildProcess& operator=(ChildProcess&& other) noexcept {
    std::swap(pid_, other.pid_);
    std::swap(ended_, other.ended_);
    std::swap(status_, other.status_);
    return *this;
  }
  ~ChildProcess();

  pid_t pid() const noexcept { return pid_; }
  /// Does not wait. Also true if the host has its children reaped without us; then it counts as a success.
  bool ended();
  /// After its end: null or not what it should have come to.
  bool failed() const noexcept { return status_ != 0; }
  /// How it has ended, in words.
  std::string end_text() const;
  /// After its end: whether processes that it has made are in its process group, and go on.
  bool left_some() const;
  /// Ends those by SIGTERM.
  void end_those_left() const;

 private:
  /// Goes on without us.
  struct Left {
    pid_t pid;
    Left* next;
  };
  static inline constinit std::atomic<Left*> left_{nullptr};  // without a mutex, which a forked child might find taken

  static void leave(Left* child) noexcept;
  static void reap_left() noexcept;

  pid_t pid_ = 0;
  bool ended_ = false;
  int status_ = 0;
};

/// What a background child reports: its first byte says which, the rest is text.
enum class StartReport : char { ready = '+', already_running = '=', failed = '-' };

struct StartOutcome {
  StartReport report;
  std::string text;  ///< why, when it failed
};

/// Sends the child's report, once; `descriptor` is closed.
inline void report_start(Fd descriptor, StartReport report, std::string_view text) {
  if (!descriptor) return;
  std::string message(1, static_cast<char>(report));
  message += text;
  message += '\0';
  write_all(descriptor.get(), message);
}

/// Starts `program` and waits until it reports or ends. Throws StartError if it cannot be started, or does neither
/// within `patience`.
StartOutcome start_in_background(ChildProgram program, std::chrono::seconds patience);

KETTLINGAR_COLD std::string executable_path(const std::string& argv0) {
  char path[4096];
  const ssize_t n = ::readlink("/proc/self/exe", path, sizeof path);
  if (n > 0 && static_cast<std::size_t>(n) < sizeof path) {
    const std::string found(path, static_cast<std::size_t>(n));
    // A program that was replaced while it ran has " (deleted)" behind its name, but the link itself still leads to it.
    return ::access(found.c_str(), X_OK) == 0 ? found : "/proc/self/exe";
  }
#if defined(__linux__)
  // What the kernel was told, after any search along PATH.
  const unsigned long told = ::getauxval(AT_EXECFN);
  if (told != 0) return reinterpret_cast<const char*>(told);
#endif
  return argv0;
}

KETTLINGAR_COLD Pipe make_pipe() {
  int ends[2];
#if defined(__linux__) || defined(__FreeBSD__)
  const bool made = ::pipe2(ends, O_CLOEXEC) == 0;
#else
  const bool made = ::pipe(ends) == 0;
#endif
  if (!made) throw StartError(std::string("cannot make a pipe: ") + std::strerror(errno));
  Pipe pipe{Fd(ends[0]), Fd(ends[1])};
#if !defined(__linux__) && !defined(__FreeBSD__)
  for (const int end : ends) ::fcntl(end, F_SETFD, FD_CLOEXEC);
#endif
  return pipe;
}

KETTLINGAR_COLD Fd filled_pipe(std::string_view text) {
  if (text.empty()) return Fd();
  Pipe pipe = make_pipe();
  ::fcntl(pipe.writer.get(), F_SETFL, O_NONBLOCK);
  if (::write(pipe.writer.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    throw StartError(std::to_string(text.size()) + " bytes in secret options are too many");
  return std::move(pipe.reader);
}

/// posix_spawn's two helper objects, destroyed on every path.
class SpawnSetup {
 public:
  SpawnSetup() {
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
  }
  SpawnSetup(const SpawnSetup&) = delete;
  SpawnSetup& operator=(const SpawnSetup&) = delete;
  ~SpawnSetup() {
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
  }

  /// What becomes number `to` there; no descriptor leaves a standard stream as it is, and no other one.
  void give(const Fd& descriptor, int to) {
    // Above all numbers that are given, so that none is lost to another, nor is the same: hosts may have closed theirs.
    constexpr int lowest = 16;
    if (!descriptor && to > STDERR_FILENO) {
      // Whatever has this number. To close what is not there might be an error.
      ::posix_spawn_file_actions_addopen(&actions, to, "/dev/null", O_RDONLY, 0);
      ::posix_spawn_file_actions_addclose(&actions, to);
    }
    if (!descriptor) return;
    high_.emplace_back(::fcntl(descriptor.get(), F_DUPFD_CLOEXEC, lowest));
    if (!high_.back()) throw StartError(std::string("cannot duplicate a descriptor: ") + std::strerror(errno));
    ::posix_spawn_file_actions_adddup2(&actions, high_.back().get(), to);
  }
  /// Closes all numbers from that one on.
  void close_from(int first) {
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 34)
    ::posix_spawn_file_actions_addclosefrom_np(&actions, first);
#elif defined(POSIX_SPAWN_CLOEXEC_DEFAULT)
    static_cast<void>(first);  // see detach()
#else
    const long most = (std::min)(::sysconf(_SC_OPEN_MAX), 65536L);
    for (int fd = first; fd < most; ++fd) {
      const int flags = ::fcntl(fd, F_GETFD);
      if (flags != -1 && (flags & FD_CLOEXEC) == 0) ::posix_spawn_file_actions_addclose(&actions, fd);
    }
#endif
  }
  void detach() {
    sigset_t all;
    sigset_t none;
    ::sigfillset(&all);
    ::sigemptyset(&none);
    ::posix_spawnattr_setsigdefault(&attributes, &all);
    ::posix_spawnattr_setsigmask(&attributes, &none);
    short flags = POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK;
#if defined(POSIX_SPAWN_SETSID)
    flags = static_cast<short>(flags | POSIX_SPAWN_SETSID);
#endif
#if defined(POSIX_SPAWN_CLOEXEC_DEFAULT)
    flags = static_cast<short>(flags | POSIX_SPAWN_CLOEXEC_DEFAULT);
#endif
    ::posix_spawnattr_setflags(&attributes, flags);
  }

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;

 private:
  std::vector<Fd> high_;
};

/// Words in the form that the system wants.
[[gnu::cold]] inline std::vector<char*> pointers_to(const std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

KETTLINGAR_COLD void ChildProcess::leave(Left* child) noexcept {
  child->next = left_;
  while (!left_.compare_exchange_weak(child->next, child)) {
  }
}

KETTLINGAR_COLD void ChildProcess::reap_left() noexcept {
  Left* child = left_.exchange(nullptr);
  while (child != nullptr) {
    Left* const next = child->next;
    if (retry_interrupted([&] { return ::waitpid(child->pid, nullptr, WNOHANG); }) == 0) {
      leave(child);
    } else {
      delete child;
    }
    child = next;
  }
}

KETTLINGAR_COLD ChildProcess::~ChildProcess() {
  if (pid_ == 0 || ended()) return;
  if (Left* const child = new (std::nothrow) Left{pid_, nullptr}) leave(child);
}

KETTLINGAR_COLD ChildProcess::ChildProcess(const ChildProgram& program) {
  reap_left();
  std::vector<std::string> environment = program.variables;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view name = std::string_view(*entry).substr(0, std::string_view(*entry).find('=') + 1);
    const bool replaced = std::any_of(program.variables.begin(), program.variables.end(),
                                      [&](const std::string& variable) { return variable.starts_with(name); });
    if (!replaced) environment.emplace_back(*entry);
  }
  SpawnSetup setup;
  setup.detach();
  ::posix_spawn_file_actions_addopen(&setup.actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&setup.actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  ::posix_spawn_file_actions_addopen(&setup.actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  setup.give(program.output, STDOUT_FILENO);
  setup.give(program.errors, STDERR_FILENO);
  setup.give(program.secrets, secrets_descriptor);
  setup.give(program.report, report_descriptor);
  setup.close_from(report_descriptor + 1);
  const int error = ::posix_spawn(&pid_, program.path.c_str(), &setup.actions, &setup.attributes,
                                  pointers_to(program.words).data(), pointers_to(environment).data());
  if (error != 0) throw StartError("cannot start " + program.path + ": " + std::strerror(error));
}

KETTLINGAR_COLD bool ChildProcess::ended() {
  if (ended_) return true;
  const pid_t found = retry_interrupted([&] { return ::waitpid(pid_, &status_, WNOHANG); });
  ended_ = found == pid_ || (found < 0 && errno == ECHILD);
  return ended_;
}

KETTLINGAR_COLD std::string ChildProcess::end_text() const {
  if (WIFSIGNALED(status_)) return std::string("killed by signal ") + std::to_string(WTERMSIG(status_));
  return "exit code " + std::to_string(WEXITSTATUS(status_));
}

// The number cannot be another group's: it is not given again while one of the processes is there.
KETTLINGAR_COLD bool ChildProcess::left_some() const { return ::kill(-pid_, 0) == 0; }

KETTLINGAR_COLD void ChildProcess::end_those_left() const { ::kill(-pid_, SIGTERM); }

KETTLINGAR_COLD StartOutcome start_in_background(ChildProgram program, std::chrono::seconds patience) {
  constexpr std::size_t longest = 64 * 1024;
  Pipe pipe = make_pipe();
  program.report = std::move(pipe.writer);
  ChildProcess child(program);
  program.report.reset();
  ::fcntl(pipe.reader.get(), F_SETFL, O_NONBLOCK);
  const auto deadline = std::chrono::steady_clock::now() + patience;
  std::string message;
  // Its last byte is NUL. The end of the pipe tells less: a process of the child's may have the other end, too.
  for (bool open = true; message.find('\0') == std::string::npos && (open || !child.ended());) {
    if (std::chrono::steady_clock::now() >= deadline) {
      throw StartError("process " + std::to_string(child.pid()) + " is still starting after " +
                       std::to_string(patience.count()) + " s");
    }
    pollfd entry{open ? pipe.reader.get() : -1, POLLIN, 0};
    ::poll(&entry, 1, open ? 50 : 5);
    const bool ended = child.ended();  // before the last read, not behind it
    char block[4096];
    const ssize_t n = retry_interrupted([&] { return ::read(pipe.reader.get(), block, sizeof block); });
    if (n > 0 && message.size() < longest) message.append(block, static_cast<std::size_t>(n));
    open = open && n != 0 && (n > 0 || !ended);
  }
  if (message.empty()) return {StartReport::failed, "the service ended before it was ready (" + child.end_text() + ")"};
  return {static_cast<StartReport>(message.front()), message.substr(1, message.find('\0') - 1)};
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
