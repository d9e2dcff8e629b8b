#pragma once

#include <chrono>

namespace pgleash::proxy {

/// How a worker's thread shares its time between the relay's epoll set and everything else that its
/// io_context serves (accepting, logins, cancel requests, timers, values for other threads).
///
/// Going back to the io_context costs three system calls a wake. So while bytes flow the relay
/// waits in its own epoll set, and the io_context has its turn when it is asked for (Relay::ring),
/// while a coroutine is under way that somebody waits for, and after `patience` in any case. One
/// thread.
class LoopShare {
 public:
  /// Longest time that the io_context waits for the relay. Longer than a tick of the kernel's, so
  /// that the clock hardware is not programmed anew for each wait.
  static constexpr std::chrono::milliseconds patience{10};

  /// Held by a coroutine that waits on the io_context's reactor while somebody waits for it.
  class Flow {
   public:
    explicit Flow(LoopShare& share) noexcept : share_(share) { ++share_.flows_; }
    ~Flow() { --share_.flows_; }
    Flow(const Flow&) = delete;
    Flow& operator=(const Flow&) = delete;

   private:
    LoopShare& share_;
  };

  /// There is something for the io_context to do.
  void ask() noexcept { asked_ = true; }
  /// The io_context has its turn after this batch.
  [[nodiscard]] bool relay_may_wait() const noexcept { return flows_ == 0 && !asked_; }
  void turn_begins() noexcept { asked_ = false; }

 private:
  unsigned flows_ = 0;
  bool asked_ = false;
};

}  // namespace pgleash::proxy
