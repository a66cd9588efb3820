// A compiler without exceptions is refused in one sentence.
// flags: -fno-exceptions
// expect: kettlingar needs C++ exceptions: remove -fno-exceptions
#include "kettlingar.hpp"
