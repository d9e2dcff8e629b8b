#pragma once

#include "config/config.hpp"
#include "watchdog/server_advice.hpp"

#include <string>
#include <vector>

namespace pgleash::app {

/// What was found of one server of the configuration.
struct ServerFindings {
  std::string server;
  std::vector<watchdog::Advice> advice;  ///< the gravest first; empty: all is well
};

/// Asks each server that has a monitor, one after the other; one that cannot be reached is an error
/// among its advice. Blocks: for the command line.
[[nodiscard]] std::vector<ServerFindings> check_servers(const config::Config& config);

[[nodiscard]] watchdog::Gravity gravest(const std::vector<ServerFindings>& findings) noexcept;
[[nodiscard]] std::string to_text(const std::vector<ServerFindings>& findings);
/// An array, as the value of "servers".
[[nodiscard]] std::string to_json(const std::vector<ServerFindings>& findings);

}  // namespace pgleash::app
