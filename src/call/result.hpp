// SPDX-License-Identifier: MIT
// call/result.hpp: results that are more than a value: documents with a MIME type, events, whole answers.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "../base/json.hpp"

namespace kettlingar {
inline namespace v0_1 {

/// A document: sent as it is, under its own content type, to browsers and RPC callers alike.
///
/// The items of a generator are the parts of one document, sent raw. The first one sets content type and status. An
/// item with another type or status ends the stream, as an exception does: an error in the log, no end mark.
struct Result {
  std::string mime_type;
  std::string data;
  int status = 200;  ///< 200 to 599; anything else is a 500, as is one that has no body (204, 304) in a stream
};

/// `text/plain`; the text should be UTF-8.
inline Result text(std::string_view data) { return Result{"text/plain", std::string(data)}; }

/// `text/html` in UTF-8.
inline Result html(std::string_view data) { return Result{"text/html; charset=utf-8", std::string(data)}; }

/// A whole HTTP answer, status line and head included, which is sent as it is; the connection is closed behind it. As
/// the items of a generator: its parts. A HEAD gets what stands in front of the body. Nothing is checked: for what the
/// library does not know how to say.
struct RawReply {
  std::string bytes;
};

/// One server-sent event, as the item of a `Generator<kt::Event>`: the stream is then `text/event-stream` whoever asks.
/// Any other generator becomes one for callers that ask with `Accept: text/event-stream`, as browsers' EventSource
/// does.
struct Event {
  /// A map with `id`, `event`, `retry` and `data`; without `data`, its other keys are the data. `id` and `event` must
  /// be free of line ends and NUL.
  json fields;
};

}  // namespace v0_1
}  // namespace kettlingar
