// SPDX-License-Identifier: MIT
// cli/prompt.ipp: asks the person at the terminal what a method needs to know.
#pragma once

#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "../base/errors.hpp"
#include "../os/descriptor.hpp"
#include "terminal.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// The signals that end or stop a program, and that it can do something about before.
inline constexpr std::array ending_signals{SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGALRM, SIGPIPE,   SIGTSTP,
                                           SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2, SIGXCPU, SIGVTALRM, SIGPROF};

/// The one that came while a line was typed; 0 if none did.
inline volatile sig_atomic_t caught_signal = 0;

/// While it lives, standard input is the terminal of a person who types a line: the terminal edits it, by characters,
/// shows it unless it is `secret`, and signals interrupt the reading.
class LineInput {
 public:
  explicit LineInput(bool secret);
  ~LineInput();
  LineInput(const LineInput&) = delete;
  LineInput& operator=(const LineInput&) = delete;

  /// Without its end; nothing at the end of input, or if a signal came.
  std::optional<std::string> read_line();

 private:
  void set(const termios& settings) const;

  bool secret_;
  termios before_{};
  std::array<struct sigaction, ending_signals.size()> actions_{};
};

KETTLINGAR_COLD LineInput::LineInput(bool secret) : secret_(secret) {
  caught_signal = 0;
  struct sigaction note {};
  note.sa_handler = [](int number) { caught_signal = number; };  // and no SA_RESTART: read() comes back
  ::sigemptyset(&note.sa_mask);
  for (std::size_t i = 0; i < ending_signals.size(); ++i) {
    ::sigaction(ending_signals[i], nullptr, &actions_[i]);
    if (actions_[i].sa_handler != SIG_IGN) ::sigaction(ending_signals[i], &note, nullptr);
  }
  ::tcgetattr(STDIN_FILENO, &before_);
  termios typing = before_;
#if defined(IUTF8)
  // Otherwise a backspace would take away half a character.
  if (text_of(before_) == TerminalText::utf8) typing.c_iflag |= IUTF8;
#endif
  if (secret) typing.c_lflag &= ~static_cast<tcflag_t>(ECHO | ECHONL);
  set(typing);
}

KETTLINGAR_COLD LineInput::~LineInput() {
  set(before_);
  if (secret_) write_all(STDERR_FILENO, "\n");
  for (std::size_t i = 0; i < ending_signals.size(); ++i) ::sigaction(ending_signals[i], &actions_[i], nullptr);
}

/// Signals interrupt this, too, but that of being in the background says that it is not our turn.
KETTLINGAR_COLD void LineInput::set(const termios& settings) const {
  while (::tcsetattr(STDIN_FILENO, secret_ ? TCSAFLUSH : TCSADRAIN, &settings) != 0 && errno == EINTR &&
         caught_signal != SIGTTOU) {
  }
}

KETTLINGAR_COLD std::optional<std::string> LineInput::read_line() {
  std::string line;
  for (char c = 0; caught_signal == 0;) {
    const ssize_t n = ::read(STDIN_FILENO, &c, 1);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    if (c == '\n') return line;
    line += c;
  }
  return std::nullopt;
}

/// Asks for one variable on standard error, and returns what was typed. If a file is opened by that name, the prompt
/// says so, whatever the service says. Signals do what they would have done, with the terminal as it was; after a stop
/// (Ctrl-Z) it asks anew. Throws std::runtime_error at the end of input.
[[gnu::cold]] inline std::string ask(const NeededVariable& variable, bool opens_file) {
  const bool secret = variable.type.starts_with("pass") && !opens_file;
  std::string words = variable.comment;
  if (words.empty()) words = secret ? "Password" : variable.type.starts_with("user") ? "Username" : variable.name;
  if (opens_file) words = "Path of a file to open and pass on as '" + variable.name + "' (" + words + ")";
  for (;;) {
    std::optional<std::string> line;
    {
      LineInput input(secret);
      show(STDERR_FILENO, words + ": ");
      line = input.read_line();
    }
    if (line) return *std::move(line);
    if (caught_signal == 0) throw std::runtime_error("end of input at the prompt");
    ::raise(caught_signal);
  }
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
