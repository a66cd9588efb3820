// SPDX-License-Identifier: MIT
// service.cpp: our service that is measured. Connections may be idle for as long as a measurement takes.
#include "../kitten.hpp"

int main(int argc, char** argv) {
  kt::Kitten kitten("bench", "Kitty", "A kitten in a hurry.");
  add_methods(kitten);
  kitten.limits().idle_timeout = std::chrono::hours(1);
  return kitten.main(argc, argv);
}
