// SPDX-License-Identifier: MIT
// tests/unit/codecs.hpp: values, bytes in hex, and what the codecs make of either.
#pragma once

#include "support.hpp"
#include "wire/events.ipp"

namespace test {

/// The bytes of hex digits; blanks and dashes between them do not count.
inline std::string codec_bytes(std::string_view hex) {
  std::string out;
  int high = -1;
  for (const char c : hex) {
    if (c == ' ' || c == '-') continue;
    const int value = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
    if (high >= 0) out += static_cast<char>(high * 16 + value);
    high = high < 0 ? value : -1;
  }
  return out;
}

inline std::string codec_hex(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    if (!out.empty()) out += ' ';
    out += "0123456789abcdef"[static_cast<unsigned char>(c) >> 4];
    out += "0123456789abcdef"[static_cast<unsigned char>(c) & 15];
  }
  return out;
}

inline std::string codec_repeat(std::string_view what, std::size_t count) {
  std::string out;
  for (std::size_t i = 0; i < count; ++i) out += what;
  return out;
}

/// A value with its exact kind: `u1`, `i-1`, `f0x1p+0`, `"text"`, `bin[00 ff]`, `ext-1[00]`, `[u1, u2]`, `{"a": null}`.
inline std::string codec_shown(const kt::json& value) {
  std::string out;
  if (value.is_null()) return "null";
  if (value.is_boolean()) return value.get<bool>() ? "true" : "false";
  if (value.is_number_unsigned()) return "u" + std::to_string(value.get<std::uint64_t>());
  if (value.is_number_integer()) return "i" + std::to_string(value.get<std::int64_t>());
  if (value.is_number_float()) {
    const double number = value.get<double>();
    if (std::isnan(number)) return "fnan";
    char text[64];
    std::snprintf(text, sizeof text, "f%a", number);
    return text;
  }
  if (value.is_string()) return "\"" + value.get<std::string>() + "\"";
  if (value.is_binary()) {
    const kt::json::binary_t& bytes = value.get_binary();
    out = "bin";
    if (bytes.has_subtype()) out = "ext" + std::to_string(static_cast<std::int8_t>(bytes.subtype()));
    return out + "[" + codec_hex({reinterpret_cast<const char*>(bytes.data()), bytes.size()}) + "]";
  }
  for (const auto& [key, item] : value.items()) {
    if (!out.empty()) out += ", ";
    if (value.is_object()) out += "\"" + key + "\": ";
    out += codec_shown(item);
  }
  return value.is_object() ? "{" + out + "}" : "[" + out + "]";
}

using CodecReader = kt::CodecError (*)(std::string_view, kt::json&, int);

/// What `reader` makes of the bytes, as codec_shown() or as the slug of the error.
inline std::string codec_outcome(CodecReader reader, std::string_view bytes, int depth = 64) {
  const Block block(bytes);
  kt::json value = "left over";
  const kt::CodecError error = reader(block.text(), value, depth);
  if (!error) return codec_shown(value);
  CHECK(value.is_null());
  CHECK(!error.why.empty());
  CHECK(error.offset <= bytes.size());
  return std::string(error.slug);
}

inline std::string codec_unpacked(std::string_view bytes, int depth = 64) {
  return codec_outcome(kt::decode_msgpack, bytes, depth);
}
inline std::string codec_parsed(std::string_view text, int depth = 64) {
  return codec_outcome(kt::decode_json, text, depth);
}

/// The encoding, or the slug of the error; what was in the buffer before has to stay there.
template <class Json>
std::string codec_packed(const Json& value, int depth = 64) {
  std::string out = "before";
  const kt::CodecError error = kt::encode_msgpack(value, out, depth);
  CHECK(out.substr(0, 6) == "before");
  if (!error) return out.substr(6);
  CHECK(out == "before");
  return std::string(error.slug);
}

template <class Json>
std::string codec_text(const Json& value, kt::JsonStyle style = kt::JsonStyle::compact, int depth = 64) {
  std::string out = "before";
  const kt::CodecError error = kt::encode_json(value, out, style, depth);
  CHECK(out.substr(0, 6) == "before");
  if (!error) return out.substr(6);
  CHECK(out == "before");
  return std::string(error.slug);
}

inline kt::json codec_ext(int code, std::string_view bytes) {
  return kt::json::binary(kt::Bytes(bytes.begin(), bytes.end()), static_cast<std::uint8_t>(code));
}

/// Lists inside each other, the innermost one empty.
inline kt::json codec_nested(int depth) {
  kt::json value = kt::json::array();
  for (int i = 1; i < depth; ++i) value = kt::json::array({std::move(value)});
  return value;
}

/// A small deterministic source of numbers and of values of all kinds.
class CodecRandom {
 public:
  explicit CodecRandom(std::uint64_t seed) : state_(seed) {}

  std::uint64_t number(std::uint64_t below) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return (state_ >> 33) % below;
  }
  std::size_t index(std::size_t size) { return static_cast<std::size_t>(number(size)); }
  std::string text() {
    constexpr std::string_view parts[] = {"a",  "meow", "\xC3\xA9", "\xF0\x9F\x90\xB1", "\"",
                                          "\n", "\\",   "\0"sv,     "0123456789"};
    std::string out;
    for (std::uint64_t i = number(6); i > 0; --i) out += parts[number(std::size(parts))];
    return out;
  }
  kt::json value(int depth) {
    switch (number(depth > 0 ? 10 : 8)) {
      case 0:
        return nullptr;
      case 1:
        return number(2) == 0;
      case 2:
        return (number(1u << 31) << 33 | number(1u << 31)) >> number(64);
      case 3:
        return -static_cast<std::int64_t>((number(1u << 31) << 32 | number(1u << 31)) >> number(63)) - 1;
      case 4:
        return static_cast<double>(number(1u << 30)) / 1024 - 1000;
      case 5:
        return text();
      case 6:
        return kt::bytes(text());
      case 7:
        return codec_ext(static_cast<int>(number(250)) + 2, text());
      case 8: {
        kt::json list = kt::json::array();
        for (std::uint64_t i = number(20); i > 0; --i) list.push_back(value(depth - 1));
        return list;
      }
      default: {
        kt::json map = kt::json::object();
        for (std::uint64_t i = number(20); i > 0; --i) map[text()] = value(depth - 1);
        return map;
      }
    }
  }

 private:
  std::uint64_t state_;
};

/// The event as text, or the slug of the error.
inline std::string codec_event(const kt::json& item) {
  std::string out = "before";
  const kt::CodecError error = kt::detail::append_event(item, out);
  CHECK(out.substr(0, 6) == "before");
  if (!error) return out.substr(6);
  CHECK(out == "before");
  return std::string(error.slug);
}

inline std::string codec_read_event(std::string_view text) {
  const Block block(text);
  kt::json value = "left over";
  const kt::CodecError error = kt::detail::parse_event(block.text(), value);
  if (!error) return codec_shown(value);
  CHECK(value.is_null());
  return std::string(error.slug);
}

/// One row of the vectors file: `hex` must decode to the value that the row names.
inline void codec_check_vector(const kt::json& row, const std::string& hex) {
  CAPTURE(hex);
  const std::string outcome = codec_unpacked(codec_bytes(hex));
  kt::json value;
  const bool fine = !kt::decode_msgpack(codec_bytes(hex), value);
  const auto spaced = [](const kt::json& bytes) { return codec_hex(codec_bytes(bytes.get<std::string>())); };
  if (row.contains("bigint")) {
    CHECK(codec_text(value) == row["bigint"].get<std::string>());
  } else if (row.contains("ext")) {
    const int code = row["ext"][0].get<int>();
    const std::string content = spaced(row["ext"][1]);
    // kawanet's ext 1 is no big integer, which the protocol says that ext 1 is.
    CHECK(outcome == (code == 1 && content == "10" ? "bad-body" : "ext" + std::to_string(code) + "[" + content + "]"));
  } else if (row.contains("timestamp")) {
    const auto time = kt::timestamp_of(value);
    REQUIRE(time);
    CHECK(time->seconds == row["timestamp"][0].get<std::int64_t>());
    CHECK(time->nanoseconds == row["timestamp"][1].get<std::uint32_t>());
  } else if (row.contains("binary")) {
    CHECK(outcome == "bin[" + spaced(row["binary"]) + "]");
  } else if (row.contains("value") && row["value"] == "nan") {
    CHECK(outcome == "fnan");
  } else if (row.contains("value")) {
    const std::string number = row["value"].get<std::string>();
    CHECK((number.ends_with("inf") ? outcome == "f" + number : outcome == codec_parsed(number)));
  } else {
    const kt::json bignum = row.contains("bignum") ? kt::json::parse(row["bignum"].get<std::string>()) : kt::json();
    REQUIRE(fine);
    for (const char* kind : {"nil", "bool", "number", "string", "array", "map"}) {
      if (row.contains(kind)) CHECK(value == row[kind]);
    }
    if (row.contains("bignum")) CHECK(value == bignum);
    if (row.contains("json")) CHECK(value == kt::json::parse(row["json"].get<std::string>()));
  }
}

/// One row of the section `shortest`: how the written value must start.
inline void codec_check_shortest(const kt::json& row) {
  kt::json value;
  std::size_t content = 0;
  for (const auto& [kind, size] : row.items()) {
    CAPTURE(kind);
    if (!kind.ends_with("_of_length")) continue;
    content = size.get<std::size_t>();
    if (kind.starts_with("string")) value = std::string(content, 'x');
    if (kind.starts_with("binary")) value = kt::bytes(std::string(content, 'x'));
    if (kind.starts_with("ext")) value = codec_ext(row["type"].get<int>(), std::string(content, 'x'));
    if (kind.starts_with("array")) value = kt::json::array_t(content);
    if (kind.starts_with("map")) {
      value = kt::json::object();
      for (std::size_t i = 0; i < content; ++i) value[std::string(1, static_cast<char>('a' + i))] = i;
      content *= 3;
    }
  }
  if (row.contains("integer")) value = kt::json::parse(row["integer"].get<std::string>());
  const std::string bytes = codec_packed(value);
  const std::string header = codec_bytes(row[row.contains("hex") ? "hex" : "header"].get<std::string>());
  CHECK(bytes.substr(0, header.size()) == header);
  CHECK(bytes.size() == header.size() + content);
}

}  // namespace test
