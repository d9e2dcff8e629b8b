#include "tests/scenario/story/tls_story.hpp"
#include "tests/support/free_port.hpp"

#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>

#include <arpa/inet.h>
#include <array>
#include <fstream>
#include <ifaddrs.h>
#include <net/if.h>
#include <pwd.h>
#include <sstream>
#include <sys/stat.h>
#include <unistd.h>

/// Lines of pg_hba.conf that let pgleash in without a proof, and so would let in whoever reaches
/// it: by each kind of server leg, what a session meets, and what `pgleash check --login` says.
namespace pgleash::test {
namespace {

/// An address of this machine that is not loopback; empty when there is none.
std::string outer_address() {
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return {};
  std::string found;
  for (const ifaddrs* one = all; one != nullptr && found.empty(); one = one->ifa_next) {
    if (one->ifa_addr == nullptr || one->ifa_addr->sa_family != AF_INET ||
        (one->ifa_flags & IFF_LOOPBACK) != 0 || (one->ifa_flags & IFF_UP) == 0)
      continue;
    std::array<char, INET_ADDRSTRLEN> text{};
    const auto* address = reinterpret_cast<const sockaddr_in*>(one->ifa_addr);
    ::inet_ntop(AF_INET, &address->sin_addr, text.data(), text.size());
    found = text.data();
  }
  ::freeifaddrs(all);
  return found;
}

enum class Leg { tcp, loopback, unix_socket };

class Challenge : public testing::Test {
 protected:
  void SetUp() override {
    if (!Postgres::available()) GTEST_SKIP() << "NO POSTGRESQL HERE: set PGLEASH_TEST_PG_BIN";
    static MonitoredServer shared{{.settings = {"listen_addresses = '*'"}}};
    server_ = &shared;
    std::ostringstream text;
    text << std::ifstream{hba()}.rdbuf();
    before_ = text.str();
  }
  void TearDown() override {
    if (server_ != nullptr) write_hba(before_);
    if (pgleash_ && HasFailure()) std::fputs(pgleash_->process().err().c_str(), stderr);
  }

  MonitoredServer& server() { return *server_; }
  Postgres& postgres() { return **server_; }
  [[nodiscard]] std::string hba() { return postgres().socket_dir() + "/data/pg_hba.conf"; }
  void write_hba(const std::string& text) {
    std::ofstream{hba()} << text;
    postgres().sql("SELECT pg_reload_conf()");
    // The postmaster reads it in its own time.
    const auto lines = [&] {
      return postgres().value("SELECT count(*) FROM pg_hba_file_rules WHERE error IS NULL");
    };
    EXPECT_NE(lines(), "0");
  }
  void add_line(const std::string& line) { write_hba(line + "\n" + before_); }
  [[nodiscard]] std::string host(Leg leg) {
    if (leg == Leg::unix_socket) return postgres().socket_dir();
    return leg == Leg::tcp ? outer_address() : "127.0.0.1";
  }
  PgleashProcess& pgleash(Leg leg, const std::string& listener) {
    PgleashOptions options;
    options.listener = listener;
    options.monitor = false;
    options.server_host = host(leg);
    pgleash_ =
        std::make_unique<PgleashProcess>(PGLEASH_BINARY, server(), postgres(), std::move(options));
    return *pgleash_;
  }
  /// Empty when the login succeeds, else what libpq says.
  std::string failure(std::map<std::string, std::string> more) {
    try {
      LibpqClient client{pgleash_->words(std::move(more))};
      return client.exec("SELECT 1") == "1" ? "" : "no answer";
    } catch (const std::exception& e) {
      return e.what();
    }
  }
  bool said(std::map<std::string, std::string> words, const std::string& what) {
    return wait_until([&] { return failure(words).find(what) != std::string::npos; }, 10s);
  }
  bool gets_in(std::map<std::string, std::string> words) {
    return wait_until([&] { return failure(words).empty(); }, 10s);
  }

  struct Answer {
    int status = 0;
    std::string text;
    boost::json::array logins;
    [[nodiscard]] const boost::json::object* of(std::string_view role) const {
      for (const auto& one : logins)
        if (one.as_object().at("role").as_string() == role) return &one.as_object();
      return nullptr;
    }
  };
  Answer check(Leg leg, const std::string& listener, const std::vector<std::string>& more,
               const std::string& server_keys = {}) {
    const std::string file = folder_ / "pgleash.toml";
    std::ofstream{file} << fmt::format(
        "[[listener]]\nname = \"main\"\nserver = \"main\"\n{}\n[[server]]\nname = \"main\"\nhost = "
        "\"{}\"\nport = {}\n{}\nmonitor = \"none\"\n",
        listener, host(leg), postgres().port(), server_keys);
    Command command{
        {PGLEASH_BINARY, "check", "--config", file, "--login", "--database", "orders"}, {}, {}};
    command.argv.insert(command.argv.end(), more.begin(), more.end());
    Answer answer;
    answer.text = run(command).out;
    command.argv.emplace_back("--json");
    const Finished process = run(std::move(command));
    answer.status = process.status;
    answer.logins = boost::json::parse(process.out).as_object().at("logins").as_array();
    return answer;
  }

 private:
  MonitoredServer* server_ = nullptr;
  std::string before_;
  std::unique_ptr<PgleashProcess> pgleash_;
  TempDir folder_;
};

class EachLeg : public Challenge, public testing::WithParamInterface<Leg> {};

INSTANTIATE_TEST_SUITE_P(Legs, EachLeg, testing::Values(Leg::tcp, Leg::loopback, Leg::unix_socket),
                         [](const auto& leg) {
                           return leg.param == Leg::tcp        ? "Tcp"
                                  : leg.param == Leg::loopback ? "Loopback"
                                                               : "UnixSocket";
                         });

std::string trust_line(Leg leg) {
  return leg == Leg::unix_socket ? "local all app trust" : "host all app all trust";
}

TEST_P(EachLeg, ATrustLineLetsInOnlyWhoIsOfThisHost) {
  const std::string outside = outer_address();
  if (outside.empty()) GTEST_SKIP() << "NO ADDRESS BUT LOOPBACK HERE";
  add_line(trust_line(GetParam()));
  const std::uint16_t port = free_port();
  pgleash(GetParam(), fmt::format("[[listener]]\nname = \"outside\"\nserver = \"main\"\nlisten = "
                                  "[\"{}:{}\"]\n",
                                  outside, port));
  // The server lets anybody be app: known by the client that is of this host, and so may.
  ASSERT_TRUE(gets_in({{"password", "wrong"}}));
  EXPECT_TRUE(said({{"host", outside}, {"port", std::to_string(port)}, {"password", "wrong"}},
                   "without asking for a password"));
  EXPECT_TRUE(
      said({{"host", outside}, {"port", std::to_string(port)}}, "without asking for a password"))
      << "the right password is no proof where nobody asks for one";
}

TEST_P(EachLeg, ATrustLineLetsNobodyInWhereAllMustProve) {
  add_line(trust_line(GetParam()));
  pgleash(GetParam(), "require_challenge = \"always\"\n");
  EXPECT_TRUE(said({{"password", "wrong"}}, "without asking for a password"));
  write_hba(
      trust_line(GetParam()).replace(trust_line(GetParam()).rfind("trust"), 5, "scram-sha-256"));
  EXPECT_TRUE(gets_in({}));
  EXPECT_TRUE(said({{"password", "wrong"}}, "password authentication failed"));
}

TEST_P(EachLeg, CheckSaysWhoGetsInWithoutAPassword) {
  Answer answer;
  add_line("host all app all scram-sha-256");
  ASSERT_TRUE(wait_until(
      [&] {
        answer = check(GetParam(), "", {"--user", "app"});
        return answer.of("app") != nullptr &&
               answer.of("app")->at("severity").as_string() == "note";
      },
      10s))
      << answer.text;
  EXPECT_THAT(answer.text, HasSubstr("role app: note: SCRAM, mode A"));
  add_line(trust_line(GetParam()));
  ASSERT_TRUE(wait_until(
      [&] {
        answer = check(GetParam(), "", {"--user", "app"});
        return answer.of("app")->at("severity").as_string() == "warning";
      },
      10s))
      << answer.text;
  EXPECT_EQ(answer.status, 1);
  EXPECT_THAT(answer.text, HasSubstr("role app: warning: gets in without a password"));
  EXPECT_THAT(answer.text,
              HasSubstr(GetParam() == Leg::unix_socket ? "the Unix socket" : "a plain leg"));
  answer = check(GetParam(), "require_challenge = \"never\"", {"--user", "app"});
  EXPECT_EQ(answer.status, 2);
  EXPECT_EQ(answer.of("app")->at("severity").as_string(), "error");
  answer = check(GetParam(), "require_challenge = \"always\"", {"--user", "app"});
  EXPECT_EQ(answer.of("app")->at("severity").as_string(), "note");
}

/// The operating system's user that pgleash runs as, here.
std::string own_user() {
  return ::getpwuid(::geteuid())->pw_name;
}

/// A line for that leg: "local DATABASE USER METHOD", or the same for all addresses.
std::string line_for(Leg leg, const std::string& who, const std::string& method) {
  return (leg == Leg::unix_socket ? "local " + who : "host " + who + " all") + " " + method;
}

TEST_P(EachLeg, CheckFindsTheLineThatLetsAnybodyIn) {
  // Over TCP neither postgres nor who runs it may come so; whatever others there are, may. (The
  // tests themselves are postgres on the Unix socket.)
  const bool tcp = GetParam() != Leg::unix_socket;
  add_line((tcp ? line_for(GetParam(), "all postgres," + own_user(), "reject") + "\n" : "") +
           line_for(GetParam(), "all all", "trust"));
  Answer answer;
  ASSERT_TRUE(wait_until(
      [&] {
        answer = check(GetParam(), "", {});
        return answer.of("pgleash_check") != nullptr;
      },
      10s))
      << answer.text;
  EXPECT_EQ(answer.status, 1);
  EXPECT_THAT(answer.text, HasSubstr("role pgleash_check: warning: gets in without a password, "
                                     "though there need not be such a role"));
  if (tcp) {
    EXPECT_EQ(answer.logins.size(), 1U) << answer.text;
  }
}

TEST_P(EachLeg, CheckFindsTheLineThatLetsAStandbyIn) {
  postgres().sql("DROP ROLE IF EXISTS standby");
  postgres().sql("CREATE ROLE standby LOGIN REPLICATION PASSWORD 'pw'");
  add_line(line_for(GetParam(), "replication standby", "trust") + "\n" +
           line_for(GetParam(), "all standby", "scram-sha-256"));
  Answer answer;
  ASSERT_TRUE(wait_until(
      [&] {
        answer = check(GetParam(), "", {"--user", "standby"});
        return answer.text.find("role standby for replication: warning: gets in") !=
               std::string::npos;
      },
      10s))
      << answer.text;
  EXPECT_EQ(answer.status, 1);
  EXPECT_THAT(answer.text, HasSubstr("role standby: note: SCRAM")) << "as a client it has to prove";
}

TEST_F(Challenge, APeerLineIsNoProofOfTheClient) {
  postgres().sql(
      fmt::format("DO $$ BEGIN CREATE ROLE {} LOGIN; EXCEPTION WHEN duplicate_object "
                  "THEN NULL; END $$",
                  own_user()));
  add_line(fmt::format("local all {} peer", own_user()));
  pgleash(Leg::unix_socket, "require_challenge = \"always\"\n");
  EXPECT_TRUE(
      said({{"user", own_user()}, {"dbname", "postgres"}}, "without asking for a password"));
  // It is tried without being asked for: nobody has to know that there is such a line.
  const Answer answer = check(Leg::unix_socket, "", {});
  ASSERT_NE(answer.of(own_user()), nullptr) << answer.text;
  EXPECT_EQ(answer.of(own_user())->at("severity").as_string(), "warning");
}

TEST_F(Challenge, CheckSaysWhenNobodyGetsThere) {
  postgres().stop();
  const Answer down = check(Leg::loopback, "", {"--user", "app"});
  postgres().start();
  EXPECT_EQ(down.status, 2);
  ASSERT_NE(down.of("app"), nullptr);
  EXPECT_EQ(down.of("app")->at("severity").as_string(), "error");
  add_line("host all app all reject");
  EXPECT_TRUE(wait_until(
      [&] {
        const Answer answer = check(Leg::loopback, "", {"--user", "app"});
        return answer.text.find("the server refuses it") != std::string::npos;
      },
      10s));
}

// ---------------------------------------------------------------- which way of SCRAM applies

class CheckLogin : public Tls {
 protected:
  std::string check(const std::string& listener, const std::string& server) {
    const TempDir folder;
    const std::string file = folder / "pgleash.toml";
    std::ofstream{file} << fmt::format(
        "[[listener]]\nname = \"main\"\n{}\n[[server]]\nname = \"main\"\nhost = \"127.0.0.1\"\n"
        "port = {}\n{}\nmonitor = \"none\"\n",
        listener, postgres().port(), server);
    return run({.argv = {PGLEASH_BINARY, "check", "--config", file, "--login", "--user", "app",
                         "--database", "orders"},
                .environment = {},
                .user = {}})
        .out;
  }
};

TEST_F(CheckLogin, TellsTheModeOfEachPairOfLegsAndWhy) {
  EXPECT_THAT(check("", "tls = \"disable\"\n"), HasSubstr("SCRAM, mode A: the server offers no"));
  EXPECT_THAT(check("", server_leg()), AllOf(HasSubstr("SCRAM, mode B: TLSv1.3 to the server"),
                                             HasSubstr("takes channel binding out of the offer")));
  EXPECT_THAT(check(client_leg(world().servers), server_leg()),
              AllOf(HasSubstr("note: SCRAM, mode C: TLSv1.3"),
                    HasSubstr("channel_binding=require included")));
  EXPECT_THAT(check(client_leg(world().own), server_leg()),
              AllOf(HasSubstr("warning: SCRAM, mode D: TLSv1.3"),
                    HasSubstr("SCRAM channel binding check failed"),
                    HasSubstr("= pgleash: client and server legs use different certificates")));
  EXPECT_THAT(check("tls = \"opaque\"\nrequire_challenge = \"never\"\n", "tls = \"disable\"\n"),
              HasSubstr("note: SCRAM, mode F: the client's TLS ends at the server"));
  EXPECT_THAT(check(client_leg(world().own) + "scram = \"reoriginate\"\n", server_leg()), IsEmpty())
      << "it needs a monitor: the configuration is refused";
}

}  // namespace
}  // namespace pgleash::test
