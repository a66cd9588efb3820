// SPDX-License-Identifier: MIT
// service/connection.ipp: one accepted connection: a state machine over its bytes, its requests and its deadlines.
#pragma once

#include "../base/version.hpp"  // defines ASIO_HAS_CO_AWAIT, so it must come before Asio

#include <sys/socket.h>

#include <algorithm>
#include <asio/cancellation_signal.hpp>
#include <cerrno>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "../call/file_io.ipp"
#include "../call/reply.ipp"
#include "../call/served_call.ipp"
#include "../os/passing.hpp"
#include "../os/poller.ipp"
#include "../wire/http_body.ipp"
#include "../wire/http_head.ipp"
#include "admission.ipp"
#include "server.ipp"
#include "socket_transport.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// The request that is being read and answered.
struct IncomingRequest {
  explicit IncomingRequest(const Limits& limits) : parser(limits), body(limits) {}

  RequestHeadParser parser;
  BodyReader body;
  std::size_t head_size = 0;  ///< 0 while the head is incomplete
  Clock::time_point start;
  Refusal refused;  ///< waits for the end of the body
  ReplyStyle style;
  std::uint64_t answer_began = 0;  ///< how much of all answers had been made by then
  ReceivedDescriptors descriptors;
  std::size_t held_descriptors = 0;  ///< of them, how many count for the server's limit
  bool dropped_descriptors = false;  ///< some have come that a stranger may not send
};

/// Where the answer goes if not to the caller: to a descriptor that came with the call, or to nobody, for somebody else
/// goes on with it.
struct AnswerTarget {
  Fd descriptor = {};
  bool is_socket = false;
  bool handing_over = false;              ///< another service is asked to go on
  bool passed_on = false;                 ///< somebody else answers, or has the connection
  bool writing = false;                   ///< bytes are on their way to a file
  asio::cancellation_signal cancel = {};  ///< of that
};

/// What is known of the reader of a stream.
struct StreamPace {
  Clock::time_point comment_due;                 ///< when its silence has become too long
  Clock::time_point stalled_since;               ///< since when its reader has taken nothing
  std::uint64_t stalled_at = ~std::uint64_t{0};  ///< after so many bytes of all
  std::size_t unsent = 0;                        ///< bytes that it keeps while its reader is not ready
  Clock::time_point unsent_since;
  std::size_t sent = 0;
  bool waits_for_room = false;  ///< all streams together keep too much
};

/// One accepted connection. Each time that its socket, a handler or a deadline has something for it, it goes on as far
/// as it can without waiting: parses what is there, runs handlers, collects the answers and sends them together.
///
/// It owns itself from start() to close(); what is under way then keeps it until it has ended. At every such end
/// close() may have been called: the peer has gone, a deadline has passed, or the service stops.
class Connection final : public std::enable_shared_from_this<Connection>, public CallBringer, Poller::Watcher {
 public:
  /// Serves `descriptor` until either side closes it.
  static void start(std::shared_ptr<Server> server, Fd descriptor, Peer peer);
  Connection(std::shared_ptr<Server> server, Fd descriptor, Peer peer);
  ~Connection() override;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// Waiting for a request, with no answer unsent.
  bool idle() const noexcept { return phase_ == Phase::idle; }
  /// Its peer has neither shown the token, nor come over the unix socket.
  bool stranger() const noexcept { return !admission_.known(); }
  /// At a request that is whole, or its answer.
  bool busy() const noexcept {
    return phase_ == Phase::handling || phase_ == Phase::streaming || phase_ == Phase::writing;
  }
  /// What its stream keeps for a reader who is not ready, and since when; nothing if it is ending anyway.
  std::size_t unsent() const noexcept { return phase_ == Phase::closed ? 0 : pace_.unsent; }
  Clock::time_point unsent_since() const noexcept { return pace_.unsent_since; }
  /// Its reader has had time enough.
  void end_slow_stream();
  /// Streams may go on: there is room for what they make.
  void room_found();
  /// Goes on as far as it can without waiting.
  void go_on();
  /// When expire() has to be called next.
  Clock::time_point deadline() const noexcept { return (std::min)(deadline_, drain_deadline_); }
  void expire(Clock::time_point now);
  /// The service stops: finish what is being done, but not for long.
  void drain();
  /// Ends everything at once.
  void close();

 private:
  friend class ConnectionList;
  friend class Server;

  enum class Phase { idle, head, body, handling, streaming, writing, slowed, lingering, closed };
  /// What the bytes that are there have led to.
  enum class Next { go_on, read, pause, close };

  // Its way; see below.
  void ready(unsigned what) override;
  void take_steps();
  bool step();
  Next advance() { return request_.head_size == 0 ? at_head() : at_body(); }
  Next at_head();
  Next at_body();
  Next incomplete(std::string_view what);
  bool receive();
  bool send_now();
  bool flush();
  bool go_on_writing();
  bool begin_end();
  bool linger();
  void pause();
  void go_on_after_pause();
  bool turn_over();
  void note_end_of_input();
  void enter(Phase phase, Clock::time_point deadline);
  void cut_off();
  void unwatch();
  void close_socket();
  const RequestHead& head() const noexcept { return request_.parser.head(); }

  // The request; see request_steps.ipp.
  void begin_body();
  void dispatch();
  std::string_view decode_body(std::string_view body, std::optional<ErrorReply>& reply);
  std::string_view decode_arguments(std::optional<ErrorReply>& reply);
  void refuse(const Refusal& refusal);
  void refuse_and_close(int status, std::string_view slug, std::string_view why);
  void log_request(int status, std::string_view slug, std::size_t bytes);
  void log_internal(const std::string& what) { server_->log_internal(admission_.ours(), what); }
  void end_request();

  // The call; see call_steps.ipp.
  void call_goes_on() override;
  std::shared_ptr<void> keep() override { return shared_from_this(); }
  bool passed_on() const override { return target_.passed_on; }
  bool serving() const override { return server_->running() || server_->stopping(); }
  bool call_step();
  bool after_progress(ServedCall::Progress progress);
  bool stream_progress(ServedCall::Progress progress);
  void end_call();
  void hold_unsent(std::size_t bytes);
  void break_silence_later();
  void break_silence(Clock::time_point now);

  // Descriptors that come and go, and answers that go elsewhere; see handover.ipp.
  void check_descriptors(std::size_t before);
  void drop_descriptors();
  void refuse_descriptors();
  void hold_descriptors(std::size_t count);
  void attach(std::vector<Fd> descriptors) override;
  bool answer_elsewhere(json& arguments);
  void watch_target();
  bool flush_to_file();
  void require_own_thread() const;
  bool gone() const override;
  HandOver prepare_handover() override;
  void released() override;
  Socket take_connection(std::string* received) override;
  int answer_descriptor() const { return target_.descriptor ? target_.descriptor.get() : transport_.descriptor(); }
  Fd duplicate_of_connection() const;

  static constexpr std::size_t flush_threshold = SocketTransport::large_buffer;
  /// Large room is given back when it has not been needed for so long.
  static constexpr std::chrono::milliseconds give_back_after{1000};

  const std::shared_ptr<Server> server_;
  const Peer peer_;
  SocketTransport transport_;
  IncomingRequest request_;
  Admission admission_;
  ServedCall call_;
  AnswerTarget target_;
  StreamPace pace_;
  std::shared_ptr<Connection> self_;      ///< until it is closed
  std::optional<Poller::Ticket> ticket_;  ///< of the socket that the answer goes to

  Phase phase_ = Phase::idle;
  Phase phase_before_ = Phase::idle;  ///< the one that goes on when all has been written
  Clock::time_point deadline_ = Clock::time_point::max();
  Clock::time_point deadline_before_ = Clock::time_point::max();
  Clock::time_point drain_deadline_ = Clock::time_point::max();
  std::size_t done_ = 0;  ///< bytes of this turn, or while it lingers
  Turn turn_;
  struct {
    bool timed_out = false;
    bool end_of_input = false;
    bool half_closed = false;     ///< the end of the input has been seen while a handler worked
    bool close_after = false;     ///< when everything has been sent
    bool asked_to_close = false;  ///< by the peer, who sends nothing more
    bool head_waits = false;      ///< for Limits::guess_pause
    bool answer_waits = false;    ///< for the same
  } is_;
  struct {
    Connection* next = nullptr;
    Connection* previous = nullptr;
    bool listed = false;
    bool present = false;
    bool was_stranger = false;
  } link_;  ///< of the list of the service
};

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
