#include "tests/sim/baselines.hpp"

namespace pgleash::sim {

const char* name(Baseline baseline) noexcept {
  switch (baseline) {
    case Baseline::idle_10m:
      return "idle timeout of 10 min (`idle_session_timeout`, PgBouncer's `client_idle_timeout`)";
    case Baseline::idle_1h:
      return "idle timeout of 1 h";
    case Baseline::slope_4h:
      return "`predict_linear(count[1h], 4h)` above the limit, for 15 min";
    case Baseline::slope_1d:
      break;
  }
  return "`predict_linear(count[6h], 1d)` above the limit, for 1 h";
}

Baselines::Baselines(double limit, double leak_starts, bool in_transaction)
    : limit_(limit), leak_starts_(leak_starts), in_transaction_(in_transaction) {}

void Baselines::look(const World& world, double now, double others) {
  double oldest = now;
  for (std::size_t i = 0; i < world.last_used.size(); ++i) {
    if (world.last_used[i] < 0 || world.last_used[i] >= oldest) continue;
    if (in_transaction_ && world.lost.contains(world.ids[i])) continue;
    oldest = world.last_used[i];
  }
  raise(Baseline::idle_10m, now, now - oldest > 10 * minute);
  raise(Baseline::idle_1h, now, now - oldest > hour);

  counts_.push_back(world.count + others);
  if (counts_.size() > 72) counts_.pop_front();
  const auto lasts = [&](Baseline baseline, bool on, int samples) {
    int& count = lasting_[static_cast<std::size_t>(baseline)];
    count = on ? count + 1 : 0;
    raise(baseline, now, count > samples);
  };
  lasts(Baseline::slope_4h, counts_.size() >= 6 && predicted(12, 4 * hour) > limit_, 3);
  lasts(Baseline::slope_1d, counts_.size() >= 24 && predicted(72, day) > limit_, 12);
}

void Baselines::raise(Baseline baseline, double now, bool on) {
  Alarms& alarms = alarms_[static_cast<std::size_t>(baseline)];
  if (!on) return;
  if (now - alarms.last > hour) ++alarms.raised;
  alarms.last = now;
  if (now >= leak_starts_ && alarms.first_after < 0) alarms.first_after = now;
}

/// Least squares over the last samples, as Prometheus does it.
double Baselines::predicted(std::size_t samples, double ahead) const {
  const std::size_t n = std::min(samples, counts_.size());
  double sx = 0;
  double sy = 0;
  double sxx = 0;
  double sxy = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double x = -300.0 * static_cast<double>(n - 1 - i);
    const double y = counts_[counts_.size() - n + i];
    sx += x;
    sy += y;
    sxx += x * x;
    sxy += x * y;
  }
  const auto count = static_cast<double>(n);
  const double slope = (count * sxy - sx * sy) / (count * sxx - sx * sx);
  return (sy - slope * sx) / count + slope * ahead;
}

}  // namespace pgleash::sim
