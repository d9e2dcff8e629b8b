#include "config/diagnostic.hpp"

#include "config/loader.hpp"
#include "config/nearest.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pgleash::config {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

std::string rendered(const std::string& text, const std::string& source = "pgleash.toml") {
  std::string all;
  for (const Diagnostic& found : load_text(text, source).diagnostics) all += render(found, false);
  return all;
}

TEST(Rendering, ShowsPlaceLineCaretAndHint) {
  EXPECT_EQ(rendered("[[server]]\nname = \"orders\"\nhost = \"db1\"\nconect_timeout = "
                     "\"5s\"\n[[rule]]\nname = \"r\"\n"
                     "kind = \"held\"\nlimit = 90   # seconds\n"),
            "pgleash.toml:4:1: error: unknown key 'conect_timeout' in [[server]]\n"
            "    4 | conect_timeout = \"5s\"\n"
            "      | ^\n"
            "      = did you mean 'connect_timeout'?\n"
            "pgleash.toml:8:9: error: 'limit' takes a duration such as \"90s\", or \"off\", not a "
            "whole number\n"
            "    8 | limit = 90   # seconds\n"
            "      |         ^\n"
            "      = write limit = \"90s\"\n");
}

TEST(Rendering, PutsTheCaretUnderTheCharacterBehindTabsAndUmlauts) {
  EXPECT_EQ(rendered("[[server]]\nname = \"s\"\nhost = \"db\"\n[protect]\n\tusers = "
                     "['gr\xc3\xbc\xc3\x9f', '(']\n"),
            "pgleash.toml:5:20: error: faulty pattern: missing ): (\n"
            "    5 | \tusers = ['gr\xc3\xbc\xc3\x9f', '(']\n"
            "      | \t                  ^\n"
            "      = close what is opened, or write \\( and \\) for the characters\n");
}

TEST(Rendering, PointsJustBehindALineThatStopsShort) {
  EXPECT_EQ(rendered("[process\r\n"),
            "pgleash.toml:1:9: error: not TOML: table header: expected ']', and the line ends\n"
            "    1 | [process\n"
            "      |         ^\n");
}

TEST(Rendering, OfAnOptionHasNeitherLineNorCaret) {
  const LoadResult result = from_command_line({.server = "db", .listen = {"127.0.0.1"}});
  ASSERT_THAT(result.diagnostics, SizeIs(1));
  EXPECT_EQ(render(result.diagnostics.front(), false),
            "--listen: error: \"127.0.0.1\" has no port\n"
            "      | 127.0.0.1\n"
            "      = write \"127.0.0.1:6432\"\n");
}

TEST(Rendering, InColourIsTheSameText) {
  const Diagnostic warning{Severity::warning, {"f", 12345, 2}, "message", "hint", "ab"};
  const std::string coloured = render(warning, true);
  EXPECT_THAT(coloured, HasSubstr("\x1b[1;35mwarning: "));
  std::string stripped;
  for (std::size_t i = 0; i < coloured.size(); ++i) {
    if (coloured[i] == '\x1b') {
      i = coloured.find('m', i);
    } else {
      stripped += coloured[i];
    }
  }
  EXPECT_EQ(stripped, render(warning, false));
  EXPECT_EQ(stripped, "f:12345:2: warning: message\n 12345 | ab\n       |  ^\n       = hint\n");
  EXPECT_THAT(render({Severity::error, {}, "m", "", ""}, true), HasSubstr("\x1b[1;31merror: "));
}

TEST(Rendering, LetsNothingOfTheFileSteerTheTerminal) {
  const Diagnostic hostile{Severity::error,
                           {"f\x1b[2J", 1, 1},
                           "a\x1b[31mb\x07",
                           "\xc2\x9b\x31m\x9b",
                           "\x1b]0;title\x07 \xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x98"};
  EXPECT_EQ(render(hostile, false),
            "f?[2J:1:1: error: a?[31mb?\n"
            "    1 | ?]0;title? \xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x98\n"
            "      | ^\n"
            "      = ??1m?\n");
}

TEST(Rendering, NeverShowsASecretThatStandsOnTheLine) {
  const char* texts[] = {
      "[server.monitor]\npassword = hunter2\n",
      "[server.monitor]\npassword = \"hunter2\n",
      "[[server]]\n[server.monitor]\nPGPASSWORD = \"hunter2\"\n",
      "server = [ { name = \"s\", host = \"db\", monitor = { user = 7, \"password\" = \"hunter2\" "
      "} } ]\n",
      "server = [ { name = \"s\", host = \"db\", monitor = { secret.key = \"hunter2\", user = 7 } "
      "} ]\n",
      "[metrics]\ntoken = tru # hunter2\n",
  };
  for (const char* text : texts) {
    const std::string all = rendered(text);
    EXPECT_THAT(all, HasSubstr("secret"));
    EXPECT_THAT(all, Not(HasSubstr("hunter2"))) << all;
  }
}

TEST(DidYouMean, CountsASwapOfNeighboursAsOneSlip) {
  EXPECT_EQ(edit_distance("limit", "limti"), 1U);
  EXPECT_EQ(edit_distance("", "abc"), 3U);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
  EXPECT_EQ(edit_distance("same", "same"), 0U);
}

TEST(DidYouMean, OffersNothingForAWordThatIsFarFromAll) {
  const std::string_view known[] = {"limit", "warn", "action", "name"};
  EXPECT_EQ(nearest("limts", known), "limit");
  EXPECT_EQ(nearest("actoin", known), "action");
  EXPECT_EQ(nearest("nmae", known), "name");
  EXPECT_EQ(nearest("pace", known), std::nullopt);
  EXPECT_EQ(nearest("", known), std::nullopt);
  EXPECT_EQ(nearest(std::string(10'000, 'x'), known), std::nullopt);
}

}  // namespace
}  // namespace pgleash::config
