// nlohmann_json that ends the process where it would throw
// flags: -DJSON_NOEXCEPTION
// expect: remove JSON_NOEXCEPTION
#include "kettlingar.hpp"
