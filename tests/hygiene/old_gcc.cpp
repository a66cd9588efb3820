// An older g++ is refused in one sentence.
// flags: -U__clang__ -U__GNUC__ -D__GNUC__=11
// expect: kettlingar needs g++ 12 or newer
#include "kettlingar.hpp"
