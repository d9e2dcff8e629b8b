#pragma once

#include "proxy/leg_journal.hpp"
#include "watchdog/activity.hpp"
#include "watchdog/exemptions.hpp"
#include "watchdog/snapshot.hpp"
#include "watchdog/verdict.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace pgleash::watchdog {

/// A backend that served one of our sessions, or one of a run of pgleash that is dead, and has no
/// session any more.
struct Orphan {
  ActivityRow row;
  std::shared_ptr<const proxy::SessionIdentity>
      who;             ///< of an earlier run only server, leg and what the row says
  SessionEntry entry;  ///< what a verdict on it shows; its id is made up when of an earlier run
  bool earlier_run = false;
  std::optional<ServerIdentity> identity;  ///< of the server that shows it
  Duration since{};      ///< from the first sample that showed it without a session
  bool again = false;    ///< it was found before, and forgotten
  std::string unproven;  ///< why it may not be ended; empty: it is ours beyond doubt
};

/// What one look found.
struct OrphanReport {
  struct Completion {
    std::int32_t slot = -1;
    proxy::SessionId session{};
    proxy::BackendProof proof;
  };
  std::uint32_t orphans = 0;                 ///< in the newest sample, proven or not
  std::uint32_t lost_sessions = 0;           ///< sessions whose backend the server no longer shows
  std::vector<proxy::SessionId> newly_lost;  ///< each once
  std::vector<Completion> completions;       ///< for the journal: backends seen for the first time
  std::vector<std::size_t> settled;          ///< inherited records whose backend is gone
};

/// Compares sessions and backends both ways (PRODUCT.md A17). Pure but for its memory: one per
/// server, control thread.
///
/// A backend is an orphan when two samples, at least two polls apart and both younger than the end
/// of its session, show it. It is ours beyond doubt when system identifier, start of the
/// postmaster, pid, backend_start, and the address and port of our leg all equal what was recorded
/// of it while its session lived: by this run in memory, by an earlier one in its journal. Through
/// a Unix socket address and port are what PostgreSQL shows for any, and prove nothing beside the
/// rest. Another pgleash's backends are in neither record, so they are never touched.
///
/// A session is lost when its backend was seen once and three samples, over at least two polls, do
/// not show it.
class OrphanReconcile {
 public:
  /// Sessions remembered after their end, while no sample comes; the oldest are forgotten first.
  static constexpr std::size_t max_departed = 10'000;

  OrphanReconcile(std::string server, Duration poll_interval,
                  const std::vector<proxy::LegRecord>& inherited);

  /// On each tick; `sample` is the newest one, null when there is none. `monitor_up`: it is fresh.
  [[nodiscard]] OrphanReport reconcile(const Snapshot& snapshot, const ActivitySample* sample,
                                       bool monitor_up);
  /// Orphans of the newest sample of which nothing was said yet, or that were forgotten: each once.
  [[nodiscard]] std::vector<Orphan> unsaid();
  /// What verdicts on the orphans of the newest sample are about.
  [[nodiscard]] std::vector<SessionEntry> entries() const;
  /// Backends without a session in the newest sample: no direct sessions.
  [[nodiscard]] std::vector<BackendId> backends() const;
  /// Lets an orphan be found again, after an outcome that left it there.
  void forget(const BackendId& backend);

 private:
  /// A session that is, as long as it is.
  struct Known {
    std::shared_ptr<const proxy::SessionIdentity> who;
    std::optional<BackendId> backend;
    bool superuser = false;
    bool present = false;
    bool lost = false;
    std::uint32_t missing = 0;  ///< samples in a row without its backend
    Instant missing_since{};
    bool completed = false;  ///< in the journal
  };
  /// A leg without a session, and what the samples since said of its backend.
  struct Leg {
    std::shared_ptr<const proxy::SessionIdentity> who;
    proxy::SessionId session{};
    std::optional<BackendId> backend;
    std::optional<ServerIdentity> identity;  ///< of the server then
    protocol::BackendPid pid{};
    bool superuser = false;
    std::optional<std::size_t> inherited;
    Instant left{};
    std::optional<Instant> first_seen;
    bool orphan = false;
    ActivityRow row;  ///< of an orphan, in the newest sample
    Instant row_taken{};
    std::optional<ServerIdentity> shown_by;
    bool said = false;
    bool forgotten = false;
  };
  struct Rows;

  void meet(const Snapshot& snapshot, const ActivitySample* sample, bool fresh,
            OrphanReport& report);
  void part(Instant now);
  void look(const ActivitySample& sample, OrphanReport& report);
  [[nodiscard]] const ActivityRow* backend_of(const Leg& leg, const Rows& rows) const;
  [[nodiscard]] static SessionEntry entry_for(const Leg& leg);
  [[nodiscard]] static Orphan describe(const Leg& leg);

  std::string server_;
  Duration apart_;  ///< two polls
  std::unordered_map<std::uint64_t, Known> known_;
  std::vector<Leg> legs_;
  std::optional<ServerIdentity> identity_;
  std::optional<Instant> looked_;
  std::uint32_t orphans_ = 0;
};

/// Why an orphan is left alone although it is ours: the rows of the table of exemptions that the
/// server's view can tell.
[[nodiscard]] Exemption orphan_exemption(const Orphan& orphan, const Protection& protection);

/// The one judgement of an orphan. `may_act` false: a would-act (a listener of that server lets the
/// statement of a client that is gone finish).
[[nodiscard]] Verdict orphan_verdict(const Orphan& orphan, const Protection& protection,
                                     bool may_act, VerdictId id);

}  // namespace pgleash::watchdog
