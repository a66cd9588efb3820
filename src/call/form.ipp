// SPDX-License-Identifier: MIT
// call/form.ipp: arguments as forms, addresses and uploads have them.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "../base/json.hpp"
#include "../wire/http_fields.ipp"
#include "../wire/text.ipp"
#include "bind.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// One field of a form, or argument in a query, as it came.
struct FormField {
  std::string_view name;
  std::string_view value;
  bool has_value;  ///< there is a `=`
};

/// The next one, taken off the front.
inline FormField next_field(std::string_view& rest) {
  const std::string_view field = rest.substr(0, rest.find('&'));
  rest.remove_prefix((std::min)(rest.size(), field.size() + 1));
  const std::size_t equals = (std::min)(field.find('='), field.size());
  const bool has_value = equals != field.size();
  return {field.substr(0, equals), field.substr(equals + has_value), has_value};
}

/// Decodes one name or value: `+` is a blank, %XX any byte. False if an escape is broken.
[[gnu::cold]] inline bool unescape_form(std::string_view text, std::string& out) {
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
  return true;
}

inline constexpr std::size_t most_form_fields = 1000;

/// `a=1&b=x+y` as a map of strings; a field given several times becomes a list, empty values are left out, `_args` is
/// always a list. At most 1,000 fields.
[[gnu::cold]] inline CodecError decode_form(std::string_view body, json& out) {
  while (!body.empty() && (body.back() == '\n' || body.back() == '\r' || body.back() == ' ')) body.remove_suffix(1);
  out = json::object();
  // What `curl -d '{...}'` calls a form. No form begins like that: browsers escape braces.
  if (body.starts_with('{')) return bad_body("JSON is no form: send it with Content-Type: application/json");
  std::size_t fields = 0;
  std::string name;
  std::string value;
  while (!body.empty()) {
    const FormField field = next_field(body);
    if (field.value.empty()) continue;
    if (++fields > most_form_fields) return bad_body("too many form fields");
    if (!unescape_form(field.name, name) || !unescape_form(field.value, value) || !is_utf8(name) || !is_utf8(value))
      return bad_body(
          "form fields must be percent-encoded UTF-8; bytes go with Content-Type: application/octet-stream");
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

/// One argument of a query into `found`, where those before it are. `name` and `text` are decoded.
KETTLINGAR_COLD void Method::add_query_argument(const std::string& name, std::string_view text, bool has_value,
                                                const Request& request, json& found) const {
  const std::size_t i = index_of(name);
  if (name == positional_key || (i == parameters_.size() && !takes_anything_)) refuse_name(name, request);
  const std::string_view type = takes_anything_ ? "list" : base_type(parameters_[i]);
  json value = !has_value ? json(true) : is_utf8(text) ? json(std::string(text)) : bytes(text);
  if (!has_value && !takes_anything_ && type != "bool") {
    throw InvalidArgument(name_ + ": argument '" + name + "' has no value: ?" + name + "=...");
  }
  const auto before = found.find(name);
  if (before == found.end()) {
    // JSON text is a whole list.
    const bool one_of_several = type == "list" && !takes_anything_ && !text.starts_with('[');
    found[name] = one_of_several ? json::array({std::move(value)}) : std::move(value);
  } else if (type != "list") {
    throw InvalidArgument(name_ + ": argument '" + name + "' given twice");
  } else {
    if (!before->is_array()) *before = json::array({std::move(*before)});
    before->push_back(std::move(value));
  }
}

KETTLINGAR_COLD void Method::add_query(std::string_view query, Request& request) const {
  if (takes_request_ && parameters_.empty() && !takes_anything_) return;
  json found = json::object();
  std::size_t fields = 0;
  std::string name;
  std::string text;
  while (!query.empty()) {
    const FormField field = next_field(query);
    if (field.name.empty() && !field.has_value) continue;
    if (++fields > most_form_fields) throw InvalidArgument(name_ + ": too many arguments in the query");
    if (!unescape_form(field.name, name) || !unescape_form(field.value, text) || !is_utf8(name))
      throw InvalidArgument(name_ + ": the query must be percent-encoded, its names UTF-8");
    add_query_argument(name, text, field.has_value, request, found);
  }
  json& arguments = ConnectionAccess::arguments(request);
  if (arguments.is_null()) arguments = json::object();
  // The body may have any number, and a json map finds its keys one by one.
  std::vector<std::string_view> in_query;
  for (const auto& [key, value] : found.get_ref<const json::object_t&>()) in_query.push_back(key);
  std::sort(in_query.begin(), in_query.end());
  auto& all = arguments.get_ref<json::object_t&>();
  for (const auto& [key, value] : all) {
    if (!std::binary_search(in_query.begin(), in_query.end(), std::string_view(key))) continue;
    const std::string which = request.authenticated() ? " '" + key + "'" : "";
    throw InvalidArgument(name_ + ": argument" + which + " is both in the query and in the body");
  }
  for (auto& [key, value] : found.get_ref<json::object_t&>()) all.emplace_back(key, std::move(value));
}

KETTLINGAR_COLD void Method::add_bytes(std::string_view body, Request& request) const {
  json& arguments = ConnectionAccess::arguments(request);
  if (arguments.is_null()) arguments = json::object();
  for (const std::string_view type : {"bytes", "str"}) {
    std::string names;
    const Parameter* only = nullptr;
    for (const Parameter& parameter : parameters_) {
      if (base_type(parameter) != type || arguments.contains(parameter.name)) continue;
      only = names.empty() ? &parameter : nullptr;
      names += (names.empty() ? "'" : ", '") + parameter.name + "'";
    }
    if (names.empty()) continue;
    if (only == nullptr)
      throw InvalidArgument(name_ + ": the body can be one of " + names + ": name the others in the query");
    arguments[only->name] = bytes(body);
    return;
  }
  throw InvalidArgument(name_ +
                        ": no parameter is left that takes bytes or text, as which a body of "
                        "application/octet-stream is taken");
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
