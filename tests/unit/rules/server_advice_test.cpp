#include "watchdog/server_advice.hpp"

#include <gmock/gmock.h>

namespace pgleash::watchdog {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

/// A server and a role as bootstrap-sql and this advice leave them.
ServerFacts good() {
  ServerFacts facts;
  facts.version = 160004;
  facts.role = "pgleash_monitor";
  facts.database = "pgleash";
  facts.sees_sessions = facts.may_signal = facts.may_use_reserved = true;
  facts.settings = {{"track_activities", "on"},    {"track_activity_query_size", "1024"},
                    {"max_connections", "6000"},   {"superuser_reserved_connections", "3"},
                    {"reserved_connections", "3"}, {"client_connection_check_interval", "10000"},
                    {"tcp_keepalives_idle", "60"}};
  facts.trust_lines.emplace();
  return facts;
}

std::vector<Advice> advice(const ServerFacts& facts, const config::Config& config = {},
                           const config::Server& server = {}) {
  return advise(facts, config, server);
}

struct Case {
  const char* name;
  void (*spoil)(ServerFacts&);
  Gravity gravity;
  const char* about;
  const char* remedy;
};

class Each : public testing::TestWithParam<Case> {};

TEST_P(Each, FaultIsNamedOnceWithItsRemedy) {
  ServerFacts facts = good();
  GetParam().spoil(facts);
  const auto found = advice(facts);
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].gravity, GetParam().gravity);
  EXPECT_EQ(found[0].about, GetParam().about);
  EXPECT_THAT(found[0].remedy, HasSubstr(GetParam().remedy));
}

INSTANTIATE_TEST_SUITE_P(
    ServerAdvice, Each,
    testing::Values(
        Case{"old", [](ServerFacts& f) { f.version = 110022; }, Gravity::error, "server_version",
             ""},
        Case{"superuser", [](ServerFacts& f) { f.superuser = true; }, Gravity::error, "superuser",
             "ALTER ROLE pgleash_monitor NOSUPERUSER"},
        Case{"blind", [](ServerFacts& f) { f.sees_sessions = false; }, Gravity::error, "pg_monitor",
             "GRANT pg_monitor TO pgleash_monitor"},
        Case{"harmless", [](ServerFacts& f) { f.may_signal = false; }, Gravity::warning,
             "pg_signal_backend", "GRANT pg_signal_backend TO pgleash_monitor"},
        Case{"reserve", [](ServerFacts& f) { f.may_use_reserved = false; }, Gravity::warning,
             "pg_use_reserved_connections", "GRANT pg_use_reserved_connections TO pgleash_monitor"},
        Case{"open", [](ServerFacts& f) { f.public_may_connect = true; }, Gravity::note, "database",
             "REVOKE CONNECT ON DATABASE pgleash FROM PUBLIC"},
        Case{"untracked", [](ServerFacts& f) { f.settings["track_activities"] = "off"; },
             Gravity::warning, "track_activities", "track_activities = on"},
        Case{"huge", [](ServerFacts& f) { f.settings["track_activity_query_size"] = "1048576"; },
             Gravity::note, "track_activity_query_size", "16384"},
        Case{"small", [](ServerFacts& f) { f.settings["max_connections"] = "100"; }, Gravity::note,
             "max_connections", ""},
        Case{"none_reserved",
             [](ServerFacts& f) { f.settings["superuser_reserved_connections"] = "0"; },
             Gravity::warning, "superuser_reserved_connections", "= 3"},
        Case{"no_reserve", [](ServerFacts& f) { f.settings["reserved_connections"] = "0"; },
             Gravity::note, "reserved_connections", "= 3"},
        Case{"deaf", [](ServerFacts& f) { f.settings["client_connection_check_interval"] = "0"; },
             Gravity::note, "client_connection_check_interval", "10s"},
        Case{"patient", [](ServerFacts& f) { f.settings["tcp_keepalives_idle"] = "7200"; },
             Gravity::note, "tcp_keepalives_idle", "60s"},
        Case{"system_default", [](ServerFacts& f) { f.settings["tcp_keepalives_idle"] = "0"; },
             Gravity::note, "tcp_keepalives_idle", "60s"},
        Case{"hba_unreadable", [](ServerFacts& f) { f.trust_lines.reset(); }, Gravity::note,
             "pg_hba.conf", "GRANT EXECUTE ON FUNCTION pg_hba_file_rules() TO pgleash_monitor"},
        Case{"trusted",
             [](ServerFacts& f) {
               f.trust_lines = {{{97, "trust"}}};
             },
             Gravity::warning, "pg_hba.conf", "scram-sha-256"}),
    [](const auto& each) { return std::string{each.param.name}; });

TEST(ServerAdvice, AServerAsItShouldBeGetsNone) {
  EXPECT_THAT(advice(good()), IsEmpty());
}

TEST(ServerAdvice, AnOlderServerIsNotBlamedForSettingsItDoesNotHave) {
  ServerFacts facts = good();
  facts.version = 120020;
  facts.settings.erase("reserved_connections");
  facts.settings.erase("client_connection_check_interval");
  EXPECT_THAT(advice(facts), IsEmpty());
}

TEST(ServerAdvice, NumbersThatPostgresqlCannotHaveAreNoReason) {
  ServerFacts facts = good();
  facts.settings["tcp_keepalives_idle"] = "2147483647";
  EXPECT_THAT(advice(facts), SizeIs(1));
  for (const char* number : {"2147483648", "9223372036854775807", "99999999999999999999", "x"}) {
    facts.settings["tcp_keepalives_idle"] = number;
    EXPECT_THAT(advice(facts), IsEmpty()) << number;
  }
}

TEST(ServerAdvice, KeepalivesAreNothingToAUnixSocket) {
  ServerFacts facts = good();
  facts.settings["tcp_keepalives_idle"] = "0";
  config::Server server;
  server.address.is_unix = true;
  EXPECT_THAT(advice(facts, {}, server), IsEmpty());
}

TEST(ServerAdvice, ATimeoutOfARoleThatARuleJudgesTooIsNamedWithThatRule) {
  ServerFacts facts = good();
  facts.role_settings = {{"role app", "idle_in_transaction_session_timeout", "30s"},
                         {"role app", "idle_session_timeout", "30s"},
                         {"role other", "statement_timeout", "0"},
                         {"role pgleash_monitor", "idle_in_transaction_session_timeout", "10s"}};
  config::Config config;
  config.rules = config::default_rules();
  std::erase_if(config.rules, [](const auto& rule) { return rule.kind == config::RuleKind::idle; });
  const auto found = advice(facts, config);
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_THAT(found[0].message,
              HasSubstr("role app has idle_in_transaction_session_timeout = 30s"));
  EXPECT_THAT(found[0].message, HasSubstr("300 s"));
}

TEST(ServerAdvice, TheGravestComesFirst) {
  ServerFacts facts = good();
  facts.trust_lines.reset();
  facts.may_signal = false;
  facts.sees_sessions = false;
  const auto found = advice(facts);
  ASSERT_THAT(found, SizeIs(3));
  EXPECT_EQ(found[0].gravity, Gravity::error);
  EXPECT_EQ(found[1].gravity, Gravity::warning);
  EXPECT_EQ(found[2].gravity, Gravity::note);
}

}  // namespace
}  // namespace pgleash::watchdog
