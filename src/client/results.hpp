// SPDX-License-Identifier: MIT
// client/results.hpp: results and items as C++ values, and streams to iterate over.
#pragma once

#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "../base/errors.hpp"
#include "../base/version.hpp"
#include "../call/convert.hpp"
#include "../call/coroutine.hpp"
#include "../call/result.hpp"
#include "../call/transfer.hpp"
#include "running_call.hpp"
#include "transport.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// The document that `value` is, or `value` as a document of JSON text.
Result to_document(const json& value, const Answer& answer);

/// `value`, which `answer` gave, as a T. Throws ResultError.
template <class T>
T as_result(json value, Answer& answer, const std::string& method) {
  try {
    if constexpr (std::is_same_v<T, json>) {
      return value;
    } else if constexpr (std::is_same_v<T, Result>) {
      return to_document(value, answer);
    } else if constexpr (std::is_same_v<T, Event>) {
      return Event{std::move(value)};
    } else {
      if constexpr (std::is_same_v<T, std::string> || is_bytes<T>) {
        if (is_document(value)) return take_value<T>(value["data"], answer.descriptors());
      }
      return take_result<T>(value, answer.descriptors());
    }
  } catch (const BadValue& bad) {
    throw ResultError(method + ": unexpected result" + (bad.path.empty() ? "" : " in '" + bad.path + "'") + ": " +
                      problem_of(bad));
  }
}

/// The same for an item of a stream, which is over if that is no T.
template <class T>
T item_of(json value, RunningCall& call) {
  try {
    return as_result<T>(std::move(value), call.answer(), call.method());
  } catch (...) {
    call.end();
    throw;
  }
}

template <class T>
T only_result(RunningCall& call) {
  call.expect_one();
  std::optional<json> value = call.next();
  if constexpr (!std::is_void_v<T>)
    return as_result<T>(value ? *std::move(value) : json(nullptr), call.answer(), call.method());
}

// By value: the frame owns what it needs.
template <class T>
Task<T> async_only_result(RunningCall call) {
  call.expect_one();
  std::optional<json> value = co_await call.async_next();
  if constexpr (!std::is_void_v<T>)
    co_return as_result<T>(value ? *std::move(value) : json(nullptr), call.answer(), call.method());
}

}  // namespace detail

/// The items of a method that streams, as they come: `for (auto& item : kitty.stream<Purr>("purr", 10))`. The call is
/// made when the first one is asked for. Destroying the stream before its end closes the connection, and so tells the
/// service that nobody reads any further. A method that does not stream gives its result as the only item. For one
/// thread at a time.
template <class T>
class [[nodiscard]] Stream {
 public:
  using value_type = T;

  explicit Stream(detail::RunningCall call) : call_(std::move(call)) {}

  /// Waits for the next item; nothing at the end. Throws what the handler has thrown, also in the middle;
  /// ConnectionError if the stream breaks off, which is all that an exception in the middle of a stream of documents
  /// (kt::Result) can do; ResultError if the item is no T; NotRunning. After an exception nothing more comes, and the
  /// call has ended.
  std::optional<T> next() {
    std::optional<json> item = call_.next();
    if (!item) return std::nullopt;
    return detail::item_of<T>(*std::move(item), call_);
  }

  class iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = T;
    using difference_type = std::ptrdiff_t;
    using pointer = T*;
    using reference = T&;

    iterator() = default;
    explicit iterator(Stream* stream) : stream_(stream) { ++*this; }
    T& operator*() const { return *stream_->current_; }
    T* operator->() const { return &*stream_->current_; }
    iterator& operator++() {
      stream_->current_.reset();  // after an exception there is none
      stream_->current_ = stream_->next();
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return !stream_->current_; }

   private:
    Stream* stream_ = nullptr;
  };
  /// Waits for an item. All iterators belong to this very object, and are at the same item.
  iterator begin() { return iterator(this); }
  std::default_sentinel_t end() const noexcept { return {}; }

 private:
  detail::RunningCall call_;
  std::optional<T> current_;
};

/// The same for coroutines: `while (auto item = co_await items.next())`.
template <class T>
class [[nodiscard]] AsyncStream {
 public:
  using value_type = T;

  explicit AsyncStream(detail::RunningCall call) : call_(std::move(call)) {}

  /// Like Stream::next(), on the executor of whoever awaits it. The stream must outlive the Task. Cancelling the wait
  /// ends the stream. Where there always is another item, everything else on the executor has its turn every 2 ms.
  Task<std::optional<T>> next() {
    std::optional<json> item = co_await call_.async_next();
    std::optional<T> result;
    if (item) result = detail::item_of<T>(*std::move(item), call_);
    co_return result;
  }

 private:
  detail::RunningCall call_;
};

}  // namespace v0_1
}  // namespace kettlingar
