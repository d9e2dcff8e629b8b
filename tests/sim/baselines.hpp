#pragma once

#include "tests/sim/world.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>

namespace pgleash::sim {

/// What people have without a leak detector, looked at every five minutes.
enum class Baseline : std::uint8_t {
  idle_10m,  ///< a session idle for 10 minutes: idle_session_timeout, client_idle_timeout
  idle_1h,   ///< for an hour
  slope_4h,  ///< predict_linear(count[1h], 4h) above the limit, for 15 minutes
  slope_1d,  ///< predict_linear(count[6h], 1d) above the limit, for an hour
};
inline constexpr std::size_t baseline_count = 4;
[[nodiscard]] const char* name(Baseline baseline) noexcept;

/// Alarms of one baseline: a new one only after an hour without.
struct Alarms {
  int raised = 0;
  double last = -1e9;
  double first_after = -1;  ///< the leak's start, standing alarms included
};

class Baselines {
 public:
  /// `in_transaction`: the leaked sessions hold a transaction, which idle timeouts do not see.
  Baselines(double limit, double leak_starts, bool in_transaction);
  /// `others`: sessions of the rest of the server.
  void look(const World& world, double now, double others);
  [[nodiscard]] const Alarms& of(Baseline baseline) const {
    return alarms_[static_cast<std::size_t>(baseline)];
  }

 private:
  void raise(Baseline baseline, double now, bool on);
  [[nodiscard]] double predicted(std::size_t samples, double ahead) const;

  double limit_;
  double leak_starts_;
  bool in_transaction_;
  std::deque<double> counts_;  ///< one every five minutes, six hours of them
  std::array<int, baseline_count> lasting_{};
  std::array<Alarms, baseline_count> alarms_{};
};

}  // namespace pgleash::sim
