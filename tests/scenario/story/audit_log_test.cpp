#include "tests/scenario/story/story.hpp"

/// The evidence outlives pgleash.
namespace pgleash::test {
namespace {

class AuditTrail : public Story {
 protected:
  Finished verify() {
    return run({.argv = {PGLEASH_BINARY, "audit", "verify", pgleash().audit_file()},
                .environment = {},
                .user = {}});
  }
  void expect_schema() {
    const auto checked =
        run({.argv = {"python3", PGLEASH_SOURCE_DIR "/tests/support/check_schema.py",
                      PGLEASH_SOURCE_DIR "/deploy/audit.schema.json", pgleash().audit_file()},
             .environment = {},
             .user = {}});
    if (checked.status == 77)
      GTEST_SKIP() << "NO PYTHON MODULE jsonschema HERE (Debian: python3-jsonschema)";
    EXPECT_EQ(checked.status, 0) << checked.out << checked.err;
  }
};

TEST_F(AuditTrail, HasALineOfTheShippedSchemaForOneKillOfEachKind) {
  std::string rules;
  const std::string later = "notify = \"on_next_use\"\n";
  rules += rule("idle", "idle", "300ms", "terminate", later + for_application("idle-app"));
  for (const auto* kind :
       {"idle_in_transaction", "aborted", "held", "statement", "transaction_age", "session_age"})
    rules += rule(kind, kind, "300ms", "terminate", for_application(fmt::format("{}-app", kind)));
  rules += rule("cancel", "statement", "300ms", "cancel", for_application("cancel-app"));
  pgleash({.rules = rules, .audit = "statement_text = \"full\""});
  const auto named = [&](const std::string& kind) {
    return login({{"application_name", kind + "-app"}});
  };

  auto idle = named("idle");
  idle.exec("SELECT 'h\xC3\xA9' /*controller='orders',route='%2Fcart'*/");
  auto in_transaction = named("idle_in_transaction");
  in_transaction.exec("BEGIN");
  auto aborted = named("aborted");
  aborted.exec("BEGIN");
  EXPECT_TRUE(aborted.error_of("SELECT 1/0"));
  auto held = named("held");
  held.exec("CREATE TEMP TABLE parts (t text)");
  const Result copy{PQexec(held.raw(), "COPY parts FROM STDIN")};
  auto statement = named("statement");
  statement.send("SELECT pg_sleep(600)");
  auto transaction = named("transaction_age");
  transaction.exec("BEGIN");
  auto session = named("session_age");
  auto cancelled = named("cancel");
  cancelled.send("SELECT pg_sleep(600)");

  EXPECT_TRUE(wait_until([&] { return pgleash().outcomes("confirmed").size() == 8; }, 20s));
  EXPECT_THAT(pgleash().audit("intent"), SizeIs(8));
  EXPECT_TRUE(
      wait_until([&] { return pgleash().metric("pgleash_audit_records_total") == 16; }, 5s));
  EXPECT_EQ(verify().status, 0);
  expect_schema();
}

TEST_F(AuditTrail, AKillRecordNamesTheRouteTheStatementsTheirAgeAndTheBytesAndNoValue) {
  pgleash({.rules = rule("idle-tx", "idle_in_transaction", "300ms", "terminate")});
  auto shop = login({{"application_name", "shop"}});
  shop.exec("CREATE TEMP TABLE cart (item int)");
  // As a web framework does it: BEGIN by itself, a comment behind each statement.
  shop.exec("BEGIN");
  shop.exec("INSERT INTO cart VALUES (4711) /*controller='cart',action='add'*/");
  shop.exec(
      "SELECT count(*) FROM cart WHERE item = 4712 "
      "/*controller='orders',action='show',route='%2Forders%2F{id}'*/");
  const auto error = shop.ended(20s);
  ASSERT_TRUE(error);
  const auto line = outcome_line(error->incident());
  EXPECT_EQ(text(line, "outcome"), "confirmed");
  EXPECT_EQ(text(line, "statement_normalized"), "SELECT count(*) FROM cart WHERE item = $1");
  EXPECT_EQ(text(line, "first_statement_normalized"), "INSERT INTO cart VALUES ($1)");
  EXPECT_EQ(text(line, "first_statement_fingerprint").size(), 16U);
  EXPECT_GE(number(line, "statement_age_ms"), 300);
  EXPECT_LT(number(line, "statement_age_ms"), 20'000);
  const auto& tags = line.at("tags").as_object();
  EXPECT_EQ(text(tags, "controller"), "orders");
  EXPECT_EQ(text(tags, "route"), "/orders/{id}");
  EXPECT_GT(number(line, "bytes_to_server"), 200);
  EXPECT_GT(number(line, "bytes_to_client"), 200);
  const auto found = run(
      {.argv = {"grep", "-E", "471[12]", pgleash().audit_file()}, .environment = {}, .user = {}});
  EXPECT_EQ(found.status, 1) << "values: " << found.out;
  expect_schema();
}

TEST_F(AuditTrail, SurvivesSigkillOfPgleash) {
  pgleash({.rules = rule("idle", "idle", "100ms", "terminate")});
  for (int life = 0; life < 3; ++life) {
    std::vector<Application> leaked;
    for (int i = 0; i < 8; ++i) leaked.push_back(login());
    const auto intents = pgleash().audit("intent").size();
    ASSERT_TRUE(wait_until([&] { return pgleash().audit("intent").size() > intents; }, 10s));
    pgleash().kill();
    pgleash().start();
  }
  auto last = login();
  const auto error = last.ended(20s);
  ASSERT_TRUE(error);
  EXPECT_EQ(text(outcome_line(error->incident()), "outcome"), "confirmed");
  const auto verified = verify();
  EXPECT_EQ(verified.status, 0) << verified.err;
  EXPECT_THAT(verified.out, HasSubstr("the chain is whole"));
  expect_schema();
}

TEST_F(AuditTrail, ShowsThatALineWasChanged) {
  pgleash({.rules = rule("idle", "idle", "100ms", "terminate")});
  auto application = login();
  ASSERT_TRUE(application.ended(10s));
  auto next = login();
  ASSERT_TRUE(next.ended(10s));
  ASSERT_EQ(pgleash().terminate(), 0);
  ASSERT_EQ(verify().status, 0);
  ASSERT_EQ(run({.argv = {"sed", "-i", "2s/confirmed/recovered/", pgleash().audit_file()},
                 .environment = {},
                 .user = {}})
                .status,
            0);
  const auto verified = verify();
  EXPECT_EQ(verified.status, 2);
  EXPECT_THAT(verified.err, HasSubstr(":3:"));
}

}  // namespace
}  // namespace pgleash::test
