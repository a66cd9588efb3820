// SPDX-License-Identifier: MIT
// client/results.ipp: the bodies of results.hpp.
#pragma once

#include "../wire/json_text.ipp"
#include "results.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

KETTLINGAR_INLINE Result to_document(const json& value, const Answer& answer) {
  const int status = answer.status() == 0 ? 200 : answer.status();
  if (is_document(value)) {
    return {to_string(value["mimetype"]), text_of(value["data"]).value_or(std::string()), status};
  }
  if (answer.streaming() && value.is_binary()) return {answer.content_type(), *text_of(value), status};
  Result result{"application/json", {}, status};
  if (const CodecError error = encode_json(value, result.data)) throw BadValue{"document", value};
  return result;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
