// SPDX-License-Identifier: MIT
// client/running_call.hpp: a call from its arguments to its first answer, and where that answer goes.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "../base/errors.hpp"
#include "../base/version.hpp"
#include "../call/argument.hpp"
#include "../call/coroutine.hpp"
#include "../call/request.hpp"
#include "../call/transfer.hpp"
#include "transport.hpp"

namespace kettlingar {
inline namespace v0_1 {

// See results.hpp.
template <class T = json>
class Stream;
template <class T = json>
class AsyncStream;

namespace detail {
class CallBuilder;
class RunningCall;
template <class T>
T only_result(RunningCall& call);
template <class T>
Task<T> async_only_result(RunningCall call);
}  // namespace detail

/// Where the answer to a call is to go instead of to the caller, see reply_to().
class ReplyTo {
 public:
  explicit ReplyTo(Fd target) : target_(std::move(target)) {}
  explicit ReplyTo(Request& request) : request_(&request) {}

 private:
  friend class detail::CallBuilder;
  friend class detail::RunningCall;
  Fd target_;
  Request* request_ = nullptr;
};

/// As an argument of a call: the service writes its whole answer, an HTTP head included, to that file or socket, of
/// which a duplicate is taken. The caller gets `{"replied_to_first_fd": true}` at once. Throws std::system_error, and
/// the call InvalidArgument if `target` is not open. Over unix sockets only, like all descriptors.
inline ReplyTo reply_to(const Fd& target) { return ReplyTo(target ? target.duplicate() : Fd()); }

/// The called service answers the request that is being served, in place of this handler, which must write nothing
/// more: a generator yields nothing after it, the result of another handler is ignored. The request has to live until
/// the call has ended.
inline ReplyTo reply_to(Request& request) { return ReplyTo(request); }

namespace detail {

class Method;
struct Parameter;

/// A call with converted arguments that has not begun.
struct OutgoingCall {
  CallMessage message;
  std::optional<ReplyTo> reply_to = {};
};

/// Collects arguments: `_args` in order, named ones by kt::arg().
class CallBuilder {
 public:
  explicit CallBuilder(std::string_view method) { call_.message.method = method; }
  explicit CallBuilder(const Method& method);

  template <class A>
  void add(A&& value) {
    using Value = std::remove_cvref_t<A>;
    if constexpr (std::is_same_v<Value, ReplyTo>) {
      add_target(std::forward<A>(value));
    } else if constexpr (std::is_same_v<Value, Arg>) {
      add_named(value);
    } else if constexpr (PlainArgument<Value>) {
      call_.message.arguments.add(scalar_of(value));
    } else if constexpr (holds_descriptors<Value>) {
      try {
        call_.message.arguments.add(put_value(std::forward<A>(value), call_.message.descriptors));
      } catch (const std::system_error& error) {
        refuse_descriptors(error, next_argument());
      }
    } else {
      call_.message.arguments.add(put_value(std::forward<A>(value), call_.message.descriptors));
    }
  }
  OutgoingCall finish();

 private:
  void add_target(ReplyTo target);
  void add_named(const Arg& argument);
  std::string next_argument() const;

  OutgoingCall call_;
  const std::vector<Parameter>* parameters_ = nullptr;  ///< if they are known
  std::vector<Fd> named_descriptors_;                   ///< sent behind those of positional arguments
};

/// For calls that may stand within a co_await.
template <class... A>
constexpr void refuse_temporaries() {
  static_assert(!(miscompiled_temporary<A> || ...),
                "kettlingar: g++ before 13 miscompiles a temporary aggregate within a co_await; name it first: "
                "Note note{...}; co_await client.async_call(\"keep\", note);");
}

template <class... A>
OutgoingCall make_call(std::string_view method, A&&... arguments) {
  CallBuilder builder(method);
  (builder.add(std::forward<A>(arguments)), ...);
  return builder.finish();
}

/// A call on its way; with kt::reply_to(), its answer is handed over to somebody else.
class RunningCall {
 public:
  RunningCall(std::shared_ptr<Transport> transport, OutgoingCall call)
      : transport_(std::move(transport)), call_(std::move(call)), method_(call_.message.method) {}

  /// Before the first next(): the caller wants a result, not a stream.
  void expect_one() noexcept { call_.message.one_result = true; }

  /// Like Answer::next(); the first one prepares and starts the call.
  std::optional<json> next();
  Task<std::optional<json>> async_next();

  /// Nothing more is wanted: the call ends here, and next() has nothing any more.
  void end() noexcept {
    begun_ = true;
    answer_.reset();
  }

  /// Only after next() has returned a value or thrown.
  Answer& answer() { return *answer_; }
  const std::string& method() const noexcept { return method_; }

 private:
  void begin();
  void hand_over(ReplyTo target);
  void succeeded();
  void failed();

  std::shared_ptr<Transport> transport_;
  OutgoingCall call_;
  std::string method_;
  bool begun_ = false;
  std::unique_ptr<Answer> answer_;
  Caller* caller_ = nullptr;  ///< whose connection is being handed over
};

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
