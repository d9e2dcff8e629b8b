#pragma once

#include "watchdog/explain.hpp"

#include <string>

namespace pgleash::metrics {

/// An explanation for programs. Durations in seconds; names as clients chose them, made harmless as
/// label values are.
[[nodiscard]] std::string to_json(const watchdog::SessionExplanation& explanation);

}  // namespace pgleash::metrics
