// SPDX-License-Identifier: MIT
// session.cpp: one whole session of a service and its clients, in this process, again and again: the first time the
// first allocation (or system call) fails, then the second, until there is none left that could. Whatever fails, the
// session ends in success or in an exception; what comes after the failure works again; no call ends in a time-out;
// nothing stays behind: no file, no descriptor, no memory (under LeakSanitizer).
//
//   session                      every call of everything shim.cpp can make fail
//   session --every=7 [NAME...]  each seventh one; of these only; --not-memory is all but allocations
//   session --from=120 --to=130 --leaks memory   looks for leaks after each: which one it was
//
// The last line is `N passed, N failed`; what has crashed or hangs says at which call it was.
#include "kettlingar.hpp"

#include <dirent.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <signal.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <new>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "shim.hpp"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#define FAULTS_HAS_LEAKS
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/lsan_interface.h>
#define FAULTS_HAS_LEAKS
#endif
#endif

#if defined(FAULTS_HAS_LEAKS)
// Its constructor from a list in braces loses the map or list when what belongs into it cannot be copied.
extern "C" const char* __lsan_default_suppressions() { return "leak:basic_json(std::initializer_list\n"; }
#endif

namespace kt = kettlingar;
using kt::json;
using namespace std::chrono_literals;

// ---- memory that can run out

namespace {
// Where nobody can be told that there is no memory: nlohmann_json allocates in the destructors of its lists and maps,
// and Asio calls what a coroutine awaits from a function that must not throw.
bool must_not_fail() {
  std::array<void*, 64> frames{};
  const int count = ::backtrace(frames.data(), static_cast<int>(frames.size()));
  for (int i = 0; i < count; ++i) {
    Dl_info info{};
    if (::dladdr(frames[static_cast<std::size_t>(i)], &info) == 0 || info.dli_sname == nullptr) continue;
    if (std::strstr(info.dli_sname, "10json_value7destroy") != nullptr) return true;
    const bool of_asio =
        std::strncmp(info.dli_sname, "_ZZN4asio", 9) == 0 || std::strncmp(info.dli_sname, "_ZN4asio", 8) == 0;
    if (of_asio && std::strstr(info.dli_sname, "13await_suspend") != nullptr) return true;
  }
  return false;
}

void* allocate(std::size_t size, std::size_t alignment = 0) {
  if (faults::fails("memory") && !must_not_fail()) return nullptr;
  if (alignment == 0) return std::malloc(size == 0 ? 1 : size);
  return std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}
void* or_throw(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
}  // namespace

void* operator new(std::size_t size) { return or_throw(allocate(size)); }
void* operator new[](std::size_t size) { return or_throw(allocate(size)); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return allocate(size); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return allocate(size); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return or_throw(allocate(size, static_cast<std::size_t>(alignment)));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace {

// ---- what must not have changed

int open_descriptors() {
  int count = 0;
  DIR* directory = ::opendir("/proc/self/fd");
  while (::readdir(directory) != nullptr) ++count;
  ::closedir(directory);
  return count;
}

bool leaks() {
#if defined(FAULTS_HAS_LEAKS)
  return __lsan_do_recoverable_leak_check() != 0;
#else
  return false;
#endif
}

// ---- where we are, for those who have to say so while they die

char position[128] = "";

void say_position(int number) {
  const char* what = number == SIGALRM ? "session: HANGS at " : "session: DIES at ";
  for (const char* text : {what, static_cast<const char*>(position), "\n"})
    if (::write(STDERR_FILENO, text, std::strlen(text)) < 0) break;
  std::array<void*, 40> frames{};
  ::backtrace_symbols_fd(frames.data(), ::backtrace(frames.data(), static_cast<int>(frames.size())), STDERR_FILENO);
  ::signal(number, SIG_DFL);
  ::raise(number == SIGALRM ? SIGABRT : number);
}

// ---- the session

class Session {
 public:
  explicit Session(const std::string& directory) : directory_(directory) {}

  /// True if the service could be started.
  bool run(bool stop_explicitly);
  /// What has failed, and should not have.
  std::vector<std::string> wrong;

 private:
  int late_ = 0;  ///< steps that failed after what was to fail

  template <class F>
  void step(const char* name, F action);
  kt::ClientOptions options(bool unix_socket, bool msgpack) const;
  void add_methods(kt::Kitten& kitten) const;
  void use(kt::Kitten& kitten);
  void pipeline(const std::string& url, const std::string& token);

  std::string directory_;
};

// A call may take this long, and never does.
constexpr auto patience = 10s;

kt::ClientOptions Session::options(bool unix_socket, bool msgpack) const {
  kt::ClientOptions result;
  result.state_directory = directory_;
  result.use_unix_socket = unix_socket;
  result.use_msgpack = msgpack;
  result.timeouts = {patience, patience, patience, patience, patience};
  return result;
}

void require(bool fine, const char* what) {
  if (!fine) throw std::logic_error(what);
}

template <class F>
void Session::step(const char* name, F action) {
  const bool before = faults::fired();
  std::string what;
  try {
    action();
    return;
  } catch (const std::logic_error& error) {
    if (dynamic_cast<const std::invalid_argument*>(&error) == nullptr)
      wrong.push_back(std::string(name) + ": wrong result: " + error.what());
    what = error.what();
  } catch (const std::exception& error) {
    what = error.what();
  }
  // A service that has failed to accept turns away whoever comes next; what comes then is served.
  if (before && late_++ == 0 && what.find("closed the connection") != std::string::npos) return;
  if (before || !faults::fired()) wrong.push_back(std::string(name) + " failed by itself: " + what);
  if (what.find("timeout") != std::string::npos) wrong.push_back(std::string(name) + ": " + what);
}

void Session::add_methods(kt::Kitten& kitten) const {
  kitten.public_api("meow", [] { return kt::text("Meow world, meow!\n"); });
  kitten.api(
      "echo", [](json value) { return value; }, "", kt::arg("value"));
  kitten.api("fails", []() -> int { throw std::runtime_error("as it should"); });
  kitten.api("nap", []() -> kt::Task<std::string> {
    co_await kt::sleep_for(1ms);
    co_return "slept";
  });
  kitten.api(
      "count",
      [](int n) -> kt::Generator<json> {
        for (int i = 0; i < n; ++i) {
          if (i % 3 == 1) co_await kt::sleep_for(0ms);
          json item{{"i", i}};
          co_yield item;
        }
      },
      "", kt::arg("n"));
  kitten.api(
      "cat", [](kt::File file) -> kt::Task<std::string> { co_return co_await kt::async_read_all(file); }, "",
      kt::arg("file"));
  kitten.api("lend", [path = directory_ + ".data"] { return kt::File::open(path); });
}

// Three requests in one go; the answers come in their order.
void Session::pipeline(const std::string& url, const std::string& token) {
  const kt::detail::Deadline deadline = std::chrono::steady_clock::now() + patience;
  const auto port = static_cast<std::uint16_t>(std::stoi(url.substr(url.rfind(':') + 1)));
  const auto address = kt::detail::tcp_address("127.0.0.1", port);
  const kt::Fd socket = kt::detail::connect_socket(*address, deadline);
  if (!socket) kt::detail::throw_errno("pipeline: connect");
  std::string requests;
  for (const char* number : {"1", "2", "3"}) {
    const std::string body = std::string("{\"value\": ") + number + "}";
    requests += "POST /" + token + "/echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    if (*number == '3') requests += "Connection: close\r\n";
    requests += "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }
  if (kt::detail::send_some(socket.get(), requests) != static_cast<ssize_t>(requests.size()))
    throw std::runtime_error("pipeline: send");
  std::string received;
  for (;;) {
    char block[4096];
    if (!kt::detail::wait_for(socket.get(), POLLIN, deadline)) throw std::runtime_error("pipeline: timeout");
    const ssize_t n = ::recv(socket.get(), block, sizeof block, 0);
    if (n < 0 && errno == EAGAIN) continue;
    if (n <= 0) break;
    received.append(block, static_cast<std::size_t>(n));
  }
  std::size_t at = 0;
  for (const char* number : {"1\n", "2\n", "3\n"}) {
    at = received.find(std::string("\r\n\r\n") + number, at);
    if (at == std::string::npos) throw std::runtime_error("pipeline: answers are missing");
    at += 4;
  }
}

void Session::use(kt::Kitten& kitten) {
  const auto connect = [&](bool unix_socket, bool msgpack) {
    return kt::Client::connect("faults", "session", options(unix_socket, msgpack));
  };
  for (const bool unix_socket : {true, false}) {
    for (const bool msgpack : {true, false}) {
      step("connect", [&] {
        const kt::Client client = connect(unix_socket, msgpack);
        step("meow", [&] { require(client.call<kt::Result>("meow").data == "Meow world, meow!\n", "meow"); });
        step("echo", [&] { require(client.call("echo", json{{"a", {1, 2.5, nullptr, "x"}}})["a"][1] == 2.5, "echo"); });
        step("nap", [&] { require(client.call<std::string>("nap") == "slept", "nap"); });
        step("stream", [&] {
          int items = 0;
          for (const json& item : client.stream<json>("count", 10)) require(item.at("i") == items++, "order");
          require(items == 10, "items");
        });
        step("fails", [&] {
          try {
            client.call("fails");
          } catch (const kt::Error& error) {
            if (error.status() == 500) return;
            throw;
          }
          throw std::logic_error("no error");
        });
      });
    }
  }
  for (const bool unix_socket : {true, false}) {
    step("large", [&] {
      const kt::Client client = connect(unix_socket, true);
      require(client.call<std::string>("echo", std::string(200'000, 'x')).size() == 200'000, "large");
    });
  }
  step("descriptors", [&] {
    const kt::Client client = connect(true, true);
    step("cat",
         [&] { require(client.call<std::string>("cat", kt::File::open(directory_ + ".data")) == "data", "cat"); });
    step("lend", [&] {
      const auto file = client.call<kt::File>("lend");
      char data[16];
      require(::pread(file.get(), data, sizeof data, 0) == 4, "lend");
    });
  });
  step("coroutine", [&] {
    asio::io_context loop;
    std::exception_ptr thrown;
    asio::co_spawn(
        loop,
        [&]() -> kt::Task<void> {
          const kt::Client client = co_await kt::Client::async_connect("faults", "session", options(true, true));
          require(co_await client.async_call<int>("echo", 5) == 5, "async echo");
          auto items = client.async_stream<json>("count", 5);
          int count = 0;
          while (auto item = co_await items.next()) ++count;
          require(count == 5, "async items");
        },
        [&](std::exception_ptr error) { thrown = error; });
    loop.run();
    if (thrown) std::rethrow_exception(thrown);
  });
  step("dropped stream", [&] {
    const kt::Client client = connect(true, true);
    auto items = client.stream<json>("count", 1'000'000);
    require((*items.begin())["i"] == 0, "first item");
  });
  step("loopback", [&] { require(kitten.loopback().call<int>("echo", 7) == 7, "loopback"); });
  step("pipelining", [&] { pipeline(kitten.url(), kitten.token()); });
}

bool Session::run(bool stop_explicitly) {
  bool started = false;
  step("life", [&] {
    kt::Kitten kitten("faults", "session", "A service in trouble");
    kitten.settings().app_state_dir = directory_;
    kitten.limits().drain_timeout = 200ms;
    kitten.log_to([](kt::LogLevel, std::string_view) {});
    add_methods(kitten);
    step("start", [&] {
      kitten.start_thread();
      started = true;
    });
    // Nothing has been left behind that would be in the way.
    if (!started && faults::fired())
      step("second start", [&] {
        kitten.start_thread();
        started = true;
      });
    if (started) use(kitten);
    if (started && stop_explicitly) step("stop", [&] { kitten.stop(); });
  });
  return started;
}

}  // namespace

int main(int argc, char** argv) {
  long every = 1, from = 1, to = 1'000'000;
  bool leaks_each = false;
  std::vector<std::string_view> chosen;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word.starts_with("--every="))
      every = std::atol(argv[i] + 8);
    else if (word.starts_with("--from="))
      from = std::atol(argv[i] + 7);
    else if (word.starts_with("--to="))
      to = std::atol(argv[i] + 5);
    else if (word == "--leaks")
      leaks_each = true;
    else if (word == "--not-memory")
      chosen.assign(faults::names().begin() + 1, faults::names().end());
    else
      chosen.push_back(word);
  }
  if (chosen.empty()) chosen = faults::names();
  for (const int number : {SIGALRM, SIGABRT, SIGSEGV}) ::signal(number, say_position);

  std::string base = (std::filesystem::temp_directory_path() / "faults.XXXXXX").string();
  if (::mkdtemp(base.data()) == nullptr) return 2;
  const std::string directory = base + "/state";
  std::ofstream(directory + ".data") << "data";
  int passed = 0, failed = 0;
  // What is made once and kept, by Asio for example, is there from now on.
  const bool healthy = Session(directory).run(true) && Session(directory).run(false);
  if (!healthy) std::cout << "FAIL a session in which nothing fails" << std::endl;
  failed += !healthy;

  for (const std::string_view name : chosen) {
    const int before = failed;
    long last = 0, runs = 0;
    for (long n = from; healthy && n <= to; n += every) {
      const int descriptors = open_descriptors();
      std::snprintf(position, sizeof position, "%.*s:%ld", static_cast<int>(name.size()), name.data(), n);
      ::alarm(120);
      Session session(directory);
      faults::fail(name, n);
      session.run(n % 2 == 0);
      last = faults::disarm();
      const bool reached = faults::fired();
      ::alarm(0);
      ++runs;
      std::error_code ignored;
      for (const auto& entry : std::filesystem::directory_iterator(directory, ignored))
        session.wrong.push_back("left behind: " + entry.path().filename().string());
      std::filesystem::remove_all(directory, ignored);
      // What the service's end still had to close is closed when its thread has been joined.
      if (open_descriptors() != descriptors)
        session.wrong.push_back("descriptors: " + std::to_string(descriptors) + " before, " +
                                std::to_string(open_descriptors()) + " after");
      if (leaks_each && leaks()) session.wrong.push_back("memory leaked");
      for (const std::string& line : session.wrong) std::cout << "FAIL " << position << ": " << line << std::endl;
      session.wrong.empty() ? ++passed : ++failed;
      if (!reached) break;
    }
    if (healthy && leaks()) {
      std::cout << "FAIL " << name << ": memory leaked; --leaks says where" << std::endl;
      ++failed;
    }
    std::cout << (failed == before ? "ok   " : "FAIL ") << name << ": " << runs << " sessions, about " << last
              << " calls in the last" << std::endl;
  }
  std::filesystem::remove_all(base);
  std::cout << passed << " passed, " << failed << " failed" << std::endl;
  return failed == 0 ? 0 : 1;
}
