// SPDX-License-Identifier: MIT
// base/json.hpp: the type of arguments and results: nlohmann's json, with keys in the order in which they were added.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "version.hpp"

namespace kettlingar {
inline namespace v0_1 {

/// Any argument or result. The order of keys is kept on the wire, as Python peers keep it. Handlers may use
/// `nlohmann::json` just as well. Binary values without subtype are bytes; binary values with a subtype 0..255 are
/// msgpack ext values, the subtype being the ext code as an unsigned byte (-1 is 255).
using json = nlohmann::ordered_json;

/// Raw bytes as argument, result or member: msgpack `bin`, in JSON `{"__base64__": "..."}`.
using Bytes = std::vector<std::uint8_t>;

/// The bytes of `text` as a value: `kt::bytes("data")`.
json bytes(std::string_view text);

/// The msgpack ext code of integers beyond 64 bit: hex digits, lower case, perhaps with a sign.
inline constexpr std::uint8_t big_integer_ext = 1;

}  // namespace v0_1
}  // namespace kettlingar
