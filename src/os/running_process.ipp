// SPDX-License-Identifier: MIT
// os/running_process.ipp: other processes, told by number and start time from later ones of the same number.
#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/types.h>
#if defined(__linux__)
#include <sys/syscall.h>
#endif

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "../base/version.hpp"
#include "descriptor.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// What the system tells of a process.
struct ProcessFacts {
  char state = 0;             ///< as in /proc/PID/stat: T is stopped, Z has ended; 0 where nothing is told
  std::uint64_t started = 0;  ///< clock ticks since the system's start; 0 where nothing is told
};

[[gnu::cold]] inline ProcessFacts process_facts(pid_t pid) {
  ProcessFacts facts;
  const Fd fd(::open(("/proc/" + std::to_string(pid) + "/stat").c_str(), O_RDONLY | O_CLOEXEC));
  std::string text;
  if (!fd || !read_all(fd.get(), text, 4096)) return facts;
  // The second field is the name, in parentheses, which may have blanks and parentheses of its own.
  std::size_t at = text.rfind(')') + 2;
  if (at >= text.size()) return facts;
  facts.state = text[at];
  for (int field = 3; field < 22 && at != 0; ++field) at = text.find(' ', at) + 1;
  if (at != 0) std::from_chars(text.data() + at, text.data() + text.size(), facts.started);
  return facts;
}

/// A process that need not be a child of ours.
class RunningProcess {
 public:
  /// None.
  RunningProcess() = default;
  /// The process of that number, if it began when `started` says; 0 for not known. None if it is another one.
  RunningProcess(pid_t pid, std::uint64_t started);

  /// 0 for none.
  pid_t pid() const noexcept { return pid_; }
  bool ended() const { return ended_within({}); }
  /// Waits; true for none.
  bool ended_within(std::chrono::milliseconds patience) const;
  /// True while a signal keeps it from running, as Ctrl-Z does.
  bool stopped() const { return pid_ > 0 && process_facts(pid_).state == 'T'; }
  /// Sends a signal to it, and to no later process of that number. False with errno set if that cannot be.
  bool signal(int number) const;

 private:
  bool there() const;

  pid_t pid_ = 0;
  std::uint64_t started_ = 0;
  Fd fd_;  ///< refers to the process itself, where the system has such descriptors
};

KETTLINGAR_COLD RunningProcess::RunningProcess(pid_t pid, std::uint64_t started) : pid_(pid), started_(started) {
#if defined(SYS_pidfd_open)
  // Before the start time is looked at, so that both are of one process.
  if (pid > 0) fd_ = Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
#endif
  if (!there()) *this = RunningProcess();
}

KETTLINGAR_COLD bool RunningProcess::there() const {
  if (pid_ <= 0) return false;
  pollfd entry{fd_.get(), POLLIN, 0};
  if (fd_ ? ::poll(&entry, 1, 0) > 0 : ::kill(pid_, 0) != 0 && errno == ESRCH) return false;
  const ProcessFacts facts = process_facts(pid_);
  if (started_ != 0 && facts.started != 0 && facts.started != started_) return false;
  // A process whose first thread alone has ended looks like one that has.
  return fd_ || (facts.state != 'Z' && facts.state != 'X');
}

KETTLINGAR_COLD bool RunningProcess::ended_within(std::chrono::milliseconds patience) const {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (;;) {
    if (!there()) return true;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    if (left <= 0) return false;
    // Without such a descriptor, poll() just waits for a moment.
    pollfd entry{fd_.get(), POLLIN, 0};
    ::poll(&entry, 1, static_cast<int>((std::min<std::int64_t>)(left, fd_ ? 1000 : 5)));
  }
}

KETTLINGAR_COLD bool RunningProcess::signal(int number) const {
  errno = ESRCH;
  if (!there()) return false;
#if defined(SYS_pidfd_send_signal)
  if (fd_) return ::syscall(SYS_pidfd_send_signal, fd_.get(), number, nullptr, 0) == 0;
#endif
  return ::kill(pid_, number) == 0;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
