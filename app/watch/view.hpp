#pragma once

#include "app/watch/rehearsal.hpp"
#include "watchdog/nameless.hpp"
#include "watchdog/snapshot.hpp"

#include <chrono>
#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace pgleash::app {

/// What is wrong with one session, the worst of it.
struct Hurt {
  enum class Kind : std::uint8_t { none, leaked, over_limit, blocks };
  Kind kind = Kind::none;
  std::string why;  ///< "blocks 7", "over default-statement", "leaked?"
  double weight = 0;
};

/// One session as a line of the table.
struct SessionLine {
  const watchdog::SessionEntry* entry = nullptr;  ///< of the view's snapshot
  std::string state;                              ///< PostgreSQL's word; "?" where it is not shown
  Duration age{};                                 ///< in that state; of `active` the statement's
  std::string query;  ///< running or last; without its literals unless asked for
  Hurt hurt;
};

/// All that is shown of one moment. A value but for the snapshot it shares.
struct WatchView {
  std::string place;  ///< "db1 port 5432"
  std::chrono::system_clock::time_point when{};
  std::string problem;  ///< the connection is lost, or what else keeps it from looking; empty: none
  std::string advice;   ///< a grant that lacks
  std::int32_t server_version = 0;
  std::shared_ptr<const watchdog::Snapshot> snapshot;
  std::vector<SessionLine> sessions;  ///< what hurts most first
  std::map<Rehearsal::Key, WouldAct> would_act;
  std::vector<std::string> unjudged;  ///< rules that cannot be judged from outside
  std::vector<watchdog::LeakReport> leaks;
  watchdog::Exhaustion forecast;
  std::vector<watchdog::QuotaForecast> quotas;  ///< of a configuration's [[quota]]
  std::vector<watchdog::Nameless> nameless;
  std::size_t veiled = 0;  ///< sessions of which only the names are shown
};

/// The sessions of a snapshot, sorted: who blocks others, who is over a rule's limit, who is
/// leaked, then open transactions, work, and the idle, each the oldest first. Pure.
[[nodiscard]] std::vector<SessionLine> sorted_lines(const watchdog::Snapshot& snapshot,
                                                    const Rehearsal& rehearsal,
                                                    const std::vector<watchdog::LeakReport>& leaks);

}  // namespace pgleash::app
