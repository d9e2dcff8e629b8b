#pragma once

#include "app/console/table.hpp"
#include "app/console/view.hpp"
#include "watchdog/activity_lister.hpp"
#include "watchdog/recent_actions.hpp"
#include "watchdog/snapshot.hpp"
#include "watchdog/status.hpp"

#include <chrono>
#include <functional>
#include <map>
#include <string_view>
#include <vector>

/// Rows of the views, of what the watchdogs know. Pure.
namespace pgleash::console {

/// What the rows of SHOW SESSIONS are made of, of one server.
struct SessionSources {
  std::string_view server;
  std::string_view monitor_user;  ///< whose sessions are pgleash's own
  const std::vector<watchdog::SessionEntry>& entries;
  const watchdog::ActivityListing* listing = nullptr;  ///< null: the server could not be asked
  Instant now{};
  watchdog::ServerTime server_now;  ///< of the listing, else our own clock
  /// Until when a session is exempt by hand; the epoch: it is not.
  std::function<Instant(proxy::SessionId)> exempt_until;
};

/// Sessions through pgleash first, then what else the server has. A process is one of our sessions
/// when pid and backend_start are those it was found with, or, for a session no sample has seen
/// yet, pid and address (of an opaque one the address alone); an id that two backends claim is
/// nobody's.
void add_session_rows(const SessionSources& sources, std::vector<Row>& rows);
/// The process that serves the session; null: it is not in the listing.
[[nodiscard]] const watchdog::ListedProcess* process_of(const watchdog::SessionEntry& entry,
                                                        const watchdog::ActivityListing& listing);

void add_rule_rows(const watchdog::WatchdogStatus& status, const config::Config& config,
                   std::vector<Row>& rows);
void add_action_rows(std::string_view server, const watchdog::RecentActions& actions,
                     std::vector<Row>& rows);
void add_leak_rows(const watchdog::WatchdogStatus& status, std::vector<Row>& rows);
void add_blocking_rows(const watchdog::WatchdogStatus& status, std::vector<Row>& rows);
void add_fuse_rows(const watchdog::WatchdogStatus& status, Instant now, std::vector<Row>& rows);
[[nodiscard]] Row server_row(const watchdog::WatchdogStatus& status, const config::Server& server);
void add_help_rows(std::vector<Row>& rows);

[[nodiscard]] watchdog::ServerTime server_time(std::chrono::system_clock::time_point time);
[[nodiscard]] Span span_of(Duration duration) noexcept;

}  // namespace pgleash::console
