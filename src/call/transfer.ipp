// SPDX-License-Identifier: MIT
// call/transfer.ipp: the bodies of transfer.hpp.
#pragma once

#include "transfer.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

KETTLINGAR_INLINE std::size_t count_placeholders(const json& value) {
  if (value.is_string()) return is_placeholder(value.get_ref<const std::string&>()) ? 1 : 0;
  std::size_t count = 0;
  if (value.is_array()) {
    for (const json& item : value) count += count_placeholders(item);
  }
  return count;
}

KETTLINGAR_COLD void refuse_descriptors(const std::system_error& error, const std::string& argument) {
  if (error.code() == std::errc::bad_file_descriptor) refuse_missing(argument);
  throw InvalidArgument(argument + ": " + error.what());
}

KETTLINGAR_COLD void refuse_missing(const std::string& argument) {
  throw InvalidArgument(argument + " is not open: given away already?");
}

KETTLINGAR_INLINE json put_descriptor(Fd&& fd, Placeholder placeholder, std::vector<Fd>& out) {
  out.push_back(std::move(fd));
  return placeholder.text();
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
