#include "metrics/pages.hpp"

#include "exposition.hpp"
#include "fixtures.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

namespace pgleash::metrics {
namespace {

using namespace testing;
using ::testing::HasSubstr;
using ::testing::Not;

class PagesTest : public ::testing::Test {
 protected:
  Reply get(std::string_view target, Instant now = start) { return pages_.get(target, now); }

  FakeSource source_;
  Pages pages_{source_};
};

TEST_F(PagesTest, MetricsAreInTheTextFormat) {
  const Reply reply = get("/metrics");
  EXPECT_EQ(reply.status, 200U);
  EXPECT_EQ(reply.content_type, "text/plain; version=0.0.4; charset=utf-8");
  EXPECT_GT(parse_exposition(*reply.body).size(), 50U);
}

TEST_F(PagesTest, TakesTargetsInEveryFormARequestLineMayHave) {
  for (const auto target : {"/healthz", "/healthz?x=1", "/healthz#f", "http://proxy:9732/healthz",
                            "http://proxy:9732/healthz?probe"}) {
    EXPECT_EQ(get(target).status, 200U) << target;
  }
  EXPECT_THAT(*get("http://proxy:9732").body, HasSubstr("/metrics"));
}

TEST_F(PagesTest, KnowsNoOtherPage) {
  for (const auto target : {"", "/metrics/", "/Metrics", "/../etc/passwd", "*", "healthz"}) {
    EXPECT_EQ(get(target).status, 404U) << target;
  }
}

TEST_F(PagesTest, NothingThatNamesUsersIsBesideTheMetrics) {
  for (const auto* page : {"/api/sessions", "/api/explain?session=1", "/api/status", "/api"})
    EXPECT_EQ(get(page).status, 404U) << page;
}

TEST(LoopbackHost, IsThisMachineByNameOrNumber) {
  for (const auto* host :
       {"localhost", "localhost:9732", "127.0.0.1:9732", "127.1.2.3", "[::1]:9732"})
    EXPECT_TRUE(is_loopback_host(host)) << host;
  for (const auto* host : {"", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example",
                           "localhost:9732.evil", "[::2]:9732", "[::1", "10.0.0.1"})
    EXPECT_FALSE(is_loopback_host(host)) << host;
}

TEST_F(PagesTest, IndexNamesTheVersionAndThePages) {
  const Reply reply = get("/");
  EXPECT_EQ(reply.status, 200U);
  EXPECT_THAT(*reply.body, HasSubstr("pgleash 1.2.3"));
  EXPECT_THAT(*reply.body, HasSubstr("/readyz"));
}

TEST_F(PagesTest, HealthyUntilAWorkerHasNotTurnedForFiveSeconds) {
  EXPECT_EQ(get("/healthz", start + 5s).status, 200U);
  source_.beats[0].last_turn = start + 5s;
  const Reply reply = get("/healthz", start + 5100ms);
  EXPECT_EQ(reply.status, 503U);
  EXPECT_EQ(*reply.body, "worker 1 has not turned for 5.1 s\n");
}

TEST_F(PagesTest, NotHealthyWithoutAnyWorker) {
  source_.beats.clear();
  EXPECT_EQ(get("/healthz").status, 503U);
}

TEST_F(PagesTest, HealthDoesNotDependOnMonitorOrReadiness) {
  source_.ready = {false, "draining", {"audit log cannot be written"}};
  source_.set(status({.monitor_up = false}));
  EXPECT_EQ(get("/healthz").status, 200U);
}

TEST_F(PagesTest, ReadyNamesWhatIsDegradedAndStaysReady) {
  source_.ready.degraded = {"audit log cannot be written"};
  auto down = status({.monitor_up = false});
  down.monitor_problem = "GRANT pg_monitor TO pgleash_monitor\nand reconnect";
  source_.set(std::move(down));
  const Reply reply = get("/readyz");
  EXPECT_EQ(reply.status, 200U);
  EXPECT_EQ(*reply.body,
            "ready\n"
            "degraded: audit log cannot be written\n"
            "degraded: server orders: monitor down: GRANT pg_monitor TO pgleash_monitor and "
            "reconnect\n");
}

TEST_F(PagesTest, ReadyNamesWhatTheServerLacks) {
  auto advised = status({.monitor_up = true});
  advised.advice = {{watchdog::Gravity::warning, "pg_signal_backend", "the role may end nobody",
                     "GRANT pg_signal_backend TO pgleash_monitor"},
                    {watchdog::Gravity::note, "max_connections", "could be better", ""}};
  source_.set(std::move(advised));
  EXPECT_EQ(*get("/readyz").body,
            "ready\ndegraded: server orders: pg_signal_backend: the role may end nobody\n");
}

TEST_F(PagesTest, NotReadyWhileDraining) {
  source_.ready = {false, "draining", {}};
  const Reply reply = get("/readyz");
  EXPECT_EQ(reply.status, 503U);
  EXPECT_EQ(*reply.body, "not accepting: draining\n");
}

}  // namespace
}  // namespace pgleash::metrics
