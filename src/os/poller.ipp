// SPDX-License-Identifier: MIT
// os/poller.ipp: one watch over many sockets: epoll, or kqueue on BSD and macOS, edge-triggered.
#pragma once

#if defined(__linux__)
#include <sys/epoll.h>
#else
#include <sys/event.h>
#endif
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <ctime>
#include <system_error>
#include <vector>

#include "../base/version.hpp"
#include "../os/descriptor.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Watches sockets for reading, writing and hang-up. Each is registered once; it tells of changes only, so whoever is
/// told reads or writes until nothing more comes or goes, or remembers that there is more to do.
///
/// For one thread. It belongs to the process that made it: a forked child shares the kernel's set, and must neither
/// collect from it nor change it. There nothing happens.
class Poller {
 public:
  /// What has happened to a socket; several of them at once.
  enum : unsigned {
    readable = 1,
    writable = 2,
    ended = 4,  ///< the peer sends nothing more
    broken = 8  ///< the connection is closed in both directions, or has failed
  };

  /// Is told of one socket. Not before add() has returned, and not after remove().
  class Watcher {
   public:
    virtual void ready(unsigned what) = 0;

   protected:
    ~Watcher() = default;
  };

  /// A place in the set.
  using Ticket = std::uint32_t;

  /// Throws std::system_error.
  Poller();

  /// Readable when collect() would find something. For a loop to wait for.
  int descriptor() const noexcept { return set_.get(); }

  /// Begins to watch `fd`, which stays the caller's, and `watcher`, until remove(). Throws std::system_error for what
  /// cannot be watched, as regular files, and std::bad_alloc.
  Ticket add(int fd, Watcher& watcher);
  /// Nothing more is told, not even what was collected before. To be called before `fd` is closed: as long as others
  /// have the same open socket, the kernel would go on to watch it.
  void remove(int fd, Ticket ticket) noexcept;

  /// Fetches what has happened since, without waiting, at most `batch_size` sockets. Only when next() has none left.
  /// Returns true if there may be more.
  bool collect() noexcept;
  /// Tells the watcher of the next one of the batch; false if there is none.
  bool next();
  bool has_next() const noexcept { return at_ < count_; }

 private:
  static constexpr std::size_t batch_size = 64;

#if defined(__linux__)
  using Event = epoll_event;
#else
  using Event = struct kevent;
#endif
  struct Place {
    Watcher* watcher = nullptr;
    std::uint32_t use = 0;  ///< so many times it has been given away: what is told of an earlier one is dropped
  };

  bool elsewhere() const noexcept { return process_ != ::getpid(); }
  static std::uint64_t key_of(const Event& event) noexcept;
  static unsigned what_of(const Event& event) noexcept;
  int change(int fd, std::uint64_t key, bool add) noexcept;

  Fd set_;
  const pid_t process_ = ::getpid();
  std::vector<Place> places_;
  std::vector<Ticket> free_;
  std::array<Event, batch_size> batch_;
  std::size_t at_ = 0;
  std::size_t count_ = 0;
};

#if defined(__linux__)

KETTLINGAR_COLD Poller::Poller() : set_(::epoll_create1(EPOLL_CLOEXEC)) {
  if (!set_) throw_errno("cannot watch sockets");
}

KETTLINGAR_INLINE std::uint64_t Poller::key_of(const Event& event) noexcept { return event.data.u64; }

KETTLINGAR_INLINE unsigned Poller::what_of(const Event& event) noexcept {
  unsigned what = 0;
  if ((event.events & EPOLLIN) != 0) what |= readable;
  if ((event.events & EPOLLOUT) != 0) what |= writable;
  if ((event.events & EPOLLRDHUP) != 0) what |= ended;
  if ((event.events & (EPOLLHUP | EPOLLERR)) != 0) what |= broken;
  return what;
}

KETTLINGAR_INLINE int Poller::change(int fd, std::uint64_t key, bool add) noexcept {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.u64 = key;
  return ::epoll_ctl(set_.get(), add ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, fd, &event);
}

KETTLINGAR_INLINE bool Poller::collect() noexcept {
  at_ = count_ = 0;
  if (elsewhere()) return false;
  const int n = ::epoll_wait(set_.get(), batch_.data(), static_cast<int>(batch_size), 0);
  count_ = n > 0 ? static_cast<std::size_t>(n) : 0;
  return count_ == batch_size || (n < 0 && errno == EINTR);
}

#else

KETTLINGAR_COLD Poller::Poller() : set_(::kqueue()) {
  if (!set_) throw_errno("cannot watch sockets");
  ::fcntl(set_.get(), F_SETFD, FD_CLOEXEC);
}

KETTLINGAR_INLINE std::uint64_t Poller::key_of(const Event& event) noexcept {
  return static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(event.udata));
}

KETTLINGAR_INLINE unsigned Poller::what_of(const Event& event) noexcept {
  unsigned what = event.filter == EVFILT_READ ? readable : writable;
  if ((event.flags & EV_EOF) != 0) what |= event.filter == EVFILT_READ ? ended : broken;
  if ((event.flags & EV_ERROR) != 0 || ((event.flags & EV_EOF) != 0 && event.fflags != 0)) what |= broken;
  return what;
}

KETTLINGAR_INLINE int Poller::change(int fd, std::uint64_t key, bool add) noexcept {
  void* const data = reinterpret_cast<void*>(static_cast<std::uintptr_t>(key));
  std::array<struct kevent, 2> changes;
  const auto flags = static_cast<unsigned short>(add ? EV_ADD | EV_CLEAR : EV_DELETE);
  EV_SET(&changes[0], fd, EVFILT_READ, flags, 0, 0, data);
  EV_SET(&changes[1], fd, EVFILT_WRITE, flags, 0, 0, data);
  return ::kevent(set_.get(), changes.data(), 2, nullptr, 0, nullptr);
}

KETTLINGAR_INLINE bool Poller::collect() noexcept {
  at_ = count_ = 0;
  if (elsewhere()) return false;
  const timespec at_once{};
  const int n = ::kevent(set_.get(), nullptr, 0, batch_.data(), static_cast<int>(batch_size), &at_once);
  count_ = n > 0 ? static_cast<std::size_t>(n) : 0;
  return count_ == batch_size || (n < 0 && errno == EINTR);
}

#endif

// A key has the ticket in its lower half and the use in the other; pointers of 32 bits have room for 65,536 sockets.
inline constexpr unsigned poller_key_bits = sizeof(void*) >= 8 ? 32 : 16;
inline constexpr std::uint64_t poller_key_mask = (std::uint64_t{1} << poller_key_bits) - 1;

KETTLINGAR_INLINE Poller::Ticket Poller::add(int fd, Watcher& watcher) {
  if (elsewhere()) throw_errno("cannot watch a socket of another process", EPERM);
  if (free_.empty()) {
    // Room for all tickets: remove() must not fail.
    free_.reserve(places_.size() + 1);
    free_.push_back(static_cast<Ticket>(places_.size()));
    try {
      places_.emplace_back();
    } catch (...) {
      free_.pop_back();
      throw;
    }
  }
  const Ticket ticket = free_.back();
  Place& place = places_[ticket];
  const std::uint64_t key = (std::uint64_t{place.use} & poller_key_mask) << poller_key_bits | ticket;
  if (ticket > poller_key_mask || change(fd, key, true) != 0) throw_errno("cannot watch a descriptor");
  free_.pop_back();
  place.watcher = &watcher;
  return ticket;
}

KETTLINGAR_INLINE void Poller::remove(int fd, Ticket ticket) noexcept {
  Place& place = places_[ticket];
  if (place.watcher == nullptr) return;
  place.watcher = nullptr;
  ++place.use;
  free_.push_back(ticket);
  if (!elsewhere()) change(fd, 0, false);
}

KETTLINGAR_INLINE bool Poller::next() {
  while (at_ < count_) {
    const Event& event = batch_[at_++];
    const std::uint64_t key = key_of(event);
    const Place& place = places_[key & poller_key_mask];
    if (place.watcher == nullptr || (place.use & poller_key_mask) != key >> poller_key_bits) continue;
    place.watcher->ready(what_of(event));
    return true;
  }
  return false;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
