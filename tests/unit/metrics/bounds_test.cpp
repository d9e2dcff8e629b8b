#include "exposition.hpp"
#include "fixtures.hpp"
#include "metrics/closed_sets.hpp"
#include "metrics/collector.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <ctime>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace pgleash::metrics {
namespace {

using namespace testing;
using protocol::SessionState;

/// One session of each label `state`.
std::vector<watchdog::SessionEntry> every_state(const SessionSpec& spec) {
  std::vector<watchdog::SessionEntry> entries;
  for (const SessionState state :
       {SessionState::starting, SessionState::idle, SessionState::idle_in_transaction,
        SessionState::aborted, SessionState::busy, SessionState::pipeline_flushed}) {
    SessionSpec in_state = spec;
    in_state.state = state;
    entries.push_back(session(in_state));
  }
  entries.push_back(entries.back());
  entries.back().view.stalled_since = start - 1s;
  return entries;
}

/// Each session blocks others, and something holds back clean-up.
watchdog::WatchdogStatus full_status(StatusSpec spec) {
  spec.blocking.taken = start;
  for (std::size_t i = 0; i < spec.sessions.size(); ++i) {
    auto& root = spec.blocking.roots.emplace_back();
    root.kind = watchdog::RootKind::session;
    root.session = i;
  }
  spec.horizon = watchdog::Horizon{1, 1s, 1, 1, 1, 1, 1};
  return status(std::move(spec));
}

/// Every outcome that verdicts of `action` can have, in both modes.
template <class Count>
void every_outcome(std::string_view action, Count count) {
  for (const auto mode : words::modes) {
    for (const auto outcome : words::outcomes) {
      if (words::possible(action, mode, outcome)) {
        count(std::string{action}, std::string{mode}, std::string{outcome});
      }
    }
  }
}

/// What can exempt sessions that a rule of that kind judges.
bool possible_exemption(config::RuleKind kind, std::string_view exemption) {
  using config::RuleKind;
  const bool idle = kind == RuleKind::idle || kind == RuleKind::session_age;
  const bool in_state = kind == RuleKind::idle_in_transaction || kind == RuleKind::aborted;
  if (exemption == "listening" || exemption == "pooler") return idle;
  if (exemption == "copy_moving") return kind == RuleKind::statement;
  if (exemption == "sync_replication") return !idle && !in_state;
  return true;
}

void fill_rules(watchdog::WatchdogStatus& status, const config::Config& config) {
  for (const auto& configured : config.rules) {
    status.rules.push_back({configured.name, 1, 1, 0, configured.kind});
    const auto action = words::actions[static_cast<std::size_t>(configured.action)];
    every_outcome(action, [&](auto act, auto mode, auto outcome) {
      status.actions_total[{configured.name, act, mode, outcome}] = 1;
    });
    for (const auto exemption : words::exemptions) {
      if (possible_exemption(configured.kind, exemption))
        status.exempted_total[{configured.name, std::string{exemption}}] = 1;
    }
  }
}

void fill_application(watchdog::WatchdogStatus& status, const std::string& application,
                      std::span<const std::string_view> actions) {
  for (const auto action : actions) {
    every_outcome(action, [&](auto act, auto mode, auto outcome) {
      status.application_actions_total[{application, act, mode, outcome}] = 1;
    });
    if (action != "observe") {
      status.action_duration[std::string{action}].buckets[0] = 1;
    }
  }
}

/// Everybody who can be spared is, and the workers know these applications.
void fill_counters(FakeSource& source, watchdog::WatchdogStatus& status,
                   std::span<const std::string> applications) {
  std::fill(status.exempt.begin() + 1, status.exempt.end(), 1);
  for (std::size_t worker = 0; worker < 2; ++worker) {
    for (const auto& application : applications)
      source.server(status.server, worker).applications.of(application).sent_bytes.add();
  }
}

/// Each has had every result.
void fill_webhooks(FakeSource& source, std::size_t webhooks) {
  for (std::size_t i = 0; i < webhooks; ++i) {
    NotificationFacts& one = source.notification_facts.emplace_back();
    one.sink = "webhook" + std::to_string(i);
    one.results.fill(1);
    one.queued = 1;
  }
}

TEST(Bounds, OneServerOneApplicationAndTheDefaultRulesGiveAtMost550Series) {
  FakeSource source;
  auto full = full_status({.sessions = every_state({}), .direct = 1});
  fill_rules(full, *source.config());
  constexpr std::array<std::string_view, 3> actions{"observe", "cancel", "terminate"};
  fill_application(full, "checkout", actions);
  fill_counters(source, full, std::array<std::string, 1>{"checkout"});
  source.set(std::move(full));
  fill_webhooks(source, 1);
  const Series series = parse_exposition(*Collector{source}.text(start));
  RecordProperty("series", static_cast<int>(series.size()));
  EXPECT_LE(series.size(), 550U);
}

config::Config big_config() {
  config::Config config = small_config();
  config.servers.resize(3);
  config.listeners.resize(3);
  for (std::size_t i = 0; i < 3; ++i) {
    config.servers[i].name = "server" + std::to_string(i);
    config.listeners[i].name = "listener" + std::to_string(i);
  }
  config.rules.clear();
  for (std::size_t i = 0; i < 50; ++i) {
    config.rules.push_back(rule("rule" + std::to_string(i), static_cast<config::Action>(i % 4)));
  }
  return config;
}

/// `names` applications, users and databases, in each state, and everything else there is.
void fill(FakeSource& source, std::size_t names) {
  for (const auto& server : source.config()->servers) {
    std::vector<watchdog::SessionEntry> sessions = every_state({"", "", "", {}, 7200s});
    for (std::size_t i = 0; i < names; ++i) {
      const std::string number = std::to_string(i);
      auto more = every_state({"app" + number, "user" + number, "db" + number, {}, 7200s});
      sessions.insert(sessions.end(), more.begin(), more.end());
    }
    auto full = full_status({.server = server.name, .sessions = std::move(sessions), .direct = 1});
    fill_rules(full, *source.config());
    std::vector<std::string> applications{""};
    for (std::size_t i = 0; i < names; ++i) {
      applications.push_back("app" + std::to_string(i));
      fill_application(full, applications.back(), words::actions);
    }
    fill_counters(source, full, applications);
    source.set(std::move(full));
  }
}

TEST(Bounds, ThreeServersAndFiftyRulesWithEveryLabelFullGiveAtMost12000Series) {
  FakeSource source{big_config()};
  fill(source, 100);
  fill_webhooks(source, config::Webhook::most);
  Collector collector{source};
  const Series series = parse_exposition(*collector.text(start));
  RecordProperty("series", static_cast<int>(series.size()));
  EXPECT_LE(series.size(), 12'000U);
  // The bound is worth something only if the labels were full.
  EXPECT_EQ(count_series(series, "pgleash_sessions{"), 3U * 52 * 7);
  EXPECT_EQ(count_series(series, "pgleash_database_sessions{"), 3U * 66 * 7);
  EXPECT_EQ(count_series(series, "pgleash_user_sessions{"), 3U * 52);
  EXPECT_EQ(count_series(series, "pgleash_notifications_total{"),
            config::Webhook::most * words::notification_results.size());
  EXPECT_EQ(count_series(series, "pgleash_sent_bytes_total{"), 3U * 52);
  EXPECT_EQ(count_series(series, "pgleash_exempt_sessions_over_age{"),
            3U * words::exemptions.size());
  EXPECT_EQ(count_series(series, "pgleash_application_actions_total{application=\"app"), 50U * 40);
}

TEST(Bounds, SeriesDoNotGrowOverTimeWhenNamesComeAndGo) {
  FakeSource source{big_config()};
  fill(source, 60);
  Collector collector{source};
  const std::size_t before = parse_exposition(*collector.text(start)).size();
  for (int hours = 1; hours <= 20; ++hours) {
    for (const auto& server : source.config()->servers) {
      std::vector<watchdog::SessionEntry> sessions;
      for (int i = 0; i < 60; ++i) {
        const std::string name = std::to_string(hours) + "-" + std::to_string(i);
        sessions.push_back(session({"app" + name, "user" + name, "db" + name, {}, 1s}));
      }
      source.set(status({.server = server.name, .sessions = std::move(sessions)}));
    }
    EXPECT_LE(parse_exposition(*collector.text(start + hours * 2h)).size(), before);
  }
}

TEST(Bounds, AScrapeOfFiveThousandSessionsTakesLessThan20MillisecondsOfCpu) {
  FakeSource source;
  std::vector<watchdog::SessionEntry> sessions;
  std::vector<std::string> applications;
  for (std::size_t i = 0; i < 5000; ++i) {
    const std::string number = std::to_string(i % 200);
    sessions.push_back(session({"app" + number, "user" + number, "db" + number, {}, 1s}));
    applications.push_back("app" + number);
  }
  auto full = full_status({.sessions = std::move(sessions), .direct = 500});
  fill_rules(full, *source.config());
  fill_counters(source, full, applications);
  source.set(std::move(full));
  Collector collector{source};
  const auto cpu = [] {
    timespec spent{};
    ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
    return std::chrono::seconds{spent.tv_sec} + std::chrono::nanoseconds{spent.tv_nsec};
  };
  auto least = std::chrono::nanoseconds::max();
  for (int i = 0; i < 5; ++i) {
    const auto before = cpu();
    (void)collector.text(start + i * 1s);
    least = std::min<std::chrono::nanoseconds>(least, cpu() - before);
  }
  RecordProperty("microseconds", static_cast<int>(least.count() / 1000));
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers make it another program";
#endif
  EXPECT_LT(least, 20ms);
}

TEST(Bounds, AHundredThousandApplicationNamesStayWithin) {
  FakeSource source;
  std::vector<watchdog::SessionEntry> sessions;
  constexpr std::size_t names = 100'000;
  sessions.reserve(names);
  for (std::size_t i = 0; i < names; ++i) {
    sessions.push_back(session({"app" + std::to_string(i), "web", "orders", {}, 1s}));
  }
  source.set(status({.sessions = std::move(sessions)}));
  Collector collector{source};
  const Series series = parse_exposition(*collector.text(start));
  EXPECT_EQ(count_series(series, "pgleash_sessions{"), 51U * 7);
  EXPECT_EQ(series.at(R"(pgleash_label_overflow_total{family="application"})"), names - 50);
  EXPECT_EQ(series.at(R"(pgleash_sessions{server="orders",application="other",state="starting"})"),
            names - 50);
}

}  // namespace
}  // namespace pgleash::metrics
