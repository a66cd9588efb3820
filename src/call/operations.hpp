// SPDX-License-Identifier: MIT
// call/operations.hpp: what coroutines can await here, beside the operations of Asio.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

#include "../os/descriptor.hpp"
#include "coroutine.hpp"

namespace kettlingar {
inline namespace v0_1 {

/// Suspends the calling Task or Generator; other requests are served meanwhile. Ends early, by cancellation, when the
/// reader of a stream has gone or the service stops.
Task<void> sleep_for(std::chrono::steady_clock::duration time);

/// Reads up to `most` bytes from a file, pipe or socket, waiting until there are some; empty at its end. Other work
/// goes on meanwhile: files are read on a helper thread of the io_context. The flags of the open file, which its sender
/// shares, are not touched. `fd` must stay open until the result is there. Throws std::system_error.
Task<std::string> async_read_some(const Fd& fd, std::size_t most = 64 * 1024);

/// Reads to the end, at most `limit` bytes: more are InvalidArgument. Otherwise as async_read_some().
Task<std::string> async_read_all(const Fd& fd, std::size_t limit = 1024 * 1024);

/// Writes all of `bytes` to a file, pipe or socket, as async_read_some() reads. A pipe or socket whose reader has gone
/// is std::system_error (EPIPE), never a signal.
Task<void> async_write_all(const Fd& fd, std::string bytes);

}  // namespace v0_1
}  // namespace kettlingar
