#include "watchdog/exemptions.hpp"

#include "session_builder.hpp"

#include <gtest/gtest.h>

#include <array>

namespace pgleash::watchdog {
namespace {

constexpr std::array all_kinds{RuleKind::idle,
                               RuleKind::idle_in_transaction,
                               RuleKind::aborted,
                               RuleKind::held,
                               RuleKind::stalled,
                               RuleKind::statement,
                               RuleKind::transaction_age,
                               RuleKind::session_age,
                               RuleKind::blocking,
                               RuleKind::group,
                               RuleKind::leak};

/// The state in which a session of that kind would be judged.
SessionBuilder session_for(RuleKind kind) {
  switch (kind) {
    case RuleKind::idle_in_transaction:
    case RuleKind::transaction_age:
      return SessionBuilder{SessionState::idle_in_transaction, 1h};
    case RuleKind::aborted:
      return SessionBuilder{SessionState::aborted, 1h};
    case RuleKind::held:
      return SessionBuilder{SessionState::pipeline_flushed, 1h};
    case RuleKind::stalled:
    case RuleKind::statement:
    case RuleKind::blocking:
    case RuleKind::group:
      return SessionBuilder{SessionState::busy, 1h}.row("active");
    case RuleKind::idle:
    case RuleKind::session_age:
    case RuleKind::leak:
      break;
    default:
      return SessionBuilder{SessionState::busy, 1h}.row("active");
  }
  return SessionBuilder{SessionState::idle, 1h};
}

Exemption ask(RuleKind kind, const Snapshot& snapshot, const config::Protect& protect = {}) {
  std::vector<config::Diagnostic> diagnostics;
  const Protection protection{protect, diagnostics};
  return exemption(kind, snapshot.sessions.at(0), protection, Freshness::of(snapshot, 30s));
}

/// The kinds for which `prepare` exempts, with the expected exemption; all others must say none.
template <class Prepare>
void expect_only(Exemption expected, std::initializer_list<RuleKind> kinds,
                 const config::Protect& protect, Prepare prepare) {
  for (const RuleKind kind : all_kinds) {
    auto session = session_for(kind);
    prepare(session);
    const bool listed = std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
    EXPECT_EQ(name(ask(kind, snapshot_of(session), protect)),
              name(listed ? expected : Exemption::none))
        << "kind " << config::name(kind);
  }
}

constexpr std::initializer_list<RuleKind> everything{RuleKind::idle,
                                                     RuleKind::idle_in_transaction,
                                                     RuleKind::aborted,
                                                     RuleKind::held,
                                                     RuleKind::stalled,
                                                     RuleKind::statement,
                                                     RuleKind::transaction_age,
                                                     RuleKind::session_age,
                                                     RuleKind::blocking,
                                                     RuleKind::group,
                                                     RuleKind::leak};

TEST(Exemption, HoldsForNobodyByItself) {
  expect_only(Exemption::none, {}, {}, [](SessionBuilder&) {});
}

TEST(Exemption, CoversReplicationInEveryKind) {
  expect_only(Exemption::replication, everything, {},
              [](SessionBuilder& s) { s.who().replication = true; });
}

TEST(Exemption, CoversSuperusersInEveryKindUnlessSwitchedOff) {
  const auto superuser = [](SessionBuilder& s) { s.entry().superuser = true; };
  expect_only(Exemption::superuser, everything, {}, superuser);
  config::Protect off;
  off.superusers = false;
  expect_only(Exemption::none, {}, off, superuser);
}

TEST(Exemption, CoversAPoolersStockAndNothingOfWhatItCarries) {
  expect_only(Exemption::pooler, {RuleKind::idle, RuleKind::session_age, RuleKind::leak}, {},
              [](SessionBuilder& s) { s.who().pooler = true; });
}

TEST(Exemption, CoversProtectedUsersInEveryKind) {
  config::Protect protect;
  protect.users = {pattern("repl.*")};
  expect_only(Exemption::protected_user, everything, protect,
              [](SessionBuilder& s) { s.user("replicator"); });
  expect_only(Exemption::none, {}, protect, [](SessionBuilder& s) { s.user("my_replicator"); });
}

TEST(Exemption, CoversProtectedClientsInEveryKind) {
  config::Protect protect;
  config::Network network;
  network.address = {10, 20, 9, 0};
  network.prefix = 24;
  protect.clients = {network};
  expect_only(Exemption::protected_client, everything, protect,
              [](SessionBuilder& s) { s.client("10.20.9.200"); });
  expect_only(Exemption::none, {}, protect, [](SessionBuilder& s) { s.client("10.20.8.200"); });
}

TEST(Exemption, CoversAProtectedEntryByApplicationAndUserTogetherOnly) {
  config::Protect protect;
  protect.entries = {{"pg_dump", {"backup", "backup_.*"}, {}}};
  expect_only(Exemption::protected_entry, everything, protect,
              [](SessionBuilder& s) { s.application("pg_dump").user("backup_2"); });
  expect_only(Exemption::none, {}, protect, [](SessionBuilder& s) { s.user("backup"); });
}

TEST(Exemption, DoesNotBelieveALeakerThatCallsItselfPgDump) {
  config::Protect protect;
  protect.entries = {{"pg_dump", {"backup"}, {}}};
  expect_only(Exemption::none, {}, protect, [](SessionBuilder& s) { s.application("pg_dump"); });
  expect_only(Exemption::none, {}, {}, [](SessionBuilder& s) { s.application("pg_dump"); });
}

TEST(Exemption, CoversAListenerWhileItIsIdleAndNotInALongTransaction) {
  expect_only(Exemption::listening, {RuleKind::idle, RuleKind::session_age, RuleKind::leak}, {},
              [](SessionBuilder& s) { s.facts().listening = true; });
}

TEST(Exemption, CoversADumpsSnapshotAndItsStatements) {
  expect_only(Exemption::dump,
              {RuleKind::idle_in_transaction, RuleKind::aborted, RuleKind::transaction_age,
               RuleKind::statement, RuleKind::group},
              {}, [](SessionBuilder& s) { s.facts().dump_transaction = true; });
}

TEST(Exemption, CoversATransactionWhoseSnapshotOthersWorkWith) {
  expect_only(Exemption::exported_snapshot,
              {RuleKind::idle_in_transaction, RuleKind::aborted, RuleKind::transaction_age,
               RuleKind::statement, RuleKind::group},
              {}, [](SessionBuilder& s) { s.facts().exported_snapshot = true; });
}

/// It is idle while the files are copied, and ends with the session.
TEST(Exemption, CoversABackupThatIsRunning) {
  expect_only(Exemption::backup,
              {RuleKind::idle, RuleKind::session_age, RuleKind::leak, RuleKind::idle_in_transaction,
               RuleKind::aborted, RuleKind::transaction_age, RuleKind::statement, RuleKind::group},
              {}, [](SessionBuilder& s) { s.facts().backup_running = true; });
}

TEST(Exemption, CoversACommitUnderWayExceptWhereNothingIsOutstanding) {
  expect_only(
      Exemption::commit,
      {RuleKind::idle_in_transaction, RuleKind::aborted, RuleKind::transaction_age,
       RuleKind::statement, RuleKind::held, RuleKind::stalled, RuleKind::blocking, RuleKind::group},
      {}, [](SessionBuilder& s) { s.facts().commit_outstanding = true; });
}

TEST(Exemption, CoversACopyWhileItMoves) {
  auto out = SessionBuilder{SessionState::copy_out, 2h}.in_transaction();
  out.facts().last_backend_byte = noon - 10s;
  EXPECT_EQ(ask(RuleKind::statement, snapshot_of(out)), Exemption::copy_moving);
  EXPECT_EQ(ask(RuleKind::transaction_age, snapshot_of(out)), Exemption::dump);
  EXPECT_EQ(ask(RuleKind::stalled, snapshot_of(out)), Exemption::none);
  out.facts().last_backend_byte = noon - 10s - 1ms;
  EXPECT_EQ(ask(RuleKind::statement, snapshot_of(out)), Exemption::none);
  EXPECT_EQ(ask(RuleKind::transaction_age, snapshot_of(out)), Exemption::none);

  auto in = SessionBuilder{SessionState::copy_in, 2h}.in_transaction();
  in.facts().last_frontend_byte = noon - 1s;
  EXPECT_EQ(ask(RuleKind::statement, snapshot_of(in)), Exemption::copy_moving);
}

// ---------------------------------------------------------------- what only the server knows

TEST(Exemption, CoversWhoHoldsAnAdvisoryLockWhileIdleAndInNoOtherState) {
  expect_only(Exemption::advisory_lock, {RuleKind::idle, RuleKind::session_age, RuleKind::leak}, {},
              [](SessionBuilder& s) { s.entry().advisory_lock = true; });
}

TEST(Exemption, OfAnIdleSessionIsUnknownUnlessItWasAskedForAdvisoryLocksWhileIdle) {
  const auto idle = SessionBuilder{SessionState::idle, 5min};
  auto asked = snapshot_of(idle);
  for (const auto& [ago, expected] : {std::pair{Duration{0s}, Exemption::none},
                                      {Duration{30s}, Exemption::none},
                                      {Duration{31s}, Exemption::unknown}}) {
    asked.advisory_taken = noon - ago;
    EXPECT_EQ(ask(RuleKind::idle, asked), expected) << ago.count();
    EXPECT_EQ(ask(RuleKind::session_age, asked), expected) << ago.count();
  }
  auto just_idle = snapshot_of(SessionBuilder{SessionState::idle, 1s});
  just_idle.advisory_taken = noon - 2s;
  EXPECT_EQ(ask(RuleKind::idle, just_idle), Exemption::unknown);
  EXPECT_EQ(ask(RuleKind::session_age, just_idle), Exemption::none) << "it is fresh";
  just_idle.advisory_taken.reset();
  EXPECT_EQ(ask(RuleKind::session_age, just_idle), Exemption::unknown);
  EXPECT_EQ(ask(RuleKind::idle, without_monitor(just_idle)), Exemption::none);
  auto unmapped = snapshot_of(SessionBuilder{SessionState::idle, 5min});
  unmapped.sessions[0].backend.reset();
  EXPECT_EQ(ask(RuleKind::idle, unmapped), Exemption::unknown);
}

TEST(Exemption, CoversAWaitForSynchronousReplication) {
  const auto waiting = SessionBuilder{SessionState::busy, 1h}.row("active", "SyncRep");
  for (const RuleKind kind : {RuleKind::statement, RuleKind::transaction_age, RuleKind::stalled}) {
    EXPECT_EQ(ask(kind, snapshot_of(waiting)), Exemption::sync_replication) << config::name(kind);
  }
}

TEST(Exemption, IsUnknownForAWorkingServerWithoutAFreshRow) {
  for (const RuleKind kind : {RuleKind::statement, RuleKind::transaction_age, RuleKind::stalled}) {
    const auto busy = SessionBuilder{SessionState::busy, 1h}.row("active");
    EXPECT_EQ(ask(kind, snapshot_of(busy)), Exemption::none) << config::name(kind);
    EXPECT_EQ(ask(kind, without_sample(snapshot_of(busy))), Exemption::unknown)
        << config::name(kind);
    auto stale = snapshot_of(busy);
    stale.sample_age = 30s + 1ms;
    EXPECT_EQ(ask(kind, stale), Exemption::unknown) << config::name(kind);
    stale.sample_age = 30s;
    EXPECT_EQ(ask(kind, stale), Exemption::none) << config::name(kind);
  }
}

TEST(Exemption, IsUnknownWhenTheRowIsFromBeforeTheRequestOrOfAnIdleMoment) {
  const auto just_begun =
      SessionBuilder{SessionState::busy, 900ms}.row("active");  // the sample is one second old
  EXPECT_EQ(ask(RuleKind::statement, snapshot_of(just_begun)), Exemption::unknown);
  const auto seen_idle = SessionBuilder{SessionState::busy, 1h}.row("idle");
  EXPECT_EQ(ask(RuleKind::statement, snapshot_of(seen_idle)), Exemption::unknown);
}

TEST(Exemption, WaitsForNoMonitorThatIsNotConfigured) {
  const auto busy = SessionBuilder{SessionState::busy, 1h};
  EXPECT_EQ(ask(RuleKind::statement, without_monitor(snapshot_of(busy))), Exemption::none);
}

TEST(Exemption, NeedsNoSampleWhereTheServerCannotBeCommitting) {
  const auto explicit_transaction = SessionBuilder{SessionState::busy, 1h}.in_transaction();
  EXPECT_EQ(ask(RuleKind::statement, without_sample(snapshot_of(explicit_transaction))),
            Exemption::none);
  for (const RuleKind kind : {RuleKind::idle_in_transaction, RuleKind::aborted, RuleKind::held,
                              RuleKind::transaction_age}) {
    EXPECT_EQ(ask(kind, without_sample(snapshot_of(session_for(kind)))), Exemption::none)
        << config::name(kind);
  }
}

TEST(Exemption, DoesNotTakeAnEarlierCommitsWaitForThatOfASessionThatIsIdleInTransactionNow) {
  const auto idle = SessionBuilder{SessionState::idle_in_transaction, 1h}.row("active", "SyncRep");
  EXPECT_EQ(ask(RuleKind::idle_in_transaction, snapshot_of(idle)), Exemption::none);
}

// ---------------------------------------------------------------- maintenance

Answer maintenance_of(const std::string& query, bool fresh = true) {
  auto session = SessionBuilder{SessionState::busy, 1h}.row("active", {}, query);
  session.facts().statement.unknown = true;
  const Snapshot snapshot = fresh ? snapshot_of(session) : without_sample(snapshot_of(session));
  return maintenance(snapshot.sessions[0], Freshness::of(snapshot, 30s));
}

TEST(Maintenance, IsReadFromTheRowsLeadingKeywordWhenTheTextDidNotPassWhole) {
  for (const char* query :
       {"VACUUM big", "vacuum (analyze) big", "  -- nightly\n analyze",
        "/* a /* nested */ b */ REINDEX t", "create index concurrently i on t (a)",
        "CREATE UNIQUE INDEX i ON t (a)", "refresh materialized view v", "ALTER TABLE t ADD c int",
        "copy t to stdout", "call nightly()", "cluster t"}) {
    EXPECT_TRUE(maintenance_of(query) == Answer::yes) << query;
  }
  for (const char* query :
       {"SELECT 1", "(select 1)", "with a as (select 1) select", "create table t as select 1",
        "insert into t", "vacuums", "execute p", "UPDATE t SET a = 1"}) {
    EXPECT_TRUE(maintenance_of(query) == Answer::no) << query;
  }
  for (const char* query : {"", "/* a comment that does not end", "-- nothing else",
                            "begin; alter table t", "set x to 1; vacuum", "create"}) {
    EXPECT_TRUE(maintenance_of(query) == Answer::unknown) << query;
  }
}

TEST(Exemption, NeedsNoFreshRowWhereNobodyWaitsForStandbys) {
  auto statement = SessionBuilder{SessionState::busy, 30min};
  Snapshot snapshot = snapshot_of(statement);
  snapshot.monitor_up = false;
  snapshot.sample_age = 20min;  // the server is full, and the monitor long out
  EXPECT_EQ(ask(RuleKind::statement, snapshot), Exemption::unknown);
  snapshot.synchronous_replication = false;
  EXPECT_EQ(ask(RuleKind::statement, snapshot), Exemption::none);
  EXPECT_EQ(ask(RuleKind::transaction_age, snapshot), Exemption::none);

  statement.who().connected = noon - 10min;
  Snapshot later = snapshot_of(statement);
  later.sample_age = 20min;
  later.synchronous_replication = false;
  EXPECT_EQ(ask(RuleKind::statement, later), Exemption::unknown) << "it may be another server";
  EXPECT_EQ(ask(RuleKind::statement,
                snapshot_of(SessionBuilder{SessionState::busy, 30min}.row("active", "SyncRep"))),
            Exemption::sync_replication);
}

TEST(Maintenance, OfAnUnknownStatementIsUnknownWithoutAFreshRow) {
  EXPECT_TRUE(maintenance_of("select 1", false) == Answer::unknown);
  auto session = SessionBuilder{SessionState::busy, 1h}.in_transaction();
  session.facts().statement.unknown = true;
  EXPECT_EQ(ask(RuleKind::statement, without_sample(snapshot_of(session))), Exemption::unknown);
  EXPECT_EQ(ask(RuleKind::statement, without_monitor(snapshot_of(session))), Exemption::unknown);
  EXPECT_EQ(ask(RuleKind::transaction_age, without_sample(snapshot_of(session))), Exemption::none);
}

TEST(Maintenance, OfAKnownStatementNeedsNoRow) {
  auto session = SessionBuilder{SessionState::busy, 1h};
  const Snapshot plain = without_sample(snapshot_of(session));
  EXPECT_TRUE(maintenance(plain.sessions[0], Freshness::of(plain, 30s)) == Answer::no);
  session.facts().statement.maintenance = true;
  const Snapshot vacuum = without_sample(snapshot_of(session));
  EXPECT_TRUE(maintenance(vacuum.sessions[0], Freshness::of(vacuum, 30s)) == Answer::yes);
}

/// A session in a marked transaction that is as old as that.
SessionBuilder marked(Duration age) {
  auto session = SessionBuilder{SessionState::idle_in_transaction, age};
  session.facts().marked = true;
  return session;
}

config::Protect with_marker_of(std::string user) {
  config::Protect protect;
  protect.marker_users = {pattern(std::move(user))};
  protect.marker_max = 1h;
  return protect;
}

TEST(Exemptions, AMarkedTransactionOfAMarkerUserIsLeftAloneByEveryKind) {
  for (const RuleKind kind : all_kinds) {
    auto session = session_for(kind);
    session.facts().marked = true;
    EXPECT_EQ(ask(kind, snapshot_of(session), with_marker_of("ali.*")), Exemption::marker)
        << config::name(kind);
  }
}

TEST(Exemptions, AMarkerIsNothingInTheHandsOfOthers) {
  constexpr auto kind = RuleKind::idle_in_transaction;
  EXPECT_EQ(ask(kind, snapshot_of(marked(1min))), Exemption::none) << "nobody is listed";
  EXPECT_EQ(ask(kind, snapshot_of(marked(1min)), with_marker_of("alic")), Exemption::none);
  EXPECT_EQ(ask(kind, snapshot_of(marked(1min)), with_marker_of("bob")), Exemption::none);
}

TEST(Exemptions, AMarkerProtectsNoLongerThanItMay) {
  constexpr auto kind = RuleKind::transaction_age;
  EXPECT_EQ(ask(kind, snapshot_of(marked(1h)), with_marker_of("alice")), Exemption::marker);
  EXPECT_EQ(ask(kind, snapshot_of(marked(1h + 1ms)), with_marker_of("alice")), Exemption::none);
}

TEST(Exemptions, OfCostAreThoseOfStatements) {
  auto dump = SessionBuilder{SessionState::busy, 1h}.in_transaction().row("active");
  dump.facts().dump_transaction = true;
  auto copy = SessionBuilder{SessionState::copy_out, 1h}.in_transaction().row("active");
  copy.facts().last_backend_byte = noon;
  auto commit = SessionBuilder{SessionState::busy, 1h}.in_transaction().row("active");
  commit.facts().commit_outstanding = true;
  for (const RuleKind kind : {RuleKind::sent_bytes, RuleKind::temp_bytes, RuleKind::cpu_time}) {
    EXPECT_EQ(ask(kind, snapshot_of(dump)), Exemption::dump);
    EXPECT_EQ(ask(kind, snapshot_of(copy)), Exemption::copy_moving);
    EXPECT_EQ(ask(kind, snapshot_of(commit)), Exemption::commit);
  }
}

}  // namespace
}  // namespace pgleash::watchdog
