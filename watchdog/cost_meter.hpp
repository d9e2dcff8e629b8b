#pragma once

#include "watchdog/cost.hpp"
#include "watchdog/snapshot.hpp"

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

namespace pgleash::watchdog {

/// Makes of samples and readings what each running request costs. Pure but for its memory; one per
/// server; control thread.
///
/// A measure belongs to a request only when it was begun after the request and the request still
/// runs in a view that was taken later. What is counted from a process's start (CPU, bytes) is the
/// difference between two readings within the request: what came before the first one is not held
/// against it. A parallel worker that was not there at the reading before counts from its start, as
/// it was started for the request.
class CostMeter {
 public:
  /// Rates and shares are taken over no shorter time: the kernel counts CPU in ticks of 10 ms.
  static constexpr Duration shortest_window = std::chrono::milliseconds{500};
  /// Applications told apart in applications(); what comes later is "other".
  static constexpr std::size_t max_applications = 200;

  /// Of the session's processes, made after the view in `entry`; it counts from the next fill() on.
  void read(const SessionEntry& entry, SessionProcesses reading);
  /// Puts into each entry what its running request costs, in a snapshot whose views were taken
  /// after all that was read. `server` may be null. Forgets sessions that are not in the snapshot.
  void fill(Snapshot& snapshot, const ServerCostSample* server);

  /// Whether a reading would tell anything new: not of a session that waits since the last one.
  [[nodiscard]] bool worth_reading(const SessionEntry& entry) const;
  /// When its processes were read last.
  [[nodiscard]] std::optional<Instant> last_read(proxy::SessionId session) const;
  [[nodiscard]] const ApplicationCosts& applications() const noexcept { return applications_; }

 private:
  struct Window {
    Instant from{};
    Duration cpu{};
    std::uint64_t read = 0;
    std::uint64_t written = 0;
  };
  struct Meter {
    std::optional<SessionProcesses> fresh;   ///< not looked at yet
    std::optional<SessionProcesses> newest;  ///< of whatever request
    protocol::ActivityMark read_mark;        ///< of the view before the newest reading
    // Of the running request:
    protocol::ActivityMark mark;
    bool begun = false;  ///< a reading lies within it
    Duration cpu{};
    std::uint64_t read = 0;
    std::uint64_t written = 0;
    Window window;
    std::optional<Measure> cpu_share;
    std::optional<Measure> read_rate;
    std::optional<Measure> write_rate;
  };
  struct Used;

  void take_in(Meter& meter, const SessionEntry& entry);
  void processes_into(Costs& costs, const Meter& meter) const;
  ApplicationCost& application(const SessionEntry& entry);

  std::unordered_map<std::uint64_t, Meter> meters_;
  ApplicationCosts applications_;
};

}  // namespace pgleash::watchdog
