#include "tests/scenario/story/story.hpp"
#include "tests/support/certificates.hpp"
#include "tests/support/libpq_client.hpp"

#include <libpq-fe.h>

#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unistd.h>
#include <vector>

/// What operators do on the console, with libpq, psql and other clients, before a real PostgreSQL.
namespace pgleash::test {
namespace {

using testing::Contains;
using testing::Not;

/// Rows of a statement by column, or its error.
struct Answer {
  std::optional<ServerError> error;
  std::vector<std::map<std::string, std::string>> rows;
  std::vector<std::string> columns;
  std::string first(const std::string& column) const {
    return rows.empty() ? "" : rows.front().at(column);
  }
};

class Console : public Story {
 protected:
  void SetUp() override {
    Story::SetUp();
    if (IsSkipped()) return;
    static bool made = false;
    if (!made) {
      for (const char* role : {"alice", "vera", "adam", "mallory", "trusty"}) {
        postgres().create_role(role, "pw");
        postgres().sql(fmt::format("GRANT CONNECT ON DATABASE pgleash TO {}", role));
      }
      made = true;
    }
  }
  static PgleashOptions options(PgleashOptions more = {}) {
    more.console +=
        "viewers = [\"vera\"]\noperators = [\"alice\", \"trusty\"]\nadmins = [\"adam\"]\n";
    return more;
  }
  std::map<std::string, std::string> console_words(const std::string& user) {
    return pgleash().words({{"user", user}, {"password", "pw"}, {"dbname", "pgleash"}});
  }
  Application console(const std::string& user = "alice") {
    return Application{console_words(user)};
  }
  static Answer ask(Application& console, const std::string& statement) {
    Answer answer;
    if (PQsendQuery(console.raw(), statement.c_str()) == 0) {
      answer.error = ServerError{"FATAL", "", PQerrorMessage(console.raw()), "", ""};
      return answer;
    }
    while (const Result result{PQgetResult(console.raw())}) {
      if (PQresultStatus(result.get()) == PGRES_FATAL_ERROR)
        answer.error = ServerError::of(result.get());
      answer.columns.clear();
      for (int c = 0; c < PQnfields(result.get()); ++c)
        answer.columns.emplace_back(PQfname(result.get(), c));
      for (int r = 0; r < PQntuples(result.get()); ++r) {
        auto& row = answer.rows.emplace_back();
        for (int c = 0; c < PQnfields(result.get()); ++c)
          row[PQfname(result.get(), c)] = PQgetvalue(result.get(), r, c);
      }
    }
    return answer;
  }
  std::string refusal(std::map<std::string, std::string> words) {
    try {
      LibpqClient client{std::move(words)};
      return "";
    } catch (const std::exception& e) {
      return e.what();
    }
  }
  /// Lines of commands in the audit log.
  std::vector<std::string> commands() {
    std::vector<std::string> all;
    for (const auto& line : pgleash().audit("command"))
      all.push_back(text(line, "actor") + " (" + text(line, "role") +
                    "): " + text(line, "command") + " -> " + text(line, "result"));
    return all;
  }
  Finished psql(const std::string& user, const std::vector<std::string>& more) {
    Command command{{Postgres::program("psql"), "-X", "-h", "127.0.0.1", "-p",
                     std::to_string(pgleash().port()), "-U", user, "-d", "pgleash"},
                    {"PGPASSWORD=pw", "PGCONNECT_TIMEOUT=10"},
                    {}};
    command.argv.insert(command.argv.end(), more.begin(), more.end());
    return run(command);
  }
};

TEST_F(Console, TheServerAsksForThePasswordAndNobodyElseGetsIn) {
  pgleash(options());
  EXPECT_EQ(ask(*std::make_unique<Application>(console()), "select 1").first("?column?"), "1");
  auto wrong = console_words("alice");
  wrong["password"] = "guess";
  EXPECT_THAT(refusal(wrong), HasSubstr("password authentication failed"));
  auto ghost = console_words("nobody_of_that_name");
  EXPECT_THAT(refusal(ghost), HasSubstr("password authentication failed"));
  EXPECT_THAT(refusal(console_words("mallory")), HasSubstr("may not use the console"));
  EXPECT_THAT(commands(), Contains(HasSubstr("mallory (none): (login) -> error 28000")));
  // The session that authenticated is gone from the server.
  EXPECT_TRUE(wait_until(
      [&] {
        return postgres().value("SELECT count(*) FROM pg_stat_activity WHERE usename = 'alice'") ==
               "0";
      },
      10s));
}

/// Large answers too, in pieces that do not fit a record.
TEST_F(Console, SpeaksThroughTheTlsOfItsListener) {
  const Certificates certificates;
  const CertificateFiles files = certificates.issue("pgleash");
  pgleash(options(
      {.listener = fmt::format("tls = \"require\"\ntls_cert_file = \"{}\"\ntls_key_file = \"{}\"\n",
                               files.cert, files.key)}));
  auto words = console_words("alice");
  words["sslmode"] = "verify-full";
  words["sslrootcert"] = certificates.ca();
  Application asks{words};
  EXPECT_NE(PQgetssl(asks.raw()), nullptr);
  const Answer version = ask(asks, "SHOW VERSION");
  EXPECT_FALSE(version.error);
  EXPECT_THAT(version.rows, SizeIs(1));
  std::vector<Application> crowd;
  for (int i = 0; i < 60; ++i)
    crowd.push_back(login({{"sslmode", "require"}, {"application_name", std::string(60, 'x')}}));
  Answer sessions;
  EXPECT_TRUE(wait_until(
      [&] {
        sessions = ask(asks, "SHOW SESSIONS PROXIED");
        return sessions.rows.size() >= 60;
      },
      10s));
  EXPECT_FALSE(sessions.error);
  words["sslmode"] = "disable";
  EXPECT_THAT(refusal(words), HasSubstr("TLS only"));
}

TEST_F(Console, ALoginThatTheServerTrustsIsRefused) {
  const std::string hba = postgres().value("SHOW hba_file");
  const std::string before = postgres().value("SELECT pg_read_file('" + hba + "')");
  ASSERT_FALSE(before.empty());
  const auto write = [&](const std::string& text) {
    std::ofstream{hba} << text;
    postgres().sql("SELECT pg_reload_conf()");
  };
  pgleash(options({.listener = "require_challenge = \"never\""}));
  write("host pgleash trusty all trust\n" + before);
  const bool refused = wait_until(
      [&] {
        return refusal(console_words("trusty")).find("without asking for a password") !=
               std::string::npos;
      },
      10s);
  write(before);
  EXPECT_TRUE(refused) << "though it is listed as an operator";
}

TEST_F(Console, ShowSessionsEqualsPgStatActivity) {
  pgleash(options());
  std::vector<Application> apps;
  for (int i = 0; i < 20; ++i)
    apps.push_back(login({{"application_name", fmt::format("app-{}", i)}}));
  apps[1].exec("BEGIN");
  apps[2].exec("SET application_name = 'renamed'");
  LibpqClient direct = server().login({{"application_name", "straight"}});
  Application desk = console();
  const auto pids = [](const Answer& answer) {
    std::set<std::string> all;
    for (const auto& row : answer.rows) all.insert(row.at("pid"));
    return all;
  };
  std::set<std::string> theirs;
  // Backends of the console's and the monitor's logins come and go: compare while nothing did.
  ASSERT_TRUE(wait_until(
      [&] {
        theirs.clear();
        const Answer answer = ask(desk, "SHOW SESSIONS");
        for (const auto& row : postgres().sql("SELECT pid FROM pg_stat_activity "
                                              "WHERE pid <> pg_backend_pid()"))
          theirs.insert(row[0]);
        std::set<std::string> ours = pids(answer);
        ours.erase(postgres().value("SELECT pg_backend_pid()"));
        return ours == theirs;
      },
      10s));
  const Answer shown = ask(desk, "select * from pg_stat_activity");
  ASSERT_GE(shown.columns.size(), 22U);
  std::vector<std::string> names;
  for (const auto& row :
       postgres().sql("SELECT attname FROM pg_attribute WHERE attrelid = "
                      "'pg_stat_activity'::regclass AND attnum > 0 ORDER BY attnum"))
    names.push_back(row[0]);
  for (const std::string& name : names) EXPECT_THAT(shown.columns, Contains(name));
  std::map<std::string, std::map<std::string, std::string>> by_pid;
  for (const auto& row : shown.rows) by_pid[row.at("pid")] = row;
  postgres().sql("SET timezone = 'UTC'");
  for (const auto& row : postgres().sql(
           "SELECT pid, datid, datname, usesysid, usename, application_name, backend_start, state, "
           "backend_type, query, client_port, wait_event FROM pg_stat_activity "
           "WHERE usename = 'app'")) {
    auto& mine = by_pid[row[0]];
    EXPECT_EQ(mine["datid"], row[1]);
    EXPECT_EQ(mine["datname"], row[2]);
    EXPECT_EQ(mine["usesysid"], row[3]);
    EXPECT_EQ(mine["usename"], row[4]);
    EXPECT_EQ(mine["application_name"], row[5]);
    EXPECT_EQ(mine["backend_start"], row[6]);
    EXPECT_EQ(mine["state"], row[7]);
    EXPECT_EQ(mine["backend_type"], row[8]);
    EXPECT_EQ(mine["query"], row[9]);
    EXPECT_EQ(mine["wait_event"], row[11]);
    const bool proxied = mine["origin"] == "proxied";
    EXPECT_EQ(mine[proxied ? "leg_port" : "client_port"], row[10]);
    EXPECT_EQ(proxied, row[0] != std::to_string(direct.pid()));
  }
  EXPECT_EQ(ask(desk, "show sessions proxied").rows.size(), apps.size());
  EXPECT_EQ(ask(desk, "show sessions direct where application_name = 'straight'").rows.size(), 1U);
  EXPECT_THAT(ask(desk, "show sessions background where backend_type = 'checkpointer'").rows,
              SizeIs(1));
  EXPECT_EQ(ask(desk,
                "select count(*) from pg_stat_activity where state = 'idle in transaction' "
                "and usename = 'app'")
                .first("count"),
            "1");
}

TEST_F(Console, AViewersKillIsRefusedAndAudited) {
  pgleash(options());
  Application app = login();
  Application vera = console("vera");
  const std::string kill = fmt::format("KILL PID {}", app.pid());
  const Answer answer = ask(vera, kill);
  ASSERT_TRUE(answer.error);
  EXPECT_EQ(answer.error->sqlstate, "42501");
  EXPECT_EQ(ask(vera, fmt::format("select pg_terminate_backend({})", app.pid())).error->sqlstate,
            "42501");
  for (const char* command : {"KILL WHERE true", "PAUSE ENFORCEMENT", "RELOAD", "DRAIN",
                              "EXEMPT SESSION 1 FOR '10m'", "RESET FUSE"})
    EXPECT_EQ(ask(vera, command).error->sqlstate, "42501") << command;
  EXPECT_FALSE(ask(vera, "SHOW SESSIONS").error);
  EXPECT_EQ(ask(*std::make_unique<Application>(console()), "DRAIN").error->sqlstate, "42501")
      << "nor may an operator drain";
  EXPECT_TRUE(backend_lives(app.pid()));
  EXPECT_THAT(commands(), Contains(HasSubstr("vera (viewer): " + kill + " -> refused")));
}

TEST_F(Console, AFloodOfCommandsDoesNotFillTheDiskAndHidesNoKill) {
  pgleash(options());
  auto flood = console("vera");
  auto application = login();
  constexpr int asked = 500;
  for (int i = 0; i < asked / 2; ++i) {
    EXPECT_FALSE(ask(flood, "SHOW VERSION").error);
    EXPECT_TRUE(ask(flood, fmt::format("KILL PID {}", application.pid())).error) << "a viewer";
  }
  auto alice = console("alice");
  EXPECT_FALSE(ask(alice, fmt::format("KILL PID {}", application.pid())).error);
  EXPECT_EQ(pgleash().terminate(), 0);
  std::size_t veras = 0;
  std::size_t kills = 0;
  std::size_t left_out = 0;
  for (const auto& line : pgleash().audit("command")) {
    if (text(line, "actor") == "alice" && text(line, "command").starts_with("KILL")) ++kills;
    if (text(line, "actor") != "vera") continue;
    if (text(line, "command") == "(left out)") {
      left_out += std::stoul(text(line, "result"));
    } else {
      ++veras;
    }
  }
  EXPECT_EQ(veras + left_out, static_cast<std::size_t>(asked)) << "written or counted";
  EXPECT_LT(veras, 200U);
  EXPECT_EQ(kills, 1U);
  EXPECT_LT(pgleash().log("console.command").size(), 220U);
}

TEST_F(Console, AKillByHandIsGuardedVerifiedAuditedAndExplained) {
  pgleash(options({.mode = "observe"}));
  Application app = login();
  app.exec("BEGIN");
  Application desk = console();
  const Answer killed = ask(desk, fmt::format("KILL PID {}", app.pid()));
  ASSERT_FALSE(killed.error) << killed.error->message;
  EXPECT_EQ(killed.first("outcome"), "confirmed");
  EXPECT_EQ(killed.first("pid"), std::to_string(app.pid()));
  EXPECT_FALSE(killed.first("backend_start").empty());
  EXPECT_FALSE(backend_lives(app.pid()));
  const auto told = app.ended(10s);
  ASSERT_TRUE(told);
  EXPECT_EQ(told->sqlstate, "25P03");
  EXPECT_THAT(told->message, HasSubstr("operator 'alice'"));
  EXPECT_EQ(told->incident(), killed.first("incident"));
  const auto line = outcome_line(killed.first("incident"));
  EXPECT_EQ(text(line, "actor"), "alice");
  EXPECT_EQ(text(line, "rule"), "manual");
  EXPECT_EQ(text(line, "outcome"), "confirmed");
  EXPECT_EQ(ask(desk, "SHOW ACTIONS WHERE actor = 'alice'").first("incident"),
            killed.first("incident"));
  const Answer why = ask(desk, "EXPLAIN INCIDENT '" + killed.first("incident") + "'");
  std::string all;
  for (const auto& row : why.rows) all += row.at("explanation") + '\n';
  EXPECT_THAT(all, AllOf(HasSubstr("ordered by alice"), HasSubstr("outcome confirmed"),
                         HasSubstr("last statement: BEGIN (fingerprint "),
                         HasSubstr("bytes since its login: ")));
  EXPECT_TRUE(
      wait_until([&] { return ask(desk, "SHOW SERVERS").first("manual_kills") == "1"; }, 10s));
  EXPECT_EQ(ask(desk, fmt::format("KILL PID {}", app.pid())).error->sqlstate, "42704");
  const Finished schema =
      run({{"python3", PGLEASH_SOURCE_DIR "/tests/support/check_schema.py",
            PGLEASH_SOURCE_DIR "/deploy/audit.schema.json", pgleash().audit_file()},
           {},
           {}});
  if (schema.status == 77) GTEST_SKIP() << "NO PYTHON MODULE jsonschema HERE";
  EXPECT_EQ(schema.status, 0) << schema.out << schema.err;
}

TEST_F(Console, ACancelHitsTheStatementAndSparesTheSession) {
  pgleash(options());
  Application app = login();
  app.send("SELECT pg_sleep(600)");
  ASSERT_TRUE(wait_until([&] { return state_of(app.pid()) == "active"; }, 10s));
  Application desk = console();
  EXPECT_EQ(ask(desk, fmt::format("CANCEL PID {}", app.pid())).first("outcome"), "confirmed");
  const auto error = app.finish();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->sqlstate, "57014");
  EXPECT_EQ(app.exec("SELECT 1"), "1");
  EXPECT_EQ(ask(desk, fmt::format("CANCEL PID {}", app.pid())).first("outcome"), "recovered");
}

TEST_F(Console, KillWherePreviewsAndConfirmsExactlyThat) {
  pgleash(options());
  Application idle = login({{"application_name", "leaker"}});
  Application moves = login({{"application_name", "leaker"}});
  Application desk = console();
  const Answer preview = ask(desk, "KILL WHERE application_name = 'leaker'");
  ASSERT_EQ(preview.rows.size(), 2U);
  const std::string token = preview.first("token");
  EXPECT_EQ(token.size(), 16U);
  EXPECT_TRUE(backend_lives(idle.pid())) << "without confirmation it only previews";
  Application later = login({{"application_name", "leaker"}});
  moves.exec("BEGIN");
  Application adam = console("adam");
  EXPECT_EQ(ask(adam, "KILL CONFIRM '" + token + "'").error->sqlstate, "22023")
      << "another's token";
  const Answer done = ask(desk, "KILL CONFIRM '" + token + "'");
  ASSERT_EQ(done.rows.size(), 2U);
  std::map<std::string, std::string> outcomes;
  for (const auto& row : done.rows) outcomes[row.at("pid")] = row.at("outcome");
  EXPECT_EQ(outcomes[std::to_string(idle.pid())], "confirmed");
  EXPECT_EQ(outcomes[std::to_string(moves.pid())], "recovered") << "it does something else now";
  EXPECT_TRUE(backend_lives(moves.pid()));
  EXPECT_TRUE(backend_lives(later.pid())) << "it came later";
  EXPECT_EQ(ask(desk, "KILL CONFIRM '" + token + "'").error->sqlstate, "22023") << "used";
}

TEST_F(Console, TheArticlesStatementsAreMadeSafe) {
  pgleash(options());
  LibpqClient direct = server().login();
  Application app = login();
  Application desk = console();
  const std::string launcher = postgres().value(
      "SELECT pid FROM pg_stat_activity WHERE backend_type = 'autovacuum launcher'");
  EXPECT_FALSE(ask(desk, "select * from pg_stat_activity").error);
  Answer answer = ask(desk, "select pg_terminate_backend(" + launcher + ")");
  ASSERT_TRUE(answer.error);
  EXPECT_THAT(answer.error->message, HasSubstr("autovacuum launcher"));
  EXPECT_THAT(answer.error->detail, HasSubstr("never a target"));
  answer = ask(desk, "select pg_terminate_backend(" + launcher + ") from pg_stat_activity");
  ASSERT_TRUE(answer.error);
  EXPECT_THAT(answer.error->message, HasSubstr("once per row"));
  EXPECT_EQ(postgres().value("SELECT 1 FROM pg_stat_activity WHERE pid = " + launcher), "1");
  answer = ask(desk, fmt::format("select pg_terminate_backend({})", app.pid()));
  EXPECT_EQ(answer.first("pg_terminate_backend"), "t");
  EXPECT_FALSE(backend_lives(app.pid()));
  answer = ask(desk, fmt::format("select pg_terminate_backend({})", direct.pid()));
  EXPECT_EQ(answer.first("pg_terminate_backend"), "t") << "one that does not come through pgleash";
  EXPECT_FALSE(backend_lives(direct.pid()));
  answer = ask(desk, "select pg_terminate_backend(1)");
  EXPECT_EQ(answer.first("pg_terminate_backend"), "f");
  const std::string monitor = postgres().value(
      "SELECT pid FROM pg_stat_activity WHERE usename = 'pgleash_monitor' LIMIT 1");
  EXPECT_EQ(ask(desk, "select pg_terminate_backend(" + monitor + ")").error->sqlstate, "42501");
  const std::string super = postgres().value("SELECT pg_backend_pid()");
  EXPECT_THAT(ask(desk, "KILL PID " + super).error->message, HasSubstr("superuser"));
}

TEST_F(Console, HostileApplicationNamesAreValuesAndNothingElse) {
  pgleash(options());
  Application app = login();
  app.exec("SET application_name = 'x''; KILL WHERE true; --'");
  app.exec("SELECT '\x1b[2J clears the screen'");
  Application desk = console();
  const Answer shown =
      ask(desk, "SHOW SESSIONS PROXIED WHERE application_name LIKE 'x''; KILL WHERE true%'");
  ASSERT_EQ(shown.rows.size(), 1U);
  EXPECT_THAT(shown.first("query"), AllOf(HasSubstr("\\x1b[2J"), Not(HasSubstr("\x1b"))));
  EXPECT_EQ(shown.first("pid"), std::to_string(app.pid()));
  const Finished table = psql("alice", {"-c", "show sessions proxied"});
  EXPECT_EQ(table.status, 0) << table.err;
  EXPECT_THAT(table.out, Not(HasSubstr("\x1b")));
  EXPECT_TRUE(backend_lives(app.pid()));
}

TEST_F(Console, ExemptsPausesAndResumes) {
  pgleash(options({.rules = rule("idle-tx", "idle_in_transaction", "1s", "terminate")}));
  Application desk = console();
  EXPECT_FALSE(ask(desk, "PAUSE ENFORCEMENT").error);
  Application app = login();
  app.exec("BEGIN");
  EXPECT_TRUE(
      wait_until([&] { return ask(desk, "SHOW SERVERS").first("enforcement") == "paused"; }, 10s));
  const std::string id =
      ask(desk, fmt::format("SHOW SESSIONS WHERE pid = {}", app.pid())).first("session");
  EXPECT_FALSE(ask(desk, "EXEMPT SESSION " + id + " FOR '10m'").first("exempt_until").empty());
  EXPECT_FALSE(ask(desk, "RESUME ENFORCEMENT").error);
  ASSERT_TRUE(wait_until(
      [&] {
        return pgleash().metric("pgleash_rule_exempted_total",
                                {{"rule", "idle-tx"}, {"exemption", "by_hand"}}) >= 1;
      },
      20s));
  EXPECT_TRUE(backend_lives(app.pid()));
  EXPECT_EQ(ask(desk, "EXEMPT SESSION " + id + " FOR '30d'").error->sqlstate, "22023");
  EXPECT_EQ(ask(desk, "EXEMPT SESSION " + id + " FOR '1s'").rows.size(), 1U);
  const auto told = app.ended(20s);
  ASSERT_TRUE(told) << "the exemption was cut short";
  EXPECT_THAT(told->message, HasSubstr("idle-tx"));
}

TEST_F(Console, ReloadsAndSaysWhyNot) {
  PgleashOptions first = options();
  pgleash(first);
  Application adam = console("adam");
  EXPECT_FALSE(ask(adam, "RELOAD").error);
  PgleashOptions wrong = first;
  wrong.rules = "[[rule]]\nname = \"x\"\nkind = \"nonsense\"\nlimit = \"1s\"\n";
  pgleash().configure(wrong);
  const Answer refused = ask(adam, "RELOAD");
  ASSERT_TRUE(refused.error);
  EXPECT_THAT(refused.error->message, HasSubstr("nonsense"));
  PgleashOptions without = first;
  without.console = "viewers = [\"adam\"]\n";
  pgleash().configure(without);
  EXPECT_FALSE(ask(adam, "RELOAD").error);
  EXPECT_EQ(ask(adam, "RELOAD").error->sqlstate, "42501")
      << "an admin no more, from that moment on";
}

TEST_F(Console, ShowsWhatItKnows) {
  pgleash(options());
  Application app = login();
  app.exec("BEGIN");
  app.exec("SELECT 4711 /*controller='cart'*/");
  app.exec("SELECT pg_backend_pid() /*controller='orders'*/");
  Application desk = console();
  for (const char* view :
       {"RULES", "ACTIONS", "LEAKS", "BLOCKING", "FUSES", "SERVERS", "CONFIG", "VERSION", "HELP"})
    EXPECT_FALSE(ask(desk, std::string{"SHOW "} + view).error) << view;
  EXPECT_EQ(ask(desk, "SHOW CONFIG WHERE key = 'console.database'").first("value"), "\"pgleash\"");
  ASSERT_TRUE(
      wait_until([&] { return !ask(desk, fmt::format("EXPLAIN PID {}", app.pid())).error; }, 10s));
  std::string all;
  for (const auto& row : ask(desk, fmt::format("EXPLAIN PID {}", app.pid())).rows)
    all += row.at("explanation");
  EXPECT_THAT(all, AllOf(HasSubstr("idle"),
                         HasSubstr("last statement: SELECT pg_backend_pid() (fingerprint "),
                         HasSubstr(" ago; tags controller=orders"),
                         HasSubstr("its transaction began with: SELECT $1 (fingerprint "),
                         HasSubstr(" to the client")));
  const Answer sizes = ask(desk, fmt::format("SELECT bytes_to_server, bytes_to_client "
                                             "FROM sessions WHERE pid = {}",
                                             app.pid()));
  EXPECT_GT(std::stol(sizes.first("bytes_to_server")), 100);
  EXPECT_GT(std::stol(sizes.first("bytes_to_client")), 100);
}

TEST_F(Console, ShowsWhoBlocksWhom) {
  pgleash(options());
  postgres().sql("CREATE TABLE IF NOT EXISTS queue (x int)", "orders");
  postgres().sql("GRANT ALL ON queue TO app", "orders");
  Application holder = login();
  holder.exec("BEGIN; LOCK TABLE queue");
  Application waiter = login();
  waiter.send("SELECT * FROM queue");
  Application desk = console();
  ASSERT_TRUE(wait_until(
      [&] {
        return ask(desk, fmt::format("SHOW BLOCKING WHERE blocker_pid = {}", holder.pid()))
                   .first("blocked_pid") == std::to_string(waiter.pid());
      },
      20s));
}

TEST_F(Console, PsqlIsAtHome) {
  pgleash(options());
  Application app = login();
  const Finished shown =
      psql("alice", {"-At", "-c", "select pid from sessions where origin = 'proxied'"});
  EXPECT_EQ(shown.status, 0) << shown.err;
  EXPECT_EQ(shown.out, std::to_string(app.pid()) + "\n");
  const Finished refused = psql("alice", {"-c", "show sesions"});
  EXPECT_EQ(refused.status, 1);
  EXPECT_THAT(refused.err, HasSubstr("sesions"));
  EXPECT_THAT(psql("mallory", {"-c", "show sessions"}).err, HasSubstr("may not use the console"));
}

TEST_F(Console, TheThinClientsShowExplainAndKill) {
  pgleash(options());
  Application app = login({{"application_name", "leaker"}});
  const auto client = [&](std::vector<std::string> more) {
    more.insert(more.begin(), PGLEASH_BINARY);
    more.push_back("--connect");
    more.push_back(fmt::format("host=127.0.0.1 port={} dbname=pgleash user=alice password=pw",
                               pgleash().port()));
    return run({more, {}, {}});
  };
  Finished out = client({"sessions", "--where", "application = 'leaker'"});
  EXPECT_EQ(out.status, 0) << out.err;
  EXPECT_THAT(out.out, AllOf(HasSubstr("session\tpid\t"), HasSubstr(std::to_string(app.pid()))));
  out = client({"sessions", "--json", "--origin", "proxied"});
  EXPECT_THAT(out.out, HasSubstr(fmt::format("\"pid\":{}", app.pid())));
  EXPECT_EQ(client({"leaks"}).status, 0);
  ASSERT_TRUE(wait_until(
      [&] {
        return client({"explain", "--pid", std::to_string(app.pid())}).status == 0;
      },
      10s));
  out = client({"kill", "--where", "application = 'leaker'"});
  EXPECT_EQ(out.status, 1) << "asked without a terminal, it only shows";
  EXPECT_TRUE(backend_lives(app.pid()));
  out = client({"kill", "--yes", "--where", "application = 'leaker'"});
  EXPECT_EQ(out.status, 0) << out.out << out.err;
  EXPECT_FALSE(backend_lives(app.pid()));
  EXPECT_EQ(client({"kill", "--pid", std::to_string(app.pid())}).status, 2);
}

TEST_F(Console, DblinkJoinsItsResults) {
  if (postgres().value("SELECT 1 FROM pg_available_extensions WHERE name = 'dblink'") != "1")
    GTEST_SKIP() << "NO DBLINK HERE: install postgresql-contrib";
  pgleash(options());
  Application app = login();
  postgres().sql("CREATE EXTENSION IF NOT EXISTS dblink");
  const std::string joined = postgres().value(fmt::format(
      "SELECT a.pid FROM dblink('host=127.0.0.1 port={} dbname=pgleash user=alice password=pw', "
      "'select pid, application, state_age, backend_start from sessions') AS s(pid int, "
      "application "
      "text, state_age interval, backend_start timestamptz) "
      "JOIN pg_stat_activity a ON a.pid = s.pid AND a.backend_start = s.backend_start "
      "WHERE a.usename = 'app'",
      pgleash().port()));
  EXPECT_EQ(joined, std::to_string(app.pid()));
}

TEST_F(Console, DriversGetTypedResults) {
  const Finished have = run({{"/usr/bin/python3", "-c", "import psycopg2, asyncpg"}, {}, {}});
  if (have.status != 0) GTEST_SKIP() << "NO PSYCOPG2 AND ASYNCPG HERE";
  pgleash(options());
  Application app = login();
  const std::string script =
      fmt::format(R"(
import asyncio, asyncpg, psycopg2
words = dict(host='127.0.0.1', port={port}, user='alice', password='pw', dbname='pgleash')
with psycopg2.connect(**words) as c, c.cursor() as cur:
    cur.execute("select pid, backend_start, state_age from sessions where pid = %s", ({pid},))
    pid, start, age = cur.fetchone()
    assert pid == {pid} and start.tzinfo and age.total_seconds() >= 0, (pid, start, age)
    cur.execute("show version")
async def main():
    words['database'] = words.pop('dbname')
    c = await asyncpg.connect(**words)
    row = await c.fetchrow("select * from pg_stat_activity where pid = $1", {pid})
    assert row['pid'] == {pid} and row['usename'] == 'app' and str(row['client_addr']) == '127.0.0.1', row
    assert row['backend_start'].tzinfo and row['state_age'].total_seconds() >= 0
    async with c.transaction():
        assert await c.fetchval("select count(*) from sessions where origin = 'proxied'") == 1
    await c.close()
    pool = await asyncpg.create_pool(min_size=1, max_size=2, **words)
    async with pool.acquire() as c:
        assert await c.fetchval("select 1") == 1
    await pool.close()
asyncio.run(main())
print('done')
)",
                  fmt::arg("port", pgleash().port()), fmt::arg("pid", app.pid()));
  const Finished out = run({{"/usr/bin/python3", "-c", script}, {}, {}});
  EXPECT_EQ(out.out, "done\n") << out.err;
}

TEST_F(Console, TheSocketWorksWhenTheServerIsDown) {
  TempDir directory;
  const std::string me = run({{"id", "-un"}, {}, {}}).out;
  const std::string user = me.substr(0, me.find('\n'));
  pgleash(
      {.console = fmt::format("operators = [\"{}\"]\nsocket = \"{}\"\n", user, directory.path())});
  Application app = login();
  const std::map<std::string, std::string> words{{"host", directory.path()},
                                                 {"port", std::to_string(pgleash().port())},
                                                 {"user", user},
                                                 {"dbname", "pgleash"}};
  Application desk{words};
  EXPECT_FALSE(ask(desk, "SHOW SESSIONS").error);
  auto other = words;
  other["user"] = "somebody_else";
  EXPECT_THAT(refusal(other), HasSubstr("knows you as OS user"));
  postgres().stop(true);
  const Answer shown = ask(desk, "SHOW SERVERS");
  EXPECT_FALSE(shown.error);
  EXPECT_FALSE(ask(desk, "SHOW SESSIONS").error) << "with a warning";
  postgres().start();
}

}  // namespace
}  // namespace pgleash::test
