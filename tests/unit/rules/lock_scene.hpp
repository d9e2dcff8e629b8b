#pragma once

#include "session_builder.hpp"
#include "watchdog/blocking_tree.hpp"

#include <string>
#include <utility>
#include <vector>

namespace pgleash::watchdog {

/// Waits for locks, as a lock sample of `noon` shows them, and the sessions they are about. Waits
/// began 70 s before.
class LockScene {
 public:
  LockScene() { locks_.taken = noon; }

  LockScene& session(const SessionEntry& entry) { return sessions_.push_back(entry), *this; }
  /// A session in the middle of a statement that waits since `age` for a lock of a relation.
  LockScene& waits(std::int32_t pid, std::vector<std::int32_t> behind,
                   std::string mode = "AccessShareLock", Duration age = 70s,
                   std::string tag = "relation/1/2") {
    session(SessionBuilder{SessionState::busy, age + 1s}.pid(pid).row("active", "relation"));
    return wait(pid, std::move(behind), std::move(mode), age, std::move(tag));
  }
  /// The wait alone.
  LockScene& wait(std::int32_t pid, std::vector<std::int32_t> behind, std::string mode,
                  Duration age = 70s, std::string tag = "relation/1/2") {
    LockWait& made = locks_.waits.emplace_back();
    made.pid = protocol::BackendPid{pid};
    made.mode = std::move(mode);
    made.type = tag.substr(0, tag.find('/'));
    made.tag = std::move(tag);
    made.since = ServerTime{pid};
    made.waited = age;
    made.asked = true;
    for (const auto blocker : behind) {
      if (blocker == 0)
        made.behind_prepared = true;
      else
        made.blockers.emplace_back(protocol::BackendPid{blocker});
    }
    return *this;
  }
  LockScene& prepared(std::string gid, std::string tag = "relation/1/2") {
    locks_.prepared.push_back({std::move(gid), "alice", "orders", std::move(tag)});
    return *this;
  }
  [[nodiscard]] LockSample& locks() { return locks_; }
  [[nodiscard]] std::vector<SessionEntry>& sessions() { return sessions_; }
  [[nodiscard]] std::vector<ActivityRow>& direct() { return direct_; }
  LockScene& direct_session(std::int32_t pid, std::string user) {
    ActivityRow& row = direct_.emplace_back();
    row.backend = {protocol::BackendPid{pid}, ServerTime{1}};
    row.user = std::move(user);
    row.application_name = "psql";
    row.state = "idle in transaction";
    return *this;
  }

  /// Of this moment alone: nothing was seen before.
  [[nodiscard]] BlockingForest forest() {
    return BlockingTree{}.forest(&locks_, sessions_, direct_);
  }
  /// As it is when the same was seen an hour before, so that each wait counts whole.
  [[nodiscard]] Snapshot snapshot() {
    BlockingTree tree;
    LockSample before = locks_;
    before.taken = noon - 1h;
    (void)tree.forest(&before, sessions_, direct_);
    Snapshot made = snapshot_of();
    made.sessions = sessions_;
    made.direct = direct_;
    made.blocking = tree.forest(&locks_, sessions_, direct_);
    return made;
  }

 private:
  LockSample locks_;
  std::vector<SessionEntry> sessions_;
  std::vector<ActivityRow> direct_;
};

/// Who opened a transaction `age` ago, and does nothing since.
inline SessionBuilder idle_holder(std::int32_t pid, Duration age = 5min) {
  return SessionBuilder{SessionState::idle_in_transaction, age}.pid(pid);
}
/// Who is in a transaction and works.
inline SessionBuilder working_holder(std::int32_t pid, Duration age = 5min) {
  return SessionBuilder{SessionState::busy, age}.pid(pid).in_transaction().row("active");
}

}  // namespace pgleash::watchdog
