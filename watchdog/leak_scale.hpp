#pragma once

#include "config/config.hpp"
#include "protocol/types.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace pgleash::watchdog {

/// Buckets a window is divided into.
inline constexpr std::size_t leak_buckets = 12;
/// Configured windows, and the one below the first.
inline constexpr std::size_t max_leak_scales = 5;

/// One length of time in which a leak is looked for.
struct LeakScale {
  Duration window{};
  Duration bucket{};
  Duration unused{};    ///< what was used within it is no suspect
  Duration reach{};     ///< growth counts when it would take the last slot within it: what takes
                        ///< longer is left to the next scale, which has more to judge by
  std::size_t day = 1;  ///< buckets that a day has, when a day is two to six: floors are those of a
                        ///< day then, so that day and night are no growth
};

/// The scales of a configuration, ascending: a sixth of the first window, then the windows.
[[nodiscard]] std::vector<LeakScale> leak_scales(const config::Leak& leak);

/// How many sessions a group had at most, in the buckets of the last scale.
class PeakSeries {
 public:
  void note(std::uint32_t sessions) noexcept {
    current_ = current_ < sessions ? sessions : current_;
  }
  void roll(std::size_t buckets, std::uint32_t sessions) noexcept;
  /// Of the buckets before the running one and the one before it: what is rising now is not in it.
  [[nodiscard]] std::uint32_t before() const noexcept;

 private:
  std::array<std::uint32_t, leak_buckets> done_{};
  std::uint32_t current_ = 0;
};

/// How many sessions there were at least, bucket by bucket, of one client address and in every
/// scale. A value of some 130 bytes.
class FloorSeries {
 public:
  explicit FloorSeries(std::uint32_t sessions) noexcept { current_.fill(cut(sessions)); }

  void note(std::uint32_t sessions) noexcept {
    for (std::uint16_t& floor : current_) floor = floor < sessions ? floor : cut(sessions);
  }
  /// Ends `buckets` buckets of a scale at once: all but the last of them saw `sessions` only.
  void roll(std::size_t scale, std::size_t buckets, std::uint32_t sessions) noexcept;
  /// Full buckets, the oldest first, from when the address had settled: its first buckets, in which
  /// processes start and pools fill, are left out.
  [[nodiscard]] std::span<const std::uint16_t> floors(std::size_t scale) const noexcept {
    return {done_[scale].data() + (leak_buckets - filled_[scale]), filled_[scale]};
  }

 private:
  static std::uint16_t cut(std::uint32_t sessions) noexcept {
    return static_cast<std::uint16_t>(sessions < 0xFFFF ? sessions : 0xFFFF);
  }
  void push(std::size_t scale, std::uint16_t floor) noexcept;

  std::array<std::array<std::uint16_t, leak_buckets>, max_leak_scales> done_{};
  std::array<std::uint16_t, max_leak_scales> current_{};
  std::array<std::uint8_t, max_leak_scales> filled_{};
  std::array<std::uint8_t, max_leak_scales> skipped_{};
};

}  // namespace pgleash::watchdog
