// SPDX-License-Identifier: MIT
// tests/unit/services.hpp: services, clients and peers that several suites use.
#pragma once

#include "os/socket.ipp"
#include "support.hpp"

namespace test {

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
inline const std::string long_text = "a text that does not fit into any small buffer of any string";

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

inline kt::Generator<Item> items(int count, std::string text) {
  Item item;
  for (int i = 0; i < count; ++i) {
    item.text = text;
    item.number = i;
    co_yield item;
    co_await kt::sleep_for(0ms);
  }
}

inline int add(int a, int b) { return a + b; }

struct Tag {
  std::string name;
  operator std::string_view() const { return name; }
};
inline void to_json(auto& value, const Tag& tag) { value = {{"tag", tag.name}}; }

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

inline void register_everything(kt::Kitten& kitten, Calculator& calculator) {
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

// What goes over a unix socket besides bytes.
inline void send_with(Wire& wire, std::string_view bytes, const std::vector<int>& descriptors) {
  std::vector<kt::Fd> owned;
  for (const int fd : descriptors) owned.emplace_back(fd);
  const ssize_t n = descriptors.empty() ? 0 : kt::detail::send_with_descriptors(wire.fd(), bytes, owned);
  CHECK(n >= 0);
  for (kt::Fd& fd : owned) fd.release();
  if (n >= 0) wire.send(bytes.substr(static_cast<std::size_t>(n)));
}

// A file that has been written and can be read.
inline kt::File file_with(const std::string& path, const std::string& text, const std::string& mode = "rb") {
  write_file(path, text);
  return kt::File::open(path, mode);
}

inline std::string all_of(const kt::Fd& fd) {
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
    return kt::detail::ClientAccess::make(settings, options);
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

inline int plain_twice(int n) { return 2 * n; }

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

inline kt::Client client_of(const Home& home, kt::ClientOptions options = {}) {
  options.state_directory = home.state.path();
  return kt::Client::connect("testkitten", "Kitty", options);
}

}  // namespace test
