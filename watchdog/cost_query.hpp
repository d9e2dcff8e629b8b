#pragma once

#include "watchdog/cost.hpp"
#include "watchdog/pg_result.hpp"

#include <string>

namespace pgleash::watchdog {

/// One statement for all that is needed, of client backends and parallel workers: with the start of
/// each process beside its pid, so that a pid that is used again misleads nobody. `version` as
/// libpq has it (150018). Temporary files are listed in each tablespace by pg_ls_tmpdir(), which
/// pg_monitor may call; it names plain files only, pgsql_tmp<PID>.<n>, and not what is in the
/// folders that parallel processes share (pgsql_tmp<PID>.<n>.fileset). Source: "System
/// Administration Functions", Generic File Access Functions; "System Views", pg_locks; fd.c,
/// OpenTemporaryFileInTablespace.
[[nodiscard]] std::string cost_sql(const CostNeeds& needs, int version);

/// Whether that version tells whose a parallel worker is.
[[nodiscard]] constexpr bool knows_workers(int version) noexcept {
  return version >= 130000;
}

/// One answer to it; `asked` and `taken` are the caller's.
[[nodiscard]] std::vector<ServerCost> decode_costs(const PgRows& rows);

}  // namespace pgleash::watchdog
