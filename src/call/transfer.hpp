// SPDX-License-Identifier: MIT
// call/transfer.hpp: arguments and results that contain open descriptors: which of them goes where.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "../base/errors.hpp"
#include "../base/json.hpp"
#include "../base/version.hpp"
#include "../os/passing.hpp"
#include "convert.hpp"
#include "signature.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// Descriptors that came with a message, in order. What nobody takes is closed with it.
class DescriptorQueue {
 public:
  DescriptorQueue() = default;
  explicit DescriptorQueue(std::vector<Fd> descriptors) : descriptors_(std::move(descriptors)) {}

  std::size_t size() const noexcept { return descriptors_.size() - next_; }
  bool empty() const noexcept { return size() == 0; }
  /// The next one; none if there is none left.
  Fd take() { return empty() ? Fd() : std::move(descriptors_[next_++]); }
  /// All that are left.
  std::vector<Fd> take_all() {
    std::vector<Fd> rest;
    while (!empty()) rest.push_back(take());
    return rest;
  }

 private:
  std::vector<Fd> descriptors_;
  std::size_t next_ = 0;
};

/// How many descriptors `value` stands for: placeholders in it, and in lists in it.
std::size_t count_placeholders(const json& value);

/// The descriptor that the placeholder `value` stands for. Throws BadValue if it is none, or none has come.
template <class T>
T take_descriptor(const json& value, DescriptorQueue& queue) {
  const auto found = value.is_string() ? parse_placeholder(value.get_ref<const std::string&>()) : std::nullopt;
  constexpr bool file = std::is_same_v<T, File>, socket = std::is_same_v<T, Socket>;
  const char* expected = file     ? "open file (passed over the unix socket)"
                         : socket ? "open socket (passed over the unix socket)"
                                  : "open file or socket (passed over the unix socket)";
  if (!found || (file && found->is_socket) || (socket && !found->is_socket)) throw BadValue{expected, value};
  Fd fd = queue.take();
  if (!fd) throw BadValue{expected, value};
  if constexpr (file) {
    return File(std::move(fd), found->mode);
  } else if constexpr (socket) {
    const Placeholder actual = describe_descriptor(fd.get());
    if (!actual.is_socket) throw BadValue{expected, value};
    return Socket(std::move(fd), actual.family, actual.type, found->protocol);
  } else {
    return fd;
  }
}

template <class T>
T take_value(const json& value, DescriptorQueue& queue, Fields fields = Fields::known);

template <class Tuple, std::size_t... i>
Tuple take_tuple(const json& list, DescriptorQueue& queue, Fields fields, std::index_sequence<i...>) {
  return Tuple{take_value<std::tuple_element_t<i, Tuple>>(list[i], queue, fields)...};
}

/// from_json() for types that may hold descriptors.
template <class T>
T take_value(const json& value, DescriptorQueue& queue, [[maybe_unused]] Fields fields) {
  if constexpr (!holds_descriptors<T>) {
    return from_json<T>(value, fields);
  } else if constexpr (is_instance<T, std::optional>) {
    if (value.is_null()) return std::nullopt;
    return take_value<typename T::value_type>(value, queue, fields);
  } else if constexpr (is_instance<T, std::vector>) {
    if (!value.is_array()) throw BadValue{"list", value};
    T result;
    for (const json& item : value) result.push_back(take_value<typename T::value_type>(item, queue, fields));
    return result;
  } else if constexpr (is_instance<T, std::tuple> || is_instance<T, std::pair>) {
    constexpr std::size_t size = std::tuple_size_v<T>;
    if (!value.is_array() || value.size() != size) throw BadValue{"list of " + std::to_string(size), value};
    return take_tuple<T>(value, queue, fields, std::make_index_sequence<size>{});
  } else {
    return take_descriptor<T>(value, queue);
  }
}

/// Throws InvalidArgument for what put_value() has thrown about `argument`.
[[noreturn]] void refuse_descriptors(const std::system_error& error, const std::string& argument);
/// The same for descriptors that are not there.
[[noreturn]] void refuse_missing(const std::string& argument);

json put_descriptor(Fd&& fd, Placeholder placeholder, std::vector<Fd>& out);

/// The other way: `value` as json, its descriptors moved to `out`. Throws std::system_error for a descriptor that is
/// not open.
template <class T>
json put_value(T&& value, std::vector<Fd>& out) {
  using Value = std::remove_cvref_t<T>;
  if constexpr (!holds_descriptors<Value>) {
    return to_json_value(value);
  } else {
    static_assert(!std::is_lvalue_reference_v<T>,
                  "kettlingar: a descriptor is given away: use std::move(fd), or fd.duplicate() to keep it");
    if constexpr (is_instance<Value, std::optional>) {
      return value ? put_value(std::move(*value), out) : json(nullptr);
    } else if constexpr (is_instance<Value, std::vector>) {
      json list = json::array();
      for (auto& item : value) list.push_back(put_value(std::move(item), out));
      return list;
    } else if constexpr (is_instance<Value, std::tuple> || is_instance<Value, std::pair>) {
      json list = json::array();
      std::apply([&](auto&... item) { (list.push_back(put_value(std::move(item), out)), ...); }, value);
      return list;
    } else if constexpr (std::is_same_v<Value, File>) {
      describe_descriptor(value.get());  // open?
      const Placeholder placeholder{.mode = value.mode()};
      return put_descriptor(std::move(value), placeholder, out);
    } else if constexpr (std::is_same_v<Value, Socket>) {
      describe_descriptor(value.get());
      const Placeholder placeholder{true, {}, value.family(), value.type(), value.protocol()};
      return put_descriptor(std::move(value), placeholder, out);
    } else {
      const Placeholder placeholder = describe_descriptor(value.get());
      return put_descriptor(std::move(value), placeholder, out);
    }
  }
}

/// A result with descriptors is always a list, even of one.
template <class T>
json put_result(T&& value, std::vector<Fd>& out) {
  json result = put_value(std::forward<T>(value), out);
  if (result.is_string()) return json::array({std::move(result)});
  return result;
}

/// The way back from put_result(). Structs may have fields that are not known yet.
template <class T>
T take_result(const json& value, DescriptorQueue& queue) {
  if constexpr (std::is_same_v<T, Fd> || std::is_same_v<T, File> || std::is_same_v<T, Socket>) {
    if (value.is_array() && value.size() == 1) return take_descriptor<T>(value.front(), queue);
  }
  if constexpr (holds_descriptors<T> && is_instance<T, std::optional>) {
    if (value.is_array() && value.size() == 1) return take_result<typename T::value_type>(value, queue);
  }
  return take_value<T>(value, queue, Fields::any);
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
