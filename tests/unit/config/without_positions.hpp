#pragma once

#include "config/config.hpp"

#include <string>
#include <vector>

namespace pgleash::config {

/// The configuration as values alone, so that the same one written elsewhere compares equal.
inline Config without_positions(Config config) {
  const auto forget = [](std::vector<Pattern>& patterns) {
    for (Pattern& pattern : patterns) pattern.position = {};
  };
  forget(config.identity.driver_defaults);
  forget(config.protect.users);
  forget(config.protect.marker_users);
  for (ProtectEntry& entry : config.protect.entries) entry.position = {};
  for (Rule& rule : config.rules) {
    rule.position = {};
    for (Match* match : {&rule.match, &rule.except}) {
      forget(match->applications);
      forget(match->users);
      forget(match->databases);
    }
  }
  return config;
}

}  // namespace pgleash::config
