// SPDX-License-Identifier: MIT
// call/coroutine.ipp: the bodies of coroutine.hpp.
#pragma once

#include "coroutine.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

KETTLINGAR_INLINE Task<void> settle(Task<void> task, Settled<void>* settled) {
  try {
    co_await std::move(task);
  } catch (...) {
    settled->error = std::current_exception();
  }
}

KETTLINGAR_INLINE bool Turn::look() {
  constexpr unsigned short_steps = 8;
  const Clock::time_point now = Clock::now();
  steps_ = now - looked_ < longest / 4 ? short_steps : 1;
  looked_ = now;
  if (began_ == Clock::time_point{}) began_ = now;
  if (now - began_ < longest) return false;
  began_ = {};
  return true;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
