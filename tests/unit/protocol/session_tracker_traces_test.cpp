#include "tests/unit/protocol/trace.hpp"

#include <gtest/gtest.h>

#include <string>

/// Conversations recorded with PostgreSQL 15 and 18.
namespace pgleash::protocol {
namespace {

struct Trace {
  const char* name;
  const char* script;
};

const Trace traces[] = {
    {"SimpleQuery", "> Q(select 1) = busy < T D = busy < C Z = idle"},
    {"EmptyQuery", "> Q() = busy < I Z = idle"},
    {"ThirdStatementOfAFailedQueryIsNotRun",
     "> Q(select 1; select 1/0; select 3) = busy < T D C E = busy < Z = idle"},
    {"BindFailsAndTheSecondBatchIsDiscarded",
     "> P(select 1/0) B E P(select 1) B E S = busy > P(select 2) B E S = busy"
     "< 1 E = busy < Z = busy < 1 2 D C = busy < Z = idle"},
    {"QueryEndsAPipelineOn15",
     "> P(begin) B E = open > Q(select 1) = busy < 1 2 C(BEGIN) = busy < T D C Z = idle"},
    {"QueryEndsAPipelineOn18",
     "> P(begin) B E Q(select 1) = busy < 1 2 C(BEGIN) T D C = busy < Z(T) = in_transaction"},
    {"QueryBehindAFailedPipelineIsNeverAnswered",
     "> P(select 1/0) B E Q(select 1) = busy < 1 E = failed > S = busy < Z = idle"},
    {"OneReadyForThreeRequestsBehindAFailure",
     "> P(select 1/0) B E Q(select 1) Q(select 2) S = busy < 1 E = busy < Z = idle"},
    {"FunctionCallBehindAFailedPipeline", "> P(select 1/0) B E F S = busy < 1 E = busy < Z = idle"},
    {"FlushedPipelineFailsAndTheClientLeaves",
     "> P(select 1/0) B E H = busy < 1 E = failed > X = closing"},
    {"BareSyncs", "> S S S = busy < Z Z = busy < Z = idle"},
    {"TwoPortalsSuspended",
     "> P(select generate_series(1,9)) B E E S = busy < 1 2 D s D s = busy < Z = idle"},
    {"ErrorInsideSyncGivesOneReady",
     "> P(insert into child values (1)) B E S P(select 1) B E S = busy"
     "< 1 2 C(INSERT 0 1) E = busy < Z = busy < 1 2 D C = busy < Z = idle"},
    {"SyncInAnAbortedTransaction",
     "> Q(begin) < C(BEGIN) Z(T) = in_transaction > Q(select 1/0) = busy < E Z(E) = aborted"
     "> S < Z(E) = aborted > Q(commit) = busy < C(ROLLBACK) Z = idle"},
    {"CommitAndChain",
     "> Q(begin) < C(BEGIN) Z(T) > Q(commit and chain) < C(COMMIT) Z(T) = in_transaction"},
    {"SavepointsSaveATransaction",
     "> Q(begin; savepoint s) < C(BEGIN) C(SAVEPOINT) Z(T) = in_transaction > Q(select 1/0) < E "
     "Z(E) = aborted"
     "> Q(rollback to s) < C(ROLLBACK) Z(T) = in_transaction > Q(commit) < C(COMMIT) Z = idle"},
    {"TransactionInsideAPipeline",
     "> P(begin) B E P(commit) B E P(select 1/0) B E S = busy < 1 2 C(BEGIN) 1 2 C(COMMIT) 1 E = "
     "busy < Z = idle"},
    {"CopyOut",
     "> Q(copy t to stdout) = busy < H = copy_out < d d = copy_out < c = busy < C(COPY 2) Z = "
     "idle"},
    {"CopyIn",
     "> Q(copy t from stdin) = busy < G = copy_in > d d c = busy < C(COPY 2) = busy < Z = idle"},
    {"CopyInFailsAndTheRestIsIgnored",
     "> Q(copy t from stdin) < G = copy_in > d(bad) = copy_in < E = busy < Z = idle > d c = idle"
     "> Q(select 1) = busy < T D C Z = idle"},
    {"CopyFail", "> Q(copy t from stdin) < G = copy_in > f = busy < E(57014) Z = idle"},
    {"TwoCopiesInOneQuery",
     "> Q(copy t from stdin; copy t from stdin; select 1) < G = copy_in > d c = busy < C(COPY "
     "1) = busy"
     "< G = copy_in > d c < C(COPY 1) T D C = busy < Z = idle"},
    {"SyncInsideCopyModeIsSwallowed",
     "> Q(copy t from stdin) < G > S H = copy_in > d c = busy < C(COPY 1) Z = idle > S = busy < "
     "Z = idle"},
    {"QueryInsideCopyModeEndsTheSession",
     "> Q(copy t from stdin) < G > d Q(select 1) = copy_in < E(08P01) = busy < FATAL(08P01) = "
     "closing"},
    {"OneReadyForTwoSyncsAroundACopy",
     "> P(copy t from stdin) B E S = busy < 1 2 G = copy_in > d c S = busy < C(COPY 1) = busy < "
     "Z = idle"},
    {"CopyThatNeverBegan",
     "> P(copy nowhere from stdin) B E S < 1 2 E = busy < Z = idle > d c = idle > S = busy < Z = "
     "idle"},
    {"CopyThatNeverBeganAllAtOnce",
     "> P(copy nowhere from stdin) B E S d c S < 1 2 E Z = busy < Z = idle"},
    {"ExtendedCopyOut",
     "> P(copy t to stdout) B E S < 1 2 H = copy_out < d c = busy < C(COPY 1) Z = idle"},
    {"NotifyWhileIdle", "> Q(listen a) < C(LISTEN) Z = idle < A = idle"},
    {"NotifyAtCommit",
     "> Q(listen a) < C(LISTEN) Z > Q(begin) < C(BEGIN) Z(T) > Q(commit) < C(COMMIT) A Z = idle"},
    {"ReportedSettingBeforeReady",
     "> Q(select 1) < T D C S(TimeZone=UTC) Z = idle < S(TimeZone=GMT) = idle"},
    {"NoticesAnywhere", "< N = idle > Q(select 1) < N T N D N C N Z = idle"},
    // A COPY that fails behind a Sync: whether the server swallowed that Sync can not be seen
    // (three ways to send it).
    {"FailedCopyWhoseSyncWasSwallowed",
     "> P(copy t from stdin) B E S < 1 2 G = copy_in > d(bad) = copy_in < E = failed > c = failed "
     "> S = busy < Z = idle"},
    {"FailedCopyWhoseSyncWasSwallowedAllForwarded",
     "> P(copy t from stdin) B E S < 1 2 G > d(bad) c S = busy < E = busy < Z = idle"
     "> Q(select 1) = busy < T D C Z = idle"},
    {"FailedCopyWhoseSyncWasAnswered",
     "> P(copy t from stdin) B E S < 1 2 G E = failed < Z = idle > d c = idle > S = busy < Z = "
     "idle"},
    {"FailedCopyWhoseBothSyncsWereAnswered",
     "> P(copy t from stdin) B E S < 1 2 G > d c S < E Z = idle < Z = idle > Q(select 1) = busy < "
     "T D C Z = idle"},
    {"FailedCopyAllAtOnce", "> P(copy t from stdin) B E S d c S < 1 2 G E Z Z = idle"},
    {"FailedCopyAndTheLateReadyIsNotTheNextQuerys",
     "> P(copy t from stdin) B E S d c S < 1 2 G E Z = idle > Q(select pg_sleep(9)) = busy < Z = "
     "busy < T D C Z = idle"},
    {"FailedCopyAndTheLateReadyIsNotTheNextPipelines",
     "> P(copy t from stdin) B E S d c S < 1 2 G E Z = idle > P(select 1) B E S = busy < Z = busy "
     "< 1 2 D C = busy"
     "< Z = idle"},
    {"FailedCopyAndBareSyncs",
     "> P(copy t from stdin) B E S d c S < 1 2 G E Z = idle > S = busy < Z = idle < Z = idle"},
    {"FailedCopyWithManySyncs",
     "> P(copy t from stdin) B E S S S d c S S < 1 2 G E Z = busy < Z = idle < Z = idle < Z = idle "
     "< Z = idle"},
    {"FailedSimpleCopyWithSyncInside",
     "> Q(copy t from stdin) < G > S d(bad) c = busy < E = busy < Z = idle > Q(select 1) < T D "
     "C Z = idle"},
    {"FailedSimpleCopyWhoseSyncIsAnsweredLate",
     "> Q(copy t from stdin) < G > S d c < E Z = idle < Z = idle > Q(select 1) < T D C Z = idle"},
};

class SessionTrackerTrace : public ::testing::TestWithParam<Trace> {};

TEST_P(SessionTrackerTrace, GivesTheSameFactsInAnyChunking) {
  trace::expect_same_in_all_chunkings(GetParam().script);
}

TEST_P(SessionTrackerTrace, HasNoAnomalies) {
  trace::Player session;
  session.play(GetParam().script);
  EXPECT_EQ(session.facts().anomalies, 0U);
  EXPECT_FALSE(session.facts().degraded);
}

TEST_P(SessionTrackerTrace, OwesNothingWhenItIsIdle) {
  trace::Player session;
  session.play(GetParam().script);
  if (session.state() == "idle") {
    EXPECT_EQ(session.facts().outstanding, 0U);
    EXPECT_FALSE(session.facts().commit_outstanding);
  }
}

INSTANTIATE_TEST_SUITE_P(Recorded, SessionTrackerTrace, ::testing::ValuesIn(traces),
                         [](const auto& trace_info) { return std::string{trace_info.param.name}; });

}  // namespace
}  // namespace pgleash::protocol
