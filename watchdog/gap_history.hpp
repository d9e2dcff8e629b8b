#pragma once

#include "protocol/types.hpp"

#include <array>
#include <cstddef>

namespace pgleash::watchdog {

/// For how long the sessions of a group were unused before they were used again or closed: counts
/// of such gaps by length, which fade with time. A healthy group's gaps all end; a lost session's
/// does not. 72 bytes.
class GapHistory {
 public:
  static constexpr std::size_t lengths = 16;

  /// A gap ended. Gaps up to `shortest` are none; after `memory` a count weighs a third.
  void note(Duration gap, Instant now, Duration shortest, Duration memory) noexcept;
  /// How many gaps were at least so long; between two lengths it is interpolated.
  [[nodiscard]] double at_least(Duration gap, Instant now, Duration shortest,
                                Duration memory) const noexcept;

 private:
  std::array<float, lengths> longer_{};  ///< than `shortest`, and each twice the one before
  Instant noted_{};
};

}  // namespace pgleash::watchdog
