#include "tests/scenario/story/story.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

/// What an operator can ask about a session, and what rules' suspects came to.
namespace pgleash::test {
namespace {

class Explained : public Story {};

TEST_F(Explained, ASessionIsToldWhichRuleActsAndWhen) {
  pgleash({.rules = rule("idle-tx", "idle_in_transaction", "10m", "terminate") +
                    rule("other", "idle", "1m", "terminate", for_application("nobody"))});
  Application app = login();
  app.exec("BEGIN");
  app.exec("SELECT 4711 /*controller='cart'*/");
  ASSERT_TRUE(wait_until([&] { return !pgleash().log("session.opened").empty(); }, 10s));
  const auto id = static_cast<std::uint64_t>(number(pgleash().log("session.opened")[0], "session"));
  const auto page = fmt::format("/api/explain?session={}", id);
  ASSERT_TRUE(wait_until(
      [&] {
        const std::string said = pgleash().page(page);
        return (said.find("idle in transaction") != std::string::npos ||
                said.find("idle_in_transaction") != std::string::npos) &&
               said.find("SELECT $1") != std::string::npos;
      },
      10s));
  const auto found = boost::json::parse(pgleash().page(page)).as_object();
  EXPECT_EQ(found.at("acts").as_string(), "idle-tx");
  EXPECT_GT(found.at("acts_in_seconds").to_number<double>(), 590);
  EXPECT_LE(found.at("acts_in_seconds").to_number<double>(), 600);
  const auto& evidence = found.at("evidence").as_object();
  EXPECT_EQ(text(evidence, "statement"), "SELECT $1");
  EXPECT_EQ(text(evidence.at("tags").as_object(), "controller"), "cart");
  EXPECT_GE(number(evidence, "statement_age_seconds"), 0);
  EXPECT_GT(number(evidence, "bytes_to_client"), 100);
  const auto& rules = found.at("rules").as_array();
  EXPECT_EQ(rules.at(0).as_object().at("standing").as_string(), "below");
  EXPECT_EQ(rules.at(1).as_object().at("standing").as_string(), "not_selected");
}

TEST_F(Explained, ASuspectThatBecameActiveAgainIsCountedWithItsMargin) {
  pgleash({.rules = rule("idle-tx", "idle_in_transaction", "2s", "observe"), .mode = "observe"});
  Application app = login();
  app.exec("BEGIN");
  ASSERT_TRUE(wait_until([&] { return acted("idle-tx", "observed") == 1; }, 20s));
  app.exec("SELECT 1");
  EXPECT_TRUE(wait_until(
      [&] {
        return pgleash().metric("pgleash_rule_recovered_total",
                                {{"rule", "idle-tx"}, {"margin", "over_limit"}}) == 1;
      },
      10s));
}

}  // namespace
}  // namespace pgleash::test
