// expect: an argument does not fit its parameter
// names: MisfitArgument<2, int, double>
#include "kettlingar.hpp"

struct Adder : kettlingar::Kitten {
  Adder() : Kitten("adder") { api("add", &Adder::add, kettlingar::arg("a"), kettlingar::arg("b") = 1); }
  int add(int a, int b) { return a + b; }
};

int main() { return Adder().loopback().call(&Adder::add, 1, 2.5); }
