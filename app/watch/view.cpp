#include "app/watch/view.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

namespace pgleash::app {

using protocol::SessionState;
using watchdog::SessionEntry;
using watchdog::Snapshot;

namespace {

/// Weights of what hurts are bands; the age decides within one.
constexpr double band = 1e9;

double seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

std::string state_word(const SessionEntry& entry) {
  if (entry.row) return entry.row->state.empty() ? "?" : entry.row->state;
  return std::string{protocol::name(entry.view.facts.state)};
}

Duration age_in_state(const SessionEntry& entry, Instant now) {
  const auto& facts = entry.view.facts;
  const bool works = facts.outstanding > 0;
  return now - (works ? facts.request_since : facts.state_since);
}

double state_weight(SessionState state) noexcept {
  switch (state) {
    case SessionState::idle_in_transaction:
    case SessionState::aborted:
      return 3 * band;
    case SessionState::idle:
      return band;
    case SessionState::starting:
      return 0;
    default:
      return 2 * band;
  }
}

}  // namespace

std::vector<SessionLine> sorted_lines(const Snapshot& snapshot, const Rehearsal& rehearsal,
                                      const std::vector<watchdog::LeakReport>& leaks) {
  std::unordered_map<std::size_t, std::size_t> blocks;
  for (const watchdog::BlockingRoot& root : snapshot.blocking.roots)
    if (root.session) blocks[*root.session] = root.blocked.size();
  std::unordered_set<std::uint64_t> leaked;
  for (const watchdog::LeakReport& report : leaks)
    for (const std::uint64_t id : report.suspects) leaked.insert(id);

  std::vector<SessionLine> lines;
  lines.reserve(snapshot.sessions.size());
  for (std::size_t i = 0; i < snapshot.sessions.size(); ++i) {
    const SessionEntry& entry = snapshot.sessions[i];
    SessionLine& line = lines.emplace_back();
    line.entry = &entry;
    line.state = state_word(entry);
    line.age = age_in_state(entry, snapshot.now);
    line.hurt.weight =
        state_weight(entry.view.facts.state) + std::clamp(seconds(line.age), 0.0, band - 1);
    if (const auto root = blocks.find(i); root != blocks.end()) {
      line.hurt.kind = Hurt::Kind::blocks;
      line.hurt.why = fmt::format("blocks {}", root->second);
      line.hurt.weight += 30 * band + band * 1e3 * static_cast<double>(root->second);
      continue;
    }
    for (const watchdog::RuleExplanation& rule : rehearsal.engine().explain(entry, snapshot)) {
      if (rule.standing != watchdog::Standing::over && rule.standing != watchdog::Standing::judged)
        continue;
      line.hurt.kind = Hurt::Kind::over_limit;
      line.hurt.why = "over " + rule.rule;
      line.hurt.weight += 20 * band;
      break;
    }
    if (line.hurt.kind == Hurt::Kind::none && leaked.contains(proxy::number(entry.view.id))) {
      line.hurt.kind = Hurt::Kind::leaked;
      line.hurt.why = "leaked?";
      line.hurt.weight += 10 * band;
    }
  }
  std::stable_sort(lines.begin(), lines.end(), [](const SessionLine& a, const SessionLine& b) {
    return a.hurt.weight > b.hurt.weight;
  });
  return lines;
}

}  // namespace pgleash::app
