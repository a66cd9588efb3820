// SPDX-License-Identifier: MIT
// How much memory something takes at its peak: as AddressSanitizer tells, or else by replacing operator new, so that a
// program includes this in one file only.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FUZZ_WITH_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(FUZZ_WITH_ASAN)
#undef FUZZ_WITH_ASAN
#define FUZZ_WITH_ASAN 1
#include <sanitizer/allocator_interface.h>
#elif defined(__APPLE__)
#include <malloc/malloc.h>
#else
#include <malloc.h>
#endif

namespace fuzz {

inline std::atomic<std::size_t> live_bytes = 0, peak_bytes = 0;

inline void allocated(std::size_t size) {
  const std::size_t now = live_bytes += size;
  if (now > peak_bytes) peak_bytes = now;
}

/// Bytes that `work` had allocated at most.
template <class Work>
std::size_t peak_memory(Work work) {
#if defined(FUZZ_WITH_ASAN)
  static const int installed =
      __sanitizer_install_malloc_and_free_hooks([](const volatile void*, std::size_t size) { allocated(size); },
                                                [](const volatile void* block) {
                                                  if (block != nullptr)
                                                    live_bytes -= __sanitizer_get_allocated_size(block);
                                                });
  if (installed == 0) std::abort();
#endif
  const std::size_t before = live_bytes;
  peak_bytes = before;
  work();
  return peak_bytes - before;
}

}  // namespace fuzz

#if !defined(FUZZ_WITH_ASAN)
inline std::size_t fuzz_block_size(void* block) {
#if defined(__APPLE__)
  return ::malloc_size(block);
#else
  return ::malloc_usable_size(block);
#endif
}
void* operator new(std::size_t size) {
  void* const block = std::malloc(size != 0 ? size : 1);
  if (block == nullptr) throw std::bad_alloc();
  fuzz::allocated(fuzz_block_size(block));
  return block;
}
void operator delete(void* block) noexcept {
  if (block != nullptr) fuzz::live_bytes -= fuzz_block_size(block);
  std::free(block);
}
void operator delete(void* block, std::size_t) noexcept { operator delete(block); }
#endif
