#include "watchdog/explain.hpp"

#include "session_builder.hpp"

#include <gmock/gmock.h>

namespace pgleash::watchdog {
namespace {

using testing::HasSubstr;
using testing::Not;

const std::chrono::system_clock::time_point wall{std::chrono::seconds{1'800'000'000}};

class Explain : public ::testing::Test {
 protected:
  static SessionExplanation explain(const std::vector<config::Rule>& rules, SessionEntry entry,
                                    const config::Protect& protect = {}) {
    const auto compiled = engine(rules, protect);
    const Snapshot snapshot = snapshot_of(entry);
    SessionExplanation made;
    made.rules = compiled->explain(snapshot.sessions[0], snapshot);
    made.session = std::move(entry);
    made.locks.mode = config::Mode::enforce;
    return made;
  }
  static RuleExplanation one(const config::Rule& rule, SessionEntry entry,
                             const config::Protect& protect = {}) {
    return explain({rule}, std::move(entry), protect).rules.at(0);
  }
};

TEST_F(Explain, NamesTheLimitAndTheSecondAtWhichItActs) {
  const auto found = explain({rule("idle-tx", RuleKind::idle_in_transaction, 300s)},
                             SessionBuilder{SessionState::idle_in_transaction, 100s});
  EXPECT_EQ(found.rules[0].standing, Standing::below);
  EXPECT_EQ(found.rules[0].age, 100s);
  EXPECT_EQ(found.rules[0].limit, 300s);
  EXPECT_EQ(found.rules[0].passes_in, 200s);
  EXPECT_EQ(found.acts_in(), 200s);
  const std::string text = to_text(found, wall);
  EXPECT_THAT(text, HasSubstr("100 s of 300 s; passes its limit in 200 s"));
  EXPECT_THAT(text, HasSubstr("rule 'idle-tx' acts (terminate) in 200 s, at 2027-01-15T08:03:20Z"));
}

TEST_F(Explain, ActsWhenTheEngineDoesAndNotBefore) {
  const auto limit = rule("idle", RuleKind::idle, 300s);
  for (const auto age : {299s, 300s, 301s}) {
    const Snapshot snapshot = snapshot_of(SessionBuilder{SessionState::idle, age});
    const auto compiled = engine({limit});
    const Standing standing = compiled->explain(snapshot.sessions[0], snapshot)[0].standing;
    const bool verdict = !compiled->evaluate(snapshot).verdicts.empty();
    EXPECT_EQ(standing == Standing::over, verdict) << age.count();
    // Looking changes nothing; after the verdict it says so.
    EXPECT_EQ(compiled->explain(snapshot.sessions[0], snapshot)[0].standing,
              verdict ? Standing::judged : Standing::below);
  }
}

TEST_F(Explain, SaysWhichKeyLeavesTheSessionOut) {
  auto limited = rule("r", RuleKind::idle, 300s);
  limited.match.applications = {pattern("checkout")};
  limited.match.users = {pattern("bob")};
  const RuleExplanation found = one(limited, SessionBuilder{SessionState::idle, 400s});
  EXPECT_EQ(found.standing, Standing::not_selected);
  EXPECT_EQ(found.why, "match.users does not match");
  limited.match.users = {pattern("alice")};
  limited.except.databases = {pattern("orders")};
  EXPECT_EQ(one(limited, SessionBuilder{SessionState::idle, 400s}).why, "except matches");
}

TEST_F(Explain, SaysWhatStateTheSessionIsInInstead) {
  const RuleExplanation found =
      one(rule("r", RuleKind::idle, 300s), SessionBuilder{SessionState::busy, 400s});
  EXPECT_EQ(found.standing, Standing::not_in_state);
  EXPECT_EQ(found.why, "it is " + std::string{protocol::name(SessionState::busy)});
  EXPECT_EQ(found.passes_in, std::nullopt);
}

TEST_F(Explain, NamesTheExemptionBeforeAndBehindTheLimit) {
  SessionBuilder listener{SessionState::idle, 100s};
  listener.facts().listening = true;
  RuleExplanation found = one(rule("r", RuleKind::idle, 300s), listener);
  EXPECT_EQ(found.standing, Standing::below);
  EXPECT_EQ(found.exemption, Exemption::listening);
  EXPECT_THAT(found.why, HasSubstr("exempt: listening"));
  listener.since(400s);
  found = one(rule("r", RuleKind::idle, 300s), listener);
  EXPECT_EQ(found.standing, Standing::exempt);
  EXPECT_THAT(to_text(explain({rule("r", RuleKind::idle, 300s)}, listener), wall),
              HasSubstr("no rule acts on it"));
}

TEST_F(Explain, MaintenanceIsSaidToBeMeantToRunLong) {
  SessionBuilder vacuum{SessionState::busy, 400s};
  vacuum.facts().statement.maintenance = true;
  EXPECT_THAT(one(rule("r", RuleKind::statement, 300s), vacuum).why,
              HasSubstr("meant to run long"));
}

TEST_F(Explain, WithoutAFreshSampleItSaysThatOnlyTheServerKnows) {
  const Snapshot blind = without_sample(snapshot_of(SessionBuilder{SessionState::copy_in, 400s}));
  const auto compiled = engine({rule("r", RuleKind::held, 300s)});
  EXPECT_EQ(compiled->explain(blind.sessions[0], blind)[0].standing, Standing::blind);
}

TEST_F(Explain, ARuleOfCostAsksForTheValueAndForAMeasure) {
  auto rows = rule("rows", RuleKind::rows, 300s);
  rows.value = 1000;
  SessionBuilder query{SessionState::busy, 400s};
  query.facts().request_rows = 10;
  EXPECT_EQ(one(rows, query).standing, Standing::not_in_state);
  EXPECT_THAT(one(rows, query).why, HasSubstr("not above the value"));
  auto memory = rule("memory", RuleKind::memory, 300s);
  memory.value = 1000;
  EXPECT_EQ(one(memory, query).standing, Standing::blind);
}

TEST_F(Explain, TellsWarnedFromBelowAndKnowsRulesWithoutALimit) {
  auto warns = rule("r", RuleKind::idle, 300s);
  warns.warn = 60s;
  EXPECT_EQ(one(warns, SessionBuilder{SessionState::idle, 59s}).standing, Standing::below);
  EXPECT_EQ(one(warns, SessionBuilder{SessionState::idle, 61s}).standing, Standing::warned);
  warns.limit.reset();
  const RuleExplanation found = one(warns, SessionBuilder{SessionState::idle, 61s});
  EXPECT_THAT(found.why, HasSubstr("its limit is off"));
  EXPECT_EQ(found.passes_in, std::nullopt);
}

TEST_F(Explain, ASessionThatNoRuleJudgesSaysWhy) {
  SessionBuilder ending{SessionState::idle, 400s};
  ending.entry().view.ending = true;
  EXPECT_EQ(one(rule("r", RuleKind::idle, 300s), ending).why, "its end is under way");
  SessionBuilder degraded{SessionState::idle, 400s};
  degraded.facts().degraded = true;
  EXPECT_EQ(one(rule("r", RuleKind::idle, 300s), degraded).standing, Standing::not_judged);
}

TEST_F(Explain, TheFirstToActIsTheSoonestAndAmongEqualsTheFirstInOrder) {
  const auto found =
      explain({rule("watch", RuleKind::idle, 110s, Action::observe),
               rule("later", RuleKind::idle, 300s), rule("age", RuleKind::session_age, 2h),
               rule("soon", RuleKind::idle, 200s), rule("soon-too", RuleKind::idle, 200s)},
              SessionBuilder{SessionState::idle, 100s});
  ASSERT_NE(found.first_to_act(), nullptr);
  EXPECT_EQ(found.first_to_act()->rule, "soon");
}

TEST_F(Explain, TheHoldOffAndTheModeStandBetween) {
  auto found = explain({rule("r", RuleKind::idle, 300s)}, SessionBuilder{SessionState::idle, 290s});
  found.locks.hold_off = 60s;
  EXPECT_EQ(found.acts_in(), 60s);
  EXPECT_THAT(to_text(found, wall),
              HasSubstr("in 60 s, at 2027-01-15T08:01:00Z, when the hold-off"));
  found.locks.mode = config::Mode::observe;
  EXPECT_THAT(to_text(found, wall), HasSubstr("would act (terminate), but the mode is observe"));
}

TEST_F(Explain, NamesOfClientsCannotBreakTheLine) {
  const std::string text = to_text(
      explain({}, SessionBuilder{SessionState::idle}.application("a\nrule 'x' acts\x1b[2J")), wall);
  EXPECT_THAT(text, HasSubstr("a\\x0arule"));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
}

}  // namespace
}  // namespace pgleash::watchdog
