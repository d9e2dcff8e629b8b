#include "watchdog/gap_history.hpp"

#include <algorithm>
#include <cmath>

namespace pgleash::watchdog {
namespace {

double seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace

void GapHistory::note(Duration gap, Instant now, Duration shortest, Duration memory) noexcept {
  if (gap < shortest) return;
  if (noted_ != Instant{} && now > noted_) {
    const auto left = static_cast<float>(std::exp(-seconds(now - noted_) / seconds(memory)));
    for (float& count : longer_) count *= left;
  }
  noted_ = std::max(noted_, now);
  Duration length = shortest;
  for (float& count : longer_) {
    if (length > gap) break;
    count += 1;
    length *= 2;
  }
}

double GapHistory::at_least(Duration gap, Instant now, Duration shortest,
                            Duration memory) const noexcept {
  if (noted_ == Instant{}) return 0;
  const double left = std::exp(-seconds(std::max(now, noted_) - noted_) / seconds(memory));
  const double octave = std::max(0.0, std::log2(seconds(gap) / seconds(shortest)));
  const auto below = std::min(static_cast<std::size_t>(octave), lengths - 1);
  const double above = below + 1 < lengths ? static_cast<double>(longer_[below + 1]) : 0.0;
  const double share = octave - static_cast<double>(below);
  return left * (static_cast<double>(longer_[below]) * (1 - std::min(share, 1.0)) +
                 above * std::min(share, 1.0));
}

}  // namespace pgleash::watchdog
