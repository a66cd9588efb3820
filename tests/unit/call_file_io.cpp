// SPDX-License-Identifier: MIT
#include "services.hpp"
#include "support.hpp"

TEST_SUITE("call/file_io") {
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
    pollfd full{master.get(), POLLOUT, 0};
    const auto takes_more = [&] { return ::poll(&full, 1, 0) == 1; };
    while (takes_more()) REQUIRE(::write(master.get(), "x", 1) == 1);
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
