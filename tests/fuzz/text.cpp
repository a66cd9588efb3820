// SPDX-License-Identifier: MIT
// UTF-8, base64 and big integers: each way there and back, beside slow and plain ways to do the same. Input: bytes.
#include <algorithm>

#include "fuzz.hpp"
#include "wire/text.ipp"

namespace kt = kettlingar;

namespace {

/// By code point, as RFC 3629 has it.
bool is_utf8_slowly(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const auto lead = static_cast<unsigned char>(text[at]);
    const std::size_t size = lead < 0x80 ? 1 : (lead >> 5) == 6 ? 2 : (lead >> 4) == 14 ? 3 : (lead >> 3) == 30 ? 4 : 0;
    if (size == 0 || size > text.size() - at) return false;
    std::uint32_t code = size == 1 ? lead : lead & (0x7FU >> size);
    for (std::size_t i = 1; i < size; ++i) {
      const auto next = static_cast<unsigned char>(text[at + i]);
      if (next >> 6 != 2) return false;
      code = code << 6 | (next & 0x3FU);
    }
    const std::uint32_t least = size == 1 ? 0 : size == 2 ? 0x80 : size == 3 ? 0x800 : 0x10000;
    if (code < least || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return false;
    at += size;
  }
  return true;
}

void check_base64(std::string_view bytes, kt::Base64 form) {
  std::string text;
  kt::append_base64(text, bytes, form);
  const auto back = kt::decode_base64(text, form);
  FUZZ_CHECK(back && kt::detail::chars(*back) == bytes);
  // No two texts stand for the same bytes.
  if (const auto decoded = kt::decode_base64(bytes, form)) {
    std::string again;
    kt::append_base64(again, kt::detail::chars(*decoded), form);
    FUZZ_CHECK(again == bytes);
  }
}

void check_big_integer(std::string_view text) {
  const auto integer = kt::detail::big_integer(text);
  if (!integer) return;
  if (!integer->is_binary()) {
    FUZZ_CHECK(integer->is_number_integer());
    return;
  }
  std::string_view hex = kt::detail::chars(integer->get_binary());
  FUZZ_CHECK(kt::detail::big_integer(hex) == integer);  // normal already
  if (hex.starts_with('-')) hex.remove_prefix(1);
  const std::string decimal = kt::detail::convert_digits(hex, 16, 10);
  FUZZ_CHECK(decimal.size() <= kt::detail::big_integer_decimal_digits);
  FUZZ_CHECK(kt::detail::convert_digits(decimal, 10, 16) == hex);
}

}  // namespace

FUZZ_TARGET(text) {
  const bool valid = kt::is_utf8(bytes);
  FUZZ_CHECK(valid == is_utf8_slowly(bytes));
  std::string mended, again;
  kt::append_utf8(mended, bytes);
  FUZZ_CHECK(kt::is_utf8(mended) && (mended == bytes) == valid);
  kt::append_utf8(again, mended);
  FUZZ_CHECK(again == mended);

  check_base64(bytes, kt::Base64::standard);
  check_base64(bytes, kt::Base64::url);
  check_big_integer(bytes);

  std::size_t digits = 0, longest = 0;
  for (const char c : bytes) {
    digits = c >= '0' && c <= '9' ? digits + 1 : 0;
    longest = (std::max)(longest, digits);
  }
  FUZZ_CHECK(kt::detail::has_long_integers(bytes) == (longest > kt::detail::short_integer_digits));

  std::vector<std::string_view> keys;  // as in a map: are all of them different?
  for (fuzz::Input input(bytes); !input.empty();) keys.push_back(input.until('\n'));
  std::vector<std::string_view> sorted = keys;
  std::sort(sorted.begin(), sorted.end());
  const bool different = std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end();
  FUZZ_CHECK(kt::detail::all_different(keys) == different);
  FUZZ_CHECK(kt::detail::all_different(keys.size(), [&](std::size_t i) { return keys[i]; }) == different);
}
