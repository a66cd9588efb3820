// An older clang is refused in one sentence.
// flags: -U__clang__ -D__clang__ -U__clang_major__ -D__clang_major__=14
// expect: kettlingar needs g++ 12 or newer, or clang 15 or newer
#include "kettlingar.hpp"
