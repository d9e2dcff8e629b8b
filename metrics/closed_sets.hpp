#pragma once

#include "proxy/counters.hpp"
#include "watchdog/brake.hpp"
#include "watchdog/ledger.hpp"
#include "watchdog/verdict.hpp"

#include <array>
#include <cstddef>
#include <string_view>

/// The words a label of a small, known set may have. An array that belongs to an enumeration is in
/// its order; the words are those of that enumeration's `name()`, so that metric, log and audit
/// line say the same. They stand here once more because the series of a counter exist, at 0, before
/// anything was counted, and because the reference page is made from them.
namespace pgleash::metrics::words {

template <std::size_t N>
using Words = std::array<std::string_view, N>;

template <class Enum>
inline constexpr auto size_of = static_cast<std::size_t>(Enum::count_);

inline constexpr Words<size_of<proxy::AcceptResult>> accept_results{
    "accepted",      "not_allowed", "no_challenge",       "protocol_error",
    "proxy_header",  "tls_error",   "login_timeout",      "login_limit",
    "session_limit", "quota",       "server_unreachable", "server_refused",
    "client_gone",   "draining",    "cancel_request",     "console"};
inline constexpr Words<size_of<proxy::EndCause>> end_causes{
    "client_terminate", "client_abort", "client_timeout", "server_close",
    "server_error",     "rule",         "admin",          "drain",
    "proxy_error"};
inline constexpr Words<size_of<proxy::CancelOrigin>> cancel_origins{"client", "rule", "client_gone",
                                                                    "drain"};
inline constexpr Words<size_of<proxy::CancelResult>> cancel_results{
    "delivered", "unreachable", "timeout", "unknown_key", "overload", "observed"};
inline constexpr auto& sqlstate_classes = proxy::sqlstate_classes;

/// In the order of config::Mode and config::Action; the words of config::name().
inline constexpr Words<2> modes{"observe", "enforce"};
inline constexpr Words<4> actions{"observe", "cancel", "terminate", "escalate"};

inline constexpr Words<11> outcomes{"observed",   "exempted",  "deferred",     "fused",
                                    "recovered",  "confirmed", "already_gone", "survived",
                                    "unverified", "denied",    "error"};
static_assert(outcomes.size() == static_cast<std::size_t>(watchdog::Outcome::error) + 1);

/// In the order of watchdog::Exemption, less its `none`.
inline constexpr Words<17> exemptions{
    "replication",       "superuser",        "listening",       "advisory_lock", "dump",
    "exported_snapshot", "backup",           "copy_moving",     "commit",        "sync_replication",
    "protected_user",    "protected_client", "protected_entry", "marker",        "pooler",
    "by_hand",           "unknown"};
static_assert(exemptions.size() == static_cast<std::size_t>(watchdog::Exemption::unknown));

/// In the order of watchdog::Margin.
inline constexpr Words<watchdog::margin_count> margins{"warned", "within_20_percent",
                                                       "within_5_percent", "over_limit"};

/// PostgreSQL's words for pg_stat_activity.state, and two of ours for a backend that is "active"
/// there and waits for its client: `held` in mid-pipeline or COPY, `stalled` when it does not read.
inline constexpr Words<7> session_states{
    "starting", "idle",   "idle in transaction", "idle in transaction (aborted)", "active",
    "held",     "stalled"};
inline constexpr Words<3> aged_states{"idle", "idle in transaction", "active"};
inline constexpr Words<3> age_thresholds{"60", "600", "3600"};

/// In the order of watchdog::FuseKind, and one for the fuse of all rules, whatever made it trip.
inline constexpr Words<watchdog::fuse_kinds + 1> fuses{"share", "recovered", "survived",
                                                       "rehearsal", "global"};
/// In the order of watchdog::PaceScope and HoldReason.
inline constexpr Words<watchdog::pace_scopes> pace_scopes{"global", "application", "rule"};
inline constexpr Words<watchdog::hold_reasons> hold_reasons{"start", "reload", "failover"};

/// In the order of watchdog::NoData, less its `none`.
inline constexpr Words<4> no_data{"no_monitor", "server_version", "not_this_host", "not_permitted"};
static_assert(no_data.size() == static_cast<std::size_t>(watchdog::NoData::not_permitted));

inline constexpr Words<2> reload_results{"success", "failure"};
inline constexpr Words<2> directions{"to_backend", "to_frontend"};
inline constexpr Words<5> slot_kinds{"max", "reserved", "used_proxy", "used_direct", "used_orphan"};
inline constexpr Words<4> horizon_holders{"session", "standby", "prepared", "slot"};
inline constexpr Words<2> limit_scopes{"process", "server"};
inline constexpr Words<2> audit_sinks{"file", "stdout"};
/// What became of a notice, and `retried` for each attempt that failed and is to be repeated.
inline constexpr Words<5> notification_results{"delivered", "retried", "rejected", "given_up",
                                               "dropped"};
inline constexpr Words<3> bounded_labels{"application", "user", "database"};

/// Only a rule's or a lost client's cancel can come to nothing by our own will; only a client can
/// show a key that nobody knows.
[[nodiscard]] constexpr bool possible_cancel(std::string_view origin,
                                             std::string_view result) noexcept {
  if (result == "observed") return origin == "rule" || origin == "client_gone";
  return result != "unknown_key" || origin == "client";
}

/// The outcomes that an action can have. While one of the two locks is closed nobody is touched,
/// and nobody waits for it either.
[[nodiscard]] constexpr bool possible(std::string_view action, std::string_view mode,
                                      std::string_view outcome) noexcept {
  const bool locked = action == "observe" || mode == "observe";
  return outcome == "exempted" || locked == (outcome == "observed");
}

}  // namespace pgleash::metrics::words
