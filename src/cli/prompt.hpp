// SPDX-License-Identifier: MIT
// cli/prompt.hpp: asks the person at the terminal what a method needs to know.
#pragma once

#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "../base/errors.hpp"
#include "../os/descriptor.hpp"
#include "terminal.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// While it lives, keys reach us one by one and are not shown. Ctrl-C then is a key like others, so that the terminal
/// is set right again before anything ends.
class SecretInput {
 public:
  explicit SecretInput(bool wanted) : active_(wanted && ::tcgetattr(STDIN_FILENO, &before_) == 0) {
    if (!active_) return;
    termios silent = before_;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO | ICANON | ISIG);
    ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
  }
  ~SecretInput() { restore(); }
  SecretInput(const SecretInput&) = delete;
  SecretInput& operator=(const SecretInput&) = delete;

  void restore() {
    if (!std::exchange(active_, false)) return;
    ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &before_);
    write_all(STDERR_FILENO, "\n");
  }
  bool active() const noexcept { return active_; }

 private:
  termios before_{};
  bool active_;
};

/// One line of standard input without its end; nothing at the end of input.
[[gnu::cold]] inline std::optional<std::string> read_line(SecretInput& secret) {
  constexpr char interrupt = 3, end_of_input = 4, backspace = 8, erase_line = 21, del = 127;
  std::string line;
  for (char c = 0;;) {
    const ssize_t n = retry_interrupted([&] { return ::read(STDIN_FILENO, &c, 1); });
    if (n <= 0 || (secret.active() && c == end_of_input)) return std::nullopt;
    if (c == '\n' || (secret.active() && c == '\r')) return line;
    if (secret.active() && c == interrupt) {
      secret.restore();
      ::raise(SIGINT);
    } else if (secret.active() && (c == backspace || c == del)) {
      if (!line.empty()) line.pop_back();
    } else if (secret.active() && c == erase_line) {
      line.clear();
    } else {
      line += c;
    }
  }
}

/// Asks for one variable on standard error, and returns what was typed. If a file is opened by that name, the prompt
/// says so, whatever the service says. Throws std::runtime_error at the end of input.
[[gnu::cold]] inline std::string ask(const NeededVariable& variable, bool opens_file) {
  const bool secret = variable.type.starts_with("pass") && !opens_file;
  std::string words = variable.comment;
  if (words.empty()) words = secret ? "Password" : variable.type.starts_with("user") ? "Username" : variable.name;
  if (opens_file) words = "Path of a file to open and pass on as '" + variable.name + "' (" + words + ")";
  show(STDERR_FILENO, words + ": ");
  SecretInput quiet(secret);
  auto line = read_line(quiet);
  if (!line) throw std::runtime_error("end of input at the prompt");
  return *std::move(line);
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
