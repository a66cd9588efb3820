// kitten_client.cpp: calls the sample service in every way; starts it first, and stops it in the end.
#include "kettlingar.hpp"

#include <asio/co_spawn.hpp>
#include <asio/io_context.hpp>
#include <chrono>
#include <cstdio>
#include <stdexcept>
#include <string>

namespace kt = kettlingar;

struct Purr {
  std::string purr;
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Purr, purr)

void expect(bool fine, const std::string& what) {
  if (!fine) throw std::runtime_error("unexpected: " + what);
}

void call_one_by_one(const kt::Client& kitty) {
  // Documents are results like others; a string gets their text.
  const auto meow = kitty.call<kt::Result>("meow");
  expect(meow.mime_type == "text/plain" && meow.data == "Meow world, meow!\n", meow.data);
  std::printf("It says: %s", meow.data.c_str());
  const auto stretch = kitty.call<std::string>("stretch");
  expect(stretch == "Streeeeeeeetch!\n", stretch);
  std::printf("It stretches: %s", stretch.c_str());
  const auto blank = kitty.call<kt::Bytes>("blank");
  expect(blank.size() > 6 && std::string(blank.begin(), blank.begin() + 3) == "GIF", "a blank image");
  std::printf("Its picture has %zu bytes.\n", blank.size());

  // What a method throws is thrown here.
  try {
    kitty.call("freakout");
    expect(false, "a calm freakout");
  } catch (const kt::Error& error) {
    expect(error.status() == 500, error.what());
    std::printf("It freaks out: %s\n", error.what());
  }

  // A service tells what it can do.
  const kt::json pong = kitty.call("ping");
  if (pong["methods"].contains("binary_result")) {
    const kt::json result = kitty.call("binary_result");
    expect(result["binary"] == kt::bytes("data"), result.dump());
    std::printf("It has bytes inside of maps.\n");
  }
}

void listen_to_it(const kt::Client& kitty) {
  // The loop waits for each item; to leave it early would end the stream.
  std::string last;
  for (const Purr& item : kitty.stream<Purr>("purr", 2, kt::arg("purr") = "rr", kt::arg("caps") = true)) {
    std::printf("It purrs: %s\n", item.purr.c_str());
    last = item.purr;
  }
  expect(last == "RRRR", last);
}

kt::Task<> wait_for_it(kt::Client kitty, int& heard) {
  const std::string text = co_await kitty.async_call<std::string>("slow_meow", 0.5);
  expect(text == "Meow world, meow after 0.50s!\n", text);
  std::printf("It says at last: %s", text.c_str());
  ++heard;
}

void call_at_the_same_time(const kt::Client& kitty) {
  const auto rethrow = [](std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
  };
  asio::io_context loop;
  int heard = 0;
  const auto start = std::chrono::steady_clock::now();
  asio::co_spawn(loop, wait_for_it(kitty, heard), rethrow);
  asio::co_spawn(loop, wait_for_it(kitty, heard), rethrow);
  loop.run();
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
  expect(heard == 2, "silence");
  std::printf("Two half seconds at the same time took less than one: %s\n", time.count() < 1 ? "yes" : "no");
}

int main(int argc, char** argv) {
  const std::string self = argc > 0 ? argv[0] : "";
  const std::size_t slash = self.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : self.substr(0, slash);
  kt::ClientOptions options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const std::string option = "--app-state-dir=";
    if (!word.starts_with(option)) {
      std::fprintf(stderr, "usage: %s [--app-state-dir=DIR]\n", self.c_str());
      return 3;
    }
    options.state_directory = word.substr(option.size());
  }
  try {
    const kt::Client kitty = kt::Client::connect("mykitten", "Kitty", kt::auto_start(folder + "/kitten"), options);
    std::printf("The kitten is there.\n");
    call_one_by_one(kitty);
    listen_to_it(kitty);
    call_at_the_same_time(kitty);
    const auto goodbye = kitty.call<std::string>("quitquitquit");
    std::printf("It leaves: %s\n", goodbye.c_str());
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
