// expect: a handler must be a function, a member function, or an object with exactly one operator()
#include "kettlingar.hpp"

#include <string>
#include <string_view>

namespace kt = kettlingar;

void add(kt::Kitten& kitten) {
  kitten.api(
      "echo", [](auto value) { return value; }, "Echoes.", kt::arg("value"));
}
