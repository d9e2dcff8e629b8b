#pragma once

#include "watchdog/leak_detector.hpp"
#include "watchdog/snapshot.hpp"

#include <cstdint>
#include <memory>
#include <unordered_map>

namespace pgleash::watchdog {

/// Tells a LeakDetector what changed from one snapshot to the next. A session counts from its first
/// ReadyForQuery on; one that streams replication or listens for notifications is meant to be there
/// unused, and is left out. O(sessions) a snapshot. One thread.
class LeakFeed {
 public:
  /// The detector outlives the feed.
  explicit LeakFeed(LeakDetector& detector) : detector_(detector) {}

  void feed(const Snapshot& snapshot);
  /// Slots as the detector counts them; without a limit as long as no sample has told it.
  [[nodiscard]] static SlotUse slots(const Snapshot& snapshot) noexcept;

 private:
  struct Known {
    LeakDetector::Handle handle{};
    std::shared_ptr<const proxy::SessionIdentity> who;
    Instant last_used{};
    std::uint64_t seen = 0;  ///< snapshot that last showed it
  };
  LeakDetector& detector_;
  std::unordered_map<std::uint64_t, Known> known_;
  std::uint64_t snapshot_ = 0;
};

}  // namespace pgleash::watchdog
