#include "tests/scenario/story/story.hpp"

/// Sessions that are ended behind their client's back: notify = "on_next_use".
namespace pgleash::test {
namespace {

constexpr auto soon = 10s;

class OnNextUse : public Story {
 protected:
  void start(const std::string& kind, const std::string& within = "1h") {
    pgleash({.rules = rule("story", kind, "300ms", "terminate",
                           "notify = \"on_next_use\"\nnotify_within = \"" + within + "\"")});
  }
  double silent() { return pgleash().metric("pgleash_silent_clients"); }
  /// The backend is gone and counted, and its client has heard nothing.
  void expect_freed(Application& application) {
    ASSERT_TRUE(wait_until([&] { return pgleash().outcomes("confirmed").size() == 1; }, soon));
    EXPECT_FALSE(backend_lives(application.pid()));
    EXPECT_FALSE(application.ended(500ms)) << "told before its next use";
    EXPECT_TRUE(wait_until([&] { return silent() == 1; }, soon));
    EXPECT_EQ(pgleash().metric("pgleash_sessions"), 0);
    EXPECT_EQ(pgleash().metric("pgleash_session_ends_total", {{"cause", "rule"}}), 1);
    EXPECT_EQ(acted("story", "confirmed"), 1);
    EXPECT_EQ(text(pgleash().outcomes("confirmed")[0], "notify"), "on_next_use");
    ASSERT_TRUE(wait_until([&] { return !pgleash().log("termination.finished").empty(); }, soon));
    EXPECT_EQ(text(pgleash().log("termination.finished")[0], "notify"), "on_next_use");
  }
};

TEST_F(OnNextUse, AnIdleSessionsNextStatementGetsTheRulesWords) {
  start("idle");
  auto application = login();
  expect_freed(application);
  const auto error = application.error_of("SELECT 1");
  ASSERT_TRUE(error);
  EXPECT_EQ(error->severity, "FATAL");
  EXPECT_EQ(error->sqlstate, "57P05");
  EXPECT_THAT(error->message, AllOf(HasSubstr("terminating connection: idle for "),
                                    HasSubstr("(pgleash rule 'story', limit 0.3 s)")));
  EXPECT_EQ(error->incident(), text(pgleash().outcomes("confirmed")[0], "verdict"));
  EXPECT_TRUE(wait_until([&] { return silent() == 0; }, soon));
  EXPECT_THAT(pgleash().audit("outcome"), SizeIs(1)) << "one outcome, told or not";
  EXPECT_THAT(pgleash().log("session.closed"), SizeIs(1));
}

TEST_F(OnNextUse, ATransactionsLocksAreFreeBeforeItsClientKnows) {
  start("idle_in_transaction");
  auto application = login();
  application.exec("BEGIN");
  application.exec("SELECT pg_advisory_xact_lock(4242)");
  const auto locked = [&] {
    return postgres().value("SELECT count(*) FROM pg_locks WHERE objid = 4242") == "1";
  };
  EXPECT_TRUE(locked());
  expect_freed(application);
  EXPECT_FALSE(locked());
  const auto error = application.error_of("COMMIT");
  ASSERT_TRUE(error);
  EXPECT_EQ(error->sqlstate, "25P03") << "no success that is none";
}

TEST_F(OnNextUse, WhoDoesNotComeBackIsToldInTheEnd) {
  start("idle", "2s");
  auto application = login();
  ASSERT_TRUE(wait_until([&] { return pgleash().outcomes("confirmed").size() == 1; }, soon));
  EXPECT_FALSE(application.ended(1s));
  const auto error = application.ended(soon);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->sqlstate, "57P05");
}

TEST_F(OnNextUse, ClosingIsNoUse) {
  start("idle");
  auto application = login();
  expect_freed(application);
  application.close();
  EXPECT_TRUE(wait_until([&] { return silent() == 0; }, soon));
}

TEST_F(OnNextUse, AShutdownTellsThem) {
  start("idle");
  auto application = login();
  expect_freed(application);
  EXPECT_EQ(pgleash().terminate(), 0);
  const auto error = application.ended(soon);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->sqlstate, "57P05") << "what really ended it";
}

}  // namespace
}  // namespace pgleash::test
