#include "watchdog/recent_actions.hpp"

#include <algorithm>
#include <utility>

namespace pgleash::watchdog {
namespace {

bool touched_nobody(Outcome outcome) noexcept {
  return outcome == Outcome::observed || outcome == Outcome::exempted ||
         outcome == Outcome::deferred || outcome == Outcome::fused;
}

}  // namespace

RecentAction action_of(const Verdict& verdict, config::Mode mode, Outcome outcome, std::string why,
                       std::chrono::system_clock::time_point at) {
  RecentAction action;
  action.at = at;
  action.verdict = verdict;
  action.verdict.session.costs.reset();
  action.mode = mode;
  action.outcome = outcome;
  action.why = std::move(why);
  return action;
}

void RecentActions::add(RecentAction action) {
  auto& ring = touched_nobody(action.outcome) ? others_ : acted_;
  ring.push_back(std::move(action));
  if (ring.size() > kept) ring.pop_front();
}

void RecentActions::complete(const VerdictId& incident, SessionEvidence evidence) {
  // The one it belongs to is among the last.
  for (auto* ring : {&others_, &acted_}) {
    const auto found = std::find_if(ring->rbegin(), ring->rend(), [&](const RecentAction& action) {
      return action.verdict.id == incident;
    });
    if (found == ring->rend()) continue;
    found->evidence = without_values(std::move(evidence));
    return;
  }
}

std::vector<const RecentAction*> RecentActions::newest() const {
  std::vector<const RecentAction*> all;
  for (const auto* ring : {&acted_, &others_})
    for (const RecentAction& action : *ring) all.push_back(&action);
  std::stable_sort(all.begin(), all.end(),
                   [](const auto* a, const auto* b) { return a->at > b->at; });
  return all;
}

const RecentAction* RecentActions::find(std::string_view incident) const {
  for (const auto* ring : {&acted_, &others_})
    for (const RecentAction& action : *ring)
      if (action.verdict.id.text == incident) return &action;
  return nullptr;
}

}  // namespace pgleash::watchdog
