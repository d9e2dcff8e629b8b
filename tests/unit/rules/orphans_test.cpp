#include "watchdog/orphans.hpp"

#include "session_builder.hpp"
#include "watchdog/direct_sessions.hpp"

#include <gmock/gmock.h>

namespace pgleash::watchdog {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

constexpr Duration poll = 2s;
constexpr ServerIdentity server{7, 1, {1'000}, false};
constexpr ServerIdentity hidden{};
const proxy::Endpoint tcp{"10.0.0.1", 40001};
const proxy::Endpoint through_unix_socket{};
constexpr BackendId backend{protocol::BackendPid{101}, {5'000}};

ActivityRow row_of(const BackendId& id = backend, const proxy::Endpoint& leg = tcp) {
  ActivityRow row;
  row.backend = id;
  row.client_addr = leg.address;
  row.client_port = leg.port;
  row.user = "alice";
  row.database = "orders";
  row.application_name = "checkout";
  row.state = "active";
  row.backend_age = 1min;
  return row;
}

proxy::LegRecord record_of(const proxy::Endpoint& leg = tcp) {
  proxy::LegRecord record;
  record.incarnation = 1;
  record.session = proxy::SessionId{1};
  record.server = proxy::server_hash("orders");
  record.pid = backend.pid;
  record.leg = leg;
  record.proof = proxy::BackendProof{server.system_identifier, server.started.microseconds,
                                     backend.backend_start.microseconds};
  return record;
}

struct Found : OrphanReport {
  std::vector<Orphan> found;
};

/// Ticks with the samples that come with them.
class Orphans : public ::testing::Test {
 protected:
  explicit Orphans(std::vector<proxy::LegRecord> inherited = {})
      : reconcile("orders", poll, inherited) {}

  static SessionEntry session(std::uint64_t id = 1, proxy::Endpoint leg = tcp,
                              Mapping mapping = Mapping::confirmed) {
    SessionBuilder builder{SessionState::busy};
    builder.id(id).mapping(mapping);
    builder.who().leg = std::move(leg);
    builder.who().journal_slot = 5;
    builder.entry().backend = backend;
    return builder;
  }
  static SessionEntry seen(SessionEntry entry) {
    entry.row = row_of(*entry.backend, entry.view.who->leg);
    return entry;
  }

  /// A tick at `second`, with a sample taken just before it.
  Found at(int second, const std::vector<SessionEntry>& sessions, std::vector<ActivityRow> rows,
           ServerIdentity identity = server) {
    sample_ = ActivitySample{};
    sample_.taken = noon + std::chrono::seconds{second} - 1ms;
    sample_.rows.assign(rows.begin(), rows.end());
    sample_.identity = identity;
    return tick(second, sessions);
  }
  /// A tick between two samples.
  Found tick(int second, const std::vector<SessionEntry>& sessions) {
    Snapshot snapshot;
    snapshot.now = noon + std::chrono::seconds{second};
    snapshot.server = "orders";
    snapshot.sessions = sessions;
    Found found{reconcile.reconcile(snapshot, &sample_, true), {}};
    found.found = reconcile.unsaid();
    return found;
  }

  OrphanReconcile reconcile;

 private:
  ActivitySample sample_;
};

TEST_F(Orphans, ABackendThatStaysAfterItsSessionIsFoundInTheSecondSampleTwoPollsApart) {
  EXPECT_EQ(at(0, {seen(session())}, {row_of()}).orphans, 0U);
  EXPECT_EQ(at(2, {}, {row_of()}).orphans, 0U);  // its session ended in this very tick
  EXPECT_EQ(at(4, {}, {row_of()}).orphans, 0U);
  EXPECT_EQ(at(6, {}, {row_of()}).orphans, 0U);
  const Found report = at(8, {}, {row_of()});
  EXPECT_EQ(report.orphans, 1U);
  ASSERT_THAT(report.found, SizeIs(1));
  EXPECT_EQ(report.found[0].unproven, "");
  EXPECT_EQ(report.found[0].row.backend, backend);
  EXPECT_FALSE(report.found[0].earlier_run);
  EXPECT_EQ(report.found[0].since, 4s);
  EXPECT_EQ(report.found[0].who->client.address, "10.0.0.7");
  // Said once, counted as long as it is there.
  EXPECT_THAT(at(10, {}, {row_of()}).found, IsEmpty());
  EXPECT_EQ(tick(11, {}).orphans, 1U);
  EXPECT_EQ(at(12, {}, {}).orphans, 0U);
}

TEST_F(Orphans, TicksBetweenSamplesProveNothing) {
  (void)at(0, {seen(session())}, {row_of()});
  (void)tick(1, {});
  (void)at(2, {}, {row_of()});
  for (int second = 3; second < 60; ++second) EXPECT_EQ(tick(second, {}).orphans, 0U);
}

TEST_F(Orphans, ASampleThatWasTakenBeforeTheSessionEndedProvesNothing) {
  (void)at(0, {seen(session())}, {row_of()});
  (void)at(60, {}, {row_of()});
  EXPECT_EQ(at(62, {}, {row_of()}).orphans, 0U);
}

TEST_F(Orphans, ABackendThatLeavesWithItsSessionIsNone) {
  (void)at(0, {seen(session())}, {row_of()});
  (void)at(2, {}, {row_of()});
  EXPECT_EQ(at(4, {}, {}).orphans, 0U);
  EXPECT_EQ(at(40, {}, {row_of()}).orphans, 0U);  // whoever that is
}

TEST_F(Orphans, IsFoundAgainOnceForgotten) {
  (void)at(0, {seen(session())}, {row_of()});
  for (int second = 2; second < 10; second += 2) (void)at(second, {}, {row_of()});
  reconcile.forget(backend);
  const Found again = tick(9, {});
  ASSERT_THAT(again.found, SizeIs(1));
  EXPECT_TRUE(again.found[0].again);
  EXPECT_THAT(at(10, {}, {row_of()}).found, IsEmpty());
  EXPECT_THAT(at(12, {}, {row_of()}).found, IsEmpty());
}

TEST_F(Orphans, AnotherBackendOfThatPidIsNotOurs) {
  (void)at(0, {seen(session())}, {row_of()});
  for (int second = 2; second < 60; second += 2)
    EXPECT_EQ(at(second, {}, {row_of({backend.pid, {5'001}})}).orphans, 0U);
}

TEST_F(Orphans, ABackendOfAnotherAddressOrPortIsNotOurs) {
  (void)at(0, {seen(session())}, {row_of()});
  for (int second = 2; second < 20; second += 2)
    EXPECT_EQ(at(second, {}, {row_of(backend, {"10.0.0.1", 40002})}).orphans, 0U);
  (void)at(30, {seen(session(2))}, {row_of()});
  for (int second = 32; second < 60; second += 2)
    EXPECT_EQ(at(second, {}, {row_of(backend, {"10.0.0.2", 40001})}).orphans, 0U);
}

/// Another pgleash before the same server: its sessions are direct ones here, and in no record of
/// ours.
TEST_F(Orphans, BackendsThatNeverServedASessionOfOursAreNone) {
  for (int second = 0; second < 60; second += 2)
    EXPECT_EQ(
        at(second, {}, {row_of(), row_of({protocol::BackendPid{5}, {6}}, {"10.0.0.1", 9})}).orphans,
        0U);
}

TEST_F(Orphans, ARestartedServerHasNoneOfTheOldBackends) {
  (void)at(0, {seen(session())}, {row_of()});
  for (int second = 2; second < 60; second += 2)
    EXPECT_EQ(at(second, {}, {row_of()}, ServerIdentity{7, 1, {2'000}, false}).orphans, 0U);
}

TEST_F(Orphans, APromotedServerKeepsItsBackends) {
  (void)at(0, {seen(session())}, {row_of()});
  for (int second = 2; second < 8; second += 2) (void)at(second, {}, {row_of()});
  EXPECT_EQ(at(8, {}, {row_of()}, ServerIdentity{7, 2, {1'000}, false}).orphans, 1U);
}

TEST_F(Orphans, WithoutASecondWitnessItIsReportedAndUnproven) {
  SessionEntry unseen = session(1, tcp, Mapping::in_band);
  unseen.backend.reset();
  (void)at(0, {unseen}, {});
  for (int second = 2; second < 8; second += 2) (void)at(second, {}, {row_of()});
  const Found report = at(8, {}, {row_of()});
  EXPECT_EQ(report.orphans, 1U);
  ASSERT_THAT(report.found, SizeIs(1));
  EXPECT_NE(report.found[0].unproven, "");
}

TEST_F(Orphans, AConflictTakesTheProofAway) {
  (void)at(0, {seen(session())}, {row_of()});
  (void)at(2, {session(1, tcp, Mapping::conflict)}, {row_of()});
  for (int second = 4; second < 12; second += 2) (void)at(second, {}, {row_of()});
  reconcile.forget(backend);
  for (const Orphan& orphan : at(12, {}, {row_of()}).found) EXPECT_NE(orphan.unproven, "");
}

TEST_F(Orphans, ThroughAUnixSocketPidAndBackendStartDecide) {
  (void)at(0, {seen(session(1, through_unix_socket))}, {row_of(backend, through_unix_socket)});
  for (int second = 2; second < 8; second += 2)
    (void)at(second, {}, {row_of(backend, through_unix_socket)});
  const Found report = at(8, {}, {row_of(backend, through_unix_socket)});
  ASSERT_THAT(report.found, SizeIs(1));
  EXPECT_EQ(report.found[0].unproven, "");
}

TEST_F(Orphans, ThroughAUnixSocketAPidAloneIsNobodys) {
  SessionEntry unseen = session(1, through_unix_socket, Mapping::in_band);
  unseen.backend.reset();
  (void)at(0, {unseen}, {});
  for (int second = 2; second < 60; second += 2)
    EXPECT_EQ(at(second, {}, {row_of(backend, through_unix_socket)}).orphans, 0U);
}

TEST_F(Orphans, APortThatASessionOfOursUsesAgainIsNoOrphan) {
  SessionEntry unseen = session(1, tcp, Mapping::in_band);
  unseen.backend.reset();
  (void)at(0, {unseen}, {});
  for (int second = 2; second < 20; second += 2)
    EXPECT_EQ(at(second, {seen(session(2))}, {row_of()}).orphans, 0U);
}

TEST_F(Orphans, WithoutAMonitorNothingIsFound) {
  (void)at(0, {seen(session())}, {row_of()});
  Snapshot snapshot;
  for (int second = 2; second < 60; second += 2) {
    snapshot.now = noon + std::chrono::seconds{second};
    EXPECT_EQ(reconcile.reconcile(snapshot, nullptr, false).orphans, 0U);
  }
}

TEST_F(Orphans, CompletesTheJournalOnceWithWhatTheServerIs) {
  const Found first = at(0, {seen(session())}, {row_of()});
  ASSERT_THAT(first.completions, SizeIs(1));
  EXPECT_EQ(first.completions[0].slot, 5);
  EXPECT_EQ(first.completions[0].session, proxy::SessionId{1});
  EXPECT_EQ(first.completions[0].proof, (proxy::BackendProof{7, 1'000, 5'000}));
  EXPECT_THAT(at(2, {seen(session())}, {row_of()}).completions, IsEmpty());
}

TEST_F(Orphans, CompletesNothingThatIsNotConfirmed) {
  EXPECT_THAT(at(0, {seen(session(1, tcp, Mapping::by_port))}, {row_of()}).completions, IsEmpty());
  EXPECT_THAT(at(2, {session(1, tcp, Mapping::conflict)}, {row_of()}).completions, IsEmpty());
  EXPECT_THAT(at(4, {seen(session())}, {row_of()}, hidden).completions, IsEmpty());
  EXPECT_THAT(at(6, {seen(session())}, {row_of()}).completions, SizeIs(1));
}

TEST_F(Orphans, ASessionIsLostWhenThreeSamplesDoNotShowItsBackend) {
  (void)at(0, {seen(session())}, {row_of()});
  EXPECT_EQ(at(2, {session()}, {}).lost_sessions, 0U);
  EXPECT_EQ(at(4, {session()}, {}).lost_sessions, 0U);
  const Found report = at(6, {session()}, {});
  EXPECT_EQ(report.lost_sessions, 1U);
  EXPECT_THAT(report.newly_lost, testing::ElementsAre(proxy::SessionId{1}));
  EXPECT_THAT(at(8, {session()}, {}).newly_lost, IsEmpty());
  EXPECT_EQ(at(10, {seen(session())}, {row_of()}).lost_sessions, 0U);
}

TEST_F(Orphans, ASessionWhoseBackendWasNeverSeenIsNotLost) {
  SessionEntry pooled = session(1, tcp, Mapping::in_band);
  pooled.backend.reset();
  for (int second = 0; second < 20; second += 2)
    EXPECT_EQ(at(second, {pooled}, {}).lost_sessions, 0U);
}

// ---------------------------------------------------------------- across a crash

struct Inherited : Orphans {
  explicit Inherited(proxy::LegRecord record = record_of()) : Orphans({std::move(record)}) {}
};

TEST_F(Inherited, ACompleteRecordWhoseBackendIsThereIsAnOrphanThatIsProven) {
  EXPECT_EQ(at(0, {}, {row_of()}).orphans, 0U);
  EXPECT_EQ(at(2, {}, {row_of()}).orphans, 0U);
  const Found report = at(4, {}, {row_of()});
  ASSERT_THAT(report.found, SizeIs(1));
  EXPECT_EQ(report.found[0].unproven, "");
  EXPECT_TRUE(report.found[0].earlier_run);
  // Ours have numbers of their own, which begin anew with each run.
  EXPECT_NE(proxy::number(report.found[0].entry.view.id) >> 48U, 0U);
  EXPECT_EQ(report.found[0].who->user, "alice");
  EXPECT_EQ(report.found[0].who->leg, tcp);
  EXPECT_THAT(report.settled, IsEmpty());
  EXPECT_THAT(at(6, {}, {}).settled, testing::ElementsAre(0U));
}

TEST_F(Inherited, IsSettledWhenAnyOfWhatWasRecordedDiffers) {
  const std::vector<ActivityRow> others{
      row_of({protocol::BackendPid{102}, backend.backend_start}),
      row_of({backend.pid, {5'001}}),
      row_of(backend, {"10.0.0.1", 40002}),
      row_of(backend, {"10.0.0.2", 40001}),
      row_of(backend, through_unix_socket),
  };
  for (const ActivityRow& other : others) {
    OrphanReconcile fresh{"orders", poll, {record_of()}};
    reconcile = std::move(fresh);
    EXPECT_THAT(at(0, {}, {other}).settled, testing::ElementsAre(0U));
    EXPECT_EQ(at(20, {}, {other}).orphans, 0U);
  }
}

TEST_F(Inherited, IsSettledWhenTheServerWasRestarted) {
  EXPECT_THAT(at(0, {}, {row_of()}, ServerIdentity{7, 1, {1'001}, false}).settled,
              testing::ElementsAre(0U));
}

TEST_F(Inherited, WaitsForItsOwnServerWhileAnotherAnswers) {
  for (int second = 0; second < 20; second += 2) {
    const Found report = at(second, {}, {row_of()}, ServerIdentity{8, 1, {1'000}, false});
    EXPECT_EQ(report.orphans, 0U);
    EXPECT_THAT(report.settled, IsEmpty());
  }
  for (int second = 20; second < 24; second += 2) (void)at(second, {}, {row_of()});
  EXPECT_EQ(at(24, {}, {row_of()}).orphans, 1U);
}

TEST_F(Inherited, AServerThatDoesNotTellWhichOneItIsLeavesItUnproven) {
  for (int second = 0; second < 4; second += 2) (void)at(second, {}, {row_of()}, hidden);
  const Found report = at(4, {}, {row_of()}, hidden);
  ASSERT_THAT(report.found, SizeIs(1));
  EXPECT_NE(report.found[0].unproven, "");
}

TEST_F(Inherited, RecordsOfOtherServersAreNotLookedAt) {
  proxy::LegRecord other = record_of();
  other.server = proxy::server_hash("archive");
  reconcile = OrphanReconcile{"orders", poll, {other}};
  for (int second = 0; second < 20; second += 2) {
    const Found report = at(second, {}, {row_of()});
    EXPECT_EQ(report.orphans, 0U);
    EXPECT_THAT(report.settled, IsEmpty());
  }
}

TEST_F(Inherited, ARecordWithoutBackendStartOnlyReports) {
  proxy::LegRecord incomplete = record_of();
  incomplete.proof.reset();
  reconcile = OrphanReconcile{"orders", poll, {incomplete}};
  for (int second = 0; second < 4; second += 2) (void)at(second, {}, {row_of()});
  const Found report = at(4, {}, {row_of()});
  ASSERT_THAT(report.found, SizeIs(1));
  EXPECT_NE(report.found[0].unproven, "");
}

TEST_F(Inherited, ARecordWithoutBackendStartThroughAUnixSocketIsSettled) {
  proxy::LegRecord incomplete = record_of(through_unix_socket);
  incomplete.proof.reset();
  reconcile = OrphanReconcile{"orders", poll, {incomplete}};
  EXPECT_THAT(at(0, {}, {row_of(backend, through_unix_socket)}).settled, testing::ElementsAre(0U));
}

// ---------------------------------------------------------------- the verdict

class OrphanVerdict : public ::testing::Test {
 protected:
  static Orphan orphan(ActivityRow row = row_of()) {
    Orphan made;
    made.entry = entry_of(row, noon);
    made.who = made.entry.view.who;
    made.row = std::move(row);
    made.since = 4s;
    made.identity = server;
    return made;
  }
  static Verdict verdict(const Orphan& orphan, const config::Protect& protect = {},
                         bool may_act = true) {
    std::vector<config::Diagnostic> faults;
    return orphan_verdict(orphan, Protection{protect, faults}, may_act, VerdictId{"ID"});
  }
};

TEST_F(OrphanVerdict, EndsWhatIsProvenByPidAndBackendStart) {
  const Verdict v = verdict(orphan());
  EXPECT_EQ(v.action, Action::terminate);
  EXPECT_EQ(v.exemption, Exemption::none);
  EXPECT_EQ(v.counter, proxy::JudgedCounter::session);
  EXPECT_EQ(v.target, Target::orphan);
  EXPECT_EQ(v.rule, "orphan");
  EXPECT_EQ(kind_name(v), "orphan");
  EXPECT_EQ(v.session.backend, backend);
  EXPECT_EQ(v.server_identity, server);
}

TEST_F(OrphanVerdict, OnlyObservesWhatIsNotProvenOrMayFinish) {
  Orphan unproven = orphan();
  unproven.unproven = "whatever";
  EXPECT_EQ(verdict(unproven).action, Action::observe);
  EXPECT_EQ(verdict(orphan(), {}, false).action, Action::observe);
}

TEST_F(OrphanVerdict, SparesSuperusersProtectedUsersCommitsAndWaitsForAStandby) {
  ActivityRow row = row_of();
  row.superuser = true;
  EXPECT_EQ(verdict(orphan(row)).exemption, Exemption::superuser);
  row = row_of();
  row.wait_event = "SyncRep";
  EXPECT_EQ(verdict(orphan(row)).exemption, Exemption::sync_replication);
  for (const char* text : {"COMMIT", "  commit;", "END", "PREPARE TRANSACTION 'x'",
                           "COMMIT PREPARED 'x'", "insert into t values (1); commit"}) {
    row = row_of();
    row.query = text;
    EXPECT_EQ(verdict(orphan(row)).exemption, Exemption::commit) << text;
  }
  row = row_of();
  row.query = "SELECT pg_sleep(600)";
  EXPECT_EQ(verdict(orphan(row)).exemption, Exemption::none);
  config::Protect protect;
  protect.users = {pattern("alice")};
  EXPECT_EQ(verdict(orphan(), protect).exemption, Exemption::protected_user);
}

}  // namespace
}  // namespace pgleash::watchdog
