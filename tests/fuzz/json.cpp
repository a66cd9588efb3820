// SPDX-License-Identifier: MIT
// JSON text, ours beside nlohmann_json's reader: the same is accepted, bar what decode_json() says it refuses; what is
// read can be written, and is the same when it is read again; memory is bounded by the input. Input: JSON.
#include "ext_type.hpp"
#include "fuzz.hpp"
#include "memory.hpp"
#include "wire/json_text.ipp"
#include "wire/msgpack.ipp"

namespace kt = kettlingar;

namespace {

bool has_binary(const kt::json& value) {
  if (value.is_binary()) return true;
  if (!value.is_structured()) return false;
  for (const kt::json& item : value) {
    if (has_binary(item)) return true;
  }
  return false;
}

void check_beside_theirs(std::string_view text, const kt::json& ours, const kt::CodecError& error) {
  const kt::json theirs = kt::json::parse(text, nullptr, false);
  if (error) {
    const bool known = error.slug == "depth" || error.why == "an integer has too many digits" ||
                       error.why == "bytes in JSON are not a string" ||
                       error.why == "not the JSON form of an ext type" || error.why == "bytes in JSON are not base64" ||
                       text.find('\0') != std::string_view::npos || text.starts_with("\xEF\xBB\xBF");
    FUZZ_CHECK(theirs.is_discarded() || known);
    return;
  }
  // Theirs refuses integers beyond the largest double.
  FUZZ_CHECK(!theirs.is_discarded() || kt::detail::has_long_integers(text));
  if (theirs.is_discarded() || has_binary(ours)) return;
  std::string one, other;
  FUZZ_CHECK(!kt::encode_json(ours, one));
  FUZZ_CHECK(!kt::encode_json(theirs, other));
  FUZZ_CHECK(one == other);
}

}  // namespace

FUZZ_TARGET(json) {
  fuzz::know_ext_type();
  kt::json value;
  kt::CodecError error;
  const std::size_t peak = fuzz::peak_memory([&] { error = kt::decode_json(bytes, value); });
  FUZZ_CHECK(peak <= 64 * bytes.size() + 8192);
  check_beside_theirs(bytes, value, error);
  if (error) {
    FUZZ_CHECK(value.is_null() && error.offset <= bytes.size() + 1 && !error.why.empty());
    FUZZ_CHECK(error.slug == "bad-body" || error.slug == "depth");
    return;
  }
  std::string packed;
  FUZZ_CHECK(!kt::encode_msgpack(value, packed));
  for (const kt::JsonStyle style : {kt::JsonStyle::compact, kt::JsonStyle::spaced, kt::JsonStyle::terminal}) {
    std::string text, repacked;
    if (const kt::CodecError deep = kt::encode_json(value, text, style)) {
      FUZZ_CHECK(deep.slug == "depth" && text.empty());
      continue;
    }
    FUZZ_CHECK(kt::is_utf8(text));
    kt::json again;
    FUZZ_CHECK(!kt::decode_json(text, again));
    FUZZ_CHECK(!kt::encode_msgpack(again, repacked));
    FUZZ_CHECK(repacked == packed);
  }
}
