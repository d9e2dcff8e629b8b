#include "tests/scenario/story/tls_story.hpp"

/// Logins that pgleash takes part in itself (scram = "reoriginate"): it knows the secret of a
/// group's members, and never their passwords.
namespace pgleash::test {
namespace {

using testing::Not;

class OwnScram : public Tls {
 protected:
  void SetUp() override {
    Tls::SetUp();
    if (IsSkipped()) return;
    static bool made = false;
    if (!made) {
      postgres().bootstrap(MonitoredServer::monitor_password, "pgleash_scram");
      postgres().create_role("stranger", "pw");
      postgres().create_role("boss", "pw", "SUPERUSER");
      postgres().create_role("streamer", "pw", "REPLICATION");
      postgres().create_role("deputy", "pw");
      postgres().create_role("late", "pw", "VALID UNTIL '2001-01-01'");
      postgres().create_role("old", "pw");
      postgres().sql(
          "SET password_encryption = 'md5'; ALTER ROLE old PASSWORD 'pw'; "
          "RESET password_encryption");
      postgres().sql("GRANT boss TO deputy");
      postgres().sql("GRANT pgleash_scram TO app, boss, streamer, deputy, late, old");
      made = true;
    }
  }
  PgleashProcess& own(const std::string& more = {}, const std::string& server = {}) {
    PgleashOptions options;
    options.listener = client_leg(world().own) + "scram = \"reoriginate\"\n" + more;
    options.server = server.empty() ? server_leg() : server;
    return pgleash(std::move(options));
  }
  std::string verifier(const std::string& role) {
    auto monitor = world().server.login(
        {{"user", "pgleash_monitor"}, {"password", "watch \\' me"}, {"dbname", "pgleash"}});
    return monitor.exec("SELECT coalesce(pgleash.scram_verifier('" + role + "'), 'none')");
  }
};

TEST_F(OwnScram, BindsEachLegToItsOwnCertificate) {
  own();
  for (const char* binding : {"require", "prefer", "disable"})
    EXPECT_EQ(failure(verifying({{"channel_binding", binding}})), "") << binding;
  EXPECT_EQ(failure({{"sslmode", "disable"}}), "") << "in clear, nothing is bound";
  auto application = login();
  EXPECT_EQ(application.exec("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"), "t");
  EXPECT_EQ(application.exec("SELECT current_user"), "app");
  EXPECT_EQ(pgleash().metric("pgleash_client_connections_total", {{"result", "no_challenge"}}), 0);
}

TEST_F(OwnScram, PsqlLogsInThroughTwoTlsLegsWithChannelBindingRequired) {
  own();
  std::string where;
  for (const auto& [key, value] : pgleash().words(verifying({{"channel_binding", "require"}})))
    if (key != "password") where += key + "='" + value + "' ";
  const auto psql = [&](const std::string& password) {
    return run({.argv = {Postgres::program("psql"), "-X", "-At", "-d", where, "-c",
                         "SELECT 'in as ' || current_user"},
                .environment = {"PGPASSWORD=" + password},
                .user = {}},
               30s);
  };
  EXPECT_EQ(psql("app").out, "in as app\n");
  const auto wrong = psql("wrong");
  EXPECT_NE(wrong.status, 0);
  EXPECT_THAT(wrong.err, HasSubstr("password authentication failed for user \"app\""));
}

TEST_F(OwnScram, AlsoWhereTheServerLegIsPlain) {
  own({}, "tls = \"disable\"\n");
  EXPECT_EQ(failure(verifying({{"channel_binding", "require"}})), "");
  EXPECT_THAT(failure(verifying({{"password", "wrong"}})),
              HasSubstr("password authentication failed"));
}

TEST_F(OwnScram, RequireChallengeIsContentWithTheProofThatWasGivenToUs) {
  own("require_challenge = \"always\"\n");
  EXPECT_EQ(failure(verifying()), "");
}

TEST_F(OwnScram, WhoMayNotIsRefusedAsWhoDoesNotExist) {
  own();
  for (const char* role : {"stranger", "boss", "streamer", "deputy", "late", "old", "nobody"})
    EXPECT_THAT(failure(verifying({{"user", role}, {"password", "pw"}, {"dbname", "postgres"}})),
                HasSubstr(fmt::format("password authentication failed for user \"{}\"", role)));
  // Nothing was even tried with the server.
  EXPECT_THAT(postgres().log(),
              Not(HasSubstr("password authentication failed for user \"stranger\"")));
}

TEST_F(OwnScram, TheServersFunctionTellsOfTheGroupAloneAndOnlyToTheMonitor) {
  EXPECT_THAT(verifier("app"), HasSubstr("SCRAM-SHA-256$4096:"));
  for (const char* role : {"stranger", "boss", "streamer", "deputy", "late", "old", "nobody",
                           "postgres", "pgleash_monitor"})
    EXPECT_EQ(verifier(role), "none") << role;
  EXPECT_EQ(postgres().value("SELECT has_function_privilege('app', "
                             "'pgleash.scram_verifier(text)', 'EXECUTE')",
                             "pgleash"),
            "f");
  EXPECT_EQ(postgres().value("SELECT proconfig::text FROM pg_proc WHERE proname = 'scram_verifier'",
                             "pgleash"),
            R"({"search_path=pg_catalog, pg_temp"})");
  EXPECT_EQ(postgres().value("SELECT has_schema_privilege('app', 'pgleash', 'USAGE')", "pgleash"),
            "f");
}

TEST_F(OwnScram, AChangedPasswordCountsAtOnce) {
  own();
  EXPECT_EQ(failure(verifying()), "");
  postgres().sql("ALTER ROLE app PASSWORD 'another'");
  EXPECT_THAT(failure(verifying()), HasSubstr("password authentication failed"));
  EXPECT_EQ(failure(verifying({{"password", "another"}})), "");
  postgres().sql("ALTER ROLE app PASSWORD 'app'");
  EXPECT_EQ(failure(verifying()), "");
  postgres().sql("ALTER ROLE app VALID UNTIL '2001-01-01'");
  EXPECT_THAT(failure(verifying()), HasSubstr("password authentication failed"));
  postgres().sql("ALTER ROLE app VALID UNTIL 'infinity'");
  EXPECT_EQ(failure(verifying()), "");
}

TEST_F(OwnScram, ACertificateInBetweenIsFoundByTheClientsBinding) {
  // pgleash before pgleash: the one in front ends the client's TLS with a certificate of its own,
  // and passes the proof on.
  PgleashProcess& behind = own();
  PgleashOptions front;
  front.listener = client_leg(world().certificates.issue("in-between"));
  front.server = fmt::format("tls = \"require\"\n");
  front.server_port = behind.port();
  front.monitor = false;
  const PgleashProcess between{PGLEASH_BINARY, world().server, postgres(), front};
  const auto through = [&](const char* binding) {
    try {
      LibpqClient client{between.words(verifying({{"channel_binding", binding}}))};
      return std::string{};
    } catch (const std::exception& e) {
      return std::string{e.what()};
    }
  };
  EXPECT_THAT(through("require"), HasSubstr("SCRAM channel binding check failed"));
  EXPECT_EQ(through("disable"), "");
}

TEST_F(OwnScram, WithoutTheFunctionTheServerJudgesItself) {
  postgres().bootstrap(MonitoredServer::monitor_password);  // without a group: it is taken away
  own({}, "tls = \"disable\"\n");
  EXPECT_EQ(failure(verifying({{"channel_binding", "disable"}})), "");
  EXPECT_THAT(failure(verifying({{"password", "wrong"}})),
              HasSubstr("password authentication failed"));
  postgres().bootstrap(MonitoredServer::monitor_password, "pgleash_scram");
}

TEST_F(OwnScram, NoSecretIsInAnyLogOrPage) {
  own();
  EXPECT_EQ(failure(verifying()), "");
  EXPECT_THAT(failure(verifying({{"password", "wrong"}})), HasSubstr("password"));
  const std::string secret = verifier("app");
  const std::string stored = secret.substr(secret.rfind('$') + 1, 44);
  for (const std::string& text :
       {pgleash().process().err(), pgleash().process().out(), pgleash().page("/api/sessions"),
        pgleash().page("/metrics"), postgres().log()})
    EXPECT_THAT(text, Not(HasSubstr(stored)));
}

}  // namespace
}  // namespace pgleash::test
