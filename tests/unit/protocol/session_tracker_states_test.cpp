#include "tests/unit/protocol/trace.hpp"
#include "tests/unit/protocol/wire.hpp"

#include <gtest/gtest.h>

/// What state a session is in, what is counted, and what is reported.
namespace pgleash::protocol {
namespace {

using namespace std::chrono_literals;
using namespace std::string_literals;
using trace::Player;

TEST(SessionTracker, IsSmallEnoughToBeManyTimesInMemory) {
  EXPECT_LE(sizeof(SessionTracker), 336U);
}

TEST(SessionTracker, PipelineStatesFollowFlushAndSync) {
  Player session;
  session.play(
      "> P(select 1) = open > B E = open < 1 = open > H = busy < 2 = busy < D C = flushed"
      "> D = open > H = busy < T = flushed > E H = busy < D s = flushed > S = busy < Z = idle");
}

TEST(SessionTracker, MessagesBehindTheFlushMayWaitForTheClient) {
  Player session;
  session.play(
      "> P(select 1) B E H P(select 2) B E = busy < 1 2 D C = open > S = busy < 1 2 D C Z = idle");
}

TEST(SessionTracker, FlushWithNothingOutstandingChangesNothing) {
  Player session;
  session.play("> H = idle > Q(select 1) H = busy < T D C Z = idle");
}

TEST(SessionTracker, FailedPipelineWaitsForSyncWhateverElseComes) {
  Player session;
  session.play(
      "> P(nonsense) = open > H = busy < E = failed > P(select 1) B E H = failed > Q(select 1) = "
      "failed > F = failed"
      "> c d f = failed > S = busy < Z = idle");
  EXPECT_EQ(session.facts().anomalies, 0U);
}

TEST(SessionTracker, FunctionCallIsFastpath) {
  Player session;
  session.play("> F = fastpath < V = fastpath < Z = idle > F = fastpath < E = fastpath < Z = idle");
  EXPECT_EQ(session.facts().anomalies, 0U);
}

TEST(SessionTracker, DescribeOfAStatementAndClose) {
  Player session;
  session.play(
      "> P(s: select 1) D S < 1 t T = busy < Z = idle > D S < t n Z = idle > C(s) S < 3 Z = idle");
  EXPECT_EQ(session.facts().anomalies, 0U);
}

TEST(SessionTracker, TransactionStatusDecidesWhatIdleMeans) {
  Player session;
  session.play(
      "> Q(begin) < C(BEGIN) Z(T) = in_transaction > Q(x) < E Z(E) = aborted > Q(end) < "
      "C(ROLLBACK) Z = idle");
}

TEST(SessionTracker, ReplicationStreamIsNeverIdle) {
  Player session;
  session.play(
      "> Q(START_REPLICATION 0/0) = busy < W = copy_both < d d = copy_both > d = copy_both > c = "
      "copy_both"
      "< c = copy_both < C(COPY 0) = busy < Z = idle");
  EXPECT_EQ(session.facts().anomalies, 0U);
}

TEST(SessionTracker, AHalfMessageLeavesTheStateAndShows) {
  Player session;
  const std::string query = wire::query("select 1");
  for (std::size_t cut = 1; cut < 5; ++cut) {
    Player other;
    other.frontend(query.substr(0, cut));
    EXPECT_EQ(other.state(), "idle");
    EXPECT_TRUE(other.facts().half_message);
    EXPECT_FALSE(other.tracker.at_boundary(Direction::to_backend));
  }
  session.frontend(query.substr(0, query.size() - 1));
  EXPECT_EQ(session.state(), "idle") << "the server waits for the rest";
  EXPECT_EQ(session.facts().outstanding, 0U);
  EXPECT_FALSE(session.facts().commit_outstanding) << "what is not there cannot be under way";
  EXPECT_TRUE(session.facts().half_message);
  session.now += std::chrono::seconds{9};
  session.frontend(query.substr(query.size() - 1));
  EXPECT_FALSE(session.facts().half_message);
  EXPECT_EQ(session.state(), "busy");
  EXPECT_EQ(session.facts().request_since, session.now) << "the server begins now";
}

TEST(SessionTracker, AHalfMessageLeavesAPipelineAndAFailedOneAsTheyAre) {
  for (const auto& [script, state] :
       {std::pair{"> Q(begin) < C(BEGIN) Z(T)", "in_transaction"},
        std::pair{"> Q(begin) < C(BEGIN) Z(T) > Q(x) < E Z(E)", "aborted"},
        std::pair{"> P(select 1) B E H < 1 2 D C", "flushed"},
        std::pair{"> P(select 1/0) B E H < 1 E", "failed"},
        std::pair{"> Q(copy t from stdin) < G", "copy_in"}}) {
    Player session;
    session.play(script);
    session.frontend(wire::query("select 1").substr(0, 9));
    EXPECT_EQ(session.state(), state);
    EXPECT_TRUE(session.facts().half_message);
  }
}

TEST(SessionTracker, WhatWasAskedForBeforeTerminateIsStillDone) {
  Player session;
  session.play("> Q(insert into t select 1) > X = busy < C(INSERT 0 1) = busy < Z = closing");
  Player pipeline;
  pipeline.play("> P(select 1) B E S X = busy < 1 2 D C Z = closing");
  Player idle;
  idle.play("> X = closing > Q(select 1) = closing");
  EXPECT_EQ(idle.facts().outstanding, 0U) << "nothing behind Terminate is read";
}

TEST(SessionTracker, BoundaryTowardsTheFrontendIsBetweenServerMessages) {
  Player session;
  session.play("> Q(select 1)");
  const std::string row = wire::message('D', "0123456789");
  session.backend(wire::message('T') + row.substr(0, 7));
  EXPECT_FALSE(session.tracker.at_boundary(Direction::to_frontend));
  EXPECT_TRUE(session.tracker.at_boundary(Direction::to_backend));
  session.backend(row.substr(7));
  EXPECT_TRUE(session.tracker.at_boundary(Direction::to_frontend));
}

TEST(SessionTracker, TerminateAndFatalMeanClosingButTheRestIsStillFollowed) {
  Player session;
  EXPECT_TRUE(session.frontend(wire::query("select pg_sleep(9)") + wire::message('X')).terminate);
  EXPECT_EQ(session.state(), "busy");
  EXPECT_EQ(session.facts().outstanding, 1U);
  session.play("< T D C Z = closing");
  EXPECT_EQ(session.facts().outstanding, 0U);
  EXPECT_EQ(session.facts().anomalies, 0U);

  Player killed;
  const Changes changes = killed.backend(wire::error("57P01", "FATAL"));
  EXPECT_TRUE(changes.fatal);
  EXPECT_TRUE(changes.state);
  EXPECT_EQ(killed.state(), "closing");
}

TEST(SessionTracker, UnframeableBytesTurnItClosingAndAreReportedOnceAndForAll) {
  Player session;
  const Changes changes = session.frontend("Q"s + wire::int32(3));
  EXPECT_TRUE(changes.unframeable);
  EXPECT_EQ(session.state(), "closing");
  EXPECT_FALSE(session.tracker.at_boundary(Direction::to_backend));
  EXPECT_TRUE(session.frontend(wire::query("select 1")).unframeable);

  Player other;
  EXPECT_TRUE(other.backend("HTTP/1.1 "s + "\xff\xff\xff\xff"s).unframeable == false)
      << "a length, though odd";
  Player third;
  EXPECT_TRUE(third.backend("Z"s + wire::int32(0)).unframeable);
  EXPECT_EQ(third.state(), "closing");
  EXPECT_FALSE(third.tracker.at_boundary(Direction::to_frontend));
}

TEST(SessionTracker, StateNamesAreThoseOfPgStatActivity) {
  EXPECT_EQ(name(SessionState::idle), "idle");
  EXPECT_EQ(name(SessionState::idle_in_transaction), "idle in transaction");
  EXPECT_EQ(name(SessionState::aborted), "idle in transaction (aborted)");
  EXPECT_EQ(name(SessionState::busy), "active");
  EXPECT_EQ(name(SessionState::fastpath), "fastpath function call");
}

// --- login ---

class Login : public ::testing::Test {
 protected:
  Changes backend(std::string_view bytes) {
    return tracker.on_backend(wire::bytes(bytes), now, report);
  }
  Changes frontend(std::string_view bytes) {
    return tracker.on_frontend(wire::bytes(bytes), now, report);
  }
  [[nodiscard]] const SessionFacts& facts() const { return tracker.facts(); }

  StatementTexts texts;
  Instant now{};
  SessionTracker tracker{texts, now};
  trace::Report report;
};

TEST_F(Login, IsUpWithTheFirstReadyForQuery) {
  EXPECT_EQ(facts().state, SessionState::starting);
  frontend(wire::message('p', "secret"));
  backend(wire::authentication(0) + wire::message('K', "pid_key_"));
  EXPECT_EQ(facts().state, SessionState::starting);
  EXPECT_TRUE(backend(wire::ready()).session_up);
  EXPECT_EQ(facts().state, SessionState::idle);
  EXPECT_FALSE(backend(wire::ready()).session_up);
}

TEST_F(Login, ReportsKeyParametersAndVersion) {
  backend(wire::message('v', wire::int32(0x30000) + wire::int32(0)) + wire::login("on"));
  EXPECT_EQ(report.events, "minor 0\nis_superuser=on\nkey 4711/4\n");
  EXPECT_TRUE(facts().superuser_at_login);
  backend(wire::parameter("is_superuser", "off"));
  EXPECT_TRUE(facts().superuser_at_login) << "SET SESSION AUTHORIZATION comes later";
}

TEST_F(Login, OfAServerThatAsksForNothingIsUnchallenged) {
  const Changes changes = backend(wire::authentication(0));
  EXPECT_TRUE(changes.unchallenged_login);
  EXPECT_FALSE(facts().challenged);
}

TEST_F(Login, IsChallengedByAnyRequestThatWantsProof) {
  for (const std::uint32_t request : {2U, 3U, 5U, 6U, 7U, 8U, 9U, 10U, 99U}) {
    SessionTracker other{texts, now};
    const std::string both = wire::authentication(request) + wire::authentication(0);
    EXPECT_FALSE(other.on_backend(wire::bytes(both), now, report).unchallenged_login) << request;
    EXPECT_TRUE(other.facts().challenged) << request;
  }
}

TEST_F(Login, IsNotChallengedByTheRestOfASaslExchangeAlone) {
  EXPECT_TRUE(backend(wire::authentication(11) + wire::authentication(12) + wire::authentication(0))
                  .unchallenged_login);
}

TEST_F(Login, MessagesPipelinedBeforeItAreAnsweredAfterIt) {
  frontend(wire::query("select 1"));
  EXPECT_EQ(facts().state, SessionState::starting);
  now += 5s;
  backend(wire::login());
  EXPECT_EQ(facts().state, SessionState::busy);
  EXPECT_EQ(facts().request_since, now) << "the server turns to it only now";
  backend(wire::message('T') + wire::complete("SELECT 1") + wire::ready());
  EXPECT_EQ(facts().state, SessionState::idle);
  EXPECT_EQ(facts().anomalies, 0U);
}

TEST_F(Login, MayFailAfterAuthentication) {
  backend(wire::authentication(5) + wire::authentication(0));
  EXPECT_TRUE(backend(wire::error("3D000", "FATAL")).fatal);
  EXPECT_EQ(report.events, "FATAL 3D000\n");
  EXPECT_EQ(facts().state, SessionState::closing);
}

TEST_F(Login, AnErrorWithoutFieldsDoesNotCrash) {
  backend(wire::message('E') + wire::message('E', "\0"s) + wire::message('E', "S"));
  EXPECT_EQ(facts().state, SessionState::starting);
}

TEST_F(Login, IsTheSameByteByByte) {
  const std::string all =
      wire::message('v', wire::int32(0x30002)) + wire::message('N', "SNOTICE\0\0"s) +
      wire::message('K', wire::int32(9) + std::string(256, 'k')) +
      wire::message('K', wire::int32(9) + std::string(257, 'k')) + wire::login("on");
  for (const char& byte : all) backend({&byte, 1});
  SessionTracker whole{texts, now};
  trace::Report whole_report;
  whole.on_backend(wire::bytes(all), now, whole_report);
  EXPECT_EQ(facts(), whole.facts());
  EXPECT_EQ(report.events, whole_report.events);
  EXPECT_EQ(report.events, "minor 2\nkey 9/256\nis_superuser=on\nkey 4711/4\n");
}

// --- answers nobody expected ---

TEST(SessionTracker, AnUnexpectedReadyIsAnAnomalyAndDegrades) {
  Player session;
  session.play("< Z = idle");
  EXPECT_EQ(session.facts().anomalies, 1U);
  EXPECT_TRUE(session.facts().degraded);
}

TEST(SessionTracker, OneCleanRequestEndsTheDoubt) {
  Player session;
  session.play("< Z > Q(select 1)");
  EXPECT_TRUE(session.facts().degraded);
  session.play("< T D C Z = idle");
  EXPECT_FALSE(session.facts().degraded);
  EXPECT_EQ(session.facts().anomalies, 1U);
}

TEST(SessionTracker, ARequestWithAnAnomalyInsideDoesNotEndTheDoubt) {
  Player session;
  session.play("> Q(select 1) < 1 T D C Z = idle");
  EXPECT_TRUE(session.facts().degraded);
  session.play("> Q(select 1) < T D C Z = idle");
  EXPECT_FALSE(session.facts().degraded);
}

TEST(SessionTracker, TheEndOfOneOfManyRequestsDoesNotEndTheDoubt) {
  Player session;
  session.play("< Z > Q(a) Q(b) < C Z = busy");
  EXPECT_TRUE(session.facts().degraded);
  session.play("< C Z = idle");
  EXPECT_FALSE(session.facts().degraded);
}

TEST(SessionTracker, EveryAnswerOutOfPlaceIsCounted) {
  for (const char* answer :
       {"1", "2", "3", "n", "T", "C", "I", "s", "G", "H", "W", "V", "c", "E", "Z", "R(0)", "x"}) {
    Player session;
    session.play("< "s + answer);
    EXPECT_EQ(session.facts().anomalies, 1U) << answer;
    EXPECT_TRUE(session.facts().degraded) << answer;
    EXPECT_NE(session.state(), "closing") << answer;
  }
}

TEST(SessionTracker, ReadyBeforeItsAnswersEndsTheRequestAndIsCounted) {
  Player session;
  session.play("> P(select 1) B E S < 1 Z = idle");
  EXPECT_EQ(session.facts().anomalies, 1U);
  EXPECT_EQ(session.facts().outstanding, 0U);
}

TEST(SessionTracker, AReadyWithAStrangeStatusKeepsTheOldOne) {
  Player session;
  session.play("> Q(begin) < C(BEGIN) Z(T) > Q(select 1) < T D C Z(?) = in_transaction");
  EXPECT_EQ(session.facts().anomalies, 1U);
  session.backend(wire::message('Z'));
  EXPECT_EQ(session.state(), "in_transaction");
}

TEST(SessionTracker, AFullQueueAsksForBackPressureAndRecovers) {
  Player session;
  const std::string pair = wire::parse("select 1") + wire::message('D', "S\0"s);
  std::string chunk;
  while (chunk.size() < 64'000) chunk += pair;
  while (!session.tracker.queue_full()) session.frontend(chunk);
  EXPECT_EQ(session.facts().anomalies, 0U);
  while (session.tracker.queue_full()) session.backend(wire::message('1') + wire::message('n'));
  EXPECT_EQ(session.facts().anomalies, 0U);
  EXPECT_FALSE(session.facts().degraded);
}

TEST(SessionTracker, ALostMessageIsAnAnomaly) {
  Player session;
  std::string chunk;
  for (int i = 0; i < 4096; ++i) chunk += wire::message('P') + wire::message('D');
  for (std::uint32_t sent = 0; sent <= RequestQueue::max_runs; sent += 8192)
    session.frontend(chunk);
  EXPECT_GT(session.facts().anomalies, 0U);
  EXPECT_TRUE(session.facts().degraded);
}

// --- counters ---

TEST(SessionTracker, CountsTheRequestsThatAreOwedAReady) {
  Player session;
  session.play("> Q(a) P(b) B E S F");
  EXPECT_EQ(session.facts().outstanding, 3U);
  session.play("< C Z");
  EXPECT_EQ(session.facts().outstanding, 2U);
}

TEST(SessionTracker, CountsBytesAndRowsOfTheRunningRequest) {
  Player session;
  const std::string answer = wire::message('T', "xx") + wire::message('D', "0123") +
                             wire::message('D', "4567") + wire::complete("SELECT 2") +
                             wire::ready();
  session.frontend(wire::query("a") + wire::query("b"));
  const std::string start_of_next = wire::message('T', "yy") + wire::message('D', "z");
  session.backend(answer + start_of_next);
  EXPECT_EQ(session.facts().request_bytes, start_of_next.size());
  EXPECT_EQ(session.facts().request_rows, 1U);
  session.backend(wire::complete("SELECT 1") + wire::ready());
  const auto after = session.facts().request_rows;
  EXPECT_EQ(after, 1U) << "stays until the next request begins";
  session.frontend(wire::query("c"));
  EXPECT_EQ(session.facts().request_rows, 0U);
  EXPECT_EQ(session.facts().request_bytes, 0U);
  session.backend(wire::message('H') + wire::message('d', "1") + wire::message('d', "2"));
  EXPECT_EQ(session.facts().request_rows, 2U);
}

TEST(SessionTracker, TellsWhenEachSideLastSpoke) {
  Player session;
  session.wait(10s);
  session.frontend(wire::query("a"));
  const Instant spoke = session.now;
  session.wait(10s);
  session.backend(wire::message('N'));
  EXPECT_EQ(session.facts().last_frontend_byte, spoke);
  EXPECT_EQ(session.facts().last_backend_byte, session.now);
  const auto before = session.facts();
  session.wait(10s);
  session.frontend("");
  session.backend("");
  EXPECT_EQ(session.facts(), before);
}

}  // namespace
}  // namespace pgleash::protocol
