// SPDX-License-Identifier: MIT
// call/coroutine.hpp: the two coroutine types of handlers: Task (one result) and Generator (many items).
#pragma once

#include "../base/version.hpp"  // defines ASIO_HAS_CO_AWAIT, so it must come before Asio

#include <array>
#include <asio/any_io_executor.hpp>
#include <asio/awaitable.hpp>
#include <asio/this_coro.hpp>
#include <chrono>
#include <coroutine>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>

namespace kettlingar {
inline namespace v0_1 {

/// A coroutine with one result. Any Asio operation can be awaited in it: `co_await op(..., asio::use_awaitable)`.
template <class T = void>
using Task = asio::awaitable<T>;

template <class T>
class Generator;

namespace detail {

/// True for temporaries that g++ before 13 copies byte by byte where they stand within a co_yield or co_await, and then
/// destroys twice.
template <class U>
inline constexpr bool miscompiled_temporary =
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
    !std::is_lvalue_reference_v<U> && std::is_aggregate_v<std::remove_cvref_t<U>> &&
    !std::is_trivially_copyable_v<std::remove_cvref_t<U>>;
#else
    false;
#endif

template <class U, class T>
concept ItemOf = std::is_same_v<std::remove_cvref_t<U>, T>;
template <class U, class T>
concept ConvertsTo = !ItemOf<U, T> && std::is_convertible_v<U, T>;

/// Holds what an awaited Task ended with, until the generator that awaits it is resumed.
template <class U>
struct Settled {
  std::variant<std::monostate, U, std::exception_ptr> outcome;
  U take() {
    if (outcome.index() == 2) std::rethrow_exception(std::get<2>(outcome));
    return std::move(std::get<1>(outcome));
  }
};
template <>
struct Settled<void> {
  std::exception_ptr error;
  void take() const {
    if (error) std::rethrow_exception(error);
  }
};

// The awaiter that `settled` points to lives in the frame of the suspended generator, which is neither resumed nor
// destroyed before this Task has ended or been destroyed.
template <class U>
Task<void> settle(Task<U> task, Settled<U>* settled) {
  try {
    settled->outcome.template emplace<1>(co_await std::move(task));
  } catch (...) {
    settled->outcome.template emplace<2>(std::current_exception());
  }
}
Task<void> settle(Task<void> task, Settled<void>* settled);

/// Tells a coroutine that finds something to do at every step when others on its loop have waited for long enough.
class Turn {
 public:
  static constexpr std::chrono::milliseconds longest{2};

  /// To be asked between two steps: true if it is time for let_others_run(). Looks at the clock now and then only, and
  /// each time where steps are long.
  bool over() { return --steps_ == 0 && look(); }

 private:
  using Clock = std::chrono::steady_clock;
  bool look();

  Clock::time_point began_ = {};
  Clock::time_point looked_ = {};
  unsigned steps_ = 1;  ///< until the next look
};

/// Goes on after everything else that is ready on the loop.
Task<void> let_others_run();

/// Lets one coroutine wait until another thread has something for it.
class Wakeup {
 public:
  explicit Wakeup(const asio::any_io_executor& executor);
  /// Ends with the next wake(), or by cancellation. On the executor's thread; this may go before it ends.
  Task<void> wait() const { return wait(timer_); }
  /// From any thread; without effect if nobody waits by the time that the executor gets to it.
  void wake() const;

 private:
  struct Timer;
  static Task<void> wait(std::shared_ptr<Timer> timer);

  std::shared_ptr<Timer> timer_;
};

/// The bytes of an item that several streams send, by format, once one of them has needed them.
struct EncodedItem {
  std::mutex mutex;
  std::array<std::string, 2> bytes;
};

/// An item that belongs to several streams; `value` and `encoded` live until the generator that yields it is resumed.
template <class T>
struct SharedItem {
  const T* value;
  EncodedItem* encoded;
};

/// The part of a generator's promise that does not depend on its item type. A generator never runs on a stack of its
/// own: whoever drives it resumes it, and awaits `pending` for it when it has suspended for something other than an
/// item.
class GeneratorPromise {
 public:
  std::suspend_always initial_suspend() const noexcept { return {}; }
  std::suspend_always final_suspend() const noexcept { return {}; }
  void unhandled_exception() noexcept { error = std::current_exception(); }
  void return_void() const noexcept {}

  template <class U>
  class AwaitTask {
   public:
    AwaitTask(GeneratorPromise* promise, Task<U> task) : promise_(promise), task_(std::move(task)) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<>) {
      promise_->pending = settle(std::move(task_), &settled_);
      promise_->waiting = true;
    }
    U await_resume() { return settled_.take(); }

   private:
    GeneratorPromise* promise_;
    Task<U> task_;
    Settled<U> settled_;
  };

  class AwaitExecutor {
   public:
    explicit AwaitExecutor(asio::any_io_executor found) : executor_(std::move(found)) {}
    bool await_ready() const noexcept { return true; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    asio::any_io_executor await_resume() { return executor_; }

   private:
    asio::any_io_executor executor_;
  };

  template <class U>
  AwaitTask<U> await_transform(Task<U> task) {
    return AwaitTask<U>(this, std::move(task));
  }
  AwaitExecutor await_transform(asio::this_coro::executor_t) { return AwaitExecutor(executor); }

  asio::any_io_executor executor;  ///< of the driver
  Task<void> pending;              ///< what the driver has to await before it resumes
  bool waiting = false;            ///< suspended for `pending`, not for an item
  std::exception_ptr error;        ///< what the body threw
  Turn turn;                       ///< of whoever reads it by next()
  EncodedItem* encoded = nullptr;  ///< of the present item, if other streams have it, too
};

}  // namespace detail

/// A coroutine that yields items one by one: a handler that streams. Each `co_yield` is one chunk on the wire. Between
/// items it may `co_await` Tasks and Asio operations (with asio::use_awaitable). Parameters of the coroutine are best
/// taken by value. Nothing runs before the first item is asked for; destroying the generator destroys its locals at the
/// current suspension point. One that always has another item is interrupted every 2 ms, between two of its steps, for
/// whatever else there is to do on its loop. With g++ 12, name whatever is made from a list in braces before you yield
/// it (`Purr item{...}; co_yield item;`), JSON included.
template <class T>
class [[nodiscard]] Generator {
 public:
  class promise_type : public detail::GeneratorPromise {
   public:
    Generator get_return_object() noexcept { return Generator(Handle::from_promise(*this)); }

    /// Keeps a reference to the item; it lives until the generator is resumed.
    template <detail::ItemOf<T> U = T>
    std::suspend_always yield_value(U&& item) noexcept {
      static_assert(!detail::miscompiled_temporary<U>,
                    "kettlingar: g++ before 13 miscompiles co_yield of a temporary aggregate; name it first: "
                    "Item item{...}; co_yield item;");
      item_ = std::addressof(item);
      encoded = nullptr;
      return {};
    }
    /// Keeps what it points to.
    std::suspend_always yield_value(const detail::SharedItem<T>& item) noexcept {
      item_ = item.value;
      encoded = item.encoded;
      return {};
    }
    /// Converts first: `co_yield "text"` in a Generator<std::string>.
    template <detail::ConvertsTo<T> U>
    std::suspend_always yield_value(U&& item) {
      static_assert(!detail::miscompiled_temporary<U>,
                    "kettlingar: g++ before 13 miscompiles co_yield of a temporary aggregate; name it first: "
                    "Item item{...}; co_yield item;");
      converted_.emplace(std::forward<U>(item));
      item_ = std::addressof(*converted_);
      encoded = nullptr;
      return {};
    }

    const T& item() const noexcept { return *item_; }

   private:
    const T* item_ = nullptr;
    std::optional<T> converted_;
  };

  using value_type = T;

  Generator() = default;
  Generator(Generator&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Generator& operator=(Generator&& other) noexcept {
    if (this != &other) {
      if (handle_) handle_.destroy();
      handle_ = std::exchange(other.handle_, nullptr);
    }
    return *this;
  }
  ~Generator() {
    if (handle_) handle_.destroy();
  }

  /// The next item, nothing at the end; rethrows what the body threw. For use in another Generator or a Task: `while
  /// (auto item = co_await items.next()) co_yield *item;`. The generator must outlive the Task that is returned.
  Task<std::optional<T>> next() {
    const asio::any_io_executor executor = co_await asio::this_coro::executor;
    for (;;) {
      if (handle_ && handle_.promise().turn.over()) co_await detail::let_others_run();
      const Step step = resume(executor);
      if (step == Step::item) co_return handle_.promise().item();
      if (step == Step::done) co_return std::nullopt;
      co_await take_pending();
    }
  }

  /// What a resumed generator has come to.
  enum class Step { item, waiting, done };

  /// For drivers: runs the body up to its next item, wait or end. Rethrows what the body threw.
  Step resume(const asio::any_io_executor& executor) {
    if (!handle_ || handle_.done()) return Step::done;
    promise_type& promise = handle_.promise();
    promise.executor = executor;
    promise.waiting = false;
    handle_.resume();
    if (promise.error) std::rethrow_exception(std::exchange(promise.error, nullptr));
    if (handle_.done()) return Step::done;
    return promise.waiting ? Step::waiting : Step::item;
  }

  /// For drivers, after Step::item: valid until the next resume().
  const T& item() const noexcept { return handle_.promise().item(); }
  /// The same: where the bytes of the item are kept, if other streams have it, too; else null.
  detail::EncodedItem* encoded() const noexcept { return handle_.promise().encoded; }

  /// For drivers, after Step::waiting: to be awaited before the next resume(). If it is abandoned instead, the
  /// generator must be destroyed after it.
  Task<void> take_pending() { return std::move(handle_.promise().pending); }

 private:
  using Handle = std::coroutine_handle<promise_type>;
  explicit Generator(Handle handle) noexcept : handle_(handle) {}

  Handle handle_;
};

}  // namespace v0_1
}  // namespace kettlingar
