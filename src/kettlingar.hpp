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

#include "base/version.hpp"
#include "base/limits.hpp"
#include "base/json.hpp"
#include "base/errors.hpp"
#include "base/log.hpp"
#include "base/suggest.hpp"

#include "wire/http_fields.hpp"
#include "wire/http_head.hpp"
#include "wire/http_body.hpp"
#include "wire/http_writer.hpp"
#include "wire/text.hpp"
#include "wire/msgpack.hpp"
#include "wire/ext.hpp"
#include "wire/json_text.hpp"
#include "wire/events.hpp"

#include "os/descriptor.hpp"
#include "os/passing.hpp"
#include "os/socket.hpp"
#include "os/state.hpp"
#include "os/process.hpp"

#include "service/coroutine.hpp"
#include "service/loop.hpp"
#include "service/result.hpp"
#include "service/signature.hpp"
#include "service/convert.hpp"
#include "service/transfer.hpp"
#include "service/request.hpp"
#include "service/method.hpp"
#include "service/bind.hpp"
#include "service/registry.hpp"
#include "service/options.hpp"
#include "service/settings.hpp"
#include "service/auth.hpp"
#include "service/form.hpp"
#include "service/file_io.hpp"
#include "service/host_executor.hpp"
#include "service/reply.hpp"
#include "service/streaming.hpp"
#include "service/server.hpp"
#include "service/connection.hpp"
#include "service/handover.hpp"
#include "service/request_steps.hpp"
#include "service/call_steps.hpp"
#include "service/listen.hpp"
#include "service/runner.hpp"
#include "service/topic.hpp"
#include "service/builtins.hpp"
#include "service/kitten.hpp"

#include "client/transport.hpp"
#include "client/response.hpp"
#include "client/connect.hpp"
#include "client/exchange.hpp"
#include "client/endpoint.hpp"
#include "client/http_transport.hpp"
#include "client/running_call.hpp"
#include "client/results.hpp"
#include "client/typed_call.hpp"
#include "client/auto_start.hpp"
#include "client/client.hpp"
#include "client/loopback.hpp"

#include "cli/output.hpp"
#include "cli/prompt.hpp"
#include "cli/command_line.hpp"
#include "cli/service_commands.hpp"
#include "cli/method_commands.hpp"
