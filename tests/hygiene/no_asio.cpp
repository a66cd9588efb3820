// Where Asio is missing, one sentence says what to install. There is a nlohmann/json.hpp, and nothing else.
// flags: -nostdinc -nostdinc++ -Ibuild/check/only_json
// expect: kettlingar needs standalone Asio 1.22 or newer
#include "kettlingar.hpp"
