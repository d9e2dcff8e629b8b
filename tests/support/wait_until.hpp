#pragma once

#include <cerrno>
#include <chrono>
#include <ctime>
#include <poll.h>

namespace pgleash::test {

/// Asks `condition` until it is true; false when it still was not at the end of `patience`. The
/// only place in the tests that waits by the clock, so that no test sleeps for longer than what it
/// waits for.
template <class Condition>
[[nodiscard]] bool wait_until(Condition condition, std::chrono::nanoseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (long pause = 500'000;;
       pause = pause < 8'000'000 ? pause * 2 : pause) {  // nanoseconds: prompt first, then cheap
    if (condition()) return true;
    if (std::chrono::steady_clock::now() >= deadline) return false;
    const timespec length{0, pause};
    (void)::ppoll(nullptr, 0, &length, nullptr);
  }
}

}  // namespace pgleash::test
