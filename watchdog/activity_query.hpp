#pragma once

#include "watchdog/activity.hpp"
#include "watchdog/pg_result.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace pgleash::watchdog {

/// The sampling statement: all backends, in binary format. The same for PostgreSQL 12 to 19.
/// Source: "The Cumulative Statistics System", pg_stat_activity.
extern const char* const activity_sql;
/// The same with the last statement of those that are idle too, and four times as much of each.
extern const char* const activity_with_last_statements_sql;

/// A client backend whose role and database are still numbers.
struct SeenBackend {
  ActivityRow row;
  std::uint32_t role = 0;
  std::uint32_t database = 0;
};

/// One answer to activity_sql.
struct SeenActivity {
  std::vector<SeenBackend> backends;       ///< without those that still authenticate
  std::uint32_t background_processes = 0;  ///< rows of any other backend_type
  bool hidden = false;  ///< a row had no backend_type: pg_read_all_stats may be lacking
  /// Those rows, as far as they are sessions: pid, role, database, application_name, nothing else.
  std::vector<SeenBackend> veiled;
  ServerTime server_now;
};
/// `cut`: bytes of a statement that were asked for.
[[nodiscard]] SeenActivity decode_activity(const PgRows& rows, std::size_t cut = shown_statement);

}  // namespace pgleash::watchdog
