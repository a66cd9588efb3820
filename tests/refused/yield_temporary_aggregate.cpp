// expect: name it first
// g++ before 13 only: others compile this, and rightly so.
#include "kettlingar.hpp"

#include <string>

namespace kt = kettlingar;

struct Purr {
  std::string purr;
  int count;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Purr, purr, count)

kt::Generator<Purr> purr() { co_yield Purr{"purr", 1}; }
