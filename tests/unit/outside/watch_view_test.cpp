#include "app/watch/outside_sampling.hpp"
#include "app/watch/outside_view.hpp"
#include "app/watch/rehearsal.hpp"
#include "app/watch/render.hpp"
#include "app/watch/text.hpp"
#include "app/watch/view.hpp"
#include "config/defaults.hpp"
#include "tests/unit/outside/sample_builder.hpp"

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

namespace pgleash::app {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

config::Config with_rules(std::vector<config::Rule> rules) {
  config::Config config;
  config.rules = std::move(rules);
  config.identity.driver_defaults = config::default_driver_names();
  return config;
}

/// Samples in, the view out, as `pgleash watch` does it.
class WatchViews : public testing::Test {
 protected:
  explicit WatchViews(config::Config config = with_rules(config::default_rules()))
      : config_(std::move(config)), outside_("main", config_.identity) {
    std::vector<config::Diagnostic> faults;
    rehearsal_ = Rehearsal::compile(config_, Rehearsal::Source::outside, 1, faults);
    EXPECT_THAT(faults, IsEmpty());
  }

  WatchView view(const watchdog::ActivitySample& sample) {
    WatchView made;
    made.place = "db1 port 5432";
    made.server_version = sample.server_version;
    auto snapshot = std::make_shared<const watchdog::Snapshot>(outside_.snapshot(sample));
    verdicts_ = rehearsal_->tick(*snapshot).verdicts;
    made.snapshot = snapshot;
    made.leaks = rehearsal_->leaks(*snapshot);
    made.forecast = rehearsal_->leak_status().forecast;
    made.quotas = rehearsal_->leak_status().quota_forecasts;
    made.would_act = rehearsal_->would_act();
    made.unjudged = rehearsal_->unjudged();
    made.nameless = watchdog::nameless_sessions(sample.rows);
    made.sessions = sorted_lines(*snapshot, *rehearsal_, made.leaks);
    for (SessionLine& line : made.sessions) line.query = line.entry->row->query;
    return made;
  }

  config::Config config_;
  OutsideView outside_;
  std::unique_ptr<Rehearsal> rehearsal_;
  std::vector<watchdog::Verdict> verdicts_;
};

std::vector<std::int32_t> pids(const WatchView& view) {
  std::vector<std::int32_t> all;
  for (const SessionLine& line : view.sessions)
    all.push_back(static_cast<std::int32_t>(*line.entry->view.who->pid));
  return all;
}

TEST_F(WatchViews, WhatHurtsMostComesFirst) {
  auto made = sample(noon);
  made.rows = {row(1, "web", "idle", noon - 2h, noon),
               row(2, "web", "active", noon - 1s, noon),
               row(3, "web", "idle in transaction", noon - 20s, noon),
               row(4, "web", "idle in transaction", noon - 10min, noon),
               row(5, "web", "active", noon - 1min, noon),
               row(6, "ddl", "active", noon - 3s, noon),
               row(7, "web", "idle in transaction", noon - 5s, noon)};
  watchdog::LockWait wait;
  wait.pid = protocol::BackendPid{6};
  wait.mode = "AccessExclusiveLock";
  wait.type = "relation";
  wait.waited = 3s;
  wait.asked = true;
  wait.blockers = {protocol::BackendPid{7}};
  made.locks = watchdog::LockSample{noon, {wait}, {}};
  const WatchView shown = view(made);
  EXPECT_EQ(pids(shown), (std::vector<std::int32_t>{7, 4, 3, 5, 6, 2, 1}));
  EXPECT_EQ(shown.sessions[0].hurt.why, "blocks 1");
  EXPECT_EQ(shown.sessions[1].hurt.why, "over default-idle-in-transaction");
  const auto lines = render(shown, {});
  EXPECT_THAT(lines,
              Contains(AllOf(HasSubstr("BLOCKS"), HasSubstr("pid 7 web"), HasSubstr("1 wait"))));
  EXPECT_THAT(
      lines, Contains(AllOf(HasSubstr("pid 6 ddl"), HasSubstr("AccessExclusiveLock on relation"))));
  EXPECT_THAT(lines, Contains(HasSubstr("not judged from outside: default-held, default-stalled")));
}

TEST_F(WatchViews, AnActivityIsCountedOnceHoweverOftenItIsSeen) {
  for (int i = 0; i < 5; ++i) {
    const Instant now = noon + i * 2s;
    auto made = sample(now + std::chrono::milliseconds{i * 7});  // the answer takes its time
    made.rows = {row(4, "web", "idle in transaction", noon - 10min, now)};
    view(made);
    EXPECT_THAT(verdicts_, SizeIs(i == 0 ? 1 : 0));
  }
  const auto& found = rehearsal_->would_act().at({"default-idle-in-transaction", "web"});
  EXPECT_EQ(found.count, 1U);
  EXPECT_THAT(found.evidence,
              HasSubstr("pid 4 app@orders from 10.0.0.7:40004, idle in transaction"));
}

TEST_F(WatchViews, AWaveringAnswerMovesNoActivity) {
  auto first = sample(noon);
  first.rows = {row(1, "web", "idle", noon - 1min, noon)};
  const Instant since = outside_.snapshot(first).sessions[0].view.facts.state_since;
  auto second = sample(noon + 2s);
  second.rows = {row(1, "web", "idle", noon - 1min, noon + 2s - 40ms)};
  second.rows[0].edit().state_change = first.rows[0]->state_change;
  EXPECT_EQ(outside_.snapshot(second).sessions[0].view.facts.state_since, since);
}

TEST_F(WatchViews, SuperusersAreShownAndNeverCounted) {
  auto made = sample(noon);
  made.rows = {row(4, "psql", "idle in transaction", noon - 10min, noon)};
  made.rows[0].edit().superuser = true;
  const WatchView shown = view(made);
  EXPECT_THAT(verdicts_, IsEmpty());
  EXPECT_EQ(shown.sessions[0].hurt.kind, Hurt::Kind::none);
}

TEST_F(WatchViews, DriversWithoutANameAreTheirUsersAndGetTheLineThatNamesThem) {
  auto made = sample(noon);
  made.rows = {row(1, "PostgreSQL JDBC Driver", "idle", noon, noon),
               row(2, "PostgreSQL JDBC Driver", "idle", noon, noon),
               row(3, "", "idle", noon, noon)};
  const WatchView shown = view(made);
  EXPECT_EQ(shown.sessions[0].entry->view.who->application, "app@orders");
  ASSERT_THAT(shown.nameless, SizeIs(2));
  EXPECT_EQ(shown.nameless[0].sessions, 2U);
  EXPECT_THAT(render(shown, {}),
              Contains(AllOf(HasSubstr("2 sessions called PostgreSQL JDBC Driver (app@orders)"),
                             HasSubstr("?ApplicationName=NAME"))));
  EXPECT_THAT(render(shown, {}), Contains(AllOf(HasSubstr("1 session without application_name"),
                                                HasSubstr("PGAPPNAME"))));
}

TEST_F(WatchViews, NoLineIsWiderOrHigherThanTheTerminal) {
  auto made = sample(noon);
  for (int i = 1; i <= 60; ++i)
    made.rows.push_back(row(i, std::string(90, 'a') + std::to_string(i), "idle in transaction",
                            noon - 10min, noon, std::string(500, 'q') + "表表"));
  const WatchView shown = view(made);
  for (const std::size_t width : {1U, 20U, 40U, 80U, 132U, 400U}) {
    for (const std::size_t height : {1U, 5U, 24U, 200U}) {
      const auto lines = render(shown, {width, height, false});
      EXPECT_LE(lines.size(), height);
      for (const std::string& line : lines)
        EXPECT_LE(columns_of(line), width) << width << 'x' << height << ": " << line;
    }
  }
  const auto lines = render(shown, {120, 24, false});
  EXPECT_THAT(lines.back(), HasSubstr("sessions more"));
  EXPECT_THAT(lines, Contains(HasSubstr("lines more: make the window higher")));
}

TEST_F(WatchViews, OnlyColourBringsEscapesAndHostileNamesBringNone) {
  auto made = sample(noon);
  made.rows = {row(1, "\x1b]0;pwned\a", "active", noon - 2h, noon, "SELECT '\x1b[2J'")};
  made.rows[0].edit().user = "\xff\x1b";
  made.rows[0].edit().client_addr =
      "\x9b"
      "1m";
  const WatchView shown = view(made);
  for (const std::string& line : render(shown, {})) EXPECT_THAT(line, Not(HasSubstr("\x1b")));
  for (std::string line : render(shown, {100, 20, true})) {
    // Ours are whole lines: one at the beginning, one at the end.
    if (line.starts_with("\x1b[")) line = line.substr(line.find('m') + 1);
    if (line.ends_with("\x1b[0m")) line.resize(line.size() - 4);
    EXPECT_THAT(line, Not(HasSubstr("\x1b")));
  }
  const auto parsed = boost::json::parse(render_json(shown)).as_object();
  EXPECT_EQ(parsed.at("sessions").as_array().size(), 1U);
  EXPECT_THAT(render_json(shown), Not(HasSubstr("\x1b")));
}

class LeakViews : public WatchViews {
 protected:
  LeakViews() : WatchViews(fast()) {}
  static config::Config fast() {
    config::Config config = with_rules(config::default_rules());
    config.leak.windows = {6s, 20s};
    config.leak.horizon = 1h;
    config.leak.idle_longer_than = 1s;
    config::Quota quota;
    quota.name = "per-application";
    quota.sessions = 80;
    config.quotas = {quota};
    return config;
  }
};

TEST_F(LeakViews, ALeakIsNamedWithAddressesAndTheStatementItsSessionsEndedIn) {
  WatchView shown;
  for (int tick = 0; tick < 60 && shown.leaks.empty(); ++tick) {
    const Instant now = noon + tick * 300ms;
    auto made = sample(now);
    for (int i = 0; i <= tick; ++i)
      made.rows.push_back(row(100 + i, "checkout-7d9f8b6c5-x2x9z", "idle", noon + i * 300ms, now,
                              "SELECT 4711 /*controller='cart',route='%2Fcart'*/"));
    shown = view(made);
  }
  ASSERT_THAT(shown.leaks, SizeIs(1));
  EXPECT_EQ(shown.leaks[0].leak.group.application, "checkout");
  EXPECT_EQ(shown.leaks[0].statement, "SELECT $1");
  EXPECT_EQ(shown.leaks[0].same_statement, 1);
  EXPECT_EQ(shown.sessions[0].hurt.why, "leaked?");
  const auto lines = render(shown, {});
  EXPECT_THAT(lines, Contains(AllOf(HasSubstr("LEAK"), HasSubstr("checkout  (app@orders)"))));
  EXPECT_THAT(lines, Contains(AllOf(HasSubstr("oldest pid 100 10.0.0.7:40100"))));
  EXPECT_THAT(lines, Contains(AllOf(HasSubstr("100 % of them ended in: SELECT $1"),
                                    HasSubstr("controller=cart"), HasSubstr("route=/cart"))));
  EXPECT_TRUE(shown.forecast.expected);
  ASSERT_TRUE(shown.leaks[0].quota);
  EXPECT_THAT(lines, Contains(AllOf(HasSubstr("forecast quota per-application ("),
                                    HasSubstr(" of 80 sessions) refuses checkout in "))));
  const auto parsed = boost::json::parse(render_json(shown)).as_object();
  const auto& quota = parsed.at("quotas").as_array().at(0).as_object();
  EXPECT_EQ(quota.at("holder").as_string(), "checkout");
  EXPECT_EQ(quota.at("limit").to_number<int>(), 80);
  EXPECT_GT(quota.at("forecast").as_object().at("expected_seconds").to_number<double>(), 0);
  EXPECT_EQ(parsed.at("leaks").as_array().at(0).as_object().at("quota").as_string(),
            "per-application");
}

TEST(HidePassword, OverwritesItInUrlsAndWords) {
  std::string url = "postgres://dba:s3cr:et@db1/x";
  EXPECT_TRUE(hide_password(url.data()));
  EXPECT_EQ(url, "postgres://dba:xxxxxxx@db1/x");
  std::string words = "host=db1 password='a b' user=dba";
  EXPECT_TRUE(hide_password(words.data()));
  EXPECT_THAT(words, AllOf(Not(HasSubstr("a b")), HasSubstr("user=dba")));
  std::string plain = "postgres://dba@db1:5432/x";
  EXPECT_FALSE(hide_password(plain.data()));
  EXPECT_EQ(plain, "postgres://dba@db1:5432/x");
}

}  // namespace
}  // namespace pgleash::app
