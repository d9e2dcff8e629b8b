#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <thread>

namespace pgleash::test {

/// A proxy that makes the worst of a network: bytes come late and in splinters, connections are
/// reset in the middle. Forwards to 127.0.0.1:`target` from a thread of its own.
class RoughRoad {
 public:
  explicit RoughRoad(std::uint16_t target);
  ~RoughRoad();
  RoughRoad(const RoughRoad&) = delete;
  RoughRoad& operator=(const RoughRoad&) = delete;

  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  /// From now on each piece is of so many bytes at most, and waits for up to 2 ms.
  void splinter(std::size_t largest_piece) noexcept { largest_piece_ = largest_piece; }
  /// Connections that come from now on are reset, both ends, once the target has sent so many
  /// bytes.
  void reset_after(std::size_t bytes) noexcept { reset_after_ = bytes; }
  void reset_no_more() noexcept { reset_after_ = never; }
  [[nodiscard]] std::uint64_t accepted() const noexcept { return accepted_; }
  [[nodiscard]] std::uint64_t resets() const noexcept { return resets_; }

 private:
  static constexpr std::size_t never = SIZE_MAX;
  struct Way;
  void run();

  std::uint16_t target_;
  std::uint16_t port_ = 0;
  int listener_ = -1;
  std::atomic<std::size_t> largest_piece_ = 64 * 1024;
  std::atomic<std::size_t> reset_after_ = never;
  std::atomic<std::uint64_t> accepted_ = 0;
  std::atomic<std::uint64_t> resets_ = 0;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace pgleash::test
