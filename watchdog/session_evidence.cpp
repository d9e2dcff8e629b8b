#include "watchdog/session_evidence.hpp"

#include "watchdog/message.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace pgleash::watchdog {
namespace {

std::optional<std::uint64_t> counted(std::uint64_t bytes, const protocol::SessionFacts& facts) {
  // Each login that went through us was seen to send and to be answered.
  if (facts.frontend_bytes == 0 && facts.backend_bytes == 0) return std::nullopt;
  return bytes;
}

std::string named(const Fingerprint& statement) {
  return fmt::format("{} (fingerprint {})", printable(statement.text), statement.hash);
}

}  // namespace

SessionEvidence session_evidence(const SessionEntry& entry,
                                 const std::optional<proxy::StatementEvidence>& statements,
                                 Instant now, FingerprintCache& fingerprints) {
  SessionEvidence found;
  // Those that belong to the texts: of a session that recovered, the view is of something else.
  const protocol::SessionFacts& facts = statements ? statements->facts : entry.view.facts;
  found.bytes_to_server = counted(facts.frontend_bytes, facts);
  found.bytes_to_client = counted(facts.backend_bytes, facts);
  if (!statements) return found;
  if (!statements->last_statement.empty()) {
    found.last = fingerprints.of(statements->last_statement, statements->last_truncated);
    found.last_text = statements->last_statement;
    found.tags = sqlcommenter_tags(found.last_text);
    if (facts.request_since != Instant{})
      found.age = std::max(Duration::zero(), now - facts.request_since);
  }
  // Of a statement outside of a transaction this is the statement itself, told already.
  const bool open = facts.transaction != protocol::TransactionStatus::idle;
  if (open && !statements->first_of_transaction.empty()) {
    found.first = fingerprints.of(statements->first_of_transaction, statements->first_truncated);
    found.first_text = statements->first_of_transaction;
    if (found.tags.empty()) found.tags = sqlcommenter_tags(found.first_text);
  }
  return found;
}

std::optional<proxy::StatementEvidence> statements_of(const SessionEntry& entry, std::size_t cut) {
  if (!entry.row || entry.row->query.empty()) return std::nullopt;
  const std::string& query = entry.row->query;
  constexpr std::size_t torn = 4;  // it is cut before a character of several bytes
  return proxy::StatementEvidence{query, {}, query.size() + torn > cut, false, entry.view.facts};
}

SessionEvidence without_values(SessionEvidence evidence) {
  evidence.last_text = {};
  evidence.first_text = {};
  return evidence;
}

std::string to_text(const SessionEvidence& evidence) {
  std::string text;
  if (!evidence.last.hash.empty()) {
    text += "  last statement: " + named(evidence.last);
    if (evidence.age) text += fmt::format(", begun {} ago", in_seconds(*evidence.age));
    if (!evidence.tags.empty()) text += "; tags " + tags_text(evidence.tags);
    text += '\n';
  }
  if (!evidence.first.hash.empty())
    text += "  its transaction began with: " + named(evidence.first) + "\n";
  if (evidence.bytes_to_server && evidence.bytes_to_client)
    text += fmt::format("  bytes since its login: {} to the server, {} to the client\n",
                        *evidence.bytes_to_server, *evidence.bytes_to_client);
  return text;
}

std::string tags_text(const std::vector<std::pair<std::string, std::string>>& tags) {
  std::string text;
  for (const auto& [key, value] : tags)
    text += fmt::format("{}{}={}", text.empty() ? "" : ", ", printable(key), printable(value));
  return text;
}

}  // namespace pgleash::watchdog
