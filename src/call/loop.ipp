// SPDX-License-Identifier: MIT
// call/loop.ipp: the few operations of a loop that everything here is made of. Asio's own are templates that compile
// anew for each function they are given; these have been given one.
#pragma once

#include "../base/version.hpp"  // defines ASIO_HAS_CO_AWAIT, so it must come before Asio

#include <asio/any_io_executor.hpp>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/error_code.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/redirect_error.hpp>
#include <asio/steady_timer.hpp>
#include <asio/strand.hpp>
#include <asio/system_error.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <utility>

#include "coroutine.hpp"
#include "operations.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// What is called when something has happened, or was cancelled.
using WhenReady = std::function<void(const asio::error_code&)>;
/// What is called with what a coroutine ended with; null if that is nothing bad.
using WhenEnded = std::function<void(const std::exception_ptr&)>;

/// Starts a coroutine. Its frame belongs to the loop until it ends; an emission on `cancel` reaches what it awaits.
/// `ended` is called on `there`.
void spawn(const asio::any_io_executor& executor, Task<void> task, WhenEnded ended, asio::cancellation_slot cancel,
           const asio::any_io_executor& there);
KETTLINGAR_INLINE void spawn(const asio::any_io_executor& executor, Task<void> task, WhenEnded ended,
                             asio::cancellation_slot cancel, const asio::any_io_executor& there) {
  asio::co_spawn(executor, std::move(task),
                 asio::bind_executor(there, asio::bind_cancellation_slot(cancel, std::move(ended))));
}
inline void spawn(const asio::any_io_executor& executor, Task<void> task, WhenEnded ended,
                  asio::cancellation_slot cancel = {}) {
  spawn(executor, std::move(task), std::move(ended), cancel, executor);
}
inline void spawn(const asio::any_io_executor& executor, Task<void> task) {
  spawn(executor, std::move(task), [](const std::exception_ptr&) {});
}

enum class OnThisThread { no, yes, unknown };
/// Whether the calling thread runs the executor. Loops can be asked, and strands of them, but no others.
OnThisThread runs_on_this_thread(const asio::any_io_executor& executor);
KETTLINGAR_COLD OnThisThread runs_on_this_thread([[maybe_unused]] const asio::any_io_executor& executor) {
#if !defined(ASIO_NO_TYPEID)
  using Loop = asio::io_context::executor_type;
  const auto said = [](bool here) { return here ? OnThisThread::yes : OnThisThread::no; };
  if (const auto* loop = executor.target<Loop>()) return said(loop->running_in_this_thread());
  if (const auto* strand = executor.target<asio::strand<Loop>>()) return said(strand->running_in_this_thread());
  if (const auto* strand = executor.target<asio::strand<asio::any_io_executor>>())
    return said(strand->running_in_this_thread());
#endif
  return OnThisThread::unknown;
}

/// Calls `work` from the loop, soon. From any thread.
void post(const asio::any_io_executor& executor, std::function<void()> work);
KETTLINGAR_INLINE void post(const asio::any_io_executor& executor, std::function<void()> work) {
  asio::post(executor, std::move(work));
}

KETTLINGAR_INLINE Task<void> let_others_run() {
  const asio::any_io_executor executor = co_await asio::this_coro::executor;
  co_await asio::post(executor, asio::use_awaitable);
}

/// Calls `ready` when the timer expires, or is cancelled.
void when_expired(asio::steady_timer& timer, WhenReady ready);
KETTLINGAR_INLINE void when_expired(asio::steady_timer& timer, WhenReady ready) { timer.async_wait(std::move(ready)); }

/// Waits for the timer; true if it has expired, false if it was cancelled.
Task<bool> expiry(asio::steady_timer& timer);
KETTLINGAR_INLINE Task<bool> expiry(asio::steady_timer& timer) {
  asio::error_code error;
  co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, error));
  co_return !error;
}

/// Touched on the executor's thread only.
struct Wakeup::Timer : asio::steady_timer {
  using asio::steady_timer::steady_timer;
};

KETTLINGAR_INLINE Wakeup::Wakeup(const asio::any_io_executor& executor) : timer_(std::make_shared<Timer>(executor)) {}

KETTLINGAR_INLINE Task<void> Wakeup::wait(std::shared_ptr<Timer> timer) {
  timer->expires_at(asio::steady_timer::time_point::max());
  co_await expiry(*timer);
}

KETTLINGAR_INLINE void Wakeup::wake() const {
  post(timer_->get_executor(), [timer = timer_] { timer->cancel(); });
}

}  // namespace detail

KETTLINGAR_INLINE Task<void> sleep_for(std::chrono::steady_clock::duration time) {
  asio::steady_timer timer(co_await asio::this_coro::executor, time);
  asio::error_code error;
  co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, error));
  if (error) throw asio::system_error(error);
}

}  // namespace v0_1
}  // namespace kettlingar
