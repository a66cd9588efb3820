// SPDX-License-Identifier: MIT
// base/errors.ipp: the bodies of errors.hpp.
#pragma once

#include "errors.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

KETTLINGAR_COLD std::string_view usual_class(int status) {
  if (status == 401 || status == 403 || status == 407) return "PermissionDenied";
  if (status == 404) return "NotFound";
  if (status == 423) return "NeedInfo";
  return status >= 400 && status <= 499 ? "InvalidArgument" : "Error";
}

// No dynamic_cast: programs may be compiled without RTTI.
KETTLINGAR_COLD std::string_view class_of(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const InvalidArgument&) {
    return "InvalidArgument";
  } catch (const PermissionDenied&) {
    return "PermissionDenied";
  } catch (const NotFound&) {
    return "NotFound";
  } catch (...) {
    return "Error";
  }
}

KETTLINGAR_COLD std::string with_status(const Error& error) {
  return "HTTP " + std::to_string(error.status()) + ": " + error.what();
}

KETTLINGAR_INLINE std::string words_of(const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "an exception of a type not derived from std::exception";
  }
}
}  // namespace detail
KETTLINGAR_COLD NeedInfo::NeedInfo(const std::string& text, std::vector<NeededVariable> needed, json resource)
    : Error(423, text), needed_(std::move(needed)), resource_(std::move(resource)) {}

}  // namespace v0_1
}  // namespace kettlingar
