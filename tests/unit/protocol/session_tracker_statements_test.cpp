#include "tests/unit/protocol/trace.hpp"
#include "tests/unit/protocol/wire.hpp"

#include <gtest/gtest.h>

/// What is known of the statements: texts, traits, and what their command tags confirm.
namespace pgleash::protocol {
namespace {

using namespace std::string_literals;
using trace::Player;

std::string last(const Player& session) {
  return std::string{session.tracker.last_statement().text()};
}
std::string first(const Player& session) {
  return std::string{session.tracker.first_of_transaction().text()};
}

TEST(Statements, LastIsTheOneForwardedLast) {
  Player session;
  session.play("> Q(select 1)");
  EXPECT_EQ(last(session), "select 1");
  session.play("< T D C Z > P(vacuum) B");
  EXPECT_EQ(last(session), "select 1") << "not executed yet";
  session.play("> E");
  EXPECT_EQ(last(session), "vacuum");
  EXPECT_TRUE(session.facts().statement.maintenance);
  session.play("> S < 1 2 C(VACUUM) Z > F");
  EXPECT_EQ(last(session), "") << "a function call has no text";
  EXPECT_FALSE(session.facts().statement.maintenance);
}

TEST(Statements, OfAHalfMessageIsTheOneBefore) {
  Player session;
  session.play("> Q(select 1) < T D C Z");
  const std::string query = wire::query("vacuum");
  session.frontend(query.substr(0, 8));
  EXPECT_EQ(last(session), "select 1");
  EXPECT_FALSE(session.facts().statement.maintenance);
  session.frontend(query.substr(8));
  EXPECT_EQ(last(session), "vacuum");
  EXPECT_FALSE(session.facts().statement.unknown);
  EXPECT_FALSE(session.facts().commit_outstanding);
}

TEST(Statements, LongTextsAreKnownByTheirBeginningWhenTheyEnd) {
  Player session;
  const std::string text = "select " + std::string(5000, '1');
  const std::string query = wire::query(text);
  session.frontend(query.substr(0, 5 + 1025));
  EXPECT_EQ(last(session), "");
  EXPECT_TRUE(session.facts().half_message);
  session.frontend(query.substr(5 + 1025));
  EXPECT_EQ(last(session), text.substr(0, 1024));
  EXPECT_TRUE(session.tracker.last_statement().truncated());
  EXPECT_TRUE(session.facts().statement.unknown);
}

TEST(Statements, PreparedOnesAreFoundByName) {
  Player session;
  session.play("> P(a: select 1) P(b: commit) S < 1 1 Z > B(a) E");
  EXPECT_EQ(last(session), "select 1");
  session.play("> S < 2 D C Z > B(b) E");
  EXPECT_EQ(last(session), "commit");
  session.play("> S < 2 C(COMMIT) Z > C(b) S < 3 Z > B(b) E");
  EXPECT_EQ(last(session), "") << "closed";
  EXPECT_TRUE(session.facts().statement.unknown);
}

TEST(Statements, PastSixtyFourNamesAreUnknown) {
  Player session;
  for (int i = 0; i < 70; ++i)
    session.play("> P(s" + std::to_string(i) + ": select " + std::to_string(i) + ")");
  session.play("> B(s63) E");
  EXPECT_EQ(last(session), "select 63");
  session.play("> B(s64) E");
  EXPECT_EQ(last(session), "");
  EXPECT_TRUE(session.facts().commit_outstanding);
  session.play("> C(s3) P(s64: select 64) B(s64) E");
  EXPECT_EQ(last(session), "select 64") << "a closed name makes room";
}

TEST(Statements, ASimpleQueryDestroysTheUnnamedOne) {
  Player session;
  session.play("> P(select 1) S < 1 Z > Q(select 2) < T D C Z > B E");
  EXPECT_EQ(last(session), "");
}

TEST(Statements, NamedPortalsAreKnownByTheLastBind) {
  Player session;
  session.play("> P(select 1)");
  session.frontend(wire::bind("", "cursor") + wire::execute("cursor"));
  EXPECT_EQ(last(session), "select 1");
  session.frontend(wire::execute());
  EXPECT_EQ(last(session), "") << "the unnamed portal was never bound";
}

TEST(Statements, NamesThatCanNotBeReadAreUnknown) {
  Player session;
  session.play("> P(select 1) B E");
  session.frontend(wire::message('B', std::string(300, 'x')) + wire::execute());
  EXPECT_EQ(last(session), "");
  session.play("> S < 1 2 D C E Z > P(select 1) B");
  session.frontend(wire::message('E', std::string(100, 'x')));
  EXPECT_EQ(last(session), "");
}

TEST(Statements, DiscardedOnesAreNotTaken) {
  Player session;
  session.play("> P(select 1) B E H < E > Q(commit) P(commit) B E");
  EXPECT_EQ(last(session), "select 1");
  EXPECT_FALSE(session.facts().commit_outstanding);
}

TEST(Statements, FirstOfTheTransactionIsKept) {
  Player session;
  session.play("> Q(update a) < C(UPDATE 1) Z > Q(begin; update b) < C(BEGIN) C(UPDATE 1) Z(T)");
  EXPECT_EQ(first(session), "begin; update b");
  session.play("> Q(select 1) < T D C Z(T)");
  EXPECT_EQ(first(session), "begin; update b");
  session.play("> Q(commit) < C(COMMIT) Z");
  EXPECT_EQ(first(session), "");
  session.play("> P(update t) B E P(select 2) B E S");
  EXPECT_EQ(first(session), "update t");
}

TEST(Statements, ABeginOfItsOwnIsPassedOverForWhatTheTransactionIsFor) {
  Player session;
  session.play("> Q(begin /* a */) < C(BEGIN) Z(T)");
  EXPECT_EQ(first(session), "begin /* a */") << "there is no better";
  session.play("> Q(update t) < C(UPDATE 1) Z(T)");
  EXPECT_EQ(first(session), "update t");
  session.play("> Q(select 1) < T D C Z(T)");
  EXPECT_EQ(first(session), "update t");
  session.play("> Q(commit) < C(COMMIT) Z");
  EXPECT_EQ(first(session), "");
  session.play("> P(begin) B E P(update t) B E S");
  EXPECT_EQ(first(session), "update t") << "as JDBC sends it";
  session.play("< 1 2 C(BEGIN) 1 2 C(UPDATE 1) Z(T) > Q(select 1) < T D C Z(T)");
  EXPECT_EQ(first(session), "update t");
}

TEST(Statements, TheTransactionsFirstIsTheSameHoweverTheMessagesAreCut) {
  trace::expect_same_in_all_chunkings(
      "> Q(begin) < C(BEGIN) Z(T) > Q(update t) < C(UPDATE 1) Z(T) > Q(select 1) < T D C Z(T)");
}

TEST(Statements, FirstOfAPipelinedTransactionIsKnownIfOneWaits) {
  Player session;
  session.play("> Q(select 1) Q(begin) < T D C Z");
  EXPECT_EQ(first(session), "begin");
  session.play("> Q(update t)");
  EXPECT_EQ(first(session), "update t");
  session.play("< C(BEGIN) Z(T) C(UPDATE 1) Z(T) > Q(commit) Q(begin) Q(select 1) < C(COMMIT) Z");
  EXPECT_EQ(first(session), "") << "which of two is not remembered";
}

TEST(Statements, FirstAfterCommitAndChainIsTheNext) {
  Player session;
  session.play("> Q(begin) < C(BEGIN) Z(T) > Q(commit and chain) < C(COMMIT) Z(T)");
  EXPECT_EQ(first(session), "");
  session.play("> Q(select 1) < T D C Z(T)");
  EXPECT_EQ(first(session), "select 1");
}

TEST(CommitOutstanding, WhileAQueryMayEndTheTransaction) {
  Player session;
  session.play("> Q(select 1)");
  EXPECT_FALSE(session.facts().commit_outstanding);
  session.play("> Q(select 1; commit)");
  EXPECT_TRUE(session.facts().commit_outstanding);
  session.play("< T D C Z");
  EXPECT_TRUE(session.facts().commit_outstanding);
  session.play("< T D C C(COMMIT)");
  EXPECT_TRUE(session.facts().commit_outstanding) << "until ReadyForQuery";
  session.play("< Z");
  EXPECT_FALSE(session.facts().commit_outstanding);
}

TEST(CommitOutstanding, WhileAnExecuteIsUnanswered) {
  Player session;
  session.play("> P(commit) B");
  EXPECT_FALSE(session.facts().commit_outstanding);
  session.play("> E S");
  EXPECT_TRUE(session.facts().commit_outstanding);
  session.play("< 1 2 C(COMMIT)");
  EXPECT_FALSE(session.facts().commit_outstanding);
}

TEST(CommitOutstanding, IsForgottenWithADiscardedPipeline) {
  Player session;
  session.play("> P(nonsense) B E P(commit) B E S < E");
  EXPECT_FALSE(session.facts().commit_outstanding);
}

TEST(CommitOutstanding, WhenNothingOfTheTextIsKnown) {
  Player session;
  session.play("> B(never_prepared) E");
  EXPECT_TRUE(session.facts().commit_outstanding);
}

TEST(CommitOutstanding, IsJudgedByTheTextEvenIfTheTableIsFull) {
  StatementTexts none{1};
  trace::Report report;
  SessionTracker tracker{none, Instant{}};
  tracker.on_backend(wire::bytes(wire::login()), Instant{}, report);
  tracker.on_frontend(wire::bytes(wire::query("select 1")), Instant{}, report);
  EXPECT_FALSE(tracker.facts().commit_outstanding);
  EXPECT_EQ(tracker.last_statement().text(), "select 1") << "a simple query needs no place in it";
  tracker.on_frontend(wire::bytes(wire::parse("select 2") + wire::bind() + wire::execute()),
                      Instant{}, report);
  EXPECT_FALSE(tracker.last_statement());
  EXPECT_TRUE(tracker.facts().commit_outstanding) << "of an unknown text anything may be true";
  tracker.on_frontend(wire::bytes(wire::query("commit")), Instant{}, report);
  EXPECT_TRUE(tracker.facts().commit_outstanding);
}

TEST(Listening, FollowsTheCommandTags) {
  Player session;
  session.play("> Q(listen a) < C(LISTEN) Z");
  EXPECT_TRUE(session.facts().listening);
  session.play("> Q(unlisten a) < C(UNLISTEN) Z");
  EXPECT_TRUE(session.facts().listening) << "there may be other channels";
  session.play("> Q(unlisten *) < C(UNLISTEN) Z");
  EXPECT_FALSE(session.facts().listening);
  session.play("> P(listen a) B E S < 1 2 C(LISTEN) Z");
  EXPECT_TRUE(session.facts().listening);
  session.play("> Q(discard all) < C(DISCARD) C(DISCARD ALL) Z");
  EXPECT_FALSE(session.facts().listening);
}

TEST(Listening, GoesOnWhenUnlistenIsRolledBack) {
  Player session;
  session.play(
      "> Q(listen a) < C(LISTEN) Z > Q(begin) < C(BEGIN) Z(T) > Q(unlisten *) < C(UNLISTEN) Z(T)");
  EXPECT_TRUE(session.facts().listening) << "not committed yet";
  session.play("> Q(rollback) < C(ROLLBACK) Z");
  EXPECT_TRUE(session.facts().listening);
  session.play("> Q(unlisten *; select 1/0) < C(UNLISTEN) E Z");
  EXPECT_TRUE(session.facts().listening);
  session.play("> Q(unlisten *; listen b) < C(UNLISTEN) C(LISTEN) Z");
  EXPECT_TRUE(session.facts().listening);
}

TEST(Listening, GoesOnWhenTheTextOfUnlistenIsUnknown) {
  Player session;
  session.play("> Q(listen a) < C(LISTEN) Z > B(unknown) E S < 2 C(UNLISTEN) Z");
  EXPECT_TRUE(session.facts().listening);
}

TEST(DumpTransaction, IsTheWayPgDumpBeginsOne) {
  Player session;
  session.play("> Q(BEGIN) < C(BEGIN) Z(T)");
  EXPECT_FALSE(session.facts().dump_transaction);
  session.play("> Q(SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY)");
  EXPECT_FALSE(session.facts().dump_transaction) << "not confirmed";
  session.play("< C(SET) Z(T)");
  EXPECT_TRUE(session.facts().dump_transaction);
  session.play("> Q(select 1) < T D C Z(T)");
  EXPECT_TRUE(session.facts().dump_transaction);
  session.play("> Q(commit) < C(COMMIT) Z");
  EXPECT_FALSE(session.facts().dump_transaction);
}

TEST(DumpTransaction, IsNotWhatTheServerDidNotConfirm) {
  Player session;
  session.play("> Q(begin isolation level serializable read only) < E Z");
  EXPECT_FALSE(session.facts().dump_transaction);
  session.play("> Q(set a = b) Q(begin isolation level serializable read only) < C(SET) Z");
  EXPECT_FALSE(session.facts().dump_transaction) << "the tag of another statement";
  session.play("< C(BEGIN) Z(T)");
  EXPECT_TRUE(session.facts().dump_transaction);
}

TEST(DumpTransaction, OutsideOfATransactionBlockLastsForNothing) {
  Player session;
  session.play("> Q(set transaction isolation level serializable, read only) < N C(SET) Z");
  EXPECT_FALSE(session.facts().dump_transaction);
}

TEST(Statements, AMarkerHoldsForTheTransactionThatItBegins) {
  Player session;
  session.play("> Q(begin /* pgleash:keep */)");
  EXPECT_TRUE(session.facts().marked);
  session.play("< C(BEGIN) Z(T) > Q(select 1)");
  EXPECT_TRUE(session.facts().marked);
  session.play("< T D C Z(T) > Q(commit) < C(COMMIT) Z");
  EXPECT_FALSE(session.facts().marked);
  session.play("> Q(begin) < C(BEGIN) Z(T)");
  EXPECT_FALSE(session.facts().marked);
}

TEST(Statements, AMarkerHoldsForOneStatementOutsideOfATransaction) {
  Player session;
  session.play("> P(/* pgleash:keep */ select 1) B E S");
  EXPECT_TRUE(session.facts().marked);
  session.play("< 1 2 C Z > Q(select 1)");
  EXPECT_FALSE(session.facts().marked);
}

TEST(Statements, AMarkerInALaterStatementIsNone) {
  Player session;
  session.play("> Q(begin) < C(BEGIN) Z(T) > Q(/* pgleash:keep */ select 1)");
  EXPECT_FALSE(session.facts().marked);
  session.play("< T D C Z(T)");
  EXPECT_FALSE(session.facts().marked);
}

TEST(Statements, AMarkerDoesNotReachTheTransactionThatFollowsInTheSameRequest) {
  Player session;
  session.play("> Q(begin /* pgleash:keep */; commit; begin; select 1) < C(BEGIN)");
  EXPECT_TRUE(session.facts().marked);
  session.play("< C(COMMIT)");
  EXPECT_FALSE(session.facts().marked);
  session.play("< C(BEGIN) T D C Z(T)");
  EXPECT_FALSE(session.facts().marked);
  session.play("> Q(select 1 /* pgleash:keep */)");
  EXPECT_FALSE(session.facts().marked);
}

TEST(Statements, AMarkerSentAheadCountsForItsOwnTransactionOnly) {
  Player session;
  session.play("> Q(select 1) Q(begin /* pgleash:keep */)");
  EXPECT_FALSE(session.facts().marked) << "the first one runs";
  session.play("< T D C Z");
  EXPECT_TRUE(session.facts().marked);
  session.play("< C(BEGIN) Z(T) > Q(commit) Q(begin) Q(select 1 /* pgleash:keep */) < C(COMMIT) Z");
  EXPECT_FALSE(session.facts().marked) << "which of both waiting ones is first nobody keeps";
}

TEST(ExportedSnapshot, LastsForItsTransaction) {
  Player session;
  session.play("> Q(begin) < C(BEGIN) Z(T) > Q(select pg_export_snapshot())");
  EXPECT_FALSE(session.facts().exported_snapshot) << "not answered";
  session.play("< T D C(SELECT 1) Z(T)");
  EXPECT_TRUE(session.facts().exported_snapshot);
  session.play("> Q(select 1) < T D C(SELECT 1) Z(T)");
  EXPECT_TRUE(session.facts().exported_snapshot);
  session.play("> Q(commit) < C(COMMIT) Z");
  EXPECT_FALSE(session.facts().exported_snapshot);
}

TEST(ExportedSnapshot, IsNoneWhenTheServerRefusedOrThereWasNoTransaction) {
  Player session;
  session.play("> Q(select pg_export_snapshot()) < T D C(SELECT 1) Z");
  EXPECT_FALSE(session.facts().exported_snapshot);
  session.play("> Q(begin) < C(BEGIN) Z(T) > Q(select pg_export_snapshot()) < E Z(E)");
  EXPECT_FALSE(session.facts().exported_snapshot);
}

TEST(Backup, RunsFromItsStartToItsStopWhateverElseTheSessionDoes) {
  Player session;
  session.play("> Q(select pg_backup_start('b')) < E Z");
  EXPECT_FALSE(session.facts().backup_running) << "only a superuser may";
  session.play("> Q(select pg_backup_start('b')) < T D C(SELECT 1) Z");
  EXPECT_TRUE(session.facts().backup_running);
  session.play("> Q(begin) < C(BEGIN) Z(T) > Q(commit) < C(COMMIT) Z");
  EXPECT_TRUE(session.facts().backup_running);
  session.play("> Q(select * from pg_backup_stop()) < T D C(SELECT 1) Z");
  EXPECT_FALSE(session.facts().backup_running);
}

}  // namespace
}  // namespace pgleash::protocol
