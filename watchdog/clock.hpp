#pragma once

#include "protocol/types.hpp"

#include <chrono>

namespace pgleash::watchdog {

/// The watchdog's I/O reads the clocks here and hands them to what decides; the pure files never
/// do.
[[nodiscard]] inline Instant now() noexcept {
  return std::chrono::steady_clock::now();
}
[[nodiscard]] inline std::chrono::system_clock::time_point wall_now() noexcept {
  return std::chrono::system_clock::now();
}

}  // namespace pgleash::watchdog
