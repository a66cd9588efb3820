// SPDX-License-Identifier: MIT
// client/loopback.hpp: calls of a service within its own process, without sockets, with the same results and
// exceptions.
#pragma once

#include "../base/version.hpp"  // defines ASIO_HAS_CO_AWAIT, so it must come before Asio

#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <asio/use_awaitable.hpp>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "../service/kitten.hpp"
#include "../service/streaming.hpp"
#include "client.hpp"
#include "response.hpp"
#include "transport.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// One call and its answer, which is written and read as it would be on a wire. Owned by the Answer and by the step
/// that is being made; steps are made one after the other.
class LoopbackCall final : public Caller {
 public:
  LoopbackCall(std::shared_ptr<Server> server, CallMessage message)
      : server_(std::move(server)), message_(std::move(message)), reader_(limits_) {}

  /// Runs the method until there is something to read. On the executor that handlers are to run on.
  static Task<void> step(std::shared_ptr<LoopbackCall> self);

  /// What has been read: the result or an item, nothing at the end, or nothing yet.
  enum class Outcome { value, end, more };
  Outcome read(json& value);

  const ResponseReader& reader() const noexcept { return reader_; }
  DescriptorQueue& descriptors() noexcept { return descriptors_; }
  bool started() const noexcept { return call_.has_value(); }

 private:
  void start(const asio::any_io_executor& executor);
  void answer();
  void answer_error(const std::exception_ptr& thrown);

  bool gone() const override { return false; }
  HandOver prepare_handover() override { throw Error(501, "a call within the process cannot be passed on"); }
  void released() override {}
  Socket take_connection(std::string*) override { throw Error(501, "a call within the process has no connection"); }

  std::shared_ptr<Server> server_;
  CallMessage message_;
  RequestHead head_;
  Peer peer_{"loopback", false, std::nullopt};
  std::shared_ptr<const Method> method_;
  std::optional<Request> request_;
  std::optional<Call> call_;
  ReplyStyle style_;
  std::optional<StreamWriter> writer_;
  std::string out_;
  bool answered_ = false;
  const Limits limits_ = ClientOptions{}.limits;  ///< on answers, as over sockets
  ResponseReader reader_;
  DescriptorQueue descriptors_;
};

#if KETTLINGAR_DEFINITIONS
KETTLINGAR_INLINE void LoopbackCall::start(const asio::any_io_executor& executor) {
  style_.format = message_.use_msgpack.value_or(true) ? Format::msgpack : Format::json;
  method_ = server_->methods.find(message_.method, true);
  request_.emplace(head_, peer_, *this, executor);
  ConnectionAccess::route(*request_, message_.method, message_.method, true);
  request_->descriptors() = std::move(message_.descriptors);
  call_.emplace(*request_, style_.format);
  if (!method_) throw server_->methods.unknown(message_.method);
  // Through the bytes, so that nothing arrives that could not be sent.
  std::string body;
  CodecError error = message_.arguments.append(style_.format, body);
  if (!error) {
    json& arguments = ConnectionAccess::arguments(*request_);
    error = style_.format == Format::msgpack ? decode_msgpack(body, arguments, server_->limits.depth)
                                             : decode_json(body, arguments, server_->limits.depth);
  }
  if (error) throw InvalidArgument(std::string(error.why));
  method_->invoke(*call_);
}

KETTLINGAR_INLINE void LoopbackCall::answer() {
  if (call_->raw) {
    out_ += call_->raw->bytes;
  } else if (call_->document) {
    const Result& document = *call_->document;
    if (!append_reply(out_, style_, document.status, document.mime_type, document.data))
      throw std::runtime_error("bad-response: the document's MIME type or status cannot be sent");
  } else {
    if (call_->codec_error) throw std::runtime_error("bad-response: " + std::string(call_->codec_error.why));
    descriptors_ = DescriptorQueue(std::move(call_->descriptors));
    append_reply(out_, style_, 200, style_.content_type(), call_->body);
  }
}

KETTLINGAR_INLINE void LoopbackCall::answer_error(const std::exception_ptr& thrown) {
  if (writer_) {
    writer_->fail(thrown);
  } else {
    out_.clear();  // half an answer, perhaps
    append_error(out_, style_, error_reply(thrown, true));
  }
  answered_ = true;
}

// Whoever destroys the io_context destroys this frame, and with it the call, at whatever it awaits.
KETTLINGAR_INLINE Task<void> LoopbackCall::step(std::shared_ptr<LoopbackCall> self) {
  LoopbackCall& c = *self;
  const asio::any_io_executor executor = co_await asio::this_coro::executor;
  std::exception_ptr thrown;
  try {
    if (!c.call_) c.start(executor);
    if (!c.call_->stream) {
      if (c.call_->pending.valid()) co_await std::move(c.call_->pending);
      c.answer();
      c.answered_ = true;
    } else {
      if (!c.writer_) c.writer_.emplace(c.out_, c.style_, *c.call_->stream, true, false);
      ItemStream::Step next = c.call_->stream->resume(executor);
      while (next == ItemStream::Step::waiting) {
        co_await c.call_->stream->take_pending();
        next = c.call_->stream->resume(executor);
      }
      if (next == ItemStream::Step::done) c.writer_->finish();
      c.answered_ = next == ItemStream::Step::done || !c.writer_->write_item(*c.call_->stream);
    }
  } catch (...) {
    thrown = std::current_exception();
  }
  if (thrown) c.answer_error(thrown);
  if (c.answered_ && c.call_) c.call_->stream.reset();
}

KETTLINGAR_INLINE LoopbackCall::Outcome LoopbackCall::read(json& value) {
  std::memcpy(reader_.prepare(out_.size()), out_.data(), out_.size());
  reader_.received(out_.size());
  out_.clear();
  if (answered_) reader_.end_of_input();
  for (;;) {
    switch (reader_.advance()) {
      case ResponseReader::Step::head:
        break;
      case ResponseReader::Step::item:
        value = reader_.take();
        return Outcome::value;
      case ResponseReader::Step::done:
        return Outcome::end;
      case ResponseReader::Step::need_more:
        return Outcome::more;
    }
  }
}
#endif

/// What loopback calls use of a service.
struct LoopbackAccess {
  static const asio::any_io_executor& loop(const Kitten& kitten) { return kitten.server_->executor; }
  static bool is_here(const Kitten& kitten) { return kitten.runner_->in_service_thread(); }
  static const std::shared_ptr<Server>& server(const Kitten& kitten) { return kitten.runner_->shared_server(); }
};

class LoopbackAnswer final : public Answer {
 public:
  LoopbackAnswer(Kitten& kitten, CallMessage message)
      : kitten_(kitten), call_(std::make_shared<LoopbackCall>(LoopbackAccess::server(kitten), std::move(message))) {}
  ~LoopbackAnswer() override {
    // What the handler holds goes where it runs.
    try {
      if (kitten_.running()) post(LoopbackAccess::loop(kitten_), [call = std::move(call_)] {});
    } catch (const std::bad_alloc&) {
      // Then it goes here and now.
    }
  }

  std::optional<json> next() override {
    json value;
    for (;;) {
      switch (call_->read(value)) {
        case LoopbackCall::Outcome::value:
          return std::optional<json>(std::in_place, std::move(value));
        case LoopbackCall::Outcome::end:
          return std::nullopt;
        case LoopbackCall::Outcome::more:
          step_and_wait();
      }
    }
  }
  Task<std::optional<json>> async_next() override;

  int status() const override { return call_->reader().status(); }
  bool streaming() const override { return call_->reader().streaming(); }
  std::string content_type() const override { return std::string(call_->reader().content_type()); }
  bool sent() const override { return call_->started(); }
  DescriptorQueue& descriptors() override { return call_->descriptors(); }

 private:
  void step_and_wait();

  Kitten& kitten_;
  std::shared_ptr<LoopbackCall> call_;
};

#if KETTLINGAR_DEFINITIONS
KETTLINGAR_INLINE Task<std::optional<json>> LoopbackAnswer::async_next() {
  json value;
  for (;;) {
    const LoopbackCall::Outcome outcome = call_->read(value);
    if (outcome == LoopbackCall::Outcome::value) co_return value;
    if (outcome == LoopbackCall::Outcome::end) co_return std::nullopt;
    const asio::any_io_executor loop = LoopbackAccess::loop(kitten_);
    const asio::any_io_executor here = co_await asio::this_coro::executor;
    if (kitten_.running() && here != loop) {
      co_await asio::co_spawn(loop, LoopbackCall::step(call_), asio::use_awaitable);
    } else {
      co_await LoopbackCall::step(call_);
    }
  }
}

KETTLINGAR_INLINE void LoopbackAnswer::step_and_wait() {
  if (!kitten_.running()) {
    asio::io_context here;
    spawn(here.get_executor(), LoopbackCall::step(call_));
    here.run();
    return;
  }
  if (LoopbackAccess::is_here(kitten_))
    throw ConnectionError("a handler cannot wait for its own service; co_await async_call() instead");
  struct Done {
    std::mutex mutex;
    std::condition_variable changed;
    bool done = false;
  };
  auto done = std::make_shared<Done>();
  spawn(LoopbackAccess::loop(kitten_), LoopbackCall::step(call_), [done](const std::exception_ptr&) {
    const std::lock_guard lock(done->mutex);
    done->done = true;
    done->changed.notify_one();
  });
  std::unique_lock lock(done->mutex);
  // A service that has stopped leaves its coroutines where they are.
  while (!done->changed.wait_for(lock, std::chrono::milliseconds(100), [&] { return done->done; })) {
    if (!kitten_.running()) throw ConnectionError("the service has stopped");
  }
}
#endif

/// Calls methods of a service in this process. The service must outlive it, need not run, and sees the caller as one
/// that knows the token.
class LoopbackTransport final : public Transport {
 public:
  explicit LoopbackTransport(Kitten& kitten) : kitten_(kitten) {}
  std::unique_ptr<Answer> start(CallMessage message) override {
    return std::make_unique<LoopbackAnswer>(kitten_, std::move(message));
  }

 private:
  Kitten& kitten_;
};

}  // namespace detail

#if KETTLINGAR_DEFINITIONS
KETTLINGAR_INLINE Client Kitten::loopback() {
  return ClientAccess::make(std::make_shared<detail::LoopbackTransport>(*this), server_->methods.all());
}
#endif

}  // namespace v0_1
}  // namespace kettlingar
