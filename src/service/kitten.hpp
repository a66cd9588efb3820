// SPDX-License-Identifier: MIT
// service/kitten.hpp: the class that users see: name a service, add methods and options, run it.
#pragma once

#include "../base/version.hpp"  // knows better than Asio, so it comes first

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

#include "builtins.hpp"
#include "call_steps.hpp"
#include "listen.hpp"
#include "method.hpp"
#include "server.hpp"

namespace kettlingar {
inline namespace v0_1 {

class Client;
struct AutoStart;

namespace detail {

template <class A>
concept IsArg = std::is_same_v<A, Arg>;
template <class F>
concept MemberFunction = std::is_member_function_pointer_v<F>;

// The frames share the callable, with its captures.
template <class F>
Task<void> run_hook(std::shared_ptr<F> hook) {
  co_await (*hook)();
}
template <class F>
Task<void> run_plain_hook(std::shared_ptr<F> hook) {
  (*hook)();
  co_return;
}

/// A hook as a coroutine, whether it is one or a plain function.
template <class F>
std::function<Task<void>()> as_task(F hook) {
  if constexpr (is_task<std::invoke_result_t<F&>>) {
    return [hook = std::make_shared<F>(std::move(hook))]() -> Task<void> { return run_hook(hook); };
  } else {
    return [hook = std::make_shared<F>(std::move(hook))]() -> Task<void> { return run_plain_hook(hook); };
  }
}

}  // namespace detail

/// A service: functions become methods that can be called over HTTP on TCP and on a unix socket, and from the command
/// line.
///
/// A handler is any callable: a function, a lambda, or a member function of a class that derives from Kitten. It takes
/// its parameters by value, after an optional first `kt::Request&`, and returns a value that nlohmann_json converts,
/// nothing, a kt::Result (a document), a kt::Task (awaits), or a kt::Generator (streams). Each parameter is named by a
/// kt::arg, perhaps with a default. The service keeps a copy of the handler and the arguments of each call until that
/// call has ended, so captures and parameters are safe to use in coroutines; a wrong number of args, reference
/// parameters of coroutines and types that cannot be converted do not compile. Handlers run on the service's thread,
/// one at a time between their awaits, and may throw: see kt::Error.
class Kitten {
 public:
  /// `app_name` names the directories and the program, `worker_name` the files of this service in them.
  explicit Kitten(std::string app_name, std::string worker_name = "worker", std::string description = {});
  virtual ~Kitten() { stop(); }
  Kitten(const Kitten&) = delete;
  Kitten& operator=(const Kitten&) = delete;

  /// Adds a method for callers who know the token: `api("purr", purr, "Purr count times.", kt::arg("count") = 1)`.
  /// Throws std::invalid_argument if the name is not usable, or a default does not fit its parameter.
  template <class F, detail::IsArg... A>
  Kitten& api(std::string name, F handler, std::string doc = {}, A... args) {
    return add(detail::make_method(std::move(name), bound(std::move(handler)), std::move(doc), args...), false);
  }
  /// Without a description.
  template <class F, detail::IsArg... A>
  Kitten& api(std::string name, F handler, Arg first, A... rest) {
    return api(std::move(name), std::move(handler), std::string(), std::move(first), std::move(rest)...);
  }
  /// Adds a method of another object, which must outlive the service: `api("stretch", gymnast, &Gymnast::stretch)`.
  template <class Object, detail::MemberFunction F, detail::IsArg... A>
  Kitten& api(std::string name, Object& object, F handler, std::string doc = {}, A... args) {
    return add(
        detail::make_method(std::move(name), detail::BoundMember<Object, F>{&object, handler}, std::move(doc), args...),
        false);
  }

  /// Adds a method that needs no token. Whatever it does can be done by every program, and every web page, on this
  /// machine.
  template <class F, detail::IsArg... A>
  Kitten& public_api(std::string name, F handler, std::string doc = {}, A... args) {
    return add(detail::make_method(std::move(name), bound(std::move(handler)), std::move(doc), args...), true);
  }
  template <class F, detail::IsArg... A>
  Kitten& public_api(std::string name, F handler, Arg first, A... rest) {
    return public_api(std::move(name), std::move(handler), std::string(), std::move(first), std::move(rest)...);
  }
  template <class Object, detail::MemberFunction F, detail::IsArg... A>
  Kitten& public_api(std::string name, Object& object, F handler, std::string doc = {}, A... args) {
    return add(
        detail::make_method(std::move(name), detail::BoundMember<Object, F>{&object, handler}, std::move(doc), args...),
        true);
  }

  /// Answers calls of unknown methods, which are 404 otherwise. The handler takes `kt::Request&` or nothing, and finds
  /// name and arguments in Request::method() and Request::arguments(). `public_fallback` answers strangers, too.
  template <class F>
  Kitten& fallback(F handler) {
    return set_fallback(detail::make_method("fallback", bound(std::move(handler)), {}), false);
  }
  template <class F>
  Kitten& public_fallback(F handler) {
    return set_fallback(detail::make_method("fallback", bound(std::move(handler)), {}), true);
  }

  /// Binds a variable, which must outlive the service, to `--name=value`, to a line of the configuration file, and to
  /// the `config` method. Its present value is the default. `changed` is called on the service's thread after `config`
  /// has changed it. A name of a built-in option gives that a new variable of yours; usually settings() is what you
  /// want.
  template <class T>
  Kitten& option(std::string name, T& variable, std::string help = {}, std::function<void()> changed = {}) {
    std::string key = server_->options.add(std::move(name), variable, std::move(help)).name;
    if (changed) {
      hooks_[key] = [key, changed = std::move(changed)] {
        changed();
        return json(key);
      };
    }
    return *this;
  }

  /// Called when the service starts, on its thread: it listens already, but has not announced itself. A function
  /// without arguments that returns nothing or a kt::Task<>; what it throws ends the start with a StartError.
  template <class F>
  Kitten& on_start(F hook) {
    start_hook_ = detail::as_task(std::move(hook));
    return *this;
  }
  /// Called when the service is asked to stop, while its files still exist; as on_start. What it throws is logged; a
  /// Task that takes longer than Limits::shutdown_timeout is cancelled.
  template <class F>
  Kitten& on_shutdown(F hook) {
    shutdown_hook_ = detail::as_task(std::move(hook));
    return *this;
  }

  /// Decides who counts as authenticated, for each request once its head is there: a function from `const kt::Request&`
  /// to bool, in which `authenticated()` tells whether the caller knew the token. Arguments are not there yet. To throw
  /// is to refuse.
  Kitten& authenticator(std::function<bool(const Request&)> function) {
    server_->authenticator = std::move(function);
    return *this;
  }
  /// Finds methods by other rules than their names: `path()` is without prefix and token. Nothing leaves it to the usual
  /// ones; the arguments that it adds go before those of the same name in the body. Whether the caller may call the
  /// method is decided as always.
  Kitten& router(std::function<std::optional<RouteTo>(const Request&)> function) {
    server_->router = std::move(function);
    return *this;
  }
  /// Serves a connection that was accepted elsewhere, by a front process for example, as one of the service's own. Takes
  /// the socket over, and sets it to non-blocking. On the service's thread. Throws InvalidArgument for what is no
  /// connected stream socket, Error (503) when there are too many.
  void serve_connection(Socket connection) { server_->adopt(std::move(connection)); }

  /// The program's whole life: command line, background process, signals. Returns the exit code for `main`. Only here
  /// does the library print, handle signals, or start processes.
  int main(int argc, char** argv);

  /// Serves on the calling thread until stop(). Throws StartError if the service cannot start, InvalidArgument for bad
  /// settings.
  void run();
  /// Serves on a thread of its own and returns when the service answers. Throws like run().
  void start_thread();
  /// Ends the service in order and waits for its thread, at most about Limits::drain_timeout. From any thread, any
  /// number of times. On the service's own thread (from a handler) it does not wait.
  void stop();

  // Where the service is: set by the start, valid until the next one. From any thread, but not during a start.

  /// `http://127.0.0.1:1234`; empty without TCP.
  const std::string& url() const noexcept { return server_->tcp_url(); }
  /// Path of the unix socket; empty without.
  const std::string& socket_path() const noexcept { return server_->socket_path(); }
  /// What callers of private methods have to know.
  const std::string& token() const noexcept { return server_->token.text(); }

  /// A client of the service that has these settings, in whatever process it runs; its functions can be called by their
  /// pointers, see Client. Throws NotRunning. Not during a start.
  Client connect();
  /// The same; a service that does not run is started as a process of its own, with the options that differ from their
  /// defaults: `kt::auto_start` runs this very program, whose main has to end in main() of this class.
  Client connect(const AutoStart& start);

  /// The built-in options, to be changed before the service starts.
  Settings& settings() noexcept { return server_->settings; }
  /// Bounds on what peers can make the service hold. Set before the start; those with an option of their own are taken
  /// from it.
  Limits& limits() noexcept { return server_->limits; }
  /// Where log lines go; nowhere by default, to standard error or a file under main().
  Kitten& log_to(LogSink sink) {
    server_->log.set_sink(std::move(sink));
    return *this;
  }

 private:
  friend class CommandLine;

  template <class F>
  auto bound(F handler) {
    if constexpr (std::is_member_function_pointer_v<F>) {
      using Class = typename detail::Signature<F>::Class;
      static_assert(std::is_base_of_v<Kitten, Class>,
                    "kettlingar: a member function needs its object: api(name, object, &Class::function)");
      return detail::BoundMember<Class, F>{static_cast<Class*>(this), handler};
    } else {
      return handler;
    }
  }
  Kitten& add(std::shared_ptr<detail::Method> method, bool is_public);
  Kitten& set_fallback(std::shared_ptr<detail::Method> method, bool is_public);
  void open();
  void serve();
  void shut_down();
  Task<void> stop_in_order();
  Task<void> until_stopped();

  // Destroyed in reverse order: the server's timers before the loop they belong to.
  asio::io_context loop_{1};
  std::shared_ptr<detail::Server> server_;
  detail::ConfigHooks hooks_;
  std::function<Task<void>()> start_hook_;
  std::function<Task<void>()> shutdown_hook_;
  asio::steady_timer stopped_{loop_};  ///< cancelled when the files have gone
  asio::cancellation_signal cancel_shutdown_hook_;
  bool stopping_ = false;
  std::mutex thread_mutex_;
  std::thread thread_;
  std::atomic<bool> serving_ = false;  ///< a stop() that comes before the start is none
  std::atomic<unsigned> runs_ = 0;
};

inline Kitten::Kitten(std::string app_name, std::string worker_name, std::string description)
    : server_(std::make_shared<detail::Server>(loop_.get_executor())) {
  server_->settings.app_name = std::move(app_name);
  server_->settings.worker_name = std::move(worker_name);
  server_->description = std::move(description);
  server_->stopped = [this] { loop_.stop(); };
  detail::add_builtin_options(server_->options, server_->settings);
  detail::add_builtin_methods(*server_, hooks_, [this] { return until_stopped(); });
}

inline Kitten& Kitten::add(std::shared_ptr<detail::Method> method, bool is_public) {
  method->set_public(is_public);
  server_->methods.add(std::move(method));
  return *this;
}

inline Kitten& Kitten::set_fallback(std::shared_ptr<detail::Method> method, bool is_public) {
  method->set_public(is_public);
  method->set_takes_anything();
  server_->methods.set_fallback(std::move(method));
  return *this;
}

inline void Kitten::open() {
  ++runs_;
  loop_.restart();
  stopping_ = false;
  server_->open();
  if (start_hook_) {
    std::exception_ptr thrown;
    bool done = false;
    asio::co_spawn(loop_, start_hook_(), [&](const std::exception_ptr& error) {
      thrown = error;
      done = true;
    });
    while (!done) loop_.run_one();
    loop_.restart();  // without work it has stopped
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const std::exception& error) {
      server_->abandon();
      throw StartError(std::string("on_start: ") + error.what());
    }
  }
  server_->announce();
  serving_ = true;
}

inline void Kitten::serve() {
  for (;;) {
    try {
      loop_.run();
      break;
    } catch (const std::exception& error) {
      // Nothing of ours throws this far but for want of memory; the service goes on.
      server_->log.write(LogLevel::error, std::string("internal: ") + error.what());
    }
  }
  serving_ = false;
}

inline void Kitten::run() {
  open();
  serve();
}

inline void Kitten::start_thread() {
  const std::lock_guard lock(thread_mutex_);
  if (serving_) throw StartError("the service runs already");
  if (thread_.joinable()) thread_.join();  // its service was stopped by a caller
  open();
  thread_ = std::thread([this] { serve(); });
}

/// On the service's thread.
inline void Kitten::shut_down() {
  if (!server_->running() || std::exchange(stopping_, true)) return;
  stopped_.expires_at(asio::steady_timer::time_point::max());
  asio::co_spawn(loop_, stop_in_order(), [](const std::exception_ptr&) {});
}

inline Task<void> Kitten::stop_in_order() {
  if (shutdown_hook_) {
    // Shared, for a hook that does not end when it is cancelled is left behind.
    const auto limit = std::make_shared<asio::steady_timer>(loop_, server_->limits.shutdown_timeout);
    const auto done = std::make_shared<bool>(false);
    auto ended = [limit, done, server = server_](const std::exception_ptr& thrown) {
      *done = true;
      limit->cancel();
      try {
        if (thrown) std::rethrow_exception(thrown);
      } catch (const std::exception& error) {
        server->log.write(LogLevel::error, std::string("on_shutdown: ") + log_escaped(error.what()));
      }
    };
    asio::co_spawn(loop_, shutdown_hook_(), asio::bind_cancellation_slot(cancel_shutdown_hook_.slot(), ended));
    asio::error_code error;
    if (!*done) co_await limit->async_wait(asio::redirect_error(asio::use_awaitable, error));
    if (!*done) {
      limit->expires_after(server_->limits.drain_timeout);
      cancel_shutdown_hook_.emit(asio::cancellation_type::terminal);
      if (!*done) co_await limit->async_wait(asio::redirect_error(asio::use_awaitable, error));
    }
  }
  server_->stop();
  stopped_.cancel();
}

/// For the method that stops the service: its answer leaves when the files have gone.
inline Task<void> Kitten::until_stopped() {
  shut_down();
  asio::error_code error;
  if (stopping_ && server_->running()) co_await stopped_.async_wait(asio::redirect_error(asio::use_awaitable, error));
}

inline void Kitten::stop() {
  // A request to stop that comes too late must not end the next run.
  if (serving_) {
    asio::post(loop_, [this, run = runs_.load()] {
      if (run == runs_) shut_down();
    });
  }
  if (loop_.get_executor().running_in_this_thread()) return;
  const std::lock_guard lock(thread_mutex_);
  if (thread_.joinable()) thread_.join();
}

}  // namespace v0_1
}  // namespace kettlingar
