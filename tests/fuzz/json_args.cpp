// SPDX-License-Identifier: MIT
// Arguments of every type, from JSON, MessagePack and forms: each call ends with a value or a refusal, and who sends
// the value again gets it again. Input: which method, which encoding, the body of a request.
#include <map>
#include <tuple>

#include "fuzz.hpp"
#include "service/bind.hpp"
#include "service/form.hpp"

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

const Methods& methods() {
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

/// Calls with a tree of arguments, or with the bytes that it was read from.
Outcome call(const kt::detail::Method& method, const json& arguments, bool authenticated, std::string_view bytes = {}) {
  static Nobody nobody;
  const kt::RequestHead head;
  const kt::Peer peer;
  kt::Request request(head, peer, nobody, {});
  kt::ConnectionAccess::route(request, "echo", "/echo", authenticated);
  kt::detail::Call made(request, kt::detail::Format::msgpack);
  made.bound = !bytes.empty() && method.bind_scalars(made.slots, bytes);
  if (!made.bound) kt::ConnectionAccess::arguments(request) = arguments;
  try {
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

FUZZ_TARGET(json_args) {
  using namespace fuzz_args;
  fuzz::Input input(bytes);
  const kt::detail::Method& method = *methods()[input.byte() % methods().size()];
  const unsigned encoding = input.byte() % 3;
  const std::string_view body = input.rest();
  json arguments;
  const kt::CodecError error = encoding == 0   ? kt::decode_json(body, arguments)
                               : encoding == 1 ? kt::decode_msgpack(body, arguments)
                                               : kt::detail::decode_form(body, arguments);
  if (error || !arguments.is_object()) {
    // What is bound without a tree has to be what a tree could have been made of.
    std::vector<kt::detail::Slot> slots;
    FUZZ_CHECK(encoding != 1 || !method.bind_scalars(slots, body));
    return;
  }
  const auto positional = arguments.find(kt::detail::positional_key);
  if (positional != arguments.end() && !positional->is_array()) return;

  const Outcome outcome = call(method, arguments, true);
  const auto& result = outcome.result;
  FUZZ_CHECK(call(method, arguments, false).result == result);
  if (encoding == 1) FUZZ_CHECK(call(method, arguments, true, body) == outcome);
  if (!result) return;
  json value, again = json::object();
  FUZZ_CHECK(!kt::decode_msgpack(*result, value));
  if (method.parameters().size() == 1) {
    again["a"] = value;
  } else {
    again["_args"] = value;
  }
  FUZZ_CHECK(call(method, again, true) == outcome);
}
