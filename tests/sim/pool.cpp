#include "tests/sim/pool.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace pgleash::sim {

Pool::Pool(const PoolSpec& spec, std::string address, double /*now*/)
    : spec_(spec), address_(std::move(address)), next_death_(std::numeric_limits<double>::max()) {}

void Pool::grow(World& world, Random& random, double now, double from) {
  Member member;
  member.used = from;
  member.handle = world.open(address_, now);
  member.dies = spec_.max_lifetime > 0 ? now + spec_.max_lifetime * random.between(0.975, 1.0)
                                       : std::numeric_limits<double>::max();
  next_death_ = std::min(next_death_, member.dies);
  members_.insert(members_.begin(), member);
}

void Pool::step(World& world, Random& random, double now, double length, double rate, int leaks) {
  const double busy = rate * spec_.service;
  const int requests = std::max(leaks, random.poisson(rate * length));
  if (spec_.kind == PoolKind::per_request) {
    // Those open at the end of the step; the others came and went between two looks.
    for (const Member& member : members_) world.close(member.handle, now);
    members_.clear();
    const int open = std::min(spec_.maximum, random.poisson(busy));
    for (int i = 0; i < open; ++i) grow(world, random, now, now);
    for (int i = 0; i < leaks; ++i) {
      lost_.push_back(world.open(address_, now - length * random.unit()));
      world.lose(lost_.back());
    }
    return;
  }
  const double looks = std::clamp(length / std::max(spec_.service, 0.05), 1.0,
                                  std::max(1.0, static_cast<double>(requests)));
  int at_once = requests == 0 ? 0 : std::max(1, random.most_of_poisson(busy, looks));
  if (spec_.kind == PoolKind::per_thread)
    at_once = std::min({requests, spec_.maximum, at_once + 2});
  at_once = std::min(at_once, spec_.maximum);
  if (!started_) {
    started_ = true;
    while (static_cast<int>(members_.size()) < spec_.minimum) grow(world, random, now, now);
  }
  while (static_cast<int>(members_.size()) < at_once) grow(world, random, now, now);
  touch(world, random, now, length, requests, at_once);
  if (leaks > 0) lose(world, random, now, length, leaks);
  retire(world, random, now, length);
}

void Pool::touch(World& world, Random& random, double now, double length, int requests,
                 int at_once) {
  const int size = static_cast<int>(members_.size());
  if (size == 0 || requests == 0) return;
  const auto use = [&](Member& member) {
    member.used = std::max(member.used, now - length * random.unit());
    world.use(member.handle, member.used);
  };
  if (spec_.reuse == Reuse::newest_first) {
    for (int i = 0; i < at_once && i < size; ++i) use(members_[static_cast<std::size_t>(i)]);
  } else if (spec_.reuse == Reuse::oldest_first) {
    const int touched = std::min(requests, size);
    for (int i = size - touched; i < size; ++i) use(members_[static_cast<std::size_t>(i)]);
    std::rotate(members_.begin(), members_.end() - touched, members_.end());
  } else {
    const double each = 1 - std::pow(1 - 1.0 / size, requests);
    for (Member& member : members_) {
      if (random.chance(each)) use(member);
    }
  }
}

void Pool::lose(World& world, Random& random, double now, double length, int leaks) {
  for (int i = 0; i < leaks; ++i) {
    if (members_.empty()) grow(world, random, now, now);
    const auto which = members_.begin();  // whichever a request was given
    const double when = std::max(which->used, now - length * random.unit());
    world.use(which->handle, when);
    world.lose(which->handle);
    lost_.push_back(which->handle);
    members_.erase(which);
  }
}

void Pool::retire(World& world, Random& random, double now, double length) {
  if (spec_.max_lifetime > 0 && now >= next_death_) {
    next_death_ = std::numeric_limits<double>::max();
    std::erase_if(members_, [&](const Member& member) {
      if (member.dies <= now) world.close(member.handle, now);
      return member.dies <= now;
    });
    for (const Member& member : members_) next_death_ = std::min(next_death_, member.dies);
  }
  if (spec_.idle_timeout > 0) {
    for (std::size_t i = members_.size();
         i-- > 0 && static_cast<int>(members_.size()) > spec_.minimum;) {
      if (now - members_[i].used < spec_.idle_timeout) {
        if (spec_.reuse == Reuse::newest_first) break;
        continue;
      }
      world.close(members_[i].handle, now);
      members_.erase(members_.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
  if (spec_.kind == PoolKind::queue_pool) {
    while (static_cast<int>(members_.size()) > spec_.minimum) {
      // Overflow lives as long as its request.
      world.close(members_.back().handle, now);
      members_.pop_back();
    }
  }
  if (spec_.kind == PoolKind::hikari) {
    while (static_cast<int>(members_.size()) < spec_.minimum) {
      Member member;
      member.used = now - length * random.unit();
      member.handle = world.open(address_, now);
      member.dies = spec_.max_lifetime > 0 ? now + spec_.max_lifetime * random.between(0.975, 1.0)
                                           : std::numeric_limits<double>::max();
      next_death_ = std::min(next_death_, member.dies);
      members_.push_back(member);  // a spare, at the end of the line
    }
  }
}

void Pool::drop(World& world, double now) {
  for (const Member& member : members_) world.close(member.handle, now);
  for (const Handle handle : lost_) world.close(handle, now);
  members_.clear();
  lost_.clear();
  started_ = false;
  next_death_ = std::numeric_limits<double>::max();
}

}  // namespace pgleash::sim
