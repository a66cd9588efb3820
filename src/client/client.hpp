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
#include "http_transport.hpp"
#include "results.hpp"
#include "running_call.hpp"
#include "starter.hpp"
#include "typed_call.hpp"

namespace kettlingar {
inline namespace v0_1 {

namespace detail {
struct ServiceFiles;
struct StartPlan;
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
  friend class ClientAccess;

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

/// The library's own way to make clients; not for users.
class ClientAccess {
 public:
  /// Nothing is looked for before the first call.
  static Client make(std::shared_ptr<detail::Transport> transport, Client::Methods methods = {});
  static Client make(const Settings& settings, const ClientOptions& options, Client::Methods methods = {},
                     std::shared_ptr<const detail::StartPlan> plan = {});
  static detail::Transport& transport(const Client& client) { return *client.state_->transport; }

  /// Throws NotRunning unless a service answers.
  static const Client& require_pong(const Client& client, const detail::ServiceFiles& files);
  static Task<Client> async_require_pong(Client client, detail::ServiceFiles files);
  /// Both: the same for a client that starts its service.
  static const Client& require_started(const Client& client, const detail::ServiceFiles& files);
  static Task<Client> async_require_started(Client client, detail::ServiceFiles files);

 private:
  static void check_pong(const json& pong, const std::exception_ptr& thrown, const detail::ServiceFiles& files);
};

#if KETTLINGAR_DEFINITIONS
KETTLINGAR_INLINE const detail::Method& Client::method_of(const void* tag, const void* function) const {
  for (const auto& method : state_->methods) {
    if (method->is_function(tag, function)) return *method;
  }
  throw std::invalid_argument(state_->methods.empty()
                                  ? "kettlingar: this client knows no functions: call by name, or use Kitten::connect()"
                                  : "kettlingar: this function is not a method of the service: add it with api()");
}

KETTLINGAR_COLD Client ClientAccess::make(std::shared_ptr<detail::Transport> transport, Client::Methods methods) {
  auto state = std::make_shared<Client::State>();
  state->transport = std::move(transport);
  state->methods = std::move(methods);
  return Client(std::move(state));
}

KETTLINGAR_COLD Client ClientAccess::make(const Settings& settings, const ClientOptions& options,
                                          Client::Methods methods, std::shared_ptr<const detail::StartPlan> plan) {
  return make(std::make_shared<detail::HttpTransport>(settings, options, std::move(plan)), std::move(methods));
}

KETTLINGAR_COLD const Client& ClientAccess::require_pong(const Client& client, const detail::ServiceFiles& files) {
  std::exception_ptr thrown;
  json pong;
  try {
    pong = client.call("ping");
  } catch (...) {
    thrown = std::current_exception();
  }
  check_pong(pong, thrown, files);
  return client;
}

KETTLINGAR_INLINE Task<Client> ClientAccess::async_require_pong(Client client, detail::ServiceFiles files) {
  std::exception_ptr thrown;
  json pong;
  try {
    pong = co_await client.async_call("ping");
  } catch (...) {
    thrown = std::current_exception();
  }
  check_pong(pong, thrown, files);
  co_return client;
}

KETTLINGAR_COLD void ClientAccess::check_pong(const json& pong, const std::exception_ptr& thrown,
                                              const detail::ServiceFiles& files) {
  std::string why = "something else answers";
  try {
    if (thrown) std::rethrow_exception(thrown);
    if (pong.is_object() && pong.contains("pong") && pong["pong"] == true) return;
    if (detail::is_document(pong)) why = "what answers does not know our token";
  } catch (const PermissionDenied& error) {
    why = "what answers does not know our token: " + detail::with_status(error);
  } catch (const Error& error) {
    throw files.silent(detail::with_status(error));
  } catch (const detail::UntrustedService& error) {
    throw NotRunning(files.name + ": " + error.what(), ServiceState::foreign);
  } catch (const ConnectionError& error) {
    throw files.silent(error.what());
  }
  throw NotRunning(files.name + ": not ours: " + why, ServiceState::foreign);
}

/// What is about to end, or to start, is asked again for a while where it would be started, too.
KETTLINGAR_COLD Task<Client> ClientAccess::async_require_started(Client client, detail::ServiceFiles files) {
  constexpr std::chrono::milliseconds pause{20};
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  for (;;) {
    try {
      co_return co_await async_require_pong(client, files);
    } catch (const NotRunning& error) {
      if (error.state() != ServiceState::silent || std::chrono::steady_clock::now() >= deadline) throw;
    }
    co_await sleep_for(pause);
  }
}

KETTLINGAR_COLD const Client& ClientAccess::require_started(const Client& client, const detail::ServiceFiles& files) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  for (;;) {
    try {
      return require_pong(client, files);
    } catch (const NotRunning& error) {
      if (error.state() != ServiceState::silent || std::chrono::steady_clock::now() >= deadline) throw;
    }
    ::poll(nullptr, 0, 20);
  }
}

namespace detail {

inline Settings client_settings(const std::string& app, const std::string& worker, const ClientOptions& options) {
  if (!safe_file_name(app) || !safe_file_name(worker))
    throw InvalidArgument("'" + log_escaped(app + "/" + worker) + "' cannot be the name of a service");
  Settings settings;
  settings.app_name = app;
  settings.worker_name = worker;
  settings.app_state_dir = options.state_directory;
  try {
    normalise(settings);
  } catch (const std::system_error& error) {
    throw ConnectionError(error.what());
  }
  return settings;
}

/// What has to be said to a program so that it becomes the service that `options` describe here.
inline HiddenWords differing_options(const Options& options) {
  std::vector<std::string> words;
  for (const Option& option : options.all()) {
    const json value = option.get();
    // What a configuration file said is in the values.
    if (option.name == "worker_config" || value == option.fallback) continue;
    words.push_back("--" + option.name + "=" + option_text(value));
  }
  return hide_secrets(options, std::move(words));
}

inline Client client_of(const Settings& present, std::vector<std::shared_ptr<const Method>> methods,
                        std::shared_ptr<const StartPlan> plan = {}) {
  Settings settings = present;
  normalise(settings);
  ClientOptions options;
  options.use_unix_socket = settings.worker_use_unixdomain;
  options.use_tcp = settings.worker_use_tcp;
  options.use_msgpack = settings.worker_use_msgpack;
  const bool starts = plan != nullptr;
  const Client client = ClientAccess::make(settings, options, std::move(methods), std::move(plan));
  const ServiceFiles files(settings);
  return starts ? ClientAccess::require_started(client, files) : ClientAccess::require_pong(client, files);
}

}  // namespace detail

KETTLINGAR_COLD Client Client::connect(const std::string& app, const std::string& worker,
                                       const ClientOptions& options) {
  const Settings settings = detail::client_settings(app, worker, options);
  return ClientAccess::require_pong(ClientAccess::make(settings, options), detail::ServiceFiles(settings));
}

KETTLINGAR_INLINE Task<Client> Client::async_connect(std::string app, std::string worker,
                                                     const ClientOptions& options) {
  const Settings settings = detail::client_settings(app, worker, options);
  return ClientAccess::async_require_pong(ClientAccess::make(settings, options), detail::ServiceFiles(settings));
}

namespace detail {

KETTLINGAR_COLD std::shared_ptr<const StartPlan> start_plan(const Settings& settings, const AutoStart& start) {
  auto plan = std::make_shared<StartPlan>();
  plan->how = start;
  plan->name = settings.app_name + "/" + settings.worker_name;
  plan->words.words.push_back("--worker-name=" + settings.worker_name);
  if (!settings.app_state_dir.empty()) plan->words.words.push_back("--app-state-dir=" + settings.app_state_dir);
  return plan;
}

}  // namespace detail

KETTLINGAR_COLD Client Client::connect(const std::string& app, const std::string& worker, const AutoStart& start,
                                       const ClientOptions& options) {
  const Settings settings = detail::client_settings(app, worker, options);
  return ClientAccess::require_started(ClientAccess::make(settings, options, {}, detail::start_plan(settings, start)),
                                       detail::ServiceFiles(settings));
}

KETTLINGAR_COLD Task<Client> Client::async_connect(std::string app, std::string worker, const AutoStart& start,
                                                   const ClientOptions& options) {
  const Settings settings = detail::client_settings(app, worker, options);
  return ClientAccess::async_require_started(
      ClientAccess::make(settings, options, {}, detail::start_plan(settings, start)), detail::ServiceFiles(settings));
}

KETTLINGAR_COLD Client Kitten::connect() { return detail::client_of(server_->settings, server_->methods.all()); }

KETTLINGAR_COLD Client Kitten::connect(const AutoStart& start) {
  const Settings& settings = server_->settings;
  auto plan = std::make_shared<detail::StartPlan>();
  plan->how = start;
  if (start.program.empty() && start.command_prefix.empty()) plan->how.command_prefix = server_->command_prefix;
  plan->words = detail::differing_options(server_->options);
  plan->name = settings.app_name + "/" + settings.worker_name;
  return detail::client_of(settings, server_->methods.all(), std::move(plan));
}
#endif

}  // namespace v0_1
}  // namespace kettlingar
