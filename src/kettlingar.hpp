// kettlingar: functions become a service, in one header. C++20, standalone Asio, nlohmann_json.
//
//   #include "kettlingar.hpp"                                    // g++ -std=c++20 main.cpp -pthread
//   namespace kt = kettlingar;
//
//   kt::Generator<int> count(int to) {                           // a stream: one item for each co_yield
//     for (int i = 1; i <= to; ++i) {
//       co_yield i;
//       co_await kt::sleep_for(std::chrono::milliseconds(100));  // other calls are served meanwhile
//     }
//   }
//
//   int main(int argc, char** argv) {
//     kt::Kitten kitten("myapp", "Kitty", "What it is for.");    // the service myapp/Kitty
//     kitten.public_api("meow", [] { return kt::text("Meow!\n"); }, "Needs no token.");
//     kitten.api("add", [](int a, int b) { return a + b; }, "Adds.", kt::arg("a"), kt::arg("b") = 1);
//     kitten.api("count", count, "Counts.", kt::arg("to") = 3);
//     return kitten.main(argc, argv);                            // ./a.out start; ./a.out add 1 --b=2; ./a.out stop
//   }
//
// Methods: functions, lambdas, (object, &Class::function); a kt::Request& may come first. Their results:
//   T, void, std::optional<T>            a value: what nlohmann_json converts; kt::Bytes for bytes
//   kt::text(s), kt::html(s), kt::Result a document with a content type
//   kt::Task<T>                          the same, later: co_await Asio's operations in it
//   kt::Generator<T>, kt::Topic<T>       a stream; a topic is published to from any thread
//   kt::File, kt::Socket, kt::Fd         an open descriptor, over the unix socket; as arguments, too
// Options:  double pause = 1;  kitten.option("pause", pause, "Seconds");     --pause=2, a file, `config` at run time
//
// Clients, blocking and for coroutines:
//   auto kitty = kt::Client::connect("myapp", "Kitty");          // or (..., kt::auto_start("./myapp"))
//   int sum = kitty.call<int>("add", 1, kt::arg("b") = 2);       // co_await kitty.async_call<int>("add", 1)
//   for (int i : kitty.stream<int>("count", 3)) use(i);          // async_stream<int>(...), co_await next()
//   kitten.loopback(), kitten.connect()                          // a service's own; .call(&MyKitten::add, 1, 2)
//
// Four ways to run a service:
//   return kitten.main(argc, argv);      // a program that is one, with a command line
//   kitten.start_thread();               // beside your program, on a thread of its own
//   kitten.start(); kitten.poll_for(t);  // in your loop; handlers run in there
//   kt::Kitten kitten(io_context, ...);  // on your Asio loop; kitten.start()
//
// What is thrown:
//   by handlers, and again by clients    kt::NotFound, InvalidArgument, PermissionDenied, NeedInfo, Redirect, Error
//   by clients                           kt::NotRunning, ConnectionError, ResultError, UnknownMethod
//   when it cannot start                 kt::StartError
//
// Everything that programs may use stands in the first half, up to "Implementation"; kt::detail is not for use.
// Several files: define KETTLINGAR_SPLIT in all of them and KETTLINGAR_IMPLEMENTATION in one, and only that one
// compiles the second half.
//
// In the order in which things stand:
//   base/     version, limits, the json value, exceptions, logging
//   wire/     bytes and their meaning: MessagePack, JSON, HTTP
//   os/       descriptors, sockets, files, processes
//   service/  define and serve: coroutines, methods, options, the class Kitten
//   client/   find a service and call it: the class Client
//   cli/      the command line
//
// Copyright 2026 the kettlingar contributors. MIT licence, see LICENSE.
#pragma once

// Words of ours that Qt, X11 and Windows make macros of. They are those headers' again behind this one.
#pragma push_macro("emit")
#undef emit
#pragma push_macro("forever")
#undef forever
#pragma push_macro("signals")
#undef signals
#pragma push_macro("slots")
#undef slots
#pragma push_macro("BadValue")
#undef BadValue
#pragma push_macro("index")
#undef index
#pragma push_macro("near")
#undef near
#pragma push_macro("small")
#undef small
#pragma push_macro("max")
#undef max
#pragma push_macro("min")
#undef min

#include "base/version.hpp"
#include "base/limits.hpp"
#include "base/json.hpp"
#include "base/json_types.hpp"
#include "base/errors.hpp"
#include "base/log.hpp"

#include "wire/codec.hpp"
#include "wire/ext.hpp"

#include "os/descriptor.hpp"
#include "os/passing.hpp"

#include "call/coroutine.hpp"
#include "call/operations.hpp"
#include "call/result.hpp"
#include "call/signature.hpp"
#include "call/class_value.hpp"
#include "call/convert.hpp"
#include "call/type_info.hpp"
#include "call/transfer.hpp"
#include "call/argument.hpp"
#include "call/request.hpp"

#include "service/options.hpp"
#include "service/settings.hpp"
#include "service/kitten.hpp"

#include "client/client_options.hpp"
#include "client/auto_start.hpp"
#include "client/transport.hpp"
#include "client/running_call.hpp"
#include "client/client.hpp"

#include "call/schema.hpp"
#include "call/method.hpp"
#include "service/topic.hpp"
#include "client/results.hpp"

#include "call/handler_check.hpp"
#include "client/call_check.hpp"
#include "client/typed_call.hpp"

// ====================================================================================================================
// Implementation: nothing below is for use.
// ====================================================================================================================
#if !defined(KETTLINGAR_SPLIT) || defined(KETTLINGAR_IMPLEMENTATION)
#include "base/json.ipp"
#include "base/errors.ipp"
#include "base/log.ipp"
#include "base/suggest.ipp"

#include "wire/ext.ipp"
#include "wire/http_fields.ipp"
#include "wire/http_head.ipp"
#include "wire/http_body.ipp"
#include "wire/http_writer.ipp"
#include "wire/text.ipp"
#include "wire/number_text.ipp"
#include "wire/sha256.ipp"
#include "wire/msgpack.ipp"
#include "wire/json_text.ipp"
#include "wire/events.ipp"

#include "os/descriptor.ipp"
#include "os/passing.ipp"
#include "os/socket.ipp"
#include "os/poller.ipp"
#include "os/peer_owner.ipp"
#include "os/trusted_file.ipp"
#include "os/running_process.ipp"
#include "os/owned_file.ipp"
#include "os/publication.ipp"
#include "os/state.ipp"
#include "os/process.ipp"

#include "call/coroutine.ipp"
#include "call/loop.ipp"
#include "call/class_value.ipp"
#include "call/convert.ipp"
#include "call/schema.ipp"
#include "call/transfer.ipp"
#include "call/request.ipp"
#include "call/method.ipp"
#include "call/bind.ipp"
#include "call/argument_facts.ipp"
#include "call/form.ipp"
#include "call/blocking_work.ipp"
#include "call/file_io.ipp"
#include "call/host_executor.ipp"
#include "call/reply.ipp"
#include "call/streaming.ipp"
#include "call/served_call.ipp"

#include "service/method_help.ipp"
#include "service/registry.ipp"
#include "service/options.ipp"
#include "service/explorer_page.ipp"
#include "service/settings.ipp"
#include "service/hidden_words.ipp"
#include "service/auth.ipp"
#include "service/route.ipp"
#include "service/guess_throttle.ipp"
#include "service/local_calls.ipp"
#include "service/server.ipp"
#include "service/explorer.ipp"
#include "service/admission.ipp"
#include "service/socket_transport.ipp"
#include "service/connection.ipp"
#include "service/connection_steps.ipp"
#include "service/connection_list.ipp"
#include "service/handover.ipp"
#include "service/request_steps.ipp"
#include "service/call_steps.ipp"
#include "service/listen.ipp"
#include "service/runner.ipp"
#include "service/manifest.ipp"
#include "service/openapi.ipp"
#include "service/builtins.ipp"
#include "service/kitten.ipp"

#include "client/client_options.ipp"
#include "client/transport.ipp"
#include "client/starter.ipp"
#include "client/response.ipp"
#include "client/connect.ipp"
#include "client/exchange.ipp"
#include "client/connector.ipp"
#include "client/endpoint.ipp"
#include "client/http_transport.ipp"
#include "client/running_call.ipp"
#include "client/results.ipp"
#include "client/client.ipp"
#include "client/step_wait.ipp"
#include "client/loopback.ipp"

#include "cli/help_text.ipp"
#include "cli/terminal.ipp"
#include "cli/python_text.ipp"
#include "cli/python_format.ipp"
#include "cli/output.ipp"
#include "cli/completion_scripts.ipp"
#include "cli/completion.ipp"
#include "cli/prompt.ipp"
#include "cli/command_line.ipp"
#include "cli/end_signals.ipp"
#include "cli/end_service.ipp"
#include "cli/log_file.ipp"
#include "cli/service_commands.ipp"
#include "cli/file_arguments.ipp"
#include "cli/method_commands.ipp"
#include "cli/open_page.ipp"
#include "cli/mcp_messages.ipp"
#include "cli/mcp_tools.ipp"
#include "cli/mcp.ipp"
#endif

#pragma pop_macro("min")
#pragma pop_macro("max")
#pragma pop_macro("small")
#pragma pop_macro("near")
#pragma pop_macro("index")
#pragma pop_macro("BadValue")
#pragma pop_macro("slots")
#pragma pop_macro("signals")
#pragma pop_macro("forever")
#pragma pop_macro("emit")
