#include "watchdog/by_hand.hpp"

#include "session_builder.hpp"
#include "watchdog/message.hpp"
#include "watchdog/recent_actions.hpp"
#include "watchdog/termination_plan.hpp"

#include <gtest/gtest.h>

namespace pgleash::watchdog {
namespace {

Verdict ordered(SessionState state, proxy::KillAction action = proxy::KillAction::terminate) {
  HandOrder order;
  order.entry = SessionBuilder{state, 5s};
  order.action = action;
  order.counter = proxy::JudgedCounter::state;
  order.actor = "alice";
  return verdict_of(std::move(order), {"01ABCDEFGHJKMNPQ"}, noon);
}

TEST(ByHand, TheClientGetsTheCodeOfTheStateItWasIn) {
  EXPECT_EQ(ordered(SessionState::idle).sqlstate, "57P05");
  EXPECT_EQ(ordered(SessionState::idle_in_transaction).sqlstate, "25P03");
  EXPECT_EQ(ordered(SessionState::aborted).sqlstate, "25P03");
  EXPECT_EQ(ordered(SessionState::busy).sqlstate, "57P05");
  EXPECT_EQ(ordered(SessionState::pipeline_flushed).sqlstate, "25P03");
}

TEST(ByHand, TheVerdictHoldsWhatWasShown) {
  const Verdict verdict = ordered(SessionState::idle);
  EXPECT_EQ(verdict.rule, manual_rule);
  EXPECT_EQ(kind_name(verdict), manual_rule);
  EXPECT_EQ(verdict.mark, (protocol::ActivityMark{7, 5, 3}));
  EXPECT_EQ(verdict.measured, 5s);
  EXPECT_EQ(verdict.exemption, Exemption::none);
  EXPECT_EQ(ordered(SessionState::busy, proxy::KillAction::cancel).action, Action::cancel);
}

TEST(ByHand, TheClientIsToldWhoDidIt) {
  const auto notice = error_notice(ordered(SessionState::idle), proxy::KillAction::terminate);
  EXPECT_EQ(notice.message, "terminating connection: ended by operator 'alice' (pgleash console)");
  EXPECT_NE(notice.detail.find("01ABCDEFGHJKMNPQ"), std::string::npos);
  const auto cancelled = error_notice(ordered(SessionState::busy), proxy::KillAction::cancel);
  EXPECT_EQ(cancelled.sqlstate, "57014");
  EXPECT_EQ(cancelled.message,
            "canceling statement: canceled by operator 'alice' (pgleash console)");
}

TEST(ByHand, ItTakesTheLadderOfARule) {
  const Verdict verdict = ordered(SessionState::idle);
  TerminationPlan plan{verdict, true, noon};
  EXPECT_EQ(plan.next(noon).kind, TerminationPlan::Kind::carry_out);
}

TEST(ByHand, SomeAreOutOfReachForPeopleToo) {
  config::Protect protect;
  SessionBuilder super{SessionState::idle};
  super.entry().superuser = true;
  EXPECT_FALSE(out_of_reach(super, protect).empty());
  protect.superusers = false;
  EXPECT_TRUE(out_of_reach(super, protect).empty());
  SessionBuilder standby{SessionState::copy_both};
  standby.who().replication = true;
  EXPECT_FALSE(out_of_reach(standby, protect).empty());
}

RecentAction action(std::string id, Outcome outcome, std::chrono::seconds at) {
  Verdict verdict = ordered(SessionState::idle);
  verdict.id.text = std::move(id);
  return action_of(verdict, config::Mode::enforce, outcome, {},
                   std::chrono::system_clock::time_point{at});
}

TEST(RecentActions, AFloodOfWouldActsPushesNoActOut) {
  RecentActions recent;
  recent.add(action("ACT", Outcome::confirmed, 0s));
  for (std::size_t i = 0; i < 3 * RecentActions::kept; ++i)
    recent.add(action("WOULD" + std::to_string(i), Outcome::observed, 1s));
  EXPECT_NE(recent.find("ACT"), nullptr);
  EXPECT_EQ(recent.find("WOULD0"), nullptr);
  EXPECT_EQ(recent.newest().size(), RecentActions::kept + 1);
}

TEST(RecentActions, TheNewestComeFirst) {
  RecentActions recent;
  recent.add(action("A", Outcome::confirmed, 1s));
  recent.add(action("B", Outcome::observed, 3s));
  recent.add(action("C", Outcome::survived, 2s));
  std::string order;
  for (const RecentAction* one : recent.newest()) order += one->verdict.id.text;
  EXPECT_EQ(order, "BCA");
}

}  // namespace
}  // namespace pgleash::watchdog
