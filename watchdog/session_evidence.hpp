#pragma once

#include "proxy/session_view.hpp"
#include "watchdog/evidence.hpp"
#include "watchdog/snapshot.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace pgleash::watchdog {

/// What a session did: the finger that points at a line of code. A value, some KiB at most.
///
/// Nothing of it costs a message anything: the tracker refers to both texts and counts the bytes in
/// any case, and they are read when somebody asks.
struct SessionEvidence {
  Fingerprint last;             ///< of its last statement; no hash: unknown
  std::string last_text;        ///< as it was sent, values and all
  std::optional<Duration> age;  ///< since the server turned to that one
  Fingerprint first;            ///< of what its open transaction began with, BEGIN aside
  std::string first_text;
  /// sqlcommenter's, of the last statement, or else of the transaction's first: a ROLLBACK TO or a
  /// COMMIT has none.
  std::vector<std::pair<std::string, std::string>> tags;
  /// Since it logged in; absent of sessions that do not come through us.
  std::optional<std::uint64_t> bytes_to_server;
  std::optional<std::uint64_t> bytes_to_client;

  bool operator==(const SessionEvidence&) const = default;
};

/// `statements`: from the session's own worker, or statements_of() its row. Pure but for the cache.
[[nodiscard]] SessionEvidence session_evidence(
    const SessionEntry& entry, const std::optional<proxy::StatementEvidence>& statements,
    Instant now, FingerprintCache& fingerprints);

/// What pg_stat_activity shows of a session's statements: the last one, up to `cut` bytes that were
/// asked for (shown_statement, shown_last_statement). Empty: nothing.
[[nodiscard]] std::optional<proxy::StatementEvidence> statements_of(const SessionEntry& entry,
                                                                    std::size_t cut);

/// What may be kept for a while: the statements without their values only.
[[nodiscard]] SessionEvidence without_values(SessionEvidence evidence);

/// For people: at most three lines, each indented by two blanks; texts without their values.
[[nodiscard]] std::string to_text(const SessionEvidence& evidence);

/// "controller=cart, route=/cart", printable.
[[nodiscard]] std::string tags_text(const std::vector<std::pair<std::string, std::string>>& tags);

}  // namespace pgleash::watchdog
