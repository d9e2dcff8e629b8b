#include "tests/scenario/story/tls_story.hpp"
#include "tests/support/free_port.hpp"

#include <fstream>
#include <sys/socket.h>
#include <tuple>
#include <unistd.h>

namespace pgleash::test {
namespace {

// ---------------------------------------------------------------- the matrix

struct Way {
  const char* name;
  enum { plain, same, other } client;
  bool server_tls;
  std::string disable, prefer, require;  ///< what libpq says; empty: it works
};
std::ostream& operator<<(std::ostream& out, const Way& way) {
  return out << way.name;
}

class EachScramWay : public Tls, public testing::WithParamInterface<Way> {
 protected:
  /// Logs in with each channel_binding, and compares what libpq says; `more`: keys of [[server]].
  void expect_what_the_manual_says(const std::string& more = {});
};

constexpr const char* no_tls = "channel binding required, but SSL not in use";
constexpr const char* no_offer =
    "channel binding is required, but server did not offer an authentication method";
constexpr const char* check_failed = "SCRAM channel binding check failed";

const Way way_b{"B_TlsToTheServerOnly", Way::plain, true, "", "", no_tls};
const Way way_c{"C_TheSameCertificate", Way::same, true, "", "", ""};
const Way way_d{"D_TwoCertificates", Way::other, true, "", check_failed, check_failed};
std::string name_of(const testing::TestParamInfo<Way>& way) {
  return way.param.name;
}

INSTANTIATE_TEST_SUITE_P(Legs, EachScramWay,
                         testing::Values(Way{"A_BothPlain", Way::plain, false, "", "", no_tls},
                                         Way{"A_TlsToClientsOnly", Way::other, false, "", "",
                                             no_offer},
                                         Way{"A_TlsToClientsOnlyWithTheServersCertificate",
                                             Way::same, false, "", "", no_offer},
                                         way_b, way_c, way_d),
                         name_of);

void EachScramWay::expect_what_the_manual_says(const std::string& more) {
  const Way& way = GetParam();
  PgleashOptions options;
  options.monitor = false;
  if (way.client != Way::plain)
    options.listener = client_leg(way.client == Way::same ? world().servers : world().own);
  options.server = (way.server_tls ? server_leg() : "tls = \"disable\"\n") + more;
  pgleash(options);
  for (const auto& [binding, expected] :
       {std::pair{"disable", way.disable}, {"prefer", way.prefer}, {"require", way.require}}) {
    std::map<std::string, std::string> words{{"channel_binding", binding}};
    if (way.client != Way::plain) words = verifying(std::move(words));
    const std::string said = failure(words);
    if (expected.empty()) {
      EXPECT_EQ(said, "") << binding;
    } else {
      EXPECT_THAT(said, HasSubstr(expected)) << binding;
      EXPECT_EQ(said.find("HINT:  pgleash:") != std::string::npos, expected == check_failed)
          << said;
    }
  }
}

TEST_P(EachScramWay, LogsInOrFailsAsTheManualSays) {
  expect_what_the_manual_says();
}

class EachWayBegunOutright : public EachScramWay {};

INSTANTIATE_TEST_SUITE_P(Legs, EachWayBegunOutright, testing::Values(way_b, way_c, way_d), name_of);

TEST_P(EachWayBegunOutright, LogsInOrFailsAsTheManualSays) {
  if (!takes_tls_outright()) GTEST_SKIP() << "NO POSTGRESQL 17 HERE: set PGLEASH_TEST_PG_BIN";
  expect_what_the_manual_says(outright);
}

// ---------------------------------------------------------------- begun outright

TEST_F(Tls, IsBegunOutrightWhereTheServerTakesIt) {
  PgleashOptions options;
  options.server = server_leg() + outright;
  options.rules = rule("runaway", "statement", "300ms", "cancel");
  options.monitor = takes_tls_outright();
  pgleash(options);
  EXPECT_THAT(pgleash().process().out(), HasSubstr("TLS verify-full begun outright"));
  if (!takes_tls_outright()) {
    EXPECT_THAT(failure({}), AllOf(HasSubstr("could not reach server \"main\""),
                                   HasSubstr("a server before PostgreSQL 17")));
    return;
  }
  auto application = Application{pgleash().words()};
  EXPECT_EQ(application.exec("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"), "t");
  const auto error = application.error_of("SELECT pg_sleep(60)");  // the cancel begins so too
  ASSERT_TRUE(error);
  EXPECT_EQ(error->sqlstate, "57014");
  EXPECT_THAT(error->message, HasSubstr("runaway"));
  EXPECT_EQ(application.exec("SELECT 'still here'"), "still here");
  EXPECT_TRUE(wait_until([&] { return pgleash().metric("pgleash_monitor_up") == 1; }, 10s));
}

// ---------------------------------------------------------------- without a file

/// pgleash by its command line alone.
std::unique_ptr<Process> on_the_command_line(const std::string& server, std::uint16_t port) {
  return std::make_unique<Process>(Command{{PGLEASH_BINARY, "run", "--server", server, "--listen",
                                            fmt::format("127.0.0.1:{}", port), "--http", "off"},
                                           {},
                                           {}});
}

TEST_F(Tls, TheCommandLineSaysTheWayToTheServerInLibpqsWords) {
  const std::uint16_t server = postgres().port();
  const std::string ca = world().certificates.ca();
  const std::map<std::string, std::string> app{
      {"host", "127.0.0.1"}, {"user", "app"}, {"password", "app"}, {"dbname", "orders"}};
  const auto answer = [&](const std::string& words) {
    auto client = app;
    client["port"] = std::to_string(free_port());
    const auto process =
        on_the_command_line(words, static_cast<std::uint16_t>(std::stoi(client["port"])));
    std::string said;
    EXPECT_TRUE(wait_until(
        [&] {
          try {
            said = LibpqClient{client}.exec(
                "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()");
          } catch (const std::exception& e) {
            said = e.what();
          }
          return said.find("refused") == std::string::npos;  // it listens
        },
        10s));
    return said;
  };
  EXPECT_EQ(answer(fmt::format("host=127.0.0.1 port={} sslmode=verify-full sslrootcert='{}'",
                               server, ca)),
            "t");
  EXPECT_EQ(
      answer(fmt::format("postgres://127.0.0.1:{}?sslmode=verify-full&sslrootcert={}", server, ca)),
      "t");
  EXPECT_EQ(answer(fmt::format("postgres://127.0.0.1:{}?sslmode=disable", server)), "f");
  const Certificates strangers;
  EXPECT_THAT(answer(fmt::format("host=127.0.0.1 port={} sslmode=verify-ca sslrootcert='{}'",
                                 server, strangers.ca())),
              HasSubstr("certificate verify failed"));
}

TEST_F(Tls, AFileOnTheCommandLineThatIsNoCertificateStopsTheStart) {
  const TempDir folder;
  const std::string noise = folder / "noise.crt";
  std::ofstream{noise} << "noise";
  const auto process = on_the_command_line(
      "host=127.0.0.1 sslmode=verify-full sslrootcert='" + noise + "'", free_port());
  EXPECT_EQ(process->wait(10s), 2);
  EXPECT_THAT(process->err(), AllOf(HasSubstr("--server"), HasSubstr("holds no certificate")));
}

// ---------------------------------------------------------------- sessions and their ends

TEST_F(Tls, IsShownWithTheSessionAndInTheServersView) {
  PgleashOptions options;
  options.listener = client_leg(world().servers, "require");
  options.server = server_leg();
  pgleash(options);
  ASSERT_TRUE(wait_until([&] { return pgleash().metric("pgleash_monitor_up") == 1; }, 10s));
  auto application = login();
  EXPECT_EQ(application.exec("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"), "t");
  std::vector<boost::json::object> opened;
  ASSERT_TRUE(wait_until(
      [&] {
        opened = pgleash().log("session.opened");
        return !opened.empty();
      },
      10s));
  EXPECT_EQ(text(opened.front(), "tls"), "TLSv1.3");
  EXPECT_EQ(text(opened.front(), "server_tls"), "TLSv1.3");
  EXPECT_TRUE(wait_until(
      [&] {
        const std::string sessions = pgleash().page("/api/sessions");
        return sessions.find(R"("tls_version":"TLSv1.3")") != std::string::npos &&
               sessions.find(R"("leg_tls_version":"TLSv1.3")") != std::string::npos;
      },
      10s));
  EXPECT_EQ(postgres().value("SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING "
                             "(pid) WHERE usename = 'pgleash_monitor'"),
            "t");
}

TEST_F(Tls, AnIdleTransactionIsEndedAndItsClientTold) {
  PgleashOptions options;
  options.listener = client_leg(world().servers, "require");
  options.server = server_leg();
  options.rules = rule("idle-in-tx", "idle_in_transaction", "300ms", "terminate");
  pgleash(options);
  auto application = login();
  const pid_t pid = application.pid();
  application.exec("BEGIN");
  const auto told = application.ended(20s);
  ASSERT_TRUE(told);
  EXPECT_EQ(told->sqlstate, "25P03");
  EXPECT_THAT(told->message, HasSubstr("idle-in-tx"));
  EXPECT_TRUE(wait_until([&] { return !backend_lives(pid); }, 10s));
}

TEST_F(Tls, ARunawayIsCancelledThroughItAndTheSessionLives) {
  PgleashOptions options;
  options.listener = client_leg(world().servers, "require");
  options.server = server_leg();
  options.rules = rule("runaway", "statement", "300ms", "cancel");
  pgleash(options);
  auto application = login();
  const auto error = application.error_of("SELECT pg_sleep(60)");
  ASSERT_TRUE(error);
  EXPECT_EQ(error->sqlstate, "57014");
  EXPECT_THAT(error->message, HasSubstr("runaway"));
  EXPECT_EQ(application.exec("SELECT 'still here'"), "still here");
}

TEST_F(Tls, TheQueryOfAClientThatVanishesStops) {
  PgleashOptions options;
  options.listener = client_leg(world().servers, "require");
  options.server = server_leg();
  pgleash(options);
  auto application = login();
  const pid_t pid = application.pid();
  application.send("SELECT pg_sleep(60)");
  ASSERT_TRUE(wait_until(
      [&] {
        return postgres().value(fmt::format("SELECT state FROM pg_stat_activity WHERE pid = {}",
                                            pid)) == "active";
      },
      10s));
  const linger hard{1, 0};
  ::setsockopt(application.socket(), SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  const int nowhere = ::socket(AF_INET, SOCK_STREAM, 0);
  ASSERT_EQ(::dup2(nowhere, application.socket()),
            application.socket());  // a kill -9, as seen from outside
  ::close(nowhere);
  EXPECT_TRUE(wait_until([&] { return !backend_lives(pid); }, 10s));
}

TEST_F(Tls, ALibpqsOwnCancelArrives) {
  PgleashOptions options;
  options.listener = client_leg(world().servers, "require");
  options.server = server_leg();
  options.monitor = false;
  pgleash(options);
  auto application = login();
  application.send("SELECT pg_sleep(60)");
  const std::unique_ptr<PGcancel, decltype(&PQfreeCancel)> cancel{PQgetCancel(application.raw()),
                                                                  &PQfreeCancel};
  char why[256] = {};
  // It may be sent before the server has begun: then it hits nothing, and is sent again.
  std::optional<ServerError> error;
  EXPECT_TRUE(wait_until(
      [&] {
        EXPECT_EQ(PQcancel(cancel.get(), why, sizeof why), 1) << why;
        (void)PQconsumeInput(application.raw());
        return PQisBusy(application.raw()) == 0;
      },
      10s));
  error = application.finish();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->sqlstate, "57014");
}

TEST_F(Tls, CarriesBulkBothWays) {
  PgleashOptions options;
  options.listener = client_leg(world().servers, "require");
  options.server = server_leg();
  options.monitor = false;
  pgleash(options);
  const TempDir directory;
  const auto sent = directory / "sent";
  const auto received = directory / "received";
  {
    std::ofstream out{sent};
    for (int i = 0; i < 50000; ++i)
      out << i << '\t' << std::string(static_cast<std::size_t>(i % 997), 'x') << '\n';
  }
  std::string where;
  for (const auto& [key, value] : pgleash().words(verifying()))
    if (key != "password") where += key + "='" + value + "' ";
  const auto done =
      run({.argv = {Postgres::program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", where,
                    "-c", "DROP TABLE IF EXISTS copied", "-c",
                    "CREATE TABLE copied (id int PRIMARY KEY, words text)", "-c",
                    "\\copy copied FROM '" + sent + "'", "-c",
                    "\\copy (SELECT * FROM copied ORDER BY id) TO '" + received + "'"},
           .environment = {"PGPASSWORD=app"},
           .user = {}},
          120s);
  EXPECT_EQ(done.status, 0) << done.err;
  EXPECT_EQ(run({.argv = {"cmp", sent, received}, .environment = {}, .user = {}}).status, 0);
}

// ---------------------------------------------------------------- renewal

TEST_F(Tls, RenewedCertificatesAreTakenWithoutEndingAnybody) {
  PgleashOptions options;
  const auto files = world().certificates.issue("renewed-later");
  options.listener = client_leg(files, "require");
  options.server = "tls = \"disable\"\n";
  options.monitor = false;
  options.process = "watch_config = true\n";
  pgleash(options);
  auto before = login();
  ASSERT_THAT(pgleash().log("tls.reloaded"), IsEmpty());
  (void)world().certificates.issue("renewed-later");  // cert and key, one after the other
  EXPECT_TRUE(wait_until([&] { return !pgleash().log("tls.reloaded").empty(); }, 10s));
  EXPECT_EQ(before.exec("SELECT 'still here'"), "still here");
  EXPECT_EQ(login().exec("SELECT 1"), "1");
  EXPECT_THAT(pgleash().log("config.reloaded"), IsEmpty());
}

TEST_F(Tls, ABrokenPairChangesNothingAtAReload) {
  PgleashOptions options;
  const auto files = world().certificates.issue("to-be-broken");
  options.listener = client_leg(files, "require");
  options.server = "tls = \"disable\"\n";
  options.monitor = false;
  pgleash(options);
  const auto stranger = world().certificates.issue("stranger");
  ASSERT_EQ(run({.argv = {"cp", stranger.key, files.key}, .environment = {}, .user = {}}).status,
            0);
  pgleash().process().signal(SIGHUP);
  ASSERT_TRUE(wait_until([&] { return !pgleash().log("config.reload_refused").empty(); }, 10s));
  EXPECT_THAT(text(pgleash().log("config.reload_refused").front(), "why"),
              HasSubstr("is not the key of"));
  EXPECT_EQ(login().exec("SELECT 1"), "1");
  EXPECT_EQ(pgleash().metric("pgleash_config_last_reload_successful"), 0);
}

}  // namespace
}  // namespace pgleash::test
