// SPDX-License-Identifier: MIT
// client/starter.ipp: how a client starts a service.
#pragma once

#include <fcntl.h>
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "../base/errors.hpp"
#include "../base/log.hpp"
#include "../base/version.hpp"
#include "../os/descriptor.hpp"
#include "../os/process.ipp"
#include "../os/trusted_file.ipp"
#include "../service/hidden_words.ipp"
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
  HiddenWords words;                           ///< options
  std::string name;                            ///< `APP/WORKER`
  std::chrono::milliseconds patience{10'000};  ///< until it has to be found once the program has started it
};

/// A program on its way through `start`, and through `stop` again where it has become something else.
class Starter {
 public:
  /// Runs it; it inherits nothing of ours but the working directory, the environment, and the secrets that its words
  /// leave out. Throws NotRunning. `plan` has to stay.
  explicit Starter(const StartPlan& plan);

  /// True when it has ended well; does not wait. Throws NotRunning if it has failed, with what it said on standard
  /// error, or takes longer than a minute.
  bool done();
  /// After that: stops what was started, and that only; true when that is over. Does not wait. Throws NotRunning.
  bool undone();
  /// What was stopped, in its own words, for the end of a message; empty if nothing was.
  std::string stopped() const;

 private:
  using Clock = std::chrono::steady_clock;

  void listen();

  const StartPlan& plan_;
  std::string path_;
  Fd words_;  ///< of the program
  std::optional<ChildProcess> start_;
  std::optional<ChildProcess> stop_;
  bool left_some_ = false;
  Clock::time_point deadline_ = Clock::now() + patience;
  std::string said_;

  static constexpr std::chrono::seconds patience{60};
};

/// Runs the program with this command; what it says goes to `said`. Throws NotRunning.
[[gnu::cold]] inline ChildProcess run_program(const StartPlan& plan, const std::string& path, const char* command,
                                              Fd ChildProgram::*stream, Fd& said) {
  try {
    ChildProgram program;
    program.path = path;
    program.words.push_back(path);
    for (const auto* words : {&plan.how.command_prefix, &plan.words.words})
      program.words.insert(program.words.end(), words->begin(), words->end());
    program.words.push_back(command);
    program.variables.push_back(std::string(started_as) + "=" + plan.name);
    program.secrets = filled_pipe(plan.words.secrets);
    Pipe pipe = make_pipe();
    program.*stream = std::move(pipe.writer);
    ::fcntl(pipe.reader.get(), F_SETFL, O_NONBLOCK);
    said = std::move(pipe.reader);
    return ChildProcess(program);
  } catch (const StartError& error) {
    throw NotRunning(plan.name + ": " + error.what());
  }
}

KETTLINGAR_COLD Starter::Starter(const StartPlan& plan)
    : plan_(plan), path_(plan.how.program.empty() ? executable_path("") : plan.how.program) {
  const char* mark = environment(started_as);
  if (mark != nullptr && plan.name == mark) {
    throw NotRunning(plan.name +
                     ": Not running: this program was started to be it, but does not end in Kitten::main()");
  }
  start_ = run_program(plan_, path_, "start", &ChildProgram::errors, words_);
}

KETTLINGAR_COLD void Starter::listen() {
  constexpr std::size_t most = 4096;
  char block[512];
  while (words_) {
    const ssize_t n = retry_interrupted([&] { return ::read(words_.get(), block, sizeof block); });
    if (n == 0) words_.reset();
    if (n <= 0) break;
    said_.append(block, (std::min)(static_cast<std::size_t>(n), most - said_.size()));
  }
  while (!said_.empty() && said_.back() == '\n') said_.pop_back();
}

KETTLINGAR_COLD bool Starter::done() {
  // Its end is what counts, not that of the pipe, which a service may keep open.
  const bool ended = start_->ended();
  listen();
  if (!ended && Clock::now() >= deadline_) {
    throw NotRunning(path_ + " start: process " + std::to_string(start_->pid()) + " is still at it after " +
                     std::to_string(patience.count()) + " s");
  }
  if (!ended || !start_->failed()) {
    left_some_ = ended && start_->left_some();
    return ended;
  }
  throw NotRunning(path_ + " start: " + (said_.empty() ? start_->end_text() : said_));
}

// Services of ours do not start under another name. Python's do, as children of the program, which knows best how to
// stop them, and says which they are. What ran before is no child of it.
KETTLINGAR_COLD bool Starter::undone() {
  constexpr std::chrono::seconds longest(5);
  if (!stop_) {
    if (!left_some_ || !start_->left_some()) return true;
    said_.clear();
    stop_ = run_program(plan_, path_, "stop", &ChildProgram::output, words_);
    deadline_ = Clock::now() + longest;
  }
  const bool ended = stop_->ended();
  listen();
  if (ended && !start_->left_some()) return true;
  if (Clock::now() < deadline_) return false;
  start_->end_those_left();
  return true;
}

KETTLINGAR_COLD std::string Starter::stopped() const {
  if (!stop_) return {};
  return "; " + path_ + " has started something else, which was stopped again" +
         (said_.empty() ? "" : " (" + log_escaped(said_) + ")");
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
