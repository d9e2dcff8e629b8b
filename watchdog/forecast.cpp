#include "watchdog/forecast.hpp"

#include "watchdog/robust_slope.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace pgleash::watchdog {
namespace {

constexpr Duration day = std::chrono::hours{24};
/// The pace of the last hours says more about the next than the day before does.
constexpr Duration near = std::chrono::hours{3};
constexpr Duration hour = std::chrono::hours{1};
constexpr std::size_t in_an_hour = 6;  ///< slots
constexpr double step = 1.01;          ///< from one point in time looked at to the next

double seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

Duration duration_of(double seconds) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>{seconds});
}

}  // namespace

/// The leaked sessions as a curve over time, known up to `known` and continued from there.
struct ExhaustionForecast::Losses {
  std::span<const Instant> at;
  Instant known;
  double pace = 0;  ///< sessions per second, lately

  Losses(std::span<const Instant> lost_at, Instant now, Duration unseen)
      : at(lost_at), known(now - unseen) {
    if (at.empty()) return;
    // Half of the leak's age, so that its rise and fall with the day's load shows; but enough
    // losses to tell a pace.
    const Duration age = std::max<Duration>(known - at.front(), std::chrono::milliseconds{1});
    Duration over = std::clamp<Duration>(age / 2, std::min<Duration>(age, 2 * unseen), near);
    while (over < age && between(known - over, known) < 12) over = std::min(age, over * 2);
    pace = between(known - over, known) / seconds(over);
  }
  [[nodiscard]] double until(Instant when) const {
    const auto end = std::upper_bound(at.begin(), at.end(), when);
    return static_cast<double>(end - at.begin());
  }
  [[nodiscard]] double between(Instant from, Instant to) const {
    double count = until(to) - until(from);
    if (to > known) count += pace * seconds(to - std::max(from, known));
    return count;
  }
  /// Losses to come within `ahead` from now. `trend`: what the server's use says of the pace.
  [[nodiscard]] double after(Instant now, Duration ahead, std::optional<double> trend) const {
    const double lately = trend.value_or(pace);
    const double straight =
        lately * seconds(std::min(ahead, near)) + pace * seconds(std::max(ahead, near) - near);
    if (at.empty() || now - at.front() < day) return straight;
    const double a_day = between(now - day, now);
    const auto days = ahead / day;
    const Duration rest = ahead - days * day;
    const double alike = a_day * static_cast<double>(days) + between(now - day, now - day + rest);
    return ahead <= near ? straight : alike;
  }
};

void ExhaustionForecast::observe(Instant now, std::uint32_t used) {
  const std::int64_t number = now.time_since_epoch() / slot;
  const auto place = static_cast<std::size_t>(number % static_cast<std::int64_t>(2 * slots));
  if (number_[place] != number) {
    number_[place] = number;
    most_[place] = used;
  }
  most_[place] = std::max(most_[place], used);
  newest_ = number;
}

/// Sessions of a slot that were not leaked; negative when nothing was observed then.
double ExhaustionForecast::healthy(std::int64_t number, const Losses& losses) const {
  const auto place = static_cast<std::size_t>(number % static_cast<std::int64_t>(2 * slots));
  if (number < 0 || number_[place] != number) return -1;
  const Instant middle{slot * number + slot / 2};
  return std::max(0.0, most_[place] - losses.between(Instant::min(), middle));
}

/// The middle one of three slots that end with a slot: what use is usually up to, bursts aside.
double ExhaustionForecast::level(std::int64_t number, const Losses& losses) const {
  std::array<double, 3> last{};
  for (std::size_t i = 0; i < last.size(); ++i)
    last[i] = healthy(number - static_cast<std::int64_t>(i), losses);
  std::sort(last.begin(), last.end());
  return last[0] < 0 ? last[2] : last[1];
}

/// Today's level, and what was added to it or taken away in the same stretch of yesterday.
double ExhaustionForecast::healthy_after(Instant now, Duration ahead, const Losses& losses) const {
  const Instant then = now - day + ahead % day;
  const std::int64_t a_day = static_cast<std::int64_t>(slots);
  const double before = level(newest_ - a_day, losses);
  const double after = healthy(then.time_since_epoch() / slot, losses);
  const double added = before < 0 || after < 0 || ahead < 2 * slot ? 0 : after - before;
  return std::max(0.0, level(newest_, losses) + added);
}

/// Slots taken per second, over the last hour and beyond what yesterday's same hour did. The losses
/// known for sure end a while ago, and the pace of a leak follows the load.
std::optional<double> ExhaustionForecast::trend(const Losses& losses) const {
  if (losses.at.empty() || losses.known - losses.at.front() < hour) return std::nullopt;
  std::array<double, in_an_hour> used{};
  std::array<double, in_an_hour> yesterday{};
  bool has_yesterday = true;
  for (std::size_t i = 0; i < in_an_hour; ++i) {
    const std::int64_t number = newest_ - static_cast<std::int64_t>(in_an_hour - i);
    const auto place = static_cast<std::size_t>(number % static_cast<std::int64_t>(2 * slots));
    if (number < 0 || number_[place] != number) return std::nullopt;
    used[i] = most_[place];
    yesterday[i] = healthy(number - static_cast<std::int64_t>(slots), losses);
    has_yesterday = has_yesterday && yesterday[i] >= 0;
  }
  const double slope =
      robust_slope(used).value - (has_yesterday ? robust_slope(yesterday).value : 0);
  if (slope <= 0) return std::nullopt;
  return slope / seconds(slot);
}

Exhaustion ExhaustionForecast::until(Instant now, double limit, std::span<const Instant> lost_at,
                                     Duration unseen, Duration horizon) const {
  Exhaustion out;
  if (lost_at.empty()) return out;
  const Losses losses{lost_at, now, unseen};
  if (losses.pace <= 0) return out;
  const double leaked = losses.between(Instant::min(), now);
  const std::optional<double> lately = trend(losses);
  const double scatter = std::min(0.9, 2 / std::sqrt(static_cast<double>(lost_at.size())));
  for (double ahead = 1; ahead <= seconds(horizon); ahead *= step) {
    const Duration after = duration_of(ahead);
    const double base = healthy_after(now, after, losses) + leaked;
    const double more = losses.after(now, after, lately);
    if (!out.earliest && base + more * (1 + scatter) >= limit) out.earliest = after;
    if (!out.expected && base + more >= limit) out.expected = after;
    if (!out.latest && base + more * (1 - scatter) >= limit) out.latest = after;
    if (out.latest) break;
  }
  return out;
}

}  // namespace pgleash::watchdog
