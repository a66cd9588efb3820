// SPDX-License-Identifier: MIT
// os/trusted_file.ipp: files and directories that other users can neither have put there nor change.
#pragma once

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/xattr.h>
#endif

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "../base/errors.hpp"
#include "../base/version.hpp"
#include "descriptor.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Another user owns a file, or could change it; or it is no regular file. The text names it and its owner.
class UntrustedFile : public StartError {
 public:
  using StartError::StartError;
};

/// A variable of the environment; nullptr if it is not set, or not to be believed: a setuid program's environment is
/// that of whoever called it.
inline const char* environment(const char* name) {
#if defined(__linux__)
  return ::secure_getenv(name);
#else
  return ::issetugid() != 0 ? nullptr : std::getenv(name);
#endif
}

/// `path` made absolute against the working directory; nothing else is resolved. Empty stays empty.
std::string absolute_path(const std::string& path);

/// An entry of the password file.
class UserEntry {
 public:
  explicit UserEntry(uid_t user) {
    passwd* found = nullptr;
    if (::getpwuid_r(user, &entry_, room_.data(), room_.size(), &found) != 0) found = nullptr;
    found_ = found != nullptr;
  }
  UserEntry(const UserEntry&) = delete;
  UserEntry& operator=(const UserEntry&) = delete;
  explicit operator bool() const noexcept { return found_; }
  const passwd* operator->() const noexcept { return &entry_; }
  const passwd& operator*() const noexcept { return entry_; }

 private:
  std::array<char, 8192> room_;
  passwd entry_{};
  bool found_ = false;
};

/// True for this process's user, and for root, who can do as it likes anyway.
inline bool trusted_user(uid_t user) { return user == 0 || user == ::geteuid(); }

/// True if `group` is the primary group of this process's user, and nobody else is in it: what systems with an umask of
/// 002 make for each user.
bool private_group(gid_t group);

/// The same for a user and its primary group, with the text of the password file. Such a group has its user's name:
/// others may have members that only a directory service on the network knows.
bool private_group(const passwd& user, const struct group& group, std::string_view password_file);

/// True if other users, root excepted, have one of the rights `rights` (S_IROTH, S_IWOTH) to `path`.
bool others_may(const std::string& path, const FileInfo& info, mode_t rights);

/// `user 1000 (jane)`
std::string user_text(uid_t user);

/// The directory `path`, with all symbolic links resolved. It and everything that leads to it belongs to this process's
/// user or to root, and nobody else can write to it, as ssh wants it; others may write to directories with the sticky
/// bit, where only its owner can replace an entry. In a user namespace that does not know the owner of the root
/// directory, this begins at the first directory of our own. With `create` as mode what is missing is made; without,
/// the result is empty with errno set if something is missing, or is no directory. Throws UntrustedFile, which names
/// `file` if there is one to be used in it, and StartError if it cannot be told or made.
std::string trusted_directory(const std::string& path, mode_t create = 0, const std::string& file = {});

/// Opens a regular file in a trusted directory; it belongs to us or to root, and nobody else can write to it. What is
/// not regular, symbolic links included, is not opened. Without waiting; close-on-exec; O_CREAT creates it for its
/// owner only. Invalid with errno set if it cannot be opened. Throws UntrustedFile, and StartError as
/// trusted_directory().
Fd open_trusted(const std::string& path, int flags);

/// True if others can read the open file `path`.
bool others_can_read(const std::string& path, int fd);

KETTLINGAR_COLD std::string absolute_path(const std::string& path) {
  if (path.empty() || path.front() == '/') return path;
  char* here = ::getcwd(nullptr, 0);
  if (here == nullptr) throw_errno("cannot tell the working directory");
  std::string result = std::string(here) + "/" + path;
  std::free(here);
  return result;
}

KETTLINGAR_COLD bool private_group(gid_t group) {
  const UserEntry us(::geteuid());
  if (!us || us->pw_gid != group) return false;
  std::array<char, 8192> room;
  struct group entry {};
  struct group* found = nullptr;
  if (::getgrgid_r(group, &entry, room.data(), room.size(), &found) != 0 || found == nullptr) return false;
  // Only this file can be walked through while other threads do so, too.
  const Fd users(retry_interrupted([] { return ::open("/etc/passwd", O_RDONLY | O_CLOEXEC); }));
  std::string text;
  return users && read_all(users.get(), text, 1024 * 1024) && private_group(*us, entry, text);
}

KETTLINGAR_COLD bool private_group(const passwd& user, const struct group& group, std::string_view password_file) {
  if (std::strcmp(group.gr_name, user.pw_name) != 0) return false;
  for (char** member = group.gr_mem; *member != nullptr; ++member) {
    if (std::strcmp(*member, user.pw_name) != 0) return false;
  }
  // Whose primary group it is does not count as a member there.
  const std::string ours = std::to_string(user.pw_uid);
  const std::string its = std::to_string(group.gr_gid);
  for (std::string_view rest = password_file; !rest.empty();) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix((std::min)(line.size() + 1, rest.size()));
    std::array<std::string_view, 4> fields;  // name, password, user, group
    for (std::string_view& field : fields) {
      field = line.substr(0, line.find(':'));
      line.remove_prefix((std::min)(field.size() + 1, line.size()));
    }
    if (fields[3] == its && fields[2] != ours && fields[2] != "0") return false;
  }
  return true;
}

KETTLINGAR_COLD bool others_may(const std::string& path, const FileInfo& info, mode_t rights) {
  if ((info.st_mode & rights) != 0) return true;
  if ((info.st_mode & (rights << 3)) == 0) return false;
#if defined(__linux__)
  // Then the bits of the group are what any user on the list may have at most.
  if (::lgetxattr(path.c_str(), "system.posix_acl_access", nullptr, 0) > 0) return true;
#endif
  return !private_group(info.st_gid);
}

KETTLINGAR_COLD std::string user_text(uid_t user) {
  const UserEntry entry(user);
  return "user " + std::to_string(user) + (entry ? " (" + std::string(entry->pw_name) + ")" : "");
}

/// Why what is at `path` cannot be trusted; empty if it can. `any_owner`: whoever owns it.
[[gnu::cold]] inline std::string distrust(const std::string& path, const FileInfo& info, bool any_owner = false) {
  if (!any_owner && !trusted_user(info.st_uid))
    return path + " belongs to " + user_text(info.st_uid) + ", and this process to " + user_text(::geteuid());
  const bool sticky = S_ISDIR(info.st_mode) && (info.st_mode & S_ISVTX) != 0;
  if (sticky || S_ISLNK(info.st_mode) || !others_may(path, info, S_IWOTH)) return {};
  return "others can write to " + path + " (try: chmod go-w " + path + ")";
}

/// False if nothing is there. Throws UntrustedFile where we may not look, which is another user's then, and StartError.
[[gnu::cold]] inline bool look_at(const std::string& path, FileInfo& info, const std::string& cannot) {
  if (::lstat(path.c_str(), &info) == 0) return true;
  if (errno == EACCES) throw UntrustedFile(cannot + path + ": " + std::strerror(errno));
  if (errno != ENOENT) throw StartError(cannot + path + ": " + std::strerror(errno));
  return false;
}

[[gnu::cold]] inline void make_directory(const std::string& path, mode_t mode, FileInfo& info) {
  if ((::mkdir(path.c_str(), mode) == 0 || errno == EEXIST) && ::lstat(path.c_str(), &info) == 0) return;
  throw StartError("cannot create directory " + path + ": " + std::strerror(errno) +
                   " (--app-state-dir and --app-data-dir name others)");
}

/// Empty if it cannot be told.
[[gnu::cold]] inline std::string link_target(const std::string& link) {
  std::array<char, 4096> target;
  const ssize_t n = ::readlink(link.c_str(), target.data(), target.size());
  if (n <= 0 || static_cast<std::size_t>(n) == target.size()) return {};
  return std::string(target.data(), static_cast<std::size_t>(n));
}

KETTLINGAR_COLD std::string trusted_directory(const std::string& path, mode_t create, const std::string& file) {
  // What has been looked at cannot be changed by others any more, so that it can be named in the next step.
  std::string rest = absolute_path(path);
  std::string done;
  const std::string cannot = "cannot use " + (file.empty() ? path : file) + ": ";
  FileInfo root{};
  FileInfo info{};
  look_at("/", root, cannot);
  const bool root_unknown = !trusted_user(root.st_uid);
  bool unknown = root_unknown;  // who owns what is above the first directory of ours
  bool shared = false;          // others can make entries in `done`, which then have to be ours
  std::string doubt = distrust("/", root, unknown);
  const auto require_trust = [&] {
    if (unknown && doubt.empty()) doubt = distrust("/", root);
    if (!doubt.empty()) throw UntrustedFile(cannot + doubt);
  };
  for (int links = 0; !rest.empty();) {
    const std::string name = rest.substr(0, rest.find('/'));
    rest.erase(0, name.size() + 1);
    if (name.empty() || name == ".") continue;
    if (name == "..") {
      done.erase((std::min)(done.rfind('/'), done.size()));
      continue;
    }
    const std::string next = done + "/" + name;
    if (!look_at(next, info, cannot)) {
      require_trust();
      errno = ENOENT;
      if (create == 0) return {};
      make_directory(next, create, info);
    }
    if (doubt.empty()) doubt = distrust(next, info, unknown && !shared);
    if (S_ISLNK(info.st_mode)) {
      const std::string target = link_target(next);
      if (target.empty() || ++links > 40) throw StartError(cannot + next + ": " + std::strerror(ELOOP));
      if (target.front() == '/') {
        done.clear();
        unknown = root_unknown;
        shared = false;
      }
      rest = target + "/" + rest;
      continue;
    }
    if (!S_ISDIR(info.st_mode)) {
      require_trust();
      errno = ENOTDIR;
      if (create == 0) return {};
      throw StartError(cannot + next + ": " + std::strerror(ENOTDIR));
    }
    done = next;
    unknown = unknown && info.st_uid != ::geteuid();
    shared = unknown && others_may(next, info, S_IWOTH);
  }
  require_trust();
  return done.empty() ? "/" : done;
}

/// Throws UntrustedFile unless it is a regular file that only we and root can have written.
[[gnu::cold]] inline void require_trusted(const std::string& path, const FileInfo& info) {
  std::string why;
  if (S_ISLNK(info.st_mode)) {
    why = "it is a symbolic link";
  } else if (!S_ISREG(info.st_mode)) {
    why = "it is not a regular file";
  } else {
    why = distrust(path, info);
  }
  if (!why.empty()) throw UntrustedFile("cannot use " + path + ": " + why);
}

KETTLINGAR_COLD Fd open_trusted(const std::string& path, int flags) {
  const std::string whole = absolute_path(path.empty() ? "." : path);
  const std::size_t slash = whole.rfind('/');
  const std::string directory = trusted_directory(whole.substr(0, slash == 0 ? 1 : slash), 0, path);
  Fd fd;
  if (directory.empty()) return fd;
  const std::string real = (directory == "/" ? "" : directory) + whole.substr(slash);
  FileInfo info{};
  // Before it is opened, for that alone can do something to a device; and once more, for it may be another by then.
  if (::lstat(real.c_str(), &info) == 0) require_trusted(path, info);
  flags |= O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  fd = Fd(retry_interrupted([&] { return ::open(real.c_str(), flags, 0600); }));
  if (!fd) return fd;
  if (::fstat(fd.get(), &info) != 0) throw_errno("cannot look at " + path);
  require_trusted(path, info);
  // A hard link to a file of ours that others have made, where they may.
  if ((flags & O_ACCMODE) != O_RDONLY && info.st_nlink > 1)
    throw UntrustedFile("cannot use " + path + ": the file has other names, too");
  return fd;
}

KETTLINGAR_COLD bool others_can_read(const std::string& path, int fd) {
  FileInfo info{};
  return ::fstat(fd, &info) != 0 || others_may(path, info, S_IROTH);
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
