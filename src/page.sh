#!/bin/sh
# SPDX-License-Identifier: MIT
# Prints service/explorer_page.ipp: service/explorer.html as a constant, with the hashes of its script and its style by
# which a Content-Security-Policy names them. `make header` writes it, `make check` compares it.
CDPATH='' cd -- "$(dirname -- "$0")/service" || exit 1
LC_ALL=C
export LC_ALL
page=explorer.html
fail() { echo "page.sh: $1" >&2 && exit 1; }
[ "$(wc -c <$page)" -le 24576 ] || fail "$page has more than 24 KB"
! grep -q ')html"' $page || fail "$page has the end of the constant in it"
awk '/^$/ && blank { exit 1 } { blank = /^$/ }' $page || fail "$page has two empty lines, of which join.sh leaves one"

sha256() {
  if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi
}

# The hash of what is between <TAG> and </TAG>, line ends included, in base64.
hash() {
  awk -v tag="$1" '
    $0 == "</" tag ">" { inside = 0 }
    inside
    $0 == "<" tag ">" { inside = 1; printf "\n" }' $page | sha256 | awk '
    {
      digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
      for (at = 1; at <= 64; at += 3) {
        three = substr($1 "00", at, 3)
        value = 0
        for (i = 1; i <= 3; ++i) value = value * 16 + index("0123456789abcdef", substr(three, i, 1)) - 1
        printf "%s%s", substr(digits, int(value / 64) + 1, 1), at < 64 ? substr(digits, value % 64 + 1, 1) : "="
      }
    }'
}

cat <<END
// SPDX-License-Identifier: MIT
// service/explorer_page.ipp: the explorer page. Generated from explorer.html by src/page.sh: edit that and run
// \`make header\`.
#pragma once

#include <string_view>

#include "../base/version.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

#if defined(KETTLINGAR_NO_EXPLORER)
inline constexpr std::string_view explorer_page = "";
inline constexpr std::string_view explorer_script = "";
inline constexpr std::string_view explorer_style = "";
#else
inline constexpr std::string_view explorer_script = "sha256-$(hash script)";
inline constexpr std::string_view explorer_style = "sha256-$(hash style)";
inline constexpr std::string_view explorer_page = R"html($(cat $page)
)html";
#endif

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
END
