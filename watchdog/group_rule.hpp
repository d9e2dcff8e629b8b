#pragma once

#include "config/config.hpp"
#include "watchdog/finding.hpp"

#include <cstddef>
#include <map>
#include <string>
#include <vector>

namespace pgleash::watchdog {

/// A running statement that is older than a rule's limit.
struct GroupMember {
  std::size_t session = 0;  ///< index into Snapshot::sessions
  Duration age{};
  Instant since{};      ///< when it began
  std::string group;    ///< what it has in common with others: a fingerprint, application, client
  bool chosen = false;  ///< a victim already, when the group was as large as the rule wants it
};

/// When each group was last as large as its rule wants it.
using TrippedGroups = std::map<std::string, Instant>;

/// Whom a rule of kind `group` is about: of each group of at least `at_least` members the oldest,
/// all, or all but the oldest (which is nearest to its end). A herd does not come over the limit in
/// one moment: who ran already when its group was large enough is of it, and stays so when the
/// group shrinks, because others were ended or have to wait for the pace. Pure; `tripped` is its
/// memory.
[[nodiscard]] std::vector<Finding> group_findings(const config::Rule& rule,
                                                  std::vector<GroupMember> members,
                                                  TrippedGroups& tripped, Instant now);

}  // namespace pgleash::watchdog
