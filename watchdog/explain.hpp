#pragma once

#include "config/config.hpp"
#include "watchdog/session_evidence.hpp"
#include "watchdog/snapshot.hpp"
#include "watchdog/verdict.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pgleash::watchdog {

/// How one rule stands to one session.
enum class Standing : std::uint8_t {
  not_judged,    ///< no rule judges the session now: it logs in, ends, or its tracking is degraded
  not_selected,  ///< [rule.match] or [rule.except] leaves it out
  not_in_state,  ///< the session is not in the condition that the rule judges
  blind,         ///< the server alone knows, and there is no fresh sample
  below,         ///< in the condition, below warn and limit
  warned,        ///< over warn, below the limit
  exempt,        ///< over the limit, and out of its reach
  over,          ///< over the limit: a verdict is due
  judged,        ///< over the limit, and had its verdict
};
[[nodiscard]] std::string_view name(Standing standing) noexcept;

struct RuleExplanation {
  std::string rule;
  config::RuleKind kind{};
  config::Action action{};
  Standing standing = Standing::not_judged;
  std::string why;                        ///< in one sentence, without the rule's name
  Exemption exemption = Exemption::none;  ///< also of what is still below its limit
  std::optional<Duration> age;            ///< how long in the condition
  std::optional<Duration> warn;
  std::optional<Duration> limit;
  std::optional<Duration>
      passes_in;  ///< until the limit is passed if nothing changes; zero: passed
};

/// What stands between a verdict and its act.
struct Locks {
  config::Mode mode = config::Mode::observe;
  Duration hold_off{};  ///< until the end of the hold-off after the start
};

struct SessionExplanation {
  SessionEntry session;
  Locks locks;
  std::vector<RuleExplanation> rules;  ///< in the order of the configuration
  SessionEvidence evidence;

  /// The rule that acts first if nothing changes; null when none does.
  [[nodiscard]] const RuleExplanation* first_to_act() const noexcept;
  /// When that is, from the snapshot on: not before the hold-off ends.
  [[nodiscard]] std::optional<Duration> acts_in() const noexcept;
};

/// For people: a line for the session, one for each rule, one for what comes of it. `wall`: what
/// the clock says at the moment of the snapshot.
[[nodiscard]] std::string to_text(const SessionExplanation& explanation,
                                  std::chrono::system_clock::time_point wall);
/// "2026-11-25T18:03:07Z": the second in which it acts.
[[nodiscard]] std::string in_utc(std::chrono::system_clock::time_point wall);

}  // namespace pgleash::watchdog
