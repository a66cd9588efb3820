// SPDX-License-Identifier: MIT
// client/running_call.ipp: the bodies of running_call.hpp.
#pragma once

#include "../call/method.hpp"
#include "running_call.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

KETTLINGAR_INLINE CallBuilder::CallBuilder(const Method& method) : CallBuilder(std::string_view(method.name())) {
  parameters_ = &method.parameters();
}

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

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
