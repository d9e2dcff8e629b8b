#pragma once

#include "protocol/types.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace pgleash::watchdog {

/// How long the slots will last, and the interval that the scatter of the losses allows. Absent:
/// beyond the horizon, or not growing.
struct Exhaustion {
  std::optional<Duration> expected;
  std::optional<Duration> earliest;
  std::optional<Duration> latest;
};

/// Foretells when the slots of a scope (a server, a quota) run out because of leaks. What is not
/// leaked is expected to do what it did at the same time of the day before; what is leaked grows as
/// it did in that day, or at its pace so far when it is younger. Pure but for a ring of a day's
/// slot use; takes time as a parameter.
class ExhaustionForecast {
 public:
  /// On each tick: sessions in use, leaked ones among them.
  void observe(Instant now, std::uint32_t used);

  /// `lost_at`: when each leaked session was last used, ascending. `unseen`: how long ago a session
  /// must have been used to be known as lost; the losses since then are filled in at the same pace.
  [[nodiscard]] Exhaustion until(Instant now, double limit, std::span<const Instant> lost_at,
                                 Duration unseen, Duration horizon) const;

 private:
  static constexpr Duration slot = std::chrono::minutes{10};
  static constexpr std::size_t slots = 144;

  struct Losses;
  [[nodiscard]] double healthy(std::int64_t at, const Losses& losses) const;
  [[nodiscard]] std::optional<double> trend(const Losses& losses) const;
  [[nodiscard]] double level(std::int64_t number, const Losses& losses) const;
  [[nodiscard]] double healthy_after(Instant now, Duration ahead, const Losses& losses) const;

  std::array<std::uint32_t, 2 * slots> most_{};   ///< used at most, by slot number
  std::array<std::int64_t, 2 * slots> number_{};  ///< which slot since the epoch a place holds
  std::int64_t newest_ = 0;
};

}  // namespace pgleash::watchdog
