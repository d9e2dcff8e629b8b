#include "watchdog/leak_watch.hpp"

#include "tests/unit/rules/session_builder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace pgleash::watchdog {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

config::Leak quick(Action action) {
  config::Leak leak;
  leak.windows = {6s, 20s};
  leak.horizon = 1h;
  leak.idle_longer_than = 1s;
  leak.action = action;
  return leak;
}

/// Snapshots of an application that opens a session each 300 ms, uses it once and forgets it.
class LeakWatchTest : public ::testing::Test {
 protected:
  explicit LeakWatchTest(Action action = Action::terminate)
      : watch_(quick(action), protect(), VerdictIds{7}, 30s) {}

  static config::Protect protect() {
    config::Protect protect;
    protect.users = {pattern("backup")};
    return protect;
  }

  /// All ticks until the first leak, and its tick last; at most 30 seconds.
  LeakWatch::Tick run(SessionState state = SessionState::idle, const std::string& user = "alice",
                      bool listening = false) {
    for (int i = 0; i < 300; ++i) {
      if (i % 3 == 0) {
        SessionBuilder session{state};
        session.id(static_cast<std::uint64_t>(i) + 1).user(user);
        session.facts().state_since = now_;
        session.facts().listening = listening;
        sessions_.push_back(session);
      }
      LeakWatch::Tick tick = next();
      if (!tick.detected.empty()) return tick;
    }
    return {};
  }
  LeakWatch::Tick next() {
    Snapshot snapshot = snapshot_of();
    snapshot.now = now_;
    snapshot.max_connections = 300;
    snapshot.reserved_connections = 3;
    snapshot.sessions = sessions_;
    snapshot.advisory_taken = advisory_known_ ? std::optional{now_} : std::nullopt;
    now_ += 100ms;
    last_ = snapshot;
    return watch_.tick(snapshot);
  }
  RuleExplanation explain(std::size_t session) {
    return watch_.explain(last_.sessions.at(session), last_);
  }

  LeakWatch watch_;
  Instant now_ = noon;
  bool advisory_known_ = true;
  std::vector<SessionEntry> sessions_;
  Snapshot last_;
};

TEST_F(LeakWatchTest, ReportsTheGroupTheAddressAndTheOldestSuspects) {
  const LeakWatch::Tick tick = run();
  ASSERT_THAT(tick.detected, SizeIs(1));
  const LeakReport& report = tick.detected[0];
  EXPECT_EQ(report.leak.group, (LeakGroup{"orders", "alice", "checkout"}));
  ASSERT_THAT(report.addresses, SizeIs(1));
  EXPECT_EQ(report.addresses[0].first, "10.0.0.7");
  EXPECT_EQ(report.addresses[0].second, report.leak.suspect_count);
  ASSERT_THAT(report.oldest, SizeIs(LeakReport::most_suspects));
  EXPECT_GT(report.oldest.front().unused, report.oldest.back().unused);
  ASSERT_TRUE(report.forecast.expected);
  // 297 slots, 3.3 sessions a second.
  EXPECT_NEAR(std::chrono::duration<double>(*report.forecast.expected).count(),
              (297 - static_cast<double>(sessions_.size())) * 0.3, 15);
}

TEST_F(LeakWatchTest, JudgesEachSuspectOnceTheLongestUnusedFirst) {
  const LeakWatch::Tick tick = run();
  ASSERT_GE(tick.verdicts.size(), 5U);
  for (std::size_t i = 1; i < tick.verdicts.size(); ++i)
    EXPECT_GE(tick.verdicts[i - 1].measured, tick.verdicts[i].measured);
  const Verdict& first = tick.verdicts.front();
  EXPECT_EQ(first.kind, RuleKind::leak);
  EXPECT_EQ(first.counter, proxy::JudgedCounter::state);
  EXPECT_EQ(first.sqlstate, "57P05");
  EXPECT_EQ(first.exemption, Exemption::none);
  EXPECT_GT(first.measured, first.limit);
  std::set<proxy::SessionId> judged;
  for (const Verdict& verdict : tick.verdicts) judged.insert(verdict.session.view.id);
  for (int i = 0; i < 20; ++i) {
    for (const Verdict& verdict : next().verdicts)
      EXPECT_TRUE(judged.insert(verdict.session.view.id).second) << "a suspect is judged once";
  }
  watch_.forget(first);
  const auto again = next().verdicts;
  ASSERT_GE(again.size(), 1U);
  EXPECT_EQ(again.front().session.view.id, first.session.view.id);
}

TEST_F(LeakWatchTest, ExplainsToASuspectAndToItsNeighboursHowTheyStand) {
  sessions_.push_back(SessionBuilder{SessionState::idle}.id(7'000).application("neighbour"));
  sessions_[0].view.facts.state_since = now_;
  run();
  EXPECT_EQ(explain(0).standing, Standing::not_in_state);
  EXPECT_EQ(explain(0).why, "its application is not known to leak");
  sessions_.erase(sessions_.begin());
  next();
  EXPECT_EQ(explain(0).standing, Standing::judged);
  EXPECT_EQ(explain(0).action, Action::terminate);
  EXPECT_EQ(explain(0).age, last_.now - sessions_[0].view.facts.state_since);
  EXPECT_THAT(explain(0).why, ::testing::HasSubstr("suspects of a leak"));
  // The youngest has not been unused for long enough.
  EXPECT_EQ(explain(sessions_.size() - 1).why,
            "its application leaks, and it is not among the suspects");
  sessions_[1].view.facts.state = SessionState::idle_in_transaction;
  next();
  EXPECT_EQ(explain(1).standing, Standing::not_in_state);
  EXPECT_THAT(explain(1).why, ::testing::HasSubstr("only idle sessions are ended"));
}

TEST_F(LeakWatchTest, LeavesLeakedTransactionsToTheRulesForTransactions) {
  const LeakWatch::Tick tick = run(SessionState::idle_in_transaction);
  EXPECT_THAT(tick.detected, SizeIs(1));
  EXPECT_THAT(tick.verdicts, IsEmpty());
}

TEST_F(LeakWatchTest, NamesTheExemptionOfWhoIsProtected) {
  const LeakWatch::Tick tick = run(SessionState::idle, "backup");
  ASSERT_THAT(tick.detected, SizeIs(1));
  ASSERT_GE(tick.verdicts.size(), 1U);
  for (const Verdict& verdict : tick.verdicts)
    EXPECT_EQ(verdict.exemption, Exemption::protected_user);
}

TEST_F(LeakWatchTest, WaitsToKnowWhoHoldsAdvisoryLocksAndSparesThem) {
  advisory_known_ = false;
  const LeakWatch::Tick tick = run();
  ASSERT_THAT(tick.detected, SizeIs(1));
  EXPECT_THAT(tick.verdicts, IsEmpty());
  EXPECT_TRUE(watch_.wants_advisory_locks());

  advisory_known_ = true;
  sessions_.front().advisory_lock = true;
  const auto verdicts = next().verdicts;
  EXPECT_FALSE(watch_.wants_advisory_locks());
  ASSERT_GE(verdicts.size(), 2U);
  EXPECT_EQ(verdicts[0].session.view.id, sessions_.front().view.id);
  EXPECT_EQ(verdicts[0].exemption, Exemption::advisory_lock);
  EXPECT_EQ(verdicts[1].exemption, Exemption::none);
}

TEST_F(LeakWatchTest, LeavesOutWhoListensForNotifications) {
  EXPECT_THAT(run(SessionState::idle, "alice", true).detected, IsEmpty());
}

TEST_F(LeakWatchTest, CountsAndClears) {
  run();
  EXPECT_EQ(watch_.status().detected_total.at("checkout"), 1U);
  EXPECT_GT(watch_.status().applications.at("checkout").suspects, 0U);
  EXPECT_GT(watch_.status().applications.at("checkout").growth, 1.0);
  sessions_.clear();
  std::vector<LeakReport> cleared;
  for (int i = 0; i < 100 && cleared.empty(); ++i) cleared = next().cleared;
  EXPECT_THAT(cleared, SizeIs(1));
  EXPECT_EQ(watch_.status().cleared_total.at("checkout"), 1U);
  EXPECT_FALSE(watch_.status().forecast.expected);
  EXPECT_TRUE(watch_.status().limit_known);
}

class ObservedLeakTest : public LeakWatchTest {
 protected:
  ObservedLeakTest() : LeakWatchTest(Action::observe) {}
};

TEST_F(ObservedLeakTest, GivesVerdictsThatOnlyObserve) {
  const LeakWatch::Tick tick = run();
  ASSERT_GE(tick.verdicts.size(), 1U);
  EXPECT_EQ(tick.verdicts.front().action, Action::observe);
}

}  // namespace
}  // namespace pgleash::watchdog
