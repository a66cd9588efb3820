// SPDX-License-Identifier: MIT
// MessagePack, ours beside nlohmann_json's reader. Both accept the same and come to the same value, except:
// - strings that are no UTF-8, and keys that occur twice: refused by ours only, for nobody agrees on what they mean;
// - ext type 1: a big integer here, and refused if it is none. nlohmann_json keeps it as bytes;
// - nesting: ours has a limit, theirs has the stack. Inputs are too short here to reach either.
// Input: MessagePack.
#include "fuzz.hpp"
#include "wire/msgpack.ipp"

namespace kt = kettlingar;

namespace {

constexpr std::size_t longest_input = 1024;

void convert_big_integers(kt::json& value) {
  if (value.is_structured()) {
    for (kt::json& item : value) convert_big_integers(item);
  } else if (value.is_binary() && value.get_binary().has_subtype() &&
             value.get_binary().subtype() == kt::big_integer_ext) {
    value = kt::detail::big_integer(kt::detail::chars(value.get_binary())).value();
  }
}

std::string encoded(const kt::json& value) {
  std::string out;
  FUZZ_CHECK(!kt::encode_msgpack(value, out, longest_input));
  return out;
}

}  // namespace

FUZZ_TARGET(msgpack_diff) {
  if (bytes.size() > longest_input) return;
  kt::json ours;
  const kt::CodecError error = kt::decode_msgpack(bytes, ours, longest_input + 1);
  kt::json theirs = kt::json::from_msgpack(bytes.begin(), bytes.end(), true, false);
  if (error) {
    const bool known = error.why == "a string is not UTF-8" || error.why == "a map key occurs twice" ||
                       error.why == "a big integer is not 1 to 1024 hex digits";
    FUZZ_CHECK(theirs.is_discarded() || known);
    return;
  }
  FUZZ_CHECK(!theirs.is_discarded());
  convert_big_integers(theirs);
  FUZZ_CHECK(encoded(theirs) == encoded(ours));
  // Their writer has other forms, of the same value.
  const std::vector<std::uint8_t> written = kt::json::to_msgpack(ours);
  kt::json read;
  FUZZ_CHECK(!kt::decode_msgpack({reinterpret_cast<const char*>(written.data()), written.size()}, read, longest_input));
  FUZZ_CHECK(encoded(read) == encoded(ours));
}
