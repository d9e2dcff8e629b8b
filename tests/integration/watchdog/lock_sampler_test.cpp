#include "watchdog/lock_sampler.hpp"

#include "tests/integration/watchdog/server.hpp"
#include "tests/support/wait_until.hpp"
#include "watchdog/activity_sampler.hpp"
#include "watchdog/blocking_tree.hpp"
#include "watchdog/snapshot.hpp"

#include <boost/asio/co_spawn.hpp>
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>

namespace pgleash::watchdog {
namespace {

using test::LibpqClient, test::run_until, test::wait_until;
using testing::AllOf, testing::Field, testing::IsEmpty, testing::SizeIs,
    testing::UnorderedElementsAre;

Task<bool> sample_once(LockSampler& sampler, PgConnection& connection, ActivitySample& newest) {
  co_await sampler.sample(connection, newest);
  co_return connection.alive();
}

/// Locks of one PostgreSQL as a sampler at work shows them.
class LockSamplerTest : public WithServer {
 protected:
  void SetUp() override {
    WithServer::SetUp();
    if (IsSkipped()) return;
    sampler_ = std::make_unique<ActivitySampler>(io.get_executor(), server().section());
    sampler_->want_advisory(true);
    boost::asio::co_spawn(io, sampler_->run(), [this](std::exception_ptr thrown) {
      ended_ = true;
      if (thrown) std::rethrow_exception(thrown);
    });
    server()->sql(
        "DROP TABLE IF EXISTS stock; CREATE TABLE stock (id int PRIMARY KEY, n int);"
        "GRANT ALL ON stock TO app; INSERT INTO stock SELECT i, 0 FROM generate_series(1, 9) AS i; "
        "ALTER TABLE stock OWNER TO app",
        "orders");
  }
  void TearDown() override {
    if (!sampler_) return;
    sampler_->stop();
    EXPECT_TRUE(run_until(
        io, [this] { return ended_; }, 5s));
  }

  /// The newest sample for which `condition` holds; null when none comes.
  const ActivitySample* sample(const std::function<bool(const ActivitySample&)>& condition) {
    const bool came = run_until(
        io, [&] { return sampler_->latest() != nullptr && condition(*sampler_->latest()); }, 10s);
    return came ? sampler_->latest() : nullptr;
  }
  const LockSample* waits(std::size_t count) {
    const auto* found = sample(
        [&](const ActivitySample& one) { return one.locks && one.locks->waits.size() == count; });
    return found ? &*found->locks : nullptr;
  }
  BlockingForest forest() {
    const auto& newest = *sampler_->latest();
    const std::vector<ActivityRow> rows{newest.rows.begin(), newest.rows.end()};
    return BlockingTree{}.forest(&*newest.locks, {}, rows);
  }
  static const LockWait* wait_of(const LockSample& sample, pid_t pid) {
    const auto at = std::ranges::find(sample.waits, protocol::BackendPid{pid}, &LockWait::pid);
    return at == sample.waits.end() ? nullptr : &*at;
  }

 private:
  std::unique_ptr<ActivitySampler> sampler_;
  bool ended_ = false;
};

TEST_F(LockSamplerTest, SaysThatNobodyWaitsWhenNobodyDoes) {
  const auto holder = server().login();
  ASSERT_NE(waits(0), nullptr);
}

TEST_F(LockSamplerTest, ShowsAQueueForARowFromItsRoot) {
  auto holder = server().login();
  holder.exec("BEGIN");
  holder.exec("UPDATE stock SET n = 1 WHERE id = 1");
  std::vector<LibpqClient> waiters;
  for (int i = 0; i < 3; ++i) {
    waiters.push_back(server().login());
    waiters.back().send("UPDATE stock SET n = 2 WHERE id = 1");
  }
  ASSERT_NE(waits(3), nullptr);
  const auto found = forest();
  ASSERT_THAT(found.roots, SizeIs(1));
  EXPECT_EQ(found.roots[0].pid, protocol::BackendPid{holder.pid()});
  EXPECT_EQ(found.roots[0].state, "idle in transaction");
  EXPECT_THAT(found.roots[0].blocked, SizeIs(3));
  // Before 14 a wait begins when a sample first sees it.
  EXPECT_NE(sample([&](const ActivitySample&) {
              const auto later = forest();
              return later.roots.size() == 1 && later.roots[0].longest > 0s;
            }),
            nullptr);
  holder.exec("COMMIT");
  EXPECT_NE(waits(0), nullptr);
}

TEST_F(LockSamplerTest, ShowsTheStrongLockAndThoseBehindIt) {
  auto reader = server().login();
  reader.exec("BEGIN");
  reader.exec("SELECT 1 FROM stock");
  auto alter = server().login();
  alter.send("ALTER TABLE stock ADD COLUMN more int");
  ASSERT_NE(waits(1), nullptr);
  auto late = server().login();
  auto later = server().login();
  late.send("SELECT count(*) FROM stock");
  later.send("SELECT count(*) FROM stock");
  const auto* sample = waits(3);
  ASSERT_NE(sample, nullptr);
  EXPECT_EQ(wait_of(*sample, alter.pid())->mode, "AccessExclusiveLock");
  EXPECT_EQ(wait_of(*sample, late.pid())->mode, "AccessShareLock");
  EXPECT_EQ(wait_of(*sample, late.pid())->tag, wait_of(*sample, alter.pid())->tag);
  const auto found = forest();
  ASSERT_THAT(found.roots, SizeIs(1));
  EXPECT_EQ(found.roots[0].pid, protocol::BackendPid{reader.pid()});
  ASSERT_TRUE(found.roots[0].head);
  EXPECT_EQ(found.waits[*found.roots[0].head].pid, protocol::BackendPid{alter.pid()});
  EXPECT_THAT(found.roots[0].behind_head, SizeIs(2));
}

TEST_F(LockSamplerTest, NamesAPreparedTransactionThatHoldsWhatIsWaitedFor) {
  if (server()->value("SHOW max_prepared_transactions") == "0") {
    server()->sql("ALTER SYSTEM SET max_prepared_transactions = 5");
    server()->restart();
  }
  auto gone = server().login();
  gone.exec("BEGIN");
  gone.exec("UPDATE stock SET n = 1 WHERE id = 2");
  gone.exec("PREPARE TRANSACTION 'forgotten'");
  auto another = server().login();
  another.exec("BEGIN");
  another.exec("UPDATE stock SET n = 1 WHERE id = 3");
  another.exec("PREPARE TRANSACTION 'of no interest'");
  auto waiter = server().login();
  waiter.send("UPDATE stock SET n = 2 WHERE id = 2");
  const auto* sample = waits(1);
  EXPECT_NE(sample, nullptr);
  if (sample) {
    EXPECT_TRUE(wait_of(*sample, waiter.pid())->behind_prepared);
    EXPECT_THAT(sample->prepared, SizeIs(1));
    const auto found = forest();
    EXPECT_EQ(found.roots.at(0).kind, RootKind::prepared);
    EXPECT_EQ(found.roots.at(0).gid, "forgotten");
    EXPECT_EQ(found.roots.at(0).user, "app");
    EXPECT_EQ(found.roots.at(0).database, "orders");
  }
  for (const auto* gid : {"forgotten", "of no interest"})
    server()->sql(fmt::format("ROLLBACK PREPARED '{}'", gid), "orders");
}

TEST_F(LockSamplerTest, ShowsWhoWaitsForAnAdvisoryLockAndWhoHoldsOne) {
  auto holder = server().login();
  holder.exec("SELECT pg_advisory_lock(42)");
  const auto idle = server().login();
  auto waiter = server().login();
  waiter.send("SELECT pg_advisory_lock(42)");
  ASSERT_NE(waits(1), nullptr);
  EXPECT_EQ(forest().roots.at(0).pid, protocol::BackendPid{holder.pid()});
  const auto* known = sample([&](const ActivitySample& one) {
    return one.advisory && one.advisory->pids.contains(holder.pid());
  });
  ASSERT_NE(known, nullptr);
  EXPECT_FALSE(known->advisory->pids.contains(idle.pid()));
  EXPECT_FALSE(known->advisory->pids.contains(waiter.pid()));
}

/// 30 wait, 20 are asked about; all are counted, and the server is not asked about all of them.
TEST_F(LockSamplerTest, CountsMoreThanItAsksAbout) {
  auto holder = server().login();
  holder.exec("BEGIN");
  holder.exec("LOCK TABLE stock IN ACCESS EXCLUSIVE MODE");
  std::vector<LibpqClient> waiters;
  for (int i = 0; i < 30; ++i) {
    waiters.push_back(server().login());
    waiters.back().send("SELECT count(*) FROM stock");
  }
  const auto* sample = waits(30);
  ASSERT_NE(sample, nullptr);
  EXPECT_EQ(std::ranges::count_if(sample->waits, &LockWait::asked), 20);
  EXPECT_THAT(forest().roots.at(0).blocked, SizeIs(30));
}

TEST_F(LockSamplerTest, TellsWhatHoldsBackCleanUp) {
  server()->sql("SELECT pg_create_physical_replication_slot('abandoned')");
  auto holder = server().login();
  holder.exec("BEGIN ISOLATION LEVEL REPEATABLE READ");
  holder.exec("SELECT 1");
  for (int i = 0; i < 5; ++i) server()->sql("SELECT txid_current()");
  auto connection = test::run_task(
      io, PgConnection::connect(monitor_endpoint(server().section(), "pgleash"), in(5s)));
  ASSERT_TRUE(connection);
  LockSampler sampler{50ms, 5s};
  ActivitySample newest;
  EXPECT_TRUE(test::run_task(io, sample_once(sampler, **connection, newest)));
  ASSERT_TRUE(newest.horizon);
  EXPECT_GE(newest.horizon->session.value_or(0), 5U);
  EXPECT_EQ(newest.horizon->inactive_slots, 1U);
  EXPECT_EQ(newest.horizon->prepared_transactions, 0U);
  EXPECT_EQ(newest.horizon->oldest_prepared, std::nullopt);
  EXPECT_EQ(newest.horizon->prepared, std::nullopt);
  server()->sql("SELECT pg_drop_replication_slot('abandoned')");
}

}  // namespace
}  // namespace pgleash::watchdog
