#include "tests/scenario/story/story.hpp"

/// "pgleash:keep" in a transaction's first statement: for whom it counts, and where it does not.
namespace pgleash::test {
namespace {

constexpr auto soon = 10s;
constexpr auto well_above = 1500ms;  // of a limit of 300 ms

class Marker : public Story {
 protected:
  void start(const std::string& users, const std::string& max = "1h") {
    pgleash({.rules =
                 rule("idle-tx", "idle_in_transaction", "300ms", "terminate") +
                 rule("slow", "statement", "300ms", "cancel") +
                 fmt::format("[protect]\nmarker_users = [{}]\nmarker_max = \"{}\"\n", users, max)});
  }
};

TEST_F(Marker, KeepsATransactionOfAListedUserWhateverItDoes) {
  start("'app'");
  auto application = login();
  application.exec("BEGIN /* pgleash:keep */");
  EXPECT_FALSE(application.ended(well_above));
  EXPECT_FALSE(application.error_of("SELECT pg_sleep(1.5)"));
  EXPECT_FALSE(application.ended(well_above));
  application.exec("COMMIT");
  EXPECT_TRUE(wait_until(
      [&] {
        return pgleash().metric("pgleash_rule_exempted_total", {{"exemption", "marker"}}) >= 2;
      },
      soon));

  application.exec("BEGIN");
  EXPECT_TRUE(application.ended(soon)) << "it held for that transaction only";
}

TEST_F(Marker, IsNothingInTheHandsOfAUserWhoIsNotListed) {
  start("'batch'");
  auto application = login();
  application.exec("BEGIN /* pgleash:keep */");
  EXPECT_TRUE(application.ended(soon));
}

TEST_F(Marker, IsNothingInALaterStatementOrInAString) {
  start("'app'");
  for (const char* statement : {"SELECT 1 /* pgleash:keep */", "SELECT '/* pgleash:keep */'"}) {
    auto application = login();
    application.exec("BEGIN");
    application.exec(statement);
    EXPECT_TRUE(application.ended(soon)) << statement;
  }
  auto literal = login();
  EXPECT_TRUE(literal.error_of("SELECT pg_sleep(10), 'pgleash:keep', '-- pgleash:keep'"));
}

TEST_F(Marker, EndsAfterTheLongestTimeItMayHold) {
  start("'app'", "1s");
  auto application = login();
  application.exec("BEGIN -- pgleash:keep");
  EXPECT_FALSE(application.ended(700ms));
  EXPECT_TRUE(application.ended(soon));
  EXPECT_TRUE(wait_until([&] { return acted("idle-tx", "confirmed") == 1; }, soon));
}

}  // namespace
}  // namespace pgleash::test
