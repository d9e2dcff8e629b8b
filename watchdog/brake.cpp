#include "watchdog/brake.hpp"

namespace pgleash::watchdog {

Brake::Brake(Instant started, Duration hold_after_start) noexcept
    : hold_until_(started + hold_after_start) {}

Permission Brake::decide(const Verdict& verdict, config::Mode mode, Instant now) const noexcept {
  if (verdict.exemption != Exemption::none) return Permission::exempt;
  if (mode != config::Mode::enforce || verdict.action == config::Action::observe) {
    return Permission::observe;
  }
  if (held_off(now)) return Permission::defer;
  // Pace and fuses are asked here, last: they count only what would die otherwise.
  return Permission::act;
}

}  // namespace pgleash::watchdog
