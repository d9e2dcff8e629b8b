#include "watchdog/running_statements.hpp"

#include "session_builder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pgleash::watchdog {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

class RunningStatementsTest : public ::testing::Test {
 protected:
  std::vector<RunningStatements::Question> fill(Instant views_asked = noon) {
    return statements.fill(snapshot, views_asked, 5s);
  }
  RunningStatements statements;
  Snapshot snapshot = snapshot_of(SessionBuilder{SessionState::busy, 6s});
};

TEST_F(RunningStatementsTest, AsksOnceForAStatementThatRunsLongEnough) {
  EXPECT_THAT(fill(), SizeIs(1));
  EXPECT_THAT(fill(), IsEmpty());
  snapshot = snapshot_of(SessionBuilder{SessionState::busy, 5s}.id(2),
                         SessionBuilder{SessionState::idle_in_transaction, 1h}.id(3));
  EXPECT_THAT(fill(), IsEmpty()) << "too young, and nothing that runs";
}

TEST_F(RunningStatementsTest, KnowsAFingerprintFromTheNextViewsOn) {
  const auto questions = fill();
  statements.learnt(questions.at(0), 42, noon + 10ms);
  (void)fill(noon + 9ms);
  EXPECT_EQ(snapshot.sessions[0].fingerprint, std::nullopt)
      << "these views may be older than the text";
  (void)fill(noon + 10ms);
  EXPECT_EQ(snapshot.sessions[0].fingerprint, 42U);
}

TEST_F(RunningStatementsTest, DoesNotTakeALaterStatementsTextForThisOne) {
  const auto questions = fill();
  ++snapshot.sessions[0].view.facts.mark.request;
  EXPECT_THAT(fill(noon + 1ms), SizeIs(1)) << "it is asked for anew";
  statements.learnt(questions.at(0), 42, noon + 2ms);
  (void)fill(noon + 3ms);
  EXPECT_EQ(snapshot.sessions[0].fingerprint, std::nullopt);
}

TEST_F(RunningStatementsTest, LeavesOutPipelinesWhereTheLastTextNeedNotRun) {
  snapshot.sessions[0].view.facts.outstanding = 2;
  EXPECT_THAT(fill(), IsEmpty());
  snapshot.sessions[0].view.facts.outstanding = 1;
  snapshot.sessions[0].view.facts.segment_open = true;
  EXPECT_THAT(fill(), IsEmpty());
}

TEST_F(RunningStatementsTest, AsksForFewAtATimeAndTheOldestFirst) {
  snapshot.sessions.clear();
  for (int i = 1; i <= 50; ++i)
    snapshot.sessions.push_back(SessionBuilder{SessionState::busy, 10s + i * 1ms}.pid(i));
  const auto first = fill();
  ASSERT_THAT(first, SizeIs(RunningStatements::max_asked));
  EXPECT_EQ(first[0].session, proxy::SessionId{50});
  EXPECT_THAT(fill(), SizeIs(50 - RunningStatements::max_asked));
}

TEST_F(RunningStatementsTest, DoesNotAskAgainForATextNobodyKnows) {
  statements.learnt(fill().at(0), std::nullopt, noon);
  EXPECT_THAT(fill(noon + 1s), IsEmpty());
  EXPECT_EQ(snapshot.sessions[0].fingerprint, std::nullopt);
}

}  // namespace
}  // namespace pgleash::watchdog
