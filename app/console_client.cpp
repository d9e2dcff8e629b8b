#include "app/console_client.hpp"

#include "app/result_text.hpp"

#include <CLI/CLI.hpp>
#include <libpq-fe.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <sys/ioctl.h>
#include <unistd.h>
#include <vector>

namespace pgleash::app {

namespace {

constexpr int done = 0;
constexpr int not_done = 1;
constexpr int no_console = 2;

struct Finish {
  void operator()(PGconn* connection) const noexcept { PQfinish(connection); }
};
struct Clear {
  void operator()(PGresult* result) const noexcept { PQclear(result); }
};
using Connection = std::unique_ptr<PGconn, Finish>;
using Result = std::unique_ptr<PGresult, Clear>;

std::size_t width_of_terminal() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20) return size.ws_col;
  return 120;
}

void on_notice(void* /*nothing*/, const PGresult* notice) {
  const char* text = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);
  if (text != nullptr) std::fprintf(stderr, "pgleash: %s\n", text);
}

}  // namespace

struct ConsoleClient::Options {
  std::string connect;
  bool json = false;
  std::string where;
  std::string scope;
  std::uint64_t limit = 0;
  std::string id;
  std::int32_t pid = 0;
  bool cancel = false;
  bool yes = false;
  CLI::App* sessions = nullptr;
  CLI::App* leaks = nullptr;
  CLI::App* explain = nullptr;
  CLI::App* kill = nullptr;

  /// Null: it said why on stderr.
  [[nodiscard]] Connection open() const {
    // What is given wins over what the defaults say; the environment of libpq comes last.
    const std::string words = connect.empty() ? "host=127.0.0.1 port=6432 dbname=pgleash" : connect;
    const char* const keys[] = {"dbname", "fallback_application_name", "client_encoding", nullptr};
    const char* const values[] = {words.c_str(), "pgleash", "UTF8", nullptr};
    Connection connection{PQconnectdbParams(keys, values, 1)};
    if (PQstatus(connection.get()) != CONNECTION_OK) {
      std::fprintf(stderr, "pgleash: %s", PQerrorMessage(connection.get()));
      return nullptr;
    }
    PQsetNoticeReceiver(connection.get(), on_notice, nullptr);
    return connection;
  }

  /// Null: it said why on stderr.
  [[nodiscard]] static Result ask(PGconn* connection, const std::string& statement,
                                  const std::vector<std::string>& parameters = {}) {
    std::vector<const char*> values;
    for (const std::string& one : parameters) values.push_back(one.c_str());
    Result result{PQexecParams(connection, statement.c_str(), static_cast<int>(values.size()),
                               nullptr, values.data(), nullptr, nullptr, 0)};
    const ExecStatusType status = PQresultStatus(result.get());
    if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) return result;
    std::fprintf(stderr, "pgleash: %s", PQerrorMessage(connection));
    return nullptr;
  }

  void show(const PGresult* result, const std::vector<int>& columns = {}) const {
    const bool terminal = ::isatty(STDOUT_FILENO) != 0;
    const std::string text = json       ? result_json(result)
                             : terminal ? result_table(result, columns, width_of_terminal())
                                        : result_lines(result, columns);
    std::fputs(text.c_str(), stdout);
  }

  [[nodiscard]] int look(const std::string& statement) const {
    const Connection connection = open();
    if (!connection) return no_console;
    const Result result = ask(connection.get(), statement);
    if (!result) return no_console;
    show(result.get());
    return done;
  }

  [[nodiscard]] int show_sessions() const {
    std::string statement =
        json ? "SELECT * FROM sessions"
             : "SELECT session, pid, usename, datname, application, client_addr, state, state_age, "
               "query FROM sessions";
    std::string condition =
        scope.empty() ? "origin IN ('proxied', 'direct')" : "origin = '" + scope + '\'';
    if (!where.empty()) condition += " AND (" + where + ')';
    statement += " WHERE " + condition + " ORDER BY state_age DESC";
    if (limit > 0) statement += " LIMIT " + std::to_string(limit);
    return look(statement);
  }

  [[nodiscard]] int explain_one() const {
    const Connection connection = open();
    if (!connection) return no_console;
    const bool number = id.find_first_not_of("0123456789") == std::string::npos;
    Result result;
    if (pid != 0) {
      result = ask(connection.get(), "EXPLAIN PID $1", {std::to_string(pid)});
    } else if (number && id.size() < 16) {
      result = ask(connection.get(), "EXPLAIN SESSION $1", {id});
    } else {
      result = ask(connection.get(), "EXPLAIN INCIDENT $1", {id});
    }
    if (!result) return no_console;
    if (json) {
      show(result.get());
    } else {
      for (int row = 0; row < PQntuples(result.get()); ++row)
        std::printf("%s\n", PQgetvalue(result.get(), row, 0));
    }
    return done;
  }

  [[nodiscard]] int outcome(const PGresult* result) const {
    show(result, {0, 1, 3, 4, 6, 8, 10, 14});
    bool all = PQntuples(result) > 0;
    for (int row = 0; row < PQntuples(result); ++row) {
      const std::string word = PQgetvalue(result, row, 1);
      all = all && (word == "confirmed" || word == "already_gone");
    }
    return all ? done : not_done;
  }

  [[nodiscard]] int kill_some() const {
    const Connection connection = open();
    if (!connection) return no_console;
    const std::string verb = cancel ? "CANCEL " : "KILL ";
    if (where.empty()) {
      const Result result = pid != 0 ? ask(connection.get(), verb + "PID $1", {std::to_string(pid)})
                                     : ask(connection.get(), verb + "SESSION $1", {id});
      return result ? outcome(result.get()) : no_console;
    }
    const Result preview = ask(connection.get(), verb + "WHERE " + where);
    if (!preview) return no_console;
    std::string token;
    for (int row = 0; row < PQntuples(preview.get()) && token.empty(); ++row)
      token = PQgetvalue(preview.get(), row, 0);
    const bool asks = ::isatty(STDIN_FILENO) != 0 && ::isatty(STDOUT_FILENO) != 0;
    if (!yes) show(preview.get(), {1, 3, 4, 6, 7, 8, 10, 11});
    if (token.empty()) {
      std::fputs("pgleash: nobody to end\n", stderr);
      return not_done;
    }
    if (!yes && !asks) {
      std::fputs("pgleash: nothing was ended; --yes ends them\n", stderr);
      return not_done;
    }
    if (!yes) {
      std::printf("%s them? [y/N] ", cancel ? "Cancel" : "End");
      std::fflush(stdout);
      std::string answer;
      std::getline(std::cin, answer);
      if (answer != "y" && answer != "yes") return not_done;
    }
    const Result result = ask(connection.get(), "KILL CONFIRM $1", {token});
    return result ? outcome(result.get()) : no_console;
  }
};

ConsoleClient::ConsoleClient(CLI::App& cli) : options_(std::make_unique<Options>()) {
  Options& o = *options_;
  const auto add = [&](const char* name, const char* what) {
    CLI::App* command = cli.add_subcommand(name, what);
    command
        ->add_option("--connect", o.connect,
                     "libpq words or URI of the console (host=127.0.0.1 port=6432 dbname=pgleash)")
        ->envname("PGLEASH_CONSOLE");
    command->add_flag("--json", o.json, "print JSON");
    return command;
  };
  o.sessions = add("sessions", "list sessions, as a running pgleash's console has them");
  o.sessions->add_option("--where", o.where, "condition: \"state = 'idle' AND state_age > '5m'\"");
  o.sessions
      ->add_option("--origin", o.scope,
                   "proxied, direct, background or pgleash (default: proxied and direct)")
      ->check(CLI::IsMember({"proxied", "direct", "background", "pgleash"}));
  o.sessions->add_option("--limit", o.limit, "at most so many");
  o.leaks = add("leaks", "list leaks that stand");
  o.explain = add("explain", "say why a session is judged as it is, or what an incident was");
  auto* explained = o.explain->add_option("id", o.id, "session, or incident id");
  o.explain->add_option("--pid", o.pid, "backend")->check(CLI::PositiveNumber)->excludes(explained);
  o.kill = add("kill", "end sessions, each verified: exit status 0 all gone, 1 not, 2 refused");
  auto* killed =
      o.kill->add_option("session", o.id, "session")->check(CLI::TypeValidator<std::uint64_t>());
  auto* by_pid = o.kill->add_option("--pid", o.pid, "backend")->check(CLI::PositiveNumber);
  auto* by_where = o.kill->add_option("--where", o.where, "condition: all these");
  by_pid->excludes(killed);
  by_where->excludes(killed)->excludes(by_pid);
  o.kill->add_flag("--cancel", o.cancel, "only cancel what they run");
  o.kill->add_flag("--yes", o.yes, "with --where: do not ask");
}

ConsoleClient::~ConsoleClient() = default;

std::optional<int> ConsoleClient::run() const {
  const Options& o = *options_;
  if (*o.sessions) return o.show_sessions();
  if (*o.leaks) return o.look("SELECT * FROM leaks");
  if (*o.explain || *o.kill) {
    if (o.id.empty() && o.pid == 0 && o.where.empty()) {
      std::fputs("pgleash: whom? give a session's number, or --pid\n", stderr);
      return no_console;
    }
    return *o.explain ? o.explain_one() : o.kill_some();
  }
  return std::nullopt;
}

}  // namespace pgleash::app
