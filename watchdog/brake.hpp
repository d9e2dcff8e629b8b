#pragma once

#include "config/config.hpp"
#include "watchdog/verdict.hpp"

#include <cstdint>

namespace pgleash::watchdog {

/// What may happen to a verdict.
enum class Permission : std::uint8_t {
  act,
  observe,  ///< one of the two locks is closed: a would-act
  exempt,   ///< the session is out of the rule's reach
  defer,    ///< not now; the engine may judge the activity again
};

/// Stands between every automatic verdict and its termination. Pure; control thread; one per
/// server. Nothing dies unless both locks are open: `[enforcement] mode = "enforce"`, and a rule
/// whose action is not "observe".
class Brake {
 public:
  Brake(Instant started, Duration hold_after_start) noexcept;

  /// Asked once per verdict, in the engine's order (oldest first): what limits the pace takes from
  /// it in this order.
  [[nodiscard]] Permission decide(const Verdict& verdict, config::Mode mode,
                                  Instant now) const noexcept;
  /// True while nothing would be ended yet even in enforce mode; labels what is only observed.
  [[nodiscard]] bool held_off(Instant now) const noexcept { return now < hold_until_; }
  [[nodiscard]] Instant hold_until() const noexcept { return hold_until_; }

 private:
  Instant hold_until_;
};

}  // namespace pgleash::watchdog
