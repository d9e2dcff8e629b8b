#include "watchdog/leak_judgement.hpp"

#include <algorithm>
#include <array>
#include <bitset>
#include <cmath>
#include <cstdint>

namespace pgleash::watchdog {
namespace {

/// Full buckets without which nothing is said: two thirds of a window; of floors of whole days
/// fewer, as each of them has a day behind it already.
constexpr std::size_t least_buckets = 8;
constexpr std::size_t least_day_buckets = 5;
/// What the floor may lose on its way up, as a share of what it gains.
constexpr double most_falls = 0.3;
/// Times the floor reached a new height: a deploy or a step of an autoscaler does so once.
constexpr std::size_t least_rises = 4;
/// Growth as a share of the slots that were free before it: less is not worth a word yet.
constexpr double least_share = 0.1;
/// Of the growth, what must be sessions that were not used since.
constexpr double least_explained = 0.6;
/// Of the growth, the share unused for the length of time in question.
constexpr double least_long_share = 0.25;
constexpr double least_longer = 3;
/// By how much gaps may be longer than what is remembered: people and load have slow hours.
constexpr double slower = 3;
/// Growth beyond all that the days before saw, as a share of the slots that were free, that is
/// pressing (gaps are not given the benefit of a slow hour), and that is a leak whatever gaps were
/// before, unless sessions come back in the same window. Where no day was seen yet, the same for
/// growth within the window.
constexpr Duration a_day = std::chrono::hours{24};
constexpr double pressing_beyond_peak = 0.1;
constexpr double sure_beyond_peak = 0.25;
constexpr double sure_share = 0.45;
/// Where sessions come back: so many gaps ended within the window for each that is still open.
/// Growth alone proves nothing there.
constexpr double comes_back = 3;
/// Of the window's buckets, those in which a session must have been lost.
constexpr double least_spread = 0.45;
/// Sessions are lost one after the other, while a process that starts, and a burst, open many in a
/// moment. In how many moments they must have been lost: one in so many, this many at most.
constexpr double most_a_moment = 4;
constexpr double enough_moments = 20;
constexpr std::int64_t moments_in_window = 360;

double seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

/// The floors of one address as `day` buckets see them.
std::vector<double> smoothed(std::span<const std::uint16_t> floors, std::size_t day) {
  std::vector<double> out;
  for (std::size_t end = day; end <= floors.size(); ++end) {
    const auto window = floors.subspan(end - day, day);
    out.push_back(*std::min_element(window.begin(), window.end()));
  }
  return out;
}

/// Growth of all addresses together, each from its own first full bucket.
std::vector<double> growth_of(std::span<const AddressEvidence> addresses, std::size_t day) {
  std::array<double, leak_buckets> sums{};
  std::size_t longest = 0;
  for (const AddressEvidence& address : addresses) {
    const std::vector<double> floors = smoothed(address.floors, day);
    longest = std::max(longest, floors.size());
    for (std::size_t i = 0; i < floors.size(); ++i)
      sums[leak_buckets - floors.size() + i] += floors[i] - floors.front();
  }
  return {sums.end() - static_cast<std::ptrdiff_t>(longest), sums.end()};
}

struct Shape {
  double rises = 0;
  double falls = 0;
  std::size_t records = 0;
};

Shape shape_of(std::span<const double> growth) {
  Shape shape;
  double highest = growth.front();
  for (std::size_t i = 1; i < growth.size(); ++i) {
    const double step = growth[i] - growth[i - 1];
    (step > 0 ? shape.rises : shape.falls) += std::abs(step);
    if (growth[i] > highest) {
      highest = growth[i];
      ++shape.records;
    }
  }
  return shape;
}

/// Moments in which sessions were last used, each of many counting for little beside it: as many
/// moments with equally many sessions would have the same sum of squares.
double moments_of(const std::vector<Duration>& unused, Duration moment) {
  std::vector<std::int64_t> at;
  at.reserve(unused.size());
  for (const Duration one : unused) at.push_back(one / moment);
  std::sort(at.begin(), at.end());
  double squares = 0;
  for (auto first = at.begin(); first != at.end();) {
    const auto next = std::upper_bound(first, at.end(), *first);
    const auto together = static_cast<double>(next - first);
    squares += together * together;
    first = next;
  }
  const auto all = static_cast<double>(at.size());
  return squares > 0 ? all * all / squares : 0;
}

/// Of gaps that reached `gap`, the share that usually lasts on, when looked at anywhere between now
/// and the end of the window.
double usually_lasting(const GroupHistory& history, Duration gap, Duration window,
                       double slowness) {
  const double reached = history.gaps_ever(gap);
  if (reached <= 0) return 0;
  constexpr int looks = 5;
  double sum = 0;
  for (int look = 0; look < looks; ++look)
    sum += history.gaps_ever(gap + (window - gap) * (2 * look + 1) / (2 * looks)) / reached;
  return std::pow(sum / looks, 1 / slowness);
}

/// Whether, for one length of time at least, more sessions have been unused for so long than is to
/// be expected of a group whose sessions all come back.
bool is_unusual(const LeakScale& scale, std::vector<Duration> unused, double growth,
                const GroupHistory& history, double slowness) {
  std::sort(unused.begin(), unused.end());
  // Of gaps as long as the time observed none can have ended: that says nothing.
  const Duration longest = std::min(scale.window, history.observed / 4);
  for (Duration gap = scale.unused; gap < longest; gap += gap / 2) {
    const auto longer =
        static_cast<double>(unused.end() - std::lower_bound(unused.begin(), unused.end(), gap));
    if (longer < std::max(least_longer, least_long_share * growth)) return false;
    const double reached = longer + history.gaps_in_window(gap);
    const double lasting = usually_lasting(history, gap, scale.window, slowness);
    const double scatter = std::sqrt(reached * lasting * (1 - lasting));
    if (longer >= reached * lasting + 2 * scatter + 2) return true;
  }
  return false;
}

}  // namespace

Slope floor_slope(const LeakScale& scale, std::span<const AddressEvidence> addresses) {
  Slope slope = robust_slope(growth_of(addresses, scale.day));
  for (double* value : {&slope.value, &slope.low, &slope.high}) *value /= seconds(scale.bucket);
  return slope;
}

LeakJudgement judge_leak(const LeakScale& scale, Instant now,
                         std::span<const AddressEvidence> addresses, double headroom,
                         std::uint32_t min_sessions, const GroupHistory& history) {
  LeakJudgement judgement;
  const std::vector<double> growth = growth_of(addresses, scale.day);
  if (growth.size() < (scale.day > 1 ? least_day_buckets : least_buckets)) return judgement;
  const Duration span = scale.bucket * static_cast<std::int64_t>(growth.size());
  judgement.since = now - span;

  judgement.slope = floor_slope(scale, addresses);
  const double risen = growth.back() - growth.front();
  judgement.growth = std::min(risen, 1.5 * judgement.slope.value * seconds(span));

  std::vector<Duration> unused;
  std::bitset<leak_buckets> hit;
  for (const AddressEvidence& address : addresses) {
    if (address.floors.empty()) continue;  // not settled
    for (const Instant used : address.unused) {
      if (used < judgement.since) continue;
      ++judgement.lost;
      unused.push_back(now - used);
      hit.set(std::min<std::size_t>(
          static_cast<std::size_t>((used - judgement.since) / scale.bucket), leak_buckets - 1));
    }
  }

  if (judgement.slope.value <= 0) return judgement;
  const double lasts = std::max(headroom, 0.0) / judgement.slope.value;
  if (lasts > seconds(scale.reach)) return judgement;
  if (judgement.growth <
      std::max<double>(min_sessions, least_share * (headroom + judgement.growth)))
    return judgement;
  const Shape shape = shape_of(growth);
  if (shape.falls > most_falls * shape.rises || shape.records < least_rises) return judgement;

  const double seen = 1 - seconds(scale.unused) / seconds(span);
  if (judgement.lost < least_explained * seen * judgement.growth) return judgement;
  const double buckets = seen * static_cast<double>(growth.size());
  if (static_cast<double>(hit.count()) < least_spread * buckets) return judgement;
  const double moments = moments_of(unused, scale.window / moments_in_window);
  if (moments < std::min(enough_moments, judgement.lost / most_a_moment)) return judgement;
  const double room = std::max(headroom, 0.0) + judgement.growth;
  const bool know_days = history.beyond_peak && history.observed >= a_day;
  const double beyond = know_days ? *history.beyond_peak / room : 0;
  const double share = judgement.growth / room;
  const bool sure = know_days ? beyond >= sure_beyond_peak : share >= sure_share;
  if (sure && history.gaps_in_window(scale.unused) < comes_back * judgement.lost) {
    judgement.leak = true;
    return judgement;
  }
  const bool pressing = sure || (know_days && beyond >= pressing_beyond_peak);
  judgement.leak =
      is_unusual(scale, std::move(unused), judgement.growth, history, pressing ? 1 : slower);
  return judgement;
}

}  // namespace pgleash::watchdog
