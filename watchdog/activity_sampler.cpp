#include "watchdog/activity_sampler.hpp"

#include "watchdog/activity_query.hpp"
#include "watchdog/clock.hpp"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <iterator>
#include <string_view>
#include <utility>

namespace pgleash::watchdog {
namespace {

using namespace std::chrono_literals;

constexpr Duration names_live = 30s;  // a role may become a superuser, a database may be renamed
constexpr Duration rights_live = 30s;
constexpr Duration identity_lives = 5s;  // a standby is promoted under our connection

// reserved_connections came with 16.
constexpr const char* settings_sql = R"(
SELECT pg_catalog.current_setting('max_connections')::pg_catalog.int4,
       pg_catalog.current_setting('superuser_reserved_connections')::pg_catalog.int4
         + COALESCE(pg_catalog.current_setting('reserved_connections', true), '0')::pg_catalog.int4)";

// A role that does not exist in this version is not lacking: pg_use_reserved_connections came
// with 16.
constexpr const char* rights_sql = R"(
SELECT r.rolsuper, pg_catalog.quote_ident(r.rolname),
       pg_catalog.pg_has_role(r.oid, 'pg_read_all_stats', 'USAGE'),
       pg_catalog.pg_has_role(r.oid, 'pg_signal_backend', 'USAGE'),
       COALESCE((SELECT pg_catalog.pg_has_role(r.oid, reserve.oid, 'USAGE') FROM pg_catalog.pg_roles AS reserve
                 WHERE reserve.rolname = 'pg_use_reserved_connections'), true)
FROM pg_catalog.pg_roles AS r WHERE r.rolname = CURRENT_USER)";

// The timeline of a primary is that of the file it writes; control data follow with a checkpoint.
constexpr const char* identity_sql = R"(
SELECT pg_catalog.pg_postmaster_start_time(), pg_catalog.pg_is_in_recovery(),
       pg_catalog.current_setting('synchronous_standby_names') <> '',
       (SELECT system_identifier FROM pg_catalog.pg_control_system()),
       CASE WHEN pg_catalog.pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint())
            ELSE ('x' || pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8))
                 ::pg_catalog.bit(32)::pg_catalog.int4 END)";
// Where somebody took these functions away.
constexpr const char* bare_identity_sql =
    "SELECT pg_catalog.pg_postmaster_start_time(), pg_catalog.pg_is_in_recovery(), "
    "pg_catalog.current_setting('synchronous_standby_names') <> ''";
constexpr const char* insufficient_privilege = "42501";

constexpr const char* roles_sql =
    "SELECT oid, rolname, rolsuper FROM pg_catalog.pg_roles WHERE oid = ANY "
    "($1::pg_catalog.text::pg_catalog.oid[])";
constexpr const char* databases_sql =
    "SELECT oid, datname FROM pg_catalog.pg_database WHERE oid = ANY "
    "($1::pg_catalog.text::pg_catalog.oid[])";

std::string described(const PgError& error) {
  return error.sqlstate.empty() ? error.message
                                : fmt::format("{} (SQLSTATE {})", error.message, error.sqlstate);
}

}  // namespace

ActivitySampler::ActivitySampler(boost::asio::any_io_executor executor,
                                 const config::Server& server,
                                 std::function<void(Duration)> observe, SamplerOptions options)
    : server_(server),
      options_(std::move(options)),
      own_(options_.application_name),
      observe_(std::move(observe)),
      executor_(executor),
      pause_(executor),
      pace_(server.monitor.poll_interval),
      locks_(server.monitor.poll_interval, server.monitor.statement_timeout),
      random_(std::random_device{}()) {
  state_.problem = not_tried;
}

Task<void> ActivitySampler::run() {
  BackOff back_off;
  while (!stopping_) {
    const auto before = state_.samples;
    std::string problem;
    try {
      problem = co_await connect();
      if (problem.empty()) co_await poll();
    } catch (const std::exception& e) {  // no memory, by far the likeliest: as a loss
      problem = e.what();
    }
    if (!problem.empty()) failed(std::move(problem));
    if (state_.samples != before) back_off.reset();
    connection_.reset();
    const auto random = std::uniform_real_distribution<>{0, 1}(random_);
    if (!stopping_) co_await pause(back_off.next(random));
  }
}

void ActivitySampler::stop() {
  stopping_ = true;
  pause_.cancel();
  if (connection_) connection_->close();
}

/// Empty when connected, and the role is what it should be.
Task<std::string> ActivitySampler::connect() {
  connection_ = std::make_unique<PgConnection>(executor_);
  const auto deadline = watchdog::now() + server_.connect_timeout;
  PgEndpoint where = monitor_endpoint(server_, options_.application_name);
  if (const auto error = co_await connection_->open(std::move(where), deadline)) {
    co_return fmt::format("cannot connect as \"{}\": {}", server_.monitor.user, described(*error));
  }
  roles_.clear();
  databases_.clear();
  locks_.reset();
  if (auto problem = co_await check_rights(deadline); !problem.empty()) co_return problem;
  if (auto problem = co_await read_settings(deadline); !problem.empty()) co_return problem;
  control_data_ = true;
  if (auto problem = co_await read_identity(deadline); !problem.empty()) co_return problem;
  const char* sql = options_.last_statements ? activity_with_last_statements_sql : activity_sql;
  const auto prepared = co_await connection_->prepare("sample", sql, deadline);
  if (!prepared) co_return described(prepared.error());
  ++state_.logins;
  co_return std::string{};
}

Task<std::string> ActivitySampler::read_settings(Instant deadline) {
  const auto rows = co_await connection_->query(settings_sql, {}, deadline);
  if (!rows) co_return described(rows.error());
  max_connections_ = static_cast<std::uint32_t>(rows->int4(0, 0));
  reserved_connections_ = static_cast<std::uint32_t>(rows->int4(0, 1));
  co_return std::string{};
}

Task<std::string> ActivitySampler::read_identity(Instant deadline) {
  auto rows =
      co_await connection_->query(control_data_ ? identity_sql : bare_identity_sql, {}, deadline);
  if (!rows && control_data_ && rows.error().sqlstate == insufficient_privilege) {
    control_data_ = false;
    rows = co_await connection_->query(bare_identity_sql, {}, deadline);
  }
  if (!rows) co_return described(rows.error());
  identity_read_ = watchdog::now();
  identity_ = {};
  identity_.started = rows->time(0, 0).value_or(ServerTime{});
  identity_.in_recovery = rows->boolean(0, 1);
  synchronous_replication_ = rows->boolean(0, 2);
  if (control_data_) {
    identity_.system_identifier = static_cast<std::uint64_t>(rows->int8(0, 3));
    identity_.timeline = rows->int4(0, 4);
  }
  co_return std::string{};
}

/// What keeps the monitor from working; what lacks besides becomes advice.
Task<std::string> ActivitySampler::check_rights(Instant deadline) {
  const auto rows = co_await connection_->query(rights_sql, {}, deadline);
  if (!rows) co_return described(rows.error());
  rights_checked_ = watchdog::now();
  state_.advice.clear();
  const std::string role{rows->text(0, 1)};
  if (options_.only_looks) {
    if (!rows->boolean(0, 0) && !rows->boolean(0, 2))
      state_.advice = fmt::format(
          "{0} sees its own sessions only, and the names of the others: GRANT pg_monitor TO {0}",
          role);
    co_return std::string{};
  }
  if (rows->boolean(0, 0)) {
    co_return fmt::format(
        "the monitor role {0} is a superuser, which pgleash refuses, so that superusers stay out "
        "of "
        "its reach: ALTER ROLE {0} NOSUPERUSER, or use a role made by bootstrap-sql",
        role);
  }
  if (!rows->boolean(0, 2)) {
    co_return fmt::format(
        "the monitor role {0} may not see other roles' sessions: GRANT pg_monitor TO {0}", role);
  }
  std::vector<std::string_view> lacking;
  if (!rows->boolean(0, 3)) lacking.push_back("pg_signal_backend");
  if (!rows->boolean(0, 4)) lacking.push_back("pg_use_reserved_connections");
  if (!lacking.empty())
    state_.advice = fmt::format("GRANT {} TO {}", fmt::join(lacking, ", "), role);
  co_return std::string{};
}

/// Until the connection is lost, the rights are taken away, or stop().
Task<void> ActivitySampler::poll() {
  while (!stopping_) {
    const auto started = watchdog::now();
    std::string problem;
    if (started - rights_checked_ > rights_live)
      problem = co_await check_rights(statement_deadline());
    if (problem.empty() && started - identity_read_ > identity_lives)
      problem = co_await read_identity(statement_deadline());
    if (problem.empty()) problem = co_await sample();
    // The sample is out: what is asked besides delays nobody who waits for it.
    if (problem.empty()) co_await locks_.sample(*connection_, *latest_);
    if (!problem.empty()) {
      failed(std::move(problem));
      co_return;
    }
    // What it is refused is its own affair; a connection that was lost is found out below.
    if (costs_ != nullptr && costs_->due(watchdog::now()))
      co_await costs_->sample(*connection_, statement_deadline());
    if (options_.round_over) options_.round_over();
    const bool lost = co_await connection_->lost_before(started + pace_.interval());
    if (lost) {
      failed(fmt::format("the connection was lost: {}", described(connection_->loss())));
      co_return;
    }
  }
}

Task<std::string> ActivitySampler::sample() {
  const auto started = watchdog::now();
  const auto rows = co_await connection_->execute("sample", {}, statement_deadline());
  const auto taken = watchdog::now();
  if (!rows) co_return fmt::format("the sample failed: {}", described(rows.error()));
  pace_.took(taken - started);
  if (observe_) observe_(taken - started);

  auto seen =
      decode_activity(*rows, options_.last_statements ? shown_last_statement : shown_statement);
  if (options_.only_looks) {
    std::move(seen.veiled.begin(), seen.veiled.end(), std::back_inserter(seen.backends));
  } else if (seen.hidden) {  // a background worker that just ended has no type either, so ask
    if (auto problem = co_await check_rights(statement_deadline()); !problem.empty())
      co_return problem;
  }
  reckon_ages(seen, started, taken);
  sort_out_ours(seen.backends);
  if (auto problem = co_await learn_names(seen.backends, statement_deadline()); !problem.empty())
    co_return problem;

  ActivitySample sample;
  sample.taken = taken;
  sample.server_now = seen.server_now;
  sample.server_version = connection_->server_version();
  sample.identity = identity_;
  sample.max_connections = max_connections_;
  sample.reserved_connections = reserved_connections_;
  sample.background_processes = seen.background_processes;
  sample.synchronous_replication = synchronous_replication_;
  for (auto& backend : seen.backends) sample.rows.push_back(named(std::move(backend)));
  if (latest_) {  // asked for at their own pace
    sample.locks = std::move(latest_->locks);
    sample.advisory = std::move(latest_->advisory);
    sample.horizon = std::move(latest_->horizon);
  }
  latest_ = std::move(sample);
  ++state_.samples;
  state_.up = true;
  state_.problem.clear();
  state_.last_success = wall_now();
  co_return std::string{};
}

/// Asks for the roles and databases never seen before, and for all of them anew now and then.
Task<std::string> ActivitySampler::learn_names(const std::vector<SeenBackend>& backends,
                                               Instant deadline) {
  const auto now = watchdog::now();
  if (now - names_learnt_ > names_live) {
    roles_.clear();
    databases_.clear();
    names_learnt_ = now;
  }
  std::vector<std::uint32_t> roles;
  std::vector<std::uint32_t> databases;
  for (const auto& one : backends) {
    // The empty entry stays when the role was dropped meanwhile, lest it be asked for at each
    // sample.
    if (roles_.try_emplace(one.role).second) roles.push_back(one.role);
    if (databases_.try_emplace(one.database).second) databases.push_back(one.database);
  }
  std::function<void(const PgRows&, int)> keep_role = [this](const PgRows& found, int row) {
    roles_[found.oid(row, 0)] = {std::string{found.text(row, 1)}, found.boolean(row, 2)};
  };
  std::function<void(const PgRows&, int)> keep_database = [this](const PgRows& found, int row) {
    databases_[found.oid(row, 0)] = found.text(row, 1);
  };
  auto problem = co_await learn(roles_sql, std::move(roles), deadline, std::move(keep_role));
  if (!problem.empty()) co_return problem;
  co_return co_await learn(databases_sql, std::move(databases), deadline, std::move(keep_database));
}

Task<std::string> ActivitySampler::learn(std::string sql, std::vector<std::uint32_t> oids,
                                         Instant deadline,
                                         std::function<void(const PgRows&, int)> keep) {
  if (oids.empty()) co_return std::string{};
  PgParameters parameters;
  parameters.add_text(fmt::format("{{{}}}", fmt::join(oids, ",")));
  const auto found = co_await connection_->query(std::move(sql), std::move(parameters), deadline);
  if (!found) co_return described(found.error());
  for (int i = 0; i < found->size(); ++i) keep(*found, i);
  co_return std::string{};
}

ActivityRow ActivitySampler::named(SeenBackend seen) const {
  if (const auto role = roles_.find(seen.role); role != roles_.end()) {
    seen.row.user = role->second.name;
    seen.row.superuser = role->second.superuser;
  }
  if (const auto database = databases_.find(seen.database); database != databases_.end()) {
    seen.row.database = database->second;
  }
  return std::move(seen.row);
}

/// By a clock that nobody set. The connection may be another one: a jump of the date can end it.
void ActivitySampler::reckon_ages(SeenActivity& seen, Instant asked, Instant answered) {
  if (seen.server_now == ServerTime{}) return;
  if (std::exchange(clock_of_, identity_.started) != identity_.started) clock_.forget();
  clock_.look(seen.server_now, asked, answered);
  for (SeenBackend& one : seen.backends) clock_.reckon(one.row, seen.server_now);
}

void ActivitySampler::sort_out_ours(std::vector<SeenBackend>& backends) {
  std::vector<protocol::BackendPid> pids{connection_->pid()};
  for (const auto& ask : also_ours_)
    if (const auto pid = ask()) pids.push_back(*pid);
  std::erase_if(backends, [&](const SeenBackend& one) { return own_.knows(one.row, pids); });
  for (SeenBackend& one : backends) one.row.in_our_name = own_.bears_our_name(one.row);
}

/// Behind the server's own statement_timeout, which leaves the connection whole.
Instant ActivitySampler::statement_deadline() const {
  return watchdog::now() + server_.monitor.statement_timeout + 1s;
}

void ActivitySampler::failed(std::string problem) {
  if (stopping_) problem = "stopped";
  state_.up = false;
  state_.problem = std::move(problem);
  state_.advice.clear();
  if (!stopping_ && options_.round_over) options_.round_over();
}

Task<void> ActivitySampler::pause(Duration length) {
  pause_.expires_after(length);
  boost::system::error_code cut_short;
  co_await pause_.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, cut_short));
}

}  // namespace pgleash::watchdog
