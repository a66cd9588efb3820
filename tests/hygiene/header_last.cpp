// Everything else comes first, and Asio is configured by the program.
#define ASIO_STANDALONE 1
#define ASIO_NO_DEPRECATED 1
#if defined(__clang__)
#define ASIO_HAS_CO_AWAIT 1  // what Asio 1.22 does not find out by itself
#define ASIO_HAS_STD_COROUTINE 1
#endif
#define NDEBUG 1
#include <doctest/doctest.h>
#include <asio.hpp>
#include <cassert>
#include <iostream>
#include <nlohmann/json.hpp>

#include "kettlingar.hpp"
#include "use.hpp"

TEST_CASE("other names of the libraries") {
  asio::io_context loop;
  kettlingar::Kitten kitten(loop, "hygiene");
  CHECK(!kitten.running());
}
