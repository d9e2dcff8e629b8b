#include "tests/integration/watchdog/server.hpp"
#include "tests/support/pid_namespace.hpp"
#include "watchdog/kill_connection.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <csignal>
#include <memory>

/// A backend ends and another client's gets its pid, while its own end is still being asked for:
/// (pid, backend_start) is another backend then, and nothing is done to it.
namespace pgleash::watchdog {
namespace {

using proxy::JudgedCounter;
using test::LibpqClient, test::PidNamespace, test::run_task, test::run_until;
using SqlResult = TerminationPlan::SqlResult;

class PidReuse : public testing::TestWithParam<JudgedCounter> {
 protected:
  void SetUp() override {
    if (!test::Postgres::available()) GTEST_SKIP() << "NO POSTGRESQL HERE: set PGLEASH_TEST_PG_BIN";
    if (!test::Postgres::can_have_pids_of_its_own())
      GTEST_SKIP() << "NO PID NAMESPACES HERE: run as root";
    server_ = std::make_unique<test::MonitoredServer>(
        test::PostgresOptions{.settings = {"autovacuum = off"}, .pids_of_its_own = true});
    pids_ = std::make_unique<PidNamespace>(**server_);
    if (const auto why = pids_->why_not(); !why.empty())
      GTEST_SKIP() << "THE NEXT PID CANNOT BE CHOSEN HERE: " << why;
    kill_ = std::make_unique<KillConnection>(io.get_executor(), server_->section(), "pgleash");
  }
  void TearDown() override {
    if (stopped_ != 0) ::kill(stopped_, SIGCONT);
  }

  /// As a sample shows it.
  ActivityRow row_of(const LibpqClient& client) {
    const auto microseconds = [](const std::string& column) {
      return fmt::format("(extract(epoch FROM {}) * 1000000)::int8 - 946684800000000", column);
    };
    const auto rows = (*server_)->sql(
        fmt::format("SELECT state, {}, {}, {}, {} FROM pg_stat_activity WHERE pid = {}",
                    microseconds("backend_start"), microseconds("state_change"),
                    microseconds("xact_start"), microseconds("query_start"), client.pid()));
    const auto& found = rows.at(0);
    ActivityRow row;
    row.backend = {protocol::BackendPid{client.pid()}, ServerTime{std::stoll(found[1])}};
    row.state = found[0];
    row.state_change = ServerTime{std::stoll(found[2])};
    row.xact_start = ServerTime{std::stoll(found[3])};
    row.query_start = ServerTime{std::stoll(found[4])};
    return row;
  }
  /// Another client, whose backend has the pid that was just left.
  LibpqClient successor(pid_t pid) {
    EXPECT_TRUE(test::wait_until([&] { return !pids_->exists(pid); }, 10s));
    pids_->next(pid);
    auto innocent = server_->login({{"application_name", "innocent"}});
    EXPECT_EQ(innocent.pid(), pid);
    return innocent;
  }
  static Instant in(Duration time) { return std::chrono::steady_clock::now() + time; }
  KillConnection& kill() { return *kill_; }
  /// Whatever is asked of the server now waits in the server.
  void stop_the_kill_connection() {
    stopped_ = pids_->outside(static_cast<pid_t>(*kill().pid()));
    ::kill(stopped_, SIGSTOP);
  }
  void wake_the_kill_connection() { ::kill(std::exchange(stopped_, 0), SIGCONT); }

  boost::asio::io_context io{1};
  std::unique_ptr<test::MonitoredServer> server_;

 private:
  std::unique_ptr<PidNamespace> pids_;
  std::unique_ptr<KillConnection> kill_;
  pid_t stopped_ = 0;
};

TEST_P(PidReuse, APendingTerminationDoesNotTouchTheNextOwnerOfThePid) {
  auto victim = std::make_unique<LibpqClient>(server_->login());
  victim->exec("BEGIN");
  const pid_t pid = victim->pid();
  const ActivityRow judged = row_of(*victim);
  const JudgedColumns columns = judged_columns(GetParam(), judged);
  ASSERT_EQ(run_task(io, kill().look(judged.backend, columns, in(10s))), BackendSight::same);

  std::optional<KillConnection::Answer> answer;
  stop_the_kill_connection();
  boost::asio::co_spawn(io, kill().terminate(judged.backend, columns, in(60s)),
                        [&](const std::exception_ptr& failure, KillConnection::Answer given) {
                          if (!failure) answer = std::move(given);
                        });
  io.restart();
  while (io.poll() > 0) {  // it is with the server
  }
  ASSERT_FALSE(answer);
  victim.reset();
  auto innocent = successor(pid);
  innocent.exec("BEGIN");
  wake_the_kill_connection();
  ASSERT_TRUE(run_until(
      io, [&] { return answer.has_value(); }, 20s));
  EXPECT_EQ(answer->result, SqlResult::changed) << answer->why;
  EXPECT_EQ(run_task(io, kill().look(judged.backend, columns, in(10s))), BackendSight::gone);
  EXPECT_EQ(innocent.exec("SELECT 'untouched'"), "untouched");
  EXPECT_EQ((*server_)->log().find("terminating connection"), std::string::npos);
}

TEST_P(PidReuse, APendingLookTakesTheNextOwnerForTheEndOfTheFirst) {
  auto victim = std::make_unique<LibpqClient>(server_->login());
  victim->exec("BEGIN");
  const pid_t pid = victim->pid();
  const ActivityRow judged = row_of(*victim);
  const JudgedColumns columns = judged_columns(GetParam(), judged);
  ASSERT_EQ(run_task(io, kill().look(judged.backend, columns, in(10s))), BackendSight::same);
  std::optional<BackendSight> sight;
  stop_the_kill_connection();
  boost::asio::co_spawn(io, kill().look(judged.backend, columns, in(60s)),
                        [&](const std::exception_ptr& failure, BackendSight seen) {
                          if (!failure) sight = seen;
                        });
  io.restart();
  while (io.poll() > 0) {
  }
  ASSERT_FALSE(sight);
  victim.reset();
  auto innocent = successor(pid);
  innocent.exec("BEGIN");
  wake_the_kill_connection();
  ASSERT_TRUE(run_until(
      io, [&] { return sight.has_value(); }, 20s));
  EXPECT_EQ(*sight, BackendSight::gone);
  EXPECT_EQ(innocent.exec("SELECT 'untouched'"), "untouched");
}

INSTANTIATE_TEST_SUITE_P(OfA, PidReuse,
                         testing::Values(JudgedCounter::state, JudgedCounter::request,
                                         JudgedCounter::transaction, JudgedCounter::session),
                         [](const auto& one) {
                           switch (one.param) {
                             case JudgedCounter::state:
                               return "State";
                             case JudgedCounter::request:
                               return "Request";
                             case JudgedCounter::transaction:
                               return "Transaction";
                             case JudgedCounter::session:
                               break;
                           }
                           return "Session";
                         });

}  // namespace
}  // namespace pgleash::watchdog
