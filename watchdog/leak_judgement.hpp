#pragma once

#include "protocol/types.hpp"
#include "watchdog/leak_scale.hpp"
#include "watchdog/robust_slope.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace pgleash::watchdog {

/// What is known of one client address of a group, when it comes to judging.
struct AddressEvidence {
  std::span<const std::uint16_t> floors;  ///< FloorSeries::floors of the scale
  std::vector<Instant> unused;  ///< last use of those unused for LeakScale::unused, oldest first
};

/// What is remembered of a group.
struct GroupHistory {
  /// How many gaps between two uses of a session ended that had been at least so long: within the
  /// scale's window, and as far back as is remembered.
  std::function<double(Duration)> gaps_in_window;
  std::function<double(Duration)> gaps_ever;
  Duration observed{};  ///< for how long the group has been known
  /// Sessions now, less the most there were in the days before; absent where a window is as long.
  std::optional<double> beyond_peak;
};

/// What one scale says of one group.
struct LeakJudgement {
  bool leak = false;
  double growth = 0;       ///< sessions that the floor rose by within the window
  Slope slope;             ///< of the floor, sessions per second
  std::uint32_t lost = 0;  ///< unused sessions that were last used within the window
  Instant since{};         ///< where the window begins
};

/// Whether a group leaks: its floor rises, steadily, so fast that it would take the last slot
/// within the scale's reach, and what it rose by are sessions that nobody used since, lost one
/// after the other. Growth is counted per client address from when the address has settled: a pod
/// that is new brings sessions, but no growth. Pure.
///
/// `headroom`: slots that are free on the server. `min_sessions`: [leak].
[[nodiscard]] LeakJudgement judge_leak(const LeakScale& scale, Instant now,
                                       std::span<const AddressEvidence> addresses, double headroom,
                                       std::uint32_t min_sessions, const GroupHistory& history);

/// How fast the floor rises, in sessions per second, whatever comes of it.
[[nodiscard]] Slope floor_slope(const LeakScale& scale, std::span<const AddressEvidence> addresses);

}  // namespace pgleash::watchdog
