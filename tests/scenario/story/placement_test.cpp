#include "tests/scenario/story/story.hpp"
#include "tests/support/free_port.hpp"

#include <boost/json/parse.hpp>

#include <atomic>
#include <fstream>
#include <netinet/in.h>
#include <sstream>
#include <sys/socket.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <vector>

/// What may stand between pgleash and PostgreSQL, and what goes wrong with it: the real PgBouncer
/// and HAProxy, a Unix socket, a trust line, another life of the server. Nothing is ended by a
/// doubtful pid, and what nobody can know is said to be unverified.
namespace pgleash::test {
namespace {

constexpr auto soon = 20s;

bool installed(const std::string& program) {
  return run({.argv = {"sh", "-c", "command -v " + program}, .environment = {}, .user = {}})
             .status == 0;
}

/// A program of somebody else's, with a file of its own, that listens on a port.
class Peer {
 public:
  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  [[nodiscard]] std::string log() const { return process_->err() + process_->out(); }

 protected:
  Peer() : port_(free_port()) {
    // It runs as somebody else when we are root.
    if (::chmod(directory_.path().c_str(), 0755) != 0) throw std::runtime_error{"chmod"};
  }
  std::string write(const std::string& name, const std::string& text) const {
    if (!(std::ofstream{directory_ / name} << text)) throw std::runtime_error{"cannot write"};
    return directory_ / name;
  }
  void start(std::vector<std::string> argv) {
    process_ = std::make_unique<Process>(
        Command{.argv = std::move(argv), .environment = {}, .user = "postgres"});
    const auto where = fmt::format("host=127.0.0.1 port={} user=app dbname=orders", port_);
    const auto answers = [&] { return PQping(where.c_str()) == PQPING_OK; };
    if (!wait_until(answers, soon)) throw std::runtime_error{"does not answer: " + log()};
  }

 private:
  TempDir directory_;
  std::uint16_t port_;
  std::unique_ptr<Process> process_;
};

class PgBouncer : public Peer {
 public:
  PgBouncer(std::uint16_t server, const std::string& pool_mode) {
    const auto users = write("users", fmt::format("\"app\" \"app\"\n\"pgleash_monitor\" \"{}\"\n",
                                                  MonitoredServer::monitor_password));
    start({"pgbouncer", write("pgbouncer.ini", fmt::format(R"([databases]
* = host=127.0.0.1 port={}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {}
unix_socket_dir =
auth_type = plain
auth_file = {}
pool_mode = {}
ignore_startup_parameters = options,extra_float_digits
)",
                                                           server, port(), users, pool_mode))});
  }
};

class HaProxy : public Peer {
 public:
  /// `more`: words for each server.
  HaProxy(const std::vector<std::uint16_t>& servers, const std::string& balance,
          const std::string& more = {}) {
    auto text = fmt::format(R"(defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen postgres
  bind 127.0.0.1:{}
  balance {}
)",
                            port(), balance);
    for (std::size_t i = 0; i < servers.size(); ++i)
      text += fmt::format("  server s{} 127.0.0.1:{} {}\n", i, servers[i], more);
    start({"haproxy", "-db", "-f", write("haproxy.cfg", text)});
  }
};

class Placement : public Story {
 protected:
  /// The one outcome line of that rule; waits for it.
  boost::json::object outcome_of(const std::string& rule_name) {
    std::vector<boost::json::object> found;
    EXPECT_TRUE(wait_until(
        [&] {
          found.clear();
          for (auto& line : pgleash().audit("outcome"))
            if (text(line, "rule") == rule_name) found.push_back(std::move(line));
          return !found.empty();
        },
        soon))
        << "no outcome of " << rule_name;
    EXPECT_THAT(found, SizeIs(1));
    return found.empty() ? boost::json::object{} : found[0];
  }
  Application login_as(const std::string& name) { return login({{"application_name", name}}); }
  /// Backends whose newest statement is that.
  std::string backends(const std::string& statement) {
    return postgres().value(
        fmt::format("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' "
                    "AND pid <> pg_backend_pid() AND query LIKE '{}%' AND state <> 'idle'",
                    statement));
  }
  long ended_by_sql() {
    const auto log = postgres().log().substr(log_before_);
    long count = 0;
    const std::string words = "terminating connection due to administrator command";
    for (auto at = log.find(words); at != std::string::npos; at = log.find(words, at + 1)) ++count;
    return count;
  }
  void note_the_log() { log_before_ = postgres().log().size(); }
  static std::string three_rules() {
    return rule("idle-tx", "idle_in_transaction", "300ms", "terminate",
                for_application("idle-tx")) +
           rule("cancelled", "statement", "300ms", "cancel",
                "grace = \"700ms\"\n" + for_application("cancelled")) +
           rule("ended", "statement", "300ms", "terminate",
                "grace = \"700ms\"\n" + for_application("ended"));
  }

 private:
  std::size_t log_before_ = 0;
};

TEST_F(Placement, BehindUsAPoolerInventsThePidsSoNothingIsEndedBySql) {
  if (!installed("pgbouncer")) GTEST_SKIP() << "NO PGBOUNCER HERE: scripts/install-deps test";
  note_the_log();
  const PgBouncer pooler{postgres().port(), "session"};
  pgleash({.rules = three_rules(), .server_port = pooler.port()});
  ASSERT_TRUE(wait_until([&] { return pgleash().metric("pgleash_monitor_up") == 1; }, soon))
      << "the monitor looks through the pooler";
  auto leaker = login_as("idle-tx");
  EXPECT_EQ(postgres().value(
                fmt::format("SELECT count(*) FROM pg_stat_activity WHERE pid = {}", leaker.pid())),
            "0")
      << "an invented pid";
  leaker.exec("BEGIN");
  const auto error = leaker.ended(soon);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->sqlstate, "25P03");
  const auto waiting = outcome_of("idle-tx");
  EXPECT_EQ(text(waiting, "outcome"), "confirmed") << "by the end of the leg";
  EXPECT_THAT(text(waiting, "mapping"), testing::AnyOf("in_band", "conflict"));
  EXPECT_TRUE(wait_until([&] { return backends("BEGIN") == "0"; }, soon));

  // The pooler passes a cancel on by its own key.
  auto cancelled = login_as("cancelled");
  EXPECT_EQ(cancelled.error_of("SELECT pg_sleep(600)")->sqlstate, "57014");
  EXPECT_EQ(cancelled.exec("SELECT 'lives on'"), "lives on");
  EXPECT_EQ(text(outcome_of("cancelled"), "outcome"), "confirmed");

  // Of a backend that nobody can name nobody can tell whether it is gone.
  auto ended = login_as("ended");
  ended.send("SELECT pg_sleep(600)");
  ASSERT_TRUE(ended.ended(soon));
  EXPECT_EQ(text(outcome_of("ended"), "outcome"), "unverified");
  EXPECT_EQ(ended_by_sql(), 0);
  postgres().sql(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE "
      "'SELECT pg_sleep%'");
}

TEST_F(Placement, InFrontOfUsAPoolerLosesAConnectionAndServesOn) {
  if (!installed("pgbouncer")) GTEST_SKIP() << "NO PGBOUNCER HERE: scripts/install-deps test";
  pgleash({.rules = rule("idle-tx", "idle_in_transaction", "300ms", "terminate") +
                    rule("idle", "idle", "600ms", "terminate")});
  const PgBouncer pooler{pgleash().port(), "transaction"};
  const auto through = [&] {
    return Application{pgleash().words({{"port", std::to_string(pooler.port())}})};
  };
  auto leaker = through();
  leaker.exec("BEGIN");
  ASSERT_TRUE(leaker.ended(soon));
  EXPECT_EQ(text(outcome_of("idle-tx"), "outcome"), "confirmed");
  auto quiet = through();
  EXPECT_EQ(quiet.exec("SELECT 'served'"), "served");
  ASSERT_TRUE(wait_until([&] { return acted("idle", "confirmed") >= 1; }, soon))
      << "the pooler's own idle connection";
  EXPECT_EQ(quiet.exec("SELECT 'on another one'"), "on another one") << "nobody was told";
}

TEST_F(Placement, APoolersStockIsLeftAloneWhereTheListenerSaysThatItIsOne) {
  if (!installed("pgbouncer")) GTEST_SKIP() << "NO PGBOUNCER HERE: scripts/install-deps test";
  pgleash({.rules = rule("idle-tx", "idle_in_transaction", "300ms", "terminate") +
                    rule("idle", "idle", "100ms", "terminate"),
           .listener = "client_kind = \"pooler\""});
  const PgBouncer pooler{pgleash().port(), "transaction"};
  const auto through = [&](const std::string& name) {
    return Application{
        pgleash().words({{"port", std::to_string(pooler.port())}, {"application_name", name}})};
  };
  auto quiet = through("quiet");
  const auto pid = quiet.exec("SELECT pg_backend_pid()");
  ASSERT_TRUE(wait_until(
      [&] {
        return pgleash().metric("pgleash_rule_exempted_total",
                                {{"rule", "idle"}, {"exemption", "pooler"}}) >= 1;
      },
      soon));
  EXPECT_EQ(quiet.exec("SELECT pg_backend_pid()"), pid) << "the same server connection";
  // What it carries now is who is judged, by its own name.
  auto leaker = through("leaker");
  leaker.exec("BEGIN");
  ASSERT_TRUE(leaker.ended(soon));
  EXPECT_EQ(text(outcome_of("idle-tx"), "application"), "leaker");
}

TEST_F(Placement, BehindUsABalancerKeepsTheCancelWithItsSession) {
  if (!installed("haproxy")) GTEST_SKIP() << "NO HAPROXY HERE: scripts/install-deps test";
  note_the_log();
  const HaProxy balancer{{postgres().port()}, "source"};
  pgleash({.rules = three_rules(), .server_port = balancer.port()});
  ASSERT_TRUE(wait_until([&] { return pgleash().metric("pgleash_monitor_up") == 1; }, soon));
  auto leaker = login_as("idle-tx");
  leaker.exec("BEGIN");
  ASSERT_TRUE(leaker.ended(soon));
  const auto waiting = outcome_of("idle-tx");
  EXPECT_EQ(text(waiting, "outcome"), "confirmed");
  EXPECT_THAT(text(waiting, "mapping"), testing::AnyOf("in_band", "conflict"))
      << "the pid is there, with the balancer's port";
  EXPECT_TRUE(wait_until([&] { return !backend_lives(leaker.pid()); }, soon));

  auto cancelled = login_as("cancelled");
  EXPECT_EQ(cancelled.error_of("SELECT pg_sleep(600)")->sqlstate, "57014");
  EXPECT_EQ(cancelled.exec("SELECT 'lives on'"), "lives on");
  EXPECT_EQ(text(outcome_of("cancelled"), "outcome"), "confirmed");

  auto ended = login_as("ended");
  ended.send("SELECT pg_sleep(600)");
  ASSERT_TRUE(ended.ended(soon));
  EXPECT_TRUE(wait_until([&] { return !backend_lives(ended.pid()); }, soon));
  EXPECT_EQ(text(outcome_of("ended"), "outcome"), "unverified");
  EXPECT_EQ(ended_by_sql(), 0);
}

TEST_F(Placement, ACancelThatABalancerSendsElsewhereHitsNobody) {
  if (!installed("haproxy")) GTEST_SKIP() << "NO HAPROXY HERE: scripts/install-deps test";
  MonitoredServer second;
  const HaProxy balancer{{postgres().port(), second->port()}, "roundrobin"};
  pgleash({.rules = three_rules(), .monitor = false, .server_port = balancer.port()});
  std::vector<std::unique_ptr<Application>> bystanders;
  for (int i = 0; i < 4; ++i) {
    bystanders.push_back(std::make_unique<Application>(login_as("bystander")));
    bystanders.back()->send("SELECT pg_sleep(6)");
  }
  std::vector<std::unique_ptr<Application>> victims;
  for (int i = 0; i < 4; ++i) {
    victims.push_back(std::make_unique<Application>(login_as("cancelled")));
    victims.back()->send("SELECT pg_sleep(5)");
  }
  std::size_t cancelled = 0;
  for (const auto& victim : victims) {
    const auto error = victim->finish();
    EXPECT_TRUE(!error || error->sqlstate == "57014") << error->message;
    cancelled += error ? 1 : 0;
    EXPECT_EQ(victim->exec("SELECT 'lives on'"), "lives on");
  }
  for (const auto& bystander : bystanders) EXPECT_FALSE(bystander->finish());
  ASSERT_TRUE(wait_until([&] { return pgleash().audit("outcome").size() == 4; }, soon));
  EXPECT_EQ(pgleash().outcomes("confirmed").size(), cancelled)
      << "who was not cancelled is not said to be";
  EXPECT_EQ(pgleash().outcomes("unverified").size(), 4 - cancelled);
}

TEST_F(Placement, OverAUnixSocketABackendIsKnownByItsPidAndStart) {
  note_the_log();
  pgleash({.rules = three_rules()});
  ASSERT_EQ(pgleash().terminate(), 0);
  std::ostringstream old;
  old << std::ifstream{pgleash().config_file()}.rdbuf();
  auto toml = old.str();
  const std::string tcp = "host = \"127.0.0.1\"";
  toml.replace(toml.find(tcp), tcp.size(), "host = \"" + postgres().socket_dir() + "\"");
  std::ofstream{pgleash().config_file()} << toml;
  pgleash().start();
  ASSERT_TRUE(wait_until([&] { return pgleash().metric("pgleash_monitor_up") == 1; }, soon));

  auto leaker = login_as("idle-tx");
  EXPECT_EQ(postgres().value(fmt::format("SELECT client_port FROM pg_stat_activity WHERE pid = {}",
                                         leaker.pid())),
            "-1");
  leaker.exec("BEGIN");
  ASSERT_TRUE(leaker.ended(soon));
  const auto waiting = outcome_of("idle-tx");
  EXPECT_EQ(text(waiting, "outcome"), "confirmed");
  EXPECT_EQ(text(waiting, "mapping"), "confirmed");
  auto ended = login_as("ended");
  ended.send("SELECT pg_sleep(600)");
  ASSERT_TRUE(ended.ended(soon));
  EXPECT_EQ(text(outcome_of("ended"), "outcome"), "confirmed") << "seen to be gone";
  auto cancelled = login_as("cancelled");
  EXPECT_EQ(cancelled.error_of("SELECT pg_sleep(600)")->sqlstate, "57014");
  EXPECT_EQ(ended_by_sql(), 0);
}

TEST_F(Placement, ALoginThatTheServerTrustsIsRefused) {
  const auto hba = postgres().socket_dir() + "/data/pg_hba.conf";
  std::ostringstream before;
  before << std::ifstream{hba}.rdbuf();
  std::ofstream{hba} << "host all all 127.0.0.1/32 trust\n" << before.str();
  postgres().sql("SELECT pg_reload_conf()");
  pgleash({.listener = "require_challenge = \"always\"", .monitor = false});
  std::string refused;
  ASSERT_TRUE(wait_until(
      [&] {
        try {
          (void)login();
        } catch (const std::runtime_error& error) {
          refused = error.what();
        }
        return refused.find("without asking for a password") != std::string::npos;
      },
      soon))
      << refused;
  std::ofstream{hba} << before.str();
  postgres().sql("SELECT pg_reload_conf()");
  EXPECT_TRUE(wait_until(
      [&] {
        try {
          return login().exec("SELECT 'asked'") == "asked";
        } catch (const std::runtime_error&) {
          return false;
        }
      },
      soon));
}

TEST_F(Placement, AServerThatRestartsUnderLoadTakesAllVerdictsWithIt) {
  note_the_log();
  pgleash({.rules = rule("idle-tx", "idle_in_transaction", "40ms", "terminate") +
                    rule("cancelled", "statement", "40ms", "cancel") +
                    rule("old", "transaction_age", "60ms", "terminate"),
           .audit = "fsync = \"off\""});
  std::atomic<bool> enough{false};
  std::atomic<long> served{0};
  std::vector<std::thread> clients;
  for (unsigned i = 0; i < 6; ++i) {
    clients.emplace_back([&, i] {
      for (unsigned turn = i; !enough; ++turn) {
        try {
          auto application = login();
          (void)application.error_of("BEGIN");
          (void)application.error_of(fmt::format("SELECT pg_sleep({})", 0.01 * (turn % 7)));
          (void)wait_until([] { return false; }, 10ms * (turn % 7));
          if (!application.error_of("COMMIT")) ++served;
        } catch (const std::runtime_error&) {  // no server, for a moment
        }
      }
    });
  }
  const auto verdicts = [&] { return pgleash().audit("intent").size(); };
  ASSERT_TRUE(wait_until([&] { return verdicts() > 20; }, soon));
  for (const bool immediate : {false, true, false}) {
    postgres().restart(immediate);
    const auto before = verdicts();
    const long served_before = served;
    EXPECT_TRUE(
        wait_until([&] { return verdicts() > before + 20 && served > served_before + 5; }, soon));
  }
  enough = true;
  for (auto& client : clients) client.join();

  std::map<std::string, int> outcomes;
  const auto settled = [&] {
    outcomes.clear();
    for (const auto& line : pgleash().audit("outcome")) ++outcomes[text(line, "verdict")];
    const auto intents = pgleash().audit("intent");
    return std::all_of(intents.begin(), intents.end(),
                       [&](const auto& line) { return outcomes.contains(text(line, "verdict")); });
  };
  EXPECT_TRUE(wait_until(settled, soon)) << "a verdict has no outcome";
  for (const auto& [verdict, times] : outcomes) EXPECT_EQ(times, 1) << verdict;
  EXPECT_THAT(pgleash().outcomes("survived"), IsEmpty());
  EXPECT_TRUE(wait_until([&] { return pgleash().metric("pgleash_monitor_up") == 1; }, soon));
  EXPECT_EQ(login().exec("SELECT 'served'"), "served");
}

TEST_F(Placement, InFrontOfUsABalancerNamesTheClient) {
  if (!installed("haproxy")) GTEST_SKIP() << "NO HAPROXY HERE: scripts/install-deps test";
  for (const std::string version : {"send-proxy", "send-proxy-v2"}) {
    SCOPED_TRACE(version);
    pgleash({.listener = "proxy_protocol = \"require\"\nproxy_trusted = [\"127.0.0.1/32\"]"});
    const HaProxy balancer{{pgleash().port()}, "source", version};
    Application client{pgleash().words(
        {{"port", std::to_string(balancer.port())}, {"application_name", "behind"}})};
    EXPECT_EQ(client.exec("SELECT 'served'"), "served");
    sockaddr_in own{};
    socklen_t size = sizeof own;
    ASSERT_EQ(::getsockname(client.socket(), reinterpret_cast<sockaddr*>(&own), &size), 0);
    boost::json::array seen;
    EXPECT_TRUE(wait_until(
        [&] {
          const std::string page = pgleash().page("/api/sessions");
          seen = page.empty() ? boost::json::array{}
                              : boost::json::parse(page).at(0).at("sessions").as_array();
          return seen.size() == 1;
        },
        soon));
    ASSERT_THAT(seen, SizeIs(1));
    EXPECT_EQ(seen[0].at("client_addr").as_string(), "127.0.0.1");
    EXPECT_EQ(seen[0].at("client_port").to_number<int>(), ntohs(own.sin_port))
        << "the client's own, not the balancer's";
    // Whoever goes round the balancer, without a header, does not come in.
    const auto words =
        fmt::format("host=127.0.0.1 port={} user=app password=app dbname=orders sslmode=disable",
                    pgleash().port());
    const std::unique_ptr<PGconn, decltype(&PQfinish)> round{PQconnectdb(words.c_str()), &PQfinish};
    EXPECT_EQ(PQstatus(round.get()), CONNECTION_BAD);
    EXPECT_THAT(PQerrorMessage(round.get()), HasSubstr("PROXY"));
    EXPECT_GE(pgleash().metric("pgleash_client_connections_total", {{"result", "proxy_header"}}),
              1);
  }
}

}  // namespace
}  // namespace pgleash::test
