#pragma once

#include "config/config.hpp"
#include "config/diagnostic.hpp"
#include "config/reload.hpp"

#include <optional>
#include <string>
#include <vector>

namespace pgleash::app {

/// What a configuration file says now, beside what is in force.
struct Reload {
  std::optional<config::Config> config;     ///< to be in force; none: refused
  std::vector<config::Diagnostic> faults;   ///< warnings too
  std::vector<config::ChangedKey> changed;  ///< those that need a restart are not in `config`
};

/// Reads the file again. It is refused when it has an error, and when the keys that could be taken
/// at once do not go with those that wait for a restart: enforce mode, say, with an audit log that
/// is not open yet.
[[nodiscard]] Reload read_again(const config::Config& running, const std::string& file);

/// "pgleash.toml:9:9: 'limit' takes a duration (write limit = …)".
[[nodiscard]] std::string in_one_line(const config::Diagnostic& diagnostic);

}  // namespace pgleash::app
