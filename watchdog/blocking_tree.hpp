#pragma once

#include "watchdog/activity.hpp"
#include "watchdog/locks.hpp"

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

/// Who waits for whom, with the client's identity for our sessions: a forest whose roots hold what
/// the others wait for, and wait for nothing themselves.
namespace pgleash::watchdog {

struct SessionEntry;

enum class RootKind : std::uint8_t {
  session,     ///< one of ours
  direct,      ///< a client backend that does not come through us
  background,  ///< a process of the server, or a session too young for the sample
  prepared,    ///< a prepared transaction: no backend at all
};
[[nodiscard]] std::string_view name(RootKind kind) noexcept;

/// A wait, and where it leads.
struct BlockedSession {
  protocol::BackendPid pid{};
  std::optional<std::size_t> session;  ///< index into Snapshot::sessions, when it is one of ours
  std::string mode;                    ///< "AccessExclusiveLock"
  std::string lock_type;               ///< "relation"
  Duration waited{};
  std::vector<std::size_t> roots;  ///< indexes into BlockingForest::roots
  /// Waits that it stands behind, indexes into BlockingForest::waits; none: behind roots only.
  std::vector<std::size_t> behind;
};

struct BlockingRoot {
  RootKind kind = RootKind::background;
  protocol::BackendPid pid{};
  std::string gid;                     ///< prepared: empty when the server did not say which
  std::optional<std::size_t> session;  ///< index into Snapshot::sessions
  std::string user, database, application, state;  ///< of sessions, direct ones too

  struct Blocked {
    std::size_t wait;        ///< index into BlockingForest::waits
    Duration because_of_it;  ///< for how long this root was seen to be in its way, at most `waited`
  };
  std::vector<Blocked> blocked;  ///< longest `because_of_it` first
  Duration longest{};            ///< longest wait

  /// A strong lock (one that ordinary reading or writing conflicts with) which waits for this root,
  /// and those that wait for nothing but it: they would go on if it did not.
  std::optional<std::size_t> head;
  std::vector<std::size_t> behind_head;
};

/// Indexes are into the same snapshot and the same forest.
struct BlockingForest {
  std::optional<Instant> taken;  ///< of the lock sample; absent: nobody knows
  std::vector<BlockedSession> waits;
  std::vector<BlockingRoot> roots;  ///< the one that blocks most first
};

/// Makes forests of lock samples. Pure but for one memory: since when each root was seen to be in
/// the way of each wait. A lock that goes from hand to hand lets its queue wait long, though none
/// of the holders is to blame. One per server; control thread.
class BlockingTree {
 public:
  /// Ways longer than this are cut off.
  static constexpr std::size_t max_depth = 64;

  [[nodiscard]] BlockingForest forest(const LockSample* locks,
                                      std::span<const SessionEntry> sessions,
                                      std::span<const ActivityRow> direct);

 private:
  struct Builder;
  struct Pair {
    std::uint64_t root;  ///< session and its transaction, pid and its start, or gid
    std::uint64_t transaction;
    std::int32_t waiter;
    std::int64_t since;  ///< of the wait
    auto operator<=>(const Pair&) const = default;
  };
  std::map<Pair, Instant> seen_;
};

}  // namespace pgleash::watchdog
