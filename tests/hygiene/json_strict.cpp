// nlohmann_json without implicit conversions, and used by the program before, in a program without RTTI.
// flags: -fno-rtti
#define ASIO_NO_TYPEID 1
#define JSON_DIAGNOSTICS 0
#define JSON_USE_IMPLICIT_CONVERSIONS 0
#include <nlohmann/json.hpp>

#include "kettlingar.hpp"
#include "use.hpp"

static_assert(!std::is_convertible_v<kettlingar::json, std::string>);
