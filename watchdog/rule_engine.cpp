#include "watchdog/rule_engine.hpp"

#include "config/measure.hpp"
#include "config/reload.hpp"
#include "watchdog/blocking_rule.hpp"
#include "watchdog/cost_rule.hpp"
#include "watchdog/exemptions.hpp"
#include "watchdog/group_rule.hpp"
#include "watchdog/message.hpp"
#include "watchdog/selector.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bitset>
#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>

namespace pgleash::watchdog {

using config::Action;
using config::RuleKind;
using protocol::SessionState;
using protocol::TransactionStatus;

namespace {

constexpr Duration shortest_interval = std::chrono::milliseconds{25};
constexpr Duration longest_interval = std::chrono::seconds{1};
/// A client that took nothing for so long holds the server in ClientWrite, where a cancel is
/// ignored.
constexpr Duration cancel_is_ignored = std::chrono::seconds{10};

/// How long a session has been in the condition of a rule's kind.
struct Condition {
  bool holds = false;
  bool blind = false;  ///< the server alone knows whether it holds, and there is no fresh row
  Duration age{};
};

Condition since(Instant start, Instant now) noexcept {
  return {true, false, now - start};
}

/// Opaque sessions are judged by the rules and the snapshot made for them.
bool judgeable(const proxy::SessionView& view, bool opaque) noexcept {
  return view.who->opaque == opaque && !view.ending && !view.facts.degraded &&
         view.facts.state != SessionState::starting && view.facts.state != SessionState::closing;
}

/// A frontend message that trickles in is life, though PostgreSQL shows the backend idle until it
/// is complete.
Instant reading_since(const protocol::SessionFacts& facts) noexcept {
  return facts.half_message ? std::max(facts.state_since, facts.last_frontend_byte)
                            : facts.state_since;
}

Condition in_state(const protocol::SessionFacts& facts, SessionState state, Instant now) noexcept {
  return facts.state == state ? since(reading_since(facts), now) : Condition{};
}

Condition held(const SessionEntry& entry, const Freshness& freshness) noexcept {
  const auto& facts = entry.view.facts;
  const Instant last =
      std::max({facts.state_since, facts.last_frontend_byte, facts.last_backend_byte});
  const ActivityRow* row = freshness.active_row(entry, last);
  const bool waits_for_client = row && row->wait_event == "ClientRead";
  Condition condition = since(last, freshness.now);
  switch (facts.state) {
    case SessionState::pipeline_flushed:
    case SessionState::pipeline_failed:
      return condition;
    case SessionState::copy_in:
      // The server may be behind, in a trigger or waiting for a lock, with our bytes in its hands.
      condition.blind = !row && freshness.monitor_configured;
      condition.holds = !row || waits_for_client;
      return condition;
    case SessionState::pipeline_open:
      condition.blind = !row;
      condition.holds = !row || waits_for_client;
      return condition;
    default:
      return {};
  }
}

/// An answer that is still to come is waited for; one that cannot be had exempts.
Condition while_idle(Condition condition, RuleKind kind, const SessionEntry& entry,
                     const Freshness& freshness) {
  condition.blind = waits_for_advisory_answer(kind, entry, freshness);
  return condition;
}

Condition statement(const SessionEntry& entry, Action action, const Freshness& freshness) {
  const auto& facts = entry.view.facts;
  Condition condition = since(facts.request_since, freshness.now);
  switch (facts.state) {
    case SessionState::busy:
    case SessionState::fastpath:
    case SessionState::copy_out:
      break;
    case SessionState::pipeline_open: {
      const ActivityRow* row =
          freshness.active_row(entry, std::max(facts.last_frontend_byte, facts.last_backend_byte));
      if (row && row->wait_event == "ClientRead") return {};  // nothing runs: `held` sees to it
      condition.blind = !row;
      break;
    }
    default:
      return {};
  }
  if (maintenance(entry, freshness) == Answer::yes) return {};
  const bool stalled = entry.view.stalled_since != Instant{} &&
                       freshness.now - entry.view.stalled_since > cancel_is_ignored;
  if (stalled && action == Action::cancel) return {};
  return condition;
}

Condition condition_of(RuleKind kind, Action action, const SessionEntry& entry,
                       const Freshness& freshness) {
  // Of cost: a statement runs. What it costs is asked for behind the rule's match.
  if (config::is_cost(kind)) return statement(entry, action, freshness);
  const proxy::SessionView& view = entry.view;
  const auto& facts = view.facts;
  const Instant now = freshness.now;
  switch (kind) {
    case RuleKind::idle:
      return while_idle(in_state(facts, SessionState::idle, now), kind, entry, freshness);
    case RuleKind::idle_in_transaction:
      return in_state(facts, SessionState::idle_in_transaction, now);
    case RuleKind::aborted:
      return in_state(facts, SessionState::aborted, now);
    case RuleKind::held:
      return held(entry, freshness);
    case RuleKind::stalled:
      return view.stalled_since == Instant{} ? Condition{} : since(view.stalled_since, now);
    case RuleKind::statement:
      return statement(entry, action, freshness);
    case RuleKind::transaction_age:
      return facts.transaction != TransactionStatus::idle || facts.outstanding > 0
                 ? since(facts.transaction_since, now)
                 : Condition{};
    case RuleKind::session_age:
      if (facts.state != SessionState::idle) return {};
      return while_idle(since(view.who->connected, now), kind, entry, freshness);
    case RuleKind::leak:  // judged by LeakWatch, which sees groups
    default:              // about more than one session: see find()
      return {};
  }
}

bool of_more_than_one(RuleKind kind) noexcept {
  return kind == RuleKind::blocking || kind == RuleKind::group;
}

struct CompiledRule {
  config::Rule rule;
  Selector match;
  Selector except;

  CompiledRule(const config::Rule& source, std::vector<config::Diagnostic>& diagnostics)
      : rule(source), match(rule.match, diagnostics), except(rule.except, diagnostics) {}

  [[nodiscard]] bool selects(const proxy::SessionIdentity& who) const {
    return match.selects(who) && (except.empty() || !except.selects(who));
  }
  /// Over one of both thresholds.
  [[nodiscard]] bool over(Duration age) const noexcept {
    return (rule.limit && age > *rule.limit) || (rule.warn && age > *rule.warn);
  }
  /// Near enough to one of them to be watched.
  [[nodiscard]] bool concerns(Duration age) const noexcept {
    return suspicious(age, rule.limit, rule.warn);
  }
};

/// What was already said of one session's activity by one rule.
struct Judged {
  std::uint32_t rule;
  protocol::ActivityMark mark;
  Instant stalled_since{};  ///< a client that stalls again does so within the same state
  bool warned = false;
  bool verdict = false;
  bool exempt = false;  ///< the verdict named an exemption: another one follows when it is gone
  bool chosen = false;  ///< of a group, over the limit
};

/// The findings of each rule about more than one session, by session.
using Findings = std::vector<std::unordered_map<std::size_t, Finding>>;

struct SessionMemory {
  std::uint64_t seen = 0;  ///< evaluation that last saw the session
  std::vector<Judged> judged;
  AboveSince above;
  [[nodiscard]] bool empty() const noexcept { return judged.empty() && above.empty(); }
};

class CompiledRules final : public RuleEngine {
 public:
  CompiledRules(const std::vector<config::Rule>& rules, const config::Protect& protect,
                std::vector<config::Diagnostic>& diagnostics, VerdictIds ids,
                Duration evidence_max_age)
      : protection_(protect, diagnostics), ids_(ids), evidence_max_age_(evidence_max_age) {
    rules_.reserve(rules.size());
    for (const auto& rule : rules) {
      rules_.emplace_back(rule, diagnostics);
      status_.push_back({rule.name, 0, 0, 0, rule.kind});
      for (const auto& threshold : {rule.limit, rule.warn}) {
        if (threshold) interval_ = std::min(interval_, Duration{*threshold} / 4);
      }
      note_needs(rule);
    }
    interval_ = std::max(interval_, shortest_interval);
    last_findings_.resize(rules_.size());
  }

  Evaluation evaluate(const Snapshot& snapshot) override;
  void forget(const Verdict& verdict) override;
  void inherit(RuleEngine& before, bool judge_again) override;
  std::vector<RuleExplanation> explain(const SessionEntry& entry,
                                       const Snapshot& snapshot) const override;
  const std::vector<RuleStatus>& status() const noexcept override { return status_; }
  Duration judging_interval() const noexcept override { return interval_; }
  Needs needs() const noexcept override { return needs_; }

 private:
  [[nodiscard]] bool was_judged(std::size_t index, const proxy::SessionView& view) const;
  void explain(RuleExplanation& found, std::size_t index, const SessionEntry& entry,
               const Freshness& freshness) const;
  void explain_finding(RuleExplanation& found, std::size_t index, const SessionEntry& entry,
                       const Freshness& freshness) const;
  void remember(const Findings& findings, const Snapshot& snapshot);
  void note_needs(const config::Rule& rule);
  Findings find(const Snapshot& snapshot, const Freshness& freshness, Evaluation& found);
  void find_blocking(std::size_t index, const Snapshot& snapshot, const Freshness& freshness,
                     std::vector<Finding>& findings, Evaluation& found);
  void report(BlockingReport report, Evaluation& found);
  std::vector<Finding> find_groups(std::size_t index, const Snapshot& snapshot,
                                   const Freshness& freshness);
  [[nodiscard]] bool chosen_before(std::size_t index, const proxy::SessionView& view) const;
  void judge(const SessionEntry& entry, std::size_t place, const Findings& findings,
             const Freshness& freshness, SessionMemory& memory, Evaluation& found);
  Condition above_value(Condition running, std::size_t index, const SessionEntry& entry,
                        const Freshness& freshness, AboveSince& memory,
                        std::optional<CostFinding>& cost) const;
  Judged& recall(SessionMemory& memory, std::size_t index, proxy::JudgedCounter counter,
                 const proxy::SessionView& view) const;
  Verdict verdict(const CompiledRule& compiled, const SessionEntry& entry,
                  const Freshness& freshness, const Finding* finding, Duration age,
                  Exemption exempt) const;

  Protection protection_;
  VerdictIds ids_;
  Duration evidence_max_age_;
  Duration interval_ = longest_interval;
  std::vector<CompiledRule> rules_;
  std::vector<RuleStatus> status_;
  std::unordered_map<std::uint64_t, SessionMemory>
      memory_;                      ///< of sessions about which something was said
  std::set<std::string> reported_;  ///< roots that were told of and are still there
  std::set<std::string> reported_now_;
  std::unordered_map<std::size_t, TrippedGroups> over_limit_, over_warn_;  ///< by rule
  /// Of the last evaluation, by rule and number of the session.
  std::vector<std::unordered_map<std::uint64_t, Finding>> last_findings_;
  Needs needs_;
  std::uint64_t evaluation_ = 0;
};

/// From a statement that runs to one that has been above the rule's value for a while. Without a
/// measure its own age tells whether the rule could concern it.
Condition CompiledRules::above_value(Condition running, std::size_t index,
                                     const SessionEntry& entry, const Freshness& freshness,
                                     AboveSince& memory, std::optional<CostFinding>& cost) const {
  const CompiledRule& compiled = rules_[index];
  const auto rule = static_cast<std::uint32_t>(index);
  if (!running.holds || running.blind || !compiled.selects(*entry.view.who)) {
    memory.forget(rule);
    return running;
  }
  const CostCondition found =
      memory.judge(rule, compiled.rule, entry, freshness.now, evidence_max_age_);
  if (!found.known) return {true, true, running.age};
  if (found.above) cost = CostFinding{found.value, compiled.rule.value.value_or(0)};
  return {found.above, false, found.age};
}

void CompiledRules::note_needs(const config::Rule& rule) {
  if (rule.kind != RuleKind::group || rule.group_by != config::GroupBy::fingerprint) return;
  for (const auto& threshold : {rule.limit, rule.warn}) {
    // Asked for in time, so that the answer is there when the limit is.
    if (threshold) {
      needs_.fingerprint =
          std::min(needs_.fingerprint.value_or(Duration::max()), Duration{*threshold} / 2);
    }
  }
}

Findings CompiledRules::find(const Snapshot& snapshot, const Freshness& freshness,
                             Evaluation& found) {
  Findings all(rules_.size());
  reported_now_.clear();
  for (std::size_t index = 0; index < rules_.size(); ++index) {
    std::vector<Finding> findings;
    if (rules_[index].rule.kind == RuleKind::blocking)
      find_blocking(index, snapshot, freshness, findings, found);
    if (rules_[index].rule.kind == RuleKind::group)
      findings = find_groups(index, snapshot, freshness);
    for (const Finding& finding : findings) all[index].emplace(finding.session, finding);
  }
  reported_.swap(reported_now_);
  return all;
}

void CompiledRules::find_blocking(std::size_t index, const Snapshot& snapshot,
                                  const Freshness& freshness, std::vector<Finding>& findings,
                                  Evaluation& found) {
  const CompiledRule& compiled = rules_[index];
  const std::function<bool(const SessionEntry&)> may_end = [&](const SessionEntry& entry) {
    return judgeable(entry.view, snapshot.opaque) && compiled.selects(*entry.view.who) &&
           exemption(RuleKind::blocking, entry, protection_, freshness) == Exemption::none;
  };
  BlockingFindings blocking =
      blocking_findings(compiled.rule, snapshot, evidence_max_age_, may_end);
  findings = std::move(blocking.sessions);
  for (BlockingReport& each : blocking.reports) report(std::move(each), found);
}

/// Each root once, for as long as it is there.
void CompiledRules::report(BlockingReport each, Evaluation& found) {
  const std::string key = each.rule + '/' +
                          std::to_string(static_cast<std::int32_t>(each.root.pid)) + '/' +
                          each.root.gid;
  reported_now_.insert(key);
  if (!reported_.contains(key)) found.blocking.push_back(std::move(each));
}

std::vector<Finding> CompiledRules::find_groups(std::size_t index, const Snapshot& snapshot,
                                                const Freshness& freshness) {
  const CompiledRule& compiled = rules_[index];
  const config::Rule& rule = compiled.rule;
  std::vector<GroupMember> over_limit;
  std::vector<GroupMember> over_warn;
  for (std::size_t place = 0; place < snapshot.sessions.size(); ++place) {
    const SessionEntry& entry = snapshot.sessions[place];
    if (!judgeable(entry.view, snapshot.opaque)) continue;
    const Condition condition = statement(entry, rule.action, freshness);
    if (!condition.holds || !compiled.over(condition.age) || !compiled.selects(*entry.view.who)) {
      continue;
    }
    const bool nameless = rule.group_by == config::GroupBy::fingerprint && !entry.fingerprint;
    if (condition.blind || nameless) {
      ++status_[index].paused;
      continue;
    }
    GroupMember member;
    member.session = place;
    member.age = condition.age;
    member.since = freshness.now - condition.age;
    member.group = rule.group_by == config::GroupBy::application ? entry.view.who->application
                   : rule.group_by == config::GroupBy::client    ? entry.view.who->client.address
                                                              : std::to_string(*entry.fingerprint);
    member.chosen = chosen_before(index, entry.view);
    if (rule.limit && member.age > *rule.limit) over_limit.push_back(member);
    if (rule.warn && member.age > *rule.warn) over_warn.push_back(std::move(member));
  }
  std::vector<Finding> findings =
      group_findings(rule, std::move(over_limit), over_limit_[index], snapshot.now);
  // Large enough for the warning only: below the limit, whatever its age.
  for (Finding& warned :
       group_findings(rule, std::move(over_warn), over_warn_[index], snapshot.now)) {
    if (rule.limit) warned.age = std::min(warned.age, Duration{*rule.limit});
    findings.push_back(warned);
  }
  return findings;
}

bool CompiledRules::chosen_before(std::size_t index, const proxy::SessionView& view) const {
  const auto known = memory_.find(proxy::number(view.id));
  if (known == memory_.end()) return false;
  return std::ranges::any_of(known->second.judged, [&](const Judged& judged) {
    return judged.rule == index && judged.chosen &&
           proxy::same_activity(proxy::JudgedCounter::request, judged.mark, view.facts.mark);
  });
}

/// The note on this rule and activity; a fresh one when the activity it was on is over.
Judged& CompiledRules::recall(SessionMemory& memory, std::size_t index,
                              proxy::JudgedCounter counter, const proxy::SessionView& view) const {
  const auto rule = static_cast<std::uint32_t>(index);
  const RuleKind kind = rules_[index].rule.kind;
  const Judged fresh{rule, view.facts.mark,
                     kind == RuleKind::stalled ? view.stalled_since : Instant{}};
  const auto note = std::find_if(memory.judged.begin(), memory.judged.end(),
                                 [&](const Judged& judged) { return judged.rule == rule; });
  if (note == memory.judged.end()) return memory.judged.emplace_back(fresh);
  if (!proxy::same_activity(counter, note->mark, fresh.mark) ||
      note->stalled_since != fresh.stalled_since) {
    *note = fresh;
  }
  return *note;
}

Verdict CompiledRules::verdict(const CompiledRule& compiled, const SessionEntry& entry,
                               const Freshness& freshness, const Finding* finding, Duration age,
                               Exemption exempt) const {
  const config::Rule& rule = compiled.rule;
  Verdict result;
  result.rule = rule.name;
  result.kind = rule.kind;
  result.action = finding ? finding->action : rule.action;
  result.counter = finding ? finding->counter : judged_counter(rule.kind);
  if (finding) {
    result.waits_for_client = finding->waits_for_client;
    result.others = finding->others;
  }
  result.mark = entry.view.facts.mark;
  result.measured = age;
  result.limit = rule.limit.value_or(config::Duration{});
  result.grace = rule.grace;
  if (rule.notify == config::Notify::on_next_use) result.notify_within = rule.notify_within;
  result.exemption = exempt;
  result.may_commit_meanwhile = may_commit_meanwhile(rule.kind, entry, freshness);
  result.sqlstate = rule.sqlstate.empty()
                        ? std::string{native_sqlstate(rule.kind, result.action, entry.view.facts)}
                        : rule.sqlstate;
  result.hint = rule.hint;
  result.session = entry;
  return result;
}

void CompiledRules::judge(const SessionEntry& entry, std::size_t place, const Findings& findings,
                          const Freshness& freshness, SessionMemory& memory, Evaluation& found) {
  bool acting = false;
  std::bitset<std::tuple_size_v<ExemptCounts>> spared;
  for (std::size_t index = 0; index < rules_.size(); ++index) {
    const CompiledRule& compiled = rules_[index];
    const config::Rule& rule = compiled.rule;
    RuleStatus& status = status_[index];
    const Finding* finding = nullptr;
    Condition condition;
    if (of_more_than_one(rule.kind)) {
      const auto its = findings[index].find(place);
      if (its == findings[index].end()) continue;
      finding = &its->second;
      condition = {true, false, finding->age};
    } else {
      condition = condition_of(rule.kind, rule.action, entry, freshness);
    }
    std::optional<CostFinding> cost;
    if (config::is_cost(rule.kind)) {
      condition = above_value(condition, index, entry, freshness, memory.above, cost);
    }
    const Action action = finding ? finding->action : rule.action;
    if (!condition.holds || !compiled.concerns(condition.age) ||
        !compiled.selects(*entry.view.who)) {
      continue;
    }
    if (condition.blind) {
      status.paused += compiled.over(condition.age) ? 1 : 0;
      needs_.advisory_locks |= rule.kind == RuleKind::idle || rule.kind == RuleKind::session_age;
      continue;
    }
    const Exemption exempt = exemption(rule.kind, entry, protection_, freshness);
    const proxy::JudgedCounter counter = finding ? finding->counter : judged_counter(rule.kind);
    if (exempt == Exemption::none) {
      found.suspects.push_back(
          {rule.name, entry.view.id, counter, entry.view.facts.mark,
           rule.kind == RuleKind::stalled ? entry.view.stalled_since : Instant{}, condition.age,
           rule.limit});
    }
    if (!compiled.over(condition.age)) continue;
    Judged& judged = recall(memory, index, counter, entry.view);

    if (rule.warn && condition.age > *rule.warn && !judged.warned) {
      judged.warned = true;
      ++status.warned_total;
      Verdict& warning = found.warnings.emplace_back(
          verdict(compiled, entry, freshness, finding, condition.age, exempt));
      warning.cost = cost;
      warning.action = Action::observe;
      warning.limit = *rule.warn;
    }
    if (!rule.limit || condition.age <= *rule.limit) continue;
    ++status.matching;
    if (exempt != Exemption::none && !spared.test(static_cast<std::size_t>(exempt))) {
      spared.set(static_cast<std::size_t>(exempt));
      ++found.exempt[static_cast<std::size_t>(exempt)];
    }
    const bool said = judged.verdict && !(judged.exempt && exempt == Exemption::none);
    judged.chosen = true;
    const bool may_act = action != Action::observe && exempt == Exemption::none;
    if (said || (may_act && acting)) continue;
    acting = acting || may_act;
    judged.verdict = true;
    judged.exempt = exempt != Exemption::none;
    found.verdicts.push_back(verdict(compiled, entry, freshness, finding, condition.age, exempt));
    found.verdicts.back().cost = cost;
  }
}

Evaluation CompiledRules::evaluate(const Snapshot& snapshot) {
  ++evaluation_;
  for (RuleStatus& status : status_) status.matching = status.paused = 0;
  needs_.advisory_locks = false;
  const Freshness freshness = Freshness::of(snapshot, evidence_max_age_);

  Evaluation found;
  const Findings findings = find(snapshot, freshness, found);
  SessionMemory blank;
  for (std::size_t place = 0; place < snapshot.sessions.size(); ++place) {
    const SessionEntry& entry = snapshot.sessions[place];
    const std::uint64_t id = proxy::number(entry.view.id);
    const auto known = memory_.find(id);
    SessionMemory& memory = known == memory_.end() ? blank : known->second;
    memory.seen = evaluation_;
    if (judgeable(entry.view, snapshot.opaque))
      judge(entry, place, findings, freshness, memory, found);
    if (!blank.empty()) memory_.emplace(id, std::exchange(blank, {}));
  }
  std::erase_if(memory_, [&](const auto& item) { return item.second.seen != evaluation_; });
  remember(findings, snapshot);

  const auto oldest_first = [](const Verdict& a, const Verdict& b) {
    return std::tuple(b.measured, a.session.view.id) < std::tuple(a.measured, b.session.view.id);
  };
  for (auto* verdicts : {&found.verdicts, &found.warnings}) {
    std::stable_sort(verdicts->begin(), verdicts->end(), oldest_first);
    for (Verdict& each : *verdicts) each.id = ids_.next();
  }
  return found;
}

/// For explain(): what the rules that look at more than one session said of each.
void CompiledRules::remember(const Findings& findings, const Snapshot& snapshot) {
  for (std::size_t index = 0; index < rules_.size(); ++index) {
    last_findings_[index].clear();
    for (const auto& [place, finding] : findings[index])
      last_findings_[index].emplace(proxy::number(snapshot.sessions[place].view.id), finding);
  }
}

void CompiledRules::forget(const Verdict& verdict) {
  const auto known = memory_.find(proxy::number(verdict.session.view.id));
  if (known == memory_.end()) return;
  for (Judged& judged : known->second.judged) {
    // The activity may be another one by now, and judged in its own right.
    if (rules_[judged.rule].rule.name == verdict.rule &&
        proxy::same_activity(verdict.counter, verdict.mark, judged.mark)) {
      judged.verdict = false;
    }
  }
}

void CompiledRules::inherit(RuleEngine& before, bool judge_again) {
  auto* old = dynamic_cast<CompiledRules*>(&before);
  if (old == nullptr) return;
  std::unordered_map<std::uint32_t, std::uint32_t> same;  // old index to new
  for (std::uint32_t from = 0; from < old->rules_.size(); ++from) {
    for (std::uint32_t to = 0; to < rules_.size(); ++to) {
      if (old->rules_[from].rule.name != rules_[to].rule.name) continue;
      status_[to].warned_total = old->status_[from].warned_total;
      if (config::same_rule(old->rules_[from].rule, rules_[to].rule)) same.emplace(from, to);
    }
  }
  memory_ = std::move(old->memory_);
  evaluation_ = old->evaluation_;
  reported_ = std::move(old->reported_);
  for (const auto& [from, to] : same) over_limit_[to] = std::move(old->over_limit_[from]);
  for (auto& [session, memory] : memory_) {
    memory.above.rename(same);
    std::erase_if(memory.judged, [&](const Judged& judged) { return !same.contains(judged.rule); });
    for (Judged& judged : memory.judged) {
      judged.rule = same.at(judged.rule);
      judged.verdict = judged.verdict && !judge_again;
    }
  }
}

bool CompiledRules::was_judged(std::size_t index, const proxy::SessionView& view) const {
  const auto known = memory_.find(proxy::number(view.id));
  if (known == memory_.end()) return false;
  const RuleKind kind = rules_[index].rule.kind;
  return std::any_of(
      known->second.judged.begin(), known->second.judged.end(), [&](const Judged& judged) {
        return judged.rule == index && judged.verdict && !judged.exempt &&
               proxy::same_activity(judged_counter(kind), judged.mark, view.facts.mark);
      });
}

/// Of a rule that looks at more than one session: by what it found in the last evaluation.
void CompiledRules::explain_finding(RuleExplanation& found, std::size_t index,
                                    const SessionEntry& entry, const Freshness& freshness) const {
  const config::Rule& rule = rules_[index].rule;
  const auto as = [&](Standing standing, std::string why) {
    found.standing = standing;
    found.why = std::move(why);
  };
  const bool blocks = rule.kind == RuleKind::blocking;
  const auto its = last_findings_[index].find(proxy::number(entry.view.id));
  if (its == last_findings_[index].end()) {
    if (was_judged(index, entry.view)) return as(Standing::judged, "had its verdict");
    return as(Standing::not_in_state,
              blocks ? "it holds up nobody for long, or is no victim of this rule"
                     : "it is in no group that is large enough, or no victim of it");
  }
  const Finding& finding = its->second;
  found.action = finding.action;
  found.age = finding.age;
  found.exemption = exemption(rule.kind, entry, protection_, freshness);
  if (rule.limit) found.passes_in = std::max(Duration{*rule.limit} - finding.age, Duration{});
  const std::string so_far =
      in_seconds(finding.age) + (rule.limit ? " of " + in_seconds(*rule.limit) : std::string{});
  const std::string why =
      blocks ? fmt::format("{} other sessions wait for it, {}", finding.others, so_far)
             : fmt::format("{} statements like its own run beside it, {}", finding.others, so_far);
  const bool over = rule.limit && finding.age > *rule.limit;
  if (found.exemption != Exemption::none) {
    return as(over ? Standing::exempt : Standing::below,
              why + "; exempt: " + std::string{name(found.exemption)});
  }
  if (was_judged(index, entry.view)) return as(Standing::judged, why + "; had its verdict");
  if (over) return as(Standing::over, why);
  as(rule.warn && finding.age > *rule.warn ? Standing::warned : Standing::below, why);
}

void CompiledRules::explain(RuleExplanation& found, std::size_t index, const SessionEntry& entry,
                            const Freshness& freshness) const {
  const CompiledRule& compiled = rules_[index];
  const config::Rule& rule = compiled.rule;
  const proxy::SessionIdentity& who = *entry.view.who;
  const auto as = [&](Standing standing, std::string why) {
    found.standing = standing;
    found.why = std::move(why);
  };
  if (!judgeable(entry.view, entry.view.who->opaque)) {
    const char* why = entry.view.ending           ? "its end is under way"
                      : entry.view.facts.degraded ? "its state is not known for sure"
                                                  : "it logs in, or closes";
    return as(Standing::not_judged, why);
  }
  if (const auto key = compiled.match.mismatch(who); !key.empty())
    return as(Standing::not_selected, "match." + std::string{key} + " does not match");
  if (!compiled.except.empty() && compiled.except.selects(who))
    return as(Standing::not_selected, "except matches");
  if (of_more_than_one(rule.kind)) return explain_finding(found, index, entry, freshness);
  Condition condition = condition_of(rule.kind, rule.action, entry, freshness);
  if (config::is_cost(rule.kind) && condition.holds && !condition.blind) {
    // A copy, as looking must not change since when it has been above.
    const auto known = memory_.find(proxy::number(entry.view.id));
    AboveSince above = known == memory_.end() ? AboveSince{} : known->second.above;
    std::optional<CostFinding> cost;
    condition = above_value(condition, index, entry, freshness, above, cost);
    if (!condition.holds) return as(Standing::not_in_state, "its statement is not above the value");
    if (condition.blind) return as(Standing::blind, "there is no fresh measure of its statement");
  }
  if (!condition.holds) {
    const bool meant_to_run = rule.kind == RuleKind::statement &&
                              entry.view.facts.outstanding > 0 &&
                              maintenance(entry, freshness) == Answer::yes;
    return as(Standing::not_in_state,
              meant_to_run ? std::string{"its statement is one that is meant to run long"}
                           : "it is " + std::string{protocol::name(entry.view.facts.state)});
  }
  found.age = condition.age;
  if (condition.blind) {
    return as(Standing::blind,
              "only the server knows whether it waits for its client, and no fresh sample says so");
  }
  found.exemption = exemption(rule.kind, entry, protection_, freshness);
  std::string exempt;
  if (found.exemption != Exemption::none)
    exempt = "; exempt: " + std::string{name(found.exemption)};
  if (rule.limit) found.passes_in = std::max(Duration{*rule.limit} - condition.age, Duration{});
  const std::string so_far = in_seconds(condition.age);
  if (rule.limit && condition.age > *rule.limit) {
    const std::string over = so_far + ", over the limit of " + in_seconds(*rule.limit);
    if (!exempt.empty()) return as(Standing::exempt, over + exempt);
    if (was_judged(index, entry.view))
      return as(Standing::judged, over + "; had its verdict, and gets no other for this activity");
    return as(Standing::over, over);
  }
  const std::string below = rule.limit ? so_far + " of " + in_seconds(*rule.limit) +
                                             "; passes its limit in " + in_seconds(*found.passes_in)
                                       : so_far + "; its limit is off";
  const bool warned = rule.warn && condition.age > *rule.warn;
  as(warned ? Standing::warned : Standing::below, below + exempt);
}

std::vector<RuleExplanation> CompiledRules::explain(const SessionEntry& entry,
                                                    const Snapshot& snapshot) const {
  const Freshness freshness = Freshness::of(snapshot, evidence_max_age_);
  std::vector<RuleExplanation> all;
  all.reserve(rules_.size());
  for (std::size_t index = 0; index < rules_.size(); ++index) {
    const config::Rule& rule = rules_[index].rule;
    RuleExplanation& found = all.emplace_back();
    found.rule = rule.name;
    found.kind = rule.kind;
    found.action = rule.action;
    found.warn = rule.warn;
    found.limit = rule.limit;
    explain(found, index, entry, freshness);
  }
  return all;
}

}  // namespace

std::unique_ptr<RuleEngine> RuleEngine::compile(const std::vector<config::Rule>& rules,
                                                const config::Protect& protect,
                                                std::vector<config::Diagnostic>& diagnostics,
                                                VerdictIds ids, Duration evidence_max_age) {
  const std::size_t before = diagnostics.size();
  auto engine = std::make_unique<CompiledRules>(rules, protect, diagnostics, ids, evidence_max_age);
  if (diagnostics.size() != before) return nullptr;
  return engine;
}

}  // namespace pgleash::watchdog
