#pragma once

#include "config/config.hpp"
#include "metrics/families.hpp"
#include "metrics/labels.hpp"
#include "watchdog/status.hpp"

#include <cstddef>
#include <memory>
#include <vector>

namespace pgleash::metrics {

/// Turns what the watchdogs know into series: gauges of live sessions from their snapshots, and the
/// counters of rules, verdicts, monitor and audit log. Time is linear in the number of sessions.
/// Keeps no value of a scrape, only who has a label of its own. Control thread.
class SnapshotCollectable {
 public:
  using Statuses = std::vector<std::shared_ptr<const watchdog::WatchdogStatus>>;

  static constexpr std::size_t max_users = 50;
  static constexpr std::size_t max_databases = 64;

  explicit SnapshotCollectable(std::size_t max_applications);

  void collect(const Statuses& statuses, const config::Config& config, Instant now, Families& out);

 private:
  void collect_sessions(const Statuses& statuses, Instant now, Families& out);
  void collect_application_actions(const Statuses& statuses, Families& out);
  void collect_costs(const Statuses& statuses, Families& out);
  void collect_leak_counters(const Statuses& statuses, Families& out);

  BoundedLabel applications_;
  BoundedLabel users_;
  BoundedLabel databases_;
  FirstComeLabel acted_applications_;
  FirstComeLabel costly_applications_;
  FirstComeLabel leaking_applications_;
};

}  // namespace pgleash::metrics
