// SPDX-License-Identifier: MIT
// peer.cpp: our side of tests/interop/run: a service that gives back what it gets, and a client that makes the calls
// it is told.
//
//   interop_peer start|stop|...           the service, as any other; app interop, worker echo
//   interop_peer calls APP WORKER STATE_DIRECTORY [json] [tcp]
//
// The second form reads one msgpack list of calls from standard input and writes the list of what came of them to
// standard output. A call is `[kind, method, arguments]`:
//
//   call      {"result": value}
//   stream    {"items": [value, ...]}
//   send      the same as call; the first argument is the path of a file, which is sent as an open file
//   fetch     {"result": bytes}: what can be read from the file that the service returns
//   to_file   the same as call; the first argument is the path of a file to which the service shall write its answer
//
// What failed has `error`, and `status` if it was the service that said so; a stream also the items before.
#include "kettlingar.hpp"

#include <unistd.h>

#include <chrono>
#include <iostream>
#include <iterator>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace kt = kettlingar;
using kt::json;

int serve(int argc, char** argv) {
  kt::Kitten kitten("interop", "echo", "Gives back what it gets");
  kitten.api(
      "echo", [](json value) { return value; }, "Returns its argument.", kt::arg("value"));
  kitten.api(
      "stream",
      [](std::vector<json> values) -> kt::Generator<json> {
        for (const json& value : values) co_yield value;
      },
      "Yields each of the values.", kt::arg("values"));
  kitten.limits().event_keepalive = std::chrono::milliseconds(50);
  kitten.api(
      "events",
      [](std::vector<json> values) -> kt::Generator<kt::Event> {
        for (std::size_t i = 0; i < values.size(); ++i) {
          // Silence, which is broken by comments where the client understands them.
          if (i + 1 == values.size()) co_await kt::sleep_for(std::chrono::milliseconds(300));
          kt::Event event;
          event.fields = values[i];
          co_yield event;
        }
      },
      "Yields each of the values as an event, the last one later.", kt::arg("values"));
  kitten.api(
      "length", [](kt::Bytes data) { return data.size(); }, "Counts bytes.", kt::arg("data"));
  return kitten.main(argc, argv);
}

std::string text_of(const json& value) { return value.get<std::string>(); }

json result_of(const kt::Client& client, const std::string& kind, const std::string& method, const json& arguments) {
  if (kind == "send") return client.call(method, kt::File::open(text_of(arguments.at(0)), "rb"));
  if (kind == "to_file") {
    const kt::File target = kt::File::open(text_of(arguments.at(0)), "wb");
    if (arguments.size() == 1) return client.call(method, kt::reply_to(target));
    return client.call(method, kt::reply_to(target), arguments.at(1));
  }
  if (kind == "fetch") {
    const auto file = client.call<kt::File>(method, arguments.at(0));
    std::ostringstream content;
    char block[4096];
    for (ssize_t n; (n = ::read(file.get(), block, sizeof block)) > 0;) content.write(block, n);
    return kt::bytes(content.str());
  }
  switch (arguments.size()) {
    case 0:
      return client.call(method);
    case 1:
      return client.call(method, arguments.at(0));
    default:
      return client.call(method, arguments.at(0), arguments.at(1));
  }
}

void items_of(const kt::Client& client, const std::string& method, const json& arguments, json& items) {
  const auto collect = [&](auto stream) {
    while (auto item = stream.next()) items.push_back(*std::move(item));
  };
  switch (arguments.size()) {
    case 0:
      return collect(client.stream(method));
    case 1:
      return collect(client.stream(method, arguments.at(0)));
    default:
      return collect(client.stream(method, arguments.at(0), arguments.at(1)));
  }
}

json outcome(const kt::Client& client, const json& call) {
  const std::string kind = text_of(call.at(0)), method = text_of(call.at(1));
  json outcome = json::object();
  try {
    if (kind == "stream") {
      outcome["items"] = json::array();
      items_of(client, method, call.at(2), outcome["items"]);
    } else {
      outcome["result"] = result_of(client, kind, method, call.at(2));
    }
  } catch (const kt::Error& error) {
    outcome["error"] = error.what();
    outcome["status"] = error.status();
  } catch (const std::exception& error) {
    outcome["error"] = error.what();
  }
  return outcome;
}

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.size() < 4 || words[0] != "calls") return serve(argc, argv);
  kt::ClientOptions options;
  options.state_directory = words[3];
  for (const std::string& word : words) {
    if (word == "json") options.use_msgpack = false;
    if (word == "tcp") options.use_unix_socket = false;
  }
  try {
    const std::string input{std::istreambuf_iterator<char>(std::cin), {}};
    json calls, outcomes = json::array();
    if (const kt::CodecError error = kt::decode_msgpack(input, calls))
      throw std::invalid_argument(std::string(error.why));
    const kt::Client client = kt::Client::connect(words[1], words[2], options);
    for (const json& call : calls) outcomes.push_back(outcome(client, call));
    std::string output;
    if (const kt::CodecError error = kt::encode_msgpack(outcomes, output))
      throw std::runtime_error(std::string(error.why));
    std::cout << output << std::flush;
    return 0;
  } catch (const std::exception& error) {
    std::cerr << "interop_peer: " << error.what() << '\n';
    return 1;
  }
}
