#include "tests/scenario/story/story.hpp"

#include <deque>

/// Who waits for whom: the right one is ended, and the others go on.
namespace pgleash::test {
namespace {

constexpr auto soon = 10s;

/// What still runs would go on after its client's goodbye, as it does directly, and keep its locks.
class Busy : public Story {
 protected:
  void TearDown() override {
    if (!IsSkipped()) {
      postgres().sql(
          "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IN ('app', "
          "'boss')");
    }
    Story::TearDown();
  }
};

class Blocking : public Busy {
 protected:
  void SetUp() override {
    Story::SetUp();
    if (IsSkipped()) return;
    postgres().sql(
        "DROP TABLE IF EXISTS stock; CREATE TABLE stock (id int PRIMARY KEY, n int);"
        "INSERT INTO stock VALUES (1, 0); ALTER TABLE stock OWNER TO app",
        "orders");
  }
  void start(const std::string& more = {}, const std::string& action = "terminate") {
    pgleash({.rules = rule("lock-queue", "blocking", "500ms", action, more)});
  }
  /// A session of its own that runs this, and waits for a lock.
  Application& blocked(const std::string& sql) {
    Application& one = waiters_.emplace_back(pgleash().words());
    one.send(sql);
    const auto waits = fmt::format(
        "SELECT 1 FROM pg_stat_activity WHERE pid = {} AND wait_event_type = 'Lock'", one.pid());
    EXPECT_TRUE(wait_until([&] { return postgres().value(waits) == "1"; }, soon)) << sql;
    return one;
  }
  void expect_all_go_on() {
    for (auto& one : waiters_) EXPECT_FALSE(one.finish()) << "a waiter was hit";
    waiters_.clear();
  }
  double metric(const std::string& name, const Labels& labels = {}) {
    return pgleash().metric("pgleash_" + name, labels);
  }

  std::deque<Application> waiters_;
};

TEST_F(Blocking, AnIdleRootIsEndedAndItsWaitersGoOn) {
  start();
  auto holder = login();
  holder.exec("BEGIN");
  holder.exec("UPDATE stock SET n = 1 WHERE id = 1");
  for (int i = 0; i < 3; ++i) blocked("UPDATE stock SET n = n + 10 WHERE id = 1");
  const auto error = holder.ended(soon);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->severity, "FATAL");
  EXPECT_EQ(error->sqlstate, "25P03");
  EXPECT_THAT(error->message, AllOf(HasSubstr("idle in transaction, blocking 3 sessions for "),
                                    HasSubstr("(pgleash rule 'lock-queue', limit 0.5 s)")));
  const auto line = outcome_line(error->incident());
  EXPECT_EQ(text(line, "outcome"), "confirmed");
  EXPECT_EQ(number(line, "others"), 3);
  expect_all_go_on();
  EXPECT_EQ(postgres().value("SELECT n FROM stock", "orders"), "30")
      << "the holder's change is gone";
}

TEST_F(Blocking, TwoWaitersAreNotEnough) {
  start();
  auto holder = login();
  holder.exec("BEGIN");
  holder.exec("UPDATE stock SET n = 1 WHERE id = 1");
  blocked("UPDATE stock SET n = n + 10 WHERE id = 1");
  blocked("UPDATE stock SET n = n + 10 WHERE id = 1");
  EXPECT_TRUE(wait_until([&] { return metric("blocking_sessions") == 1; }, soon));
  EXPECT_TRUE(wait_until([&] { return metric("longest_block_seconds") > 1; }, soon));
  EXPECT_EQ(metric("blocked_sessions"), 2);
  EXPECT_EQ(metric("blocker_sessions", {{"application", "checkout"}}), 1);
  EXPECT_EQ(holder.exec("SELECT 'not ended'"), "not ended");
  EXPECT_EQ(metric("actions_total", {{"rule", "lock-queue"}}), 0);
  holder.exec("COMMIT");
  expect_all_go_on();
  EXPECT_TRUE(wait_until([&] { return metric("blocking_sessions") == 0; }, soon));
}

TEST_F(Blocking, OfADumpAnAlterAndReadersOnlyTheAlterIsCancelled) {
  start();
  auto dump = login();
  dump.exec("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
  dump.exec("SELECT count(*) FROM stock");
  dump.send("SELECT 'dumped' FROM pg_sleep(600)");
  auto& alter = blocked("ALTER TABLE stock ADD COLUMN more int");
  for (int i = 0; i < 3; ++i) blocked("SELECT count(*) FROM stock");
  const auto error = alter.finish();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->severity, "ERROR");
  EXPECT_EQ(error->sqlstate, "57014");
  EXPECT_THAT(error->message,
              HasSubstr("waiting for a lock with 3 sessions queued behind it for "));
  EXPECT_EQ(text(outcome_line(error->incident()), "outcome"), "confirmed");
  EXPECT_EQ(alter.exec("SELECT 'the session lives on'"), "the session lives on");
  waiters_.pop_front();
  expect_all_go_on();
  EXPECT_EQ(state_of(dump.pid()), "active");
  EXPECT_TRUE(wait_until([&] { return acted("lock-queue", "confirmed") == 1; }, soon));
}

TEST_F(Blocking, AWorkingRootOfARowIsOnlyReported) {
  start();
  auto holder = login();
  holder.exec("BEGIN");
  holder.exec("UPDATE stock SET n = 1 WHERE id = 1");
  holder.send("SELECT 'worked on' FROM pg_sleep(4)");
  for (int i = 0; i < 3; ++i) blocked("UPDATE stock SET n = n + 10 WHERE id = 1");
  EXPECT_TRUE(wait_until([&] { return acted("lock-queue", "observed") == 1; }, soon));
  EXPECT_FALSE(holder.finish());
  holder.exec("COMMIT");
  expect_all_go_on();
  EXPECT_EQ(metric("session_ends_total", {{"cause", "rule"}}), 0);
}

TEST_F(Blocking, AWorkingRootIsCancelledWhenItIsTheVictim) {
  start("victim = \"root\"");
  auto holder = login();
  holder.exec("BEGIN");
  holder.exec("UPDATE stock SET n = 1 WHERE id = 1");
  holder.send("SELECT pg_sleep(600)");
  for (int i = 0; i < 3; ++i) blocked("UPDATE stock SET n = n + 10 WHERE id = 1");
  const auto error = holder.finish();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->sqlstate, "57014");
  EXPECT_THAT(error->message, HasSubstr("running, blocking 3 sessions for "));
  expect_all_go_on();
  EXPECT_EQ(holder.error_of("SELECT 1")->sqlstate, "25P02") << "its transaction is aborted";
  holder.exec("ROLLBACK");
}

TEST_F(Blocking, AnAdvisoryLockBlocksLikeAnyOther) {
  start();
  auto holder = login();
  holder.exec("SELECT pg_advisory_lock(42)");
  for (int i = 0; i < 3; ++i) blocked("SELECT pg_advisory_lock_shared(42)");
  const auto error = holder.ended(soon);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->sqlstate, "57P05");
  EXPECT_THAT(error->message, HasSubstr("idle, blocking 3 sessions for "));
  expect_all_go_on();
}

TEST_F(Blocking, APreparedTransactionIsReportedAndNobodyIsEnded) {
  if (postgres().value("SHOW max_prepared_transactions") == "0") {
    postgres().sql("ALTER SYSTEM SET max_prepared_transactions = 5");
    postgres().restart();
  }
  start();
  {
    auto gone = login();
    gone.exec("BEGIN");
    gone.exec("UPDATE stock SET n = 1 WHERE id = 1");
    gone.exec("PREPARE TRANSACTION 'forgotten'");
  }
  for (int i = 0; i < 3; ++i) blocked("UPDATE stock SET n = n + 10 WHERE id = 1");
  EXPECT_TRUE(wait_until([&] { return pgleash().log("blocking.reported").size() == 1; }, soon));
  const auto line = pgleash().log("blocking.reported").at(0);
  EXPECT_EQ(text(line, "root"), "prepared");
  EXPECT_EQ(text(line, "gid"), "forgotten");
  EXPECT_EQ(number(line, "blocked"), 3);
  EXPECT_EQ(metric("actions_total", {{"rule", "lock-queue"}}), 0);
  postgres().sql("COMMIT PREPARED 'forgotten'", "orders");
  expect_all_go_on();
}

TEST_F(Blocking, NobodyIsEndedWithoutAVictim) {
  start("victim = \"none\"", "observe");
  auto holder = login();
  holder.exec("BEGIN");
  holder.exec("UPDATE stock SET n = 1 WHERE id = 1");
  for (int i = 0; i < 3; ++i) blocked("UPDATE stock SET n = n + 10 WHERE id = 1");
  EXPECT_TRUE(wait_until([&] { return acted("lock-queue", "observed") == 1; }, soon));
  EXPECT_EQ(holder.exec("SELECT 'not ended'"), "not ended");
  holder.exec("COMMIT");
  expect_all_go_on();
}

TEST_F(Blocking, ASuperuserAndADirectSessionAreSpared) {
  postgres().sql("DROP ROLE IF EXISTS boss");
  postgres().create_role("boss", "boss", "SUPERUSER");
  start();
  auto boss = login({{"user", "boss"}, {"password", "boss"}});
  boss.exec("BEGIN");
  boss.exec("UPDATE stock SET n = 1 WHERE id = 1");
  for (int i = 0; i < 3; ++i) blocked("UPDATE stock SET n = n + 10 WHERE id = 1");
  EXPECT_TRUE(wait_until([&] { return acted("lock-queue", "exempted") == 1; }, soon));
  EXPECT_EQ(metric("rule_exempted_total", {{"exemption", "superuser"}}), 1);
  EXPECT_EQ(boss.exec("SELECT 'not ended'"), "not ended");
  boss.exec("COMMIT");
  expect_all_go_on();

  auto direct = server().login({{"application_name", "by-hand"}});
  direct.exec("BEGIN");
  direct.exec("UPDATE stock SET n = 1 WHERE id = 1");
  for (int i = 0; i < 3; ++i) blocked("UPDATE stock SET n = n + 10 WHERE id = 1");
  EXPECT_TRUE(wait_until([&] { return pgleash().log("blocking.reported").size() == 1; }, soon));
  const auto line = pgleash().log("blocking.reported").at(0);
  EXPECT_EQ(text(line, "root"), "direct");
  EXPECT_EQ(text(line, "application"), "by-hand");
  EXPECT_EQ(direct.exec("SELECT 'not ended'"), "not ended");
  direct.exec("COMMIT");
  expect_all_go_on();
  EXPECT_EQ(acted("lock-queue", "confirmed"), 0);
}

TEST_F(Blocking, AnIdleSessionThatHoldsAnAdvisoryLockIsExemptFromTheIdleRule) {
  pgleash({.rules = rule("idle", "idle", "600ms", "terminate")});
  auto leader = login();
  leader.exec("SELECT pg_advisory_lock(7)");
  auto leaker = login();
  EXPECT_TRUE(leaker.ended(soon));
  EXPECT_TRUE(wait_until(
      [&] {
        return metric("rule_exempted_total", {{"exemption", "advisory_lock"}}) == 1;
      },
      soon));
  EXPECT_FALSE(leader.ended(1s));
  leader.exec("SELECT pg_advisory_unlock(7)");
  EXPECT_TRUE(leader.ended(soon)) << "without it, it is a leaker as any other";
}

class Groups : public Busy {};

TEST_F(Groups, OfFiftyEqualSlowStatementsTheOldestIsLeft) {
  pgleash({.rules = rule("stampede", "group", "2s", "cancel")});
  auto other = login();
  other.send("SELECT count(*) FROM pg_sleep(600)");
  std::deque<Application> herd;
  for (int i = 0; i < 50; ++i) {
    herd.emplace_back(pgleash().words());
    herd.back().send(fmt::format("SELECT {} AS part, pg_sleep(600)", i));
  }
  EXPECT_TRUE(wait_until([&] { return acted("stampede", "confirmed") >= 49; }, 30s));
  for (std::size_t i = 1; i < herd.size(); ++i) {
    const auto error = herd[i].finish();
    ASSERT_TRUE(error) << i;
    EXPECT_EQ(error->sqlstate, "57014");
    EXPECT_THAT(error->message, HasSubstr("alike, for "));
  }
  EXPECT_EQ(state_of(herd[0].pid()), "active");
  EXPECT_EQ(state_of(other.pid()), "active");
  EXPECT_EQ(acted("stampede", "confirmed"), 49);
}

}  // namespace
}  // namespace pgleash::test
