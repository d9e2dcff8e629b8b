#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "proxy/kill_order.hpp"
#include "watchdog/verdict.hpp"

namespace pgleash::watchdog {

/// What can be seen of a backend when verifying: asked by (pid, backend_start), never by pid alone.
enum class BackendSight : std::uint8_t {
  gone,         ///< no such pid, or it has another backend_start
  same,         ///< alive, and the judged activity goes on
  moved_on,     ///< alive, and the judged activity is over (cancel: statement ended)
  not_visible,  ///< no monitor connection, or the mapping is unknown
};

/// The ladder of one verdict as a state machine: observation in, step out. No I/O, no clock but the `now` it is given.
/// Its test table is PRODUCT.md's kill ladder.
class TerminationPlan {
 public:
  enum class Kind : std::uint8_t { carry_out, look, guarded_sql, wait, finish };
  struct Step {
    Kind kind = Kind::finish;
    proxy::KillAction action = proxy::KillAction::terminate;  ///< of carry_out
    Duration wait{};                                          ///< of wait: before asking again
    Outcome outcome = Outcome::error;                         ///< of finish
  };
  /// What guarded SQL answered.
  enum class SqlResult : std::uint8_t { signalled, changed, denied, unavailable };

  TerminationPlan(const Verdict& verdict, bool monitor_up, Instant now);

  [[nodiscard]] Step next(Instant now);
  void reported(const proxy::KillReport& report, Instant now);
  void seen(BackendSight sight, Instant now);
  void answered(SqlResult result, Instant now);

 private:
  // implementation
};

}  // namespace pgleash::watchdog
