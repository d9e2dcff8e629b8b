#include "tests/scenario/story/story.hpp"

#include <deque>
#include <fstream>

/// Quotas as applications and operators meet them.
namespace pgleash::test {
namespace {

class Quotas : public Story {
 protected:
  static std::string per_application(int sessions) {
    return rule("r", "idle", "1h", "observe") +
           fmt::format(
               "[[quota]]\nname = \"per-application\"\nkey = \"application\"\nsessions = {}\n",
               sessions);
  }
  std::string refusal(const std::string& application) {
    try {
      login({{"application_name", application}});
    } catch (const std::runtime_error& refused) {
      return refused.what();
    }
    return "";
  }
};

TEST_F(Quotas, TheFiftyFirstSessionIsRefusedAndOthersGoOn) {
  pgleash({.rules = per_application(50)});
  std::deque<Application> greedy;
  for (int i = 0; i < 50; ++i) greedy.push_back(login({{"application_name", "greedy"}}));
  EXPECT_THAT(refusal("greedy"), AllOf(HasSubstr("too many sessions for application \"greedy\""),
                                       HasSubstr("(pgleash quota 'per-application')")));
  EXPECT_EQ(login({{"application_name", "modest"}}).exec("SELECT 'served'"), "served");
  EXPECT_TRUE(wait_until(
      [&] {
        return pgleash().metric("pgleash_quota_refused_total", {{"quota", "per-application"}}) == 1;
      },
      10s));
  EXPECT_EQ(pgleash().metric("pgleash_quota_sessions", {{"quota", "per-application"}}), 50);
  EXPECT_EQ(pgleash().metric("pgleash_client_connections_total", {{"result", "quota"}}), 1);
  EXPECT_EQ(postgres().value("SELECT count(*) FROM pg_stat_activity "
                             "WHERE application_name = 'greedy'"),
            "50")
      << "who is refused does not reach the server";

  greedy.pop_front();
  EXPECT_TRUE(wait_until([&] { return refusal("greedy").empty(); }, 10s));
}

TEST_F(Quotas, AFirstQuotaByReloadCountsWhoIsThereAlready) {
  pgleash({.rules = rule("r", "idle", "1h", "observe")});
  std::deque<Application> greedy;
  for (int i = 0; i < 3; ++i) greedy.push_back(login({{"application_name", "greedy"}}));
  std::ofstream{pgleash().config_file(), std::ios::app}
      << "\n[[quota]]\nname = \"q\"\nkey = \"application\"\nsessions = 3\n";
  pgleash().process().signal(SIGHUP);
  std::string said;
  EXPECT_TRUE(wait_until([&] { return !(said = refusal("greedy")).empty(); }, 10s));
  EXPECT_THAT(said, HasSubstr("(pgleash quota 'q')"));
  EXPECT_TRUE(wait_until(
      [&] {
        return pgleash().metric("pgleash_quota_sessions", {{"quota", "q"}}) == 3;
      },
      10s));
  EXPECT_EQ(refusal("modest"), "");
}

}  // namespace
}  // namespace pgleash::test
