#include "watchdog/kill_connection.hpp"

#include <fmt/format.h>

#include <utility>

namespace pgleash::watchdog {
namespace {

using proxy::JudgedCounter;
using SqlResult = TerminationPlan::SqlResult;

/// A direct session's LISTEN shows in no view, only in its last statement; its locks do.
constexpr const char* neither_listens_nor_locks =
    " AND pg_catalog.encode(pg_catalog.substr(pg_catalog.textsend(s.query), 1, 32), 'escape')"
    " !~* '^\\s*listen'"
    " AND NOT EXISTS (SELECT FROM pg_catalog.pg_locks AS l"
    " WHERE l.pid = s.pid AND l.locktype = 'advisory')";

constexpr const char* look_sql = R"(
SELECT s.backend_start, s.state, s.state_change, s.xact_start, s.query_start, s.wait_event
FROM pg_catalog.pg_stat_get_activity($1::pg_catalog.int4) AS s)";

constexpr const char* identify_sql = R"(
SELECT s.backend_start FROM pg_catalog.pg_stat_get_activity($1::pg_catalog.int4) AS s
WHERE s.client_port = $2::pg_catalog.int4
  AND pg_catalog.host(s.client_addr) = $3::pg_catalog.text)";

/// A guard and what fills its parameters. `=` on the column that identifies the activity: NULL is
/// no evidence.
struct Guard {
  std::string name;
  std::string condition;
  int parameters;  ///< so many before those of a leg
};

Guard guard(JudgedCounter counter) {
  switch (counter) {
    case JudgedCounter::state:
      return {"state",
              " AND s.state = $3::pg_catalog.text AND s.state_change = $4::pg_catalog.timestamptz"
              " AND s.xact_start IS NOT DISTINCT FROM $5::pg_catalog.timestamptz"
              " AND s.query_start IS NOT DISTINCT FROM $6::pg_catalog.timestamptz",
              6};
    case JudgedCounter::request:
      return {"request",
              " AND s.query_start = $3::pg_catalog.timestamptz"
              " AND s.xact_start IS NOT DISTINCT FROM $4::pg_catalog.timestamptz",
              4};
    case JudgedCounter::transaction:
      return {"transaction", " AND s.xact_start = $3::pg_catalog.timestamptz", 3};
    case JudgedCounter::session:
      break;
  }
  return {"session", "", 2};
}

/// The guard of what was judged, and of all else that it rests on.
Guard guard(const JudgedColumns& judged) {
  Guard made = guard(judged.counter);
  if (judged.leg) {
    made.name += "_of_leg";
    made.condition += fmt::format(
        " AND s.client_port = ${}::pg_catalog.int4"
        " AND pg_catalog.host(s.client_addr) = ${}::pg_catalog.text",
        made.parameters + 1, made.parameters + 2);
  }
  if (judged.spare_listeners) {
    made.name += "_unless_used";
    made.condition += neither_listens_nor_locks;
  }
  return made;
}

std::optional<ServerTime> known(ServerTime time) {
  return time == ServerTime{} ? std::nullopt : std::optional{time};
}

PgParameters parameters(const BackendId& backend, const JudgedColumns& judged) {
  PgParameters all;
  all.add_int4(static_cast<std::int32_t>(backend.pid)).add_time(backend.backend_start);
  switch (judged.counter) {
    case JudgedCounter::state:
      all.add_text(judged.state)
          .add_time(judged.state_change)
          .add_time(judged.xact_start)
          .add_time(known(judged.query_start));
      break;
    case JudgedCounter::request:
      all.add_time(judged.query_start).add_time(judged.xact_start);
      break;
    case JudgedCounter::transaction:
      all.add_time(judged.xact_start);
      break;
    case JudgedCounter::session:
      break;
  }
  if (judged.leg) all.add_int4(judged.leg->port).add_text(judged.leg->address);
  return all;
}

std::string guarded(std::string_view function, std::string_view condition) {
  return fmt::format(
      "SELECT pg_catalog.{}(s.pid) FROM "
      "pg_catalog.pg_stat_get_activity($1::pg_catalog.int4) AS s"
      " WHERE s.backend_start = $2::pg_catalog.timestamptz AND s.backend_type = 'client backend'"
      " AND s.pid <> pg_catalog.pg_backend_pid(){}",
      function, condition);
}

/// Whether the columns say what activity was judged.
bool conclusive(const JudgedColumns& judged) {
  switch (judged.counter) {
    case JudgedCounter::state:
      return !judged.state.empty() && known(judged.state_change);
    case JudgedCounter::request:
      return known(judged.query_start).has_value();
    case JudgedCounter::transaction:
      return judged.xact_start.has_value();
    case JudgedCounter::session:
      return true;
  }
  return false;
}

bool same(const JudgedColumns& then, const JudgedColumns& now) {
  if (!conclusive(then)) return true;  // alive, and nothing says that it went on to something else
  switch (then.counter) {
    case JudgedCounter::state:
      return then.state == now.state && then.state_change == now.state_change &&
             then.xact_start == now.xact_start && then.query_start == now.query_start;
    case JudgedCounter::request:
      return then.query_start == now.query_start && then.xact_start == now.xact_start;
    case JudgedCounter::transaction:
      return then.xact_start == now.xact_start;
    case JudgedCounter::session:
      return true;
  }
  return false;
}

}  // namespace

JudgedColumns judged_columns(JudgedCounter counter, const ActivityRow& row) {
  return {counter, row.state, row.state_change, row.xact_start, row.query_start, {}, false};
}

Task<KillConnection::Answer> KillConnection::terminate(BackendId backend, JudgedColumns judged,
                                                       Instant deadline) {
  if (!conclusive(judged))
    co_return Answer{SqlResult::unavailable, "the server does not say what the session does"};
  const Guard made = guard(judged);
  std::string sql = guarded("pg_terminate_backend", made.condition);
  co_return co_await signal("terminate_" + made.name, std::move(sql), parameters(backend, judged),
                            deadline);
}

Task<KillConnection::Answer> KillConnection::cancel(BackendId backend, JudgedColumns judged,
                                                    Instant deadline) {
  if (!conclusive(judged))
    co_return Answer{SqlResult::unavailable, "the server does not say what the session does"};
  const Guard made = guard(judged);
  std::string sql = guarded("pg_cancel_backend", made.condition);
  co_return co_await signal("cancel_" + made.name, std::move(sql), parameters(backend, judged),
                            deadline);
}

Task<KillConnection::Answer> KillConnection::terminate_orphan(BackendId backend,
                                                              ServerIdentity identity,
                                                              proxy::Endpoint leg,
                                                              Instant deadline) {
  PgParameters all;
  all.add_int4(static_cast<std::int32_t>(backend.pid))
      .add_time(backend.backend_start)
      .add_int4(leg.port)
      .add_text(leg.address.empty() ? std::nullopt : std::optional{leg.address})
      .add_time(identity.started)
      .add_text(std::to_string(static_cast<std::int64_t>(identity.system_identifier)));
  std::string sql =
      guarded("pg_terminate_backend",
              " AND s.client_port = $3::pg_catalog.int4"
              " AND pg_catalog.host(s.client_addr) IS NOT DISTINCT FROM $4::pg_catalog.text"
              " AND pg_catalog.pg_postmaster_start_time() = $5::pg_catalog.timestamptz"
              " AND (SELECT c.system_identifier FROM pg_catalog.pg_control_system() AS c)"
              " = $6::pg_catalog.text::pg_catalog.int8"
              " AND s.wait_event IS DISTINCT FROM 'SyncRep'"
              // Bytes, as the text may be in another database's encoding.
              " AND NOT (s.state = 'active' AND pg_catalog.encode(pg_catalog.substr("
              "pg_catalog.textsend(s.query), 1, 32), 'escape') ~* '^\\s*(commit|end|prepare)')");
  co_return co_await signal("terminate_orphan", std::move(sql), std::move(all), deadline);
}

Task<KillConnection::Answer> KillConnection::signal(std::string name, std::string sql,
                                                    PgParameters parameters, Instant deadline) {
  const auto rows =
      co_await connection_.run(std::move(name), std::move(sql), std::move(parameters), deadline);
  if (!rows) {
    const auto& error = rows.error();
    const bool denied = error.sqlstate == "42501";
    co_return Answer{denied ? SqlResult::denied : SqlResult::unavailable, error.message};
  }
  if (rows->size() == 0)
    co_return Answer{SqlResult::changed, "the backend is gone, or does something else now"};
  if (!rows->boolean(0, 0)) co_return Answer{SqlResult::changed, "the backend ended by itself"};
  co_return Answer{SqlResult::signalled, {}};
}

Task<BackendSight> KillConnection::look(BackendId backend, JudgedColumns judged, Instant deadline) {
  PgParameters pid;
  pid.add_int4(static_cast<std::int32_t>(backend.pid));
  const auto rows = co_await connection_.run("look", look_sql, std::move(pid), deadline);
  if (!rows) co_return BackendSight::not_visible;
  if (rows->size() == 0) co_return BackendSight::gone;
  const auto backend_start = rows->time(0, 0);
  if (!backend_start) co_return BackendSight::not_visible;  // no pg_read_all_stats
  if (*backend_start != backend.backend_start) co_return BackendSight::gone;
  const JudgedColumns now{judged.counter,
                          std::string{rows->text(0, 1)},
                          rows->time(0, 2).value_or(ServerTime{}),
                          rows->time(0, 3),
                          rows->time(0, 4).value_or(ServerTime{}),
                          {},
                          false};
  co_return same(judged, now) ? BackendSight::same : BackendSight::moved_on;
}

Task<std::optional<BackendId>> KillConnection::identify(protocol::BackendPid pid,
                                                        proxy::Endpoint leg, Instant deadline) {
  PgParameters all;
  all.add_int4(static_cast<std::int32_t>(pid)).add_int4(leg.port).add_text(leg.address);
  const auto rows = co_await connection_.run("identify", identify_sql, std::move(all), deadline);
  if (!rows || rows->size() != 1) co_return std::nullopt;
  const auto backend_start = rows->time(0, 0);
  if (!backend_start) co_return std::nullopt;  // no pg_read_all_stats
  co_return BackendId{pid, *backend_start};
}

Task<TerminationPlan::StandbyWait> KillConnection::standby_wait(BackendId backend,
                                                                Instant deadline) {
  using StandbyWait = TerminationPlan::StandbyWait;
  PgParameters pid;
  pid.add_int4(static_cast<std::int32_t>(backend.pid));
  const auto rows = co_await connection_.run("look", look_sql, std::move(pid), deadline);
  if (!rows) co_return StandbyWait::unknown;
  if (rows->size() == 0) co_return StandbyWait::no;
  const auto backend_start = rows->time(0, 0);
  if (!backend_start) co_return StandbyWait::unknown;  // no pg_read_all_stats
  if (*backend_start != backend.backend_start) co_return StandbyWait::no;
  co_return rows->text(0, 5) == "SyncRep" ? StandbyWait::yes : StandbyWait::no;
}

}  // namespace pgleash::watchdog
