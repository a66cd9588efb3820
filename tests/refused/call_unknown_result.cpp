// expect: the type of a parameter, or of a result that is asked for, must be one that nlohmann_json converts
// names: MisfitAsked<Opaque>
#include "kettlingar.hpp"

struct Opaque {};

void ask(const kettlingar::Client& client) { client.call<Opaque>("give"); }
