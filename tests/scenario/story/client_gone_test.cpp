#include "tests/scenario/story/story.hpp"

#include <sys/socket.h>

/// A query whose client is gone stops; work that was handed over completely is done.
namespace pgleash::test {
namespace {

class ClientGone : public Story {
 protected:
  std::unique_ptr<Process> psql(const std::vector<std::string>& commands, const std::string& name) {
    Command command{
        .argv =
            {Postgres::program("psql"), "-X", "-q",
             fmt::format(
                 "host=127.0.0.1 port={} user=app password=app dbname=orders application_name={}",
                 pgleash().port(), name)},
        .environment = {},
        .user = {}};
    for (const auto& text : commands) command.argv.insert(command.argv.end(), {"-c", text});
    return std::make_unique<Process>(std::move(command));
  }
  std::string backend(const std::string& name, const std::string& query) {
    std::string pid;
    EXPECT_TRUE(wait_until(
        [&] {
          pid = postgres().value(fmt::format(
              "SELECT pid FROM pg_stat_activity WHERE application_name = '{}' AND state = 'active' "
              "AND query ILIKE '{}%'",
              name, query));
          return !pid.empty();
        },
        10s))
        << query;
    return pid;
  }
  bool is_gone(const std::string& pid) {
    return postgres().value("SELECT 1 FROM pg_stat_activity WHERE pid = " + pid).empty();
  }
};

TEST_F(ClientGone, StopsTheQueryOfAKilledClientWithinASecond) {
  pgleash({});
  auto client = psql({"SELECT pg_sleep(600)"}, "doomed");
  const auto pid = backend("doomed", "SELECT pg_sleep");
  client->signal(SIGKILL);
  EXPECT_TRUE(wait_until([&] { return is_gone(pid); }, 1s));
  EXPECT_TRUE(wait_until(
      [&] {
        return pgleash().metric("pgleash_session_ends_total", {{"cause", "client_abort"}}) == 1;
      },
      5s));
  EXPECT_TRUE(wait_until(
      [&] {
        return pgleash().metric("pgleash_cancel_requests_total",
                                {{"origin", "client_gone"}, {"result", "delivered"}}) == 1;
      },
      5s));
}

TEST_F(ClientGone, OnlyCountsInObserveMode) {
  pgleash({.mode = "observe"});
  auto client = psql({"SELECT pg_sleep(600)"}, "doomed");
  const auto pid = backend("doomed", "SELECT pg_sleep");
  client->signal(SIGKILL);
  EXPECT_TRUE(wait_until(
      [&] {
        return pgleash().metric("pgleash_cancel_requests_total",
                                {{"origin", "client_gone"}, {"result", "observed"}}) == 1;
      },
      10s));
  EXPECT_FALSE(wait_until([&] { return is_gone(pid); }, 500ms));
  postgres().sql("SELECT pg_terminate_backend(" + pid + ")");
}

TEST_F(ClientGone, CommitsWhatWasHandedOverBeforeTheGoodbye) {
  pgleash({.listener = "client_gone_grace = \"100ms\""});
  auto application = login();
  application.exec("DROP TABLE IF EXISTS handed_over; CREATE TABLE handed_over (id int)");
  application.send("INSERT INTO handed_over SELECT 1 FROM pg_sleep(0.8)");
  application.close();  // Terminate, then the end of the stream
  EXPECT_TRUE(wait_until(
      [&] { return postgres().value("SELECT count(*) FROM handed_over", "orders") == "1"; }, 10s));
  EXPECT_EQ(pgleash().metric("pgleash_cancel_requests_total", {{"origin", "client_gone"}}), 0);
}

TEST_F(ClientGone, AnswersAClientThatClosedOnlyItsHalf) {
  pgleash({});
  auto application = login();
  application.send("SELECT pg_sleep(0.2), 'answer'");
  ::shutdown(application.socket(), SHUT_WR);
  const Result answer{PQgetResult(application.raw())};
  ASSERT_EQ(PQresultStatus(answer.get()), PGRES_TUPLES_OK) << PQerrorMessage(application.raw());
  EXPECT_STREQ(PQgetvalue(answer.get(), 0, 1), "answer");
}

TEST_F(ClientGone, NeverStopsACommit) {
  pgleash({.listener = "client_gone_grace = \"100ms\""});
  {
    auto owner = login();
    owner.exec("DROP TABLE IF EXISTS slow_commit");
    owner.exec("CREATE TABLE slow_commit (id int)");
    owner.exec(
        "CREATE OR REPLACE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_sleep(1.2); RETURN NULL; END'");
    owner.exec(
        "CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON slow_commit DEFERRABLE INITIALLY "
        "DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION dawdle()");
  }
  auto client = psql({"BEGIN", "INSERT INTO slow_commit VALUES (1)", "COMMIT"}, "committing");
  const auto pid = backend("committing", "COMMIT");
  client->signal(SIGKILL);
  EXPECT_TRUE(wait_until([&] { return is_gone(pid); }, 10s));
  EXPECT_EQ(postgres().value("SELECT count(*) FROM slow_commit", "orders"), "1");
}

}  // namespace
}  // namespace pgleash::test
