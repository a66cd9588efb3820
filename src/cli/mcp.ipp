// SPDX-License-Identifier: MIT
// cli/mcp.ipp: `mcp`: an agent on standard input and output, for which the methods of the service are tools.
#pragma once

#include "../base/version.hpp"  // defines ASIO_HAS_CO_AWAIT, so it must come before Asio

#include <fcntl.h>
#include <unistd.h>

#include <asio/cancellation_signal.hpp>
#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <chrono>
#include <exception>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "../base/errors.hpp"
#include "../call/loop.ipp"
#include "../call/operations.hpp"
#include "../client/client.ipp"
#include "../client/starter.ipp"
#include "../service/manifest.ipp"
#include "command_line.ipp"
#include "mcp_messages.ipp"
#include "mcp_tools.ipp"

namespace kettlingar {
inline namespace v0_1 {
namespace detail {

/// What an agent is told of a service, and how much it may send.
struct McpOffer {
  std::string app;
  std::string worker;
  std::string description;
  std::vector<std::string> only;  ///< methods that are tools; empty: all that can be
  std::size_t longest_line = 0;
};

/// Between an agent and a service: reads messages, makes calls, writes what comes of them. All on one thread, and
/// nothing waits for anything else: requests are served side by side, answered in the order in which they end.
class McpBridge {
 public:
  McpBridge(Client client, McpOffer offer) : client_(std::move(client)), offer_(std::move(offer)) {}

  /// Until the end of standard input; calls that are running then have another second. Throws ConnectionError if
  /// standard output cannot be written to.
  void run();

 private:
  struct Call {
    explicit Call(const asio::any_io_executor& executor) : timer(executor) {}

    McpMessage message;
    asio::cancellation_signal cancel;
    asio::steady_timer timer;
    bool wanted = true;    ///< by the agent
    bool expired = false;  ///< there is no more time for items
    bool streams = false;
    bool by_number = true;  ///< `progress` is that of an item
    double progress = 0;
  };

  static constexpr std::size_t most_calls = 100;
  static constexpr std::size_t kept = 1024;                     ///< bytes at each end of a line that is too long
  static constexpr std::size_t most_unsent = 16 * 1024 * 1024;  ///< before nothing more is read
  static constexpr std::chrono::seconds grace{1};

  Task<void> read();
  void take(std::string_view block);
  void end_line();
  void take_line(std::string_view line);
  void handle(McpMessage message);
  void answer_at_once(const McpMessage& message);
  void cancelled(const json& id);
  void begin(McpMessage message);
  Task<void> serve(Call& call);
  Task<json> manifest();
  Task<json> list();
  Task<json> use(Call& call);
  Task<void> collect(Call& call, CallMessage message, json& result);
  void limit_time(Call& call);
  void report(Call& call, const json& item, const std::string& line, std::size_t number);
  json server_info() const;
  void respond(const McpMessage& message, json result);
  void send(std::string_view line);
  void begin_writing();
  Task<void> write();
  void stop_if_done();
  void stop();

  Client client_;
  McpOffer offer_;
  Fd in_ = Fd(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3));
  Fd out_ = Fd(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3));
  std::string line_;    ///< the part of it that is there
  bool skips_ = false;  ///< it is too long: only its last bytes are there, and its first ones
  std::string head_;
  std::string unsent_;
  bool reading_ = true;
  bool writing_ = false;
  std::string broken_;  ///< why nothing can be written any more
  asio::cancellation_signal stop_reading_;
  asio::cancellation_signal stop_writing_;
  asio::io_context loop_{1};
  asio::steady_timer end_{loop_};
  std::list<Call> calls_;
};

KETTLINGAR_COLD void McpBridge::run() {
  const auto ended = [this](const std::exception_ptr&) {
    reading_ = false;
    if (!line_.empty() && broken_.empty()) end_line();
    end_.expires_after(grace);
    when_expired(end_, [this](const asio::error_code& error) {
      if (!error) stop();
    });
    stop_if_done();
  };
  spawn(loop_.get_executor(), read(), ended, stop_reading_.slot());
  loop_.run();
  if (!broken_.empty()) throw ConnectionError("cannot write to standard output: " + broken_);
}

KETTLINGAR_COLD Task<void> McpBridge::read() {
  for (;;) {
    const std::string block = co_await async_read_some(in_);
    if (block.empty()) co_return;
    take(block);
    while (unsent_.size() > most_unsent) co_await sleep_for(std::chrono::milliseconds(10));
  }
}

KETTLINGAR_COLD void McpBridge::take(std::string_view block) {
  for (;;) {
    const std::size_t end = block.find('\n');
    const std::string_view part = block.substr(0, end);
    if (!skips_ && line_.size() + part.size() > offer_.longest_line) {
      skips_ = true;
      head_ = (line_ + std::string(part.substr(0, kept))).substr(0, kept);
    }
    line_ += part;
    if (skips_ && line_.size() > kept) std::string(line_.end() - kept, line_.end()).swap(line_);
    if (end == std::string_view::npos) return;
    end_line();
    block.remove_prefix(end + 1);
  }
}

KETTLINGAR_COLD void McpBridge::end_line() {
  const std::string line = std::exchange(line_, {});
  if (!std::exchange(skips_, false)) return take_line(line);
  const std::string limit = std::to_string(offer_.longest_line);
  send(mcp_error_line(mcp_id_in(head_, line), McpError(McpFault::parse, "a line has more than " + limit + " bytes")));
}

KETTLINGAR_COLD void McpBridge::take_line(std::string_view line) {
  if (line.find_first_not_of(" \t\r") == std::string_view::npos) return;
  McpMessage message;
  message.has_id = true;  // of what cannot be read nobody knows better
  try {
    read_mcp_message(line, message);
    if (message.method.empty()) return;
    require_mcp_version(message);
    handle(message);
  } catch (const McpError& error) {
    if (message.has_id) send(mcp_error_line(message.id, error));
  }
}

KETTLINGAR_COLD void McpBridge::handle(McpMessage message) {
  if (message.method == "notifications/cancelled") return cancelled(member(message.params, "requestId"));
  if (!message.has_id) return;
  const bool asks_service = message.method == "tools/list" || message.method == "tools/call";
  asks_service ? begin(std::move(message)) : answer_at_once(message);
}

KETTLINGAR_COLD json McpBridge::server_info() const {
  json info = json::object();
  info["name"] = offer_.app;
  info["version"] = library_version();
  return info;
}

KETTLINGAR_COLD void McpBridge::answer_at_once(const McpMessage& message) {
  json result = json::object();
  if (message.method == "ping") return respond(message, result);
  if (message.modern && message.method == "initialize")
    throw McpError(McpFault::unknown_method, std::string("there is no initialize in ") + mcp_modern + "; it is for " +
                                                 mcp_legacy[0] + " and before");
  const bool discovers = message.modern && message.method == "server/discover";
  if (!discovers && message.method != "initialize")
    throw McpError(McpFault::unknown_method, "no method '" + log_escaped(message.method) + "'");
  if (discovers) {
    result["supportedVersions"] = json::array();
    result["supportedVersions"].push_back(mcp_modern);
  } else {
    result["protocolVersion"] = agreed_mcp_version(member(message.params, "protocolVersion"));
  }
  result["capabilities"]["tools"] = json::object();
  if (!discovers) result["serverInfo"] = server_info();
  if (!offer_.description.empty()) result["instructions"] = offer_.description;
  if (discovers) {
    result["ttlMs"] = 0;
    result["cacheScope"] = "private";
  }
  respond(message, std::move(result));
}

KETTLINGAR_COLD void McpBridge::cancelled(const json& id) {
  for (Call& call : calls_) {
    if (!call.wanted || call.message.id != id) continue;
    call.wanted = false;
    call.cancel.emit(asio::cancellation_type::terminal);
  }
}

KETTLINGAR_COLD void McpBridge::begin(McpMessage message) {
  if (calls_.size() >= most_calls)
    throw McpError(McpFault::internal, std::to_string(most_calls) + " requests are running: wait for some of them");
  Call& call = calls_.emplace_back(loop_.get_executor());
  call.message = std::move(message);
  const auto ended = [this, &call](const std::exception_ptr&) {
    calls_.remove_if([&](const Call& other) { return &other == &call; });
    stop_if_done();
  };
  spawn(loop_.get_executor(), serve(call), ended, call.cancel.slot());
}

KETTLINGAR_COLD Task<void> McpBridge::serve(Call& call) {
  const McpMessage& message = call.message;
  const bool lists = message.method == "tools/list";
  json result;
  std::exception_ptr thrown;
  try {
    if (lists) {
      result = co_await list();
    } else {
      result = co_await use(call);
    }
  } catch (...) {
    thrown = std::current_exception();
  }
  call.timer.cancel();
  if (!call.wanted) co_return;
  try {
    if (thrown && lists) throw McpError(McpFault::internal, mcp_sentence(thrown));
    if (thrown) std::rethrow_exception(thrown);
    respond(message, std::move(result));
  } catch (const McpError& error) {
    send(mcp_error_line(message.id, error));
  } catch (...) {
    respond(message, mcp_result(text_content(mcp_sentence(std::current_exception())), true));
  }
}

/// Asked for anew each time: the service may be another one by now.
KETTLINGAR_COLD Task<json> McpBridge::manifest() {
  bool has_none = false;
  json found;
  try {
    found = co_await client_.async_call<json>("describe");
  } catch (const NotFound&) {
    has_none = true;
  }
  if (has_none) {
    const Arg docs = arg("docs") = true;
    const json pong = co_await client_.async_call<json>("ping", docs);
    found = manifest_of_pong(pong);
  }
  co_return found;
}

KETTLINGAR_COLD Task<json> McpBridge::list() {
  const json found = co_await manifest();
  json result = json::object();
  result["tools"] = mcp_tool_list(found, offer_.only);
  result["ttlMs"] = 0;
  result["cacheScope"] = "private";
  co_return result;
}

KETTLINGAR_COLD Task<json> McpBridge::use(Call& call) {
  const json& given = member(call.message.params, "arguments");
  if (!member(call.message.params, "name").is_string())
    throw McpError(McpFault::invalid_params, "tools/call needs the name of a tool");
  if (!given.is_null() && !given.is_object()) throw McpError(McpFault::invalid_params, "arguments is an object");
  CallMessage message;
  message.method = call.message.params["name"].get<std::string>();
  // What is written as bytes is left to the service.
  message.use_msgpack = false;
  const json found = co_await manifest();
  const json method = mcp_method(mcp_offered(found, offer_.only), message.method);
  for (const auto& [name, value] : given.items()) {
    if (name == positional_key) throw InvalidArgument(message.method + ": arguments are given by name");
    message.arguments.set(name, value);
  }
  call.streams = member(method, "stream") == true;
  if (call.streams) limit_time(call);
  json result;
  co_await collect(call, std::move(message), result);
  co_return result;
}

/// There is no waiting for the next item of a stream for ever.
KETTLINGAR_COLD void McpBridge::limit_time(Call& call) {
  call.timer.expires_after(mcp_limits.time);
  when_expired(call.timer, [&call](const asio::error_code& error) {
    if (error) return;
    call.expired = true;
    call.cancel.emit(asio::cancellation_type::terminal);
  });
}

KETTLINGAR_COLD Task<void> McpBridge::collect(Call& call, CallMessage message, json& result) {
  const std::string uri = "kettlingar:" + offer_.app + "/" + offer_.worker + "/" + message.method;
  McpItems items;
  std::string why;
  std::exception_ptr thrown;
  try {
    const auto answer = ClientAccess::transport(client_).start(std::move(message));
    for (;;) {
      std::optional<json> item = co_await answer->async_next();
      if (!item) break;
      if (!answer->streaming()) {
        result = mcp_result_of(*std::move(item), uri);
        co_return;
      }
      call.streams = true;
      const std::string line = mcp_item_line(*item, answer->content_type());
      if (!items.add(line)) {
        why = items.why_full();
        break;
      }
      report(call, *item, line, items.count());
    }
  } catch (...) {
    thrown = std::current_exception();
  }
  if (call.expired) {
    why = "no more than " + std::to_string(mcp_limits.time.count()) + " s are waited for";
    thrown = nullptr;
  }
  if (thrown && items.count() == 0) std::rethrow_exception(thrown);
  if (thrown) why = mcp_sentence(thrown);
  result = call.streams ? mcp_result(text_content(items.text(why)), thrown != nullptr) : mcp_result_of(nullptr, uri);
}

/// An item on its way: how far the call has come, or how many items there are.
KETTLINGAR_COLD void McpBridge::report(Call& call, const json& item, const std::string& line, std::size_t number) {
  const json& token = member(member(call.message.params, "_meta"), "progressToken");
  if (token.is_null()) return;
  const json& part = member(item, "progress");
  if (number == 1) call.by_number = !part.is_number();
  const double progress = call.by_number ? static_cast<double>(number) : part.is_number() ? part.get<double>() : 0;
  // It has to grow.
  if (number > 1 && !(progress > call.progress)) return;
  call.progress = progress;
  json params = json::object();
  params["progressToken"] = token;
  call.by_number ? params["progress"] = number : params["progress"] = progress;
  if (!call.by_number) params["total"] = 1;
  params["message"] = beginning_of(line, mcp_limits.message_bytes);
  send(mcp_notification_line("notifications/progress", std::move(params)));
}

KETTLINGAR_COLD void McpBridge::respond(const McpMessage& message, json result) {
  if (message.modern) {
    result["resultType"] = "complete";
    result["_meta"][mcp_server_key] = server_info();
  } else {
    result.erase("ttlMs");
    result.erase("cacheScope");
  }
  json fields = json::object();
  fields["id"] = message.id;
  fields["result"] = std::move(result);
  send(mcp_line(fields));
}

KETTLINGAR_COLD void McpBridge::send(std::string_view line) {
  if (!broken_.empty()) return;
  unsent_ += line;
  if (!writing_) begin_writing();
}

KETTLINGAR_COLD void McpBridge::begin_writing() {
  writing_ = true;
  const auto ended = [this](const std::exception_ptr& thrown) {
    writing_ = false;
    if (thrown) {
      broken_ = words_of(thrown);
      stop();
    } else if (!unsent_.empty()) {
      return begin_writing();  // that came as it ended
    }
    stop_if_done();
  };
  spawn(loop_.get_executor(), write(), ended, stop_writing_.slot());
}

KETTLINGAR_COLD Task<void> McpBridge::write() {
  while (!unsent_.empty()) {
    std::string lines = std::exchange(unsent_, {});
    co_await async_write_all(out_, std::move(lines));
  }
}

KETTLINGAR_COLD void McpBridge::stop_if_done() {
  if (reading_ || writing_ || !calls_.empty()) return;
  end_.cancel();
}

/// Whatever still runs ends, and with it run().
KETTLINGAR_COLD void McpBridge::stop() {
  constexpr auto all = asio::cancellation_type::terminal;
  for (Call& call : calls_) {
    call.wanted = false;
    call.cancel.emit(all);
  }
  stop_reading_.emit(all);
  stop_writing_.emit(all);
}

/// The methods that are named have to be some that an agent can use, as far as this program knows.
KETTLINGAR_COLD void CommandLine::check_tools() const {
  for (const std::string& word : words_) {
    if (word.starts_with("-")) throw InvalidArgument("Unrecognized option: " + word + "; usage: mcp [<method>...]");
    const auto method = is_own_service() ? server_.methods.named(word) : nullptr;
    if (method) {
      if (const std::string why = no_tool(described_method(*method)); !why.empty())
        throw InvalidArgument("'" + word + "' " + why);
    } else if (looks_like_typo(word)) {
      throw InvalidArgument("no method '" + word + "'" + suggestion(word, known_words()));
    }
  }
}

KETTLINGAR_COLD ExitCode CommandLine::mcp() {
  check_tools();
  std::shared_ptr<StartPlan> plan;
  if (is_own_service()) {
    plan = std::make_shared<StartPlan>();
    plan->how.program = executable_path(argv0_);
    plan->how.command_prefix = server_.command_prefix;
    plan->words = differing_options(server_.options);
    plan->name = full_name();
  }
  McpOffer offer;
  offer.app = server_.settings.app_name;
  offer.worker = server_.settings.worker_name;
  if (is_own_service()) offer.description = server_.description;
  offer.only = words_;
  // Of more than that a service would not take the arguments.
  offer.longest_line = server_.limits.body_bytes + 64 * 1024;
  if (::isatty(STDIN_FILENO) == 1)
    note(full_name() + ": Ready for messages of the Model Context Protocol, one a line; Ctrl-D ends this");
  McpBridge(ClientAccess::make(server_.settings, client_options(), {}, std::move(plan)), std::move(offer)).run();
  return ExitCode::fine;
}

}  // namespace detail
}  // namespace v0_1
}  // namespace kettlingar
