#include "config/duration.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

namespace pgleash::config {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

TEST(Duration, IsReadWithEachUnitAndWithSeveral) {
  const std::pair<const char*, std::chrono::milliseconds> table[] = {
      {"25ms", 25ms}, {"250ms", 250ms},  {"90s", 90s}, {"1m", 1min},
      {"1m30s", 90s}, {"1h30m", 90min},  {"2d", 48h},  {"1d1h1m1s1ms", 25h + 61s + 1ms},
      {"100s", 100s}, {"3650d", 87600h}, {"007s", 7s}, {"1h5ms", 1h + 5ms},
  };
  for (const auto& [text, expected] : table) {
    std::string why;
    EXPECT_EQ(parse_duration(text, why), expected) << text << ": " << why;
  }
}

TEST(Duration, ThatIsFaultyTellsWhatToWrite) {
  const std::pair<const char*, const char*> table[] = {
      {"", "empty"},
      {"90", "write \"90s\""},
      {"0s", "zero"},
      {"0ms", "zero"},
      {"24ms", "too short"},
      {"1ms", "25ms"},
      {"-5s", "sign"},
      {"+5s", "sign"},
      {"90 s", "write \"1m30s\""},
      {" 90s", "write \"1m30s\""},
      {"90sec", "write \"1m30s\""},
      {"5 minutes", "write \"5m\""},
      {"90S", "write \"1m30s\""},
      {"1.5h", "write \"1h30m\""},
      {"0.25s", "write \"250ms\""},
      {"1h 30min", "write \"1h30m\""},
      {"30m1h", "large units first"},
      {"1h1h", "large units first"},
      {"5w", "no unit"},
      {"5us", "no unit"},
      {"s", "no duration"},
      {"1h30", "has no unit"},
      {"h1", "no duration"},
      {"\xc3\xa9", "no duration"},
      {"3651d", "3650d"},
      {"3650d1ms", "3650d"},
      {"99999999999999999999s", "too long"},
      {"9223372036854775807ms", "too long"},
      {"1e3s", "no unit"},
      {"infs", "no duration"},
      {"off", "no duration"},
  };
  for (const auto& [text, expected] : table) {
    std::string why;
    EXPECT_EQ(parse_duration(text, why), std::nullopt) << text;
    EXPECT_THAT(why, HasSubstr(expected)) << text;
  }
}

TEST(Duration, IsWrittenAsShortAsItCanBeReadBack) {
  const std::pair<std::chrono::milliseconds, const char*> table[] = {
      {90s, "1m30s"}, {1500ms, "1s500ms"}, {24h, "1d"},       {25h, "1d1h"},
      {25ms, "25ms"}, {1h + 5ms, "1h5ms"}, {87600h, "3650d"},
  };
  for (const auto& [duration, expected] : table) {
    EXPECT_EQ(format_duration(duration), expected);
    std::string why;
    EXPECT_EQ(parse_duration(expected, why), duration);
  }
  EXPECT_EQ(format_duration(0ms), "0s");
  EXPECT_EQ(format_duration(-1500ms), "-1s500ms");
}

}  // namespace
}  // namespace pgleash::config
