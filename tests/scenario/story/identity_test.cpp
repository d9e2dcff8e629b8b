#include "tests/scenario/story/story.hpp"

/// What "application" means to whoever reads the metrics, when services say little of themselves.
namespace pgleash::test {
namespace {

class Identity : public Story {
 protected:
  void SetUp() override {
    Story::SetUp();
    if (IsSkipped()) return;
    for (const std::string role : {"billing", "cart", "reports"})
      if (postgres().sql("SELECT 1 FROM pg_roles WHERE rolname = '" + role + "'").empty())
        postgres().create_role(role, "secret");
  }
  double sessions_of(const std::string& application) {
    return pgleash().metric("pgleash_sessions", {{"application", application}});
  }
  /// Of a service that sets no name: what its driver puts there, and a role of its own.
  Application service(const std::string& role, const std::string& driver) {
    return login({{"user", role}, {"password", "secret"}, {"application_name", driver}});
  }
};

TEST_F(Identity, AJavaANodeAndAPythonServiceWithoutAnySettingAreThreeApplications) {
  pgleash({});
  const Application java = service("billing", "PostgreSQL JDBC Driver");
  const Application node = service("cart", "");
  const Application python = service("reports", "");
  for (const char* name : {"billing@orders", "cart@orders", "reports@orders"})
    EXPECT_TRUE(wait_until([&] { return sessions_of(name) == 1; }, 10s)) << name;
  EXPECT_EQ(sessions_of("PostgreSQL JDBC Driver"), 0) << "a driver's default is no name";
}

TEST_F(Identity, WhoBroughtNoNameIsCalledByTheFirstThatItSetsAndByNoLaterOne) {
  pgleash({});
  Application java = service("billing", "PostgreSQL JDBC Driver");
  ASSERT_TRUE(wait_until([&] { return sessions_of("billing@orders") == 1; }, 10s));
  java.exec("SET application_name = 'invoices'");  // as the driver does behind its login
  EXPECT_TRUE(wait_until([&] { return sessions_of("invoices") == 1; }, 10s));
  EXPECT_EQ(sessions_of("billing@orders"), 0);
  java.exec("SET application_name = 'somebody else'");
  java.exec("SELECT 1");
  EXPECT_EQ(sessions_of("invoices"), 1);
  EXPECT_EQ(sessions_of("somebody else"), 0);
}

class NamesOnTheCard : public Story {};

TEST_F(NamesOnTheCard, AreMissingForSoManySessionsOfADriverWithTheLineThatGivesThemOne) {
  std::vector<LibpqClient> nameless;
  for (int i = 0; i < 2; ++i) nameless.push_back(server().login({{"application_name", ""}}));
  const LibpqClient java = server().login({{"application_name", "PostgreSQL JDBC Driver"}});
  const LibpqClient named = server().login({{"application_name", "shop"}});
  pgleash({.rules = rule("never", "idle", "1h", "observe")});
  const auto card = [&] { return pgleash().process().out(); };
  ASSERT_TRUE(wait_until([&] { return card().find("carry no name") != std::string::npos; }, 20s))
      << card();
  EXPECT_THAT(card(),
              testing::ContainsRegex("names +main: [2-9] of [0-9]+ sessions carry no name"));
  EXPECT_THAT(card(), HasSubstr("PGAPPNAME"));
  EXPECT_THAT(card(), testing::ContainsRegex(
                          "[1-9] of [0-9]+ sessions are called \"PostgreSQL JDBC Driver\""));
  EXPECT_THAT(card(), HasSubstr("?ApplicationName="));
}

}  // namespace
}  // namespace pgleash::test
