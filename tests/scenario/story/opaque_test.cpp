#include "tests/scenario/story/tls_story.hpp"
#include "tests/support/free_port.hpp"

#include <tuple>
#include <utility>

/// Clients and server speak TLS with each other, pgleash between them sees bytes.
namespace pgleash::test {
namespace {

class OpaqueTls : public Tls {
 protected:
  /// With the monitor up, as nothing else tells what such a session does; and with a listener
  /// beside it whose sessions pgleash reads.
  PgleashProcess& opaque(PgleashOptions options) {
    clear_port_ = free_port();
    options.listener = fmt::format(
        "tls = \"opaque\"\nrequire_challenge = \"never\"\n{}[[listener]]\nname = "
        "\"clear\"\nserver = \"main\"\nlisten = [\"127.0.0.1:{}\"]\n",
        options.listener, clear_port_);
    Tls::pgleash(std::move(options));
    EXPECT_TRUE(wait_until([&] { return pgleash().metric("pgleash_monitor_up") == 1; }, 10s));
    return pgleash();
  }
  Application login(std::map<std::string, std::string> more = {}) {
    return Application{pgleash().words(verifying(std::move(more)))};
  }
  Application clear_login(std::map<std::string, std::string> more = {}) {
    more["port"] = std::to_string(clear_port_);
    return Application{pgleash().words(std::move(more))};
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

 private:
  std::uint16_t clear_port_ = 0;
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
  // Who began later and can be judged without it is over the limit by now; so is the opaque one.
  auto read = clear_login();
  read.exec("BEGIN");
  EXPECT_TRUE(read.ended(20s));
  EXPECT_EQ(application.exec("SELECT 'still here'"), "still here");
  application.exec("ROLLBACK; BEGIN");
  postgres().sql("ALTER ROLE pgleash_monitor LOGIN");
  EXPECT_TRUE(application.ended(30s)) << "judged again once the server can be asked";
}

/// What an operator does about such a session, on the console of another listener.
class OpaqueDesk : public OpaqueTls {
 protected:
  void SetUp() override {
    OpaqueTls::SetUp();
    if (IsSkipped()) return;
    static bool made = false;
    if (!std::exchange(made, true)) {
      postgres().create_role("alice", "pw");
      postgres().sql("GRANT CONNECT ON DATABASE pgleash TO alice");
    }
  }
  void start(PgleashOptions options = {}) {
    options.console = "operators = [\"alice\"]\n";
    options.rules = rule("idle-in-tx", "idle_in_transaction", "10m", "terminate");
    opaque(std::move(options));
    desk_ = std::make_unique<Application>(
        clear_login({{"user", "alice"}, {"password", "pw"}, {"dbname", "pgleash"}}));
  }
  Application& desk() { return *desk_; }
  /// All rows of the answer, one a line.
  std::string ask(const std::string& command) {
    const Result result{PQexec(desk().raw(), command.c_str())};
    if (PQresultStatus(result.get()) != PGRES_TUPLES_OK) return PQerrorMessage(desk().raw());
    std::string all;
    for (int row = 0; row < PQntuples(result.get()); ++row)
      for (int column = 0; column < PQnfields(result.get()); ++column)
        all += std::string{PQgetvalue(result.get(), row, column)} +
               (column + 1 < PQnfields(result.get()) ? "|" : "\n");
    return all;
  }
  bool shows(const std::string& command, const std::string& what) {
    return wait_until([&] { return ask(command).find(what) != std::string::npos; }, 10s);
  }

 private:
  std::unique_ptr<Application> desk_;
};

TEST_F(OpaqueDesk, ExplainTellsWhatTheRulesSeeOfIt) {
  start();
  auto application = login();
  application.exec("BEGIN");
  const std::string explain = fmt::format("EXPLAIN PID {}", application.pid());
  EXPECT_TRUE(shows(explain, "idle in transaction")) << ask(explain);
  EXPECT_THAT(ask(explain), AllOf(HasSubstr("app@orders (checkout)"), HasSubstr("idle-in-tx"),
                                  HasSubstr("below")));
  const std::string session =
      ask(fmt::format("SELECT session FROM sessions WHERE pid = {}", application.pid()));
  EXPECT_THAT(ask("EXPLAIN SESSION " + session), HasSubstr("idle-in-tx"));
  EXPECT_EQ(
      ask(fmt::format("SELECT origin, usename, mapping, listener FROM sessions WHERE pid = {}",
                      application.pid())),
      "proxied|app|by_port|main\n");
}

TEST_F(OpaqueDesk, KillEndsItAndNobodyElse) {
  start();
  auto neighbour = login();
  auto leaker = login();
  leaker.exec("BEGIN");
  const pid_t pid = leaker.pid();
  // At once: whether a sample has seen it or not, it is a session of ours.
  EXPECT_THAT(ask(fmt::format("KILL PID {}", pid)),
              AllOf(HasSubstr("confirmed"), HasSubstr("guarded_sql")));
  const auto told = leaker.ended(10s);
  ASSERT_TRUE(told);
  EXPECT_EQ(told->sqlstate, "57P01");
  EXPECT_FALSE(backend_lives(pid));
  const auto line = outcome("manual");
  EXPECT_EQ(text(line, "actor"), "alice");
  EXPECT_EQ(text(line, "outcome"), "confirmed");
  EXPECT_EQ(number(line, "pid"), pid);
  EXPECT_NE(text(line, "session"), "") << "ours, not a direct one";
  EXPECT_EQ(neighbour.exec("SELECT 'still here'"), "still here");
  EXPECT_THAT(ask(fmt::format("KILL PID {}", pid)), HasSubstr("there is no backend with pid"));
}

TEST_F(OpaqueDesk, KillOfASessionBeforeAnySampleIsItsOwn) {
  start({.poll_interval = "30s"});
  auto leaker = login();
  const pid_t pid = leaker.pid();
  EXPECT_EQ(ask(fmt::format("SELECT origin, usename FROM sessions WHERE pid = {}", pid)),
            "proxied|app\n");
  EXPECT_THAT(ask(fmt::format("KILL PID {}", pid)), HasSubstr("confirmed"));
  EXPECT_TRUE(leaker.ended(10s));
  EXPECT_NE(text(outcome("manual"), "session"), "");
}

TEST_F(OpaqueDesk, CancelStopsItsStatementOnly) {
  start();
  auto application = login();
  application.send("SELECT pg_sleep(60)");
  ASSERT_TRUE(
      shows(fmt::format("SELECT state FROM sessions WHERE pid = {}", application.pid()), "active"));
  const std::string command = fmt::format("CANCEL PID {}", application.pid());
  EXPECT_TRUE(shows(command, "confirmed")) << "until a sample has seen what it is to cancel";
  const auto error = application.finish();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->sqlstate, "57014");
  EXPECT_EQ(application.exec("SELECT 'still here'"), "still here");
}

TEST_F(OpaqueDesk, AConfirmedKillSparesWhoWentOn) {
  start();
  auto idle = login();
  auto other = login();
  for (Application* one : {&idle, &other}) {
    one->exec("BEGIN");
    ASSERT_TRUE(shows(fmt::format("SELECT proxy_state FROM sessions WHERE pid = {}", one->pid()),
                      "idle in transaction"));
  }
  const std::string preview = ask("KILL WHERE application = 'checkout'");
  const std::string token = preview.substr(0, preview.find('|'));
  other.exec("SELECT 1");
  const std::string done = ask("KILL CONFIRM '" + token + "'");
  EXPECT_THAT(done, AllOf(HasSubstr("confirmed"), HasSubstr("recovered")));
  EXPECT_TRUE(idle.ended(10s));
  EXPECT_EQ(other.exec("SELECT 'still here'"), "still here");
}

TEST_F(OpaqueTls, ItsStartSaysWhatIsNotSeen) {
  opaque({});
  EXPECT_THAT(pgleash().process().out(), HasSubstr("mode F"));
  EXPECT_THAT(pgleash().process().out(), HasSubstr("TLS opaque"));
}

}  // namespace
}  // namespace pgleash::test
