// Asio that came first and did not find out that there are coroutines is refused in one sentence.
// flags: -DASIO_DISABLE_CO_AWAIT -UASIO_HAS_CO_AWAIT
// expect: kettlingar needs Asio with coroutines
#include <asio.hpp>

#include "kettlingar.hpp"
