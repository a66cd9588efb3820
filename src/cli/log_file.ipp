// SPDX-License-Identifier: MIT
// cli/log_file.ipp: the file that a service logs to, which stays as short as it is told to.
#pragma once

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

#include "../base/errors.hpp"
#include "../base/version.hpp"
#include "../os/descriptor.hpp"
#include "../os/trusted_file.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Appends lines to a file that others cannot have written. A line that would make it longer than `most_bytes` begins a
/// new one, and the file becomes `PATH.1`, in place of an older one of that name.
class LogFile {
 public:
  /// Throws StartError if it cannot be opened.
  LogFile(std::string path, std::size_t most_bytes) : path_(std::move(path)), most_bytes_(most_bytes), file_(open()) {
    if (!file_) throw StartError("cannot open " + path_ + ": " + std::strerror(errno));
  }

  /// A disk that is full costs log lines, not service.
  void write(std::string_view line);

 private:
  Fd open() const { return open_trusted(path_, O_WRONLY | O_CREAT | O_APPEND); }
  bool has_our_name() const noexcept;
  void begin_anew() noexcept;

  std::string path_;
  std::size_t most_bytes_;
  Fd file_;
};

KETTLINGAR_COLD void LogFile::write(std::string_view line) {
  FileInfo info{};
  if (::fstat(file_.get(), &info) == 0 && info.st_size > 0 &&
      static_cast<std::size_t>(info.st_size) + line.size() + 1 > most_bytes_)
    begin_anew();
  write_all(file_.get(), std::string(line) + "\n");
}

/// False if somebody else has moved it away, another service that logs to it for example.
KETTLINGAR_COLD bool LogFile::has_our_name() const noexcept {
  FileInfo ours{};
  return ::fstat(file_.get(), &ours) == 0 && same_file(path_.c_str(), FileId(ours));
}

/// Whatever happens, it gets no longer: where it cannot be renamed, or no other be made, it is emptied.
KETTLINGAR_COLD void LogFile::begin_anew() noexcept {
  try {
    if (!has_our_name() || ::rename(path_.c_str(), (path_ + ".1").c_str()) == 0) {
      if (Fd next = open()) file_ = std::move(next);
      if (has_our_name()) return;
    }
  } catch (const std::exception&) {
  }
  if (::ftruncate(file_.get(), 0) != 0) return;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
