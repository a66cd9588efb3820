// expect: the type of an argument must be one that nlohmann_json converts
// names: MisfitGiven<2, Opaque
#include "kettlingar.hpp"

struct Opaque {};

void send(const kettlingar::Client& client) { client.call("keep", 1, Opaque()); }
