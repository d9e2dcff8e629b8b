#pragma once

#include "config/config.hpp"
#include "config/fault.hpp"

#include <string_view>

namespace pgleash::config {

/// Reads "20%": digits and a percent sign, from 1% to 100%.
[[nodiscard]] Parsed<Percent> parse_percent(std::string_view text);

}  // namespace pgleash::config
