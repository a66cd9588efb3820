// expect: name it first
// g++ before 13 only: others compile this, and rightly so.
#include "kettlingar.hpp"

#include <string>

namespace kt = kettlingar;

struct Purr {
  std::string purr;
  int count;
};
void to_json(auto& value, const Purr& purr) { value = {{"purr", purr.purr}, {"count", purr.count}}; }

kt::Generator<kt::json> purr() { co_yield Purr{"purr", 1}; }
