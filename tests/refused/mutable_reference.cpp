// expect: a handler cannot take a parameter by non-const reference
// names: MisfitParameter<1, std::
#include "kettlingar.hpp"

#include <string>
#include <string_view>

namespace kt = kettlingar;

void add(kt::Kitten& kitten) {
  kitten.api(
      "change", [](std::string& text) { text += "!"; }, "Changes.", kt::arg("text"));
}
