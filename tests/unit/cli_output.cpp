// SPDX-License-Identifier: MIT
#include "support.hpp"

TEST_SUITE("cli/output") {
  TEST_CASE("a _format is filled in with the result's values") {
    const json values{{"name", "Tom"}, {"n", 5}, {"x", 1.2345}, {"list", {1, "a"}}, {"none", nullptr}};
    CHECK(kt::detail::apply_format("%(name)s has %(n)d, %(n)s", values) == "Tom has 5, 5");
    CHECK(kt::detail::apply_format("100%% %(x).2f|%(n)4d|%(n)04d|%(name)-5s|%(name)5s|%(n)x", values) ==
          "100% 1.23|   5|0005|Tom  |  Tom|5");
    CHECK(kt::detail::apply_format("%(list)s %(none)s 5% %", values) == "[1, \"a\"] null 5% %");
    CHECK_THROWS_WITH_AS(kt::detail::apply_format("%(missing)s", values), doctest::Contains("'missing'"),
                         kt::detail::MissingFormatKey);
    CHECK_THROWS_AS(kt::detail::apply_format("%(name", values), kt::detail::MissingFormatKey);
    CHECK_THROWS_AS(kt::detail::apply_format("%(name)", values), kt::detail::MissingFormatKey);
    CHECK_THROWS_AS(kt::detail::apply_format("%(n)99999999999d", values), kt::detail::MissingFormatKey);
    CHECK_THROWS_AS(kt::detail::apply_format("%(name)n", values), kt::detail::MissingFormatKey);
  }
}
