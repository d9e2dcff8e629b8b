#include "watchdog/brake.hpp"

#include <algorithm>
#include <chrono>
#include <unordered_map>

namespace pgleash::watchdog {

namespace {

Decision because(Permission permission, std::string why = {}) {
  return {permission, std::move(why)};
}

const std::string& application_of(const Verdict& verdict) noexcept {
  return verdict.session.view.who->application;
}

/// Whether it may speak against its rule. Orphans are found one by one in a journal, not by a rule:
/// after a crash there are as many as there were sessions.
bool tells_of_a_rule(const Verdict& verdict) noexcept {
  return verdict.target != Target::orphan;
}

/// The session does what it did when it was judged.
bool goes_on(const Verdict& verdict, const SessionEntry& now) noexcept {
  return proxy::same_activity(verdict.counter, verdict.mark, now.view.facts.mark) &&
         (verdict.kind != config::RuleKind::stalled ||
          verdict.session.view.stalled_since == now.view.stalled_since);
}

}  // namespace

std::string_view name(HoldReason reason) noexcept {
  switch (reason) {
    case HoldReason::start:
      return "start";
    case HoldReason::reload:
      return "reload";
    case HoldReason::failover:
      break;
  }
  return "failover";
}

Brake::Brake(Instant started, const config::Enforcement& enforcement) : enforcement_(enforcement) {
  pace_.configure(enforcement.pace);
  fuses_.configure(enforcement.fuse);
  hold(HoldReason::start, enforcement.hold_after_start, started);
}

void Brake::hold(HoldReason reason, Duration length, Instant now) noexcept {
  if (length <= Duration::zero() || now + length <= hold_until_) return;
  hold_reason_ = reason;
  hold_until_ = now + length;
}

std::optional<HoldReason> Brake::held(Instant now) const noexcept {
  return now < hold_until_ ? std::optional{hold_reason_} : std::nullopt;
}

Duration Brake::hold_left(Instant now) const noexcept {
  return std::max(hold_until_ - now, Duration{});
}

void Brake::resume() {
  paused_ = false;
  reset_fuses();
}

void Brake::reset_fuses() {
  count_all_ = true;
  fuses_.reset_by_hand();
}

bool Brake::locked(const Verdict& verdict) const noexcept {
  return enforcement_.mode != config::Mode::enforce || verdict.action == config::Action::observe;
}

// ---------------------------------------------------------------- a tick

std::vector<Verdict> Brake::release(const Snapshot& snapshot) {
  // Whose turn it was, and who was not judged again: what they took of the pace is free.
  for (const auto& [turn, application] : turns_) pace_.give_back(turn.second, application);
  turns_.clear();
  pace_.forget_full(snapshot.now);
  std::vector<Verdict> released;
  if (waiting_.empty()) return released;

  std::unordered_map<std::uint64_t, const SessionEntry*> sessions;
  for (const SessionEntry& entry : snapshot.sessions)
    sessions.emplace(proxy::number(entry.view.id), &entry);
  std::vector<Waiter> waiting;
  for (Waiter& waiter : waiting_) {
    const auto found = sessions.find(proxy::number(waiter.verdict.session.view.id));
    if (found == sessions.end()) continue;
    if (!goes_on(waiter.verdict, *found->second)) {
      fuses_.came_back(waiter.verdict, snapshot.now);
      continue;
    }
    if (may_go(waiter, snapshot.now)) {
      released.push_back(std::move(waiter.verdict));
    } else {
      waiting.push_back(std::move(waiter));
    }
  }
  waiting_ = std::move(waiting);
  return released;
}

bool Brake::may_go(const Waiter& waiter, Instant now) {
  const Verdict& verdict = waiter.verdict;
  if (locked(verdict)) return true;
  if (held(now) || paused_ || fuses_.holds(verdict.rule, application_of(verdict))) return false;
  if (pace_.take(verdict.rule, application_of(verdict), now)) return false;
  turns_.emplace(Turn{proxy::number(verdict.session.view.id), verdict.rule},
                 application_of(verdict));
  return true;
}

std::vector<OpenFuse> Brake::weigh(const std::vector<Verdict>& verdicts, const Snapshot& snapshot) {
  if (held(snapshot.now) || paused_) {
    count_all_ = true;
  } else {
    count_the_waiting(snapshot.now);
    for (const Verdict& verdict : verdicts) {
      if (verdict.exemption != Exemption::none || locked(verdict) || !tells_of_a_rule(verdict))
        continue;
      fuses_.wanted(verdict, rehearsed(verdict, snapshot.now), snapshot.now);
    }
  }
  if (!rehearsing(snapshot.now)) rehearsed_.clear();
  if (!fuses_.changed()) return {};
  return fuses_.weigh(Census::of(snapshot), snapshot.now);
}

bool Brake::rehearsed(const Verdict& verdict, Instant now) const {
  return !rehearsing(now) || rehearsed_.contains(verdict.session.view.id);
}

/// Who waits is wanted as much as who was found in this tick: all of them when a hold-off, a pause
/// or a fuse is over, lest a sweep trickle through the pace.
void Brake::count_the_waiting(Instant now) {
  constexpr Duration often_enough = std::chrono::minutes{1};
  if (fuses_.close_due(now)) count_all_ = true;
  if (!std::exchange(count_all_, false) && now - counted_ < often_enough) return;
  counted_ = now;
  for (const Waiter& waiter : waiting_)
    if (!locked(waiter.verdict) && tells_of_a_rule(waiter.verdict))
      fuses_.wanted(waiter.verdict, rehearsed(waiter.verdict, now), now);
}

Decision Brake::decide(const Verdict& verdict, Instant now) {
  const Turn turn{proxy::number(verdict.session.view.id), verdict.rule};
  const auto stays = [&](Permission permission, std::string why) {
    if (turns_.erase(turn) > 0) pace_.give_back(verdict.rule, application_of(verdict));
    if (permission == Permission::defer || permission == Permission::fuse) wait(verdict, now);
    return because(permission, std::move(why));
  };
  if (verdict.exemption != Exemption::none) return stays(Permission::exempt, {});
  if (locked(verdict)) return stays(Permission::observe, {});
  if (const auto reason = held(now))
    return stays(Permission::defer, "held off after " + std::string{name(*reason)});
  if (paused_) return stays(Permission::defer, "enforcement is paused");
  if (const OpenFuse* fuse = fuses_.holds(verdict.rule, application_of(verdict)))
    return stays(Permission::fuse, fuse->why);
  if (turns_.erase(turn) > 0) return because(Permission::act);
  if (const auto scope = pace_.take(verdict.rule, application_of(verdict), now)) {
    ++deferred_[static_cast<std::size_t>(*scope)];
    return stays(Permission::defer, "pace: " + std::string{name(*scope)});
  }
  return because(Permission::act);
}

void Brake::wait(const Verdict& verdict, Instant now) {
  Waiter waiter{verdict, now - verdict.measured};
  // Thousands may wait, and none of this is asked for again.
  waiter.verdict.session.row.reset();
  waiter.verdict.hint.clear();
  const auto behind =
      std::upper_bound(waiting_.begin(), waiting_.end(), waiter.since,
                       [](Instant since, const Waiter& other) { return since < other.since; });
  waiting_.insert(behind, std::move(waiter));
}

void Brake::finished(const Verdict& verdict, Outcome outcome, Instant now) {
  switch (outcome) {
    case Outcome::recovered:
      fuses_.came_back(verdict, now);
      return;
    case Outcome::confirmed:
    case Outcome::unverified:
      fuses_.ended(verdict, now);
      return;
    case Outcome::survived:
      fuses_.survived(verdict, now);
      return;
    default:
      return;  // nobody was touched, or it was gone before
  }
}

// ---------------------------------------------------------------- changes

void Brake::reload(const config::Enforcement& enforcement, const std::vector<std::string>& changed,
                   bool judges_otherwise, Instant now) {
  enforcement_ = enforcement;
  pace_.configure(enforcement.pace);
  fuses_.configure(enforcement.fuse);
  for (const std::string& rule : changed) {
    fuses_.forget_rule(rule);
    std::erase_if(waiting_, [&](const Waiter& waiter) { return waiter.verdict.rule == rule; });
  }
  if (!judges_otherwise) return;
  hold(HoldReason::reload, enforcement.hold_after_reload, now);
  rehearsed_.clear();
  // The first acts, and with them the evidence, come behind the hold-off.
  rehearsing_until_ = std::max(now, hold_until_) + FuseBox::window;
}

std::vector<Verdict> Brake::fail_over(Instant now) {
  hold(HoldReason::failover, enforcement_.hold_after_failover, now);
  fuses_.forget_evidence();
  std::vector<Verdict> dropped;
  for (Waiter& waiter : std::exchange(waiting_, {})) dropped.push_back(std::move(waiter.verdict));
  return dropped;
}

BrakeStatus Brake::status(Instant now) const {
  BrakeStatus status;
  status.paused = paused_;
  status.held = held(now);
  status.waiting = waiting_.size();
  status.open_fuses = fuses_.open();
  for (std::size_t kind = 0; kind < fuse_kinds; ++kind)
    for (std::size_t scope = 0; scope < fuse_scopes; ++scope)
      status.fuse_trips[kind][scope] =
          fuses_.trips(static_cast<FuseKind>(kind), static_cast<FuseScope>(scope));
  status.deferred = deferred_;
  status.manual_kills = manual_kills_;
  return status;
}

}  // namespace pgleash::watchdog
