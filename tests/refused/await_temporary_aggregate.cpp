// expect: name it first
// g++ before 13 only: others compile this, and rightly so.
#include "kettlingar.hpp"

#include <string>

namespace kt = kettlingar;

struct Note {
  std::string text;
  int number;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Note, text, number)

kt::Task<> keep(kt::Client client) { co_await client.async_call<void>("keep", Note{"note", 1}); }
