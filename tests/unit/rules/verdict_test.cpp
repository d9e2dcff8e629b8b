#include "watchdog/verdict.hpp"

#include "session_builder.hpp"

#include <gtest/gtest.h>

#include <set>

namespace pgleash::watchdog {
namespace {

TEST(VerdictIds, AreSixteenLettersOfCrockfordsAlphabet) {
  VerdictIds ids{0};
  EXPECT_EQ(ids.next().text, "0000000000000000");
  EXPECT_EQ(ids.next().text, "0000000000000001");
  VerdictIds high{~std::uint64_t{0}};
  EXPECT_EQ(high.next().text, "ZZZZZZZZZZZZY000");
  VerdictIds mixed{0x0123456789ABCDEFU};  // 80 bits 0123456789abcdef0000, five at a time
  EXPECT_EQ(mixed.next().text, "04HMASW9NF6YY000");
}

TEST(VerdictIds, StayUniqueWhenTheCountCarriesIntoTheSeed) {
  VerdictIds ids{7};
  std::set<std::string> seen;
  for (int i = 0; i < 70'000; ++i) ASSERT_TRUE(seen.insert(ids.next().text).second);
}

TEST(NativeSqlstate, IsTheOnePostgresqlUsesForTheReason) {
  const auto code = [](RuleKind kind, Action action, SessionState state = SessionState::idle,
                       TransactionStatus transaction = TransactionStatus::idle) {
    protocol::SessionFacts facts;
    facts.state = state;
    facts.transaction = transaction;
    return native_sqlstate(kind, action, facts);
  };
  EXPECT_EQ(code(RuleKind::idle, Action::terminate), "57P05");
  EXPECT_EQ(code(RuleKind::idle_in_transaction, Action::terminate), "25P03");
  EXPECT_EQ(code(RuleKind::aborted, Action::terminate), "25P03");
  EXPECT_EQ(code(RuleKind::stalled, Action::terminate), "08006");
  EXPECT_EQ(code(RuleKind::statement, Action::cancel), "57014");
  EXPECT_EQ(code(RuleKind::statement, Action::terminate), "57P05");
  EXPECT_EQ(code(RuleKind::statement, Action::escalate), "57P05");
  EXPECT_EQ(code(RuleKind::transaction_age, Action::terminate), "25P04");
  EXPECT_EQ(code(RuleKind::session_age, Action::terminate), "57P05");
  EXPECT_EQ(code(RuleKind::held, Action::terminate, SessionState::copy_in), "57P05");
  EXPECT_EQ(code(RuleKind::held, Action::terminate, SessionState::copy_in,
                 TransactionStatus::in_transaction),
            "25P03");
  EXPECT_EQ(code(RuleKind::held, Action::terminate, SessionState::pipeline_flushed), "25P03");
}

TEST(Names, AreThoseOfLogsAndMetrics) {
  EXPECT_EQ(name(Outcome::already_gone), "already_gone");
  EXPECT_EQ(name(Outcome::unverified), "unverified");
  EXPECT_EQ(name(Exemption::sync_replication), "sync_replication");
  EXPECT_EQ(name(Exemption::pooler), "pooler");
  EXPECT_EQ(name(Exemption::none), "none");
  EXPECT_EQ(name(Mapping::by_port), "by_port");
  EXPECT_EQ(name(Mapping::none), "none");
}

}  // namespace
}  // namespace pgleash::watchdog
