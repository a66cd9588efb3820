// SPDX-License-Identifier: MIT
// service/request_steps.ipp: from a parsed head to an answer: admission, arguments, plain handlers, refusals, the log
// line.
#pragma once

#include "../base/suggest.ipp"
#include "../base/version.hpp"
#include "../call/form.ipp"
#include "../wire/json_text.ipp"
#include "connection.ipp"
#include "explorer.ipp"

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

/// Whether a Host that names us by `name` can be meant for a service that listens on `listen_host`. Not 0.0.0.0, which
/// browsers take to this machine without saying which site asks.
inline bool own_name(std::string_view name, const std::string& listen_host) {
  if (http::same_word(name, "localhost")) return true;
  const auto address = tcp_address(std::string(name), 0);
  if (!address || address->is_any()) return false;
  if (address->is_loopback()) return true;
  const auto ours = tcp_address(listen_host, 0);
  return ours && (ours->is_any() || *address == *ours);
}

inline bool has_body(const RequestHead& head) { return head.chunked || head.content_length.value_or(0) > 0; }

/// The part of a whole answer that a HEAD may see: up to its empty line.
inline std::string_view head_of(std::string_view answer) {
  for (std::size_t at = answer.find('\n'); at != std::string_view::npos; at = answer.find('\n', at + 1)) {
    const std::string_view rest = answer.substr(at + 1);
    if (rest.starts_with('\n')) return answer.substr(0, at + 2);
    if (rest.starts_with("\r\n")) return answer.substr(0, at + 3);
  }
  return answer;
}

/// Why the request is refused if it comes from a web page that is not ours, or was led here under a foreign name (DNS
/// rebinding): the slug of the log line, or nothing.
KETTLINGAR_INLINE std::string_view Connection::foreign_browser() {
  const RequestHead& head = head_parser_.head();
  if (from_other_site(head) && !follows_link_to_explorer(head, server_->prefix())) return "origin";
  const std::string_view host = !head.authority.empty() ? head.authority : head.host.value_or(std::string_view{});
  if (!peer_.over_unix_socket && !host.empty() && host != own_host_) {
    const std::string_view name = http::host_name(host);
    if (!own_name(name, server_->settings.worker_listen_host)) {
      // It may have been accepted by another process, which listens elsewhere.
      const std::string here = socket_name(socket_.native_handle(), false);
      if (!own_name(name, here.substr(0, here.rfind(':'))) && !listed_host(host, server_->settings.worker_allow_hosts))
        return "host";
    }
    own_host_ = host;
  }
  if (!head.origin) return {};
  const std::string_view origin = *head.origin;
  if (!host.empty() && origin.starts_with("http://") && http::same_word(origin.substr(7), host)) return {};
  // Pages that came through a proxy have its name, perhaps by https, which it does not always tell us as Host.
  const std::string_view rest = origin.starts_with("http://")    ? origin.substr(7)
                                : origin.starts_with("https://") ? origin.substr(8)
                                                                 : std::string_view{};
  return !rest.empty() && http::valid_authority(rest) && listed_host(rest, server_->settings.worker_allow_hosts)
             ? std::string_view{}
             : "origin";
}

/// Who calls what, by the usual rules.
KETTLINGAR_INLINE void Connection::find_caller() {
  const Token nobody_has;
  route_ = find_route(head_parser_.head(), hearing_ == Hearing::never ? nobody_has : server_->token, server_->prefix());
}

/// The same, by those of the program as well.
KETTLINGAR_INLINE void Connection::find_method() {
  const RequestHead& head = head_parser_.head();
  find_caller();
  if ((!server_->authenticator && !server_->router) || !challenge().empty()) return;
  Request request(head, peer_, *this, server_->executor);
  try {
    ConnectionAccess::route(request, route_.method, route_.path, route_.authenticated);
    if (server_->authenticator) route_.authenticated = server_->authenticator(request);
    ConnectionAccess::route(request, route_.method, route_.path, route_.authenticated);
    if (server_->router) routed_ = server_->router(request);
    if (routed_) route_.method = routed_->method;
  } catch (const Error&) {
    refuse_route();
  } catch (...) {
    log_internal("authenticator or router: " + log_escaped(words_of(std::current_exception())));
    refuse_route();
  }
}

/// What has been guessed of the token still counts.
KETTLINGAR_COLD void Connection::refuse_route() {
  Route nowhere;
  nowhere.wrong_path = route_.wrong_path;
  nowhere.wrong_words = route_.wrong_words;
  route_ = nowhere;
  routed_.reset();
}

/// What the service is to prove to a stranger that it is the one of the url file; empty if nothing.
KETTLINGAR_INLINE std::string_view Connection::challenge() const {
  if (route_.authenticated || !route_.path.starts_with(challenge_path)) return {};
  const std::string_view words = route_.path.substr(challenge_path.size());
  return words.size() >= 16 && words.size() <= 64 ? words : std::string_view{};
}

/// Whether the caller has been named by a proxy, behind which there may be anybody.
KETTLINGAR_COLD bool Connection::through_proxy() const {
  const RequestHead& head = head_parser_.head();
  const std::string_view host = !head.authority.empty() ? head.authority : head.host.value_or(std::string_view{});
  return listed_host(host, server_->settings.worker_allow_hosts);
}

/// When what this peer sends is compared with the token. A connection over which the right one came does not wait: it
/// ends with the first wrong one instead.
KETTLINGAR_INLINE Hearing Connection::hearing() {
  throttled_ = false;
  if (known_ || !server_->guesses.any_wrong_tokens(request_start_)) return Hearing::at_once;
  const GuessOrigin origin(socket_.native_handle());
  const Hearing hearing = server_->guesses.hearing(origin.name, request_start_);
  throttled_ = hearing != Hearing::at_once;
  if (!throttled_) return hearing;
  if (through_proxy()) return Hearing::slowly;
  return origin.trusted ? Hearing::at_once : hearing;
}

/// How many tokens, all of them wrong, the request has brought. After the search for its method.
KETTLINGAR_INLINE int Connection::wrong_tokens() const {
  if (!route_.wrong_path) return route_.wrong_words;
  const std::string_view first = route_.path.substr((std::min<std::size_t>)(1, route_.path.size()));
  return route_.wrong_words + (challenge().empty() && !(method_ && first.starts_with(method_->name())));
}

/// Whether the request, which is to wait if so, has brought what may be the token. Nothing comes of that as yet.
KETTLINGAR_COLD bool Connection::brings_token() {
  find_caller();
  method_ = server_->methods.find(route_.method, false);
  const bool brings = route_.authenticated || wrong_tokens() != 0;
  route_ = Route{};
  method_.reset();
  return brings;
}

/// Remembers whoever has shown the token, and counts what was something else.
KETTLINGAR_INLINE void Connection::note_caller() {
  if (route_.authenticated) {
    if (!std::exchange(known_, true)) server_->forget_stranger(*this);
  } else if (const int wrong = wrong_tokens(); wrong != 0 && !peer_.over_unix_socket) {
    if (!server_->count_wrong_tokens(socket_.native_handle(), wrong, through_proxy())) return;
    throttled_ = true;
    if (known_) style_.keep_alive = false;
  }
}

/// Whether this request is refused whatever its body says. Finds route and method.
KETTLINGAR_INLINE Connection::Refusal Connection::refusal() {
  const RequestHead& head = head_parser_.head();
  if (const std::string_view slug = foreign_browser(); !slug.empty()) {
    if (slug == "host") {
      // Who has the token is told more, so whoever has not is counted.
      find_caller();
      note_caller();
    }
    return {403, slug};
  }
  if (head.method != "GET" && head.method != "POST" && head.method != "HEAD") {
    for (const std::string_view other : {"PUT", "DELETE", "PATCH", "TRACE", "CONNECT"}) {
      if (head.method == other) return {405, "bad-line"};
    }
    return head.method == "OPTIONS" ? Refusal{204, "ok"} : Refusal{501, "bad-line"};
  }

  find_method();
  method_ = route_.method.empty() ? nullptr : server_->methods.find(route_.method, route_.authenticated);
  if (!method_ || head.sec_fetch_site || route_.path == explorer_path) {
    if (const int status = explorer_status(*server_, head, route_, method_.get()); status != 0)
      return {status, "explorer"};
    if (from_other_site(head)) return {403, "origin"};
  }
  note_caller();
  if (!challenge().empty()) return {200, "proof"};
  // Strangers learn nothing about which methods there are.
  if (!method_ && route_.authenticated) return {404, "unknown"};
  if (!method_) return throttled_ ? Refusal{429, "guess"} : Refusal{403, "auth"};
  if (method_->post_only() && head.method != "POST") return {405, "bad-line"};
  if (head.encoded && head.method == "POST" && has_body(head)) return {415, "bad-body"};
  return {};
}

KETTLINGAR_INLINE void Connection::begin_body() {
  const RequestHead& head = head_parser_.head();
  style_ = ReplyStyle{};
  style_.bare_lf = head.bare_lf;
  style_.http_1_0 = head.version_minor == 0;
  style_.keep_alive = head.keep_alive && !server_->stopping();
  style_.without_body = head.method == "HEAD";
  if (head.method == "POST" && is_msgpack_type(media_type(head.content_type)) && server_->settings.worker_use_msgpack) {
    style_.format = Format::msgpack;
  }
  enter(Phase::body, request_start_ + server_->limits.body_timeout);

  refused_ = refusal();
  if (route_.authenticated) {
    hold_descriptors(0);
  } else if (!received_.owned.empty()) {
    refuse_descriptors();
  }
  const Limits& limits = route_.authenticated ? server_->limits : server_->stranger_limits;
  if (const ParseResult fits = check_body_length(head, limits); fits.status == Parse::bad && refused_.status == 0) {
    return refuse_and_close(fits.http_status, fits.slug, fits.why);
  }
  if (refused_.status != 0 && has_body(head) &&
      (head.expect_continue || head.chunked || *head.content_length > server_->limits.drain_bytes)) {
    // Not worth reading: say so now, and let the connection go.
    style_.keep_alive = false;
    return refuse(refused_);
  }
  if (has_body(head) && head.expect_continue && head.version_minor > 0 && input().size() == head_size_)
    out_ += continue_response;
  body_ = BodyReader(limits);
  body_.start(head);
}

/// Binds the body, or decodes it into a map of arguments. Otherwise the refusal is in `reply`, and its slug returned.
KETTLINGAR_INLINE std::string_view Connection::decode_body(std::string_view body, std::optional<ErrorReply>& reply) {
  const auto refuse_with = [&](int status, std::string_view why, std::string_view slug = "bad-body") {
    reply = plain_error(status, why);
    return slug;
  };
  const RequestHead& head = head_parser_.head();
  json& arguments = ConnectionAccess::arguments(*request_);
  CodecError error;
  if (style_.format == Format::msgpack) {
    call_->bound =
        !routed_ && head.query.empty() && request_->descriptors().empty() && method_->bind_scalars(call_->slots, body);
    if (call_->bound) return {};
    error = decode_msgpack(body, arguments, server_->limits.depth);
  } else if (const std::string_view type = media_type(head.content_type); is_msgpack_type(type)) {
    const std::string_view slug = refuse_with(415, "msgpack is switched off");
    reply->accept = "application/json";
    return slug;
  } else if (http::same_word(type, "application/json") || (type.empty() && body.front() == '{')) {
    error = decode_json(body, arguments, server_->limits.depth);
  } else if (http::same_word(type, "application/x-www-form-urlencoded")) {
    error = decode_form(body, arguments);
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
  if (!arguments.is_object()) return refuse_with(400, "arguments must be a map");
  const auto positional = arguments.find(positional_key);
  if (positional != arguments.end() && !positional->is_array()) return refuse_with(400, "_args must be a list");
  return {};
}

/// All arguments, from wherever a request may have them. Returns and throws what decode_body() and the method do.
KETTLINGAR_INLINE std::string_view Connection::decode_arguments(std::optional<ErrorReply>& reply) {
  const RequestHead& head = head_parser_.head();
  const std::string_view body = std::string_view(in_).substr(begin_ + head_size_, body_.body_size());
  const bool is_post = head.method == "POST";
  if (is_post && !body.empty()) {
    if (const std::string_view slug = decode_body(body, reply); call_->bound || !slug.empty()) return slug;
  }
  if (!head.query.empty()) method_->add_query(head.query, *request_);
  if (routed_) ConnectionAccess::arguments(*request_).update(routed_->arguments);
  if (is_post && style_.format == Format::json && http::same_word(media_type(head.content_type), bytes_type))
    method_->add_bytes(body, *request_);
  return {};
}

KETTLINGAR_INLINE void Connection::dispatch() {
  if (refused_.status != 0) return refuse(refused_);
  enter(Phase::handling, Clock::time_point::max());
  answer_began_ = total_sent_ + out_.size() - sent_;
  request_.emplace(head_parser_.head(), peer_, *this, server_->executor);
  ConnectionAccess::route(*request_, route_.method, route_.path, route_.authenticated);
  request_->descriptors() = std::move(received_.owned);
  received_ = {};
  call_.emplace(*request_, style_.format, std::move(slots_));
  std::optional<ErrorReply> reply;
  try {
    if (const std::string_view slug = decode_arguments(reply); !slug.empty()) {
      const std::size_t before = out_.size();
      const int status = append_error(out_, style_, *reply);
      log_request(status, slug, out_.size() - before);
      return end_request();
    }
    if (!answer_elsewhere(ConnectionAccess::arguments(*request_))) return close();
    if (server_->host && !method_->is_builtin()) {
      call_->pending = give_to_host(invoke_on_host());
      return;
    }
    method_->invoke(*call_);
    if (call_->stream || call_->pending.valid()) return;
    if (released_) return end_released({});
    answer_call();
  } catch (...) {
    if (released_) return end_released(std::current_exception());
    answer_error(std::current_exception());
  }
  end_request();
}

KETTLINGAR_INLINE void Connection::answer_call() {
  const std::size_t before = out_.size();
  try {
    append_answer();
  } catch (...) {
    // Half an answer would garble the one that tells what went wrong.
    out_.resize(before);
    out_descriptors_.clear();
    throw;
  }
}

KETTLINGAR_INLINE void Connection::append_answer() {
  const std::size_t before = out_.size();
  // The handler may have stopped the service, or the service have been stopped while it worked.
  if (server_->stopping()) style_.keep_alive = false;
  if (call_->document) {
    const Result& document = *call_->document;
    if (!append_reply(out_, style_, document.status, document.mime_type, document.data, {},
                      document_lines(style_.bare_lf))) {
      throw std::runtime_error("bad-response: the document's MIME type or status cannot be sent");
    }
    return log_request(document.status, "ok", out_.size() - before);
  }
  if (call_->raw) {
    const std::string_view answer = call_->raw->bytes;
    out_ += style_.without_body ? head_of(answer) : answer;
    style_.keep_alive = false;
    return log_request(200, "raw", out_.size() - before);
  }
  if (call_->codec_error) throw std::runtime_error("bad-response: " + std::string(call_->codec_error.why));
  if (!call_->descriptors.empty()) {
    if (!peer_.over_unix_socket || target_) throw Error(500, "Cannot send file descriptors over TCP");
    if (call_->descriptors.size() > server_->limits.descriptors) {
      throw Error(500, "at most " + std::to_string(server_->limits.descriptors) + " descriptors fit into an answer");
    }
    out_descriptors_ = std::move(call_->descriptors);
    out_descriptors_at_ = out_.size();
  }
  append_reply(out_, style_, 200, style_.content_type(), call_->body);
  log_request(200, "ok", out_.size() - before);
}

KETTLINGAR_INLINE void Connection::answer_error(const std::exception_ptr& thrown) {
  const ErrorReply reply = error_reply(thrown, route_.authenticated);
  const std::size_t before = out_.size();
  if (server_->stopping()) style_.keep_alive = false;
  const int status = append_error(out_, style_, reply);
  if (!reply.log.empty()) log_internal(std::string(route_.method) + ": " + log_escaped(reply.log));
  log_request(status, reply.log.empty() ? "error" : "internal", out_.size() - before);
}

/// What the owner is told of a proxy that calls us by a name of its own.
KETTLINGAR_COLD std::string Connection::refused_host() const {
  const RequestHead& head = head_parser_.head();
  const std::string host(!head.authority.empty() ? head.authority : head.host.value_or(std::string_view{}));
  return "Host '" + host +
         "' is not a name of this service; --worker-allow-hosts=" + std::string(http::host_name(host)) +
         " makes it one";
}

KETTLINGAR_INLINE void Connection::refuse(const Refusal& refusal) {
  const std::size_t before = out_.size();
  const bool post_only = method_ && method_->post_only();
  const HeaderField allow{"Allow", post_only ? "POST, OPTIONS" : "GET, HEAD, POST, OPTIONS"};
  switch (refusal.status) {
    case 200:
      if (refusal.slug == "explorer") {
        append_explorer(out_, style_);
        break;
      }
      append_reply(out_, style_, 200, "text/plain", server_->proof(challenge(), socket_.native_handle()) + "\n");
      break;
    case 302:
      append_way_to_explorer(out_, style_, *server_, head_parser_.head());
      break;
    case 204:
      append_reply(out_, style_, 204, {}, {}, {&allow, 1});
      break;
    case 403:
      append_error(out_, style_,
                   plain_error(403, refusal.slug == "host" && route_.authenticated ? refused_host() : "Access Denied"));
      break;
    case 405:
      append_error(out_, style_, plain_error(405), {&allow, 1});
      break;
    case 429:
      style_.keep_alive = false;
      slowed_ = hearing_ != Hearing::slowly;  // that one has waited
      append_error(out_, style_, plain_error(429, "Too many wrong tokens: wait a second"));
      break;
    case 415: {
      const HeaderField accept{"Accept-Encoding", "identity"};
      append_error(out_, style_, plain_error(415, "a body with Content-Encoding is not understood: send it as it is"),
                   {&accept, 1});
      break;
    }
    case 404: {
      // The name that was asked for is not repeated: it comes from whoever made the caller ask.
      const std::string similar = server_->methods.similar(route_.method);
      ErrorReply unknown =
          plain_error(404, route_.method.empty() ? "the path names no method" : std::string(no_such_method) + similar);
      unknown.body["unknown_method"] = true;
      append_error(out_, style_, unknown);
      break;
    }
    default:
      append_error(out_, style_, plain_error(refusal.status));
  }
  log_request(refusal.status, refusal.slug, out_.size() - before);
  end_request();
}

/// After a syntax error nothing that follows on the connection can be trusted to be a request.
KETTLINGAR_INLINE void Connection::refuse_and_close(int status, std::string_view slug, std::string_view why) {
  style_ = ReplyStyle{};
  style_.bare_lf = head_parser_.head().bare_lf;
  // As it stands there, for the parser may not have come so far; what may still become HEAD counts as HEAD. A few empty
  // lines may come first.
  const std::string_view begun = input().substr((std::min)(input().find_first_not_of("\r\n"), input().size()));
  constexpr std::string_view head_method = "HEAD ";
  style_.without_body = begun.starts_with(head_method) || (!begun.empty() && head_method.starts_with(begun));
  const std::size_t before = out_.size();
  append_error(out_, style_, plain_error(status, why));
  log_request(status, slug, out_.size() - before);
  end_request();
}

KETTLINGAR_INLINE void Connection::log_request(int status, std::string_view slug, std::size_t bytes) {
  constexpr LogLevel level = LogLevel::debug;  // requests alone make no file grow
  Log& log = server_->log;
  if (!log.wants(level) || (!ours() && !log.admit(level, slug))) return;
  const bool parsed = head_size_ != 0;
  const auto microseconds =
      std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - request_start_).count();
  std::string line = "http " + std::to_string(status) + " ";
  line += slug;
  line += " " + peer_.address + " ";
  line += parsed ? log_escaped(head_parser_.head().method) : "-";
  // A path whose token is wrong may still be most of the right one, so only routed paths are shown.
  line += parsed && route_.authenticated ? " " + log_escaped(route_.path)
          : parsed && method_            ? " /" + method_->name()
                                         : " -";
  line += " " + std::to_string(bytes) + " " + std::to_string(microseconds / 1000) + "." +
          std::to_string(microseconds % 1000 / 100) + "ms";
  ours() ? log.write(level, line + log.left_out(slug)) : log.write_admitted(level, slug, std::move(line));
}

/// What a caller is not told, or not all of it.
KETTLINGAR_COLD void Connection::log_internal(const std::string& what) {
  constexpr std::string_view slug = "internal";
  Log& log = server_->log;
  ours() ? log.write(LogLevel::error, std::string(slug) + ": " + what) : log.write_bounded(LogLevel::error, slug, what);
}

/// Forgets the request, whose answer is in `out_`, and makes ready for the next.
KETTLINGAR_INLINE void Connection::end_request() {
  if (!style_.keep_alive) close_after_ = true;
  timed_out_ = false;  // it came just in time
  drop_descriptors();  // none is left for the next request, or for as long as the peer is lingered for
  begin_ += head_size_ + body_.raw_size();
  head_size_ = 0;
  dropped_descriptors_ = false;
  refused_ = {};
  head_parser_.reset();
  body_ = BodyReader(server_->limits);
  if (call_) slots_ = std::move(call_->slots);
  call_.reset();
  request_.reset();
  method_.reset();
  route_ = Route{};
  routed_.reset();
  handing_over_ = false;
  if (phase_ != Phase::closed) phase_ = Phase::handling;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
