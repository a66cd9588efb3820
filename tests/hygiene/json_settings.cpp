// nlohmann_json as others configure it.
#define JSON_DIAGNOSTICS 1
#define JSON_USE_IMPLICIT_CONVERSIONS 1
#define JSON_USE_GLOBAL_UDLS 0

#include "kettlingar.hpp"
#include "use.hpp"

std::string implicitly(const kettlingar::json& value) { return value; }
