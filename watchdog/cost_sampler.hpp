#pragma once

#include "watchdog/cost.hpp"
#include "watchdog/pg_connection.hpp"
#include "watchdog/sampling_pace.hpp"
#include "watchdog/task.hpp"

#include <optional>
#include <string>

namespace pgleash::watchdog {

/// Asks the server what its backends cost, between the samples of ActivitySampler and on its
/// connection, at a pace of its own: each poll_interval, half as often after each answer that took
/// longer than 100 ms, and not at all while no rule needs it. Control thread.
class CostSampler {
 public:
  explicit CostSampler(Duration interval) : pace_(interval) {}

  void set_needs(const CostNeeds& needs) noexcept { needs_ = needs; }
  [[nodiscard]] bool due(Instant now) const noexcept { return needs_.server() && now >= next_; }
  /// One statement. What it cannot have is no fault of the connection: see no_data().
  Task<void> sample(PgConnection& connection, Instant deadline);

  /// Null until there is one; an older one stays.
  [[nodiscard]] const ServerCostSample* latest() const noexcept {
    return latest_ ? &*latest_ : nullptr;
  }
  /// Of the newest attempt.
  [[nodiscard]] bool denied() const noexcept { return denied_; }
  [[nodiscard]] const std::string& problem() const noexcept { return problem_; }
  /// Of the server that was asked last; 0: none yet.
  [[nodiscard]] int server_version() const noexcept { return version_; }

 private:
  CostNeeds needs_;
  SamplingPace pace_;
  Instant next_{};
  std::optional<ServerCostSample> latest_;
  std::string problem_;
  int version_ = 0;
  bool denied_ = false;
};

}  // namespace pgleash::watchdog
