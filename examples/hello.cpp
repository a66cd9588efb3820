// hello.cpp: a service with a public method and a stream.
#include "kettlingar.hpp"

#include <string>

namespace kt = kettlingar;
using namespace std::chrono_literals;

kt::Generator<std::string> purr(int count, std::string sound) {
  std::string purring;
  for (int i = 0; i < count; ++i) {
    purring += sound;
    co_yield purring;               // one chunk on the wire
    co_await kt::sleep_for(200ms);  // other requests are served meanwhile
  }
}

int main(int argc, char** argv) {
  kt::Kitten kitten("hello", "Kitty", "A kitten that meows and purrs.");
  kitten.public_api(
      "meow", [] { return kt::text("Meow world, meow!\n"); }, "Meow. Needs no token.");
  kitten.api("purr", purr, "Purr count times.", kt::arg("count") = 1, kt::arg("sound") = "purr");
  return kitten.main(argc, argv);
}
