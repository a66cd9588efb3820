// SPDX-License-Identifier: MIT
// table.cpp: every state that a connection can be in, times everything that can happen to it, over TCP and over the
// unix socket (152); then handlers that misbehave (154), and the end of a service with streams running (155).
//
//   table SERVICE [--full]      SERVICE is the program of service.cpp; --full takes larger numbers and longer waits
//
// Prints a line for each; the last one is `N passed, N failed`.
#include <array>
#include <map>

#include "support.hpp"

using namespace faults;

namespace {

enum class State { connected, in_line, in_head, in_body, running, queued, streaming, idle };
enum class Event { reset, fin, half_close, silence, garbage, stop, sigterm };

constexpr std::array states{State::connected, State::in_line, State::in_head,   State::in_body,
                            State::running,   State::queued,  State::streaming, State::idle};
constexpr std::array events{Event::reset,   Event::fin,  Event::half_close, Event::silence,
                            Event::garbage, Event::stop, Event::sigterm};
constexpr const char* state_names[] = {"connected",       "in line",       "in head",   "in body",
                                       "handler running", "answer queued", "streaming", "idle"};
constexpr const char* event_names[] = {"RST", "FIN", "half-close", "silence", "garbage", "stop", "SIGTERM"};

constexpr std::size_t big = 16 * 1024 * 1024;  // more than sockets buffer

int alive(const Service& service) { return std::atoi(call(service, "alive").body.c_str()); }

// A connection that has come to `state`. `nap` is for how long a handler runs.
Wire bring_to(State state, const Service& service, Wire::Over over, const std::string& nap) {
  Wire wire(service, over, state == State::queued ? 16 * 1024 : 0);
  require(wire.open(), "no connection");
  switch (state) {
    case State::connected:
      break;
    case State::in_line:
      wire.send("POST /" + service.token);
      break;
    case State::in_head:
      wire.send("POST /" + service.token + "/echo HTTP/1.1\r\nHost: localhost\r\nContent-Le");
      break;
    case State::in_body: {
      const std::string whole = post(service, "echo", "{\"value\": \"0123456789\"}");
      wire.send(whole.substr(0, whole.size() - 5));
      break;
    }
    case State::running: {
      const int before = alive(service);
      wire.send(post(service, "nap", "{\"seconds\": " + nap + "}"));
      // Unless it is over before we can look.
      require(nap != "3600" || eventually([&] { return alive(service) == before + 1; }), "the handler does not run");
      break;
    }
    case State::queued:
      wire.send(post(service, "big", "{\"bytes\": " + std::to_string(big) + "}"));
      require(wire.readable(), "no answer begins");
      break;
    case State::streaming:
      wire.send(post(service, "drip"));
      require(wire.until("\r\n\r\n"), "no stream begins");
      break;
    case State::idle:
      wire.send(get("/meow"));
      require(wire.answer().status == 200, "the first request");
      break;
  }
  return wire;
}

std::string name_of(State state, Event event, Wire::Over over) {
  return std::string("(152) ") + state_names[static_cast<int>(state)] + ", " + event_names[static_cast<int>(event)] +
         (over == Wire::Over::tcp ? ", TCP" : ", unix");
}

// An end, and before it nothing but at most one refusal.
void require_refused(Wire& wire, std::initializer_list<int> statuses) {
  const Answer answer = wire.answer();
  if (answer.status != 0) {
    bool expected = false;
    for (const int status : statuses) expected |= answer.status == status;
    require(expected && answer.complete, "status " + std::to_string(answer.status));
  }
  require(wire.rest().empty(), "something follows the last answer");
}

// The answer that was under way, whole, and then the end.
void require_served(Wire& wire, State state) {
  const Answer answer = wire.answer();
  require(answer.status == 200 && answer.complete, "status " + std::to_string(answer.status));
  require(state != State::queued || answer.body.size() == big, "the answer is cut");
}

void peer_goes(State state, Event event, Wire& wire) {
  // On a unix socket, bytes that are not read make a close a reset.
  if (event == Event::reset) wire.reset();
  if (event == Event::fin) wire.close();
  static_cast<void>(state);
}

void require_items(Wire& wire, int count) {
  for (int i = 0; i < count; ++i) {
    wire.forget();
    require(wire.receive(), "the stream ends while it is read");
  }
}

void half_close(State state, Wire& wire) {
  wire.half_close();
  switch (state) {
    case State::running:
    case State::queued:
      require_served(wire, state);
      break;
    case State::streaming:
      // One that reads on gets on.
      require_items(wire, 5);
      wire.close();
      return;
    default:
      break;
  }
  require_refused(wire, {400});
}

// After the limits, which are short here.
void stay_silent(State state, Wire& wire) {
  switch (state) {
    case State::connected:
    case State::idle:
      require(wire.rest().empty(), "something is said to who is silent");
      break;
    case State::in_line:
    case State::in_head:
    case State::in_body:
      require(wire.answer().status == 408, "no 408");
      require(wire.rest().empty(), "something follows the refusal");
      break;
    case State::running:
      require_served(wire, state);
      break;
    case State::queued: {
      // What is in the buffers is all there is, since nothing was read in time.
      std::this_thread::sleep_for(1500ms);
      const std::string bytes = wire.rest();
      require(bytes.size() < big, "the whole answer came to a reader that did not read");
      break;
    }
    case State::streaming:
      require_items(wire, 20);
      break;
  }
}

void send_garbage(State state, Wire& wire) {
  std::string garbage = "\x16\x03\x01\xff{]\"\r\n\r\n";
  garbage += std::string(64, '\0') + "\r\n\r\n";
  wire.send(garbage);
  switch (state) {
    case State::running:
    case State::queued:
      require_served(wire, state);
      break;
    case State::streaming:
      require_items(wire, 5);
      wire.close();
      return;
    case State::in_body: {
      // It completes the body, which is then none; what is left is no request.
      const Answer first = wire.answer();
      require(first.status == 400, "status " + std::to_string(first.status));
      break;
    }
    default: {
      const Answer answer = wire.answer();
      require(answer.status == 400 || answer.status == 501, "status " + std::to_string(answer.status));
      require(wire.rest().empty(), "something follows the refusal");
      return;
    }
  }
  require_refused(wire, {400, 501});
}

// What a peer sees when the service goes: the end, after a whole answer or none; big answers and streams may be cut.
void see_the_end(State state, Wire& wire) {
  if (state == State::running) {
    require_served(wire, state);
    require(wire.rest().empty(), "something follows the answer");
  } else if (state == State::streaming) {
    wire.rest();
  } else if (state == State::queued) {
    const Answer answer = wire.answer();
    require(answer.status == 200, "status " + std::to_string(answer.status));
  } else {
    require_refused(wire, {408, 400, 503});
  }
}

void require_stopped(Service& service) {
  const int code = service.process.wait();
  require(code == 0, "exit code " + std::to_string(code) + ": " + service.log());
  require(service.files().empty(), "left behind: " + service.files());
}

void end_of_service(State state, Event event, Wire::Over over, const std::string& program) {
  const bool answers = state == State::running;
  Service service(program, {std::string("--drain=") + (answers ? "30" : "0.2")});
  service.start();
  Wire wire = bring_to(state, service, over, "0.2");
  // It has to have come there: what is behind it in the same queue has been served.
  require_alive(service);
  if (event == Event::stop) {
    require(call(service, "quitquitquit").status == 200, "no answer to quitquitquit");
  } else {
    service.process.signal(SIGTERM);
  }
  see_the_end(state, wire);
  wire.close();
  require_stopped(service);
}

void table(Tally& tally, const std::string& program) {
  Service patient(program), hasty(program, {"--patience=0.5"});
  patient.start();
  hasty.start();
  for (const Event event : events) {
    for (const State state : states) {
      for (const Wire::Over over : {Wire::Over::tcp, Wire::Over::unix_socket}) {
        tally.test(name_of(state, event, over), [&] {
          if (event == Event::stop || event == Event::sigterm) return end_of_service(state, event, over, program);
          // Over TCP an end looks like a half-close: only time tells.
          const bool limits = event == Event::silence || event == Event::fin;
          Service& service = limits ? hasty : patient;
          const int descriptors = base_descriptors(service);
          const bool gone = event == Event::reset || event == Event::fin;
          for (int tries = 1;; ++tries) {
            const auto begin = Clock::now();
            try {
              Wire wire = bring_to(state, service, over, gone ? "3600" : "0.2");
              if (gone) peer_goes(state, event, wire);
              if (event == Event::half_close) half_close(state, wire);
              if (event == Event::silence) stay_silent(state, wire);
              if (event == Event::garbage) send_garbage(state, wire);
              break;
            } catch (const std::exception&) {
              // On a machine so loaded that we have been late ourselves, short limits hit us before we were there.
              if (!limits || tries == 5 || Clock::now() - begin < 250ms) throw;
            }
          }
          require(eventually([&] { return alive(service) == 0; }), "a handler goes on for nobody");
          require_descriptors(service, descriptors);
          require_alive(service);
          require_descriptors(service, descriptors);
        });
      }
    }
  }
  tally.test("(152) both services stop in order", [&] {
    require(patient.stop() == 0 && hasty.stop() == 0, "exit code");
    require(patient.files().empty() && hasty.files().empty(), "left behind: " + patient.files() + hasty.files());
  });
}

void handlers(Tally& tally, const std::string& program, bool full) {
  Service service(program);
  service.start();
  const int descriptors = base_descriptors(service);
  const auto test = [&](const std::string& name, const std::function<void()>& action) {
    tally.test("(154) a handler " + name, [&] {
      action();
      require(eventually([&] { return alive(service) == 0; }), "it still runs");
      require_alive(service);
      require_descriptors(service, descriptors);
    });
  };
  test("throws", [&] {
    Wire wire(service, Wire::Over::tcp);
    wire.send(get("/throws"));
    const Answer stranger = wire.answer();
    require(stranger.status == 500 && stranger.body.find("secret words") == std::string::npos, stranger.body);
    require(call(service, "throws").body.find("secret words") != std::string::npos, "who knows the token is not told");
  });
  test("throws in the middle of a stream", [&] {
    const Answer answer = call(service, "breaks");
    require(answer.status == 200 && !answer.complete, "it looks complete");
    require(answer.body.find("secret words") != std::string::npos, "no last item: " + answer.body);
  });
  test("never finishes, and its caller goes", [&] {
    Wire wire(service, Wire::Over::unix_socket);
    wire.send(post(service, "nap", "{\"seconds\": 86400}"));
    require(eventually([&] { return alive(service) == 1; }), "it does not run");
    wire.close();
  });
  test("blocks", [&] {
    Wire wire(service, Wire::Over::unix_socket), other(service, Wire::Over::tcp);
    wire.send(post(service, "block", full ? "{\"seconds\": 5}" : "{\"seconds\": 0.5}"));
    other.send(get("/meow"));
    require(other.answer().status == 200 && wire.answer().status == 200, "an answer is missing");
  });
  for (const Wire::Over over : {Wire::Over::tcp, Wire::Over::unix_socket}) {
    test(std::string("returns 100 MB, over ") + (over == Wire::Over::tcp ? "TCP" : "unix"), [&] {
      const Answer answer = call(service, "big", "{\"bytes\": 100000000}", over);
      require(answer.complete && answer.body.size() == 100'000'000, "it is cut");
    });
  }
  const int items = full ? 1'000'000 : 50'000;
  test("yields " + std::to_string(items) + " items", [&] {
    Wire wire(service, Wire::Over::tcp);
    wire.send(post(service, "count", "{\"n\": " + std::to_string(items) + "}"));
    std::size_t bytes = 0;
    std::string tail;
    while (!tail.ends_with("\r\n0\r\n\r\n")) {
      wire.forget();
      require(wire.receive(), "it breaks off");
      bytes += wire.received().size();
      tail += wire.received();
      if (tail.size() > 100) tail.erase(0, tail.size() - 100);
    }
    require(bytes > 6 * static_cast<std::size_t>(items), "items are missing");
    require(tail.find(std::to_string(items - 1)) != std::string::npos, "the last item is missing");
  });
  test("closes its own connection", [&] {
    Wire wire(service, Wire::Over::tcp);
    wire.send(post(service, "hang_up"));
    require(wire.rest().empty(), "something is said");
  });
  test("calls its own service", [&] { require(call(service, "call_async").body == "7\n", "no result"); });
  test("waits for its own service", [&] { require(call(service, "call_blocking").status == 500, "no error"); });
  test("waits for its own service in the process",
       [&] { require(call(service, "call_loopback").status == 500, "no error"); });
  tally.test("(154) the service stops in order", [&] {
    service.process.signal(SIGTERM);
    require_stopped(service);
  });
}

void quit_with_streams(Tally& tally, const std::string& program) {
  tally.test("(155) quit while 50 streams run, a second quit, and SIGTERM", [&] {
    Service service(program, {"--drain=1"});
    service.start();
    std::vector<Wire> streams;
    for (int i = 0; i < 50; ++i)
      streams.push_back(
          bring_to(State::streaming, service, i % 2 == 0 ? Wire::Over::tcp : Wire::Over::unix_socket, "0"));
    Wire second(service, Wire::Over::tcp);
    const std::string quit = post(service, "quitquitquit");
    second.send(quit.substr(0, quit.size() - 1));
    require_alive(service);
    require(call(service, "quitquitquit").status == 200, "no answer to quitquitquit");
    require(!Wire(service, Wire::Over::tcp).open() && !Wire(service, Wire::Over::unix_socket).open(),
            "it still accepts");
    second.send(quit.substr(quit.size() - 1));
    service.process.signal(SIGTERM);
    require(second.answer().status == 200, "no answer to the second quitquitquit");
    for (Wire& stream : streams) stream.rest();
    require_stopped(service);
  });
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  ::signal(SIGPIPE, SIG_IGN);
  const bool full = argc > 2 && std::string_view(argv[2]) == "--full";
  Tally tally;
  table(tally, argv[1]);
  handlers(tally, argv[1], full);
  quit_with_streams(tally, argv[1]);
  return tally.end();
}
