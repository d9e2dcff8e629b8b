#include "watchdog/leak_scale.hpp"

#include <algorithm>

namespace pgleash::watchdog {
namespace {

constexpr Duration day = std::chrono::hours{24};
/// Remaining time over window, up to which a scale judges itself: the next window is at most some
/// twelve times as long, and judges when two thirds of it have passed.
constexpr int reach_in_windows = 10;

/// The first is not a full one, and pools fill in the next two.
constexpr std::uint8_t settling_buckets = 3;

LeakScale scale_of(Duration window, Duration idle_longer_than) {
  LeakScale scale;
  scale.window = window;
  scale.bucket = window / leak_buckets;
  scale.unused = std::clamp(idle_longer_than, scale.bucket, window / 5);
  scale.reach = window * reach_in_windows;
  const auto in_a_day = (day + scale.bucket / 2) / scale.bucket;
  if (in_a_day >= 2 && in_a_day <= 6) scale.day = static_cast<std::size_t>(in_a_day);
  return scale;
}

}  // namespace

std::vector<LeakScale> leak_scales(const config::Leak& leak) {
  std::vector<LeakScale> scales;
  if (leak.windows.empty()) return scales;
  scales.push_back(scale_of(leak.windows.front() / 6, leak.idle_longer_than));
  for (const config::Duration window : leak.windows) {
    if (scales.size() < max_leak_scales) scales.push_back(scale_of(window, leak.idle_longer_than));
  }
  const Duration horizon = leak.horizon;
  for (LeakScale& scale : scales) scale.reach = std::min(scale.reach, horizon);
  scales.back().reach = horizon;
  return scales;
}

void FloorSeries::push(std::size_t scale, std::uint16_t floor) noexcept {
  if (skipped_[scale] < settling_buckets) {
    ++skipped_[scale];
    return;
  }
  auto& done = done_[scale];
  std::move(done.begin() + 1, done.end(), done.begin());
  done.back() = floor;
  if (filled_[scale] < leak_buckets) ++filled_[scale];
}

void FloorSeries::roll(std::size_t scale, std::size_t buckets, std::uint32_t sessions) noexcept {
  if (buckets == 0) return;
  push(scale, current_[scale]);
  for (std::size_t i = 1; i < std::min(buckets, leak_buckets + 1); ++i) push(scale, cut(sessions));
  current_[scale] = cut(sessions);
}

void PeakSeries::roll(std::size_t buckets, std::uint32_t sessions) noexcept {
  for (std::size_t i = 0; i < std::min(buckets, leak_buckets); ++i) {
    std::move(done_.begin() + 1, done_.end(), done_.begin());
    done_.back() = current_;
    current_ = sessions;
  }
}

std::uint32_t PeakSeries::before() const noexcept {
  return *std::max_element(done_.begin(), done_.end() - 1);
}

}  // namespace pgleash::watchdog
