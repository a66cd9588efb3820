// SPDX-License-Identifier: MIT
// call/reply.ipp: what a call has come to, as bytes: results, documents, and the one mapping from exceptions to
// answers.
#pragma once

#include <exception>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

#include "../base/errors.hpp"
#include "../wire/http_head.ipp"
#include "../wire/http_writer.ipp"
#include "method.hpp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// What the request decides about how it is answered.
struct ReplyStyle {
  Format format = Format::json;
  bool bare_lf = false;
  bool http_1_0 = false;
  bool keep_alive = false;
  bool without_body = false;  ///< HEAD
  bool continued = false;     ///< another service has begun this answer, as a stream: no head, chunks only

  ConnectionHeader connection() const noexcept {
    if (!keep_alive) return ConnectionHeader::close;
    return http_1_0 ? ConnectionHeader::keep_alive : ConnectionHeader::none;
  }
  std::string_view content_type() const noexcept {
    return format == Format::msgpack ? "application/x-msgpack" : "application/json";
  }
};

/// An answer that is no result.
struct ErrorReply {
  int status = 500;
  json body = json::object();
  std::string location = {};
  std::string_view accept = {};  ///< of 415: the types of bodies that are understood
  std::string log = {};          ///< the whole truth, for the log
};

/// Maps what a handler threw to its answer. Texts of exceptions that are not kt::Error are for authenticated callers
/// only.
inline ErrorReply error_reply(const std::exception_ptr& thrown, bool authenticated) {
  ErrorReply reply;
  const auto internal = [&](std::string_view what) {
    reply.log = what;
    reply.body["error"] = authenticated ? std::string(what) : "Internal Error";
  };
  try {
    std::rethrow_exception(thrown);
  } catch (const NeedInfo& error) {
    reply.status = error.status();
    reply.body["error"] = error.what();
    reply.body["resource"] = error.resource();
    reply.body["needed_vars"] = json::array();
    for (const NeededVariable& variable : error.needed()) {
      json entry = json::object();
      entry["name"] = variable.name;
      entry["type"] = variable.type;
      entry["default"] = variable.fallback;
      entry["comment"] = variable.comment;
      reply.body["needed_vars"].push_back(std::move(entry));
    }
  } catch (const Redirect& redirect) {
    reply.status = redirect.status();
    reply.location = redirect.location();
    reply.body["redirect"] = redirect.location();
  } catch (const UnknownMethod& error) {
    reply.status = error.status();
    reply.body["error"] = error.what();
    reply.body["unknown_method"] = error.method();
  } catch (const Error& error) {
    reply.status = error.status();
    reply.body["error"] = error.what();
    if (const std::string_view type = class_of(thrown); type != usual_class(reply.status)) reply.body["type"] = type;
  } catch (...) {
    internal(words_of(thrown));
  }
  return reply;
}

/// What nginx is told about streams: to pass on what there is. And what browsers are told about documents and events:
/// not to keep them, not to guess what they are, and not to name their address, which may have the token, to other
/// sites. Not `no-referrer`: forms would come with `Origin: null`.
struct ExtraLines {
  std::string_view all;
  std::size_t first_size = all.find('\n') + 1;  ///< of the one for nginx
};
inline constexpr ExtraLines extra_lines_lf{
    "X-Accel-Buffering: no\nCache-Control: no-store\nX-Content-Type-Options: nosniff\nReferrer-Policy: same-origin\n"};
inline constexpr ExtraLines extra_lines_crlf{
    "X-Accel-Buffering: no\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"
    "Referrer-Policy: same-origin\r\n"};

constexpr std::string_view stream_lines(bool bare_lf, bool for_browsers) {
  const ExtraLines& lines = bare_lf ? extra_lines_lf : extra_lines_crlf;
  return for_browsers ? lines.all : lines.all.substr(0, lines.first_size);
}
constexpr std::string_view document_lines(bool bare_lf) {
  const ExtraLines& lines = bare_lf ? extra_lines_lf : extra_lines_crlf;
  return lines.all.substr(lines.first_size);
}

/// Appends an error in the middle of a stream, `bytes`, after which there is no end mark. Clients of ours tell it by
/// the mark of its chunk; Python ones, which write bare LF, would not understand that, and go by the missing end alone.
inline void append_late_error(std::string& out, bool bare_lf, std::string_view bytes) {
  bare_lf ? append_chunk(out, bytes) : append_error_chunk(out, bytes);
}

/// What such an error says. No head tells its status any more.
inline json late_body(const ErrorReply& reply) {
  json body = reply.body;
  if (reply.status != 500) body["status"] = reply.status;
  return body;
}

/// Appends a complete answer with its length. False, with nothing appended, if `type` or `extra` cannot stand in a
/// head. `lines` are more of them, as they are sent.
inline bool append_reply(std::string& out, const ReplyStyle& style, int status, std::string_view type,
                         std::string_view body, std::span<const HeaderField> extra = {}, std::string_view lines = {}) {
  if (style.continued) {
    append_chunk(out, body);
    if (status < 400) append_last_chunk(out);
    return true;
  }
  ResponseHeadOptions head;
  head.status = status;
  head.content_type = type;
  if (status != 204 && status != 304) head.content_length = body.size();
  head.connection = style.connection();
  head.bare_lf = style.bare_lf;
  head.extra = extra;
  head.lines = lines;
  if (!append_response_head(out, head)) return false;
  if (!style.without_body && head.content_length) out += body;
  return true;
}

/// Appends an error as a map in the request's encoding. Always succeeds: what cannot be sent becomes a plain 500.
/// Returns the status.
inline int append_error(std::string& out, const ReplyStyle& style, const ErrorReply& reply,
                        std::span<const HeaderField> extra = {}) {
  std::string body;
  if (style.continued) {
    static_cast<void>(encode(late_body(reply), style.format, body));
    append_late_error(out, style.bare_lf, body);
    return reply.status;
  }
  const HeaderField location{"Location", reply.location}, accept{"Accept", reply.accept};
  if (!reply.location.empty()) extra = {&location, 1};
  if (!reply.accept.empty()) extra = {&accept, 1};
  // RFC 9110 15.5.6. What a handler refuses so is a change that GET asks for.
  const HeaderField allow{"Allow", "POST, OPTIONS"};
  if (reply.status == 405 && extra.empty()) extra = {&allow, 1};
  if (!encode(reply.body, style.format, body) &&
      append_reply(out, style, reply.status, style.content_type(), body, extra)) {
    return reply.status;
  }
  body.clear();
  static_cast<void>(encode(json{{"error", "Internal Error"}}, style.format, body));
  append_reply(out, style, 500, style.content_type(), body);
  return 500;
}

/// The words for refusals that are the same for everybody and say nothing about what was asked.
inline ErrorReply plain_error(int status, std::string_view words = {}) {
  ErrorReply reply;
  reply.status = status;
  reply.body["error"] = std::string(words.empty() ? reason_phrase(status) : words);
  return reply;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
