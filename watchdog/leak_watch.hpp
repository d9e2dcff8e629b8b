#pragma once

#include "config/config.hpp"
#include "watchdog/exemptions.hpp"
#include "watchdog/explain.hpp"
#include "watchdog/forecast.hpp"
#include "watchdog/leak_detector.hpp"
#include "watchdog/leak_feed.hpp"
#include "watchdog/leak_status.hpp"
#include "watchdog/quota_forecast.hpp"
#include "watchdog/snapshot.hpp"
#include "watchdog/verdict.hpp"

#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

namespace pgleash::watchdog {

/// The leak detector at work on one server: takes the snapshots, keeps the forecast, and gives a
/// verdict of kind `leak` for each suspect that is idle outside a transaction. Pure but for its
/// memory; control thread.
class LeakWatch {
 public:
  /// The rule's name in verdicts, metrics and the audit log.
  static constexpr const char* rule = "leak";

  /// `ids` seeded afresh. Faulty patterns of [protect] were reported by the rule engine already.
  LeakWatch(const config::Leak& leak, const config::Protect& protect, VerdictIds ids,
            Duration evidence_max_age);

  /// Takes over another generation of [protect] and [enforcement], as after a reload.
  void protect(const config::Protect& protect, Duration evidence_max_age);

  /// The quotas that are in force from now on, and who counts their sessions: see
  /// QuotaForecasts::count_by.
  void limit(const std::vector<config::Quota>& quotas);
  void count_quotas_by(QuotaForecasts::SessionsOf sessions_of) {
    quotas_.count_by(std::move(sessions_of));
  }

  struct Tick {
    std::vector<LeakReport> detected;
    std::vector<LeakReport> cleared;
    std::vector<Verdict> verdicts;  ///< the longest unused first; one per session and idle time
  };
  [[nodiscard]] Tick tick(const Snapshot& snapshot);
  /// Lets a session be judged again, as RuleEngine::forget does.
  void forget(const Verdict& verdict);
  /// The leaks that stand, as of the tick with this snapshot.
  [[nodiscard]] std::vector<LeakReport> standing(const Snapshot& snapshot) const;
  /// Whether a suspect of the last tick waits to know who holds advisory locks, as in Needs.
  [[nodiscard]] bool wants_advisory_locks() const noexcept { return wants_advisory_locks_; }
  /// How [leak] stands to a session of the snapshot of the last tick, as a rule would.
  [[nodiscard]] RuleExplanation explain(const SessionEntry& entry, const Snapshot& snapshot) const;
  [[nodiscard]] const LeakStatus& status() const noexcept { return status_; }

 private:
  struct Judged {
    protocol::ActivityMark mark;
    bool exempt = false;
    std::uint64_t seen = 0;
  };

  [[nodiscard]] LeakReport report(const Leak& leak, const Snapshot& snapshot) const;
  void judge(const Snapshot& snapshot, Tick& tick);
  void update_status(const Snapshot& snapshot);
  void update_quotas(const Snapshot& snapshot);

  config::Leak config_;
  Protection protection_;
  VerdictIds ids_;
  Duration evidence_max_age_;
  LeakDetector detector_;
  LeakFeed feed_{detector_};
  ExhaustionForecast forecast_;
  QuotaForecasts quotas_;
  LeakStatus status_;
  std::unordered_map<std::uint64_t, Judged> judged_;  ///< of sessions that had a verdict
  std::uint64_t ticks_ = 0;
  bool wants_advisory_locks_ = false;
};

}  // namespace pgleash::watchdog
