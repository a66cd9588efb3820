// SPDX-License-Identifier: MIT
// service/handover.ipp: descriptors that come and go with calls, and answers that go elsewhere than to the caller.
#pragma once

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "../base/version.hpp"
#include "../call/bind.ipp"
#include "../call/file_io.ipp"
#include "connection.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Counts `count` descriptors of ours as ones whose sender is not known yet.
KETTLINGAR_INLINE void Connection::hold_descriptors(std::size_t count) {
  server_->held_descriptors += count;
  server_->held_descriptors -= held_;
  held_ = count;
}

KETTLINGAR_INLINE void Connection::drop_descriptors() {
  received_ = {};
  hold_descriptors(0);
}

/// Strangers may not send any.
KETTLINGAR_COLD void Connection::refuse_descriptors() {
  drop_descriptors();
  dropped_descriptors_ = true;
  if (refused_.status == 0) refused_ = {403, "fd-stray"};
}

/// One read into the room behind the input. Whatever comes is owned before anything else happens, and closed if it
/// cannot be kept.
KETTLINGAR_INLINE ssize_t Connection::receive_on_unix_socket() {
  const Limits& limits = server_->limits;
  const std::size_t before = received_.owned.size();
  const ssize_t n = receive_with_descriptors(socket_.native_handle(), in_.data() + end_, in_.size() - end_,
                                             most_descriptors, received_, server_->closer);
  if (n > 0) end_ += static_cast<std::size_t>(n);
  if (received_.owned.size() == before && !received_.truncated) return n;
  if (received_.owned.size() > limits.descriptors) {
    refuse_and_close(400, "fd-trunc",
                     "at most " + std::to_string(limits.descriptors) + " descriptors can come with a request");
  } else if (received_.truncated) {
    refuse_and_close(503, "limit", "descriptors were lost: too many are open");
  } else if (blocking_threads(server_->executor).held_up()) {
    refuse_and_close(503, "limit", "files that came before cannot be closed: what they are on hangs");
  } else if (head_size_ == 0) {
    hold_descriptors(received_.owned.size());
    if (server_->held_descriptors > limits.unclaimed_descriptors)
      refuse_and_close(503, "limit", "too many descriptors are waiting");
  } else if (!route_.authenticated) {
    refuse_descriptors();
  }
  return n;
}

KETTLINGAR_INLINE ssize_t Connection::send_part(std::string_view bytes) {
  const int fd = answer_descriptor();
  if (out_descriptors_.empty()) return send_some(fd, bytes);
  if (sent_ < out_descriptors_at_) return send_some(fd, bytes.substr(0, out_descriptors_at_ - sent_));
  const ssize_t n = send_with_descriptors(fd, bytes, out_descriptors_);
  if (n >= 0) {
    out_descriptors_.clear();
    return n;
  }
#if defined(ETOOMANYREFS)
  if (errno == ETOOMANYREFS) {
    // More are on their way than the kernel allows this user; the answer has not begun, so it can be another.
    out_descriptors_.clear();
    out_.resize(out_descriptors_at_);
    append_error(out_, style_, plain_error(503, "too many descriptors are on their way"));
    return send_some(fd, std::string_view(out_).substr(sent_));
  }
#endif
  return n;
}

KETTLINGAR_COLD Task<void> Connection::flush_to_target() {
  if (target_is_socket_) {
    co_await wait_ready(target_, Readiness::For::writing);
    co_return;
  }
  // Own copies: if this is cancelled, the thread that writes a file may still be at it.
  std::string bytes = std::exchange(out_, {});
  bytes.erase(0, std::exchange(sent_, 0));
  total_sent_ += bytes.size();
  co_await async_write_all(target_, std::move(bytes));
}

/// If the call says so, sends its caller away and makes its first descriptor the one that gets the answer. False if the
/// caller has gone. Throws InvalidArgument.
KETTLINGAR_COLD bool Connection::answer_elsewhere(json& arguments) {
  std::vector<Fd>& descriptors = request_->descriptors();
  const auto key = arguments.find(reply_to_key);
  if (descriptors.empty() || key == arguments.end()) return true;
  const auto positional = arguments.find(positional_key);
  const bool fits = positional != arguments.end() && !positional->empty() &&
                    count_placeholders(positional->front()) == 1 && positional->front().is_string() &&
                    parse_placeholder(positional->front().get_ref<const std::string&>());
  constexpr std::uint64_t most = std::uint64_t{1} << 53;
  if (!key->is_number_unsigned() || key->get<std::uint64_t>() > most || !fits) {
    throw InvalidArgument(std::string(reply_to_key) +
                          " must be the number of bytes already sent to the first argument, which is a descriptor");
  }
  const std::uint64_t sent_before = key->get<std::uint64_t>();
  Fd target = std::move(descriptors.front());
  try {
    target_is_socket_ = kind_of(target.get(), Readiness::For::writing) == DescriptorKind::socket;
  } catch (const std::system_error& error) {
    throw InvalidArgument(std::string(reply_to_key) + ": no answer can be written there: " + error.code().message());
  }
  descriptors.erase(descriptors.begin());
  positional->erase(positional->begin());
  arguments.erase(reply_to_key);

  ReplyStyle accepted = style_;
  accepted.format = Format::json;
  accepted.keep_alive = false;
  append_reply(out_, accepted, 202, accepted.content_type(), "{\"replied_to_first_fd\": true}\n");
  if (!send_now() || phase_ == Phase::closed) return false;
  close_socket();
  target_ = std::move(target);
  // Bare LF is understood by everybody. Marks of chunks, which come with CRLF, are not.
  style_.bare_lf = request_->header(reply_line_ends) != "crlf";
  style_.http_1_0 = style_.without_body = style_.keep_alive = false;
  style_.continued = sent_before > 0;
  answer_began_ = total_sent_ - sent_before;  // wraps around, and back where it is subtracted
  return true;
}

KETTLINGAR_INLINE void Connection::require_own_thread() const {
  if (!server_->may_run_here())
    throw std::logic_error("kettlingar: a kt::Request is for the thread that runs its handler");
}

KETTLINGAR_INLINE bool Connection::gone() const {
  if (server_->host) return false;  // the socket is used by another thread
  require_own_thread();
  if (target_ && !target_is_socket_) return false;
  const int fd = target_ ? target_.get() : socket_.native_handle();
#if defined(POLLRDHUP)
  pollfd entry{fd, POLLRDHUP, 0};  // tells of the end behind bytes that wait, too
  return fd < 0 || retry_interrupted([&] { return ::poll(&entry, 1, 0); }) != 0;
#else
  char byte = 0;
  const ssize_t n = retry_interrupted([&] { return ::recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT); });
  return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK);
#endif
}

KETTLINGAR_COLD Fd Connection::duplicate_of_connection() {
  Fd copy(::fcntl(answer_descriptor(), F_DUPFD_CLOEXEC, 0));
  if (!copy) throw Error(500, std::string("cannot pass the connection on: ") + std::strerror(errno));
  return copy;
}

KETTLINGAR_COLD Caller::HandOver Connection::prepare_handover() {
  if (server_->host) throw Error(501, "answers cannot be passed on where handlers run on the host's thread");
  require_own_thread();
  if (released_) throw Error(500, "the answer has been passed on already");
  if (style_.http_1_0 || style_.without_body) throw Error(501, "answers to HTTP/1.0 and to HEAD cannot be passed on");
  if (phase_ == Phase::closed || !send_now()) throw Error(503, "the caller does not read");
  handing_over_ = true;
  return {duplicate_of_connection(), total_sent_ - answer_began_, style_.format == Format::msgpack, style_.bare_lf};
}

KETTLINGAR_COLD Socket Connection::take_connection(std::string* received) {
  if (server_->host) throw Error(501, "connections cannot be taken where handlers run on the host's thread");
  require_own_thread();
  if (released_) throw Error(500, "the answer has been passed on already");
  if (target_ && !target_is_socket_) throw Error(500, "there is no connection to take");
  if (phase_ == Phase::closed || !send_now()) throw Error(503, "the caller does not read");
  if (total_sent_ != answer_began_) throw Error(500, "the answer has begun");
  Socket socket{duplicate_of_connection()};
  if (received != nullptr) received->assign(input().substr(head_size_ + body_.raw_size()));
  released_ = true;
  return socket;
}

/// After somebody else has got the connection: what the handler came to is of interest to the log only.
KETTLINGAR_COLD void Connection::end_released(const std::exception_ptr& thrown) {
  if (thrown) log_internal(std::string(route_.method) + ": " + log_escaped(words_of(thrown)));
  log_request(202, "passed-on", 0);
  out_.clear();
  sent_ = 0;
  style_.keep_alive = false;
  end_request();
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
