// SPDX-License-Identifier: MIT
// Whatever a caller passes, and whatever others do to it meanwhile: the service goes on.
#include "call/blocking_work.ipp"
#include "os/socket.ipp"
#include "services.hpp"
#include "support.hpp"

#if defined(__linux__)
#include <linux/fuse.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

namespace {

constexpr const char* file_argument = R"({"_args": ["_FD_BRE_MAGIC_-rb+"]})";
constexpr const char* socket_argument = R"({"_args": ["_SO_BRE_MAGIC_-1-1-0"]})";

bool is_socket(int fd) {
  int type = 0;
  socklen_t size = sizeof type;
  return ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0;
}

// Methods that read, write and keep what they are given.
struct Passing : Home {
  ~Passing() { kitten.stop(); }  // handlers use what is here
  Passing() {
    kitten.api(
        "read",
        [this](kt::Fd fd) -> kt::Task<std::string> {
          begun.happen();
          try {
            co_return "read: " + co_await kt::async_read_some(fd, 100);
          } catch (const std::system_error& error) {
            co_return error.code().message();
          }
        },
        kt::arg("fd"));
    kitten.api(
        "write",
        [this](kt::Fd fd) -> kt::Task<std::string> {
          begun.happen();
          try {
            co_await kt::async_write_all(fd, "12345678");
            co_return "written";
          } catch (const std::system_error& error) {
            co_return error.code().message();
          }
        },
        kt::arg("fd"));
    kitten.api(
        "take",
        [this](kt::Fd) -> kt::Task<std::string> {
          begun.happen();
          while (keeps) co_await kt::sleep_for(1ms);
          co_return "taken";
        },
        kt::arg("fd"));
    kitten.api(
        "back", [](kt::Fd fd) { return fd; }, kt::arg("fd"));
    kitten.public_api("alive", [] { return 1; });
    kitten.limits().write_timeout = 500ms;
    start();
  }
  // The call, on its way.
  Wire begin(const std::string& method, int fd, std::string arguments = {}) {
    if (arguments.empty()) arguments = is_socket(fd) ? socket_argument : file_argument;
    Wire wire = Wire::local(kitten);
    send_with(wire, post(path(method), arguments), {fd});
    return wire;
  }
  void is_alive() {
    const std::string body = Wire::tcp(kitten).send(get("/alive")).answer().body;
    REQUIRE(body == "1\n");
  }
  std::string text_of(Wire& wire) {
    const Answer answer = wire.answer();
    return answer.status == 200 ? json::parse(answer.body).get<std::string>() : std::to_string(answer.status);
  }

  Happening begun;
  std::atomic<bool> keeps = false;  // "take" does, for as long
};

// One descriptor, what belongs to it, and what makes it ready if it is not.
struct Passed {
  explicit Passed(int fd) : passed(fd) { REQUIRE(passed); }
  explicit Passed(kt::Fd fd) : passed(std::move(fd)) { REQUIRE(passed); }
  Passed& with(kt::Fd fd) {
    others.push_back(std::move(fd));
    return *this;
  }
  int other(std::size_t i = 0) const { return others[i].get(); }

  kt::Fd passed;
  std::vector<kt::Fd> others;
  std::function<void()> then = [] {};
};

// What reading and writing come to; "waits" is for ever. "waits, ..." comes to the rest when `then` has been called.
struct Kind {
  std::string name;
  std::function<Passed(Passing&)> make;
  const char* read;
  const char* write;
};

void fill(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  ::fcntl(fd, F_SETFL, flags | O_NONBLOCK);
  const std::string much(4096, 'm');
  // A connection has room again when what is on its way has come.
  for (bool full = false; !full; std::this_thread::sleep_for(10ms)) {
    full = true;
    while (::write(fd, much.data(), much.size()) > 0) full = false;
    while (::write(fd, "m", 1) > 0) full = false;
  }
  ::fcntl(fd, F_SETFL, flags);
}

void drain(int fd) {
  std::string block(1 << 20, '\0');
  while (::recv(fd, block.data(), block.size(), MSG_DONTWAIT) > 0) {
  }
  pollfd entry{fd, POLLIN, 0};
  while (!is_socket(fd) && ::poll(&entry, 1, 0) == 1) {
    if (::read(fd, block.data(), block.size()) <= 0) break;
  }
}

void say(int fd) { CHECK(::write(fd, "said", 4) == 4); }

Passed pipe_end(bool reader) {
  Pipe pipe;
  Passed made(std::move(reader ? pipe.reader : pipe.writer));
  made.with(std::move(reader ? pipe.writer : pipe.reader));
  return made;
}

Passed fifo(Passing& home) {
  const std::string path = home.state / "fifo";
  ::unlink(path.c_str());
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  return Passed(::open(path.c_str(), O_RDWR | O_CLOEXEC));
}

// The passed one is the terminal, the other its master.
Passed terminal() {
  kt::Fd master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
  REQUIRE(master);
  REQUIRE(::grantpt(master.get()) == 0);
  REQUIRE(::unlockpt(master.get()) == 0);
  Passed made(::open(::ptsname(master.get()), O_RDWR | O_NOCTTY | O_CLOEXEC));
  termios settings{};
  ::tcgetattr(made.passed.get(), &settings);
  ::cfmakeraw(&settings);
  ::tcsetattr(made.passed.get(), TCSANOW, &settings);
  made.with(std::move(master));
  return made;
}

Passed listening(int family) {
  Passed made(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  REQUIRE((family == AF_INET ? ::listen(made.passed.get(), 1) == 0 : true));
  return made;
}

Passed socket_pair(int type) {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) == 0);
  Passed made(ends[0]);
  made.with(kt::Fd(ends[1]));
  return made;
}

// The passed one is the client's end, the other the server's.
Passed connection() {
  const kt::Fd listener = kt::detail::listen_tcp("127.0.0.1", 0, 1);
  sockaddr_in address{};
  socklen_t size = sizeof address;
  REQUIRE(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
  Passed made(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  // Buffers of a size that is set do not grow.
  const int bytes = 16 * 1024;
  for (const int end : {made.passed.get(), listener.get()}) {
    REQUIRE(::setsockopt(end, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes) == 0);
    REQUIRE(::setsockopt(end, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes) == 0);
  }
  REQUIRE(::connect(made.passed.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
  kt::Fd other(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  REQUIRE(other);
  made.with(std::move(other));
  return made;
}

// close() of its last copy waits for longer than any test is patient: nobody reads what it has sent.
Passed lingering() {
  Passed made = connection();
  fill(made.passed.get());
  const linger for_long{1, 3600};
  REQUIRE(::setsockopt(made.passed.get(), SOL_SOCKET, SO_LINGER, &for_long, sizeof for_long) == 0);
  return made;
}

const Kind kinds[] = {
    {"a file", [](Passing& home) { return Passed(file_with(home.state / "f", "text", "rb+")); }, "read: text",
     "written"},
    {"a file to be read", [](Passing& home) { return Passed(file_with(home.state / "f", "text")); }, "read: text",
     "Bad file descriptor"},
    {"a file to be written",
     [](Passing& home) { return Passed(::open((home.state / "f").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)); },
     "Bad file descriptor", "written"},
    {"a directory", [](Passing&) { return Passed(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)); }, "Is a directory",
     "Is a directory"},
    {"a mere place (O_PATH)",
     [](Passing& home) { return Passed(::open(home.state.path().c_str(), O_PATH | O_CLOEXEC)); }, "Is a directory",
     "Is a directory"},
    {"the place of a file (O_PATH)",
     [](Passing& home) {
       write_file(home.state / "f", "text");
       return Passed(::open((home.state / "f").c_str(), O_PATH | O_CLOEXEC));
     },
     "Bad file descriptor", "Bad file descriptor"},
    {"/dev/null", [](Passing&) { return Passed(::open("/dev/null", O_RDWR | O_CLOEXEC)); }, "read: ", "written"},
    {"/dev/full", [](Passing&) { return Passed(::open("/dev/full", O_WRONLY | O_CLOEXEC)); }, "Bad file descriptor",
     "No space left on device"},
    {"a device that nothing is mounted on",
     [](Passing&) {
       const int fd = ::open("/dev/fuse", O_RDWR | O_CLOEXEC);
       return Passed(fd >= 0 ? fd : ::open("/dev/null", O_PATH | O_CLOEXEC));
     },
     nullptr, nullptr},
    {"memory", [](Passing&) { return Passed(::memfd_create("memory", MFD_CLOEXEC)); }, "read: ", "written"},
    {"sealed memory",
     [](Passing&) {
       Passed made(::memfd_create("memory", MFD_CLOEXEC | MFD_ALLOW_SEALING));
       REQUIRE(::fcntl(made.passed.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW) == 0);
       return made;
     },
     "read: ", "Operation not permitted"},
    {"an epoll set", [](Passing&) { return Passed(::epoll_create1(EPOLL_CLOEXEC)); }, "Invalid argument",
     "Invalid argument"},
    {"a counter at zero",
     [](Passing&) {
       Passed made(::eventfd(0, EFD_CLOEXEC));
       made.then = [fd = made.passed.get()] { CHECK(::eventfd_write(fd, 0x2121212121212121) == 0); };
       return made;
     },
     "waits, read: !!!!!!!!", "written"},
    {"a counter that is full",
     [](Passing&) {
       Passed made(::eventfd(0, EFD_CLOEXEC));
       REQUIRE(::eventfd_write(made.passed.get(), 0xfffffffffffffffe) == 0);
       made.then = [fd = made.passed.get()] {
         eventfd_t value = 0;
         CHECK(::eventfd_read(fd, &value) == 0);
       };
       return made;
     },
     nullptr, "waits, written"},
    {"a timer that does not run", [](Passing&) { return Passed(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)); },
     "waits", "Invalid argument"},
    {"signals that do not come",
     [](Passing&) {
       sigset_t none;
       ::sigemptyset(&none);
       return Passed(::signalfd(-1, &none, SFD_CLOEXEC));
     },
     "waits", "Invalid argument"},
    {"a watch over files", [](Passing&) { return Passed(::inotify_init1(IN_CLOEXEC)); }, "waits",
     "Bad file descriptor"},
    {"a process", [](Passing&) { return Passed(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0))); },
     "Invalid argument", "Invalid argument"},
    {"a pipe that nobody has written to",
     [](Passing&) {
       Passed made = pipe_end(true);
       made.then = [fd = made.other()] { say(fd); };
       return made;
     },
     "waits, read: said", "Bad file descriptor"},
    {"a pipe whose writer has gone",
     [](Passing&) {
       Passed made = pipe_end(true);
       made.others.clear();
       return made;
     },
     "read: ", "Bad file descriptor"},
    {"a pipe that is full",
     [](Passing&) {
       Passed made = pipe_end(false);
       fill(made.passed.get());
       made.then = [fd = made.other()] { drain(fd); };
       return made;
     },
     "Bad file descriptor", "waits, written"},
    {"a pipe whose reader has gone",
     [](Passing&) {
       Passed made = pipe_end(false);
       made.others.clear();
       return made;
     },
     "Bad file descriptor", "Broken pipe"},
    {"a named pipe that nobody has written to",
     [](Passing& home) {
       Passed made = fifo(home);
       made.then = [fd = made.passed.get()] { say(fd); };
       return made;
     },
     "waits, read: said", "written"},
    {"a named pipe that is full",
     [](Passing& home) {
       Passed made = fifo(home);
       fill(made.passed.get());
       made.then = [fd = made.passed.get()] { drain(fd); };
       return made;
     },
     nullptr, "waits, written"},
    {"a terminal on which nothing is typed",
     [](Passing&) {
       Passed made = terminal();
       made.then = [fd = made.other()] { say(fd); };
       return made;
     },
     "waits, read: said", "written"},
    {"a terminal that is stopped",
     [](Passing&) {
       Passed made = terminal();
       REQUIRE(::tcflow(made.passed.get(), TCOOFF) == 0);
       made.then = [fd = made.passed.get()] { CHECK(::tcflow(fd, TCOON) == 0); };
       return made;
     },
     "waits", "waits, written"},
    {"a terminal that nobody reads",
     [](Passing&) {
       Passed made = terminal();
       fill(made.passed.get());
       made.then = [fd = made.other()] { drain(fd); };
       return made;
     },
     "waits", "waits, written"},
    {"a terminal that has been hung up",
     [](Passing&) {
       Passed made = terminal();
       made.others.clear();
       return made;
     },
     "read: ", "Input/output error"},
    {"the master of a terminal",
     [](Passing&) {
       Passed made = terminal();
       std::swap(made.passed, made.others[0]);
       made.then = [fd = made.other()] { say(fd); };
       return made;
     },
     "waits, read: said", "written"},
    {"the master of a terminal whose program does not read",
     [](Passing&) {
       Passed made = terminal();
       std::swap(made.passed, made.others[0]);
       while (kt::detail::wait_for(made.passed.get(), POLLOUT, std::chrono::steady_clock::now() + 100ms))
         REQUIRE(::write(made.passed.get(), "m", 1) == 1);
       made.then = [fd = made.other()] { drain(fd); };
       return made;
     },
     "waits", "waits, written"},
    {"a listening socket", [](Passing&) { return listening(AF_INET); }, "Transport endpoint is not connected",
     "Broken pipe"},
    {"a socket that is nothing yet", [](Passing&) { return listening(AF_UNIX); }, "Invalid argument",
     "Transport endpoint is not connected"},
    {"a connection on which nothing has come",
     [](Passing&) {
       Passed made = connection();
       made.then = [fd = made.other()] { say(fd); };
       return made;
     },
     "waits, read: said", "written"},
    {"a connection that is full",
     [](Passing&) {
       Passed made = connection();
       fill(made.passed.get());
       made.then = [fd = made.other()] { drain(fd); };
       return made;
     },
     "waits", "waits, written"},
    {"a connection that lingers", [](Passing&) { return lingering(); }, "waits", "waits"},
    {"a connection whose peer has gone",
     [](Passing&) {
       Passed made = socket_pair(SOCK_STREAM);
       made.others.clear();
       return made;
     },
     "read: ", "Broken pipe"},
    {"a socket for packets",
     [](Passing&) {
       Passed made = socket_pair(SOCK_SEQPACKET);
       made.then = [fd = made.other()] { say(fd); };
       return made;
     },
     "waits, read: said", "written"},
    {"a socket for datagrams, without an address",
     [](Passing&) { return Passed(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)); }, "waits",
     "Destination address required"},
    {"a socket with another one that lingers in its queue",
     [](Passing&) {
       Passed made = socket_pair(SOCK_STREAM);
       Passed inner = lingering();
       std::vector<kt::Fd> one;
       one.push_back(std::move(inner.passed));
       REQUIRE(kt::detail::send_with_descriptors(made.other(), "x", one) == 1);
       made.with(std::move(inner.others[0]));
       return made;
     },
     nullptr, "written"},
    {"a socket that waits in its own queue",
     [](Passing&) {
       Passed made = socket_pair(SOCK_STREAM);
       std::vector<kt::Fd> itself;
       itself.push_back(made.passed.duplicate());
       REQUIRE(kt::detail::send_with_descriptors(made.other(), "x", itself) == 1);
       return made;
     },
     "read: x", "written"},
};

}  // namespace

TEST_SUITE("service/passed descriptors") {
  TEST_CASE_FIXTURE(Passing, "whatever is passed, it is read and written as it can be, and nobody else waits (168)") {
    CHECK(std::size(kinds) >= 27);
    const int before = open_descriptors();
    for (const Kind& kind : kinds) {
      CAPTURE(kind.name);
      for (const bool reading : {true, false}) {
        CAPTURE(reading);
        const char* expected = reading ? kind.read : kind.write;
        Passed made = kind.make(*this);
        const int times = begun.count();
        Wire wire = begin(reading ? "read" : "write", made.passed.get());
        CHECK(begun.happened(times + 1));
        is_alive();
        if (expected == nullptr) continue;  // it differs from kernel to kernel
        std::string_view rest = expected;
        if (rest.starts_with("waits")) {
          CHECK_FALSE(kt::detail::wait_for(wire.fd(), POLLIN, std::chrono::steady_clock::now() + 5ms));
          made.then();
          if (rest == "waits") continue;
          rest.remove_prefix("waits, "sv.size());
        }
        CHECK(text_of(wire) == rest);
      }
    }
    is_alive();
    CHECK(eventually([&] { return open_descriptors() == before; }));
  }

  TEST_CASE_FIXTURE(Passing, "whatever is passed can be taken, given back, and be where an answer goes (168)") {
    const int before = open_descriptors();
    for (const Kind& kind : kinds) {
      CAPTURE(kind.name);
      {
        // Ours is the last copy but theirs.
        Passed made = kind.make(*this);
        keeps = true;
        const int times = begun.count();
        Wire wire = begin("take", made.passed.get());
        CHECK(begun.happened(times + 1));
        made.passed.reset();
        keeps = false;
        CHECK(text_of(wire) == "taken");
        is_alive();
      }
      {
        Passed made = kind.make(*this);
        Wire wire = begin("back", made.passed.get());
        CHECK(wire.answer().status == 200);
        is_alive();
      }
      {
        Passed made = kind.make(*this);
        const bool socket = is_socket(made.passed.get());
        Wire wire = begin("alive", made.passed.get(),
                          socket ? R"({"reply_to_first_fd": 0, "_args": ["_SO_BRE_MAGIC_-1-1-0"]})"
                                 : R"({"reply_to_first_fd": 0, "_args": ["_FD_BRE_MAGIC_-wb"]})");
        const Answer answer = wire.answer();
        const bool refused =
            kind.write != nullptr && (kind.write == "Bad file descriptor"s || kind.write == "Is a directory"s ||
                                      kind.write == "Invalid argument"s);
        if (kind.write != nullptr) CHECK(answer.status == (refused ? 400 : 202));
        if (refused) CHECK(contains(answer.body, kind.write));
        is_alive();
      }
    }
    CHECK(eventually([&] { return open_descriptors() == before; }));
  }

  TEST_CASE_FIXTURE(Passing, "the caller's own connection can be passed over itself (168)") {
    const int before = open_descriptors();
    for (const char* method : {"take", "write", "back"}) {
      Wire wire = Wire::local(kitten);
      send_with(wire, post(path(method), socket_argument), {wire.fd()});
      CHECK(wire.receive());
      is_alive();
    }
    {
      Wire wire = Wire::local(kitten);
      send_with(wire, post(path("read"), socket_argument), {wire.fd()});
      CHECK(begun.happened(2));
      is_alive();
      // It holds its own other end, so that the service never sees it go: what it waits for has to come.
      ::shutdown(wire.fd(), SHUT_RDWR);
    }
    CHECK(eventually([&] { return open_descriptors() == before; }));
  }

  TEST_CASE_FIXTURE(Passing, "a connection that another process makes blocking stops nobody (168)") {
    std::vector<Passed> adopted;
    kt::Fd of_front;
    kitten.api("adopt", [&] {
      adopted.push_back(connection());
      std::swap(adopted.back().passed, adopted.back().others[0]);
      of_front = adopted.back().others[0].duplicate();
      kitten.serve_connection(kt::Socket(std::move(adopted.back().others[0])));
      ::fcntl(of_front.get(), F_SETFL, 0);
    });
    for (const std::string& request : {get("/alive"), "no request\r\n\r\n"s}) {
      CHECK(result("adopt") == nullptr);
      const int peer = adopted.back().passed.get();
      CHECK(::send(peer, request.data(), request.size(), MSG_NOSIGNAL) > 0);
      char block[4096];
      REQUIRE(kt::detail::wait_for(peer, POLLIN, std::chrono::steady_clock::now() + patience));
      CHECK(::recv(peer, block, sizeof block, 0) > 0);
      // It waits for more, or for the end.
      is_alive();
      of_front.reset();
    }
  }

  TEST_CASE("a connection that lingers is closed without waiting when its time is up (168)") {
    Home home;
    home.kitten.limits().idle_timeout = 100ms;
    std::vector<Passed> adopted;
    home.kitten.api("adopt", [&] {
      adopted.push_back(lingering());
      home.kitten.serve_connection(kt::Socket(std::move(adopted.back().passed)));
    });
    home.start();
    const int before = open_descriptors();
    CHECK(home.result("adopt") == nullptr);
    CHECK(eventually([&] { return open_descriptors() == before + 1; }));  // the peer's
    CHECK(home.result("ping").is_object());
  }

  TEST_CASE_FIXTURE(Passing, "writers that share a pipe fill it between a look and a write, and stop nobody (168)") {
    kitten.api(
        "pour",
        [](kt::Fd fd) -> kt::Task<> {
          for (;;) co_await kt::async_write_all(fd, std::string(1'000'000, 'p'));
        },
        kt::arg("fd"));
    for (const bool named : {false, true}) {
      CAPTURE(named);
      Pipe pipe;
      if (named) {
        const Passed both = fifo(*this);
        const std::string path = state / "fifo";
        pipe.reader = kt::Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        pipe.writer = kt::Fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
      }
      ::fcntl(pipe.reader.get(), F_SETPIPE_SZ, 4096);
      std::thread other([writer = pipe.writer.duplicate()] {
        sigset_t broken_pipe;
        ::sigemptyset(&broken_pipe);
        ::sigaddset(&broken_pipe, SIGPIPE);
        ::pthread_sigmask(SIG_BLOCK, &broken_pipe, nullptr);
        const std::string much(4096, 'o');
        while (::write(writer.get(), much.data(), much.size()) > 0) {
        }
      });
      {
        Wire wire = begin("pour", pipe.writer.get(), file_argument);
        std::string block(4096, '\0');
        for (int round = 0; round < 300; ++round) {
          for (int i = 0; i < 50; ++i) REQUIRE(::read(pipe.reader.get(), block.data(), block.size()) > 0);
          // Nobody reads now.
          is_alive();
        }
      }
      pipe.reader.reset();
      other.join();
    }
  }

  // Descriptors that nobody takes are closed by somebody.
  TEST_CASE_FIXTURE(Passing, "a socket that lingers keeps nobody waiting, wherever it is dropped (168)") {
    const int before = open_descriptors();
    std::vector<Passed> sockets;
    const auto send_one = [&](Wire& wire, std::string_view bytes, std::size_t count = 1) {
      std::vector<int> all;
      const std::size_t first = sockets.size();
      for (std::size_t i = 0; i < count; ++i) {
        sockets.push_back(lingering());
        all.push_back(sockets.back().passed.get());
      }
      send_with(wire, bytes.substr(0, 1), all);
      for (std::size_t i = first; i < sockets.size(); ++i) sockets[i].passed.reset();
      wire.send(bytes.substr(1));
    };
    const std::string with_socket = post(path("take"), socket_argument);
    {
      Wire unknown = Wire::local(kitten);
      send_one(unknown, post(path("nothing"), socket_argument));
      CHECK(unknown.answer().status == 404);
      is_alive();
      Wire stranger = Wire::local(kitten);
      send_one(stranger, get("/alive"));
      CHECK(stranger.answer().status == 403);
      is_alive();
      Wire many = Wire::local(kitten);
      send_one(many, with_socket, 20);
      CHECK(many.answer().status == 400);
      is_alive();
    }
    {
      // Behind a request that is the last one.
      Wire last = Wire::local(kitten);
      last.send("no request\r\n\r\n");
      CHECK(last.answer().status == 400);
      send_one(last, "x");
      is_alive();
    }
    {
      // Behind one that the service has not got to.
      Wire busy = Wire::local(kitten);
      Passed silent = pipe_end(true);
      const int times = begun.count();
      send_with(busy, post(path("read"), file_argument), {silent.passed.get()});
      CHECK(begun.happened(times + 1));
      send_one(busy, "x");
    }
    is_alive();
    {
      Wire half = Wire::local(kitten);
      send_one(half, with_socket.substr(0, 10));
    }
    is_alive();
    sockets.clear();
    CHECK(eventually([&] { return open_descriptors() == before; }));
  }

  TEST_CASE("a service that answers with sockets that linger, or slips them in, holds no client up (168)") {
    std::vector<Passed> sockets;
    std::mutex mutex;
    Scripted service([&](Scripted::Talk& talk) {
      while (!talk.request().empty()) {
        const std::string body = "[\"_SO_BRE_MAGIC_-2-1-0\"]";
        const std::string answer =
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
            "\r\n\r\n" + body;
        const std::lock_guard lock(mutex);
        for (const std::string& bytes : {answer, "x"s}) {
          sockets.push_back(lingering());
          std::vector<kt::Fd> one;
          one.push_back(std::move(sockets.back().passed));
          // Who has gone already has closed none.
          if (kt::detail::send_with_descriptors(talk.fd(), bytes, one) < 0) kt::detail::make_closable(one[0].get());
        }
      }
    });
    for (int i = 0; i < 2; ++i) {
      kt::Client client = service.client();
      CHECK(client.call<kt::Socket>("any").family() == AF_INET);
      // What nobody asked for may be taken for the next answer. It ends at once either way.
      CHECK_FALSE(contains(failure([&] { client.call("any"); }), "timeout"));
      asio::io_context loop;
      std::exception_ptr thrown;
      asio::co_spawn(loop, client.async_call("any"),
                     [&](const std::exception_ptr& error, const json&) { thrown = error; });
      loop.run();
      if (thrown) CHECK_FALSE(contains(kt::detail::words_of(thrown), "timeout"));
    }
    const std::lock_guard lock(mutex);
    sockets.clear();
  }
}

namespace {

// A file system with one file, `/file`, whose server stops to answer when it is told to. The server is a process of its
// own, so that nothing hangs for longer than this one lives.
class HungDisk {
 public:
  static constexpr const char* text = "a file on a disk";

  HungDisk() {
    void* shared = ::mmap(nullptr, sizeof(State), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(shared != MAP_FAILED);
    state_ = new (shared) State;
    server_ = ::fork();
    if (server_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      serve();
      ::_exit(0);
    }
    eventually([this] { return state_->mounted != 0; });
  }
  ~HungDisk() {
    end();
    ::munmap(state_, sizeof(State));
  }
  // Whoever waits for the disk gets an error.
  void end() {
    if (server_ <= 0) return;
    ::kill(server_, SIGKILL);
    ::waitpid(std::exchange(server_, 0), nullptr, 0);
    if (there()) ::umount2(directory_.path().c_str(), MNT_DETACH);
  }
  bool there() const { return state_->mounted == 1; }
  std::string file() const { return directory_ / "file"; }
  void hang() { state_->hangs = true; }

 private:
  struct State {
    std::atomic<int> mounted = 0;  // -1 if that was refused
    std::atomic<bool> hangs = false;
  };

  void serve() {
    device_ = ::open("/dev/fuse", O_RDWR | O_CLOEXEC);
    const std::string options = "fd=" + std::to_string(device_) + ",rootmode=40000,user_id=0,group_id=0";
    const int result = ::mount("test", directory_.path().c_str(), "fuse", MS_NOSUID | MS_NODEV, options.c_str());
    state_->mounted = result == 0 ? 1 : -1;
    std::vector<char> request(1 << 18);
    for (;;) {
      const ssize_t n = ::read(device_, request.data(), request.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return;
      const auto* in = reinterpret_cast<const fuse_in_header*>(request.data());
      if (!state_->hangs) answer(*in);
    }
  }
  static void describe(fuse_attr& attributes, std::uint64_t node) {
    attributes.ino = node;
    attributes.mode = node == FUSE_ROOT_ID ? S_IFDIR | 0700 : S_IFREG | 0600;
    attributes.nlink = 1;
    attributes.size = std::strlen(text);
  }
  void answer(const fuse_in_header& in) {
    alignas(8) char reply[4096] = {};
    auto* out = reinterpret_cast<fuse_out_header*>(reply);
    void* body = reply + sizeof *out;
    std::size_t size = sizeof *out;
    switch (in.opcode) {
      case FUSE_INIT: {
        auto* init = static_cast<fuse_init_out*>(body);
        init->major = FUSE_KERNEL_VERSION;
        init->minor = 31;
        init->max_write = 65536;
        size += sizeof *init;
        break;
      }
      case FUSE_LOOKUP: {
        auto* entry = static_cast<fuse_entry_out*>(body);
        entry->nodeid = 2;
        describe(entry->attr, 2);
        size += sizeof *entry;
        break;
      }
      case FUSE_GETATTR: {
        auto* attributes = static_cast<fuse_attr_out*>(body);
        describe(attributes->attr, in.nodeid);
        size += sizeof *attributes;
        break;
      }
      case FUSE_OPEN:
        static_cast<fuse_open_out*>(body)->open_flags = FOPEN_DIRECT_IO;
        size += sizeof(fuse_open_out);
        break;
      case FUSE_READ:
        std::memcpy(body, text, std::strlen(text));
        size += std::strlen(text);
        break;
      case FUSE_FLUSH:
      case FUSE_RELEASE:
        break;
      case FUSE_FORGET:
      case FUSE_BATCH_FORGET:
        return;
      default:
        out->error = -ENOSYS;
    }
    out->unique = in.unique;
    out->len = static_cast<std::uint32_t>(size);
    static_cast<void>(!::write(device_, reply, size));
  }

  TempDir directory_;
  State* state_ = nullptr;
  pid_t server_ = 0;
  int device_ = -1;
};

}  // namespace

TEST_SUITE("service/passed descriptors") {
  TEST_CASE("a disk that hangs stops neither a service nor its end (168)") {
    HungDisk disk;
    if (!disk.there()) {
      MESSAGE("skipped: this process may not mount a file system of its own");
      return;
    }
    Passing home;
    const auto opened = [&](int flags) {
      kt::Fd fd(::open(disk.file().c_str(), flags | O_CLOEXEC));
      REQUIRE(fd);
      return fd;
    };
    std::vector<kt::Fd> files;
    for (int i = 0; i < 8; ++i) files.push_back(opened(O_RDWR));
    Wire read = home.begin("read", files[0].get());
    CHECK(home.text_of(read) == "read: a file on a disk");
    CHECK(eventually([&] {
      // Closed by a thread that will be needed again.
      Wire take = home.begin("take", files[1].get());
      return home.text_of(take) == "taken";
    }));
    disk.hang();
    std::vector<Wire> waiting;
    for (const char* method : {"read", "write"}) {
      const int times = home.begun.count();
      waiting.push_back(home.begin(method, files[2].get()));
      CHECK(home.begun.happened(times + 1));
      home.is_alive();
    }
    Wire take = home.begin("take", files[3].get());
    CHECK(home.text_of(take) == "taken");
    home.is_alive();
    Wire back = home.begin("back", files[4].get());
    CHECK(back.answer().status == 200);
    home.is_alive();
    Wire unknown = home.begin("nothing", files[5].get());
    CHECK(unknown.answer().status == 404);
    home.is_alive();
    Wire elsewhere = home.begin("alive", files[6].get(), R"({"reply_to_first_fd": 0, "_args": ["_FD_BRE_MAGIC_-wb"]})");
    CHECK(elsewhere.answer().status == 202);
    home.is_alive();
    // Other files go on.
    const kt::File other = file_with(home.state / "other", "text");
    Wire healthy = home.begin("read", other.get());
    CHECK(home.text_of(healthy) == "read: text");
    // Callers that go end their calls.
    waiting.pop_back();
    home.is_alive();
    // When nothing can be closed any more, they are told.
    CHECK(eventually([&] {
      Wire one_more = home.begin("take", files[7].get());
      return home.text_of(one_more) == "503";
    }));
    home.is_alive();
    // What is closed after the end of a loop keeps nobody waiting, either, nor in a service that a forked child starts.
    {
      std::optional<asio::io_context> loop{std::in_place};
      kt::Fd left = files[7].duplicate();
      left = kt::Fd(left.release(), kt::detail::CloserPointer(&kt::detail::blocking_threads(loop->get_executor())));
      loop.reset();
    }
    // The service ends, too.
    home.kitten.stop();
    CHECK_FALSE(home.kitten.running());
    disk.end();
  }

  TEST_CASE("a service that a forked child starts closes what hangs beside its loop, too (168, 171)") {
    if (KETTLINGAR_TEST_WITH_TSAN) {
      MESSAGE("skipped: with ThreadSanitizer a forked child cannot have threads");
      return;
    }
    HungDisk disk;
    if (!disk.there()) {
      MESSAGE("skipped: this process may not mount a file system of its own");
      return;
    }
    Passing home;
    const kt::Fd file(::open(disk.file().c_str(), O_RDWR | O_CLOEXEC));
    REQUIRE(file);
    home.kitten.stop();
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const kt::Fd result(ends[0]);
    kt::Fd report(ends[1]);
    const pid_t child = ::fork();
    if (child == 0) {
      char fine = 'n';
      try {
        home.start();
        disk.hang();
        Wire take = home.begin("take", file.get());
        if (home.text_of(take) == "taken") {
          home.is_alive();
          fine = 'y';
        }
      } catch (...) {
      }
      ::_exit(::write(report.get(), &fine, 1) == 1 ? 0 : 1);
    }
    REQUIRE(child > 0);
    report.reset();
    char fine = 0;
    CHECK(::read(result.get(), &fine, 1) == 1);
    CHECK(fine == 'y');
    disk.end();  // the child cannot exit before that
    ::waitpid(child, nullptr, 0);
  }
}
#endif
