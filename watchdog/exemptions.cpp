#include "watchdog/exemptions.hpp"

#include "config/measure.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>

namespace pgleash::watchdog {

using config::RuleKind;
using protocol::SessionState;
using protocol::TransactionStatus;

namespace {

/// A COPY moves while it brought a byte either way within this time.
constexpr Duration copy_pause = std::chrono::seconds{10};

enum class RuleClass : std::uint8_t { idle, transaction, statement, held };

RuleClass class_of(RuleKind kind) noexcept {
  if (config::is_cost(kind)) return RuleClass::statement;
  switch (kind) {
    case RuleKind::idle:
    case RuleKind::session_age:
    case RuleKind::leak:
      return RuleClass::idle;
    case RuleKind::idle_in_transaction:
    case RuleKind::aborted:
    case RuleKind::transaction_age:
      return RuleClass::transaction;
    case RuleKind::statement:
    case RuleKind::group:
      return RuleClass::statement;
    case RuleKind::held:
    case RuleKind::stalled:
    case RuleKind::blocking:
    default:
      break;
  }
  return RuleClass::held;
}

bool moves(const protocol::SessionFacts& facts, Instant now) noexcept {
  return now - std::max(facts.last_frontend_byte, facts.last_backend_byte) <= copy_pause;
}

/// Whether the server may be at work, and not surely waiting for the client.
bool server_may_work(SessionState state) noexcept {
  return state == SessionState::busy || state == SessionState::fastpath ||
         state == SessionState::copy_out || state == SessionState::pipeline_open;
}

/// It may end in a commit that nobody asked for by name, and that would wait for a standby.
bool may_wait_for_standby(const SessionEntry& entry, const Freshness& freshness) noexcept {
  const auto& facts = entry.view.facts;
  if (!server_may_work(facts.state) || facts.transaction != TransactionStatus::idle) return false;
  if (!freshness.monitor_configured) return false;
  // A server where nobody waits for standbys is not asked about each session: of one that it had
  // before it was looked at, this is known, also while the monitor finds no slot.
  const bool nobody_waits = !freshness.synchronous_replication && freshness.sampled &&
                            entry.view.who->connected < *freshness.sampled;
  return !nobody_waits;
}

/// Only a commit waits for synchronous replication; one that nobody asked for by name ends a
/// statement outside of a transaction, and only the server can tell it from the statement's work.
Answer waits_for_replication(const SessionEntry& entry, const Freshness& freshness) noexcept {
  const auto& facts = entry.view.facts;
  if (!server_may_work(facts.state)) return Answer::no;
  if (const ActivityRow* row = freshness.active_row(entry, facts.request_since)) {
    return row->wait_event == "SyncRep" ? Answer::yes : Answer::no;
  }
  return may_wait_for_standby(entry, freshness) ? Answer::unknown : Answer::no;
}

void skip_blanks_and_comments(std::string_view& text) noexcept {
  for (;;) {
    const auto solid = text.find_first_not_of(" \t\r\n\f\v;(");
    text.remove_prefix(std::min(solid, text.size()));
    if (text.starts_with("--")) {
      text.remove_prefix(std::min(text.find('\n'), text.size()));
    } else if (text.starts_with("/*")) {
      // Nested comments count, as in PostgreSQL.
      std::size_t depth = 0;
      do {
        if (text.starts_with("/*")) {
          ++depth;
          text.remove_prefix(2);
        } else if (text.starts_with("*/")) {
          --depth;
          text.remove_prefix(2);
        } else if (!text.empty()) {
          text.remove_prefix(1);
        }
      } while (depth > 0 && !text.empty());
    } else {
      return;
    }
  }
}

std::string next_word(std::string_view& text) {
  skip_blanks_and_comments(text);
  std::string word;
  while (!text.empty() && std::isalpha(static_cast<unsigned char>(text.front())) != 0) {
    word += static_cast<char>(std::toupper(static_cast<unsigned char>(text.front())));
    text.remove_prefix(1);
  }
  return word;
}

template <std::size_t N>
bool one_of(std::string_view word, const std::array<std::string_view, N>& words) noexcept {
  return std::find(words.begin(), words.end(), word) != words.end();
}

Answer maintenance_by_keyword(std::string_view query) {
  constexpr std::array<std::string_view, 8> meant_to_run_long{
      "VACUUM", "ANALYZE", "ANALYSE", "REINDEX", "CLUSTER", "REFRESH", "ALTER", "COPY"};
  // What follows these is what runs, and it may be beyond the 256 bytes of a row.
  constexpr std::array<std::string_view, 8> preludes{"BEGIN",  "START", "SET",     "RESET",
                                                     "COMMIT", "END",   "DISCARD", "SAVEPOINT"};
  std::string word = next_word(query);
  if (word == "CREATE") {
    word = next_word(query);
    if (word == "UNIQUE") word = next_word(query);
    if (word.empty()) return Answer::unknown;
    return word == "INDEX" ? Answer::yes : Answer::no;
  }
  if (word.empty() || one_of(word, preludes)) return Answer::unknown;
  return word == "CALL" || one_of(word, meant_to_run_long) ? Answer::yes : Answer::no;
}

}  // namespace

Protection::Protection(const config::Protect& protect, std::vector<config::Diagnostic>& diagnostics)
    : clients_(protect.clients), superusers_(protect.superusers), marker_max_(protect.marker_max) {
  for (const auto& user : protect.users) users_.add(user.text, user.position, diagnostics);
  for (const auto& user : protect.marker_users)
    marker_users_.add(user.text, user.position, diagnostics);
  for (const auto& entry : protect.entries) {
    Entry& compiled = entries_.emplace_back();
    compiled.application.add(entry.application, entry.position, diagnostics);
    for (const auto& user : entry.users) compiled.users.add(user, entry.position, diagnostics);
  }
}

bool Protection::entry(const proxy::SessionIdentity& who) const {
  return std::any_of(entries_.begin(), entries_.end(), [&](const Entry& entry) {
    return entry.application.match(who.application) && entry.users.match(who.user);
  });
}

Freshness Freshness::of(const Snapshot& snapshot, Duration max_age) noexcept {
  Freshness freshness{snapshot.now,
                      snapshot.monitor_configured,
                      snapshot.monitor_up,
                      std::nullopt,
                      snapshot.advisory_taken,
                      max_age,
                      snapshot.synchronous_replication};
  if (snapshot.sample_age) freshness.sampled = snapshot.now - *snapshot.sample_age;
  return freshness;
}

const ActivityRow* Freshness::active_row(const SessionEntry& entry, Instant since) const noexcept {
  if (!entry.row || !sampled || *sampled < since || now - *sampled > max_age) return nullptr;
  // Ours says active, PostgreSQL says idle: the row is of another moment.
  if (entry.row->state.starts_with("idle")) return nullptr;
  return &*entry.row;
}

Answer holds_advisory_lock(RuleKind kind, const SessionEntry& entry, const Freshness& freshness) {
  if (!freshness.monitor_configured) return Answer::no;
  // Of a session's age the last of many idle moments is judged, and few are longer than the time
  // between two answers.
  const Instant since =
      kind == RuleKind::session_age ? entry.view.who->connected : entry.view.facts.state_since;
  const auto& asked = freshness.advisory;
  const bool tells =
      asked && entry.backend && *asked >= since && freshness.now - *asked <= freshness.max_age;
  if (!tells) return Answer::unknown;
  return entry.advisory_lock ? Answer::yes : Answer::no;
}

bool waits_for_advisory_answer(RuleKind kind, const SessionEntry& entry,
                               const Freshness& freshness) {
  const bool will_be_known =
      freshness.monitor_up && (entry.backend || entry.mapping == Mapping::in_band);
  return will_be_known && !entry.view.facts.listening && !entry.view.facts.backup_running &&
         holds_advisory_lock(kind, entry, freshness) == Answer::unknown;
}

Answer maintenance(const SessionEntry& entry, const Freshness& freshness) {
  const auto& facts = entry.view.facts;
  if (facts.statement.maintenance) return Answer::yes;
  if (!facts.statement.unknown) return Answer::no;
  const ActivityRow* row = freshness.active_row(entry, facts.request_since);
  return row ? maintenance_by_keyword(row->query) : Answer::unknown;
}

bool may_commit_meanwhile(RuleKind kind, const SessionEntry& entry,
                          const Freshness& freshness) noexcept {
  return class_of(kind) != RuleClass::idle && may_wait_for_standby(entry, freshness);
}

Exemption exemption(RuleKind kind, const SessionEntry& entry, const Protection& protection,
                    const Freshness& freshness) {
  const auto& facts = entry.view.facts;
  const auto& who = *entry.view.who;

  if (who.replication || facts.state == SessionState::copy_both) return Exemption::replication;
  if (protection.superusers() && entry.superuser) return Exemption::superuser;
  if (protection.user(who)) return Exemption::protected_user;
  if (protection.client(who)) return Exemption::protected_client;
  if (protection.entry(who)) return Exemption::protected_entry;
  if (facts.marked && protection.marker(who, freshness.now - facts.transaction_since))
    return Exemption::marker;

  const RuleClass rule_class = class_of(kind);
  // The one that has to stay there, idle, while others copy files.
  if (facts.backup_running && rule_class != RuleClass::held) return Exemption::backup;
  if (rule_class == RuleClass::idle) {
    if (who.pooler) return Exemption::pooler;  // its stock
    if (facts.listening) return Exemption::listening;
    switch (holds_advisory_lock(kind, entry, freshness)) {
      case Answer::yes:
        return Exemption::advisory_lock;
      case Answer::unknown:
        return Exemption::unknown;
      case Answer::no:
        break;
    }
    return Exemption::none;
  }

  if (facts.commit_outstanding) return Exemption::commit;
  const Answer replication = waits_for_replication(entry, freshness);
  if (replication == Answer::yes) return Exemption::sync_replication;

  const bool judges_transaction =
      rule_class == RuleClass::transaction || rule_class == RuleClass::statement;
  if (facts.exported_snapshot && judges_transaction) return Exemption::exported_snapshot;
  const bool copy_out_moves = facts.state == SessionState::copy_out && moves(facts, freshness.now);
  const bool copy_in_moves = facts.state == SessionState::copy_in && moves(facts, freshness.now);
  if (rule_class == RuleClass::transaction && (facts.dump_transaction || copy_out_moves)) {
    return Exemption::dump;
  }
  if (rule_class == RuleClass::statement) {
    if (facts.dump_transaction) return Exemption::dump;
    if (copy_out_moves || copy_in_moves) return Exemption::copy_moving;
    if (maintenance(entry, freshness) == Answer::unknown) return Exemption::unknown;
  }
  return replication == Answer::unknown ? Exemption::unknown : Exemption::none;
}

}  // namespace pgleash::watchdog
