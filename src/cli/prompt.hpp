// SPDX-License-Identifier: MIT
// cli/prompt.hpp: asks the person at the terminal what a method needs to know.
#pragma once

#include <termios.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <string_view>

#include "../base/errors.hpp"
#include "../os/descriptor.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Switches the terminal's echo off for as long as it lives.
class EchoOff {
 public:
  explicit EchoOff(bool wanted) : active_(wanted && ::tcgetattr(STDIN_FILENO, &before_) == 0) {
    if (!active_) return;
    termios silent = before_;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent);
  }
  ~EchoOff() {
    if (!active_) return;
    ::tcsetattr(STDIN_FILENO, TCSAFLUSH, &before_);
    write_all(STDERR_FILENO, "\n");
  }
  EchoOff(const EchoOff&) = delete;
  EchoOff& operator=(const EchoOff&) = delete;

 private:
  termios before_{};
  bool active_;
};

/// One line of standard input without its end; nothing at the end of input.
inline std::optional<std::string> read_line() {
  std::string line;
  for (char c = 0;;) {
    const ssize_t n = retry_interrupted([&] { return ::read(STDIN_FILENO, &c, 1); });
    if (n <= 0) return std::nullopt;
    if (c == '\n') return line;
    line += c;
  }
}

/// Asks for one variable on standard error. An empty answer means its default. Throws ConnectionError at the end of input.
inline json ask(const NeededVariable& variable) {
  const bool secret = variable.type.starts_with("pass");
  std::string words = variable.comment;
  if (words.empty()) words = secret ? "Password" : variable.type.starts_with("user") ? "Username" : variable.name;
  write_all(STDERR_FILENO, words + ": ");
  const EchoOff quiet(secret);
  const auto line = read_line();
  if (!line) throw std::runtime_error("end of input at the prompt");
  return line->empty() ? variable.fallback : json(*line);
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
