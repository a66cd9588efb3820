// SPDX-License-Identifier: MIT
// wire/ext.ipp: the bodies of ext.hpp.
#pragma once

#include "ext.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

KETTLINGAR_INLINE std::vector<ExtType>& ext_types() {
  // Not destroyed at exit: a service may still be running then.
  static std::vector<ExtType>& types = *new std::vector<ExtType>;
  return types;
}

KETTLINGAR_INLINE const ExtType* find_ext_type(std::uint64_t code) {
  for (const ExtType& type : ext_types()) {
    if (type.code == code) return &type;
  }
  return nullptr;
}

KETTLINGAR_INLINE const ExtType* find_ext_type(std::string_view json_key) {
  for (const ExtType& type : ext_types()) {
    if (type.json_key == json_key) return &type;
  }
  return nullptr;
}
}  // namespace detail
KETTLINGAR_COLD void register_ext_type(ExtType type) {
  const bool usable = type.code != big_integer_ext && type.code <= 127 && type.json_key.starts_with("__") &&
                      type.json_key != "__ext__" && type.json_key != "__base64__" && type.json_key != "__bytes__" &&
                      type.to_json && type.from_json;
  if (!usable || detail::find_ext_type(type.code) || detail::find_ext_type(type.json_key)) {
    throw std::invalid_argument("kettlingar: ext code " + std::to_string(type.code) + ", key '" + type.json_key +
                                "': taken, or not usable");
  }
  detail::ext_types().push_back(std::move(type));
}

}  // namespace v0_1
}  // namespace kettlingar
