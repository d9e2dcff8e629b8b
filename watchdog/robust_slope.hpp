#pragma once

#include <span>

namespace pgleash::watchdog {

/// A slope per step and where nearly all slopes between two points lie.
struct Slope {
  double value = 0;
  double low = 0;   ///< lower quartile
  double high = 0;  ///< upper quartile
};

/// Theil–Sen: the median of the slopes between every two of the points, which are one step apart. A
/// burst, or a step at either end, does not move it. O(n²) for n points: meant for a dozen. Pure.
[[nodiscard]] Slope robust_slope(std::span<const double> points);

}  // namespace pgleash::watchdog
