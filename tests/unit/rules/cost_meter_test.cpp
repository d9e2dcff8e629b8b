#include "watchdog/cost_meter.hpp"

#include "session_builder.hpp"

#include <gtest/gtest.h>

namespace pgleash::watchdog {
namespace {

constexpr std::uint64_t mib = 1 << 20;

ProcessReading process(std::int32_t pid, Duration cpu, std::uint64_t memory = mib,
                       std::uint64_t read = 0, std::uint64_t written = 0) {
  return {protocol::BackendPid{pid},
          1000U + static_cast<std::uint64_t>(pid),
          cpu,
          memory,
          read,
          written};
}

/// The session with backend 101 of the builder, running since `since`.
class CostMeterTest : public ::testing::Test {
 protected:
  CostMeterTest() { session.facts().request_since = noon; }

  void read(Instant when, std::vector<ProcessReading> processes) {
    meter.read(session, {when, when, std::move(processes)});
  }
  /// A snapshot taken at that time, with what the meter knows.
  std::shared_ptr<const Costs> at(Instant now, const ServerCostSample* server = nullptr) {
    Snapshot snapshot = snapshot_of(session);
    snapshot.now = now;
    meter.fill(snapshot, server);
    return snapshot.sessions[0].costs;
  }
  static std::uint64_t value(const std::shared_ptr<const Costs>& costs, RuleKind kind) {
    return costs && costs->of(kind) ? costs->of(kind)->value : 0;
  }

  SessionBuilder session = SessionBuilder{SessionState::busy, 0s};
  CostMeter meter;
};

TEST_F(CostMeterTest, HoldsNothingAgainstARequestThatWasBeforeItsFirstReading) {
  read(noon + 1s, {process(101, 500s)});
  auto costs = at(noon + 2s);
  ASSERT_TRUE(costs);
  EXPECT_EQ(value(costs, RuleKind::cpu_time), 0U);
  read(noon + 3s, {process(101, 502s)});
  costs = at(noon + 4s);
  EXPECT_EQ(value(costs, RuleKind::cpu_time), 2000U);
  EXPECT_EQ(costs->of(RuleKind::cpu_time)->at, noon + 3s);
  EXPECT_EQ(value(costs, RuleKind::cpu_share), 100U) << "2 s within 2 s";
  EXPECT_EQ(value(costs, RuleKind::memory), mib);
}

TEST_F(CostMeterTest, TakesAReadingOfAnEarlierRequestForNone) {
  read(noon - 1s, {process(101, 100s)});
  EXPECT_FALSE(at(noon + 1s));
  read(noon + 2s, {process(101, 900s)});
  EXPECT_EQ(value(at(noon + 3s), RuleKind::cpu_time), 0U) << "used before, or after: unknown";
}

TEST_F(CostMeterTest, BeginsAnewWithEachRequest) {
  read(noon + 1s, {process(101, 1s)});
  (void)at(noon + 1s);
  read(noon + 11s, {process(101, 11s)});
  EXPECT_EQ(value(at(noon + 11s), RuleKind::cpu_time), 10'000U);
  ++session.facts().mark.request;
  session.facts().request_since = noon + 12s;
  EXPECT_FALSE(at(noon + 13s)) << "what was measured is not of this request";
  read(noon + 14s, {process(101, 14s)});
  (void)at(noon + 15s);
  read(noon + 16s, {process(101, 15s)});
  EXPECT_EQ(value(at(noon + 17s), RuleKind::cpu_time), 1000U);
}

TEST_F(CostMeterTest, AReadingAcrossTwoRequestsCountsForNeither) {
  read(noon + 1s, {process(101, 1s)});
  (void)at(noon + 1s);
  read(noon + 5s, {process(101, 5s)});
  ++session.facts().mark.request;  // between the reading and the next view
  session.facts().request_since = noon + 6s;
  EXPECT_FALSE(at(noon + 7s));
}

TEST_F(CostMeterTest, AddsUpParallelWorkersAlsoThoseThatAreGone) {
  read(noon + 1s, {process(101, 1s), process(201, 3s)});
  EXPECT_EQ(value(at(noon + 1s), RuleKind::cpu_time), 3000U) << "a worker's whole life is for it";
  read(noon + 2s, {process(101, 2s), process(201, 4s), process(202, 1s, 5 * mib)});
  const auto costs = at(noon + 2s);
  EXPECT_EQ(value(costs, RuleKind::cpu_time), 6000U);
  EXPECT_EQ(value(costs, RuleKind::cpu_share), 300U);
  EXPECT_EQ(value(costs, RuleKind::memory), 7 * mib);
  read(noon + 3s, {process(101, 3s)});
  EXPECT_EQ(value(at(noon + 3s), RuleKind::cpu_time), 7000U);
}

TEST_F(CostMeterTest, AWorkerWithTheSamePidIsAnotherWhenItStartedLater) {
  read(noon + 1s, {process(101, 1s), process(201, 9s)});
  (void)at(noon + 1s);
  auto again = process(201, 2s);
  again.start_ticks += 50;
  read(noon + 2s, {process(101, 1s), again});
  EXPECT_EQ(value(at(noon + 2s), RuleKind::cpu_time), 11'000U);
}

TEST_F(CostMeterTest, TakesRatesOverHalfASecondAtLeast) {
  read(noon + 1s, {process(101, 0s, mib, 0, 0)});
  (void)at(noon + 1s);
  read(noon + 1100ms, {process(101, 10ms, mib, 50 * mib, 10 * mib)});
  EXPECT_FALSE(at(noon + 1100ms)->of(RuleKind::read_rate));
  read(noon + 2s, {process(101, 500ms, mib, 100 * mib, 20 * mib)});
  const auto costs = at(noon + 2s);
  EXPECT_EQ(value(costs, RuleKind::read_rate), 100 * mib);
  EXPECT_EQ(value(costs, RuleKind::write_rate), 20 * mib);
  EXPECT_EQ(value(costs, RuleKind::cpu_share), 50U);
}

TEST_F(CostMeterTest, KnowsNoRateWhereTheKernelShowsNone) {
  auto blind = process(101, 1s);
  blind.read = blind.written = std::nullopt;
  read(noon + 1s, {blind});
  (void)at(noon + 1s);
  read(noon + 3s, {blind});
  const auto costs = at(noon + 3s);
  EXPECT_TRUE(costs->of(RuleKind::cpu_share));
  EXPECT_FALSE(costs->of(RuleKind::read_rate));
}

ServerCostSample sample(Instant asked) {
  ServerCostSample made;
  made.asked = asked;
  made.taken = asked + 10ms;
  made.measured.temp_bytes = made.measured.xmin_age = made.measured.locks = true;
  made.measured.workers = true;
  made.knows_workers = true;
  ServerCost backend;
  backend.backend = {protocol::BackendPid{101}, ServerTime{1000}};
  backend.temp_bytes = 7;
  backend.xmin_age = 8;
  backend.locks = 9;
  ServerCost worker = backend;
  worker.backend = {protocol::BackendPid{201}, ServerTime{2000}};
  worker.leader = protocol::BackendPid{101};
  worker.temp_bytes = 100;
  made.rows = {backend, worker};
  return made;
}

TEST_F(CostMeterTest, TakesFromTheServerWhatWasAskedWithinTheRequest) {
  const auto within = sample(noon + 1s);
  const auto costs = at(noon + 2s, &within);
  EXPECT_EQ(value(costs, RuleKind::temp_bytes), 107U);
  EXPECT_EQ(value(costs, RuleKind::xmin_age), 8U);
  EXPECT_EQ(value(costs, RuleKind::locks), 9U);
  EXPECT_EQ(value(costs, RuleKind::parallel_workers), 1U);
  EXPECT_EQ(costs->of(RuleKind::temp_bytes)->at, within.taken);
  EXPECT_FALSE(costs->of(RuleKind::cpu_time));

  const auto before = sample(noon - 1s);
  EXPECT_FALSE(at(noon + 2s, &before)) << "of an earlier request";
}

TEST_F(CostMeterTest, TakesNothingOfABackendWithTheSamePidThatStartedAtAnotherTime) {
  auto other = sample(noon + 1s);
  other.rows[0].backend.backend_start = ServerTime{999};
  EXPECT_FALSE(at(noon + 2s, &other));
}

TEST_F(CostMeterTest, KnowsOnlyWhatWasMeasured) {
  auto some = sample(noon + 1s);
  some.measured.temp_bytes = false;
  some.knows_workers = false;
  const auto costs = at(noon + 2s, &some);
  EXPECT_FALSE(costs->of(RuleKind::temp_bytes));
  EXPECT_FALSE(costs->of(RuleKind::parallel_workers)) << "PostgreSQL 12";
  EXPECT_TRUE(costs->of(RuleKind::locks));
}

TEST_F(CostMeterTest, ReadsWhoWaitsOnceAndNotAgainUntilItMoved) {
  session = SessionBuilder{SessionState::idle, 1h};
  EXPECT_TRUE(meter.worth_reading(session));
  read(noon, {process(101, 1s)});
  EXPECT_FALSE(meter.worth_reading(session)) << "not even looked at yet";
  (void)at(noon + 1s);
  EXPECT_FALSE(meter.worth_reading(session));
  ++session.facts().mark.state;
  EXPECT_TRUE(meter.worth_reading(session));
  EXPECT_EQ(meter.last_read(proxy::SessionId{1}), noon);
  EXPECT_FALSE(meter.last_read(proxy::SessionId{2}));
}

TEST_F(CostMeterTest, SumsUpByApplicationWhateverTheRequest) {
  read(noon - 5s, {process(101, 10s)});
  (void)at(noon - 4s);
  read(noon + 5s, {process(101, 15s, 4 * mib)});
  const auto server = sample(noon - 1s);
  (void)at(noon + 6s, &server);
  const ApplicationCost& cost = meter.applications().at("checkout");
  EXPECT_EQ(cost.cpu, 5s);
  EXPECT_EQ(cost.largest_memory, 4 * mib);
  EXPECT_EQ(cost.temp_bytes, 107U);
}

TEST_F(CostMeterTest, ForgetsWhoIsGone) {
  read(noon + 1s, {process(101, 1s, 9 * mib)});
  (void)at(noon + 2s);
  Snapshot empty = snapshot_of();
  meter.fill(empty, nullptr);
  EXPECT_FALSE(meter.last_read(proxy::SessionId{1}));
  EXPECT_EQ(meter.applications().at("checkout").largest_memory, 0U);
}

TEST_F(CostMeterTest, TellsAtMostTwoHundredApplicationsApart) {
  Snapshot many = snapshot_of();
  for (std::uint64_t i = 1; i <= 300; ++i) {
    auto one = SessionBuilder{SessionState::busy, 0s}.id(i).application("app" + std::to_string(i));
    meter.read(one, {noon + 1s, noon + 1s, {process(101, 1s)}});
    many.sessions.push_back(one);
  }
  meter.fill(many, nullptr);
  EXPECT_EQ(meter.applications().size(), CostMeter::max_applications + 1);
  EXPECT_TRUE(meter.applications().contains("other"));
}

TEST(CostNeeds, AreThoseOfTheRulesOnly) {
  EXPECT_EQ(CostNeeds::of({rule("a", RuleKind::idle, 1s), rule("b", RuleKind::rows, 1s)}),
            CostNeeds{});
  const auto temp = CostNeeds::of({rule("t", RuleKind::temp_bytes, 1s)});
  EXPECT_TRUE(temp.temp_bytes && temp.workers && temp.server());
  EXPECT_FALSE(temp.processes || temp.io || temp.locks || temp.xmin_age);
  const auto io = CostNeeds::of({rule("i", RuleKind::read_rate, 1s)});
  EXPECT_TRUE(io.processes && io.io && io.workers);
}

}  // namespace
}  // namespace pgleash::watchdog
