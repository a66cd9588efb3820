// SPDX-License-Identifier: MIT
// Addresses: a path leads behind the token only if the token stands in it, whole and in front; url
// files. Input: a request target, or the text of a url file; `t` is the token, `p` the prefix.
#include "client/connect.ipp"
#include "fuzz.hpp"
#include "service/auth.ipp"

namespace kt = kettlingar;

namespace {

void check_route(std::string_view path, std::string_view prefix) {
  kt::detail::RequestHead head;
  head.path = path;
  const kt::detail::Route route = kt::detail::find_route(head, kt::detail::Token("t"), prefix);
  const std::string front = prefix.empty() ? "/t" : "/" + std::string(prefix) + "/t";
  FUZZ_CHECK(route.authenticated == (path == front || path.starts_with(front + "/")));
  FUZZ_CHECK(path.ends_with(route.path) || route.path == "/");
  FUZZ_CHECK(route.method.find('/') == std::string_view::npos);
  if (!route.method.empty() && route.path.size() > 1) FUZZ_CHECK(route.path.substr(1).starts_with(route.method));
}

}  // namespace

FUZZ_TARGET(url) {
  check_route(bytes, "");
  check_route(bytes, "p");
  if (const auto address = kt::detail::parse_service_url(bytes)) {
    const std::string again = "http://" + address->host + ":" + std::to_string(address->port) + address->path;
    const auto same = kt::detail::parse_service_url(again);
    FUZZ_CHECK(same && same->host == address->host && same->port == address->port && same->path == address->path);
    FUZZ_CHECK(!address->path.ends_with('/'));
  }
}
