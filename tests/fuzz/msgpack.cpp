// SPDX-License-Identifier: MIT
// MessagePack: what is read can be written, and is the same when it is read again; no part of it is a value; memory is
// bounded by the input. Input: MessagePack.
#include "wire/msgpack.ipp"
#include "ext_type.hpp"
#include "fuzz.hpp"
#include "memory.hpp"
#include "wire/json_text.ipp"

namespace kt = kettlingar;

namespace {

bool fits_msgpack(std::string_view bytes) {
  kt::json value;
  return !kt::decode_msgpack(bytes, value);
}

/// Keys that stand for bytes in JSON, and may hold something else here.
bool has_wrapper(std::string_view text) {
  for (const char* key : {"__base64__", "__bytes__", "__fuzz__"}) {
    if (text.find(key) != std::string_view::npos) return true;
  }
  return false;
}

void check_as_json(const kt::json& value, kt::JsonStyle style) {
  std::string text;
  if (const kt::CodecError error = kt::encode_json(value, text, style)) {
    // Bytes and ext values are maps there.
    FUZZ_CHECK(error.slug == "depth" || error.why == "an ext value that its type cannot write as JSON");
    FUZZ_CHECK(text.empty());
    return;
  }
  FUZZ_CHECK(kt::is_utf8(text));
  kt::json read;
  if (const kt::CodecError error = kt::decode_json(text, read)) {
    FUZZ_CHECK(has_wrapper(text));
    return;
  }
  std::string again;
  FUZZ_CHECK(!kt::encode_json(read, again, style));
  FUZZ_CHECK(again == text || has_wrapper(text));
}

}  // namespace

FUZZ_TARGET(msgpack) {
  fuzz::know_ext_type();
  kt::json value;
  kt::CodecError error;
  const std::size_t peak = fuzz::peak_memory([&] { error = kt::decode_msgpack(bytes, value); });
  FUZZ_CHECK(peak <= 100 * bytes.size() + 4096);
  if (error) {
    FUZZ_CHECK(value.is_null() && error.offset <= bytes.size() && !error.why.empty());
    FUZZ_CHECK(error.slug == "bad-body" || error.slug == "depth");
    return;
  }
  std::string encoded, again;
  FUZZ_CHECK(!kt::encode_msgpack(value, encoded));
  FUZZ_CHECK(encoded.size() <= 2 * bytes.size());  // float32 becomes float64
  kt::json decoded;
  FUZZ_CHECK(!kt::decode_msgpack(encoded, decoded));
  FUZZ_CHECK(!kt::encode_msgpack(decoded, again));
  FUZZ_CHECK(again == encoded);
  FUZZ_CHECK(kt::encode_msgpack(nlohmann::json(value), again).slug.empty());

  for (std::size_t size = 0; size < bytes.size(); size += 1 + bytes.size() / 128)
    FUZZ_CHECK(!fits_msgpack(bytes.substr(0, size)));
  FUZZ_CHECK(!fits_msgpack(std::string(bytes) + '\xC0'));

  if (const auto time = kt::timestamp_of(value)) FUZZ_CHECK(time->nanoseconds <= 999'999'999);
  for (const kt::JsonStyle style : {kt::JsonStyle::compact, kt::JsonStyle::spaced}) check_as_json(value, style);
  std::string shown;
  static_cast<void>(kt::encode_json(value, shown, kt::JsonStyle::terminal));
}
