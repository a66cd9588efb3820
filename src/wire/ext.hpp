// SPDX-License-Identifier: MIT
// wire/ext.hpp: a program's own types, with a MessagePack ext code and a form in JSON.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/json.hpp"
#include "../base/version.hpp"

namespace kettlingar {
inline namespace v0_1 {

/// A MessagePack ext value, which is binary with a subtype: a type's to_json() assigns it, its from_json() reads it.
/// Works with kt::json and nlohmann::json: `j = kt::ext<Json>(2, set.pack());`.
template <class Json = json>
Json ext(std::uint8_t code, std::string_view content) {
  return Json::binary(Bytes(content.begin(), content.end()), code);
}

/// What an ext code looks like in JSON, where there are no ext values: `{json_key: to_json(content)}`. Without being
/// registered, code 2 is `{"__ext__": [2, "base64"]}`.
struct ExtType {
  std::uint8_t code = 0;      ///< 0 or 2 to 127; 1 is taken by big integers
  std::string json_key = {};  ///< such as `__intset__`; maps with this one key are read back
  std::function<json(std::string_view content)> to_json = {};
  std::function<std::string(const json&)> from_json = {};  ///< throws if the value is not of this type
};

namespace detail {

std::vector<ExtType>& ext_types();

/// The registered type; null if there is none.
const ExtType* find_ext_type(std::uint64_t code);
const ExtType* find_ext_type(std::string_view json_key);

}  // namespace detail

/// Registers an ext type for the whole program, once, before the first service or client of it runs. Throws
/// std::invalid_argument if code or key are taken or cannot be used.
void register_ext_type(ExtType type);

}  // namespace v0_1
}  // namespace kettlingar
