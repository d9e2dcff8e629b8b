#include "tests/scenario/story/story.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include <arpa/inet.h>
#include <array>
#include <netinet/in.h>
#include <random>
#include <set>
#include <sys/socket.h>

/// What pgleash knows of its sessions is what PostgreSQL knows of them.
namespace pgleash::test {
namespace {

/// Names that do not fold into one, as numbers would.
constexpr std::array quarters{"north", "south", "east", "west"};

using Counts = std::map<std::pair<std::string, std::string>, double>;

class Registry : public Story {
 protected:
  Counts by_postgres() {
    Counts counts;
    for (const auto& row :
         postgres().sql("SELECT application_name, state, count(*) FROM pg_stat_activity "
                        "WHERE application_name LIKE 'crowd-%' GROUP BY 1, 2"))
      counts[{row[0], row[1]}] = std::stod(row[2]);
    return counts;
  }
  /// PostgreSQL has no word for a session that is active and waits for its client.
  Counts by_pgleash() {
    Counts counts;
    for (std::size_t i = 0; i < quarters.size(); ++i) {
      const auto name = fmt::format("crowd-{}", quarters.at(i));
      const auto sessions = [&](const std::string& state) {
        return pgleash().metric("pgleash_sessions", {{"application", name}, {"state", state}});
      };
      for (const auto* state : {"idle", "idle in transaction", "idle in transaction (aborted)"})
        if (const auto n = sessions(state); n > 0) counts[{name, state}] = n;
      if (const auto n = sessions("active") + sessions("held"); n > 0) counts[{name, "active"}] = n;
    }
    return counts;
  }
};

/// Into one of five states.
void enter(Application& application, int state) {
  switch (state) {
    case 0:
      application.exec("SELECT 1");
      return;
    case 1:
      application.exec("BEGIN");
      return;
    case 2:
      application.exec("BEGIN");
      EXPECT_TRUE(application.error_of("SELECT 1/0"));
      return;
    case 3:
      application.send("SELECT pg_sleep(600)");
      return;
    case 4:
      application.exec("CREATE TEMP TABLE IF NOT EXISTS parts (t text)");
      EXPECT_EQ(PQresultStatus(Result{PQexec(application.raw(), "COPY parts FROM STDIN")}.get()),
                PGRES_COPY_IN);
      return;
    default:
      FAIL();
  }
}

int local_port(int socket) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

TEST_F(Registry, EqualsPgStatActivityForTwoHundredSessionsInRandomStates) {
  pgleash({.mode = "observe"});
  std::minstd_rand random{42};
  const auto pick = [&](int n) { return std::uniform_int_distribution<int>{0, n - 1}(random); };
  std::vector<Application> crowd;
  for (int i = 0; i < 200; ++i) {
    crowd.push_back(
        login({{"application_name",
                fmt::format("crowd-{}", quarters.at(static_cast<std::size_t>(pick(4))))}}));
    enter(crowd.back(), pick(5));
  }
  EXPECT_TRUE(wait_until([&] { return by_pgleash() == by_postgres(); }, 10s));
  EXPECT_EQ(by_pgleash(), by_postgres());
  EXPECT_EQ(pgleash().metric("pgleash_user_sessions", {{"user", "app"}}), 200);

  // The log names, for each client's port, the backend that serves it.
  std::map<int, int> pid_of_port;
  for (const auto& line : pgleash().log("session.opened"))
    pid_of_port[static_cast<int>(number(line, "client_port"))] =
        static_cast<int>(number(line, "pid"));
  for (const auto& application : crowd)
    EXPECT_EQ(pid_of_port[local_port(application.socket())], application.pid());

  postgres().sql(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE "
      "'crowd-%'");
  EXPECT_TRUE(wait_until(
      [&] {
        return pgleash().metric("pgleash_user_sessions", {{"user", "app"}}) == 0;
      },
      10s));
}

TEST_F(Registry, KnowsEachBackendByPidAndStartFromTwoWitnesses) {
  pgleash({.rules = rule("seen", "idle", "400ms", "observe"), .mode = "observe"});
  std::vector<Application> some;
  for (int i = 0; i < 10; ++i) some.push_back(login());
  ASSERT_TRUE(
      wait_until([&] { return pgleash().outcomes("observed").size() == some.size(); }, 10s));
  for (const auto& line : pgleash().outcomes("observed")) {
    EXPECT_EQ(text(line, "mapping"), "confirmed");
    EXPECT_EQ(
        text(line, "backend_start"),
        postgres().value(fmt::format(
            "SELECT to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') "
            "FROM pg_stat_activity WHERE pid = {}",
            number(line, "pid"))));
  }
}

/// pid, database, user, application, backend_start and state of each, in one line.
std::set<std::string> rows_of_postgres(Postgres& postgres) {
  std::set<std::string> rows;
  for (const auto& row : postgres.sql(
           "SELECT pid, datname, usename, application_name, to_char(backend_start AT TIME ZONE "
           "'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), state FROM pg_stat_activity "
           "WHERE application_name LIKE 'crowd-%'"))
    rows.insert(fmt::format("{}", fmt::join(row, "|")));
  return rows;
}

std::string word(const boost::json::value& value) {
  if (value.is_null()) return {};
  return value.is_string() ? std::string{value.as_string()} : boost::json::serialize(value);
}

TEST(ApiSessions, EqualPgStatActivityForFiveHundredSessionsInRandomStates) {
  if (!Postgres::available()) GTEST_SKIP() << "NO POSTGRESQL HERE: set PGLEASH_TEST_PG_BIN";
  constexpr unsigned many = 500;
  MonitoredServer server{{.max_connections = many + 40}};
  PgleashProcess pgleash{PGLEASH_BINARY, server, *server, {.mode = "observe"}};
  std::minstd_rand random{7};
  const auto pick = [&](int n) { return std::uniform_int_distribution<int>{0, n - 1}(random); };
  std::vector<Application> crowd;
  std::map<std::string, int> port_of_pid;
  for (unsigned i = 0; i < many; ++i) {
    crowd.emplace_back(
        pgleash.words({{"application_name", fmt::format("crowd-{} \"ü\"", pick(50))}}));
    enter(crowd.back(), pick(5));
    port_of_pid[std::to_string(crowd.back().pid())] = local_port(crowd.back().socket());
  }
  std::map<std::string, int> ports;
  const auto rows_of_pgleash = [&] {
    std::set<std::string> rows;
    const std::string page = pgleash.page("/api/sessions");
    if (page.empty()) return rows;
    ports.clear();
    const boost::json::value all = boost::json::parse(page);
    for (const auto& each : all.at(0).at("sessions").as_array()) {
      std::string state = word(each.at("state"));
      if (state == "copy in") state = "active";  // PostgreSQL has no word for it
      rows.insert(fmt::format("{}|{}|{}|{}|{}|{}", word(each.at("pid")), word(each.at("datname")),
                              word(each.at("usename")), word(each.at("application_name")),
                              word(each.at("backend_start")), state));
      ports[word(each.at("pid"))] = each.at("client_port").to_number<int>();
    }
    return rows;
  };
  EXPECT_TRUE(wait_until([&] { return rows_of_pgleash() == rows_of_postgres(*server); }, 20s));
  EXPECT_EQ(rows_of_pgleash(), rows_of_postgres(*server));
  EXPECT_EQ(ports.size(), many);
  EXPECT_EQ(ports, port_of_pid) << "the true client's port, which the server does not know";
}

}  // namespace
}  // namespace pgleash::test
