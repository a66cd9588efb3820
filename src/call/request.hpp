// SPDX-License-Identifier: MIT
// call/request.hpp: what a handler may know about the call it serves.
#pragma once

#include "../base/version.hpp"  // defines ASIO_HAS_CO_AWAIT, so it must come before Asio

#include <asio/any_io_executor.hpp>
#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/json.hpp"
#include "../os/passing.hpp"

namespace kettlingar {
inline namespace v0_1 {

/// Who is at the other end of a connection.
struct Peer {
  std::string address;  ///< `127.0.0.1:39010`, `unix-domain`, or `loopback`
  bool over_unix_socket = false;
  std::optional<PeerCredentials> credentials;  ///< of a unix socket's peer, as of connect()
};

namespace detail {

struct RequestHead;
class ConnectionAccess;

/// The connection a request came over, as far as its handler may reach it. Used on the service's thread.
class Caller {
 public:
  /// What another service needs to go on with the answer.
  struct HandOver {
    Fd connection;           ///< a duplicate
    std::uint64_t sent = 0;  ///< bytes of the answer so far
    bool use_msgpack = false;
    bool bare_lf = false;  ///< the line ends that the caller understands
  };

  virtual ~Caller() = default;
  /// True if nobody waits for the answer any more.
  virtual bool gone() const = 0;
  /// Sends what is ready; then nothing is written before released() has been called or the handler goes on. Throws
  /// Error if the connection cannot be handed over.
  virtual HandOver prepare_handover() = 0;
  /// Somebody else answers now: nothing more is written, and the connection closed without a word.
  virtual void released() = 0;
  /// See Request::take_connection().
  virtual Socket take_connection(std::string* received) = 0;
};

}  // namespace detail

/// The call being served; a handler gets it by taking `kt::Request&` as its first parameter. It lives until the
/// handler's last item or result has been encoded; views and references out of it live as long. Use it where the
/// handler runs only: on the service's thread, or the host's with Kitten::run_handlers_on(). On another thread,
/// cancelled(), take_connection() and kt::reply_to(request) throw std::logic_error where that can be told.
class Request {
 public:
  Request(const detail::RequestHead& head, const Peer& peer, detail::Caller& caller, asio::any_io_executor executor)
      : head_(head), peer_(peer), caller_(caller), executor_(std::move(executor)) {}

  /// True if the caller knew the token. Private methods only ever see true.
  bool authenticated() const noexcept { return authenticated_; }
  /// Name of the method called; `web_root` for `/`.
  std::string_view method() const noexcept { return method_; }
  /// The path without query, prefix and token: `/method/...`, not percent-decoded.
  std::string_view path() const noexcept { return path_; }
  /// What follows `?` in the target, not percent-decoded.
  std::string_view query() const noexcept;
  /// `GET`, `HEAD` or `POST`.
  std::string_view http_method() const noexcept;
  /// First header line of that name, in any case; nothing if there is none.
  std::optional<std::string_view> header(std::string_view name) const;
  const Peer& peer() const noexcept { return peer_; }
  /// All arguments as they came, in the body and in the query: names as keys, positional ones as the list `_args`.
  const json& arguments() const;
  /// True once the caller has hung up (its half of the connection is closed) or the service stops: nobody waits for a
  /// result. Where handlers run on the host's thread, a caller who has hung up may go unnoticed; outside Linux also one
  /// who had sent more.
  bool cancelled() const { return cancelled_ || caller_.gone(); }
  /// Open files and sockets that came with the call and that no parameter has claimed. Take what you need; the others
  /// are closed with the request.
  std::vector<Fd>& descriptors() noexcept { return descriptors_; }
  /// Takes the connection over, to speak whatever you like: nothing is answered, and what the handler returns is
  /// ignored. The socket is non-blocking, unless it came with the call: then its sender, who shares it, decides.
  /// `received`, if given, gets the bytes that came behind the request. Throws Error if the answer has begun, or there
  /// is no connection (loopback).
  Socket take_connection(std::string* received = nullptr);
  /// The executor that runs this service and its handlers. Copies of it, and what is posted to it, are for any thread,
  /// as long as the service exists. In a loopback() call of a service that does not run, it is an executor of that
  /// call: copies may outlive the call, and what is posted to them after it is dropped.
  const asio::any_io_executor& executor() const noexcept { return executor_; }

 private:
  friend class detail::ConnectionAccess;

  const detail::RequestHead& head_;
  const Peer& peer_;
  detail::Caller& caller_;
  asio::any_io_executor executor_;
  std::string_view method_;
  std::string_view path_;
  mutable json arguments_;  ///< null until somebody asks, if there are none
  std::vector<Fd> descriptors_;
  bool authenticated_ = false;
  std::atomic<bool> cancelled_ = false;
};

/// What a router finds: a method, and arguments that it has taken from the path.
struct RouteTo {
  std::string method;
  json arguments = json(json::value_t::object);
};

namespace detail {

/// The library's own way to fill in a Request.
class ConnectionAccess {
 public:
  static void route(Request& request, std::string_view method, std::string_view path, bool authenticated) {
    request.method_ = method;
    request.path_ = path;
    request.authenticated_ = authenticated;
  }
  static json& arguments(Request& request) { return request.arguments_; }
  static void cancel(Request& request) { request.cancelled_ = true; }
  static Caller& caller(Request& request) { return request.caller_; }
};

}  // namespace detail

}  // namespace v0_1
}  // namespace kettlingar
