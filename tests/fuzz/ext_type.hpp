// SPDX-License-Identifier: MIT
// An ext type that has a JSON form, `{"__fuzz__": "base64"}`, and refuses what begins with an exclamation mark.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include "wire/ext.hpp"
#include "wire/text.ipp"

namespace fuzz {

inline std::string refuse_marked(std::string text) {
  if (text.starts_with('!')) throw std::invalid_argument("marked");
  return text;
}

inline void know_ext_type() {
  namespace kt = kettlingar;
  static const bool known = [] {
    kt::ExtType type;
    type.code = 7;
    type.json_key = "__fuzz__";
    type.to_json = [](std::string_view content) {
      std::string text;
      kt::append_base64(text, refuse_marked(std::string(content)));
      return kt::json(text);
    };
    type.from_json = [](const kt::json& value) {
      return refuse_marked(std::string(kt::detail::chars(kt::decode_base64(value.get<std::string>()).value())));
    };
    kt::register_ext_type(std::move(type));
    return true;
  }();
  static_cast<void>(known);
}

}  // namespace fuzz
