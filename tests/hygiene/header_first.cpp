// The header comes first, twice, and what it is made of afterwards, whole.
#include "kettlingar.hpp"
#include "kettlingar.hpp"  // NOLINT

#include <doctest/doctest.h>
#include <asio.hpp>
#include <iostream>
#include <nlohmann/json.hpp>

#include "use.hpp"

TEST_CASE("other names of the libraries") {
  nlohmann::json plain = kettlingar::json::parse("{}");
  asio::io_context loop;
  CHECK(plain.empty());
}
