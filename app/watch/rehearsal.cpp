#include "app/watch/rehearsal.hpp"

#include "config/measure.hpp"
#include "watchdog/leak_endings.hpp"
#include "watchdog/message.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

namespace pgleash::app {

using config::RuleKind;
using watchdog::LeakReport;
using watchdog::SessionEntry;
using watchdog::Snapshot;
using watchdog::Verdict;

namespace {

/// (rule, application) told apart; what comes later is "other".
constexpr std::size_t most_rows = 10'000;

bool can_judge(RuleKind kind, Rehearsal::Source source) {
  switch (kind) {
    case RuleKind::held:
    case RuleKind::stalled:
      return source == Rehearsal::Source::recording;  // seen in-band only
    default:
      return !config::is_cost(kind);
  }
}

std::string address_of(const proxy::Endpoint& client) {
  return client.address.empty() ? std::string{"local"}
                                : fmt::format("{}:{}", client.address, client.port);
}

std::string evidence_of(const Verdict& verdict) {
  const auto& who = *verdict.session.view.who;
  std::string text = fmt::format(
      "pid {} {}@{} from {}, {} for {}", who.pid ? static_cast<std::int32_t>(*who.pid) : 0,
      who.user, who.database, address_of(who.client),
      protocol::name(verdict.session.view.facts.state), watchdog::in_seconds(verdict.measured));
  if (verdict.others > 0) text += fmt::format(", {} others", verdict.others);
  if (verdict.session.row && !verdict.session.row->query.empty()) {
    const std::string& query = verdict.session.row->query;
    text += ": " + watchdog::fingerprint(query, query.size() + 4 > watchdog::shown_statement).text;
  }
  return text;
}

}  // namespace

Rehearsal::Rehearsal(const config::Config& config, std::uint64_t seed)
    : leaks_(config.leak, config.protect, watchdog::VerdictIds{seed + 1},
             config.enforcement.evidence_max_age) {
  leaks_.limit(config.quotas);
}

std::unique_ptr<Rehearsal> Rehearsal::compile(const config::Config& config, Source source,
                                              std::uint64_t seed,
                                              std::vector<config::Diagnostic>& faults) {
  std::unique_ptr<Rehearsal> made{new Rehearsal{config, seed}};
  for (const config::Rule& rule : config.rules) {
    if (can_judge(rule.kind, source)) {
      made->rules_.push_back(rule);
    } else {
      made->unjudged_.push_back(rule.name);
    }
  }
  made->engine_ = watchdog::RuleEngine::compile(made->rules_, config.protect, faults,
                                                watchdog::VerdictIds{seed},
                                                config.enforcement.evidence_max_age);
  return made->engine_ ? std::move(made) : nullptr;
}

void Rehearsal::count(const Verdict& verdict, Instant now) {
  Key key{verdict.rule, verdict.session.view.who->application};
  if (rows_.size() >= most_rows && !rows_.contains(key)) key.second = "other";
  WouldAct& row = rows_[key];
  row.kind = verdict.kind;
  row.action = verdict.action;
  if (verdict.exemption != watchdog::Exemption::none) {
    ++row.exempted;
    return;
  }
  if (row.count++ == 0) row.first = now;
  row.last = now;
  if (sessions_[key].insert(proxy::number(verdict.session.view.id)).second) ++row.sessions;
  if (row.count == 1 || verdict.measured > row.most) {
    row.most = verdict.measured;
    row.evidence = evidence_of(verdict);
  }
}

Rehearsal::Tick Rehearsal::tick(const Snapshot& snapshot) {
  Tick tick;
  watchdog::Evaluation evaluation = engine_->evaluate(snapshot);
  watchdog::LeakWatch::Tick leaks = leaks_.tick(snapshot);
  for (auto* verdicts : {&evaluation.verdicts, &leaks.verdicts}) {
    for (Verdict& verdict : *verdicts) {
      count(verdict, snapshot.now);
      if (verdict.exemption == watchdog::Exemption::none)
        tick.verdicts.push_back(std::move(verdict));
    }
  }
  tick.detected = std::move(leaks.detected);
  for (LeakReport& report : tick.detected) add_statements(report, snapshot);
  tick.cleared = std::move(leaks.cleared);
  return tick;
}

std::vector<LeakReport> Rehearsal::leaks(const Snapshot& snapshot) {
  std::vector<LeakReport> reports = leaks_.standing(snapshot);
  for (LeakReport& report : reports) add_statements(report, snapshot);
  return reports;
}

void Rehearsal::add_statements(LeakReport& report, const Snapshot& snapshot) {
  std::unordered_map<std::uint64_t, const SessionEntry*> by_id;
  for (const SessionEntry& entry : snapshot.sessions)
    by_id.emplace(proxy::number(entry.view.id), &entry);
  watchdog::LeakEndings endings{report};
  for (const watchdog::LeakSuspect& suspect : report.oldest) {
    const auto found = by_id.find(proxy::number(suspect.session));
    if (found == by_id.end()) continue;
    const auto statements = watchdog::statements_of(*found->second, watchdog::shown_last_statement);
    endings.add(
        watchdog::session_evidence(*found->second, statements, snapshot.now, fingerprints_));
  }
}

}  // namespace pgleash::app
