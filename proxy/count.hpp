#pragma once

#include "protocol/types.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

namespace pgleash::proxy {

/// A counter with one writer, the worker's thread, and any readers: no locked instruction on the
/// hot path.
class Count {
 public:
  void add(std::uint64_t n = 1) noexcept {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t get() const noexcept {
    return value_.load(std::memory_order_relaxed);
  }

 private:
  std::atomic<std::uint64_t> value_{0};
};

/// What goes up and down: one writer, the worker's thread, and any readers.
class Level {
 public:
  void up() noexcept { set(get() + 1); }
  void down() noexcept { set(get() - 1); }
  [[nodiscard]] std::uint64_t get() const noexcept {
    return value_.load(std::memory_order_relaxed);
  }

 private:
  void set(std::uint64_t value) noexcept { value_.store(value, std::memory_order_relaxed); }
  std::atomic<std::uint64_t> value_{0};
};

/// For a Count of time; what a clock that went back would make negative is nothing.
[[nodiscard]] inline std::uint64_t microseconds(Duration took) noexcept {
  const auto whole = std::chrono::round<std::chrono::microseconds>(took).count();
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, whole));
}

}  // namespace pgleash::proxy
