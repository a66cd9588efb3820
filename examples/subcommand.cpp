// subcommand.cpp: a tool with a command line of its own; its word `daemon` leads to that of a service.
//
//   subcommand nth 100000            the 100000th prime, computed afresh
//   subcommand daemon start          a service that computes, and remembers
//   subcommand daemon nth 100000     asks it
//   subcommand daemon help           what else there is; `subcommand daemon stop` ends it
//
// The service is the lines that end in "// +"; without them (grep -v '// +$') it is the tool as it was.
#include "kettlingar.hpp"  // +

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace kt = kettlingar;  // +

class Primes {
 public:
  long nth(long n) {
    if (n < 1 || n > 1'000'000) throw std::invalid_argument("there are primes 1 to 1000000 here");
    for (long candidate = known_.back() + 2; known() < n; candidate += 2) {
      if (is_prime(candidate)) known_.push_back(candidate);
    }
    return known_[static_cast<std::size_t>(n - 1)];
  }
  long known() const { return static_cast<long>(known_.size()); }

 private:
  bool is_prime(long candidate) const {
    return std::all_of(known_.begin(), std::upper_bound(known_.begin(), known_.end(), root(candidate)),
                       [&](long prime) { return candidate % prime != 0; });
  }
  static long root(long square) {
    long root = 1;
    while (root * root <= square) ++root;
    return root;
  }
  std::vector<long> known_{2, 3};
};

int serve(int argc, char** argv) {                                                    // +
  Primes primes;                                                                      // +
  kt::Kitten kitten("subcommand", "primes", "Computes primes, and remembers them.");  // +
  kitten.api("nth", primes, &Primes::nth, "The nth prime.", kt::arg("n"));            // +
  kitten.api("known", primes, &Primes::known, "How many primes it remembers.");       // +
  return kitten.command_prefix({"daemon"}).main(argc, argv);                          // +
}  // +

int main(int argc, char** argv) try {
  const std::string command = argc > 1 ? argv[1] : "";
  if (command == "nth" && argc == 3) {
    std::cout << Primes().nth(std::atol(argv[2])) << std::endl;
    return 0;
  }
  if (command == "daemon") return serve(argc, argv);  // +
  std::cerr << "usage: subcommand nth N\n";
  std::cerr << "       subcommand daemon ...\n";  // +
  return 2;
} catch (const std::exception& error) {
  std::cerr << "subcommand: " << error.what() << '\n';
  return 1;
}
