// SPDX-License-Identifier: MIT
// os/owned_file.ipp: files that go when their owner goes, and with exit() at the latest.
#pragma once

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <string>
#include <utility>

#include "../base/version.hpp"
#include "descriptor.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// A file of ours that goes when we go, but only if the name still leads to it and not to a successor's. It belongs to
/// the process in which it was made: in a forked child nothing is removed. From any thread, one at a time.
class OwnedFile {
 public:
  OwnedFile() = default;
  OwnedFile(std::string path, const FileId& file);
  /// Takes over whatever `path` leads to now.
  explicit OwnedFile(std::string path);
  OwnedFile(OwnedFile&& other) noexcept : entry_(std::exchange(other.entry_, nullptr)) {}
  OwnedFile& operator=(OwnedFile&& other) noexcept {
    remove();
    entry_ = std::exchange(other.entry_, nullptr);
    return *this;
  }
  ~OwnedFile() { remove(); }

  void remove() noexcept;

  /// From now on exit() removes those that are there, after whatever ends later than this call. Once is enough.
  static void remove_at_exit() noexcept;

 private:
  struct Entry;
  struct Entries;

  static Entries& all() noexcept;
  static void remove_all() noexcept;

  Entry* entry_ = nullptr;
};

struct OwnedFile::Entry {
  std::string path;
  FileId file;
  pid_t process = ::getpid();
  Entry* next = nullptr;

  void unlink() const noexcept {
    if (same_file(path.c_str(), file)) ::unlink(path.c_str());
  }
};

struct OwnedFile::Entries {
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;  // not std::mutex, whose destructor exit() might have to call
  Entry* newest = nullptr;
  std::atomic<pid_t> process = 0;  ///< that the newest belongs to
  std::atomic<bool> at_exit = false;
};

KETTLINGAR_COLD OwnedFile::Entries& OwnedFile::all() noexcept {
  static Entries entries;
  return entries;
}

KETTLINGAR_COLD OwnedFile::OwnedFile(std::string path, const FileId& file) : entry_(new Entry{std::move(path), file}) {
  Entries& entries = all();
  ::pthread_mutex_lock(&entries.mutex);
  entries.process = entry_->process;
  entry_->next = std::exchange(entries.newest, entry_);
  ::pthread_mutex_unlock(&entries.mutex);
}

KETTLINGAR_COLD OwnedFile::OwnedFile(std::string path) {
  FileInfo info{};
  const FileId file = ::lstat(path.c_str(), &info) == 0 ? FileId(info) : FileId();
  *this = OwnedFile(std::move(path), file);
}

KETTLINGAR_COLD void OwnedFile::remove() noexcept {
  Entry* const gone = std::exchange(entry_, nullptr);
  if (gone == nullptr || gone->process != ::getpid()) return;
  Entries& entries = all();
  ::pthread_mutex_lock(&entries.mutex);
  Entry** link = &entries.newest;
  while (*link != gone) link = &(*link)->next;
  *link = gone->next;
  gone->unlink();
  ::pthread_mutex_unlock(&entries.mutex);
  delete gone;
}

KETTLINGAR_COLD void OwnedFile::remove_all() noexcept {
  Entries& entries = all();
  // In a forked child the mutex may be one that nobody gives back.
  if (entries.process != ::getpid()) return;
  ::pthread_mutex_lock(&entries.mutex);
  for (const Entry* entry = entries.newest; entry != nullptr; entry = entry->next) {
    if (entry->process == ::getpid()) entry->unlink();
  }
  ::pthread_mutex_unlock(&entries.mutex);
}

KETTLINGAR_COLD void OwnedFile::remove_at_exit() noexcept {
  if (!all().at_exit.exchange(true)) std::atexit([] { remove_all(); });
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
