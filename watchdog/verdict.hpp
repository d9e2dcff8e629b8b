#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "config/config.hpp"
#include "proxy/kill_order.hpp"
#include "watchdog/snapshot.hpp"

namespace pgleash::watchdog {

/// Incident id: 16 characters, unique across restarts and instances; the thread through error, audit, log and outcome.
struct VerdictId {
  std::string text;
  bool operator==(const VerdictId&) const = default;
};

/// What became of a verdict: exactly one each (PRODUCT.md A11).
enum class Outcome : std::uint8_t {
  observed, exempted, deferred, recovered, confirmed, already_gone, survived, unverified, denied, error,
};
[[nodiscard]] std::string_view name(Outcome outcome) noexcept;

/// Why a session is out of a rule's reach (PRODUCT.md, table of exemptions).
enum class Exemption : std::uint8_t {
  none, replication, superuser, listening, dump, copy_moving, commit, sync_replication, protected_user, protected_client,
  protected_entry, unknown,
};
[[nodiscard]] std::string_view name(Exemption exemption) noexcept;

/// One rule's judgement of one session's one activity.
struct Verdict {
  VerdictId id;
  std::string rule;
  config::RuleKind kind{};
  config::Action action{};
  proxy::JudgedCounter counter{};
  protocol::ActivityMark mark;
  Duration measured{};
  Duration limit{};
  Duration grace{};
  Exemption exemption = Exemption::none;
  std::string sqlstate;    ///< native code of the kind and action, or the rule's own
  std::string hint;
  SessionEntry session;    ///< the evidence as judged
};

}  // namespace pgleash::watchdog
