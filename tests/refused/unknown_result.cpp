// expect: the type of a result must be one that nlohmann_json converts
// names: MisfitResult<Opaque>
#include "kettlingar.hpp"

#include <string>
#include <string_view>

namespace kt = kettlingar;

struct Opaque {};

void add(kt::Kitten& kitten) {
  kitten.api(
      "give", [] { return Opaque(); }, "Gives.");
}
