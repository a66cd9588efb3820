// SPDX-License-Identifier: MIT
// os/state.ipp: where a service keeps its address and token, for its own user only.
#pragma once

#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "../base/errors.hpp"
#include "../base/version.hpp"
#include "descriptor.hpp"
#include "owned_file.ipp"
#include "publication.ipp"
#include "running_process.ipp"
#include "trusted_file.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// `text` as one component of a path or file name: not empty, no slash, no leading dot, no control characters.
inline bool safe_file_name(std::string_view text) {
  if (text.empty() || text.front() == '.' || text.size() > 100) return false;
  for (const char c : text) {
    if (c == '/' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return false;
  }
  return true;
}

/// The home directory: HOME, else the password file's. Throws StartError if there is none.
inline std::string home_directory() {
  if (const char* home = environment("HOME"); home != nullptr && *home == '/') return home;
  if (const UserEntry us(::geteuid()); us && us->pw_dir != nullptr) return us->pw_dir;
  throw StartError("no home directory: set HOME, or name the directories with --app-state-dir and --app-data-dir");
}

/// `$XDG_STATE_HOME/<app>` or `~/.local/state/<app>`: url files and sockets live there.
[[gnu::cold]] inline std::string default_state_directory(const std::string& app) {
  if (const char* base = environment("XDG_STATE_HOME"); base != nullptr && *base == '/')
    return std::string(base) + "/" + app;
  return home_directory() + "/.local/state/" + app;
}

/// `$XDG_DATA_HOME/<app>` or `~/.local/share/<app>`: configuration files live there.
[[gnu::cold]] inline std::string default_data_directory(const std::string& app) {
  if (const char* base = environment("XDG_DATA_HOME"); base != nullptr && *base == '/')
    return std::string(base) + "/" + app;
  return home_directory() + "/.local/share/" + app;
}

/// Makes `path`, missing parents included, with `mode`; an existing directory is left as it is. Throws StartError
/// unless it is a trusted directory then, no symbolic link, and without others who may put something there.
[[gnu::cold]] inline void require_private_directory(std::string path, mode_t mode = 0700) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  const std::string real = trusted_directory(path, mode);
  FileInfo info{};
  if (::lstat(path.c_str(), &info) != 0) throw StartError("cannot use " + path + ": " + std::strerror(errno));
  if (S_ISLNK(info.st_mode)) throw UntrustedFile("cannot use " + path + ": it is a symbolic link");
  if (others_may(real, info, S_IWOTH))
    throw UntrustedFile("cannot use " + path + ": others can write to it (try: chmod go-w " + path + ")");
}

/// Throws StartError if `path` is there and no regular file: writing it anew would put a file in the place of a device,
/// or of a link.
[[gnu::cold]] inline void require_regular_if_there(const std::string& path) {
  FileInfo info{};
  if (::lstat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode))
    throw StartError("cannot write " + path + ": it is not a regular file");
}

/// Writes a file that only its owner can read, whole or not at all: temporary file beside it, fsync, rename. It has to
/// be in a trusted directory. Returns which file it is now. One writer at a time. Throws StartError.
[[gnu::cold]] inline FileId write_private_file(const std::string& path, std::string_view content) {
  const std::string whole = absolute_path(path);
  if (trusted_directory(whole.substr(0, whole.rfind('/') + 1), 0, path).empty())
    throw StartError("cannot write " + path + ": " + std::strerror(errno));
  const std::string temporary = path + ".kettlingar.tmp";
  ::unlink(temporary.c_str());  // left by a process that was killed here
  Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  FileInfo info{};
  if (!fd || !write_all(fd.get(), content) || ::fsync(fd.get()) != 0 || ::fstat(fd.get(), &info) != 0 ||
      ::rename(temporary.c_str(), path.c_str()) != 0) {
    const int error = errno;
    if (fd) ::unlink(temporary.c_str());
    throw StartError("cannot write " + path + ": " + std::strerror(error));
  }
  return FileId(info);
}

/// What the lock file says of the process that holds it: a line with its number and start time; a line that ties it to
/// its url file, once there is one; and, behind an empty line and if the service is all that this process is for, the
/// words that it was started with, each ended by NUL.
struct LockHolder {
  bool held = false;
  std::string foreign;  ///< why it is not ours to look at, or cannot be looked at; empty if it can
  pid_t pid = 0;
  std::uint64_t started = 0;
  Publication publication;  ///< also of a process that was killed: then `held` is false
  bool whole_process = false;
  std::vector<std::string> words;
};

/// Held by the one running service of a name. The file goes with an orderly stop; after a crash the kernel has dropped
/// the lock.
class InstanceLock {
 public:
  /// Takes the lock, or leaves everything untouched: `held()` tells. Before it says so in the file it removes
  /// `stale_url`, which a killed service may have left. Throws StartError if that cannot be done.
  explicit InstanceLock(const std::string& path, const std::string& stale_url = {});
  InstanceLock() = default;

  bool held() const noexcept { return static_cast<bool>(fd_); }
  /// Says in the file that the service is all of this process, and what it was started with. False if that fails.
  bool remember(const std::vector<std::string>& words);
  /// Says in the file that the url file is ours. Throws StartError.
  void publish(const Publication& publication);
  /// Removes the file while the lock is held, then lets go.
  void release() noexcept {
    file_.remove();
    fd_.reset();
  }

 private:
  bool write() const;

  Fd fd_;
  OwnedFile file_;
  std::string path_;
  std::string head_;   ///< what the file says in any case
  std::string words_;  ///< and behind that
};

/// Looks at a lock file without waiting. For a moment that may take the lock itself, which an InstanceLock waits for.
LockHolder lock_holder(const std::string& path);

KETTLINGAR_COLD InstanceLock::InstanceLock(const std::string& path, const std::string& stale_url) {
  for (;;) {
    Fd fd = open_trusted(path, O_RDWR | O_CREAT);
    if (!fd) throw StartError("cannot open " + path + ": " + std::strerror(errno));
    const auto take = [&fd](int how) {
      return retry_interrupted([&] { return ::flock(fd.get(), how | LOCK_NB); }) == 0;
    };
    // Clients that look who has the lock hold it for a moment, all of them together.
    for (int tries = 1000; !take(LOCK_EX); ::poll(nullptr, 0, 2)) {
      const bool mere_looks = take(LOCK_SH);
      if (mere_looks) take(LOCK_UN);
      tries -= mere_looks ? 1 : 200;
      if (tries <= 0) return;
    }
    // Between open() and flock() the previous holder may have removed the file: a lock on a name nobody sees protects
    // nothing.
    FileInfo ours{};
    if (::fstat(fd.get(), &ours) != 0 || !same_file(path.c_str(), FileId(ours))) continue;
    fd_ = std::move(fd);
    file_ = OwnedFile(path, FileId(ours));
    path_ = path;
    break;
  }
  if (!stale_url.empty() && ::unlink(stale_url.c_str()) != 0 && errno != ENOENT)
    throw StartError("cannot replace " + stale_url + ": " + std::strerror(errno));
  const pid_t pid = ::getpid();
  head_ = std::to_string(pid) + " " + std::to_string(process_facts(pid).started) + "\n";
  if (::fchmod(fd_.get(), 0600) != 0 || !write())
    throw StartError("cannot write " + path + ": " + std::strerror(errno));
}

/// Written over what is there, not anew: what stays the same can be read all the time.
KETTLINGAR_COLD bool InstanceLock::write() const {
  const std::string text = head_ + words_;
  return ::lseek(fd_.get(), 0, SEEK_SET) == 0 && write_all(fd_.get(), text) &&
         ::ftruncate(fd_.get(), static_cast<off_t>(text.size())) == 0;
}

KETTLINGAR_COLD bool InstanceLock::remember(const std::vector<std::string>& words) {
  words_ = "\n";
  for (const std::string& word : words) words_ += word + '\0';
  return write();
}

KETTLINGAR_COLD void InstanceLock::publish(const Publication& publication) {
  head_.erase(head_.find('\n') + 1);
  head_ += publication.key + " " + publication.url_code + "\n";
  if (!write()) throw StartError("cannot write " + path_ + ": " + std::strerror(errno));
}

KETTLINGAR_COLD LockHolder lock_holder(const std::string& path) {
  constexpr std::size_t longest = 4 * 1024 * 1024;
  LockHolder holder;
  FileInfo ours{};
  Fd fd;
  try {
    fd = open_trusted(path, O_RDONLY);
  } catch (const StartError& error) {
    holder.foreign = error.what();
    return holder;
  }
  if (!fd && (errno == ENOENT || errno == ENOTDIR)) return holder;
  // Who cannot see whether there is one must not go on as if there were none.
  const auto unreadable = [&] {
    holder.foreign = "cannot read " + path + ": " + std::strerror(errno);
    return holder;
  };
  if (!fd && errno != EACCES) return unreadable();
  // Root's may be trusted, but is not ours.
  const bool seen = (fd ? ::fstat(fd.get(), &ours) : ::lstat(path.c_str(), &ours)) == 0;
  if (!fd || !seen || ours.st_uid != ::geteuid()) {
    holder.foreign =
        "cannot use " + path + ": " + (seen ? "it belongs to " + user_text(ours.st_uid) : std::strerror(EACCES));
    return holder;
  }
  holder.held = retry_interrupted([&] { return ::flock(fd.get(), LOCK_SH | LOCK_NB); }) != 0;
  if (!holder.held) {
    // Its name may have been given to a new file since.
    FileInfo named{};
    if (::lstat(path.c_str(), &named) == 0 && !(FileId(named) == FileId(ours))) return lock_holder(path);
  }
  std::string text;
  if (!read_all(fd.get(), text, longest)) return unreadable();
  const std::size_t line = text.find('\n') + 1;
  const std::string_view second = std::string_view(text).substr(line, text.find('\n', line) - line);
  if (const std::size_t space = second.find(' '); line != 0 && space != std::string_view::npos)
    holder.publication = {std::string(second.substr(0, space)), std::string(second.substr(space + 1))};
  if (!holder.held) return holder;
  const std::size_t head_end = text.find("\n\n");
  const char* const end = text.data() + text.size();
  const auto [blank, error] = std::from_chars(text.data(), end, holder.pid);
  if (error == std::errc{} && blank != end && *blank == ' ') std::from_chars(blank + 1, end, holder.started);
  holder.whole_process = head_end != std::string::npos;
  for (std::size_t at = head_end + 2; holder.whole_process && at < text.size();) {
    const std::size_t stop = (std::min)(text.find('\0', at), text.size());
    holder.words.push_back(text.substr(at, stop - at));
    at = stop + 1;
  }
  return holder;
}

/// True if the lock file is there and nobody holds it: its service was killed. False if there is none, as with Python
/// services.
inline bool lock_is_stale(const std::string& path) {
  const Fd fd = open_trusted(path, O_RDONLY);
  return fd && retry_interrupted([&] { return ::flock(fd.get(), LOCK_SH | LOCK_NB); }) == 0;
}

/// Removes a socket file that a killed service left behind. Call with the instance lock held. Throws StartError if the
/// name is taken by something that is not a socket of ours, which is left alone.
[[gnu::cold]] inline void remove_stale_socket(const std::string& path) {
  FileInfo info{};
  if (::lstat(path.c_str(), &info) != 0) return;
  if (!S_ISSOCK(info.st_mode))
    throw StartError("cannot listen on " + path + ": the name is taken by something that is not a socket");
  if (::unlink(path.c_str()) != 0) throw StartError("cannot replace " + path + ": " + std::strerror(errno));
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
