// SPDX-License-Identifier: MIT
// Arguments of every type, from JSON, MessagePack and forms: each call ends with a value or a refusal, and who sends
// the value again gets it again. Input: which method, which encoding, the body of a request.
#include "args.hpp"

FUZZ_TARGET(json_args) {
  using namespace fuzz_args;
  fuzz::Input input(bytes);
  const kt::detail::Method& method = *methods()[input.byte() % methods().size()];
  const unsigned encoding = input.byte() % 3;
  const std::string_view body = input.rest();
  json arguments;
  const kt::CodecError error = encoding == 0   ? kt::decode_json(body, arguments)
                               : encoding == 1 ? kt::decode_msgpack(body, arguments)
                                               : kt::detail::decode_form(body, arguments);
  if (error || !arguments.is_object()) {
    // What is bound without a tree has to be what a tree could have been made of.
    std::vector<kt::detail::Slot> slots;
    FUZZ_CHECK(encoding != 1 || !method.bind_scalars(slots, body));
    return;
  }
  const auto positional = arguments.find(kt::detail::positional_key);
  if (positional != arguments.end() && !positional->is_array()) return;

  const Outcome outcome = call(method, arguments, true);
  const auto& result = outcome.result;
  FUZZ_CHECK(call(method, arguments, false).result == result);
  if (encoding == 1) FUZZ_CHECK(call(method, arguments, true, {.packed = body}) == outcome);
  if (!result) return;
  json value, again = json::object();
  FUZZ_CHECK(!kt::decode_msgpack(*result, value));
  if (method.parameters().size() == 1) {
    again["a"] = value;
  } else {
    again["_args"] = value;
  }
  FUZZ_CHECK(call(method, again, true) == outcome);
}
