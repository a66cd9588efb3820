// SPDX-License-Identifier: MIT
// client/starter.hpp: how a client starts a service.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/errors.hpp"
#include "../base/version.hpp"
#include "../os/descriptor.hpp"
#include "../os/process.hpp"
#include "../os/trusted_file.hpp"
#include "../service/hidden_words.hpp"
#include "auto_start.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Tells a program that a client started it as the service of that name, `APP/WORKER`: if all it does is to become a
/// client itself, it must not start itself again.
inline constexpr const char* started_as = "KETTLINGAR_STARTED_AS";

/// Arguments or environment of a program that is to be started.
class WordList {
 public:
  void add(std::string word) { words_.push_back(std::move(word)); }
  char** get() {
    pointers_.clear();
    for (std::string& word : words_) pointers_.push_back(word.data());
    pointers_.push_back(nullptr);
    return pointers_.data();
  }

 private:
  std::vector<std::string> words_;
  std::vector<char*> pointers_;
};

/// A program on its way through `start`.
class Starter {
 public:
  /// Runs `program`; it inherits nothing of ours but the working directory, the environment, and the secrets that its
  /// words leave out. Throws NotRunning.
  Starter(const std::string& program, const HiddenWords& hidden, const std::string& name);

  /// Waits until it has ended. Throws NotRunning if it fails, with what it said on standard error, or takes longer.
  void wait(std::chrono::seconds patience);

 private:
  bool ended();
  void listen();

  std::string program_;
  pid_t child_ = 0;
  Fd errors_;
  std::string said_;
  int status_ = 0;
};

#if KETTLINGAR_DEFINITIONS
KETTLINGAR_COLD Starter::Starter(const std::string& program, const HiddenWords& hidden, const std::string& name)
    : program_(program.empty() ? executable_path("") : program) {
  int ends[2];
  if (::pipe(ends) != 0) throw NotRunning("cannot start " + program_ + ": " + std::strerror(errno));
  errors_ = Fd(ends[0]);
  const Fd writer(ends[1]);
  for (const int fd : ends) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  ::fcntl(errors_.get(), F_SETFL, O_NONBLOCK);

  Fd secrets;
  try {
    secrets = filled_pipe(hidden.secrets);
  } catch (const StartError& error) {
    throw NotRunning("cannot start " + program_ + ": " + error.what());
  }
  WordList arguments;
  arguments.add(program_);
  for (const std::string& word : hidden.words) arguments.add(word);
  arguments.add("start");
  WordList environment;
  const std::string mark = std::string(started_as) + "=";
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    if (!std::string_view(*entry).starts_with(mark)) environment.add(*entry);
  }
  environment.add(mark + name);

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  // The pipe first: where the host has closed its standard streams, it may have one of their numbers.
  ::posix_spawn_file_actions_adddup2(&actions, writer.get(), STDERR_FILENO);
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  if (secrets) ::posix_spawn_file_actions_adddup2(&actions, secrets.get(), secrets_descriptor);
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 34)
  ::posix_spawn_file_actions_addclosefrom_np(&actions, secrets ? secrets_descriptor + 1 : STDERR_FILENO + 1);
#endif
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
  ::posix_spawnattr_setflags(&attributes, flags);
  const int error = ::posix_spawn(&child_, program_.c_str(), &actions, &attributes, arguments.get(), environment.get());
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) throw NotRunning("cannot start " + program_ + ": " + std::strerror(error));
}

/// Also true if the host has its children reaped without us.
KETTLINGAR_COLD bool Starter::ended() {
  const pid_t found = retry_interrupted([&] { return ::waitpid(child_, &status_, WNOHANG); });
  return found == child_ || (found < 0 && errno == ECHILD);
}

KETTLINGAR_COLD void Starter::listen() {
  constexpr std::size_t most = 4096;
  char block[512];
  for (;;) {
    const ssize_t n = retry_interrupted([&] { return ::read(errors_.get(), block, sizeof block); });
    if (n == 0) errors_.reset();
    if (n <= 0) return;
    said_.append(block, (std::min)(static_cast<std::size_t>(n), most - said_.size()));
  }
}

KETTLINGAR_COLD void Starter::wait(std::chrono::seconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  // Its end is what counts, not that of the pipe, which a service may keep open.
  while (!ended()) {
    if (std::chrono::steady_clock::now() >= deadline) {
      throw NotRunning(program_ + " start: process " + std::to_string(child_) + " is still at it after " +
                       std::to_string(patience.count()) + " s");
    }
    pollfd entry{errors_.get(), POLLIN, 0};
    if (::poll(&entry, 1, 5) > 0) listen();
  }
  if (errors_) listen();
  if (status_ == 0) return;
  while (!said_.empty() && said_.back() == '\n') said_.pop_back();
  throw NotRunning(program_ + " start: " + (said_.empty() ? describe_end(status_) : said_));
}
#endif

/// Starts the service `name` (APP/WORKER). Throws NotRunning.
[[gnu::cold]] inline void start_service(const AutoStart& how, const HiddenWords& hidden, const std::string& name) {
  const char* mark = environment(started_as);
  if (mark != nullptr && name == mark) {
    throw NotRunning(name + ": Not running: this program was started to be it, but does not end in Kitten::main()");
  }
  HiddenWords all{how.command_prefix, hidden.secrets};
  all.words.insert(all.words.end(), hidden.words.begin(), hidden.words.end());
  Starter(how.program, all, name).wait(std::chrono::seconds(60));
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
