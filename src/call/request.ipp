// SPDX-License-Identifier: MIT
// call/request.ipp: the bodies of request.hpp.
#pragma once

#include "../wire/http_head.ipp"
#include "request.hpp"

namespace kettlingar {
inline namespace v0_1 {

KETTLINGAR_INLINE const json& Request::arguments() const {
  if (arguments_.is_null()) arguments_ = json::object();
  return arguments_;
}

KETTLINGAR_INLINE std::string_view Request::query() const noexcept { return head_.query; }

KETTLINGAR_INLINE std::string_view Request::http_method() const noexcept { return head_.method; }

KETTLINGAR_INLINE std::optional<std::string_view> Request::header(std::string_view name) const {
  return head_.fields.find(name);
}

KETTLINGAR_INLINE Socket Request::take_connection(std::string* received) { return caller_.take_connection(received); }

}  // namespace v0_1
}  // namespace kettlingar
