#include "tests/sim/catalogue.hpp"

#include <algorithm>
#include <cmath>

namespace pgleash::sim {
namespace {

void fit(ApplicationSpec& app, Random& random, double sessions, int most_hosts,
         int most_processes) {
  app.hosts = random.pick(1, most_hosts);
  app.processes = random.pick(1, most_processes);
  while (app.hosts * app.processes > sessions / 2 && app.hosts * app.processes > 1)
    (app.processes > 1 ? app.processes : app.hosts) /= 2;
  app.pool.maximum = std::clamp(static_cast<int>(sessions / (app.hosts * app.processes)), 1, 100);
}

/// Requests so that a share of the pool is busy at the height of the day.
void load(ApplicationSpec& app, Random& random, double least, double most) {
  app.pool.service = random.log_between(0.004, 0.4);
  const double busy = random.log_between(least, most) * app.pool.maximum;
  app.load.rate = std::min(busy / app.pool.service, 400.0);
  app.pool.service = busy / app.load.rate;
  app.load.night = random.chance(0.3) ? random.between(0.6, 1) : random.log_between(0.02, 0.6);
  app.load.weekend = random.chance(0.5) ? 1 : random.between(0.05, 0.8);
  app.load.bursts_a_day = random.chance(0.5) ? 0 : random.log_between(0.3, 12);
  app.load.burst_factor = random.between(1.5, 5);
  app.load.noise = random.between(0.02, 0.3);
}

void life(ApplicationSpec& app, Random& random) {
  app.new_addresses = random.chance(0.5);
  app.one_address = !app.new_addresses && random.chance(0.3);
  app.deploys_a_week = random.chance(0.3) ? 0 : random.log_between(0.5, 25);
  app.overlap = random.between(0, 180);
  app.storms_a_week = random.chance(0.6) ? 0 : random.between(0.3, 2);
}

Reuse any_reuse(Random& random) {
  return static_cast<Reuse>(random.pick(0, 2));
}

ApplicationSpec application(int kind, Random& random, double sessions) {
  ApplicationSpec app;
  life(app, random);
  PoolSpec& pool = app.pool;
  switch (kind) {
    case 0:
      app.what = "HikariCP, fixed size";
      fit(app, random, sessions, 12, 2);
      load(app, random, 0.02, 0.7);
      pool.kind = PoolKind::hikari;
      pool.reuse = any_reuse(random);
      pool.minimum = pool.maximum;
      pool.max_lifetime = 30 * minute;
      break;
    case 1:
      app.what = "HikariCP, minimumIdle and idleTimeout";
      fit(app, random, sessions, 12, 2);
      load(app, random, 0.02, 0.7);
      pool.kind = PoolKind::hikari;
      pool.reuse = any_reuse(random);
      pool.minimum = random.pick(0, std::max(0, pool.maximum / 2));
      pool.idle_timeout = 10 * minute;
      pool.max_lifetime = random.between(30 * minute, 2 * hour);
      break;
    case 2:
      app.what = "node pg";
      fit(app, random, sessions, 8, 4);
      load(app, random, 0.01, 0.6);
      pool.kind = PoolKind::node;
      pool.reuse = Reuse::newest_first;
      pool.idle_timeout = random.chance(0.7) ? 10 : random.between(60, 1800);
      break;
    case 3:
      app.what = "QueuePool with overflow";
      fit(app, random, sessions, 8, 8);
      load(app, random, 0.01, 0.6);
      pool.kind = PoolKind::queue_pool;
      pool.reuse = random.chance(0.3) ? Reuse::newest_first : Reuse::oldest_first;
      pool.minimum = std::max(1, pool.maximum / 3);
      break;
    case 4:
      app.what = "pool that never shrinks";
      fit(app, random, sessions, 10, 8);
      load(app, random, 0.01, 0.5);
      pool.kind = PoolKind::keeper;
      pool.reuse = any_reuse(random);
      pool.max_lifetime = random.chance(0.5) ? 0 : random.between(hour, day);
      break;
    case 5:
      app.what = "one per thread";
      fit(app, random, sessions, 6, 4);
      load(app, random, 0.005, 0.4);
      pool.kind = PoolKind::per_thread;
      pool.reuse = any_reuse(random);
      pool.idle_timeout = random.chance(0.5) ? 0 : random.between(10 * minute, 2 * hour);
      break;
    case 6:
      app.what = "one per request";
      fit(app, random, sessions, 6, 2);
      load(app, random, 0.01, 0.3);
      pool.kind = PoolKind::per_request;
      app.load.rate = std::min(app.load.rate, 20.0);
      break;
    case 7:
      app.what = "pooler in front";
      fit(app, random, sessions, 2, 1);
      load(app, random, 0.02, 0.6);
      pool.kind = PoolKind::pooler;
      pool.reuse = random.chance(0.8) ? Reuse::newest_first : Reuse::oldest_first;
      pool.idle_timeout = 10 * minute;
      pool.max_lifetime = hour;
      break;
    case 8:
      app.what = "autoscaled, an address a pod";
      fit(app, random, sessions, 20, 1);
      load(app, random, 0.02, 0.6);
      pool.kind = random.chance(0.5) ? PoolKind::hikari : PoolKind::keeper;
      pool.reuse = any_reuse(random);
      pool.minimum = pool.kind == PoolKind::hikari ? pool.maximum : 0;
      app.new_addresses = true;
      app.one_address = false;
      app.autoscale = true;
      break;
    case 9:
      app.what = "autoscaled, behind one address";
      fit(app, random, sessions, 20, 1);
      load(app, random, 0.02, 0.6);
      pool.kind = random.chance(0.5) ? PoolKind::hikari : PoolKind::keeper;
      pool.reuse = any_reuse(random);
      pool.minimum = pool.kind == PoolKind::hikari ? pool.maximum : 0;
      app.new_addresses = false;
      app.one_address = true;
      app.autoscale = true;
      break;
    case 10:
      app.what = "desktops, one terminal server";
      app.hosts = 0;
      app.one_address = true;
      app.desktops = std::max(5, static_cast<int>(sessions));
      app.load.night = 0.1;
      break;
    case 11:
      app.what = "desktops, an address each";
      app.hosts = 0;
      app.one_address = false;
      app.desktops = std::max(5, static_cast<int>(sessions));
      app.load.night = 0.1;
      break;
    case 12:
      app.what = "pool, nightly batch, cron, listeners";
      fit(app, random, sessions / 2, 4, 4);
      load(app, random, 0.01, 0.5);
      pool.kind = random.chance(0.5) ? PoolKind::keeper : PoolKind::hikari;
      pool.reuse = any_reuse(random);
      pool.max_lifetime = 30 * minute;
      app.batch = std::max(3, static_cast<int>(sessions / 2));
      app.cron = true;
      app.listeners = random.pick(1, 8);
      break;
    default:
      app.what = "hardly used, many processes";
      fit(app, random, sessions, 10, 8);
      load(app, random, 0.01, 0.1);
      app.load.rate = random.log_between(0.0005, 0.05);
      app.pool.service = random.log_between(0.01, 2);
      pool.kind = PoolKind::keeper;
      pool.reuse = any_reuse(random);
      pool.max_lifetime = random.chance(0.7) ? 0 : random.between(hour, day);
      break;
  }
  return app;
}

}  // namespace

Scene healthy_scene(int kind, std::uint64_t seed, std::uint32_t limit) {
  Random random{seed};
  Scene scene;
  scene.limit = limit;
  scene.seed = random.next();
  const double sessions = random.log_between(0.06, 0.6) * limit;
  scene.others = random.between(0.02, 0.3) * limit;
  scene.application = application(kind, random, sessions);
  scene.step = seed % 8 == 0 ? 20 : minute;
  return scene;
}

Scene leaking_scene(LeakKind leak, std::uint64_t seed, std::uint32_t limit) {
  Random random{seed};
  Scene scene;
  scene.limit = limit;
  scene.seed = random.next();
  const double sessions = random.log_between(0.06, 0.4) * limit;
  scene.others = random.between(0.02, 0.3) * limit;
  // Kinds that have a pool to lose sessions of.
  constexpr int leaking_kinds[]{0, 1, 2, 3, 4, 5, 6, 8, 12};
  int kind = leaking_kinds[random.pick(0, 8)];
  if (leak == LeakKind::behind_lifetime) kind = random.pick(0, 1);
  ApplicationSpec& app = scene.application = application(kind, random, sessions);
  app.storms_a_week = 0;
  app.deploys_a_week = random.chance(0.3) ? 1 : 0;
  app.leak = leak;
  if (leak == LeakKind::one_host) {
    app.hosts = 20;
    app.processes = 1;
    app.autoscale = false;
    app.one_address = false;
    app.pool.minimum = std::min(app.pool.minimum, std::max(1, static_cast<int>(limit) / 60));
    app.load.rate = std::min(app.load.rate, 0.02 * limit / 20 / app.pool.service);
  }
  if (leak == LeakKind::day_night) app.load.night = random.between(0.03, 0.2);

  const double room = limit - scene.others - sessions * 0.7;
  double until_full = random.log_between(hour, 6 * day);
  if (leak == LeakKind::day_night) until_full = random.log_between(1.5 * day, 6 * day);
  if (leak == LeakKind::error_path) until_full = random.log_between(3 * hour, 6 * day);
  app.leak_rate = room / until_full;
  if (leak == LeakKind::fast) {
    app.leak_rate = 100.0 / (15 * minute);
    until_full = room / app.leak_rate;
  }
  app.leak_starts =
      random.chance(0.25) ? random.between(0, 10 * minute) : random.between(2 * hour, 36 * hour);
  scene.length = app.leak_starts + week;
  scene.step = until_full < 2 * hour ? 5 : until_full < 8 * hour ? 20 : minute;
  return scene;
}

}  // namespace pgleash::sim
