// SPDX-License-Identifier: MIT
#include "codecs.hpp"
#include "support.hpp"
#include "wire/text.ipp"

TEST_SUITE("wire/text") {
  TEST_CASE("well-formed UTF-8 is recognised wherever it stands in a word") {
    for (const std::string_view text :
         {""sv, "a"sv, "\0"sv, "\x7F"sv, "\xC2\x80"sv, "\xDF\xBF"sv, "\xE0\xA0\x80"sv, "\xED\x9F\xBF"sv,
          "\xEE\x80\x80"sv, "\xEF\xBF\xBF"sv, "\xF0\x90\x80\x80"sv, "\xF4\x8F\xBF\xBF"sv, "a\xC3\xA9z\xE2\x82\xAC"sv}) {
      for (std::size_t before = 0; before < 18; ++before) {
        for (std::size_t after = 0; after < 18; after += 3) {
          const std::string whole = std::string(before, 'a') + std::string(text) + std::string(after, 'z');
          CAPTURE(codec_hex(whole));
          CHECK(kt::is_utf8(Block(whole).text()));
          std::string out = "x";
          kt::append_utf8(out, whole);
          CHECK(out == "x" + whole);
        }
      }
    }
  }

  TEST_CASE("malformed UTF-8 is refused, and replaced one U+FFFD for each maximal part") {
    struct Row {
      std::string_view bytes, mended, why;
    };
    const Row rows[] = {
        {"80", "?", "a continuation alone"},
        {"bf bf", "??", "two of them"},
        {"c3", "?", "cut after the lead"},
        {"c3 28", "?(", "a lead before ASCII"},
        {"c0 af", "??", "overlong slash"},
        {"c1 bf", "??", "overlong, two bytes"},
        {"e0 80 af", "???", "overlong, three bytes"},
        {"e0 9f bf", "???", "overlong, three bytes, the last one"},
        {"f0 80 80 af", "????", "overlong, four bytes"},
        {"f0 8f bf bf", "????", "overlong, four bytes, the last one"},
        {"ed a0 80", "???", "first surrogate"},
        {"ed bf bf", "???", "last surrogate"},
        {"ed a0 bd ed b0 80", "??????", "a pair of surrogates (CESU-8)"},
        {"f4 90 80 80", "????", "beyond U+10FFFF"},
        {"f5 80 80 80", "????", "a lead that cannot be"},
        {"f8 88 80 80 80", "?????", "five bytes"},
        {"ff fe", "??", "bytes that UTF-8 does not have"},
        {"e2 82", "?", "cut after two of three: one part"},
        {"f0 9f 90", "?", "cut after three of four: one part"},
        {"f0 9f 90 61", "?a", "the same before ASCII"},
        {"e2 82 c3 a9", "?\xC3\xA9", "cut by a good sequence"},
        {"61 f1 80 80 e1 80 c2 62 80 63 80 bf 64", "a???b?c??d", "the example of the Unicode standard, section 3.9"},
    };
    for (const Row& row : rows) {
      CAPTURE(row.why);
      std::string mended;
      for (const char c : row.mended) mended += c == '?' ? "\xEF\xBF\xBD"s : std::string(1, c);
      for (const std::size_t before : {0u, 1u, 7u, 8u, 9u}) {
        const std::string bytes = std::string(before, 'a') + codec_bytes(row.bytes);
        const Block block(bytes);
        CHECK(!kt::is_utf8(block.text()));
        std::string out;
        kt::append_utf8(out, block.text());
        CHECK(out == std::string(before, 'a') + mended);
        CHECK(kt::is_utf8(out));
      }
    }
  }

  TEST_CASE("base64 has the vectors of RFC 4648 in both forms") {
    const std::string_view rows[][3] = {{"", "", ""},
                                        {"f", "Zg==", "Zg"},
                                        {"fo", "Zm8=", "Zm8"},
                                        {"foo", "Zm9v", "Zm9v"},
                                        {"foob", "Zm9vYg==", "Zm9vYg"},
                                        {"fooba", "Zm9vYmE=", "Zm9vYmE"},
                                        {"foobar", "Zm9vYmFy", "Zm9vYmFy"},
                                        {"\xFB\xEF\xFF", "++//", "--__"},
                                        {"\0\xFF"sv, "AP8=", "AP8"}};
    for (const auto& [bytes, standard, url] : rows) {
      std::string out = "x";
      kt::append_base64(out, Block(bytes).text());
      CHECK(out == "x" + std::string(standard));
      out.clear();
      kt::append_base64(out, bytes, kt::Base64::url);
      CHECK(out == url);
      const kt::Bytes expected(bytes.begin(), bytes.end());
      CHECK(kt::decode_base64(Block(standard).text()) == expected);
      CHECK(kt::decode_base64(Block(url).text(), kt::Base64::url) == expected);
    }
    for (std::size_t size = 0; size < 300; ++size) {
      std::string bytes;
      for (std::size_t i = 0; i < size; ++i) bytes += static_cast<char>(i * 7 + size);
      for (const kt::Base64 form : {kt::Base64::standard, kt::Base64::url}) {
        std::string out;
        kt::append_base64(out, bytes, form);
        CHECK(kt::decode_base64(out, form) == kt::Bytes(bytes.begin(), bytes.end()));
      }
    }
  }

  TEST_CASE("base64 that is not exactly what we would write is refused") {
    const std::string_view standard[][2] = {
        {"Zg", "no padding"},
        {"Zg=", "too little padding"},
        {"Zg===", "too much padding"},
        {"Z", "one digit"},
        {"Z===", "one digit, padded"},
        {"====", "only padding"},
        {"=", "only padding"},
        {"Zh==", "leftover bits"},
        {"Zm9=", "leftover bits"},
        {"Zm9vYg==Zg==", "padding inside"},
        {"Z=g=", "padding inside"},
        {"Zm 9v", "blank"},
        {"Zm9v\n", "line end"},
        {"Zm9\n", "line end in a group"},
        {"--__", "the other alphabet"},
        {"Zm9\0"sv, "NUL"},
        {"Zm9\xC3", "not ASCII"},
        {"Zm9v====", "padding of its own"},
        {"Zg==\0\0\0\0"sv, "NUL behind"},
    };
    for (const auto& [text, why] : standard) {
      CAPTURE(why);
      CHECK(!kt::decode_base64(Block(text).text()));
    }
    for (const std::string_view text : {"Zg=="sv, "Z"sv, "Zh"sv, "Zm9"sv.substr(0, 1), "++//"sv, "Zm9vY"sv, "Zg\n"sv}) {
      CAPTURE(text);
      CHECK(!kt::decode_base64(Block(text).text(), kt::Base64::url));
    }
  }

  TEST_CASE("integers change their radix exactly at any size") {
    CHECK(kt::detail::convert_digits("0", 10, 16) == "0");
    CHECK(kt::detail::convert_digits("18446744073709551616", 10, 16) == "10000000000000000");
    CHECK(kt::detail::convert_digits("10000000000000000", 16, 10) == "18446744073709551616");
    CHECK(kt::detail::convert_digits("1000000000000000000000000000000000000", 10, 16) ==
          "c097ce7bc90715b34b9f1000000000");
    CHECK(kt::detail::convert_digits(std::string(1024, 'f'), 16, 10).size() == kt::detail::big_integer_decimal_digits);
    CHECK(kt::detail::convert_digits("1" + std::string(1233, '0'), 10, 16).size() <=
          kt::detail::big_integer_hex_digits);
    CodecRandom random(3);
    for (std::size_t size = 1; size < 300; ++size) {
      std::string digits(1, static_cast<char>('1' + random.number(9)));
      while (digits.size() < size) digits += static_cast<char>('0' + random.number(10) * random.number(2));
      const std::string hex = kt::detail::convert_digits(Block(digits).text(), 10, 16);
      CHECK(kt::detail::convert_digits(hex, 16, 10) == digits);
    }
  }

  TEST_CASE("keys that occur twice are found among few, many and prepared ones") {
    const auto different = [](const std::vector<std::string>& keys) {
      return kt::detail::all_different(keys.size(), [&](std::size_t i) -> std::string_view { return keys[i]; });
    };
    // Keys whose hashes fall into one place of the table, so that the search gives up hashing.
    std::vector<std::string> crowd;
    for (int i = 0; crowd.size() < 60; ++i) {
      std::string key = std::to_string(i);
      if (std::hash<std::string_view>{}(key) % 128 == 5) crowd.push_back(key);
    }
    CHECK(different(crowd));
    crowd[59] = crowd[1];
    CHECK(!different(crowd));
    for (const std::size_t count : {0u, 1u, 2u, 15u, 16u, 17u, 33u, 1000u}) {
      std::vector<std::string> keys;
      for (std::size_t i = 0; i < count; ++i) keys.push_back("key" + std::to_string(i));
      CHECK(different(keys));
      for (std::size_t i = 0; i < (std::min)(count, std::size_t{20}); ++i) {
        if (i + 1 == count) continue;
        auto twice = keys;
        twice.back() = keys[i];
        CHECK(!different(twice));
      }
    }
  }
}
