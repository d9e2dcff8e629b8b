#include "watchdog/cost_query.hpp"

#include <algorithm>
#include <chrono>

namespace pgleash::watchdog {
namespace {

namespace column {
enum : int { pid, backend_start, server_now, leader, temp_bytes, xmin_age, locks };
}  // namespace column

/// All tablespaces but the one of shared catalogs, which has no folder of its own: asked for it,
/// pg_ls_tmpdir() lists that of the default one again.
constexpr const char* temp_join = R"(
LEFT JOIN (SELECT pg_catalog.substring(file.name, '^pgsql_tmp([0-9]+)[.]')::pg_catalog.int4 AS pid,
                  pg_catalog.sum(file.size)::pg_catalog.int8 AS bytes
           FROM pg_catalog.pg_tablespace AS space, pg_catalog.pg_ls_tmpdir(space.oid) AS file
           WHERE space.spcname <> 'pg_global' GROUP BY 1) AS temp ON temp.pid = s.pid)";
constexpr const char* locks_join = R"(
LEFT JOIN (SELECT pid, pg_catalog.count(*) AS held FROM pg_catalog.pg_lock_status() AS one
           WHERE one.granted GROUP BY pid) AS locks ON locks.pid = s.pid)";
/// An xid and an xmin may both be there; the older one holds vacuum back.
constexpr const char* xmin_column =
    "GREATEST(pg_catalog.age(s.backend_xid), pg_catalog.age(s.backend_xmin))::pg_catalog.int8";
constexpr const char* none = "NULL::pg_catalog.int8";

}  // namespace

std::string cost_sql(const CostNeeds& needs, int version) {
  std::string sql = "SELECT s.pid, s.backend_start, pg_catalog.clock_timestamp(), ";
  sql += knows_workers(version) ? "s.leader_pid, " : "NULL::pg_catalog.int4, ";
  sql += needs.temp_bytes ? "temp.bytes, " : std::string{none} + ", ";
  sql += needs.xmin_age ? xmin_column : none;
  sql += ", ";
  sql += needs.locks ? "locks.held" : none;
  sql += "\nFROM pg_catalog.pg_stat_get_activity(NULL) AS s";
  if (needs.temp_bytes) sql += temp_join;
  if (needs.locks) sql += locks_join;
  sql += "\nWHERE s.backend_type IN ('client backend', 'parallel worker')";
  return sql;
}

std::vector<ServerCost> decode_costs(const PgRows& rows) {
  std::vector<ServerCost> costs;
  costs.reserve(static_cast<std::size_t>(rows.size()));
  const auto counted = [&rows](int row, int column) {
    return static_cast<std::uint64_t>(std::max<std::int64_t>(rows.int8(row, column), 0));
  };
  for (int i = 0; i < rows.size(); ++i) {
    const auto start = rows.time(i, column::backend_start);
    if (!start) continue;  // not ours to see, so nothing proves whose pid it is
    const auto now = rows.time(i, column::server_now).value_or(*start);
    ServerCost& cost = costs.emplace_back();
    cost.backend = {protocol::BackendPid{rows.int4(i, column::pid)}, *start};
    cost.age = std::chrono::microseconds{now.microseconds - start->microseconds};
    if (!rows.null(i, column::leader))
      cost.leader = protocol::BackendPid{rows.int4(i, column::leader)};
    cost.temp_bytes = counted(i, column::temp_bytes);
    cost.xmin_age = counted(i, column::xmin_age);
    cost.locks = counted(i, column::locks);
  }
  return costs;
}

}  // namespace pgleash::watchdog
