#include "exposition.hpp"
#include "fixtures.hpp"
#include "metrics/collector.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <utility>
#include <vector>

namespace pgleash::metrics {
namespace {

using namespace testing;

std::vector<std::string> hostile_names() {
  std::vector<std::string> names{
      "\"quoted\"",
      "back\\slash\\",
      "\\",
      "new\nline",
      "\"} 1\npgleash_injected{a=\"b",
      "#comment",
      "{},=",
      std::string("nul\0byte", 8),
      "\xFF\xFE\x80",
      "\xED\xA0\x80",
      "\xE2\x82",
      "\xF0\x9F\x90\x98",
      "\xE2\x80\xA8 \xC2\x85",
      std::string(65536, 'a'),
      std::string(65536, '\xFF'),
      std::string(65536, '"'),
      std::string(65536, '\n'),
      "other",
      "none",
      " ",
  };
  std::mt19937 random{42};
  std::uniform_int_distribution<int> byte{0, 255};
  std::uniform_int_distribution<std::size_t> length{0, 300};
  for (int i = 0; i < 200; ++i) {
    std::string name(length(random), '\0');
    for (char& c : name) {
      c = static_cast<char>(byte(random));
    }
    names.push_back(std::move(name));
  }
  return names;
}

/// A source in which every name that others choose is one of those.
FakeSource hostile_source() {
  config::Config config = small_config();
  config.metrics.max_applications = 1000;  // each as a label of its own
  FakeSource source{std::move(config)};
  std::vector<watchdog::SessionEntry> sessions;
  auto actions = status({});
  for (const auto& name : hostile_names()) {
    sessions.push_back(session({name, name, name, protocol::SessionState::busy, 5s}));
    actions.application_actions_total[{name, "terminate", "enforce", "confirmed"}] = 1;
    actions.actions_total[{name, name, name, name}] = 1;
    actions.exempted_total[{name, name}] = 1;
    actions.action_duration[name];
    actions.rules.push_back({name, 1, 1, 0});
  }
  actions.snapshot = status({.sessions = std::move(sessions)}).snapshot;
  source.set(std::move(actions));
  return source;
}

TEST(HostileNames, NeverBreakTheOutput) {
  const FakeSource source = hostile_source();
  const Series series = parse_exposition(*Collector{source}.text(start));
  EXPECT_EQ(count_series(series, "pgleash_injected"), 0U);
  EXPECT_GT(count_series(series, "pgleash_sessions{"), 1000U);
  for (const auto& [key, value] : series) {
    EXPECT_LT(key.size(), 2000U);
  }
}

TEST(HostileNames, EverySessionIsStillCountedOnce) {
  const FakeSource source = hostile_source();
  double sessions = 0;
  for (const auto& [key, value] : parse_exposition(*Collector{source}.text(start))) {
    sessions += key.starts_with("pgleash_sessions{") ? value : 0;
  }
  EXPECT_EQ(sessions, static_cast<double>(hostile_names().size()));
}

TEST(HostileNames, PrometheusOwnParserTakesTheOutput) {
  const FakeSource source = hostile_source();
  const auto verdict = ask_promtool(*Collector{source}.text(start));
  if (!verdict.available) {
    GTEST_SKIP() << "NOT TESTED: promtool is not on PATH (Debian: apt install prometheus)";
  }
  EXPECT_EQ(verdict.complaints, "");
}

}  // namespace
}  // namespace pgleash::metrics
