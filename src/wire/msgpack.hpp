// SPDX-License-Identifier: MIT
// wire/msgpack.hpp: values from and to MessagePack, with the bounds that strangers' bytes need.
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
#include "text.hpp"

namespace kettlingar {
inline namespace v0_1 {

namespace detail {

class MsgpackReader {
 public:
  MsgpackReader(std::string_view bytes, int depth)
      : begin_(bytes.data()), at_(begin_), end_(begin_ + bytes.size()), depth_(depth) {}

  CodecError read(json& out);

 private:
  /// A list or map that still waits for `left` values.
  struct Open {
    json::array_t* array;
    json::object_t* object;
    std::uint64_t left;
  };

  bool fail(std::string_view why) { return fail(bad_body(why)); }
  bool fail(const CodecError& error) {
    error_ = error;
    error_.offset = static_cast<std::size_t>(at_ - begin_);
    return false;
  }
  std::size_t remaining() const { return static_cast<std::size_t>(end_ - at_); }
  bool number(std::size_t width, std::uint64_t& value) {
    if (remaining() < width) return fail("MessagePack ends early");
    value = load_big_endian(at_, width);
    at_ += width;
    return true;
  }
  bool raw(std::uint64_t size, std::string_view& bytes) {
    if (size > remaining()) return fail("MessagePack ends early");
    bytes = {at_, static_cast<std::size_t>(size)};
    at_ += size;
    return true;
  }
  bool text(std::uint64_t size, std::string_view& bytes) {
    return raw(size, bytes) && (is_utf8(bytes) || fail("a string is not UTF-8"));
  }

  /// A new value where the next one belongs. It is made there and filled later: nlohmann's converting constructors and
  /// assignments take longer, to run and to compile.
  json& put(json::value_t type);
  template <class T>
  T& put(json::value_t type) {
    return *put(type).template get_ptr<T*>();
  }

  bool value();
  bool tagged_value(std::uint8_t tag);
  bool integer(std::size_t width, bool is_signed);
  bool real(std::size_t width);
  bool string(std::uint64_t size) {
    std::string_view bytes;
    if (!text(size, bytes)) return false;
    put<std::string>(json::value_t::string) = bytes;
    return true;
  }
  bool binary(std::uint64_t size, std::optional<std::uint64_t> code);
  bool ext(std::uint64_t size);
  bool open(std::uint64_t count, json::value_t type);
  bool close_full();
  bool next_item();

  const char* begin_;
  const char* at_;
  const char* end_;
  int depth_;
  json root_;
  std::vector<Open> open_;  ///< from the root inwards
  std::string_view key_;    ///< of the next value, in a map
  std::uint64_t owed_ = 0;  ///< bytes that the values still missing in all of `open_` need at the very least
  CodecError error_;
};

#if KETTLINGAR_DEFINITIONS
KETTLINGAR_INLINE CodecError MsgpackReader::read(json& out) {
  bool more = true;
  while (more && value() && close_full()) more = !open_.empty() && next_item();
  if (!error_ && at_ != end_) fail("bytes after the MessagePack value");
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

KETTLINGAR_INLINE bool MsgpackReader::value() {
  if (at_ == end_) return fail("MessagePack ends early");
  const auto tag = static_cast<std::uint8_t>(*at_++);
  if (tag < 0x80) {
    put<std::uint64_t>(json::value_t::number_unsigned) = tag;
  } else if (tag < 0x90) {
    return open(tag & 0x0FU, json::value_t::object);
  } else if (tag < 0xA0) {
    return open(tag & 0x0FU, json::value_t::array);
  } else if (tag < 0xC0) {
    return string(tag & 0x1FU);
  } else if (tag >= 0xE0) {
    put<std::int64_t>(json::value_t::number_integer) = tag - 256;
  } else if (tag == 0xC0) {
    put(json::value_t::null);
  } else if (tag == 0xC2 || tag == 0xC3) {
    put<bool>(json::value_t::boolean) = tag == 0xC3;
  } else {
    return tagged_value(tag);
  }
  return true;
}

KETTLINGAR_INLINE bool MsgpackReader::tagged_value(std::uint8_t tag) {
  // Widths double from one tag of a family to the next.
  const auto width = [&](unsigned first) { return std::size_t{1} << (tag - first); };
  std::uint64_t n = 0;
  if (tag == 0xC1) return fail("0xc1 is not MessagePack");
  if (tag <= 0xC6) return number(width(0xC4), n) && binary(n, std::nullopt);
  if (tag <= 0xC9) return number(width(0xC7), n) && ext(n);
  if (tag <= 0xCB) return real(width(0xCA) * 4);
  if (tag <= 0xCF) return integer(width(0xCC), false);
  if (tag <= 0xD3) return integer(width(0xD0), true);
  if (tag <= 0xD8) return ext(width(0xD4));
  if (tag <= 0xDB) return number(width(0xD9), n) && string(n);
  if (tag <= 0xDD) return number(width(0xDC) * 2, n) && open(n, json::value_t::array);
  return number(width(0xDE) * 2, n) && open(n, json::value_t::object);
}

KETTLINGAR_INLINE bool MsgpackReader::integer(std::size_t width, bool is_signed) {
  std::uint64_t n = 0;
  if (!number(width, n)) return false;
  const std::size_t sign = 8 * width - 1;
  if (is_signed && n >> sign != 0) {
    put<std::int64_t>(json::value_t::number_integer) = static_cast<std::int64_t>(n | ~std::uint64_t{0} << sign);
  } else {
    put<std::uint64_t>(json::value_t::number_unsigned) = n;
  }
  return true;
}

KETTLINGAR_INLINE bool MsgpackReader::real(std::size_t width) {
  std::uint64_t n = 0;
  if (!number(width, n)) return false;
  double& out = put<double>(json::value_t::number_float);
  out = width == 8 ? std::bit_cast<double>(n) : double{std::bit_cast<float>(static_cast<std::uint32_t>(n))};
  return true;
}

KETTLINGAR_INLINE bool MsgpackReader::binary(std::uint64_t size, std::optional<std::uint64_t> code) {
  std::string_view bytes;
  if (!raw(size, bytes)) return false;
  auto& binary = put<json::binary_t>(json::value_t::binary);
  binary.assign(bytes.begin(), bytes.end());
  if (code) binary.set_subtype(*code);
  return true;
}

KETTLINGAR_INLINE bool MsgpackReader::ext(std::uint64_t size) {
  std::uint64_t code = 0;
  if (!number(1, code)) return false;
  if (code != big_integer_ext) return binary(size, code);
  std::string_view hex;
  if (!raw(size, hex)) return false;
  std::optional<json> integer = big_integer(hex);
  if (!integer) return fail("a big integer is not 1 to 1024 hex digits");
  put(json::value_t::null) = *std::move(integer);
  return true;
}

KETTLINGAR_INLINE bool MsgpackReader::open(std::uint64_t count, json::value_t type) {
  if (depth_ <= 0 || open_.size() >= static_cast<std::size_t>(depth_)) return fail(too_deep());
  // A value takes one byte or more: what is not there yet cannot be claimed, by all open lists and maps together.
  const std::uint64_t bytes = type == json::value_t::object ? 2 * count : count;
  if (bytes + owed_ > remaining()) return fail("MessagePack claims more values than it has bytes");
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
  if (at_ == end_) return fail("MessagePack ends early");
  const auto tag = static_cast<std::uint8_t>(*at_++);
  std::uint64_t size = tag & 0x1FU;
  if (tag >= 0xD9 && tag <= 0xDB) {
    if (!number(std::size_t{1} << (tag - 0xD9U), size)) return false;
  } else if (tag < 0xA0 || tag > 0xBF) {
    return fail("a map key is not a string");
  }
  return text(size, key_);
}
#endif

#if KETTLINGAR_DEFINITIONS
KETTLINGAR_INLINE bool read_scalar(const char*& at, const char* end, Scalar& out) {
  const auto remaining = [&] { return static_cast<std::size_t>(end - at); };
  const auto number = [&](std::size_t width, std::uint64_t& value) {
    if (remaining() < width) return false;
    value = load_big_endian(at, width);
    at += width;
    return true;
  };
  const auto raw = [&](Scalar::Kind kind, std::uint64_t size) {
    if (size > remaining()) return false;
    out.kind = kind;
    out.bytes = {at, static_cast<std::size_t>(size)};
    at += size;
    return kind != Scalar::Kind::text || is_utf8(out.bytes);
  };
  if (at == end) return false;
  const auto tag = static_cast<std::uint8_t>(*at++);
  if (tag < 0x80 || tag >= 0xE0) {
    out.kind = tag < 0x80 ? Scalar::Kind::unsigned_integer : Scalar::Kind::negative_integer;
    out.number = static_cast<std::uint64_t>(std::int64_t{static_cast<std::int8_t>(tag)});
    return true;
  }
  if (tag >= 0xA0 && tag < 0xC0) return raw(Scalar::Kind::text, tag & 0x1FU);
  std::uint64_t size = 0;
  switch (tag) {
    case 0xC0:
      out.kind = Scalar::Kind::null;
      return true;
    case 0xC2:
    case 0xC3:
      out.kind = Scalar::Kind::boolean;
      out.number = tag & 1U;
      return true;
    case 0xC4:
    case 0xC5:
    case 0xC6:
      return number(std::size_t{1} << (tag - 0xC4U), size) && raw(Scalar::Kind::binary, size);
    case 0xCA:
      out.kind = Scalar::Kind::real;
      if (!number(4, size)) return false;
      out.number = std::bit_cast<std::uint64_t>(double{std::bit_cast<float>(static_cast<std::uint32_t>(size))});
      return true;
    case 0xCB:
      out.kind = Scalar::Kind::real;
      return number(8, out.number);
    case 0xCC:
    case 0xCD:
    case 0xCE:
    case 0xCF:
      out.kind = Scalar::Kind::unsigned_integer;
      return number(std::size_t{1} << (tag - 0xCCU), out.number);
    case 0xD0:
    case 0xD1:
    case 0xD2:
    case 0xD3: {
      const std::size_t width = std::size_t{1} << (tag - 0xD0U);
      if (!number(width, out.number)) return false;
      const bool negative = out.number >> (8 * width - 1) != 0;
      if (negative) out.number |= ~((std::uint64_t{1} << (8 * width - 1)) - 1);
      out.kind = negative ? Scalar::Kind::negative_integer : Scalar::Kind::unsigned_integer;
      return true;
    }
    case 0xD9:
    case 0xDA:
    case 0xDB:
      return number(std::size_t{1} << (tag - 0xD9U), size) && raw(Scalar::Kind::text, size);
    default:
      return false;
  }
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
#endif

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

/// Tag and count of what follows; false if MessagePack has no such count.
inline bool msgpack_start(Appender& out, const MsgpackFamily& family, std::size_t count) {
  char* const at = msgpack_header(out.room(5), family, count);
  if (at == nullptr) return out.fail(bad_body("longer than MessagePack allows"));
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

#if KETTLINGAR_DEFINITIONS
KETTLINGAR_INLINE CodecError append_scalar(std::string& out, const Scalar& scalar) {
  Appender to(out);
  switch (scalar.kind) {
    case Scalar::Kind::null:
      to.put('\xC0');
      break;
    case Scalar::Kind::boolean:
      to.put(scalar.number != 0 ? '\xC3' : '\xC2');
      break;
    case Scalar::Kind::unsigned_integer:
      to.wrote(msgpack_unsigned(to.room(9), scalar.number));
      break;
    case Scalar::Kind::negative_integer:
      to.wrote(msgpack_signed(to.room(9), static_cast<std::int64_t>(scalar.number)));
      break;
    case Scalar::Kind::real:
      to.wrote(store_tagged(to.room(9), 0xCB, scalar.number, 8));
      break;
    case Scalar::Kind::text:
      msgpack_string(to, scalar.bytes);
      break;
    case Scalar::Kind::binary:
      if (msgpack_start(to, msgpack_bin, scalar.bytes.size())) to.put(scalar.bytes);
      break;
  }
  return to.finish();
}
#endif

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

#if KETTLINGAR_DEFINITIONS
KETTLINGAR_INLINE CodecError decode_msgpack(std::string_view bytes, json& out, int depth) {
  return detail::MsgpackReader(bytes, depth).read(out);
}
#endif

template <class Json>
CodecError encode_msgpack(const Json& value, std::string& out, int depth) {
  detail::Appender appender(out);
  detail::write_msgpack(appender, value, depth);
  return appender.finish();
}

#if KETTLINGAR_DEFINITIONS
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
#endif

// For the files that have the declarations only.
#if defined(KETTLINGAR_SPLIT) && KETTLINGAR_DEFINITIONS
template CodecError encode_msgpack(const json&, std::string&, int);
template CodecError encode_msgpack(const nlohmann::json&, std::string&, int);
#endif

}  // namespace v0_1
}  // namespace kettlingar
