// SPDX-License-Identifier: MIT
// guard.cpp: does units of work whose instructions are counted, see run. Each work is done twice, the first time to
// warm up; checkpoint() is called after each. Prints lines of `units|work`.
//
// Service and caller take turns on one thread, over the unix socket, so that nothing depends on time.
#include "../kitten.hpp"
#include "../samples.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>

/// Where callgrind ends one count and begins the next.
extern "C" [[gnu::noinline]] void checkpoint();
extern "C" void checkpoint() { asm volatile("" ::: "memory"); }

template <class Work>
void count(const char* name, int units, const Work& work) {
  work();
  checkpoint();
  work();
  checkpoint();
  std::printf("%d|%s\n", units, name);
}

void codecs() {
  std::string packed;
  require(!kt::encode_msgpack(small_maps(1000), packed), "the value cannot be packed");
  const kt::Limits limits;
  constexpr int times = 1000;
  const auto repeat = [](const auto& work) {
    return [&work] {
      for (int i = 0; i < times; ++i) work();
    };
  };
  const auto there_and_back = [&] {
    kt::json value;
    std::string again;
    require(!kt::decode_msgpack(packed, value) && !kt::encode_msgpack(value, again) && again == packed,
            "what is packed is not what was unpacked");
  };
  const auto arguments = [] { keep(arguments_of(small_body)); };
  const auto small = [&] { require(parse_head(small_head, limits), "the head is refused"); };
  const auto large = [&] { require(parse_head(browser_head, limits), "the head is refused"); };
  count("1000 bytes of small maps from msgpack to a json value, and back", times, repeat(there_and_back));
  count("a call's body of 30 bytes to three typed arguments", times, repeat(arguments));
  count("a request head of 146 bytes", times, repeat(small));
  count("a browser's request head, 430 bytes", times, repeat(large));
}

/// One connection to the service of this thread.
class Caller {
 public:
  explicit Caller(kt::Kitten& kitten) : kitten_(kitten), fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    kitten.socket_path().copy(address.sun_path, sizeof address.sun_path - 1);
    require(::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0, "the service does not listen");
  }
  Caller(const Caller&) = delete;
  Caller& operator=(const Caller&) = delete;
  ~Caller() { ::close(fd_); }

  /// Sends requests and takes what comes until `end` has come `times` times, at the end.
  void ask(std::string_view requests, std::string_view end, int times = 1) {
    require(::send(fd_, requests.data(), requests.size(), 0) == static_cast<ssize_t>(requests.size()), "cannot send");
    std::string answer;
    static char block[256 * 1024];
    for (int idle = 0; times > 0;) {
      require(kitten_.poll() > 0 || ++idle < 100, "no whole answer");
      const ssize_t n = ::recv(fd_, block, sizeof block, MSG_DONTWAIT);
      if (n <= 0) continue;
      // Keeps what may be the first part of `end`.
      answer.erase(0, answer.size() - std::min(answer.size(), end.size() - 1));
      answer.append(block, static_cast<std::size_t>(n));
      for (std::size_t at = 0; (at = answer.find(end, at)) != answer.npos; at += end.size()) --times;
    }
    require(times == 0 && answer.ends_with(end), "another answer than expected");
  }

 private:
  kt::Kitten& kitten_;
  int fd_;
};

std::string post(const std::string& token, const std::string& method, std::string_view body) {
  return "POST /" + method + " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + token +
         "\r\nContent-Type: application/x-msgpack\r\nAccept: application/x-msgpack\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}

void requests(const char* state) {
  kt::Kitten kitten("bench", "Guard", "A kitten that is watched.");
  add_methods(kitten);
  kitten.settings().app_state_dir = kitten.settings().app_data_dir = state;
  kitten.start();
  Caller caller(kitten);
  constexpr int times = 500, depth = 16, items = 20'000;

  const std::string one(small_head), call = post(kitten.token(), "loudness", small_body);
  constexpr std::string_view meow = "\r\n\r\nMeow world, meow!\n", loudness = "\r\n\r\n\x1b";
  std::string many;
  for (int i = 0; i < depth; ++i) many += one;
  count("GET /meow", times, [&] {
    for (int i = 0; i < times; ++i) caller.ask(one, meow);
  });
  count("GET /meow, of 16 requests at once", times * depth, [&] {
    for (int i = 0; i < times; ++i) caller.ask(many, meow, depth);
  });
  count("POST with token, three typed arguments in msgpack", times, [&] {
    for (int i = 0; i < times; ++i) caller.ask(call, loudness);
  });
  std::string body;
  require(!kt::encode_msgpack(kt::json{{"count", items}}, body), "the body cannot be packed");
  const std::string stream = post(kitten.token(), "purrs", body);
  count("an item of a stream, a map of two fields in msgpack", items, [&] { caller.ask(stream, "\r\n0\r\n\r\n"); });
  kitten.stop();
}

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  codecs();
  requests(argv[1]);
  return 0;
}
