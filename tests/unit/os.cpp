// SPDX-License-Identifier: MIT
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
    for (const mode_t mode : {0702, 01777}) {
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
