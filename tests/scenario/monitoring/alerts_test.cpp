#include "tests/scenario/monitoring/leaker.hpp"
#include "tests/support/prometheus_server.hpp"

#include <boost/json/serialize.hpp>

#include <fstream>

/// What reaches an on-call engineer: a real Prometheus before a real pgleash before a real
/// PostgreSQL.
namespace pgleash::test {
namespace {

class Alerts : public Story {
 protected:
  void SetUp() override {
    Story::SetUp();
    if (!IsSkipped() && !PrometheusServer::available())
      GTEST_SKIP() << "NO PROMETHEUS HERE: scripts/install-deps test";
  }
  static std::string at(const boost::json::object& alert, const char* part, const char* key) {
    const auto& fields = alert.at(part).as_object();
    const auto* value = fields.if_contains(key);
    return value != nullptr ? std::string{value->as_string()} : std::string{};
  }
};

TEST_F(Alerts, ALeakFiresUntilItIsClearedAndNamesTheApplicationToBlame) {
  pgleash({.rules = leak_section("observe"), .mode = "observe"});
  const PrometheusServer prometheus{PGLEASH_SOURCE_DIR, pgleash().pages_port()};
  Leaker leaker{"checkout-7d9f8b6c5-x2x9z"};
  std::vector<Application> pool;  // grows, uses all, and falls back
  std::vector<boost::json::object> leaks;
  ASSERT_TRUE(wait_until(
      [&] {
        leaker.live(pgleash(), 200);
        if (pool.size() >= 12) pool.clear();
        pool.push_back(login({{"application_name", "saw-tooth"}}));
        for (Application& session : pool) session.exec("SELECT 1");
        leaks = prometheus.firing("PgleashLeakGrowing");
        return !leaks.empty() && !prometheus.firing("PgleashExhaustionSoon").empty();
      },
      90s));
  ASSERT_THAT(leaks, SizeIs(1)) << "of the pool that goes up and down there is nothing to tell";
  EXPECT_EQ(at(leaks[0], "labels", "application"), "checkout");
  EXPECT_EQ(at(leaks[0], "labels", "server"), "main");
  EXPECT_EQ(at(leaks[0], "labels", "severity"), "warning");
  EXPECT_THAT(at(leaks[0], "annotations", "summary"),
              HasSubstr("Application checkout leaks sessions of server main"));
  EXPECT_EQ(at(leaks[0], "annotations", "runbook_url"), "docs/runbooks/PgleashLeakGrowing.md");

  const auto soon = prometheus.firing("PgleashExhaustionSoon");
  ASSERT_FALSE(soon.empty());
  EXPECT_EQ(at(soon[0], "labels", "severity"), "critical") << "300 slots, three a second";
  EXPECT_THAT(at(soon[0], "annotations", "description"), HasSubstr("application checkout, "));
  for (const char* healthy : {"PgleashDown", "PgleashMonitorDown", "PgleashReloadFailed",
                              "PgleashAuditBroken", "PgleashKillSurvived", "PgleashFuseOpen"})
    EXPECT_THAT(prometheus.firing(healthy), IsEmpty()) << healthy;

  leaker.restart();
  EXPECT_TRUE(wait_until([&] { return prometheus.firing("PgleashLeakGrowing").empty(); }, 60s))
      << "the application was restarted";
}

TEST_F(Alerts, TheMetricsPageIsCleanForPromtool) {
  pgleash({.rules = rule("idle-tx", "idle_in_transaction", "300ms", "terminate")});
  auto session = login();
  session.exec("BEGIN");
  ASSERT_TRUE(session.ended(10s));
  ASSERT_TRUE(wait_until([&] { return acted("idle-tx", "confirmed") == 1; }, 10s));
  const TempDir directory;
  const std::string file = directory / "metrics";
  std::ofstream{file} << pgleash().page("/metrics");
  const Finished lint = run(
      {.argv = {"sh", "-c", "promtool check metrics < " + file}, .environment = {}, .user = {}});
  EXPECT_EQ(lint.status, 0) << lint.err << lint.out;
  EXPECT_EQ(lint.err + lint.out, "");
}

}  // namespace
}  // namespace pgleash::test
