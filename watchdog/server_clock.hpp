#pragma once

#include "protocol/types.hpp"
#include "watchdog/activity.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace pgleash::watchdog {

/// How long ago a moment of the server's clock was, though somebody sets that clock meanwhile.
///
/// PostgreSQL computes ages by the date of its host. A date that jumps ahead by a day makes
/// everybody idle for a day, and rules that judge by the server's view would end them all. So the
/// server's clock is compared with our monotonic one at each sample: where it jumped, what began by
/// the clock before is reckoned by that one. This only ever makes something younger than the server
/// says, and in doubt as young as it may be: who is spared in error is ended later. So, where the
/// date went back, is who was idle before, until it comes to where it was. A jump before the first
/// look is not seen. Pure.
class ServerClock {
 public:
  /// What a clock that is slewed, or a slow answer, may differ by from one sample to the next.
  static constexpr Duration slack = std::chrono::seconds{1};
  /// Settings of the clock that are told apart; beyond, the oldest become one.
  static constexpr std::size_t most_settings = 16;

  /// The server's clock read `reading` at some time between `asked` and `answered`, which do not
  /// run backwards.
  void look(ServerTime reading, Instant asked, Instant answered);
  /// Another server, or another life of it: nothing is known.
  void forget() { settings_.clear(); }

  /// How long before `now` the moment `then` was; both are of the server's clock, `now` of its
  /// present setting.
  [[nodiscard]] Duration age(ServerTime then, ServerTime now) const noexcept;
  /// Sets the ages of a row that was read at `now`. As they are while the clock never jumped.
  void reckon(ActivityRow& row, ServerTime now) const noexcept;

 private:
  /// Between two jumps.
  struct Setting {
    std::int64_t from;   ///< no reading of it is earlier, in microseconds
    std::int64_t until;  ///< or later
    std::int64_t ahead;  ///< of the first one seen
  };
  struct Look {
    std::int64_t reading;
    Instant asked, answered;
  };
  std::vector<Setting> settings_;
  Look last_{};
};

}  // namespace pgleash::watchdog
