#include "tests/scenario/fault/fault.hpp"
#include "tests/support/rough_road.hpp"

#include <csignal>

/// The monitor's connections, broken in each state of their lives.
namespace pgleash::test {
namespace {

class MonitorFault : public Fault {
 protected:
  bool up() { return pgleash().metric("pgleash_monitor_up") == 1; }
  void cut_the_monitor() {
    postgres().sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'pgleash_monitor'");
  }
};

TEST_F(MonitorFault, IsCutAnywhereInItsLoginAndFirstQuestionsAndComesBack) {
  RoughRoad road{postgres().port()};
  auto& house = this->house({.rules = end_leaky_transactions(), .server_port = road.port()});
  // Of its login, of its settings, of what it asks the server about itself, of its first sample.
  for (const std::size_t bytes : {0, 1, 20, 100, 300, 500, 800, 1500, 4000}) {
    road.reset_after(bytes);
    const auto resets = road.resets();
    cut_the_monitor();
    ASSERT_TRUE(wait_until([&] { return road.resets() > resets; }, 20s)) << bytes;
    road.reset_no_more();
    EXPECT_TRUE(wait_until([&] { return up(); }, 40s)) << bytes;
  }
  auto leaky = login_as("leaky");
  leaky.exec("BEGIN");
  EXPECT_TRUE(leaky.ended(20s));
  house.watch("pgleash_monitor_query_duration_seconds_count");
  house.expect_in_order();
}

TEST_F(MonitorFault, IsCutWhileVerdictsAreCarriedOutAndEachHasItsOutcome) {
  auto& house = this->house({.rules = end_leaky_transactions("100ms") +
                                      rule("too-long", "statement", "100ms", "terminate",
                                           "grace = \"500ms\"\n" + for_application("runaway"))});
  house.watch("pgleash_actions_total", {{"rule", "idle-tx"}, {"outcome", "confirmed"}});
  for (int round = 0; round < 25; ++round) {
    auto leaky = login_as("leaky");
    auto runaway = login_as("runaway");
    leaky.exec("BEGIN");
    runaway.send("SELECT pg_sleep(600)");
    // At another moment of the verdict each time.
    (void)wait_until([] { return false; }, round * 8ms);
    cut_the_monitor();
    EXPECT_TRUE(leaky.ended(20s)) << "the rule needs no monitor";
    EXPECT_TRUE(runaway.ended(40s)) << round;
  }
  EXPECT_TRUE(wait_until([&] { return up(); }, 60s));
  EXPECT_THAT(pgleash().outcomes("survived"), IsEmpty());
  house.expect_in_order();
}

TEST_F(MonitorFault, StandsStillAndIsGivenUpForAnother) {
  auto& house = this->house(
      {.rules = end_leaky_transactions(), .monitor_keys = "statement_timeout = \"1s\""});
  const auto standing =
      postgres().sql("SELECT pid FROM pg_stat_activity WHERE usename = 'pgleash_monitor'");
  ASSERT_FALSE(standing.empty());
  for (const auto& row : standing) postgres().suspend(std::stoi(row[0]));
  EXPECT_TRUE(wait_until([&] { return !up(); }, 30s));
  auto leaky = login_as("leaky");
  leaky.exec("BEGIN");
  EXPECT_TRUE(leaky.ended(20s));
  // Another connection does what the one that stands still does not.
  EXPECT_TRUE(wait_until([&] { return up(); }, 60s));
  for (const auto& row : standing) postgres().resume(std::stoi(row[0]));
  EXPECT_TRUE(wait_until(
      [&] {
        return postgres().value(
                   "SELECT count(*) <= 2 FROM pg_stat_activity WHERE usename = "
                   "'pgleash_monitor'") == "t";
      },
      30s))
      << "it is not left behind";
  house.expect_in_order();
}

}  // namespace
}  // namespace pgleash::test
