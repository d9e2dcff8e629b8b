#include "watchdog/brake.hpp"

#include "session_builder.hpp"

#include <gtest/gtest.h>

namespace pgleash::watchdog {
namespace {

Verdict verdict(Action action, Exemption exemption = Exemption::none) {
  Verdict verdict;
  verdict.action = action;
  verdict.exemption = exemption;
  return verdict;
}

constexpr std::array acting{Action::cancel, Action::terminate, Action::escalate};

TEST(Brake, OpensOnlyWithBothLocks) {
  const Brake brake{noon - 1h, 2min};
  for (const Action action : acting) {
    EXPECT_TRUE(brake.decide(verdict(action), config::Mode::enforce, noon) == Permission::act);
    EXPECT_TRUE(brake.decide(verdict(action), config::Mode::observe, noon) == Permission::observe);
  }
  EXPECT_TRUE(brake.decide(verdict(Action::observe), config::Mode::enforce, noon) ==
              Permission::observe);
  EXPECT_TRUE(brake.decide(verdict(Action::observe), config::Mode::observe, noon) ==
              Permission::observe);
}

TEST(Brake, LetsNoExemptionThrough) {
  const Brake brake{noon - 1h, 2min};
  for (const auto mode : {config::Mode::enforce, config::Mode::observe}) {
    for (const auto why : {Exemption::superuser, Exemption::commit, Exemption::unknown}) {
      EXPECT_TRUE(brake.decide(verdict(Action::terminate, why), mode, noon) == Permission::exempt);
    }
  }
}

TEST(Brake, DefersActsAfterTheStartAndNothingElse) {
  const Brake brake{noon, 2min};
  const auto before = noon + 2min - 1ms;
  EXPECT_TRUE(brake.held_off(before));
  EXPECT_TRUE(brake.decide(verdict(Action::terminate), config::Mode::enforce, before) ==
              Permission::defer);
  EXPECT_TRUE(brake.decide(verdict(Action::terminate), config::Mode::observe, before) ==
              Permission::observe);
  EXPECT_TRUE(brake.decide(verdict(Action::observe), config::Mode::enforce, before) ==
              Permission::observe);
  EXPECT_TRUE(brake.decide(verdict(Action::terminate, Exemption::dump), config::Mode::enforce,
                           before) == Permission::exempt);
  EXPECT_FALSE(brake.held_off(noon + 2min));
  EXPECT_TRUE(brake.decide(verdict(Action::terminate), config::Mode::enforce, noon + 2min) ==
              Permission::act);
}

}  // namespace
}  // namespace pgleash::watchdog
