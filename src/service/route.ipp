// SPDX-License-Identifier: MIT
// service/route.ipp: where the path of a request leads: prefix, token, method.
#pragma once

#include <algorithm>
#include <string_view>

#include "../wire/http_head.ipp"
#include "auth.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Where a request's path leads, and whether the caller has shown the token.
struct Route {
  bool authenticated = false;
  bool wrong_path = false;                  ///< the path begins with something that may have been meant as the token
  int wrong_words = 0;                      ///< so many words of header lines may have been
  std::string_view method{};                ///< empty: nowhere
  std::string_view path{};                  ///< without prefix and token
  std::size_t at = std::string_view::npos;  ///< where `path` begins in that of the head, if it is a part of it

  /// The same in a head whose buffer has moved.
  void rebase(const RequestHead& head) noexcept {
    if (at == std::string_view::npos) return;
    path = head.path.substr(at);
    if (path.size() > 1) method = path.substr(1, path.find('/', 1) - 1);
  }
};

/// Splits `/prefix/TOKEN/method/...`; the token may be absent or stand in a header instead. An empty path is
/// `web_root`. Nobody has an empty token.
inline Route find_route(const RequestHead& head, const Token& token, std::string_view prefix) {
  Route route;
  std::size_t at = 0;
  if (!prefix.empty()) {
    // Whole components only: /prefixes is not below /prefix.
    if (!head.path.starts_with('/') || !head.path.substr(1).starts_with(prefix)) return route;
    at = 1 + prefix.size();
  }
  std::string_view path = head.path.substr(at);
  if (!path.empty() && path.front() != '/') return route;
  const std::string_view first = path.substr((std::min<std::size_t>)(1, path.size()), path.find('/', 1) - 1);
  route.authenticated = token.matches(first);
  if (route.authenticated) {
    at += 1 + first.size();
    path = head.path.substr(at);
  } else {
    route.wrong_path = !first.empty() && first.size() == token.text().size();
    route.authenticated = token.in_headers(head, route.wrong_words);
  }
  // Whoever gets to see a path, handlers and the log among them, must not find the token in it.
  const bool token_again = route.authenticated && path.find(token.text()) != std::string_view::npos;
  route.path = "/";
  if (token_again) return route;
  route.method = "web_root";
  if (path.size() <= 1) return route;
  route.at = at;
  route.rebase(head);
  return route;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
