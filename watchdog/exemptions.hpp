#pragma once

#include "config/config.hpp"
#include "config/diagnostic.hpp"
#include "watchdog/selector.hpp"
#include "watchdog/snapshot.hpp"
#include "watchdog/verdict.hpp"

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace pgleash::watchdog {

/// The section [protect], compiled. Faulty patterns are reported with their positions.
class Protection {
 public:
  Protection(const config::Protect& protect, std::vector<config::Diagnostic>& diagnostics);

  [[nodiscard]] bool superusers() const noexcept { return superusers_; }
  [[nodiscard]] bool user(const proxy::SessionIdentity& who) const {
    return users_.match(who.user);
  }
  [[nodiscard]] bool client(const proxy::SessionIdentity& who) const {
    return clients_.contain(who.client.address);
  }
  /// Application and user both: what a client says of itself exempts nobody alone.
  [[nodiscard]] bool entry(const proxy::SessionIdentity& who) const;
  /// Whether a marker in a transaction of that age counts.
  [[nodiscard]] bool marker(const proxy::SessionIdentity& who, Duration transaction_age) const {
    return transaction_age <= marker_max_ && marker_users_.match(who.user);
  }

 private:
  struct Entry {
    Patterns application;
    Patterns users;
  };
  Patterns users_;
  Networks clients_;
  bool superusers_;
  Patterns marker_users_;
  Duration marker_max_;
  std::vector<Entry> entries_;
};

/// What the newest sample may be believed about.
struct Freshness {
  Instant now{};
  bool monitor_configured = true;
  bool monitor_up = false;
  std::optional<Instant> sampled;
  std::optional<Instant> advisory;  ///< when it was asked who holds advisory locks
  Duration max_age{};
  bool synchronous_replication = true;

  [[nodiscard]] static Freshness of(const Snapshot& snapshot, Duration max_age) noexcept;
  /// The session's row, if it tells of what the session does since `since`: sampled later, not too
  /// old, and active in PostgreSQL's eyes too. Null: unknown.
  [[nodiscard]] const ActivityRow* active_row(const SessionEntry& entry,
                                              Instant since) const noexcept;
};

/// Yes, no, or nobody can tell.
enum class Answer : std::uint8_t { no, yes, unknown };

/// Whether the running statement is one of those that are meant to run long: VACUUM, CREATE INDEX,
/// REFRESH, ALTER, COPY, CALL. Known in-band, or by the leading keyword of the server's row when
/// the text did not pass whole.
[[nodiscard]] Answer maintenance(const SessionEntry& entry, const Freshness& freshness);

/// Whether an idle session holds an advisory lock, which it then holds for the session. Unknown
/// without a fresh answer; for a rule that judges how long the session has been idle, without one
/// from within that time. Always no where there is no monitor.
[[nodiscard]] Answer holds_advisory_lock(config::RuleKind kind, const SessionEntry& entry,
                                         const Freshness& freshness);

/// Whether the answer on the advisory locks of an idle session is still to come: who would be
/// judged waits for it then, where one that cannot be had exempts.
[[nodiscard]] bool waits_for_advisory_answer(config::RuleKind kind, const SessionEntry& entry,
                                             const Freshness& freshness);

/// Whether a statement that works may end in a commit by itself, and that commit wait for a
/// standby: then the newest sample is too old for an act, and the server is asked again just before
/// it.
[[nodiscard]] bool may_commit_meanwhile(config::RuleKind kind, const SessionEntry& entry,
                                        const Freshness& freshness) noexcept;

/// PRODUCT.md's table of exemptions, by class of rule. What is known in-band needs no sample; what
/// only the server knows is `unknown` without a fresh one, provided that there should be one. The
/// first that holds, in the enum's order of certainty; `unknown` last.
[[nodiscard]] Exemption exemption(config::RuleKind kind, const SessionEntry& entry,
                                  const Protection& protection, const Freshness& freshness);

}  // namespace pgleash::watchdog
