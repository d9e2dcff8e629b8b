#include "watchdog/kill_connection.hpp"

#include "tests/integration/watchdog/server.hpp"

#include <gmock/gmock.h>

#include <memory>

namespace pgleash::watchdog {
namespace {

using proxy::JudgedCounter;
using test::LibpqClient, test::run_task, test::run_until;
using testing::HasSubstr;
using SqlResult = TerminationPlan::SqlResult;

/// A backend as judged, read from the server as a sample would.
struct Judged {
  BackendId backend;
  ActivityRow row;
};

class KillConnectionTest : public WithServer {
 protected:
  void SetUp() override {
    WithServer::SetUp();
    if (!IsSkipped())
      kill_ = std::make_unique<KillConnection>(io.get_executor(), server().section(), "pgleash");
  }

  ServerTime time(const std::string& text) {
    return {text.empty() ? 0 : std::stoll(text) - 946684800000000};
  }

  Judged judge(const LibpqClient& client) {
    const auto column = [](const std::string& name) {
      return "(extract(epoch FROM " + name + ") * 1000000)::int8";
    };
    const auto rows =
        server()->sql("SELECT " + column("backend_start") + ", state, " + column("state_change") +
                      ", " + column("xact_start") + ", " + column("query_start") +
                      " FROM pg_stat_activity WHERE pid = " + std::to_string(client.pid()));
    Judged judged;
    const auto& found = rows.at(0);
    judged.backend = {protocol::BackendPid{client.pid()}, time(found[0])};
    judged.row.state = found[1];
    judged.row.state_change = time(found[2]);
    if (!found[3].empty()) judged.row.xact_start = time(found[3]);
    judged.row.query_start = time(found[4]);
    return judged;
  }

  KillConnection::Answer terminate(const Judged& judged, JudgedCounter counter) {
    return run_task(io,
                    kill_->terminate(judged.backend, judged_columns(counter, judged.row), in(10s)));
  }
  BackendSight look(const Judged& judged, JudgedCounter counter = JudgedCounter::state) {
    return run_task(io, kill_->look(judged.backend, judged_columns(counter, judged.row), in(10s)));
  }
  KillConnection& kill() { return *kill_; }

  static constexpr std::array all_counters{JudgedCounter::state, JudgedCounter::request,
                                           JudgedCounter::transaction, JudgedCounter::session};

 private:
  std::unique_ptr<KillConnection> kill_;
};

TEST_F(KillConnectionTest, UnchangedActivityIsEndedWhateverItsCounter) {
  for (const auto counter : all_counters) {
    auto client = server().login();
    client.exec("BEGIN");
    client.exec("SELECT 1");
    const auto judged = judge(client);
    EXPECT_EQ(look(judged, counter), BackendSight::same);
    const auto answer = terminate(judged, counter);
    EXPECT_EQ(answer.result, SqlResult::signalled) << answer.why;
    EXPECT_TRUE(client.ended(10s));
    EXPECT_THAT(client.words(), HasSubstr("administrator command"));
    EXPECT_TRUE(run_until(
        io, [&] { return look(judged, counter) == BackendSight::gone; }, 10s));
  }
}

TEST_F(KillConnectionTest, StatementIsCancelledUnderTheSameGuardAndTheSessionLives) {
  auto client = server().login();
  client.send("SELECT pg_sleep(60)");
  ASSERT_TRUE(run_until(
      io,
      [&] {
        return server()->value("SELECT wait_event FROM pg_stat_activity WHERE pid = " +
                               std::to_string(client.pid())) == "PgSleep";
      },
      10s));
  Judged judged = judge(client);
  Judged earlier = judged;
  earlier.row.query_start.microseconds -= 1;
  const auto cancel = [&](const Judged& one) {
    return run_task(
        io, kill().cancel(one.backend, judged_columns(JudgedCounter::request, one.row), in(10s)));
  };
  EXPECT_EQ(cancel(earlier).result, SqlResult::changed);
  EXPECT_EQ(cancel(judged).result, SqlResult::signalled);
  EXPECT_TRUE(run_until(
      io, [&] { return look(judged, JudgedCounter::request) == BackendSight::moved_on; }, 10s));
}

/// Of the backend and server of a client, as a journal would have recorded them.
struct Recorded {
  BackendId backend;
  ServerIdentity identity;
  proxy::Endpoint leg;
};

class KillOrphan : public KillConnectionTest {
 protected:
  Recorded record(const LibpqClient& client) {
    Recorded made;
    made.backend = judge(client).backend;
    const auto row = server()->sql(
        "SELECT system_identifier::text, (extract(epoch FROM pg_postmaster_start_time()) * "
        "1000000)::int8, host(client_addr), client_port FROM pg_control_system(), "
        "pg_stat_activity WHERE pid = " +
        std::to_string(client.pid()));
    made.identity.system_identifier = static_cast<std::uint64_t>(std::stoll(row.at(0)[0]));
    made.identity.started = time(row.at(0)[1]);
    made.leg = {row.at(0)[2], std::stoi(row.at(0)[3])};
    return made;
  }
  SqlResult terminate(const Recorded& one) {
    return run_task(io, kill().terminate_orphan(one.backend, one.identity, one.leg, in(10s)))
        .result;
  }
};

TEST_F(KillOrphan, EndsNobodyWhenAnyPartOfTheRecordDiffers) {
  auto client = server().login();
  const Recorded record = this->record(client);
  std::vector<Recorded> others(6, record);
  others[0].backend.pid = protocol::BackendPid{static_cast<int>(record.backend.pid) + 1};
  others[1].backend.backend_start.microseconds += 1;
  others[2].identity.system_identifier += 1;
  others[3].identity.started.microseconds -= 1;
  others[4].leg.port += 1;
  others[5].leg.address = "127.0.0.2";
  for (const Recorded& other : others) EXPECT_EQ(terminate(other), SqlResult::changed);
  Recorded through_unix_socket = record;
  through_unix_socket.leg = {};
  EXPECT_EQ(terminate(through_unix_socket), SqlResult::changed);
  EXPECT_EQ(client.exec("SELECT 'alive'"), "alive");
  EXPECT_EQ(terminate(record), SqlResult::signalled);
  EXPECT_TRUE(client.ended(10s));
}

TEST_F(KillOrphan, EndsABackendBehindAUnixSocketByPidAndBackendStart) {
  auto client = server().login({{"host", server()->socket_dir()}});
  Recorded record;
  record.backend = judge(client).backend;
  record.identity = this->record(server().login()).identity;
  EXPECT_EQ(terminate(record), SqlResult::signalled);
  EXPECT_TRUE(client.ended(10s));
}

TEST_F(KillConnectionTest, IdleSessionThatNeverAskedAnythingCanBeEnded) {
  auto client = server().login();
  EXPECT_EQ(terminate(judge(client), JudgedCounter::state).result, SqlResult::signalled);
  EXPECT_TRUE(client.ended(10s));
}

TEST_F(KillConnectionTest, ABackendIsKnownByItsPidAndItsClientsEnd) {
  auto client = server().login();
  const Judged judged = judge(client);
  const auto port = static_cast<std::uint16_t>(std::stoi(server()->value(
      "SELECT client_port FROM pg_stat_activity WHERE pid = " + std::to_string(client.pid()))));
  const auto identify = [&](protocol::BackendPid pid, std::string address, std::uint16_t at) {
    return run_task(io, kill().identify(pid, {std::move(address), at}, in(10s)));
  };
  EXPECT_EQ(identify(judged.backend.pid, "127.0.0.1", port), judged.backend);
  EXPECT_EQ(identify(judged.backend.pid, "127.0.0.2", port), std::nullopt);
  const auto other = static_cast<std::uint16_t>(port + 1);
  EXPECT_EQ(identify(judged.backend.pid, "127.0.0.1", other), std::nullopt);
  EXPECT_EQ(identify(protocol::BackendPid{2'147'483'000}, "127.0.0.1", port), std::nullopt);
}

TEST_F(KillConnectionTest, ActiveSessionCanBeEnded) {
  auto client = server().login();
  client.send("SELECT pg_sleep(60)");
  ASSERT_TRUE(run_until(
      io,
      [&] {
        return server()->value("SELECT wait_event FROM pg_stat_activity WHERE pid = " +
                               std::to_string(client.pid())) == "PgSleep";
      },
      10s));
  EXPECT_EQ(terminate(judge(client), JudgedCounter::request).result, SqlResult::signalled);
  EXPECT_TRUE(client.ended(10s));
}

TEST_F(KillConnectionTest, NextStatementOfTheTransactionSavesStateAndRequestOnly) {
  auto client = server().login();
  client.exec("BEGIN");
  const auto judged = judge(client);
  client.exec("SELECT 1");
  EXPECT_EQ(terminate(judged, JudgedCounter::state).result, SqlResult::changed);
  EXPECT_EQ(terminate(judged, JudgedCounter::request).result, SqlResult::changed);
  EXPECT_EQ(look(judged, JudgedCounter::state), BackendSight::moved_on);
  EXPECT_EQ(look(judged, JudgedCounter::request), BackendSight::moved_on);
  EXPECT_EQ(look(judged, JudgedCounter::transaction), BackendSight::same);
  EXPECT_EQ(client.exec("SELECT 'alive'"), "alive");
  EXPECT_EQ(terminate(judged, JudgedCounter::transaction).result, SqlResult::signalled);
  EXPECT_TRUE(client.ended(10s));
}

TEST_F(KillConnectionTest, EndOfTheTransactionSavesAllButTheSession) {
  auto client = server().login();
  client.exec("BEGIN");
  client.exec("SELECT 1");
  const auto judged = judge(client);
  client.exec("COMMIT");
  for (const auto counter :
       {JudgedCounter::state, JudgedCounter::request, JudgedCounter::transaction}) {
    EXPECT_EQ(terminate(judged, counter).result, SqlResult::changed);
    EXPECT_EQ(look(judged, counter), BackendSight::moved_on);
  }
  EXPECT_EQ(look(judged, JudgedCounter::session), BackendSight::same);
  EXPECT_EQ(client.exec("SELECT 'alive'"), "alive");
}

TEST_F(KillConnectionTest, AnotherBackendWithTheSamePidIsNotTheOneJudged) {
  auto client = server().login();
  auto judged = judge(client);
  judged.backend.backend_start.microseconds -= 1;
  for (const auto counter : all_counters) {
    EXPECT_NE(terminate(judged, counter).result, SqlResult::signalled);
    EXPECT_EQ(look(judged, counter), BackendSight::gone);
  }
  EXPECT_EQ(client.exec("SELECT 'alive'"), "alive");
}

TEST_F(KillConnectionTest, BackgroundProcessIsOutOfReach) {
  const auto rows = server()->sql(
      "SELECT pid, (extract(epoch FROM backend_start) * 1000000)::int8 FROM pg_stat_activity"
      " WHERE backend_type = 'autovacuum launcher'");
  Judged judged;
  judged.backend = {protocol::BackendPid{std::stoi(rows.at(0)[0])}, time(rows[0][1])};
  EXPECT_EQ(terminate(judged, JudgedCounter::session).result, SqlResult::changed);
}

TEST_F(KillConnectionTest, SuperusersSessionIsDenied) {
  LibpqClient client{{{"host", server()->socket_dir()},
                      {"port", std::to_string(server()->port())},
                      {"user", "postgres"},
                      {"dbname", "postgres"}}};
  const auto answer = terminate(judge(client), JudgedCounter::session);
  EXPECT_EQ(answer.result, SqlResult::denied);
  EXPECT_NE(answer.why, "");
  EXPECT_EQ(client.exec("SELECT 'alive'"), "alive");
}

TEST_F(KillConnectionTest, SessionThatHidesItsActivityIsNotJudgedByIt) {
  server()->create_role("hidden", "hidden");
  server()->sql("ALTER ROLE hidden SET track_activities = off");
  auto client = server().login({{"user", "hidden"}, {"password", "hidden"}});
  const auto judged = judge(client);
  ASSERT_EQ(judged.row.state, "disabled");
  for (const auto counter :
       {JudgedCounter::state, JudgedCounter::request, JudgedCounter::transaction}) {
    EXPECT_EQ(terminate(judged, counter).result, SqlResult::unavailable);
    EXPECT_EQ(look(judged, counter), BackendSight::same);
  }
  EXPECT_EQ(client.exec("SELECT 'alive'"), "alive");
  EXPECT_EQ(terminate(judge(client), JudgedCounter::session).result, SqlResult::signalled);
}

TEST_F(KillConnectionTest, WithoutAServerNothingIsVisible) {
  auto section = server().section();
  section.address.port = 1;
  KillConnection nowhere{io.get_executor(), section, "pgleash"};
  Judged judged;
  judged.backend = {protocol::BackendPid{1}, ServerTime{1}};
  EXPECT_EQ(run_task(io, nowhere.look(judged.backend, {}, in(5s))), BackendSight::not_visible);
  JudgedColumns session;
  session.counter = JudgedCounter::session;
  const auto answer = run_task(io, nowhere.terminate(judged.backend, session, in(5s)));
  EXPECT_EQ(answer.result, SqlResult::unavailable);
  EXPECT_NE(answer.why, "");
}

TEST_F(KillConnectionTest, LostConnectionIsOpenedAnewForTheNextQuestion) {
  const auto client = server().login();
  const auto judged = judge(client);
  ASSERT_EQ(look(judged), BackendSight::same);
  const auto first = kill().pid();
  ASSERT_TRUE(first);
  server()->sql("SELECT pg_terminate_backend(" + std::to_string(static_cast<int>(*first)) + ")");
  ASSERT_TRUE(run_until(
      io, [&] { return !kill().pid(); }, 10s));
  EXPECT_EQ(look(judged), BackendSight::same);
  EXPECT_NE(kill().pid(), first);
}

TEST_F(KillConnectionTest, QuestionsAtTheSameTimeQueueOnOneConnection) {
  const auto client = server().login();
  const auto judged = judge(client);
  int same = 0;
  int ended = 0;
  auto ask = [](KillConnection& on, Judged whom, Instant deadline, int& count) -> Task<void> {
    if (co_await on.look(whom.backend, judged_columns(JudgedCounter::state, whom.row), deadline) ==
        BackendSight::same)
      ++count;
  };
  for (int i = 0; i < 50; ++i) {
    boost::asio::co_spawn(io, ask(kill(), judged, in(10s), same),
                          [&](std::exception_ptr) { ++ended; });
  }
  ASSERT_TRUE(run_until(
      io, [&] { return ended == 50; }, 10s));
  EXPECT_EQ(same, 50);
  EXPECT_EQ(
      server()->value("SELECT count(*) FROM pg_stat_activity WHERE usename = 'pgleash_monitor'"),
      "1");
}

TEST_F(KillConnectionTest, StoppedConnectionKeepsNobodyBeyondTheDeadline) {
  const auto client = server().login();
  const auto judged = judge(client);
  ASSERT_EQ(look(judged), BackendSight::same);
  const auto own = static_cast<pid_t>(*kill().pid());
  server()->suspend(own);
  EXPECT_EQ(run_task(io, kill().look(judged.backend,
                                     judged_columns(JudgedCounter::state, judged.row), in(200ms))),
            BackendSight::not_visible);
  server()->resume(own);
  EXPECT_EQ(look(judged), BackendSight::same) << "over a new connection";
}

/// A client that hops between idle and busy as fast as it can. Whatever the guard answers, one
/// thing must hold: when it says that nothing was ended, the client is unharmed.
TEST_F(KillConnectionTest, GuardThatMissedHarmedNobody) {
  auto client = server().login();
  for (int round = 0; round < 100; ++round) {
    const auto judged = judge(client);
    client.send("SELECT 1");
    const auto answer = terminate(judged, JudgedCounter::state);
    if (answer.result ==
        SqlResult::signalled) {  // the look and the signal came before the statement
      EXPECT_TRUE(client.ended(10s));
      client = server().login();
      continue;
    }
    ASSERT_EQ(answer.result, SqlResult::changed);
    while (PGresult* result = PQgetResult(client.raw())) {
      EXPECT_EQ(PQresultStatus(result), PGRES_TUPLES_OK) << PQresultErrorMessage(result);
      PQclear(result);
    }
    ASSERT_EQ(client.exec("SELECT 'alive'"), "alive");
  }
}

TEST(Turnstile, AdmitsOneAtATimeInOrderAndTurnsAwayTheLate) {
  boost::asio::io_context io{1};
  Turnstile turnstile{io.get_executor()};
  auto first = run_task(io, turnstile.enter(std::chrono::steady_clock::now() + 1s));
  ASSERT_TRUE(first);
  std::vector<int> order;
  auto pass = [](Turnstile& through, int number, std::vector<int>& into) -> Task<void> {
    const auto turn = co_await through.enter(std::chrono::steady_clock::now() + 10s);
    if (turn) into.push_back(number);
  };
  for (const int number : {1, 2, 3})
    boost::asio::co_spawn(io, pass(turnstile, number, order), [](std::exception_ptr) {});
  EXPECT_FALSE(run_task(io, turnstile.enter(std::chrono::steady_clock::now() + 10ms)));
  EXPECT_TRUE(order.empty());
  first.reset();
  ASSERT_TRUE(run_until(
      io, [&] { return order.size() == 3; }, 5s));
  EXPECT_EQ(order, (std::vector{1, 2, 3}));
  EXPECT_TRUE(run_task(io, turnstile.enter(std::chrono::steady_clock::now() + 1s)));
}

}  // namespace
}  // namespace pgleash::watchdog
