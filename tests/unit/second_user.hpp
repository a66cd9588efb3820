// SPDX-License-Identifier: MIT
// tests/unit/second_user.hpp: another user of the same machine. Needs root, as CI has it.
#pragma once

#include "os/socket.ipp"
#include "services.hpp"

namespace test {

inline constexpr uid_t second_user = 65534;

// False, with a sentence, where there can be none.
inline bool second_user_here() {
#if defined(__linux__)
  if (::geteuid() == 0) return true;
#endif
  MESSAGE("skipped: only root can act as a second user");
  return false;
}

// Runs `action` on a thread that belongs to the other user; what it throws is lost.
template <class F>
void as_second_user(F action) {
  std::thread([&] {
#if defined(__linux__)
  // The system calls themselves: the C library's functions would change the whole process.
#if defined(SYS_setresuid32)
    const bool changed = ::syscall(SYS_setgroups32, 0, nullptr) == 0 &&
                         ::syscall(SYS_setresgid32, second_user, second_user, second_user) == 0 &&
                         ::syscall(SYS_setresuid32, second_user, second_user, second_user) == 0;
#else
    const bool changed = ::syscall(SYS_setgroups, 0, nullptr) == 0 &&
                         ::syscall(SYS_setresgid, second_user, second_user, second_user) == 0 &&
                         ::syscall(SYS_setresuid, second_user, second_user, second_user) == 0;
#endif
    CHECK(changed);
    if (changed) action();
#else
    static_cast<void>(action);
#endif
  }).join();
}

// A directory like /tmp: everybody may make something in it, and remove what is their own.
class SharedDir : public TempDir {
 public:
  SharedDir() { ::chmod(path().c_str(), 01777); }
};

// Something on a port that takes down what it is sent, as the other user would.
class Eavesdropper {
 public:
  // `port` 0 takes a free one; waits for another.
  explicit Eavesdropper(std::uint16_t port = 0, std::function<std::string(const std::string&)> answer = {}) {
    as_second_user([&] {
      eventually([&] {
        try {
          listener_ = kt::detail::listen_tcp("127.0.0.1", port, 16);
          return true;
        } catch (const kt::StartError&) {
          return false;
        }
      });
    });
    REQUIRE(listener_);
    ::fcntl(listener_.get(), F_SETFL, 0);
    thread_ = std::thread([this, answer = std::move(answer)] {
      for (;;) {
        const kt::Fd fd(::accept(listener_.get(), nullptr, nullptr));
        if (!fd) return;
        const timeval second{1, 0};
        ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second);
        std::string received;
        char block[4096];
        for (;;) {
          const ssize_t n = ::recv(fd.get(), block, sizeof block, 0);
          if (n <= 0) break;
          received.append(block, static_cast<std::size_t>(n));
          const std::string reply = answer ? answer(received) : std::string();
          if (!reply.empty()) ::send(fd.get(), reply.data(), reply.size(), MSG_NOSIGNAL);
        }
        const std::lock_guard lock(mutex_);
        ++connections_;
        heard_ += received;
      }
    });
  }
  ~Eavesdropper() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }
  std::string address() const { return kt::detail::socket_name(listener_.get(), false); }
  std::string heard() {
    const std::lock_guard lock(mutex_);
    return heard_;
  }
  int connections() {
    const std::lock_guard lock(mutex_);
    return connections_;
  }

 private:
  kt::Fd listener_;
  std::thread thread_;
  std::mutex mutex_;
  std::string heard_;
  int connections_ = 0;
};

}  // namespace test
