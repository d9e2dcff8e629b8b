#pragma once

#include "config/config.hpp"
#include "watchdog/snapshot.hpp"

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

namespace pgleash::watchdog {

/// Newest measure of the running request, in the unit of the kind; absent when it is not known, or
/// older than `max_age`. What the traffic tells is always known.
[[nodiscard]] std::optional<Measure> measure_of(config::RuleKind kind, const SessionEntry& entry,
                                                Instant now, Duration max_age);

/// What a rule of cost found at one session.
struct CostCondition {
  bool known = false;  ///< false: there is no measure, so nothing may be concluded
  bool above = false;
  std::uint64_t value = 0;
  Duration age{};  ///< above without a break, as far as measures prove it: up to the newest one
};

/// Since when one session's running request has been above the value of each rule of cost. Pure but
/// for that memory; belongs to the session's place in the rule engine.
class AboveSince {
 public:
  /// Ask at each evaluation while the request runs; `rule` is its index. A measure that is not
  /// above, one that is missing, a gap between two longer than `max_age`, or another request, and
  /// the time begins anew.
  [[nodiscard]] CostCondition judge(std::uint32_t rule, const config::Rule& terms,
                                    const SessionEntry& entry, Instant now, Duration max_age);
  void forget(std::uint32_t rule);
  /// After a reload: each rule's index is now what `same` says; those that are not in it are new.
  void rename(const std::unordered_map<std::uint32_t, std::uint32_t>& same);
  [[nodiscard]] bool empty() const noexcept { return notes_.empty(); }

 private:
  struct Note {
    std::uint32_t rule;
    protocol::ActivityMark mark;
    Instant since;
    Instant newest;
  };
  std::vector<Note> notes_;
};

}  // namespace pgleash::watchdog
