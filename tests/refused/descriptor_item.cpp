// expect: open descriptors can be results, but not items of a stream
#include "kettlingar.hpp"

int main() {
  kettlingar::Kitten kitten("kitten");
  kitten.api("files", []() -> kettlingar::Generator<kettlingar::Fd> { co_return; });
}
