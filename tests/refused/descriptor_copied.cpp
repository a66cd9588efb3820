// expect: a descriptor is given away: use std::move(fd), or fd.duplicate() to keep it
// names: MisfitGiven<1, kettlingar::
#include "kettlingar.hpp"

void send(const kettlingar::Client& client, kettlingar::Fd fd) { client.call("cat", fd); }

int main() {}
