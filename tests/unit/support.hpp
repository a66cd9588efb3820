// SPDX-License-Identifier: MIT
// tests/unit/support.hpp: what the tests of all parts use. One file of this folder tests one part; the public half is
// included here, a test includes what it needs of the other one. Tests use port 0, temporary directories and events, so
// that any number of runs can go side by side.
#pragma once

#include "kettlingar.hpp"

#include <doctest/doctest.h>

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#if defined(__linux__)
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#endif

#include <algorithm>
#include <asio.hpp>
#include <atomic>
#include <bit>
#include <charconv>
#include <clocale>
#include <cmath>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <iostream>
#include <locale>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <ranges>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#if defined(__SANITIZE_THREAD__)
#define KETTLINGAR_TEST_WITH_TSAN 1
#elif defined(__has_feature)
#define KETTLINGAR_TEST_WITH_TSAN __has_feature(thread_sanitizer)
#else
#define KETTLINGAR_TEST_WITH_TSAN 0
#endif
#if defined(__SANITIZE_ADDRESS__)
#define KETTLINGAR_TEST_WITH_ASAN 1
#elif defined(__has_feature)
#define KETTLINGAR_TEST_WITH_ASAN __has_feature(address_sanitizer)
#else
#define KETTLINGAR_TEST_WITH_ASAN 0
#endif

namespace kt = kettlingar;
using kt::json;
using namespace std::chrono_literals;
using namespace std::string_literals;
using namespace std::string_view_literals;

namespace test {

// Set where this very program is to be a service of its own, for what no example does: the name of one in services(),
// or that of kettlingar_test.cpp.
inline constexpr const char* as_service = "KETTLINGAR_TEST_AS_SERVICE";

// By name, what kettlingar_test.cpp's main() then does instead of testing.
inline std::map<std::string, int (*)(int, char**)>& services() {
  static std::map<std::string, int (*)(int, char**)> all;
  return all;
}
// `const OwnService asking("asking", [](int argc, char** argv) { ... });` at namespace scope.
struct OwnService {
  OwnService(const char* name, int (*main)(int, char**)) { services()[name] = main; }
};
// The command line of such a service, with its files in `state`.
inline std::string own_service(const std::string& name, const std::string& state) {
  return std::string("env ") + as_service + "=" + name + " " +
         std::filesystem::read_symlink("/proc/self/exe").string() + " --app-state-dir=" + state +
         " --app-data-dir=" + state + " ";
}

// How long anything that has to happen may take on a loaded machine before its test fails. Never slept through.
inline constexpr auto patience = 30s;

// A directory of its own for a test, gone afterwards.
class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "kettlingar.XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_file(const std::string& path, const std::string& text, mode_t mode = 0600) {
  std::ofstream(path, std::ios::binary) << text;
  ::chmod(path.c_str(), mode);
}

inline int open_descriptors() {
  int count = 0;
  DIR* directory = ::opendir("/proc/self/fd");
  while (::readdir(directory) != nullptr) ++count;
  ::closedir(directory);
  return count;
}

// Something that happens on another thread.
class Happening {
 public:
  void happen() {
    const std::lock_guard lock(mutex_);
    ++count_;
    changed_.notify_all();
  }
  bool happened(int times = 1) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, patience, [&] { return count_ >= times; });
  }
  int count() {
    const std::lock_guard lock(mutex_);
    return count_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int count_ = 0;
};

template <class Condition>
inline bool eventually(Condition condition) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(2ms);
  }
  return true;
}

// Bytes in a heap block of exactly their size, so that AddressSanitizer sees a read of one byte more.
class Block {
 public:
  explicit Block(std::string_view text) : bytes_(new char[text.size()]), size_(text.size()) {
    std::copy(text.begin(), text.end(), bytes_.get());
  }
  std::string_view text() const { return {bytes_.get(), size_}; }
  char* data() { return bytes_.get(); }
  std::size_t size() const { return size_; }

 private:
  std::unique_ptr<char[]> bytes_;
  std::size_t size_;
};

// An answer as an independent, simple reader sees it.
struct Answer {
  std::string head;  // as it came
  int status = 0;
  std::map<std::string, std::string> fields;
  std::string body;                 // chunks joined
  std::vector<std::string> chunks;  // of a chunked answer
  bool end_mark = false;
  bool operator==(const Answer&) const = default;
};

// The other end of a connection to a service, byte by byte.
class Wire {
 public:
  static Wire tcp(const kt::Kitten& kitten) {
    const std::string& url = kitten.url();
    Wire wire(AF_INET);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(std::stoi(url.substr(url.rfind(':') + 1))));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::connect(wire.fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    return wire;
  }
  static Wire local(const kt::Kitten& kitten) {
    Wire wire(AF_UNIX);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    REQUIRE(kitten.socket_path().size() < sizeof address.sun_path);
    std::memcpy(address.sun_path, kitten.socket_path().c_str(), kitten.socket_path().size() + 1);
    REQUIRE(::connect(wire.fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    return wire;
  }
  explicit Wire(kt::Fd socket) : fd_(socket.release()) {}
  Wire(Wire&& other) noexcept : fd_(std::exchange(other.fd_, -1)), received_(std::move(other.received_)) {}
  ~Wire() {
    if (fd_ >= 0) ::close(fd_);
  }

  int fd() const { return fd_; }
  Wire& send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) break;  // refused early: the answer tells
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return *this;
  }
  Wire& half_close() {
    ::shutdown(fd_, SHUT_WR);
    return *this;
  }
  // Appends what comes; false at the end.
  bool receive() {
    char block[65536];
    pollfd entry{fd_, POLLIN, 0};
    if (::poll(&entry, 1, static_cast<int>(std::chrono::milliseconds(patience).count())) <= 0) {
      FAIL("nothing received in time");
      return false;
    }
    const ssize_t n = ::recv(fd_, block, sizeof block, 0);
    if (n <= 0) return false;
    received_.append(block, static_cast<std::size_t>(n));
    return true;
  }
  std::string rest() {
    while (receive()) {
    }
    return std::exchange(received_, {});
  }
  bool until(std::string_view text) {
    while (received_.find(text) == std::string::npos) {
      if (!receive()) return false;
    }
    return true;
  }
  bool closed() { return received_.empty() && !receive(); }
  const std::string& received() const { return received_; }
  // Reads one answer; a HEAD's has no body whatever it says.
  Answer answer(bool head_only = false) {
    Answer result;
    std::size_t end = std::string::npos;
    for (;;) {
      const std::size_t crlf = received_.find("\r\n\r\n"), lf = received_.find("\n\n");
      if (crlf != std::string::npos) end = crlf + 4;
      if (lf != std::string::npos && lf + 2 < end) end = lf + 2;
      if (end != std::string::npos) break;
      if (!receive()) return result;
    }
    result.head = take(end);
    result.status = std::stoi(result.head.substr(9, 3));
    std::istringstream lines(result.head);
    std::string line;
    std::getline(lines, line);
    while (std::getline(lines, line)) {
      if (line.ends_with('\r')) line.pop_back();
      const std::size_t colon = line.find(": ");
      if (colon != std::string::npos) result.fields[line.substr(0, colon)] = line.substr(colon + 2);
    }
    if (head_only || result.status == 204 || result.status == 100) return result;
    if (result.fields.count("Transfer-Encoding") != 0) {
      read_chunks(result);
    } else if (result.fields.count("Content-Length") != 0) {
      const std::size_t size = std::stoul(result.fields["Content-Length"]);
      while (received_.size() < size && receive()) {
      }
      result.body = take(size);
    } else {
      result.body = rest();
    }
    return result;
  }

 private:
  explicit Wire(int family) : fd_(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)) { REQUIRE(fd_ >= 0); }
  std::string take(std::size_t size) {
    std::string part = received_.substr(0, size);
    received_.erase(0, size);
    return part;
  }
  void read_chunks(Answer& result) {
    for (;;) {
      while (received_.find("\r\n") == std::string::npos) {
        if (!receive()) return;
      }
      const std::string line = take(received_.find("\r\n") + 2);
      const std::size_t size = std::stoul(line, nullptr, 16);
      while (received_.size() < size + 2) {
        if (!receive()) return;
      }
      const std::string data = take(size + 2);
      CHECK(data.ends_with("\r\n"));
      if (size == 0) {
        result.end_mark = true;
        return;
      }
      result.chunks.push_back(data.substr(0, size));
      result.body += result.chunks.back();
    }
  }

  int fd_;
  std::string received_;
};

// A service in this process, in a directory of its own.
class Home {
 public:
  explicit Home(const std::string& worker = "Kitty") : kitten("testkitten", worker, "A kitten under test") {
    kitten.settings().app_state_dir = state.path();
    kitten.settings().app_data_dir = state.path();
    kitten.settings().worker_log_level = static_cast<int>(kt::LogLevel::debug);
    kitten.log_to([this](kt::LogLevel, std::string_view line) {
      const std::lock_guard lock(mutex_);
      log_ += line;
      log_ += '\n';
    });
  }
  ~Home() { kitten.stop(); }
  Home& start() {
    kitten.start_thread();
    return *this;
  }
  std::string log() {
    const std::lock_guard lock(mutex_);
    return log_;
  }
  // `/TOKEN/method`
  std::string path(const std::string& method) const { return "/" + kitten.token() + "/" + method; }
  std::string get(const std::string& target, const std::string& headers = "") const {
    return "GET " + target + " HTTP/1.1\r\nHost: localhost\r\n" + headers + "\r\n";
  }
  std::string post(const std::string& target, const std::string& body,
                   const std::string& type = "application/json") const {
    return "POST " + target + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: " + type +
           "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }
  // One call over a connection of its own, JSON both ways.
  Answer call(const std::string& method, const std::string& arguments = "{}") {
    return Wire::tcp(kitten).send(post(path(method), arguments)).answer();
  }
  json result(const std::string& method, const std::string& arguments = "{}") {
    const Answer answer = call(method, arguments);
    CHECK_MESSAGE(answer.status == 200, answer.body);
    return json::parse(answer.body);
  }
  std::string error(const std::string& method, const std::string& arguments, int status = 400) {
    const Answer answer = call(method, arguments);
    CHECK_MESSAGE(answer.status == status, answer.body);
    return json::parse(answer.body).value("error", "");
  }

  TempDir state;

 private:
  std::mutex mutex_;
  std::string log_;

 public:
  kt::Kitten kitten;
};

// A program that has run.
struct Ran {
  int code = -1;
  std::string out, err;
};

// Runs a shell command line; `input` on standard input, never a terminal.
inline Ran run(const std::string& command, const std::string& input = "") {
  TempDir files;
  write_file(files / "in", input);
  const std::string line = "{ " + command + "\n} <" + (files / "in") + " >" + (files / "out") + " 2>" + (files / "err");
  const int status = std::system(line.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), contents(files / "out"),
          contents(files / "err")};
}

// An example program with a state directory of its own; stopped at the end.
class Program {
 public:
  explicit Program(const std::string& name) : path_(folder() + "/" + name) {
    REQUIRE_MESSAGE(::access(path_.c_str(), X_OK) == 0,
                    path_ << " has not been built; KETTLINGAR_BUILD names its folder");
  }
  ~Program() { (*this)("stop"); }
  Ran operator()(const std::string& words, const std::string& input = "") const {
    return run(path_ + " --app-state-dir=" + state.path() + " --app-data-dir=" + state.path() + " " + words, input);
  }
  const std::string& path() const { return path_; }
  std::string url(const std::string& worker = "Kitty") const { return contents(state / (worker + ".url")); }

  TempDir state;

 private:
  static std::string folder() {
    const char* folder = std::getenv("KETTLINGAR_BUILD");
    return std::filesystem::absolute(folder != nullptr ? folder : "build").string();
  }
  std::string path_;
};

// A command on a terminal, as a person would use it.
class Terminal {
 public:
  explicit Terminal(const std::string& command) : master_(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)) {
    REQUIRE(master_);
    REQUIRE(::grantpt(master_.get()) == 0);
    REQUIRE(::unlockpt(master_.get()) == 0);
    const std::string name = ::ptsname(master_.get());
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
    // Opened by the leader of a new session, it becomes that session's terminal.
    for (const int fd : {0, 1, 2}) ::posix_spawn_file_actions_addopen(&actions, fd, name.c_str(), O_RDWR, 0);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    std::string line = "exec " + command;
    char* argv[] = {const_cast<char*>("sh"), const_cast<char*>("-c"), line.data(), nullptr};
    CHECK(::posix_spawn(&child_, "/bin/sh", &actions, &attributes, argv, environ) == 0);
    ::posix_spawnattr_destroy(&attributes);
    ::posix_spawn_file_actions_destroy(&actions);
  }
  bool shows(std::string_view text) {
    while (shown_.find(text) == std::string::npos) {
      if (!read()) return false;
    }
    return true;
  }
  void type(std::string_view keys) { CHECK(kt::detail::write_all(master_.get(), keys)); }
  bool echoes() const {
    termios settings{};
    return ::tcgetattr(master_.get(), &settings) == 0 && (settings.c_lflag & ECHO) != 0;
  }
  // Reads to the end; what the command exited with, 128 and more for signals.
  int ends() {
    while (read()) {
    }
    int status = 0;
    ::waitpid(child_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  const std::string& shown() const { return shown_; }

 private:
  bool read() {
    pollfd entry{master_.get(), POLLIN, 0};
    if (::poll(&entry, 1, static_cast<int>(std::chrono::milliseconds(patience).count())) <= 0) {
      FAIL("the terminal shows nothing more: " << shown_);
      return false;
    }
    char block[4096];
    const ssize_t n = ::read(master_.get(), block, sizeof block);
    if (n <= 0) return false;
    shown_.append(block, static_cast<std::size_t>(n));
    return true;
  }

  kt::Fd master_;
  pid_t child_ = 0;
  std::string shown_;
};

// Before a command, makes it another user's; for root only, who runs the tests in CI.
inline const std::string as_other_user = "setpriv --reuid=65534 --regid=65534 --clear-groups ";
inline bool can_be_other_user() {
  if (::geteuid() == 0 && run(as_other_user + "true").code == 0) return true;
  MESSAGE("skipped: there is no other user to be (root and setpriv are needed)");
  return false;
}

inline bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

}  // namespace test
using namespace test;
