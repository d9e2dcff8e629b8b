#include "tests/scenario/story/story.hpp"

#include <cstdlib>
#include <fstream>

/// Statements that eat the server: each is caught by the rule of its own kind, and by no other; the
/// neighbours that work, sort and stream a little go on.
namespace pgleash::test {
namespace {

constexpr auto soon = 30s;

std::string hog(const std::string& name, const std::string& kind, const std::string& value,
                const std::string& action, const std::string& limit = "200ms") {
  return fmt::format(
      "[[rule]]\nname = \"{0}\"\nkind = \"{1}\"\nvalue = {2}\nlimit = \"{3}\"\naction = \"{4}\"\n",
      name, kind, value, limit, action);
}

/// A cartesian join: no row, no file, no end, only CPU.
constexpr const char* burns =
    "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b "
    "WHERE a + b < 0";
/// Sorts some 400 MB with 1 MB of memory, and then waits, with its files open.
constexpr const char* spills =
    "SET work_mem = '1MB'; SELECT pg_sleep(600) FROM (SELECT g FROM generate_series(1, 2000000) g "
    "ORDER BY repeat(md5(g::text), 4), g OFFSET 1) sorted";
/// Some 5 GB, row by row as they are made: far more than passes before the rule has acted.
constexpr const char* streams = "SELECT repeat('x', 1000), generate_series(1, 5000000)";

class Hogs : public Story {
 protected:
  /// A statement that no rule ends must not hold the tests up.
  Application login(const std::string& application = "checkout") {
    return Story::login(
        {{"application_name", application}, {"options", "-c statement_timeout=60s"}});
  }
  /// Each kind with a limit that only a hog passes.
  void start_all(const std::string& action) {
    pgleash({.rules = hog("cpu", "cpu_time", R"("2s")", action) +
                      hog("temp", "temp_bytes", R"("50MiB")", action) +
                      hog("sent", "sent_bytes", R"("100MiB")", action, "25ms")});
  }
  /// Works a little of everything, never long: a neighbour that must not notice anything.
  void expect_unharmed(Application& neighbour) {
    EXPECT_FALSE(
        neighbour.error_of("SET work_mem = '1MB'; SELECT count(*) FROM (SELECT g FROM "
                           "generate_series(1, 50000) g ORDER BY md5(g::text)) s"));
    EXPECT_FALSE(neighbour.error_of("SELECT repeat('y', 100) FROM generate_series(1, 10000)"));
    EXPECT_EQ(neighbour.exec("SELECT 'still here'"), "still here");
  }
  void expect_only(const std::string& rule, const ServerError& error, const std::string& what) {
    EXPECT_THAT(error.message, AllOf(HasSubstr(what), HasSubstr("(pgleash rule '" + rule + "'")));
    EXPECT_TRUE(wait_until([&] { return acted(rule, "confirmed") == 1; }, soon));
    const auto done = pgleash().outcomes("confirmed");
    ASSERT_THAT(done, SizeIs(1));
    EXPECT_EQ(text(done[0], "rule"), rule);
    EXPECT_GT(number(done[0], "measured_value"), number(done[0], "limit_value"));
  }
};

TEST_F(Hogs, AJoinThatBurnsCpuIsCancelledByTheRuleOfCpuTime) {
  start_all("cancel");
  auto neighbour = login("quiet");
  auto burner = login();
  burner.send(burns);
  expect_unharmed(neighbour);
  const auto error = burner.finish();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->sqlstate, "57014");
  expect_only("cpu", *error, "of CPU time used, above 2s for ");
  EXPECT_EQ(burner.exec("SELECT 'the session lives on'"), "the session lives on");
  expect_unharmed(neighbour);
  EXPECT_GT(pgleash().metric("pgleash_backend_cpu_seconds_total", {{"application", "checkout"}}),
            1.5);
  EXPECT_GT(pgleash().metric("pgleash_backend_anonymous_memory_bytes"), 100'000);
}

TEST_F(Hogs, ASortThatSpillsIsCancelledByTheRuleOfTemporaryFiles) {
  start_all("cancel");
  auto neighbour = login("quiet");
  auto sorter = login();
  sorter.send(spills);
  expect_unharmed(neighbour);
  const auto error = sorter.finish();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->sqlstate, "57014");
  expect_only("temp", *error, "temporary files of ");
  EXPECT_EQ(sorter.exec("SELECT 'the session lives on'"), "the session lives on");
  expect_unharmed(neighbour);
}

TEST_F(Hogs, ASelectThatStreamsMuchIsEndedByTheRuleOfSentBytes) {
  start_all("terminate");
  auto neighbour = login("quiet");
  auto reader = login();
  ASSERT_EQ(PQsendQuery(reader.raw(), streams), 1);
  ASSERT_EQ(PQsetSingleRowMode(reader.raw()), 1);  // memory of the test's own
  const auto error = reader.finish();
  ASSERT_TRUE(error) << "all of it came through";
  EXPECT_TRUE(wait_until([&] { return !backend_lives(reader.pid()); }, soon));
  EXPECT_TRUE(wait_until([&] { return acted("sent", "confirmed") == 1; }, soon));
  const auto done = pgleash().outcomes("confirmed");
  ASSERT_THAT(done, SizeIs(1));
  EXPECT_GT(number(done[0], "measured_value"), 100 << 20);
  EXPECT_EQ(number(done[0], "limit_value"), 100 << 20);
  expect_unharmed(neighbour);
}

TEST_F(Hogs, RowsAreCountedToo) {
  pgleash({.rules = hog("rows", "rows", "1000000", "cancel", "25ms")});
  auto reader = login();
  EXPECT_FALSE(reader.error_of("SELECT generate_series(1, 100000)"));
  ASSERT_EQ(PQsendQuery(reader.raw(), "SELECT generate_series(1, 100000000)"), 1);
  ASSERT_EQ(PQsetSingleRowMode(reader.raw()), 1);
  const auto error = reader.finish();
  ASSERT_TRUE(error);
  expect_only("rows", *error, " rows sent, above 1000000 for ");
  EXPECT_EQ(reader.exec("SELECT 'the session lives on'"), "the session lives on");
}

TEST_F(Hogs, LocksAndWhatHoldsVacuumBackAreJudgedWhileAStatementRuns) {
  pgleash(
      {.rules = hog("locks", "locks", "400", "cancel") + hog("xmin", "xmin_age", "200", "cancel")});
  auto locker = login();
  // 500 advisory locks of one statement, which then waits.
  const auto locks = locker.error_of(
      "SELECT count(pg_advisory_xact_lock(n)), pg_sleep(600) FROM generate_series(1, 500) n");
  ASSERT_TRUE(locks);
  EXPECT_THAT(locks->message, HasSubstr("501 locks held, above 400 for "));

  auto holder = login();
  holder.send("SELECT pg_sleep(600)");
  auto writer = login();
  // Before its snapshot is taken, nothing is held back for it.
  ASSERT_TRUE(wait_until(
      [&] {
        return writer.exec("SELECT backend_xmin IS NOT NULL FROM pg_stat_activity WHERE pid = " +
                           std::to_string(holder.pid())) == "t";
      },
      soon));
  for (int i = 0; i < 250; ++i) writer.exec("SELECT txid_current()");
  const auto xmin = holder.finish();
  ASSERT_TRUE(xmin);
  EXPECT_THAT(xmin->message, HasSubstr("vacuum held back by "));
  EXPECT_FALSE(writer.error_of("SELECT 1"));
}

TEST_F(Hogs, ShareAndMemoryAreThoseOfTheBackendAndItsParallelWorkers) {
  pgleash({.rules = hog("many", "parallel_workers", "1", "observe") +
                    hog("share", "cpu_share", R"("30%")", "observe") +
                    hog("memory", "memory", R"("100MiB")", "cancel")});
  auto owner = login();
  owner.exec("CREATE TABLE IF NOT EXISTS hogs AS SELECT g FROM generate_series(1, 300000) g");
  owner.exec("ALTER TABLE hogs SET (parallel_workers = 2)");
  owner.exec("SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0");
  owner.send("SELECT count(*) FROM hogs a JOIN hogs b ON a.g + b.g < 0");
  EXPECT_TRUE(wait_until([&] { return acted("many", "observed") == 1; }, soon));
  EXPECT_TRUE(wait_until([&] { return acted("share", "observed") == 1; }, soon));
  PQrequestCancel(owner.raw());
  (void)owner.finish();

  auto eater = login();
  const auto error = eater.error_of(
      "SELECT pg_sleep(600) FROM (SELECT array_agg(repeat('m', 1000) || g) AS a FROM "
      "generate_series(1, 150000) g OFFSET 0) eaten WHERE cardinality(a) > 0");
  ASSERT_TRUE(error);
  EXPECT_THAT(error->message, HasSubstr(" of memory used, above 100 MiB for "));
}

TEST_F(Hogs, WhatCannotBeMeasuredEndsNobody) {
  pgleash({.rules = hog("wal", "wal", R"("1MiB")", "terminate")});
  auto writer = login();
  EXPECT_TRUE(wait_until(
      [&] {
        return pgleash().metric("pgleash_rule_without_data",
                                {{"rule", "wal"}, {"reason", "server_version"}}) == 1;
      },
      soon));
  writer.exec("CREATE TEMP TABLE t (i int); INSERT INTO t SELECT generate_series(1, 100000)");
  EXPECT_FALSE(writer.error_of("SELECT pg_sleep(0.5)"));
  EXPECT_THAT(pgleash().log("rule.no_data"), SizeIs(1));
}

/// The server's pids are numbers of another world: those of this host's /proc are other processes.
TEST_F(Hogs, NobodyIsHurtWhereTheServersProcessesAreNotInSight) {
  if (!Postgres::can_have_pids_of_its_own()) GTEST_SKIP() << "NO PID NAMESPACES HERE: run as root";
  MonitoredServer elsewhere{{.pids_of_its_own = true}};
  PgleashProcess pgleash{PGLEASH_BINARY,
                         elsewhere,
                         *elsewhere,
                         {.rules = hog("cpu", "cpu_time", R"("25ms")", "terminate", "50ms") +
                                   hog("memory", "memory", R"("1B")", "terminate", "50ms") +
                                   hog("temp", "temp_bytes", R"("20MiB")", "cancel")}};
  Application burner{pgleash.words({{"options", "-c statement_timeout=60s"}})};
  ASSERT_LT(burner.pid(), 1000) << "not a pid of its own";
  burner.send(burns);
  for (const char* rule : {"cpu", "memory"}) {
    EXPECT_TRUE(wait_until(
        [&] {
          return pgleash.metric("pgleash_rule_without_data",
                                {{"rule", rule}, {"reason", "not_this_host"}}) == 1;
        },
        soon))
        << rule;
    EXPECT_TRUE(wait_until(
        [&] {
          return pgleash.metric("pgleash_rule_paused_sessions", {{"rule", rule}}) == 1;
        },
        soon));
  }
  EXPECT_FALSE(burner.ended(3s)) << "judged by somebody else's process";
  EXPECT_EQ(pgleash.log("rule.no_data").size(), 2U);
  EXPECT_EQ(pgleash.metric("pgleash_backend_cpu_seconds_total"), 0);
  PQrequestCancel(burner.raw());
  (void)burner.finish();

  // What the server itself tells is judged there as anywhere.
  const auto error = burner.error_of(spills);
  ASSERT_TRUE(error);
  EXPECT_THAT(error->message, HasSubstr("temporary files of "));
}

}  // namespace
}  // namespace pgleash::test
