#include "tests/scenario/story/story.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include <algorithm>
#include <fstream>
#include <string>
#include <sys/stat.h>
#include <vector>

/// `pgleash check --server`: what an operator is told before anything runs.
namespace pgleash::test {
namespace {

class CheckServer : public testing::Test {
 protected:
  void SetUp() override {
    if (!Postgres::available()) GTEST_SKIP() << "NO POSTGRESQL HERE: set PGLEASH_TEST_PG_BIN";
  }
  struct Answer {
    int status = 0;
    boost::json::array advice;
    [[nodiscard]] const boost::json::object* about(std::string_view what) const {
      for (const auto& one : advice)
        if (one.as_object().at("about").as_string() == what) return &one.as_object();
      return nullptr;
    }
  };
  Answer check(std::uint16_t port, const std::string& user, const std::string& password) {
    const std::string secret = folder_ / "pw";
    std::ofstream{secret} << password << "\n";
    ::chmod(secret.c_str(), 0600);
    const std::string file = folder_ / "pgleash.toml";
    std::ofstream{file} << fmt::format(
        "[[server]]\nname = \"main\"\nhost = \"127.0.0.1\"\nport = {}\n"
        "[server.monitor]\nuser = \"{}\"\ndatabase = \"pgleash\"\npassword_file = \"{}\"\n",
        port, user, secret);
    Command command;
    command.argv = {PGLEASH_BINARY, "check", "--config", file, "--server", "--json"};
    const Finished process = run(std::move(command));
    Answer answer;
    answer.status = process.status;
    const auto found = boost::json::parse(process.out).as_object();
    answer.advice = found.at("servers").as_array().at(0).as_object().at("advice").as_array();
    return answer;
  }
  TempDir folder_;
};

TEST_F(CheckServer, NamesTheGrantsAndSettingsThatABareServerLacks) {
  Postgres bare{
      {.settings = {"track_activity_query_size = 100kB", "superuser_reserved_connections = 0"}}};
  bare.create_role("watcher", "secret");
  bare.create_database("pgleash");
  const Answer answer = check(bare.port(), "watcher", "secret");
  EXPECT_EQ(answer.status, 2);
  ASSERT_NE(answer.about("pg_monitor"), nullptr);
  EXPECT_EQ(answer.about("pg_monitor")->at("remedy").as_string(), "GRANT pg_monitor TO watcher");
  ASSERT_NE(answer.about("pg_signal_backend"), nullptr);
  EXPECT_EQ(answer.about("pg_signal_backend")->at("remedy").as_string(),
            "GRANT pg_signal_backend TO watcher");
  EXPECT_NE(answer.about("database"), nullptr);
  EXPECT_NE(answer.about("track_activity_query_size"), nullptr);
  EXPECT_NE(answer.about("superuser_reserved_connections"), nullptr);
  EXPECT_NE(answer.about("max_connections"), nullptr);
  EXPECT_NE(answer.about("pg_hba.conf"), nullptr);

  // With the advice taken there are warnings less, and none that is an error.
  bare.sql("GRANT pg_monitor, pg_signal_backend TO watcher");
  const Answer better = check(bare.port(), "watcher", "secret");
  EXPECT_EQ(better.status, 1);
  EXPECT_EQ(better.about("pg_monitor"), nullptr);
  EXPECT_EQ(better.about("pg_signal_backend"), nullptr);
}

TEST_F(CheckServer, FindsTheTrustLineOnceItMayReadTheFile) {
  MonitoredServer server;
  Answer answer = check(server->port(), "pgleash_monitor", MonitoredServer::monitor_password);
  ASSERT_NE(answer.about("pg_hba.conf"), nullptr);
  const std::string grant{answer.about("pg_hba.conf")->at("remedy").as_string().c_str()};
  server->sql(grant, "pgleash");
  EXPECT_EQ(check(server->port(), "pgleash_monitor", MonitoredServer::monitor_password)
                .about("pg_hba.conf"),
            nullptr);
  std::ofstream{server->value("SHOW hba_file"), std::ios::app}
      << "host orders app 10.0.0.0/8 trust\nhost orders app 127.0.0.0/8 trust\n";
  answer = check(server->port(), "pgleash_monitor", MonitoredServer::monitor_password);
  ASSERT_NE(answer.about("pg_hba.conf"), nullptr);
  EXPECT_THAT(std::string{answer.about("pg_hba.conf")->at("message").as_string().c_str()},
              HasSubstr("(trust)"));
  std::size_t lines = 0;
  for (const auto& one : answer.advice)
    if (one.as_object().at("about").as_string() == "pg_hba.conf") ++lines;
  EXPECT_EQ(lines, 1U);
  EXPECT_EQ(answer.status, 1);
}

TEST_F(CheckServer, ABootstrappedServerHasNeitherErrorsNorWarnings) {
  MonitoredServer server;
  const Answer answer = check(server->port(), "pgleash_monitor", MonitoredServer::monitor_password);
  EXPECT_EQ(answer.status, 0);
  for (const auto& one : answer.advice)
    EXPECT_EQ(one.as_object().at("severity").as_string(), "note");
}

TEST_F(CheckServer, CountsTheSessionsWithoutANameAndSaysWhatGivesThemOne) {
  MonitoredServer server;
  std::vector<LibpqClient> sessions;
  for (const char* name : {"PostgreSQL JDBC Driver", "PostgreSQL JDBC Driver", "", "checkout"})
    sessions.push_back(server.login({{"application_name", name}}));
  const Answer answer = check(server->port(), "pgleash_monitor", MonitoredServer::monitor_password);
  std::vector<std::string> said;
  for (const auto& one : answer.advice) {
    if (one.as_object().at("about").as_string() != "application_name") continue;
    said.emplace_back(one.as_object().at("message").as_string().c_str());
    said.back() += " = " + std::string{one.as_object().at("remedy").as_string().c_str()};
  }
  EXPECT_THAT(
      said, testing::Contains(AllOf(HasSubstr("2 of "), HasSubstr("JDBC Driver"),
                                    HasSubstr("app@orders"), HasSubstr("?ApplicationName=NAME"))));
  EXPECT_THAT(said, testing::Contains(AllOf(HasSubstr("carry no name"), HasSubstr("PGAPPNAME"))));
  EXPECT_EQ(answer.status, 0) << "a note is no warning";
}

TEST_F(CheckServer, AServerThatCannotBeReachedIsAnError) {
  Postgres bare;
  const Answer answer = check(bare.port(), "nobody", "wrong");
  EXPECT_EQ(answer.status, 2);
  ASSERT_NE(answer.about("monitor"), nullptr);
}

class Advice : public Story {};

/// The same advice while it runs, and again when the monitor has reconnected.
TEST_F(Advice, IsLoggedAndShownByReadyzAndGoesWhenItIsTaken) {
  postgres().sql("REVOKE pg_signal_backend FROM pgleash_monitor");
  pgleash({.mode = "observe"});
  const auto shown = [&] {
    return pgleash().page("/readyz").find("pg_signal_backend") != std::string::npos;
  };
  EXPECT_TRUE(wait_until(shown, 10s)) << pgleash().page("/readyz");
  const auto logged = pgleash().log("server.advice");
  const auto about = std::ranges::find_if(
      logged, [](const auto& line) { return text(line, "about") == "pg_signal_backend"; });
  ASSERT_NE(about, logged.end());
  EXPECT_EQ(text(*about, "remedy"), "GRANT pg_signal_backend TO pgleash_monitor");
  EXPECT_THAT(pgleash().page("/readyz"), testing::StartsWith("ready\n")) << "advice refuses nobody";

  postgres().sql("GRANT pg_signal_backend TO pgleash_monitor");
  postgres().sql(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'pgleash_monitor'");
  EXPECT_TRUE(wait_until([&] { return !shown(); }, 20s)) << pgleash().page("/readyz");
}

}  // namespace
}  // namespace pgleash::test
