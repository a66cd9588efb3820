// Where nlohmann_json is missing, one sentence says what to install. There is an asio.hpp, and nothing else.
// flags: -nostdinc -nostdinc++ -Ibuild/check/only_asio
// expect: kettlingar needs nlohmann_json 3.11 or newer
#include "kettlingar.hpp"
