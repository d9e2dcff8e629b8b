#pragma once

#include "config/config.hpp"

#include <string>
#include <vector>

/// Which keys there are, and what each may be.
namespace pgleash::config {

class Section;

void read_document(Section& root, Config& config);

/// Every key that can be written, as "rule[].match.users", sorted.
[[nodiscard]] const std::vector<std::string>& known_keys();

}  // namespace pgleash::config
