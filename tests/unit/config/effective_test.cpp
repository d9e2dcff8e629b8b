#include "config/loader.hpp"
#include "tests/unit/config/samples.hpp"
#include "tests/unit/config/without_positions.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace pgleash::config {
namespace {

using ::testing::SizeIs;

TEST(Effective, LoadsBackToTheSameConfiguration) {
  const Folder folder;
  folder.write("monitor.pw", "for the test\n");
  std::string with_secret = everything;
  with_secret.replace(with_secret.find("database = \"ops\""), 0,
                      "password_file = \"" + folder.path("monitor.pw") + "\"\n");
  const std::string small = "[[server]]\nname = \"s\"\nhost = \"db\"\n[audit]\nsink = \"stdout\"\n";
  const std::string hogs = small + R"(
[[rule]]
name = "files"
kind = "temp_bytes"
value = "1536KiB"
limit = "10s"
[[rule]]
name = "rows"
kind = "rows"
value = 1000000
limit = "1s"
[[rule]]
name = "busy"
kind = "cpu_time"
value = "1h30m"
limit = "1s"
[[rule]]
name = "share"
kind = "cpu_share"
value = "150%"
limit = "1m"
[[rule]]
name = "reader"
kind = "read_rate"
value = "100MiB/s"
limit = "1m"
)";
  for (const std::string& text : {std::string(everything), with_secret, small, hogs}) {
    const LoadResult first = load_text(text, "first");
    ASSERT_TRUE(first.config);
    for (const std::string& again : {effective_toml(*first.config), effective_toml(first)}) {
      const LoadResult second = load_text(again, "second");
      ASSERT_TRUE(second.config) << again << render(second.diagnostics.front(), false);
      EXPECT_TRUE(without_positions(*second.config) == without_positions(*first.config)) << again;
      EXPECT_THAT(second.diagnostics, SizeIs(first.diagnostics.size()));
    }
  }
}

TEST(Effective, OfACommandLineLoadsBackToo) {
  const LoadResult first = from_command_line({.server = "/run/postgresql:5433",
                                              .listen = {"[::]:7000", "/run/pgleash:7000"},
                                              .monitor = "user=a\\'b",
                                              .http = "off"});
  ASSERT_TRUE(first.config);
  const LoadResult second = load_text(effective_toml(first), "second");
  ASSERT_TRUE(second.config) << effective_toml(first);
  EXPECT_TRUE(without_positions(*second.config) == without_positions(*first.config));
}

TEST(Effective, TellsWhereEachKeyCameFrom) {
  LoadResult result = load_text(
      "[process]\nmax_sessions = 7\n[[server]]\nname = \"s\"\nhost = \"db\"\n", "pgleash.toml");
  ASSERT_TRUE(result.config);
  result.config->process.workers = 2;
  result.provenance["process.workers"] = {"--workers"};
  const std::string text = effective_toml(result);
  EXPECT_THAT(text, ::testing::ContainsRegex("max_sessions = 7 +# pgleash.toml:2\n"));
  EXPECT_THAT(text, ::testing::ContainsRegex("workers = 2 +# --workers\n"));
  EXPECT_THAT(text, ::testing::ContainsRegex("max_logins = 256 +# default\n"));
  EXPECT_THAT(text, ::testing::ContainsRegex("host = \"db\" +# pgleash.toml:5\n"));
  const LoadResult line = from_command_line({.server = "db", .listen = {"127.0.0.1:7000"}});
  EXPECT_THAT(effective_toml(line),
              ::testing::ContainsRegex("listen = ..127.0.0.1:7000.. +# --listen\n"));
  EXPECT_THAT(effective_toml(line), ::testing::ContainsRegex("allow = .* # default\n"));
  EXPECT_EQ(effective_toml(LoadResult{}), "");
}

}  // namespace
}  // namespace pgleash::config
