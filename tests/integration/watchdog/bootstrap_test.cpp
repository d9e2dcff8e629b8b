#include "tests/integration/watchdog/server.hpp"
#include "tests/support/wait_until.hpp"

#include <gmock/gmock.h>

#include <csignal>
#include <cstdlib>
#include <sys/stat.h>
#include <sys/wait.h>

namespace pgleash::watchdog {
namespace {

using test::LibpqClient, test::MonitoredServer, test::Postgres, test::wait_until;

/// What deploy/sql/bootstrap.sql leaves behind.
class BootstrapTest : public WithServer {
 protected:
  LibpqClient monitor(const std::string& database = "pgleash") {
    return server().login(
        {{"user", "pgleash_monitor"}, {"password", "watch \\' me"}, {"dbname", database}});
  }
};

TEST_F(BootstrapTest, MonitorRoleHasItsGrantsAndNothingElse) {
  const auto row = server()->sql(
      "SELECT rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, "
      "rolconnlimit,"
      " pg_has_role(oid, 'pg_monitor', 'USAGE'), pg_has_role(oid, 'pg_signal_backend', 'USAGE'),"
      " (SELECT rolpassword LIKE 'SCRAM-SHA-256$%' FROM pg_authid a WHERE a.oid = r.oid)"
      " FROM pg_roles r WHERE rolname = 'pgleash_monitor'");
  EXPECT_THAT(row.at(0), testing::ElementsAre("t", "f", "f", "f", "f", "f", "10", "t", "t", "t"));
}

TEST_F(BootstrapTest, NobodyElseMayConnectToItsDatabase) {
  EXPECT_NO_THROW(monitor());
  EXPECT_THROW(server().login({{"dbname", "pgleash"}}), std::runtime_error);
}

TEST_F(BootstrapTest, MonitorMayCreateNothingInItsDatabase) {
  auto client = monitor();
  client.exec("SET default_transaction_read_only = off");
  for (const auto* sql :
       {"CREATE TABLE public.t ()", "CREATE SCHEMA s", "CREATE TEMP TABLE t ()"}) {
    EXPECT_THROW(client.exec(sql), std::runtime_error) << sql;
  }
}

TEST_F(BootstrapTest, MayBeRunAgain) {
  EXPECT_NO_THROW(server()->bootstrap(MonitoredServer::monitor_password));
  EXPECT_NO_THROW(monitor());
}

TEST_F(BootstrapTest, PasswordDoesNotReachTheServersLog) {
  Postgres talkative{{.max_connections = 20,
                      .settings = {"log_statement = 'all'", "log_min_duration_statement = 0"}}};
  talkative.bootstrap("hush-hush");
  ASSERT_THAT(talkative.log(), testing::HasSubstr("SET log_statement"))
      << "the server logged nothing at all";
  EXPECT_THAT(talkative.log(), testing::Not(testing::HasSubstr("hush-hush")));
}

TEST_F(BootstrapTest, WithoutAPasswordNothingIsDone) {
  Postgres bare;
  const auto done =
      test::run({.argv = {Postgres::program("psql"), "-X", "-h", bare.socket_dir(), "-p",
                          std::to_string(bare.port()), "-U", "postgres", "-d", "postgres", "-f",
                          PGLEASH_SOURCE_DIR "/deploy/sql/bootstrap.sql"},
                 .environment = {},
                 .user = {}});
  EXPECT_EQ(done.status, 3) << done.err;
  EXPECT_EQ(bare.value("SELECT count(*) FROM pg_roles WHERE rolname = 'pgleash_monitor'"), "0");
}

/// The fixture's own promise: no server outlives its test process, however that ends.
TEST_F(BootstrapTest, CrashOfTheTestEndsItsServer) {
  const test::TempDir left_behind;
  ASSERT_EQ(::chmod(left_behind.path().c_str(), 0711), 0);  // the server is another user
  int told[2];
  ASSERT_EQ(::pipe(told), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::setenv("TMPDIR", left_behind.path().c_str(), 1);
    const auto* doomed = new Postgres;  // its destructor never runs
    const pid_t postmaster = doomed->pid();
    if (::write(told[1], &postmaster, sizeof postmaster) != sizeof postmaster) ::_exit(1);
    ::raise(SIGKILL);
  }
  ::close(told[1]);
  pid_t postmaster = 0;
  ASSERT_EQ(::read(told[0], &postmaster, sizeof postmaster),
            static_cast<ssize_t>(sizeof postmaster));
  ::close(told[0]);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(wait_until(
      [&] {
        std::ifstream stat{"/proc/" + std::to_string(postmaster) + "/stat"};
        std::string text;
        return !std::getline(stat, text) ||
               text.find(") Z ") != std::string::npos;  // gone, or waits to be reaped
      },
      15s));
}

}  // namespace
}  // namespace pgleash::watchdog
