// SPDX-License-Identifier: MIT
// service/form.hpp: arguments from an HTML form.
#pragma once

#include <string>
#include <string_view>

#include "../base/json.hpp"
#include "../wire/http_fields.hpp"
#include "../wire/text.hpp"
#include "bind.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Decodes one name or value: `+` is a blank, %XX any byte; line ends are usual in text fields. False unless it becomes
/// UTF-8.
[[gnu::cold]] inline bool decode_form_text(std::string_view text, std::string& out) {
  out.clear();
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i] == '+' ? ' ' : text[i];
      continue;
    }
    const int high = text.size() - i > 2 ? http::hex_value(text[i + 1]) : -1;
    const int low = text.size() - i > 2 ? http::hex_value(text[i + 2]) : -1;
    if (high < 0 || low < 0) return false;
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return is_utf8(out);
}

/// `a=1&b=x+y` as a map of strings; a field given several times becomes a list, empty values are left out, `_args` is
/// always a list. At most 1,000 fields.
[[gnu::cold]] inline CodecError decode_form(std::string_view body, json& out) {
  constexpr std::size_t most_fields = 1000;
  while (!body.empty() && (body.back() == '\n' || body.back() == '\r' || body.back() == ' ')) body.remove_suffix(1);
  out = json::object();
  // What `curl -d '{...}'` calls a form. No form begins like that: browsers escape braces.
  if (body.starts_with('{')) return bad_body("JSON is no form: send it with Content-Type: application/json");
  std::size_t fields = 0;
  std::string name;
  std::string value;
  while (!body.empty()) {
    const std::string_view field = body.substr(0, body.find('&'));
    body.remove_prefix((std::min)(body.size(), field.size() + 1));
    const std::size_t equals = field.find('=');
    if (equals == std::string_view::npos || equals + 1 == field.size()) continue;
    if (++fields > most_fields) return bad_body("too many form fields");
    if (!decode_form_text(field.substr(0, equals), name) || !decode_form_text(field.substr(equals + 1), value)) {
      return bad_body("form fields must be percent-encoded UTF-8");
    }
    json& entry = out[name];
    if (entry.is_array()) {
      entry.push_back(value);
    } else if (entry.is_null() && name != positional_key) {
      entry = value;
    } else {
      json list = json::array();
      if (!entry.is_null()) list.push_back(std::move(entry));
      list.push_back(value);
      entry = std::move(list);
    }
  }
  return {};
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
