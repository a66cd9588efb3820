// SPDX-License-Identifier: MIT
// shim.cpp: system calls that fail, or do less than they were asked to. Compiles alone:
//
//   g++ -std=c++20 -shared -fPIC shim.cpp -o shim.so -ldl        for any program: LD_PRELOAD=./shim.so program
//   g++ -std=c++20 program.cpp shim.cpp                          for one that decides itself when, by shim.hpp
//
// From the environment:
//
//   FAULTS_SHORT=SEED    reads and writes of stream sockets, blocking pipes and files move a byte, or a few; calls are
//                        interrupted (EINTR) at random, and what must not wait has sometimes nothing to do (EAGAIN)
//   FAULTS_GENTLE=1      with it, what waits is not interrupted: for programs that do not expect it in calls of theirs
//   FAULTS_FAIL=NAME:N   the N-th call of NAME fails, once: FAULTS_FAIL=accept4:3
//   FAULTS_CLOCK=S       the wall clock is S seconds ahead and S seconds behind by turns
//
// For Linux with glibc.
#include "shim.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <string>

namespace {

// Static objects of this file may be used before their turn comes: these need no initialisation.
std::atomic<const std::string_view*> armed{nullptr};
std::atomic<long> wanted{0};
std::atomic<long> counted{0};
std::atomic<bool> happened{false};
std::atomic<std::uint64_t> randomness{0};

const char* from_environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : nullptr;
}

bool is_short() {
  static const char* const seed = from_environment("FAULTS_SHORT");
  return seed != nullptr;
}

// The same numbers for the same seed as far as threads take turns.
std::uint64_t next_random() {
  static const std::uint64_t seed = std::strtoull(from_environment("FAULTS_SHORT"), nullptr, 10);
  std::uint64_t x = (randomness.fetch_add(1) + seed * 0x10001) * 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

bool now_and_then(unsigned n) { return next_random() % n == 0; }

// Mostly a byte; if it were always, a megabyte would take minutes.
std::size_t little(std::size_t size) {
  if (size <= 1 || !now_and_then(4)) return size == 0 ? 0 : 1;
  const std::size_t most = 1 + next_random() % 4096;
  return most < size ? most : size;
}

bool is_gentle() {
  static const bool gentle = from_environment("FAULTS_GENTLE") != nullptr;
  return gentle;
}

bool interrupted(bool waits = false) {
  if (!is_short() || (waits && is_gentle()) || !now_and_then(8)) return false;
  errno = EINTR;
  return true;
}

bool waits(int fd, int flags) { return (flags & MSG_DONTWAIT) == 0 && (::fcntl(fd, F_GETFL) & O_NONBLOCK) == 0; }

// A loop that watches a descriptor edge by edge takes EAGAIN, and less than it has asked for, as the end of what there
// is. Where that was not true it has to hear of the rest.
struct Watch {
  int epoll = -1;
  epoll_event event{};
};
std::mutex watches_lock;
std::array<Watch, 65536> watches;

template <class F>
F next(const char* name) {
  return reinterpret_cast<F>(::dlsym(RTLD_NEXT, name));
}

int real_epoll_ctl(int epoll, int operation, int fd, epoll_event* event) {
  static const auto real = next<int (*)(int, int, int, epoll_event*)>("epoll_ctl");
  return real(epoll, operation, fd, event);
}

void look_again(int fd) {
  if (fd < 0 || static_cast<std::size_t>(fd) >= watches.size()) return;
  const std::lock_guard lock(watches_lock);
  Watch& watch = watches[static_cast<std::size_t>(fd)];
  if (watch.epoll >= 0) real_epoll_ctl(watch.epoll, EPOLL_CTL_MOD, fd, &watch.event);
}

bool would_block(int fd, int flags) {
  if (!is_short() || !now_and_then(8)) return false;
  // To a peek, "nothing is there" is an answer, and would be a wrong one.
  if (waits(fd, flags) || (flags & MSG_PEEK) != 0) return false;
  look_again(fd);
  errno = EAGAIN;
  return true;
}

bool is_stream_socket(int fd) {
  int type = 0;
  socklen_t size = sizeof type;
  return ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
}

// Not eventfds, timers and non-blocking pipes: what wakes Asio carries whole numbers, which come whole or not at all.
bool carries_data(int fd) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return false;
  if (S_ISFIFO(info.st_mode)) return (::fcntl(fd, F_GETFL) & O_NONBLOCK) == 0;
  return S_ISREG(info.st_mode) || S_ISCHR(info.st_mode) || is_stream_socket(fd);
}

std::size_t shortened(int fd, std::size_t size) {
  return is_short() && size > 1 && carries_data(fd) ? little(size) : size;
}

msghdr shortened(int fd, const msghdr& message, iovec& part) {
  msghdr shorter = message;
  if (message.msg_iovlen == 0 || !is_short() || !is_stream_socket(fd)) return shorter;
  part = message.msg_iov[0];
  part.iov_len = little(part.iov_len);
  shorter.msg_iov = &part;
  shorter.msg_iovlen = 1;
  return shorter;
}

bool fails_with(std::string_view name, int error) {
  if (!faults::fails(name)) return false;
  errno = error;
  return true;
}

// By turns, so that both directions are seen.
long clock_error() {
  static const long seconds = from_environment("FAULTS_CLOCK") ? std::atol(from_environment("FAULTS_CLOCK")) : 0;
  static std::atomic<unsigned> turn{0};
  return seconds == 0 ? 0 : turn.fetch_add(1) % 2 == 0 ? seconds : -seconds;
}

__attribute__((constructor)) void arm_from_environment() {
  const char* order = from_environment("FAULTS_FAIL");
  if (order == nullptr) return;
  const std::string_view text(order);
  const std::size_t colon = text.find(':');
  faults::fail(text.substr(0, colon), colon == text.npos ? 1 : std::atol(order + colon + 1));
}

}  // namespace

namespace faults {

const std::vector<std::string_view>& names() {
  static const std::vector<std::string_view> all{
      "memory",  "socket",         "accept4",     "recvmsg",     "sendmsg",       "recv",  "send",          "read",
      "write",   "open",           "connect",     "bind",        "listen",        "mkdir", "rename",        "fsync",
      "flock",   "ftruncate",      "fchmod",      "pipe",        "poll",          "fcntl", "epoll_create1", "epoll_ctl",
      "eventfd", "timerfd_create", "getsockname", "getpeername", "pthread_create"};
  return all;
}

void fail(std::string_view name, long nth) {
  disarm();
  for (const std::string_view& known : names()) {
    if (known != name) continue;
    wanted = nth;
    counted = 0;
    happened = false;
    armed = &known;
    return;
  }
  std::abort();  // a name that nothing here has
}

long disarm() {
  armed = nullptr;
  return counted;
}

bool fired() { return happened; }

bool fails(std::string_view name) {
  const std::string_view* const which = armed.load();
  if (which == nullptr || *which != name) return false;
  if (counted.fetch_add(1) + 1 != wanted) return false;
  happened = true;
  return true;
}

}  // namespace faults

// ---- the calls, with the exception specifications that the system's headers give them

extern "C" {

int socket(int family, int type, int protocol) noexcept {
  static const auto real = next<int (*)(int, int, int)>("socket");
  return fails_with("socket", EMFILE) ? -1 : real(family, type, protocol);
}

int accept4(int fd, sockaddr* address, socklen_t* size, int flags) {
  static const auto real = next<int (*)(int, sockaddr*, socklen_t*, int)>("accept4");
  if (fails_with("accept4", EMFILE) || interrupted(waits(fd, 0))) return -1;
  return real(fd, address, size, flags);
}

int connect(int fd, const sockaddr* address, socklen_t size) {
  static const auto real = next<int (*)(int, const sockaddr*, socklen_t)>("connect");
  return fails_with("connect", ECONNREFUSED) ? -1 : real(fd, address, size);
}

int bind(int fd, const sockaddr* address, socklen_t size) noexcept {
  static const auto real = next<int (*)(int, const sockaddr*, socklen_t)>("bind");
  return fails_with("bind", EADDRINUSE) ? -1 : real(fd, address, size);
}

int listen(int fd, int backlog) noexcept {
  static const auto real = next<int (*)(int, int)>("listen");
  return fails_with("listen", EADDRINUSE) ? -1 : real(fd, backlog);
}

int getsockname(int fd, sockaddr* address, socklen_t* size) noexcept {
  static const auto real = next<int (*)(int, sockaddr*, socklen_t*)>("getsockname");
  return fails_with("getsockname", ENOBUFS) ? -1 : real(fd, address, size);
}

int getpeername(int fd, sockaddr* address, socklen_t* size) noexcept {
  static const auto real = next<int (*)(int, sockaddr*, socklen_t*)>("getpeername");
  return fails_with("getpeername", ENOTCONN) ? -1 : real(fd, address, size);
}

ssize_t recvmsg(int fd, msghdr* message, int flags) {
  static const auto real = next<ssize_t (*)(int, msghdr*, int)>("recvmsg");
  if (fails_with("recvmsg", ENOMEM) || interrupted(waits(fd, flags)) || would_block(fd, flags)) return -1;
  iovec part{};
  msghdr shorter = shortened(fd, *message, part);
  const ssize_t n = real(fd, &shorter, flags);
  message->msg_controllen = shorter.msg_controllen;
  message->msg_namelen = shorter.msg_namelen;
  message->msg_flags = shorter.msg_flags;
  if (n > 0 && shorter.msg_iov == &part) look_again(fd);
  return n;
}

ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  static const auto real = next<ssize_t (*)(int, const msghdr*, int)>("sendmsg");
  if (is_gentle() && message->msg_controllen != 0) return real(fd, message, flags);
  if (fails_with("sendmsg", ENOBUFS) || interrupted(waits(fd, flags)) || would_block(fd, flags)) return -1;
  iovec part{};
  const msghdr shorter = shortened(fd, *message, part);
  const ssize_t n = real(fd, &shorter, flags);
  if (n > 0 && shorter.msg_iov == &part) look_again(fd);
  return n;
}

ssize_t recv(int fd, void* data, size_t size, int flags) {
  static const auto real = next<ssize_t (*)(int, void*, size_t, int)>("recv");
  if (fails_with("recv", ENOMEM) || interrupted(waits(fd, flags)) || would_block(fd, flags)) return -1;
  const std::size_t less = (flags & MSG_WAITALL) != 0 ? size : shortened(fd, size);
  const ssize_t n = real(fd, data, less, flags);
  if (n > 0 && less != size) look_again(fd);
  return n;
}

ssize_t send(int fd, const void* data, size_t size, int flags) {
  static const auto real = next<ssize_t (*)(int, const void*, size_t, int)>("send");
  if (fails_with("send", ENOBUFS) || interrupted(waits(fd, flags)) || would_block(fd, flags)) return -1;
  const std::size_t less = shortened(fd, size);
  const ssize_t n = real(fd, data, less, flags);
  if (n > 0 && less != size) look_again(fd);
  return n;
}

ssize_t read(int fd, void* data, size_t size) {
  static const auto real = next<ssize_t (*)(int, void*, size_t)>("read");
  const std::size_t less = shortened(fd, size);
  if ((carries_data(fd) && fails_with("read", EIO)) || (less != size && interrupted(true))) return -1;
  return real(fd, data, less);
}

ssize_t write(int fd, const void* data, size_t size) {
  static const auto real = next<ssize_t (*)(int, const void*, size_t)>("write");
  const std::size_t less = shortened(fd, size);
  if ((carries_data(fd) && fails_with("write", ENOSPC)) || (less != size && interrupted(true))) return -1;
  return real(fd, data, less);
}

int open(const char* path, int flags, ...) {
  static const auto real = next<int (*)(const char*, int, ...)>("open");
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return fails_with("open", EMFILE) ? -1 : real(path, flags, mode);
}

int fcntl(int fd, int command, ...) {
  static const auto real = next<int (*)(int, int, ...)>("fcntl");
  va_list rest;
  va_start(rest, command);
  void* const argument = va_arg(rest, void*);
  va_end(rest);
  // What changes no more than flags does not fail.
  const bool duplicates = command == F_DUPFD || command == F_DUPFD_CLOEXEC;
  return duplicates && fails_with("fcntl", EMFILE) ? -1 : real(fd, command, argument);
}

int mkdir(const char* path, mode_t mode) noexcept {
  static const auto real = next<int (*)(const char*, mode_t)>("mkdir");
  return fails_with("mkdir", ENOSPC) ? -1 : real(path, mode);
}

int rename(const char* from, const char* to) noexcept {
  static const auto real = next<int (*)(const char*, const char*)>("rename");
  return fails_with("rename", ENOSPC) ? -1 : real(from, to);
}

int fsync(int fd) {
  static const auto real = next<int (*)(int)>("fsync");
  return fails_with("fsync", EIO) ? -1 : real(fd);
}

int flock(int fd, int operation) noexcept {
  static const auto real = next<int (*)(int, int)>("flock");
  return fails_with("flock", ENOLCK) || interrupted() ? -1 : real(fd, operation);
}

int ftruncate(int fd, off_t size) noexcept {
  static const auto real = next<int (*)(int, off_t)>("ftruncate");
  return fails_with("ftruncate", ENOSPC) ? -1 : real(fd, size);
}

int fchmod(int fd, mode_t mode) noexcept {
  static const auto real = next<int (*)(int, mode_t)>("fchmod");
  return fails_with("fchmod", EPERM) ? -1 : real(fd, mode);
}

int pipe(int* ends) noexcept {
  static const auto real = next<int (*)(int*)>("pipe");
  return fails_with("pipe", EMFILE) ? -1 : real(ends);
}

int poll(pollfd* entries, nfds_t count, int timeout) {
  static const auto real = next<int (*)(pollfd*, nfds_t, int)>("poll");
  return fails_with("poll", ENOMEM) || interrupted(timeout != 0) ? -1 : real(entries, count, timeout);
}

pid_t waitpid(pid_t process, int* status, int options) {
  static const auto real = next<pid_t (*)(pid_t, int*, int)>("waitpid");
  return interrupted(true) ? -1 : real(process, status, options);
}

int epoll_create1(int flags) noexcept {
  static const auto real = next<int (*)(int)>("epoll_create1");
  return fails_with("epoll_create1", EMFILE) ? -1 : real(flags);
}

int epoll_ctl(int epoll, int operation, int fd, epoll_event* event) noexcept {
  // There are only so many a user can watch. Asio does not ask whether it may watch what wakes it and its timers.
  if (operation == EPOLL_CTL_ADD && is_stream_socket(fd) && fails_with("epoll_ctl", ENOSPC)) return -1;
  const int result = real_epoll_ctl(epoll, operation, fd, event);
  if (is_short() && result == 0 && static_cast<std::size_t>(fd) < watches.size()) {
    const std::lock_guard lock(watches_lock);
    Watch& watch = watches[static_cast<std::size_t>(fd)];
    watch = operation == EPOLL_CTL_DEL ? Watch{} : Watch{epoll, *event};
  }
  return result;
}

int epoll_wait(int epoll, epoll_event* events, int most, int timeout) {
  static const auto real = next<int (*)(int, epoll_event*, int, int)>("epoll_wait");
  return interrupted() ? -1 : real(epoll, events, most, timeout);
}

int eventfd(unsigned int value, int flags) noexcept {
  static const auto real = next<int (*)(unsigned int, int)>("eventfd");
  return fails_with("eventfd", EMFILE) ? -1 : real(value, flags);
}

int timerfd_create(clockid_t clock, int flags) noexcept {
  static const auto real = next<int (*)(clockid_t, int)>("timerfd_create");
  return fails_with("timerfd_create", EMFILE) ? -1 : real(clock, flags);
}

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*),
                   void* argument) noexcept {
  static const auto real = next<int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*)>("pthread_create");
  return faults::fails("pthread_create") ? EAGAIN : real(thread, attributes, start, argument);
}

int clock_gettime(clockid_t clock, timespec* time) noexcept {
  static const auto real = next<int (*)(clockid_t, timespec*)>("clock_gettime");
  const int result = real(clock, time);
  if (result == 0 && clock == CLOCK_REALTIME) time->tv_sec += clock_error();
  return result;
}

int gettimeofday(timeval* __restrict time, void* __restrict zone) noexcept {
  static const auto real = next<int (*)(timeval*, void*)>("gettimeofday");
  const int result = real(time, zone);
  if (result == 0) time->tv_sec += clock_error();
  return result;
}

time_t time(time_t* out) noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  if (out != nullptr) *out = now.tv_sec;
  return now.tv_sec;
}
}
