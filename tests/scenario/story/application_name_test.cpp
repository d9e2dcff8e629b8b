#include "tests/scenario/story/story.hpp"

/// application_name_suffix, as the server and the operator see it.
namespace pgleash::test {
namespace {

class ApplicationNames : public Story {
 protected:
  void start() {
    PgleashOptions options;
    options.server = "application_name_suffix = \"address_port\"\n";
    options.rules = rule("idle-in-tx", "idle_in_transaction", "400ms", "terminate") +
                    for_application("checkout");
    pgleash(options);
  }
  std::string shown(pid_t pid) {
    return postgres().value(
        fmt::format("SELECT application_name FROM pg_stat_activity WHERE pid = {}", pid));
  }
};

TEST_F(ApplicationNames, CarryTheClientsAddressToTheServerAndRulesKnowThemWithoutIt) {
  start();
  auto application = login({{"application_name", "checkout"}});
  EXPECT_THAT(shown(application.pid()), testing::MatchesRegex("checkout - 127\\.0\\.0\\.1:[0-9]+"));
  EXPECT_TRUE(wait_until(
      [&] {
        return pgleash().metric("pgleash_sessions", {{"application", "checkout"}}) == 1;
      },
      10s));
  const pid_t pid = application.pid();
  application.exec("BEGIN");
  const auto told = application.ended(20s);
  ASSERT_TRUE(told) << "the rule is for 'checkout'";
  EXPECT_EQ(told->sqlstate, "25P03");
  EXPECT_TRUE(wait_until([&] { return !backend_lives(pid); }, 10s));
}

TEST_F(ApplicationNames, KeepTheAddressWithinTheServersSixtyThreeBytes) {
  start();
  for (const std::string& name : {std::string(80, 'n'), std::string(63, 'n'),
                                  std::string{"caf\xc3\xa9 "} + std::string(60, 'n')}) {
    auto application = login({{"application_name", name}});
    const std::string there = shown(application.pid());
    EXPECT_LE(there.size(), 63U);
    EXPECT_THAT(there, testing::MatchesRegex(".* - 127\\.0\\.0\\.1:[0-9]+")) << name;
  }
  auto nameless = login({{"application_name", ""}});
  EXPECT_THAT(shown(nameless.pid()), testing::MatchesRegex("127\\.0\\.0\\.1:[0-9]+"));
}

}  // namespace
}  // namespace pgleash::test
