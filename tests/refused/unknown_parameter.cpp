// expect: the type of a parameter, or of a result that is asked for, must be one that nlohmann_json converts
// names: MisfitParameter<1, Opaque>
#include "kettlingar.hpp"

#include <string>
#include <string_view>

namespace kt = kettlingar;

struct Opaque {};

void add(kt::Kitten& kitten) {
  kitten.api(
      "take", [](Opaque) { return 1; }, "Takes.", kt::arg("opaque"));
}
