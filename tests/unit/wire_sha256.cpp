// SPDX-License-Identifier: MIT
#include "support.hpp"
#include "wire/sha256.ipp"

namespace {

std::string hex(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    for (const int shift : {4, 0}) text += "0123456789abcdef"[static_cast<unsigned char>(c) >> shift & 15];
  }
  return text;
}

}  // namespace

TEST_SUITE("wire/sha256") {
  TEST_CASE("digests are those of the standard's examples, whatever the length leaves of the last block") {
    using kt::detail::sha256;
    CHECK(hex(sha256("")) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(hex(sha256("abc")) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(hex(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")) ==
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    CHECK(hex(sha256(std::string(1'000'000, 'a'))) ==
          "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    // Digests of the lengths around a block, one after the other, digested (compared with OpenSSL's).
    std::string all;
    for (std::size_t length = 0; length < 130; ++length) all += sha256(std::string(length, '\xa5'));
    CHECK(hex(sha256(all)) == "88d51d6eeba1594b7bf8e4058fde5a21b9dc0c50c3de37cf025eb508ddde23b8");
  }

  TEST_CASE("authentication codes are those of RFC 4231") {
    using kt::detail::hmac_sha256;
    CHECK(hex(hmac_sha256(std::string(20, '\x0b'), "Hi There")) ==
          "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    CHECK(hex(hmac_sha256("Jefe", "what do ya want for nothing?")) ==
          "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    CHECK(hex(hmac_sha256(std::string(131, '\xaa'), "Test Using Larger Than Block-Size Key - Hash Key First")) ==
          "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
  }
}
