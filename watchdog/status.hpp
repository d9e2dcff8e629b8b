#pragma once

#include "watchdog/brake.hpp"
#include "watchdog/leak_status.hpp"
#include "watchdog/ledger.hpp"
#include "watchdog/rule_engine.hpp"
#include "watchdog/server_advice.hpp"
#include "watchdog/snapshot.hpp"
#include "watchdog/verdict.hpp"

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

namespace pgleash::watchdog {

/// Time from verdict to outcome, label `action`; bounds in seconds.
inline constexpr std::array<double, 9> action_duration_bounds{0.005, 0.01, 0.025, 0.05, 0.1,
                                                              0.5,   1,    5,     30};

struct ActionHistogram {
  std::array<std::uint64_t, action_duration_bounds.size() + 1> buckets{};  ///< not cumulative
  double sum_seconds = 0;
};

struct RecordingTotals {
  std::uint64_t frames = 0;
  std::uint64_t lost = 0;
};

/// What the watchdog of one server has done and knows, as the metrics and pages show it. A value,
/// made on the control thread after each judging; readers hold a shared pointer to an older one
/// without harm.
struct WatchdogStatus {
  std::string server;
  config::Mode mode{};
  bool monitor_configured = false;
  bool monitor_up = false;
  std::string
      monitor_problem;  ///< what is wrong and what to do ("GRANT pg_monitor TO …"); empty when up
  std::vector<Advice> advice;  ///< of the last probe; the gravest first
  std::optional<std::chrono::system_clock::time_point> monitor_last_success;
  ActionHistogram monitor_query_duration;
  std::shared_ptr<const Snapshot> snapshot;
  std::vector<RuleStatus> rules;
  /// rule, action, mode, outcome
  std::map<std::tuple<std::string, std::string, std::string, std::string>, std::uint64_t>
      actions_total;
  /// application, action, mode, outcome (applications bounded by the writer)
  std::map<std::tuple<std::string, std::string, std::string, std::string>, std::uint64_t>
      application_actions_total;
  std::map<std::pair<std::string, std::string>, std::uint64_t> exempted_total;  ///< rule, exemption
  ExemptCounts exempt{};  ///< sessions over the limit of a rule now that an exemption spares
  std::map<std::string, ActionHistogram> action_duration;  ///< action
  BrakeStatus brake;
  CostNeeds costs_measured;            ///< what the next one may tell of
  ApplicationCosts application_costs;  ///< applications bounded by the writer
  LeakStatus leaks;
  std::uint64_t survivors = 0;  ///< backends alive after the whole ladder, still verified
  /// By rule: suspects that became active again.
  std::map<std::string, FalsePositiveLedger::Row, std::less<>> recovered;
  std::uint32_t orphans = 0;        ///< backends of ours without a session; monitor up only
  std::uint32_t lost_sessions = 0;  ///< sessions without a backend; monitor up only
  std::optional<RecordingTotals> recording;  ///< absent: off
  std::uint64_t audit_records_total = 0;
  std::uint64_t audit_write_errors_total = 0;
};

}  // namespace pgleash::watchdog
