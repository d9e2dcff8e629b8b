#include "app/replay/progress_bar.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>

namespace pgleash::app {
namespace {

using namespace std::chrono_literals;
using ::testing::IsEmpty;

constexpr ProgressBar::Time begun{100h};

std::string bar(std::size_t full, const std::string& percent) {
  return "\r[" + std::string(full, '#') + std::string(40 - full, ' ') + "] " + percent + " %";
}

TEST(ProgressBar, OfAShortReplayIsNeverSeen) {
  ProgressBar shown{1000, true, begun};
  EXPECT_THAT(shown.at(0, begun), IsEmpty());
  EXPECT_THAT(shown.at(999, begun + 499ms), IsEmpty());
  EXPECT_THAT(shown.removed(), IsEmpty());
}

TEST(ProgressBar, TellsHowFarALongReplayIsAndLeavesNothingBehind) {
  ProgressBar shown{1000, true, begun};
  EXPECT_EQ(shown.at(250, begun + 500ms), bar(10, "25"));
  EXPECT_THAT(shown.at(260, begun + 599ms), IsEmpty()) << "no oftener than is seen";
  EXPECT_EQ(shown.at(500, begun + 600ms), bar(20, "50"));
  EXPECT_EQ(shown.at(1000, begun + 700ms), bar(40, "100"));
  EXPECT_EQ(shown.removed(), "\r\x1b[K");
}

TEST(ProgressBar, OfAFileThatGrowsMeanwhileStaysInItsFrame) {
  ProgressBar shown{1000, true, begun};
  EXPECT_EQ(shown.at(5000, begun + 1s), bar(40, "100"));
}

TEST(ProgressBar, IsNotDrawnIntoAPipeAndNotForAnUnknownLength) {
  ProgressBar piped{1000, false, begun};
  EXPECT_THAT(piped.at(500, begun + 1h), IsEmpty());
  EXPECT_THAT(piped.removed(), IsEmpty());
  ProgressBar endless{0, true, begun};
  EXPECT_THAT(endless.at(500, begun + 1h), IsEmpty());
}

}  // namespace
}  // namespace pgleash::app
