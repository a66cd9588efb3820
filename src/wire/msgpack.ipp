// SPDX-License-Identifier: MIT
// wire/msgpack.ipp: values from and to MessagePack, with the bounds that strangers' bytes need.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "../base/json.hpp"
#include "../base/version.hpp"
#include "codec.hpp"
#include "text.ipp"

namespace kettlingar {
inline namespace v0_1 {

namespace detail {

/// A position in MessagePack that cannot move beyond the end.
struct MsgpackCursor {
  const char* at;
  const char* end;

  std::size_t remaining() const { return static_cast<std::size_t>(end - at); }
  bool number(std::size_t width, std::uint64_t& value) {
    if (remaining() < width) return false;
    value = load_big_endian(at, width);
    at += width;
    return true;
  }
  bool raw(std::uint64_t size, std::string_view& bytes) {
    if (size > remaining()) return false;
    bytes = {at, static_cast<std::size_t>(size)};
    at += size;
    return true;
  }
};

inline constexpr std::string_view msgpack_ends_early = "MessagePack ends early";

template <class Sink>
bool read_text(MsgpackCursor& from, std::uint64_t size, Sink& sink) {
  std::string_view bytes;
  if (!from.raw(size, bytes)) return sink.fail(msgpack_ends_early);
  return is_utf8(bytes) ? sink.text(bytes) : sink.fail("a string is not UTF-8");
}

/// The part of read_plain() for a `tag` that is followed by a number or a length.
template <class Sink>
[[gnu::noinline]] bool read_tagged(std::uint8_t tag, MsgpackCursor& from, Sink& sink) {
  std::uint64_t n = 0;
  // Widths double from one tag of a family to the next.
  const auto number = [&](unsigned first) { return from.number(std::size_t{1} << (tag - first), n); };
  const auto early = [&] { return sink.fail(msgpack_ends_early); };
  if (tag == 0xC1) return sink.fail("0xc1 is not MessagePack");
  if (tag <= 0xC6) {
    std::string_view bytes;
    return number(0xC4) && from.raw(n, bytes) ? sink.binary(bytes) : early();
  }
  if (tag <= 0xC9) return sink.other(tag);
  if (tag == 0xCA)
    return from.number(4, n) ? sink.real(double{std::bit_cast<float>(static_cast<std::uint32_t>(n))}) : early();
  if (tag == 0xCB) return from.number(8, n) ? sink.real(std::bit_cast<double>(n)) : early();
  if (tag <= 0xCF) return number(0xCC) ? sink.natural(n) : early();
  if (tag <= 0xD3) {
    if (!number(0xD0)) return early();
    const std::size_t sign = (std::size_t{8} << (tag - 0xD0U)) - 1;
    if (n >> sign == 0) return sink.natural(n);
    return sink.negative(static_cast<std::int64_t>(n | ~((std::uint64_t{1} << sign) - 1)));
  }
  if (tag <= 0xD8 || tag > 0xDB) return sink.other(tag);
  return number(0xD9) ? read_text(from, n, sink) : early();
}

/// Steps over one plain value and returns what `sink` makes of it: null(), boolean(bool), natural(std::uint64_t),
/// negative(std::int64_t), real(double), text(std::string_view) or binary(std::string_view), both with views of the
/// input; fail(why); or other(tag), with the cursor behind the tag, for lists, maps and ext.
template <class Sink>
bool read_plain(MsgpackCursor& from, Sink& sink) {
  if (from.at == from.end) return sink.fail(msgpack_ends_early);
  const auto tag = static_cast<std::uint8_t>(*from.at++);
  if (tag < 0x80) return sink.natural(tag);
  if (tag < 0xA0) return sink.other(tag);
  if (tag < 0xC0) return read_text(from, tag & 0x1FU, sink);
  if (tag >= 0xE0) return sink.negative(std::int64_t{tag} - 256);
  if (tag == 0xC0) return sink.null();
  if (tag == 0xC2 || tag == 0xC3) return sink.boolean(tag == 0xC3);
  return read_tagged(tag, from, sink);
}

class MsgpackReader {
 public:
  MsgpackReader(std::string_view bytes, int depth)
      : begin_(bytes.data()), from_{begin_, begin_ + bytes.size()}, depth_(depth) {}

  CodecError read(json& out);

  // What read_plain() finds. Values are made where they belong and filled there: nlohmann's converting constructors and
  // assignments take longer, to run and to compile.
  bool null() {
    put(json::value_t::null);
    return true;
  }
  bool boolean(bool value) { return put_as<bool>(json::value_t::boolean, value); }
  bool natural(std::uint64_t value) { return put_as<std::uint64_t>(json::value_t::number_unsigned, value); }
  bool negative(std::int64_t value) { return put_as<std::int64_t>(json::value_t::number_integer, value); }
  bool real(double value) { return put_as<double>(json::value_t::number_float, value); }
  bool text(std::string_view value) { return put_as<std::string>(json::value_t::string, value); }
  bool binary(std::string_view bytes, std::optional<std::uint64_t> code = {});
  bool other(std::uint8_t tag);
  bool fail(std::string_view why) { return fail(bad_body(why)); }

 private:
  /// A list or map that still waits for `left` values.
  struct Open {
    json::array_t* array;
    json::object_t* object;
    std::uint64_t left;
  };

  bool fail(const CodecError& error) {
    error_ = error;
    error_.offset = static_cast<std::size_t>(from_.at - begin_);
    return false;
  }
  bool number(std::size_t width, std::uint64_t& value) {
    return from_.number(width, value) || fail(msgpack_ends_early);
  }
  bool raw(std::uint64_t size, std::string_view& bytes) { return from_.raw(size, bytes) || fail(msgpack_ends_early); }

  /// Adds a value at the place where the next one belongs.
  json& put(json::value_t type);
  template <class T, class Value>
  bool put_as(json::value_t type, Value value) {
    *put(type).template get_ptr<T*>() = value;
    return true;
  }

  bool ext(std::uint64_t size);
  bool open(std::uint64_t count, json::value_t type);
  bool close_full();
  bool next_item();

  const char* begin_;
  MsgpackCursor from_;
  int depth_;
  json root_;
  std::vector<Open> open_;  ///< from the root inwards
  std::string_view key_;    ///< of the next value, in a map
  std::uint64_t owed_ = 0;  ///< bytes that the values still missing in all of `open_` need at the very least
  CodecError error_;
};

KETTLINGAR_INLINE CodecError MsgpackReader::read(json& out) {
  bool more = true;
  while (more && read_plain(from_, *this) && close_full()) more = !open_.empty() && next_item();
  if (!error_ && from_.remaining() != 0) fail("bytes after the MessagePack value");
  out = error_ ? json() : std::move(root_);  // only now: the bytes may be part of `out`
  return error_;
}

KETTLINGAR_INLINE json& MsgpackReader::put(json::value_t type) {
  if (open_.empty()) return root_ = type;
  const Open& parent = open_.back();
  if (parent.array != nullptr) return parent.array->emplace_back(type);
  return parent.object->emplace_back(std::piecewise_construct, std::forward_as_tuple(key_), std::forward_as_tuple(type))
      .second;
}

KETTLINGAR_INLINE bool MsgpackReader::other(std::uint8_t tag) {
  std::uint64_t n = 0;
  const auto width = [&](unsigned first) { return std::size_t{1} << (tag - first); };
  if (tag < 0x90) return open(tag & 0x0FU, json::value_t::object);
  if (tag < 0xA0) return open(tag & 0x0FU, json::value_t::array);
  if (tag <= 0xC9) return number(width(0xC7), n) && ext(n);
  if (tag <= 0xD8) return ext(width(0xD4));
  if (tag <= 0xDD) return number(width(0xDC) * 2, n) && open(n, json::value_t::array);
  return number(width(0xDE) * 2, n) && open(n, json::value_t::object);
}

KETTLINGAR_INLINE bool MsgpackReader::binary(std::string_view bytes, std::optional<std::uint64_t> code) {
  json::binary_t& binary = *put(json::value_t::binary).get_ptr<json::binary_t*>();
  binary.assign(bytes.begin(), bytes.end());
  if (code) binary.set_subtype(*code);
  return true;
}

KETTLINGAR_INLINE bool MsgpackReader::ext(std::uint64_t size) {
  std::uint64_t code = 0;
  std::string_view bytes;
  if (!number(1, code) || !raw(size, bytes)) return false;
  if (code != big_integer_ext) return binary(bytes, code);
  std::optional<json> integer = big_integer(bytes);
  if (!integer) return fail("a big integer is not 1 to 1024 hex digits");
  put(json::value_t::null) = *std::move(integer);
  return true;
}

KETTLINGAR_INLINE bool MsgpackReader::open(std::uint64_t count, json::value_t type) {
  if (depth_ <= 0 || open_.size() >= static_cast<std::size_t>(depth_)) return fail(too_deep());
  // A value takes at least one byte: all open lists and maps together cannot claim more values than bytes are left.
  const std::uint64_t bytes = type == json::value_t::object ? 2 * count : count;
  if (bytes + owed_ > from_.remaining()) return fail("MessagePack claims more values than it has bytes");
  owed_ += bytes;
  json& slot = put(type);
  open_.push_back({slot.get_ptr<json::array_t*>(), slot.get_ptr<json::object_t*>(), count});
  if (auto* array = open_.back().array) array->reserve(static_cast<std::size_t>(count));
  if (auto* object = open_.back().object) object->reserve(static_cast<std::size_t>(count));
  return true;
}

/// Leave the lists and maps that have all their values.
KETTLINGAR_INLINE bool MsgpackReader::close_full() {
  while (!open_.empty() && open_.back().left == 0) {
    if (const json::object_t* object = open_.back().object) {
      const auto key_at = [&](std::size_t i) -> std::string_view { return object->data()[i].first; };
      if (!all_different(object->size(), key_at)) return fail("a map key occurs twice");
    }
    open_.pop_back();
  }
  return true;
}

/// On to the next value of the innermost list or map, past its key.
KETTLINGAR_INLINE bool MsgpackReader::next_item() {
  --open_.back().left;
  --owed_;
  if (open_.back().array != nullptr) return true;
  --owed_;
  if (from_.at == from_.end) return fail(msgpack_ends_early);
  const auto tag = static_cast<std::uint8_t>(*from_.at++);
  std::uint64_t size = tag & 0x1FU;
  if (tag >= 0xD9 && tag <= 0xDB) {
    if (!number(std::size_t{1} << (tag - 0xD9U), size)) return false;
  } else if (tag < 0xA0 || tag > 0xBF) {
    return fail("a map key is not a string");
  }
  return raw(size, key_) && (is_utf8(key_) || fail("a string is not UTF-8"));
}

/// Takes what read_plain() finds; false for lists, maps, ext values and errors, which the caller then reads otherwise.
struct ScalarSink {
  Scalar& out;

  bool null() { return set(Scalar::Kind::null, 0); }
  bool boolean(bool value) { return set(Scalar::Kind::boolean, std::uint64_t{value}); }
  bool natural(std::uint64_t value) { return set(Scalar::Kind::unsigned_integer, value); }
  bool negative(std::int64_t value) { return set(Scalar::Kind::negative_integer, static_cast<std::uint64_t>(value)); }
  bool real(double value) { return set(Scalar::Kind::real, std::bit_cast<std::uint64_t>(value)); }
  bool text(std::string_view value) { return set(Scalar::Kind::text, 0, value); }
  bool binary(std::string_view value) { return set(Scalar::Kind::binary, 0, value); }
  bool other(std::uint8_t) { return false; }
  bool fail(std::string_view) { return false; }

 private:
  bool set(Scalar::Kind kind, std::uint64_t number, std::string_view bytes = {}) {
    out = {kind, number, bytes};
    return true;
  }
};

KETTLINGAR_INLINE bool read_scalar(const char*& at, const char* end, Scalar& out) {
  MsgpackCursor from{at, end};
  ScalarSink sink{out};
  const bool found = read_plain(from, sink);
  at = from.at;
  return found;
}

KETTLINGAR_INLINE json Scalar::value() const {
  switch (kind) {
    case Kind::null:
      break;
    case Kind::boolean:
      return json(number != 0);
    case Kind::unsigned_integer:
      return json(number);
    case Kind::negative_integer:
      return json(static_cast<std::int64_t>(number));
    case Kind::real:
      return json(std::bit_cast<double>(number));
    case Kind::text:
      return json(std::string(bytes));
    case Kind::binary:
      return json::binary(Bytes(bytes.begin(), bytes.end()));
  }
  return json(nullptr);
}

/// First bytes of a family of formats: short counts within the tag, others behind it. 0 where there is no such form.
struct MsgpackFamily {
  std::uint8_t fix;
  std::uint8_t fix_end;  ///< the first count that is too long for `fix`
  std::uint8_t tag8;
  std::uint8_t tag16;
  std::uint8_t tag32;
};
inline constexpr MsgpackFamily msgpack_str{0xA0, 32, 0xD9, 0xDA, 0xDB};
inline constexpr MsgpackFamily msgpack_bin{0, 0, 0xC4, 0xC5, 0xC6};
inline constexpr MsgpackFamily msgpack_array{0x90, 16, 0, 0xDC, 0xDD};
inline constexpr MsgpackFamily msgpack_map{0x80, 16, 0, 0xDE, 0xDF};
inline constexpr MsgpackFamily msgpack_ext{0, 0, 0xC7, 0xC8, 0xC9};

/// Write tag and count, up to five bytes; null, and nothing written, if the count is more than MessagePack has.
inline char* msgpack_header(char* at, const MsgpackFamily& family, std::size_t count) {
  if (count < family.fix_end) return store_big_endian(at, family.fix | count, 1);
  if (count <= 0xFF && family.tag8 != 0) return store_tagged(at, family.tag8, count, 1);
  if (count <= 0xFFFF) return store_tagged(at, family.tag16, count, 2);
  return count <= 0xFFFFFFFF ? store_tagged(at, family.tag32, count, 4) : nullptr;
}

inline char* msgpack_unsigned(char* at, std::uint64_t n) {
  if (n < 0x80) return store_big_endian(at, n, 1);
  if (n <= 0xFF) return store_tagged(at, 0xCC, n, 1);
  if (n <= 0xFFFF) return store_tagged(at, 0xCD, n, 2);
  return n <= 0xFFFFFFFF ? store_tagged(at, 0xCE, n, 4) : store_tagged(at, 0xCF, n, 8);
}

inline char* msgpack_signed(char* at, std::int64_t n) {
  const auto bits = static_cast<std::uint64_t>(n);
  if (n >= 0) return msgpack_unsigned(at, bits);
  if (n >= -32) return store_big_endian(at, bits & 0xFF, 1);
  if (n >= INT8_MIN) return store_tagged(at, 0xD0, bits, 1);
  if (n >= INT16_MIN) return store_tagged(at, 0xD1, bits, 2);
  return n >= INT32_MIN ? store_tagged(at, 0xD2, bits, 4) : store_tagged(at, 0xD3, bits, 8);
}

inline CodecError too_long() { return bad_body("longer than MessagePack allows"); }

/// Tag and count of what follows; false if MessagePack has no such count.
inline bool msgpack_start(Appender& out, const MsgpackFamily& family, std::size_t count) {
  char* const at = msgpack_header(out.room(5), family, count);
  if (at == nullptr) return out.fail(too_long());
  out.wrote(at);
  return true;
}

/// `text` as append_utf8 makes it. Not inlined, to keep the paths of good text short.
[[gnu::noinline]] inline std::string mended_utf8(std::string_view text) {
  std::string out;
  append_utf8(out, text);
  return out;
}

inline bool msgpack_string(Appender& out, std::string_view text) {
  if (!is_utf8(text)) return msgpack_string(out, mended_utf8(text));
  if (!msgpack_start(out, msgpack_str, text.size())) return false;
  out.put(text);
  return true;
}

/// bin, or ext if there is a subtype.
inline bool msgpack_binary(Appender& out, const json::binary_t& bytes) {
  if (bytes.has_subtype() && bytes.subtype() > 0xFF) return out.fail(bad_ext_code());
  if (bytes.has_subtype() && bytes.size() <= 16 && std::has_single_bit(bytes.size())) {
    out.put(static_cast<char>(0xD4 + std::countr_zero(bytes.size())));
  } else if (!msgpack_start(out, bytes.has_subtype() ? msgpack_ext : msgpack_bin, bytes.size())) {
    return false;
  }
  if (bytes.has_subtype()) out.put(static_cast<char>(bytes.subtype()));
  out.put(chars(bytes));
  return true;
}

KETTLINGAR_INLINE CodecError append_scalar(std::string& out, const Scalar& scalar) {
  char small[9];
  char* end = small;
  switch (scalar.kind) {
    case Scalar::Kind::null:
      *end++ = '\xC0';
      break;
    case Scalar::Kind::boolean:
      *end++ = scalar.number != 0 ? '\xC3' : '\xC2';
      break;
    case Scalar::Kind::unsigned_integer:
      end = msgpack_unsigned(end, scalar.number);
      break;
    case Scalar::Kind::negative_integer:
      end = msgpack_signed(end, static_cast<std::int64_t>(scalar.number));
      break;
    case Scalar::Kind::real:
      end = store_tagged(end, 0xCB, scalar.number, 8);
      break;
    case Scalar::Kind::text:
      if (!is_utf8(scalar.bytes)) return append_scalar(out, {scalar.kind, 0, mended_utf8(scalar.bytes)});
      end = msgpack_header(end, msgpack_str, scalar.bytes.size());
      break;
    case Scalar::Kind::binary:
      end = msgpack_header(end, msgpack_bin, scalar.bytes.size());
      break;
  }
  if (end == nullptr) return too_long();
  out.append(small, static_cast<std::size_t>(end - small));
  if (scalar.kind >= Scalar::Kind::text) out += scalar.bytes;
  return {};
}

template <class Json>
bool write_msgpack(Appender& out, const Json& value, int depth) {
  if (const auto* text = value.template get_ptr<const typename Json::string_t*>()) return msgpack_string(out, *text);
  if (const auto* n = value.template get_ptr<const typename Json::number_unsigned_t*>()) {
    out.wrote(msgpack_unsigned(out.room(9), *n));
  } else if (const auto* i = value.template get_ptr<const typename Json::number_integer_t*>()) {
    out.wrote(msgpack_signed(out.room(9), *i));
  } else if (const auto* map = value.template get_ptr<const typename Json::object_t*>()) {
    if (depth <= 0) return out.fail(too_deep());
    if (!msgpack_start(out, msgpack_map, map->size())) return false;
    for (const auto& [name, item] : *map) {
      if (!msgpack_string(out, name) || !write_msgpack(out, item, depth - 1)) return false;
    }
  } else if (const auto* list = value.template get_ptr<const typename Json::array_t*>()) {
    if (depth <= 0) return out.fail(too_deep());
    if (!msgpack_start(out, msgpack_array, list->size())) return false;
    for (const Json& item : *list) {
      if (!write_msgpack(out, item, depth - 1)) return false;
    }
  } else if (const auto* flag = value.template get_ptr<const typename Json::boolean_t*>()) {
    out.put(*flag ? '\xC3' : '\xC2');
  } else if (const auto* real = value.template get_ptr<const typename Json::number_float_t*>()) {
    out.wrote(store_tagged(out.room(9), 0xCB, std::bit_cast<std::uint64_t>(*real), 8));
  } else if (const auto* bytes = value.template get_ptr<const typename Json::binary_t*>()) {
    return msgpack_binary(out, *bytes);
  } else if (value.is_null()) {
    out.put('\xC0');
  } else {
    return out.fail(discarded_value());
  }
  return true;
}

}  // namespace detail

KETTLINGAR_INLINE CodecError decode_msgpack(std::string_view bytes, json& out, int depth) {
  return detail::MsgpackReader(bytes, depth).read(out);
}

template <class Json>
CodecError encode_msgpack(const Json& value, std::string& out, int depth) {
  detail::Appender appender(out);
  detail::write_msgpack(appender, value, depth);
  return appender.finish();
}

KETTLINGAR_INLINE std::optional<Timestamp> timestamp_of(const json& value) {
  const auto* ext = value.get_ptr<const json::binary_t*>();
  if (ext == nullptr || !ext->has_subtype() || ext->subtype() != 0xFF) return std::nullopt;
  const std::string_view bytes = detail::chars(*ext);
  if (bytes.size() != 4 && bytes.size() != 8 && bytes.size() != 12) return std::nullopt;
  const std::size_t width = (std::min)(bytes.size(), std::size_t{8});
  std::uint64_t seconds = detail::load_big_endian(bytes.data() + bytes.size() - width, width);
  std::uint64_t nanoseconds = bytes.size() == 12 ? detail::load_big_endian(bytes.data(), 4) : 0;
  if (bytes.size() == 8) nanoseconds = std::exchange(seconds, seconds & 0x3FFFFFFFF) >> 34;
  if (nanoseconds > 999'999'999) return std::nullopt;
  return Timestamp{static_cast<std::int64_t>(seconds), static_cast<std::uint32_t>(nanoseconds)};
}

// In split mode, for the files that have the declarations only.
#if defined(KETTLINGAR_SPLIT) && defined(KETTLINGAR_IMPLEMENTATION)
template CodecError encode_msgpack(const json&, std::string&, int);
template CodecError encode_msgpack(const nlohmann::json&, std::string&, int);
#endif

}  // namespace v0_1
}  // namespace kettlingar
