#include "watchdog/quota_forecast.hpp"

#include "tests/unit/rules/session_builder.hpp"
#include "watchdog/leak_watch.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <vector>

namespace pgleash::watchdog {
namespace {

using config::QuotaKey;
using ::testing::IsEmpty;
using ::testing::SizeIs;

config::Quota quota(std::string name, QuotaKey key, std::optional<std::uint32_t> sessions) {
  config::Quota made;
  made.name = std::move(name);
  made.key = key;
  made.sessions = sessions;
  if (!sessions) made.new_per_second = 5;
  return made;
}

double seconds(const std::optional<Duration>& duration) {
  return duration ? std::chrono::duration<double>(*duration).count() : -1;
}

/// An application that loses a session every ten seconds, of two addresses in turn, and another one
/// whose sessions are all in use.
class QuotaForecastTest : public ::testing::Test {
 protected:
  QuotaForecastTest() : watch_(config::Leak{}, config::Protect{}, VerdictIds{7}, 30s) {}

  /// Ticks each ten seconds for so many sessions lost; the reports of new leaks.
  std::vector<LeakReport> lose(int count) {
    std::vector<LeakReport> reports;
    for (int i = 0; i < count; ++i) {
      SessionBuilder lost{SessionState::idle};
      lost.id(sessions_.size() + 1);
      lost.client(sessions_.size() % 2 == 0 ? "10.0.0.7" : "10.0.0.8");
      lost.facts().state_since = now_;
      sessions_.push_back(lost);
      Snapshot snapshot;
      snapshot.now = now_;
      snapshot.max_connections = 1500;
      snapshot.sessions = sessions_;
      for (int j = 0; j < 20; ++j)
        snapshot.sessions.push_back(SessionBuilder{SessionState::busy}
                                        .id(1'000'000 + static_cast<std::uint64_t>(j))
                                        .application("catalog"));
      LeakWatch::Tick tick = watch_.tick(snapshot);
      reports.insert(reports.end(), tick.detected.begin(), tick.detected.end());
      now_ += 10s;
    }
    return reports;
  }
  const LeakStatus& status() const { return watch_.status(); }

  LeakWatch watch_;
  Instant now_ = noon;
  std::vector<SessionEntry> sessions_;
};

TEST_F(QuotaForecastTest, AnHourAheadItIsOffByLessThanAFifth) {
  watch_.limit({quota("per-application", QuotaKey::application, 900)});
  const auto reports = lose(540);  // an hour and a half; an hour is left
  ASSERT_THAT(reports, SizeIs(1));
  ASSERT_TRUE(reports[0].quota);
  EXPECT_EQ(reports[0].quota->quota, "per-application");
  ASSERT_THAT(status().quota_forecasts, SizeIs(1));
  const QuotaForecast& found = status().quota_forecasts[0];
  EXPECT_EQ(found.holder, "checkout");
  EXPECT_EQ(found.sessions, 540U);
  EXPECT_EQ(found.limit, 900U);
  EXPECT_NEAR(seconds(found.end.expected), 3600, 3600 * 0.2);
  EXPECT_LE(found.end.earliest, found.end.expected);
  EXPECT_GT(seconds(status().forecast.expected), 2 * 3600) << "the server lasts for longer";
}

TEST_F(QuotaForecastTest, ComesTrueAndIsOverWhenTheQuotaIsUsedUp) {
  watch_.limit({quota("per-application", QuotaKey::application, 900)});
  lose(540);
  lose(static_cast<int>(seconds(status().quota_forecasts.at(0).end.expected) / 10));
  EXPECT_NEAR(static_cast<double>(status().quota_forecasts.at(0).sessions), 900, 360 * 0.2);
  lose(100);
  EXPECT_LT(seconds(status().quota_forecasts.at(0).end.expected), 2);
}

TEST_F(QuotaForecastTest, EachKeyHasItsHoldersAndTheFirstToBeUsedUpIsToldFirst) {
  watch_.limit({quota("per-application", QuotaKey::application, 900),
                quota("per-address", QuotaKey::address, 300),
                quota("per-user", QuotaKey::user, 4000),
                quota("rate", QuotaKey::application, std::nullopt)});
  lose(500);
  EXPECT_THAT(status().quotas, ::testing::ElementsAre("per-application", "per-address", "per-user"))
      << "one without a limit of sessions cannot be used up";
  const auto& found = status().quota_forecasts;
  ASSERT_THAT(found, SizeIs(4));
  EXPECT_EQ(found[0].quota, "per-address");
  EXPECT_EQ(found[1].quota, "per-address");
  EXPECT_EQ(found[0].sessions, 250U + (found[0].holder == "10.0.0.7" ? 20 : 0))
      << "catalog's count for its address, too";
  EXPECT_EQ(found[2].quota, "per-application");
  EXPECT_EQ(found[3].quota, "per-user");
  EXPECT_EQ(found[3].holder, "alice");
  EXPECT_EQ(found[3].sessions, 520U);
}

TEST_F(QuotaForecastTest, SessionsOfOtherServersCountWhereTheyAreCounted) {
  watch_.limit({quota("per-application", QuotaKey::application, 900)});
  watch_.count_quotas_by([this](QuotaKey key, const std::string& holder) {
    std::optional<std::uint32_t> all;
    if (key == QuotaKey::application && holder == "checkout")
      all = static_cast<std::uint32_t>(sessions_.size()) + 100;
    return all;
  });
  lose(440);
  EXPECT_EQ(status().quota_forecasts.at(0).sessions, 540U);
  EXPECT_NEAR(seconds(status().quota_forecasts.at(0).end.expected), 3600, 3600 * 0.2);
}

TEST_F(QuotaForecastTest, NothingIsForetoldWithoutALeakOrWithoutAQuota) {
  watch_.limit({quota("per-application", QuotaKey::application, 900)});
  lose(10);
  EXPECT_THAT(status().quota_forecasts, IsEmpty());
  lose(490);
  EXPECT_THAT(status().quota_forecasts, SizeIs(1));
  watch_.limit({});
  lose(1);
  EXPECT_THAT(status().quota_forecasts, IsEmpty());
  EXPECT_THAT(status().quotas, IsEmpty());
}

}  // namespace
}  // namespace pgleash::watchdog
