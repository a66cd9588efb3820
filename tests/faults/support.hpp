// SPDX-License-Identifier: MIT
// support.hpp: what the programs of this folder share: a service as a process, connections to it byte by byte, and the
// tally of what was found. Nothing here knows the library.
#pragma once

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace faults {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

/// How long anything that has to happen may take on a loaded machine. Never slept through.
constexpr auto patience = 60s;

template <class Condition>
bool eventually(Condition condition, Clock::duration limit = patience) {
  const auto end = Clock::now() + limit;
  while (!condition()) {
    if (Clock::now() > end) return false;
    std::this_thread::sleep_for(2ms);
  }
  return true;
}

/// Empty if it cannot be read, as files of processes that have just ended.
inline std::string contents(const std::string& path) {
  std::string text;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  char block[4096];
  for (ssize_t n; fd >= 0 && (n = ::read(fd, block, sizeof block)) > 0;)
    text.append(block, static_cast<std::size_t>(n));
  if (fd >= 0) ::close(fd);
  return text;
}

/// Counts, and prints one line for each case.
class Tally {
 public:
  /// Runs one case; what it throws is why it failed.
  template <class F>
  void test(const std::string& name, F action) {
    try {
      action();
      ++passed_;
      std::cout << "ok       " << name << std::endl;
    } catch (const std::exception& error) {
      ++failed_;
      std::cout << "FAIL     " << name << ": " << error.what() << std::endl;
    }
  }
  void skip(const std::string& name, const std::string& why) {
    std::cout << "skipped: " << name << " (" << why << ")" << std::endl;
  }
  /// Prints the last line; the exit code.
  int end() const {
    std::cout << passed_ << " passed, " << failed_ << " failed" << std::endl;
    return failed_ == 0 ? 0 : 1;
  }

 private:
  int passed_ = 0, failed_ = 0;
};

inline void require(bool fine, const std::string& what) {
  if (!fine) throw std::runtime_error(what);
}

/// A directory that goes with everything in it.
class TempDir {
 public:
  TempDir() {
    path_ = (std::filesystem::temp_directory_path() / "faults.XXXXXX").string();
    if (::mkdtemp(path_.data()) == nullptr) throw std::runtime_error("cannot make a temporary directory");
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

/// A process that ends when this does.
class Process {
 public:
  Process() = default;
  /// Runs a program with standard streams on /dev/null and `output`; `prepare` is called in the child.
  Process(const std::vector<std::string>& words, const std::string& output, const std::function<void()>& prepare = {}) {
    std::vector<char*> argv;
    for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ < 0) throw std::runtime_error("cannot fork");
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // however we end
    const int in = ::open("/dev/null", O_RDONLY);
    const int out = ::open(output.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666);
    ::dup2(in, 0);
    ::dup2(out, 1);
    ::dup2(out, 2);
    for (int fd = 3; fd < 4096; ++fd) ::close(fd);
    if (prepare) prepare();
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  Process(Process&& other) noexcept : pid_(std::exchange(other.pid_, 0)) {}
  Process& operator=(Process&& other) noexcept {
    kill();
    pid_ = std::exchange(other.pid_, 0);
    return *this;
  }
  ~Process() { kill(); }

  pid_t pid() const { return pid_; }
  void signal(int number) const {
    if (pid_ > 0) ::kill(pid_, number);
  }
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  /// Its exit code, 128 and more for signals; nothing while it runs.
  std::optional<int> ended() {
    if (pid_ == 0) return code_;
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
    pid_ = 0;
    code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return code_;
  }
  /// Waits for that; -1 if it does not end.
  int wait() {
    std::optional<int> code;
    eventually([&] { return (code = ended()).has_value(); });
    return code.value_or(-1);
  }

  /// How many are open, sockets or others.
  int descriptors(bool sockets) const {
    int count = 0;
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(proc("fd"), ignored)) {
      const std::string target = std::filesystem::read_symlink(entry.path(), ignored).string();
      if (target.empty()) continue;  // closed since
      count += target.starts_with("socket:") == sockets;
    }
    return count;
  }
  int descriptors() const { return descriptors(true) + descriptors(false); }
  /// Kilobytes: VmRSS, VmSize and the like.
  long memory(const std::string& kind) const {
    std::istringstream lines(contents(proc("status")));
    for (std::string line; std::getline(lines, line);)
      if (line.starts_with(kind + ":")) return std::atol(line.c_str() + kind.size() + 1);
    return 0;
  }
  /// Processor time so far, in seconds.
  double processor_time() const {
    const std::string text = contents(proc("stat"));
    std::istringstream fields(text.substr(text.rfind(')') + 2));
    std::string field;
    double ticks = 0;
    for (int i = 3; fields >> field; ++i)
      if (i == 14 || i == 15) ticks += std::atof(field.c_str());
    return ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
  }
  /// The share of one processor that it uses while nothing else happens.
  double load(std::chrono::milliseconds during = 1000ms) const {
    const double before = processor_time();
    const auto begin = Clock::now();
    std::this_thread::sleep_for(during);
    return (processor_time() - before) / std::chrono::duration<double>(Clock::now() - begin).count();
  }

 private:
  std::string proc(const std::string& name) const { return "/proc/" + std::to_string(pid_) + "/" + name; }

  pid_t pid_ = 0;
  int code_ = -1;
};

/// The program service.cpp, in the foreground, in a directory of its own.
class Service {
 public:
  explicit Service(std::string program, std::vector<std::string> options = {}, std::function<void()> prepare = {})
      : program_(std::move(program)), options_(std::move(options)), prepare_(std::move(prepare)) {}

  /// Starts it and waits until it serves. Throws with what it said if it does not.
  void start() {
    process = launch();
    if (!eventually([&] { return process.ended() || serves(); })) throw std::runtime_error("it does not start");
    if (process.ended()) throw std::runtime_error("it has ended: " + log());
  }
  Process launch() const { return Process(words({"start", "--foreground"}), log_path(), prepare_); }
  std::vector<std::string> words(const std::vector<std::string>& command) const {
    std::vector<std::string> all{program_, "--app-state-dir=" + state()};
    all.insert(all.end(), options_.begin(), options_.end());
    all.insert(all.end(), command.begin(), command.end());
    return all;
  }
  /// SIGTERM, and its exit code.
  int stop() {
    process.signal(SIGTERM);
    return process.wait();
  }
  /// Where and with which token; false while nothing is said about that.
  bool read_url() {
    const std::string url = contents(state() + "/service.url");
    const std::size_t slash = url.rfind('/'), colon = url.rfind(':');
    if (slash == std::string::npos || colon == std::string::npos || colon > slash) return false;
    token = url.substr(slash + 1);
    port = static_cast<std::uint16_t>(std::atoi(url.c_str() + colon + 1));
    return true;
  }
  /// True if it can be called; what a killed one has left behind knows another token.
  bool serves();
  std::string state() const { return directory / "state"; }
  std::string socket_path() const { return state() + "/service.sock"; }
  std::string log_path() const { return directory / "log"; }
  std::string log() const { return contents(log_path()); }
  /// What is left in the state directory.
  std::string files() const {
    std::string names;
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(state(), ignored))
      names += entry.path().filename().string() + " ";
    return names;
  }

  TempDir directory;
  Process process;
  std::string token;
  std::uint16_t port = 0;

 private:
  std::string program_;
  std::vector<std::string> options_;
  std::function<void()> prepare_;
};

struct Answer {
  int status = 0;
  std::string head;
  std::string body;
  bool complete = false;
  bool closes = false;
};

/// A connection to a service.
class Wire {
 public:
  enum class Over { tcp, unix_socket };

  Wire() = default;
  Wire(const Service& service, Over over, int receive_buffer = 0) {
    fd_ = ::socket(over == Over::tcp ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (receive_buffer != 0) ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    int result = -1;
    if (over == Over::tcp) {
      sockaddr_in address{};
      address.sin_family = AF_INET;
      address.sin_port = htons(service.port);
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      result = ::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address);
    } else {
      sockaddr_un address{};
      address.sun_family = AF_UNIX;
      const std::string path = service.socket_path();
      std::memcpy(address.sun_path, path.c_str(), (std::min)(path.size(), sizeof address.sun_path - 1));
      result = ::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address);
    }
    if (result != 0) close();
  }
  Wire(Wire&& other) noexcept : fd_(std::exchange(other.fd_, -1)), received_(std::move(other.received_)) {}
  Wire& operator=(Wire&& other) noexcept {
    close();
    fd_ = std::exchange(other.fd_, -1);
    received_ = std::move(other.received_);
    return *this;
  }
  ~Wire() { close(); }

  int fd() const { return fd_; }
  bool open() const { return fd_ >= 0; }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  /// The end that a crash or a kill leaves behind; unix sockets have none but that of unread bytes.
  void reset() {
    const linger at_once{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close();
  }
  void half_close() { ::shutdown(fd_, SHUT_WR); }
  /// False if not all of it was taken.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }
  bool readable(std::chrono::milliseconds limit = patience) const {
    pollfd entry{fd_, POLLIN, 0};
    return ::poll(&entry, 1, static_cast<int>(limit.count())) > 0;
  }
  /// Appends what comes; false at the end. Throws if nothing happens for too long.
  bool receive() {
    if (!readable()) throw std::runtime_error("nothing comes, and no end");
    char block[65536];
    const ssize_t n = ::recv(fd_, block, sizeof block, 0);
    if (n <= 0) return false;
    received_.append(block, static_cast<std::size_t>(n));
    return true;
  }
  bool until(std::string_view text) {
    while (received_.find(text) == std::string::npos)
      if (!receive()) return false;
    return true;
  }
  /// Everything up to the end.
  std::string rest() {
    while (receive()) {
    }
    return std::exchange(received_, {});
  }
  const std::string& received() const { return received_; }
  void forget() { received_.clear(); }
  /// One answer; `complete` is false if it breaks off. Throws for what is none.
  Answer answer();

 private:
  std::string take(std::size_t size) {
    std::string part = received_.substr(0, size);
    received_.erase(0, size);
    return part;
  }
  bool line(std::string& out) {
    std::size_t end;
    while ((end = received_.find("\r\n")) == std::string::npos)
      if (!receive()) return false;
    out = take(end);
    take(2);
    return true;
  }
  bool block(std::size_t size, std::string& out) {
    while (received_.size() < size)
      if (!receive()) return false;
    out += take(size);
    return true;
  }

  int fd_ = -1;
  std::string received_;
};

// A strict reader of its own: what does not parse here is wrong.
inline Answer Wire::answer() {
  Answer result;
  std::string text;
  if (!line(text)) {
    require(received_.empty(), "the head of an answer breaks off: " + received_.substr(0, 60));
    return result;
  }
  require(text.starts_with("HTTP/1.1 ") && text.size() >= 12, "no status line: " + text.substr(0, 60));
  result.status = std::atoi(text.c_str() + 9);
  result.head = text + "\n";
  std::size_t length = 0;
  bool has_length = false, chunked = false;
  for (;;) {
    require(line(text), "the head of an answer breaks off");
    if (text.empty()) break;
    const std::size_t colon = text.find(": ");
    require(colon != std::string::npos && text.find_first_of("\r\n") == std::string::npos, "no header line: " + text);
    const std::string name = text.substr(0, colon), value = text.substr(colon + 2);
    result.head += text + "\n";
    if (name == "Content-Length") has_length = true, length = std::stoul(value);
    if (name == "Transfer-Encoding") chunked = value == "chunked";
    if (name == "Connection") result.closes = value == "close";
  }
  require(!(chunked && has_length), "an answer has two lengths");
  if (result.status == 204 || result.status == 100) {
    result.complete = true;
  } else if (has_length) {
    result.complete = block(length, result.body);
  } else {
    require(chunked, "an answer has no length");
    for (;;) {
      if (!line(text)) return result;
      const std::string digits = text.substr(0, text.find(';'));
      require(!digits.empty() && digits.find_first_not_of("0123456789abcdef") == std::string::npos &&
                  (digits == text || text.substr(digits.size()) == ";error"),
              "no chunk: " + text);
      const std::size_t size = std::stoul(text, nullptr, 16);
      std::string end;
      if (size != 0 && !block(size, result.body)) return result;
      if (!block(2, end)) return result;
      require(end == "\r\n", "a chunk does not end where it should");
      if (size == 0) break;
    }
    result.complete = true;
  }
  return result;
}

inline std::string get(const std::string& path) { return "GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n"; }

inline std::string post(const Service& service, const std::string& method, const std::string& arguments = "{}") {
  return "POST /" + service.token + "/" + method +
         " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" +
         "Content-Length: " + std::to_string(arguments.size()) + "\r\n\r\n" + arguments;
}

/// One call over a connection of its own.
inline Answer call(const Service& service, const std::string& method, const std::string& arguments = "{}",
                   Wire::Over over = Wire::Over::unix_socket) {
  Wire wire(service, over);
  require(wire.open(), "no connection");
  wire.send(post(service, method, arguments));
  return wire.answer();
}

inline bool Service::serves() {
  try {
    return read_url() && call(*this, "alive").status == 200;
  } catch (const std::exception&) {
    return false;
  }
}

/// I1: a fresh connection is served, over either socket, with a token and without.
inline void require_alive(const Service& service) {
  for (const Wire::Over over : {Wire::Over::tcp, Wire::Over::unix_socket}) {
    Wire wire(service, over);
    require(wire.open(), "I1: it does not accept any more");
    wire.send(get("/meow"));
    require(wire.answer().status == 200, "I1: the public method does not answer");
    wire.send(post(service, "echo", "{\"value\": 7}"));
    require(wire.answer().body == "7\n", "I1: a method does not answer");
  }
}

/// What is open when nobody is connected: two sockets listen.
inline int base_descriptors(const Service& service) { return service.process.descriptors(false) + 2; }

/// I6: what the connections had is given back.
inline void require_descriptors(const Service& service, int expected) {
  if (eventually([&] { return service.process.descriptors() == expected; })) return;
  throw std::runtime_error("I6: " + std::to_string(service.process.descriptors()) + " descriptors are open, not " +
                           std::to_string(expected));
}

}  // namespace faults
