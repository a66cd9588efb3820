// SPDX-License-Identifier: MIT
// call/class_value.hpp: what a class that nlohmann_json converts has made of its value: all of it, or what is wrong
// with it, and where.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <exception>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/json.hpp"
#include "../base/json_types.hpp"
#include "../base/version.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// A value that does not fit its parameter. The binder adds method and argument and makes it an InvalidArgument.
struct BadValue {
  enum class Why { unfit, missing_field, unknown_field };

  std::string expected;   ///< such as "int" or "int from 0 to 255"; of a missing field its name
  json value = nullptr;   ///< of an unknown field its name
  std::string path = {};  ///< to the place in the argument, such as `.items[2]`
  Why why = Why::unfit;
  std::vector<std::string> known = {};  ///< the fields that there are, if one is unknown

  /// Both: the same, seen from one level further out.
  BadValue& inside(std::string_view key);
  BadValue& inside(std::size_t index);
};

/// Beyond this, a double may be the nearest to several integers.
inline bool is_exact_integer(double number) {
  return std::fabs(number) <= 9007199254740992.0 && number == std::trunc(number);
}

/// "expected int, got "x"", "missing field 'x'". What the caller has sent is repeated only if `repeat` says so.
std::string problem_of(const BadValue& bad, bool repeat = true);
/// `value` as a caller would recognise it, for error texts: JSON, cut after 60 bytes.
std::string shown(const json& value);
/// "one of "a", "b"", of a list.
std::string one_of(const json& choices);
/// Whether `value` is in a list.
bool is_in(const json& list, const json& value);

/// Whether fields are refused that a class does not know. In results, which may come from newer services, they are not.
enum class Fields { known, any };

/// Throws BadValue if the class, which made `result` of `value`, has not understood all of it: nlohmann_json makes 1 of
/// 1.9, the first name of an enumeration of any text that is none, and leaves out unknown fields. `value` is restored.
void check_understood(nlohmann::json& value, const nlohmann::json& result, ReadBack read_back, AddTypes add_types,
                      Fields fields);
/// Why the class called `name` refuses `value`, which is used up.
BadValue blame(nlohmann::json& value, ReadBack read_back, std::string_view name);

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
