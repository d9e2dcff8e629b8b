#include "watchdog/message.hpp"

#include "session_builder.hpp"

#include <gtest/gtest.h>

namespace pgleash::watchdog {
namespace {

using proxy::KillAction;

Verdict verdict(RuleKind kind, SessionState state, Duration measured, Duration limit) {
  Verdict made;
  made.id = {"01ABCDEFGHJKMNPQ"};
  made.rule = "web";
  made.kind = kind;
  made.measured = measured;
  made.limit = limit;
  made.sqlstate = "25P03";
  made.session = SessionBuilder{state, measured};
  return made;
}

std::string message_of(RuleKind kind, SessionState state) {
  return error_notice(verdict(kind, state, 312s, 300s), KillAction::terminate).message;
}

TEST(Message, SaysWhatWasDoneAndWhyInOneLine) {
  EXPECT_EQ(message_of(RuleKind::idle, SessionState::idle),
            "terminating connection: idle for 312 s (pgleash rule 'web', limit 300 s)");
  EXPECT_EQ(
      message_of(RuleKind::idle_in_transaction, SessionState::idle_in_transaction),
      "terminating connection: idle in transaction for 312 s (pgleash rule 'web', limit 300 s)");
  EXPECT_EQ(message_of(RuleKind::aborted, SessionState::aborted),
            "terminating connection: idle in an aborted transaction for 312 s (pgleash rule 'web', "
            "limit 300 s)");
  EXPECT_EQ(
      message_of(RuleKind::held, SessionState::pipeline_flushed),
      "terminating connection: pipeline without Sync for 312 s (pgleash rule 'web', limit 300 s)");
  EXPECT_EQ(message_of(RuleKind::held, SessionState::pipeline_failed),
            "terminating connection: failed pipeline without Sync for 312 s (pgleash rule 'web', "
            "limit 300 s)");
  EXPECT_EQ(message_of(RuleKind::held, SessionState::copy_in),
            "terminating connection: COPY waiting for the client's data for 312 s (pgleash rule "
            "'web', limit 300 s)");
  EXPECT_EQ(message_of(RuleKind::stalled, SessionState::busy),
            "terminating connection: client has not read its results for 312 s (pgleash rule "
            "'web', limit 300 s)");
  EXPECT_EQ(message_of(RuleKind::transaction_age, SessionState::busy),
            "terminating connection: transaction open for 312 s (pgleash rule 'web', limit 300 s)");
  EXPECT_EQ(message_of(RuleKind::session_age, SessionState::idle),
            "terminating connection: connected for 312 s (pgleash rule 'web', limit 300 s)");
}

TEST(Message, OfABlockerSaysHowManyItBlocked) {
  auto root = verdict(RuleKind::blocking, SessionState::idle_in_transaction, 61s, 60s);
  root.counter = proxy::JudgedCounter::transaction;
  root.waits_for_client = true;
  root.others = 3;
  EXPECT_EQ(error_notice(root, KillAction::terminate).message,
            "terminating connection: idle in transaction, blocking 3 sessions for 61 s (pgleash "
            "rule 'web', limit 60 s)");
  root.session = SessionBuilder{SessionState::busy, 61s};
  root.waits_for_client = false;
  root.others = 1;
  EXPECT_EQ(error_notice(root, KillAction::cancel).message,
            "canceling statement: running, blocking 1 session for 61 s (pgleash rule 'web', limit "
            "60 s)");
  root.counter = proxy::JudgedCounter::request;
  root.others = 12;
  EXPECT_EQ(error_notice(root, KillAction::cancel).message,
            "canceling statement: waiting for a lock with 12 sessions queued behind it for 61 s "
            "(pgleash rule 'web', limit 60 s)");
}

TEST(Message, OfAGroupSaysHowManyThereWere) {
  auto one = verdict(RuleKind::group, SessionState::busy, 12s, 10s);
  one.others = 50;
  EXPECT_EQ(error_notice(one, KillAction::cancel).message,
            "canceling statement: running, one of 50 alike, for 12 s (pgleash rule 'web', limit 10 "
            "s)");
}

TEST(Message, CallsACancelWhatPostgresqlCallsIt) {
  const auto notice =
      error_notice(verdict(RuleKind::statement, SessionState::busy, 3601s, 1h), KillAction::cancel);
  EXPECT_EQ(notice.message,
            "canceling statement: running for 3601 s (pgleash rule 'web', limit 3600 s)");
  EXPECT_EQ(notice.sqlstate, "57014");
}

TEST(Message, NamesIncidentAndPidInTheDetail) {
  const auto notice =
      error_notice(verdict(RuleKind::idle, SessionState::idle, 312s, 300s), KillAction::terminate);
  EXPECT_EQ(notice.detail,
            "Incident 01ABCDEFGHJKMNPQ: search the log and the audit log of pgleash for it. "
            "Backend pid 101.");
  EXPECT_EQ(notice.sqlstate, "25P03");
}

TEST(Message, HintsAsTheRuleSaysOrAsTheKindSuggests) {
  auto made = verdict(RuleKind::aborted, SessionState::aborted, 312s, 300s);
  EXPECT_EQ(error_notice(made, KillAction::terminate).hint,
            "Roll back as soon as a statement fails.");
  made.hint = "ask the \x1B[31mDBA\n";
  EXPECT_EQ(error_notice(made, KillAction::terminate).hint, "ask the \\x1b[31mDBA\\x0a");
}

TEST(Message, HasAHintForEveryKind) {
  for (const auto kind :
       {RuleKind::idle, RuleKind::idle_in_transaction, RuleKind::aborted, RuleKind::held,
        RuleKind::stalled, RuleKind::statement, RuleKind::transaction_age, RuleKind::session_age}) {
    EXPECT_FALSE(error_notice(verdict(kind, SessionState::idle, 2s, 1s), KillAction::terminate)
                     .hint.empty());
  }
}

TEST(Message, EscapesWhatCouldForgeALine) {
  auto made = verdict(RuleKind::idle, SessionState::idle, 312s, 300s);
  made.rule = "a\nFATAL: b\x7F";
  EXPECT_EQ(
      error_notice(made, KillAction::terminate).message,
      "terminating connection: idle for 312 s (pgleash rule 'a\\x0aFATAL: b\\x7f', limit 300 s)");
}

TEST(InSeconds, SuitsTheLength) {
  EXPECT_EQ(in_seconds(25ms), "25 ms");
  EXPECT_EQ(in_seconds(99'999us), "99 ms");
  EXPECT_EQ(in_seconds(10us), "1 ms");
  EXPECT_EQ(in_seconds(100ms), "0.1 s");
  EXPECT_EQ(in_seconds(250ms), "0.25 s");
  EXPECT_EQ(in_seconds(1s), "1 s");
  EXPECT_EQ(in_seconds(1050ms), "1.05 s");
  EXPECT_EQ(in_seconds(1500ms), "1.5 s");
  EXPECT_EQ(in_seconds(9999ms), "9.99 s");
  EXPECT_EQ(in_seconds(10'900ms), "10 s");
  EXPECT_EQ(in_seconds(312s), "312 s");
  EXPECT_EQ(in_seconds(1h), "3600 s");
}

TEST(Message, SaysWhatAStatementCosts) {
  auto hog = verdict(RuleKind::temp_bytes, SessionState::busy, 12s, 10s);
  hog.cost = CostFinding{std::uint64_t{22} << 30U, std::uint64_t{20} << 30U};
  EXPECT_EQ(error_notice(hog, KillAction::cancel).message,
            "canceling statement: temporary files of 22 GiB, above 20 GiB for 12 s (pgleash rule "
            "'web', limit 10 s)");
  hog.kind = RuleKind::cpu_share;
  hog.cost = CostFinding{180, 150};
  EXPECT_EQ(error_notice(hog, KillAction::terminate).message,
            "terminating connection: 180 % of a CPU used, above 150 % for 12 s (pgleash rule "
            "'web', limit 10 s)");
  hog.kind = RuleKind::rows;
  hog.cost = CostFinding{1000001, 1000000};
  EXPECT_EQ(error_notice(hog, KillAction::cancel).message,
            "canceling statement: 1000001 rows sent, above 1000000 for 12 s (pgleash rule 'web', "
            "limit 10 s)");
}

}  // namespace
}  // namespace pgleash::watchdog
