// SPDX-License-Identifier: MIT
// service.cpp: what is measured of ours: a public document, and a private method with three typed arguments.
#include "kettlingar.hpp"

#include <string>

namespace kt = kettlingar;

int main(int argc, char** argv) {
  kt::Kitten kitten("bench", "Kitty", "A kitten in a hurry.");
  kitten.public_api(
      "meow", [] { return kt::text("Meow world, meow!\n"); }, "Meow.");
  kitten.api(
      "loudness",
      [](int count, const std::string& sound, bool caps) {
        return count * static_cast<int>(sound.size()) * (caps ? 2 : 1);
      },
      "How loud that would be.", kt::arg("count"), kt::arg("sound"), kt::arg("caps") = false);
  return kitten.main(argc, argv);
}
