#pragma once

#include "tests/support/process.hpp"
#include "tests/support/temp_dir.hpp"

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <sys/types.h>
#include <vector>

struct pg_conn;

namespace pgleash::test {

/// How a private PostgreSQL is set up.
struct PostgresOptions {
  unsigned max_connections = 50;
  std::vector<std::string> settings = {};  ///< further "name=value"
  bool pids_of_its_own = false;            ///< in a pid namespace, as in a container on this host
  std::vector<std::string> environment = {};  ///< further "NAME=value" of the server
};

/// A PostgreSQL of this test's own: fresh data directory, free port, gone with the object or with
/// the test process, even when that crashes. Never touches another server. Its version is the
/// newest installed, or the one whose programs are in $PGLEASH_TEST_PG_BIN. Fails by
/// std::runtime_error, with the end of the server's log in it.
///
/// Over TCP (127.0.0.1, localhost) and for ordinary roles a password is asked for (SCRAM). The
/// superuser `postgres` logs in without one, through the Unix socket only.
class Postgres {
 public:
  using Row = std::vector<std::string>;  ///< NULL reads as empty
  static constexpr const char* superuser = "postgres";

  explicit Postgres(PostgresOptions options = {});
  ~Postgres();
  Postgres(const Postgres&) = delete;
  Postgres& operator=(const Postgres&) = delete;

  /// False: there is no PostgreSQL here, skip loudly.
  [[nodiscard]] static bool available();
  /// Whether `pids_of_its_own` can be had: root, and a kernel that lets it.
  [[nodiscard]] static bool can_have_pids_of_its_own();
  /// Path of one of its programs: "psql", "pgbench".
  [[nodiscard]] static std::string program(const std::string& name);

  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  [[nodiscard]] const std::string& socket_dir() const noexcept { return directory_.path(); }
  [[nodiscard]] pid_t pid() const noexcept { return server_->pid(); }

  /// Rows of the last statement, as the superuser.
  std::vector<Row> sql(const std::string& text, const std::string& database = superuser);
  /// First column of the first row; empty when there is none.
  std::string value(const std::string& text, const std::string& database = superuser);
  void create_role(const std::string& name, const std::string& password,
                   const std::string& attributes = "");
  void create_database(const std::string& name, const std::string& options = "");
  /// Applies deploy/sql/bootstrap.sql: role pgleash_monitor with this password, database pgleash.
  /// `scram_group`: and the function that tells the secrets of its members.
  void bootstrap(const std::string& password, const std::string& scram_group = {});

  void start();
  /// Immediate: as after a crash. Else every session is ended with FATAL 57P01.
  void stop(bool immediate = false);
  void restart(bool immediate = false);
  /// SIGSTOP and SIGCONT to one backend. What is stopped when the test ends is woken.
  void suspend(pid_t backend);
  void resume(pid_t backend);

  [[nodiscard]] std::string log() const;
  [[nodiscard]] std::string log_tail(std::size_t lines = 30) const;

 private:
  struct Close {
    void operator()(pg_conn* connection) const noexcept;
  };
  using Connection = std::unique_ptr<pg_conn, Close>;

  Connection connect(const std::string& database) const;
  bool start_on(std::uint16_t port);
  [[noreturn]] void fail(const std::string& what) const;

  PostgresOptions options_;
  TempDir directory_;
  std::unique_ptr<Process> server_;
  std::string earlier_log_;
  Connection connection_;
  std::set<pid_t> suspended_;
  std::uint16_t port_ = 0;
};

}  // namespace pgleash::test
