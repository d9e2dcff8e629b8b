#include "session_builder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pgleash::watchdog {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

Snapshot one_idle() {
  return snapshot_of(SessionBuilder{SessionState::idle, 10min});
}

TEST(Inherit, ARuleThatIsTheSameRemembersWhatItJudged) {
  const auto before = engine({rule("a", RuleKind::idle, 1min), rule("b", RuleKind::idle, 2min)});
  EXPECT_THAT(before->evaluate(one_idle()).verdicts, SizeIs(1));
  auto moved = rule("a", RuleKind::idle, 1min);
  moved.position = {"pgleash.toml", 99, 1};
  const auto after = engine({rule("new", RuleKind::held, 1min), moved});
  after->inherit(*before, false);
  EXPECT_THAT(after->evaluate(one_idle()).verdicts, IsEmpty());
}

TEST(Inherit, ARuleThatChangedJudgesAfresh) {
  const auto before = engine({rule("a", RuleKind::idle, 1min)});
  EXPECT_THAT(before->evaluate(one_idle()).verdicts, SizeIs(1));
  const auto after = engine({rule("a", RuleKind::idle, 2min)});
  after->inherit(*before, false);
  const auto found = after->evaluate(one_idle()).verdicts;
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].limit, 2min);
}

TEST(Inherit, WhatWasOnlyObservedIsJudgedAgainWhenTheLocksOpen) {
  const auto before = engine({rule("a", RuleKind::idle, 1min)});
  EXPECT_THAT(before->evaluate(one_idle()).verdicts, SizeIs(1));
  const auto after = engine({rule("a", RuleKind::idle, 1min)});
  after->inherit(*before, true);
  EXPECT_THAT(after->evaluate(one_idle()).verdicts, SizeIs(1));
}

TEST(Inherit, CountersGoByTheNameAndAWarningIsNotRepeated) {
  auto warns = rule("a", RuleKind::idle, 1h);
  warns.warn = 1min;
  const auto before = engine({warns});
  EXPECT_THAT(before->evaluate(one_idle()).warnings, SizeIs(1));
  const auto after = engine({warns});
  after->inherit(*before, true);
  EXPECT_THAT(after->evaluate(one_idle()).warnings, IsEmpty());
  EXPECT_EQ(after->status()[0].warned_total, 1U);
  warns.limit = 2h;
  const auto changed = engine({warns});
  changed->inherit(*after, false);
  EXPECT_EQ(changed->status()[0].warned_total, 1U);
}

TEST(Inherit, IdsOfTwoEnginesNeverMeet) {
  std::vector<config::Diagnostic> faults;
  const std::vector rules{rule("a", RuleKind::idle, 1min)};
  const auto before = RuleEngine::compile(rules, {}, faults, VerdictIds{1});
  const auto after = RuleEngine::compile(rules, {}, faults, VerdictIds{2});
  const auto first = before->evaluate(one_idle()).verdicts;
  after->inherit(*before, true);
  const auto second = after->evaluate(one_idle()).verdicts;
  ASSERT_THAT(first, SizeIs(1));
  ASSERT_THAT(second, SizeIs(1));
  EXPECT_NE(first[0].id, second[0].id);
}

}  // namespace
}  // namespace pgleash::watchdog
