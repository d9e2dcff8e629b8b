#include "watchdog/direct_sessions.hpp"

#include "session_builder.hpp"

#include <gmock/gmock.h>

namespace pgleash::watchdog {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

ActivityRow row_of(std::string state, Duration age = 10min, std::string query = {}) {
  ActivityRow row;
  row.backend = {protocol::BackendPid{300}, {9'000}};
  row.user = "bob";
  row.database = "orders";
  row.application_name = "report";
  row.client_addr = "10.0.0.9";
  row.client_port = 5555;
  row.state = std::move(state);
  row.state_change = row.query_start = {1'000'000};
  row.state_age = row.query_age = row.backend_age = age;
  row.query = std::move(query);
  if (row.state != "idle") {
    row.xact_start = ServerTime{1'000'000};
    row.transaction_age = age;
  }
  return row;
}

class Direct : public ::testing::Test {
 protected:
  static Snapshot snapshot(std::vector<ActivityRow> rows) {
    Snapshot made;
    made.now = noon;
    made.server = "orders";
    made.monitor_up = true;
    made.sample_age = 1s;
    made.direct = std::move(rows);
    return made;
  }
  static Snapshot judgeable(const Snapshot& all, const std::vector<BackendId>& skip = {}) {
    OtherInstances others;
    others.see(all, {});
    return direct_snapshot(all, {}, others, skip);
  }
  static std::vector<std::string> judged(const std::vector<config::Rule>& rules,
                                         const Snapshot& direct) {
    std::vector<std::string> names;
    for (const Verdict& v : engine(rules)->evaluate(judgeable(direct)).verdicts)
      names.push_back(v.rule +
                      (v.exemption == Exemption::none ? "" : "/" + std::string{name(v.exemption)}));
    return names;
  }
};

TEST_F(Direct, EachKindJudgesTheStateItIsNamedAfter) {
  const std::vector<config::Rule> rules{
      rule("idle", RuleKind::idle, 1min, Action::observe),
      rule("in-tx", RuleKind::idle_in_transaction, 1min, Action::observe),
      rule("aborted", RuleKind::aborted, 1min, Action::observe),
      rule("statement", RuleKind::statement, 1min, Action::observe),
      rule("tx-age", RuleKind::transaction_age, 1min, Action::observe),
      rule("age", RuleKind::session_age, 1min, Action::observe)};
  EXPECT_THAT(judged(rules, snapshot({row_of("idle")})),
              testing::UnorderedElementsAre("idle", "age"));
  EXPECT_THAT(judged(rules, snapshot({row_of("idle in transaction")})),
              testing::UnorderedElementsAre("in-tx", "tx-age"));
  EXPECT_THAT(judged(rules, snapshot({row_of("idle in transaction (aborted)")})),
              testing::UnorderedElementsAre("aborted", "tx-age"));
  EXPECT_THAT(judged(rules, snapshot({row_of("active", 10min, "SELECT pg_sleep(1)")})),
              testing::UnorderedElementsAre("statement", "tx-age"));
  EXPECT_THAT(judged(rules, snapshot({row_of("idle", 59s)})), IsEmpty());
  EXPECT_THAT(judged(rules, snapshot({row_of("")})), IsEmpty());
  EXPECT_THAT(judged(rules, snapshot({row_of("disabled")})), IsEmpty());
}

TEST_F(Direct, RulesThatRestOnTheStreamAreLeftOut) {
  EXPECT_THAT(rules_for_direct({rule("held", RuleKind::held, 1min),
                                rule("stalled", RuleKind::stalled, 1min),
                                rule("idle", RuleKind::idle, 1min)}),
              SizeIs(1));
}

TEST_F(Direct, MatchesByWhatTheServerShows) {
  auto fits = rule("fits", RuleKind::idle, 1min, Action::observe);
  fits.match.applications = {pattern("report")};
  fits.match.users = {pattern("bob")};
  auto no = rule("no", RuleKind::idle, 1min, Action::observe);
  no.match.applications = {pattern("report-.*")};
  EXPECT_THAT(judged({fits, no}, snapshot({row_of("idle")})), ElementsAre("fits"));
}

TEST_F(Direct, SuperusersAndUnknownRolesAreOutOfReach) {
  ActivityRow super = row_of("idle");
  super.superuser = true;
  ActivityRow nobody = row_of("idle");
  nobody.user.clear();
  EXPECT_THAT(judgeable(snapshot({super, nobody})).sessions, IsEmpty());
}

TEST_F(Direct, ConnectionsOfAnotherPgleashAndSessionsThatMayBeItsAreLeftAlone) {
  ActivityRow monitor = row_of("idle");
  monitor.user = "pgleash_monitor";
  monitor.database = "elsewhere";
  monitor.client_addr = "10.0.0.20";
  ActivityRow its_session = row_of("idle");
  its_session.backend.pid = protocol::BackendPid{301};
  its_session.client_addr = "10.0.0.20";
  ActivityRow in_its_database = row_of("idle");
  in_its_database.database = "pgleash";
  in_its_database.client_addr = "10.0.0.21";
  const auto left = judgeable(snapshot({monitor, its_session, in_its_database, row_of("idle")}));
  ASSERT_THAT(left.sessions, SizeIs(1));
  EXPECT_EQ(left.sessions[0].view.who->client.address, "10.0.0.9");
}

TEST_F(Direct, WhatAnotherPgleashLeftBehindWhenItDiedIsLeftAloneForAWhile) {
  ActivityRow monitor = row_of("idle");
  monitor.user = "pgleash_monitor";
  OtherInstances others;
  Snapshot moment = snapshot({monitor});
  others.see(moment, {});
  moment = snapshot({row_of("active")});
  moment.now += 9min;
  others.see(moment, {});
  EXPECT_THAT(direct_snapshot(moment, {}, others, {}).sessions, IsEmpty());
  moment.now += 2min;
  others.see(moment, {});
  EXPECT_THAT(direct_snapshot(moment, {}, others, {}).sessions, SizeIs(1));
}

TEST_F(Direct, ConnectionsOfItsOwnMakeNobodySpared) {
  ActivityRow own = row_of("idle");
  own.backend.pid = protocol::BackendPid{301};
  own.user = "pgleash_monitor";
  own.application_name = "pgleash 3f9a01bc";
  own.in_our_name = true;
  ActivityRow watch = own;
  watch.backend.pid = protocol::BackendPid{302};
  watch.application_name = "pgleash watch";
  watch.in_our_name = false;
  const auto left = judgeable(snapshot({own, watch, row_of("idle")}));
  ASSERT_THAT(left.sessions, SizeIs(1)) << "neither are they judged themselves";
  EXPECT_EQ(left.sessions[0].backend->pid, protocol::BackendPid{300});
}

TEST_F(Direct, WhateverElseTheMonitorsRoleCallsItselfSparesThePlaceItComesFrom) {
  for (const char* name : {"pgleash", "pgleash 00000000", "psql", "", "pgleash watch2"}) {
    ActivityRow other = row_of("idle");
    other.backend.pid = protocol::BackendPid{301};
    other.user = "pgleash_monitor";
    other.application_name = name;
    EXPECT_THAT(judgeable(snapshot({other, row_of("idle")})).sessions, IsEmpty()) << name;
  }
}

/// Who lies about the name cannot make another pgleash unseen.
TEST_F(Direct, ALiarBesideAnotherPgleashHidesNothing) {
  ActivityRow other = row_of("idle");
  other.backend.pid = protocol::BackendPid{301};
  other.user = "pgleash_monitor";
  other.application_name = "pgleash 00000000";
  for (const char* lie : {"pgleash 3f9a01bc", "pgleash watch"}) {
    ActivityRow liar = other;
    liar.backend.pid = protocol::BackendPid{302};
    liar.application_name = lie;
    liar.in_our_name = true;
    EXPECT_THAT(judgeable(snapshot({liar, other, row_of("idle")})).sessions, IsEmpty()) << lie;
    EXPECT_THAT(judgeable(snapshot({other, liar, row_of("idle")})).sessions, IsEmpty()) << lie;
  }
}

/// Any client may take a name: it neither spares its place nor itself.
TEST_F(Direct, AnApplicationThatCallsItselfPgleashIsJudgedAsAnyOther) {
  for (const char* name : {"pgleash", "pgleash 3f9a01bc", "pgleash 00000000", "pgleash watch"}) {
    ActivityRow liar = row_of("idle");
    liar.application_name = name;
    EXPECT_THAT(judgeable(snapshot({liar})).sessions, SizeIs(1)) << name;
    liar.in_our_name = true;
    EXPECT_THAT(judgeable(snapshot({liar})).sessions, SizeIs(1)) << name;
  }
}

TEST_F(Direct, OrphansHaveAVerdictOfTheirOwn) {
  EXPECT_THAT(judgeable(snapshot({row_of("idle")}), {row_of("idle").backend}).sessions, IsEmpty());
}

TEST_F(Direct, WithoutAFreshSampleNobodyIsJudged) {
  Snapshot old = snapshot({row_of("idle")});
  old.monitor_up = false;
  EXPECT_THAT(judgeable(old).sessions, IsEmpty());
}

TEST_F(Direct, MaintenanceCommitsStandbyWaitsAndDumpsAreSpared) {
  const std::vector<config::Rule> rules{rule("st", RuleKind::statement, 1min)};
  EXPECT_THAT(judged(rules, snapshot({row_of("active", 10min, "VACUUM FULL t")})), IsEmpty());
  EXPECT_THAT(judged(rules, snapshot({row_of("active", 10min, "COMMIT")})),
              ElementsAre("st/commit"));
  ActivityRow waits = row_of("active", 10min, "insert into t values (1)");
  waits.wait_event = "SyncRep";
  EXPECT_THAT(judged(rules, snapshot({waits})), ElementsAre("st/sync_replication"));
  ActivityRow dump = row_of("idle in transaction");
  dump.application_name = "pg_dump";
  EXPECT_THAT(judged({rule("tx", RuleKind::idle_in_transaction, 1min)}, snapshot({dump})),
              ElementsAre("tx/dump"));
}

TEST_F(Direct, TheSameActivityIsJudgedOnceAndTheNextOneAgain) {
  const auto rules = engine({rule("tx", RuleKind::idle_in_transaction, 1min)});
  const auto judge = [&](const ActivityRow& row) {
    return rules->evaluate(judgeable(snapshot({row}))).verdicts.size();
  };
  ActivityRow row = row_of("idle in transaction");
  EXPECT_EQ(judge(row), 1U);
  EXPECT_EQ(judge(row), 0U);
  row.state_change = {2'000'000};
  EXPECT_EQ(judge(row), 1U);
}

TEST_F(Direct, BackendsOfOnePidInTurnAreDifferentSessions) {
  ActivityRow first = row_of("idle");
  ActivityRow second = row_of("idle");
  second.backend.backend_start = {9'001};
  const auto a = judgeable(snapshot({first})).sessions[0].view.id;
  const auto b = judgeable(snapshot({second})).sessions[0].view.id;
  EXPECT_NE(a, b);
  EXPECT_NE(proxy::number(a) >> 48U, 0U);  // no worker has such a number
}

}  // namespace
}  // namespace pgleash::watchdog
