#include "protocol/request_queue.hpp"

#include <algorithm>
#include <utility>

namespace pgleash::protocol {

void RequestQueue::push_front(Outstanding item, std::uint32_t times) {
  if (times == 0) return;
  tally(item, times);
  // Back into the run it came from: what is put back never needs more runs than were taken out.
  if (runs_ != 0 && front() == item) {
    Run& oldest = runs()[head_];
    const std::uint32_t merged = std::min(times, max_count - count(oldest));
    oldest += merged << count_shift;
    times -= merged;
  }
  while (times != 0 && (runs_ < capacity_ || make_room())) {
    const std::uint32_t now = std::min(times, max_count);
    head_ = (head_ + capacity_ - 1) & (capacity_ - 1);
    ++runs_;
    runs()[head_] = make_run(item, now);
    times -= now;
  }
}

/// Doubles the ring. False at the hard limit.
bool RequestQueue::make_room() {
  if (capacity_ >= max_runs) return false;
  auto larger = std::make_unique_for_overwrite<Run[]>(std::size_t{capacity_} * 2);
  const Run* from = runs();
  for (std::uint32_t i = 0; i < runs_; ++i) larger[i] = from[(head_ + i) & (capacity_ - 1)];
  heap_ = std::move(larger);
  capacity_ *= 2;
  head_ = 0;
  return true;
}

void RequestQueue::release() noexcept {
  heap_.reset();
  capacity_ = inline_runs;
  head_ = 0;
}

}  // namespace pgleash::protocol
