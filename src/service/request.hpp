// SPDX-License-Identifier: MIT
// service/request.hpp: what a handler may know about the call it serves.
#pragma once

#include "../base/version.hpp"  // knows better than Asio, so it comes first

#include <poll.h>
#include <sys/socket.h>

#include <asio/any_io_executor.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "../base/json.hpp"
#include "../os/socket.hpp"
#include "../wire/http_head.hpp"

namespace kettlingar {
inline namespace v0_1 {

/// Who is at the other end of a connection.
struct Peer {
  std::string address;  ///< `127.0.0.1:39010`, or `unix-domain`
  bool over_unix_socket = false;
  std::optional<PeerCredentials> credentials;  ///< of a unix socket's peer, as of connect()
};

/// The call being served; a handler gets it by taking `kt::Request&` as its first parameter. It lives until the
/// handler's last item or result has been encoded; views and references out of it live as long. Use it on the service's
/// thread only.
class Request {
 public:
  Request(const RequestHead& head, const Peer& peer, int socket, asio::any_io_executor executor)
      : head_(head), peer_(peer), socket_(socket), executor_(std::move(executor)) {}

  /// True if the caller knew the token. Private methods only ever see true.
  bool authenticated() const noexcept { return authenticated_; }
  /// Name of the method called; `web_root` for `/`.
  std::string_view method() const noexcept { return method_; }
  /// The path without query, prefix and token: `/method/...`, not percent-decoded.
  std::string_view path() const noexcept { return path_; }
  /// What follows `?` in the target, not percent-decoded.
  std::string_view query() const noexcept { return head_.query; }
  /// `GET`, `HEAD` or `POST`.
  std::string_view http_method() const noexcept { return head_.method; }
  /// First header line of that name, in any case; nothing if there is none.
  std::optional<std::string_view> header(std::string_view name) const { return head_.fields.find(name); }
  const Peer& peer() const noexcept { return peer_; }
  /// All arguments as they came: names as keys, positional ones as the list `_args`.
  const json& arguments() const noexcept { return arguments_; }
  /// True once the caller has hung up (its half of the connection is closed) or the service stops: nobody waits for a
  /// result.
  bool cancelled() const;
  /// The executor that runs this service and its handlers.
  const asio::any_io_executor& executor() const noexcept { return executor_; }

 private:
  friend class ConnectionAccess;

  const RequestHead& head_;
  const Peer& peer_;
  int socket_;
  asio::any_io_executor executor_;
  std::string_view method_;
  std::string_view path_;
  json arguments_ = json::object();
  bool authenticated_ = false;
  bool cancelled_ = false;
};

/// The library's own way to fill in a Request; not for users.
class ConnectionAccess {
 public:
  static void route(Request& request, std::string_view method, std::string_view path, bool authenticated) {
    request.method_ = method;
    request.path_ = path;
    request.authenticated_ = authenticated;
  }
  static json& arguments(Request& request) { return request.arguments_; }
  static void cancel(Request& request) { request.cancelled_ = true; }
};

inline bool Request::cancelled() const {
  if (cancelled_) return true;
  char byte = 0;
  const ssize_t n = detail::retry_interrupted([&] { return ::recv(socket_, &byte, 1, MSG_PEEK | MSG_DONTWAIT); });
  return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK);
}

}  // namespace v0_1
}  // namespace kettlingar
