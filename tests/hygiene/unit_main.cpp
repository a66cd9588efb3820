// Two units that use the header link; unit_other.cpp is the other one. Nothing is printed by what they call.
#include "kettlingar.hpp"
#include "use.hpp"

std::string other_use(const std::string& name);

int main() {
  const std::string here = hygiene::use("here"), there = other_use("here");
  return !here.empty() && here == there ? 0 : 1;
}
