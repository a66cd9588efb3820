// SPDX-License-Identifier: MIT
// shim.hpp: what a program that shim.cpp is linked into can tell it; see there.
#pragma once

#include <string_view>
#include <vector>

namespace faults {

/// What can be made to fail: `memory` (for an operator new that asks), or a system call by its name.
const std::vector<std::string_view>& names();
/// From now on, the `nth` call of `name` (1 is the next one) fails, once. 0 fails none, and only counts.
void fail(std::string_view name, long nth);
/// Nothing fails any more. Returns how often `name` was called since fail().
long disarm();
/// True if the call that was to fail has come.
bool fired();
/// Counts a call of what has no wrapper of its own; true if it has to fail.
bool fails(std::string_view name);

}  // namespace faults
