// SPDX-License-Identifier: MIT
// samples.hpp: the values and heads that all programs of this folder read and write.
#pragma once

#include "kettlingar.hpp"

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

namespace kt = kettlingar;

/// Makes the compiler believe that `value` is used, so that it computes it.
template <class T>
void keep(const T& value) {
  asm volatile("" : : "r"(&value) : "memory");
}

inline void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "bench: %s\n", what);
  std::exit(1);
}

/// A list of small maps, `bytes` long or a little longer as MessagePack.
inline kt::json small_maps(std::size_t bytes) {
  constexpr const char* moods[] = {"sleepy", "hungry", "playful", "wants to be let out"};
  kt::json list = kt::json::array();
  for (std::size_t size = 0, i = 0; size < bytes; ++i) {
    const kt::json map = {{"id", i},
                          {"name", "kitten " + std::to_string(i % 977)},
                          {"weight", 0.25 * static_cast<double>(i % 31)},
                          {"mood", moods[i % 4]},
                          {"awake", i % 3 == 0},
                          {"born", 1700000000 + 86400 * static_cast<int>(i % 365)},
                          {"owner", nullptr}};
    std::string packed;
    require(!kt::encode_msgpack(map, packed), "a map cannot be packed");
    size += packed.size();
    list.push_back(map);
  }
  return list;
}

/// A call's body: count = 3, sound = "purr purr", caps = false.
constexpr std::string_view small_body =
    "\x83\xA5"
    "count\x03\xA5sound\xA9purr purr\xA4"
    "caps\xC2";

inline std::tuple<int, std::string, bool> arguments_of(std::string_view body) {
  static const auto method = kt::detail::make_method(
      "loudness", [](int, const std::string&, bool) {}, "", kt::arg("count"), kt::arg("sound"), kt::arg("caps"));
  static std::vector<kt::detail::Slot> slots;  // as a connection keeps them from call to call
  require(method->bind_scalars(slots, body), "the body cannot be read");
  return {kt::detail::from_scalar<int>(*slots[0].scalar), kt::detail::from_scalar<std::string>(*slots[1].scalar),
          kt::detail::from_scalar<bool>(*slots[2].scalar)};
}

constexpr std::string_view small_head =
    "GET /meow HTTP/1.1\r\n"
    "Host: localhost\r\n"
    "User-Agent: bench/1.0 (load)\r\n"
    "Accept: text/plain, */*;q=0.5\r\n"
    "Accept-Language: en\r\n"
    "Cache-Control: no-cache\r\n\r\n";

constexpr std::string_view browser_head =
    "GET /purr?count=3&sound=rrrrrrrrrrrrrrrr HTTP/1.1\r\n"
    "Host: 127.0.0.1:35543\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    "Accept-Language: en-GB,en;q=0.5\r\n"
    "Accept-Encoding: gzip, deflate, br\r\n"
    "Connection: keep-alive\r\n"
    "Upgrade-Insecure-Requests: 1\r\n"
    "Sec-Fetch-Dest: document\r\n"
    "Sec-Fetch-Mode: navigate\r\n"
    "Sec-Fetch-Site: none\r\n\r\n";

/// Parses a head that is valid; false if the parser refuses it.
inline bool parse_head(std::string_view bytes, const kt::Limits& limits) {
  kt::detail::RequestHeadParser parser(limits);
  const kt::detail::ParseResult result = parser.parse(bytes);
  keep(parser.head());
  return result.status == kt::detail::Parse::complete && result.consumed == bytes.size();
}

static_assert(small_body.size() == 30 && small_head.size() == 146 && browser_head.size() == 430);
