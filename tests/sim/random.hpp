#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace pgleash::sim {

/// xoshiro256**: fast, and the same on every machine for a seed.
class Random {
 public:
  explicit Random(std::uint64_t seed) noexcept {
    for (std::uint64_t& word : state_) {
      seed += 0x9E3779B97F4A7C15U;
      std::uint64_t mixed = seed;
      mixed = (mixed ^ (mixed >> 30U)) * 0xBF58476D1CE4E5B9U;
      mixed = (mixed ^ (mixed >> 27U)) * 0x94D049BB133111EBU;
      word = mixed ^ (mixed >> 31U);
    }
  }
  std::uint64_t next() noexcept {
    const auto rotated = [](std::uint64_t x, unsigned k) { return (x << k) | (x >> (64U - k)); };
    const std::uint64_t result = rotated(state_[1] * 5, 7) * 9;
    const std::uint64_t shifted = state_[1] << 17U;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = rotated(state_[3], 45);
    return result;
  }
  /// In [0, 1).
  double unit() noexcept { return static_cast<double>(next() >> 11U) * 0x1.0p-53; }
  double between(double low, double high) noexcept { return low + (high - low) * unit(); }
  /// Evenly spread in the logarithm.
  double log_between(double low, double high) noexcept {
    return low * std::pow(high / low, unit());
  }
  /// In [low, high].
  int pick(int low, int high) noexcept {
    return low + static_cast<int>(next() % static_cast<std::uint64_t>(high - low + 1));
  }
  bool chance(double probability) noexcept { return unit() < probability; }
  double exponential(double mean) noexcept { return -mean * std::log(1 - unit()); }
  double normal() noexcept {
    return std::sqrt(-2 * std::log(1 - unit())) * std::cos(6.283185307179586 * unit());
  }
  int poisson(double mean) noexcept { return most_of_poisson(mean, 1); }
  /// The largest of `looks` independent draws of a Poisson distribution.
  int most_of_poisson(double mean, double looks) noexcept {
    if (mean <= 0) return 0;
    if (mean > 40) {
      const double peak = looks > 1 ? std::sqrt(2 * std::log(looks)) : 0;
      return std::max(0, static_cast<int>(std::lround(
                             mean + std::sqrt(mean) * (peak + normal() * (looks > 1 ? 0.4 : 1)))));
    }
    const double level = looks > 1 ? std::pow(unit(), 1 / looks) : unit();
    double share = std::exp(-mean);
    double sum = share;
    int k = 0;
    while (sum < level && k < 1000) sum += (share *= mean / ++k);
    return k;
  }

 private:
  std::uint64_t state_[4]{};
};

}  // namespace pgleash::sim
