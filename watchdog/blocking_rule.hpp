#pragma once

#include "config/config.hpp"
#include "watchdog/blocking_tree.hpp"
#include "watchdog/finding.hpp"
#include "watchdog/snapshot.hpp"

#include <functional>
#include <string>
#include <vector>

namespace pgleash::watchdog {

/// A root that a rule is about and can do nothing to: not our session, or not a session at all.
struct BlockingReport {
  std::string rule;
  BlockingRoot root;
  std::size_t blocked = 0;
  Duration measured{};
};

struct BlockingFindings {
  std::vector<Finding> sessions;  ///< at most one each
  std::vector<BlockingReport> reports;
};

/// What a rule of kind `blocking` says of a moment: roots that hold up `blocked_at_least` sessions,
/// each for longer than the limit (or `warn`). Victim `auto`: idle roots are ended, when that lets
/// so many go on; else a strong lock that queues behind the root is cancelled, when so many wait
/// for it and nobody else; else it is reported. What works is cancelled, what waits for its client
/// is terminated, whatever the action's word. `may_end`: selected by the rule, and not exempt.
/// Pure. A lock sample older than `max_age` says nothing.
[[nodiscard]] BlockingFindings blocking_findings(
    const config::Rule& rule, const Snapshot& snapshot, Duration max_age,
    const std::function<bool(const SessionEntry&)>& may_end);

}  // namespace pgleash::watchdog
