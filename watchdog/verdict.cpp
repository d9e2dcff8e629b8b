#include "watchdog/verdict.hpp"

#include "config/measure.hpp"
namespace pgleash::watchdog {

using config::Action;
using config::RuleKind;
using proxy::JudgedCounter;

VerdictId VerdictIds::next() {
  // 80 bits: the seed above a count of 16 bits, whose carry goes into the seed.
  constexpr std::string_view digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
  const std::uint64_t high = seed_ + (count_ >> 16U);
  const std::uint64_t low = count_ & 0xFFFFU;
  ++count_;

  VerdictId id{std::string(16, '0')};
  for (unsigned place = 0; place < 16; ++place) {
    const unsigned shift = 75 - 5 * place;
    const std::uint64_t bits = shift >= 16  ? high >> (shift - 16)
                               : shift > 11 ? (high << (16 - shift)) | (low >> shift)
                                            : low >> shift;
    id.text[place] = digits[bits & 31U];
  }
  return id;
}

std::string_view name(Outcome outcome) noexcept {
  switch (outcome) {
    case Outcome::observed:
      return "observed";
    case Outcome::exempted:
      return "exempted";
    case Outcome::deferred:
      return "deferred";
    case Outcome::fused:
      return "fused";
    case Outcome::recovered:
      return "recovered";
    case Outcome::confirmed:
      return "confirmed";
    case Outcome::already_gone:
      return "already_gone";
    case Outcome::survived:
      return "survived";
    case Outcome::unverified:
      return "unverified";
    case Outcome::denied:
      return "denied";
    case Outcome::error:
      break;
  }
  return "error";
}

std::string_view name(Exemption exemption) noexcept {
  switch (exemption) {
    case Exemption::none:
      return "none";
    case Exemption::replication:
      return "replication";
    case Exemption::superuser:
      return "superuser";
    case Exemption::listening:
      return "listening";
    case Exemption::advisory_lock:
      return "advisory_lock";
    case Exemption::dump:
      return "dump";
    case Exemption::exported_snapshot:
      return "exported_snapshot";
    case Exemption::backup:
      return "backup";
    case Exemption::copy_moving:
      return "copy_moving";
    case Exemption::commit:
      return "commit";
    case Exemption::sync_replication:
      return "sync_replication";
    case Exemption::protected_user:
      return "protected_user";
    case Exemption::protected_client:
      return "protected_client";
    case Exemption::protected_entry:
      return "protected_entry";
    case Exemption::marker:
      return "marker";
    case Exemption::pooler:
      return "pooler";
    case Exemption::by_hand:
      return "by_hand";
    case Exemption::unknown:
      break;
  }
  return "unknown";
}

std::string_view name(Target target) noexcept {
  switch (target) {
    case Target::session:
      return "session";
    case Target::opaque:
      return "opaque";
    case Target::direct:
      return "direct";
    case Target::orphan:
      break;
  }
  return "orphan";
}

std::string_view kind_name(const Verdict& verdict) noexcept {
  if (!verdict.actor.empty()) return manual_rule;
  return verdict.target == Target::orphan ? orphan_rule : config::name(verdict.kind);
}

JudgedCounter judged_counter(RuleKind kind) noexcept {
  if (config::is_cost(kind)) return JudgedCounter::request;
  switch (kind) {
    case RuleKind::idle:
    case RuleKind::idle_in_transaction:
    case RuleKind::aborted:
    case RuleKind::held:
    case RuleKind::stalled:
    case RuleKind::leak:
      return JudgedCounter::state;
    case RuleKind::statement:
    case RuleKind::group:
      return JudgedCounter::request;
    case RuleKind::transaction_age:
    case RuleKind::blocking:
      return JudgedCounter::transaction;
    case RuleKind::session_age:
      return JudgedCounter::session;
    default:
      return JudgedCounter::state;  // the strictest
  }
}

namespace {

/// An open pipeline has an open transaction even while the last ReadyForQuery said I.
bool holds_transaction(const protocol::SessionFacts& facts) noexcept {
  return facts.transaction != protocol::TransactionStatus::idle ||
         facts.state == protocol::SessionState::pipeline_open ||
         facts.state == protocol::SessionState::pipeline_flushed;
}

/// What idle_in_transaction_session_timeout would see.
bool waits_in_transaction(const protocol::SessionFacts& facts) noexcept {
  switch (facts.state) {
    case protocol::SessionState::idle_in_transaction:
    case protocol::SessionState::aborted:
    case protocol::SessionState::pipeline_flushed:
      return true;
    case protocol::SessionState::pipeline_failed:
      return facts.transaction != protocol::TransactionStatus::idle;
    default:
      return false;
  }
}

}  // namespace

std::string_view native_sqlstate(RuleKind kind, Action action,
                                 const protocol::SessionFacts& facts) noexcept {
  if (action == Action::cancel) return "57014";
  switch (kind) {
    case RuleKind::idle_in_transaction:
    case RuleKind::aborted:
      return "25P03";
    case RuleKind::held:
      return holds_transaction(facts) ? "25P03" : "57P05";
    case RuleKind::stalled:
      return "08006";
    case RuleKind::blocking:
      return waits_in_transaction(facts) ? "25P03" : "57P05";
    case RuleKind::transaction_age:
      return "25P04";
    case RuleKind::idle:
    case RuleKind::statement:
    case RuleKind::group:
    case RuleKind::session_age:
    case RuleKind::leak:
    default:  // the kinds of cost: as statement
      break;
  }
  return "57P05";
}

}  // namespace pgleash::watchdog
