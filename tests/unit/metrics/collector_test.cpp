#include "metrics/collector.hpp"

#include "exposition.hpp"
#include "fixtures.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace pgleash::metrics {
namespace {

using namespace testing;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Gt;
using ::testing::Pair;

template <class Enum>
constexpr std::size_t index(Enum value) {
  return static_cast<std::size_t>(value);
}

Series scrape(const FakeSource& source) {
  return parse_exposition(*Collector{source}.text(start));
}

TEST(Collector, ShowsTheJournalUnlessItIsOff) {
  FakeSource source;
  EXPECT_THAT(scrape(source), ::testing::Not(Contains(::testing::Key("pgleash_journal_up"))));
  source.journal_facts = JournalFacts{false, 3};
  EXPECT_THAT(scrape(source), AllOf(Contains(Pair("pgleash_journal_up", 0)),
                                    Contains(Pair("pgleash_journal_unrecorded_total", 3))));
}

TEST(Collector, ShowsWhatBecameOfEachWebhooksNotices) {
  FakeSource source;
  source.notification_facts = {{"oncall", {3, 2, 0, 1, 0}, 7}};
  const auto found = scrape(source);
  EXPECT_THAT(
      found,
      AllOf(Contains(Pair(R"(pgleash_notifications_total{sink="oncall",result="delivered"})", 3)),
            Contains(Pair(R"(pgleash_notifications_total{sink="oncall",result="given_up"})", 1)),
            Contains(Pair(R"(pgleash_notifications_total{sink="oncall",result="dropped"})", 0)),
            Contains(Pair(R"(pgleash_notification_queue_length{sink="oncall"})", 7))));
}

TEST(Collector, ShowsHowFullEachQuotaIs) {
  FakeSource source;
  source.quota_use = {{"per-application", {3, 48, 50}}, {"rate", {1, 7, 0}}};
  const auto series = scrape(source);
  EXPECT_THAT(series,
              AllOf(Contains(Pair(R"(pgleash_quota_sessions{quota="per-application"})", 48)),
                    Contains(Pair(R"(pgleash_quota_refused_total{quota="rate"})", 1))));
  EXPECT_THAT(series,
              Contains(Pair(R"(pgleash_quota_sessions_limit{quota="per-application"})", 50)));
  EXPECT_THAT(
      series,
      ::testing::Not(Contains(::testing::Key(R"(pgleash_quota_sessions_limit{quota="rate"})"))));
}

TEST(Collector, SumsTheWorkersCounters) {
  FakeSource source;
  for (std::size_t worker = 0; worker < 2; ++worker) {
    auto& server = source.server("orders", worker);
    server.bytes_to_backend.add(100 + worker);
    server.ends[index(proxy::EndCause::rule)].add(2);
    server.cancels[index(proxy::CancelOrigin::client)][index(proxy::CancelResult::delivered)].add(
        3);
    server.server_errors[0].add(4);
    server.anomalies.add();
    for (int i = 0; i < 3; ++i) server.untold.up();
    server.untold.down();
    source.listener("main", worker).connections[index(proxy::AcceptResult::accepted)].add(5);
  }
  EXPECT_THAT(
      scrape(source),
      AllOf(
          Contains(
              Pair(R"(pgleash_relay_bytes_total{server="orders",direction="to_backend"})", 201)),
          Contains(
              Pair(R"(pgleash_relay_bytes_total{server="orders",direction="to_frontend"})", 0)),
          Contains(Pair(R"(pgleash_session_ends_total{server="orders",cause="rule"})", 4)),
          Contains(Pair(R"(pgleash_session_ends_total{server="orders",cause="admin"})", 0)),
          Contains(Pair(
              R"(pgleash_cancel_requests_total{server="orders",origin="client",result="delivered"})",
              6)),
          Contains(Pair(R"(pgleash_server_errors_total{server="orders",sqlstate_class="08"})", 8)),
          Contains(Pair(R"(pgleash_tracker_anomalies_total{server="orders"})", 2)),
          Contains(Pair(R"(pgleash_silent_clients{server="orders"})", 4)),
          Contains(
              Pair(R"(pgleash_client_connections_total{listener="main",result="accepted"})", 10))));
}

TEST(Collector, SumsWhatApplicationsCostOverTheWorkers) {
  FakeSource source;
  for (std::size_t worker = 0; worker < 2; ++worker) {
    auto& applications = source.server("orders", worker).applications;
    applications.of("checkout").sent_bytes.add(1000);
    applications.of("checkout").idle_in_transaction_microseconds.add(1'250'000);
    applications.of("").stalled_microseconds.add(500'000);
    source.server("orders", worker).cancels_waiting.up();
    source.server("orders", worker).cancel_duration.observe(2ms);
    source.lags[worker].observe(700us);
  }
  EXPECT_THAT(
      scrape(source),
      AllOf(
          Contains(
              Pair(R"(pgleash_sent_bytes_total{server="orders",application="checkout"})", 2000)),
          Contains(Pair(
              R"(pgleash_idle_in_transaction_seconds_total{server="orders",application="checkout"})",
              2.5)),
          Contains(Pair(
              R"(pgleash_client_stalled_seconds_total{server="orders",application="none"})", 1)),
          Contains(Pair(R"(pgleash_cancel_queue_length{server="orders"})", 2)),
          Contains(
              Pair(R"(pgleash_cancel_duration_seconds_bucket{server="orders",le="0.001"})", 0)),
          Contains(
              Pair(R"(pgleash_cancel_duration_seconds_bucket{server="orders",le="0.005"})", 2)),
          Contains(Pair(R"(pgleash_event_loop_lag_seconds_bucket{le="0.0005"})", 0)),
          Contains(Pair(R"(pgleash_event_loop_lag_seconds_bucket{le="0.001"})", 2)),
          Contains(Pair("pgleash_event_loop_lag_seconds_sum", 0.0014))));
}

TEST(Collector, HistogramsAreCumulativeAndAgreeWithTheirCount) {
  FakeSource source;
  auto& first = source.server("orders", 0).statement_duration;
  first.buckets[0].add(3);
  first.sum_microseconds.add(1500);
  auto& second = source.server("orders", 1).statement_duration;
  second.buckets[2].add(2);
  second.buckets.back().add(1);
  second.sum_microseconds.add(90'000'000'000);
  const Series series = scrape(source);
  const std::string bucket = R"(pgleash_statement_duration_seconds_bucket{server="orders",le=")";
  EXPECT_THAT(series, Contains(Pair(bucket + "0.001\"}", 3)));
  EXPECT_THAT(series, Contains(Pair(bucket + "0.005\"}", 3)));
  EXPECT_THAT(series, Contains(Pair(bucket + "0.01\"}", 5)));
  EXPECT_THAT(series, Contains(Pair(bucket + "86400\"}", 5)));
  EXPECT_THAT(series, Contains(Pair(bucket + "+Inf\"}", 6)));
  EXPECT_THAT(series,
              Contains(Pair(R"(pgleash_statement_duration_seconds_count{server="orders"})", 6)));
  EXPECT_THAT(series, Contains(Pair(R"(pgleash_statement_duration_seconds_sum{server="orders"})",
                                    90000.0015)));
}

TEST(Collector, TellsOfBuildProcessAndConfiguration) {
  FakeSource source;
  source.reload_facts = {false, std::chrono::system_clock::time_point{1700000050s}, 3, 1};
  EXPECT_THAT(
      scrape(source),
      AllOf(Contains(Pair(R"(pgleash_build_info{version="1.2.3",revision="abcdef0"})", 1)),
            Contains(Pair("pgleash_start_time_seconds", 1700000000)),
            Contains(Pair("process_cpu_seconds_total", Gt(0))),
            Contains(Pair("process_resident_memory_bytes", Gt(1 << 20))),
            Contains(Pair("process_open_fds", Gt(2))), Contains(Pair("process_max_fds", Gt(2))),
            Contains(Pair("pgleash_config_last_reload_successful", 0)),
            Contains(Pair("pgleash_config_last_reload_success_timestamp_seconds", 1700000050)),
            Contains(Pair(R"(pgleash_config_reloads_total{result="success"})", 3))));
  EXPECT_THAT(
      scrape(source),
      AllOf(Contains(Pair(R"(pgleash_config_reloads_total{result="failure"})", 1)),
            Contains(Pair(R"(pgleash_enforcement_mode{mode="observe"})", 0)),
            Contains(Pair(R"(pgleash_enforcement_mode{mode="enforce"})", 1)),
            Contains(Pair(R"(pgleash_sessions_limit{server="orders",scope="process"})", 5000))));
}

TEST(Collector, GivesAYoungTextAgainAndMakesAnOldOneAnew) {
  FakeSource source;
  Collector collector{source};
  const auto first = collector.text(start);
  source.server("orders", 0).anomalies.add();
  EXPECT_EQ(collector.text(start + Collector::text_lifetime - 1ns), first);
  EXPECT_NE(*collector.text(start + Collector::text_lifetime), *first);
}

}  // namespace
}  // namespace pgleash::metrics
