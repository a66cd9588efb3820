// SPDX-License-Identifier: MIT
// client/loopback.ipp: calls of a service within its own process, without sockets, with the same results and
// exceptions.
#pragma once

#include "../base/version.hpp"  // defines ASIO_HAS_CO_AWAIT, so it must come before Asio

#include <asio/cancellation_signal.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/this_coro.hpp>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "../call/streaming.ipp"
#include "../service/kitten.hpp"
#include "client.hpp"
#include "http_transport.ipp"
#include "response.ipp"
#include "step_wait.ipp"
#include "transport.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// One call and its answer, which is written and read as it would be on a wire. Owned by the Answer, by the step that
/// is being made, and by the service while it runs the call. Steps are made one after the other; between them the
/// caller reads what the last one has written.
class LoopbackCall final : public LocalCall, public Caller, public std::enable_shared_from_this<LoopbackCall> {
 public:
  LoopbackCall(std::weak_ptr<Server> server, std::shared_ptr<LocalCalls> calls, CallMessage message)
      : server_(std::move(server)), calls_(std::move(calls)), message_(std::move(message)), reader_(limits_) {}

  /// Runs the method until there is something to read. On the executor that handlers are to run on. `served`: by the
  /// service, not by the caller.
  static Task<void> step(std::shared_ptr<LoopbackCall> self, bool served);
  asio::cancellation_slot cancellation() { return cancel_.slot(); }

  bool busy() const override { return stepping_; }
  void close() override { close(true); }
  void close(bool cancel);
  void lose(const char* why) override { wait_.finish(why); }

  // For the caller:
  StepWait& wait() noexcept { return wait_; }
  /// What has been read: the result or an item, nothing at the end, or nothing yet.
  enum class Outcome { value, end, more };
  Outcome read(json& value);
  /// The coroutine of the step has been destroyed by its loop.
  void step_destroyed();
  const ResponseReader& reader() const noexcept { return reader_; }
  DescriptorQueue& descriptors() noexcept { return descriptors_; }
  bool started() const noexcept { return started_; }
  bool answered() const noexcept { return answered_; }

 private:
  void start(const asio::any_io_executor& executor);
  void answer();
  void answer_error(const std::exception_ptr& thrown);
  void drop();

  bool gone() const override { return closed_; }
  HandOver prepare_handover() override { throw Error(501, "a call within the process cannot be passed on"); }
  void released() override {}
  Socket take_connection(std::string*) override { throw Error(501, "a call within the process has no connection"); }

  const std::weak_ptr<Server> server_;
  const std::shared_ptr<LocalCalls> calls_;
  StepWait wait_;
  CallMessage message_;
  RequestHead head_;
  std::string path_;
  Peer peer_{"loopback", false, std::nullopt};
  asio::cancellation_signal cancel_;
  std::shared_ptr<const Method> method_;
  std::optional<Request> request_;
  std::optional<Call> call_;
  ReplyStyle style_;
  std::optional<StreamWriter> writer_;
  std::string out_;
  bool started_ = false;
  bool served_ = false;    ///< by the service
  bool known_ = false;     ///< to whoever closes calls at their end
  bool stepping_ = false;  ///< a step is being made
  bool answered_ = false;
  bool closed_ = false;
  const Limits limits_ = ClientOptions{}.limits;  ///< on answers, as over sockets
  ResponseReader reader_;
  DescriptorQueue descriptors_;
};

/// Ends the wait for a step when that has ended, or when it will not come to an end.
class StepEnd {
 public:
  StepEnd(std::shared_ptr<LoopbackCall> call, std::shared_ptr<PlaceKey> key)
      : call_(std::move(call)), key_(std::move(key)) {}
  StepEnd(const StepEnd&) = delete;
  StepEnd& operator=(const StepEnd&) = delete;
  ~StepEnd() {
    if (made_) return;  // by now the wait may be that for the next step
    if (begun_) call_->step_destroyed();
    call_->wait().finish("the loop that ran the handler has gone");
  }
  void begun() noexcept { begun_ = true; }
  void made() {
    made_ = true;
    call_->wait().finish();
  }

 private:
  bool begun_ = false, made_ = false;
  std::shared_ptr<LoopbackCall> call_;
  std::shared_ptr<PlaceKey> key_;
};

KETTLINGAR_INLINE void LoopbackCall::start(const asio::any_io_executor& executor) {
  const std::shared_ptr<Server> server = server_.lock();
  started_ = true;
  style_.format = message_.use_msgpack.value_or(true) ? Format::msgpack : Format::json;
  method_ = server->methods.find(message_.method, true);
  head_.method = "POST";  // what HTTP would say
  path_ = "/" + message_.method;
  request_.emplace(head_, peer_, *this, executor);
  ConnectionAccess::route(*request_, message_.method, path_, true);
  request_->descriptors() = std::move(message_.descriptors);
  call_.emplace(*request_, style_.format);
  if (!method_) {
    const std::string similar = server->methods.similar(message_.method);
    throw unknown_method(message_.method, std::string(no_such_method) + similar);
  }
  // Through the bytes, so that nothing arrives that could not be sent.
  std::string body;
  CodecError error = message_.arguments.append(style_.format, body);
  if (!error) {
    json& arguments = ConnectionAccess::arguments(*request_);
    error = style_.format == Format::msgpack ? decode_msgpack(body, arguments, server->limits.depth)
                                             : decode_json(body, arguments, server->limits.depth);
  }
  if (error) throw InvalidArgument(std::string(error.why));
  method_->invoke(*call_);
}

/// What the handler holds goes where it ran.
KETTLINGAR_INLINE void LoopbackCall::drop() {
  call_.reset();
  request_.reset();
  method_.reset();
  if (!std::exchange(known_, false)) return;
  if (!served_) return calls_->leave(this);
  if (const std::shared_ptr<Server> server = server_.lock()) server->leave(*this);
}

KETTLINGAR_INLINE void LoopbackCall::step_destroyed() {
  std::unique_lock turn(calls_->turn, std::defer_lock);
  if (!served_) turn.lock();
  stepping_ = false;
  drop();
}

KETTLINGAR_INLINE void LoopbackCall::close(bool cancel) {
  if (answered_ || std::exchange(closed_, true)) return;
  const auto self = shared_from_this();
  wait_.finish("the service has stopped");
  if (request_) ConnectionAccess::cancel(*request_);
  if (cancel) cancel_.emit(asio::cancellation_type::terminal);
  if (!stepping_) drop();
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
    const std::string internal = writer_->fail(thrown);
    // Readers of a stream of documents are not told.
    const std::shared_ptr<Server> server = served_ ? server_.lock() : nullptr;
    if (server && !internal.empty())
      server->log.write(LogLevel::error, "internal: " + message_.method + ": " + log_escaped(internal));
  } else {
    out_.clear();  // half an answer, perhaps
    append_error(out_, style_, error_reply(thrown, true));
  }
  answered_ = true;
}

// Whoever destroys the loop destroys this frame, and with it the call, at whatever it awaits.
KETTLINGAR_INLINE Task<void> LoopbackCall::step(std::shared_ptr<LoopbackCall> self, bool served) {
  LoopbackCall& c = *self;
  // The service may have ended the call since the last step, or the caller may have gone.
  if (c.closed_ || c.wait_.over()) co_return c.wait_.finish("the service has stopped");
  const asio::any_io_executor executor = co_await asio::this_coro::executor;
  const std::shared_ptr<Server> server = served ? c.server_.lock() : nullptr;  // handlers may need it
  std::exception_ptr thrown;
  c.stepping_ = true;
  try {
    if (!c.started_) {
      const LocalCalls::Inside inside(*c.calls_);
      if (!inside) co_return c.close();
      c.served_ = served;
      served ? server->enter(self) : c.calls_->enter(self);
      c.known_ = true;
      c.start(executor);
    }
    if (!c.call_->stream) {
      if (c.call_->pending.valid()) co_await std::move(c.call_->pending);
      c.answer();
      c.answered_ = true;
    } else {
      if (!c.writer_) c.writer_.emplace(c.out_, c.style_, *c.call_->stream, true, false);
      Turn turn;
      ItemStream::Step next = c.call_->stream->resume(executor);
      while (next == ItemStream::Step::waiting) {
        co_await c.call_->stream->take_pending();
        if (turn.over()) co_await let_others_run();
        next = c.call_->stream->resume(executor);
      }
      c.answered_ = next == ItemStream::Step::done;
      c.answered_ ? c.writer_->finish() : c.writer_->write_item(*c.call_->stream);
    }
  } catch (...) {
    thrown = std::current_exception();
  }
  c.stepping_ = false;
  if (thrown && !c.closed_) c.answer_error(thrown);
  if (c.answered_ || c.closed_) c.drop();
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

/// The caller's side. Knows nothing of the service that could be gone.
class LoopbackAnswer final : public Answer {
 public:
  LoopbackAnswer(std::weak_ptr<Server> server, std::shared_ptr<LocalCalls> calls, CallMessage message)
      : calls_(std::move(calls)),
        call_(std::make_shared<LoopbackCall>(std::move(server), calls_, std::move(message))) {}
  ~LoopbackAnswer() override { abandon(); }

  std::optional<json> next() override;
  Task<std::optional<json>> async_next() override;

  int status() const override { return call_->reader().status(); }
  bool streaming() const override { return call_->reader().streaming(); }
  std::string content_type() const override { return std::string(call_->reader().content_type()); }
  bool sent() const override { return call_->started(); }
  DescriptorQueue& descriptors() override { return call_->descriptors(); }

 private:
  class Waiting;

  bool read(std::optional<json>& value);
  void choose_place(const asio::any_io_executor* caller);
  void begin_step();
  void make_step();
  void wait_for_service();
  void run_handler();
  Task<void> async_make_step();
  void require_step();
  void abandon() noexcept;
  void forget() noexcept;

  const std::shared_ptr<LocalCalls> calls_;
  const std::shared_ptr<LoopbackCall> call_;
  bool begun_ = false;
  bool served_ = false;   ///< by the service; otherwise the handler runs here
  bool pending_ = false;  ///< a step has begun that may not have come to its end
  bool over_ = false;
  std::unique_ptr<asio::io_context> idle_loop_;  ///< of a thread that runs the handler itself
  asio::any_io_executor handlers_;               ///< where the handler runs, if not on the service's executor
  std::shared_ptr<PlaceKey> key_;                ///< to that
};

/// The time in which somebody waits for a step.
class LoopbackAnswer::Waiting {
 public:
  explicit Waiting(LoopbackAnswer& answer) : answer_(answer) {}
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;
  ~Waiting() {
    answer_.call_->wait().leave();
    answer_.calls_->end(answer_.call_.get());
    if (how == How::resumed) return;
    how == How::destroyed && !answer_.served_ ? answer_.forget() : answer_.abandon();
  }

  enum class How { destroyed, threw, resumed } how = How::destroyed;

 private:
  LoopbackAnswer& answer_;
};

/// False if a step has to be made first.
KETTLINGAR_INLINE bool LoopbackAnswer::read(std::optional<json>& value) {
  if (over_) return true;
  json item;
  try {
    switch (call_->read(item)) {
      case LoopbackCall::Outcome::value:
        value.emplace(std::move(item));
        return true;
      case LoopbackCall::Outcome::end:
        abandon();
        return true;
      case LoopbackCall::Outcome::more:
        break;
    }
  } catch (...) {
    abandon();
    throw;
  }
  return false;
}

KETTLINGAR_INLINE std::optional<json> LoopbackAnswer::next() {
  std::optional<json> value;
  while (!read(value)) make_step();
  return value;
}

KETTLINGAR_INLINE Task<std::optional<json>> LoopbackAnswer::async_next() {
  std::optional<json> value;
  while (!read(value)) co_await async_make_step();
  co_return value;
}

/// A call stays where its first step is made.
KETTLINGAR_INLINE void LoopbackAnswer::choose_place(const asio::any_io_executor* caller) {
  if (std::exchange(begun_, true)) return;
  served_ = calls_->serving();
  if (served_) return;
  if (caller == nullptr) idle_loop_ = std::make_unique<asio::io_context>(1);
  const auto place = std::make_shared<IdlePlace>(
      caller != nullptr ? *caller : asio::any_io_executor(idle_loop_->get_executor()), calls_);
  handlers_ = place->executor();
  key_ = std::make_shared<PlaceKey>(place);
}

KETTLINGAR_INLINE void LoopbackAnswer::begin_step() {
  const auto end = std::make_shared<StepEnd>(call_, key_);
  pending_ = true;
  const char* refused = calls_->begin(call_, served_, [&](const asio::any_io_executor& service) {
    const asio::any_io_executor& there = served_ ? service : handlers_;
    // Posted, for the step must not begin within this.
    post(there, [there, end, call = call_, served = served_] {
      end->begun();
      spawn(
          there, LoopbackCall::step(call, served), [end](const std::exception_ptr&) { end->made(); },
          call->cancellation());
    });
  });
  if (refused != nullptr) call_->wait().finish(refused);
}

/// After the wait for a step.
KETTLINGAR_INLINE void LoopbackAnswer::require_step() {
  const char* why = call_->wait().lost();
  pending_ = why != nullptr;
  if (why == nullptr) return;
  abandon();
  throw ConnectionError(why);
}

KETTLINGAR_INLINE void LoopbackAnswer::make_step() {
  choose_place(nullptr);
  served_ ? wait_for_service() : run_handler();
}

KETTLINGAR_INLINE void LoopbackAnswer::wait_for_service() {
  if (LocalCalls::Inside inside(*calls_); inside && calls_->runner.runs_here()) {
    abandon();
    throw std::logic_error(waits_for_itself);
  }
  {
    Waiting waiting(*this);
    call_->wait().begin();
    begin_step();
    call_->wait().wait();
    waiting.how = Waiting::How::resumed;
  }
  require_step();
}

KETTLINGAR_INLINE void LoopbackAnswer::run_handler() {
  const LocalCalls::Inside inside(*calls_);  // until nothing of the handler is left here
  {
    Waiting waiting(*this);
    const auto work = asio::make_work_guard(*idle_loop_);
    idle_loop_->restart();
    call_->wait().begin(idle_loop_.get());
    begin_step();
    while (!call_->wait().over()) idle_loop_->run_one();
    waiting.how = Waiting::How::resumed;
  }
  require_step();
}

KETTLINGAR_INLINE Task<void> LoopbackAnswer::async_make_step() {
  const asio::any_io_executor here = co_await asio::this_coro::executor;
  choose_place(&here);
  {
    Waiting waiting(*this);
    try {
      call_->wait().begin(here);
      begin_step();
      co_await call_->wait().async_wait();
      waiting.how = Waiting::How::resumed;
    } catch (...) {
      waiting.how = Waiting::How::threw;
      throw;
    }
  }
  require_step();
}

/// The caller wants nothing more of the call. What its handler holds goes where it ran.
KETTLINGAR_INLINE void LoopbackAnswer::abandon() noexcept {
  if (std::exchange(over_, true) || !begun_) return;
  const bool ended = !pending_ && call_->answered();
  const auto close = [call = call_] { call->close(); };
  try {
    if (served_ && !ended) calls_->post(close);
    if (!served_ && pending_ && !idle_loop_) {
      post(handlers_, close);
    } else if (!served_) {
      std::unique_lock turn(calls_->turn, std::defer_lock);
      if (!ended) turn.lock();
      call_->close();
      key_->close();
      idle_loop_.reset();
    }
  } catch (const std::bad_alloc&) {
    // Then a service that runs has it until it stops, or it goes with the last who knows of it.
  }
  key_.reset();
}

/// The waiting coroutine has been destroyed, with the io_context that would have run the handler. What that awaits
/// there is being destroyed, too, and must not be cancelled.
KETTLINGAR_COLD void LoopbackAnswer::forget() noexcept {
  over_ = true;
  key_->close();
  const std::lock_guard turn(calls_->turn);
  call_->close(false);
}

/// Calls methods of a service in this process, which sees the caller as one that knows the token. It need not run, and
/// may go before.
class LoopbackTransport final : public Transport {
 public:
  explicit LoopbackTransport(const Runner& runner) : server_(runner.shared_server()), calls_(runner.local_calls()) {}
  std::unique_ptr<Answer> start(CallMessage message) override {
    return std::make_unique<LoopbackAnswer>(server_, calls_, std::move(message));
  }

 private:
  std::weak_ptr<Server> server_;
  std::shared_ptr<LocalCalls> calls_;
};

}  // namespace detail

KETTLINGAR_INLINE Client Kitten::loopback() {
  return detail::ClientAccess::make(std::make_shared<detail::LoopbackTransport>(*runner_), server_->methods.all());
}

}  // namespace v0_1
}  // namespace kettlingar
