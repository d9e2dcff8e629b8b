#include "watchdog/robust_slope.hpp"

#include <algorithm>
#include <cstddef>
#include <vector>

namespace pgleash::watchdog {

Slope robust_slope(std::span<const double> points) {
  std::vector<double> slopes;
  slopes.reserve(points.size() * points.size() / 2);
  for (std::size_t later = 1; later < points.size(); ++later) {
    for (std::size_t earlier = 0; earlier < later; ++earlier)
      slopes.push_back((points[later] - points[earlier]) / static_cast<double>(later - earlier));
  }
  if (slopes.empty()) return {};
  std::sort(slopes.begin(), slopes.end());
  const auto at = [&](double share) {
    const double position = share * static_cast<double>(slopes.size() - 1);
    const auto below = static_cast<std::size_t>(position);
    const std::size_t above = std::min(below + 1, slopes.size() - 1);
    return slopes[below] +
           (position - static_cast<double>(below)) * (slopes[above] - slopes[below]);
  };
  return {at(0.5), at(0.25), at(0.75)};
}

}  // namespace pgleash::watchdog
