#include "tests/scenario/story/story.hpp"

#include <fstream>

/// Each verdict has one outcome, told to everybody concerned: client, metrics, log and audit log.
namespace pgleash::test {
namespace {

class Outcomes : public Story {};

TEST_F(Outcomes, ABackendThatDoesNotReactSurvivedUntilItIsGoneAfterAll) {
  pgleash({.rules = rule("stuck", "idle", "300ms", "terminate", "grace = \"500ms\"")});
  auto application = login();
  postgres().suspend(application.pid());
  ASSERT_TRUE(wait_until([&] { return acted("stuck", "survived") == 1; }, 30s));
  const auto lines = pgleash().outcomes("survived");
  ASSERT_THAT(lines, SizeIs(1));
  const auto finished = pgleash().log("termination.finished");
  ASSERT_THAT(finished, SizeIs(1));
  EXPECT_EQ(text(finished[0], "outcome"), "survived");
  EXPECT_EQ(text(finished[0], "level"), "error");
  EXPECT_EQ(text(finished[0], "incident"), text(lines[0], "verdict"));
  EXPECT_THAT(pgleash().audit("resolved"), IsEmpty());

  postgres().resume(application.pid());
  ASSERT_TRUE(wait_until([&] { return !pgleash().audit("resolved").empty(); }, 60s));
  EXPECT_EQ(text(pgleash().audit("resolved")[0], "verdict"), text(lines[0], "verdict"));
  EXPECT_FALSE(backend_lives(application.pid()));
  EXPECT_EQ(acted("stuck", "survived"), 1) << "counted once";
  EXPECT_EQ(pgleash().metric("pgleash_actions_total"), 1);
}

TEST_F(Outcomes, ASessionYoungerThanTheLastSampleIsLookedForAllTheSame) {
  pgleash({.rules = rule("stuck", "idle_in_transaction", "300ms", "terminate", "grace = \"500ms\""),
           .poll_interval = "20s"});
  ASSERT_TRUE(wait_until([&] { return pgleash().metric("pgleash_monitor_up") == 1; }, 10s));
  auto application = login();
  application.exec("BEGIN");
  postgres().suspend(application.pid());
  ASSERT_TRUE(wait_until([&] { return acted("stuck", "survived") == 1; }, 30s));
  postgres().resume(application.pid());
  ASSERT_TRUE(wait_until([&] { return !pgleash().audit("resolved").empty(); }, 60s));
  const auto intent = pgleash().audit("intent");
  ASSERT_THAT(intent, SizeIs(1));
  EXPECT_EQ(text(intent[0], "mapping"), "confirmed");
  EXPECT_EQ(number(intent[0], "pid"), application.pid());
}

TEST_F(Outcomes, WithoutAMonitorTheEndOfTheServersStreamProvesIt) {
  pgleash({.rules = rule("idle", "idle", "300ms", "terminate"), .monitor = false});
  auto application = login();
  const auto error = application.ended(10s);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->sqlstate, "57P05");
  EXPECT_EQ(text(outcome_line(error->incident()), "outcome"), "confirmed");
  EXPECT_FALSE(backend_lives(application.pid()));
}

TEST_F(Outcomes, ASuperuserIsExemptAndSaidToBe) {
  postgres().sql("DROP ROLE IF EXISTS boss");
  postgres().create_role("boss", "boss", "SUPERUSER");
  pgleash({.rules = rule("idle", "idle", "300ms", "terminate")});
  auto application = login({{"user", "boss"}, {"password", "boss"}});
  EXPECT_TRUE(wait_until([&] { return acted("idle", "exempted") == 1; }, 10s));
  EXPECT_EQ(pgleash().metric("pgleash_rule_exempted_total", {{"exemption", "superuser"}}), 1);
  EXPECT_FALSE(application.ended(300ms));
}

TEST_F(Outcomes, NothingIsEndedInTheHoldOffAndAllIsJudgedAgainBehindIt) {
  pgleash({.rules = rule("idle", "idle", "200ms", "terminate"), .hold_after_start = "5s"});
  auto application = login();
  ASSERT_TRUE(wait_until([&] { return acted("idle", "deferred") == 1; }, 5s));
  EXPECT_TRUE(backend_lives(application.pid()));
  ASSERT_TRUE(application.ended(10s));
  EXPECT_TRUE(wait_until([&] { return acted("idle", "confirmed") == 1; }, 10s));
}

TEST_F(Outcomes, PsqlShowsCodeRuleMeasureAndLimitAndTheIncidentIsFoundByGrep) {
  pgleash({.rules = rule("leaked", "idle_in_transaction", "400ms", "terminate",
                         "hint = \"commit before lunch\"")});
  const TempDir directory;
  const auto flag = directory / "over";
  Process psql{
      {.argv = {Postgres::program("psql"), "-X", "-v", "VERBOSITY=verbose",
                fmt::format("host=127.0.0.1 port={} user=app password=app dbname=orders",
                            pgleash().port()),
                "-c", "BEGIN", "-c", fmt::format("\\! until [ -e {} ]; do sleep 0.02; done", flag),
                "-c", "SELECT 1"},
       .environment = {"LC_ALL=C"},
       .user = {}}};
  ASSERT_TRUE(wait_until([&] { return pgleash().outcomes("confirmed").size() == 1; }, 10s))
      << psql.err();
  std::ofstream{flag} << "over";
  ASSERT_TRUE(psql.wait(10s));
  const auto said = psql.err();
  EXPECT_THAT(
      said,
      testing::ContainsRegex(
          "FATAL:  25P03: terminating connection: idle in transaction for (4|5|6|7|8|9)[0-9]+ ms|"
          "FATAL:  25P03: terminating connection: idle in transaction for [0-9.]+ s"));
  EXPECT_THAT(said, AllOf(HasSubstr("(pgleash rule 'leaked', limit 0.4 s)"),
                          HasSubstr("HINT:  commit before lunch")));

  const auto at = said.find("Incident ");
  ASSERT_NE(at, std::string::npos) << said;
  const auto incident = said.substr(at + 9, said.find(':', at) - at - 9);
  const auto found =
      run({.argv = {"grep", incident, pgleash().audit_file()}, .environment = {}, .user = {}}).out;
  EXPECT_THAT(found, AllOf(HasSubstr("\"event\":\"intent\""), HasSubstr("\"event\":\"outcome\"")));
  EXPECT_EQ(std::count(found.begin(), found.end(), '\n'), 2) << found;
  EXPECT_THAT(pgleash().process().err(), HasSubstr(incident));
}

}  // namespace
}  // namespace pgleash::test
