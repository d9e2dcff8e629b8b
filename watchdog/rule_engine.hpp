#pragma once

#include "config/config.hpp"
#include "config/diagnostic.hpp"
#include "watchdog/blocking_rule.hpp"
#include "watchdog/explain.hpp"
#include "watchdog/ledger.hpp"
#include "watchdog/snapshot.hpp"
#include "watchdog/verdict.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace pgleash::watchdog {

/// What one evaluation found, per rule, for metrics; in the order of the rules.
struct RuleStatus {
  std::string rule;
  std::uint64_t matching = 0;      ///< sessions over the limit now
  std::uint64_t warned_total = 0;  ///< activities that passed `warn`
  std::uint64_t paused = 0;        ///< sessions that could not be judged for want of data
  config::RuleKind kind{};
  NoData no_data =
      NoData::none;  ///< a kind of cost that cannot be measured here; set by the watchdog
};

struct Evaluation {
  std::vector<Verdict> verdicts;  ///< new ones only: one per session, judged activity and rule,
                                  ///< however many ticks match
  std::vector<Suspect> suspects;  ///< at each evaluation, for the ledger
  std::vector<Verdict> warnings;  ///< passed `warn` for the first time; no action
  ExemptCounts exempt{};          ///< sessions over a limit now and spared, once for each exemption
  std::vector<BlockingReport> blocking;  ///< roots that no rule can end; new ones only
};

/// What the rules want to know beside views and samples.
struct Needs {
  bool advisory_locks = false;          ///< an idle session over its limit waits for the answer
  std::optional<Duration> fingerprint;  ///< of statements that run for longer
};

/// Rules compiled once, evaluated on each tick. Pure but for the memory of what was already judged:
/// no I/O, no clock. Include patterns that match nobody select nobody; `except` always wins; an
/// exempt session still gives a verdict, with its exemption named, and one more once the exemption
/// is gone. A session gets at most one verdict per evaluation that may act: the first rule in order
/// wins, the others wait for the session to be still there. One engine per server: a session that
/// is not in the snapshot is forgotten.
class RuleEngine {
 public:
  /// Faulty patterns are reported with their positions; the engine is null then. `ids` must be
  /// seeded afresh. `evidence_max_age`: older rows of the server say nothing ([enforcement]).
  [[nodiscard]] static std::unique_ptr<RuleEngine> compile(
      const std::vector<config::Rule>& rules, const config::Protect& protect,
      std::vector<config::Diagnostic>& diagnostics, VerdictIds ids,
      Duration evidence_max_age = std::chrono::seconds{30});
  virtual ~RuleEngine() = default;
  [[nodiscard]] virtual Evaluation evaluate(const Snapshot& snapshot) = 0;
  /// Lets an activity be judged again, after an outcome that did nothing and left the session
  /// there: deferred, exempted when it came to the act, recovered of a rule that judges the whole
  /// session.
  virtual void forget(const Verdict& verdict) = 0;
  /// After a reload: remembers what `before` said for the rules that are the same in both, so that
  /// nobody is judged twice for one activity; those that changed judge afresh. Counters go by the
  /// name. `judge_again`: what was only observed may be acted upon now, so that all verdicts are
  /// given once more. `before` is done with.
  virtual void inherit(RuleEngine& before, bool judge_again) = 0;
  /// How each rule stands to a session of that snapshot, by the same judgement; changes nothing.
  [[nodiscard]] virtual std::vector<RuleExplanation> explain(const SessionEntry& entry,
                                                             const Snapshot& snapshot) const = 0;
  [[nodiscard]] virtual const std::vector<RuleStatus>& status() const noexcept = 0;
  /// How often evaluate() should run: min(1 s, shortest limit or warn / 4), never under 25 ms.
  [[nodiscard]] virtual Duration judging_interval() const noexcept = 0;
  [[nodiscard]] virtual Needs needs() const noexcept = 0;
};

}  // namespace pgleash::watchdog
