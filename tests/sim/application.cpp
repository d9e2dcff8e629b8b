#include "tests/sim/application.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace pgleash::sim {
namespace {

constexpr double never = std::numeric_limits<double>::max();

double next_of(Random& random, double now, double a_week) {
  return a_week > 0 ? now + random.exponential(week / a_week) : never;
}

}  // namespace

const char* name(LeakKind kind) noexcept {
  switch (kind) {
    case LeakKind::none:
      break;
    case LeakKind::one_in_n:
      return "one in N requests";
    case LeakKind::error_path:
      return "only in an error path";
    case LeakKind::day_night:
      return "slow, under day and night";
    case LeakKind::behind_lifetime:
      return "behind maxLifetime";
    case LeakKind::one_host:
      return "in one of twenty hosts";
    case LeakKind::transaction:
      return "leaked transaction";
    case LeakKind::fast:
      return "fast, a quarter of an hour";
  }
  return "none";
}

Application::Application(const ApplicationSpec& spec, std::uint64_t seed)
    : spec_(spec), random_(seed) {
  next_deploy_ = next_of(random_, 0, spec.deploys_a_week);
  next_storm_ = next_of(random_, 0, spec.storms_a_week);
  next_burst_ = next_of(random_, 0, spec.load.bursts_a_day * 7);
  batch_next_ = spec.batch > 0 ? 2 * hour : never;
  // Some six errors a day, and so many that a quick leak has them too.
  next_error_ = spec.leak_starts;
}

double Application::load_at(double now) const {
  const double clock = std::fmod(now, day) / hour;
  const double wave = 0.5 - 0.5 * std::cos((clock - 3) / 24 * 6.283185307179586);
  const double shaped = std::min(1.0, 1.3 * wave);
  const int weekday = static_cast<int>(now / day) % 7;
  const double weekend = weekday >= 5 ? spec_.load.weekend : 1;
  const double burst = now < burst_until_ ? spec_.load.burst_factor : 1;
  return std::max(
      0.0, (spec_.load.night + (1 - spec_.load.night) * shaped) * weekend * burst * (1 + noise_));
}

Application::Host Application::start_host(double now) {
  Host host;
  const int number = spec_.one_address ? 0 : addresses_++;
  host.address = "10.1." + std::to_string(number / 256 % 256) + '.' + std::to_string(number % 256);
  for (int i = 0; i < spec_.processes; ++i) host.pools.emplace_back(spec_.pool, host.address, now);
  return host;
}

void Application::deploy(double now) {
  // One host after the other, the new one before the old one stops.
  double delay = 0;
  std::vector<std::unique_ptr<Host>> fresh;
  for (const auto& host : hosts_) {
    if (host->stops > 0) continue;
    delay += random_.between(5, 30);
    host->stops = now + delay + spec_.overlap;
    auto next = std::make_unique<Host>(start_host(now));
    if (!spec_.new_addresses) {
      next->address = host->address;
      next->pools.clear();
      for (int i = 0; i < spec_.processes; ++i)
        next->pools.emplace_back(spec_.pool, host->address, now);
    }
    fresh.push_back(std::move(next));
  }
  for (auto& host : fresh) hosts_.push_back(std::move(host));
}

void Application::scale(double now, double load) {
  int running = 0;
  for (const auto& host : hosts_) running += host->stops == 0 ? 1 : 0;
  const int least = spec_.autoscale ? std::max(1, spec_.hosts / 4) : spec_.hosts;
  const int wanted = spec_.autoscale ? std::clamp(static_cast<int>(std::ceil(spec_.hosts * load)),
                                                  least, spec_.hosts)
                                     : spec_.hosts;
  while (running < wanted) {
    hosts_.push_back(std::make_unique<Host>(start_host(now)));
    ++running;
  }
  quiet_scales_ = running > wanted ? quiet_scales_ + 1 : 0;
  if (quiet_scales_ > 3) {
    for (auto host = hosts_.rbegin(); host != hosts_.rend() && running > wanted; ++host) {
      if ((*host)->stops > 0) continue;
      (*host)->stops = now + 30;
      --running;
    }
  }
}

int Application::leaks_of(double now, double length, double load, std::size_t host,
                          std::size_t hosts) {
  if (spec_.leak == LeakKind::none || now < spec_.leak_starts) return 0;
  const double processes = static_cast<double>(spec_.processes);
  double mean = spec_.leak_rate * length * load / processes / static_cast<double>(hosts);
  if (spec_.leak == LeakKind::one_host) {
    if (host != 0) return 0;
    mean *= static_cast<double>(hosts);
  }
  if (spec_.leak == LeakKind::error_path) {
    // All of it in a tenth of the time.
    if (now >= error_until_) return 0;
    mean *= 10;
  }
  return random_.poisson(mean);
}

void Application::step(World& world, double now, double length) {
  noise_ = 0.9 * noise_ + spec_.load.noise * 0.4 * random_.normal();
  if (now >= next_burst_) {
    burst_until_ = now + random_.between(2 * minute, 15 * minute);
    next_burst_ = next_of(random_, burst_until_, spec_.load.bursts_a_day * 7);
  }
  if (spec_.leak == LeakKind::error_path && now >= next_error_) {
    // A phase of errors and the calm behind it; 40 of them until the server is full.
    const double phase = std::min(4 * hour, 50 / spec_.leak_rate / 40) * 2;
    const double lasts = random_.exponential(phase / 10);
    error_until_ = now + lasts;
    next_error_ = error_until_ + random_.exponential(phase * 0.9);
  }
  const double load = load_at(now);
  if (now >= next_scale_) {
    scale(now, load);
    next_scale_ = now + 2 * minute;
  }
  if (now >= next_deploy_) {
    deploy(now);
    next_deploy_ = next_of(random_, now, spec_.deploys_a_week);
  }
  if (now >= next_storm_) {
    for (const auto& host : hosts_) {
      for (Pool& pool : host->pools) pool.drop(world, now);
    }
    next_storm_ = next_of(random_, now, spec_.storms_a_week);
  }
  for (std::size_t i = 0; i < hosts_.size(); ++i) {
    Host& host = *hosts_[i];
    if (host.stops > 0 && now >= host.stops) {
      for (Pool& pool : host.pools) pool.drop(world, now);
      continue;
    }
    for (Pool& pool : host.pools) {
      const double share = spec_.autoscale ? 1 : load;
      pool.step(world, random_, now, length, spec_.load.rate * share,
                leaks_of(now, length, load, i, hosts_.size()));
    }
  }
  std::erase_if(hosts_, [&](const auto& host) { return host->stops > 0 && now >= host->stops; });
  while (static_cast<int>(listeners_.size()) < spec_.listeners)
    listeners_.push_back(world.open("10.2.0.1", now));
  if (spec_.cron && std::fmod(now, 5 * minute) < length) {
    world.close(world.open("10.2.0.2", now), now);
  }
  if (spec_.batch > 0) step_batch(world, now, length);
  if (spec_.desktops > 0) step_desktops(world, now, length, load);
}

void Application::step_batch(World& world, double now, double length) {
  if (now >= batch_next_) {
    batch_ends_ = now + random_.between(hour, 3 * hour);
    batch_next_ += day;
  }
  if (now < batch_ends_ && static_cast<int>(batch_.size()) < spec_.batch) {
    batch_.push_back(world.open("10.2.0.3", now));  // one more each step
  }
  for (const Handle handle : batch_) {
    if (random_.chance(0.3)) world.use(handle, now - length * random_.unit());
  }
  if (now >= batch_ends_) {
    for (const Handle handle : batch_) world.close(handle, now);
    batch_.clear();
  }
}

void Application::step_desktops(World& world, double now, double length, double load) {
  const double clock = std::fmod(now, day) / hour;
  const bool weekend = static_cast<int>(now / day) % 7 >= 5;
  if (!weekend && clock > 7 && clock < 17) {
    const double missing = spec_.desktops - static_cast<double>(desktops_.size());
    const int come = random_.poisson(std::max(0.0, missing) * length / (1.5 * hour));
    for (int i = 0; i < come; ++i) {
      const int seat = spec_.one_address ? 0 : random_.pick(1, 250);
      desktops_.push_back({world.open("10.3.0." + std::to_string(seat), now),
                           now + std::min(random_.exponential(6 * hour), (19 - clock) * hour),
                           now + random_.exponential(10 * minute)});
    }
  }
  for (Desktop& desktop : desktops_) {
    if (now < desktop.next_use) continue;
    world.use(desktop.handle, std::max(desktop.next_use, now - length));
    // Mostly minutes, at times a meeting or lunch.
    desktop.next_use =
        now + random_.exponential(random_.chance(0.2) ? hour : 8 * minute) / std::max(0.2, load);
  }
  std::erase_if(desktops_, [&](const Desktop& desktop) {
    if (now >= desktop.leaves) world.close(desktop.handle, now);
    return now >= desktop.leaves;
  });
}

int Application::lost() const noexcept {
  int lost = 0;
  for (const auto& host : hosts_) {
    for (const Pool& pool : host->pools) lost += pool.lost();
  }
  return lost;
}

}  // namespace pgleash::sim
