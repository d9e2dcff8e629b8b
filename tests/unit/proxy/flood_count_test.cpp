#include "proxy/flood_count.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>

namespace pgleash::proxy {
namespace {

using namespace std::chrono_literals;
using testing::IsEmpty;
using testing::SizeIs;

constexpr Instant start{std::chrono::hours{1}};

std::uint64_t admitted(FloodCount& count, const std::string& kind, int lines, Instant now) {
  std::uint64_t all = 0;
  for (int i = 0; i < lines; ++i) all += count.admit(kind, now) ? 1U : 0U;
  return all;
}

TEST(FloodCount, WhatIsNoFloodIsWrittenLineByLine) {
  FloodCount count;
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(count.admit("a", start + i * 1s)) << i;
  EXPECT_THAT(count.left_out(start + 1h), IsEmpty());
}

TEST(FloodCount, OfAFloodTheFirstAreWrittenAndTheRestIsCounted) {
  FloodCount count;
  EXPECT_EQ(admitted(count, "a", 10'000, start), FloodCount::most);
  EXPECT_THAT(count.left_out(start + 9s), IsEmpty()) << "it may go on";
  const auto told = count.left_out(start + 10s);
  ASSERT_THAT(told, SizeIs(1));
  EXPECT_EQ(told[0].kind, "a");
  EXPECT_EQ(told[0].count, 10'000 - FloodCount::most);
  EXPECT_EQ(told[0].within, 10s);
  EXPECT_THAT(count.left_out(start + 1h), IsEmpty()) << "once";
}

TEST(FloodCount, AKindDoesNotHideAnother) {
  FloodCount count;
  (void)admitted(count, "a", 1000, start);
  EXPECT_TRUE(count.admit("b", start));
}

TEST(FloodCount, AFloodThatLastsIsShownAndCountedAnewInEachWindow) {
  FloodCount count;
  std::uint64_t written = 0;
  std::uint64_t left_out = 0;
  for (int second = 0; second < 60; ++second) {
    written += admitted(count, "a", 1000, start + second * 1s);
    for (const auto& one : count.left_out(start + second * 1s)) left_out += one.count;
  }
  EXPECT_EQ(written, 6 * FloodCount::most);
  for (const auto& one : count.left_out(start + 60s)) left_out += one.count;
  EXPECT_EQ(written + left_out, 60'000U) << "every line is written or counted";
}

TEST(FloodCount, WhatANewWindowBeganUponIsNotForgotten) {
  FloodCount count;
  (void)admitted(count, "a", 30, start);
  EXPECT_TRUE(count.admit("a", start + 11s)) << "nobody asked in between";
  const auto told = count.left_out(start + 11s);
  ASSERT_THAT(told, SizeIs(1));
  EXPECT_EQ(told[0].count, 10U);
}

TEST(FloodCount, AtTheEndAllIsTold) {
  FloodCount count;
  (void)admitted(count, "a", 25, start);
  const auto told = count.left_out(start + 1s, true);
  ASSERT_THAT(told, SizeIs(1));
  EXPECT_EQ(told[0].count, 5U);
}

}  // namespace
}  // namespace pgleash::proxy
