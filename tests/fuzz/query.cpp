// SPDX-License-Identifier: MIT
// Arguments in the query of a target, beside those of a body, and a body that is one argument: each call ends with a
// value or a refusal, which a reader that knows nothing of ours would have come to, too. Input: which method; a query,
// ended by 0xFF; a body, bytes or, if it is an object of JSON, a tree.
#include "args.hpp"

namespace {

/// What is between the escapes of `text`; nothing if one is broken.
std::optional<std::string> unescaped(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    if (text[0] == '%') {
      const std::string digits(text.substr(0, 3));
      if (digits.size() < 3 || digits.find_first_not_of("0123456789abcdefABCDEF", 1) != std::string::npos)
        return std::nullopt;
      out += static_cast<char>(std::stoi(digits.substr(1), nullptr, 16));
      text.remove_prefix(3);
    } else {
      out += text[0] == '+' ? ' ' : text[0];
      text.remove_prefix(1);
    }
  }
  return out;
}

/// The arguments in a query; nothing if it has none that this method could be called with.
std::optional<json> arguments_in(std::string_view query, const kt::detail::Method& method) {
  json found = json::object();
  while (!query.empty()) {
    const std::string_view field = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(query.size(), field.size() + 1));
    if (field.empty()) continue;
    const std::size_t equals = field.find('=');
    const auto name = unescaped(field.substr(0, equals));
    const auto text = unescaped(equals == field.npos ? "" : field.substr(equals + 1));
    if (!name || !text) return std::nullopt;
    std::string type = "none";
    for (const kt::detail::Parameter& parameter : method.parameters()) {
      if (parameter.name == *name) type = parameter.type;
    }
    const json value = kt::is_utf8(*text) ? json(*text) : kt::bytes(*text);
    if (type == "none" || (equals == field.npos && type != "bool")) return std::nullopt;
    if (equals == field.npos) {
      if (found.contains(*name)) return std::nullopt;
      found[*name] = true;
    } else if (type == "list" && (found.contains(*name) || !text->starts_with('['))) {
      if (!found.contains(*name)) found[*name] = json::array();
      if (!found[*name].is_array()) found[*name] = json::array({found[*name]});
      found[*name].push_back(value);
    } else {
      if (found.contains(*name)) return std::nullopt;
      found[*name] = value;
    }
  }
  return found;
}

}  // namespace

FUZZ_TARGET(query) {
  using namespace fuzz_args;
  fuzz::Input input(bytes);
  const kt::detail::Method& method = *methods()[input.byte() % methods().size()];
  const std::string_view query = input.until('\xFF'), body = input.rest();
  if (std::count(query.begin(), query.end(), '&') > 500) return;

  const std::optional<json> expected = arguments_in(query, method);
  const Outcome alone = call(method, nullptr, true, {.query = query});
  FUZZ_CHECK(expected ? alone == call(method, *expected, true) : !alone.result && !alone.refusal.empty());
  FUZZ_CHECK(call(method, nullptr, false, {.query = query}).result == alone.result);

  json tree;
  if (!kt::decode_json(body, tree) && tree.is_object() && !tree.contains(kt::detail::positional_key)) {
    const Outcome both = call(method, tree, true, {.query = query});
    json together = tree;
    bool twice = false;
    const json named = expected.value_or(json::object());
    for (const auto& [name, value] : named.items()) {
      twice |= together.contains(name);
      together[name] = value;
    }
    if (expected && !twice) {
      FUZZ_CHECK(both.result == call(method, together, true).result);
    } else {
      FUZZ_CHECK(!both.result && !both.refusal.empty());
    }
  }

  // The one parameter of bytes, or else the one of text, that the query has not named.
  std::string name;
  for (const std::string type : {"bytes", "str"}) {
    int candidates = 0;
    for (const kt::detail::Parameter& parameter : method.parameters()) {
      if (parameter.type != type || !expected || expected->contains(parameter.name)) continue;
      name = parameter.name;
      ++candidates;
    }
    if (candidates != 0) break;
  }
  const Outcome upload = call(method, nullptr, true, {.query = query, .raw_body = body});
  if (!expected || name.empty()) {
    FUZZ_CHECK(!upload.result && !upload.refusal.empty());
    return;
  }
  json arguments = *expected;
  arguments[name] = kt::bytes(body);
  FUZZ_CHECK(upload == call(method, arguments, true));
}
