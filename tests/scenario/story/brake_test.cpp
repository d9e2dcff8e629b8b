#include "tests/scenario/story/story.hpp"

#include <set>
#include <vector>

/// Many at once: a leak is ended at its pace, a rule that is wrong is stopped, and nobody is ended
/// when it is not the time.
namespace pgleash::test {
namespace {

class Brakes : public Story {
 protected:
  /// SIGUSR2, until it is seen.
  void kill_switch(bool on) {
    pgleash().process().signal(SIGUSR2);
    ASSERT_TRUE(wait_until(
        [&] { return pgleash().metric("pgleash_enforcement_paused") == (on ? 1 : 0); }, 10s));
  }
  std::vector<std::unique_ptr<Application>> logins(const std::string& name, int count) {
    std::vector<std::unique_ptr<Application>> all;
    for (int i = 0; i < count; ++i)
      all.push_back(std::make_unique<Application>(pgleash().words({{"application_name", name}})));
    return all;
  }
  double backends(const std::string& name) {
    return std::stod(postgres().value(
        fmt::format("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{}'", name)));
  }
  /// Each verdict of the audit log, and that it has one outcome.
  void expect_one_outcome_each() {
    std::set<std::string> verdicts;
    for (const auto& line : pgleash().audit("outcome"))
      EXPECT_TRUE(verdicts.insert(text(line, "verdict")).second) << text(line, "verdict");
  }
};

TEST_F(Brakes, TwoHundredLeakedSessionsOfOneApplicationAreGoneInThePacedTimeWithoutATrip) {
  pgleash({.rules = rule("leaked", "idle_in_transaction", "300ms", "terminate"),
           .brakes = "[enforcement.pace]\nkills_per_minute = 2000\n"
                     "kills_per_minute_per_application = 1200\n"
                     "kills_per_minute_per_rule = 2000\n"});
  kill_switch(true);
  auto leaky = logins("leaky", 200);
  for (auto& one : leaky) one->exec("BEGIN");
  auto shop = login({{"application_name", "shop"}});
  ASSERT_TRUE(wait_until([&] { return acted("leaked", "deferred") == 200; }, 30s));
  EXPECT_EQ(backends("leaky"), 200) << "nobody is ended while the kill switch is on";

  const auto start = std::chrono::steady_clock::now();
  kill_switch(false);
  ASSERT_TRUE(wait_until([&] { return acted("leaked", "confirmed") == 200; }, 60s));
  const auto took = std::chrono::steady_clock::now() - start;
  EXPECT_GE(took, 5s) << "60 at once and 20 a second are 7 s";
  EXPECT_EQ(backends("leaky"), 0);
  EXPECT_EQ(shop.exec("SELECT 'served'"), "served");
  EXPECT_EQ(pgleash().metric("pgleash_fuse_trips_total"), 0);
  EXPECT_EQ(acted("leaked", "deferred"), 200) << "who waits says so once";
  EXPECT_EQ(pgleash().metric("pgleash_deferred_sessions"), 0);
  expect_one_outcome_each();
}

TEST_F(Brakes, ARuleThatSuddenlyMatchesEverybodyTripsItsFuseAndAnotherGoesOn) {
  pgleash({.rules = rule("everybody", "idle", "300ms", "terminate") +
                    rule("leaked", "idle_in_transaction", "300ms", "terminate"),
           .brakes = "[enforcement.fuse]\nat_least = 6\n"});
  kill_switch(true);
  std::vector<std::unique_ptr<Application>> all;
  for (const auto* name : {"cart", "shop", "stock"})
    for (auto& one : logins(name, 4)) all.push_back(std::move(one));
  ASSERT_TRUE(wait_until([&] { return acted("everybody", "deferred") >= 12; }, 20s));
  kill_switch(false);

  ASSERT_TRUE(wait_until(
      [&] {
        return pgleash().metric("pgleash_fuse_open", {{"fuse", "share"}}) == 1;
      },
      10s));
  auto leaky = login({{"application_name", "leaky"}});
  leaky.exec("BEGIN");
  EXPECT_TRUE(leaky.ended(20s)) << "the other rule goes on";
  auto late = login({{"application_name", "late"}});
  EXPECT_TRUE(wait_until([&] { return acted("everybody", "fused") >= 1; }, 10s));
  EXPECT_EQ(acted("everybody", "confirmed"), 0);
  for (auto& one : all) EXPECT_EQ(one->exec("SELECT 'served'"), "served");

  ASSERT_TRUE(wait_until([&] { return !pgleash().log("fuse.tripped").empty(); }, 5s));
  const auto tripped = pgleash().log("fuse.tripped");
  ASSERT_THAT(tripped, SizeIs(1));
  EXPECT_EQ(text(tripped[0], "rule"), "everybody");
  const auto fused = pgleash().outcomes("fused");
  ASSERT_FALSE(fused.empty());
  EXPECT_THAT(text(fused[0], "why"), HasSubstr("rule 'everybody' wants"));
  expect_one_outcome_each();
}

TEST_F(Brakes, AServerThatRestartsIsLeftAloneForAWhile) {
  pgleash({.rules = rule("idle", "idle", "200ms", "terminate"), .hold_after_failover = "6s"});
  auto before = login();
  ASSERT_TRUE(before.ended(10s)) << "nothing holds off yet";
  postgres().restart();
  const Labels held{{"reason", "failover"}};
  ASSERT_TRUE(
      wait_until([&] { return pgleash().metric("pgleash_enforcement_held", held) == 1; }, 20s));
  EXPECT_TRUE(wait_until([&] { return pgleash().log("server.failover").size() == 1; }, 5s));
  auto after = login();
  ASSERT_TRUE(wait_until([&] { return acted("idle", "deferred") == 1; }, 5s));
  EXPECT_TRUE(backend_lives(after.pid()));
  EXPECT_EQ(pgleash().metric("pgleash_enforcement_held", held), 1);
  EXPECT_TRUE(after.ended(20s)) << "judged again behind the hold-off";
  EXPECT_EQ(pgleash().metric("pgleash_enforcement_held", held), 0);
}

}  // namespace
}  // namespace pgleash::test
