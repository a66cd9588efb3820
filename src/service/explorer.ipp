// SPDX-License-Identifier: MIT
// service/explorer.ipp: who gets the explorer page, and from where.
#pragma once

#include <string>
#include <string_view>

#include "../base/version.hpp"
#include "../call/reply.ipp"
#include "../wire/http_head.ipp"
#include "explorer_page.ipp"
#include "route.ipp"
#include "server.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

inline constexpr std::string_view explorer_path = "/explorer";

/// Whether a browser says that it is another site that asks. `same-site` is another port of this machine: another
/// program, perhaps another user's.
inline bool from_other_site(const RequestHead& head) {
  return head.sec_fetch_site && !http::same_word(*head.sec_fetch_site, "same-origin") &&
         !http::same_word(*head.sec_fetch_site, "none");
}

/// True if the header line is there once, with that value.
[[gnu::cold]] inline bool says(const RequestHead& head, std::string_view name, std::string_view value) {
  int times = 0;
  for (const HeaderField field : head.fields) {
    if (!http::same_word(field.name, name)) continue;
    if (!http::same_word(field.value, value)) return false;
    ++times;
  }
  return times == 1;
}

/// Whether somebody follows a link, from wherever it may be, to nothing but the page: the one thing that other sites
/// can have shown. The page is the same for everybody, and they do not get to see it.
[[gnu::cold]] inline bool follows_link_to_explorer(const RequestHead& head, std::string_view prefix) {
  std::string_view path = head.path;
  if (!prefix.empty()) {
    if (!path.substr(1).starts_with(prefix)) return false;
    path.remove_prefix(1 + prefix.size());
  }
  return path == explorer_path && head.query.empty() && head.method == "GET" &&
         says(head, "sec-fetch-mode", "navigate") && says(head, "sec-fetch-dest", "document");
}

[[gnu::cold]] inline bool token_in_path(const Server& server, const RequestHead& head) {
  const std::string& token = server.token.text();
  const std::size_t at = server.prefix().empty() ? 0 : 1 + server.prefix().size();
  return !token.empty() && head.path.substr(at).starts_with("/" + token);
}

/// Whether an address that leads to `method`, null if to none, is that of the page, or leads to it: the status to
/// answer with, or 0. Methods of the program with these names go first, and so does its router; its fallback goes
/// before the way to the page, but not before the page.
[[gnu::cold]] inline int explorer_status(const Server& server, const RequestHead& head, const Route& route,
                                         const Method* method) {
  if (explorer_page.empty() || !server.settings.worker_use_explorer) return 0;
  if (head.method != "GET" && head.method != "HEAD") return 0;
  if (route.path == explorer_path && route.method == explorer_path.substr(1))
    return server.methods.named(route.method) ? 0 : token_in_path(server, head) ? 302 : 200;
  const bool at_root = route.path == "/" && route.method == "web_root";
  return at_root && method == nullptr && !server.methods.named(route.method) ? 302 : 0;
}

[[gnu::cold]] inline void append_explorer(std::string& out, const ReplyStyle& style) {
  const std::string policy = "default-src 'none'; script-src '" + std::string(explorer_script) + "'; style-src '" +
                             std::string(explorer_style) +
                             "'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
                             "frame-ancestors 'none'";
  const HeaderField lines[] = {{"Content-Security-Policy", policy},
                               {"Referrer-Policy", "no-referrer"},
                               {"Cross-Origin-Opener-Policy", "same-origin"},
                               {"X-Content-Type-Options", "nosniff"},
                               {"Cache-Control", "no-cache"}};
  append_reply(out, style, 200, "text/html; charset=utf-8", explorer_page, lines);
}

/// `/prefix/TOKEN` leads to `/prefix/explorer#TOKEN`, where the token stays in no history and in no log of a proxy.
[[gnu::cold]] inline void append_way_to_explorer(std::string& out, const ReplyStyle& style, const Server& server,
                                                 const RequestHead& head) {
  std::string where = server.prefix().empty() ? "" : "/" + server.prefix();
  where += explorer_path;
  if (token_in_path(server, head)) where += "#" + server.token.text();
  const HeaderField lines[] = {{"Location", where}, {"Cache-Control", "no-store"}};
  append_reply(out, style, 302, {}, {}, lines);
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
