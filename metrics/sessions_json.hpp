#pragma once

#include "watchdog/snapshot.hpp"

#include <string>

namespace pgleash::metrics {

/// The registry as JSON (`/api/sessions`): every session of ours and every direct one of the newest
/// snapshot, under pg_stat_activity's column names, with our own beside them. What the server says
/// is as old as `sample_age_seconds`; the state of a session of ours is in-band and so of now.
/// `client_addr` and `client_port` are the client's, which the server does not know: it sees
/// `leg_addr` and `leg_port`. No statement texts. Any thread.
[[nodiscard]] std::string sessions_json(const watchdog::Snapshot& snapshot);

}  // namespace pgleash::metrics
