#include "proxy/quota.hpp"

#include <algorithm>
#include <chrono>
#include <string_view>
#include <utility>

namespace pgleash::proxy {
namespace {

using config::QuotaKey;

constexpr Duration sweep_interval = std::chrono::seconds{10};

constexpr std::size_t place_of(QuotaKey key) noexcept {
  return static_cast<std::size_t>(key);
}

std::string_view word(QuotaKey key) noexcept {
  switch (key) {
    case QuotaKey::application:
      return "application";
    case QuotaKey::user:
      return "user";
    case QuotaKey::database:
      return "database";
    case QuotaKey::address:
      break;
  }
  return "address";
}

QuotaRefusal refusal(const config::Quota& quota, const std::string& name, std::string_view what,
                     std::string detail) {
  const std::string whom = name.empty() ? std::string{"clients without a name"}
                                        : std::string{word(quota.key)} + " \"" + name + "\"";
  return {
      quota.name, quota.sqlstate,
      "too many " + std::string{what} + " for " + whom + " (pgleash quota '" + quota.name + "')",
      std::move(detail),
      quota.key == QuotaKey::application || quota.key == QuotaKey::address
          ? "close what is not used, or let the pool be smaller"
          : "close what is not used, or ask for a higher quota"};
}

}  // namespace

struct QuotaKeeper::Ticket::Place {
  QuotaKeeper* keeper;
  std::array<Counts::value_type*, kinds> keys;
};

void QuotaKeeper::Ticket::Free::operator()(Place* place) const noexcept {
  delete place;  // NOLINT: the deleter of an incomplete type
}

QuotaKeeper::Ticket& QuotaKeeper::Ticket::operator=(Ticket&& other) noexcept {
  if (this == &other) return *this;
  give_back();
  place_ = std::move(other.place_);
  return *this;
}

void QuotaKeeper::Ticket::give_back() noexcept {
  if (const auto place = std::exchange(place_, nullptr)) place->keeper->leave(place->keys);
}

bool QuotaKeeper::configure(std::vector<config::Quota> quotas) {
  const std::lock_guard lock{mutex_};
  const bool first = quotas_.empty() && !quotas.empty();
  quotas_ = std::move(quotas);
  active_ = !quotas_.empty();
  return first;
}

QuotaKeeper::Names QuotaKeeper::names_of(const SessionIdentity& who) {
  return {who.application, who.user, who.database, who.client.address};
}

std::optional<QuotaRefusal> QuotaKeeper::admit(const SessionIdentity& who, Instant now,
                                               Ticket& ticket) {
  const std::lock_guard lock{mutex_};
  if (quotas_.empty()) return std::nullopt;
  forget_idle(now);
  const Names names = names_of(who);
  std::vector<double*> taken;
  for (const config::Quota& quota : quotas_) {
    if (who.opaque && quota.key != QuotaKey::address) continue;  // nobody knows yet
    const std::string& name = names[place_of(quota.key)];
    Counted& counted = counts_[place_of(quota.key)][name];
    if (quota.sessions && counted.sessions >= *quota.sessions) {
      ++refused_[quota.name];
      return refusal(quota, name, "sessions",
                     std::to_string(counted.sessions) + " are open, the quota is " +
                         std::to_string(*quota.sessions));
    }
    if (!quota.new_per_second) continue;
    const double most = *quota.new_per_second;
    auto [bucket, fresh] = counted.buckets.try_emplace(quota.name, most, now);
    auto& [left, filled] = bucket->second;
    const double seconds = std::chrono::duration<double>(now - filled).count();
    left = std::min(most, left + seconds * most);
    filled = now;
    if (left < 1) {
      ++refused_[quota.name];
      return refusal(quota, name, "new sessions",
                     "the quota is " + std::to_string(*quota.new_per_second) + " a second");
    }
    taken.push_back(&left);
  }
  // Who is refused by a later quota has not used up an earlier one.
  for (double* left : taken) --*left;
  ticket = take(names, who.opaque);
  return std::nullopt;
}

QuotaKeeper::Ticket QuotaKeeper::count(const SessionIdentity& who) {
  const std::lock_guard lock{mutex_};
  return take(names_of(who), who.opaque);
}

/// mutex_ is held.
QuotaKeeper::Ticket QuotaKeeper::take(const Names& names, bool by_address_alone) {
  std::array<Counts::value_type*, kinds> keys{};
  for (std::size_t kind = 0; kind < kinds; ++kind) {
    if (by_address_alone && kind != place_of(QuotaKey::address)) continue;
    const auto key = counts_[kind].try_emplace(names[kind]).first;
    ++key->second.sessions;
    keys[kind] = &*key;  // nodes stay where they are
  }
  Ticket ticket;
  ticket.place_.reset(new Ticket::Place{this, keys});
  return ticket;
}

void QuotaKeeper::leave(const std::array<Counts::value_type*, kinds>& keys) noexcept {
  const std::lock_guard lock{mutex_};
  for (std::size_t kind = 0; kind < kinds; ++kind) {
    if (keys[kind] == nullptr) continue;
    auto& [name, counted] = *keys[kind];
    if (--counted.sessions == 0 && counted.buckets.empty())
      counts_[kind].erase(counts_[kind].find(name));
  }
}

/// Keys without sessions whose buckets are full again are as if they had never been.
void QuotaKeeper::forget_idle(Instant now) {
  if (now - swept_ < sweep_interval) return;
  swept_ = now;
  for (Counts& counts : counts_)
    std::erase_if(counts, [now](const auto& item) {
      const Counted& counted = item.second;
      return counted.sessions == 0 &&
             std::all_of(counted.buckets.begin(), counted.buckets.end(), [now](const auto& one) {
               return now - one.second.second >= std::chrono::seconds{1};
             });
    });
}

std::optional<std::uint32_t> QuotaKeeper::sessions_of(QuotaKey key, const std::string& name) const {
  const std::lock_guard lock{mutex_};
  if (quotas_.empty()) return std::nullopt;
  const auto found = counts_[place_of(key)].find(name);
  return found == counts_[place_of(key)].end() ? 0 : found->second.sessions;
}

std::size_t QuotaKeeper::keys() const {
  const std::lock_guard lock{mutex_};
  std::size_t all = 0;
  for (const Counts& counts : counts_) all += counts.size();
  return all;
}

std::map<std::string, QuotaUse> QuotaKeeper::use() const {
  const std::lock_guard lock{mutex_};
  std::map<std::string, QuotaUse> all;
  for (const config::Quota& quota : quotas_) {
    QuotaUse& use = all[quota.name];
    if (const auto found = refused_.find(quota.name); found != refused_.end())
      use.refused = found->second;
    use.limit = quota.sessions.value_or(0);
    for (const auto& [name, counted] : counts_[place_of(quota.key)])
      use.most = std::max(use.most, counted.sessions);
  }
  return all;
}

}  // namespace pgleash::proxy
