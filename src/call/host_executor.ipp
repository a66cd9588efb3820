// SPDX-License-Identifier: MIT
// call/host_executor.ipp: handlers where the host wants them: on its GUI thread, or inside its frame.
#pragma once

#include "../base/version.hpp"  // defines ASIO_HAS_CO_AWAIT, so it must come before Asio

#include <asio/any_io_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/error.hpp>
#include <asio/execution.hpp>
#include <asio/steady_timer.hpp>
#include <asio/system_error.hpp>
#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

#include "../base/errors.hpp"
#include "coroutine.hpp"
#include "loop.ipp"

namespace kettlingar {
inline namespace v0_1 {

namespace detail {

/// See PostToHost.
using HostPost = std::function<void(std::function<void()>)>;

/// Marks its thread, as long as it is there, as one that runs a handler of a service for the host.
class HostWork {
 public:
  explicit HostWork(const void* service) : service_(service), outer_(std::exchange(innermost_, this)) {}
  HostWork(const HostWork&) = delete;
  HostWork& operator=(const HostWork&) = delete;
  ~HostWork() { innermost_ = outer_; }

  /// Whether this thread is at work for that service.
  static bool is_for(const void* service) noexcept {
    const HostWork* work = innermost_;
    while (work != nullptr && work->service_ != service) work = work->outer_;
    return work != nullptr;
  }

 private:
  const void* service_;
  const HostWork* outer_;
  static inline thread_local const HostWork* innermost_ = nullptr;
};

/// An executor (for Asio) that gives everything to the host. I/O objects made on it belong to the service's loop, and
/// complete on the host's thread.
class HostExecutor {
  /// A function on its way. When the service has ended, the frames in it belong to a loop that is gone, and are left
  /// alone: neither resumed nor destroyed.
  template <class Function>
  class Held {
   public:
    template <class F>
    Held(F&& function, std::weak_ptr<void> alive)
        : function_(new Function(std::forward<F>(function))), alive_(std::move(alive)) {}
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    ~Held() {
      if (alive_.expired()) static_cast<void>(function_.release());
    }
    void run() {
      const auto kept = alive_.lock();
      if (!kept || !function_) return;
      const std::unique_ptr<Function> once = std::move(function_);
      const HostWork marked(kept.get());
      std::move (*once)();
    }

   private:
    std::unique_ptr<Function> function_;
    std::weak_ptr<void> alive_;
  };

 public:
  /// `alive` ends with the service: what the host has not run by then is never run.
  HostExecutor(std::shared_ptr<const HostPost> post, asio::any_io_executor loop, std::weak_ptr<void> alive)
      : post_(std::move(post)), loop_(std::move(loop)), alive_(std::move(alive)) {}

  template <class F>
  void execute(F&& function) const {
    auto held = std::make_shared<Held<std::decay_t<F>>>(std::forward<F>(function), alive_);
    (*post_)([held] { held->run(); });
  }
  asio::execution_context& query(asio::execution::context_t) const noexcept {
    return asio::query(loop_, asio::execution::context);
  }
  static constexpr asio::execution::blocking_t query(asio::execution::blocking_t) noexcept {
    return asio::execution::blocking.never;
  }
  const HostExecutor& require(asio::execution::blocking_t::never_t) const noexcept { return *this; }
  friend bool operator==(const HostExecutor& a, const HostExecutor& b) noexcept { return a.post_ == b.post_; }
  friend bool operator!=(const HostExecutor& a, const HostExecutor& b) noexcept { return !(a == b); }

 private:
  std::shared_ptr<const HostPost> post_;
  asio::any_io_executor loop_;
  std::weak_ptr<void> alive_;
};

/// What a piece of work and its waiting caller know of each other.
struct HostTicket {
  explicit HostTicket(const asio::any_io_executor& loop) : timer(loop) {}

  enum State { waiting, begun, given_up };
  std::atomic<int> state = waiting;
  // On the loop's thread:
  asio::steady_timer timer;
  bool done = false;
  std::exception_ptr thrown;
  std::shared_ptr<void> owner;  ///< of everything the work uses
  /// Of the work, on the host's thread. On its own, for the owner must not be let go there.
  std::shared_ptr<asio::cancellation_signal> cancel = std::make_shared<asio::cancellation_signal>();
};

// The frame refers to what `ticket->owner` owns, which is let go on the loop's thread, and not before this has ended.
Task<void> work_on_host(std::shared_ptr<HostTicket> ticket, Task<void> work);
KETTLINGAR_INLINE Task<void> work_on_host(std::shared_ptr<HostTicket> ticket, Task<void> work) {
  int expected = HostTicket::waiting;
  if (!ticket->state.compare_exchange_strong(expected, HostTicket::begun)) co_return;
  co_await std::move(work);
}

/// Runs `work` on the host's thread and waits for its end. Throws what it throws; Error (503) if the host does not
/// begin it within `patience`. If the awaiting coroutine is cancelled, work that has begun goes on: `owner` is kept.
Task<void> on_host(asio::any_io_executor host, Task<void> work, std::shared_ptr<void> owner,
                   std::chrono::milliseconds patience);
KETTLINGAR_INLINE Task<void> on_host(asio::any_io_executor host, Task<void> work, std::shared_ptr<void> owner,
                                     std::chrono::milliseconds patience) {
  const asio::any_io_executor loop = co_await asio::this_coro::executor;
  auto ticket = std::make_shared<HostTicket>(loop);
  ticket->owner = std::move(owner);
  WhenEnded ended = [ticket](const std::exception_ptr& thrown) {
    ticket->thrown = thrown;
    ticket->done = true;
    ticket->timer.cancel();
  };
  ticket->timer.expires_after(patience);
  // The last owner of the ticket goes with `ended`, on the loop's thread.
  spawn(host, work_on_host(ticket, std::move(work)), std::move(ended), ticket->cancel->slot(), loop);
  for (bool in_time = co_await expiry(ticket->timer); !ticket->done; in_time = co_await expiry(ticket->timer)) {
    int expected = HostTicket::waiting;
    const bool given_up = ticket->state.compare_exchange_strong(expected, HostTicket::given_up);
    if (given_up) ticket->owner.reset();
    if (given_up && in_time) throw Error(503, "the program did not get to this call in time");
    if (!in_time) {
      // Cancelled: nobody waits any more. Work that has begun ends at what it awaits.
      if (!given_up) post(host, [cancel = ticket->cancel] { cancel->emit(asio::cancellation_type::terminal); });
      throw asio::system_error(asio::error::operation_aborted);
    }
    ticket->timer.expires_at(asio::steady_timer::time_point::max());
  }
  if (ticket->thrown) std::rethrow_exception(ticket->thrown);
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
