#include "tests/scenario/story/story.hpp"

#include <vector>

/// A commit that waits for a standby has been made: it is never taken back, cancelled or cut off,
/// whatever the rules say. synchronous_standby_names names nobody who exists, so it waits for ever.
namespace pgleash::test {
namespace {

class SynchronousReplication : public testing::Test {
 protected:
  void SetUp() override {
    if (!Postgres::available()) GTEST_SKIP() << "NO POSTGRESQL HERE: set PGLEASH_TEST_PG_BIN";
    // Others than the application do not wait: synchronous_commit is off for them.
    server_ = std::make_unique<MonitoredServer>(
        PostgresOptions{.settings = {"synchronous_standby_names = 'nobody'"}});
    postgres().sql("ALTER ROLE app SET synchronous_commit = 'on'");
    postgres().sql("CREATE TABLE orders (id int PRIMARY KEY); GRANT ALL ON orders TO app",
                   "orders");
  }
  void TearDown() override {
    if (pgleash_ && HasFailure()) std::fputs(pgleash_->process().err().c_str(), stderr);
  }

  Postgres& postgres() { return **server_; }
  PgleashProcess& pgleash() { return *pgleash_; }
  void start(const std::string& rules, const std::string& poll_interval = "50ms") {
    pgleash_ = std::make_unique<PgleashProcess>(
        PGLEASH_BINARY, *server_, postgres(),
        PgleashOptions{.rules = rules, .poll_interval = poll_interval});
    ASSERT_TRUE(wait_until([this] { return pgleash().metric("pgleash_monitor_up") == 1; }, 10s));
  }
  Application login(const std::string& application = "checkout") {
    return Application{pgleash().words({{"application_name", application}})};
  }
  void name_standbys(const std::string& names) {
    postgres().sql(fmt::format("ALTER SYSTEM SET synchronous_standby_names = '{}'", names));
    postgres().sql("SELECT pg_reload_conf()");
  }
  bool waits(const Application& application) {
    return postgres().value(fmt::format("SELECT wait_event FROM pg_stat_activity WHERE pid = {}",
                                        application.pid())) == "SyncRep";
  }
  double exempted(const std::string& exemption) {
    return pgleash().metric("pgleash_rule_exempted_total", {{"exemption", exemption}});
  }
  long cut_off() {
    const auto log = postgres().log();
    long count = 0;
    for (const auto* words : {"canceling wait for synchronous replication",
                              "terminating connection due to administrator command",
                              "waiting for synchronous replication and terminating"})
      for (auto at = log.find(words); at != std::string::npos; at = log.find(words, at + 1))
        ++count;
    return count;
  }

 private:
  std::unique_ptr<MonitoredServer> server_;
  std::unique_ptr<PgleashProcess> pgleash_;
};

TEST_F(SynchronousReplication, ACommitThatWaitsForAStandbyIsNeitherCancelledNorEnded) {
  start(rule("cancels", "statement", "50ms", "cancel", for_application("cancelled")) +
        rule("ends", "statement", "50ms", "terminate", for_application("ended")) +
        rule("escalates", "statement", "50ms", "escalate", for_application("escalated")) +
        rule("transactions", "transaction_age", "900ms", "terminate"));
  struct Waiting {
    Application application;
    std::string name;
    int rows;
  };
  std::vector<std::unique_ptr<Waiting>> all;
  int id = 0;
  for (const auto* name : {"cancelled", "ended", "escalated"}) {
    all.push_back(std::make_unique<Waiting>(login(name), name, 0));
    all.back()->application.send(fmt::format("INSERT INTO orders VALUES ({})", ++id));
    all.push_back(std::make_unique<Waiting>(login(name), name, 0));
    all.back()->application.exec("BEGIN");
    all.back()->application.exec(fmt::format("INSERT INTO orders VALUES ({})", ++id));
    all.back()->application.send("COMMIT");
    all.push_back(std::make_unique<Waiting>(login(name), name, 0));
    all.back()->application.send(
        fmt::format("BEGIN; INSERT INTO orders VALUES ({}); COMMIT", ++id));
  }
  for (const auto& one : all)
    ASSERT_TRUE(wait_until([&] { return waits(one->application); }, 10s)) << one->name;
  // Far above all limits.
  EXPECT_FALSE(wait_until([&] { return !pgleash().audit("intent").empty(); }, 2s));
  for (const auto& one : all) EXPECT_TRUE(waits(one->application)) << one->name;
  EXPECT_GE(exempted("sync_replication"), 3);
  EXPECT_GE(exempted("commit"), 6);
  EXPECT_EQ(pgleash().metric("pgleash_actions_total", {{"outcome", "exempted"}}),
            pgleash().metric("pgleash_actions_total"));

  name_standbys("");
  for (const auto& one : all) {
    EXPECT_FALSE(one->application.finish()) << one->name;
    EXPECT_EQ(one->application.exec("SELECT 'served'"), "served");
  }
  EXPECT_EQ(cut_off(), 0);
  EXPECT_EQ(postgres().value("SELECT count(*) FROM orders", "orders"), std::to_string(id));
}

TEST_F(SynchronousReplication, AStatementThatCameToItsCommitSinceItWasSampledIsLeftAlone) {
  // A sample shows it at work; by the time its limit is passed it waits, which no sample has shown.
  start(rule("cancels", "statement", "3200ms", "cancel", for_application("cancelled")) +
            rule("ends", "statement", "3200ms", "terminate", for_application("ended")) +
            rule("escalates", "statement", "3200ms", "escalate", for_application("escalated")),
        "2s");
  std::vector<std::unique_ptr<Application>> all;
  for (const auto* name : {"cancelled", "ended", "escalated"}) {
    all.push_back(std::make_unique<Application>(login(name)));
    all.back()->send(
        fmt::format("INSERT INTO orders SELECT {} FROM (SELECT pg_sleep(3)) s", all.size()));
  }
  for (const auto& one : all) ASSERT_TRUE(wait_until([&] { return waits(*one); }, 10s));
  ASSERT_TRUE(wait_until(
      [&] {
        return pgleash().metric("pgleash_actions_total", {{"outcome", "exempted"}}) >= 3;
      },
      10s));
  for (const auto& one : all) EXPECT_TRUE(waits(*one));
  name_standbys("");
  for (const auto& one : all) EXPECT_FALSE(one->finish());
  EXPECT_EQ(cut_off(), 0);
}

}  // namespace
}  // namespace pgleash::test
