#include "metrics/status_pages.hpp"

#include "fixtures.hpp"
#include "metrics/status_json.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

namespace pgleash::metrics {
namespace {

using namespace testing;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* hostile = "</script><img src=x onerror=alert(1)>\"\\\n";

class StatusPagesTest : public ::testing::Test {
 protected:
  Reply get(std::string_view target) { return pages_.get(target, start); }
  std::string json(std::string_view target) {
    const Reply reply = get(target);
    EXPECT_EQ(reply.status, 200U) << target << ": " << *reply.body;
    EXPECT_EQ(reply.content_type, "application/json") << target;
    return *reply.body;
  }
  watchdog::RecentAction action(const std::string& incident, watchdog::Outcome outcome) {
    watchdog::Verdict verdict;
    verdict.id.text = incident;
    verdict.rule = "idle-tx";
    verdict.kind = config::RuleKind::idle_in_transaction;
    verdict.action = config::Action::terminate;
    verdict.measured = 312s;
    verdict.limit = 300s;
    verdict.session = session({.application = hostile});
    return watchdog::action_of(verdict, config::Mode::enforce, outcome, "why it is so",
                               std::chrono::system_clock::time_point{1700000000500ms});
  }

  FakeSource source_;
  StatusPages pages_{source_};
};

TEST_F(StatusPagesTest, SessionsAreShownUnderTheServersNamesForColumns) {
  EXPECT_EQ(json("/api/sessions"), "[]\n");
  source_.set(status({.sessions = {session({.application = "a\"b", .age = 7s})}, .direct = 1}));
  const std::string body = json("/api/sessions");
  EXPECT_THAT(body, HasSubstr(R"("application":"a\"b")"));
  EXPECT_THAT(body, HasSubstr(R"("state":"idle")"));
  EXPECT_THAT(body, HasSubstr(R"("state_age_seconds":7.000)"));
  EXPECT_THAT(body, HasSubstr(R"("direct":[{"datname":)"));
}

TEST_F(StatusPagesTest, ExplainsASession) {
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
  const std::string body = json("/api/explain?session=281474976710663");
  EXPECT_THAT(body, HasSubstr(R"("session":"281474976710663")"));
  EXPECT_THAT(body, HasSubstr(R"("user":"a\"b\\c)"));
  EXPECT_THAT(body, HasSubstr(R"("standing":"below")"));
  EXPECT_THAT(body, HasSubstr(R"("warn_seconds":null,"limit_seconds":300.000)"));
  EXPECT_THAT(body, HasSubstr(R"("acts":"idle","acts_in_seconds":200.000)"));
  EXPECT_EQ(get("/api/explain?session=8").status, 404U);
  for (const auto* bad : {"/api/explain", "/api/explain?session=", "/api/explain?session=7x",
                          "/api/explain?other=7", "/api/explain?session=-1"})
    EXPECT_EQ(get(bad).status, 400U) << bad;
}

TEST_F(StatusPagesTest, TheStatusHasSlotsBrakesAndTheForecast) {
  auto seen = status({.sessions = {session({}), session({})}, .direct = 3});
  seen.mode = config::Mode::enforce;
  seen.brake.waiting = 4;
  seen.brake.held = watchdog::HoldReason::reload;
  seen.brake.open_fuses = {{watchdog::FuseKind::share, watchdog::FuseScope::application, "idle-tx",
                            hostile, "it sweeps", start + 60s}};
  seen.leaks.forecast.expected = 3600s;
  auto snapshot = std::make_shared<watchdog::Snapshot>(*seen.snapshot);
  snapshot->max_connections = 100;
  snapshot->reserved_connections = 3;
  seen.snapshot = snapshot;
  source_.set(std::move(seen));
  const std::string body = json("/api/status");
  EXPECT_THAT(body,
              HasSubstr(R"("mode":"enforce","paused":false,"held_after":"reload","waiting":4)"));
  EXPECT_THAT(body, HasSubstr(R"("slots":{"max":100,"reserved":3,"proxied":2,"direct":3})"));
  EXPECT_THAT(body,
              HasSubstr(R"("forecast":{"expected_seconds":3600.000,"earliest_seconds":null)"));
  EXPECT_THAT(body, HasSubstr(R"("fuse":"share","scope":"application","rule":"idle-tx")"));
  EXPECT_THAT(body, HasSubstr(R"("closes_in_seconds":60.000,"why":"it sweeps")"));
}

TEST_F(StatusPagesTest, ALeakIsShownWithItsFloorAndGrowth) {
  auto seen = status({});
  watchdog::Leak leak;
  leak.group = {"orders", "web", "checkout"};
  leak.detected = start - 90s;
  leak.since = start - 900s;
  leak.window = 1800s;
  leak.sessions = 40;
  leak.floor = 30;
  leak.slope.value = 0.01;
  leak.suspect_count = 25;
  seen.leaks.standing = {leak};
  seen.leaks.applications["checkout"] = {25, 30, 0.01};
  source_.set(std::move(seen));
  const std::string body = json("/api/leaks");
  EXPECT_THAT(body, HasSubstr(R"("application":"checkout","user":"web","database":"orders",)"
                              R"("suspects":25,"sessions":40,"floor":30)"));
  EXPECT_THAT(body, HasSubstr(R"("growth_per_hour":36.000,"window_seconds":1800.000,)"
                              R"("stands_seconds":90.000,"losing_since_seconds":900.000)"));
}

TEST_F(StatusPagesTest, ALeakIsShownWithItsClientsAndTheLineOfCode) {
  auto seen = status({});
  watchdog::Leak leak;
  leak.group = {"orders", "web", "checkout"};
  leak.detected = leak.since = start - 90s;
  watchdog::Leak other = leak;
  other.group.application = "billing";
  seen.leaks.standing = {leak, other};
  auto report = std::make_shared<watchdog::LeakReport>();
  report->leak = leak;
  report->addresses = {{"10.0.0.7", 20}, {"", 1}};
  auto who = std::make_shared<proxy::SessionIdentity>();
  who->client = {"10.0.0.7", 40312};
  who->pid = protocol::BackendPid{4711};
  report->oldest = {{proxy::SessionId{42}, who, 312s, 96, 1234}};
  report->first_statement = "UPDATE carts SET note = $1";
  report->first_statement_fingerprint = "11ee11ee11ee11ee";
  watchdog::QuotaForecast quota;
  quota.quota = "per-user";
  quota.key = config::QuotaKey::user;
  quota.holder = "web";
  quota.sessions = 40;
  quota.limit = 50;
  quota.end.expected = 600s;
  seen.leaks.quota_forecasts = {quota};
  report->statement =
      "SELECT * FROM carts WHERE id = $1 AND \"note\" = $2\n -- " + std::string(200, 'x');
  report->statement_fingerprint = "00ff00ff00ff00ff";
  report->same_statement = 0.95;
  report->tags = {{"controller", "cart"}, {"route", "</script>"}};
  seen.leaks.reports = {report};
  source_.set(std::move(seen));
  const std::string body = json("/api/leaks");
  EXPECT_THAT(body, HasSubstr(R"("clients":[{"client_addr":"10.0.0.7","suspects":20},)"));
  EXPECT_THAT(body, HasSubstr(R"({"client_addr":null,"suspects":1}])"));
  EXPECT_THAT(body, HasSubstr(R"("oldest":[{"session":"42","client_addr":"10.0.0.7",)"
                              R"("client_port":40312,"pid":4711,"unused_seconds":312.000,)"
                              R"("bytes_to_server":96,"bytes_to_client":1234}])"));
  EXPECT_THAT(body, HasSubstr(R"("first_statement":"UPDATE carts SET note = $1",)"
                              R"("first_statement_fingerprint":"11ee11ee11ee11ee")"));
  for (const std::string& page : {body, json("/api/status")})
    EXPECT_THAT(page,
                HasSubstr(R"("quotas":[{"quota":"per-user","key":"user","holder":"web",)"
                          R"("sessions":40,"limit":50,"forecast":{"expected_seconds":600.000)"));
  EXPECT_THAT(body, HasSubstr(R"(AND \"note\" = $2  -- )" + std::string(200, 'x') + '"'))
      << "whole, and on one line";
  EXPECT_THAT(body, HasSubstr(R"("statement_fingerprint":"00ff00ff00ff00ff",)"
                              R"("same_statement_share":0.950)"));
  EXPECT_THAT(body, HasSubstr(R"("tags":{"controller":"cart",)"));
  EXPECT_THAT(body, HasSubstr(R"("clients":[],"oldest":[],"statement":null)"))
      << "of the other one nothing is known yet";
}

TEST_F(StatusPagesTest, ARuleIsShownWithWhatItMatchesAndWhatCameOfIt) {
  auto seen = status({});
  const std::string rule = source_.settings->rules.at(0).name;
  seen.rules.push_back({});
  seen.rules.back().rule = rule;
  seen.rules.back().matching = 5;
  seen.actions_total[{rule, "terminate", "observe", "observed"}] = 2;
  seen.actions_total[{rule, "terminate", "enforce", "observed"}] = 1;
  seen.actions_total[{rule, "terminate", "enforce", "confirmed"}] = 7;
  source_.set(std::move(seen));
  const std::string body = json("/api/rules");
  EXPECT_THAT(body, HasSubstr("\"rule\":\"" + rule + "\""));
  EXPECT_THAT(body, HasSubstr(R"("matching":5)"));
  EXPECT_THAT(body, HasSubstr("\"outcomes\":{\"confirmed\":7,\n\"observed\":3}"));
}

TEST_F(StatusPagesTest, WhoBlocksWhomIsShownByPid) {
  watchdog::BlockingForest forest;
  watchdog::BlockedSession wait;
  wait.pid = protocol::BackendPid{20};
  wait.session = 0;
  wait.mode = "AccessExclusiveLock";
  wait.lock_type = "relation";
  wait.waited = 9s;
  forest.waits.push_back(wait);
  watchdog::BlockingRoot root;
  root.kind = watchdog::RootKind::direct;
  root.pid = protocol::BackendPid{10};
  root.application = hostile;
  root.blocked.push_back({0, 4s});
  forest.roots.push_back(root);
  forest.taken = start;
  source_.set(status({.sessions = {session({})}, .blocking = forest}));
  const std::string body = json("/api/blocking");
  EXPECT_THAT(body, HasSubstr(R"("kind":"direct","pid":10,"session":null)"));
  EXPECT_THAT(body, HasSubstr(R"("blocked":[{"pid":20,"session":")"));
  EXPECT_THAT(body, HasSubstr(R"("waited_seconds":9.000,"because_of_it_seconds":4.000)"));
}

TEST_F(StatusPagesTest, AnActionIsFoundByItsIncidentWithTheEvidence) {
  source_.set(status({}));
  source_.actions.add(action("6QW623CVN4S4R000", watchdog::Outcome::confirmed));
  for (const auto* page : {"/api/actions", "/api/incidents/6QW623CVN4S4R000"}) {
    const std::string body = json(page);
    EXPECT_THAT(body,
                HasSubstr(R"("incident":"6QW623CVN4S4R000","at":"2023-11-14T22:13:20.500Z")"));
    EXPECT_THAT(body, HasSubstr(R"("outcome":"confirmed","why":"why it is so")"));
    EXPECT_THAT(body, HasSubstr(R"("measured_seconds":312.000,"limit_seconds":300.000)"));
  }
  for (const auto* none : {"/api/incidents/", "/api/incidents/X", "/api/incidents/../actions",
                           "/api/incidents/6QW623CVN4S4R000/"})
    EXPECT_EQ(get(none).status, 404U) << none;
}

TEST_F(StatusPagesTest, AHostileNameStaysWithinItsString) {
  auto seen = status({.sessions = {session({.application = hostile})}});
  seen.leaks.applications[hostile] = {};
  source_.set(std::move(seen));
  source_.actions.add(action("A", watchdog::Outcome::observed));
  for (const auto* page : {"/api/sessions", "/api/actions", "/api/leaks"})
    EXPECT_THAT(json(page),
                HasSubstr(R"("application":"</script><img src=x onerror=alert(1)>\"\\)"))
        << page;
}

TEST_F(StatusPagesTest, ThePageRunsNothingButItsOwnScript) {
  const Reply first = get("/");
  const Reply second = get("/?x=1");
  EXPECT_EQ(first.status, 200U);
  EXPECT_EQ(first.content_type, "text/html; charset=utf-8");
  EXPECT_NE(first.policy, second.policy) << "the number is another one at each request";
  EXPECT_THAT(first.policy, HasSubstr("default-src 'none'; style-src 'nonce-"));
  EXPECT_THAT(first.policy, Not(HasSubstr("unsafe")));
  const auto at = first.policy.find("nonce-") + 6;
  const std::string nonce = first.policy.substr(at, first.policy.find('\'', at) - at);
  EXPECT_EQ(nonce.size(), 32U);
  EXPECT_THAT(*first.body, HasSubstr("<script nonce=\"" + nonce + "\">"));
  EXPECT_THAT(*first.body, HasSubstr("<style nonce=\"" + nonce + "\">"));
  EXPECT_THAT(*first.body, Not(HasSubstr("NONCE")));
  for (const auto* never : {"http://", "https://", "innerHTML", "outerHTML", "insertAdjacentHTML",
                            "document.write", "eval(", "style=\"", " onclick", "//cdn"})
    EXPECT_THAT(*first.body, Not(HasSubstr(never)));
}

TEST_F(StatusPagesTest, KnowsNoOtherPath) {
  for (const auto* path : {"", "/api", "/api/", "/api/sessions/", "//api/sessions",
                           "/api/../metrics", "/api/%73essions", "/API/sessions", "/metrics",
                           "/../etc/passwd", "*", "/api/secrets", "/index.html"})
    EXPECT_EQ(get(path).status, 404U) << path;
}

}  // namespace
}  // namespace pgleash::metrics
