#include "tests/sim/run.hpp"

#include "watchdog/forecast.hpp"

#include <algorithm>
#include <cmath>

namespace pgleash::sim {
namespace {

struct Foretold {
  double when;
  std::optional<double> left;
  int lost;
};

/// The forecast made `before` seconds before the end, against the truth.
std::optional<ForecastError> error_at(const std::vector<Foretold>& foretold, const Run& run,
                                      double before) {
  const double full = *run.full;
  for (const Foretold& one : foretold) {
    if (one.when < full - before) continue;
    if (one.when > full - before + 10 * minute) break;
    const int to_come = run.lost_when_full - one.lost;
    if (!one.left) return ForecastError{1.0, to_come};
    return ForecastError{*one.left / (full - one.when) - 1, to_come};
  }
  return std::nullopt;
}

}  // namespace

Run run(const Scene& scene, bool with_baselines) {
  Run result;
  const ApplicationSpec& spec = scene.application;
  const config::Leak settings;
  watchdog::LeakDetector detector{settings};
  watchdog::ExhaustionForecast forecast;
  World world{detector, "app"};
  Application application{spec, scene.seed};
  const bool leaks = spec.leak != LeakKind::none;
  Baselines baselines{static_cast<double>(scene.limit), leaks ? spec.leak_starts : 1e12,
                      spec.leak == LeakKind::transaction};
  std::array<int, baseline_count> lost_at_baseline{};
  std::vector<Foretold> foretold;
  double next_look = 0;
  double next_forecast = 0;

  for (double now = scene.step; now <= scene.length; now += scene.step) {
    application.step(world, now, scene.step);
    const double others = scene.others * (1 + 0.15 * std::sin(now / day * 6.283185307179586));
    const auto used = static_cast<std::uint32_t>(world.count + others);
    const bool leaking = leaks && now >= spec.leak_starts;
    forecast.observe(at(now), used);
    for (const watchdog::LeakChange& change : detector.tick(at(now), {used, scene.limit})) {
      if (change.what != watchdog::LeakChange::What::detected) continue;
      if (!leaking) {
        result.alarms.push_back({now, change.leak, used});
      } else if (!result.detected) {
        result.detected = now;
        result.window = seconds(change.leak.window);
        result.lost_at_alarm = application.lost();
        const auto suspects = detector.suspects(change.leak, at(now));
        const auto right = std::count_if(suspects.begin(), suspects.end(),
                                         [&](std::uint64_t id) { return world.lost.contains(id); });
        result.suspects_right =
            static_cast<double>(right) / std::max<double>(1, static_cast<double>(suspects.size()));
      }
    }
    if (with_baselines && now >= next_look) {
      next_look = now + 5 * minute;
      baselines.look(world, now, others);
      for (std::size_t i = 0; i < baseline_count; ++i) {
        if (leaking && lost_at_baseline[i] == 0 &&
            baselines.of(static_cast<Baseline>(i)).first_after >= 0)
          lost_at_baseline[i] = std::max(1, application.lost());
      }
    }
    if (leaking && result.detected && now >= next_forecast) {
      next_forecast = now + 2 * minute;
      std::optional<double> left;
      if (!detector.leaks().empty()) {
        const watchdog::Leak& leak = detector.leaks().front();
        const auto lost = detector.lost_at(leak, at(now));
        const auto until =
            forecast.until(at(now), scene.limit, lost, detector.unseen(leak), settings.horizon);
        if (until.expected) left = seconds(*until.expected);
      }
      foretold.push_back({now, left, application.lost()});
    }
    if (leaking && used >= scene.limit) {
      result.full = now;
      result.lost_when_full = application.lost();
      break;
    }
  }
  result.healthy_seconds = leaks ? std::min(spec.leak_starts, scene.length) : scene.length;
  for (std::size_t i = 0; i < baseline_count; ++i) {
    result.baseline_alarms[i] = baselines.of(static_cast<Baseline>(i)).raised;
    if (lost_at_baseline[i] > 0 && result.lost_when_full > 0)
      result.baseline_share[i] = static_cast<double>(lost_at_baseline[i]) / result.lost_when_full;
  }
  if (result.full) {
    result.hour_error = error_at(foretold, result, hour);
    result.day_error = error_at(foretold, result, day);
  }
  return result;
}

}  // namespace pgleash::sim
