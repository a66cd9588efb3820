// SPDX-License-Identifier: MIT
// client/connect.ipp: where a service is, as its files say.
#pragma once

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <charconv>
#include <chrono>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "../base/errors.hpp"
#include "../base/limits.hpp"
#include "../base/version.hpp"
#include "../os/socket.ipp"
#include "../os/state.ipp"
#include "../service/settings.ipp"
#include "client_options.hpp"

namespace kettlingar {
inline namespace v0_1 {

namespace detail {

using Deadline = std::chrono::steady_clock::time_point;
inline constexpr Deadline no_deadline = (Deadline::max)();

/// None for no patience, which is as much as it takes, and for so much that nobody lives to see the end.
inline Deadline deadline_from(Deadline begin, std::chrono::milliseconds patience) {
  constexpr std::chrono::hours most(100 * 365 * 24);
  return patience.count() > 0 && patience < most ? begin + patience : no_deadline;
}

/// The files of a service may be another user's.
class UntrustedService : public ConnectionError {
 public:
  using ConnectionError::ConnectionError;
};

/// Where a service is, as its url file says.
struct ServiceAddress {
  std::string host;  ///< numeric; `unix-domain` without TCP
  std::uint16_t port = 0;
  std::string path;         ///< prefix and token, with a leading and no trailing slash
  std::string socket;       ///< path of the unix socket; may not exist
  Publication publication;  ///< of the lock file; empty if there is none, as with Python services
};

/// Reads `http://host:port/path`. Nothing if it is something else.
[[gnu::cold]] inline std::optional<ServiceAddress> parse_service_url(std::string_view url) {
  constexpr std::string_view scheme = "http://";
  while (!url.empty() && (url.back() == '\n' || url.back() == '\r' || url.back() == ' ' || url.back() == '/'))
    url.remove_suffix(1);
  if (!url.starts_with(scheme)) return std::nullopt;
  url.remove_prefix(scheme.size());
  const std::size_t slash = url.find('/');
  const std::size_t colon = url.substr(0, slash).rfind(':');
  if (slash == std::string_view::npos || colon == std::string_view::npos) return std::nullopt;
  ServiceAddress address;
  const std::string_view digits = url.substr(colon + 1, slash - colon - 1);
  const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), address.port);
  if (error != std::errc{} || stop != digits.data() + digits.size()) return std::nullopt;
  address.host = std::string(url.substr(0, colon));
  address.path = std::string(url.substr(slash));
  return address;
}

/// The files of one service.
struct ServiceFiles {
  /// Throws ConnectionError where nobody knows their directory.
  explicit ServiceFiles(const Settings& settings) try
      : name(settings.worker_name),
        url(url_file(settings)),
        socket(socket_file(settings)),
        lock(lock_file(settings)),
        open_page(open_page_file(settings)) {
  } catch (const StartError& error) {
    throw ConnectionError(error.what());
  }

  /// To throw when nobody listens: says whether a process has the name all the same.
  NotRunning not_running() const;
  /// To throw when whoever listens does not answer.
  NotRunning silent(const std::string& why) const;

  std::string name;  ///< for messages
  std::string url;
  std::string socket;
  std::string lock;
  std::string open_page;
};

/// Tells one version of a file from the next.
struct FileStamp {
  FileStamp() = default;
  explicit FileStamp(const FileInfo& info)
      : inode(info.st_ino),
        size(info.st_size),
#if defined(__APPLE__)
        modified(info.st_mtimespec.tv_sec * 1'000'000'000LL + info.st_mtimespec.tv_nsec),
        changed(info.st_ctimespec.tv_sec * 1'000'000'000LL + info.st_ctimespec.tv_nsec) {
  }
#else
        modified(info.st_mtim.tv_sec * 1'000'000'000LL + info.st_mtim.tv_nsec),
        changed(info.st_ctim.tv_sec * 1'000'000'000LL + info.st_ctim.tv_nsec) {
  }
#endif
  bool operator==(const FileStamp&) const = default;

  ino_t inode = 0;
  off_t size = -1;
  long long modified = 0;  ///< nanoseconds, as is `changed`
  long long changed = 0;
};

/// Reads the url file; `stamp` gets its version. Where there is a lock file, it is believed only if who holds the lock
/// has written it; a Python service, which has none, may have come after one of ours that was killed. Throws NotRunning
/// if there is none to be believed, ConnectionError if it is something else, UntrustedFile, StartError if its directory
/// cannot be looked at.
[[gnu::cold]] inline ServiceAddress read_service_address(const ServiceFiles& files, FileStamp* stamp = nullptr) {
  constexpr std::size_t longest = 4096;
  const Fd fd = open_trusted(files.url, O_RDONLY);
  if (!fd && (errno == ENOENT || errno == ENOTDIR)) throw files.not_running();
  if (!fd && errno == EACCES) throw UntrustedService("cannot use " + files.url + ": " + std::strerror(EACCES));
  FileInfo info{};
  std::string url;
  if (!fd || ::fstat(fd.get(), &info) != 0 || !read_all(fd.get(), url, longest))
    throw ConnectionError("cannot read " + files.url + ": " + std::strerror(errno));
  auto found = parse_service_url(url);
  // Python services write in place: for a moment there is nothing in it.
  if (!found && url.empty()) throw files.not_running();
  if (!found) throw ConnectionError(files.url + " is not the url file of a service: expected http://host:port/token");
  found->socket = files.socket;
  const LockHolder holder = lock_holder(files.lock);
  if (!holder.foreign.empty()) throw UntrustedService(holder.foreign);
  const bool its = holder.publication.covers(url);
  if (holder.held && !its) throw files.silent("it is not the one that has written " + files.url);
  if (!holder.held && its) throw files.not_running();
  if (holder.held) found->publication = holder.publication;
  if (stamp != nullptr) *stamp = FileStamp(info);
  return *std::move(found);
}

/// `Kitty: process 123 runs, but does not answer: ` and the like.
[[gnu::cold]] inline std::string describe_silence(const std::string& name, const std::string& lock,
                                                  const LockHolder& holder) {
  if (!holder.held) return name + ": does not answer: ";
  const RunningProcess process(holder.pid, holder.started);
  const std::string number = std::to_string(holder.pid);
  if (process.pid() == 0) {
    return name + ": process " + number + " has ended, but one that it has forked holds " + lock +
           " (fuser names it): ";
  }
  if (process.stopped())
    return name + ": process " + number + " is stopped by a signal, and does not answer (kill -CONT " + number + "): ";
  return name + ": process " + number + " runs, but does not answer: ";
}

KETTLINGAR_COLD NotRunning ServiceFiles::not_running() const {
  const LockHolder holder = lock_holder(lock);
  if (!holder.foreign.empty()) return NotRunning(name + ": " + holder.foreign, ServiceState::foreign);
  if (!holder.held) return NotRunning(name + ": Not running: Start it first?");
  FileInfo info{};
  const bool announced = ::lstat(url.c_str(), &info) == 0 && info.st_size > 0;
  return NotRunning(describe_silence(name, lock, holder) +
                        (announced ? "nobody listens where " + url + " says"
                                   : "there is no " + url + ", so it starts or ends, or somebody has removed the file"),
                    ServiceState::silent);
}

KETTLINGAR_COLD NotRunning ServiceFiles::silent(const std::string& why) const {
  return NotRunning(describe_silence(name, lock, lock_holder(lock)) + why, ServiceState::silent);
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
