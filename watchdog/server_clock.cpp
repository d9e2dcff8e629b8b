#include "watchdog/server_clock.hpp"

#include <algorithm>
#include <chrono>
#include <limits>

namespace pgleash::watchdog {

using std::chrono::microseconds;

namespace {

constexpr std::int64_t earliest = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t latest = std::numeric_limits<std::int64_t>::max();

constexpr std::int64_t noise = std::chrono::duration_cast<microseconds>(ServerClock::slack).count();

std::int64_t in_microseconds(Duration duration) {
  return std::chrono::duration_cast<microseconds>(duration).count();
}

}  // namespace

void ServerClock::look(ServerTime reading, Instant asked, Instant answered) {
  const Look look{reading.microseconds, asked, answered};
  if (settings_.empty()) {
    settings_.push_back({earliest, latest, 0});
    last_ = look;
    return;
  }
  // By how much more the server's clock went on than ours: something between these two.
  const std::int64_t went = look.reading - last_.reading;
  const std::int64_t least = went - in_microseconds(look.answered - last_.asked);
  const std::int64_t most = went - in_microseconds(look.asked - last_.answered);
  if (least > noise || most < -noise) {
    // In doubt by more ahead, or by less back, and its readings wherever they may be: what began
    // before is the younger for it.
    settings_.back().until = look.reading - least;
    settings_.push_back({last_.reading + least, latest, settings_.back().ahead + most});
    if (settings_.size() > most_settings) {
      Setting& second = settings_[1];
      second.from = earliest;
      second.ahead = std::min(second.ahead, settings_[0].ahead);  // the younger it makes
      second.until = std::max(second.until, settings_[0].until);
      settings_.erase(settings_.begin());
    }
  }
  last_ = look;
}

Duration ServerClock::age(ServerTime then, ServerTime now) const noexcept {
  const std::int64_t age = now.microseconds - then.microseconds;
  std::int64_t youngest = age;
  for (const Setting& one : settings_) {
    if (then.microseconds < one.from || then.microseconds > one.until) continue;
    const std::int64_t by_it = age - (settings_.back().ahead - one.ahead);
    if (by_it >= -noise) youngest = std::min(youngest, by_it);  // else it would be yet to come
  }
  return microseconds{std::max<std::int64_t>(0, youngest)};
}

void ServerClock::reckon(ActivityRow& row, ServerTime now) const noexcept {
  if (settings_.size() < 2) return;
  row.backend_age = age(row.backend.backend_start, now);
  if (row.state_change != ServerTime{}) row.state_age = age(row.state_change, now);
  if (row.query_start != ServerTime{}) row.query_age = age(row.query_start, now);
  if (row.xact_start) row.transaction_age = age(*row.xact_start, now);
}

}  // namespace pgleash::watchdog
