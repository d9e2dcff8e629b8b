#pragma once

#include "proxy/kill_order.hpp"
#include "watchdog/verdict.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>

namespace pgleash::watchdog {

/// What can be seen of a backend when verifying: asked by (pid, backend_start), never by pid alone.
enum class BackendSight : std::uint8_t {
  gone,         ///< no such pid, or it has another backend_start
  same,         ///< alive, and the judged activity goes on
  moved_on,     ///< alive, and the judged activity is over (cancel: statement ended)
  not_visible,  ///< no monitor connection, or the mapping is unknown
};

/// The ladder of one verdict as a state machine: observation in, step out. No I/O, no clock but the
/// `now` it is given.
///
///   (ask_standby ──) carry_out ── look … look ── guarded_sql (once) ── look … look ── finish
///
/// Ask next(), do what it says, tell what came of it, ask again. Asking twice gives the same step;
/// an observation that was not asked for is ignored. Looks follow after 10, 20, 50, 100, 200, 500,
/// 500 … ms, for `grace` after the step began, once at least; a cancel that escalates begins again
/// as a terminate. A target that is no session of ours has guarded SQL alone:
///
///   guarded_sql ── look … look ── (escalate: guarded_sql ── look … look) ── finish
///
/// Every path ends in exactly one outcome. A verdict that must not act (action
/// observe, or exempt) is finished from the start. A statement that may have come to its commit
/// since it was sampled is asked about before each in-band step: who waits for a standby, or cannot
/// be asked about, is exempt.
class TerminationPlan {
 public:
  enum class Kind : std::uint8_t { ask_standby, carry_out, look, guarded_sql, wait, finish };
  struct Step {
    Kind kind = Kind::finish;
    proxy::KillAction action = proxy::KillAction::terminate;  ///< of carry_out and guarded_sql
    Duration wait{};                   ///< of wait: before calling next() again
    Outcome outcome = Outcome::error;  ///< of finish
  };
  /// What guarded SQL answered.
  enum class SqlResult : std::uint8_t { signalled, changed, denied, unavailable };
  /// Whether the backend waits for a standby at this moment.
  enum class StandbyWait : std::uint8_t { no, yes, unknown };

  TerminationPlan(const Verdict& verdict, bool monitor_up, Instant now);

  [[nodiscard]] Step next(Instant now);
  void asked(StandbyWait waits) noexcept;
  void reported(const proxy::KillReport& report, Instant now);
  void seen(BackendSight sight, Instant now);
  void answered(SqlResult result, Instant now);

 private:
  enum class Phase : std::uint8_t { asking_standby, carrying_out, verifying, asking_sql, finished };

  void begin_step() noexcept;
  void finish(Outcome outcome) noexcept;
  void carried_out(const proxy::KillReport& report, Instant now);
  void not_carried_out(const proxy::KillReport& report);
  void verify(Instant until, Instant now);
  void look_again(Instant now);
  void escalate() noexcept;
  void end_of_the_ladder() noexcept;
  void grace_is_over();
  void begin_by_sql() noexcept;

  Duration grace_;
  bool sql_only_;  ///< there is no session in-band
  bool orphan_;
  proxy::KillAction action_ = proxy::KillAction::terminate;
  bool can_see_;               ///< somebody may be asked about (pid, backend_start)
  bool may_escalate_ = false;  ///< the cancel may be followed by a terminate
  bool ask_standby_;           ///< before each in-band step
  bool may_ask_sql_;           ///< guarded SQL was not used yet and has a backend to guard
  bool acted_ = false;         ///< something was done: what follows is no longer "by itself"
  bool last_look_ = false;     ///< whatever the next look shows is the end
  Phase phase_ = Phase::carrying_out;
  Outcome outcome_ = Outcome::error;
  std::optional<BackendSight> sight_;  ///< of the newest look
  std::optional<Instant> begun_;       ///< when the running in-band step was first handed out
  Instant look_due_{};
  Instant look_until_{};
  std::size_t looks_ = 0;
};

}  // namespace pgleash::watchdog
