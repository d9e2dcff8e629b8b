#include "watchdog/leak_detector.hpp"

#include <algorithm>
#include <utility>

namespace pgleash::watchdog {
namespace {

/// Slots that are taken to be free where no monitor says.
constexpr double unknown_headroom = 100;
/// A leak is over when so few of its suspects are left, of the most there were.
constexpr double cleared_below = 0.5;

template <class T>
std::uint32_t take(std::vector<T>& items, std::vector<std::uint32_t>& unused, T item) {
  if (unused.empty()) {
    items.push_back(std::move(item));
    return static_cast<std::uint32_t>(items.size() - 1);
  }
  const std::uint32_t index = unused.back();
  unused.pop_back();
  items[index] = std::move(item);
  return index;
}

/// Where the losses began: a leak may be older than the window in which it showed. Back from there
/// as long as they follow each other no slower than three times as usual.
Instant first_loss(const std::vector<AddressEvidence>& evidence, Instant since) {
  std::vector<Instant> lost;
  for (const AddressEvidence& address : evidence)
    lost.insert(lost.end(), address.unused.begin(), address.unused.end());
  std::sort(lost.begin(), lost.end());
  auto first = std::lower_bound(lost.begin(), lost.end(), since);
  const auto count = lost.end() - first;
  if (count < 2) return since;
  const Duration usual = (lost.back() - *first) / (count - 1);
  Instant begin = since;
  for (; first != lost.begin() && *first - *(first - 1) <= 3 * usual; --first)
    begin = std::min(begin, *(first - 1));
  return begin;
}

}  // namespace

LeakDetector::LeakDetector(const config::Leak& leak) : config_(leak), scales_(leak_scales(leak)) {}

// ---------------------------------------------------------------- changes

LeakDetector::Handle LeakDetector::opened(const LeakSession& session, Instant now) {
  const std::uint32_t address = address_of(group_of(session, now), session.client_address);
  const std::uint32_t index = take(sessions_, free_sessions_, Session{session.id, {}, address});
  sessions_[index].last_used = std::min(session.last_used, now);
  link_newest(index);
  ++addresses_[address].count;
  Group& group = groups_[addresses_[address].group];
  group.peaks.note(++group.count);
  return Handle{index};
}

void LeakDetector::used(Handle session, Instant when) {
  const auto index = static_cast<std::uint32_t>(session);
  Session& used = sessions_[index];
  if (when <= used.last_used) return;
  note_gap(used, when);
  unlink(index);
  sessions_[index].last_used = when;
  link_newest(index);
}

void LeakDetector::closed(Handle session, Instant now) {
  const auto index = static_cast<std::uint32_t>(session);
  const std::uint32_t at = sessions_[index].address;
  note_gap(sessions_[index], now);
  unlink(index);
  free_sessions_.push_back(index);
  Address& address = addresses_[at];
  Group& group = groups_[address.group];
  if (--group.count == 0) group.emptied = now;
  if (--address.count == 0) {
    forget_address(at);
  } else {
    address.floors.note(address.count);
  }
}

void LeakDetector::note_gap(const Session& session, Instant ended) {
  const Duration gap = ended - session.last_used;
  if (gap < shortest_gap()) return;
  Group& group = groups_[addresses_[session.address].group];
  for (std::size_t scale = 0; scale < scales_.size(); ++scale)
    group.gaps[scale].note(gap, ended, shortest_gap(), scales_[scale].window);
}

std::uint32_t LeakDetector::group_of(const LeakSession& session, Instant now) {
  LeakGroup key{std::string{session.database}, std::string{session.user},
                std::string{session.application}};
  auto found = group_index_.find(key);
  if (found != group_index_.end()) return found->second;
  if (group_index_.size() >= max_groups && !swept_) {
    swept_ = true;  // once a tick: whoever makes up names must not make us search for each
    drop_empty_groups(now, Duration::zero());
  }
  if (group_index_.size() >= max_groups) {
    key = LeakGroup{"other", "other", "other"};
    found = group_index_.find(key);
    if (found != group_index_.end()) return found->second;
  }
  Group group;
  group.key = key;
  group.live = true;
  group.since = now;
  const std::uint32_t index = take(groups_, free_groups_, std::move(group));
  group_index_.emplace(std::move(key), index);
  return index;
}

std::uint32_t LeakDetector::address_of(std::uint32_t group, std::string_view name) {
  for (const std::uint32_t known : groups_[group].addresses) {
    if (addresses_[known].name == name) return known;
  }
  Address address;
  address.name = name;
  address.group = group;
  const std::uint32_t index = take(addresses_, free_addresses_, std::move(address));
  groups_[group].addresses.push_back(index);
  return index;
}

/// Keeps the list in the order of use, though uses within one tick come in any.
void LeakDetector::link_newest(std::uint32_t index) {
  Session& session = sessions_[index];
  Address& address = addresses_[session.address];
  std::uint32_t after = address.newest;
  while (after != none && sessions_[after].last_used > session.last_used)
    after = sessions_[after].older;
  session.older = after;
  session.newer = after == none ? address.oldest : sessions_[after].newer;
  (session.older == none ? address.oldest : sessions_[session.older].newer) = index;
  (session.newer == none ? address.newest : sessions_[session.newer].older) = index;
}

void LeakDetector::unlink(std::uint32_t index) {
  Session& session = sessions_[index];
  Address& address = addresses_[session.address];
  (session.older == none ? address.oldest : sessions_[session.older].newer) = session.newer;
  (session.newer == none ? address.newest : sessions_[session.newer].older) = session.older;
}

void LeakDetector::forget_address(std::uint32_t index) {
  std::erase(groups_[addresses_[index].group].addresses, index);
  addresses_[index] = Address{};
  free_addresses_.push_back(index);
}

// ---------------------------------------------------------------- time

std::vector<LeakChange> LeakDetector::tick(Instant now, const SlotUse& slots) {
  std::vector<LeakChange> changes;
  swept_ = false;
  if (bucket_ends_.empty()) {
    for (const LeakScale& scale : scales_) bucket_ends_.push_back(now + scale.bucket);
  }
  for (std::size_t scale = 0; scale < scales_.size(); ++scale) {
    const Duration bucket = scales_[scale].bucket;
    if (now < bucket_ends_[scale]) continue;
    const auto ended = (now - bucket_ends_[scale]) / bucket + 1;
    bucket_ends_[scale] += ended * bucket;
    roll(scale, static_cast<std::size_t>(ended));
    if (scale + 1 == scales_.size()) {
      for (Group& group : groups_) group.peaks.roll(static_cast<std::size_t>(ended), group.count);
    }
    for (std::uint32_t group = 0; group < groups_.size(); ++group) {
      if (groups_[group].leak) {
        review(group, now, changes);
      } else if (groups_[group].count >= config_.min_sessions) {
        judge(group, scale, now, slots, changes);
      }
    }
    if (scale + 1 == scales_.size()) drop_empty_groups(now, scales_.back().window);
  }
  return changes;
}

void LeakDetector::roll(std::size_t scale, std::size_t buckets) {
  for (Address& address : addresses_) {
    if (address.group != none) address.floors.roll(scale, buckets, address.count);
  }
}

bool LeakDetector::has_unused(const Group& group, Instant before) const {
  std::uint32_t found = 0;
  for (const std::uint32_t address : group.addresses) {
    for (std::uint32_t at = addresses_[address].oldest;
         at != none && sessions_[at].last_used <= before; at = sessions_[at].newer) {
      if (++found >= config_.min_sessions) return true;
    }
  }
  return false;
}

void LeakDetector::judge(std::uint32_t index, std::size_t at, Instant now, const SlotUse& slots,
                         std::vector<LeakChange>& changes) {
  Group& group = groups_[index];
  const LeakScale& scale = scales_[at];
  const Instant before = now - scale.unused;
  if (!has_unused(group, before)) return;

  std::vector<AddressEvidence> evidence;
  evidence.reserve(group.addresses.size());
  for (const std::uint32_t address : group.addresses) {
    AddressEvidence& one = evidence.emplace_back();
    one.floors = addresses_[address].floors.floors(at);
    for (std::uint32_t session = addresses_[address].oldest;
         session != none && sessions_[session].last_used <= before;
         session = sessions_[session].newer)
      one.unused.push_back(sessions_[session].last_used);
  }
  const double headroom = slots.limit == 0
                              ? unknown_headroom
                              : static_cast<double>(slots.limit) - static_cast<double>(slots.used);
  const GroupHistory history{
      [&](Duration gap) { return group.gaps[at].at_least(gap, now, shortest_gap(), scale.window); },
      [&](Duration gap) {
        return group.gaps[scales_.size() - 1].at_least(gap, now, shortest_gap(),
                                                       scales_.back().window);
      },
      now - group.since,
      scale.window * 4 <= scales_.back().window
          ? std::optional<double>{static_cast<double>(group.count) - group.peaks.before()}
          : std::nullopt};
  LeakJudgement judgement =
      judge_leak(scale, now, evidence, headroom, config_.min_sessions, history);
  // One host's leak must not hide behind others that close their sessions meanwhile.
  for (std::size_t i = 0; i < evidence.size() && evidence.size() > 1 && !judgement.leak; ++i) {
    if (evidence[i].unused.size() < config_.min_sessions) continue;
    judgement = judge_leak(scale, now, std::span{evidence}.subspan(i, 1), headroom,
                           config_.min_sessions, history);
  }
  if (!judgement.leak) return;

  Leak leak;
  leak.group = group.key;
  leak.since = first_loss(evidence, judgement.since);
  leak.detected = now;
  leak.window = scale.window;
  leak.sessions = group.count;
  leak.floor = floor_of(group, at);
  leak.growth = judgement.growth;
  leak.slope = judgement.slope;
  leak.suspect_count = static_cast<std::uint32_t>(suspect_sessions(group, leak, now).size());
  group.leak = leaks_.size();
  group.most_suspects = leak.suspect_count;
  leaks_.push_back(leak);
  changes.push_back({LeakChange::What::detected, std::move(leak)});
}

/// Brings a standing leak up to date, and clears it when its sessions are gone or in use again.
void LeakDetector::review(std::uint32_t index, Instant now, std::vector<LeakChange>& changes) {
  Group& group = groups_[index];
  Leak& leak = leaks_[*group.leak];
  leak.sessions = group.count;
  leak.suspect_count = static_cast<std::uint32_t>(suspect_sessions(group, leak, now).size());
  group.most_suspects = std::max(group.most_suspects, leak.suspect_count);
  const std::size_t at = scale_of(leak);
  leak.floor = floor_of(group, at);
  if (const Slope slope = slope_of(group, at); slope.value > 0) leak.slope = slope;
  leak.growth = std::max(leak.growth, static_cast<double>(leak.suspect_count));
  if (leak.suspect_count > cleared_below * group.most_suspects) return;

  changes.push_back({LeakChange::What::cleared, leak});
  const std::size_t gone = *group.leak;
  group.leak.reset();
  if (gone + 1 != leaks_.size()) {
    leaks_[gone] = std::move(leaks_.back());
    groups_[group_index_.at(leaks_[gone].group)].leak = gone;
  }
  leaks_.pop_back();
}

void LeakDetector::drop_empty_groups(Instant now, Duration emptied_for) {
  for (std::uint32_t index = 0; index < groups_.size(); ++index) {
    Group& group = groups_[index];
    if (!group.live || group.leak || group.count > 0 || now - group.emptied < emptied_for) continue;
    group_index_.erase(group.key);
    group = Group{};
    free_groups_.push_back(index);
  }
}

// ---------------------------------------------------------------- what it knows

std::vector<std::uint32_t> LeakDetector::suspect_sessions(const Group& group, const Leak& leak,
                                                          Instant now) const {
  const Instant before = now - unseen(leak);
  std::vector<std::uint32_t> found;
  for (const std::uint32_t address : group.addresses) {
    for (std::uint32_t at = addresses_[address].oldest;
         at != none && sessions_[at].last_used <= before; at = sessions_[at].newer) {
      if (sessions_[at].last_used >= leak.since) found.push_back(at);
    }
  }
  std::sort(found.begin(), found.end(), [&](std::uint32_t a, std::uint32_t b) {
    return sessions_[a].last_used < sessions_[b].last_used;
  });
  return found;
}

std::size_t LeakDetector::scale_of(const Leak& leak) const {
  const auto scale = std::find_if(scales_.begin(), scales_.end(),
                                  [&](const LeakScale& one) { return one.window == leak.window; });
  return static_cast<std::size_t>(scale - scales_.begin());
}

Duration LeakDetector::unseen(const Leak& leak) const {
  return scales_[scale_of(leak)].unused;
}

std::vector<std::uint64_t> LeakDetector::suspects(const Leak& leak, Instant now) const {
  std::vector<std::uint64_t> ids;
  const auto group = group_index_.find(leak.group);
  if (group == group_index_.end()) return ids;
  for (const std::uint32_t at : suspect_sessions(groups_[group->second], leak, now))
    ids.push_back(sessions_[at].id);
  return ids;
}

std::vector<Instant> LeakDetector::lost_at(const Leak& leak, Instant now) const {
  std::vector<Instant> times;
  const auto group = group_index_.find(leak.group);
  if (group == group_index_.end()) return times;
  for (const std::uint32_t at : suspect_sessions(groups_[group->second], leak, now))
    times.push_back(sessions_[at].last_used);
  return times;
}

std::uint32_t LeakDetector::floor_of(const Group& group, std::size_t scale) const {
  std::uint32_t floor = 0;
  for (const std::uint32_t address : group.addresses) {
    const auto floors = addresses_[address].floors.floors(scale);
    if (!floors.empty()) floor += floors.back();
  }
  return floor;
}

Slope LeakDetector::slope_of(const Group& group, std::size_t at) const {
  std::vector<AddressEvidence> evidence;
  for (const std::uint32_t address : group.addresses)
    evidence.push_back({addresses_[address].floors.floors(at), {}});
  return floor_slope(scales_[at], evidence);
}

std::vector<LeakDetector::GroupFloor> LeakDetector::floors() const {
  std::vector<GroupFloor> out;
  const std::size_t scale = std::min<std::size_t>(1, scales_.size() - 1);
  for (const auto& [key, index] : group_index_) {
    if (groups_[index].count == 0) continue;
    out.push_back({&key, floor_of(groups_[index], 0), slope_of(groups_[index], scale).value});
  }
  return out;
}

}  // namespace pgleash::watchdog
