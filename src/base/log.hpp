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

/// Gets one finished line without its line end, on the thread of the service, or on one that starts or ends it. Must
/// not throw.
using LogSink = std::function<void(LogLevel level, std::string_view line)>;

/// `text` with control characters, quotes, backslashes and non-ASCII as \xNN, cut after 200 bytes: what a peer sent can
/// then neither forge log lines nor reach a terminal.
std::string log_escaped(std::string_view text);

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

}  // namespace v0_1
}  // namespace kettlingar
