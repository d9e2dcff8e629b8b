#include "config/measure.hpp"

#include <gtest/gtest.h>

#include <string>
#include <variant>

namespace pgleash::config {
namespace {

struct Written {
  MeasureUnit unit;
  const char* text;
  std::uint64_t value;
};

const Written written[] = {
    {MeasureUnit::bytes, "1B", 1},
    {MeasureUnit::bytes, "64KiB", 65536},
    {MeasureUnit::bytes, "20GiB", std::uint64_t{20} << 30U},
    {MeasureUnit::bytes, "3TiB", std::uint64_t{3} << 40U},
    {MeasureUnit::rate, "100MiB/s", std::uint64_t{100} << 20U},
    {MeasureUnit::share, "150%", 150},
    {MeasureUnit::cpu_time, "2h", 7'200'000},
    {MeasureUnit::cpu_time, "1m30s", 90'000},
};

TEST(Measure, IsReadAndWrittenInTheUnitOfItsKind) {
  for (const Written& it : written) {
    const auto parsed = parse_measure(it.unit, it.text);
    ASSERT_TRUE(std::holds_alternative<std::uint64_t>(parsed)) << it.text;
    EXPECT_EQ(std::get<std::uint64_t>(parsed), it.value) << it.text;
    EXPECT_EQ(format_measure(it.unit, it.value), it.text);
  }
  EXPECT_EQ(format_measure(MeasureUnit::bytes, 1536 * 1024), "1536KiB");
  EXPECT_EQ(format_measure(MeasureUnit::count, 1000000), "1000000");
}

struct Faulty {
  MeasureUnit unit;
  const char* text;
  const char* hint;  ///< must be in it
};

const Faulty faulty[] = {
    {MeasureUnit::bytes, "20GB", "20GiB"},
    {MeasureUnit::bytes, "20 gib", "20GiB"},
    {MeasureUnit::bytes, "20G", "20GiB"},
    {MeasureUnit::bytes, "20k", "20KiB"},
    {MeasureUnit::bytes, "20", "20MiB"},
    {MeasureUnit::bytes, "1.5GiB", "20GiB"},
    {MeasureUnit::bytes, "-1GiB", "20GiB"},
    {MeasureUnit::bytes, "", "20GiB"},
    {MeasureUnit::bytes, "0MiB", "everybody"},
    {MeasureUnit::bytes, "2097152TiB", "the most"},
    {MeasureUnit::bytes, "99999999999999999999B", "20GiB"},
    {MeasureUnit::bytes, "10MiB/s", "\"10MiB\""},
    {MeasureUnit::rate, "10MiB", "\"10MiB/s\""},
    {MeasureUnit::rate, "10MB/s", "\"10MiB/s\""},
    {MeasureUnit::rate, "10", "\"10MiB/s\""},
    {MeasureUnit::share, "150", "\"150%\""},
    {MeasureUnit::share, "1.5", "\"150%\""},
    {MeasureUnit::share, "0%", "everybody"},
    {MeasureUnit::share, "9999999%", "one CPU"},
    {MeasureUnit::cpu_time, "2", "\"2s\""},
};

TEST(Measure, ThatIsWrittenWronglySaysWhatToWrite) {
  for (const Faulty& it : faulty) {
    const auto parsed = parse_measure(it.unit, it.text);
    ASSERT_TRUE(std::holds_alternative<Fault>(parsed)) << it.text;
    EXPECT_NE(std::get<Fault>(parsed).hint.find(it.hint), std::string::npos)
        << it.text << ": " << std::get<Fault>(parsed).hint;
  }
}

TEST(Measure, IsShownToPeopleRounded) {
  EXPECT_EQ(show_measure(MeasureUnit::bytes, 64282304), "61.3 MiB");
  EXPECT_EQ(show_measure(MeasureUnit::bytes, std::uint64_t{50} << 20U), "50 MiB");
  EXPECT_EQ(show_measure(MeasureUnit::bytes, 999), "999 B");
  EXPECT_EQ(show_measure(MeasureUnit::rate, 1572864), "1.5 MiB/s");
  EXPECT_EQ(show_measure(MeasureUnit::share, 150), "150 %");
  EXPECT_EQ(show_measure(MeasureUnit::cpu_time, 2'100), "2s100ms");
  EXPECT_EQ(show_measure(MeasureUnit::cpu_time, 7'261'123), "2h1m1s");
  EXPECT_EQ(show_measure(MeasureUnit::count, 1234567), "1234567");
}

}  // namespace
}  // namespace pgleash::config
