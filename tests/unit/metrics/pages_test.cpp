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

TEST_F(PagesTest, ExplainsASessionToLoopbackOnly) {
  watchdog::SessionExplanation explanation;
  auto who = std::make_shared<proxy::SessionIdentity>();
  who->user = "a\"b\\c\n";
  explanation.session.view.id = proxy::SessionId{(1ULL << 48U) | 7};
  explanation.session.view.who = std::move(who);
  watchdog::RuleExplanation rule;
  rule.rule = "idle";
  rule.action = config::Action::terminate;
  rule.age = 100s;
  rule.limit = 300s;
  rule.passes_in = 200s;
  rule.standing = watchdog::Standing::below;
  explanation.rules.push_back(rule);
  source_.explanation = explanation;
  const std::string page = "/api/explain?session=281474976710663";
  source_.settings->metrics.listen = config::Address{"127.0.0.1", 9732, false};
  const Reply reply = get(page);
  EXPECT_EQ(reply.status, 200U);
  EXPECT_EQ(reply.content_type, "application/json");
  EXPECT_THAT(*reply.body, HasSubstr(R"("session":"281474976710663")"));
  EXPECT_THAT(*reply.body, HasSubstr(R"("user":"a\"b\\c)"));
  EXPECT_THAT(*reply.body, HasSubstr(R"("standing":"below")"));
  EXPECT_THAT(*reply.body, HasSubstr(R"("warn_seconds":null,"limit_seconds":300.000)"));
  EXPECT_THAT(*reply.body, HasSubstr(R"("acts":"idle","acts_in_seconds":200.000)"));

  EXPECT_EQ(get("/api/explain?session=8").status, 404U);
  for (const auto* bad : {"/api/explain", "/api/explain?session=", "/api/explain?session=7x",
                          "/api/explain?other=7", "/api/explain?session=-1"})
    EXPECT_EQ(get(bad).status, 400U) << bad;
  source_.settings->metrics.listen = config::Address{"0.0.0.0", 9732, false};
  EXPECT_EQ(get(page).status, 404U);
}

TEST_F(PagesTest, SessionsAreShownOnLoopbackOnly) {
  source_.settings->metrics.listen = config::Address{"127.0.0.1", 9732, false};
  const Reply reply = get("/api/sessions");
  EXPECT_EQ(reply.status, 200U);
  EXPECT_EQ(reply.content_type, "application/json");
  EXPECT_EQ(*reply.body, "[]\n");
  source_.set(status({.sessions = {session({.application = "a\"b", .age = 7s})}, .direct = 1}));
  const std::string body = *get("/api/sessions").body;
  EXPECT_THAT(body, HasSubstr(R"("application":"a\"b")"));
  EXPECT_THAT(body, HasSubstr(R"("state":"idle")"));
  EXPECT_THAT(body, HasSubstr(R"("state_age_seconds":7.000)"));
  EXPECT_THAT(body, HasSubstr(R"("direct":[{"datname":)"));
  source_.settings->metrics.listen = config::Address{"0.0.0.0", 9732, false};
  EXPECT_EQ(get("/api/sessions").status, 404U);
}

TEST(PrivatePages, AreThoseThatNameUsers) {
  for (const auto* page : {"/api/sessions", "/api/explain?session=1", "http://x/api/sessions"})
    EXPECT_TRUE(is_private(page)) << page;
  for (const auto* page : {"/metrics", "/healthz", "/", "/metrics?x=/api"})
    EXPECT_FALSE(is_private(page)) << page;
}

TEST(PrivatePages, AreForALoopbackHostOnly) {
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
