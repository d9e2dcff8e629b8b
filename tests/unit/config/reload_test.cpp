#include "config/reload.hpp"

#include "config/loader.hpp"
#include "config/schema.hpp"
#include "tests/unit/config/samples.hpp"
#include "tests/unit/config/without_positions.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace pgleash::config {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::Field;
using ::testing::IsEmpty;
using ::testing::Not;

Config loaded(const std::string& text) {
  LoadResult result = load_text(text, "f");
  if (!result.config) throw std::runtime_error{render(result.diagnostics.front(), false)};
  return *result.config;
}

constexpr const char* server = "[[server]]\nname = \"s\"\nhost = \"db\"\n";
std::string rule_text(const std::string& name, const std::string& limit) {
  return "[[rule]]\nname = \"" + name + "\"\nkind = \"idle\"\nlimit = \"" + limit + "\"\n";
}

std::vector<std::string> keys_of(const std::vector<ChangedKey>& found) {
  std::vector<std::string> keys;
  for (const auto& one : found) keys.push_back(one.key);
  return keys;
}

TEST(Reload, OfTheSameFileChangesNothingWhereverItsLinesStand) {
  const auto before = loaded(server + rule_text("web", "1m"));
  const auto after = loaded("# a comment\n\n" + rule_text("web", "60s") + server);
  EXPECT_THAT(changes(before, after), IsEmpty());
  EXPECT_TRUE(same_rule(before.rules[0], after.rules[0]));
}

TEST(Reload, NamesEachChangedKeyWithBothValues) {
  const auto before = loaded(server + rule_text("web", "1m"));
  const auto after =
      loaded(std::string(server) + "[enforcement.fuse]\nat_least = 7\n" + rule_text("web", "2m"));
  const auto found = changes(before, after);
  ASSERT_THAT(keys_of(found), ElementsAre("enforcement.fuse.at_least", "rule.web.limit"));
  EXPECT_EQ(found[0].before, "10");
  EXPECT_EQ(found[0].after, "7");
  EXPECT_EQ(found[1].before, "\"1m\"");
  EXPECT_EQ(found[1].after, "\"2m\"");
  EXPECT_THAT(found, Each(Field(&ChangedKey::needs_restart, false)));
  EXPECT_FALSE(same_rule(before.rules[0], after.rules[0]));
}

TEST(Reload, TakesARuleThatMovedForTheSameOne) {
  const auto before = loaded(server + rule_text("a", "1m") + rule_text("b", "2m"));
  const auto after = loaded(server + rule_text("b", "2m") + rule_text("a", "1m"));
  const auto found = changes(before, after);
  ASSERT_THAT(keys_of(found), ElementsAre("rule"));
  EXPECT_EQ(found[0].before, "[a, b]");
  EXPECT_EQ(found[0].after, "[b, a]");
}

TEST(Reload, TellsWhichRuleCameAndWhichWent) {
  const auto found =
      changes(loaded(server + rule_text("old", "1m")), loaded(server + rule_text("new", "1m")));
  const auto limit = [&](const std::string& key) {
    return *std::find_if(found.begin(), found.end(),
                         [&](const auto& one) { return one.key == key; });
  };
  EXPECT_EQ(limit("rule.old.limit").after, "");
  EXPECT_EQ(limit("rule.new.limit").before, "");
}

TEST(Reload, TakesWhatItCanAtOnceAndLeavesTheRestForARestart) {
  const auto running = loaded(server + rule_text("web", "1m"));
  const auto fresh = loaded(everything);
  const auto merged = take_over(running, fresh);
  const auto waits = changes(merged, fresh);
  EXPECT_THAT(waits, AllOf(Not(IsEmpty()), Each(Field(&ChangedKey::needs_restart, true))));
  const auto taken = changes(running, merged);
  EXPECT_THAT(taken, AllOf(Not(IsEmpty()), Each(Field(&ChangedKey::needs_restart, false))));
  EXPECT_EQ(waits.size() + taken.size(), changes(running, fresh).size());
}

TEST(Reload, KeepsSocketsThreadsAndFilesForARestart) {
  for (const auto* key : {"process.workers", "process.engine", "process.log_format", "listener",
                          "listener.main.listen", "server.s.host", "server.s.monitor.user",
                          "audit.file", "audit.sink", "audit.fsync", "metrics.listen",
                          "protect.marker", "console.database", "console.socket", "config_version"})
    EXPECT_TRUE(needs_restart(key)) << key;
  for (const auto* key :
       {"enforcement.mode", "enforcement.pace.kills_per_minute", "protect.users",
        "protect.marker_users", "rule", "rule.web.match.users", "rule.web.notify",
        "identity.driver_defaults", "audit.statement_text", "metrics.max_applications",
        "process.drain_timeout", "console.viewers", "console.operators", "console.admins"})
    EXPECT_FALSE(needs_restart(key)) << key;
}

}  // namespace
}  // namespace pgleash::config
