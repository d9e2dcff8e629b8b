#include "tests/scenario/story/story.hpp"

#include <sys/socket.h>

/// Each kind of rule: who wakes up below the limit is left alone, who does not is ended just
/// above it.
namespace pgleash::test {
namespace {

constexpr auto limit = 900ms;
constexpr auto below = limit / 2;
/// The machine may be slow, and a disk that takes no audit line in time costs 10 s until the next
/// try; that it is not early is what `below` shows.
constexpr auto soon = 25s;

class Limits : public Story {
 protected:
  /// Wakes up three times below the limit, so that together it is above, then no more.
  template <class Wake>
  std::optional<ServerError> wake_then_rest(Application& application, Wake wake) {
    for (int i = 0; i < 3; ++i) {
      EXPECT_FALSE(application.ended(below)) << "ended below its limit";
      wake();
    }
    return application.ended(soon);
  }
  void expect_told(const std::optional<ServerError>& error, const std::string& sqlstate,
                   const std::string& what) {
    ASSERT_TRUE(error) << "not ended above its limit";
    EXPECT_EQ(error->severity, "FATAL");
    EXPECT_EQ(error->sqlstate, sqlstate);
    EXPECT_THAT(error->message, AllOf(HasSubstr("terminating connection: " + what + " for "),
                                      HasSubstr("(pgleash rule 'story', limit 0.9 s)")));
    const auto line = outcome_line(error->incident());
    EXPECT_EQ(text(line, "outcome"), "confirmed");
    EXPECT_GE(number(line, "measured_ms"), 900);  // rounded down
  }
  void start(const std::string& kind, const std::string& action = "terminate",
             const std::string& more = {}) {
    pgleash({.rules = rule("story", kind, "900ms", action, more)});
  }
};

TEST_F(Limits, OfIdle) {
  start("idle");
  auto application = login();
  const auto error = wake_then_rest(application, [&] { application.exec("SELECT 1"); });
  expect_told(error, "57P05", "idle");
  EXPECT_FALSE(backend_lives(application.pid()));
}

TEST_F(Limits, OfIdleInTransaction) {
  start("idle_in_transaction");
  auto application = login();
  application.exec("BEGIN");
  const auto error = wake_then_rest(application, [&] { application.exec("SELECT 1"); });
  expect_told(error, "25P03", "idle in transaction");
}

TEST_F(Limits, OfIdleInTransactionLeaveIdleSessionsAlone) {
  start("idle_in_transaction");
  auto application = login();
  application.exec("BEGIN");
  application.exec("COMMIT");
  EXPECT_FALSE(application.ended(limit * 2));
  EXPECT_EQ(application.exec("SELECT 'still here'"), "still here");
}

TEST_F(Limits, OfAborted) {
  start("aborted");
  auto application = login();
  application.exec("BEGIN");
  const auto fail = [&] { EXPECT_EQ(application.error_of("SELECT 1/0")->severity, "ERROR"); };
  fail();
  const auto error = wake_then_rest(application, fail);
  expect_told(error, "25P03", "idle in an aborted transaction");
}

TEST_F(Limits, OfAPipelineThatIsNotSynced) {
  start("held");
  auto application = login();
  ASSERT_EQ(PQenterPipelineMode(application.raw()), 1);
  const auto step = [&] {
    ASSERT_EQ(
        PQsendQueryParams(application.raw(), "SELECT 1", 0, nullptr, nullptr, nullptr, nullptr, 0),
        1);
    ASSERT_EQ(PQsendFlushRequest(application.raw()), 1);
    application.flush();
    EXPECT_EQ(PQresultStatus(Result{PQgetResult(application.raw())}.get()), PGRES_TUPLES_OK);
    EXPECT_EQ(PQgetResult(application.raw()), nullptr);
  };
  step();
  const auto error = wake_then_rest(application, step);
  expect_told(error, "25P03", "pipeline without Sync");  // its transaction is an implicit one
  EXPECT_FALSE(backend_lives(application.pid()));
}

TEST_F(Limits, OfACopyThatWaitsForItsClient) {
  start("held");
  auto application = login();
  application.exec("CREATE TEMP TABLE parts (t text)");
  EXPECT_EQ(PQresultStatus(Result{PQexec(application.raw(), "COPY parts FROM STDIN")}.get()),
            PGRES_COPY_IN);
  const auto error = wake_then_rest(application, [&] {
    ASSERT_EQ(PQputCopyData(application.raw(), "part\n", 5), 1);
    application.flush();
  });
  ASSERT_TRUE(error);
  EXPECT_TRUE(wait_until([&] { return !backend_lives(application.pid()); }, soon));
  ASSERT_TRUE(wait_until([&] { return pgleash().outcomes("confirmed").size() == 1; }, soon));
  const auto done = pgleash().outcomes("confirmed");
  EXPECT_EQ(text(done[0], "step"), "end_copy_in");
}

TEST_F(Limits, OfAClientThatDoesNotReadItsResult) {
  start("stalled");
  auto application = login();
  application.send("SELECT repeat('x', 1000) FROM generate_series(1, 400000)");
  const auto read_a_lot = [&] {  // enough for the windows of TCP to open again
    std::string part(1 << 16, '\0');
    for (std::size_t got = 0; got < (24U << 20U);) {
      const auto n = ::recv(application.socket(), part.data(), part.size(), 0);
      if (n > 0) got += static_cast<std::size_t>(n);
      ASSERT_TRUE(n > 0 || errno == EAGAIN) << "ended below its limit";
    }
  };
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(wait_until([&] { return !backend_lives(application.pid()); }, below));
    read_a_lot();
  }
  EXPECT_TRUE(wait_until([&] { return !backend_lives(application.pid()); }, soon));
  EXPECT_TRUE(wait_until([&] { return acted("story", "confirmed") == 1; }, soon));
}

TEST_F(Limits, OfAStatementThatIsCancelled) {
  start("statement", "cancel");
  auto application = login();
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(application.error_of("SELECT pg_sleep(0.42)"));
  const auto error = application.error_of("SELECT pg_sleep(600)");
  ASSERT_TRUE(error);
  EXPECT_EQ(error->severity, "ERROR");
  EXPECT_EQ(error->sqlstate, "57014");
  EXPECT_EQ(application.exec("SELECT 'the session lives on'"), "the session lives on");
  EXPECT_TRUE(wait_until([&] { return acted("story", "confirmed") == 1; }, soon));
}

TEST_F(Limits, OfAStatementThatIsTerminated) {
  start("statement", "terminate");
  auto application = login();
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(application.error_of("SELECT pg_sleep(0.42)"));
  application.send("SELECT pg_sleep(600)");
  expect_told(application.ended(soon), "57P05", "running");
  EXPECT_FALSE(backend_lives(application.pid()));
}

TEST_F(Limits, OfAStatementThatDoesNotHeedItsCancel) {
  start("statement", "escalate", "grace = \"400ms\"");
  auto application = login();
  application.send(
      "DO $$BEGIN LOOP BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN NULL; END; "
      "END LOOP; END$$");
  expect_told(application.ended(soon), "57P05", "running");
  EXPECT_FALSE(backend_lives(application.pid()));
}

TEST_F(Limits, OfAnEscalatingStatementThatHeedsItsCancel) {
  start("statement", "escalate");
  auto application = login();
  EXPECT_EQ(application.error_of("SELECT pg_sleep(600)")->sqlstate, "57014");
  EXPECT_EQ(application.exec("SELECT 'the session lives on'"), "the session lives on");
}

TEST_F(Limits, OfATransactionWhateverItDoes) {
  start("transaction_age");
  auto application = login();
  for (int i = 0; i < 3; ++i) {
    application.exec("BEGIN");
    EXPECT_FALSE(application.ended(below)) << "ended below its limit";
    application.exec("COMMIT");
  }
  application.exec("BEGIN");
  std::optional<ServerError> error;
  EXPECT_TRUE(wait_until(
      [&] {
        error = application.error_of("SELECT 1");
        return error.has_value();
      },
      soon))
      << "busy transactions age too";
  expect_told(error, "25P04", "transaction open");
}

TEST_F(Limits, OfASessionWaitUntilItIsIdle) {
  start("session_age");
  auto application = login();
  EXPECT_FALSE(application.ended(below)) << "ended below its limit";
  application.exec("BEGIN");
  EXPECT_FALSE(application.ended(limit)) << "ended in a transaction";
  EXPECT_FALSE(application.error_of("COMMIT"));
  expect_told(application.ended(soon), "57P05", "connected");
}

}  // namespace
}  // namespace pgleash::test
