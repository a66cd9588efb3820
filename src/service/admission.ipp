// SPDX-License-Identifier: MIT
// service/admission.ipp: who sends a request, what it is for, and whether it is served: Host, Origin, token, method.
#pragma once

#include "../base/version.hpp"

#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "../base/suggest.ipp"
#include "../call/reply.ipp"
#include "../os/socket.ipp"
#include "../wire/http_head.ipp"
#include "explorer.ipp"
#include "registry.ipp"
#include "route.ipp"
#include "server.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// A refusal that does not depend on the body; status 0: none.
struct Refusal {
  int status = 0;
  std::string_view slug = {};
};

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

/// What the Host header, or an absolute target, calls us.
inline std::string_view host_of(const RequestHead& head) {
  return !head.authority.empty() ? head.authority : head.host.value_or(std::string_view{});
}

/// Decides, for one connection after the other request, who calls what and whether that is served.
class Admission {
 public:
  /// `peer`, `caller` and `head`, in which each request stands in turn, are those of the connection over `socket`.
  Admission(Server& server, const Peer& peer, Caller& caller, const RequestHead& head, int socket)
      : server_(server), peer_(peer), caller_(caller), head_(head), socket_(socket), known_(peer.over_unix_socket) {}

  const Route& route() const noexcept { return route_; }
  const std::optional<RouteTo>& routed() const noexcept { return routed_; }
  const std::shared_ptr<const Method>& method() const noexcept { return method_; }
  /// The peer is the user of the service, or has shown the token.
  bool known() const noexcept { return known_; }
  /// Whether this request has come from the user of the service, whatever else comes over the connection.
  bool ours() const noexcept { return route_.authenticated || peer_.over_unix_socket; }

  /// A head is there, which began to come at `start`. False if it brings what may be the token, and those who guess
  /// have to wait before that is looked at.
  bool may_be_read_now(Clock::time_point start);
  /// A head that had to wait has waited.
  bool has_waited() const noexcept { return hearing_ == Hearing::slowly; }
  /// Finds route and method; says whether the request is refused whatever its body says.
  Refusal decide();
  /// What the service is to prove to a stranger that it is the one of the url file; empty if nothing.
  std::string_view challenge() const;
  /// Too many wrong tokens came over a connection that had shown the right one: it ends with this answer.
  bool lost_trust() const noexcept { return lost_trust_; }
  /// The head is elsewhere now.
  void rebase() noexcept {
    route_.rebase(head_);
    if (routed_) route_.method = routed_->method;
  }
  /// Forgets the request, not the peer.
  void reset() noexcept {
    method_.reset();
    route_ = Route{};
    routed_.reset();
  }
  /// What is answered to a request that is refused.
  ErrorReply reply_to(const Refusal& refusal) const;
  /// The caller is this program, which needs no token.
  void trust_caller() noexcept { within_process_ = true; }

 private:
  std::string refused_host() const;
  void find_caller();
  void find_method();
  void refuse_route();
  bool through_proxy() const;
  Hearing hearing(Clock::time_point now);
  int wrong_tokens() const;
  bool brings_token();
  void note_caller();
  std::string_view foreign_browser();

  Server& server_;
  const Peer& peer_;
  Caller& caller_;
  const RequestHead& head_;
  const int socket_;
  Route route_;
  std::optional<RouteTo> routed_;  ///< what a router said; `route_` points into it
  std::shared_ptr<const Method> method_;
  std::string own_host_;                ///< the last Host that was found to be one of ours
  Hearing hearing_ = Hearing::at_once;  ///< of what it may have as its token
  bool known_;
  bool within_process_ = false;
  bool throttled_ = false;  ///< too many wrong tokens have come from where this request comes from
  bool lost_trust_ = false;
};

KETTLINGAR_INLINE bool Admission::may_be_read_now(Clock::time_point start) {
  hearing_ = hearing(start);
  return hearing_ != Hearing::slowly || !brings_token();
}

/// Why the request is refused if it comes from a web page that is not ours, or was led here under a foreign name (DNS
/// rebinding): the slug of the log line, or nothing.
KETTLINGAR_INLINE std::string_view Admission::foreign_browser() {
  if (from_other_site(head_) && !follows_link_to_explorer(head_, server_.prefix())) return "origin";
  const std::string_view host = host_of(head_);
  if (!peer_.over_unix_socket && !host.empty() && host != own_host_) {
    const std::string_view name = http::host_name(host);
    if (!own_name(name, server_.settings.worker_listen_host)) {
      // It may have been accepted by another process, which listens elsewhere.
      const std::string here = socket_name(socket_, false);
      if (!own_name(name, here.substr(0, here.rfind(':'))) && !listed_host(host, server_.settings.worker_allow_hosts))
        return "host";
    }
    own_host_ = host;
  }
  if (!head_.origin) return {};
  const std::string_view origin = *head_.origin;
  if (!host.empty() && origin.starts_with("http://") && http::same_word(origin.substr(7), host)) return {};
  // Pages that came through a proxy have its name, perhaps by https, which it does not always tell us as Host.
  const std::string_view rest = origin.starts_with("http://")    ? origin.substr(7)
                                : origin.starts_with("https://") ? origin.substr(8)
                                                                 : std::string_view{};
  return !rest.empty() && http::valid_authority(rest) && listed_host(rest, server_.settings.worker_allow_hosts)
             ? std::string_view{}
             : "origin";
}

/// Who calls what, by the usual rules.
KETTLINGAR_INLINE void Admission::find_caller() {
  const Token nobody_has;
  route_ = find_route(head_, hearing_ == Hearing::never ? nobody_has : server_.token, server_.prefix());
  if (within_process_) route_.authenticated = true;
}

/// The same, by those of the program as well.
KETTLINGAR_INLINE void Admission::find_method() {
  find_caller();
  if ((!server_.authenticator && !server_.router) || !challenge().empty()) return;
  Request request(head_, peer_, caller_, server_.executor);
  try {
    ConnectionAccess::route(request, route_.method, route_.path, route_.authenticated);
    if (server_.authenticator) route_.authenticated = server_.authenticator(request);
    ConnectionAccess::route(request, route_.method, route_.path, route_.authenticated);
    if (server_.router) routed_ = server_.router(request);
    if (routed_) route_.method = routed_->method;
  } catch (const Error&) {
    refuse_route();
  } catch (...) {
    server_.log_internal(ours(), "authenticator or router: " + log_escaped(words_of(std::current_exception())));
    refuse_route();
  }
}

/// What has been guessed of the token still counts.
KETTLINGAR_COLD void Admission::refuse_route() {
  Route nowhere;
  nowhere.wrong_path = route_.wrong_path;
  nowhere.wrong_words = route_.wrong_words;
  route_ = nowhere;
  routed_.reset();
}

KETTLINGAR_INLINE std::string_view Admission::challenge() const {
  if (route_.authenticated || !route_.path.starts_with(challenge_path)) return {};
  const std::string_view words = route_.path.substr(challenge_path.size());
  return words.size() >= 16 && words.size() <= 64 ? words : std::string_view{};
}

/// Whether the caller has been named by a proxy, behind which there may be anybody.
KETTLINGAR_COLD bool Admission::through_proxy() const {
  return listed_host(host_of(head_), server_.settings.worker_allow_hosts);
}

/// When what this peer sends is compared with the token. A connection over which the right one came does not wait: it
/// ends with the first wrong one instead.
KETTLINGAR_INLINE Hearing Admission::hearing(Clock::time_point now) {
  throttled_ = lost_trust_ = false;
  if (known_ || !server_.guesses.any_wrong_tokens(now)) return Hearing::at_once;
  const GuessOrigin origin(socket_);
  const Hearing hearing = server_.guesses.hearing(origin.name, now);
  throttled_ = hearing != Hearing::at_once;
  if (!throttled_) return hearing;
  if (through_proxy()) return Hearing::slowly;
  return origin.trusted ? Hearing::at_once : hearing;
}

/// How many tokens, all of them wrong, the request has brought. After the search for its method.
KETTLINGAR_INLINE int Admission::wrong_tokens() const {
  if (!route_.wrong_path) return route_.wrong_words;
  const std::string_view first = route_.path.substr((std::min<std::size_t>)(1, route_.path.size()));
  return route_.wrong_words + (challenge().empty() && !(method_ && first.starts_with(method_->name())));
}

/// Whether the request, which is to wait if so, has brought what may be the token. Nothing comes of that as yet.
KETTLINGAR_COLD bool Admission::brings_token() {
  find_caller();
  method_ = server_.methods.find(route_.method, false);
  const bool brings = route_.authenticated || wrong_tokens() != 0;
  route_ = Route{};
  method_.reset();
  return brings;
}

/// Remembers whoever has shown the token, and counts what was something else.
KETTLINGAR_INLINE void Admission::note_caller() {
  if (route_.authenticated) {
    known_ = true;
  } else if (const int wrong = wrong_tokens(); wrong != 0 && !peer_.over_unix_socket) {
    if (!server_.count_wrong_tokens(socket_, wrong, through_proxy())) return;
    throttled_ = true;
    lost_trust_ = known_;
  }
}

KETTLINGAR_INLINE Refusal Admission::decide() {
  if (const std::string_view slug = foreign_browser(); !slug.empty()) {
    if (slug == "host") {
      // Who has the token is told more, so whoever has not is counted.
      find_caller();
      note_caller();
    }
    return {403, slug};
  }
  if (head_.method != "GET" && head_.method != "POST" && head_.method != "HEAD") {
    for (const std::string_view other : {"PUT", "DELETE", "PATCH", "TRACE", "CONNECT"}) {
      if (head_.method == other) return {405, "bad-line"};
    }
    return head_.method == "OPTIONS" ? Refusal{204, "ok"} : Refusal{501, "bad-line"};
  }

  find_method();
  method_ = route_.method.empty() ? nullptr : server_.methods.find(route_.method, route_.authenticated);
  if (!method_ || head_.sec_fetch_site || route_.path == explorer_path) {
    if (const int status = explorer_status(server_, head_, route_, method_.get()); status != 0)
      return {status, "explorer"};
    if (from_other_site(head_)) return {403, "origin"};
  }
  note_caller();
  if (!challenge().empty()) return {200, "proof"};
  // Strangers learn nothing about which methods there are.
  if (!method_ && route_.authenticated) return {404, "unknown"};
  if (!method_) return throttled_ ? Refusal{429, "guess"} : Refusal{403, "auth"};
  if (method_->post_only() && head_.method != "POST") return {405, "bad-line"};
  if (head_.encoded && head_.method == "POST" && has_body(head_)) return {415, "bad-body"};
  return {};
}

KETTLINGAR_COLD ErrorReply Admission::reply_to(const Refusal& refusal) const {
  switch (refusal.status) {
    case 403:
      return plain_error(
          403, refusal.slug == "host" && route_.authenticated ? refused_host() : std::string("Access Denied"));
    case 404: {
      // The name that was asked for is not repeated: it comes from whoever made the caller ask.
      ErrorReply unknown = plain_error(404, route_.method.empty()
                                                ? std::string("the path names no method")
                                                : std::string(no_such_method) + server_.methods.similar(route_.method));
      unknown.body["unknown_method"] = true;
      return unknown;
    }
    case 415:
      return plain_error(415, "a body with Content-Encoding is not understood: send it as it is");
    case 429:
      return plain_error(429, "Too many wrong tokens: wait a second");
    default:
      return plain_error(refusal.status);
  }
}

/// What the owner is told of a proxy that calls us by a name of its own.
KETTLINGAR_COLD std::string Admission::refused_host() const {
  const std::string host(host_of(head_));
  return "Host '" + host +
         "' is not a name of this service; --worker-allow-hosts=" + std::string(http::host_name(host)) +
         " makes it one";
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
