// SPDX-License-Identifier: MIT
// A connection with whatever on it: no more answers than requests, in order, each well formed; whoever is not told to
// close is answered; the token never comes back. Input: a seed for the cuts, the bytes of a connection.
#include "service.hpp"

namespace kt = kettlingar;

namespace {

/// Whether arguments in a query may have been given the token, which an answer may repeat then.
bool may_say_token(std::string_view query) {
  std::string text;
  return !kt::detail::unescape_form(query, text) || text.find(fuzz::token) != std::string::npos;
}

/// What a careful reader takes for the requests in `message`, that which is none included.
struct Requests {
  explicit Requests(std::string message) {
    const kt::Limits limits;
    std::size_t begin = 0;
    for (bool more = true; more && begin < message.size();) {
      const std::string_view rest = std::string_view(message).substr(begin);
      kt::detail::RequestHeadParser parser(limits);
      const kt::detail::ParseResult head = parser.parse(rest);
      if (head.status == kt::detail::Parse::need_more) return;
      kt::detail::BodyReader body(limits);
      kt::detail::ParseResult read = head;
      if (head.status == kt::detail::Parse::complete) {
        body.start(parser.head());
        std::string copy(rest.substr(head.consumed));
        read = body.advance(copy.data(), copy.size());
        any_body |= body.body_size() != 0;
        if (read.status == kt::detail::Parse::need_more) early = true;  // may be refused before it is complete
      }
      token_in_query |= head.status == kt::detail::Parse::complete && may_say_token(parser.head().query);
      const std::string_view begun = rest.substr(std::min(rest.find_first_not_of("\r\n"), rest.size()));
      // What may have been refused when it could still become HEAD.
      const bool maybe = !begun.starts_with("HEAD ") && begun.starts_with('H');
      bodies.push_back(maybe ? fuzz::Body::maybe : begun.starts_with("HEAD ") ? fuzz::Body::no : fuzz::Body::yes);
      bare_lf.push_back(parser.head().bare_lf);
      more = read.status == kt::detail::Parse::complete && parser.head().keep_alive;
      if (more) begin += head.consumed + read.consumed;
    }
  }

  std::vector<fuzz::Body> bodies;
  std::vector<bool> bare_lf;
  bool any_body = false, token_in_query = false;
  bool early = false;  ///< the last one is not complete
};

}  // namespace

FUZZ_TARGET(conn) {
  if (fuzz::Service::too_much(bytes)) return;
  fuzz::Input input(bytes);
  const unsigned seed = input.byte();
  const std::string message(input.rest());
  fuzz::Service& service = fuzz::Service::running();
  fuzz::Peer peer = service.connect();
  std::size_t sent = 0;
  for (const std::size_t size : fuzz::cuts(fuzz::Cut::pieces, message.size(), seed)) {
    if (!peer.send(std::string_view(message).substr(sent, size - sent)) || !service.settle(peer)) break;
    sent = size;
  }
  peer.end();
  FUZZ_CHECK(!service.settle(peer));

  const Requests requests(message);
  const std::vector<fuzz::Answer> answers = fuzz::answers(peer.seen, requests.bodies);
  const std::size_t meant = requests.bodies.size() - (requests.early ? 1 : 0);
  const bool cut = !answers.empty() && (!answers.back().keeps_alive || !answers.back().complete);
  FUZZ_CHECK(answers.size() >= meant || cut);
  for (std::size_t i = 0; i < answers.size(); ++i) {
    FUZZ_CHECK(answers[i].bare_lf == requests.bare_lf[i]);
    FUZZ_CHECK(answers[i].status >= 200 && answers[i].status <= 599);
    if (answers[i].status == 500)
      FUZZ_CHECK(message.find_first_of("cdfger") !=
                 std::string::npos);  // a handler: crash, document, fail, give, redirect
  }
  if (!requests.any_body && !requests.token_in_query) FUZZ_CHECK(peer.seen.find(fuzz::token) == std::string::npos);
}
