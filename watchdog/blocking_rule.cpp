#include "watchdog/blocking_rule.hpp"

#include <algorithm>
#include <iterator>
#include <optional>

namespace pgleash::watchdog {

using config::Action;
using config::Victim;
using protocol::SessionState;

namespace {

/// A root that waited for its client for less than this part of the limit is between two
/// statements, not idle.
constexpr int idle_part = 10;

bool waits_for_client(SessionState state) noexcept {
  switch (state) {
    case SessionState::idle:
    case SessionState::idle_in_transaction:
    case SessionState::aborted:
    case SessionState::pipeline_flushed:
    case SessionState::pipeline_failed:
      return true;
    default:
      return false;
  }
}

bool has_a_statement(SessionState state) noexcept {
  return state == SessionState::busy || state == SessionState::fastpath ||
         state == SessionState::copy_out || state == SessionState::pipeline_open;
}

class Judge {
 public:
  Judge(const config::Rule& rule, const Snapshot& snapshot,
        const std::function<bool(const SessionEntry&)>& may_end)
      : rule_(rule), snapshot_(snapshot), may_end_(may_end) {}

  BlockingFindings judge() {
    std::ranges::transform(forest().roots, std::back_inserter(can_be_ended_),
                           [this](const BlockingRoot& root) { return find_endable(root); });
    for (const BlockingRoot& root : forest().roots) {
      if (root.blocked.size() < rule_.blocked_at_least) continue;
      const Duration age = root.blocked[rule_.blocked_at_least - 1].because_of_it;
      if (age > threshold()) judge(root, age);
    }
    return std::move(found_);
  }

 private:
  [[nodiscard]] const BlockingForest& forest() const noexcept { return snapshot_.blocking; }
  /// The lower of both.
  [[nodiscard]] Duration threshold() const noexcept {
    const auto limit = rule_.limit.value_or(config::Duration::max());
    return std::min(limit, rule_.warn.value_or(limit));
  }

  /// Whether the session did, before the sample, what it does now: else the sample tells of another
  /// transaction.
  [[nodiscard]] bool same_as_sampled(const SessionEntry& entry) const noexcept {
    const auto& facts = entry.view.facts;
    const Instant since =
        facts.state == SessionState::idle ? facts.state_since : facts.transaction_since;
    return since < *forest().taken;
  }

  [[nodiscard]] bool idle(const SessionEntry& entry) const noexcept {
    const auto& facts = entry.view.facts;
    const Instant since = facts.half_message ? std::max(facts.state_since, facts.last_frontend_byte)
                                             : facts.state_since;
    return waits_for_client(facts.state) && since < *forest().taken &&
           snapshot_.now - since >= Duration{threshold()} / idle_part;
  }

  [[nodiscard]] const SessionEntry* session(const BlockingRoot& root) const noexcept {
    return root.session ? &snapshot_.sessions[*root.session] : nullptr;
  }
  [[nodiscard]] bool find_endable(const BlockingRoot& root) const {
    const SessionEntry* entry = session(root);
    return entry && same_as_sampled(*entry) && idle(*entry) && !in_others_name(*entry) &&
           may_end_(*entry);
  }
  /// Idle itself, while others work with its snapshot: pg_dump's leader, a base backup.
  [[nodiscard]] static bool in_others_name(const SessionEntry& entry) noexcept {
    const auto& facts = entry.view.facts;
    return facts.dump_transaction || facts.exported_snapshot || facts.backup_running;
  }

  /// For how long it has been that `blocked_at_least` wait for roots which can all be ended; that
  /// ends their waiting, while to end one of two holders ends nothing.
  [[nodiscard]] std::optional<Duration> freed_by_ending(const BlockingRoot& root) const {
    std::size_t freed = 0;
    for (const auto& blocked : root.blocked) {
      const bool all = std::ranges::all_of(forest().waits[blocked.wait].roots,
                                           [&](std::size_t one) { return can_be_ended_[one]; });
      if (all && ++freed == rule_.blocked_at_least) return blocked.because_of_it;
    }
    return std::nullopt;
  }

  void judge(const BlockingRoot& root, Duration age) {
    switch (rule_.victim) {
      case Victim::automatic:
        if (end_idle(root) || cancel_head(root, age)) return;
        break;
      case Victim::root:
        if (end_root(root, age)) return;
        break;
      case Victim::queue_head:
        if (cancel_head(root, age)) return;
        break;
      case Victim::none:
        break;
    }
    report(root, age);
  }

  bool end_idle(const BlockingRoot& root) {
    if (!can_be_ended_[static_cast<std::size_t>(&root - forest().roots.data())]) return false;
    const auto age = freed_by_ending(root);
    if (!age || *age <= threshold()) return false;
    add(*root.session, *age, Action::terminate, root);
    return true;
  }

  bool end_root(const BlockingRoot& root, Duration age) {
    const SessionEntry* entry = session(root);
    if (!entry || !same_as_sampled(*entry)) return false;
    if (idle(*entry)) {
      add(*root.session, age, Action::terminate, root);
      return true;
    }
    if (!has_a_statement(entry->view.facts.state)) return false;
    // Its locks go with the transaction, which the cancel ends.
    add(*root.session, age, cancelling(), root);
    return true;
  }

  bool cancel_head(const BlockingRoot& root, Duration age) {
    if (!root.head || root.behind_head.size() + 1 < rule_.blocked_at_least) return false;
    const BlockedSession& head = forest().waits[*root.head];
    if (!head.session) return false;
    const SessionEntry& entry = snapshot_.sessions[*head.session];
    const auto& facts = entry.view.facts;
    // The statement that was seen waiting, and not one that came later.
    const bool waits_on =
        has_a_statement(facts.state) && facts.request_since + head.waited <= *forest().taken;
    if (!waits_on || !may_end_(entry)) return false;
    Finding finding;
    finding.session = *head.session;
    finding.age = age;
    finding.action = cancelling();
    finding.counter = proxy::JudgedCounter::request;
    finding.others = static_cast<std::uint32_t>(root.behind_head.size());
    add(finding);
    return true;
  }

  [[nodiscard]] Action cancelling() const noexcept {
    return rule_.action == Action::escalate ? Action::escalate : Action::cancel;
  }

  void report(const BlockingRoot& root, Duration age) {
    if (const SessionEntry* entry = session(root)) {
      if (!same_as_sampled(*entry)) return;
      // What exempts it is worth a word; it is asked about with what would be done to it.
      const bool spared = rule_.victim == Victim::automatic && idle(*entry) && !may_end_(*entry);
      add(*root.session, age, spared ? Action::terminate : Action::observe, root);
      return;
    }
    found_.reports.push_back({rule_.name, root, root.blocked.size(), age});
  }

  void add(std::size_t index, Duration age, Action action, const BlockingRoot& root) {
    Finding finding;
    finding.session = index;
    finding.age = age;
    finding.action = action;
    finding.counter = proxy::JudgedCounter::transaction;
    finding.waits_for_client = action == Action::terminate;
    finding.others = static_cast<std::uint32_t>(root.blocked.size());
    add(finding);
  }
  void add(Finding finding) {
    if (rule_.action == Action::observe) finding.action = Action::observe;
    const auto known = std::ranges::find(found_.sessions, finding.session, &Finding::session);
    if (known == found_.sessions.end()) {
      found_.sessions.push_back(finding);
    } else {
      known->age = std::max(known->age, finding.age);  // the head of more than one root's queue
    }
  }

  const config::Rule& rule_;
  const Snapshot& snapshot_;
  const std::function<bool(const SessionEntry&)>& may_end_;
  std::vector<bool> can_be_ended_;  ///< of each root, by victim `auto`
  BlockingFindings found_;
};

}  // namespace

BlockingFindings blocking_findings(const config::Rule& rule, const Snapshot& snapshot,
                                   Duration max_age,
                                   const std::function<bool(const SessionEntry&)>& may_end) {
  const auto& taken = snapshot.blocking.taken;
  if (!taken || snapshot.now - *taken > max_age) return {};
  return Judge{rule, snapshot, may_end}.judge();
}

}  // namespace pgleash::watchdog
