// SPDX-License-Identifier: MIT
// client/client_options.ipp: the bodies of client_options.hpp.
#pragma once

#include "client_options.hpp"

namespace kettlingar {
inline namespace v0_1 {

KETTLINGAR_COLD void PathText::assign(std::string_view path) {
  if (path.size() >= text_.size() || path.find('\0') != std::string_view::npos)
    throw InvalidArgument("a path must be shorter than " + std::to_string(text_.size()) + " bytes, without NUL");
  text_ = {};
  path.copy(text_.data(), path.size());
}

}  // namespace v0_1
}  // namespace kettlingar
