#pragma once

#include "config/config.hpp"
#include "config/diagnostic.hpp"
#include "watchdog/evidence.hpp"
#include "watchdog/leak_watch.hpp"
#include "watchdog/rule_engine.hpp"
#include "watchdog/snapshot.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

namespace pgleash::app {

/// What one rule would have done to the sessions of one application.
struct WouldAct {
  config::RuleKind kind{};
  config::Action action{};
  std::uint64_t count = 0;     ///< verdicts: one an activity that went over the limit
  std::uint64_t exempted = 0;  ///< verdicts of sessions that are out of the rule's reach
  std::uint64_t sessions = 0;  ///< different ones among `count`
  Instant first{}, last{};
  std::string evidence;  ///< of the verdict that measured most, in one line
  Duration most{};       ///< what it measured
};

/// Rules and the leak detector over snapshots that nobody acts upon: what would be done, counted.
/// There is no way from here to a session. Pure but for its memory; takes the snapshots' own time.
class Rehearsal {
 public:
  /// What snapshots can tell.
  enum class Source : std::uint8_t {
    outside,    ///< the server's rows
    recording,  ///< a recording of `pgleash run`
  };
  /// Null with faults. Rules that the source tells nothing about are left out: see unjudged().
  [[nodiscard]] static std::unique_ptr<Rehearsal> compile(const config::Config& config,
                                                          Source source, std::uint64_t seed,
                                                          std::vector<config::Diagnostic>& faults);

  struct Tick {
    std::vector<watchdog::Verdict> verdicts;  ///< new ones, exempt ones left out
    std::vector<watchdog::LeakReport> detected;
    std::vector<watchdog::LeakReport> cleared;
  };
  Tick tick(const watchdog::Snapshot& snapshot);

  using Key = std::pair<std::string, std::string>;  ///< rule, application
  [[nodiscard]] const std::map<Key, WouldAct>& would_act() const noexcept { return rows_; }
  /// Leaks that stand, with the last statements of their suspects where the snapshot shows them.
  [[nodiscard]] std::vector<watchdog::LeakReport> leaks(const watchdog::Snapshot& snapshot);
  [[nodiscard]] const watchdog::LeakStatus& leak_status() const noexcept { return leaks_.status(); }
  [[nodiscard]] const watchdog::RuleEngine& engine() const noexcept { return *engine_; }
  [[nodiscard]] const std::vector<config::Rule>& rules() const noexcept { return rules_; }
  [[nodiscard]] const std::vector<std::string>& unjudged() const noexcept { return unjudged_; }
  [[nodiscard]] bool wants_advisory_locks() const noexcept {
    return engine_->needs().advisory_locks || leaks_.wants_advisory_locks();
  }

 private:
  Rehearsal(const config::Config& config, std::uint64_t seed);
  void count(const watchdog::Verdict& verdict, Instant now);
  void add_statements(watchdog::LeakReport& report, const watchdog::Snapshot& snapshot);

  std::vector<config::Rule> rules_;
  std::vector<std::string> unjudged_;
  std::unique_ptr<watchdog::RuleEngine> engine_;
  watchdog::LeakWatch leaks_;
  watchdog::FingerprintCache fingerprints_;
  std::map<Key, WouldAct> rows_;
  std::map<Key, std::unordered_set<std::uint64_t>> sessions_;
};

}  // namespace pgleash::app
