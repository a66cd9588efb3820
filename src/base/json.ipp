// SPDX-License-Identifier: MIT
// base/json.ipp: the bodies of json.hpp.
#pragma once

#include "json.hpp"

namespace kettlingar {
inline namespace v0_1 {

KETTLINGAR_INLINE json bytes(std::string_view text) { return json::binary(Bytes(text.begin(), text.end())); }

}  // namespace v0_1
}  // namespace kettlingar
