// SPDX-License-Identifier: MIT
// client/exchange.hpp: one call over one connection, waiting where there is something to wait for.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "../base/errors.hpp"
#include "../base/limits.hpp"
#include "../os/socket.hpp"
#include "response.hpp"

namespace kettlingar {
inline namespace v0_1 {

/// How long a client waits; zero waits for as long as it takes.
struct Timeouts {
  std::chrono::milliseconds connect{5'000};
  std::chrono::milliseconds first_byte{0};  ///< from the request to the head of the answer
  std::chrono::milliseconds idle{0};        ///< between two parts of an answer, or of a request
};

namespace detail {

/// Blocking; for one thread.
class Exchange {
 public:
  /// Sends `request`, a head with its body, over a connected non-blocking socket, and reads the head of the answer.
  /// Throws ConnectionError.
  Exchange(Fd socket, const Limits& limits, const Timeouts& timeouts, std::string_view request);

  /// True if the answer is a stream of items, false if it is one result.
  bool streaming() const noexcept { return reader_.streaming(); }
  int status() const noexcept { return reader_.status(); }
  /// The result, or the next item; nothing at the end. Throws the Error that the service answered with, ConnectionError
  /// if the answer broke off.
  std::optional<json> next();

 private:
  void send(std::string_view bytes);
  void receive(std::chrono::milliseconds patience);
  static std::chrono::steady_clock::time_point until(std::chrono::milliseconds patience);

  Fd socket_;
  Timeouts timeouts_;
  ResponseReader reader_;
};

inline Exchange::Exchange(Fd socket, const Limits& limits, const Timeouts& timeouts, std::string_view request)
    : socket_(std::move(socket)), timeouts_(timeouts), reader_(limits) {
  send(request);
  while (reader_.advance() == ResponseReader::Step::need_more) receive(timeouts_.first_byte);
}

inline std::chrono::steady_clock::time_point Exchange::until(std::chrono::milliseconds patience) {
  return std::chrono::steady_clock::now() + (patience.count() > 0 ? patience : std::chrono::hours(24 * 365));
}

inline void Exchange::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = send_some(socket_.get(), bytes);
    if (n >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!wait_for(socket_.get(), POLLOUT, until(timeouts_.idle))) throw ConnectionError("the service does not read");
    } else {
      return;  // an early refusal may be waiting to be read
    }
  }
}

inline void Exchange::receive(std::chrono::milliseconds patience) {
  constexpr std::size_t block = 64 * 1024;
  for (;;) {
    char* room = reader_.prepare(block);
    const ssize_t n = retry_interrupted([&] { return ::recv(socket_.get(), room, block, MSG_DONTWAIT); });
    if (n > 0) return reader_.received(static_cast<std::size_t>(n));
    if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) return reader_.end_of_input();
    if (!wait_for(socket_.get(), POLLIN, until(patience)))
      throw ConnectionError("no answer within " + std::to_string(patience.count()) + " ms");
  }
}

inline std::optional<json> Exchange::next() {
  for (;;) {
    const ResponseReader::Step step = reader_.advance();
    if (step == ResponseReader::Step::item) return reader_.take();
    if (step == ResponseReader::Step::done) return std::nullopt;
    receive(timeouts_.idle);
  }
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
