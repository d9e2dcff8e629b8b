#pragma once

#include "config/duration.hpp"
#include "config/fault.hpp"

#include <chrono>
#include <string_view>

namespace pgleash::config {

/// As the public `parse_duration`, with fault and advice apart.
[[nodiscard]] Parsed<std::chrono::milliseconds> parse_duration(std::string_view text);

}  // namespace pgleash::config
