// SPDX-License-Identifier: MIT
// cli/terminal.hpp: what others have said, on its way to a terminal, which would obey some of it.
#pragma once

#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <string_view>

#include "../base/version.hpp"
#include "../os/descriptor.hpp"
#include "../wire/text.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// How a terminal reads what is written to it.
enum class TerminalText {
  utf8,
  eight_bit  ///< each byte by itself, so that half of a character may be a control character
};

/// `text` with what a terminal would obey shown instead, `\x1b` for ESC: control characters but tab and line feed, DEL,
/// those from U+0080 to U+009F, and bytes that are no UTF-8, which some take for the latter.
std::string visible(std::string_view text, TerminalText reads = TerminalText::utf8);

/// How many bytes at the end of `text` are the start of a character that goes on behind it.
std::size_t unfinished(std::string_view text);

/// Writes all of `text` to standard output or standard error, made visible if that is a terminal; false with errno set
/// if that fails.
bool show(int fd, std::string_view text);

#if KETTLINGAR_DEFINITIONS
KETTLINGAR_COLD std::string visible(std::string_view text, TerminalText reads) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out;
  const auto escape = [&](std::string_view bytes) {
    for (const char c : bytes) {
      const auto byte = static_cast<unsigned char>(c);
      out += "\\x";
      out += digits[byte >> 4];
      out += digits[byte & 15];
    }
  };
  const char* const end = text.data() + text.size();
  for (const char* at = text.data(); at != end;) {
    const Utf8Step step = utf8_step(at, end);
    const std::string_view character(at, step.size);
    const auto is_c1 = [](char c) { return (static_cast<unsigned char>(c) & 0xE0) == 0x80; };
    if (step.size == 1 && step.valid) {
      const char c = *at;
      const bool control = (static_cast<unsigned char>(c) < 0x20 && c != '\t' && c != '\n') || c == 0x7F;
      control ? escape(character) : out.push_back(c);
    } else if (!step.valid || (reads == TerminalText::eight_bit && std::any_of(at, at + step.size, is_c1))) {
      escape(character);
    } else if (step.size == 2 && at[0] == '\xC2' && is_c1(at[1])) {
      escape(character.substr(1));
    } else {
      out += character;
    }
    at += step.size;
  }
  return out;
}

KETTLINGAR_COLD std::size_t unfinished(std::string_view text) {
  for (std::size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if ((byte & 0xC0) == 0x80) continue;
    const std::size_t size = byte < 0xC0 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
    return size > back ? back : 0;
  }
  return 0;
}

/// Terminals say that they read UTF-8, or the locale does. One that names no character set says nothing: by far the
/// most terminals read UTF-8.
inline TerminalText text_of(const termios& settings) {
#if defined(IUTF8)
  if ((settings.c_iflag & IUTF8) != 0) return TerminalText::utf8;
#else
  static_cast<void>(settings);
#endif
  std::string_view locale;
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (locale.empty() && value != nullptr) locale = value;
  }
  const std::size_t dot = locale.find('.');
  if (dot == std::string_view::npos) return TerminalText::utf8;
  std::string charset;
  for (const char c : locale.substr(dot + 1, locale.find('@', dot) - dot - 1)) {
    if (c != '-') charset += static_cast<char>(c | 0x20);
  }
  return charset == "utf8" ? TerminalText::utf8 : TerminalText::eight_bit;
}

KETTLINGAR_COLD bool show(int fd, std::string_view text) {
  termios settings{};
  if (::tcgetattr(fd, &settings) != 0) return write_all(fd, text);
  return write_all(fd, visible(text, text_of(settings)));
}
#endif

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
