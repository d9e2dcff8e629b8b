#include "app/application.hpp"
#include "app/bootstrap_sql.hpp"
#include "app/check_login.hpp"
#include "app/check_server.hpp"
#include "app/console_client.hpp"
#include "app/load.hpp"
#include "app/replay/record.hpp"
#include "app/replay/replay.hpp"
#include "app/watch/outside_sampling.hpp"
#include "app/watch/watch.hpp"
#include "config/loader.hpp"
#include "watchdog/audit_chain.hpp"

#include <CLI/CLI.hpp>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <malloc.h>
#include <string>
#include <sys/prctl.h>
#include <unistd.h>
#include <vector>

namespace {

using namespace pgleash;

constexpr int exit_good = 0;
constexpr int exit_warnings = 1;
constexpr int exit_faults = 2;

bool colour_on(int descriptor) {
  return ::isatty(descriptor) != 0 && std::getenv("NO_COLOR") == nullptr;
}

void print(const std::vector<config::Diagnostic>& diagnostics) {
  for (const config::Diagnostic& one : diagnostics)
    std::fprintf(stderr, "%s\n", config::render(one, colour_on(STDERR_FILENO)).c_str());
}

std::string as_json(const std::vector<config::Diagnostic>& diagnostics, const std::string& servers,
                    const std::string& logins) {
  boost::json::array all;
  for (const config::Diagnostic& one : diagnostics) {
    boost::json::object entry;
    entry["severity"] = one.severity == config::Severity::error ? "error" : "warning";
    entry["source"] = one.position.source;
    entry["line"] = one.position.line;
    entry["column"] = one.position.column;
    entry["message"] = one.message;
    entry["hint"] = one.hint;
    all.push_back(std::move(entry));
  }
  std::string text = boost::json::serialize(boost::json::object{{"diagnostics", std::move(all)}});
  if (!servers.empty()) text.insert(text.size() - 1, ",\"servers\":" + servers);
  if (!logins.empty()) text.insert(text.size() - 1, ",\"logins\":" + logins);
  return text;
}

struct RunOptions {
  std::string config;
  config::CommandLine line;
};

/// Passwords on their way through, cancel keys and keys of TLS are in this memory: no core file may
/// have them, nor may another process of the same user look.
void keep_memory_private() {
  if (std::getenv("PGLEASH_DUMPABLE") == nullptr) ::prctl(PR_SET_DUMPABLE, 0);
}

/// The snapshots of thousands of sessions come and go each second, in blocks of hundreds of KiB.
/// glibc takes such blocks from the heap once one was freed, and what they leave there stays ours:
/// below this size it may, above it each block is the kernel's again when it is freed.
void give_large_blocks_back() {
#ifdef __GLIBC__
  constexpr int from = 128 * 1024;  // where glibc itself begins
  ::mallopt(M_MMAP_THRESHOLD, from);
#endif
}

int run(const RunOptions& options) {
  keep_memory_private();
  give_large_blocks_back();
  config::LoadResult loaded =
      options.config.empty() ? app::load_checked(options.line) : app::load_checked(options.config);
  print(loaded.diagnostics);
  if (!loaded.config) return exit_faults;
  app::Application application{*loaded.config, options.config};
  std::fputs(app::start_card(*loaded.config, colour_on(STDOUT_FILENO)).c_str(), stdout);
  std::fflush(stdout);
  application.when_first_advised(
      [](std::string_view server, const std::vector<watchdog::Advice>& advice) {
        std::fputs(app::names_card(server, advice).c_str(), stdout);
        std::fflush(stdout);
      });
  return application.run();
}

struct CheckOptions {
  std::string config;
  bool effective = false;
  bool json = false;
  bool server = false;
  bool login = false;
  app::LoginQuestion logins;
};

int check(const CheckOptions& options) {
  const config::LoadResult loaded = app::load_checked(options.config);
  std::vector<app::ServerFindings> servers;
  if (options.server && loaded.config) servers = app::check_servers(*loaded.config);
  std::vector<app::LoginFinding> logins;
  if (options.login && loaded.config) logins = app::check_logins(*loaded.config, options.logins);
  if (options.json) {
    const std::string asked = options.server && loaded.config ? app::to_json(servers) : "";
    const std::string tried = options.login && loaded.config ? app::to_json(logins) : "";
    std::puts(as_json(loaded.diagnostics, asked, tried).c_str());
  } else {
    print(loaded.diagnostics);
    if (options.effective && loaded.config)
      std::fputs(config::effective_toml(loaded).c_str(), stdout);
    if (loaded.diagnostics.empty()) std::printf("%s: no faults found\n", options.config.c_str());
    std::fputs(app::to_text(servers).c_str(), stdout);
    std::fputs(app::to_text(logins).c_str(), stdout);
  }
  if (!loaded.config) return exit_faults;
  const watchdog::Gravity worst = std::max(app::gravest(servers), app::gravest(logins));
  if (worst == watchdog::Gravity::error) return exit_faults;
  if (worst == watchdog::Gravity::warning) return exit_warnings;
  return loaded.diagnostics.empty() ? exit_good : exit_warnings;
}

int verify_audit(const std::string& path) {
  const watchdog::ChainReport found = watchdog::verify(path);
  if (found.intact) {
    std::printf(
        "%s: %llu lines, the chain is whole (%llu torn by a crash and accounted for); last hash "
        "%s\n",
        path.c_str(), static_cast<unsigned long long>(found.lines),
        static_cast<unsigned long long>(found.repaired), found.last.c_str());
    return exit_good;
  }
  if (found.broken_line) {
    std::fprintf(stderr, "%s:%llu: %s\n", path.c_str(),
                 static_cast<unsigned long long>(*found.broken_line), found.why.c_str());
  } else {
    std::fprintf(stderr, "%s: %s\n", path.c_str(), found.why.c_str());
  }
  return exit_faults;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App cli{
      "pgleash: a TCP proxy in front of PostgreSQL that ends leaked and runaway sessions, and "
      "proves that they are gone"};
  cli.set_version_flag("--version", std::string{"pgleash "} + PGLEASH_VERSION);
  cli.require_subcommand(1);

  RunOptions run_options;
  CLI::App* run_command = cli.add_subcommand(
      "run",
      "serve in the foreground; SIGTERM drains, a second one ends at once; SIGHUP reloads, "
      "SIGUSR1 reopens the audit log, SIGUSR2 pauses and resumes enforcement");
  auto* file =
      run_command->add_option("--config", run_options.config,
                              "configuration file; without one: observe mode, default rules");
  auto* server = run_command->add_option(
      "--server", run_options.line.server,
      "postgres://host:port, host:port, or a Unix socket directory; with "
      "libpq's words for TLS: 'postgres://db1?sslmode=verify-full&sslrootcert=ca.crt', or "
      "'host=db1 sslmode=require'");
  auto* listen =
      run_command->add_option("--listen", run_options.line.listen,
                              "host:port, or a Unix socket directory (default 127.0.0.1:6432)");
  auto* monitor =
      run_command->add_option("--monitor", run_options.line.monitor,
                              "libpq words of the monitor role: 'user=… dbname=… password_file=…'");
  auto* http = run_command->add_option(
      "--http", run_options.line.http,
      "address of /metrics, /healthz, /readyz (default 127.0.0.1:9732), or off");
  auto* status = run_command->add_option("--status", run_options.line.status,
                                         "address of the status page (off loopback only from a "
                                         "file; default 127.0.0.1:9733, off with --http off), or "
                                         "off");
  auto* workers =
      run_command->add_option("--workers", run_options.line.workers,
                              "threads that move bytes, or auto (one for every two cores)");
  for (CLI::Option* option : {server, listen, monitor, http, status, workers})
    file->excludes(option);

  app::WatchOptions watch_options;
  CLI::App* watch_command = cli.add_subcommand(
      "watch",
      "look at a server without being in its path: sessions, leak suspects, who blocks whom, what "
      "the rules would do; read-only, pg_monitor is enough. Rules of the kinds held and stalled "
      "and "
      "of what a statement costs are not judged from outside");
  watch_command->add_option("server", watch_options.server,
                            "postgres://user@host:5432/database, as psql takes it; default: the "
                            "server of --config, else PGHOST, PGUSER …");
  watch_command->add_option("--config", watch_options.config,
                            "judge by the rules, [leak], [identity] and [protect] of this file");
  watch_command->add_option("--interval", watch_options.interval, "between two looks (default 2s)");
  watch_command->add_option("--http", watch_options.http,
                            "serve /metrics at this address too, the status page on 127.0.0.1, one "
                            "port further");
  watch_command->add_flag("--json", watch_options.json, "one JSON object a look, a line each");
  watch_command->add_flag("--once", watch_options.once, "look once");
  watch_command->add_flag("--literals", watch_options.literals,
                          "show statements as they are, with their values");

  app::RecordOptions record_options;
  CLI::App* record_command =
      cli.add_subcommand("record",
                         "record a server from outside, for replay; read-only, pg_monitor is "
                         "enough; SIGINT or SIGTERM ends it");
  record_command->add_option("server", record_options.server,
                             "postgres://user@host:5432/database, as psql takes it");
  record_command->add_option("-o,--output", record_options.output, "file to write")->required();
  record_command->add_option("--config", record_options.config,
                             "name applications by the [identity] of this file");
  record_command->add_option("--interval", record_options.interval,
                             "between two snapshots (default 10s)");
  record_command->add_option("--max-size", record_options.max_size,
                             "a file ends here (default 64MiB)");
  record_command
      ->add_option("--keep", record_options.keep, "files kept, the newest among them (default 8)")
      ->check(CLI::Range(1U, 999U));

  app::ReplayOptions replay_options;
  CLI::App* replay_command =
      cli.add_subcommand("replay", "what these rules would have done to a recording, when and why");
  replay_command
      ->add_option("file", replay_options.files,
                   "recordings, the oldest first; each with the older files of its rotation")
      ->required();
  replay_command->add_option("--config", replay_options.config,
                             "rules, [leak] and [protect] of this file; default: default rules");
  replay_command->add_flag("--json", replay_options.json, "one JSON object");

  CheckOptions check_options;
  CLI::App* check_command = cli.add_subcommand(
      "check", "check a configuration file: exit status 0 good, 1 warnings, 2 errors");
  check_command->add_option("--config", check_options.config, "configuration file")->required();
  check_command->add_flag("--effective", check_options.effective,
                          "print every key in force and where it came from");
  check_command->add_flag("--json", check_options.json, "print the faults as JSON");
  check_command->add_flag(
      "--server", check_options.server,
      "ask each server, as its monitor role, whether rights and settings are as "
      "they should be");

  auto* login = check_command->add_flag(
      "--login", check_options.login,
      "try roles without a password, over the way that sessions take: which way of logging in "
      "applies and why, and whether one gets in");
  check_command
      ->add_option("--user", check_options.logins.roles,
                   "with --login: try this role too; may be given more than once")
      ->needs(login);
  check_command
      ->add_option("--database", check_options.logins.database,
                   "with --login: of all but the monitor's role (default postgres)")
      ->needs(login);

  CLI::App* bootstrap_command = cli.add_subcommand(
      "bootstrap-sql", "print the psql script that makes the least-privilege monitor role");

  std::string audit_file;
  CLI::App* audit_command = cli.add_subcommand("audit", "the audit log")->require_subcommand(1);
  CLI::App* verify_command = audit_command->add_subcommand(
      "verify", "check the chain of hashes: exit status 0 whole, 2 broken");
  verify_command->add_option("file", audit_file, "audit log")->required();

  const app::ConsoleClient console{cli};

  CLI11_PARSE(cli, argc, argv);
  try {
    if (const auto done = console.run()) return *done;
    if (*run_command) {
      if (run_options.config.empty() && run_options.line.server.empty()) {
        std::fputs("pgleash run: give --server (and --listen), or --config FILE\n", stderr);
        return exit_faults;
      }
      return run(run_options);
    }
    if (*replay_command) return app::replay(replay_options);
    if (*watch_command || *record_command) {
      const std::string& where = *watch_command ? watch_options.server : record_options.server;
      for (int i = 1; i < argc; ++i)
        if (where == argv[i] && app::hide_password(argv[i]))
          std::fputs(
              "note: a password on the command line is everybody's to read; better in "
              "PGPASSWORD or ~/.pgpass\n",
              stderr);
      return *watch_command ? app::watch(watch_options) : app::record(record_options);
    }
    if (*check_command) return check(check_options);
    if (*bootstrap_command) {
      std::fputs(app::bootstrap_sql, stdout);
      return exit_good;
    }
    if (*verify_command) return verify_audit(audit_file);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "pgleash: %s\n", e.what());
    return exit_warnings;
  }
  return exit_faults;
}
