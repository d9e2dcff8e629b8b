#pragma once

#include "protocol/types.hpp"

#include <chrono>

namespace pgleash::proxy {

/// The one place that reads the monotonic clock: once per batch of events, never inside a decision.
[[nodiscard]] inline Instant monotonic_now() noexcept {
  return std::chrono::steady_clock::now();
}
/// Wall clock, for what people read; never for ages.
[[nodiscard]] inline std::chrono::system_clock::time_point wall_now() noexcept {
  return std::chrono::system_clock::now();
}

}  // namespace pgleash::proxy
