#pragma once

#include "proxy/kill_order.hpp"
#include "watchdog/verdict.hpp"

#include <string>
#include <string_view>

namespace pgleash::watchdog {

/// What the client is told of a verdict. libpq shows the primary text alone, so that says what was
/// done, the measured value, the rule and its limit: "terminating connection: idle in transaction
/// for 312 s (pgleash rule 'web', limit 300 s)". The detail names the incident, the hint is the
/// rule's own or one that fits the kind. Control characters of what users wrote are escaped.
[[nodiscard]] proxy::ErrorNotice error_notice(const Verdict& verdict, proxy::KillAction action);

/// Control characters escaped: no name may change how the rest of a line reads.
[[nodiscard]] std::string printable(std::string_view text);

/// "25 ms", "0.25 s", "1.5 s", "312 s": rounded down, never to "0".
[[nodiscard]] std::string in_seconds(Duration duration);

}  // namespace pgleash::watchdog
