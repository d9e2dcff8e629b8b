#include "watchdog/session_evidence.hpp"

#include "tests/unit/rules/session_builder.hpp"
#include "watchdog/leak_endings.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pgleash::watchdog {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;

proxy::StatementEvidence statements(std::string last, std::string first = {}) {
  return {std::move(last), std::move(first), false, false, {}};
}

class SessionEvidenceTest : public ::testing::Test {
 protected:
  SessionEntry session(SessionState state) {
    SessionBuilder made{state};
    made.facts().request_since = noon - 90s;
    made.facts().frontend_bytes = 96;
    made.facts().backend_bytes = 1234;
    return made;
  }
  /// Of a session that has not moved since it was seen.
  SessionEvidence of(const SessionEntry& entry, std::optional<proxy::StatementEvidence> said) {
    if (said) said->facts = entry.view.facts;
    return session_evidence(entry, said, noon, fingerprints_);
  }

  FingerprintCache fingerprints_;
};

TEST_F(SessionEvidenceTest, TellsTheLastStatementItsAgeTheTransactionsFirstTheTagsAndTheBytes) {
  const SessionEvidence found =
      of(session(SessionState::idle_in_transaction),
         statements("SELECT 4711 /*controller='cart',route='%2Fcart'*/", "UPDATE t SET a = 'x'"));
  EXPECT_EQ(found.last.text, "SELECT $1");
  EXPECT_EQ(found.age, 90s);
  EXPECT_EQ(found.first.text, "UPDATE t SET a = $1");
  EXPECT_EQ(found.first_text, "UPDATE t SET a = 'x'");
  EXPECT_THAT(found.tags, ElementsAre(Pair("controller", "cart"), Pair("route", "/cart")));
  EXPECT_EQ(found.bytes_to_server, 96U);
  EXPECT_EQ(found.bytes_to_client, 1234U);
  EXPECT_THAT(to_text(found),
              AllOf(HasSubstr("last statement: SELECT $1 (fingerprint " + found.last.hash),
                    HasSubstr("begun 90 s ago; tags controller=cart, route=/cart\n"),
                    HasSubstr("its transaction began with: UPDATE t SET a = $1"),
                    HasSubstr("96 to the server, 1234 to the client"), Not(HasSubstr("4711"))));
}

TEST_F(SessionEvidenceTest, AStatementOutsideOfATransactionIsNotToldTwice) {
  const SessionEvidence found = of(session(SessionState::busy), statements("SELECT 1", "SELECT 1"));
  EXPECT_EQ(found.last.text, "SELECT $1");
  EXPECT_THAT(found.first.hash, IsEmpty());
}

/// As it recovers between the verdict and the act: the texts are the worker's, and newer.
TEST_F(SessionEvidenceTest, OfASessionThatMovedOnAgeTransactionAndBytesAreThoseOfItsNewStatement) {
  proxy::StatementEvidence said = statements("SELECT 2", "SELECT 2");
  said.facts.request_since = noon - 1s;
  said.facts.frontend_bytes = 200;
  said.facts.backend_bytes = 2000;
  const SessionEvidence found =
      session_evidence(session(SessionState::idle_in_transaction), said, noon, fingerprints_);
  EXPECT_EQ(found.age, 1s);
  EXPECT_THAT(found.first.hash, IsEmpty()) << "its transaction is over";
  EXPECT_EQ(found.bytes_to_server, 200U);
  EXPECT_EQ(found.bytes_to_client, 2000U);
}

TEST_F(SessionEvidenceTest, TheTagsOfTheTransactionsFirstAreTakenWhereTheLastHasNone) {
  const SessionEvidence found = of(session(SessionState::idle_in_transaction),
                                   statements("ROLLBACK TO a", "SELECT 1 /*route='%2Fpay'*/"));
  EXPECT_THAT(found.tags, ElementsAre(Pair("route", "/pay")));
}

TEST_F(SessionEvidenceTest, OfASessionThatIsNotOursTheRowTellsTheStatementAndNothingTheBytes) {
  SessionEntry entry = session(SessionState::idle_in_transaction);
  entry.view.facts.frontend_bytes = entry.view.facts.backend_bytes = 0;
  EXPECT_EQ(of(entry, statements_of(entry, shown_statement)), SessionEvidence{});
  entry.row.edit().query = "SELECT 4711";
  const SessionEvidence found = of(entry, statements_of(entry, shown_statement));
  EXPECT_EQ(found.last.text, "SELECT $1");
  EXPECT_FALSE(found.bytes_to_server);
  EXPECT_FALSE(found.bytes_to_client);
  entry.row.edit().query = "SELECT '" + std::string(300, 'x');
  EXPECT_EQ(of(entry, statements_of(entry, shown_statement)).last.text, "SELECT")
      << "what is cut off may be half a literal";
}

TEST_F(SessionEvidenceTest, IsKeptWithoutValues) {
  const SessionEvidence kept = without_values(
      of(session(SessionState::idle_in_transaction), statements("SELECT 'secret'", "SELECT 'x'")));
  EXPECT_THAT(kept.last_text + kept.first_text, IsEmpty());
  EXPECT_EQ(kept.last.text + kept.first.text, "SELECT $1SELECT $1");
}

TEST_F(SessionEvidenceTest, OfALeaksSuspectsTheMostFrequentEndingsAreReported) {
  LeakReport report;
  report.oldest.resize(4);
  LeakEndings endings{report};
  const SessionEntry lost = session(SessionState::idle_in_transaction);
  endings.add(of(lost, statements("SELECT 1", "UPDATE a SET x = 1")));
  endings.add(of(lost, statements("DELETE FROM t /*route='%2Frefund'*/", "UPDATE b SET x = 2")));
  endings.add(of(lost, statements("DELETE FROM t /*route='%2Frefund'*/", "UPDATE b SET x = 3")));
  endings.add(of(lost, std::nullopt));
  EXPECT_EQ(report.statement, "DELETE FROM t");
  EXPECT_EQ(report.same_statement, 0.5);
  EXPECT_THAT(report.tags, ElementsAre(Pair("route", "/refund")));
  EXPECT_EQ(report.first_statement, "UPDATE b SET x = $1");
  EXPECT_THAT(report.first_statement_fingerprint, Not(IsEmpty()));
}

}  // namespace
}  // namespace pgleash::watchdog
