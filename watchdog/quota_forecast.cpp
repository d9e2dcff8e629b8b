#include "watchdog/quota_forecast.hpp"

#include <algorithm>
#include <set>

namespace pgleash::watchdog {
namespace {

using config::QuotaKey;

const std::string& holder_of(QuotaKey key, const proxy::SessionIdentity& who) noexcept {
  switch (key) {
    case QuotaKey::application:
      return who.application;
    case QuotaKey::user:
      return who.user;
    case QuotaKey::database:
      return who.database;
    case QuotaKey::address:
      break;
  }
  return who.client.address;
}

}  // namespace

void QuotaForecasts::configure(const std::vector<config::Quota>& quotas) {
  quotas_.clear();
  for (const config::Quota& quota : quotas)
    if (quota.sessions) quotas_.push_back(quota);
}

std::map<QuotaForecasts::Holder, QuotaForecasts::Losses> QuotaForecasts::by_holder(
    std::span<const LostSession> lost) const {
  std::map<Holder, Losses> all;
  std::set<QuotaKey> keys;
  for (const config::Quota& quota : quotas_) keys.insert(quota.key);
  for (const QuotaKey key : keys) {
    for (const LostSession& session : lost) {
      Holder holder{key, holder_of(key, *session.who)};
      if (all.size() >= max_holders && !all.contains(holder)) continue;
      Losses& losses = all[std::move(holder)];
      losses.at.push_back(session.lost);
      losses.unseen = std::max(losses.unseen, session.unseen);
    }
  }
  return all;
}

std::uint32_t QuotaForecasts::sessions_of(const Holder& holder, const Snapshot& snapshot) const {
  const auto& [key, name] = holder;
  if (sessions_of_)
    if (const auto counted = sessions_of_(key, name)) return *counted;
  return static_cast<std::uint32_t>(std::ranges::count_if(
      snapshot.sessions,
      [&](const SessionEntry& entry) { return holder_of(key, *entry.view.who) == name; }));
}

std::vector<QuotaForecast> QuotaForecasts::update(const Snapshot& snapshot,
                                                  std::span<const LostSession> lost,
                                                  Duration horizon) {
  std::vector<QuotaForecast> found;
  std::map<Holder, Losses> leaking = by_holder(lost);
  std::erase_if(use_, [&](const auto& item) { return !leaking.contains(item.first); });
  for (auto& [holder, losses] : leaking) {
    std::ranges::sort(losses.at);
    const std::uint32_t sessions = sessions_of(holder, snapshot);
    ExhaustionForecast& use = use_[holder];
    use.observe(snapshot.now, sessions);
    for (const config::Quota& quota : quotas_) {
      if (quota.key != holder.first) continue;
      found.push_back(
          {quota.name, quota.key, holder.second, sessions, *quota.sessions,
           use.until(snapshot.now, *quota.sessions, losses.at, losses.unseen, horizon)});
    }
  }
  std::ranges::stable_sort(found, [](const QuotaForecast& a, const QuotaForecast& b) {
    return a.end.expected.value_or(Duration::max()) < b.end.expected.value_or(Duration::max());
  });
  return found;
}

}  // namespace pgleash::watchdog
