// SPDX-License-Identifier: MIT
// cli/terminal.ipp: what others have said, on its way to a terminal, which would obey some of it.
#pragma once

#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>

#include "../base/version.hpp"
#include "../os/descriptor.hpp"
#include "../wire/text.ipp"

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

/// `text` as it can be written to that descriptor: made visible if it is a terminal.
std::string shown_on(int fd, std::string_view text);

/// Writes all of `text` to standard output or standard error, as shown_on(); false with errno set if that fails.
bool show(int fd, std::string_view text);

/// A terminal on which lines can be drawn over.
bool is_screen(int fd);

/// How many columns the window has; 80 where nobody knows.
std::size_t columns_of(int fd);

/// As much of `text` as fits so many columns of one line; its line feeds and tabs become blanks.
std::string fitting(std::string_view text, std::size_t columns);

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

KETTLINGAR_COLD std::string shown_on(int fd, std::string_view text) {
  termios settings{};
  return ::tcgetattr(fd, &settings) == 0 ? visible(text, text_of(settings)) : std::string(text);
}

KETTLINGAR_COLD bool show(int fd, std::string_view text) { return write_all(fd, shown_on(fd, text)); }

KETTLINGAR_COLD bool is_screen(int fd) {
  const char* kind = std::getenv("TERM");
  return ::isatty(fd) == 1 && (kind == nullptr || std::string_view(kind) != "dumb");
}

KETTLINGAR_COLD std::size_t columns_of(int fd) {
  winsize window{};
  return ::ioctl(fd, TIOCGWINSZ, &window) == 0 && window.ws_col > 1 ? window.ws_col : 80;
}

/// The code point of a valid sequence.
inline std::uint32_t code_point(std::string_view sequence) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(sequence[i]); };
  if (sequence.size() == 1) return byte(0);
  std::uint32_t code = byte(0) & (0xFFU >> (sequence.size() + 1));
  for (std::size_t i = 1; i < sequence.size(); ++i) code = code << 6 | (byte(i) & 0x3FU);
  return code;
}

/// Two for the characters of East Asia and pictures, none for what goes onto the one before.
inline std::size_t width_of(std::uint32_t code) {
  static constexpr std::pair<std::uint32_t, std::uint32_t> none[] = {
      {0x300, 0x36F}, {0x200B, 0x200F}, {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}, {0xFE20, 0xFE2F}, {0xE0100, 0xE01EF}};
  static constexpr std::pair<std::uint32_t, std::uint32_t> two[] = {
      {0x1100, 0x115F},   {0x2E80, 0x303E},   {0x3041, 0xA4CF},  {0xA960, 0xA97F}, {0xAC00, 0xD7A3},
      {0xF900, 0xFAFF},   {0xFE30, 0xFE6F},   {0xFF00, 0xFF60},  {0xFFE0, 0xFFE6}, {0x16FE0, 0x18CFF},
      {0x1B000, 0x1B2FF}, {0x1F000, 0x1FAFF}, {0x20000, 0x3FFFD}};
  const auto holds = [code](const auto& range) { return code >= range.first && code <= range.second; };
  if (std::any_of(std::begin(none), std::end(none), holds)) return 0;
  return std::any_of(std::begin(two), std::end(two), holds) ? 2 : 1;
}

KETTLINGAR_COLD std::string fitting(std::string_view text, std::size_t columns) {
  std::string out;
  const char* const end = text.data() + text.size();
  for (const char* at = text.data(); at != end;) {
    const Utf8Step step = utf8_step(at, end);
    const std::string_view character(at, step.size);
    const std::size_t width = step.valid ? width_of(code_point(character)) : 1;
    if (width > columns) break;
    columns -= width;
    out += character == "\n" || character == "\t" ? " " : character;
    at += step.size;
  }
  return out;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
