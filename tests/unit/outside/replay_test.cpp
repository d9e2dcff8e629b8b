#include "app/replay/replay.hpp"

#include "app/watch/outside_view.hpp"
#include "config/defaults.hpp"
#include "tests/unit/outside/sample_builder.hpp"

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <utility>

namespace pgleash::app {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;
using testing::SizeIs;

constexpr std::int64_t new_year = 1'767'225'600'000;  // 2026-01-01T00:00:00Z

config::Rule rule(const std::string& name, config::RuleKind kind, std::chrono::seconds limit) {
  config::Rule made;
  made.name = name;
  made.kind = kind;
  made.limit = limit;
  return made;
}

config::Config with_rules(std::vector<config::Rule> rules) {
  config::Config config;
  config.rules = std::move(rules);
  config.identity.driver_defaults = config::default_driver_names();
  return config;
}

/// Twenty minutes of a server, a sample every ten seconds. By hand:
///  web       opens a transaction at 2:00 for 90 s, and at 10:00 for 200 s; and one of 20 s.
///  batch     runs a statement from 1:00 to 16:40: 940 s.
///  admin     is a superuser with a transaction open all the time.
///  listener  is idle after LISTEN from 0:00 on; pool is idle from 0:00 on.
std::string recorded() {
  OutsideView view{"main", with_rules({}).identity};
  watchdog::RecordingEncoder encoder{{"db1", "record", "RUN", new_year, 10s}, noon};
  std::string text;
  for (int i = 0; i <= 120; ++i) {
    const Instant now = noon + i * 10s;
    auto made = sample(now);
    made.advisory = watchdog::AdvisoryHolders{now, {}};
    const auto in_transaction = [&](Instant from, Duration length) {
      return now >= from && now < from + length;
    };
    std::string state = "idle";
    Instant since = noon;
    for (const auto& [from, length] : {std::pair{noon + 2min, Duration{90s}},
                                       {noon + 5min, Duration{20s}},
                                       {noon + 10min, Duration{200s}}}) {
      if (now < from) continue;
      state = in_transaction(from, length) ? "idle in transaction" : "idle";
      since = state == "idle" ? from + length : from;
    }
    made.rows.push_back(row(1, "web-7d9f8b6c5-x2x9z", state, since, now, "UPDATE t SET a = 4711"));
    const bool works = in_transaction(noon + 1min, 940s);
    made.rows.push_back(row(2, "batch", works ? "active" : "idle",
                            works   ? noon + 1min
                            : i < 6 ? noon
                                    : noon + 1min + 940s,
                            now, "SELECT report(2026)"));
    made.rows.push_back(row(3, "psql", "idle in transaction", noon - 1h, now));
    made.rows.back().edit().superuser = true;
    made.rows.push_back(row(4, "listener", "idle", noon, now, "LISTEN news"));
    made.rows.push_back(row(5, "pool", "idle", noon, now));
    text += encoder.encode(view.snapshot(made));
  }
  return text;
}

Replay replayed(const std::string& text, std::vector<config::Rule> rules) {
  Replay replay{with_rules(std::move(rules))};
  std::istringstream file{text};
  EXPECT_TRUE(replay.read(file, "a.jsonl", [](std::uint64_t) {}));
  return replay;
}

std::vector<std::pair<std::string, std::uint64_t>> counts(const Replay& replay) {
  std::vector<std::pair<std::string, std::uint64_t>> all;
  for (const auto& [key, row] : replay.rehearsal()->would_act())
    all.emplace_back(key.first + " " + key.second, row.count);
  return all;
}

TEST(Replay, CountsEqualAListMadeByHand) {
  const Replay replay =
      replayed(recorded(), {rule("tx", config::RuleKind::idle_in_transaction, 60s),
                            rule("tx-long", config::RuleKind::idle_in_transaction, 180s),
                            rule("report", config::RuleKind::statement, 600s),
                            rule("idle", config::RuleKind::idle, 1000s)});
  EXPECT_EQ(replay.frames(), 121U);
  EXPECT_THAT(replay.faults(), IsEmpty());
  EXPECT_THAT(counts(replay),
              ElementsAre(Pair("idle listener", 0U), Pair("idle pool", 1U),
                          Pair("report batch", 1U), Pair("tx psql", 0U), Pair("tx web", 2U),
                          Pair("tx-long psql", 0U), Pair("tx-long web", 1U)));
  const auto& rows = replay.rehearsal()->would_act();
  EXPECT_EQ(rows.at({"tx", "psql"}).exempted, 1U);
  EXPECT_EQ(rows.at({"tx", "web"}).sessions, 1U);
  const auto& long_one = rows.at({"tx-long", "web"});
  const Instant start = Instant{} + std::chrono::milliseconds{new_year};
  EXPECT_EQ(long_one.first, start + 10min + 190s) << "the first frame over 180 s";
  EXPECT_THAT(long_one.evidence, HasSubstr("idle in transaction for 190 s: UPDATE t SET a = $1"));
  EXPECT_THAT(replay_table(replay), HasSubstr("2026-01-01T00:13:10Z"));
  const auto json = boost::json::parse(replay_json(replay)).as_object();
  EXPECT_EQ(json.at("would_act").as_array().size(), 7U);
  EXPECT_EQ(json.at("frames").as_int64(), 121);
}

TEST(Replay, AnotherConfigurationFindsOthersInTheSameRecording) {
  const std::string text = recorded();
  EXPECT_THAT(counts(replayed(text, {rule("tx", config::RuleKind::idle_in_transaction, 5s)})),
              ElementsAre(Pair("tx psql", 0U), Pair("tx web", 3U)));
  EXPECT_THAT(counts(replayed(text, {rule("tx", config::RuleKind::idle_in_transaction, 300s)})),
              ElementsAre(Pair("tx psql", 0U)));
}

TEST(Replay, SaysWhichLinesAreDamagedAndGoesOnBehindThem) {
  std::string text = recorded();
  const std::size_t fifth = [&] {
    std::size_t at = 0;
    for (int i = 0; i < 4; ++i) at = text.find('\n', at) + 1;
    return at;
  }();
  text.insert(fifth, "{\"t\":garbage}\n");
  text.resize(text.size() - 3);  // and the last one is torn
  Replay replay{with_rules({})};
  std::istringstream file{text};
  EXPECT_TRUE(replay.read(file, "a.jsonl", [](std::uint64_t) {}));
  ASSERT_THAT(replay.faults(), SizeIs(2));
  EXPECT_EQ(replay.faults()[0].line, 5U);
  EXPECT_EQ(replay.faults()[1].line, 123U);
  EXPECT_EQ(replay.frames(), 3U) << "there is no second key frame in twenty minutes";
}

TEST(Replay, RefusesAnotherVersion) {
  Replay replay{with_rules({})};
  std::istringstream file{"{\"pgleash_recording\":9}\n"};
  EXPECT_FALSE(replay.read(file, "a.jsonl", [](std::uint64_t) {}));
  ASSERT_THAT(replay.faults(), SizeIs(1));
  EXPECT_THAT(replay.faults()[0].why, HasSubstr("version 9"));
}

TEST(Replay, FindsALeakByTheRecordingsOwnTime) {
  config::Config config = with_rules({});
  config.leak.windows = {6s, 20s};
  config.leak.horizon = 1h;
  config.leak.idle_longer_than = 1s;
  config::Quota quota;
  quota.name = "per-application";
  quota.sessions = 80;
  config.quotas = {quota};
  OutsideView view{"main", config.identity};
  watchdog::RecordingEncoder encoder{{"db1", "record", "RUN", new_year, 10s}, noon};
  std::string text;
  for (int tick = 0; tick < 60; ++tick) {
    const Instant now = noon + tick * 300ms;
    auto made = sample(now);
    for (int i = 0; i <= tick; ++i)
      made.rows.push_back(row(100 + i, "checkout", "idle", noon + i * 300ms, now, "SELECT 4711"));
    text += encoder.encode(view.snapshot(made));
  }
  Replay replay{config};
  std::istringstream file{text};
  EXPECT_TRUE(replay.read(file, "a.jsonl", [](std::uint64_t) {}));
  ASSERT_THAT(replay.leaks(), SizeIs(1));
  EXPECT_EQ(replay.leaks()[0].application, "checkout");
  EXPECT_EQ(replay.leaks()[0].statement, "SELECT $1");
  EXPECT_FALSE(replay.leaks()[0].cleared);
  EXPECT_THAT(replay_table(replay), HasSubstr("leak: checkout (app@orders) detected 2026-01-01"));
  ASSERT_TRUE(replay.leaks()[0].quota);
  EXPECT_EQ(replay.leaks()[0].quota->limit, 80U);
  EXPECT_THAT(replay_table(replay), HasSubstr("; quota per-application (80) to refuse it "));
  EXPECT_THAT(replay_json(replay), HasSubstr("\"quota\":\"per-application\""));
}

}  // namespace
}  // namespace pgleash::app
