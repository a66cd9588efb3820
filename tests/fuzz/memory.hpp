// SPDX-License-Identifier: MIT
// How much memory something takes at its peak. Replaces operator new, so a program includes this in one file only.
#pragma once

#include <malloc.h>

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace fuzz {

inline std::atomic<std::size_t> live_bytes = 0, peak_bytes = 0;

/// Bytes that `work` had allocated at most.
template <class Work>
std::size_t peak_memory(Work work) {
  const std::size_t before = live_bytes;
  peak_bytes = before;
  work();
  return peak_bytes - before;
}

}  // namespace fuzz

void* operator new(std::size_t size) {
  void* const block = std::malloc(size != 0 ? size : 1);
  if (block == nullptr) throw std::bad_alloc();
  const std::size_t now = fuzz::live_bytes += ::malloc_usable_size(block);
  if (now > fuzz::peak_bytes) fuzz::peak_bytes = now;
  return block;
}
void operator delete(void* block) noexcept {
  if (block == nullptr) return;
  fuzz::live_bytes -= ::malloc_usable_size(block);
  std::free(block);
}
void operator delete(void* block, std::size_t) noexcept { operator delete(block); }
