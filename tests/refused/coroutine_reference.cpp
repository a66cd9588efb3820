// expect: a coroutine handler must take its parameters by value
// names: MisfitParameter<1, const std::
#include "kettlingar.hpp"

#include <string>
#include <string_view>

namespace kt = kettlingar;

kt::Generator<int> count(const std::string& text) {
  for (std::size_t i = 0; i < text.size(); ++i) co_yield 1;
}

void add(kt::Kitten& kitten) { kitten.api("count", count, "Counts.", kt::arg("text")); }
