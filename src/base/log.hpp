// SPDX-License-Identifier: MIT
// base/log.hpp: one callback for everything the library has to say.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "version.hpp"

namespace kettlingar {
inline namespace v0_1 {

/// Levels with the numbers of `worker_log_level`; lines below that level are not made.
enum class LogLevel { debug = 10, info = 20, warning = 30, error = 40 };

/// Gets one finished line without its line end, on the thread of the service, or on one that starts or ends it. Must
/// not throw.
using LogSink = std::function<void(LogLevel level, std::string_view line)>;

/// `text` with control characters, quotes, backslashes and non-ASCII as \xNN, cut after 200 bytes: what a peer sent can
/// then neither forge log lines nor reach a terminal.
std::string log_escaped(std::string_view text);

}  // namespace v0_1
}  // namespace kettlingar
