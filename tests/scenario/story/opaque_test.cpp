#include "tests/scenario/story/tls_story.hpp"

#include <tuple>

/// Clients and server speak TLS with each other, pgleash between them sees bytes.
namespace pgleash::test {
namespace {

class OpaqueTls : public Tls {
 protected:
  /// With the monitor up, as nothing else tells what such a session does.
  PgleashProcess& opaque(PgleashOptions options) {
    options.listener = "tls = \"opaque\"\nrequire_challenge = \"never\"\n" + options.listener;
    Tls::pgleash(std::move(options));
    EXPECT_TRUE(wait_until([&] { return pgleash().metric("pgleash_monitor_up") == 1; }, 10s));
    return pgleash();
  }
  Application login(std::map<std::string, std::string> more = {}) {
    return Application{pgleash().words(verifying(std::move(more)))};
  }
  boost::json::object outcome(const std::string& rule_name) {
    boost::json::object found;
    EXPECT_TRUE(wait_until(
        [&] {
          for (const auto& line : pgleash().audit("outcome"))
            if (text(line, "rule") == rule_name) found = line;
          return !found.empty();
        },
        20s));
    return found;
  }
};

TEST_F(OpaqueTls, TheClientSeesTheServersOwnCertificateAndBindsToIt) {
  opaque({});
  auto application = login({{"channel_binding", "require"}});
  EXPECT_EQ(application.exec("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"), "t");
  EXPECT_THAT(failure(verifying({{"password", "wrong"}})),
              HasSubstr("password authentication failed"));
  EXPECT_THAT(failure({{"sslmode", "disable"}}), HasSubstr("passes TLS on to the server"));
  // Who it is, the server's view says.
  EXPECT_TRUE(wait_until(
      [&] {
        const std::string sessions = pgleash().page("/api/sessions");
        return sessions.find(R"("usename":"app")") != std::string::npos &&
               sessions.find(R"("datname":"orders")") != std::string::npos &&
               sessions.find(R"("application":"checkout")") != std::string::npos &&
               sessions.find(R"("mapping":"by_port")") != std::string::npos;
      },
      10s))
      << pgleash().page("/api/sessions");
  EXPECT_EQ(pgleash().metric("pgleash_sessions", {{"application", "checkout"}}), 1);
}

TEST_F(OpaqueTls, AnIdleTransactionIsEndedAndNobodyElse) {
  PgleashOptions options;
  options.rules = rule("idle-in-tx", "idle_in_transaction", "400ms", "terminate");
  opaque(options);
  auto neighbour = login();
  auto leaker = login();
  auto direct = world().server.login();
  direct.exec("BEGIN");  // the same, and none of ours
  const pid_t pid = leaker.pid();
  leaker.exec("BEGIN");
  const auto told = leaker.ended(20s);
  ASSERT_TRUE(told);
  EXPECT_EQ(told->sqlstate, "57P01") << "the server's own words: ours would have to be in its TLS";
  EXPECT_TRUE(wait_until([&] { return !backend_lives(pid); }, 10s));
  const auto line = outcome("idle-in-tx");
  EXPECT_EQ(text(line, "outcome"), "confirmed");
  EXPECT_EQ(text(line, "step"), "guarded_sql");
  EXPECT_EQ(text(line, "mapping"), "by_port");
  EXPECT_EQ(number(line, "pid"), pid);
  EXPECT_EQ(neighbour.exec("SELECT 'still here'"), "still here");
  EXPECT_EQ(direct.exec("SELECT 'here too'"), "here too");
}

TEST_F(OpaqueTls, ARunawayIsCancelledAndTheSessionLives) {
  PgleashOptions options;
  options.rules = rule("runaway", "statement", "400ms", "cancel");
  opaque(options);
  auto application = login();
  const auto error = application.error_of("SELECT pg_sleep(60)");
  ASSERT_TRUE(error);
  EXPECT_EQ(error->sqlstate, "57014");
  EXPECT_EQ(application.exec("SELECT 'still here'"), "still here");
  EXPECT_EQ(text(outcome("runaway"), "outcome"), "confirmed");
}

TEST_F(OpaqueTls, AnIdleListenerIsSparedByTheGuardItself) {
  PgleashOptions options;
  options.rules = rule("idle", "idle", "400ms", "terminate");
  opaque(options);
  auto listener = login({{"application_name", "listener"}});
  listener.exec("LISTEN news");
  auto idle = login();
  EXPECT_TRUE(idle.ended(20s));
  ASSERT_TRUE(wait_until(
      [&] {
        for (const auto& line : pgleash().audit("outcome"))
          if (text(line, "application") == "listener") return true;
        return false;
      },
      20s));
  EXPECT_EQ(listener.exec("SELECT 'still here'"), "still here");
}

TEST_F(OpaqueTls, AClientsOwnCancelArrives) {
  opaque({});
  auto application = login();
  application.send("SELECT pg_sleep(60)");
  const std::unique_ptr<PGcancel, decltype(&PQfreeCancel)> cancel{PQgetCancel(application.raw()),
                                                                  &PQfreeCancel};
  char why[256] = {};
  EXPECT_TRUE(wait_until(
      [&] {
        EXPECT_EQ(PQcancel(cancel.get(), why, sizeof why), 1) << why;
        (void)PQconsumeInput(application.raw());
        return PQisBusy(application.raw()) == 0;
      },
      10s));
  const auto error = application.finish();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->sqlstate, "57014");
}

TEST_F(OpaqueTls, NothingIsJudgedWhileTheMonitorIsDown) {
  PgleashOptions options;
  options.rules = rule("idle-in-tx", "idle_in_transaction", "2s", "terminate");
  opaque(options);
  auto application = login();
  application.exec("BEGIN");
  postgres().sql("ALTER ROLE pgleash_monitor NOLOGIN");
  postgres().sql(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_get_activity(NULL) WHERE usesysid = "
      "'pgleash_monitor'::regrole");
  EXPECT_TRUE(wait_until([&] { return pgleash().metric("pgleash_monitor_up") == 0; }, 10s));
  const auto since = std::chrono::steady_clock::now();
  EXPECT_TRUE(wait_until([&] { return std::chrono::steady_clock::now() - since > 3s; }, 5s));
  EXPECT_EQ(application.exec("SELECT 'still here'"), "still here");
  application.exec("ROLLBACK; BEGIN");
  postgres().sql("ALTER ROLE pgleash_monitor LOGIN");
  EXPECT_TRUE(application.ended(30s)) << "judged again once the server can be asked";
}

TEST_F(OpaqueTls, ItsStartSaysWhatIsNotSeen) {
  opaque({});
  EXPECT_THAT(pgleash().process().out(), HasSubstr("mode F"));
  EXPECT_THAT(pgleash().process().out(), HasSubstr("TLS opaque"));
}

}  // namespace
}  // namespace pgleash::test
