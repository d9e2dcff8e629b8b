#include "tests/scenario/story/story.hpp"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

/// A changed configuration is taken whole or not at all, while sessions live on.
namespace pgleash::test {
namespace {

namespace fs = std::filesystem;

PgleashOptions with_limit(const std::string& limit) {
  return {.rules = rule("idle", "idle", limit, "terminate")};
}

class Reloads : public Story {
 protected:
  double reloads(const std::string& result) {
    return pgleash().metric("pgleash_config_reloads_total", {{"result", result}});
  }
  void hang_up() { pgleash().process().signal(SIGHUP); }
  void expect_success() {
    ASSERT_TRUE(wait_until([&] { return reloads("success") == 1; }, 10s));
    EXPECT_EQ(pgleash().metric("pgleash_config_last_reload_successful"), 1);
  }
  /// Lines of the log of this event; waits for as many.
  std::vector<boost::json::object> lines(const std::string& event, std::size_t count) {
    EXPECT_TRUE(wait_until([&] { return pgleash().log(event).size() >= count; }, 5s)) << event;
    auto found = pgleash().log(event);
    EXPECT_THAT(found, SizeIs(count)) << event;
    found.resize(count);
    return found;
  }
  std::string config_text() {
    std::ifstream file{pgleash().config_file()};
    return {std::istreambuf_iterator<char>{file}, {}};
  }
};

TEST_F(Reloads, AFileWithAnErrorChangesNothingAndTellsWhere) {
  pgleash(with_limit("600ms"));
  auto keeps = login({{"application_name", "keeps"}});
  const auto good = config_text();
  std::ofstream{pgleash().config_file()} << good << "[leak\n";
  hang_up();
  ASSERT_TRUE(wait_until([&] { return reloads("failure") == 1; }, 10s));
  EXPECT_EQ(pgleash().metric("pgleash_config_last_reload_successful"), 0);
  const auto refused = lines("config.reload_refused", 1);
  const auto line = std::count(good.begin(), good.end(), '\n') + 1;
  EXPECT_THAT(text(refused[0], "why"), HasSubstr(fmt::format("pgleash.toml:{}:", line)));
  EXPECT_THAT(text(refused[0], "why"), HasSubstr("not TOML"));
  EXPECT_TRUE(keeps.ended(10s)) << "the rules before it are in force";

  std::ofstream{pgleash().config_file()} << good;
  hang_up();
  expect_success();
}

TEST_F(Reloads, ASessionDiesByTheNewLimitAndTheChangedKeysAreTold) {
  pgleash(with_limit("1h"));
  auto application = login();
  EXPECT_FALSE(application.ended(1s));
  auto changed = with_limit("300ms");
  changed.process = "max_sessions = 77\n";
  pgleash().configure(changed);
  hang_up();
  expect_success();
  const auto error = application.ended(10s);
  ASSERT_TRUE(error);
  EXPECT_THAT(error->message, HasSubstr("limit 0.3 s"));

  const auto done = lines("config.reloaded", 1);
  EXPECT_EQ(text(done[0], "needs_restart"), "process.max_sessions");
  const auto keys = lines("config.changed", 2);
  EXPECT_EQ(text(keys[1], "key"), "rule.idle.limit");
  EXPECT_EQ(text(keys[1], "before"), "\"1h\"");
  EXPECT_EQ(text(keys[1], "after"), "\"300ms\"");
  EXPECT_EQ(pgleash().metric("pgleash_sessions_limit", {{"scope", "process"}}), 5000)
      << "what waits for a restart is not in force";
}

TEST_F(Reloads, TheModeIsTakenAndWhatWasOnlyObservedIsJudgedAgain) {
  auto observing = with_limit("300ms");
  observing.mode = "observe";
  pgleash(observing);
  auto application = login();
  ASSERT_TRUE(wait_until([&] { return acted("idle", "observed") == 1; }, 10s));
  EXPECT_FALSE(application.ended(300ms));
  pgleash().configure(with_limit("300ms"));
  hang_up();
  EXPECT_TRUE(application.ended(10s));
  EXPECT_EQ(pgleash().metric("pgleash_enforcement_mode", {{"mode", "enforce"}}), 1);
}

TEST_F(Reloads, WhatWasSaidOfARuleThatStaysIsNotSaidAgain) {
  const auto stays = rule("stays", "idle", "300ms", "observe");
  pgleash({.rules = stays});
  auto application = login();
  ASSERT_TRUE(wait_until([&] { return acted("stays", "observed") == 1; }, 10s));
  pgleash().configure({.rules = rule("new", "idle", "400ms", "observe") + stays});
  hang_up();
  ASSERT_TRUE(wait_until([&] { return acted("new", "observed") == 1; }, 10s));
  EXPECT_EQ(acted("stays", "observed"), 1);
}

TEST_F(Reloads, WhatNeedsARestartToGoTogetherIsRefusedWhole) {
  auto observing = with_limit("1h");
  observing.mode = "observe";
  observing.audit = "sink = \"off\"\n";
  pgleash(observing);
  pgleash().configure(with_limit("300ms"));  // enforce mode, and an audit log to open
  hang_up();
  ASSERT_TRUE(wait_until([&] { return reloads("failure") == 1; }, 10s));
  EXPECT_THAT(text(lines("config.reload_refused", 1)[0], "why"),
              AllOf(HasSubstr("enforce mode without an audit log"), HasSubstr("restart")));
  EXPECT_EQ(pgleash().metric("pgleash_enforcement_mode", {{"mode", "observe"}}), 1);
}

TEST_F(Reloads, AFileThatIsWatchedIsTakenWhenAKubernetesMountTurnsItsLink) {
  auto watched = with_limit("1h");
  watched.process = "watch_config = true\n";
  pgleash(watched);
  auto application = login();
  const fs::path file = pgleash().config_file();
  const fs::path mount = file.parent_path();
  const auto before = config_text();

  // As kubelet does it: FILE -> ..data/FILE, ..data -> a directory of this version.
  fs::create_directory(mount / "v1");
  std::ofstream{mount / "v1" / file.filename()} << before;
  fs::create_directory_symlink("v1", mount / "..data");
  fs::create_symlink(fs::path{"..data"} / file.filename(), mount / "link");
  fs::rename(mount / "link", file);
  auto after = before;
  after.replace(after.find("\"1h\""), 4, "\"300ms\"");
  fs::create_directory(mount / "v2");
  std::ofstream{mount / "v2" / file.filename()} << after;
  fs::create_directory_symlink("v2", mount / "..data_tmp");
  fs::rename(mount / "..data_tmp", mount / "..data");

  EXPECT_TRUE(application.ended(20s));
  expect_success();
}

}  // namespace
}  // namespace pgleash::test
