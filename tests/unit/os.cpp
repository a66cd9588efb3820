// SPDX-License-Identifier: MIT
#include <sys/file.h>
#include <sys/resource.h>

#include "os/owned_file.ipp"
#include "os/peer_owner.ipp"
#include "os/process.ipp"
#include "os/running_process.ipp"
#include "os/socket.ipp"
#include "os/state.ipp"
#include "services.hpp"
#include "support.hpp"

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

  TEST_CASE("a lock is not taken for held while others only look who has it") {
    const TempDir dir;
    const std::string path = dir / "lock";
    const kt::Fd look(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    REQUIRE(::flock(look.get(), LOCK_SH) == 0);
    auto taken = std::async(std::launch::async, [&] { return kt::detail::InstanceLock(path).held(); });
    CHECK(taken.wait_for(50ms) == std::future_status::timeout);
    REQUIRE(::flock(look.get(), LOCK_UN) == 0);
    CHECK(taken.get());
  }

  TEST_CASE("a lock file that cannot be looked at is not taken for none") {
    const TempDir dir;
    const std::string path = dir / "lock";
    CHECK(kt::detail::lock_holder(path).foreign.empty());
    CHECK(kt::detail::lock_holder(dir / "none/lock").foreign.empty());
    kt::detail::InstanceLock lock(path);
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
    const rlimit none{0, before.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
    const kt::detail::LockHolder holder = kt::detail::lock_holder(path);
    REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
    CHECK(holder.foreign == "cannot read " + path + ": Too many open files");
    CHECK(kt::detail::lock_holder(path).held);
    // More than a lock file ever has.
    write_file(dir / "long", std::string(5 * 1024 * 1024, 'x'));
    CHECK(contains(kt::detail::lock_holder(dir / "long").foreign, "cannot read "));
  }

  TEST_CASE("a lock file says who holds it, and what its process was started with") {
    TempDir dir;
    const std::string path = dir / "lock";
    kt::detail::LockHolder holder = kt::detail::lock_holder(path);
    CHECK_FALSE(holder.held);
    CHECK(holder.foreign.empty());
    {
      kt::detail::InstanceLock lock(path);
      holder = kt::detail::lock_holder(path);
      CHECK(holder.held);
      CHECK_FALSE(holder.whole_process);
      CHECK(holder.pid == ::getpid());
      CHECK(holder.started == kt::detail::process_facts(::getpid()).started);
      CHECK(holder.started != 0);
      for (const std::vector<std::string>& words :
           {std::vector<std::string>{"--motto=a\nb\n\nc", "", "--x=\xff"}, {std::string(300'000, 'x')}, {}}) {
        CHECK(lock.remember(words));
        holder = kt::detail::lock_holder(path);
        CHECK(holder.whole_process);
        CHECK(holder.words == words);
        CHECK(holder.pid == ::getpid());
      }
      // Not removed: as after a crash.
      std::filesystem::copy_file(path, dir / "copy");
    }
    CHECK_FALSE(kt::detail::lock_holder(path).held);
    holder = kt::detail::lock_holder(dir / "copy");
    CHECK_FALSE(holder.held);
    CHECK(holder.foreign.empty());
    CHECK(holder.pid == 0);
    if (::geteuid() != 0) return;
    REQUIRE(::chown((dir / "copy").c_str(), 65534, 65534) == 0);
    CHECK(contains(kt::detail::lock_holder(dir / "copy").foreign, "belongs to user 65534"));
  }

  TEST_CASE("a process is told from another one that has its number, and from one that has ended") {
    using kt::detail::RunningProcess;
    const std::uint64_t started = kt::detail::process_facts(::getpid()).started;
    CHECK(RunningProcess(::getpid(), started).pid() == ::getpid());
    CHECK(RunningProcess(::getpid(), 0).pid() == ::getpid());
    const RunningProcess earlier(::getpid(), started - 1);
    CHECK(earlier.pid() == 0);
    CHECK(earlier.ended());
    CHECK_FALSE(earlier.signal(SIGTERM));  // which would end this test
    CHECK(RunningProcess(0, 0).ended());

    const pid_t child = ::fork();
    if (child == 0) {
      for (;;) ::pause();
    }
    const RunningProcess process(child, kt::detail::process_facts(child).started);
    CHECK(process.pid() == child);
    CHECK_FALSE(process.ended_within(10ms));
    CHECK(process.signal(SIGSTOP));
    CHECK(eventually([&] { return process.stopped(); }));
    CHECK_FALSE(process.ended());
    CHECK(process.signal(SIGKILL));
    CHECK(process.ended_within(10s));  // although nobody has waited for it so far
    CHECK_FALSE(process.signal(0));
    int status = 0;
    CHECK(::waitpid(child, &status, 0) == child);
    CHECK(process.ended());
    CHECK(WTERMSIG(status) == SIGKILL);
  }

  TEST_CASE("a process whose first thread alone has ended is there, and one that has ended is not its successor") {
    const pid_t child = ::fork();
    if (child == 0) {
      std::thread([] { ::sleep(60); }).detach();
      ::syscall(SYS_exit, 0);  // of this thread alone
    }
    const kt::detail::RunningProcess process(child, 0);
    REQUIRE(process.pid() == child);
    REQUIRE(eventually([&] { return kt::detail::process_facts(child).state == 'Z'; }));
    if (::syscall(SYS_pidfd_open, child, 0) < 0)
      MESSAGE("skipped: this kernel has no descriptors of processes");
    else
      CHECK_FALSE(process.ended());
    CHECK(process.signal(SIGKILL));
    CHECK(process.ended_within(10s));
    int status = 0;
    CHECK(::waitpid(child, &status, 0) == child);
    // The next one may be given its number.
    std::ofstream("/proc/sys/kernel/ns_last_pid") << child - 1 << std::flush;
    const pid_t next = ::fork();
    if (next == 0) {
      for (;;) ::pause();
    }
    if (next == child)
      CHECK_FALSE(process.signal(SIGKILL));
    else
      MESSAGE("skipped: numbers of processes cannot be chosen here");
    CHECK(process.ended());
    ::kill(next, SIGKILL);
    CHECK(::waitpid(next, &status, 0) == next);
  }

  TEST_CASE("children that nobody waits for any more are cleared away with the next start") {
    kt::detail::ChildProgram program;
    program.path = "/bin/sh";
    program.words = {"sh", "-c", "sleep 0.1"};
    std::vector<pid_t> left;
    for (int i = 0; i < 3; ++i) left.push_back(kt::detail::ChildProcess(program).pid());
    for (const pid_t pid : left) CHECK(eventually([&] { return kt::detail::process_facts(pid).state == 'Z'; }));
    kt::detail::ChildProcess next(program);
    for (const pid_t pid : left) CHECK(::waitpid(pid, nullptr, WNOHANG) == -1);
    CHECK(eventually([&] { return next.ended(); }));
    CHECK_FALSE(next.failed());
  }

  TEST_CASE("what is non-blocking is written and read to its end all the same") {
    const std::string text(1'000'000, 'x');
    kt::detail::Pipe pipe = kt::detail::make_pipe();
    for (const kt::Fd* end : {&pipe.reader, &pipe.writer})
      REQUIRE(::fcntl(end->get(), F_SETFL, ::fcntl(end->get(), F_GETFL) | O_NONBLOCK) == 0);
    std::string read;
    auto reader =
        std::async(std::launch::async, [&] { return kt::detail::read_all(pipe.reader.get(), read, 2'000'000); });
    CHECK(reader.wait_for(20ms) == std::future_status::timeout);
    CHECK(kt::detail::write_all(pipe.writer.get(), text));
    pipe.writer.reset();
    CHECK(reader.get());
    CHECK(read == text);
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

  TEST_CASE("a private file may have a relative name, and its directory has to be trusted all the same (159)") {
    const TempDir dir;
    const std::string before = std::filesystem::current_path();
    std::filesystem::current_path(dir.path());
    kt::detail::write_private_file("url", "http://x");
    ::chmod(dir.path().c_str(), 0777);
    const std::string said = failure([] { kt::detail::write_private_file("url", "http://y"); });
    std::filesystem::current_path(before);
    CHECK(contents(dir / "url") == "http://x");
    CHECK_MESSAGE(contains(said, "others can write to " + dir.path()), said);
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
    for (const mode_t mode : {0702u, 01777u}) {
      ::chmod(dir.path().c_str(), mode);
      CHECK_THROWS_WITH_AS(kt::detail::require_private_directory(dir.path()), doctest::Contains("others can write"),
                           kt::StartError);
    }
    ::chmod(dir.path().c_str(), 0700);
    std::filesystem::create_directory_symlink(dir.path(), dir / "link");
    CHECK_THROWS_WITH_AS(kt::detail::require_private_directory(dir / "link/"), doctest::Contains("symbolic link"),
                         kt::StartError);
    write_file(dir / "file", "");
    CHECK_THROWS_WITH_AS(kt::detail::require_private_directory(dir / "file"), doctest::Contains("Not a directory"),
                         kt::StartError);
  }

  TEST_CASE("directories are created with their parents, for the owner only") {
    TempDir dir;
    const mode_t before = ::umask(0);
    kt::detail::require_private_directory(dir / "a/b/c");
    ::umask(before);
    kt::detail::FileInfo info{};
    for (const char* made : {"a/b", "a/b/c"}) {
      REQUIRE(::stat((dir / made).c_str(), &info) == 0);
      CHECK((info.st_mode & 0777) == 0700);
    }
  }

  TEST_CASE("a socket path that is too long is refused with its length and the limit") {
    TempDir dir;
    const std::string path = dir / std::string(200, 'x');
    CHECK_THROWS_WITH_AS(kt::detail::listen_unix(path, 1), doctest::Contains("a unix socket allows"), kt::StartError);
  }

  TEST_CASE("only the owner can connect to a unix socket, whatever the umask is") {
    const TempDir dir;
    const mode_t before = ::umask(0);
    const kt::Fd socket = kt::detail::listen_unix(dir / "socket", 1);
    ::umask(before);
    kt::detail::FileInfo info{};
    REQUIRE(::stat((dir / "socket").c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
  }

  TEST_CASE("a TCP connection from elsewhere is nobody's of this machine, though somebody listens on that port (165)") {
    using kt::detail::tcp_address;
    for (const char* any : {"0.0.0.0", "::"}) {
      CAPTURE(any);
      const bool v4 = any == "0.0.0.0"s;
      kt::Fd listener;
      try {
        listener = kt::detail::listen_tcp(any, 0, 1);
      } catch (const kt::StartError&) {
        MESSAGE("no IPv6 here");
        continue;
      }
      const std::string name = kt::detail::socket_name(listener.get(), false);
      const auto port = static_cast<std::uint16_t>(std::stoi(name.substr(name.rfind(':') + 1)));
      const auto here = tcp_address(v4 ? "127.0.0.1" : "::1", port);
      const kt::Fd caller = kt::detail::connect_socket(*here, std::chrono::steady_clock::now() + patience);
      REQUIRE(caller);
      const auto elsewhere = tcp_address(v4 ? "192.0.2.1" : "2001:db8::1", port);
      CHECK_FALSE(kt::detail::tcp_owner(*elsewhere, *here));
#if KETTLINGAR_HAS_SOCK_DIAG
      // The other end of what is accepted is the caller's, which is ours.
      REQUIRE(kt::detail::wait_for(listener.get(), POLLIN, std::chrono::steady_clock::now() + patience));
      const kt::Fd accepted = kt::detail::accept_connection(listener.get());
      REQUIRE(accepted);
      CHECK(kt::detail::tcp_peer_owner(accepted.get()) == ::geteuid());
#endif
    }
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

  TEST_CASE("a descriptor has one owner, who can give it away, replace and duplicate it") {
    TempDir dir;
    write_file(dir / "f", "0123456789");
    const auto opened = [&] { return kt::Fd(::open((dir / "f").c_str(), O_RDONLY | O_CLOEXEC)); };
    const auto is_open = [](int number) { return ::fcntl(number, F_GETFD) != -1; };
    const int before = open_descriptors();
    {
      kt::Fd fd = opened();
      const int number = fd.get();
      CHECK(is_open(number));
      CHECK(fd.release() == number);
      CHECK(is_open(number));
      CHECK_FALSE(fd);
      CHECK(fd.get() == -1);
      CHECK(fd.release() == -1);
      fd.reset(number);
      CHECK(fd.get() == number);

      const kt::Fd copy = fd.duplicate();
      CHECK(copy.get() != number);
      CHECK((::fcntl(copy.get(), F_GETFD) & FD_CLOEXEC) != 0);
      char block[4];
      CHECK(::read(copy.get(), block, sizeof block) == 4);
      CHECK(::lseek(fd.get(), 0, SEEK_CUR) == 4);
      CHECK(::fcntl(copy.get(), F_SETFL, O_NONBLOCK) == 0);
      CHECK((::fcntl(fd.get(), F_GETFL) & O_NONBLOCK) != 0);
      fd.reset();
      CHECK_FALSE(is_open(number));
      CHECK(is_open(copy.get()));

      fd = opened();
      const int replaced = fd.get();
      kt::Fd next = opened();
      const int kept = next.get();
      fd.reset(next.release());
      CHECK_FALSE(is_open(replaced));
      CHECK(is_open(kept));
      next = std::move(fd);
      CHECK(next.get() == kept);
      CHECK_FALSE(fd);
      fd = opened();
      const int moved_over = next.get();
      next = std::move(fd);
      CHECK_FALSE(is_open(moved_over));
    }
    CHECK(open_descriptors() == before);
    CHECK_THROWS_AS(static_cast<void>(kt::Fd().duplicate()), std::system_error);
  }
}
