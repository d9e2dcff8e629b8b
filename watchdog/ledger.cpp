#include "watchdog/ledger.hpp"

#include <algorithm>
#include <unordered_map>

namespace pgleash::watchdog {
namespace {

double left_of(Duration age, Duration limit) noexcept {
  return std::chrono::duration<double>(limit - age) / std::chrono::duration<double>(limit);
}

bool goes_on(const Suspect& suspect, const proxy::SessionView& view) noexcept {
  if (suspect.stalled_since != Instant{} && suspect.stalled_since != view.stalled_since)
    return false;
  return proxy::same_activity(suspect.counter, suspect.mark, view.facts.mark);
}

}  // namespace

std::string_view name(Margin margin) noexcept {
  switch (margin) {
    case Margin::warned:
      return "warned";
    case Margin::within_20:
      return "within_20_percent";
    case Margin::within_5:
      return "within_5_percent";
    case Margin::over_limit:
    case Margin::count_:
      break;
  }
  return "over_limit";
}

Margin margin_of(Duration age, std::optional<Duration> limit) noexcept {
  if (!limit) return Margin::warned;
  if (age > *limit) return Margin::over_limit;
  if (age > *limit / 20 * 19) return Margin::within_5;
  return age > *limit / 5 * 4 ? Margin::within_20 : Margin::warned;
}

void FalsePositiveLedger::feed(const std::vector<Suspect>& suspects, const Snapshot& snapshot) {
  if (watched_.empty() && suspects.empty()) return;
  std::unordered_map<std::uint64_t, const proxy::SessionView*> views;
  if (!watched_.empty()) {
    views.reserve(snapshot.sessions.size());
    for (const SessionEntry& entry : snapshot.sessions)
      views.emplace(proxy::number(entry.view.id), &entry.view);
  }
  for (auto one = watched_.begin(); one != watched_.end();) {
    const auto view = views.find(one->first.first);
    const bool there = view != views.end() && !view->second->ending;
    if (there && goes_on(one->second.suspect, *view->second)) {
      ++one;
      continue;
    }
    if (there) recovered(one->second);
    one = watched_.erase(one);
  }
  for (const Suspect& suspect : suspects) {
    const std::pair key{proxy::number(suspect.session), std::string{suspect.rule}};
    Watched& watched = watched_[key];
    watched.suspect = suspect;
    watched.suspect.rule = {};
    watched.rule = key.second;
  }
}

void FalsePositiveLedger::acted(proxy::SessionId session) {
  const std::uint64_t id = proxy::number(session);
  std::erase_if(watched_, [id](const auto& item) { return item.first.first == id; });
}

void FalsePositiveLedger::recovered(const Watched& watched) {
  const Suspect& suspect = watched.suspect;
  const Margin margin = margin_of(suspect.age, suspect.limit);
  Row& row = rows_[watched.rule];
  ++row.recovered[static_cast<std::size_t>(margin)];
  if (!suspect.limit || margin == Margin::over_limit) return;
  const double left = left_of(suspect.age, *suspect.limit);
  row.closest = row.closest ? std::min(*row.closest, left) : left;
}

}  // namespace pgleash::watchdog
