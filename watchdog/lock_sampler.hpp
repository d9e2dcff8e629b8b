#pragma once

#include "watchdog/activity.hpp"
#include "watchdog/pg_connection.hpp"
#include "watchdog/sampling_pace.hpp"
#include "watchdog/task.hpp"

#include <map>
#include <string>
#include <utility>

namespace pgleash::watchdog {

/// Asks for locks beside the sample of activity, over its connection: who waits behind whom, when
/// the sample shows somebody waiting; who holds advisory locks, when a rule waits to know; what
/// holds back clean-up, every half a minute. Each as its own statement, each at its own pace, which
/// halves while an answer takes longer than 100 ms. An answer that fails is left out, and what it
/// would have said is unknown. Control thread.
class LockSampler {
 public:
  /// Somebody who waits for less is nobody's problem yet.
  static constexpr Duration longest_patience = std::chrono::seconds{1};
  static constexpr Duration horizon_interval = std::chrono::seconds{30};
  /// How often more is asked to get from the oldest waits to their roots.
  static constexpr int max_rounds = 4;

  LockSampler(Duration poll_interval, Duration statement_timeout);

  /// Whether somebody is judged who would be exempt with an advisory lock. Not asked otherwise, as
  /// it reads all locks there are.
  void want_advisory(bool wanted) noexcept { want_advisory_ = wanted; }
  /// For a new connection: nothing is known of the server.
  void reset();
  /// Asks what is due, and puts the answers into `newest`. Ends within the statements' timeouts;
  /// whether the connection survived, it says itself.
  Task<void> sample(PgConnection& connection, ActivitySample& newest);

 private:
  Task<void> sample_waits(PgConnection& connection, ActivitySample& newest);
  Task<bool> walk(PgConnection& connection, LockSample& sample);
  Task<void> sample_advisory(PgConnection& connection, ActivitySample& newest);
  Task<void> sample_horizon(PgConnection& connection, ActivitySample& newest);
  void remember_starts(LockSample& sample, ServerTime now);
  [[nodiscard]] Instant deadline() const;

  Duration patience_;
  Duration statement_timeout_;
  SamplingPace waits_pace_;
  SamplingPace advisory_pace_;
  Instant waits_due_{};
  Instant advisory_due_{};
  Instant horizon_due_{};
  bool want_advisory_ = false;
  /// When a wait whose start the server does not tell was first seen; by pid and lock.
  std::map<std::pair<std::int32_t, std::string>, ServerTime> first_seen_;
};

}  // namespace pgleash::watchdog
