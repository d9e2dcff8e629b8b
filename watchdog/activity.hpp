#pragma once

#include "protocol/types.hpp"
#include "watchdog/locks.hpp"
#include "watchdog/shared.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// What PostgreSQL says of its backends: one sample of pg_stat_get_activity. Values only.
namespace pgleash::watchdog {

/// A backend, proof against reuse of its pid.
struct BackendId {
  protocol::BackendPid pid{};
  ServerTime backend_start;
  bool operator==(const BackendId&) const = default;
};

/// What a sampler asks for of a statement: bytes, as a rule, and where last statements matter.
inline constexpr std::size_t shown_statement = 256;
inline constexpr std::size_t shown_last_statement = 1024;

/// One row. Ages are computed by PostgreSQL (its clock_timestamp() less the column).
struct ActivityRow {
  BackendId backend;
  std::string user;  ///< empty when the role is unknown
  std::string database;
  std::string application_name;
  std::string client_addr;  ///< empty: Unix socket
  std::int32_t client_port = -1;
  std::string state;  ///< PostgreSQL's word; empty: NULL (not visible, or track_activities off)
  std::string wait_event_type;
  std::string wait_event;
  /// At most 256 bytes, and none of who is idle, unless the sampler was asked for more.
  std::string query;
  ServerTime query_start;
  ServerTime state_change;
  std::optional<ServerTime> xact_start;
  Duration backend_age{};
  Duration state_age{};
  std::optional<Duration> transaction_age;
  Duration query_age{};
  bool superuser = false;  ///< of the session user
  bool xid = false;        ///< backend_xid is set
  bool xmin = false;
  /// A connection of this very watchdog that opened or closed meanwhile; see OwnConnections.
  bool in_our_name = false;
};

/// Held by the sample and by each snapshot that shows it.
using SharedRow = Shared<ActivityRow>;

/// Which server this is, and which life of it. Unknown parts (the server hides them) are zero.
struct ServerIdentity {
  std::uint64_t system_identifier = 0;
  std::int32_t timeline = 0;
  ServerTime started;  ///< of the postmaster
  bool in_recovery = false;
  bool operator==(const ServerIdentity&) const = default;
};

/// What differs between two looks, in words; empty: the same server in the same life. What one of
/// them could not see says nothing.
[[nodiscard]] std::string_view failover_between(const ServerIdentity& before,
                                                const ServerIdentity& after) noexcept;

struct ActivitySample {
  Instant taken{};  ///< when the answer was complete, our clock
  ServerTime server_now;
  std::int32_t server_version = 0;  ///< 150018
  ServerIdentity identity;          ///< as of a few seconds ago at most
  std::vector<SharedRow> rows;      ///< client backends only, without those that still authenticate
  std::uint32_t max_connections = 0;
  std::uint32_t reserved_connections =
      0;  ///< superuser_reserved_connections, and from 16 reserved_connections
  std::uint32_t background_processes = 0;  ///< rows of any other backend_type
  std::optional<LockSample> locks;         ///< absent: not asked yet, or no answer
  std::optional<AdvisoryHolders> advisory;
  std::optional<Horizon> horizon;
  bool synchronous_replication =
      true;  ///< false: as of a few seconds ago no commit waited for a standby, whoever committed
};

}  // namespace pgleash::watchdog
