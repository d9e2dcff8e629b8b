#include "watchdog/group_rule.hpp"

#include "session_builder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace pgleash::watchdog {
namespace {

using config::GroupBy;
using config::GroupVictims;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

config::Rule group(GroupVictims victims, std::uint32_t at_least = 3,
                   GroupBy by = GroupBy::fingerprint) {
  config::Rule made = rule("stampede", RuleKind::group, 10s, Action::cancel);
  made.victims = victims;
  made.at_least = at_least;
  made.group_by = by;
  return made;
}

SessionBuilder running(std::int32_t pid, Duration age, std::uint64_t fingerprint = 7) {
  auto made = SessionBuilder{SessionState::busy, age}.pid(pid).row("active");
  made.entry().fingerprint = fingerprint;
  return made;
}

std::set<std::int32_t> pids(const Evaluation& found) {
  std::set<std::int32_t> all;
  for (const auto& verdict : found.verdicts)
    all.insert(static_cast<std::int32_t>(*verdict.session.view.who->pid));
  return all;
}

TEST(GroupRule, LeavesTheOldestOfFifty) {
  Snapshot snapshot = snapshot_of();
  for (int i = 1; i <= 50; ++i) snapshot.sessions.push_back(running(i, 10s + i * 1ms));
  const auto found = engine({group(GroupVictims::all_but_oldest, 20)})->evaluate(snapshot);
  EXPECT_THAT(found.verdicts, SizeIs(49));
  EXPECT_FALSE(pids(found).contains(50));
  EXPECT_EQ(found.verdicts[0].others, 50U);
  EXPECT_EQ(found.verdicts[0].counter, proxy::JudgedCounter::request);
  EXPECT_EQ(found.verdicts[0].sqlstate, "57014");
}

TEST(GroupRule, PicksTheOldestOrAllWhenItIsToldTo) {
  const auto snapshot = snapshot_of(running(1, 12s), running(2, 13s), running(3, 11s));
  EXPECT_THAT(pids(engine({group(GroupVictims::oldest)})->evaluate(snapshot)), ElementsAre(2));
  EXPECT_THAT(pids(engine({group(GroupVictims::all)})->evaluate(snapshot)), ElementsAre(1, 2, 3));
}

TEST(GroupRule, CountsOnlyStatementsOverItsLimit) {
  const auto snapshot = snapshot_of(running(1, 12s), running(2, 13s), running(3, 10s));
  EXPECT_THAT(pids(engine({group(GroupVictims::all)})->evaluate(snapshot)), IsEmpty());
}

TEST(GroupRule, TellsGroupsApartByWhatItIsAskedTo) {
  const auto snapshot =
      snapshot_of(running(1, 12s, 7), running(2, 12s, 7), running(3, 12s, 8).application("stock"),
                  running(4, 12s, 9).application("stock").client("10.0.0.8"),
                  running(5, 12s, 9).application("stock").client("10.0.0.8"));
  const auto victims = [&](GroupBy by, std::uint32_t at_least) {
    return pids(engine({group(GroupVictims::all, at_least, by)})->evaluate(snapshot));
  };
  EXPECT_THAT(victims(GroupBy::fingerprint, 3), IsEmpty());
  EXPECT_THAT(victims(GroupBy::fingerprint, 2), ElementsAre(1, 2, 4, 5));
  EXPECT_THAT(victims(GroupBy::application, 3), ElementsAre(3, 4, 5));
  EXPECT_THAT(victims(GroupBy::client, 3), ElementsAre(1, 2, 3));
}

TEST(GroupRule, LeavesOutStatementsWhoseFingerprintIsNotKnown) {
  auto unknown = running(3, 12s);
  unknown.entry().fingerprint.reset();
  const auto snapshot = snapshot_of(running(1, 12s), running(2, 13s), unknown);
  const auto rules = engine({group(GroupVictims::all)});
  EXPECT_THAT(pids(rules->evaluate(snapshot)), IsEmpty());
  EXPECT_EQ(rules->status()[0].paused, 1U);
  EXPECT_EQ(rules->needs().fingerprint, 5s) << "asked for in time";
  EXPECT_THAT(pids(engine({group(GroupVictims::all, 3, GroupBy::application)})->evaluate(snapshot)),
              ElementsAre(1, 2, 3));
}

TEST(GroupRule, CountsWhoIsExemptAndSparesHim) {
  auto dump = running(2, 13s);
  dump.facts().dump_transaction = true;
  const auto snapshot = snapshot_of(running(1, 12s), dump, running(3, 11s));
  const auto found = engine({group(GroupVictims::all)})->evaluate(snapshot);
  ASSERT_THAT(found.verdicts, SizeIs(3));
  for (const auto& verdict : found.verdicts) {
    const bool is_dump = verdict.session.view.facts.dump_transaction;
    EXPECT_EQ(verdict.exemption, is_dump ? Exemption::dump : Exemption::none);
  }
}

TEST(GroupRule, DoesNotForgetAVictimThatWasDeferredWhenItsGroupShrinks) {
  const auto rules = engine({group(GroupVictims::all_but_oldest)});
  const auto first =
      rules->evaluate(snapshot_of(running(1, 12s), running(2, 13s), running(3, 14s)));
  ASSERT_THAT(pids(first), ElementsAre(1, 2));
  for (const auto& verdict : first.verdicts) rules->forget(verdict);
  EXPECT_THAT(pids(rules->evaluate(snapshot_of(running(2, 13s), running(3, 14s)))), ElementsAre(2));
  auto next = running(2, -1s);
  ++next.facts().mark.request;
  Snapshot later = snapshot_of(next, running(3, 14s));
  later.now = noon + 12s;
  later.sample_age = 0s;
  EXPECT_THAT(pids(rules->evaluate(later)), IsEmpty()) << "a later statement was never chosen";
}

/// Fifty do not come over the limit in one moment, and the first are ended before the last do.
TEST(GroupRule, CountsWhoRanAlreadyWhenTheGroupWasLargeEnough) {
  const auto rules = engine({group(GroupVictims::all_but_oldest)});
  EXPECT_THAT(pids(rules->evaluate(
                  snapshot_of(running(1, 12s), running(2, 13s), running(3, 14s), running(4, 2s)))),
              ElementsAre(1, 2));
  const auto later = [](const SessionEntry& a, const SessionEntry& b) {
    Snapshot snapshot = snapshot_of(a, b);
    snapshot.now = noon + 9s;
    snapshot.sample_age = 0s;
    return snapshot;
  };
  EXPECT_THAT(pids(rules->evaluate(later(running(3, 14s), running(4, 2s)))), ElementsAre(4));
  const auto fresh = engine({group(GroupVictims::all_but_oldest)});
  EXPECT_THAT(pids(fresh->evaluate(later(running(3, 14s), running(4, 2s)))), IsEmpty())
      << "two alone are no herd";
}

TEST(GroupRule, EndsNotOneOldestAfterTheOther) {
  const auto rules = engine({group(GroupVictims::oldest)});
  EXPECT_THAT(pids(rules->evaluate(snapshot_of(running(1, 12s), running(2, 13s), running(3, 14s)))),
              ElementsAre(3));
  EXPECT_THAT(pids(rules->evaluate(snapshot_of(running(1, 12s), running(2, 13s)))), IsEmpty());
}

TEST(GroupRule, WarnsOfAGroupThatIsNotOverItsLimitYet) {
  auto rule = group(GroupVictims::all);
  rule.warn = 5s;
  const auto found =
      engine({rule})->evaluate(snapshot_of(running(1, 6s), running(2, 12s), running(3, 7s)));
  EXPECT_THAT(found.warnings, SizeIs(3));
  EXPECT_THAT(found.verdicts, IsEmpty());
}

TEST(GroupRule, ExplainsToEachOfAHerdHowItStands) {
  auto stampede = group(GroupVictims::all_but_oldest);
  stampede.warn = 5s;
  const auto compiled = engine({stampede});
  const auto at_all = [&](const Snapshot& snapshot) {
    (void)compiled->evaluate(snapshot);
    std::vector<RuleExplanation> all;
    for (const auto& entry : snapshot.sessions)
      all.push_back(compiled->explain(entry, snapshot).at(0));
    return all;
  };
  const auto warned = at_all(snapshot_of(running(1, 8s), running(2, 7s), running(3, 6s)));
  EXPECT_EQ(warned[0].standing, Standing::not_in_state) << "the oldest is left";
  EXPECT_EQ(warned[1].standing, Standing::warned);
  EXPECT_EQ(warned[1].passes_in, 3s);
  EXPECT_EQ(warned[1].why, "3 statements like its own run beside it, 7 s of 10 s");
  const auto over = at_all(snapshot_of(running(1, 12s), running(2, 13s), running(3, 11s)));
  EXPECT_EQ(over[0].standing, Standing::judged);
  EXPECT_EQ(over[0].age, 12s);
}

}  // namespace
}  // namespace pgleash::watchdog
