#include "watchdog/group_rule.hpp"

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>

namespace pgleash::watchdog {

using config::GroupVictims;

namespace {

bool is_victim(GroupVictims victims, std::size_t place) noexcept {
  switch (victims) {
    case GroupVictims::oldest:
      return place == 0;
    case GroupVictims::all:
      return true;
    case GroupVictims::all_but_oldest:
      return place > 0;
  }
  return false;
}

}  // namespace

std::vector<Finding> group_findings(const config::Rule& rule, std::vector<GroupMember> members,
                                    TrippedGroups& tripped, Instant now) {
  std::ranges::stable_sort(members, [](const GroupMember& a, const GroupMember& b) {
    return std::tuple(a.group, b.age, a.session) < std::tuple(b.group, a.age, b.session);
  });
  std::vector<Finding> found;
  TrippedGroups still = tripped;
  const Duration herd_comes_within = rule.limit.value_or(rule.warn.value_or(config::Duration{}));
  std::erase_if(still, [&](const auto& one) { return now - one.second > herd_comes_within; });
  for (auto first = members.begin(); first != members.end();) {
    const auto last = std::find_if(
        first, members.end(), [&](const GroupMember& one) { return one.group != first->group; });
    const auto size = static_cast<std::size_t>(std::distance(first, last));
    const bool large = size >= rule.at_least;
    const auto before = tripped.find(first->group);
    if (large) still[first->group] = now;
    for (auto one = first; one != last; ++one) {
      const auto place = static_cast<std::size_t>(std::distance(first, one));
      // One after the other would be ended if there was no end to `oldest`.
      const bool of_the_herd = rule.victims != GroupVictims::oldest && before != tripped.end() &&
                               one->since <= before->second;
      const bool victim = (large || of_the_herd) && is_victim(rule.victims, place);
      if (!one->chosen && !victim) continue;
      Finding& finding = found.emplace_back();
      finding.session = one->session;
      finding.age = one->age;
      finding.action = rule.action;
      finding.counter = proxy::JudgedCounter::request;
      finding.others = static_cast<std::uint32_t>(size);
    }
    first = last;
  }
  tripped = std::move(still);
  return found;
}

}  // namespace pgleash::watchdog
