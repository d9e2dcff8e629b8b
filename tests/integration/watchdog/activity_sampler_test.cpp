#include "watchdog/activity_sampler.hpp"

#include "tests/integration/watchdog/server.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>

namespace pgleash::watchdog {
namespace {

using test::LibpqClient, test::MonitoredServer, test::run_until;
using testing::HasSubstr, testing::Not;

/// A sampler at work, stopped and awaited at the end.
class Running {
 public:
  Running(boost::asio::io_context& io, const config::Server& section)
      : io_(io),
        sampler_(io.get_executor(), section, [this](Duration took) { observed.push_back(took); }) {
    boost::asio::co_spawn(io, sampler_.run(), [this](std::exception_ptr thrown) {
      ended_ = true;
      if (thrown) std::rethrow_exception(thrown);
    });
  }
  ~Running() { stop(); }

  void stop() {
    sampler_.stop();
    EXPECT_TRUE(run_until(
        io_, [this] { return ended_; }, 5s))
        << "run() did not end after stop()";
  }
  bool until(const std::function<bool()>& condition, Duration patience = 15s) {
    return run_until(io_, condition, patience);
  }
  /// Waits until `pid` is seen in this state; null when it never is.
  const ActivityRow* row(pid_t pid, const std::string& state) {
    const ActivityRow* found = nullptr;
    (void)until([&] {
      found = find(pid);
      return found != nullptr && found->state == state;
    });
    return found;
  }
  const ActivityRow* find(pid_t pid) {
    if (sampler_.latest() == nullptr) return nullptr;
    const auto& rows = sampler_.latest()->rows;
    const auto at = std::ranges::find(rows, protocol::BackendPid{pid},
                                      [](const auto& row) { return row->backend.pid; });
    return at == rows.end() ? nullptr : &**at;
  }
  ActivitySampler* operator->() { return &sampler_; }

  std::vector<Duration> observed;

 private:
  boost::asio::io_context& io_;
  ActivitySampler sampler_;
  bool ended_ = false;
};

class ActivitySamplerTest : public WithServer {};

TEST_F(ActivitySamplerTest, IdleSessionIsSeenWithItsIdentityAndNoText) {
  const auto client = server().login();
  Running sampler{io, server().section()};
  const auto* row = sampler.row(client.pid(), "idle");
  ASSERT_NE(row, nullptr);
  EXPECT_EQ(row->user, "app");
  EXPECT_EQ(row->database, "orders");
  EXPECT_EQ(row->application_name, "checkout");
  EXPECT_EQ(row->client_addr, "127.0.0.1");
  EXPECT_GT(row->client_port, 0);
  EXPECT_FALSE(row->superuser);
  EXPECT_EQ(row->transaction_age, std::nullopt);
  EXPECT_GT(row->backend_age, 0s);
  EXPECT_EQ(row->query, "");
  EXPECT_EQ(row->wait_event_type, "Client");
  EXPECT_EQ(row->wait_event, "ClientRead");
}

TEST_F(ActivitySamplerTest, IdleInTransactionHasItsExactTimesAndText) {
  auto client = server().login();
  client.exec("BEGIN");
  client.exec("SELECT 'last words'");
  Running sampler{io, server().section()};
  const auto* row = sampler.row(client.pid(), "idle in transaction");
  ASSERT_NE(row, nullptr);
  EXPECT_EQ(row->query, "SELECT 'last words'");
  const auto exact = server()->sql(
      "SELECT (extract(epoch FROM backend_start) * 1000000)::int8 - 946684800000000,"
      " (extract(epoch FROM xact_start) * 1000000)::int8 - 946684800000000,"
      " (extract(epoch FROM query_start) * 1000000)::int8 - 946684800000000,"
      " (extract(epoch FROM state_change) * 1000000)::int8 - 946684800000000"
      " FROM pg_stat_activity WHERE pid = " +
      std::to_string(client.pid()));
  EXPECT_EQ(std::to_string(row->backend.backend_start.microseconds), exact[0][0]);
  ASSERT_TRUE(row->xact_start);
  EXPECT_EQ(std::to_string(row->xact_start->microseconds), exact[0][1]);
  EXPECT_EQ(std::to_string(row->query_start.microseconds), exact[0][2]);
  EXPECT_EQ(std::to_string(row->state_change.microseconds), exact[0][3]);
  EXPECT_GE(*row->transaction_age, row->state_age);
  EXPECT_GE(row->backend_age, *row->transaction_age);
}

TEST_F(ActivitySamplerTest, AbortedTransactionIsTold) {
  auto client = server().login();
  client.exec("BEGIN");
  EXPECT_THROW(client.exec("SELECT 1/0"), std::runtime_error);
  Running sampler{io, server().section()};
  EXPECT_NE(sampler.row(client.pid(), "idle in transaction (aborted)"), nullptr);
}

TEST_F(ActivitySamplerTest, ActiveSessionHasItsWaitAndItsXids) {
  auto client = server().login();
  client.exec("BEGIN");
  client.exec("CREATE TEMP TABLE written ()");
  client.send("SELECT pg_sleep(30)");
  Running sampler{io, server().section()};
  ASSERT_TRUE(sampler.until([&] {
    const auto* row = sampler.find(client.pid());
    return row != nullptr && row->wait_event == "PgSleep";
  }));
  const auto* row = sampler.find(client.pid());
  EXPECT_EQ(row->state, "active");
  EXPECT_EQ(row->wait_event_type, "Timeout");
  EXPECT_TRUE(row->xid);
  EXPECT_TRUE(row->xmin);
}

TEST_F(ActivitySamplerTest, AgesAreComputedByTheServerAndGrow) {
  const auto client = server().login();
  Running sampler{io, server().section()};
  ASSERT_NE(sampler.row(client.pid(), "idle"), nullptr);
  const auto sample = *sampler->latest();
  const auto row = *sampler.find(client.pid());
  const auto age = std::chrono::microseconds{sample.server_now.microseconds -
                                             row.backend.backend_start.microseconds};
  EXPECT_LE(row.backend_age, age);
  EXPECT_GT(row.backend_age, age - 1s);
  ASSERT_TRUE(
      sampler.until([&] { return sampler.find(client.pid())->backend_age > row.backend_age; }));
}

TEST_F(ActivitySamplerTest, UnixSocketSessionHasPortMinusOne) {
  const auto client = server().login({{"host", server()->socket_dir()}});
  Running sampler{io, server().section()};
  const auto* row = sampler.row(client.pid(), "idle");
  ASSERT_NE(row, nullptr);
  EXPECT_EQ(row->client_addr, "");
  EXPECT_EQ(row->client_port, -1);
}

TEST_F(ActivitySamplerTest, SuperuserIsMarked) {
  const LibpqClient client{{{"host", server()->socket_dir()},
                            {"port", std::to_string(server()->port())},
                            {"user", "postgres"},
                            {"dbname", "postgres"}}};
  Running sampler{io, server().section()};
  const auto* row = sampler.row(client.pid(), "idle");
  ASSERT_NE(row, nullptr);
  EXPECT_TRUE(row->superuser);
  EXPECT_EQ(row->user, "postgres");
}

TEST_F(ActivitySamplerTest, RoleAndDatabaseMadeLaterAreLearntOnAMiss) {
  Running sampler{io, server().section()};
  ASSERT_TRUE(sampler.until([&] { return sampler->state().up; }));
  server()->create_role("latecomer", "late");
  server()->create_database("later", "OWNER latecomer");
  const auto client =
      server().login({{"user", "latecomer"}, {"password", "late"}, {"dbname", "later"}});
  const auto* row = sampler.row(client.pid(), "idle");
  ASSERT_NE(row, nullptr);
  EXPECT_EQ(row->user, "latecomer");
  EXPECT_EQ(row->database, "later");
}

TEST_F(ActivitySamplerTest, LongTextIsCutAtAWholeCharacter) {
  auto client = server().login({{"client_encoding", "UTF8"}});
  std::string text = "SELECT '";
  while (text.size() < 255) text += "a";
  client.exec("BEGIN");
  client.exec(text + "\xC3\xA9\xC3\xA9'");  // the 256th byte is the first half of a character
  Running sampler{io, server().section()};
  const auto* row = sampler.row(client.pid(), "idle in transaction");
  ASSERT_NE(row, nullptr);
  EXPECT_EQ(row->query, text);
}

/// left() and substr() of text would fail on it: "invalid byte sequence".
TEST_F(ActivitySamplerTest, TextInAnotherDatabasesEncodingDoesNotBreakTheSample) {
  server()->create_database(
      "old", "TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' OWNER app");
  auto client = server().login({{"dbname", "old"}, {"client_encoding", "LATIN1"}});
  client.exec("BEGIN");
  client.exec("SELECT 'caf\xE9'");
  Running sampler{io, server().section()};
  const auto* row = sampler.row(client.pid(), "idle in transaction");
  ASSERT_NE(row, nullptr) << sampler->state().problem;
  EXPECT_EQ(row->query, "SELECT 'caf\xE9'");
}

/// As one that was opened while the server made its answer, whose pid nobody knows yet.
TEST_F(ActivitySamplerTest, AConnectionInItsNameWithoutAKnownPidIsSeenAndMarked) {
  auto own = test::run_task(
      io, PgConnection::connect(monitor_endpoint(server().section(), "pgleash"), in(10s)));
  ASSERT_TRUE(own) << own.error().message;
  auto other = test::run_task(
      io, PgConnection::connect(monitor_endpoint(server().section(), "pgleash 00000000"), in(10s)));
  ASSERT_TRUE(other) << other.error().message;
  // Of the same name, through another door than the sampler's own connection.
  auto through_socket =
      server().login({{"host", server()->socket_dir()}, {"application_name", "pgleash"}});
  Running sampler{io, server().section()};
  const auto* seen = sampler.row(static_cast<pid_t>((*own)->pid()), "idle");
  ASSERT_NE(seen, nullptr);
  EXPECT_TRUE(seen->in_our_name);
  seen = sampler.row(static_cast<pid_t>((*other)->pid()), "idle");
  ASSERT_NE(seen, nullptr);
  EXPECT_FALSE(seen->in_our_name);
  seen = sampler.row(through_socket.pid(), "idle");
  ASSERT_NE(seen, nullptr);
  EXPECT_FALSE(seen->in_our_name);
}

TEST_F(ActivitySamplerTest, OwnConnectionsAreNobodysSession) {
  auto kill = test::run_task(
      io, PgConnection::connect(monitor_endpoint(server().section(), "pgleash"), in(10s)));
  ASSERT_TRUE(kill) << kill.error().message;
  Running sampler{io, server().section()};
  ASSERT_TRUE(
      sampler.until([&] { return sampler.find(static_cast<pid_t>((*kill)->pid())) != nullptr; }));
  sampler->also_ours([&] { return std::optional{(*kill)->pid()}; });
  ASSERT_TRUE(
      sampler.until([&] { return sampler.find(static_cast<pid_t>((*kill)->pid())) == nullptr; }));
  for (const ActivityRow& row : sampler->latest()->rows) EXPECT_NE(row.application_name, "pgleash");
}

/// Whoever calls itself pgleash is still seen.
TEST_F(ActivitySamplerTest, NameAloneDoesNotHideASession) {
  const auto client = server().login({{"application_name", "pgleash"}});
  Running sampler{io, server().section()};
  EXPECT_NE(sampler.row(client.pid(), "idle"), nullptr);
}

TEST_F(ActivitySamplerTest, SampleKnowsTheServersSlotsAndBackgroundProcesses) {
  Running sampler{io, server().section()};
  ASSERT_TRUE(sampler.until([&] { return sampler->latest() != nullptr; }));
  EXPECT_EQ(sampler->latest()->max_connections, 50U);
  EXPECT_GE(sampler->latest()->reserved_connections, 3U);
  EXPECT_GE(sampler->latest()->background_processes, 4U);  // checkpointer, two writers, launchers
  EXPECT_GE(sampler->latest()->server_version, 120000);
  EXPECT_EQ(sampler->state().advice, "");
  EXPECT_EQ(sampler->state().problem, "");
  EXPECT_TRUE(sampler->state().last_success);
  EXPECT_EQ(sampler.observed.size(), sampler->state().samples);
}

TEST_F(ActivitySamplerTest, SampleTellsWhichServerItIsAndWhichLifeOfIt) {
  ServerIdentity before;
  {
    Running sampler{io, server().section()};
    ASSERT_TRUE(sampler.until([&] { return sampler->latest() != nullptr; }));
    before = sampler->latest()->identity;
    const auto known = [&](const char* sql) { return server()->value(sql); };
    EXPECT_EQ(std::to_string(before.system_identifier),
              known("SELECT system_identifier FROM pg_control_system()"));
    EXPECT_EQ(std::to_string(before.timeline),
              known("SELECT timeline_id FROM pg_control_checkpoint()"));
    EXPECT_NE(before.started, ServerTime{});
    EXPECT_FALSE(before.in_recovery);
  }
  server()->restart();
  Running sampler{io, server().section()};
  ASSERT_TRUE(sampler.until([&] { return sampler->latest() != nullptr; }));
  const auto after = sampler->latest()->identity;
  EXPECT_EQ(after.system_identifier, before.system_identifier);
  EXPECT_GT(after.started, before.started);
}

TEST_F(ActivitySamplerTest, SampleComesWithoutControlDataWhereTheyMayNotBeRead) {
  const auto take_away = [&](const char* verb, const char* preposition) {
    for (const auto* function : {"pg_control_system()", "pg_control_checkpoint()"})
      server()->sql(fmt::format("{} EXECUTE ON FUNCTION {} {} PUBLIC", verb, function, preposition),
                    "pgleash");
  };
  take_away("REVOKE", "FROM");
  {
    Running sampler{io, server().section()};
    EXPECT_TRUE(sampler.until([&] { return sampler->latest() != nullptr; }));
    if (sampler->latest() != nullptr) {
      EXPECT_EQ(sampler->latest()->identity.system_identifier, 0U);
      EXPECT_NE(sampler->latest()->identity.started, ServerTime{});
    }
  }
  take_away("GRANT", "TO");
}

TEST_F(ActivitySamplerTest, LostConnectionIsSeenAtOnceAndMadeAnew) {
  auto section = server().section();
  section.monitor.poll_interval = 60s;  // the loss must be noticed without a sample
  Running sampler{io, section};
  ASSERT_TRUE(sampler.until([&] { return sampler->state().up; }));
  server()->sql(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'pgleash_monitor'");
  ASSERT_TRUE(sampler.until([&] { return !sampler->state().up; }));
  EXPECT_THAT(sampler->state().problem, HasSubstr("57P01"));
  EXPECT_NE(sampler->latest(), nullptr) << "the last sample stays, and ages";
  EXPECT_TRUE(sampler.until([&] { return sampler->state().up; }));
}

TEST_F(ActivitySamplerTest, SurvivesARestartOfTheServer) {
  MonitoredServer own;
  Running sampler{io, own.section()};
  ASSERT_TRUE(sampler.until([&] { return sampler->state().up; }));
  own->stop(true);
  ASSERT_TRUE(sampler.until([&] {
    return !sampler->state().up && sampler->state().problem.find("cannot connect") == 0;
  }));
  own->start();
  const auto before = sampler->state().samples;
  ASSERT_TRUE(sampler.until([&] { return sampler->state().samples > before; }, 30s))
      << sampler->state().problem;
  const auto client = own.login();
  EXPECT_NE(sampler.row(client.pid(), "idle"), nullptr);
}

TEST_F(ActivitySamplerTest, StopEndsItWhileItBacksOff) {
  auto section = server().section();
  section.address.port = 1;
  Running sampler{io, section};
  ASSERT_TRUE(sampler.until([&] { return sampler->state().problem.find("cannot connect") == 0; }));
  sampler.stop();
}

TEST_F(ActivitySamplerTest, RoleThatMayNotSeeOthersIsAProblemThatNamesTheGrant) {
  server()->create_role("blind \"one\"", "blind");
  auto section = server().section();
  section.monitor.user = "blind \"one\"";
  section.monitor.database = "orders";
  section.monitor.password_file = server().write_secret("blind.pw", "blind");
  Running sampler{io, section};
  ASSERT_TRUE(
      sampler.until([&] { return sampler->state().problem.find("GRANT") != std::string::npos; }));
  EXPECT_THAT(sampler->state().problem, HasSubstr(R"(GRANT pg_monitor TO "blind ""one""")"));
  EXPECT_FALSE(sampler->state().up);
  EXPECT_EQ(sampler->latest(), nullptr);
  server()->sql(R"(GRANT pg_monitor TO "blind ""one""")");
  ASSERT_TRUE(sampler.until([&] { return sampler->state().up; }))
      << "the grant is noticed without a restart";
  EXPECT_THAT(sampler->state().advice, HasSubstr(R"(pg_signal_backend)"));
  EXPECT_THAT(sampler->state().advice, HasSubstr(R"( TO "blind ""one""")"));
}

TEST_F(ActivitySamplerTest, RightsTakenAwayAreNoticedAtTheNextSample) {
  MonitoredServer own;
  auto section = own.section();
  const auto client = own.login();
  Running sampler{io, section};
  ASSERT_NE(sampler.row(client.pid(), "idle"), nullptr);
  own->sql("REVOKE pg_monitor FROM pgleash_monitor");
  ASSERT_TRUE(sampler.until([&] { return !sampler->state().up; }));
  EXPECT_THAT(sampler->state().problem, HasSubstr("GRANT pg_monitor TO pgleash_monitor"));
}

TEST_F(ActivitySamplerTest, SuperuserAsMonitorIsRefused) {
  server()->create_role("root", "root", "SUPERUSER");
  auto section = server().section();
  section.monitor.user = "root";
  section.monitor.password_file = server().write_secret("root.pw", "root");
  Running sampler{io, section};
  ASSERT_TRUE(sampler.until(
      [&] { return sampler->state().problem.find("superuser") != std::string::npos; }));
  EXPECT_THAT(sampler->state().problem, HasSubstr("ALTER ROLE root NOSUPERUSER"));
  EXPECT_EQ(sampler->latest(), nullptr);
}

TEST_F(ActivitySamplerTest, WrongPasswordIsAProblemWithItsSqlstate) {
  auto section = server().section();
  section.monitor.password_file = server().write_secret("wrong.pw", "guess");
  Running sampler{io, section};
  ASSERT_TRUE(
      sampler.until([&] { return sampler->state().problem.find("28P01") != std::string::npos; }));
  EXPECT_THAT(sampler->state().problem, Not(HasSubstr("guess")));
}

TEST(SamplingPace, DearSamplesHalveTheRateUpToABoundAndCheapOnesBringItBack) {
  SamplingPace pace{2s};
  EXPECT_EQ(pace.interval(), 2s);
  pace.took(100ms);
  EXPECT_EQ(pace.interval(), 2s);
  pace.took(101ms);
  EXPECT_EQ(pace.interval(), 4s);
  for (int i = 0; i < 10; ++i) pace.took(1s);
  EXPECT_EQ(pace.interval(), 16s);
  pace.took(80ms);  // neither dear nor cheap
  EXPECT_EQ(pace.interval(), 16s);
  for (int i = 0; i < 10; ++i) pace.took(10ms);
  EXPECT_EQ(pace.interval(), 2s);
}

TEST(BackOff, DoublesFromHalfASecondToThirtyWithUpToAQuarterOff) {
  BackOff exact;
  EXPECT_EQ(exact.next(0), 500ms);
  EXPECT_EQ(exact.next(0), 1s);
  for (int i = 0; i < 10; ++i) (void)exact.next(0);
  EXPECT_EQ(exact.next(0), 30s);
  exact.reset();
  const auto jittered = exact.next(0.999);
  EXPECT_LT(jittered, 380ms);
  EXPECT_GT(jittered, 370ms);
}

}  // namespace
}  // namespace pgleash::watchdog
