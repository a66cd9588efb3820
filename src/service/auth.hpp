// SPDX-License-Identifier: MIT
// service/auth.hpp: the token: made, read, found in a request and compared.
#pragma once

#include <sys/stat.h>
#if defined(__APPLE__)
#include <sys/random.h>
#endif

#include <cstring>
#include <string>
#include <string_view>

#include "../base/errors.hpp"
#include "../os/descriptor.hpp"
#include "../wire/http_head.hpp"
#include "../wire/text.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// 18 random bytes of the kernel in URL-safe base64: 24 characters. Throws StartError if there are none to be had.
inline std::string random_token() {
  char raw[18];
  if (::getentropy(raw, sizeof raw) != 0) throw StartError(std::string("no random bytes: ") + std::strerror(errno));
  std::string token;
  append_base64(token, std::string_view(raw, sizeof raw), Base64::url);
  return token;
}

/// The first line of a token file. Throws StartError if it cannot be read or others can.
inline std::string read_token_file(const std::string& path) {
  constexpr std::size_t longest = 4096;
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  FileInfo info{};
  std::string content;
  if (!fd || ::fstat(fd.get(), &info) != 0 || !read_all(fd.get(), content, longest)) {
    throw StartError("cannot read the token from " + path + ": " + std::strerror(errno));
  }
  if (S_ISREG(info.st_mode) && (info.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    throw StartError("cannot use the token in " + path + ": others can read it (try: chmod 600 " + path + ")");
  }
  return content.substr(0, content.find_first_of("\r\n"));
}

/// The secret of a running service.
class Token {
 public:
  Token() = default;
  explicit Token(std::string secret) : secret_(std::move(secret)) {}

  const std::string& text() const noexcept { return secret_; }

  /// Compares in a time that depends on neither the content nor on where the first difference is.
  bool matches(std::string_view candidate) const noexcept {
    if (secret_.empty()) return false;
    const bool same_size = candidate.size() == secret_.size();
    const char* const to_compare[] = {secret_.data(), candidate.data()};  // chosen from without a branch
    const char* other = to_compare[same_size];
    const char* own = secret_.data();
    const char* const end = own + secret_.size();
    std::uint64_t difference = !same_size;
    for (; end - own >= 8; own += 8, other += 8)
      difference |= http::load_bytes<std::uint64_t>(own) ^ http::load_bytes<std::uint64_t>(other);
    for (; own != end; ++own, ++other) difference |= static_cast<unsigned char>(*own ^ *other);
    return difference == 0;
  }

  /// True if a header line has the token as a word of its own, such as `Authorization: Bearer TOKEN` or `X-Anything:
  /// TOKEN`. Headers that browsers fill in by themselves do not count.
  bool in_headers(const RequestHead& head) const noexcept {
    bool found = false;
    for (const HeaderField field : head.fields) {
      if (field.value.size() < secret_.size() || filled_in_by_browsers(field.name)) continue;
      std::string_view rest = field.value;
      while (!rest.empty()) {
        const std::size_t blank = rest.find_first_of(" \t");
        if (rest.substr(0, blank).size() == secret_.size()) found |= matches(rest.substr(0, blank));
        rest.remove_prefix(blank == std::string_view::npos ? rest.size() : blank + 1);
      }
    }
    return found;
  }

 private:
  static bool filled_in_by_browsers(std::string_view name) noexcept {
    for (const std::string_view other : {"host", "referer", "origin", "cookie", "user-agent"}) {
      if (http::same_word(name, other)) return true;
    }
    return false;
  }

  std::string secret_;
};

/// Where a request's path leads.
struct Route {
  bool authenticated = false;
  std::string_view method;  ///< empty: nowhere
  std::string_view path;    ///< without prefix and token
};

/// Splits `/prefix/TOKEN/method/...`; the token may be absent or stand in a header instead. An empty path is
/// `web_root`.
inline Route find_route(const RequestHead& head, const Token& token, std::string_view prefix) {
  Route route;
  std::string_view path = head.path;
  if (!prefix.empty()) {
    // Whole components only: /prefixes is not below /prefix.
    if (!path.starts_with('/') || !path.substr(1).starts_with(prefix)) return route;
    path.remove_prefix(1 + prefix.size());
    if (path.empty()) path = "/";
  }
  if (!path.starts_with('/')) return route;
  const std::string_view first = path.substr(1, path.find('/', 1) - 1);
  route.authenticated = token.matches(first);
  if (route.authenticated) {
    path.remove_prefix(1 + first.size());
    if (path.empty()) path = "/";
  } else {
    route.authenticated = token.in_headers(head);
  }
  // Whoever gets to see a path, handlers and the log among them, must not find the token in it.
  const bool once_more = route.authenticated && path.find(token.text()) != std::string_view::npos;
  route.path = once_more ? std::string_view("/") : path;
  if (once_more) return route;
  const std::string_view name = path.substr(1, path.find('/', 1) - 1);
  if (path.size() == 1) {
    route.method = "web_root";
  } else if (!name.empty()) {
    route.method = name;
  }
  return route;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
