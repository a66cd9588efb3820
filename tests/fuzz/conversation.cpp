// SPDX-License-Identifier: MIT
// Conversations of callers that do everything right, in any order and in pieces: pipelines, streams, descriptors there
// and back, answers that go elsewhere, callers of the old style. Each call gets its own answer, the very one.
// Input: a seed for the cuts, then two bytes for each call and what it says, see call_from().
#include "service.hpp"

namespace kt = kettlingar;
using kt::json;

namespace fuzz_conversation {

/// A request, and what has to come back.
struct Exchange {
  std::string method;
  json arguments = json::object();
  int status = 200;
  json value;                 ///< of the answer; for errors any
  std::optional<json> items;  ///< of a stream
  bool breaks_off = false;
  std::vector<kt::Fd> with;          ///< descriptors
  std::size_t returned = 0;          ///< descriptors of the answer
  std::optional<fuzz::Peer> target;  ///< where the answer goes, behind a 202

  bool msgpack = false, chunked = false, head_only = false, bare_lf = false, http_1_0 = false;
  bool authenticated = true;

  bool closes() const { return bare_lf || http_1_0 || breaks_off || target; }

  std::string request() const {
    std::string body;
    FUZZ_CHECK(!(msgpack ? kt::encode_msgpack(arguments, body) : kt::encode_json(arguments, body)));
    const bool post = !head_only;
    const std::string eol = bare_lf ? "\n" : "\r\n";
    std::string text = post ? "POST " : "HEAD ";
    text += (authenticated ? "/" + std::string(fuzz::token) : "") + "/" + method + " HTTP/1." + (http_1_0 ? "0" : "1") +
            eol;
    if (post) {
      text += std::string("Content-Type: application/") + (msgpack ? "x-msgpack" : "json") + eol;
      text += chunked ? "Transfer-Encoding: chunked" + eol : "Content-Length: " + std::to_string(body.size()) + eol;
    }
    text += eol;
    if (!post) return text;
    if (!chunked) return text + body;
    for (std::size_t at = 0; at < body.size(); at += 7)
      kt::detail::append_chunk(text, std::string_view(body).substr(at, 7));
    kt::detail::append_last_chunk(text);
    return text;
  }
};

/// Any value, of a few bytes of input.
json value_from(fuzz::Input& input, int depth = 0) {
  const unsigned kind = input.byte();
  switch (kind % 8) {
    case 0:
      return static_cast<int>(input.byte()) - 128;
    case 1:
      return (std::uint64_t{1} << (input.byte() % 64)) - 1;
    case 2:
      return kind * 0.1;
    case 3:
      return kind > 128;
    case 4: {
      std::string text;
      kt::append_utf8(text, input.take(kind / 8));
      return text;
    }
    case 5:
      return kt::bytes(input.take(kind / 8));
    default: {
      json made = kind % 8 == 6 ? json::array() : json::object();
      for (unsigned i = 0; i < kind / 8 % 4 && depth < 5; ++i) {
        if (made.is_array()) {
          made.push_back(value_from(input, depth + 1));
        } else {
          made["key" + std::to_string(i)] = value_from(input, depth + 1);
        }
      }
      return made;
    }
  }
}

kt::Fd null_device() { return kt::Fd(::open("/dev/null", O_RDWR | O_CLOEXEC)); }

json numbers(int n) {
  json list = json::array();
  for (int i = 0; i < n; ++i) list.push_back(i);
  return list;
}

Exchange call_from(fuzz::Input& input) {
  Exchange call;
  const unsigned kind = input.byte(), style = input.byte();
  call.msgpack = (style & 1) != 0;
  call.chunked = (style & 2) != 0;
  if ((style & 12) == 4) call.bare_lf = true;
  if ((style & 12) == 8) call.http_1_0 = true;
  if (call.bare_lf || call.http_1_0) call.chunked = false;
  const int n = static_cast<int>(style >> 4);
  const auto file = [&] {
    call.with.push_back(null_device());
    return json("_FD_BRE_MAGIC_-rb");
  };
  switch (kind % 16) {
    case 0:
      call.method = "add";
      call.arguments["_args"] = {n, 3};
      call.value = n + 3;
      break;
    case 1:
      call.method = "add";
      call.arguments = {{"a", n}, {"b", 128 + n}};
      call.status = 400;
      break;
    case 2:
      call.method = "count";
      call.arguments["n"] = n;
      call.items = numbers(n);
      call.authenticated = false;
      break;
    case 3:
      call.method = "count";
      call.arguments["_args"] = {1 + n, true};
      call.items = numbers(1 + n);
      call.breaks_off = true;
      break;
    case 4:
      call.method = "later";
      call.arguments["n"] = call.value = n;
      break;
    case 5:
      call.method = n % 2 == 0 ? "secret" : "nothing";
      call.authenticated = false;
      call.status = 403;
      break;
    case 6:
      call.method = "nothing";
      call.status = 404;
      if (n > 7) call.arguments["file"] = file();
      break;
    case 7:
      call.method = "echo";
      call.head_only = true;
      call.msgpack = false;  // which only a body can ask for
      break;
    case 8:
      call.method = "fail";
      call.status = 300 + n * 13;
      call.arguments["status"] = call.status;
      break;
    case 9:
      call.method = "take";
      call.arguments["file"] = file();
      call.value = "rb";
      break;
    case 10:
      call.method = "hand_back";
      call.arguments["_args"].push_back(file());
      call.value = {"_FD_BRE_MAGIC_-rb"};
      call.returned = 1;
      break;
    case 11:
      call.method = "give";
      call.returned = static_cast<std::size_t>(n % 5);
      call.arguments["n"] = n % 5;
      call.value = json::array();
      for (int i = 0; i < n % 5; ++i) call.value.push_back("_FD_BRE_MAGIC_-rb");
      break;
    case 12:
    case 13: {
      auto [here, there] = fuzz::socket_pair();
      call.target.emplace(std::move(here));
      call.with.push_back(std::move(there));
      const bool stream = kind % 16 == 12;
      call.method = stream ? "count" : "add";
      call.arguments = {{"reply_to_first_fd", 0}, {"_args", {"_SO_BRE_MAGIC_-1-1-0", n}}};
      if (stream) call.items = numbers(n);
      if (!stream) call.value = n + 1;
      break;
    }
    default:
      call.method = "echo";
      call.authenticated = n % 2 == 0;
      call.arguments["value"] = call.value = value_from(input);
  }
  // Chunks that are refused are not read to their end.
  if (call.status == 403 || call.status == 404) call.chunked = false;
  return call;
}

json decoded(const Exchange& call, std::string_view bytes) {
  json value;
  FUZZ_CHECK(!(call.msgpack ? kt::decode_msgpack(bytes, value) : kt::decode_json(bytes, value)));
  return value;
}

/// Equal on the wire, where 1 and 1.0 differ.
bool same(const json& one, const json& other) {
  std::string a, b;
  FUZZ_CHECK(!kt::encode_msgpack(one, a) && !kt::encode_msgpack(other, b));
  return a == b;
}

void check_answer(const Exchange& call, const fuzz::Answer& answer) {
  FUZZ_CHECK(answer.status == call.status);
  FUZZ_CHECK(answer.type == (call.msgpack ? "application/x-msgpack" : "application/json"));
  if (call.head_only) return;
  if (!call.items) {
    FUZZ_CHECK(answer.complete && !answer.streamed);
    const json value = decoded(call, answer.body);
    if (call.status == 200) {
      FUZZ_CHECK(same(value, call.value));
    } else {
      FUZZ_CHECK(value.contains("error"));
      for (const auto& [key, item] : value.items())
        FUZZ_CHECK(key == "error" || key == "type" || key == "unknown_method");
    }
    return;
  }
  json items = *call.items;
  if (call.breaks_off) items.push_back({{"error", "no more"}, {"status", 404}});
  if (answer.streamed) {
    FUZZ_CHECK(answer.complete == !call.breaks_off && answer.items.size() == items.size());
    for (std::size_t i = 0; i < items.size(); ++i) FUZZ_CHECK(same(decoded(call, answer.items[i]), items[i]));
  } else {  // HTTP/1.0 knows no chunks
    std::string all;
    for (const json& item : items) {
      FUZZ_CHECK(!(call.msgpack ? kt::encode_msgpack(item, all) : kt::encode_json(item, all)));
      if (!call.msgpack) all += '\n';
    }
    FUZZ_CHECK(call.http_1_0 && answer.body == all);
  }
}

/// The answers so far are those to `calls`, which are answered then.
void check_answers(fuzz::Peer& peer, std::vector<Exchange>& calls) {
  std::vector<fuzz::Body> bodies;
  std::size_t returned = 0;
  for (const Exchange& call : calls) {
    bodies.push_back(call.head_only ? fuzz::Body::no : fuzz::Body::yes);
    if (!call.target) returned += call.returned;
  }
  const std::vector<fuzz::Answer> answers = fuzz::answers(peer.seen, bodies);
  FUZZ_CHECK(answers.size() == calls.size() && peer.descriptors == returned);
  for (std::size_t i = 0; i < calls.size(); ++i) {
    FUZZ_CHECK(answers[i].bare_lf == calls[i].bare_lf);
    if (!calls[i].target) {
      check_answer(calls[i], answers[i]);
      continue;
    }
    FUZZ_CHECK(answers[i].status == 202 && answers[i].body == "{\"replied_to_first_fd\": true}\n");
    FUZZ_CHECK(calls[i].target->read_to_end());
    const std::vector<fuzz::Answer> there = fuzz::answers(calls[i].target->seen, {fuzz::Body::yes});
    FUZZ_CHECK(there.size() == 1 && there[0].bare_lf);
    check_answer(calls[i], there[0]);
  }
  calls.clear();
  peer.seen.clear();
  peer.descriptors = 0;
}

}  // namespace fuzz_conversation

FUZZ_TARGET(conversation) {
  using namespace fuzz_conversation;
  fuzz::Input input(bytes);
  const unsigned seed = input.byte();
  fuzz::Service& service = fuzz::Service::running();
  fuzz::Peer peer = service.connect();
  std::vector<Exchange> waiting;
  std::string pipeline;
  const auto deliver = [&](std::vector<kt::Fd> with) {
    // Descriptors go with a piece of their own call, any.
    const std::vector<std::size_t> sizes = fuzz::cuts(fuzz::Cut::pieces, pipeline.size(), seed);
    std::size_t sent = 0;
    bool open = true;
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      const bool here = i == seed % sizes.size();
      FUZZ_CHECK(open && peer.send(std::string_view(pipeline).substr(sent, sizes[i] - sent),
                                   here ? std::span<const kt::Fd>(with) : std::span<const kt::Fd>{}));
      if (here) with.clear();
      sent = sizes[i];
      open = service.settle(peer);
    }
    pipeline.clear();
    FUZZ_CHECK(open != waiting.back().closes());
    check_answers(peer, waiting);
    if (!open) peer = service.connect();
  };
  for (int left = 12; left > 0 && !input.empty(); --left) {
    Exchange call = call_from(input);
    if (!call.with.empty() && !pipeline.empty()) deliver({});
    pipeline += call.request();
    std::vector<kt::Fd> with = std::move(call.with);
    const bool alone = call.closes() || !with.empty() || (seed + static_cast<unsigned>(left)) % 4 == 0;
    waiting.push_back(std::move(call));
    if (alone) deliver(std::move(with));
  }
  if (!pipeline.empty()) deliver({});
}
