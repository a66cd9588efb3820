// SPDX-License-Identifier: MIT
// base/errors.hpp: the exceptions that handlers throw and clients throw back: one tree, by HTTP status.
#pragma once

#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "json.hpp"
#include "version.hpp"

namespace kettlingar {
inline namespace v0_1 {

/// An answer that is not a result. Thrown by a handler it becomes the reply: `status` as HTTP status, the text as
/// `{"error": text}`. Clients throw it as the handler has: the same class of this file, status and text, also in the
/// middle of a stream; what derives from one of these classes comes as that one. The text reaches whoever called,
/// strangers of public methods included; any other exception of a handler is an Error with 500, whose text only
/// authenticated callers see.
class Error : public std::runtime_error {
 public:
  /// `status` is an HTTP status of 300 to 599; others count as 500.
  Error(int status, const std::string& text)
      : std::runtime_error(text), status_(status >= 300 && status <= 599 ? status : 500) {}

  int status() const noexcept { return status_; }

 private:
  int status_;
};

/// 400, or another 4xx: the caller's arguments cannot be used. So is a 4xx of a service that refuses a request before a
/// handler has it (413, 415 ...).
class InvalidArgument : public Error {
 public:
  explicit InvalidArgument(const std::string& text, int status = 400) : Error(status, text) {}
};

/// 401, 403 or 407: wrong token, or a caller that may not do this.
class PermissionDenied : public Error {
 public:
  explicit PermissionDenied(const std::string& text = "Access Denied", int status = 403) : Error(status, text) {}
};

/// 404: no such method, or nothing of that name.
class NotFound : public Error {
 public:
  explicit NotFound(const std::string& text = "Not Found") : Error(404, text) {}
};

/// 404: the service has no method of that name. Its text names one that may have been meant. A service does not repeat
/// what it was asked for: clients know that.
class UnknownMethod : public NotFound {
 public:
  UnknownMethod(std::string method, const std::string& text) : NotFound(text), method_(std::move(method)) {}

  const std::string& method() const noexcept { return method_; }

 private:
  std::string method_;
};

/// One thing a method has to be told before it can work, see NeedInfo.
struct NeededVariable {
  std::string name;          ///< the argument to add to the next try
  std::string type = "str";  ///< starts with `pass`: asked for without echo; `user`: a user name
  std::string comment = {};  ///< shown as the prompt; the name or a word for the type if empty
  json fallback = nullptr;   ///< what an empty answer means
};

/// 423: "ask the user for these and call again". The command line prompts, up to three rounds.
class NeedInfo : public Error {
 public:
  explicit NeedInfo(const std::string& text, std::vector<NeededVariable> needed = {}, json resource = false);

  const std::vector<NeededVariable>& needed() const noexcept { return needed_; }
  const json& resource() const noexcept { return resource_; }

 private:
  std::vector<NeededVariable> needed_;
  json resource_;
};

/// 302, or another 3xx: look elsewhere. `location` is sent as it is and must be a valid header value. Clients follow
/// none.
class Redirect : public Error {
 public:
  explicit Redirect(std::string location, int status = 302)
      : Error(status, "Redirect to " + location), location_(std::move(location)) {}

  const std::string& location() const noexcept { return location_; }

 private:
  std::string location_;
};

/// What can be said of a service from outside. On the command line each has an exit code: 0, 1, 4 and 5.
enum class ServiceState {
  runs,         ///< it answers, and knows us
  not_running,  ///< nobody has the name
  silent,       ///< its process runs, but does not answer: it starts or ends, is stopped, or a handler blocks
  foreign       ///< it is another user's, or something else answers in its place
};

/// No service of ours answers under that name; `state` says why. Thrown by clients only.
class NotRunning : public std::runtime_error {
 public:
  explicit NotRunning(const std::string& text, ServiceState state = ServiceState::not_running)
      : std::runtime_error(text), state_(state) {}

  ServiceState state() const noexcept { return state_; }

 private:
  ServiceState state_;
};

/// The connection broke, or what came back was not an answer. Thrown by clients only.
class ConnectionError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The service has answered, and the call is done, but its result is not of the type that was asked for: to call again
/// does not help. Thrown by clients only.
class ResultError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The service could not start: address in use, directory not safe, already running. Thrown by `start` and `run`.
class StartError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

namespace detail {

/// The name of the class that stands for a status where nothing more is said.
std::string_view usual_class(int status);
/// Of any Error, the one of this file that it is.
std::string_view class_of(const std::exception_ptr& thrown);
/// `HTTP 404: text`
std::string with_status(const Error& error);

/// The text of an exception of any type.
std::string words_of(const std::exception_ptr& thrown);

}  // namespace detail

}  // namespace v0_1
}  // namespace kettlingar
