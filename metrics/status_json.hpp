#pragma once

#include "config/config.hpp"
#include "metrics/metrics_source.hpp"

#include <string>
#include <string_view>

/// What the status page shows, as JSON for programs: one object for one server. Names of keys are
/// kept stable (docs/status-page.md). Durations in seconds; ids of sessions as text, since 64 bits
/// do not survive readers whose numbers are doubles. No secrets, no statement texts. Pure.
namespace pgleash::metrics {

/// Mode, monitor, slots, forecast, brakes with open fuses.
[[nodiscard]] std::string overview_json(const watchdog::WatchdogStatus& status,
                                        const config::Config& config, Instant now);
[[nodiscard]] std::string leaks_json(const watchdog::WatchdogStatus& status, Instant now);
/// Every rule of the configuration, in its order, with what it matches and what came of it.
[[nodiscard]] std::string rules_json(const watchdog::WatchdogStatus& status,
                                     const config::Config& config);
/// Who stands in whose way.
[[nodiscard]] std::string blocking_json(const watchdog::WatchdogStatus& status);
/// The newest outcomes, newest first.
[[nodiscard]] std::string actions_json(std::string_view server,
                                       const watchdog::RecentActions& actions);
/// One of them.
[[nodiscard]] std::string action_json(std::string_view server,
                                      const watchdog::RecentAction& action);

}  // namespace pgleash::metrics
