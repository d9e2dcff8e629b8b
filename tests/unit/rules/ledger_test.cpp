#include "watchdog/ledger.hpp"

#include "session_builder.hpp"

#include <gmock/gmock.h>

namespace pgleash::watchdog {
namespace {

using testing::IsEmpty;

/// A rule of one minute on idle sessions, with the real engine, and one session that idles.
class Ledger : public ::testing::Test {
 protected:
  explicit Ledger(config::Rule one = rule("idle", RuleKind::idle, 60s, Action::observe))
      : engine_(engine({one})) {}

  /// A tick in which the session has been idle for `age`; `mark` counts its states.
  Evaluation tick(Duration age, std::uint32_t mark = 1, bool ending = false) {
    SessionBuilder builder{SessionState::idle, age};
    builder.facts().mark = {mark, mark, mark};
    builder.entry().view.ending = ending;
    return feed(snapshot_of(builder));
  }
  Evaluation feed(const Snapshot& snapshot) {
    Evaluation found = engine_->evaluate(snapshot);
    ledger.feed(found.suspects, snapshot);
    return found;
  }
  [[nodiscard]] std::uint64_t recovered(Margin margin) const {
    const auto row = ledger.rows().find("idle");
    return row == ledger.rows().end() ? 0 : row->second.recovered[static_cast<std::size_t>(margin)];
  }
  [[nodiscard]] std::uint64_t recovered() const {
    std::uint64_t all = 0;
    for (std::size_t i = 0; i < margin_count; ++i) all += recovered(static_cast<Margin>(i));
    return all;
  }

  FalsePositiveLedger ledger;

 private:
  std::unique_ptr<RuleEngine> engine_;
};

TEST_F(Ledger, CountsASessionThatWasIdleJustUnderTheLimitAndThenActive) {
  (void)tick(58s);
  EXPECT_EQ(recovered(), 0U);
  (void)tick(0s, 2);
  EXPECT_EQ(recovered(Margin::within_5), 1U);
  EXPECT_EQ(recovered(), 1U);
  EXPECT_NEAR(*ledger.rows().find("idle")->second.closest, 2.0 / 60, 1e-9);
  (void)tick(1s, 2);
  EXPECT_EQ(recovered(), 1U);
}

TEST_F(Ledger, TellsTheMarginsApart) {
  std::uint32_t mark = 1;
  for (const auto age : {40s, 47s, 49s, 56s, 58s, 61s, 300s}) {
    (void)tick(age, mark);
    (void)tick(0s, ++mark);
  }
  EXPECT_EQ(recovered(Margin::warned), 0U);
  EXPECT_EQ(recovered(Margin::within_20), 2U);  // 49 and 56
  EXPECT_EQ(recovered(Margin::within_5), 1U);
  EXPECT_EQ(recovered(Margin::over_limit), 2U);
}

TEST_F(Ledger, TakesTheAgeOfTheLastTick) {
  for (const auto age : {49s, 53s, 57s, 59s}) (void)tick(age);
  (void)tick(0s, 2);
  EXPECT_EQ(recovered(Margin::within_5), 1U);
  EXPECT_EQ(recovered(), 1U);
}

TEST_F(Ledger, ASuspectThatEndedHasNotRecovered) {
  (void)tick(58s);
  (void)feed(snapshot_of());
  (void)tick(58s, 3);
  (void)tick(59s, 4, true);
  EXPECT_EQ(recovered(), 0U);
}

TEST_F(Ledger, WhatOurOwnActChangedIsNotCounted) {
  (void)tick(61s);
  ledger.acted(proxy::SessionId{1});
  (void)tick(0s, 2);
  EXPECT_EQ(recovered(), 0U);
}

TEST_F(Ledger, AnExemptSessionIsNoSuspect) {
  SessionBuilder listener{SessionState::idle, 58s};
  listener.facts().listening = true;
  EXPECT_THAT(feed(snapshot_of(listener)).suspects, IsEmpty());
}

struct WarnedLedger : Ledger {
  static config::Rule warned() {
    config::Rule one = rule("idle", RuleKind::idle, 60s, Action::observe);
    one.warn = 10s;
    return one;
  }
  WarnedLedger() : Ledger(warned()) {}
};

TEST_F(WarnedLedger, CountsWhoPassedTheWarnOnly) {
  (void)tick(9s);
  (void)tick(0s, 2);
  EXPECT_EQ(recovered(), 0U);
  (void)tick(11s, 3);
  (void)tick(0s, 4);
  EXPECT_EQ(recovered(Margin::warned), 1U);
}

TEST(Margins, AreOfTheLimit) {
  EXPECT_EQ(margin_of(1h, std::nullopt), Margin::warned);
  EXPECT_EQ(margin_of(80s, Duration{100s}), Margin::warned);
  EXPECT_EQ(margin_of(81s, Duration{100s}), Margin::within_20);
  EXPECT_EQ(margin_of(95s, Duration{100s}), Margin::within_20);
  EXPECT_EQ(margin_of(96s, Duration{100s}), Margin::within_5);
  EXPECT_EQ(margin_of(100s, Duration{100s}), Margin::within_5);
  EXPECT_EQ(margin_of(101s, Duration{100s}), Margin::over_limit);
}

}  // namespace
}  // namespace pgleash::watchdog
