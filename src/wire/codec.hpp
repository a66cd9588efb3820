// SPDX-License-Identifier: MIT
// wire/codec.hpp: MessagePack, JSON, UTF-8 and base64, for programs as well.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "../base/json.hpp"
#include "../base/limits.hpp"

namespace kettlingar {
inline namespace v0_1 {

/// Why bytes could not be read, or a value not be written. All texts are static and never repeat input, so they are
/// safe to log and to send. False if there is no error:
/// `if (CodecError error = decode_msgpack(body, value)) ...`.
struct CodecError {
  std::string_view slug;   ///< "bad-body" or "depth"; empty if there is no error
  std::string_view why;    ///< for humans
  std::size_t offset = 0;  ///< bytes of input before the fault, roughly; 0 when writing

  explicit operator bool() const { return !slug.empty(); }
};

/// True if `text` is well-formed UTF-8 (RFC 3629: no surrogates, nothing overlong, nothing beyond U+10FFFF), or empty.
[[nodiscard]] bool is_utf8(std::string_view text);

/// Append `text`, every malformed part (as Unicode counts them, "maximal subparts") replaced by one U+FFFD.
void append_utf8(std::string& out, std::string_view text);

/// Alphabets of RFC 4648: `standard` with `+`, `/` and padding; `url` with `-`, `_` and no padding.
enum class Base64 { standard, url };

/// Append `bytes` as base64 text.
void append_base64(std::string& out, std::string_view bytes, Base64 form = Base64::standard);

/// The bytes of base64 `text`. Strict, so that no two texts stand for the same bytes: std::nullopt if there is a
/// foreign character (white space as well), wrong padding, a wrong length, or a bit left over.
[[nodiscard]] std::optional<Bytes> decode_base64(std::string_view text, Base64 form = Base64::standard);

/// Read the one MessagePack value that `bytes` consist of into `out`, which is null after an error.
/// - `bin` becomes binary without subtype, `ext` binary with the code as subtype, 0 to 255, so that -1 is 255. That
///   includes timestamps, valid or not, see `timestamp_of`.
/// - Integers become unsigned unless negative. Both kinds of float become the double of the same value.
/// - ext 1, big integers of Python peers: 1 to 1024 hex digits with optional `-` and `0x` become a native integer if 64
///   bit are enough, else binary with subtype 1 and lower-case digits; anything else is an error.
/// - Further errors: `c1`, fewer or more bytes than one value, more than `depth` maps and lists inside each other, text
///   that is not UTF-8, map keys that are not strings (`bin` included) or occur twice.
/// Takes less than 100 bytes of memory for each byte of input, whatever lengths that announces. Throws nothing but
/// std::bad_alloc.
[[nodiscard]] CodecError decode_msgpack(std::string_view bytes, json& out, int depth = Limits{}.depth);

/// Append `value` (kt::json or nlohmann::json) as MessagePack in its shortest form; floats are always float64.
/// Malformed UTF-8 is written as U+FFFD, ext values unchanged. Errors, after which `out` is as before: more than
/// `depth` maps and lists inside each other (the depth of recursion), a count or length above 2^32-1, a subtype above
/// 255, a discarded value. Throws nothing but std::bad_alloc.
template <class Json>
[[nodiscard]] CodecError encode_msgpack(const Json& value, std::string& out, int depth = Limits{}.depth);

/// A MessagePack timestamp (ext -1), counted from 1970-01-01T00:00Z.
struct Timestamp {
  std::int64_t seconds = 0;
  std::uint32_t nanoseconds = 0;  ///< 0 to 999,999,999, on top of `seconds`
};

/// The timestamp in `value`; std::nullopt if that is not binary with subtype 255, 4, 8 or 12 bytes and a valid time.
[[nodiscard]] std::optional<Timestamp> timestamp_of(const json& value);

/// Read the one JSON value (RFC 8259) that `text` consists of into `out`, which is null after an error.
/// - Maps with the one key `__base64__` (strict, padded) or `__bytes__` (UTF-8) become binary, at any depth; any
///   other value of such a key is an error.
/// - Maps with the one key of an ExtType become binary with its code as subtype.
/// - Integers beyond 64 bit become binary with subtype 1, as those of MessagePack, up to 1024 hex digits.
/// - If a key occurs twice, the last value wins, at the place of the first.
/// - Further errors: more than `depth` maps and lists inside each other, numbers like 1e999 or NaN, comments, a byte
///   order mark, malformed UTF-8, lone surrogates, anything but white space behind the value.
/// Takes less than 64 bytes of memory for each byte of text. Throws nothing but std::bad_alloc.
[[nodiscard]] CodecError decode_json(std::string_view text, json& out, int depth = Limits{}.depth);

/// The style in which encode_json() writes.
enum class JsonStyle {
  compact,   ///< no blanks, UTF-8
  spaced,    ///< `", "` and `": "`, ASCII only with `\uXXXX`: what Python writes
  terminal,  ///< as spaced, but bytes that are UTF-8 as `{"__bytes__": "text"}`: for command line output
  reading,   ///< as terminal, but NaN and infinity as `nan`, `inf` and `-inf`: for eyes
};

/// Append `value` (kt::json or nlohmann::json) as JSON. Errors, after which `out` is as before: more than `depth` maps
/// and lists inside each other (the depth of recursion), a subtype above 255, a discarded value. Throws nothing but
/// std::bad_alloc.
/// - Binary becomes `{"__base64__": "..."}`. With subtype 1 and hex digits it is a big integer: a plain number. Other
///   subtypes are MessagePack ext codes, -128 to 127: what their ExtType says, or `{"__ext__": [code, "base64"]}`,
///   which readers do not change back.
/// - NaN and infinity become null, see JsonStyle. Other floats have the fewest digits that read back the same, and stay
/// floats: `1.0`.
/// - Malformed UTF-8 becomes U+FFFD.
template <class Json>
[[nodiscard]] CodecError encode_json(const Json& value, std::string& out, JsonStyle style = JsonStyle::compact,
                                     int depth = Limits{}.depth);

namespace detail {

/// How values travel in one call.
enum class Format { json, msgpack };

/// A value that is not a list, a map or an ext value; its text or bytes are a view of the input. Most arguments and
/// results are such values. They do not have to become a kt::json first, which saves time at run time and in compilers.
struct Scalar {
  enum class Kind : std::uint8_t { null, boolean, unsigned_integer, negative_integer, real, text, binary };

  Kind kind = Kind::null;
  std::uint64_t number = 0;     ///< the bits of numbers, 0 and 1 for false and true
  std::string_view bytes = {};  ///< of text and binary; a view of the input

  /// The value that decode_msgpack() makes of it.
  json value() const;
};

/// Appends `scalar` as MessagePack; malformed UTF-8 becomes U+FFFD.
CodecError append_scalar(std::string& out, const Scalar& scalar);

/// Reads the value at `at` into `out`, and moves `at` behind it. False if it is of another kind, or malformed.
bool read_scalar(const char*& at, const char* end, Scalar& out);

}  // namespace detail

}  // namespace v0_1
}  // namespace kettlingar
