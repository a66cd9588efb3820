// SPDX-License-Identifier: MIT
// tests/implementation.cpp: the library's own code, once, for examples and tests that are compiled with
// KETTLINGAR_SPLIT.
#define KETTLINGAR_IMPLEMENTATION
#include "kettlingar.hpp"
