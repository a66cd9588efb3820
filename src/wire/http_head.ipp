// SPDX-License-Identifier: MIT
// wire/http_head.ipp: request and response heads, parsed in the caller's buffer, strictly and without allocating.
#pragma once

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "../base/limits.hpp"
#include "../base/version.hpp"
#include "http_fields.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// A request head. `target` is what was sent; `path` is its path, still percent-encoded, without authority and query.
struct RequestHead : MessageHead {
  std::string_view method = {};  ///< any token of up to 32 bytes, CONNECT excepted
  std::string_view target = {};
  std::string_view path = {};                 ///< starts with `/`, or is `*` (OPTIONS only)
  std::string_view query = {};                ///< behind the first `?`, not checked further
  std::string_view authority = {};            ///< host and port of `http://host:port/path`; overrides `host`
  std::string_view authorization = {};        ///< empty when absent
  std::optional<std::string_view> host = {};  ///< absent from Python clients; may be present and empty
  std::optional<std::string_view> origin = {};
  std::optional<std::string_view> sec_fetch_site = {};
  bool expect_continue = false;  ///< wants `100 Continue` before it sends the body
};

/// A response head. Whether a body follows depends on the request, too: HEAD, 1xx, 204 and 304 have none, whatever the
/// head says; without `chunked` and `content_length` it lasts until the connection ends (RFC 9112 6.3).
struct ResponseHead : MessageHead {
  int status = 0;                ///< 100 to 599
  std::string_view reason = {};  ///< may be empty
};

/// Parses request heads (RFC 9112 2 to 7), more strictly than the RFC where lenient parsers let requests be smuggled. A
/// missing Host is accepted (the Python client sends none); CONNECT is refused with 501. Allocates nothing and never
/// throws; total time is linear in the bytes, however they are split.
class RequestHeadParser : private http::HeadLines {
 public:
  /// `limits` must outlive the parser. Without `accept_bare_lf` a first line that ends in LF alone is refused.
  explicit RequestHeadParser(const Limits& limits, bool accept_bare_lf = true)
      : HeadLines(limits, accept_bare_lf ? http::Eol::unknown : http::Eol::crlf), accept_bare_lf_(accept_bare_lf) {}

  /// `input` starts at the first byte of this message (up to four empty lines before it belong to it); each further
  /// call gets the same bytes and more, possibly at another address. After complete or bad, call reset() first.
  ParseResult parse(std::string_view input);
  /// Valid once complete; its views point into the last input given to parse() or rebase(). When bad, only `bare_lf` is
  /// valid: the line ends in which to answer.
  const RequestHead& head() const { return head_; }
  /// Points the views into `input`, which has the same bytes at another address (the buffer grew). Only when complete.
  void rebase(std::string_view input);
  /// Ready for the next message.
  void reset() { *this = RequestHeadParser(*limits_, accept_bare_lf_); }

 private:
  http::Step request_line(std::string_view in, std::size_t end);
  http::Step take_target(std::string_view in);
  http::Step known_field(std::string_view in);

  http::Span method_ = {}, target_ = {}, path_ = {}, query_ = {}, authority_ = {};
  http::Span host_ = {}, authorization_ = {}, origin_ = {}, sec_fetch_site_ = {}, expect_ = {};
  RequestHead head_ = {};
  int empty_lines_ = 0;
  bool accept_bare_lf_;
};

/// Parses response heads; the same contract as RequestHeadParser. LF heads may be chunked here (the Python service
/// writes such), but are never kept alive. Interim responses (1xx) are returned like any other.
class ResponseHeadParser : private http::HeadLines {
 public:
  /// `limits` must outlive the parser.
  explicit ResponseHeadParser(const Limits& limits) : HeadLines(limits, http::Eol::unknown) {}
  /// As RequestHeadParser::parse(), except that no empty lines are skipped; `http_status` means nothing here.
  ParseResult parse(std::string_view input);
  const ResponseHead& head() const { return head_; }
  void rebase(std::string_view input);
  void reset() { *this = ResponseHeadParser(*limits_); }

 private:
  http::Step status_line(std::string_view in, std::size_t end);

  http::Span reason_ = {};
  ResponseHead head_ = {};
};

KETTLINGAR_INLINE ParseResult RequestHeadParser::parse(std::string_view input) {
  using http::Step;
  if (state_ == State::failed) return error_;
  if (state_ < State::field) {
    const std::size_t most = (std::min)(limits_->request_line_bytes, limits_->head_bytes);
    Step step = request_line(input, (std::min)(input.size(), most));
    if (step == Step::more && input.size() >= most) step = fail(414, "too-large", "request line too long");
    head_.bare_lf = eol_ == http::Eol::lf;  // so that a Python client can read the refusal
    if (step != Step::done) return result(step);
  }
  const Step step = fields(input, limits_->head_bytes, limits_->header_count, [&] { return known_field(input); });
  if (step == Step::done) rebase(input);
  return result(step);
}

KETTLINGAR_INLINE http::Step RequestHeadParser::request_line(std::string_view in, std::size_t end) {
  using http::Step;
  while (pos_ < end) {
    Step step = Step::done;
    switch (state_) {
      case State::start:
        if (in[pos_] != '\r' && in[pos_] != '\n') {
          mark_ = pos_;
          state_ = State::method;
          break;
        }
        if (empty_lines_ == 4) return fail(400, "bad-line", "empty lines instead of a request");
        step = line_end(in, end, "bad-line");
        if (step != Step::done) return step;
        ++empty_lines_;
        break;
      case State::method:
        pos_ = http::scan<http::token_char>(in, pos_, end);
        if (pos_ - mark_ > 32) return fail(400, "bad-line", "method too long");
        if (pos_ == end) return Step::more;
        if (in[pos_] != ' ' || pos_ == mark_) return fail(400, "bad-line", "method is not a token before one space");
        method_ = {mark_, pos_ - mark_};
        if (method_.of(in) == "CONNECT") return fail(501, "bad-line", "CONNECT is not supported");
        mark_ = ++pos_;
        state_ = State::target;
        break;
      case State::target:
        pos_ = http::scan<http::target_char>(in, pos_, end);
        if (pos_ == end) return Step::more;
        step = take_target(in);
        if (step != Step::done) return step;
        mark_ = ++pos_;
        state_ = State::version;
        break;
      case State::version:
        if (end - mark_ >= 8 &&
            http::load_bytes<std::uint64_t>(in.data() + mark_) == http::load_bytes<std::uint64_t>("HTTP/1.1")) {
          pos_ = mark_ + 8;
          state_ = State::line_end;
          break;
        }
        step = match(in, end, "HTTP/d.d");
        if (step != Step::done) return step;
        if (in[mark_ + 5] != '1' || in[mark_ + 7] > '1') return fail(505, "bad-line", "not HTTP/1.0 or HTTP/1.1");
        head_.version_minor = in[mark_ + 7] - '0';
        state_ = State::line_end;
        break;
      default:
        step = line_end(in, end, "bad-line");
        if (step != Step::done) return step;
        block_.at = pos_;
        state_ = State::field;
        return Step::done;
    }
  }
  return Step::more;
}

KETTLINGAR_INLINE http::Step RequestHeadParser::take_target(std::string_view in) {
  if (in[pos_] == '\r' || in[pos_] == '\n') return fail(400, "bad-line", "request line without version");
  if (in[pos_] != ' ') return fail(400, "bad-target", "a byte that may not be in a target");
  if (pos_ == mark_) return fail(400, "bad-line", "more than one space before the target");
  target_ = path_ = {mark_, pos_ - mark_};
  const std::string_view target = target_.of(in);
  if (target.front() == '*') {
    if (target == "*" && method_.of(in) == "OPTIONS") return http::Step::done;
    return fail(400, "bad-target", "* is for OPTIONS only");
  }
  if (target.front() != '/') {
    if (!http::same_word(target.substr(0, 7), "http://")) {
      return fail(400, "bad-target", "the target is neither a path nor an http address");
    }
    const std::size_t stop = (std::min)(target.find_first_of("/?", 7), target.size());
    authority_ = {mark_ + 7, stop - 7};
    if (stop == 7 || !http::valid_authority(authority_.of(in))) {
      return fail(400, "bad-target", "the host in the target is malformed");
    }
    path_ = {mark_ + stop, target.size() - stop};
  }
  std::string_view path = path_.of(in);
  const std::size_t question = path.find('?');
  if (question != path.npos) {
    query_ = {path_.at + question + 1, path_.size - question - 1};
    path_.size = question;
    path = path.substr(0, question);
  }
  for (std::size_t at = path.find('%'); at != path.npos; at = path.find('%', at + 3)) {
    if (http::escaped_byte(path, at) < 0)
      return fail(400, "bad-target", "a broken escape in the path, or one of a control character");
  }
  return http::Step::done;
}

KETTLINGAR_INLINE http::Step RequestHeadParser::known_field(std::string_view in) {
  using http::named;
  using namespace std::string_view_literals;
  const std::string_view name = name_.of(in);
  switch (name.size()) {
    case "host"sv.size():
      if (!named(name, "host")) break;
      if (!http::valid_authority(value_.of(in))) return fail(400, "bad-header", "Host is not a host and port");
      return once(host_);
    case "origin"sv.size():  // and of `expect`
      if (named(name, "origin")) return once(origin_);
      if (!named(name, "expect")) break;
      if (!http::same_word(value_.of(in), "100-continue")) return fail(417, "bad-header", "unknown expectation");
      head_.expect_continue = head_.version_minor == 1;
      return once(expect_);
    case "authorization"sv.size():
      if (named(name, "authorization")) return once(authorization_);
      break;
    case "sec-fetch-site"sv.size():
      if (named(name, "sec-fetch-site")) return once(sec_fetch_site_);
      break;
  }
  const http::Step step = common_field(in, head_);
  // No Python client sends chunks, and parsers disagree about where chunks begin behind a head in LF.
  const bool legacy = eol_ == http::Eol::lf;
  return head_.chunked && legacy ? fail(400, "bad-length", "Transfer-Encoding under LF line ends") : step;
}

KETTLINGAR_INLINE void RequestHeadParser::rebase(std::string_view input) {
  publish(input, head_);
  head_.method = method_.of(input);
  head_.target = target_.of(input);
  head_.path = path_.size == 0 ? std::string_view("/") : path_.of(input);
  head_.query = query_.of(input);
  head_.authority = authority_.of(input);
  head_.authorization = authorization_.of(input);
  head_.host = host_.maybe(input);
  head_.origin = origin_.maybe(input);
  head_.sec_fetch_site = sec_fetch_site_.maybe(input);
}

KETTLINGAR_INLINE ParseResult ResponseHeadParser::parse(std::string_view input) {
  using http::Step;
  if (state_ == State::failed) return error_;
  if (state_ < State::field) {
    const std::size_t most = (std::min)(limits_->request_line_bytes, limits_->head_bytes);
    Step step = status_line(input, (std::min)(input.size(), most));
    if (step == Step::more && input.size() >= most) step = fail(431, "too-large", "status line too long");
    if (step != Step::done) return result(step);
  }
  const Step step =
      fields(input, limits_->head_bytes, limits_->header_count, [&] { return common_field(input, head_); });
  if (step == Step::done) rebase(input);
  return result(step);
}

KETTLINGAR_INLINE http::Step ResponseHeadParser::status_line(std::string_view in, std::size_t end) {
  using http::Step;
  if (state_ == State::start) {
    const Step step = match(in, end, "HTTP/d.d ddd");
    if (step != Step::done) return step;
    if (in[5] != '1' || in[7] > '1') return fail(505, "bad-line", "not HTTP/1.0 or HTTP/1.1");
    head_.version_minor = in[7] - '0';
    head_.status = (in[9] - '0') * 100 + (in[10] - '0') * 10 + (in[11] - '0');
    if (head_.status < 100 || head_.status > 599) return fail(400, "bad-line", "status is not 100 to 599");
    mark_ = pos_;
    state_ = State::line_end;
  }
  if (pos_ == end) return Step::more;
  if (in[mark_] == ' ') {
    pos_ = http::scan<http::value_char>(in, pos_, end);
    reason_ = {mark_ + 1, pos_ - mark_ - 1};
  }
  if (pos_ == end) return Step::more;
  const Step step = line_end(in, end, "bad-line");
  if (step != Step::done) return step;
  block_.at = pos_;
  state_ = State::field;
  return Step::done;
}

KETTLINGAR_INLINE void ResponseHeadParser::rebase(std::string_view input) {
  publish(input, head_);
  head_.reason = http::trim(reason_.of(input));
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
