// SPDX-License-Identifier: MIT
// service/auth.ipp: the token: made, read, found in a request and compared.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>

#include "../base/errors.hpp"
#include "../os/descriptor.hpp"
#include "../os/trusted_file.ipp"
#include "../wire/http_head.ipp"
#include "../wire/text.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// The first line of a token file. Throws StartError if it cannot be read, or others can read or change it.
inline std::string read_token_file(const std::string& path) {
  constexpr std::size_t longest = 4096;
  const Fd fd = open_trusted(path, O_RDONLY);
  std::string content;
  if (!fd || !read_all(fd.get(), content, longest))
    throw StartError("cannot read the token from " + path + ": " + std::strerror(errno));
  if (others_can_read(path, fd.get()))
    throw StartError("cannot use the token in " + path + ": others can read it (try: chmod 600 " + path + ")");
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

  /// Looks for the token in header lines, where it stands as a word of its own: `Authorization: Bearer TOKEN` or
  /// `X-Anything: TOKEN`. Those that browsers fill in by themselves do not count. Only a few words of its length are
  /// compared, so that a request is not thousands of guesses; `wrong` gets how many of them were something else.
  bool in_headers(const RequestHead& head, int& wrong) const noexcept;

 private:
  static bool filled_in_by_browsers(std::string_view name) noexcept {
    for (const std::string_view other : {"host", "referer", "origin", "cookie", "user-agent"}) {
      if (http::same_word(name, other)) return true;
    }
    return false;
  }

  std::string secret_;
};

KETTLINGAR_INLINE bool Token::in_headers(const RequestHead& head, int& wrong) const noexcept {
  constexpr int most = 3;
  const auto compare = [&](std::string_view word) {
    const bool found = matches(word);
    wrong += !found && word.size() == secret_.size();
    return found;
  };
  wrong = 0;
  if (secret_.empty()) return false;
  const std::string_view authorization = head.authorization;
  if (!authorization.empty() && compare(authorization.substr(authorization.find_last_of(" \t") + 1))) return true;
  for (const HeaderField field : head.fields) {
    if (field.value.size() < secret_.size() || field.value.data() == authorization.data() ||
        filled_in_by_browsers(field.name))
      continue;
    std::string_view rest = field.value;
    while (!rest.empty() && wrong < most) {
      const std::string_view word = rest.substr(0, rest.find_first_of(" \t"));
      if (word.size() == secret_.size() && compare(word)) return true;
      rest.remove_prefix((std::min)(word.size() + 1, rest.size()));
    }
  }
  return false;
}

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
