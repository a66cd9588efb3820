// expect: api() needs exactly one kt::arg(...) for each parameter
#include "kettlingar.hpp"

#include <string>
#include <string_view>

namespace kt = kettlingar;

void add(kt::Kitten& kitten) {
  kitten.api(
      "add", [](int a, int b) { return a + b; }, "Adds.", kt::arg("a"));
}
