#include "watchdog/pg_connection.hpp"

#include "tests/integration/watchdog/server.hpp"
#include "tests/support/wait_until.hpp"

#include <gmock/gmock.h>

#include <fstream>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace pgleash::watchdog {
namespace {

using test::run_task, test::run_until, test::wait_until;
using testing::AllOf, testing::HasSubstr, testing::Not;
using Kind = PgError::Kind;

class PgConnectionTest : public WithServer {
 protected:
  PgEndpoint endpoint() { return monitor_endpoint(server().section(), "pgleash 3f9a01bc"); }

  PgResult<std::unique_ptr<PgConnection>> connect(PgEndpoint where, Duration patience = 10s) {
    return run_task(io, PgConnection::connect(std::move(where), in(patience)));
  }
  std::unique_ptr<PgConnection> connected() {
    auto connection = connect(endpoint());
    if (!connection) throw std::runtime_error{connection.error().message};
    return std::move(*connection);
  }
  PgResult<PgRows> query(PgConnection& connection, std::string sql, PgParameters parameters = {},
                         Duration patience = 10s) {
    return run_task(io, connection.query(std::move(sql), std::move(parameters), in(patience)));
  }
  std::string setting(PgConnection& connection, const std::string& name) {
    const auto rows = query(connection, "SELECT current_setting('" + name + "')");
    return rows ? std::string{rows->text(0, 0)} : rows.error().message;
  }
};

TEST_F(PgConnectionTest, LogsInWithThePasswordOfTheFile) {
  const auto connection = connected();
  EXPECT_TRUE(connection->alive());
  EXPECT_GE(connection->server_version(), 120000);
  const auto rows = query(*connection, "SELECT CURRENT_USER, pg_backend_pid()");
  ASSERT_TRUE(rows) << rows.error().message;
  EXPECT_EQ(rows->text(0, 0), "pgleash_monitor");
  EXPECT_EQ(rows->int4(0, 1), static_cast<int>(connection->pid()));
}

TEST_F(PgConnectionTest, SessionIsReadOnlyAndFrugal) {
  const auto connection = connected();
  EXPECT_EQ(setting(*connection, "application_name"), "pgleash 3f9a01bc");
  EXPECT_EQ(setting(*connection, "search_path"), "pg_catalog");
  EXPECT_EQ(setting(*connection, "statement_timeout"), "5s");
  EXPECT_EQ(setting(*connection, "lock_timeout"), "1s");
  EXPECT_EQ(setting(*connection, "idle_in_transaction_session_timeout"), "10s");
  EXPECT_EQ(setting(*connection, "jit"), "off");
  EXPECT_EQ(setting(*connection, "max_parallel_workers_per_gather"), "0");
  EXPECT_EQ(setting(*connection, "default_transaction_read_only"), "on");
  EXPECT_EQ(setting(*connection, "TimeZone"), "UTC");
  const auto written = query(*connection, "CREATE TEMP TABLE t ()");
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().sqlstate, "25006");
}

TEST_F(PgConnectionTest, WrongPasswordIsRefusedWithItsSqlstate) {
  auto where = endpoint();
  where.password_file = server().write_secret("wrong.pw", "guess\n");
  const auto connection = connect(where);
  ASSERT_FALSE(connection);
  EXPECT_EQ(connection.error().kind, Kind::refused);
  EXPECT_EQ(connection.error().sqlstate, "28P01");
  EXPECT_THAT(connection.error().message,
              AllOf(HasSubstr("password authentication failed"), Not(HasSubstr("guess")),
                    Not(HasSubstr("\n")), Not(HasSubstr("LOCATION"))));
}

TEST_F(PgConnectionTest, PasswordFileForEverybodyIsRefusedBeforeItIsUsed) {
  auto where = endpoint();
  where.password_file =
      server().write_secret("open.pw", std::string{test::MonitoredServer::monitor_password} + "\n");
  ASSERT_EQ(::chmod(where.password_file.c_str(), 0644), 0);
  const auto connection = connect(where);
  ASSERT_FALSE(connection);
  EXPECT_EQ(connection.error().kind, Kind::configuration);
  EXPECT_THAT(connection.error().message, HasSubstr("chmod"));
}

TEST_F(PgConnectionTest, PasswordFileThatIsNotThereIsNamed) {
  auto where = endpoint();
  where.password_file = "/nowhere/monitor.pw";
  const auto connection = connect(where);
  ASSERT_FALSE(connection);
  EXPECT_EQ(connection.error().kind, Kind::configuration);
  EXPECT_THAT(connection.error().message, HasSubstr("/nowhere/monitor.pw"));
}

TEST_F(PgConnectionTest, DatabaseThatDoesNotExistIsRefusedWithItsSqlstate) {
  auto where = endpoint();
  where.database = "nowhere";
  const auto connection = connect(where);
  ASSERT_FALSE(connection);
  EXPECT_EQ(connection.error().sqlstate, "3D000");
}

TEST_F(PgConnectionTest, HostNameIsResolvedByUs) {
  auto where = endpoint();
  where.address.host = "localhost";
  const auto connection = connect(where);
  ASSERT_TRUE(connection) << connection.error().message;
  EXPECT_TRUE((*connection)->alive());
}

TEST_F(PgConnectionTest, HostNameThatDoesNotExistIsUnreachable) {
  auto where = endpoint();
  where.address.host = "no-such-host.invalid";
  const auto connection = connect(where);
  ASSERT_FALSE(connection);
  EXPECT_EQ(connection.error().kind, Kind::unreachable);
  EXPECT_THAT(connection.error().message, HasSubstr("no-such-host.invalid"));
}

TEST_F(PgConnectionTest, UnixSocketDirectoryIsAHost) {
  auto where = endpoint();
  where.address = {server()->socket_dir(), server()->port(), true};
  const auto connection = connect(where);
  ASSERT_TRUE(connection) << connection.error().message;
  const auto rows =
      query(**connection, "SELECT client_port FROM pg_stat_activity WHERE pid = pg_backend_pid()");
  ASSERT_TRUE(rows);
  EXPECT_EQ(rows->int4(0, 0), -1);
}

TEST_F(PgConnectionTest, PortWhereNobodyListensIsUnreachable) {
  auto where = endpoint();
  where.address.port = 1;
  const auto connection = connect(where);
  ASSERT_FALSE(connection);
  EXPECT_EQ(connection.error().kind, Kind::unreachable);
}

/// A listening socket that nobody accepts from: the connection is made, and then there is silence.
TEST_F(PgConnectionTest, ServerThatSaysNothingHitsTheDeadline) {
  const int mute = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  ASSERT_EQ(::bind(mute, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(mute, 1), 0);
  ASSERT_EQ(::getsockname(mute, reinterpret_cast<sockaddr*>(&address), &length), 0);
  auto where = endpoint();
  where.address.port = ntohs(address.sin_port);
  const auto connection = connect(where, 200ms);
  ::close(mute);
  ASSERT_FALSE(connection);
  EXPECT_EQ(connection.error().kind, Kind::timeout);
}

TEST_F(PgConnectionTest, FullServerIsRefusedWith53300) {
  test::Postgres full{
      {.max_connections = 6, .settings = {}}};  // 3 are the superuser's, 1 has the fixture
  full.create_role("pgleash_monitor", test::MonitoredServer::monitor_password);
  full.create_database("pgleash");
  auto where = endpoint();
  where.address.port = full.port();
  std::vector<PgResult<std::unique_ptr<PgConnection>>> all;
  for (int i = 0; i < 3; ++i) all.push_back(connect(where));
  EXPECT_TRUE(all[0]);
  EXPECT_TRUE(all[1]);
  ASSERT_FALSE(all[2]);
  EXPECT_EQ(all[2].error().sqlstate, "53300");
}

TEST_F(PgConnectionTest, PreparedStatementGivesBinaryRows) {
  const auto connection = connected();
  const auto prepared = run_task(
      io, connection->prepare(
              "typed",
              "SELECT $1::int4 + 1, $2::timestamptz, $3::text, NULL::text, true, 7::oid, 8::int8",
              in(5s)));
  ASSERT_TRUE(prepared) << prepared.error().message;
  PgParameters parameters;
  parameters.add_int4(-42).add_time(ServerTime{757382400123456}).add_text("caf\xC3\xA9");
  const auto rows = run_task(io, connection->execute("typed", std::move(parameters), in(5s)));
  ASSERT_TRUE(rows) << rows.error().message;
  ASSERT_EQ(rows->size(), 1);
  EXPECT_EQ(rows->int4(0, 0), -41);
  EXPECT_EQ(rows->time(0, 1), ServerTime{757382400123456});
  EXPECT_EQ(rows->text(0, 2), "caf\xC3\xA9");
  EXPECT_TRUE(rows->null(0, 3));
  EXPECT_EQ(rows->time(0, 3), std::nullopt);
  EXPECT_TRUE(rows->boolean(0, 4));
  EXPECT_EQ(rows->oid(0, 5), 7U);
  EXPECT_EQ(rows->int8(0, 6), 8);
}

TEST_F(PgConnectionTest, ATimeThatNoClockShowsIsNone) {
  const auto connection = connected();
  const auto rows = query(*connection,
                          "SELECT 'infinity'::timestamptz, '-infinity'::timestamptz, "
                          "'1899-12-31'::timestamptz, '2100-01-01'::timestamptz, "
                          "'1900-01-01'::timestamptz, '2099-12-31 23:59:59'::timestamptz");
  ASSERT_TRUE(rows) << rows.error().message;
  for (int column : {0, 1, 2, 3}) EXPECT_FALSE(rows->time(0, column)) << column;
  EXPECT_TRUE(rows->time(0, 4));
  EXPECT_TRUE(rows->time(0, 5));
}

TEST_F(PgConnectionTest, FailedStatementLeavesTheConnectionWhole) {
  const auto connection = connected();
  const auto failed = query(*connection, "SELECT 1 / 0");
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().kind, Kind::refused);
  EXPECT_EQ(failed.error().sqlstate, "22012");
  EXPECT_EQ(failed.error().message, "division by zero");
  EXPECT_TRUE(query(*connection, "SELECT 1"));
}

TEST_F(PgConnectionTest, LargeQuestionsAndAnswersPass) {
  const auto connection = connected();
  PgParameters parameters;
  parameters.add_text(std::string(8'000'000, 'x'));
  const auto rows = query(*connection, "SELECT $1 || $1", std::move(parameters));
  ASSERT_TRUE(rows) << rows.error().message;
  EXPECT_EQ(rows->text(0, 0).size(), 16'000'000U);
}

TEST_F(PgConnectionTest, BackendThatStopsDuringAStatementHitsTheDeadlineAndDropsTheConnection) {
  const auto connection = connected();
  const auto backend = static_cast<pid_t>(connection->pid());
  server()->suspend(backend);
  const auto rows = query(*connection, "SELECT 1", {}, 200ms);
  server()->resume(backend);
  ASSERT_FALSE(rows);
  EXPECT_EQ(rows.error().kind, Kind::timeout);
  EXPECT_FALSE(connection->alive());
  EXPECT_FALSE(query(*connection, "SELECT 1"));
}

TEST_F(PgConnectionTest, EndOfAnIdleConnectionIsNoticedAtOnceWithTheServersWords) {
  const auto connection = connected();
  server()->sql("SELECT pg_terminate_backend(" +
                std::to_string(static_cast<int>(connection->pid())) + ")");
  EXPECT_TRUE(run_task(io, connection->lost_before(in(10s))));
  EXPECT_EQ(connection->loss().kind, Kind::lost);
  EXPECT_EQ(connection->loss().sqlstate, "57P01");
  EXPECT_THAT(connection->loss().message, HasSubstr("administrator command"));
}

TEST_F(PgConnectionTest, EndDuringAStatementIsLost) {
  const auto connection = connected();
  const auto pid = std::to_string(static_cast<int>(connection->pid()));
  std::optional<PgResult<PgRows>> answer;
  auto sleeping = [](PgConnection& on, Instant deadline,
                     std::optional<PgResult<PgRows>>& into) -> Task<bool> {
    into.emplace(co_await on.query("SELECT pg_sleep(60)", {}, deadline));
    co_return true;
  };
  boost::asio::co_spawn(io, sleeping(*connection, in(20s), answer),
                        [](std::exception_ptr, bool) {});
  ASSERT_TRUE(run_until(
      io,
      [&] {
        return server()->value(
                   "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND pid = " +
                   pid) == "1";
      },
      10s));
  server()->sql("SELECT pg_terminate_backend(" + pid + ")");
  ASSERT_TRUE(run_until(
      io, [&] { return answer.has_value(); }, 10s));
  ASSERT_FALSE(*answer);
  EXPECT_EQ(answer->error().kind, Kind::lost);
  EXPECT_EQ(answer->error().sqlstate, "57P01");
  EXPECT_FALSE(connection->alive());
}

TEST_F(PgConnectionTest, IdleConnectionLivesUntilTheDeadlineOfTheWait) {
  const auto connection = connected();
  EXPECT_FALSE(run_task(io, connection->lost_before(in(20ms))));
  EXPECT_TRUE(query(*connection, "SELECT 1"));
}

TEST_F(PgConnectionTest, CloseEndsALoginThatIsUnderWay) {
  PgConnection connection{io.get_executor()};
  std::optional<PgError> refusal;
  bool ended = false;
  auto opening = [](PgConnection& which, PgEndpoint where, Instant deadline,
                    std::optional<PgError>& into) -> Task<bool> {
    into = co_await which.open(std::move(where), deadline);
    co_return true;
  };
  boost::asio::co_spawn(io, opening(connection, endpoint(), in(20s), refusal),
                        [&](std::exception_ptr, bool) { ended = true; });
  io.poll_one();
  connection.close();
  ASSERT_TRUE(run_until(
      io, [&] { return ended; }, 5s));
  ASSERT_TRUE(refusal);
  EXPECT_EQ(refusal->kind, Kind::lost);
}

TEST_F(PgConnectionTest, ConnectsAgainAndAgainWithoutLosingDescriptors) {
  const auto open_files = [] {
    return std::distance(std::filesystem::directory_iterator{"/proc/self/fd"}, {});
  };
  (void)connected();
  const auto before = open_files();
  for (int i = 0; i < 20; ++i) {
    const auto connection = connected();
    ASSERT_TRUE(query(*connection, "SELECT 1"));
    auto wrong = endpoint();
    wrong.database = "nowhere";
    ASSERT_FALSE(connect(wrong));
  }
  EXPECT_EQ(open_files(), before);
}

TEST_F(PgConnectionTest, SqlAsciiDatabaseGivesItsBytesAsTheyAre) {
  server()->create_database("bytes",
                            "TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'");
  auto where = endpoint();
  where.database = "bytes";
  const auto connection = connect(where);
  ASSERT_TRUE(connection) << connection.error().message;
  const auto rows = query(**connection, "SELECT chr(233)");
  ASSERT_TRUE(rows) << rows.error().message;
  EXPECT_EQ(rows->text(0, 0), "\xE9");
}

}  // namespace
}  // namespace pgleash::watchdog
