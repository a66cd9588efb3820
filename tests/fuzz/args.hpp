// SPDX-License-Identifier: MIT
// Methods with parameters of every type, and calls of them, for the targets that make arguments of bytes.
#pragma once

#include <map>
#include <optional>
#include <tuple>

#include "call/bind.ipp"
#include "call/form.ipp"
#include "fuzz.hpp"

namespace kt = kettlingar;
using kt::json;

namespace fuzz_args {

struct Point {
  int x = 0;
  std::vector<std::uint8_t> y;
  std::string name;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(Point, x, y, name)

enum class Mood { calm, wild };
NLOHMANN_JSON_SERIALIZE_ENUM(Mood, {{Mood::calm, "calm"}, {Mood::wild, "wild"}})

struct Nobody final : kt::detail::Caller {
  bool gone() const override { return false; }
  HandOver prepare_handover() override { throw kt::Error(501, ""); }
  void released() override {}
  kt::Socket take_connection(std::string*) override { throw kt::Error(501, ""); }
};

using Methods = std::vector<std::shared_ptr<kt::detail::Method>>;

template <class... T>
void add_echoes(Methods& methods) {
  (methods.push_back(kt::detail::make_method(
       "echo", [](T value) { return value; }, "", kt::arg("a"))),
   ...);
}

inline const Methods& methods() {
  static const Methods all = [] {
    Methods made;
    add_echoes<bool, int, std::int8_t, std::uint64_t, std::int64_t, double, float, std::string, kt::Bytes, json,
               nlohmann::json, std::optional<int>, std::vector<int>, std::map<std::string, double>,
               std::tuple<int, std::string, bool>, Point, Mood, std::vector<Point>>(made);
    made.push_back(kt::detail::make_method(
        "many",
        [](int a, const std::string& b, bool c) {
          return json::array({a, b, c});
        },
        "", kt::arg("a"), kt::arg("b") = "x", kt::arg("c") = false));
    return made;
  }();
  return all;
}

/// What the method answers: a result as MessagePack, or a refusal.
struct Outcome {
  std::optional<std::string> result;
  std::string refusal;

  bool operator==(const Outcome&) const = default;
};

/// Where arguments are besides the tree of them.
struct Sources {
  std::string_view packed = {};                   ///< the bytes that the tree was read from
  std::optional<std::string_view> query = {};     ///< of the target
  std::optional<std::string_view> raw_body = {};  ///< one argument as it is
};

inline Outcome call(const kt::detail::Method& method, const json& arguments, bool authenticated,
                    const Sources& sources = {}) {
  static Nobody nobody;
  const kt::detail::RequestHead head;
  const kt::Peer peer;
  kt::Request request(head, peer, nobody, {});
  kt::detail::ConnectionAccess::route(request, "echo", "/echo", authenticated);
  kt::detail::Call made(request, kt::detail::Format::msgpack);
  made.bound = !sources.packed.empty() && method.bind_scalars(made.slots, sources.packed);
  if (!made.bound) kt::detail::ConnectionAccess::arguments(request) = arguments;
  try {
    if (sources.query) method.add_query(*sources.query, request);
    if (sources.raw_body) method.add_bytes(*sources.raw_body, request);
    method.invoke(made);
  } catch (const kt::InvalidArgument& error) {
    FUZZ_CHECK(error.status() == 400 && kt::is_utf8(error.what()));
    // Strangers are told nothing that they have said themselves.
    FUZZ_CHECK(authenticated || std::string_view(error.what()).find("got ") == std::string_view::npos ||
               std::string_view(error.what()).find("at most") != std::string_view::npos);
    return {std::nullopt, error.what()};
  }
  if (made.codec_error) FUZZ_CHECK(made.codec_error.slug == "depth");
  return made.codec_error ? Outcome{} : Outcome{made.body, {}};
}

}  // namespace fuzz_args
