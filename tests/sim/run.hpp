#pragma once

#include "tests/sim/baselines.hpp"
#include "tests/sim/catalogue.hpp"

#include <array>
#include <optional>
#include <vector>

namespace pgleash::sim {

struct ForecastError {
  double error;  ///< share of the truth; above 0: foretold too late
  int to_come;   ///< sessions that were lost between the forecast and the end
};

/// A leak that was none.
struct FalseAlarm {
  double when = 0;  ///< seconds
  watchdog::Leak leak;
  std::uint32_t used = 0;  ///< slots
};

/// What came of one scene.
struct Run {
  std::vector<FalseAlarm> alarms;  ///< of ours, before a leak began or without one
  double healthy_seconds = 0;      ///< without a leak
  std::optional<double> full;      ///< seconds when the last slot was gone
  std::optional<double> detected;  ///< seconds, at or after the leak's start
  double window = 0;               ///< of the scale that saw it, seconds
  int lost_at_alarm = 0;
  int lost_when_full = 0;
  double suspects_right = 0;  ///< of the suspects when detected, the share that was lost
  std::optional<ForecastError> hour_error;  ///< of the forecast an hour before the end
  std::optional<ForecastError> day_error;
  std::array<int, baseline_count> baseline_alarms{};
  std::array<std::optional<double>, baseline_count> baseline_share{};  ///< lost at its alarm
};

[[nodiscard]] Run run(const Scene& scene, bool with_baselines);

}  // namespace pgleash::sim
