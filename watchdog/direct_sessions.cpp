#include "watchdog/direct_sessions.hpp"

#include "watchdog/own_connections.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <memory>
#include <string>
#include <string_view>

namespace pgleash::watchdog {

using config::RuleKind;
using protocol::SessionState;
using protocol::TransactionStatus;

namespace {

/// A name exempts nobody, but what calls itself so may hold an exported snapshot, which no view
/// shows: unknown counts as exempt.
constexpr std::array<std::string_view, 3> dumpers{"pg_dump", "pg_dumpall", "pg_restore"};

std::string first_word(std::string_view text) {
  std::string word;
  const auto start = text.find_first_not_of(" \t\r\n\f\v(");
  if (start == std::string_view::npos) return word;
  for (const char c : text.substr(start)) {
    if (std::isalpha(static_cast<unsigned char>(c)) == 0) break;
    word += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return word;
}

SessionState state_of(const ActivityRow& row) noexcept {
  if (row.state == "idle") return SessionState::idle;
  if (row.state == "idle in transaction") return SessionState::idle_in_transaction;
  if (row.state == "idle in transaction (aborted)") return SessionState::aborted;
  if (row.state == "active") return SessionState::busy;
  if (row.state == "fastpath function call") return SessionState::fastpath;
  return SessionState::starting;  // hidden, or track_activities is off: not judged
}

std::uint32_t folded(std::int64_t number) noexcept {
  const auto bits = static_cast<std::uint64_t>(number);
  return static_cast<std::uint32_t>(bits ^ (bits >> 32U));
}

/// Unlike any id of ours, whose upper 16 bits are a worker's number.
proxy::SessionId id_of(const BackendId& backend) noexcept {
  const auto start = static_cast<std::uint64_t>(backend.backend_start.microseconds);
  const auto pid = static_cast<std::uint64_t>(static_cast<std::uint32_t>(backend.pid));
  return proxy::SessionId{(std::uint64_t{1} << 63U) | ((start << 22U) ^ pid)};
}

bool is_own(const ActivityRow& row, const config::Monitor& monitor) noexcept {
  return row.user == monitor.user || row.database == monitor.database;
}

}  // namespace

bool commits(std::string_view statement) noexcept {
  // A semicolon inside a literal only makes for another look.
  for (;;) {
    const std::string word = first_word(statement);
    if (word == "COMMIT" || word == "END" || word == "PREPARE") return true;
    const auto next = statement.find(';');
    if (next == std::string_view::npos) return false;
    statement.remove_prefix(next + 1);
  }
}

SessionEntry entry_of(const SharedRow& shown, Instant taken) {
  const ActivityRow& row = *shown;
  SessionEntry entry;
  proxy::SessionIdentity who;
  who.user = row.user;
  who.database = row.database;
  who.application = who.application_name = row.application_name;
  who.client = {row.client_addr, row.client_port};
  who.pid = row.backend.pid;
  who.connected = taken - row.backend_age;
  entry.view.who = std::make_shared<const proxy::SessionIdentity>(std::move(who));

  protocol::SessionFacts& facts = entry.view.facts;
  facts.state = state_of(row);
  facts.state_since = taken - row.state_age;
  facts.last_frontend_byte = facts.last_backend_byte = facts.state_since;
  facts.request_since = taken - row.query_age;
  if (row.transaction_age) facts.transaction_since = taken - *row.transaction_age;
  const bool works = facts.state == SessionState::busy || facts.state == SessionState::fastpath;
  facts.outstanding = works ? 1 : 0;
  if (facts.state == SessionState::aborted) {
    facts.transaction = TransactionStatus::failed;
  } else if (facts.state == SessionState::idle_in_transaction) {
    facts.transaction = TransactionStatus::in_transaction;
  }
  facts.statement.unknown = works;
  facts.commit_outstanding = works && commits(row.query);
  facts.dump_transaction =
      std::find(dumpers.begin(), dumpers.end(), row.application_name) != dumpers.end();
  facts.mark = {folded(row.state_change.microseconds), folded(row.query_start.microseconds),
                folded(row.xact_start.value_or(ServerTime{}).microseconds)};
  entry.view.id = id_of(row.backend);
  entry.backend = row.backend;
  entry.row = shown;
  entry.row_taken = taken;
  entry.superuser = row.superuser;
  return entry;
}

std::vector<config::Rule> rules_for_direct(const std::vector<config::Rule>& rules) {
  std::vector<config::Rule> fit;
  std::copy_if(rules.begin(), rules.end(), std::back_inserter(fit), [](const config::Rule& rule) {
    switch (rule.kind) {
      case RuleKind::idle:
      case RuleKind::idle_in_transaction:
      case RuleKind::aborted:
      case RuleKind::statement:
      case RuleKind::transaction_age:
      case RuleKind::session_age:
        return true;
      default:
        return false;
    }
  });
  return fit;
}

void OtherInstances::see(const Snapshot& snapshot, const config::Monitor& monitor) {
  for (const ActivityRow& row : snapshot.direct)
    if (is_own(row, monitor) && !row.in_our_name && !is_name_of_a_subcommand(row.application_name))
      seen_[row.client_addr] = snapshot.now;
  std::erase_if(seen_, [&](const auto& one) { return snapshot.now - one.second > remembered; });
}

Snapshot opaque_snapshot(const Snapshot& snapshot) {
  Snapshot opaque;
  opaque.opaque = true;
  opaque.now = snapshot.now;
  opaque.server = snapshot.server;
  opaque.monitor_up = snapshot.monitor_up;
  opaque.sample_age = snapshot.sample_age;
  opaque.synchronous_replication = snapshot.synchronous_replication;
  opaque.advisory_taken = snapshot.now;  // asked by the guard of the act, as of direct sessions
  if (!snapshot.monitor_up || !snapshot.sample_age) return opaque;
  for (const SessionEntry& entry : snapshot.sessions)
    if (entry.view.who->opaque) opaque.sessions.push_back(entry);
  return opaque;
}

Snapshot direct_snapshot(const Snapshot& snapshot, const config::Monitor& monitor,
                         const OtherInstances& others, const std::vector<BackendId>& skip) {
  Snapshot direct;
  direct.now = snapshot.now;
  direct.server = snapshot.server;
  direct.monitor_up = snapshot.monitor_up;
  direct.sample_age = snapshot.sample_age;
  // Who listens or holds an advisory lock is asked by the guard of the act itself
  // (JudgedColumns::spare_listeners), so nobody is waited for here.
  direct.advisory_taken = snapshot.now;
  if (!snapshot.monitor_up || !snapshot.sample_age) return direct;
  const Instant taken = snapshot.now - *snapshot.sample_age;

  for (const ActivityRow& row : snapshot.direct) {
    if (row.superuser || row.user.empty() || is_own(row, monitor) || others.at(row.client_addr) ||
        std::find(skip.begin(), skip.end(), row.backend) != skip.end())
      continue;
    SessionEntry& entry = direct.sessions.emplace_back(entry_of(row, taken));
    auto who = std::make_shared<proxy::SessionIdentity>(*entry.view.who);
    who->server = snapshot.server;
    entry.view.who = std::move(who);
  }
  return direct;
}

}  // namespace pgleash::watchdog
