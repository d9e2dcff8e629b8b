#include "tests/support/postgres.hpp"

#include "tests/support/free_port.hpp"
#include "tests/support/wait_until.hpp"

#include <fmt/format.h>
#include <libpq-fe.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <glob.h>
#include <pwd.h>
#include <stdexcept>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace pgleash::test {
namespace {

using namespace std::chrono_literals;

/// Of the newest version installed, as Debian lays them out; empty when there is none.
std::string find_programs() {
  if (const char* chosen = std::getenv("PGLEASH_TEST_PG_BIN")) return chosen;
  glob_t found{};
  std::string best;
  int newest = 0;
  if (::glob("/usr/lib/postgresql/*/bin/postgres", 0, nullptr, &found) == 0) {
    for (std::size_t i = 0; i < found.gl_pathc; ++i) {
      const std::filesystem::path path{found.gl_pathv[i]};
      const int version = std::atoi(path.parent_path().parent_path().filename().c_str());
      if (version > newest) best = path.parent_path(), newest = version;
    }
  }
  ::globfree(&found);
  return best;
}

const std::string& programs() {
  static const auto directory = find_programs();
  return directory;
}

/// PostgreSQL refuses to run as root.
std::string server_user() {
  return ::geteuid() == 0 ? Postgres::superuser : "";
}

void give_to_server(const std::string& path) {
  if (::geteuid() != 0) return;
  const passwd* entry = ::getpwnam(Postgres::superuser);
  if (entry == nullptr || ::chown(path.c_str(), entry->pw_uid, entry->pw_gid) != 0) {
    throw std::runtime_error{"cannot give " + path + " to the user postgres"};
  }
}

Finished run_or_throw(Command command) {
  const auto line = fmt::format("{}", fmt::join(command.argv, " "));
  auto done = run(std::move(command), 60s);
  if (done.status != 0) throw std::runtime_error{fmt::format("{}\n{}{}", line, done.out, done.err)};
  return done;
}

/// initdb takes a second or two, a copy of what it made much less: once a process.
const std::string& pristine_data() {
  static const TempDir directory;
  static const std::string data = [] {
    give_to_server(directory.path());
    run_or_throw(
        {.argv = {Postgres::program("initdb"), "-D", directory / "data", "-U", Postgres::superuser,
                  "-E", "UTF8", "--locale=C", "--auth=trust", "--no-sync"},
         .environment = {},
         .user = server_user()});
    return directory / "data";
  }();
  return data;
}

void write_file(const std::string& path, const std::string& text) {
  std::ofstream out{path, std::ios::trunc};
  if (!(out << text)) throw std::runtime_error{"cannot write " + path};
}

constexpr const char* hba = R"(# a test's own server
local  all          postgres                trust
local  all          all                     scram-sha-256
host   all          all       127.0.0.1/32  scram-sha-256
host   all          all       ::1/128       scram-sha-256
local  replication  postgres                trust
host   replication  all       127.0.0.1/32  scram-sha-256
)";

/// As SQL writes identifiers ("…") and literals ('…').
std::string quoted(const std::string& text, char quote) {
  std::string all{quote};
  for (const char c : text) all += c == quote ? std::string(2, c) : std::string(1, c);
  return all + quote;
}

std::string settings(const PostgresOptions& options, const std::string& directory) {
  auto text = fmt::format(R"(
listen_addresses = 'localhost'
unix_socket_directories = '{}'
max_connections = {}
password_encryption = 'scram-sha-256'
shared_buffers = '16MB'
fsync = off
full_page_writes = off
synchronous_commit = off
max_wal_size = '64MB'
min_wal_size = '32MB'
log_line_prefix = '%m [%p] %q%u@%d %a '
log_checkpoints = off
)",
                          directory, options.max_connections);
  for (const auto& setting : options.settings) text += setting + "\n";
  return text;
}

}  // namespace

void Postgres::Close::operator()(pg_conn* connection) const noexcept {
  PQfinish(connection);
}

bool Postgres::available() {
  return !programs().empty();
}
std::string Postgres::program(const std::string& name) {
  return programs() + "/" + name;
}

Postgres::Postgres(PostgresOptions options) : options_(std::move(options)) {
  if (!available()) throw std::runtime_error{"there is no PostgreSQL: set PGLEASH_TEST_PG_BIN"};
  give_to_server(directory_.path());
  if (::chmod(directory_.path().c_str(), 0711) != 0)
    throw std::system_error{errno, std::generic_category(), "chmod"};
  run_or_throw({.argv = {"cp", "-a", "--reflink=auto", pristine_data(), directory_ / "data"},
                .environment = {},
                .user = {}});
  write_file(directory_ / "data/pg_hba.conf", hba);
  std::ofstream{directory_ / "data/postgresql.conf", std::ios::app}
      << settings(options_, directory_.path());
  start();
}

Postgres::~Postgres() {
  try {
    stop(true);
  } catch (...) {  // the process is killed by its own destructor then
  }
}

void Postgres::start() {
  if (port_ != 0) {
    if (!start_on(port_)) fail("PostgreSQL did not start again");
    return;
  }
  for (int attempt = 0; attempt < 5;
       ++attempt) {  // another process may be quicker to take the port
    if (start_on(free_port())) return;
  }
  fail("PostgreSQL did not start");
}

bool Postgres::can_have_pids_of_its_own() {
  static const bool can =
      ::geteuid() == 0 && run({.argv = {"unshare", "--pid", "--fork", "--mount-proc", "true"},
                               .environment = {},
                               .user = {}})
                                  .status == 0;
  return can;
}

bool Postgres::start_on(std::uint16_t port) {
  Command command{
      .argv = {program("postgres"), "-D", directory_ / "data", "-p", std::to_string(port)},
      .environment = {"LC_ALL=C"},
      .user = server_user(),
      .death_signal = SIGQUIT};
  command.environment.insert(command.environment.end(), options_.environment.begin(),
                             options_.environment.end());
  if (options_.pids_of_its_own) {
    // Only root may make the namespace; the server becomes its first process, and dies with
    // unshare.
    const std::vector<std::string> around{"unshare",          "--pid",
                                          "--fork",           "--mount-proc",
                                          "--kill-child",     "setpriv",
                                          "--reuid=postgres", "--regid=postgres",
                                          "--init-groups",    "--pdeathsig=SIGKILL"};
    command.argv.insert(command.argv.begin(), around.begin(), around.end());
    command.user.clear();
  }
  server_ = std::make_unique<Process>(std::move(command));
  const auto where =
      fmt::format("host={} port={} user={} dbname=postgres", directory_.path(), port, superuser);
  const bool decided =
      wait_until([&] { return PQping(where.c_str()) == PQPING_OK || !server_->running(); }, 30s);
  if (!decided || !server_->running()) {
    earlier_log_ += server_->err();
    server_.reset();
    return false;
  }
  port_ = port;
  return true;
}

void Postgres::stop(bool immediate) {
  connection_.reset();
  if (!server_) return;
  for (const auto backend : suspended_) ::kill(backend, SIGCONT);
  suspended_.clear();
  server_->signal(immediate ? SIGQUIT : SIGINT);
  if (!server_->wait(20s)) {
    server_->signal(SIGQUIT);
    if (!server_->wait(10s)) fail("PostgreSQL does not stop");
  }
  earlier_log_ += server_->err();
  server_.reset();
}

void Postgres::restart(bool immediate) {
  stop(immediate);
  start();
}

void Postgres::suspend(pid_t backend) {
  if (::kill(backend, SIGSTOP) != 0) fail(fmt::format("cannot stop {}", backend));
  suspended_.insert(backend);
}

void Postgres::resume(pid_t backend) {
  suspended_.erase(backend);
  ::kill(backend, SIGCONT);
}

Postgres::Connection Postgres::connect(const std::string& database) const {
  const auto port = std::to_string(port_);
  const char* const keywords[] = {
      "host", "port", "user", "dbname", "application_name", "connect_timeout", nullptr};
  const char* const values[] = {directory_.path().c_str(),
                                port.c_str(),
                                superuser,
                                database.c_str(),
                                "fixture",
                                "10",
                                nullptr};
  Connection connection{PQconnectdbParams(keywords, values, 0)};
  if (PQstatus(connection.get()) != CONNECTION_OK) fail(PQerrorMessage(connection.get()));
  PQsetNoticeReceiver(
      connection.get(), [](void*, const PGresult*) {}, nullptr);
  return connection;
}

std::vector<Postgres::Row> Postgres::sql(const std::string& text, const std::string& database) {
  Connection other;
  if (database != superuser)
    other = connect(database);
  else if (!connection_ || PQstatus(connection_.get()) != CONNECTION_OK)
    connection_ = connect(database);
  const auto ask = [&] {
    return std::unique_ptr<PGresult, decltype(&PQclear)>{
        PQexec(other ? other.get() : connection_.get(), text.c_str()), &PQclear};
  };
  auto result = ask();
  const bool lost = PQresultStatus(result.get()) == PGRES_FATAL_ERROR &&
                    PQresultErrorField(result.get(), PG_DIAG_SQLSTATE) == nullptr;
  if (!other && lost) {
    // It crashed since the last time, and recovers.
    if (!wait_until(
            [&] {
              try {
                connection_ = connect(database);
                return true;
              } catch (const std::runtime_error&) {
                return false;
              }
            },
            std::chrono::seconds{30}))
      fail(text);
    result = ask();
  }
  auto* connection = other ? other.get() : connection_.get();
  const auto status = PQresultStatus(result.get());
  if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK && status != PGRES_EMPTY_QUERY) {
    fail(fmt::format("{}\n{}", text, PQerrorMessage(connection)));
  }
  std::vector<Row> rows;
  for (int row = 0; row < PQntuples(result.get()); ++row) {
    auto& fields = rows.emplace_back();
    for (int column = 0; column < PQnfields(result.get()); ++column) {
      fields.emplace_back(PQgetvalue(result.get(), row, column),
                          static_cast<std::size_t>(PQgetlength(result.get(), row, column)));
    }
  }
  return rows;
}

std::string Postgres::value(const std::string& text, const std::string& database) {
  const auto rows = sql(text, database);
  return rows.empty() || rows.front().empty() ? std::string{} : rows.front().front();
}

void Postgres::create_role(const std::string& name, const std::string& password,
                           const std::string& attributes) {
  sql(fmt::format("CREATE ROLE {} LOGIN PASSWORD {} {}", quoted(name, '"'), quoted(password, '\''),
                  attributes));
}

void Postgres::create_database(const std::string& name, const std::string& options) {
  sql(fmt::format("CREATE DATABASE {} {}", quoted(name, '"'), options));
}

void Postgres::bootstrap(const std::string& password, const std::string& scram_group) {
  Command command{{program("psql"), "-X", "-q", "-h", directory_.path(), "-p",
                   std::to_string(port_), "-U", superuser, "-d", "postgres", "-v",
                   "password=" + password, "-f", PGLEASH_SOURCE_DIR "/deploy/sql/bootstrap.sql"},
                  {},
                  {}};
  if (!scram_group.empty())
    command.argv.insert(command.argv.end(), {"-v", "scram_group=" + scram_group});
  run_or_throw(std::move(command));
}

std::string Postgres::log() const {
  return earlier_log_ + (server_ ? server_->err() : "");
}

std::string Postgres::log_tail(std::size_t lines) const {
  const auto text = log();
  auto from = text.size();
  for (std::size_t i = 0; i <= lines && from != std::string::npos && from > 0; ++i)
    from = text.rfind('\n', from - 1);
  return from == std::string::npos || from == 0 ? text : text.substr(from + 1);
}

void Postgres::fail(const std::string& what) const {
  throw std::runtime_error{fmt::format("{}\n--- PostgreSQL's log:\n{}", what, log_tail())};
}

}  // namespace pgleash::test
