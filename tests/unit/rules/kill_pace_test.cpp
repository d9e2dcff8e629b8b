#include "watchdog/kill_pace.hpp"

#include "session_builder.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace pgleash::watchdog {
namespace {

KillPace pace(std::uint32_t global, std::uint32_t application, std::uint32_t rule) {
  KillPace pace;
  pace.configure({global, application, rule});
  return pace;
}

/// How many of those who ask all the time may go within `length`, and the last moment of it.
int let_through(KillPace& pace, Duration length, const char* rule = "r", const char* app = "a",
                Instant from = noon) {
  int passed = 0;
  for (Instant now = from; now < from + length; now += 250ms)
    while (!pace.take(rule, app, now)) ++passed;
  return passed;
}

TEST(KillPace, LetsNoMinuteSeeMoreThanItsNumberAndATwentiethOfIt) {
  for (const std::uint32_t n : {1U, 3U, 10U, 30U, 600U, 12'000U}) {
    auto under_test = pace(n, 100'000, 100'000);
    Instant from = noon;
    int total = 0;
    for (int minute = 0; minute < 10; ++minute, from += 60s) {
      const int passed = let_through(under_test, 60s, "r", "a", from);
      EXPECT_LE(passed, static_cast<int>(n + std::max(1U, n / 20))) << n;
      total += passed;
    }
    EXPECT_NEAR(total, 10.0 * n, n / 20.0 + 1) << "and in the long run just as many";
  }
}

TEST(KillPace, SpreadsThemEvenly) {
  auto under_test = pace(30, 100, 100);  // one each 2 s
  EXPECT_EQ(let_through(under_test, 1750ms), 1);
  EXPECT_EQ(let_through(under_test, 2s, "r", "a", noon + 2s), 1);
  EXPECT_EQ(let_through(under_test, 20s, "r", "a", noon + 4s), 10);
}

TEST(KillPace, SaysWhichLimitHoldsBack) {
  auto global = pace(1, 100, 100);
  EXPECT_FALSE(global.take("r", "a", noon));
  EXPECT_EQ(global.take("s", "b", noon), PaceScope::global);
  auto application = pace(100, 1, 100);
  EXPECT_FALSE(application.take("r", "a", noon));
  EXPECT_EQ(application.take("s", "a", noon), PaceScope::application);
  auto rule = pace(100, 100, 1);
  EXPECT_FALSE(rule.take("r", "a", noon));
  EXPECT_EQ(rule.take("r", "b", noon), PaceScope::rule);
}

TEST(KillPace, TakesFromNoneWhenOneIsEmpty) {
  auto under_test = pace(60, 1, 60);
  EXPECT_FALSE(under_test.take("r", "a", noon));
  for (int i = 0; i < 100; ++i) EXPECT_EQ(under_test.take("r", "a", noon), PaceScope::application);
  EXPECT_FALSE(under_test.take("r", "b", noon)) << "the refused ones took nothing of the others'";
}

TEST(KillPace, GivesBackWhatWasNotUsed) {
  auto under_test = pace(1, 1, 1);
  EXPECT_FALSE(under_test.take("r", "a", noon));
  EXPECT_TRUE(under_test.take("r", "a", noon));
  under_test.give_back("r", "a");
  EXPECT_FALSE(under_test.take("r", "a", noon));
}

TEST(KillPace, SavesNoMoreThanABurstHoweverLongNobodyDies) {
  auto under_test = pace(60, 60, 60);
  EXPECT_EQ(let_through(under_test, 1ms), 3);
  EXPECT_EQ(let_through(under_test, 1ms, "r", "a", noon + 24h), 3);
}

TEST(KillPace, ForgetsApplicationsThatLeftNoTrace) {
  auto under_test = pace(100'000, 10, 100'000);
  for (int i = 0; i < 100; ++i) (void)under_test.take("r", "app" + std::to_string(i), noon);
  under_test.forget_full(noon + 1s);
  EXPECT_GE(under_test.size(), 100U);
  under_test.forget_full(noon + 6s);
  EXPECT_EQ(under_test.size(), 0U);
}

TEST(KillPace, GoesByTheNewLimitsAtOnce) {
  auto under_test = pace(60, 60, 60);
  EXPECT_EQ(let_through(under_test, 1ms), 3);
  under_test.configure({6000, 6000, 6000});
  EXPECT_EQ(let_through(under_test, 1ms, "r", "a", noon + 1s), 100);
}

}  // namespace
}  // namespace pgleash::watchdog
