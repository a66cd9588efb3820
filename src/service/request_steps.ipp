// SPDX-License-Identifier: MIT
// service/request_steps.ipp: from an admitted head to a call: body, arguments, refusals, the log line.
#pragma once

#include "../base/version.hpp"
#include "../call/form.ipp"
#include "../wire/json_text.ipp"
#include "connection.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// The media type without its parameters.
inline std::string_view media_type(std::string_view content_type) {
  const std::string_view type = content_type.substr(0, content_type.find(';'));
  const std::size_t end = type.find_last_not_of(" \t");
  return end == std::string_view::npos ? std::string_view{} : type.substr(0, end + 1);
}

inline bool is_msgpack_type(std::string_view type) {
  return http::same_word(type, "application/x-msgpack") || http::same_word(type, "application/msgpack");
}

/// What is one argument as it is.
inline constexpr std::string_view bytes_type = "application/octet-stream";

KETTLINGAR_INLINE void Connection::begin_body() {
  const RequestHead& head = this->head();
  ReplyStyle& style = request_.style;
  style = ReplyStyle{};
  style.bare_lf = head.bare_lf;
  style.http_1_0 = head.version_minor == 0;
  style.keep_alive = head.keep_alive && !server_->stopping();
  style.without_body = head.method == "HEAD";
  if (head.method == "POST" && is_msgpack_type(media_type(head.content_type)) && server_->settings.worker_use_msgpack) {
    style.format = Format::msgpack;
  }
  is_.asked_to_close = !head.keep_alive;
  enter(Phase::body, request_.start + server_->limits.body_timeout);

  request_.refused = admission_.decide();
  const bool authenticated = admission_.route().authenticated;
  if (admission_.known() && std::exchange(link_.was_stranger, false)) server_->forget_stranger();
  if (admission_.lost_trust()) style.keep_alive = false;
  if (authenticated) {
    hold_descriptors(0);
  } else if (!request_.descriptors.owned.empty()) {
    refuse_descriptors();
  }
  const Refusal& refused = request_.refused;
  const Limits& limits = authenticated ? server_->limits : server_->stranger_limits;
  if (const ParseResult fits = check_body_length(head, limits); fits.status == Parse::bad && refused.status == 0) {
    return refuse_and_close(fits.http_status, fits.slug, fits.why);
  }
  if (refused.status != 0 && has_body(head) &&
      (head.expect_continue || head.chunked || *head.content_length > server_->limits.drain_bytes)) {
    // Not worth reading: say so now, and let the connection go.
    style.keep_alive = is_.asked_to_close = false;
    return refuse(refused);
  }
  if (has_body(head) && head.expect_continue && head.version_minor > 0 &&
      transport_.input().size() == request_.head_size)
    transport_.out.collected += continue_response;
  request_.body = BodyReader(limits);
  request_.body.start(head);
}

/// Binds the body, or decodes it into a map of arguments. Otherwise the refusal is in `reply`, and its slug returned.
KETTLINGAR_INLINE std::string_view Connection::decode_body(std::string_view body, std::optional<ErrorReply>& reply) {
  const auto refuse_with = [&](int status, std::string_view why, std::string_view slug = "bad-body") {
    reply = plain_error(status, why);
    return slug;
  };
  const RequestHead& head = this->head();
  CodecError error;
  if (request_.style.format == Format::msgpack) {
    error = call_.take_arguments(body, Format::msgpack, !admission_.routed() && head.query.empty());
  } else if (const std::string_view type = media_type(head.content_type); is_msgpack_type(type)) {
    const std::string_view slug = refuse_with(415, "msgpack is switched off");
    reply->accept = "application/json";
    return slug;
  } else if (http::same_word(type, "application/json") || (type.empty() && body.front() == '{')) {
    error = call_.take_arguments(body, Format::json, false);
  } else if (http::same_word(type, "application/x-www-form-urlencoded")) {
    json& arguments = ConnectionAccess::arguments(call_.request());
    error = decode_form(body, arguments);
    if (!error) error = check_arguments(arguments);
  } else if (http::same_word(type, bytes_type)) {
    return {};
  } else if (http::same_word(type.substr(0, type.find('/')), "multipart")) {
    return refuse_with(
        415,
        "forms with files (multipart) are not understood: send arguments in the query, as in "
        "METHOD?name=value, and the bytes alone as the body, with Content-Type: application/octet-stream");
  } else {
    return refuse_with(415,
                       "arguments must be application/x-msgpack, application/json or a form; bytes are "
                       "application/octet-stream");
  }
  if (error) return refuse_with(400, error.why, error.slug);
  return {};
}

/// All arguments, from wherever a request may have them. Returns and throws what decode_body() and the method do.
KETTLINGAR_INLINE std::string_view Connection::decode_arguments(std::optional<ErrorReply>& reply) {
  const RequestHead& head = this->head();
  Request& request = call_.request();
  const std::string_view body(transport_.input_at(request_.head_size), request_.body.body_size());
  const bool is_post = head.method == "POST";
  if (is_post && !body.empty()) {
    if (const std::string_view slug = decode_body(body, reply); call_.bound() || !slug.empty()) return slug;
  }
  if (!head.query.empty()) call_.method().add_query(head.query, request);
  if (admission_.routed()) ConnectionAccess::arguments(request).update(admission_.routed()->arguments);
  if (is_post && request_.style.format == Format::json && http::same_word(media_type(head.content_type), bytes_type))
    call_.method().add_bytes(body, request);
  return {};
}

KETTLINGAR_INLINE void Connection::dispatch() {
  if (request_.refused.status != 0) return refuse(request_.refused);
  enter(Phase::handling, Clock::time_point::max());
  request_.answer_began = transport_.total();
  const Route& route = admission_.route();
  call_.begin(*admission_.method(), head(), peer_, server_->executor);
  Request& request = call_.request();
  ConnectionAccess::route(request, route.method, route.path, route.authenticated);
  if (!request_.descriptors.owned.empty()) request.descriptors() = std::move(request_.descriptors.owned);
  request_.descriptors.truncated = false;
  std::optional<ErrorReply> reply;
  ServedCall::Progress progress;
  try {
    if (const std::string_view slug = decode_arguments(reply); !slug.empty()) {
      const std::size_t before = transport_.out.size();
      const int status = append_error(transport_.out.collected, request_.style, *reply);
      log_request(status, slug, transport_.out.size() - before);
      return end_request();
    }
    if (!request.descriptors().empty() && !answer_elsewhere(ConnectionAccess::arguments(request))) return close();
    // The handler may stop the service, or the service be stopped while it works.
    progress = call_.run(transport_.out);
  } catch (...) {
    progress = call_.fail(std::current_exception(), transport_.out);
  }
  after_progress(progress);
}

KETTLINGAR_INLINE void Connection::refuse(const Refusal& refusal) {
  std::string& out = transport_.out.collected;
  ReplyStyle& style = request_.style;
  const std::size_t before = out.size();
  const bool post_only = admission_.method() && admission_.method()->post_only();
  const HeaderField allow{"Allow", post_only ? "POST, OPTIONS" : "GET, HEAD, POST, OPTIONS"};
  const HeaderField accept{"Accept-Encoding", "identity"};
  switch (refusal.status) {
    case 200:
      if (refusal.slug == "explorer") {
        append_explorer(out, style);
        break;
      }
      append_reply(out, style, 200, "text/plain",
                   server_->proof(admission_.challenge(), transport_.descriptor()) + "\n");
      break;
    case 302:
      append_way_to_explorer(out, style, *server_, head());
      break;
    case 204:
      append_reply(out, style, 204, {}, {}, {&allow, 1});
      break;
    case 405:
      append_error(out, style, admission_.reply_to(refusal), {&allow, 1});
      break;
    case 415:
      append_error(out, style, admission_.reply_to(refusal), {&accept, 1});
      break;
    case 429:
      style.keep_alive = false;
      is_.answer_waits = !admission_.has_waited();
      [[fallthrough]];
    default:
      append_error(out, style, admission_.reply_to(refusal));
  }
  log_request(refusal.status, refusal.slug, out.size() - before);
  end_request();
}

/// After a syntax error nothing that follows on the connection can be trusted to be a request.
KETTLINGAR_INLINE void Connection::refuse_and_close(int status, std::string_view slug, std::string_view why) {
  ReplyStyle& style = request_.style;
  style = ReplyStyle{};
  style.bare_lf = head().bare_lf;
  // As it stands there, for the parser may not have come so far; what may still become HEAD counts as HEAD. A few empty
  // lines may come first.
  const std::string_view input = transport_.input();
  const std::string_view begun = input.substr((std::min)(input.find_first_not_of("\r\n"), input.size()));
  constexpr std::string_view head_method = "HEAD ";
  style.without_body = begun.starts_with(head_method) || (!begun.empty() && head_method.starts_with(begun));
  std::string& out = transport_.out.collected;
  const std::size_t before = out.size();
  append_error(out, style, plain_error(status, why));
  log_request(status, slug, out.size() - before);
  is_.asked_to_close = false;
  end_request();
}

KETTLINGAR_INLINE void Connection::log_request(int status, std::string_view slug, std::size_t bytes) {
  constexpr LogLevel level = LogLevel::debug;  // requests alone make no file grow
  Log& log = server_->log;
  const bool ours = admission_.ours();
  if (!log.wants(level) || (!ours && !log.admit(level, slug))) return;
  const bool parsed = request_.head_size != 0;
  const Route& route = admission_.route();
  const auto microseconds =
      std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - request_.start).count();
  std::string line = "http " + std::to_string(status) + " ";
  line += slug;
  line += " " + peer_.address + " ";
  line += parsed ? log_escaped(head().method) : "-";
  // A path whose token is wrong may still be most of the right one, so only routed paths are shown.
  line += parsed && route.authenticated   ? " " + log_escaped(route.path)
          : parsed && admission_.method() ? " /" + admission_.method()->name()
                                          : " -";
  line += " " + std::to_string(bytes) + " " + std::to_string(microseconds / 1000) + "." +
          std::to_string(microseconds % 1000 / 100) + "ms";
  ours ? log.write(level, line + log.left_out(slug)) : log.write_admitted(level, slug, std::move(line));
}

/// Forgets the request, whose answer is ready to leave, and makes ready for the next.
KETTLINGAR_INLINE void Connection::end_request() {
  if (!request_.style.keep_alive) is_.close_after = true;
  is_.timed_out = false;  // it came just in time
  drop_descriptors();     // none is left for the next request, or for as long as the peer is lingered for
  transport_.consume(request_.head_size + request_.body.raw_size());
  request_.head_size = 0;
  request_.dropped_descriptors = false;
  request_.refused = {};
  request_.parser.reset();
  request_.body = BodyReader(server_->limits);
  call_.end();
  admission_.reset();
  target_.handing_over = false;
  is_.half_closed = false;
  if (phase_ != Phase::closed) phase_ = Phase::handling;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
