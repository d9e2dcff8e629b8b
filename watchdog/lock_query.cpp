#include "watchdog/lock_query.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string_view>
#include <unordered_set>

namespace pgleash::watchdog {
namespace {

namespace column {
enum : int { pid, mode, type, tag, since, now, asked, blockers };
}  // namespace column

/// What names the locked thing; a NULL leaves nothing, and each locktype has its own columns.
#define LOCK_TAG(l)                                                                          \
  "pg_catalog.concat_ws('/', " l ".locktype, " l ".database, " l ".relation, " l ".page, " l \
  ".tuple, " l ".virtualxid, " l ".transactionid, " l ".classid, " l ".objid, " l ".objsubid)"

/// "17,0,23" as array_to_string writes it; 0 stands for a prepared transaction.
void add_blockers(std::string_view list, LockWait& wait) {
  wait.asked = true;
  while (!list.empty()) {
    const auto comma = std::min(list.find(','), list.size());
    std::int32_t pid = 0;
    std::from_chars(list.data(), list.data() + comma, pid);
    if (pid == 0)
      wait.behind_prepared = true;
    else
      wait.blockers.emplace_back(protocol::BackendPid{pid});
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  // A parallel group is named once for each of its members.
  std::ranges::sort(wait.blockers);
  wait.blockers.erase(std::unique(wait.blockers.begin(), wait.blockers.end()), wait.blockers.end());
}

std::optional<std::uint64_t> age(const PgRows& rows, int column) {
  if (rows.null(0, column)) return std::nullopt;
  return static_cast<std::uint64_t>(std::max<std::int32_t>(0, rows.int4(0, column)));
}

}  // namespace

std::string waits_sql(int server_version) {
  // The start of the wait came with 14; before, the statement's start sorts well enough.
  const bool knows = server_version >= 140000;
  return fmt::format(
      R"(
WITH waiting AS MATERIALIZED (
  SELECT l.pid, l.mode, l.locktype, {tag} AS tag, {since} AS since,
         pg_catalog.row_number() OVER (ORDER BY {order}, l.pid) AS place
  FROM pg_catalog.pg_locks AS l WHERE NOT l.granted AND l.pid IS NOT NULL)
SELECT w.pid, w.mode, w.locktype, w.tag, w.since, pg_catalog.clock_timestamp(), w.place <= {asked},
       CASE WHEN w.place <= {asked}
            THEN pg_catalog.array_to_string(pg_catalog.pg_blocking_pids(w.pid), ',') END
FROM waiting AS w ORDER BY w.place)",
      fmt::arg("tag", LOCK_TAG("l")),
      fmt::arg("since", knows ? "l.waitstart" : "NULL::pg_catalog.timestamptz"),
      fmt::arg("order", knows ? "l.waitstart"
                              : "(SELECT s.query_start FROM "
                                "pg_catalog.pg_stat_get_activity(l.pid) AS s)"),
      fmt::arg("asked", max_asked_waits));
}

LockSample decode_waits(const PgRows& rows) {
  LockSample sample;
  std::unordered_set<std::int32_t> seen;
  for (int i = 0; i < rows.size(); ++i) {
    if (!seen.insert(rows.int4(i, column::pid)).second) continue;
    LockWait& wait = sample.waits.emplace_back();
    wait.pid = protocol::BackendPid{rows.int4(i, column::pid)};
    wait.mode = rows.text(i, column::mode);
    wait.type = rows.text(i, column::type);
    wait.tag = rows.text(i, column::tag);
    const auto now = rows.time(i, column::now).value_or(ServerTime{});
    if (const auto since = rows.time(i, column::since)) {
      wait.since = *since;
      wait.waited = std::chrono::microseconds{
          std::max<std::int64_t>(0, now.microseconds - since->microseconds)};
    }
    if (rows.boolean(i, column::asked)) add_blockers(rows.text(i, column::blockers), wait);
  }
  return sample;
}

const char* const blockers_sql = R"(
SELECT w.pid, pg_catalog.array_to_string(pg_catalog.pg_blocking_pids(w.pid), ',')
FROM pg_catalog.unnest($1::pg_catalog.text::pg_catalog.int4[]) AS w(pid))";

void decode_blockers(const PgRows& rows, LockSample& sample) {
  for (int i = 0; i < rows.size(); ++i) {
    const auto found =
        std::ranges::find(sample.waits, protocol::BackendPid{rows.int4(i, 0)}, &LockWait::pid);
    if (found != sample.waits.end()) add_blockers(rows.text(i, 1), *found);
  }
}

std::vector<protocol::BackendPid> still_to_ask(const LockSample& sample) {
  std::unordered_set<std::int32_t> in_the_way;
  for (const LockWait& wait : sample.waits) {
    for (const auto pid : wait.blockers) in_the_way.insert(static_cast<std::int32_t>(pid));
  }
  std::vector<protocol::BackendPid> pids;
  for (const LockWait& wait : sample.waits) {
    if (pids.size() == max_asked_waits) break;
    if (!wait.asked && in_the_way.contains(static_cast<std::int32_t>(wait.pid)))
      pids.push_back(wait.pid);
  }
  return pids;
}

// A prepared transaction's locks have no pid. They have the virtual transaction that it was before,
// or after a restart another one: that of the lock on its own transaction id.
const char* const prepared_holders_sql =
    "SELECT DISTINCT p.gid, p.owner, p.database, " LOCK_TAG("held") R"(
FROM pg_catalog.pg_prepared_xacts AS p
JOIN pg_catalog.pg_locks AS own ON own.pid IS NULL AND own.granted
 AND own.locktype = 'transactionid' AND own.transactionid = p.transaction
JOIN pg_catalog.pg_locks AS held ON held.pid IS NULL AND held.granted
 AND held.virtualtransaction = own.virtualtransaction
JOIN pg_catalog.pg_locks AS waits ON NOT waits.granted AND )" LOCK_TAG("waits") " = " LOCK_TAG(
        "held");

std::vector<PreparedHolder> decode_prepared_holders(const PgRows& rows) {
  std::vector<PreparedHolder> holders;
  for (int i = 0; i < rows.size(); ++i) {
    holders.push_back({std::string{rows.text(i, 0)}, std::string{rows.text(i, 1)},
                       std::string{rows.text(i, 2)}, std::string{rows.text(i, 3)}});
  }
  return holders;
}

const char* const advisory_sql = R"(
SELECT DISTINCT l.pid FROM pg_catalog.pg_locks AS l
WHERE l.locktype = 'advisory' AND l.granted AND l.pid IS NOT NULL)";

AdvisoryHolders decode_advisory(const PgRows& rows) {
  AdvisoryHolders holders;
  for (int i = 0; i < rows.size(); ++i) holders.pids.insert(rows.int4(i, 0));
  return holders;
}

// VACUUM's own xmin holds nothing back.
const char* const horizon_sql = R"(
SELECT (SELECT pg_catalog.count(*) FROM pg_catalog.pg_prepared_xacts),
       (SELECT pg_catalog.min(p.prepared) FROM pg_catalog.pg_prepared_xacts AS p),
       pg_catalog.clock_timestamp(),
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_replication_slots AS s WHERE NOT s.active),
       (SELECT pg_catalog.max(GREATEST(pg_catalog.age(a.backend_xid), pg_catalog.age(a.backend_xmin)))
        FROM pg_catalog.pg_stat_get_activity(NULL) AS a
        WHERE a.backend_type NOT IN ('walsender', 'autovacuum worker') AND a.pid <> pg_catalog.pg_backend_pid()),
       (SELECT pg_catalog.max(pg_catalog.age(a.backend_xmin))
        FROM pg_catalog.pg_stat_get_activity(NULL) AS a WHERE a.backend_type = 'walsender'),
       (SELECT pg_catalog.max(pg_catalog.age(p.transaction)) FROM pg_catalog.pg_prepared_xacts AS p),
       (SELECT pg_catalog.max(GREATEST(pg_catalog.age(s.xmin), pg_catalog.age(s.catalog_xmin)))
        FROM pg_catalog.pg_replication_slots AS s))";

Horizon decode_horizon(const PgRows& rows) {
  Horizon horizon;
  if (rows.size() == 0) return horizon;
  horizon.prepared_transactions = static_cast<std::uint64_t>(rows.int8(0, 0));
  const auto oldest = rows.time(0, 1);
  const auto now = rows.time(0, 2);
  if (oldest && now) {
    horizon.oldest_prepared = std::chrono::microseconds{
        std::max<std::int64_t>(0, now->microseconds - oldest->microseconds)};
  }
  horizon.inactive_slots = static_cast<std::uint64_t>(rows.int8(0, 3));
  horizon.session = age(rows, 4);
  horizon.standby = age(rows, 5);
  horizon.prepared = age(rows, 6);
  horizon.slot = age(rows, 7);
  return horizon;
}

}  // namespace pgleash::watchdog
