// SPDX-License-Identifier: MIT
// client/client.hpp: finds a service by its files and calls it.
#pragma once

#include <charconv>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "../base/log.hpp"
#include "../os/state.hpp"
#include "../service/settings.hpp"
#include "exchange.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Where a service is, as its url file says.
struct ServiceAddress {
  std::string host;  ///< numeric; `unix-domain` without TCP
  std::uint16_t port = 0;
  std::string path;    ///< prefix and token, with a leading and no trailing slash
  std::string socket;  ///< path of the unix socket; may not exist
};

/// Reads `http://host:port/path`. Nothing if it is something else.
inline std::optional<ServiceAddress> parse_service_url(std::string_view url) {
  constexpr std::string_view scheme = "http://";
  while (!url.empty() && (url.back() == '\n' || url.back() == '\r' || url.back() == ' ' || url.back() == '/'))
    url.remove_suffix(1);
  if (!url.starts_with(scheme)) return std::nullopt;
  url.remove_prefix(scheme.size());
  const std::size_t slash = url.find('/');
  const std::size_t colon = url.substr(0, slash).rfind(':');
  if (slash == std::string_view::npos || colon == std::string_view::npos) return std::nullopt;
  ServiceAddress address;
  const std::string_view digits = url.substr(colon + 1, slash - colon - 1);
  const auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), address.port);
  if (error != std::errc{} || stop != digits.data() + digits.size()) return std::nullopt;
  address.host = std::string(url.substr(0, colon));
  address.path = std::string(url.substr(slash));
  return address;
}

/// How a client calls.
struct ClientOptions {
  bool use_unix_socket = true;
  bool use_tcp = true;
  bool use_msgpack = true;
  Timeouts timeouts = {};
  Limits limits = {};
};

/// Calls one service; a connection for each call. Blocking; for one thread at a time.
class Client {
 public:
  /// Finds the service that `settings` describe. Throws NotRunning if there is no url file, ConnectionError if it is
  /// unreadable.
  Client(const Settings& settings, ClientOptions options);

  /// Sends a call. Read its result or items with Exchange::next(), while the Client lives. Throws NotRunning if nobody
  /// listens, InvalidArgument for a name that cannot be sent.
  std::unique_ptr<Exchange> start(const std::string& method, const json& arguments) const;
  /// The result of a method that does not stream.
  json call(const std::string& method, const json& arguments) const {
    return start(method, arguments)->next().value_or(json(nullptr));
  }

  const ServiceAddress& address() const noexcept { return address_; }
  /// Connects without calling anything. Throws NotRunning.
  Fd connect() const;

 private:
  std::string request(const std::string& method, const json& arguments, bool msgpack) const;

  ClientOptions options_;
  ServiceAddress address_;
  std::string lock_;
  std::string name_;
};

inline Client::Client(const Settings& settings, ClientOptions options)
    : options_(std::move(options)), name_(settings.worker_name) {
  constexpr std::size_t longest = 4096;
  const std::string path = url_file(settings);
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  std::string url;
  if (!fd && errno == ENOENT) throw NotRunning(name_ + ": Not running: Start it first?");
  if (!fd || !read_all(fd.get(), url, longest))
    throw ConnectionError("cannot read " + path + ": " + std::strerror(errno));
  const auto found = parse_service_url(url);
  if (!found && url.empty()) throw NotRunning(name_ + ": Not running: Start it first?");
  if (!found) throw ConnectionError(path + " is not the url file of a service: expected http://host:port/token");
  address_ = *found;
  address_.socket = socket_file(settings);
  lock_ = lock_file(settings);
}

inline Fd Client::connect() const {
  const auto deadline = std::chrono::steady_clock::now() + options_.timeouts.connect;
  if (options_.use_unix_socket) {
    if (const auto address = unix_address(address_.socket)) {
      Fd fd = connect_socket(*address, deadline);
      // The token goes to our own user's services only, whoever may have put a socket there.
      const auto peer = fd ? peer_credentials(fd.get()) : std::nullopt;
      if (peer && peer->uid != ::geteuid() && peer->uid != 0)
        throw ConnectionError(address_.socket + " belongs to another user");
      if (fd) return fd;
    }
  }
  // After a crash the port may be somebody else's by now, who must not get the token.
  const bool dead = lock_is_stale(lock_);
  if (options_.use_tcp && address_.host != "unix-domain" && !dead) {
    if (const auto address = tcp_address(address_.host, address_.port)) {
      Fd fd = connect_socket(*address, deadline);
      if (fd) return fd;
    }
  }
  if (!options_.use_unix_socket && address_.host == "unix-domain" && !dead) {
    throw NotRunning(name_ + ": listens on its unix socket only, not on TCP");
  }
  throw NotRunning(name_ + ": Not running: Start it first?");
}

inline std::string Client::request(const std::string& method, const json& arguments, bool msgpack) const {
  std::string body;
  const CodecError error = msgpack ? encode_msgpack(arguments, body) : encode_json(arguments, body);
  if (error) throw InvalidArgument("the arguments cannot be encoded: " + std::string(error.why));
  if (!msgpack) body += '\n';
  RequestHeadOptions head;
  const std::string target = address_.path + "/" + method;
  head.target = target;
  head.content_type = msgpack ? "application/x-msgpack" : "application/json";
  head.content_length = body.size();
  head.connection = ConnectionHeader::close;
  head.bare_lf = true;  // Python services cut the bodies of others too early
  std::string bytes;
  if (method.find('/') != std::string::npos || method.find('?') != std::string::npos ||
      !append_request_head(bytes, head)) {
    throw InvalidArgument("'" + log_escaped(method) + "' cannot be the name of a method");
  }
  return bytes + body;
}

inline std::unique_ptr<Exchange> Client::start(const std::string& method, const json& arguments) const {
  auto answer = std::make_unique<Exchange>(connect(), options_.limits, options_.timeouts,
                                           request(method, arguments, options_.use_msgpack));
  // "Not in this encoding": nothing has been run, and JSON is always understood.
  if (answer->status() != 415 || !options_.use_msgpack) return answer;
  return std::make_unique<Exchange>(connect(), options_.limits, options_.timeouts, request(method, arguments, false));
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
