#pragma once

#include "watchdog/leak_detector.hpp"

#include <chrono>
#include <cstdint>
#include <string>
#include <unordered_set>
#include <vector>

namespace pgleash::sim {

using Handle = watchdog::LeakDetector::Handle;

inline constexpr double minute = 60;
inline constexpr double hour = 3600;
inline constexpr double day = 86400;
inline constexpr double week = 7 * day;

/// Virtual seconds as a point in time; some way from the epoch, as real ones are.
inline Instant at(double seconds) {
  return Instant{
      std::chrono::duration_cast<Duration>(std::chrono::duration<double>{seconds + 1e6})};
}
inline Duration lasting(double seconds) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>{seconds});
}
inline double seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

/// What a simulated application does to the server: all that a detector may know of it. Baselines
/// see the same sessions through `last_used`.
class World {
 public:
  World(watchdog::LeakDetector& detector, std::string application)
      : detector_(detector), application_(std::move(application)) {}

  Handle open(const std::string& address, double now) {
    watchdog::LeakSession session;
    session.id = ++ids_;
    session.database = "shop";
    session.user = "app";
    session.application = application_;
    session.client_address = address;
    session.last_used = at(now);
    const Handle handle = detector_.opened(session, at(now));
    const auto index = static_cast<std::size_t>(handle);
    if (last_used.size() <= index) {
      last_used.resize(index + 1, -1);
      ids.resize(index + 1, 0);
    }
    last_used[index] = now;
    ids[index] = session.id;
    ++count;
    return handle;
  }
  void use(Handle handle, double when) {
    double& last = last_used[static_cast<std::size_t>(handle)];
    if (when <= last) return;
    last = when;
    detector_.used(handle, at(when));
  }
  void close(Handle handle, double now) {
    last_used[static_cast<std::size_t>(handle)] = -1;
    detector_.closed(handle, at(now));
    --count;
  }

  void lose(Handle handle) { lost.insert(ids[static_cast<std::size_t>(handle)]); }

  std::vector<double> last_used;           ///< by handle; negative: closed
  std::vector<std::uint64_t> ids;          ///< by handle
  std::unordered_set<std::uint64_t> lost;  ///< ids of the leaked ones, gone ones among them
  std::uint32_t count = 0;

 private:
  watchdog::LeakDetector& detector_;
  std::string application_;
  std::uint64_t ids_ = 0;
};

}  // namespace pgleash::sim
