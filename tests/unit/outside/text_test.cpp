#include "app/watch/text.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <string>

namespace pgleash::app {
namespace {

using namespace std::chrono_literals;

TEST(SafeLine, NoByteOfAClientReachesTheTerminalAsACommand) {
  EXPECT_EQ(safe_line("a\x1b[31mb"), "a\\x1b[31mb");
  EXPECT_EQ(safe_line("bell\a del\x7f"), "bell\\x07 del\\x7f");
  EXPECT_EQ(safe_line("\xc2\x9b"
                      "31m"),
            "\\u{9b}31m")
      << "C1: CSI in one character";
  EXPECT_EQ(safe_line("line\nnext\tcell\r"), "line next cell ");
  EXPECT_EQ(safe_line("\xe2\x80\xaegnp"), "\\u{202e}gnp") << "turned around";
  EXPECT_EQ(safe_line("a\xe2\x80\x8b"
                      "b"),
            "a\\u{200b}b")
      << "not to be seen";
  EXPECT_EQ(safe_line("latin \xe9t\xe9"), "latin \\xe9t\\xe9");
  EXPECT_EQ(safe_line("\xed\xa0\x80"), "\\xed\\xa0\\x80") << "a surrogate is no character";
  EXPECT_EQ(safe_line("Größe 表"), "Größe 表");
}

TEST(SafeLine, EveryByteAndEveryPairOfBytesComesOutPrintable) {
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; ++b) {
      const std::string pair{static_cast<char>(a), static_cast<char>(b)};
      const std::string safe = safe_line(pair);
      for (const char c : safe) {
        ASSERT_GE(static_cast<unsigned char>(c), 0x20) << a << ' ' << b;
        ASSERT_NE(c, '\x7f');
      }
      ASSERT_EQ(safe_line(safe), safe) << a << ' ' << b;
    }
  }
}

TEST(Fit, CountsColumnsAndNotBytes) {
  EXPECT_EQ(columns_of("Größe"), 5U);
  EXPECT_EQ(columns_of("表"), 2U);
  EXPECT_EQ(columns_of("e\xcc\x81"), 1U) << "a combining accent takes no room";
  EXPECT_EQ(fit("ab", 4), "ab  ");
  EXPECT_EQ(fit("ab", 4, true), "  ab");
  EXPECT_EQ(fit("abcdef", 4), "abc…");
  EXPECT_EQ(fit("表表表", 4), "表… ") << "half a wide character is none";
  EXPECT_EQ(cut("abcdef", 6), "abcdef");
  EXPECT_EQ(cut("abcdef", 1), "…");
  EXPECT_EQ(cut("abcdef", 0), "");
  EXPECT_EQ(fit("", 3), "   ");
}

TEST(ShortAge, TakesSixColumnsAtMost) {
  EXPECT_EQ(short_age(Duration{400ms}), "0.4s");
  EXPECT_EQ(short_age(Duration{12s}), "12s");
  EXPECT_EQ(short_age(Duration{5min + 3s}), "5m03s");
  EXPECT_EQ(short_age(Duration{2h + 5min}), "2h05m");
  EXPECT_EQ(short_age(Duration{76h}), "3d04h");
  EXPECT_EQ(short_age(Duration{-5s}), "0.0s") << "a clock that was set back";
  EXPECT_EQ(short_age(std::optional<Duration>{}), "-");
}

}  // namespace
}  // namespace pgleash::app
