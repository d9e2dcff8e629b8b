#pragma once

#include "watchdog/locks.hpp"
#include "watchdog/pg_result.hpp"

#include <cstddef>
#include <string>
#include <vector>

/// The statements about locks and clean-up, each its own transaction, in binary format. All of
/// them may be run by anybody, and work on PostgreSQL 12 and later. Source: "System Views",
/// pg_locks, pg_prepared_xacts, pg_replication_slots; "System Information Functions",
/// pg_blocking_pids.
namespace pgleash::watchdog {

/// Waits for which pg_blocking_pids is asked at once: it costs the server much, as each answer
/// lists all waiters ahead.
inline constexpr std::size_t max_asked_waits = 20;

/// All waits, oldest first, and of the first max_asked_waits whom they wait behind. Before 14 the
/// server does not know since when.
[[nodiscard]] std::string waits_sql(int server_version);
[[nodiscard]] LockSample decode_waits(const PgRows& rows);

/// The same for further waits by pid, $1: "{1,2,3}".
extern const char* const blockers_sql;
void decode_blockers(const PgRows& rows, LockSample& sample);

/// Waits that are in somebody's way and were not asked about: at most max_asked_waits.
[[nodiscard]] std::vector<protocol::BackendPid> still_to_ask(const LockSample& sample);

/// Prepared transactions that hold what somebody waits for.
extern const char* const prepared_holders_sql;
[[nodiscard]] std::vector<PreparedHolder> decode_prepared_holders(const PgRows& rows);

extern const char* const advisory_sql;
[[nodiscard]] AdvisoryHolders decode_advisory(const PgRows& rows);

extern const char* const horizon_sql;
[[nodiscard]] Horizon decode_horizon(const PgRows& rows);

}  // namespace pgleash::watchdog
