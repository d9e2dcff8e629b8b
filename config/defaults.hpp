#pragma once

#include "config/config.hpp"

#include <string>
#include <vector>

/// The defaults that are lists, or that ask the machine; plain ones are written in config.hpp.
namespace pgleash::config {

[[nodiscard]] std::vector<Network> everywhere();
[[nodiscard]] Listener default_listener();
[[nodiscard]] std::vector<Pattern> default_driver_names();
/// What "hostname" stands for, with the characters that an instance name may have.
[[nodiscard]] std::string host_name();

/// Fills in what only shows when all is read: the instance's name, the one listener, its one
/// server, the default rules.
void complete(Config& config);

}  // namespace pgleash::config
