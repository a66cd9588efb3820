// SPDX-License-Identifier: MIT
// base/log.ipp: lines of the log, and how many of them strangers can cause.
#pragma once

#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "log.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Makes lines of the form `2026-01-31 12:00:00,123 PID L [worker] text` and hands them to the sink. Without a sink
/// nothing is made or written. Not thread-safe: belongs to the thread of its service.
class Log {
 public:
  void set_sink(LogSink sink) { sink_ = std::move(sink); }
  bool has_sink() const noexcept { return static_cast<bool>(sink_); }
  void set_level(int level) noexcept { level_ = level; }
  void set_name(std::string name) { name_ = std::move(name); }

  /// True if a line of that level would be written; check it before building an expensive text.
  bool wants(LogLevel level) const noexcept { return sink_ && static_cast<int>(level) >= level_; }

  void write(LogLevel level, std::string_view text);

  // Lines that callers without the token can cause are bounded, all of them together, so that they cannot fill a disk.
  // Those of requests do not keep warnings and errors out, which may come as often.

  void set_bounds(std::size_t lines_per_second, std::size_t bytes_per_day) noexcept {
    lines_per_second_ = lines_per_second;
    bytes_per_day_ = bytes_per_day;
  }
  /// Whether such a line may be written. How many have been left out is counted for each `slug`, a static word, and
  /// said in the next line of that slug.
  bool admit(LogLevel level, std::string_view slug);
  /// What is said about that in another line of that slug; nothing if none has been left out.
  std::string left_out(std::string_view slug);
  /// Writes a line that was admitted.
  void write_admitted(LogLevel level, std::string_view slug, std::string text);
  /// The same at once.
  void write_bounded(LogLevel level, std::string_view slug, std::string_view text) {
    if (admit(level, slug)) write_admitted(level, slug, std::string(slug) + ": " + std::string(text));
  }

 private:
  LogSink sink_;
  int level_ = 0;
  std::string name_;
  std::int64_t second_ = -1;  ///< what `time_` is of
  std::string time_;

  std::size_t lines_per_second_ = 20;
  std::size_t bytes_per_day_ = std::size_t{8} * 1024 * 1024;
  std::int64_t admitting_second_ = -1;
  std::size_t lines_ = 0;     ///< admitted in that second
  std::size_t warnings_ = 0;  ///< the same of warnings and errors, which debug lines are not to hide
  std::int64_t day_begins_ = 0;
  std::size_t bytes_ = 0;  ///< of this day
  std::map<std::string_view, std::uint64_t> left_out_;
};

KETTLINGAR_INLINE void Log::write(LogLevel level, std::string_view text) {
  if (!wants(level)) return;
  timeval now{};
  ::gettimeofday(&now, nullptr);
  if (now.tv_sec != second_) {  // what costs most of a line is the same for all of a second
    tm local{};
    ::localtime_r(&now.tv_sec, &local);
    std::array<char, 64> time{};
    const int n = std::snprintf(time.data(), time.size(), "%04d-%02d-%02d %02d:%02d:%02d,", local.tm_year + 1900,
                                local.tm_mon + 1, local.tm_mday, local.tm_hour, local.tm_min, local.tm_sec);
    time_.assign(time.data(), static_cast<std::size_t>(n));
    second_ = now.tv_sec;
  }
  const auto milliseconds = static_cast<int>(now.tv_usec / 1000);
  std::string line = time_;
  for (const int unit : {100, 10, 1}) line += static_cast<char>('0' + milliseconds / unit % 10);
  line += ' ';
  line += std::to_string(::getpid());  // which is another one after a fork
  line += ' ';
  line += level == LogLevel::debug ? 'D' : level == LogLevel::info ? 'I' : level == LogLevel::warning ? 'W' : 'E';
  line += " [";
  line += name_;
  line += "] ";
  line += text;
  sink_(level, line);
}

KETTLINGAR_INLINE bool Log::admit(LogLevel level, std::string_view slug) {
  constexpr std::int64_t day = 24 * 60 * 60;
  if (!wants(level)) return false;
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  if (now.tv_sec != admitting_second_) lines_ = warnings_ = 0;
  admitting_second_ = now.tv_sec;
  if (bytes_ == 0 || now.tv_sec >= day_begins_ + day) {
    day_begins_ = now.tv_sec;
    bytes_ = 0;
  }
  std::size_t& lines = level < LogLevel::warning ? lines_ : warnings_;
  if (bytes_ >= bytes_per_day_ || lines >= lines_per_second_) {
    ++left_out_[slug];
    return false;
  }
  ++lines;
  return true;
}

KETTLINGAR_INLINE std::string Log::left_out(std::string_view slug) {
  const auto found = left_out_.find(slug);
  if (found == left_out_.end()) return {};
  const std::string said = " (" + std::to_string(found->second) + " more of these not logged)";
  left_out_.erase(found);
  return said;
}

KETTLINGAR_INLINE void Log::write_admitted(LogLevel level, std::string_view slug, std::string text) {
  text += left_out(slug);
  constexpr std::size_t beside = 64;  // what stands before the text
  bytes_ += text.size() + beside + name_.size();
  write(level, text);
  if (bytes_ >= bytes_per_day_)
    write(LogLevel::warning,
          "log: no more lines about strangers for a day, they have had " + std::to_string(bytes_) + " bytes");
}

}  // namespace detail

KETTLINGAR_INLINE std::string log_escaped(std::string_view text) {
  constexpr std::size_t longest = 200;
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out;
  for (const char c : text.substr(0, longest)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f && c != '"' && c != '\'' && c != '\\') {
      out += c;
    } else {
      out += "\\x";
      out += digits[byte >> 4];
      out += digits[byte & 15];
    }
  }
  if (text.size() > longest) out += "...";
  return out;
}

}  // namespace v0_1
}  // namespace kettlingar
