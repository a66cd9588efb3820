// SPDX-License-Identifier: MIT
// base/log.ipp: the bodies of log.hpp.
#pragma once

#include "log.hpp"

namespace kettlingar {
inline namespace v0_1 {

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
