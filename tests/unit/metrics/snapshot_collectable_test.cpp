#include "metrics/snapshot_collectable.hpp"

#include "exposition.hpp"
#include "fixtures.hpp"
#include "metrics/session_state.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include <cmath>
#include <map>
#include <sstream>
#include <string>
#include <utility>

namespace pgleash::metrics {
namespace {

using namespace testing;
using protocol::SessionState;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Key;
using ::testing::Not;
using ::testing::Pair;

class SnapshotCollectableTest : public ::testing::Test {
 protected:
  Series collect(std::vector<watchdog::WatchdogStatus> statuses, Instant now = start) {
    SnapshotCollectable::Statuses shared;
    for (auto& status : statuses) {
      shared.push_back(std::make_shared<const watchdog::WatchdogStatus>(std::move(status)));
    }
    Families families;
    collectable_.collect(shared, config_, now, families);
    return parse_exposition(prometheus::TextSerializer{}.Serialize(std::move(families).take()));
  }

  config::Config config_ = small_config();
  SnapshotCollectable collectable_{50};
};

TEST_F(SnapshotCollectableTest, CountsSessionsByApplicationDatabaseUserAndState) {
  const Series series = collect({status({.sessions = {
                                             session({.state = SessionState::idle}),
                                             session({.state = SessionState::idle}),
                                             session({.state = SessionState::busy}),
                                             session({.application = "",
                                                      .user = "batch",
                                                      .database = "stock",
                                                      .state = SessionState::aborted}),
                                         }})});
  EXPECT_THAT(series,
              Contains(Pair(
                  R"(pgleash_sessions{server="orders",application="checkout",state="idle"})", 2)));
  EXPECT_THAT(
      series,
      Contains(
          Pair(R"(pgleash_sessions{server="orders",application="checkout",state="active"})", 1)));
  EXPECT_THAT(series,
              Contains(Pair(
                  R"(pgleash_sessions{server="orders",application="checkout",state="held"})", 0)));
  EXPECT_THAT(
      series,
      Contains(Pair(
          R"_(pgleash_sessions{server="orders",application="none",state="idle in transaction (aborted)"})_",
          1)));
  EXPECT_THAT(
      series,
      Contains(
          Pair(R"(pgleash_database_sessions{server="orders",database="orders",state="idle"})", 2)));
  EXPECT_THAT(series, Contains(Pair(R"(pgleash_user_sessions{server="orders",user="web"})", 3)));
  EXPECT_THAT(series, Contains(Pair(R"(pgleash_user_sessions{server="orders",user="batch"})", 1)));
}

TEST_F(SnapshotCollectableTest, ForgetsAnApplicationWithItsLastSession) {
  const std::string sessions =
      R"(pgleash_sessions{server="orders",application="checkout",state="idle"})";
  EXPECT_THAT(collect({status({.sessions = {session({})}})}), Contains(Key(sessions)));
  const Series after = collect({status({.sessions = {session({.application = "stock"})}})});
  EXPECT_THAT(after, Not(Contains(Key(sessions))));
  EXPECT_EQ(count_series(after, "pgleash_oldest_session_state_seconds"), 1U);
}

TEST_F(SnapshotCollectableTest, ReportsTheOldestStateAndThoseOverEachAge) {
  const Series series =
      collect({status({.sessions = {
                           session({.state = SessionState::idle_in_transaction, .age = 60s}),
                           session({.state = SessionState::idle_in_transaction, .age = 61s}),
                           session({.state = SessionState::idle_in_transaction, .age = 4000s}),
                       }})});
  EXPECT_THAT(
      series,
      Contains(Pair(
          R"(pgleash_oldest_session_state_seconds{server="orders",application="checkout",state="idle in transaction"})",
          4000)));
  const std::string over =
      R"(pgleash_sessions_over_age{server="orders",application="checkout",state="idle in transaction",threshold_seconds=")";
  EXPECT_THAT(series, Contains(Pair(over + "60\"}", 2)));
  EXPECT_THAT(series, Contains(Pair(over + "600\"}", 1)));
  EXPECT_THAT(series, Contains(Pair(over + "3600\"}", 1)));
}

TEST_F(SnapshotCollectableTest, AReplicationStreamIsCountedButHasNoAge) {
  auto stream = session({.state = SessionState::copy_both, .age = 100h});
  auto who = *stream.view.who;
  who.replication = true;
  stream.view.who = std::make_shared<const proxy::SessionIdentity>(who);
  const Series series = collect({status({.sessions = {stream}})});
  EXPECT_THAT(
      series,
      Contains(
          Pair(R"(pgleash_sessions{server="orders",application="checkout",state="active"})", 1)));
  EXPECT_THAT(
      series,
      Contains(Pair(
          R"(pgleash_sessions_over_age{server="orders",application="checkout",state="active",threshold_seconds="3600"})",
          0)));
}

TEST_F(SnapshotCollectableTest, ShowsTheServersSlotsAndWhoWaitsForLocks) {
  auto blocked = session({.state = SessionState::busy});
  blocked.row = row("Lock", "transactionid");
  auto spec = StatusSpec{.sessions = {blocked, session({})}, .direct = 7};
  auto one = status(spec);
  auto snapshot = *one.snapshot;
  snapshot.direct[0] = row("Lock", "relation");
  one.snapshot = std::make_shared<const watchdog::Snapshot>(snapshot);
  const Series series = collect({one});
  const std::string slots = R"(pgleash_server_connection_slots{server="orders",kind=")";
  EXPECT_THAT(series, Contains(Pair(slots + "max\"}", 100)));
  EXPECT_THAT(series, Contains(Pair(slots + "reserved\"}", 3)));
  EXPECT_THAT(series, Contains(Pair(slots + "used_proxy\"}", 2)));
  EXPECT_THAT(series, Contains(Pair(slots + "used_direct\"}", 7)));
  EXPECT_THAT(series, Contains(Pair(R"(pgleash_blocked_sessions{server="orders"})", 2)));
  EXPECT_THAT(series,
              Contains(Pair(R"(pgleash_sessions_limit{server="orders",scope="server"})", 97)));
}

watchdog::BlockingForest forest() {
  watchdog::BlockingForest forest;
  forest.taken = start;
  for (const Duration waited : {7s, 90s, 3s}) forest.waits.emplace_back().waited = waited;
  forest.roots.resize(2);
  forest.roots[0].kind = watchdog::RootKind::session;
  forest.roots[0].session = 0;
  forest.roots[1].kind = watchdog::RootKind::prepared;
  return forest;
}

TEST_F(SnapshotCollectableTest, ShowsWhoBlocksOthersAndForHowLong) {
  const Series series = collect({status(
      {.sessions = {session({}), session({.application = "stock"})}, .blocking = forest()})});
  EXPECT_THAT(series, Contains(Pair(R"(pgleash_blocking_sessions{server="orders"})", 2)));
  EXPECT_THAT(series, Contains(Pair(R"(pgleash_longest_block_seconds{server="orders"})", 90)));
  EXPECT_THAT(
      series,
      Contains(Pair(R"(pgleash_blocker_sessions{server="orders",application="checkout"})", 1)));
  EXPECT_EQ(count_series(series, "pgleash_blocker_sessions"), 1U);
}

TEST_F(SnapshotCollectableTest, ShowsWhatHoldsBackCleanUp) {
  watchdog::Horizon horizon;
  horizon.prepared_transactions = 2;
  horizon.oldest_prepared = 1h;
  horizon.inactive_slots = 3;
  horizon.slot = 5'000'000;
  const Series series = collect({status({.horizon = horizon})});
  EXPECT_THAT(series, Contains(Pair(R"(pgleash_prepared_transactions{server="orders"})", 2)));
  EXPECT_THAT(
      series,
      Contains(Pair(R"(pgleash_oldest_prepared_transaction_seconds{server="orders"})", 3600)));
  EXPECT_THAT(series, Contains(Pair(R"(pgleash_inactive_replication_slots{server="orders"})", 3)));
  const std::string age = R"(pgleash_xmin_horizon_age_transactions{server="orders",holder=")";
  EXPECT_THAT(series, Contains(Pair(age + "slot\"}", 5'000'000)));
  EXPECT_THAT(series, Contains(Pair(age + "session\"}", 0)));
  EXPECT_EQ(count_series(collect({status({})}), "pgleash_prepared_transactions"), 0U)
      << "nobody asked yet";
}

TEST_F(SnapshotCollectableTest, WithoutTheMonitorSaysNothingOfWhatOnlyTheServerKnows) {
  const Series series =
      collect({status({.sessions = {session({})}, .direct = 7, .monitor_up = false})});
  EXPECT_EQ(count_series(series, "pgleash_blocking_sessions"), 0U);
  EXPECT_THAT(series, Contains(Pair(R"(pgleash_monitor_up{server="orders"})", 0)));
  EXPECT_EQ(count_series(series, "pgleash_blocked_sessions"), 0U);
  EXPECT_THAT(
      series,
      Not(Contains(Key(R"(pgleash_server_connection_slots{server="orders",kind="used_direct"})"))));
  EXPECT_THAT(
      series,
      Contains(Pair(R"(pgleash_server_connection_slots{server="orders",kind="used_proxy"})", 1)));
}

TEST_F(SnapshotCollectableTest, OrphansUseSlotsOfTheirOwnAndAreNoDirectSessions) {
  auto one = status({.direct = 5});
  one.orphans = 2;
  one.lost_sessions = 1;
  const Series series = collect({one});
  const auto slots = [](std::string_view kind) {
    return R"(pgleash_server_connection_slots{server="orders",kind=")" + std::string{kind} +
           R"("})";
  };
  EXPECT_THAT(series, Contains(Pair(slots("used_direct"), 3)));
  EXPECT_THAT(series, Contains(Pair(slots("used_orphan"), 2)));
  EXPECT_THAT(series, Contains(Pair(R"(pgleash_orphan_backends{server="orders"})", 2)));
  EXPECT_THAT(series, Contains(Pair(R"(pgleash_sessions_without_backend{server="orders"})", 1)));
  auto down = status({.direct = 5, .monitor_up = false});
  down.orphans = 2;
  EXPECT_EQ(count_series(collect({down}), "pgleash_orphan_backends"), 0U);
}

TEST_F(SnapshotCollectableTest, RecoveredSuspectsAreAddedUpByRuleAndMargin) {
  auto one = status({.server = "orders"});
  one.recovered["idle"].recovered = {1, 2, 3, 4};
  auto two = one;
  two.server = "stock";
  const Series series = collect({one, two});
  EXPECT_THAT(series, Contains(Pair(
                          R"(pgleash_rule_recovered_total{rule="idle",margin="over_limit"})", 8)));
  EXPECT_THAT(
      series,
      Contains(Pair(R"(pgleash_rule_recovered_total{rule="idle",margin="within_20_percent"})", 4)));
  EXPECT_EQ(count_series(series, "pgleash_rule_recovered_total"), 4U);
}

TEST_F(SnapshotCollectableTest, AServerWithoutMonitorHasNoMonitorSeries) {
  auto sidecar = status({});
  sidecar.monitor_configured = false;
  EXPECT_EQ(count_series(collect({sidecar}), "pgleash_monitor_"), 0U);
}

TEST_F(SnapshotCollectableTest, AStatusBeforeTheFirstSnapshotIsNoTrouble) {
  auto early = status({});
  early.snapshot = nullptr;
  EXPECT_THAT(collect({early}), Contains(Key(R"(pgleash_monitor_up{server="orders"})")));
}

TEST_F(SnapshotCollectableTest, VerdictCountersExistBeforeTheFirstVerdict) {
  config_.rules = {rule("watch", config::Action::observe), rule("kill", config::Action::terminate)};
  const Series series = collect({});
  const std::string kill = R"(pgleash_actions_total{rule="kill",action="terminate",mode=")";
  EXPECT_THAT(series, Contains(Pair(kill + R"(observe",outcome="observed"})", 0)));
  for (const char* outcome :
       {"confirmed", "survived", "unverified", "denied", "fused", "recovered"})
    EXPECT_THAT(series, Contains(Pair(kill + "enforce\",outcome=\"" + outcome + "\"}", 0)));
  EXPECT_EQ(count_series(series, R"(pgleash_actions_total{rule="watch")"), 1U);
  EXPECT_THAT(series, Contains(Pair(R"(pgleash_rule_warned_total{rule="kill"})", 0)));
  EXPECT_THAT(series, Contains(Pair(R"(pgleash_rule_matching_sessions{rule="watch"})", 0)));
}

TEST_F(SnapshotCollectableTest, AddsTheServersUpWhereTheLabelIsTheRule) {
  auto first = status({.server = "orders"});
  first.rules = {{"held", 2, 3, 0}};
  first.actions_total[{"held", "terminate", "enforce", "confirmed"}] = 4;
  first.exempted_total[{"held", "dump"}] = 1;
  first.action_duration["terminate"].buckets[0] = 4;
  first.action_duration["terminate"].sum_seconds = 0.5;
  auto second = first;
  second.server = "stock";
  const Series series = collect({first, second});
  EXPECT_THAT(series, Contains(Pair(R"(pgleash_rule_matching_sessions{rule="held"})", 4)));
  EXPECT_THAT(series, Contains(Pair(R"(pgleash_rule_warned_total{rule="held"})", 6)));
  EXPECT_THAT(
      series,
      Contains(Pair(
          R"(pgleash_actions_total{rule="held",action="terminate",mode="enforce",outcome="confirmed"})",
          8)));
  EXPECT_THAT(series,
              Contains(Pair(R"(pgleash_rule_exempted_total{rule="held",exemption="dump"})", 2)));
  EXPECT_THAT(series,
              Contains(Pair(R"(pgleash_action_duration_seconds_count{action="terminate"})", 8)));
  EXPECT_THAT(series,
              Contains(Pair(R"(pgleash_action_duration_seconds_sum{action="terminate"})", 1)));
}

TEST_F(SnapshotCollectableTest, AWordThatNobodyListedMakesNoNewSeries) {
  auto one = status({});
  for (int i = 0; i < 100; ++i) {
    one.actions_total[{"held", "terminate", "enforce", "word" + std::to_string(i)}] = 1;
  }
  EXPECT_THAT(
      collect({one}),
      Contains(Pair(
          R"(pgleash_actions_total{rule="held",action="terminate",mode="enforce",outcome="other"})",
          100)));
}

TEST_F(SnapshotCollectableTest, BrakesOfAllServersAreAddedUpAndHoldOffsAreEachOnes) {
  auto orders = status({.server = "orders"});
  orders.brake.paused = true;
  orders.brake.waiting = 4;
  orders.brake.held = watchdog::HoldReason::failover;
  orders.brake.deferred = {1, 20, 3};
  orders.brake.open_fuses = {
      {watchdog::FuseKind::share, watchdog::FuseScope::rule, "a", "", "", {}},
      {watchdog::FuseKind::share, watchdog::FuseScope::rule, "b", "", "", {}}};
  orders.brake.fuse_trips[0][1] = 5;
  auto stock = status({.server = "stock"});
  stock.brake.deferred = {0, 2, 0};
  stock.brake.fuse_trips[0][1] = 1;
  stock.brake.fuse_trips[2][2] = 3;
  stock.brake.manual_kills = 7;
  stock.survivors = 2;
  const Series series = collect({orders, stock});
  for (const auto& [name, value] : std::map<std::string, double>{
           {"pgleash_enforcement_paused", 1},
           {R"(pgleash_enforcement_held{server="orders",reason="failover"})", 1},
           {R"(pgleash_enforcement_held{server="orders",reason="start"})", 0},
           {R"(pgleash_enforcement_held{server="stock",reason="failover"})", 0},
           {R"(pgleash_deferred_sessions{server="orders"})", 4},
           {R"(pgleash_pace_deferred_total{scope="application"})", 22},
           {R"(pgleash_fuse_open{fuse="share"})", 2},
           {R"(pgleash_fuse_open{fuse="survived"})", 0},
           {R"(pgleash_fuse_trips_total{fuse="global"})", 3},
           {R"(pgleash_fuse_trips_total{fuse="share"})", 6},
           {R"(pgleash_surviving_backends{server="orders"})", 0},
           {R"(pgleash_surviving_backends{server="stock"})", 2},
           {"pgleash_manual_kills_total", 7}})
    EXPECT_THAT(series, Contains(Pair(name, value)));
}

TEST_F(SnapshotCollectableTest, WhoIsSparedIsToldByExemptionAndOnlyWhileSomebodyIs) {
  auto orders = status({.server = "orders"});
  orders.exempt[static_cast<std::size_t>(watchdog::Exemption::listening)] = 3;
  orders.exempt[static_cast<std::size_t>(watchdog::Exemption::unknown)] = 1;
  const Series series = collect({orders});
  const std::string spared = "pgleash_exempt_sessions_over_age{server=\"orders\",exemption=\"";
  EXPECT_THAT(series, Contains(Pair(spared + "listening\"}", 3)));
  EXPECT_THAT(series, Contains(Pair(spared + "unknown\"}", 1)));
  EXPECT_EQ(count_series(series, spared), 2U);
}

TEST_F(SnapshotCollectableTest, TheAuditLogThatAllServersShareIsCountedOnce) {
  auto older = status({.server = "orders"});
  older.audit_records_total = 7;
  auto newer = status({.server = "stock"});
  newer.audit_records_total = 8;
  newer.audit_write_errors_total = 1;
  const Series series = collect({older, newer});
  EXPECT_THAT(series, Contains(Pair(R"(pgleash_audit_records_total{sink="file"})", 8)));
  EXPECT_THAT(series, Contains(Pair(R"(pgleash_audit_write_errors_total{sink="file"})", 1)));
}

TEST_F(SnapshotCollectableTest, ARecordingIsCountedByServerAndAbsentWhereThereIsNone) {
  auto recorded = status({.server = "orders"});
  recorded.recording = watchdog::RecordingTotals{12, 3};
  const Series series = collect({recorded, status({.server = "stock"})});
  EXPECT_THAT(series, Contains(Pair(R"(pgleash_recording_frames_total{server="orders"})", 12)));
  EXPECT_THAT(series, Contains(Pair(R"(pgleash_recording_lost_total{server="orders"})", 3)));
  EXPECT_EQ(count_series(series, "pgleash_recording_"), 2U);
}

TEST_F(SnapshotCollectableTest, SessionsSeenFromOutsideComeThroughNobody) {
  auto outside = status({.server = "orders", .sessions = {session({})}});
  auto snapshot = std::make_shared<watchdog::Snapshot>(*outside.snapshot);
  snapshot->outside = true;
  outside.snapshot = snapshot;
  const Series series = collect({outside});
  EXPECT_THAT(
      series,
      Contains(Pair(R"(pgleash_server_connection_slots{server="orders",kind="used_proxy"})", 0)));
  EXPECT_THAT(
      series,
      Contains(Pair(R"(pgleash_server_connection_slots{server="orders",kind="used_direct"})", 1)));
}

TEST_F(SnapshotCollectableTest, WithoutAuditLogThereAreNoAuditSeries) {
  config_.audit.sink = config::AuditSink::off;
  EXPECT_EQ(count_series(collect({status({})}), "pgleash_audit_"), 0U);
}

TEST(StateLabel, FollowsTheBytesAndAsksTheSampleOnlyWhereTheyLeaveItOpen) {
  watchdog::Snapshot snapshot;
  snapshot.now = start;
  snapshot.sample_age = 1s;
  const auto label = [&](SessionState state, Duration silent = 5s) {
    auto entry = session({.state = state, .age = silent});
    entry.row = row("Client", "ClientRead");
    return state_label(snapshot, entry);
  };
  EXPECT_EQ(label(SessionState::starting), StateLabel::starting);
  EXPECT_EQ(label(SessionState::idle), StateLabel::idle);
  EXPECT_EQ(label(SessionState::idle_in_transaction), StateLabel::idle_in_transaction);
  EXPECT_EQ(label(SessionState::aborted), StateLabel::aborted);
  EXPECT_EQ(label(SessionState::busy), StateLabel::active);
  EXPECT_EQ(label(SessionState::copy_out), StateLabel::active);
  EXPECT_EQ(label(SessionState::pipeline_flushed), StateLabel::held);
  EXPECT_EQ(label(SessionState::pipeline_failed), StateLabel::held);
  EXPECT_EQ(label(SessionState::pipeline_open), StateLabel::held);
  EXPECT_EQ(label(SessionState::copy_in), StateLabel::held);
  // The client sent something after the sample: what it saw is over.
  EXPECT_EQ(label(SessionState::pipeline_open, 500ms), StateLabel::active);
  EXPECT_EQ(label(SessionState::copy_in, 500ms), StateLabel::active);
  // No sample, no guess.
  snapshot.sample_age.reset();
  EXPECT_EQ(label(SessionState::copy_in), StateLabel::active);
}

TEST(StateLabel, AClientThatDoesNotReadIsStalledWhateverTheServerDoes) {
  watchdog::Snapshot snapshot;
  snapshot.now = start;
  auto entry = session({.state = SessionState::busy, .age = 100s});
  entry.view.stalled_since = start - 7s;
  EXPECT_EQ(state_label(snapshot, entry), StateLabel::stalled);
  EXPECT_EQ(state_age(snapshot, entry, StateLabel::stalled), 7s);
}

TEST(StateLabel, TheAgeOfActiveIsThatOfTheStatementAndNeverNegative) {
  watchdog::Snapshot snapshot;
  snapshot.now = start;
  auto entry = session({.state = SessionState::busy, .age = 100s});
  entry.view.facts.request_since = start - 3s;
  EXPECT_EQ(state_age(snapshot, entry, StateLabel::active), 3s);
  entry.view.facts.request_since = start + 1ms;
  EXPECT_EQ(state_age(snapshot, entry, StateLabel::active), 0s);
}

TEST_F(SnapshotCollectableTest, TellsWhatBackendsCostOnlyWhereItIsMeasured) {
  auto measured = status({});
  measured.application_costs["checkout"] = {2500ms, 7'000'000, 4096};
  EXPECT_THAT(collect({measured}),
              Not(Contains(Key(::testing::StartsWith("pgleash_backend_cpu_seconds_total")))));
  measured.costs_measured.processes = measured.costs_measured.temp_bytes = true;
  const Series series = collect({measured});
  const std::string of = R"({server="orders",application="checkout"})";
  EXPECT_THAT(series, Contains(Pair("pgleash_backend_cpu_seconds_total" + of, 2.5)));
  EXPECT_THAT(series, Contains(Pair("pgleash_backend_anonymous_memory_bytes" + of, 7'000'000)));
  EXPECT_THAT(series, Contains(Pair("pgleash_temp_bytes" + of, 4096)));
}

TEST_F(SnapshotCollectableTest, TellsWhichRulesHaveNoDataAndWhy) {
  auto blind = status({});
  watchdog::RuleStatus rule{"hog", 0, 0, 3, config::RuleKind::memory};
  rule.no_data = watchdog::NoData::not_this_host;
  blind.rules.push_back(rule);
  const Series series = collect({blind});
  EXPECT_THAT(series, Contains(Pair(R"(pgleash_rule_paused_sessions{rule="hog"})", 3)));
  EXPECT_THAT(
      series,
      Contains(Pair(
          R"(pgleash_rule_without_data{server="orders",rule="hog",reason="not_this_host"})", 1)));
}

TEST_F(SnapshotCollectableTest, ShowsLeaksByApplicationAndWhenTheSlotsWillBeGone) {
  auto leaking = status({.sessions = {session({}), session({.application = "catalog"})}});
  leaking.leaks.applications["checkout"] = {7, 9, 0.5};
  leaking.leaks.applications["catalog"] = {0, 1, 0};
  leaking.leaks.detected_total["checkout"] = 2;
  leaking.leaks.cleared_total["checkout"] = 1;
  leaking.leaks.limit_known = true;
  leaking.leaks.forecast.expected = 90min;
  const Series series = collect({leaking});
  const auto value = [&](const std::string& name) {
    const auto found = series.find(name);
    return found == series.end() ? -1 : found->second;
  };
  const std::string checkout = R"({server="orders",application="checkout"})";
  const std::string catalog = R"({server="orders",application="catalog"})";
  EXPECT_EQ(value("pgleash_leak_suspect_sessions" + checkout), 7);
  EXPECT_EQ(value("pgleash_leak_suspect_sessions" + catalog), 0);
  EXPECT_EQ(value("pgleash_leak_floor_sessions" + checkout), 9);
  EXPECT_EQ(value("pgleash_leak_growth_sessions_per_second" + checkout), 0.5);
  EXPECT_EQ(value("pgleash_leaks_detected_total" + checkout), 2);
  EXPECT_EQ(value("pgleash_leaks_cleared_total" + checkout), 1);
  EXPECT_EQ(value(R"(pgleash_exhaustion_forecast_seconds{server="orders",scope="server"})"), 5400);
}

TEST_F(SnapshotCollectableTest, ForetellsInfinityWhileNothingLeaksAndNothingWithoutALimit) {
  auto calm = status({});
  EXPECT_THAT(collect({calm}), Not(Contains(Key(HasSubstr("exhaustion_forecast")))));
  calm.leaks.limit_known = true;
  const Series series = collect({calm});
  const auto found =
      series.find(R"(pgleash_exhaustion_forecast_seconds{server="orders",scope="server"})");
  ASSERT_NE(found, series.end());
  EXPECT_TRUE(std::isinf(found->second));
}

TEST_F(SnapshotCollectableTest, ShowsWhenTheFirstHolderOfEachQuotaWillBeRefused) {
  auto leaking = status({});
  leaking.leaks.quotas = {"per-application", "per-user"};
  for (const auto left : {20min, 40min}) {
    watchdog::QuotaForecast& one = leaking.leaks.quota_forecasts.emplace_back();
    one.quota = "per-application";
    one.end.expected = left;
  }
  const Series series = collect({leaking});
  const std::string name = "pgleash_quota_exhaustion_forecast_seconds";
  EXPECT_THAT(series, Contains(Pair(name + R"({server="orders",quota="per-application"})", 1200)));
  const auto calm = series.find(name + R"({server="orders",quota="per-user"})");
  ASSERT_NE(calm, series.end());
  EXPECT_TRUE(std::isinf(calm->second));
}

}  // namespace
}  // namespace pgleash::metrics
