#pragma once

#include "protocol/types.hpp"

#include <chrono>

namespace pgleash::proxy {

/// How a worker's thread shares its time between the relay's epoll set and everything else that its
/// io_context serves (accepting, logins, cancel requests, timers, values for other threads).
///
/// Going back to the io_context costs three system calls a wake. So while bytes flow the relay
/// waits in its own epoll set for up to `patience`; then, or as soon as a flow of the io_context is
/// under way that a client waits for, the io_context has its turn. One thread.
class LoopShare {
 public:
  /// Longest time that the io_context waits for the relay. A login's step, a cancel request or a
  /// kill order is late by this much at most.
  static constexpr Duration patience = std::chrono::milliseconds{1};

  /// Held by a coroutine that waits on the io_context's reactor on behalf of a client.
  class Flow {
   public:
    explicit Flow(LoopShare& share) noexcept : share_(share) { ++share_.flows_; }
    ~Flow() { --share_.flows_; }
    Flow(const Flow&) = delete;
    Flow& operator=(const Flow&) = delete;

   private:
    LoopShare& share_;
  };

  [[nodiscard]] bool relay_may_wait() const noexcept { return flows_ == 0; }

 private:
  unsigned flows_ = 0;
};

}  // namespace pgleash::proxy
