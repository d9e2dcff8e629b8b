#pragma once

#include "tests/sim/random.hpp"
#include "tests/sim/world.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace pgleash::sim {

/// How the sessions of one process come and go.
enum class PoolKind : std::uint8_t {
  hikari,       ///< minimumIdle kept by a housekeeper, maxLifetime, idleTimeout above the minimum
  node,         ///< no minimum, idle for 10 s: closed
  queue_pool,   ///< pool_size kept for good, overflow closed at once
  keeper,       ///< grows to its maximum, never shrinks
  per_thread,   ///< a session a thread, opened at its first use
  per_request,  ///< opened and closed around each request
  pooler,       ///< PgBouncer before us: idle and lifetime limits of server connections
};
enum class Reuse : std::uint8_t { newest_first, oldest_first, any };

struct PoolSpec {
  PoolKind kind{};
  Reuse reuse{};
  int minimum = 0;
  int maximum = 10;
  double idle_timeout = 0;  ///< 0: none
  double max_lifetime = 0;  ///< 0: none
  double service = 0.02;    ///< seconds that a request holds a session
};

/// One process and its pool. Requests are not simulated one by one: of each step it is drawn how
/// many there were, how many at once, and which sessions that touched.
class Pool {
 public:
  Pool(const PoolSpec& spec, std::string address, double now);

  /// `rate` requests a second over the step that ends at `now`; of them `leaks` never give their
  /// session back.
  void step(World& world, Random& random, double now, double length, double rate, int leaks);
  /// All sessions end: the process exits, or the server went away.
  void drop(World& world, double now);
  [[nodiscard]] int lost() const noexcept { return static_cast<int>(lost_.size()); }

 private:
  struct Member {
    Handle handle{};
    double used = 0;
    double dies = 0;
  };
  void grow(World& world, Random& random, double now, double from);
  void touch(World& world, Random& random, double now, double length, int requests, int at_once);
  void lose(World& world, Random& random, double now, double length, int leaks);
  void retire(World& world, Random& random, double now, double length);

  const PoolSpec& spec_;
  std::string address_;
  std::vector<Member> members_;  ///< the most recently used first
  std::vector<Handle> lost_;
  double next_death_ = 0;
  bool started_ = false;
};

}  // namespace pgleash::sim
