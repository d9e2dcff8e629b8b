#include "watchdog/leak_watch.hpp"

#include "watchdog/message.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <unordered_set>
#include <utility>

namespace pgleash::watchdog {
namespace {

/// Applications told apart in the counters; what comes later is "other".
constexpr std::size_t max_counted_applications = 200;

Protection compiled(const config::Protect& protect) {
  std::vector<config::Diagnostic> reported_elsewhere;
  return Protection{protect, reported_elsewhere};
}

std::uint64_t& counter(std::map<std::string, std::uint64_t>& counters, const std::string& name) {
  const bool full = counters.size() >= max_counted_applications && !counters.contains(name);
  return counters[full ? "other" : name];
}

const SessionEntry* find(const Snapshot& snapshot,
                         const std::unordered_map<std::uint64_t, std::size_t>& index,
                         std::uint64_t id) {
  const auto found = index.find(id);
  return found == index.end() ? nullptr : &snapshot.sessions[found->second];
}

std::unordered_map<std::uint64_t, std::size_t> index_of(const Snapshot& snapshot) {
  std::unordered_map<std::uint64_t, std::size_t> index;
  index.reserve(snapshot.sessions.size());
  for (std::size_t i = 0; i < snapshot.sessions.size(); ++i)
    index.emplace(proxy::number(snapshot.sessions[i].view.id), i);
  return index;
}

}  // namespace

LeakWatch::LeakWatch(const config::Leak& leak, const config::Protect& protect, VerdictIds ids,
                     Duration evidence_max_age)
    : config_(leak),
      protection_(compiled(protect)),
      ids_(ids),
      evidence_max_age_(evidence_max_age),
      detector_(leak) {}

void LeakWatch::protect(const config::Protect& protect, Duration evidence_max_age) {
  protection_ = compiled(protect);
  evidence_max_age_ = evidence_max_age;
}

void LeakWatch::limit(const std::vector<config::Quota>& quotas) {
  quotas_.configure(quotas);
  status_.quotas.clear();
  for (const config::Quota& quota : quotas_.limited()) status_.quotas.push_back(quota.name);
}

LeakWatch::Tick LeakWatch::tick(const Snapshot& snapshot) {
  Tick tick;
  ++ticks_;
  feed_.feed(snapshot);
  const SlotUse slots = LeakFeed::slots(snapshot);
  forecast_.observe(snapshot.now, slots.used);
  const auto changes = detector_.tick(snapshot.now, slots);
  update_status(snapshot);
  for (const LeakChange& change : changes) {
    const bool detected = change.what == LeakChange::What::detected;
    (detected ? tick.detected : tick.cleared).push_back(report(change.leak, snapshot));
    ++counter(detected ? status_.detected_total : status_.cleared_total,
              change.leak.group.application);
  }
  judge(snapshot, tick);
  return tick;
}

LeakReport LeakWatch::report(const Leak& leak, const Snapshot& snapshot) const {
  LeakReport report;
  report.leak = leak;
  report.forecast = status_.forecast;
  report.stands = snapshot.now - leak.detected;
  const auto index = index_of(snapshot);
  std::map<std::string, std::uint32_t> addresses;
  for (const std::uint64_t id : detector_.suspects(leak, snapshot.now)) {
    const SessionEntry* entry = find(snapshot, index, id);
    if (!entry) continue;
    report.suspects.push_back(id);
    ++addresses[entry->view.who->client.address];
    if (report.oldest.size() < LeakReport::most_suspects)
      report.oldest.push_back({entry->view.id, entry->view.who,
                               snapshot.now - entry->view.facts.state_since,
                               entry->view.facts.frontend_bytes, entry->view.facts.backend_bytes});
  }
  report.addresses.assign(addresses.begin(), addresses.end());
  std::stable_sort(report.addresses.begin(), report.addresses.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  const auto first = std::ranges::find_if(
      status_.quota_forecasts, [&](const QuotaForecast& one) { return uses_up(report, one); });
  if (first != status_.quota_forecasts.end() && first->end.expected) report.quota = *first;
  return report;
}

std::vector<LeakReport> LeakWatch::standing(const Snapshot& snapshot) const {
  std::vector<LeakReport> reports;
  for (const Leak& leak : detector_.leaks()) reports.push_back(report(leak, snapshot));
  return reports;
}

/// Suspects in a transaction are left to the rules for transactions.
void LeakWatch::judge(const Snapshot& snapshot, Tick& tick) {
  wants_advisory_locks_ = false;
  if (detector_.leaks().empty()) {
    judged_.clear();
    return;
  }
  const auto index = index_of(snapshot);
  const Freshness freshness = Freshness::of(snapshot, evidence_max_age_);
  for (const Leak& leak : detector_.leaks()) {
    for (const std::uint64_t id : detector_.suspects(leak, snapshot.now)) {
      const SessionEntry* entry = find(snapshot, index, id);
      if (!entry || entry->view.ending || entry->view.facts.state != protocol::SessionState::idle)
        continue;
      const auto before = judged_.find(id);
      const bool said = before != judged_.end() && before->second.mark == entry->view.facts.mark;
      if (said) before->second.seen = ticks_;
      if (said && !before->second.exempt) continue;
      if (waits_for_advisory_answer(config::RuleKind::leak, *entry, freshness)) {
        wants_advisory_locks_ = true;
        continue;
      }
      const Exemption exempt = exemption(config::RuleKind::leak, *entry, protection_, freshness);
      if (said && exempt != Exemption::none) continue;
      judged_[id] = {entry->view.facts.mark, exempt != Exemption::none, ticks_};

      Verdict verdict;
      verdict.id = ids_.next();
      verdict.rule = rule;
      verdict.kind = config::RuleKind::leak;
      verdict.action = config_.action;
      verdict.counter = judged_counter(verdict.kind);
      verdict.mark = entry->view.facts.mark;
      verdict.measured = snapshot.now - entry->view.facts.state_since;
      verdict.limit = detector_.unseen(leak);
      verdict.exemption = exempt;
      verdict.sqlstate = native_sqlstate(verdict.kind, verdict.action, entry->view.facts);
      verdict.session = *entry;
      tick.verdicts.push_back(std::move(verdict));
    }
  }
  std::erase_if(judged_, [&](const auto& item) { return item.second.seen != ticks_; });
}

RuleExplanation LeakWatch::explain(const SessionEntry& entry, const Snapshot& snapshot) const {
  RuleExplanation found;
  found.rule = rule;
  found.kind = config::RuleKind::leak;
  found.action = config_.action;
  found.standing = Standing::not_in_state;
  found.why = "its application is not known to leak";
  const std::uint64_t id = proxy::number(entry.view.id);
  for (const Leak& leak : detector_.leaks()) {
    const auto suspects = detector_.suspects(leak, snapshot.now);
    const bool suspect = std::find(suspects.begin(), suspects.end(), id) != suspects.end();
    if (!suspect) {
      if (leak.group.application == entry.view.who->application &&
          leak.group.user == entry.view.who->user &&
          leak.group.database == entry.view.who->database)
        found.why = "its application leaks, and it is not among the suspects";
      continue;
    }
    found.age = snapshot.now - entry.view.facts.state_since;
    found.limit = std::chrono::duration_cast<config::Duration>(detector_.unseen(leak));
    found.why = fmt::format("one of {} suspects of a leak, in this state for {}", suspects.size(),
                            in_seconds(*found.age));
    if (entry.view.facts.state != protocol::SessionState::idle) {
      found.why += "; only idle sessions are ended";
      return found;
    }
    const Freshness freshness = Freshness::of(snapshot, evidence_max_age_);
    found.exemption = exemption(found.kind, entry, protection_, freshness);
    found.passes_in = Duration::zero();
    const auto said = judged_.find(id);
    if (found.exemption != Exemption::none) {
      found.standing = Standing::exempt;
      found.why += "; exempt: " + std::string{name(found.exemption)};
    } else if (said != judged_.end() && said->second.mark == entry.view.facts.mark) {
      found.standing = Standing::judged;
      found.why += "; had its verdict";
    } else {
      found.standing = Standing::over;
    }
    return found;
  }
  return found;
}

void LeakWatch::forget(const Verdict& verdict) {
  judged_.erase(proxy::number(verdict.session.view.id));
}

void LeakWatch::update_status(const Snapshot& snapshot) {
  status_.standing = detector_.leaks();
  status_.applications.clear();
  for (const LeakDetector::GroupFloor& group : detector_.floors()) {
    LeakStatus::Application& one = status_.applications[group.group->application];
    one.floor += group.floor;
    one.growth += group.slope;
  }
  std::vector<Instant> lost;
  Duration unseen{};
  for (const Leak& leak : status_.standing) {
    status_.applications[leak.group.application].suspects += leak.suspect_count;
    const auto times = detector_.lost_at(leak, snapshot.now);
    lost.insert(lost.end(), times.begin(), times.end());
    unseen = std::max(unseen, detector_.unseen(leak));
  }
  update_quotas(snapshot);
  const SlotUse slots = LeakFeed::slots(snapshot);
  status_.limit_known = slots.limit > 0;
  status_.forecast = {};
  if (!status_.limit_known || lost.empty()) return;
  std::sort(lost.begin(), lost.end());
  status_.forecast = forecast_.until(snapshot.now, slots.limit, lost, unseen, config_.horizon);
}

void LeakWatch::update_quotas(const Snapshot& snapshot) {
  status_.quota_forecasts.clear();
  if (status_.quotas.empty()) return;
  std::vector<LostSession> lost;
  if (!status_.standing.empty()) {
    const auto index = index_of(snapshot);
    for (const Leak& leak : status_.standing) {
      const std::vector<std::uint64_t> suspects = detector_.suspects(leak, snapshot.now);
      const std::vector<Instant> times = detector_.lost_at(leak, snapshot.now);
      // Both in the order of last use.
      for (std::size_t i = 0; i < std::min(suspects.size(), times.size()); ++i)
        if (const SessionEntry* entry = find(snapshot, index, suspects[i]))
          lost.push_back({entry->view.who.get(), times[i], detector_.unseen(leak)});
    }
  }
  status_.quota_forecasts = quotas_.update(snapshot, lost, config_.horizon);
}

}  // namespace pgleash::watchdog
