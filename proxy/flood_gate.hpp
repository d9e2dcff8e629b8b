#pragma once

#include "protocol/types.hpp"

#include <chrono>

namespace pgleash::proxy {

/// Says of a thing that may happen a thousand times a second whether to tell of it: the first one
/// of a flood, and one a minute while it lasts. A flood is over after ten quiet seconds. One
/// thread.
class FloodGate {
 public:
  static constexpr Duration quiet = std::chrono::seconds{10};
  static constexpr Duration reminder = std::chrono::minutes{1};

  [[nodiscard]] bool tell(Instant now) noexcept {
    const bool first = !seen_ || now - last_ >= quiet || now - told_ >= reminder;
    seen_ = true;
    last_ = now;
    if (first) told_ = now;
    return first;
  }

 private:
  bool seen_ = false;
  Instant last_{};
  Instant told_{};
};

}  // namespace pgleash::proxy
