// SPDX-License-Identifier: MIT
// kettlingar_test.cpp: the test-suite, one TEST_SUITE for each part, in the order of the header. Only the header that
// users get is included. Tests use port 0, temporary directories and events, so that any number of runs can go side by
// side.
#include "kettlingar.hpp"

#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <dirent.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <termios.h>
#if defined(__linux__)
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#endif

#include <algorithm>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/use_future.hpp>
#include <atomic>
#include <bit>
#include <clocale>
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
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

namespace {

// The last line of every run, for people and for CI.
struct Totals : doctest::IReporter {
  explicit Totals(const doctest::ContextOptions& options)
      : wanted(!options.count && !options.list_test_cases && !options.list_test_suites) {}
  void report_query(const doctest::QueryData&) override {}
  void test_run_start() override {}
  void test_run_end(const doctest::TestRunStats& stats) override {
    if (!wanted) return;
    failed = stats.numTestCasesFailed;
    passed = stats.numTestCasesPassingFilters - failed;
  }
  void test_case_start(const doctest::TestCaseData&) override {}
  void test_case_reenter(const doctest::TestCaseData&) override {}
  void test_case_end(const doctest::CurrentTestCaseStats&) override {}
  void test_case_exception(const doctest::TestCaseException&) override {}
  void subcase_start(const doctest::SubcaseSignature&) override {}
  void subcase_end() override {}
  void log_assert(const doctest::AssertData&) override {}
  void log_message(const doctest::MessageData&) override {}
  void test_case_skipped(const doctest::TestCaseData&) override {}
  bool wanted;
  static inline unsigned passed = 0, failed = 0;
};
REGISTER_LISTENER("totals", 1, Totals);

// How long anything that has to happen may take on a loaded machine before its test fails. Never slept through.
constexpr auto patience = 30s;

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

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const std::string& path, const std::string& text, mode_t mode = 0600) {
  std::ofstream(path, std::ios::binary) << text;
  ::chmod(path.c_str(), mode);
}

int open_descriptors() {
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
bool eventually(Condition condition) {
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
Ran run(const std::string& command, const std::string& input = "") {
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

// This very program as a service of its own, for what no example does.
constexpr const char* as_service = "KETTLINGAR_TEST_AS_SERVICE";

int run_as_service(int argc, char** argv) {
  kt::Kitten kitten("prompting", "Kitty", "A service that asks");
  if (std::getenv(as_service) == "client"s) {
    // A program that is started as the service, but does not end in main().
    try {
      kitten.settings().app_state_dir = "/nonexistent";
      kitten.connect(kt::auto_start);
    } catch (const kt::NotRunning& error) {
      std::cerr << error.what() << std::endl;
    }
    return 1;
  }
  kitten.api(
      "login",
      [](std::optional<std::string> user, std::optional<std::string> password) {
        std::vector<kt::NeededVariable> needed;
        if (!user) needed.push_back({"user", "username"});
        if (!password) needed.push_back({"password", "password", "Your password"});
        if (password != "sesame" || !user) {
          if (needed.empty()) needed.push_back({"password", "password", "Another password"});
          throw kt::NeedInfo("Please log in", needed);
        }
        return "Welcome, " + *user;
      },
      "", kt::arg("user") = nullptr, kt::arg("password") = nullptr);
  kitten.api("work", []() -> kt::Generator<json> {
    json item = json::object();
    item["progress"] = 0.5;
    item["_format"] = "half of it";
    co_yield item;
    co_yield json("result");
  });
  kitten.api("wait", []() -> kt::Generator<std::string> {
    co_yield "waiting";
    co_await kt::sleep_for(24h);
  });
  kitten.api("measure", [] { return json{{"progress", 40}}; });
  return kitten.main(argc, argv);
}

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

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

}  // namespace

int main(int argc, char** argv) {
  if (std::getenv(as_service) != nullptr) return run_as_service(argc, argv);
  doctest::Context context(argc, argv);
  const int code = context.run();
  if (!context.shouldExit()) std::cout << Totals::passed << " passed, " << Totals::failed << " failed" << std::endl;
  return code;
}

TEST_SUITE("base") {
  TEST_CASE("the version is one number for #if, made of three") {
    CHECK(KETTLINGAR_VERSION ==
          KETTLINGAR_VERSION_MAJOR * 10000 + KETTLINGAR_VERSION_MINOR * 100 + KETTLINGAR_VERSION_PATCH);
  }

  TEST_CASE("what a peer sent cannot forge a log line or reach a terminal") {
    CHECK(kt::log_escaped("a b") == "a b");
    CHECK(kt::log_escaped("x\r\ny\x1b[31m\"'\\") == "x\\x0d\\x0ay\\x1b[31m\\x22\\x27\\x5c");
    CHECK(kt::log_escaped("\xc3\xa9\x7f") == "\\xc3\\xa9\\x7f");
    CHECK(kt::log_escaped(std::string(1000, 'a')) == std::string(200, 'a') + "...");
  }

  TEST_CASE("log lines of one kind are limited, and the rest is counted") {
    kt::Log log;
    std::string suffix;
    int admitted = 0;
    while (log.admit("flood", suffix)) {
      if (++admitted > 10000) break;
    }
    CHECK(admitted >= 20);
    CHECK(admitted <= 40);  // twice as many if the second changes meanwhile
    CHECK(log.admit("another", suffix));
  }

  TEST_CASE("an error with a status that is none counts as 500") {
    CHECK(kt::Error(418, "x").status() == 418);
    CHECK(kt::Error(200, "x").status() == 500);
    CHECK(kt::Error(99, "x").status() == 500);
    CHECK(kt::Error(1000, "x").status() == 500);
  }

  TEST_CASE("a typo finds the word that was meant, and nonsense finds none") {
    const std::vector<std::string> known{"purr", "meow", "start", "status", "stop", "worker_listen_port"};
    CHECK(kt::detail::closest("prr", known) == "purr");
    CHECK(kt::detail::closest("pur", known) == "purr");
    CHECK(kt::detail::closest("mewo", known) == "meow");
    CHECK(kt::detail::closest("statsu", known) == "status");
    CHECK(kt::detail::closest("worker_listn_port", known) == "worker_listen_port");
    CHECK(kt::detail::closest("elephant", known).empty());
    CHECK(kt::detail::closest(std::string(100000, 'x'), known).empty());
  }
}

TEST_SUITE("os") {
  TEST_CASE("an instance lock has one holder, and leaves no file behind") {
    TempDir dir;
    kt::detail::InstanceLock first(dir / "lock");
    CHECK(first.held());
    CHECK_FALSE(kt::detail::InstanceLock(dir / "lock").held());
    CHECK(std::stoi(contents(dir / "lock")) == ::getpid());
    first.release();
    CHECK_FALSE(std::filesystem::exists(dir / "lock"));
    CHECK(kt::detail::InstanceLock(dir / "lock").held());
  }

  TEST_CASE("a lock taken by many at once has one holder at any time") {
    TempDir dir;
    std::atomic<int> holders = 0, most = 0, taken = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&] {
        for (int round = 0; round < 200; ++round) {
          kt::detail::InstanceLock lock(dir / "lock");
          if (!lock.held()) continue;
          ++taken;
          most = (std::max)(most.load(), ++holders);
          std::this_thread::yield();
          --holders;
          lock.release();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(taken > 0);
    CHECK(most == 1);
  }

  TEST_CASE("private files are readable by their owner only from the start, and are whole") {
    TempDir dir;
    const mode_t before = ::umask(0);
    kt::detail::write_private_file(dir / "url", "http://x");
    ::umask(before);
    kt::detail::FileInfo info{};
    REQUIRE(::stat((dir / "url").c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
    CHECK(contents(dir / "url") == "http://x");
    CHECK(std::distance(std::filesystem::directory_iterator(dir.path()), {}) == 1);
  }

  TEST_CASE("a private file replaces a symbolic link instead of following it") {
    TempDir dir;
    write_file(dir / "victim", "precious");
    std::filesystem::create_symlink(dir / "victim", dir / "url");
    kt::detail::write_private_file(dir / "url", "http://x");
    CHECK(contents(dir / "victim") == "precious");
    CHECK(contents(dir / "url") == "http://x");
  }

  TEST_CASE("a file that belongs to a successor is left alone") {
    TempDir dir;
    write_file(dir / "old", "mine");
    kt::detail::OwnedFile mine(dir / "old");
    write_file(dir / "new", "successor's");
    std::filesystem::rename(dir / "new", dir / "old");
    mine.remove();
    CHECK(contents(dir / "old") == "successor's");
  }

  TEST_CASE("a directory that others can write to, or a link to one, is refused") {
    TempDir dir;
    kt::detail::require_private_directory(dir.path());
    ::chmod(dir.path().c_str(), 0770);
    CHECK_THROWS_WITH_AS(kt::detail::require_private_directory(dir.path()), doctest::Contains("others can write"),
                         kt::StartError);
    ::chmod(dir.path().c_str(), 0700);
    std::filesystem::create_directory_symlink(dir.path(), dir / "link");
    CHECK_THROWS_WITH_AS(kt::detail::require_private_directory(dir / "link/"), doctest::Contains("symbolic link"),
                         kt::StartError);
    CHECK_THROWS_WITH_AS(kt::detail::require_private_directory(dir / "none"), doctest::Contains("No such file"),
                         kt::StartError);
  }

  TEST_CASE("directories are created with their parents, for the owner only") {
    TempDir dir;
    const mode_t before = ::umask(0);
    kt::detail::create_directories(dir / "a/b/c");
    ::umask(before);
    kt::detail::FileInfo info{};
    REQUIRE(::stat((dir / "a/b").c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0700);
  }

  TEST_CASE("a socket path that is too long is refused with its length and the limit") {
    TempDir dir;
    const std::string path = dir / std::string(200, 'x');
    CHECK_THROWS_WITH_AS(kt::detail::listen_unix(path, 1), doctest::Contains("a unix socket allows"), kt::StartError);
  }

  TEST_CASE("a host is an address or localhost, never a name to look up") {
    CHECK(kt::detail::tcp_address("127.0.0.1", 1));
    CHECK(kt::detail::tcp_address("localhost", 1));
    CHECK(kt::detail::tcp_address("::1", 1));
    CHECK(kt::detail::tcp_address("[::1]", 1));
    CHECK_FALSE(kt::detail::tcp_address("example.com", 1));
    CHECK_FALSE(kt::detail::tcp_address("", 1));
    CHECK_FALSE(kt::detail::tcp_address("127.0.0.1.nip.io", 1));
    CHECK_THROWS_WITH_AS(kt::detail::listen_tcp("example.com", 0, 1), doctest::Contains("not an IPv4"), kt::StartError);
  }
}

namespace {

/// Runs `outcome_of(ends)` with the wire at once, cut at every offset (of long ones: at 300) and byte by byte, where
/// `ends` says how many bytes have arrived at each call of the parser; all outcomes must be the same one.
template <class OutcomeOf>
std::string http_every_split(std::string_view wire, OutcomeOf outcome_of) {
  const std::size_t size = wire.size();
  const std::string whole = outcome_of(std::vector<std::size_t>{size});
  for (std::size_t cut = 0; cut <= size; cut += size / 300 + 1) {
    const std::string outcome = outcome_of(std::vector<std::size_t>{cut, size});
    CAPTURE(cut);
    if (outcome != whole) CHECK(outcome == whole);
  }
  std::vector<std::size_t> ends;
  for (std::size_t end = 0; end <= size; end += size / 3000 + 1) ends.push_back(end);
  ends.push_back(size);
  const std::string bytewise = outcome_of(ends);
  if (bytewise != whole) CHECK(bytewise == whole);
  return whole;
}

std::string http_refusal(const kt::ParseResult& result) {
  CHECK(!result.why.empty());
  CHECK(result.consumed == 0);
  return std::to_string(result.http_status) + " " + std::string(result.slug);
}

void http_common(std::string& out, const kt::MessageHead& head) {
  auto add = [&out](std::string_view what, std::string_view value = {}) { out.append(" ").append(what).append(value); };
  add("HTTP/1.", std::to_string(head.version_minor));
  add(head.keep_alive ? "keep" : "close");
  if (head.bare_lf) add("lf");
  if (head.chunked) add("chunked");
  if (head.content_length) add("length=", std::to_string(*head.content_length));
  if (!head.content_type.empty()) add("type=", head.content_type);
}

std::string http_text(const kt::RequestHead& head) {
  std::string out(head.method);
  auto add = [&out](std::string_view what, std::optional<std::string_view> value) {
    if (value) out.append(" ").append(what).append(*value);
  };
  auto unless_empty = [&add](std::string_view what, std::string_view value) {
    if (!value.empty()) add(what, value);
  };
  add("", head.path);
  unless_empty("query=", head.query);
  unless_empty("authority=", head.authority);
  http_common(out, head);
  add("host=", head.host);
  unless_empty("authorization=", head.authorization);
  add("origin=", head.origin);
  add("site=", head.sec_fetch_site);
  if (head.expect_continue) add("expect", "");
  return out;
}

std::string http_text(const kt::ResponseHead& head) {
  std::string out = std::to_string(head.status) + " '" + std::string(head.reason) + "'";
  http_common(out, head);
  return out;
}

/// What a parser makes of the wire: "400 slug", "more", or the head and how many bytes are behind it.
template <class Parser>
std::string http_head_outcome(Parser parser, std::string_view wire, const std::vector<std::size_t>& ends) {
  kt::ParseResult result;
  for (const std::size_t end : ends) {
    const Block block(wire.substr(0, end));
    result = parser.parse(block.text());
    if (result.status != kt::Parse::need_more) break;
  }
  if (result.status == kt::Parse::need_more) return "more";
  const Block elsewhere(wire);
  CHECK(parser.parse(elsewhere.text()).status == result.status);  // once decided, it stays so
  if (result.status == kt::Parse::bad) return http_refusal(result);
  const Block moved(wire.substr(0, result.consumed));
  parser.rebase(moved.text());
  std::string out = http_text(parser.head());
  for (const kt::HeaderField field : parser.head().fields) {
    out.append("|").append(field.name).append("=").append(field.value);
  }
  const std::size_t rest = wire.size() - result.consumed;
  return rest == 0 ? out : out + " rest=" + std::to_string(rest);
}

std::string http_request(std::string_view wire, const kt::Limits& limits = {}, bool accept_bare_lf = true) {
  return http_every_split(wire, [&](const std::vector<std::size_t>& ends) {
    return http_head_outcome(kt::RequestHeadParser(limits, accept_bare_lf), wire, ends);
  });
}

/// The same request, given only its header lines; the outcome without the request line and without the lines.
std::string http_with_lines(std::string_view lines, std::string_view version = "HTTP/1.1") {
  const std::string out = http_request("POST /p " + std::string(version) + "\r\n" + std::string(lines) + "\r\n");
  const std::string expected = "POST /p " + std::string(version) + " ";
  return out.starts_with(expected) ? out.substr(expected.size(), out.find('|') - expected.size()) : out;
}

std::string http_response(std::string_view wire, const kt::Limits& limits = {}) {
  return http_every_split(wire, [&](const std::vector<std::size_t>& ends) {
    return http_head_outcome(kt::ResponseHeadParser(limits), wire, ends);
  });
}

struct HttpRow {
  std::string_view wire;
  std::string_view outcome;
};

std::string http_repeat(std::string_view text, std::size_t times) {
  std::string out;
  for (std::size_t i = 0; i < times; ++i) out += text;
  return out;
}

}  // namespace

TEST_SUITE("wire/http_head") {
  template <std::uint8_t kind>
  void check_scan(std::string_view in, std::size_t from) {
    using namespace kt::detail::http;
    std::size_t expected = from;
    while (expected < in.size() && (char_kinds[static_cast<unsigned char>(in[expected])] & kind) != 0) ++expected;
    if (scan<kind>(in, from, in.size()) == expected) return;
    CAPTURE(in);
    CAPTURE(from);
    CHECK(scan<kind>(in, from, in.size()) == expected);
  }

  TEST_CASE("blocks of bytes are scanned for what the table says of each") {
    using namespace kt::detail::http;
    std::string text;
    for (const std::size_t size : {1U, 7U, 8U, 15U, 16U, 17U, 40U}) {
      for (std::size_t at = 0; at < size; ++at) {
        for (int first = 0; first < 256; ++first) {
          for (const char next : {'a', 'Z', '-', ':', '\x7F', '\x80'}) {
            text.assign(size, 'x');
            text[at] = static_cast<char>(first);
            if (at + 1 < size) text[at + 1] = next;
            for (const std::size_t from : {std::size_t{0}, at}) {
              check_scan<token_char>(text, from);
              check_scan<value_char>(text, from);
              check_scan<target_char>(text, from);
            }
          }
        }
      }
    }
  }

  TEST_CASE("the request of the Python client is understood (1)") {
    CHECK(http_request("POST /TOPSECRET/purr HTTP/1.1\nConnection: close\nContent-Type: application/x-msgpack\n"
                       "Content-Length: 19\n\n") ==
          "POST /TOPSECRET/purr HTTP/1.1 close lf length=19 type=application/x-msgpack"
          "|Connection=close|Content-Type=application/x-msgpack|Content-Length=19");
  }

  TEST_CASE("the body starts right behind the empty line, whatever its first byte is (1)") {
    CHECK(http_request("POST /p HTTP/1.1\n\n\n") == "POST /p HTTP/1.1 close lf rest=1");
    CHECK(http_request("POST /p HTTP/1.1\n\n\r\n") == "POST /p HTTP/1.1 close lf rest=2");
    CHECK(http_request("POST /p HTTP/1.1\r\n\r\n\r\n") == "POST /p HTTP/1.1 keep rest=2");
    CHECK(http_request("POST /p HTTP/1.1\r\n\r\n\nx") == "POST /p HTTP/1.1 keep rest=2");
  }

  TEST_CASE("a browser's request keeps absent and empty apart") {
    CHECK(http_request("GET /a%20b?x=%zz&y HTTP/1.1\r\nHost: localhost:80\r\norigin:\r\nSec-Fetch-Site: same-origin\r\n"
                       "AUTHORIZATION: Bearer abc \r\nCookie: \xc3\xa9\t=1\r\n\r\n") ==
          "GET /a%20b query=x=%zz&y HTTP/1.1 keep host=localhost:80 authorization=Bearer abc origin= site=same-origin"
          "|Host=localhost:80|origin=|Sec-Fetch-Site=same-origin|AUTHORIZATION=Bearer abc|Cookie=\xc3\xa9\t=1");
    CHECK(http_request("GET / HTTP/1.1\r\nHost:\r\n\r\n") == "GET / HTTP/1.1 keep host=|Host=");
    CHECK(http_request("GET /? HTTP/1.1\r\n\r\n") == "GET / HTTP/1.1 keep");
  }

  TEST_CASE("header fields are a forward range with a case-insensitive find") {
    static_assert(std::ranges::forward_range<kt::HeaderFields>);
    const kt::Limits limits;
    kt::RequestHeadParser parser(limits);
    const Block block("GET / HTTP/1.1\r\nX-A:1\r\nx-b: \t two \t\r\nX-a: 3\r\nEmpty:\r\n\r\n");
    REQUIRE(parser.parse(block.text()).status == kt::Parse::complete);
    const kt::HeaderFields fields = parser.head().fields;
    CHECK(std::ranges::distance(fields) == 4);
    CHECK(fields.find("x-a") == "1");
    CHECK(fields.find("X-B") == "two");
    CHECK(fields.find("empty") == "");
    CHECK(!fields.find("x"));
    CHECK(!kt::HeaderFields().find("x"));
    parser.reset();
    CHECK(parser.parse("GET / HTTP/1.1\r\n\r\n").consumed == 18);
    CHECK(parser.head().fields.begin() == parser.head().fields.end());
  }

  TEST_CASE("targets are split, never normalised (16, 17, 18, 19, 20)") {
    const HttpRow rows[] = {
        {"GET /ping?x=1 HTTP/1.1\r\n\r\n", "GET /ping query=x=1 HTTP/1.1 keep"},
        {"GET //ping HTTP/1.1\r\n\r\n", "GET //ping HTTP/1.1 keep"},
        {"GET /a/../%2e%2E/x HTTP/1.1\r\n\r\n", "GET /a/../%2e%2E/x HTTP/1.1 keep"},
        {"GET /x?a?b HTTP/1.1\r\n\r\n", "GET /x query=a?b HTTP/1.1 keep"},
        {"GET http://host/ping HTTP/1.1\r\n\r\n", "GET /ping authority=host HTTP/1.1 keep"},
        {"GET HTTP://[::1]:80?q HTTP/1.1\r\n\r\n", "GET / query=q authority=[::1]:80 HTTP/1.1 keep"},
        {"GET http://h HTTP/1.1\r\n\r\n", "GET / authority=h HTTP/1.1 keep"},
        {"OPTIONS * HTTP/1.1\r\n\r\n", "OPTIONS * HTTP/1.1 keep"},
        {"get /ping HTTP/1.1\r\n\r\n", "get /ping HTTP/1.1 keep"},      // methods are case-sensitive: 405 or 501 later
        {"FOO /ping HTTP/1.1\r\n\r\n", "FOO /ping HTTP/1.1 keep"},      // likewise
        {"TRACE /ping HTTP/1.1\r\n\r\n", "TRACE /ping HTTP/1.1 keep"},  // likewise
        {"ABCDEFGHIJKLMNOPQRSTUVWXYZ!#$%&' / HTTP/1.1\r\n\r\n", "ABCDEFGHIJKLMNOPQRSTUVWXYZ!#$%&' / HTTP/1.1 keep"},
    };
    for (const HttpRow& row : rows) CHECK(http_request(row.wire) == row.outcome);
  }

  TEST_CASE("bad request lines are refused at the first bad byte (11 to 20)") {
    // None of these ends with a complete head: the verdict may not have to wait for more.
    const HttpRow rows[] = {
        {"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG", "400 bad-line"},  // 33 bytes of method
        {"G@", "400 bad-line"},                                 // no token
        {"\"GET\" /", "400 bad-line"},                          // no token
        {" GET /", "400 bad-line"},                             // white space first
        {"\xef\xbb\xbfGET /", "400 bad-line"},                  // byte order mark
        {"\0"sv, "400 bad-line"},                               // NUL
        {"\x16\x03\x01", "400 bad-line"},                       // TLS hello
        {"\x05\x01", "400 bad-line"},                           // SOCKS
        {"HTTP/1.1 200 OK\r\n", "400 bad-line"},                // a response
        {"GET  /", "400 bad-line"},                             // two spaces
        {"GET\t/", "400 bad-line"},                             // TAB
        {"GET\v/", "400 bad-line"},                             // VT
        {"GET\xa0/", "400 bad-line"},                           // no-break space
        {"GET\r\n", "400 bad-line"},                            // method alone
        {"GET /x\r\n", "400 bad-line"},                         // HTTP/0.9
        {"GET /x\n", "400 bad-line"},                           // HTTP/0.9
        {"GET HTTP/1.1\r\n", "400 bad-line"},                   // no target
        {"GET /  HTTP/1.1", "400 bad-line"},                    // two spaces
        {"GET / HTTP/1.1 ", "400 bad-line"},                    // trailing space
        {"GET / HTTP/1.1 x", "400 bad-line"},                   // trailing word
        {"GET / HTTP/1.1\t\r\n", "400 bad-line"},               // trailing TAB
        {"GET / HTTP/1.1\rX", "400 bad-line"},                  // CR without LF
        {"GET / HTTP/1.1\r\r\n", "400 bad-line"},               // CR without LF
        {"GET / HTTP/1.2\r\n", "505 bad-line"},                 // does not exist
        {"GET / HTTP/2.0\r\n", "505 bad-line"},                 // not here
        {"GET / HTTP/0.9\r\n", "505 bad-line"},                 // never had a version
        {"GET / HTTP/1.10\r\n", "400 bad-line"},                // not 8 bytes
        {"GET / HTTP/01.1\r\n", "400 bad-line"},                // not 8 bytes
        {"GET / HTTP/1\r\n", "400 bad-line"},                   // not 8 bytes
        {"GET / HTTP/1,1\r\n", "400 bad-line"},                 // comma
        {"GET / HTTP/4294967297.1\r\n", "400 bad-line"},        // 2^32 + 1 is 1 for some
        {"GET / http/1.1\r\n", "400 bad-line"},                 // case-sensitive
        {"GET / ICE/1.0\r\n", "400 bad-line"},                  // another protocol
        {"PRI * HTTP/2.0\r\n", "400 bad-target"},               // HTTP/2 preface: * is for OPTIONS
        {"GET /\xc3\xa9", "400 bad-target"},                    // raw UTF-8
        {"GET /a\x7f", "400 bad-target"},                       // DEL
        {"GET /a\x01", "400 bad-target"},                       // CTL
        {"GET /a\0"sv, "400 bad-target"},                       // NUL
        {"GET /a\tb", "400 bad-target"},                        // TAB
        {"GET /a#", "400 bad-target"},                          // fragment
        {"GET /a\\", "400 bad-target"},                         // a slash for some
        {"GET /%00 ", "400 bad-target"},                        // NUL, encoded
        {"GET /a%0d%0ab ", "400 bad-target"},                   // CRLF, encoded
        {"GET /%7F ", "400 bad-target"},                        // DEL, encoded
        {"GET /%zz ", "400 bad-target"},                        // no hex digits
        {"GET /%4 ", "400 bad-target"},                         // one digit
        {"GET /% ", "400 bad-target"},                          // no digit
        {"GET /%4?1 ", "400 bad-target"},                       // the query lends no digit
        {"GET * ", "400 bad-target"},                           // OPTIONS only
        {"OPTIONS *x ", "400 bad-target"},                      // neither * nor a path
        {"GET x ", "400 bad-target"},                           // no slash
        {"GET ftp://h/ ", "400 bad-target"},                    // scheme
        {"GET https://h/ ", "400 bad-target"},                  // scheme
        {"GET http:/h ", "400 bad-target"},                     // scheme without authority
        {"GET http:///x ", "400 bad-target"},                   // empty host
        {"GET http://u@h/ ", "400 bad-target"},                 // userinfo
        {"GET http://h:x/ ", "400 bad-target"},                 // port
        {"CONNECT h:443 ", "501 bad-line"},                     // no tunnel
        {"CONNECT ", "501 bad-line"},                           // no tunnel, and no need to know where to
    };
    for (const HttpRow& row : rows) {
      CAPTURE(row.wire);
      CHECK(http_request(row.wire) == row.outcome);
    }
  }

  TEST_CASE("up to four empty lines before a request are skipped (20)") {
    CHECK(http_request("\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n") == "GET / HTTP/1.1 keep");
    CHECK(http_request("\nGET / HTTP/1.1\n\n") == "GET / HTTP/1.1 close lf");
    CHECK(http_request("\r\n\r\n\r\n\r\n\r") == "400 bad-line");
    CHECK(http_request("\n\n\n\n\n") == "400 bad-line");
    CHECK(http_request("\r\rGET") == "400 bad-line");
    CHECK(http_request("\nGET / HTTP/1.1\r\n") == "400 mixed-eol");
  }

  TEST_CASE("the first line decides how all lines end (8, 9, 10)") {
    const HttpRow rows[] = {
        {"GET / HTTP/1.1\r\nA: b\n", "400 mixed-eol"},                                 // LF under CRLF
        {"GET / HTTP/1.1\nA: b\r\n", "400 mixed-eol"},                                 // CRLF under LF
        {"GET / HTTP/1.1\nA: b\n\r\n", "400 mixed-eol"},                               // empty line in the other style
        {"GET / HTTP/1.1\r\nA: b\r\n\n", "400 mixed-eol"},                             // likewise
        {"GET / HTTP/1.1\nA: y\rz\n\n", "400 bad-header"},                             // CR in a value
        {"GET / HTTP/1.1\nA: b\n c\n\n", "400 bad-header"},                            // obs-fold
        {"GET / HTTP/1.1\nA : b\n\n", "400 bad-header"},                               // space before the colon
        {"P / HTTP/1.1\nContent-Length: 1\nContent-Length: 1\n\n", "400 bad-length"},  // two lengths
        {"P / HTTP/1.1\nTransfer-Encoding: chunked\n", "400 bad-length"},  // nobody agrees where the chunks begin
    };
    for (const HttpRow& row : rows) CHECK(http_request(row.wire) == row.outcome);
    CHECK(http_request("GET / HTTP/1.1\nConnection: keep-alive\n\n").starts_with("GET / HTTP/1.1 close lf"));
    CHECK(http_request("GET / HTTP/1.1\n", {}, false) == "400 mixed-eol");
    CHECK(http_request("\nGET / HTTP/1.1\n", {}, false) == "400 mixed-eol");
    CHECK(http_request("GET / HTTP/1.1\r\n\r\n", {}, false) == "GET / HTTP/1.1 keep");
  }

  TEST_CASE("a refused head tells in which line ends to answer (2)") {
    const kt::Limits limits;
    const std::pair<std::string_view, bool> heads[] = {{"GET / HTTP/1.1\nA : b", true},
                                                       {"GET / HTTP/1.1\nA: b\r\n", true},
                                                       {"GET / HTTP/1.1\r\nA: b\n", false},
                                                       {"GET /\n", false}};
    for (const auto& [wire, bare_lf] : heads) {
      kt::RequestHeadParser parser(limits);
      CHECK(parser.parse(wire).status == kt::Parse::bad);
      CHECK(parser.head().bare_lf == bare_lf);
    }
  }

  TEST_CASE("bad header lines are refused (22 to 27, 31)") {
    const HttpRow rows[] = {
        {": x\r\n", "400 bad-header"},                                           // empty name
        {"X A: b\r\n", "400 bad-header"},                                        // space in the name
        {"X[A]: b\r\n", "400 bad-header"},                                       // no token
        {"X/A: b\r\n", "400 bad-header"},                                        // no token
        {"\"X\": b\r\n", "400 bad-header"},                                      // no token
        {"X\0: b\r\n"sv, "400 bad-header"},                                      // NUL
        {"X\x7f: b\r\n", "400 bad-header"},                                      // DEL
        {"X\xe9: b\r\n", "400 bad-header"},                                      // not ASCII
        {"X-A\x85: b\r\n", "400 bad-header"},                                    // NEL is a line end for some
        {"X : b\r\n", "400 bad-header"},                                         // space before the colon
        {"X\t: b\r\n", "400 bad-header"},                                        // TAB before the colon
        {"X\r\n", "400 bad-header"},                                             // no colon
        {" X: b\r\n", "400 bad-header"},                                         // space-led first line
        {"X: a\r\n b\r\n", "400 bad-header"},                                    // obs-fold
        {"X: a\r\n\tb\r\n", "400 bad-header"},                                   // obs-fold
        {"X: \0\r\n"sv, "400 bad-header"},                                       // NUL
        {"X: a\rb\r\n", "400 bad-header"},                                       // CR
        {"X: a\r\r\n", "400 bad-header"},                                        // CR
        {"X: \x01\r\n", "400 bad-header"},                                       // CTL
        {"X: \x0b\r\n", "400 bad-header"},                                       // VT is no white space
        {"X: \x1b\r\n", "400 bad-header"},                                       // ESC
        {"X: \x7f\r\n", "400 bad-header"},                                       // DEL
        {"A: b\r\n\rX: c\r\n", "400 bad-header"},                                // bare CR does not end a line
        {"A: b\r\n\r\r\n", "400 bad-header"},                                    // nor a head
        {"X\rA: b\r\n", "400 bad-header"},                                       // CR in a name
        {"Transfer-\r\nEncoding: chunked\r\n", "400 bad-header"},                // no colon
        {"Host: a\r\nHost: a\r\n", "400 bad-header"},                            // two, even if equal
        {"Host: a, b\r\n", "400 bad-header"},                                    // list
        {"Host: a,b\r\n", "400 bad-header"},                                     // list
        {"Host: u@h\r\n", "400 bad-header"},                                     // userinfo
        {"Host: h/x\r\n", "400 bad-header"},                                     // path
        {"Host: h h\r\n", "400 bad-header"},                                     // space
        {"Host: h:abc\r\n", "400 bad-header"},                                   // port
        {"Host: h:1:2\r\n", "400 bad-header"},                                   // two ports
        {"Host: h:123456\r\n", "400 bad-header"},                                // port
        {"Host: :80\r\n", "400 bad-header"},                                     // port without host
        {"Host: [::1\r\n", "400 bad-header"},                                    // open bracket
        {"Host: []\r\n", "400 bad-header"},                                      // empty address
        {"Host: [::1]x\r\n", "400 bad-header"},                                  // neither end nor port
        {"Host: h\xc3\xa9\r\n", "400 bad-header"},                               // not ASCII
        {"Content-Type: a\r\ncontent-type: a\r\n", "400 bad-header"},            // singleton
        {"Authorization: a\r\nAuthorization: b\r\n", "400 bad-header"},          // singleton
        {"Expect: 100-continue\r\nExpect: 100-continue\r\n", "400 bad-header"},  // singleton
        {"Origin: a\r\nOrigin:\r\n", "400 bad-header"},                          // singleton: which one is checked?
        {"Sec-Fetch-Site: none\r\nSec-Fetch-Site: none\r\n", "400 bad-header"},  // likewise
        {"Expect: 200-ok\r\n", "417 bad-header"},                                // unknown
    };
    for (const HttpRow& row : rows) {
      CAPTURE(row.wire);
      CHECK(http_with_lines(row.wire) == row.outcome);
    }
  }

  TEST_CASE("legal but odd header lines are taken as they are (24, 25, 27, 30, 31, 32)") {
    const HttpRow rows[] = {
        {"Host: [fe80::1%25eth0]:80\r\n", "keep host=[fe80::1%25eth0]:80"},
        {"Host: h:\r\n", "keep host=h:"},
        {"Host: 127.0.0.1:65535 \r\n", "keep host=127.0.0.1:65535"},
        {"X: a%0d%0aSet-Cookie: b\r\n", "keep"},
        {"Content_Length: 5\r\nTransfer_Encoding: chunked\r\nX-Forwarded-For: ,,\r\n", "keep"},
        {"Upgrade: h2c\r\nRange: bytes=0-,0-,\r\nAccept: ;;;\r\n", "keep"},
        {"Connection: foo, CLOSE\r\n", "close"},
        {"Connection: ,,close ,\r\n", "close"},
        {"Connection: foo\r\nConnection: close\r\nConnection: keep-alive\r\n", "close"},
        {"Connection: closely, not-close\r\n", "keep"},
        {"Expect: 100-Continue\r\n", "keep expect"},
        {"X:\xa0y\xa0\r\n", "keep"},
    };
    for (const HttpRow& row : rows) {
      CAPTURE(row.wire);
      CHECK(http_with_lines(row.wire) == row.outcome);
    }
    CHECK(http_request("GET / HTTP/1.1\r\nX:\xa0y \r\n\r\n") == "GET / HTTP/1.1 keep|X=\xa0y");
  }

  TEST_CASE("HTTP/1.0 is closed unless it asks otherwise, and never gets 100 Continue (32, 41, 56)") {
    CHECK(http_with_lines("", "HTTP/1.0") == "close");
    CHECK(http_with_lines("Connection: Keep-Alive\r\n", "HTTP/1.0") == "keep");
    CHECK(http_with_lines("Connection: keep-alive, close\r\n", "HTTP/1.0") == "close");
    CHECK(http_with_lines("Expect: 100-continue\r\n", "HTTP/1.0") == "close");
    CHECK(http_with_lines("Transfer-Encoding: chunked\r\n", "HTTP/1.0") == "400 bad-length");
  }

  TEST_CASE("a length is digits and nothing else (35, 37)") {
    const HttpRow good[] = {
        {"0", "length=0"}, {"005", "length=5"}, {"9223372036854775807", "length=9223372036854775807"}};
    for (const HttpRow& row : good) {
      CHECK(http_with_lines("Content-Length: " + std::string(row.wire) + "\r\n") == "keep " + std::string(row.outcome));
    }
    const std::string_view bad[] = {"+5",
                                    "-5",
                                    "-0",
                                    "0x5",
                                    "5.0",
                                    "5e0",
                                    "1_0",
                                    "\"5\"",
                                    "5;",
                                    "",
                                    "5 5",
                                    "5, 5",
                                    "5, 6",
                                    ", 5",
                                    "\xef\xbc\x95",
                                    "9223372036854775808",
                                    "18446744073709551621",
                                    "00000000000000000005",
                                    "5\xa0"};
    for (const std::string_view value : bad) {
      CAPTURE(value);
      CHECK(http_with_lines("Content-Length: " + std::string(value) + "\r\n") == "400 bad-length");
    }
    CHECK(http_with_lines("Content-Length: 5\0\r\n"sv) == "400 bad-header");
    CHECK(http_with_lines("Content-Length: \x0b"
                          "5\r\n") == "400 bad-header");
    CHECK(http_with_lines("Content-Length: 5\r\nContent-Length: 5\r\n") == "400 bad-length");
    CHECK(http_with_lines("Content-Length: 5\r\nContent-Length:\r\n") == "400 bad-length");
    CHECK(http_with_lines("Content-Length:\r\nContent-Length: 5\r\n") == "400 bad-length");
    CHECK(http_with_lines("Content-Length : 5\r\nContent-Length: 5\r\n") == "400 bad-header");
    CHECK(http_with_lines("Content-Length: 5\r\n Content-Length: 6\r\n") == "400 bad-header");
    CHECK(http_with_lines("X: y\rContent-Length: 6\r\nContent-Length: 5\r\n") == "400 bad-header");
  }

  TEST_CASE("a transfer encoding is chunked and nothing else, and never together with a length (39, 40)") {
    CHECK(http_with_lines("Transfer-Encoding: chunked\r\n") == "keep chunked");
    CHECK(http_with_lines("TRANSFER-encoding:\t ChUnKeD \t\r\n") == "keep chunked");
    const HttpRow rows[] = {
        {"gzip", "501 bad-length"},           // known to others
        {"identity", "501 bad-length"},       // once known
        {"xchunked", "501 bad-length"},       // unknown
        {"gzip, chunked", "400 bad-length"},  // lists: the last one counts for some, the first for others
        {"chunked, gzip", "400 bad-length"},
        {"chunked, chunked", "400 bad-length"},
        {", chunked", "400 bad-length"},
        {"chunked,", "400 bad-length"},
        {"\"chunked\"", "400 bad-length"},  // quoted
        {"chunked;q=1", "400 bad-length"},  // parameter
        {"", "400 bad-length"},             // empty
        {"\xa0"
         "chunked",
         "400 bad-length"},  // no-break space is no white space
        {"chun\xe2\x84\xaa"
         "ed",
         "400 bad-length"},  // Kelvin sign, a k for case folding
        {"\x0b"
         "chunked",
         "400 bad-header"},                                           // VT
        {"chunked\0"sv, "400 bad-header"},                            // NUL
        {"\r\n chunked", "400 bad-length"},                           // folded: the first line is empty already
        {"chunked\r\nTransfer-Encoding: chunked", "400 bad-length"},  // two lines
        {"chunked\r\nContent-Length: 5", "400 bad-length"},           // two framings
        {"chunked\r\nContent-Length:", "400 bad-length"},             // one of them empty
    };
    for (const HttpRow& row : rows) {
      CAPTURE(row.wire);
      CHECK(http_with_lines("Transfer-Encoding: " + std::string(row.wire) + "\r\n") == row.outcome);
    }
    CHECK(http_with_lines("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") == "400 bad-length");
  }

  TEST_CASE("the head is limited while it is read (15, 28, 29)") {
    const std::string start = "GET / HTTP/1.1\r\n";
    CHECK(http_request("GET /" + std::string(9000, 'a')) == "414 too-large");
    CHECK(http_request("GET / HTTP/1.1" + std::string(9000, ' ')) == "400 bad-line");
    CHECK(http_request(std::string(9000, 'a')) == "400 bad-line");
    CHECK(http_request(start + "X: " + std::string(33000, 'a')) == "431 too-large");
    CHECK(http_request(start + std::string(33000, 'a')) == "431 too-large");
    CHECK(http_request(start + http_repeat(":", 5000)) == "400 bad-header");
    CHECK(http_request(start + http_repeat("X: y\r\n", 100) + "X") == "431 too-large");
    CHECK(http_request(start + http_repeat("X: y\r\n", 100) + "\r\n").starts_with("GET / HTTP/1.1 keep|X=y|"));
  }

  TEST_CASE("a head that is just as long as allowed is accepted, one byte more is not") {
    const std::string wire = "GET / HTTP/1.1\r\nA: b\r\n\r\n";  // 24 bytes, the request line 16
    kt::Limits limits;
    limits.head_bytes = 24;
    limits.request_line_bytes = 16;
    limits.header_count = 1;
    CHECK(http_request(wire, limits) == "GET / HTTP/1.1 keep|A=b");
    CHECK(http_request(wire + "x", limits) == "GET / HTTP/1.1 keep|A=b rest=1");
    CHECK(http_request("GET / HTTP/1.1\r\nAb: b\r\n\r\n", limits) == "431 too-large");
    CHECK(http_request("GET /a HTTP/1.1\r\nA: b\r\n\r\n", limits) == "414 too-large");
    limits.head_bytes = 23;
    CHECK(http_request(wire, limits) == "431 too-large");
    CHECK(http_request(wire.substr(0, 22), limits) == "more");
    CHECK(http_request(wire.substr(0, 23), limits) == "431 too-large");
    CHECK(http_request("GET /abcdefghij", limits) == "more");
    CHECK(http_request("GET /abcdefghijk", limits) == "414 too-large");
    CHECK(http_response("HTTP/1.1 200 OK", limits) == "more");
    CHECK(http_response("HTTP/1.1 200 OKO", limits) == "431 too-large");
  }

  TEST_CASE("percent_decode decodes once and refuses broken escapes and control characters (17)") {
    std::string out = "before";
    CHECK(kt::percent_decode("a%20b%C3%a9%2525+", out));
    CHECK(out == "a b\xc3\xa9%25+");
    CHECK(kt::percent_decode("", out));
    CHECK(out.empty());
    for (const std::string_view bad : {"%"sv, "%4"sv, "a%zz"sv, "%00"sv, "%0d"sv, "%0A"sv, "%1f"sv, "%7f"sv, "%-1"sv}) {
      CHECK(!kt::percent_decode(Block(bad).text(), out));
    }
  }

  TEST_CASE("responses of C++ and Python services are understood (136, 137)") {
    const HttpRow rows[] = {
        {"HTTP/1.1 200 OK\r\nContent-Type: application/x-msgpack\r\nContent-Length: 5\r\n\r\nhello",
         "200 'OK' HTTP/1.1 keep length=5 type=application/x-msgpack"
         "|Content-Type=application/x-msgpack|Content-Length=5 rest=5"},
        {"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nConnection: close\n\n",
         "200 'OK' HTTP/1.1 close lf chunked|Transfer-Encoding=chunked|Connection=close"},
        {"HTTP/1.1 200\r\n\r\n", "200 '' HTTP/1.1 keep"},
        {"HTTP/1.1 404 \r\n\r\n", "404 '' HTTP/1.1 keep"},
        {"HTTP/1.0 500 Internal Error\r\n\r\n", "500 'Internal Error' HTTP/1.0 close"},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "100 'Continue' HTTP/1.1 keep rest=19"},
        {"HTTP/1.1 101 Switching\r\n\r\n", "101 'Switching' HTTP/1.1 keep"},
        {"HTTP/1.1 599 \xc3\xa9\t!\n\n", "599 '\xc3\xa9\t!' HTTP/1.1 close lf"},
    };
    for (const HttpRow& row : rows) CHECK(http_response(row.wire) == row.outcome);
  }

  TEST_CASE("bad responses are refused (136, 137, 139)") {
    const HttpRow rows[] = {
        {"HTTP/1.1 20\r\n", "400 bad-line"},          // two digits
        {"HTTP/1.1 2000 OK\r\n", "400 bad-line"},     // four digits
        {"HTTP/1.1 200X", "400 bad-line"},            // no space
        {"HTTP/1.1 099 x\r\n", "400 bad-line"},       // out of range
        {"HTTP/1.1 600 x\r\n", "400 bad-line"},       // out of range
        {"HTTP/1.1  200", "400 bad-line"},            // two spaces
        {"HTTP/1.1\t200", "400 bad-line"},            // TAB
        {"HTTP/2.0 200 OK\r\n", "505 bad-line"},      // version
        {"HTTP/1.1 200 O\0K\r\n"sv, "400 bad-line"},  // NUL
        {"HTTP/1.1 200 O\rK\r\n", "400 bad-line"},    // CR
        {"http/1.1 200 OK\r\n", "400 bad-line"},      // case
        {"\r\nHTTP/1.1 200 OK\r\n", "400 bad-line"},  // empty line first
        {"<html>", "400 bad-line"},                   // no HTTP at all
        {"0\r\n\r\n", "400 bad-line"},                // Python's empty generator; the client looks for it first
        {"HTTP/1.1 200 OK\nA: b\r\n", "400 mixed-eol"},
        {"HTTP/1.1 200 OK\r\nA : b\r\n", "400 bad-header"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n", "400 bad-length"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n", "400 bad-length"},
        {"HTTP/1.1 200 OK\r\nContent-Length:\r\n", "400 bad-length"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n", "400 bad-length"},  // CVE-2026-31870
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n", "501 bad-length"},
        {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n", "400 bad-length"},
    };
    for (const HttpRow& row : rows) {
      CAPTURE(row.wire);
      CHECK(http_response(row.wire) == row.outcome);
    }
    CHECK(http_response("HTTP/1.1 200 " + std::string(9000, 'a')) == "431 too-large");
    CHECK(http_response("HTTP/1.1 200 OK\r\n" + http_repeat("X: y\r\n", 101)) == "431 too-large");
  }
}

namespace {

/// What ChunkParser makes of the wire: "5:hello|0:|" and at the end "more", "rest=N" or a refusal.
std::string http_chunks(std::string_view wire, const kt::Limits& limits = {},
                        std::uint64_t total = kt::ChunkParser::no_total, int zero_chunks = 1) {
  return http_every_split(wire, [&](const std::vector<std::size_t>& ends) {
    kt::ChunkParser parser(limits, total);
    std::string out;
    std::size_t at = 0;
    int left = zero_chunks;
    for (const std::size_t end : ends) {
      for (;;) {
        const Block block(wire.substr(at, end - at));
        const kt::ParseResult result = parser.next(block.text());
        if (result.status == kt::Parse::bad) {
          CHECK(parser.next(block.text()).status == kt::Parse::bad);
          return out + http_refusal(result);
        }
        if (result.status == kt::Parse::need_more) break;
        at += result.consumed;
        out += std::to_string(parser.data().size()) + ":" + std::string(parser.data()) + "|";
        CHECK(parser.last() == parser.data().empty());
        if (parser.last() && --left == 0) return out + "rest=" + std::to_string(wire.size() - at);
      }
    }
    return out + "more";
  });
}

/// The same for BodyReader: "body=hello rest=N", "more" or a refusal. With `close` the gap is closed at every step.
std::string http_body_outcome(std::string_view wire, const kt::MessageHead& head, const kt::Limits& limits,
                              const std::vector<std::size_t>& ends, bool close) {
  kt::BodyReader reader(limits);
  reader.start(head);
  Block buffer("");
  std::size_t received = 0;
  for (const std::size_t end : ends) {
    buffer = Block(std::string(buffer.text()) + std::string(wire.substr(received, end - received)));
    received = end;
    const kt::ParseResult result = reader.advance(buffer.data(), buffer.size());
    if (result.status == kt::Parse::bad) {
      CHECK(reader.advance(buffer.data(), buffer.size()).status == kt::Parse::bad);
      return http_refusal(result);
    }
    CHECK(reader.body_size() <= reader.raw_size());
    CHECK(reader.raw_size() <= buffer.size());
    if (close) {
      const std::size_t size = reader.close_gap(buffer.data(), buffer.size());
      CHECK(reader.body_size() == reader.raw_size());
      buffer = Block(buffer.text().substr(0, size));
    }
    if (result.status == kt::Parse::need_more) continue;
    if (!close) CHECK(result.consumed == reader.raw_size());
    CHECK(reader.advance(buffer.data(), buffer.size()).consumed == reader.raw_size());
    return "body=" + std::string(buffer.text().substr(0, reader.body_size())) +
           " rest=" + std::to_string(wire.size() - received + buffer.size() - reader.raw_size());
  }
  return "more";
}

std::string http_body(std::string_view wire, std::optional<std::uint64_t> length, const kt::Limits& limits = {}) {
  kt::MessageHead head;
  head.content_length = length;
  head.chunked = !length;
  const std::string closed = http_every_split(
      wire, [&](const std::vector<std::size_t>& ends) { return http_body_outcome(wire, head, limits, ends, true); });
  const std::string outcome = http_every_split(
      wire, [&](const std::vector<std::size_t>& ends) { return http_body_outcome(wire, head, limits, ends, false); });
  CHECK(closed == outcome);
  return outcome;
}

std::string http_one_byte_chunks(std::size_t count, std::string_view extension = "") {
  return http_repeat("1" + std::string(extension) + "\r\nx\r\n", count) + "0\r\n\r\n";
}

}  // namespace

TEST_SUITE("wire/http_body") {
  TEST_CASE("three chunks are the same however they are split (49)") {
    const std::string wire = "5\r\nhello\r\n1;a=b\r\n,\r\n0c\r\n world\r\n\r\n!!\r\n0\r\nX: y\r\n\r\nGET";
    CHECK(http_chunks(wire) == "5:hello|1:,|12: world\r\n\r\n!!|0:|rest=3");
    CHECK(http_body(wire, std::nullopt) == "body=hello, world\r\n\r\n!! rest=3");
  }

  TEST_CASE("legal sizes, extensions and trailers are accepted (45, 47, 51, 52)") {
    const HttpRow rows[] = {
        {"0\r\n\r\n", "body= rest=0"},
        {"000\r\n\r\n", "body= rest=0"},
        {"0;a\r\n\r\n", "body= rest=0"},
        {"0000000000000001\r\na\r\n0\r\n\r\n", "body=a rest=0"},
        {"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "body=01234567890123456789 rest=0"},
        {"1;a=b;c;d=\"q\\\"q; \t\xc3\xa9\\\\\";e\r\nx\r\n0\r\n\r\n", "body=x rest=0"},
        {"1;a=\"\"\r\nx\r\n0\r\n\r\n", "body=x rest=0"},
        {"0\r\nX:GET /ping HTTP/1.1\r\nHost: h\r\n\r\n", "body= rest=0"},  // one body, not a request
        {"0\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\n\r\nhello", "body= rest=5"},
        {"5\r\nhel", "more"},
        {"", "more"},
    };
    for (const HttpRow& row : rows) {
      CAPTURE(row.wire);
      CHECK(http_body(row.wire, std::nullopt) == row.outcome);
    }
  }

  TEST_CASE("bad chunks are refused (45, 46, 47, 51, 52)") {
    const HttpRow rows[] = {
        {"0x5\r\n", "400 bad-chunk"},                   // strtoul's prefix
        {"+5\r\n", "400 bad-chunk"},                    // strtoul's sign
        {"-2\r\n", "400 bad-chunk"},                    // CVE-2026-45352
        {"1_0\r\n", "400 bad-chunk"},                   // Python's int()
        {" 5\r\n", "400 bad-chunk"},                    // white space before
        {"5 \r\n", "400 bad-chunk"},                    // and behind
        {"5 ;a\r\n", "400 bad-chunk"},                  // and before an extension
        {"g\r\n", "400 bad-chunk"},                     // no hex digit
        {":\r\n", "400 bad-chunk"},                     // between 9 and A
        {"5.0\r\n", "400 bad-chunk"},                   // no number
        {"\r\n", "400 bad-chunk"},                      // empty
        {";a\r\n", "400 bad-chunk"},                    // empty
        {"00000000000000000", "400 bad-chunk"},         // 17 digits
        {"80000000\r\n", "413 too-large"},              // 2^31
        {"FFFFFFFFFFFFFFFE\r\n", "413 too-large"},      // -2
        {"1000000000000000d\r\n", "413 too-large"},     // 13 in 64 bit
        {"5\n", "400 bad-chunk"},                       // LF
        {"5\rX", "400 bad-chunk"},                      // CR without LF
        {"5\r\r\n", "400 bad-chunk"},                   // CR without LF
        {"5\n\r", "400 bad-chunk"},                     // LFCR
        {"1\r\naXX", "400 bad-chunk"},                  // no CRLF behind the data
        {"1\r\na\rX", "400 bad-chunk"},                 // CR without LF
        {"1\r\na\n", "400 bad-chunk"},                  // LF
        {"1\r\na0\r\n", "400 bad-chunk"},               // nothing
        {"1\r\nab\r\n", "400 bad-chunk"},               // surplus
        {"1\r\na\r\n\r\n", "400 bad-chunk"},            // surplus line
        {"5;\r\n", "400 bad-chunk"},                    // extension without name
        {"5;;a\r\n", "400 bad-chunk"},                  // extension without name
        {"5;a=\r\n", "400 bad-chunk"},                  // extension without value
        {"5;a b\r\n", "400 bad-chunk"},                 // no token
        {"5;a=b c\r\n", "400 bad-chunk"},               // no token
        {"5; a\r\n", "400 bad-chunk"},                  // white space
        {"5;a=\"b\r\n", "400 bad-chunk"},               // open quote
        {"5;a=\"b\"c\r\n", "400 bad-chunk"},            // text behind the quote
        {"5;a=\"\\\x01\"\r\n", "400 bad-chunk"},        // CTL, escaped
        {"5;a=\"\\\r\n", "400 bad-chunk"},              // CR, escaped
        {"5;a\x01\r\n", "400 bad-chunk"},               // CTL
        {"5;a=\"\0\"\r\n"sv, "400 bad-chunk"},          // NUL
        {"5;a\n\r\n", "400 bad-chunk"},                 // LF
        {"5;a\rb\r\n", "400 bad-chunk"},                // CR
        {"5\0\r\n"sv, "400 bad-chunk"},                 // NUL
        {"0\n\n", "400 bad-chunk"},                     // LF
        {"0\r\n\n", "400 mixed-eol"},                   // LF
        {"0\r\nX: y\n", "400 mixed-eol"},               // LF
        {"0\r\nX : y\r\n", "400 bad-header"},           // as strict as headers
        {"0\r\nX: y\r\n z\r\n", "400 bad-header"},      // as strict as headers
        {"0\r\nGET / HTTP/1.1\r\n", "400 bad-header"},  // a request without the empty line before it
        {"0\r\n\rX", "400 bad-header"},                 // CR without LF
    };
    for (const HttpRow& row : rows) {
      CAPTURE(row.wire);
      CHECK(http_body(row.wire, std::nullopt) == row.outcome);
      CHECK(http_chunks(row.wire).ends_with(row.outcome));
    }
  }

  TEST_CASE("chunk lines and trailers are limited while they are read (47, 51)") {
    CHECK(http_chunks("1;" + std::string(252, 'a') + "\r\nx\r\n").starts_with("1:x|"));
    CHECK(http_chunks("1;" + std::string(253, 'a') + "\r\nx\r\n") == "400 bad-chunk");
    CHECK(http_chunks("1;" + std::string(300, 'a')) == "400 bad-chunk");
    CHECK(http_chunks("1;" + std::string(253, 'a')) == "more");
    CHECK(http_chunks("1;" + std::string(254, 'a')) == "400 bad-chunk");
    CHECK(http_chunks("0\r\n" + http_repeat("X: y\r\n", 32) + "\r\n") == "0:|rest=0");
    CHECK(http_chunks("0\r\n" + http_repeat("X: y\r\n", 32) + "X") == "431 too-large");
    CHECK(http_chunks("0\r\nX: " + std::string(9000, 'a')) == "431 too-large");
    const std::string last = "0\r\n" + http_repeat("X: y\r\n", 32) + "\r\n";  // counted anew behind each zero chunk
    CHECK(http_chunks(last + last, {}, kt::ChunkParser::no_total, 2) == "0:|0:|rest=0");
    kt::Limits limits;
    limits.chunk_overhead_bytes = 200;
    CHECK(http_chunks(last + last, limits, kt::ChunkParser::no_total, 2) == "0:|400 bad-chunk");
  }

  TEST_CASE("framing may not outweigh the data by far (48)") {
    const kt::Limits limits;
    kt::MessageHead head;
    head.chunked = true;
    kt::BodyReader reader(limits);
    reader.start(head);
    std::string wire = http_one_byte_chunks(100'000);
    CHECK(reader.advance(wire.data(), wire.size()).consumed == wire.size());
    CHECK(wire.substr(0, reader.body_size()) == std::string(100'000, 'x'));
    reader.start(head);
    wire = http_one_byte_chunks(20'000, ";a=b");
    CHECK(http_refusal(reader.advance(wire.data(), wire.size())) == "400 bad-chunk");
    reader.start(head);
    wire = http_one_byte_chunks(20'000, ";abc");
    CHECK(http_refusal(reader.advance(wire.data(), wire.size())) == "400 bad-chunk");
    reader.start(head);
    wire = http_one_byte_chunks(20'000, ";ab");
    CHECK(reader.advance(wire.data(), wire.size()).consumed == wire.size());
  }

  TEST_CASE("the sum of the chunks is limited, not only the last one (50)") {
    kt::Limits limits;
    limits.body_bytes = 10;
    CHECK(http_body("5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n", std::nullopt, limits) == "body=helloworld rest=0");
    CHECK(http_body("5\r\nhello\r\n6", std::nullopt, limits) == "413 too-large");
    CHECK(http_body("b", std::nullopt, limits) == "413 too-large");
    CHECK(http_chunks("5\r\nhello\r\n6", limits, 10) == "5:hello|413 too-large");
    CHECK(http_chunks("5\r\nhello\r\n6\r\nworld!\r\n", limits) == "5:hello|6:world!|more");
    CHECK(http_chunks("b", limits) == "413 too-large");
  }

  TEST_CASE("a stream goes on behind a zero chunk, as forwarded Python streams do") {
    CHECK(http_chunks("1\r\na\r\n0\r\n\r\n1\r\nb\r\n0\r\n\r\n", {}, kt::ChunkParser::no_total, 2) ==
          "1:a|0:|1:b|0:|rest=0");
    kt::Limits limits;
    limits.chunk_overhead_bytes = 100;
    const std::string zeros = http_repeat("0\r\n\r\n", 100);
    CHECK(http_chunks(zeros, limits, kt::ChunkParser::no_total, 100).ends_with("|400 bad-chunk"));
    kt::ChunkParser parser(limits, 3);
    CHECK(parser.next("3\r\nabc\r\n").consumed == 8);
    CHECK(parser.next("1").http_status == 413);
    parser.reset();
    CHECK(parser.next("3\r\nabc\r\n").consumed == 8);
  }

  TEST_CASE("a body of known length is taken exactly (36, 42, 44)") {
    CHECK(http_body("hello", 5) == "body=hello rest=0");
    CHECK(http_body("helloGET / HTTP/1.1", 5) == "body=hello rest=14");
    CHECK(http_body("hell", 5) == "more");
    CHECK(http_body("GET", 0) == "body= rest=3");
    kt::Limits limits;
    limits.body_bytes = 4;
    CHECK(http_body("hello", 5, limits) == "413 too-large");
    CHECK(http_body("", 1ULL << 40, limits) == "413 too-large");
    kt::MessageHead head;
    CHECK(kt::check_body_length(head, limits).status == kt::Parse::complete);
    head.content_length = 4;
    CHECK(kt::check_body_length(head, limits).status == kt::Parse::complete);
    head.content_length = 5;
    CHECK(http_refusal(kt::check_body_length(head, limits)) == "413 too-large");
    kt::BodyReader reader(limits);
    CHECK(reader.advance(nullptr, 0).status == kt::Parse::complete);
  }

  TEST_CASE("a large body in tiny segments costs linear time") {
    const kt::Limits limits;
    kt::MessageHead head;
    head.chunked = true;
    kt::BodyReader reader(limits);
    reader.start(head);
    std::string data =
        "80000\r\n" + std::string(0x80000, 'x') + "\r\n1;" + std::string(200, 'y') + "\r\nz\r\n0\r\n\r\n";
    for (std::size_t size = 0; size < data.size(); ++size) {
      REQUIRE(reader.advance(data.data(), size).status == kt::Parse::need_more);
    }
    CHECK(reader.advance(data.data(), data.size()).consumed == data.size());
    CHECK(reader.body_size() == 0x80001);
  }
}

TEST_SUITE("wire/http_writer") {
  TEST_CASE("response heads are spelled as the Python client compares them (2, 3, 4)") {
    std::string out = "before|";
    CHECK(kt::append_response_head(out, {.content_type = "application/x-msgpack",
                                         .content_length = 5,
                                         .connection = kt::ConnectionHeader::close,
                                         .bare_lf = true}));
    CHECK(out ==
          "before|HTTP/1.1 200 OK\nContent-Type: application/x-msgpack\nContent-Length: 5\nConnection: close\n\n");
    out.clear();
    CHECK(kt::append_response_head(out, {.content_type = "application/json", .chunked = true}));
    CHECK(out == "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n");
    out.clear();
    const kt::HeaderField extra[] = {{"Allow", "GET, POST"}, {"X-Empty", ""}};
    CHECK(kt::append_response_head(
        out, {.status = 405, .content_length = 0, .connection = kt::ConnectionHeader::keep_alive, .extra = extra}));
    CHECK(out ==
          "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\nConnection: keep-alive\r\n"
          "Allow: GET, POST\r\nX-Empty: \r\n\r\n");
  }

  TEST_CASE("request heads are what Python services understand (1, 7)") {
    std::string out;
    CHECK(kt::append_request_head(out, {.target = "/TOPSECRET/purr",
                                        .content_type = "application/x-msgpack",
                                        .content_length = 19,
                                        .connection = kt::ConnectionHeader::close,
                                        .bare_lf = true}));
    CHECK(out ==
          "POST /TOPSECRET/purr HTTP/1.1\nConnection: close\nContent-Type: application/x-msgpack\n"
          "Content-Length: 19\n\n");
    out.clear();
    CHECK(kt::append_request_head(out, {.method = "GET", .host = "[::1]:80"}));
    CHECK(out == "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n");
  }

  TEST_CASE("nothing breaks out of a head (82, 83, 143)") {
    std::string out = "before";
    const std::string_view values[] = {"a\rb", "a\nb", "text/plain\r\nSet-Cookie: a=b", "a\0b"sv, "\x01",
                                       "\x1b", "\x7f"};
    for (const std::string_view value : values) {
      CAPTURE(value);
      const kt::HeaderField extra[] = {{"X", value}};
      CHECK(!kt::append_response_head(out, {.content_type = value}));
      CHECK(!kt::append_response_head(out, {.extra = extra}));
      CHECK(!kt::append_request_head(out, {.content_type = value}));
      CHECK(!kt::append_request_head(out, {.extra = extra}));
      CHECK(!kt::append_request_head(out, {.target = value}));
      CHECK(!kt::append_request_head(out, {.host = value}));
      CHECK(!kt::append_request_head(out, {.method = value}));
    }
    for (const std::string_view name : {""sv, "X A"sv, "X:"sv, "X\r\n"sv, "X\0"sv, "X\xe9"sv, "content-LENGTH"sv,
                                        "Transfer-Encoding"sv, "connection"sv, "Content-Type"sv}) {
      CAPTURE(name);
      const kt::HeaderField extra[] = {{"Fine", "fine"}, {name, "1"}};
      CHECK(!kt::append_response_head(out, {.extra = extra}));
      CHECK(!kt::append_request_head(out, {.extra = extra}));
    }
    for (const std::string_view target :
         {""sv, "/a b"sv, "/a\tb"sv, "/\xc3\xa9"sv, "/#"sv, "/\\"sv, "/a HTTP/1.1\r\n"sv}) {
      CHECK(!kt::append_request_head(out, {.target = target}));
    }
    const kt::HeaderField host[] = {{"Host", "b"}};
    CHECK(!kt::append_request_head(out, {.host = "a", .extra = host}));
    CHECK(!kt::append_request_head(out, {.host = "a/b"}));
    CHECK(!kt::append_request_head(out, {.method = ""}));
    CHECK(!kt::append_request_head(out, {.method = "GET "}));
    CHECK(!kt::append_request_head(out, {.method = "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG"}));
    CHECK(out == "before");
  }

  TEST_CASE("impossible answers are refused (86, 88)") {
    std::string out;
    for (const int status : {-1, 0, 99, 100, 101, 199, 600, 1000})
      CHECK(!kt::append_response_head(out, {.status = status}));
    CHECK(!kt::append_response_head(out, {.content_length = 1, .chunked = true}));
    CHECK(!kt::append_response_head(out, {.status = 204, .chunked = true}));
    CHECK(!kt::append_response_head(out, {.status = 204, .content_length = 1}));
    CHECK(out.empty());
    CHECK(kt::append_response_head(out, {.status = 204, .content_length = 0}));
    CHECK(out == "HTTP/1.1 204 No Content\r\n\r\n");
    CHECK(kt::reason_phrase(200) == "OK");
    CHECK(kt::reason_phrase(511) == "Network Authentication Required");
    CHECK(kt::reason_phrase(299) == "Unknown");
    CHECK(kt::reason_phrase(0) == "Unknown");
  }

  TEST_CASE("what the writer writes, the parsers read (I4)") {
    std::string out;
    const kt::HeaderField extra[] = {{"X-Kitten", "m\xc3\xa9ow"}};
    REQUIRE(kt::append_response_head(
        out, {.status = 404, .content_type = "text/plain", .content_length = 3, .extra = extra}));
    CHECK(http_response(out).starts_with("404 'Not Found' HTTP/1.1 keep length=3 type=text/plain|"));
    out.clear();
    REQUIRE(kt::append_request_head(out, {.target = "/a?b", .host = "h:1", .content_length = 3, .extra = extra}));
    CHECK(http_request(out).starts_with("POST /a query=b HTTP/1.1 keep length=3 host=h:1|"));
    CHECK(http_response(kt::continue_response) == "100 'Continue' HTTP/1.1 keep");
  }

  TEST_CASE("chunks are framed, and empty ones left out because they would end the body") {
    std::string out;
    kt::append_chunk(out, "hello");
    kt::append_chunk(out, "");
    kt::append_chunk(out, std::string(27, 'x'));
    kt::append_last_chunk(out);
    CHECK(out == "5\r\nhello\r\n1b\r\n" + std::string(27, 'x') + "\r\n0\r\n\r\n");
  }

  TEST_CASE("chunks written in place are the same as copied ones, whatever their sizes are") {
    std::string in_place = "head", copied = "head";
    kt::ChunkWriter writer;
    for (const std::size_t size : {0U, 1U, 15U, 16U, 255U, 256U, 20U, 4095U, 4096U, 70'000U, 3U, 0U, 3U}) {
      const std::string data(size, 'd');
      writer.begin(in_place);
      in_place += data;
      writer.end(in_place);
      kt::append_chunk(copied, data);
      CHECK(in_place == copied);
      writer.begin(in_place);
      in_place += "half an item";
      writer.cancel(in_place);
      CHECK(in_place == copied);
    }
  }
}

namespace {

/// The bytes of hex digits; blanks and dashes between them do not count.
std::string codec_bytes(std::string_view hex) {
  std::string out;
  int high = -1;
  for (const char c : hex) {
    if (c == ' ' || c == '-') continue;
    const int value = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
    if (high >= 0) out += static_cast<char>(high * 16 + value);
    high = high < 0 ? value : -1;
  }
  return out;
}

std::string codec_hex(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    if (!out.empty()) out += ' ';
    out += "0123456789abcdef"[static_cast<unsigned char>(c) >> 4];
    out += "0123456789abcdef"[static_cast<unsigned char>(c) & 15];
  }
  return out;
}

std::string codec_repeat(std::string_view what, std::size_t count) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i) out += what;
  return out;
}

/// A value with its exact kind: `u1`, `i-1`, `f0x1p+0`, `"text"`, `bin[00 ff]`, `ext-1[00]`, `[u1, u2]`, `{"a": null}`.
std::string codec_shown(const kt::json& value) {
  std::string out;
  if (value.is_null()) return "null";
  if (value.is_boolean()) return value.get<bool>() ? "true" : "false";
  if (value.is_number_unsigned()) return "u" + std::to_string(value.get<std::uint64_t>());
  if (value.is_number_integer()) return "i" + std::to_string(value.get<std::int64_t>());
  if (value.is_number_float()) {
    const double number = value.get<double>();
    if (std::isnan(number)) return "fnan";
    char text[64];
    std::snprintf(text, sizeof text, "f%a", number);
    return text;
  }
  if (value.is_string()) return "\"" + value.get<std::string>() + "\"";
  if (value.is_binary()) {
    const kt::json::binary_t& bytes = value.get_binary();
    out = "bin";
    if (bytes.has_subtype()) out = "ext" + std::to_string(static_cast<std::int8_t>(bytes.subtype()));
    return out + "[" + codec_hex({reinterpret_cast<const char*>(bytes.data()), bytes.size()}) + "]";
  }
  for (const auto& [key, item] : value.items()) {
    if (!out.empty()) out += ", ";
    if (value.is_object()) out += "\"" + key + "\": ";
    out += codec_shown(item);
  }
  return value.is_object() ? "{" + out + "}" : "[" + out + "]";
}

using CodecReader = kt::CodecError (*)(std::string_view, kt::json&, int);

/// What `reader` makes of the bytes, as codec_shown() or as the slug of the error.
std::string codec_outcome(CodecReader reader, std::string_view bytes, int depth = 64) {
  const Block block(bytes);
  kt::json value = "left over";
  const kt::CodecError error = reader(block.text(), value, depth);
  if (!error) return codec_shown(value);
  CHECK(value.is_null());
  CHECK(!error.why.empty());
  CHECK(error.offset <= bytes.size());
  return std::string(error.slug);
}

std::string codec_unpacked(std::string_view bytes, int depth = 64) {
  return codec_outcome(kt::decode_msgpack, bytes, depth);
}
std::string codec_parsed(std::string_view text, int depth = 64) { return codec_outcome(kt::decode_json, text, depth); }

/// The encoding, or the slug of the error; what was in the buffer before has to stay there.
template <class Json>
std::string codec_packed(const Json& value, int depth = 64) {
  std::string out = "before";
  const kt::CodecError error = kt::encode_msgpack(value, out, depth);
  CHECK(out.substr(0, 6) == "before");
  if (!error) return out.substr(6);
  CHECK(out == "before");
  return std::string(error.slug);
}

template <class Json>
std::string codec_text(const Json& value, kt::JsonStyle style = kt::JsonStyle::compact, int depth = 64) {
  std::string out = "before";
  const kt::CodecError error = kt::encode_json(value, out, style, depth);
  CHECK(out.substr(0, 6) == "before");
  if (!error) return out.substr(6);
  CHECK(out == "before");
  return std::string(error.slug);
}

kt::json codec_ext(int code, std::string_view bytes) {
  return kt::json::binary(kt::Bytes(bytes.begin(), bytes.end()), static_cast<std::uint8_t>(code));
}

/// Lists inside each other, the innermost one empty.
kt::json codec_nested(int depth) {
  kt::json value = kt::json::array();
  for (int i = 1; i < depth; ++i) value = kt::json::array({std::move(value)});
  return value;
}

/// A small deterministic source of numbers and of values of all kinds.
class CodecRandom {
 public:
  explicit CodecRandom(std::uint64_t seed) : state_(seed) {}

  std::uint64_t number(std::uint64_t below) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return (state_ >> 33) % below;
  }
  std::size_t index(std::size_t size) { return static_cast<std::size_t>(number(size)); }
  std::string text() {
    constexpr std::string_view parts[] = {"a",  "meow", "\xC3\xA9", "\xF0\x9F\x90\xB1", "\"",
                                          "\n", "\\",   "\0"sv,     "0123456789"};
    std::string out;
    for (std::uint64_t i = number(6); i > 0; --i) out += parts[number(std::size(parts))];
    return out;
  }
  kt::json value(int depth) {
    switch (number(depth > 0 ? 10 : 8)) {
      case 0:
        return nullptr;
      case 1:
        return number(2) == 0;
      case 2:
        return (number(1u << 31) << 33 | number(1u << 31)) >> number(64);
      case 3:
        return -static_cast<std::int64_t>((number(1u << 31) << 32 | number(1u << 31)) >> number(63)) - 1;
      case 4:
        return static_cast<double>(number(1u << 30)) / 1024 - 1000;
      case 5:
        return text();
      case 6:
        return kt::bytes(text());
      case 7:
        return codec_ext(static_cast<int>(number(250)) + 2, text());
      case 8: {
        kt::json list = kt::json::array();
        for (std::uint64_t i = number(20); i > 0; --i) list.push_back(value(depth - 1));
        return list;
      }
      default: {
        kt::json map = kt::json::object();
        for (std::uint64_t i = number(20); i > 0; --i) map[text()] = value(depth - 1);
        return map;
      }
    }
  }

 private:
  std::uint64_t state_;
};

/// The event as text, or the slug of the error.
std::string codec_event(const kt::json& item) {
  std::string out = "before";
  const kt::CodecError error = kt::append_event(item, out);
  CHECK(out.substr(0, 6) == "before");
  if (!error) return out.substr(6);
  CHECK(out == "before");
  return std::string(error.slug);
}

std::string codec_read_event(std::string_view text) {
  const Block block(text);
  kt::json value = "left over";
  const kt::CodecError error = kt::parse_event(block.text(), value);
  if (!error) return codec_shown(value);
  CHECK(value.is_null());
  return std::string(error.slug);
}

/// One row of the vectors file: `hex` must decode to the value that the row names.
void codec_check_vector(const kt::json& row, const std::string& hex) {
  CAPTURE(hex);
  const std::string outcome = codec_unpacked(codec_bytes(hex));
  kt::json value;
  const bool fine = !kt::decode_msgpack(codec_bytes(hex), value);
  const auto spaced = [](const kt::json& bytes) { return codec_hex(codec_bytes(bytes.get<std::string>())); };
  if (row.contains("bigint")) {
    CHECK(codec_text(value) == row["bigint"].get<std::string>());
  } else if (row.contains("ext")) {
    const int code = row["ext"][0].get<int>();
    const std::string content = spaced(row["ext"][1]);
    // kawanet's ext 1 is no big integer, which the protocol says that ext 1 is.
    CHECK(outcome == (code == 1 && content == "10" ? "bad-body" : "ext" + std::to_string(code) + "[" + content + "]"));
  } else if (row.contains("timestamp")) {
    const auto time = kt::timestamp_of(value);
    REQUIRE(time);
    CHECK(time->seconds == row["timestamp"][0].get<std::int64_t>());
    CHECK(time->nanoseconds == row["timestamp"][1].get<std::uint32_t>());
  } else if (row.contains("binary")) {
    CHECK(outcome == "bin[" + spaced(row["binary"]) + "]");
  } else if (row.contains("value") && row["value"] == "nan") {
    CHECK(outcome == "fnan");
  } else if (row.contains("value")) {
    const std::string number = row["value"].get<std::string>();
    CHECK((number.ends_with("inf") ? outcome == "f" + number : outcome == codec_parsed(number)));
  } else {
    const kt::json bignum = row.contains("bignum") ? kt::json::parse(row["bignum"].get<std::string>()) : kt::json();
    REQUIRE(fine);
    for (const char* kind : {"nil", "bool", "number", "string", "array", "map"}) {
      if (row.contains(kind)) CHECK(value == row[kind]);
    }
    if (row.contains("bignum")) CHECK(value == bignum);
    if (row.contains("json")) CHECK(value == kt::json::parse(row["json"].get<std::string>()));
  }
}

/// One row of the section `shortest`: how the written value must start.
void codec_check_shortest(const kt::json& row) {
  kt::json value;
  std::size_t content = 0;
  for (const auto& [kind, size] : row.items()) {
    CAPTURE(kind);
    if (!kind.ends_with("_of_length")) continue;
    content = size.get<std::size_t>();
    if (kind.starts_with("string")) value = std::string(content, 'x');
    if (kind.starts_with("binary")) value = kt::bytes(std::string(content, 'x'));
    if (kind.starts_with("ext")) value = codec_ext(row["type"].get<int>(), std::string(content, 'x'));
    if (kind.starts_with("array")) value = kt::json::array_t(content);
    if (kind.starts_with("map")) {
      value = kt::json::object();
      for (std::size_t i = 0; i < content; ++i) value[std::string(1, static_cast<char>('a' + i))] = i;
      content *= 3;
    }
  }
  if (row.contains("integer")) value = kt::json::parse(row["integer"].get<std::string>());
  const std::string bytes = codec_packed(value);
  const std::string header = codec_bytes(row[row.contains("hex") ? "hex" : "header"].get<std::string>());
  CHECK(bytes.substr(0, header.size()) == header);
  CHECK(bytes.size() == header.size() + content);
}

}  // namespace

TEST_SUITE("wire/text") {
  TEST_CASE("well-formed UTF-8 is recognised wherever it stands in a word") {
    for (const std::string_view text :
         {""sv, "a"sv, "\0"sv, "\x7F"sv, "\xC2\x80"sv, "\xDF\xBF"sv, "\xE0\xA0\x80"sv, "\xED\x9F\xBF"sv,
          "\xEE\x80\x80"sv, "\xEF\xBF\xBF"sv, "\xF0\x90\x80\x80"sv, "\xF4\x8F\xBF\xBF"sv, "a\xC3\xA9z\xE2\x82\xAC"sv}) {
      for (std::size_t before = 0; before < 18; ++before) {
        for (std::size_t after = 0; after < 18; after += 3) {
          const std::string whole = std::string(before, 'a') + std::string(text) + std::string(after, 'z');
          CAPTURE(codec_hex(whole));
          CHECK(kt::is_utf8(Block(whole).text()));
          std::string out = "x";
          kt::append_utf8(out, whole);
          CHECK(out == "x" + whole);
        }
      }
    }
  }

  TEST_CASE("malformed UTF-8 is refused, and replaced one U+FFFD for each maximal part") {
    struct Row {
      std::string_view bytes, mended, why;
    };
    const Row rows[] = {
        {"80", "?", "a continuation alone"},
        {"bf bf", "??", "two of them"},
        {"c3", "?", "cut after the lead"},
        {"c3 28", "?(", "a lead before ASCII"},
        {"c0 af", "??", "overlong slash"},
        {"c1 bf", "??", "overlong, two bytes"},
        {"e0 80 af", "???", "overlong, three bytes"},
        {"e0 9f bf", "???", "overlong, three bytes, the last one"},
        {"f0 80 80 af", "????", "overlong, four bytes"},
        {"f0 8f bf bf", "????", "overlong, four bytes, the last one"},
        {"ed a0 80", "???", "first surrogate"},
        {"ed bf bf", "???", "last surrogate"},
        {"ed a0 bd ed b0 80", "??????", "a pair of surrogates (CESU-8)"},
        {"f4 90 80 80", "????", "beyond U+10FFFF"},
        {"f5 80 80 80", "????", "a lead that cannot be"},
        {"f8 88 80 80 80", "?????", "five bytes"},
        {"ff fe", "??", "bytes that UTF-8 does not have"},
        {"e2 82", "?", "cut after two of three: one part"},
        {"f0 9f 90", "?", "cut after three of four: one part"},
        {"f0 9f 90 61", "?a", "the same before ASCII"},
        {"e2 82 c3 a9", "?\xC3\xA9", "cut by a good sequence"},
        {"61 f1 80 80 e1 80 c2 62 80 63 80 bf 64", "a???b?c??d", "the example of the Unicode standard, section 3.9"},
    };
    for (const Row& row : rows) {
      CAPTURE(row.why);
      std::string mended;
      for (const char c : row.mended) mended += c == '?' ? "\xEF\xBF\xBD"s : std::string(1, c);
      for (const std::size_t before : {0u, 1u, 7u, 8u, 9u}) {
        const std::string bytes = std::string(before, 'a') + codec_bytes(row.bytes);
        const Block block(bytes);
        CHECK(!kt::is_utf8(block.text()));
        std::string out;
        kt::append_utf8(out, block.text());
        CHECK(out == std::string(before, 'a') + mended);
        CHECK(kt::is_utf8(out));
      }
    }
  }

  TEST_CASE("base64 has the vectors of RFC 4648 in both forms") {
    const std::string_view rows[][3] = {{"", "", ""},
                                        {"f", "Zg==", "Zg"},
                                        {"fo", "Zm8=", "Zm8"},
                                        {"foo", "Zm9v", "Zm9v"},
                                        {"foob", "Zm9vYg==", "Zm9vYg"},
                                        {"fooba", "Zm9vYmE=", "Zm9vYmE"},
                                        {"foobar", "Zm9vYmFy", "Zm9vYmFy"},
                                        {"\xFB\xEF\xFF", "++//", "--__"},
                                        {"\0\xFF"sv, "AP8=", "AP8"}};
    for (const auto& [bytes, standard, url] : rows) {
      std::string out = "x";
      kt::append_base64(out, Block(bytes).text());
      CHECK(out == "x" + std::string(standard));
      out.clear();
      kt::append_base64(out, bytes, kt::Base64::url);
      CHECK(out == url);
      const kt::Bytes expected(bytes.begin(), bytes.end());
      CHECK(kt::decode_base64(Block(standard).text()) == expected);
      CHECK(kt::decode_base64(Block(url).text(), kt::Base64::url) == expected);
    }
    for (std::size_t size = 0; size < 300; ++size) {
      std::string bytes;
      for (std::size_t i = 0; i < size; ++i) bytes += static_cast<char>(i * 7 + size);
      for (const kt::Base64 form : {kt::Base64::standard, kt::Base64::url}) {
        std::string out;
        kt::append_base64(out, bytes, form);
        CHECK(kt::decode_base64(out, form) == kt::Bytes(bytes.begin(), bytes.end()));
      }
    }
  }

  TEST_CASE("base64 that is not exactly what we would write is refused") {
    const std::string_view standard[][2] = {
        {"Zg", "no padding"},
        {"Zg=", "too little padding"},
        {"Zg===", "too much padding"},
        {"Z", "one digit"},
        {"Z===", "one digit, padded"},
        {"====", "only padding"},
        {"=", "only padding"},
        {"Zh==", "leftover bits"},
        {"Zm9=", "leftover bits"},
        {"Zm9vYg==Zg==", "padding inside"},
        {"Z=g=", "padding inside"},
        {"Zm 9v", "blank"},
        {"Zm9v\n", "line end"},
        {"Zm9\n", "line end in a group"},
        {"--__", "the other alphabet"},
        {"Zm9\0"sv, "NUL"},
        {"Zm9\xC3", "not ASCII"},
        {"Zm9v====", "padding of its own"},
        {"Zg==\0\0\0\0"sv, "NUL behind"},
    };
    for (const auto& [text, why] : standard) {
      CAPTURE(why);
      CHECK(!kt::decode_base64(Block(text).text()));
    }
    for (const std::string_view text : {"Zg=="sv, "Z"sv, "Zh"sv, "Zm9"sv.substr(0, 1), "++//"sv, "Zm9vY"sv, "Zg\n"sv}) {
      CAPTURE(text);
      CHECK(!kt::decode_base64(Block(text).text(), kt::Base64::url));
    }
  }

  TEST_CASE("integers change their radix exactly at any size") {
    CHECK(kt::detail::convert_digits("0", 10, 16) == "0");
    CHECK(kt::detail::convert_digits("18446744073709551616", 10, 16) == "10000000000000000");
    CHECK(kt::detail::convert_digits("10000000000000000", 16, 10) == "18446744073709551616");
    CHECK(kt::detail::convert_digits("1000000000000000000000000000000000000", 10, 16) ==
          "c097ce7bc90715b34b9f1000000000");
    CHECK(kt::detail::convert_digits(std::string(1024, 'f'), 16, 10).size() == kt::detail::big_integer_decimal_digits);
    CHECK(kt::detail::convert_digits("1" + std::string(1233, '0'), 10, 16).size() <=
          kt::detail::big_integer_hex_digits);
    CodecRandom random(3);
    for (std::size_t size = 1; size < 300; ++size) {
      std::string digits(1, static_cast<char>('1' + random.number(9)));
      while (digits.size() < size) digits += static_cast<char>('0' + random.number(10) * random.number(2));
      const std::string hex = kt::detail::convert_digits(Block(digits).text(), 10, 16);
      CHECK(kt::detail::convert_digits(hex, 16, 10) == digits);
    }
  }

  TEST_CASE("keys that occur twice are found among few, many and prepared ones") {
    const auto different = [](const std::vector<std::string>& keys) {
      return kt::detail::all_different(keys.size(), [&](std::size_t i) -> std::string_view { return keys[i]; });
    };
    // Keys whose hashes fall into one place of the table, so that the search gives up hashing.
    std::vector<std::string> crowd;
    for (int i = 0; crowd.size() < 60; ++i) {
      std::string key = std::to_string(i);
      if (std::hash<std::string_view>{}(key) % 128 == 5) crowd.push_back(key);
    }
    CHECK(different(crowd));
    crowd[59] = crowd[1];
    CHECK(!different(crowd));
    for (const std::size_t count : {0u, 1u, 2u, 15u, 16u, 17u, 33u, 1000u}) {
      std::vector<std::string> keys;
      for (std::size_t i = 0; i < count; ++i) keys.push_back("key" + std::to_string(i));
      CHECK(different(keys));
      for (std::size_t i = 0; i < (std::min)(count, std::size_t{20}); ++i) {
        if (i + 1 == count) continue;
        auto twice = keys;
        twice.back() = keys[i];
        CHECK(!different(twice));
      }
    }
  }
}

TEST_SUITE("wire/msgpack") {
  TEST_CASE("every format is read, in its shortest and its longer forms") {
    const std::string_view rows[][2] = {
        {"c0", "null"},
        {"c2", "false"},
        {"c3", "true"},
        // positive fixint, uint 8 to 64
        {"00", "u0"},
        {"7f", "u127"},
        {"cc 00", "u0"},
        {"cc 80", "u128"},
        {"cc ff", "u255"},
        {"cd 00 01", "u1"},
        {"cd 01 00", "u256"},
        {"cd ff ff", "u65535"},
        {"ce 00 00 00 01", "u1"},
        {"ce 00 01 00 00", "u65536"},
        {"ce ff ff ff ff", "u4294967295"},
        {"cf 00 00 00 00 00 00 00 00", "u0"},
        {"cf 01 02 03 04 05 06 07 08", "u72623859790382856"},
        {"cf 80 00 00 00 00 00 00 00", "u9223372036854775808"},
        {"cf ff ff ff ff ff ff ff ff", "u18446744073709551615"},
        // negative fixint, int 8 to 64; unsigned when not negative
        {"ff", "i-1"},
        {"e0", "i-32"},
        {"d0 00", "u0"},
        {"d0 7f", "u127"},
        {"d0 80", "i-128"},
        {"d0 ff", "i-1"},
        {"d1 7f ff", "u32767"},
        {"d1 80 00", "i-32768"},
        {"d1 ff 7f", "i-129"},
        {"d2 7f ff ff ff", "u2147483647"},
        {"d2 80 00 00 00", "i-2147483648"},
        {"d2 ff ff ff ff", "i-1"},
        {"d3 00 00 00 00 00 00 00 05", "u5"},
        {"d3 7f ff ff ff ff ff ff ff", "u9223372036854775807"},
        {"d3 80 00 00 00 00 00 00 00", "i-9223372036854775808"},
        {"d3 ff ff ff ff ff ff ff fe", "i-2"},
        // float 32, float 64
        {"ca 3f 80 00 00", "f0x1p+0"},
        {"ca 3d cc cc cd", "f0x1.99999ap-4"},
        {"ca 80 00 00 00", "f-0x0p+0"},
        {"ca 00 00 00 01", "f0x1p-149"},
        {"ca 7f 7f ff ff", "f0x1.fffffep+127"},
        {"ca 7f 80 00 00", "finf"},
        {"ca ff 80 00 00", "f-inf"},
        {"ca 7f c0 00 00", "fnan"},
        {"ca 7f 80 00 01", "fnan"},
        {"cb 3f f0 00 00 00 00 00 00", "f0x1p+0"},
        {"cb 80 00 00 00 00 00 00 00", "f-0x0p+0"},
        {"cb 00 00 00 00 00 00 00 01", "f0x0.0000000000001p-1022"},
        {"cb 7f ef ff ff ff ff ff ff", "f0x1.fffffffffffffp+1023"},
        {"cb 7f f0 00 00 00 00 00 00", "finf"},
        {"cb ff f0 00 00 00 00 00 00", "f-inf"},
        {"cb 7f f8 00 00 00 00 00 00", "fnan"},
        {"cb 7f f0 00 00 00 00 00 01", "fnan"},
        {"cb ff f8 00 00 00 00 00 00", "fnan"},
        // fixstr, str 8 to 32
        {"a0", "\"\""},
        {"a3 61 62 63", "\"abc\""},
        {"d9 00", "\"\""},
        {"d9 01 61", "\"a\""},
        {"da 00 00", "\"\""},
        {"da 00 01 61", "\"a\""},
        {"db 00 00 00 00", "\"\""},
        {"db 00 00 00 02 c3 a9", "\"\xC3\xA9\""},
        {"a4 f0 9f 90 b1", "\"\xF0\x9F\x90\xB1\""},
        {"a3 61 00 62", "\"a\0b\""sv},
        // bin 8 to 32
        {"c4 00", "bin[]"},
        {"c4 02 00 ff", "bin[00 ff]"},
        {"c5 00 00", "bin[]"},
        {"c5 00 01 80", "bin[80]"},
        {"c6 00 00 00 00", "bin[]"},
        {"c6 00 00 00 03 61 62 63", "bin[61 62 63]"},
        // fixarray, array 16 and 32; fixmap, map 16 and 32
        {"90", "[]"},
        {"93 01 a1 61 c0", "[u1, \"a\", null]"},
        {"dc 00 00", "[]"},
        {"dc 00 01 c3", "[true]"},
        {"dd 00 00 00 00", "[]"},
        {"dd 00 00 00 02 01 ff", "[u1, i-1]"},
        {"80", "{}"},
        {"81 a1 61 01", "{\"a\": u1}"},
        {"81 a0 01", "{\"\": u1}"},
        {"82 a1 62 01 a1 61 02", "{\"b\": u1, \"a\": u2}"},
        {"de 00 00", "{}"},
        {"de 00 01 d9 01 61 c2", "{\"a\": false}"},
        {"df 00 00 00 00", "{}"},
        {"df 00 00 00 01 da 00 01 61 90", "{\"a\": []}"},
        {"81 db 00 00 00 01 6b 80", "{\"k\": {}}"},
        {"82 a1 61 92 01 c0 a1 62 81 a1 63 c2", "{\"a\": [u1, null], \"b\": {\"c\": false}}"},
        {"94 90 91 90 80 81 a0 90", "[[], [[]], {}, {\"\": []}]"},
        // fixext 1 to 16, ext 8 to 32, empty ones included
        {"d4 05 aa", "ext5[aa]"},
        {"d4 80 aa", "ext-128[aa]"},
        {"d4 7f aa", "ext127[aa]"},
        {"d4 00 aa", "ext0[aa]"},
        {"d4 55 00", "ext85[00]"},
        {"d5 02 20 21", "ext2[20 21]"},
        {"d6 03 30 31 32 33", "ext3[30 31 32 33]"},
        {"d7 04 40 41 42 43 44 45 46 47", "ext4[40 41 42 43 44 45 46 47]"},
        {"d8 fe 50 51 52 53 54 55 56 57 58 59 5a 5b 5c 5d 5e 5f",
         "ext-2[50 51 52 53 54 55 56 57 58 59 5a 5b 5c 5d 5e 5f]"},
        {"c7 00 06", "ext6[]"},
        {"c7 01 05 aa", "ext5[aa]"},
        {"c7 03 07 70 71 72", "ext7[70 71 72]"},
        {"c8 00 00 06", "ext6[]"},
        {"c8 00 02 06 01 02", "ext6[01 02]"},
        {"c9 00 00 00 00 05", "ext5[]"},
        {"c9 00 00 00 01 05 bb", "ext5[bb]"},
    };
    std::string all =
        codec_bytes("dc") + static_cast<char>(std::size(rows) >> 8) + static_cast<char>(std::size(rows) & 0xFF);
    for (const auto& [hex, shown] : rows) {
      CAPTURE(hex);
      const std::string bytes = codec_bytes(hex);
      CHECK(codec_unpacked(bytes) == shown);
      for (std::size_t size = 0; size < bytes.size(); ++size)
        CHECK(codec_unpacked(bytes.substr(0, size)) == "bad-body");
      for (const char more : {'\0', '\xC0', '\xC1'}) CHECK(codec_unpacked(bytes + more) == "bad-body");
      all += bytes;
    }
    CHECK(codec_unpacked(all).front() == '[');
    for (std::size_t size = 0; size < all.size(); ++size) {
      kt::json value;
      const kt::CodecError error = kt::decode_msgpack(Block(std::string_view(all).substr(0, size)).text(), value);
      if (!error) CHECK(size == all.size());
    }
  }

  TEST_CASE("what is not one valid value is refused") {
    const std::string_view rows[][2] = {
        {"", "nothing"},
        {"c1", "not a format"},
        {"91 c1", "not a format, in a list"},
        {"81 c1 01", "not a format, as key"},
        {"01 02", "bytes behind"},
        {"80 c0", "a value behind"},
        {"80 80", "two documents"},
        {"90 c1", "no format behind"},
        // counts and lengths without the bytes
        {"dd ff ff ff ff", "list of 2^32-1"},
        {"df ff ff ff ff", "map of 2^32-1"},
        {"db ff ff ff ff", "string of 2^32-1"},
        {"c6 ff ff ff ff", "bytes of 2^32-1"},
        {"c9 ff ff ff ff 01", "ext of 2^32-1: length plus code must not wrap"},
        {"c8 ff ff 05", "ext of 65535"},
        {"c7 ff 05", "ext of 255"},
        {"dc ff ff c0", "list of 65535"},
        {"de ff ff a0 c0", "map of 65535"},
        {"da ff ff 61", "string of 65535"},
        {"c5 ff ff 00", "bytes of 65535"},
        {"d9 ff 61", "string of 255"},
        {"c4 ff 00", "bytes of 255"},
        {"df 80 00 00 01 a0 c0 a0 c0", "2 * count wraps in 32 bit"},
        {"dd 15 55 55 56 00 00 00 00", "12 * count wraps in 32 bit"},
        {"92 01", "one value short"},
        {"82 a1 61 01", "one pair short"},
        {"81 a1 61", "a key without value"},
        {"92 dc 00 01 c0", "an outer value short"},
        {"93 92 01 02 91", "the inner list is whole, the outer not"},
        {"d4", "no code"},
        {"d4 05", "no byte"},
        {"c7 00", "no code"},
        {"c9 00 00 00 00", "no code"},
        // keys
        {"81 01 02", "integer key"},
        {"81 ff 02", "negative key"},
        {"81 c0 02", "null key"},
        {"81 c3 02", "true key"},
        {"81 ca 00 00 00 00 02", "float key"},
        {"81 90 02", "list key"},
        {"81 80 02", "map key"},
        {"81 c4 01 61 02", "bin key"},
        {"81 d4 05 61 02", "ext key"},
        {"81 a2 ff fe 02", "key that is not UTF-8"},
        {"82 a1 61 01 a1 61 02", "the same key twice"},
        {"83 a1 61 01 a1 62 00 a1 61 02", "the same key twice, with one between"},
        {"82 a0 01 a0 01", "the empty key twice"},
        {"82 a1 61 01 d9 01 61 02", "the same key in two forms"},
        {"82 a1 61 01 c4 01 61 02", "as str and as bin"},
        {"91 82 a1 61 01 a1 61 01", "twice, deeper"},
        // text
        {"a2 ff fe", "not UTF-8"},
        {"a3 ed a0 80", "surrogate"},
        {"a2 c0 af", "overlong"},
        {"a2 e2 82", "cut"},
        {"d9 04 f4 90 80 80", "beyond Unicode"},
        {"92 a1 c3 a1 a9", "a character cut in two"},
        // big integers
        {"c7 02 01 7a 7a", "zz"},
        {"c7 00 01", "empty"},
        {"d4 01 2d", "-"},
        {"d5 01 30 78", "0x"},
        {"c7 03 01 2d 30 78", "-0x"},
        {"d5 01 2b 31", "+1"},
        {"d5 01 31 20", "blank"},
        {"d5 01 2d 2d", "--"},
        {"d4 01 00", "NUL"},
        {"d4 01 10", "a control character"},
        {"d5 01 31 5f", "1_"},
        {"c7 04 01 30 78 2d 31", "0x-1"},
        {"d4 01 67", "g"},
        {"d4 01 2f", "before 0"},
        {"d4 01 3a", "after 9"},
        {"d4 01 40", "before A"},
        {"d4 01 60", "before a"},
        {"d4 01 47", "G"},
    };
    for (const auto& [hex, why] : rows) {
      CAPTURE(why);
      CHECK(codec_unpacked(codec_bytes(hex)) == "bad-body");
    }
  }

  TEST_CASE("an error says where it is") {
    kt::json value;
    const kt::CodecError error = kt::decode_msgpack(codec_bytes("92 01 c1"), value);
    CHECK(error);
    CHECK(error.slug == "bad-body");
    CHECK(error.offset == 3);
    CHECK(!kt::CodecError{});
  }

  TEST_CASE("integers are written in their shortest form and come back exactly") {
    const std::pair<std::int64_t, std::string_view> signed_rows[] = {
        {0, "00"},
        {1, "01"},
        {127, "7f"},
        {128, "cc 80"},
        {255, "cc ff"},
        {256, "cd 01 00"},
        {65535, "cd ff ff"},
        {65536, "ce 00 01 00 00"},
        {4294967295, "ce ff ff ff ff"},
        {4294967296, "cf 00 00 00 01 00 00 00 00"},
        {INT64_MAX, "cf 7f ff ff ff ff ff ff ff"},
        {-1, "ff"},
        {-32, "e0"},
        {-33, "d0 df"},
        {-128, "d0 80"},
        {-129, "d1 ff 7f"},
        {-32768, "d1 80 00"},
        {-32769, "d2 ff ff 7f ff"},
        {-2147483647 - 1, "d2 80 00 00 00"},
        {-2147483649, "d3 ff ff ff ff 7f ff ff ff"},
        {INT64_MIN, "d3 80 00 00 00 00 00 00 00"},
    };
    for (const auto& [number, hex] : signed_rows) {
      CHECK(codec_hex(codec_packed(kt::json(number))) == hex);
      if (number >= 0) CHECK(codec_hex(codec_packed(kt::json(static_cast<std::uint64_t>(number)))) == hex);
    }
    CHECK(codec_hex(codec_packed(kt::json(UINT64_MAX))) == "cf ff ff ff ff ff ff ff ff");
    for (int bit = 0; bit < 64; ++bit) {
      for (int difference = -2; difference <= 2; ++difference) {
        const std::uint64_t number = (std::uint64_t{1} << bit) + static_cast<std::uint64_t>(difference);
        CHECK(codec_unpacked(codec_packed(kt::json(number))) == "u" + std::to_string(number));
        const auto negative = static_cast<std::int64_t>(number);
        if (negative < 0) CHECK(codec_unpacked(codec_packed(kt::json(negative))) == "i" + std::to_string(negative));
      }
    }
  }

  TEST_CASE("strings, bytes, ext values, lists and maps get the shortest header") {
    const std::pair<std::size_t, std::string_view> strings[] = {
        {0, "a0"},      {1, "a1"},         {31, "bf"},          {32, "d9 20"},
        {255, "d9 ff"}, {256, "da 01 00"}, {65535, "da ff ff"}, {65536, "db 00 01 00 00"}};
    for (const auto& [size, header] : strings)
      CHECK(codec_packed(kt::json(std::string(size, 'x'))) == codec_bytes(header) + std::string(size, 'x'));
    const std::pair<std::size_t, std::string_view> binaries[] = {
        {0, "c4 00"}, {31, "c4 1f"}, {255, "c4 ff"}, {256, "c5 01 00"}, {65535, "c5 ff ff"}, {65536, "c6 00 01 00 00"}};
    for (const auto& [size, header] : binaries)
      CHECK(codec_packed(kt::bytes(std::string(size, 'x'))) == codec_bytes(header) + std::string(size, 'x'));
    const std::pair<std::size_t, std::string_view> exts[] = {
        {0, "c7 00"},  {1, "d4"},      {2, "d5"},         {3, "c7 03"},        {4, "d6"},
        {5, "c7 05"},  {8, "d7"},      {15, "c7 0f"},     {16, "d8"},          {17, "c7 11"},
        {32, "c7 20"}, {255, "c7 ff"}, {256, "c8 01 00"}, {65535, "c8 ff ff"}, {65536, "c9 00 01 00 00"}};
    for (const auto& [size, header] : exts) {
      const std::string bytes = codec_bytes(header) + "\x05" + std::string(size, 'x');
      CHECK(codec_packed(codec_ext(5, std::string(size, 'x'))) == bytes);
      CHECK(codec_packed(codec_ext(5, std::string(size, 'x'))).size() == bytes.size());
    }
    const std::pair<std::size_t, std::string_view> lists[] = {
        {0, "90"}, {1, "91"}, {15, "9f"}, {16, "dc 00 10"}, {65535, "dc ff ff"}, {65536, "dd 00 01 00 00"}};
    for (const auto& [size, header] : lists) {
      const std::string bytes = codec_packed(kt::json(kt::json::array_t(size)));
      CHECK(bytes == codec_bytes(header) + std::string(size, '\xC0'));
      CHECK(codec_packed(kt::json(nlohmann::json::array_t(size))) == bytes);
    }
    const std::pair<std::size_t, std::string_view> maps[] = {
        {0, "80"}, {1, "81"}, {15, "8f"}, {16, "de 00 10"}, {300, "de 01 2c"}, {65536, "df 00 01 00 00"}};
    for (const auto& [size, header] : maps) {
      nlohmann::json map = nlohmann::json::object();
      for (std::size_t i = 0; i < size; ++i) map["k" + std::to_string(i)] = nullptr;
      const std::string bytes = codec_packed(map);
      CHECK(bytes.substr(0, codec_bytes(header).size()) == codec_bytes(header));
      kt::json back;
      CHECK(!kt::decode_msgpack(Block(bytes).text(), back));
      CHECK(back.size() == size);
    }
  }

  TEST_CASE("counts that MessagePack cannot express are refused") {
    char buffer[8];
    using kt::detail::msgpack_header;
    for (const auto& family : {kt::detail::msgpack_str, kt::detail::msgpack_bin, kt::detail::msgpack_array,
                               kt::detail::msgpack_map, kt::detail::msgpack_ext}) {
      CHECK(msgpack_header(buffer, family, 0xFFFFFFFF) == buffer + 5);
      CHECK(codec_hex({buffer + 1, 4}) == "ff ff ff ff");
      if constexpr (sizeof(std::size_t) > 4) {
        CHECK(msgpack_header(buffer, family, std::size_t{0xFFFFFFFF} + 1) == nullptr);
        CHECK(msgpack_header(buffer, family, SIZE_MAX) == nullptr);
      }
    }
  }

  TEST_CASE("floats keep every bit and stay floats") {
    for (const std::string_view hex :
         {"cb 3f f0 00 00 00 00 00 00"sv, "cb 80 00 00 00 00 00 00 00"sv, "cb 00 00 00 00 00 00 00 01"sv,
          "cb 7f f0 00 00 00 00 00 00"sv, "cb 7f f8 00 00 00 00 00 00"sv, "cb ff f8 00 00 00 00 00 01"sv,
          "cb 3f b9 99 99 99 99 99 9a"sv}) {
      kt::json value;
      CHECK(!kt::decode_msgpack(codec_bytes(hex), value));
      CHECK(codec_hex(codec_packed(value)) == hex);
    }
    CHECK(codec_hex(codec_packed(kt::json(1.0))) == "cb 3f f0 00 00 00 00 00 00");
    CHECK(codec_hex(codec_packed(kt::json(1.0f))) == "cb 3f f0 00 00 00 00 00 00");
    CHECK(codec_hex(codec_packed(kt::json(1))) == "01");
  }

  TEST_CASE("bytes and strings of the same content stay apart") {
    const kt::json both = {"abc", kt::bytes("abc"), codec_ext(7, "abc")};
    CHECK(codec_hex(codec_packed(both)) == "93 a3 61 62 63 c4 03 61 62 63 c7 03 07 61 62 63");
    CHECK(codec_unpacked(codec_packed(both)) == codec_shown(both));
  }

  TEST_CASE("all ext codes survive, and subtypes that are none are refused") {
    for (int code = -128; code <= 127; ++code) {
      if (code == kt::big_integer_ext) continue;
      for (const std::string_view content : {""sv, "x"sv, "xyz"sv}) {
        const kt::json value = codec_ext(code, content);
        CHECK(codec_unpacked(codec_packed(value)) == codec_shown(value));
        CHECK(codec_shown(value).substr(0, 3 + std::to_string(code).size() + 1) == "ext" + std::to_string(code) + "[");
      }
    }
    CHECK(codec_packed(kt::json::binary({1}, 256)) == "bad-body");
    CHECK(codec_packed(kt::json::array({1, kt::json::binary({1}, UINT64_MAX)})) == "bad-body");
  }

  TEST_CASE("timestamps stay ext values and can be read as such") {
    struct Row {
      std::string_view hex;
      std::int64_t seconds;
      std::uint32_t nanoseconds;
    };
    const Row rows[] = {
        {"d6 ff 00 00 00 00", 0, 0},
        {"d6 ff ff ff ff ff", 4294967295, 0},
        {"d7 ff 00 00 00 04 00 00 00 00", 0, 1},
        {"d7 ff ee 6b 27 fc 00 00 00 00", 0, 999999999},
        {"d7 ff ee 6b 27 ff ff ff ff ff", 17179869183, 999999999},
        {"d7 ff a1 dc d7 c8 5a 4a f6 a5", 1514862245, 678901234},
        {"c7 0c ff 00 00 00 00 00 00 00 00 00 00 00 01", 1, 0},
        {"c7 0c ff 3b 9a c9 ff ff ff ff ff ff ff ff ff", -1, 999999999},
        {"c7 0c ff 00 00 00 00 80 00 00 00 00 00 00 00", INT64_MIN, 0},
        {"c8 00 04 ff 5a 4a f6 a5", 1514862245, 0},
    };
    for (const Row& row : rows) {
      CAPTURE(row.hex);
      kt::json value;
      CHECK(!kt::decode_msgpack(codec_bytes(row.hex), value));
      CHECK(codec_shown(value).substr(0, 6) == "ext-1[");
      const auto time = kt::timestamp_of(value);
      REQUIRE(time);
      CHECK(time->seconds == row.seconds);
      CHECK(time->nanoseconds == row.nanoseconds);
    }
    for (const std::string_view hex :
         {"c7 00 ff"sv, "d4 ff 00"sv, "d5 ff 00 00"sv, "c7 05 ff 00 00 00 00 00"sv,
          "d8 ff 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"sv, "d7 ff ee 6b 28 00 00 00 00 00"sv,
          "d7 ff ff ff ff ff ff ff ff ff"sv, "c7 0c ff 3b 9a ca 00 00 00 00 00 00 00 00 00"sv,
          "c7 0c ff ff ff ff ff 00 00 00 00 00 00 00 00"sv}) {
      CAPTURE(hex);  // wrong lengths and too many nanoseconds: opaque, and unchanged when sent on
      kt::json value;
      CHECK(!kt::decode_msgpack(codec_bytes(hex), value));
      CHECK(!kt::timestamp_of(value));
      CHECK(codec_hex(codec_packed(value)) == hex);
    }
    for (const kt::json& value :
         {kt::json(), kt::json(5), kt::json("abcd"), kt::bytes("abcd"), codec_ext(5, "abcd"), kt::json::array()})
      CHECK(!kt::timestamp_of(value));
  }

  TEST_CASE("big integers become native ones if they fit, and are normalised otherwise") {
    const std::string_view rows[][2] = {
        {"0", "u0"},
        {"-0", "u0"},
        {"000", "u0"},
        {"f", "u15"},
        {"F", "u15"},
        {"0x1f", "u31"},
        {"0X1F", "u31"},
        {"-0x1f", "i-31"},
        {"-1", "i-1"},
        {"0x0", "u0"},
        {"ffffffffffffffff", "u18446744073709551615"},
        {"000000000ffffffffffffffff", "u18446744073709551615"},
        {"-8000000000000000", "i-9223372036854775808"},
        {"7fffffffffffffff", "u9223372036854775807"},
        {"-7fffffffffffffff", "i-9223372036854775807"},
        {"10000000000000000", "ext1:10000000000000000"},
        {"0x00010000000000000000", "ext1:10000000000000000"},
        {"-8000000000000001", "ext1:-8000000000000001"},
        {"-FFFFFFFFFFFFFFFF", "ext1:-ffffffffffffffff"},
        {"-0XABCDEF0123456789abcdef", "ext1:-abcdef0123456789abcdef"},
    };
    for (const auto& [text, shown] : rows) {
      CAPTURE(text);
      const std::string expected =
          shown.starts_with("ext1:") ? "ext1[" + codec_hex(shown.substr(5)) + "]" : std::string(shown);
      const std::string outcome =
          codec_unpacked(codec_bytes("c7") + static_cast<char>(text.size()) + "\x01" + std::string(text));
      CHECK(outcome == expected);
    }
    // The two of protocol.md, section 13, byte for byte there and back.
    for (const std::string_view hex : {"c7 11 01 31 30 30 30 30 30 30 30 30 30 30 30 30 30 30 30 30"sv,
                                       "c7 11 01 2d 38 30 30 30 30 30 30 30 30 30 30 30 30 30 30 31"sv}) {
      kt::json value;
      CHECK(!kt::decode_msgpack(codec_bytes(hex), value));
      CHECK(codec_hex(codec_packed(value)) == hex);
    }
    CHECK(codec_text(codec_ext(1, "10000000000000000")) == "18446744073709551616");
    CHECK(codec_text(codec_ext(1, "-8000000000000001")) == "-9223372036854775809");
    const auto ext16 = [](std::size_t size, char digit) {
      return "\xC8"s + static_cast<char>(size >> 8) + static_cast<char>(size & 0xFF) + '\x01' +
             std::string(size, digit);
    };
    CHECK(codec_unpacked(ext16(1024, 'f')).substr(0, 5) == "ext1[");
    CHECK(codec_unpacked(ext16(1025, 'f')) == "bad-body");
    CHECK(codec_unpacked(ext16(1025, '0')) == "bad-body");
    CHECK(codec_unpacked(ext16(60000, 'f')) == "bad-body");
  }

  TEST_CASE("nesting is refused beyond the limit, in reading and in writing") {
    CHECK(codec_unpacked(codec_repeat("\x91", 64) + "\xC0").front() == '[');
    CHECK(codec_unpacked(codec_repeat("\x91", 65) + "\xC0") == "depth");
    CHECK(codec_unpacked(codec_repeat("\x81\xA1k", 64) + "\xC0").front() == '{');
    CHECK(codec_unpacked(codec_repeat("\x81\xA1k", 65) + "\xC0") == "depth");
    CHECK(codec_unpacked(codec_repeat("\x91", 64) + "\x90") == "depth");
    for (const std::string_view unit : {"91"sv, "81 a1 61"sv, "dd 00 00 00 01"sv, "df 00 00 00 01 a0"sv})
      CHECK(codec_unpacked(codec_repeat(codec_bytes(unit), 100000) + "\xC0") == "depth");
    CHECK(codec_unpacked(codec_repeat("\x81", 100000)) == "bad-body");  // a map as key
    CHECK(codec_unpacked("\xC0", 0) == "null");
    CHECK(codec_unpacked("\x90", 0) == "depth");
    CHECK(codec_unpacked("\x90", -5) == "depth");
    CHECK(codec_unpacked("\x90", 1) == "[]");
    CHECK(codec_packed(codec_nested(64)).size() == 64);
    CHECK(codec_packed(codec_nested(65)) == "depth");
    CHECK(codec_packed(codec_nested(3), 3) == "\x91\x91\x90");
    CHECK(codec_packed(codec_nested(3), 2) == "depth");
    CHECK(codec_packed(kt::json::object(), 0) == "depth");
    CHECK(codec_packed(kt::json(7), 0) == "\x07");
    const kt::json deep = codec_nested(100000);
    CHECK(codec_packed(deep) == "depth");
    CHECK(codec_text(deep) == "depth");
  }

  TEST_CASE("claimed counts do not add up to memory") {
    CHECK(codec_unpacked(codec_repeat(codec_bytes("dc ff ff"), 20000)) == "bad-body");
    CHECK(codec_unpacked(codec_repeat(codec_bytes("de ff ff a0"), 20000)) == "bad-body");
    CHECK(codec_unpacked(codec_repeat(codec_bytes("dd 00 00 01 00"), 4000)) ==
          "depth");  // each count alone is plausible
    CHECK(codec_unpacked(codec_repeat(codec_bytes("dd 00 00 02 00"), 4000)) == "bad-body");
    // A list whose inner list claims what the outer one still needs.
    CHECK(codec_unpacked(codec_bytes("93 93 01 02 03")) == "bad-body");
    CHECK(codec_unpacked(codec_bytes("93 93 01 02 03 04 05")) == "[[u1, u2, u3], u4, u5]");
    // A string that eats the bytes that pending values need, with a list behind it.
    CHECK(codec_unpacked(codec_bytes("94 a3 61 61 61 92 01 02")) == "bad-body");
    kt::json value;
    CHECK(!kt::decode_msgpack(codec_bytes("dd 00 0f 42 40") + std::string(1000000, '\x90'), value));
    CHECK(value.size() == 1000000);
    CHECK(!kt::decode_msgpack(codec_bytes("dd 00 0f 42 40") + std::string(1000000, '\xC0'), value));
    CHECK(value.size() == 1000000);
  }

  TEST_CASE("maps of any size are read in their order, and refused if one key of many is there twice") {
    for (const std::size_t count : {16u, 17u, 20000u}) {
      std::string bytes =
          "\xDF"s + std::string(2, '\0') + static_cast<char>(count >> 8) + static_cast<char>(count & 0xFF);
      for (std::size_t i = 0; i < count; ++i) bytes += "\xA8key" + std::to_string(10000 + i) + "\x01";
      kt::json value;
      REQUIRE(!kt::decode_msgpack(Block(bytes).text(), value));
      CHECK(value.size() == count);
      CHECK(value.begin().key() == "key10000");
      CHECK(std::prev(value.end()).key() == "key" + std::to_string(9999 + count));
      CHECK(codec_packed(value).size() == bytes.size() - 2);
      bytes[bytes.size() - 2] = bytes[bytes.size() - 12];
      bytes[bytes.size() - 3] = bytes[bytes.size() - 13];
      CHECK(codec_unpacked(bytes) == "bad-body");
    }
  }

  TEST_CASE("nlohmann's plain json is written like the ordered one") {
    const std::string_view text = R"({"a":[1,-1,1.5,true,false,null,"x"],"b":{"c":{}},"d":[]})";
    CHECK(codec_packed(nlohmann::json::parse(text)) == codec_packed(kt::json::parse(text)));
    CHECK(codec_text(nlohmann::json::parse(text)) == text);
    CHECK(codec_packed(nlohmann::json::binary({1, 2}, 5)) == codec_bytes("d5 05 01 02"));
    CHECK(codec_text(nlohmann::json::binary({0, 255})) == "{\"__base64__\":\"AP8=\"}");
    nlohmann::json deep = nlohmann::json::array();
    for (int i = 0; i < 64; ++i) deep = nlohmann::json::array({std::move(deep)});
    CHECK(codec_packed(deep) == "depth");
    CHECK(codec_text(deep) == "depth");
  }

  TEST_CASE("what a handler should not have returned is refused or mended, and never thrown") {
    CHECK(codec_hex(codec_packed(kt::json("a\xFFz"))) == "a5 61 ef bf bd 7a");
    kt::json map = kt::json::object();
    map["\xC3"] = "\xE2\x82";
    CHECK(codec_hex(codec_packed(map)) == "81 a3 ef bf bd a3 ef bf bd");
    CHECK(codec_packed(kt::json(kt::json::value_t::discarded)) == "bad-body");
    CHECK(codec_packed(kt::json::array({1, 2, kt::json(kt::json::value_t::discarded)})) == "bad-body");
    // Growing over many steps must not lose anything, nor what was there before.
    const std::string large(100000, 'x');
    CHECK(codec_unpacked(codec_packed(kt::json{large, 1, large})) == "[\"" + large + "\", u1, \"" + large + "\"]");
    kt::json failing = kt::json::array({large, kt::json(kt::json::value_t::discarded)});
    CHECK(codec_packed(failing) == "bad-body");
  }

  TEST_CASE("values of all kinds survive a round trip, and damaged ones do no harm") {
    CodecRandom random(1);
    for (int i = 0; i < 1000; ++i) {
      const kt::json value = random.value(4);
      const std::string bytes = codec_packed(value);
      kt::json back;
      REQUIRE(!kt::decode_msgpack(Block(bytes).text(), back));
      CHECK(back == value);
      CHECK(codec_packed(back) == bytes);
      const std::size_t cut = random.index(bytes.size());
      CHECK(codec_unpacked(bytes.substr(0, cut)) == "bad-body");
      std::string damaged = bytes;
      damaged[random.index(bytes.size())] = static_cast<char>(random.number(256));
      if (!kt::decode_msgpack(Block(damaged).text(), back)) {
        const std::string again = codec_packed(back);
        CHECK(codec_unpacked(again) == codec_shown(back));
      }
    }
  }

  TEST_CASE("the shared vectors agree, where they are at hand") {
    const char* const path = std::getenv("KETTLINGAR_MSGPACK_VECTORS");
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(path != nullptr ? std::fopen(path, "rb") : nullptr,
                                                               std::fclose);
    if (!file) {
      MESSAGE("KETTLINGAR_MSGPACK_VECTORS names no readable file: nothing checked");
      return;
    }
    std::string text;
    char buffer[4096];
    while (const std::size_t size = std::fread(buffer, 1, sizeof buffer, file.get())) text.append(buffer, size);
    kt::json vectors;
    REQUIRE(!kt::decode_json(text, vectors));
    std::size_t encodings = 0;
    for (const auto& group : vectors["kawanet"]) {
      for (const kt::json& row : group) {
        for (const kt::json& hex : row["msgpack"]) {
          codec_check_vector(row, hex.get<std::string>());
          ++encodings;
        }
      }
    }
    CHECK(encodings == 233);
    for (const kt::json& row : vectors["accept"]) codec_check_vector(row, row["hex"].get<std::string>());
    for (const kt::json& row : vectors["policy"]) {
      // Ours: everything doubtful is an error, but ext values that nobody understands are kept.
      const std::string outcome = codec_unpacked(codec_bytes(row["hex"].get<std::string>()));
      const std::string name = row["name"].get<std::string>();
      CAPTURE(name);
      const bool kept = name.starts_with("timestamp") || name == "unknown ext";
      CHECK(outcome.substr(0, 3) == (kept ? "ext" : "bad"));
    }
    for (const kt::json& row : vectors["reject"]) {
      const std::string name = row["name"].get<std::string>();
      CAPTURE(name);
      CHECK(codec_unpacked(codec_bytes(row["hex"].get<std::string>())) == "bad-body");
    }
    for (const kt::json& row : vectors["limits"]) {
      const std::string name = row["name"].get<std::string>();
      CAPTURE(name);
      const std::string bytes =
          codec_bytes(row["prefix"].get<std::string>()) +
          codec_repeat(codec_bytes(row["repeat"].get<std::string>()), row["count"].get<std::size_t>()) +
          codec_bytes(row["suffix"].get<std::string>());
      kt::json value;
      CHECK(!kt::decode_msgpack(Block(bytes).text(), value) == row["expect"].get<std::string>().starts_with("accept"));
    }
    for (const kt::json& row : vectors["shortest"]) codec_check_shortest(row);
  }
}

TEST_SUITE("wire/json_text") {
  TEST_CASE("JSON values are read with their exact kind") {
    const std::string_view rows[][2] = {
        {"null", "null"},
        {" \t\r\n true \n", "true"},
        {"false", "false"},
        {"0", "u0"},
        {"-1", "i-1"},
        {"1.0", "f0x1p+0"},
        {"-0.0", "f-0x0p+0"},
        {"1e2", "f0x1.9p+6"},
        {"18446744073709551615", "u18446744073709551615"},
        {"-9223372036854775808", "i-9223372036854775808"},
        {"1e-999", "f0x0p+0"},
        {"0.1", "f0x1.999999999999ap-4"},
        {"\"\"", "\"\""},
        {"\"a\\u0000b\"", "\"a\0b\""sv},
        {"\"\\ud83d\\udc31\\u00e9\"", "\"\xF0\x9F\x90\xB1\xC3\xA9\""},
        {"\"\xC3\xA9\x7F\"", "\"\xC3\xA9\x7F\""},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\"\\/\b\f\n\r\t\""},
        {"[]", "[]"},
        {"{}", "{}"},
        {"[1,[2,[]],{}]", "[u1, [u2, []], {}]"},
        {"{\"b\": 1, \"a\": {\"x\": [null]}}", "{\"b\": u1, \"a\": {\"x\": [null]}}"},
        {"{\"a\\u0000b\": 1, \"a\": 2}", "{\"a\0b\": u1, \"a\": u2}"sv},
        {"[[[1],2],{\"a\":[3]},4]", "[[[u1], u2], {\"a\": [u3]}, u4]"},
    };
    for (const auto& [text, shown] : rows) {
      CAPTURE(text);
      CHECK(codec_parsed(text) == shown);
      if (text.find_first_of("[{\"") != 0) continue;
      for (std::size_t size = 0; size < text.size(); ++size) CHECK(codec_parsed(text.substr(0, size)) == "bad-body");
    }
  }

  TEST_CASE("text that is not one JSON value is refused with words of our own") {
    const std::string_view rows[][2] = {
        {"", "nothing"},
        {" ", "only blanks"},
        {"nul", "cut"},
        {"nulll", "more"},
        {"{\"a\":", "cut"},
        {"[1,", "cut"},
        {"[1", "cut"},
        {"\"a", "cut"},
        {"{", "cut"},
        {"{\"a\"", "cut"},
        {"[1,]", "comma at the end"},
        {"{\"a\":1,}", "comma at the end"},
        {"[,1]", "comma at the start"},
        {"{1:2}", "key without quotes"},
        {"{\"a\" 1}", "no colon"},
        {"]", "closed first"},
        {"[}", "closed wrongly"},
        {"01", "leading zero"},
        {"-", "no digits"},
        {"+1", "plus"},
        {".5", "no integer part"},
        {"1.", "no fraction"},
        {"1e", "no exponent"},
        {"0x10", "hex"},
        {"NaN", "no number"},
        {"-Infinity", "no number"},
        {"Infinity", "no number"},
        {"1e999", "too large"},
        {"[-1e999]", "too large"},
        {"{} {}", "two documents"},
        {"1 2", "two documents"},
        {"{}x", "rest"},
        {"// c\n1", "comment"},
        {"/* c */ 1", "comment"},
        {"1 // c", "comment"},
        {"\"\\ud800\"", "lone surrogate"},
        {"\"\\udc00\\ud800\"", "surrogates turned"},
        {"\"\\ud800x\"", "lone surrogate"},
        {"\"\\x41\"", "unknown escape"},
        {"\"\\u12g4\"", "bad escape"},
        {"\"a\nb\"", "line end in a string"},
        {"\"\x01\"", "control character"},
        {"'a'", "apostrophes"},
        {"\"\xFF\"", "not UTF-8"},
        {"\"\xED\xA0\x80\"", "surrogate in UTF-8"},
        {"\"\xC0\xAF\"", "overlong"},
        {"\xEF\xBB\xBF{}", "byte order mark"},
        {"\xFF\xFE{\0}\0"sv, "UTF-16"},
        {"{\0}\0"sv, "UTF-16 without mark"},
        {"1\0"sv, "NUL behind"},
        {"1\0 2"sv, "NUL hides the rest"},
        {"\"a\0b\""sv, "NUL in a string"},
        {"True", "Python"},
        {"\xC2\xA0"
         "1",
         "a blank that JSON does not know"},
    };
    for (const auto& [text, why] : rows) {
      CAPTURE(why);
      CHECK(codec_parsed(text) == "bad-body");
      kt::json value;
      CHECK(kt::decode_json(text, value).why.find("parse") == std::string_view::npos);
    }
    kt::json value;
    CHECK(kt::decode_json("{\"a\": 1, b}", value).offset == 9);
    CHECK(kt::decode_json("1e999", value).why == "a number is too large");
    CHECK(kt::decode_json("{} {}", value).why == "text after the JSON value");
    CHECK(kt::decode_json("[1, ", value).why == "JSON ends early");
  }

  TEST_CASE("bytes in JSON are understood at any depth and only whole") {
    CHECK(codec_parsed("{\"__base64__\": \"AP8=\"}") == "bin[00 ff]");
    CHECK(codec_parsed("{\"__base64__\": \"\"}") == "bin[]");
    CHECK(codec_parsed("{\"__bytes__\": \"\\u00e9\"}") == "bin[c3 a9]");
    CHECK(codec_parsed("{\"__bytes__\": \"\"}") == "bin[]");
    CHECK(codec_parsed("[{\"a\": {\"__base64__\": \"AA==\"}}, {\"__bytes__\": \"x\"}]") ==
          "[{\"a\": bin[00]}, bin[78]]");
    CHECK(codec_parsed("{\"__base64__\": \"!\", \"__base64__\": \"AA==\"}") == "bin[00]");  // the last one wins first
    CHECK(codec_parsed("{\"__base64__\": \"AA==\", \"x\": 1}") == "{\"__base64__\": \"AA==\", \"x\": u1}");
    CHECK(codec_parsed("{\"__BASE64__\": \"AA==\"}") == "{\"__BASE64__\": \"AA==\"}");
    for (const std::string_view value :
         {"5"sv, "null"sv, "[]"sv, "{}"sv, "true"sv, "\"AA\""sv, "\"AA=\""sv, "\"A\""sv, "\"AB==\""sv, "\"A A=\""sv,
          "\"--__\""sv, "\"AA==\\n\""sv, "{\"__base64__\": \"AA==\"}"sv}) {
      CAPTURE(value);
      CHECK(codec_parsed("{\"__base64__\": " + std::string(value) + "}") == "bad-body");
      CHECK(codec_parsed("[1, {\"__base64__\": " + std::string(value) + "}]") == "bad-body");
    }
    for (const std::string_view value : {"5"sv, "null"sv, "[1]"sv, "{\"__bytes__\": \"\"}"sv})
      CHECK(codec_parsed("{\"__bytes__\": " + std::string(value) + "}") == "bad-body");
  }

  TEST_CASE("integers beyond 64 bit keep every digit") {
    const auto ext1 = [](std::string_view hex) { return "ext1[" + codec_hex(hex) + "]"; };
    CHECK(codec_parsed("18446744073709551616") == ext1("10000000000000000"));
    CHECK(codec_parsed("-9223372036854775809") == ext1("-8000000000000001"));
    CHECK(codec_parsed("[-18446744073709551615]") == "[" + ext1("-ffffffffffffffff") + "]");
    CHECK(codec_parsed("18446744073709551616.0") == "f0x1p+64");
    CHECK(codec_parsed("18446744073709551616e0") == "f0x1p+64");
    for (const std::size_t digits : {20u, 299u, 300u, 301u, 308u, 309u, 310u, 600u, 617u, 1233u}) {
      const std::string number = "9" + std::string(digits - 2, '0') + "7";
      CAPTURE(digits);
      CHECK(codec_parsed(number) == ext1(kt::detail::convert_digits(number, 10, 16)));
      CHECK(codec_parsed("-" + number) == ext1("-" + kt::detail::convert_digits(number, 10, 16)));
      const std::string text = "{\"a\":[" + number + ",-" + number + ",1]}";
      kt::json value;
      REQUIRE(!kt::decode_json(text, value));
      CHECK(codec_text(value) == text);
    }
    const std::string largest = codec_text(codec_ext(1, std::string(1024, 'f')));
    CHECK(largest.size() == 1234);
    CHECK(codec_parsed(largest) == ext1(std::string(1024, 'f')));
    CHECK(codec_parsed("9" + largest.substr(1)) == "bad-body");
    CHECK(codec_parsed(std::string(1235, '1')) == "bad-body");
    CHECK(codec_parsed(std::string(1000000, '1')) == "bad-body");
    CHECK(codec_parsed("0" + std::string(500, '1')) == "bad-body");
  }

  TEST_CASE("long integers do not disturb what stands around them") {
    const std::string ones(400, '1');
    const std::string three_hundred = "5" + std::string(299, '0');
    const std::string text = "[" + three_hundred + ",\"" + ones + "\\\"" + ones + "\\\\\"," + ones + ",{\"" + ones +
                             "\":" + ones + "2},-" + three_hundred + ",1." + ones + ",0.5]";
    kt::json value;
    REQUIRE(!kt::decode_json(text, value));
    REQUIRE(value.size() == 7);
    CHECK(codec_text(value[0]) == three_hundred);
    CHECK(value[1] == ones + "\"" + ones + "\\");
    CHECK(codec_text(value[2]) == ones);
    CHECK(codec_text(value[3][ones]) == ones + "2");
    CHECK(codec_text(value[4]) == "-" + three_hundred);
    CHECK(value[5] == 1.1111111111111112);
    CHECK(value[6] == 0.5);
    // Reals with many digits are not integers, and are cut nowhere.
    CHECK(codec_parsed(ones + "e-399") == codec_parsed("1." + ones));
    CHECK(codec_parsed("1e-" + std::string(398, '0') + "2") == codec_parsed("0.01"));
    CHECK(codec_parsed(ones + ".5") == "bad-body");  // 1e399
    CHECK(codec_parsed(ones + ones + "x") == "bad-body");
    CHECK(codec_parsed("[" + ones) == "bad-body");
    CHECK(codec_parsed("[" + ones + "-]") == "bad-body");
    CHECK(codec_parsed("[" + ones + ",\"\\") == "bad-body");
  }

  TEST_CASE("of keys that occur twice the last value wins at the first place") {
    CHECK(codec_parsed("{\"a\":1,\"b\":2,\"a\":3}") == "{\"a\": u3, \"b\": u2}");
    CHECK(codec_parsed("{\"a\":1,\"a\":2,\"a\":{\"a\":3}}") == "{\"a\": {\"a\": u3}}");
    CHECK(codec_parsed("[{\"x\":{\"a\":1,\"b\":[],\"b\":4,\"a\":\"2\",\"c\":0},\"y\":1}]") ==
          "[{\"x\": {\"a\": \"2\", \"b\": u4, \"c\": u0}, \"y\": u1}]");
    CHECK(codec_parsed("{\"\":1,\"\":2}") == "{\"\": u2}");
    std::string text = "{";
    for (int i = 0; i < 40000; ++i)
      text += (i > 0 ? ",\"k" : "\"k") + std::to_string(i % 20000) + "\":" + std::to_string(i);
    kt::json value;
    REQUIRE(!kt::decode_json(text + "}", value));
    CHECK(value.size() == 20000);
    CHECK(value.begin().key() == "k0");
    CHECK(value.begin().value() == 20000);
    CHECK(std::prev(value.end()).value() == 39999);
  }

  TEST_CASE("nesting of JSON is refused beyond the limit, in reading and in writing") {
    CHECK(codec_parsed(codec_repeat("[", 64) + codec_repeat("]", 64)).front() == '[');
    CHECK(codec_parsed(codec_repeat("[", 65) + codec_repeat("]", 65)) == "depth");
    CHECK(codec_parsed(codec_repeat("{\"a\":", 64) + "1" + codec_repeat("}", 64)).front() == '{');
    CHECK(codec_parsed(codec_repeat("{\"a\":", 65) + "1" + codec_repeat("}", 65)) == "depth");
    CHECK(codec_parsed(codec_repeat("[", 100000)) == "depth");
    CHECK(codec_parsed(codec_repeat("{\"a\":", 100000)) == "depth");
    CHECK(codec_parsed(codec_repeat("[", 100000) + codec_repeat("]", 100000)) == "depth");
    CHECK(codec_parsed("[]", 0) == "depth");
    CHECK(codec_parsed("1", 0) == "u1");
    CHECK(codec_text(codec_nested(64)) == codec_repeat("[", 64) + codec_repeat("]", 64));
    CHECK(codec_text(codec_nested(65)) == "depth");
    CHECK(codec_text(kt::json::object(), kt::JsonStyle::compact, 0) == "depth");
    // Bytes need a level of their own in JSON, ext values two: what we write can be read.
    CHECK(codec_text(kt::json::array({kt::bytes("")}), kt::JsonStyle::compact, 2) == "[{\"__base64__\":\"\"}]");
    CHECK(codec_text(kt::json::array({kt::bytes("")}), kt::JsonStyle::compact, 1) == "depth");
    CHECK(codec_text(codec_ext(5, ""), kt::JsonStyle::compact, 2) == "{\"__ext__\":[5,\"\"]}");
    CHECK(codec_text(codec_ext(5, ""), kt::JsonStyle::compact, 1) == "depth");
    CHECK(codec_text(codec_ext(1, "10000000000000000"), kt::JsonStyle::compact, 0) == "18446744073709551616");
  }

  TEST_CASE("floats are written as Python does") {
    const std::pair<double, std::string_view> rows[] = {
        {0.0, "0.0"},
        {-0.0, "-0.0"},
        {1.0, "1.0"},
        {-1.5, "-1.5"},
        {0.1, "0.1"},
        {0.1 + 0.2, "0.30000000000000004"},
        {100.0, "100.0"},
        {1e15, "1000000000000000.0"},
        {9007199254740993.0, "9007199254740992.0"},
        {9999999999999998.0, "9999999999999998.0"},
        {1e16, "1e+16"},
        {1e20, "1e+20"},
        {1.5e300, "1.5e+300"},
        {1e-4, "0.0001"},
        {0.00012345, "0.00012345"},
        {9.999e-5, "9.999e-05"},
        {1e-5, "1e-05"},
        {5e-324, "5e-324"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {-2.5e-7, "-2.5e-07"},
        {123456.789, "123456.789"},
        {1.0 / 3, "0.3333333333333333"},
        {2.2250738585072014e-308, "2.2250738585072014e-308"},
    };
    for (const auto& [number, text] : rows) {
      CHECK(codec_text(kt::json(number)) == text);
      CHECK(codec_parsed(text) == codec_shown(kt::json(number)));
    }
    for (const double number : {std::nan(""), HUGE_VAL, -HUGE_VAL})
      CHECK(codec_text(kt::json::array({number})) == "[null]");
    CodecRandom random(2);
    for (int i = 0; i < 2000; ++i) {
      const auto number = std::bit_cast<double>(random.number(1u << 31) << 33 | random.number(1u << 31) << 2);
      if (!std::isfinite(number)) continue;
      CHECK(codec_parsed(codec_text(kt::json(number))) == codec_shown(kt::json(number)));
    }
  }

  TEST_CASE("text is escaped as each style wants it") {
    struct Row {
      std::string_view text, compact, spaced;
    };
    const Row rows[] = {
        {"", "", ""},
        {"meow", "meow", "meow"},
        {"\"\\/", "\\\"\\\\/", "\\\"\\\\/"},
        {"\b\f\n\r\t", "\\b\\f\\n\\r\\t", "\\b\\f\\n\\r\\t"},
        {"\0\x01\x1F"sv, "\\u0000\\u0001\\u001f", "\\u0000\\u0001\\u001f"},
        {"\x7F", "\\u007f", "\\u007f"},
        {"\xC3\xA9", "\xC3\xA9", "\\u00e9"},
        {"\xE2\x82\xAC", "\xE2\x82\xAC", "\\u20ac"},
        {"\xEF\xBF\xBF", "\xEF\xBF\xBF", "\\uffff"},
        {"\xF0\x9F\x90\xB1", "\xF0\x9F\x90\xB1", "\\ud83d\\udc31"},
        {"\xF4\x8F\xBF\xBF", "\xF4\x8F\xBF\xBF", "\\udbff\\udfff"},
        {"\xF0\x90\x80\x80", "\xF0\x90\x80\x80", "\\ud800\\udc00"},
        {"a\xFFz", "a\xEF\xBF\xBDz", "a\\ufffdz"},
        {"\xE2\x82", "\xEF\xBF\xBD", "\\ufffd"},
        {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD", "\\ufffd\\ufffd\\ufffd"},
    };
    for (const Row& row : rows) {
      CAPTURE(codec_hex(row.text));
      CHECK(codec_text(kt::json(std::string(row.text))) == "\"" + std::string(row.compact) + "\"");
      CHECK(codec_text(kt::json(std::string(row.text)), kt::JsonStyle::spaced) ==
            "\"" + std::string(row.spaced) + "\"");
      kt::json map = kt::json::object();
      map[std::string(row.text)] = 1;
      CHECK(codec_text(map) == "{\"" + std::string(row.compact) + "\":1}");
      CHECK(codec_text(map, kt::JsonStyle::spaced) == "{\"" + std::string(row.spaced) + "\": 1}");
    }
  }

  TEST_CASE("lists, maps, bytes and ext values have their form in each style") {
    const kt::json value = {{"b", {1, -2, nullptr}},
                            {"a", {{"x", true}}},
                            {"bytes", kt::bytes("\xC3\xA9\n")},
                            {"raw", kt::bytes("\xFF")},
                            {"ext", codec_ext(-1, "abcd")},
                            {"empty", kt::json::array({kt::json::array(), kt::json::object()})}};
    CHECK(
        codec_text(value) ==
        R"({"b":[1,-2,null],"a":{"x":true},"bytes":{"__base64__":"w6kK"},"raw":{"__base64__":"/w=="},"ext":{"__ext__":[-1,"YWJjZA=="]},"empty":[[],{}]})");
    CHECK(
        codec_text(value, kt::JsonStyle::spaced) ==
        R"({"b": [1, -2, null], "a": {"x": true}, "bytes": {"__base64__": "w6kK"}, "raw": {"__base64__": "/w=="}, "ext": {"__ext__": [-1, "YWJjZA=="]}, "empty": [[], {}]})");
    CHECK(
        codec_text(value, kt::JsonStyle::terminal) ==
        R"({"b": [1, -2, null], "a": {"x": true}, "bytes": {"__bytes__": "\u00e9\n"}, "raw": {"__base64__": "/w=="}, "ext": {"__ext__": [-1, "YWJjZA=="]}, "empty": [[], {}]})");
    CHECK(codec_text(kt::bytes(""), kt::JsonStyle::terminal) == "{\"__bytes__\": \"\"}");
  }

  TEST_CASE("binary that only claims to be a big integer is written as an ext value") {
    CHECK(codec_text(codec_ext(1, "-ff")) == "-255");
    CHECK(codec_text(codec_ext(1, "0XFF")) == "255");
    CHECK(codec_text(codec_ext(1, "zz")) == "{\"__ext__\":[1,\"eno=\"]}");
    CHECK(codec_text(codec_ext(1, "")) == "{\"__ext__\":[1,\"\"]}");
    CHECK(codec_text(codec_ext(1, std::string(1025, 'f'))).substr(0, 14) == "{\"__ext__\":[1,");
    CHECK(codec_text(codec_ext(127, "")) == "{\"__ext__\":[127,\"\"]}");
    CHECK(codec_text(codec_ext(128, "")) == "{\"__ext__\":[-128,\"\"]}");
    CHECK(codec_text(kt::json::binary({}, 256)) == "bad-body");
    CHECK(codec_text(kt::json::array({"x", kt::json(kt::json::value_t::discarded)})) == "bad-body");
  }

  TEST_CASE("values survive JSON in every style, and damaged text does no harm") {
    CodecRandom random(4);
    for (int i = 0; i < 600; ++i) {
      const kt::json value = random.value(3);
      for (const kt::JsonStyle style : {kt::JsonStyle::compact, kt::JsonStyle::spaced, kt::JsonStyle::terminal}) {
        const std::string text = codec_text(value, style);
        kt::json back;
        REQUIRE(!kt::decode_json(Block(text).text(), back));
        CHECK(codec_text(back, style) == text);
        if (text.find("__ext__") == std::string::npos) CHECK(back == value);
        std::string damaged = text;
        damaged[random.index(text.size())] = static_cast<char>(random.number(256));
        if (!kt::decode_json(Block(damaged).text(), back)) CHECK(codec_text(back).size() > 0);
      }
    }
  }
}

// A set of numbers that has a MessagePack ext code of its own.
struct IntSet {
  std::set<int> items;
  bool operator==(const IntSet&) const = default;

  std::string pack() const {
    std::string bytes;
    for (const int item : items) bytes += static_cast<char>(item);
    return bytes;
  }
  static IntSet unpack(std::string_view bytes) {
    IntSet set;
    for (const char byte : bytes) set.items.insert(static_cast<unsigned char>(byte));
    return set;
  }
  static json as_json(std::string_view content) { return json(unpack(content).items); }
  static std::string from_json(const json& list) {
    IntSet set;
    for (const json& item : list) set.items.insert(item.get<int>());
    return set.pack();
  }
};
template <class Json>
void to_json(Json& j, const IntSet& set) {
  j = kt::ext<Json>(2, set.pack());
}
template <class Json>
void from_json(const Json& j, IntSet& set) {
  const auto& binary = j.get_binary();
  set = IntSet::unpack(std::string(binary.begin(), binary.end()));
}

TEST_SUITE("service/ext") {
  TEST_CASE("a type of the program has its own MessagePack code and its own form in JSON") {
    static std::once_flag once;
    std::call_once(once, [] { kt::register_ext_type({2, "__intset__", IntSet::as_json, IntSet::from_json}); });
    CHECK_THROWS_AS(kt::register_ext_type({2, "__other__", IntSet::as_json, IntSet::from_json}), std::invalid_argument);
    CHECK_THROWS_AS(kt::register_ext_type({1, "__big__", IntSet::as_json, IntSet::from_json}), std::invalid_argument);
    CHECK_THROWS_AS(kt::register_ext_type({3, "intset", IntSet::as_json, IntSet::from_json}), std::invalid_argument);
    const IntSet set{{1, 7}};
    std::string text, bytes;
    CHECK_FALSE(kt::encode_json(json{{"set", json(set)}}, text));
    CHECK(text == R"({"set":{"__intset__":[1,7]}})");
    CHECK_FALSE(kt::encode_msgpack(json(set), bytes));
    CHECK(bytes == "\xd5\x02\x01\x07");
    json back;
    CHECK_FALSE(kt::decode_json(text, back));
    CHECK(back["set"].get<IntSet>() == set);
    CHECK_FALSE(kt::decode_msgpack(bytes, back));
    CHECK(back.get<IntSet>() == set);
    CHECK(kt::decode_json(R"({"__intset__": ["x"]})", back).why == "not the JSON form of an ext type");
    CHECK_FALSE(kt::decode_json(R"({"__intset__": [1], "more": 2})", back));
    CHECK(back.size() == 2);

    Home home;
    home.kitten.api(
        "grow",
        [](IntSet grown, int item) {
          grown.items.insert(item);
          return grown;
        },
        kt::arg("set"), kt::arg("item"));
    home.start();
    CHECK(home.kitten.connect().call<IntSet>("grow", set, 3) == IntSet{{1, 3, 7}});
    CHECK(home.result("grow", R"({"set": {"__intset__": [9]}, "item": 4})").dump() == R"({"__intset__":[4,9]})");
  }
}

TEST_SUITE("wire/events") {
  TEST_CASE("events are written as Python does") {
    struct Row {
      std::string_view item, text;
    };
    const Row rows[] = {
        {R"({"event": "hello", "data": "Hello\nworld"})", "event: hello\ndata: Hello\ndata: world\n\n"},
        {R"({"id": 5, "retry": 100, "data": {"k": 1}})", "id: 5\nretry: 100\ndata: {\"k\": 1}\ndata: \n\n"},
        {R"({"a": 1})", "data: {\"a\": 1}\ndata: \n\n"},
        {R"({"event": "only"})", "event: only\n\n"},
        {R"({})", "\n"},
        {R"({"data": "x", "retry": 1, "event": "e", "id": "i"})",
         "id: i\nevent: e\nretry: 1\ndata: x\n\n"},  // in this order
        {R"({"id": null, "event": null, "retry": null})", "\n"},
        {R"({"id": "", "data": "x"})", "id: \ndata: x\n\n"},
        {R"({"id": 1, "b": [1, "\u00e9"], "a": null})",
         "id: 1\ndata: {\"b\": [1, \"\\u00e9\"], \"a\": null}\ndata: \n\n"},
        {R"({"data": "x", "more": 1})", "data: x\n\n"},
        {R"({"data": "a\r\nb\rc\nd"})", "data: a\ndata: b\ndata: c\ndata: d\n\n"},
        {R"({"data": "a\n"})", "data: a\ndata: \n\n"},
        {R"({"data": "a\r"})", "data: a\n\n"},
        {R"({"data": "a\r\n"})", "data: a\ndata: \n\n"},
        {R"({"data": "\n"})", "data: \ndata: \n\n"},
        {R"({"data": "a\n\nb"})", "data: a\ndata: \ndata: b\n\n"},
        {R"({"data": "a\n\r\r\nb"})", "data: a\ndata: \ndata: \ndata: b\n\n"},
        {R"({"data": {"__base64__": "YQpi"}})", "data: a\ndata: b\n\n"},
        {R"({"data": {"__base64__": "/w=="}})", "data: \xFF\n\n"},
        {R"({"data": [1]})", "data: [1]\ndata: \n\n"},
        {R"({"data": 7})", "data: 7\ndata: \n\n"},
        {R"({"data": true})", "data: true\ndata: \n\n"},
        {R"({"data": 0.5})", "data: 0.5\ndata: \n\n"},
        {R"({"event": "e", "data": null, "x": 1})", "event: e\n\n"},
        {R"({"data": false})", "\n"},
        {R"({"data": 0})", "\n"},
        {R"({"data": 0.0})", "\n"},
        {R"({"data": ""})", "\n"},
        {R"({"data": []})", "\n"},
        {R"({"data": {}})", "\n"},
        {R"({"data": {"__base64__": ""}})", "\n"},
        {R"({"data": "a\u0000b"})", "data: a\0b\n\n"sv},
        {R"({"event": "\u00e9", "data": "\u00e9"})", "event: \xC3\xA9\ndata: \xC3\xA9\n\n"},
    };
    for (const Row& row : rows) {
      CAPTURE(row.item);
      kt::json item;
      REQUIRE(!kt::decode_json(row.item, item));
      CHECK(codec_event(item) == row.text);
    }
    CHECK(codec_event({{"event", "a\xFF"}, {"data", "\xFF"}}) == "event: a\xEF\xBF\xBD\ndata: \xEF\xBF\xBD\n\n");
  }

  TEST_CASE("events that would say something else than meant are refused") {
    for (const char* name : {"id", "event", "retry"}) {
      for (const std::string_view text : {"a\nb"sv, "a\rb"sv, "a\r\nb"sv, "a\0b"sv, "\n"sv, "x\n\ndata: y"sv}) {
        kt::json item = kt::json::object();
        item[name] = std::string(text);
        CHECK(codec_event(item) == "bad-body");
      }
      for (const kt::json& value : {kt::json(true), kt::json::array(), kt::json::object(), kt::bytes("x")}) {
        kt::json item = kt::json::object();
        item[name] = value;
        CHECK(codec_event(item) == "bad-body");
      }
    }
    for (const kt::json& item : {kt::json(), kt::json(1), kt::json("data"), kt::json::array()})
      CHECK(codec_event(item) == "bad-body");
    CHECK(codec_event({{"data", codec_nested(65)}}) == "depth");
    CHECK(codec_event({{"x", codec_nested(64)}}) == "depth");  // the map around it counts
    CHECK(codec_event({{"x", codec_nested(63)}}).size() > 126);
    CHECK(codec_event({{"data", codec_nested(100000)}}) == "depth");
  }

  TEST_CASE("events are read as Python's client reads them") {
    CHECK(codec_read_event("id: 5\nretry: 100\ndata: {\"k\": 1}\ndata: \n\n") ==
          "{\"id\": \"5\", \"retry\": \"100\", \"data\": \"{\"k\": 1}\n\"}");
    CHECK(codec_read_event("event: hello\ndata: Hello\ndata: world\n\n") ==
          "{\"event\": \"hello\", \"data\": \"Hello\nworld\"}");
    CHECK(codec_read_event("data: a: b\r\nid: 1\rx: y") == "{\"data\": \"a: b\", \"id\": \"1\", \"x\": \"y\"}");
    CHECK(codec_read_event("\n") == "{}");
    CHECK(codec_read_event("") == "{}");
    CHECK(codec_read_event(" \t\r\n\v\f") == "{}");
    CHECK(codec_read_event("data: a \t\n\n") == "{\"data\": \"a\"}");
    CHECK(codec_read_event("data:xab\ndata:") ==
          "{\"data\": \"ab\n\"}");  // the character behind the colon goes, whatever it is
    CHECK(codec_read_event("a:\nb:") == "{\"a\": \"\", \"b\": \"\"}");
    CHECK(codec_read_event(": x") == "{\"\": \"x\"}");
    CHECK(codec_read_event("data: \xFF") == "{\"data\": \"\xEF\xBF\xBD\"}");
    CHECK(codec_read_event("data") == "bad-body");
    CHECK(codec_read_event("data: a\nmore") == "bad-body");
    CHECK(codec_read_event("data: a\n\ndata: b\n\n") == "bad-body");  // two events
    CHECK(codec_read_event("\ndata: a") == "bad-body");
    std::string many;
    for (int i = 0; i < 16; ++i) many += std::to_string(i) + ": x\n";
    CHECK(codec_read_event(many).size() > 16);
    CHECK(codec_read_event(many + "3: y").find("\"x\ny\"") != std::string::npos);
    CHECK(codec_read_event(many + "16: x") == "bad-body");
    CHECK(codec_read_event(codec_repeat("data: x\n", 100000)).size() == 200011);
  }

  TEST_CASE("what is read may be part of where the value goes, and may be nothing at all") {
    kt::json value = "\x91\x01";
    CHECK(!kt::decode_msgpack(value.get_ref<const std::string&>(), value));
    CHECK(value == kt::json::array({1}));
    value = "{\"a\": \"a long string that lives on the heap\"}";
    CHECK(!kt::decode_json(value.get_ref<const std::string&>(), value));
    CHECK(value["a"] == "a long string that lives on the heap");
    value = "data: a long string that lives on the heap";
    CHECK(!kt::parse_event(value.get_ref<const std::string&>(), value));
    CHECK(value["data"] == "a long string that lives on the heap");
    const std::string_view nothing;
    CHECK(kt::decode_msgpack(nothing, value));
    CHECK(kt::decode_json(nothing, value));
    CHECK(!kt::parse_event(nothing, value));
    CHECK(value == kt::json::object());
    CHECK(kt::is_utf8(nothing));
    CHECK(kt::decode_base64(nothing) == kt::Bytes());
    std::string out;
    kt::append_utf8(out, nothing);
    kt::append_base64(out, nothing);
    CHECK(out.empty());
    CHECK(codec_packed(kt::json::binary({})) == "\xC4\0"s);
  }

  TEST_CASE("what was written as an event is read back") {
    for (const std::string_view text :
         {"a"sv, "a\nb"sv, "a\n"sv, "\n"sv, "a\n\n\nb\n"sv, "a: b"sv, ": "sv, " a"sv, "{\"k\": [1]}\n"sv}) {
      CAPTURE(text);
      kt::json back;
      CHECK(!kt::parse_event(codec_event({{"id", 7}, {"data", std::string(text)}}), back));
      CHECK(back["id"] == "7");
      if (text != ": ") CHECK(back["data"] == std::string(text));
    }
  }
}

namespace {

template <class T>
kt::Generator<T> drained(kt::Generator<T> items) {
  while (auto item = co_await items.next()) co_yield *item;
}

// Runs a generator to its end and collects what it yields.
template <class T>
std::vector<T> collect(kt::Generator<T> items) {
  asio::io_context loop;
  std::vector<T> result;
  std::exception_ptr thrown;
  const auto run = [](kt::Generator<T> generator, std::vector<T>* out) -> kt::Task<void> {
    while (auto item = co_await generator.next()) out->push_back(*std::move(item));
  };
  asio::co_spawn(loop, run(std::move(items), &result), [&](std::exception_ptr e) { thrown = e; });
  loop.run();
  if (thrown) std::rethrow_exception(thrown);
  return result;
}

// Long enough to live on the heap, where AddressSanitizer watches it.
const std::string long_text = "a text that does not fit into any small buffer of any string";

struct Item {
  std::string text;
  int number = 0;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Item, text, number)

// Counts how many of it are alive.
struct Counted {
  explicit Counted(Happening* when_gone) : gone(when_gone) {}
  Counted(const Counted&) = delete;
  ~Counted() { gone->happen(); }
  Happening* gone;
};

kt::Generator<Item> items(int count, std::string text) {
  Item item;
  for (int i = 0; i < count; ++i) {
    item.text = text;
    item.number = i;
    co_yield item;
    co_await kt::sleep_for(0ms);
  }
}

}  // namespace

TEST_SUITE("service/coroutine") {
  TEST_CASE("a generator yields named items, temporaries with constructors, and converted values") {
    const auto generator = [](std::string text) -> kt::Generator<std::string> {
      co_yield text;
      co_yield text + "!";
      co_yield "a literal that is converted, and also longer than a small buffer";
      std::string named = text + "?";
      co_yield named;
    };
    const auto found = collect(generator(long_text));
    REQUIRE(found.size() == 4);
    CHECK(found[0] == long_text);
    CHECK(found[1] == long_text + "!");
    CHECK(found[3] == long_text + "?");
  }

  TEST_CASE(
      "a generator yields aggregates that have a name, json values, and function results that are no aggregates") {
    CHECK(collect(items(3, long_text)).at(2).text == long_text);
    const auto values = []() -> kt::Generator<json> {
      json map = json::object();
      map["text"] = long_text;
      co_yield map;
      co_yield json(long_text);
      co_yield kt::bytes(long_text);
    };
    CHECK(collect(values()).at(0)["text"] == long_text);
  }

  TEST_CASE("a generator awaits tasks and timers between items, with results and exceptions") {
    const auto twice = [](int n) -> kt::Task<int> {
      co_await kt::sleep_for(1ms);
      if (n == 3) throw std::runtime_error("three");
      co_return 2 * n;
    };
    const auto generator = [](auto task) -> kt::Generator<int> {
      for (int i = 0; i < 5; ++i) {
        int value = -1;
        try {
          value = co_await task(i);
        } catch (const std::runtime_error& error) {
          value = static_cast<int>(std::string(error.what()).size());
        }
        co_yield value;
      }
    };
    CHECK(collect(generator(twice)) == std::vector<int>{0, 2, 4, 5, 8});
  }

  TEST_CASE("a generator takes items from another one and hands its exception on") {
    const auto failing = []() -> kt::Generator<int> {
      co_yield 1;
      co_await kt::sleep_for(0ms);
      throw std::runtime_error("broken");
    };
    CHECK(collect(drained(items(3, long_text))).size() == 3);
    CHECK_THROWS_WITH(collect(drained(failing())), "broken");
  }

  TEST_CASE("a generator that is dropped destroys its locals at once, wherever it is suspended") {
    Happening gone;
    const auto generator = [](Happening* happening) -> kt::Generator<int> {
      const Counted local(happening);
      co_yield 1;
      co_yield 2;
    };
    {
      kt::Generator<int> dropped = generator(&gone);
      asio::io_context loop;
      CHECK(dropped.resume(loop.get_executor()) == kt::Generator<int>::Step::item);
      CHECK(gone.count() == 0);
    }
    CHECK(gone.count() == 1);
  }

  TEST_CASE("a generator that nobody starts runs nothing and can be moved") {
    kt::Generator<Item> first = items(1, long_text);
    kt::Generator<Item> second = std::move(first);
    first = items(2, long_text);
    CHECK(collect(std::move(first)).size() == 2);
    CHECK(collect(kt::Generator<int>{}).empty());
  }
}

namespace {

enum class Plain { one = 1, two = 2 };
enum class Mood { happy, sleepy };
NLOHMANN_JSON_SERIALIZE_ENUM(Mood, {{Mood::happy, "happy"}, {Mood::sleepy, "sleepy"}})

// The text of the refusal, or nothing if `value` becomes a T.
template <class T>
std::string refusal(const json& value) {
  try {
    static_cast<void>(kt::detail::from_json<T>(value));
    return "";
  } catch (const kt::detail::BadValue& bad) {
    return bad.expected;
  }
}
template <class T>
T converted(const json& value) {
  return kt::detail::from_json<T>(value);
}

}  // namespace

TEST_SUITE("service/convert") {
  TEST_CASE("integers come as numbers or as text in four bases") {
    CHECK(converted<int>(42) == 42);
    CHECK(converted<int>("42") == 42);
    CHECK(converted<int>("-42") == -42);
    CHECK(converted<int>("+42") == 42);
    CHECK(converted<int>("0xa") == 10);
    CHECK(converted<int>("0XA") == 10);
    CHECK(converted<int>("-0x1f") == -31);
    CHECK(converted<int>("0o17") == 15);
    CHECK(converted<int>("0b101") == 5);
    CHECK(converted<int>("1_000") == 1000);
    CHECK(converted<int>(2.0) == 2);
    CHECK(converted<int>(kt::bytes("7")) == 7);
    CHECK(converted<std::int64_t>("-9223372036854775808") == std::numeric_limits<std::int64_t>::min());
    CHECK(converted<std::uint64_t>("18446744073709551615") == std::numeric_limits<std::uint64_t>::max());
    CHECK(converted<std::uint64_t>(std::uint64_t{1} << 63) == std::uint64_t{1} << 63);
  }

  TEST_CASE("nothing becomes an integer by accident") {
    for (const json& value :
         {json(1.9),   json("1.9"),        json(""),      json("-"),        json("0x"),  json(" 1"),    json("1 "),
          json("_1"),  json("1_"),         json("1__0"),  json("elephant"), json("1e3"), json(nullptr), json(true),
          json(1e300), json(std::nan("")), json::array(), json::object(),   json("--1"), json("0x-1")}) {
      CAPTURE(value.dump());
      CHECK(refusal<std::int64_t>(value) == "int");
    }
    for (const char* huge : {"99999999999999999999", "-99999999999999999999", "0xfffffffffffffffff"}) {
      CHECK(refusal<int>(huge) == "int from -2147483648 to 2147483647");
      CHECK(refusal<std::uint64_t>(huge) == "int from 0 to 18446744073709551615");
      CHECK(refusal<std::int64_t>(huge) == "int from -9223372036854775808 to 9223372036854775807");
    }
    CHECK(refusal<float>("1e39") == "float that fits");
    CHECK(refusal<std::uint8_t>(256) == "int from 0 to 255");
    CHECK(refusal<std::uint8_t>(-1) == "int from 0 to 255");
    CHECK(refusal<std::int8_t>("-129") == "int from -128 to 127");
    CHECK(refusal<int>(2147483648) == "int from -2147483648 to 2147483647");
    CHECK(refusal<std::uint64_t>("-1") == "int from 0 to 18446744073709551615");
  }

  TEST_CASE("a bool is yes or no, and nothing else is no") {
    for (const char* yes : {"true", "T", "yes", "Y", "1", "on"}) CHECK(converted<bool>(yes));
    for (const char* no : {"false", "F", "No", "n", "0", "off"}) CHECK_FALSE(converted<bool>(no));
    CHECK(converted<bool>(true));
    CHECK(converted<bool>(1));
    CHECK_FALSE(converted<bool>(0));
    for (const json& value : {json("banana"), json(""), json(2), json(nullptr), json(0.5), json::array()}) {
      CHECK(refusal<bool>(value) == "bool (yes or no)");
    }
  }

  TEST_CASE("floats come as numbers or text, text stays text, bytes are bytes") {
    CHECK(converted<double>(1) == 1.0);
    CHECK(converted<double>("-2.5e3") == -2500.0);
    CHECK(converted<double>("+1.5") == 1.5);
    CHECK(std::isinf(converted<double>("inf")));
    for (const json& value :
         {json("1,5"), json(""), json("1e400"), json(" 1"), json("0x10"), json(nullptr), json(true)}) {
      CAPTURE(value.dump());
      CHECK(refusal<double>(value) == "float");
    }
    CHECK(converted<std::string>("x") == "x");
    CHECK(converted<std::string>(kt::bytes("\xc3\xa9")) == "\xc3\xa9");
    CHECK(refusal<std::string>(kt::bytes("\xff")) == "str");
    CHECK(refusal<std::string>(5) == "str");
    CHECK(refusal<std::string>(nullptr) == "str");
    CHECK(converted<kt::Bytes>(kt::bytes("ab")) == kt::Bytes{'a', 'b'});
    CHECK(converted<kt::Bytes>("ab") == kt::Bytes{'a', 'b'});
    CHECK(refusal<kt::Bytes>(3) == "bytes");
  }

  TEST_CASE("lists, maps, optionals, enumerations with names and user types convert as deeply as they go") {
    CHECK(converted<std::vector<int>>(json::array({1, "0x2"})) == std::vector<int>{1, 2});
    CHECK(converted<std::vector<int>>("[1, 2]") == std::vector<int>{1, 2});
    CHECK(refusal<std::vector<int>>("abc") == "list");
    CHECK(refusal<std::vector<int>>("[1,") == "list (as JSON text)");
    CHECK(refusal<std::vector<int>>(json::array({1, "x"})) == "int");
    CHECK(converted<std::map<std::string, double>>(json{{"a", 1}}).at("a") == 1.0);
    CHECK(refusal<std::map<std::string, double>>(json::array()) == "dict");
    CHECK(converted<std::optional<int>>(nullptr) == std::nullopt);
    CHECK(converted<std::optional<int>>("3") == 3);
    CHECK(converted<std::pair<int, std::string>>(json::array({1, "x"})).second == "x");
    CHECK(refusal<std::pair<int, int>>(json::array({1})) == "list of 2");
    CHECK(converted<Mood>("sleepy") == Mood::sleepy);
    CHECK(refusal<Mood>("angry") == "Mood");
    CHECK(converted<Item>(json{{"text", "x"}, {"number", 3}}).number == 3);
    CHECK(converted<Item>(R"({"text": "x", "number": 3})").text == "x");
    CHECK(refusal<Item>(json{{"text", "x"}}) == "Item (key 'number' not found)");
    CHECK(contains(refusal<Item>(5), "Item ("));
    for (const json& number : {json(1.9), json(99999999999), json(true)}) {
      CAPTURE(number.dump());
      CHECK(refusal<Item>(json{{"text", "x"}, {"number", number}}) == "Item (whole numbers that fit)");
      CHECK_FALSE(refusal<std::vector<Item>>(json::array({json{{"text", "x"}, {"number", number}}})).empty());
    }
    CHECK(converted<Item>(json{{"text", "x"}, {"number", 2.0}}).number == 2);
    CHECK(converted<Plain>("2") == Plain::two);
    CHECK(converted<Plain>(1) == Plain::one);
    CHECK(refusal<Plain>("x") == "int");
  }

  TEST_CASE("every kind of value against every type is a value or a refusal") {
    const std::vector<json> values{
        nullptr, true, 0, -1, 1.5, "", "x", "[]", json::array(), json::object(), kt::bytes(""), json::binary({}, 7)};
    for (const json& value : values) {
      refusal<int>(value), refusal<bool>(value), refusal<double>(value), refusal<std::string>(value),
          refusal<kt::Bytes>(value);
      refusal<std::optional<int>>(value), refusal<std::vector<int>>(value), refusal<std::map<std::string, int>>(value);
      refusal<Mood>(value), refusal<Item>(value), refusal<json>(value), refusal<nlohmann::json>(value);
    }
    CHECK(refusal<json>(nullptr).empty());
  }
}

namespace {

int add(int a, int b) { return a + b; }

struct Tag {
  std::string name;
  operator std::string_view() const { return name; }
};
void to_json(auto& value, const Tag& tag) { value = {{"tag", tag.name}}; }

struct Calculator {
  int times(int a, int b) const { return factor * a * b; }
  kt::Task<int> later(int a) {
    co_await kt::sleep_for(1ms);
    co_return factor* a;
  }
  int factor = 1;
};

class DerivedKitten : public kt::Kitten {
 public:
  DerivedKitten() : Kitten("derived") { api("greet", &DerivedKitten::greet, "Greets.", kt::arg("name") = "world"); }
  std::string greet(const std::string& name) { return greeting + name; }
  std::string greeting = "hello ";
};

void register_everything(kt::Kitten& kitten, Calculator& calculator) {
  kitten.api("add", add, "Adds two numbers.", kt::arg("a"), kt::arg("b") = 1);
  kitten.api("times", calculator, &Calculator::times, "Multiplies.", kt::arg("a"), kt::arg("b"));
  kitten.api("later", calculator, &Calculator::later, "Takes its time.", kt::arg("a"));
  kitten.api("nothing", [] {});
  kitten.api("who", [](kt::Request& request) { return request.peer().address + " " + std::string(request.method()); });
  kitten.api(
      "all", [](const kt::Request& request, int n) { return request.arguments()["n"].dump() + std::to_string(n); }, "",
      kt::arg("n") = 1);
  kitten.api(
      "view", [](std::string_view text) { return std::string(text) + "!"; }, "", kt::arg("text"));
  kitten.api(
      "echo", [](json value) { return value; }, "", kt::arg("value"));
  kitten.api("plain_json", [] { return nlohmann::json{{"b", 1}, {"a", long_text}}; });
  kitten.api(
      "item", [](Item item) { return item; }, "", kt::arg("item"));
  kitten.api(
      "maybe", [](std::optional<int> n) { return n; }, "", kt::arg("n") = nullptr);
  kitten.api(
      "bytes", [](kt::Bytes raw) { return raw; }, "", kt::arg("raw"));
  kitten.api(
      "captured",
      [text = long_text](std::string more) -> kt::Task<std::string> {
        co_await kt::sleep_for(1ms);
        co_return text + more;
      },
      "", kt::arg("more") = "");
  kitten.api(
      "stream",
      [text = long_text](int count, std::string more) -> kt::Generator<std::string> {
        for (int i = 0; i < count; ++i) {
          co_yield text + more;
          co_await kt::sleep_for(0ms);
        }
      },
      "", kt::arg("count") = 1, kt::arg("more") = "");
  kitten.api(
      "fail",
      [](std::string kind) -> int {
        if (kind == "not_found") throw kt::NotFound("no such thing");
        if (kind == "denied") throw kt::PermissionDenied("not you");
        if (kind == "teapot") throw kt::Error(418, "short and stout");
        if (kind == "redirect") throw kt::Redirect("/elsewhere");
        if (kind == "injection") throw kt::Redirect("/x\r\nSet-Cookie: a=b");
        if (kind == "need") throw kt::NeedInfo("who are you?", {{"user", "username", "Login", nullptr}});
        if (kind == "int") throw 5;
        throw std::runtime_error("secret /path/inside");
      },
      "", kt::arg("kind") = "");
  kitten.public_api(
      "public_fail", [](int) -> int { throw std::runtime_error("secret /path/inside"); }, "", kt::arg("n") = 0);
}

}  // namespace

TEST_SUITE("service/method") {
  TEST_CASE("every form of handler can be called, over TCP and over the unix socket") {
    Home home;
    Calculator calculator{2};
    register_everything(home.kitten, calculator);
    home.start();
    CHECK(home.result("add", R"({"a": 1, "b": 2})") == 3);
    CHECK(home.result("add", R"({"_args": [1]})") == 2);
    CHECK(home.result("add", R"({"_args": ["0x10"], "b": "3"})") == 19);
    CHECK(home.result("times", R"({"_args": [3, 4]})") == 24);
    CHECK(home.result("later", R"({"a": 21})") == 42);
    CHECK(home.result("nothing") == nullptr);
    CHECK(home.result("view", R"({"text": "x"})") == "x!");
    CHECK(home.result("plain_json")["a"] == long_text);
    CHECK(home.result("item", R"({"item": {"text": "x", "number": 5}})")["number"] == 5);
    CHECK(home.result("maybe") == nullptr);
    CHECK(home.result("maybe", R"({"n": 4})") == 4);
    CHECK(home.result("maybe", R"({"n": null})") == nullptr);
    CHECK(home.result("bytes", R"({"raw": {"__base64__": "AP8="}})")["__base64__"] == "AP8=");
    CHECK(home.result("captured", R"({"more": "!"})") == long_text + "!");
    CHECK(home.result("all", R"({"n": "0x2"})") == "\"0x2\"2");
    const std::string who = home.result("who").get<std::string>();
    CHECK(who.starts_with("127.0.0.1:"));
    CHECK(who.ends_with(" who"));
    Wire local = Wire::local(home.kitten);
    CHECK(json::parse(local.send(home.get(home.path("who"))).answer().body) == "unix-domain who");
  }

  TEST_CASE("what can become text and has a to_json() is sent as that says") {
    Home home;
    home.kitten.api("tag", [] { return Tag{"red"}; });
    home.start();
    CHECK(home.result("tag") == json{{"tag", "red"}});
  }

  TEST_CASE("a class that derives from Kitten registers its own member functions") {
    DerivedKitten kitten;
    TempDir state;
    kitten.settings().app_state_dir = kitten.settings().app_data_dir = state.path();
    kitten.greeting = "hej ";
    kitten.start_thread();
    const std::string path = "/" + kitten.token() + "/greet";
    CHECK(Wire::tcp(kitten).send("GET " + path + " HTTP/1.1\r\n\r\n").answer().body == "\"hej world\"\n");
  }

  TEST_CASE("the order of keys is kept, in arguments and results") {
    Home home;
    home.kitten.api(
        "echo", [](json value) { return value; }, "", kt::arg("value"));
    home.start();
    CHECK(home.call("echo", R"({"value": {"z": 1, "a": {"y": 2, "b": 3}}})").body ==
          "{\"z\":1,\"a\":{\"y\":2,\"b\":3}}\n");
  }

  TEST_CASE("an error names the method, the argument, the expected type and the value") {
    Home home;
    Calculator calculator;
    register_everything(home.kitten, calculator);
    home.start();
    const std::string wrong = home.error("add", R"({"a": "elephant"})");
    CHECK(contains(wrong, "add"));
    CHECK(contains(wrong, "'a'"));
    CHECK(contains(wrong, "invalid literal, expected int"));
    CHECK(contains(wrong, "\"elephant\""));
    CHECK(home.error("add", "{}") == "add: missing argument 'a' (int)");
    CHECK(home.error("add", R"({"_args": [1, 2, 3]})") == "add: takes at most 2 arguments, got 3");
    CHECK(home.error("add", R"({"_args": [1], "a": 2})") == "add: argument 'a' given twice");
    CHECK(home.error("add", R"({"a": 2, "_args": [1]})") == "add: argument 'a' given twice");
    CHECK(contains(home.error("stream", R"({"coutn": 2})"), "unknown argument 'coutn' (did you mean 'count'?)"));
    CHECK(contains(home.error("add", R"({"a": null})"), "got null"));
    CHECK(contains(home.error("add", R"({"a": 1e300})"), "expected int"));
    CHECK(contains(home.error("later", R"({"a": 1.5})"), "got 1.5"));
  }

  TEST_CASE("plain values in MessagePack, which no tree is made of, mean what they mean in JSON") {
    Home home;
    Calculator calculator{2};
    register_everything(home.kitten, calculator);
    home.kitten.api(
        "kinds",
        [](bool yes, std::int8_t small, std::uint64_t large, double real, const std::string& text, json any) {
          return json::array({yes, small, large, real, text, std::move(any)});
        },
        "", kt::arg("yes") = true, kt::arg("small") = 1, kt::arg("large") = 2, kt::arg("real") = 0.5,
        kt::arg("text") = "", kt::arg("any") = nullptr);
    home.start();
    struct Row {
      const char* method;
      const char* arguments;
      int status = 200;
    };
    const Row rows[] = {
        {"add", R"({"a": 1, "b": 2})"},
        {"add", R"({"b": -70000, "a": 100000})"},
        {"add", R"({"a": "0x10"})"},
        {"add", R"({"a": 2.0})"},
        {"add", R"({"a": 2.5})", 400},
        {"add", R"({"a": 5000000000})", 400},
        {"add", R"({"a": -5000000000})", 400},
        {"add", R"({"b": 1})", 400},
        {"add", R"({"a": 1, "c": 1})", 400},
        {"add", R"({"_args": [1, 2]})"},
        {"add", R"({"_args": [1], "b": 5})"},
        {"add", R"({"b": 5, "_args": ["3"]})"},
        {"add", R"({"a": 1, "_args": [1]})", 400},
        {"add", R"({"_args": [1], "a": 1})", 400},
        {"add", R"({"_args": [1, 2, 3]})", 400},
        {"add", R"({"_args": [[1], 2]})", 400},
        {"add", R"({"_args": 1})", 400},
        {"nothing", R"({"_args": []})"},
        {"add", R"({"a": null})", 400},
        {"add", R"({"a": [1]})", 400},
        {"add", "{}", 400},
        {"nothing", "{}"},
        {"nothing", R"({"a": 1})", 400},
        {"maybe", R"({"n": null})"},
        {"maybe", R"({"n": 4})"},
        {"maybe", R"({"n": "x"})", 400},
        {"view", R"({"text": "Gr\u00fc\u00dfe"})"},
        {"later", R"({"a": 21})"},
        {"kinds", "{}"},
        {"kinds",
         R"({"yes": false, "small": -128, "large": 18446744073709551615, "real": -0.25, "text": "x", "any": {}})"},
        {"kinds",
         R"({"yes": false, "small": 127, "large": 255, "real": 3, "any": "long enough to be a str 8 in there"})"},
        {"kinds", R"({"yes": "no", "small": "-1", "real": "1e3", "any": 70000})"},
        {"kinds", R"({"small": 128})", 400},
        {"kinds", R"({"small": -129})", 400},
        {"kinds", R"({"large": -1})", 400},
        {"kinds", R"({"yes": 2})", 400},
        {"kinds", R"({"text": 5})", 400},
    };
    for (const Row& row : rows) {
      CAPTURE(row.method);
      CAPTURE(row.arguments);
      std::string packed;
      REQUIRE(!kt::encode_msgpack(json::parse(row.arguments), packed));
      const Answer told = home.call(row.method, row.arguments);
      const Answer answer =
          Wire::tcp(home.kitten).send(home.post(home.path(row.method), packed, "application/msgpack")).answer();
      CHECK(told.status == row.status);
      CHECK(answer.status == row.status);
      json value;
      REQUIRE(!kt::decode_msgpack(answer.body, value));
      CHECK(value == json::parse(told.body));
    }
    // Nothing may follow, and nothing occur twice.
    for (const char* hex :
         {"82 a1 61 01 a1 61 02", "81 a1 61 01 c0", "81 a1 61 a1 ff", "82 a5 5f 61 72 67 73 91 01 a5 5f 61 72 67 73 90",
          "81 a5 5f 61 72 67 73 91", "81 a1 61", "81 a1"}) {
      CAPTURE(hex);
      CHECK(Wire::tcp(home.kitten)
                .send(home.post(home.path("add"), codec_bytes(hex), "application/x-msgpack"))
                .answer()
                .status == 400);
    }
  }

  TEST_CASE("exceptions become statuses, and a redirect its header") {
    Home home;
    Calculator calculator;
    register_everything(home.kitten, calculator);
    home.start();
    CHECK(home.error("fail", R"({"kind": "not_found"})", 404) == "no such thing");
    CHECK(home.error("fail", R"({"kind": "denied"})", 403) == "not you");
    CHECK(home.error("fail", R"({"kind": "teapot"})", 418) == "short and stout");
    CHECK(home.error("fail", "{}", 500) == "secret /path/inside");
    CHECK(contains(home.error("fail", R"({"kind": "int"})", 500), "not derived"));
    const Answer redirect = home.call("fail", R"({"kind": "redirect"})");
    CHECK(redirect.status == 302);
    CHECK(redirect.fields.at("Location") == "/elsewhere");
    CHECK(json::parse(redirect.body)["redirect"] == "/elsewhere");
    const Answer need = home.call("fail", R"({"kind": "need"})");
    CHECK(need.status == 423);
    CHECK(json::parse(need.body)["needed_vars"][0]["comment"] == "Login");
  }

  TEST_CASE("nothing that a handler returns or throws can add a header (83)") {
    Home home;
    Calculator calculator;
    register_everything(home.kitten, calculator);
    home.kitten.api("mime", [] { return kt::Result{"text/plain\r\nSet-Cookie: a=b", "x"}; });
    home.kitten.api(
        "status",
        [](int status) {
          return kt::Result{"text/plain", "x", status};
        },
        "", kt::arg("status"));
    home.start();
    for (const Answer& answer : {home.call("fail", R"({"kind": "injection"})"), home.call("mime")}) {
      CHECK(answer.status == 500);
      CHECK_FALSE(contains(answer.head, "Set-Cookie"));
    }
    for (const int status : {0, 99, 101, 1000, -200})
      CHECK(home.call("status", json{{"status", status}}.dump()).status == 500);
    CHECK(home.call("status", R"({"status": 201})").status == 201);
  }

  TEST_CASE("strangers get neither the texts of exceptions nor their own words back") {
    Home home;
    Calculator calculator;
    register_everything(home.kitten, calculator);
    home.start();
    const auto stranger = [&](const std::string& arguments) {
      return Wire::tcp(home.kitten).send(home.post("/public_fail", arguments)).answer();
    };
    CHECK(stranger("{}").status == 500);
    CHECK_FALSE(contains(stranger("{}").body, "secret"));
    CHECK(stranger(R"({"n": "marker"})").status == 400);
    CHECK_FALSE(contains(stranger(R"({"n": "marker"})").body, "marker"));
    CHECK_FALSE(contains(stranger(R"({"marker": 1})").body, "marker"));
    CHECK(contains(home.log(), "secret /path/inside"));
  }

  TEST_CASE("a name or default that cannot work is refused when the method is added") {
    kt::Kitten kitten("test");
    CHECK_THROWS_WITH_AS(kitten.api("add", add, "", kt::arg("a") = "x", kt::arg("b")),
                         doctest::Contains("default of add: argument 'a'"), std::invalid_argument);
    CHECK_THROWS_AS(kitten.api("add", add, "", kt::arg("a"), kt::arg("a")), std::invalid_argument);
    CHECK_THROWS_AS(kitten.api("add", add, "", kt::arg("_args"), kt::arg("b")), std::invalid_argument);
    CHECK_THROWS_AS(kitten.api("a/b", [] {}), std::invalid_argument);
    CHECK_THROWS_AS(kitten.api("", [] {}), std::invalid_argument);
    CHECK_THROWS_WITH_AS(kitten.api("ping", [] {}), doctest::Contains("built-in"), std::invalid_argument);
  }

  TEST_CASE("unknown methods go to the fallback, for strangers only if it is public") {
    Home home;
    home.kitten.fallback(
        [](kt::Request& request) { return "no " + std::string(request.method()) + request.arguments().dump(); });
    home.start();
    CHECK(home.result("xyzzy", R"({"a": 1})") == "no xyzzy{\"a\":1}");
    CHECK(Wire::tcp(home.kitten).send(home.get("/xyzzy")).answer().status == 403);
    Home open("Open");
    open.kitten.public_fallback([] { return kt::text("meow"); });
    open.kitten.api("private", [] { return 1; });
    open.start();
    CHECK(Wire::tcp(open.kitten).send(open.get("/xyzzy")).answer().body == "meow");
    CHECK(Wire::tcp(open.kitten).send(open.get("/private")).answer().status == 403);
  }
}

TEST_SUITE("service/serving") {
  TEST_CASE(
      "the first path component, a bearer header or a whole word of another header is the token; nothing else is (72, "
      "75)") {
    Home home;
    home.kitten.api("secret", [] { return 1; });
    home.start();
    const std::string token = home.kitten.token();
    const auto status = [&](const std::string& target, const std::string& headers = "") {
      return Wire::tcp(home.kitten).send(home.get(target, headers)).answer().status;
    };
    CHECK(token.size() == 24);
    CHECK(status("/" + token + "/secret") == 200);
    CHECK(status("/" + token + "/secret/more?x=1") == 200);
    CHECK(status("/secret", "Authorization: Bearer " + token + "\r\n") == 200);
    CHECK(status("/secret", "X-Anything: " + token + "\r\n") == 200);
    std::string flipped = token;
    flipped[0] = flipped[0] == 'a' ? 'b' : 'a';
    for (const std::string& path :
         {std::string("/secret"), "/" + flipped + "/secret", "/" + token.substr(1) + "/secret",
          "/" + token + "x/secret", "/" + token + token + "/secret", std::string("//secret"), "/secret/" + token,
          "/secret?" + token, "/%20" + token + "/secret"}) {
      CAPTURE(path);
      CHECK(status(path) == 403);
    }
    for (const char* header : {"Referer: http://x/", "Origin: ", "Cookie: ", "User-Agent: ", "X: x"}) {
      CAPTURE(header);
      CHECK(status("/secret", header + token + "\r\n") == 403);
    }
    CHECK(status("/" + token + "/unknown") == 404);
    CHECK(status("/" + token + "//secret") == 404);
  }

  TEST_CASE("an answer to HEAD has no body, not even when what follows the head is refused (86)") {
    Home home;
    home.start();
    const std::string request = "HEAD /ping HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n";
    const std::string all = Wire::tcp(home.kitten).send(request).rest();
    CHECK(all.starts_with("HTTP/1.1 400 "));
    CHECK(all.ends_with("\r\nConnection: close\r\n\r\n"));
  }

  TEST_CASE("strangers get the same answer for private, unknown and mistyped methods") {
    Home home;
    home.kitten.api("secret", [] { return 1; });
    home.start();
    Answer first = Wire::tcp(home.kitten).send(home.get("/secret")).answer();
    CHECK(first.status == 403);
    for (const char* path : {"/nothing", "/help", "/config", "/quitquitquit", "/WRONG/secret", "/a/../secret"}) {
      CHECK(Wire::tcp(home.kitten).send(home.get(path)).answer() == first);
    }
    CHECK(Wire::tcp(home.kitten).send(home.post("/secret", "[broken")).answer() == first);
  }

  TEST_CASE("the token is compared as a whole, whatever its first difference is (73)") {
    const kt::detail::Token token("abcdefgh");
    CHECK(token.matches("abcdefgh"));
    for (const char* wrong : {"", "a", "abcdefg", "abcdefghi", "xbcdefgh", "abcdefgx", "abcdefghabcdefgh"})
      CHECK_FALSE(token.matches(wrong));
    CHECK_FALSE(kt::detail::Token().matches(""));
  }

// Sanitizers add instructions of their own; how many depends on addresses and on chance.
#if defined(__linux__) && defined(__x86_64__) && !KETTLINGAR_TEST_WITH_TSAN && !KETTLINGAR_TEST_WITH_ASAN
  // How many instructions `work` takes: a child does it, and is stopped after each of them. Nothing where that is not
  // allowed.
  template <class Work>
  std::optional<long> instructions(const Work& work) {
    const pid_t child = ::fork();
    if (child == 0) {
      if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(1);
      work();  // the first time also binds what the libraries have
      ::raise(SIGSTOP);
      work();
      ::raise(SIGSTOP);
      ::_exit(0);
    }
    int status = 0;
    const auto stopped_by = [&](int signal) {
      return ::waitpid(child, &status, 0) == child && WIFSTOPPED(status) && WSTOPSIG(status) == signal;
    };
    long count = 0;
    bool traced = stopped_by(SIGSTOP);
    while (traced && ::ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr) == 0 && stopped_by(SIGTRAP)) ++count;
    traced = traced && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP;
    if (WIFSTOPPED(status)) {
      ::kill(child, SIGKILL);
      ::waitpid(child, &status, 0);
    }
    return traced ? std::optional(count) : std::nullopt;
  }

  struct Nothing final : kt::detail::Method {
    explicit Nothing(std::string name) : Method(std::move(name), "") {}
    void run(kt::detail::Call&) const override {}
    void check_defaults(const std::vector<const json*>&, std::size_t&) const override {}
  };

  TEST_CASE(
      "a stranger is refused in the same time whatever is wrong with the token, and whatever methods there are (72, "
      "73)") {
    const std::string secret = "abcdefghijklmnopqrstuvwx";
    const kt::detail::Token token(secret);
    kt::detail::Registry methods;
    for (const char* name : {"meow", "purr", "swim"}) {
      auto method = std::make_shared<Nothing>(name);
      method->set_public(name == "meow"sv);
      methods.add(std::move(method));
    }
    // At one place for all: how functions of the C library look at bytes depends on where they are.
    alignas(64) char place[512];
    const auto placed = [&](std::string_view text) { return std::string_view(place, text.copy(place, sizeof place)); };
    const auto comparison = [&](std::string_view candidate) {
      return instructions([&, here = placed(candidate)] {
        if (token.matches(here)) ::_exit(1);
      });
    };
    const auto usual = comparison("abcdefghijklmnopqrstuvwX");
    if (!usual) {
      MESSAGE("skipped: programs cannot be traced here");
      return;
    }
    CHECK(*usual > 0);
    for (const std::string& other :
         {"Abcdefghijklmnopqrstuvwx"s, "abcdefghijkLmnopqrstuvwx"s, "ABCDEFGHIJKLMNOPQRSTUVWX"s, std::string(24, 'x'),
          "a"s, secret.substr(1), secret + "x", secret + secret, std::string(300, 'a')}) {
      CAPTURE(other);
      CHECK(comparison(other) == usual);
    }
    const auto refusal = [&](std::string_view path) {
      kt::RequestHead head;
      head.path = placed(path);
      return instructions([&] {
        const kt::detail::Route route = kt::detail::find_route(head, token, "");
        if (route.authenticated || methods.find(route.method, false)) ::_exit(1);
      });
    };
    const auto unknown = refusal("/none");
    CHECK(*unknown > 0);
    for (const char* there : {"/purr", "/purl", "/swim"}) {
      CAPTURE(there);
      CHECK(refusal(there) == unknown);
    }
  }
#endif

  TEST_CASE("msgpack is answered with msgpack, everything else with JSON") {
    Home home;
    home.kitten.api(
        "echo", [](json value) { return value; }, "", kt::arg("value"));
    home.start();
    std::string body;
    REQUIRE_FALSE(kt::encode_msgpack(json{{"value", kt::bytes("\xff")}}, body));
    const Answer packed =
        Wire::tcp(home.kitten).send(home.post(home.path("echo"), body, "application/x-msgpack")).answer();
    CHECK(packed.fields.at("Content-Type") == "application/x-msgpack");
    CHECK(packed.body == "\xc4\x01\xff");
    const Answer text = Wire::tcp(home.kitten)
                            .send(home.post(home.path("echo"), R"({"value": 1})", "application/json; charset=utf-8"))
                            .answer();
    CHECK(text.fields.at("Content-Type") == "application/json");
    CHECK(text.body == "1\n");
    const Answer form = Wire::tcp(home.kitten)
                            .send(home.post(home.path("echo"), "value=a+b%21", "application/x-www-form-urlencoded"))
                            .answer();
    CHECK(form.body == "\"a b!\"\n");
    CHECK(Wire::tcp(home.kitten).send(home.post(home.path("echo"), "value=1", "text/plain")).answer().status == 415);
  }

  TEST_CASE("forms become maps: repeated fields lists, empty ones nothing, _args always a list") {
    json found;
    REQUIRE_FALSE(kt::detail::decode_form("a=1&b=2&b=3&c=&_args=x&d=%c3%a9\n", found));
    CHECK(found == json{{"a", "1"}, {"b", {"2", "3"}}, {"_args", json::array({"x"})}, {"d", "\xc3\xa9"}});
    CHECK(kt::detail::decode_form("a=%zz", found));
    CHECK(contains(kt::detail::decode_form(R"({"a": 1})", found).why, "Content-Type: application/json"));
    CHECK(kt::detail::decode_form("a=%ff", found));
  }

  TEST_CASE("bodies that cannot be arguments are 400, before any handler runs") {
    Home home;
    Happening ran;
    home.kitten.api("run", [&] { ran.happen(); });
    home.start();
    for (const char* body :
         {"[1]", "5", "\"x\"", "{", "{\"_args\": 5}", "{\"_args\": {\"a\": 1}}", "{\"a\": NaN}", "nonsense"}) {
      CAPTURE(body);
      CHECK(Wire::tcp(home.kitten).send(home.post(home.path("run"), body)).answer().status == 400);
    }
    for (const std::string& body : {std::string("\xc1"), std::string("\x81\xa1"), std::string("\xc0"),
                                    std::string("\x90"), std::string("\x80\x00", 2), std::string(100, '\x91')}) {
      CHECK(Wire::tcp(home.kitten).send(home.post(home.path("run"), body, "application/x-msgpack")).answer().status ==
            400);
    }
    CHECK(ran.count() == 0);
  }

  TEST_CASE("requests in one segment are answered in order, in one connection (54)") {
    Home home;
    home.kitten.api(
        "echo", [](int n) { return n; }, "", kt::arg("n"));
    home.start();
    std::string requests;
    for (int i = 0; i < 200; ++i) requests += home.post(home.path("echo"), json{{"n", i}}.dump());
    Wire wire = Wire::tcp(home.kitten);
    wire.send(requests);
    for (int i = 0; i < 200; ++i) REQUIRE(wire.answer().body == std::to_string(i) + "\n");
  }

  TEST_CASE("plain, awaited and streamed answers of pipelined requests leave in order") {
    Home home;
    Calculator calculator;
    register_everything(home.kitten, calculator);
    home.start();
    Wire wire = Wire::local(home.kitten);
    wire.send(home.get(home.path("captured")) + home.post(home.path("stream"), R"({"count": 3})") +
              home.get(home.path("nothing")) + home.get(home.path("unknown")) + home.get("/ping"));
    CHECK(json::parse(wire.answer().body) == long_text);
    const Answer stream = wire.answer();
    CHECK(stream.chunks.size() == 3);
    CHECK(stream.end_mark);
    CHECK(wire.answer().body == "null\n");
    CHECK(wire.answer().status == 404);
    CHECK(wire.answer().body == "Pong\n");
  }

  TEST_CASE("a request in bare LF is answered in bare LF, and is the last of its connection (1, 2, 9)") {
    Home home;
    home.start();
    for (const bool over_tcp : {true, false}) {
      Wire wire = over_tcp ? Wire::tcp(home.kitten) : Wire::local(home.kitten);
      wire.send("GET /ping HTTP/1.1\n\nGET /ping HTTP/1.1\n\n");
      CHECK(wire.rest() ==
            "HTTP/1.1 200 OK\nContent-Type: text/plain\nContent-Length: 5\nConnection: close\n"
            "Cache-Control: no-store\nX-Content-Type-Options: nosniff\nReferrer-Policy: same-origin\n\nPong\n");
    }
  }

  TEST_CASE("a request may come byte by byte, its body in chunks") {
    Home home;
    home.kitten.api(
        "echo", [](std::string value) { return value; }, "", kt::arg("value"));
    home.start();
    const std::string request = "POST " + home.path("echo") +
                                " HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n"
                                "5\r\n{\"val\r\na;x=y\r\nue\":\"abcde\r\n2\r\n\"}\r\n0\r\nX: y\r\n\r\n";
    Wire wire = Wire::tcp(home.kitten);
    for (const char c : request) wire.send(std::string_view(&c, 1));
    CHECK(wire.answer().body == "\"abcde\"\n");
    CHECK(wire.send(request + request).answer().body == "\"abcde\"\n");
    CHECK(wire.answer().body == "\"abcde\"\n");
  }

  TEST_CASE("large arguments and results arrive whole") {
    Home home;
    home.kitten.api(
        "echo", [](std::string value) { return value; }, "", kt::arg("value"));
    home.start();
    const std::string value(1'000'000, 'x');
    Wire wire = Wire::local(home.kitten);
    for (int i = 0; i < 3; ++i) {
      wire.send(home.post(home.path("echo"), json{{"value", value}}.dump()));
      CHECK(wire.answer().body == json(value).dump() + "\n");
    }
  }

  TEST_CASE("HEAD has the head of GET and no body (21)") {
    Home home;
    home.kitten.public_api("meow", [] { return kt::text("Meow world, meow!\n"); });
    home.kitten.public_api(
        "purr", [](int n) { return items(n, ""); }, "", kt::arg("n") = 2);
    home.start();
    Wire wire = Wire::tcp(home.kitten);
    wire.send("HEAD /meow HTTP/1.1\r\n\r\nHEAD /purr HTTP/1.1\r\n\r\nGET /meow HTTP/1.1\r\n\r\n");
    const Answer head = wire.answer(true);
    CHECK(head.fields.at("Content-Length") == "18");
    CHECK(wire.answer(true).fields.at("Transfer-Encoding") == "chunked");
    CHECK(wire.answer().body == "Meow world, meow!\n");
  }

  TEST_CASE("100 Continue is said only where the body is wanted (32)") {
    Home home;
    home.kitten.api(
        "echo", [](int n) { return n; }, "", kt::arg("n"));
    home.start();
    const auto head = [&](const std::string& target, const std::string& length) {
      return "POST " + target +
             " HTTP/1.1\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: " + length +
             "\r\n\r\n";
    };
    Wire wanted = Wire::tcp(home.kitten);
    wanted.send(head(home.path("echo"), "7"));
    CHECK(wanted.answer().status == 100);
    CHECK(wanted.send("{\"n\":5}").answer().body == "5\n");
    Wire at_once = Wire::tcp(home.kitten);
    CHECK(at_once.send(head(home.path("echo"), "7") + "{\"n\":5}").answer().status == 200);
    Wire stranger = Wire::tcp(home.kitten);
    CHECK(stranger.send(head("/echo", "7")).answer().status == 403);
    CHECK(stranger.closed());
    Wire large = Wire::tcp(home.kitten);
    CHECK(large.send(head(home.path("echo"), "999999999")).answer().status == 413);
    Wire other = Wire::tcp(home.kitten);
    CHECK(other.send("GET /ping HTTP/1.1\r\nExpect: miracles\r\n\r\n").answer().status == 417);
  }

  TEST_CASE("methods of HTTP that we do not serve are named so, and OPTIONS grants nothing (11, 19, 108)") {
    Home home;
    home.start();
    const auto answer = [&](const std::string& method) {
      return Wire::tcp(home.kitten).send(method + " /ping HTTP/1.1\r\nOrigin: http://evil.example\r\n\r\n").answer();
    };
    CHECK(Wire::tcp(home.kitten).send("PUT /ping HTTP/1.1\r\n\r\n").answer().status == 405);
    CHECK(Wire::tcp(home.kitten).send("PUT /ping HTTP/1.1\r\n\r\n").answer().fields.at("Allow") ==
          "GET, HEAD, POST, OPTIONS");
    CHECK(Wire::tcp(home.kitten).send("BREW /ping HTTP/1.1\r\n\r\n").answer().status == 501);
    CHECK(Wire::tcp(home.kitten).send("get /ping HTTP/1.1\r\n\r\n").answer().status == 501);
    const Answer options = Wire::tcp(home.kitten).send("OPTIONS /ping HTTP/1.1\r\n\r\n").answer();
    CHECK(options.status == 204);
    CHECK_FALSE(contains(options.head, "Access-Control"));
    CHECK(answer("OPTIONS").status == 403);
    CHECK(
        Wire::tcp(home.kitten).send("GET /" + home.kitten.token() + "/quitquitquit HTTP/1.1\r\n\r\n").answer().status ==
        405);
    CHECK(Wire::tcp(home.kitten).send(home.get("/ping")).answer().body == "Pong\n");
  }

  TEST_CASE("pages of foreign origins and rebound names are refused, even with the token (109, 110)") {
    Home home;
    home.kitten.public_api("meow", [] { return 1; });
    home.start();
    const auto status = [&](const std::string& headers) {
      return Wire::tcp(home.kitten)
          .send("GET " + home.path("meow") + " HTTP/1.1\r\n" + headers + "\r\n")
          .answer()
          .status;
    };
    const std::string host = home.kitten.url().substr(7);
    CHECK(status("") == 200);
    CHECK(status("Host: " + host + "\r\n") == 200);
    CHECK(status("Host: localhost\r\n") == 200);
    CHECK(status("Host: [::1]:80\r\n") == 200);
    CHECK(status("Host: " + host + "\r\nOrigin: http://" + host + "\r\n") == 200);
    CHECK(status("Host: localhost.evil.example\r\n") == 403);
    CHECK(status("Host: evil.example:80\r\n") == 403);
    CHECK(status("Host: " + host + "\r\nOrigin: http://evil.example\r\n") == 403);
    CHECK(status("Host: " + host + "\r\nOrigin: null\r\n") == 403);
    for (const char* site : {"cross-site", "same-site", "", "something new"})
      CHECK(status("Host: " + host + "\r\nSec-Fetch-Site: " + site + "\r\n") == 403);
    for (const char* site : {"same-origin", "none"})
      CHECK(status("Host: " + host + "\r\nSec-Fetch-Site: " + site + "\r\n") == 200);
    // Browsers connect these to this machine, but do not always say who asks.
    for (const char* address : {"0.0.0.0", "[::]", "[::ffff:127.0.0.1]", "192.0.2.1"})
      CHECK(status("Host: "s + address + ":80\r\n") == 403);
  }

  TEST_CASE("a Host is localhost, a loopback address or the address that is listened on (109)") {
    using kt::detail::own_name;
    for (const char* listening : {"127.0.0.1", "::1", "localhost", "192.0.2.1", "0.0.0.0", "::"}) {
      CAPTURE(listening);
      for (const char* name : {"localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "[::1]"})
        CHECK(own_name(name, listening));
      for (const char* name : {"", "evil.example", "localhost.evil.example", "0.0.0.0", "[::]", "127.1", "[::1", "["})
        CHECK_FALSE(own_name(name, listening));
    }
    CHECK(own_name("192.0.2.1", "192.0.2.1"));
    CHECK(own_name("[2001:db8::1]", "2001:db8:0::1"));
    CHECK_FALSE(own_name("192.0.2.2", "192.0.2.1"));
    CHECK_FALSE(own_name("192.0.2.1", "localhost"));
    CHECK(own_name("192.0.2.1", "0.0.0.0"));
    CHECK(own_name("[2001:db8::1]", "::"));
  }

  TEST_CASE("after a syntax error nothing that follows is taken for a request (I3)") {
    Home home;
    Happening ran;
    home.kitten.public_api("run", [&] { ran.happen(); });
    home.start();
    for (const char* bad : {"G@T / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nX : y\r\n\r\n", "GET / HTTP/9.9\r\n\r\n",
                            "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
                            "POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\n",
                            "POST /run HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nX\r\n"}) {
      CAPTURE(bad);
      Wire wire = Wire::tcp(home.kitten);
      wire.send(std::string(bad) + "GET /run HTTP/1.1\r\n\r\n");
      const Answer answer = wire.answer();
      CHECK(answer.status >= 400);
      CHECK(answer.fields.at("Connection") == "close");
      CHECK(wire.closed());
    }
    CHECK(ran.count() == 0);
  }

  TEST_CASE("a refused body is dropped and the connection kept, or the connection goes (43)") {
    Home home;
    Happening ran;
    home.kitten.public_api("run", [&] { ran.happen(); });
    home.start();
    const std::string hidden = "GET /run HTTP/1.1\r\nHost: x\r\n\r\n";
    Wire small = Wire::tcp(home.kitten);
    small.send(home.post("/wrong", hidden) + home.get("/ping"));
    CHECK(small.answer().status == 403);
    CHECK(small.answer().body == "Pong\n");
    Wire large = Wire::tcp(home.kitten);
    std::string body;
    while (body.size() < 100'000) body += hidden;
    large.send(home.post("/wrong", body));
    CHECK(large.answer().status == 403);
    CHECK(large.closed());
    CHECK(ran.count() == 0);
  }

  TEST_CASE("a body over the limit is 413 at once, announced or in chunks (36, 50)") {
    Home home;
    home.kitten.settings().worker_http_request_max_size = 2000;
    home.kitten.limits().stranger_body_bytes = 100;
    home.kitten.public_api(
        "echo", [](std::string text) { return text; }, "", kt::arg("text") = "");
    home.start();
    CHECK(home.call("echo", json{{"text", std::string(1900, 'x')}}.dump()).status == 200);
    CHECK(home.call("echo", json{{"text", std::string(2000, 'x')}}.dump()).status == 413);
    CHECK(Wire::tcp(home.kitten).send(home.post("/echo", json{{"text", "x"}}.dump())).answer().status == 200);
    CHECK(
        Wire::tcp(home.kitten).send(home.post("/echo", json{{"text", std::string(200, 'x')}}.dump())).answer().status ==
        413);
    Wire chunked = Wire::tcp(home.kitten);
    chunked.send("POST " + home.path("echo") + " HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 6; ++i) chunked.send("190\r\n" + std::string(400, 'x') + "\r\n");
    CHECK(chunked.answer().status == 413);
  }

  TEST_CASE("a half-closed request is answered, half a request is not (60)") {
    Home home;
    home.start();
    Wire whole = Wire::tcp(home.kitten);
    CHECK(contains(whole.send("GET /ping HTTP/1.1\n\n").half_close().rest(), "Pong\n"));
    Wire half = Wire::tcp(home.kitten);
    CHECK(half.send("GET /ping HTTP/1.1\r\nHo").half_close().rest().empty());
    CHECK(eventually([&] { return contains(home.log(), " eof "); }));
  }

  TEST_CASE("a slow head or body ends with 408 at its deadline, an idle connection silently (58, 62)") {
    Home home;
    home.kitten.settings().worker_http_request_timeout1 = 0.05;
    home.kitten.settings().worker_http_request_timeout2 = 0.1;
    home.kitten.limits().idle_timeout = 50ms;
    home.start();
    Wire head = Wire::tcp(home.kitten);
    CHECK(head.send("GET /pi").answer().status == 408);
    CHECK(head.closed());
    Wire body = Wire::tcp(home.kitten);
    CHECK(body.send("POST " + home.path("ping") + " HTTP/1.1\r\nContent-Length: 10\r\n\r\n{").answer().status == 408);
    Wire idle = Wire::tcp(home.kitten);
    CHECK(idle.send(home.get("/ping")).answer().status == 200);
    CHECK(idle.closed());
  }

  TEST_CASE("a reader who takes nothing is cut off; meanwhile others are served, and memory is bounded (55)") {
    Home home;
    home.kitten.limits().write_timeout = 100ms;
    home.kitten.public_api("large", [] { return kt::Result{"text/plain", std::string(1'000'000, 'x')}; });
    home.start();
    Wire greedy = Wire::local(home.kitten);
    std::string requests;
    for (int i = 0; i < 500; ++i) requests += home.get("/large");
    std::thread sender([&] { greedy.send(requests); });
    CHECK(Wire::tcp(home.kitten).send(home.get("/ping")).answer().body == "Pong\n");
    CHECK(eventually([&] { return contains(home.log(), "takes nothing, closed"); }));
    sender.join();
    CHECK(greedy.rest().size() < 10'000'000);
  }

  TEST_CASE("deadlines hold after answers that had to wait for their reader (62)") {
    Home home;
    home.kitten.settings().worker_http_request_timeout1 = 0.05;
    home.kitten.limits().idle_timeout = 50ms;
    home.kitten.limits().linger_timeout = 50ms;
    home.kitten.public_api("large", [] { return kt::Result{"text/plain", std::string(5'000'000, 'x')}; });
    home.start();
    for (const char* unfinished : {"", "GET /pi"}) {
      Wire wire = Wire::local(home.kitten);
      wire.send(home.get("/large") + unfinished);
      CHECK(wire.rest().size() > 5'000'000);  // to the end of the connection
    }
  }

  TEST_CASE("an answer arrives whole even if the caller sends bytes that nobody reads (38)") {
    Home home;
    home.kitten.public_api("large", [] { return kt::Result{"text/plain", std::string(5'000'000, 'x')}; });
    home.start();
    for (const bool over_tcp : {true, false}) {
      Wire wire = over_tcp ? Wire::tcp(home.kitten) : Wire::local(home.kitten);
      wire.send("GET /large HTTP/1.1\n\n");
      CHECK(wire.until("\n\n"));
      wire.send("surplus");
      CHECK(wire.answer().body.size() == 5'000'000);
      CHECK(wire.rest().empty());
    }
  }

  TEST_CASE("calls whose callers have gone end, and give their places back (63, 65)") {
    Home home;
    Happening started, gone;
    home.kitten.limits().idle_timeout = 50ms;
    home.kitten.settings().worker_max_connections = 4;
    home.kitten.public_api("wait", [&]() -> kt::Task<int> {
      const Counted local(&gone);
      started.happen();
      co_await kt::sleep_for(24h);
      co_return 1;
    });
    home.start();
    for (int i = 0; i < 4; ++i) {
      Wire wire = i % 2 == 0 ? Wire::tcp(home.kitten) : Wire::local(home.kitten);
      wire.send(home.get("/wait"));
      CHECK(started.happened(i + 1));
    }
    CHECK(gone.happened(4));
    CHECK(Wire::tcp(home.kitten).send(home.get("/ping")).answer().body == "Pong\n");
  }

  TEST_CASE("a map of 50,000 names is bound, echoed or refused in linear time (71)") {
    Home home;
    home.kitten.api(
        "all", [](json value) { return value.size(); }, "", kt::arg("value"));
    home.start();
    json many = json::object();
    auto& fields = many.get_ref<json::object_t&>();
    for (int i = 0; i < 50'000; ++i) fields.emplace_back("k" + std::to_string(i), i);
    // As text: the parser of ordered_json looks every key up.
    CHECK(contains(home.call("ping", many.dump()).body, "\"k49999\":49999,\"pong\":true"));
    json value = json::object();
    value["value"] = many;
    CHECK(home.result("all", value.dump()) == 50'000);
    CHECK(contains(home.error("all", many.dump()), "unknown argument 'k0'"));
  }

  TEST_CASE("beyond the limit of connections the oldest idle one makes room (63)") {
    Home home;
    home.kitten.settings().worker_max_connections = 4;
    home.start();
    std::vector<Wire> wires;
    for (int i = 0; i < 8; ++i) {
      wires.push_back(Wire::tcp(home.kitten));
      CHECK(wires.back().send(home.get("/ping")).answer().body == "Pong\n");
    }
    CHECK(wires[0].closed());
    CHECK(wires[7].send(home.get("/ping")).answer().body == "Pong\n");
  }

  TEST_CASE("a prefix is served below itself only, whole components") {
    Home home;
    home.kitten.settings().worker_url_path = "/some/prefix/";
    home.start();
    const auto status = [&](const std::string& path) {
      return Wire::tcp(home.kitten).send(home.get(path)).answer().status;
    };
    CHECK(status("/some/prefix/ping") == 200);
    CHECK(status("/some/prefix/" + home.kitten.token() + "/help") == 200);
    CHECK(status("/ping") == 403);
    CHECK(status("/some/prefixes/ping") == 403);
    CHECK(contents(home.state / "Kitty.url") == home.kitten.url() + "/some/prefix/" + home.kitten.token());
  }

  TEST_CASE("one log line for each request, without the token (76, I8)") {
    Home home;
    home.start();
    Wire::tcp(home.kitten).send(home.get(home.path("ping"))).answer();
    Wire::tcp(home.kitten).send(home.get("/wrong")).answer();
    CHECK(eventually([&] { return contains(home.log(), " 403 auth "); }));
    CHECK(contains(home.log(), "http 200 ok 127.0.0.1:"));
    CHECK(contains(home.log(), "GET /ping"));
    CHECK_FALSE(contains(home.log(), home.kitten.token()));
  }

  TEST_CASE("ten thousand requests on one connection leave nothing behind") {
    Home home;
    home.start();
    const int before = open_descriptors();
    {
      Wire wire = Wire::tcp(home.kitten);
      for (int i = 0; i < 100; ++i) {
        std::string requests;
        for (int j = 0; j < 100; ++j) requests += home.get("/ping");
        wire.send(requests);
        for (int j = 0; j < 100; ++j) REQUIRE(wire.answer().status == 200);
      }
    }
    CHECK(eventually([&] { return open_descriptors() <= before; }));
  }
}

TEST_SUITE("service/streaming") {
  TEST_CASE("each item is one chunk, in the format of the request, and the end has its mark") {
    Home home;
    home.kitten.api("items", items, "", kt::arg("count"), kt::arg("text") = "x");
    home.start();
    const Answer text = home.call("items", R"({"count": 3})");
    CHECK(text.fields.at("Transfer-Encoding") == "chunked");
    CHECK(text.fields.count("Content-Length") == 0);
    REQUIRE(text.chunks.size() == 3);
    CHECK(text.chunks[2] == "{\"number\":2,\"text\":\"x\"}\n");
    CHECK(text.end_mark);
    const Answer packed = Wire::tcp(home.kitten)
                              .send(home.post(home.path("items"),
                                              "\x81\xa5"
                                              "count\x02",
                                              "application/x-msgpack"))
                              .answer();
    REQUIRE(packed.chunks.size() == 2);
    CHECK(packed.chunks[0] == std::string("\x82\xa6number\x00\xa4text\xa1x", 16));
  }

  TEST_CASE("an empty stream has a head and an end mark") {
    Home home;
    home.kitten.api("items", items, "", kt::arg("count"), kt::arg("text") = "x");
    home.start();
    const Answer answer = home.call("items", R"({"count": 0})");
    CHECK(answer.status == 200);
    CHECK(answer.chunks.empty());
    CHECK(answer.end_mark);
  }

  TEST_CASE("an error before the first item is an answer; one in the middle is an item without end mark") {
    Home home;
    home.kitten.api(
        "fail",
        [](int after, bool wait) -> kt::Generator<int> {
          for (int i = 0; i < after; ++i) co_yield i;
          if (wait) co_await kt::sleep_for(1ms);
          throw kt::NotFound("gone");
        },
        "", kt::arg("after"), kt::arg("wait") = false);
    home.start();
    CHECK(home.error("fail", R"({"after": 0})", 404) == "gone");
    CHECK(home.error("fail", R"({"after": 0, "wait": true})", 404) == "gone");
    CHECK(contains(home.error("fail", R"({"after": "x"})", 400), "expected int"));
    for (const bool wait : {true, false}) {
      Wire wire = Wire::tcp(home.kitten);
      wire.send(home.post(home.path("fail"), json{{"after", 2}, {"wait", wait}}.dump()));
      const Answer answer = wire.answer();
      REQUIRE(answer.chunks.size() == 3);
      CHECK(answer.chunks[2] == "{\"error\":\"gone\"}\n");
      CHECK_FALSE(answer.end_mark);
      CHECK(wire.closed());
    }
  }

  TEST_CASE("a first map with finished and error is an answer, not a stream") {
    Home home;
    home.kitten.api(
        "finished", [](json first) -> kt::Generator<json> { co_yield first; }, "", kt::arg("first"));
    home.start();
    CHECK(home.error("finished", R"({"first": {"finished": 404, "error": "no"}})", 404) == "no");
    CHECK(home.error("finished", R"({"first": {"finished": true, "error": "no"}})", 500) == "no");
    CHECK(home.call("finished", R"({"first": {"error": "an ordinary item"}})").end_mark);
  }

  TEST_CASE("the head comes after half a second even if there is no item yet") {
    Home home;
    Happening release;
    home.kitten.api("slow", []() -> kt::Generator<int> {
      co_await kt::sleep_for(24h);
      co_yield 1;
    });
    home.start();
    Wire wire = Wire::tcp(home.kitten);
    const auto start = std::chrono::steady_clock::now();
    wire.send(home.get(home.path("slow")));
    CHECK(wire.until("\r\n\r\n"));
    CHECK(std::chrono::steady_clock::now() - start >= 400ms);
  }

  TEST_CASE("documents set their type and come raw, events come as server-sent events") {
    Home home;
    home.kitten.api("lines", []() -> kt::Generator<kt::Result> {
      const kt::Result line{"text/csv", "a,b\n"};
      co_yield line;
      co_yield line;
    });
    home.kitten.api("events", []() -> kt::Generator<kt::Event> {
      kt::Event event;
      event.fields["event"] = "hello";
      event.fields["data"] = "Hello\nworld";
      co_yield event;
      event.fields["data"] = json::array({1});
      co_yield event;
    });
    home.kitten.api("items", items, "", kt::arg("count") = 1, kt::arg("text") = "x");
    home.start();
    const Answer lines = home.call("lines");
    CHECK(lines.fields.at("Content-Type") == "text/csv");
    CHECK(lines.chunks == std::vector<std::string>{"a,b\n", "a,b\n"});
    const Answer events = home.call("events");
    CHECK(events.fields.at("Content-Type") == "text/event-stream");
    REQUIRE(events.chunks.size() == 2);
    CHECK(events.chunks[0] == "event: hello\ndata: Hello\ndata: world\n\n");
    const Answer asked =
        Wire::tcp(home.kitten).send(home.get(home.path("items"), "Accept: text/event-stream\r\n")).answer();
    CHECK(asked.fields.at("Content-Type") == "text/event-stream");
    REQUIRE(asked.chunks.size() == 1);
    CHECK(asked.chunks[0].starts_with("data: {"));
  }

  TEST_CASE("documents and events are not kept, guessed at or named to others (78)") {
    Home home;
    home.kitten.api("page", [] { return kt::html("<p>"); });
    home.kitten.api("lines", []() -> kt::Generator<kt::Result> {
      const kt::Result line{"text/csv", "a,b\n"};
      co_yield line;
    });
    home.kitten.api("events", []() -> kt::Generator<kt::Event> {
      const kt::Event event;
      co_yield event;
    });
    home.start();
    for (const char* method : {"page", "lines", "events"}) {
      CAPTURE(method);
      const Answer answer = home.call(method);
      CHECK(answer.fields.at("Cache-Control") == "no-store");
      CHECK(answer.fields.at("X-Content-Type-Options") == "nosniff");
      CHECK(answer.fields.at("Referrer-Policy") == "same-origin");
    }
  }

  TEST_CASE("documents and events keep their type when the first one takes long") {
    Home home;
    home.kitten.api("document", []() -> kt::Generator<kt::Result> {
      co_await kt::sleep_for(700ms);
      const kt::Result image{"image/gif", "GIF\xff\xfe"};
      co_yield image;
    });
    home.kitten.api("event", []() -> kt::Generator<kt::Event> {
      co_await kt::sleep_for(700ms);
      kt::Event event;
      event.fields["data"] = "x";
      co_yield event;
    });
    home.start();
    Wire document = Wire::tcp(home.kitten), event = Wire::tcp(home.kitten);
    document.send(home.get(home.path("document")));
    event.send(home.get(home.path("event")));
    const Answer image = document.answer();
    CHECK(image.fields.at("Content-Type") == "image/gif");
    CHECK(image.body == "GIF\xff\xfe");
    const Answer events = event.answer();
    CHECK(events.fields.at("Content-Type") == "text/event-stream");
    CHECK(events.body == "data: x\n\n");
  }

  TEST_CASE("a generator of nothing but empty documents lets others in") {
    Home home;
    home.kitten.api("empty", []() -> kt::Generator<kt::Result> {
      const kt::Result nothing{"text/plain", ""};
      for (;;) co_yield nothing;
    });
    home.start();
    Wire wire = Wire::tcp(home.kitten);
    wire.send(home.get(home.path("empty")));
    CHECK(wire.until("\r\n\r\n"));
    CHECK(Wire::tcp(home.kitten).send(home.get("/ping")).answer().body == "Pong\n");
  }

  TEST_CASE("items that are ready leave together, and many of them arrive") {
    Home home;
    home.kitten.api(
        "count",
        [](int n) -> kt::Generator<int> {
          for (int i = 0; i < n; ++i) co_yield i;
        },
        "", kt::arg("n"));
    home.start();
    const Answer answer = home.call("count", R"({"n": 100000})");
    REQUIRE(answer.chunks.size() == 100000);
    CHECK(answer.chunks[99999] == "99999\n");
    CHECK(answer.end_mark);
  }

  TEST_CASE("HTTP/1.0 gets items without framing, and then the end of the connection (86)") {
    Home home;
    home.kitten.api("items", items, "", kt::arg("count") = 2, kt::arg("text") = "x");
    home.start();
    Wire wire = Wire::tcp(home.kitten);
    const std::string all = wire.send("GET " + home.path("items") + " HTTP/1.0\r\n\r\n").rest();
    CHECK_FALSE(contains(all, "chunked"));
    CHECK(all.ends_with("\r\n\r\n{\"number\":0,\"text\":\"x\"}\n{\"number\":1,\"text\":\"x\"}\n"));
  }

  TEST_CASE("a generator is destroyed soon after its reader has gone, however it waits (65)") {
    Home home;
    Happening gone;
    home.kitten.api(
        "forever",
        [&](int interval) -> kt::Generator<std::string> {
          const Counted local(&gone);
          for (;;) {
            co_yield long_text;
            co_await kt::sleep_for(std::chrono::milliseconds(interval));
          }
        },
        "", kt::arg("interval"));
    home.kitten.limits().linger_timeout = 100ms;
    home.start();
    int expected = 0;
    for (const char* arguments : {R"({"interval": 1})", R"({"interval": 100000000})"}) {
      for (const bool over_tcp : {true, false}) {
        CAPTURE(arguments);
        CAPTURE(over_tcp);
        {
          Wire wire = over_tcp ? Wire::tcp(home.kitten) : Wire::local(home.kitten);
          wire.send(home.post(home.path("forever"), arguments));
          CHECK(wire.until(long_text));
        }
        CHECK(gone.happened(++expected));
      }
    }
  }

  TEST_CASE("a slow reader suspends the generator instead of filling memory (66)") {
    Home home;
    std::atomic<int> made = 0;
    Happening gone;
    home.kitten.api("flood", [&]() -> kt::Generator<std::string> {
      const Counted local(&gone);
      const std::string item(10'000, 'x');
      for (;;) {
        ++made;
        co_yield item;
      }
    });
    home.start();
    {
      Wire reader = Wire::local(home.kitten);
      reader.send(home.get(home.path("flood")));
      CHECK(reader.until("xxx"));
      // Others are served while the generator is suspended; once it is, the count stands still.
      int before = -1;
      CHECK(eventually([&] {
        Wire::tcp(home.kitten).send(home.get("/ping")).answer();
        return std::exchange(before, made.load()) == made.load();
      }));
      CHECK(made < 10'000);
    }
    CHECK(gone.happened());
  }

  TEST_CASE("a half-closed reader gets a stream that goes on") {
    Home home;
    home.kitten.api("items", items, "", kt::arg("count") = 2, kt::arg("text") = "x");
    home.start();
    for (const bool over_tcp : {true, false}) {
      Wire wire = over_tcp ? Wire::tcp(home.kitten) : Wire::local(home.kitten);
      CHECK(contains(wire.send("GET " + home.path("items") + " HTTP/1.1\n\n").half_close().rest(), "0\r\n\r\n"));
    }
  }

  TEST_CASE("a thousand idle streams and a hundred busy clients at once, and everything back afterwards") {
    rlimit descriptors{};
    ::getrlimit(RLIMIT_NOFILE, &descriptors);
    descriptors.rlim_cur = (std::min<rlim_t>)(descriptors.rlim_max, 8192);
    ::setrlimit(RLIMIT_NOFILE, &descriptors);
    Home home;
    Happening gone;
    home.kitten.limits().linger_timeout = 100ms;
    home.kitten.api("idle", [&]() -> kt::Generator<int> {
      const Counted local(&gone);
      co_yield 1;
      co_await kt::sleep_for(24h);
    });
    home.start();
    const int before = open_descriptors();
    {
      std::vector<Wire> streams;
      for (int i = 0; i < 1000; ++i) {
        streams.push_back(i % 2 == 0 ? Wire::tcp(home.kitten) : Wire::local(home.kitten));
        streams.back().send(home.get(home.path("idle")));
      }
      for (Wire& stream : streams) REQUIRE(stream.until("1\n"));
      std::vector<Wire> busy;
      for (int i = 0; i < 100; ++i) busy.push_back(Wire::tcp(home.kitten));
      for (int round = 0; round < 10; ++round) {
        for (Wire& wire : busy) wire.send(home.get("/ping"));
        for (Wire& wire : busy) REQUIRE(wire.answer().body == "Pong\n");
      }
      CHECK(gone.count() == 0);
    }
    CHECK(gone.happened(1000));
    CHECK(eventually([&] { return open_descriptors() <= before; }));
  }
}

TEST_SUITE("service/builtins") {
  TEST_CASE("ping is static for strangers, and a table of methods for others") {
    Home home;
    Calculator calculator;
    register_everything(home.kitten, calculator);
    home.kitten.public_api("web_root", [] { return kt::html("<p>hello</p>"); });
    home.start();
    CHECK(Wire::tcp(home.kitten).send(home.get("/ping")).answer().body == "Pong\n");
    CHECK(Wire::tcp(home.kitten).send(home.post("/ping", "not even JSON {{{")).answer().status == 400);
    const json pong = home.result("ping", R"({"x": 5, "docs": "y"})");
    CHECK(pong["pong"] == true);
    CHECK(pong["x"] == 5);
    CHECK(pong["conn"].get<std::string>().starts_with("127.0.0.1:"));
    CHECK(pong["_format"] == "Pong via %(conn)s! (see JSON for full method list)");
    const json& stream = pong["methods"]["stream"];
    CHECK(stream["args"].dump() == R"({"count":"int","more":"str"})");
    CHECK(stream["options"].is_object());
    CHECK(stream["returns"] == "str");
    CHECK(stream["is_generator"] == true);
    CHECK(contains(stream["help"].get<std::string>(), "/stream [--count=1]"));
    CHECK(pong["methods"]["add"]["returns"] == "int");
    CHECK(pong["methods"]["add"]["is_generator"] == false);
    CHECK(pong["methods"]["maybe"]["args"]["n"] == "int | None");
    CHECK(pong["methods"].contains("help"));
    for (const char* hidden : {"ping", "config", "quitquitquit"}) CHECK_FALSE(pong["methods"].contains(hidden));
    CHECK_FALSE(home.result("ping")["methods"]["add"].contains("help"));
    CHECK(home.error("ping", R"({"_args": [1]})") == "ping: takes named arguments only");
    CHECK(Wire::tcp(home.kitten).send(home.get("/")).answer().body == "<p>hello</p>");
    CHECK(Wire::tcp(home.kitten).send(home.get("/" + home.kitten.token())).answer().body == "<p>hello</p>");
  }

  TEST_CASE("help describes the service, and a method with its arguments") {
    Home home;
    Calculator calculator;
    register_everything(home.kitten, calculator);
    home.start();
    const std::string all = home.result("help").get<std::string>();
    CHECK(contains(all, "A kitten under test"));
    CHECK(contains(all, "API Commands: add, all, bytes"));
    CHECK(contains(all, "--worker-listen-port=0"));
    const std::string one = home.result("help", R"({"command": "add"})").get<std::string>();
    CHECK(one.starts_with("/add <a> [--b=1]\n"));
    CHECK(contains(one, "  a  int, required\n  b  int, default 1\n"));
    CHECK(home.result("help", R"({"_args": ["xyzzy"]})") == "No Help Available\n");
  }

  TEST_CASE("config shows, sets, appends, removes, pops, resets and saves") {
    Home home;
    double sleep_time = 1;
    std::vector<std::string> names{"a"};
    std::string motto;
    int changes = 0;
    home.kitten.option("sleep_time", sleep_time, "Seconds", [&] { ++changes; });
    home.kitten.option("names", names).option("motto", motto);
    home.start();
    const json shown = home.result("config");
    CHECK(shown["config"]["sleep_time"] == 1.0);
    CHECK_FALSE(shown["config"].contains("worker_secret"));
    CHECK(contains(shown["_format"].get<std::string>(), "\n--sleep_time=1.0\n--names=[\"a\"]"));
    CHECK(home.result("config", R"({"key": "sleep-time", "val": "0.5"})")["val"] == "sleep_time");
    CHECK(sleep_time == 0.5);
    CHECK(changes == 1);
    home.result("config", R"({"key": "names", "append": "b"})");
    CHECK(names == std::vector<std::string>{"a", "b"});
    home.result("config", R"({"key": "names", "remove": "a"})");
    CHECK(names == std::vector<std::string>{"b"});
    home.result("config", R"({"key": "names", "pop": 0})");
    CHECK(names.empty());
    home.result("config", R"({"reset": "names"})");
    CHECK(names == std::vector<std::string>{"a"});
    CHECK(contains(home.error("config", R"({"key": "sleep_time", "val": "banana"})"),
                   "'sleep_time': expected float, got \"banana\""));
    CHECK(contains(home.error("config", R"({"key": "sleep_tim", "val": 1})"), "did you mean 'sleep_time'?"));
    CHECK(contains(home.error("config", R"({"key": "names", "val": [], "pop": 0})"), "one operation at a time"));
    CHECK(contains(home.error("config", R"({"key": "names", "pop": 7})"), "has 1 items"));
    CHECK(contains(home.error("config", R"({"key": "sleep_time", "append": 1})"), "not a list"));
    CHECK(contains(home.error("config", R"({"val": 1})"), "which option?"));
    CHECK(contains(home.error("config", R"({"_args": ["sleep_time", "0.2"]})"), "say --key=NAME --val=VALUE"));
    CHECK(contains(home.error("config", R"({"save": "relative.cfg"})"), "absolute path"));
    std::filesystem::create_symlink("/nonexistent", home.state / "link");
    CHECK(contains(home.error("config", json{{"save", home.state / "link"}}.dump()), "not a regular file"));
    // What a line of a file cannot hold is not saved as something else.
    for (const char* text : {"a\nworker_umask=511", "a #b", " a", "a "}) {
      home.result("config", json{{"key", "motto"}, {"val", text}}.dump());
      CHECK(motto == text);
      CHECK(contains(home.error("config", R"({"save": "yes"})"), "option 'motto': a file cannot hold "));
    }
    CHECK_FALSE(std::filesystem::exists(home.state / "Kitty.cfg"));
    home.result("config", R"({"key": "motto", "val": "#=a#b = c"})");
    CHECK(contains(home.error("config", R"({"key": "worker_max_connections", "val": 0})"), "must be positive"));
    // Saved, it would keep the service from starting again.
    CHECK(contains(home.error("config", R"({"key": "worker_secret", "val": "short"})"), "at least 6 are needed"));
    CHECK(home.kitten.settings().worker_max_connections == 2048);
    CHECK(sleep_time == 0.5);

    home.result("config", R"({"save": "yes"})");
    const std::string file = home.state / "Kitty.cfg";
    kt::detail::FileInfo info{};
    REQUIRE(::stat(file.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
    CHECK(contains(contents(file), "--sleep_time=0.5\n"));
    CHECK(contains(contents(file), "--motto=#=a#b = c\n"));
    sleep_time = 3;
    kt::detail::Options options;
    options.add("sleep_time", sleep_time, "");
    CHECK_THROWS_WITH_AS(options.read_file(file), doctest::Contains("Kitty.cfg:1: unknown option 'app_name'"),
                         kt::InvalidArgument);
  }

  TEST_CASE("quitquitquit removes the files before it answers, and the service ends (155)") {
    Home home;
    Happening gone, hooked;
    home.kitten.limits().drain_timeout = 100ms;
    home.kitten.on_shutdown([&] {
      CHECK(std::filesystem::exists(home.state / "Kitty.url"));
      hooked.happen();
      throw std::runtime_error("hooks may fail");
    });
    home.kitten.api("forever", [&]() -> kt::Generator<int> {
      const Counted local(&gone);
      for (;;) {
        co_yield 1;
        co_await kt::sleep_for(1ms);
      }
    });
    home.start();
    std::vector<Wire> streams;
    for (int i = 0; i < 50; ++i) {
      streams.push_back(Wire::tcp(home.kitten));
      streams.back().send(home.get(home.path("forever")));
      CHECK(streams.back().until("1\n"));
    }
    Wire idle = Wire::tcp(home.kitten);
    CHECK(idle.send(home.get("/ping")).answer().status == 200);
    Wire quitter = Wire::tcp(home.kitten);
    const Answer answer = quitter.send(home.post(home.path("quitquitquit"), "{}")).answer();
    CHECK(answer.body == "\"Goodbye forever\"\n");
    CHECK(answer.fields.at("Connection") == "close");
    CHECK(std::filesystem::is_empty(home.state.path()));
    CHECK(quitter.closed());
    CHECK(idle.closed());
    CHECK(hooked.count() == 1);
    home.kitten.stop();
    CHECK(gone.count() == 50);
  }

  TEST_CASE("a service can be stopped and started again, and stopping twice does nothing") {
    Home home;
    home.kitten.stop();
    home.start();
    const std::string first = home.kitten.token();
    CHECK(home.result("ping")["pong"] == true);
    home.kitten.stop();
    home.kitten.stop();
    CHECK(std::filesystem::is_empty(home.state.path()));
    home.start();
    CHECK(home.kitten.token() != first);
    CHECK(home.result("ping")["pong"] == true);
  }

  TEST_CASE("threads may stop a service at the same time, and a late stop does not end its next run") {
    Home home;
    for (int round = 0; round < 20; ++round) {
      home.start();
      std::vector<std::thread> threads;
      for (int i = 0; i < 4; ++i) threads.emplace_back([&] { home.kitten.stop(); });
      for (std::thread& thread : threads) thread.join();
      home.start();
      REQUIRE(home.result("ping")["pong"] == true);
      home.kitten.stop();
    }
  }

  TEST_CASE("a service can be stopped from its own handler, and started again after that") {
    Home home;
    home.kitten.api("end", [&] { home.kitten.stop(); });
    for (int round = 0; round < 3; ++round) {
      home.start();
      Wire wire = Wire::tcp(home.kitten);
      CHECK(wire.send(home.get(home.path("end"))).answer().status == 200);
      CHECK(wire.closed());
      CHECK(eventually([&] { return std::filesystem::is_empty(home.state.path()); }));
      home.kitten.stop();
    }
  }

  TEST_CASE("a handler that is awaited when the service stops is cancelled, and sees that it was") {
    Home home;
    Happening started, cancelled;
    home.kitten.limits().drain_timeout = 50ms;
    home.kitten.api("wait", [&](kt::Request& request) -> kt::Task<int> {
      started.happen();
      try {
        co_await kt::sleep_for(24h);
      } catch (const std::exception&) {
        if (request.cancelled()) cancelled.happen();
      }
      co_return 1;
    });
    home.start();
    Wire wire = Wire::tcp(home.kitten);
    wire.send(home.get(home.path("wait")));
    CHECK(started.happened());
    home.kitten.stop();
    CHECK(cancelled.count() == 1);
  }
}

TEST_SUITE("service/options") {
  TEST_CASE("words of the command line are taken out in order, others stay") {
    kt::Settings settings;
    kt::detail::Options options;
    kt::detail::add_builtin_options(options, settings);
    std::vector<std::string> words{"--worker-listen-port=80", "call",  "--x=y", "--worker_listen_port=81",
                                   "--worker-name=Tom",       "--flag"};
    kt::detail::configure(options, settings, words);
    CHECK(words == std::vector<std::string>{"call", "--x=y", "--flag"});
    CHECK(settings.worker_listen_port == 81);
    CHECK(settings.worker_name == "Tom");
    for (const char* bad : {"--worker-use-tcp=banana", "--worker-listen-port=65536", "--worker-listen-port=x",
                            "--worker-listen-port=1.5"}) {
      std::vector<std::string> wrong{bad};
      CHECK_THROWS_AS(kt::detail::configure(options, settings, wrong), kt::InvalidArgument);
    }
    std::vector<std::string> empty{"--worker-name="};
    kt::detail::configure(options, settings, empty);
    CHECK(settings.worker_name == "worker");
  }

  TEST_CASE("an option may be a std::atomic, which the program's threads read while config changes it") {
    Home home;
    std::atomic<double> speed = 1.5;
    std::atomic<int> lives = 9;
    home.kitten.option("speed", speed, "Metres per second").option("lives", lives);
    home.start();
    std::thread reader([&] { CHECK(eventually([&] { return speed == 2.5; })); });
    home.result("config", R"({"key": "speed", "val": "2.5"})");
    reader.join();
    CHECK(contains(home.error("config", R"({"key": "lives", "val": "many"})"), "option 'lives': expected int, got"));
    CHECK(lives == 9);
    home.result("config", R"({"reset": "speed"})");
    CHECK(speed == 1.5);
  }

  TEST_CASE("a file is read at its position on the line, and errors say where") {
    TempDir dir;
    write_file(dir / "good",
               "# comment\n\n--worker-listen-port = 1234\nworker_name=a=b # rest\r\nworker_secret = "
               "pass#word\nworker_config = nowhere\n");
    kt::Settings settings;
    kt::detail::Options options;
    kt::detail::add_builtin_options(options, settings);
    std::vector<std::string> words{"--worker-listen-port=1", "--worker-config=" + (dir / "good"),
                                   "--worker-log-level=30"};
    kt::detail::configure(options, settings, words);
    CHECK(settings.worker_listen_port == 1234);
    CHECK(settings.worker_name == "a=b");
    CHECK(settings.worker_secret == "pass#word");
    CHECK(settings.worker_log_level == 30);
    words = {"--worker-config=" + (dir / "good"), "--worker-listen-port=2"};
    kt::detail::configure(options, settings, words);
    CHECK(settings.worker_listen_port == 2);

    write_file(dir / "bad", "worker_nice = 1\nworker_use_tcp = banana\n");
    words = {"--worker-config=" + (dir / "bad")};
    CHECK_THROWS_WITH_AS(kt::detail::configure(options, settings, words),
                         doctest::Contains("bad:2: option 'worker_use_tcp'"), kt::InvalidArgument);
    write_file(dir / "no_equals", "hello\n");
    CHECK_THROWS_WITH_AS(options.read_file(dir / "no_equals"), doctest::Contains(":1: expected 'name = value'"),
                         kt::InvalidArgument);
    write_file(dir / "binary", "a=\xff\n");
    CHECK_THROWS_AS(options.read_file(dir / "binary"), kt::InvalidArgument);
    write_file(dir / "nameless", "= 1\n");
    CHECK_THROWS_AS(options.read_file(dir / "nameless"), kt::InvalidArgument);
    CHECK_THROWS_AS(options.read_file(dir / "missing"), std::system_error);
  }

  TEST_CASE("a number that JSON does not have is saved so that it can be read again") {
    TempDir dir;
    double variable = 0;
    kt::detail::Options options;
    options.add("x", variable, "");
    for (const char* text : {"inf", "-inf", "nan"}) {
      options.set("x", json(text));
      CHECK(options.file_lines() == "--x="s + text + "\n");
      write_file(dir / "saved", options.file_lines());
      CHECK_NOTHROW(options.read_file(dir / "saved"));
    }
  }

  TEST_CASE("the default file is read when no option was given, and may be missing or empty") {
    TempDir dir;
    kt::Settings settings;
    settings.app_data_dir = dir.path();
    kt::detail::Options options;
    kt::detail::add_builtin_options(options, settings);
    std::vector<std::string> words;
    kt::detail::configure(options, settings, words);
    write_file(dir / "worker.cfg", "");
    kt::detail::configure(options, settings, words);
    write_file(dir / "worker.cfg", "worker_nice = 3\n");
    kt::detail::configure(options, settings, words);
    CHECK(settings.worker_nice == 3);
  }

  TEST_CASE("settings that make no sense are refused before anything is started") {
    const auto refused = [](auto change) {
      Home home;
      change(home.kitten.settings());
      CHECK_THROWS_AS(home.kitten.start_thread(), kt::InvalidArgument);
      CHECK(std::filesystem::is_empty(home.state.path()));
    };
    refused([](kt::Settings& s) { s.worker_secret = "short"; });
    refused([](kt::Settings& s) { s.worker_secret = "with/slash"; });
    refused([](kt::Settings& s) { s.worker_name = "../x"; });
    refused([](kt::Settings& s) { s.worker_use_tcp = s.worker_use_unixdomain = false; });
    refused([](kt::Settings& s) { s.worker_http_request_timeout1 = 0; });
    refused([](kt::Settings& s) { s.worker_url_path = "a b"; });
  }

  TEST_CASE("the token can come from a file that only its owner can read (77)") {
    Home home;
    home.kitten.settings().worker_secret_file = home.state / "token";
    CHECK_THROWS_AS(home.kitten.start_thread(), kt::StartError);
    write_file(home.state / "token", "a-secret-from-a-file\nrest\n", 0644);
    CHECK_THROWS_WITH_AS(home.kitten.start_thread(), doctest::Contains("others can read"), kt::StartError);
    ::chmod((home.state / "token").c_str(), 0600);
    home.start();
    CHECK(home.kitten.token() == "a-secret-from-a-file");
    CHECK(contents(home.state / "Kitty.url").ends_with("/a-secret-from-a-file"));
  }

  TEST_CASE("what stands in the way of a start is named, and left alone") {
    Home home;
    write_file(home.state / "Kitty.sock", "not a socket");
    CHECK_THROWS_WITH_AS(home.kitten.start_thread(), doctest::Contains("not a socket"), kt::StartError);
    CHECK(contents(home.state / "Kitty.sock") == "not a socket");
    CHECK(std::distance(std::filesystem::directory_iterator(home.state.path()), {}) == 1);
    std::filesystem::remove(home.state / "Kitty.sock");
    home.start();
    Home same;
    same.kitten.settings().app_state_dir = home.state.path();
    CHECK_THROWS_WITH_AS(same.kitten.start_thread(), doctest::Contains("already running"), kt::StartError);
    Home port("Other");
    port.kitten.settings().worker_listen_port =
        static_cast<std::uint16_t>(std::stoi(home.kitten.url().substr(home.kitten.url().rfind(':') + 1)));
    CHECK_THROWS_WITH_AS(port.kitten.start_thread(), doctest::Contains("Address already in use"), kt::StartError);
    CHECK(std::filesystem::is_empty(port.state.path()));
    CHECK(home.result("ping")["pong"] == true);
  }

  TEST_CASE("the socket and the url file are for their owner only, whatever the umask (128)") {
    const mode_t before = ::umask(0);
    Home home;
    home.start();
    ::umask(before);
    kt::detail::FileInfo info{};
    for (const char* name : {"Kitty.sock", "Kitty.url", "Kitty.lock"}) {
      REQUIRE(::lstat((home.state / name).c_str(), &info) == 0);
      CHECK((info.st_mode & 0777) == 0600);
    }
  }

  TEST_CASE("a service listens on an IPv6 address, or on the unix socket alone") {
    Home local("Local");
    local.kitten.settings().worker_use_tcp = false;
    local.start();
    CHECK(contents(local.state / "Local.url") == "http://unix-domain:0/" + local.kitten.token());
    CHECK(Wire::local(local.kitten).send("GET /ping HTTP/1.1\n\n").answer().body == "Pong\n");
    Home six("Six");
    six.kitten.settings().worker_listen_host = "::1";
    try {
      six.start();
    } catch (const kt::StartError&) {
      MESSAGE("no IPv6 here");
      return;
    }
    CHECK(six.kitten.url().starts_with("http://[::1]:"));
    const kt::Client client =
        kt::Client::connect("testkitten", "Six", {.state_directory = six.state.path(), .use_unix_socket = false});
    CHECK(client.call("ping")["pong"] == true);
  }
}

// What goes over a unix socket besides bytes.
void send_with(Wire& wire, std::string_view bytes, const std::vector<int>& descriptors) {
  std::vector<kt::Fd> owned;
  for (const int fd : descriptors) owned.emplace_back(fd);
  const ssize_t n = descriptors.empty() ? 0 : kt::detail::send_with_descriptors(wire.fd(), bytes, owned);
  CHECK(n >= 0);
  for (kt::Fd& fd : owned) fd.release();
  if (n >= 0) wire.send(bytes.substr(static_cast<std::size_t>(n)));
}

// A file that has been written and can be read.
kt::File file_with(const std::string& path, const std::string& text, const std::string& mode = "rb") {
  write_file(path, text);
  return kt::File::open(path, mode);
}

std::string all_of(const kt::Fd& fd) {
  std::string text;
  CHECK(kt::detail::read_all(fd.get(), text, 1 << 20));
  return text;
}

struct Pipe {
  Pipe() {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    reader = kt::Fd(ends[0]);
    writer = kt::Fd(ends[1]);
  }
  kt::Fd reader, writer;
};

struct SocketPair {
  SocketPair() {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    here = kt::Fd(ends[0]);
    there = kt::Fd(ends[1]);
  }
  // Everything until the other end is closed.
  std::string rest() {
    std::string text;
    char block[4096];
    for (;;) {
      pollfd entry{here.get(), POLLIN, 0};
      if (::poll(&entry, 1, static_cast<int>(std::chrono::milliseconds(patience).count())) != 1) {
        FAIL("nothing received in time");
        return text;
      }
      const ssize_t n = ::recv(here.get(), block, sizeof block, 0);
      if (n <= 0) return text;
      text.append(block, static_cast<std::size_t>(n));
    }
  }
  kt::Fd here, there;
};

TEST_SUITE("os/passing") {
  TEST_CASE("placeholders are read and written as Python peers do, and nothing else is one") {
    using kt::detail::parse_placeholder;
    CHECK(parse_placeholder("_FD_BRE_MAGIC_-rb")->mode == "rb");
    CHECK(parse_placeholder("_FD_BRE_MAGIC_-rb+")->text() == "_FD_BRE_MAGIC_-rb+");
    const auto socket = parse_placeholder("_SO_BRE_MAGIC_-2-1-0");
    CHECK(socket->is_socket);
    CHECK(socket->text() == "_SO_BRE_MAGIC_-2-1-0");
    for (const char* bad : {"", "rb", "_FD_BRE_MAGIC_-", "_FD_BRE_MAGIC_-x-y", "_FD_BRE_MAGIC_-rw", "_FD_BRE_MAGIC_-q",
                            "_SO_BRE_MAGIC_-", "_SO_BRE_MAGIC_-2-1", "_SO_BRE_MAGIC_-2-1-0-0", "_SO_BRE_MAGIC_--1-1-0",
                            "_SO_BRE_MAGIC_-99999999999-1-0", "_SO_BRE_MAGIC_-2-1-0 ", " _SO_BRE_MAGIC_-2-1-0"}) {
      CHECK_MESSAGE(!parse_placeholder(bad), bad);
    }
  }

  TEST_CASE("a descriptor says itself what it is") {
    TempDir dir;
    CHECK(file_with(dir / "f", "text").mode() == "rb");
    CHECK(kt::File(kt::Fd(::open((dir / "f").c_str(), O_WRONLY))).mode() == "wb");
    CHECK(kt::File(kt::Fd(::open((dir / "f").c_str(), O_WRONLY | O_APPEND))).mode() == "ab");
    CHECK(kt::File(kt::Fd(::open((dir / "f").c_str(), O_RDWR))).mode() == "rb+");
    SocketPair pair;
    const kt::Socket socket(std::move(pair.here));
    CHECK(socket.family() == AF_UNIX);
    CHECK(socket.type() == SOCK_STREAM);
    CHECK_THROWS_AS(kt::Socket(kt::File::open(dir / "f")), std::system_error);
    CHECK_THROWS_AS(kt::File::open(dir / "f", "rw"), std::invalid_argument);
    CHECK_THROWS_AS(kt::File::open(dir / "none"), std::system_error);
    CHECK((::fcntl(file_with(dir / "f", "").get(), F_GETFD) & FD_CLOEXEC) != 0);
  }

  TEST_CASE("what has been received is owned, close-on-exec, and cut to what was asked for") {
    SocketPair pair;
    Pipe pipe;
    const int before = open_descriptors();
    std::vector<kt::Fd> three;
    for (int i = 0; i < 3; ++i) three.push_back(pipe.reader.duplicate());
    CHECK(kt::detail::send_with_descriptors(pair.here.get(), "abc", three) == 3);
    CHECK(kt::detail::send_with_descriptors(pair.here.get(), "def", three) == 3);
    three.clear();
    char block[16];
    kt::detail::ReceivedDescriptors received;
    CHECK(kt::detail::receive_with_descriptors(pair.there.get(), block, sizeof block, 4, received) == 3);
    CHECK(received.owned.size() == 3);
    CHECK_FALSE(received.truncated);
    for (const kt::Fd& fd : received.owned) CHECK((::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC) != 0);
    received = {};
    CHECK(kt::detail::receive_with_descriptors(pair.there.get(), block, sizeof block, 2, received) == 3);
    CHECK(received.truncated);
    received = {};
    CHECK(kt::detail::receive_with_descriptors(pair.there.get(), block, sizeof block, 2, received) == -1);
    CHECK(errno == EAGAIN);
    CHECK(open_descriptors() == before);
  }
}

TEST_SUITE("service/file_io") {
  template <class Work>
  void on_loop(Work work) {
    asio::io_context loop;
    std::exception_ptr thrown;
    asio::co_spawn(loop, work(), [&](const std::exception_ptr& error) { thrown = error; });
    loop.run();
    if (thrown) std::rethrow_exception(thrown);
  }

  TEST_CASE("files, pipes and sockets are read and written, and their flags stay as they were") {
    TempDir dir;
    Pipe pipe;
    SocketPair pair;
    const kt::File out = kt::File::open(dir / "out", "wb");
    const kt::File in = file_with(dir / "in", std::string(200'000, 'x'));
    std::string from_file, from_pipe, from_socket;
    on_loop([&]() -> kt::Task<> {
      from_file = co_await kt::async_read_all(in);
      co_await kt::async_write_all(out, from_file);
      co_await kt::async_write_all(pipe.writer, "through a pipe");
      from_pipe = co_await kt::async_read_some(pipe.reader);
      co_await kt::async_write_all(pair.here, "through a socket");
      while (from_socket.size() < 7) from_socket += co_await kt::async_read_some(pair.there, 7 - from_socket.size());
    });
    CHECK(from_file.size() == 200'000);
    CHECK(contents(dir / "out") == from_file);
    CHECK(from_pipe == "through a pipe");
    CHECK(from_socket == "through");
    for (const kt::Fd* fd : {&pipe.reader, &pipe.writer, &pair.here, &pair.there})
      CHECK((::fcntl(fd->get(), F_GETFL) & O_NONBLOCK) == 0);
  }

  TEST_CASE("waiting for a pipe keeps nobody else waiting, and a gone reader is no signal") {
    Pipe pipe;
    std::vector<std::string> order;
    asio::io_context loop;
    asio::co_spawn(
        loop, [&]() -> kt::Task<> { order.push_back(co_await kt::async_read_some(pipe.reader)); }, asio::detached);
    asio::co_spawn(
        loop,
        [&]() -> kt::Task<> {
          order.push_back("first");
          co_await kt::async_write_all(pipe.writer, "second");
        },
        asio::detached);
    loop.run();
    CHECK(order == std::vector<std::string>{"first", "second"});
    pipe.reader.reset();
    int code = 0;
    on_loop([&]() -> kt::Task<> {
      try {
        co_await kt::async_write_all(pipe.writer, "x");
      } catch (const std::system_error& error) {
        code = error.code().value();
      }
    });
    CHECK(code == EPIPE);
  }

  TEST_CASE("more than a pipe holds is written as its reader takes it") {
    Pipe pipe;
    const std::string much(1'000'000, 'm');
    std::size_t read = 0;
    asio::io_context loop;
    asio::co_spawn(
        loop,
        [&]() -> kt::Task<> {
          co_await kt::async_write_all(pipe.writer, much);
          pipe.writer.reset();
        },
        asio::detached);
    asio::co_spawn(
        loop, [&]() -> kt::Task<> { read = (co_await kt::async_read_all(pipe.reader)).size(); }, asio::detached);
    loop.run();
    CHECK(read == much.size());
  }

  TEST_CASE("a terminal whose reader is slow keeps nobody else waiting, and its flags (122, 123)") {
    const kt::Fd master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    REQUIRE(master);
    REQUIRE(::grantpt(master.get()) == 0);
    REQUIRE(::unlockpt(master.get()) == 0);
    kt::Fd terminal(::open(::ptsname(master.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
    REQUIRE(terminal);
    using Pair = std::pair<const kt::Fd*, const kt::Fd*>;
    for (const auto& [writer, reader] : {Pair(&terminal, &master), Pair(&master, &terminal)}) {
      termios settings{};
      REQUIRE(::tcgetattr(terminal.get(), &settings) == 0);
      ::cfmakeraw(&settings);
      REQUIRE(::tcsetattr(terminal.get(), TCSANOW, &settings) == 0);
      const std::string much(300'000, 'm');
      std::size_t read = 0;
      asio::io_context loop;
      asio::co_spawn(
          loop, [&, to = writer]() -> kt::Task<> { co_await kt::async_write_all(*to, much); }, asio::detached);
      asio::co_spawn(
          loop,
          [&, from = reader]() -> kt::Task<> {
            while (read < much.size()) read += (co_await kt::async_read_some(*from)).size();
          },
          asio::detached);
      loop.run();
      CHECK(read == much.size());
      CHECK((::fcntl(writer->get(), F_GETFL) & O_NONBLOCK) == 0);
    }
    // What is full when it is hung up stays so.
    while (kt::detail::ready_now(master.get(), POLLOUT)) REQUIRE(::write(master.get(), "x", 1) == 1);
    terminal.reset();
    CHECK_THROWS_AS(on_loop([&]() -> kt::Task<> { co_await kt::async_write_all(master, "x"); }), std::system_error);
  }

  TEST_CASE("endless files are cut off, directories and what is closed are errors") {
    const kt::File zero = kt::File::open("/dev/zero");
    CHECK_THROWS_AS(on_loop([&]() -> kt::Task<> { co_await kt::async_read_all(zero, 1000); }), kt::InvalidArgument);
    const kt::Fd folder(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    CHECK_THROWS_AS(on_loop([&]() -> kt::Task<> { co_await kt::async_read_some(folder); }), std::system_error);
    const kt::Fd none;
    CHECK_THROWS_AS(on_loop([&]() -> kt::Task<> { co_await kt::async_read_some(none); }), std::system_error);
  }
}

TEST_SUITE("service/descriptors") {
  // Methods of every kind that take descriptors.
  struct Taking : Home {
    Taking() {
      kitten.api(
          "cat",
          [](kt::File file) -> kt::Task<std::string> {
            co_return file.mode() + ":" + co_await kt::async_read_all(file);
          },
          kt::arg("file"));
      kitten.api(
          "any", [](kt::Fd fd, std::string text) { return json(text + (fd ? " open" : " none")); }, kt::arg("fd"),
          kt::arg("text") = "");
      kitten.api(
          "family", [](kt::Socket socket) { return socket.family(); }, kt::arg("socket"));
      kitten.api(
          "count", [](std::vector<kt::Fd> all) { return all.size(); }, kt::arg("all"));
      kitten.api(
          "maybe", [](std::optional<kt::File> file) { return file ? 1 : 0; }, kt::arg("file") = nullptr);
      kitten.api(
          "text", [](std::string text) { return text; }, kt::arg("text"));
      kitten.api("rest", [](kt::Request& request) { return request.descriptors().size(); });
      kitten.api(
          "open", [](std::string path) { return kt::File::open(path); }, kt::arg("path"));
      kitten.api(
          "two",
          [](std::string path) {
            return std::tuple<kt::File, std::string, kt::File>(kt::File::open(path), "and", kt::File::open(path, "r"));
          },
          kt::arg("path"));
      kitten.api(
          "many",
          [](int count) {
            std::vector<kt::Fd> all;
            for (int i = 0; i < count; ++i) all.push_back(kt::File::open("/dev/null"));
            return all;
          },
          kt::arg("count"));
      kitten.public_api("meow", [] { return kt::text("Meow"); });
      start();
    }
    Answer call_with(const std::string& method, const std::string& arguments, const std::vector<int>& descriptors) {
      Wire wire = Wire::local(kitten);
      send_with(wire, post(path(method), arguments), descriptors);
      return wire.answer();
    }
  };

  TEST_CASE_FIXTURE(Taking, "open files arrive as arguments, by position and by name, in lists and not at all") {
    const kt::File one = file_with(state / "one", "first");
    const kt::File two = file_with(state / "two", "second");
    CHECK(call_with("cat", R"({"_args": ["_FD_BRE_MAGIC_-r"]})", {one.get()}).body == "\"r:first\"\n");
    CHECK(call_with("cat", R"({"file": "_FD_BRE_MAGIC_-rb"})", {two.get()}).body == "\"rb:second\"\n");
    CHECK(call_with("any", R"({"text": "t", "_args": ["_FD_BRE_MAGIC_-rb"]})", {two.get()}).body == "\"t open\"\n");
    CHECK(call_with("count", R"({"_args": [["_FD_BRE_MAGIC_-r", "_FD_BRE_MAGIC_-r"]]})", {one.get(), two.get()}).body ==
          "2\n");
    CHECK(call_with("maybe", R"({"_args": ["_FD_BRE_MAGIC_-r"]})", {one.get()}).body == "1\n");
    CHECK(call_with("maybe", "{}", {}).body == "0\n");
    CHECK(call_with("rest", "{}", {one.get(), two.get()}).body == "2\n");
    SocketPair pair;
    CHECK(call_with("family", R"({"_args": ["_SO_BRE_MAGIC_-1-1-0"]})", {pair.here.get()}).body == "1\n");
    // It is what it is, whatever it is said to be.
    CHECK(call_with("family", R"({"_args": ["_SO_BRE_MAGIC_-2-1-0"]})", {pair.here.get()}).body == "1\n");
  }

  TEST_CASE_FIXTURE(Taking, "a placeholder without a descriptor, or a descriptor without a place, is refused") {
    const kt::File file = file_with(state / "one", "first");
    const int fd = file.get();
    const auto refused = [&](const std::string& method, const std::string& arguments, const std::vector<int>& fds) {
      const Answer answer = call_with(method, arguments, fds);
      CHECK_MESSAGE(answer.status == 400, method << arguments << answer.body);
      return json::parse(answer.body).value("error", "");
    };
    const int before = open_descriptors();
    CHECK(refused("cat", R"({"_args": ["_FD_BRE_MAGIC_-r"]})", {}) ==
          "cat: argument 'file': invalid literal, expected open file (passed over the unix socket), got "
          "\"_FD_BRE_MAGIC_-r\"");
    refused("cat", R"({"_args": ["a path"]})", {});
    refused("cat", R"({"_args": ["a path"]})", {fd});
    refused("cat", R"({"_args": [7]})", {fd});
    refused("cat", R"({"_args": ["_FD_BRE_MAGIC_-no"]})", {fd});
    refused("cat", R"({"_args": ["_SO_BRE_MAGIC_-1-1-0"]})", {fd});
    refused("family", R"({"_args": ["_SO_BRE_MAGIC_-1-1-0"]})", {fd});
    refused("cat", R"({"_args": ["_FD_BRE_MAGIC_-r"]})", {fd, fd});
    refused("count", R"({"_args": [["_FD_BRE_MAGIC_-r", "_FD_BRE_MAGIC_-r"]]})", {fd});
    refused("count", R"({"_args": [["_FD_BRE_MAGIC_-r"]]})", {fd, fd});
    refused("text", R"({"_args": ["_FD_BRE_MAGIC_-r"]})", {fd});
    refused("text", "{}", {fd});
    CHECK(refused("text", "{", {fd, fd}) == "JSON ends early");
    CHECK(result("text", R"({"_args": ["_FD_BRE_MAGIC_-r"]})") == "_FD_BRE_MAGIC_-r");
    CHECK(eventually([&] { return open_descriptors() == before; }));
  }

  TEST_CASE_FIXTURE(Taking, "descriptors of a refused call are closed at once, and no later call gets them") {
    const kt::File file = file_with(state / "one", "first");
    const int before = open_descriptors();
    Wire wire = Wire::local(kitten);
    send_with(wire, post(path("nothing"), "{}"), {file.get()});
    CHECK(wire.answer().status == 404);
    CHECK(open_descriptors() == before + 2);  // both ends of the connection
    send_with(wire, post(path("rest"), "{}"), {});
    CHECK(wire.answer().body == "0\n");
    // One that keeps its own connection open must not be waited for.
    Wire other = Wire::local(kitten);
    send_with(other, "nonsense\r\n\r\n", {file.get()});
    CHECK(other.answer().status == 400);
    CHECK(open_descriptors() == before + 4);
  }

  TEST_CASE_FIXTURE(Taking, "strangers' descriptors are closed, and too many are the end of a connection") {
    const kt::File file = file_with(state / "one", "first");
    const std::vector<int> sixteen(16, file.get()), seventeen(17, file.get());
    const int before = open_descriptors();
    {
      Wire wire = Wire::local(kitten);
      send_with(wire, get("/meow"), {file.get()});
      CHECK(wire.answer().status == 403);
      Wire other = Wire::local(kitten);
      send_with(other, get("/wrong/cat"), sixteen);
      CHECK(other.answer().status == 403);
      Wire body = Wire::local(kitten);
      body.send(
          "POST /meow HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{");
      send_with(body, "}", {file.get()});
      CHECK(body.answer().status == 403);
      Wire many = Wire::local(kitten);
      send_with(many, get(path("rest")), seventeen);
      const Answer answer = many.answer();
      CHECK(answer.status == 400);
      CHECK(answer.fields.at("Connection") == "close");
      Wire parts = Wire::local(kitten);
      send_with(parts, "GET " + path("rest"), sixteen);
      send_with(parts, " HTTP/1.1\r\nHost: localhost\r\n\r\n", {file.get()});
      CHECK(parts.answer().status == 400);
      CHECK(Wire::local(kitten).send(get("/meow")).answer().status == 200);
    }
    CHECK(eventually([&] { return open_descriptors() == before; }));
  }

  TEST_CASE_FIXTURE(Taking, "descriptors that wait for the rest of their request are few, whoever sends them") {
    const kt::File file = file_with(state / "one", "first");
    const std::vector<int> sixteen(16, file.get());
    const int before = open_descriptors();
    {
      std::vector<Wire> waiting;
      for (int i = 0; i < 5; ++i) {
        waiting.push_back(Wire::local(kitten));
        send_with(waiting.back(), "GET /", sixteen);
      }
      CHECK(waiting.back().answer().status == 503);
      // Room for five connections, their other ends, and the 64.
      CHECK(open_descriptors() <= before + 64 + 10);
    }
    CHECK(eventually([&] { return open_descriptors() == before; }));
    CHECK(call_with("rest", "{}", sixteen).body == "16\n");
  }

  TEST_CASE_FIXTURE(Taking, "descriptors that could belong to two requests belong to none") {
    const kt::File file = file_with(state / "one", "first");
    const int before = open_descriptors();
    {
      Wire wire = Wire::local(kitten);
      send_with(wire, post(path("rest"), "{}") + post(path("rest"), "{}"), {file.get()});
      CHECK(wire.answer().status == 400);
      CHECK(wire.closed());
      Wire parts = Wire::local(kitten);
      parts.send("POST " + path("cat") + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 29\r\n");
      send_with(parts, "Content-Type: application/json\r\n\r\n{\"file\": ", {});
      send_with(parts, "\"_FD_BRE_MAGIC_-rb\"}", {file.get()});
      CHECK(parts.answer().body == "\"rb:first\"\n");
    }
    CHECK(eventually([&] { return open_descriptors() == before; }));
  }

  TEST_CASE_FIXTURE(Taking, "open files are results, in one message with the whole answer") {
    write_file(state / "one", "first");
    const int before = open_descriptors();
    {
      Wire wire = Wire::local(kitten);
      wire.send(post(path("open"), json{{"path", state / "one"}}.dump()));
      char block[65536];
      kt::detail::ReceivedDescriptors received;
      pollfd entry{wire.fd(), POLLIN, 0};
      CHECK(::poll(&entry, 1, 10'000) == 1);
      const ssize_t n = kt::detail::receive_with_descriptors(wire.fd(), block, sizeof block, 16, received);
      REQUIRE(n > 0);
      const std::string answer(block, static_cast<std::size_t>(n));
      CHECK(answer.starts_with("HTTP/1.1 200"));
      CHECK(answer.ends_with("\r\n\r\n[\"_FD_BRE_MAGIC_-rb\"]\n"));
      REQUIRE(received.owned.size() == 1);
      CHECK(all_of(received.owned[0]) == "first");
      // The connection goes on.
      wire.send(post(path("two"), json{{"path", state / "one"}}.dump()));
      CHECK(wire.answer().body == "[\"_FD_BRE_MAGIC_-rb\",\"and\",\"_FD_BRE_MAGIC_-r\"]\n");
      wire.send(post(path("many"), "{\"count\": 17}"));
      CHECK(wire.answer().status == 500);
      wire.send(post(path("many"), "{\"count\": 0}"));
      CHECK(wire.answer().body == "[]\n");
      wire.send(post(path("many"), "{\"count\": 2}") + post(path("text"), "{\"text\": \"t\"}"));
      CHECK(wire.answer().body == "[\"_FD_BRE_MAGIC_-rb\",\"_FD_BRE_MAGIC_-rb\"]\n");
      CHECK(wire.answer().body == "\"t\"\n");
      CHECK(error("open", json{{"path", state / "one"}}.dump(), 500) == "Cannot send file descriptors over TCP");
    }
    CHECK(eventually([&] { return open_descriptors() == before; }));
  }

  TEST_CASE("descriptors of an answer that leaves in pieces go once, with its first byte (124)") {
    Home home;
    home.kitten.api(
        "text", [](std::size_t size) { return std::string(size, 't'); }, "", kt::arg("size"));
    home.kitten.api(
        "open", [](std::size_t size) { return std::tuple(kt::File::open("/dev/null"), std::string(size, 'o')); }, "",
        kt::arg("size"));
    home.kitten.start();
    const auto call = [&](const std::string& method, std::size_t size) {
      return home.post(home.path(method), json{{"size", size}}.dump());
    };
    const auto answer = [](const std::string& body) {
      return "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
             "\r\n\r\n" + body;
    };
    const std::string opened = answer("[\"_FD_BRE_MAGIC_-rb\",\"" + std::string(30'000, 'o') + "\"]\n");
    // What goes before takes all of a small buffer but a few bytes, all of it, or more than that: the first byte is the
    // one that does not fit in some cases, and in all of them not all others do.
    for (std::size_t size = 0; size < 20'000; size += 501) {
      CAPTURE(size);
      const int before = open_descriptors();
      SocketPair pair;
      const int small = 4096;
      CHECK(::setsockopt(pair.there.get(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small) == 0);
      home.kitten.serve_connection(kt::Socket(std::move(pair.there)));
      CHECK(kt::detail::write_all(pair.here.get(), call("text", size) + call("open", 30'000) + call("text", 1)));
      const std::string first = answer("\"" + std::string(size, 't') + "\"\n"), last = answer("\"t\"\n");
      std::string got;
      kt::detail::ReceivedDescriptors received;
      CHECK(eventually([&] {
        home.kitten.poll();
        char block[999];
        ssize_t n = 0;
        do {
          const std::size_t at = got.size();
          n = kt::detail::receive_with_descriptors(pair.here.get(), block, sizeof block, 16, received);
          if (n > 0) got.append(block, static_cast<std::size_t>(n));
          if (at <= first.size()) CHECK(received.owned.size() == (got.size() > first.size() ? 1 : 0));
        } while (n > 0);
        return got.size() >= first.size() + opened.size() + last.size();
      }));
      CHECK(got == first + opened + last);
      CHECK(received.owned.size() == 1);
      // This end, the service's, and what has come: the service has closed its own.
      CHECK(open_descriptors() == before + 3);
      received = {};
      pair.here.reset();
      CHECK(eventually([&] {
        home.kitten.poll();
        return open_descriptors() == before;
      }));
    }
  }

#if defined(__linux__)
  // This thread may not exceed its limits, even as root.
  class WithoutPrivileges {
   public:
    explicit WithoutPrivileges(rlim_t descriptors) {
      REQUIRE(::syscall(SYS_capget, &header_, before_) == 0);
      __user_cap_data_struct none[2] = {before_[0], before_[1]};
      none[0].effective = none[1].effective = 0;
      REQUIRE(::syscall(SYS_capset, &header_, none) == 0);
      ::getrlimit(RLIMIT_NOFILE, &limit_);
      const rlimit low{descriptors, limit_.rlim_max};
      ::setrlimit(RLIMIT_NOFILE, &low);
    }
    ~WithoutPrivileges() {
      ::setrlimit(RLIMIT_NOFILE, &limit_);
      ::syscall(SYS_capset, &header_, before_);
    }
    WithoutPrivileges(const WithoutPrivileges&) = delete;
    WithoutPrivileges& operator=(const WithoutPrivileges&) = delete;

   private:
    __user_cap_header_struct header_{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct before_[2];
    rlimit limit_;
  };

  TEST_CASE("an answer for whose descriptors the kernel has no room is a 503, and the next one is as usual (124)") {
    Home home;
    home.kitten.api("open", [] { return kt::File::open("/dev/null"); });
    home.kitten.start();
    const int before = open_descriptors();
    {
      const kt::File many = kt::File::open("/dev/null");
      const WithoutPrivileges limited(100);
      Wire wire = Wire::local(home.kitten);
      const auto answer = [&] {
        wire.send(home.post(home.path("open"), "{}"));
        pollfd entry{wire.fd(), POLLIN, 0};
        CHECK(eventually([&] {
          home.kitten.poll();
          return ::poll(&entry, 1, 0) == 1;
        }));
        return wire.answer();
      };
      CHECK(answer().status == 200);
      {
        // On their way, and never there: more than the limit.
        SocketPair pair;
        std::vector<kt::Fd> copies;
        for (int i = 0; i < 50; ++i) copies.push_back(many.duplicate());
        while (kt::detail::send_with_descriptors(pair.here.get(), "x", copies) == 1) {
        }
        CHECK(errno == ETOOMANYREFS);
        copies.clear();
        const Answer refused = answer();
        CHECK(refused.status == 503);
        CHECK(refused.body == "{\"error\":\"too many descriptors are on their way\"}\n");
      }
      CHECK(answer().status == 200);
      CHECK(open_descriptors() == before + 3);
    }
    CHECK(eventually([&] {
      home.kitten.poll();
      return open_descriptors() == before;
    }));
  }
#endif

  TEST_CASE_FIXTURE(Taking, "help and the table of methods say what takes and gives descriptors") {
    CHECK(result("help", R"({"command": "cat"})")
              .get<std::string>()
              .find("file  file (a path here, or - for standard input), required") != std::string::npos);
    const json table = result("ping", "{}")["methods"];
    CHECK(table["any"]["args"]["fd"] == "fd");
    CHECK(table["family"]["args"]["socket"] == "socket");
    CHECK(table["open"]["returns"] == "file");
  }
}

TEST_SUITE("service/delegation") {
  struct Replying : Home {
    Replying() {
      kitten.api(
          "add", [](int a, int b) { return a + b; }, kt::arg("a"), kt::arg("b") = 1);
      kitten.api(
          "count",
          [](int n) -> kt::Generator<int> {
            for (int i = 0; i < n; ++i) {
              co_yield i;
              co_await kt::sleep_for(1ms);
            }
          },
          kt::arg("n"));
      kitten.api("endless", []() -> kt::Generator<std::string> {
        for (;;) {
          co_yield std::string(10'000, 'x');
          co_await kt::sleep_for(1ms);
        }
      });
      kitten.api("fails", []() -> kt::Generator<int> {
        co_yield 1;
        throw kt::NotFound("no more");
      });
      start();
    }
    // The 202, or what came instead of it.
    Answer call_with_target(const std::string& method, const std::string& arguments, int target) {
      Wire wire = Wire::local(kitten);
      send_with(wire, post(path(method), arguments), {target});
      const Answer answer = wire.answer();
      if (answer.status == 202) CHECK(wire.closed());
      return answer;
    }
  };

  TEST_CASE_FIXTURE(Replying, "an answer goes to a socket that came with the call") {
    const int before = open_descriptors();
    {
      SocketPair pair;
      const Answer accepted = call_with_target(
          "add", R"({"reply_to_first_fd": 0, "_args": ["_SO_BRE_MAGIC_-1-1-0", 3, 4]})", pair.there.get());
      CHECK(accepted.status == 202);
      CHECK(accepted.body == "{\"replied_to_first_fd\": true}\n");
      pair.there.reset();
      CHECK(pair.rest() ==
            "HTTP/1.1 200 OK\nContent-Type: application/json\nContent-Length: 2\nConnection: close\n\n7\n");
    }
    {
      SocketPair pair;
      call_with_target("count", R"({"reply_to_first_fd": 0, "_args": ["_SO_BRE_MAGIC_-1-1-0", 2]})", pair.there.get());
      pair.there.reset();
      const std::string stream = pair.rest();
      CHECK(stream.starts_with("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n"));
      CHECK(stream.ends_with("\n\n2\r\n0\n\r\n2\r\n1\n\r\n0\r\n\r\n"));
    }
    CHECK(eventually([&] { return open_descriptors() == before; }));
  }

  TEST_CASE_FIXTURE(Replying, "an answer goes on with what another service has begun") {
    SocketPair pair;
    call_with_target("count", R"({"reply_to_first_fd": 93, "_args": ["_SO_BRE_MAGIC_-1-1-0", 2]})", pair.there.get());
    pair.there.reset();
    CHECK(pair.rest() == "2\r\n0\n\r\n2\r\n1\n\r\n0\r\n\r\n");
    SocketPair plain;
    call_with_target("add", R"({"reply_to_first_fd": 93, "_args": ["_SO_BRE_MAGIC_-1-1-0", 2]})", plain.there.get());
    plain.there.reset();
    CHECK(plain.rest() == "2\r\n3\n\r\n0\r\n\r\n");
    SocketPair failing;
    call_with_target("fails", R"({"reply_to_first_fd": 93, "_args": ["_SO_BRE_MAGIC_-1-1-0"]})", failing.there.get());
    failing.there.reset();
    CHECK(failing.rest() == "2\r\n1\n\r\n14\r\n{\"error\":\"no more\"}\n\r\n");
  }

  TEST_CASE_FIXTURE(Replying, "an answer goes to a file, and the file's flags stay as they were") {
    const kt::File file = kt::File::open(state / "out", "wb");
    call_with_target("help", R"({"reply_to_first_fd": 0, "_args": ["_FD_BRE_MAGIC_-wb", "add"]})", file.get());
    CHECK(eventually([&] { return contents(state / "out").ends_with("\"\n"); }));
    CHECK(contents(state / "out").starts_with("HTTP/1.1 200 OK\nContent-Type: application/json\n"));
    CHECK((::fcntl(file.get(), F_GETFL) & O_NONBLOCK) == 0);
    Pipe pipe;
    call_with_target("add", R"({"reply_to_first_fd": 0, "_args": ["_FD_BRE_MAGIC_-wb", 1]})", pipe.writer.get());
    pipe.writer.reset();
    CHECK(all_of(pipe.reader).ends_with("\n\n2\n"));
    const kt::File many = kt::File::open(state / "many", "wb");
    call_with_target("count", R"({"reply_to_first_fd": 0, "_args": ["_FD_BRE_MAGIC_-wb", 100]})", many.get());
    CHECK(eventually([&] { return contents(state / "many").ends_with("0\r\n\r\n"); }));
  }

  TEST_CASE_FIXTURE(Replying, "errors before the 202 go to the caller, later ones to the target") {
    SocketPair pair;
    const int fd = pair.there.get();
    CHECK(call_with_target("nope", R"({"reply_to_first_fd": 0, "_args": ["_SO_BRE_MAGIC_-1-1-0"]})", fd).status == 404);
    for (const char* bad : {R"({"reply_to_first_fd": -1, "_args": ["_SO_BRE_MAGIC_-1-1-0"]})",
                            R"({"reply_to_first_fd": "0", "_args": ["_SO_BRE_MAGIC_-1-1-0"]})",
                            R"({"reply_to_first_fd": 1e30, "_args": ["_SO_BRE_MAGIC_-1-1-0"]})",
                            R"({"reply_to_first_fd": 18446744073709551615, "_args": ["_SO_BRE_MAGIC_-1-1-0"]})",
                            R"({"reply_to_first_fd": 0, "_args": []})", R"({"reply_to_first_fd": 0})",
                            R"({"reply_to_first_fd": 0, "_args": ["x"]})",
                            R"({"reply_to_first_fd": 0, "_args": ["_SO_BRE_MAGIC_-x"]})"}) {
      CHECK_MESSAGE(call_with_target("add", bad, fd).status == 400, bad);
    }
    call_with_target("add", R"({"reply_to_first_fd": 0, "_args": ["_SO_BRE_MAGIC_-1-1-0", "elephant"]})", fd);
    pair.there.reset();
    const std::string refused = pair.rest();
    CHECK(refused.starts_with("HTTP/1.1 400"));
    CHECK(refused.find("elephant") != std::string::npos);
    // Without a descriptor the key is an argument like others.
    CHECK(error("add", R"({"reply_to_first_fd": 0, "_args": [1]})").find("unknown argument") != std::string::npos);
  }

  TEST_CASE_FIXTURE(Replying, "a target that is dead, full or gone ends the call, not the service") {
    const int before = open_descriptors();
    {
      SocketPair dead;
      dead.here.reset();
      call_with_target("endless", R"({"reply_to_first_fd": 0, "_args": ["_SO_BRE_MAGIC_-1-1-0"]})", dead.there.get());
      Pipe closed;
      closed.reader.reset();
      call_with_target("endless", R"({"reply_to_first_fd": 0, "_args": ["_FD_BRE_MAGIC_-wb"]})", closed.writer.get());
      const kt::File full = kt::File::open("/dev/full", "wb");
      call_with_target("endless", R"({"reply_to_first_fd": 0, "_args": ["_FD_BRE_MAGIC_-wb"]})", full.get());
      const kt::File unwritable = kt::File::open("/dev/null", "rb");
      call_with_target("add", R"({"reply_to_first_fd": 0, "_args": ["_FD_BRE_MAGIC_-rb", 1]})", unwritable.get());
      const kt::Fd folder(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      call_with_target("add", R"({"reply_to_first_fd": 0, "_args": ["_FD_BRE_MAGIC_-rb", 1]})", folder.get());
    }
    CHECK(eventually([&] { return open_descriptors() == before; }));
    {
      SocketPair leaves;
      call_with_target("endless", R"({"reply_to_first_fd": 0, "_args": ["_SO_BRE_MAGIC_-1-1-0"]})", leaves.there.get());
      leaves.there.reset();
      char byte = 0;
      CHECK(::recv(leaves.here.get(), &byte, 1, 0) == 1);
    }
    CHECK(eventually([&] { return open_descriptors() == before; }));
    CHECK(result("add", "{\"a\": 1}") == 2);
  }

  TEST_CASE("a connection is taken over, and spoken whatever") {
    Home home;
    home.kitten.api("upgrade", [](kt::Request& request) {
      std::string early;
      const kt::Socket socket = request.take_connection(&early);
      kt::detail::write_all(socket.get(), "raw:" + early);
    });
    home.kitten.api("later", [](kt::Request& request) -> kt::Task<int> {
      const kt::Socket socket = request.take_connection();
      co_await kt::sleep_for(1ms);
      kt::detail::write_all(socket.get(), "later");
      CHECK_THROWS_AS(request.take_connection(), kt::Error);
      co_return 5;
    });
    home.start();
    const int before = open_descriptors();
    CHECK(Wire::tcp(home.kitten).send(home.get(home.path("upgrade")) + "EARLY").rest() == "raw:EARLY");
    CHECK(Wire::local(home.kitten).send(home.get(home.path("later"))).rest() == "later");
    CHECK(eventually([&] { return open_descriptors() == before; }));
  }

  TEST_CASE("whole answers are sent as they are") {
    Home home;
    home.kitten.api("teapot", [] { return kt::RawReply{"HTTP/1.1 418 I'm a teapot\r\nContent-Length: 0\r\n\r\n"}; });
    home.kitten.api("parts", []() -> kt::Generator<kt::RawReply> {
      kt::RawReply part{"HTTP/1.1 200 OK\r\n\r\n"};
      co_yield part;
      part.bytes = "body";
      co_yield part;
    });
    home.start();
    CHECK(Wire::tcp(home.kitten).send(home.get(home.path("teapot"))).rest() ==
          "HTTP/1.1 418 I'm a teapot\r\nContent-Length: 0\r\n\r\n");
    CHECK(Wire::tcp(home.kitten).send(home.get(home.path("parts"))).rest() == "HTTP/1.1 200 OK\r\n\r\nbody");
  }

  TEST_CASE("of a whole answer, HEAD has the head (21)") {
    Home home;
    std::string answer;
    home.kitten.api("raw", [&] { return kt::RawReply{answer}; });
    home.start();
    for (const std::string head :
         {"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", "HTTP/1.1 200 OK\nContent-Length: 4\n\n"}) {
      for (const std::string body : {"body", "", "\r\n\r\n"}) {
        answer = head + body;
        CHECK(Wire::tcp(home.kitten).send("HEAD " + home.path("raw") + " HTTP/1.1\r\n\r\n").rest() == head);
      }
    }
    answer = "no head at all";
    CHECK(Wire::tcp(home.kitten).send("HEAD " + home.path("raw") + " HTTP/1.1\r\n\r\n").rest() == answer);
  }

  TEST_CASE("a connection that was accepted elsewhere is served as any other") {
    Home home;
    home.kitten.api(
        "serve", [&](kt::Socket socket) { home.kitten.serve_connection(std::move(socket)); }, kt::arg("socket"));
    home.kitten.public_api("meow", [] { return kt::text("Meow"); });
    home.start();
    SocketPair pair;
    Wire wire = Wire::local(home.kitten);
    send_with(wire, home.post(home.path("serve"), R"({"_args": ["_SO_BRE_MAGIC_-1-1-0"]})"), {pair.there.get()});
    CHECK(wire.answer().status == 200);
    pair.there.reset();
    CHECK(kt::detail::write_all(pair.here.get(), "GET /meow HTTP/1.0\r\n\r\n"));
    CHECK(pair.rest().ends_with("\r\n\r\nMeow"));
    const kt::File file = kt::File::open("/dev/null");
    send_with(wire, home.post(home.path("serve"), R"({"_args": ["_SO_BRE_MAGIC_-1-1-0"]})"), {file.get()});
    CHECK(wire.answer().status == 400);
  }
}

TEST_SUITE("service/hooks") {
  TEST_CASE("on_start runs before the service is announced, and may await") {
    Home home;
    std::string seen;
    home.kitten.on_start([&]() -> kt::Task<> {
      co_await kt::sleep_for(1ms);
      seen = std::to_string(::access((home.state / "Kitty.url").c_str(), F_OK)) +
             std::to_string(::access((home.state / "Kitty.sock").c_str(), F_OK));
    });
    home.start();
    CHECK(seen == "-10");
    CHECK(::access((home.state / "Kitty.url").c_str(), F_OK) == 0);
  }

  TEST_CASE("an on_start that throws ends the start and leaves nothing behind") {
    Home home;
    bool fail = true;
    home.kitten.on_start([&] {
      if (fail) throw std::runtime_error("no milk");
    });
    CHECK_THROWS_WITH_AS(home.start(), "on_start: no milk", kt::StartError);
    CHECK(std::filesystem::is_empty(home.state.path()));
    fail = false;
    home.start();
    CHECK(Wire::tcp(home.kitten).send(home.get("/ping")).answer().status == 200);
  }

  TEST_CASE("on_shutdown may await, and runs while the files are there, whoever asks for the end") {
    for (const bool by_call : {true, false}) {
      Home home;
      bool files = false;
      home.kitten.on_shutdown([&]() -> kt::Task<> {
        co_await kt::sleep_for(1ms);
        files = ::access((home.state / "Kitty.url").c_str(), F_OK) == 0;
      });
      home.start();
      if (by_call) {
        const Answer answer = Wire::tcp(home.kitten).send(home.post(home.path("quitquitquit"), "{}")).answer();
        CHECK(answer.body == "\"Goodbye forever\"\n");
        CHECK(std::filesystem::is_empty(home.state.path()));
      }
      home.kitten.stop();
      CHECK(files);
      CHECK(std::filesystem::is_empty(home.state.path()));
    }
  }

  TEST_CASE("a caller who leaves does not keep the service from stopping") {
    Home home;
    Happening stopping;
    home.kitten.on_shutdown([&]() -> kt::Task<> {
      stopping.happen();
      co_await kt::sleep_for(20ms);
    });
    home.start();
    { Wire::local(home.kitten).send(home.post(home.path("quitquitquit"), "{}")); }
    CHECK(stopping.happened());
    CHECK(eventually([&] { return std::filesystem::is_empty(home.state.path()); }));
  }

  TEST_CASE("an on_shutdown that takes too long is cancelled, one that throws is logged") {
    Home home;
    home.kitten.limits().shutdown_timeout = 20ms;
    bool cancelled = false;
    home.kitten.on_shutdown([&]() -> kt::Task<> {
      try {
        co_await kt::sleep_for(1h);
      } catch (const std::exception&) {
        cancelled = true;
        throw std::runtime_error("not done");
      }
    });
    home.start();
    home.kitten.stop();
    CHECK(cancelled);
    CHECK(home.log().find("on_shutdown: not done") != std::string::npos);
  }

  TEST_CASE("a program decides itself who is let in") {
    Home home;
    home.kitten.api("whoami", [](kt::Request& request) { return request.authenticated(); });
    home.kitten.authenticator([](const kt::Request& request) {
      if (request.method() == "bomb") throw std::runtime_error("boom");
      if (request.header("X-Locked")) return false;
      return request.authenticated() || request.peer().over_unix_socket;
    });
    home.start();
    CHECK(Wire::tcp(home.kitten).send(home.get("/whoami")).answer().status == 403);
    CHECK(Wire::local(home.kitten).send(home.get("/whoami")).answer().body == "true\n");
    CHECK(Wire::tcp(home.kitten).send(home.get(home.path("whoami"))).answer().body == "true\n");
    CHECK(Wire::tcp(home.kitten).send(home.get(home.path("whoami"), "X-Locked: 1\r\n")).answer().status == 403);
    CHECK(Wire::tcp(home.kitten).send(home.get(home.path("bomb"))).answer().status == 403);
  }

  TEST_CASE("a program finds methods by rules of its own") {
    Home home;
    home.kitten.api(
        "user", [](int id, std::string name) { return std::to_string(id) + name; }, kt::arg("id"),
        kt::arg("name") = "");
    home.kitten.router([](const kt::Request& request) -> std::optional<kt::RouteTo> {
      if (!request.path().starts_with("/users/")) return std::nullopt;
      kt::RouteTo route{"user"};
      route.arguments["id"] = std::string(request.path().substr(7));
      return route;
    });
    home.start();
    CHECK(Wire::tcp(home.kitten).send(home.get(home.path("users/42"))).answer().body == "\"42\"\n");
    CHECK(Wire::tcp(home.kitten).send(home.post(home.path("users/7"), R"({"name": "x", "id": 9})")).answer().body ==
          "\"7x\"\n");
    CHECK(Wire::tcp(home.kitten).send(home.get(home.path("users/x"))).answer().status == 400);
    CHECK(Wire::tcp(home.kitten).send(home.get("/users/42")).answer().status == 403);
    CHECK(home.result("user", "{\"id\": 1}") == "1");
    // The body comes in pieces, so that the buffer moves under the route.
    const std::string name(60'000, 'n');
    const std::string request = home.post(home.path("users/5"), "{\"name\": \"" + name + "\"}");
    Wire wire = Wire::tcp(home.kitten);
    for (std::size_t i = 0; i < request.size(); i += 10'000) wire.send(request.substr(i, 10'000));
    CHECK(wire.answer().body == "\"5" + name + "\"\n");
  }

  TEST_CASE("methods are added while the service runs, by handlers and by other threads") {
    Home home;
    home.kitten.api("learn", [&] { home.kitten.api("trick", [] { return 1; }); });
    home.start();
    CHECK(home.call("trick").status == 404);
    home.result("learn");
    CHECK(home.result("trick") == 1);
    std::thread([&] { home.kitten.api("other", [] { return 2; }); }).join();
    CHECK(home.result("other") == 2);
  }
}

namespace {

// A service made of prepared words, for what ours would never do. Each connection is served by a thread of its own.
class Scripted {
 public:
  // One connection: `number` counts them from 0.
  class Talk {
   public:
    Talk(int fd, int its_number) : number(its_number), fd_(fd) {}
    // A whole request, or nothing when the client has gone.
    std::string request() {
      std::size_t end = std::string::npos;
      std::size_t size = 0;
      for (;;) {
        const std::size_t crlf = received_.find("\r\n\r\n"), lf = received_.find("\n\n");
        if (crlf != std::string::npos) end = crlf + 4;
        if (lf != std::string::npos && lf + 2 < end) end = lf + 2;
        if (end != std::string::npos) {
          const std::size_t length = received_.find("Content-Length: ");
          size = end + (length < end ? std::stoul(received_.substr(length + 16)) : 0);
          if (received_.size() >= size) break;
        }
        char block[4096];
        const ssize_t n = ::recv(fd_, block, sizeof block, 0);
        if (n <= 0) return {};
        received_.append(block, static_cast<std::size_t>(n));
      }
      std::string request = received_.substr(0, size);
      received_.erase(0, size);
      return request;
    }
    Talk& say(std::string_view bytes) {
      while (!bytes.empty()) {
        const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (n <= 0) break;
        bytes.remove_prefix(static_cast<std::size_t>(n));
      }
      return *this;
    }
    // A JSON answer of ours.
    Talk& answer(const std::string& body) {
      return say("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
                 "\r\n\r\n" + body);
    }
    int fd() const { return fd_; }
    const int number;
    bool abrupt = false;  // closed without a shutdown, so that unread bytes make it a reset

   private:
    int fd_;
    std::string received_;
  };

  explicit Scripted(std::function<void(Talk&)> talk) : talk_(std::move(talk)) {
    listener_ = kt::detail::listen_unix(dir / "worker.sock", 16);
    ::fcntl(listener_.get(), F_SETFL, 0);
    write_file(dir / "worker.url", "http://unix-domain:0/TOKEN");
    acceptor_ = std::thread([this] {
      for (int number = 0;; ++number) {
        const int fd = ::accept(listener_.get(), nullptr, nullptr);
        if (fd < 0) return;
        const std::lock_guard lock(mutex_);
        open_.push_back(fd);
        threads_.emplace_back([this, fd, number] {
          Talk connection(fd, number);
          talk_(connection);
          if (!connection.abrupt) ::shutdown(fd, SHUT_RDWR);
          const std::lock_guard closing(mutex_);
          std::erase(open_, fd);
          ::close(fd);
        });
      }
    });
  }
  ~Scripted() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    acceptor_.join();
    std::vector<std::thread> threads;
    {
      const std::lock_guard lock(mutex_);
      for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
      threads.swap(threads_);
    }
    for (std::thread& thread : threads) thread.join();
  }
  // Without the ping of connect().
  kt::Client client(kt::Timeouts timeouts = {}) const {
    kt::Settings settings;
    settings.app_state_dir = dir.path();
    kt::ClientOptions options;
    options.timeouts = timeouts;
    return kt::ClientAccess::make(settings, options);
  }
  int connections() {
    const std::lock_guard lock(mutex_);
    return static_cast<int>(threads_.size());
  }

  TempDir dir;

 private:
  std::function<void(Talk&)> talk_;
  kt::Fd listener_;
  std::mutex mutex_;
  std::vector<int> open_;
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

// The text of the exception that a call ends with.
template <class Call>
std::string failure(Call call) {
  try {
    call();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "no exception";
}

struct Spot {
  int x = 0, y = 0;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Spot, x, y)

int plain_twice(int n) { return 2 * n; }

class Counter : public kt::Kitten {
 public:
  explicit Counter(const std::string& state) : Kitten("counter", "Kitty") {
    settings().app_state_dir = settings().app_data_dir = state;
    api("add", &Counter::add, kt::arg("a"), kt::arg("b"));
    api("scale", &Counter::scale, kt::arg("spot"), kt::arg("factor") = 2.0, kt::arg("note") = nullptr);
    api("count", &Counter::count, kt::arg("to"), kt::arg("word") = "n");
    api("later", &Counter::later, kt::arg("value"));
    api("nothing", &Counter::nothing);
    api("page", &Counter::page);
    api("twice", plain_twice, kt::arg("n"));
  }
  int add(int a, int b) { return a + b; }
  Spot scale(Spot spot, double factor, std::optional<std::string> note) {
    if (note) throw kt::InvalidArgument(*note);
    return {static_cast<int>(spot.x * factor), static_cast<int>(spot.y * factor)};
  }
  kt::Generator<std::string> count(int to, std::string word) {
    for (int i = 0; i < to; ++i) co_yield word + std::to_string(i);
  }
  kt::Task<std::string> later(kt::Request&, std::string value) {
    co_await kt::sleep_for(1ms);
    co_return value + "!";
  }
  void nothing() {}
  kt::Result page() { return kt::html("<p>"); }
  int unknown(int n) { return n; }
};

kt::Client client_of(const Home& home, kt::ClientOptions options = {}) {
  options.state_directory = home.state.path();
  return kt::Client::connect("testkitten", "Kitty", options);
}

}  // namespace

TEST_SUITE("service/topic") {
  TEST_CASE("events of other threads reach every stream, in order") {
    Home home;
    kt::Topic<int> ticks(1000);
    home.kitten.api("ticks", ticks, "What happens.");
    home.start();
    const kt::Client client = home.kitten.connect();
    std::vector<kt::Stream<int>> streams;
    std::vector<std::thread> readers;
    std::vector<std::vector<int>> got(3);
    for (int i = 0; i < 3; ++i) {
      readers.emplace_back([&, i] {
        for (const int tick : client.stream<int>("ticks")) got[static_cast<std::size_t>(i)].push_back(tick);
      });
    }
    CHECK(eventually([&] { return ticks.subscribers() == 3; }));
    std::vector<std::thread> writers;
    for (int w = 0; w < 2; ++w) {
      writers.emplace_back([&, w] {
        for (int i = 0; i < 400; ++i) ticks.publish(w * 1000 + i);
      });
    }
    for (std::thread& writer : writers) writer.join();
    ticks.close();
    for (std::thread& reader : readers) reader.join();
    for (const auto& items : got) {
      CHECK(items.size() == 800);
      std::vector<int> first;
      std::copy_if(items.begin(), items.end(), std::back_inserter(first), [](int tick) { return tick < 1000; });
      CHECK(std::is_sorted(first.begin(), first.end()));
    }
    CHECK(ticks.subscribers() == 0);
  }

  TEST_CASE("a subscriber that does not keep up loses what its policy says") {
    using kt::Overflow;
    for (const Overflow policy : {Overflow::drop_oldest, Overflow::latest_only, Overflow::disconnect}) {
      kt::Topic<int> topic(3, policy);
      Home home;
      home.kitten.api("topic", topic);
      const kt::Client client = home.kitten.loopback();
      auto items = client.stream<int>("topic");
      asio::io_context loop;
      kt::Generator<int> stream = topic.subscribe();
      std::vector<int> got;
      std::string error;
      asio::co_spawn(
          loop,
          [&]() -> kt::Task<> {
            try {
              while (auto item = co_await stream.next()) got.push_back(*item);
            } catch (const kt::Error& thrown) {
              error = thrown.what();
            }
          },
          asio::detached);
      loop.poll();
      CHECK(topic.subscribers() == 1);
      for (int i = 1; i <= 5; ++i) topic.publish(i);
      topic.close();
      loop.restart();
      loop.run();
      if (policy == Overflow::drop_oldest) CHECK(got == std::vector<int>{3, 4, 5});
      if (policy == Overflow::latest_only) CHECK(got == std::vector<int>{5});
      CHECK(error == (policy == Overflow::disconnect ? "events came faster than they were taken" : ""));
      CHECK(topic.dropped() == (policy == Overflow::latest_only ? 4 : 2));
    }
  }

  TEST_CASE("a topic that is closed takes nothing more, so that its streams end however much is published") {
    Home home;
    kt::Topic<int> ticks;
    home.kitten.api("ticks", ticks);
    const kt::Client client = home.kitten.loopback();
    asio::io_context loop;
    kt::Generator<int> stream = ticks.subscribe();
    std::vector<int> got;
    asio::co_spawn(
        loop,
        [&]() -> kt::Task<> {
          while (auto item = co_await stream.next()) {
            got.push_back(*item);
            if (got.size() == 100) co_return;
            ticks.publish(*item + 1);
            if (*item == 2) ticks.close();
          }
        },
        [](const std::exception_ptr& error) { CHECK(error == nullptr); });
    loop.poll();
    ticks.publish(1);
    for (int i = 0; i < 100; ++i) loop.poll();
    CHECK(got == std::vector<int>{1, 2, 3});
    CHECK(ticks.subscribers() == 0);
    ticks.close();
    ticks.publish(5);
    int late = 0;
    for (const int item : client.stream<int>("ticks")) late += item;
    CHECK(late == 0);
  }

  TEST_CASE("browsers get the events of a topic as server-sent events, and leaving unsubscribes") {
    Home home;
    kt::Topic<std::string> news;
    home.kitten.api("news", news);
    home.start();
    {
      Wire wire = Wire::tcp(home.kitten);
      wire.send(home.get(home.path("news"), "Accept: text/event-stream\r\n"));
      CHECK(eventually([&] { return news.subscribers() == 1; }));
      news.publish("fish");
      CHECK(wire.until("data: fish\n\n"));
    }
    CHECK(eventually([&] { return news.subscribers() == 0; }));
  }
}

TEST_SUITE("service/running") {
  TEST_CASE("a service runs in its host's loop, on the host's thread, when it is polled") {
    Home home;
    std::thread::id where;
    home.kitten.api("where", [&] { where = std::this_thread::get_id(); });
    home.kitten.start();
    CHECK(home.kitten.running());
    std::atomic<bool> done = false;
    std::thread caller([&] {
      home.kitten.connect().call("where");
      done = true;
    });
    while (!done) {
      if (home.kitten.poll() == 0) std::this_thread::sleep_for(1ms);
    }
    caller.join();
    CHECK(where == std::this_thread::get_id());
    CHECK(eventually([&] { return home.kitten.poll() == 0; }));
    home.kitten.stop();
    CHECK_FALSE(home.kitten.running());
    CHECK(std::filesystem::is_empty(home.state.path()));
    home.kitten.stop();
    CHECK(home.kitten.poll() == 0);
  }

  TEST_CASE("poll_for begins nothing more when its budget is used up") {
    Home home;
    int handled = 0;
    home.kitten.public_api("slow", [&] {
      ++handled;
      std::this_thread::sleep_for(20ms);
    });
    home.kitten.start();
    std::vector<Wire> wires;
    for (int i = 0; i < 5; ++i) {
      wires.push_back(Wire::tcp(home.kitten));
      wires.back().send(home.get("/slow"));
    }
    while (handled == 0) home.kitten.poll_for(1ms);
    CHECK(handled == 1);
    while (handled < 5) home.kitten.poll_for(1ms);
    for (Wire& wire : wires) {
      while (!wire.until("\r\n\r\n")) {
      }
    }
  }

  // The loop stands still until both are there: what is waited for, and the end of the time for it. Then the timer's
  // handler is behind the other one in the queue, where nothing can cancel it any more.
  TEST_CASE("what comes in the same turn of the loop as its deadline has come in time (69)") {
    // Should the machine be too slow to get that far before a deadline: once more, with later ones.
    bool soon_enough = false;
    for (auto limit = 50ms; !soon_enough; limit *= 2) {
      Home home;
      kt::Limits& limits = home.kitten.limits();
      const auto within = [&](std::chrono::milliseconds time) {
        limits.head_timeout = limits.body_timeout = limits.idle_timeout = limits.write_timeout = time;
      };
      home.kitten.on_start([&] { within(limit); });
      int slept = 0, ended = 0;
      home.kitten.api(
          "size", [](std::string text) { return text.size(); }, "", kt::arg("text"));
      home.kitten.api("big", [] { return kt::text(std::string(3'000'000, 'x')); });
      home.kitten.api("nap", [&]() -> kt::Task<std::string> {
        const std::shared_ptr<void> end(nullptr, [&](void*) { ++ended; });
        co_await kt::sleep_for(limit);
        ++slept;
        co_return "slept";
      });
      home.kitten.start();
      const auto turn = [&] {
        while (home.kitten.poll() != 0) {
        }
      };
      const std::string request = home.post(home.path("size"), R"({"text": "four"})");
      const auto begin = std::chrono::steady_clock::now();
      Wire idle = Wire::local(home.kitten), in_head = Wire::local(home.kitten), in_body = Wire::local(home.kitten);
      Wire slow = Wire::local(home.kitten), sleeper = Wire::local(home.kitten);
      std::optional<Wire> gone = Wire::local(home.kitten);
      in_head.send(request.substr(0, 30));
      in_body.send(request.substr(0, request.size() - 1));
      slow.send(home.get(home.path("big")));
      sleeper.send(home.get(home.path("nap")));
      gone->send(home.get(home.path("nap")));
      turn();
      soon_enough = std::chrono::steady_clock::now() - begin < limit;
      if (!soon_enough) continue;

      idle.send(request);
      in_head.send(request.substr(30));
      in_body.send(request.substr(request.size() - 1));
      // Makes room for more, without which the answer would not go on.
      for (pollfd more{slow.fd(), POLLIN, 0}; ::poll(&more, 1, 0) == 1;) CHECK(slow.receive());
      gone.reset();
      std::this_thread::sleep_until(begin + 3 * limit);
      within(patience);
      turn();
      CHECK(slept == 2);
      CHECK(ended == 2);
      CHECK(sleeper.answer().body == "\"slept\"\n");
      for (Wire* wire : {&idle, &in_head, &in_body}) {
        CHECK(wire->answer().body == "4\n");
        wire->send(request);
      }
      turn();
      for (Wire* wire : {&idle, &in_head, &in_body}) CHECK(wire->answer().body == "4\n");
      while (slow.received().size() < 3'000'000 && slow.receive()) turn();
      CHECK(slow.answer().body.size() == 3'000'000);
      CHECK_FALSE(contains(home.log(), "timeout"));
    }
  }

  TEST_CASE("deadlines that run out while a service ends, or after it, find nothing to end (69)") {
    for (const bool by_handler : {true, false}) {
      CAPTURE(by_handler);
      Home home;
      kt::Limits& limits = home.kitten.limits();
      home.kitten.api("stop", [&] { home.kitten.stop(); });
      home.kitten.start();
      const auto turn = [&] {
        while (home.kitten.poll() != 0) {
        }
      };
      Wire stopper = Wire::local(home.kitten);
      turn();
      limits.head_timeout = limits.idle_timeout = limits.drain_timeout = limits.linger_timeout = 20ms;
      std::vector<Wire> others;
      for (int i = 0; i < 6; ++i) {
        others.push_back(Wire::local(home.kitten));
        if (i % 2 == 0) others.back().send("GET /");
      }
      turn();
      if (by_handler) stopper.send(home.get(home.path("stop")));
      std::this_thread::sleep_for(60ms);
      if (by_handler) {
        CHECK(eventually([&] {
          turn();
          return !home.kitten.running();
        }));
      } else {
        home.kitten.stop();
      }
      for (Wire& other : others) other.rest();
      std::this_thread::sleep_for(60ms);
      turn();
      limits = kt::Limits{};
      home.start();
      CHECK(Wire::local(home.kitten).send(home.get("/ping")).answer().status == 200);
    }
  }

  TEST_CASE("a service runs on a loop of the host, beside what else runs there") {
    Home home;
    asio::io_context loop;
    std::atomic<int> ticks = 0;
    bool ticking = true;
    asio::steady_timer timer(loop);
    std::function<void()> tick = [&] {
      timer.expires_after(1ms);
      timer.async_wait([&](const asio::error_code& error) {
        if (error || !ticking) return;
        ++ticks;
        tick();
      });
    };
    tick();
    {
      kt::Kitten kitten(loop, "testkitten", "Kitty");
      kitten.settings().app_state_dir = home.state.path();
      std::thread::id where;
      kitten.api("where", [&] { where = std::this_thread::get_id(); });
      kitten.api("leave", [&] { kitten.stop(); });
      bool started = false;
      kitten.on_start([&]() -> kt::Task<> {
        co_await kt::sleep_for(1ms);
        started = true;
      });
      kitten.start();
      CHECK_FALSE(started);
      std::thread host([&] { loop.run(); });
      CHECK(eventually([&] { return ::access((home.state / "Kitty.url").c_str(), F_OK) == 0; }));
      const kt::Client client = kitten.connect();
      client.call("where");
      CHECK(where == host.get_id());
      client.call("leave");
      CHECK(eventually([&] { return !kitten.running(); }));
      CHECK(std::filesystem::is_empty(home.state.path()));
      std::promise<std::string> again;
      asio::post(loop, [&] { again.set_value(kitten.try_start()); });
      CHECK(again.get_future().get() == "");
      CHECK(eventually([&] { return ::access((home.state / "Kitty.url").c_str(), F_OK) == 0; }));
      const int before = ticks;
      CHECK(eventually([&] { return ticks > before; }));
      loop.stop();
      host.join();
      // The service is destroyed with connections open, and nobody runs the loop any more.
    }
    CHECK(std::filesystem::is_empty(home.state.path()));
    ticking = false;
    loop.restart();
    loop.run();
  }

  TEST_CASE("a start that fails throws, or says why, and can be tried again") {
    Home first;
    first.start();
    kt::Kitten second("testkitten", "Kitty");
    second.settings().app_state_dir = first.state.path();
    CHECK_THROWS_AS(second.start(), kt::StartError);
    CHECK_THROWS_AS(second.start_thread(), kt::StartError);
    CHECK_THROWS_AS(second.run(), kt::StartError);
    CHECK(second.try_start() == "testkitten/Kitty is already running");
    CHECK_FALSE(second.running());
    first.kitten.stop();
    CHECK(second.try_start().empty());
    CHECK(second.try_start() == "the service runs already");
    second.stop();
  }

  TEST_CASE("stop comes from any thread, at once from several, in every way to run") {
    for (const int way : {0, 1, 2}) {
      Home home;
      home.kitten.on_shutdown([]() -> kt::Task<> { co_await kt::sleep_for(5ms); });
      std::thread runner;
      std::atomic<bool> polling = true;
      if (way == 0) home.kitten.start_thread();
      if (way == 1) runner = std::thread([&] { home.kitten.run(); });
      if (way == 2) {
        runner = std::thread([&] {
          home.kitten.start();
          while (polling) {
            home.kitten.poll();
            std::this_thread::sleep_for(1ms);
          }
        });
      }
      CHECK(eventually([&] { return home.kitten.running(); }));
      std::vector<std::thread> stoppers;
      for (int i = 0; i < 4; ++i) {
        stoppers.emplace_back([&] {
          home.kitten.stop();
          CHECK_FALSE(home.kitten.running());
        });
      }
      for (std::thread& stopper : stoppers) stopper.join();
      polling = false;
      if (runner.joinable()) runner.join();
      CHECK(std::filesystem::is_empty(home.state.path()));
    }
  }

  TEST_CASE("a service that runs cannot be started once more, whichever way") {
    Home home;
    home.kitten.start_thread();
    CHECK(home.kitten.try_start() == "the service runs already");
    CHECK_THROWS_WITH_AS(home.kitten.run(), "the service runs already", kt::StartError);
    CHECK_THROWS_WITH_AS(home.kitten.start_thread(), "the service runs already", kt::StartError);
    CHECK(home.result("ping").contains("pong"));
  }

  TEST_CASE("a stop that comes while another thread is starting the service ends it once it has started") {
    Home home;
    Happening starting, stopping, stopped;
    home.kitten.on_start([&] {
      starting.happen();
      CHECK(stopping.happened());
      std::this_thread::sleep_for(20ms);  // stop() has been entered by now, most likely
    });
    std::thread stopper([&] {
      CHECK(starting.happened());
      stopping.happen();
      home.kitten.stop();
      stopped.happen();
    });
    home.kitten.start_thread();
    CHECK(stopped.happened());
    CHECK(!home.kitten.running());
    home.kitten.stop();  // frees the other one, should it wait for ever
    stopper.join();
    CHECK(std::filesystem::is_empty(home.state.path()));
  }
}

TEST_SUITE("service/host_executor") {
  // A host with a queue of its own, as a GUI program has.
  class Host {
   public:
    explicit Host(kt::Kitten& kitten) {
      kitten.run_handlers_on([this](std::function<void()> work) {
        const std::lock_guard lock(mutex_);
        queue_.push_back(std::move(work));
      });
    }
    void frame() {
      std::deque<std::function<void()>> work;
      {
        const std::lock_guard lock(mutex_);
        work.swap(queue_);
      }
      for (const auto& one : work) one();
    }
    template <class Condition>
    bool frames_until(Condition condition) {
      return eventually([&] {
        frame();
        return condition();
      });
    }

   private:
    std::mutex mutex_;
    std::deque<std::function<void()>> queue_;
  };

  TEST_CASE("every step of every kind of handler runs on the host's thread, and nothing else does") {
    Home home;
    Host host(home.kitten);
    std::set<std::thread::id> threads;
    const auto here = [&] { threads.insert(std::this_thread::get_id()); };
    struct AtEnd {
      std::function<void()> work;
      ~AtEnd() { work(); }
    };
    home.kitten.api("plain", [&] { here(); });
    home.kitten.api("fails", [&] {
      here();
      throw kt::NotFound("nothing here");
    });
    home.kitten.api("later", [&]() -> kt::Task<int> {
      here();
      co_await kt::sleep_for(1ms);
      here();
      co_return 7;
    });
    home.kitten.api("items", [&]() -> kt::Generator<int> {
      const AtEnd at_end{here};
      for (int i = 0; i < 3; ++i) {
        here();
        co_yield i;
        co_await kt::sleep_for(1ms);
        here();
      }
      throw kt::NotFound("no more");
    });
    home.start();
    std::atomic<bool> done = false;
    std::string text;
    std::thread caller([&] {
      const kt::Client client = home.kitten.connect();
      client.call("plain");
      CHECK_THROWS_AS(client.call("fails"), kt::NotFound);
      text = std::to_string(client.call<int>("later"));
      CHECK_THROWS_AS(
          [&] {
            for (const int item : client.stream<int>("items")) text += std::to_string(item);
          }(),
          kt::Error);
      done = true;
    });
    CHECK(host.frames_until([&] { return done.load(); }));
    caller.join();
    host.frame();
    CHECK(text == "7012");
    CHECK(threads == std::set<std::thread::id>{std::this_thread::get_id()});
  }

  TEST_CASE("a host that does not get to a call in time has it answered with 503, and never begins it") {
    Home home;
    Host host(home.kitten);
    home.kitten.limits().host_timeout = 20ms;
    int calls = 0;
    home.kitten.api("plain", [&] { ++calls; });
    home.start();
    CHECK(home.error("plain", "{}", 503) == "the program did not get to this call in time");
    host.frame();
    CHECK(calls == 0);
    CHECK(home.result("ping").contains("pong"));
  }

  TEST_CASE("callers who leave and services that stop do not pull the rug from under a running handler") {
    Home home;
    Host host(home.kitten);
    Happening began, go_on;
    std::string seen;
    home.kitten.api(
        "slow",
        [&](kt::Request& request, std::string text) {
          began.happen();
          CHECK(go_on.happened());
          seen = text + std::string(request.method());
        },
        kt::arg("text"));
    home.start();
    std::thread gui([&] { CHECK(host.frames_until([&] { return !seen.empty(); })); });
    {
      Wire wire = Wire::local(home.kitten);
      wire.send(home.post(home.path("slow"), json{{"text", std::string(1000, 'x')}}.dump()));
      CHECK(began.happened());
    }
    std::thread stopper([&] { home.kitten.stop(); });
    go_on.happen();
    gui.join();
    stopper.join();
    CHECK(seen == std::string(1000, 'x') + "slow");
  }
}

TEST_SUITE("service/side_effects") {
  std::string mask_text(const sigset_t& mask) {
    std::string text;
    for (int number = 1; number < NSIG; ++number) text += ::sigismember(&mask, number) == 1 ? '1' : '0';
    return text;
  }

  // What belongs to the host, by name.
  using State = std::map<std::string, std::string>;

  // What may not change even while a service runs, as the calling thread sees it.
  State state_now() {
    State state;
    for (int number = 1; number < NSIG; ++number) {
      struct sigaction action {};
      if (::sigaction(number, nullptr, &action) != 0) continue;
      std::ostringstream text;
      text << reinterpret_cast<const void*>(action.sa_handler) << " " << action.sa_flags << " "
           << mask_text(action.sa_mask);
      state["signal " + std::to_string(number)] = text.str();
    }
    sigset_t mask;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    state["signal mask"] = mask_text(mask);
    ::sigpending(&mask);
    state["pending signals"] = mask_text(mask);
    const mode_t umask = ::umask(077);
    ::umask(umask);
    state["umask"] = std::to_string(umask);
    state["C locale"] = std::setlocale(LC_ALL, nullptr);
    state["C++ locale"] = std::locale().name();
    for (char** entry = environ; *entry != nullptr; ++entry) {
      // Values stay out of the logs.
      const std::string variable = *entry, name = variable.substr(0, variable.find('='));
      state["variable " + name] = std::to_string(std::hash<std::string>()(variable));
    }
    state["directory"] = std::filesystem::current_path().string();
    for (const int fd : {0, 1, 2}) state["flags of standard streams"] += std::to_string(::fcntl(fd, F_GETFL)) + " ";
    for (const auto resource : {RLIMIT_NOFILE, RLIMIT_CORE, RLIMIT_STACK, RLIMIT_AS}) {
      rlimit limit{};
      ::getrlimit(resource, &limit);
      state["limits"] += std::to_string(limit.rlim_cur) + "/" + std::to_string(limit.rlim_max) + " ";
    }
    state["process group"] = std::to_string(::getpgrp()) + " " + std::to_string(::getsid(0));
    itimerval timer{};
    ::getitimer(ITIMER_REAL, &timer);
    state["alarm"] = std::to_string(timer.it_value.tv_sec) + " " + std::to_string(timer.it_interval.tv_sec);
    std::ostringstream hooks;
    hooks << reinterpret_cast<const void*>(std::get_terminate())
          << reinterpret_cast<const void*>(std::get_new_handler());
    state["hooks of the language"] = hooks.str();
    int status = 0;
    const pid_t child = ::waitpid(-1, &status, WNOHANG);
    state["children"] = child == -1 && errno == ECHILD ? "none" : "some";
    return state;
  }

  // What may not be different afterwards.
  State threads_now() {
    std::thread([] {}).join();  // a sanitizer adds a thread of its own to the first one
    State threads;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task"))
      threads["thread " + entry.path().filename().string()] = contents(entry.path().string() + "/comm");
    return threads;
  }
  std::string differences(const State& before, const State& after) {
    std::string text;
    for (const auto& [name, value] : before) {
      const auto found = after.find(name);
      if (found == after.end()) text += name + " has gone\n";
      if (found != after.end() && found->second != value)
        text += name + ": " + value + " is now " + found->second + "\n";
    }
    for (const auto& [name, value] : after) {
      if (before.count(name) == 0) text += name + " is new: " + value + "\n";
    }
    return text;
  }

  // Catches what is printed, whoever prints it.
  class Captured {
   public:
    Captured() {
      std::cout.flush();
      std::fflush(nullptr);
      for (const int fd : {1, 2}) {
        saved_.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
        const kt::Fd file(::open(name(fd).c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
        ::dup2(file.get(), fd);
      }
    }
    ~Captured() { end(); }
    std::string end() {
      if (saved_.empty()) return {};
      std::cout.flush();
      std::fflush(nullptr);
      for (const int fd : {1, 2}) ::dup2(saved_[static_cast<std::size_t>(fd - 1)].get(), fd);
      saved_.clear();
      return contents(name(1)) + contents(name(2));
    }

   private:
    std::string name(int fd) const { return files_ / std::to_string(fd); }
    TempDir files_;
    std::vector<kt::Fd> saved_;
  };

  std::atomic<int> pipe_signals = 0;

  // A host that handles SIGPIPE itself and so learns of each one.
  class CountsPipeSignals {
   public:
    CountsPipeSignals() {
      pipe_signals = 0;
      struct sigaction action {};
      action.sa_handler = [](int) { ++pipe_signals; };
      ::sigaction(SIGPIPE, &action, &before_);
    }
    ~CountsPipeSignals() { ::sigaction(SIGPIPE, &before_, nullptr); }

   private:
    struct sigaction before_ {};
  };

  // A service with a bit of everything, and peers of every kind.
  struct Busy : Home {
    explicit Busy(const State& at_first) {
      kitten.api("look", [at_first] { return differences(at_first, state_now()); });
      kitten.api("later", []() -> kt::Task<int> {
        co_await kt::sleep_for(1ms);
        co_return 7;
      });
      kitten.api("items", []() -> kt::Generator<int> {
        for (int i = 0; i < 3; ++i) {
          co_yield i;
          co_await kt::sleep_for(1ms);
        }
      });
      kitten.api("endless", [this]() -> kt::Generator<std::string> {
        ++began;  // not those whose reader has gone before
        const AtEnd at_end{&ended};
        for (;;) {
          co_yield std::string(100'000, 'x');
          co_await kt::sleep_for(1ms);
        }
      });
      kitten.api(
          "write", [](kt::Fd file) -> kt::Task<void> { co_await kt::async_write_all(file, std::string(100'000, 'x')); },
          kt::arg("file"));
      kitten.api("events", topic);
      kitten.api("fails", [] { throw kt::NotFound("nothing"); });
      kitten.on_start([] {});
      kitten.on_shutdown([]() -> kt::Task<> { co_await kt::sleep_for(1ms); });
    }
    struct AtEnd {
      std::atomic<int>* count;
      ~AtEnd() { ++*count; }
    };
    // By a client's thread, while the service runs.
    void exercise(const kt::Client& client) {
      looked += client.call<std::string>("look");
      if (client.call<int>("later") != 7) looked += "later is wrong\n";
      int sum = 0;
      for (const int item : client.stream<int>("items")) sum += item;
      if (sum != 3) looked += "items are wrong\n";
      try {
        client.call("fails");
        looked += "no error\n";
      } catch (const kt::NotFound&) {
      }
      int event = 0;
      std::thread publisher([&] {
        while (event == 0 && topic.subscribers() == 0) std::this_thread::sleep_for(1ms);
        topic.publish(1);
      });
      for (const int item : client.stream<int>("events")) {
        event = item;
        break;
      }
      publisher.join();
    }
    void peers_vanish() {
      for (int i = 0; i < 3; ++i) {
        for (const bool tcp : {true, false}) {
          Wire wire = tcp ? Wire::tcp(kitten) : Wire::local(kitten);
          const linger at_once{1, 0};
          if (i == 1) ::setsockopt(wire.fd(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
          wire.send(get(path("endless")));
          if (i != 2) CHECK(wire.until("xxx"));
        }
      }
      const kt::Client client = kitten.connect();
      for (int i = 0; i < 2; ++i) {
        int ends[2];
        REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
        ::close(ends[0]);
        try {
          if (i == 0) client.call("write", kt::File(kt::Fd(ends[1]), "wb"));
          if (i == 1) client.call("endless", kt::File(kt::Fd(ends[1]), "wb"), kt::arg("reply_to_first_fd") = 0);
          if (i == 0) looked += "written into a closed pipe\n";
        } catch (const kt::Error&) {
        }
      }
      CHECK(eventually([&] { return began >= 5 && ended == began; }));
    }

    kt::Topic<int> topic;
    std::atomic<int> began = 0, ended = 0;
    std::string looked;
  };

  // A thread of the host's on which handlers run.
  class HostThread {
   public:
    explicit HostThread(kt::Kitten& kitten) : thread_([this] { run(); }) {
      kitten.run_handlers_on([this](std::function<void()> work) { push(std::move(work)); });
    }
    ~HostThread() {
      push(nullptr);
      thread_.join();
    }
    // How many functions have thrown.
    int thrown() const { return thrown_; }

   private:
    void push(std::function<void()> work) {
      const std::lock_guard lock(mutex_);
      queue_.push_back(std::move(work));
      changed_.notify_one();
    }
    void run() {
      for (;;) {
        std::function<void()> work;
        {
          std::unique_lock lock(mutex_);
          changed_.wait(lock, [this] { return !queue_.empty(); });
          work = std::move(queue_.front());
          queue_.pop_front();
        }
        if (!work) return;
        try {
          work();
        } catch (...) {
          ++thrown_;
        }
      }
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::function<void()>> queue_;
    std::atomic<int> thrown_ = 0;
    std::thread thread_;
  };

  struct Way {
    const char* name;
    // Starts the service, makes it run until `done`, and stops it.
    void (*serve)(Busy& busy, const std::atomic<bool>& done);
  };
  const Way ways[] = {{"on a thread of its own",
                       [](Busy& busy, const std::atomic<bool>& done) {
                         busy.start();
                         CHECK(eventually([&] { return done.load(); }));
                         busy.kitten.stop();
                       }},
                      {"in the host's own loop",
                       [](Busy& busy, const std::atomic<bool>& done) {
                         busy.kitten.start();
                         CHECK(eventually([&] {
                           busy.kitten.poll_for(1ms);
                           return done.load();
                         }));
                         busy.kitten.stop();
                       }},
                      {"with handlers on the host's thread", [](Busy& busy, const std::atomic<bool>& done) {
                         const HostThread host(busy.kitten);
                         busy.start();
                         CHECK(eventually([&] { return done.load(); }));
                         busy.kitten.stop();
                       }}};

  TEST_CASE("a service and its clients leave their process as it was, whoever runs the service") {
    for (const Way& way : ways) {
      CAPTURE(std::string(way.name));
      const CountsPipeSignals counts;
      Captured captured;
      const State before = state_now(), threads = threads_now();
      const int descriptors = open_descriptors() - 2;  // without the ones that the capture holds
      std::string looked;
      {
        Busy busy(before);
        std::atomic<bool> done = false;
        std::thread user([&] {
          if (!eventually([&] { return busy.kitten.running(); })) return;
          const bool own = way.serve != ways[2].serve;
          busy.looked += differences(before, state_now());
          busy.exercise(busy.kitten.connect());
          if (own) busy.exercise(busy.kitten.loopback());
          busy.peers_vanish();
          busy.looked += differences(before, state_now());
          done = true;
        });
        way.serve(busy, done);
        user.join();
        looked = busy.looked;
      }
      const State after = state_now();
      CHECK(captured.end() == "");
      CHECK(looked == "");
      CHECK(differences(before, after) == "");
      CHECK(eventually([&] { return threads_now().size() == threads.size(); }));
      CHECK(differences(threads, threads_now()) == "");
      CHECK(open_descriptors() == descriptors);
      CHECK(pipe_signals == 0);
    }
  }

  TEST_CASE("a service on the host's Asio loop leaves the process as it was, once the loop has gone") {
    const CountsPipeSignals counts;
    Captured captured;
    const State before = state_now(), threads = threads_now();
    const int descriptors = open_descriptors() - 2;  // without the ones that the capture holds
    std::string looked;
    {
      TempDir files;
      asio::io_context loop;
      kt::Kitten kitten(loop, "testkitten", "Kitty");
      kitten.settings().app_state_dir = kitten.settings().app_data_dir = files.path();
      kitten.api("look", [&] { return differences(before, state_now()); });
      kitten.start();
      std::thread user([&] {
        const kt::Client client = kitten.connect();
        looked = client.call<std::string>("look");
        kitten.stop();
      });
      loop.run();
      user.join();
      CHECK(!kitten.running());
    }
    const State after = state_now();
    CHECK(captured.end() == "");
    CHECK(looked == "");
    CHECK(differences(before, after) == "");
    CHECK(eventually([&] { return threads_now().size() == threads.size(); }));
    CHECK(differences(threads, threads_now()) == "");
    CHECK(open_descriptors() == descriptors);
    CHECK(pipe_signals == 0);
  }

  TEST_CASE("a client that starts a service leaves no child and no change behind") {
    TempDir files;
    ::setenv(as_service, "service", 1);
    const CountsPipeSignals counts;
    Captured captured;
    const State before = state_now(), threads = threads_now();
    const int descriptors = open_descriptors() - 2;  // without the ones that the capture holds
    {
      kt::Kitten kitten("prompting", "Kitty");
      kitten.settings().app_state_dir = kitten.settings().app_data_dir = files.path();
      const kt::Client client = kitten.connect(kt::auto_start);
      client.call("measure");
      client.call("quitquitquit");
    }
    const State after = state_now();
    CHECK(captured.end() == "");
    CHECK(differences(before, after) == "");
    CHECK(differences(threads, threads_now()) == "");
    CHECK(open_descriptors() == descriptors);
    CHECK(pipe_signals == 0);
    ::unsetenv(as_service);
  }

  TEST_CASE("two services in one program serve each other") {
    Home first("First"), second("Second");
    first.kitten.api("name", [] { return "first"; });
    kt::ClientOptions where;
    where.state_directory = first.state.path();
    second.kitten.api("ask", [&]() -> kt::Task<std::string> {
      const kt::Client client = co_await kt::Client::async_connect("testkitten", "First", where);
      co_return co_await client.async_call<std::string>("name") + " and second";
    });
    first.start();
    second.start();
    CHECK(second.kitten.connect().call<std::string>("ask") == "first and second");
    CHECK(first.kitten.token() != second.kitten.token());
    CHECK(first.kitten.url() != second.kitten.url());
    first.kitten.stop();
    CHECK(second.result("ping").contains("pong"));
  }

  // ---- what handlers throw

  // It does not see how the library of g++ counts the owners of an exception that goes to another thread.
  constexpr bool thread_sanitizer = KETTLINGAR_TEST_WITH_TSAN != 0;

  // Throws as `how` says.
  void throw_it(const std::string& how) {
    if (how == "exception") throw std::runtime_error("a mishap");
    if (how == "number") throw 42;
    if (how == "system") throw std::system_error(EPERM, std::system_category());
  }

  // Conversions of its own that throw what is no std::exception.
  struct Unwritable {
    int value = 0;
  };
  void to_json(nlohmann::json&, const Unwritable&) { throw 43; }

  struct Throwing {
    explicit Throwing(kt::Kitten& kitten) {
      kitten.api("plain", throw_it, kt::arg("how"));
      kitten.api(
          "task",
          [](std::string how) -> kt::Task<int> {
            co_await kt::sleep_for(1ms);
            throw_it(how);
            co_return 1;
          },
          kt::arg("how"));
      kitten.api(
          "items",
          [](std::string how, int after) -> kt::Generator<int> {
            for (int i = 0; i < after; ++i) co_yield i;
            throw_it(how);
          },
          kt::arg("how"), kt::arg("after") = 0);
      kitten.api("result", [] { return Unwritable{}; });
      kitten.api("unwritable", []() -> kt::Generator<Unwritable> {
        const Unwritable item{};
        co_yield item;
      });
      kitten.api(
          "pass_on",
          [](kt::Request& request, std::string how) {
            const kt::Socket taken = request.take_connection();
            throw_it(how);
          },
          kt::arg("how"));
      kitten.fallback([] { throw_it("number"); });
    }
  };
  void call_all(Home & home, bool pass_on) {
    for (const std::string how : {"exception", "number", "system"}) {
      const std::string arguments = json{{"how", how}}.dump();
      for (const char* method : {"plain", "task", "items"}) {
        CAPTURE(std::string(method));
        CHECK(home.call(method, arguments).status == 500);
      }
      const Answer late = home.call("items", json{{"how", how}, {"after", 2}}.dump());
      CHECK(late.chunks.size() >= 2);
      CHECK(!late.end_mark);
      if (pass_on) {
        Wire wire = Wire::local(home.kitten);
        wire.send(home.post(home.path("pass_on"), arguments));
        CHECK(wire.closed());
      }
    }
    for (const char* method : {"result", "unknown"}) CHECK(home.call(method).status == 500);
    CHECK(!home.call("unwritable").end_mark);
    CHECK(home.result("ping").contains("pong"));
  }

  TEST_CASE("what handlers throw stays in their calls: in poll()") {
    Home home;
    const Throwing handlers(home.kitten);
    home.kitten.start();
    std::atomic<bool> done = false;
    std::thread user([&] {
      call_all(home, true);
      done = true;
    });
    CHECK_NOTHROW(CHECK(eventually([&] {
      home.kitten.poll();
      return done.load();
    })));
    user.join();
    for (const std::string method : {"plain", "task", "items", "pass_on", "unknown"})
      CHECK(contains(home.log(), "internal: " + method + ": an exception of a type not derived"));
  }

  TEST_CASE("what handlers throw stays in their calls: on the host's thread, and in loopback calls" *
            doctest::skip(thread_sanitizer)) {
    Home home;
    const Throwing handlers(home.kitten);
    const HostThread host(home.kitten);
    home.start();
    call_all(home, false);
    CHECK(host.thrown() == 0);
    for (const std::string how : {"exception", "number"}) {
      for (const char* method : {"plain", "task", "items"})
        CHECK_THROWS_AS(home.kitten.loopback().call(method, how), kt::Error);
    }
    CHECK_THROWS_AS(home.kitten.loopback().call("result"), kt::Error);
  }

  TEST_CASE("what the program's own work in the service's loop throws comes out of poll(), and is logged elsewhere") {
    Home home;
    asio::any_io_executor loop;
    const auto post_bad_work = [&] { asio::post(loop, [] { throw std::bad_alloc(); }); };
    home.kitten.on_start([&]() -> kt::Task<> {
      loop = co_await asio::this_coro::executor;
      post_bad_work();
      co_await kt::sleep_for(1ms);
    });
    const auto logged = [&] {
      int count = 0;
      std::istringstream lines(home.log());
      for (std::string line; std::getline(lines, line);) count += line.ends_with("internal: std::bad_alloc") ? 1 : 0;
      return count;
    };
    CHECK_NOTHROW(home.kitten.start());
    CHECK(logged() == 1);
    post_bad_work();
    CHECK_THROWS_AS(home.kitten.poll(), std::bad_alloc);
    post_bad_work();
    CHECK_THROWS_AS(home.kitten.poll_for(patience), std::bad_alloc);
    CHECK(logged() == 1);
    post_bad_work();
    CHECK_NOTHROW(home.kitten.stop());
    CHECK(!home.kitten.running());
    CHECK(logged() == 2);
    home.start();
    post_bad_work();
    CHECK(home.result("ping").contains("pong"));
    home.kitten.stop();
    CHECK(logged() == 4);
  }

  TEST_CASE("an on_start that throws is a start that fails, whatever it throws, and leaves nothing behind") {
    for (const std::string how : {"exception", "number"}) {
      CAPTURE(how);
      Home home;
      bool fine = false;
      home.kitten.on_start([&] {
        if (!fine) throw_it(how);
      });
      CHECK_THROWS_AS(home.kitten.start_thread(), kt::StartError);
      CHECK_THROWS_AS(home.kitten.start(), kt::StartError);
      CHECK(!home.kitten.try_start().empty());
      CHECK(!home.kitten.running());
      CHECK(!std::filesystem::exists(home.state / "Kitty.url"));
      fine = true;
      home.start();
      CHECK(home.result("ping").contains("pong"));
    }
  }

  TEST_CASE("an on_start that throws on the host's loop ends the service, not the loop") {
    for (const std::string how : {"exception", "number"}) {
      CAPTURE(how);
      TempDir files;
      asio::io_context loop;
      kt::Kitten kitten(loop, "testkitten", "Kitty");
      kitten.settings().app_state_dir = kitten.settings().app_data_dir = files.path();
      kitten.on_start([&] { throw_it(how); });
      kitten.start();
      CHECK_NOTHROW(loop.run());
      CHECK(!kitten.running());
      CHECK(!std::filesystem::exists(files / "Kitty.sock"));
    }
  }

  TEST_CASE("an on_shutdown that throws is logged, whatever it throws, and the service ends") {
    for (const std::string how : {"exception", "number"}) {
      CAPTURE(how);
      Home home;
      home.kitten.on_shutdown([&] { throw_it(how); });
      home.kitten.start();
      CHECK_NOTHROW(home.kitten.stop());
      CHECK(!home.kitten.running());
      CHECK(contains(home.log(), "on_shutdown: "));
      home.start();
      home.kitten.stop();
      CHECK(!home.kitten.running());
    }
  }

  TEST_CASE("hooks of options, authenticators and routers that throw refuse, whatever they throw") {
    for (const std::string how : {"exception", "number"}) {
      CAPTURE(how);
      Home home;
      std::string throws_now;
      std::string wanted = "x";
      home.kitten.option("wanted", wanted, "", [&] { throw_it(how); });
      home.kitten.authenticator([&](const kt::Request& request) {
        if (throws_now == "authenticator") throw_it(how);
        return request.authenticated();
      });
      home.kitten.router([&](const kt::Request&) -> std::optional<kt::RouteTo> {
        if (throws_now == "router") throw_it(how);
        return std::nullopt;
      });
      home.kitten.start();
      const auto answer = [&](const std::string& request) {
        Wire wire = Wire::tcp(home.kitten);
        wire.send(request);
        for (int i = 0; i < 2000 && wire.fd() >= 0; ++i) {
          CHECK_NOTHROW(home.kitten.poll());
          pollfd entry{wire.fd(), POLLIN, 0};
          if (::poll(&entry, 1, 1) > 0) break;
        }
        return wire.answer().status;
      };
      CHECK(answer(home.post(home.path("config"), R"({"key": "wanted", "val": "y"})")) == 500);
      for (const char* place : {"authenticator", "router"}) {
        throws_now = place;
        CHECK(answer(home.get(home.path("ping"))) == 403);
      }
      throws_now.clear();
      CHECK(answer(home.get(home.path("ping"))) == 200);
    }
  }
}

TEST_SUITE("client") {
  TEST_CASE("a url file leads to a service, and nothing else is taken for one") {
    const auto address = kt::detail::parse_service_url("http://127.0.0.1:45441/some/prefix/TOKEN\n");
    REQUIRE(address);
    CHECK(address->host == "127.0.0.1");
    CHECK(address->port == 45441);
    CHECK(address->path == "/some/prefix/TOKEN");
    CHECK(kt::detail::parse_service_url("http://[::1]:80/T")->host == "[::1]");
    for (const char* bad : {"", "x", "http://", "http://host", "http://host/T", "http://host:x/T",
                            "http://host:99999/T", "https://host:1/T", "http://host:1"}) {
      CAPTURE(bad);
      CHECK_FALSE(kt::detail::parse_service_url(bad));
    }
  }

  TEST_CASE("calls come back as values, documents, items and exceptions") {
    Home home;
    Calculator calculator{2};
    register_everything(home.kitten, calculator);
    home.kitten.api("document", [] { return kt::Result{"image/gif", "GIF\xff"}; });
    home.start();
    for (const bool local : {true, false}) {
      for (const bool msgpack : {true, false}) {
        const kt::Client client = client_of(home, {.use_unix_socket = local, .use_msgpack = msgpack});
        CHECK(client.call("add", kt::arg("a") = 1) == 2);
        CHECK(client.call("document") == json{{"mimetype", "image/gif"}, {"data", kt::bytes("GIF\xff")}});
        CHECK(client.call<kt::Result>("document").mime_type == "image/gif");
        CHECK(client.call<kt::Result>("document").data == "GIF\xff");
        CHECK(client.call<kt::Bytes>("document").size() == 4);
        CHECK(client.call("echo", kt::Bytes{0xff}) == kt::bytes("\xff"));
        CHECK(client.call("echo", kt::arg("value") = kt::Bytes{0xff}) == kt::bytes("\xff"));
        int count = 0;
        for (const json& item : client.stream("stream", 3)) {
          CHECK(item == long_text);
          ++count;
        }
        CHECK(count == 3);
        CHECK_THROWS_AS(client.call("add", "x"), kt::InvalidArgument);
        CHECK_THROWS_AS(client.call("unknown"), kt::NotFound);
        CHECK_THROWS_AS(client.call("fail", "denied"), kt::PermissionDenied);
        CHECK_THROWS_WITH_AS(client.call("fail"), "HTTP 500: secret /path/inside", kt::Error);
        try {
          client.call("fail", "need");
          FAIL("no exception");
        } catch (const kt::NeedInfo& need) {
          REQUIRE(need.needed().size() == 1);
          CHECK(need.needed()[0].comment == "Login");
          CHECK(std::string(need.what()) == "who are you?");
        }
        for (const char* name : {"a b", "a/b", "a?b", "a\r\nX: y", ""}) CHECK_THROWS_AS(client.call(name), kt::Error);
      }
    }
  }

  TEST_CASE("results become what was asked for, or say why they cannot") {
    TempDir dir;
    Counter service(dir.path());
    service.start_thread();
    const kt::Client client = service.connect();
    CHECK(client.call<int>("add", 1, 2) == 3);
    CHECK(client.call<double>("add", 1, 2) == 3.0);
    CHECK(client.call<std::optional<int>>("nothing") == std::nullopt);
    client.call<void>("add", 1, 2);
    CHECK(client.call<std::string>("page") == "<p>");
    CHECK(client.call<kt::Result>("add", 1, 2).data == "3");
    CHECK(client.call<Spot>("scale", Spot{1, 2}).y == 4);
    CHECK(client.call<Spot>("scale", json{{"x", 1}, {"y", 2}}, kt::arg("factor") = 3).y == 6);
    CHECK(failure([&] { client.call<std::string>("add", 1, 2); }) == "add: unexpected result: expected str, got 3");
    CHECK_THROWS_AS(client.call<Spot>("add", 1, 2), kt::ConnectionError);
    CHECK_THROWS_AS(client.call("add", kt::arg("a")), std::invalid_argument);
    // After all that, the connection is still the same and in order.
    CHECK(client.call<int>("add", 2, 2) == 4);
  }

  TEST_CASE("methods are called by their functions, with the types of these") {
    TempDir dir;
    Counter service(dir.path());
    service.start_thread();
    const kt::Client client = service.connect();
    static_assert(std::is_same_v<decltype(client.call(&Counter::add, 1, 2)), int>);
    static_assert(std::is_same_v<decltype(client.call(&Counter::nothing)), void>);
    static_assert(std::is_same_v<decltype(client.call(&Counter::later, "x")), std::string>);
    static_assert(std::is_same_v<decltype(client.stream(&Counter::count, 1, "x")), kt::Stream<std::string>>);
    static_assert(std::is_same_v<decltype(client.call(&Counter::count, 1, "x")), kt::Stream<std::string>>);
    static_assert(std::is_same_v<decltype(client.async_call(&Counter::later, "x")), kt::Task<std::string>>);
    static_assert(!kt::detail::fits_parameter<int, double>() && !kt::detail::fits_parameter<int, bool>());
    static_assert(!kt::detail::fits_parameter<bool, const char*>() && !kt::detail::fits_parameter<bool, int>());
    static_assert(!kt::detail::fits_parameter<std::string, int>() && !kt::detail::fits_parameter<int, const char*>());
    static_assert(!kt::detail::fits_parameter<std::string, std::nullptr_t>());
    static_assert(kt::detail::fits_parameter<double, int>() && kt::detail::fits_parameter<long, short>());
    static_assert(kt::detail::fits_parameter<std::optional<int>, std::nullptr_t>());
    static_assert(kt::detail::fits_parameter<std::optional<std::string>, const char(&)[2]>());
    CHECK(client.call(&Counter::add, 1, 2) == 3);
    CHECK(client.call(&Counter::add, 1, kt::arg("b") = 3) == 4);
    CHECK(client.call(&Counter::scale, Spot{1, 2}, 2, nullptr).y == 4);
    CHECK_THROWS_AS(client.call(&Counter::scale, Spot{}, 2.5f, "no"), kt::InvalidArgument);
    CHECK(client.call(&Counter::later, "x"s) == "x!");
    CHECK(client.call(&Counter::page).data == "<p>");
    CHECK(client.call(plain_twice, 21) == 42);
    client.call(&Counter::nothing);
    std::string all;
    for (const std::string& item : client.stream(&Counter::count, 3, "n")) all += item;
    CHECK(all == "n0n1n2");
    CHECK(contains(failure([&] { client.call(&Counter::unknown, 1); }), "add it with api()"));
    const kt::Client other = kt::Client::connect("counter", "Kitty", {.state_directory = dir.path()});
    CHECK(contains(failure([&] { other.call(&Counter::add, 1, 2); }), "call by name"));
    CHECK_THROWS_AS(other.call(&Counter::add, 1, 2), std::invalid_argument);
  }

  TEST_CASE("a stream that is dropped ends at the service, whichever way it was read") {
    Home home;
    Happening began, ended;
    struct Ending {
      Happening& happening;
      ~Ending() { happening.happen(); }
    };
    home.kitten.api("forever", [&]() -> kt::Generator<int> {
      const Ending ending{ended};
      began.happen();
      for (int i = 0;; ++i) {
        co_yield i;
        co_await kt::sleep_for(1ms);
      }
    });
    home.start();
    const kt::Client client = client_of(home);
    {
      auto items = client.stream<int>("forever");
      CHECK(items.next() == 0);
      CHECK(items.next() == 1);
    }
    CHECK(ended.happened(1));
    for (const int item : client.stream<int>("forever")) {
      if (item == 3) break;
    }
    CHECK(ended.happened(2));
    asio::io_context loop;
    asio::co_spawn(
        loop,
        [](kt::Client kitty) -> kt::Task<> {
          auto items = kitty.async_stream<int>("forever");
          for (int i = 0; i < 3; ++i) co_await items.next();
        }(client),
        asio::detached);
    loop.run();
    CHECK(ended.happened(3));
    // The frame goes while it waits.
    {
      asio::io_context abandoned;
      asio::co_spawn(
          abandoned,
          [](kt::Client kitty) -> kt::Task<> {
            auto items = kitty.async_stream<int>("forever");
            while (co_await items.next()) {
            }
          }(client),
          asio::detached);
      while (began.count() < 4) abandoned.run_one_for(10ms);
    }
    CHECK(ended.happened(4));
  }

  TEST_CASE("an error in the middle of a stream is thrown, an item that only looks like one is not") {
    Home home;
    home.kitten.api("breaks", []() -> kt::Generator<json> {
      co_yield json(1);
      throw kt::Error(500, "worn out");
    });
    home.kitten.api("talks", []() -> kt::Generator<json> {
      json item = json::object();
      item["error"] = "not really";
      co_yield json(1);
      co_yield item;
      co_yield item;
      co_yield json(2);
      co_yield item;
    });
    home.start();
    const kt::Client client = client_of(home);
    auto items = client.stream("breaks");
    CHECK(items.next() == 1);
    CHECK(failure([&] { items.next(); }) == "HTTP 500: worn out");
    CHECK_FALSE(items.next());
    json all = json::array();
    for (const json& item : client.stream("talks")) all.push_back(item);
    const json error{{"error", "not really"}};
    CHECK(all == json::array({1, error, error, 2, error}));
  }

  TEST_CASE("a service that is not there is not running, one that left its files behind neither") {
    TempDir dir;
    const auto connect = [&] { return kt::Client::connect("app", "worker", {.state_directory = dir.path()}); };
    CHECK_THROWS_AS(connect(), kt::NotRunning);
    write_file(dir / "worker.url", "");
    CHECK_THROWS_AS(connect(), kt::NotRunning);
    write_file(dir / "worker.url", "garbage");
    CHECK(contains(failure(connect), "not the url file"));
    CHECK_THROWS_AS(connect(), kt::NotRunning);
    const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    REQUIRE(::bind(socket, reinterpret_cast<sockaddr*>(&address), size) == 0);  // bound but not listening: refused
    REQUIRE(::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    write_file(dir / "worker.url", "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port)) + "/TOKEN");
    CHECK_THROWS_AS(connect(), kt::NotRunning);
    ::close(socket);
    CHECK_THROWS_AS(kt::Client::connect("../x"), kt::InvalidArgument);
    CHECK_THROWS_AS(kt::Client::connect("app", "a/b"), kt::InvalidArgument);
  }

  TEST_CASE("whoever answers without knowing us is not the service") {
    Home home;
    home.start();
    write_file(home.state / "Kitty.url", home.kitten.url() + "/WRONGTOKEN");
    CHECK(contains(failure([&] { client_of(home); }), "403"));
    Scripted other([](Scripted::Talk& talk) {
      talk.request();
      talk.answer("[1]");
    });
    CHECK_THROWS_AS(kt::Client::connect("app", "worker", {.state_directory = other.dir.path()}), kt::NotRunning);
  }

  TEST_CASE("connections are kept, for services that say how long their answers are") {
    Scripted service([](Scripted::Talk& talk) {
      std::string seen;
      while (!(seen = talk.request()).empty())
        talk.answer(json(seen).dump(-1, ' ', true, json::error_handler_t::replace));
    });
    const kt::Client client = service.client();
    const std::string first = client.call<std::string>("ping");
    CHECK(first.starts_with("POST /TOKEN/ping HTTP/1.1\nConnection: close\nContent-Type: application/x-msgpack\n"));
    for (int i = 0; i < 10; ++i) {
      const std::string later = client.call<std::string>("ping", i);
      CHECK(later.starts_with("POST /TOKEN/ping HTTP/1.1\r\nHost: localhost\r\nContent-Type: "));
      CHECK_FALSE(contains(later, "Connection"));
    }
    // Whether the service closed after the first answer, as it was told to, is its business.
    CHECK(service.connections() <= 2);
  }

  TEST_CASE("a connection that has ended, or has something to say, is not used again (140)") {
    for (const bool talkative : {true, false}) {
      CAPTURE(talkative);
      Happening over;
      Scripted service([&](Scripted::Talk& talk) {
        talk.request();
        talk.answer("1");
        if (talkative) {
          talk.answer("99");
        } else {
          ::shutdown(talk.fd(), SHUT_RDWR);
        }
        over.happen();
        talk.request();
      });
      const kt::Client client = service.client();
      for (int i = 1; i <= 4; ++i) {
        CHECK(client.call<int>("x") == 1);
        CHECK(over.happened(i));
      }
      CHECK(service.connections() == 4);
    }
  }

  TEST_CASE("a reset of a kept connection is tried again, once and only if it cannot have been run (141)") {
    // Resets instead of answering: unread bytes make a close() of a unix socket one.
    const auto reset = [](Scripted::Talk& talk) {
      pollfd entry{talk.fd(), POLLIN, 0};
      ::poll(&entry, 1, 10'000);
      talk.abrupt = true;
    };
    Happening done;
    Scripted service([&](Scripted::Talk& talk) {
      if (talk.number == 0 || talk.number == 2) talk.request(), talk.answer("1");
      if (talk.number == 1) {
        talk.request(), talk.answer("1");
        reset(talk);
      }
      if (talk.number == 2) ::shutdown(talk.fd(), SHUT_RDWR);
      if (talk.number == 3) reset(talk);
      done.happen();
    });
    const kt::Client client = service.client();
    CHECK(client.call("x") == 1);  // which dialect?
    CHECK(client.call("x") == 1);  // kept from here on
    CHECK(client.call("x") == 1);  // reset, and tried again
    CHECK(done.happened(3));
    CHECK_THROWS_AS(client.call("x"), kt::ConnectionError);  // a fresh one
    CHECK(service.connections() == 4);
  }

  TEST_CASE("a request that a kept connection swallowed is not repeated (141)") {
    Scripted service([&](Scripted::Talk& talk) {
      talk.request();
      talk.answer("1");
      talk.request();  // in vain on the first connection: its request asked the service to close it
    });
    const kt::Client client = service.client();
    CHECK(client.call("x") == 1);
    CHECK(client.call("x") == 1);
    CHECK(contains(failure([&] { client.call("x"); }), "closed the connection without an answer"));
    CHECK(service.connections() == 2);
  }

  TEST_CASE("a service that was restarted is found again, with its new token") {
    Home home;
    home.kitten.api("one", [] { return 1; });
    home.start();
    const kt::Client client = client_of(home);
    for (int i = 0; i < 3; ++i) {
      const std::string token = home.kitten.token();
      CHECK(client.call("one") == 1);
      home.kitten.stop();
      CHECK_THROWS_AS(client.call("one"), kt::NotRunning);
      home.kitten.start_thread();
      CHECK(home.kitten.token() != token);
      CHECK(client.call("one") == 1);
    }
  }

  TEST_CASE("each timeout is named when it runs out, and the next call is not disturbed (139)") {
    Happening over;
    Scripted service([&](Scripted::Talk& talk) {
      const std::string request = talk.request();
      const auto wait = [&] { static_cast<void>(over.happened()); };
      if (contains(request, "/silent")) wait();
      if (contains(request, "/halfhead")) talk.say("HTTP/1.1 200 OK\r\nX: "), wait();
      if (contains(request, "/half ")) talk.say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n1234"), wait();
      if (contains(request, "/slow")) {
        talk.say("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
        while (over.count() == 0) {
          talk.say("x");
          std::this_thread::sleep_for(1ms);
        }
      }
      if (contains(request, "/items")) {
        talk.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n1\r\n1\r\n");
        wait();
      }
      if (contains(request, "/fine")) talk.answer("1");
    });
    // Only the one that is meant can run out: a loaded machine may pause anywhere, for longer than the others last.
    const auto with = [&](std::chrono::milliseconds kt::Timeouts::*limit, std::chrono::milliseconds value) {
      kt::Timeouts all;
      all.connect = all.first_byte = all.idle = all.stream_idle = all.total = 10min;
      all.*limit = value;
      return service.client(all);
    };
    const kt::Client first_byte = with(&kt::Timeouts::first_byte, 40ms);
    const kt::Client idle = with(&kt::Timeouts::idle, 40ms);
    const kt::Client total = with(&kt::Timeouts::total, 150ms);
    const kt::Client stream_idle = with(&kt::Timeouts::stream_idle, 40ms);
    CHECK(contains(failure([&] { first_byte.call("silent"); }), "timeout 'first_byte'"));
    CHECK(contains(failure([&] { first_byte.call("halfhead"); }), "timeout 'first_byte'"));
    CHECK(contains(failure([&] { idle.call("half"); }), "timeout 'idle'"));
    CHECK(contains(failure([&] { total.call("slow"); }), "timeout 'total'"));
    auto items = stream_idle.stream("items");
    CHECK(items.next() == 1);
    CHECK(contains(failure([&] { items.next(); }), "timeout 'stream_idle'"));
    CHECK_FALSE(items.next());
    CHECK(stream_idle.call("fine") == 1);
    // The same for coroutines.
    for (const auto& [client, method, name] :
         {std::tuple{&first_byte, "silent", "'first_byte'"}, {&idle, "half", "'idle'"}, {&total, "slow", "'total'"}}) {
      asio::io_context loop;
      auto result = asio::co_spawn(loop, client->async_call(method), asio::use_future);
      loop.run();
      CHECK(contains(failure([&] { result.get(); }), name));
    }
    over.happen();
  }

  TEST_CASE("an answer that comes in the same turn of the loop as its deadline has come in time (69)") {
    bool soon_enough = false;
    for (auto limit = 50ms; !soon_enough; limit *= 2) {
      Happening asked, answered;
      Scripted service([&](Scripted::Talk& talk) {
        while (!talk.request().empty()) {
          CHECK(asked.happened());
          talk.answer("7");
          answered.happen();
        }
      });
      const auto begin = std::chrono::steady_clock::now();
      const kt::Client client = service.client({.total = limit});
      asio::io_context loop;
      auto result = asio::co_spawn(loop, client.async_call<int>("x"), asio::use_future);
      loop.poll();
      soon_enough = std::chrono::steady_clock::now() - begin < limit;
      asked.happen();
      if (!soon_enough) continue;
      CHECK(answered.happened());
      std::this_thread::sleep_until(begin + 3 * limit);
      loop.restart();
      loop.run();
      CHECK(result.get() == 7);
    }
  }

  TEST_CASE("a backlog that stays full is a timeout, and waiting for it blocks no loop") {
    TempDir dir;
    const kt::Fd listener = kt::detail::listen_unix(dir / "worker.sock", 0);
    write_file(dir / "worker.url", "http://unix-domain:0/TOKEN");
    const auto address = kt::detail::unix_address(dir / "worker.sock");
    std::vector<kt::Fd> waiting;
    for (;;) {
      waiting.push_back(kt::detail::open_stream_socket(AF_UNIX));
      if (::connect(waiting.back().get(), address->get(), address->size) != 0) break;
    }
    kt::ClientOptions options;
    options.timeouts.connect = 50ms;
    kt::Settings settings;
    settings.app_state_dir = dir.path();
    const kt::Client client = kt::ClientAccess::make(settings, options);
    CHECK(contains(failure([&] { client.call("x"); }), "timeout 'connect'"));
    asio::io_context loop;
    auto first = asio::co_spawn(loop, client.async_call("x"), asio::use_future);
    auto second = asio::co_spawn(loop, client.async_call("x"), asio::use_future);
    const auto begin = std::chrono::steady_clock::now();
    loop.run();
    CHECK(std::chrono::steady_clock::now() - begin < 10s);
    CHECK(contains(failure([&] { first.get(); }), "timeout 'connect'"));
    CHECK(contains(failure([&] { second.get(); }), "timeout 'connect'"));
  }

  TEST_CASE("Python services get bare LF, a connection for each request, and are understood") {
    std::vector<std::string> seen;
    Scripted service([&](Scripted::Talk& talk) {
      const std::string request = talk.request();
      seen.push_back(request);
      if (contains(request, "/value"))
        talk.say("HTTP/1.1 200 OK\nContent-Type: application/json\nConnection: close\n\n{\"a\": 1}\n");
      if (contains(request, "/empty")) talk.say("0\r\n\r\n");
      if (contains(request, "/items"))
        talk.say(
            "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nContent-Type: application/json\nConnection: close\n\n"
            "0\r\n\r\n2\r\n1\n\r\n0\r\n\r\n0\r\n\r\n2\r\n2\n\r\n0\r\n\r\n");
    });
    const kt::Client client = service.client();
    CHECK(client.call("value", 1, kt::arg("b") = 2) == json{{"a", 1}});
    CHECK(client.call("value") == json{{"a", 1}});
    CHECK_FALSE(client.stream("empty").next());
    std::vector<int> items;
    for (const int item : client.stream<int>("items")) items.push_back(item);
    CHECK(items == std::vector{1, 2});
    REQUIRE(seen.size() == 4);
    for (const std::string& request : seen) {
      CHECK_FALSE(contains(request, "\r"));
      CHECK_FALSE(contains(request, "Host"));
      CHECK(contains(request, "\nConnection: close\n"));
    }
    CHECK(
        seen[0].ends_with("\n\n\x82\xa1"
                          "b\x02\xa5_args\x91\x01"));
    CHECK(service.connections() == 4);
  }

  TEST_CASE("a service that refuses msgpack is asked again in JSON, once for all") {
    std::atomic<int> refused = 0;
    Scripted service([&](Scripted::Talk& talk) {
      for (std::string request; !(request = talk.request()).empty();) {
        if (contains(request, "application/json")) {
          talk.answer("7");
        } else {
          ++refused;
          talk.say(
              "HTTP/1.1 415 Unsupported Media Type\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
        }
      }
    });
    const kt::Client client = service.client();
    for (int i = 0; i < 3; ++i) CHECK(client.call("x") == 7);
    CHECK(refused == 1);
  }

  TEST_CASE("an answer that comes before the request was read is taken (142)") {
    Scripted service([](Scripted::Talk& talk) {
      talk.say(
          "HTTP/1.1 413 Content Too Large\r\nContent-Type: application/json\r\nContent-Length: 17\r\nConnection: "
          "close\r\n\r\n{\"error\": \"long\"}");
      ::shutdown(talk.fd(), SHUT_RD);
      talk.request();
    });
    const kt::Client client = service.client();
    CHECK(failure([&] { client.call("x", std::string(4 << 20, 'x')); }) == "HTTP 413: long");
  }

  TEST_CASE("open files are given by position, by name, and in lists, and come back") {
    Home home;
    home.kitten.api(
        "join",
        [](std::vector<kt::File> first, std::optional<kt::Fd> last, std::string between) {
          std::string text;
          for (const kt::File& file : first) text += all_of(file) + between;
          return last ? text + all_of(*last) : text;
        },
        kt::arg("first"), kt::arg("last") = nullptr, kt::arg("between") = "");
    home.kitten.api(
        "open", [](std::string path) { return std::pair<std::string, kt::File>("here", kt::File::open(path)); },
        kt::arg("path"));
    home.start();
    const int before = open_descriptors();
    {
      const auto file = [&](const std::string& text) { return file_with(home.state / "f" + text, text); };
      const auto files = [&](const std::string& a, const std::string& b) {
        std::vector<kt::File> list;
        list.push_back(file(a));
        list.push_back(file(b));
        return list;
      };
      for (const kt::Client& client : {home.kitten.connect(), home.kitten.loopback()}) {
        CHECK(client.call<std::string>("join", files("a", "b"), file("c"), "-") == "a-b-c");
        CHECK(client.call<std::string>("join", kt::arg("last") = file("c"), kt::arg("first") = files("a", "b")) ==
              "abc");
        CHECK(client.call<std::string>("join", files("a", "b"), kt::arg("last") = file("c")) == "abc");
        CHECK(client.call<std::string>("join", std::vector<kt::File>(), kt::arg("between") = "x") == "");
        const auto opened = client.call<std::pair<std::string, kt::File>>("open", home.state / "fa");
        CHECK(opened.first == "here");
        CHECK(all_of(opened.second) == "a");
        CHECK(client.call("open", home.state / "fa") == json::array({"here", "_FD_BRE_MAGIC_-rb"}));
        CHECK_THROWS_AS(client.call<kt::Socket>("open", home.state / "fa"), kt::ConnectionError);
      }
    }
    CHECK(eventually([&] { return open_descriptors() <= before + 2; }));  // one connection may be kept
  }

  TEST_CASE("calls with descriptors share a kept connection, and get another one when that has ended") {
    Home home;
    std::set<const kt::Peer*> connections;
    home.kitten.api(
        "read",
        [&](kt::Request& request, kt::File file) {
          connections.insert(&request.peer());
          return all_of(file);
        },
        "", kt::arg("file"));
    home.start();
    std::ofstream(home.state / "f") << "here";
    const auto file = [&] { return kt::File::open(home.state / "f"); };
    const kt::Client client = home.kitten.connect();
    CHECK(client.call<std::string>("read", file()) == "here");  // asks with what dialect is spoken, too
    connections.clear();
    for (int i = 0; i < 5; ++i) CHECK(client.call<std::string>("read", file()) == "here");
    CHECK(connections.size() == 1);

    home.kitten.stop();
    home.kitten.start_thread();
    CHECK(client.call<std::string>("read", file()) == "here");
  }

  TEST_CASE("eight threads make ten thousand calls on one client, over a few kept connections") {
    Home home;
    home.kitten.api(
        "add", [](int a, int b) { return a + b; }, kt::arg("a"), kt::arg("b"));
    home.start();
    const kt::Client client = home.kitten.connect();
    std::atomic<int> right = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 1250; ++i) right += client.call<int>("add", t, i) == t + i ? 1 : 0;
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(right == 10'000);
  }

  TEST_CASE("eight threads share one client") {
    Home home;
    home.kitten.api(
        "echo", [](json value) { return value; }, "", kt::arg("value"));
    home.kitten.api(
        "items",
        [](int n) -> kt::Generator<int> {
          for (int i = 0; i < n; ++i) co_yield i;
        },
        "", kt::arg("n"));
    home.start();
    const kt::Client client = client_of(home);
    std::atomic<int> wrong = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&, t] {
        const kt::Client mine = client;
        for (int i = 0; i < 100; ++i) {
          if (mine.call<std::string>("echo", std::to_string(t * 1000 + i)) != std::to_string(t * 1000 + i)) ++wrong;
          int sum = 0;
          if (i % 10 == 0) {
            for (const int item : mine.stream<int>("items", 10)) sum += item;
            if (sum != 45) ++wrong;
          }
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(wrong == 0);
  }

  TEST_CASE("calls overlap in coroutines, and one that is cancelled closes its connection") {
    Home home;
    Happening ended;
    home.kitten.api(
        "sleep",
        [](double seconds) -> kt::Task<double> {
          co_await kt::sleep_for(std::chrono::milliseconds(static_cast<int>(seconds * 1000)));
          co_return seconds;
        },
        "", kt::arg("seconds"));
    struct Ending {
      Happening& happening;
      ~Ending() { happening.happen(); }
    };
    home.kitten.api("forever", [&ended]() -> kt::Task<> {
      const Ending ending{ended};
      for (;;) co_await kt::sleep_for(1ms);
    });
    home.start();
    for (const bool local : {true, false}) {
      const kt::Client client = client_of(home, {.use_unix_socket = local});
      asio::io_context loop;
      const auto begin = std::chrono::steady_clock::now();
      std::vector<std::future<double>> results;
      for (int i = 0; i < 20; ++i)
        results.push_back(asio::co_spawn(loop, client.async_call<double>("sleep", 0.2), asio::use_future));
      loop.run();
      for (auto& result : results) CHECK(result.get() == 0.2);
      CHECK(std::chrono::steady_clock::now() - begin < 3s);

      loop.restart();
      asio::cancellation_signal stop;
      std::exception_ptr thrown;
      asio::co_spawn(loop, client.async_call<void>("forever"),
                     asio::bind_cancellation_slot(stop.slot(), [&](std::exception_ptr error) { thrown = error; }));
      asio::steady_timer timer(loop, 30ms);
      timer.async_wait([&](const asio::error_code&) { stop.emit(asio::cancellation_type::terminal); });
      loop.run();
      CHECK(thrown);
      CHECK(ended.happened(local ? 1 : 2));
      CHECK(client.call("ping")["pong"] == true);
    }
  }

  TEST_CASE("descriptors go and come, in their order, and none is left open") {
    Home home;
    home.kitten.api(
        "read",
        [](kt::File a, std::string between, kt::Fd b) {
          std::string text[2];
          CHECK(kt::detail::read_all(a.get(), text[0], 100));
          CHECK(kt::detail::read_all(b.get(), text[1], 100));
          return text[0] + between + text[1] + a.mode();
        },
        "", kt::arg("a"), kt::arg("between"), kt::arg("b"));
    home.kitten.api(
        "open",
        [](std::vector<std::string> paths) {
          std::vector<kt::File> files;
          for (const std::string& path : paths) files.push_back(kt::File::open(path));
          return files;
        },
        "", kt::arg("paths"));
    home.kitten.api(
        "open_one", [](std::string path) { return kt::File::open(path); }, "", kt::arg("path"));
    home.start();
    write_file(home.state / "a", "first");
    write_file(home.state / "b", "second");
    for (const bool msgpack : {true, false}) {
      const kt::Client client = client_of(home, {.use_msgpack = msgpack});
      client.call("ping");
      const int before = open_descriptors();
      for (int i = 0; i < 3; ++i) {
        CHECK(client.call<std::string>("read", kt::File::open(home.state / "a"), " and ",
                                       kt::Fd(::open((home.state / "b").c_str(), O_RDONLY))) == "first and secondrb");
        {
          const auto files =
              client.call<std::vector<kt::File>>("open", std::vector{home.state / "b", home.state / "a"});
          REQUIRE(files.size() == 2);
          std::string text;
          CHECK(kt::detail::read_all(files[0].get(), text, 100));
          CHECK(kt::detail::read_all(files[1].get(), text, 100));
          CHECK(text == "secondfirst");
        }
        CHECK(client.call<kt::Fd>("open_one", home.state / "a"));
        CHECK(client.call("open_one", home.state / "a") == json::array({"_FD_BRE_MAGIC_-rb"}));  // nobody takes it
        CHECK_THROWS_AS(client.call<kt::Socket>("open_one", home.state / "a"), kt::ConnectionError);
        asio::io_context loop;
        auto text = asio::co_spawn(loop,
                                   client.async_call<std::string>("read", kt::File::open(home.state / "a"), "",
                                                                  kt::File::open(home.state / "b")),
                                   asio::use_future);
        loop.run();
        CHECK(text.get() == "firstsecondrb");
      }
      // Ours, at both ends.
      CHECK(eventually([&] { return open_descriptors() <= before + 2; }));
    }
    const kt::Client tcp = client_of(home, {.use_unix_socket = false});
    CHECK(failure([&] { tcp.call("read", kt::File::open(home.state / "a"), "", kt::Fd(::dup(0))); }) ==
          "file descriptors cannot be sent over TCP");
  }

  TEST_CASE("an answer goes to a file, and a request is passed on to another service") {
    Home back("Back");
    back.kitten.api(
        "count",
        [](int n) -> kt::Generator<int> {
          for (int i = 0; i < n; ++i) co_yield i;
        },
        "", kt::arg("n"));
    back.kitten.api("text", [] { return std::string("from behind"); });
    back.start();
    const kt::Client behind = kt::Client::connect("testkitten", "Back", {.state_directory = back.state.path()});
    Home front;
    front.kitten.api("text", [behind](kt::Request& request) -> kt::Task<std::string> {
      const json answer = co_await behind.async_call("text", kt::reply_to(request));
      CHECK(answer == json{{"replied_to_first_fd", true}});
      co_return "ignored";
    });
    front.kitten.api(
        "count",
        [behind](kt::Request& request, int n) -> kt::Generator<int> {
          co_yield -1;
          co_await behind.async_call<void>("count", kt::reply_to(request), n);
        },
        "", kt::arg("n"));
    front.kitten.api("refused", [behind](kt::Request& request) -> kt::Task<std::string> {
      std::string why;
      try {
        co_await behind.async_call<void>("unknown", kt::reply_to(request));
      } catch (const kt::NotFound& error) {
        why = error.what();
      }
      co_return why;
    });
    front.start();
    for (const bool local : {true, false}) {
      for (const bool msgpack : {true, false}) {
        const kt::Client client = client_of(front, {.use_unix_socket = local, .use_msgpack = msgpack});
        CHECK(client.call("text") == "from behind");
        std::vector<int> items;
        for (const int item : client.stream<int>("count", 3)) items.push_back(item);
        CHECK(items == std::vector{-1, 0, 1, 2});
        CHECK(client.call("refused") == "HTTP 404: Not Found");
      }
    }
    {
      const kt::File file = kt::File::open(back.state / "out", "wb");
      CHECK(behind.call("text", kt::reply_to(file)) == json{{"replied_to_first_fd", true}});
    }
    CHECK(eventually([&] { return contains(contents(back.state / "out"), "from behind"); }));
  }

  TEST_CASE("a client starts the program that it names, once, and hears why it cannot") {
    const Program kitten("kitten");
    kt::ClientOptions options;
    options.state_directory = kitten.state.path();
    const auto start = [&](const std::string& program) {
      return kt::Client::connect("mykitten", "Kitty", kt::auto_start(program), options);
    };
    CHECK(contains(failure([&] { start("/does/not/exist"); }), "cannot start /does/not/exist"));
    CHECK(contains(failure([&] { start("/bin/false"); }), "exit code 1"));
    const int before = open_descriptors();
    std::vector<std::future<bool>> starts;
    for (int i = 0; i < 4; ++i) {
      starts.push_back(
          std::async(std::launch::async, [&] { return start(kitten.path()).call("ping")["pong"] == true; }));
    }
    for (auto& started : starts) CHECK(started.get());
    CHECK(open_descriptors() == before);
    const std::string url = kitten.url();
    CHECK(start("/bin/false").call<kt::Result>("meow").mime_type == "text/plain");
    CHECK(kitten.url() == url);
  }

  TEST_CASE("a program starts itself as its service; one that cannot be it says so instead of starting more") {
    TempDir dir;
    kt::Kitten kitten("prompting", "Kitty");
    kitten.settings().app_state_dir = kitten.settings().app_data_dir = dir.path();
    CHECK_THROWS_AS(kitten.connect(), kt::NotRunning);
    ::setenv(as_service, "client", 1);
    CHECK(contains(failure([&] { kitten.connect(kt::auto_start); }), "does not end in Kitten::main()"));
    ::setenv(as_service, "yes", 1);
    const kt::Client client = kitten.connect(kt::auto_start);
    ::unsetenv(as_service);
    CHECK(client.call("measure") == json{{"progress", 40}});
    client.call("quitquitquit");
    CHECK(eventually([&] { return ::access((dir / "Kitty.lock").c_str(), F_OK) != 0; }));
  }
}

namespace {

// Answers one connection with prepared bytes, as servers in other languages or none at all would.
json answered(const std::string& bytes) {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  std::thread service([&] {
    for (std::string_view rest = bytes; !rest.empty();) {
      const ssize_t n = ::send(ends[1], rest.data(), rest.size(), MSG_NOSIGNAL);
      if (n <= 0) break;  // the client has heard enough
      rest.remove_prefix(static_cast<std::size_t>(n));
    }
    ::shutdown(ends[1], SHUT_WR);
  });
  const kt::Limits limits;
  const kt::Timeouts timeouts;
  json items = json::array();
  using Step = kt::detail::Exchange::Step;
  try {
    kt::detail::Exchange exchange({kt::Fd(ends[0]), true}, "request", {}, limits, timeouts);
    for (Step step = exchange.step(); step != Step::done; step = exchange.step()) {
      if (step == Step::item) {
        items.push_back(exchange.take());
      } else {
        CHECK(kt::detail::wait_for(exchange.socket(), step == Step::want_read ? POLLIN : POLLOUT,
                                   std::chrono::steady_clock::now() + patience));
      }
    }
  } catch (const std::exception& error) {
    items.push_back(std::string("! ") + error.what());
  }
  service.join();
  ::close(ends[1]);
  return items;
}

}  // namespace

TEST_SUITE("client/exchange") {
  TEST_CASE("answers of Python services are understood: bare LF, no length, several end marks, none at all") {
    CHECK(answered("HTTP/1.1 200 OK\nContent-Type: application/json\nConnection: close\n\n{\"a\": 1}\n") ==
          json::array({json{{"a", 1}}}));
    CHECK(answered("HTTP/1.1 200 OK\nContent-Type: text/plain\nConnection: close\n\nMeow\n") ==
          json::array({json{{"mimetype", "text/plain"}, {"data", "Meow\n"}}}));
    CHECK(answered("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nContent-Type: "
                   "application/json\n\n2\r\n1\n\r\n0\r\n\r\n0\r\n\r\n2\r\n2\n\r\n0\r\n\r\n") == json::array({1, 2}));
    CHECK(answered("0\r\n\r\n") == json::array());
    CHECK(answered("0\r\n\r\n0\r\n\r\n") == json::array());  // passed on by another service
    CHECK(contains(answered("")[0].get<std::string>(), "without an answer"));
  }

  TEST_CASE("what breaks off or is no HTTP is an error, after the items that did arrive (136 to 138, 146)") {
    const std::string whole =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: "
        "application/json\r\n\r\n2\r\n1\n\r\n2\r\n2\n\r\n0\r\n\r\n";
    CHECK(answered(whole) == json::array({1, 2}));
    for (std::size_t cut = 0; cut < whole.size(); ++cut) {
      CAPTURE(cut);
      const json found = answered(whole.substr(0, cut));
      REQUIRE_FALSE(found.empty());
      CHECK(found.back().is_string());
    }
    for (const char* bad :
         {"garbage\r\n\r\n", "HTTP/1.1 20\r\n\r\n", "HTTP/2.0 200 OK\r\n\r\n",
          "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
          "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
          "HTTP/1.1 200 OK\r\nContent-Type: application/x-msgpack\r\nContent-Length: 1\r\n\r\n\xc1",
          "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n{"}) {
      CAPTURE(bad);
      const json found = answered(bad);
      REQUIRE(found.size() == 1);
      CHECK(found[0].is_string());
    }
  }

  TEST_CASE("an item is a chunk: half of one, two in one and empty ones end the stream (144)") {
    const auto stream = [](const std::string& type, const std::vector<std::string>& chunks) {
      std::ostringstream bytes;
      bytes << "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: " << type << "\r\n\r\n" << std::hex;
      for (const std::string& chunk : chunks) bytes << chunk.size() << "\r\n" << chunk << "\r\n";
      return answered(bytes.str());
    };
    const std::string text = "application/json", packed = "application/x-msgpack", events = "text/event-stream";
    CHECK(stream(text, {"1\n", "", "2\n", ""}) == json::array({1}));
    for (const json& items : {stream(text, {"[1", "]\n", ""}), stream(text, {"1\n2\n", ""}), stream(text, {"\n", ""}),
                              stream(packed, {"\x92\x01", "\x02", ""}), stream(packed, {"\x01\x02", ""}),
                              stream(events, {"data: 1\ndata", "", ""})}) {
      CAPTURE(items);
      REQUIRE(items.size() == 1);
      CHECK(contains(items[0].get<std::string>(), "!"));
    }
  }

  TEST_CASE("answers that nest too deeply, or are no text, are errors (145)") {
    const auto document = [](const std::string& type, const std::string& body) {
      return answered("HTTP/1.1 200 OK\r\nContent-Type: " + type +
                      "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
    };
    for (const json& items : {document("application/json", std::string(100'000, '[')),
                              document("application/json", std::string(100'000, '[') + std::string(100'000, ']')),
                              document("application/x-msgpack", std::string(100'000, '\x91')),
                              document("application/x-msgpack", "\xa1\xff"), document("application/json", "\"\xff\""),
                              document("application/x-msgpack", "\xdd\xff\xff\xff\xff")}) {
      REQUIRE(items.size() == 1);
      CHECK(contains(items[0].get<std::string>(), "!"));
    }
  }

  TEST_CASE("statuses become exceptions, and a 2xx map with an error is one, too") {
    const auto error = [](const std::string& status, const std::string& body) {
      return answered("HTTP/1.1 " + status + "\r\nContent-Type: application/json\r\nContent-Length: " +
                      std::to_string(body.size()) + "\r\n\r\n" + body)[0]
          .get<std::string>();
    };
    CHECK(error("200 OK", R"({"error": "x"})") == "! HTTP 500: x");
    CHECK(error("404 Not Found", R"({"error": "x"})") == "! HTTP 404: x");
    CHECK(error("500 Oops", "[]") == "! HTTP 500: Internal Server Error");
    CHECK(answered("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n") == json::array({nullptr}));
    std::string interim;
    for (int i = 0; i < 20; ++i) interim += "HTTP/1.1 100 Continue\r\n\r\n";
    CHECK(contains(answered(interim)[0].get<std::string>(), "interim"));
  }
}

TEST_SUITE("client/loopback") {
  struct Looping : Home {
    Looping() {
      kitten.api(
          "add", [](int a, int b) { return a + b; }, kt::arg("a"), kt::arg("b") = 1);
      kitten.api(
          "later",
          [](std::string text) -> kt::Task<std::string> {
            co_await kt::sleep_for(1ms);
            co_return text;
          },
          kt::arg("text"));
      kitten.api("count", []() -> kt::Generator<int> {
        for (int i = 0; i < 3; ++i) {
          co_yield i;
          co_await kt::sleep_for(1ms);
        }
      });
      kitten.api("breaks", []() -> kt::Generator<int> {
        co_yield 1;
        throw std::runtime_error("no more");
      });
      kitten.api("fails", [] { throw std::runtime_error("not today"); });
      kitten.api("asks", [] { throw kt::NeedInfo("who?", {{"name"}}); });
      kitten.api("big", [] {
        json all = json::array();
        for (int i = 0; i < 10'000; ++i) all.push_back({{"i", i}, {"bytes", kt::bytes("\x00\xFF"s)}});
        return all;
      });
      kitten.api(
          "size", [](kt::Request& request, kt::File file) { return all_of(file) + request.peer().address; },
          kt::arg("file"));
      kitten.api(
          "open", [](std::string path) { return kt::File::open(path); }, kt::arg("path"));
      kitten.api("passes_on", [](kt::Request& request) { request.take_connection(); });
      kitten.public_api("meow", [] { return kt::text("Meow"); });
    }
  };

  // What a call comes to, exceptions included, as one text.
  std::string outcome(const kt::Client& client, const std::string& method, const json& argument = nullptr) {
    std::string text;
    try {
      if (argument.is_null()) {
        for (const json& item : client.stream(method)) text += item.dump() + ";";
      } else {
        text = client.call(method, argument).dump();
      }
    } catch (const kt::NeedInfo& error) {
      text += std::string("NeedInfo ") + error.what() + error.needed().at(0).name;
    } catch (const kt::NotFound& error) {
      text += std::string("NotFound ") + error.what();
    } catch (const kt::InvalidArgument& error) {
      text += std::string("InvalidArgument ") + error.what();
    } catch (const kt::Error& error) {
      text += std::string("Error ") + std::to_string(error.status()) + error.what();
    } catch (const kt::ConnectionError& error) {
      text += std::string("ConnectionError ") + error.what();
    }
    return text;
  }

  TEST_CASE_FIXTURE(Looping, "calls in the process give what calls over a socket give, running or not") {
    const kt::Client loopback = kitten.loopback();
    std::vector<std::string> idle;
    const std::vector<std::pair<std::string, json>> calls{
        {"add", 3},         {"add", "elephant"}, {"add", "0x10"},    {"later", "x"}, {"later", "\xC3\xA9"},
        {"count", nullptr}, {"breaks", {}},      {"fails", nullptr}, {"asks", {}},   {"big", nullptr},
        {"meow", nullptr},  {"nope", nullptr},   {"nope", 1},        {"fails", 1},   {"help", "add"},
        {"later", nullptr}, {"later", "\xFF"},
    };
    for (const auto& [method, argument] : calls) idle.push_back(outcome(loopback, method, argument));
    start();
    const kt::Client remote = kitten.connect();
    for (std::size_t i = 0; i < calls.size(); ++i) {
      const auto& [method, argument] = calls[i];
      const std::string over_socket = outcome(remote, method, argument);
      CHECK(idle[i] == over_socket);
      CHECK(outcome(loopback, method, argument) == over_socket);
    }
    CHECK(idle[0] == "4");
    CHECK(idle[5] == "0;1;2;");
    CHECK(loopback.call<std::string>("meow") == "Meow");
  }

  TEST_CASE_FIXTURE(Looping, "descriptors go both ways in the process, too") {
    const int before = open_descriptors();
    {
      const kt::Client loopback = kitten.loopback();
      CHECK(loopback.call<std::string>("size", file_with(state / "f", "four")) == "fourloopback");
      CHECK(all_of(loopback.call<kt::File>("open", state / "f")) == "four");
      CHECK_THROWS_AS(loopback.call("passes_on"), kt::Error);
      CHECK_THROWS_AS(loopback.call("add", file_with(state / "f", "four")), kt::InvalidArgument);
    }
    CHECK(open_descriptors() == before);
  }

  TEST_CASE_FIXTURE(Looping, "coroutines call in the process, from the service's thread and from another") {
    const kt::Client loopback = kitten.loopback();
    kitten.api("nested", [&]() -> kt::Task<int> { co_return co_await loopback.async_call<int>("add", 1, 2); });
    kitten.api("waits", [&] { return loopback.call<int>("add", 1, 2); });
    std::string text;
    const auto work = [&]() -> kt::Task<> {
      text += co_await loopback.async_call<std::string>("later", "x");
      auto items = loopback.async_stream<int>("count");
      while (auto item = co_await items.next()) text += std::to_string(*item);
      text += std::to_string(co_await loopback.async_call<int>("nested"));
    };
    const auto run_all = [&] {
      asio::io_context loop;
      asio::co_spawn(loop, work(), [](const std::exception_ptr& error) { CHECK(error == nullptr); });
      loop.run();
    };
    run_all();
    start();
    run_all();
    CHECK(text == "x0123x0123");
    CHECK(loopback.call<int>("nested") == 3);
    CHECK_THROWS_AS(loopback.call("waits"), kt::Error);
  }

  TEST_CASE_FIXTURE(Looping, "a stream that is dropped ends its generator, on the service's thread") {
    std::atomic<bool> ended = false;
    std::thread::id where;
    struct AtEnd {
      std::atomic<bool>* flag;
      std::thread::id* thread;
      ~AtEnd() {
        *thread = std::this_thread::get_id();
        *flag = true;
      }
    };
    kitten.api("endless", [&]() -> kt::Generator<int> {
      const AtEnd at_end{&ended, &where};
      for (int i = 0;; ++i) co_yield i;
    });
    start();
    {
      auto items = kitten.loopback().stream<int>("endless");
      CHECK(items.next() == 0);
      CHECK(items.next() == 1);
    }
    CHECK(eventually([&] { return ended.load(); }));
    CHECK(where != std::this_thread::get_id());
  }
}

// ---- tests/interop/recorded: what Python clients and services send, byte by byte

namespace {

std::string recorded(const std::string& name) {
  const char* folder = std::getenv("KETTLINGAR_RECORDED");
  const auto beside = std::filesystem::path(__FILE__).parent_path() / "tests/interop/recorded";
  const std::filesystem::path path = (folder != nullptr                 ? std::filesystem::path(folder)
                                      : std::filesystem::exists(beside) ? beside
                                                                        : "tests/interop/recorded") /
                                     name;
  REQUIRE_MESSAGE(std::filesystem::exists(path), path << " is missing; KETTLINGAR_RECORDED names its folder");
  return contents(path.string());
}

// A head as a Python client needs it, with the length of `body`.
std::string python_answer(const std::string& status, const std::string& type, const std::string& body) {
  return "HTTP/1.1 " + status + "\nContent-Type: " + type + "\nContent-Length: " + std::to_string(body.size()) +
         "\nConnection: close\n\n" + body;
}
std::string python_document(const std::string& body) {
  std::string answer = python_answer("200 OK", "text/plain", body);
  return answer.insert(answer.find("\n\n") + 1,
                       "Cache-Control: no-store\nX-Content-Type-Options: nosniff\nReferrer-Policy: same-origin\n");
}

std::string python_stream(const std::string& type, const std::vector<std::string>& items) {
  std::string stream = "HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nContent-Type: " + type + "\nConnection: close\n\n";
  for (const std::string& item : items) kt::append_chunk(stream, item);
  return stream + "0\r\n\r\n";
}

std::string packed(const json& value) {
  std::string bytes;
  CHECK_FALSE(kt::encode_msgpack(value, bytes));
  return bytes;
}

// The service that the recorded requests are for.
struct Recorded : Home {
  Recorded() : Home("Kitty") {
    kitten.settings().worker_secret = "SECRET";
    kitten.public_api(
        "meow", [] { return kt::text("Meow world, meow!\n"); }, "Meow.");
    kitten.api(
        "purr",
        [](int count, std::string purr, bool caps) -> kt::Generator<json> {
          if (caps)
            std::transform(purr.begin(), purr.end(), purr.begin(), [](char c) { return static_cast<char>(c - 32); });
          json item = json::object();
          std::string all;
          for (int i = 0; i < count; ++i) {
            all += purr;
            item["purr"] = all;
            co_yield item;
          }
        },
        kt::arg("count") = 1, kt::arg("purr") = "purr", kt::arg("caps") = false);
    kitten.api("freakout", [] { throw std::runtime_error("Nothing is good enough for me!"); });
    kitten.api(
        "echo", [](json value) { return value; }, kt::arg("value"));
    kitten.api(
        "cat",
        [](kt::File file) -> kt::Task<kt::Bytes> {
          const std::string text = co_await kt::async_read_all(file);
          co_return kt::Bytes(text.begin(), text.end());
        },
        kt::arg("file"));
    kitten.api(
        "ping_pong",
        [](std::string ball, int count) -> kt::Generator<std::string> {
          co_yield "I have the " + ball;
          co_yield std::to_string(count);
        },
        kt::arg("ball"), kt::arg("count"));
    start();
  }
  // What comes back, to the end of the connection; sent in one piece, and byte by byte.
  void check(const std::string& request, const std::string& expected) {
    CAPTURE(request);
    for (const bool local : {true, false}) {
      Wire whole = local ? Wire::local(kitten) : Wire::tcp(kitten);
      CHECK(whole.send(recorded(request)).rest() == expected);
      Wire bytes = local ? Wire::local(kitten) : Wire::tcp(kitten);
      for (const char byte : recorded(request)) bytes.send({&byte, 1});
      CHECK(bytes.rest() == expected);
    }
  }
  // The 202, or whatever the caller gets, for a request with a descriptor.
  std::string with_descriptor(const std::string& request, int fd) {
    Wire wire = Wire::local(kitten);
    send_with(wire, recorded(request), {fd});
    return wire.rest();
  }
};

const std::string msgpack_type = "application/x-msgpack", json_type = "application/json";
const std::string accepted = python_answer("202 Accepted", json_type, "{\"replied_to_first_fd\": true}\n");

// A service that gives the same answer to every call but pings, which it answers as a Python service does.
class RecordedPeer {
 public:
  // `piece`: so many bytes at a time. Descriptors go with the first one.
  RecordedPeer(bool local, std::string answer, std::size_t piece, std::vector<int> descriptors = {})
      : local_(local),
        answer_(std::move(answer)),
        piece_(piece),
        descriptors_(std::move(descriptors)),
        listener_(::socket(local ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    std::string url = "http://unix-domain:0/SECRET";
    if (local_) {
      sockaddr_un address{};
      address.sun_family = AF_UNIX;
      const std::string path = state / "odd.sock";
      REQUIRE(path.size() < sizeof address.sun_path);
      std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
      REQUIRE(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    } else {
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      socklen_t size = sizeof address;
      REQUIRE(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
      REQUIRE(::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
      url = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port)) + "/SECRET";
    }
    REQUIRE(::listen(listener_.get(), 16) == 0);
    write_file(state / "odd.url", url);
    thread_ = std::thread([this] { serve(); });
  }
  ~RecordedPeer() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }
  kt::Client client(bool msgpack = true) {
    kt::ClientOptions options;
    options.state_directory = state.path();
    options.use_unix_socket = local_;
    options.use_tcp = !local_;
    options.use_msgpack = msgpack;
    return kt::Client::connect("interop", "odd", options);
  }
  // The last one that was no ping.
  std::string request() {
    const std::lock_guard lock(mutex_);
    return request_;
  }

  TempDir state;

 private:
  void serve() {
    for (;;) {
      const kt::Fd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!connection) return;
      const int on = 1;
      if (!local_) ::setsockopt(connection.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      std::string request = read(connection);
      if (request.starts_with("POST /SECRET/ping ")) {
        answer(connection, recorded(contains(request, json_type) ? "ping_json.answer" : "ping.answer"), {});
      } else {
        {
          const std::lock_guard lock(mutex_);
          request_ = std::move(request);
        }
        answer(connection, answer_, descriptors_);
      }
    }
  }
  static std::string read(const kt::Fd& connection) {
    std::string request;
    char block[4096];
    for (;;) {
      const std::size_t end = request.find("\n\n"), length = request.find("Content-Length: ");
      if (end != std::string::npos && length != std::string::npos &&
          request.size() >= end + 2 + std::stoul(request.substr(length + 16)))
        return request;
      const ssize_t n = ::recv(connection.get(), block, sizeof block, 0);
      if (n <= 0) return request;
      request.append(block, static_cast<std::size_t>(n));
    }
  }
  void answer(const kt::Fd& connection, std::string_view bytes, const std::vector<int>& descriptors) const {
    std::vector<kt::Fd> copies;
    for (const int fd : descriptors) copies.push_back(kt::Fd(::fcntl(fd, F_DUPFD_CLOEXEC, 0)));
    while (!bytes.empty()) {
      const std::string_view part = bytes.substr(0, piece_);
      const ssize_t n = copies.empty() ? ::send(connection.get(), part.data(), part.size(), MSG_NOSIGNAL)
                                       : kt::detail::send_with_descriptors(connection.get(), part, copies);
      if (n <= 0) return;
      copies.clear();
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
  }

  bool local_;
  std::string answer_;
  std::size_t piece_;
  std::vector<int> descriptors_;
  kt::Fd listener_;
  std::mutex mutex_;
  std::string request_;
  std::thread thread_;
};

// Items, or the result, and "! status text" for what was thrown; status 0: not by the service.
json outcome(const kt::Client& client, bool stream) {
  json items = json::array();
  try {
    if (!stream) {
      items.push_back(client.call("method"));
    } else {
      auto answer = client.stream("method");
      while (auto item = answer.next()) items.push_back(*std::move(item));
    }
  } catch (const kt::Error& error) {
    items.push_back("! " + std::to_string(error.status()) + " " + error.what());
  } catch (const kt::ConnectionError& error) {
    items.push_back("! 0 "s + error.what());
  }
  return items;
}

json big(const std::string& hex) { return json::binary(kt::Bytes(hex.begin(), hex.end()), kt::big_integer_ext); }

}  // namespace

TEST_SUITE("interop") {
  TEST_CASE_FIXTURE(Recorded, "calls of Python clients: values, documents and streams as these can read them") {
    const std::string meow = python_document("Meow world, meow!\n");
    check("meow.request", meow);
    check("meow_json.request", meow);
    const std::string one = packed(json{{"purr", "PURR"}}), two = packed(json{{"purr", "PURRPURR"}});
    check("purr.request", python_stream(msgpack_type, {one, two}));
    check("purr_json.request", python_stream(json_type, {"{\"purr\":\"PURR\"}\n", "{\"purr\":\"PURRPURR\"}\n"}));
  }

  TEST_CASE_FIXTURE(Recorded, "calls of Python clients: values come back as they were sent") {
    const auto body = [](const std::string& message) { return message.substr(message.find("\n\n") + 2); };
    // {"_args": [values]}, without the map, the key and the list.
    check("echo.request", python_answer("200 OK", msgpack_type, body(recorded("echo.request")).substr(8)));
    std::string text = json::parse(R"([null,true,-1,18446744073709551615])").dump();
    text.pop_back();
    text +=
        ",18446744073709551616,-9223372036854775809,1606938044258990275541962092341162602522202993782792835301376,1.5,"
        "\"K\xC3\xA4tzchen \xF0\x9F\x90\x88\",{\"__base64__\":\"AP8=\"},{\"__base64__\":\"\"},\"\",[],{},"
        "{\"a\":[{\"b\":null}]}]\n";
    check("echo_json.request", python_answer("200 OK", json_type, text));
  }

  TEST_CASE_FIXTURE(Recorded, "calls of Python clients: errors are maps, under a status of their own") {
    const auto error = [](const std::string& text) { return packed(json{{"error", text}}); };
    check("unknown.request", python_answer("404 Not Found", msgpack_type, error("Not Found")));
    check("freakout.request",
          python_answer("500 Internal Server Error", msgpack_type, error("Nothing is good enough for me!")));
    const std::string refused = Wire::tcp(kitten).send(recorded("elephant.request")).rest();
    CHECK(refused.starts_with("HTTP/1.1 400 Bad Request\nContent-Type: application/x-msgpack\nContent-Length: "));
    CHECK(contains(refused, "invalid literal"));  // what callers of the package look for
  }

  TEST_CASE_FIXTURE(Recorded, "calls of Python clients: a ping, which is how they connect") {
    for (const std::string name : {"connect", "connect_unix", "connect_json", "ping_docs"}) {
      CAPTURE(name);
      Wire wire = name == "connect_unix" ? Wire::local(kitten) : Wire::tcp(kitten);
      const std::string bytes = wire.send(recorded(name + ".request")).rest();
      const std::string body = bytes.substr(bytes.find("\n\n") + 2);
      CHECK(bytes == python_answer("200 OK", name == "connect_json" ? json_type : msgpack_type, body));
      json pong;
      if (name == "connect_json") {
        CHECK_FALSE(kt::decode_json(body, pong));
      } else {
        CHECK_FALSE(kt::decode_msgpack(body, pong));
      }
      CHECK(pong["pong"] == true);
      CHECK(pong["conn"].get<std::string>().starts_with(name == "connect_unix" ? "unix-domain" : "127.0.0.1:"));
      CHECK(pong["_format"].is_string());
      CHECK(pong["methods"]["purr"]["is_generator"] == true);
      CHECK(pong["methods"]["meow"]["is_generator"] == false);
      CHECK(pong["methods"]["meow"].contains("help") == (name == "ping_docs"));
      // They become attributes of the client, and would replace its own.
      for (const char* own : {"ping", "config", "quitquitquit", "call", "connect", "name"})
        CHECK_FALSE(pong["methods"].contains(own));
    }
  }

  TEST_CASE_FIXTURE(Recorded, "calls of Python clients: open files, and answers that go into files and sockets") {
    const int before = open_descriptors();
    write_file(state / "file", "what a cat reads");
    const std::string bytes = packed(kt::bytes("what a cat reads"));
    CHECK(with_descriptor("cat.request", kt::File::open(state / "file", "rb").get()) ==
          python_answer("200 OK", msgpack_type, bytes));
    CHECK(with_descriptor("cat_json.request", kt::File::open(state / "file", "rb").get()) ==
          python_answer("200 OK", json_type, "{\"__base64__\":\"d2hhdCBhIGNhdCByZWFkcw==\"}\n"));
    const std::string meow = python_document("Meow world, meow!\n");
    for (const std::string suffix : {"", "_json"}) {
      CAPTURE(suffix);
      CHECK(with_descriptor("to_file" + suffix + ".request", kt::File::open(state / ("target" + suffix), "wb").get()) ==
            accepted);
      CHECK(eventually([&] { return contents(state / ("target" + suffix)) == meow; }));
    }
    const std::string one = packed(json{{"purr", "PURR"}}), two = packed(json{{"purr", "PURRPURR"}});
    const std::pair<std::string, std::string> rows[] = {
        {"to_socket", python_stream(msgpack_type, {one, two})},
        {"to_socket_json", python_stream(json_type, {"{\"purr\":\"PURR\"}\n", "{\"purr\":\"PURRPURR\"}\n"})},
        // The head has been sent by another service.
        {"delegated",
         "10\r\n\xafI have the ball\r\n2\r\n\xa1"
         "2\r\n0\r\n\r\n"},
        {"delegated_json", "12\r\n\"I have the ball\"\n\r\n4\r\n\"2\"\n\r\n0\r\n\r\n"}};
    for (const auto& [name, expected] : rows) {
      CAPTURE(name);
      SocketPair pair;
      CHECK(with_descriptor(name + ".request", pair.there.get()) == accepted);
      pair.there.reset();
      CHECK(pair.rest() == expected);
    }
    CHECK(eventually([&] { return open_descriptors() == before; }));
  }

  TEST_CASE_FIXTURE(Recorded, "calls of Python clients: goodbye, with no file left behind") {
    const std::string goodbye = Wire::local(kitten).send(recorded("quitquitquit.request")).rest();
    CHECK(goodbye == python_answer("200 OK", msgpack_type, packed("Goodbye forever")));
    CHECK(std::filesystem::is_empty(state.path()));
  }

  TEST_CASE("answers of Python services become values, items and exceptions, however they are cut") {
    const json purrs = json::array({json{{"purr", "PURR"}, {"_format", "Kitty says %(purr)s"}},
                                    json{{"purr", "PURRPURR"}, {"_format", "Kitty says %(purr)s"}}});
    const json soft = json::array({json{{"purr", "purr"}, {"_format", "Kitty says %(purr)s"}},
                                   json{{"purr", "purrpurr"}, {"_format", "Kitty says %(purr)s"}}});
    json both = soft;
    both.insert(both.begin(), "Meow world, meow!\n");
    json values = json::object();
    values["text"] = "K\xC3\xA4tzchen \xF0\x9F\x90\x88";
    values["bytes"] = kt::bytes("\0\xff"sv);
    values["none"] = nullptr;
    values["truth"] = true;
    values["pi"] = 3.25;
    values["list"] = json::array({1, json::array(), json::object()});
    values["most"] = (std::numeric_limits<std::uint64_t>::max)();
    values["least"] = (std::numeric_limits<std::int64_t>::min)();
    values["big"] = big("10000000000000000");
    values["bigger"] = big("1" + std::string(50, '0'));
    values["below"] = big("-8000000000000001");
    const json items = json::array({json{{"item", 1}}, json{{"item", 2}}, "! 500 HTTP 500: that was all"});
    json events =
        json::array({json{{"event", "hello"}, {"data", "two\nlines"}},
                     json{{"id", "5"}, {"retry", "100"}, {"data", "{\"k\": 1}\n"}}, json{{"data", "{\"a\": 1}\n"}}});
    const auto game = [](const std::string& one, const std::string& two) {
      const std::string back = ", sending ball back!";
      return json::array({"I am " + one + back, "I am " + two + back, "I am " + one + back, "I am " + two + back,
                          "I am " + one + ", I am keeping ball"});
    };
    const auto freakout = "! 500 HTTP 500: Nothing is good enough for me!";
    struct Row {
      std::string name;
      bool stream;
      json expected;
    };
    const Row rows[] = {
        {"meow", false, {{{"mimetype", "text/plain"}, {"data", "Meow world, meow!\n"}}}},
        {"ping_stranger", false, {{{"mimetype", "text/plain"}, {"data", "Pong\n"}}}},
        {"document", false, {{{"mimetype", "image/gif"}, {"data", kt::bytes("GIF89a\0\n\xff"sv)}}}},
        {"values", false, {values}},
        {"values_json", false, {values}},
        {"nothing", false, {nullptr}},
        {"nothing_json", false, {nullptr}},
        {"empty_bytes", false, {kt::bytes("")}},
        {"empty_bytes_json", false, {kt::bytes("")}},
        {"accepted", false, {{{"replied_to_first_fd", true}}}},
        {"purr", true, purrs},
        {"purr_json", true, purrs},
        {"both", true, both},
        {"to_socket", true, soft},
        {"raw_items", true, {kt::bytes("one\n"), kt::bytes("two\n")}},
        {"events", true, events},
        {"delegated", true, game("milton", "meowzer")},
        {"delegated_json", true, game("meowzer", "milton")},
        {"no_items", true, json::array()},
        {"no_items_json", true, json::array()},
        {"breaks", true, items},
        {"breaks_json", true, items},
        {"error_map", false, {"! 500 HTTP 500: a result with this key"}},
        {"elephant", true, {"! 500 HTTP 500: invalid literal for int() with base 10: 'elephant'"}},
        {"fails", false, {"! 500 HTTP 500: no luck today"}},
        {"missing", false, {"! 500 HTTP 500: nothing of that name"}},
        {"freakout", false, {freakout}},
        {"freakout_json", false, {freakout}},
        {"breaks_at_once", true, {"! 500 HTTP 500: not even one"}},
        {"two_files_tcp", false, {"! 500 HTTP 500: Cannot send file descriptors over TCP"}},
        {"unknown", false, {"! 404 HTTP 404: Not Found"}},
        {"stranger", false, {"! 403 HTTP 403: /purr"}},
        {"denies", false, {"! 403 HTTP 403: not for you"}},
        {"finished_first", true, {"! 403 HTTP 403: closed today"}},
        {"asks", false, {"! 423 Who are you?"}},
        {"asks_first", true, {"! 423 Who are you?"}},
        {"vanishes", true, {"! 0 the service closed the connection without an answer"}},
    };
    for (const Row& row : rows) {
      CAPTURE(row.name);
      const std::string bytes = recorded(row.name + ".answer");
      const json expected = row.expected.is_array() ? row.expected : json::array({row.expected});
      for (const std::size_t piece : {bytes.size() + 1, std::size_t{1}}) {
        for (const bool local : {true, false}) {
          CAPTURE(local);
          CAPTURE(piece);
          RecordedPeer service(local, bytes, piece);
          CHECK(outcome(service.client(), row.stream) == expected);
        }
      }
    }
    // The texts are ours: the body of one is no JSON, that of the other no map.
    for (const auto& [name, status] : {std::pair("moved"s, "302"s), {"other_status", "418"}}) {
      CAPTURE(name);
      RecordedPeer service(false, recorded(name + ".answer"), 1);
      const std::string text = outcome(service.client(), false)[0].get<std::string>();
      CHECK_MESSAGE(text.starts_with("! " + status + " "), text);
    }
  }

  TEST_CASE("answers of Python services: what they need to be told") {
    for (const char* name : {"asks.answer", "asks_first.answer"}) {
      RecordedPeer service(false, recorded(name), 1);
      const kt::Client client = service.client();
      try {
        client.call("login");
        FAIL("no exception");
      } catch (const kt::NeedInfo& need) {
        REQUIRE(need.needed().size() == 1);
        CHECK(need.needed()[0].name == (name == "asks.answer"s ? "user" : "pin"));
        CHECK(need.needed()[0].type == (name == "asks.answer"s ? "username" : "password"));
        CHECK(need.needed()[0].comment == (name == "asks.answer"s ? "Login" : ""));
        CHECK(need.resource() == (name == "asks.answer"s ? json("door") : json(false)));
      }
    }
  }

  TEST_CASE("answers of Python services: open files come with the first byte") {
    const int before = open_descriptors();
    {
      TempDir dir;
      write_file(dir / "one", "first");
      write_file(dir / "two", "second");
      const kt::File one = kt::File::open(dir / "one"), two = kt::File::open(dir / "two");
      for (const std::size_t piece : {std::size_t{4096}, std::size_t{1}}) {
        ::lseek(one.get(), 0, SEEK_SET);
        ::lseek(two.get(), 0, SEEK_SET);
        RecordedPeer service(true, recorded("two_files.answer"), piece, {one.get(), two.get()});
        const auto files = service.client().call<std::vector<kt::File>>("two_files");
        REQUIRE(files.size() == 2);
        CHECK(files[0].mode() == "rb");
        CHECK(files[1].mode() == "r");
        CHECK(all_of(files[0]) == "first");
        CHECK(all_of(files[1]) == "second");
      }
      // None came: a text is no file.
      RecordedPeer service(true, recorded("two_files.answer"), 4096);
      CHECK_THROWS_AS(service.client().call<std::vector<kt::File>>("two_files"), kt::ConnectionError);
    }
    CHECK(eventually([&] { return open_descriptors() == before; }));
  }

  TEST_CASE("calls to a Python service are what a Python client would send, byte for byte") {
    const kt::File file = kt::File::open("/dev/null", "rb+");
    SocketPair pair;
    for (const bool local : {true, false}) {
      RecordedPeer service(local, recorded("nothing.answer"), 4096);
      const kt::Client client = service.client(), plain = service.client(false);
      client.call("purr", "0x2", kt::arg("caps") = "y");
      CHECK(service.request() == recorded("purr.request"));
      client.call("meow");
      CHECK(service.request() == recorded("meow.request"));
      client.call("no_such_method", 1);
      CHECK(service.request() == recorded("unknown.request"));
      plain.call("purr", "0x2", kt::arg("caps") = "y");
      CHECK(service.request() ==
            "POST /SECRET/purr HTTP/1.1\nConnection: close\nContent-Type: application/json\nContent-Length: 29\n\n"
            "{\"caps\":\"y\",\"_args\":[\"0x2\"]}\n");
      if (!local) continue;
      client.call("cat", kt::File::open("/dev/null", "rb+"));
      CHECK(service.request() == recorded("cat.request"));
      client.call("meow", kt::reply_to(file));
      CHECK(service.request() == recorded("to_file.request"));
      client.call("purr", kt::reply_to(pair.there), "0x2", kt::arg("caps") = "y");
      CHECK(service.request() == recorded("to_socket.request"));
    }
  }
}

TEST_SUITE("cli/output") {
  TEST_CASE("a _format is filled in with the result's values") {
    const json values{{"name", "Tom"}, {"n", 5}, {"x", 1.2345}, {"list", {1, "a"}}, {"none", nullptr}};
    CHECK(kt::detail::apply_format("%(name)s has %(n)d, %(n)s", values) == "Tom has 5, 5");
    CHECK(kt::detail::apply_format("100%% %(x).2f|%(n)4d|%(n)04d|%(name)-5s|%(name)5s|%(n)x", values) ==
          "100% 1.23|   5|0005|Tom  |  Tom|5");
    CHECK(kt::detail::apply_format("%(list)s %(none)s 5% %", values) == "[1, \"a\"] null 5% %");
    CHECK_THROWS_WITH_AS(kt::detail::apply_format("%(missing)s", values), doctest::Contains("'missing'"),
                         kt::detail::MissingFormatKey);
    CHECK_THROWS_AS(kt::detail::apply_format("%(name", values), kt::detail::MissingFormatKey);
    CHECK_THROWS_AS(kt::detail::apply_format("%(name)", values), kt::detail::MissingFormatKey);
    CHECK_THROWS_AS(kt::detail::apply_format("%(n)99999999999d", values), kt::detail::MissingFormatKey);
    CHECK_THROWS_AS(kt::detail::apply_format("%(name)n", values), kt::detail::MissingFormatKey);
  }
}

TEST_SUITE("cli") {
  TEST_CASE("a service is started, called, described and stopped from the command line") {
    const Program kitten("kitten");
    const Ran started = kitten("start");
    CHECK(started.code == 0);
    CHECK(contains(started.out, "mykitten/Kitty: Running at http://127.0.0.1:"));
    CHECK(contains(started.out, "mykitten/Kitty: Running at " + kitten.state.path() + "/Kitty.sock\n"));
    const std::string url = kitten.url();
    CHECK_FALSE(contains(started.out, url.substr(url.rfind('/') + 1)));  // the token stays in its file
    CHECK(kitten("start").out == started.out);
    CHECK(kitten("ping").out == "Pong via unix-domain! (see JSON for full method list)\n");
    CHECK(contains(kitten("--tcp ping").out, "Pong via 127.0.0.1:"));
    CHECK(json::parse(kitten("--json ping").out)["pong"] == true);
    CHECK(kitten("meow").out == "Meow world, meow!\n");
    CHECK(kitten("--sleep-time=0 config --key=sleep_time --val=0").code == 0);
    CHECK(kitten("purr 0x2 --caps=y").out == "Kitty says PURR\nKitty says PURRPURR\n");
    CHECK(kitten("-j -J purr 1 rr").out == "{\"purr\": \"rr\"}\n");
    CHECK(kitten("--raw purr").out == "{\"_format\": \"Kitty says %(purr)s\", \"purr\": \"purr\"}\n");
    CHECK(kitten("both").out == "Meow world, meow!\nKitty says purr\nKitty says purrpurr\n");
    CHECK(kitten("mrow").out == kitten("both").out);
    CHECK(kitten("purr 0").out.empty());
    CHECK(kitten("stretch").out == "Streeeeeeeetch!\n");
    CHECK(kitten("slow_meow 0.01").out == "Meow world, meow after 0.01s!\n");
    CHECK(kitten("blank").out.starts_with("GIF89a"));
    CHECK(kitten("--json binary_result").out == "{\"binary\": {\"__bytes__\": \"data\"}}\n");
    CHECK(contains(kitten("help purr").out, "/purr [--count=1] [--purr=purr] [--caps=false]"));
    const Ran status = kitten("status");
    CHECK(status.code == 0);
    CHECK(contains(status.out, "mykitten/Kitty: Process "));
    CHECK(kitten("restart").code == 0);
    CHECK(kitten.url() != url);
    const Ran stopped = kitten("stop");
    CHECK(stopped.out == "mykitten/Kitty: Stopped\n");
    CHECK(stopped.code == 0);
    CHECK(std::filesystem::is_empty(kitten.state.path()));
    CHECK(kitten("stop").out == "mykitten/Kitty: Not running\n");
    CHECK(kitten("status").code == 1);
  }

  TEST_CASE("mistakes get one line that says what, where and what was meant") {
    const Program kitten("kitten");
    const auto fails = [&](const std::string& words, int code, const std::string& text) {
      CAPTURE(words);
      const Ran ran = kitten(words);
      CHECK(ran.code == code);
      CHECK_MESSAGE(contains(ran.err, text), ran.err);
      CHECK(std::count(ran.err.begin(), ran.err.end(), '\n') == 1);
      CHECK(ran.out.empty());
    };
    fails("ping", 1, "Kitty ping failed: Kitty: Not running: Start it first?");
    fails("prr", 2, "no command or method 'prr' (did you mean 'purr'?)");
    fails("statr", 2, "(did you mean 'start'?)");
    fails("''", 2, "no command or method ''");  // a variable that is not set, for one; not the web root
    fails("help prr", 2, "(did you mean 'purr'?)");
    fails("start now", 3, "invalid arguments: now");
    fails("start --worker-listn-port=5", 3, "(did you mean --worker-listen-port?)");
    fails("--worker-listen-port=banana start", 1, "option 'worker_listen_port': expected int, got \"banana\"");
    fails("--worker-use-tcp=banana ping", 1, "expected bool (yes or no), got \"banana\"");
    fails("--worker-listen-port start", 3, "--worker-listen-port needs a value: --worker-listen-port=VALUE");
    fails("--worker-config=/nonexistent/file ping", 1, "cannot read /nonexistent/file");
    fails("--jsn ping", 3, "Unrecognized option: --jsn (did you mean --json?)");
    fails("-x ping", 3, "Unrecognized option: -x");
    fails("purr --cuont=3", 3, "Unrecognized option: --cuont (did you mean 'count'?)");
    fails("purr --caps", 3, "--caps needs a value");
    fails("--worker-listen-host=example.com start", 1, "not an IPv4 or IPv6 address");
    fails("--worker-secret=x start", 1, "at least 6 are needed");
    fails("--worker-log-file=/nonexistent/log start", 1, "cannot open /nonexistent/log");
    fails("--app-state-dir=/proc/nowhere start", 1, "cannot create directory /proc/nowhere");
    REQUIRE(kitten("start").code == 0);
    fails("prr", 2, "(did you mean 'purr'?)");
    fails("purr elephant", 3, "purr: argument 'count': invalid literal, expected int, got \"elephant\"");
    fails("purr 1 x y z", 3, "takes at most 3 arguments, got 4");
    fails("freakout", 6, "Nothing is good enough for me!");
    fails("meow --nope=1", 3, "Unrecognized option: --nope");
    fails("config --key=sleep_tim --val=1", 3, "(did you mean 'sleep_time'?)");
    fails("start --foreground", 1, "mykitten/Kitty is already running");
  }

  TEST_CASE("without words, and with help, the program introduces itself") {
    const Program kitten("kitten");
    for (const char* words : {"", "--sleep-time=1"}) {
      const Ran ran = kitten(words);
      CHECK(ran.code == 1);
      CHECK(ran.out.starts_with("mykitten - A sample kettlingar microservice\n"));
      CHECK(contains(ran.out, "\n\nTry this: " + kitten.path() + " help\n"));
    }
    const std::string help = kitten("help").out;
    CHECK(kitten("--help").out == help);
    CHECK(kitten("-h").out == help);
    CHECK(contains(help, "API Commands: binary_result, blank, both"));
    CHECK(contains(help, "--sleep-time=1.0\n      Seconds between purrs"));
    for (const std::string command : {"start", "stop", "restart", "status"}) {
      CHECK(contains(kitten("help " + command).out, "  " + command + " "));
      CHECK(kitten(command + " --help").out == kitten("help " + command).out);
    }
    CHECK(kitten("status").code == 1);
    CHECK(contains(kitten("--version").out, "built with kettlingar 0."));
    CHECK(kitten("purr --help").out == kitten("help purr").out);
    write_file(kitten.state / "broken.cfg", "nonsense\n");
    const Ran broken = kitten("--worker-config=" + (kitten.state / "broken.cfg") + " help");
    CHECK(broken.code == 0);
    CHECK(contains(broken.err, "broken.cfg:1: expected 'name = value'"));
  }

  TEST_CASE("start returns in a pipe and in a substitution, and the service keeps nothing of its caller (134)") {
    const Program kitten("kitten");
    CHECK(contains(run(kitten.path() + " --app-state-dir=" + kitten.state.path() + " start 9</dev/null | cat").out,
                   "Running at"));
    CHECK(kitten("stop").code == 0);
    const Ran substituted =
        run("x=$(" + kitten.path() + " --app-state-dir=" + kitten.state.path() + " start 7</dev/null); echo \"$x\"");
    CHECK(contains(substituted.out, "Running at"));
    const int pid = std::stoi(contents(kitten.state / "Kitty.lock"));
    std::map<std::string, int> pipes;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd")) {
      std::error_code gone;
      const std::string target = std::filesystem::read_symlink(entry.path(), gone).string();
      if (target.starts_with("pipe:")) ++pipes[target];
      if (std::stoi(entry.path().filename()) < 3) CHECK(target == "/dev/null");
    }
    for (const auto& [pipe, ends] : pipes) CHECK(ends == 2);  // its own, not one end of somebody else's
    CHECK(std::filesystem::read_symlink("/proc/" + std::to_string(pid) + "/cwd") == "/");
  }

  TEST_CASE("of twenty simultaneous starts one serves, and all say where (130)") {
    const Program kitten("kitten");
    std::vector<std::future<Ran>> starts;
    for (int i = 0; i < 20; ++i) starts.push_back(std::async(std::launch::async, [&] { return kitten("start"); }));
    std::set<std::string> outputs;
    for (auto& start : starts) {
      const Ran ran = start.get();
      CHECK_MESSAGE(ran.code == 0, ran.err);
      outputs.insert(ran.out);
    }
    CHECK(outputs.size() == 1);
    const Ran processes =
        run("pgrep -f -- '[-]-app-state-dir=" + kitten.state.path() + " .*start --report-to' | wc -l");
    CHECK(std::stoi(processes.out) == 1);
  }

  TEST_CASE("a killed service is started again without any clean-up (147)") {
    const Program kitten("kitten");
    for (int round = 0; round < 3; ++round) {
      REQUIRE(kitten("start").code == 0);
      const int pid = std::stoi(contents(kitten.state / "Kitty.lock"));
      REQUIRE(::kill(pid, SIGKILL) == 0);
      REQUIRE(eventually([&] {
        return ::kill(pid, 0) != 0 ||
               contents("/proc/" + std::to_string(pid) + "/stat").find(") Z") != std::string::npos;
      }));
      CHECK(kitten("ping").code == 1);
    }
  }

  TEST_CASE("SIGTERM, SIGINT and SIGHUP end a foreground service in order (132)") {
    for (const char* signal : {"TERM", "INT", "HUP"}) {
      CAPTURE(signal);
      const Program kitten("kitten");
      // A shell without job control ignores SIGINT in background jobs, so the signals come from a child of the
      // service's own shell.
      const Ran ran = run("sh -c 'pid=$$; (while ! test -s " + (kitten.state / "Kitty.url") +
                          "; do sleep 0.01; done; kill -" + signal + " $pid) & exec " + kitten.path() +
                          " --app-state-dir=" + kitten.state.path() + " start --foreground'");
      CHECK(ran.code == 0);
      CHECK(contains(ran.out, "Running at"));
      CHECK(contains(ran.err, "Stopped mykitten/Kitty"));
      CHECK(std::filesystem::is_empty(kitten.state.path()));
    }
  }

  TEST_CASE("the log file has a line for each request, is private, and never has the token") {
    const Program kitten("kitten");
    const std::string log = kitten.state / "log";
    REQUIRE(kitten("--worker-log-file=" + log + " start").code == 0);
    kitten("meow");
    kitten("freakout");
    const std::string url = kitten.url();
    kitten("stop");
    const std::string lines = contents(log);
    CHECK(contains(lines, "http 200 ok unix-domain POST /meow"));
    CHECK(contains(lines, "freakout: Nothing is good enough for me!"));
    CHECK(contains(lines, "Stopped mykitten/Kitty"));
    CHECK_FALSE(contains(lines, url.substr(url.rfind('/') + 1)));
    kt::detail::FileInfo info{};
    REQUIRE(::stat(log.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
  }

  TEST_CASE("results that cannot be written are an error, not silence") {
    if (::access("/dev/full", W_OK) != 0) return;
    const Program kitten("kitten");
    REQUIRE(kitten("start").code == 0);
    const Ran ran = kitten("meow >/dev/full");
    CHECK(ran.code == 4);
    CHECK(contains(ran.err, "cannot write to standard output"));
    CHECK(kitten("restart >/dev/full").code == 4);
    CHECK(kitten("status").code == 0);  // it was to run on
  }

  TEST_CASE("of stops at the same time none fails") {
    const Program kitten("kitten");
    for (int round = 0; round < 3; ++round) {
      REQUIRE(kitten("start").code == 0);
      std::vector<std::future<Ran>> stops;
      for (int i = 0; i < 6; ++i) stops.push_back(std::async(std::launch::async, [&] { return kitten("stop"); }));
      for (auto& stop : stops) {
        const Ran ran = stop.get();
        CHECK_MESSAGE(ran.code == 0, ran.err);
      }
      CHECK(kitten("status").code == 1);
    }
  }

  TEST_CASE("a saved configuration does not lead to another service than the one that was named") {
    const Program kitten("kitten");
    const TempDir data;
    const std::string where = "--app-data-dir=" + data.path() + " ";
    write_file(data / "Kitty.cfg", "app_state_dir = " + (data / "elsewhere") + "\nsleep_time = 0.25\n");
    CHECK(contains(kitten(where + "start").out, kitten.state / "Kitty.sock"));
    CHECK(contains(kitten("config").out, "--sleep_time=0.25\n"));
    CHECK(kitten(where + "status").code == 0);
    CHECK(kitten(where + "stop").out == "mykitten/Kitty: Stopped\n");
  }

  TEST_CASE("a service that speaks JSON only can be controlled without saying so") {
    const Program kitten("kitten");
    REQUIRE(kitten("--worker-use-msgpack=no start").code == 0);
    CHECK(contains(kitten("ping").out, "Pong via"));
    CHECK(kitten("start").code == 0);
    CHECK(kitten("purr 1").out == "Kitty says purr\n");
    CHECK(kitten("stop").out == "mykitten/Kitty: Stopped\n");
  }

  TEST_CASE("words that are no UTF-8 are not changed silently, and -- leads to methods only") {
    const Program kitten("kitten");
    REQUIRE(kitten("start").code == 0);
    const Ran ran = kitten("purr 1 \"$(printf '\\377')\"");
    CHECK(ran.code == 3);
    CHECK(contains(ran.err, "expected str"));
    CHECK(kitten("-- meow").out == "Meow world, meow!\n");
    const Ran command = kitten("-- status");
    CHECK(command.code == 2);
    CHECK(contains(command.err, "no method 'status'; try:"));  // it is no method, and is not what was meant
    CHECK(contains(kitten("purr 1 -- --rr").out, "Kitty says --rr"));
    CHECK(contains(kitten("purr 1 -- --worker-name=rr").out, "Kitty says --worker-name=rr"));
    const Ran unprintable = kitten("\"$(printf 'pu\\033[1mrr')\"");
    CHECK_MESSAGE(unprintable.err.starts_with("Kitty pu\\x1b[1mrr failed: "), unprintable.err);
    CHECK_FALSE(contains(unprintable.err, "\033"));
  }

  TEST_CASE("the port of a service that was killed does not get its token, whoever has it now (133)") {
    const Program kitten("kitten");
    REQUIRE(kitten("--worker-secret=configuredsecret start").code == 0);
    const std::string url = kitten.url();
    ::kill(std::stoi(contents(kitten.state / "Kitty.lock")), SIGKILL);
    const auto port = static_cast<std::uint16_t>(std::stoi(url.substr(url.find(':', 7) + 1)));
    kt::Fd stranger;
    REQUIRE(eventually([&] {
      try {
        stranger = kt::detail::listen_tcp("127.0.0.1", port, 5);
        return true;
      } catch (const kt::StartError&) {
        return false;
      }
    }));
    for (const char* words : {"ping", "--tcp ping", "status", "stop"}) kitten(words);
    CHECK_FALSE(kt::detail::accept_connection(stranger.get()));
    CHECK(kitten("ping").code == 1);
  }

  TEST_CASE("a service is started again while its predecessor is ending (147)") {
    const Program kitten("kitten");
    for (int round = 0; round < 5; ++round) {
      REQUIRE(kitten("start").code == 0);
      ::kill(std::stoi(contents(kitten.state / "Kitty.lock")), round % 2 == 0 ? SIGTERM : SIGKILL);
      const Ran ran = kitten("start");
      CHECK_MESSAGE(ran.code == 0, ran.err);
    }
  }

  TEST_CASE("a stream that fails prints its items, then its error") {
    const Program monitor("sysmon");
    REQUIRE(monitor("start").code == 0);
    const Ran refused = monitor("watch 0");
    CHECK(refused.code == 3);
    CHECK(contains(refused.err, "interval must be from 0.01"));
  }

  TEST_CASE("a stream ends when its service is killed, with an error") {
    const Program monitor("sysmon");
    REQUIRE(monitor("start").code == 0);
    const int pid = std::stoi(contents(monitor.state / "monitor.lock"));
    const Ran ran =
        run(monitor.path() + " --app-state-dir=" + monitor.state.path() +
            " watch 0.01 | { read -r line; echo \"$line\"; kill -9 " + std::to_string(pid) + "; cat >/dev/null; }");
    CHECK(contains(ran.out, "load "));
    CHECK(contains(ran.err, "missing end-of-stream marker"));
  }
}

TEST_SUITE("cli/terminal") {
  TEST_CASE("a method that needs to know more asks on a terminal, passwords unseen, and only there") {
    TempDir state;
    const std::string command = std::string("env ") + as_service + "=1 " +
                                std::filesystem::read_symlink("/proc/self/exe").string() +
                                " --app-state-dir=" + state.path() + " ";
    REQUIRE(run(command + "start").code == 0);

    Terminal person(command + "login");
    CHECK(person.shows("Please log in"));
    CHECK(person.shows("Username: "));
    person.type("tom\n");
    CHECK(person.shows("Your password: "));
    CHECK(eventually([&] { return !person.echoes(); }));
    person.type(
        "sesamx\x7f"
        "e\n");
    CHECK(person.ends() == 0);
    CHECK(contains(person.shown(), "Welcome, tom"));
    CHECK_FALSE(contains(person.shown(), "sesam"));

    Terminal named(command + "login tom");
    CHECK(named.shows("Your password: "));
    CHECK(eventually([&] { return !named.echoes(); }));
    named.type("wrong\n");
    CHECK(named.shows("Another password: "));
    CHECK(eventually([&] { return !named.echoes(); }));
    named.type("sesame\n");
    CHECK(named.ends() == 0);

    Terminal impatient(command + "login tom");
    CHECK(impatient.shows("Your password: "));
    CHECK(eventually([&] { return !impatient.echoes(); }));
    impatient.type("ses\x03");
    CHECK(impatient.ends() == 128 + SIGINT);
    CHECK(impatient.echoes());

    Terminal forgetful(command + "login tom");
    for (int round = 0; round < 3; ++round) {
      CHECK(forgetful.shows(round == 0 ? "Your password: " : "Another password: "));
      CHECK(eventually([&] { return !forgetful.echoes(); }));
      forgetful.type("wrong\n");
      if (round == 1) CHECK(forgetful.shows("Another password: \r\n"));
    }
    CHECK(forgetful.ends() == 3);

    const Ran script = run(command + "login");
    CHECK(script.code == 3);
    CHECK(contains(script.err, "Please log in (needed: --user=... --password=...)"));
    CHECK(run(command + "stop").code == 0);
  }

  TEST_CASE("progress is a line on the terminal and no result; Ctrl-C ends a stream") {
    TempDir state;
    const std::string command = std::string("env ") + as_service + "=1 " +
                                std::filesystem::read_symlink("/proc/self/exe").string() +
                                " --app-state-dir=" + state.path() + " ";
    REQUIRE(run(command + "start").code == 0);
    Terminal person(command + "work");
    CHECK(person.ends() == 0);
    CHECK(contains(person.shown(), "50% half of it"));
    CHECK(contains(person.shown(), "result"));
    const Ran script = run(command + "work");
    CHECK(script.out == "result\n");
    CHECK(script.err.empty());
    CHECK(run(command + "--json work").out == "{\"progress\": 0.5}\n\"result\"\n");
    CHECK(run(command + "measure").out == "{\"progress\": 40}\n");

    Terminal impatient(command + "wait");
    CHECK(impatient.shows("waiting"));
    impatient.type("\x03");
    CHECK(impatient.ends() == 128 + SIGINT);
    CHECK(run(command + "ping").code == 0);
    CHECK(run(command + "stop").code == 0);
  }
}

TEST_SUITE("examples") {
  TEST_CASE("kitten_client starts the kitten beside it, calls everything and stops it") {
    const Program client("kitten_client");
    const Ran ran = run(client.path() + " --app-state-dir=" + client.state.path());
    CHECK_MESSAGE(ran.code == 0, ran.err);
    CHECK(contains(ran.out, "It purrs: RRRR\n"));
    CHECK(client.url().empty());
  }

  TEST_CASE("hello is at most 25 lines, and does what the README shows") {
    const Program hello("hello");
    REQUIRE(hello("start").code == 0);
    CHECK(hello("meow").out == "Meow world, meow!\n");
    CHECK(hello("purr 3 --sound=rr").out == "rr\nrrrr\nrrrrrr\n");
    const std::string source = contents("examples/hello.cpp");
    CHECK(contains(contents("README.md"), source));
    CHECK(std::count(source.begin(), source.end(), '\n') <= 25);
  }

  TEST_CASE("filecat reads files that are handed to it, and hands out others") {
    const Program cat("filecat");
    REQUIRE(cat("start").code == 0);
    write_file(cat.state / "some.txt", "some text\n");
    CHECK(cat("cat " + (cat.state / "some.txt")).out == "some text\n");
    CHECK(cat("cat --fd=-", "typed").out == "typed");
    CHECK(cat("cat " + (cat.state / "none")).code == 3);
    CHECK(cat("-t cat " + (cat.state / "some.txt")).code == 3);
    CHECK(cat("read " + (cat.state / "some.txt")).out == "some text\n");
    CHECK(cat("-t read " + (cat.state / "some.txt")).code == 6);
    CHECK(contains(cat("help cat").out, "a path here, or - for standard input"));
  }

  TEST_CASE("two filecats answer in turn, on one connection, whoever asks how") {
    const Program cat("filecat");
    REQUIRE(cat("start").code == 0);
    REQUIRE(cat("--worker-name=meowzer start").code == 0);
    CHECK(cat("play_with meowzer").out == "true\n");
    CHECK(cat("--worker-name=meowzer play_with milton").out == "true\n");
    std::string expected;
    for (int i = 1; i < 50; ++i)
      expected += std::string("I am ") + (i % 2 == 1 ? "milton" : "meowzer") + ", sending mousey back!\n";
    expected += "I am meowzer, I am keeping mousey\n";
    for (const char* flags : {"", "-t", "-J", "-t -J"})
      CHECK(cat(std::string(flags) + " ping_pong mousey 50").out == expected);
    CHECK(cat("--worker-name=meowzer stop").code == 0);
    // The other one is gone: an answer that cannot be passed on ends as an error.
    const Ran broken = cat("ping_pong mousey 3");
    CHECK(broken.code != 0);
    CHECK(broken.out == "I am milton, sending mousey back!\n");
  }

  TEST_CASE("accept_and_pass has its workers answer in turn") {
    if (run("command -v curl").code != 0) {
      MESSAGE("skipped: no curl");
      return;
    }
    const Program front("accept_and_pass");
    const Ran ran = run("(" + front.path() + " front --connections=4 --app-state-dir=" + front.state.path() +
                        "; echo end) | { read -r _ _ url; for i in 1 2 3 4; do curl -s $url; done; cat; }");
    std::vector<std::string> workers;
    std::istringstream lines(ran.out);
    for (std::string line; std::getline(lines, line);) workers.push_back(line.substr(0, line.find(',')));
    CHECK(workers == std::vector<std::string>{"I am tom", "I am kitty", "I am tom", "I am kitty", "end"});
    CHECK(std::filesystem::is_empty(front.state.path()));
  }

  TEST_CASE("sysmon reports what /proc says, once and as a stream") {
    const Program monitor("sysmon");
    REQUIRE(monitor("start").code == 0);
    const json snapshot = json::parse(monitor("--json snapshot").out);
    CHECK(snapshot["memory_used"] > 0.0);
    CHECK(snapshot["memory_used"] < 100.0);
    REQUIRE(snapshot["busiest"].size() > 0);
    CHECK(snapshot["busiest"][0]["pid"] > 0);
    CHECK(monitor("snapshot").out.starts_with("load "));
    const Ran watched = monitor("--json watch --interval=0.01 --count=3");
    CHECK(std::count(watched.out.begin(), watched.out.end(), '\n') == 3);
  }

  TEST_CASE("curl gets documents, streams, posts JSON, asks for heads, and reuses its connection") {
    if (run("command -v curl").code != 0) {
      MESSAGE("skipped: no curl");
      return;
    }
    const Program kitten("kitten");
    REQUIRE(kitten("--sleep-time=0 start").code == 0);
    const std::string url = kitten.url(), base = url.substr(0, url.rfind('/'));
    CHECK(run("curl -s " + base + "/meow").out == "Meow world, meow!\n");
    CHECK(contains(run("curl -s " + base + "/").out, "Hello Kitty World!"));
    CHECK(run("curl -s " + url + "/purr").out == "{\"_format\":\"Kitty says %(purr)s\",\"purr\":\"purr\"}\n");
    CHECK(run("curl -s -d '{\"count\": 2, \"caps\": true}' -H 'Content-Type: application/json' " + url + "/purr").out ==
          "{\"_format\":\"Kitty says %(purr)s\",\"purr\":\"PURR\"}\n{\"_format\":\"Kitty says "
          "%(purr)s\",\"purr\":\"PURRPURR\"}\n");
    CHECK(run("curl -s -H \"Authorization: Bearer " + url.substr(url.rfind('/') + 1) + "\" " + base + "/stretch").out ==
          "Streeeeeeeetch!\n");
    CHECK(run("curl -s -d count=2 -d purr=mrr " + url + "/purr").out.find("mrrmrr") != std::string::npos);
    CHECK(contains(run("curl -sI " + base + "/meow").out, "Content-Length: 18"));
    CHECK(run("curl -s -o /dev/null -w '%{http_code} ' " + base + "/purr").out == "403 ");
    CHECK(run("curl -s -w '%{num_connects} ' " + base + "/meow " + base + "/meow").out ==
          "Meow world, meow!\n1 Meow world, meow!\n0 ");
    CHECK(run("curl -s --unix-socket " + (kitten.state / "Kitty.sock") + " http://localhost/meow").out ==
          "Meow world, meow!\n");
    CHECK(run("curl -s -N -H 'Accept: text/event-stream' " + url + "/purr").out.starts_with("data: {"));
  }

  // The lines that end in "// +" are what an example adds to a program that was there before.
  std::size_t added_lines(const std::string& source) {
    std::istringstream lines(contents(source));
    std::size_t count = 0;
    for (std::string line; std::getline(lines, line);) count += line.ends_with("// +") ? 1 : 0;
    return count;
  }

  TEST_CASE("a control socket is fewer than 15 lines, and the README shows none but those of the examples") {
    for (const char* name : {"control_socket_loop", "control_socket_threads", "control_socket_asio", "subcommand"}) {
      CAPTURE(name);
      const std::size_t lines = added_lines("examples/"s + name + ".cpp");
      CHECK(lines > 0);
      CHECK(lines < 15);
    }
    std::set<std::string> examples;
    for (const auto& entry : std::filesystem::directory_iterator("examples")) {
      std::istringstream lines(contents(entry.path().string()));
      for (std::string line; std::getline(lines, line);) {
        if (line.ends_with("// +")) line.resize(line.find_last_not_of(' ', line.size() - 5) + 1);
        examples.insert(line);
      }
    }
    std::istringstream readme(contents("README.md"));
    bool diff = false;
    for (std::string line; std::getline(readme, line);) {
      if (line.starts_with("```")) {
        diff = line == "```diff";
      } else if (diff && !line.empty() && line != " ..." && !line.starts_with("@@")) {
        CHECK_MESSAGE(examples.count(line.substr(1)) == 1, "not in any example: " << line);
      }
    }
  }

  TEST_CASE("control_socket_loop: options, a paused world, a stream of its frames, Ctrl-C") {
    const Program program("control_socket_loop");
    const Program any("hello");  // the command line of another program
    const std::string name = any.path() + " --app-name=balls --worker-name=sim --app-state-dir=" + program.state.path();
    Terminal loop(program.path() + " --app-state-dir=" + program.state.path());
    REQUIRE(loop.shows("Control socket: " + (program.state / "sim.sock")));
    CHECK(run(name + " config --key=gravity --val=1.62").code == 0);
    CHECK(json::parse(run(name + " --json config").out)["config"]["gravity"] == 1.62);
    CHECK(run(name + " config --key=gravity --val=heavy").code == 3);

    const auto kitty = kt::Client::connect("balls", "sim", kt::ClientOptions{.state_directory = program.state.path()});
    using Figures = std::map<std::string, double>;
    double frame = 0, items = 0;
    for (const Figures& figures : kitty.stream<Figures>("telemetry")) {
      CHECK(figures.at("frame") == (items == 0 ? figures.at("frame") : frame + 1));
      frame = figures.at("frame");
      if (++items == 5) break;
    }
    CHECK(items == 5);
    kitty.call("pause");
    frame = kitty.call<Figures>("telemetry").at("frame");
    CHECK(kitty.call<Figures>("telemetry").at("frame") == frame);
    kitty.call("step", 2);
    CHECK(eventually([&] { return kitty.call<Figures>("telemetry").at("frame") == frame + 2; }));

    // The game goes on without a socket where there can be none, and viewers do not keep it from ending.
    CHECK(contains(run(program.path() + " --frames=2 --app-state-dir=" + program.state.path()).out,
                   "Control socket: none, balls/sim is already running\n2 frames; "));
    auto viewed = kitty.stream<Figures>("telemetry");
    auto item = viewed.begin();
    loop.type("\x03");
    CHECK(loop.ends() == 0);
    while (item != viewed.end()) ++item;  // to its end mark: nothing is thrown
    CHECK(contains(loop.shown(), " frames; late by "));
    CHECK(std::filesystem::is_empty(program.state.path()));
    CHECK(run(program.path() + " --frame=2").code == 2);
  }

  TEST_CASE("control_socket_threads: numbers, threads and log level change at run time; the log can be followed") {
    const Program program("control_socket_threads");
    const std::string command = program.path() + " --app-state-dir=" + program.state.path();
    Terminal threads(command);
    REQUIRE(threads.shows("Control socket: " + (program.state / "pool.sock")));
    const auto kitty =
        kt::Client::connect("crunch", "pool", kt::ClientOptions{.state_directory = program.state.path()});
    CHECK(eventually([&] { return kitty.call("stats")["done"] > 0; }));
    CHECK(kitty.call<int>("threads", 5) == 5);
    CHECK(kitty.call<int>("threads") == 5);
    CHECK(kitty.call("stats")["threads"] == 5);
    CHECK_THROWS_WITH_AS(kitty.call("threads", 99), "HTTP 500: there can be 0 to 64 threads", kt::Error);
    CHECK(kitty.call<int>("threads", 1) == 1);
    CHECK(eventually([&] { return kitty.call("stats")["threads"] == 1; }));

    CHECK(kitty.call<std::string>("log_level") == "info");
    CHECK_THROWS_AS(kitty.call("log_level", "loud"), kt::Error);
    CHECK(kitty.call<std::string>("log_level", "debug") == "debug");
    auto tail = kitty.stream<std::string>("tail");
    auto line = tail.begin();
    while (line != tail.end() && !contains(*line, " primes")) ++line;
    CHECK(line != tail.end());

    const Ran second = run(command);
    CHECK(second.code == 1);
    CHECK(contains(second.err, "crunch/pool is already running"));
    threads.type("\x03");
    CHECK(threads.ends() == 0);
    while (line != tail.end()) ++line;
    CHECK(contains(threads.shown(), "Jobs done: "));
    CHECK(std::filesystem::is_empty(program.state.path()));
    CHECK(run(command + " --second=0.1").code == 1);
  }

  TEST_CASE("control_socket_threads ends when it is stopped through its socket, and when its time is up") {
    const Program program("control_socket_threads");
    const std::string command = program.path() + " --app-state-dir=" + program.state.path();
    Terminal threads(command);
    REQUIRE(threads.shows("Control socket: "));
    CHECK(run(Program("hello").path() +
              " --app-name=crunch --worker-name=pool --app-state-dir=" + program.state.path() + " stop")
              .out == "crunch/pool: Stopped\n");
    CHECK(threads.ends() == 0);
    CHECK(run(command + " --seconds=0.1").code == 0);
  }

  TEST_CASE("control_socket_asio: its own connections and the control socket share a loop") {
    if (run("command -v curl").code != 0) {
      MESSAGE("skipped: no curl");
      return;
    }
    const Program program("control_socket_asio");
    const std::string command = program.path() + " --app-state-dir=" + program.state.path();
    Terminal echo(command);
    REQUIRE(echo.shows("Control socket: " + (program.state / "server.sock")));
    REQUIRE(echo.shows("Echoing on port "));
    REQUIRE(echo.shows("\n"));
    const auto kitty =
        kt::Client::connect("echo", "server", kt::ClientOptions{.state_directory = program.state.path()});
    const std::string digits = echo.shown().substr(echo.shown().find("Echoing on port ") + 16);
    kt::Fd peer(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(std::stoi(digits)));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::connect(peer.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(kt::detail::write_all(peer.get(), "hello"));
    char text[8];
    CHECK(::recv(peer.get(), text, 5, MSG_WAITALL) == 5);
    CHECK(std::string(text, 5) == "hello");
    const auto connections = kitty.call<std::map<std::string, int>>("connections");
    REQUIRE(connections.size() == 1);
    CHECK(connections.begin()->second == 5);
    CHECK(kitty.call<int>("close_all") == 1);
    CHECK(::recv(peer.get(), text, sizeof text, 0) == 0);
    CHECK(eventually([&] { return kitty.call("connections").empty(); }));
    CHECK(run("curl -s -X POST " + program.url("server") + "/close_all").out == "0\n");

    CHECK(run(command).code == 1);
    echo.type("\x03");
    CHECK(echo.ends() == 0);
    CHECK(echo.shown().ends_with("Closed\r\n"));
    CHECK(std::filesystem::is_empty(program.state.path()));
    CHECK(run(command + " --seconds=0.1").code == 0);
  }

  TEST_CASE("a program that was killed leaves files behind, which the next one replaces") {
    const Program program("control_socket_asio");
    const std::string command = program.path() + " --app-state-dir=" + program.state.path();
    {
      Terminal echo(command);
      REQUIRE(echo.shows("Echoing on port "));
      CHECK(::kill(std::stoi(contents(program.state / "server.lock")), SIGKILL) == 0);
      CHECK(echo.ends() == 128 + SIGKILL);
    }
    CHECK(!program.url("server").empty());
    Terminal again(command);
    REQUIRE(again.shows("Echoing on port "));
    const auto kitty =
        kt::Client::connect("echo", "server", kt::ClientOptions{.state_directory = program.state.path()});
    CHECK(kitty.call("connections").empty());
    kitty.call("quitquitquit");
    CHECK(again.ends() == 0);
  }

  // With command_prefix().
  TEST_CASE("subcommand: a tool's word leads to the service, whose process is started with that word") {
    const Program tool("subcommand");
    const std::string daemon =
        tool.path() + " daemon --app-state-dir=" + tool.state.path() + " --app-data-dir=" + tool.state.path() + " ";
    CHECK(run(tool.path() + " nth 1000").out == "7919\n");
    CHECK(run(tool.path() + " dmaeon").code == 2);
    CHECK(contains(run(daemon).out, "Try this: " + tool.path() + " daemon help\n"));
    CHECK(contains(run(daemon + "help").out, "Usage: subcommand daemon ["));
    REQUIRE(run(daemon + "start").code == 0);
    CHECK(run(daemon + "known").out == "2\n");
    CHECK(run(daemon + "nth 1000").out == "7919\n");
    CHECK(run(daemon + "known").out == "1000\n");
    const Ran typo = run(daemon + "nht 5");
    CHECK(typo.code == 2);
    CHECK(contains(typo.err, "(did you mean 'nth'?); try: " + tool.path() + " daemon help"));
    CHECK(run(daemon + "nth 0").code == 6);
    CHECK(run(daemon + "restart").code == 0);
    CHECK(run(daemon + "known").out == "2\n");
    CHECK(run(daemon + "stop").out == "subcommand/primes: Stopped\n");

    const auto kitty = kt::Client::connect("subcommand", "primes", kt::auto_start(tool.path(), {"daemon"}),
                                           kt::ClientOptions{.state_directory = tool.state.path()});
    CHECK(kitty.call<long>("nth", 10) == 29);
    CHECK(run(daemon + "stop").code == 0);
  }
}
