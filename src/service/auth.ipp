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
  static bool is_blank(char c) noexcept { return c == ' ' || c == '\t'; }
  static std::string_view last_word(std::string_view text) noexcept {
    std::size_t size = 0;
    while (size < text.size() && !is_blank(text[text.size() - 1 - size])) ++size;
    return text.substr(text.size() - size);
  }
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
  if (secret_.empty() || head.longest_value < secret_.size()) return false;
  const std::string_view authorization = head.authorization;
  if (!authorization.empty() && compare(last_word(authorization))) return true;
  for (const HeaderField field : head.fields) {
    if (field.value.size() < secret_.size() || field.value.data() == authorization.data() ||
        filled_in_by_browsers(field.name))
      continue;
    const char* at = field.value.data();
    const char* const end = at + field.value.size();
    while (static_cast<std::size_t>(end - at) >= secret_.size() && wrong < most) {
      const char* stop = at;
      while (stop != end && !is_blank(*stop)) ++stop;
      const std::string_view word(at, static_cast<std::size_t>(stop - at));
      if (word.size() == secret_.size() && compare(word)) return true;
      at = stop == end ? end : stop + 1;
    }
  }
  return false;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
