// SPDX-License-Identifier: MIT
#include "os/socket.ipp"
#include "second_user.hpp"

TEST_SUITE("cli/trust") {
  TEST_CASE("a service that another user has put in our place gets nothing, and is named (158, 159)") {
    if (!second_user_here()) return;
    const Program kitten("kitten");
    const SharedDir shared;
    Eavesdropper stranger(0, [](const std::string&) { return "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"; });
    kt::Fd socket;
    as_second_user([&] {
      std::filesystem::create_directory(shared / "mykitten");
      write_file(shared / "mykitten/Kitty.url", "http://" + stranger.address() + "/TOKEN", 0644);
      socket = kt::detail::listen_unix(shared / "mykitten/Kitty.sock", 5);
    });
    const std::string env = "XDG_STATE_HOME=" + shared.path() + " XDG_DATA_HOME=" + kitten.state.path() + " ";
    const std::string named = "cannot use " + (shared / "mykitten");
    for (const char* words : {"start", "start --foreground", "status", "stop", "restart", "ping",
                              "--tcp purr 1 PASSWORD", "purr 1 PASSWORD", "config"}) {
      CAPTURE(words);
      const Ran ran = run(env + kitten.path() + " " + words);
      const std::string said = ran.out + ran.err;
      CHECK(ran.code != 0);
      CHECK(std::count(said.begin(), said.end(), '\n') == 1);
      CHECK_MESSAGE(contains(said, named), said);
      CHECK_MESSAGE(contains(said, (shared / "mykitten") + " belongs to user 65534"), said);
    }
    kt::ClientOptions options;
    options.state_directory = shared / "mykitten";
    CHECK(contains(failure([&] { kt::Client::connect("mykitten", "Kitty", kt::auto_start(kitten.path()), options); }),
                   (shared / "mykitten") + " belongs to user 65534"));
    CHECK(stranger.heard().empty());
    CHECK_FALSE(kt::detail::accept_connection(socket.get()));
    // The same with files alone, in a directory where everybody can make some.
    as_second_user([&] { std::filesystem::rename(shared / "mykitten/Kitty.url", shared / "Kitty.url"); });
    const Ran ran = run(kitten.path() + " --app-state-dir=" + shared.path() + " purr 1 PASSWORD");
    CHECK(ran.code == 5);
    CHECK_MESSAGE(contains(ran.err, (shared / "Kitty.url") + " belongs to user 65534"), ran.err);
    CHECK(stranger.heard().empty());
  }

  TEST_CASE("a unix socket on which another user listens gets nothing, and is named (158)") {
    if (!second_user_here()) return;
    const TempDir dir;
    kt::Fd socket;
    {
      const SharedDir shared;
      as_second_user([&] { socket = kt::detail::listen_unix(shared / "Kitty.sock", 5); });
      std::filesystem::rename(shared / "Kitty.sock", dir / "Kitty.sock");
    }
    write_file(dir / "Kitty.url", "http://unix-domain:0/TOKEN");
    kt::ClientOptions options;
    options.state_directory = dir.path();
    CHECK(contains(failure([&] { kt::Client::connect("mykitten", "Kitty", options); }),
                   "cannot use " + (dir / "Kitty.sock") + ": user 65534"));
    const kt::Fd connection = kt::detail::accept_connection(socket.get());
    REQUIRE(connection);
    char byte = 0;
    CHECK(::recv(connection.get(), &byte, 1, 0) == 0);
  }

  TEST_CASE("root with the home directory of another user, as sudo may leave it, is refused (159)") {
    if (!second_user_here()) return;
    const Program kitten("kitten");
    const SharedDir shared;
    as_second_user([&] { std::filesystem::create_directory(shared / "home"); });
    for (const char* words : {"start", "ping"}) {
      const Ran ran =
          run("env -u XDG_STATE_HOME -u XDG_DATA_HOME HOME=" + (shared / "home") + " " + kitten.path() + " " + words);
      CHECK(ran.code != 0);
      CHECK_MESSAGE(contains(ran.err, (shared / "home") + " belongs to user 65534"), ran.err);
    }
    CHECK(std::filesystem::is_empty(shared / "home"));
  }

  TEST_CASE("a setuid program does not take its directories from the environment (159)") {
    if (!second_user_here()) return;
    const Program kitten("kitten");
    const SharedDir shared;
    ::chmod(shared.path().c_str(), 0755);
    std::filesystem::copy_file(kitten.path(), shared / "kitten");
    REQUIRE(::chown((shared / "kitten").c_str(), second_user, second_user) == 0);
    REQUIRE(::chmod((shared / "kitten").c_str(), 04755) == 0);
    as_second_user([&] { CHECK(::access((shared / "kitten").c_str(), X_OK) == 0); });
    const SharedDir callers;
    const Ran ran = run("cd / && XDG_STATE_HOME=" + callers.path() + " XDG_DATA_HOME=" + callers.path() +
                        " HOME=" + callers.path() + " " + (shared / "kitten") + " start --foreground --worker-nice=19");
    CHECK(ran.code != 0);
    if (contains(ran.err, "user 0")) {
      MESSAGE("skipped: setuid has no effect here");
      return;
    }
    CHECK(std::filesystem::is_empty(callers.path()));
    CHECK_MESSAGE(!contains(ran.err, callers.path()), ran.err);
  }

  TEST_CASE("a log goes into a regular file of our own only (159, 161)") {
    const Program kitten("kitten");
    const TempDir dir;
    write_file(dir / "victim", "precious\n");
    std::filesystem::create_symlink(dir / "victim", dir / "link");
    REQUIRE(::mkfifo((dir / "fifo").c_str(), 0600) == 0);
    std::filesystem::create_directory_symlink(dir.path(), dir / "own_way");
    const auto refused = [&](const std::string& path, const std::string& why) {
      CAPTURE(path);
      for (const char* start : {"start", "start --foreground"}) {
        const Ran ran = kitten("--worker-log-file=" + path + " " + start);
        CHECK(ran.code == 1);
        CHECK_MESSAGE(contains(ran.err, "cannot use " + path + ": " + why), ran.err);
      }
      CHECK(std::filesystem::is_empty(kitten.state.path()));
    };
    refused(dir / "link", "it is a symbolic link");
    refused(dir / "fifo", "it is not a regular file");
    refused("/dev/null", "it is not a regular file");
    CHECK(contents(dir / "victim") == "precious\n");
    REQUIRE(kitten("--worker-log-file=" + (dir / "own_way/log") + " start").code == 0);
    CHECK(contains(contents(dir / "log"), "Started mykitten/Kitty"));
    kitten("stop");
    if (!second_user_here()) return;
    const SharedDir shared;
    as_second_user([&] {
      write_file(shared / "file", "");
      std::filesystem::create_symlink(dir / "victim", shared / "link");
      std::filesystem::create_directory_symlink(dir.path(), shared / "way");
      ::mkfifo((shared / "fifo").c_str(), 0666);
    });
    refused(shared / "file", (shared / "file") + " belongs to user 65534");
    refused(shared / "link", "it is a symbolic link");
    refused(shared / "fifo", "it is not a regular file");
    refused(shared / "way/victim", (shared / "way") + " belongs to user 65534");
    CHECK(contents(dir / "victim") == "precious\n");
  }

  TEST_CASE("configuration that others could have written is not read, nor one whose secret they can read (159)") {
    const Program kitten("kitten");
    const TempDir dir;
    write_file(dir / "cfg", "worker_nice = 0\n", 0644);
    CHECK(contains(kitten("--worker-config=" + (dir / "cfg") + " ping").err, "Not running"));
    write_file(dir / "cfg", "worker_secret =\n", 0644);
    CHECK(contains(kitten("--worker-config=" + (dir / "cfg") + " ping").err, "Not running"));
    write_file(dir / "cfg", "worker_secret = abcdefghijklmnopq\n", 0644);
    CHECK(contains(kitten("--worker-config=" + (dir / "cfg") + " ping").err,
                   (dir / "cfg") + ":1: others can read this secret (try: chmod 600 "));
    ::chmod((dir / "cfg").c_str(), 0600);
    CHECK(contains(kitten("--worker-config=" + (dir / "cfg") + " ping").err, "Not running"));
    ::chmod((dir / "cfg").c_str(), 0606);
    CHECK(contains(kitten("--worker-config=" + (dir / "cfg") + " ping").err, "others can write to " + (dir / "cfg")));
    // The default file as well.
    write_file(kitten.state / "Kitty.cfg", "worker_nice = 0\n", 0666);
    const Ran ran = run(kitten.path() + " --app-data-dir=" + kitten.state.path() + " ping");
    CHECK_MESSAGE(contains(ran.err, "others can write to " + (kitten.state / "Kitty.cfg")), ran.err);
    ::unlink((kitten.state / "Kitty.cfg").c_str());
    ::mkfifo((dir / "fifo").c_str(), 0600);
    CHECK(contains(kitten("--worker-config=" + (dir / "fifo") + " ping").err, "it is not a regular file"));
    CHECK(contains(kitten("--worker-secret-file=" + (dir / "fifo") + " start").err, "it is not a regular file"));
    if (!second_user_here()) return;
    REQUIRE(::chown((dir / "cfg").c_str(), second_user, second_user) == 0);
    ::chmod((dir / "cfg").c_str(), 0600);
    CHECK(contains(kitten("--worker-config=" + (dir / "cfg") + " ping").err, (dir / "cfg") + " belongs to user 65534"));
    CHECK(contains(kitten("--worker-secret-file=" + (dir / "cfg") + " start").err,
                   (dir / "cfg") + " belongs to user 65534"));
    REQUIRE(kitten("start").code == 0);
    const SharedDir shared;
    as_second_user([&] { std::filesystem::create_directory(shared / "theirs"); });
    CHECK(contains(kitten("config --save=" + (shared / "theirs/cfg")).err,
                   (shared / "theirs") + " belongs to user 65534"));
    CHECK(std::filesystem::is_empty(shared / "theirs"));
  }
}
