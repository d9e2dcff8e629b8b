#include "watchdog/by_hand.hpp"

#include <algorithm>
#include <utility>

namespace pgleash::watchdog {
namespace {

using config::RuleKind;
using protocol::SessionState;

/// The kind of rule that would have ended it: for the code that its client gets.
RuleKind kind_of(const SessionEntry& entry) noexcept {
  switch (entry.view.facts.state) {
    case SessionState::idle:
    case SessionState::starting:
    case SessionState::closing:
      return RuleKind::idle;
    case SessionState::idle_in_transaction:
      return RuleKind::idle_in_transaction;
    case SessionState::aborted:
      return RuleKind::aborted;
    case SessionState::copy_in:
    case SessionState::pipeline_flushed:
    case SessionState::pipeline_failed:
      return RuleKind::held;
    default:
      return RuleKind::statement;
  }
}

}  // namespace

std::string out_of_reach(const SessionEntry& entry, const config::Protect& protect) {
  if (entry.view.who->replication) return "a replication connection is never a target";
  if (protect.superusers && entry.superuser)
    return "a superuser's session is out of reach ([protect] superusers)";
  return {};
}

Verdict verdict_of(HandOrder order, VerdictId id, Instant now) {
  Verdict verdict;
  verdict.id = std::move(id);
  verdict.rule = manual_rule;
  verdict.kind = kind_of(order.entry);
  verdict.action = order.action == proxy::KillAction::cancel ? config::Action::cancel
                                                             : config::Action::terminate;
  verdict.counter = order.counter;
  verdict.mark = order.entry.view.facts.mark;
  verdict.measured = std::max(Duration::zero(), now - order.entry.view.facts.state_since);
  verdict.grace = std::chrono::seconds{5};
  verdict.sqlstate =
      native_sqlstate(verdict.kind, config::Action::terminate, order.entry.view.facts);
  verdict.target = order.target;
  verdict.actor = std::move(order.actor);
  verdict.session = std::move(order.entry);
  return verdict;
}

}  // namespace pgleash::watchdog
