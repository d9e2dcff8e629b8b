#include "watchdog/snapshot.hpp"

#include "session_builder.hpp"

#include <gtest/gtest.h>

namespace pgleash::watchdog {
namespace {

constexpr std::int64_t born = 5'000'000;

proxy::SessionView view(std::uint64_t id, std::optional<int> pid, proxy::Endpoint leg,
                        Duration age = 1h) {
  proxy::SessionIdentity who;
  if (pid) who.pid = protocol::BackendPid{*pid};
  who.leg = std::move(leg);
  who.connected = noon - age;
  proxy::SessionView made;
  made.id = proxy::SessionId{id};
  made.who = std::make_shared<const proxy::SessionIdentity>(who);
  made.facts.state = SessionState::idle;
  return made;
}

ActivityRow row(int pid, const std::string& address, std::int32_t port, Duration age = 59min,
                std::int64_t backend_start = born) {
  ActivityRow made;
  made.backend = {protocol::BackendPid{pid}, ServerTime{backend_start}};
  made.client_addr = address;
  made.client_port = port;
  made.backend_age = age;
  return made;
}

ActivitySample sample(std::vector<ActivityRow> rows, Instant taken = noon) {
  ActivitySample made;
  made.taken = taken;
  made.rows.assign(rows.begin(), rows.end());
  return made;
}

const proxy::Endpoint tcp{"10.0.0.1", 40001};
const proxy::Endpoint unix_leg{};

class Join : public ::testing::Test {
 protected:
  Snapshot at(const std::vector<proxy::SessionView>& views,
              const std::optional<ActivitySample>& rows, Instant now = noon) {
    return join.join(now, views, rows ? &*rows : nullptr, rows.has_value());
  }
  SnapshotJoin join{"orders"};
};

TEST_F(Join, ConfirmsByPidAndAddressOfOurLeg) {
  const auto s =
      at({view(1, 101, tcp)}, sample({row(101, "10.0.0.1", 40001), row(102, "10.0.0.9", 1)}));
  ASSERT_EQ(s.sessions.size(), 1U);
  EXPECT_EQ(s.sessions[0].mapping, Mapping::confirmed);
  ASSERT_TRUE(s.sessions[0].backend);
  EXPECT_EQ(s.sessions[0].backend->backend_start, ServerTime{born});
  ASSERT_TRUE(s.sessions[0].row);
  ASSERT_EQ(s.direct.size(), 1U);
  EXPECT_EQ(s.direct[0].backend.pid, protocol::BackendPid{102});
}

// ------------------------------------------------ sessions whose TLS is end to end

proxy::SessionView opaque_view(proxy::Endpoint leg, Instant last_byte = {}) {
  proxy::SessionView made = view(1, std::nullopt, std::move(leg));
  auto who = std::make_shared<proxy::SessionIdentity>(*made.who);
  who->opaque = true;
  made.who = std::move(who);
  made.facts.state = SessionState::starting;
  made.facts.last_frontend_byte = last_byte;
  made.facts.frontend_bytes = 500;
  return made;
}

ActivityRow in_transaction(int pid, std::int32_t port) {
  ActivityRow made = row(pid, "10.0.0.1", port);
  made.user = "alice";
  made.database = "orders";
  made.application_name = "checkout-7";
  made.state = "idle in transaction";
  made.state_age = 40s;
  made.transaction_age = 50s;
  return made;
}

TEST_F(Join, AnOpaqueSessionIsWhatTheServersRowSays) {
  SnapshotJoin named{"orders", true,
                     [](const proxy::SessionIdentity& who) { return "of " + who.user; }};
  const auto rows = sample({in_transaction(101, 40001)});
  const auto s = named.join(noon, {opaque_view(tcp)}, &rows, true);
  const SessionEntry& entry = s.sessions.at(0);
  EXPECT_EQ(entry.mapping, Mapping::by_port);
  EXPECT_EQ(entry.view.who->user, "alice");
  EXPECT_EQ(entry.view.who->database, "orders");
  EXPECT_EQ(entry.view.who->application_name, "checkout-7");
  EXPECT_EQ(entry.view.who->application, "of alice");
  EXPECT_EQ(entry.view.who->leg, tcp);
  EXPECT_EQ(entry.view.facts.state, SessionState::idle_in_transaction);
  EXPECT_EQ(entry.view.facts.state_since, noon - 40s);
  EXPECT_EQ(entry.view.facts.frontend_bytes, 500U);
  EXPECT_TRUE(s.direct.empty());
}

TEST_F(Join, BytesThatCameSinceTheServerWasAskedMakeAnOpaqueSessionYounger) {
  const auto s =
      at({opaque_view(tcp, noon - 5s)}, sample({in_transaction(101, 40001)}, noon - 6s), noon);
  EXPECT_EQ(s.sessions[0].view.facts.state_since, noon - 5s);
}

TEST_F(Join, NothingIsKnownOfAnOpaqueSessionWithoutAFreshRow) {
  EXPECT_EQ(at({opaque_view(tcp)}, std::nullopt).sessions[0].view.facts.state,
            SessionState::starting);
  EXPECT_EQ(at({opaque_view(tcp)}, sample({})).sessions[0].view.facts.state,
            SessionState::starting);
  const auto rows = sample({in_transaction(101, 40001)});
  const auto down = join.join(noon, {opaque_view(tcp)}, &rows, false);
  EXPECT_EQ(down.sessions[0].view.facts.state, SessionState::starting) << "the monitor is down";
}

TEST_F(Join, AnOpaqueSessionWhoseAddressTwoBackendsHaveIsEndedByNobody) {
  (void)at({opaque_view(tcp)}, sample({in_transaction(101, 40001)}));
  const auto two = sample({in_transaction(101, 40001), in_transaction(102, 40001)});
  const auto s = at({opaque_view(tcp)}, two);
  EXPECT_EQ(s.sessions[0].mapping, Mapping::conflict);
  EXPECT_FALSE(s.sessions[0].backend);
  // And never again: one of the two had been taken for it.
  EXPECT_EQ(at({opaque_view(tcp)}, sample({in_transaction(101, 40001)})).sessions[0].mapping,
            Mapping::conflict);
  SnapshotJoin fresh{"orders"};
  const auto first = fresh.join(noon, {opaque_view(tcp)}, &two, true);
  EXPECT_EQ(first.sessions[0].mapping, Mapping::none);
}

TEST_F(Join, AnOpaqueSessionBehindAddressTranslationIsFoundByNobody) {
  const auto s = at({opaque_view({"192.168.1.5", 50123})}, sample({in_transaction(101, 40001)}));
  EXPECT_EQ(s.sessions[0].mapping, Mapping::none);
  EXPECT_FALSE(s.sessions[0].backend);
  EXPECT_EQ(s.sessions[0].view.facts.state, SessionState::starting);
}

TEST_F(Join, IgnoresTheZoneOfALinkLocalLeg) {
  const auto s = at({view(1, 101, {"fe80::1%eth0", 40001})}, sample({row(101, "fe80::1", 40001)}));
  EXPECT_EQ(s.sessions[0].mapping, Mapping::confirmed);
}

TEST_F(Join, IsInBandWithoutASampleAndWithoutTheRow) {
  EXPECT_EQ(at({view(1, 101, tcp)}, std::nullopt).sessions[0].mapping, Mapping::in_band);
  const auto s = at({view(1, 101, tcp)}, sample({}));
  EXPECT_EQ(s.sessions[0].mapping, Mapping::in_band);
  EXPECT_FALSE(s.sessions[0].backend);
}

TEST_F(Join, RemembersTheBackendWhenARowIsMissing) {
  (void)at({view(1, 101, tcp)}, sample({row(101, "10.0.0.1", 40001)}));
  const auto s = at({view(1, 101, tcp)}, sample({}));
  EXPECT_EQ(s.sessions[0].mapping, Mapping::confirmed);
  EXPECT_TRUE(s.sessions[0].backend);
  EXPECT_FALSE(s.sessions[0].row);
}

TEST_F(Join, DoesNotMatchASampleOlderThanTheSession) {
  const auto s = at({view(1, 101, tcp, 1s)}, sample({row(101, "10.0.0.1", 40001, 0s)}, noon - 2s));
  EXPECT_EQ(s.sessions[0].mapping, Mapping::in_band);
  EXPECT_EQ(s.direct.size(), 1U);
}

TEST_F(Join, SeesAConflictInAnotherClientsAddress) {
  const auto s = at({view(1, 101, tcp)}, sample({row(101, "10.0.0.9", 40001)}));
  EXPECT_EQ(s.sessions[0].mapping, Mapping::conflict);
  EXPECT_FALSE(s.sessions[0].backend);
  EXPECT_FALSE(s.sessions[0].row);
  EXPECT_EQ(s.direct.size(), 1U);
}

TEST_F(Join, KeepsAConflictForTheRestOfTheSession) {
  (void)at({view(1, 101, tcp)}, sample({row(101, "10.0.0.1", 40001)}));
  const auto reused = at({view(1, 101, tcp)}, sample({row(101, "10.0.0.1", 40001, 1s, born + 1)}));
  EXPECT_EQ(reused.sessions[0].mapping, Mapping::conflict);
  const auto later = at({view(1, 101, tcp)}, sample({row(101, "10.0.0.1", 40001)}));
  EXPECT_EQ(later.sessions[0].mapping, Mapping::conflict);
  EXPECT_FALSE(later.sessions[0].backend);
}

TEST_F(Join, SeesAConflictWhenTheAddressChangesLater) {
  (void)at({view(1, 101, tcp)}, sample({row(101, "10.0.0.1", 40001)}));
  EXPECT_EQ(at({view(1, 101, tcp)}, sample({row(101, "10.0.0.1", 40002)})).sessions[0].mapping,
            Mapping::conflict);
}

TEST_F(Join, GivesASampleThatMayShowThePidsFormerOwnerAnotherChance) {
  const auto during_login = sample({row(101, "10.0.0.9", 1, 2h)}, noon - 500ms);
  EXPECT_EQ(at({view(1, 101, tcp, 1s)}, during_login).sessions[0].mapping, Mapping::conflict);
  const auto next = sample({row(101, "10.0.0.1", 40001, 1s)}, noon + 1s);
  EXPECT_EQ(at({view(1, 101, tcp, 1s)}, next, noon + 1s).sessions[0].mapping, Mapping::confirmed);
}

TEST_F(Join, KeepsAConflictOfASampleTakenAfterTheLogin) {
  (void)at({view(1, 101, tcp)}, std::nullopt);
  (void)at({view(1, 101, tcp)}, sample({row(101, "10.0.0.9", 1)}, noon + 1s), noon + 1s);
  const auto s =
      at({view(1, 101, tcp)}, sample({row(101, "10.0.0.1", 40001)}, noon + 2s), noon + 2s);
  EXPECT_EQ(s.sessions[0].mapping, Mapping::conflict);
}

TEST_F(Join, MatchesUnixLegsByPidAndPlausibleStart) {
  EXPECT_EQ(
      at({view(1, 101, unix_leg, 1h)}, sample({row(101, "", -1, 1h + 2s)})).sessions[0].mapping,
      Mapping::confirmed);
  EXPECT_EQ(at({view(2, 102, unix_leg, 1h)}, sample({row(102, "", -1, 1h + 2s + 1ms)}))
                .sessions[0]
                .mapping,
            Mapping::conflict);
  EXPECT_EQ(at({view(3, 103, unix_leg)}, sample({row(103, "10.0.0.1", 40001)})).sessions[0].mapping,
            Mapping::conflict);
}

TEST_F(Join, FindsABackendWithoutKeyDataByTheLegsPort) {
  const auto s = at({view(1, std::nullopt, tcp)},
                    sample({row(101, "10.0.0.1", 40001), row(102, "10.0.0.2", 40001)}));
  EXPECT_EQ(s.sessions[0].mapping, Mapping::by_port);
  ASSERT_TRUE(s.sessions[0].backend);
  EXPECT_EQ(s.sessions[0].backend->pid, protocol::BackendPid{101});
  EXPECT_EQ(s.direct.size(), 1U);
  EXPECT_EQ(at({view(1, std::nullopt, tcp)}, sample({})).sessions[0].mapping, Mapping::by_port);
}

TEST_F(Join, GuessesNothingByPort) {
  EXPECT_EQ(at({view(1, std::nullopt, tcp)},
               sample({row(101, "10.0.0.1", 40001), row(102, "10.0.0.1", 40001)}))
                .sessions[0]
                .mapping,
            Mapping::none);
  EXPECT_EQ(at({view(2, std::nullopt, unix_leg)}, sample({row(101, "", -1)})).sessions[0].mapping,
            Mapping::none);
  EXPECT_EQ(at({view(3, std::nullopt, tcp)}, std::nullopt).sessions[0].mapping, Mapping::none);
}

TEST_F(Join, PassesOverAnOlderBackendThatStillShowsOurPort) {
  const auto s = at({view(1, std::nullopt, tcp, 1min)},
                    sample({row(101, "10.0.0.1", 40001, 2h), row(102, "10.0.0.1", 40001, 1min)}));
  ASSERT_TRUE(s.sessions[0].backend);
  EXPECT_EQ(s.sessions[0].backend->pid, protocol::BackendPid{102});
}

TEST_F(Join, SeesAConflictInAPidThatManyClaimUnlessTheAddressSettlesIt) {
  const proxy::Endpoint other{"10.0.0.1", 40002};
  const auto s =
      at({view(1, 101, tcp), view(2, 101, other)}, sample({row(101, "10.0.0.1", 40001)}));
  EXPECT_EQ(s.sessions[0].mapping, Mapping::confirmed);
  EXPECT_EQ(s.sessions[1].mapping, Mapping::conflict);
  const auto unseen = at({view(3, 103, tcp), view(4, 103, other)}, sample({}));
  EXPECT_EQ(unseen.sessions[0].mapping, Mapping::conflict);
}

TEST_F(Join, ConfirmsNoSharedPidOverUnixSockets) {
  (void)at({view(1, 101, unix_leg)}, sample({row(101, "", -1)}));
  const auto s = at({view(1, 101, unix_leg), view(2, 101, unix_leg)}, sample({row(101, "", -1)}));
  EXPECT_EQ(s.sessions[0].mapping, Mapping::conflict);
  EXPECT_EQ(s.sessions[1].mapping, Mapping::conflict);
  // The pid's former session is gone: the claim was not a pooler's.
  EXPECT_EQ(at({view(2, 101, unix_leg)}, sample({row(101, "", -1)})).sessions[0].mapping,
            Mapping::confirmed);
}

TEST_F(Join, ForgetsSessionsThatWent) {
  (void)at({view(1, 101, tcp)}, sample({row(101, "10.0.0.1", 40001)}));
  (void)at({}, sample({}));
  EXPECT_EQ(at({view(1, 101, tcp)}, sample({row(101, "10.0.0.1", 40001, 1s, born + 1)}))
                .sessions[0]
                .mapping,
            Mapping::confirmed);
}

TEST_F(Join, KnowsSuperusersFromTheLoginOrTheRowAndRemembersThem) {
  auto by_login = view(1, 101, tcp);
  by_login.facts.superuser_at_login = true;
  EXPECT_TRUE(at({by_login}, std::nullopt).sessions[0].superuser);
  auto seen = row(102, "10.0.0.1", 40001);
  seen.superuser = true;
  EXPECT_TRUE(at({view(2, 102, tcp)}, sample({seen})).sessions[0].superuser);
  EXPECT_TRUE(at({view(2, 102, tcp)}, sample({})).sessions[0].superuser);
  EXPECT_FALSE(
      at({view(3, 103, tcp)}, sample({row(103, "10.0.0.1", 40001)})).sessions[0].superuser);
}

TEST_F(Join, CarriesTheSamplesAgeAndTheServersSlots) {
  auto with_slots = sample({}, noon - 3s);
  with_slots.max_connections = 100;
  with_slots.reserved_connections = 3;
  with_slots.background_processes = 6;
  const auto s = at({}, with_slots);
  EXPECT_EQ(s.sample_age, std::optional<Duration>{3s});
  EXPECT_EQ(s.max_connections, 100U);
  EXPECT_EQ(s.reserved_connections, 3U);
  EXPECT_EQ(s.background_processes, 6U);
  EXPECT_TRUE(s.monitor_up);
  EXPECT_FALSE(at({}, std::nullopt).sample_age);
}

TEST(Failover, IsAnotherIdentifierStartOrTimelineAndNothingThatWasNotSeen) {
  const ServerIdentity before{7, 1, ServerTime{100}, false};
  EXPECT_EQ(failover_between(before, before), "");
  EXPECT_NE(failover_between(before, {8, 1, ServerTime{100}, false}), "");
  EXPECT_NE(failover_between(before, {7, 2, ServerTime{100}, false}), "");
  EXPECT_NE(failover_between(before, {7, 1, ServerTime{101}, false}), "");
  EXPECT_NE(failover_between({7, 1, ServerTime{100}, true}, before), "") << "promoted";
  EXPECT_EQ(failover_between(before, {0, 0, ServerTime{100}, false}), "") << "not visible any more";
  EXPECT_EQ(failover_between({0, 0, ServerTime{100}, false}, before), "");
}

TEST_F(Join, TakesLocksForItsOwnSessionsAndNotForAPidInConflict) {
  auto seen = sample({row(101, "10.0.0.1", 40001), row(102, "10.0.0.9", 1)});
  seen.advisory = AdvisoryHolders{noon - 1s, {101, 102}};
  seen.horizon = Horizon{};
  auto& wait = seen.locks.emplace().waits.emplace_back();
  seen.locks->taken = noon;
  wait.pid = protocol::BackendPid{102};
  wait.asked = true;
  wait.blockers = {protocol::BackendPid{101}};
  const auto s = at({view(1, 101, tcp), view(2, 102, {"10.0.0.1", 40002})}, seen);
  EXPECT_EQ(s.advisory_taken, noon - 1s);
  EXPECT_TRUE(s.sessions[0].advisory_lock);
  EXPECT_FALSE(s.sessions[1].advisory_lock);
  EXPECT_TRUE(s.horizon);
  ASSERT_EQ(s.blocking.roots.size(), 1U);
  EXPECT_EQ(s.blocking.roots[0].session, 0U);
  EXPECT_EQ(s.blocking.waits[0].session, std::nullopt);
  EXPECT_EQ(at({view(1, 101, tcp)}, std::nullopt).blocking.taken, std::nullopt);
}

}  // namespace
}  // namespace pgleash::watchdog
