// SPDX-License-Identifier: MIT
// client/loopback.ipp: calls of a service within its own process, without sockets, with the same results and
// exceptions.
#pragma once

#include "../base/version.hpp"  // defines ASIO_HAS_CO_AWAIT, so it must come before Asio

#include <asio/any_io_executor.hpp>
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
#include <vector>

#include "../call/served_call.ipp"
#include "../service/admission.ipp"
#include "../service/kitten.hpp"
#include "client.hpp"
#include "http_transport.ipp"
#include "response.ipp"
#include "step_wait.ipp"
#include "transport.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

class StepEnd;

/// One call and its answer, which is written and read as it would be on a wire. Owned by the Answer, by the step that
/// is being made, and by the service while it runs the call. Steps are made one after the other; between them the
/// caller reads what the last one has written.
class LoopbackCall final : public LocalCall, public CallBringer, public std::enable_shared_from_this<LoopbackCall> {
 public:
  LoopbackCall(std::weak_ptr<Server> server, std::shared_ptr<LocalCalls> calls, CallMessage message)
      : server_(std::move(server)), calls_(std::move(calls)), message_(std::move(message)), reader_(limits_) {}

  /// Runs the method until there is something to read, which `end` is told then. On the executor that handlers are to
  /// run on. `served`: by the service, not by the caller.
  void step(const std::shared_ptr<StepEnd>& end, bool served, const asio::any_io_executor& executor);

  bool busy() const override { return stepping_; }
  void close() override { close(true); }
  void close(bool cancel);
  void lose(const char* why) override { wait_.finish(why); }

  // For the caller:
  StepWait& wait() noexcept { return wait_; }
  /// What has been read: the result or an item, nothing at the end, or nothing yet.
  enum class Outcome { value, end, more };
  Outcome read(json& value);
  /// Nothing of the step is left, and it has not come to its end.
  void step_lost();
  const ResponseReader& reader() const noexcept { return reader_; }
  DescriptorQueue& descriptors() noexcept { return descriptors_; }
  bool started() const noexcept { return started_; }
  bool answered() const noexcept { return answered_; }

 private:
  ServedCall::Progress start();
  void go_on(ServedCall::Progress progress, StepEnd& end);
  void note_internal();
  void leave();
  void drop();

  void call_goes_on() override;
  bool passed_on() const override { return false; }
  void attach(std::vector<Fd> descriptors) override { descriptors_ = DescriptorQueue(std::move(descriptors)); }
  bool serving() const override;
  std::shared_ptr<void> keep() override;
  bool gone() const override { return false; }  // close() tells the request
  HandOver prepare_handover() override { throw Error(501, "a call within the process cannot be passed on"); }
  void released() override {}
  Socket take_connection(std::string*) override { throw Error(501, "a call within the process has no connection"); }

  const std::weak_ptr<Server> server_;
  const std::shared_ptr<LocalCalls> calls_;
  StepWait wait_;
  CallMessage message_;
  // Of the service, as they were when it began:
  asio::any_io_executor executor_;
  asio::any_io_executor host_;
  Limits service_limits_;

  RequestHead head_;
  std::string path_;
  std::string body_;
  Peer peer_{"loopback", false, std::nullopt};
  ReplyStyle style_;
  std::optional<Admission> admission_;
  std::optional<ServedCall> call_;
  AnswerBytes out_;
  std::weak_ptr<StepEnd> end_;  ///< of the step that is being made
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

/// Ends the wait for a step when that has come to something, or when nothing of it is left: then the loop that ran the
/// handler has gone, or the call was closed.
class StepEnd {
 public:
  StepEnd(std::shared_ptr<LoopbackCall> call, std::shared_ptr<PlaceKey> key)
      : call_(std::move(call)), key_(std::move(key)) {}
  StepEnd(const StepEnd&) = delete;
  StepEnd& operator=(const StepEnd&) = delete;
  ~StepEnd() {
    if (made_) return;  // by now the wait may be that for the next step
    if (begun_) call_->step_lost();
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

KETTLINGAR_INLINE std::shared_ptr<void> LoopbackCall::keep() { return end_.lock(); }

KETTLINGAR_INLINE bool LoopbackCall::serving() const {
  const std::shared_ptr<Server> server = served_ ? server_.lock() : nullptr;
  return server && (server->running() || server->stopping());
}

/// The request that would have come over a connection, and what becomes of it.
KETTLINGAR_INLINE ServedCall::Progress LoopbackCall::start() {
  const std::shared_ptr<Server> server = server_.lock();
  started_ = true;
  service_limits_ = server->limits;
  if (served_) host_ = server->host;
  style_.format = message_.use_msgpack.value_or(true) ? Format::msgpack : Format::json;
  head_.method = "POST";
  path_ = (server->prefix().empty() ? "/" : "/" + server->prefix() + "/") + message_.method;
  head_.path = head_.target = path_;
  admission_.emplace(*server, peer_, *this, head_, -1);
  admission_->trust_caller();
  Refusal refused = admission_->decide();
  if (refused.status != 0) {
    append_error(out_.collected, style_, admission_->reply_to(refused));
    return ServedCall::Progress::ended;
  }
  call_.emplace(*this, CallPlace{executor_, host_, service_limits_}, style_);
  call_->begin(*admission_->method(), head_, peer_, executor_);
  Request& request = call_->request();
  const Route& route = admission_->route();
  ConnectionAccess::route(request, route.method, route.path, route.authenticated);
  try {
    request.descriptors() = std::move(message_.descriptors);
    if (request.descriptors().size() > service_limits_.descriptors)
      throw Error(400, too_many_descriptors(service_limits_, "can come with a request"));
    // Through the bytes, so that nothing arrives that could not be sent.
    CodecError error = message_.arguments.append(style_.format, body_);
    if (!error) error = call_->take_arguments(body_, style_.format, !admission_->routed());
    if (error) throw InvalidArgument(std::string(error.why));
    if (admission_->routed()) ConnectionAccess::arguments(request).update(admission_->routed()->arguments);
  } catch (...) {
    return call_->fail(std::current_exception(), out_);
  }
  return call_->run(out_);
}

KETTLINGAR_INLINE void LoopbackCall::step(const std::shared_ptr<StepEnd>& end, bool served,
                                          const asio::any_io_executor& executor) {
  end->begun();
  // The service may have ended the call since the last step, or the caller may have gone.
  if (closed_ || wait_.over()) {
    wait_.finish("the service has stopped");
    return end->made();
  }
  end_ = end;
  stepping_ = true;
  ServedCall::Progress progress = ServedCall::Progress::ended;
  try {
    if (started_) {
      progress = call_->proceed(out_);
    } else {
      const LocalCalls::Inside inside(*calls_);
      if (!inside) return close();
      served_ = served;
      executor_ = executor;
      served ? server_.lock()->enter(shared_from_this()) : calls_->enter(shared_from_this());
      known_ = true;
      progress = start();
    }
  } catch (...) {
    append_error(out_.collected, style_, error_reply(std::current_exception(), true));
  }
  go_on(progress, *end);
}

KETTLINGAR_INLINE void LoopbackCall::call_goes_on() {
  const std::shared_ptr<StepEnd> end = end_.lock();
  // What the handler has is for step_lost(): the host may be at work on it.
  if (closed_) return leave();
  go_on(call_->proceed(out_), *end);
}

/// Until there is something to read.
KETTLINGAR_INLINE void LoopbackCall::go_on(ServedCall::Progress progress, StepEnd& end) {
  while (progress == ServedCall::Progress::item && out_.empty() && !closed_) progress = call_->proceed(out_);
  if (progress == ServedCall::Progress::waiting) return;
  answered_ = progress == ServedCall::Progress::ended;
  stepping_ = false;
  if (answered_) note_internal();
  if (answered_ || closed_) drop();
  end.made();
}

KETTLINGAR_INLINE void LoopbackCall::note_internal() {
  const std::shared_ptr<Server> server = served_ ? server_.lock() : nullptr;
  if (server && call_ && !call_->outcome().internal.empty())
    server->log_internal(true, message_.method + ": " + log_escaped(call_->outcome().internal));
}

/// Nobody has to wait for the call any more.
KETTLINGAR_INLINE void LoopbackCall::leave() {
  if (!std::exchange(known_, false)) return;
  if (!served_) return calls_->leave(this);
  if (const std::shared_ptr<Server> server = server_.lock()) server->leave(*this);
}

/// What the handler holds goes where it ran.
KETTLINGAR_INLINE void LoopbackCall::drop() {
  if (call_) call_->end();
  call_.reset();
  admission_.reset();
  leave();
}

KETTLINGAR_INLINE void LoopbackCall::step_lost() {
  std::unique_lock turn(calls_->turn, std::defer_lock);
  if (!served_) turn.lock();
  stepping_ = false;
  drop();
}

KETTLINGAR_INLINE void LoopbackCall::close(bool cancel) {
  if (answered_ || std::exchange(closed_, true)) return;
  const auto self = shared_from_this();
  wait_.finish("the service has stopped");
  if (call_) cancel ? call_->cancel() : call_->tell_handler();
  if (!stepping_) drop();
}

KETTLINGAR_INLINE LoopbackCall::Outcome LoopbackCall::read(json& value) {
  char* const room = reader_.prepare(out_.size());
  std::memcpy(room, out_.collected.data(), out_.collected.size());
  std::memcpy(room + out_.collected.size(), out_.large.data(), out_.large.size());
  reader_.received(out_.size());
  out_.collected.clear();
  out_.large.clear();
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
        method_(message.method),
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
  const std::string method_;
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
  } catch (const UnknownMethod& error) {
    abandon();
    throw_unknown(error, method_);
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
    post(there, [there, end, call = call_, served = served_] { call->step(end, served, there); });
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
