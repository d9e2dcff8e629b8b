#pragma once

#include "tests/sim/pool.hpp"
#include "tests/sim/random.hpp"
#include "tests/sim/world.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace pgleash::sim {

enum class LeakKind : std::uint8_t {
  none,
  one_in_n,         ///< any request may lose its session
  error_path,       ///< only while something fails: a few times a day, several at once
  day_night,        ///< one in N under a strong wave of load
  behind_lifetime,  ///< in a pool that renews its sessions all the time
  one_host,         ///< in one of twenty hosts
  transaction,      ///< left in an open transaction
  fast,             ///< 100 slots in a quarter of an hour
};
inline constexpr int leak_kinds = 8;
[[nodiscard]] const char* name(LeakKind kind) noexcept;

/// The load of an application over a week.
struct LoadSpec {
  double rate = 10;    ///< requests a second and process, at the height of the day
  double night = 1;    ///< share of it at night
  double weekend = 1;  ///< share of it on Saturday and Sunday
  double bursts_a_day = 0;
  double burst_factor = 3;
  double noise = 0.1;
};

struct ApplicationSpec {
  std::string what;
  PoolSpec pool;
  LoadSpec load;
  int hosts = 1;
  int processes = 1;           ///< a host
  bool new_addresses = false;  ///< each start of a host has an address of its own (pods)
  bool one_address = false;    ///< all hosts behind one (NAT)
  double deploys_a_week = 0;
  double overlap = 60;       ///< seconds that old and new run side by side
  bool autoscale = false;    ///< hosts from a quarter of `hosts` to all of them, by load
  double storms_a_week = 0;  ///< all sessions end at once, as after a failover
  int batch = 0;             ///< sessions of a nightly batch, an hour or three
  bool cron = false;         ///< one session for a moment every five minutes
  int listeners = 0;         ///< sessions that only wait for notifications
  int desktops = 0;          ///< people who log in in the morning and out in the evening

  LeakKind leak = LeakKind::none;
  double leak_starts = 0;  ///< seconds
  double leak_rate = 0;    ///< sessions a second on average, over a week's load
};

/// A simulated application, stepped through virtual time.
class Application {
 public:
  Application(const ApplicationSpec& spec, std::uint64_t seed);

  void step(World& world, double now, double length);
  /// Sessions lost to the leak and still there.
  [[nodiscard]] int lost() const noexcept;

 private:
  struct Host {
    std::string address;
    std::vector<Pool> pools;
    double stops = 0;  ///< 0: runs on
  };
  struct Desktop {
    Handle handle{};
    double leaves = 0;
    double next_use = 0;
  };

  [[nodiscard]] double load_at(double now) const;
  Host start_host(double now);
  void scale(double now, double load);
  void deploy(double now);
  void step_desktops(World& world, double now, double length, double load);
  void step_batch(World& world, double now, double length);
  int leaks_of(double now, double length, double load, std::size_t host, std::size_t hosts);

  ApplicationSpec spec_;
  Random random_;
  std::vector<std::unique_ptr<Host>> hosts_;
  std::vector<Desktop> desktops_;
  std::vector<Handle> batch_;
  std::vector<Handle> listeners_;
  double batch_ends_ = 0;
  double batch_next_ = 0;
  double next_deploy_ = 0;
  double next_storm_ = 0;
  double next_scale_ = 0;
  double burst_until_ = 0;
  double next_burst_ = 0;
  double noise_ = 0;
  double error_until_ = 0;
  double next_error_ = 0;
  int addresses_ = 0;
  int quiet_scales_ = 0;
};

}  // namespace pgleash::sim
