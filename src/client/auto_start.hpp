// SPDX-License-Identifier: MIT
// client/auto_start.hpp: asks a client to start its service when it does not run.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace kettlingar {
inline namespace v0_1 {

/// Says that a service is to be started if it does not run: `program PREFIX OPTIONS start` is run and waited for. An
/// empty `program` is this very program, whose main then has to end in Kitten::main().
struct AutoStart {
  explicit AutoStart(std::string path, std::vector<std::string> prefix = {})
      : program(std::move(path)), command_prefix(std::move(prefix)) {}

  std::string program;                      ///< path of an executable
  std::vector<std::string> command_prefix;  ///< what leads to its Kitten::main(), see Kitten::command_prefix()
};

/// `kt::auto_start` for this program, `kt::auto_start("build/kitten")` and `kt::auto_start("build/tool", {"daemon"})`
/// for others.
struct AutoStartThis {
  AutoStart operator()(std::string path, std::vector<std::string> prefix = {}) const {
    return AutoStart(std::move(path), std::move(prefix));
  }
  operator AutoStart() const { return AutoStart(std::string()); }
};
inline constexpr AutoStartThis auto_start{};

}  // namespace v0_1
}  // namespace kettlingar
