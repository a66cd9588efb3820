// kettlingar: functions become a service, in one header.
//
//   #include "kettlingar.hpp"
//   int main(int argc, char** argv) {
//     kettlingar::Kitten kitten("mykitten", "Kitty");
//     kitten.public_api("meow", [] { return kettlingar::text("Meow world, meow!\n"); }, "Meow.");
//     return kitten.main(argc, argv);  // start, stop, ping, help, meow ...
//   }
//
//   g++ -std=c++20 main.cpp -pthread && ./a.out start && ./a.out meow && ./a.out stop
//
// Contents, in reading order:
//   base/     version, limits, the json value, errors, logging
//   wire/     bytes and their meaning: HTTP heads, bodies, text, msgpack, JSON, events
//   os/       what the kernel offers: descriptors, sockets, state files, starting processes
//   service/  define and serve: coroutines, methods, options, connections, the class Kitten
//   client/   find a service and call it
//   cli/      the command line: argv to calls, output, exit codes
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
#if KETTLINGAR_INTERNALS
#include "base/suggest.hpp"
#endif

#include "wire/codec.hpp"
#include "wire/ext.hpp"
#if KETTLINGAR_INTERNALS
#include "wire/http_fields.hpp"
#include "wire/http_head.hpp"
#include "wire/http_body.hpp"
#include "wire/http_writer.hpp"
#include "wire/text.hpp"
#include "wire/number_text.hpp"
#include "wire/sha256.hpp"
#include "wire/msgpack.hpp"
#include "wire/json_text.hpp"
#include "wire/events.hpp"
#endif

#include "os/descriptor.hpp"
#include "os/passing.hpp"
#if KETTLINGAR_INTERNALS
#include "os/socket.hpp"
#include "os/peer_owner.hpp"
#include "os/trusted_file.hpp"
#include "os/running_process.hpp"
#include "os/owned_file.hpp"
#include "os/publication.hpp"
#include "os/state.hpp"
#include "os/process.hpp"
#endif

#include "service/coroutine.hpp"
#include "service/operations.hpp"
#if KETTLINGAR_INTERNALS
#include "service/loop.hpp"
#endif
#include "service/result.hpp"
#include "service/signature.hpp"
#include "service/class_value.hpp"
#include "service/convert.hpp"
#include "service/transfer.hpp"
#include "service/request.hpp"
#include "service/method.hpp"
#include "service/handler_check.hpp"
#if KETTLINGAR_INTERNALS
#include "service/bind.hpp"
#include "service/registry.hpp"
#endif
#include "service/options.hpp"
#include "service/settings.hpp"
#if KETTLINGAR_INTERNALS
#include "service/hidden_words.hpp"
#include "service/auth.hpp"
#include "service/guess_throttle.hpp"
#include "service/form.hpp"
#include "service/blocking_work.hpp"
#include "service/file_io.hpp"
#include "service/host_executor.hpp"
#include "service/reply.hpp"
#include "service/streaming.hpp"
#include "service/local_calls.hpp"
#include "service/server.hpp"
#include "service/connection.hpp"
#include "service/handover.hpp"
#include "service/request_steps.hpp"
#include "service/call_steps.hpp"
#include "service/listen.hpp"
#include "service/runner.hpp"
#endif
#include "service/topic.hpp"
#if KETTLINGAR_INTERNALS
#include "service/builtins.hpp"
#endif
#include "service/kitten.hpp"

#include "client/client_options.hpp"
#include "client/auto_start.hpp"
#include "client/transport.hpp"
#if KETTLINGAR_INTERNALS
#include "client/starter.hpp"
#include "client/response.hpp"
#include "client/connect.hpp"
#include "client/exchange.hpp"
#include "client/connector.hpp"
#include "client/endpoint.hpp"
#include "client/http_transport.hpp"
#endif
#include "client/running_call.hpp"
#include "client/results.hpp"
#include "client/typed_call.hpp"
#include "client/client.hpp"
#if KETTLINGAR_INTERNALS
#include "client/step_wait.hpp"
#include "client/loopback.hpp"

#include "cli/terminal.hpp"
#include "cli/python_text.hpp"
#include "cli/python_format.hpp"
#include "cli/output.hpp"
#include "cli/prompt.hpp"
#include "cli/command_line.hpp"
#include "cli/end_signals.hpp"
#include "cli/end_service.hpp"
#include "cli/log_file.hpp"
#include "cli/service_commands.hpp"
#include "cli/file_arguments.hpp"
#include "cli/method_commands.hpp"
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
