// SPDX-License-Identifier: MIT
// client/transport.hpp: what a client talks to: something that takes calls and gives their answers.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/json.hpp"
#include "../base/limits.hpp"
#include "../base/version.hpp"
#include "../call/coroutine.hpp"
#include "../call/transfer.hpp"
#include "../os/passing.hpp"
#include "../wire/codec.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// What stands for a document among values.
bool is_document(const json& value);

/// Arguments on their way, with placeholders for descriptors. Those in order, which most calls have and no others, are
/// MessagePack at once: a tree of values would be a quarter of what a call costs the client.
class CallArguments {
 public:
  void add(const Scalar& value) {
    if (packed_.empty()) packed_.reserve(64);
    note(append_scalar(packed_, value));
  }
  void add(const json& value) { note(encode_msgpack(value, packed_, Limits{}.depth - 2)); }
  /// Before all others.
  void add_first(const json& value);
  /// How many have been added, in order.
  std::size_t count() const noexcept { return count_; }
  void set(const std::string& name, json value) { named_[name] = std::move(value); }

  /// Appends the map that is sent: named ones first, the list `_args` last. Says what cannot be sent.
  CodecError append(Format format, std::string& out) const;

 private:
  void note(const CodecError& error) {
    ++count_;
    if (error && !error_) error_ = error;
  }
  CodecError append_packed(std::string& out) const;

  json named_ = json(json::value_t::object);
  std::string packed_;  ///< one value behind the other
  std::size_t count_ = 0;
  CodecError error_;
};

/// One call as it is to be sent.
struct CallMessage {
  std::string method;
  CallArguments arguments = {};
  std::vector<Fd> descriptors = {};      ///< those of arguments in order, then those of named ones, as they stand there
  std::optional<bool> use_msgpack = {};  ///< if nothing is said, the transport decides
  bool crlf_answer = false;              ///< of one that goes elsewhere: whoever gets it does not need bare LF
  bool one_result = false;  ///< the caller takes one value, be it the first of a stream, and waits for no more
};

/// The answer to one call. For one thread, or one coroutine, at a time; not both faces in one answer. Destroying it
/// abandons the call.
class Answer {
 public:
  virtual ~Answer() = default;

  /// The result, or the next item of a stream; nothing at the end. Documents are `{"mimetype": ..., "data": ...}`,
  /// items of raw data bytes. The first call of it sends the message. Throws NotRunning, ConnectionError,
  /// InvalidArgument for what cannot be sent, and what the service answered with; nothing more comes after that.
  virtual std::optional<json> next() = 0;
  /// The same for coroutines, on the executor of whoever awaits it. The Answer must outlive the Task.
  virtual Task<std::optional<json>> async_next() = 0;

  // Known once next() has returned or thrown.

  /// HTTP status; 0 if there is no answer.
  virtual int status() const = 0;
  /// Whether items follow one another, or there is one result.
  virtual bool streaming() const = 0;
  /// MIME type; of a stream's items, if they are raw data.
  virtual std::string content_type() const = 0;
  /// True if the service may have got the message, whatever became of it.
  virtual bool sent() const = 0;

  /// What came with the values so far. Take it, or it is closed with the Answer.
  virtual DescriptorQueue& descriptors() = 0;
};

/// Where calls go. Shared by all copies of a client; for any number of threads.
class Transport {
 public:
  virtual ~Transport() = default;
  /// Does nothing yet but check the message: see Answer::next(). The answer keeps alive what it needs of the transport.
  virtual std::unique_ptr<Answer> start(CallMessage message) = 0;
};

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
