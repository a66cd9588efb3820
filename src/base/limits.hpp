// SPDX-License-Identifier: MIT
// base/limits.hpp: bounds on what a peer can make us hold, and for how long.
#pragma once

#include <chrono>
#include <cstddef>

namespace kettlingar {
inline namespace v0_1 {

/// Bounds on what a peer can make us hold. Every one is on by default; zero allows nothing (of a time: none), and never
/// means "unlimited". What happens beyond each is in the README, chapter *Limits*. Some of a service are options, too,
/// which are named behind them: what the program sets before the start is their default.
struct Limits {
  std::size_t request_line_bytes = 8 * 1024;
  std::size_t head_bytes = 32 * 1024;            ///< request or status line and all header lines
  std::size_t header_count = 100;                ///< header lines of one message
  std::size_t body_bytes = 1024 * 1024;          ///< decoded body; `worker_http_request_max_size`
  std::size_t stranger_body_bytes = 64 * 1024;   ///< the same for callers without the token
  std::size_t chunk_line_bytes = 256;            ///< one chunk-size line with its extensions
  std::size_t trailer_bytes = 8 * 1024;          ///< all trailer lines of one message
  std::size_t trailer_count = 32;                ///< trailer lines of one message
  std::size_t chunk_overhead_bytes = 16 * 1024;  ///< framing bytes allowed on top of 8 x the payload
  int depth = 64;                                ///< nesting of JSON and msgpack in requests
  std::size_t descriptors = 16;                  ///< open files and sockets that come, or go, with one message
  std::size_t unclaimed_descriptors = 64;        ///< those of all requests whose token is not known yet
  std::size_t connections = 2048;  ///< open at once; `worker_max_connections`, and half of RLIMIT_NOFILE at most
  std::size_t stranger_connections = 256;  ///< of them, how many have not shown the token; half of them at most
  std::size_t stream_bytes = std::size_t{64} * 1024 * 1024;  ///< of all streams, made and not yet sent
  std::size_t drain_bytes = 64 * 1024;     ///< body read and dropped to keep a connection after a refusal
  std::size_t linger_bytes = 1024 * 1024;  ///< read and dropped before a refused connection is closed
  std::size_t log_lines = 20;              ///< a second, of those that callers without the token can cause
  std::size_t log_bytes = std::size_t{8} * 1024 * 1024;  ///< a day, of the same
  std::chrono::milliseconds head_timeout{10'000};        ///< head, from its first byte; `worker_http_request_timeout1`
  std::chrono::milliseconds body_timeout{15'000};      ///< request, from its first byte; `worker_http_request_timeout2`
  std::chrono::milliseconds idle_timeout{15'000};      ///< a kept connection without a request
  std::chrono::milliseconds write_timeout{30'000};     ///< a reader that takes nothing
  std::chrono::milliseconds stream_grace{1'000};       ///< a slow reader of a stream, when others have no room
  std::chrono::milliseconds linger_timeout{2'000};     ///< a refused or half-closed peer
  std::chrono::milliseconds event_keepalive{15'000};   ///< silence of an event stream, until a comment is sent
  std::chrono::milliseconds guess_pause{1'000};        ///< before a wrong token is refused, when there are too many
  std::chrono::milliseconds host_timeout{5'000};       ///< until the host begins a call that run_handlers_on() gave it
  std::chrono::milliseconds shutdown_timeout{10'000};  ///< the on_shutdown hook
  std::chrono::milliseconds drain_timeout{1'000};      ///< running calls when the service stops
};

}  // namespace v0_1
}  // namespace kettlingar
