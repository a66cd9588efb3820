// SPDX-License-Identifier: MIT
// client/client_options.hpp: how a client finds its service, how long it waits, what it accepts.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

#include "../base/limits.hpp"

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

/// How a client finds its service, and how it calls.
struct ClientOptions {
  std::string state_directory = {};  ///< where the service has its files; empty: `~/.local/state/APP`
  bool use_unix_socket = true;       ///< the first choice; descriptors need it
  bool use_tcp = true;
  bool use_msgpack = true;  ///< otherwise JSON; so it is, too, with services that speak nothing else
  Timeouts timeouts = {};
  Limits limits = {.body_bytes = std::size_t{64} * 1024 * 1024};  ///< on answers: head, body, items, nesting
};

}  // namespace v0_1
}  // namespace kettlingar
