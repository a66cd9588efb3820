// SPDX-License-Identifier: MIT
// client/client_options.hpp: how a client finds its service, how long it waits, what it accepts.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>

#include "../base/errors.hpp"
#include "../base/limits.hpp"
#include "../base/version.hpp"

namespace kettlingar {
inline namespace v0_1 {

/// How long a client waits, in milliseconds; zero waits for as long as it takes. What runs out is a ConnectionError
/// that says which of these it was, and costs the connection. No service can hold a call for longer, whatever it sends:
/// only between two items of a stream, call() excepted, may it be silent for as long as `stream_idle` says.
struct Timeouts {
  std::chrono::milliseconds connect{5'000};      ///< for a connection
  std::chrono::milliseconds first_byte{60'000};  ///< from the sent request to the whole head of the answer
  std::chrono::milliseconds idle{60'000};    ///< between two bytes of a request, a result, or an item that has begun
  std::chrono::milliseconds stream_idle{0};  ///< for the next item of a stream, from when it is asked for
  std::chrono::milliseconds total{300'000};  ///< for a call, all of it; for an item of a stream, from its first byte
};

/// A path among options: assigned from any kind of text, and read with string().
///
/// g++ before 13 copies an aggregate that is made within a co_await byte by byte. That is the end of a std::string, but
/// not of this, which has its characters in itself.
class PathText {
 public:
  PathText() = default;
  /// Throws InvalidArgument for what cannot be a path: 4096 bytes or more, or a NUL in it.
  template <class Text>
  requires(std::is_convertible_v<const Text&, std::string_view> || std::is_convertible_v<const Text&, std::string>)
      PathText(const Text& path) {
    if constexpr (std::is_convertible_v<const Text&, std::string_view>) {
      assign(path);
    } else {
      assign(static_cast<std::string>(path));
    }
  }

  bool empty() const noexcept { return text_[0] == '\0'; }
  std::string string() const { return text_.data(); }
  operator std::string() const { return string(); }

 private:
  void assign(std::string_view path);

  std::array<char, 4096> text_ = {};
};

/// How a client finds its service, and how it calls: `{.state_directory = d, .use_tcp = false}`.
struct ClientOptions {
  PathText state_directory = {};  ///< where the service has its files; empty: `~/.local/state/APP`
  bool use_unix_socket = true;    ///< the first choice; descriptors need it
  bool use_tcp = true;
  bool use_msgpack = true;  ///< otherwise JSON; so it is, too, with services that speak nothing else
  Timeouts timeouts = {};
  Limits limits = {.body_bytes = std::size_t{64} * 1024 * 1024};  ///< on answers: head, body, items, nesting
};
static_assert(std::is_aggregate_v<ClientOptions> && std::is_trivially_copyable_v<ClientOptions>,
              "what stands in braces within a co_await must survive being copied byte by byte, see PathText");

}  // namespace v0_1
}  // namespace kettlingar
