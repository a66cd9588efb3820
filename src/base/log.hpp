// SPDX-License-Identifier: MIT
// base/log.hpp: one callback for everything the library has to say.
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

#include "version.hpp"

namespace kettlingar {
inline namespace v0_1 {

/// Levels with the numbers of `worker_log_level`; lines below that level are not made.
enum class LogLevel { debug = 10, info = 20, warning = 30, error = 40 };

/// Gets one finished line without its line end, on the thread of the service. Must not throw.
using LogSink = std::function<void(LogLevel level, std::string_view line)>;

/// `text` with control characters, quotes, backslashes and non-ASCII as \xNN, cut after 200 bytes: what a peer sent can
/// then neither forge log lines nor reach a terminal.
std::string log_escaped(std::string_view text);

/// Makes lines of the form `2026-01-31 12:00:00,123 PID L [worker] text` and hands them to the sink. Without a sink
/// nothing is made or written. Not thread-safe: belongs to the thread of its service.
class Log {
 public:
  void set_sink(LogSink sink) { sink_ = std::move(sink); }
  void set_level(int level) noexcept { level_ = level; }
  void set_name(std::string name) { name_ = std::move(name); }

  /// True if a line of that level would be written; check it before building an expensive text.
  bool wants(LogLevel level) const noexcept { return sink_ && static_cast<int>(level) >= level_; }

  void write(LogLevel level, std::string_view text);

  /// True at most 20 times a second for each `slug` (a static word), so that a flood of refusals cannot fill a disk.
  /// What was left out is counted in the next line of that slug.
  bool admit(std::string_view slug, std::string& suffix);

 private:
  struct Bucket {
    std::int64_t second = 0;
    int used = 0;
    std::uint64_t suppressed = 0;
  };

  LogSink sink_;
  int level_ = 0;
  std::string name_;
  std::int64_t second_ = -1;  ///< what `time_` and `process_` are of
  std::string time_;
  std::string process_;
  std::map<std::string_view, Bucket> buckets_;
};

#if KETTLINGAR_DEFINITIONS
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
    process_ = " " + std::to_string(::getpid()) + " ";
    second_ = now.tv_sec;
  }
  const auto milliseconds = static_cast<int>(now.tv_usec / 1000);
  std::string line = time_;
  for (const int unit : {100, 10, 1}) line += static_cast<char>('0' + milliseconds / unit % 10);
  line += process_;
  line += level == LogLevel::debug ? 'D' : level == LogLevel::info ? 'I' : level == LogLevel::warning ? 'W' : 'E';
  line += " [";
  line += name_;
  line += "] ";
  line += text;
  sink_(level, line);
}

KETTLINGAR_INLINE bool Log::admit(std::string_view slug, std::string& suffix) {
  constexpr int per_second = 20;
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  Bucket& bucket = buckets_[slug];
  if (bucket.second != now.tv_sec) {
    bucket.second = now.tv_sec;
    bucket.used = 0;
  }
  if (++bucket.used > per_second) {
    ++bucket.suppressed;
    return false;
  }
  if (bucket.suppressed != 0) {
    suffix = " (" + std::to_string(bucket.suppressed) + " more of these not logged)";
    bucket.suppressed = 0;
  }
  return true;
}

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
#endif

}  // namespace v0_1
}  // namespace kettlingar
