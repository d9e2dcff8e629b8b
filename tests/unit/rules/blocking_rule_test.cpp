#include "watchdog/blocking_rule.hpp"

#include "lock_scene.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pgleash::watchdog {
namespace {

using config::Victim;
using ::testing::IsEmpty;
using ::testing::SizeIs;

config::Rule blocking(Victim victim = Victim::automatic, Action action = Action::terminate) {
  config::Rule made = rule("lock-queue", RuleKind::blocking, 60s, action);
  made.victim = victim;
  return made;
}

Evaluation judged(const config::Rule& rule, const Snapshot& snapshot,
                  const config::Protect& protect = {}) {
  return engine({rule}, protect)->evaluate(snapshot);
}

std::int32_t pid_of(const Verdict& verdict) {
  return static_cast<std::int32_t>(*verdict.session.view.who->pid);
}

/// Three writers that wait for a row which `holder` changed.
LockScene row_queue(const SessionBuilder& holder) {
  LockScene scene;
  scene.session(holder)
      .waits(2, {1}, "ShareLock", 80s, "transactionid/77")
      .waits(3, {2}, "ExclusiveLock", 75s, "tuple/1/2/3/4")
      .waits(4, {3, 2}, "ExclusiveLock", 70s, "tuple/1/2/3/4");
  return scene;
}

/// A reader that works, an ALTER behind it, and two more readers behind that.
LockScene alter_queue(const SessionBuilder& holder) {
  LockScene scene;
  scene.session(holder)
      .waits(2, {1}, "AccessExclusiveLock", 80s)
      .waits(3, {2}, "AccessShareLock", 75s)
      .waits(4, {2}, "AccessShareLock", 70s);
  return scene;
}

TEST(BlockingRule, EndsAnIdleRootAndSaysWhatItBlocked) {
  auto scene = row_queue(idle_holder(1));
  const auto found = judged(blocking(), scene.snapshot());
  ASSERT_THAT(found.verdicts, SizeIs(1));
  const Verdict& verdict = found.verdicts[0];
  EXPECT_EQ(pid_of(verdict), 1);
  EXPECT_EQ(verdict.action, Action::terminate);
  EXPECT_EQ(verdict.counter, proxy::JudgedCounter::transaction);
  EXPECT_TRUE(verdict.waits_for_client);
  EXPECT_EQ(verdict.sqlstate, "25P03");
  EXPECT_EQ(verdict.others, 3U);
  EXPECT_EQ(verdict.measured, 70s) << "since when there are three";
  EXPECT_EQ(verdict.exemption, Exemption::none);
}

TEST(BlockingRule, ExplainsToTheRootWhoWaitsForItAndForHowLong) {
  auto scene = row_queue(idle_holder(1));
  auto rule = blocking();
  rule.limit = 100s;
  rule.warn = 60s;
  const auto snapshot = scene.snapshot();
  const auto compiled = engine({rule});
  (void)compiled->evaluate(snapshot);
  const RuleExplanation root = compiled->explain(snapshot.sessions.at(0), snapshot).at(0);
  EXPECT_EQ(root.standing, Standing::warned);
  EXPECT_EQ(root.passes_in, 30s);
  EXPECT_EQ(root.why, "3 other sessions wait for it, 70 s of 100 s");
  const RuleExplanation waiter = compiled->explain(snapshot.sessions.at(1), snapshot).at(0);
  EXPECT_EQ(waiter.standing, Standing::not_in_state);
}

TEST(BlockingRule, WantsSoManyToWaitForSoLong) {
  auto scene = row_queue(idle_holder(1));
  auto rule = blocking();
  rule.limit = 70s;
  EXPECT_THAT(judged(rule, scene.snapshot()).verdicts, IsEmpty());
  rule.limit = 69s;
  EXPECT_THAT(judged(rule, scene.snapshot()).verdicts, SizeIs(1));
  rule.blocked_at_least = 4;
  EXPECT_THAT(judged(rule, scene.snapshot()).verdicts, IsEmpty());
  rule.blocked_at_least = 1;
  rule.limit = 79s;
  EXPECT_EQ(judged(rule, scene.snapshot()).verdicts.at(0).measured, 80s);
}

TEST(BlockingRule, BlamesNobodyForWaitsItWasNotSeenToCause) {
  auto scene = row_queue(idle_holder(1));
  Snapshot snapshot = scene.snapshot();
  snapshot.blocking = scene.forest();  // the first time anybody looks
  EXPECT_THAT(judged(blocking(), snapshot).verdicts, IsEmpty());
}

TEST(BlockingRule, EndsASessionThatHoldsAnAdvisoryLockOutsideOfATransaction) {
  auto holder = SessionBuilder{SessionState::idle, 5min}.pid(1);
  holder.entry().advisory_lock = true;
  LockScene scene;
  scene.session(holder);
  for (const auto pid : {2, 3, 4}) scene.waits(pid, {1}, "ExclusiveLock", 70s, "advisory/1/0/42/1");
  const auto found = judged(blocking(), scene.snapshot());
  ASSERT_THAT(found.verdicts, SizeIs(1));
  EXPECT_EQ(found.verdicts[0].sqlstate, "57P05");
  EXPECT_EQ(found.verdicts[0].exemption, Exemption::none);
}

TEST(BlockingRule, SparesAWorkingRootAndCancelsTheStrongLockInTheQueue) {
  auto scene = alter_queue(working_holder(1));
  const auto found = judged(blocking(), scene.snapshot());
  ASSERT_THAT(found.verdicts, SizeIs(1));
  const Verdict& verdict = found.verdicts[0];
  EXPECT_EQ(pid_of(verdict), 2);
  EXPECT_EQ(verdict.action, Action::cancel);
  EXPECT_EQ(verdict.counter, proxy::JudgedCounter::request);
  EXPECT_FALSE(verdict.waits_for_client);
  EXPECT_EQ(verdict.sqlstate, "57014");
  EXPECT_EQ(verdict.others, 2U);
}

TEST(BlockingRule, OnlyReportsAWorkingRootOfAQueueForARow) {
  auto scene = row_queue(working_holder(1));
  const auto found = judged(blocking(), scene.snapshot());
  ASSERT_THAT(found.verdicts, SizeIs(1));
  EXPECT_EQ(pid_of(found.verdicts[0]), 1);
  EXPECT_EQ(found.verdicts[0].action, Action::observe);
}

TEST(BlockingRule, TakesARootThatIsBetweenTwoStatementsForAWorkingOne) {
  auto holder = idle_holder(1);
  holder.facts().state_since = noon - 5s;
  auto scene = alter_queue(holder);
  EXPECT_EQ(pid_of(judged(blocking(), scene.snapshot()).verdicts.at(0)), 2);
  holder.facts().state_since = noon - 6s;
  scene = alter_queue(holder);
  EXPECT_EQ(pid_of(judged(blocking(), scene.snapshot()).verdicts.at(0)), 1);
  holder.facts().half_message = true;
  holder.facts().last_frontend_byte = noon - 1s;
  scene = alter_queue(holder);
  EXPECT_EQ(pid_of(judged(blocking(), scene.snapshot()).verdicts.at(0)), 2);
}

TEST(BlockingRule, TakesTheIdleLeaderOfADumpForAWorkingRoot) {
  auto leader = idle_holder(1);
  leader.facts().dump_transaction = true;
  auto scene = alter_queue(leader);
  EXPECT_EQ(pid_of(judged(blocking(), scene.snapshot()).verdicts.at(0)), 2);
}

TEST(BlockingRule, DoesNotEndOneOfTwoHoldersWhenTheOtherStays) {
  LockScene scene;
  scene.session(idle_holder(1)).session(working_holder(9));
  for (const auto pid : {2, 3, 4}) scene.waits(pid, {1, 9}, "RowExclusiveLock");
  for (const auto& verdict : judged(blocking(), scene.snapshot()).verdicts)
    EXPECT_EQ(verdict.action, Action::observe) << pid_of(verdict);

  LockScene both;
  both.session(idle_holder(1)).session(idle_holder(9));
  for (const auto pid : {2, 3, 4}) both.waits(pid, {1, 9}, "RowExclusiveLock");
  const auto found = judged(blocking(), both.snapshot());
  ASSERT_THAT(found.verdicts, SizeIs(2));
  for (const auto& verdict : found.verdicts) EXPECT_EQ(verdict.action, Action::terminate);
}

TEST(BlockingRule, SparesASuperuserAndSaysSo) {
  auto holder = idle_holder(1);
  holder.entry().superuser = true;
  auto scene = row_queue(holder);
  const auto found = judged(blocking(), scene.snapshot());
  ASSERT_THAT(found.verdicts, SizeIs(1));
  EXPECT_EQ(found.verdicts[0].exemption, Exemption::superuser);
  // In an ALTER's queue it still helps to cancel that.
  scene = alter_queue(holder);
  EXPECT_EQ(pid_of(judged(blocking(), scene.snapshot()).verdicts.at(0)), 2);
}

TEST(BlockingRule, ReportsWhoIsNotOursOnceAndEndsNobody) {
  LockScene scene;
  scene.direct_session(1, "bob").prepared("tpc", "relation/1/9");
  for (const auto pid : {2, 3, 4}) scene.waits(pid, {1}, "RowExclusiveLock");
  for (const auto pid : {5, 6, 7}) scene.waits(pid, {0}, "RowExclusiveLock", 70s, "relation/1/9");
  const auto rules = engine({blocking()});
  const auto found = rules->evaluate(scene.snapshot());
  EXPECT_THAT(found.verdicts, IsEmpty());
  ASSERT_THAT(found.blocking, SizeIs(2));
  EXPECT_EQ(found.blocking[0].root.user, "bob");
  EXPECT_EQ(found.blocking[0].blocked, 3U);
  EXPECT_EQ(found.blocking[0].measured, 70s);
  EXPECT_EQ(found.blocking[1].root.gid, "tpc");
  EXPECT_THAT(rules->evaluate(scene.snapshot()).blocking, IsEmpty());
  (void)rules->evaluate(snapshot_of());
  EXPECT_THAT(rules->evaluate(scene.snapshot()).blocking, SizeIs(2)) << "there again";
}

TEST(BlockingRule, EndsTheRootWhateverItDoesWhenThatIsTheVictim) {
  auto scene = row_queue(working_holder(1));
  auto found = judged(blocking(Victim::root), scene.snapshot());
  ASSERT_THAT(found.verdicts, SizeIs(1));
  EXPECT_EQ(pid_of(found.verdicts[0]), 1);
  EXPECT_EQ(found.verdicts[0].action, Action::cancel);
  EXPECT_EQ(found.verdicts[0].counter, proxy::JudgedCounter::transaction);
  EXPECT_EQ(found.verdicts[0].sqlstate, "57014");
  found = judged(blocking(Victim::root, Action::escalate), scene.snapshot());
  EXPECT_EQ(found.verdicts.at(0).action, Action::escalate);
  EXPECT_EQ(found.verdicts.at(0).sqlstate, "57P05");
  auto idle = row_queue(idle_holder(1));
  EXPECT_EQ(judged(blocking(Victim::root), idle.snapshot()).verdicts.at(0).action,
            Action::terminate);
}

TEST(BlockingRule, CancelsTheQueueHeadOrNobodyWhenThatIsTheVictim) {
  auto scene = alter_queue(idle_holder(1));
  EXPECT_EQ(pid_of(judged(blocking(Victim::queue_head), scene.snapshot()).verdicts.at(0)), 2);
  auto rows = row_queue(idle_holder(1));
  const auto found = judged(blocking(Victim::queue_head), rows.snapshot());
  EXPECT_EQ(found.verdicts.at(0).action, Action::observe);
}

TEST(BlockingRule, OnlyObservesWithoutAVictimOrWithoutAnAction) {
  auto scene = row_queue(idle_holder(1));
  for (const auto& rule :
       {blocking(Victim::none, Action::observe), blocking(Victim::automatic, Action::observe)}) {
    const auto found = judged(rule, scene.snapshot());
    ASSERT_THAT(found.verdicts, SizeIs(1));
    EXPECT_EQ(pid_of(found.verdicts[0]), 1);
    EXPECT_EQ(found.verdicts[0].action, Action::observe);
  }
}

TEST(BlockingRule, SelectsTheVictimByMatchAndNotThoseItBlocks) {
  auto scene = row_queue(idle_holder(1).application("reports"));
  auto rule = blocking();
  rule.match.applications = {pattern("checkout")};
  EXPECT_THAT(judged(rule, scene.snapshot()).verdicts, IsEmpty());
  rule.match.applications = {pattern("reports")};
  EXPECT_THAT(judged(rule, scene.snapshot()).verdicts, SizeIs(1));
}

TEST(BlockingRule, DoesNotTakeTheNextTransactionForTheOneThatWasSeen) {
  auto scene = row_queue(idle_holder(1));
  Snapshot later = scene.snapshot();
  later.now = noon + 20s;
  auto& facts = later.sessions[0].view.facts;
  facts.state_since = facts.transaction_since = noon + 1s;
  EXPECT_THAT(judged(blocking(), later).verdicts, IsEmpty());
}

TEST(BlockingRule, DoesNotTakeTheNextStatementForTheOneThatWaits) {
  auto scene = alter_queue(working_holder(1));
  Snapshot later = scene.snapshot();
  later.sessions[1].view.facts.request_since = noon - 79s;  // it waits for 80 s
  for (const auto& verdict : judged(blocking(), later).verdicts)
    EXPECT_EQ(verdict.action, Action::observe) << pid_of(verdict);
}

TEST(BlockingRule, BelievesNoOldSample) {
  auto scene = row_queue(idle_holder(1));
  Snapshot later = scene.snapshot();
  later.now = noon + 30s;
  EXPECT_THAT(judged(blocking(), later).verdicts, SizeIs(1));
  later.now = noon + 31s;
  EXPECT_THAT(judged(blocking(), later).verdicts, IsEmpty());
  EXPECT_THAT(judged(blocking(), without_sample(scene.snapshot())).verdicts, IsEmpty());
}

TEST(BlockingRule, GivesOneVerdictATransaction) {
  auto scene = row_queue(idle_holder(1));
  const auto rules = engine({blocking()});
  const auto first = rules->evaluate(scene.snapshot());
  ASSERT_THAT(first.verdicts, SizeIs(1));
  EXPECT_THAT(rules->evaluate(scene.snapshot()).verdicts, IsEmpty());
  rules->forget(first.verdicts[0]);
  EXPECT_THAT(rules->evaluate(scene.snapshot()).verdicts, SizeIs(1));
}

TEST(BlockingRule, WarnsBeforeItActs) {
  auto scene = row_queue(idle_holder(1));
  auto rule = blocking();
  rule.limit = 5min;
  rule.warn = 60s;
  const auto found = judged(rule, scene.snapshot());
  EXPECT_THAT(found.verdicts, IsEmpty());
  ASSERT_THAT(found.warnings, SizeIs(1));
  EXPECT_EQ(found.warnings[0].action, Action::observe);
}

}  // namespace
}  // namespace pgleash::watchdog
