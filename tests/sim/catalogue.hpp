#pragma once

#include "tests/sim/application.hpp"

#include <cstdint>

namespace pgleash::sim {

inline constexpr int healthy_kinds = 14;

/// A server and the application that is watched on it.
struct Scene {
  ApplicationSpec application;
  std::uint32_t limit = 97;  ///< usable slots
  double others = 10;        ///< sessions of everybody else
  double length = week;
  double step = minute;
  std::uint64_t seed = 0;
};

/// The same scene for the same seed. `kind` from 0 to healthy_kinds - 1.
[[nodiscard]] Scene healthy_scene(int kind, std::uint64_t seed, std::uint32_t limit);
/// An application of any healthy kind with a leak, that would take the last slot within a week.
[[nodiscard]] Scene leaking_scene(LeakKind leak, std::uint64_t seed, std::uint32_t limit);

}  // namespace pgleash::sim
