// SPDX-License-Identifier: MIT
// call/method.ipp: the bodies of method.hpp.
#pragma once

#include "../wire/json_text.ipp"
#include "../wire/msgpack.ipp"
#include "method.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

KETTLINGAR_COLD std::shared_ptr<const json> shared_value(const Scalar& scalar) { return shared_value(scalar.value()); }

KETTLINGAR_COLD std::shared_ptr<const json> shared_value(json value) {
  return std::make_shared<const json>(std::move(value));
}

KETTLINGAR_INLINE CodecError encode(const Scalar& value, Format format, std::string& out) {
  return format == Format::msgpack ? append_scalar(out, value) : encode(value.value(), format, out);
}

KETTLINGAR_COLD Method::Method(std::string name, std::string doc) : name_(std::move(name)), doc_(std::move(doc)) {}

KETTLINGAR_COLD Method::~Method() = default;

KETTLINGAR_COLD void Method::add_parameter(const Arg& parameter, std::string type, bool takes_descriptors,
                                           const TypeInfo& info) {
  parameters_.push_back(
      {parameter.name(), std::move(type), parameter.fallback(), takes_descriptors, &info, parameter.facts()});
}

KETTLINGAR_COLD void Method::add_words(std::span<const MethodWord> words) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    const MethodWord& word = words[i];
    if (word.argument != nullptr) {
      add_parameter(*word.argument);
    } else {
      is_read_only_ |= word.mark->kind() == MethodMark::reads_only;
      is_hidden_ |= word.mark->kind() == MethodMark::is_hidden;
    }
  }
}

KETTLINGAR_COLD void Method::set_type(std::size_t parameter, std::string type, bool takes_descriptors,
                                      const TypeInfo& info) {
  Parameter& one = parameters_[parameter];
  one.type = std::move(type);
  one.takes_descriptors = takes_descriptors;
  one.info = &info;
}

KETTLINGAR_COLD void Method::describe_as(std::string returns, bool streams, bool takes_request, bool gives_descriptors,
                                         json (*make_schema)()) {
  returns_ = std::move(returns);
  streams_ = streams;
  takes_request_ = takes_request;
  gives_descriptors_ = gives_descriptors;
  result_schema_ = make_schema;
}

KETTLINGAR_COLD bool Method::passes_descriptors() const noexcept {
  for (const Parameter& parameter : parameters_) {
    if (parameter.takes_descriptors) return true;
  }
  return gives_descriptors_;
}

KETTLINGAR_INLINE std::size_t Method::index_of(std::string_view parameter) const {
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (parameters_[i].name == parameter) return i;
  }
  return parameters_.size();
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
