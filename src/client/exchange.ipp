// SPDX-License-Identifier: MIT
// client/exchange.ipp: one request and its answer over one connection, step by step; never waits itself.
#pragma once

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/errors.hpp"
#include "../base/limits.hpp"
#include "../base/version.hpp"
#include "../call/transfer.hpp"
#include "../os/passing.hpp"
#include "../os/socket.ipp"
#include "connect.ipp"
#include "response.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// The connection had ended before a byte of the request was sent.
class LostConnection : public ConnectionError {
 public:
  using ConnectionError::ConnectionError;
};

/// What a step of a call, or of a connection on its way, has come to. `pause`: to be asked again in a few milliseconds.
enum class CallStep { want_read, want_write, pause, item, done };

/// A connection that is ready for a request. It belongs to the process in which it was made: a forked child lets go of
/// its copy, and does nothing to the connection itself.
struct Channel {
  Channel() = default;
  Channel(Fd connected, bool local) noexcept : socket(std::move(connected)), over_unix_socket(local) {}
  Channel(Channel&&) = default;
  Channel& operator=(Channel&& other) noexcept {
    std::swap(socket, other.socket);
    std::swap(over_unix_socket, other.over_unix_socket);
    std::swap(process, other.process);
    return *this;
  }
  ~Channel() { close(closing_here()); }

  /// `closer` gets descriptors that wait in it unread. With `reset` the peer is told that nobody reads any more.
  void close(const CloserPointer& closer, bool reset = false) noexcept;

  Fd socket;  ///< non-blocking
  bool over_unix_socket = false;
  pid_t process = ::getpid();
};

/// The step machine of one call, once there is a connection. Whoever drives it waits for what it wants.
class Exchange {
 public:
  /// What a call allows its answer.
  struct Terms {
    const Limits& limits;  ///< both outlive the exchange
    const Timeouts& timeouts;
    Deadline began;                         ///< of the call, which may have been tried before
    bool one_result;                        ///< `total` and `idle` hold for an answer that streams as for any other
    CloserPointer closer = closing_here();  ///< of descriptors that come
  };

  /// Nothing is sent yet. `descriptors` go with the first byte, over unix sockets only.
  Exchange(Channel channel, std::string request, std::vector<Fd> descriptors, const Terms& terms);
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;
  ~Exchange() { close(); }

  using Step = CallStep;
  /// Goes on as far as the socket allows, but for the first look for an answer: it will not be there yet. Throws
  /// LostConnection, ConnectionError for answers that are none or break off, and the Error that the service answered
  /// with.
  Step step();
  /// After Step::item.
  json take() { return reader_.take(); }
  /// The next item is wanted from now on: `stream_idle` counts from here.
  void ask() { asked_ = std::chrono::steady_clock::now(); }

  /// After Step::want_read or want_write.
  int socket() const noexcept { return channel_.socket.get(); }
  Deadline deadline() const { return limit().when; }
  /// To be called at the deadline. Throws ConnectionError with the name of what ran out.
  [[noreturn]] void expire() const;

  const ResponseReader& answer() const noexcept { return reader_; }
  /// True if a byte has left.
  bool sent_any() const noexcept { return sent_ > 0; }
  DescriptorQueue& descriptors() noexcept { return came_; }
  /// Those of the request, while none has been sent.
  std::vector<Fd> take_unsent_descriptors() noexcept { return std::move(descriptors_); }
  /// The connection, if it can take another request; otherwise it stays here.
  std::optional<Channel> take_reusable();
  /// Before the end of the answer it tells the service that nobody waits for it any more.
  void close() noexcept;

 private:
  struct TimeLimit {
    Deadline when = no_deadline;
    const char* what = "";
    std::chrono::milliseconds length{};

    void consider(Deadline from, std::chrono::milliseconds patience, const char* name) {
      const Deadline then = deadline_from(from, patience);
      if (then < when) *this = {then, name, patience};
    }
  };

  bool sending() const noexcept { return sent_ < request_.size() && !refused_; }
  bool send();
  bool receive();
  void keep(ReceivedDescriptors came);
  TimeLimit limit() const;

  Channel channel_;
  std::string request_;
  std::size_t sent_ = 0;
  bool refused_ = false;  ///< the service does not read any further
  std::vector<Fd> descriptors_;
  const Terms terms_;
  ResponseReader reader_;
  DescriptorQueue came_;
  Deadline progress_ = std::chrono::steady_clock::now();  ///< last byte that moved
  Deadline all_sent_ = progress_;
  Deadline asked_ = progress_;
  Deadline item_began_ = progress_;  ///< of a stream: the first byte of what is not complete yet
};

KETTLINGAR_INLINE void Channel::close(const CloserPointer& closer, bool reset) noexcept {
  if (!socket) return;
  if (process != ::getpid()) return socket.reset();
  if (reset && !over_unix_socket) {
    // A mere end of a TCP connection might be that of our half, with somebody still reading.
    const linger at_once{1, 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  }
  close_connection(std::move(socket), closer);
}

KETTLINGAR_INLINE Exchange::Exchange(Channel channel, std::string request, std::vector<Fd> descriptors,
                                     const Terms& terms)
    : channel_(std::move(channel)),
      request_(std::move(request)),
      descriptors_(std::move(descriptors)),
      terms_(terms),
      reader_(terms.limits) {}

KETTLINGAR_INLINE Exchange::Step Exchange::step() {
  for (;;) {
    const bool sends = sending();
    if (sends && !send()) return Step::want_write;
    if (sends && !refused_) return Step::want_read;
    switch (reader_.advance()) {
      case ResponseReader::Step::head:
        item_began_ = progress_;
        continue;
      case ResponseReader::Step::item:
        item_began_ = progress_;
        return Step::item;
      case ResponseReader::Step::done:
        return Step::done;
      case ResponseReader::Step::need_more:
        break;
    }
    // A peer that never pauses is never waited for.
    if (progress_ >= deadline()) expire();
    if (!receive()) return Step::want_read;
  }
}

/// False if that would wait.
KETTLINGAR_INLINE bool Exchange::send() {
  while (sending()) {
    const std::string_view rest = std::string_view(request_).substr(sent_);
    const bool first = sent_ == 0 && !descriptors_.empty();
    const ssize_t n = first ? send_with_descriptors(channel_.socket.get(), rest, descriptors_)
                            : send_some(channel_.socket.get(), rest);
    if (n > 0) {
      sent_ += static_cast<std::size_t>(n);
      progress_ = std::chrono::steady_clock::now();
    } else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      return false;
    } else if (errno != EPIPE && errno != ECONNRESET) {
      throw ConnectionError((first ? "cannot send the descriptors: " : "cannot send: ") +
                            std::string(std::strerror(errno)));
    } else {
      refused_ = true;  // an early answer may be waiting to be read
    }
  }
  all_sent_ = std::chrono::steady_clock::now();
  if (sent_any()) descriptors_.clear();
  return true;
}

/// False if that would wait.
KETTLINGAR_INLINE bool Exchange::receive() {
  const std::size_t block = reader_.any_input() ? 64 * 1024 : 2 * 1024;  // most answers are small
  const bool begins = reader_.between_items();
  char* room = reader_.prepare(block);
  ssize_t n = 0;
  if (channel_.over_unix_socket) {
    ReceivedDescriptors came;
    n = receive_with_descriptors(channel_.socket.get(), room, block, most_descriptors, came, terms_.closer);
    const int error = errno;
    keep(std::move(came));
    errno = error;
  } else {
    n = retry_interrupted([&] { return ::recv(channel_.socket.get(), room, block, MSG_DONTWAIT); });
  }
  if (n > 0) {
    reader_.received(static_cast<std::size_t>(n));
    progress_ = std::chrono::steady_clock::now();
    if (begins) item_began_ = progress_;
    return true;
  }
  if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return false;
  // Only what has not left is certain not to have been read, whatever the connection ended with.
  if (!reader_.any_input() && !sent_any()) throw LostConnection("the service closed the connection without an answer");
  reader_.end_of_input();
  return true;
}

KETTLINGAR_INLINE void Exchange::keep(ReceivedDescriptors came) {
  if (came.truncated) throw ConnectionError("descriptors of the answer were lost: this process has too many open");
  if (came.owned.empty()) return;
  std::vector<Fd> all = came_.take_all();
  for (Fd& fd : came.owned) all.push_back(std::move(fd));
  if (all.size() > most_descriptors) throw ConnectionError("the answer has too many descriptors");
  came_ = DescriptorQueue(std::move(all));
}

KETTLINGAR_INLINE Exchange::TimeLimit Exchange::limit() const {
  const Timeouts& timeouts = terms_.timeouts;
  TimeLimit first;
  const bool stream = reader_.has_head() && reader_.streaming() && !terms_.one_result;
  if (stream) first.consider(asked_, timeouts.stream_idle, "stream_idle': no further item");
  if (stream && reader_.between_items()) return first;
  if (sending()) {
    first.consider(progress_, timeouts.idle, "idle': the service does not read");
  } else if (!reader_.has_head()) {
    first.consider(all_sent_, timeouts.first_byte, "first_byte': no answer");
  } else {
    // While nobody asks for an item, nobody reads what comes of it.
    first.consider((std::max)(progress_, asked_), timeouts.idle, "idle': nothing more of the answer");
  }
  first.consider(stream ? (std::max)(item_began_, asked_) : terms_.began, timeouts.total,
                 "total': the answer is not complete");
  return first;
}

KETTLINGAR_INLINE void Exchange::expire() const {
  const TimeLimit over = limit();
  throw ConnectionError("timeout '" + std::string(over.what) + " within " + std::to_string(over.length.count()) +
                        " ms");
}

KETTLINGAR_INLINE std::optional<Channel> Exchange::take_reusable() {
  if (!reader_.reusable() || sent_ < request_.size()) return std::nullopt;
  return std::move(channel_);
}

KETTLINGAR_INLINE void Exchange::close() noexcept { channel_.close(terms_.closer, !reader_.finished()); }

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
