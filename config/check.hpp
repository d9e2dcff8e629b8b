#pragma once

#include "config/loader.hpp"

#include <set>
#include <string>
#include <vector>

namespace pgleash::config {

/// As the public `check`, silent about keys that were already reported as unreadable: what stands
/// in the configuration for them is a default that nobody wrote.
void check(const Config& config, const Provenance& provenance,
           const std::set<std::string>& unreadable, std::vector<Diagnostic>& diagnostics);

}  // namespace pgleash::config
