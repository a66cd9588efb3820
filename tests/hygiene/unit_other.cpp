// The other unit of unit_main.cpp.
#include <asio/version.hpp>

#include "kettlingar.hpp"
#include "use.hpp"

std::string other_use(const std::string& name);
std::string other_use(const std::string& name) { return hygiene::use(name); }
