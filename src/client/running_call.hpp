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
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "../base/errors.hpp"
#include "../base/version.hpp"
#include "../service/coroutine.hpp"
#include "../service/handler_check.hpp"
#include "../service/method.hpp"
#include "../service/request.hpp"
#include "../service/transfer.hpp"
#include "transport.hpp"

namespace kettlingar {
inline namespace v0_1 {

namespace detail {
class CallBuilder;
class RunningCall;
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

/// A call with converted arguments that has not begun.
struct OutgoingCall {
  CallMessage message;
  std::optional<ReplyTo> reply_to = {};
};

/// Collects arguments: `_args` in order, named ones by kt::arg().
class CallBuilder {
 public:
  explicit CallBuilder(std::string_view method) { call_.message.method = method; }
  explicit CallBuilder(const Method& method) : CallBuilder(std::string_view(method.name())) {
    parameters_ = &method.parameters();
  }

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

#if KETTLINGAR_DEFINITIONS
KETTLINGAR_INLINE OutgoingCall CallBuilder::finish() {
  for (Fd& fd : named_descriptors_) call_.message.descriptors.push_back(std::move(fd));
  return std::move(call_);
}

KETTLINGAR_INLINE void CallBuilder::add_target(ReplyTo target) {
  if (call_.reply_to) throw std::invalid_argument("kettlingar: a call has one kt::reply_to(...) at the most");
  if (!target.target_ && target.request_ == nullptr)
    refuse_missing(call_.message.method + ": the target of kt::reply_to()");
  call_.reply_to = std::move(target);
}

KETTLINGAR_INLINE void CallBuilder::add_named(const Arg& argument) {
  if (!argument.fallback()) {
    throw std::invalid_argument("kettlingar: kt::arg(\"" + argument.name() + "\") of a call needs a value: kt::arg(\"" +
                                argument.name() + "\") = ...");
  }
  call_.message.arguments.set(argument.name(), *argument.fallback());
  if (!argument.descriptors()) return;
  for (Fd& fd : *argument.descriptors()) {
    if (!fd) refuse_missing(call_.message.method + ": argument '" + argument.name() + "'");
    named_descriptors_.push_back(std::move(fd));
  }
}

/// For messages.
KETTLINGAR_COLD std::string CallBuilder::next_argument() const {
  const std::size_t at = call_.message.arguments.count();
  const bool named = parameters_ != nullptr && at < parameters_->size();
  return call_.message.method + ": argument " + (named ? "'" + (*parameters_)[at].name + "'" : std::to_string(at + 1));
}
#endif

/// For calls that may stand within a co_await.
template <class... A>
constexpr void refuse_temporaries() {
  static_assert(!(miscompiled_temporary<A> || ...),
                "kettlingar: g++ before 13 miscompiles a temporary aggregate within a co_await; name it first: "
                "Note note{...}; co_await client.async_call(\"keep\", note);");
}

// Compilers print these names.
template <int number, class T>
struct MisfitGiven;
template <class T>
struct MisfitAsked;

/// The first argument with descriptors that stays with the caller.
template <class... A>
using KeptDescriptor =
    typename Misfit<MisfitGiven,
                    first_misfit<!(std::is_lvalue_reference_v<A> && holds_descriptors<std::remove_cvref_t<A>>)...>(),
                    std::tuple<A...>>::type;

/// Whether an argument of a call can be sent.
template <class A>
inline constexpr bool can_be_sent =
    writable<A> || PlainArgument<A> || std::is_same_v<A, Arg> || std::is_same_v<A, ReplyTo>;
/// Whether a call can ask for a T.
template <class T>
inline constexpr bool askable =
    std::is_void_v<T> || std::is_same_v<T, Result> || std::is_same_v<T, Event> || readable<T>;

/// Instantiated first of all where a call by name is made, so that compilers name that place.
template <class T, class... A>
struct CallCheck {
  using Kept = KeptDescriptor<A...>;
  using Unwritable =
      typename Misfit<MisfitGiven, first_misfit<can_be_sent<std::remove_cvref_t<A>>...>(), std::tuple<A...>>::type;
  using Asked = std::conditional_t<askable<T>, void, MisfitAsked<T>>;
  static_assert(no_misfit<Kept>,
                "kettlingar: a descriptor is given away: use std::move(fd), or fd.duplicate() to keep it");
  static_assert(no_misfit<Unwritable>,
                "kettlingar: the type of an argument must be one that nlohmann_json converts: see "
                "NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE");
  static_assert(no_misfit<Asked>,
                "kettlingar: the type of a parameter, or of a result that is asked for, must be one that nlohmann_json "
                "converts: see NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE and NLOHMANN_JSON_SERIALIZE_ENUM");
  static constexpr bool done = true;
};

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

#if KETTLINGAR_DEFINITIONS
KETTLINGAR_COLD void RunningCall::hand_over(ReplyTo target) {
  CallMessage& message = call_.message;
  std::uint64_t sent = 0;
  Fd fd = std::move(target.target_);
  if (target.request_ != nullptr) {
    Caller& caller = ConnectionAccess::caller(*target.request_);
    Caller::HandOver prepared = caller.prepare_handover();
    caller_ = &caller;
    fd = std::move(prepared.connection);
    sent = prepared.sent;
    // The answer, or the rest of it, has to be one for that caller.
    message.use_msgpack = prepared.use_msgpack;
    message.crlf_answer = !prepared.bare_lf;
  }
  message.arguments.add_first(describe_descriptor(fd.get()).text());
  message.arguments.set(detail::reply_to_key, sent);
  message.descriptors.insert(message.descriptors.begin(), std::move(fd));
}

KETTLINGAR_INLINE void RunningCall::begin() {
  if (std::exchange(begun_, true)) return;
  if (call_.reply_to) hand_over(*std::exchange(call_.reply_to, std::nullopt));
  answer_ = transport_->start(std::move(call_.message));
}

KETTLINGAR_INLINE void RunningCall::succeeded() {
  constexpr int accepted = 202;
  Caller* caller = std::exchange(caller_, nullptr);
  if (caller != nullptr && answer_->status() == accepted) caller->released();
}

/// If no answer came, the other service may be writing to the caller already, unless it has got nothing of the request.
KETTLINGAR_COLD void RunningCall::failed() {
  Caller* caller = std::exchange(caller_, nullptr);
  if (caller == nullptr || !answer_ || !answer_->sent()) return;
  try {
    throw;
  } catch (const Error&) {
  } catch (...) {
    caller->released();
  }
}

KETTLINGAR_INLINE std::optional<json> RunningCall::next() {
  try {
    begin();
    if (!answer_) return std::nullopt;
    std::optional<json> value = answer_->next();
    succeeded();
    return value;
  } catch (...) {
    failed();
    throw;
  }
}

KETTLINGAR_INLINE Task<std::optional<json>> RunningCall::async_next() {
  try {
    begin();
    if (!answer_) co_return std::nullopt;
    std::optional<json> value = co_await answer_->async_next();
    succeeded();
    co_return value;
  } catch (...) {
    failed();
    throw;
  }
}
#endif

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
