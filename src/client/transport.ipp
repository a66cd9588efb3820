// SPDX-License-Identifier: MIT
// client/transport.ipp: the bodies of transport.hpp.
#pragma once

#include "../call/method.hpp"
#include "../wire/msgpack.ipp"
#include "../wire/text.ipp"
#include "transport.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

KETTLINGAR_COLD void CallArguments::add_first(const json& value) {
  const std::string others = std::exchange(packed_, {});
  add(value);
  packed_ += others;
}

KETTLINGAR_INLINE CodecError CallArguments::append_packed(std::string& out) const {
  Appender to(out);
  const auto& named = named_.get_ref<const json::object_t&>();
  bool fits = msgpack_start(to, msgpack_map, named.size() + 1);
  for (const auto& [name, value] : named)
    fits = fits && msgpack_string(to, name) && write_msgpack(to, value, Limits{}.depth - 1);
  if (fits && msgpack_string(to, positional_key) && msgpack_start(to, msgpack_array, count_)) to.put(packed_);
  return to.finish();
}

KETTLINGAR_INLINE CodecError CallArguments::append(Format format, std::string& out) const {
  if (error_) return error_;
  if (format == Format::msgpack) return append_packed(out);
  std::string packed;
  json all;
  if (const CodecError error = append_packed(packed)) return error;
  if (const CodecError error = decode_msgpack(packed, all)) return error;
  return encode(all, format, out);
}

KETTLINGAR_INLINE bool is_document(const json& value) {
  return value.is_object() && value.size() == 2 && value.contains("mimetype") && value.contains("data");
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
