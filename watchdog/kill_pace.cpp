#include "watchdog/kill_pace.hpp"

#include <algorithm>
#include <chrono>
#include <ratio>
#include <utility>

namespace pgleash::watchdog {

namespace {

/// Additions of fractions never quite reach a whole one.
constexpr double one = 1 - 1e-6;

}  // namespace

std::string_view name(PaceScope scope) noexcept {
  switch (scope) {
    case PaceScope::global:
      return "global";
    case PaceScope::application:
      return "application";
    case PaceScope::rule:
      break;
  }
  return "rule";
}

double KillPace::burst(std::uint32_t per_minute) noexcept {
  return std::max(1U, per_minute / 20);
}

void KillPace::fill(Bucket& bucket, std::uint32_t per_minute, Instant now) noexcept {
  const double most = burst(per_minute);
  if (std::exchange(bucket.fresh, false)) {
    bucket.left = most;
  } else {
    const double minutes = std::chrono::duration<double, std::ratio<60>>{now - bucket.at}.count();
    bucket.left = std::min(most, bucket.left + minutes * per_minute);
  }
  bucket.at = now;
}

KillPace::Bucket& KillPace::of(Buckets& buckets, std::string_view key) {
  const auto found = buckets.find(key);
  return found != buckets.end() ? found->second : buckets[std::string{key}];
}

std::optional<PaceScope> KillPace::take(std::string_view rule, std::string_view application,
                                        Instant now) {
  Bucket& by_application = of(applications_, application);
  Bucket& by_rule = of(rules_, rule);
  fill(global_, pace_.kills_per_minute, now);
  fill(by_application, pace_.kills_per_minute_per_application, now);
  fill(by_rule, pace_.kills_per_minute_per_rule, now);
  if (global_.left < one) return PaceScope::global;
  if (by_rule.left < one) return PaceScope::rule;
  if (by_application.left < one) return PaceScope::application;
  for (Bucket* bucket : {&global_, &by_application, &by_rule}) bucket->left -= 1;
  return std::nullopt;
}

void KillPace::give_back(std::string_view rule, std::string_view application) {
  // Above the burst it is cut at the next filling.
  for (Bucket* bucket : {&global_, &of(applications_, application), &of(rules_, rule)})
    bucket->left += 1;
}

void KillPace::forget_full(Instant now) {
  const auto forget = [now](Buckets& buckets, std::uint32_t per_minute) {
    std::erase_if(buckets, [&](const auto& item) {
      Bucket bucket = item.second;
      fill(bucket, per_minute, now);
      return bucket.left >= burst(per_minute);
    });
  };
  forget(applications_, pace_.kills_per_minute_per_application);
  forget(rules_, pace_.kills_per_minute_per_rule);
}

}  // namespace pgleash::watchdog
