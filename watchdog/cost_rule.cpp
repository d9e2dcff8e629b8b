#include "watchdog/cost_rule.hpp"

#include "proxy/kill_order.hpp"

#include <algorithm>

namespace pgleash::watchdog {

using config::RuleKind;

std::optional<Measure> measure_of(RuleKind kind, const SessionEntry& entry, Instant now,
                                  Duration max_age) {
  const auto& facts = entry.view.facts;
  if (kind == RuleKind::sent_bytes) return Measure{facts.request_bytes, now};
  if (kind == RuleKind::rows) return Measure{facts.request_rows, now};
  if (!entry.costs) return std::nullopt;
  const std::optional<Measure>& found = entry.costs->of(kind);
  if (!found || found->at < facts.request_since || now - found->at > max_age) return std::nullopt;
  return found;
}

CostCondition AboveSince::judge(std::uint32_t rule, const config::Rule& terms,
                                const SessionEntry& entry, Instant now, Duration max_age) {
  const auto measure = measure_of(terms.kind, entry, now, max_age);
  if (!measure || !terms.value || measure->value <= *terms.value) {
    forget(rule);
    return {measure.has_value(), false, measure ? measure->value : 0, {}};
  }
  const auto& mark = entry.view.facts.mark;
  const auto known = std::find_if(notes_.begin(), notes_.end(),
                                  [rule](const Note& note) { return note.rule == rule; });
  Note& note = known == notes_.end()
                   ? notes_.emplace_back(Note{rule, mark, measure->at, measure->at})
                   : *known;
  if (!proxy::same_activity(proxy::JudgedCounter::request, note.mark, mark) ||
      measure->at - note.newest > max_age) {
    note = {rule, mark, measure->at, measure->at};
  }
  note.newest = std::max(note.newest, measure->at);
  return {true, true, measure->value, note.newest - note.since};
}

void AboveSince::forget(std::uint32_t rule) {
  std::erase_if(notes_, [rule](const Note& note) { return note.rule == rule; });
}

void AboveSince::rename(const std::unordered_map<std::uint32_t, std::uint32_t>& same) {
  std::erase_if(notes_, [&](const Note& note) { return !same.contains(note.rule); });
  for (Note& note : notes_) note.rule = same.at(note.rule);
}

}  // namespace pgleash::watchdog
