#pragma once

#include "protocol/types.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

/// What PostgreSQL says of its backends: one sample of pg_stat_get_activity. Values only.
namespace pgleash::watchdog {

/// PostgreSQL's timestamptz, exact: microseconds since 2000-01-01 UTC, on the server's clock. Never
/// mixed with ours.
struct ServerTime {
  std::int64_t microseconds = 0;
  auto operator<=>(const ServerTime&) const = default;
};

/// A backend, proof against reuse of its pid.
struct BackendId {
  protocol::BackendPid pid{};
  ServerTime backend_start;
  bool operator==(const BackendId&) const = default;
};

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
  std::string query;  ///< at most 256 bytes
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
};

struct ActivitySample {
  Instant taken{};  ///< when the answer was complete, our clock
  ServerTime server_now;
  std::int32_t server_version = 0;  ///< 150018
  std::vector<ActivityRow> rows;    ///< client backends only, without those that still authenticate
  std::uint32_t max_connections = 0;
  std::uint32_t reserved_connections =
      0;  ///< superuser_reserved_connections, and from 16 reserved_connections
  std::uint32_t background_processes = 0;  ///< rows of any other backend_type
};

}  // namespace pgleash::watchdog
