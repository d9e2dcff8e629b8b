#include "tests/scenario/story/story.hpp"

#include <algorithm>
#include <functional>
#include <vector>

/// An application loses sessions beside one whose pool goes up and down. Windows of seconds.
namespace pgleash::test {
namespace {

constexpr const char* quota_section =
    "[[quota]]\nname = \"per-application\"\nkey = \"application\"\nsessions = 120\n";

std::string leak_section(const std::string& action) {
  return fmt::format(
      "[leak]\nwindows = [\"6s\", \"20s\"]\nhorizon = \"1h\"\nidle_longer_than = \"1s\"\n"
      "action = \"{}\"\n",
      action);
}

class Leaks : public Story {
 protected:
  /// Until `over`, at most half a minute: each leaker loses a session every 0.3 s, the pool of
  /// saw-tooth grows by one, uses all of them, and falls back when it has twelve.
  void live(const std::function<bool()>& over) {
    const auto end = std::chrono::steady_clock::now() + 30s;
    auto next = std::chrono::steady_clock::now();
    while (std::chrono::steady_clock::now() < end && !over()) {
      for (const std::string& leaker : leakers_) {
        lost_.push_back(login({{"application_name", leaker}}));
        lost_.back().exec("SELECT 4711 /*controller='cart',route='%2Fcart'*/");
      }
      while (pool_.size() >= 12) pool_.pop_back();
      pool_.push_back(login({{"application_name", "saw-tooth"}}));
      for (Application& session : pool_) session.exec("SELECT 1");
      next += 300ms;
      (void)wait_until([&] { return std::chrono::steady_clock::now() >= next; }, 1s);
    }
  }

  std::vector<std::string> leakers_{"checkout-7d9f8b6c5-x2x9z"};
  std::vector<Application> lost_;
  std::vector<Application> pool_;
};

TEST_F(Leaks, TheLeakerIsNamedWithinHalfAMinuteAndItsNeighbourIsNot) {
  pgleash({.rules = leak_section("terminate") + quota_section, .mode = "observe"});
  live([&] { return !pgleash().log("leak.detected").empty(); });
  const auto reports = pgleash().log("leak.detected");
  ASSERT_THAT(reports, SizeIs(1));
  EXPECT_EQ(text(reports[0], "application"), "checkout");
  EXPECT_EQ(text(reports[0], "user"), "app");
  EXPECT_GE(number(reports[0], "suspects"), 5);
  EXPECT_GT(number(reports[0], "growth_per_hour"), 3600);
  EXPECT_GT(number(reports[0], "exhaustion_seconds"), 0);
  EXPECT_EQ(text(reports[0], "statement"), "SELECT $1");
  EXPECT_EQ(number(reports[0], "same_statement_share"), 1);
  EXPECT_EQ(text(reports[0], "tags"), "controller=cart, route=/cart");
  EXPECT_THAT(text(reports[0], "oldest"), AllOf(HasSubstr("127.0.0.1:"), HasSubstr("(sent ")));
  EXPECT_EQ(text(reports[0], "quota"), "per-application");
  EXPECT_GT(number(reports[0], "quota_exhaustion_seconds"), 0);
  EXPECT_LT(number(reports[0], "quota_exhaustion_seconds"),
            number(reports[0], "exhaustion_seconds"))
      << "120 sessions of one application, and some 300 slots";

  EXPECT_EQ(pgleash().metric("pgleash_leaks_detected_total", {{"application", "checkout"}}), 1);
  EXPECT_EQ(pgleash().metric("pgleash_leaks_detected_total"), 1);
  EXPECT_GE(pgleash().metric("pgleash_leak_suspect_sessions", {{"application", "checkout"}}), 5);
  EXPECT_EQ(pgleash().metric("pgleash_leak_suspect_sessions", {{"application", "saw-tooth"}}), 0);
  const double left = pgleash().metric("pgleash_exhaustion_forecast_seconds");
  EXPECT_GT(left, 0);
  EXPECT_LT(left, 3600);
  EXPECT_LT(
      pgleash().metric("pgleash_quota_exhaustion_forecast_seconds", {{"quota", "per-application"}}),
      left);
  const std::string page = pgleash().page("/api/leaks");
  EXPECT_THAT(page, AllOf(HasSubstr("\"holder\":\"checkout\""), HasSubstr("\"limit\":120")));
  EXPECT_TRUE(wait_until([&] { return acted("leak", "observed") >= 5; }, 10s));
  EXPECT_EQ(acted("leak", "confirmed"), 0) << "one of the two locks is closed";
  for (Application& session : lost_) EXPECT_FALSE(session.error_of("SELECT 1"));

  lost_.clear();
  ASSERT_TRUE(wait_until([&] { return !pgleash().log("leak.cleared").empty(); }, 10s));
  EXPECT_EQ(text(pgleash().log("leak.cleared")[0], "application"), "checkout");
}

TEST_F(Leaks, EnforcedSuspectsAreEndedTheLongestUnusedFirstAndNobodyElse) {
  pgleash({.rules = leak_section("terminate")});
  live([&] { return acted("leak", "confirmed") > 0; });
  ASSERT_FALSE(lost_.empty());
  const auto error = lost_.front().ended(10s);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->sqlstate, "57P05");
  EXPECT_THAT(error->message, AllOf(HasSubstr("leaked and idle"), HasSubstr("rule 'leak'")));
  EXPECT_EQ(text(outcome_line(error->incident()), "outcome"), "confirmed");
  for (Application& session : pool_) EXPECT_FALSE(session.error_of("SELECT 1"));
}

/// One application may be leaked to the last session. A rule that wants many of several smells of
/// being wrong.
TEST_F(Leaks, ALeakRuleThatWantsTooManyMeetsItsFuseAndStopsAndNobodyElseIsEnded) {
  leakers_.push_back("refunds");
  pgleash({.rules = leak_section("terminate"), .brakes = "[enforcement.fuse]\nat_least = 6\n"});
  live([&] { return acted("leak", "fused") >= 1; });
  ASSERT_GE(acted("leak", "fused"), 1);
  EXPECT_EQ(pgleash().metric("pgleash_fuse_open", {{"fuse", "share"}}), 1);
  const auto tripped = pgleash().log("fuse.tripped");
  ASSERT_THAT(tripped, SizeIs(1));
  EXPECT_EQ(text(tripped[0], "fuse"), "share");
  EXPECT_EQ(text(tripped[0], "rule"), "leak");
  ASSERT_TRUE(wait_until([&] { return !pgleash().outcomes("fused").empty(); }, 10s));
  const auto fused = pgleash().outcomes("fused");
  EXPECT_EQ(text(fused[0], "rule"), "leak");
  EXPECT_THAT(text(fused[0], "why"), HasSubstr("rule 'leak'"));

  // It goes on leaking, and is left alone: the fuse is open.
  const double ended = acted("leak", "confirmed");
  const std::size_t lost = lost_.size();
  live([&] { return lost_.size() >= lost + 10; });
  EXPECT_EQ(acted("leak", "confirmed"), ended);
  std::size_t dead = 0;
  for (Application& session : lost_)
    if (session.error_of("SELECT 1")) ++dead;
  EXPECT_EQ(static_cast<double>(dead), ended) << "whom the audit log names, and nobody else";
  for (Application& session : pool_) EXPECT_FALSE(session.error_of("SELECT 1"));
}

TEST_F(Leaks, SuspectsInATransactionOrInUseAreSparedAndTheOthersEndInTheOrderTheyWereLost) {
  // One kill each two seconds.
  pgleash({.rules = leak_section("terminate"),
           .brakes = "[enforcement.pace]\nkills_per_minute = 30\n"
                     "kills_per_minute_per_application = 30\nkills_per_minute_per_rule = 30\n"
                     "[enforcement.fuse]\nat_least = 100000\nsurvived = 100000\n"});
  pgleash().process().signal(SIGUSR2);  // nobody is ended until the story is set up
  ASSERT_TRUE(wait_until([&] { return pgleash().metric("pgleash_enforcement_paused") == 1; }, 10s));
  bool in_transaction = false;
  live([&] {
    // Every other one is lost in a transaction.
    if (in_transaction && !lost_.empty()) lost_.back().exec("BEGIN");
    in_transaction = !in_transaction;
    return lost_.size() >= 12 && acted("leak", "deferred") >= 4;
  });
  ASSERT_GE(acted("leak", "deferred"), 4);
  std::vector<pid_t> idle;
  std::vector<pid_t> open;
  for (Application& session : lost_)
    (state_of(session.pid()) == "idle" ? idle : open).push_back(session.pid());
  ASSERT_GE(idle.size(), 4U);
  ASSERT_GE(open.size(), 4U);
  // The application comes back to the oldest of them after all.
  const auto returned = std::find_if(lost_.begin(), lost_.end(), [&](const Application& session) {
    return session.pid() == idle.front();
  });
  returned->exec("SELECT 1");

  pgleash().process().signal(SIGUSR2);
  ASSERT_TRUE(wait_until([&] { return acted("leak", "confirmed") >= 3; }, 30s));
  std::vector<pid_t> ended;
  for (const auto& line : pgleash().audit("outcome"))
    if (text(line, "outcome") == "confirmed")
      ended.push_back(static_cast<pid_t>(number(line, "pid")));
  ASSERT_GE(ended.size(), 3U);
  // Which of them is the first suspect depends on where the window begins.
  auto younger = idle.begin() + 1;
  for (const pid_t pid : ended) {
    const auto at = std::find(younger, idle.end(), pid);
    ASSERT_NE(at, idle.end()) << "not idle and lost, or ended before one that was lost earlier";
    younger = at + 1;
  }
  for (const pid_t pid : open) EXPECT_TRUE(backend_lives(pid)) << "left to rules for transactions";
  for (Application& session : pool_) EXPECT_FALSE(session.error_of("SELECT 1"));
}

}  // namespace
}  // namespace pgleash::test
