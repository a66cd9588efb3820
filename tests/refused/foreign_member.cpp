// expect: a member function needs its object
#include "kettlingar.hpp"

#include <string>
#include <string_view>

namespace kt = kettlingar;

struct Other {
  int number() { return 1; }
};

void add(kt::Kitten& kitten) { kitten.api("number", &Other::number, "A number."); }
