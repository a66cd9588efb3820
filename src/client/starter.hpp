// SPDX-License-Identifier: MIT
// client/starter.hpp: how a client starts a service.
#pragma once

#include <fcntl.h>
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

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

/// How a client has its service started.
struct StartPlan {
  AutoStart how = auto_start;
  HiddenWords words;  ///< options
  std::string name;   ///< `APP/WORKER`
};

/// A program on its way through `start`.
class Starter {
 public:
  /// Runs it; it inherits nothing of ours but the working directory, the environment, and the secrets that its words
  /// leave out. Throws NotRunning.
  explicit Starter(const StartPlan& plan);

  /// True when it has ended well; does not wait. Throws NotRunning if it has failed, with what it said on standard
  /// error, or takes longer than a minute.
  bool done();

 private:
  void listen();

  std::string path_;
  Fd errors_;
  ChildProcess child_;
  std::chrono::steady_clock::time_point deadline_ = std::chrono::steady_clock::now() + patience;
  std::string said_;

  static constexpr std::chrono::seconds patience{60};
};

#if KETTLINGAR_DEFINITIONS
/// Its standard error goes to `errors`. Throws NotRunning.
[[gnu::cold]] inline ChildProcess started(const StartPlan& plan, const std::string& path, Fd& errors) {
  const char* mark = environment(started_as);
  if (mark != nullptr && plan.name == mark) {
    throw NotRunning(plan.name +
                     ": Not running: this program was started to be it, but does not end in Kitten::main()");
  }
  try {
    ChildProgram program;
    program.path = path;
    program.words.push_back(path);
    for (const auto* words : {&plan.how.command_prefix, &plan.words.words})
      program.words.insert(program.words.end(), words->begin(), words->end());
    program.words.push_back("start");
    program.variables.push_back(std::string(started_as) + "=" + plan.name);
    program.secrets = filled_pipe(plan.words.secrets);
    Pipe pipe = make_pipe();
    program.errors = std::move(pipe.writer);
    ::fcntl(pipe.reader.get(), F_SETFL, O_NONBLOCK);
    errors = std::move(pipe.reader);
    return ChildProcess(program);
  } catch (const StartError& error) {
    throw NotRunning(plan.name + ": " + error.what());
  }
}

KETTLINGAR_COLD Starter::Starter(const StartPlan& plan)
    : path_(plan.how.program.empty() ? executable_path("") : plan.how.program), child_(started(plan, path_, errors_)) {}

KETTLINGAR_COLD void Starter::listen() {
  constexpr std::size_t most = 4096;
  char block[512];
  while (errors_) {
    const ssize_t n = retry_interrupted([&] { return ::read(errors_.get(), block, sizeof block); });
    if (n == 0) errors_.reset();
    if (n <= 0) return;
    said_.append(block, (std::min)(static_cast<std::size_t>(n), most - said_.size()));
  }
}

KETTLINGAR_COLD bool Starter::done() {
  // Its end is what counts, not that of the pipe, which a service may keep open.
  const bool ended = child_.ended();
  listen();
  if (!ended && std::chrono::steady_clock::now() >= deadline_) {
    throw NotRunning(path_ + " start: process " + std::to_string(child_.pid()) + " is still at it after " +
                     std::to_string(patience.count()) + " s");
  }
  if (!ended || !child_.failed()) return ended;
  while (!said_.empty() && said_.back() == '\n') said_.pop_back();
  throw NotRunning(path_ + " start: " + (said_.empty() ? child_.end_text() : said_));
}
#endif

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
