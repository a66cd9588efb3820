// An older C++ is refused in one sentence.
// flags: -std=c++17
// expect: kettlingar needs C++20: compile with -std=c++20
#include "kettlingar.hpp"
