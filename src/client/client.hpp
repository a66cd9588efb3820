// SPDX-License-Identifier: MIT
// client/client.hpp: finds a service and calls it.
#pragma once

#include "../base/version.hpp"  // defines ASIO_HAS_CO_AWAIT, so it must come before Asio

#include <chrono>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "../service/kitten.hpp"
#include "auto_start.hpp"
#include "client_options.hpp"
#include "running_call.hpp"

namespace kettlingar {
inline namespace v0_1 {

namespace detail {

struct ServiceFiles;
struct StartPlan;
class ClientAccess;

// See call_check.hpp and typed_call.hpp.
template <class T, class... A>
struct CallCheck;
template <class F, class... A>
struct TypedCallCheck;
template <class F, class... A>
OutgoingCall make_typed_call(const Method& method, A&&... arguments);

}  // namespace detail

/// Calls a running service, ours or a Python one. A cheap handle: copies share kept connections; any number of threads
/// may call at the same time.
///
/// Arguments are positional, in order; `kt::arg("sound") = "rr"` is a named one, and kt::reply_to() sends the answer
/// elsewhere. Open files and sockets (kt::Fd, kt::File, kt::Socket, given away with std::move) travel over the unix
/// socket; one that is not open, or was given away before, is an InvalidArgument that names the argument, and nothing
/// is sent. Results become a T: any type that nlohmann_json converts, `kt::json` (a document is then
/// `{"mimetype": ..., "data": ...}`), `kt::Result` (a document), `std::string` (also of a document), `void`, or
/// descriptors.
///
/// Calls throw what the handler has thrown, see Error; UnknownMethod if there is no such method, NotRunning if nobody
/// listens, ResultError if the result is no T, and ConnectionError if the connection breaks or a timeout runs out.
/// After that a call may or may not have been run. Python services tell errors of a 200 by a key: there a result that
/// is a map with `error`, and the last such item of a stream that breaks off, is an Error with 500.
///
/// A call is sent again, once, only where it certainly has not been run: its kept connection was closed before a byte
/// of it had left; the service does not take MessagePack (415 that accepts JSON); or it refused the token (403), and
/// its url file names another run by now.
///
/// A service that was restarted is found again by itself.
class Client {
 public:
  /// Finds the service by its files and makes sure that it answers. Throws NotRunning otherwise, InvalidArgument for
  /// names that cannot be.
  static Client connect(const std::string& app, const std::string& worker = "worker",
                        const ClientOptions& options = {});
  /// The same, for coroutines.
  static Task<Client> async_connect(std::string app, std::string worker = "worker", const ClientOptions& options = {});
  /// The same; a service that does not run is started, as by connect(). The Task goes on while that takes its time.
  static Task<Client> async_connect(std::string app, std::string worker, const AutoStart& start,
                                    const ClientOptions& options = {});
  /// As connect(); a service that does not run is started: `kt::auto_start("build/kitten")` runs that program,
  /// `kt::auto_start` this very one. Throws NotRunning with what the program said if that fails, or takes more than a
  /// minute. The program gets `--worker-name` and `--app-state-dir` as they are given here. Later calls of this client
  /// start the service again if it does not run by then: nothing has been sent in that case. A program that is another
  /// service is told what it was started as, and refuses; what others leave running, as Python services do, is stopped
  /// by `program PREFIX OPTIONS stop` once 10 s have shown that it is not the one, or else by SIGTERM.
  static Client connect(const std::string& app, const std::string& worker, const AutoStart& start,
                        const ClientOptions& options = {});

  // By name, blocking: not in handlers, whose service would wait with them. To call the very service that this thread
  // runs, or polls, is a std::logic_error; so it is within a handler that this thread runs for it, see
  // Kitten::run_handlers_on().

  /// The result of a method: `kitty.call<int>("add", 1, 2)`. Of a stream the first item only.
  template <class T = json, class... A>
  T call(std::string_view method, A&&... arguments) const {
    static_assert(detail::CallCheck<T, A...>::done);
    detail::RunningCall call(state_->transport, detail::make_call(method, std::forward<A>(arguments)...));
    return detail::only_result<T>(call);
  }
  /// The items of a method that streams, see Stream.
  template <class T = json, class... A>
  Stream<T> stream(std::string_view method, A&&... arguments) const {
    static_assert(detail::CallCheck<T, A...>::done);
    return Stream<T>({state_->transport, detail::make_call(method, std::forward<A>(arguments)...)});
  }

  // By name, in coroutines. They run on the executor of whoever awaits them, which must not run one coroutine on two
  // threads at a time (one thread, or a strand). Arguments are converted at once; nothing of them has to live longer,
  // and the client need not, either. A call that is cancelled closes its connection.

  template <class T = json, class... A>
  Task<T> async_call(std::string_view method, A&&... arguments) const {
    static_assert(detail::CallCheck<T, A...>::done);
    detail::refuse_temporaries<A...>();
    return detail::async_only_result<T>({state_->transport, detail::make_call(method, std::forward<A>(arguments)...)});
  }
  template <class T = json, class... A>
  AsyncStream<T> async_stream(std::string_view method, A&&... arguments) const {
    static_assert(detail::CallCheck<T, A...>::done);
    detail::refuse_temporaries<A...>();
    return AsyncStream<T>({state_->transport, detail::make_call(method, std::forward<A>(arguments)...)});
  }

  // By the handler itself, checked by the compiler: `kitty.call(&MyKitten::add, 1, 2)`. For clients of a Kitten, which
  // know under what name a handler was added; others throw std::invalid_argument. Arguments as above, but all of them,
  // unless some are given by kt::arg. The result has the type that the handler returns; without its Task, and Stream<T>
  // for a Generator<T>.

  template <detail::NamedFunction F, class... A>
  auto call(F function, A&&... arguments) const {
    static_assert(detail::TypedCallCheck<F, A...>::done);
    if constexpr (detail::ReturnedBy<F>::streams) {
      return stream(function, std::forward<A>(arguments)...);
    } else {
      detail::RunningCall call = typed(function, std::forward<A>(arguments)...);
      return detail::only_result<typename detail::ReturnedBy<F>::type>(call);
    }
  }
  template <detail::NamedFunction F, class... A>
  auto stream(F function, A&&... arguments) const {
    static_assert(detail::TypedCallCheck<F, A...>::done);
    static_assert(detail::ReturnedBy<F>::streams, "kettlingar: this method does not stream: use call()");
    return Stream<typename detail::ReturnedBy<F>::type>(typed(function, std::forward<A>(arguments)...));
  }
  template <detail::NamedFunction F, class... A>
  auto async_call(F function, A&&... arguments) const {
    static_assert(detail::TypedCallCheck<F, A...>::done);
    static_assert(!detail::ReturnedBy<F>::streams, "kettlingar: this method streams: use async_stream()");
    detail::refuse_temporaries<A...>();
    return detail::async_only_result<typename detail::ReturnedBy<F>::type>(
        typed(function, std::forward<A>(arguments)...));
  }
  template <detail::NamedFunction F, class... A>
  auto async_stream(F function, A&&... arguments) const {
    static_assert(detail::TypedCallCheck<F, A...>::done);
    static_assert(detail::ReturnedBy<F>::streams, "kettlingar: this method does not stream: use async_call()");
    detail::refuse_temporaries<A...>();
    return AsyncStream<typename detail::ReturnedBy<F>::type>(typed(function, std::forward<A>(arguments)...));
  }

 private:
  friend class detail::ClientAccess;

  using Methods = std::vector<std::shared_ptr<const detail::Method>>;
  struct State {
    std::shared_ptr<detail::Transport> transport;
    Methods methods;  ///< those of the Kitten that this is a client of
  };

  explicit Client(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  const detail::Method& method_of(const void* tag, const void* function) const;

  template <class F, class... A>
  detail::RunningCall typed(F function, A&&... arguments) const {
    const detail::Method& method = method_of(&detail::function_tag<F>, &function);
    return {state_->transport, detail::make_typed_call<F>(method, std::forward<A>(arguments)...)};
  }

  std::shared_ptr<const State> state_;
};

namespace detail {

/// The library's own way to make clients.
class ClientAccess {
 public:
  /// Nothing is looked for before the first call.
  static Client make(std::shared_ptr<Transport> transport, Client::Methods methods = {});
  static Client make(const Settings& settings, const ClientOptions& options, Client::Methods methods = {},
                     std::shared_ptr<const StartPlan> plan = {});
  static Transport& transport(const Client& client) { return *client.state_->transport; }

  /// Throws NotRunning unless a service answers.
  static const Client& require_pong(const Client& client, const ServiceFiles& files);
  static Task<Client> async_require_pong(Client client, ServiceFiles files);
  /// Both: the same for a client that starts its service.
  static const Client& require_started(const Client& client, const ServiceFiles& files);
  static Task<Client> async_require_started(Client client, ServiceFiles files);

 private:
  static void check_pong(const json& pong, const std::exception_ptr& thrown, const ServiceFiles& files);
};

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
