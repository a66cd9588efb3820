// expect: a coroutine handler must take its parameters by value
// names: MisfitParameter<1, std::
#include "kettlingar.hpp"

#include <string>
#include <string_view>

namespace kt = kettlingar;

kt::Task<std::size_t> length(std::string_view text) {
  co_await kt::sleep_for(std::chrono::seconds(1));
  co_return text.size();
}

void add(kt::Kitten& kitten) { kitten.api("length", length, "Tells the length.", kt::arg("text")); }
