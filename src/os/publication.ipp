// SPDX-License-Identifier: MIT
// os/publication.ipp: what ties a url file to the running service that wrote it, and a TCP connection to both.
#pragma once

#include <sys/types.h>
#include <unistd.h>
#if defined(__APPLE__)
#include <sys/random.h>
#endif

#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

#include "../base/errors.hpp"
#include "../base/version.hpp"
#include "../wire/sha256.ipp"
#include "../wire/text.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// 18 random bytes of the kernel in URL-safe base64: 24 characters. Throws StartError if there are none to be had.
std::string random_token();

/// Authenticates `text` to whoever knows the key. `purpose`, a word, keeps texts of one kind from being taken for
/// another.
std::string message_code(std::string_view key, std::string_view purpose, std::string_view text);

/// The part of a service's lock file that is about its url file. Only its user can read it.
struct Publication {
  std::string key;       ///< random, of this run of the service
  std::string url_code;  ///< authenticates the text of the url file

  /// For a url file with this text. Throws StartError.
  static Publication of(std::string_view url);
  /// Whether the service that this is of has written that text.
  bool covers(std::string_view url) const;
  /// What the service answers a challenge that comes over TCP. `address` is where the challenger has connected to, as
  /// both ends see it: so nobody can have the service answer the challenges that somebody else has got.
  std::string proof(std::string_view challenge, std::string_view address) const;
};

/// The path at which anybody may challenge a service to prove which one it is, behind the prefix of all its paths. It
/// is followed by the challenge.
inline constexpr std::string_view challenge_path = "/.proof/";

KETTLINGAR_COLD std::string random_token() {
  char raw[18];
  if (::getentropy(raw, sizeof raw) != 0) throw StartError(std::string("no random bytes: ") + std::strerror(errno));
  std::string token;
  append_base64(token, std::string_view(raw, sizeof raw), Base64::url);
  return token;
}

KETTLINGAR_COLD std::string message_code(std::string_view key, std::string_view purpose, std::string_view text) {
  std::string code;
  append_base64(code, hmac_sha256(key, std::string(purpose) + " " + std::string(text)), Base64::url);
  return code;
}

KETTLINGAR_COLD Publication Publication::of(std::string_view url) {
  Publication publication;
  publication.key = random_token();
  publication.url_code = message_code(publication.key, "url", url);
  return publication;
}

KETTLINGAR_COLD bool Publication::covers(std::string_view url) const {
  return !key.empty() && url_code == message_code(key, "url", url);
}

KETTLINGAR_COLD std::string Publication::proof(std::string_view challenge, std::string_view address) const {
  return message_code(key, "proof", std::string(challenge) + " " + std::string(address));
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
