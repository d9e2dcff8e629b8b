#include "watchdog/cost_rule.hpp"

#include "config/measure.hpp"
#include "session_builder.hpp"
#include "watchdog/rule_engine.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pgleash::watchdog {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::array cost_kinds{
    RuleKind::sent_bytes, RuleKind::rows,       RuleKind::temp_bytes,
    RuleKind::xmin_age,   RuleKind::locks,      RuleKind::parallel_workers,
    RuleKind::cpu_time,   RuleKind::cpu_share,  RuleKind::memory,
    RuleKind::read_rate,  RuleKind::write_rate, RuleKind::wal};

config::Rule hog(RuleKind kind, std::uint64_t value, config::Duration limit,
                 Action action = Action::cancel) {
  config::Rule made = rule("hog", kind, limit, action);
  made.value = value;
  return made;
}

/// A statement that runs, an hour old, whose cost was `value` at `at`.
SessionBuilder running(RuleKind kind, std::uint64_t value, Instant at) {
  auto session = SessionBuilder{SessionState::busy, 1h}.in_transaction().row("active");
  if (kind == RuleKind::sent_bytes) session.facts().request_bytes = value;
  if (kind == RuleKind::rows) session.facts().request_rows = value;
  auto costs = std::make_shared<Costs>();
  costs->set(kind, value, at);
  session.entry().costs = std::move(costs);
  return session;
}

Snapshot at(Instant now, const SessionBuilder& session) {
  Snapshot snapshot = snapshot_of(session);
  snapshot.now = now;
  return snapshot;
}

TEST(CostRule, ActsOnlyAfterTheWholeLimitAboveTheValueInEachKind) {
  for (const RuleKind kind : cost_kinds) {
    auto rules = engine({hog(kind, 100, 10s)});
    const auto evaluate = [&](Duration after, std::uint64_t value) {
      return rules->evaluate(at(noon + after, running(kind, value, noon + after))).verdicts;
    };
    EXPECT_THAT(evaluate(0s, 101), IsEmpty()) << config::name(kind);
    EXPECT_THAT(evaluate(10s, 300), IsEmpty()) << config::name(kind);
    const auto found = evaluate(11s, 200);
    ASSERT_THAT(found, SizeIs(1)) << config::name(kind);
    EXPECT_EQ(found[0].measured, 11s);
    EXPECT_EQ(found[0].limit, 10s);
    EXPECT_EQ(found[0].cost->value, 200U);
    EXPECT_EQ(found[0].cost->threshold, 100U);
    EXPECT_EQ(found[0].counter, proxy::JudgedCounter::request);
    EXPECT_EQ(found[0].sqlstate, "57014");
    EXPECT_EQ(found[0].exemption, Exemption::none);
    EXPECT_THAT(evaluate(12s, 200), IsEmpty()) << "one verdict a request";
  }
}

TEST(CostRule, LeavesAloneWhoIsAtTheValue) {
  auto rules = engine({hog(RuleKind::temp_bytes, 100, 1s)});
  for (int s = 0; s < 60; s += 5) {
    const Instant now = noon + std::chrono::seconds{s};
    EXPECT_THAT(rules->evaluate(at(now, running(RuleKind::temp_bytes, 100, now))).verdicts,
                IsEmpty());
  }
}

TEST(CostRule, BeginsAnewWheneverItIsNotAboveOnce) {
  auto rules = engine({hog(RuleKind::cpu_share, 100, 10s)});
  const auto evaluate = [&](Duration after, std::uint64_t value) {
    return rules->evaluate(at(noon + after, running(RuleKind::cpu_share, value, noon + after)))
        .verdicts;
  };
  EXPECT_THAT(evaluate(0s, 150), IsEmpty());
  EXPECT_THAT(evaluate(8s, 90), IsEmpty());
  EXPECT_THAT(evaluate(9s, 150), IsEmpty());
  EXPECT_THAT(evaluate(18s, 150), IsEmpty());
  EXPECT_THAT(evaluate(20s, 150), SizeIs(1));
}

TEST(CostRule, BeginsAnewWithAnotherRequest) {
  auto rules = engine({hog(RuleKind::rows, 100, 10s)});
  auto session = running(RuleKind::rows, 500, noon);
  EXPECT_THAT(rules->evaluate(at(noon, session)).verdicts, IsEmpty());
  ++session.facts().mark.request;
  EXPECT_THAT(rules->evaluate(at(noon + 11s, session)).verdicts, IsEmpty());
  EXPECT_THAT(rules->evaluate(at(noon + 20s, session)).verdicts, IsEmpty());
  EXPECT_THAT(rules->evaluate(at(noon + 22s, session)).verdicts, SizeIs(1));
}

TEST(CostRule, ProvesNothingBeyondTheNewestMeasure) {
  auto rules = engine({hog(RuleKind::memory, 100, 10s)});
  const auto first = running(RuleKind::memory, 500, noon);
  EXPECT_THAT(rules->evaluate(at(noon, first)).verdicts, IsEmpty());
  // Twenty seconds on, and nobody has looked again.
  EXPECT_THAT(rules->evaluate(at(noon + 20s, first)).verdicts, IsEmpty());
  EXPECT_THAT(rules->evaluate(at(noon + 21s, running(RuleKind::memory, 500, noon + 21s))).verdicts,
              SizeIs(1));
}

TEST(CostRule, PausesWithoutAMeasureAndSaysSo) {
  for (const RuleKind kind : cost_kinds) {
    const bool in_band = kind == RuleKind::sent_bytes || kind == RuleKind::rows;
    auto rules = engine({hog(kind, 100, 10s)});
    auto session = running(kind, 500, noon);
    session.entry().costs = nullptr;
    EXPECT_THAT(rules->evaluate(at(noon, session)).verdicts, IsEmpty());
    EXPECT_THAT(rules->evaluate(at(noon + 11s, session)).verdicts, SizeIs(in_band ? 1 : 0))
        << config::name(kind);
    EXPECT_EQ(rules->status()[0].paused, in_band ? 0U : 1U) << config::name(kind);
  }
}

TEST(CostRule, PausesWhenTheMeasureIsOldOrOfAnEarlierRequest) {
  auto rules = engine({hog(RuleKind::locks, 100, 1s)});
  const auto old = running(RuleKind::locks, 500, noon);
  EXPECT_THAT(rules->evaluate(at(noon, old)).verdicts, IsEmpty());
  EXPECT_EQ(rules->status()[0].paused, 0U);
  EXPECT_THAT(rules->evaluate(at(noon + 31s, old)).verdicts, IsEmpty());
  EXPECT_EQ(rules->status()[0].paused, 1U);
  // It was above before and is above now: nobody knows what was between.
  EXPECT_THAT(rules->evaluate(at(noon + 32s, running(RuleKind::locks, 500, noon + 32s))).verdicts,
              IsEmpty());

  auto earlier = running(RuleKind::locks, 500, noon - 2h);
  EXPECT_THAT(rules->evaluate(at(noon - 2h + 1s, earlier)).verdicts, IsEmpty());
}

TEST(CostRule, JudgesNobodyWhoRunsNothing) {
  for (const SessionState state : {SessionState::idle, SessionState::idle_in_transaction,
                                   SessionState::aborted, SessionState::copy_in}) {
    auto rules = engine({hog(RuleKind::temp_bytes, 100, 1s, Action::terminate)});
    for (int s = 0; s < 60; s += 5) {
      auto session = SessionBuilder{state, 1h}.row("idle");
      auto costs = std::make_shared<Costs>();
      costs->set(RuleKind::temp_bytes, 500, noon + std::chrono::seconds{s});
      session.entry().costs = costs;
      EXPECT_THAT(rules->evaluate(at(noon + std::chrono::seconds{s}, session)).verdicts, IsEmpty());
    }
  }
}

TEST(CostRule, LeavesMaintenanceAndDumpsAlone) {
  const auto outcome = [](auto prepare) {
    auto rules = engine({hog(RuleKind::temp_bytes, 100, 1s)});
    Evaluation found;
    for (int s = 0; s < 10; s += 5) {
      auto session = running(RuleKind::temp_bytes, 500, noon + std::chrono::seconds{s});
      prepare(session);
      found = rules->evaluate(at(noon + std::chrono::seconds{s}, session));
    }
    return found.verdicts;
  };
  EXPECT_THAT(outcome([](SessionBuilder& it) { it.facts().statement.maintenance = true; }),
              IsEmpty());
  const auto dump = outcome([](SessionBuilder& it) { it.facts().dump_transaction = true; });
  ASSERT_THAT(dump, SizeIs(1));
  EXPECT_EQ(dump[0].exemption, Exemption::dump);
  EXPECT_THAT(outcome([](SessionBuilder&) {}), SizeIs(1));
}

TEST(CostRule, CountsAndWarnsBeforeItActs) {
  auto with_warning = hog(RuleKind::sent_bytes, 100, 10s);
  with_warning.warn = 2s;
  auto rules = engine({with_warning});
  const auto session = running(RuleKind::sent_bytes, 500, noon);
  EXPECT_THAT(rules->evaluate(at(noon, session)).warnings, IsEmpty());
  const auto found = rules->evaluate(at(noon + 3s, session));
  ASSERT_THAT(found.warnings, SizeIs(1));
  EXPECT_EQ(found.warnings[0].cost->value, 500U);
  EXPECT_THAT(found.verdicts, IsEmpty());
  EXPECT_THAT(rules->evaluate(at(noon + 11s, session)).verdicts, SizeIs(1));
}

TEST(CostRule, CountsTheTimeOfWhomItMatchesOnly) {
  auto for_others = hog(RuleKind::rows, 100, 1s);
  for_others.match.applications = {pattern("batch")};
  auto rules = engine({for_others});
  const auto session = running(RuleKind::rows, 500, noon);
  for (int s = 0; s < 10; ++s)
    EXPECT_THAT(rules->evaluate(at(noon + std::chrono::seconds{s}, session)).verdicts, IsEmpty());
}

TEST(CostRule, GoesOnCountingAfterAReloadWhereverTheRuleStandsThen) {
  auto before = engine({hog(RuleKind::rows, 100, 10s)});
  const auto session = running(RuleKind::rows, 500, noon);
  EXPECT_THAT(before->evaluate(at(noon, session)).verdicts, IsEmpty());
  auto other = hog(RuleKind::rows, 1000, 1s);
  other.name = "first";
  auto after = engine({other, hog(RuleKind::rows, 100, 10s)});
  after->inherit(*before, false);
  const auto found = after->evaluate(at(noon + 11s, session)).verdicts;
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].rule, "hog");
}

}  // namespace
}  // namespace pgleash::watchdog
