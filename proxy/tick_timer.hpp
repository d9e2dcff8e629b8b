#pragma once

#include "proxy/event_set.hpp"

#include <functional>

namespace pgleash::proxy {

/// A worker's tick: a timer that stands in the worker's set, so that it comes while bytes flow
/// without a turn of the io_context. The set's thread. Source: timerfd_create(2).
class TickTimer final : private Watched {
 public:
  TickTimer(EventSet& set, std::function<void()> tick);
  ~TickTimer() { stop(); }
  TickTimer(const TickTimer&) = delete;
  TickTimer& operator=(const TickTimer&) = delete;

  /// Throws std::system_error when the set takes no more.
  void start();
  /// No more ticks.
  void stop() noexcept;
  /// Calls `tick` once, after this time; what was set before is forgotten.
  void set(Duration delay) noexcept;
  [[nodiscard]] Instant due() const noexcept { return due_; }

 private:
  void ready(std::uint32_t events, Instant now) override;

  EventSet& set_;
  std::function<void()> tick_;
  Fd timer_;
  Instant due_{};
};

}  // namespace pgleash::proxy
