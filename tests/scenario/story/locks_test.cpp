#include "tests/scenario/story/story.hpp"

#include <fstream>

/// Nothing is ended unless two settings say so, and a rule reaches only whom it names.
namespace pgleash::test {
namespace {

class Locks : public Story {
 protected:
  static std::string aggressive(const std::string& ends, const std::string& cancels,
                                const std::string& more = {}) {
    std::string rules;
    for (const auto* kind :
         {"idle", "idle_in_transaction", "aborted", "held", "session_age", "transaction_age"})
      rules += rule(kind, kind, "25ms", ends, more);
    return rules + rule("statement", "statement", "25ms", cancels, more);
  }
  /// Goes through all states, each for longer than the limits.
  void hop_through_all_states() {
    auto application = login();
    EXPECT_FALSE(application.ended(300ms));
    application.exec("BEGIN");
    EXPECT_FALSE(application.ended(300ms));
    EXPECT_EQ(application.exec("SELECT 'done' FROM pg_sleep(0.3)"), "done");
    EXPECT_TRUE(application.error_of("SELECT 1/0"));
    EXPECT_FALSE(application.ended(300ms));
    application.exec("ROLLBACK");
    EXPECT_EQ(PQresultStatus(Result{PQexec(application.raw(), "COPY (SELECT 1) TO STDOUT")}.get()),
              PGRES_COPY_OUT);
  }
  void expect_only_would_acts() {
    for (const auto* name :
         {"idle", "idle_in_transaction", "aborted", "transaction_age", "statement"})
      EXPECT_GE(acted(name, "observed"), 1) << name;
    EXPECT_EQ(pgleash().metric("pgleash_actions_total"),
              pgleash().metric("pgleash_actions_total", {{"outcome", "observed"}}));
    EXPECT_EQ(pgleash().metric("pgleash_session_ends_total", {{"cause", "rule"}}), 0);
    EXPECT_EQ(pgleash().metric("pgleash_cancel_requests_total", {{"origin", "rule"}}), 0);
  }
};

TEST_F(Locks, ObserveModeEndsNothingWhateverTheRulesSay) {
  pgleash({.rules = aggressive("terminate", "cancel"), .mode = "observe"});
  hop_through_all_states();
  expect_only_would_acts();
}

TEST_F(Locks, EnforceModeEndsNothingWhenTheRulesObserve) {
  pgleash({.rules = aggressive("observe", "observe"), .mode = "enforce"});
  hop_through_all_states();
  expect_only_would_acts();
}

TEST_F(Locks, TheDefaultRulesObserveInEnforceMode) {
  pgleash({});
  const auto effective =
      run({.argv = {PGLEASH_BINARY, "check", "--effective", "--config", pgleash().config_file()},
           .environment = {},
           .user = {}});
  EXPECT_THAT(effective.out,
              AllOf(HasSubstr("default-idle-in-transaction"), HasSubstr("action = \"observe\""),
                    testing::Not(HasSubstr("action = \"terminate\""))));
}

TEST_F(Locks, ARuleForAUserWhoDoesNotExistSelectsNobody) {
  pgleash({.rules = aggressive("terminate", "cancel", "[rule.match]\nusers = ['nobody-here']\n")});
  hop_through_all_states();
  EXPECT_EQ(pgleash().metric("pgleash_actions_total"), 0);
  EXPECT_EQ(pgleash().metric("pgleash_rule_matching_sessions"), 0);
}

TEST_F(Locks, AnInvalidPatternStopsTheLoadAndNamesItsPlace) {
  const TempDir directory;
  const auto file = directory / "pgleash.toml";
  std::ofstream{file} << "[[server]]\nname = \"main\"\nhost = \"127.0.0.1\"\n[[rule]]\nname = "
                         "\"web\"\nkind = \"idle\"\n"
                         "limit = \"1m\"\n[rule.match]\nusers = ['web', '*-job']\n";
  for (const auto* command : {"check", "run"}) {
    const auto done =
        run({.argv = {PGLEASH_BINARY, command, "--config", file}, .environment = {}, .user = {}});
    EXPECT_EQ(done.status, 2) << command;
    EXPECT_THAT(done.err, testing::ContainsRegex("pgleash.toml:9:1[0-9]: error: .*[*]-job"))
        << command;
  }
}

}  // namespace
}  // namespace pgleash::test
