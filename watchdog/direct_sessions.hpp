#pragma once

#include "config/config.hpp"
#include "watchdog/activity.hpp"
#include "watchdog/snapshot.hpp"

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

/// Sessions that do not come through us, in the shape that rules judge. Pure.
namespace pgleash::watchdog {

/// The row of a backend as a session: state, ages and counters as far as PostgreSQL tells them.
/// What it does not tell is said so (the statement's traits are unknown). `taken`: when the sample
/// was. The identity is the row's; the id is made of pid and
/// backend_start, and like none of ours.
[[nodiscard]] SessionEntry entry_of(const SharedRow& shown, Instant taken);

/// Whether the text commits, or may: taken back half way, nobody would know what became of it.
[[nodiscard]] bool commits(std::string_view statement) noexcept;

/// The rules that can judge direct sessions: idle, idle in transaction, aborted, statement,
/// transaction age, session age. The others rest on what only passes through us.
[[nodiscard]] std::vector<config::Rule> rules_for_direct(const std::vector<config::Rule>& rules);

/// Where other pgleash connect from, by their monitors' connections: whoever is of the monitor's
/// role or in its database, and neither bears our mark (OwnConnections) nor is a subcommand that
/// only looks. A name that lies can only make one more place spared. Remembered for a while, as the
/// sessions of one that died outlive it.
class OtherInstances {
 public:
  static constexpr Duration remembered = std::chrono::minutes{10};
  void see(const Snapshot& snapshot, const config::Monitor& monitor);
  /// Empty: through a Unix socket.
  [[nodiscard]] bool at(std::string_view address) const {
    return seen_.find(address) != seen_.end();
  }

 private:
  std::map<std::string, Instant, std::less<>> seen_;
};

/// A snapshot whose sessions are the direct ones that may be judged at all. Left out: superusers,
/// those of the monitor's role or in its database (this or another pgleash's own connections), and
/// those whose address is that of another pgleash, which knows more of them than we do. Orphans
/// (`skip`) have a verdict of their own.
[[nodiscard]] Snapshot direct_snapshot(const Snapshot& snapshot, const config::Monitor& monitor,
                                       const OtherInstances& others,
                                       const std::vector<BackendId>& skip);

/// A snapshot of the opaque sessions alone, for the rules that can judge by the server's row.
[[nodiscard]] Snapshot opaque_snapshot(const Snapshot& snapshot);

}  // namespace pgleash::watchdog
