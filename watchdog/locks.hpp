#pragma once

#include "protocol/types.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

/// What PostgreSQL says of waits for locks, and of what holds back its clean-up. Values only.
namespace pgleash::watchdog {

/// PostgreSQL's timestamptz, exact: microseconds since 2000-01-01 UTC, on the server's clock. Never
/// mixed with ours.
struct ServerTime {
  std::int64_t microseconds = 0;
  auto operator<=>(const ServerTime&) const = default;
};

/// A backend that waits for a lock.
struct LockWait {
  protocol::BackendPid pid{};
  std::string mode;  ///< of the lock it waits for, as pg_locks has it: "AccessExclusiveLock"
  std::string type;  ///< of the thing it would lock: "relation", "transactionid", "advisory" …
  std::string tag;   ///< names that thing: waits with the same tag stand in one queue
  ServerTime since;  ///< when the wait began; before 14 when a sample first saw it
  Duration waited{};
  /// Whether pg_blocking_pids was asked: it costs, so only for the oldest waits and for those that
  /// they wait behind.
  bool asked = false;
  /// Holders of a conflicting lock, and those that wait for one ahead in the queue.
  std::vector<protocol::BackendPid> blockers;
  bool behind_prepared = false;  ///< a prepared transaction is among the holders (pid 0)
};

/// A prepared transaction that holds a lock somebody waits for. It has no backend to end.
struct PreparedHolder {
  std::string gid;
  std::string owner;
  std::string database;
  std::string tag;  ///< see LockWait
};

struct LockSample {
  Instant taken{};  ///< when the answer was complete, our clock
  std::vector<LockWait> waits;
  std::vector<PreparedHolder> prepared;
};

/// Backends that hold an advisory lock. One that is outside of a transaction holds it for the
/// session.
struct AdvisoryHolders {
  Instant taken{};
  std::unordered_set<std::int32_t> pids;
};

/// What keeps old row versions and WAL from being removed. Reported, never ended.
struct Horizon {
  std::uint64_t prepared_transactions = 0;
  std::optional<Duration> oldest_prepared;
  std::uint64_t inactive_slots = 0;  ///< replication slots that nobody reads
  /// Age of the oldest transaction id that each sort of holder holds back; absent: holds nothing.
  std::optional<std::uint64_t> session, standby, prepared, slot;
};

}  // namespace pgleash::watchdog
