// SPDX-License-Identifier: MIT
#if defined(__linux__)
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#endif

#include "os/socket.ipp"
#include "os/state.ipp"
#include "os/trusted_file.ipp"
#include "second_user.hpp"

namespace {

// What opening says, or "opened".
std::string opened(const std::string& path, int flags = O_RDONLY) {
  return failure([&] {
    if (!kt::detail::open_trusted(path, flags)) kt::detail::throw_errno("");
    throw std::runtime_error("opened");
  });
}

}  // namespace

TEST_SUITE("os/trusted_file") {
  TEST_CASE("a file that others can write to, or one in a directory of which that is true, is refused (159)") {
    const TempDir dir;
    std::filesystem::create_directories(dir / "a/b");
    write_file(dir / "a/b/file", "text");
    CHECK(opened(dir / "a/b/file") == "opened");
    ::chmod((dir / "a/b/file").c_str(), 0602);
    CHECK(opened(dir / "a/b/file") == "cannot use " + (dir / "a/b/file") + ": others can write to " +
                                          (dir / "a/b/file") + " (try: chmod go-w " + (dir / "a/b/file") + ")");
    ::chmod((dir / "a/b/file").c_str(), 0644);
    for (const char* directory : {"a/b", "a"}) {
      ::chmod((dir / directory).c_str(), 0707);
      CHECK(opened(dir / "a/b/file") == "cannot use " + (dir / "a/b/file") + ": others can write to " +
                                            (dir / directory) + " (try: chmod go-w " + (dir / directory) + ")");
      CHECK_THROWS_AS(kt::detail::trusted_directory(dir / "a/b/c", 0700), kt::detail::UntrustedFile);
      CHECK_FALSE(std::filesystem::exists(dir / "a/b/c"));
      CHECK_THROWS_AS(kt::detail::write_private_file(dir / "a/b/new", ""), kt::detail::UntrustedFile);
      // Nobody can replace what is not theirs in such a directory.
      ::chmod((dir / directory).c_str(), 01777);
      CHECK(opened(dir / "a/b/file") == "opened");
      ::chmod((dir / directory).c_str(), 0700);
    }
  }

  TEST_CASE("what belongs to another user is refused, and its owner named (159)") {
    if (!second_user_here()) return;
    const SharedDir dir;
    const std::string theirs = "belongs to " + kt::detail::user_text(second_user) + ", and this process to ";
    as_second_user([&] {
      std::filesystem::create_directories(dir / "theirs/ours");
      write_file(dir / "file", "text", 0644);
      std::filesystem::create_symlink(dir / "mine", dir / "link");
    });
    CHECK(contains(opened(dir / "file"), (dir / "file") + " " + theirs));
    CHECK(contains(opened(dir / "file", O_WRONLY | O_CREAT), (dir / "file") + " " + theirs));
    // Everything on the way, whatever lies at its end or does not.
    std::filesystem::create_directory(dir / "mine");
    write_file(dir / "mine/file", "text");
    REQUIRE(::chown((dir / "theirs/ours").c_str(), 0, 0) == 0);
    write_file(dir / "theirs/ours/file", "text");
    CHECK(contains(opened(dir / "theirs/ours/file"), (dir / "theirs") + " " + theirs));
    CHECK(contains(opened(dir / "theirs/nothing/file"), (dir / "theirs") + " " + theirs));
    CHECK(contains(opened(dir / "link/file"), (dir / "link") + " " + theirs));
    CHECK(opened(dir / "mine/file") == "opened");
    // The other way round, root is trusted.
    REQUIRE(::chmod((dir / "mine").c_str(), 0755) == 0);
    REQUIRE(::chmod((dir / "mine/file").c_str(), 0644) == 0);
    as_second_user([&] {
      CHECK(opened(dir / "mine/file") == "opened");
      CHECK(opened(dir / "file") == "opened");
    });
    // A hard link leads to somebody else's file, but is the attacker's to make.
    REQUIRE(::link((dir / "mine/file").c_str(), (dir / "hard").c_str()) == 0);
    CHECK(contains(opened(dir / "hard", O_WRONLY | O_APPEND), "the file has other names, too"));
  }

  TEST_CASE("links in a path are followed if they are ours, the last one is not (159)") {
    const TempDir dir;
    std::filesystem::create_directories(dir / "real/inner");
    write_file(dir / "real/inner/file", "text");
    std::filesystem::create_directory_symlink("real", dir / "relative");
    std::filesystem::create_directory_symlink(dir / "relative/inner/..", dir / "absolute");
    std::filesystem::create_symlink("file", dir / "real/inner/link");
    std::filesystem::create_symlink("loop", dir / "loop");
    CHECK(opened(dir / "absolute/./inner//file") == "opened");
    CHECK(kt::detail::trusted_directory(dir / "absolute/inner/") ==
          std::filesystem::canonical(dir / "real/inner").string());
    CHECK(kt::detail::trusted_directory("/..//") == "/");
    CHECK(contains(opened(dir / "real/inner/link"), "it is a symbolic link"));
    CHECK(contains(opened(dir / "loop/file"), "Too many levels"));
    CHECK(contains(opened(dir / "real/inner/file/below"), "Not a directory"));
    CHECK(contains(opened(dir / "real/none/file"), "No such file"));
    CHECK(contains(opened(dir / "real/none"), "No such file"));
    CHECK(contains(opened(""), "it is not a regular file"));
    CHECK(contains(opened("/"), "it is not a regular file"));
  }

  TEST_CASE("what is not a regular file is refused at once, and not even opened (159)") {
    const TempDir dir;
    REQUIRE(::mkfifo((dir / "fifo").c_str(), 0600) == 0);
    const kt::Fd socket = kt::detail::listen_unix(dir / "socket", 1);
    for (const int flags : {O_RDONLY, O_WRONLY | O_APPEND | O_CREAT, O_RDWR}) {
      for (const std::string& path : {dir / "fifo", dir / "socket", dir.path(), "/dev/null"s})
        CHECK(opened(path, flags) == "cannot use " + path + ": it is not a regular file");
    }
    CHECK((::fcntl(kt::detail::open_trusted(dir / "new", O_RDWR | O_CREAT).get(), F_GETFD) & FD_CLOEXEC) != 0);
    kt::detail::FileInfo info{};
    REQUIRE(::stat((dir / "new").c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
  }

  TEST_CASE("a group may write if it is the user's own and nobody else's (159)") {
    const TempDir dir;
    ::chmod(dir.path().c_str(), 0770);
    write_file(dir / "file", "text", 0660);
    const kt::detail::UserEntry us(::geteuid());
    REQUIRE(us);
    kt::detail::FileInfo info{};
    REQUIRE(::stat(dir.path().c_str(), &info) == 0);
    if (info.st_gid != us->pw_gid || !kt::detail::private_group(us->pw_gid)) {
      MESSAGE("this user shares its group");
      CHECK(contains(opened(dir / "file"), "others can write to"));
      return;
    }
    CHECK(opened(dir / "file") == "opened");
    if (!second_user_here()) return;
    REQUIRE(::chown((dir / "file").c_str(), 0, second_user) == 0);
    CHECK(contains(opened(dir / "file"), "others can write to " + (dir / "file")));
    REQUIRE(::chown(dir.path().c_str(), 0, second_user) == 0);
    CHECK(contains(opened(dir / "file"), "others can write to " + dir.path()));
    CHECK_FALSE(kt::detail::private_group(second_user));
  }

  TEST_CASE("a group is a user's own if it has its name, and neither member nor password file name another (159)") {
    std::string name = "jane", group_name = "jane", other = "joe";
    std::vector<char*> members{nullptr};
    passwd jane{};
    jane.pw_name = name.data();
    jane.pw_uid = 1000;
    jane.pw_gid = 1000;
    struct group group {};
    group.gr_gid = 1000;
    const auto own = [&](std::string_view users) {
      group.gr_name = group_name.data();
      group.gr_mem = members.data();
      return kt::detail::private_group(jane, group, users);
    };
    const std::string users = "root:x:0:0::/root:/bin/sh\njane:x:1000:1000::/home/jane:/bin/sh\n";
    CHECK(own(users));
    CHECK(own(""));  // whom only a directory service knows
    CHECK(own(users + "toor:x:0:1000::/:/bin/sh"));
    CHECK_FALSE(own(users + "joe:x:1001:1000::/home/joe:/bin/sh"));
    members = {name.data(), nullptr};
    CHECK(own(users));
    members = {name.data(), other.data(), nullptr};
    CHECK_FALSE(own(users));
    members = {nullptr};
    group_name = "domain users";
    CHECK_FALSE(own(users));
  }

  TEST_CASE("in a user namespace trust begins at a directory of ours, and ends where others come again (159)") {
    if (!second_user_here()) return;
    constexpr uid_t user = 12345;
    const TempDir dir;
    ::chmod(dir.path().c_str(), 0755);
    std::filesystem::create_directories(dir / "ours");
    std::filesystem::create_directories(dir / "theirs/ours");
    std::filesystem::create_directories(dir / "open/ours");
    std::filesystem::create_directory_symlink(dir / "ours", dir / "link");
    std::filesystem::create_directory_symlink("/etc", dir / "etc");
    for (const char* own : {"", "ours", "theirs/ours", "open", "open/ours", "link", "etc"})
      REQUIRE(::lchown((dir / own).c_str(), user, user) == 0);
    ::chmod((dir / "open").c_str(), 0777);
    write_file(dir / "said", "");
    ::chmod((dir / "said").c_str(), 0666);
    const pid_t child = ::fork();
    if (child == 0) {
      const std::string numbers = std::to_string(user) + " " + std::to_string(user) + " 1";
      if (::setresuid(user, user, user) != 0 || ::prctl(PR_SET_DUMPABLE, 1) != 0 || ::unshare(CLONE_NEWUSER) != 0)
        ::_exit(1);
      const kt::Fd map(::open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC));
      if (!map || !kt::detail::write_all(map.get(), numbers)) ::_exit(1);
      std::string said;
      for (const char* name : {"ours", "link", "theirs/ours", "open/ours", "etc"}) {
        said += name + ": "s;
        try {
          said += kt::detail::trusted_directory(dir / name) == dir / "ours" ? "ours" : "another";
        } catch (const kt::detail::UntrustedFile& error) {
          const std::string why = error.what();
          said += why.substr(why.find(": ") + 2, why.find(" (") - why.find(": ") - 2);
        }
        said += "\n";
      }
      write_file(dir / "said", said);
      ::_exit(0);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    if (status != 0) {
      MESSAGE("skipped: there are no user namespaces to be had");
      return;
    }
    CHECK(contents(dir / "said") == "ours: ours\nlink: ours\ntheirs/ours: " + (dir / "theirs") +
                                        " belongs to user 65534\nopen/ours: others can write to " + (dir / "open") +
                                        "\netc: / belongs to user 65534\n");
  }
}
