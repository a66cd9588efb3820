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
#include "../call/file_io.ipp"
#include "connection.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Counts `count` descriptors of ours as ones whose sender is not known yet.
KETTLINGAR_INLINE void Connection::hold_descriptors(std::size_t count) {
  server_->held_descriptors += count;
  server_->held_descriptors -= request_.held_descriptors;
  request_.held_descriptors = count;
}

KETTLINGAR_INLINE void Connection::drop_descriptors() {
  if (!request_.descriptors.owned.empty() || request_.descriptors.truncated) request_.descriptors = {};
  hold_descriptors(0);
}

/// Strangers may not send any.
KETTLINGAR_COLD void Connection::refuse_descriptors() {
  drop_descriptors();
  request_.dropped_descriptors = true;
  if (request_.refused.status == 0) request_.refused = {403, "fd-stray"};
}

/// After a read: what came is owned already, and closed here if it cannot be kept. There were `before` of them.
KETTLINGAR_INLINE void Connection::check_descriptors(std::size_t before) {
  const ReceivedDescriptors& received = request_.descriptors;
  if (received.owned.size() == before && !received.truncated) return;
  const Limits& limits = server_->limits;
  if (received.owned.size() > limits.descriptors) {
    refuse_and_close(400, "fd-trunc", too_many_descriptors(limits, "can come with a request"));
  } else if (received.truncated) {
    refuse_and_close(503, "limit", "descriptors were lost: too many are open");
  } else if (blocking_threads(server_->executor).held_up()) {
    refuse_and_close(503, "limit", "files that came before cannot be closed: what they are on hangs");
  } else if (request_.head_size == 0) {
    hold_descriptors(received.owned.size());
    if (server_->held_descriptors > limits.unclaimed_descriptors)
      refuse_and_close(503, "limit", "too many descriptors are waiting");
  } else if (!admission_.route().authenticated) {
    refuse_descriptors();
  }
}

KETTLINGAR_INLINE void Connection::attach(std::vector<Fd> descriptors) {
  if (!peer_.over_unix_socket || target_.descriptor) throw Error(500, "Cannot send file descriptors over TCP");
  transport_.out_descriptors = std::move(descriptors);
  transport_.out_descriptors_at = transport_.out.collected.size();
}

/// Gives what is to leave to a file, whose writing may take its time. False, as that has to be waited for.
KETTLINGAR_COLD bool Connection::flush_to_file() {
  target_.writing = true;
  // Own copies: if this is cancelled, the thread that writes a file may still be at it.
  WhenEnded ended = [self = shared_from_this()](const std::exception_ptr& thrown) {
    Connection& c = *self;
    c.target_.writing = false;
    if (c.phase_ == Phase::closed) return;
    if (thrown) {
      c.log_internal(log_escaped(words_of(thrown)));
      c.close();
    } else {
      c.go_on();
    }
  };
  spawn(server_->executor, async_write_all(target_.descriptor, transport_.take_unsent()), std::move(ended),
        target_.cancel.slot());
  return false;
}

/// Of a call with descriptors: if it says so, sends its caller away and makes the first one get the answer. False if
/// the caller has gone. Throws InvalidArgument.
KETTLINGAR_COLD bool Connection::answer_elsewhere(json& arguments) {
  std::vector<Fd>& descriptors = call_.request().descriptors();
  const auto key = arguments.find(reply_to_key);
  if (key == arguments.end()) return true;
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
  bool is_socket = false;
  try {
    is_socket = kind_of(target.get(), Readiness::For::writing) == DescriptorKind::socket;
  } catch (const std::system_error& error) {
    throw InvalidArgument(std::string(reply_to_key) + ": no answer can be written there: " + error.code().message());
  }
  descriptors.erase(descriptors.begin());
  positional->erase(positional->begin());
  arguments.erase(reply_to_key);

  ReplyStyle accepted = request_.style;
  accepted.format = Format::json;
  accepted.keep_alive = false;
  append_reply(transport_.out.collected, accepted, 202, accepted.content_type(), "{\"replied_to_first_fd\": true}\n");
  if (!send_now() || phase_ == Phase::closed) return false;
  unwatch();
  close_socket();
  target_.descriptor = std::move(target);
  target_.is_socket = is_socket;
  if (is_socket) ticket_ = server_->poller->add(target_.descriptor.get(), *this);
  // Bare LF is understood by everybody. Marks of chunks, which come with CRLF, are not.
  ReplyStyle& style = request_.style;
  style.bare_lf = call_.request().header(reply_line_ends) != "crlf";
  style.http_1_0 = style.without_body = style.keep_alive = false;
  style.continued = sent_before > 0;
  request_.answer_began = transport_.total_sent() - sent_before;  // wraps around, and back where it is subtracted
  return true;
}

KETTLINGAR_INLINE void Connection::require_own_thread() const {
  if (!server_->may_run_here())
    throw std::logic_error("kettlingar: a kt::Request is for the thread that runs its handler");
}

KETTLINGAR_INLINE bool Connection::gone() const {
  if (server_->host) return false;  // the socket is used by another thread
  require_own_thread();
  if (target_.descriptor && !target_.is_socket) return false;
  const int fd = answer_descriptor();
#if defined(POLLRDHUP)
  pollfd entry{fd, POLLRDHUP, 0};  // tells of the end behind bytes that wait, too
  return fd < 0 || retry_interrupted([&] { return ::poll(&entry, 1, 0); }) != 0;
#else
  char byte = 0;
  const ssize_t n = retry_interrupted([&] { return ::recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT); });
  return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK);
#endif
}

KETTLINGAR_COLD Fd Connection::duplicate_of_connection() const {
  Fd copy(::fcntl(answer_descriptor(), F_DUPFD_CLOEXEC, 0));
  if (!copy) throw Error(500, std::string("cannot pass the connection on: ") + std::strerror(errno));
  return copy;
}

KETTLINGAR_COLD Caller::HandOver Connection::prepare_handover() {
  if (server_->host) throw Error(501, "answers cannot be passed on where handlers run on the host's thread");
  require_own_thread();
  if (target_.passed_on) throw Error(500, "the answer has been passed on already");
  const ReplyStyle& style = request_.style;
  if (style.http_1_0 || style.without_body) throw Error(501, "answers to HTTP/1.0 and to HEAD cannot be passed on");
  if (phase_ == Phase::closed || !send_now()) throw Error(503, "the caller does not read");
  target_.handing_over = true;
  return {duplicate_of_connection(), transport_.total_sent() - request_.answer_began, style.format == Format::msgpack,
          style.bare_lf};
}

// The kernel would go on to tell of the socket as long as somebody else has it.
KETTLINGAR_COLD void Connection::released() {
  target_.passed_on = true;
  unwatch();
}

KETTLINGAR_COLD Socket Connection::take_connection(std::string* received) {
  if (server_->host) throw Error(501, "connections cannot be taken where handlers run on the host's thread");
  require_own_thread();
  if (target_.passed_on) throw Error(500, "the answer has been passed on already");
  if (target_.descriptor && !target_.is_socket) throw Error(500, "there is no connection to take");
  if (phase_ == Phase::closed || !send_now()) throw Error(503, "the caller does not read");
  if (transport_.total_sent() != request_.answer_began) throw Error(500, "the answer has begun");
  Socket socket{duplicate_of_connection()};
  if (received != nullptr) received->assign(transport_.input().substr(request_.head_size + request_.body.raw_size()));
  released();
  return socket;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
