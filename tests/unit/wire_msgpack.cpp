// SPDX-License-Identifier: MIT
#include "codecs.hpp"
#include "support.hpp"
#include "wire/msgpack.ipp"

TEST_SUITE("wire/msgpack") {
  TEST_CASE("every format is read, in its shortest and its longer forms") {
    const std::string_view rows[][2] = {
        {"c0", "null"},
        {"c2", "false"},
        {"c3", "true"},
        // positive fixint, uint 8 to 64
        {"00", "u0"},
        {"7f", "u127"},
        {"cc 00", "u0"},
        {"cc 80", "u128"},
        {"cc ff", "u255"},
        {"cd 00 01", "u1"},
        {"cd 01 00", "u256"},
        {"cd ff ff", "u65535"},
        {"ce 00 00 00 01", "u1"},
        {"ce 00 01 00 00", "u65536"},
        {"ce ff ff ff ff", "u4294967295"},
        {"cf 00 00 00 00 00 00 00 00", "u0"},
        {"cf 01 02 03 04 05 06 07 08", "u72623859790382856"},
        {"cf 80 00 00 00 00 00 00 00", "u9223372036854775808"},
        {"cf ff ff ff ff ff ff ff ff", "u18446744073709551615"},
        // negative fixint, int 8 to 64; unsigned when not negative
        {"ff", "i-1"},
        {"e0", "i-32"},
        {"d0 00", "u0"},
        {"d0 7f", "u127"},
        {"d0 80", "i-128"},
        {"d0 ff", "i-1"},
        {"d1 7f ff", "u32767"},
        {"d1 80 00", "i-32768"},
        {"d1 ff 7f", "i-129"},
        {"d2 7f ff ff ff", "u2147483647"},
        {"d2 80 00 00 00", "i-2147483648"},
        {"d2 ff ff ff ff", "i-1"},
        {"d3 00 00 00 00 00 00 00 05", "u5"},
        {"d3 7f ff ff ff ff ff ff ff", "u9223372036854775807"},
        {"d3 80 00 00 00 00 00 00 00", "i-9223372036854775808"},
        {"d3 ff ff ff ff ff ff ff fe", "i-2"},
        // float 32, float 64
        {"ca 3f 80 00 00", "f0x1p+0"},
        {"ca 3d cc cc cd", "f0x1.99999ap-4"},
        {"ca 80 00 00 00", "f-0x0p+0"},
        {"ca 00 00 00 01", "f0x1p-149"},
        {"ca 7f 7f ff ff", "f0x1.fffffep+127"},
        {"ca 7f 80 00 00", "finf"},
        {"ca ff 80 00 00", "f-inf"},
        {"ca 7f c0 00 00", "fnan"},
        {"ca 7f 80 00 01", "fnan"},
        {"cb 3f f0 00 00 00 00 00 00", "f0x1p+0"},
        {"cb 80 00 00 00 00 00 00 00", "f-0x0p+0"},
        {"cb 00 00 00 00 00 00 00 01", "f0x0.0000000000001p-1022"},
        {"cb 7f ef ff ff ff ff ff ff", "f0x1.fffffffffffffp+1023"},
        {"cb 7f f0 00 00 00 00 00 00", "finf"},
        {"cb ff f0 00 00 00 00 00 00", "f-inf"},
        {"cb 7f f8 00 00 00 00 00 00", "fnan"},
        {"cb 7f f0 00 00 00 00 00 01", "fnan"},
        {"cb ff f8 00 00 00 00 00 00", "fnan"},
        // fixstr, str 8 to 32
        {"a0", "\"\""},
        {"a3 61 62 63", "\"abc\""},
        {"d9 00", "\"\""},
        {"d9 01 61", "\"a\""},
        {"da 00 00", "\"\""},
        {"da 00 01 61", "\"a\""},
        {"db 00 00 00 00", "\"\""},
        {"db 00 00 00 02 c3 a9", "\"\xC3\xA9\""},
        {"a4 f0 9f 90 b1", "\"\xF0\x9F\x90\xB1\""},
        {"a3 61 00 62", "\"a\0b\""sv},
        // bin 8 to 32
        {"c4 00", "bin[]"},
        {"c4 02 00 ff", "bin[00 ff]"},
        {"c5 00 00", "bin[]"},
        {"c5 00 01 80", "bin[80]"},
        {"c6 00 00 00 00", "bin[]"},
        {"c6 00 00 00 03 61 62 63", "bin[61 62 63]"},
        // fixarray, array 16 and 32; fixmap, map 16 and 32
        {"90", "[]"},
        {"93 01 a1 61 c0", "[u1, \"a\", null]"},
        {"dc 00 00", "[]"},
        {"dc 00 01 c3", "[true]"},
        {"dd 00 00 00 00", "[]"},
        {"dd 00 00 00 02 01 ff", "[u1, i-1]"},
        {"80", "{}"},
        {"81 a1 61 01", "{\"a\": u1}"},
        {"81 a0 01", "{\"\": u1}"},
        {"82 a1 62 01 a1 61 02", "{\"b\": u1, \"a\": u2}"},
        {"de 00 00", "{}"},
        {"de 00 01 d9 01 61 c2", "{\"a\": false}"},
        {"df 00 00 00 00", "{}"},
        {"df 00 00 00 01 da 00 01 61 90", "{\"a\": []}"},
        {"81 db 00 00 00 01 6b 80", "{\"k\": {}}"},
        {"82 a1 61 92 01 c0 a1 62 81 a1 63 c2", "{\"a\": [u1, null], \"b\": {\"c\": false}}"},
        {"94 90 91 90 80 81 a0 90", "[[], [[]], {}, {\"\": []}]"},
        // fixext 1 to 16, ext 8 to 32, empty ones included
        {"d4 05 aa", "ext5[aa]"},
        {"d4 80 aa", "ext-128[aa]"},
        {"d4 7f aa", "ext127[aa]"},
        {"d4 00 aa", "ext0[aa]"},
        {"d4 55 00", "ext85[00]"},
        {"d5 02 20 21", "ext2[20 21]"},
        {"d6 03 30 31 32 33", "ext3[30 31 32 33]"},
        {"d7 04 40 41 42 43 44 45 46 47", "ext4[40 41 42 43 44 45 46 47]"},
        {"d8 fe 50 51 52 53 54 55 56 57 58 59 5a 5b 5c 5d 5e 5f",
         "ext-2[50 51 52 53 54 55 56 57 58 59 5a 5b 5c 5d 5e 5f]"},
        {"c7 00 06", "ext6[]"},
        {"c7 01 05 aa", "ext5[aa]"},
        {"c7 03 07 70 71 72", "ext7[70 71 72]"},
        {"c8 00 00 06", "ext6[]"},
        {"c8 00 02 06 01 02", "ext6[01 02]"},
        {"c9 00 00 00 00 05", "ext5[]"},
        {"c9 00 00 00 01 05 bb", "ext5[bb]"},
    };
    std::string all =
        codec_bytes("dc") + static_cast<char>(std::size(rows) >> 8) + static_cast<char>(std::size(rows) & 0xFF);
    for (const auto& [hex, shown] : rows) {
      CAPTURE(hex);
      const std::string bytes = codec_bytes(hex);
      CHECK(codec_unpacked(bytes) == shown);
      for (std::size_t size = 0; size < bytes.size(); ++size)
        CHECK(codec_unpacked(bytes.substr(0, size)) == "bad-body");
      for (const char more : {'\0', '\xC0', '\xC1'}) CHECK(codec_unpacked(bytes + more) == "bad-body");
      all += bytes;
    }
    CHECK(codec_unpacked(all).front() == '[');
    for (std::size_t size = 0; size < all.size(); ++size) {
      kt::json value;
      const kt::CodecError error = kt::decode_msgpack(Block(std::string_view(all).substr(0, size)).text(), value);
      if (!error) CHECK(size == all.size());
    }
  }

  TEST_CASE("what is not one valid value is refused") {
    const std::string_view rows[][2] = {
        {"", "nothing"},
        {"c1", "not a format"},
        {"91 c1", "not a format, in a list"},
        {"81 c1 01", "not a format, as key"},
        {"01 02", "bytes behind"},
        {"80 c0", "a value behind"},
        {"80 80", "two documents"},
        {"90 c1", "no format behind"},
        // counts and lengths without the bytes
        {"dd ff ff ff ff", "list of 2^32-1"},
        {"df ff ff ff ff", "map of 2^32-1"},
        {"db ff ff ff ff", "string of 2^32-1"},
        {"c6 ff ff ff ff", "bytes of 2^32-1"},
        {"c9 ff ff ff ff 01", "ext of 2^32-1: length plus code must not wrap"},
        {"c8 ff ff 05", "ext of 65535"},
        {"c7 ff 05", "ext of 255"},
        {"dc ff ff c0", "list of 65535"},
        {"de ff ff a0 c0", "map of 65535"},
        {"da ff ff 61", "string of 65535"},
        {"c5 ff ff 00", "bytes of 65535"},
        {"d9 ff 61", "string of 255"},
        {"c4 ff 00", "bytes of 255"},
        {"df 80 00 00 01 a0 c0 a0 c0", "2 * count wraps in 32 bit"},
        {"dd 15 55 55 56 00 00 00 00", "12 * count wraps in 32 bit"},
        {"92 01", "one value short"},
        {"82 a1 61 01", "one pair short"},
        {"81 a1 61", "a key without value"},
        {"92 dc 00 01 c0", "an outer value short"},
        {"93 92 01 02 91", "the inner list is whole, the outer not"},
        {"d4", "no code"},
        {"d4 05", "no byte"},
        {"c7 00", "no code"},
        {"c9 00 00 00 00", "no code"},
        // keys
        {"81 01 02", "integer key"},
        {"81 ff 02", "negative key"},
        {"81 c0 02", "null key"},
        {"81 c3 02", "true key"},
        {"81 ca 00 00 00 00 02", "float key"},
        {"81 90 02", "list key"},
        {"81 80 02", "map key"},
        {"81 c4 01 61 02", "bin key"},
        {"81 d4 05 61 02", "ext key"},
        {"81 a2 ff fe 02", "key that is not UTF-8"},
        {"82 a1 61 01 a1 61 02", "the same key twice"},
        {"83 a1 61 01 a1 62 00 a1 61 02", "the same key twice, with one between"},
        {"82 a0 01 a0 01", "the empty key twice"},
        {"82 a1 61 01 d9 01 61 02", "the same key in two forms"},
        {"82 a1 61 01 c4 01 61 02", "as str and as bin"},
        {"91 82 a1 61 01 a1 61 01", "twice, deeper"},
        // text
        {"a2 ff fe", "not UTF-8"},
        {"a3 ed a0 80", "surrogate"},
        {"a2 c0 af", "overlong"},
        {"a2 e2 82", "cut"},
        {"d9 04 f4 90 80 80", "beyond Unicode"},
        {"92 a1 c3 a1 a9", "a character cut in two"},
        // big integers
        {"c7 02 01 7a 7a", "zz"},
        {"c7 00 01", "empty"},
        {"d4 01 2d", "-"},
        {"d5 01 30 78", "0x"},
        {"c7 03 01 2d 30 78", "-0x"},
        {"d5 01 2b 31", "+1"},
        {"d5 01 31 20", "blank"},
        {"d5 01 2d 2d", "--"},
        {"d4 01 00", "NUL"},
        {"d4 01 10", "a control character"},
        {"d5 01 31 5f", "1_"},
        {"c7 04 01 30 78 2d 31", "0x-1"},
        {"d4 01 67", "g"},
        {"d4 01 2f", "before 0"},
        {"d4 01 3a", "after 9"},
        {"d4 01 40", "before A"},
        {"d4 01 60", "before a"},
        {"d4 01 47", "G"},
    };
    for (const auto& [hex, why] : rows) {
      CAPTURE(why);
      CHECK(codec_unpacked(codec_bytes(hex)) == "bad-body");
    }
  }

  TEST_CASE("an error says where it is") {
    kt::json value;
    const kt::CodecError error = kt::decode_msgpack(codec_bytes("92 01 c1"), value);
    CHECK(error);
    CHECK(error.slug == "bad-body");
    CHECK(error.offset == 3);
    CHECK(!kt::CodecError{});
  }

  TEST_CASE("integers are written in their shortest form and come back exactly") {
    const std::pair<std::int64_t, std::string_view> signed_rows[] = {
        {0, "00"},
        {1, "01"},
        {127, "7f"},
        {128, "cc 80"},
        {255, "cc ff"},
        {256, "cd 01 00"},
        {65535, "cd ff ff"},
        {65536, "ce 00 01 00 00"},
        {4294967295, "ce ff ff ff ff"},
        {4294967296, "cf 00 00 00 01 00 00 00 00"},
        {INT64_MAX, "cf 7f ff ff ff ff ff ff ff"},
        {-1, "ff"},
        {-32, "e0"},
        {-33, "d0 df"},
        {-128, "d0 80"},
        {-129, "d1 ff 7f"},
        {-32768, "d1 80 00"},
        {-32769, "d2 ff ff 7f ff"},
        {-2147483647 - 1, "d2 80 00 00 00"},
        {-2147483649, "d3 ff ff ff ff 7f ff ff ff"},
        {INT64_MIN, "d3 80 00 00 00 00 00 00 00"},
    };
    for (const auto& [number, hex] : signed_rows) {
      CHECK(codec_hex(codec_packed(kt::json(number))) == hex);
      if (number >= 0) CHECK(codec_hex(codec_packed(kt::json(static_cast<std::uint64_t>(number)))) == hex);
    }
    CHECK(codec_hex(codec_packed(kt::json(UINT64_MAX))) == "cf ff ff ff ff ff ff ff ff");
    for (int bit = 0; bit < 64; ++bit) {
      for (int difference = -2; difference <= 2; ++difference) {
        const std::uint64_t number = (std::uint64_t{1} << bit) + static_cast<std::uint64_t>(difference);
        CHECK(codec_unpacked(codec_packed(kt::json(number))) == "u" + std::to_string(number));
        const auto negative = static_cast<std::int64_t>(number);
        if (negative < 0) CHECK(codec_unpacked(codec_packed(kt::json(negative))) == "i" + std::to_string(negative));
      }
    }
  }

  TEST_CASE("strings, bytes, ext values, lists and maps get the shortest header") {
    const std::pair<std::size_t, std::string_view> strings[] = {
        {0, "a0"},      {1, "a1"},         {31, "bf"},          {32, "d9 20"},
        {255, "d9 ff"}, {256, "da 01 00"}, {65535, "da ff ff"}, {65536, "db 00 01 00 00"}};
    for (const auto& [size, header] : strings)
      CHECK(codec_packed(kt::json(std::string(size, 'x'))) == codec_bytes(header) + std::string(size, 'x'));
    const std::pair<std::size_t, std::string_view> binaries[] = {
        {0, "c4 00"}, {31, "c4 1f"}, {255, "c4 ff"}, {256, "c5 01 00"}, {65535, "c5 ff ff"}, {65536, "c6 00 01 00 00"}};
    for (const auto& [size, header] : binaries)
      CHECK(codec_packed(kt::bytes(std::string(size, 'x'))) == codec_bytes(header) + std::string(size, 'x'));
    const std::pair<std::size_t, std::string_view> exts[] = {
        {0, "c7 00"},  {1, "d4"},      {2, "d5"},         {3, "c7 03"},        {4, "d6"},
        {5, "c7 05"},  {8, "d7"},      {15, "c7 0f"},     {16, "d8"},          {17, "c7 11"},
        {32, "c7 20"}, {255, "c7 ff"}, {256, "c8 01 00"}, {65535, "c8 ff ff"}, {65536, "c9 00 01 00 00"}};
    for (const auto& [size, header] : exts) {
      const std::string bytes = codec_bytes(header) + "\x05" + std::string(size, 'x');
      CHECK(codec_packed(codec_ext(5, std::string(size, 'x'))) == bytes);
      CHECK(codec_packed(codec_ext(5, std::string(size, 'x'))).size() == bytes.size());
    }
    const std::pair<std::size_t, std::string_view> lists[] = {
        {0, "90"}, {1, "91"}, {15, "9f"}, {16, "dc 00 10"}, {65535, "dc ff ff"}, {65536, "dd 00 01 00 00"}};
    for (const auto& [size, header] : lists) {
      const std::string bytes = codec_packed(kt::json(kt::json::array_t(size)));
      CHECK(bytes == codec_bytes(header) + std::string(size, '\xC0'));
      CHECK(codec_packed(kt::json(nlohmann::json::array_t(size))) == bytes);
    }
    const std::pair<std::size_t, std::string_view> maps[] = {
        {0, "80"}, {1, "81"}, {15, "8f"}, {16, "de 00 10"}, {300, "de 01 2c"}, {65536, "df 00 01 00 00"}};
    for (const auto& [size, header] : maps) {
      nlohmann::json map = nlohmann::json::object();
      for (std::size_t i = 0; i < size; ++i) map["k" + std::to_string(i)] = nullptr;
      const std::string bytes = codec_packed(map);
      CHECK(bytes.substr(0, codec_bytes(header).size()) == codec_bytes(header));
      kt::json back;
      CHECK(!kt::decode_msgpack(Block(bytes).text(), back));
      CHECK(back.size() == size);
    }
  }

  TEST_CASE("counts that MessagePack cannot express are refused") {
    char buffer[8];
    using kt::detail::msgpack_header;
    for (const auto& family : {kt::detail::msgpack_str, kt::detail::msgpack_bin, kt::detail::msgpack_array,
                               kt::detail::msgpack_map, kt::detail::msgpack_ext}) {
      CHECK(msgpack_header(buffer, family, 0xFFFFFFFF) == buffer + 5);
      CHECK(codec_hex({buffer + 1, 4}) == "ff ff ff ff");
      if constexpr (sizeof(std::size_t) > 4) {
        CHECK(msgpack_header(buffer, family, std::size_t{0xFFFFFFFF} + 1) == nullptr);
        CHECK(msgpack_header(buffer, family, SIZE_MAX) == nullptr);
      }
    }
  }

  TEST_CASE("floats keep every bit and stay floats") {
    for (const std::string_view hex :
         {"cb 3f f0 00 00 00 00 00 00"sv, "cb 80 00 00 00 00 00 00 00"sv, "cb 00 00 00 00 00 00 00 01"sv,
          "cb 7f f0 00 00 00 00 00 00"sv, "cb 7f f8 00 00 00 00 00 00"sv, "cb ff f8 00 00 00 00 00 01"sv,
          "cb 3f b9 99 99 99 99 99 9a"sv}) {
      kt::json value;
      CHECK(!kt::decode_msgpack(codec_bytes(hex), value));
      CHECK(codec_hex(codec_packed(value)) == hex);
    }
    CHECK(codec_hex(codec_packed(kt::json(1.0))) == "cb 3f f0 00 00 00 00 00 00");
    CHECK(codec_hex(codec_packed(kt::json(1.0f))) == "cb 3f f0 00 00 00 00 00 00");
    CHECK(codec_hex(codec_packed(kt::json(1))) == "01");
  }

  TEST_CASE("bytes and strings of the same content stay apart") {
    const kt::json both = {"abc", kt::bytes("abc"), codec_ext(7, "abc")};
    CHECK(codec_hex(codec_packed(both)) == "93 a3 61 62 63 c4 03 61 62 63 c7 03 07 61 62 63");
    CHECK(codec_unpacked(codec_packed(both)) == codec_shown(both));
  }

  TEST_CASE("all ext codes survive, and subtypes that are none are refused") {
    for (int code = -128; code <= 127; ++code) {
      if (code == kt::big_integer_ext) continue;
      for (const std::string_view content : {""sv, "x"sv, "xyz"sv}) {
        const kt::json value = codec_ext(code, content);
        CHECK(codec_unpacked(codec_packed(value)) == codec_shown(value));
        CHECK(codec_shown(value).substr(0, 3 + std::to_string(code).size() + 1) == "ext" + std::to_string(code) + "[");
      }
    }
    CHECK(codec_packed(kt::json::binary({1}, 256)) == "bad-body");
    CHECK(codec_packed(kt::json::array({1, kt::json::binary({1}, UINT64_MAX)})) == "bad-body");
  }

  TEST_CASE("timestamps stay ext values and can be read as such") {
    struct Row {
      std::string_view hex;
      std::int64_t seconds;
      std::uint32_t nanoseconds;
    };
    const Row rows[] = {
        {"d6 ff 00 00 00 00", 0, 0},
        {"d6 ff ff ff ff ff", 4294967295, 0},
        {"d7 ff 00 00 00 04 00 00 00 00", 0, 1},
        {"d7 ff ee 6b 27 fc 00 00 00 00", 0, 999999999},
        {"d7 ff ee 6b 27 ff ff ff ff ff", 17179869183, 999999999},
        {"d7 ff a1 dc d7 c8 5a 4a f6 a5", 1514862245, 678901234},
        {"c7 0c ff 00 00 00 00 00 00 00 00 00 00 00 01", 1, 0},
        {"c7 0c ff 3b 9a c9 ff ff ff ff ff ff ff ff ff", -1, 999999999},
        {"c7 0c ff 00 00 00 00 80 00 00 00 00 00 00 00", INT64_MIN, 0},
        {"c8 00 04 ff 5a 4a f6 a5", 1514862245, 0},
    };
    for (const Row& row : rows) {
      CAPTURE(row.hex);
      kt::json value;
      CHECK(!kt::decode_msgpack(codec_bytes(row.hex), value));
      CHECK(codec_shown(value).substr(0, 6) == "ext-1[");
      const auto time = kt::timestamp_of(value);
      REQUIRE(time);
      CHECK(time->seconds == row.seconds);
      CHECK(time->nanoseconds == row.nanoseconds);
    }
    for (const std::string_view hex :
         {"c7 00 ff"sv, "d4 ff 00"sv, "d5 ff 00 00"sv, "c7 05 ff 00 00 00 00 00"sv,
          "d8 ff 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00"sv, "d7 ff ee 6b 28 00 00 00 00 00"sv,
          "d7 ff ff ff ff ff ff ff ff ff"sv, "c7 0c ff 3b 9a ca 00 00 00 00 00 00 00 00 00"sv,
          "c7 0c ff ff ff ff ff 00 00 00 00 00 00 00 00"sv}) {
      CAPTURE(hex);  // wrong lengths and too many nanoseconds: opaque, and unchanged when sent on
      kt::json value;
      CHECK(!kt::decode_msgpack(codec_bytes(hex), value));
      CHECK(!kt::timestamp_of(value));
      CHECK(codec_hex(codec_packed(value)) == hex);
    }
    for (const kt::json& value :
         {kt::json(), kt::json(5), kt::json("abcd"), kt::bytes("abcd"), codec_ext(5, "abcd"), kt::json::array()})
      CHECK(!kt::timestamp_of(value));
  }

  TEST_CASE("big integers become native ones if they fit, and are normalised otherwise") {
    const std::string_view rows[][2] = {
        {"0", "u0"},
        {"-0", "u0"},
        {"000", "u0"},
        {"f", "u15"},
        {"F", "u15"},
        {"0x1f", "u31"},
        {"0X1F", "u31"},
        {"-0x1f", "i-31"},
        {"-1", "i-1"},
        {"0x0", "u0"},
        {"ffffffffffffffff", "u18446744073709551615"},
        {"000000000ffffffffffffffff", "u18446744073709551615"},
        {"-8000000000000000", "i-9223372036854775808"},
        {"7fffffffffffffff", "u9223372036854775807"},
        {"-7fffffffffffffff", "i-9223372036854775807"},
        {"10000000000000000", "ext1:10000000000000000"},
        {"0x00010000000000000000", "ext1:10000000000000000"},
        {"-8000000000000001", "ext1:-8000000000000001"},
        {"-FFFFFFFFFFFFFFFF", "ext1:-ffffffffffffffff"},
        {"-0XABCDEF0123456789abcdef", "ext1:-abcdef0123456789abcdef"},
    };
    for (const auto& [text, shown] : rows) {
      CAPTURE(text);
      const std::string expected =
          shown.starts_with("ext1:") ? "ext1[" + codec_hex(shown.substr(5)) + "]" : std::string(shown);
      const std::string outcome =
          codec_unpacked(codec_bytes("c7") + static_cast<char>(text.size()) + "\x01" + std::string(text));
      CHECK(outcome == expected);
    }
    // The two of protocol.md, section 13, byte for byte there and back.
    for (const std::string_view hex : {"c7 11 01 31 30 30 30 30 30 30 30 30 30 30 30 30 30 30 30 30"sv,
                                       "c7 11 01 2d 38 30 30 30 30 30 30 30 30 30 30 30 30 30 30 31"sv}) {
      kt::json value;
      CHECK(!kt::decode_msgpack(codec_bytes(hex), value));
      CHECK(codec_hex(codec_packed(value)) == hex);
    }
    CHECK(codec_text(codec_ext(1, "10000000000000000")) == "18446744073709551616");
    CHECK(codec_text(codec_ext(1, "-8000000000000001")) == "-9223372036854775809");
    const auto ext16 = [](std::size_t size, char digit) {
      return "\xC8"s + static_cast<char>(size >> 8) + static_cast<char>(size & 0xFF) + '\x01' +
             std::string(size, digit);
    };
    CHECK(codec_unpacked(ext16(1024, 'f')).substr(0, 5) == "ext1[");
    CHECK(codec_unpacked(ext16(1025, 'f')) == "bad-body");
    CHECK(codec_unpacked(ext16(1025, '0')) == "bad-body");
    CHECK(codec_unpacked(ext16(60000, 'f')) == "bad-body");
  }

  TEST_CASE("nesting is refused beyond the limit, in reading and in writing") {
    CHECK(codec_unpacked(codec_repeat("\x91", 64) + "\xC0").front() == '[');
    CHECK(codec_unpacked(codec_repeat("\x91", 65) + "\xC0") == "depth");
    CHECK(codec_unpacked(codec_repeat("\x81\xA1k", 64) + "\xC0").front() == '{');
    CHECK(codec_unpacked(codec_repeat("\x81\xA1k", 65) + "\xC0") == "depth");
    CHECK(codec_unpacked(codec_repeat("\x91", 64) + "\x90") == "depth");
    for (const std::string_view unit : {"91"sv, "81 a1 61"sv, "dd 00 00 00 01"sv, "df 00 00 00 01 a0"sv})
      CHECK(codec_unpacked(codec_repeat(codec_bytes(unit), 100000) + "\xC0") == "depth");
    CHECK(codec_unpacked(codec_repeat("\x81", 100000)) == "bad-body");  // a map as key
    CHECK(codec_unpacked("\xC0", 0) == "null");
    CHECK(codec_unpacked("\x90", 0) == "depth");
    CHECK(codec_unpacked("\x90", -5) == "depth");
    CHECK(codec_unpacked("\x90", 1) == "[]");
    CHECK(codec_packed(codec_nested(64)).size() == 64);
    CHECK(codec_packed(codec_nested(65)) == "depth");
    CHECK(codec_packed(codec_nested(3), 3) == "\x91\x91\x90");
    CHECK(codec_packed(codec_nested(3), 2) == "depth");
    CHECK(codec_packed(kt::json::object(), 0) == "depth");
    CHECK(codec_packed(kt::json(7), 0) == "\x07");
    const kt::json deep = codec_nested(100000);
    CHECK(codec_packed(deep) == "depth");
    CHECK(codec_text(deep) == "depth");
  }

  TEST_CASE("claimed counts do not add up to memory") {
    CHECK(codec_unpacked(codec_repeat(codec_bytes("dc ff ff"), 20000)) == "bad-body");
    CHECK(codec_unpacked(codec_repeat(codec_bytes("de ff ff a0"), 20000)) == "bad-body");
    CHECK(codec_unpacked(codec_repeat(codec_bytes("dd 00 00 01 00"), 4000)) ==
          "depth");  // each count alone is plausible
    CHECK(codec_unpacked(codec_repeat(codec_bytes("dd 00 00 02 00"), 4000)) == "bad-body");
    // A list whose inner list claims what the outer one still needs.
    CHECK(codec_unpacked(codec_bytes("93 93 01 02 03")) == "bad-body");
    CHECK(codec_unpacked(codec_bytes("93 93 01 02 03 04 05")) == "[[u1, u2, u3], u4, u5]");
    // A string that eats the bytes that pending values need, with a list behind it.
    CHECK(codec_unpacked(codec_bytes("94 a3 61 61 61 92 01 02")) == "bad-body");
    kt::json value;
    CHECK(!kt::decode_msgpack(codec_bytes("dd 00 0f 42 40") + std::string(1000000, '\x90'), value));
    CHECK(value.size() == 1000000);
    CHECK(!kt::decode_msgpack(codec_bytes("dd 00 0f 42 40") + std::string(1000000, '\xC0'), value));
    CHECK(value.size() == 1000000);
  }

  TEST_CASE("maps of any size are read in their order, and refused if one key of many is there twice") {
    for (const std::size_t count : {16u, 17u, 20000u}) {
      std::string bytes =
          "\xDF"s + std::string(2, '\0') + static_cast<char>(count >> 8) + static_cast<char>(count & 0xFF);
      for (std::size_t i = 0; i < count; ++i) bytes += "\xA8key" + std::to_string(10000 + i) + "\x01";
      kt::json value;
      REQUIRE(!kt::decode_msgpack(Block(bytes).text(), value));
      CHECK(value.size() == count);
      CHECK(value.begin().key() == "key10000");
      CHECK(std::prev(value.end()).key() == "key" + std::to_string(9999 + count));
      CHECK(codec_packed(value).size() == bytes.size() - 2);
      bytes[bytes.size() - 2] = bytes[bytes.size() - 12];
      bytes[bytes.size() - 3] = bytes[bytes.size() - 13];
      CHECK(codec_unpacked(bytes) == "bad-body");
    }
  }

  TEST_CASE("nlohmann's plain json is written like the ordered one") {
    const std::string_view text = R"({"a":[1,-1,1.5,true,false,null,"x"],"b":{"c":{}},"d":[]})";
    CHECK(codec_packed(nlohmann::json::parse(text)) == codec_packed(kt::json::parse(text)));
    CHECK(codec_text(nlohmann::json::parse(text)) == text);
    CHECK(codec_packed(nlohmann::json::binary({1, 2}, 5)) == codec_bytes("d5 05 01 02"));
    CHECK(codec_text(nlohmann::json::binary({0, 255})) == "{\"__base64__\":\"AP8=\"}");
    nlohmann::json deep = nlohmann::json::array();
    for (int i = 0; i < 64; ++i) deep = nlohmann::json::array({std::move(deep)});
    CHECK(codec_packed(deep) == "depth");
    CHECK(codec_text(deep) == "depth");
  }

  TEST_CASE("what a handler should not have returned is refused or mended, and never thrown") {
    CHECK(codec_hex(codec_packed(kt::json("a\xFFz"))) == "a5 61 ef bf bd 7a");
    kt::json map = kt::json::object();
    map["\xC3"] = "\xE2\x82";
    CHECK(codec_hex(codec_packed(map)) == "81 a3 ef bf bd a3 ef bf bd");
    CHECK(codec_packed(kt::json(kt::json::value_t::discarded)) == "bad-body");
    CHECK(codec_packed(kt::json::array({1, 2, kt::json(kt::json::value_t::discarded)})) == "bad-body");
    // Growing over many steps must not lose anything, nor what was there before.
    const std::string large(100000, 'x');
    CHECK(codec_unpacked(codec_packed(kt::json{large, 1, large})) == "[\"" + large + "\", u1, \"" + large + "\"]");
    kt::json failing = kt::json::array({large, kt::json(kt::json::value_t::discarded)});
    CHECK(codec_packed(failing) == "bad-body");
  }

  TEST_CASE("values of all kinds survive a round trip, and damaged ones do no harm") {
    CodecRandom random(1);
    for (int i = 0; i < 1000; ++i) {
      const kt::json value = random.value(4);
      const std::string bytes = codec_packed(value);
      kt::json back;
      REQUIRE(!kt::decode_msgpack(Block(bytes).text(), back));
      CHECK(back == value);
      CHECK(codec_packed(back) == bytes);
      const std::size_t cut = random.index(bytes.size());
      CHECK(codec_unpacked(bytes.substr(0, cut)) == "bad-body");
      std::string damaged = bytes;
      damaged[random.index(bytes.size())] = static_cast<char>(random.number(256));
      if (!kt::decode_msgpack(Block(damaged).text(), back)) {
        const std::string again = codec_packed(back);
        CHECK(codec_unpacked(again) == codec_shown(back));
      }
    }
  }

  TEST_CASE("the shared vectors agree, where they are at hand") {
    const char* const path = std::getenv("KETTLINGAR_MSGPACK_VECTORS");
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(path != nullptr ? std::fopen(path, "rb") : nullptr,
                                                               std::fclose);
    if (!file) {
      MESSAGE("KETTLINGAR_MSGPACK_VECTORS names no readable file: nothing checked");
      return;
    }
    std::string text;
    char buffer[4096];
    while (const std::size_t size = std::fread(buffer, 1, sizeof buffer, file.get())) text.append(buffer, size);
    kt::json vectors;
    REQUIRE(!kt::decode_json(text, vectors));
    std::size_t encodings = 0;
    for (const auto& group : vectors["kawanet"]) {
      for (const kt::json& row : group) {
        for (const kt::json& hex : row["msgpack"]) {
          codec_check_vector(row, hex.get<std::string>());
          ++encodings;
        }
      }
    }
    CHECK(encodings == 233);
    for (const kt::json& row : vectors["accept"]) codec_check_vector(row, row["hex"].get<std::string>());
    for (const kt::json& row : vectors["policy"]) {
      // Ours: everything doubtful is an error, but ext values that nobody understands are kept.
      const std::string outcome = codec_unpacked(codec_bytes(row["hex"].get<std::string>()));
      const std::string name = row["name"].get<std::string>();
      CAPTURE(name);
      const bool kept = name.starts_with("timestamp") || name == "unknown ext";
      CHECK(outcome.substr(0, 3) == (kept ? "ext" : "bad"));
    }
    for (const kt::json& row : vectors["reject"]) {
      const std::string name = row["name"].get<std::string>();
      CAPTURE(name);
      CHECK(codec_unpacked(codec_bytes(row["hex"].get<std::string>())) == "bad-body");
    }
    for (const kt::json& row : vectors["limits"]) {
      const std::string name = row["name"].get<std::string>();
      CAPTURE(name);
      const std::string bytes =
          codec_bytes(row["prefix"].get<std::string>()) +
          codec_repeat(codec_bytes(row["repeat"].get<std::string>()), row["count"].get<std::size_t>()) +
          codec_bytes(row["suffix"].get<std::string>());
      kt::json value;
      CHECK(!kt::decode_msgpack(Block(bytes).text(), value) == row["expect"].get<std::string>().starts_with("accept"));
    }
    for (const kt::json& row : vectors["shortest"]) codec_check_shortest(row);
  }
}
