// SPDX-License-Identifier: MIT
// service/kitten.hpp: the class that users see: name a service, add methods and options, run it.
#pragma once

#include "../base/version.hpp"  // defines ASIO_HAS_CO_AWAIT, so it must come before Asio

#include <asio/any_io_executor.hpp>
#include <chrono>
#include <concepts>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "../base/limits.hpp"
#include "../base/log.hpp"
#include "../call/argument.hpp"
#include "../call/request.hpp"
#include "../call/signature.hpp"
#include "../os/passing.hpp"
#include "options.hpp"
#include "settings.hpp"

namespace kettlingar {
inline namespace v0_1 {

/// How a host takes work: it runs each function once, in order, on a thread of its choice, soon. May be called from any
/// thread, of the library's and of the program's: where an item is published, a file has been read, a call is made. It
/// must not throw, nor wait for another thread, nor publish to a Topic, which may be what calls it.
using PostToHost = std::function<void(std::function<void()>)>;

class Client;
struct AutoStart;
template <class T>
class Topic;

namespace detail {

class CommandLine;
class Method;
class Runner;
class Server;

// See call/handler_check.hpp.
template <class F, class... A>
struct HandlerCheck;
template <class F, class... A>
std::unique_ptr<Method> make_method(std::string name, F function, std::string doc, const A&... args);

template <class A>
concept IsArg = std::is_same_v<A, Arg> || std::is_same_v<A, MethodMark>;
template <class F>
concept MemberFunction = std::is_member_function_pointer_v<F>;
/// Such as asio::io_context.
template <class Host>
concept ExecutionContext = requires(Host& host) {
  asio::any_io_executor(host.get_executor());
};

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
///
/// Threads: methods are added from any thread, also while the service runs. Everything else is set up by one thread,
/// before the start or on the service's thread; what may be called from elsewhere, or only then, says so. At another
/// time those throw std::logic_error.
class Kitten {
 public:
  /// `app_name` names the directories and the program, `worker_name` the files of this service in them.
  explicit Kitten(std::string app_name, std::string worker_name = "worker", std::string description = {});
  /// The same, on a loop of the host program (an asio::io_context's executor, or a strand of one that several threads
  /// run): start() begins to serve, and the handlers run wherever the loop is run. It must outlive the service.
  Kitten(asio::any_io_executor host, std::string app_name, std::string worker_name = "worker",
         std::string description = {});
  template <detail::ExecutionContext Host>
  Kitten(Host& host, std::string app_name, std::string worker_name = "worker", std::string description = {})
      : Kitten(asio::any_io_executor(host.get_executor()), std::move(app_name), std::move(worker_name),
               std::move(description)) {}
  /// Stops the service if need be, so declare before it what handlers and hooks refer to. A class that derives from
  /// Kitten calls stop() in a destructor of its own: its members are gone when this one runs. Not in a handler, nor
  /// while another thread polls. A service on a host's loop is ended at once, without on_shutdown: destroy it on that
  /// loop's thread, or when the loop does not run. In a process that was forked from the one that started the service
  /// it touches nothing. exit() in a handler or hook is fine for a static Kitten, too; what on_shutdown awaits is cut
  /// off.
  virtual ~Kitten();
  Kitten(const Kitten&) = delete;
  Kitten& operator=(const Kitten&) = delete;

  /// Adds a method for callers who know the token: `api("purr", purr, "Purr count times.", kt::arg("count") = 1)`.
  /// A name has letters, digits, `_`, `-` and `.`, the last two not in front. `web_root` answers `/`. A method that is
  /// called like a command (start, stop, restart, status) is `-- start` on a command line. From any thread; a method of
  /// the same name is replaced. Throws std::invalid_argument if the name of the method or of a parameter is not usable,
  /// or a default, choice or bound does not fit its parameter. Among the args there may be marks: kt::read_only,
  /// kt::hidden.
  template <class F, detail::IsArg... A>
  Kitten& api(std::string name, F handler, std::string doc = {}, A... args) {
    static_assert(detail::HandlerCheck<F, A...>::done);
    return add_method(false, std::move(name), bound(std::move(handler)), std::move(doc), args...);
  }
  /// Without a description.
  template <class F, detail::IsArg First, detail::IsArg... A>
  Kitten& api(std::string name, F handler, First first, A... rest) {
    static_assert(detail::HandlerCheck<F, First, A...>::done);
    return add_method(false, std::move(name), bound(std::move(handler)), {}, first, rest...);
  }
  /// Adds a method of another object, which must outlive the service: `api("stretch", gymnast, &Gymnast::stretch)`.
  template <class Object, detail::MemberFunction F, detail::IsArg... A>
  Kitten& api(std::string name, Object& object, F handler, std::string doc = {}, A... args) {
    static_assert(detail::HandlerCheck<F, A...>::done);
    return add_method(false, std::move(name), detail::BoundMember<Object, F>{&object, handler}, std::move(doc),
                      args...);
  }

  /// Adds a method that streams the events of a topic, from the call on; marks may follow.
  template <class T, std::same_as<MethodMark>... A>
  Kitten& api(std::string name, const Topic<T>& topic, std::string doc = {}, A... marks) {
    return api(
        std::move(name), [topic] { return topic.subscribe(); }, std::move(doc), marks...);
  }

  /// Adds a method that needs no token, from any thread. Whatever it does can be done by every program, and every web
  /// page, on this machine.
  template <class F, detail::IsArg... A>
  Kitten& public_api(std::string name, F handler, std::string doc = {}, A... args) {
    static_assert(detail::HandlerCheck<F, A...>::done);
    return add_method(true, std::move(name), bound(std::move(handler)), std::move(doc), args...);
  }
  template <class F, detail::IsArg First, detail::IsArg... A>
  Kitten& public_api(std::string name, F handler, First first, A... rest) {
    static_assert(detail::HandlerCheck<F, First, A...>::done);
    return add_method(true, std::move(name), bound(std::move(handler)), {}, first, rest...);
  }
  template <class Object, detail::MemberFunction F, detail::IsArg... A>
  Kitten& public_api(std::string name, Object& object, F handler, std::string doc = {}, A... args) {
    static_assert(detail::HandlerCheck<F, A...>::done);
    return add_method(true, std::move(name), detail::BoundMember<Object, F>{&object, handler}, std::move(doc), args...);
  }

  template <class T, std::same_as<MethodMark>... A>
  Kitten& public_api(std::string name, const Topic<T>& topic, std::string doc = {}, A... marks) {
    return public_api(
        std::move(name), [topic] { return topic.subscribe(); }, std::move(doc), marks...);
  }

  /// Answers calls of unknown methods, which are 404 otherwise. The handler takes `kt::Request&` or nothing, and finds
  /// name and arguments in Request::method() and Request::arguments(). `public_fallback` answers strangers, too. From
  /// any thread; there is one, whichever of the two has set it, and a later call replaces it.
  template <class F>
  Kitten& fallback(F handler) {
    static_assert(detail::HandlerCheck<F>::done);
    return set_fallback(detail::make_method("fallback", bound(std::move(handler)), {}), false);
  }
  template <class F>
  Kitten& public_fallback(F handler) {
    static_assert(detail::HandlerCheck<F>::done);
    return set_fallback(detail::make_method("fallback", bound(std::move(handler)), {}), true);
  }

  /// Binds a variable, which must outlive the service, to `--name=value`, to a line of the configuration file, and to
  /// the `config` method. Its present value is the default. The service's thread reads and writes the variable, and
  /// calls `changed` after `config` has changed it, with run_handlers_on(), too: what other threads use meanwhile has
  /// to be a std::atomic. A name of a built-in option makes your variable the one that the service goes by, from
  /// the start on; usually settings() is what you want.
  template <class T>
  Kitten& option(std::string name, T& variable, std::string help = {}, std::function<void()> changed = {}) {
    return add(detail::make_option(std::move(name), variable, std::move(help)), std::move(changed));
  }

  /// An option whose value is shown nowhere: not by `config` and `help`, not in messages, nor in the command lines of
  /// processes that `start` and kt::auto_start make, which get it in another way. `config` can set it, and writes it to
  /// the file when it saves there. What the user types on a command line can be seen by all others on the machine: a
  /// line of the configuration file is better.
  template <class T>
  Kitten& secret_option(std::string name, T& variable, std::string help = {}, std::function<void()> changed = {}) {
    detail::Option option = detail::make_option(std::move(name), variable, std::move(help));
    option.secret = true;
    return add(std::move(option), std::move(changed));
  }

  /// Called when the service starts, on the thread that starts it, or that runs the host's loop: it listens already,
  /// but has not announced itself. A function without arguments that returns nothing or a kt::Task<>; what it throws
  /// ends the start with a StartError. There is one, the last that was set; it is kept, with its captures, as long as
  /// the Kitten.
  template <class F>
  Kitten& on_start(F hook) {
    return set_start_hook(detail::as_task(std::move(hook)));
  }
  /// Called when the service is asked to stop, while its files still exist and calls still run; as on_start: there is
  /// one, and what has to end in some order is ended by it in that order. Topics are closed here, for their streams
  /// would keep the stop waiting. The destructor runs it, too, so it refers to nothing that has gone by then. What it
  /// throws is logged; a Task that takes longer than Limits::shutdown_timeout is cancelled.
  template <class F>
  Kitten& on_shutdown(F hook) {
    return set_shutdown_hook(detail::as_task(std::move(hook)));
  }

  /// Decides who counts as authenticated, for each request once its head is there: a function from `const kt::Request&`
  /// to bool, in which `authenticated()` tells whether the caller knew the token. Arguments are not there yet. To throw
  /// is to refuse.
  Kitten& authenticator(std::function<bool(const Request&)> function);
  /// Finds methods by other rules than their names: `path()` is without prefix and token. Nothing leaves it to the
  /// usual ones; the arguments that it adds go before those of the same name in the body. Whether the caller may call
  /// the method is decided as always. Like the authenticator, it is called on the service's thread.
  Kitten& router(std::function<std::optional<RouteTo>(const Request&)> function);
  /// Handlers and generators run where the host wants them, on its GUI thread for example: `post` is
  /// called for each of their steps. The service itself runs as it is started, best on a thread of its own. A call that
  /// the host does not begin within Limits::host_timeout is answered with 503. Before the start. What a handler awaits
  /// goes on on the host's thread, too. With it, answers cannot be passed on, nor connections taken. A stop() does not
  /// wait for handlers that the host has begun; destroy the service when none of them runs.
  Kitten& run_handlers_on(PostToHost post);
  /// Serves a connection that was accepted elsewhere, by a front process for example, as one of the service's own.
  /// Takes the socket over, and sets it to non-blocking. On the service's thread. Throws InvalidArgument for what is no
  /// connected stream socket, Error (503) when there are too many, or the service does not run.
  void serve_connection(Socket connection);

  /// The program's whole life: command line, background process, signals. Returns the exit code for `main`. Only here
  /// does the library print or handle signals; processes are started here and by kt::auto_start. On the first thread,
  /// before there are others.
  int main(int argc, char** argv);
  /// For programs with a command line of their own: the words in it that lead to main(), `{"daemon"}` where it is `tool
  /// daemon start`. main() still gets the whole command line, which has to begin with them; the program is started
  /// again with them by `start` and connect(kt::auto_start). Before main().
  Kitten& command_prefix(std::vector<std::string> words);

  // Four ways to run. Each throws StartError if the service cannot start (name or address taken, a directory that is
  // not safe, or it runs already), InvalidArgument for bad settings, and leaves nothing behind then; the service can be
  // started again. From any thread.

  /// Serves on the calling thread until stop().
  void run();
  /// Serves on a thread of its own; returns when the service answers.
  void start_thread();
  /// Listens, and returns: handlers run when the host's loop does, or in poll(). On the thread that runs the loop, or
  /// before it runs. On a host's loop, an on_start hook runs after this has returned: what it throws is logged.
  void start();
  /// As start(), but returns why it failed, empty if it did not.
  std::string try_start() noexcept;
  /// As start_thread(), but returns why it failed, empty if it did not.
  std::string try_start_thread() noexcept;
  /// After start(), in the host's own loop: does what there is to do and returns how many things that were. Does not
  /// wait. Handlers run only here and in stop(), on the calling thread; from one thread at a time. What handlers throw
  /// stays in their calls. Work that the program has itself posted to the service's executor may throw out of here, and
  /// the next poll() goes on; in run(), start_thread() and stop() it is logged.
  std::size_t poll();
  /// The same, but no further thing is begun when `budget` is used up. One that has begun is not interrupted.
  std::size_t poll_for(std::chrono::steady_clock::duration budget);

  /// Ends the service in order and waits until it has ended: about Limits::drain_timeout for running calls, after the
  /// on_shutdown hook. From any thread, any number of times; one that comes during a start waits for that and ends what
  /// has started. In on_start it ends the start, which throws a StartError then: what the hook awaits is cancelled. It
  /// does not wait on the service's own thread (in a handler), nor on a host's loop, which may be this thread's
  /// business: there, running() tells. After start(), the thread that polls ends the service in here; another one waits
  /// for that thread's polls, for Limits::shutdown_timeout and a little more at the most. A forked child does nothing
  /// in here.
  void stop();
  /// True from a start until everything has ended, in the process that started it. From any thread.
  bool running() const noexcept;

  // Where the service is: set by the start, valid until the next one. From any thread, but not during a start.

  /// `http://127.0.0.1:1234`; empty without TCP.
  const std::string& url() const noexcept;
  /// Path of the unix socket; empty without.
  const std::string& socket_path() const noexcept;
  /// What callers of private methods have to know.
  const std::string& token() const noexcept;

  /// A client of the service that has these settings, in whatever process it runs; its functions can be called by their
  /// pointers, see Client. Throws NotRunning. From any thread but the service's own, which would wait for itself, and
  /// not during a start.
  Client connect();
  /// The same; a service that does not run is started as a process of its own, with the options that differ from their
  /// defaults: `kt::auto_start` runs this very program, whose main has to end in main() of this class, see
  /// command_prefix().
  Client connect(const AutoStart& start);
  /// A client of this service in this process, without sockets, and with the same results and exceptions: for tests,
  /// and for programs that use their own service. It is a caller who knows the token; authenticator and router are
  /// asked as for any other. If the service runs, handlers run where they do for others: on its thread, or with
  /// run_handlers_on() on the host's, which must not wait for them then. It need not run: handlers then run on the
  /// thread that calls, one at a time between their awaits, whichever threads call. A call ends where it began: one
  /// that is under way when the service is started, stops or is destroyed ends with a ConnectionError, running ones
  /// after Limits::drain_timeout. From any thread. The client may outlive the service.
  Client loopback();

  /// The built-in options, to be changed before the service starts, and before main(): what is here then is their
  /// default, and what the command line or a configuration file says goes before it.
  Settings& settings() noexcept;
  /// Bounds on what peers can make the service hold, set and overruled in the same way.
  Limits& limits() noexcept;
  /// Where log lines go; nowhere by default, to standard error under main(). A `worker_log_file` goes before it there.
  /// Called on the service's thread, and on those that start and end it.
  Kitten& log_to(LogSink sink);

 private:
  friend class detail::CommandLine;

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
  template <class Callable, class... A>
  Kitten& add_method(bool is_public, std::string name, Callable callable, std::string doc, const A&... args) {
    return add(detail::make_method(std::move(name), std::move(callable), std::move(doc), args...), is_public);
  }
  Kitten& add(std::unique_ptr<detail::Method> method, bool is_public);
  Kitten& set_fallback(std::unique_ptr<detail::Method> method, bool is_public);
  Kitten& add(detail::Option option, std::function<void()> changed);
  std::string why_not(void (Kitten::*begin)()) noexcept;
  static void require(bool now, const char* what);
  Kitten& set_start_hook(std::function<Task<void>()> hook);
  Kitten& set_shutdown_hook(std::function<Task<void>()> hook);
  Kitten(std::shared_ptr<detail::Runner> runner, std::string app_name, std::string worker_name,
         std::string description);

  std::shared_ptr<detail::Runner> runner_;
  detail::Server* server_;  ///< the runner's
  detail::ConfigHooks hooks_;
};

}  // namespace v0_1
}  // namespace kettlingar
