#include "tests/unit/protocol/trace.hpp"
#include "tests/unit/protocol/wire.hpp"

#include <gtest/gtest.h>

/// When a judged activity is over, and since when it lasts.
namespace pgleash::protocol {
namespace {

using namespace std::chrono_literals;
using trace::Player;

struct Moved {
  bool state = false;
  bool request = false;
  bool transaction = false;
  bool operator==(const Moved&) const = default;
};

/// Which of the marks a part of a conversation moves.
Moved moved(Player& session, std::string_view script) {
  const ActivityMark before = session.facts().mark;
  session.play(script);
  const ActivityMark& after = session.facts().mark;
  return {before.state != after.state, before.request != after.request,
          before.transaction != after.transaction};
}

TEST(ActivityMark, AsynchronousMessagesMoveNothing) {
  Player session;
  EXPECT_EQ(moved(session, "< N A S(a=b)"), (Moved{false, false, false}));
  session.play("> Q(select 1)");
  EXPECT_EQ(moved(session, "< N A S(a=b) T D D V"), (Moved{false, false, false}));
}

TEST(ActivityMark, ARequestBeginsAndEnds) {
  Player session;
  EXPECT_EQ(moved(session, "> Q(select 1)"), (Moved{true, true, false}));
  EXPECT_EQ(moved(session, "< T D"), (Moved{false, false, false}));
  EXPECT_EQ(moved(session, "< C"), (Moved{false, true, false}));
  EXPECT_EQ(moved(session, "< Z"), (Moved{true, true, true}));
}

TEST(ActivityMark, EveryMessageOfTheFrontendMovesTheState) {
  Player session;
  session.play("> Q(copy t from stdin) < G");
  EXPECT_EQ(moved(session, "> d"), (Moved{true, false, false}));
  EXPECT_EQ(moved(session, "> H"), (Moved{true, false, false}));
  EXPECT_EQ(moved(session, "> c"), (Moved{true, false, false}));
}

TEST(ActivityMark, MovesForAFrontendMessageAndForTheStateThatItChanges) {
  Player session;
  const auto before = session.facts().mark.state;
  session.play("> Q(select 1)");
  EXPECT_EQ(session.facts().mark.state, before + 2);
  session.play("> Q(select 2)");
  EXPECT_EQ(session.facts().mark.state, before + 3) << "busy as before";
  session.play("> X");
  EXPECT_EQ(session.facts().mark.state, before + 3) << "Terminate itself is no activity";
  session.play("< C Z C Z");
  EXPECT_EQ(session.facts().mark.state, before + 4) << "closing is another state";
}

TEST(ActivityMark, APipelinedQueryDoesNotEndTheRunningOne) {
  Player session;
  session.play("> Q(select pg_sleep(9))");
  EXPECT_EQ(moved(session, "> Q(select 2)"), (Moved{true, false, false}));
  EXPECT_EQ(moved(session, "< T D C Z"), (Moved{false, true, true}));
}

TEST(ActivityMark, AnExtendedCycleBeginsAndEndsARequest) {
  Player session;
  EXPECT_EQ(moved(session, "> P(select 1)"), (Moved{true, true, false}));
  EXPECT_EQ(moved(session, "> B E"), (Moved{true, false, false}));
  EXPECT_EQ(moved(session, "> S"), (Moved{true, false, false}));
  EXPECT_EQ(moved(session, "> P(select 2)"), (Moved{true, true, false})) << "another cycle";
  EXPECT_EQ(moved(session, "< 1 2"), (Moved{false, false, false}));
  EXPECT_EQ(moved(session, "< D C"), (Moved{false, true, false}));
  EXPECT_EQ(moved(session, "< Z"), (Moved{true, true, true})) << "busy turns into an open pipeline";
}

TEST(ActivityMark, EachStatementOfARunawayRequestIsOneActivity) {
  Player session;
  session.play("> P(select 1) B E E E S < 1 2");
  EXPECT_TRUE(moved(session, "< D s").request);
  EXPECT_TRUE(moved(session, "< I").request);
  EXPECT_TRUE(moved(session, "< C").request);
}

TEST(ActivityMark, AnErrorEndsTheStatement) {
  Player session;
  session.play("> P(select 1/0) B E H < 1 2");
  EXPECT_EQ(moved(session, "< E"), (Moved{true, true, false}));
  session.play("> S < Z > Q(select 1/0)");
  EXPECT_EQ(moved(session, "< E"), (Moved{false, true, false}));
}

TEST(ActivityMark, MessagesTheServerDiscardsBeginNoRequest) {
  Player session;
  session.play("> P(nonsense) H < E");
  EXPECT_EQ(moved(session, "> P(select 1) B E Q(select 1)"), (Moved{true, false, false}));
  EXPECT_EQ(moved(session, "> S"), (Moved{true, false, false}));
  EXPECT_EQ(moved(session, "< Z"), (Moved{true, true, true}));
}

TEST(ActivityMark, AStrayReadyEndsNothing) {
  Player session;
  session.play("> P(copy t from stdin) B E S d c S < 1 2 G E Z = idle");
  EXPECT_EQ(moved(session, "< Z"), (Moved{false, false, false}));
}

TEST(ActivityMark, TransactionsBeginAndEnd) {
  Player session;
  EXPECT_TRUE(moved(session, "> Q(begin) < C(BEGIN) Z(T)").transaction);
  EXPECT_FALSE(moved(session, "> Q(select 1) < T D C Z(T)").transaction);
  EXPECT_FALSE(moved(session, "> Q(select 1/0) < E Z(E)").transaction);
  EXPECT_TRUE(moved(session, "> Q(rollback) < C(ROLLBACK) Z").transaction);
  EXPECT_TRUE(moved(session, "> Q(select 1) < T D C Z").transaction) << "a transaction of its own";
}

TEST(ActivityMark, CommitAndChainIsAnotherTransaction) {
  Player session;
  session.play("> Q(begin) < C(BEGIN) Z(T)");
  EXPECT_TRUE(moved(session, "> Q(commit and chain) < C(COMMIT) Z(T)").transaction);
  EXPECT_TRUE(moved(session, "> P(rollback and chain) B E S < 1 2 C(ROLLBACK) Z(T)").transaction);
}

TEST(ActivityMark, RollbackToASavepointIsTheSameTransaction) {
  Player session;
  session.play("> Q(begin) < C(BEGIN) Z(T)");
  const auto since = session.facts().transaction_since;
  EXPECT_FALSE(moved(session, "> Q(rollback to savepoint s) < C(ROLLBACK) Z(T)").transaction);
  EXPECT_FALSE(moved(session, "> P(rollback to s) B E S < 1 2 C(ROLLBACK) Z(T)").transaction);
  EXPECT_EQ(session.facts().transaction_since, since);
}

TEST(ActivitySince, StateLastsSinceTheClientsLastMessageOrTheLastChange) {
  Player session;
  session.play("> Q(copy t from stdin) < G");
  EXPECT_EQ(session.facts().state_since, session.now);
  session.play("> d");
  EXPECT_EQ(session.facts().state_since, session.now);
  const Instant spoke = session.now;
  session.play("< N");
  EXPECT_EQ(session.facts().state_since, spoke);
}

TEST(ActivitySince, RequestLastsSinceItBeganOrTheStatementBeforeEnded) {
  Player session;
  session.play("> Q(a)");
  const Instant first = session.now;
  session.play("> Q(b)");
  EXPECT_EQ(session.facts().request_since, first);
  session.play("< T D");
  EXPECT_EQ(session.facts().request_since, first);
  session.play("< C");
  EXPECT_EQ(session.facts().request_since, session.now);
  session.play("< Z");
  EXPECT_EQ(session.facts().request_since, session.now) << "the second one runs since now";
}

TEST(ActivitySince, TransactionLastsSinceTheRequestThatBeganIt) {
  Player session;
  session.play("> Q(begin)");
  const Instant begin = session.now;
  session.play("< C(BEGIN) Z(T) > Q(select 1) < T D C Z(T) > Q(x) < E Z(E)");
  EXPECT_EQ(session.facts().transaction_since, begin);
  session.play("> Q(rollback) < C(ROLLBACK) Z > P(select 1)");
  EXPECT_EQ(session.facts().transaction_since, session.now)
      << "a statement of its own is a transaction too";
}

TEST(ActivitySince, APipelinedTransactionLastsSinceTheOneBeforeEnded) {
  Player session;
  session.play("> Q(select 1) Q(begin) < T D C Z");
  const Instant turned = session.now;
  session.play("< C(BEGIN) Z(T)");
  EXPECT_EQ(session.facts().transaction_since, turned);
}

TEST(ActivitySince, AChainedTransactionLastsSinceTheCommit) {
  Player session;
  session.play("> Q(begin) < C(BEGIN) Z(T) > Q(commit and chain)");
  session.wait(1h);
  session.play("< C(COMMIT)");
  const Instant committed = session.now;
  session.play("< Z(T)");
  EXPECT_EQ(session.facts().transaction_since, committed);
}

}  // namespace
}  // namespace pgleash::protocol
