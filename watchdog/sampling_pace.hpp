#pragma once

#include "protocol/types.hpp"

#include <algorithm>
#include <chrono>

namespace pgleash::watchdog {

/// How long to wait between two samples: longer while they are dear, and never so long that
/// evidence grows stale.
class SamplingPace {
 public:
  static constexpr Duration dear = std::chrono::milliseconds{100};
  static constexpr int slowest = 8;  ///< times the configured interval

  explicit SamplingPace(Duration interval) : configured_(interval), interval_(interval) {}
  void took(Duration sample) noexcept {
    if (sample > dear)
      interval_ = std::min(interval_ * 2, configured_ * slowest);
    else if (sample < dear / 2)
      interval_ = std::max(interval_ / 2, configured_);
  }
  [[nodiscard]] Duration interval() const noexcept { return interval_; }

 private:
  Duration configured_;
  Duration interval_;
};

/// The waits between attempts to connect: doubling, and less a random part so that a fleet does not
/// return as one.
class BackOff {
 public:
  static constexpr Duration first = std::chrono::milliseconds{500};
  static constexpr Duration last = std::chrono::seconds{30};

  /// `random` in [0, 1): up to a quarter is taken off.
  [[nodiscard]] Duration next(double random) noexcept {
    const auto full = next_;
    next_ = std::min(next_ * 2, last);
    return full - std::chrono::duration_cast<Duration>(full * (random / 4));
  }
  void reset() noexcept { next_ = first; }

 private:
  Duration next_ = first;
};

}  // namespace pgleash::watchdog
