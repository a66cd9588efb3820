// SPDX-License-Identifier: MIT
#include "services.hpp"
#include "support.hpp"

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
    constexpr int not_open = 900;
    CHECK(::fcntl(not_open, F_GETFD) == -1);
    CHECK(kt::File(kt::Fd()).mode() == "rb");
    CHECK(kt::File(kt::Fd(), "w").mode() == "w");
    CHECK_THROWS_AS(kt::File(kt::Fd(not_open)), std::system_error);
    CHECK(kt::File(kt::Fd(not_open), "ab").mode() == "ab");
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
