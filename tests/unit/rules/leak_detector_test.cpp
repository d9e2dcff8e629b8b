#include "watchdog/leak_detector.hpp"

#include "watchdog/forecast.hpp"
#include "watchdog/gap_history.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace pgleash::watchdog {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

config::Leak windows_of_minutes() {
  config::Leak leak;
  leak.windows = {std::chrono::minutes{30}, std::chrono::hours{6}, std::chrono::hours{72}};
  return leak;
}

/// A server of 100 slots and a clock that moves by seconds.
class LeakDetectorTest : public ::testing::Test {
 protected:
  LeakDetector::Handle open(std::uint64_t id, const std::string& application = "checkout",
                            const std::string& address = "10.0.0.7") {
    ++used_;
    return handles_[id] = detector_.opened({id, "orders", "web", application, address, now_}, now_);
  }
  void use(std::uint64_t id) { detector_.used(handles_.at(id), now_); }
  void close(std::uint64_t id) {
    --used_;
    detector_.closed(handles_.at(id), now_);
    handles_.erase(id);
  }
  void tick() {
    for (LeakChange& change : detector_.tick(now_, {used_, limit_})) {
      (change.what == LeakChange::What::detected ? detected_ : cleared_).push_back(change.leak);
    }
  }
  void pass(Duration time, Duration step = 5s) {
    for (const Instant end = now_ + time; now_ < end; now_ += step) tick();
  }
  /// One session is lost every `every`; until a leak is found, or `time` is over.
  void leak(Duration every, Duration time, const std::string& application = "checkout") {
    Instant next = now_;
    for (const Instant end = now_ + time; now_ < end && detected_.empty(); now_ += 1s) {
      if (now_ >= next) {
        open(++ids_, application);
        next += every;
      }
      tick();
    }
  }

  LeakDetector detector_{windows_of_minutes()};
  Instant now_{1000h};
  std::uint32_t used_ = 10;
  std::uint32_t limit_ = 97;
  std::uint64_t ids_ = 0;
  std::map<std::uint64_t, LeakDetector::Handle> handles_;
  std::vector<Leak> detected_;
  std::vector<Leak> cleared_;
};

TEST_F(LeakDetectorTest, NamesALeakerOfOneSessionPerTenSecondsWithinMinutesAndBeforeHalfIsGone) {
  leak(10s, 15min);
  ASSERT_THAT(detected_, SizeIs(1));
  EXPECT_EQ(detected_[0].group, (LeakGroup{"orders", "web", "checkout"}));
  EXPECT_LT(now_ - Instant{1000h}, 8min);
  EXPECT_LT(used_ - 10, (limit_ - 10) / 2);
  EXPECT_NEAR(detected_[0].slope.value, 0.1, 0.02);
}

TEST_F(LeakDetectorTest, ListsTheSuspectsTheLongestUnusedFirst) {
  leak(10s, 15min);
  ASSERT_THAT(detected_, SizeIs(1));
  const auto suspects = detector_.suspects(detected_[0], now_);
  ASSERT_GE(suspects.size(), 5U);
  EXPECT_TRUE(std::is_sorted(suspects.begin(), suspects.end())) << "ids are in the order of loss";
  EXPECT_EQ(suspects.size(), detected_[0].suspect_count);
  const auto lost = detector_.lost_at(detected_[0], now_);
  EXPECT_TRUE(std::is_sorted(lost.begin(), lost.end()));
  EXPECT_LE(lost.back(), now_ - detector_.unseen(detected_[0]));
}

TEST_F(LeakDetectorTest, SuspectsNobodyWhoIsAtWork) {
  for (std::uint64_t id = 1000; id < 1010; ++id) open(id);
  Instant next = now_;
  for (const Instant end = now_ + 15min; now_ < end && detected_.empty(); now_ += 1s) {
    if (now_ >= next) {
      open(++ids_);
      next += 10s;
    }
    for (std::uint64_t id = 1000; id < 1010; ++id) use(id);
    tick();
  }
  ASSERT_THAT(detected_, SizeIs(1));
  for (const std::uint64_t id : detector_.suspects(detected_[0], now_)) EXPECT_LT(id, 1000U);
}

TEST_F(LeakDetectorTest, ClearsALeakWhenItsSessionsAreGone) {
  leak(10s, 15min);
  ASSERT_THAT(detected_, SizeIs(1));
  while (!handles_.empty()) close(handles_.begin()->first);
  pass(10min);
  ASSERT_THAT(cleared_, SizeIs(1));
  EXPECT_EQ(cleared_[0].group.application, "checkout");
  EXPECT_THAT(detector_.leaks(), IsEmpty());
}

TEST_F(LeakDetectorTest, ClearsALeakWhenItsSessionsAreUsedAfterAll) {
  leak(10s, 15min);
  ASSERT_THAT(detected_, SizeIs(1));
  for (const auto& [id, handle] : handles_) use(id);
  pass(10min);
  EXPECT_THAT(cleared_, SizeIs(1));
}

TEST_F(LeakDetectorTest, LetsALeakStandWhileItsSessionsAreHeldThoughItStoppedGrowing) {
  leak(10s, 15min);
  pass(2h);
  EXPECT_THAT(detected_, SizeIs(1));
  EXPECT_THAT(cleared_, IsEmpty());
  EXPECT_THAT(detector_.leaks(), SizeIs(1));
}

TEST_F(LeakDetectorTest, IsSilentAboutASawToothPool) {
  for (int tooth = 0; tooth < 30; ++tooth) {
    for (std::uint64_t id = 1; id <= 30; ++id) {
      open(id);
      for (std::uint64_t other = 1; other <= id; ++other) use(other);
      pass(10s);
    }
    for (std::uint64_t id = 1; id <= 30; ++id) close(id);
    pass(30s);
  }
  EXPECT_THAT(detected_, IsEmpty());
}

TEST_F(LeakDetectorTest, TakesTheSessionsOfNewPodsForNoGrowth) {
  for (int pod = 0; pod < 7; ++pod) {
    for (int i = 0; i < 10; ++i) open(++ids_, "checkout", "10.0.1." + std::to_string(pod));
    pass(3min);
  }
  EXPECT_THAT(detected_, IsEmpty());
}

TEST_F(LeakDetectorTest, IsSilentAboutABatchThatOpensSessionsEachNightWorksInThemAndEnds) {
  for (std::uint64_t id = 1; id <= 10; ++id) open(id);
  for (int night = 0; night < 3; ++night) {
    for (int minute = 0; minute < 24 * 60; ++minute, now_ += 1min) {
      for (std::uint64_t id = 1; id <= 10; ++id) use(id);
      const std::uint64_t batch = 100;
      if (minute < 40) open(batch + static_cast<std::uint64_t>(minute));  // one more each minute
      if (minute < 120) {
        for (const auto& [id, handle] : handles_)
          if (id >= batch && (id + static_cast<std::uint64_t>(minute)) % 3 == 0) use(id);
      } else if (minute == 120) {
        for (std::uint64_t id = batch; id < batch + 40; ++id) close(id);
      }
      tick();
    }
  }
  EXPECT_THAT(detected_, IsEmpty());
}

TEST_F(LeakDetectorTest, IsSilentAboutADeployWhoseNewProcessesStartBeforeTheOldOnesEnd) {
  const auto at_work = [&](Duration time) {
    for (const Instant end = now_ + time; now_ < end; now_ += 5s) {
      for (const auto& [id, handle] : handles_)
        if ((id + static_cast<std::uint64_t>(now_.time_since_epoch() / 5s)) % 6 == 0) use(id);
      tick();
    }
  };
  for (std::uint64_t id = 1; id <= 30; ++id) open(id);
  at_work(1h);
  for (std::uint64_t deploy = 1; deploy <= 6; ++deploy) {
    // Ten processes behind one address, one after the other, with three sessions each.
    for (std::uint64_t id = 1; id <= 30; ++id) {
      open(100 * deploy + id);
      if (id % 3 == 0) at_work(20s);
    }
    at_work(3min);  // both are there
    for (std::uint64_t id = 1; id <= 30; ++id) close(100 * (deploy - 1) + id);
    at_work(10min);
  }
  EXPECT_EQ(used_, 40U);
  EXPECT_THAT(detected_, IsEmpty());
}

TEST_F(LeakDetectorTest, FindsTheLeakOfOneHostBehindOthersThatShrink) {
  for (std::uint64_t id = 1000; id < 1030; ++id) open(id, "checkout", "10.0.0.8");
  pass(1h);
  std::uint64_t shrinks = 1000;
  Instant next = now_;
  Instant next_close = now_;
  for (const Instant end = now_ + 30min; now_ < end && detected_.empty(); now_ += 1s) {
    if (now_ >= next) {
      open(++ids_);
      next += 20s;
    }
    if (now_ >= next_close && shrinks < 1029) {
      close(shrinks++);
      next_close += 25s;
    }
    tick();
  }
  EXPECT_THAT(detected_, SizeIs(1));
}

TEST_F(LeakDetectorTest, SaysNothingOfGrowthThatLastsBeyondTheHorizon) {
  limit_ = 100'000;
  leak(10min, 72h);
  EXPECT_THAT(detected_, IsEmpty());
}

TEST_F(LeakDetectorTest, TellsTheLeakerFromItsNeighbour) {
  for (std::uint64_t id = 1000; id < 1010; ++id) open(id, "catalog");
  leak(10s, 15min);
  ASSERT_THAT(detected_, SizeIs(1));
  EXPECT_EQ(detected_[0].group.application, "checkout");
}

TEST_F(LeakDetectorTest, JudgesWithWindowsOfSeconds) {
  config::Leak leak;
  leak.windows = {6s, 20s};
  leak.horizon = 1h;
  leak.idle_longer_than = 1s;
  LeakDetector quick{leak};
  std::vector<LeakChange> changes;
  std::uint32_t used = 10;
  const Instant begun = now_;
  for (int i = 0; i < 300 && changes.empty(); ++i, now_ += 100ms) {
    if (i % 3 == 0) {
      (void)quick.opened({++ids_, "orders", "web", "checkout", "10.0.0.7", now_}, now_);
      ++used;
    }
    changes = quick.tick(now_, {used, 297});
  }
  EXPECT_THAT(changes, SizeIs(1));
  EXPECT_LT(now_ - begun, 30s);
}

TEST_F(LeakDetectorTest, BoundsTheNumberOfGroups) {
  for (std::uint64_t id = 1; id <= LeakDetector::max_groups + 500; ++id)
    open(id, "made-up-" + std::to_string(id));
  EXPECT_EQ(detector_.groups(), LeakDetector::max_groups + 1) << "and \"other\"";
  for (std::uint64_t id = 1; id <= LeakDetector::max_groups + 500; ++id) close(id);
  tick();
  open(1, "new");
  EXPECT_EQ(detector_.groups(), 1U) << "who is gone makes room";
}

TEST(GapHistory, ForgetsWithTime) {
  GapHistory gaps;
  const Instant start{1000h};
  for (int i = 0; i < 100; ++i) gaps.note(10min, start, 1min, 1h);
  EXPECT_NEAR(gaps.at_least(1min, start, 1min, 1h), 100, 1e-3);
  EXPECT_NEAR(gaps.at_least(8min, start, 1min, 1h), 100, 1e-3);
  EXPECT_NEAR(gaps.at_least(20min, start, 1min, 1h), 0, 1e-3);
  EXPECT_NEAR(gaps.at_least(1min, start + 1h, 1min, 1h), 36.8, 0.1);
}

TEST(RobustSlope, IsNotMovedByABurst) {
  const std::vector<double> points{10, 11, 12, 60, 14, 15, 16, 17};
  EXPECT_NEAR(robust_slope(points).value, 1, 0.01);
  EXPECT_EQ(robust_slope(std::vector<double>{5}).value, 0);
}

/// One session lost every ten seconds, on a server of 1,000 slots.
TEST(ExhaustionForecast, IsRightWithinAFifthAnHourAhead) {
  ExhaustionForecast forecast;
  std::vector<Instant> lost;
  const Instant start{1000h};
  Instant now = start;
  std::uint32_t used = 100;
  for (; used < 1000 - 360; now += 10s) {
    lost.push_back(now);
    forecast.observe(now, ++used);
  }
  while (lost.back() > now - 1min) lost.pop_back();
  const Exhaustion end = forecast.until(now, 1000, lost, 1min, 168h);
  ASSERT_TRUE(end.expected && end.earliest && end.latest);
  EXPECT_NEAR(std::chrono::duration<double>(*end.expected).count(), 3600, 0.2 * 3600);
  EXPECT_LE(*end.earliest, *end.expected);
  EXPECT_LE(*end.expected, *end.latest);
}

TEST(ExhaustionForecast, SeesNoEndWithoutALoss) {
  ExhaustionForecast forecast;
  forecast.observe(Instant{1000h}, 90);
  EXPECT_FALSE(forecast.until(Instant{1000h}, 100, {}, 1min, 168h).expected);
}

TEST(ExhaustionForecast, ExpectsTheDayToComeAsTheDayBefore) {
  // By day 60 sessions more than at night; two are lost an hour. At night the slots seem to last.
  ExhaustionForecast forecast;
  std::vector<Instant> lost;
  const Instant start{24h * 50};
  const auto healthy = [&](Instant when) {
    const auto clock = (when.time_since_epoch() % 24h) / 1h;
    return clock >= 8 && clock < 18 ? 70U : 10U;
  };
  Instant now = start;
  for (; now < start + 47h; now += 1min) {  // until eleven at night
    if ((now - start) % 30min == 0min) lost.push_back(now);
    forecast.observe(now, healthy(now) + static_cast<std::uint32_t>(lost.size()));
  }
  while (lost.back() > now - 30min) lost.pop_back();
  const Exhaustion end = forecast.until(now, 170, lost, 30min, 168h);
  ASSERT_TRUE(end.expected);
  EXPECT_GT(*end.expected, 8h);
  EXPECT_LT(*end.expected, 12h) << "the morning's load takes what the leak has left";
}

TEST(ExhaustionForecast, FollowsALeakThatDoubledItsPaceBeforeItsLossesWereKnown) {
  // One session lost a minute, two a minute since half an hour; those losses cannot be known yet.
  ExhaustionForecast forecast;
  std::vector<Instant> lost;
  Instant now{24h * 50};
  std::uint32_t used = 100;
  for (int minute = 0; minute < 270; ++minute, now += 1min) {
    used += minute < 240 ? 1 : 2;
    if (minute < 240) lost.push_back(now);
    forecast.observe(now, used);
  }
  const Exhaustion end = forecast.until(now, used + 120, lost, 30min, 168h);
  ASSERT_TRUE(end.expected);
  EXPECT_LT(*end.expected, 100min) << "at one a minute it would be two hours";
  EXPECT_GE(*end.expected, 60min);
}

/// A floor that rose by 44 of 94 free slots in half an hour, made of sessions lost one by one.
/// Sessions of this group are often unused for long: how long says nothing.
LeakJudgement of_growth_beside(double came_back_for_each_lost) {
  const LeakScale scale = leak_scales(windows_of_minutes())[1];
  const Instant now{1000h};
  std::vector<std::uint16_t> floors;
  for (std::uint16_t i = 0; i < leak_buckets; ++i)
    floors.push_back(static_cast<std::uint16_t>(10 + 4 * i));
  AddressEvidence address{floors, {}};
  constexpr int lost = 36;
  for (int i = lost; i > 0; --i) address.unused.push_back(now - scale.unused - i * 40s);
  const GroupHistory history{[=](Duration) { return came_back_for_each_lost * lost; },
                             [](Duration) { return 1000.0; }, 12h, std::nullopt};
  return judge_leak(scale, now, std::span{&address, 1}, 50, 5, history);
}

TEST(LeakJudgement, TakesGreatGrowthForALeakWhereFewSessionsComeBack) {
  EXPECT_TRUE(of_growth_beside(0).leak);
  const LeakJudgement judged = of_growth_beside(2.9);
  EXPECT_TRUE(judged.leak);
  EXPECT_EQ(judged.growth, 44);
  EXPECT_EQ(judged.lost, 36U);
}

TEST(LeakJudgement, TakesNoGrowthForALeakWhereThreeSessionsCameBackForEachThatDidNot) {
  const LeakJudgement judged = of_growth_beside(3);
  EXPECT_FALSE(judged.leak);
  EXPECT_EQ(judged.growth, 44) << "all else is as it was";
}

TEST_F(LeakDetectorTest, TakesProcessesThatStartOneAfterTheOtherBehindOneAddressForNoLeak) {
  limit_ = 1997;
  for (int process = 0; process < 14; ++process) {
    for (int i = 0; i < 40; ++i) open(++ids_);  // the pool of each fills at once
    pass(30min);
  }
  EXPECT_THAT(detected_, IsEmpty());
}

TEST_F(LeakDetectorTest, NamesAsManySessionsThatAreLostOneAfterTheOther) {
  limit_ = 1997;
  leak(45s, 7h);
  EXPECT_THAT(detected_, SizeIs(1));
}

}  // namespace
}  // namespace pgleash::watchdog
