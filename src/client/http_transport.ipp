// SPDX-License-Identifier: MIT
// client/http_transport.ipp: calls over HTTP: from a message to its answer, in one step machine with two drivers.
#pragma once

#include "../base/version.hpp"  // defines ASIO_HAS_CO_AWAIT, so it must come before Asio

#include <poll.h>

#include <algorithm>
#include <asio/any_io_executor.hpp>
#include <asio/error.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/system_error.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "../base/log.hpp"
#include "../call/blocking_work.ipp"
#include "../call/loop.ipp"
#include "../service/runner.ipp"
#include "../wire/http_writer.ipp"
#include "connector.ipp"
#include "endpoint.ipp"
#include "exchange.ipp"
#include "transport.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// How often a call follows a service that is restarted again and again.
inline constexpr int most_moves = 20;

/// Between two tries to get into a full backlog.
inline constexpr std::chrono::milliseconds backlog_pause{5};

/// What a coroutine that waits shares with the timer that limits the wait.
struct TimedWait {
  TimedWait(const asio::any_io_executor& executor, int fd) : descriptor(executor, fd), timer(executor) {}

  asio::posix::stream_descriptor descriptor;
  asio::steady_timer timer;
  bool over = false;
};

/// Ends a wait on every path; the descriptor stays with its owner.
class WaitScope {
 public:
  explicit WaitScope(std::shared_ptr<TimedWait> wait) : wait_(std::move(wait)) {}
  WaitScope(const WaitScope&) = delete;
  WaitScope& operator=(const WaitScope&) = delete;
  ~WaitScope() {
    wait_->over = true;
    wait_->timer.cancel();
    wait_->descriptor.release();
  }

 private:
  std::shared_ptr<TimedWait> wait_;
};

/// wait_for() for coroutines: false when the time is up. Throws asio::system_error when it is cancelled. If several
/// threads run the executor, it has to be a strand.
Task<bool> async_wait_for(int fd, bool for_writing, Deadline deadline);
KETTLINGAR_INLINE Task<bool> async_wait_for(int fd, bool for_writing, Deadline deadline) {
  using Wait = asio::posix::stream_descriptor::wait_type;
  const asio::any_io_executor executor = co_await asio::this_coro::executor;
  const auto wait = std::make_shared<TimedWait>(executor, fd);
  const WaitScope scope(wait);
  if (deadline != no_deadline) {
    wait->timer.expires_at(deadline);
    when_expired(wait->timer, [wait](const asio::error_code& error) {
      if (!error && !wait->over) wait->descriptor.cancel();
    });
  }
  const Wait what =
      for_writing ? asio::posix::stream_descriptor::wait_write : asio::posix::stream_descriptor::wait_read;
  asio::error_code error;
  co_await wait->descriptor.async_wait(what, asio::redirect_error(asio::use_awaitable, error));
  if (!error) co_return true;
  if (error == asio::error::operation_aborted && std::chrono::steady_clock::now() >= deadline) co_return false;
  throw asio::system_error(error);
}

/// Connects, sends, reads, and tries again where that is safe.
class HttpAnswer final : public Answer {
 public:
  HttpAnswer(std::shared_ptr<Endpoint> endpoint, CallMessage message)
      : endpoint_(std::move(endpoint)),
        message_(std::move(message)),
        with_descriptors_(!message_.descriptors.empty()) {}

  std::optional<json> next() override;
  Task<std::optional<json>> async_next() override;
  int status() const override { return exchange_ ? exchange_->answer().status() : 0; }
  bool streaming() const override { return exchange_ && exchange_->answer().streaming(); }
  std::string content_type() const override { return exchange_ ? exchange_->answer().content_type() : std::string(); }
  bool sent() const override { return exchange_ && exchange_->sent_any(); }
  DescriptorQueue& descriptors() override { return exchange_ ? exchange_->descriptors() : none_; }

 private:
  enum class Stage { start, starting, undoing, connecting, talking, over };
  using Step = CallStep;

  Step advance();
  Step step();
  Step talk();
  bool again_as_json();
  bool again_elsewhere();
  void connect();
  Step connecting();
  bool start_service(const NotRunning& why);
  void require_another_thread() const;
  void talk_over(Channel channel, bool reused);
  std::string request(bool msgpack) const;
  bool wants_msgpack() const;
  void finish();
  void abandon() noexcept;
  int socket() const noexcept { return stage_ == Stage::connecting ? connector_->socket() : exchange_->socket(); }
  /// Of a call that has not come to its request; without one the exchange knows better.
  Deadline call_deadline() const { return deadline_from(began_, endpoint_->options().timeouts.total); }
  Deadline deadline() const {
    if (stage_ == Stage::talking) return exchange_->deadline();
    return stage_ == Stage::connecting ? (std::min)(connector_->deadline(), call_deadline()) : call_deadline();
  }
  [[noreturn]] void expire();

  std::shared_ptr<Endpoint> endpoint_;
  CallMessage message_;
  bool with_descriptors_;
  Deadline began_ = no_deadline;  ///< once it has
  Stage stage_ = Stage::start;
  bool blocking_ = false;                 ///< the caller's thread waits for the answer
  std::optional<Starter> starter_;        ///< of a service that did not run, until it is found
  std::string unreachable_;               ///< why it is not, while that is undone
  Deadline started_until_ = no_deadline;  ///< once it has been started: when it has to be found
  bool one_request_ = true;               ///< the service is asked to close the connection, as one in Python does
  bool reused_ = false;                   ///< the connection has had requests before
  int moves_ = 0;                         ///< how often the service was elsewhere once a connection was there
  bool fresh_only_ = false;               ///< a kept connection has failed already
  bool json_instead_ = false;
  bool refused_ = false;  ///< by a service that was not the one of the url file any more
  std::shared_ptr<Place> place_;
  std::optional<Connector> connector_;
  std::optional<Exchange> exchange_;
  Turn turn_;  ///< of a coroutine for which there is always another item
  json item_;
  CloserPointer closer_ = closing_here();
  DescriptorQueue none_;
};

inline constexpr const char* waits_for_itself =
    "a blocking call to the service that this thread runs would wait for itself; co_await async_call";

/// Calls one service over its sockets.
class HttpTransport final : public Transport {
 public:
  /// Touches nothing: the service is looked for when it is called.
  HttpTransport(const Settings& settings, const ClientOptions& options, std::shared_ptr<const StartPlan> plan = {})
      : endpoint_(std::make_shared<Endpoint>(settings, options, std::move(plan))) {}

  std::unique_ptr<Answer> start(CallMessage message) override {
    return std::make_unique<HttpAnswer>(endpoint_, std::move(message));
  }

 private:
  std::shared_ptr<Endpoint> endpoint_;
};

KETTLINGAR_INLINE bool HttpAnswer::wants_msgpack() const {
  if (message_.use_msgpack) return *message_.use_msgpack;
  return endpoint_->options().use_msgpack && !json_instead_ && !place_->json_only;
}

KETTLINGAR_INLINE std::string HttpAnswer::request(bool msgpack) const {
  std::string body;
  if (const CodecError error = message_.arguments.append(msgpack ? Format::msgpack : Format::json, body))
    throw InvalidArgument("the arguments cannot be encoded: " + std::string(error.why));
  const std::string target = place_->address.path + "/" + message_.method;
  RequestHeadOptions head;
  head.target = target;
  head.content_type = msgpack ? "application/x-msgpack" : "application/json";
  head.content_length = body.size();
  if (one_request_) {
    head.connection = ConnectionHeader::close;
    head.bare_lf = true;  // Python services cut the bodies of others too early
  } else {
    head.host = "localhost";
  }
  const HeaderField line_ends{reply_line_ends, "crlf"};
  if (message_.crlf_answer) head.extra = {&line_ends, 1};
  std::string bytes;
  bytes.reserve(target.size() + body.size() + 256);  // the rest of the head is shorter
  if (message_.method.find_first_of("/?") != std::string::npos || !append_request_head(bytes, head))
    throw InvalidArgument("'" + log_escaped(message_.method) + "' cannot be the name of a method");
  bytes += body;
  return bytes;
}

KETTLINGAR_INLINE void HttpAnswer::talk_over(Channel channel, bool reused) {
  constexpr std::size_t most_with_descriptors = 30'000;
  if (with_descriptors_ && !channel.over_unix_socket) throw InvalidArgument("file descriptors cannot be sent over TCP");
  one_request_ = !place_->ours;
  std::string bytes = request(wants_msgpack());
  // Python services only look at the first part that the kernel delivers.
  if (with_descriptors_ && one_request_ && bytes.size() >= most_with_descriptors)
    throw InvalidArgument("a call with file descriptors must be shorter than " + std::to_string(most_with_descriptors) +
                          " bytes");
  const ClientOptions& options = endpoint_->options();
  exchange_.emplace(std::move(channel), std::move(bytes), std::move(message_.descriptors),
                    Exchange::Terms{options.limits, options.timeouts, began_, message_.one_result, closer_});
  connector_.reset();
  starter_.reset();
  reused_ = reused;
  stage_ = Stage::talking;
}

/// Over a kept connection, or a new one.
KETTLINGAR_COLD void HttpAnswer::connect() {
  if (began_ == no_deadline) began_ = std::chrono::steady_clock::now();
  if (!fresh_only_) {
    if (auto kept = endpoint_->take_kept(with_descriptors_)) {
      place_ = std::move(kept->place);
      require_another_thread();
      return talk_over(std::move(kept->channel), true);
    }
  }
  place_ = endpoint_->look_up();
  require_another_thread();
  connector_.emplace(endpoint_->files(), place_->address, endpoint_->options());
  stage_ = Stage::connecting;
}

KETTLINGAR_COLD void HttpAnswer::require_another_thread() const {
  const ServiceAddress& address = place_->address;
  if (blocking_ && Runner::runs_on_this_thread(address.host, address.port, address.path, address.socket))
    throw std::logic_error(waits_for_itself);
}

/// After a failure to connect, before anything has been sent: false if that is the end.
KETTLINGAR_COLD bool HttpAnswer::start_service(const NotRunning& why) {
  const StartPlan* plan = endpoint_->plan();
  const bool connecting = stage_ == Stage::start || stage_ == Stage::connecting;
  if (plan == nullptr || !connecting || why.state() == ServiceState::foreign) return false;
  connector_.reset();
  const Deadline now = std::chrono::steady_clock::now();
  if (started_until_ == no_deadline) {
    starter_.emplace(*plan);
    started_until_ = now;  // and later, once it has ended
    stage_ = Stage::starting;
    return true;
  }
  unreachable_ = plan->name + " was started, but cannot be reached: " + why.what();
  if (now >= started_until_ && why.state() != ServiceState::not_running) throw NotRunning(unreachable_, why.state());
  stage_ = now < started_until_ ? Stage::start : Stage::undoing;
  return true;
}

/// "Not in this encoding": nothing has been run, and JSON is always understood.
KETTLINGAR_COLD bool HttpAnswer::again_as_json() {
  if (!exchange_->answer().wants_json() || with_descriptors_) return false;
  if (message_.use_msgpack || !wants_msgpack()) return false;
  json_instead_ = true;
  place_->json_only = true;
  return true;
}

/// The token is not that of who listens there now: nothing has been run.
KETTLINGAR_COLD bool HttpAnswer::again_elsewhere() {
  if (!exchange_->answer().has_head() || exchange_->answer().status() != 403 || endpoint_->is_at(place_)) return false;
  return !with_descriptors_ && !std::exchange(refused_, true);
}

/// What an answer leaves behind: knowledge of the service, and a connection.
KETTLINGAR_INLINE void HttpAnswer::finish() {
  if (exchange_->answer().has_length()) place_->ours = true;
  if (one_request_) return;
  if (auto channel = exchange_->take_reusable()) endpoint_->keep({*std::move(channel), place_});
}

KETTLINGAR_INLINE HttpAnswer::Step HttpAnswer::talk() {
  try {
    const Step reached = exchange_->step();
    if (reached == Step::item) item_ = exchange_->take();
    if (reached == Step::done || (reached == Step::item && !streaming())) {
      finish();
      stage_ = Stage::over;
    }
    return reached;
  } catch (const LostConnection&) {
    if (!reused_) throw;
    message_.descriptors = exchange_->take_unsent_descriptors();
    fresh_only_ = true;
    stage_ = Stage::start;
  } catch (const Error&) {
    finish();
    if (!again_as_json() && !again_elsewhere()) throw;
    stage_ = Stage::start;
  }
  return step();
}

KETTLINGAR_INLINE HttpAnswer::Step HttpAnswer::step() {
  if (stage_ == Stage::starting) {
    if (!starter_->done()) return Step::pause;
    started_until_ = std::chrono::steady_clock::now() + endpoint_->plan()->patience;
    stage_ = Stage::start;
  }
  if (stage_ == Stage::undoing) {
    if (!starter_->undone()) return Step::pause;
    throw NotRunning(unreachable_ + starter_->stopped());
  }
  if (stage_ == Stage::start) connect();
  if (stage_ == Stage::connecting) return connecting();
  if (stage_ == Stage::over) return Step::done;
  return talk();
}

KETTLINGAR_COLD HttpAnswer::Step HttpAnswer::connecting() {
  try {
    const Step reached = connector_->step();
    if (reached != Step::done) return reached;
  } catch (const std::runtime_error&) {
    // Nothing has been sent so far: a service that was restarted just now is looked for again.
    if (endpoint_->is_at(place_)) throw;
  }
  if (!endpoint_->is_at(place_)) {
    if (++moves_ > most_moves) throw endpoint_->files().not_running();
    stage_ = Stage::start;
    return step();
  }
  if (!connector_->connected()) connector_->refuse();
  talk_over(connector_->take(), false);
  return talk();
}

/// What has failed stays failed.
KETTLINGAR_INLINE HttpAnswer::Step HttpAnswer::advance() {
  try {
    const Step next = step();
    if (next == Step::done) stage_ = Stage::over;
    return next;
  } catch (const ConnectionError&) {
    abandon();
    if (exchange_ && exchange_->answer().last_words()) throw_reply(500, *exchange_->answer().last_words());
    throw;
  } catch (const UnknownMethod& error) {
    abandon();
    throw_unknown(error, message_.method);
  } catch (const UntrustedFile& error) {
    abandon();
    throw UntrustedService(error.what());
  } catch (const StartError& error) {
    abandon();
    throw ConnectionError(error.what());
  } catch (const NotRunning& error) {
    try {
      if (start_service(error)) return Step::pause;
    } catch (...) {
      abandon();
      throw;
    }
    abandon();
    throw;
  } catch (...) {
    abandon();
    throw;
  }
}

KETTLINGAR_COLD void HttpAnswer::abandon() noexcept {
  stage_ = Stage::over;
  connector_.reset();
  if (exchange_) exchange_->close();
}

KETTLINGAR_COLD void HttpAnswer::expire() {
  const bool talking = stage_ == Stage::talking;
  const bool connecting = stage_ == Stage::connecting;
  stage_ = Stage::over;
  if (!talking && (!connecting || call_deadline() <= connector_->deadline())) {
    throw ConnectionError("timeout 'total': no connection within " +
                          std::to_string(endpoint_->options().timeouts.total.count()) + " ms");
  }
  if (connecting) connector_->expire();
  exchange_->close();
  exchange_->expire();
}

KETTLINGAR_INLINE std::optional<json> HttpAnswer::next() {
  blocking_ = true;
  if (exchange_) exchange_->ask();
  for (;;) {
    const Step step = advance();
    if (step == Step::item) return std::optional<json>(std::in_place, std::move(item_));
    if (step == Step::done) return std::nullopt;
    if (step == Step::pause) {
      if (std::chrono::steady_clock::now() >= deadline()) expire();
      ::poll(nullptr, 0, static_cast<int>(backlog_pause.count()));
    } else if (!wait_for(socket(), step == Step::want_read ? POLLIN : POLLOUT, deadline())) {
      expire();
    }
  }
}

KETTLINGAR_INLINE Task<std::optional<json>> HttpAnswer::async_next() {
  if (exchange_) {
    exchange_->ask();
  } else {
    const asio::any_io_executor executor = co_await asio::this_coro::executor;
    closer_ = CloserPointer(&blocking_threads(executor));
  }
  try {
    if (exchange_ && turn_.over()) co_await let_others_run();
    for (;;) {
      const Step step = advance();
      if (step == Step::item) co_return std::move(item_);
      if (step == Step::done) co_return std::nullopt;
      bool in_time = true;
      if (step == Step::pause) {
        in_time = std::chrono::steady_clock::now() < deadline();
        if (in_time) co_await sleep_for(backlog_pause);
      } else {
        in_time = co_await async_wait_for(socket(), step == Step::want_write, deadline());
      }
      if (!in_time) expire();
    }
  } catch (...) {
    abandon();
    throw;
  }
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
